"""Classes of labelled clips in their order, and how groups are held out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tiny import make_clip

from skelzoo.errors import ClipError, TrainingError
from skelzoo.learn.splits import class_ids, hold_out_groups


def test_unequal_groups_are_held_out_as_near_to_the_share_as_can_be() -> None:
    truth = np.tile([0, 1], 50)
    for sizes, share, allowed in (((90, 10), 0.2, {10}), ((40, 30, 30), 0.05, {30}), ((20,) * 5, 0.2, {20}), ((10,) * 10, 0.25, {20})):
        groups = np.repeat([f"person{i}" for i in range(len(sizes))], sizes)
        assert {int(hold_out_groups(truth, groups, share, seed).sum()) for seed in range(10)} == allowed, sizes
        assert not hold_out_groups(truth, groups, 0.0, 0).any()


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
