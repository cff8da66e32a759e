"""How fast encoders are on this machine: the trained net, its fused form, compiled and in fewer bits, taking turns in one run."""

from __future__ import annotations

import multiprocessing
import shlex
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

import skelzoo
from skelzoo.bench.cold import RESET, STATUS, made_up, memory
from skelzoo.errors import DeviceError, DoubtWarning, WeightsUnavailableError
from skelzoo.inference.encoder import Encoder
from skelzoo.inference.precision import TF32, tf32_products
from skelzoo.inference.progress import say
from skelzoo.inference.runner import pick_dtype
from skelzoo.learn.results import device_name, revision
from skelzoo.learn.training import seeded
from skelzoo.nets.fused import vectors_of
from skelzoo.skeleton.doubts import Doubts
from skelzoo.skeleton.prepare import prepare_batch

PAPER_SIZED = ("skeattnclr-ntu60", "psp-ntu60", "skeletonmae-ntu60")
"""One model of each family at the width of its paper; speed does not depend on weights, which they have not."""

PLAIN, EMBED, FLOAT32 = "plain", "embed", "float32"
COMPILE_MODE = {"fused": "", "compiled": "default", "max-autotune": "max-autotune"}
FORMS = (PLAIN, *COMPILE_MODE, EMBED)
"""The trained net on the whole batch; its fused form; that through torch.compile, and with its slowest search; ``Encoder.embed`` of clips in memory."""

DEFAULT_FORMS, DTYPES = (PLAIN, "fused", "compiled", EMBED), (FLOAT32, "bfloat16")

PRODUCT_SIZE = {"cpu": 2048, "mps": 4096, "cuda": 8192}
"""Rows and columns of a matrix product; a 3x3 convolution of an image of 64x64 has a quarter of them as channels."""

PRODUCTS: Mapping[str, Callable[[int], int]] = {"matmul": lambda size: 2 * size**3, "convolution": lambda size: 2 * 9 * (size // 4) ** 2 * 62**2}
"""What is timed for the peak, and the operations in it, by size. Torch gives the two to different libraries: on AMD CPUs convolutions are over twice as fast in float32."""

SHORTEST = 0.2
"""Seconds of a timing at least: faster calls are repeated."""

Call = Callable[[], Tensor]


@dataclass(frozen=True)
class Row:
    """One timing, with all that decides it.

    Attributes:
        persons: of every clip; the net reads as many as its contract says, the others are absent.
        clips_per_second: of the median round.
        ratio: to the plain form in float32 at the same batch and persons.
        first_seconds: of the first call, which makes what later ones keep; of a compiled form, the compiling.
        gflop_per_clip: of products and convolutions that the form does, by 10^9; two for a multiplication with addition.
        of_peak: these per second, as a share of those of a large matrix product or convolution of the same type, the faster one, timed in the same rounds.
        peak_mib: on a CPU what a process of its own takes at most beyond its imports, net included, but not of compiled forms, which
            have the compiler in it; on CUDA what a call allocates at most, net and clips not included. By 2^20 bytes.
        difference: of the vectors to those of the plain form in float32, relative to the largest value; of ``embed``, those of its clips.
        rounds: that all forms took turns in.
    """

    model: str
    persons: int
    batch: int
    form: str
    dtype: str
    clips_per_second: float
    ratio: float
    first_seconds: float
    gflop_per_clip: float | None
    of_peak: float | None
    peak_mib: int | None
    difference: float
    rounds: int
    device: str
    torch: str
    commit: str
    command: str

    def __str__(self) -> str:
        share = "" if self.of_peak is None else f", {self.of_peak:.0%} of the peak"
        memory = "" if self.peak_mib is None else f", {self.peak_mib} MiB"
        return (
            f"{self.model}, {self.persons} person(s), batch {self.batch}, {self.form} {self.dtype}: "
            f"{self.clips_per_second:.1f} clips/s, {self.ratio:.2f} x plain{share}{memory}"
        )


Key = tuple[str, str]
"""Form and dtype."""


def bench_speed(
    models: Sequence[str] = PAPER_SIZED, forms: Sequence[str] = DEFAULT_FORMS, dtypes: Sequence[str] = DTYPES,
    batches: Sequence[int] = (1, 16, 64), rounds: int = 5, device: str = "auto", peaks: bool = True,
) -> Iterator[Row]:  # fmt: skip
    """Time forms of encoders on clips of one person and of as many as the model takes; what is being timed is said on stderr.

    Args:
        models: as ``skelzoo.load`` takes them; of names without weights the net has random ones.
        forms: of ``FORMS``; the plain one always runs, in float32, for the ratios.
        dtypes: of ``Encoder``; ``plain`` and ``embed`` run in float32 alone.
        peaks: measure memory too, on a CPU by one more process per row.

    Raises:
        UnknownModelError: a name that is none.
        DeviceError: no such form or dtype, or a device that is not there.
    """
    unknown = [form for form in forms if form not in FORMS]
    if unknown:
        raise DeviceError(f"no form {', '.join(unknown)}. Known: {', '.join(FORMS)}.")
    options = [word for name, values in (("form", forms), ("dtype", dtypes), ("batch", batches)) for value in values for word in (f"--{name}", str(value))]
    options += ["--rounds", str(rounds), "--device", device, *([] if peaks else ["--no-memory"])]
    command = shlex.join(["skelzoo", "bench", "speed", *models, *options])
    keys = [(PLAIN, FLOAT32)] + [(form, dtype) for form in forms for dtype in dtypes if form in COMPILE_MODE or (form == EMBED and dtype == FLOAT32)]
    keys += [(product, dtype) for product in PRODUCTS for dtype in dict.fromkeys((FLOAT32, *dtypes))]
    for model in models:
        persons = _load(model, "float32", device).contract.persons
        for batch in batches:
            torch.compiler.reset()  # after graphs of another batch size, this one's would be dynamic
            for present in sorted({1, persons}):
                yield from _rows(_Case(model, present, batch, keys, device), rounds, peaks, command)


def _load(model: str, dtype: Any, device: str) -> Encoder:
    try:
        return skelzoo.load(model, device=device, dtype=dtype)
    except WeightsUnavailableError:
        with seeded(0, torch.device("cpu")):
            return skelzoo.load(model, device=device, dtype=dtype, pretrained=False)


class _Case:
    """Forms of a model on the same clips.

    Attributes:
        calls: what is timed, by form and dtype; the matrix products too.
    """

    def __init__(self, model: str, persons: int, batch: int, keys: Sequence[Key], device: str) -> None:
        self.model, self.persons, self.batch = model, persons, batch
        self.encoders = {dtype: _load(model, dtype, device) for _, dtype in keys}
        encoder = next(iter(self.encoders.values()))
        self.device, self.clips = encoder.device, made_up(encoder, persons, batch)
        self.prepared = torch.from_numpy(prepare_batch(self.clips, encoder.contract, Doubts())).to(self.device)  # made up, so of what is odd nothing is said
        self.calls = {key: self._call(*key) for key in keys}

    def _call(self, form: str, dtype: str) -> Call:
        if form in PRODUCTS:
            return self._product(form, dtype)
        encoder, x = self.encoders[dtype], self.prepared.to(pick_dtype(dtype))
        if form == EMBED:
            return lambda: torch.from_numpy(encoder.embed(self.clips, progress=False))
        vectors: Any = encoder.net.forward_features if form == PLAIN else vectors_of(encoder.net, COMPILE_MODE.get(form, ""))
        return lambda: vectors(x)

    def _product(self, form: str, dtype: str) -> Call:
        size, settings = PRODUCT_SIZE[self.device.type], dict[str, Any](device=self.device, dtype=pick_dtype(dtype))
        if form == "matmul":
            a, b = torch.randn(2, size, size, **settings).unbind()
            return lambda: a @ b
        image, kernel = torch.randn(1, size // 4, 64, 64, **settings), torch.randn(size // 4, size // 4, 3, 3, **settings)
        image, kernel = (x.contiguous(memory_format=torch.channels_last) for x in (image, kernel))
        return lambda: F.conv2d(image, kernel)

    def run(self, key: Key, times: int = 1) -> tuple[float, Tensor]:
        """Seconds of one call, the mean, and what it gives."""
        with torch.inference_mode(), tf32_products(key[1] == TF32), warnings.catch_warnings():
            warnings.simplefilter("ignore", DoubtWarning)
            start = time.perf_counter()
            for _ in range(times):
                out: Tensor = self.calls[key]()
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)
            elif self.device.type == "mps":
                torch.mps.synchronize()
            return (time.perf_counter() - start) / times, out

    def flop(self, key: Key) -> int | None:
        """Of products and convolutions in a call; a compiled form does those of the fused one."""
        form, dtype = key
        if form == EMBED:
            return None
        call = self.calls[key] if form == PLAIN else self._call("fused", dtype)
        with torch.inference_mode(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "TF32 acceleration on top of oneDNN")  # that switch's, without an Intel GPU
            call()  # what is computed once, absent persons, is not counted
            # The counter does not know convolutions whose weights were laid out beforehand.
            with torch.backends.mkldnn.flags(enabled=False), FlopCounterMode(display=False) as counter:
                call()
        return int(counter.get_total_flops())


def _rows(case: _Case, rounds: int, peaks: bool, command: str) -> Iterator[Row]:
    say(f"{case.model}, {case.persons} person(s), batch {case.batch}: {len(case.calls)} calls take turns in {rounds} rounds")
    first = {key: case.run(key) for key in case.calls}
    expected = first[PLAIN, FLOAT32][1].cpu()
    times = {key: max(1, round(SHORTEST / case.run(key)[0])) for key in case.calls}
    taken: dict[Key, list[float]] = {key: [] for key in case.calls}
    for _ in range(rounds):
        for key, samples in taken.items():
            samples.append(case.run(key, times[key])[0])
    seconds = {key: statistics.median(samples) for key, samples in taken.items()}
    for key in case.calls:
        form, dtype = key
        if form in PRODUCTS:
            continue
        flop, peak = case.flop(key), max(count(PRODUCT_SIZE[case.device.type]) / seconds[product, dtype] for product, count in PRODUCTS.items())
        difference = (first[key][1].float().cpu() - expected).abs().max() / expected.abs().max()
        yield Row(
            case.model, case.persons, case.batch, form, dtype, round(case.batch / seconds[key], 2), round(seconds[PLAIN, FLOAT32] / seconds[key], 3),
            round(first[key][0], 3), None if flop is None else round(flop / case.batch / 1e9, 3), None if flop is None else round(flop / seconds[key] / peak, 3),
            _peak(case, key) if peaks else None, float(f"{difference:.1e}"), rounds, described(case.device), torch.__version__, revision(), command,
        )  # fmt: skip


def described(device: torch.device) -> str:
    """A device, and on a CPU the threads that compute."""
    return device_name(device) if device.type == "cuda" else f"{device_name(device)}, {torch.get_num_threads()} thread(s)"


def _peak(case: _Case, key: Key) -> int | None:
    """MiB that a form takes at most, see ``Row``; None where the system does not tell."""
    if case.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(case.device)
        others = torch.cuda.memory_allocated(case.device)
        case.run(key)
        return (torch.cuda.max_memory_allocated(case.device) - others) >> 20
    if case.device.type != "cpu" or not STATUS.exists() or COMPILE_MODE.get(key[0]):
        return None
    context = multiprocessing.get_context("spawn")
    answer, answers = context.Pipe(duplex=False)
    process = context.Process(target=_report_peak, args=(answers, case.model, case.persons, case.batch, key))
    process.start()
    answers.close()
    try:
        peak: int = answer.recv()
    finally:
        process.join()
    return peak


def _report_peak(answers: Connection, model: str, persons: int, batch: int, key: Key) -> None:
    before = memory("VmRSS")
    RESET.write_text("5")
    _Case(model, persons, batch, [key], "cpu").run(key)
    answers.send(memory("VmHWM") - before)
