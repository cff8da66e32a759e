"""SkeletonMAE pretraining: masks, loss and targets by the paper's formulas, no collapse, and a run through the loop."""

from __future__ import annotations

import csv
import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import CONTRACT, make_clip, randomise, write_corpus
from torch import Tensor

import skelzoo
from skelzoo import create, get_layout
from skelzoo.errors import TrainingError
from skelzoo.learn.cameras import film
from skelzoo.learn.held_out import DataOptions
from skelzoo.learn.pretrain.loop import Run, pretrain
from skelzoo.learn.pretrain.skeletonmae import SkeletonMAEOptions, SkeletonMAEPretraining
from skelzoo.learn.recipe import Optimiser, Recipe
from skelzoo.nets.strl import STRL

SMALL = {"dim": 8, "hidden_dim": 8, "encoder_layers": 2, "num_layers": 2, "num_frames": 16}
REGIONS = get_layout("coco17").region_indices


def method(options: dict[str, Any] | None = None, **changes: Any) -> SkeletonMAEPretraining:
    torch.manual_seed(0)
    net = create("skeletonmae-strl", layout="coco17", in_channels=2, options=SMALL if options is None else options)
    assert isinstance(net, STRL)
    return SkeletonMAEPretraining(net, SkeletonMAEOptions(**changes))


def bodies(clips: int = 8, frames: int = 4, seed: int = 0) -> Tensor:
    """People of one build who stand in different places and move every joint: (N, 2, T, 17, 1)."""
    draw = torch.Generator().manual_seed(seed)
    rest = torch.randn(1, 2, 1, 17, 1, generator=torch.Generator().manual_seed(1))
    place, pose = torch.randn(clips, 2, 1, 1, 1, generator=draw), torch.randn(clips, 2, frames, 17, 1, generator=draw)
    return 0.4 * rest + 0.3 * place + 0.15 * pose


def test_every_frame_of_every_person_who_is_there_is_a_graph() -> None:
    x = torch.cat([bodies(2), bodies(2, seed=1)], 4)
    x[0, :, 1, :, 0] = x[1, :, :, :, 1] = 0
    x[0, :, 2, 5:, 1] = 0
    kept = [(n, t, m) for n in range(2) for t in range(4) for m in range(2) if (n, t, m) != (0, 1, 0) and (n, m) != (1, 1)]
    graphs = method().graphs(x)
    assert graphs.shape == (len(kept), 2, 17) and torch.equal(graphs, torch.stack([x[n, :, t, :, m] for n, t, m in kept]))


def test_absent_people_stay_out_whatever_the_augmentations_and_the_noise_is_as_strong_as_said() -> None:
    x = torch.cat([bodies(60), torch.zeros(60, 2, 4, 17, 1)], 4)
    graphs, masked = method(augmentations=[{"op": "scale"}, {"op": "joint_offset", "sigma": 1}], noise=0.1).views(x)
    assert graphs.shape == (240, 2, 17) and masked.shape == (240, 17)
    (noisy, _), clean = method(noise=0.25).views(x), method().graphs(x)
    assert (noisy - clean).std() == pytest.approx(0.25, rel=0.05)
    scaled = (method(augmentations=[{"op": "scale", "amplitude": 0.5}]).views(x)[0] / clean).view(60, 4, 2, 17)
    assert torch.allclose(scaled, scaled[:, :1, :, :1].expand_as(scaled), atol=1e-4), "one draw per clip and axis"
    assert scaled[:, 0, 0, 0].std() > 0.1


def test_streams_are_computed_after_augmentation_and_some_graphs_are_taken() -> None:
    x = bodies(6)
    net = create("skeletonmae-strl", layout="coco17", in_channels=4, options=SMALL)
    assert isinstance(net, STRL)
    graphs, _ = SkeletonMAEPretraining(net, SkeletonMAEOptions(augmentations=[{"op": "reverse", "probability": 1.0}]), ("joint", "motion")).views(x)
    back = x.flip(2)[..., 0]
    motion = torch.cat([back[:, :, 1:] - back[:, :, :-1], torch.zeros_like(back[:, :, :1])], 2)
    every = torch.cat([back, motion], 1).transpose(1, 2).flatten(0, 1)
    assert torch.equal(graphs, every)
    some, masked = SkeletonMAEPretraining(net, SkeletonMAEOptions(graphs=10), ("joint", "motion")).views(x)
    rows = {row.numpy().tobytes() for row in some}
    assert len(some) == len(masked) == len(rows) == 10


@pytest.mark.parametrize(
    ("mask", "joints"), [({}, {8, 10, 14, 16}), ({"mask": ["head", "torso"]}, {0, 1, 2, 3, 4, 5, 6, 11, 12}), ({"mask": ["left_leg"]}, {13, 15})], ids=str
)
def test_a_fixed_mask(mask: dict[str, Any], joints: set[int]) -> None:
    masked = method(**mask).draw_masks(5)
    assert masked.dtype == torch.bool and masked.tolist() == [[v in joints for v in range(17)]] * 5


def test_random_regions_are_one_to_all_but_one_whole_region_per_graph() -> None:
    masked = method(mask="random_regions").draw_masks(3000)
    counts = []
    for row in masked:
        whole = [name for name, joints in REGIONS.items() if all(row[j] for j in joints)]
        assert int(row.sum()) == sum(len(REGIONS[name]) for name in whole)
        counts.append(len(whole))
    assert {k: counts.count(k) / 3000 for k in range(1, 6)} == {k: pytest.approx(0.2, abs=0.03) for k in range(1, 6)}
    # On average 3 of 6 regions, each as often as the others.
    assert all(float(masked[:, joints[0]].float().mean()) == pytest.approx(0.5, abs=0.04) for joints in REGIONS.values())


@pytest.mark.parametrize(("ratio", "count"), [(0.3, 5), (0.5, 9), (0.7, 12), (0.9, 15), (0.99, 16), (0.01, 1)])
def test_random_joints(ratio: float, count: int) -> None:
    masked = method(mask="random_joints", ratio=ratio).draw_masks(500)
    assert (masked.sum(1) == count).all() and masked.any(0).all() and not masked.all(0).any()


def expected_loss(reconstruction: Tensor, target: Tensor, masked: Tensor, beta: float, literal: bool) -> float:
    """The formulas of docs/skeletonmae.md with loops over graphs and masked joints; tensors (G, D, V)."""
    per_graph = []
    for graph in range(len(masked)):
        cosines = []
        for v in (v for v in range(17) if masked[graph, v]):
            a, b = reconstruction[graph, :, v].double(), target[graph, :, v].double()
            cosines.append(float((a * b).sum() / (a.norm() * b.norm())))
        per_graph.append(cosines)
    if literal:
        return sum(sum((1 / len(c) - x / len(c)) ** beta for x in c) for c in per_graph) / len(per_graph)
    everything = [x for c in per_graph for x in c]
    return sum((1 - x) ** beta for x in everything) / len(everything)


@pytest.mark.parametrize("mask", [["right_arm", "right_leg"], "random_regions"], ids=str)
@pytest.mark.parametrize("literal", [False, True])
@pytest.mark.parametrize(("target", "beta"), [("embedding", 2), ("coords", 1.5), ("embedding_frozen", 3)])
def test_the_loss_is_that_of_masked_joints_alone(mask: Any, literal: bool, target: str, beta: float) -> None:
    train = method(mask=mask, literal=literal, target=target, beta=beta).eval()
    randomise(train.autoencoder)
    graphs = train.graphs(bodies())
    masked = train.draw_masks(len(graphs))
    with torch.no_grad():
        found = train.losses(graphs, masked)
        reconstruction, embedded = (y[0].transpose(0, 1) for y in train.autoencoder(graphs.transpose(0, 1)[None], masked[None]))
    goal = graphs if target == "coords" else embedded
    assert reconstruction.shape == goal.shape
    assert float(found.total) == pytest.approx(expected_loss(reconstruction, goal, masked, beta, literal), rel=1e-4)
    every = expected_loss(reconstruction, goal, torch.ones_like(masked), beta, literal)
    assert abs(float(found.total) - every) > 1e-3 * every, "negative control: all joints"


def test_what_the_log_shows() -> None:
    train = method().eval()
    graphs, masked = train.graphs(bodies(64)), train.draw_masks(256)
    with torch.no_grad():
        found = train.losses(graphs, masked)
        reconstruction, embedded = (y[0].transpose(0, 1) for y in train.autoencoder(graphs.transpose(0, 1)[None], masked[None]))
    cosine = torch.cosine_similarity(reconstruction, embedded, dim=1)
    assert float(found.cosine) == pytest.approx(float(cosine[masked].mean()), abs=1e-5)
    nodes = torch.nn.functional.normalize(embedded.transpose(1, 2).flatten(0, 1), dim=1)
    assert float(found.spread) == pytest.approx(float((nodes @ nodes.T).std()), rel=0.05)


def test_the_target_passes_gradients_only_where_said() -> None:
    """The loss sees masked joints through its target alone."""
    grads = {}
    for target in ("embedding", "embedding_literal", "embedding_frozen", "coords"):
        train = method(mask=["torso"], target=target)
        graphs = train.graphs(bodies()).requires_grad_()
        train.losses(graphs, train.draw_masks(len(graphs))).total.backward()
        assert graphs.grad is not None
        grads[target] = graphs.grad[:, :, list(REGIONS["torso"])]
        assert (train.autoencoder.embedding.weight.grad is None) == (target == "embedding_frozen")
    assert not grads["embedding"].any() and not grads["embedding_frozen"].any()
    assert grads["embedding_literal"].any() and grads["coords"].any()


def spread_after(target: str, steps: int = 200) -> float:
    """Collapse monitor after some steps with the paper's sizes, as a share of that before."""
    train = method({}, target=target)
    optimiser, spreads = torch.optim.Adam([p for p in train.autoencoder.parameters() if p.requires_grad], lr=1e-2), []
    for step in range(steps):
        losses = train(*train.views(bodies(seed=step)))
        optimiser.zero_grad()
        losses.total.backward()
        optimiser.step()
        spreads.append(float(losses.spread))
    return spreads[-1] / spreads[0]


def test_the_targets_do_not_collapse() -> None:
    assert spread_after("embedding") > 0.8


@pytest.mark.slow
def test_the_targets_collapse_where_gradients_flow_into_them() -> None:
    """Negative control, and why the paper's formula is not taken literally (facts/skeletonmae.md, section 10.1)."""
    assert spread_after("embedding_literal") < 0.5


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"mask": ["right_arm", "tail"]}, "'tail'.* regions head, torso, left_arm, right_arm, left_leg, right_leg"),
        ({"mask": list(REGIONS)}, "some but not all"),
        ({"mask": []}, "random_regions, random_joints, or a list"),
        ({"mask": "right_arm"}, "mask 'right_arm'"),
        ({"target": "pixels"}, "target is 'pixels'. Give one of embedding, embedding_frozen, embedding_literal, coords"),
        ({"ratio": 1.0}, "ratio is 1.0. Give a number above 0 and below 1"),
        ({"beta": 0.5}, "beta is 0.5"),
        ({"noise": -1.0}, "noise is -1.0"),
        ({"temporal_share": 1.5}, "temporal_share is 1.5"),
        ({"temporal": "magic"}, "temporal is 'magic'. Give one of reconstruction, contrast"),
        ({"temperature": "0.1"}, "temperature is '0.1'. Give a number above 0"),
        ({"augmentations": [{"op": "spin"}]}, "no augmentation 'spin'"),
    ],
    ids=str,
)
def test_options_that_do_not_fit(options: dict[str, Any], says: str) -> None:
    with pytest.raises(TrainingError, match=says):
        method(**options)


def test_a_layout_without_regions() -> None:
    net = create("skeletonmae-strl", layout=skelzoo.make_layout("pair", ["a", "b"], [None, "a"]), options=SMALL)
    assert isinstance(net, STRL)
    with pytest.raises(TrainingError, match=r"regions \(none\)"):
        SkeletonMAEPretraining(net, SkeletonMAEOptions(mask="random_regions"))
    assert SkeletonMAEPretraining(net, SkeletonMAEOptions(mask="random_joints")).draw_masks(3).sum(1).tolist() == [1, 1, 1]


RECIPE = Recipe(
    name="tiny", method="skeletonmae", arch="skeletonmae-strl", options={**SMALL, "num_persons": 1}, contract=CONTRACT.replace(persons=1),
    data=DataOptions(["a.npz"], window=30, hop=20, shortest=5, max_step=100.0), stored_frames=8,
    method_options={"mask": "random_regions", "augmentations": [{"op": "rotate_yaw"}]},
    optimiser=Optimiser(learning_rate=5e-3, weight_decay=0.0), steps=40, batch_size=8, checkpoint_every=10, precision="32-true",
)  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_corpus(folder / "a.npz", [make_clip(i, frames=16 + i) for i in range(24)])
    return folder


def test_a_run_puts_what_it_trained_into_every_copy_of_the_encoder(data: Path, tmp_path: Path) -> None:
    pretrain(RECIPE, data, tmp_path / "run", device="cpu")
    with (tmp_path / "run/log.csv").open() as f:
        rows = [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(f)]
    assert len(rows) == 40 and all(math.isfinite(x) for row in rows for x in row.values())
    first, last = ({k: sum(r[k] for r in part) for k in ("loss", "loss_cosine")} for part in (rows[:10], rows[-10:]))
    assert last["loss"] < 0.9 * first["loss"] and last["loss_cosine"] > first["loss_cosine"] + 0.5
    name = f"local:{tmp_path / 'run/weights'}"
    assert skelzoo.verify(name, device="cpu").ok
    net = skelzoo.load(name, device="cpu", num_classes=3).net
    assert isinstance(net, STRL) and net(torch.zeros(2, 3, 16, 20, 1)).shape == (2, 3)

    run = Run(RECIPE, tmp_path / "run", data, "cpu")
    trained, untrained = run.method.module.autoencoder, Run(RECIPE, tmp_path / "other", data, "cpu").net.state_dict()
    state, copies = net.state_dict(), trained.encoder.state_dict()
    for i in range(2):
        assert all(torch.equal(state[f"encoders.{i}.0.{key}"], value) for key, value in copies.items())
        assert not torch.equal(state[f"encoders.{i}.0.layers.0.mlp.0.weight"], untrained[f"encoders.{i}.0.layers.0.mlp.0.weight"])
    assert torch.equal(state["embedding.weight"], trained.embedding.weight) and not torch.equal(state["embedding.weight"], untrained["embedding.weight"])
    others = [k for k in untrained if not k.startswith(("encoders.", "embedding."))]
    assert {k.split(".")[0] for k in others} == {"layers", "position"} and all(torch.equal(state[k], untrained[k]) for k in others)


def test_the_second_stage_hides_whole_regions_for_one_stretch_of_each_clip() -> None:
    train = method({**SMALL, "num_frames": 40}, temporal_share=0.5)
    hidden = train.draw_hidden(bodies(2000, frames=40))[:, 0, :, :, 0]
    regions, lengths = [], []
    for clip in hidden:
        joints, frames = clip.any(0), clip.any(1).nonzero().flatten()
        assert torch.equal(clip, clip.any(1)[:, None] & joints), "one stretch for all that is hidden"
        regions.append([all(bool(joints[v]) for v in members) for members in REGIONS.values()])
        assert joints.sum() == sum(len(members) for members, whole in zip(REGIONS.values(), regions[-1], strict=True) if whole)
        if len(frames):
            assert frames[-1] - frames[0] + 1 == len(frames)
            lengths.append(len(frames) / 40)
    assert np.mean(regions, 0) == pytest.approx(np.full(6, 0.4), abs=0.04)
    assert 0.22 < min(lengths) < 0.35 and max(lengths) > 0.9


def test_what_is_hidden_stands_still_and_the_whole_clip_is_to_be_given_back() -> None:
    x = torch.cat([bodies(6, frames=16), torch.zeros(6, 2, 16, 17, 1)], 4)
    net = create("skeletonmae-strl", layout="coco17", in_channels=4, options=SMALL)
    assert isinstance(net, STRL)
    randomise(net)
    train = SkeletonMAEPretraining(net, SkeletonMAEOptions(temporal_share=0.5), ("joint", "motion")).eval()
    train.temporal.fill_(True)
    seen, whole = train.views(x)
    motion = torch.cat([x[:, :, 1:] - x[:, :, :-1], torch.zeros_like(x[:, :, :1])], 2)
    assert torch.equal(whole, torch.cat([x, motion], 1)) and not seen[..., 1].any()
    hidden = (seen[:, :2] != x).any(1)[..., 0]
    still = x.mean(2, keepdim=True).expand_as(x)
    assert hidden.any() and torch.equal(seen[:, :2, ..., 0], torch.where(hidden[:, None], still[..., 0], x[..., 0]))
    with torch.no_grad():
        found, errors = train.losses(seen, whole), []
        for clip, target in zip(seen, whole, strict=True):
            given = train.decoder(train.net.features(clip[None])["layer1"][..., 0])[0]  # type: ignore[misc]
            off = (given - target[..., 0] * torch.tensor([1, 1, 10, 10])[:, None, None]).abs()
            errors.append(float(torch.where(off < 0.1, off**2 / 0.2, off - 0.05).mean()))
    assert float(found.total) == pytest.approx(np.mean(errors), rel=1e-4) and found.total == found.error, "persons who are not there do not count"
    noisy = SkeletonMAEPretraining(net, SkeletonMAEOptions(temporal_share=0.5, noise=0.25), ("joint", "motion"))
    noisy.temporal.fill_(True)
    seen, whole = noisy.views(x.repeat(50, 1, 1, 1, 1))
    off = (seen - whole)[:, :2, ..., 0]
    assert off[off.abs() > 0].std() == pytest.approx(0.25, rel=0.15) and torch.equal(whole[:6, :2], x)


def test_a_net_that_went_through_the_first_stage_can_go_on_with_the_second() -> None:
    train = method({**SMALL, "num_frames": 16}, temporal_share=1)
    before = {key: value.clone() for key, value in train.net.state_dict().items()}
    seen, whole = train.views(bodies(4, frames=16))
    assert seen.shape == whole.shape == (4, 2, 16, 17, 1)
    train.after_step(train.losses(seen, whole), 0, 10)
    train.sync()
    after = train.net.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items() if not key.endswith(("_mean", "_var", "_tracked")))


def test_the_contrast_compares_stretches_and_parts_of_the_last_layer() -> None:
    train = method({**SMALL, "num_frames": 8}, temporal_share=0.5, temporal="contrast", temperature=0.5)
    randomise(train.net)
    train.eval()
    x = bodies(5, frames=8)
    pair = x, x.flip(2)
    with torch.no_grad():
        found, vectors = train.losses(*pair), []
        for clip in torch.cat(pair):
            layer = train.net.features(clip[None])["layer1"][0, ..., 0]
            parts = [layer[:, 2 * k : 2 * k + 2, list(joints)].mean((1, 2)) for k in range(4) for joints in get_layout("coco17").part_indices]
            assert train.projector is not None
            vectors.append(train.projector(torch.cat(parts)))
    terms = []
    for i in range(10):
        scores = [float(torch.cosine_similarity(vectors[i], vectors[j], dim=0)) / 0.5 for j in range(10) if j != i]
        own = float(torch.cosine_similarity(vectors[i], vectors[(i + 5) % 10], dim=0)) / 0.5
        terms.append(math.log(sum(math.exp(s) for s in scores)) - own)
    train.temporal.fill_(True)
    views = train.views(x)
    assert torch.equal(views[0], x) and torch.equal(views[1], x), "no augmentations, two views of each clip"
    assert float(found.total) == pytest.approx(sum(terms) / 10, rel=1e-3) and found.total == found.error


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_a_start_is_what_either_stage_begins_with(data: Path, tmp_path: Path, share: float) -> None:
    first = f"local:{pretrain(RECIPE, data, tmp_path / 'first', device='cpu')}"
    recipe = dataclasses.replace(RECIPE, start=first, stored_frames=16, method_options={"mask": "random_regions", "temporal_share": share})
    start, now = skelzoo.load(first, device="cpu").net.state_dict(), Run(recipe, tmp_path / "second", data, "cpu").encoder().net.state_dict()
    assert all(torch.equal(now[key], value) for key, value in start.items())


TWO_STAGES = dataclasses.replace(
    RECIPE, contract=RECIPE.contract.replace(streams=("joint", "motion")), steps=12, checkpoint_every=3,
    method_options={"mask": "random_regions", "graphs": 32, "augmentations": [{"op": "rotate_yaw"}, {"op": "temporal_crop", "frames": 16}], "temporal_share": 0.5},
)  # fmt: skip


def test_the_second_stage_trains_the_whole_net_and_resumes_exactly(data: Path, tmp_path: Path) -> None:
    """Stopped in the first stage, at the last step of it, and in the second."""
    start = Run(TWO_STAGES, tmp_path / "start", data, "cpu").net.state_dict()
    states = {}
    for stop in (4, 6, 9, 12):
        pretrain(TWO_STAGES, data, tmp_path / "stopped", device="cpu", stop_after=stop)
        states[stop] = Run(TWO_STAGES, tmp_path / "stopped", data, "cpu").encoder().net.state_dict()
    pretrain(TWO_STAGES, data, tmp_path / "whole", device="cpu")
    whole = skelzoo.load(f"local:{tmp_path / 'whole/weights'}", device="cpu").net.state_dict()
    assert (tmp_path / "stopped/log.csv").read_bytes() == (tmp_path / "whole/log.csv").read_bytes()
    assert all(torch.equal(whole[k], states[12][k]) for k in whole)

    with (tmp_path / "whole/log.csv").open() as f:
        errors = [float(row["loss_error"]) for row in csv.DictReader(f)]
    assert [e > 0 for e in errors] == [False] * 6 + [True] * 6

    def layers_differ(a: dict[str, Tensor], b: dict[str, Tensor], prefix: str) -> bool:
        return any(not torch.equal(a[k], b[k]) for k in a if k.startswith(prefix))

    copies = [k.removeprefix("encoders.0.") for k in whole if k.startswith("encoders.0.")]
    for stop, stage in ((4, 1), (6, 1), (9, 2), (12, 2)):
        now = states[stop]
        assert layers_differ(now, start, "layers.") == layers_differ(now, start, "position") == (stage == 2)
        assert any(not torch.equal(now[f"encoders.0.{k}"], now[f"encoders.1.{k}"]) for k in copies) == (stage == 2)
        assert layers_differ(now, start, "embedding.")


def test_a_recipe_of_camera_pictures_films_3d_clips(data: Path, tmp_path: Path) -> None:
    steps = ({"step": "fill_gaps"}, {"step": "center", "reference": "mean"}, {"step": "scale_torso"}, {"step": "resample", "frames": 16})
    contract = dataclasses.replace(TWO_STAGES.contract, layout="coco17", channels=2, steps=steps)
    crop = {"op": "temporal_crop", "frames": 16}
    options = {**TWO_STAGES.method_options, "augmentations": [{"op": "film_joints", "degrees": 60}, crop]}
    recipe = dataclasses.replace(TWO_STAGES, contract=contract, method_options=options)
    encoder = skelzoo.load(f"local:{pretrain(recipe, data, tmp_path / 'run', device='cpu')}", device="cpu")
    assert encoder.contract.shape == (4, 16, 17, 1)
    z = encoder.embed([film(make_clip(i), i) for i in range(3)])
    assert z.shape == (3, encoder.embedding_dim) and np.isfinite(z).all() and np.abs(z[0] - z[1]).max() > 1e-3


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"arch": "skeattnclr-stgcn", "options": {}}, "method skeletonmae does not train skeattnclr-stgcn"),
        ({"contract": RECIPE.contract.replace(layout="coco17", channels=2)}, "Let film_joints be the first augmentation"),
        ({"method_options": {"augmentations": [{"op": "film_joints"}]}}, "leave it out with others"),
        ({"method_options": {"magic": 1}}, "method options do not fit"),
    ],
)
def test_recipes_that_cannot_be_run(data: Path, tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(TrainingError, match=says):
        pretrain(dataclasses.replace(RECIPE, **changes), data, tmp_path / "run", device="cpu")
