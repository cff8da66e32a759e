"""Fine-tuning: what is trained and what is not, how clips are held out, and what is refused."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import CONTRACT, SMALL, make_clip, make_config, make_encoder, randomise, same
from torch import Tensor

import skelzoo
from skelzoo.errors import ClipError, TrainingError
from skelzoo.learn.finetune import FinetuneOptions, finetune
from skelzoo.learn.layers import parameter_groups
from skelzoo.learn.training import LENGTH, Standardised
from skelzoo.nets.archs import ARCHS
from skelzoo.skeleton.clip import Clip
from skelzoo.weights.checkpoint import build_net
from skelzoo.weights.manifest import ModelConfig

CLASSES = ("left", "right", "still")
QUICK = FinetuneOptions(epochs=3, batch_size=8, precision="32-true")
NO_CHANGE = ({"op": "scale", "amplitude": 0.0},)


def clip_of(label: str, seed: int) -> Clip:
    """A body with somewhat other joints that swings the left hand, the right one or none, at a pace and from a moment of its own."""
    rng, clip = np.random.default_rng(seed), make_clip(0)
    keypoints = clip.keypoints + rng.normal(size=(1, 1, 20, 3)) * 0.05
    if label != "still":
        joints = [clip.layout.joints.index(f"{label.title()}{j}") for j in ("Wrist", "Hand")]
        swing = 1.5 * np.sin(np.linspace(0, 9, clip.frames) * rng.uniform(0.7, 1.4) + rng.uniform(0, 6))
        keypoints[:, :, joints, 1] += swing[None, :, None]
    return clip.replace(keypoints=keypoints, label=label, name=f"{label}-{seed}")


def clips_of(count: int, start: int = 0, classes: Sequence[str] = CLASSES) -> list[Clip]:
    return [clip_of(label, start + 100 * i + k) for i, label in enumerate(classes) for k in range(count)]


def state_of(encoder: skelzoo.Encoder) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in encoder.net.state_dict().items()}


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    """Names of what differs, heads of other sizes included."""
    return {k for k in before.keys() | after.keys() if k not in before or k not in after or not torch.equal(before[k], after[k])}


def right(encoder: skelzoo.Encoder, clips: Sequence[Clip]) -> float:
    """Percent of the clips that get their label."""
    return 100 * float(np.mean([str(a) == c.label for a, c in zip(encoder.classify(clips, 1).labels[:, 0], clips, strict=True)]))


def psp_encoder(contract: skelzoo.Contract = CONTRACT) -> skelzoo.Encoder:
    torch.manual_seed(0)
    config = ModelConfig("psp", {**SMALL["psp"], "num_frames": contract.frames}, contract.replace(streams=("joint", "motion")))
    return skelzoo.Encoder(build_net(config), config, "tiny psp", "cpu")


@pytest.fixture(scope="module")
def start() -> skelzoo.Encoder:
    return make_encoder(labels=None)


def test_full_beats_a_frozen_random_body_on_new_clips(start: skelzoo.Encoder) -> None:
    clips, new = clips_of(20), clips_of(20, 5000)
    options = FinetuneOptions(epochs=15, batch_size=12, learning_rate=2e-2, augmentations=(), precision="32-true", batch_norm="batch")
    full = finetune(start, clips, options=options, validation=0)
    linear = finetune(start, clips, mode="linear", options=replace(options, batch_norm="auto"), validation=0)
    assert full.labels == full.encoder.labels == CLASSES
    assert right(full.encoder, new) > 80 and right(full.encoder, new) > right(linear.encoder, new) + 10
    assert full.history[-1].loss < full.history[0].loss / 2


@pytest.mark.parametrize("streams", [("joint",), ("joint", "motion"), ("bone",)])
def test_the_result_is_the_best_epoch(streams: tuple[str, ...]) -> None:
    config = make_config(None, CONTRACT.replace(streams=streams))
    encoder = skelzoo.Encoder(build_net(config), config, "tiny", "cpu")
    valid = clips_of(5, 900)
    result = finetune(encoder, clips_of(6), validation=valid, options=replace(QUICK, epochs=6, learning_rate=2e-2))
    best = max(result.history, key=lambda e: (e.validation_accuracy, -e.validation_loss))
    assert result.best_epoch == best.epoch and result.accuracy == best.validation_accuracy
    assert right(result.encoder, valid) == pytest.approx(result.accuracy)
    assert result.confusion.sum() == 15 and result.confusion.sum(1).tolist() == [5, 5, 5]
    assert 100 * result.confusion.trace() / 15 == pytest.approx(result.accuracy)
    assert list(result.per_class.values()) == pytest.approx((20 * result.confusion.diagonal()).tolist())
    assert result.balanced_accuracy == pytest.approx(np.mean(list(result.per_class.values())))
    assert dict(result.clips) == dict.fromkeys(CLASSES, (6, 5))


def test_training_stops_when_nothing_gets_better(start: skelzoo.Encoder) -> None:
    result = finetune(start, clips_of(5), options=replace(QUICK, epochs=12, learning_rate=1e-12, patience=2))
    assert len(result.history) == result.best_epoch + 2 < 12
    assert len(finetune(start, clips_of(5), options=replace(QUICK, epochs=4, learning_rate=1e-12, patience=0)).history) == 4


def test_without_a_validation_part_the_last_epoch_is_kept(start: skelzoo.Encoder) -> None:
    result = finetune(start, clips_of(3), validation=0, options=QUICK)
    assert result.best_epoch == 3 and np.isnan(result.accuracy) and np.isnan(result.balanced_accuracy) and not result.confusion.any()
    assert dict(result.clips) == dict.fromkeys(CLASSES, (3, 0)) and all(np.isnan(a) for a in result.per_class.values())


def test_the_same_seed_gives_the_same_weights_and_leaves_all_else_alone(start: skelzoo.Encoder) -> None:
    before, random_state = state_of(start), torch.get_rng_state()
    one, two = (state_of(finetune(start, clips_of(4), options=QUICK).encoder) for _ in range(2))
    assert not changed(one, two)
    assert changed(one, state_of(finetune(start, clips_of(4), options=replace(QUICK, seed=1)).encoder))
    assert not changed(before, state_of(start)) and not start.net.training and start.config.num_classes == 0
    assert torch.equal(random_state, torch.get_rng_state())


def test_linear_trains_the_head_alone(start: skelzoo.Encoder) -> None:
    clips = clips_of(6)
    result = finetune(start, clips, mode="linear", options=replace(QUICK, freeze="none"))
    assert changed(state_of(start), state_of(result.encoder)) == {"head.weight", "head.bias"}
    assert np.array_equal(start.embed(clips), result.encoder.embed(clips))
    assert all(p.requires_grad for p in result.encoder.net.parameters())


def test_cached_vectors_train_the_same_head_as_vectors_computed_anew(start: skelzoo.Encoder) -> None:
    clips = clips_of(6)
    cached, anew = (finetune(start, clips, mode="linear", options=replace(QUICK, augmentations=a)).encoder for a in ((), NO_CHANGE))
    for key, value in state_of(cached).items():
        torch.testing.assert_close(value, state_of(anew)[key], atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("blocks", [0, 4])
def test_frozen_blocks_stay_bit_for_bit(start: skelzoo.Encoder, blocks: int) -> None:
    moved = changed(state_of(start), state_of(finetune(start, clips_of(6), options=replace(QUICK, freeze=blocks, batch_norm="batch")).encoder))
    numbers = {int(m[1]) for name in moved if (m := re.match(r"backbone\.blocks\.(\d+)\.", name))}
    assert numbers == set(range(blocks, 10)) and not any(name.startswith("backbone.input_norm") for name in moved)
    assert f"backbone.blocks.{blocks}.norm1.running_mean" in moved and not any(name.startswith("neck") for name in moved)


def test_a_head_of_the_same_classes_goes_on_learning(start: skelzoo.Encoder) -> None:
    first = finetune(start, clips_of(5), validation=0, options=QUICK).encoder
    still = replace(QUICK, learning_rate=1e-12, epochs=1)
    same = finetune(first, clips_of(5), mode="linear", validation=0, options=still).encoder
    torch.testing.assert_close(same.net.head.weight, first.net.head.weight, atol=1e-6, rtol=0)
    other = finetune(first, clips_of(5), ["a"] * 5 + ["b"] * 5 + ["c"] * 5, mode="linear", validation=0, options=replace(still, seed=9)).encoder
    assert other.labels == ("a", "b", "c") and (other.net.head.weight - first.net.head.weight).abs().max() > 0.01


@pytest.mark.parametrize("arch", ARCHS)
def test_rates_fall_block_by_block(arch: str) -> None:
    channels = {"skeattnclr-stgcn-3s": 9, "psp": 6, "psp-ensemble": 6}.get(arch, 3)
    net = skelzoo.create(arch, layout="kinect20", num_classes=3, in_channels=channels, options=SMALL[arch])
    rows = parameter_groups(net, 0.1, 0.5, 0.01, ARCHS[arch].head)
    row_of = {id(p): row for row in rows for p in row["params"]}
    parameters = dict(net.named_parameters())
    assert len(row_of) == len(parameters) == sum(len(row["params"]) for row in rows)
    last = max(int(m[1]) for name in parameters if (m := re.search(r"(?:blocks|layers)\.(\d+)\.", name)) and "encoders" not in name)
    for name, parameter in parameters.items():
        row = row_of[id(parameter)]
        block = re.search(r"(?:blocks|layers|encoders)\.(\d+)\.", name)
        steps = 0 if name.startswith(ARCHS[arch].head) else last + 1 - int(block[1]) if block else last + 2 if "input" in name else None
        if steps is not None:
            assert row["lr"] == pytest.approx(0.1 * 0.5**steps), name
        decays = parameter.ndim > 1 and re.search(r"\.weight(_[ih]h_l\d)?$", name)
        assert row["weight_decay"] == (0.01 if decays else 0), name
    assert [row["lr"] for row in rows] == sorted(row["lr"] for row in rows)


def test_rates_count_from_the_highest_layer_in_training() -> None:
    net = make_encoder().net
    for name, parameter in net.named_parameters():
        parameter.requires_grad_(bool(re.match(r"head|backbone\.blocks\.[56]\.", name)))
    assert sorted({row["lr"] for row in parameter_groups(net, 1.0, 0.5, 0.0)}) == [0.25, 0.5, 1.0]
    with pytest.raises(TrainingError, match="every layer of the net is frozen"):
        parameter_groups(net.requires_grad_(False), 1.0, 0.5, 0.0)


@pytest.mark.parametrize(("balanced", "smoothing", "expected"), [(True, 0.0, 0.5), (False, 0.0, 0.9), (False, 0.4, 0.9 * 0.6 + 0.4 / 2)])
def test_balance_and_label_smoothing(start: skelzoo.Encoder, balanced: bool, smoothing: float, expected: float) -> None:
    """All clips are the same, so nothing but how often a class is drawn can be learned."""
    clips, labels = [make_clip(0)] * 40, ["often"] * 36 + ["rare"] * 4
    options = FinetuneOptions(epochs=60, batch_size=40, learning_rate=0.2, balanced=balanced, label_smoothing=smoothing, augmentations=(), precision="32-true")
    result = finetune(start, clips, labels, mode="linear", validation=0, options=options).encoder.classify(clips[:1])
    assert dict(zip(result.labels[0].tolist(), result.scores[0].tolist(), strict=True))["often"] == pytest.approx(expected, abs=0.02)


def test_a_share_of_every_class_is_held_out(start: skelzoo.Encoder) -> None:
    clips = clips_of(10, classes=CLASSES[:2]) + clips_of(2, 400, classes=CLASSES[2:])
    result = finetune(start, clips, options=replace(QUICK, epochs=1))
    assert dict(result.clips) == {"left": (8, 2), "right": (8, 2), "still": (1, 1)} and result.held_out == ()


def test_whole_groups_are_held_out(start: skelzoo.Encoder) -> None:
    clips = clips_of(8)
    groups = [f"person{i % 4}" for i in range(len(clips))]
    seen, once = set(), replace(QUICK, epochs=1, augmentations=())
    for seed in range(6):
        result = finetune(start, clips, mode="linear", groups=groups, validation=0.25, options=replace(once, seed=seed))
        assert len(result.held_out) == 1 and dict(result.clips) == dict.fromkeys(CLASSES, (6, 2))
        seen.update(result.held_out)
    again = finetune(start, iter(clips), groups=np.array(groups), validation=0.25, options=replace(once, seed=5))
    assert again.held_out == result.held_out and len(seen) > 1
    # Only one person does the last class, so that person cannot be held out.
    groups = ["often" if c.label == "still" else g for c, g in zip(clips, groups, strict=True)]
    assert all("often" not in finetune(start, clips, mode="linear", groups=groups, options=replace(once, seed=s)).held_out for s in range(6))
    with pytest.raises(TrainingError, match=r"none of the 3 groups can be held out, .*: p-left with 'left', p-right with 'right', p-still with 'still'\."):
        finetune(start, clips, groups=[f"p-{c.label}" for c in clips], options=QUICK)
    with pytest.raises(TrainingError, match="2 groups for 24 clips"):
        finetune(start, clips, groups=["a", "b"], options=QUICK)


def test_a_saved_result_loads_with_its_classes(start: skelzoo.Encoder, tmp_path: Path) -> None:
    tuned = finetune(start, clips_of(4), options=QUICK).encoder
    again = skelzoo.load(f"local:{tuned.save(tmp_path / 'mine')}", device="cpu")
    assert again.labels == CLASSES
    assert np.array_equal(again.classify(clips_of(2)).scores, tuned.classify(clips_of(2)).scores)


def test_absent_persons_stay_absent_under_augmentation(start: skelzoo.Encoder) -> None:
    """The contract has two persons, the clips one: what the first BatchNorm sees of the other must stay zero."""
    options = replace(QUICK, augmentations=({"op": "joint_offset", "sigma": 1e4},), epochs=1, freeze="none", batch_norm="batch", batch_size=100)
    norm = finetune(start, clips_of(4), validation=0, options=options).encoder.net.backbone.input_norm
    assert norm.running_mean.abs().max() > 10  # the augmentation is there
    present_only = finetune(start, [c.replace(keypoints=np.concatenate([c.keypoints] * 2)) for c in clips_of(4)], validation=0, options=options).encoder
    # Half of the rows are zero: about half of the variance of a batch whose rows are all persons.
    share = norm.running_var.mean() / present_only.net.backbone.input_norm.running_var.mean()
    assert 0.3 < share < 0.7


def test_semi_learns_from_unlabelled_clips_too() -> None:
    encoder, new = psp_encoder(), clips_of(20, 5000)
    options = FinetuneOptions(epochs=25, batch_size=12, learning_rate=5e-2, augmentations=(), precision="32-true", unlabelled_ratio=2)
    result = finetune(encoder, clips_of(8), mode="semi", unlabelled=clips_of(8, 2000), validation=0, options=options)
    assert right(result.encoder, new) > 60
    moved = changed(state_of(encoder), state_of(result.encoder))
    assert any(name.startswith("pyramid") for name in moved) and any(name.startswith("projector") for name in moved)
    supervised = changed(state_of(encoder), state_of(finetune(encoder, clips_of(4), options=QUICK).encoder))
    assert not any(name.startswith(("pyramid", "projector")) for name in supervised)


def test_semi_with_a_frozen_body_trains_the_head_alone() -> None:
    encoder = psp_encoder()
    options = replace(QUICK, freeze="body", augmentations=(), unlabelled_ratio=2)
    tuned = finetune(encoder, clips_of(4), mode="semi", unlabelled=clips_of(2, 2000), options=options).encoder
    assert changed(state_of(encoder), state_of(tuned)) == {"head.weight", "head.bias"}


def test_streams_of_the_recording_are_augmented_as_a_whole() -> None:
    steps = ({"step": "drop_empty_frames"}, {"step": "center"}, {"step": "streams"}, {"step": "resample", "frames": 16})
    encoder, valid = psp_encoder(CONTRACT.replace(steps=steps)), clips_of(3, 900)
    result = finetune(encoder, clips_of(4), validation=valid, options=QUICK)
    assert right(result.encoder, valid) == pytest.approx(result.accuracy)
    with pytest.raises(TrainingError, match=r"augmentations jitter change joints by themselves.*temporal_crop"):
        finetune(encoder, clips_of(4), options=replace(QUICK, augmentations=({"op": "jitter"},)))


def test_semi_is_of_psp(start: skelzoo.Encoder) -> None:
    with pytest.raises(TrainingError, match=r"semi is PSP's objective, and tiny is no PSP encoder.*full or linear"):
        finetune(start, clips_of(3), mode="semi", unlabelled=clips_of(2))
    with pytest.raises(TrainingError, match="Give unlabelled="):
        finetune(psp_encoder(), clips_of(3), mode="semi")
    with pytest.raises(TrainingError, match="mode full does not use unlabelled clips"):
        finetune(psp_encoder(), clips_of(3), unlabelled=clips_of(2))
    with pytest.raises(TrainingError, match=r"no mode 'half'\. Use one of full, linear, semi"):
        finetune(start, clips_of(3), mode="half")


@pytest.mark.parametrize(
    ("mode", "unused"),
    [("semi", {"label_smoothing": 0.2}), ("full", {"contrast_weight": 1.0}), ("linear", {"unlabelled_ratio": 3}), ("linear", {"layer_decay": 1.0}), ("linear", {"freeze": 3}), ("linear", {"batch_norm": "kept"})],
)  # fmt: skip
def test_options_that_do_nothing_in_a_mode_are_refused(mode: str, unused: dict[str, Any]) -> None:
    (name,) = unused
    with pytest.raises(TrainingError, match=f"mode {mode} does not use {name}, which is {unused[name]!r}"):
        finetune(psp_encoder(), clips_of(3), mode=mode, unlabelled=clips_of(2) if mode == "semi" else (), options=replace(QUICK, **unused))
    assert finetune(psp_encoder(), clips_of(3), mode="linear", options=replace(QUICK, epochs=1, freeze="body")).history


def test_clips_that_cannot_be_learned_from_are_named(start: skelzoo.Encoder) -> None:
    clips = clips_of(3)
    for bad, settings, match in (
        ([], {}, "0 labels for 0 clips"),
        (clips, {"labels": ["a", "b"]}, "2 labels for 9 clips"),
        (clips, {"labels": [float("nan"), *["a", "b"] * 4]}, "1 of 9 clips have no label, the first is 'left-0'"),
        ([*clips, make_clip(7)], {}, "1 of 10 clips have no label, the first is 'clip7'"),
        (clips[:3], {}, "all 3 clips are of the class 'left'"),
        ([*clips, clip_of("still", 0).replace(label="jump", name="j1")], {}, "class 'jump' has one clip, 'j1'"),
        (clips, {"validation": [make_clip(7)]}, "validation clip 'clip7' has the label None"),
        (clips, {"validation": clips_of(1), "groups": ["a"] * 9}, "Leave one of them out"),
        (clips, {"validation": 1.0}, r"validation is 1\.0"),
    ):
        with pytest.raises(TrainingError, match=match):
            finetune(start, bad, options=QUICK, **settings)
    with pytest.raises(TrainingError, match=r"options are of type dict\. Give skelzoo\.learn\.finetune\.FinetuneOptions"):
        finetune(start, clips, options={"epochs": 1})  # type: ignore[arg-type]
    with pytest.raises(ClipError, match="left-0: 1 frame"):
        finetune(start, [clips[0].replace(keypoints=clips[0].keypoints[:, :1]), *clips[1:]], options=QUICK)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"epochs": 0}, "epochs is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"batch_size": True}, "batch_size is True. Give a whole number of at least 1 and at most 1000000"),
        ({"learning_rate": 1e3, "augmentations": ()}, "the (validation )?loss is (nan|inf)"),
        ({"epochs": 1.5}, r"epochs is 1\.5\. Give a whole number"),
        ({"learning_rate": "fast"}, "learning_rate is 'fast'"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"layer_decay": 1.5}, "layer_decay is 1.5"),
        ({"precision": "8"}, "auto, bf16-mixed or 32-true"),
        ({"batch_norm": "frozen"}, "batch_norm is 'frozen'. Give auto, kept or batch"),
        ({"freeze": "half"}, "freeze is 'half'"),
        ({"freeze": 11}, "from 0 to 10"),
        ({"augmentations": ({"op": "spin"},)}, "no augmentation 'spin'"),
        ({"augmentations": ({"op": "temporal_crop", "frames": 9},)}, "leave 9 frames, the net reads 16"),
    ],
)
def test_options_that_cannot_be_used(start: skelzoo.Encoder, options: dict[str, Any], match: str) -> None:
    with pytest.raises(TrainingError, match=match):
        finetune(start, clips_of(3), options=FinetuneOptions(**options))


def test_two_dimensions_have_no_yaw() -> None:
    config = make_config(None, CONTRACT.replace(channels=2))
    encoder = skelzoo.Encoder(build_net(config), config, "flat", "cpu")
    assert finetune(encoder, clips_of(3), options=replace(QUICK, epochs=1)).history
    with pytest.raises(TrainingError, match="rotate_yaw turns 3-D joints, these have 2 coordinates"):
        finetune(encoder, clips_of(3), options=replace(QUICK, augmentations=({"op": "rotate_yaw"},)))


def test_a_loss_that_is_not_finite_is_named() -> None:
    encoder = make_encoder(labels=None)
    randomise(encoder.net)
    with torch.no_grad():
        encoder.net.backbone.blocks[0].graph_conv.weight[0] = float("nan")
    with pytest.raises(TrainingError, match=r"tiny: the loss is nan at step 1 of epoch 1\. Lower learning_rate, now 0\.002"):
        finetune(encoder, clips_of(3), options=replace(QUICK, learning_rate=0.002))


@pytest.mark.parametrize("vectors", [1, 2])
def test_standardised_layer_computes_what_it_did_and_keeps_what_it_learned(vectors: int) -> None:
    """On entering nothing changes for raw vectors; after folding, raw vectors give what standardised ones gave."""
    torch.manual_seed(0)
    layer, z = torch.nn.Linear(5, 3), torch.randn(40, 5 * vectors) * 30 + 7

    def outputs(x: torch.Tensor) -> torch.Tensor:
        return layer(x.reshape(40, vectors, 5)).sum(1)

    before = outputs(z).detach()
    scaled = Standardised(layer, z)
    torch.testing.assert_close(outputs(scaled(z)), before, atol=1e-4, rtol=1e-4)
    assert scaled(z).reshape(-1, 5).mean(0).abs().max() < 1e-3 and scaled(z).reshape(-1, 5).norm(dim=1).mean() == pytest.approx(LENGTH, rel=0.1)
    with torch.no_grad():
        layer.weight.add_(torch.randn(3, 5))
    learned = outputs(scaled(z)).detach()
    scaled.fold()
    torch.testing.assert_close(outputs(z), learned, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_training_where_gradients_are_off(start: skelzoo.Encoder, mode: Callable[[], Any]) -> None:
    with mode():
        result = finetune(start, clips_of(4), options=replace(QUICK, epochs=1))
    same(result.encoder.embed(clips_of(1)), finetune(start, clips_of(4), options=replace(QUICK, epochs=1)).encoder.embed(clips_of(1)))


def test_what_is_given_wrongly_is_named(start: skelzoo.Encoder, tmp_path: Path) -> None:
    clips = clips_of(4)
    for arguments, options, says in (
        (("skeattnclr-openskel", clips), {}, "encoder is of type str"),
        ((start, clips[0]), {}, "all 1 clips are of the class"),
        ((start, str(tmp_path)), {}, "found str. Use skelzoo.read"),
        ((start, np.zeros((4, 50, 20, 3))), {}, "found ndarray"),
        ((start, clips), {"validation": "0.2"}, "found str"),
        ((start, clips), {"validation": clips[:3]}, "3 validation clips are training clips too, the first is"),
        ((start, clips), {"unlabelled": "folder", "mode": "semi"}, "found str"),
        ((start, clips), {"groups": [*["a", "b"] * 5, None, float("nan")]}, "2 of 12 clips have no group, the first is number 10"),
    ):
        with pytest.raises((TrainingError, ClipError), match=re.escape(says)):
            finetune(*arguments, **options)


def test_a_callers_autocast_changes_no_training_and_no_golden(start: skelzoo.Encoder, tmp_path: Path) -> None:
    clips, options = clips_of(4), replace(QUICK, epochs=1, precision="32-true")
    expected = finetune(start, clips, options=options).encoder
    with torch.autocast("cpu", torch.bfloat16):
        tuned = finetune(start, clips, options=options).encoder
        folder = tuned.save(tmp_path / "model")
    same(tuned.embed(clips), expected.embed(clips))
    assert skelzoo.verify(f"local:{folder}", device="cpu").ok
