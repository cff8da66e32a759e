"""SkeletonMAE pretraining (ICCV 2023): body parts of single frames are masked, and their embeddings reconstructed; then over time, our own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from skelzoo.errors import TrainingError
from skelzoo.learn.augment import augment, check_operations, mean_place, present, stream_of
from skelzoo.learn.losses import contrast
from skelzoo.learn.pretrain.method import Method
from skelzoo.learn.processes import mean
from skelzoo.learn.ranges import NOT_NEGATIVE, POSITIVE, SHARE, Range, check_options
from skelzoo.nets.pooling import Pooling
from skelzoo.nets.strl import STRL, pool_persons

TARGETS = ("embedding", "embedding_frozen", "embedding_literal", "coords")
PAIRS = 4096
"""Random pairs of joints that ``spread`` looks at."""

TEMPORAL = ("reconstruction", "contrast")
"""What the second stage trains by."""

RANGES = {
    "ratio": Range(0, 1, above=True, below=True), "beta": Range(1), "noise": NOT_NEGATIVE, "graphs": Range(0, whole=True),
    "temporal_share": SHARE, "temperature": POSITIVE,
}  # fmt: skip
"""Numbers that the options take."""

SEGMENTS, PROJECTION = 4, (256, 128)
"""Stretches of time that the contrast pools apart, and the widths of its projector."""

HIDDEN, SHORTEST = 0.4, 0.25
"""Second stage: the chance of a region to be hidden, and the shortest stretch for which it is, as a share of the clip."""

SCALES, SMOOTH = {"motion": 10.0}, 0.1
"""Second stage: differences of frames count this many times as much as positions, and errors below this are squared (smooth L1)."""


@dataclass(frozen=True)
class SkeletonMAEOptions:
    """Options of the method; defaults are the choices of docs/skeletonmae.md.

    Attributes:
        mask: regions of ``Layout.region_indices`` masked in every graph; or ``random_regions``, 1 to all but one of them
            drawn per graph; or ``random_joints``, a share of ``ratio`` drawn per graph.
        ratio: of ``random_joints``.
        target: ``embedding`` of the joints, without gradients; ``embedding_frozen``, the embedding left as it was
            initialised; ``embedding_literal``, with gradients as the paper's formula reads, which collapses; ``coords``.
        beta: exponent of the loss.
        literal: the sum of equation 2, (1/n - cos/n)^beta over n masked joints, instead of their mean of (1 - cos)^beta.
        remask: see ``SkeletonMAE``.
        noise: standard deviation of Gaussian noise on every coordinate that is seen, in units of the prepared clip.
        graphs: most graphs of a step, drawn from those of its clips; 0 for all. The paper's batch is 1024.
        augmentations: of the joints before the streams are computed, see ``augment``; drawn per clip.
        temporal_share: last share of the steps, in which the whole STRL is trained, time included; 0 in the paper. 1 leaves the first
            stage out, for an STRL that has been through it.
        temporal: by what: ``reconstruction`` of hidden stretches, or ``contrast`` of two views of a clip with the other clips of the batch.
        temperature: of the contrast.
    """

    mask: str | Sequence[str] = ("right_arm", "right_leg")
    ratio: float = 0.5
    target: str = "embedding"
    beta: float = 2.0
    literal: bool = False
    remask: bool = True
    noise: float = 0.0
    graphs: int = 0
    augmentations: Sequence[Mapping[str, Any]] = ()
    temporal_share: float = 0.0
    temporal: str = "reconstruction"
    temperature: float = 0.1

    def __post_init__(self) -> None:
        """Raises TrainingError: a value of another kind, or out of its range."""
        check_options(self, RANGES, switches=["literal", "remask"])
        check_operations(self.augmentations)
        for name, known in (("target", TARGETS), ("temporal", TEMPORAL)):
            if getattr(self, name) not in known:
                raise TrainingError(f"method_options.{name} is {getattr(self, name)!r}. Give one of {', '.join(known)}.")


class Losses(NamedTuple):
    """One step's loss and what the log shows of it."""

    total: Tensor
    cosine: Tensor
    """Mean cosine of reconstruction and target at the masked joints."""
    spread: Tensor
    """Standard deviation of the cosine between targets of random pairs of joints; falls towards 0 when the embedding collapses."""
    error: Tensor
    """Reconstruction or contrast of the second stage, whose total it is; 0 in the first, as the other two are in the second."""


class SkeletonMAEPretraining(Method):
    """Trains the joint embedding and one GIN encoder, which go into every person and layer of the STRL, then, our own, the STRL.

    First stage (the paper): body parts of single frames are masked. The STRL's own layers (position embedding, 1x1 and temporal
    convolutions) play no part and stay random, so that ``embed`` of the weights that come out is of little use before fine-tuning;
    ``features(at=["encoded"])`` is what was trained.

    Second stage (``temporal_share``, not in the paper): regions are hidden for a stretch of the clip, each joint held at its mean position,
    and a linear map of the STRL's last layer is to give all joints and their motion as they were. Or, by ``contrast``, a small projection
    of the last layer, pooled over stretches of time and body parts, is to tell two views of a clip from those of the others.

    Args:
        net: the STRL; it stays at ``self.net``. The first stage goes on from its joint embedding and the encoder of its first layer and person.
        streams: what the net reads; computed after augmentation, concatenated on the channel axis.

    Raises:
        TrainingError: options that the net's layout does not have, or that leave nothing masked or nothing to see.
    """

    loss_names: ClassVar[tuple[str, ...]] = ("cosine", "spread", "error")
    idle_parameters: ClassVar[bool] = True

    def __init__(self, net: STRL, options: SkeletonMAEOptions, streams: Sequence[str] = ("joint",)) -> None:
        super().__init__()
        regions = net.layout.region_indices
        _check_mask(options.mask, list(regions))
        self.net, self.options, self.streams = net, options, streams
        self.autoencoder = net.autoencoder(net.in_channels if options.target == "coords" else 0, options.remask)
        self.autoencoder.embedding.load_state_dict(net.embedding.state_dict())
        self.autoencoder.encoder.load_state_dict(net.encoders[0][0].state_dict())  # type: ignore[index]
        if options.target == "embedding_frozen":
            self.autoencoder.embedding.requires_grad_(False)
        self.pooling, dim = Pooling(SEGMENTS, net.layout.part_indices), net.position.shape[1]
        self.decoder = nn.Conv2d(dim, net.in_channels, 1) if options.temporal_share and options.temporal == "reconstruction" else None
        hidden, out = PROJECTION
        contrasted = options.temporal_share and options.temporal == "contrast"
        self.projector = nn.Sequential(nn.Linear(dim * self.pooling.vectors, hidden), nn.ReLU(), nn.Linear(hidden, out)) if contrasted else None
        self.temporal: Tensor
        self.register_buffer("temporal", torch.tensor(options.temporal_share == 1))
        members = torch.zeros(len(regions), len(net.layout))
        for row, joints in zip(members, regions.values(), strict=True):
            row[list(joints)] = 1
        self.members: Tensor
        self.register_buffer("members", members, persistent=False)
        self.chosen: Tensor
        self.register_buffer("chosen", torch.tensor([name in options.mask for name in regions]), persistent=False)
        self.scales: Tensor
        scales = torch.tensor([SCALES.get(s, 1.0) for s in streams]).repeat_interleave(net.in_channels // len(streams))
        self.register_buffer("scales", scales[:, None, None], persistent=False)

    def views(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        """Joints (N, C, T, V, M) -> graphs (G, C, V) and their masked joints (G, V); in the second stage clips, partly hidden and whole, or two views."""
        joints, seen = self.moved(clips)
        if self.temporal and self.projector is not None:
            return self.read(seen), self.read(self.moved(clips)[1])
        if self.temporal:
            return self.read(torch.where(self.draw_hidden(joints) & present(joints), mean_place(joints), seen)), self.read(joints)
        graphs = self.graphs(self.read(seen))
        return graphs, self.draw_masks(len(graphs))

    def moved(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        """Joints (N, C, T, V, M) -> augmented, without and with noise; persons who are not there stay zero."""
        joints = augment(clips, self.options.augmentations) * clips.flatten(1, 3).any(1)[:, None, None, None]
        return joints, joints + self.options.noise * torch.randn_like(joints) * present(joints) if self.options.noise else joints

    def read(self, joints: Tensor) -> Tensor:
        """Joints (N, C, T, V, M) -> the streams that the net reads, on the channel axis."""
        return torch.cat([stream_of(joints, s, self.net.layout.parents) for s in self.streams], 1)

    def graphs(self, clips: Tensor) -> Tensor:
        """(N, C, T, V, M) -> (G, C, V): every frame of every person that is not all zero, or some of them."""
        graphs = rearrange(clips, "n c t v m -> (n t m) c v")
        graphs = graphs[graphs.flatten(1).any(1)]
        if 0 < self.options.graphs < len(graphs):
            graphs = graphs[torch.randperm(len(graphs), device=graphs.device)[: self.options.graphs]]
        return graphs

    def draw_masks(self, count: int) -> Tensor:
        """Masked joints of that many graphs: (G, V) bool."""
        o, members = self.options, self.members
        if o.mask == "random_regions":
            order = torch.rand(count, len(members), device=members.device).argsort(1)
            chosen = order < torch.randint(1, len(members), (count, 1), device=members.device)
        elif o.mask == "random_joints":
            joints = members.shape[1]
            return torch.rand(count, joints, device=members.device).argsort(1) < min(max(int(o.ratio * joints + 0.5), 1), joints - 1)
        else:
            chosen = self.chosen.expand(count, -1)
        return (chosen.float() @ members) > 0

    def draw_hidden(self, joints: Tensor) -> Tensor:
        """What the second stage hides of joints (N, C, T, V, M): (N, 1, T, V, 1) bool, regions for one stretch of each clip."""
        count, frames, members = joints.shape[0], joints.shape[2], self.members
        hidden = (torch.rand(count, len(members), device=joints.device) < HIDDEN).float() @ members > 0
        share = SHORTEST + (1 - SHORTEST) * torch.rand(count, 1, device=joints.device)
        start = torch.rand(count, 1, device=joints.device) * (1 - share)
        time = torch.linspace(0, 1, frames, device=joints.device)
        stretch = (time >= start) & (time <= start + share)
        return (stretch[:, :, None] & hidden[:, None])[:, None, :, :, None]

    def losses(self, first: Tensor, second: Tensor) -> Losses:
        """What ``views`` gives -> the reconstruction of masked joints, or the second stage's loss."""
        if second.dtype == torch.bool:
            return self.reconstruct(first, second)
        if self.projector is not None:
            last = self.net.maps(torch.cat([first, second]))[-1]
            a, b = self.projector(pool_persons(self.pooling, last, first.shape[4])).chunk(2)
            return _second_stage(contrast(a, b, self.options.temperature))
        assert self.decoder is not None
        last = self.net.maps(first)[-1]
        # Small errors need float32, whatever the net ran in.
        with torch.autocast(first.device.type, enabled=False):
            whole = rearrange(second.float(), "n c t v m -> (m n) c t v")
            error = F.smooth_l1_loss(self.decoder(last.float()), whole * self.scales, beta=SMOOTH, reduction="none").mean((1, 2, 3))
            present = whole.flatten(1).any(1)
            return _second_stage((error * present).sum() / mean(present.sum()))

    def reconstruct(self, graphs: Tensor, masked: Tensor) -> Losses:
        """Graphs (G, C, V) and their masked joints (G, V) -> losses of the first stage (paper, section 3.1.3; equation 2)."""
        o, x = self.options, rearrange(graphs, "g c v -> 1 c g v")
        reconstruction, embedded = self.autoencoder(x, masked[None])
        target = x if o.target == "coords" else embedded if o.target == "embedding_literal" else embedded.detach()
        # Powers of 1 - cos need float32, whatever the autoencoder ran in.
        with torch.autocast(graphs.device.type, enabled=False):
            found, target = (rearrange(y.float(), "1 d g v -> g v d") for y in (reconstruction, target))
            cosine = F.cosine_similarity(found, target, dim=2)
            error = torch.where(masked, (1 - cosine).clamp(min=0) ** o.beta, 0)
            total = (error.sum(1) / masked.sum(1) ** o.beta).sum() / mean(error.new_full((), len(error))) if o.literal else error.sum() / mean(masked.sum())
            return Losses(total, cosine.detach()[masked].mean(), _spread(target.detach().flatten(0, 1)), total.new_zeros(()))

    def after_step(self, losses: Losses, step: int, steps: int) -> None:
        """Begin the second stage when its share of the steps, to the nearest one, is left."""
        share = self.options.temporal_share
        if share and not self.temporal and steps - (step + 1) <= round(share * steps):
            self.sync()
            self.temporal.fill_(True)

    def sync(self) -> None:
        """Copy the encoder into every person and layer of the STRL; in the second stage each is trained by itself."""
        if not self.temporal:
            self.net.load_encoder(self.autoencoder.embedding.state_dict(), self.autoencoder.encoder.state_dict())


def _second_stage(total: Tensor) -> Losses:
    zero = total.new_zeros(())
    return Losses(total, zero, zero, total.detach())


def _spread(targets: Tensor) -> Tensor:
    """Standard deviation of the cosine between random pairs of rows of (nodes, D)."""
    a, b = targets[torch.randint(len(targets), (2, PAIRS), device=targets.device)]
    return F.cosine_similarity(a, b, dim=1).std()


def _check_mask(mask: str | Sequence[str], regions: Sequence[str]) -> None:
    if mask == "random_joints" or (mask == "random_regions" and len(regions) > 1):
        return
    masked = list(mask) if isinstance(mask, (list, tuple)) else []
    if not masked or set(masked) - set(regions) or set(masked) == set(regions):
        raise TrainingError(
            f"mask {mask!r}: give random_regions, random_joints, or a list of some but not all of the layout's regions {', '.join(regions) or '(none)'}."
        )
