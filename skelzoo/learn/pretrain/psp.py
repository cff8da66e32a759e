"""PSP Learning without labels (arXiv 2302.02327): joint against motion on body, part and joint level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from skelzoo.learn.augment import augment, check_operations, random_frames, random_frames_of, stream_of
from skelzoo.learn.losses import TEMPERATURE, Losses, coarse_to_fine
from skelzoo.learn.pretrain.method import Method
from skelzoo.learn.ranges import POSITIVE, check_options
from skelzoo.nets.ensemble import Ensemble
from skelzoo.nets.psp import PSP


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
