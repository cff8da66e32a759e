"""Where weights are looked for, and what is said when they are not there."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from tiny import make_clip, make_config, make_encoder

import skelzoo
from skelzoo.errors import CheckpointError, IntegrityError, WeightsUnavailableError, WriteError
from skelzoo.weights import manifest as manifest_module
from skelzoo.weights import places, sources
from skelzoo.weights.cached import cached_models
from skelzoo.weights.entries import register
from skelzoo.weights.files import read_checksums
from skelzoo.weights.hub import Hub
from skelzoo.weights.manifest import manifest
from skelzoo.weights.sources import fetch

COMMIT = "0123456789abcdef" * 2 + "01234567"


@pytest.fixture
def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A manifest of its own: tiny has bundled weights, tiny-large and other none, tiny-hub is on the Hub. Gives the bundled folder."""
    folder = make_encoder().save(tmp_path / "bundled/tiny")
    weights = {
        "source": "bundled", "license": "CC0-1.0", "license_reason": "Made up.", "commercial_use": True, "parameters": 3,
        "files": {k: asdict(v) for k, v in read_checksums(folder).items()}, "trained_on": [], "command": "none",
    }  # fmt: skip
    entry = {"family": "Tiny", "summary": "Tiny.", "config": make_config().to_dict(), "weights": None, "metrics": [], "notes": []}
    models = {"other": {**entry, "family": "Other"}, "tiny-large": entry, "tiny": {**entry, "weights": weights}}
    models["tiny-hub"] = {**entry, "weights": {**weights, "source": f"hf:o/r@{COMMIT}"}}
    path = tmp_path / "weights_manifest.json"
    path.write_text(json.dumps({"schema_version": 1, "label_sets": {}, "contracts": {}, "models": models, "aliases": {"small": "tiny", "large": "tiny-large"}}))
    monkeypatch.setattr(manifest_module, "manifest_path", lambda: path)
    monkeypatch.setattr(sources, "bundled_folder", lambda name: tmp_path / "bundled" / name)
    manifest.cache_clear()
    yield folder
    manifest.cache_clear()


@pytest.mark.parametrize("name", ["tiny", "small"])
def test_a_bundled_model_by_name_and_alias(zoo: Path, name: str) -> None:
    encoder = skelzoo.load(name, device="cpu")
    assert encoder.labels == ("sit", "stand", "wave") and np.array_equal(encoder.embed(make_clip()), make_encoder().embed(make_clip()))
    assert skelzoo.verify(name, device="cpu").ok
    assert skelzoo.load(name, device="cpu", num_classes=5).config.num_classes == 5


def test_the_manifest_and_not_the_folder_says_which_bytes(zoo: Path) -> None:
    """Other weights, complete and with checksums of their own: still not the bytes of that name."""
    shutil.rmtree(zoo)
    make_encoder(seed=1).save(zoo)
    with pytest.raises(IntegrityError, match=r"model\.safetensors"):
        skelzoo.load("tiny", device="cpu")
    assert skelzoo.load(f"local:{zoo}", device="cpu").config == make_config()


def test_fetching_checks_every_file(zoo: Path) -> None:
    assert fetch("tiny").folder == zoo
    (zoo / "golden.safetensors").write_bytes(b"damaged")
    with pytest.raises(IntegrityError, match=r"golden\.safetensors"):
        fetch("tiny")


def test_an_alias_stands_for_weights_that_were_registered_too(zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKELZOO_HOME", str(tmp_path / "home"))
    folder = make_encoder(seed=1).save(tmp_path / "home/models/tiny-large")
    assert fetch("large").folder == folder == Path(skelzoo.info("large")["registered"])


def test_the_config_of_the_manifest_must_be_that_of_the_folder(zoo: Path, tmp_path: Path) -> None:
    path = tmp_path / "weights_manifest.json"
    data = json.loads(path.read_text())
    data["models"]["tiny"]["config"]["labels"] = ["a", "b", "c"]
    path.write_text(json.dumps(data))
    with pytest.raises(CheckpointError, match="not the config of the manifest"):
        skelzoo.load("tiny", device="cpu")


def test_models_without_weights_say_what_to_do_and_which_is_near(zoo: Path) -> None:
    for name, nearest in (("tiny-large", "tiny"), ("other", "tiny")):
        with pytest.raises(WeightsUnavailableError) as caught:
            skelzoo.load(name, device="cpu")
        for part in (f"{name} has no published weights", "local:FOLDER", "train", f"skelzoo.load('{name}', pretrained=False)", f"weights: {nearest}."):
            assert part in str(caught.value)
    with pytest.raises(WeightsUnavailableError):
        skelzoo.verify("other")


def test_untrained_nets_of_any_model(zoo: Path) -> None:
    torch.manual_seed(0)
    encoder = skelzoo.load("tiny-large", device="cpu", pretrained=False)
    assert (encoder.config.num_classes, encoder.labels) == (3, None) and encoder.embed(make_clip()).shape == (1, 16)
    assert "random" in encoder.name and skelzoo.load("other", device="cpu", pretrained=False, num_classes=7).config.num_classes == 7
    local = skelzoo.load(f"local:{zoo}", device="cpu", pretrained=False)
    assert local.labels is None and not np.array_equal(local.embed(make_clip()), make_encoder().embed(make_clip()))


def test_home_is_understood(zoo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(zoo.parent))
    assert skelzoo.load("local:~/tiny", device="cpu").config == make_config()


@pytest.mark.parametrize("source", ["hf:", "hf:owner", "hf:a/b/c", "hf:owner/../x", "hf:../x", "hf:owner/repo@", "hf:owner/repo@a b", "hf:owner/repo@../x@y"])
def test_malformed_hub_names(source: str) -> None:
    with pytest.raises(WeightsUnavailableError, match=r"is not hf:owner/repo or hf:owner/repo@REVISION"):
        skelzoo.load(source, device="cpu")


def test_missing_folders(tmp_path: Path) -> None:
    with pytest.raises(WeightsUnavailableError, match=r"there is no folder .*nowhere"):
        skelzoo.load(f"local:{tmp_path}/nowhere", device="cpu")
    with pytest.raises(WeightsUnavailableError, match="Reinstall skelzoo"):
        places.bundled_folder("no-such-model")


@pytest.mark.parametrize("name", ["", "local:", "tiny/..", "../tiny"])
def test_names_that_are_none(zoo: Path, name: str) -> None:
    with pytest.raises((LookupError, ValueError)) as caught:
        skelzoo.load(name, device="cpu")
    assert isinstance(caught.value, skelzoo.errors.SkelzooError)


def test_bundled_models_need_no_home_folder(zoo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SKELZOO_HOME")
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setenv("HOME", "~")  # ~ stays what it is, as for a user whom the system does not know
    assert skelzoo.load("tiny", device="cpu").name == "tiny" and "tiny" in skelzoo.list_models()
    for act, setting in ((lambda: cached_models(Hub(cache_dir="~/cache")), "HF_HOME or cache_dir="), (lambda: register(zoo, "mine"), "SKELZOO_HOME")):
        with pytest.raises(WriteError, match=rf"^~/.*: the user that runs this has no home folder\. Set HOME, or name a folder with {setting}\.$"):
            act()
    monkeypatch.setattr(places, "models_folder", Mock(side_effect=PermissionError("no")))
    assert skelzoo.load("tiny", device="cpu").name == "tiny" and "tiny" in skelzoo.list_models()
    with pytest.raises(WeightsUnavailableError, match="cannot be looked at"):
        skelzoo.load("local:~nobody-of-that-name/x")
    with pytest.raises(WeightsUnavailableError, match=r"File name too long|there is no folder"):
        skelzoo.load(f"local:{'a' * 300}")


def test_what_may_not_be_read_needs_permission(zoo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system is played: root may read everything."""
    for method, path in (("is_dir", zoo), ("open", zoo / "checksums.json"), ("open", zoo / "model.safetensors")):
        real = getattr(Path, method)

        def closed(self: Path, *args: str, path: Path = path, real: Callable[..., Any] = real) -> Any:
            if self == path:
                raise PermissionError(errno.EACCES, "Permission denied", str(self))
            return real(self, *args)

        with (
            monkeypatch.context() as patched,
            pytest.raises(skelzoo.errors.SkelzooError, match=r"Permission denied.*\. Give the user that runs this permission"),
        ):
            patched.setattr(Path, method, closed)
            skelzoo.load(f"local:{zoo}", device="cpu")


def test_a_number_of_classes_counted_by_numpy(zoo: Path, tmp_path: Path) -> None:
    encoder = skelzoo.load("tiny", num_classes=np.int64(5), device="cpu")
    assert skelzoo.load(f"local:{encoder.save(tmp_path / 'five')}", device="cpu").config.num_classes == 5
    assert skelzoo.create("stgcn", layout="kinect20", num_classes=np.int64(2)).head.out_features == 2
