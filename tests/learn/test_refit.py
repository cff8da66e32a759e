"""A finished run gets a new head, and nothing else of it changes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from tiny import CONTRACT, OPTIONS, make_clip, write_corpus

import skelzoo
from skelzoo.cli import main
from skelzoo.errors import TrainingError, WriteError
from skelzoo.learn.head_clips import HeadOptions
from skelzoo.learn.held_out import DataOptions
from skelzoo.learn.pretrain.loop import pretrain, refit
from skelzoo.learn.recipe import Recipe, load_recipe
from skelzoo.skeleton.writing import alone

RECIPE = Recipe(
    name="tiny", method="skeattnclr", arch="skeattnclr-stgcn", options=OPTIONS, contract=CONTRACT.replace(persons=1),
    data=DataOptions(["a.npz"], shortest=5, max_step=100.0, held_out={"a.npz": {"subjects": [3]}}), stored_frames=20,
    method_options={"queue": 16, "augmentations": [{"op": "temporal_crop", "frames": 16}], "span_range": [1, 2]},
    steps=2, batch_size=8, precision="32-true", head=HeadOptions({"a.npz": "*"}, fewest=3),
)  # fmt: skip
NAMES = {"class0": "sit", "class1": "stand", "class2": "wave"}
RENAMED = dataclasses.replace(RECIPE, head=HeadOptions({"a.npz": NAMES}, fewest=3))


def write_data(folder: Path) -> Path:
    clips = [make_clip(i % 3).replace(keypoints=make_clip(i % 3).keypoints * (1 + 0.002 * i), name=f"clip{i}") for i in range(36)]
    write_corpus(folder / "a.npz", clips, labels=np.arange(36) % 3, subject=np.arange(36, dtype=np.int32) // 3 % 4)
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    pretrain(RECIPE, write_data(tmp_path), tmp_path / "run", device="cpu")
    return tmp_path / "run"


def arrays(run: Path) -> dict[str, Any]:
    return dict(skelzoo.load(f"local:{run / 'weights'}", device="cpu").net.state_dict())


def test_the_head_alone_changes(run: Path) -> None:
    before, log = arrays(run), (run / "log.csv").read_bytes()
    weights = refit(RENAMED, run.parent, run, device="cpu")
    after = arrays(run)
    assert skelzoo.load(f"local:{weights}", device="cpu").labels == tuple(NAMES.values())
    assert all(np.array_equal(before[n], after[n]) for n in after) and before.keys() == after.keys()
    assert set(json.loads((run / "head.json").read_text())["per_class"]) == set(NAMES.values())
    assert load_recipe(str(run / "recipe.json")).to_dict() == json.loads(json.dumps(RENAMED.to_dict())) and (run / "log.csv").read_bytes() == log
    assert pretrain(RENAMED, run.parent, run, device="cpu") == weights  # the run is the new recipe's


def test_another_vector_of_the_same_body(run: Path) -> None:
    longer = dataclasses.replace(RENAMED, options={**OPTIONS, "embed_statistics": ["mean", "max"]})
    refit(longer, run.parent, run, device="cpu")
    encoder = skelzoo.load(f"local:{run / 'weights'}", device="cpu")
    assert encoder.embedding_dim == 2 * skelzoo.create("skeattnclr-stgcn", layout="kinect20", options=OPTIONS).embedding_dim


def test_a_head_can_be_left_out_and_come_back(run: Path) -> None:
    before = arrays(run)
    refit(dataclasses.replace(RECIPE, head=None), run.parent, run, device="cpu")
    assert skelzoo.load(f"local:{run / 'weights'}", device="cpu").labels is None
    refit(RECIPE, run.parent, run, device="cpu")
    assert all(np.array_equal(value, before[name]) for name, value in arrays(run).items())


@pytest.mark.parametrize("change", [{"seed": 1}, {"options": {**OPTIONS, "heads": 1}}, {"data": dataclasses.replace(RECIPE.data, hop=30)}])
def test_what_the_weights_depend_on_cannot_change(run: Path, change: dict[str, Any]) -> None:
    before = (run / "weights" / "model.safetensors").read_bytes()
    with pytest.raises(TrainingError, match="differs from tiny in more than head"):
        refit(dataclasses.replace(RECIPE, **change), run.parent, run, device="cpu")
    assert (run / "weights" / "model.safetensors").read_bytes() == before


def test_by_command_and_only_finished_runs(run: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "renamed.json"
    recipe.write_text(json.dumps(RENAMED.to_dict()))
    command = ["pretrain", str(recipe), "--data", str(tmp_path), "--device", "cpu", "--refit", "--out"]
    done = CliRunner().invoke(main, [*command, str(run)])
    assert done.exit_code == 0 and f"local:{run / 'weights'}" in done.output, done.output
    refused = CliRunner().invoke(main, [*command, str(tmp_path / "nowhere")])
    assert refused.exit_code == 1 and "holds no finished run" in refused.output


def test_a_run_with_a_start_is_refitted_and_locked(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative start is the same place in pretrain, in refit and in recipe.json, also one of older runs."""
    write_data(tmp_path)
    monkeypatch.chdir(run)
    recipe, out = dataclasses.replace(RECIPE, start="local:weights"), tmp_path / "second"
    pretrain(recipe, tmp_path, out, device="cpu")
    refit(dataclasses.replace(recipe, head=RENAMED.head), tmp_path, out, device="cpu")
    with alone(out / ".lock", out), pytest.raises(WriteError, match="another process works on it"):
        refit(recipe, tmp_path, out, device="cpu")


def test_a_head_that_does_not_fit_the_data_is_refused_before_training(tmp_path: Path) -> None:
    wrong = dataclasses.replace(RECIPE, head=HeadOptions({"a.npz": {"class7": "x"}}, fewest=3))
    with pytest.raises(TrainingError, match=r"a\.npz has no label 'class7'; it has class0, class1, class2\."):
        pretrain(wrong, write_data(tmp_path), tmp_path / "run", device="cpu")
    assert [file.name for file in (tmp_path / "run").iterdir()] == [".lock"]


@pytest.mark.parametrize("head", [RECIPE.head, None])
def test_a_head_may_be_corrected_or_left_out_before_the_end(tmp_path: Path, head: HeadOptions | None) -> None:
    pretrain(RENAMED, write_data(tmp_path), tmp_path / "run", device="cpu", stop_after=1)
    log = (tmp_path / "run/log.csv").read_bytes()
    weights = pretrain(dataclasses.replace(RECIPE, head=head), tmp_path, tmp_path / "run", device="cpu")
    assert skelzoo.load(f"local:{weights}", device="cpu").labels == (tuple(NAMES) if head else None) and (tmp_path / "run/log.csv").read_bytes().startswith(log)
    with pytest.raises(TrainingError, match="another recipe"):
        pretrain(RENAMED, tmp_path, tmp_path / "run", device="cpu")
