"""The project's corpus files: many clips of one layout in one ``.npz``, joints as int16 steps along time.

=================  ==============================================================================================
``joints_delta``   int16 (frames of all clips, V, C) or, where a clip has several persons, (frames of all clips, M, V, C), each row
                   less the one before; the first is as it is; C is 3, or 2 for the joints of pictures
``scale``          float32, metres or pixels per step; in the files written here 0.001 m or an odd part of it, or 1/32000 of the farthest joint in pixels
``clip_origin``    float32 (clips, C), metres taken off a clip that goes beyond 32 m, else 0
``offsets``        int (clips + 1): clip i is rows offsets[i] to offsets[i + 1]
``fps``            float32, frames per second
``joint_names``    text (V,), those of a layout of skelzoo; y is up in 3-D
``parents``        int32 (V,), as the layout's; not read
``clip_name``      text (clips,), the name in the source
``label``          int32 (clips,), index into ``label_names``, -1 unknown
``label_names``    text (classes,)
``subject``        optional int32 (clips,), -1 unknown; so are ``split``, 0 for training and 1 for test, and ``view``
``persons``        int32 (clips,), how many of the M persons a clip has, where joints have that axis; who is absent from a frame is all zero there
``image_size``     int32 (clips, 2) of 2-D clips, height and width of the picture in pixels, 0 unknown
``scores``         optional float32, as ``joints_delta`` without the last axis, confidences of 2-D joints; NaN in clips that have none
``flags``          optional uint8 (clips,), a sum of ``Flag``
``max_step``       optional float32 (clips,), longest way of any joint between two frames, metres; NaN in 2-D
``licence``        optional text, and so ``citation``, ``origin`` and ``notes``
any other          optional, one entry per clip, such as ``is_correct``, ``style`` and ``zero_frames`` (frames that are all zero)
=================  ==============================================================================================

Metres are ``np.cumsum(joints_delta, axis=0, dtype=np.int16) * scale``, and on those of clip i ``clip_origin[i]`` (with several persons, only where one is there).
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skelzoo.errors import ClipError, ReadError
from skelzoo.skeleton.arrays import Float64s, Int32s
from skelzoo.skeleton.clip import Clip, FloatArray
from skelzoo.skeleton.io.files import PathLike, load_npz, named
from skelzoo.skeleton.layouts import Layout, find_layout
from skelzoo.skeleton.points import is_present
from skelzoo.skeleton.writing import whole_file

MARK = "joints_delta"
"""The key that tells a corpus from other ``.npz`` files."""

_NEEDED = (MARK, "scale", "clip_origin", "offsets", "label", "label_names", "clip_name", "joint_names", "fps")
_PER_CLIP = ("label", "subject", "split", "view", "flags", "max_step", "clip_name")
OPTIONAL = ("persons", "image_size", "scores")
"""Keys of files of several persons or 2-D joints, see the table."""

_TEXTS = ("licence", "citation", "origin", "notes")
_AGAIN = "The file is damaged or of another schema; copy it again, or build it with `skelzoo corpus build`."

MILLIMETRE = np.float32(0.001)
"""Metres per step of the files written here, unless finer ones are wanted."""

_REACH = 32.0
"""Metres from the origin that int16 millimetres hold, with room for rounding."""

_SPAN = 2 * _REACH
"""Metres along an axis that the joints of a clip may lie apart."""

_PICTURE = 16384.0
"""Pixels from the corner of a picture beyond which no joint is."""

_STEPS = 32000
"""Steps to the farthest joint of 2-D clips, and at most of 3-D ones."""


class Flag(enum.IntFlag):
    """What the flags of a file say of a clip.

    Attributes:
        NOT_FINITE: joints were not finite.
        ALL_ZERO: all joints were zero.
        SHORT: fewer than 8 frames.
        STILL: nothing moves in more than one frame.
        HEIGHT: a body of implausible height.
        AT_ORIGIN: a joint of a person who is there at exactly the origin in some frame; in 2-D one that was not found.
        COPY: a test clip that is a copy of a training clip.
    """

    NOT_FINITE = 1
    ALL_ZERO = 2
    SHORT = 4
    STILL = 8
    HEIGHT = 16
    AT_ORIGIN = 32
    COPY = 64


@dataclass(frozen=True, eq=False)
class Corpus:
    """A corpus file; every array has one entry per clip.

    Attributes:
        name: stem of the file.
        layout: layout of all clips.
        clips: (M, T, V, C) each, labelled: metres and y up, or, of 2-D joints, pixels, with scores and the size of the picture where they are known.
        label: class ids into ``label_names``, -1 unknown.
        label_names: class names.
        clip_names: names in the source.
        subject, split, view: -1 where the source has none; split is 0 for training and 1 for test.
        flags: sums of ``Flag``.
        max_step: longest way of any joint between two frames, metres; NaN in 2-D, or where the file has none.
        extra: further arrays of the file with one entry per clip, e.g. ``is_correct``, ``style``.
        licence, citation, origin, notes: texts of the file, "" where it has none.
    """

    name: str
    layout: Layout
    clips: tuple[Clip, ...]
    label: Int32s
    label_names: tuple[str, ...]
    clip_names: tuple[str, ...]
    subject: Int32s
    split: Int32s
    view: Int32s
    flags: NDArray[np.uint8]
    max_step: NDArray[np.float32]
    extra: Mapping[str, NDArray[Any]]
    licence: str
    citation: str
    origin: str
    notes: str

    def __len__(self) -> int:
        return len(self.clips)

    @property
    def columns(self) -> dict[str, NDArray[Any]]:
        """What rules choose clips by, beside names: ``subjects``, ``split``, ``view`` and what ``extra`` holds one value per clip of."""
        columns = {"subjects": self.subject, "split": self.split, "view": self.view, **self.extra}
        return {key: values for key, values in columns.items() if values.ndim == 1}

    def named(self, pattern: str) -> NDArray[np.bool_]:
        """Which clips have a name in which a regular expression is found: (clips,) bool."""
        return np.array([re.search(pattern, name) is not None for name in self.clip_names], bool)


def read(path: PathLike) -> list[Clip]:
    """All clips of a corpus file, named and labelled.

    Raises:
        ReadError: as ``read_corpus``.
    """
    return list(read_corpus(path).clips)


def read_corpus(path: PathLike) -> Corpus:
    """A corpus file with all that evaluation needs beside the clips.

    Raises:
        ReadError: not an npz, cut off, keys missing or of sizes that do not fit, joints of no known layout.
        ClipError: a clip that is all zero.
    """
    with named(path):
        return corpus_of(load_npz(path), Path(path))


def corpus_of(arrays: Mapping[str, NDArray[Any]], path: Path) -> Corpus:
    """What ``read_corpus`` makes of the arrays of a file, or of those of a part of it; errors as there."""
    _check(arrays, path)
    layout = find_layout([str(j) for j in arrays["joint_names"]])
    if layout is None:
        raise ReadError(path, "its joint names are those of no layout of skelzoo", "Known layouts: skelzoo.list_layouts().")
    names = tuple(str(n) for n in arrays["clip_name"])
    label, label_names = arrays["label"].astype(np.int32), tuple(str(n) for n in arrays["label_names"])
    clips = _clips(arrays, layout, names, [label_names[i] if i >= 0 else None for i in label])
    count = len(clips)
    used = {*_NEEDED, *_PER_CLIP, "parents", *_read_too(arrays)}
    return Corpus(
        name=path.stem, layout=layout, clips=clips, label=label, label_names=label_names, clip_names=names,
        subject=_ints(arrays, "subject", count), split=_ints(arrays, "split", count), view=_ints(arrays, "view", count),
        flags=arrays["flags"].astype(np.uint8) if "flags" in arrays else np.zeros(count, np.uint8),
        max_step=arrays["max_step"].astype(np.float32) if "max_step" in arrays else np.full(count, np.nan, np.float32),
        extra={k: v for k, v in arrays.items() if k not in used and v.shape[:1] == (count,)},
        **{key: str(arrays[key]) if key in arrays else "" for key in _TEXTS},
    )  # fmt: skip


def _clips(arrays: Mapping[str, NDArray[Any]], layout: Layout, names: tuple[str, ...], labels: list[str | None]) -> tuple[Clip, ...]:
    # int16 sums wrap around and so undo the differences exactly; the sum must not be taken in a wider type.
    steps = np.cumsum(arrays[MARK], axis=0, dtype=np.int16)
    scale, read_too = np.float32(arrays["scale"]), _read_too(arrays)
    offsets, origin, fps = arrays["offsets"], arrays["clip_origin"].astype(np.float32), float(arrays["fps"])
    clips = []
    for i, (name, label) in enumerate(zip(names, labels, strict=True)):
        own = steps[offsets[i] : offsets[i + 1]]
        points, there = own * scale, own.any(axis=(-2, -1), keepdims=True) if own.ndim == 4 else np.bool_(True)
        points = np.where(there, points + origin[i], 0) if origin[i].any() else points
        scores = arrays["scores"][offsets[i] : offsets[i + 1]] if "scores" in read_too else None
        if own.ndim == 4:
            kept = slice(0, int(arrays["persons"][i]))
            points, scores = points.swapaxes(0, 1)[kept], None if scores is None else scores.swapaxes(0, 1)[kept]
        scores = None if scores is None or np.isnan(scores).all() else scores
        size = arrays["image_size"][i].tolist() if "image_size" in read_too and arrays["image_size"][i].all() else None
        clips.append(Clip(points, layout, fps, scores, label, name, size))
    return tuple(clips)


def _read_too(arrays: Mapping[str, NDArray[Any]]) -> list[str]:
    """Those of OPTIONAL that a file has; in a file of single persons in 3-D they are columns like any other."""
    flat, many = arrays[MARK].shape[-1] == 2, arrays[MARK].ndim == 4
    return [key for key in OPTIONAL if key in arrays and (many if key == "persons" else flat)]


def _ints(arrays: Mapping[str, NDArray[Any]], key: str, count: int) -> Int32s:
    return arrays[key].astype(np.int32) if key in arrays else np.full(count, -1, np.int32)


def _check(arrays: Mapping[str, NDArray[Any]], path: Path) -> None:
    missing = [key for key in _NEEDED if key not in arrays]
    if missing:
        raise ReadError(path, f"lacks the keys {', '.join(missing)}", _AGAIN)
    delta, offsets, names = arrays[MARK], arrays["offsets"], arrays["clip_name"]
    count = len(names) if names.ndim == 1 else -1
    joints, channels = arrays["joint_names"].size, delta.shape[-1] if delta.ndim in (3, 4) and delta.shape[-1] == 2 else 3
    problems = {
        f"{MARK} is {delta.dtype} of shape {delta.shape}, not int16 (frames, {joints}, {channels}), with persons (frames, M, {joints}, {channels})":
            delta.dtype != np.int16 or delta.ndim not in (3, 4) or delta.shape[-2:] != (joints, channels),
        f"{offsets.shape} offsets for {count} clips": offsets.shape != (count + 1,) or offsets.dtype.kind not in "iu" or count == 0,
        "scale or fps is not one positive number":
            any(arrays[k].shape != () or arrays[k].dtype.kind != "f" or not 0 < arrays[k] < 1e6 for k in ("scale", "fps")),
        f"clip_origin is not {channels} numbers per clip": arrays["clip_origin"].shape != (count, channels) or arrays["clip_origin"].dtype.kind != "f",
    }  # fmt: skip
    for key in _PER_CLIP:
        kinds = "U" if key == "clip_name" else "f" if key == "max_step" else "iu"
        if key in arrays:
            problems[f"{key} is not one value per clip"] = arrays[key].shape != (count,) or arrays[key].dtype.kind not in kinds
    problem = next((text for text, wrong in problems.items() if wrong), None) or _problem_of_optional(arrays, count)
    if problem is None and (offsets[0] != 0 or offsets[-1] != len(delta) or (np.diff(offsets) < 1).any()):
        problem = "the offsets do not cut the frames into clips"
    if problem is None and (arrays["label"].min() < -1 or arrays["label"].max() >= arrays["label_names"].size or arrays["label_names"].ndim != 1):
        problem = "some labels are not in label_names"
    if problem is not None:
        raise ReadError(path, problem, _AGAIN)


def _problem_of_optional(arrays: Mapping[str, NDArray[Any]], count: int) -> str | None:
    delta, read_too = arrays[MARK], _read_too(arrays)
    if delta.ndim == 4:
        persons = arrays.get("persons", np.empty(0))
        if persons.shape != (count,) or persons.dtype.kind not in "iu" or persons.min() < 1 or persons.max() > delta.shape[1]:
            return f"persons is not one number from 1 to {delta.shape[1]} per clip"
    if "image_size" in read_too and (arrays["image_size"].shape != (count, 2) or arrays["image_size"].dtype.kind not in "iu" or arrays["image_size"].min() < 0):
        return "image_size is not height and width of each clip"
    if "scores" in read_too and (arrays["scores"].shape != delta.shape[:-1] or arrays["scores"].dtype.kind != "f"):
        return f"scores are of shape {arrays['scores'].shape}, not one per joint"
    return None


def save_corpus(path: PathLike, corpus: Corpus, names: Mapping[str, Sequence[str]] | None = None, fine: bool = False) -> None:
    """Write a corpus file that ``read_corpus`` reads; 3-D joints are rounded to millimetres, 2-D ones to 1/32000 of the farthest.

    Args:
        names: further lists of names, e.g. ``style_names``, that columns of ``extra`` count into.
        fine: round 3-D joints to the smallest 1/1, 1/3, 1/5 ... of a millimetre in which the farthest of them is 32000 steps away at most.

    Raises:
        ClipError: a clip of no frame rate, of another layout, frame rate or number of coordinates than the first, or that spans more than 64 m or goes beyond 16384 pixels.
        WriteError: it cannot be written; nothing is left then.
    """
    origins = np.stack([_origin(clip, corpus) for clip in corpus.clips])
    columns = {"subject": corpus.subject, "split": corpus.split, "view": corpus.view}
    arrays: dict[str, Any] = {
        **_joint_arrays(corpus, origins, fine),
        "offsets": np.cumsum([0, *(c.frames for c in corpus.clips)]), "label": corpus.label, "label_names": np.array(corpus.label_names, np.str_),
        "clip_name": np.array(corpus.clip_names, np.str_), "flags": corpus.flags, "max_step": corpus.max_step,
        "joint_names": np.array(corpus.layout.joints, np.str_), "parents": np.array(corpus.layout.parents, np.int32),
        "fps": np.float32(corpus.clips[0].fps), **{key: np.array(getattr(corpus, key)) for key in _TEXTS}, **corpus.extra,
        **{key: ids for key, ids in columns.items() if (ids != -1).any() or key == "subject"},
        **{key: np.array(list(values), np.str_) for key, values in (names or {}).items()},
    }  # fmt: skip
    with whole_file(path) as file:
        np.savez_compressed(file, **arrays)


def _joint_arrays(corpus: Corpus, origins: NDArray[np.float32], fine: bool) -> dict[str, Any]:
    """What a file says of joints: int16 steps, and of several persons and of pictures what ``OPTIONAL`` names."""
    clips, flat, most = corpus.clips, corpus.clips[0].channels == 2, max(c.persons for c in corpus.clips)

    def moved() -> Iterator[FloatArray]:
        for clip, origin in zip(clips, origins, strict=True):
            there = is_present(clip.keypoints)[:, :, None, None]
            yield clip.keypoints - origin if most == 1 else np.where(there, clip.keypoints - origin, 0)

    reach = max(float(np.abs(points).max()) for points in moved())
    parts = max(int(_REACH / max(reach, 1e-3)), 1) if fine else 1
    parts -= 1 - parts % 2
    scale = np.float32(reach / _STEPS) if flat else MILLIMETRE / np.float32(parts)
    rows, scores = [], []
    for clip, points in zip(clips, moved(), strict=True):
        rows.append(_over_time((np.rint(points / scale) if flat else _parts(points, parts)).astype(np.int16), most))
        scores.append(_over_time(np.full(points.shape[:3], np.nan, np.float32) if clip.scores is None else clip.scores, most))
    steps = np.concatenate(rows)
    found: dict[str, Any] = {MARK: np.diff(steps, axis=0, prepend=np.zeros_like(steps[:1])), "scale": scale, "clip_origin": origins}
    if most > 1:
        found["persons"] = np.array([c.persons for c in clips], np.int32)
    if flat:
        found["image_size"] = np.array([c.image_size or (0, 0) for c in clips], np.int32)
    if flat and any(c.scores is not None for c in clips):
        found["scores"] = np.concatenate(scores)
    return found


def _parts(points: FloatArray, parts: int) -> Float64s:
    """Metres as whole numbers of an odd part of a millimetre.

    What is nearest to a millimetre stays nearest to the same one, so that ``joints_hash`` knows a clip in whatever file it is.
    """
    whole = np.rint(points / MILLIMETRE).astype(np.float64)
    rest = np.rint((points - 0.001 * whole) * 1000 * parts)
    return np.asarray(whole * parts + rest.clip(-(parts // 2), parts // 2))


def _over_time(values: NDArray[Any], persons: int) -> NDArray[Any]:
    """(M, T, ...) -> (T, persons, ...), zeros behind; of single persons (T, ...)."""
    if persons == 1:
        return np.asarray(values[0])
    return np.pad(values, [(0, persons - len(values)), *[(0, 0)] * (values.ndim - 1)]).swapaxes(0, 1)


def check_extent(points: FloatArray, name: str) -> None:
    """Raise ClipError where joints (..., C) of a clip are farther apart, or from the corner of their picture, than a file holds."""
    if points.shape[-1] == 2:
        if np.abs(points).max() > _PICTURE:
            raise ClipError(f"{name}: has joints at {np.abs(points).max():.0f}, and a picture ends by {_PICTURE:g}. Check that its unit is the pixel.")
        return
    span = np.ptp(points.reshape(-1, 3), axis=0).max()
    if span > _SPAN:
        raise ClipError(f"{name}: spans {span:.1f}, and a corpus file holds {_SPAN:g} m. Check that its unit is the metre, or cut it.")


def _origin(clip: Clip, corpus: Corpus) -> NDArray[np.float32]:
    """What is taken off a clip so that its joints fit into int16 millimetres: nothing, unless it goes far."""
    first = corpus.clips[0]
    if clip.channels != first.channels or clip.layout != corpus.layout or clip.fps is None or clip.fps != first.fps:
        raise ClipError(f"{clip.name}: is {clip!r}; a corpus file holds clips of one layout and frame rate, all 2-D or all 3-D. Write it to another file.")
    if clip.channels == 2:
        check_extent(clip.keypoints, clip.name)
        return np.zeros(2, np.float32)
    points = clip.keypoints if clip.persons == 1 else clip.keypoints[is_present(clip.keypoints)]
    check_extent(points, clip.name)
    low, high = points.reshape(-1, 3).min(axis=0), points.reshape(-1, 3).max(axis=0)
    return np.zeros(3, np.float32) if max(-low.min(), high.max()) <= _REACH else (low + high) / 2
