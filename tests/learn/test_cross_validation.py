"""Cross-validation of a fine-tuning: who is left out with whom, what is measured, and the model that learns from all clips."""

from __future__ import annotations

import copy
import csv
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from test_finetune import psp_encoder
from tiny import make_clip, make_encoder

import skelzoo
from skelzoo.cli import main
from skelzoo.errors import TrainingError
from skelzoo.learn.cross_validation import cross_validate
from skelzoo.learn.finetune import FinetuneOptions, finetune
from skelzoo.learn.finetune_report import summary, write_report
from skelzoo.learn.head_result import calibration_error
from skelzoo.skeleton.procedural import make

QUICK = FinetuneOptions(epochs=2, precision="32-true")
PERSONS = [f"person{i // 6}" for i in range(24)]


@pytest.fixture(scope="module")
def start() -> skelzoo.Encoder:
    return make_encoder(labels=None)


def clips_of(count: int = 24) -> list[skelzoo.Clip]:
    return [make_clip(i).replace(label="abc"[i % 3]) for i in range(count)]


@pytest.mark.parametrize("mode", ["linear", "full"])
def test_every_clip_is_judged_by_a_net_of_the_other_folds(start: skelzoo.Encoder, mode: str) -> None:
    clips = clips_of()
    result = cross_validate(start, clips, groups=PERSONS, folds="groups", mode=mode, options=QUICK)
    assert [result.fold_name(int(i)) for i in result.folds] == PERSONS and list(result.per_fold) == sorted(set(PERSONS))
    for number in (0, 3):
        others, left_out = np.flatnonzero(result.folds != number), np.flatnonzero(result.folds == number)
        net = finetune(start, [clips[i] for i in others], mode=mode, validation=0, options=QUICK).encoder
        given = net.classify([clips[i] for i in left_out], 3)
        assert [result.labels[i] for i in result.predicted[left_out]] == given.labels[:, 0].tolist()
        raw = torch.tensor(result.logits[left_out]).softmax(1).numpy()
        assert np.allclose(raw, net.scores([clips[i] for i in left_out]), atol=1e-5)
    right = np.array([c.label == result.labels[i] for c, i in zip(clips, result.predicted, strict=True)])
    assert result.accuracy == pytest.approx(100 * right.mean()) and result.confusion.trace() == right.sum() and result.confusion.sum() == 24
    assert list(result.per_fold.values()) == pytest.approx((100 * right.reshape(4, 6).mean(1)).tolist())
    assert np.allclose(result.scores, torch.tensor(result.logits / result.temperature).softmax(1).numpy())


@pytest.mark.parametrize(("groups", "folds", "sizes"), [(None, 4, [6] * 4), (None, 5, [4, 5, 5, 5, 5]), (PERSONS, 2, [12, 12]), (PERSONS, 3, [6, 6, 12])])
def test_folds_are_of_nearly_equal_size_and_part_no_group_and_no_copies(start: skelzoo.Encoder, groups: Any, folds: int, sizes: list[int]) -> None:
    clips = clips_of(12) * 2 if folds == 4 else clips_of()
    result = cross_validate(start, clips, groups=groups, folds=folds, mode="linear", options=QUICK)
    assert sorted(np.bincount(result.folds)) == sizes and list(result.per_fold) == [str(i + 1) for i in range(folds)]
    if groups:
        assert len({(g, f) for g, f in zip(groups, result.folds, strict=True)}) == len(set(groups))
    else:
        counts = np.array([np.bincount(result.truth[result.folds == i], minlength=3) for i in range(folds)])
        assert (counts.max(0) - counts.min(0)).max() <= (2 if folds == 4 else 1)
    if folds == 4:
        assert result.folds[:12].tolist() == result.folds[12:].tolist()


def test_unlabelled_clips_are_learned_from_in_every_fold() -> None:
    options = dataclasses.replace(QUICK, epochs=1, unlabelled_ratio=1)
    one, other = (cross_validate(psp_encoder(), clips_of(6), folds=2, mode="semi", unlabelled=[make_clip(i)], options=options) for i in (90, 91))
    assert np.array_equal(one.folds, other.folds)
    for number in range(2):
        assert not np.allclose(one.logits[one.folds == number], other.logits[one.folds == number], atol=1e-6)


def test_what_is_odd_is_said_once_for_all_folds(start: skelzoo.Encoder) -> None:
    clips = [make("squat", frames=20, seed=i).replace(label="abc"[i % 3]) for i in range(24)]
    mirrored = [c.replace(keypoints=c.keypoints * np.float32([1, 1, -1])) for c in clips]
    with pytest.warns(UserWarning, match="the feet point backwards") as caught:
        cross_validate(start, mirrored, folds=3, mode="linear", options=QUICK)
    assert ["and 23 more of 24 clips: the feet" in str(w.message) for w in caught] == [True]


def test_a_class_of_one_person_counts_as_wrong_and_calibrates_nothing(start: skelzoo.Encoder) -> None:
    clips = [c.replace(label="rare") if i < 2 else c for i, c in enumerate(clips_of())]
    with pytest.warns(UserWarning, match=r"1 of 4 classes are in one fold alone, .* count as wrong: 'rare' \(fold person0\)\. Record more persons"):
        result = cross_validate(start, clips, groups=PERSONS, folds="groups", mode="linear", options=QUICK)
    assert result.per_class["rare"] == 0 and not result.scores[:6, 3].any() and result.scores[6:, 3].all() and np.isfinite(result.temperature)
    assert len(result.judged()[0]) == 18 and dict(result.unlearned) == {"rare": "person0"}
    model, told = (
        finetune(start, clips, mode="linear", validation=result, options=QUICK),
        "class 'rare' is in fold person0 alone: the net that judged it never saw it",
    )
    assert told in summary(model) and told in model.encoder.card


@pytest.mark.parametrize(("groups", "name"), [(None, r"\d \(clip0\)"), (PERSONS, r"\d \(person0\)")])
def test_the_fold_of_a_class_that_is_in_one_alone_is_told_by_what_is_in_it(start: skelzoo.Encoder, groups: list[str] | None, name: str) -> None:
    clips = [c.replace(label="rare") if i == 0 else c for i, c in enumerate(clips_of())]
    with pytest.warns(UserWarning, match=rf"'rare' \(fold {name}\)\. Record more"):
        cross_validate(start, clips, groups=groups, folds=2, mode="linear", options=QUICK)


def test_a_training_that_fails_is_told_by_its_fold() -> None:
    encoder = make_encoder(labels=None)
    torch.nn.init.constant_(encoder.net.backbone.blocks[0].graph_conv.weight, float("nan"))  # type: ignore[union-attr,index,arg-type]
    with pytest.raises(TrainingError, match=r"^without fold 1 \(person\d, person\d\): tiny: the loss is nan"):
        cross_validate(encoder, clips_of(), groups=PERSONS, folds=2, options=QUICK)


@pytest.mark.parametrize(("groups", "folds", "name"), [(["anna", "bert"], "groups", "anna"), (["anna", "bert"], 2, "anna"), (None, 2, r"1 \(clip\d\)")])
def test_folds_that_leave_one_class_are_refused_before_any_training(
    start: skelzoo.Encoder, monkeypatch: pytest.MonkeyPatch, groups: list[str] | None, folds: Any, name: str
) -> None:
    monkeypatch.setattr("skelzoo.learn.cross_validation.finetune", lambda *_, **__: pytest.fail("was trained"))
    clips = [make_clip(i // 4).replace(label=["wave", "clap"][i // 4]) for i in range(8)]  # without groups, copies are one fold
    with pytest.raises(TrainingError, match=f"without fold {name} only clips of the class '(wave|clap)' are left"):
        cross_validate(start, clips, groups=groups and [groups[i // 4] for i in range(8)], folds=folds, options=QUICK)


def test_the_model_of_all_clips_has_the_temperature_of_the_scores_out_of_fold(start: skelzoo.Encoder) -> None:
    clips = clips_of()
    start = copy.copy(start)
    start.pretrained_on = ({"name": "mine"},)
    crossed = cross_validate(start, clips, folds=4, mode="linear", options=QUICK)
    plain, model = (finetune(start, clips, mode="linear", validation=v, options=QUICK) for v in (0, crossed))
    assert dict(model.clips) == dict.fromkeys("abc", (8, 0)) and model.calibration is not None and model.calibration.temperature == crossed.temperature
    torch.testing.assert_close(model.encoder.net.head.weight * crossed.temperature, plain.encoder.net.head.weight, atol=1e-5, rtol=1e-4)  # type: ignore[union-attr]
    assert model.calibration.error == pytest.approx(calibration_error(np.log(crossed.scores), crossed.truth), abs=1e-6)
    assert f"accuracy {crossed.accuracy:.1f} %" in summary(model) and summary(model) in model.encoder.card and "from all 24 clips" in model.encoder.card
    assert "\npretrained as mine: if it took clips of these persons, the accuracy is too high" in summary(model) and "pretrained as" not in summary(plain)
    with pytest.raises(TrainingError, match="the cross-validation is of other clips or labels"):
        finetune(start, clips[:-1], mode="linear", validation=crossed, options=QUICK)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"folds": 1}, "folds is 1, for 24 different clips"), ({"folds": 25}, "folds is 25"), ({"folds": True}, "folds is True"),
        ({"folds": "groups"}, "folds is 'groups', for 24 different clips without groups"), ({"folds": 5, "groups": PERSONS}, "folds is 5, for 4 groups"),
        ({"folds": "groups", "groups": ["anna"] * 24}, "all 24 clips are of the group anna, .* at least two"), ({"mode": "all"}, "^no mode 'all'"),
        ({"groups": PERSONS[:-1]}, "23 groups for 24 clips"), ({"groups": [None, *PERSONS[1:]]}, "1 of 24 clips have no group"), ({"options": {}}, "options are of type dict"),
    ],
)  # fmt: skip
def test_folds_that_cannot_be(start: skelzoo.Encoder, settings: dict[str, Any], match: str) -> None:
    with pytest.raises(TrainingError, match=match):
        cross_validate(start, clips_of(), **{"mode": "linear", "options": QUICK, **settings})


@pytest.mark.parametrize(("folds", "names"), [("groups", {"0", "1", "2"}), ("2", {"1", "2"})])
def test_on_the_command_line(start: skelzoo.Encoder, tmp_path: Path, folds: str, names: set[str]) -> None:
    for i in range(12):
        (tmp_path / "takes" / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        skelzoo.save_clips(tmp_path / "takes" / "ab"[i % 2] / f"p{i // 4}-{i}.npz", [make_clip(i)])
    model, out, table = f"local:{start.save(tmp_path / 'start')}", tmp_path / "mine", tmp_path / "out.csv"
    command = ["finetune", model, str(tmp_path / "takes"), "--out", str(out), "--mode", "linear", "--epochs", "2", "--device", "cpu"]
    done = CliRunner().invoke(main, [*command, "--group", r"p(\d)-", "--folds", folds, "--report", str(table)])
    assert done.exit_code == 0, done.output
    assert "cross-validation, " in done.stdout and "cross-validation, " in (out / "README.md").read_text() and "has learned from all 12 clips" in done.stdout
    rows = list(csv.DictReader(table.open()))
    assert (
        {r["fold"] for r in rows} == names
        and {r["group"] for r in rows} == {"0", "1", "2"}
        and {Path(r["file"]).parent.name == r["label"] for r in rows} == {True}
    )
    assert all(float(r[f"score {r['predicted']}"]) >= 0.5 and abs(float(r["score a"]) + float(r["score b"]) - 1) < 1e-5 for r in rows)
    header, *counts = csv.reader((tmp_path / "out.confusion.csv").open())
    wanted = [[str(sum(r["label"] == true and r["predicted"] == given for r in rows)) for given in "ab"] for true in "ab"]
    assert header[1:] == ["a", "b"] and [row[1:] for row in counts] == wanted
    right = 100 * np.mean([r["label"] == r["predicted"] for r in rows])
    assert f"accuracy {right:.1f} %" in done.stdout


@pytest.mark.parametrize("more", [["--report", "x.csv"], ["--folds", "3", "--validation", "0.3"]])
def test_options_that_do_not_go_together(more: list[str]) -> None:
    done = CliRunner().invoke(main, ["finetune", "skeattnclr-openskel", "takes", "--out", "mine", *more])
    assert done.exit_code == 2 and "--report goes with --folds, and --folds without --validation" in done.stderr


@pytest.mark.parametrize(("out", "report"), [("mine", "mine/r.csv"), ("mine", "mine/tables/r.csv"), ("r.csv", "r.csv"), ("r.confusion.csv", "r.csv")])
def test_a_report_in_the_folder_of_the_weights_is_refused_before_any_work(tmp_path: Path, out: str, report: str) -> None:
    done = CliRunner().invoke(main, ["finetune", "local:nowhere", "takes", "--folds", "2", "--out", str(tmp_path / out), "--report", str(tmp_path / report)])
    assert done.exit_code == 1 and f"r.csv: lies in {tmp_path / out}, which the weights will have to themselves" in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_table_of_another_format_is_refused(start: skelzoo.Encoder, tmp_path: Path) -> None:
    crossed = cross_validate(start, clips_of(), folds=2, mode="linear", options=QUICK)
    with pytest.raises(skelzoo.errors.WriteError, match=r"Use a name ending in \.csv"):
        write_report(tmp_path / "out.txt", crossed)
    assert [p.name for p in write_report(tmp_path / "out.csv", crossed)] == ["out.csv", "out.confusion.csv"]
