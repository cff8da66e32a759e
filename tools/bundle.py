"""Measure a run of `skelzoo pretrain RECIPE` and bundle its weights into the package.

    python tools/bundle.py RUN --data DATA

RUN is the --out folder of the run of a recipe below, DATA the folder with the corpus and benchmark files. Every number
of the card and the manifest comes from here; each stands beside the command that gives it again. The README's tables
are written anew from the manifest.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

import skelzoo
from skelzoo.inference.encoder import Encoder
from skelzoo.learn.probe import BENCHMARKS, PROTOCOLS, Coordinates, Embedder, probe
from skelzoo.weights.checkpoint import build_net
from skelzoo.weights.manifest import Metric, parse_manifest
from skelzoo.weights.publish import Provenance, bundle

ROOT = Path(__file__).resolve().parent.parent
DATA = "--data DATA"
MARK = "<!-- models: tools/bundle.py -->\n", "<!-- /models -->"
KINDS = {"": "{name}", ", random weights": "same net, random weights", ", coordinates baseline": "coordinates, no net"}
"""What is measured: suffix of the protocol -> column of the README."""

UIPRMD = "UI-PRMD, Kinect part (PDDL 1.0), subjects 1 to 8"
BANDAI = "Bandai-Namco-Research-Motiondataset 1 and 2 (CC BY-NC 4.0), nine tenths of the clips"
CMU = (
    "CMU Graphics Lab Motion Capture Database, a subset (free use, no resale of the data), without subjects 7 and 16. "
    "The data used in this project was obtained from mocap.cs.cmu.edu. The database was created with funding from NSF EIA-0196217."
)
NON_COMMERCIAL = "CC-BY-NC-4.0", "Part of the training data, the Bandai-Namco-Research-Motiondataset, is CC BY-NC 4.0.", False
FREE = (
    "Apache-2.0",
    "The training data puts no condition on weights: UI-PRMD is in the public domain, CMU motion capture is free for any use but resale of the data.",
    True,
)

ACTORS = (
    "The Bandai-Namco clips are repetitions by three actors whose names are not in the files, so held-out Bandai clips share their actors with training: "
    "expect lower accuracy on other people."
)
HEAD = "The head was fitted on the training clips and measured on the held-out ones, which neither pretraining nor the head saw."
SKEATTNCLR = (
    "Narrower than the paper's net (16 instead of 64 channels): it was trained on a CPU.",
    "Departures from the paper, all in the recipe: the contrast pools four stretches of time and five body parts apart (the paper pools once); the vector is mean, "
    "standard deviation and maximum over time of ten body parts' features after blocks 3, 6 and 9, chosen on splits inside the training parts of NW-UCLA and UTD-MHAD; "
    "joint and motion streams enter together; AdamW, a queue of 1024, momentum 0.95, temperature 0.1; windows of about 90 frames of one person.",
    HEAD,
)
PSP = (
    "Narrower than the paper's net (16 to 64 instead of 64 to 256 channels, six blocks instead of eight): it was trained on a CPU.",
    "Departures from the paper, all in the recipe: only the contrast without labels; clips are turned, sheared and scaled before the streams are computed; the vector is mean, "
    "standard deviation and maximum over time of ten body parts' features after blocks 1, 3 and 5, as chosen for skeattnclr-openskel; AdamW; one person.",
    HEAD,
)


def _provenance(family: str, summary: str, licence: tuple[str, str, bool], trained_on: Sequence[str], notes: Sequence[str], name: str) -> Provenance:
    return Provenance(family, summary, *licence, tuple(trained_on), f"skelzoo pretrain {name} {DATA} --out RUN", tuple(notes))


def provenance(name: str) -> Provenance:
    """What the card and the manifest say of a model."""
    free = name.endswith("-free")
    licence, trained_on = (FREE, (UIPRMD, CMU)) if free else (NON_COMMERCIAL, (UIPRMD, BANDAI, CMU))
    corpus = "the part of openskel that is free for any use" if free else "openskel"
    what = {
        "skeattnclr": "SkeAttnCLR (ST-GCN, 16 channels, joint and motion streams)",
        "psp": "PSP Learning (DSTA-Net, 16 to 64 channels, joint and motion streams)",
    }
    family, label, notes = {"skeattnclr": ("SkeAttnCLR", what["skeattnclr"], SKEATTNCLR), "psp": ("PSP", what["psp"], PSP)}[name.split("-")[0]]
    summary = (
        f"{label} pretrained on {corpus} without labels, with a linear head for {'exercises and locomotion' if free else 'exercises, gestures and locomotion'}."
    )
    return _provenance(family, summary, licence, trained_on, notes if free else (*notes, ACTORS), name)


def measure(model: Embedder, label: str, command: str, data: str) -> list[Metric]:
    """Every benchmark and protocol for one model."""
    metrics = []
    for benchmark in BENCHMARKS:
        for protocol in PROTOCOLS:
            r = probe(model, benchmark, data, protocol)
            source = f"{command} --on {benchmark} --protocol {protocol} {DATA}"
            metrics.append(Metric(BENCHMARKS[benchmark].title, f"{protocol}{label}", round(r.accuracy, 1), source))
            if r.accuracy_without_copies is not None:
                metrics.append(
                    Metric(BENCHMARKS[benchmark].title + ", without the copied test clips", f"{protocol}{label}", round(r.accuracy_without_copies, 1), source)
                )
    return metrics


def main() -> None:
    """Measure, bundle, print the metrics."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", required=True)
    arguments = parser.parse_args()
    name = json.loads((arguments.run / "recipe.json").read_text(encoding="utf-8"))["name"]
    source, about = arguments.run / "weights", provenance(name)
    encoder = skelzoo.load(f"local:{source}")
    head = json.loads((arguments.run / "head.json").read_text(encoding="utf-8"))
    where = f"openskel, {head['test_clips']} held-out clips, {head['classes']} classes"
    metrics = [
        Metric(where, label, round(head[key], 1), about.command)
        for key, label in (("accuracy", "head, top-1"), ("top3", "head, top-3"), ("balanced_accuracy", "head, mean over classes"))
    ]
    metrics += measure(encoder, "", f"skelzoo probe {name}", arguments.data)
    parameters = sum(p.numel() for p in encoder.net.parameters())
    torch.manual_seed(0)  # as skelzoo probe --random-weights
    twin = Encoder(build_net(encoder.config), encoder.config, f"{name} (random weights)")
    metrics += measure(twin, ", random weights", f"skelzoo probe {name} --random-weights", arguments.data)
    metrics += measure(Coordinates(), ", coordinates baseline", "skelzoo probe coordinates", arguments.data)
    bundle(source, name, about, metrics, parameters)
    write_readme()
    for m in metrics:
        print(f"{m.value:5.1f}  {m.protocol:32}  {m.dataset}")


def write_readme() -> None:
    """Put every published model's line and measured numbers between the marks in the README."""
    models = {n: e for n, e in parse_manifest((ROOT / "weights_manifest.json").read_text(encoding="utf-8")).models.items() if e.weights}
    lines = [
        "| model | input | vector | classes | size | licence | commercial use |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        *map(model_line, models),
        "",
    ]
    lines += [
        "Frozen embeddings, top-1 accuracy in percent (`skelzoo probe MODEL --on nwucla|utdmhad --protocol linear|knn --data DATA`). linear: logistic regression (C = 0.05) on",
        "standardised vectors; knn: nearest neighbour. NW-UCLA ships 95 test clips that are exact copies of training clips, so it is given with and without them. On UTD-MHAD,",
        "small arm actions before a fixed camera, nearest neighbours of plain coordinates still do better than those of vectors.",
    ]
    for name, entry in models.items():
        lines += ["", *result_table(name, entry.metrics)]
    readme = ROOT / "README.md"
    before, rest = readme.read_text(encoding="utf-8").split(MARK[0])
    readme.write_text(before + MARK[0] + "\n".join(lines) + "\n" + MARK[1] + rest.split(MARK[1])[1], encoding="utf-8")


def result_table(name: str, metrics: Sequence[Metric]) -> list[str]:
    """One model beside its random twin and the coordinates, and its head on held-out clips."""
    value: Mapping[tuple[str, str], float] = {(m.dataset, m.protocol): m.value for m in metrics}
    lines = ["| data | protocol | " + " | ".join(k.format(name=name) for k in KINDS.values()) + " |", "| --- | --- |" + " --- |" * len(KINDS)]
    for dataset, protocol in value:
        if (dataset, protocol + ", random weights") in value:
            lines.append(f"| {dataset} | {protocol} | " + " | ".join(f"{value[dataset, protocol + k]:.1f}" for k in KINDS) + " |")
    head = [m for m in metrics if m.protocol.startswith("head")]
    return [
        *lines,
        "",
        f"Its head on clips held out of everything ({head[0].dataset}): " + ", ".join(f"{m.protocol.removeprefix('head, ')} {m.value:.1f}" for m in head) + ".",
    ]


def model_line(name: str) -> str:
    """The model's row of the README's table."""
    encoder = skelzoo.load(name, device="cpu")
    contract, weights = encoder.contract, skelzoo.info(name)["weights"]
    size = sum(f["size"] for f in weights["files"].values()) / 1e6
    shape = f"{contract.layout}, {contract.channels}-D, {contract.persons} person, {contract.frames} frames"
    use = "yes" if weights["commercial_use"] else "no"
    return f"| `{name}` | {shape} | {encoder.embedding_dim} | {encoder.config.num_classes} | {size:.1f} MB | {weights['license']} | {use} |"


if __name__ == "__main__":
    main()
