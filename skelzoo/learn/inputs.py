"""From clips to what a net is trained on: what is kept of them, augmentation, streams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from skelzoo.errors import TrainingError
from skelzoo.learn.augment import augment, check_operations, stream_of
from skelzoo.skeleton.clip import Clip
from skelzoo.skeleton.contract import STREAMS_HERE, Contract
from skelzoo.skeleton.layouts import get_layout
from skelzoo.skeleton.prepare import prepare_batch

WHOLE_CLIP = ("temporal_crop", "mirror_pad_crop", "random_frames", "shear", "rotate_yaw", "scale")
"""Augmentations that do the same to every joint, and so can be applied to streams as to joints."""


class Inputs:
    """Clips by a contract, augmented anew each time they are read.

    Kept are the prepared joints, from which the streams are computed after augmentation; or all streams, where the contract
    computes them from the recording before its last steps.

    Args:
        operations: augmentations, see ``skelzoo.learn.augment``.

    Raises:
        TrainingError: an unknown augmentation, or one that the streams cannot follow.
    """

    def __init__(self, contract: Contract, operations: Sequence[Mapping[str, Any]]) -> None:
        check_operations(operations)
        self.contract, self.operations, self.streams_last = contract, operations, STREAMS_HERE not in contract.steps
        wrong = [] if self.streams_last else [str(row["op"]) for row in operations if row["op"] not in WHOLE_CLIP]
        if wrong:
            raise TrainingError(
                f"augmentations {', '.join(wrong)} change joints by themselves, but this encoder's streams are computed from the recording before. "
                f"Use only {', '.join(WHOLE_CLIP)}."
            )

    def keep(self, clips: Sequence[Clip]) -> Tensor:
        """Clips as they are kept: (N, C, T, V, M), C of the joints or of all streams.

        Raises:
            ClipError, CoverageError: a clip that does not fit; the message names it.
        """
        return torch.from_numpy(prepare_batch(clips, self.contract.replace(streams=("joint",)) if self.streams_last else self.contract))

    def plain(self, kept: Tensor) -> Tensor:
        """Kept clips -> input of the net (N, C, T, V, M), as the encoder will see them."""
        if not self.streams_last:
            return kept
        parents = get_layout(self.contract.layout).parents
        return torch.cat([stream_of(kept, s, parents) for s in self.contract.streams], 1)

    def augmented(self, kept: Tensor) -> Tensor:
        """Kept clips -> augmented input of the net; absent persons stay zero.

        Raises:
            TrainingError: the augmentations give another number of frames than the net reads.
        """
        present = kept.any(dim=1, keepdim=True).any(dim=2, keepdim=True).any(dim=3, keepdim=True)
        streams = kept.shape[1] // self.contract.channels
        # Streams of a person move together, like the persons of a clip.
        moved = augment(rearrange(kept, "n (s c) t v m -> n c t v (s m)", s=streams), self.operations)
        if moved.shape[2] != self.contract.frames:
            raise TrainingError(f"the augmentations leave {moved.shape[2]} frames, the net reads {self.contract.frames}. Set their frames to that.")
        return self.plain(rearrange(moved, "n c t v (s m) -> n (s c) t v m", s=streams) * present)
