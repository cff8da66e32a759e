"""Models that a user registers: found by name, by load and by list, and never instead of published weights."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from author_files import author_net, author_state, pretraining_state, saved
from click.testing import CliRunner
from tiny import make_clip, make_encoder
from torch import nn

import skelzoo
from skelzoo.cli import main
from skelzoo.errors import CheckpointError, ContractError, IntegrityError, UnknownModelError, WeightsUnavailableError
from skelzoo.weights.entries import register

FULL = {"hidden_channels": 64, "hidden_dim": 256, "feature_dim": 128, "heads": 8}


@pytest.fixture(scope="module")
def linear_evaluation(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, nn.Module]:
    """A file as large as the paper's, with 60 trained classes."""
    net = author_net("skeattnclr-stgcn", num_classes=60, **FULL)
    state = {f"encoder_q.{k}": v for k, v in author_state("skeattnclr-stgcn", net).items()}
    return saved(tmp_path_factory.mktemp("paper") / "best_model.pt", state), net


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SKELZOO_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_a_model_of_the_manifest_gets_its_weights(linear_evaluation: tuple[Path, nn.Module], home: Path, tmp_path: Path) -> None:
    path, net = linear_evaluation
    with pytest.raises(WeightsUnavailableError, match="skelzoo convert CHECKPOINT --as skeattnclr-ntu60 --to FOLDER --register"):
        skelzoo.load("skeattnclr-ntu60")
    assert "skeattnclr-ntu60" not in skelzoo.list_models(pretrained=True)
    said = CliRunner().invoke(main, ["convert", str(path), "--as", "skeattnclr-ntu60", "--to", str(tmp_path / "mine"), "--register"]).output
    assert "or skeattnclr-ntu60" in said and "assumed" not in said and "leaves the neck random" in said
    encoder, entry = skelzoo.load("skeattnclr-ntu60", device="cpu"), skelzoo.info("skeattnclr-ntu60")
    assert encoder.labels == tuple(entry["config"]["labels"]) and encoder.contract.to_dict() == entry["config"]["contract"]
    assert encoder.name == "skeattnclr-ntu60" and entry["registered"] == str(home / "models/skeattnclr-ntu60")
    x = torch.randn(1, *encoder.contract.shape)
    with torch.inference_mode():
        assert torch.equal(encoder.net(x), net(x))
    assert encoder.features(x, ["pooled", "block4"], prepared=True).keys() == {"pooled", "block4"}
    with pytest.raises(ContractError, match="skeattnclr-ntu60: its weights never learned salient, projection, which would be random"):
        encoder.features(x, ["pooled", "salient", "projection"], prepared=True)
    assert skelzoo.load(f"local:{tmp_path / 'mine'}", device="cpu", pretrained=False).features(x, "salient", prepared=True)
    assert skelzoo.verify("skeattnclr-ntu60", device="cpu").ok and "skeattnclr-ntu60" in skelzoo.list_models(pretrained=True)
    listed = CliRunner().invoke(main, ["list", "skeattnclr-ntu60"]).output
    assert re.search(r"skeattnclr-ntu60 +registered", listed)


def test_a_pretraining_file_gives_no_classes(linear_evaluation: tuple[Path, nn.Module], home: Path, tmp_path: Path) -> None:
    net = linear_evaluation[1]
    path = saved(tmp_path / "epoch300_model.pt", pretraining_state(author_state("skeattnclr-stgcn", net)))
    skelzoo.convert(path, name="skeattnclr-ntu60", to=tmp_path / "mine", register="skeattnclr-ntu60")
    encoder = skelzoo.load("skeattnclr-ntu60", device="cpu")
    with pytest.raises(ContractError, match="skeattnclr-ntu60 has no classification head"):
        encoder.classify(make_clip(layout="ntu25", frames=60))
    assert encoder.embed(make_clip(layout="ntu25", frames=60)).shape == (1, 256) and skelzoo.info("skeattnclr-ntu60")["config"]["labels"] is None


def test_a_name_of_ones_own(home: Path, tmp_path: Path) -> None:
    net = author_net("stgcn")
    path = saved(tmp_path / "a.pt", author_state("stgcn", net))
    done = skelzoo.convert(path, arch="stgcn", to=tmp_path / "mine", register="aimclr-lab")
    assert done.registered == "aimclr-lab" and skelzoo.list_models("aimclr*") == ["aimclr-lab"] == skelzoo.list_models("aimclr*", pretrained=True)
    clip = make_clip(layout="ntu25", frames=60)
    encoder = skelzoo.load("aimclr-lab", device="cpu")
    assert np.array_equal(encoder.embed(clip), skelzoo.load(f"local:{tmp_path / 'mine'}", device="cpu").embed(clip))
    info = skelzoo.info("aimclr-lab")
    assert info["config"] == encoder.config.to_dict() and info["weights"] is None
    assert "registered in" in CliRunner().invoke(main, ["info", "aimclr-lab"]).output
    untrained = skelzoo.load("aimclr-lab", device="cpu", pretrained=False)
    assert untrained.config.arch == "stgcn" and not np.array_equal(untrained.embed(clip), encoder.embed(clip))
    with pytest.raises(CheckpointError, match="models/aimclr-lab: holds a model"):
        skelzoo.convert(path, arch="stgcn", to=tmp_path / "headless", register="aimclr-lab", head=False)
    assert not (tmp_path / "headless").exists()
    skelzoo.convert(path, arch="stgcn", to=tmp_path / "mine", register="aimclr-lab", head=False, overwrite=True)
    assert skelzoo.load("aimclr-lab", device="cpu").config.num_classes == 0
    (home / "models/aimclr-lab/model.safetensors").write_bytes(b"other")
    with pytest.raises(IntegrityError):
        skelzoo.load("aimclr-lab", device="cpu")
    config = home / "models/aimclr-lab/config.json"
    config.write_text(config.read_text().replace('"stgcn"', '"psp"'))
    for name in ("aimclr-lab", f"local:{config.parent}"):
        with pytest.raises(IntegrityError, match=r"config\.json: not the file it must be"):
            skelzoo.info(name)
    listed = CliRunner().invoke(main, ["list"])
    assert listed.exit_code == 1 and "skeattnclr-openskel" in listed.stdout and "aimclr-lab" not in listed.stdout
    assert re.search(r"^error: \S*config\.json: not the file it must be", listed.stderr)


def test_what_else_lies_among_the_registered_models_is_none(home: Path, tmp_path: Path) -> None:
    register(make_encoder().save(tmp_path / "mine"), "mine")
    (home / "models/notes.txt").write_text("mine")
    (home / "models/.mine.k3j2").mkdir()  # as a copy that was killed leaves it
    names = skelzoo.list_models(pretrained=True)
    assert "mine" in names and not {"notes.txt", ".mine.k3j2"} & {*names}
    with pytest.raises(UnknownModelError):
        skelzoo.load("notes.txt")


def test_published_weights_are_not_overruled_by_a_folder(home: Path, tmp_path: Path) -> None:
    folder = home / "models/skeattnclr-openskel"
    skelzoo.convert(saved(tmp_path / "a.pt", author_state("stgcn", author_net("stgcn"))), arch="stgcn", to=folder)
    assert skelzoo.load("skeattnclr-openskel", device="cpu").config.arch == "skeattnclr-stgcn"


@pytest.mark.parametrize(
    ("environment", "folder"),
    [({"SKELZOO_HOME": "{}/a"}, "a/models"), ({"XDG_DATA_HOME": "{}/b"}, "b/skelzoo/models"), ({}, ".local/share/skelzoo/models")],
)
def test_where_models_are_registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], folder: str) -> None:
    for name in ("SKELZOO_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, value in environment.items():
        monkeypatch.setenv(name, value.format(tmp_path))
    skelzoo.convert(saved(tmp_path / "a.pt", author_state("stgcn", author_net("stgcn"))), arch="stgcn", to=tmp_path / "mine", register="lab")
    assert (tmp_path / folder / "lab/model.safetensors").is_file() and skelzoo.load("lab", device="cpu").config.arch == "stgcn"


@pytest.mark.parametrize("classes", [59, 61])
def test_a_model_of_other_classes(tmp_path: Path, classes: int) -> None:
    net = author_net("skeattnclr-stgcn", num_classes=classes, **FULL)
    path = saved(tmp_path / "a.pt", author_state("skeattnclr-stgcn", net))
    with pytest.raises(CheckpointError, match=f"skeattnclr-ntu60 has 60 classes, the checkpoint {classes}"):
        skelzoo.convert(path, name="skeattnclr-ntu60", to=tmp_path / "mine")
    skelzoo.convert(path, name="skeattnclr-ntu60", to=tmp_path / "mine", head=False)


def test_info_of_a_folder_and_of_a_registered_model(home: Path, tmp_path: Path) -> None:
    """What they are, and their card; neither is in the manifest."""
    folder = make_encoder().save(tmp_path / "mine", card="# Mine\n\nOf the gym.\n")
    told = CliRunner().invoke(main, ["info", f"local:{folder}"]).output
    assert "classes    3: sit; stand; wave" in told and "kinect20 (20 joints), 3-D, up to 2 persons, 16 frames" in told and "Of the gym." in told
    assert "vector     16 numbers" in told
    assert skelzoo.info(f"local:{folder}")["config"] == make_encoder().config.to_dict()
    register(folder, "mine")
    assert skelzoo.info("mine")["card"] == "# Mine\n\nOf the gym.\n" and "Of the gym." in CliRunner().invoke(main, ["info", "mine"]).output
    (folder / "golden.safetensors").write_bytes(b"cut")
    told = CliRunner().invoke(main, ["info", f"local:{folder}"])
    assert told.exit_code == 0 and "classes    3" in told.output and "vector" not in told.output
    with pytest.raises(WeightsUnavailableError, match="there is no folder"):
        skelzoo.info("local:nowhere")
