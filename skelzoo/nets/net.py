"""What all encoders' networks have in common."""

from __future__ import annotations

from torch import Tensor, nn


class Net(nn.Module):
    """Clips to vectors, and through a head, where there is one, to logits.

    Attributes:
        embedding_dim: D.
        head: (N, D) -> (N, classes), or None.
        reads: C and V of the clips, where ``archs.build`` made the net.
    """

    embedding_dim: int
    head: nn.Module | None
    reads: tuple[int, int] | None = None

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names ``features`` knows."""
        raise NotImplementedError

    def forward_features(self, x: Tensor) -> Tensor:
        """(N, C, T, V, M) -> (N, D)."""
        raise NotImplementedError

    def forward_head(self, z: Tensor) -> Tensor:
        """(N, D) -> logits (N, classes); (N, 0) without a head."""
        return z.new_zeros(len(z), 0) if self.head is None else self.head(z)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, T, V, M) -> logits (N, classes).

        Raises:
            ValueError: clips of other channels or joints.
        """
        if self.reads is not None and (x.dim() != 5 or (x.shape[1], x.shape[3]) != self.reads):
            raise ValueError(f"this net reads (N, {self.reads[0]}, T, {self.reads[1]}, M), got {tuple(x.shape)}")
        return self.forward_head(self.forward_features(x))

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """(N, C, T, V, M) -> everything the net computes on the way, by name."""
        raise NotImplementedError
