"""Augmentations do what they say, clip by clip, and nothing else."""

from __future__ import annotations

import inspect
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from skelzoo.errors import TrainingError
from skelzoo.learn import augment as module
from skelzoo.learn.augment import KEEP_FRAMES, OPERATIONS, RANGES, augment, check_operations, part_swap
from skelzoo.skeleton.layouts import get_layout

N, C, T, V, M = 40, 3, 24, 20, 2
PARTS = get_layout("kinect20").part_indices


@pytest.fixture
def x() -> Tensor:
    return torch.randn(N, C, T, V, M, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def ramp(frames: int = T) -> Tensor:
    """Every coordinate of every joint is the frame number."""
    return torch.arange(frames, dtype=torch.float32)[None, None, :, None, None].expand(N, C, frames, V, M).clone()


def apply(x: Tensor, op: str, **options: Any) -> Tensor:
    before = x.clone()
    out = augment(x, [{"op": op, **options}])
    assert torch.equal(x, before) and out.dtype == x.dtype and out.isfinite().all()
    return out


@pytest.mark.parametrize("op", OPERATIONS)
def test_every_operation_is_seeded_and_drawn_per_clip(x: Tensor, op: str) -> None:
    same_clip = x[:1].expand(N, C, T, V, M).clone()
    torch.manual_seed(1)
    one = apply(same_clip, op)
    torch.manual_seed(1)
    assert torch.equal(apply(same_clip, op), one)
    torch.manual_seed(2)
    assert not torch.equal(apply(same_clip, op), one)
    assert len({clip.numpy().tobytes() for clip in one}) > (1 if op == "reverse" else 5)


def test_temporal_crop_takes_a_stretch_at_an_even_pace() -> None:
    out = apply(ramp(), "temporal_crop", frames=10, shortest=0.5)
    assert out.shape == (N, C, 10, V, M)
    pace = out.diff(dim=2)
    torch.testing.assert_close(pace, pace[:, :1, :1, :1, :1].expand_as(pace), atol=1e-4, rtol=0)
    share = pace[:, 0, 0, 0, 0] * 9 / (T - 1)
    assert (share >= 0.5 - 1e-5).all() and (share <= 1 + 1e-5).all() and share.std() > 0.05
    assert out.min() >= 0 and out.max() <= T - 1 and out[:, 0, 0, 0, 0].std() > 0.5


def test_temporal_crop_of_the_whole_is_linear_resampling(x: Tensor) -> None:
    torch.testing.assert_close(apply(x, "temporal_crop", frames=T, shortest=1.0), x, atol=1e-5, rtol=0)
    out = apply(x, "temporal_crop", frames=37, shortest=1.0)
    for place in ((0, 0, 0, 0), (7, 2, 19, 1)):
        n, c, v, m = place
        expected = np.interp(np.linspace(0, T - 1, 37), np.arange(T), x[n, c, :, v, m].numpy())
        np.testing.assert_allclose(out[n, c, :, v, m].numpy(), expected, atol=1e-5)


def test_mirror_pad_crop_is_one_of_the_authors_crops() -> None:
    out, pad = apply(ramp(), "mirror_pad_crop", ratio=6), T // 6
    padded = [*range(pad - 1, -1, -1), *range(T), *range(T - 1, T - 1 - pad, -1)]
    allowed = [padded[s : s + T] for s in range(2 * pad + 1)]
    found = [clip.tolist() for clip in out[:, 0, :, 0, 0]]
    assert all(f in allowed for f in found) and len({tuple(f) for f in found}) > pad
    assert torch.equal(out, out[:, :1, :, :1, :1].expand_as(out))


@pytest.mark.needs_shared
def test_crop_and_shear_with_the_authors_random_numbers(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    golden = load_file(shared / "golden/skeattnclr/preprocess.safetensors")
    clip = golden["out::position"][:1]
    for start, expected in zip(golden["aug::tcrop_start"], golden["aug::tcrop_out"], strict=True):
        with monkeypatch.context() as patch:
            patch.setattr(torch, "randint", lambda *args, start=start, **settings: start.view(1, 1))
            assert torch.equal(module.mirror_pad_crop(clip)[0], expected)
    s1, s2 = golden["aug::shear_s1"], golden["aug::shear_s2"]
    drawn = torch.stack(
        [torch.stack([torch.tensor(9.0), s1[0], s2[0]]), torch.stack([s1[1], torch.tensor(9.0), s2[1]]), torch.stack([s1[2], s2[2], torch.tensor(9.0)])]
    )
    monkeypatch.setattr(module, "_uniform", lambda like, shape, low, high: drawn[None])
    torch.testing.assert_close(module.shear(clip)[0], golden["aug::shear_out"], atol=1e-6, rtol=0)


def is_a_draw(index: list[int], length: int, frames: int) -> bool:
    """Sorted, and no frame oftener than a list repeated until it has enough frames holds it."""
    return len(index) == frames and index == sorted(index) and all(0 <= i < length and index.count(i) <= math.ceil(frames / length) for i in index)


@pytest.mark.parametrize(("length", "frames"), [(24, 10), (24, 24), (24, 25), (24, 60), (1, 3), (50, 1)])
def test_random_frames_are_drawn_in_order_without_replacement(length: int, frames: int) -> None:
    drawn = [clip.long().tolist() for clip in apply(ramp(length), "random_frames", frames=frames)[:, 0, :, 0, 0]]
    assert all(is_a_draw(d, length, frames) for d in drawn)
    assert len({tuple(d) for d in drawn}) > 10 or frames % length == 0 or length * frames < 100
    if frames % length == 0:
        assert all(sorted(set(d)) == list(range(length)) for d in drawn)


def test_random_frames_are_whole_frames_and_drawn_evenly(x: Tensor) -> None:
    out = apply(x, "random_frames", frames=9)
    for before, after in zip(x, out, strict=True):
        found = [next(t for t in range(T) if torch.equal(before[:, t], after[:, i])) for i in range(9)]
        assert is_a_draw(found, T, 9)
    counts = torch.bincount(module.random_frames(torch.arange(24.0).view(1, 1, 24, 1, 1).expand(4000, 1, 24, 1, 1), 9).long().flatten(), minlength=24)
    assert (counts / 4000 - 9 / 24).abs().max() < 0.05


@pytest.mark.needs_shared
def test_random_frames_are_draws_as_the_authors(shared: Path) -> None:
    """Their random numbers come from another generator; what can be compared is the rule."""
    golden = np.load(shared / "golden/psp/psp_data.npz")
    keys = [k for k in golden.files if k.startswith("random_idx_seed0/")]
    assert len(keys) == 4
    for key in keys:
        assert is_a_draw(golden[key].tolist(), int(key.split("/")[1]), 50)


def test_shear_is_one_matrix_per_clip_with_ones_on_its_diagonal(x: Tensor) -> None:
    out = apply(x, "shear", amplitude=0.5)
    for a, b in zip(x, out, strict=True):
        matrix = torch.linalg.lstsq(a.reshape(C, -1).T, b.reshape(C, -1).T).solution.T
        torch.testing.assert_close(torch.einsum("dc,ctvm->dtvm", matrix, a), b, atol=1e-4, rtol=0)
        torch.testing.assert_close(matrix.diagonal(), torch.ones(C), atol=1e-4, rtol=0)
        off = matrix[~torch.eye(C, dtype=torch.bool)]
        assert off.abs().max() <= 0.5 + 1e-4 and off.std() > 0.01


def test_rotate_yaw_turns_about_y(x: Tensor) -> None:
    out = apply(x, "rotate_yaw", degrees=30.0)
    assert torch.equal(out[:, 1], x[:, 1])
    before, after = torch.complex(x[:, 0], x[:, 2]), torch.complex(out[:, 0], out[:, 2])
    turn = after / before
    torch.testing.assert_close(turn, turn[:, :1, :1, :1].expand_as(turn), atol=1e-3, rtol=0)
    angle = turn[:, 0, 0, 0].angle().rad2deg()
    torch.testing.assert_close(turn.abs(), torch.ones_like(turn.abs()), atol=1e-3, rtol=0)
    assert angle.abs().max() <= 30 + 1e-3 and angle.min() < -10 and angle.max() > 10


def test_scale_is_one_factor_per_axis(x: Tensor) -> None:
    factor = apply(x, "scale", amplitude=0.2) / x
    torch.testing.assert_close(factor, factor[:, :, :1, :1, :1].expand_as(factor), atol=1e-4, rtol=0)
    assert (factor - 1).abs().max() <= 0.2 + 1e-4 and (factor[:, 0, 0, 0, 0] - factor[:, 1, 0, 0, 0]).abs().max() > 0.05


def test_joint_offset_is_constant_over_time(x: Tensor) -> None:
    offset = apply(x, "joint_offset", sigma=0.1) - x
    torch.testing.assert_close(offset, offset[:, :, :1].expand_as(offset), atol=1e-5, rtol=0)
    assert 0.09 < offset[:, :, 0].std() < 0.11


def test_jitter_is_noise_of_unlike_strength(x: Tensor) -> None:
    noise = apply(x, "jitter", sigma=0.1) - x
    strength = noise.flatten(1).std(1)
    assert strength.max() < 0.105 and strength.std() > 0.02 and noise.mean().abs() < 0.005


@pytest.mark.parametrize("op", ["joint_offset", "jitter"])
def test_who_is_not_there_stays_zero(x: Tensor, op: str) -> None:
    gone = torch.zeros_like(x, dtype=torch.bool)
    gone[0, :, :, :, -1] = gone[1, :, 3:5] = True
    out = apply(x.masked_fill(gone, 0), op, sigma=0.1)
    assert not out[gone].any() and out[~gone].all()


@pytest.mark.parametrize("op", [op for op in OPERATIONS if op != "film_joints"])
def test_a_second_person_who_is_not_there_stays_zero_and_the_first_stays_the_same(x: Tensor, op: str) -> None:
    """Of those that leave frames in their place, also in single frames; ``film_joints`` is tested in test_cameras.py."""
    gone = torch.zeros_like(x, dtype=torch.bool)
    gone[:20, ..., 1] = True
    if op in KEEP_FRAMES:
        gone[20:, :, 3:9, :, 1] = True
    out = apply(x.masked_fill(gone, 0), op)
    assert not out[:20, ..., 1].any() and out[..., 0].any(dim=(1, 3)).all()
    assert op not in KEEP_FRAMES or torch.equal(out.any(1).any(2), ~gone.any(1).any(2))


def test_a_frozen_joint_stands_at_its_mean_over_the_frames_with_the_person(x: Tensor) -> None:
    x[0, :, 4:, :, 1] = 0
    out = apply(x, "freeze_joints", probability=1.0)
    torch.testing.assert_close(out[0, :, :4, :, 1], x[0, :, :4, :, 1].mean(1, keepdim=True).expand(-1, 4, -1))
    torch.testing.assert_close(out[0, ..., 0], x[0, ..., 0].mean(1, keepdim=True).expand(-1, T, -1))


@pytest.mark.parametrize("op", ["shear", "rotate_yaw", "scale"])
def test_two_persons_move_together(x: Tensor, op: str) -> None:
    x[..., 1] = x[..., 0] + torch.tensor([1.0, 0.0, 0.5])[:, None, None]
    apart = apply(x, op).diff(dim=4)
    torch.testing.assert_close(apart, apart[:, :, :1, :1].expand_as(apart), atol=1e-4, rtol=0)


def test_part_swap_gives_nobody_limbs_who_is_not_there(x: Tensor) -> None:
    x[::2, ..., 1] = 0
    x[1, :, 6:, :, 1] = 0
    here = x.any(1).any(2)
    for seed in range(5):
        torch.manual_seed(seed)
        out = part_swap(x, PARTS, span_range=(4, 6))
        assert torch.equal(out.any(1).all(2), here) and torch.equal(out.any(1).any(2), here) and (out != x).any()


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_freeze_joints(x: Tensor, probability: float) -> None:
    out = apply(x, "freeze_joints", probability=probability)
    frozen = (out == out[:, :, :1]).all(2).all(1)
    mean = x.mean(2, keepdim=True).expand_as(x)
    chosen = frozen[:, None, None].expand_as(x)
    torch.testing.assert_close(out, torch.where(chosen, mean, x), atol=1e-5, rtol=0)
    assert frozen.float().mean().item() == pytest.approx(probability, abs=0.04)


@pytest.mark.parametrize("probability", [0.0, 0.5, 1.0])
def test_reverse(x: Tensor, probability: float) -> None:
    out = apply(x, "reverse", probability=probability)
    turned = torch.tensor([torch.equal(o, a.flip(1)) for o, a in zip(out, x, strict=True)])
    kept = torch.tensor([torch.equal(o, a) for o, a in zip(out, x, strict=True)])
    assert (turned ^ kept).all() and turned.float().mean().item() == pytest.approx(probability, abs=0.25 if 0 < probability < 1 else 0)


def test_augment_is_the_operations_in_order(x: Tensor) -> None:
    rows = [{"op": "shear", "amplitude": 0.3}, {"op": "temporal_crop", "frames": 8}, {"op": "joint_offset"}]
    torch.manual_seed(3)
    expected = module.joint_offset(module.temporal_crop(module.shear(x, 0.3), 8))
    torch.manual_seed(3)
    assert torch.equal(augment(x, rows), expected) and torch.equal(augment(x, []), x)


def test_unknown_operations_and_options() -> None:
    check_operations([{"op": "shear", "amplitude": 0.1}, {"op": "reverse"}])
    with pytest.raises(TrainingError, match=r"no augmentation .spin.\. Known: temporal_crop"):
        check_operations([{"op": "spin"}])
    for rows in ("shear", ("shear",)):
        with pytest.raises(TrainingError, match=r"augmentations are .*shear.*Give a list of rows"):
            check_operations(rows)  # type: ignore[arg-type]
    with pytest.raises(TrainingError, match="no augmentation None"):
        check_operations([{"amplitude": 1}])
    with pytest.raises(TrainingError, match=r"'shear' has no option speed\. Its options: amplitude"):
        check_operations([{"op": "shear", "speed": 1}])
    with pytest.raises(TrainingError, match="'shear' has no option x"):
        check_operations([{"op": "shear", "x": 1}])


@pytest.mark.parametrize(("op", "name", "values", "wanted"), [
    ("temporal_crop", "shortest", [60, 0, -0.5, 1.01, math.nan], "number above 0 and at most 1"),
    ("temporal_crop", "frames", [0, -1, 48.5, 48.0, True, None], "whole number of at least 1"),
    ("random_frames", "frames", [0, "50"], "whole number of at least 1"),
    ("mirror_pad_crop", "ratio", [0, 2.5], "whole number of at least 1"),
    ("shear", "amplitude", ["much", -0.1], "number of at least 0"),
    ("scale", "amplitude", [-0.1], "number of at least 0"),
    ("rotate_yaw", "degrees", [-40, math.inf], "number of at least 0"),
    ("joint_offset", "sigma", [-1], "number of at least 0"),
    ("jitter", "sigma", [-1, [1]], "number of at least 0"),
    ("freeze_joints", "probability", [30, -0.1], "number of at least 0 and at most 1"),
    ("reverse", "probability", [2], "number of at least 0 and at most 1"),
    ("film_joints", "degrees", [-1], "number of at least 0"),
    ("sense_joints", "degrees", [-1], "number of at least 0"),
    ("sense_joints", "probability", [1.5], "number of at least 0 and at most 1"),
])  # fmt: skip
def test_values_out_of_range(op: str, name: str, values: list[Any], wanted: str) -> None:
    for value in values:
        with pytest.raises(TrainingError, match=rf"^augmentation '{op}': {name} is {re.escape(repr(value))}\. Give a {wanted}\.$"):
            check_operations([{"op": op, name: value}])


def test_every_option_has_a_range_with_its_default() -> None:
    options = [option for op in OPERATIONS.values() for option in list(inspect.signature(op).parameters.values())[1:]]
    assert {option.name for option in options} == set(RANGES)
    assert all(option.default in RANGES[option.name] for option in options if option.default is not None)
    check_operations([{"op": "temporal_crop", "shortest": 1, "frames": 1}, {"op": "reverse", "probability": 0}, {"op": "scale", "amplitude": 0.0}])


def test_an_option_without_a_range_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def drop(x: Tensor, share: float = 0.2) -> Tensor:
        return x

    monkeypatch.setitem(OPERATIONS, "drop", drop)
    with pytest.raises(TrainingError, match=r"^augmentation 'drop': nothing says which values share may have\. Give RANGES a row\.$"):
        check_operations([{"op": "drop", "share": 0.5}])


@pytest.mark.parametrize("seed", range(25))
def test_part_swap_takes_one_region_from_one_partner(x: Tensor, seed: int) -> None:
    torch.manual_seed(seed)
    before = x.clone()
    out = part_swap(x, PARTS, part_range=(2, 3), span_range=(1, 4), unit=4)
    assert torch.equal(x, before)
    changed = (out != x).any(1).any(-1)  # (N, T, V)
    assert torch.equal(changed, changed[:1].expand_as(changed)), "one region for the whole batch"
    frames, joints = changed[0].any(1).nonzero().flatten().tolist(), changed[0].any(0).nonzero().flatten().tolist()
    assert changed[0][frames][:, joints].all()
    assert frames == list(range(frames[0], frames[-1] + 1)) and frames[0] % 4 == 0 and len(frames) in (4, 8, 12, 16)
    swapped = [p for p in PARTS if set(p) <= set(joints)]
    assert len(swapped) in (2, 3) and sorted(j for p in swapped for j in p) == joints
    shifts = [s for s in range(1, N) if torch.equal(out[:, :, frames][..., joints, :], x.roll(-s, 0)[:, :, frames][..., joints, :])]
    assert len(shifts) == 1 and shifts[0] <= N - 2


def test_part_swap_draws_everything() -> None:
    """Over many draws every part, count, span, start and partner comes up."""
    x = torch.arange(1.0, 6.0)[:, None, None, None, None].expand(5, 1, 16, V, 1).clone()
    regions = []
    for seed in range(150):
        torch.manual_seed(seed)
        out = part_swap(x, PARTS, (1, 2), (1, 2), 4)
        changed = (out != x)[0, 0, :, :, 0]
        partner = int(out[0][:, changed][0, 0]) - 1
        regions.append((int(changed.any(1).nonzero()[0]), int(changed.any(1).sum()), tuple(changed.any(0).nonzero().flatten().tolist()), partner))
    starts, spans, joints, partners = (set(r) for r in zip(*regions, strict=True))
    assert starts == {0, 4, 8, 12} and spans == {4, 8} and partners == {1, 2, 3} and {tuple(sorted(p)) for p in PARTS} <= joints and len(joints) > 10


def test_part_swap_of_short_clips_and_small_batches(x: Tensor) -> None:
    assert part_swap(x[:, :, :6], PARTS).shape == (N, C, 6, V, M)
    assert part_swap(x[:3], PARTS).shape == (3, C, T, V, M)
    with pytest.raises(TrainingError, match="at least 3 clips, got 2"):
        part_swap(x[:2], PARTS)
