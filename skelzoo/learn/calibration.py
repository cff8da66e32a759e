"""One temperature for the scores of a fine-tuned head, fitted on its validation part and folded into its weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from skelzoo.learn.head_result import TEMPERATURES, calibration_error, surprise
from skelzoo.skeleton.arrays import Float64s, Int64s


@dataclass(frozen=True)
class Calibration:
    """How far the scores on the validation part, or those out of fold, can be trusted.

    Attributes:
        temperature: by which the logits were divided; 1 where the head is none that can take it in.
        error_before, error: expected calibration error before and after, 0 to 1; see ``head_result.calibration_error``. Fitted on the same
            clips, the second is slightly favourable.
    """

    temperature: float
    error_before: float
    error: float


def best_temperature(logits: Float64s, truth: Int64s) -> float:
    """The one of TEMPERATURES at which the true classes surprise least.

    Each truth counts N + 1 of N + 2, the rest is spread over all classes (Platt 1999, for two): few clips that are all right prove no certainty.
    """
    spread = np.mean([surprise(logits, np.full(len(truth), i)) for i in range(logits.shape[1])], 0)
    loss = ((len(truth) + 1) * surprise(logits, truth) + spread) / (len(truth) + 2)
    return float(TEMPERATURES[loss.argmin()])


@torch.no_grad()
def calibrate(net: nn.Module, head: str, logits: Callable[[], Float64s], truth: Int64s, unseen: Float64s | None = None) -> Calibration | None:
    """Fit a temperature and divide the head's last linear layers by it; a head whose logits do not follow stays as it was.

    Args:
        head: prefix of the head's modules.
        logits: of the validation clips, (clips, classes), by the net as it is when called.
        truth: their classes.
        unseen: logits to fit on instead, which nets that did not see the clips of ``truth`` gave; those of ``logits`` are then of any clips.

    Returns:
        None without validation clips.
    """
    if not len(truth):
        return None
    before = logits()
    judged = before if unseen is None else unseen
    temperature, error = best_temperature(judged, truth), calibration_error(judged, truth)
    layers = _last_layers(net, head)
    _divide(layers, temperature)
    after = logits()
    if not np.allclose(after * temperature, before, rtol=1e-3, atol=1e-3 * float(np.abs(before).max())):
        _divide(layers, 1 / temperature)
        return Calibration(1.0, error, error)
    return Calibration(temperature, error, calibration_error(judged / temperature, truth))


def _last_layers(net: nn.Module, head: str) -> list[nn.Linear]:
    """The linear layers that give logits: the head itself, the last of a chain, or one for each stream."""
    module = net.get_submodule(head.removesuffix("."))
    parts = list(module.children())
    last = [module] if not parts else parts[-1:] if isinstance(module, nn.Sequential) else parts
    return [layer for layer in last if isinstance(layer, nn.Linear)]


def _divide(layers: list[nn.Linear], temperature: float) -> None:
    for layer in layers:
        layer.weight.div_(temperature)
        layer.bias.div_(temperature)
