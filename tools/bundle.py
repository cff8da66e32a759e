"""Bundle the weights of a run of `skelzoo pretrain RECIPE` into the package, or write anew what is said of those in it.

    python tools/bundle.py RUN --data DATA
    python tools/bundle.py --refresh

RUN is the --out folder of the run, DATA the folder with the benchmark files. Bundling measures the weights, their untrained twin
and the baselines as `skelzoo eval` does, into docs/results. The metrics of the manifest, the cards, the README's table and docs/accuracy.md come from there, each
number beside the command that gives it again; --refresh measures nothing.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from provenance import provenance

import skelzoo
from skelzoo.inference.encoder import Encoder
from skelzoo.learn.baselines import BASELINES
from skelzoo.learn.benchmarks import BENCHMARKS, find_benchmark, standard_clips
from skelzoo.learn.evaluate import CHEAP, measure
from skelzoo.learn.head_result import BINS
from skelzoo.learn.head_rows import BALANCED, ERROR, HELD_OUT, MEAN_SCORE, TOP1, TOP3, UNSEEN, head_rows, said_of
from skelzoo.learn.protocols import ALL, WITHOUT_COPIES, Trial
from skelzoo.learn.recipe import load_recipe
from skelzoo.learn.results import Row, merge_rows, read_rows
from skelzoo.learn.seen import check_recipe
from skelzoo.loading import RANDOM
from skelzoo.publishing import known_provenance
from skelzoo.weights.cards import CONFUSED, Provenance
from skelzoo.weights.checkpoint import build_net
from skelzoo.weights.entries import bundle
from skelzoo.weights.manifest import Metric, ModelEntry, manifest

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs/results"
HEADS = "heads.csv"
SAID = (TOP1, TOP3, BALANCED, MEAN_SCORE, ERROR)
"""What is said of a head, in this order."""
MARK = "<!-- models: tools/bundle.py -->\n", "<!-- /models -->"
TWIN, BASELINE = ", random weights", ", {} baseline"
"""What follows the protocol of a metric that is not the model's own."""


def main() -> None:
    """Bundle a run, or refresh what is bundled."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="?")
    parser.add_argument("--data")
    parser.add_argument("--refresh", action="store_true")
    a = parser.parse_args()
    if a.refresh == bool(a.run) or bool(a.run) != bool(a.data):
        parser.error("give RUN and --data DATA, or --refresh")
    if a.refresh:
        refresh()
    else:
        bundle_run(a.run, a.data)
    write_tables()


def bundle_run(run: Path, data: str) -> None:
    """Measure a run's weights on the benchmarks of their dimension, and bundle them."""
    recipe = load_recipe(str(run / "recipe.json"))
    about = provenance(recipe)  # before what takes long and writes
    trained = skelzoo.load(f"local:{run / 'weights'}")
    torch.manual_seed(0)  # as skelzoo eval --random-weights
    encoder, twin = (
        Encoder(net, trained.config, name, trained.device) for net, name in ((trained.net, recipe.name), (build_net(trained.config), recipe.name + RANDOM))
    )
    for name in BENCHMARKS:
        benchmark = find_benchmark(name)
        if benchmark.dimension == encoder.contract.channels:
            check_recipe(f"local:{run / 'weights'}", name, data)
            clips = standard_clips(name, data)
            for each in (encoder, twin, *(baseline(benchmark.dimension) for baseline in BASELINES.values())):
                merge_rows(RESULTS / f"{name}.csv", measure(Trial(each, benchmark, clips), CHEAP))
    if recipe.head is not None:
        merge_rows(RESULTS / HEADS, head_rows(encoder, recipe, data))
    write_model(recipe.name, run / "weights", about)


def head_metrics(name: str) -> list[Metric]:
    """How a model's head does, and which clips it confuses, from the table of results: on all held-out clips first."""
    rows = [row for row in read_rows(RESULTS / HEADS) if row.model == name]
    scores = sorted((row for row in rows if row.protocol in SAID), key=lambda row: (row.variant != HELD_OUT, row.variant, SAID.index(row.protocol)))
    confused = [Metric(row.variant, row.protocol, round(row.value * row.test_clips / 100), row.command) for row in rows if row.protocol.startswith(CONFUSED)]
    return [*(Metric(_clips_of(row), row.protocol, round(row.value, 1), row.command) for row in scores), *sorted(confused, key=lambda m: -m.value)]


def _clips_of(row: Row) -> str:
    if row.variant == HELD_OUT:
        return f"{row.benchmark}, {row.test_clips} held-out clips, {row.classes} classes"
    return f"{row.benchmark}, {row.test_clips} clips, {row.variant}"


def refresh() -> None:
    """Write cards, checksums and manifest entries of all bundled models anew from the tables of results."""
    for name, entry in published().items():
        if entry.weights and entry.weights.source == "bundled":
            write_model(name, ROOT / "skelzoo/weights/bundled" / name, known_provenance(entry))


def write_model(name: str, source: Path, about: Provenance) -> None:
    """Bundle a weights folder, with what the tables of results say of the model."""
    encoder = skelzoo.load(f"local:{source}", device="cpu")
    metrics = [*head_metrics(name), *measured(name, encoder.contract.channels)]
    bundle(source, name, about, metrics, sum(p.numel() for p in encoder.net.parameters()))
    print(f"{name}: {len(metrics)} numbers")


def measured(name: str, dimension: int) -> list[Metric]:
    """The numbers of a model, of its untrained twin and of the baselines, from the tables of results."""
    rows = [row for key in BENCHMARKS if find_benchmark(key).dimension == dimension for row in read_rows(RESULTS / f"{key}.csv")]
    if not any(row.model == name for row in rows):
        raise SystemExit(f"docs/results has no numbers of {name}. Run skelzoo eval --all --data DATA --out docs/results first.")
    kinds = {name: "", name + RANDOM: TWIN, **{baseline: BASELINE.format(baseline) for baseline in BASELINES}}
    return [
        Metric(_dataset(row), row.protocol + suffix, round(row.value, 1), row.command) for kind, suffix in kinds.items() for row in rows if row.model == kind
    ]


def _dataset(row: Row) -> str:
    return find_benchmark(row.benchmark).title + ("" if row.variant == ALL else f", {row.variant}")


def published() -> dict[str, ModelEntry]:
    """The models with weights, those of 3-D joints first, by name."""
    models = {name: entry for name, entry in manifest().models.items() if entry.weights}
    return dict(sorted(models.items(), key=lambda item: (-item[1].config.contract.channels, item[0])))


def write_tables() -> None:
    """Put a line for every published model between the marks in the README, and all that was measured of them into docs/accuracy.md."""
    models = published()
    (ROOT / "docs/accuracy.md").write_text("\n".join(accuracy(models)) + "\n", encoding="utf-8")
    readme = ROOT / "README.md"
    before, rest = readme.read_text(encoding="utf-8").split(MARK[0])
    readme.write_text(before + MARK[0] + "\n".join(summary(models)) + "\n" + MARK[1] + rest.split(MARK[1])[1], encoding="utf-8")


def summary(models: dict[str, ModelEntry]) -> list[str]:
    """The README's lines: which model to take, and each model's licence, input, size and main numbers."""
    free = {name: entry for name, entry in models.items() if entry.weights and entry.weights.commercial_use}
    return [
        f"Which one: by the mean of its accuracies {best(models, 3)} for 3-D joints and {best(models, 2)} for the 2-D joints of a pose estimator,",
        f"and for commercial use {best(free, 3)} and {best(free, 2)}. `skeattnclr-openskel`, the model of `demo`, is smaller and faster than the first.",
        "",
        "Models with **yes** are free for commercial use; the others were trained on data that is for non-commercial use only.",
        "",
        "| model | commercial use, licence | input | vector | size | NW-UCLA | UTD-MHAD | classes |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
        *(model_line(name, entry) for name, entry in models.items()),
        "",
        "NW-UCLA, UTD-MHAD: top-1 accuracy in percent of a linear probe on frozen vectors; nearest neighbours, nets with random weights, baselines without a net and how the heads",
        "do stand in [docs/accuracy.md](docs/accuracy.md). All test clips of two of NW-UCLA's ten classes are copies of training clips, 95 of 464: its column contains them,",
        "and the page has the other eight classes alone.",
    ]


def accuracy(models: dict[str, ModelEntry]) -> list[str]:
    """The lines of docs/accuracy.md."""
    return [
        "# What was measured",
        "",
        "Written by `python tools/bundle.py` from `docs/results/*.csv`; do not edit. `skelzoo info MODEL --metrics` shows every number with its command, and [evaluation](evaluation.md) says how they are measured.",
        "`skelzoo eval MODEL --on nwucla --protocol linear --data DATA` gives a number again. Linear probes are fitted until they converge; compiled nets, which round otherwise, get the same labels ([speed](speed.md)).",
        "",
        "## Frozen vectors",
        "",
        "Top-1 accuracy in percent, in brackets that of the same net with random weights. linear: logistic regression (C = 0.05) on standardised vectors; knn: nearest",
        'neighbour. NW-UCLA ships 95 test clips that are exact copies of training clips, so it is given without them too. They are all test clips of two classes, 50 of "pick up with two',
        'hands" and 45 of "drop trash": without copies means the other eight of ten classes, and the number on all clips contains two classes whose test clips are training clips.',
        "With 464 clips of NW-UCLA (369 without copies) and 430 of UTD-MHAD the standard error of an accuracy is mostly 1.5 to 2 points, so a smaller difference is no difference. Random weights",
        "are one draw, of seed 0.",
        "",
        *result_table(models),
        "",
        "The last rows have no net: coordinates are flattened joints, statistics are mean, deviation, maximum and minimum of joints, limbs and motion over time. On UTD-MHAD, small arm actions",
        "before a fixed camera, nearest neighbours of coordinates are strong, and on NW-UCLA the linear probe of statistics is. Models of 2-D joints are measured on the same clips filmed by",
        "simulated cameras (`nwucla-2d`, `utdmhad-2d`).",
        "With nearest neighbours on UTD-MHAD some models are below the same net with random weights:",
        f"{', '.join(below_twin(models))}.",
        "",
        "## Heads",
        "",
        "Top-1 accuracy in percent on clips held out of everything, by what was held out; and on the training clips, each by a head that saw nothing of its subject or style (the encoder saw",
        "them, without labels). Held-out clips differ between models: the free ones have none of Bandai-Namco, and from `skeattnclr-openskel` and `skeattnclr-openskel-kinect` no style was held out, so compare within",
        "the columns by what was held out. Held-out clips decided which classes the heads have ([labels](labels.md#openskel)), so these columns favour them. Calibration error: of the best",
        f"class's score, in percent, in {BINS} equally wide bins of score.",
        "",
        *unseen_scores(),
        "",
        "Without CMU, without Bandai-Namco: held-out clips of that source, of classes that another source has too, by a head fitted without it. They are 20 clips of CMU and 24 or 45 of",
        "Bandai-Namco, and the numbers go from 0 to 100: how a head does on other recordings is not known from the other columns.",
        "",
        *head_table(models),
    ]


def model_line(name: str, entry: ModelEntry) -> str:
    """The model's row of the README's table."""
    encoder = skelzoo.load(name, device="cpu")
    contract, weights = encoder.contract, skelzoo.info(name)["weights"]
    size = sum(f["size"] for f in weights["files"].values()) / 1e6
    use = ("**yes**" if weights["commercial_use"] else "no") + f", {weights['license']}"
    linear = [f"{numbers(entry)[column]:.1f}" for column in columns(contract.channels) if column[1] == "linear" and WITHOUT_COPIES not in column[0]]
    cells = [f"`{name}`", use, f"{contract.layout}, {contract.channels}-D", encoder.embedding_dim, f"{size:.1f} MB", *linear, encoder.config.num_classes]
    return f"| {' | '.join(map(str, cells))} |"


def result_table(models: dict[str, ModelEntry]) -> list[str]:
    """The table of numbers: published models, then the baselines."""
    lines = ["| model | NW-UCLA linear | knn | linear, without copies | UTD-MHAD linear | knn |", "| --- | --- | --- | --- | --- | --- |"]
    baselines = {}
    for name, entry in models.items():
        dimension = entry.config.contract.channels
        lines.append(result_line(f"`{name}`", entry, "", TWIN))
        for baseline in BASELINES:
            baselines[dimension, baseline] = result_line(f"{'' if dimension == 3 else '2-D '}{baseline}, no net", entry, BASELINE.format(baseline))
    return [*lines, *baselines.values()]


def best(models: dict[str, ModelEntry], dimension: int) -> str:
    """The one with the highest mean of the numbers in its row."""
    names = [name for name, entry in models.items() if entry.config.contract.channels == dimension]
    return f"`{max(names, key=lambda name: sum(numbers(models[name])[column] for column in columns(dimension)))}`"


def numbers(entry: ModelEntry) -> dict[tuple[str, str], float]:
    """Its metrics by dataset and protocol."""
    return {(m.dataset, m.protocol): m.value for m in entry.metrics}


def columns(dimension: int) -> list[tuple[str, str]]:
    """Dataset and protocol of each column of the table of numbers."""
    nwucla, utdmhad = (find_benchmark(b + ("" if dimension == 3 else "-2d")).title for b in ("nwucla", "utdmhad"))
    return [(nwucla, "linear"), (nwucla, "knn"), (f"{nwucla}, {WITHOUT_COPIES}", "linear"), (utdmhad, "linear"), (utdmhad, "knn")]


def result_line(name: str, entry: ModelEntry, kind: str, brackets: str | None = None) -> str:
    """A row of the table of numbers, with another kind of number in brackets."""
    value, cells = numbers(entry), [name]
    for dataset, protocol in columns(entry.config.contract.channels):
        other = f" ({value[dataset, protocol + brackets]:.1f})" if brackets else ""
        cells.append(f"{value[dataset, protocol + kind]:.1f}{other}")
    return f"| {' | '.join(cells)} |"


def below_twin(models: dict[str, ModelEntry]) -> list[str]:
    """Models whose nearest neighbours on UTD-MHAD are right less often than those of the same net with random weights."""
    keys = {name: columns(entry.config.contract.channels)[-1] for name, entry in models.items()}
    return [
        f"`{name}`" for name, (dataset, protocol) in keys.items() if numbers(models[name])[dataset, protocol] < numbers(models[name])[dataset, protocol + TWIN]
    ]


def unseen_scores() -> list[str]:
    """How far the heads' scores on clips unseen by them are from what is right."""
    rows = {(row.model, row.protocol): row.value for row in read_rows(RESULTS / HEADS) if row.variant == said_of(UNSEEN)}
    errors = [value for (_, protocol), value in rows.items() if protocol == ERROR]
    above = [value - rows[model, TOP1] for (model, protocol), value in rows.items() if protocol == MEAN_SCORE]
    return [
        f"For people and styles that a head has not seen scores are mostly too high, by the mean of {sum(a > 0 for a in above)} of {len(above)} heads: it is {min(above):+.1f} to {max(above):+.1f} points from top-1, and the calibration error",
        f"is {min(errors):.1f} to {max(errors):.1f} %. Heads were given the temperature that fits these same clips, so for people who are less like them it may be more.",
    ]


def head_table(models: dict[str, ModelEntry]) -> list[str]:
    """How the models' heads do."""
    parts = ["classes", *map(said_of, ("clip", "subject", "style", UNSEEN, "source cmu_subset.npz", "source bandai_namco.npz"))]
    columns = [*((TOP1, part) for part in parts), (ERROR, "classes"), (ERROR, said_of(UNSEEN)), (MEAN_SCORE, said_of(UNSEEN))]
    lines = [
        "| model | classes | held-out clips | top-1 | by clip | by subject | by style | unseen by the head | without CMU | without Bandai-Namco "
        "| calibration error | calibration error, unseen | mean score, unseen |",
        "| --- |" + " --- |" * (len(columns) + 2),
    ]
    for name, entry in models.items():
        head = {(m.protocol, m.dataset): m.value for m in entry.metrics if m.protocol.startswith("head, ")}
        if head:
            cells = [next((f"{v:.1f}" for (p, dataset), v in head.items() if p == protocol and dataset.endswith(end)), "") for protocol, end in columns]
            lines.append(f"| `{name}` | {entry.config.num_classes} | {next(iter(head))[1].split()[1]} | {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    main()
