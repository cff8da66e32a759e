"""Running a net over many clips: batches of one fixed shape, device choice, halving on out-of-memory, progress."""

from __future__ import annotations

import contextlib
import re
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, TypeVar, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skelzoo.errors import ContractError, DeviceError
from skelzoo.inference.precision import TF32
from skelzoo.inference.progress import clip_bar

T = TypeVar("T")

BATCH = {"cuda": 256, "mps": 64, "cpu": 16}
"""Clips per batch by device; small on CPUs, where larger temporaries fall out of the cache and take memory."""

SPLIT = 64
"""Clips per batch on a CPU for nets that split them further."""

LARGEST = {"cuda": 1024, "cpu": 128}
"""Most clips per batch: on CUDA by default, on a CPU whatever is asked for, so that memory is bounded. Nets split them further."""

PROBE = 32
"""Clips whose memory is measured on CUDA."""

AHEAD = 2
"""Batches prepared in advance."""

Dtype = Literal["auto", "float32", "tf32", "bfloat16", "float16"]
"""What a net computes in: ``auto`` and ``tf32`` are torch's float32, the second with products that ``tf32_products`` allows."""

CompileMode = Literal["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"]
"""Of torch.compile; reduce-overhead and max-autotune use CUDA graphs."""


def pick_device(device: str | torch.device = "auto") -> torch.device:
    """``auto`` is CUDA, then MPS, then CPU.

    Raises:
        DeviceError: the device is unknown or not on this machine.
    """
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if device == "auto":
        return torch.device("cuda" if cuda else "mps" if mps else "cpu")
    try:
        chosen = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise DeviceError(f"{device!r} is not a device ({str(error).splitlines()[0]}). Use auto, cpu, cuda, cuda:1 or mps.") from error
    count = torch.cuda.device_count() if cuda else 0
    absent = (chosen.type == "cuda" and (chosen.index or 0) >= count) or (chosen.type == "mps" and not mps)
    if absent or chosen.type not in BATCH:
        raise DeviceError(
            f"device {device!r} is not on this machine (CUDA devices: {count}, MPS: {'yes' if mps else 'no'}). Use --device auto (device='auto')."
        )
    return chosen


def pick_dtype(dtype: str | torch.dtype = "auto") -> torch.dtype:
    """The type a net computes in, by its name.

    Raises:
        DeviceError: another name.
    """
    known = {name: torch.float32 if name in ("auto", TF32) else getattr(torch, name) for name in get_args(Dtype)}
    if isinstance(dtype, torch.dtype) and dtype in known.values():
        return dtype
    if str(dtype) not in known:
        raise DeviceError(f"dtype {dtype!r} is not supported. Use {', '.join(known)}.")
    chosen: torch.dtype = known[str(dtype)]
    return chosen


def pick_compile(mode: bool | str) -> str:
    """The mode of ``torch.compile``; "" for none, and True is ``default``.

    Raises:
        DeviceError: another mode.
    """
    chosen = mode if isinstance(mode, str) else "default" if mode else ""
    if chosen and chosen not in get_args(CompileMode):
        raise DeviceError(f"compile {mode!r} is not supported. Use True, False, {', '.join(get_args(CompileMode))}.")
    return chosen


@dataclass
class Room:
    """The most clips at a time since memory ran out; None as long as it has not."""

    clips: int | None = None


@contextlib.contextmanager
def told_of_compiler() -> Generator[None]:
    """Raise DeviceError where ``torch.compile`` finds no compiler in the block."""
    try:
        yield
    except RuntimeError as error:
        found = re.search(r"InvalidCxxCompiler.*|.*find C compiler.*", str(error))  # of C++ on CPUs, of Triton's C on GPUs
        if not found:
            raise
        raise DeviceError(
            f"torch.compile found no C++ compiler ({found[0]}). Install or load one, or set CXX (CC on a GPU), or leave --compile out."
        ) from error


@told_of_compiler()
def run(
    function: Callable[[Tensor], dict[str, Tensor]],
    prepared: Callable[[int, int], NDArray[np.float32]],
    count: int,
    device: torch.device,
    dtype: torch.dtype,
    batch_size: int | None = None,
    progress: bool | None = None,
    same_size: bool = False,
    room: Room | None = None,
) -> dict[str, NDArray[np.float32]]:
    """Call ``function`` on batches and collect its outputs on the host; a thread prepares the next batches meanwhile.

    Args:
        function: (N, C, T, V, M) on the device -> named tensors with N rows.
        prepared: (start, stop) -> prepared clips as an array (N, C, T, V, M).
        count: number of clips.
        batch_size: clips per batch, at most ``LARGEST`` on a CPU; default by device, on CUDA by the memory that clips take and that is
            free, for which CUDA's peak memory statistics begin anew. Halved for good whenever memory runs out.
        progress: show a bar; None shows one on a terminal, once the work takes over two seconds.
        same_size: give ``function`` full batches only, a short one filled up with its last clip (for compiled nets).
        room: what earlier calls learned of the memory, so that this one does not run out of it again; written to, too.

    Returns:
        One float32 array of ``count`` rows per output.

    Raises:
        DeviceError: one clip alone does not fit into memory, another kind of device, or no compiler for a compiled net.
        ContractError: a batch size that is no whole number of at least 1.
    """
    _check(batch_size, device)
    out: dict[str, NDArray[np.float32]] = {}
    room = Room() if room is None else room
    with clip_bar(count, progress) as done, torch.inference_mode():
        size, start = batch_size or BATCH[device.type], 0
        if device.type == "cpu":
            size = min(size, LARGEST["cpu"])
        elif batch_size is None and device.type == "cuda" and count > size and not same_size:
            size = _fitting(function, prepared, device, dtype)
        size = min(size, room.clips or size)
        with contextlib.closing(_batches(prepared, count, size, device)) as batches:
            for batch in batches:
                while len(batch):
                    part = batch[:size]
                    x = torch.cat([part, part[-1:].expand(size - len(part), *part.shape[1:])]) if same_size and len(part) < size else part
                    try:
                        rows = {name: tensor[: len(part)].float().cpu().numpy() for name, tensor in function(x.to(device, non_blocking=True).to(dtype)).items()}
                    except RuntimeError as error:
                        if not _out_of_memory(error):
                            raise
                        if len(x) == 1:
                            raise DeviceError(f"one clip does not fit into the memory of {device}. Use the device cpu or a smaller model.") from error
                        size = room.clips = len(x) // 2
                        continue
                    for name, values in rows.items():
                        out.setdefault(name, np.empty((count, *values.shape[1:]), np.float32))[start : start + len(part)] = values
                    start, batch = start + len(part), batch[len(part) :]
                    done(len(part))
    return out


def _check(batch_size: int | None, device: torch.device) -> None:
    if batch_size is not None and not (isinstance(batch_size, (int, np.integer)) and batch_size >= 1):
        raise ContractError(f"batch_size is {batch_size!r}. Give a whole number of at least 1, or None for the device's default.")
    if device.type not in BATCH:
        raise DeviceError(f"the net is on {device}, where clips cannot be run. Move it to one of {', '.join(BATCH)}.")


def _batches(prepared: Callable[[int, int], NDArray[np.float32]], count: int, size: int, device: torch.device) -> Generator[Tensor]:
    """Prepared clips in batches; where there are several, the next ones are made in a thread."""

    def batch(start: int) -> Tensor:
        tensor = torch.from_numpy(prepared(start, min(start + size, count)))
        if device.type == "cuda":
            with contextlib.suppress(RuntimeError):  # no memory left that can be pinned: slower, and no less right
                return tensor.pin_memory()
        return tensor

    batches = map(batch, range(0, count, size))
    yield from batches if count <= size else ahead(batches, AHEAD)


def ahead(items: Iterator[T], count: int) -> Generator[T]:
    """The same items, none of which is None, with the next ``count`` under way in a thread."""
    pool = ThreadPoolExecutor(1)
    try:
        waiting = deque(pool.submit(next, items, None) for _ in range(count))
        while (item := waiting.popleft().result()) is not None:
            waiting.append(pool.submit(next, items, None))
            yield item
    finally:
        pool.shutdown(cancel_futures=True)


def _fitting(
    function: Callable[[Tensor], dict[str, Tensor]], prepared: Callable[[int, int], NDArray[np.float32]], device: torch.device, dtype: torch.dtype
) -> int:
    """Clips that take half of the free memory of a CUDA device, as measured on some; at most ``LARGEST``."""
    try:
        x = torch.from_numpy(prepared(0, PROBE)).to(device, dtype)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        function(x)
    except RuntimeError as error:
        if not _out_of_memory(error):
            raise
        return PROBE // 2
    each = max(1, (torch.cuda.max_memory_allocated(device) - before) // len(x))
    free = torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device) - before
    return min(max(1, free // 2 // each), LARGEST["cuda"])


def _out_of_memory(error: RuntimeError) -> bool:
    text = str(error)
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in text or "out of memory" in text or "ALLOC_FAILED" in text
