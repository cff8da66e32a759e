"""What is exported gives the encoder's vectors and logits without skelzoo, for any number of clips."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from tiny import CONTRACT, SMALL, make_clip, make_encoder, randomise

import skelzoo
from skelzoo import Encoder
from skelzoo.cli import main
from skelzoo.errors import ExportError, MissingDependencyError, WriteError
from skelzoo.inference.export import OPSET, export
from skelzoo.nets.archs import ARCHS
from skelzoo.nets.psp import PSP
from skelzoo.weights.checkpoint import build_net
from skelzoo.weights.files import bytes_info
from skelzoo.weights.manifest import ModelConfig, manifest

QUICK = "stgcn"
"""Exported in every run of the tests; the others take minutes together."""


def archs() -> list[Any]:
    return [arch if arch == QUICK else pytest.param(arch, marks=pytest.mark.slow) for arch in ARCHS]


def encoder_of(arch: str) -> Encoder:
    streams = ("joint", "motion") if ARCHS[arch].net is PSP else ("joint", "bone", "motion") if ARCHS[arch].ensemble else ("joint",)
    contract = CONTRACT.replace(frames=24, streams=streams, steps=({"step": "center"}, {"step": "resample", "frames": 24}))
    config = ModelConfig(arch, SMALL[arch], contract, 3, ("sit", "stand", "wave"))
    torch.manual_seed(0)
    return Encoder(randomise(build_net(config)), config, arch, device="cpu")


def prepared(encoder: Encoder, count: int) -> np.ndarray:
    return np.stack([skelzoo.prepare(make_clip(s, persons=1 + s % encoder.contract.persons), encoder.contract) for s in range(count)])


def same(found: list[np.ndarray], encoder: Encoder, clips: np.ndarray) -> None:
    """Vectors, and logits that give the encoder's scores."""
    embedding, logits = found
    expected = encoder.embed(clips, prepared=True)
    assert np.abs(embedding - expected).max() <= 1e-4 * max(1, np.abs(expected).max())
    scores = torch.from_numpy(logits).softmax(-1).numpy()
    result = encoder.classify(clips, top_k=logits.shape[1], prepared=True)
    np.testing.assert_allclose(np.take_along_axis(scores, result.indices, 1), result.scores, atol=1e-4)


def test_without_onnx_nothing_is_said_to_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(MissingDependencyError, match=r"skelzoo\[onnx\]"):
        export(encoder_of(QUICK), tmp_path / "net.onnx")
    assert "exporting" not in capsys.readouterr().err


@pytest.mark.parametrize("arch", archs())
def test_pt2_of_every_architecture(arch: str, tmp_path: Path) -> None:
    encoder = encoder_of(arch)
    encoder.card = "# Tiny\n\n## Licence\n\nCC0-1.0. Made up.\n\n## Measured\n"
    done = export(encoder, tmp_path / "net.pt2")
    assert json.loads((tmp_path / "net.pt2.json").read_text())["licence"] == "CC0-1.0. Made up."
    module = torch.export.load(str(tmp_path / "net.pt2")).module()
    for count in (1, 2, 5):
        clips = prepared(encoder, count)
        same([t.detach().numpy() for t in module(torch.from_numpy(clips))], encoder, clips)
    assert done.files == (tmp_path / "net.pt2", tmp_path / "net.pt2.json") and done.difference <= 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("name", manifest().pretrained)
def test_aotinductor_packages_of_the_published_models(name: str, tmp_path: Path) -> None:
    encoder = skelzoo.load(name, device="cpu")
    export(encoder, tmp_path / "net.pt2")
    program = torch.export.load(str(tmp_path / "net.pt2"))
    package = torch._inductor.aoti_compile_and_package(program, package_path=str(tmp_path / "compiled.pt2"))
    module = torch._inductor.aoti_load_package(package)
    for count in (1, 5):
        golden = load_golden(name)["prepared"].numpy()
        clips = np.concatenate([golden * (1 - 0.05 * i) for i in range(count)])
        same([t.detach().numpy() for t in module(torch.from_numpy(clips))], encoder, clips)


def run_onnx(path: Path, clips: np.ndarray) -> list[np.ndarray]:
    session = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed").InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [value.shape[0] for value in (*session.get_inputs(), *session.get_outputs())] == ["n", "n", "n"]
    return list(session.run(["embedding", "logits"], {"clips": clips}))


def test_onnx_and_what_is_written_beside_it(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    folder = encoder_of(QUICK).save(tmp_path / "tiny")
    done = CliRunner().invoke(main, ["export", f"local:{folder}", "--out", str(tmp_path / "net.onnx")])
    assert done.exit_code == 0 and "largest difference" in done.stdout and "takes seconds to minutes" in done.stderr, done.output
    encoder = skelzoo.load(f"local:{folder}", device="cpu")
    for count in (1, 2, 5):
        same(run_onnx(tmp_path / "net.onnx", prepared(encoder, count)), encoder, prepared(encoder, count))
    about = json.loads((tmp_path / "net.onnx.json").read_text())
    assert about["sha256"] == bytes_info((tmp_path / "net.onnx").read_bytes()).sha256 and about["opset"] == OPSET
    assert about["contract"]["steps"][1] == {"step": "resample", "frames": 24, "method": "linear"}
    contract = skelzoo.Contract.from_dict(about["contract"])
    assert (
        np.array_equal(skelzoo.prepare(make_clip(), contract), skelzoo.prepare(make_clip(), encoder.contract))
        and about["labels"] == ["sit", "stand", "wave"]
        and len(about["joints"]) == 20
    )
    assert about["input"] == {"name": "clips", "dtype": "float32", "shape": ["n", 3, 24, 20, 2], "axes": "n c t v m", "smallest_n": 1}
    assert [(o["name"], o["shape"]) for o in about["outputs"]] == [("embedding", ["n", 16]), ("logits", ["n", 3])]


def test_a_torch_that_cannot_convert_to_onnx_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

    def refuse(*_: object, **__: object) -> None:
        raise torch.onnx.OnnxExporterError("This is step 3/3")

    monkeypatch.setattr(torch.onnx, "export", refuse)
    with pytest.raises(ExportError, match=r"torch\.onnx cannot convert the net\. This is torch \d"):
        export(encoder_of(QUICK), tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("name", manifest().pretrained)
def test_onnx_of_the_published_models(name: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    encoder = skelzoo.load(name, device="cpu")
    assert export(encoder, tmp_path / "net.onnx").difference <= 1e-4
    golden = skelzoo.Clip(load_golden(name)["keypoints"].numpy(), encoder.contract.layout, fps=30)
    clips = np.stack([skelzoo.prepare(golden, encoder.contract)] * 3)
    same(run_onnx(tmp_path / "net.onnx", clips), encoder, clips)
    np.testing.assert_allclose(run_onnx(tmp_path / "net.onnx", clips)[0][:1], load_golden(name)["embedding"].numpy(), atol=1e-4)


def load_golden(name: str) -> dict[str, torch.Tensor]:
    from skelzoo.weights.checkpoint import parse_tensors
    from skelzoo.weights.sources import locate

    located = locate(name)
    return parse_tensors(located.read("golden.safetensors"), located.folder)


def test_what_cannot_be_exported(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match=r"ending in \.onnx or \.pt2"):
        export(make_encoder(), tmp_path / "net.pt")
    with pytest.raises(ExportError, match="bfloat16"):
        export(make_encoder(dtype="bfloat16"), tmp_path / "net.pt2")
    encoder = make_encoder()

    def odd(x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1)[:, :16] if x.sum() > 0 else x.flatten(1)[:, 16:32]

    encoder.net.forward_features = odd  # type: ignore[assignment]
    with pytest.raises(ExportError, match="cannot follow the net"):
        export(encoder, tmp_path / "net.pt2")
    assert not list(tmp_path.iterdir())


def test_a_net_in_training_is_exported_as_it_embeds(tmp_path: Path) -> None:
    encoder = encoder_of(QUICK)
    encoder.net.train()
    state = {name: tensor.clone() for name, tensor in encoder.net.state_dict().items()}
    export(encoder, tmp_path / "net.pt2")
    clips = prepared(encoder, 3)
    same([t.detach().numpy() for t in torch.export.load(str(tmp_path / "net.pt2")).module()(torch.from_numpy(clips))], encoder, clips)
    assert encoder.net.training and all(torch.equal(tensor, state[name]) for name, tensor in encoder.net.state_dict().items())
