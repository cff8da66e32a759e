"""Parquet files of clips, one row each, read a few rows at a time. Needs pyarrow.

==============  =================================================================================================
``keypoints``   list or fixed-size list of floats, nested or flat: (persons, frames, joints, coordinates) in that order
``layout``      a layout name
``frames``      number of frames
``persons``     optional number of persons, 1 by default
``scores``      optional list of floats: (persons, frames, joints)
``fps``         optional frames per second
``image_height``, ``image_width``  optional, pixels of the picture of 2-D joints
``name``, ``label``  optional texts
==============  =================================================================================================
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from skelzoo.errors import ClipError, MissingDependencyError, ReadError, SkelzooError
from skelzoo.skeleton.clip import Clip, label_of
from skelzoo.skeleton.io.files import PathLike, build_clip, check_file
from skelzoo.skeleton.io.read_options import NO_OPTIONS, ReadOptions
from skelzoo.skeleton.io.table_columns import columns_of
from skelzoo.skeleton.layouts import get_layout

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

NEEDED = ("keypoints", "layout", "frames")
COLUMNS = (*NEEDED, "persons", "scores", "fps", "image_height", "image_width", "name", "label", "person_ids")

_COLUMNS = "`skelzoo docs bulk` lists the columns of a file of clips."

ROWS = 64
"""Rows decoded at a time."""


def sniff(head: bytes) -> bool:
    """Whether a file that starts with these bytes looks like parquet."""
    return head.startswith(b"PAR1")


def read(path: PathLike, reading: ReadOptions = NO_OPTIONS) -> list[Clip]:
    """All clips of a file; large ones are better left to ``skelzoo embed --out``, which reads them one by one.

    Args:
        reading: whether joints that are NaN are filled.

    Returns:
        The clips, named after the file and their row unless it names them.

    Raises:
        MissingDependencyError: pyarrow is not installed.
        ReadError: not parquet, cut off, damaged, or without the columns needed.
        ClipError: a row that is no clip.
    """
    return [clip_of(row, f"{Path(path).stem}[{i}]", reading.fill_missing) for i, row in enumerate(rows(path, open_file(path)))]


def open_file(path: PathLike) -> pq.ParquetFile:
    """A parquet file of clips; only its metadata are read.

    Raises:
        MissingDependencyError, ReadError: as ``read``.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingDependencyError("pyarrow", "parquet", "Reading parquet") from error
    check_file(path)
    try:
        file = pq.ParquetFile(path, pre_buffer=False)
    except (pa.ArrowException, OSError) as error:
        raise damaged(path, error) from error
    names = file.schema_arrow.names
    missing = [name for name in NEEDED if name not in names]
    if missing and columns_of([names]) is not None:
        how = f"Save it as CSV: python -c \"import pandas; pandas.read_parquet('{path}').to_csv('{Path(path).stem}.csv')\""
        raise ReadError(path, "holds a table of joints, not clips, a row each", how)
    if missing:
        raise ReadError(path, f"has no column {', '.join(missing)}; it has {', '.join(names[:12])}", _COLUMNS)
    for name in [name for name in ("keypoints", "scores") if name in names]:
        kind = inner = file.schema_arrow.field(name).type
        while hasattr(inner, "value_type"):
            inner = inner.value_type
        if pa.types.is_nested(inner):
            raise ReadError(path, f"its column {name} is {str(kind)[:80]}, not lists of numbers", _COLUMNS)
    if sum(group_sizes(file)) != file.metadata.num_rows:
        raise damaged(path, f"it says {file.metadata.num_rows} rows, its groups {sum(group_sizes(file))}")
    if not file.metadata.num_rows:
        raise ReadError(path, "holds no rows", "Leave it out.")
    return file


def group_sizes(file: pq.ParquetFile) -> list[int]:
    """How many rows each row group says it has."""
    return [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]


def rows(path: PathLike, file: pq.ParquetFile, group: int = 0) -> Iterator[dict[str, Any]]:
    """The rows from a row group on.

    Raises:
        ReadError: damaged, also where fewer rows come than the file says it has; text that is not UTF-8.
    """
    import pyarrow as pa

    names = [name for name in COLUMNS if name in file.schema_arrow.names]
    left = sum(group_sizes(file)[group:])
    try:
        for batch in file.iter_batches(ROWS, row_groups=range(group, file.num_row_groups), columns=names):
            columns = {name: [_numbers(v) for v in batch[name]] if name in ("keypoints", "scores") else batch[name].to_pylist() for name in names}
            left -= len(batch)
            yield from (dict(zip(names, values, strict=True)) for values in zip(*columns.values(), strict=True))
    except UnicodeDecodeError as error:
        raise ReadError(path, f"holds the text {error.object[:60]!r}, which is not UTF-8", "Write the file again with text in UTF-8.") from error
    except (pa.ArrowException, OSError) as error:
        raise damaged(path, error) from error
    if left:
        raise damaged(path, f"it says {file.metadata.num_rows} rows, of which {abs(left)} are {'missing' if left > 0 else 'too many'}")


def _numbers(value: pa.Scalar) -> NDArray[Any] | None:
    """A list as an array of as many axes as it is nested; flat where its lists are of unequal lengths."""
    import pyarrow.compute as pc

    values = getattr(value, "values", None)
    if values is None:
        return None
    shape = [len(values)]
    while hasattr(values.type, "value_type"):
        lengths = pc.list_value_length(values).unique().to_pylist()
        shape.append(lengths[0] if len(lengths) == 1 and lengths[0] else 0)
        values = values.flatten()
    array = np.array(values.to_numpy(zero_copy_only=False))
    return array.reshape(shape) if array.size == np.prod(shape) else array


def damaged(path: PathLike, error: object) -> ReadError:
    """What is said of a file that does not hold what it promises."""
    return ReadError(path, f"is cut off, damaged or no parquet file ({str(error)[:120]})", "Copy or write the file again.")


def name_of(row: Mapping[str, Any], otherwise: str) -> str:
    """The name of a row, or where it has none the other."""
    return label_of(row.get("name")) or otherwise


def clip_of(row: Mapping[str, Any], name: str, fill: bool = False) -> Clip:
    """The clip of one row; missing columns count as empty.

    Args:
        row: columns as above; ``keypoints`` flat, of shape (M, T, V, C), or with some of these axes made one.
        name: where the row has none.
        fill: whether joints that are NaN are filled.

    Raises:
        ClipError: no keypoints, a number of them that does not fit, NaN, or all zero; a value of another type than its column should have.
        LayoutError: an unknown layout.
    """
    name = name_of(row, name)
    try:
        return _clip(row, name, fill)
    except SkelzooError:
        raise
    except (TypeError, ValueError, OverflowError) as error:
        raise ClipError(f"{name}: its row is not of the types that `skelzoo docs bulk` lists ({error}). Write the file again.") from error


def _clip(row: Mapping[str, Any], name: str, fill: bool) -> Clip:
    if row.get("keypoints") is None or row.get("layout") is None:
        raise ClipError(f"{name}: its keypoints or its layout are empty. Leave the row out.")
    layout, points, scores = get_layout(str(row["layout"])), _array(row["keypoints"]), row.get("scores")
    scores = None if scores is None else _array(scores)
    persons, frames, height, width, fps = (_number(row.get(key)) for key in ("persons", "frames", "image_height", "image_width", "fps"))
    if points.ndim == 1 or frames is not None or persons is not None:
        m, t, v = int((points.shape[0] if points.ndim == 4 else 1) if persons is None else persons), int(frames or 0), len(layout)
        if not m * t or not any(_shaped(points, (m, t, v, c)) for c in (2, 3)):
            found = f"{points.size} numbers" if points.ndim == 1 else f"keypoints of shape {points.shape}"
            raise ClipError(f"{name}: {found} for {m} person(s), {t} frames and {v} joints of {layout.name}. "
                            "Give 2 or 3 for each joint, ordered (persons, frames, joints, coordinates).")  # fmt: skip
        points = points.reshape(m, t, v, -1)
    if scores is not None and points.ndim in (3, 4) and _shaped(scores, points.shape[:-1]):
        scores = np.reshape(scores, points.shape[:-1])
    image_size = None if height is None or width is None else (int(height), int(width))
    label, ids = label_of(row.get("label")) or None, row.get("person_ids")
    return build_clip(points, layout, name=name, fps=fps, label=label, scores=scores, image_size=image_size, fill=fill, person_ids=() if ids is None else ids)


def _array(value: Any) -> NDArray[Any]:
    """A column's value as numbers; nested lists come as arrays of arrays from Ray and pandas."""
    array = np.asarray(value)
    return np.stack([_array(item) for item in array]) if array.dtype.hasobject else array


def _shaped(array: NDArray[Any], shape: Sequence[int]) -> bool:
    """Whether an array is of that shape, or of it with neighbouring axes made one."""
    ends = {int(n) for n in np.cumprod(shape[::-1])}
    return array.size == np.prod(shape) and array.size > 0 and {int(n) for n in np.cumprod(array.shape[::-1])} <= ends


def _number(value: Any) -> float | None:
    """A number; None where there is none, or NaN in its place, as tables have it."""
    return None if value is None or np.isnan(float(value)) else float(value)
