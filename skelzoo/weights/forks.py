"""A lock that a forked child does not inherit from a thread that it does not have."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable


class ForkLock:
    """A lock on what threads share. A fork waits until nobody has it, so that what it guards is whole; in the child it is free.

    Args:
        forget: called in the child, where what other threads had under way will never end.
    """

    def __init__(self, forget: Callable[[], None]) -> None:
        self._lock, self._forget = threading.Lock(), forget
        if hasattr(os, "register_at_fork"):  # not on Windows, which cannot fork
            os.register_at_fork(before=self.__enter__, after_in_parent=self.__exit__, after_in_child=self._in_child)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def _in_child(self) -> None:
        self._lock = threading.Lock()
        self._forget()
