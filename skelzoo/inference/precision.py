"""The precision of a run: whether CUDA may round the factors of float32 products to TF32 (10 bits), and no autocast."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch

from skelzoo.weights.forks import ForkLock

TF32 = "tf32"

_RUNS: list[bool] = []
"""What the runs under way allow. One that does not decides for all: numbers must not lose digits because of another thread."""

_BEFORE: list[Callable[[], None]] = []
"""What brings torch's own settings back, as they were before the first of them."""


def _forget() -> None:
    if _RUNS:
        _RUNS.clear()
        _set()


_LOCK = ForkLock(_forget)


def without_autocast(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Computing in the types that tensors have, whatever ``torch.autocast`` the caller is in."""
    # Only where the caller is in one: on its end torch takes a lock of its own, on which a child that is forked meanwhile would wait for ever.
    within = torch.amp.is_autocast_available(device.type) and torch.is_autocast_enabled(device.type)
    return torch.autocast(device.type, enabled=False) if within else contextlib.nullcontext()


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
            if allowed in _RUNS:  # not in a child that was forked within the run
                _RUNS.remove(allowed)
                _set()


def _set() -> None:
    if not _RUNS:
        for bring_back in _BEFORE:
            bring_back()
        return
    allowed = all(_RUNS)
    # The whole setting and not its part of CUDA alone: torch refuses to read it, for good, once its parts contradict each other.
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    torch.backends.cudnn.allow_tf32 = allowed
    for place, _, cuda in _newer():
        place.fp32_precision = TF32 if allowed and cuda else "ieee"


def _settings() -> list[Callable[[], None]]:
    before: list[Callable[[], None]] = []
    with contextlib.suppress(RuntimeError):  # torch's newer way of setting it was used, after which the older one cannot be read
        before.append(functools.partial(torch.set_float32_matmul_precision, torch.get_float32_matmul_precision()))
    with contextlib.suppress(RuntimeError):
        before.append(functools.partial(setattr, torch.backends.cudnn, "allow_tf32", torch.backends.cudnn.allow_tf32))
    for place, above, _ in _newer():
        # What a place has of the one above it, it goes on having of it; torch does not tell that from the same value of its own.
        value = "none" if place.fp32_precision == above.fp32_precision else place.fp32_precision
        before.append(functools.partial(setattr, place, "fp32_precision", value))
    return before


def _newer() -> list[tuple[Any, Any, bool]]:
    """Places of torch's newer way, each with the one whose value it has where it has none of its own, and whether it is CUDA's; none before torch 2.9."""
    if not hasattr(torch.backends, "fp32_precision"):
        return []
    cudnn: Any = torch.backends.cudnn
    cpu: Any = torch.backends.mkldnn
    return [(torch.backends.cuda.matmul, torch.backends, True), (cudnn.conv, cudnn, True), (cudnn.rnn, cudnn, True), (cpu.matmul, cpu, False)]
