"""What a caller says of files that leave it open themselves: layout, axes, frame rate, which axis points up, the size of pictures, and what becomes of missing joints."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from skelzoo.errors import AxesError, ClipError
from skelzoo.skeleton.axes import TURNED, UPS, axis_names, turned
from skelzoo.skeleton.clip import RATE_SPAN, Clip, is_rate
from skelzoo.skeleton.layouts import get_layout
from skelzoo.skeleton.odd_pictures import are_shares, in_shares
from skelzoo.skeleton.points import is_present


@dataclass(frozen=True)
class ReadOptions:
    """Speaks only where a file does not, and never against it.

    Attributes:
        layout: name of the layout of arrays that name none, and of tables whose joints have numbers for names.
        axes: of arrays that name none, such as ``"t v c"``.
        fps: of clips whose file gives no frame rate, or nearly this one, see ``SAME_RATE``.
        fill_missing: fill joints that are NaN in numpy and parquet files, or empty cells of tables, as ``skelzoo.fill_missing``; of one person those of empty frames too.
        up: axis of 3-D files that points up, one of ``UPS``, whatever a file's format or rest pose say of it; None leaves that to the reader.
        image_size: width and height in pixels of the picture that joints of pose estimators were found in, such as ``"1280x720"``; x and y that are shares of it become pixels, without z, and (0, 0) where they are -1.

    Raises:
        LayoutError: no such layout.
        AxesError: axes that are not understood, ``up`` among them.
        ClipError: a frame rate or size of a picture that is none.
    """

    layout: str | None = None
    axes: str | None = None
    fps: float | None = None
    fill_missing: bool = False
    up: str | None = None
    image_size: str | None = None

    def __post_init__(self) -> None:
        if self.layout is not None:
            get_layout(self.layout)
        if self.axes is not None:
            axis_names(self.axes)
        if self.up is not None and not (isinstance(self.up, str) and self.up in UPS):
            raise AxesError(f"up is {self.up!r}. Give the axis of the file that points up: {', '.join(UPS)}.")
        if self.fps is not None and not is_rate(self.fps):
            raise ClipError(f"fps is {self.fps!r}. Give {RATE_SPAN}.")
        if self.image_size is not None and not (isinstance(self.image_size, str) and re.fullmatch(r"[1-9]\d{0,5}x[1-9]\d{0,5}", self.image_size)):
            pair = "" if isinstance(self.image_size, str) else " Only skelzoo.Clip takes two numbers, (height, width)."
            raise ClipError(f"image_size is {self.image_size!r}. Give the picture's width and height in pixels as a text such as '1280x720'.{pair}")

    def completed(self, clips: Sequence[Clip]) -> list[Clip]:
        """The clips of a file, turned y up or put in pixels, with the frame rate that it does not give, or gives nearly.

        Raises:
            ClipError: the file gives another layout, frame rate or size of its picture, its joints are 2-D and are to be turned, or 3-D and no shares of a picture.
        """
        return [self._completed(clip) for clip in clips]

    def _completed(self, clip: Clip) -> Clip:
        if self.layout is not None and clip.layout != get_layout(self.layout):
            raise ClipError(f"{clip.name}: its file says layout {clip.layout.name!r}, and you say {self.layout!r}. {_LEAVE.format('layout')}")
        if self.image_size is not None:
            clip = _in_pixels(clip, self.image_size)
        if self.up is not None:
            clip = _turned_clip(clip, self.up)
        if self.fps is None or clip.fps == self.fps:
            return clip
        if clip.fps is not None and not math.isclose(clip.fps, self.fps, rel_tol=SAME_RATE):
            raise ClipError(f"{clip.name}: its file says {clip.fps:g} fps, and you say {self.fps:g}. {_LEAVE.format('fps')}")
        return clip.replace(fps=self.fps)


def _turned_clip(clip: Clip, up: str) -> Clip:
    if clip.channels == 2:
        raise ClipError(f"{clip.name}: its joints are 2-D, and up={up} turns 3-D ones. Leave up out for 2-D files, and read the others apart.")
    return clip if up == "y" else clip.replace(keypoints=turned(clip.keypoints, up), notes=(*clip.notes, TURNED.format(up)))


def _in_pixels(clip: Clip, size: str) -> Clip:
    width, height = map(int, size.split("x"))
    if clip.image_size not in (None, (height, width)):
        raise ClipError(f"{clip.name}: its file says a picture of {clip.image_size[1]}x{clip.image_size[0]}, and you say {size}. {_LEAVE.format('image_size')}")
    lost = (clip.keypoints[..., :2] == -1).all(axis=3, keepdims=True)
    keypoints = np.where(lost, 0, clip.keypoints)
    if clip.channels == 3 and not are_shares(keypoints[is_present(keypoints)], clip.layout):
        problem = f"its joints are 3-D and no shares of a picture, and image_size={size} is of these"
        raise ClipError(f"{clip.name}: {problem}. Leave image_size out for 3-D files, and read the others apart.")
    if clip.channels == 2 and not in_shares(keypoints):
        return clip.replace(image_size=(height, width), notes=(*clip.notes, f"taken as pixels of a picture of {size}"))
    notes = (*clip.notes, f"shares of a picture of {size}", *["joints at (-1, -1) not found"] * bool(lost.any()))
    return clip.replace(keypoints=keypoints[..., :2] * np.array([width, height], np.float32), image_size=(height, width), notes=notes)


SAME_RATE = 0.0011
"""Share by which two frame rates may differ and be one: times of frames tell it no better, and 29.97 is called 30."""

_LEAVE = "Leave {} out for files that say it themselves, and read the others apart."
NO_OPTIONS = ReadOptions()
"""Nothing is said."""
