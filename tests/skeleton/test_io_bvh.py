"""BVH files as other programs write them anew: places of all joints, a T-pose before the motion, no legs."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from skelzoo.skeleton import io


def with_places(path: Path, to: Path) -> Path:
    """A BVH file with position channels on every joint, equal to its OFFSET."""
    header, motion = path.read_text().split("MOTION")
    offsets, counts = [], []
    for words in (line.split() for line in header.splitlines()):
        if words[:1] == ["OFFSET"]:
            offset = words[1:]
        elif words[:1] == ["CHANNELS"]:
            offsets.append(offset), counts.append(int(words[1]))
    header = re.sub(r"CHANNELS 3 ", "CHANNELS 6 Xposition Yposition Zposition ", header)
    head, rows = motion.splitlines()[:3], [row.split() for row in motion.splitlines()[3:] if row.strip()]
    starts = np.cumsum([0, *counts])
    for row in rows:
        for start, count, offset in reversed([*zip(starts, counts, offsets, strict=False)]):
            row[start:start] = offset if count == 3 else []
    to.write_text("\n".join([header + "MOTION" + head[0], *head[1:], *(" ".join(row) for row in rows)]) + "\n")
    return to


@pytest.mark.needs_shared
def test_lost_bones_of_cmu_are_put_back_where_all_joints_have_places(shared: Path, tmp_path: Path) -> None:
    path = shared / "data/raw/cmu_bvh/02_03.bvh"
    (expected,), (clip,) = io.read(path), io.read(with_places(path, tmp_path / "02_03.bvh"))
    np.testing.assert_allclose(clip.keypoints, expected.keypoints, atol=1e-5)
