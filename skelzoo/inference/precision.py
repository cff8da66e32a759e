"""The precision of a run: whether CUDA may round the factors of float32 products to TF32 (10 bits), and no autocast."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import torch

TF32 = "tf32"

_LOCK = threading.Lock()
_RUNS: list[bool] = []
"""What the runs under way allow. One that does not decides for all: numbers must not lose digits because of another thread."""

_BEFORE: list[tuple[Any, str, Any]] = []
"""Torch's own settings, as they were before the first of them: where, attribute, value."""


def without_autocast(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Computing in the types that tensors have, whatever ``torch.autocast`` the caller is in."""
    return torch.autocast(device.type, enabled=False) if torch.amp.is_autocast_available(device.type) else contextlib.nullcontext()


@contextlib.contextmanager
def own_precision(device: torch.device, tf32: bool) -> Iterator[None]:
    """``without_autocast``, and with ``tf32_products`` as said."""
    with tf32_products(tf32), without_autocast(device):
        yield


@contextlib.contextmanager
def tf32_products(allowed: bool) -> Iterator[None]:
    """Whether CUDA may round the factors of float32 products and convolutions to TF32; torch's own settings come back afterwards.

    Left alone, torch allows it in convolutions and not in products.
    """
    with _LOCK:
        if not _RUNS:
            _BEFORE[:] = _settings()
        _RUNS.append(allowed)
        _set()
    try:
        yield
    finally:
        with _LOCK:
            _RUNS.remove(allowed)
            _set()


def _set() -> None:
    if not _RUNS:
        for place, name, value in _BEFORE:
            setattr(place, name, value)
        return
    allowed = all(_RUNS)
    for place in _older():
        place.allow_tf32 = allowed
    for place, _ in _newer():
        place.fp32_precision = TF32 if allowed else "ieee"


def _settings() -> list[tuple[Any, str, Any]]:
    before: list[tuple[Any, str, Any]] = []
    for place in _older():
        with contextlib.suppress(RuntimeError):  # torch's newer way of setting it was used, after which the older one cannot be read
            before.append((place, "allow_tf32", place.allow_tf32))
    # What a place has of the one above it, it goes on having of it; torch does not tell that from the same value of its own.
    return before + [(place, "fp32_precision", "none" if place.fp32_precision == above.fp32_precision else place.fp32_precision) for place, above in _newer()]


def _older() -> tuple[Any, ...]:
    return torch.backends.cuda.matmul, torch.backends.cudnn


def _newer() -> list[tuple[Any, Any]]:
    """Places of torch's newer way, each with the one whose value it has where it has none of its own; none before torch 2.9."""
    if not hasattr(torch.backends, "fp32_precision"):
        return []
    cudnn: Any = torch.backends.cudnn
    return [(torch.backends.cuda.matmul, torch.backends), (cudnn.conv, cudnn), (cudnn.rnn, cudnn)]
