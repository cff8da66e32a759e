"""PSP Learning's losses (arXiv 2302.02327): joint against motion on body, part and joint level, and the semi-supervised sum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from skelzoo.errors import TrainingError
from skelzoo.learn.pretrain.augment import augment, check_operations, random_frames, random_frames_of, stream_of
from skelzoo.learn.pretrain.method import Method
from skelzoo.learn.pretrain.processes import all_rows
from skelzoo.learn.pretrain.ranges import POSITIVE, check_options
from skelzoo.nets.ensemble import Ensemble
from skelzoo.nets.psp import PSP

TEMPERATURE, CONTRAST_WEIGHT = 0.07, 0.2
"""The authors'."""


class Losses(NamedTuple):
    """The coarse-to-fine contrast: total = joint + part + body."""

    total: Tensor
    joint: Tensor
    part: Tensor
    body: Tensor


class SemiSupervisedLosses(NamedTuple):
    """total = classification of the labelled clips + weight * contrast.total of the unlabelled ones."""

    total: Tensor
    classification: Tensor
    contrast: Losses


def contrast(a: Tensor, b: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """InfoNCE of two views: each row's positive is the same clip in the other view, negatives are all other clips in both (NT-Xent).

    Args:
        a, b: (N, D), of any length; with several processes each gives its rows, and all compare the whole batch.

    Raises:
        TrainingError: fewer than two clips.
    """
    a, b = all_rows(a), all_rows(b)
    if len(a) < 2:
        raise TrainingError(f"the contrast compares clips with each other and got {len(a)}. Give it at least 2: raise the batch size.")
    # Similarities divided by a small temperature need float32, whatever the net ran in.
    with torch.autocast(a.device.type, enabled=False):
        z = F.normalize(torch.cat([a, b]).float(), dim=1)
        similarity = (z @ z.T / temperature).masked_fill(torch.eye(len(z), dtype=torch.bool, device=z.device), -torch.inf)
        return F.cross_entropy(similarity, torch.arange(len(z), device=z.device).roll(len(a)))


def coarse_to_fine(net: PSP, maps: Sequence[Sequence[Tensor]], persons: int, temperature: float = TEMPERATURE) -> Losses:
    """The contrast of joint and motion on every level (PSP, coarse-to-fine contrastive loss).

    Args:
        maps: of the joint and the motion stream, see ``PSP.maps``.
        persons: M.

    Raises:
        TrainingError: fewer than two clips.
    """
    levels = net.levels(maps, persons)
    joint, part, body = (contrast(level.projections[0], level.projections[1], temperature) for level in (levels[n] for n in ("joint", "part", "body")))
    return Losses(joint + part + body, joint, part, body)


def semi_supervised_losses(
    net: PSP, labelled: Tensor, labels: Tensor, unlabelled: Tensor, temperature: float = TEMPERATURE, weight: float = CONTRAST_WEIGHT
) -> SemiSupervisedLosses:
    """The authors' objective; labelled and unlabelled clips go through the backbone together, so that BatchNorm mixes them.

    Args:
        labelled: (N, C, T, V, M), joint then motion on the channel axis.
        labels: (N,) class indices.
        unlabelled: (N', C, T, V, M); the authors' include the labelled clips.
        weight: of the contrast.

    Raises:
        TrainingError: a net without a head, or fewer than two unlabelled clips.
    """
    if net.head is None:
        raise TrainingError("the net has no head to learn the labels. Create it with num_classes=N.")
    persons = labelled.shape[-1]
    known, unknown = net.maps(labelled, unlabelled)
    classification = F.cross_entropy(net.forward_head(net.pooled(known, labelled)).float(), labels)
    contrasted = coarse_to_fine(net, unknown, persons, temperature)
    return SemiSupervisedLosses(classification + weight * contrasted.total, classification, contrasted)


@dataclass(frozen=True)
class PSPOptions:
    """Options of the method; defaults are the authors'.

    Attributes:
        temperature: of the InfoNCE.
        augmentations: of the joints before the streams are computed, see ``augment``; the authors use none.
        apart: draw them for each stream anew, so that a clip's joint and motion share no rotation, scale or noise to be
            told by; ours.
    """

    temperature: float = TEMPERATURE
    augmentations: Sequence[Mapping[str, Any]] = ()
    apart: bool = False

    def __post_init__(self) -> None:
        """Raises TrainingError: a value of another kind, or out of its range."""
        check_options(self, {"temperature": POSITIVE}, switches=["apart"])
        check_operations(self.augmentations)


class PSPPretraining(Method):
    """Contrast of joint and motion without labels, the stage that the authors' first upload has.

    Args:
        net: with two streams and a pyramid; it stays at ``self.net``.
        frames: T that the net reads, drawn for joint and motion apart: a pair shows other moments of the same clip.
        native: clips are at the rate of their recording, with empty frames behind them, see ``Recipe.native_rate``.
    """

    loss_names: ClassVar[tuple[str, ...]] = ("joint", "part", "body")

    def __init__(self, net: PSP, frames: int, options: PSPOptions, native: bool = False) -> None:
        super().__init__()
        self.net, self.frames, self.options, self.native = net, frames, options, native

    def views(self, clips: Tensor) -> tuple[Tensor]:
        """Joints (N, C, T, V, M) at the rate they are stored at -> joint and motion; motion is computed before frames are drawn."""
        o = self.options
        for_joint = augment(clips, o.augmentations)
        for_motion = augment(clips, o.augmentations) if o.apart else for_joint
        streams = stream_of(for_joint, "joint"), stream_of(for_motion, "motion")
        if not self.native:
            return (torch.cat([random_frames(stream, self.frames) for stream in streams], 1),)
        lengths = clips.any(1).any(2).any(2).sum(1)
        streams[1][torch.arange(len(clips), device=clips.device), :, lengths - 1] = 0  # else the way to the empty frame behind
        return (torch.cat([random_frames_of(stream, lengths, self.frames) for stream in streams], 1),)

    def losses(self, both: Tensor) -> Losses:
        """Joint then motion on the channel axis (N, C, T, V, M) -> the contrast on every level."""
        return coarse_to_fine(self.net, self.net.maps(both)[0], both.shape[-1], self.options.temperature)


class PSPEnsemblePretraining(Method):
    """Several nets, each contrasting joint with motion in its own way on the same clips; their losses are added. Ours.

    Args:
        net: its members are those of ``methods``.
        methods: one for each member.
    """

    loss_names: ClassVar[tuple[str, ...]] = PSPPretraining.loss_names

    def __init__(self, net: Ensemble, methods: Sequence[PSPPretraining]) -> None:
        super().__init__()
        self.net, self.methods = net, methods

    def views(self, clips: Tensor) -> tuple[Tensor, ...]:
        """Joints (N, C, T, V, M) -> joint and motion for each member, drawn anew."""
        return tuple(method.views(clips)[0] for method in self.methods)

    def losses(self, *views: Tensor) -> Losses:
        """What the members see, each (N, 2C, T, V, M) -> the sums of their contrasts."""
        return Losses(*torch.stack([torch.stack(method.losses(both)) for method, both in zip(self.methods, views, strict=True)]).sum(0))
