"""What trainings share: the learning rate over a run, random numbers from a seed and their states, whether a device computes in bf16, heads that learn in standardised units."""

from __future__ import annotations

import contextlib
import math
import platform
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from skelzoo.skeleton.io.files import checksums_fit


def warmup_cosine(step: int, steps: int, warmup: float) -> float:
    """Share of the full learning rate at a step from 0: a line up over the share ``warmup`` of the steps, then a half cosine down to zero."""
    progress = step / steps
    return min(1.0, (progress + 1 / steps) / warmup) if progress < warmup else 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))


@contextlib.contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Random numbers of the CPU and of a device from a seed; afterwards they go on where they were. Those of other devices are left alone."""
    kind = device.type
    with torch.random.fork_rng([] if kind == "cpu" else [device], device_type="cuda" if kind == "cpu" else kind):
        begin_at(seed, device)
        yield


def begin_at(seed: int, device: torch.device) -> None:
    """Seed the random numbers of the CPU and of a device; ``torch.manual_seed`` would seed every device."""
    torch.default_generator.manual_seed(int(seed))
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(int(seed))
    elif device.type == "mps":
        torch.mps.manual_seed(int(seed))


def random_states(device: torch.device) -> dict[str, Tensor]:
    """States of the generators that ``seeded`` seeds: bytes (n,) by the kind of device, the CPU's and those of ``device``."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        states["mps"] = torch.mps.get_rng_state()
    return states


def set_random_states(device: torch.device, states: Mapping[str, Tensor]) -> None:
    """Bring the generators back to what ``random_states`` gave on such a device."""
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"], device)
    elif device.type == "mps":
        torch.mps.set_rng_state(states["mps"])


def check_sums(path: Path) -> None:
    """Raise ValueError where a file of ``torch.save`` is not as it was written: ``torch.load`` does not look at its checksums."""
    if not checksums_fit(path):
        raise ValueError(f"the checksums of {path} do not fit")


def computes_bf16(device: torch.device) -> bool:
    """Whether a device multiplies bf16 matrices itself, so that bf16 is faster than 32-bit."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and _cpu_has_bf16()


def auto_precision(device: torch.device) -> str:
    """What the precision ``auto`` is on a device: ``bf16-mixed`` or ``32-true``."""
    return "bf16-mixed" if computes_bf16(device) else "32-true"


def _cpu_has_bf16() -> bool:
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.machine() == "arm64"
    return "avx512_bf16" in flags or "amx_bf16" in flags or " bf16" in flags


LENGTH = 20.0
"""At which a linear head learns best with the default rate, on splits inside the training parts of UTD-MHAD and NW-UCLA."""


class Standardised:
    """A linear layer whose input is standardised, to vectors of length about LENGTH, while it learns; afterwards that is folded into its weights.

    At the same learning rate it then learns as fast from vectors of ten numbers as from vectors of thousands.

    Args:
        layer: learns in standardised units from now on; its outputs stay what they were.
        vectors: (N, k * in_features), what it will see; k vectors side by side are standardised alike.
    """

    def __init__(self, layer: nn.Linear, vectors: Tensor) -> None:
        rows = vectors.reshape(-1, layer.in_features)
        # Numbers that hardly vary stay small: blown up, their rounding would be learned from and folded into huge weights.
        least = 1e-3 * float(rows.abs().mean()) + 1e-6
        self.layer, self.mean, self.std = layer, rows.mean(0), (rows.std(0, correction=0) + least) * layer.in_features**0.5 / LENGTH
        with torch.no_grad():
            layer.bias.add_(layer.weight @ self.mean)
            layer.weight.mul_(self.std)

    def __call__(self, vectors: Tensor) -> Tensor:
        """Vectors (N, k * in_features) in standardised units."""
        scaled: Tensor = (vectors.reshape(-1, self.layer.in_features) - self.mean) / self.std
        return scaled.reshape(vectors.shape)

    @torch.no_grad()
    def fold(self) -> None:
        """Give the layer back what it learned in the units of its input."""
        self.layer.weight.div_(self.std)
        self.layer.bias.sub_(self.layer.weight @ self.mean)
