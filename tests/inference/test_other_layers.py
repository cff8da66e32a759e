"""Nets whose layers their owner replaced or set otherwise: vectors are those of the net as it is, and what could not be loaded again is not saved."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import SMALL, WITHOUT_FORM, encoder_of, make_clip, same
from torch import nn

import skelzoo
from skelzoo import Encoder, prepare
from skelzoo.errors import CheckpointError, ContractError
from skelzoo.nets.fused import has_form

CLIPS = [make_clip(i, 30) for i in range(3)]


def of_the_net(encoder: Encoder) -> np.ndarray:
    with torch.no_grad():
        return encoder.net.forward_features(torch.from_numpy(np.stack([prepare(clip, encoder.contract) for clip in CLIPS]))).numpy()


def pads_otherwise(conv: nn.Conv2d) -> nn.Conv2d:
    new = nn.Conv2d(conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding, padding_mode="replicate")
    new.load_state_dict(conv.state_dict())
    return new


def of_the_batch(norm: nn.BatchNorm2d) -> nn.BatchNorm2d:
    norm.track_running_stats, norm.running_mean, norm.running_var = False, None, None
    return norm


def far_from_zero(norm: nn.BatchNorm2d) -> nn.BatchNorm2d:
    norm.eps = 0.1
    return norm


@pytest.mark.parametrize(
    ("arch", "layer", "new", "says"),
    [
        ("skeletonmae-strl", "layers.0.temporal.branches.0.2", lambda _: nn.GELU(), "branches.0.2 has class GELU, the net needs ReLU"),
        ("psp", "backbone.blocks.0.temporal_shortcut2", lambda _: nn.Sigmoid(), "has class Sigmoid, the net needs Identity"),
        ("psp", "backbone.blocks.1.spatial_shortcut1", lambda old: nn.Sequential(*old, nn.Tanh()), "unexpected layer backbone.blocks.1.spatial_shortcut1.2"),
        ("psp-ensemble", "members.1.backbone.input_conv", lambda old: nn.Sequential(old, nn.Tanh()), "missing members.1.backbone.input_conv.weight"),
        ("skeattnclr-stgcn", "backbone.blocks.1.dropout", lambda _: nn.Sigmoid(), "dropout has class Sigmoid, the net needs Identity"),
        ("skeattnclr-stgcn", "backbone.blocks.3.temporal_conv", pads_otherwise, "temporal_conv has padding_mode replicate, the net needs zeros"),
        ("skeattnclr-dsta", "backbone.blocks.0.spatial_out.1", far_from_zero, "spatial_out.1 has eps 0.1, the net needs 1e-05"),
        ("stgcn", "backbone.input_norm", lambda old: nn.GroupNorm(1, old.num_features), "missing backbone.input_norm.running_mean"),
        ("skeattnclr-stgcn-3s", "members.bone.backbone.blocks.0.norm1", of_the_batch, "missing members.bone.backbone.blocks.0.norm1.running_mean"),
    ],
)  # fmt: skip
def test_other_layers_are_run_and_not_saved(arch: str, layer: str, new: Callable[[nn.Module], nn.Module], says: str, tmp_path: Path) -> None:
    encoder = encoder_of(arch)
    before = encoder.embed(CLIPS)
    encoder.net.set_submodule(layer, new(encoder.net.get_submodule(layer)).eval())
    z = encoder.embed(CLIPS)
    same(z, of_the_net(encoder))
    assert np.abs(z - before).max() > 1e-3 * np.abs(before).max()
    with pytest.raises(CheckpointError, match="its net is no longer that of its config.*" + says.replace(".", r"\.")):
        encoder.save(tmp_path / "mine")


def hook(net: nn.Module) -> None:
    net.backbone.blocks[2].register_forward_hook(lambda _, __, out: 3 * out)


def own_forward(net: nn.Module) -> None:
    block: nn.Module = net.backbone.blocks[2]
    plain = block.forward
    block.forward = lambda *x: 3 * plain(*x)


def own_features(net: nn.Module) -> None:
    net.forward_features = lambda x: x.new_full((len(x), 16), 7.0)


def setting(net: nn.Module) -> None:
    net.embed_blocks = [3]


@pytest.mark.parametrize(("change", "moved"), [(hook, "vectors"), (own_forward, "vectors"), (own_features, "vectors"), (setting, "vectors"), (None, "logits")])
def test_what_is_neither_tensor_nor_layer_is_run_and_not_saved(change: Callable[[nn.Module], None] | None, moved: str, tmp_path: Path) -> None:
    encoder = encoder_of("skeattnclr-stgcn")
    encoder.net.train()
    seen: list[torch.Size] = []
    encoder.net.backbone.blocks[0].register_forward_hook(lambda _, __, out: seen.append(out.shape))
    looked_at = skelzoo.load(f"local:{encoder.save(tmp_path / 'looked at')}", device="cpu")
    assert encoder.net.training and seen
    same(looked_at.embed(CLIPS), encoder.embed(CLIPS))
    if change is None:
        encoder.net.forward_head = lambda z: z[:, :3]
    else:
        change(encoder.net)
    encoder.net.eval()
    same(encoder.embed(CLIPS), of_the_net(encoder))
    with pytest.raises(CheckpointError, match=rf"its net gives other {moved}.* than one made again.*handle\.remove\(\)"):
        encoder.save(tmp_path / "mine")
    assert not (tmp_path / "mine").exists()


def test_a_method_that_is_replaced_again_is_seen() -> None:
    encoder = encoder_of("stgcn")
    for value in (1, 2):
        encoder.net.forward_features = lambda x, value=value: x.new_full((len(x), 16), value)
        assert (encoder.embed(CLIPS) == value).all()


@pytest.mark.parametrize("arch", SMALL)
def test_synchronised_batch_norm_is_batch_norm(arch: str, tmp_path: Path) -> None:
    encoder = encoder_of(arch)
    fused, before = has_form(encoder.net), encoder.embed(CLIPS)
    encoder.net = nn.SyncBatchNorm.convert_sync_batchnorm(encoder.net)
    encoder.refresh()
    assert np.array_equal(encoder.embed(CLIPS), before) and has_form(encoder.net) == fused
    again = skelzoo.load(f"local:{encoder.save(tmp_path / 'mine')}", device="cpu")
    assert np.array_equal(again.embed(CLIPS), before) and not any(isinstance(m, nn.SyncBatchNorm) for m in again.net.modules())


@pytest.mark.parametrize("arch", sorted(SMALL.keys() - WITHOUT_FORM))
def test_copies_and_a_head_or_no_dropout_of_ones_own_keep_the_fused_form(arch: str) -> None:
    net = copy.deepcopy(encoder_of(arch).net)
    for name, module in list(net.named_modules()):
        if isinstance(module, nn.Dropout):
            net.set_submodule(name, nn.Identity())
    net.head = nn.Sequential(nn.Dropout(), nn.Linear(net.embedding_dim, 9))
    assert has_form(net)


@pytest.mark.parametrize(("head", "given"), [(nn.Linear(16, 2), 2), (nn.Identity(), 16), (None, 0)], ids=str)
def test_a_head_of_another_number_of_classes_names_no_class(head: nn.Module | None, given: int) -> None:
    encoder = encoder_of("skeattnclr-stgcn")
    encoder.net.head = head
    for call in (encoder.classify, encoder.scores):
        with pytest.raises(ContractError, match=rf"its head gives {given} numbers for a clip, its config says 3 classes\. Load it with .*num_classes"):
            call(CLIPS)
