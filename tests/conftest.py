"""Shared by all tests: where the real data are, the mark of tests that need them, and a small model in a folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

# For nets as small as the tests' one thread is fastest, by far on a busy machine. Before torch is imported; subprocesses inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Models registered on this machine are not the tests' business.
os.environ["SKELZOO_HOME"] = os.devnull

SHARED = Path(__file__).resolve().parents[2] / "shared"
"""Real data beside the repository; not part of it."""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs_shared: reads real files from ../shared/data; skipped where that folder is not there")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if (SHARED / "data").is_dir():
        return
    skip = pytest.mark.skip(reason=f"{SHARED / 'data'} is not there")
    for item in items:
        if item.get_closest_marker("needs_shared"):
            item.add_marker(skip)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of the real data; use it with the mark ``needs_shared``."""
    return SHARED


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of a small model in a folder."""
    from tiny import make_encoder

    return f"local:{make_encoder().save(tmp_path_factory.mktemp('models') / 'tiny')}"


@pytest.fixture
def own_archs() -> Iterator[None]:
    """Architectures that a test registers are gone after it."""
    from skelzoo.nets.archs import ARCHS

    before = dict(ARCHS)
    yield
    ARCHS.clear()
    ARCHS.update(before)
