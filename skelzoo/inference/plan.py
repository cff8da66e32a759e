"""Which clips each shard of a store of embeddings is made of."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from skelzoo.errors import ReadError, StoreError
from skelzoo.inference.files import Refusal, list_files
from skelzoo.inference.progress import followed
from skelzoo.skeleton.io import files_of
from skelzoo.skeleton.io.files import checksums_fit
from skelzoo.skeleton.io.one_by_one import open_reader
from skelzoo.skeleton.io.read_options import ReadOptions
from skelzoo.skeleton.writing import whole_file

PUT_BACK = "Put it back, or remove the folder of the store and embed the clips again."


@dataclass(frozen=True)
class Piece:
    """Clips ``first`` to ``last - 1`` of a recording, or with ``last`` None all of it; bytes and time of the last change in ns of all its files."""

    file: str
    size: int
    modified: int
    first: int = 0
    last: int | None = None

    @property
    def left_out(self) -> bool:
        """Whether it stands for a file that changed while its shard was made."""
        return self.size < 0 and self.last == 0

    def leave_out(self) -> Piece:
        """The same file, left out."""
        return Piece(self.file, -1, -1, last=0)


def plan_of(paths: Sequence[str], size: int, folder: Path, reading: ReadOptions, wanted: Callable[[str], bool] | None = None) -> Iterator[list[Piece]]:
    """The shards, one after the other: files in order, large ones cut; those in the folder of the store, and those not wanted, left out."""
    shard: list[Piece] = []
    room = size
    for piece in _pieces_of(paths, folder, reading, wanted):
        rest: Piece | None = piece
        while rest is not None:
            last = None if rest.last is None else min(rest.last, rest.first + room)
            shard.append(replace(rest, last=last))
            room -= 1 if last is None else last - rest.first
            rest = None if last == rest.last else replace(rest, first=last or 0)
            if not room:
                yield shard
                shard, room = [], size
    if shard:
        yield shard


def listed(paths: Sequence[str], folder: Path) -> Iterator[str]:
    """The files in order, and paths without any, those in the folder of the store left out."""
    yield from (file.file if isinstance(file, Refusal) else file for file in _listing(paths, folder))


def _listing(paths: Sequence[str], folder: Path) -> Iterator[str | Refusal]:
    return followed(list_files(paths, folder), "file", doing="listing")


def _pieces_of(paths: Sequence[str], folder: Path, reading: ReadOptions, wanted: Callable[[str], bool] | None) -> Iterator[Piece]:
    """The files in order; errors as ``open_store``."""
    refused: list[Refusal] = []
    files = 0
    for file in _listing(paths, folder):
        if isinstance(file, Refusal):  # reading says again what is wrong with it
            refused.append(file)
            if wanted is None or wanted(file.file):
                yield Piece(file.file, -1, -1)
            continue
        files += 1
        if wanted is not None and not wanted(file):
            continue
        whole = Piece(file, *size_and_date(file))
        reader = None if whole.size < 0 else open_reader(file, reading)
        if reader is None:
            yield whole
        else:
            reader.close()
            # Of a damaged file no clip is right for certain, and its checksum comes after the last; reading it whole refuses it.
            yield replace(whole, last=reader.count) if checksums_fit(file) else whole
    if not files:
        raise StoreError(f"there is nothing to embed{f' ({refused[0].error})' if refused else ''}. Nothing was written.")


def size_and_date(file: str) -> tuple[int, int]:
    """Bytes and time of the last change in ns of all files of a recording; -1 and -1 where it is not there, or a part of it, which reading then says."""
    try:
        stats = [path.stat() for path in files_of(file)] if os.path.isfile(file) else []
    except (OSError, ReadError):
        stats = []
    return (sum(stat.st_size for stat in stats), max(stat.st_mtime_ns for stat in stats)) if stats else (-1, -1)


def change_of(file: str) -> str:
    """What became of a file that is not as it was, for a message."""
    return "it or another file of its recording has changed" if os.path.exists(file) else "is not there any more"


def read_plan(folder: Path, shard: int) -> list[Piece]:
    """The clips that a shard is made of, as they were written.

    Raises:
        StoreError: the file is gone or damaged.
    """
    path = folder / f"{shard:08}.json"
    try:
        pieces = [Piece(**row) for row in json.loads(path.read_bytes())]
        if not all(type(p.file) is str and {type(p.size), type(p.modified), type(p.first), type(p.last or 0)} == {int} for p in pieces):
            raise ValueError("its rows are no parts of files")
        return pieces
    except (OSError, ValueError, TypeError, RecursionError) as error:
        what = (
            "is gone"
            if isinstance(error, FileNotFoundError)
            else f"cannot be read ({error.strerror})"
            if isinstance(error, OSError)
            else f"is damaged ({error})"
        )
        raise StoreError(f"{path}: {what}. {PUT_BACK}") from error


def write_plan(plan: Iterator[list[Piece]], folder: Path, first: int = 0) -> int:
    """Write each shard into a folder, numbered from ``first``; how many there are."""
    count = 0
    for shard in plan:
        with whole_file(folder / f"{first + count:08}.json") as file:
            file.write(json.dumps([asdict(piece) for piece in shard]).encode())
        count += 1
    return count
