"""Clips for the tests of this folder."""

from __future__ import annotations

import pytest
from tiny import make_clip

from skelzoo.skeleton.clip import Clip


@pytest.fixture
def clips() -> list[Clip]:
    return [make_clip(i, frames=20 + 3 * i) for i in range(12)]
