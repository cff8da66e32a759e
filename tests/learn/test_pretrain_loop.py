"""The training loop: what it writes, that it resumes exactly, and what it refuses."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import random
import re
import signal
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from forked import SERVER
from tiny import CONTRACT, OPTIONS, make_clip, one_bit, write_corpus

import skelzoo
from skelzoo.errors import ContractError, TrainingError, UnknownArchError, WriteError
from skelzoo.learn.held_out import DataOptions
from skelzoo.learn.pretrain.loop import Run, pretrain
from skelzoo.learn.pretrain.skeattnclr import Losses, SkeAttnCLRPretraining
from skelzoo.learn.recipe import Optimiser, Recipe
from skelzoo.skeleton.writing import alone

STEPS = 30
RECIPE = Recipe(
    name="tiny", method="skeattnclr", arch="skeattnclr-stgcn", options={**OPTIONS, "dropout": 0.2}, contract=CONTRACT.replace(persons=1),
    data=DataOptions(["a.npz"], window=30, hop=20, shortest=5, max_step=100.0, held_out={"a.npz": {"subjects": [3]}}), stored_frames=20,
    method_options={"queue": 16, "augmentations": [{"op": "temporal_crop", "frames": 16}, {"op": "shear"}], "span_range": [1, 2]},
    optimiser=Optimiser(learning_rate=1e-3, warmup=0.1), steps=STEPS, batch_size=8, checkpoint_every=5, precision="32-true",
)  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_corpus(folder / "a.npz", [make_clip(i, frames=16 + i) for i in range(24)], subject=np.arange(24, dtype=np.int32) % 4)
    return folder


def run(data: Path, out: Path, recipe: Recipe = RECIPE, **settings: Any) -> Path:
    return pretrain(recipe, data, out, device="cpu", **settings)


def log(out: Path) -> list[dict[str, str]]:
    with (out / "log.csv").open() as f:
        return list(csv.DictReader(f))


def losses(out: Path) -> np.ndarray:
    return np.array([[float(r[k]) for k in ("loss", "loss_z", "loss_salient", "loss_non_salient", "learning_rate")] for r in log(out)])


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was never stopped."""
    out = tmp_path_factory.mktemp("whole") / "run"
    run(data, out)
    return out


def test_a_run_leaves_a_log_a_checkpoint_and_loadable_weights(whole: Path, data: Path) -> None:
    (windows,) = whole.glob("windows-*.npy")
    assert {p.name for p in whole.iterdir()} == {"recipe.json", "log.csv", "checkpoint.pt", ".lock", "weights", windows.name}
    assert [int(r["step"]) for r in log(whole)] == list(range(1, STEPS + 1)) and np.isfinite(losses(whole)).all()
    encoder = skelzoo.load(f"local:{whole / 'weights'}", device="cpu")
    assert encoder.contract == RECIPE.contract and encoder.config.num_classes == 0 and encoder.embed(make_clip()).shape == (1, 16)
    assert skelzoo.verify(f"local:{whole / 'weights'}", device="cpu").ok


def test_training_moves_the_weights_and_the_rate_warms_up_and_falls(whole: Path, data: Path, tmp_path: Path) -> None:
    untrained = Run(RECIPE, tmp_path, data, "cpu").encoder().embed(make_clip())
    assert np.abs(skelzoo.load(f"local:{whole / 'weights'}", device="cpu").embed(make_clip()) - untrained).max() > 1e-3
    rate = losses(whole)[:, -1]
    assert rate.argmax() == round(0.1 * STEPS) - 1 or rate.argmax() == round(0.1 * STEPS)
    assert rate.max() == pytest.approx(1e-3, rel=0.02) and rate[-1] < 1e-5 and (np.diff(rate[4:]) < 0).all()


def test_the_total_is_the_weighted_sum(whole: Path) -> None:
    total, z, salient, non_salient, _ = losses(whole).T
    np.testing.assert_allclose(total, z + 0.5 * salient + 0.5 * non_salient, rtol=1e-5)


@pytest.mark.parametrize("stops", [pytest.param([1], marks=pytest.mark.slow), [7, 23], pytest.param([STEPS - 1], marks=pytest.mark.slow)])
def test_stopped_and_resumed_is_the_same_run(data: Path, whole: Path, tmp_path: Path, stops: list[int]) -> None:
    for stop in stops:
        assert run(data, tmp_path / "run", stop_after=stop) == tmp_path / "run"
        assert len(log(tmp_path / "run")) == stop and not (tmp_path / "run/weights").exists()
    assert run(data, tmp_path / "run") == tmp_path / "run/weights"
    np.testing.assert_allclose(losses(tmp_path / "run"), losses(whole), atol=1e-4)
    encoders = [skelzoo.load(f"local:{f / 'weights'}", device="cpu") for f in (whole, tmp_path / "run")]
    np.testing.assert_allclose(encoders[1].embed(make_clip()), encoders[0].embed(make_clip()), atol=1e-4)


def start(data: Path, out: Path, target: Callable[..., object] = pretrain) -> BaseProcess:
    """A process of its own that runs the recipe."""
    process = SERVER.Process(target=target, args=(RECIPE, data, out), kwargs={"device": "cpu"})
    process.start()
    return process


def check_goes_on(data: Path, out: Path, whole: Path) -> None:
    run(data, out)
    assert [int(r["step"]) for r in log(out)] == list(range(1, STEPS + 1))
    np.testing.assert_allclose(losses(out), losses(whole), atol=1e-4)
    assert skelzoo.verify(f"local:{out / 'weights'}", device="cpu").ok
    assert {p.name for p in out.iterdir()} == {p.name for p in whole.iterdir()}


@pytest.mark.parametrize("when", ["before the first checkpoint", "at random"])
def test_killed_without_warning_and_resumed_is_the_same_run(data: Path, whole: Path, tmp_path: Path, when: str) -> None:
    out, kill_at = tmp_path / "run", 2 if when != "at random" else random.SystemRandom().randrange(RECIPE.checkpoint_every + 1, STEPS // 2)
    process = start(data, out)
    while process.is_alive() and (not (out / "log.csv").exists() or len(log(out)) < kill_at):
        time.sleep(0.001)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL and kill_at <= len(log(out)) < STEPS and not (out / "weights").exists(), kill_at
    with (out / "log.csv").open("a") as f:
        f.write("3")  # a line the kill cut short
    check_goes_on(data, out, whole)


def pretrain_and_die_writing(*arguments: Any, **named: Any) -> None:
    save, calls = torch.save, []

    def save_or_die(state: Any, file: Any) -> None:
        calls.append(state["step"])
        if len(calls) == 3:
            file.write(b"half a checkpoint")
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        save(state, file)

    torch.save = save_or_die
    pretrain(*arguments, **named)


def test_killed_while_it_writes_a_checkpoint_goes_on_from_the_one_before(data: Path, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = start(data, out, pretrain_and_die_writing)
    process.join(600)
    assert process.exitcode == -signal.SIGKILL
    assert torch.load(out / "checkpoint.pt", weights_only=True)["step"] == 2 * RECIPE.checkpoint_every
    assert len(log(out)) == 3 * RECIPE.checkpoint_every and len(list(out.glob(".checkpoint.pt.*.part"))) == 1
    check_goes_on(data, out, whole)


@pytest.mark.parametrize("damage", ["empty", "cut", "one bit", "text", "of another net", "without a step"])
def test_a_damaged_checkpoint_is_named(data: Path, whole: Path, tmp_path: Path, damage: str) -> None:
    run(data, tmp_path / "run", stop_after=1)
    path = tmp_path / "run/checkpoint.pt"
    whole_bytes, state = path.read_bytes(), torch.load(path, weights_only=True)
    if damage == "of another net":
        torch.save({**state, "method": {"weight": torch.zeros(2)}}, path)
    elif damage == "without a step":
        torch.save({name: value for name, value in state.items() if name != "step"}, path)
    else:
        path.write_bytes({"empty": b"", "cut": whole_bytes[: len(whole_bytes) // 2], "one bit": one_bit(whole_bytes), "text": b"hello world"}[damage])
    with pytest.raises(TrainingError, match=rf"^{re.escape(str(path))} cannot be read.*Put a copy of it back, or remove it"):
        run(data, tmp_path / "run", stop_after=2)
    path.write_bytes(whole_bytes)
    run(data, tmp_path / "run", stop_after=3)
    np.testing.assert_allclose(losses(tmp_path / "run"), losses(whole)[:3], atol=1e-4)


def test_a_finished_run_is_not_run_again(data: Path, whole: Path) -> None:
    before, weights = (whole / "log.csv").read_bytes(), (whole / "weights/model.safetensors").read_bytes()
    assert run(data, whole) == whole / "weights"
    assert (whole / "log.csv").read_bytes() == before and (whole / "weights/model.safetensors").read_bytes() == weights


def test_a_finished_run_without_its_checkpoint_is_not_run_again_either(data: Path, tmp_path: Path) -> None:
    recipe, out = dataclasses.replace(RECIPE, steps=2), tmp_path / "run"
    run(data, out, recipe)
    (out / "checkpoint.pt").unlink()
    before = {file: file.read_bytes() for file in out.rglob("*") if file.is_file()}
    assert run(data, out, recipe) == out / "weights"
    with pytest.raises(TrainingError, match="holds a run of another recipe"):
        run(data, out, dataclasses.replace(recipe, seed=1))
    assert {file: file.read_bytes() for file in out.rglob("*") if file.is_file()} == before
    (out / "recipe.json").unlink()
    with pytest.raises(TrainingError, match=r"weights is there, but not the recipe\.json of the run that made it. Choose another folder"):
        run(data, out, recipe)


def test_another_seed_is_another_run(data: Path, whole: Path, tmp_path: Path) -> None:
    run(data, tmp_path / "run", dataclasses.replace(RECIPE, seed=1), stop_after=3)
    assert np.abs(losses(tmp_path / "run") - losses(whole)[:3]).max() > 1e-3


def test_a_run_that_starts_with_a_model_goes_on_from_its_weights(data: Path, whole: Path, tmp_path: Path) -> None:
    still = dataclasses.replace(RECIPE, optimiser=Optimiser(learning_rate=0.0), steps=1, start=f"local:{whole / 'weights'}")
    weights = [skelzoo.load(f"local:{folder}", device="cpu").net for folder in (whole / "weights", run(data, tmp_path / "same", still))]
    before, after = (dict(net.named_parameters()) for net in weights)
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    wider = dataclasses.replace(still, options={**RECIPE.options, "hidden_channels": 8})
    with pytest.raises(TrainingError, match=r"is another net than arch and options of the recipe describe.*hidden_channels: 4, here 8.*from its config.json"):
        run(data, tmp_path / "wider", wider)


@pytest.mark.parametrize(("changes", "named"), [
    ({"options": {**RECIPE.options, "heads": 1}}, "options.heads: 2, here 1"),
    ({"contract": RECIPE.contract.replace(steps=RECIPE.contract.steps[1:])}, "contract.steps"),
    ({"contract": RECIPE.contract.replace(layout="utdmhad20")}, "contract.layout: 'kinect20', here 'utdmhad20'"),
])  # fmt: skip
def test_a_start_that_knows_other_clips_is_refused_though_the_shapes_fit(data: Path, whole: Path, tmp_path: Path, changes: dict[str, Any], named: str) -> None:
    recipe = dataclasses.replace(RECIPE, steps=1, start=f"local:{whole / 'weights'}", **changes)
    with pytest.raises(TrainingError, match=f"prepared in another way.*{re.escape(named)}"):
        run(data, tmp_path / "run", recipe)


def test_a_start_is_kept_where_it_is(data: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(whole)
    recipe = dataclasses.replace(RECIPE, start="local:weights")
    out = run(data, tmp_path / "run", recipe, stop_after=1)
    assert json.loads((out / "recipe.json").read_text())["start"] == f"local:{whole.resolve() / 'weights'}"
    run(data, out, recipe, stop_after=2)
    assert len(log(out)) == 2


@pytest.mark.parametrize("stop_after", [3, None])
def test_other_data_under_the_same_name_are_refused(data: Path, tmp_path: Path, stop_after: int | None) -> None:
    recipe, out = dataclasses.replace(RECIPE, steps=6), tmp_path / "run"
    run(data, out, recipe, stop_after=stop_after)
    files = {file: file.read_bytes() for file in out.rglob("*") if file.is_file()}
    other = tmp_path / "other"
    other.mkdir()
    write_corpus(other / "a.npz", [make_clip(i + 1, frames=16 + i) for i in range(24)], subject=np.arange(24, dtype=np.int32) % 4)
    with pytest.raises(TrainingError, match=r"on other data: a\.npz changed since"):
        run(other, out, recipe)
    assert all(file.read_bytes() == data for file, data in files.items())


def test_one_process_at_a_time_trains_in_a_folder(data: Path, tmp_path: Path) -> None:
    run(data, tmp_path, stop_after=1)
    with alone(tmp_path / ".lock", tmp_path), pytest.raises(WriteError, match="another process works on it"):
        run(data, tmp_path, stop_after=2)
    assert len(log(run(data, tmp_path, stop_after=2))) == 2


def test_the_folder_of_another_recipe_is_refused(data: Path, whole: Path) -> None:
    before = (whole / "recipe.json").read_bytes()
    with pytest.raises(TrainingError, match="holds a run of another recipe"):
        run(data, whole, dataclasses.replace(RECIPE, seed=1))
    assert (whole / "recipe.json").read_bytes() == before


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_checkpoint(data: Path, tmp_path: Path) -> None:
    recipe = dataclasses.replace(RECIPE, optimiser=Optimiser(learning_rate=1e30), checkpoint_every=1)
    with pytest.raises(TrainingError, match=r"the loss is (nan|inf) at step \d+\. Lower optimiser\.learning_rate; .*checkpoint\.pt is from before\."):
        run(data, tmp_path / "run", recipe)
    assert (tmp_path / "run/checkpoint.pt").is_file() and np.isfinite(losses(tmp_path / "run")).all() and not (tmp_path / "run/weights").exists()


def test_a_gradient_that_is_not_finite_stops_the_run_too(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses_of = SkeAttnCLRPretraining.losses

    def steep(self: SkeAttnCLRPretraining, *views: torch.Tensor) -> Losses:
        found = losses_of(self, *views)
        return found._replace(total=found.total + (0 * found.total).sqrt())

    monkeypatch.setattr(SkeAttnCLRPretraining, "losses", steep)
    with pytest.raises(TrainingError, match=r"the gradient is nan at step 0\. Lower optimiser\.learning_rate\.$"):
        run(data, tmp_path / "run")
    assert not (tmp_path / "run/checkpoint.pt").exists() and not (tmp_path / "run/log.csv").exists()


def test_missing_data(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"no corpus file .*a\.npz"):
        run(tmp_path, tmp_path / "run")


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"batch_size": 64, "method_options": {"queue": 64}}, TrainingError, "training windows are fewer than one batch of 64"),
        ({"batch_size": 6}, TrainingError, "queue 16 is not a multiple of the batch size 6"),
        ({"method": "magic"}, TrainingError, "no pretraining method 'magic'. Known: skeattnclr"),
        ({"method_options": {"magic": 1}}, TrainingError, "method options do not fit"),
        ({"method_options": {"queue": 16, "augmentations": [{"op": "spin"}]}}, TrainingError, "no augmentation 'spin'"),
        ({"method_options": {"queue": 16, "augmentations": "shear"}}, TrainingError, "augmentations are 'shear'. Give a list of rows"),
        ({"method_options": {"queue": "16"}}, TrainingError, "method_options.queue is '16'. Give a whole number of at least 1."),
        ({"arch": "magic"}, UnknownArchError, "magic"),
        ({"precision": "16-true"}, TrainingError, "one of auto, 32-true, bf16-mixed"),
        ({"seed": 2**42}, TrainingError, "seed is 4398046511104. Give a whole number of at least 0 and below 4398046511104."),
        ({"stored_frames": 24, "method_options": {"queue": 16}}, TrainingError, "leave 24 frames, the contract says 16. Give temporal_crop these frames"),
        ({"contract": CONTRACT.replace(persons=1, frames=12)}, ContractError, "the steps left 16 frames, the contract wants 12"),
        ({"monitor": "magic"}, TrainingError, "no benchmark 'magic'"),
        ({"monitor": "nwucla"}, TrainingError, "nw_ucla.npz"),
    ],
)
def test_recipes_that_cannot_be_run(data: Path, tmp_path: Path, changes: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error) as caught:
        run(data, tmp_path / "run", dataclasses.replace(RECIPE, **{"steps": 1, **changes}))
    assert says in str(caught.value) and not (tmp_path / "run/recipe.json").exists()


def test_readings_on_a_benchmark_do_not_change_the_run(data: Path, whole: Path, tmp_path: Path) -> None:
    clips = [make_clip(i) for i in range(16)]
    rows = {"view": np.array([1, 2] * 8, np.int32), "split": np.zeros(16, np.int32)}
    (tmp_path / "data").mkdir()
    os.symlink(data / "a.npz", tmp_path / "data/a.npz")
    write_corpus(tmp_path / "data/nw_ucla.npz", clips, labels=[i // 2 % 2 for i in range(16)], **rows)
    run(tmp_path / "data", tmp_path / "run", dataclasses.replace(RECIPE, monitor="nwucla", monitor_every=4), stop_after=9)
    readings = [r["knn"] for r in log(tmp_path / "run")]
    assert [i + 1 for i, r in enumerate(readings) if r] == [4, 8] and all(0 <= float(r) <= 100 for r in readings if r)
    np.testing.assert_allclose(losses(tmp_path / "run"), losses(whole)[:9], atol=1e-4)


def test_every_step_draws_its_own_batch_and_every_epoch_each_clip_once(data: Path, tmp_path: Path) -> None:
    training = Run(RECIPE, tmp_path, data, "cpu")
    per_epoch, drawn = len(training.clips) // 8, []
    for step in range(2 * per_epoch):
        training.step = step
        drawn.append(training._indices().tolist())
    first, second = ([i for batch in half for i in batch] for half in (drawn[:per_epoch], drawn[per_epoch:]))
    assert len(set(first)) == len(first) == 8 * per_epoch == len(set(second)) and first != second
    training.recipe, training.step = dataclasses.replace(RECIPE, seed=1), 0
    assert training._indices().tolist() != drawn[0]


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_callers_autocast_changes_no_training(data: Path, tmp_path: Path, precision: str) -> None:
    recipe = dataclasses.replace(RECIPE, precision=precision, batch_size=4)
    run(data, tmp_path / "alone", recipe, stop_after=2)
    with torch.autocast("cpu", torch.bfloat16):
        run(data, tmp_path / "inside", recipe, stop_after=2)
    assert np.array_equal(losses(tmp_path / "inside"), losses(tmp_path / "alone"))


def test_bf16_learns_about_the_same(data: Path, whole: Path, tmp_path: Path) -> None:
    run(data, tmp_path / "run", dataclasses.replace(RECIPE, precision="bf16-mixed"), stop_after=3)
    difference = np.abs(losses(tmp_path / "run")[:, :4] - losses(whole)[:3, :4]).max()
    assert 0 < difference < 0.2


def test_runs_need_no_network_and_leave_torch_as_it_was(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    def refuse(*args: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    threads: Callable[[], int] = torch.get_num_threads
    before = (threads(), torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_rng_state().tolist())
    run(data, tmp_path / "run", stop_after=1)
    assert (threads(), torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_rng_state().tolist()) == before


def test_torchs_default_type_breaks_no_training(data: Path, tmp_path: Path) -> None:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        run(data, tmp_path / "run", stop_after=2)
    finally:
        torch.set_default_dtype(before)
    assert np.isfinite(losses(tmp_path / "run")).all()
    assert {t.dtype for t in torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["method"].values()} == {torch.float32, torch.int64}


def test_the_recipe_is_written_as_json(whole: Path) -> None:
    assert json.loads((whole / "recipe.json").read_text()) == json.loads(json.dumps(RECIPE.to_dict()))
