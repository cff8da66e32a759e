"""The temperature of fine-tuned heads: it is fitted, folded into the weights, and reported."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from tiny import SMALL, make_clip, make_encoder, randomise
from torch import nn

import skelzoo
from skelzoo.learn.calibration import Calibration, best_temperature, calibrate
from skelzoo.learn.finetune import FinetuneOptions, finetune
from skelzoo.learn.finetune_report import summary
from skelzoo.learn.finetune_result import Epoch
from skelzoo.learn.head_result import calibration_error
from skelzoo.nets.archs import ARCHS


@pytest.mark.parametrize("arch", ARCHS)
def test_every_head_takes_the_temperature_in(arch: str) -> None:
    """Classes are drawn from the scores at a fifth of the logits, so that is what the temperature must undo."""
    channels = {"skeattnclr-stgcn-3s": 9, "psp": 6, "psp-ensemble": 6}.get(arch, 3)
    torch.manual_seed(0)  # by chance the logits are those that need no temperature
    net = randomise(skelzoo.create(arch, layout="kinect20", num_classes=3, in_channels=channels, options=SMALL[arch])).eval()
    z = torch.randn(3000, net.embedding_dim, generator=torch.Generator().manual_seed(0))  # type: ignore[call-overload]
    with torch.no_grad():
        logits = net.forward_head(z)  # type: ignore[operator]
        scale = 10 / logits.std()
        draws = torch.multinomial((logits * scale / 5).softmax(1), 1, generator=torch.Generator().manual_seed(1))[:, 0].numpy()
    wanted = 5 / float(scale)
    found = calibrate(net, ARCHS[arch].head, lambda: net.forward_head(z).detach().double().numpy(), draws)  # type: ignore[operator]
    assert found is not None and found.temperature == pytest.approx(np.clip(wanted, 0.1, 10), rel=0.15)
    torch.testing.assert_close(net.forward_head(z) * found.temperature, logits, atol=1e-4, rtol=1e-3)  # type: ignore[operator]
    assert found.error <= found.error_before


def test_a_head_that_cannot_take_it_in_stays_as_it_was() -> None:
    net = make_encoder().net
    net.head = nn.Sequential(nn.Linear(16, 3), nn.Tanh())
    z, before = torch.randn(50, 16), {k: v.clone() for k, v in net.head.state_dict().items()}
    found = calibrate(net, "head.", lambda: net.head(z).detach().double().numpy(), np.zeros(50, np.int64))  # type: ignore[operator]
    assert found is not None and found.temperature == 1 and found.error == found.error_before
    assert all(torch.equal(v, before[k]) for k, v in net.head.state_dict().items())


class Bounded(nn.Module):
    """A head whose logits do not grow with its weights."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(16, 3)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return self.linear(z).tanh()  # type: ignore[no-any-return]


def test_the_weights_of_a_head_that_does_not_follow_are_put_back() -> None:
    net, z = make_encoder().net, torch.randn(50, 16, generator=torch.Generator().manual_seed(0))
    net.head = randomise(Bounded())
    before = {k: v.clone() for k, v in net.head.state_dict().items()}
    truth = net.head(z).argmax(1).numpy()  # all right, so that a temperature is found
    found = calibrate(net, "head.", lambda: net.head(z).detach().double().numpy(), truth)  # type: ignore[operator]
    assert best_temperature(net.head(z).detach().double().numpy(), truth) < 1 and found is not None and found.temperature == 1
    torch.testing.assert_close(dict(net.head.state_dict()), before, rtol=1e-6, atol=1e-7)


def test_few_clips_that_are_all_right_prove_no_certainty() -> None:
    temperatures = [best_temperature(np.eye(3)[np.arange(n) % 3], np.arange(n) % 3) for n in (3, 30, 300)]
    assert 1 > temperatures[0] > 0.3 and temperatures[0] > 1.5 * temperatures[1] > 1.5 * temperatures[2]


@pytest.mark.parametrize(
    ("temperature", "error", "accuracy", "told"), [(2, 0.1, 100, True), (2, 0.001, 100, False), (0.5, 0.1, 100, False), (2, 0.1, 90, False)]
)
def test_scores_lowered_for_want_of_clips_are_explained(temperature: float, error: float, accuracy: float, told: bool) -> None:
    clips = [make_clip(s).replace(label="abc"[s % 3]) for s in range(6)]
    result = finetune(make_encoder(labels=None), clips, options=FinetuneOptions(epochs=1, precision="32-true"))
    text = summary(dataclasses.replace(result, calibration=Calibration(temperature, 0.004, error), history=(Epoch(1, 0.0, 0.0, accuracy),)))
    assert ("few clips that are all right prove no certainty, so scores were lowered" in text) is told


def test_scores_of_a_result_are_those_that_it_reports() -> None:
    clips = [make_clip(s).replace(label="abc"[s % 3]) for s in range(24)]
    options = FinetuneOptions(epochs=2, precision="32-true")
    result = finetune(make_encoder(labels=None), clips, validation=clips_of_others(), options=options)
    assert result.calibration is not None and f"calibration error of the scores {result.calibration.error:.2f}" in summary(result)
    scores = result.encoder.classify(clips_of_others(), top_k=3)
    logits = np.log(np.take_along_axis(scores.scores, scores.indices.argsort(1), 1).astype(float))
    assert calibration_error(logits, np.arange(12) % 3) == pytest.approx(result.calibration.error, abs=1e-3)
    assert finetune(make_encoder(labels=None), clips, validation=0, options=options).calibration is None


def clips_of_others() -> list[skelzoo.Clip]:
    return [make_clip(100 + s).replace(label="abc"[s % 3]) for s in range(12)]
