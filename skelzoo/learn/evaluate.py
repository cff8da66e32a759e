"""Evaluation: protocols run on benchmarks."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from skelzoo.errors import TrainingError, warn
from skelzoo.inference.encoder import Encoder
from skelzoo.learn.baselines import BASELINES
from skelzoo.learn.benchmarks import BENCHMARKS, Benchmark, benchmark_file, find_benchmark, standard_clips
from skelzoo.learn.probe import Embedder
from skelzoo.learn.protocols import PROTOCOLS, SELECTED, Measured, Trial, check_protocols, describe, find_protocol, run
from skelzoo.learn.results import Row, device_name, merge_rows, read_rows, revision, trained_in
from skelzoo.learn.seen import check_recipe, check_unlearned
from skelzoo.learn.training import seeded
from skelzoo.loading import RANDOM, load
from skelzoo.skeleton.doubts import warned_once
from skelzoo.skeleton.writing import check_place
from skelzoo.weights.manifest import manifest
from skelzoo.weights.sources import find

CHEAP = tuple(name for name, p in PROTOCOLS.items() if p.cheap)
"""Protocols that run when none is named."""


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
        check_unlearned(model, encoder, found, data)
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
        warn(f"{data}: no {files}. Benchmarks left out: {', '.join(absent)}. Put the files there to have these measured too.")
    return [name for name in BENCHMARKS if name not in absent]


def _candidates(benchmark: Benchmark, persons: int, data: str | Path, device: str | torch.device) -> Iterator[Embedder]:
    for baseline in BASELINES.values():
        yield baseline(benchmark.dimension, persons)
    for model in manifest().pretrained:
        check_recipe(model, benchmark, data)
        encoder = _load(model, False, device)
        check_unlearned(model, encoder, benchmark, data)
        yield encoder
        yield _load(model, True, device)


def _load(model: str, random_weights: bool, device: str | torch.device) -> Encoder:
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
    precision, threads = trained_in(trial.encoder.device) if name == "finetune" else ("", None)
    return Row(
        model=trial.encoder.name, benchmark=trial.benchmark.name, protocol=name, variant=f"{m.variant}, {SELECTED}" if trial.selected else m.variant,
        value=round(float(np.mean(m.values)), 3), spread=round(float(np.std(m.values, ddof=1)), 3) if len(m.values) > 1 else None, seeds=m.seeds,
        train_clips=m.train_clips, test_clips=m.test_clips, classes=trial.clips.classes, description=f"{trial.benchmark.title}; {describe(trial, name)}",
        command=_command(trial, name), commit=commit, device=device_name(trial.encoder.device),
        per_subject={s: round(value, 3) for s, value in zip(m.subjects, m.values, strict=False)}, precision=precision, threads=threads,
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
