"""Checkpoints of fine-tuning: a training that was stopped goes on to the same result, and what does not belong to it is refused."""

from __future__ import annotations

import io
import os
import re
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from forked import SERVER
from tiny import CONTRACT, OPTIONS, SMALL, make_clip, make_encoder, one_bit, randomise
from torch import Tensor

import skelzoo
from skelzoo.cli import main
from skelzoo.errors import TrainingError, WriteError
from skelzoo.learn import finetune_checkpoint
from skelzoo.learn.cross_validation import cross_validate
from skelzoo.learn.finetune import FinetuneOptions, finetune
from skelzoo.learn.finetune_checkpoint import remove_checkpoint
from skelzoo.learn.finetune_result import FinetuneResult
from skelzoo.learn.recordings import finetune_recordings
from skelzoo.skeleton.clip import Clip
from skelzoo.skeleton.procedural import make
from skelzoo.skeleton.writing import alone
from skelzoo.weights.checkpoint import build_net
from skelzoo.weights.manifest import ModelConfig

EPOCHS, STEPS = 4, 2
"""STEPS: of each epoch, with 6 training clips."""

OPTS = FinetuneOptions(epochs=EPOCHS, batch_size=3, precision="32-true", learning_rate=0.02)
CLIPS = [make_clip(i).replace(label="ab"[i % 2]) for i in range(8)]
MOVED = [c.replace(keypoints=c.keypoints * np.array([1.0, 1.0, 1.001])) for c in CLIPS]
UNLABELLED = [make_clip(100 + i) for i in range(5)]


def encoder_of(mode: str) -> skelzoo.Encoder:
    """With dropout where it trains the body."""
    torch.manual_seed(0)
    contract = CONTRACT.replace(streams=("joint", "motion")) if mode == "semi" else CONTRACT
    config = (
        ModelConfig("psp", {**SMALL["psp"], "num_frames": contract.frames}, contract)
        if mode == "semi"
        else ModelConfig("skeattnclr-stgcn", {**OPTIONS, "dropout": 0.3}, contract)
    )
    return skelzoo.Encoder(randomise(build_net(config)), config, "tiny", "cpu")


def tune(mode: str = "linear", checkpoint: Path | None = None, encoder: skelzoo.Encoder | None = None, **changed: Any) -> FinetuneResult:
    rest = {"clips": CLIPS, "options": OPTS, "validation": 0.25, "unlabelled": UNLABELLED if mode == "semi" else (), **changed}
    return finetune(encoder or encoder_of(mode), mode=mode, checkpoint=checkpoint, **rest)


class Stop(Exception):
    """In the middle of a training."""


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[int]]:
    """Stop a training before a step; the list that is given back grows with every step done."""
    step = torch.optim.AdamW.step

    def stop_before(number: int) -> list[int]:
        done: list[int] = []

        def counted(self: torch.optim.AdamW, *arguments: Any) -> Any:
            if len(done) == number:
                raise Stop
            done.append(number)
            return step(self, *arguments)

        monkeypatch.setattr(torch.optim.AdamW, "step", counted)
        return done

    return stop_before


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checkpoints after every epoch."""
    monkeypatch.setattr(finetune_checkpoint, "EVERY", 0.0)


def state_of(result: FinetuneResult) -> dict[str, Tensor]:
    return result.encoder.net.state_dict()


def check_same(a: FinetuneResult, b: FinetuneResult) -> None:
    assert (a.history, a.best_epoch, a.calibration, a.encoder.card) == (b.history, b.best_epoch, b.calibration, b.encoder.card)
    np.testing.assert_array_equal(a.confusion, b.confusion)
    assert [name for name, tensor in state_of(a).items() if not torch.equal(tensor, state_of(b)[name])] == []


@pytest.mark.parametrize(
    ("mode", "options"),
    [
        ("full", OPTS),
        ("linear", OPTS),
        ("linear", replace(OPTS, augmentations=[{"op": "shear", "amplitude": 0.2}])),
        pytest.param("semi", OPTS, marks=pytest.mark.slow),
    ],
    ids=["full", "linear", "linear, augmented", "semi"],
)
def test_stopped_and_given_again_is_the_same_training(
    mode: str, options: FinetuneOptions, always: None, steps: Callable[[int], list[int]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, encoder = tmp_path / "new/run.pt", encoder_of(mode)
    whole = tune(mode, encoder=encoder, options=options)
    torch.rand(7)  # the caller's random numbers are not the training's
    for number in (STEPS + 1, STEPS):  # in the second epoch, and after the one that is done then
        steps(number)
        with pytest.raises(Stop):
            tune(mode, path, encoder, options=options)
    done = steps(-1)
    check_same(tune(mode, path, encoder, options=options), whole)
    assert len(done) == (EPOCHS - 2) * STEPS
    told = re.findall(r"tiny: goes on after epoch (\d) of 4, from (.*)", capsys.readouterr().err)
    assert told == [("1", str(path)), ("2", str(path))]
    check_same(tune(mode, path, encoder, options=options), whole)
    assert len(done) == (EPOCHS - 2) * STEPS  # all epochs are in the file, which stays
    assert not list(path.parent.glob(".*.part"))


def test_a_training_that_ran_out_of_patience_has_ended(tmp_path: Path, steps: Callable[[int], list[int]]) -> None:
    options = replace(OPTS, learning_rate=1e-12, epochs=9, patience=2)
    path, done = tmp_path / "run.pt", steps(-1)
    first = tune(checkpoint=path, options=options)
    assert len(first.history) < 9 and len(done) == len(first.history) * STEPS
    check_same(tune(checkpoint=path, options=options), first)
    assert len(done) == len(first.history) * STEPS


def test_written_every_thirty_seconds_and_at_the_end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    save, seconds, written = torch.save, [0.0], []

    def noted(state: dict[str, Any], file: Any) -> None:
        written.append(len(state["history"]))
        save(state, file)

    def later() -> float:
        seconds[0] += 11
        return seconds[0]

    monkeypatch.setattr(torch, "save", noted)
    tune(checkpoint=tmp_path / "short.pt")
    assert written == [EPOCHS]
    monkeypatch.setattr(finetune_checkpoint, "monotonic", later)
    tune(checkpoint=tmp_path / "long.pt", options=replace(OPTS, epochs=8, patience=0))
    assert written == [EPOCHS, 3, 6, 8]
    tune(options=replace(OPTS, epochs=1))
    assert written == [EPOCHS, 3, 6, 8] and {p.name for p in tmp_path.iterdir() if p.name[0] != "."} == {"short.pt", "long.pt"}


ONE = replace(OPTS, epochs=1)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, FinetuneResult]:
    """A checkpoint of a training of one epoch, and its result."""
    path = tmp_path_factory.mktemp("kept") / "run.pt"
    result = tune(checkpoint=path, options=ONE)
    return path.read_bytes(), result


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"mode": "full"}, "its mode is linear, now it is full"),
        ({"options": replace(ONE, epochs=2, seed=1)}, "its epochs is 1, now it is 2; its seed is 0, now it is 1"),
        ({"options": replace(ONE, augmentations=[{"op": "shear", "amplitude": 0.123456789}])}, "other augmentations"),
        ({"encoder": make_encoder(labels=None)}, "other encoder"),
        ({"clips": CLIPS[:-1]}, "other training clips"),
        ({"validation": 0.0}, "other training clips; other validation clips"),
        ({"labels": ["cb"[i % 2] for i in range(8)]}, "other classes; other training clips; other validation clips"),
        ({"clips": MOVED}, "other training clips; other validation clips"),
    ],
    ids=["mode", "options", "augmentations", "encoder", "clips", "validation", "classes", "joints"],
)
def test_a_checkpoint_of_another_call_is_refused(
    changed: dict[str, Any], told: str, kept: tuple[bytes, FinetuneResult], tmp_path: Path, steps: Callable[[int], list[int]]
) -> None:
    path, done = tmp_path / "run.pt", steps(-1)
    path.write_bytes(kept[0])
    with pytest.raises(TrainingError, match=rf"^{re.escape(str(path))} is of another fine-tuning: {told}.*Give the call that it is of"):
        tune(**{"checkpoint": path, "options": ONE, **changed})
    assert path.read_bytes() == kept[0] and not done


def test_other_unlabelled_clips_are_another_call(tmp_path: Path) -> None:
    tune("semi", tmp_path / "run.pt", options=ONE)
    with pytest.raises(TrainingError, match=r"of another fine-tuning: other unlabelled clips\. Give"):
        tune("semi", tmp_path / "run.pt", options=ONE, unlabelled=UNLABELLED[1:])


@pytest.mark.parametrize("damage", ["empty", "cut", "one bit", "text", "of another net", "of pretraining", "without random numbers"])
def test_a_damaged_checkpoint_is_named(damage: str, kept: tuple[bytes, FinetuneResult], tmp_path: Path) -> None:
    path, (data, whole) = tmp_path / "run.pt", kept
    state = torch.load(io.BytesIO(data), weights_only=True)
    if damage == "of another net":
        torch.save({**state, "net": {"weight": torch.zeros(2)}}, path)
    elif damage == "of pretraining":
        torch.save({name: state[name] for name in ("net", "optimiser")}, path)
    elif damage == "without random numbers":
        torch.save({**state, "random": {}}, path)
    else:
        path.write_bytes({"empty": b"", "cut": data[: len(data) // 2], "one bit": one_bit(data), "text": b"hello world"}[damage])
    with pytest.raises(TrainingError, match=rf"^{re.escape(str(path))} cannot be read.*Put a copy of it back, or remove it"):
        tune(checkpoint=path, options=ONE)
    path.write_bytes(data)
    check_same(tune(checkpoint=path, options=ONE), whole)


def test_one_process_at_a_time_and_a_place_for_a_file_are_asked_for_before_any_step(steps: Callable[[int], list[int]], tmp_path: Path) -> None:
    steps(0)
    with alone(tmp_path / ".run.pt.lock", tmp_path), pytest.raises(WriteError, match=r"run\.pt: another process works on it"):
        tune(checkpoint=tmp_path / "run.pt", options=ONE)
    with pytest.raises(WriteError, match="is a folder, not a file"):
        tune(checkpoint=tmp_path, options=ONE)


def test_a_cross_validation_goes_on_within_its_folds(always: None, steps: Callable[[int], list[int]], tmp_path: Path) -> None:
    path, encoder = tmp_path / "run.pt", encoder_of("full")
    settings: dict[str, Any] = {"folds": 2, "mode": "linear", "options": OPTS}
    whole = cross_validate(encoder, CLIPS, **settings)
    steps(EPOCHS * STEPS + STEPS + 1)
    with pytest.raises(Stop):
        cross_validate(encoder, CLIPS, **settings, checkpoint=path)
    done = steps(-1)
    again = cross_validate(encoder, CLIPS, **settings, checkpoint=path)
    assert len(done) == (EPOCHS - 1) * STEPS
    np.testing.assert_array_equal(again.logits, whole.logits)
    assert again.temperature == whole.temperature
    finetune(encoder, CLIPS, mode="linear", validation=again, options=ONE, checkpoint=path)
    (tmp_path / "run.pt.other").touch()
    remove_checkpoint(path)
    remove_checkpoint(path)
    assert [p.name for p in tmp_path.iterdir()] == ["run.pt.other"]


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    for name in ("walk", "wave"):
        for k in range(3):
            (tmp_path / "takes" / name).mkdir(parents=True, exist_ok=True)
            skelzoo.save_clips(tmp_path / f"takes/{name}/{k}.npz", [made(name, k)])
    return tmp_path / "takes"


def made(name: str, seed: int) -> Clip:
    return make(name, frames=30, seed=seed).replace(label=None, name=f"{name}{seed}")


def finetune_and_die_writing(*words: str) -> None:
    """The command, killed when half of its second checkpoint is written."""
    save, calls = torch.save, []

    def save_or_die(state: dict[str, Any], file: Any) -> None:
        calls.append(len(state["history"]))
        if len(calls) == 2:
            file.write(b"half a checkpoint")
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        save(state, file)

    torch.save = save_or_die
    finetune_checkpoint.EVERY = 0.0
    main(["finetune", *words])


def test_the_command_goes_on_after_a_kill_and_clears_up(model: str, recordings: Path, tmp_path: Path) -> None:
    words = [model, str(recordings), "--epochs", "3", "--device", "cpu", "--out"]
    process = SERVER.Process(target=finetune_and_die_writing, args=(*words, str(tmp_path / "mine")))
    process.start()
    process.join(600)
    assert process.exitcode == -signal.SIGKILL
    names = {p.name for p in tmp_path.iterdir()} - {"takes"}
    assert {"mine.checkpoint.pt", ".mine.checkpoint.pt.lock"} <= names and len(names) == 3  # and what was half written
    other = CliRunner().invoke(main, ["finetune", *words, str(tmp_path / "mine"), "--seed", "1"])
    assert other.exit_code == 1 and "mine.checkpoint.pt is of another fine-tuning: its seed is 0, now it is 1. Give the call" in other.stderr
    again, whole = (CliRunner().invoke(main, ["finetune", *words, str(tmp_path / out)]) for out in ("mine", "whole"))
    assert again.exit_code == whole.exit_code == 0 and "goes on after epoch 1 of 3" in again.stderr and "goes on" not in whole.stderr
    assert again.stdout.splitlines()[:-1] == whole.stdout.splitlines()[:-1]
    assert (tmp_path / "mine/model.safetensors").read_bytes() == (tmp_path / "whole/model.safetensors").read_bytes()
    assert {p.name for p in tmp_path.iterdir()} == {"takes", "mine", "whole"}


def test_recordings_are_not_read_for_a_checkpoint_of_another_call(recordings: Path, tmp_path: Path) -> None:
    path, encoder = tmp_path / "run.pt", encoder_of("full")
    finetune_recordings(encoder, recordings, folds=2, options=ONE, checkpoint=path)
    assert path.is_file() and len(list(tmp_path.glob("run.pt.fold?"))) == 2
    with pytest.raises(TrainingError, match=r"of another fine-tuning: its mode is full, now it is linear\. Give"):
        finetune_recordings(encoder, tmp_path / "none", mode="linear", options=ONE, checkpoint=path)
