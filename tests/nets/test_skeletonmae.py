"""SkeletonMAE's graph autoencoder and STRL against the paper's formulas, computed anew from their weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from tiny import randomise
from torch import Tensor, nn

from skelzoo import create, get_layout, make_layout
from skelzoo.errors import CheckpointError
from skelzoo.nets.gin import GINEncoder, SkeletonMAE
from skelzoo.nets.graph import undirected_adjacency
from skelzoo.nets.strl import STRL

COCO = get_layout("coco17")
FIGURE_2 = [
    (0, 5), (0, 6), (5, 6), (5, 7), (7, 9), (6, 8), (8, 10), (5, 11), (6, 12), (11, 12), (11, 13), (13, 15), (12, 14), (14, 16),
    (0, 1), (0, 2), (1, 3), (2, 4),
]  # fmt: skip
"""Edges of the paper's figure 2, ears on the eyes."""

SIZES = {"dim": 8, "hidden_dim": 8, "num_layers": 2}


def net_for(**options: Any) -> STRL:
    torch.manual_seed(0)
    settings = {"dim": 8, "hidden_dim": 8, "encoder_layers": 2, "num_layers": 2, "num_frames": 6, **options}
    net = randomise(create("skeletonmae-strl", layout="coco17", in_channels=2, num_classes=3, options=settings)).eval()
    assert isinstance(net, STRL)
    return net


def autoencoder(**settings: Any) -> SkeletonMAE:
    net = randomise(SkeletonMAE(COCO, **{**SIZES, **settings})).eval()
    assert isinstance(net, SkeletonMAE)
    return net


def batch(persons: int = 2, frames: int = 6, seed: int = 0) -> Tensor:
    return torch.randn(3, 2, frames, 17, persons, generator=torch.Generator().manual_seed(seed))


def linear(state: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    """A 1x1 convolution on channels-last (..., C)."""
    y = x @ state[f"{name}.weight"].flatten(1).T
    return y + state[f"{name}.bias"] if f"{name}.bias" in state else y


def norm(state: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    s = {k: state[f"{name}.{k}"] for k in ("running_mean", "running_var", "weight", "bias")}
    return (x - s["running_mean"]) / (s["running_var"] + 1e-5).sqrt() * s["weight"] + s["bias"]


def gin(state: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    """One GIN layer on frames (..., V, C): the joint plus its neighbours, edge by edge."""

    def prelu(key: str, y: Tensor) -> Tensor:
        return torch.where(y > 0, y, state[f"{name}.mlp.{key}.weight"] * y)

    total = x.clone()
    for a, b in FIGURE_2:
        total[..., a, :] += x[..., b, :]
        total[..., b, :] += x[..., a, :]
    y = linear(state, f"{name}.mlp.3", prelu("2", norm(state, f"{name}.mlp.1", linear(state, f"{name}.mlp.0", total))))
    return prelu("5", norm(state, f"{name}.mlp.4", y)) if f"{name}.mlp.4.weight" in state else y


def encode(state: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    return gin(state, f"{name}.layers.1", gin(state, f"{name}.layers.0", x))


def test_the_graph_is_that_of_figure_2() -> None:
    expected = torch.zeros(17, 17)
    for a, b in FIGURE_2:
        expected[a, b] = expected[b, a] = 1
    assert torch.equal(undirected_adjacency(COCO), expected) and expected.sum() == 36
    plain = undirected_adjacency(COCO, links=False)
    assert (expected - plain).nonzero().tolist() == [[5, 6], [6, 5], [11, 12], [12, 11]]
    assert undirected_adjacency(get_layout("ntu25")).sum() == 48


def test_sizes_are_those_of_the_fact_sheet() -> None:
    def count(net: torch.nn.Module) -> int:
        return sum(p.numel() for p in net.parameters())

    net = create("skeletonmae-strl", layout="coco17", in_channels=2, num_classes=60)
    assert isinstance(net, STRL)
    assert [count(e) for of_layer in net.encoders for e in of_layer] == [25_734] * 6 and count(net.embedding) == 192  # type: ignore[attr-defined]
    mae = net.autoencoder()
    assert (count(mae.encoder), count(mae.embedding), count(mae.decoder), count(mae.to_decoder), mae.mask_token.shape) == (25_734, 192, 8_449, 4_096, (64,))
    assert not mae.mask_token.any() and mae.to_decoder.bias is None
    assert [count(layer) + 2 * 25_734 for layer in net.layers] == [66_892] * 3
    assert count(net) == 213_024
    assert count(GINEncoder(64, 512)) == 1_352_710


@pytest.mark.parametrize("remask", [True, False])
def test_the_autoencoder_is_that_of_the_paper(remask: bool) -> None:
    net, x = autoencoder(remask=remask), batch()[..., 0]
    masked = torch.rand(3, 6, 17) < 0.4
    state, frames = net.state_dict(), x.permute(0, 2, 3, 1)
    embedded = linear(state, "embedding", frames)
    hidden = linear(state, "to_decoder", encode(state, "encoder", torch.where(masked[..., None], state["mask_token"], embedded)))
    if remask:
        hidden[masked] = 0
    with torch.inference_mode():
        reconstruction, target = net(x, masked)
    torch.testing.assert_close(target.permute(0, 2, 3, 1), embedded, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(reconstruction.permute(0, 2, 3, 1), gin(state, "decoder", hidden), atol=1e-5, rtol=1e-5)


def test_masked_joints_are_not_seen_and_the_mask_token_is() -> None:
    net, x = autoencoder().train(), batch()[..., 0].requires_grad_()
    masked = torch.zeros(3, 6, 17, dtype=torch.bool)
    masked[:, :, [8, 10, 14, 16]] = True
    net(x, masked)[0].square().sum().backward()
    assert x.grad is not None and net.mask_token.grad is not None
    seen = x.grad.abs().sum((0, 1, 2)) > 0
    assert seen.tolist() == [v not in (8, 10, 14, 16) for v in range(17)] and net.mask_token.grad.abs().min() > 0


def test_frames_are_graphs_of_their_own() -> None:
    net, x = autoencoder(), batch()[..., 0]
    masked = torch.rand(3, 6, 17) < 0.4
    with torch.inference_mode():
        together, alone = net(x, masked)[0][1, :, 2], net(x[1:2, :, 2:3], masked[1:2, 2:3])[0][0, :, 0]
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=1e-5)


def temporal(state: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    """The four branches on (N, T, V, C), frame by frame."""

    def reduced(i: int) -> Tensor:
        return norm(state, f"{name}.branches.{i}.1", linear(state, f"{name}.branches.{i}.0", x))

    out, frames = [], x.shape[1]
    for i, dilation in ((0, 1), (1, 2)):
        y, weight = reduced(i).relu(), state[f"{name}.branches.{i}.3.weight"][..., 0]
        z = torch.zeros_like(y) + state[f"{name}.branches.{i}.3.bias"]
        for t in range(frames):
            for tap in range(5):
                source = t + (tap - 2) * dilation
                if 0 <= source < frames:
                    z[:, t] += y[:, source] @ weight[:, :, tap].T
        out.append(norm(state, f"{name}.branches.{i}.4", z))
    y = reduced(2).relu()
    out.append(norm(state, f"{name}.branches.2.4", torch.stack([y[:, max(t - 1, 0) : t + 2].amax(1) for t in range(frames)], 1)))
    return torch.cat([*out, reduced(3)], 3)


@pytest.mark.parametrize("options", [{}, {"share_persons": True}, {"share_layers": True}, {"hidden_dim": 12}], ids=str)
def test_strl_is_that_of_the_paper(options: dict[str, Any]) -> None:
    net, x = net_for(**options), batch()
    state, maps, people = net.state_dict(), [], []
    for p in range(2):
        h = linear(state, "embedding", x[..., p].permute(0, 2, 3, 1)) + state["position"][:, None]
        maps.append([h])
        for i in range(2):
            encoded = encode(state, f"encoders.{0 if options.get('share_layers') else i}.{0 if options.get('share_persons') else p}", h)
            pooled = encoded.sum(2, keepdim=True).expand(-1, -1, 17, -1)
            joined = linear(state, f"layers.{i}.skip", h) + (linear(state, f"layers.{i}.adapt", pooled) if "hidden_dim" in options else pooled)
            mixed = norm(state, f"layers.{i}.norm", linear(state, f"layers.{i}.mix", joined)).relu()
            h = (temporal(state, f"layers.{i}.temporal", mixed) + h).relu()
            maps[p] += [encoded, h] if i == 0 else [h]
        people.append(h.mean((1, 2)))
    z = torch.stack(people).mean(0)
    with torch.inference_mode():
        features = net.features(x)
        for name, ours in zip(("embedded", "encoded", "layer0", "layer1"), zip(*maps, strict=True), strict=True):
            torch.testing.assert_close(features[name], torch.stack(ours, -1).permute(0, 3, 1, 2, 4), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(net.forward_features(x), z, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(net(x), linear(state, "head.2", linear(state, "head.0", z).relu()), atol=1e-4, rtol=1e-4)


def test_the_vector_can_be_pooled_from_several_layers_parts_and_statistics() -> None:
    x, options = batch(), {"embed_layers": [0, -1], "embed_groups": "parts", "embed_statistics": ["mean", "std", "max"], "head": "linear"}
    net = net_for(**options)
    with torch.inference_mode():
        maps, z = net.features(x), net.forward_features(x)
        expected = []
        for name in ("layer0", "layer1"):
            for joints in COCO.part_indices:
                tracks = maps[name][:, :, :, list(joints)].mean(3)  # N D T M
                expected += [tracks.mean(2), tracks.std(2, correction=0), tracks.amax(2)]
        torch.testing.assert_close(z, torch.cat([e.mean(2) for e in expected], 1), atol=1e-4, rtol=1e-3)
        torch.testing.assert_close(maps["pooled"], z)
        assert z.shape == (3, net.embedding_dim) == (3, 2 * 5 * 3 * 8)
        torch.testing.assert_close(net(x), linear(net.state_dict(), "head", z), atol=1e-4, rtol=1e-4)


def test_layers_after_the_last_one_wanted_are_not_run() -> None:
    net = net_for(embed_layers=[0])
    with torch.inference_mode():
        before = net.forward_features(batch())
        net.layers[1].mix.weight.fill_(torch.nan)  # type: ignore[union-attr, operator]
        assert torch.equal(net.forward_features(batch()), before) and net.features(batch())["layer1"].isnan().all()


@pytest.mark.parametrize(("options", "layers", "persons"), [({}, 2, 2), ({"share_persons": True}, 2, 1), ({"share_layers": True, "num_persons": 3}, 1, 3)])
def test_a_pretrained_encoder_goes_into_every_copy(options: dict[str, Any], layers: int, persons: int) -> None:
    net = net_for(**options)
    mae = randomise(net.autoencoder(), seed=7)
    assert isinstance(mae, SkeletonMAE)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    net.load_encoder(mae.embedding.state_dict(), mae.encoder.state_dict())
    state, moved = net.state_dict(), set()
    for i in range(layers):
        for p in range(persons):
            for key, value in mae.encoder.state_dict().items():
                assert torch.equal(state[f"encoders.{i}.{p}.{key}"], value)
                moved.add(f"encoders.{i}.{p}.{key}")
    assert torch.equal(state["embedding.weight"], mae.embedding.weight) and torch.equal(state["embedding.bias"], mae.embedding.bias)
    assert {k for k in state if k.startswith("encoders.")} == moved
    assert all(torch.equal(state[k], before[k]) for k in state.keys() - moved - {"embedding.weight", "embedding.bias"})


def test_encoded_is_what_the_first_stage_trained_once_positions_are_zero() -> None:
    net, x = net_for(), batch()
    mae = net.autoencoder()
    net.load_encoder(mae.embedding.state_dict(), mae.encoder.state_dict())
    with torch.inference_mode():
        expected = [mae.eval().encoder(mae.embedding(x[..., m]), mae.neighbours) for m in range(2)]
        assert (net.features(x)["encoded"] - torch.stack(expected, -1)).abs().max() > 1e-3
        nn.init.zeros_(net.position)
        torch.testing.assert_close(net.features(x)["encoded"], torch.stack(expected, -1))


def test_persons_have_encoders_of_their_own_unless_they_share() -> None:
    x = batch()
    with torch.inference_mode():
        own, shared = net_for(), net_for(share_persons=True)
        assert (own(x.flip(4)) - own(x)).abs().max() > 1e-4
        torch.testing.assert_close(shared(x.flip(4)), shared(x), atol=1e-5, rtol=1e-5)
        more = net_for(num_persons=3)
        more.load_state_dict(own.state_dict(), strict=False)
        torch.testing.assert_close(more(x), own(x))


def test_the_position_embedding_is_one_vector_per_frame() -> None:
    net, x = net_for(), torch.zeros(1, 2, 4, 17, 2)
    with torch.inference_mode():
        embedded = net.features(x)["embedded"]
    expected = net.position[:4].detach() + net.embedding.bias.detach()
    torch.testing.assert_close(embedded, expected.T[None, :, :, None, None].expand(1, 8, 4, 17, 2))
    fresh = torch.cat([create("skeletonmae-strl", layout="coco17", in_channels=2).get_parameter("position") for _ in range(3)])
    assert 0.018 < fresh.std() < 0.022 and fresh.mean().abs() < 0.002


@pytest.mark.parametrize("shape", [(1, 2, 7, 17, 2), (1, 2, 6, 17, 3)])
def test_more_frames_or_persons_than_built_for(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=f"{shape[2]} frames and {shape[4]} persons, .* at most 6 and 2"):
        net_for()(torch.zeros(shape))


@pytest.mark.parametrize("options", [{}, {"share_persons": True}])
def test_export_for_any_batch_size(options: dict[str, Any]) -> None:
    net = net_for(**options)
    exported = torch.export.export(net, (batch(),), dynamic_shapes=({0: torch.export.Dim("clips", min=1)},)).module()
    for size in (1, 2, 3):
        torch.testing.assert_close(exported(batch()[:size]), net(batch())[:size], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"dim": 6},
        {"dim": 0},
        {"hidden_dim": 0},
        {"encoder_layers": 0},
        {"num_layers": 0},
        {"num_frames": 0},
        {"num_persons": 0},
        {"act": "gelu"},
        {"embed_layers": [3]},
        {"embed_layers": [-4]},
        {"embed_layers": []},
        {"embed_groups": "halves"},
        {"embed_statistics": ["median"]},
        {"head": "deep"},
    ],
    ids=str,
)
def test_sizes_that_cannot_be_built(options: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError, match="cannot be built"):
        create("skeletonmae-strl", layout="coco17", in_channels=2, options=options)


def test_links_of_a_layout_of_ones_own() -> None:
    chain = ["a", "b", "c"], [None, "a", "b"]
    looped, plain = make_layout("looped", *chain, links=[("a", "c")]), make_layout("chain", *chain)
    assert undirected_adjacency(looped).tolist() == [[0, 1, 1], [1, 0, 1], [1, 1, 0]]
    assert torch.equal(undirected_adjacency(looped, links=False), undirected_adjacency(plain))


def test_relu_instead_of_prelu() -> None:
    assert not [n for n, _ in net_for(act="relu").named_parameters() if n.endswith(("mlp.2.weight", "mlp.5.weight"))]
    with torch.inference_mode():
        encoded = net_for(act="relu").features(batch())["encoded"]
    assert encoded.min() == 0 and encoded.max() > 0
