"""Many files to prepared clips, going on past those that cannot be used."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from tqdm import tqdm

from skelzoo.errors import ClipError, LayoutError, ReadError, SkelzooError, StoreError
from skelzoo.inference.output import ClipId
from skelzoo.skeleton.clip import Clip, FloatArray
from skelzoo.skeleton.contract import Contract
from skelzoo.skeleton.doubts import Doubt, Doubts, noted_doubts
from skelzoo.skeleton.io import PathLike, add_files, read_with
from skelzoo.skeleton.io.one_by_one import BadClip, open_reader
from skelzoo.skeleton.io.read_options import NO_OPTIONS, ReadOptions
from skelzoo.skeleton.persons import each_doubtfully, select_doubtfully
from skelzoo.skeleton.prepare import prepare_doubtfully
from skelzoo.skeleton.windows import Length, windows

T = TypeVar("T")

Paths = PathLike | Iterable[PathLike]


@dataclass(frozen=True)
class Refusal:
    """A file, or a clip of it, that cannot be used.

    Attributes:
        file: as given, or as found in a folder or glob.
        error: why; its message says what to do.
        clip: name of the clip, "" when it is the file that cannot be used.
        person: whose clip it is, where everyone has one; else "".
    """

    file: str
    error: SkelzooError
    clip: str = ""
    person: str = ""

    def __str__(self) -> str:
        """One line that names the file and the clip."""
        text = self.error.one_line
        if isinstance(self.error, ReadError):
            return text
        return f"{self.file}: {text}" if text.startswith(self.clip) else f"{self.file}: {self.clip}: {text}"


@dataclass(frozen=True, eq=False)
class FileClip:
    """A clip and the file it was read from, whether it is a window or one of each person's, whose, what is odd about how its persons were chosen, and in what recording."""

    clip: Clip
    file: str
    part: bool = False
    person: str = ""
    doubts: tuple[Doubt, ...] = ()
    recording: str = ""

    @property
    def id(self) -> ClipId:
        """What is written beside results."""
        clip = self.clip
        if not self.part:
            return ClipId(clip.name, self.file, clip.label or "")
        span = clip.first, clip.first + clip.frames
        seconds = (None if clip.fps is None else round(at / clip.fps, 4) for at in span)
        return ClipId(clip.name, self.file, clip.label or "", *span, *seconds, person=self.person)

    @property
    def where(self) -> str:
        """What warnings call it."""
        return " ".join(dict.fromkeys(filter(None, (self.file, self.clip.name))))


@dataclass(frozen=True, eq=False)
class PreparedClip:
    """A clip, what a contract makes of it, (C, T, V, M), and what is odd about it beside the doubts of its source."""

    array: FloatArray
    source: FileClip
    doubts: tuple[Doubt, ...] = ()

    @property
    def id(self) -> ClipId:
        """What is written beside results."""
        return self.source.id


def path_list(paths: Paths) -> list[str]:
    """Paths as texts; one alone is a list of one.

    Raises:
        StoreError: something else, or something else among them.
    """
    texts = []
    for path in paths if isinstance(paths, Iterable) and not isinstance(paths, str | os.PathLike) else [paths]:
        if not isinstance(path, str | os.PathLike):
            raise StoreError(
                f"paths are those of files, folders and globs, found {type(path).__name__}. "
                "Save clips with skelzoo.save_clips, some thousand in a file, and give the folder; `skelzoo docs bulk` shows how."
            )
        texts.append(os.fspath(path))
    return texts


def list_files(paths: Sequence[str], leave_out: str | Path | None = None) -> Iterator[str | Refusal]:
    """Files, and those of folders and globs (see ``skelzoo.find_files``), each once; a Refusal for every path without any.

    Args:
        leave_out: the result, a file or folder, which may lie among the recordings and is not one; given as one it is refused.
    """
    found: dict[Path, Path] = {}  # of all paths together, so that a recording named twice is read once
    result = None if leave_out is None else Path(leave_out).resolve()
    for path in paths:
        try:
            if result is not None and os.path.isfile(path) and Path(path).resolve() == result:
                raise ReadError(path, "is where the result goes", "Give the result another name.")
            add_files(found, path)
        except SkelzooError as error:
            yield Refusal(path, error)
    yield from (str(p) for p in found.values() if result is None or result not in (resolved := p.resolve(), *resolved.parents))


def read_files(paths: Sequence[str], leave_out: str | Path | None = None, reading: ReadOptions = NO_OPTIONS) -> Iterator[FileClip | Refusal]:
    """Read files, folders and globs one after the other; arguments as ``list_files``.

    Args:
        reading: what files may leave open, as ``skelzoo.read``.

    Yields:
        Every clip in order; a Refusal for every path or file that cannot be read.
    """
    for file in list_files(paths, leave_out):
        if isinstance(file, Refusal):
            yield file
            continue
        try:
            clips = read_with(file, reading)
        except (ClipError, LayoutError) as error:
            yield from _one_by_one(file, error, reading)
        except SkelzooError as error:
            yield Refusal(file, error)
        else:
            yield from (FileClip(clip, file) for clip in clips)


def _one_by_one(file: str, error: SkelzooError, reading: ReadOptions) -> Iterator[FileClip | Refusal]:
    """The clips of a file of which one cannot be used, without that one; a Refusal of it all where they cannot be told apart."""
    reader = open_reader(file, reading)
    if reader is None:
        yield Refusal(file, error)
        return
    try:
        for clip in reader.clips(0, reader.count):
            yield item_of(clip, file)
    except ReadError as damage:
        yield Refusal(file, damage)
    finally:
        reader.close()


def item_of(clip: Clip | BadClip, file: str) -> FileClip | Refusal:
    """What a reader of a file gave, with that file."""
    return Refusal(file, clip.error, clip.name) if isinstance(clip, BadClip) else FileClip(clip, file)


def collected(items: Iterable[T | Refusal], on_refusal: Callable[[Refusal], None]) -> tuple[list[T], list[Refusal]]:
    """What can be used and what cannot, which is also told as it comes; with a bar on a terminal."""
    done: list[T] = []
    refused: list[Refusal] = []
    for item in tqdm(items, desc="reading", unit="clip", delay=2, disable=None, leave=False):
        if isinstance(item, Refusal):
            refused.append(item)
            on_refusal(item)
        else:
            done.append(item)
    return done, refused


def prepare_items(
    items: Iterable[FileClip | Refusal], contract: Contract, select_persons: bool = False, window: Length | None = None, step: Length | None = None,
    doubts: Doubts | None = None, each_person: bool = False,
) -> Iterator[PreparedClip | Refusal]:  # fmt: skip
    """Prepare clips that were read.

    Args:
        contract: what the encoder expects.
        select_persons: where a clip has more persons than the contract takes, keep those that move most, in all its windows the same.
        window, step: cut every clip as ``skelzoo.windows`` does; None for whole clips.
        doubts: where recordings that are cut are noted, see ``Doubts.cut``.
        each_person: make one clip of every person first, as ``skelzoo.each_person``; not with ``select_persons``.

    Yields:
        Every clip in order, or its persons or windows; a Refusal for every file that could not be read and every clip the contract does not take.
    """
    if select_persons or each_person:
        items = (made for item in items for made in ([item] if isinstance(item, Refusal) else _chosen(item, contract, each_person)))
    for item in items if window is None else _cut(items, window, step, doubts or noted_doubts()):
        yield item if isinstance(item, Refusal) else _prepared(item, contract)


def _chosen(item: FileClip, contract: Contract, each_person: bool) -> list[FileClip | Refusal]:
    """The clip with its most moving persons alone; or one of each person."""
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            if each_person:
                each, doubts = each_doubtfully(item.clip, contract.min_frames)
                return [FileClip(clip, item.file, True, clip.person_ids[0], doubts, item.where) for clip in each]
            clip, doubts = select_doubtfully(item.clip, contract.persons)
            return [replace(item, clip=clip, doubts=doubts, recording=item.where)]
    except SkelzooError as error:
        return [Refusal(item.file, error, item.clip.name)]


def _cut(items: Iterable[FileClip | Refusal], frames: Length, step: Length | None, doubts: Doubts) -> Iterator[FileClip | Refusal]:
    """The windows of each clip; a Refusal for every clip without any."""
    for item in items:
        if isinstance(item, Refusal):
            yield item
            continue
        name = item.clip.name
        try:
            cut = windows(item.clip, frames, step)
            if not cut:
                raise ClipError(f"{name}: nobody is there in any of its windows. Give a smaller step, or leave it out.")
        except ClipError as error:
            yield Refusal(item.file, error, name, item.person)
            continue
        if not isinstance(frames, str):
            doubts.cut(item.clip.fps, frames)
        yield from (replace(item, clip=clip, part=True) for clip in cut)


def _prepared(item: FileClip, contract: Contract) -> PreparedClip | Refusal:
    clip = item.clip
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # what is too large becomes infinite, and that is refused
            array, doubts = prepare_doubtfully(clip, contract)
        if not np.isfinite(array).all():
            raise ClipError(f"{clip.name}: its coordinates are too large to be prepared. Check its unit, or leave it out.")
        return PreparedClip(array, item, doubts)
    except SkelzooError as error:
        return Refusal(item.file, error, clip.name, item.person)


def note(clips: Sequence[PreparedClip], first: int, doubts: Doubts) -> None:
    """Note what is odd about clips, of which the first is number ``first``."""
    for i, clip in enumerate(clips, first):
        doubts.add_recording(clip.source.doubts, clip.source.recording)
        doubts.add(clip.doubts, i, clip.source.where, clip.source.file)


def warn_of(clips: Sequence[PreparedClip], doubts: Doubts | None = None) -> None:
    """Warn once of what is odd about clips, naming the first; of nothing that ``doubts`` has warned of before."""
    noted = noted_doubts() if doubts is None else doubts
    note(clips, 0, noted)
    noted.warn()
