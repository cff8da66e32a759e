"""The optimiser of a recipe: which one, its numbers, and its rate over the run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import nn

from skelzoo.errors import TrainingError
from skelzoo.learn.ranges import NOT_NEGATIVE, POSITIVE, Range, check_numbers
from skelzoo.learn.training import warmup_cosine

NAMES, SCHEDULES = ("adamw", "adam", "sgd"), ("cosine", "step")

RANGES = {
    "learning_rate": NOT_NEGATIVE, "weight_decay": NOT_NEGATIVE, "warmup": Range(0, 0.99), "clip_norm": replace(POSITIVE, none="for no clipping"),
    "momentum": Range(0, 0.9999), "gamma": Range(0, 1, above=True),
}  # fmt: skip


@dataclass(frozen=True)
class Optimiser:
    """How weights are stepped; the defaults are AdamW with a line up and a half cosine down to zero.

    The authors of SkeAttnCLR train with SGD for 300 epochs; on this project's small corpus and short runs AdamW got further.

    Attributes:
        learning_rate: at its full height.
        weight_decay: of all weights; ``adam`` and ``sgd`` add it to the gradient, ``adamw`` takes it off apart.
        warmup: first share of the steps, in which the rate rises in a line; 0 for none.
        clip_norm: longest gradient; longer ones are shortened to it. None for no clipping.
        name: ``adamw``, ``adam`` or ``sgd``.
        momentum, nesterov: of ``sgd``.
        schedule: ``cosine``, or ``step``: the rate is multiplied by ``gamma`` at each of ``milestones``, and without any stays what it is.
        milestones, gamma: steps of the run, counted from 0, and the factor.

    Raises:
        TrainingError: a name that is not known, a number that is none or out of its range, or an option of another optimiser or schedule.
    """

    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    warmup: float = 0.05
    clip_norm: float | None = 5.0
    name: str = "adamw"
    momentum: float = 0.0
    nesterov: bool = False
    schedule: str = "cosine"
    milestones: Sequence[int] = ()
    gamma: float = 0.1

    def __post_init__(self) -> None:
        for key, known in (("name", NAMES), ("schedule", SCHEDULES)):
            if getattr(self, key) not in known:
                raise TrainingError(f"optimiser.{key} is {getattr(self, key)!r}. Give one of {', '.join(known)}.")
        check_numbers(self, RANGES, "optimiser.")
        if type(self.nesterov) is not bool:
            raise TrainingError(f"optimiser.nesterov is {self.nesterov!r}. Give true or false.")
        if (self.momentum or self.nesterov) and self.name != "sgd":
            raise TrainingError(f"optimiser.momentum and nesterov are of sgd, and name is {self.name}. Leave them out, or choose sgd.")
        if self.nesterov and not self.momentum:
            raise TrainingError("optimiser.nesterov goes with momentum. Give a momentum, such as 0.9.")
        marks = self.milestones
        if not isinstance(marks, (list, tuple)) or not all(type(m) is int and m >= 1 for m in marks) or any(a >= b for a, b in pairwise(marks)):
            raise TrainingError(f"optimiser.milestones is {marks!r}. Give steps, whole numbers of at least 1 that rise.")
        if marks and self.schedule != "step":
            raise TrainingError(f"optimiser.milestones are of schedule step, and schedule is {self.schedule}. Leave them out, or choose step.")
        object.__setattr__(self, "milestones", list(marks))  # as it comes back from JSON

    def of(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """The torch optimiser of these parameters."""
        rate, decay = self.learning_rate, self.weight_decay
        if self.name == "sgd":
            return torch.optim.SGD(parameters, lr=rate, momentum=self.momentum, nesterov=self.nesterov, weight_decay=decay)
        return (torch.optim.AdamW if self.name == "adamw" else torch.optim.Adam)(parameters, lr=rate, weight_decay=decay)

    def rate(self, step: int, steps: int) -> float:
        """The learning rate of a step, counted from 0, of ``steps``."""
        if self.schedule == "cosine":
            return self.learning_rate * warmup_cosine(step, steps, self.warmup)
        risen = min(1.0, (step + 1) / (self.warmup * steps)) if self.warmup else 1.0
        return self.learning_rate * risen * self.gamma ** sum(step >= mark for mark in self.milestones)
