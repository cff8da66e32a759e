"""Weights folders: what is saved is what is loaded, and nothing else is."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save, save_file
from tiny import CONTRACT, make_clip, make_config, make_encoder
from torch import Tensor

import skelzoo
from skelzoo import Encoder
from skelzoo.errors import CheckpointError, IntegrityError, SkelzooError, WeightsUnavailableError, WriteError
from skelzoo.weights import checkpoint
from skelzoo.weights.checkpoint import build_net

FILES = ("model.safetensors", "config.json", "golden.safetensors", "README.md")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_encoder().save(tmp_path_factory.mktemp("saved") / "tiny", card="# Tiny\n")


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "copy"))


def load(folder: Path, **settings: Any) -> skelzoo.Encoder:
    return skelzoo.load(f"local:{folder}", device="cpu", **settings)


def rewrite(folder: Path, name: str, data: bytes) -> None:
    """Change a file and its checksum with it, as a person would who means it."""
    (folder / name).write_bytes(data)
    checksums = json.loads((folder / "checksums.json").read_text())
    checksums[name] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (folder / "checksums.json").write_text(json.dumps(checksums))


def rewrite_tensors(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")
    rewrite(folder, "model.safetensors", (folder / "model.safetensors").read_bytes())


def rewrite_config(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    row = json.loads((folder / "config.json").read_text())
    change(row)
    rewrite(folder, "config.json", json.dumps(row).encode())


def test_round_trip_is_exact(saved: Path) -> None:
    encoder, again, clips = make_encoder(), load(saved), [make_clip(s, persons=1 + s % 2) for s in range(3)]
    assert again.config == encoder.config and again.labels == ("sit", "stand", "wave")
    assert np.array_equal(again.embed(clips), encoder.embed(clips)) and np.array_equal(again.classify(clips).scores, encoder.classify(clips).scores)
    assert all(torch.equal(a, b) for a, b in zip(again.net.state_dict().values(), encoder.net.state_dict().values(), strict=True))
    assert not again.net.training


def test_a_saved_folder_verifies_and_says_what_is_in_it(saved: Path) -> None:
    result = skelzoo.verify(f"local:{saved}", device="cpu")
    assert result.ok and set(result.differences) == {"prepared", "embedding", "logits"} and max(result.differences.values()) < 1e-6
    assert {p.name for p in saved.iterdir()} == {*FILES, "checksums.json"} and (saved / "README.md").read_text() == "# Tiny\n"
    checksums = json.loads((saved / "checksums.json").read_text())
    assert checksums == {f: {"size": (saved / f).stat().st_size, "sha256": hashlib.sha256((saved / f).read_bytes()).hexdigest()} for f in FILES}
    assert saved.stat().st_mode & 0o777 == 0o755 and all((saved / f).stat().st_mode & 0o777 == 0o644 for f in FILES if "safetensors" in f), "others may read"


@pytest.mark.parametrize("layout", ["kinect20", "utdmhad20"])
def test_saving_and_verifying_warn_of_nothing(tmp_path: Path, layout: str) -> None:
    config = make_config(contract=CONTRACT.replace(layout=layout))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        folder = Encoder(build_net(config), config, device="cpu").save(tmp_path / "model")
        assert skelzoo.verify(f"local:{folder}", device="cpu").ok


def test_a_golden_of_other_weights_does_not_verify(folder: Path) -> None:
    rewrite_tensors(folder, lambda t: t["head.bias"].add_(1.0))
    result = skelzoo.verify(f"local:{folder}", device="cpu")
    assert not result.ok and result.differences["logits"] > 0.01 and result.differences["embedding"] < 1e-6


def test_an_encoder_without_a_head(tmp_path: Path) -> None:
    encoder = make_encoder(labels=None)
    again = load(encoder.save(tmp_path / "headless"))
    assert again.config.num_classes == 0 and np.array_equal(again.embed(make_clip()), encoder.embed(make_clip()))
    assert set(skelzoo.verify(f"local:{tmp_path / 'headless'}", device="cpu").differences) == {"prepared", "embedding"}


def noticed_by_load(folder: Path) -> str:
    with pytest.raises(IntegrityError) as caught:
        load(folder)
    return str(caught.value)


def noticed_by_verify(folder: Path) -> str:
    result = skelzoo.verify(f"local:{folder}", device="cpu")
    assert not result.ok and not result.load
    return result.hash


def noticed_as_a_card(folder: Path) -> str:
    result = skelzoo.verify(f"local:{folder}", device="cpu")
    assert result.ok and load(folder).labels
    return result.card


@pytest.mark.parametrize(
    ("name", "count", "noticed"),
    [
        ("model.safetensors", 250, noticed_by_load),
        ("config.json", 200, noticed_by_load),
        ("golden.safetensors", 60, noticed_by_verify),
        ("README.md", 6, noticed_as_a_card),
    ],
)
def test_one_flipped_bit_is_noticed(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, count: int, noticed: Callable[[Path], str]) -> None:
    """At load, before a tensor is used; of golden and card by verify, of the card as no damage."""
    if noticed is noticed_by_load:
        monkeypatch.setattr(checkpoint, "load_tensors", lambda data: pytest.fail("tensors of a damaged file were read"))
    path, whole = folder / name, (folder / name).read_bytes()
    for position in np.unique(np.linspace(0, len(whole) - 1, count).round().astype(int)):
        data = bytearray(whole)
        data[position] ^= 1 << (position % 8)
        path.write_bytes(data)
        said = noticed(folder)
        assert str(path) in said and ("expected" in said or "not the card that was saved" in said), position


@pytest.mark.parametrize("share", np.linspace(0, 1, 12))
def test_a_flipped_bit_in_the_checksums_never_changes_what_is_loaded(folder: Path, share: float) -> None:
    path = folder / "checksums.json"
    data = bytearray(path.read_bytes())
    data[round(share * (len(data) - 1))] ^= 1
    path.write_bytes(data)
    try:
        encoder = load(folder)
    except (CheckpointError, IntegrityError):
        return
    assert np.array_equal(encoder.embed(make_clip()), make_encoder().embed(make_clip()))


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
@pytest.mark.parametrize(
    "damage",
    [lambda p: p.unlink(), lambda p: p.write_bytes(p.read_bytes()[:-1]), lambda p: p.write_bytes(p.read_bytes() + b"\0"), lambda p: p.write_bytes(b"")],
)
def test_missing_cut_and_grown_files(folder: Path, name: str, damage: Callable[[Path], object]) -> None:
    damage(folder / name)
    with pytest.raises(IntegrityError, match=name):
        load(folder)


def test_a_file_that_is_not_listed_is_not_loaded(folder: Path) -> None:
    checksums = json.loads((folder / "checksums.json").read_text())
    del checksums["model.safetensors"]
    (folder / "checksums.json").write_text(json.dumps(checksums))
    with pytest.raises(IntegrityError, match="not listed"):
        load(folder)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "3", "null", '{"model.safetensors": 3}', '{"model.safetensors": {"size": 3}}', '{"a": {"size": 1, "sha256": "", "x": 1}}', "[" * 5000],
)
def test_broken_checksum_lists(folder: Path, text: str) -> None:
    (folder / "checksums.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"checksums\.json: not a checksum list"):
        load(folder)


def test_folders_that_are_no_weights(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"has no checksums\.json"):
        load(tmp_path)
    with pytest.raises(WeightsUnavailableError, match="there is no folder"):
        load(tmp_path / "nowhere")


def drop(tensors: dict[str, Tensor]) -> None:
    del tensors["backbone.blocks.3.norm1.weight"]


def extra(tensors: dict[str, Tensor]) -> None:
    tensors["backbone.blocks.10.norm1.weight"] = torch.ones(3)


def reshape(tensors: dict[str, Tensor]) -> None:
    tensors["head.weight"] = torch.ones(3, 17)


def transpose(tensors: dict[str, Tensor]) -> None:
    tensors["neck.proj.bias"] = tensors["neck.proj.bias"][None]


def retype(tensors: dict[str, Tensor]) -> None:
    tensors["head.bias"] = tensors["head.bias"].half()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (drop, "missing backbone.blocks.3.norm1.weight"),
        (extra, "unexpected backbone.blocks.10.norm1.weight"),
        (reshape, "head.weight has shape (3, 17), the net needs (3, 16)"),
        (transpose, "neck.proj.bias has shape (1, 16), the net needs (16,)"),
        (retype, "head.bias has type torch.float16, the net needs torch.float32"),
        (dict.clear, "missing backbone.input_norm.weight; "),
    ],
)
def test_tensors_that_do_not_fit_are_named(folder: Path, change: Callable[[dict[str, Tensor]], object], says: str) -> None:
    rewrite_tensors(folder, change)
    with pytest.raises(CheckpointError) as caught:
        load(folder)
    assert says in str(caught.value) and "nothing was loaded" in str(caught.value)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.bool, torch.float8_e4m3fn])
@pytest.mark.parametrize("name", ["keypoints", "embedding"])
def test_a_golden_of_another_type_is_a_result(folder: Path, name: str, dtype: torch.dtype) -> None:
    golden = load_file(folder / "golden.safetensors")
    rewrite(folder, "golden.safetensors", save({**golden, name: golden[name].to(dtype)}))
    result = skelzoo.verify(f"local:{folder}", device="cpu")
    assert f"its golden has {name} of type {dtype}, not float32" in result.golden and not (result.hash or result.load)


@pytest.mark.parametrize("data", [b"", b"\0" * 8, b"not safetensors at all", pickle.dumps({"head.weight": 1})])
def test_model_files_of_another_format(folder: Path, data: bytes) -> None:
    rewrite(folder, "golden.safetensors", data)
    result = skelzoo.verify(f"local:{folder}", device="cpu")
    assert "not a safetensors file" in result.golden and not result.ok and not (result.hash or result.load)
    rewrite(folder, "model.safetensors", data)
    with pytest.raises(CheckpointError, match="not a safetensors file"):
        load(folder)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: c.pop("arch"), "not a model config: missing are arch. It needs exactly the keys"),
        (lambda c: c.update(colour="red"), "unknown are colour, which a newer skelzoo may have written: upgrade skelzoo then. It needs exactly the keys"),
        (
            lambda c: c["contract"].update(fps=30),
            "other fields than it must: unknown are fps, which a newer skelzoo may have written: upgrade skelzoo then. Its fields",
        ),
        (lambda c: c["contract"].pop("frames"), "other fields than it must: missing are frames. Its fields"),
        (lambda c: c.update(num_classes="3"), "num_classes is no int. It needs exactly the keys"),
        (lambda c: c.update(num_classes=True), "needs exactly the keys"),
        (lambda c: c.update(format=2), "config format 2"),
        (lambda c: c.update(num_classes=-1, labels=None), "-1 classes"),
        (lambda c: c.update(labels=["sit"]), "1 labels for a head of 3"),
        (lambda c: c.update(labels=[1, 2, 3]), "labels must be"),
        (lambda c: c.update(labels="abc"), "labels must be"),
        (lambda c: c.update(untrained="salient"), "untrained must be"),
        (lambda c: c["contract"].update(frames=0), "frames is 0"),
        (lambda c: c["contract"].update(layout="kinect21"), "Did you mean"),
        (lambda c: c["contract"].update(layout="ntu25"), "input_norm.weight has shape (60,), the net needs (75,)"),
        (lambda c: c["options"].update(hidden_dim=32), "has shape"),
        (lambda c: c["options"].update(depth=3), "options depth"),
        (lambda c: c["options"].update(heads=3), "cannot be built"),
        (lambda c: c.update(num_classes=4, labels=None), "head.weight has shape (3, 16), the net needs (4, 16)"),
        (lambda c: c.update(num_classes=0, labels=None), "unexpected head.weight"),
    ],
)
def test_configs_that_do_not_fit(folder: Path, change: Callable[[dict[str, Any]], object], says: str) -> None:
    rewrite_config(folder, change)
    with pytest.raises(CheckpointError) as caught:
        load(folder)
    assert says in str(caught.value)


def test_unknown_arch_in_a_config(folder: Path) -> None:
    rewrite_config(folder, lambda c: c.update(arch="skeattnclr-stgcm"))
    with pytest.raises(SkelzooError, match=r"config\.json: was saved with a net, 'skeattnclr-stgcm', that this skelzoo does not have"):
        load(folder)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 5000])
def test_configs_that_are_no_json(folder: Path, data: bytes) -> None:
    rewrite(folder, "config.json", data)
    with pytest.raises(CheckpointError, match=r"config\.json"):
        load(folder)


@pytest.mark.parametrize("classes", [3, 7])
def test_a_new_head_keeps_the_body(saved: Path, classes: int) -> None:
    torch.manual_seed(5)
    old, new = load(saved), load(saved, num_classes=classes)
    assert (new.config.num_classes, new.labels) == (classes, None) and new.classify(make_clip(), top_k=9).scores.shape == (1, classes)
    assert np.array_equal(new.embed(make_clip()), old.embed(make_clip()))
    for name, tensor in old.net.state_dict().items():
        if name.startswith("head."):
            assert new.net.state_dict()[name].shape[0] == classes and not torch.equal(new.net.state_dict()[name][:3], tensor)
        else:
            assert torch.equal(new.net.state_dict()[name], tensor)


def test_a_new_head_for_a_body_without_one_and_none_for_one_with(saved: Path, tmp_path: Path) -> None:
    headless = make_encoder(labels=None).save(tmp_path / "headless")
    assert load(headless, num_classes=2).classify(make_clip()).indices.shape == (1, 2)
    assert load(saved, num_classes=0).config.num_classes == 0


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (drop, "missing backbone"),
        (extra, "unexpected backbone"),
        (transpose, "neck.proj.bias has shape"),
        (lambda t: t.update({"head.scale": torch.ones(1)}), "unexpected head.scale"),
    ],
)
def test_a_new_head_excuses_nothing_else(folder: Path, change: Callable[[dict[str, Tensor]], object], says: str) -> None:
    rewrite_tensors(folder, change)
    if "head.scale" in says:
        with pytest.raises(CheckpointError, match=says):
            load(folder)
    else:
        with pytest.raises(CheckpointError, match=says):
            load(folder, num_classes=7)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, OSError])
@pytest.mark.parametrize("at", ["save_file", "write_checksums", "dump_json"])
@pytest.mark.parametrize("older", [False, True])
def test_an_interrupted_save_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: type[BaseException], at: str, older: bool
) -> None:
    target = tmp_path / "tiny"
    if older:
        make_encoder(seed=1).save(target)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}

    def interrupted(*args: object) -> None:
        raise stop("stopped")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, at, interrupted)
        with pytest.raises(KeyboardInterrupt if stop is KeyboardInterrupt else WriteError, match="stopped"):
            make_encoder().save(target)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before and target.exists() == older
    assert {p.name for p in tmp_path.iterdir()} <= {"tiny"}
    make_encoder().save(target)
    assert np.array_equal(load(target).embed(make_clip()), make_encoder().embed(make_clip()))
    assert {p.name for p in tmp_path.iterdir()} == {"tiny"}


def test_shapes_of_every_arch_are_known_without_memory_and_without_a_compiler() -> None:
    code = (
        "import sys, torch; from tiny import SMALL; from skelzoo.nets.archs import build; from skelzoo.skeleton.layouts import get_layout\n"
        "from skelzoo.weights.checkpoint import Shapes\n"
        "def net(arch): return build(arch, get_layout('kinect20'), 6 if arch.startswith('psp') else 3, 3, SMALL[arch]).state_dict()\n"
        "for arch in SMALL:\n"
        "    with Shapes(): found = net(arch)\n"
        "    assert {k: (v.shape, v.dtype) for k, v in found.items()} == {k: (v.shape, v.dtype) for k, v in net(arch).items()}, arch\n"
        "    assert any(v.is_meta for v in found.values()) and 'torch._dynamo' not in sys.modules, arch\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_weights_that_give_nan_are_neither_saved_nor_verified(folder: Path, tmp_path: Path) -> None:
    rewrite_tensors(folder, lambda t: t["head.bias"].fill_(float("nan")))
    result = skelzoo.verify(f"local:{folder}", device="cpu")
    assert not result.ok and "nan" in result.golden and np.isnan(result.worst)
    with pytest.raises(CheckpointError, match="logits of a made-up clip are NaN or infinite"):
        load(folder).save(tmp_path / "spoilt")
    assert not (tmp_path / "spoilt").exists()
