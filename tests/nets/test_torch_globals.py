"""What torch keeps for the whole process: its default type and device change no number, and a caller's random numbers go on as if nothing had been drawn."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from test_archs import CHANNELS, net_for
from tiny import SMALL, encoder_of, make_clip

import skelzoo
from skelzoo import get_layout
from skelzoo.nets.archs import ARCHS, build

DEFAULTS = [torch.bfloat16, torch.float64, torch.device("meta")]


@contextlib.contextmanager
def as_default(value: torch.dtype | torch.device) -> Iterator[None]:
    before = torch.get_default_dtype()
    (torch.set_default_dtype if isinstance(value, torch.dtype) else torch.set_default_device)(value)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
        torch.set_default_device(None)


@pytest.mark.parametrize("value", DEFAULTS, ids=str)
@pytest.mark.parametrize("arch", ARCHS)
def test_created_nets_have_the_defaults_and_no_other_graph(arch: str, value: torch.dtype | torch.device) -> None:
    channels, buffers = CHANNELS.get(arch, 3), dict(net_for(arch).named_buffers())
    with as_default(value):
        created = skelzoo.create(arch, layout="kinect20", in_channels=channels, options=SMALL[arch])
        built = build(arch, get_layout("kinect20"), channels, 0, SMALL[arch])
    kinds = {kind for t in (*created.parameters(), *created.buffers()) if t.is_floating_point() for kind in (t.dtype, t.device)}
    assert value in kinds and len(kinds) == 2
    assert {(t.device.type, t.dtype) for t in built.parameters()} == {("cpu", torch.float32)}
    assert all(torch.equal(buffer, buffers[name]) for name, buffer in built.named_buffers() if name not in built.state_dict())


@pytest.mark.parametrize("value", DEFAULTS, ids=str)
@pytest.mark.parametrize("name", ["skeattnclr-openskel", "psp-openskel", "skeletonmae-openskel"])
def test_shipped_models_give_the_same_vectors(name: str, value: torch.dtype | torch.device) -> None:
    clip = make_clip()
    expected = skelzoo.load(name, device="cpu").embed(clip)
    with as_default(value):
        assert np.array_equal(skelzoo.load(name, device="cpu").embed(clip), expected)
        assert skelzoo.verify(name, device="cpu").ok


@pytest.mark.parametrize("arch", ["skeattnclr-stgcn", "psp-ensemble", "skeletonmae-strl"])
def test_loading_and_saving_draw_no_random_numbers_but_for_a_new_head(arch: str, tmp_path: Path) -> None:
    encoder, before = encoder_of(arch), torch.get_rng_state()
    name = f"local:{encoder.save(tmp_path / 'mine')}"
    skelzoo.load(name, device="cpu").embed(make_clip())
    assert skelzoo.verify(name, device="cpu").ok and torch.equal(torch.get_rng_state(), before)
    heads = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        heads.append(skelzoo.load(name, device="cpu", num_classes=2).scores(make_clip()))
    assert np.array_equal(heads[0], heads[1]) and not np.array_equal(heads[0], heads[2])
