"""The Hub on loopback, for the tests of this folder."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_server import Olah, Proxy, serving
from tiny import make_encoder

COUNT = itertools.count()


@pytest.fixture(scope="session")
def olah(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Olah]:
    server = Olah(tmp_path_factory.mktemp("olah"))
    try:
        yield server
    finally:
        server.process.kill()
        server.process.wait()


@pytest.fixture
def proxy(olah: Olah) -> Iterator[Proxy]:
    server = Proxy(olah.port)
    with serving(server):
        yield server


def files_of(seed: int, folder: Path) -> dict[str, bytes]:
    make_encoder(seed).save(folder, card=f"# Tiny {seed}\n")
    return {p.name: p.read_bytes() for p in folder.iterdir()}


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a small model."""
    return files_of(0, tmp_path_factory.mktemp("whole") / "tiny")


@pytest.fixture(scope="session")
def newer(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Those of the same model with other weights."""
    return files_of(1, tmp_path_factory.mktemp("newer") / "tiny")


@pytest.fixture
def repo(olah: Olah, files: dict[str, bytes]) -> tuple[str, str]:
    """A repository of its own for every test, with a whole model: its name and its commit."""
    name = f"owner/model-{next(COUNT)}"
    return name, olah.add(name, files)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"
