"""`skelzoo finetune --window`: long recordings are cut into clips, and no window judges what others of its recording taught."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tiny import CONTRACT, make_clip, make_encoder

import skelzoo
from skelzoo.cli import main
from skelzoo.errors import ClipError, TrainingError
from skelzoo.inference.files import Refusal
from skelzoo.learn.finetune import FinetuneOptions
from skelzoo.learn.labels import Labels
from skelzoo.learn.recordings import finetune_recordings, labelled_files
from skelzoo.learn.seen import learned_before

ONCE: dict[str, Any] = {"mode": "linear", "options": FinetuneOptions(epochs=1)}


@pytest.fixture
def takes(tmp_path: Path) -> Path:
    """CLASS/PERSON.npz: two classes, five persons, a recording of 50 frames each, of which windows of 20 are three."""
    for i in range(10):
        (tmp_path / "takes" / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        skelzoo.save_clips(tmp_path / "takes" / "ab"[i % 2] / f"person{i // 2}.npz", [make_clip(i, frames=50).replace(name="take")])
    return tmp_path / "takes"


def run(*args: object) -> Result:
    result = CliRunner().invoke(main, ["finetune", *map(str, args), "--device", "cpu", "--mode", "linear", "--epochs", "1"])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def test_windows_have_the_class_of_their_recording_and_are_those_of_classify(takes: Path) -> None:
    clips = list(labelled_files(Labels(str(takes), r"(person\d)\.npz/take$"), CONTRACT, window=20, step=10))
    assert not any(isinstance(c, Refusal) for c in clips) and len(clips) == 40
    (recording,) = skelzoo.read(takes / "a/person0.npz")
    for found, cut in zip(clips[:4], skelzoo.windows(recording, 20, 10), strict=True):
        assert not isinstance(found, Refusal) and (found.clip.name, found.clip.label, found.group) == (cut.name, "a", "person0")
        assert (found.clip.keypoints == cut.keypoints).all() and found.recording == "a/person0.npz/take"


@pytest.mark.filterwarnings("error:.*the accuracy will be too high")
@pytest.mark.parametrize(("settings", "held"), [({}, 2), ({"group": r"person(\d)"}, 1), ({"folds": 5}, 0), ({"folds": "groups", "group": "person(.)"}, 0)])
def test_windows_of_a_recording_are_held_out_together(takes: Path, settings: dict[str, Any], held: int) -> None:
    done = finetune_recordings(make_encoder(labels=None), takes, window=20, **settings, **ONCE)
    assert len(done.clips) == 30 and len(done.result.held_out) == held
    assert sum(valid for _, valid in done.result.clips.values()) == 6 * bool(held)
    if crossed := done.result.cross_validation:
        of = [c.group or c.recording for c in done.clips]
        assert len(set(zip(of, crossed.folds, strict=True))) == len(set(of)) == (5 if "group" in settings else 10)


def test_recordings_to_validate_on_are_cut_too_and_whole_ones_known_again(takes: Path, tmp_path: Path) -> None:
    (tmp_path / "val/a").mkdir(parents=True)
    (takes / "a/person4.npz").rename(tmp_path / "val/a/person4.npz")
    result = run(f"local:{make_encoder(labels=None).save(tmp_path / 'm')}", takes, "--out", tmp_path / "mine", "--window", 20, "--validation", tmp_path / "val")
    assert result.exit_code == 0 and [line.split()[:3] for line in result.stdout.splitlines()[1:3]] == [["a", "12", "3"], ["b", "15", "0"]], result.stderr
    tuned = skelzoo.load(f"local:{tmp_path / 'mine'}", device="cpu")
    whole = [make_clip(i, frames=50) for i in range(11)]
    assert learned_before(whole, tuned) == 10 and learned_before(skelzoo.windows(whole[8], 20), tuned) == 3
    assert "--window 20" in tuned.card


@pytest.mark.parametrize(
    ("settings", "error", "match"),
    [
        ({"step": 5}, ClipError, "step is given without a window"), ({"window": 0}, ClipError, "frames of a window is 0"),
        ({"validation": "nowhere"}, TrainingError, "nowhere: no clip to validate on could be used, nor is it a share of the clips.*no such file"),
        ({"validation": 1.5}, TrainingError, "validation is 1.5. Give a share"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said_before_anything_is_read(
    takes: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], error: type[Exception], match: str
) -> None:
    monkeypatch.setattr("skelzoo.learn.recordings.labelled_files", lambda *_, **__: pytest.fail("was read"))
    with pytest.raises(error, match=match):
        finetune_recordings(make_encoder(labels=None), takes, **settings)


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(("length", "warned"), [("20", True), ("0.7s", False)])
def test_recordings_of_several_rates_are_cut_by_seconds(takes: Path, tmp_path: Path, length: str, warned: bool) -> None:
    for path in (takes / "a/person1.npz", takes / "b/person2.npz"):
        skelzoo.save_clips(path, [clip.replace(fps=60 if "1" in path.name else 15) for clip in skelzoo.read(path)])
    model, out = f"local:{make_encoder(labels=None).save(tmp_path / 'm')}", tmp_path / "mine"
    done = run(model, takes, "--out", out, "--window", length, "--validation", 0)
    assert done.exit_code == 0 and f"--window {length}" in (out / "README.md").read_text(), done.output
    classify = CliRunner().invoke(main, ["classify", f"local:{out}", str(takes), "--window", length, "-o", str(tmp_path / "c.csv")])
    for result in (done, classify):
        assert result.stderr.count("different frame rates are cut into windows of 20 frames, which last 0.667 s at 30 fps and 0.333 s at 60 fps") == warned, (
            result.stderr
        )
    assert len((tmp_path / "c.csv").read_text().splitlines()) == 1 + (10 * 3 if warned else 8 * 3 + 2 + 5)


def test_a_step_goes_with_a_window(takes: Path, tmp_path: Path) -> None:
    refused = run("local:none", takes, "--out", tmp_path / "mine", "--step", 5)
    assert refused.exit_code == 2 and "--step goes with --window" in refused.stderr
