"""The project's corpus files: many single-person clips of one layout in one ``.npz``, joints as int16 steps along time.

=================  ==============================================================================================
``joints_delta``   int16 (frames of all clips, V, 3), each row less the one before; the first is as it is
``scale``          float32, metres per step, 0.001 in the files written here
``clip_origin``    float32 (clips, 3), metres taken off a clip that goes beyond 32 m, else 0
``offsets``        int (clips + 1): clip i is rows offsets[i] to offsets[i + 1]
``fps``            float32, frames per second
``joint_names``    text (V,), those of a layout of skelzoo; y is up
``parents``        int32 (V,), as the layout's; not read
``clip_name``      text (clips,), the name in the source
``label``          int32 (clips,), index into ``label_names``, -1 unknown
``label_names``    text (classes,)
``subject``        optional int32 (clips,), -1 unknown; so are ``split``, 0 for training and 1 for test, and ``view``
``flags``          optional uint8 (clips,), a sum of the flags below
``max_step``       optional float32 (clips,), longest way of any joint between two frames, metres
``licence``        optional text, and so ``citation``, ``origin`` and ``notes``
any other          optional, one entry per clip, such as ``is_correct``, ``style`` and ``zero_frames`` (frames that are all zero)
=================  ==============================================================================================

Metres are ``np.cumsum(joints_delta, axis=0, dtype=np.int16) * scale``, and on those of clip i ``clip_origin[i]``.

====  ===========================================
flag  what it says of a clip
====  ===========================================
1     joints were not finite
2     all joints were zero
4     fewer than 8 frames
8     nothing moves
16    a body of implausible height
32    a joint at exactly (0, 0, 0) in some frame
64    a test clip that is a copy of a training clip
====  ===========================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skelzoo.errors import ClipError, ReadError
from skelzoo.skeleton.clip import Clip
from skelzoo.skeleton.io.files import PathLike, load_npz
from skelzoo.skeleton.layouts import Layout, find_layout
from skelzoo.skeleton.writing import whole_file

Ints = NDArray[np.int32]

MARK = "joints_delta"
"""The key that tells a corpus from other ``.npz`` files."""

_NEEDED = (MARK, "scale", "clip_origin", "offsets", "label", "label_names", "clip_name", "joint_names", "fps")
_PER_CLIP = ("label", "subject", "split", "view", "flags", "max_step", "clip_name")
_TEXTS = ("licence", "citation", "origin", "notes")
_AGAIN = "The file is damaged or of another schema; copy it again, or build it with `skelzoo corpus build`."

_SCALE = np.float32(0.001)
"""Metres per step of the files written here."""

_REACH = 32.0
"""Metres from the origin that int16 millimetres hold, with room for rounding."""

SPAN = 2 * _REACH
"""Metres along an axis that the joints of a clip may lie apart."""


@dataclass(frozen=True, eq=False)
class Corpus:
    """A corpus file; every array has one entry per clip.

    Attributes:
        name: stem of the file.
        layout: layout of all clips.
        clips: (1, T, V, 3) each, metres, y up, labelled.
        label: class ids into ``label_names``, -1 unknown.
        label_names: class names.
        clip_names: names in the source.
        subject, split, view: -1 where the source has none; split is 0 for training and 1 for test.
        flags: sums of the module's flags.
        max_step: longest way of any joint between two frames, metres; NaN where the file has none.
        extra: further arrays of the file with one entry per clip, e.g. ``is_correct``, ``style``.
        licence, citation, origin, notes: texts of the file, "" where it has none.
    """

    name: str
    layout: Layout
    clips: tuple[Clip, ...]
    label: Ints
    label_names: tuple[str, ...]
    clip_names: tuple[str, ...]
    subject: Ints
    split: Ints
    view: Ints
    flags: NDArray[np.uint8]
    max_step: NDArray[np.float32]
    extra: Mapping[str, NDArray[Any]]
    licence: str
    citation: str
    origin: str
    notes: str

    def __len__(self) -> int:
        return len(self.clips)


def read(path: PathLike) -> list[Clip]:
    """All clips of a corpus file, named and labelled.

    Raises:
        ReadError: as ``read_table``.
    """
    return list(read_table(path).clips)


def read_table(path: PathLike) -> Corpus:
    """A corpus file with all that evaluation needs beside the clips.

    Raises:
        ReadError: not an npz, cut off, keys missing or of sizes that do not fit, joints of no known layout.
        ClipError: a clip that is all zero.
    """
    return table_of(load_npz(path), Path(path))


def table_of(arrays: Mapping[str, NDArray[Any]], path: Path) -> Corpus:
    """What ``read_table`` makes of the arrays of a file, or of those of a part of it; errors as there."""
    _check(arrays, path)
    layout = find_layout([str(j) for j in arrays["joint_names"]])
    if layout is None:
        raise ReadError(path, "its joint names are those of no layout of skelzoo", "Known layouts: skelzoo.list_layouts().")
    names = tuple(str(n) for n in arrays["clip_name"])
    label, label_names = arrays["label"].astype(np.int32), tuple(str(n) for n in arrays["label_names"])
    clips = _clips(arrays, layout, names, [label_names[i] if i >= 0 else None for i in label])
    count = len(clips)
    used = {*_NEEDED, *_PER_CLIP, "parents"}
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
    metres = np.cumsum(arrays[MARK], axis=0, dtype=np.int16) * np.float32(arrays["scale"])
    offsets, origin, fps = arrays["offsets"], arrays["clip_origin"].astype(np.float32), float(arrays["fps"])
    clips = []
    for i, (name, label) in enumerate(zip(names, labels, strict=True)):
        points = metres[offsets[i] : offsets[i + 1]]
        clips.append(Clip(points + origin[i] if origin[i].any() else points, layout, fps=fps, label=label, name=name))
    return tuple(clips)


def _ints(arrays: Mapping[str, NDArray[Any]], key: str, count: int) -> Ints:
    return arrays[key].astype(np.int32) if key in arrays else np.full(count, -1, np.int32)


def _check(arrays: Mapping[str, NDArray[Any]], path: Path) -> None:
    missing = [key for key in _NEEDED if key not in arrays]
    if missing:
        raise ReadError(path, f"lacks the keys {', '.join(missing)}", _AGAIN)
    delta, offsets, names = arrays[MARK], arrays["offsets"], arrays["clip_name"]
    count = len(names) if names.ndim == 1 else -1
    problems = {
        f"{MARK} is {delta.dtype} of shape {delta.shape}, not int16 (frames, {arrays['joint_names'].size}, 3)":
            delta.dtype != np.int16 or delta.ndim != 3 or delta.shape[1:] != (arrays["joint_names"].size, 3),
        f"{offsets.shape} offsets for {count} clips": offsets.shape != (count + 1,) or offsets.dtype.kind not in "iu" or count == 0,
        "scale or fps is not one positive number":
            any(arrays[k].shape != () or arrays[k].dtype.kind != "f" or not 0 < arrays[k] < 1e6 for k in ("scale", "fps")),
        "clip_origin is not three numbers per clip": arrays["clip_origin"].shape != (count, 3) or arrays["clip_origin"].dtype.kind != "f",
    }  # fmt: skip
    for key in _PER_CLIP:
        kinds = "U" if key == "clip_name" else "f" if key == "max_step" else "iu"
        if key in arrays:
            problems[f"{key} is not one value per clip"] = arrays[key].shape != (count,) or arrays[key].dtype.kind not in kinds
    problem = next((text for text, wrong in problems.items() if wrong), None)
    if problem is None and (offsets[0] != 0 or offsets[-1] != len(delta) or (np.diff(offsets) < 1).any()):
        problem = "the offsets do not cut the frames into clips"
    if problem is None and (arrays["label"].min() < -1 or arrays["label"].max() >= arrays["label_names"].size or arrays["label_names"].ndim != 1):
        problem = "some labels are not in label_names"
    if problem is not None:
        raise ReadError(path, problem, _AGAIN)


def write_table(path: PathLike, corpus: Corpus, names: Mapping[str, Sequence[str]] | None = None) -> None:
    """Write a corpus file that ``read_table`` reads; joints are rounded to millimetres.

    Args:
        names: further lists of names, e.g. ``style_names``, that columns of ``extra`` count into.

    Raises:
        ClipError: a clip of several persons, of no frame rate, of another layout or frame rate than the first, or that spans more than 64 m.
        WriteError: it cannot be written; nothing is left then.
    """
    origins = np.stack([_origin(clip, corpus) for clip in corpus.clips])
    steps = np.concatenate([np.rint((c.keypoints[0] - o) / _SCALE).astype(np.int16) for c, o in zip(corpus.clips, origins, strict=True)])
    columns = {"subject": corpus.subject, "split": corpus.split, "view": corpus.view}
    arrays: dict[str, Any] = {
        MARK: np.diff(steps, axis=0, prepend=np.zeros_like(steps[:1])), "scale": _SCALE, "clip_origin": origins,
        "offsets": np.cumsum([0, *(c.frames for c in corpus.clips)]), "label": corpus.label, "label_names": np.array(corpus.label_names, np.str_),
        "clip_name": np.array(corpus.clip_names, np.str_), "flags": corpus.flags, "max_step": corpus.max_step,
        "joint_names": np.array(corpus.layout.joints, np.str_), "parents": np.array(corpus.layout.parents, np.int32),
        "fps": np.float32(corpus.clips[0].fps), **{key: np.array(getattr(corpus, key)) for key in _TEXTS}, **corpus.extra,
        **{key: ids for key, ids in columns.items() if (ids != -1).any() or key == "subject"},
        **{key: np.array(list(values), np.str_) for key, values in (names or {}).items()},
    }  # fmt: skip
    with whole_file(path) as file:
        np.savez_compressed(file, **arrays)


def _origin(clip: Clip, corpus: Corpus) -> NDArray[np.float32]:
    """What is taken off a clip so that its joints fit into int16 millimetres: nothing, unless it goes far."""
    if clip.persons != 1 or clip.layout != corpus.layout or clip.fps is None or clip.fps != corpus.clips[0].fps:
        raise ClipError(f"{clip.name}: is {clip!r}; a corpus file holds single persons of one layout and frame rate. Write it to another file.")
    low, high = clip.keypoints.min(axis=(0, 1, 2)), clip.keypoints.max(axis=(0, 1, 2))
    if (high - low).max() > SPAN:
        raise ClipError(f"{clip.name}: spans {(high - low).max():.1f} m, more than a corpus file holds. Check its unit, or cut it.")
    return np.zeros(3, np.float32) if max(-low.min(), high.max()) <= _REACH else (low + high) / 2
