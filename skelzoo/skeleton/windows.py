"""Long recordings to clips of a few seconds."""

from __future__ import annotations

import numpy as np

from skelzoo.errors import ClipError
from skelzoo.skeleton.clip import Clip


def windows(clip: Clip, frames: int, step: int | None = None) -> list[Clip]:
    """Cut a recording into windows of equal length.

    Args:
        frames: of a window; ``round(seconds * clip.fps)`` where the rate is known.
        step: frames from the start of one window to that of the next; ``frames`` by default, so that they do not overlap.

    Returns:
        Clips named ``NAME[start:stop]``, with all else of the recording; start and stop count the clip's frames, of which 0 is the first that its file
        has, be it number 300 of the video, or the first after a T-pose that was left out of a BVH file. The last one ends with the recording, so that no frame of its end is lost,
        and may overlap the one before by more than the others do. A recording that is shorter than a window is the only one.
        Windows in which nobody is there are left out.

    Raises:
        ClipError: frames or step is no whole number of at least 1.
    """
    _check(frames, step, f"{clip.name}: ")
    step = frames if step is None else step
    last = max(clip.frames - int(frames), 0)
    starts = [*range(0, last, int(step)), last]
    ends = [(start, min(start + int(frames), clip.frames)) for start in starts]
    return [clip.take(frames=slice(start, stop), name=f"{clip.name}[{start}:{stop}]") for start, stop in ends if clip.keypoints[:, start:stop].any()]


def check_window(window: int | None, step: int | None) -> None:
    """Raise ClipError unless clips can be cut so, see ``windows``, or stay whole, as they do where both are None."""
    if window is not None or step is not None:
        _check(window, step)


def _check(frames: int | None, step: int | None, whose: str = "") -> None:
    for name, value in (("frames", frames), ("step", frames if step is None else step)):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
            raise ClipError(f"{whose}{name} of a window is {value!r}. Give a whole number of at least 1.")
