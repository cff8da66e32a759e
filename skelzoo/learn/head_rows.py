"""The protocol ``head``: what the head that a recipe fitted is right on, as rows of results."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from skelzoo.errors import TrainingError
from skelzoo.inference.encoder import Encoder
from skelzoo.learn.corpus import corpus_named_by
from skelzoo.learn.head import measure_head
from skelzoo.learn.head_clips import label_table
from skelzoo.learn.head_result import BINS, HeadScore
from skelzoo.learn.probe import check_classifiers
from skelzoo.learn.recipe import Recipe
from skelzoo.learn.results import HEAD, Row, device_name, revision
from skelzoo.learn.seen import learned_before, recipes_of
from skelzoo.loading import load
from skelzoo.skeleton.doubts import warned_once
from skelzoo.weights.cards import CONFUSED

TOP1, TOP3, BALANCED, MEAN_SCORE, ERROR = (
    f"{HEAD}, {what}" for what in ("top-1", "top-3", "mean over classes", "mean score of the best class", "calibration error in percent")
)
"""What a row's value is of, all in percent."""

HELD_OUT = "all held-out clips"
UNSEEN = "cross-validated"
KINDS: Mapping[str, str] = {
    "clip": "held out by clip",
    "subject": "held out by subject",
    "style": "held out by style",
    UNSEEN: "trained on without labels, each classified by a head that saw none of its subject or style",
}
"""Kind of holding out -> what is said of it; the others are names of sources that the head was fitted without."""

DESCRIPTION = (
    "the head of the weights on labelled clips that the recipe holds out; training clips and a source by heads fitted anew on the frozen vectors, without their fold "
    f"and without the source; calibration error and score are of the best class, the error in {BINS} equally wide bins of score"
)


def evaluate_head(model: str, data: str | Path, device: str | torch.device = "auto") -> list[Row]:
    """Measure the head that a model's recipe fitted, without pretraining anything.

    Args:
        model: a name that ships, or ``local:`` and the weights folder of a run, with its recipe.json beside it.
        data: folder with the corpus files of the recipe.
        device: as ``skelzoo.load``.

    Raises:
        TrainingError: no recipe with a head is known of the model, or it was fine-tuned on clips that the recipe holds out; as ``skelzoo.learn.head.measure_head``.
        MissingDependencyError: scikit-learn is not installed.
    """
    check_classifiers()
    encoder = load(model, device=device)
    recipe = next((r for r in recipes_of(model) if r.head is not None), None)
    if recipe is None:
        raise TrainingError(
            f"{model}: no recipe with a head is known of it, so nothing tells which clips its head was not fitted on. Give a model of `skelzoo list --pretrained`, "
            "or the weights folder of a run of skelzoo pretrain with a head."
        )
    _check_not_learned(encoder, recipe, data)
    return head_rows(encoder, recipe, data)


def _check_not_learned(encoder: Encoder, recipe: Recipe, data: str | Path) -> None:
    if not encoder.fine_tuned_on or recipe.head is None:
        return
    table, clips = label_table(recipe.head, recipe.data, data)
    tests = [clips[i] for i in np.flatnonzero(~table.train)]
    count = learned_before(tests, encoder)
    if count:
        raise TrainingError(
            f"{encoder.name}: was fine-tuned on {count} of the {len(tests)} clips that its recipe holds out, so its head is not measured on them. Fine-tune without them."
        )


@warned_once()
def head_rows(encoder: Encoder, recipe: Recipe, data: str | Path) -> list[Row]:
    """One row per number; arguments and errors as ``evaluate_head``, with the recipe that the encoder is of."""
    assert recipe.head is not None
    result, commit = measure_head(encoder, recipe.head, recipe.data, data), revision()
    values = [(protocol, HELD_OUT, value, result.test_clips) for protocol, value in _numbers(result, whole=True).items()]
    values += [(p, said_of(kind), value, score.test_clips) for kind, score in result.kinds.items() for p, value in _numbers(score).items()]
    values += [(CONFUSED + taken, true, 100 * count / result.per_class[true][0], result.per_class[true][0]) for true, taken, count in result.confusions]
    command = shlex.join(["skelzoo", "eval", encoder.name, "--protocol", HEAD, "--data", "DATA"])
    return [
        Row(
            model=encoder.name, benchmark=corpus_named_by(recipe.data.files), protocol=protocol, variant=variant, value=round(value, 3), spread=None, seeds=(),
            train_clips=result.train_clips, test_clips=clips, classes=result.classes, description=DESCRIPTION, command=command, commit=commit,
            device=device_name(encoder.device),
        )
        for protocol, variant, value, clips in values
    ]  # fmt: skip


def _numbers(score: HeadScore, whole: bool = False) -> dict[str, float]:
    """Protocol -> percent; of parts, in which classes are missing, without those that are over the classes."""
    over_classes = {TOP3: score.top3, BALANCED: score.balanced_accuracy} if whole else {}
    return {TOP1: score.accuracy, **over_classes, MEAN_SCORE: score.mean_score, ERROR: 100 * score.calibration_error}


def said_of(kind: str) -> str:
    """What is said of a kind of holding out."""
    return KINDS.get(kind, f"without {kind}")
