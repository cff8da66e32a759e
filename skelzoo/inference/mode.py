"""The mode of a net during a run: evaluation, whatever its owner set, and for as long as any thread runs it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from torch import nn

from skelzoo.weights.forks import ForkLock

_RUNS: dict[nn.Module, tuple[int, bool]] = {}
"""For each module that is running, how many runs are under way and whether it was in training mode before one of them."""


def _forget() -> None:
    for module, (_, training) in _RUNS.items():
        if training:
            module.training = True
    _RUNS.clear()


_LOCK = ForkLock(_forget)


@contextlib.contextmanager
def evaluating(net: nn.Module) -> Iterator[None]:
    """A net in evaluation mode until the last of the runs that say so is done; then its modules that were in training mode are again."""
    modules = list(net.modules())
    with _LOCK:
        for module in modules:
            count, training = _RUNS.get(module, (0, False))
            _RUNS[module] = count + 1, training or module.training
            if module.training:
                module.training = False
    try:
        yield
    finally:
        with _LOCK:
            for module in modules:
                count, training = _RUNS.pop(module, (1, False))  # none in a child that was forked within the run
                if count > 1:
                    _RUNS[module] = count - 1, training
                elif training:
                    module.training = True
