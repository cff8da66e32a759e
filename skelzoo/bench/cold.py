"""Timings on this machine, each run in a cold process."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import skelzoo
from skelzoo.inference.screen import table

if TYPE_CHECKING:
    from skelzoo.inference.encoder import Encoder
    from skelzoo.skeleton.clip import Clip

PAPER_SIZED = "skeattnclr-ntu60"
"""A net of 14 MB; without weights, so its files are made up."""

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
"""Where Linux tells a process what memory it takes; writing 5 to the second lets VmHWM begin anew."""

LOAD = """
import hashlib, json, sys, time
import torch
start = time.perf_counter()
import skelzoo
encoder = skelzoo.load(sys.argv[1], device="cpu", local_files_only=True)
total = time.perf_counter() - start
from skelzoo.weights.sources import locate_weights
located = locate_weights(sys.argv[1])
data = [located.read(name) for name in ("model.safetensors", "config.json")]
start = time.perf_counter()
for part in data:
    hashlib.sha256(part).hexdigest()
print(json.dumps({"load": total, "hashing": time.perf_counter() - start, "bytes": sum(map(len, data))}))
"""
"""Loading hashes these two files once; the same is timed again, alone."""

IMPORT = """
import json, time
start = time.perf_counter()
import skelzoo
imported = time.perf_counter()
skelzoo.list_models()
print(json.dumps({"import": imported - start, "list": time.perf_counter() - imported}))
"""


BULK = """
import json, sys, time, warnings
import skelzoo.inference.bulk
from skelzoo.bench.cold import RESET, STATUS, memory
from skelzoo.errors import DoubtWarning
from skelzoo.inference.job import Job
warnings.simplefilter("ignore", DoubtWarning)  # the clips are made up
before = memory("VmRSS") if STATUS.exists() else 0
if STATUS.exists():
    RESET.write_text("5")
model, folder = json.loads(sys.argv[1])
start = time.perf_counter()
skelzoo.inference.bulk.embed_store(Job(model), [f"{folder}/clips/*.npz"], f"{folder}/store", devices=["cpu"])
print(json.dumps({"seconds": time.perf_counter() - start, "peak": memory("VmHWM") - before if STATUS.exists() else 0}))
"""

FILE = 1000
"""Clips per file of ``bench_bulk``."""


def memory(field: str) -> int:
    """MiB of this process, on Linux: VmRSS what it takes now, VmHWM what it took at most."""
    line = next(line for line in STATUS.read_text(encoding="utf-8").splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) >> 10


def bench_bulk(model: str, counts: Sequence[int]) -> Iterator[str]:
    """Lines of a table, each as soon as it is measured, of what ``embed --out`` takes for so many made-up clips on the CPU: seconds, clips per second, and memory beyond the imports.

    Args:
        counts: rounded up to thousands, the clips of a file.
    """
    encoder = skelzoo.load(model, device="cpu")
    yield _line("clips", "s", "clips per s", "peak, MiB")
    for count in counts:
        with tempfile.TemporaryDirectory() as scratch:
            files = -(-count // FILE)
            (Path(scratch) / "clips").mkdir()
            first = Path(scratch) / "clips" / "0.npz"
            skelzoo.save_clips(first, made_up(encoder, 1, FILE))
            for i in range(1, files):  # the same bytes under other names
                first.with_name(f"{i}.npz").hardlink_to(first)
            (taken,) = _cold(BULK, json.dumps([model, scratch]), 1)
        clips = files * FILE
        yield _line(str(clips), f"{taken['seconds']:.1f}", f"{clips / taken['seconds']:.0f}", f"{taken['peak']:.0f}" if taken["peak"] else "-")


def _line(*cells: str, first: int = 8) -> str:
    """A line of a table whose widest cells are not known yet, but for those of the first column."""
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, (first, 7, 27, 27), strict=True)).rstrip()


def made_up(encoder: Encoder, persons: int, count: int) -> list[Clip]:
    """Motions of that many persons, no two alike."""
    from skelzoo.inference.golden import golden_clip

    golden = golden_clip(encoder.contract)
    sizes = 1 + 0.02 * np.arange(count * persons, dtype=np.float32).reshape(count, persons, 1, 1, 1) / (count * persons)
    return [golden.replace(keypoints=clip, name=str(i)) for i, clip in enumerate(golden.keypoints * sizes)]


def bench_load(models: Sequence[str], runs: int) -> Iterator[str]:
    """Lines of a table, each as soon as it is measured, of what ``skelzoo.load`` takes after torch is imported, in seconds, and the hashing in it.

    Args:
        models: their names; none for those of the package and a made-up one of 14 MB.
        runs: cold processes per model.

    Raises:
        UnknownModelError, WeightsUnavailableError: a name that is none, or that is not on this machine.
    """
    with tempfile.TemporaryDirectory() as scratch:
        names = {name: name for name in models}
        if not models:
            names = {name: name for name in skelzoo.list_models(pretrained=True)}
            skelzoo.load(PAPER_SIZED, pretrained=False, device="cpu").save(Path(scratch) / "model")
            names[f"{PAPER_SIZED}, made up"] = f"local:{scratch}/model"
        first = max(map(len, names))
        yield _line("model", "size", "load, s", "of which hashing, s", first=first)
        for shown, name in names.items():
            skelzoo.load(name, device="cpu", local_files_only=True)
            times = _cold(LOAD, name, runs)
            yield _line(shown, f"{times[0]['bytes'] / 1e6:.1f} MB", _shown(times, "load"), _shown(times, "hashing"), first=first)


def bench_import(runs: int) -> str:
    """A table of what ``import skelzoo`` and then ``skelzoo.list_models()`` take, in seconds."""
    times = _cold(IMPORT, "", runs)
    return table(["what", "s"], [["import skelzoo", _shown(times, "import")], ["list_models()", _shown(times, "list")]])


def _cold(code: str, name: str, runs: int) -> list[Mapping[str, float]]:
    """What a piece of code measures, in a new process each time."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(skelzoo.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-c", code, name]
    return [json.loads(subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, text=True).stdout) for _ in range(runs)]


def _shown(times: Sequence[Mapping[str, float]], key: str) -> str:
    values = [row[key] for row in times]
    return f"{statistics.median(values):.3f} (worst of {len(values)}: {max(values):.3f})"
