"""What a result may replace: an earlier one of its kind, and nothing else."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from skelzoo.errors import ReadError, WriteError
from skelzoo.skeleton.io.files import npz_keys
from skelzoo.weights.files import parse_json

Kind = Callable[[Path], bool]
"""Whether a file is a result of one kind."""

HEAD = 1 << 20
"""Bytes of a line that are looked at, at most."""


def check_replaced(files: Mapping[Path, Kind], inputs: Iterable[str | os.PathLike[str]] = ()) -> None:
    """Check, before any work, that results replace nothing but earlier ones. Empty files may be replaced too.

    Args:
        files: that will be written, each with the kind that may be there.
        inputs: paths that will be read; those that are no files are passed over.

    Raises:
        WriteError: a file is also to be read, or one of another kind is there.
    """
    read = {Path(path).resolve() for path in inputs if os.path.isfile(path)}
    for file, kind in files.items():
        if file.resolve() in read:
            raise WriteError(f"{file}: is to be read, and is where the result goes. Give the result another name, or do not have it read; nothing was written.")
        if _other(file, kind):
            raise WriteError(
                f"{file}: is there, and is no earlier result that this one could replace. Give the result another name, or move that file away; nothing was written."
            )


def _other(file: Path, kind: Kind) -> bool:
    try:
        return file.is_file() and file.stat().st_size > 0 and not kind(file)
    except (OSError, ReadError, ValueError, csv.Error):
        return True


def with_columns(*columns: str) -> Kind:
    """A CSV table that begins with these columns."""

    def kind(file: Path) -> bool:
        header = next(csv.reader([_first_line(file).decode("utf-8-sig")]), [])
        return header[: len(columns)] == list(columns)

    return kind


def either(*kinds: Kind) -> Kind:
    """A file of one of these kinds."""
    return lambda file: any(kind(file) for kind in kinds)


def with_arrays(*names: str) -> Kind:
    """An ``.npz`` of these arrays and no others."""
    return lambda file: set(npz_keys(file)) == set(names)


def with_keys(*keys: str) -> Kind:
    """JSON lines whose first has these keys."""
    return lambda file: _has(json.loads(_first_line(file)), keys)


def about_export(file: Path) -> bool:
    """Whether it is what stands beside an exported model."""
    return _has(json.loads(file.read_bytes()), ("format", "skelzoo", "model", "contract"))


def about_models(file: Path) -> bool:
    """Whether it is entries of models for a manifest, and nothing else."""
    rows = parse_json(file.read_bytes())
    return isinstance(rows, dict) and all(_has(row, ("config", "weights")) for row in rows.values())


def _has(row: object, keys: Iterable[str]) -> bool:
    return isinstance(row, dict) and set(keys) <= row.keys()


def _first_line(file: Path) -> bytes:
    with file.open("rb") as lines:
        return lines.readline(HEAD)
