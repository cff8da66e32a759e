"""Original recordings of the pretraining corpora and benchmarks: which file is which clip, and how a corpus file is made of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skelzoo.errors import ReadError, SkelzooError
from skelzoo.inference.files import Refusal
from skelzoo.learn.benchmarks import copies_of_training
from skelzoo.skeleton.clip import Clip, FloatArray
from skelzoo.skeleton.io import nwucla, read, utdmhad
from skelzoo.skeleton.io.corpus import Corpus, Flag
from skelzoo.skeleton.io.files import load_npz
from skelzoo.skeleton.io.uiprmd import EXERCISES
from skelzoo.skeleton.layouts import get_layout

FPS = 30.0
"""Of every corpus file; faster recordings keep every n-th frame."""


@dataclass(frozen=True)
class Source:
    """What one corpus file is made of. The table is ``corpora.json``.

    Attributes:
        title: of the recordings.
        layout: of the corpus file.
        commercial_use: whether weights trained on it may be used commercially.
        licence, citation, notes: texts of the corpus file.
        clips: label -> clips that the corpus takes; empty where it takes all there are.
        labels, styles: names in the order of their ids; names that are not among them follow.
        count: clips there are in all, where they are not listed.
        leading: clip name or label -> frames at the start of the original that are no motion.
        fps: label -> true frame rate, where the files state another.
    """

    title: str
    layout: str
    commercial_use: bool
    licence: str
    citation: str
    notes: str
    clips: Mapping[str, Sequence[str]] = field(default_factory=dict)
    labels: Sequence[str] = ()
    styles: Sequence[str] = ()
    count: int = 0
    leading: Mapping[str, int] = field(default_factory=dict)
    fps: Mapping[str, float] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Clips of the whole corpus file."""
        return self.count or sum(map(len, self.clips.values()))


@dataclass(frozen=True)
class Original:
    """A recording, and what its name tells of the clip it is.

    Attributes:
        columns: further columns of the corpus file, such as ``is_correct``; a text is the name of an id.
    """

    path: Path
    name: str
    label: str
    subject: int = -1
    split: int = -1
    columns: Mapping[str, int | str] = field(default_factory=dict)
    view: int = -1


@dataclass(frozen=True, eq=False)
class Recording:
    """A clip as the corpus takes it, 30 fps, with the longest way of a joint between two frames in metres."""

    original: Original
    clip: Clip
    max_step: float


@dataclass(frozen=True)
class Skipped:
    """A recording that the corpus does not need, and why."""

    path: Path
    reason: str


_UIPRMD = re.compile(r"(m(?P<movement>\d\d)_s(?P<subject>\d\d)_e\d\d)_(?:positions|angles)(?P<wrong>_inc)?\.txt(?:\.gz)?")
_BANDAI = re.compile(r"(dataset-(?P<dataset>\d)_(?P<label>[a-z-]+)_(?P<style>[a-z-]+)_\d+)\.bvh")
_CMU = re.compile(r"(?P<subject>\d{2,3})_(?P<trial>\d\d)\.(?P<suffix>amc|bvh)", re.IGNORECASE)
_NWUCLA = re.compile(r"(a(?P<action>\d\d)_s(?P<subject>\d\d)_e\d\d_v(?P<view>\d\d))\.json")
_UTDMHAD = re.compile(r"(a(?P<action>\d{1,2})_s(?P<subject>\d)_t\d)_skeleton\.mat")


def identify(path: Path, file: str, source: Source) -> Original | None:
    """The clip of a corpus file that a recording is by its name and folder, or None."""
    if file == "uiprmd_kinect.npz":
        return _uiprmd(path)
    if file == "bandai_namco.npz":
        return _bandai(path)
    if file in ("nw_ucla.npz", "utd_mhad.npz"):
        return _kinect(path, file)
    if file == "cmu_daz.npz":  # salsa/07.bvh
        return _listed(Original(path, f"{path.parent.name}_{path.stem}", ""), source)
    m = _CMU.fullmatch(path.name)
    if m is None:
        return None
    subject, amc = int(m["subject"]), m["suffix"].lower() == "amc"
    columns = {"repaired": 0 if amc else 2} if file == "cmu_subset.npz" else {}
    return _listed(Original(path, f"{subject:02d}_{m['trial']}", "", subject, columns=columns), source)


def _uiprmd(path: Path) -> Original | None:
    m = _UIPRMD.fullmatch(path.name)
    if m is None or not 1 <= int(m["movement"]) <= len(EXERCISES):
        return None
    subject, wrong = int(m["subject"]), m["wrong"] or ""
    return Original(path, m[1] + wrong, EXERCISES[int(m["movement"]) - 1], subject, int(subject > 5), {"is_correct": int(not wrong)})


def _bandai(path: Path) -> Original | None:
    m = _BANDAI.fullmatch(path.name)
    return None if m is None else Original(path, m[1], m["label"], columns={"style": m["style"], "dataset": int(m["dataset"])})


def _kinect(path: Path, file: str) -> Original | None:
    """A recording of NW-UCLA, where view 3 tests, or of UTD-MHAD, where even subjects do."""
    viewed = file == "nw_ucla.npz"
    m = (_NWUCLA if viewed else _UTDMHAD).fullmatch(path.name)
    label = (nwucla.ACTIONS if viewed else dict(enumerate(utdmhad.ACTIONS, 1))).get(int(m["action"])) if m else None
    if m is None or label is None:
        return None
    subject, view = int(m["subject"]), int(m["view"]) if viewed else -1
    return Original(path, m[1], label, subject, int(view == 3 if viewed else subject % 2 == 0), view=view)


def _listed(original: Original, source: Source) -> Original | None:
    """The original with its label, if its clip is among those that the corpus takes."""
    label = next((label for label, names in source.clips.items() if original.name in names), None)
    return None if label is None else replace(original, label=label)


def place(original: Original) -> tuple[bool, str]:
    """What clips of a corpus file are sorted by: names, with incorrect executions last."""
    return original.name.endswith("_inc"), original.name


def read_originals(originals: Sequence[Original], source: Source) -> Iterator[Recording | Refusal | Skipped]:
    """Read the recordings of a corpus file, each clip once; of several recordings of one clip AMC comes first.

    Yields:
        A Recording for every clip, sorted by name with incorrect executions last; a Refusal for every file that cannot
        be read, and Skipped for every file that is not needed.
    """
    done: set[str] = set()
    for original in sorted(originals, key=lambda o: (*place(o), o.path.suffix.lower() != ".amc", o.path)):
        if original.name in done:
            yield Skipped(original.path, "another file of the same clip was taken")
            continue
        try:
            recording = _recording(original, source)
        except SkelzooError as error:
            yield Refusal(str(original.path), error)
            continue
        if recording is None:
            yield Skipped(original.path, f"its rig is not the {source.layout} of the corpus")
            continue
        done.add(original.name)
        yield recording


def _recording(original: Original, source: Source) -> Recording | None:
    """The clip of an original, or None when its joints are those of another rig."""
    (clip,) = read(original.path)
    layout = get_layout(source.layout)
    if not set(layout.joints) <= set(clip.layout.joints):
        return None
    fps = source.fps.get(original.label, clip.fps or FPS)
    step = round(fps / FPS)
    if step < 1 or abs(fps / FPS - step) > 1e-3:
        raise ReadError(original.path, f"is at {fps:g} fps, which is no multiple of {FPS:g}", "Take the original recording, not one that was resampled.")
    leading = source.leading.get(original.name, source.leading.get(original.label, 0)) if original.path.suffix.lower() == ".bvh" else 0
    points = clip.keypoints[:, leading::step, [clip.layout.index(j) for j in layout.joints]]
    kept = Clip(points, layout, FPS, label=original.label, name=original.name)
    return Recording(original, kept, longest_step(points))


def longest_step(keypoints: FloatArray) -> float:
    """Longest way of any joint between two frames, in the unit of the joints (M, T, V, C)."""
    return float(np.linalg.norm(np.diff(keypoints, axis=1), axis=-1).max(initial=0))


def make_corpus(name: str, source: Source, recordings: Sequence[Recording]) -> tuple[Corpus, dict[str, tuple[str, ...]]]:
    """A corpus of recordings, and the lists of names that its columns count into, for ``save_corpus``.

    Args:
        name: stem of the corpus file.
        recordings: at least one.
    """
    originals, clips = [r.original for r in recordings], tuple(r.clip for r in recordings)
    labels, label = _ids(source.labels or sorted(source.clips) or EXERCISES, [o.label for o in originals])
    columns = {key: [o.columns[key] for o in originals] for key in originals[0].columns}
    extra: dict[str, NDArray[np.int32]] = {"zero_frames": np.array([(~c.keypoints.any(axis=(0, 2, 3))).sum() for c in clips], np.int32)}
    names: dict[str, tuple[str, ...]] = {}
    for key, values in columns.items():
        if key == "style":
            names["style_names"], extra[key] = _ids(source.styles, [str(v) for v in values])
        else:
            extra[key] = np.array(values, np.int32)
    split = np.array([o.split for o in originals], np.int32)
    copies = copies_of_training(clips, split == 0, split == 1)
    flags = [flags_of(c.keypoints, r.max_step) | (Flag.COPY if copy else 0) for c, r, copy in zip(clips, recordings, copies, strict=True)]
    corpus = Corpus(
        name=name, layout=get_layout(source.layout), clips=clips, label=label, label_names=labels, clip_names=tuple(c.name for c in clips),
        subject=np.array([o.subject for o in originals], np.int32), split=split,
        view=np.array([o.view for o in originals], np.int32), flags=np.array(flags, np.uint8),
        max_step=np.array([r.max_step for r in recordings], np.float32), extra=extra, licence=source.licence, citation=source.citation,
        origin=f"{source.title}; original files, by `skelzoo corpus build`", notes=source.notes,
    )  # fmt: skip
    return corpus, names


def recordings_of(path: Path, corpus: Corpus, columns: Sequence[str]) -> list[Recording]:
    """The clips of a corpus file as ``make_corpus`` takes them, so that others can be added.

    Args:
        path: of the file that is the corpus.
        columns: keys of ``Original.columns`` that the others have.

    Raises:
        ReadError: the file lacks a column.
    """
    arrays = load_npz(path)
    lacking = [key for key in columns if key not in corpus.extra or (key == "style" and "style_names" not in arrays)]
    if lacking:
        raise ReadError(path, f"lacks the columns {', '.join(lacking)}, so no clip can be added to it", "Take it away, or build in another folder.")
    return [
        Recording(
            Original(
                path, clip.name, clip.label or "", int(corpus.subject[i]), int(corpus.split[i]),
                {key: str(arrays["style_names"][corpus.extra[key][i]]) if key == "style" else int(corpus.extra[key][i]) for key in columns}, int(corpus.view[i]),
            ),
            clip, float(corpus.max_step[i]),
        )
        for i, clip in enumerate(corpus.clips)
    ]  # fmt: skip


def _ids(known: Sequence[str], found: Sequence[str]) -> tuple[tuple[str, ...], NDArray[np.int32]]:
    """All names, the known ones first, and which of them each of ``found`` is."""
    names = tuple(dict.fromkeys([*known, *sorted(found)]))
    return names, np.array([names.index(f) for f in found], np.int32)


def flags_of(keypoints: FloatArray, max_step: float) -> int:
    """The sum of the flags of a clip, joints (1, T, V, 3)."""
    frames = keypoints.shape[1]
    true_of = {Flag.SHORT: frames < 8, Flag.STILL: frames > 1 and max_step == 0, Flag.AT_ORIGIN: not keypoints.any(axis=-1).all()}
    return sum(flag for flag, true in true_of.items() if true)
