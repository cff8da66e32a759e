"""SkeletonMAE pretraining (ICCV 2023): body parts of single frames are masked, and their embeddings reconstructed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from skelzoo.errors import TrainingError
from skelzoo.learn.pretrain.augment import augment, check_operations
from skelzoo.learn.pretrain.method import Method
from skelzoo.nets.strl import STRL

TARGETS = ("embedding", "embedding_frozen", "embedding_literal", "coords")
PAIRS = 4096
"""Random pairs of joints that ``spread`` looks at."""


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
        noise: standard deviation of Gaussian noise on every coordinate, in units of the prepared clip.
        augmentations: see ``augment``; drawn per graph, which is a clip of one frame to them.
    """

    mask: str | Sequence[str] = ("right_arm", "right_leg")
    ratio: float = 0.5
    target: str = "embedding"
    beta: float = 2.0
    literal: bool = False
    remask: bool = True
    noise: float = 0.0
    augmentations: Sequence[Mapping[str, Any]] = ()


class Losses(NamedTuple):
    """One step's loss and what the log shows of it."""

    total: Tensor
    cosine: Tensor
    """Mean cosine of reconstruction and target at the masked joints."""
    spread: Tensor
    """Standard deviation of the cosine between targets of random pairs of joints; falls towards 0 when the embedding collapses."""


class SkeletonMAEPretraining(Method):
    """Trains the joint embedding and one GIN encoder, which ``sync`` copies to every person and layer of the STRL.

    The STRL's own layers (position embedding, 1x1 and temporal convolutions) play no part and stay random until fine-tuning,
    so that ``embed`` of the weights that come out is of little use before it; ``features(at=["encoded"])`` is what was trained.

    Args:
        net: the STRL; it stays at ``self.net``.

    Raises:
        TrainingError: options that the net's layout does not have, or that leave nothing masked or nothing to see.
    """

    loss_names: ClassVar[tuple[str, ...]] = ("cosine", "spread")

    def __init__(self, net: STRL, options: SkeletonMAEOptions) -> None:
        super().__init__()
        regions = net.layout.region_indices
        _check(options, list(regions))
        self.net, self.options = net, options
        self.autoencoder = net.autoencoder(net.in_channels if options.target == "coords" else 0, options.remask)
        if options.target == "embedding_frozen":
            self.autoencoder.embedding.requires_grad_(False)
        members = torch.zeros(len(regions), len(net.layout))
        for row, joints in zip(members, regions.values(), strict=True):
            row[list(joints)] = 1
        self.members: Tensor
        self.register_buffer("members", members, persistent=False)

    def forward(self, clips: Tensor) -> Losses:
        """Joints (N, C, T, V, M) -> losses over all frames of all persons that are there."""
        graphs = self.graphs(clips)
        return self.losses(graphs, self.draw_masks(len(graphs)))

    def graphs(self, clips: Tensor) -> Tensor:
        """(N, C, T, V, M) -> (G, C, V): every frame of every person that is not all zero, augmented, with noise."""
        graphs = rearrange(clips, "n c t v m -> (n t m) c 1 v 1")
        graphs = augment(graphs[graphs.flatten(1).any(1)], self.options.augmentations)
        if self.options.noise:
            graphs = graphs + self.options.noise * torch.randn_like(graphs)
        return rearrange(graphs, "g c t v 1 -> (g t) c v")

    def draw_masks(self, count: int) -> Tensor:
        """Masked joints of that many graphs: (G, V) bool."""
        o, members = self.options, self.members
        if o.mask == "random_regions":
            order = torch.rand(count, len(members), device=members.device).argsort(1)
            chosen = order < torch.randint(1, len(members), (count, 1), device=members.device)
        elif o.mask == "random_joints":
            joints = members.shape[1]
            return torch.rand(count, joints, device=members.device).argsort(1) < min(max(round(o.ratio * joints), 1), joints - 1)
        else:
            chosen = torch.tensor([name in o.mask for name in self.net.layout.region_indices], device=members.device).expand(count, -1)
        return (chosen.float() @ members) > 0

    def losses(self, graphs: Tensor, masked: Tensor) -> Losses:
        """Graphs (G, C, V) and their masked joints (G, V) -> losses (paper, section 3.1.3; equation 2)."""
        o, x = self.options, rearrange(graphs, "g c v -> 1 c g v")
        reconstruction, embedded = self.autoencoder(x, masked[None])
        target = x if o.target == "coords" else embedded if o.target == "embedding_literal" else embedded.detach()
        # Powers of 1 - cos need float32, whatever the autoencoder ran in.
        with torch.autocast(graphs.device.type, enabled=False):
            found, target = (rearrange(y.float(), "1 d g v -> g v d") for y in (reconstruction, target))
            cosine = F.cosine_similarity(found, target, dim=2)
            error = torch.where(masked, (1 - cosine).clamp(min=0) ** o.beta, 0)
            total = (error.sum(1) / masked.sum(1) ** o.beta).mean() if o.literal else error.sum() / masked.sum()
            return Losses(total, cosine.detach()[masked].mean(), _spread(target.detach().flatten(0, 1)))

    def sync(self) -> None:
        """Copy what was trained into the STRL."""
        self.net.load_encoder(self.autoencoder.embedding.state_dict(), self.autoencoder.encoder.state_dict())


def _spread(targets: Tensor) -> Tensor:
    """Standard deviation of the cosine between random pairs of rows of (nodes, D)."""
    a, b = targets[torch.randint(len(targets), (2, PAIRS), device=targets.device)]
    return F.cosine_similarity(a, b, dim=1).std()


def _check(options: SkeletonMAEOptions, regions: Sequence[str]) -> None:
    check_operations(options.augmentations)
    if options.target not in TARGETS:
        raise TrainingError(f"no target {options.target!r}. Known: {', '.join(TARGETS)}.")
    if not 0 < options.ratio < 1 or options.beta < 1 or options.noise < 0:
        raise TrainingError(
            f"ratio {options.ratio}, beta {options.beta}, noise {options.noise}: give a ratio between 0 and 1, beta of at least 1, noise of 0 or more."
        )
    if options.mask == "random_joints" or (options.mask == "random_regions" and len(regions) > 1):
        return
    masked = [] if isinstance(options.mask, str) else list(options.mask)
    if not masked or set(masked) - set(regions) or set(masked) == set(regions):
        raise TrainingError(
            f"mask {options.mask!r}: give random_regions, random_joints, or a list of some but not all of the layout's regions {', '.join(regions) or '(none)'}."
        )
