"""Clip: one skeleton sequence, checked; and clips cut from an array."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skelzoo.errors import ClipError, LayoutError
from skelzoo.skeleton.axes import AXES, fitting_axes, rearranged, unflattened
from skelzoo.skeleton.layouts import Layout, get_layout, layouts_with

FloatArray = NDArray[np.float32]
_HALVES = re.compile("[\ud800-\udc7f\udd00-\udfff]")

RATES = 1e-3, 1e5
"""Frames per second of what people film, from one in a quarter of an hour to the fastest cameras; those of a damaged file are beyond."""

RATE_SPAN = f"frames per second from {RATES[0]:g} to {RATES[1]:g}"

LARGEST = 1e15
"""Coordinates beyond this are refused: distances would overflow."""


@dataclass(frozen=True, eq=False)
class Clip:
    """One skeleton sequence.

    Args:
        keypoints: (M persons, T frames, V joints, C coordinates) or (T, V, C); metres for 3-D, y up;
            pixels for 2-D. An absent person is all zero. Copied as float32.
        layout: layout name or Layout; its joints are the V axis.
        fps: frames per second, 0.001 to 100000, None when unknown.
        scores: confidence (M, T, V) or (T, V), optional; on any scale, NaN where there is none.
        label: class name, optional; a number, also in an array or tensor, becomes text, and NaN, as tables have it for no label, None.
        name: where the clip comes from, used in messages and outputs; a path becomes text, and None "clip".
        image_size: (height, width) in pixels of the picture that 2-D joints were found in, None when unknown.
        notes: what a reader decided of the file, for people, such as its unit, and for warnings where it is unsure; models and files that are written do not have them.
        first: number of its first frame in the recording, from 0 on; more in a window, of a person who came later, and where a reader left out a T-pose before the motion. Not in files that are written.
        person_ids: who the M persons are by the tracker, or the table's column, each another text or number, which becomes text; () where nobody says. Not in files that are written.

    Raises:
        LayoutError: unknown layout, or V is not the layout's number of joints.
        ClipError: wrong number or order of axes (the message names those that would fit), no persons, no frames, NaN, infinite or absurdly large values, all zero, scores that are infinite, a frame rate that is none, no such picture, a label of several numbers, a name that is neither text nor path, notes that are no list of texts, a first frame that is no whole number, ids of persons that are not M different ones.
    """

    keypoints: FloatArray
    layout: Layout
    fps: float | None = None
    scores: FloatArray | None = None
    label: str | None = None
    name: str = "clip"
    image_size: tuple[int, int] | None = None
    notes: tuple[str, ...] = ()
    first: int = 0
    person_ids: tuple[str, ...] = ()

    def __init__(
        self,
        keypoints: Any,
        layout: str | Layout,
        fps: float | None = None,
        scores: Any = None,
        label: str | None = None,
        name: str | os.PathLike[str] | None = "clip",
        image_size: Sequence[int] | None = None,
        notes: Sequence[str] = (),
        first: int = 0,
        person_ids: Sequence[str] = (),
    ) -> None:
        layout, name = get_layout(layout), _name_of(name)
        array = np.array(numbers(keypoints, name))  # its own, so that what is checked stays as it is
        _check_shape(array.shape, layout, name)
        if array.ndim == 3:
            array = array[None]
        _check_keypoints(array, layout, name)
        if scores is not None:
            scores = np.array(numbers(scores, name, "scores"))
            scores = scores[None] if scores.ndim == 2 else scores
            if scores.shape != array.shape[:3]:
                raise ClipError(f"{name}: scores have shape {scores.shape}, keypoints {array.shape}. Give scores as (M, T, V) = {array.shape[:3]}.")
            if np.isinf(scores).any():
                raise ClipError(f"{name}: {int(np.isinf(scores).sum())} scores are infinite. Give finite ones, on any scale, and NaN where there is none.")
        if fps is not None and not is_rate(fps):
            raise ClipError(f"{name}: fps is {fps!r}. Give {RATE_SPAN}, or None when unknown.")
        if not isinstance(notes, (list, tuple)) or not all(isinstance(note, str) for note in notes):
            raise ClipError(f"{name}: notes are {notes!r}. Give a list of texts, or leave them out.")
        if not isinstance(first, (int, np.integer)) or first < 0:
            raise ClipError(f"{name}: first is {first!r}. Give the number of its first frame in the recording, 0 where the recording begins.")
        size = None if image_size is None else _image_size(image_size, array.shape[3], name)
        fields = dict(
            keypoints=array,
            layout=layout,
            fps=fps,
            scores=scores,
            label=label_of(label),
            name=name,
            image_size=size,
            notes=tuple(notes),
            first=int(first),
            person_ids=_ids_of(person_ids, len(array), name),
        )
        for field, value in fields.items():
            object.__setattr__(self, field, value)

    @property
    def persons(self) -> int:
        """Number of persons M, absent (all-zero) ones included."""
        return int(self.keypoints.shape[0])

    @property
    def frames(self) -> int:
        """Number of frames T."""
        return int(self.keypoints.shape[1])

    @property
    def channels(self) -> int:
        """Number of coordinates C: 2 or 3."""
        return int(self.keypoints.shape[3])

    def replace(self, **changes: Any) -> Clip:
        """A copy with some fields changed, checked like a new clip; ``person_ids`` stay in their order, which ``take`` changes with that of the persons, and go where there are more or fewer persons."""
        now = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        copy = Clip(**{**now, "person_ids": (), **changes})
        if "person_ids" not in changes and copy.persons == self.persons:
            object.__setattr__(copy, "person_ids", self.person_ids)
        return copy

    def take(self, persons: Any = None, frames: Any = None, name: str | None = None) -> Clip:
        """A copy of some persons and frames, keypoints and scores alike, checked like a new clip.

        Args:
            persons: a slice, an index, indices (K,) in the order wanted, or bool (M,); None is all.
            frames: the same of the frames, bool (T,). Every n-th frame, also backwards, makes fps an n-th, at which ``first`` then counts; backwards it is 0. Frames that
                are not evenly apart make fps None and ``first`` 0.
            name: of the copy; None is the clip's own.

        Raises:
            ClipError: an index that is not there, nobody or no frame is left, or nobody is there in what is.
        """
        try:
            who, when = map(_index, (persons, frames))
            keypoints, scores = (None if array is None else array[who][:, when] for array in (self.keypoints, self.scores))
            picked = np.arange(self.frames)[when]
        except (IndexError, TypeError, ValueError) as error:
            raise ClipError(f"{self.name}: persons={persons!r} and frames={frames!r} cannot be taken of {self.persons} and {self.frames} ({error}).") from error
        ids = np.array(self.person_ids)[who].tolist() if self.person_ids else []
        ids = ids if len(set(ids)) == len(ids) else []  # somebody was taken twice
        fps, first = _times_of(picked, self.fps, self.first)
        return self.replace(keypoints=keypoints, scores=scores, name=self.name if name is None else name, fps=fps, first=first, person_ids=ids)

    def __repr__(self) -> str:
        fps = f", {self.fps:g} fps" if self.fps else ""
        label = f", label={self.label!r}" if self.label else ""
        return f"Clip({self.name!r}: {self.persons} person(s), {self.frames} frames, {self.layout.name}, {self.channels}-D{fps}{label})"


def _index(chosen: Any) -> Any:
    """What numpy takes of one axis: a slice, or an array of one axis."""
    if chosen is None or isinstance(chosen, slice):
        return slice(None) if chosen is None else chosen
    index = np.atleast_1d(np.asarray(chosen, None if np.size(chosen) else np.intp))
    if index.ndim > 1:
        raise IndexError("give one index, or a list of them")
    return index


def _times_of(picked: NDArray[np.integer], fps: float | None, first: int) -> tuple[float | None, int]:
    """The frame rate and first frame of frames picked by number, of a recording with these: None and 0 where they are not evenly apart."""
    steps = np.unique(np.diff(picked)).tolist()
    if steps in ([], [1]):
        return fps, first + int(picked[:1].sum())  # no frames have a sum too, and are refused after this
    step = steps[0] if len(steps) == 1 else 0
    rate = fps / abs(step) if fps and step else None
    return rate if is_rate(rate) else None, round((first + int(picked[0])) / step) if step > 0 else 0


def mirrored(clip: Clip) -> Clip:
    """A clip of the person in the mirror: left and right joints exchanged, x the other way round; joints that were not found, all zero, stay so."""
    order, keypoints = list(clip.layout.mirror_permutation), clip.keypoints.copy()
    width = 0 if clip.image_size is None else clip.image_size[1]
    keypoints[..., 0] = np.where(keypoints.any(-1), width - keypoints[..., 0], 0)
    return clip.replace(keypoints=keypoints[:, :, order], scores=None if clip.scores is None else clip.scores[:, :, order])


def clip_list(clips: Any) -> list[Clip]:
    """The clips of an argument that takes one or several.

    Raises:
        ClipError: something else, or something else among them.
    """
    items = [clips] if isinstance(clips, Clip) or not isinstance(clips, Iterable) else list(clips)
    wrong = [type(item).__name__ for item in items if not isinstance(item, Clip)]
    if wrong:
        batches = "Give lists of clips, as a DataLoader makes them, one at a time; else use" if wrong[0] in ("list", "tuple") else "Use"
        raise ClipError(
            f"a list must hold skelzoo.Clip objects, found {wrong[0]}. {batches} skelzoo.read(file), skelzoo.Clip(keypoints, layout=...) or skelzoo.clips_from_array(x, layout, axes=...)."
        )
    return items


def check_clip(clip: Any) -> None:
    """Raise ClipError unless it is one clip."""
    if not isinstance(clip, Clip):
        raise ClipError(
            f"this takes one skelzoo.Clip, found {type(clip).__name__}. Give the clips of a list one by one; of an array make skelzoo.Clip(keypoints, layout=...)."
        )


def is_rate(fps: Any) -> bool:
    """Whether something is a number of frames per second that a recording can have."""
    return isinstance(fps, (int, float, np.integer, np.floating)) and bool(RATES[0] <= fps <= RATES[1])


def _ids_of(values: Any, persons: int, name: str) -> tuple[str, ...]:
    given = list(values) if isinstance(values, (list, tuple, np.ndarray)) else [None]
    ids = tuple(filter(None, map(label_of, given)))
    if given and (len(given), len(ids), len(set(ids))) != (persons, persons, persons):
        raise ClipError(f"{name}: person_ids are {values!r} for {persons} person(s). Give a text or number for each, all different, or leave them out.")
    return ids


def _name_of(value: Any) -> str:
    if value is None:
        return "clip"
    if not isinstance(value, (str, os.PathLike)):
        raise ClipError(f"a clip's name is {value!r}. Give a text or a path.")
    return whole_text(os.fsdecode(value))


def label_of(value: Any) -> str | None:
    """A label as text; None where there is none, or NaN in its place. Arrays and tensors of one number are that number, and 3.0 is 3.

    Raises:
        ClipError: several numbers, or a mapping.
    """
    if isinstance(value, (Mapping, list, tuple, set)) or (hasattr(value, "item") and np.prod(value.shape) != 1):
        raise ClipError(f"a label is one name or number, not {type(value).__name__} {value!r}. Of one-hot rows give labels.argmax(1).")
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, bytes):
        value = value.decode("utf-8", "surrogateescape")
    if isinstance(value, float):
        value = None if np.isnan(value) else int(value) if value.is_integer() else value
    return None if value is None else whole_text(str(value))


def whole_text(text: str) -> str:
    """A text that UTF-8 can hold: halves of characters, which JSON and numpy may have, become U+FFFD; bytes of file names that are none (surrogateescape) stay."""
    return _HALVES.sub("\ufffd", text) if isinstance(text, str) else text


def numbers(values: Any, name: str, what: str = "keypoints") -> FloatArray:
    """Anything array-like (torch tensors on any device too, and lists of them) as float32, perhaps in the same memory; scores may be bool."""
    shape = "(M, T, V, C) or (T, V, C)" if what == "keypoints" else "(M, T, V) or (T, V)"
    first = values
    while isinstance(first, (list, tuple)) and first:
        first = first[0]
    if isinstance(values, (list, tuple)) and hasattr(first, "detach"):
        values = [numbers(v, name, what) for v in values]
    if hasattr(values, "detach"):
        try:
            values = values.detach().cpu()
            values = (values if values.is_complex() else values.float()).numpy()
        except (TypeError, NotImplementedError, RuntimeError) as error:
            raise ClipError(
                f"{name}: {what} are a tensor without numbers of its own ({str(error).splitlines()[0]}). Give a dense one, not on device meta."
            ) from error
    if isinstance(values, np.ma.MaskedArray):
        values = np.ma.filled(values.astype(np.float32), np.nan)
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ClipError(f"{name}: {what} are lists of unequal lengths ({error}). Give an array of floats of shape {shape}.") from error
    if array.dtype.kind not in ("fiu" if what == "keypoints" else "fiub"):
        raise ClipError(f"{name}: {what} of type {array.dtype} are not numbers. Give an array of floats of shape {shape}.")
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and that is refused
        return np.asarray(array, dtype=np.float32, order="C")


def _image_size(size: Sequence[int], channels: int, name: str) -> tuple[int, int]:
    if np.shape(size) != (2,) or not all(isinstance(n, (int, np.integer)) and n > 0 for n in size) or channels != 2:
        raise ClipError(f"{name}: image_size is {size!r} for {channels}-D joints. Give (height, width) in whole pixels, for 2-D joints alone.")
    return int(size[0]), int(size[1])


def _check_shape(shape: tuple[int, ...], layout: Layout, name: str) -> None:
    """Raise unless keypoints of that shape are (M, T, V, C) or (T, V, C) with the joints of the layout."""
    if len(shape) in (3, 4) and shape[-2] == len(layout) and shape[-1] in (2, 3):
        return
    fits = fitting_axes(shape, layout)
    if fits:
        raise ClipError(
            f"{name}: keypoints of shape {shape} are not (M, T, V, C) or (T, V, C) with the {len(layout)} joints of layout {layout.name!r}. This shape would fit "
            f"axes={' or axes='.join(map(repr, fits))}: use skelzoo.clips_from_array(x, {layout.name!r}, axes={fits[0]!r})."
        )
    if len(shape) == 2 and (flat := unflattened(shape, layout)):
        raise ClipError(f"{name}: keypoints of shape {shape} have all {len(layout)} joints of layout {layout.name!r} on one axis. Give {flat}.")
    if len(shape) not in (3, 4):
        raise ClipError(
            f"{name}: keypoints have {len(shape)} axes, shape {shape}. Give (M, T, V, C) or (T, V, C); for other orders use skelzoo.clips_from_array(x, layout, axes=...)."
        )
    if shape[-2] != len(layout):
        known = layouts_with(shape[-2])
        hint = (
            f"Layouts with {shape[-2]} joints: {', '.join(known)}."
            if known
            else "For joints of your own use skelzoo.layout_from_names(names), or skelzoo.make_layout(name, joints, parents)."
        )
        raise LayoutError(f"{name}: {shape[-2]} joints on the last axis but one of shape {shape}, but layout {layout.name!r} has {len(layout)}. {hint}")
    raise ClipError(f"{name}: {shape[-1]} coordinates on the last axis of shape {shape}. Give 2 (x, y) or 3 (x, y, z); confidences go into scores=.")


def _check_keypoints(array: FloatArray, layout: Layout, name: str) -> None:
    persons, frames, _, _ = array.shape
    if persons == 0:
        raise ClipError(f"{name}: no persons. A clip needs at least one; leave out recordings in which nobody was tracked.")
    if frames == 0:
        raise ClipError(f"{name}: no frames. Leave out empty recordings.")
    bad = ~(np.abs(array) <= LARGEST)
    if bad.any():
        m, t, v, _ = (int(i) for i in np.argwhere(bad)[0])
        where = f"the first at person {m}, frame {t}, joint {layout.joints[v]!r} ({v})"
        if np.isfinite(array[bad]).all():
            raise ClipError(f"{name}: coordinates beyond {LARGEST:g} are too large, {where}. Check their unit.")
        raise ClipError(
            f"{name}: {int(bad.any(-1).sum())} joint positions are NaN or infinite, {where}. Fill them first: skelzoo.fill_missing(keypoints) interpolates over time, "
            "and so does --fill-missing for numpy and parquet files and tables."
        )
    if not array.any():
        raise ClipError(f"{name}: every coordinate of all {frames} frames is zero: nobody was tracked. Leave this recording out.")


def clips_from_array(array: Any, layout: str | Layout, axes: str = AXES, fps: float | None = None, image_size: Sequence[int] | None = None) -> list[Clip]:
    """Cut an array of clips into Clips.

    Args:
        array: numpy array or tensor on any device; joints in the layout's order.
        axes: what its axes are, e.g. ``"n c t v m"`` or ``"t v c"``. Missing n and m mean one clip, one person.
        fps: of all the clips, see ``Clip``.
        image_size: likewise.

    Returns:
        One Clip per sample, named ``array[i]``.

    Raises:
        AxesError: the shape does not fit; the message names the axes that would.
        ClipError: a sample with NaN, or all zero.
    """
    layout = get_layout(layout)
    samples = rearranged(numbers(array, "array"), axes, layout)
    return [Clip(sample, layout, fps=fps, name=f"array[{i}]", image_size=image_size) for i, sample in enumerate(samples)]
