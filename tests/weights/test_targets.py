"""Where weights folders may be written, and that nothing else is lost there."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from author_files import author_net, author_state, saved
from click.testing import CliRunner
from safetensors import SafetensorError
from tiny import make_clip, make_encoder
from torch import nn

import skelzoo
from skelzoo.cli import main
from skelzoo.errors import CheckpointError, ExportError, WriteError
from skelzoo.inference.export import export
from skelzoo.weights.files import LISTED, check_target
from skelzoo.weights.hub import Hub
from skelzoo.weights.sources import fetch


@pytest.mark.parametrize("files", [["notes.txt"], ["config.json"], ["config.json", "README.md"], [*LISTED, "checksums.json", "notes.txt"]])
def test_folders_of_other_people_are_left_alone(tmp_path: Path, files: list[str]) -> None:
    (tmp_path / "mine").mkdir()
    for file in files:
        (tmp_path / "mine" / file).write_text("mine")
    with pytest.raises(CheckpointError, match=r"holds notes\.txt beside a model" if "checksums.json" in files else "is not a weights folder"):
        make_encoder().save(tmp_path / "mine")
    assert {p.name: p.read_text() for p in (tmp_path / "mine").iterdir()} == dict.fromkeys(files, "mine") and len(list(tmp_path.iterdir())) == 1


def test_targets_that_are_files_or_below_files(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(CheckpointError, match="is not a weights folder"):
        make_encoder().save(tmp_path / "file")
    with pytest.raises(WriteError, match="is a file, not a folder"):
        make_encoder().save(tmp_path / "file/below")
    assert (tmp_path / "file").read_text() == "mine" and len(list(tmp_path.iterdir())) == 1


def test_an_empty_folder_will_do(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    assert skelzoo.load("local:" + str(make_encoder().save(tmp_path / "new")), device="cpu").labels == ("sit", "stand", "wave")


def test_targets_are_checked_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    for target, error, says in (
        (tmp_path / "file/model", WriteError, "is a file"),
        (Path("."), CheckpointError, "is the current folder"),
        (tmp_path / "empty", CheckpointError, "is the current folder"),
    ):
        for act in (check_target, make_encoder().save):
            with pytest.raises(error, match=says):
                act(target)
    with pytest.raises(CheckpointError, match="is the current folder"):  # and not that the model cannot be had
        fetch(f"hf:o/r@{'0' * 40}", Path("."), Hub(cache_dir=tmp_path, local_files_only=True))
    monkeypatch.setattr(os, "access", lambda *args: False)
    for act in (check_target, make_encoder().save):
        with pytest.raises(WriteError, match="no permission to write"):
            act(tmp_path / "new/model")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty", "file"]


def test_a_folder_that_cannot_be_replaced_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, replace = make_encoder().save(tmp_path / "model"), os.replace
    before = {p.name: p.read_bytes() for p in folder.iterdir()}

    def refuse(source: Path, target: Path) -> None:
        if Path(target) == folder and Path(source).name != "folder":
            raise OSError(5, "Input/output error")
        replace(source, target)

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(WriteError, match="cannot be written"):
        make_encoder(1).save(folder)
    assert [p.name for p in tmp_path.iterdir()] == ["model"] and {p.name: p.read_bytes() for p in folder.iterdir()} == before


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise SafetensorError("No space left on device")

    monkeypatch.setattr("skelzoo.weights.checkpoint.save_file", full)
    with pytest.raises(WriteError, match=r"model: cannot be written \(No space left on device\); nothing was changed"):
        make_encoder().save(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def sequential(net: nn.Module) -> None:
    net.head = nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda net: setattr(net, "head", nn.Linear(16, 5)), r"head\.weight has shape \(5, 16\), the net needs \(3, 16\).*num_classes=N"),
        (sequential, r"missing head\.weight.*unexpected head\.0\.weight"),
        (lambda net: nn.utils.parametrizations.weight_norm(net.head), r"unexpected head\.parametrizations.*remove_parametrizations"),
        (lambda net: net.head.half(), r"head\.weight has type torch\.float16"),
        (lambda net: net.half(), r"computes in torch\.float16.*Call encoder\.net\.float\(\)"),
    ],
)
def test_a_net_that_could_not_be_loaded_again_replaces_no_model(tmp_path: Path, change: Callable[[nn.Module], object], says: str) -> None:
    folder = make_encoder().save(tmp_path / "tiny")
    before = (folder / "model.safetensors").read_bytes()
    encoder = skelzoo.load(f"local:{folder}", device="cpu")
    change(encoder.net)
    with pytest.raises(CheckpointError, match=says):
        encoder.save(folder)
    with pytest.raises((CheckpointError, ExportError), match=says):
        export(encoder, folder.parent / "net.pt2")
    assert (folder / "model.safetensors").read_bytes() == before and os.listdir(folder.parent) == [folder.name]


def test_a_compiled_net_is_saved_under_its_own_names(tmp_path: Path) -> None:
    encoder = make_encoder()
    encoder.net.backbone = torch.compile(encoder.net.backbone, backend="eager")
    encoder.net = torch.compile(encoder.net, backend="eager")  # type: ignore[assignment]
    again = skelzoo.load(f"local:{encoder.save(tmp_path / 'again')}", device="cpu")
    assert np.array_equal(again.embed(make_clip()), make_encoder().embed(make_clip()))


def test_another_model_is_replaced_only_when_told(tmp_path: Path) -> None:
    """Fetching the same model again is no loss, though what lies there may be damaged."""
    mine, net = make_encoder(1).save(tmp_path / "mine"), author_net("stgcn")
    before = (mine / "model.safetensors").read_bytes()
    path = saved(tmp_path / "a.pt", author_state("stgcn", net))
    name, target = f"local:{make_encoder().save(tmp_path / 'other')}", str(mine)
    fetching, converting = ["fetch", name, "--to", target], ["convert", str(path), "--arch", "stgcn", "--to", target]
    for words in (fetching, converting):
        refused = CliRunner().invoke(main, words)
        assert refused.exit_code == 1 and f"{target}: holds a model. Choose another name, or give --overwrite" in refused.stderr
        assert (mine / "model.safetensors").read_bytes() == before
    assert CliRunner().invoke(main, [*fetching, "--overwrite"]).exit_code == 0
    (mine / "model.safetensors").write_bytes(b"damaged")
    assert CliRunner().invoke(main, fetching).exit_code == 0
    assert np.array_equal(skelzoo.load(f"local:{mine}", device="cpu").embed(make_clip()), make_encoder().embed(make_clip()))
    (mine / "checksums.json").write_text("damaged")
    with pytest.raises(CheckpointError, match="holds a model"):
        fetch(name, mine)
    assert CliRunner().invoke(main, [*converting, "--overwrite"]).exit_code == 0
    assert skelzoo.load(f"local:{mine}", device="cpu").config.arch == "stgcn"
