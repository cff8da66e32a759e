"""Several nets of one kind as a single net: one per stream with fused scores, as in the papers, or all on the same clips."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from skelzoo.nets.net import Net
from skelzoo.skeleton.contract import STREAMS


class Members(Net):
    """Nets whose vectors stand side by side.

    Args:
        members: name -> net without a head.
    """

    OPTIONS: ClassVar[Mapping[str, Any]] = {}
    """Options of the whole, beside the members', with their defaults."""

    def __init__(self, members: Mapping[str, Net]) -> None:
        super().__init__()
        self.members = nn.ModuleDict(members)
        self.widths = [m.embedding_dim for m in members.values()]
        self.embedding_dim = sum(self.widths)

    @staticmethod
    def parts(x: Tensor, count: int) -> Sequence[Tensor]:
        """(N, C, T, V, M) -> what each of ``count`` members reads."""
        raise NotImplementedError

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names ``features`` knows: the members', after the member's name."""
        return ("pooled", *(f"{name}.{n}" for name, m in self.members.items() for n in m.feature_names))  # type: ignore[union-attr]

    def forward_features(self, x: Tensor) -> Tensor:
        """(N, C, T, V, M) -> (N, D), the members' vectors in their order."""
        self.check_clips(x)
        parts = self.parts(x, len(self.members))
        return torch.cat([m.forward_features(part) for m, part in zip(self.members.values(), parts, strict=True)], 1)  # type: ignore[operator]

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """``pooled`` (N, D), and what each member computes, after its name and a dot."""
        self.check_clips(x)
        out: dict[str, Tensor] = {}
        for (member, net), part in zip(self.members.items(), self.parts(x, len(self.members)), strict=True):
            out |= {f"{member}.{name}": tensor for name, tensor in net.features(part).items()}  # type: ignore[operator]
        return {"pooled": torch.cat([out[f"{member}.pooled"] for member in self.members], 1), **out}


class StreamEnsemble(Members):
    """A member for each of the joint, bone and motion streams; the logits are the weighted sum of the members' logits.

    Args:
        member: makes a member without a head, given its input channels.
        num_classes: size of each member's head; 0 for none.
        in_channels: C of a prepared tensor, a multiple of three.
        weights: of the joint, bone and motion logits; by default those that SkeAttnCLR's scripts try first.

    Raises:
        ValueError: channels or weights that are not of three streams.
    """

    OPTIONS: ClassVar[Mapping[str, Any]] = {"weights": (0.5, 0.5, 0.5)}

    def __init__(self, member: Callable[[int], Net], num_classes: int, in_channels: int, weights: Sequence[float] = OPTIONS["weights"]) -> None:
        if in_channels % len(STREAMS) or len(weights) != len(STREAMS):
            raise ValueError(f"{in_channels} channels and {len(weights)} weights; the streams are {', '.join(STREAMS)}")
        super().__init__({s: member(in_channels // len(STREAMS)) for s in STREAMS})
        self.weights = tuple(weights)
        self.heads = nn.ModuleDict({s: nn.Linear(w, num_classes) for s, w in zip(STREAMS, self.widths, strict=True)} if num_classes else {})

    @staticmethod
    def parts(x: Tensor, count: int) -> Sequence[Tensor]:
        """(N, 3C, T, V, M) -> the streams, each (N, C, T, V, M)."""
        return x.chunk(count, 1)

    def forward_head(self, z: Tensor) -> Tensor:
        """(N, D) -> logits (N, classes); (N, 0) without a head."""
        if not self.heads:
            return z.new_zeros(len(z), 0)
        logits = [w * head(part) for w, head, part in zip(self.weights, self.heads.values(), torch.split(z, self.widths, 1), strict=True)]
        return torch.stack(logits).sum(0)


class Ensemble(Members):
    """Members that differ in their weights alone and read the same clips, with one head on all their vectors; ours.

    Args:
        member: makes a member without a head, given its input channels.
        num_classes: size of the head; 0 for none.
        in_channels: C of a prepared tensor.
        members: how many.

    Raises:
        ValueError: fewer than two members.
    """

    OPTIONS: ClassVar[Mapping[str, Any]] = {"members": 2}

    def __init__(self, member: Callable[[int], Net], num_classes: int, in_channels: int, members: int = OPTIONS["members"]) -> None:
        if members < 2:
            raise ValueError(f"an ensemble has at least 2 members, not {members}")
        super().__init__({str(i): member(in_channels) for i in range(members)})
        self.head = nn.Linear(self.embedding_dim, num_classes) if num_classes else None

    @staticmethod
    def parts(x: Tensor, count: int) -> Sequence[Tensor]:
        """The clips for every member."""
        return [x] * count
