"""Fine-tuning in bf16, which learns as in 32 bits; and what it leaves alone of the device."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from test_finetune import QUICK, clips_of, psp_encoder
from tiny import make_encoder
from torch import Tensor

from skelzoo.learn.finetune import finetune
from skelzoo.learn.inputs import Inputs
from skelzoo.learn.semi import vectors_of_copies
from skelzoo.nets.skeattnclr import SkeAttnCLRSTGCN


def test_bf16_learns_about_the_same() -> None:
    """The head alone, which is cast to bf16 in every step and quick to train."""

    def losses(precision: str) -> list[float]:
        options = replace(QUICK, epochs=6, precision=precision)
        return [epoch.loss for epoch in finetune(make_encoder(labels=None), clips_of(8), mode="linear", options=options).history]

    exact, rounded = losses("32-true"), losses("bf16-mixed")
    assert exact != rounded
    np.testing.assert_allclose(rounded, exact, rtol=0.02)


@pytest.mark.parametrize("mode", ["full", "semi"])
def test_clips_are_augmented_in_float32(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.dtype] = []
    original = Inputs.augmented

    def recorded(self: Inputs, kept: Tensor) -> Tensor:
        out = original(self, kept)
        seen.append(out.dtype)
        return out

    monkeypatch.setattr(Inputs, "augmented", recorded)
    options = replace(QUICK, epochs=1, precision="bf16-mixed", **({"unlabelled_ratio": 1} if mode == "semi" else {}))
    finetune(psp_encoder(), clips_of(1), mode=mode, unlabelled=clips_of(1, 2000) if mode == "semi" else (), validation=0, options=options)
    assert seen == [torch.float32] * (2 if mode == "semi" else 1)


def test_generators_of_devices_that_do_not_train_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    seeded: list[Any] = []
    for module in (torch.cuda, torch.mps):
        monkeypatch.setattr(module, "manual_seed_all" if module is torch.cuda else "manual_seed", seeded.append)
    encoder = make_encoder(labels=None)
    seeded.clear()
    finetune(encoder, clips_of(2), mode="linear", validation=0, options=replace(QUICK, epochs=1))
    vectors_of_copies(encoder, clips_of(1), 0)
    assert seeded == []


def test_evaluation_takes_no_more_clips_at_a_time_than_training(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    original = SkeAttnCLRSTGCN.forward_features
    monkeypatch.setattr(SkeAttnCLRSTGCN, "forward_features", lambda self, x: sizes.append(len(x)) or original(self, x))
    encoder = make_encoder(labels=None)
    finetune(encoder, clips_of(3), mode="linear", validation=clips_of(2, 900), options=replace(QUICK, epochs=1, batch_size=4))
    assert max(sizes) == 4
