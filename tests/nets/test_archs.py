"""Every architecture on every 3-D layout: the three calls, the features, gradients, and what cannot be built."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny import OPTIONS, randomise
from torch import Tensor, nn

from skelzoo import create, get_layout, list_layouts
from skelzoo.errors import CheckpointError, LayoutError, UnknownArchError
from skelzoo.nets.archs import ARCHS
from skelzoo.nets.pooling import Pooling

LAYOUTS = [n for n in list_layouts() if get_layout(n).dimensions == 3]
SMALL: dict[str, dict[str, Any]] = {"skeattnclr-stgcn": OPTIONS}
VARIANTS: dict[str, list[dict[str, Any]]] = {
    "skeattnclr-stgcn": [{}, {"fast": True}, {"pool_segments": 3, "pool_parts": True}, {"projector_dim": 5, "sharpness": 1}]
}


def inputs(layout: str, persons: int = 2, frames: int = 14, channels: int = 3) -> Tensor:
    return torch.randn(3, channels, frames, len(get_layout(layout)), persons, generator=torch.Generator().manual_seed(0))


def net_for(arch: str, layout: str, **settings: Any) -> nn.Module:
    torch.manual_seed(0)
    options = {**SMALL[arch], **settings.pop("options", {})}
    return randomise(create(arch, layout=layout, num_classes=settings.pop("num_classes", 4), options=options, **settings))


@pytest.fixture(params=[(a, v) for a in ARCHS for v in VARIANTS[a]], ids=lambda p: "-".join([p[0], *p[1]]))
def variant(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return request.param


def test_small_options_are_known_for_every_arch() -> None:
    assert set(SMALL) == set(VARIANTS) == set(ARCHS)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("arch", ARCHS)
def test_forward_is_the_head_of_the_features(arch: str, layout: str) -> None:
    net, x = net_for(arch, layout).eval(), inputs(layout)
    with torch.inference_mode():
        z = net.forward_features(x)
        assert z.shape == (3, net.embedding_dim) and z.dtype == torch.float32
        assert net(x).shape == (3, 4) and torch.equal(net(x), net.forward_head(z))
        assert (z - z[0]).abs().max() > 1e-4


def test_features_have_the_names_and_shapes_they_are_documented_with(variant: tuple[str, dict[str, Any]]) -> None:
    arch, options = variant
    net, x = net_for(arch, "kinect20", options=options).eval(), inputs("kinect20")
    with torch.inference_mode():
        features = net.features(x)
        assert tuple(features) == net.feature_names
        assert torch.equal(features["pooled"], net.forward_features(x))
    for name, tensor in features.items():
        assert tensor.shape[0] == 3 and tensor.isfinite().all(), name
        if tensor.ndim == 5:
            assert tensor.shape[3:] == (20, 2), name
        else:
            assert tensor.ndim == 2, name


def test_salient_and_non_salient_sum_to_the_pooled_vector(variant: tuple[str, dict[str, Any]]) -> None:
    net = net_for(variant[0], "kinect20", options=variant[1]).eval()
    if "salient" not in net.feature_names:
        pytest.skip("a family without salience")
    with torch.inference_mode():
        f = net.features(inputs("kinect20"))
    torch.testing.assert_close(f["salient"] + f["non_salient"], f["pooled"], atol=1e-6, rtol=1e-5)
    assert f["attention_mask"].min() > 0 and f["attention_mask"].max() < 1 and f["attention_mask"].shape == f["feature_map"].shape
    assert (f["salient"] - f["non_salient"]).abs().max() > 1e-4


def test_the_mask_says_which_part_of_the_feature_map_is_salient() -> None:
    """The paper's pooling, from the outputs alone: mean over frames, joints and persons of map times mask."""
    with torch.inference_mode():
        f = net_for("skeattnclr-stgcn", "kinect20").eval().features(inputs("kinect20"))
    torch.testing.assert_close((f["feature_map"] * f["attention_mask"]).mean((2, 3, 4)), f["salient"], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(f["feature_map"].mean((2, 3, 4)), f["pooled"], atol=1e-6, rtol=1e-5)


def test_segments_and_parts_are_pooled_apart() -> None:
    layout = get_layout("kinect20")
    net = net_for("skeattnclr-stgcn", "kinect20", options={"pool_segments": 3, "pool_parts": True}).eval()
    with torch.inference_mode():
        f = net.features(inputs("kinect20", frames=24))
    assert f["feature_map"].shape[2] == 6
    expected = [f["feature_map"][:, :, s : s + 2, list(part)].mean((2, 3, 4)) for s in (0, 2, 4) for part in layout.part_indices]
    torch.testing.assert_close(f["pooled"], torch.cat(expected, 1), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("frames", [1, 2, 3, 4, 5, 7])
@pytest.mark.parametrize("segments", [1, 2, 3, 4, 7])
def test_segments_of_short_clips_are_never_empty(segments: int, frames: int) -> None:
    tokens = torch.randn(2, frames * 5, 3)
    pooled = Pooling(segments, [[0, 1], [2, 3, 4]])(tokens, 5, 1)
    assert pooled.shape == (2, segments * 2 * 3) and pooled.isfinite().all()


@pytest.mark.parametrize("persons", [1, 2, 3])
@pytest.mark.parametrize("frames", [1, 5, 16])
def test_any_number_of_frames_and_persons(variant: tuple[str, dict[str, Any]], frames: int, persons: int) -> None:
    with torch.inference_mode():
        out = net_for(variant[0], "kinect20", options=variant[1]).eval()(inputs("kinect20", persons, frames))
    assert out.shape == (3, 4) and out.isfinite().all()


def test_the_order_of_persons_does_not_matter_and_clips_do_not_mix(variant: tuple[str, dict[str, Any]]) -> None:
    net, x = net_for(variant[0], "kinect20", options=variant[1]).eval(), inputs("kinect20")
    with torch.inference_mode():
        torch.testing.assert_close(net(x.flip(-1)), net(x), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(torch.cat([net(clip[None]) for clip in x]), net(x), atol=1e-5, rtol=1e-5)


def test_backward_reaches_every_parameter_that_classification_uses(variant: tuple[str, dict[str, Any]]) -> None:
    net = net_for(variant[0], "kinect20", options=variant[1]).train()
    (net(inputs("kinect20")) * torch.randn(3, 4)).sum().backward()
    without = {n for n, p in net.named_parameters() if p.grad is None or not p.grad.any()}
    # The neck's attention and projector only serve the contrastive losses; pooling has no parameters.
    assert without == {n for n, _ in net.named_parameters() if n.startswith("neck.")}


def test_a_net_without_a_head(variant: tuple[str, dict[str, Any]]) -> None:
    arch, options = variant
    net, x = net_for(arch, "kinect20", num_classes=0, options=options).eval(), inputs("kinect20")
    assert net(x).shape == (3, 0) and not [k for k in net.state_dict() if k.startswith(ARCHS[arch].head)]
    assert [k for k in net_for(arch, "kinect20", options=options).state_dict() if k.startswith(ARCHS[arch].head)]


def test_more_channels(variant: tuple[str, dict[str, Any]]) -> None:
    net = net_for(variant[0], "kinect20", options=variant[1], in_channels=6).eval()
    assert net(inputs("kinect20", channels=6)).shape == (3, 4)


def test_create_is_random_but_seeded() -> None:
    one, same, other = (net_for("skeattnclr-stgcn", "kinect20").state_dict() for _ in range(3))
    torch.manual_seed(1)
    other = create("skeattnclr-stgcn", layout="kinect20", options=OPTIONS).state_dict()
    assert all(torch.equal(one[k], same[k]) for k in one) and not torch.equal(
        one["backbone.blocks.0.graph_conv.weight"], other["backbone.blocks.0.graph_conv.weight"]
    )


def test_unknown_arch_comes_with_near_names() -> None:
    with pytest.raises(UnknownArchError, match=r"'skeattnclr'.*Did you mean skeattnclr-stgcn"):
        create("skeattnclr", layout="kinect20")


def test_unknown_layout() -> None:
    with pytest.raises(LayoutError, match="Did you mean kinect20"):
        create("skeattnclr-stgcn", layout="kinect")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"depth": 3}, r"options depth are unknown.*hidden_channels=64"),
        ({"hidden_dim": "64"}, "options hidden_dim"),
        ({"heads": 2.0}, "options heads"),
        ({"fast": 1}, "options fast"),
        ({"parents": []}, "options parents"),
        ({"hidden_dim": 15, "heads": 2}, "cannot be built"),
        ({"hidden_dim": 0}, "cannot be built"),
        ({"heads": 0}, "cannot be built"),
        ({"hidden_channels": -4}, "cannot be built"),
        ({"pool_segments": 0}, "cannot be built"),
        ({"dropout": 1.5}, "cannot be built"),
    ],
)
def test_options_that_do_not_fit(options: dict[str, Any], says: str) -> None:
    with pytest.raises(CheckpointError, match=says):
        create("skeattnclr-stgcn", layout="kinect20", num_classes=2, options={**OPTIONS, **options})
