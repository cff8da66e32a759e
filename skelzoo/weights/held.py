"""Settings of other packages that are held at a value for a while, and then are as they were."""

from __future__ import annotations

import contextlib
import threading
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

_LOCK = threading.Lock()
_BEFORE: defaultdict[tuple[int, str], list[Any]] = defaultdict(list)
"""For each setting one entry per block under way; the first is what it was before them all."""


@contextlib.contextmanager
def held(place: Any, name: str, value: Any) -> Iterator[None]:
    """An attribute at a value until the last of the threads that say so is done; all of them say the same value."""
    with _LOCK:
        before = _BEFORE[id(place), name]
        before.append(getattr(place, name))
        setattr(place, name, value)
    try:
        yield
    finally:
        with _LOCK:
            last = before.pop()
            if not before:
                setattr(place, name, last)
