"""Evaluation: protocols run on benchmarks, and the tables their numbers are kept in."""

from __future__ import annotations

import csv
import functools
import os
import shlex
import subprocess
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import numpy as np
import torch

from skelzoo import __version__
from skelzoo.errors import ReadError, TrainingError
from skelzoo.inference.encoder import Encoder
from skelzoo.learn.baselines import BASELINES
from skelzoo.learn.benchmarks import BENCHMARKS, Benchmark, benchmark_file, find_benchmark, standard_clips
from skelzoo.learn.held_out import DataOptions
from skelzoo.learn.probe import Embedder
from skelzoo.learn.protocols import PROTOCOLS, SELECTED, Measured, Trial, check_protocols, describe, find_protocol, run
from skelzoo.learn.recipe import Recipe, is_there, load_recipe, shipped_recipes
from skelzoo.learn.seen import check_card, check_not_learned, check_unseen
from skelzoo.learn.training import auto_precision, seeded
from skelzoo.loading import RANDOM, load
from skelzoo.skeleton.doubts import warned_once
from skelzoo.skeleton.writing import alone, check_place, write_csv
from skelzoo.weights.manifest import manifest
from skelzoo.weights.sources import find

CHEAP = tuple(name for name, p in PROTOCOLS.items() if p.cheap)
"""Protocols that run when none is named."""


@dataclass(frozen=True)
class Row:
    """One number, with all that decides it.

    Attributes:
        model: its name; ``NAME (random weights)`` is the same net untrained, one of ``BASELINES`` has no net.
        variant: which test clips, after which labels if not all, and whether persons were selected.
        value: percent, the mean over the seeds, or over the subjects where each tests once.
        spread: standard deviation over what the mean is over (n - 1), None for fewer than two.
        seeds: () where nothing is drawn.
        description: benchmark and protocol in words.
        command: gives the row again.
        commit: of the checkout, with "+" when the package differs from it; the version of skelzoo without a checkout.
        device: that computed it.
        per_subject: of leave-one-subject-out, subject -> percent while it tests, the mean over the seeds; {} of a single split.
        precision, threads: of fine-tuning, what it computed in (``bf16-mixed`` or ``32-true``) and with how many of torch's threads; "" and None where no
            weight of a net was trained, and in rows from before they were noted.
    """

    model: str
    benchmark: str
    protocol: str
    variant: str
    value: float
    spread: float | None
    seeds: tuple[int, ...]
    train_clips: int
    test_clips: int
    classes: int
    description: str
    command: str
    commit: str
    device: str
    per_subject: Mapping[int, float] = field(default_factory=dict)
    precision: str = ""
    threads: int | None = None

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What a table has one row of."""
        return self.model, self.benchmark, self.protocol, self.variant

    def __str__(self) -> str:
        each = ", ".join(f"{subject}: {value:.1f}" for subject, value in self.per_subject.items())
        over = f"{len(self.per_subject)} subjects ({each})" if each else f"{len(self.seeds)} seeds"
        spread = "" if self.spread is None else f", standard deviation {self.spread:.1f} over {over}"
        counts = f"{self.train_clips} train, {self.test_clips} test clips, {self.classes} classes"
        return f"{self.model}, {self.benchmark}, {self.protocol}, {self.variant}: {self.value:.1f} %{spread} ({counts}; {self.description})"


def evaluate(
    model: str,
    benchmark: str | Benchmark,
    data: str | Path,
    protocols: Sequence[str] = (),
    *,
    labels: float | None = None,
    select_persons: bool = False,
    random_weights: bool = False,
    device: str | torch.device = "auto",
    done: Callable[[list[Row]], object] | None = None,
) -> list[Row]:
    """Measure a model on a benchmark's standard split.

    Args:
        model: as ``skelzoo.load`` takes it, or the name of one of ``BASELINES``, without a net.
        benchmark: as ``skelzoo.learn.benchmarks.find_benchmark`` takes it: a name, a path ending in ``.json``, or one made in Python, as by ``by_subjects``, ``leave_one_subject_out`` and ``filmed``.
        data: folder with the benchmark's corpus file.
        protocols: names of ``skelzoo.learn.protocols.PROTOCOLS``; () for the cheap ones.
        labels: percent of the training labels, drawn in every class; not for ``retrieval``.
        device: as ``skelzoo.load``.
        select_persons: where a clip has more persons than the model takes, keep those that move most.
        random_weights: the same net untrained, with torch seed 0.
        done: called with the rows of each protocol as soon as they are there.

    Raises:
        TrainingError: unknown names, a missing file, a model that does not go with the benchmark or protocol, or whose recipe trains on the test clips, or that was fine-tuned on some.
        ClipError, CoverageError: the model does not take the benchmark's clips.
        MissingDependencyError: scikit-learn is not installed.
    """
    if not isinstance(model, str):
        raise TrainingError(
            f"model is of type {type(model).__name__}. Give a name as skelzoo.load takes it; save an encoder of your own, and give 'local:FOLDER'."
        )
    wanted = protocols or [name for name in CHEAP if labels is None or PROTOCOLS[name].takes_labels]
    found = find_benchmark(benchmark)
    benchmark_file(found, data)
    if model not in BASELINES and not random_weights:
        find(model)
    check_protocols(wanted)  # after what is wrong with the call: scikit-learn would not mend that
    if random_weights and model in BASELINES:
        raise TrainingError(f"{model} has no net, so it has no random weights. Leave --random-weights out.")
    if not random_weights:
        check_recipe(model, found, data)
    clips = standard_clips(found, data)
    encoder: Embedder = BASELINES[model](found.dimension, clips.persons) if model in BASELINES else _load(model, random_weights, device)
    if isinstance(encoder, Encoder) and not random_weights:
        check_card(model, encoder.card, found)
        check_not_learned(model, encoder, found, data)
        _check_pretrained(model, encoder, found, data)
    trial = Trial(encoder, found, clips, labels)
    return measure(trial.select_persons() if select_persons else trial, wanted, done)


def evaluate_all(data: str | Path, folder: str | Path, protocols: Sequence[str] = (), device: str | torch.device = "auto") -> Iterator[Row]:
    """Measure every model with published weights, its twin with random weights and the baselines on every benchmark of its dimension.

    The rows of each protocol are merged into ``folder/BENCHMARK.csv`` as soon as they are there, and given when the model's are complete. Protocols that a model does not go with are left out,
    and with a warning benchmarks whose file is missing.

    Raises:
        as ``evaluate``, where all files are missing; WriteError: a table cannot be written.
    """
    check_protocols(protocols or CHEAP)
    tables = {name: Path(folder) / f"{name}.csv" for name in _at_hand(data)}
    for table in tables.values():  # what cannot be written, found or done is said before anything is measured
        check_place(table)
        read_rows(table)
    for benchmark in map(find_benchmark, tables):
        clips = standard_clips(benchmark, data)
        for encoder in _candidates(benchmark, clips.persons, data, device):
            if encoder.contract.channels == benchmark.dimension:
                trial = Trial(encoder, benchmark, clips)
                fitting = [p for p in protocols or CHEAP if find_protocol(p).fits(trial)]
                yield from measure(trial, fitting, functools.partial(merge_rows, tables[benchmark.name]))


def _at_hand(data: str | Path) -> list[str]:
    """The benchmarks whose file is there; warns of the others, or raises TrainingError where there is none."""
    absent = {name: file for name in BENCHMARKS if not (Path(data) / (file := find_benchmark(name).file)).is_file()}
    files = ", ".join(dict.fromkeys(absent.values()))
    if len(absent) == len(BENCHMARKS):
        raise TrainingError(f"{data}: no file of any benchmark. Give the folder that holds {files}, or some of them, with --data.")
    if absent:
        warnings.warn(f"{data}: no {files}. Benchmarks left out: {', '.join(absent)}. Put the files there to have these measured too.", stacklevel=3)
    return [name for name in BENCHMARKS if name not in absent]


def _candidates(benchmark: Benchmark, persons: int, data: str | Path, device: str | torch.device) -> Iterator[Embedder]:
    for baseline in BASELINES.values():
        yield baseline(benchmark.dimension, persons)
    for model in manifest().pretrained:
        check_recipe(model, benchmark, data)
        yield _load(model, False, device)
        yield _load(model, True, device)


def _load(model: str, random_weights: bool, device: str | torch.device) -> Embedder:
    with seeded(0, torch.device("cpu")):  # of random weights
        return load(model, device=device, pretrained=not random_weights)


@warned_once()
def measure(trial: Trial, protocols: Sequence[str], done: Callable[[list[Row]], object] | None = None) -> list[Row]:
    """One row per number that the protocols give. ``done`` and errors as ``evaluate``."""
    for name in protocols:
        _check_fit(trial, name)
    out, commit = list[Row](), revision()
    for name in protocols:
        rows = [_measured(trial, name, m, commit) for m in run(trial, name)]
        out += rows
        if done is not None:
            done(rows)
    return out


def _measured(trial: Trial, name: str, m: Measured, commit: str) -> Row:
    return Row(
        trial.encoder.name, trial.benchmark.name, name, f"{m.variant}, {SELECTED}" if trial.selected else m.variant, round(float(np.mean(m.values)), 3),
        round(float(np.std(m.values, ddof=1)), 3) if len(m.values) > 1 else None, m.seeds, m.train_clips, m.test_clips, trial.clips.classes,
        f"{trial.benchmark.title}; {describe(trial, name)}", _command(trial, name),
        commit, device_name(trial.encoder.device), {s: round(value, 3) for s, value in zip(m.subjects, m.values, strict=False)},
        *(trained_in(trial.encoder.device) if name == "finetune" else ()),
    )  # fmt: skip


def _check_fit(trial: Trial, name: str) -> None:
    """Raise TrainingError unless model, benchmark, protocol and share of labels go together."""
    encoder, protocol, benchmark, reads = trial.encoder, find_protocol(name), trial.benchmark, trial.encoder.contract.channels
    if reads != benchmark.dimension:
        fitting = ", ".join(b for b in BENCHMARKS if find_benchmark(b).dimension == reads)
        or_film = f", or have simulated cameras film {benchmark.name}: --film, skelzoo.learn.benchmarks.filmed in Python" if reads == 2 else ""
        raise TrainingError(f"{encoder.name} reads {reads}-D joints, those of {benchmark.name} are {benchmark.dimension}-D. Use one of {fitting}{or_film}.")
    if not protocol.fits(trial):
        others = ", ".join(n for n in CHEAP if find_protocol(n).fits(trial))
        raise TrainingError(f"{encoder.name} on {benchmark.name}: protocol {name} needs {protocol.needs}. Use one of {others}, or another model or benchmark.")
    if trial.labels is not None and not protocol.takes_labels:
        few = ", ".join(n for n, p in PROTOCOLS.items() if p.takes_labels)
        raise TrainingError(f"protocol {name} cannot be given a share of the labels. Leave --labels out, or use one of {few}.")


def _command(trial: Trial, protocol: str) -> str:
    """The command line that gives a row again."""
    model, name = trial.encoder.name, trial.encoder.name.removesuffix(RANDOM)
    words = ["skelzoo", "eval", name, *(["--random-weights"] if name != model else []), *trial.benchmark.on, "--protocol", protocol]
    words += [] if trial.labels is None else ["--labels", f"{trial.labels:g}"]
    return shlex.join([*words, *(["--select-persons"] if trial.selected else []), "--data", "DATA"])


def check_recipe(model: str, benchmark: str | Benchmark, data: str | Path) -> None:
    """Check that the recipe of a model, where it is known, holds out the test clips of a benchmark, and so does that of the model it starts with.

    Clips are compared by their joints, so that it does not matter what a file of the recipe is called; one that is not in the folder cannot be compared.

    Raises:
        TrainingError: one trains on some of them; or an unknown benchmark, a missing file.
    """
    found = find_benchmark(benchmark)
    for recipe in recipes_of(model):
        if not is_there(recipe.start):
            raise TrainingError(
                f"{model} began with {recipe.start}, which is not there any more, so that nothing tells whether that trained on the test clips of {found.name}. "
                "Put it back; or, if you know that it did not, take start out of recipe.json."
            )
        check_unseen(found, data, model, recipe.data)
        if recipe.start is not None:
            check_recipe(recipe.start, found, data)
            if recipe.start.startswith("local:"):
                start = Encoder.from_pretrained(recipe.start, device="cpu")
                check_not_learned(recipe.start, start, found, data)
                _check_pretrained(recipe.start, start, found, data)


def _check_pretrained(model: str, encoder: Encoder, benchmark: Benchmark, data: str | Path) -> None:
    """Check what weights themselves note of their pretraining as ``check_recipe`` checks recipes, and warn of what neither tells."""
    unknown = [] if encoder.pretrained_on or recipes_of(model) else ["it"]
    for row in encoder.pretrained_on:
        if "data" not in row:
            if _ships(row["name"]):
                check_recipe(row["name"], benchmark, data)
            else:
                unknown.append(f"{row['name']}, which it began with,")
            continue
        try:
            options = DataOptions(**row["data"])
        except (TypeError, AttributeError, TrainingError) as error:
            raise TrainingError(f"{model}: its weights note the clips of pretraining in another way than this skelzoo ({error}). Upgrade skelzoo.") from error
        check_unseen(benchmark, data, f"{model}, pretrained as {row['name']}", options)
    if unknown:
        warnings.warn(
            f"{model}: nothing tells what {' and '.join(unknown)} was pretrained on, so its numbers count only if you know that no test clip of {benchmark.name} was among it.",
            stacklevel=3,
        )


def recipes_of(model: str) -> list[Recipe]:
    """That of a shipped model, or of the run that a weights folder lies in; of a link also of the run that it leads to."""
    folder = Path(model.removeprefix("local:"))
    if model.startswith("local:"):
        beside = dict.fromkeys(place.parent / "recipe.json" for place in (folder.absolute(), folder.resolve()))
        return [load_recipe(str(path)) for path in beside if path.is_file()]
    return [load_recipe(manifest().aliases.get(model, model))] if _ships(model) else []


def _ships(name: str) -> bool:
    """Whether a name stands for weights that a shipped recipe made; under others a user may have registered any."""
    name = manifest().aliases.get(name, name)
    return name in manifest().pretrained and name in shipped_recipes()


@functools.cache  # a commit made while a table is measured is not of the code that measures it
def revision() -> str:
    """The git commit of the checkout that runs, with "+" when the package differs from it; the version of skelzoo without a checkout."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():  # a folder above may be a checkout of something else
        return __version__
    try:
        commit, changes = (
            subprocess.run(["git", "-C", str(root), *words], capture_output=True, check=True, text=True).stdout.strip()
            for words in (["rev-parse", "--short=12", "HEAD"], ["status", "--porcelain", "--", "skelzoo", "weights_manifest.json"])
        )
    except (OSError, subprocess.CalledProcessError):
        return __version__
    return commit + "+" * bool(changes)


def device_name(device: torch.device) -> str:
    """As tables call it."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def trained_in(device: torch.device) -> tuple[str, int]:
    """Precision and number of threads of a fine-tuning with default options."""
    return auto_precision(device), torch.get_num_threads()


def read_rows(path: str | Path) -> list[Row]:
    """The rows of a table; none where there is no file.

    Raises:
        ReadError: not such a table.
    """
    if not Path(path).exists():
        return []
    try:
        with Path(path).open(newline="", encoding="utf-8") as file:
            table = csv.DictReader(file, strict=True)
            if table.fieldnames and "protocol" not in table.fieldnames:
                raise ValueError("it has no column protocol")
            return [_row(cells) for cells in table]
    except (OSError, ValueError, TypeError, KeyError, csv.Error) as error:
        raise ReadError(path, f"not a table of results ({error})", "Move it away; skelzoo eval writes a new one.") from error


def _row(cells: dict[str, str]) -> Row:
    if None in (*cells, *cells.values()):
        raise ValueError("a line is cut off or too long")
    typed = {
        "value": float(cells["value"]),
        "spread": float(cells["spread"]) if cells["spread"] else None,
        "seeds": tuple(map(int, cells["seeds"].split())),
        "per_subject": {int(s): float(value) for s, value in (pair.split("=") for pair in (cells.get("per_subject") or "").split())},
        "precision": cells.get("precision", ""),  # tables from before have no such columns
        "threads": int(cells["threads"]) if cells.get("threads") else None,
        **{key: int(cells[key]) for key in ("train_clips", "test_clips", "classes")},
    }
    return Row(**{**cells, **typed})  # type: ignore[arg-type]


def merge_rows(path: str | Path, rows: Sequence[Row]) -> None:
    """Put rows into a table in place of those of the same model, benchmark, protocol and variant; sorted, written whole, by one process at a time.

    Warns of rows that had another value: the model is the path as it was typed, which may be another model's by now, or in another folder.

    Raises:
        ReadError: what is there is no such table.
        WriteError: it cannot be written.
    """
    table = Path(os.path.realpath(path))
    with alone(table.with_name(f".{table.name[:200]}.lock"), path):
        before = {row.key: row for row in read_rows(path)}
        merged = {**before, **{row.key: row for row in rows}}
        write_csv(path, [f.name for f in fields(Row)], (_cells(merged[key]) for key in sorted(merged)))
    changed = [
        f"{', '.join(row.key)} was {before[row.key].value:g} %, is {row.value:g} %" for row in rows if row.key in before and before[row.key].value != row.value
    ]
    if changed:
        warnings.warn(
            f"{path}: {'; '.join(changed)}. A table has one row of each. "
            "If both are to be kept, as those of two models, give the other --out, or a path of its own, such as local:runs/NAME/weights.",
            stacklevel=2,
        )


def _cells(row: Row) -> dict[str, object]:
    per_subject = " ".join(f"{subject}={value}" for subject, value in row.per_subject.items())
    return {**asdict(row), "seeds": " ".join(map(str, row.seeds)), "per_subject": per_subject}
