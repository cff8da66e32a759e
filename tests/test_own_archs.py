"""Nets of one's own under a name: they do all that shipped ones do, and what is wrong with one is said when it is registered."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import CONTRACT, make_clip
from torch import Tensor, nn

import skelzoo
from skelzoo.errors import CheckpointError, TrainingError, UnknownArchError
from skelzoo.learn.finetune import finetune
from skelzoo.learn.finetune_options import FinetuneOptions
from skelzoo.nets.archs import ARCHS, check_arch
from skelzoo.nets.net import Net
from skelzoo.skeleton.layouts import Layout
from skelzoo.weights.manifest import ModelConfig

pytestmark = pytest.mark.usefixtures("own_archs")


class Mean(Net):
    """A linear layer on the mean over frames and persons."""

    def __init__(self, layout: Layout, num_classes: int = 0, in_channels: int = 3, hidden_dim: int = 8) -> None:
        super().__init__()
        self.embedding_dim = hidden_dim
        self.blocks = nn.ModuleList([nn.Linear(in_channels * len(layout), hidden_dim)])
        self.head = nn.Linear(hidden_dim, num_classes) if num_classes else None

    @property
    def feature_names(self) -> tuple[str, ...]:
        return ("pooled",)

    def forward_features(self, x: Tensor) -> Tensor:
        self.check_clips(x)
        return torch.as_tensor(self.blocks[0](x.mean((2, 4)).flatten(1)))

    def features(self, x: Tensor) -> dict[str, Tensor]:
        return {"pooled": self.forward_features(x)}


MEAN = skelzoo.Arch(Mean, "head.", "mean over time")


def own_encoder() -> skelzoo.Encoder:
    net = Mean(skelzoo.get_layout("kinect20"), num_classes=3)
    return skelzoo.Encoder(net, ModelConfig("lab-mean", {}, CONTRACT, 3, ("a", "b", "c")), "mine", device="cpu")


def test_a_registered_net_is_saved_loaded_and_fine_tuned(tmp_path: Path) -> None:
    skelzoo.register_arch("lab-mean", MEAN)
    encoder, clips = own_encoder(), [make_clip(seed=i) for i in range(6)]
    name, vectors = f"local:{encoder.save(tmp_path / 'mine')}", encoder.embed(clips)
    assert np.array_equal(skelzoo.load(name, device="cpu").embed(clips), vectors) and skelzoo.verify(name, device="cpu").ok
    assert skelzoo.load(name, device="cpu", num_classes=5).embed(clips).shape == vectors.shape
    assert skelzoo.load(name, device="cpu", pretrained=False).features(clips, "pooled").keys() == {"pooled"}
    tuned = finetune(encoder, clips, list("abcabc"), validation=0, options=FinetuneOptions(epochs=1)).encoder
    assert isinstance(tuned.net, Mean) and not np.array_equal(tuned.embed(clips), vectors)


def test_without_its_package_a_model_says_which_file_wants_it(tmp_path: Path) -> None:
    skelzoo.register_arch("lab-mean", MEAN)
    folder = own_encoder().save(tmp_path / "mine")
    del ARCHS["lab-mean"]
    says = r"mine/config\.json: was saved with a net, 'lab-mean', that this skelzoo does not have\. Import the package that adds it first"
    with pytest.raises(UnknownArchError, match=says):
        skelzoo.load(f"local:{folder}", device="cpu")
    result = skelzoo.verify(f"local:{folder}", device="cpu")
    assert "'lab-mean'" in result.load and (result.hash, result.golden) == ("", "not checked, as the weights become no net")
    with pytest.raises(UnknownArchError, match=r"'lab-mean'.*skelzoo\.register_arch"):
        own_encoder().save(tmp_path / "other")


def test_names_are_not_taken_from_others() -> None:
    """But a notebook's cell may run again."""
    again = type("Mean", (Mean,), {"__module__": Mean.__module__, "__qualname__": Mean.__qualname__})
    for arch in (MEAN, MEAN, skelzoo.Arch(again, "head.", "")):
        skelzoo.register_arch("lab-mean", arch)
    assert type(skelzoo.create("lab-mean", layout="kinect20")) is again
    for name, net in (("lab-mean", type("Other", (Mean,), {})), ("stgcn", Mean), ("skeattnclr-stgcn-3s", ARCHS["skeattnclr-stgcn-3s"].net)):
        with pytest.raises(CheckpointError, match=f"{name}: is the name of another architecture.*nothing was registered"):
            skelzoo.register_arch(name, skelzoo.Arch(net, "head.", ""))


def with_options(code: str) -> Callable[..., Net]:
    names: dict[str, Any] = {}
    exec(f"def make({code}): ...", names)
    return names["make"]  # type: ignore[no-any-return]


@pytest.mark.parametrize(("net", "says"), [
    (with_options("layout, num_classes"), r"takes no in_channels\. Let the constructor be"),
    (with_options("layout, num_classes=0, in_channels=3, width=None"), "options width have no default"),
    (with_options("layout, num_classes=0, in_channels=3, *, width, depths=()"), "options width, depths have no default"),
    (with_options("layout, num_classes=0, in_channels=3, blocks=((1, None),)"), "options blocks have no default"),
    (with_options("layout, num_classes=0, in_channels=3, **settings"), "options settings have no default"),
])  # fmt: skip
def test_nets_that_no_config_builds_are_refused(net: Any, says: str) -> None:
    with pytest.raises(CheckpointError, match=f"^mine: .*{says}"):
        skelzoo.register_arch("mine", skelzoo.Arch(net, "head.", ""))
    assert "mine" not in ARCHS


def test_a_class_alone_is_no_arch() -> None:
    with pytest.raises(CheckpointError, match=r'skelzoo\.Arch\(net, "head\.", summary\).*Mean'):
        skelzoo.register_arch("mine", Mean)  # type: ignore[arg-type]


def test_a_head_that_the_net_does_not_have_is_named() -> None:
    with pytest.raises(CheckpointError, match=r'skelzoo\.Arch\(net, "head\.", summary\)'):
        skelzoo.register_arch("mine", skelzoo.Arch(Mean, "", ""))
    skelzoo.register_arch("mine", skelzoo.Arch(Mean, "classifier.", ""))
    assert skelzoo.create("mine", layout="kinect20").head is None
    with pytest.raises(
        CheckpointError, match=r"^mine: its head should have tensors that begin with 'classifier\.', .* They begin with blocks\., head\.: give skelzoo\.Arch"
    ):
        skelzoo.create("mine", layout="kinect20", num_classes=3)


@pytest.mark.parametrize("arch", ARCHS)
def test_the_archs_that_ship_could_be_registered(arch: str) -> None:
    check_arch(arch, ARCHS[arch])


def test_blocks_of_a_list_of_another_name_are_not_counted() -> None:
    class Stages(Mean):
        def __init__(self, layout: Layout, num_classes: int = 0, in_channels: int = 3) -> None:
            super().__init__(layout, num_classes, in_channels)
            self.stages = self._modules.pop("blocks")

        def forward_features(self, x: Tensor) -> Tensor:
            return torch.as_tensor(self.stages[0](x.mean((2, 4)).flatten(1)))

    skelzoo.register_arch("lab-stages", skelzoo.Arch(Stages, "head.", ""))
    net = skelzoo.create("lab-stages", layout="kinect20", num_classes=3)
    encoder, clips = skelzoo.Encoder(net, ModelConfig("lab-stages", {}, CONTRACT, 3, ("a", "b", "c")), "mine", device="cpu"), [make_clip(i) for i in range(6)]
    for count in (0, 1):
        with pytest.raises(TrainingError, match=f"freeze is {count}, and the net has no blocks.*called blocks, layers or encoders"):
            finetune(encoder, clips, list("abcabc"), validation=0, options=FinetuneOptions(epochs=1, freeze=count))
    tuned = finetune(encoder, clips, list("abcabc"), validation=0, options=FinetuneOptions(epochs=1, freeze="body")).encoder
    assert torch.equal(tuned.net.state_dict()["stages.0.weight"], net.state_dict()["stages.0.weight"])
