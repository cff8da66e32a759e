"""Semi-supervised learning: draws that anyone can repeat, and no label read that was not given."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmark_files import write_benchmarks
from tiny import CONTRACT, SMALL, make_clip, make_encoder

import skelzoo
from skelzoo.errors import TrainingError
from skelzoo.learn import protocols, semi
from skelzoo.learn.baselines import BASELINES
from skelzoo.learn.benchmarks import ClipSplit, draw_labels, find_benchmark, standard_clips
from skelzoo.learn.evaluate import measure
from skelzoo.learn.protocols import ALL, Trial
from skelzoo.learn.semi import COPIES, PER_CLASS, SEEDS, SHORTEST, draw, is_drawn, labelled, vectors_of_copies
from skelzoo.skeleton.clip import Clip, mirrored
from skelzoo.weights.checkpoint import build_net
from skelzoo.weights.manifest import ModelConfig

CLASSES = ("bow", "kick", "wave")


def clips_of(per_class: int, first: int = 0, frames: int = 20) -> list[Clip]:
    """Every class has its own motion, every clip slightly other joints."""
    out = []
    for k, label in enumerate(CLASSES):
        for i in range(first, first + per_class):
            clip = make_clip(k, frames)
            noise = 0.15 * np.random.default_rng((k, i)).normal(size=(1, 1, 20, 3))
            out.append(clip.replace(keypoints=clip.keypoints + noise, name=f"{label}-{i}", label=label))
    return out


def encoder_of(arch: str = "psp") -> skelzoo.Encoder:
    if arch != "psp":
        return make_encoder(labels=None)
    torch.manual_seed(0)
    config = ModelConfig("psp", {**SMALL["psp"], "num_frames": CONTRACT.frames}, CONTRACT.replace(streams=("joint", "motion"), persons=1))
    return skelzoo.Encoder(build_net(config), config, "tiny psp", "cpu")


@pytest.mark.parametrize("arch", ["psp", "skeattnclr"])
def test_copies_are_the_clips_their_mirror_images_and_augmented_ones(arch: str) -> None:
    encoder, clips = encoder_of(arch), clips_of(2)
    vectors, turned = vectors_of_copies(encoder, clips, 3)
    assert vectors.shape == (2 + COPIES, len(clips), encoder.embedding_dim)
    np.testing.assert_allclose(vectors[0], encoder.embed(clips), atol=1e-5)
    np.testing.assert_allclose(vectors[1], encoder.embed([mirrored(clip) for clip in clips]), atol=1e-5)
    distances = np.abs(vectors[:, None] - vectors[None]).max((2, 3))
    assert (distances + np.eye(len(vectors)) > 1e-3).all()
    state = torch.random.get_rng_state()
    assert np.array_equal(vectors_of_copies(encoder, clips, 3)[0], vectors) and not np.allclose(vectors_of_copies(encoder, clips, 4)[0][2:], vectors[2:])
    assert turned.shape == vectors.shape[:2] and not turned[0].any() and turned[1].all()
    assert torch.equal(torch.random.get_rng_state(), state)


def test_the_protocol_goes_with_2_d_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocols, "SEEDS", (0,))
    clips = standard_clips("nwucla-2d", write_benchmarks(tmp_path, files=["nw_ucla.npz"]))
    encoder = skelzoo.load("skeattnclr-openskel-2d", device="cpu")
    vectors, _ = vectors_of_copies(encoder, clips.train[:2], 0)
    assert (np.abs(vectors[:, None] - vectors[None]).max((2, 3)) + np.eye(2 + COPIES) > 1e-4).all(), "every copy is another one"
    (row,) = measure(Trial(encoder, find_benchmark("nwucla-2d"), clips, labels=30), ["semi"])
    assert (row.benchmark, row.protocol, row.train_clips) == ("nwucla-2d", "semi", 8) and row.value > 40


def test_every_augmented_copy_is_mirrored_or_not_by_chance_clip_by_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(semi, "AUGMENTATIONS", ())
    (plain, other, *copies), (_, _, *which) = vectors_of_copies(encoder_of(), clips_of(4), 0)
    for copy, said in zip(copies, which, strict=True):
        as_it_was, turned = (np.isclose(copy, kind, atol=1e-5).all(1) for kind in (plain, other))
        assert (as_it_was ^ turned).all() and as_it_was.any() and turned.any() and (turned == said).all()


@pytest.mark.parametrize(
    ("names", "one_sided", "right"),
    [
        (("turn-left", "Turn-Right"), "", (99, 100)),
        (("LEFT hand to the right", "right hand to the LEFT"), "", (99, 100)),
        (("bow", "stand upright"), "", (0, 80)),  # the same motions, of which no name tells
        (("left arm", "wave"), "'left arm'", (0, 80)),
    ],
)
def test_a_mirror_image_is_of_the_class_of_the_other_side(
    names: tuple[str, str], one_sided: str, right: tuple[int, int], recwarn: pytest.WarningsRecorder
) -> None:
    clips, labels = [], np.repeat([0, 1], 8)
    for i, label in enumerate(labels):
        noisy = make_clip(0).replace(keypoints=make_clip(0).keypoints + 0.05 * np.random.default_rng(i).normal(size=(1, 1, 20, 3)))
        clips.append((mirrored(noisy) if label else noisy).replace(name=f"clip{i}", label=names[label]))
    split = ClipSplit(tuple(clips[::2]), labels[::2], tuple(clips[1::2]), labels[1::2], np.zeros(8, bool))
    (row,) = measure(Trial(BASELINES["statistics"](3, 1), find_benchmark("utdmhad"), split, labels=50), ["semi"])
    assert right[0] <= row.value <= right[1]
    said = [str(w.message) for w in recwarn if "protocol semi learns mirror images" in str(w.message)]
    assert len(said) == bool(one_sided) and all(f"also of {one_sided}, for which no class" in text for text in said)


def test_a_draw_takes_as_many_of_every_class_whatever_the_order() -> None:
    clips = [*clips_of(8), *clips_of(1, 8, SHORTEST), *clips_of(4, 50, SHORTEST - 1)]
    drawn = draw(clips, 5, 1)
    assert [len(names) for names in draw(clips, 20, 1).values()] == [9] * len(CLASSES)
    assert list(drawn) == list(CLASSES) and all(len(set(names)) == 5 for names in drawn.values())
    assert all(name.startswith(label) and int(name.split("-")[1]) < 9 for label, names in drawn.items() for name in names)
    assert draw(clips[::-1], 5, 1) == drawn != draw(clips, 5, 2)
    assert {k: names[:3] for k, names in drawn.items()} == draw(clips, 3, 1)
    positions = {tuple(name.split("-")[1] for name in names) for names in drawn.values()}
    assert len(positions) == len(CLASSES)


def test_index_files_are_balanced_and_fewer_labels_are_part_of_more() -> None:
    draws = {seed: [labelled("nwucla", n, seed) for n in PER_CLASS] for seed in SEEDS}
    for parts in draws.values():
        assert [len(set(names)) for names in parts] == [10 * n for n in PER_CLASS]
        assert all(set(few) < set(more) for few, more in itertools.pairwise(parts))
        assert not any(name.endswith("_v03") for name in parts[-1])
        assert parts[0] == tuple(name for i, name in enumerate(parts[-1]) if i % PER_CLASS[-1] < PER_CLASS[0]), "the first that were drawn of each class"
    assert len({frozenset(parts[0]) for parts in draws.values()}) == len(SEEDS)


def test_which_draws_there_are() -> None:
    assert [is_drawn("nwucla", n) for n in (None, 1, 40, 0, 41, 7.5)] == [True] * 3 + [False] * 3 and not is_drawn("utdmhad", None)


def test_draws_that_do_not_exist_are_named() -> None:
    for benchmark, per_class, seed in (("nwucla", 0, 0), ("nwucla", 41, 0), ("nwucla", 7.5, 0), ("nwucla", 5, 5)):
        with pytest.raises(TrainingError, match=rf"no draw of {per_class} clips per class with seed {seed}\. Give 1 to 40 .* 0, 1, 2, 3, 4"):
            labelled(benchmark, per_class, seed)
    with pytest.raises(TrainingError, match="no labelled clips were drawn for 'utdmhad', only for nwucla"):
        labelled("utdmhad", 5, 0)


@pytest.mark.parametrize("arch", ["psp", "skeattnclr"])
def test_the_protocol_gives_a_number_per_share(arch: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = standard_clips("nwucla", write_benchmarks(tmp_path))
    drawn: list[int] = []

    def known(benchmark: str, count: float, seed: int) -> tuple[str, ...]:
        drawn.append(seed)
        return tuple(name for names in draw(clips.train, int(count), seed).values() for name in names)

    monkeypatch.setattr(protocols, "SEEDS", (0, 1))
    monkeypatch.setattr(protocols, "labelled", known)
    (row,) = measure(Trial(encoder_of(arch), find_benchmark("nwucla"), clips, labels=3), ["semi"])
    assert (row.variant, row.seeds, row.train_clips) == (f"3 % of labels, {ALL}", (0, 1), 3 * len(set(clips.train_labels))) and drawn == [0, 1]
    assert row.value > 70 and "every class's labels" not in row.description


def test_what_is_odd_is_said_once_for_all_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def repeat(clips: list[Clip]) -> None:
        clips[:] = [c.replace(keypoints=np.concatenate([c.keypoints] * 2, 1)) for c in clips]

    monkeypatch.setattr(protocols, "SEEDS", (0, 1))
    with pytest.warns(UserWarning, match="the frames repeat themselves exactly") as caught:
        measure(Trial(encoder_of(), find_benchmark("utdmhad"), standard_clips("utdmhad", write_benchmarks(tmp_path, repeat)), 40), ["semi"])
    assert sum("repeat themselves" in str(w.message) for w in caught) == 1


@pytest.mark.parametrize(("benchmark", "labels", "shares"), [("utdmhad", 40, [40]), ("utdmhad", None, [5, 15, 30, 40]), ("nwucla", 50.5, [50.5])])
def test_a_share_without_an_index_file_is_drawn_of_every_class(
    benchmark: str, labels: float | None, shares: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(clips: list[Clip]) -> None:
        clips[0] = clips[0].replace(keypoints=clips[0].keypoints[:, : SHORTEST - 1])

    monkeypatch.setattr(protocols, "SEEDS", (0, 1))
    clips = standard_clips(benchmark, write_benchmarks(tmp_path, cut))
    long = clips.of_at_least(SHORTEST)
    rows = measure(Trial(encoder_of(), find_benchmark(benchmark), clips, labels), ["semi"])
    assert [(r.variant, r.seeds, r.train_clips) for r in rows] == [(f"{s:g} % of labels, {ALL}", (0, 1), int(draw_labels(long, s, 0).sum())) for s in shares]
    assert len(long.train) == len(clips.train) - 1 and rows[-1].value > 70 and "labelled clips of each class" not in rows[0].description
    assert f"{', '.join(f'{s:g}' for s in shares)} % of every class's labels, at least one, drawn with seeds 0 to 4" in rows[0].description


def test_labels_that_are_not_known_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = standard_clips("nwucla", write_benchmarks(tmp_path))
    known = [name for names in draw(clips.train, 2, 0).values() for name in names]
    monkeypatch.setattr(protocols, "SEEDS", (0,))
    monkeypatch.setattr(protocols, "labelled", lambda *_: tuple(known))
    hidden = replace(
        clips,
        train=tuple(c if c.name in known else c.replace(label=None) for c in clips.train),
        train_labels=np.array([k if c.name in known else 0 for c, k in zip(clips.train, clips.train_labels, strict=True)]),
    )
    values = [measure(Trial(encoder_of(), find_benchmark("nwucla"), part, labels=2), ["semi"])[0].value for part in (clips, hidden)]
    assert values[0] == values[1]


@pytest.mark.needs_shared
def test_the_index_file_is_what_draw_gives(shared: Path) -> None:
    train = standard_clips("nwucla", shared / "data").train
    for seed in SEEDS:
        drawn = draw(train, max(PER_CLASS), seed)
        assert labelled("nwucla", max(PER_CLASS), seed) == tuple(name for names in drawn.values() for name in names)
