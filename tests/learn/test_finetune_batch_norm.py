"""Which statistics BatchNorm normalises with while it is fine-tuned."""

from __future__ import annotations

from dataclasses import replace

import pytest
from test_finetune import QUICK, changed, clips_of, state_of
from tiny import make_config, make_encoder

import skelzoo
from skelzoo.learn.finetune import FinetuneOptions, finetune
from skelzoo.weights.checkpoint import build_net


@pytest.mark.parametrize(("batch_norm", "clips", "kept"), [("auto", 40, True), ("auto", 50, False), ("kept", 50, True), ("batch", 2, False)])
def test_with_few_clips_batch_norm_keeps_its_statistics(batch_norm: str, clips: int, kept: bool) -> None:
    start = make_encoder(labels=None)
    options = FinetuneOptions(epochs=1, batch_size=64, augmentations=(), batch_norm=batch_norm)
    moved = changed(state_of(start), state_of(finetune(start, clips_of(clips), validation=0, options=options).encoder))
    assert "backbone.blocks.0.norm1.weight" in moved
    assert any("running" in name for name in moved) == (not kept)


def test_random_weights_have_no_statistics_to_keep() -> None:
    config = make_config(None)
    fresh = skelzoo.Encoder(build_net(config), config, "fresh", "cpu")
    tuned = finetune(fresh, clips_of(2), validation=0, options=replace(QUICK, epochs=1, batch_norm="kept"))
    assert "backbone.blocks.0.norm1.running_mean" in changed(state_of(fresh), state_of(tuned.encoder))
