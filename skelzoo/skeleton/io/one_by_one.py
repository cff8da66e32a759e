"""Clips of one large file one after the other, without holding the file.

Taken are corpus files, parquet, numpy files whose first axis is the clips, as ``skelzoo.save_clips`` and ``np.savez``
write them, and those of CTR-GCN and ST-GCN. What is not in perfect order is left to ``read``, which says what is wrong.
"""

from __future__ import annotations

import abc
import bisect
import contextlib
import itertools
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from skelzoo.errors import ClipError, LayoutError, SkelzooError
from skelzoo.skeleton.clip import Clip, whole_text
from skelzoo.skeleton.io import array, corpus, datasets, parquet
from skelzoo.skeleton.io.files import ARRAY_ERRORS, PathLike, array_error, check_packed, named, read_head
from skelzoo.skeleton.io.read_options import NO_OPTIONS, ReadOptions

BLOCK = 1 << 20
"""Bytes passed over at a time, or one row."""

Arrays = dict[str, NDArray[Any]]

_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_PER_CLIP = ("keypoints", "scores", "shapes", "name", "names", "label", "labels", "fps", "image_size")
_CORPUS_PER_CLIP = ("clip_origin", "label", "clip_name")
_CORPUS_ONCE = ("scale", "label_names", "joint_names", "fps")


@dataclass(frozen=True)
class BadClip:
    """A clip of a file that cannot be used, and why."""

    name: str
    error: SkelzooError


class ClipReader(abc.ABC):
    """The clips of one file, read forward; going back starts anew.

    Attributes:
        count: number of clips.
        reading: what the file may leave open.
    """

    count: int
    reading: ReadOptions = NO_OPTIONS

    def __init__(self, path: Path) -> None:
        self.path, self._position = path, 0

    def clips(self, first: int, last: int) -> Iterator[Clip | BadClip]:
        """Clips ``first`` to ``last - 1``.

        Raises:
            ReadError: the file is cut off or damaged there.
        """
        with named(self.path):
            self._seek(first)
        for _ in range(first, last):
            with named(self.path):
                clip = self._completed(self._next())
            self._position += 1
            yield clip

    def _completed(self, clip: Clip | BadClip) -> Clip | BadClip:
        if isinstance(clip, BadClip):
            return clip
        try:
            return self.reading.completed([clip])[0]
        except ClipError as error:
            return BadClip(clip.name, error)

    @abc.abstractmethod
    def close(self) -> None:
        """Close the file."""

    @abc.abstractmethod
    def _seek(self, first: int) -> None:
        """Make that clip the next one."""

    @abc.abstractmethod
    def _next(self) -> Clip | BadClip:
        """The next clip."""


def open_reader(path: PathLike, reading: ReadOptions = NO_OPTIONS) -> ClipReader | None:
    """What reads the clips of a file one by one; None for a file of another kind, of one clip, or that is not in order.

    Args:
        reading: what the file may leave open, as in ``skelzoo.read``.
    """
    path = Path(path)
    reader: ClipReader | None = None
    try:
        with named(path):
            head = read_head(path, 512)
            if parquet.sniff(head):
                reader = _ParquetReader(path)
            elif array.sniff_npy(head) or array.sniff_npz(head):
                reader = _open_numpy(path, head, reading)
    except SkelzooError:
        pass
    if reader is not None:
        reader.reading = reading
    return reader


class _ParquetReader(ClipReader):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._file = parquet.open_file(path)
        self._starts = [0, *itertools.accumulate(parquet.group_sizes(self._file))]
        self.count = self._starts[-1]
        self._rows = parquet.rows(path, self._file)

    def close(self) -> None:
        self._file.close()

    def _seek(self, first: int) -> None:
        group = min(bisect.bisect_right(self._starts, first) - 1, len(self._starts) - 2)
        if not self._starts[group] <= self._position <= first:
            self._rows, self._position = parquet.rows(self.path, self._file, group), self._starts[group]
        for _ in itertools.islice(self._rows, first - self._position):
            pass
        self._position = first

    def _next(self) -> Clip | BadClip:
        row = next(self._rows, None)
        if row is None:
            raise parquet.damaged(self.path, "its rows end too early")
        name = parquet.name_of(row, f"{self.path.stem}[{self._position}]")
        try:
            return parquet.clip_of(row, name, self.reading.fill_missing)
        except (ClipError, LayoutError) as error:
            return BadClip(name, error)


class _Rows:
    """The rows of an array in a ``.npy`` or ``.npz``, read forward."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.shape, fortran, self.dtype = _HEADERS[np.lib.format.read_magic(file)](file)
        self.in_order = not fortran and not self.dtype.hasobject
        self._size = self.dtype.itemsize * int(np.prod(self.shape[1:]))

    def take(self, count: int) -> NDArray[Any]:
        """The next rows.

        Raises:
            EOFError: the file ends before.
        """
        data = self._file.read(count * self._size)
        if len(data) != count * self._size:
            raise EOFError("it ends too early")
        return np.frombuffer(data, self.dtype).reshape(count, *self.shape[1:]).copy()

    def skip(self, count: int) -> None:
        """Pass over rows. They are read, so that the checksum of a zip file is verified at its end."""
        block = max(1, BLOCK // max(1, self._size))
        for start in range(0, count, block):
            self.take(min(block, count - start))


class _Steps(_Rows):
    """Steps of a corpus file; the first row of what is taken is the sum of all rows up to it, as int16 sums wrap around."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file)
        self._sum: NDArray[np.int16] | int = 0

    def take(self, count: int) -> NDArray[Any]:
        """The next rows; errors as ``_Rows``."""
        rows = super().take(count)
        rows[:1] += self._sum
        self._sum = rows.sum(0, dtype=np.int16)
        return rows


def _open_rows(path: Path, files: contextlib.ExitStack) -> dict[str, _Rows]:
    """All arrays of a file, each to be read on its own."""
    if not zipfile.is_zipfile(path):
        return {"keypoints": _Rows(files.enter_context(path.open("rb")))}
    archive = files.enter_context(zipfile.ZipFile(path))
    check_packed(archive, path)
    members = {name.removesuffix(".npy"): files.enter_context(archive.open(name)) for name in archive.namelist()}
    return {key: (_Steps if key == corpus.MARK else _Rows)(file) for key, file in members.items()}


class _NumpyReader(ClipReader):
    """Clips out of arrays.

    Args:
        keys: arrays with one row per clip; of those in ``long``, clip i has the rows ``bounds[i]`` to ``bounds[i + 1] - 1``.
        name_key: the one with the names, "" when they have none.
        make: a clip's name and its rows -> the clip.
        part: what stands before the number of a clip without a name.
    """

    def __init__(
        self,
        path: Path,
        keys: Sequence[str],
        long: Sequence[str],
        bounds: NDArray[np.int64],
        name_key: str,
        make: Callable[[str, Arrays], Clip],
        part: str = "",
    ) -> None:
        super().__init__(path)
        self._part = part
        self.count = len(bounds) - 1
        self._keys, self._long, self._bounds, self._name_key, self._make = keys, long, bounds, name_key, make
        self._open()

    def _open(self) -> None:
        self._files, self._position = contextlib.ExitStack(), 0
        self._rows = _open_rows(self.path, self._files)

    def close(self) -> None:
        self._files.close()

    def _lengths(self, first: int, last: int) -> dict[str, int]:
        """How many rows of each array the clips have."""
        return {key: int(self._bounds[last] - self._bounds[first]) if key in self._long else last - first for key in self._keys}

    def _seek(self, first: int) -> None:
        try:
            if first < self._position:
                self.close()
                self._open()
            for key, count in self._lengths(self._position, first).items():
                self._rows[key].skip(count)
        except ARRAY_ERRORS as error:
            raise array_error(self.path, error) from None
        self._position = first

    def _next(self) -> Clip | BadClip:
        try:
            arrays = {key: self._rows[key].take(count) for key, count in self._lengths(self._position, self._position + 1).items()}
        except ARRAY_ERRORS as error:
            raise array_error(self.path, error) from None
        name = whole_text(str(arrays[self._name_key][0])) if self._name_key else f"{self.path.stem}[{self._part}{self._position}]"
        try:
            return self._make(name, arrays)
        except ClipError as error:
            return BadClip(name, error)


class _Joined(ClipReader):
    """The clips of readers one after the other."""

    def __init__(self, path: Path, readers: Sequence[ClipReader]) -> None:
        super().__init__(path)
        self._readers, self._starts = readers, [0, *itertools.accumulate(reader.count for reader in readers)]
        self.count = self._starts[-1]

    def close(self) -> None:
        for reader in self._readers:
            reader.close()

    def _seek(self, first: int) -> None:
        self._position = first

    def _next(self) -> Clip | BadClip:
        part = bisect.bisect_right(self._starts, self._position) - 1
        first = self._position - self._starts[part]
        return next(self._readers[part].clips(first, first + 1))


def _open_numpy(path: Path, head: bytes, reading: ReadOptions) -> ClipReader | None:
    with contextlib.ExitStack() as files:
        rows = _open_rows(path, files)
        if not all(r.in_order for r in rows.values()):
            return None
        if datasets.sniff_stgcn(head):
            return _stgcn_reader(path, reading)
        if not zipfile.is_zipfile(path):
            return _array_reader(path, rows, {}, reading)
        with np.load(path, allow_pickle=False) as once:
            if datasets.sniff_ctrgcn(head):
                return _ctrgcn_reader(path, rows, once, reading)
            return _corpus_reader(path, rows, once) if corpus.MARK in rows else _array_reader(path, rows, once, reading)


def _array_reader(path: Path, rows: Mapping[str, _Rows], once: Mapping[str, NDArray[Any]], reading: ReadOptions) -> ClipReader | None:
    keys = [key for key in ("axes", "layout", "layout_table", "shapes") if key in rows]
    told = array.completed({key: once[key] for key in keys}, reading, path)
    shape, axes = rows["keypoints"].shape, str(told["axes"]).split() if "axes" in told else []
    long = [key for key in ("keypoints", "scores") if key in rows] if "shapes" in rows else []
    if "shapes" in rows:
        sizes = told["shapes"]
        bounds = np.concatenate([[0], np.cumsum(sizes.astype(np.int64).prod(axis=1))])
    elif axes[:1] == ["n"] or (not axes and len(shape) == 5):
        bounds = np.arange(shape[0] + 1)
    else:
        return None
    count = len(bounds) - 1
    fixed = [key for key, shapes in {"fps": ((), (1,)), "image_size": ((2,),)}.items() if key in rows and rows[key].shape in shapes]
    keys = [key for key in _PER_CLIP if key in rows and key not in fixed]
    fits = all(rows[key].shape[:1] == (int(bounds[-1]) if key in long else count,) for key in keys)
    if count < 2 or not fits or (np.diff(bounds) < 1).any() or (axes and "scores" in rows):
        return None
    name_key = next((key for key in ("names", "name") if key in rows), "")
    if name_key and (rows[name_key].dtype.kind != "U" or len(rows[name_key].shape) != 1):
        return None
    shared = {**{key: once[key] for key in fixed}, **({"axes": told["axes"]} if axes else {})}
    layout = array.layout_of({**told, "keypoints": np.empty((0, *shape[1:]), rows["keypoints"].dtype)}, path)
    if not axes and not long and "scores" not in rows:
        array.check_order(shape, layout, path)

    def make(name: str, own: Arrays) -> Clip:
        return array.clips_of({**shared, **own, "names": np.array([name])}, layout, path, reading.fill_missing)[0]

    return _NumpyReader(path, keys, long, bounds, name_key, make)


def _stgcn_reader(path: Path, reading: ReadOptions) -> ClipReader | None:
    count = len(datasets.stgcn_array(path))

    def make(name: str, own: Arrays) -> Clip:
        return datasets.stgcn_clip(own["keypoints"][0], name, reading.fill_missing)

    return None if count < 2 else _NumpyReader(path, ("keypoints",), (), np.arange(count + 1), "", make)


def _ctrgcn_reader(path: Path, rows: Mapping[str, _Rows], once: Mapping[str, NDArray[Any]], reading: ReadOptions) -> ClipReader | None:
    counts: dict[str, int] = {}
    for part in datasets.PARTS:
        if f"x_{part}" in rows or f"y_{part}" in rows:
            joints = rows[f"x_{part}"]
            if not datasets.is_ctrgcn(joints.shape, joints.dtype, once[f"y_{part}"]):
                return None
            counts[part] = joints.shape[0]
    if sum(counts.values()) < 2:
        return None

    def of(part: str, count: int) -> ClipReader:
        x, y = f"x_{part}", f"y_{part}"

        def make(name: str, own: Arrays) -> Clip:
            return datasets.ctrgcn_clip(own[x][0], own[y][0], name, reading.fill_missing)

        return _NumpyReader(path, (x, y), (), np.arange(count + 1), "", make, f"{part} ")

    return _Joined(path, [of(part, count) for part, count in counts.items()])


def _corpus_reader(path: Path, rows: Mapping[str, _Rows], once: Mapping[str, NDArray[Any]]) -> ClipReader | None:
    bounds, shared = once["offsets"].astype(np.int64), {key: once[key] for key in _CORPUS_ONCE}
    per_clip = (*_CORPUS_PER_CLIP, *(key for key in ("persons", "image_size") if key in rows))
    per_frame = (corpus.MARK, *(key for key in ("scores",) if key in rows and rows[key].shape[:1] == rows[corpus.MARK].shape[:1]))
    fits = all(rows[key].shape[:1] == (len(bounds) - 1,) for key in per_clip) and rows[corpus.MARK].dtype == np.int16
    if len(bounds) < 3 or not fits or bounds[0] != 0 or bounds[-1] != rows[corpus.MARK].shape[0] or (np.diff(bounds) < 1).any():
        return None

    def make(name: str, own: Arrays) -> Clip:
        return corpus.corpus_of({**shared, **own, "offsets": np.array([0, len(own[corpus.MARK])])}, path).clips[0]

    return _NumpyReader(path, (*per_clip, *per_frame), per_frame, bounds, "clip_name", make)
