"""Corpus files of recordings of one's own, for recipes of one's own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from skelzoo.errors import ClipError, SkelzooError, TrainingError, WriteError
from skelzoo.inference.files import Refusal, read_files
from skelzoo.learn.held_out import DataOptions
from skelzoo.learn.labels import Labels, Source, inside
from skelzoo.learn.originals import FPS, flags_of, longest_step
from skelzoo.skeleton.arrays import Int32s
from skelzoo.skeleton.clip import Clip, FloatArray
from skelzoo.skeleton.doubts import noted_doubts
from skelzoo.skeleton.io.corpus import Corpus, check_extent, save_corpus
from skelzoo.skeleton.io.read_options import NO_OPTIONS, ReadOptions
from skelzoo.skeleton.layouts import Layout, get_layout, list_layouts
from skelzoo.skeleton.odd_frames import odd_recording
from skelzoo.skeleton.points import is_present
from skelzoo.skeleton.remap import remap
from skelzoo.skeleton.steps import motion_order
from skelzoo.skeleton.writing import check_place

LAYOUTS = {2: "coco17", 3: "kinect20"}
"""Layout of a corpus file of clips that are not all of one layout of skelzoo, by the number of their coordinates."""

TOLERANCE = 0.01
"""How far a frame rate may be off a multiple of the file's, so that 29.97 counts as 30."""


@dataclass(frozen=True)
class OwnCorpus:
    """What became of recordings.

    Attributes:
        path: of the corpus file.
        clips: in it.
        layout, fps: of all of them.
        dimension: their coordinates, 2 or 3.
        together: clips of several persons.
        converted: layout -> clips that were of it and were remapped.
        labels: class -> clips; "" for those without a label.
        subjects: id -> name of every subject; empty where none was asked for.
        rate_unknown: clips whose recording gives no frame rate.
        jumping: clips that recipes leave out unless ``data.max_step`` is raised.
        joined: clips in which several bodies, never two at a time, became one person.
        shortened: clip -> frames kept and frames with somebody in them, counted for each person of whom the file has room, where these are more: in the others were
            only persons who move less.
        refused: files and clips that are not in it.
        labels_asked: whether it was said where labels come from.
    """

    path: Path
    clips: int
    layout: str
    fps: float
    dimension: int
    together: int
    converted: Mapping[str, int]
    labels: Mapping[str, int]
    subjects: Mapping[int, str]
    rate_unknown: int
    jumping: int
    joined: int
    shortened: Mapping[str, tuple[int, int]]
    refused: tuple[Refusal, ...]
    labels_asked: bool = False

    def __str__(self) -> str:
        lines = [f"{self.path}: {self.clips} clips, {self.layout}, {self.fps:g} fps{', 2-D' * (self.dimension == 2)}"]
        if self.together:
            lines.append(f"{self.together} clips are of several persons")
        lines += [f"{count} clips of layout {name} became {self.layout}" for name, count in self.converted.items()]
        if self.rate_unknown:
            lines.append(f"{self.rate_unknown} clips have no frame rate; they were taken to be at {self.fps:g} fps")
        lines.append("labels: " + ", ".join(f"{name or 'none'} {count}" for name, count in self.labels.items()))
        if self.labels.get("") and not self.labels_asked:
            lines.append("where the class is the name of a recording's first folder, --label-from folder takes it")
        if self.subjects:
            lines.append("subjects: " + ", ".join(str(i) if name == str(i) else f"{i} is {name}" for i, name in self.subjects.items()))
        if self.joined:
            lines.append(f"in {self.joined} clips there are several bodies, never two at a time, as when a tracker's id changes; they became one person")
        lines += [
            f"{name}: {kept} of {there} frames were kept{', counted for each person' * (self.together > 0)}; in the others were only persons who move less"
            for name, (kept, there) in self.shortened.items()
        ]
        if self.jumping:
            most = DataOptions.max_step
            lines.append(
                f"in {self.jumping} clips a joint moves more than {most:g} m from frame to frame: recipes leave them out, unless they raise data.max_step"
            )
        return "\n".join(lines)


@dataclass(frozen=True, eq=False)
class _Own:
    """A clip on its way into the file; ``where`` is its path below the recordings and its name, ``kept`` its frames and those with somebody in them, see ``OwnCorpus.shortened``."""

    clip: Clip
    file: str
    where: str
    subject: str
    joined: bool
    kept: tuple[int, int]


def make_own_corpus(
    recordings: str, to: str | Path, *, label_from: Source | None = None, label: str | None = None, table: str | Path | None = None, subject: str | None = None,
    licence: str = "", layout: str | None = None, fps: float = FPS, persons: int = 1, select_persons: bool = False, overwrite: bool = False,
    reading: ReadOptions = NO_OPTIONS,
) -> OwnCorpus:  # fmt: skip
    """Make a corpus file, which recipes name in ``data.files``, of recordings in any format that is read.

    Frames without any joint are dropped, bodies that are never there at the same time are joined to one person, and recordings faster than ``fps`` keep every n-th frame. Clips of another layout are converted by joint name.

    Args:
        recordings: a file, folder or glob of recordings, 3-D in metres, y up, or 2-D in pixels; when there are both, those of the rarer kind are refused.
        to: ``.npz`` file to write.
        label_from, label, table: as for ``skelzoo.learn.labels.Labels``; without them a clip has the label that its file gives it, if any.
        subject: regular expression that finds the person as ``group`` does there. Numbers are kept as ids, names are numbered from 0 in alphabetical order.
        licence: of the recordings, in words.
        layout: name of the file's layout; by default that of the clips, or ``kinect20`` (2-D: ``coco17``) when they are not all of one layout of skelzoo.
        fps: of the file; recordings without a frame rate are taken to have it.
        persons: most persons of a clip; who is absent from a frame is all zero there.
        select_persons: of more persons keep those that move most, instead of refusing the clip.
        overwrite: replace a file that is there.
        reading: what recordings may leave open, as ``skelzoo.read``.

    Raises:
        TrainingError: no usable clip, a frame rate or number of persons that is none, or labels as in ``Labels`` and ``skelzoo.learn.recordings.labelled_files``.
        LayoutError: no such layout of skelzoo.
        WriteError: the file is there, is no ``.npz``, or cannot be written.
    """
    path = Path(to)
    if path.suffix.lower() != ".npz" or (path.exists() and not overwrite):
        raise WriteError(f"{path}: {'is there already' if path.exists() else 'is no .npz'}. Give another name{' or --overwrite' * path.exists()}.")
    check_place(path)
    if not 0 < fps < 1e4:
        raise TrainingError(f"fps is {fps!r}. Give a number of frames per second.")
    if type(persons) is not int or persons < 1:
        raise TrainingError(f"persons is {persons!r}. Give a whole number of at least 1.")
    target = None if layout is None else get_layout(layout)
    rule = Labels(recordings, subject, label, label_from or "file", table, needed=label_from is not None)
    found, refused = _read(recordings, path, rule, fps, persons, select_persons, reading)
    dimension = 2 if 2 * sum(own.clip.channels == 2 for own in found) > len(found) else 3
    target = target or _common([own.clip.layout for own in found if own.clip.channels == dimension], dimension)
    kept, sources = [], []
    for own in found:
        try:
            kept.append(replace(own, clip=_fitted(own.clip, target, dimension)))
        except SkelzooError as error:
            refused.append(Refusal(own.file, error, own.clip.name))
        else:
            sources.append(own.clip)
    if not kept:
        raise TrainingError(f"no clip could be used; nothing was written. {refused[0]}{f' And {len(refused) - 1} more.' if refused[1:] else ''}")
    corpus, subjects = _corpus(path.stem, kept, target, licence, fps)
    corpus = replace(corpus, origin=f"{corpus.origin}{_said(reading)}")
    save_corpus(path, corpus, {"subject_names": list(subjects.values())} if list(subjects) == list(range(len(subjects))) else None, fine=True)
    labels_of = Counter(clip.label or "" for clip in corpus.clips)
    return OwnCorpus(
        path=path, clips=len(corpus), layout=target.name, fps=fps, dimension=dimension, together=sum(c.persons > 1 for c in corpus.clips),
        converted=Counter(c.layout.name for c in sources if c.layout != target), labels=dict(sorted(labels_of.items())), subjects=subjects,
        rate_unknown=sum(c.fps is None for c in sources), jumping=int((corpus.max_step > DataOptions.max_step).sum()), joined=sum(own.joined for own in kept),
        shortened={own.where: own.kept for own in kept if own.kept[0] < own.kept[1]}, refused=tuple(refused), labels_asked=any((label_from, label, table)),
    )  # fmt: skip


def _read(recordings: str, result: Path, rule: Labels, fps: float, most: int, select_persons: bool, reading: ReadOptions) -> tuple[list[_Own], list[Refusal]]:
    """The clips, of as many persons and at most as fast as the file's, with their labels; and what cannot be used."""
    found, refused, names, doubts = [], [], set(), noted_doubts()
    for number, item in enumerate(read_files([recordings], result, reading)):
        if isinstance(item, Refusal):
            rule.met(item.file, item.clip)
            refused.append(item)
            continue
        label, subject, problem = rule.of(item.file, item.clip.name, item.clip.label)
        try:
            if problem:
                raise TrainingError(problem)
            joined = _joined(item.clip)
            persons = _persons_of(joined, most, select_persons)
            clip = _slowed(persons, fps)
        except SkelzooError as error:
            refused.append(Refusal(item.file, error, item.clip.name))
            continue
        names.add(label)
        doubts.add(odd_recording(item.clip), number, item.where)
        kept = int(is_present(persons.keypoints).sum()), int(np.minimum(is_present(joined.keypoints).sum(axis=0), most).sum())
        where = f"{inside(item.file, rule.path).as_posix()}/{clip.name}"
        found.append(_Own(clip.replace(label=label or None), item.file, where, subject, joined is not item.clip, kept))
    doubts.warn()
    problem = rule.finish(names - {""})
    return found, [*refused, *([Refusal(str(rule.table), TrainingError(problem))] if problem else [])]


def _said(reading: ReadOptions) -> str:
    """What was said of the recordings, for the file's origin."""
    said = [f"{name} {value}" for name, value in asdict(replace(reading, fill_missing=False, up=None)).items() if value]
    turned = f"; turned from {reading.up} up" if reading.up else ""
    filled = "; missing joints filled over time" if reading.fill_missing else ""
    return (f"; where they do not say it: {', '.join(said)}" if said else "") + turned + filled


def _joined(clip: Clip) -> Clip:
    """The clip with its bodies as one person if never two of them are there at a time; a tracker gives somebody it had lost another id."""
    there = is_present(clip.keypoints)
    if there.any(axis=1).sum() < 2 or there.sum(axis=0).max() > 1:
        return clip
    scores = None if clip.scores is None else (clip.scores * there[:, :, None]).sum(axis=0, keepdims=True)
    return clip.replace(keypoints=clip.keypoints.sum(axis=0, keepdims=True), scores=scores)


def _persons_of(clip: Clip, most: int, select: bool) -> Clip:
    """The persons of a clip, at most so many, in the frames that have joints; of their scores those of 2-D joints."""
    there = np.flatnonzero(clip.keypoints.any(axis=(1, 2, 3)))
    if len(there) > most and not select:
        raise ClipError(
            f"{clip.name}: has {len(there)} persons, and a clip of the file has {most}. Keep them with --persons {len(there)}, "
            f"or take {'the one that moves' if most == 1 else f'the {most} that move'} most with --select-persons."
        )
    if len(there) > most:
        there = there[motion_order(clip.keypoints[there])[:most]]
    kept = clip.take(there, clip.keypoints[there].any(axis=(0, 2, 3)))
    return kept.replace(fps=clip.fps, scores=kept.scores if clip.channels == 2 else None)  # frames without anybody are cut out, the others stay as far apart


def _slowed(clip: Clip, fps: float) -> Clip:
    """Every n-th frame of a clip; its own frame rate stays None where it is unknown."""
    step = 1 if clip.fps is None else round(clip.fps / fps)
    if clip.fps is not None and (step < 1 or abs(clip.fps / fps / step - 1) > TOLERANCE):
        raise ClipError(f"{clip.name}: is at {clip.fps:g} fps, which is no multiple of the file's {fps:g}. Give --fps, or make a file for each frame rate.")
    return clip.take(frames=slice(None, None, step))


def _common(layouts: Sequence[Layout], dimension: int) -> Layout:
    """The layout of all, if it is one of skelzoo."""
    first = layouts[0] if layouts else None
    same = first is not None and first.name in list_layouts() and all(layout == first == get_layout(first.name) for layout in layouts)
    return first if first is not None and same else get_layout(LAYOUTS[dimension])


def _fitted(clip: Clip, target: Layout, dimension: int) -> Clip:
    if clip.channels != dimension:
        raise ClipError(
            f"{clip.name}: its joints are {clip.channels}-D, and those of the file {dimension}-D. Make a file of {clip.channels}-D recordings alone."
        )
    clip = remap(clip, target)
    check_extent(clip.keypoints[is_present(clip.keypoints)], clip.name)
    return clip.replace(layout=target)


def _step_and_flags(keypoints: FloatArray) -> tuple[float, int]:
    """Longest way of a joint between two frames in which its person is there, and the flags of the clip."""
    there = is_present(keypoints)
    if there.all():
        step = longest_step(keypoints)
        return step, flags_of(keypoints, step)
    ways = np.linalg.norm(np.diff(keypoints, axis=1), axis=-1).max(axis=-1, initial=0)
    step = float(ways[there[:, 1:] & there[:, :-1]].max(initial=0))
    bodies = np.where(there[:, :, None, None], keypoints, 1)  # who is absent is at no origin
    return step, flags_of(bodies, step)


def _corpus(name: str, clips: Sequence[_Own], layout: Layout, licence: str, fps: float) -> tuple[Corpus, dict[int, str]]:
    """The corpus, and the names of its subjects by id."""
    often = Counter(own.clip.name for own in clips)
    names = tuple(own.clip.name if often[own.clip.name] == 1 else own.where for own in clips)
    stored = tuple(own.clip.replace(name=name, fps=fps) for own, name in zip(clips, names, strict=True))
    classes = sorted({c.label for c in stored if c.label})
    subject, subjects = _subjects([own.subject for own in clips])
    unknown, found = np.full(len(clips), -1, np.int32), [_step_and_flags(c.keypoints) for c in stored]
    steps = [step if clip.channels == 3 else np.nan for clip, (step, _) in zip(stored, found, strict=True)]  # in pixels no limit in metres holds
    return Corpus(
        name=name, layout=layout, clips=stored, label=np.array([classes.index(c.label) if c.label else -1 for c in stored], np.int32),
        label_names=tuple(classes), clip_names=names, subject=subject, split=unknown, view=unknown,
        flags=np.array([flags for _, flags in found], np.uint8), max_step=np.array(steps, np.float32),
        extra={"zero_frames": np.zeros(len(clips), np.int32)}, licence=licence, citation="", origin="recordings of one's own, by `skelzoo corpus make`", notes="",
    ), subjects  # fmt: skip


def _subjects(found: Sequence[str]) -> tuple[Int32s, dict[int, str]]:
    """An id for each clip, and the name of each id; -1 and none where no subject was asked for."""
    if not any(found):
        return np.full(len(found), -1, np.int32), {}
    names = sorted(set(found))
    ids = {n: int(n) for n in names} if all(n.isdecimal() and int(n) < 2**31 for n in names) else {n: i for i, n in enumerate(names)}
    return np.array([ids[n] for n in found], np.int32), {
        i: str(i) if n.isdecimal() and int(n) == i else n for n, i in sorted(ids.items(), key=lambda item: item[1])
    }
