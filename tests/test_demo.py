"""The demo runs on any encoder with a head and writes one whole picture."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from tiny import make_encoder

from skelzoo.cli import main
from skelzoo.demo import DemoResult, run_demo
from skelzoo.errors import ContractError, MissingDependencyError, WriteError
from skelzoo.skeleton.procedural import motions

pytest.importorskip("matplotlib")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"local:{make_encoder().save(tmp_path_factory.mktemp('demo') / 'tiny')}"


def check(result: DemoResult, picture: Path) -> None:
    assert [row.motion for row in result.rows] == list(motions())
    for row in result.rows:
        assert len(row.labels) == len(row.scores) <= 3
        assert list(row.scores) == sorted(row.scores, reverse=True) and 0 < sum(row.scores) <= 1.0001
        assert row.norm > 0 and row.nearest != row.motion and -1 <= row.similarity <= 1
        assert row.similarity <= row.own_similarity + 1e-9 or result.matched[0] < result.matched[1]
    assert result.cosines.shape == (4, 4) and np.allclose(result.cosines, result.cosines.T)
    assert result.picture == picture and picture.stat().st_size > 20_000
    assert os.listdir(picture.parent) == [picture.name]
    assert all(word in str(result) for word in (*motions(), result.model, picture.name))


def test_any_encoder_with_a_head(model: str, tmp_path: Path) -> None:
    check(run_demo(model, tmp_path / "demo.png", device="cpu"), tmp_path / "demo.png")
    assert (tmp_path / "demo.png").read_bytes().startswith(b"\x89PNG")


def test_an_encoder_of_filmed_joints_gets_the_motions_filmed(tmp_path: Path) -> None:
    result = run_demo("psp-openskel-free-2d", tmp_path / "demo.png", device="cpu")
    check(result, tmp_path / "demo.png")
    assert {row.motion: row.labels[0] for row in result.rows}["squat"] == "squat" and result.matched[0] > result.matched[1] / 2


def test_leaves_pyplot_alone(model: str, tmp_path: Path) -> None:
    loaded = "matplotlib.pyplot" in sys.modules
    run_demo(model, tmp_path / "demo.svg", device="cpu")
    assert ("matplotlib.pyplot" in sys.modules) == loaded
    assert b"<svg" in (tmp_path / "demo.svg").read_bytes()


def test_says_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingDependencyError, match=r"skelzoo\[viz\]"):
        run_demo("local:nowhere", tmp_path / "demo.png")


def test_without_matplotlib_there_is_the_table(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, ["demo", "--model", model, "--device", "cpu"])
    assert done.exit_code == 0 and all(word in done.stdout for word in (*motions(), 'pip install "skelzoo[viz]"')) and os.listdir(tmp_path) == []


def test_refuses_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match=r"\.png"):
        run_demo("local:nowhere", tmp_path / "demo.jpeg")
    (tmp_path / "demo.png").mkdir()
    with pytest.raises(WriteError, match="folder"):
        run_demo("local:nowhere", tmp_path / "demo.png")


def test_needs_a_head(tmp_path: Path) -> None:
    folder = make_encoder(labels=None).save(tmp_path / "headless")
    with pytest.raises(ContractError, match="no classification head"):
        run_demo(f"local:{folder}", tmp_path / "demo.png")
    assert os.listdir(tmp_path) == ["headless"]


def test_default_model_names_the_motions(tmp_path: Path) -> None:
    result = run_demo(picture=tmp_path / "demo.png", device="cpu")
    check(result, tmp_path / "demo.png")
    assert result.matched[0] >= 20
    assert {row.motion: row.labels[0] for row in result.rows if row.motion != "kick"} == {"walk": "walk", "squat": "squat", "wave": "wave right hand"}
