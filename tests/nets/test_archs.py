"""Every architecture on every 3-D layout: the three calls, the features, gradients, and what cannot be built."""

from __future__ import annotations

import copy
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import OPTIONS, SMALL, UNUSED, randomise
from torch import Tensor, nn

from skelzoo import create, get_layout, list_layouts
from skelzoo.errors import CheckpointError, LayoutError, UnknownArchError
from skelzoo.nets.archs import ARCHS
from skelzoo.nets.fused import has_form
from skelzoo.nets.pooling import Pooling

LAYOUTS = [n for n in list_layouts() if get_layout(n).dimensions == 3]
VARIANTS: dict[str, list[dict[str, Any]]] = {
    "skeattnclr-stgcn": [
        {},
        {"fast": True},
        {"pool_segments": 3, "pool_groups": "parts", "embed_segments": 3, "embed_groups": "parts"},
        {"projector_dim": 5, "sharpness": 1},
    ],
    "skeattnclr-stgcn-3s": [{}, {"weights": [1, 0.2, 0.2]}],
    "skeattnclr-bigru": [{}, {"projector_dim": 5}],
    "skeattnclr-dsta": [{}, {"num_subsets": 2}],
    "psp": [{}, {"pyramid": False}, {"streams": 1}, {"temporal": "attention"}, {"spatial": "conv"}],
    "psp-ensemble": [{}, {"members": 3}],
    "stgcn": [{}, {"graph": "agcn"}, {"fast": True}],
    "skeletonmae-strl": [{}, {"share_persons": True}, {"share_layers": True, "torso_links": False}, {"hidden_dim": 12, "act": "relu"}],
}
CHANNELS = {"skeattnclr-stgcn-3s": 9, "psp": 6, "psp-ensemble": 6}
"""Input channels where they are not 3."""

PERSONS_TOGETHER = {"skeattnclr-bigru"}
"""Nets that read a fixed number of persons as one vector."""

PERSONS = {"skeattnclr-bigru": (2,), "skeletonmae-strl": (1, 2)}
"""Nets that tell persons apart, and how many of them they take."""


def inputs(arch: str, layout: str = "kinect20", persons: int = 2, frames: int = 14) -> Tensor:
    return torch.randn(3, CHANNELS.get(arch, 3), frames, len(get_layout(layout)), persons, generator=torch.Generator().manual_seed(0))


def net_for(arch: str, layout: str = "kinect20", options: dict[str, Any] | None = None, num_classes: int = 4, channels: int = 0) -> nn.Module:
    torch.manual_seed(0)
    options = {**SMALL[arch], **(options or {})}
    return randomise(create(arch, layout=layout, num_classes=num_classes, in_channels=channels or CHANNELS.get(arch, 3), options=options))


@pytest.fixture(params=[(a, v) for a in ARCHS for v in VARIANTS[a]], ids=lambda p: "-".join([p[0], *p[1]]))
def variant(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return request.param


@pytest.mark.parametrize("arch", ARCHS)
def test_clips_of_another_shape_or_type_are_refused(arch: str) -> None:
    net, x = net_for(arch).eval(), inputs(arch)
    for call in (net, net.forward_features, net.features):
        for wrong in (x[:, :, :, :-1], x[:, :-1], torch.cat([x, x], 1), x[..., 0], x.transpose(2, 3), x[:0], x[:, :, :0], x[..., :0]):
            with pytest.raises(ValueError, match=re.escape(f"this net reads (N, {x.shape[1]}, T, 20, M), got {tuple(wrong.shape)}")):
                call(wrong)
        for given in (x.numpy(), [x], None):
            with pytest.raises(ValueError, match=f"this net reads a tensor, got {type(given).__name__}.*Encoder.embed"):
                call(given)
        for wrong in (x.double(), x.bfloat16(), x.long()):
            with pytest.raises(ValueError, match=rf"this net computes in torch\.float32, got clips of {wrong.dtype}\. Give x\.to\(torch\.float32\)"):
                call(wrong)
    with torch.autocast("cpu", torch.bfloat16):
        assert net(x.bfloat16()).shape == net(x).shape == (3, 4)
    assert net(x).shape == net.double()(x.double()).shape == (3, 4)


@pytest.mark.parametrize("layout", ["ntu25", "coco17"])
def test_by_default_nets_read_their_papers_streams_of_the_layouts_coordinates(variant: tuple[str, dict[str, Any]], layout: str) -> None:
    arch, options = variant
    streams = 1 if options.get("streams") == 1 else CHANNELS.get(arch, 3) // 3
    channels, settings = get_layout(layout).dimensions * streams, {**SMALL[arch], **options}
    net, same = (create(arch, layout=layout, num_classes=4, in_channels=c, options=settings) for c in (None, channels))
    assert {k: v.shape for k, v in net.state_dict().items()} == {k: v.shape for k, v in same.state_dict().items()}
    assert net(torch.randn(2, channels, 24, len(get_layout(layout)), 2)).shape == (2, 4)


def test_small_options_are_known_for_every_arch() -> None:
    assert set(SMALL) == set(VARIANTS) == set(ARCHS), "SMALL of tests/tiny.py and VARIANTS have a row of every arch"


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("arch", ARCHS)
def test_forward_is_the_head_of_the_features(arch: str, layout: str) -> None:
    net, x = net_for(arch, layout).eval(), inputs(arch, layout)
    with torch.inference_mode():
        z = net.forward_features(x)
        assert z.shape == (3, net.embedding_dim) and z.dtype == torch.float32
        assert net(x).shape == (3, 4) and torch.equal(net(x), net.forward_head(z))
        assert (z - z[0]).abs().max() > 1e-6


def test_features_have_the_names_and_shapes_they_are_documented_with(variant: tuple[str, dict[str, Any]]) -> None:
    arch, options = variant
    net, x = net_for(arch, options=options).eval(), inputs(arch)
    with torch.inference_mode():
        features = net.features(x)
        assert tuple(features) == net.feature_names
        assert torch.equal(features["pooled"], net.forward_features(x))
    for name, tensor in features.items():
        assert tensor.shape[0] == 3 and tensor.isfinite().all(), name
        if tensor.ndim == 5:
            assert tensor.shape[3:] == ((1, 1) if arch in PERSONS_TOGETHER else (20, 2)), name
        else:
            assert tensor.ndim == 2, name


@pytest.mark.parametrize("variant", [(a, v) for a in ("skeattnclr-stgcn", "skeattnclr-bigru", "skeattnclr-dsta") for v in VARIANTS[a]])
def test_salient_and_non_salient_sum_to_the_pooled_vector(variant: tuple[str, dict[str, Any]]) -> None:
    net = net_for(variant[0], options=variant[1]).eval()
    with torch.inference_mode():
        f = net.features(inputs(variant[0]))
    torch.testing.assert_close(f["salient"] + f["non_salient"], f["pooled"], atol=1e-6, rtol=1e-5)
    assert f["attention_mask"].min() > 0 and f["attention_mask"].max() < 1 and f["attention_mask"].shape == f["feature_map"].shape
    assert (f["salient"] - f["non_salient"]).abs().max() > 1e-4


def test_the_mask_says_which_part_of_the_feature_map_is_salient() -> None:
    """The paper's pooling, from the outputs alone: mean over frames, joints and persons of map times mask."""
    with torch.inference_mode():
        f = net_for("skeattnclr-stgcn").eval().features(inputs("skeattnclr-stgcn"))
    torch.testing.assert_close((f["feature_map"] * f["attention_mask"]).mean((2, 3, 4)), f["salient"], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(f["feature_map"].mean((2, 3, 4)), f["pooled"], atol=1e-6, rtol=1e-5)


def test_segments_and_parts_are_pooled_apart() -> None:
    layout = get_layout("kinect20")
    net = net_for("skeattnclr-stgcn", options={"pool_segments": 3, "pool_groups": "parts", "embed_segments": 3, "embed_groups": "parts"}).eval()
    with torch.inference_mode():
        f = net.features(inputs("skeattnclr-stgcn", frames=24))
    assert f["feature_map"].shape[2] == 6
    expected = [f["feature_map"][:, :, s : s + 2, list(part)].mean((2, 3, 4)) for s in (0, 2, 4) for part in layout.part_indices]
    torch.testing.assert_close(f["pooled"], torch.cat(expected, 1), atol=1e-6, rtol=1e-5)


def test_the_vector_may_hold_statistics_of_several_blocks() -> None:
    """Mean, deviation and maximum over time of each subpart's mean, block after block, mean over persons; the contrast's vector stays plain."""
    layout = get_layout("kinect20")
    options = {"embed_blocks": [3, 9], "embed_groups": "subparts", "embed_statistics": ["mean", "std", "max"], "embed_segments": 2}
    net, x = net_for("skeattnclr-stgcn", options=options).eval(), inputs("skeattnclr-stgcn", frames=16)
    expected = []
    with torch.inference_mode():
        f, z = net.features(x), net.forward_features(x)
        for block in (f["block3"], f["block9"]):
            half = block.shape[2] // 2
            for stretch in (block[:, :, :half], block[:, :, half:]):
                for subpart in layout.subpart_indices:
                    tracks = stretch[:, :, :, list(subpart)].mean(3)
                    expected += [tracks.mean(2), tracks.std(2, correction=0), tracks.max(2).values]
        torch.testing.assert_close(z, torch.cat([e.mean(2) for e in expected], 1), atol=2e-4, rtol=1e-4)
        assert z.shape == (3, net.embedding_dim) and f["pooled"].shape == (3, 16)
        torch.testing.assert_close(f["pooled"], f["feature_map"].mean((2, 3, 4)), atol=1e-6, rtol=1e-5)
    z = net.train().forward_features(torch.zeros_like(x))
    z.sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in net.parameters()), "a clip at rest has no deviation and no gradient of it"


@pytest.mark.parametrize("path", [0, 4])
@pytest.mark.parametrize("arch", ["skeattnclr-stgcn", "psp", "skeletonmae-strl"])
def test_the_vector_may_end_with_statistics_of_joints_and_limbs(arch: str, path: int) -> None:
    """Per joint mean, deviation, maximum and minimum over time of a stream's first channels, and of their difference from the parent; mean over persons.

    And, twice as large, means over equal stretches of time.
    """
    layout, x = get_layout("kinect20"), inputs(arch, frames=16)
    net, plain = (net_for(arch, options=options).eval() for options in ({"embed_input": 2, "embed_path": path}, {}))
    plain.load_state_dict({k: v for k, v in net.state_dict().items() if not k.startswith("head.")}, strict=False)
    streams, tails = getattr(net, "streams", 1), []
    for stream in x.chunk(streams, 1):
        joints = stream[:, :2]
        tracks = torch.cat([joints, joints - joints[:, :, :, [p if p >= 0 else i for i, p in enumerate(layout.parents)]]], 1)
        statistics = torch.stack([tracks.mean(2), tracks.std(2, correction=0), tracks.amax(2), tracks.amin(2)], 1).mean(-1)  # (N, 4, 2 * 2, V)
        places = [2 * part.mean((2, 4)).transpose(1, 2).flatten(1) for part in (joints.chunk(path, 2) if path else ())]  # (N, V * 2) each
        tails.append(torch.cat([statistics.permute(0, 3, 1, 2).flatten(1), *places], 1))
    with torch.inference_mode():
        z, features = net.forward_features(x), plain.forward_features(x)
        pooled = net.features(x)["pooled"]
    assert z.shape == (3, net.embedding_dim) and net.embedding_dim == plain.embedding_dim + streams * 2 * (2 * 4 + path) * 20
    expected = torch.cat([part for pair in zip(features.chunk(streams, 1), tails, strict=True) for part in pair], 1)
    torch.testing.assert_close(z, expected, atol=2e-4, rtol=1e-4)
    if arch != "skeattnclr-stgcn":  # whose pooled feature is the contrast's
        torch.testing.assert_close(pooled, z)


@pytest.mark.parametrize("arch", ["skeattnclr-stgcn", "psp", "skeletonmae-strl"])
def test_statistics_of_more_channels_than_there_are_are_refused(arch: str) -> None:
    for channels in (4, -1):
        with pytest.raises(CheckpointError, match=f"embed_input is {channels}, .* has 3 channels; give 0 to 3"):
            net_for(arch, options={"embed_input": channels})
    for path, channels in ((-1, 2), (4, 0)):
        with pytest.raises(CheckpointError, match=f"embed_path is {path} with an embed_input of {channels}; give a whole number"):
            net_for(arch, options={"embed_input": channels, "embed_path": path})


@pytest.mark.parametrize("frames", [1, 2, 3, 4, 5, 7])
@pytest.mark.parametrize("segments", [1, 2, 3, 4, 7])
def test_segments_of_short_clips_are_never_empty(segments: int, frames: int) -> None:
    tokens = torch.randn(2, frames * 5, 3)
    pooled = Pooling(segments, [[0, 1], [2, 3, 4]])(tokens, 5, 1)
    assert pooled.shape == (2, segments * 2 * 3) and pooled.isfinite().all()


@pytest.mark.parametrize("persons", [1, 2, 3])
@pytest.mark.parametrize("frames", [1, 5, 16])
def test_any_number_of_frames_and_persons(variant: tuple[str, dict[str, Any]], frames: int, persons: int) -> None:
    if persons not in PERSONS.get(variant[0], (persons,)):
        with pytest.raises(ValueError, match=f"{persons} persons"):
            net_for(variant[0], options=variant[1])(inputs(variant[0], persons=persons, frames=frames))
        return
    with torch.inference_mode():
        out = net_for(variant[0], options=variant[1]).eval()(inputs(variant[0], persons=persons, frames=frames))
    assert out.shape == (3, 4) and out.isfinite().all()


def test_the_order_of_persons_does_not_matter_and_clips_do_not_mix(variant: tuple[str, dict[str, Any]]) -> None:
    net, x = net_for(variant[0], options=variant[1]).eval(), inputs(variant[0])
    with torch.inference_mode():
        if variant[0] not in PERSONS:
            torch.testing.assert_close(net(x.flip(-1)), net(x), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(torch.cat([net(clip[None]) for clip in x]), net(x), atol=1e-5, rtol=1e-5)


def test_backward_reaches_every_parameter_that_classification_uses(variant: tuple[str, dict[str, Any]]) -> None:
    net, unused = net_for(variant[0], options=variant[1]), UNUSED.get(variant[0].split("-")[0], "")
    # Batch statistics cancel the biases before a BatchNorm; running ones let activations grow until a tanh is flat.
    for mode in (True, False):
        (net.train(mode)(inputs(variant[0])) * torch.randn(3, 4)).sum().backward()
    without = {n for n, p in net.named_parameters() if p.grad is None or not p.grad.any()}
    assert without == {n for n, _ in net.named_parameters() if re.fullmatch(unused, n)}


def test_a_net_without_a_head(variant: tuple[str, dict[str, Any]]) -> None:
    arch, options = variant
    net, x = net_for(arch, num_classes=0, options=options).eval(), inputs(arch)
    assert net(x).shape == (3, 0) and not [k for k in net.state_dict() if k.startswith(ARCHS[arch].head)]
    assert [k for k in net_for(arch, options=options).state_dict() if k.startswith(ARCHS[arch].head)]


def test_more_channels(variant: tuple[str, dict[str, Any]]) -> None:
    x = inputs(variant[0])
    net = net_for(variant[0], options=variant[1], channels=2 * x.shape[1]).eval()
    assert net(torch.cat([x, -x], 1)).shape == (3, 4)


def test_create_is_random_but_seeded() -> None:
    one, same, other = (net_for("skeattnclr-stgcn").state_dict() for _ in range(3))
    torch.manual_seed(1)
    other = create("skeattnclr-stgcn", layout="kinect20", options=OPTIONS).state_dict()
    assert all(torch.equal(one[k], same[k]) for k in one) and not torch.equal(
        one["backbone.blocks.0.graph_conv.weight"], other["backbone.blocks.0.graph_conv.weight"]
    )


def saved(net: nn.Module, path: Path) -> nn.Module:
    torch.save(net, path)
    return torch.load(path, weights_only=False)


@pytest.mark.parametrize(
    "copied", [lambda net, path: copy.deepcopy(net), lambda net, path: pickle.loads(pickle.dumps(net)), saved], ids=["copy", "pickle", "save"]
)
@pytest.mark.parametrize("arch", ARCHS)
def test_nets_are_copied_pickled_and_saved_whole(arch: str, copied: Callable[[nn.Module, Path], nn.Module], tmp_path: Path) -> None:
    net, x = net_for(arch).eval(), inputs(arch)
    twin = copied(net, tmp_path / "net.pt")
    with torch.inference_mode():
        assert torch.equal(twin(x), net(x)) and has_form(twin) == has_form(net)


def test_unknown_arch_comes_with_near_names() -> None:
    with pytest.raises(UnknownArchError, match=r"'skeattnclr'.*Did you mean skeattnclr-"):
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
        ({"pool_groups": "hands"}, "cannot be built.*known are all, parts"),
        ({"embed_blocks": []}, "cannot be built.*0 to 9"),
        ({"embed_blocks": [10]}, "cannot be built.*0 to 9"),
        ({"embed_statistics": ["median"]}, "cannot be built.*mean, std, max"),
        ({"embed_statistics": "mean"}, "options embed_statistics"),
        ({"dropout": 1.5}, "cannot be built"),
    ],
)
def test_options_that_do_not_fit(options: dict[str, Any], says: str) -> None:
    with pytest.raises(CheckpointError, match=says):
        create("skeattnclr-stgcn", layout="kinect20", num_classes=2, options={**OPTIONS, **options})


@pytest.mark.parametrize(
    ("arch", "options", "channels", "says"),
    [
        ("skeattnclr-dsta", {"blocks": [[4, 8, 2]]}, 3, "cannot be built.*stride"),
        ("skeattnclr-dsta", {"blocks": [[4, 8, 2, 1], [4, 8, 2, 1]]}, 3, "cannot be built.*input channels"),
        ("skeattnclr-dsta", {"blocks": [[3, 8, 2, 1]]}, 3, "cannot be built.*even"),
        ("skeattnclr-dsta", {"blocks": []}, 3, "cannot be built"),
        ("skeattnclr-dsta", {"blocks": [[4, "8", 2, 1]]}, 3, "options blocks"),
        ("skeattnclr-dsta", {"blocks": 8}, 3, "options blocks"),
        ("skeattnclr-dsta", {"num_subsets": 0}, 3, "cannot be built"),
        ("skeattnclr-bigru", {"num_layers": 0}, 3, "cannot be built"),
        ("skeattnclr-stgcn-3s", {"weights": [1, 1]}, 9, "cannot be built.*joint, bone, motion"),
        ("skeattnclr-stgcn-3s", {}, 3, None),
        ("skeattnclr-stgcn-3s", {}, 4, "cannot be built.*joint, bone, motion"),
    ],
)
def test_other_options_that_do_not_fit(arch: str, options: dict[str, Any], channels: int, says: str | None) -> None:
    if says is None:  # three streams of one channel each: unusual, not wrong
        assert create(arch, layout="kinect20", in_channels=channels, options={**SMALL[arch], **options}).embedding_dim == 48
        return
    with pytest.raises(CheckpointError, match=says):
        create(arch, layout="kinect20", in_channels=channels, options={**SMALL[arch], **options})


def test_ensemble_is_its_members_side_by_side_with_weighted_scores() -> None:
    net, x = net_for("skeattnclr-stgcn-3s", options={"weights": [1.0, 0.2, 0.3]}).eval(), inputs("skeattnclr-stgcn-3s")
    with torch.inference_mode():
        vectors = [net.members[s].forward_features(x[:, 3 * i : 3 * i + 3]) for i, s in enumerate(("joint", "bone", "motion"))]
        scores = [net.heads[s](z) for s, z in zip(("joint", "bone", "motion"), vectors, strict=True)]
        torch.testing.assert_close(net.forward_features(x), torch.cat(vectors, 1))
        torch.testing.assert_close(net(x), scores[0] + 0.2 * scores[1] + 0.3 * scores[2])


def test_members_of_an_ensemble_read_the_same_clips_and_share_one_head() -> None:
    net, x = net_for("psp-ensemble", options={"members": 3}).eval(), inputs("psp-ensemble")
    with torch.inference_mode():
        vectors = [member.forward_features(x) for member in net.members.values()]
        torch.testing.assert_close(net.forward_features(x), torch.cat(vectors, 1))
        torch.testing.assert_close(net(x), net.head(torch.cat(vectors, 1)))
    assert len(vectors) == 3 and (vectors[0] - vectors[1]).abs().max() > 0.1
    with pytest.raises(CheckpointError, match="at least 2 members, not 1"):
        create("psp-ensemble", layout="kinect20", in_channels=6, options={**SMALL["psp"], "members": 1})


def test_untrained_dsta_of_the_papers_size_does_not_overflow() -> None:
    torch.manual_seed(0)
    net = create("skeattnclr-dsta", layout="ntu25", in_channels=3).eval()
    with torch.inference_mode():
        z = net.forward_features(inputs("skeattnclr-dsta", "ntu25", persons=1, frames=8))
    assert z.isfinite().all() and (z[0] - z[1]).abs().max() > 0.01 * z.abs().max()


def test_attention_over_frames_says_how_many_it_was_built_for() -> None:
    with pytest.raises(ValueError, match="25 frames, this DSTA-Net was built for at most 24"):
        net_for("skeattnclr-dsta")(inputs("skeattnclr-dsta", frames=25))
    with pytest.raises(ValueError, match="14 frames, this DSTA-Net was built for exactly 24"):
        net_for("skeattnclr-dsta", options={"global_temporal": True})(inputs("skeattnclr-dsta"))


def test_both_directions_of_the_bigru_run_forward_in_time() -> None:
    """A change of the last frame reaches only the last step of every layer."""
    net, x = net_for("skeattnclr-bigru").eval(), inputs("skeattnclr-bigru")
    changed = x.clone()
    changed[:, :, -1] += 1
    with torch.inference_mode():
        for before, after in zip(net.backbone(x), net.backbone(changed), strict=True):
            assert torch.equal(before[:, :, :-1], after[:, :, :-1]) and not torch.equal(before[:, :, -1], after[:, :, -1])
