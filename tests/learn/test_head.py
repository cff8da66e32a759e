"""A head fitted on frozen embeddings: it tells the classes apart, and is measured on held-out clips only."""

from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import make_clip, make_config, make_encoder, write_corpus

import skelzoo
from skelzoo.errors import TrainingError
from skelzoo.learn.head import check_head, fit_head
from skelzoo.learn.head_clips import HeadOptions
from skelzoo.learn.held_out import DataOptions, held_out
from skelzoo.skeleton.clip import Clip
from skelzoo.skeleton.io.corpus import read_corpus

DATA = DataOptions(["a.npz", "b.npz"], window=30, hop=20, shortest=5, max_step=100.0, held_out={"a.npz": {"subjects": [3]}})


def clip_of(label: int, i: int, frames: int = 20) -> Clip:
    clip = make_clip(label, frames=frames)
    return clip.replace(keypoints=clip.keypoints + np.random.default_rng(1000 * label + i).normal(size=(1, 1, 20, 3)) * 0.02, name=f"c{label}_{i}")


def write(folder: Path, classes: int, per_class: int = 8, mislabelled: int = 0, frames: int = 20) -> Path:
    """class0, class1, ...; every fourth clip of a class is of the held-out subject 3, the first of them mislabelled."""
    labels = np.repeat(np.arange(classes), per_class)
    subject = np.tile(np.arange(per_class, dtype=np.int32) % 4, classes)
    clips = [clip_of(label, i, frames) for label in range(classes) for i in range(per_class)]
    for i in np.flatnonzero(subject == 3)[:mislabelled]:
        labels[i] = (labels[i] + 1) % classes
    write_corpus(folder / "a.npz", clips, labels=labels, subject=subject)
    write_corpus(folder / "b.npz", [make_clip(50)])
    return folder


@pytest.mark.parametrize("classes", [2, 3, 4])
def test_a_head_tells_held_out_clips_apart(tmp_path: Path, classes: int) -> None:
    body = make_encoder(labels=None)
    headed, result = fit_head(body, HeadOptions({"a.npz": "*"}, fewest=3), DATA, write(tmp_path, classes))
    assert headed.labels == tuple(f"class{i}" for i in range(classes)) and result.classes == classes
    assert (result.train_clips, result.test_clips, result.accuracy, result.balanced_accuracy, result.top3) == (6 * classes, 2 * classes, 100, 100, 100)
    assert dict(result.per_class) == {f"class{i}": (2, 100.0) for i in range(classes)}
    assert [headed.classify(clip_of(i, 99)).labels[0, 0] for i in range(classes)] == list(headed.labels)
    assert np.array_equal(headed.embed(make_clip()), body.embed(make_clip())) and body.config.num_classes == 0
    again = skelzoo.load(f"local:{headed.save(tmp_path / 'headed')}", device="cpu")
    assert again.labels == headed.labels and np.array_equal(again.classify(make_clip()).scores, headed.classify(make_clip()).scores)


def test_the_head_is_the_logistic_regression_of_scikit_learn_at_a_temperature(tmp_path: Path) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    body = make_encoder(labels=None)
    write(tmp_path, 3)
    headed, result = fit_head(body, HeadOptions({"a.npz": "*"}, fewest=3, strength=0.5), DATA, tmp_path)
    clips = [c for c in skelzoo.read(tmp_path / "a.npz") if int(c.name.split("_")[1]) % 4 != 3]
    expected = make_pipeline(StandardScaler(), LogisticRegression(C=0.5, max_iter=2000, class_weight="balanced"))
    expected.fit(body.embed(clips), [c.label for c in clips])
    tried = [make_clip(s) for s in range(6)]
    scores = headed.classify(tried)
    logits = torch.from_numpy(expected.predict_log_proba(body.embed(tried))) / result.temperature
    np.testing.assert_allclose(scores.scores, np.take_along_axis(logits.softmax(1).numpy(), scores.indices, 1), atol=1e-3)
    assert [str(x) for x in expected.classes_] == list(headed.labels or ())


def test_what_is_measured_is_what_classify_says(tmp_path: Path) -> None:
    """Also for clips that pretraining would cut into windows: a user's clip comes whole."""
    headed, result = fit_head(make_encoder(labels=None), HeadOptions({"a.npz": "*"}, fewest=3), DATA, write(tmp_path, 4, mislabelled=3, frames=80))
    out = [c for c in skelzoo.read(tmp_path / "a.npz") if int(c.name.split("_")[1]) % 4 == 3]
    said = headed.classify(out, top_k=1)
    right = said.labels[:, 0] == np.array([c.label for c in out])
    assert result.test_clips == len(out) == 8 and result.accuracy == pytest.approx(100 * right.mean()) == pytest.approx(62.5)
    assert sum(n for _, _, n in result.confusions) == 3 == (~right).sum()
    assert {(true, taken) for true, taken, _ in result.confusions} == {
        (c.label, str(s)) for c, s, ok in zip(out, said.labels[:, 0], right, strict=True) if not ok
    }
    bins = np.minimum((said.scores[:, 0] * 15).astype(int), 14)
    expected = sum(abs(said.scores[bins == b, 0].mean() - right[bins == b].mean()) * (bins == b).mean() for b in set(bins))
    assert result.calibration_error == pytest.approx(expected, abs=1e-4)


def test_the_temperature_takes_back_what_a_head_believes_without_reason(tmp_path: Path) -> None:
    """Labels by chance: what a head learns of them by heart holds for no other subject."""
    count = 72
    write_corpus(tmp_path / "a.npz", [make_clip(i) for i in range(count)], labels=np.arange(count) % 3, subject=np.arange(count, dtype=np.int32) // 3 % 4)
    write_corpus(tmp_path / "b.npz", [make_clip(count)])
    _, result = fit_head(make_encoder(labels=None), HeadOptions({"a.npz": "*"}, fewest=3, strength=10.0), DATA, tmp_path)
    assert result.temperature > 2 and result.accuracy < 70
    assert result.calibration_error < 0.7 * result.error_before and result.kinds["cross-validated"].calibration_error < 0.2


def write_kinds(folder: Path) -> DataOptions:
    """Two files: a.npz holds out a subject, b.npz a share and a style; class0 and class1 are in both, class2 in a.npz alone."""
    for file, classes, seed in (("a.npz", 3, 0), ("b.npz", 2, 100)):
        labels = np.repeat(np.arange(classes), 12)
        clips = [clip_of(label, seed + i) for label in range(classes) for i in range(12)]
        number = np.tile(np.arange(12, dtype=np.int32) % 4, classes)
        write_corpus(folder / file, clips, labels=labels, **({"subject": number} if file == "a.npz" else {"style": number}))
    return dataclasses.replace(DATA, held_out={"a.npz": {"subjects": [3]}, "b.npz": {"share": 0.3, "style": [2]}})


def test_every_kind_of_holding_out_is_measured_apart(tmp_path: Path) -> None:
    data = write_kinds(tmp_path)
    _, result = fit_head(make_encoder(labels=None), HeadOptions({"a.npz": "*", "b.npz": "*"}, fewest=3), data, tmp_path)
    by_hash = held_out(read_corpus(tmp_path / "b.npz"), {"share": 0.3}) & (np.tile(np.arange(12) % 4, 2) != 2)
    clips = {kind: s.test_clips for kind, s in result.kinds.items()}
    assert 0 < by_hash.sum() < 18
    assert clips == {
        "clip": by_hash.sum(), "style": 6, "subject": 9, "source a.npz": 6, "source b.npz": 6 + by_hash.sum(), "cross-validated": result.train_clips,
    }  # fmt: skip
    assert result.test_clips == clips["clip"] + clips["style"] + clips["subject"] and result.train_clips == 60 - result.test_clips
    assert all(s.accuracy == 100 for s in result.kinds.values())


def test_a_source_of_its_own_is_not_predicted_by_a_head_that_saw_it(tmp_path: Path) -> None:
    """Where the other file has the two classes the other way round, only a head fitted without this one is always wrong."""
    data = write_kinds(tmp_path)
    labels = {"a.npz": {"class0": "left", "class1": "right"}, "b.npz": {"class0": "right", "class1": "left"}}
    _, result = fit_head(make_encoder(labels=None), HeadOptions(labels, fewest=3), data, tmp_path)
    assert result.kinds["source a.npz"].accuracy == result.kinds["source b.npz"].accuracy == 0


def test_a_head_that_did_not_see_a_source_did_not_see_its_arms_either(tmp_path: Path) -> None:
    """Arms of another world in the training clips of one file would spoil every head that learns copies with them."""
    arms = [skelzoo.get_layout("kinect20").index(f"{side}{joint}") for side in ("Left", "Right") for joint in ("Elbow", "Wrist", "Hand")]
    for file, seed in (("a.npz", 0), ("b.npz", 100)):
        clips = [clip_of(label, seed + i) for label in range(2) for i in range(12)]
        number = np.tile(np.arange(12, dtype=np.int32) % 4, 2)
        for i in np.flatnonzero(number != 3) if file == "b.npz" else ():
            keypoints = clips[i].keypoints.copy()
            keypoints[:, :, arms] += 20
            clips[i] = clips[i].replace(keypoints=keypoints)
        write_corpus(tmp_path / file, clips, labels=np.repeat(np.arange(2), 12), subject=number)
    data = dataclasses.replace(DATA, held_out={"a.npz": {"subjects": [3]}, "b.npz": {"subjects": [3]}})
    plain, legs = (
        fit_head(make_encoder(labels=None), HeadOptions({"a.npz": "*", "b.npz": "*"}, fewest=3, legs=legs), data, tmp_path)[1].kinds["source b.npz"]
        for legs in ([], ["class0", "class1"])
    )
    assert plain.accuracy == legs.accuracy == 100


def test_mistakes_on_held_out_clips_count(tmp_path: Path) -> None:
    _, result = fit_head(make_encoder(labels=None), HeadOptions({"a.npz": "*"}, fewest=3), DATA, write(tmp_path, 4, mislabelled=3))
    assert result.accuracy == pytest.approx(100 * 5 / 8) and result.test_clips == 8
    assert result.balanced_accuracy == pytest.approx(np.mean([a for _, a in result.per_class.values()])) and result.balanced_accuracy < 100
    assert sum(n for n, _ in result.per_class.values()) == 8


def test_labels_can_be_renamed_left_out_and_be_too_few(tmp_path: Path) -> None:
    write(tmp_path, 4)
    options = HeadOptions({"a.npz": {"class0": "still", "class1": "still", "class2": "go"}}, fewest=3)
    headed, result = fit_head(make_encoder(labels=None), options, DATA, tmp_path)
    assert headed.labels == ("go", "still") and dict(result.per_class).keys() == {"go", "still"} and result.test_clips == 6
    few = HeadOptions({"a.npz": {"class0": "still", "class1": "still", "class2": "go", "class3": "run"}}, fewest=7)
    with pytest.raises(TrainingError, match=r"1 class\(es\) with at least 7 training clips"):
        fit_head(make_encoder(labels=None), few, DATA, tmp_path)


def test_nothing_to_train_or_measure_on(tmp_path: Path) -> None:
    write(tmp_path, 2)
    for options, data in (
        (HeadOptions({"a.npz": "*"}), DataOptions(["a.npz", "b.npz"], max_step=100.0)),
        (HeadOptions({"c.npz": "*"}), DATA),
        (HeadOptions({"a.npz": "*"}, fewest=2), dataclasses.replace(DATA, held_out={"a.npz": {"subjects": [0, 1, 2]}})),
    ):
        with pytest.raises(TrainingError, match=r'no labelled clips.*"head": null ends the run with what was trained'):
            fit_head(make_encoder(labels=None), options, data, tmp_path)


@pytest.mark.parametrize(("options", "held", "says"), [
    (HeadOptions({"a.npz": "*"}, fewest=7), [3], r"0 class\(es\) with at least 7 training clips: a head needs two"),
    (HeadOptions({"a.npz": {"class0": "x"}}, fewest=3), [3], r"1 class\(es\) with at least 3 training clips"),
    (HeadOptions({"a.npz": "*"}, fewest=2), [0, 1, 2], "no labelled clips are left to calibrate the head on"),
    (HeadOptions({"a.npz": "*"}, fewest=3), None, "no labelled clips to train a head on, or none held out"),
    (HeadOptions({"a.npz": {"class0": "x", "class1": "y", "class2": "z"}}, fewest=3), [8], r"no held-out clip is of a class that the head has \(x, y\)"),
])  # fmt: skip
@pytest.mark.filterwarnings("ignore:the head leaves out classes")
def test_a_head_that_cannot_be_fitted_is_known_from_the_labels(tmp_path: Path, options: HeadOptions, held: list[int] | None, says: str) -> None:
    labels, subject = np.repeat(np.arange(3), 8), np.tile(np.arange(8, dtype=np.int32) % 4, 3)
    subject[labels == 2] = 8 if held == [8] else subject[labels == 2]
    write_corpus(tmp_path / "a.npz", [clip_of(label, i) for i, label in enumerate(labels)], labels=labels, subject=subject)
    write_corpus(tmp_path / "b.npz", [make_clip(50)])
    data = dataclasses.replace(DATA, held_out={"a.npz": {"subjects": held}} if held else {})
    with pytest.raises(TrainingError, match=says + r'.*"head": null ends the run'):
        check_head(make_config(None), options, data, tmp_path)


@pytest.mark.parametrize(("name", "value"), [
    ("fewest", "3"), ("fewest", 0), ("fewest", 2.5), ("strength", "1"), ("strength", 0), ("strength", math.nan), ("legs", "walk"), ("legs", [1]), ("labels", {"a.npz": {"a": 1}}),
])  # fmt: skip
def test_options_of_a_head_that_are_of_another_kind(name: str, value: Any) -> None:
    with pytest.raises(TrainingError, match=rf"head\.{name} is {re.escape(repr(value))}\. Give a "):
        HeadOptions(**{"labels": {"a.npz": "*"}, name: value})


def test_labels_that_no_file_has_are_refused_and_small_classes_named(tmp_path: Path) -> None:
    write(tmp_path, 5)
    with pytest.raises(TrainingError, match=r"a\.npz has no label 'Class1', 'class7'; it has class0, class1, class2, class3, class4\. Check head\.labels"):
        check_head(make_config(None), HeadOptions({"a.npz": {"class0": "x", "Class1": "y", "class7": "z"}}), DATA, tmp_path)
    options = HeadOptions({"a.npz": {"class0": "left", "class1": "right", "class2": "right", "class3": "up", "class4": "up"}}, fewest=7)
    with pytest.warns(UserWarning, match=r"fewer than 7 training clips: 'left' \(6\)\. Lower head\.fewest"):
        check_head(make_config(None), options, DATA, tmp_path)


def test_fitting_a_head_leaves_the_body_alone(tmp_path: Path) -> None:
    body = make_encoder(labels=None)
    before = {k: v.clone() for k, v in body.net.state_dict().items()}
    fit_head(body, HeadOptions({"a.npz": "*"}, fewest=3), DATA, write(tmp_path, 2))
    assert all(torch.equal(v, before[k]) for k, v in body.net.state_dict().items())
