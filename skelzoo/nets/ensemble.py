"""One net per stream, scores fused: the three-stream ensembles of the papers as a single net."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

STREAMS = ("joint", "bone", "motion")
"""Order of the streams on the channel axis, and of the weights."""


class StreamEnsemble(nn.Module):
    """A member for each of the joint, bone and motion streams.

    The vector is the members' vectors side by side; the logits are the weighted sum of the members' logits.

    Args:
        member: makes a member without a head, given its input channels.
        num_classes: size of each member's head; 0 for none.
        in_channels: C of a prepared tensor, a multiple of three.
        weights: of the joint, bone and motion logits.

    Raises:
        ValueError: channels or weights that are not of three streams.
    """

    def __init__(self, member: Callable[[int], nn.Module], num_classes: int, in_channels: int, weights: Sequence[float]) -> None:
        super().__init__()
        if in_channels % len(STREAMS) or len(weights) != len(STREAMS):
            raise ValueError(f"{in_channels} channels and {len(weights)} weights; the streams are {', '.join(STREAMS)}")
        self.weights = tuple(weights)
        self.members = nn.ModuleDict({s: member(in_channels // len(STREAMS)) for s in STREAMS})
        self.widths = [int(m.embedding_dim) for m in self.members.values()]  # type: ignore[arg-type]
        self.embedding_dim = sum(self.widths)
        self.heads = nn.ModuleDict({s: nn.Linear(w, num_classes) for s, w in zip(STREAMS, self.widths, strict=True)} if num_classes else {})

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names ``features`` knows: the members', after the stream's name."""
        return ("pooled", *(f"{s}.{n}" for s, m in self.members.items() for n in m.feature_names))  # type: ignore[union-attr]

    def forward_features(self, x: Tensor) -> Tensor:
        """(N, 3C, T, V, M), streams joint, bone, motion -> (N, D), the members' vectors in that order."""
        parts = x.chunk(len(STREAMS), 1)
        return torch.cat([m.forward_features(part) for m, part in zip(self.members.values(), parts, strict=True)], 1)  # type: ignore[operator]

    def forward_head(self, z: Tensor) -> Tensor:
        """(N, D) -> logits (N, classes); (N, 0) without a head."""
        if not self.heads:
            return z.new_zeros(len(z), 0)
        logits = [w * head(part) for w, head, part in zip(self.weights, self.heads.values(), torch.split(z, self.widths, 1), strict=True)]
        return torch.stack(logits).sum(0)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3C, T, V, M) -> logits (N, classes)."""
        return self.forward_head(self.forward_features(x))

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """``pooled`` (N, D), and what each member computes under ``joint.``, ``bone.`` and ``motion.``."""
        out: dict[str, Tensor] = {}
        for (stream, member), part in zip(self.members.items(), x.chunk(len(STREAMS), 1), strict=True):
            out |= {f"{stream}.{name}": tensor for name, tensor in member.features(part).items()}  # type: ignore[operator]
        return {"pooled": torch.cat([out[f"{s}.pooled"] for s in STREAMS], 1), **out}
