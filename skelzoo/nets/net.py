"""What all encoders' networks have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

ALIKE: Mapping[type[nn.Module], str] = {
    nn.BatchNorm1d: "BatchNorm",
    nn.BatchNorm2d: "BatchNorm",
    nn.SyncBatchNorm: "BatchNorm",
    nn.Dropout: "Identity",
    nn.Identity: "Identity",
}
"""Classes that compute the same in evaluation, under one name."""

SETTINGS = ("eps", "kernel_size", "stride", "padding", "dilation", "groups", "padding_mode", "ceil_mode", "track_running_stats")
"""What, beside class and tensors, decides what torch's layers compute in evaluation."""


def layer_of(module: nn.Module) -> tuple[Any, ...]:
    """What a module is beside its tensors: its class and SETTINGS, None for those that it does not have."""
    own = vars(module)
    return ALIKE.get(type(module), type(module)), *[own.get(name) for name in SETTINGS]


def layers_of(net: nn.Module) -> dict[str, tuple[Any, ...]]:
    """Name of every part of a net -> what it is, see ``layer_of``, and then the names of its own tensors."""
    named = net.named_modules(remove_duplicate=False)
    return {name: (*layer_of(m), *(n for n, tensor in (*m._parameters.items(), *m._buffers.items()) if tensor is not None)) for name, m in named}


class Net(nn.Module):
    """Clips to vectors, and through a head, where there is one, to logits.

    Attributes:
        embedding_dim: D.
        head: (N, D) -> (N, classes), or None.
        reads: C and V of the clips, where ``archs.build`` made the net.
        made: ``layers_of`` the net as ``archs.build`` made it.
    """

    embedding_dim: int
    head: nn.Module | None
    reads: tuple[int, int] | None = None
    made: Mapping[str, tuple[Any, ...]] | None = None

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names ``features`` knows."""
        raise NotImplementedError

    def forward_features(self, x: Tensor) -> Tensor:
        """(N, C, T, V, M) -> (N, D).

        Raises:
            ValueError: see ``check_clips``.
        """
        raise NotImplementedError

    def forward_head(self, z: Tensor) -> Tensor:
        """(N, D) -> logits (N, classes); (N, 0) without a head."""
        return z.new_zeros(len(z), 0) if self.head is None else self.head(z)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, T, V, M) -> logits (N, classes).

        Raises:
            ValueError: see ``check_clips``.
        """
        return self.forward_head(self.forward_features(x))

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """(N, C, T, V, M) -> everything the net computes on the way, by name. Raises as ``forward_features``."""
        raise NotImplementedError

    def check_clips(self, x: Tensor) -> None:
        """Raises ValueError: no tensor, clips of other channels or joints, none at all, or of another type than the weights outside of ``torch.autocast``."""
        if self.reads is None or torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
            return
        if not isinstance(x, Tensor):
            raise ValueError(f"this net reads a tensor, got {type(x).__name__}. Give an array as torch.from_numpy(x), and clips to skelzoo.Encoder.embed.")
        if x.dim() != 5 or (x.shape[1], x.shape[3]) != self.reads or 0 in x.shape:
            raise ValueError(f"this net reads (N, {self.reads[0]}, T, {self.reads[1]}, M), got {tuple(x.shape)}; N, T and M are at least 1")
        first = next(self.parameters(), None)  # none in a replica of DataParallel
        if first is None or x.dtype == first.dtype or x.dtype in {p.dtype for p in self.parameters()}:
            return
        if not (torch.amp.is_autocast_available(x.device.type) and torch.is_autocast_enabled(x.device.type)):
            raise ValueError(f"this net computes in {first.dtype}, got clips of {x.dtype}. Give x.to({first.dtype}), or bring the net to that type.")
