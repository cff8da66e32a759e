"""Checkpoint files of the authors' code: their names in our nets, and what of the files is read."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from author_files import author_net, author_state, saved
from golden_files import BACKBONES, read_golden_file, under
from safetensors.torch import save_file
from tiny import encoder_of
from torch import Tensor

from skelzoo import create, get_layout
from skelzoo.errors import CheckpointError
from skelzoo.weights.author_files import check_constants, read_author_file
from skelzoo.weights.author_keys import RULES, Unused, place, translate

EXAMPLES = {
    ("skeattnclr-stgcn", "backbone.data_bn.running_mean"): "backbone.input_norm.running_mean",
    ("skeattnclr-stgcn", "backbone.edge_importance.9"): "backbone.blocks.9.edge_importance",
    ("skeattnclr-stgcn", "backbone.st_gcn_networks.0.gcn.conv.bias"): "backbone.blocks.0.graph_conv.bias",
    ("skeattnclr-stgcn", "backbone.st_gcn_networks.4.residual.1.num_batches_tracked"): "backbone.blocks.4.shortcut.1.num_batches_tracked",
    ("skeattnclr-stgcn", "backbone.fc.weight"): "head.weight",
    ("skeattnclr-stgcn", "neck.proj.mlp.3.weight"): "neck.projector.linear2.weight",
    ("skeattnclr-bigru", "backbone.encoder.gru.weight_hh_l2_reverse"): "backbone.layers.2.1.weight_hh_l0",
    ("skeattnclr-dsta", "backbone.graph_layers.3.attention0s"): "backbone.blocks.3.spatial.bias",
    ("psp", "att_pb.ff_nets.1.running_var"): "pyramid.part.out.1.running_var",
    ("psp", "graph_layers.2.downt2.0.weight"): "backbone.blocks.2.temporal_shortcut2.0.weight",
    ("stgcn", "st_gcn_networks.9.tcn.3.bias"): "backbone.blocks.9.norm2.bias",
    ("stgcn", "backbone.st_gcn_networks.9.tcn.3.bias"): "backbone.blocks.9.norm2.bias",
}


@pytest.mark.parametrize(("arch", "theirs"), EXAMPLES)
def test_names(arch: str, theirs: str) -> None:
    assert place(arch, theirs) == EXAMPLES[arch, theirs]


@pytest.mark.parametrize(
    ("arch", "theirs", "constant"),
    [
        ("skeattnclr-stgcn", "backbone.A", True),
        ("skeattnclr-stgcn", "neck.proj_obj.mlp.0.weight", False),
        ("psp", "graph_layers.0.pes.pe", True),
        ("psp", "graph_layers.0.atts", True),
        ("stgcn", "fc.0.weight", False),
        ("stgcn", "fc.2.2.bias", False),
        ("stgcn", "neck.Attn.qkv.weight", False),
    ],
)
def test_names_of_what_is_not_needed(arch: str, theirs: str, constant: bool) -> None:
    found = place(arch, theirs)
    assert isinstance(found, Unused) and found.constant == constant


@pytest.mark.parametrize(
    "key", ["", "backbone", "backbone.B", "encoder_q.backbone.fc.weight", "backbone.fc.weight.x", "neck.proj.mlp.2.weight", "xneck.proj_obj.mlp.0.weight", "queue_z"]
)  # fmt: skip
def test_names_of_something_else(key: str) -> None:
    with pytest.raises(CheckpointError, match="not tensors of the authors' skeattnclr-stgcn network"):
        translate("skeattnclr-stgcn", {"backbone.fc.bias": torch.zeros(1), key: torch.zeros(1)})


def test_many_strange_names_are_listed_and_counted() -> None:
    with pytest.raises(CheckpointError, match=r"network: x0, x1, x2, x3, x4, x5, x6, x7 and 12 more\. Check"):
        translate("psp", {f"x{i}": torch.zeros(1) for i in range(20)})


@pytest.mark.parametrize("arch", RULES)
def test_state_dicts_of_encoders_need_no_conversion(arch: str) -> None:
    with pytest.raises(CheckpointError, match=r"own.*skelzoo\.load\(NAME, num_classes=N\); encoder\.net\.load_state_dict"):
        translate(arch, encoder_of(arch).net.state_dict())


@pytest.mark.parametrize("arch", [a for a in RULES if a != "stgcn"])
def test_names_of_another_network_are_recognised(arch: str) -> None:
    state = author_state(arch, author_net(arch))
    wrong = "psp" if arch != "psp" else "skeattnclr-stgcn"
    with pytest.raises(CheckpointError, match=rf"They are those of {arch}"):
        translate(wrong, state)


def test_two_tensors_for_one_place() -> None:
    with pytest.raises(CheckpointError, match=r"backbone\.fc\.bias"):
        translate("stgcn", {"fc.bias": torch.zeros(1), "backbone.fc.bias": torch.zeros(1)})


@pytest.mark.needs_shared
@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_tensor_of_an_authors_file_has_its_place(shared: Path, backbone: str) -> None:
    """The helper of these tests names tensors as the authors do: no more, no less, in the same shapes."""
    golden = read_golden_file(shared / f"golden/skeattnclr/{backbone}_small.safetensors", "config")
    theirs = under(golden, "sd::encoder_q.")
    options: dict[str, dict[str, Any]] = {
        "stgcn": {"hidden_channels": 8, "hidden_dim": 32},
        "gru": {"hidden_size": 16},
        "dsta": {"blocks": golden["config"].get("config"), "num_frames": 32},
    }
    net = create(BACKBONES[backbone], layout="ntu25", num_classes=10, options={"feature_dim": 16, "heads": 4, **options[backbone]})
    assert {k: v.shape for k, v in author_state(BACKBONES[backbone], net).items()} == {k: v.shape for k, v in theirs.items()}


STATE = {"fc.weight": torch.ones(2, 3), "fc.bias": torch.arange(2)}


@pytest.mark.parametrize(
    ("content", "dropped"),
    [
        (STATE, {}),
        ({"module." + k: v for k, v in STATE.items()}, {}),
        ({"model": STATE, "optimizer": {"lr": 0.1}, "epoch": 3}, {"optimizer": "beside 'model', not part of it", "epoch": "beside 'model', not part of it"}),
        ({"state_dict": {"module." + k: v for k, v in STATE.items()}}, {}),
        ({**STATE, "optimizer": {"state": {}, "lr": 0.1}, "epoch": 3}, {"optimizer": "not a tensor", "epoch": "not a tensor"}),
        ({**STATE, "other": torch.ones(2, device="meta")}, {"other": "not a tensor"}),
        ({f"encoder_q.{k}": v for k, v in STATE.items()}, {}),
        ({f"module.encoder_q.{k}": v for k, v in STATE.items()}, {}),
        ({k: torch.nn.Parameter(v) if v.is_floating_point() else v for k, v in STATE.items()}, {}),
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_wrappings(tmp_path: Path, content: dict[str, Any], dropped: dict[str, str], zipped: bool) -> None:
    found = read_author_file(saved(tmp_path / "a.pth.tar", content, _use_new_zipfile_serialization=zipped))
    assert found.dropped == dropped and not found.pretraining and found.converted == 0
    assert found.encoder.keys() == STATE.keys() and all(torch.equal(found.encoder[k], v) for k, v in STATE.items())


def test_safetensors_are_read_too(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "a.safetensors")
    assert read_author_file(tmp_path / "a.safetensors").encoder.keys() == STATE.keys()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_float_types_become_float32(tmp_path: Path, dtype: torch.dtype) -> None:
    found = read_author_file(saved(tmp_path / "a.pt", {"fc.weight": torch.ones(2, 3, dtype=dtype), "fc.bias": torch.arange(2)}))
    assert found.converted == 1 and {k: v.dtype for k, v in found.encoder.items()} == {"fc.weight": torch.float32, "fc.bias": torch.int64}


class Payload:
    """Unpickled without care, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("wrap", [lambda p: p, lambda p: {**STATE, "x": p}, lambda p: {"model": STATE, "optimizer": p}])
def test_code_in_a_pickle_is_not_run(tmp_path: Path, wrap: Any) -> None:
    made = tmp_path / "made"
    path = saved(tmp_path / "evil.pt", wrap(Payload(made)))
    with pytest.raises(CheckpointError, match=r"evil\.pt: not a checkpoint of plain tensors.*Nothing in it was run"):
        read_author_file(path)
    assert not made.exists()
    torch.load(path, weights_only=False)
    assert made.exists(), "the payload must be one that works"


def truncated(path: Path) -> None:
    torch.save(STATE, path)
    path.write_bytes(path.read_bytes()[:-200])


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize(
    ("name", "make", "says"),
    [
        ("cut.pt", truncated, "not a checkpoint of plain tensors"),
        ("notes.pt", lambda p: p.write_text("my notes on the training\n" * 50), "not a checkpoint of plain tensors"),
        ("empty.pt", lambda p: p.write_bytes(b""), "not a checkpoint of plain tensors"),
        ("folder.pt", lambda p: p.mkdir(), "not a checkpoint of plain tensors"),
        ("cut.safetensors", lambda p: p.write_bytes(b"\x08\0\0\0\0\0\0\0{}"), "not a checkpoint of plain tensors"),
        ("none.pt", lambda p: None, "no such file"),
        ("list.pt", lambda p: torch.save([torch.zeros(2)], p), "holds a list, not a state dict"),
        ("tensor.pt", lambda p: torch.save(torch.zeros(2), p), "holds a Tensor, not a state dict"),
        ("bare.pt", lambda p: torch.save({"epoch": 3}, p), "holds no tensors"),
        ("plain.pkl", lambda p: p.write_bytes(pickle.dumps({"a": 1})), "not a checkpoint of plain tensors"),
        ("nan.pt", lambda p: torch.save({**STATE, "fc.weight": torch.tensor([1.0, float("nan")])}, p), r"NaN or infinite values in fc\.weight\."),
    ],
)
def test_files_that_are_no_checkpoints(tmp_path: Path, name: str, make: Any, says: str) -> None:
    make(tmp_path / name)
    with pytest.raises(CheckpointError, match=says) as caught:
        read_author_file(tmp_path / name)
    assert name in str(caught.value)


def changed(arch: str, name: str, change: Any) -> tuple[dict[str, Tensor], Any]:
    layout = get_layout("ntu25")
    state = author_state(arch, author_net(arch))
    constants = translate(arch, state).constants
    check_constants(constants, layout, "agcn")
    return {**constants, name: change(constants[name])}, layout


@pytest.mark.parametrize(
    ("arch", "name", "change", "says"),
    [
        ("skeattnclr-stgcn", "backbone.A", lambda t: t.flip(1), "agcn graph of layout ntu25: they differ by 1.0e"),
        ("skeattnclr-stgcn", "backbone.A", lambda t: t[:, :20, :20], r"its shape is \(3, 20, 20\), not \(3, 25, 25\)"),
        ("skeattnclr-dsta", "backbone.graph_layers.1.pes.pe", lambda t: t + 1e-4, r"pes\.pe is not the position code .*differ by 1.0e-04"),
        ("skeattnclr-dsta", "backbone.graph_layers.2.pet.pe", lambda t: t.flip(2), r"pet\.pe is not the position code"),
        ("skeattnclr-dsta", "backbone.graph_layers.0.attt", lambda t: t + 1, r"attt is not all zero"),
        ("psp", "graph_layers.2.atts", lambda t: t + 1, r"atts is not all zero"),
        ("psp", "graph_layers.2.pes.pe", lambda t: t[0], r"pes\.pe is not .* its shape is \(8, 12, 25\), not \(1, 8, 12, 25\)"),
    ],
)  # fmt: skip
def test_constants_are_compared(arch: str, name: str, change: Any, says: str) -> None:
    constants, layout = changed(arch, name, change)
    with pytest.raises(CheckpointError, match=says):
        check_constants(constants, layout, "agcn")
