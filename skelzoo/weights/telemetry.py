"""Requests of huggingface_hub's own, kept from being made while skelzoo asks a server."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

_LOCK = threading.Lock()
_BEFORE: list[bool] = []
"""One entry per block under way; the first is huggingface_hub's own setting."""


@contextlib.contextmanager
def no_telemetry() -> Iterator[None]:
    """Without telemetry, until the last of the threads that say so is done.

    For it the user agent asks the default endpoint for a list once a day: a request to another server than was asked for.
    """
    from huggingface_hub import constants

    with _LOCK:
        _BEFORE.append(constants.HF_HUB_DISABLE_TELEMETRY)
        constants.HF_HUB_DISABLE_TELEMETRY = True
    try:
        yield
    finally:
        with _LOCK:
            before = _BEFORE.pop()
            if not _BEFORE:
                constants.HF_HUB_DISABLE_TELEMETRY = before
