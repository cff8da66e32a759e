"""The fused forms: equal to the nets they are made of, with absent persons, in micro-batches, and never where they would not be."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from one_device import one_device
from test_archs import VARIANTS, inputs, net_for
from tiny import WITHOUT_FORM
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

import skelzoo.nets.fused
from skelzoo.nets.archs import ARCHS
from skelzoo.nets.folding import KEPT, LAYS_OUT, Kept
from skelzoo.nets.fused import PersonWise, fuse

MORE: dict[str, list[dict[str, Any]]] = {
    "skeattnclr-stgcn": [
        {"embed_blocks": [3, 9], "embed_groups": "subparts", "embed_statistics": ["mean", "std", "max"], "embed_segments": 2},
        {"embed_input": 2, "embed_path": 3},
    ],
    "skeattnclr-dsta": [{"global_temporal": True, "num_frames": 14}],
    "psp": [
        {"attend_spatial": False, "code_temporal": False},
        {"temporal": "attention", "attend_temporal": False, "global_temporal": True, "num_frames": 14},
        {"temporal": "attention", "code_temporal": False},
        {"global_spatial": False, "code_spatial": False, "embed_blocks": [-1, 0], "embed_groups": "parts"},
        {"embed_input": 2, "embed_path": 3},
    ],
    "skeletonmae-strl": [{"embed_layers": [1, 0], "embed_groups": "parts", "embed_statistics": ["mean", "max"]}, {"embed_input": 2, "embed_path": 3}],
}
EVERY = [(arch, options) for arch in ARCHS for options in VARIANTS[arch] + MORE.get(arch, [])]
FUSED = [arch for arch in ARCHS if arch not in WITHOUT_FORM]


@pytest.fixture(autouse=True)
def without_gradients() -> Any:
    with torch.no_grad():
        yield


def clips_with_absent_persons(arch: str) -> Tensor:
    """The second person of the first clip, both of the second and none of the third are absent."""
    x = inputs(arch)
    x[0, ..., 1] = 0
    x[1] = 0
    return x


def person_wise(form: nn.Module) -> list[PersonWise]:
    return [module for module in form.modules() if isinstance(module, PersonWise)]


def watch(form: nn.Module) -> list[int]:
    """How many persons each call computes."""
    calls: list[int] = []
    for module in person_wise(form):
        for net in module.persons:
            net.register_forward_pre_hook(lambda _, args: calls.append(len(args[0])))
    return calls


@pytest.mark.parametrize(("arch", "options"), EVERY, ids=lambda p: p if isinstance(p, str) else "-".join(p))
def test_the_fused_form_gives_what_the_net_gives(arch: str, options: dict[str, Any]) -> None:
    net, x = net_for(arch, options=options).eval(), inputs(arch)
    form, expected = fuse(net), net.forward_features(x)
    assert (form is net) == (arch in WITHOUT_FORM), "WITHOUT_FORM of tests/tiny.py names the archs without a fused form"
    assert (form.forward_features(x) - expected).abs().max() <= 1e-4 * expected.abs().max()
    # In double precision rounding hides nothing, also not of persons that are not there.
    net, x = net.double(), clips_with_absent_persons(arch).double()
    expected = net.forward_features(x)
    assert (fuse(net).forward_features(x) - expected).abs().max() <= 1e-9 * expected.abs().max()


@pytest.mark.parametrize("arch", FUSED)
def test_absent_persons_are_computed_once(arch: str) -> None:
    net, x = net_for(arch).eval(), clips_with_absent_persons(arch)
    form, expected = fuse(net), net.forward_features(x)
    calls, separate, members = watch(form), arch == "skeletonmae-strl", len(person_wise(form))
    z = form.forward_features(x)
    assert (z - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert sum(calls) == members * (3 + (2 if separate else 1)), "three persons are there, and a zero one of each kind"
    calls.clear()
    assert torch.equal(form.forward_features(x), z) and sum(calls) == members * 3
    calls.clear()
    form.forward_features(x[1:2])
    assert not calls
    form.forward_features(x[1:2, :, :12])
    assert sum(calls) == members * (2 if separate else 1), "other T, other vector"


@pytest.mark.parametrize("arch", FUSED)
def test_micro_batches_change_nothing(arch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    form, x = fuse(net_for(arch).eval()), inputs(arch)
    expected, calls = form.forward_features(x), watch(form)
    monkeypatch.setattr(skelzoo.nets.fused, "TEMPORARY", 1)
    torch.testing.assert_close(form.forward_features(x), expected, atol=1e-5, rtol=1e-5)
    assert set(calls) == {1} and len(calls) == len(person_wise(form)) * 6


@pytest.mark.filterwarnings("ignore:TF32 acceleration")
@pytest.mark.parametrize("arch", FUSED)
def test_what_is_kept_for_a_shape_changes_nothing_and_stays_little(arch: str) -> None:
    """Not for other shapes, without oneDNN, nor in copies."""
    form, x = fuse(net_for(arch).eval()), inputs(arch)
    counts = [1, 2, 3, 2, 1]
    vectors = [form.forward_features(x[:n]) for n in counts]
    kept = [len(kept) for module in form.modules() for kept in vars(module).values() if isinstance(kept, Kept)]
    assert set(kept) <= {0, KEPT} and (not LAYS_OUT or KEPT in kept)
    for twin in (copy.deepcopy(form), pickle.loads(pickle.dumps(form))):
        assert not any(kept for module in twin.modules() for kept in vars(module).values() if isinstance(kept, Kept))
        assert torch.equal(twin.forward_features(x), vectors[2])
    with torch.backends.mkldnn.flags(enabled=False):
        for n, z in zip(counts, vectors, strict=True):
            assert (form.forward_features(x[:n]) - z).abs().max() <= 1e-5 * z.abs().max()


def test_gradients_reach_the_input_of_the_form() -> None:
    net, x = net_for("skeattnclr-stgcn").eval(), inputs("skeattnclr-stgcn")
    form = fuse(net)
    with torch.inference_mode():
        form.forward_features(x)
    gradients = []
    for each in (net, form):
        leaf = x.clone().requires_grad_()
        with torch.enable_grad():
            each.forward_features(leaf).square().sum().backward()
        gradients.append(leaf.grad)
    assert (gradients[1] - gradients[0]).abs().max() <= 1e-4 * gradients[0].abs().max()


@pytest.mark.parametrize("arch", FUSED)
def test_in_half_precision_the_form_is_about_as_near_as_the_net(arch: str) -> None:
    net, x = net_for(arch).eval(), inputs(arch)
    expected, net, x = net.forward_features(x), net.bfloat16(), x.bfloat16()
    plain, z = net.forward_features(x), fuse(net).forward_features(x)
    assert z.dtype == torch.bfloat16 and {p.dtype for p in net.parameters()} == {torch.bfloat16}
    # Weights rounded before and after folding: a little less near.
    assert 0 < (z - expected).norm() < 3 * (plain - expected).norm()


def test_fusing_leaves_the_net_as_it_was() -> None:
    for arch in FUSED:
        net = net_for(arch).train()
        state = {k: v.clone() for k, v in net.state_dict().items()}
        form = fuse(net)
        before = form.forward_features(inputs(arch))
        assert all(m.training for m in net.modules()) and all(p.requires_grad for p in net.parameters())
        assert all(torch.equal(v, state[k]) for k, v in net.state_dict().items())
        for p in net.parameters():
            p.add_(1)
        assert torch.equal(form.forward_features(inputs(arch)), before), "the form has weights of its own"


def test_nets_that_are_not_as_this_package_makes_them_stay_as_they_are() -> None:
    class Own(type(net_for("stgcn"))):  # type: ignore[misc]
        pass

    own = net_for("stgcn")
    own.__class__ = Own
    assert fuse(own) is own
    hooked = net_for("skeattnclr-stgcn")
    handle = hooked.backbone.blocks[2].register_forward_hook(lambda *_: None)
    assert fuse(hooked) is hooked
    handle.remove()
    assert fuse(hooked) is not hooked
    ensemble = net_for("skeattnclr-stgcn-3s")
    weight_norm(ensemble.members["bone"].backbone.blocks[1].temporal_conv)
    assert fuse(ensemble) is ensemble


def test_sizes_that_the_net_does_not_take() -> None:
    for arch, x, says in [
        ("skeattnclr-dsta", inputs("skeattnclr-dsta", frames=25), "25 frames, this DSTA-Net was built for at most 24"),
        ("skeletonmae-strl", inputs("skeletonmae-strl", frames=25), "25 frames"),
        ("skeletonmae-strl", inputs("skeletonmae-strl", persons=3), "3 persons"),
    ]:
        net = net_for(arch).eval()
        for form in (net, fuse(net)):
            with pytest.raises(ValueError, match=says):
                form.forward_features(x)


@pytest.mark.parametrize(("arch", "options"), EVERY, ids=lambda p: p if isinstance(p, str) else "-".join(p))
def test_everything_is_on_the_device_of_the_net(arch: str, options: dict[str, Any]) -> None:
    net, x = net_for(arch, options=options).eval().to("meta"), inputs(arch).to("meta")
    with one_device():
        expected = net.forward_features(x)
        found = fuse(net).forward_features(x)
        net.features(x)
    assert found.device.type == expected.device.type == "meta" and found.shape == expected.shape
