"""Settings of other packages that are held at a value for a while, and then are as they were."""

from __future__ import annotations

import contextlib
import functools
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

from skelzoo.weights.forks import ForkLock

_BEFORE: defaultdict[tuple[int, str], list[Callable[[], None]]] = defaultdict(list)
"""For each setting one entry per block under way; the first brings back what it was before them all."""


def _forget() -> None:
    for before in _BEFORE.values():
        for bring_back in before[:1]:
            bring_back()
    _BEFORE.clear()


_LOCK = ForkLock(_forget)


@contextlib.contextmanager
def held(place: Any, name: str, value: Any) -> Iterator[None]:
    """An attribute at a value until the last of the threads that say so is done; all of them say the same value."""
    with _LOCK:
        before = _BEFORE[id(place), name]
        before.append(functools.partial(setattr, place, name, getattr(place, name)))
        setattr(place, name, value)
    try:
        yield
    finally:
        with _LOCK:
            bring_back = before.pop() if before else None  # None in a child that was forked within the block
            if bring_back and not before:
                bring_back()
