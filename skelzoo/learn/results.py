"""Rows of results, each with all that decides its number, and the tables they are kept in."""

from __future__ import annotations

import csv
import functools
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import torch

from skelzoo import __version__
from skelzoo.errors import ReadError, warn
from skelzoo.learn.training import auto_precision
from skelzoo.skeleton.writing import alone, write_csv

HEAD = "head"
"""What protocols of a model's head begin with. Their rows come all together, and those of an earlier measurement go with it, as of a class that is confused no more."""


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
    """Put rows into a table in place of those of the same model, benchmark, protocol and variant, and of all rows of the same head; sorted, written whole, by one process at a time.

    Warns of rows that had another value: the model is the path as it was typed, which may be another model's by now, or in another folder.

    Raises:
        ReadError: what is there is no such table.
        WriteError: it cannot be written.
    """
    table = Path(os.path.realpath(path))
    with alone(table.with_name(f".{table.name[:200]}.lock"), path):
        before = {row.key: row for row in read_rows(path)}
        anew = {(row.model, row.benchmark) for row in rows if row.protocol.startswith(HEAD)}
        kept = {key: row for key, row in before.items() if not (row.protocol.startswith(HEAD) and (row.model, row.benchmark) in anew)}
        merged = {**kept, **{row.key: row for row in rows}}
        write_csv(path, [f.name for f in fields(Row)], (_cells(merged[key]) for key in sorted(merged)))
    changed = [
        f"{', '.join(row.key)} was {before[row.key].value:g} %, is {row.value:g} %" for row in rows if row.key in before and before[row.key].value != row.value
    ]
    if changed:
        warn(
            f"{path}: {'; '.join(changed)}. A table has one row of each. "
            "If both are to be kept, as those of two models, give the other --out, or a path of its own, such as local:runs/NAME/weights.",
        )


def _cells(row: Row) -> dict[str, object]:
    per_subject = " ".join(f"{subject}={value}" for subject, value in row.per_subject.items())
    return {**asdict(row), "seeds": " ".join(map(str, row.seeds)), "per_subject": per_subject}
