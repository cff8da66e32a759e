"""NW-UCLA recordings as JSON: ``{"file_name": ..., "skeletons": T x 20 x 3}``, Kinect v1, metres."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from skelzoo.errors import ReadError
from skelzoo.skeleton.clip import Clip
from skelzoo.skeleton.io.files import PathLike, build_clip, is_json, load_json

FPS = 30.0
"""Nominal; the files state none."""

ACTIONS = {
    1: "pick up with one hand", 2: "pick up with two hands", 3: "drop trash", 4: "walk around", 5: "sit down", 6: "stand up", 8: "donning",
    9: "doffing", 11: "throw", 12: "carry",
}  # fmt: skip
"""Class names of the ids in the file names; 7 and 10 do not occur."""


def sniff(head: bytes) -> bool:
    """Whether a file that starts with these bytes looks like JSON that names ``skeletons``, as these files do."""
    return is_json(head) and b'"skeletons"' in head


def read(path: PathLike) -> list[Clip]:
    """Read one recording.

    Returns:
        One clip (1, T, 20, 3), layout kinect20, metres, y up, nominal 30 fps, labelled after aAA in the name.

    Raises:
        ReadError: not JSON, cut off, no key ``skeletons``, not T x 20 x 3 numbers.
        ClipError: NaN, or all zero.
    """
    path = Path(path)
    data = load_json(path)
    if not isinstance(data, dict) or "skeletons" not in data:
        found = f"its keys are {', '.join(map(repr, list(data)[:6])) or 'none'}" if isinstance(data, dict) else f"it holds a {type(data).__name__}"
        raise ReadError(
            path,
            f"is JSON without the key 'skeletons' ({found})",
            "Read is the JSON of NW-UCLA, Azure Kinect (offline_processor) and pose estimators (OpenPose, AlphaPose, COCO, MMPose, Ultralytics); build skelzoo.Clip from other data.",
        )
    try:
        keypoints = np.asarray(data["skeletons"], dtype=np.float64)
    except (ValueError, TypeError, OverflowError):
        raise ReadError(path, "'skeletons' is no regular table of numbers", "It must be frames x 20 joints x 3 numbers, the same in every frame.") from None
    if keypoints.ndim != 3 or keypoints.shape[1:] != (20, 3) or len(keypoints) == 0:
        raise ReadError(path, f"'skeletons' has shape {keypoints.shape}", "It must be (frames, 20, 3) with at least one frame.")
    action = re.match(r"a(\d\d)_s\d\d_e\d\d_v\d\d", path.stem)
    label = ACTIONS.get(int(action[1])) if action else None
    return [build_clip(keypoints[None], "kinect20", fps=FPS, label=label, name=path.stem)]
