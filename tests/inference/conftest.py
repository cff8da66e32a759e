"""What tests of encoders share."""

from __future__ import annotations

import pytest
from tiny import make_clip, make_encoder

from skelzoo import Clip, Encoder


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return make_encoder()


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    """Seven clips of unlike length, persons and layout."""
    shapes = [(20, 1, "kinect20"), (5, 2, "kinect20"), (90, 1, "ntu25"), (2, 1, "utdmhad20"), (33, 2, "ntu25"), (16, 1, "cmu29"), (20, 1, "kinect20")]
    return [make_clip(i, frames, persons, layout) for i, (frames, persons, layout) in enumerate(shapes)]
