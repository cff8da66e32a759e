"""Measure a pretraining run of `skelzoo pretrain skeattnclr-openskel` and bundle its weights into the package.

    python tools/bundle_openskel.py RUN --data DATA

RUN is the --out folder of the run, DATA the folder with the corpus and benchmark files. Every number of the card and
the manifest comes from here; each stands beside the command that gives it again.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

import skelzoo
from skelzoo.inference.encoder import Encoder
from skelzoo.learn.probe import BENCHMARKS, PROTOCOLS, Coordinates, Embedder, probe
from skelzoo.weights.checkpoint import build_net
from skelzoo.weights.manifest import Metric
from skelzoo.weights.publish import Provenance, bundle

NAME = "skeattnclr-openskel"
DATA = "--data DATA"
PROVENANCE = Provenance(
    family="SkeAttnCLR",
    summary="SkeAttnCLR (ST-GCN, 16 channels, joint and motion streams) pretrained on openskel without labels, with a linear head for exercises, gestures and locomotion.",
    license="CC-BY-NC-4.0",
    license_reason="Part of the training data, the Bandai-Namco-Research-Motiondataset, is CC BY-NC 4.0.",
    commercial_use=False,
    trained_on=(
        "UI-PRMD, Kinect part (PDDL 1.0), subjects 1 to 8",
        "Bandai-Namco-Research-Motiondataset 1 and 2 (CC BY-NC 4.0), nine tenths of the clips",
        "CMU Graphics Lab Motion Capture Database, a subset (free use, no resale of the data), without subjects 7 and 16. "
        "The data used in this project was obtained from mocap.cs.cmu.edu. The database was created with funding from NSF EIA-0196217.",
    ),
    command=f"skelzoo pretrain {NAME} {DATA} --out RUN",
    notes=(
        "Narrower than the paper's net (16 instead of 64 channels): it was trained on a CPU.",
        "Departures from the paper, all in the recipe: the contrast pools four stretches of time and five body parts apart (the paper pools once); the vector is mean, "
        "standard deviation and maximum over time of ten body parts' features after blocks 3, 6 and 9, chosen on splits inside the training parts of NW-UCLA and UTD-MHAD; "
        "joint and motion streams enter together; AdamW, a queue of 1024, momentum 0.95, temperature 0.1; windows of about 90 frames of one person.",
        "The head was fitted on the training clips and measured on the held-out ones, which neither pretraining nor the head saw.",
        "The Bandai-Namco clips are repetitions by three actors whose names are not in the files, so held-out Bandai clips share their actors with training: "
        "expect lower accuracy on other people.",
    ),
)


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
    source = arguments.run / "weights"
    encoder = skelzoo.load(f"local:{source}")
    head = json.loads((arguments.run / "head.json").read_text(encoding="utf-8"))
    where = f"openskel, {head['test_clips']} held-out clips, {head['classes']} classes"
    metrics = [
        Metric(where, label, round(head[key], 1), PROVENANCE.command)
        for key, label in (("accuracy", "head, top-1"), ("top3", "head, top-3"), ("balanced_accuracy", "head, mean over classes"))
    ]
    metrics += measure(encoder, "", f"skelzoo probe {NAME}", arguments.data)
    parameters = sum(p.numel() for p in encoder.net.parameters())
    torch.manual_seed(0)  # as skelzoo probe --random-weights
    twin = Encoder(build_net(encoder.config), encoder.config, f"{NAME} (random weights)")
    metrics += measure(twin, ", random weights", f"skelzoo probe {NAME} --random-weights", arguments.data)
    metrics += measure(Coordinates(), ", coordinates baseline", "skelzoo probe coordinates", arguments.data)
    bundle(source, NAME, PROVENANCE, metrics, parameters)
    write_readme_table(metrics)
    for m in metrics:
        print(f"{m.value:5.1f}  {m.protocol:32}  {m.dataset}")


def write_readme_table(metrics: list[Metric]) -> None:
    """Put the model's line and its measured numbers between the marks in the README."""
    value = {(m.dataset, m.protocol): m.value for m in metrics}
    kinds = {"": "skeattnclr-openskel", ", random weights": "same net, random weights", ", coordinates baseline": "coordinates, no net"}
    lines = [
        "| model | input | vector | classes | size | licence | commercial use |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        model_line(),
        "",
        "Frozen embeddings, top-1 accuracy in percent (`skelzoo probe MODEL --on nwucla|utdmhad --protocol linear|knn --data DATA`). NW-UCLA ships 95 test clips that are exact",
        "copies of training clips, so it is given with and without them.",
        "",
        "| data | protocol | " + " | ".join(kinds.values()) + " |",
        "| --- | --- |" + " --- |" * len(kinds),
    ]
    for dataset, protocol in value:
        if (dataset, protocol + ", random weights") in value:
            lines.append(f"| {dataset} | {protocol} | " + " | ".join(f"{value[dataset, protocol + k]:.1f}" for k in kinds) + " |")
    lines += [
        "",
        "On UTD-MHAD, small arm actions before a fixed camera, nearest neighbours of plain coordinates still do better than those of vectors.",
        "",
        "linear: logistic regression (C = 0.05) on standardised vectors; knn: nearest neighbour. Other clips of the training corpus, held out of everything "
        f"({metrics[0].dataset}): " + ", ".join(f"{m.protocol} {m.value:.1f}" for m in metrics[:3]) + ".",
    ]
    readme = Path(__file__).resolve().parent.parent / "README.md"
    text = readme.read_text(encoding="utf-8")
    before, rest = text.split("<!-- models: tools/bundle_openskel.py -->\n")
    after = rest.split("<!-- /models -->")[1]
    readme.write_text(before + "<!-- models: tools/bundle_openskel.py -->\n" + "\n".join(lines) + "\n<!-- /models -->" + after, encoding="utf-8")


def model_line() -> str:
    """The model's row of the README's table."""
    entry = skelzoo.info(NAME)
    contract, weights, encoder = entry["config"]["contract"], entry["weights"], skelzoo.load(NAME)
    size = sum(f["size"] for f in weights["files"].values()) / 1e6
    shape = f"{contract['layout']}, {contract['channels']}-D, {contract['persons']} person, {contract['frames']} frames"
    use = "yes" if weights["commercial_use"] else "no"
    return f"| `{NAME}` | {shape} | {encoder.embedding_dim} | {entry['config']['num_classes']} | {size:.1f} MB | {weights['license']} | {use} |"


if __name__ == "__main__":
    main()
