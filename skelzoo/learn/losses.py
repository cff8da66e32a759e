"""Losses that several trainings share: the contrast of two views, PSP Learning's on its levels (arXiv 2302.02327), and the semi-supervised sum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from skelzoo.errors import TrainingError
from skelzoo.learn.processes import all_rows
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
    """The contrast of joint and motion on every level, as the authors' code of PSP has it; see docs/psp.md.

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
