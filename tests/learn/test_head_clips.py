"""Label sets, and clips with the arms of others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import CONTRACT, make_clip, write_corpus

import skelzoo
from skelzoo.errors import TrainingError
from skelzoo.learn.head_clips import BODY, HeadOptions, head_options, label_table, labelled_clips, with_arms_of
from skelzoo.learn.held_out import DataOptions
from skelzoo.learn.recipe import load_recipe, shipped_recipes
from skelzoo.skeleton.layouts import get_layout
from skelzoo.skeleton.procedural import make

KINECT = get_layout("kinect20")
ARMS = [KINECT.index(f"{side}{joint}") for side in ("Left", "Right") for joint in ("Elbow", "Wrist", "Hand")]
SHOULDERS = [KINECT.index(f"{side}Shoulder") for side in ("Left", "Right") for _ in range(3)]
OTHERS = [j for j in range(len(KINECT)) if j not in ARMS]


def test_arms_come_from_the_donor_and_hang_on_the_shoulders() -> None:
    squat, wave = make("squat"), make("wave", seed=3, frames=50)
    given = with_arms_of(squat, wave)
    body, lent, mixed = (skelzoo.prepare(c, BODY)[..., 0].transpose(1, 2, 0) for c in (squat, wave, given))
    assert (given.frames, given.layout.name, given.label) == (BODY.frames, "kinect20", "squat")
    np.testing.assert_allclose(mixed[:, OTHERS], body[:, OTHERS], atol=2e-3)
    np.testing.assert_allclose(mixed[:, ARMS] - mixed[:, SHOULDERS], lent[:, ARMS] - lent[:, SHOULDERS], atol=2e-3)
    assert np.abs(mixed[:, ARMS] - body[:, ARMS]).max() > 0.5


def test_arms_of_another_size_and_facing_fit() -> None:
    wave = make("wave")
    turned = wave.replace(keypoints=wave.keypoints[..., [2, 1, 0]] * np.array([2, 2, -2], np.float32))
    np.testing.assert_allclose(with_arms_of(make("squat"), turned).keypoints, with_arms_of(make("squat"), wave).keypoints, atol=1e-4)


def test_only_training_clips_of_classes_of_the_legs_come_twice(tmp_path: Path) -> None:
    clips = [make(name, seed=i).replace(name=f"{name}{i}") for name in ("squat", "wave") for i in range(8)]
    write_corpus(tmp_path / "a.npz", clips, labels=np.repeat([0, 1], 8), subject=np.tile(np.arange(8, dtype=np.int32), 2))
    data = DataOptions(["a.npz"], held_out={"a.npz": {"subjects": [6, 7]}})
    found = labelled_clips(CONTRACT, HeadOptions({"a.npz": {"class0": "squat", "class1": "wave"}}, legs=["squat"]), data, tmp_path)
    assert len(found.x) == 16 + 6 and list(found.labels[found.copies]) == ["squat"] * 6
    assert list(found.held) == [*[""] * 6, "subject", "subject"] * 2 + [""] * 6
    assert list(found.folds[:8]) == list(range(8)) and np.array_equal(found.folds[found.copies], found.folds[:6])
    assert not np.allclose(found.x[found.copies][:, :, :, ARMS], found.x[:6][:, :, :, ARMS], atol=0.1)
    assert list(found.classes(found.train, 6)) == ["squat", "wave"] and not len(found.classes(found.train, 7)), "copies are no more clips"
    own = np.arange(16)
    assert np.array_equal(found.lenders[:16], own) and set(found.lenders[16:]) <= set(own[found.held[:16] == ""]) and len(set(found.lenders[16:])) > 1


def test_a_held_out_clip_stored_under_another_name_is_not_trained_on(tmp_path: Path) -> None:
    clips = [make_clip(i) for i in range(4)]
    write_corpus(tmp_path / "a.npz", [*clips, clips[3].replace(name="again")], subject=np.array([0, 1, 2, 3, 0], np.int32))
    found = labelled_clips(CONTRACT, HeadOptions({"a.npz": "*"}), DataOptions(["a.npz"], held_out={"a.npz": {"subjects": [3]}}), tmp_path)
    assert list(found.held) == ["", "", "", "subject"]


def test_clips_shorter_than_the_windows_may_be_are_left_out(tmp_path: Path) -> None:
    clips = [make_clip(i, frames=frames) for i, frames in enumerate((4, 15, 16, 20, 20))]
    write_corpus(tmp_path / "a.npz", clips, subject=np.arange(5, dtype=np.int32))
    data = DataOptions(["a.npz"], shortest=16, held_out={"a.npz": {"subjects": [4]}})
    assert [clip.frames for clip in label_table(HeadOptions({"a.npz": "*"}), data, tmp_path)[1]] == [16, 20, 20]


def test_every_shipped_recipe_has_a_head_of_known_classes() -> None:
    sets = {name: recipe.head for name in shipped_recipes() if (recipe := load_recipe(name)).head}
    assert {"skeattnclr-openskel", "skeattnclr-openskel-free", "psp-openskel", "psp-openskel-free"} <= sets.keys()
    head = load_recipe("skeattnclr-openskel").head
    assert head is not None
    classes = {c for table in head.labels.values() if isinstance(table, dict) for c in table.values()}
    assert set(head.legs) < classes and {"walk", "squat", "wave right hand", "run"} < classes
    assert all(c == c.lower() and c.replace(" ", "").isalpha() for c in classes)


@pytest.mark.needs_shared
def test_the_label_set_names_labels_of_the_corpora(shared: Path) -> None:
    for file, table in head_options({"labels": "openskel"}).labels.items():
        with np.load(shared / "data" / file) as corpus:
            assert isinstance(table, dict) and set(table) <= set(corpus["label_names"])


def test_an_unknown_label_set() -> None:
    with pytest.raises(TrainingError, match=r"no label set 'openskull'\. There are: openskel"):
        head_options({"labels": "openskull"})


def test_a_label_set_serves_corpora_that_were_built_in_part(tmp_path: Path) -> None:
    options = head_options({"labels": "openskel"})
    file, table = next((file, table) for file, table in options.labels.items() if isinstance(table, dict))
    clips = [make("squat", seed=i).replace(name=f"c{i}") for i in range(8)]
    names = np.array(list(table)[:2])
    write_corpus(tmp_path / file, clips, labels=np.arange(8) % 2, subject=np.arange(8, dtype=np.int32), label_names=names)
    data = DataOptions([file], held_out={file: {"subjects": [6, 7]}})
    assert set(label_table(options, data, tmp_path)[0].labels) == {table[name] for name in names}
    own = HeadOptions({file: {**table, "deep sqat": "squat"}})
    with pytest.raises(TrainingError, match=rf"{file} has no label .*'deep sqat'; it has {names[0]}, {names[1]}\."):
        label_table(own, data, tmp_path)


@pytest.mark.parametrize(("rule", "kind"), [({"share": 0.3}, "clip"), ({"name": "^c1"}, "name")])
def test_folds_keep_styles_apart_where_no_column_says_what_is_held_out(tmp_path: Path, rule: dict[str, Any], kind: str) -> None:
    clips = [make("squat", seed=i).replace(name=f"c{i}") for i in range(24)]
    style = np.arange(24, dtype=np.int32) % 6
    write_corpus(tmp_path / "a.npz", clips, labels=np.arange(24) % 2, style=style)
    data = DataOptions(["a.npz"], held_out={"a.npz": rule})
    found = labelled_clips(CONTRACT, HeadOptions({"a.npz": "*"}), data, tmp_path)
    assert (found.held == kind).any() and np.array_equal(found.folds, style)
