"""Augmentations on batches of prepared clips (N, C, T, V, M), drawn per clip, on the batch's device.

A recipe lists them in order as {"op": name, option: value, ...}; random numbers come from torch's global
generator, which the training loop seeds at every step so that a resumed run draws the same ones.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from skelzoo.errors import TrainingError
from skelzoo.learn.cameras import film_joints, sense_joints
from skelzoo.learn.joints import joints_on
from skelzoo.learn.ranges import COUNT, NOT_NEGATIVE, SHARE, Range


def _uniform(like: Tensor, shape: tuple[int, ...], low: float, high: float) -> Tensor:
    return torch.rand(shape, device=like.device, dtype=like.dtype) * (high - low) + low


def temporal_crop(x: Tensor, frames: int | None = None, shortest: float = 0.5) -> Tensor:
    """Take a stretch of ``shortest`` to 1 of the clip and stretch it linearly to ``frames``, by default as many as the clip has."""
    n, length = x.shape[0], x.shape[2]
    frames = frames or length
    share = _uniform(x, (n, 1), shortest, 1.0)
    start = _uniform(x, (n, 1), 0.0, 1.0) * (1 - share)
    position = (start + share * torch.linspace(0, 1, frames, device=x.device, dtype=x.dtype)) * (length - 1)
    low = position.floor().long().clamp(0, length - 1)
    high = (low + 1).clamp(max=length - 1)
    weight = (position - low)[:, None, :, None, None]
    index = torch.arange(n, device=x.device)[:, None]
    frames_first = x.transpose(1, 2)
    return torch.lerp(frames_first[index, low].transpose(1, 2), frames_first[index, high].transpose(1, 2), weight)


def mirror_pad_crop(x: Tensor, ratio: int = 6) -> Tensor:
    """The crop of SkeAttnCLR: reflect T // ratio frames at both ends (edge frame repeated) and take T from a random start."""
    n, length = x.shape[0], x.shape[2]
    pad = length // ratio
    padded = torch.cat([x[:, :, :pad].flip(2), x, x[:, :, length - pad :].flip(2)], 2)
    start = torch.randint(0, 2 * pad + 1, (n, 1), device=x.device)
    index = start + torch.arange(length, device=x.device)
    return padded.transpose(1, 2)[torch.arange(n, device=x.device)[:, None], index].transpose(1, 2)


def shear(x: Tensor, amplitude: float = 0.5) -> Tensor:
    """x' = R x with ones on R's diagonal and U(-amplitude, amplitude) elsewhere (SkeAttnCLR, per clip)."""
    c = x.shape[1]
    matrix = _uniform(x, (x.shape[0], c, c), -amplitude, amplitude)
    matrix = matrix.masked_fill(torch.eye(c, dtype=torch.bool, device=x.device), 1.0)
    return torch.einsum("ndc,nctvm->ndtvm", matrix, x)


def rotate_yaw(x: Tensor, degrees: float = 40.0) -> Tensor:
    """Turn about the vertical y axis by U(-degrees, degrees).

    Raises:
        TrainingError: the joints are not 3-D.
    """
    if x.shape[1] != 3:
        raise TrainingError(f"rotate_yaw turns 3-D joints, these have {x.shape[1]} coordinates. Take it out of the augmentations.")
    angle = _uniform(x, (x.shape[0], 1, 1, 1), -degrees, degrees) * math.pi / 180
    sin, cos = angle.sin(), angle.cos()
    return torch.stack([cos * x[:, 0] + sin * x[:, 2], x[:, 1], cos * x[:, 2] - sin * x[:, 0]], 1)


def scale(x: Tensor, amplitude: float = 0.15) -> Tensor:
    """Multiply by 1 + U(-amplitude, amplitude), drawn per clip and axis."""
    return x * (1 + _uniform(x, (*x.shape[:2], 1, 1, 1), -amplitude, amplitude))


def joint_offset(x: Tensor, sigma: float = 0.03) -> Tensor:
    """Move each joint by a constant N(0, sigma) over the clip: trackers place joints differently."""
    return x + sigma * torch.randn(*x.shape[:2], 1, *x.shape[3:], device=x.device, dtype=x.dtype) * present(x)


def jitter(x: Tensor, sigma: float = 0.02) -> Tensor:
    """Add U(0, 1) * N(0, sigma) noise, the first factor drawn per clip, the second per coordinate and frame."""
    return x + sigma * torch.rand(len(x), 1, 1, 1, 1, device=x.device) * torch.randn_like(x) * present(x)


def present(x: Tensor) -> Tensor:
    """Frames in which a person is there, (N, 1, T, 1, M): who is not there stays zero."""
    return x.any(1, keepdim=True).any(3, keepdim=True)


def freeze_joints(x: Tensor, probability: float = 0.1) -> Tensor:
    """Hold random joints at their mean position over the clip, each with this probability."""
    frozen = torch.rand(len(x), 1, 1, *x.shape[3:], device=x.device) < probability
    return torch.where(frozen & present(x), mean_place(x), x)


def mean_place(x: Tensor) -> Tensor:
    """Mean of joints (N, C, T, V, M) over the frames in which their person is there: (N, C, 1, V, M)."""
    # Times one where the person always is there, so that the mean then is the plain one to the last bit.
    return x.mean(2, keepdim=True) * (x.shape[2] / present(x).sum(2, keepdim=True).clamp(min=1))


def reverse(x: Tensor, probability: float = 0.5) -> Tensor:
    """Play the clip backwards with this probability."""
    flip = torch.rand(len(x), 1, 1, 1, 1, device=x.device) < probability
    return torch.where(flip, x.flip(2), x)


def random_frames(x: Tensor, frames: int = 50) -> Tensor:
    """Draw ``frames`` frames without replacement, in order; a shorter clip is first repeated until it has enough (PSP, per clip)."""
    n, length = x.shape[0], x.shape[2]
    pool = torch.arange(length * math.ceil(frames / length), device=x.device) % length
    index = pool[torch.rand(n, len(pool), device=x.device).argsort(1)[:, :frames]].sort(1).values
    return x.transpose(1, 2)[torch.arange(n, device=x.device)[:, None], index].transpose(1, 2)


def random_frames_of(x: Tensor, lengths: Tensor, frames: int) -> Tensor:
    """``random_frames`` from the first ``lengths`` (N,) frames of each clip."""
    pool = lengths * ((frames + lengths - 1) // lengths)
    places = torch.arange(x.shape[2] + frames - 1, device=x.device)  # as long as a pool can be
    order = torch.rand(len(x), len(places), device=x.device).masked_fill(places >= pool[:, None], 2.0).argsort(1)[:, :frames]
    index = (order % lengths[:, None]).sort(1).values
    return x.transpose(1, 2)[torch.arange(len(x), device=x.device)[:, None], index].transpose(1, 2)


OPERATIONS: Mapping[str, Callable[..., Tensor]] = {
    f.__name__: f
    for f in (temporal_crop, mirror_pad_crop, random_frames, shear, rotate_yaw, scale, joint_offset, jitter, freeze_joints, reverse, film_joints, sense_joints)
}
"""Augmentations by the name they have in a recipe."""

KEEP_FRAMES = ("shear", "rotate_yaw", "scale", "joint_offset", "jitter", "freeze_joints")
"""Those that leave every frame where it is, and empty where nobody is there."""

RANGES: Mapping[str, Range] = {
    "frames": COUNT, "ratio": COUNT, "shortest": Range(0, 1, above=True), "probability": SHARE,
    "amplitude": NOT_NEGATIVE, "degrees": NOT_NEGATIVE, "sigma": NOT_NEGATIVE,
}  # fmt: skip
"""Numbers that their options take, whichever augmentation has them."""


def augment(x: Tensor, operations: Sequence[Mapping[str, Any]]) -> Tensor:
    """Apply a recipe's augmentations in order to (N, C, T, V, M)."""
    for row in operations:
        x = OPERATIONS[row["op"]](x, **{k: v for k, v in row.items() if k != "op"})
    return x


def check_operations(operations: Sequence[Mapping[str, Any]]) -> None:
    """Raise TrainingError for an unknown augmentation or option, a value that is no number of its range, or what is no list of such rows."""
    if isinstance(operations, str) or not all(isinstance(row, Mapping) for row in operations):
        raise TrainingError(f'augmentations are {operations!r}. Give a list of rows {{"op": name, option: value}}.')
    for row in operations:
        if row.get("op") not in OPERATIONS:
            raise TrainingError(f"no augmentation {row.get('op')!r}. Known: {', '.join(OPERATIONS)}.")
        allowed = set(list(inspect.signature(OPERATIONS[row["op"]]).parameters)[1:])
        if set(row) - {"op"} - allowed:
            raise TrainingError(
                f"augmentation {row['op']!r} has no option {', '.join(sorted(set(row) - {'op'} - allowed))}. Its options: {', '.join(sorted(allowed))}."
            )
        if allowed - RANGES.keys():
            raise TrainingError(
                f"augmentation {row['op']!r}: nothing says which values {', '.join(sorted(allowed - RANGES.keys()))} may have. Give RANGES a row."
            )
        wrong = [name for name, value in row.items() if name != "op" and value not in RANGES[name]]
        if wrong:
            raise TrainingError(f"augmentation {row['op']!r}: {wrong[0]} is {row[wrong[0]]!r}. Give {RANGES[wrong[0]]}.")


def part_swap(x: Tensor, parts: Sequence[Sequence[int]], part_range: tuple[int, int] = (3, 4), span_range: tuple[int, int] = (4, 7), unit: int = 4) -> Tensor:
    """SkeAttnCLR's "ske_swap": a region of joints and frames comes from another clip of the batch.

    The region and the shift to the partner, clip (i + shift) mod N, are drawn once for the whole batch. A person keeps their own
    where the partner's clip has none in the same place, and who is absent stays absent (ours; in the authors' code they get limbs).

    Args:
        x: (N, C, T, V, M) with N >= 3.
        parts: joint indices of each body part.
        part_range: fewest and most parts swapped.
        span_range: fewest and most frames swapped, in units of ``unit`` frames (the net's temporal stride).
    """
    if len(x) < 3:
        raise TrainingError(f"part swap needs a batch of at least 3 clips, got {len(x)}. Raise the batch size.")
    shift = int(torch.randint(1, len(x) - 1, ()))
    count = int(torch.randint(part_range[0], part_range[1] + 1, ()))
    joints = joints_on(x.device, tuple(j for p in sorted(torch.randperm(len(parts))[:count].tolist()) for j in parts[p]))
    units = math.ceil(x.shape[2] / unit)
    span = min(int(torch.randint(span_range[0], span_range[1] + 1, ())), units)
    start = unit * int(torch.randint(0, units - span + 1, ()))
    swapped = x.clone()
    region = (slice(None), slice(None), slice(start, start + unit * span))
    own, other = x[region], x.roll(-shift, 0)[region]
    swapped[region][:, :, :, joints] = torch.where(present(own) & present(other), other, own)[:, :, :, joints]
    return swapped


def stream_of(x: Tensor, name: str, parents: Sequence[int] = ()) -> Tensor:
    """The joint, bone or motion stream of (N, C, T, V, M), as ``skelzoo.skeleton.steps.stream`` but on a batch; only bone reads the parents."""
    if name == "bone":
        return x - x[:, :, :, joints_on(x.device, tuple(p if p >= 0 else i for i, p in enumerate(parents)))]
    if name == "motion":
        return torch.cat([x[:, :, 1:] - x[:, :, :-1], torch.zeros_like(x[:, :, :1])], 2)
    return x
