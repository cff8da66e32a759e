"""What the training loop asks of a pretraining method."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import nn


class Method(nn.Module):
    """A pretraining method around the net it trains.

    ``forward(clips)`` takes joints (N, C, T, V, M), augments them, computes the streams and returns a named tuple with
    ``total``, the loss to minimise, and one field for each of ``loss_names``. The net stays at ``self.net``.
    """

    loss_names: ClassVar[tuple[str, ...]] = ()
    """Parts of the loss that the log shows."""

    def after_step(self, losses: Any, progress: float) -> None:
        """What follows an optimiser step; ``progress`` is 0 at the first one and below 1 at the last."""

    def sync(self) -> None:
        """Bring ``self.net`` up to date, called before it is measured or saved; for methods that train parts of it elsewhere."""
