"""Numbers of a head against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from skelzoo.learn.head_result import TEMPERATURES, calibration_error, confusions, per_class, score, surprise

P = np.array([[0.90, 0.06, 0.03, 0.01], [0.92, 0.05, 0.02, 0.01], [0.50, 0.30, 0.15, 0.05], [0.52, 0.28, 0.15, 0.05], [0.1, 0.2, 0.3, 0.4]])
LOGITS, TRUTH = np.log(P) + np.arange(5)[:, None], np.array([0, 1, 0, 3, 3])


def test_score() -> None:
    s = score(LOGITS, TRUTH)
    assert (s.test_clips, s.accuracy, s.top3) == (5, 60, 80)
    assert s.balanced_accuracy == pytest.approx((100 + 0 + 50) / 3)
    # Bins of 1/15: 0.90 and 0.92 share one (one of two right), 0.50 and 0.52 one (one right), 0.40 is alone and right.
    assert s.calibration_error == calibration_error(LOGITS, TRUTH) == pytest.approx((abs(1.82 - 1) + abs(1.02 - 1) + abs(0.4 - 1)) / 5)


def test_a_class_that_a_head_did_not_see_has_no_score() -> None:
    logits = np.where([False, False, True, False], -np.inf, LOGITS)
    assert score(logits, np.zeros(5, int)).accuracy == 80 and np.isfinite(surprise(logits, np.zeros(5, int))).all()


def test_surprise_is_least_at_the_temperature_of_the_scores() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4000, 5)) * 2
    truth = np.array([rng.choice(5, p=p) for p in np.exp(logits) / np.exp(logits).sum(1, keepdims=True)])
    assert TEMPERATURES[surprise(3 * logits, truth).argmin()] == pytest.approx(3, rel=0.1)
    assert calibration_error(logits, truth) < 0.04 < calibration_error(3 * logits, truth)


def test_classes_and_confusions() -> None:
    names = ["walk", "run", "jump", "sit"]
    assert per_class(LOGITS, TRUTH, names) == {"walk": (2, 100), "run": (1, 0), "sit": (2, 50)}
    assert confusions(LOGITS, TRUTH, names) == [("run", "walk", 1), ("sit", "walk", 1)]
    assert confusions(LOGITS, np.array([1, 1, 0, 2, 3]), names) == [("run", "walk", 2), ("jump", "walk", 1)]
