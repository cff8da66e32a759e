"""The BiGRU backbone of SkeAttnCLR, whose second direction runs forward in time too."""

from __future__ import annotations

from typing import cast

import torch
from einops import rearrange
from torch import Tensor, nn


class BiGRU(nn.Module):
    """Two unidirectional GRUs per layer over all joints of all persons, each layer reading both outputs of the one below.

    The authors call a bidirectional GRU once per time step with the carried state, so that its "reverse" weights also
    run forward in time. Weights trained so need exactly this; a true bidirectional GRU gives other numbers.

    Args:
        joints: V.
        in_channels: C of the input.
        hidden_size: H of one direction; 1024 in the authors' code.
        num_layers: 3 in the authors' code.
        num_persons: M of the input; persons are read together, so it is fixed.
    """

    persons_together = True
    """Reads exactly ``num_persons``, not fewer either."""

    def __init__(self, joints: int, in_channels: int = 3, hidden_size: int = 1024, num_layers: int = 3, num_persons: int = 2) -> None:
        super().__init__()
        if min(hidden_size, num_layers, num_persons) < 1:
            raise ValueError(f"{hidden_size} hidden units, {num_layers} layers and {num_persons} persons must be at least 1")
        self.num_persons = num_persons
        self.widths = (2 * hidden_size,) * num_layers
        size = joints * in_channels * num_persons
        self.input_norm = nn.BatchNorm1d(size)
        self.layers = nn.ModuleList(
            nn.ModuleList(nn.GRU(2 * hidden_size if i else size, hidden_size, batch_first=True) for _ in range(2)) for i in range(num_layers)
        )
        for name, weight in self.layers.named_parameters():
            if "weight" in name:
                nn.init.xavier_uniform_(weight)

    def forward(self, x: Tensor, last: int | None = None) -> list[Tensor]:
        """(N, C, T, V, M) -> outputs of layers 0 to ``last``, each (N, 2H, T, 1).

        Raises:
            ValueError: another number of persons.
        """
        if x.shape[-1] != self.num_persons:
            raise ValueError(f"{x.shape[-1]} persons, this BiGRU reads {self.num_persons} together")
        # Feature (v*C + c)*M + m, as in the authors' files.
        x = rearrange(self.input_norm(rearrange(x, "n c t v m -> n (v c m) t")), "n d t -> n t d")
        outputs = []
        for directions in self.layers[: None if last is None else last + 1]:
            x = torch.cat([gru(x)[0] for gru in cast(nn.ModuleList, directions)], 2)
            outputs.append(rearrange(x, "n t d -> n d t 1"))
        return outputs
