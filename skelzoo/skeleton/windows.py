"""Long recordings to clips of a few seconds."""

from __future__ import annotations

import re

import numpy as np

from skelzoo.errors import ClipError
from skelzoo.skeleton.clip import Clip, check_clip
from skelzoo.skeleton.odd_notes import LATER

Length = int | str
"""Frames, or seconds as a text such as ``"3s"`` or ``"1.5s"``."""

_SECONDS = re.compile(r"(\d+\.?\d*|\.\d+)\s*s")


def windows(clip: Clip, frames: Length, step: Length | None = None) -> list[Clip]:
    """Cut a recording into windows of equal length.

    Args:
        frames: of a window, or its seconds, such as ``"3s"``, which become whole frames by the clip's frame rate.
        step: from the start of one window to that of the next, likewise; ``frames`` by default, so that they do not overlap.

    Returns:
        Clips named ``NAME[start:stop]``, with all else of the recording; start and stop count its frames, of which 0 is the first that its file
        has, be it number 300 of the video, or of a T-pose that was left out of a BVH file, see ``Clip.first``. The last one ends with the recording, so that no frame of its end is lost,
        and may overlap the one before by more than the others do. A recording that is shorter than a window is the only one.
        Windows in which nobody is there are left out.

    Raises:
        ClipError: no clip; frames or step is neither a whole number of at least 1 nor seconds, or seconds of a clip without a frame rate.
    """
    check_clip(clip)
    _check(frames, step, f"{clip.name}: ")
    length = _frames(clip, frames)
    step = length if step is None else _frames(clip, step)
    last = max(clip.frames - length, 0)
    starts = [*range(0, last, step), last]
    ends = [(start, min(start + length, clip.frames)) for start in starts if clip.keypoints[:, start : start + length].any()]
    later = clip.replace(notes=(*clip.notes, LATER))
    return [(later if start else clip).take(frames=slice(start, stop), name=f"{clip.name}[{clip.first + start}:{clip.first + stop}]") for start, stop in ends]


def check_window(window: Length | None, step: Length | None) -> None:
    """Raise ClipError unless clips can be cut so, see ``windows``, or stay whole, as they do where both are None."""
    if window is not None:
        _check(window, step)
    elif step is not None:
        raise ClipError("step is given without a window. Give both, or leave step out.")


def _check(frames: Length, step: Length | None, whose: str = "") -> None:
    for name, value in (("frames", frames), ("step", frames if step is None else step)):
        if isinstance(value, bool) or not (_seconds(value) if isinstance(value, str) else isinstance(value, (int, np.integer)) and value >= 1):
            raise ClipError(f"{whose}{name} of a window is {value!r}. Give a whole number of at least 1, or seconds such as '3s'.")


def _seconds(text: str) -> float:
    """The seconds that a text says; 0 where it says none."""
    match = _SECONDS.fullmatch(text)
    return float(match[1]) if match else 0.0


def _frames(clip: Clip, length: Length) -> int:
    """A length in whole frames of a clip, at least 1; of seconds at most all."""
    if not isinstance(length, str):
        return int(length)
    if clip.fps is None:
        raise ClipError(
            f"{clip.name}: has no frame rate, so a window of {length} has no number of frames. Give --fps (fps= in Python), or the window in frames."
        )
    return max(round(min(_seconds(length) * clip.fps, clip.frames)), 1)
