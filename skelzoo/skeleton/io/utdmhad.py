"""UTD-MHAD skeletons: MATLAB files with ``d_skel``, 20 joints x 3 coordinates x T frames, Kinect v1, metres."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from skelzoo.errors import ReadError
from skelzoo.skeleton.clip import Clip
from skelzoo.skeleton.io.files import PathLike, build_clip, read_bytes
from skelzoo.skeleton.io.matfile import HEADER, MatError, read_arrays

FPS = 30.0
ACTIONS = (
    "swipe left", "swipe right", "wave", "clap", "throw", "arm cross", "basketball shoot", "draw x", "draw circle clockwise",
    "draw circle counter-clockwise", "draw triangle", "bowling", "boxing", "baseball swing", "tennis swing", "arm curl", "tennis serve", "push", "knock",
    "catch", "pick up and throw", "jog", "walk", "sit to stand", "stand to sit", "lunge", "squat",
)  # fmt: skip
"""Class names of a1 to a27."""


def sniff(head: bytes) -> bool:
    """Whether a file that starts with these bytes looks like a MATLAB v5 file."""
    return head.startswith(b"MATLAB 5.0 MAT-file")


def read(path: PathLike) -> list[Clip]:
    """Read one recording.

    Returns:
        One clip (1, T, 20, 3), layout utdmhad20, metres, y up, 30 fps, labelled after aA in the name.

    Raises:
        ReadError: not a MATLAB v5 file, cut off, no ``d_skel``, not 20 x 3 x T.
        ClipError: NaN, or all zero.
    """
    path = Path(path)
    keypoints = _variable(path, "d_skel")
    if keypoints is None or keypoints.ndim not in (2, 3) or keypoints.shape[:2] != (20, 3) or keypoints.size == 0:
        found = "is no array of real numbers" if keypoints is None else f"has shape {keypoints.shape}"
        raise ReadError(path, f"'d_skel' {found}", "It must be numbers of shape (20, 3, frames).")
    keypoints = keypoints.reshape(20, 3, -1).transpose(2, 0, 1)
    action = re.match(r"a(\d{1,2})_s\d+_t\d+", path.stem)
    label = ACTIONS[int(action[1]) - 1] if action and 1 <= int(action[1]) <= len(ACTIONS) else None
    return [build_clip(keypoints[None], "utdmhad20", fps=FPS, label=label, name=path.stem)]


def _variable(path: Path, name: str) -> NDArray[Any] | None:
    """A variable as an array, None when it is no numbers."""
    data = read_bytes(path)
    if data.startswith(b"\x89HDF") or b"MATLAB 7.3" in data[:HEADER]:
        raise ReadError(path, "is a MATLAB v7.3 (HDF5) file", "Save it in MATLAB with save(..., '-v7').")
    if not sniff(data):
        raise ReadError(path, "is no MATLAB v5 file", "Check that this is the right file; UTD-MHAD skeletons are named a1_s1_t1_skeleton.mat.")
    try:
        found = read_arrays(data)
    except MatError as error:
        raise ReadError(path, f"is cut off or damaged ({error})", "Copy or download the file again.") from None
    if name not in found:
        there = ", ".join(found) or "none"
        raise ReadError(path, f"has no variable {name!r}; it has {there}", "Take the file from the Skeleton folder of UTD-MHAD.")
    return found[name]
