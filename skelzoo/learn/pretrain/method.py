"""What the training loop asks of a pretraining method."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.profiler import record_function

from skelzoo.learn import processes
from skelzoo.learn.training import begin_at


class Method(nn.Module):
    """A pretraining method around the net it trains, which stays at ``self.net``.

    A method says how it makes views of clips and what the losses of views are. With several processes all of them make
    the views of the whole batch from the same random numbers, and each takes its share of the rows into ``losses``.
    """

    loss_names: ClassVar[tuple[str, ...]] = ()
    """Parts of the loss that the log shows."""

    idle_parameters: ClassVar[bool] = False
    """Whether there are steps in which some parameters play no part."""

    losses: Callable[..., Any]
    """The views -> a named tuple with ``total``, the loss to minimise, and one field for each of ``loss_names``.

    With several processes the loss of the whole batch is the mean over them of what each returns.
    """

    def own_views(self, clips: Tensor) -> list[Tensor]:
        """Joints of the whole batch (N, C, T, V, M), float32 -> this process's share of their views.

        Apart from ``forward``, whose inputs Fabric casts to the precision of the run: frames are placed and differences
        taken in float32.
        """
        with record_function("augmentation"):
            views = [processes.own_rows(view) for view in self.views(clips)]
            if processes.count() > 1:
                # Until here all processes have to draw the same numbers, from here on (dropout) each its own.
                begin_at(int(torch.randint(2**62, ())) + processes.rank(), clips.device)
            return views

    def forward(self, *views: Tensor) -> Any:
        """What ``own_views`` gives -> what ``losses`` makes of it."""
        with record_function("forward"):
            return self.losses(*views)

    def views(self, clips: Tensor) -> tuple[Tensor, ...]:
        """Joints (N, C, T, V, M) -> augmented, the streams computed; row i of each view belongs to row i of the others."""
        raise NotImplementedError

    def after_step(self, losses: Any, step: int, steps: int) -> None:
        """What follows an optimiser step, which was number ``step``, from 0, of ``steps``."""

    def sync(self) -> None:
        """Bring ``self.net`` up to date, called before it is measured or saved; for methods that train parts of it elsewhere."""
