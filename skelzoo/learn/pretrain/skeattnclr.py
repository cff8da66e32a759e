"""SkeAttnCLR pretraining (IJCAI 2023): global, salient and non-salient InfoNCE against a momentum encoder and a queue."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skelzoo.learn.augment import augment, check_operations, part_swap, stream_of
from skelzoo.learn.pretrain.method import Method
from skelzoo.learn.processes import all_rows
from skelzoo.learn.ranges import COUNT, POSITIVE, SHARE, check_options
from skelzoo.nets.attention_mask import Projection
from skelzoo.nets.skeattnclr import SkeAttnCLR


@dataclass(frozen=True)
class SkeAttnCLROptions:
    """Options of the method; defaults are those of the paper's configurations.

    Attributes:
        queue: K, negatives kept; must be a multiple of the batch size.
        momentum: m0 of the key encoder.
        temperature: of the InfoNCE.
        mu: weight of the salient loss; the non-salient one has 1 - mu. The paper's NTU-60 joint configurations use 1.0.
        augmentations: of both views, see ``augment``.
        part_range, span_range: see ``part_swap``.
    """

    queue: int = 32768
    momentum: float = 0.996
    temperature: float = 0.2
    mu: float = 0.5
    augmentations: Sequence[Mapping[str, Any]] = field(default_factory=lambda: ({"op": "mirror_pad_crop"}, {"op": "shear"}))
    part_range: tuple[int, int] = (3, 4)
    span_range: tuple[int, int] = (4, 7)

    def __post_init__(self) -> None:
        """Raises TrainingError: a value of another kind, or out of its range."""
        check_options(self, {"queue": COUNT, "momentum": SHARE, "temperature": POSITIVE, "mu": SHARE}, pairs=["part_range", "span_range"])
        check_operations(self.augmentations)


class Losses(NamedTuple):
    """One step's losses and the keys to queue."""

    total: Tensor
    z: Tensor
    salient: Tensor
    non_salient: Tensor
    keys: tuple[Tensor, Tensor, Tensor]
    """Global, salient and non-salient keys, each (N, feature_dim), unit length."""


class SkeAttnCLRPretraining(Method):
    """Query and key encoder, three predictors and three queues.

    The key encoder starts as a copy of the query encoder (the authors' code re-initialises the two apart, which we
    take for an accident).

    Args:
        net: the encoder to train; it stays at ``self.net``.
        parents: of the net's layout, for the bone stream.
        parts: joint indices of each body part, for the swap.
        streams: what the net reads; computed after augmentation and swap, concatenated on the channel axis.
    """

    loss_names: ClassVar[tuple[str, ...]] = ("z", "salient", "non_salient")

    def __init__(
        self, net: SkeAttnCLR, parents: Sequence[int], parts: Sequence[Sequence[int]], options: SkeAttnCLROptions, streams: Sequence[str] = ("joint",)
    ) -> None:
        super().__init__()
        self.net, self.key_net = net, copy.deepcopy(net).requires_grad_(False)
        self.parents, self.parts, self.options, self.streams = parents, parts, options, streams
        dim = net.neck.projector.linear2.out_features
        self.predictors = nn.ModuleDict({name: Projection(dim, 2 * dim, dim) for name in ("z", "salient", "non_salient")})
        self.queue: Tensor
        self.pointer: Tensor
        self.register_buffer("queue", F.normalize(torch.randn(3, dim, options.queue), dim=1))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.long))

    def views(self, clips: Tensor) -> tuple[Tensor, ...]:
        """Joints (N, C, T, V, M) -> two augmented views and the swap of the first, the streams of each."""
        o = self.options
        query, key = augment(clips, o.augmentations), augment(clips, o.augmentations)
        swapped = part_swap(query, self.parts, o.part_range, o.span_range)
        return tuple(torch.cat([stream_of(view, s, self.parents) for s in self.streams], 1) for view in (query, key, swapped))

    def losses(self, query: Tensor, key: Tensor, swapped: Tensor) -> Losses:
        """The losses of two views and the swapped first one, as the authors' code has them; see docs/skeattnclr.md.

        L = L_z + mu L_s + (1 - mu) L_ns. All three take the queue of global keys as negatives; each local one
        also the other local feature of the same clip. The mask of the swapped query is applied to the key.
        """
        q = self._predict("z", self._project(self.net, query))
        swapped_z, salient, non_salient, mask = self._project_masked(self.net, swapped, None)
        # The swapped clip's global vector enters no loss; it is run because the authors' BatchNorm statistics include it.
        self._predict("z", swapped_z)
        qs, qns = self._predict("salient", salient), self._predict("non_salient", non_salient)
        with torch.no_grad():
            kz, ks, kns = (F.normalize(k.float(), dim=1) for k in self._project_masked(self.key_net, key, mask)[:3])
        loss_z = self._info_nce(q, kz)
        loss_s = self._info_nce(qs, ks, qns.detach())
        loss_ns = self._info_nce(qns, kns, qs.detach())
        total = loss_z + self.options.mu * loss_s + (1 - self.options.mu) * loss_ns
        return Losses(total, loss_z, loss_s, loss_ns, (kz, ks, kns))

    def _project(self, net: SkeAttnCLR, x: Tensor) -> Tensor:
        z: Tensor = net.neck.projector(net.pooled(x))
        return z

    def _project_masked(self, net: SkeAttnCLR, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        masked = net.masked(x, mask)
        z, salient, non_salient = (net.neck.projector(part) for part in (masked.pooled, masked.salient, masked.non_salient))
        return z, salient, non_salient, masked.mask

    def _predict(self, name: str, z: Tensor) -> Tensor:
        return F.normalize(self.predictors[name](z).float(), dim=1)

    def _info_nce(self, query: Tensor, key: Tensor, extra_negative: Tensor | None = None) -> Tensor:
        # Similarities divided by a small temperature need float32, whatever the encoders ran in.
        with torch.autocast(query.device.type, enabled=False):
            return self._cross_entropy(query, key, extra_negative)

    def _cross_entropy(self, query: Tensor, key: Tensor, extra_negative: Tensor | None) -> Tensor:
        logits = [(query * key).sum(1, keepdim=True), query @ self.queue[0]]
        if extra_negative is not None:
            logits.append((query * extra_negative).sum(1, keepdim=True))
        return F.cross_entropy(torch.cat(logits, 1) / self.options.temperature, torch.zeros(len(query), dtype=torch.long, device=query.device))

    @torch.no_grad()
    def enqueue(self, keys: tuple[Tensor, Tensor, Tensor]) -> None:
        """Overwrite the oldest columns of the queues (global, salient, non-salient) with this step's keys, those of all processes."""
        rows = all_rows(torch.stack(keys, 1))
        start = int(self.pointer)
        stop = start + len(rows)
        self.queue[:, :, start:stop] = rows.permute(1, 2, 0).to(self.queue.dtype)
        self.pointer.fill_(stop % self.queue.shape[2])

    def momentum_at(self, progress: float) -> float:
        """m(t) = 1 - (1 - m0)(cos(pi t) + 1) / 2 for progress t in 0..1."""
        return 1 - (1 - self.options.momentum) * (math.cos(math.pi * progress) + 1) / 2

    @torch.no_grad()
    def update_key(self, momentum: float) -> None:
        """key = m key + (1 - m) query for every state entry, BatchNorm statistics included; counters are copied."""
        for key, query in zip(self.key_net.state_dict().values(), self.net.state_dict().values(), strict=True):
            key.mul_(momentum).add_(query, alpha=1 - momentum) if key.is_floating_point() else key.copy_(query)

    def after_step(self, losses: Losses, step: int, steps: int) -> None:
        """What follows an optimiser step: queue the keys, move the key encoder."""
        self.enqueue(losses.keys)
        self.update_key(self.momentum_at(step / steps))
