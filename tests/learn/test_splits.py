"""Classes of labelled clips in their order, and how groups are held out."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from tiny import make_clip, make_encoder

import skelzoo
from skelzoo.errors import ClipError, TrainingError
from skelzoo.learn.cross_validation import cross_validate
from skelzoo.learn.finetune import FinetuneOptions, finetune
from skelzoo.learn.finetune_report import summary
from skelzoo.learn.splits import class_ids, fold_numbers, hold_out, hold_out_groups, same_clips

ONCE = FinetuneOptions(epochs=1, precision="32-true")
LEAKS_FAIL = pytest.mark.filterwarnings("error:.*so the accuracy will be too high")


@pytest.mark.parametrize(("share", "counts"), [(0.01, [1, 1, 1]), (0.3, [3, 1, 1]), (0.99, [9, 2, 1])])
def test_a_share_of_every_class_and_never_all_of_it_is_held_out(share: float, counts: list[int]) -> None:
    truth = np.repeat([0, 1, 2], [10, 3, 2])
    first, again, other = (hold_out(truth, "abc", [""] * 15, share, seed) for seed in (0, 0, 1))
    assert all(np.bincount(truth[held]).tolist() == counts for held in (first, other)) and np.array_equal(first, again) and not np.array_equal(first, other)


def test_copies_are_of_the_same_joints_and_class() -> None:
    clips = np.stack([np.full((3, 4), value, np.float32) for value in (5, 5, 5, 6, 6)])
    assert same_clips(clips, np.array([0, 1, 0, 0, 0])).tolist() == [0, 1, 0, 3, 3]


def test_unequal_groups_are_held_out_as_near_to_the_share_as_can_be() -> None:
    truth = np.tile([0, 1], 50)
    for sizes, share, allowed in (((90, 10), 0.2, {10}), ((40, 30, 30), 0.05, {30}), ((20,) * 5, 0.2, {20}), ((10,) * 10, 0.25, {20})):
        groups = np.repeat([f"person{i}" for i in range(len(sizes))], sizes)
        assert {int(hold_out_groups(truth, groups, share, seed).sum()) for seed in range(10)} == allowed, sizes
        assert not hold_out_groups(truth, groups, 0.0, 0).any()


def test_which_groups_are_held_out_does_not_depend_on_the_order_of_the_clips() -> None:
    truth, groups = np.tile([0, 1], 20), np.repeat([f"person{i}" for i in range(10)], 4)
    for seed in range(3):
        held = hold_out_groups(truth, groups.tolist(), 0.3, seed)
        assert held.sum() == 12 and np.array_equal(hold_out_groups(truth[::-1], groups[::-1].tolist(), 0.3, seed)[::-1], held)


def test_of_groups_of_one_class_each_every_class_is_held_out() -> None:
    truth, groups = np.repeat([0, 1, 2], [24, 6, 6]), [f"take{i // 3}" for i in range(36)]
    for seed in range(10):
        held = hold_out_groups(truth, groups, 0.25, seed)
        assert np.bincount(truth[held]).tolist() == [6, 3, 3] and {g for g, h in zip(groups, held, strict=True) if h}.isdisjoint(
            g for g, h in zip(groups, held, strict=True) if not h
        )


def test_clips_and_groups_are_dealt_out_by_the_seed() -> None:
    truth, alone = np.tile([0, 1], 12), np.arange(24)
    for groups in (None, np.repeat([f"person{i}" for i in range(8)], 3)):
        first, again, other = (fold_numbers(truth, 4, groups, alone, seed).tolist() for seed in (0, 0, 1))
        assert first == again != other


def test_folds_are_even_in_clips_and_in_classes() -> None:
    unequal, of_one_class = np.repeat(list("abcdefgh"), [9, 7, 5, 4, 3, 2, 1, 1]).tolist(), np.repeat(list("abcdefghijkl"), 2).tolist()
    truth = np.repeat([0, 1, 2], 8)
    for seed in range(10):
        assert sorted(np.bincount(fold_numbers(np.tile([0, 1], 16), 3, unequal, np.arange(32), seed))) == [10, 11, 11]
        folds = fold_numbers(truth, 4, of_one_class, np.arange(24), seed)
        assert all(np.bincount(truth[folds == fold]).tolist() == [2, 2, 2] for fold in range(4)), "as many of a class in each as can be"


def test_classes_that_are_numbers_are_in_their_order() -> None:
    clips = [make_clip(i).replace(label=i % 12) for i in range(24)]
    names, truth = class_ids(clips)
    assert names == tuple(str(i) for i in range(12)) and truth.tolist() == [i % 12 for i in range(24)]
    assert class_ids(clips, torch.arange(24) % 12)[0] == names == class_ids(clips, np.arange(24.0) % 12)[0]
    assert class_ids(clips[:3], ["10", "-1", "2.5"])[0] == ("-1", "2.5", "10")
    assert class_ids(clips, [f"{i % 12}a" for i in range(24)])[0][:3] == ("0a", "10a", "11a")


@pytest.mark.parametrize("labels", [{"clip0": "a", "clip1": "b"}, "ab", np.eye(2)])
def test_labels_and_groups_are_one_per_clip(labels: Any) -> None:
    clips = [make_clip(i) for i in range(2)]
    with pytest.raises((TrainingError, ClipError), match=r"Give one per clip, in the order|labels\.argmax"):
        class_ids(clips, labels)
    with pytest.raises((TrainingError, ClipError), match=r"Give one per clip, in the order|labels\.argmax"):
        hold_out_groups(np.array([0, 1]), labels, 0.5, 0)


def test_the_order_of_a_models_classes_is_kept() -> None:
    clips = [make_clip(i).replace(label=i % 3) for i in range(6)]
    names, truth = class_ids(clips, known=("2", "0", "1"))
    assert names == ("2", "0", "1") and truth.tolist() == [1, 2, 0] * 2
    assert class_ids(clips, known=("2", "0"))[0] == ("0", "1", "2")


def test_folders_of_another_encoding_are_refused_before_anything_is_trained() -> None:
    clips = [make_clip(i).replace(label=("Kniebeuge", "\udcdcbung")[i % 2]) for i in range(4)]
    with pytest.raises(TrainingError, match=r"no UTF-8.*Rename the folder"):
        class_ids(clips)


@LEAKS_FAIL
@pytest.mark.parametrize("mode", ["linear", "full"])
def test_copies_of_a_clip_lie_on_one_side(mode: str) -> None:
    clips = [make_clip(i).replace(label="ab"[i % 2]) for i in range(10)]
    result = finetune(make_encoder(labels=None), clips * 2, mode=mode, options=ONCE)
    assert dict(result.clips) == {"a": (8, 2), "b": (8, 2)}
    copies = [clip.replace(name="again") for clip in clips[:4]]
    for settings in ({"groups": [f"person{i % 7}" for i in range(20)], "validation": 0.5}, {"validation": copies}):
        with pytest.warns(UserWarning, match="have copies in another part, the first is .* put them into one group"):
            finetune(make_encoder(labels=None), clips * (1 + ("groups" in settings)), mode=mode, options=ONCE, **settings)  # type: ignore[arg-type]


@LEAKS_FAIL
def test_windows_of_a_recording_are_told_until_they_are_grouped() -> None:
    clips = [w for i in range(6) for w in skelzoo.windows(make_clip(i, frames=40).replace(label="ab"[i % 2]), 20, 10)]
    with pytest.warns(UserWarning, match=r"of 18 clips are windows of recordings.*'clip\d\[0:20\]'.*Give groups="):
        finetune(make_encoder(labels=None), clips, mode="linear", options=ONCE)
    finetune(make_encoder(labels=None), clips, mode="linear", options=ONCE, groups=[clip.name.rpartition("[")[0] for clip in clips])


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["deep squat", "Deep_squat", "arm"], "'Deep_squat' and 'deep squat' are"), (["walk-1", "walk 1", "Walk1"], "'Walk1' and 'walk 1' and 'walk-1' are"),
        (["-1", "1", "12", "1-2"], None), (["left", "right"], None),
    ],
)  # fmt: skip
def test_classes_that_are_spelled_nearly_alike_are_told_once(names: list[str], told: str | None) -> None:
    clips = [make_clip(i).replace(label=names[i % len(names)]) for i in range(4 * len(names))]
    for learn in (
        lambda: finetune(make_encoder(), clips, mode="linear", options=ONCE),
        lambda: cross_validate(make_encoder(), clips, mode="linear", options=ONCE),
    ):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            learn()
        found = [str(w.message) for w in caught if "of their own" in str(w.message)]
        assert len(found) == bool(told) and all(text.startswith(str(told)) for text in found)


def test_clips_of_ones_own_to_validate_on_are_called_so_and_classes_without_any_named() -> None:
    clips = [make_clip(i).replace(label="abc"[i % 3]) for i in range(9)]
    given = [make_clip(50 + i).replace(label="ab"[i % 2]) for i in range(4)]
    for validation, held, classes in (
        (given, "validated on clips of your own", "the 2 of 3 classes that have validation clips"),
        (0.3, "held out one by one", "classes"),
    ):
        result = finetune(make_encoder(), clips, mode="linear", options=ONCE, validation=validation)
        assert result.own_validation == (validation is given)
        for text in (summary(result), result.encoder.card):
            assert held in text and ("one by one" in text) == (validation is not given) and f", mean over {classes} {result.balanced_accuracy:.1f} %" in text
            assert ("without validation clips, so nothing is known of how well they are told: 'c'" in text) == (validation is given)
