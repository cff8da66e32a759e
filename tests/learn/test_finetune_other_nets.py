"""Fine-tuning copies a net by its config and tensors: of a net that is more than these, it says so before a clip is prepared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tiny import make_clip, make_encoder, same
from torch import nn

from skelzoo.errors import CheckpointError
from skelzoo.learn.cross_validation import cross_validate
from skelzoo.learn.finetune import FinetuneOptions, finetune

CLIPS, OLD, NEW = [make_clip(i) for i in range(6)], ["sit", "stand", "wave"] * 2, ["run", "walk"] * 3


class Own(type(make_encoder().net)):  # type: ignore[misc]
    """The tensors and layers of a net of skelzoo, and another vector."""

    def forward_features(self, x: Any) -> Any:
        return 10 + super().forward_features(x)


def layer(net: nn.Module) -> None:
    net.backbone.blocks[2].dropout = nn.Sigmoid()


def adapter(net: nn.Module) -> None:
    net.backbone.blocks[2].dropout = nn.BatchNorm2d(4)


def subclass(net: nn.Module) -> None:
    net.__class__ = Own


def hook(net: nn.Module) -> None:
    net.backbone.blocks[2].register_forward_hook(lambda _, __, out: 3 * out)


def head(net: nn.Module) -> None:
    net.head = nn.Sequential(nn.Linear(net.embedding_dim, 8), nn.ReLU(), nn.Linear(8, 3))


def hooked_head(net: nn.Module) -> None:
    net.head.register_forward_hook(lambda _, __, out: 3 * out)


@pytest.mark.parametrize(
    ("change", "labels", "says"),
    [
        (layer, NEW, r"dropout has class Sigmoid, the net needs Identity"),
        (adapter, NEW, r"unexpected backbone\.blocks\.2\.dropout\.weight"),
        (subclass, NEW, r"the net has class Own, the net needs SkeAttnCLRSTGCN"),
        (hook, NEW, r"tiny: its net gives other vectors than one made again"),
        (head, OLD, r"missing head\.weight"),
        (hooked_head, OLD, r"tiny: its net gives other logits than one made again"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("call", [finetune, cross_validate])
def test_another_net_than_the_configs_is_not_copied(
    call: Callable[..., Any], change: Callable[[nn.Module], None], labels: list[str], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = make_encoder()
    change(encoder.net)
    if call is finetune:
        monkeypatch.setattr("skelzoo.learn.inputs.Inputs.keep", lambda *_: pytest.fail("clips were prepared"))
    with pytest.raises(CheckpointError, match=says):
        call(encoder, CLIPS, labels)


@pytest.mark.parametrize("change", [head, hooked_head, lambda net: setattr(net, "head", None)])
def test_a_head_that_is_replaced_may_be_any(change: Callable[[nn.Module], None]) -> None:
    encoder = make_encoder()
    change(encoder.net)
    tuned = finetune(encoder, CLIPS, NEW, validation=0, mode="linear", options=FinetuneOptions(epochs=1)).encoder
    assert tuned.labels == ("run", "walk") and type(tuned.net.head) is nn.Linear and not tuned.net.head._forward_hooks
    same(tuned.embed(CLIPS), encoder.embed(CLIPS))


def test_an_encoder_in_half_precision_is_copied() -> None:
    tuned = finetune(make_encoder(dtype="bfloat16"), CLIPS, OLD, validation=0, options=FinetuneOptions(epochs=1)).encoder
    assert tuned.dtype == torch.float32
