"""Arrays that users save: ``.npy``, and ``.npz`` with the keys below. ``save`` writes the latter.

==============  =================================================================================================
``keypoints``   (T, V, C), (M, T, V, C) or (N, M, T, V, C) floats; with ``axes`` in the order that says
                MediaPipe's 33 joints may have their visibility as a fourth coordinate, in any order of axes, which becomes the scores
``axes``        optional text such as ``"n c t v m"``
``layout``      a layout name; may be left out only for 25 joints 3-D (``ntu25``) and 17 joints 2-D (``coco17``), and a warning says so
``fps``         optional number, or one per clip; NaN is unknown
``scores``      optional, ``keypoints`` without its last axis (not together with ``axes``)
``image_size``  optional height and width in pixels of the picture of 2-D joints, or (N, 2) of each clip's; 0 is unknown
``label(s)``    optional text, or one per clip; "" is none
``name(s)``     optional text, or one per clip
``shapes``      (N, 2) persons and frames of every clip; then ``keypoints`` is (rows, V, C), the clips' frames one
                after another, person after person. How ``save`` stores clips of unequal size
``layout_table``  JSON of a layout that is not one of skelzoo's, written by ``save``
==============  =================================================================================================
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skelzoo.errors import AxesError, ClipError, DoubtWarning, LayoutError, ReadError, WriteError, warn
from skelzoo.skeleton.axes import CHANNELS, fitting_axes, rearranged, unflattened
from skelzoo.skeleton.clip import Clip, clip_list
from skelzoo.skeleton.io.files import PathLike, build_clip, check_file, load_npy, load_npz, npz_keys, read_head
from skelzoo.skeleton.io.read_options import NO_OPTIONS, ReadOptions
from skelzoo.skeleton.layouts import Layout, get_layout, layouts_with, list_layouts, make_layout
from skelzoo.skeleton.writing import whole_file

Arrays = Mapping[str, NDArray[Any]]

TOLD_BY_JOINTS = ("ntu25", "coco17", "kinect20", "utdmhad20")
"""Layouts in wide use as bare arrays. Only these are told from the number of joints, where one of them alone has it; others that do are named."""

MAX_PERSONS = 10
"""More than this on the first of four axes is taken for samples, and refused until axes say so."""

_HOW = "with --layout {0} on the command line (--from-layout of corpus make), skelzoo.read(path, layout={0!r}) in Python, or np.savez(path, keypoints=x, layout={0!r})"
_KEYS = frozenset(("keypoints", "axes", "layout", "fps", "scores", "image_size", "label", "labels", "name", "names", "shapes", "layout_table"))
_AMASS = frozenset(("poses", "trans"))
"""What an ``.npz`` of AMASS holds: SMPL's parameters."""

_EXAMPLE = "kinect20"
_LANDMARKS = "mediapipe33"
"""The layout whose joints are often saved as x, y, z and visibility."""
_ONE_FRAME = "If this is one frame, stack the frames of the recording, or save keypoints[None]."
_SAVE_AGAIN = "Save the clips again with skelzoo.save_clips."


def sniff_npy(head: bytes) -> bool:
    """Whether a file that starts with these bytes looks like ``.npy``."""
    return head.startswith(b"\x93NUMPY")


def sniff_npz(head: bytes) -> bool:
    """Whether a file that starts with these bytes is a zip file, as ``.npz`` is."""
    return head.startswith(b"PK\x03\x04")


def read(path: PathLike, reading: ReadOptions = NO_OPTIONS) -> list[Clip]:
    """Read a ``.npy`` or ``.npz`` of keypoints. Nothing is ever unpickled.

    Args:
        reading: layout and axes of a file that does not name them, and whether joints that are NaN are filled.

    Returns:
        The clips, named after the file (and ``[i]`` when there are several) unless it names them.

    Raises:
        ReadError: not numpy, cut off, object arrays, no ``keypoints``, keys of sizes that do not fit, an unknown layout, another
            than ``reading`` says, or none given and not to be told from the joints.
        ClipError: NaN, or all zero.
    """
    path = Path(path)
    check_file(path)
    arrays: Arrays = {"keypoints": load_npy(path)} if sniff_npy(read_head(path, 6)) else load_npz(path, _KEYS)
    names = [] if "keypoints" in arrays else npz_keys(path)
    if _AMASS.issubset(names):
        raise ReadError(
            path,
            "looks like AMASS: SMPL's pose parameters (axis-angle), not joints",
            "Compute the joints with a body model first, e.g. the package smplx, turn z up to y up (x, z, -y), and save the first 22, which all its models share, as np.savez(path, keypoints=x[:, :22], layout='smpl22').",
        )
    if "keypoints" not in arrays:
        raise ReadError(
            path,
            f"has no key 'keypoints'; it has {', '.join(names[:8]) or 'none'}",
            f"Save the joints: np.savez(path, keypoints=x, layout='{_EXAMPLE}').",
        )
    arrays = completed(arrays, reading, path)
    return clips_of(arrays, layout_of(arrays, path), path, reading.fill_missing)


def completed(arrays: Arrays, reading: ReadOptions, path: Path) -> Arrays:
    """The arrays of a file, with the layout and axes that it does not name.

    Raises:
        ReadError: it names others.
    """
    out = dict(arrays)
    for key, said in (("layout", reading.layout), ("axes", reading.axes)):
        own = _text(arrays, key, path) if key in arrays else None
        if own is not None and said is not None and own.split() != said.split():
            raise ReadError(path, f"says {key} {own!r}, and you say {said!r}", f"Leave {key} out for files that say it themselves, and read the others apart.")
        if own is None and said is not None and not (key == "axes" and "shapes" in arrays):
            out[key] = np.array(said)
    return out


def clips_of(arrays: Arrays, layout: Layout, path: Path, fill: bool = False) -> list[Clip]:
    """What ``read`` makes of the arrays of a file, or of those of a part of it; errors as there."""
    if "shapes" in arrays:
        return _split(arrays, layout, path, fill)
    keypoints, scores = arrays["keypoints"], arrays.get("scores")
    axes = _text(arrays, "axes", path) if "axes" in arrays else None
    if axes is None and scores is None:
        check_order(keypoints.shape, layout, path)
    samples = _samples(keypoints, layout, path) if axes is None else _rearranged(keypoints, axes, layout, path)
    if samples.shape[-1] not in CHANNELS:
        if scores is not None or not _has_visibility(samples, layout):
            raise ReadError(path, f"its joints have {samples.shape[-1]} coordinates (shape {keypoints.shape})", _without_last(samples.shape[-1], layout, axes))
        return _named(list(samples[..., :3]), list(samples[..., 3]), arrays, layout, path, fill)
    if scores is None:
        return _named(list(samples), [None] * len(samples), arrays, layout, path, fill)
    if axes is not None or scores.shape != keypoints.shape[:-1]:
        shapes = f"its scores have shape {scores.shape}, its keypoints {keypoints.shape}{' with axes' if axes else ''}"
        raise ReadError(path, shapes, "Scores go with keypoints (T, V, C), (M, T, V, C) or (N, M, T, V, C) without axes, and have that shape less C.")
    return _named(list(samples), list(scores.reshape(samples.shape[:-1])), arrays, layout, path, fill)


def _widths(layout: Layout) -> tuple[int, ...]:
    """How many numbers a joint may have, of which ``clips_of`` refuses some with a word on what they are: a score, or MediaPipe's visibility and presence, behind x, y and z."""
    return (*CHANNELS, 4, 5) if layout.name == _LANDMARKS else (*CHANNELS, 4)


def _has_visibility(samples: NDArray[Any], layout: Layout) -> bool:
    """Whether samples (N, M, T, V, C) are MediaPipe's with their visibility, from 0 to 1 behind x, y and z."""
    return layout.name == _LANDMARKS and samples.shape[-1] == 4 and not ((samples[..., 3] < 0) | (samples[..., 3] > 1)).any()


def _without_last(channels: int, layout: Layout, axes: str | None) -> str:
    """What to do about joints of so many numbers."""
    if channels == 5:
        return "If they are x, y, z, visibility and presence, save without the last: x[..., :4], where c is the last axis of x."
    where = f"{', where the axes of x are n m t v c' if axes else ''}; else leave it out."
    return f"If the last one is a score: np.savez(path, keypoints=x[..., :3], scores=x[..., 3], layout={layout.name!r}){where}"


def save(path: PathLike, clips: Clip | Iterable[Clip]) -> None:
    """Write clips to one ``.npz`` that ``read`` gives back equal: keypoints, layout, fps, scores, labels, names.

    The file appears whole or not at all; missing folders are made.

    Args:
        path: a name ending in ``.npz``.
        clips: at least one, all of one layout and number of coordinates; lengths and persons may differ.

    Raises:
        ClipError: no clips, what is no clip, or clips of several layouts or dimensions.
        WriteError: no path, a name that does not end in ``.npz``, or it cannot be written.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise WriteError(f"clips are saved to a path, found {type(path).__name__}. Give the path first, then the clips.")
    path, clips = Path(path), clip_list(clips)
    if path.suffix.lower() != ".npz":
        raise WriteError(f"{path}: clips are saved as .npz only. Choose a name that ends in .npz.")
    if not clips:
        raise ClipError(f"{path}: there are no clips to save. Give at least one.")
    layout = clips[0].layout
    odd = next((c for c in clips if c.layout != layout or c.channels != clips[0].channels), None)
    if odd is not None:
        raise ClipError(f"{odd} has another layout or dimension than {clips[0]}. Save one file per layout, or skelzoo.remap them to one first.")
    arrays = _table(clips, layout)
    with whole_file(path) as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # allow_pickle, which numpy 1 would store as an array


def _table(clips: Sequence[Clip], layout: Layout) -> dict[str, NDArray[Any]]:
    scores = [np.full(c.keypoints.shape[:3], np.nan, np.float32) if c.scores is None else c.scores for c in clips]
    arrays: dict[str, NDArray[Any]] = {
        "layout": np.array(layout.name),
        "fps": np.array([np.nan if c.fps is None else c.fps for c in clips], dtype=np.float64),
        "labels": np.array([c.label or "" for c in clips], np.str_),
        "names": np.array([c.name for c in clips], np.str_),
    }
    # Three persons in 2-D side by side could be read as two in 3-D, see check_order.
    if len({c.keypoints.shape for c in clips}) == 1 and (clips[0].persons, clips[0].channels) != (3, 2):
        arrays |= {"keypoints": np.stack([c.keypoints for c in clips]), "scores": np.stack(scores)}
    else:
        arrays["shapes"] = np.array([(c.persons, c.frames) for c in clips], dtype=np.int64)
        arrays["keypoints"] = np.concatenate([c.keypoints.reshape(-1, len(layout), c.channels) for c in clips])
        arrays["scores"] = np.concatenate([s.reshape(-1, len(layout)) for s in scores])
    if any(c.image_size for c in clips):
        arrays["image_size"] = np.array([c.image_size or (0, 0) for c in clips], dtype=np.int64)
    if all(c.scores is None for c in clips):
        del arrays["scores"]
    if layout.name not in list_layouts() or get_layout(layout.name) != layout:
        arrays["layout_table"] = np.array(json.dumps(_row(layout)))
    return arrays


def _row(layout: Layout) -> dict[str, Any]:
    """The arguments of ``make_layout`` that give this layout, as in layouts.json."""
    return {
        "joints": {j: layout.own.get(j) for j in layout.joints},
        "parents": list(layout.parents), "title": layout.title, "center": layout.center, "mirror": [list(pair) for pair in layout.mirror],
        "parts": {k: list(v) for k, v in layout.parts.items()}, "links": [list(pair) for pair in layout.links], "points": {k: dict(v) for k, v in layout.points.items()},
        "estimates": {k: dict(v) for k, v in layout.estimates.items()}, "dimensions": layout.dimensions,
    }  # fmt: skip


def layout_of(arrays: Arrays, path: Path) -> Layout:
    """The layout of a file: the one it names, or that its joints tell; errors as ``read``."""
    keypoints = arrays["keypoints"]
    if keypoints.dtype.kind not in "fiu":
        raise ReadError(path, f"its keypoints are of type {keypoints.dtype}, not numbers", "Make it an array of floats.")
    if "layout_table" in arrays:
        try:
            return make_layout(_text(arrays, "layout", path), **json.loads(_text(arrays, "layout_table", path)), strict=False)
        except (LayoutError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            raise ReadError(path, f"its layout_table cannot be used ({str(error)[:150]})", _SAVE_AGAIN) from None
    if "layout" in arrays:
        try:
            return get_layout(_text(arrays, "layout", path))
        except LayoutError as error:
            raise ReadError(path, f"its layout is unknown ({error})", "Save it with a known name, or use skelzoo.clips_from_array.") from None
    if keypoints.ndim < 3 or "axes" in arrays:
        how, example = _likely(keypoints.shape, _text(arrays, "axes", path) if "axes" in arrays else "")
        raise ReadError(path, f"names no layout, and its keypoints have shape {keypoints.shape}", f"{how}Say the layout: {_HOW.format(example)}.")
    joints, channels = keypoints.shape[-2:]
    fits = layouts_with(joints)
    told = [n for n in fits if (n in TOLD_BY_JOINTS and get_layout(n).dimensions == channels) or (n == _LANDMARKS and channels in (4, 5))]
    if len(told) == 1:
        others = [n for n in fits if n not in told]
        if others:
            # The same words for every file, so that a folder of them warns once.
            warn(
                f"keypoints of {joints} joints with {channels} coordinates that name no layout are read as {told[0]!r}, but {' and '.join(map(repr, others))} "
                f"has {joints} joints too. Say which with --layout (layout= in Python), or save them with it: np.savez(path, keypoints=x, layout={told[0]!r}).",
                DoubtWarning,
            )
        return get_layout(told[0])
    orders = {} if fits else {n: found[0] for n in list_layouts() if (found := fitting_axes(keypoints.shape, get_layout(n), 1))}
    if not fits and not orders:
        problem = f"names no layout, and its {joints} joints with {channels} coordinates fit no known layout (shape {keypoints.shape})"
        raise ReadError(path, problem, "Load it yourself: skelzoo.Clip(x, skelzoo.make_layout(name, joints, parents)).")
    order = next(iter(orders.values()), "")
    which = f"could be {' or '.join(fits)}" if fits else f"fit no known layout; with axes {order!r} its shape {keypoints.shape} could be {' or '.join(orders)}"
    how = _HOW.format(next(iter(fits or orders))) + (f", and axes={order!r} likewise" if order else "")
    raise ReadError(path, f"names no layout, and its {joints} joints with {channels} coordinates {which}", f"Say which it is: {how}.")


def _likely(shape: Sequence[int], axes: str) -> tuple[str, str]:
    """What to do with keypoints of these axes, or of two without, beside saying their layout, and the layout that they may be of."""
    names = axes.split()
    if names or len(shape) != 2:
        joints = dict(zip(names, shape, strict=False)).get("v", 0)
        return "", next(iter(layouts_with(joints)), _EXAMPLE)
    rows, width = shape
    if 1 < width <= 5 and layouts_with(rows):
        return f"{_ONE_FRAME} ", layouts_with(rows)[0]
    whole = [c for c in (3, 2, 4) if width > c and width % c == 0]
    known = [(c, n) for c in (3, 2, 4, 5) for n in list_layouts() if width == c * len(get_layout(n)) and c in _widths(get_layout(n))]
    channels, example = next(iter(known), (next(iter(whole), 0), _EXAMPLE))
    return f"If its rows are joints one after the other, save keypoints.reshape(len(keypoints), -1, {channels}). " if channels else "", example


def _samples(keypoints: NDArray[Any], layout: Layout, path: Path) -> NDArray[Any]:
    """Keypoints as (N, M, T, V, C)."""
    shape, widths = keypoints.shape, _widths(layout)
    if keypoints.ndim not in (3, 4, 5) or shape[-2] != len(layout) or shape[-1] not in widths:
        fits = fitting_axes(shape, layout, channels=widths)
        axes = (
            f"Say which they are with --axes (axes= in Python) or the key axes of an .npz: {' or '.join(map(repr, fits))} would fit."
            if fits
            else f"Save {flat} with that layout."
            if (flat := unflattened(shape, layout, (3, *widths)))
            else _ONE_FRAME
            if len(shape) == 2 and shape[0] == len(layout) and shape[1] in widths
            else "Transpose before saving."
        )
        raise ReadError(
            path, f"its keypoints of shape {shape} are not (T, V, C), (M, T, V, C) or (N, M, T, V, C) with {len(layout)} joints of {layout.name!r}", axes
        )
    if keypoints.ndim > 3 and shape[-4] > MAX_PERSONS:
        problem = f"its keypoints of shape {shape} would have {shape[-4]} persons in a clip"
        raise ReadError(path, problem, "Say that these are samples with --axes 'n t v c' (axes= in Python) or the key axes of an .npz, or the like.")
    if keypoints.size == 0:
        raise ReadError(path, f"its keypoints of shape {shape} are empty", "Leave empty recordings out.")
    return keypoints.reshape((1,) * (5 - keypoints.ndim) + shape)


def check_order(shape: Sequence[int], layout: Layout, path: Path) -> None:
    """Raise ReadError for a shape without axes that may be persons, frames, joints, coordinates, or as well coordinates, frames, joints, persons."""
    if len(shape) in (4, 5) and (shape[-4], *shape[-2:]) == (3, len(layout), 2) and (len(shape) == 5 or layout.dimensions == 3):
        first, second = ("n c t v m", "n m t v c") if len(shape) == 5 else ("c t v m", "m t v c")
        raise ReadError(
            path,
            f"its keypoints of shape {tuple(shape)} could be axes={first!r}, 2 persons in 3-D",
            f"Say so with --axes or that key of an .npz; say axes={second!r} if these are 3 persons in 2-D.",
        )


def _rearranged(keypoints: NDArray[Any], axes: str, layout: Layout, path: Path) -> NDArray[Any]:
    """Keypoints of the axes given as (N, M, T, V, C)."""
    try:
        return rearranged(keypoints, axes, layout, _widths(layout))
    except AxesError as error:
        raise ReadError(path, f"its axes do not fit ({error})", "Correct --axes, axes= in Python, or the key axes.") from None


def _split(arrays: Arrays, layout: Layout, path: Path, fill: bool) -> list[Clip]:
    """Clips of unequal size, as ``save`` stores them."""
    keypoints, shapes, scores = arrays["keypoints"], arrays["shapes"], arrays.get("scores")
    if shapes.ndim != 2 or shapes.shape[1] != 2 or shapes.dtype.kind not in "iu" or shapes.size == 0 or (shapes < 1).any():
        raise ReadError(path, f"its shapes, of shape {shapes.shape}, are not persons and frames of every clip", _SAVE_AGAIN)
    sizes = [(m, t, len(layout)) for m, t in shapes.tolist()]  # whole numbers of Python's, which do not overflow
    rows = [m * t for m, t, _ in sizes]
    fits = keypoints.ndim == 3 and keypoints.shape[1] == len(layout) and keypoints.shape[2] in (2, 3) and sum(rows) == len(keypoints)
    if not fits or (scores is not None and scores.shape != keypoints.shape[:2]):
        raise ReadError(path, f"its keypoints of shape {keypoints.shape} do not fit its shapes, scores and layout", _SAVE_AGAIN)
    ends = np.cumsum(rows)[:-1]
    parts = np.split(keypoints, ends)
    kept = [None] * len(parts) if scores is None else np.split(scores, ends)
    cut = [None if s is None else s.reshape(size) for s, size in zip(kept, sizes, strict=True)]
    return _named([p.reshape(*size, -1) for p, size in zip(parts, sizes, strict=True)], cut, arrays, layout, path, fill)


def _named(keypoints: Sequence[NDArray[Any]], scores: Sequence[NDArray[Any] | None], arrays: Arrays, layout: Layout, path: Path, fill: bool) -> list[Clip]:
    count = len(keypoints)
    labels = _texts(arrays, "label", count, path) or [""] * count
    names = _texts(arrays, "name", count, path) or [path.stem if count == 1 else f"{path.stem}[{i}]" for i in range(count)]
    fps = arrays.get("fps", np.array(np.nan))
    if fps.dtype.kind not in "fiu" or fps.size not in (1, count):
        raise ReadError(path, f"its fps has shape {fps.shape} and type {fps.dtype}", f"It must be one number, or {count}.")
    rates = [None if np.isnan(x) else float(x) for x in np.broadcast_to(fps.ravel(), count)]
    sizes = arrays.get("image_size", np.zeros(2, np.int64))
    if sizes.dtype.kind not in "iu" or sizes.shape not in ((2,), (count, 2)):
        raise ReadError(path, f"its image_size has shape {sizes.shape} and type {sizes.dtype}", f"It must be height and width, or {count} rows of them.")
    clips = []
    for points, score, rate, label, name, size in zip(keypoints, scores, rates, labels, names, np.broadcast_to(sizes, (count, 2)).tolist(), strict=True):
        kept = None if score is None or (score.dtype.kind == "f" and np.isnan(score).all()) else score
        clips.append(build_clip(points, layout, fps=rate, label=label or None, scores=kept, name=name, image_size=size if any(size) else None, fill=fill))
    return clips


def _texts(arrays: Arrays, key: str, count: int, path: Path) -> list[str] | None:
    """The texts under ``key`` or ``keys``, one per clip; None when there are none."""
    values = arrays.get(key + "s", arrays.get(key))
    if values is None:
        return None
    if values.dtype.kind not in "USiu" or values.size != count:
        raise ReadError(path, f"its {key}s have shape {values.shape} and type {values.dtype}", f"They must be {count} texts, one per clip.")
    return [v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v) for v in values.ravel().tolist()]


def _text(arrays: Arrays, key: str, path: Path) -> str:
    return (_texts({key: arrays[key]}, key, 1, path) or [""])[0]
