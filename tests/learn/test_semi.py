"""Semi-supervised learning: draws that anyone can repeat, and training that reads no label it was not given."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmark_files import write_benchmarks
from tiny import CONTRACT, SMALL, make_clip, make_encoder

import skelzoo
from skelzoo.errors import TrainingError
from skelzoo.learn import protocols
from skelzoo.learn.benchmarks import standard_clips
from skelzoo.learn.evaluate import measure
from skelzoo.learn.finetune import finetune
from skelzoo.learn.protocols import ALL, Trial
from skelzoo.learn.semi import OPTIONS, PER_CLASS, SEEDS, SHORTEST, draw, labelled, semi
from skelzoo.skeleton.clip import Clip
from skelzoo.weights.checkpoint import build_net
from skelzoo.weights.manifest import ModelConfig

CLASSES = ("bow", "kick", "wave")
QUICK = replace(OPTIONS, augmentations=(), learning_rate=2e-2, precision="32-true")


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


def state_of(encoder: skelzoo.Encoder) -> dict[str, np.ndarray]:
    return {k: v.numpy().copy() for k, v in encoder.net.state_dict().items()}


def same(a: skelzoo.Encoder, b: skelzoo.Encoder) -> bool:
    left, right = state_of(a), state_of(b)
    return all(np.array_equal(left[k], right[k]) for k in left)


def right(encoder: skelzoo.Encoder, clips: Sequence[Clip]) -> float:
    return 100 * float(np.mean(encoder.classify(clips, 1).labels[:, 0] == np.array([c.label for c in clips])))


KNOWN = [f"{label}-{i}" for label in CLASSES for i in range(2)]


@pytest.fixture(scope="module")
def trained() -> skelzoo.Encoder:
    return semi(encoder_of(), clips_of(6), KNOWN, 3, QUICK, 16)


def test_few_labels_are_learned(trained: skelzoo.Encoder) -> None:
    assert trained.labels == CLASSES
    assert right(trained, clips_of(10, 100)) > 70


def test_a_seed_gives_the_same_weights_and_another_one_others(trained: skelzoo.Encoder) -> None:
    start = encoder_of()
    before = state_of(start)
    assert same(semi(start, clips_of(6), KNOWN, 3, QUICK, 16), trained)
    assert not same(semi(start, clips_of(6), KNOWN, 4, QUICK, 16), trained)
    assert all(np.array_equal(before[k], v) for k, v in state_of(start).items())


def test_only_the_known_labels_are_read_and_the_other_clips_count(trained: skelzoo.Encoder) -> None:
    start, clips = encoder_of(), clips_of(6)
    hidden = [c if c.name in KNOWN else c.replace(label=None) for c in clips]
    assert same(semi(start, hidden, KNOWN, 3, QUICK, 16), trained)
    moved = [c if c.name in KNOWN else c.replace(keypoints=c.keypoints[:, ::-1]) for c in clips]
    assert not same(semi(start, moved, KNOWN, 3, QUICK, 16), trained)


def test_body_and_pyramid_learn_after_the_head(trained: skelzoo.Encoder) -> None:
    start, known = encoder_of(), [c for c in clips_of(6) if c.name in KNOWN]
    headed = finetune(start, known, mode="linear", validation=0.0, options=replace(QUICK, seed=3, epochs=60)).encoder
    before, after = state_of(headed), state_of(trained)
    changed = {k.split(".")[0] for k in before if not np.array_equal(before[k], after[k])}
    assert changed == {"backbone", "pyramid", "projector", "head"}


def test_what_cannot_be_trained_is_refused() -> None:
    clips = clips_of(3)
    with pytest.raises(TrainingError, match=r"2 of the labelled clips are not among the clips, the first is 'bow-7'"):
        semi(encoder_of(), clips, ["kick-7", "bow-0", "bow-7"], options=QUICK)
    with pytest.raises(TrainingError, match="Give unlabelled="):
        semi(encoder_of(), clips, [c.name for c in clips], options=QUICK)
    with pytest.raises(TrainingError, match="semi is PSP's objective"):
        semi(encoder_of("skeattnclr"), clips, KNOWN, options=QUICK)


def test_a_draw_takes_as_many_of_every_class_whatever_the_order() -> None:
    clips = [*clips_of(9), *clips_of(4, 50, SHORTEST - 1)]
    drawn = draw(clips, 5, 1)
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
    assert len({frozenset(parts[0]) for parts in draws.values()}) == len(SEEDS)


def test_draws_that_do_not_exist_are_named() -> None:
    for benchmark, per_class, seed in (("nwucla", 0, 0), ("nwucla", 41, 0), ("nwucla", 7.5, 0), ("nwucla", 5, 5)):
        with pytest.raises(TrainingError, match=rf"no draw of {per_class} clips per class with seed {seed}\. Give 1 to 40 .* 0, 1, 2, 3, 4"):
            labelled(benchmark, per_class, seed)
    with pytest.raises(TrainingError, match="no labelled clips were drawn for 'utdmhad', only for nwucla"):
        labelled("utdmhad", 5, 0)


def test_the_protocol_gives_a_number_per_share_and_is_of_psp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = standard_clips("nwucla", write_benchmarks(tmp_path))
    monkeypatch.setattr(protocols, "SEEDS", (0, 1))
    monkeypatch.setattr(protocols, "labelled", lambda benchmark, count, seed: [n for names in draw(clips.train, count, seed).values() for n in names])
    monkeypatch.setattr(protocols, "semi", lambda encoder, train, names, seed: semi(encoder, train, names, seed, QUICK, 20))
    (row,) = measure(Trial(encoder_of(), "nwucla", clips, labels=3), ["semi"])
    assert (row.variant, row.seeds, row.train_clips) == (f"3 % of labels, {ALL}", (0, 1), 3 * len(set(clips.train_labels)))
    assert row.value > 50
    with pytest.raises(TrainingError, match="semi needs a PSP net"):
        measure(Trial(encoder_of("skeattnclr"), "nwucla", clips), ["semi"])


@pytest.mark.needs_shared
def test_the_index_file_is_what_draw_gives(shared: Path) -> None:
    train = standard_clips("nwucla", shared / "data").train
    for seed in SEEDS:
        drawn = draw(train, max(PER_CLASS), seed)
        assert labelled("nwucla", max(PER_CLASS), seed) == tuple(name for names in drawn.values() for name in names)
