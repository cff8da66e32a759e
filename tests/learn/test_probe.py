"""Probes of frozen vectors on made-up benchmarks: right numbers."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from benchmark_files import PER_CLASS, VIEW, clip_of, write_benchmarks
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tiny import make_encoder

import skelzoo
from skelzoo.errors import DoubtWarning, TrainingError
from skelzoo.learn.baselines import BASELINES, Coordinates, Statistics
from skelzoo.learn.benchmarks import BENCHMARKS, find_benchmark
from skelzoo.learn.probe import CLASSIFIERS, Split, average_precision, embed_split, predicted, right, score, standard_split, validation_split
from skelzoo.skeleton.clip import Clip
from skelzoo.skeleton.layouts import get_layout
from skelzoo.skeleton.prepare import prepare


@pytest.fixture(scope="module")
def encoder() -> skelzoo.Encoder:
    return make_encoder()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_benchmarks(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def blurred(tmp_path_factory: pytest.TempPathFactory, encoder: skelzoo.Encoder) -> Split:
    """Vectors of clips that are noise, so that some of what is found is wrong."""
    rng = np.random.default_rng(0)

    def blur(clips: list[Clip]) -> None:
        for i, clip in enumerate(clips):
            clips[i] = clip.replace(keypoints=rng.normal(size=clip.keypoints.shape))

    folder = write_benchmarks(tmp_path_factory.mktemp("blurred"), blur, files=["nw_ucla.npz"])
    return embed_split(encoder, standard_split("nwucla", folder, encoder.contract))


@pytest.mark.parametrize("protocol", CLASSIFIERS)
@pytest.mark.parametrize("benchmark", [name for name in BENCHMARKS if find_benchmark(name).dimension == 3])
def test_separable_classes_are_told_apart(data: Path, encoder: skelzoo.Encoder, benchmark: str, protocol: str) -> None:
    assert score(encoder, standard_split(benchmark, data, encoder.contract), protocol) == 100
    assert score(encoder, validation_split(benchmark, data, encoder.contract), protocol) == 100


def test_the_accuracy_counts_what_is_wrong(tmp_path: Path, encoder: skelzoo.Encoder) -> None:
    """Five test clips are of a class other than their label says: they and only they are wrong."""
    wrong = np.flatnonzero(VIEW == 3)[:5]

    def swap(clips: list[Clip]) -> None:
        for i in wrong:
            clips[i] = clip_of((i // PER_CLASS + 1) % 4, i)

    split = standard_split("nwucla", write_benchmarks(tmp_path, swap, files=["nw_ucla.npz"]), encoder.contract)
    assert score(encoder, split, "knn") == pytest.approx(100 * (12 - 5) / 12)
    assert np.array_equal(right(embed_split(encoder, split), "knn"), np.arange(12) >= 5)


@pytest.mark.parametrize(("name", "warned"), [("nwucla", False), ("mine", True)])
def test_oddities_of_known_benchmarks_are_not_warned_of(tmp_path: Path, encoder: skelzoo.Encoder, name: str, warned: bool) -> None:
    def reorder(clips: list[Clip]) -> None:
        clips[:] = [clip.replace(keypoints=clip.keypoints[:, :, ::-1]) for clip in clips]

    benchmark = replace(find_benchmark("nwucla"), name=name)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        standard_split(benchmark, write_benchmarks(tmp_path, reorder, files=["nw_ucla.npz"]), encoder.contract)
    assert any(w.category is DoubtWarning for w in caught) == warned


def test_one_nearest_neighbour_by_hand(blurred: Split) -> None:
    nearest = [np.argmin([((z - t) ** 2).sum() for t in blurred.train]) for z in blurred.test]
    expected = blurred.train_labels[nearest] == blurred.test_labels
    assert 0 < expected.sum() < len(expected) and np.array_equal(right(blurred, "knn"), expected)


def test_retrieval_by_hand(blurred: Split) -> None:
    z = (blurred.test - blurred.train.mean(0)) / blurred.train.std(0)
    for i, found in enumerate(average_precision(blurred)):
        others = [j for j in range(len(z)) if j != i]
        ranked = sorted(others, key=lambda j: -float(z[i] @ z[j] / np.linalg.norm(z[i]) / np.linalg.norm(z[j])))
        same = [blurred.test_labels[j] == blurred.test_labels[i] for j in ranked]
        precision = [np.mean(same[: k + 1]) for k, hit in enumerate(same) if hit]
        assert found == pytest.approx(np.mean(precision), abs=1e-6)
    assert 0.1 < average_precision(blurred).mean() < 0.9


def test_retrieval_of_the_only_clip_of_a_class_counts_for_nothing() -> None:
    rng = np.random.default_rng(0)
    train, near = rng.normal(size=(9, 4)).astype(np.float32), np.eye(4, dtype=np.float32)[[0, 0, 1, 1, 2]] * 9
    labels = np.array([0, 0, 1, 1, 2], np.int32)
    found = average_precision(Split(train, np.zeros(9, np.int32), near, labels, np.zeros(5, bool)))
    assert np.isnan(found[4]) and found[:4] == pytest.approx(1)


def test_the_probe_standardises(encoder: skelzoo.Encoder, data: Path) -> None:
    """A useless coordinate of huge scale misleads nearest neighbours and not the linear probe."""
    vectors, rng = embed_split(encoder, standard_split("nwucla", data, encoder.contract)), np.random.default_rng(0)
    loud = [np.concatenate([z, 1e4 * rng.normal(size=(len(z), 1))], 1).astype(np.float32) for z in (vectors.train, vectors.test)]
    spoilt = Split(loud[0], vectors.train_labels, loud[1], vectors.test_labels, vectors.copies)
    assert right(spoilt, "linear").all() and not right(spoilt, "knn").all()


def test_clips_of_one_frame_count(tmp_path: Path, encoder: skelzoo.Encoder) -> None:
    def cut(clips: list[Clip]) -> None:
        clips[0] = clips[0].replace(keypoints=clips[0].keypoints[:, :1])

    split = standard_split("nwucla", write_benchmarks(tmp_path, cut, files=["nw_ucla.npz"]), encoder.contract)
    assert len(split.train) + len(split.test) == len(VIEW)


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize("benchmark", ["nwucla", "nwucla-2d"])
def test_the_baselines_without_a_net(data: Path, benchmark: str, name: str) -> None:
    baseline = BASELINES[name](find_benchmark(benchmark).dimension)
    split = standard_split(benchmark, data, baseline.contract)
    assert score(baseline, split, "linear") > 60
    # Coordinates: frames, joints, channels. Statistics: joints and limbs, two streams, four of them.
    each = {"coordinates": 32, "statistics": 2 * 2 * 4}[name]
    assert embed_split(baseline, split).train.shape == (28, each * (17 * 2 if benchmark == "nwucla-2d" else 20 * 3))


def test_the_statistics_are_those_of_joints_motion_and_limbs() -> None:
    baseline, x = Statistics(), np.random.default_rng(0).normal(size=(2, 6, 64, 20, 1)).astype(np.float32)
    joint = x[:, :, :, 7, 0]
    limb = joint - x[:, :, :, get_layout("kinect20").parents[7], 0]
    tracks = np.concatenate([joint, limb], 1)
    expected = np.concatenate([tracks.mean(2), tracks.std(2), tracks.max(2), tracks.min(2)], 1)
    np.testing.assert_allclose(baseline.embed(x, prepared=True, progress=False)[:, 7 * 48 : 8 * 48], expected, atol=1e-4)


def test_joints_that_were_not_found_are_interpolated_for_the_baseline() -> None:
    points = np.broadcast_to(np.random.default_rng(0).normal(size=(1, 1, 17, 2)) + 1, (1, 40, 17, 2)).copy()
    gaps = points.copy()
    gaps[0, 5:30, 9] = 0
    whole, filled = (prepare(Clip(x, "coco17"), Coordinates(2).contract) for x in (points, gaps))
    np.testing.assert_allclose(filled, whole, atol=1e-5)


def test_unknown_classifiers(blurred: Split) -> None:
    with pytest.raises(TrainingError, match=r"no classifier 'svm'\. Known: linear, knn"):
        right(blurred, "svm")


@pytest.mark.parametrize("clips", [300, 150])
def test_the_linear_probe_converges(clips: int) -> None:
    """Nothing of its answer comes from where a solver stopped, or from a rotation of few vectors: another solver, let run to the end on the vectors themselves, gives the same classes."""
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(400, 400)) * np.geomspace(1, 1e-3, 400)
    train, test = ((rng.normal(size=(n, 400)) @ mix.T).astype(np.float32) for n in (clips, 20_000))
    labels = rng.integers(0, 5, clips)
    split = Split(train, labels, test, np.zeros(len(test), np.int64), np.zeros(len(test), bool))
    end = make_pipeline(StandardScaler(), LogisticRegression(C=0.05, tol=1e-9, max_iter=100_000)).fit(train.astype(np.float64), labels)
    assert (predicted(split, "linear") != end.predict(test.astype(np.float64))).sum() <= 2
