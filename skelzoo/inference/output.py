"""Writing results: whole or not at all. Embeddings as .npz or .npy, classes as CSV or JSON lines."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from skelzoo.errors import WriteError
from skelzoo.inference.replacing import check_replaced, either, with_arrays, with_columns, with_keys
from skelzoo.skeleton.writing import check_place, csv_bytes, whole_file

if TYPE_CHECKING:
    from skelzoo.inference.classification import Classification

EMBEDDING_SUFFIXES = (".npz", ".npy")
CLASS_SUFFIXES = (".csv", ".jsonl")
SPAN = ("start", "stop", "start_s", "stop_s")
"""What tables of windows have besides: see ``ClipId``."""

PART = ("person", *SPAN)
"""What tables of each person have."""

ARRAYS, ID_COLUMNS, CLASS_KEYS = (
    ("embeddings", "names", "files", "labels", "model"), ("row", "name", "file", "label", "model"), ("name", "file", "label", "classes"),
)  # fmt: skip


_MORE = (), SPAN, PART


@dataclass(frozen=True)
class ClipId:
    """Which clip a row of results is about.

    Attributes:
        name: of the clip.
        file: it was read from.
        label: "" when unknown.
        start, stop: of a window, or of one person's clip, frames of its recording that it begins with and ends before.
        start_s, stop_s: the same in seconds; None too where the frame rate is unknown.
        person: whose clip it is, where everyone has one; else "".
    """

    name: str
    file: str
    label: str = ""
    start: int | None = None
    stop: int | None = None
    start_s: float | None = None
    stop_s: float | None = None
    person: str = field(default="", kw_only=True)

    def more(self, columns: Sequence[str]) -> dict[str, str | float | None]:
        """Those of PART that a table has."""
        return {key: getattr(self, key) for key in columns}

    @classmethod
    def of(cls, name: str, file: str, label: str, span: Iterable[float], person: str = "") -> ClipId:
        """One whose four of SPAN are numbers, NaN for None."""
        start, stop, *seconds = (None if math.isnan(value) else value for value in span)
        return cls(name, file, label, None if start is None else int(start), None if stop is None else int(stop), *seconds, person=person)

    def cells(self, columns: Sequence[str]) -> list[str]:
        """All of it in a table that has these of PART."""
        return [self.name, self.file, self.label, *("" if value is None else str(value) for value in self.more(columns).values())]


def columns_for(windows: bool, persons: bool) -> tuple[str, ...]:
    """Those of PART that a table of windows, or of each person, has."""
    return PART if persons else SPAN if windows else ()


def columns_of(ids: Sequence[ClipId]) -> tuple[str, ...]:
    """Those of PART that a table of these ids has."""
    return columns_for(any(i.start is not None for i in ids), any(i.person for i in ids))


def spans(ids: Sequence[ClipId]) -> NDArray[np.float64]:
    """start, stop, start_s and stop_s of the ids: (N, 4), NaN where there is none."""
    return np.array([[math.nan if value is None else value for value in i.more(SPAN).values()] for i in ids], np.float64).reshape(-1, 4)


def more_arrays(ids: Sequence[ClipId], columns: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Those of PART that a result has as arrays (N,): persons as text, frames as whole numbers, -1 where there is none, seconds with NaN there."""
    span = dict(zip(SPAN, spans(ids).T, strict=True))
    return {
        key: texts(ids, key) if key not in span else span[key] if key.endswith("_s") else np.nan_to_num(span[key], nan=-1).astype(np.int64) for key in columns
    }


def check_output(path: str | os.PathLike[str], suffixes: Sequence[str]) -> Path:
    """Check, before any work, that a result can be written there. Nothing is written or created.

    Args:
        suffixes: those the result can have; the suffix of ``path`` chooses the format.

    Raises:
        WriteError: another suffix, something that is no file in the way, or no permission to write.
    """
    target = Path(path)
    if target.suffix.lower() not in suffixes:
        raise WriteError(
            f"{target}: cannot write {f'the format {target.suffix!r}' if target.suffix else 'without a suffix'}. Use a name ending in {' or '.join(suffixes)}."
        )
    for file in (target, _ids_of(target)) if target.suffix.lower() == ".npy" else (target,):
        check_place(file)
    return target


def check_embeddings(path: str | os.PathLike[str], inputs: Iterable[str | os.PathLike[str]] = ()) -> Path:
    """Check, before any work, that ``write_embeddings`` can write there.

    Args:
        inputs: paths that will be read.

    Raises:
        WriteError: as ``check_output`` and ``check_replaced``.
    """
    target = check_output(path, EMBEDDING_SUFFIXES)
    if target.suffix.lower() == ".npz":
        check_replaced({target: either(*(with_arrays(*ARRAYS, *more) for more in _MORE))}, inputs)
    else:
        ids = with_columns(*ID_COLUMNS)
        check_replaced({target: lambda file: ids(_ids_of(file)), _ids_of(target): ids}, inputs)
    return target


def check_classes(path: str | os.PathLike[str], inputs: Iterable[str | os.PathLike[str]] = ()) -> Path:
    """Check, before any work, that ``write_classes`` can write there; as ``check_embeddings``."""
    target = check_output(path, CLASS_SUFFIXES)
    columns, first = ("name", "file", "label"), ("class_1", "score_1")
    kind = either(*(with_columns(*columns, *more, *first) for more in _MORE)) if target.suffix.lower() == ".csv" else with_keys(*CLASS_KEYS)
    check_replaced({target: kind}, inputs)
    return target


def check_table(path: str | os.PathLike[str], columns: Sequence[str]) -> Path:
    """Check, before any work, that a CSV table can be written there, which replaces no other than one with these columns first; as ``check_embeddings``."""
    target = check_output(path, (".csv",))
    check_replaced({target: with_columns(*columns)})
    return target


def _ids_of(target: Path) -> Path:
    return target.with_name(f"{target.stem}.ids.csv")


def write_embeddings(path: str | os.PathLike[str], vectors: NDArray[np.float32], ids: Sequence[ClipId], model: str) -> list[Path]:
    """Write one vector per clip.

    Args:
        path: ``.npz`` holds embeddings (N, D) float32, names, files, labels (each (N,) text, "" for an unknown label)
            and model; ``.npy`` the vectors alone, with ``<stem>.ids.csv`` (row, name, file, label, model) beside it. Of windows, and of each person,
            either also has start and stop, frames of the recording, and start_s and stop_s, the same in seconds (NaN, in tables empty, where the rate is unknown); of each person also person.
        vectors: (N, D), row i is ids[i].

    Returns:
        The files written.

    Raises:
        WriteError: as ``check_embeddings``, or it cannot be written.
    """
    target, columns = check_embeddings(path), columns_of(ids)
    if target.suffix.lower() == ".npz":
        arrays = {"embeddings": vectors, "names": texts(ids, "name"), "files": texts(ids, "file"), "labels": texts(ids, "label"), "model": np.array(model)}
        with whole_file(target) as file:
            np.savez(file, **arrays, **more_arrays(ids, columns))  # type: ignore[arg-type]  # allow_pickle, which numpy 1 would store as an array
        return [target]
    rows = [[str(row), i.name, i.file, i.label, model, *i.cells(columns)[3:]] for row, i in enumerate(ids)]
    # The vectors come last: whoever sees them finds their ids.
    with whole_file(target) as vectors_file:
        np.save(vectors_file, vectors)
        with whole_file(_ids_of(target)) as ids_file:
            ids_file.write(csv_bytes([[*ID_COLUMNS, *columns], *rows]))
    return [target, _ids_of(target)]


def texts(ids: Sequence[ClipId], field: str) -> NDArray[np.str_]:
    """One field of the ids: (N,) text."""
    return np.array([getattr(i, field) for i in ids], np.str_)


def write_classes(path: str | os.PathLike[str], result: Classification, ids: Sequence[ClipId]) -> Path:
    """Write the classes of each clip, best first.

    Args:
        path: ``.csv`` has one row per clip: name, file, label, class_1, score_1, class_2, ...; ``.jsonl`` one JSON
            object per line: name, file, label (null when unknown) and ``classes``, a list of {"class", "score"}. Of windows, and of each person, both have start and
            stop, frames of the recording, and start_s and stop_s, the same in seconds (empty or null where the rate is unknown), after the label; of each person, person before them.
        result: row i is ids[i].

    Raises:
        WriteError: as ``check_classes``, or it cannot be written.
    """
    target = check_classes(path)
    formats: dict[str, Callable[[Classification, Sequence[ClipId]], bytes]] = {".csv": _classes_csv, ".jsonl": _classes_jsonl}
    with whole_file(target) as file:
        file.write(formats[target.suffix.lower()](result, ids))
    return target


def _classes_csv(result: Classification, ids: Sequence[ClipId]) -> bytes:
    columns = columns_of(ids)
    header = ["name", "file", "label", *columns, *(f"{what}_{k + 1}" for k in range(result.labels.shape[1]) for what in ("class", "score"))]
    rows = [
        [*i.cells(columns), *(cell for n, s in zip(names, scores, strict=True) for cell in (str(n), f"{s:.6f}"))]
        for i, names, scores in zip(ids, result.labels, result.scores, strict=True)
    ]
    return csv_bytes([header, *rows])


def _classes_jsonl(result: Classification, ids: Sequence[ClipId]) -> bytes:
    columns = columns_of(ids)
    lines = [
        {
            "name": i.name,
            "file": i.file,
            "label": i.label or None,
            **i.more(columns),
            "classes": [{"class": str(n), "score": round(float(s), 6)} for n, s in zip(names, scores, strict=True)],
        }
        for i, names, scores in zip(ids, result.labels, result.scores, strict=True)
    ]
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode("utf-8", "surrogateescape")
