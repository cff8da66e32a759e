"""Options of fine-tuning, and the ranges that their values may have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from types import SimpleNamespace
from typing import Any, Literal, get_args

import numpy as np

from skelzoo.errors import TrainingError
from skelzoo.learn.ranges import Range, check_numbers

Mode = Literal["full", "linear", "semi"]
BatchNorm = Literal["auto", "kept", "batch"]
Precision = Literal["auto", "bf16-mixed", "32-true"]

_OF_SEMI = ("contrast_weight", "temperature", "unlabelled_ratio")
UNUSED = {"full": _OF_SEMI, "linear": (*_OF_SEMI, "layer_decay", "freeze", "batch_norm"), "semi": ("label_smoothing",)}
"""Mode -> options that do nothing there."""

FEW = 150
"""Clips with fewer of which BatchNorm keeps its statistics. On splits inside the training parts it won by points with 20 to 135 clips, and lost by one to three with 200."""


@dataclass(frozen=True)
class FinetuneOptions:
    """How an encoder is fine-tuned. What a mode does not use has to be left as it is.

    Attributes:
        epochs: passes over the training clips.
        batch_size: labelled clips per step.
        learning_rate: AdamW's, of the head; it rises over the share ``warmup`` of the steps and falls to zero on a cosine.
        weight_decay: of weights; biases, norms and learned graphs have none.
        layer_decay: every block learns at this times the rate of the block above it; 1 for one rate everywhere. Not for mode ``linear``.
        freeze: ``none``, ``body``, or the number of first blocks that stay as they are, with their BatchNorm statistics; always ``body`` in mode
            ``linear``.
        batch_norm: what BatchNorm normalises with while it learns: ``kept``, the statistics that the encoder has, as in use; ``batch``, those of each
            batch, which move them; ``auto`` is ``kept`` with fewer than FEW clips, unlabelled ones counted. Layers without statistics
            yet, those of random weights, take ``batch``. Not for mode ``linear``, which keeps all.
        warmup: share of the steps.
        label_smoothing: of the cross-entropy; not for mode ``semi``, as PSP's code has none.
        augmentations: rows of ``skelzoo.learn.augment``, in order; () for none. None is AUGMENTATIONS, but none in mode
            ``linear``, so that every clip's vector is computed once.
        balanced: classes are drawn equally often; with False, as often as they have clips.
        seed: of head, split, order and augmentations; on a CPU the same seed gives the same weights.
        precision: ``auto`` is bf16 where the device computes in it, ``bf16-mixed`` or ``32-true``.
        patience: stop after this many epochs without a better validation part; 0 for never.
        contrast_weight, temperature: of PSP's contrast on unlabelled clips (mode ``semi``), as in its released code.
        unlabelled_ratio: unlabelled clips per labelled one in a step of mode ``semi``; 10 in PSP's released script.

    Raises:
        TrainingError: a value out of its range.
    """

    epochs: int = 60
    batch_size: int = 16
    learning_rate: float = 5e-3
    weight_decay: float = 0.01
    layer_decay: float = 0.8
    freeze: str | int = "none"
    batch_norm: BatchNorm = "auto"
    warmup: float = 0.1
    label_smoothing: float = 0.1
    augmentations: Sequence[Mapping[str, Any]] | None = None
    balanced: bool = True
    seed: int = 0
    precision: Precision = "auto"
    patience: int = 20
    contrast_weight: float = 0.2
    temperature: float = 0.07
    unlabelled_ratio: int = 10

    def __post_init__(self) -> None:
        limits = {
            "epochs": (1, 1e6), "batch_size": (1, 1e6), "learning_rate": (1e-12, 1e3), "weight_decay": (0, 1e3), "layer_decay": (1e-3, 1), "warmup": (0, 0.99),
            "label_smoothing": (0, 0.99), "patience": (0, 1e6), "contrast_weight": (0, 1e3), "temperature": (1e-3, 1e3), "unlabelled_ratio": (1, 1e3), "seed": (0, 2**63 - 1),
        }  # fmt: skip
        ranges = {name: Range(low, high, whole=type(getattr(FinetuneOptions, name)) is int) for name, (low, high) in limits.items()}
        plain = {name: value.item() if isinstance(value, np.number) else value for name, value in vars(self).items()}
        check_numbers(SimpleNamespace(**plain), ranges)
        for name, known in (("precision", get_args(Precision)), ("batch_norm", get_args(BatchNorm))):
            if getattr(self, name) not in known:
                raise TrainingError(f"{name} is {getattr(self, name)!r}. Give {known[0]}, {known[1]} or {known[2]}.")


def check_used(options: FinetuneOptions, mode: str) -> None:
    """Check that no option was set that does nothing in a mode.

    Raises:
        TrainingError: one was.
    """
    for f in (f for f in fields(options) if f.name in UNUSED[mode]):
        value = getattr(options, f.name)
        if value != f.default and (f.name, value) != ("freeze", "body"):  # which is what mode linear does
            raise TrainingError(f"mode {mode} does not use {f.name}, which is {value!r}. Leave it at {f.default!r}, or choose another mode.")
