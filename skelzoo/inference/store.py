"""A store of embeddings: a folder that takes the vectors of more clips than memory holds, shard by shard.

While a run goes on it holds ``plan/``, which clips each shard is made of, and ``shards/``, those that are done, each written
whole. In the end it holds ``embeddings.npy`` (N, D) float32, ``ids.csv``, ``refused.csv``, ``files.csv`` and ``store.json``. Nothing
in it depends on when or how often the run was interrupted. ``extend_store`` has a complete one take further files in the same way.
"""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np

from skelzoo import __version__
from skelzoo.errors import MissingDependencyError, SkelzooError, StoreError
from skelzoo.inference.files import Paths, path_list
from skelzoo.inference.job import SHARD, Job
from skelzoo.inference.output import PART, SPAN, ClipId
from skelzoo.inference.plan import PUT_BACK, Piece, plan_of, read_plan, write_plan
from skelzoo.inference.same_run import check_same
from skelzoo.inference.shard import DAMAGE, Shard, read_shard, write_shard
from skelzoo.skeleton.io.files import ARRAY_ERRORS
from skelzoo.skeleton.writing import alone, cannot_write, check_place, csv_bytes, whole_file
from skelzoo.weights.files import CONFIG, MODEL, dump_json, parse_json
from skelzoo.weights.sources import locate_weights

STORE, VECTORS, IDS, REFUSED, FILES, PARQUET, PLAN, SHARDS, LOCK = (
    "store.json", "embeddings.npy", "ids.csv", "refused.csv", "files.csv", "embeddings.parquet", "plan", "shards", ".lock",
)  # fmt: skip

_HEADS = {IDS: ("row", "name", "file", "label"), REFUSED: ("file", "clip", "error"), FILES: ("file", "size", "modified")}
_ASKED = tuple(field.name for field in fields(Job))
_LATER = {"each_person": False}
"""Options that a store begun before there were any does not tell."""

COUNTED = ("clips", "dim", "refused", "files")
"""What ``store.json`` says of a store once it is complete."""

_HELD = ("shards", "clips", "files")


@dataclass(frozen=True)
class Store:
    """A store, read from its ``store.json``; see ``open_store`` and ``read_store``.

    Attributes:
        refused_before: of ``refused``, how many it had before the call that extended it.
    """

    folder: Path
    row: Mapping[str, Any]
    refused_before: int = 0

    def __repr__(self) -> str:
        done = f"{self.clips} vectors of {self.dim} numbers" if self.complete else "not complete"
        return f"Store({str(self.folder)!r}: {self.shards} shards, {done})"

    @cached_property
    def job(self) -> Job:
        """What was asked for."""
        return Job(**{name: self.row[name] for name in _ASKED})

    @property
    def shards(self) -> int:
        """Number of shards."""
        return int(self.row["shards"])

    @property
    def complete(self) -> bool:
        """Whether everything is done."""
        return "clips" in self.row

    @property
    def held(self) -> Mapping[str, int]:
        """How many ``shards``, ``clips`` and ``files`` a store had that is being extended; else none."""
        return dict(self.row.get("held", dict.fromkeys(_HELD, 0)))

    @property
    def clips(self) -> int:
        """Number of vectors N, once it is complete."""
        return int(self.row["clips"])

    @property
    def dim(self) -> int:
        """Size of a vector D, once it is complete."""
        return int(self.row["dim"])

    @property
    def refused(self) -> int:
        """Number of files and clips that were left out, once it is complete."""
        return int(self.row["refused"])

    def pieces(self, shard: int) -> list[Piece]:
        """The clips that a shard is made of. Errors as ``read_plan``."""
        return read_plan(self.folder / PLAN, shard)

    @property
    def to_merge(self) -> range:
        """The shards that its tables do not hold yet, done or not."""
        return range(self.shards if self.complete else self.held["shards"], self.shards)

    def planned(self) -> set[str]:
        """The files of these shards."""
        return {piece.file for i in self.to_merge for piece in self.pieces(i)}

    def drop(self, shard: int) -> None:
        """Have a shard made again."""
        self._path(shard).unlink(missing_ok=True)

    def has(self, shard: int) -> bool:
        """Whether a shard is done."""
        return self.complete or shard < self.held["shards"] or self._path(shard).is_file()

    def files(self) -> dict[str, tuple[int, int]]:
        """Bytes and time of the last change in ns of every file that it is made of, see ``size_and_date``."""
        files: dict[str, tuple[int, int]] = {}
        if self.complete or self.held["shards"]:
            with self._naming(FILES):
                files = {row["file"]: (int(row["size"]), int(row["modified"])) for row in self.rows(FILES)}
        if not self.complete:
            files |= {piece.file: (piece.size, piece.modified) for i in self.to_merge for piece in self.pieces(i)}
        return files

    def rows(self, name: str) -> Iterator[dict[str, str]]:
        """The lines of one of its tables.

        Raises:
            StoreError: it is damaged.
        """
        with self._naming(name), (self.folder / name).open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            reader = csv.DictReader(file)
            if not set(_HEADS[name]).issubset(reader.fieldnames or ()):
                raise ValueError(f"it does not begin with {','.join(_HEADS[name])}")
            for row in reader:
                if None in row or None in row.values():
                    raise ValueError(f"line {reader.line_num} has not as many cells as the first")
                yield row

    @contextlib.contextmanager
    def _naming(self, name: str) -> Iterator[None]:
        try:
            yield
        except (ValueError, csv.Error) as error:
            raise self.was_complete(f"{name} is damaged ({error})") from error

    def was_complete(self, problem: str) -> StoreError:
        """What is said of a table that is not as it was written."""
        return StoreError(f"{self.folder / STORE}: was complete, but {problem}. {PUT_BACK}")

    def write(self, number: int, shard: Shard) -> None:
        """Put a shard into the store.

        Raises:
            WriteError: it cannot be written.
        """
        write_shard(self._path(number), shard)

    def finish(self) -> Store:
        """Make one array and its tables of the shards, and remove them.

        Returns:
            The store, complete.

        Raises:
            StoreError: shards are missing.
            WriteError: it cannot be written.
        """
        missing = [i for i in range(self.shards) if not self.has(i)]
        if missing:
            raise StoreError(f"{self.folder}: {len(missing)} of {self.shards} shards are missing. Give the same command again to make them.")
        done = self if self.complete else self._merge()
        for name in (PLAN, SHARDS):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        return done

    def _path(self, shard: int) -> Path:
        return self.folder / SHARDS / f"{shard:08}.npz"

    def _read(self) -> Iterator[Shard]:
        if self.held["shards"]:
            yield from self._read_held()
        damaged = []
        for number in self.to_merge:
            try:
                shard = read_shard(self._path(number))
            except DAMAGE as error:
                damaged.append(f"{self._path(number)} ({error})")
                self.drop(number)
            else:
                yield shard
        if damaged:
            raise StoreError(
                f"{damaged[0]}: is damaged and was removed{f', as were {len(damaged) - 1} more' * (len(damaged) > 1)}. Give the same command again to make them anew."
            )

    def _read_held(self) -> Iterator[Shard]:
        """What it held before it was extended; the same where its files are already those of an end that was not reached."""
        again = self.planned()
        refused = [list(row.values()) for row in self.rows(REFUSED) if row["file"] not in again]
        vectors, ids, clips = np.load(self.folder / VECTORS, mmap_mode="r"), self.rows(IDS), self.held["clips"]
        for start in range(0, max(1, clips), SHARD):
            stop = min(start + SHARD, clips)
            with self._naming(IDS):
                chunk = [
                    ClipId.of(row["name"], row["file"], row["label"], [float(row.get(key) or "nan") for key in SPAN], row.get("person", ""))
                    for row in itertools.islice(ids, stop - start)
                ]
            yield Shard(np.array(vectors[start:stop]), chunk, refused if start == 0 else [])

    def _merge(self) -> Store:
        clips, refused, dim = 0, 0, 0
        for shard in self._read():
            clips, refused, dim = clips + len(shard.ids), refused + len(shard.refused), shard.vectors.shape[1]
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (clips, dim)})
        columns = self.job.columns
        heads = {VECTORS: header.getvalue(), IDS: csv_bytes([[*_HEADS[IDS], *columns]]), REFUSED: csv_bytes([_HEADS[REFUSED]])}
        with contextlib.ExitStack() as stack:
            files = {name: stack.enter_context(whole_file(self.folder / name)) for name in heads}
            self._put(files, heads)
            row = 0
            for shard in self._read():
                ids = csv_bytes([str(row + i), *c.cells(columns)] for i, c in enumerate(shard.ids))
                self._put(files, {VECTORS: shard.vectors.astype("<f4").tobytes(), IDS: ids, REFUSED: csv_bytes(shard.refused)})
                row += len(shard.ids)
            for file in files.values():  # so that they take their places within a moment
                file.flush()
                os.fsync(file.fileno())
        if self.job.parquet:
            self._write_parquet(dim)
        made_of = [[file, *told] for file, told in self.files().items()]
        with whole_file(self.folder / FILES) as file:
            file.write(csv_bytes([_HEADS[FILES], *made_of]))
        row_of = {key: value for key, value in self.row.items() if key != "held"}
        return write_row(self.folder, {**row_of, "clips": clips, "dim": dim, "refused": refused, "files": len(made_of)})

    def _put(self, files: Mapping[str, IO[bytes]], data: Mapping[str, bytes]) -> None:
        """Write to several files at once, naming the one that cannot be written."""
        for name, file in files.items():
            try:
                file.write(data[name])
            except OSError as error:
                raise cannot_write(self.folder / name, error) from error

    def _write_parquet(self, dim: int) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        fields = ("name", "file", "label")
        kinds = dict(zip(PART, (pa.string(), pa.int64(), pa.int64(), pa.float64(), pa.float64()), strict=True))
        more = [(key, kinds[key]) for key in self.job.columns]
        schema = pa.schema([("row", pa.int64()), *((key, pa.string()) for key in fields), *more, ("embedding", pa.list_(pa.float32(), dim))])
        start = 0
        with whole_file(self.folder / PARQUET) as file, pq.ParquetWriter(file, schema) as writer:
            for shard in self._read():
                rows = {"row": np.arange(start, start + len(shard.ids)), "embedding": pa.FixedSizeListArray.from_arrays(shard.vectors.ravel(), dim)}
                # Parquet texts are UTF-8, which a file name need not be.
                columns = {key: [getattr(i, key).encode("utf-8", "replace").decode() for i in shard.ids] for key in fields}
                columns |= {key: [getattr(i, key) for i in shard.ids] for key, _ in more}
                writer.write_table(pa.table({**rows, **columns}, schema))
                start += len(shard.ids)


@contextlib.contextmanager
def open_store(folder: str | Path, job: Job, paths: Paths, extend: bool = False) -> Iterator[Store]:
    """Begin a store, or go on with one; nobody else can until the block ends.

    Args:
        folder: a new one, or that of the same job on the same files.
        paths: files, folders and globs, one or several.
        extend: go on with a store of other files too, for ``extend_store``.

    Raises:
        StoreError: the folder holds something else or another run, there are no files to begin one with, or paths are none.
        LayoutError, AxesError, ClipError: what the job says of files is none, see ``ReadOptions``.
        WriteError: it cannot be written, or another process works on it.
        UnknownModelError, WeightsUnavailableError, IntegrityError, CheckpointError: the model cannot be had, as ``skelzoo.load``.
        MissingDependencyError: parquet is asked for without pyarrow.
    """
    folder, paths = Path(folder), path_list(paths)
    located = locate_weights(job.model)
    contract = located.config(located.read(CONFIG)).contract
    job = replace(job, model=located.source.name)
    wanted = {"format": 1, **asdict(job), "weights_sha256": located.files[MODEL].sha256, "contract": contract.to_dict()}
    if job.parquet:
        check_pyarrow()
    check_place(folder / STORE)
    begun = (folder / STORE).is_file()
    if not begun and folder.is_dir() and any(p.name not in (PLAN, LOCK) and not p.match(f".{STORE}.*.part") for p in folder.iterdir()):
        raise StoreError(f"{folder}: exists and is no store of embeddings. Choose another name; nothing was written.")
    new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error
    with alone(folder / LOCK, folder, wait=0):
        for scratch in folder.rglob(".*.part"):  # of processes that were killed
            scratch.unlink()
        if begun:
            store = read_store(folder)
            check_same(store, wanted, None if extend else paths)
            store = _renamed(store, job.model)
        else:
            shutil.rmtree(folder / PLAN, ignore_errors=True)
            try:
                shards = write_plan(plan_of(paths, job.shard_size, folder, job.reading), folder / PLAN)
                store = write_row(folder, {**wanted, "skelzoo": __version__, "shards": shards})
            except SkelzooError:
                shutil.rmtree(folder if new else folder / PLAN, ignore_errors=True)
                raise
        yield store


def _renamed(store: Store, model: str) -> Store:
    """The same with the name by which its model is found now."""
    if store.row["model"] == model:
        return store
    row = {**store.row, "model": model}
    return Store(store.folder, row) if store.complete else write_row(store.folder, row)


def read_store(folder: str | Path) -> Store:
    """A store that was begun, for further processes of the same run or to look at.

    Raises:
        StoreError: it is none, it is damaged, or files of a complete one are gone or cut off.
    """
    path = Path(folder) / STORE
    try:
        row = parse_json(path.read_bytes())
        row = row | {key: value for key, value in _LATER.items() if key not in row} if isinstance(row, dict) else row
    except (OSError, ValueError) as error:
        raise StoreError(f"{path}: no store of embeddings ({error}). They are written by skelzoo embed --out.") from error
    if not isinstance(row, dict) or row.get("format") != 1 or not row.keys() >= {"shards", *_ASKED, *(COUNTED if "clips" in row else ())}:
        raise StoreError(f"{path}: no store of embeddings of format 1. They are written by skelzoo embed --out.")
    store = Store(Path(folder), row)
    held = row.get("held", dict.fromkeys(_HELD, 0))
    counts = {key: row.get(key, 0) for key in ("shards", "extended", *COUNTED)}
    counts |= {f"held {key}": held.get(key) for key in _HELD} if isinstance(held, dict) else {"held": held}
    wrong = [f"{key} is {value!r}" for key, value in counts.items() if type(value) is not int or value < 0]
    if wrong:
        raise StoreError(f"{path}: is damaged ({wrong[0]}). {PUT_BACK}")
    if store.complete or store.held["shards"]:
        _check_tables(store)
    return store


def _check_tables(store: Store) -> None:
    """Raise StoreError where a table is gone, or does not hold as many rows as it should; those of an end that was not reached hold more."""
    clips, refused = (store.clips, store.refused) if store.complete else (store.held["clips"], 0)
    files = int((store.row if store.complete else store.held)["files"])
    for name, rows in {VECTORS: clips, IDS: clips, REFUSED: refused, FILES: files, **({PARQUET: clips} if store.job.parquet else {})}.items():
        problem = ""
        try:
            if not _holds(store.folder / name, rows):
                problem = f"has fewer rows than the {rows} that {STORE} tells"
        except FileNotFoundError:
            problem = "is gone"
        except (*ARRAY_ERRORS, csv.Error) as error:
            problem = f"is cut off or damaged ({error})"
        if problem:
            raise store.was_complete(f"{name} {problem}")


def _holds(path: Path, rows: int) -> bool:
    """Whether a table has so many whole rows; Parquet, whose end says where all of it is, whether it has its end."""
    if path.name == VECTORS:
        return len(np.load(path, mmap_mode="r")) >= rows
    if path.name == PARQUET:
        with path.open("rb") as end:
            end.seek(-4, os.SEEK_END)
            return end.read() == b"PAR1"
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        return sum(1 for _ in csv.reader(line for line in file if line[-1] in "\r\n")) > rows


def check_pyarrow() -> None:
    """Raise MissingDependencyError unless pyarrow is installed."""
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError("pyarrow", "parquet", "Parquet") from error


def write_row(folder: Path, row: Mapping[str, Any]) -> Store:
    """Write ``store.json``. Errors as ``whole_file``."""
    with whole_file(folder / STORE) as file:
        file.write(dump_json(row).encode())
    return Store(folder, row)
