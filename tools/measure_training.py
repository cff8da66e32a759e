"""Measure training steps: clips per second in each form, and where the time goes; the numbers of docs/results/training-*.csv.

    python tools/measure_training.py RECIPE --data DATA --out docs/results/training-cpu.csv [--batch 32 64 128] [--rounds 5] [--steps 4] [--device auto]

Of each batch size all forms (eager and compiled, float32 and bf16) take turns, ``--steps`` steps each, for ``--rounds`` rounds; the
median counts. Then each form runs ``--steps`` steps under torch.profiler, which slows them a little: its shares are of those steps.
``data`` is drawing a batch, ``optimiser`` with the key encoder and the queue, ``device_busy`` the share of the time in which a GPU runs anything.
"""

from __future__ import annotations

import argparse
import dataclasses
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile

from skelzoo.bench.speed import described
from skelzoo.learn.pretrain.loop import Run
from skelzoo.learn.recipe import Recipe, load_recipe
from skelzoo.learn.results import revision
from skelzoo.skeleton.writing import write_csv

FORMS = [(precision, compiled) for compiled in (False, True) for precision in ("32-true", "bf16-mixed")]
STAGES = ("data", "augmentation", "forward", "backward", "optimiser")
WARM_UP = 3
"""Steps that nobody times; the first of them compile."""


def at(recipe: Recipe, batch: int, precision: str) -> Recipe:
    """The recipe at another batch size and precision, its queue at least as long and a multiple of the batch."""
    options = dict(recipe.method_options)
    if "queue" in options:
        options["queue"] = -(-options["queue"] // batch) * batch
    return dataclasses.replace(recipe, batch_size=batch, precision=precision, method_options=options, monitor=None)


def seconds(run: Run, steps: int) -> float:
    """Of a step, the mean; a step ends when the device is done with it."""
    start = time.perf_counter()
    for _ in range(steps):
        run.one_step()
    return (time.perf_counter() - start) / steps


def shares(run: Run, steps: int) -> dict[str, float]:
    """Share of the time that each stage takes, on a GPU of the time that its kernels run, and of the time that the GPU is busy."""
    gpu = run.fabric.device.type == "cuda"
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if gpu else [])]) as profiler:
        whole = 1e6 * steps * seconds(run, steps)
    events: Sequence[FunctionEvent] = profiler.events()
    ranges = [e for e in events if e.name in STAGES and e.device_type == DeviceType.CPU]
    spent = dict.fromkeys(STAGES, 0.0)
    for stage in ranges:
        inside = (e for e in events if stage.time_range.start <= e.time_range.start < stage.time_range.end)
        spent[stage.name] += sum(k.duration for e in inside for k in e.kernels) if gpu else stage.time_range.elapsed_us()
    out = {name: value / whole for name, value in spent.items()}
    if not gpu:
        return out
    kernels = [e for e in events if e.device_type == DeviceType.CUDA and e.name not in STAGES and not e.is_user_annotation]
    return {**out, "device_busy": busy(kernels) / whole}


def busy(kernels: Sequence[FunctionEvent]) -> float:
    """Microseconds in which at least one of them runs."""
    total = end = 0.0
    for start, stop in sorted((k.time_range.start, k.time_range.end) for k in kernels):
        total += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return total


def measure(recipe: Recipe, batch: int, a: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """One row per form."""
    torch.compiler.reset()  # which keeps few graphs of one function, and then goes on in eager mode
    runs = {(p, c): Run(at(recipe, batch, p), folder, a.data, a.device, compile=c) for p, c in FORMS}
    for run in runs.values():
        run.method.train()
        seconds(run, WARM_UP)
    times: dict[tuple[str, bool], list[float]] = {form: [] for form in FORMS}
    for _ in range(a.rounds):
        for form, run in runs.items():
            times[form].append(seconds(run, a.steps))
    rows = []
    for (precision, compiled), run in runs.items():
        step, device = statistics.median(times[precision, compiled]), run.fabric.device
        found = {stage: round(share, 3) for stage, share in shares(run, a.steps).items()}
        rows.append(
            {"recipe": recipe.name, "batch_size": batch, "precision": precision, "compiled": compiled, "clips_per_second": round(batch / step, 1),
             "step_seconds": round(step, 5), **found, "rounds": a.rounds, "steps": a.steps, "device": described(device), "torch": torch.__version__,
             "commit": revision(), "command": shlex.join(["python", *sys.argv])}
        )  # fmt: skip
        print(", ".join(f"{key} {value}" for key, value in list(rows[-1].items())[1:-5]), flush=True)
    return rows


def main() -> None:
    """Measure every batch size and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--batch", type=int, nargs="+", default=[32, 64, 128])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--device", default="auto")
    a = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:  # the prepared windows, which all runs share
        rows = [row for batch in a.batch for row in measure(load_recipe(a.recipe), batch, a, Path(scratch))]
    write_csv(a.out, list(rows[0]), rows)


if __name__ == "__main__":
    main()
