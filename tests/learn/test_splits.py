"""Classes of labelled clips in their order, and how groups are held out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tiny import make_clip, make_encoder

import skelzoo
from skelzoo.errors import ClipError, TrainingError
from skelzoo.learn.finetune import FinetuneOptions, finetune
from skelzoo.learn.splits import class_ids, fold_numbers, hold_out_groups

ONCE = FinetuneOptions(epochs=1, precision="32-true")
LEAKS_FAIL = pytest.mark.filterwarnings("error:.*so the accuracy will be too high")


def test_unequal_groups_are_held_out_as_near_to_the_share_as_can_be() -> None:
    truth = np.tile([0, 1], 50)
    for sizes, share, allowed in (((90, 10), 0.2, {10}), ((40, 30, 30), 0.05, {30}), ((20,) * 5, 0.2, {20}), ((10,) * 10, 0.25, {20})):
        groups = np.repeat([f"person{i}" for i in range(len(sizes))], sizes)
        assert {int(hold_out_groups(truth, groups, share, seed).sum()) for seed in range(10)} == allowed, sizes
        assert not hold_out_groups(truth, groups, 0.0, 0).any()


def test_clips_and_groups_are_dealt_out_by_the_seed() -> None:
    truth, alone = np.tile([0, 1], 12), np.arange(24)
    for groups in (None, np.repeat([f"person{i}" for i in range(8)], 3)):
        first, again, other = (fold_numbers(truth, 4, groups, alone, seed).tolist() for seed in (0, 0, 1))
        assert first == again != other


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
