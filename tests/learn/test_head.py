"""A head fitted on frozen embeddings: it tells the classes apart, and is measured on held-out clips only."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import make_clip, make_encoder, write_corpus

import skelzoo
from skelzoo.errors import TrainingError
from skelzoo.learn.head import HeadOptions, fit_head
from skelzoo.learn.pretrain.data import DataOptions
from skelzoo.skeleton.clip import Clip

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


def test_the_head_is_the_logistic_regression_of_scikit_learn(tmp_path: Path) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    body = make_encoder(labels=None)
    write(tmp_path, 3)
    headed, _ = fit_head(body, HeadOptions({"a.npz": "*"}, fewest=3, strength=0.5), DATA, tmp_path)
    clips = [c for c in skelzoo.read(tmp_path / "a.npz") if int(c.name.split("_")[1]) % 4 != 3]
    expected = make_pipeline(StandardScaler(), LogisticRegression(C=0.5, max_iter=2000, class_weight="balanced"))
    expected.fit(body.embed(clips), [c.label for c in clips])
    tried = [make_clip(s) for s in range(6)]
    result = headed.classify(tried)
    p = expected.predict_proba(body.embed(tried))
    np.testing.assert_allclose(result.scores, np.take_along_axis(p, result.indices, 1), atol=1e-3)
    assert [str(x) for x in expected.classes_] == list(headed.labels or ())


def test_mistakes_on_held_out_clips_count(tmp_path: Path) -> None:
    _, result = fit_head(make_encoder(labels=None), HeadOptions({"a.npz": "*"}, fewest=3), DATA, write(tmp_path, 4, mislabelled=3))
    assert result.accuracy == pytest.approx(100 * 5 / 8) and result.test_clips == 8
    assert result.balanced_accuracy == pytest.approx(np.mean([a for _, a in result.per_class.values()])) and result.balanced_accuracy < 100
    assert sum(n for n, _ in result.per_class.values()) == 8


def test_windows_of_one_clip_are_one_vote(tmp_path: Path) -> None:
    _, result = fit_head(make_encoder(labels=None), HeadOptions({"a.npz": "*"}, fewest=3), DATA, write(tmp_path, 3, frames=80))
    assert (result.train_clips, result.test_clips) == (18, 6)


def test_labels_can_be_renamed_left_out_and_be_too_few(tmp_path: Path) -> None:
    write(tmp_path, 4)
    options = HeadOptions({"a.npz": {"class0": "still", "class1": "still", "class2": "go"}}, fewest=3)
    headed, result = fit_head(make_encoder(labels=None), options, DATA, tmp_path)
    assert headed.labels == ("go", "still") and dict(result.per_class).keys() == {"go", "still"} and result.test_clips == 6
    few = HeadOptions({"a.npz": {"class0": "still", "class1": "still", "class2": "go", "class3": "run"}}, fewest=7)
    with pytest.raises(TrainingError, match=r"1 class\(es\) with at least 7 clips"):
        fit_head(make_encoder(labels=None), few, DATA, tmp_path)


def test_nothing_to_train_or_measure_on(tmp_path: Path) -> None:
    write(tmp_path, 2)
    for options, data in (
        (HeadOptions({"a.npz": {"class7": "x"}}), DATA),
        (HeadOptions({"a.npz": "*"}), DataOptions(["a.npz", "b.npz"], max_step=100.0)),
        (HeadOptions({"c.npz": "*"}), DATA),
    ):
        with pytest.raises(TrainingError, match="no labelled clips"):
            fit_head(make_encoder(labels=None), options, data, tmp_path)


def test_fitting_a_head_leaves_the_body_alone(tmp_path: Path) -> None:
    body = make_encoder(labels=None)
    before = {k: v.clone() for k, v in body.net.state_dict().items()}
    fit_head(body, HeadOptions({"a.npz": "*"}, fewest=3), DATA, write(tmp_path, 2))
    assert all(torch.equal(v, before[k]) for k, v in body.net.state_dict().items())
