"""Running an encoder: devices, types, memory, batches prepared ahead, compiled nets."""

from __future__ import annotations

import functools
import itertools
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import OPTIONS, direct, make_clip, make_config, make_encoder, randomise, same
from torch import Tensor

import skelzoo
from skelzoo import Clip, Encoder, get_layout
from skelzoo.errors import CheckpointError, ClipError, ContractError, DeviceError
from skelzoo.inference.precision import tf32_products
from skelzoo.inference.runner import BATCH, PROBE, SPLIT, _fitting, run
from skelzoo.nets.skeattnclr import SkeAttnCLRSTGCN


class Forgetful(SkeAttnCLRSTGCN):
    """A net whose memory holds ``limit`` clips."""

    limit = 3
    error: Callable[[str], RuntimeError] = torch.OutOfMemoryError

    def __init__(self) -> None:
        super().__init__(get_layout("kinect20"), 3, **OPTIONS)
        self.sizes: list[int] = []

    def forward_features(self, x: Tensor) -> Tensor:
        self.sizes.append(len(x))
        if len(x) > self.limit:
            raise self.error("CUDA out of memory. Tried to allocate 2.00 GiB")
        return super().forward_features(x)


CUBLAS = "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError, lambda _: RuntimeError(CUBLAS)])
@pytest.mark.parametrize("limit", [1, 2, 3, 5])
def test_running_out_of_memory_halves_the_batches_and_changes_nothing(clips: list[Clip], limit: int, error: Callable[[str], RuntimeError]) -> None:
    net = Forgetful()
    randomise(net)
    encoder = Encoder(net, make_config(), device="cpu")
    net.limit = 100
    expected = encoder.embed(clips, batch_size=7), encoder.classify(clips, batch_size=7)
    net.limit, net.error, net.sizes = limit, error, []
    same(encoder.embed(clips, batch_size=7), expected[0])
    first_fit = next(s for s in net.sizes if s <= limit)
    assert net.sizes[0] == 7 and max(net.sizes[net.sizes.index(first_fit) :]) == first_fit, "halved once and for all, never raised again"
    net.sizes = []
    same(encoder.classify(clips, batch_size=7).scores, expected[1].scores)
    assert net.sizes[0] == first_fit, "the next call does not run out of memory again"
    net.sizes = []
    encoder.embed(clips[:2], batch_size=1)
    assert max(net.sizes) == 1, "what fits is not taken where fewer are asked for"


def test_batches_are_prepared_in_order_and_errors_come_through(encoder: Encoder) -> None:
    many, threads = [make_clip(i % 5, frames=8 + i % 3) for i in range(40)], threading.active_count()
    z = encoder.embed(many, batch_size=2)
    same(z, direct(encoder, many))
    with pytest.raises(ClipError, match=r"clip99'\): 1 frame"):
        encoder.embed([*many[:21], make_clip(99, frames=1), *many], batch_size=2)
    assert threading.active_count() == threads


@pytest.mark.parametrize(("progress", "terminal", "shown"), [(None, True, True), (None, False, False), (True, False, True), (False, True, False)])
def test_a_bar_is_for_terminals_and_for_who_asks(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], progress: bool | None, terminal: bool, shown: bool
) -> None:
    monkeypatch.setattr("tqdm.std.time", functools.partial(next, itertools.count(0, 3)))  # three seconds at every look
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal)
    encoder.embed([make_clip(i) for i in range(4)], batch_size=1, progress=progress)
    assert ("clip" in capsys.readouterr().err) is shown


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_batches_suit_its_memory(clips: list[Clip]) -> None:
    z, gpu = make_encoder().embed(clips), Encoder(make_encoder().net, make_config(), device="cuda")
    same(gpu.embed(clips * 50), np.tile(z, (50, 1)))


def test_a_gpu_too_full_for_the_clips_that_are_measured_begins_with_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: Tensor) -> dict[str, Tensor]:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    for name in ("reset_peak_memory_stats", "memory_allocated"):
        monkeypatch.setattr(torch.cuda, name, lambda _: 0)
    clips = np.zeros((PROBE, 3, 16, 20, 2), np.float32)
    assert _fitting(full, lambda start, stop: clips[start:stop], torch.device("cpu"), torch.float32) == PROBE // 2


def test_one_clip_that_does_not_fit() -> None:
    net = Forgetful()
    net.limit = 0
    with pytest.raises(DeviceError, match="one clip does not fit into the memory of cpu"):
        Encoder(net, make_config(), device="cpu").embed([make_clip(s) for s in range(3)])
    assert net.sizes == [3, 1]


def test_other_errors_of_a_net_are_not_swallowed() -> None:
    net = Forgetful()
    net.limit, net.error = 0, lambda text: RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        Encoder(net, make_config(), device="cpu").embed(make_clip())
    assert net.sizes == [1]


@pytest.mark.parametrize("device", ["cuda:99", "meta", "tpu", "", None])
def test_devices_that_are_not_there(device: Any) -> None:
    with pytest.raises(DeviceError, match=r"Use (auto|--device auto \(device='auto'\))"):
        Encoder(make_encoder().net, make_config(), device=device)


@pytest.mark.parametrize("dtype", ["float64", torch.float64, torch.int8, "bf16", None])
def test_types_that_are_not_supported(dtype: Any) -> None:
    with pytest.raises(DeviceError, match="Use auto, float32, tf32, bfloat16, float16"):
        Encoder(make_encoder().net, make_config(), device="cpu", dtype=dtype)


def test_auto_is_a_device_of_this_machine() -> None:
    encoder = Encoder(make_encoder().net, make_config())
    assert encoder.device.type in BATCH and encoder.dtype == torch.float32 and next(encoder.net.parameters()).device.type == encoder.device.type
    assert str(encoder.device) in repr(encoder) and "kinect20" in repr(encoder)


@pytest.mark.parametrize("dtype", ["bfloat16", torch.bfloat16])
def test_bfloat16_is_near_and_comes_back_as_float32(clips: list[Clip], dtype: Any) -> None:
    expected, encoder = make_encoder(), make_encoder(dtype=dtype)
    assert encoder.dtype == torch.bfloat16 and {p.dtype for p in encoder.net.parameters()} == {torch.bfloat16}
    z, want = encoder.embed(clips), expected.embed(clips)
    assert z.dtype == np.float32 and 0 < np.abs(z - want).max() < 0.05 * np.abs(want).max()
    assert encoder.classify(clips).scores.dtype == np.float32
    assert all(f.dtype == np.float32 for f in encoder.features(clips, ("block1",)).values())


def test_half_precision_is_not_saved_as_if_it_were_the_weights(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="stored in float32"):
        make_encoder(dtype="bfloat16").save(tmp_path / "half")
    assert not list(tmp_path.iterdir())


@pytest.fixture
def backends() -> Iterator[tuple[Any, Any]]:
    """Where torch keeps what CUDA may do, put back afterwards."""
    both: tuple[Any, Any] = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [one.allow_tf32 for one in both]
    yield both
    for one, value in zip(both, before, strict=True):
        one.allow_tf32 = value


@pytest.mark.parametrize(("dtype", "allowed"), [("float32", False), ("tf32", True), ("bfloat16", False)])
@pytest.mark.parametrize("before", [False, True])
def test_tf32_is_allowed_where_it_is_asked_for_only(
    clips: list[Clip], dtype: str, allowed: bool, before: bool, backends: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for one in backends:
        one.allow_tf32 = before
    encoder = make_encoder(dtype=dtype)
    seen = []
    encoder.net.register_forward_hook(lambda *_: None)  # so that the net itself runs
    original = encoder.net.forward_features
    monkeypatch.setattr(encoder.net, "forward_features", lambda x: seen.append([b.allow_tf32 for b in backends]) or original(x))
    z = encoder.embed(clips)
    assert seen == [[allowed, allowed]] and [b.allow_tf32 for b in backends] == [before, before]
    if dtype == "tf32":
        assert encoder.dtype == torch.float32
        same(z, make_encoder().embed(clips))


def test_tf32_set_in_torchs_newer_way_comes_back(clips: list[Clip], backends: tuple[Any, Any]) -> None:
    matmul, _ = backends
    if not hasattr(matmul, "fp32_precision"):
        pytest.skip("this torch has one way of setting it")
    matmul.fp32_precision = "tf32"
    make_encoder().embed(clips)
    assert matmul.fp32_precision == "tf32"


def test_tf32_of_torchs_newer_way_is_taken_back_and_inherited_again(backends: tuple[Any, Any]) -> None:
    if not hasattr(torch.backends, "fp32_precision"):
        pytest.skip("this torch has one way of setting it")
    places = torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends.cudnn.rnn
    before = torch.backends.fp32_precision
    try:
        torch.backends.fp32_precision = "tf32"
        with tf32_products(False):
            assert [place.fp32_precision for place in places] == ["ieee"] * 3
        torch.backends.fp32_precision = "ieee"
        assert torch.backends.cudnn.conv.fp32_precision == "ieee", "what was inherited is inherited again"
    finally:
        torch.backends.fp32_precision = before


@pytest.mark.parametrize(("dtype", "inside"), [("float32", "highest"), ("tf32", "high")])
@pytest.mark.parametrize("before", ["highest", "high", "medium"])
def test_torchs_precision_of_products_can_be_read_in_a_run_and_comes_back(clips: list[Clip], dtype: str, inside: str, before: str) -> None:
    def now() -> list[str]:
        cpu: Any = torch.backends.mkldnn
        return [torch.get_float32_matmul_precision(), cpu.matmul.fp32_precision if hasattr(torch.backends, "fp32_precision") else ""]

    encoder, seen = make_encoder(dtype=dtype), []
    encoder.net.head.register_forward_hook(lambda *_: seen.append(torch.get_float32_matmul_precision()))
    try:
        torch.set_float32_matmul_precision(before)
        expected = now()
        encoder.classify(clips)
        assert set(seen) == {inside} and now() == expected
    finally:
        torch.set_float32_matmul_precision("highest")


def test_goldens_are_never_rounded_to_tf32(backends: tuple[Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, seen = make_encoder(dtype="tf32"), []
    for part in ("forward_features", "forward_head"):
        original = getattr(encoder.net, part)
        monkeypatch.setattr(encoder.net, part, lambda x, run=original: seen.append([b.allow_tf32 for b in backends]) or run(x))
    encoder.net.register_forward_hook(lambda *_: None)  # so that the net itself runs
    encoder.save(tmp_path / "model")
    assert len(seen) >= 2 and not any(map(any, seen))


def test_a_run_that_allows_no_tf32_decides_for_those_beside_it(backends: tuple[Any, Any]) -> None:
    def now() -> list[bool]:
        return [one.allow_tf32 for one in backends]

    before = now()
    first, second = tf32_products(True), tf32_products(False)
    first.__enter__()
    assert now() == [True, True]
    second.__enter__()
    assert now() == [False, False]
    first.__exit__(None, None, None)
    assert now() == [False, False], "the other goes on"
    second.__exit__(None, None, None)
    assert now() == before


def test_batches_are_large_only_where_the_net_splits_them(clips: list[Clip], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int | None] = []

    def recorded(*arguments: Any, **named: Any) -> Any:
        asked.append(arguments[5])
        return run(*arguments, **named)

    monkeypatch.setattr("skelzoo.inference.encoder.run", recorded)
    encoder, hooked = make_encoder(), make_encoder()
    hooked.net.register_forward_hook(lambda *_: None)
    for call in (encoder.embed, encoder.classify, encoder.features, hooked.embed, hooked.classify):
        call(clips)
    encoder.embed(clips, batch_size=3)
    assert asked == [SPLIT, SPLIT, None, None, None, 3]
    with pytest.raises(ContractError, match="batch_size is 0"):
        encoder.embed(clips, batch_size=0)


@pytest.mark.parametrize("setting", [{"dtype": "int8"}, {"compile": "fastest"}])
def test_unknown_settings(setting: dict[str, str]) -> None:
    with pytest.raises(DeviceError, match=f"{next(iter(setting))} '{next(iter(setting.values()))}' is not supported"):
        make_encoder(**setting)


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """torch.compile with a backend that runs captured graphs as they are and notes for each of them the number of persons of every call."""
    graphs: list[list[int]] = []

    def record(graph: torch.fx.GraphModule, inputs: Any) -> Callable[..., Any]:
        calls: list[int] = []
        graphs.append(calls)

        def run(*args: Any) -> Any:
            calls.append(next(len(a) for a in args if isinstance(a, Tensor) and a.shape[1:] == (3, 16, 20)))
            return graph(*args)

        return run

    torch._dynamo.reset()
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=record))
    return graphs


@pytest.mark.parametrize("batch_size", [1, pytest.param(10, marks=pytest.mark.slow)])
def test_compiled_nets_are_one_graph_for_batches_of_one_size(clips: list[Clip], backend: list[list[int]], batch_size: int) -> None:
    expected, encoder = make_encoder(), make_encoder(compile=True)
    same(encoder.embed(clips, batch_size=batch_size), expected.embed(clips))
    same(encoder.classify(clips, batch_size=batch_size).scores, expected.classify(clips).scores)
    assert encoder.embed([], batch_size=batch_size).shape == (0, 16)
    assert len(backend) == 1 and set(backend[0]) == {batch_size}


@pytest.mark.parametrize("of_inductor", [True, False])
def test_a_missing_compiler_is_named(clips: list[Clip], of_inductor: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._inductor.exc import InvalidCxxCompiler  # takes two seconds, in every process that collects this file

    def refuse(graph: torch.fx.GraphModule, inputs: Any) -> Callable[..., Any]:
        raise InvalidCxxCompiler() if of_inductor else RuntimeError("Failed to find C compiler. Please specify via CC environment variable.")

    torch._dynamo.reset()
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=refuse))
    with pytest.raises(DeviceError, match=r"found no C\+\+ compiler \(.*\). Install or load one"):
        make_encoder(compile=True).embed(clips)


def test_compiled_nets_halve_their_batches_too(clips: list[Clip], monkeypatch: pytest.MonkeyPatch) -> None:
    net = Forgetful()
    randomise(net)
    net.limit = 100
    expected = Encoder(net, make_config(), device="cpu").embed(clips)
    net.limit, net.sizes = 2, []
    monkeypatch.setattr(torch, "compile", lambda function, mode: function)
    same(Encoder(net, make_config(), device="cpu", compile=True).embed(clips, batch_size=8), expected)
    assert net.sizes == [8, 4, 2, 2, 2, 2]


def test_full_batches_of_compiled_nets_are_not_copied() -> None:
    """On CUDA they then stay in the pinned memory that is copied fastest."""
    clips, places = np.zeros((7, 3, 16, 20, 2), np.float32), []

    def read(x: Tensor) -> dict[str, Tensor]:
        places.append(x.data_ptr())
        return {"z": x[:, 0, 0, 0]}

    run(read, lambda start, stop: clips[start:stop], 7, torch.device("cpu"), torch.float32, 3, same_size=True)
    assert places[:2] == [clips[0].ctypes.data, clips[3].ctypes.data] and len(places) == 3


@pytest.mark.slow
@pytest.mark.parametrize("fast", [False, True])
def test_compiled_by_inductor(clips: list[Clip], fast: bool) -> None:
    torch._dynamo.reset()
    torch.manual_seed(0)
    net = randomise(skelzoo.create("skeattnclr-stgcn", layout="kinect20", num_classes=3, options={**OPTIONS, "fast": fast}))
    expected = Encoder(net, make_config(), device="cpu").embed(clips)
    torch._dynamo.utils.counters.clear()
    encoder = Encoder(net, make_config(), device="cpu", compile=True)
    same(encoder.embed(clips, batch_size=3), expected)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1 and not torch._dynamo.utils.counters["graph_break"]


def test_runs_that_overlap_in_threads_leave_a_net_in_training_as_it_was(clips: list[Clip]) -> None:
    encoder, z = make_encoder(), {}
    expected, state = encoder.features(clips)["pooled"], {k: v.clone() for k, v in encoder.net.state_dict().items()}
    encoder.net.train()
    frozen, both = encoder.net.backbone.blocks[1].eval(), threading.Barrier(2)

    def overlap(*_: object) -> None:
        both.wait(60)
        if threading.current_thread() is second:
            first.join(60)

    first, second = (threading.Thread(target=lambda i=i: z.update({i: encoder.features(clips)["pooled"]})) for i in range(2))
    encoder.net.backbone.blocks[0].register_forward_pre_hook(overlap)
    for thread in (first, second):
        thread.start()
    second.join(60)
    same(z[0], expected)
    same(z[1], expected)
    assert all(torch.equal(v, state[k]) for k, v in encoder.net.state_dict().items())
    assert [m for m in encoder.net.modules() if not m.training] == list(frozen.modules())
