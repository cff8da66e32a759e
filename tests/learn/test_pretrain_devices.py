"""Two processes train as one does with the same batch; compiled graphs train as eager code does."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import functools
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from one_device import one_device
from safetensors.torch import load_file
from tiny import CONTRACT, OPTIONS, SMALL, make_clip, write_corpus, write_json
from torch import Tensor

import skelzoo
from skelzoo.errors import DeviceError, TrainingError
from skelzoo.learn import processes
from skelzoo.learn.held_out import DataOptions
from skelzoo.learn.pretrain.loop import Run, pretrain
from skelzoo.learn.pretrain.method import Method
from skelzoo.learn.pretrain.methods import METHODS, build_method, stored
from skelzoo.learn.recipe import Optimiser, Recipe, load_recipe, shipped_recipes
from skelzoo.weights.checkpoint import build_net
from skelzoo.weights.manifest import ModelConfig

STEPS = 4
CLIPS = CONTRACT.replace(persons=1)
SKEATTNCLR = Recipe(
    name="tiny", method="skeattnclr", arch="skeattnclr-stgcn", options=OPTIONS, contract=CLIPS,
    data=DataOptions(["a.npz"], window=30, hop=20, shortest=5, max_step=100.0), stored_frames=20,
    method_options={"queue": 16, "augmentations": [{"op": "temporal_crop", "frames": 16}, {"op": "shear"}], "span_range": [1, 2]},
    optimiser=Optimiser(learning_rate=1e-4), steps=STEPS, batch_size=8, precision="32-true",
)  # fmt: skip
OF_20 = CLIPS.replace(steps=(*CLIPS.steps[:-1], {"step": "resample", "frames": 20}, {"step": "streams"}, CLIPS.steps[-1]), streams=("joint", "motion"))
PSP = dataclasses.replace(
    SKEATTNCLR, method="psp", arch="psp", options={**SMALL["psp"], "num_frames": 16}, contract=OF_20,
    method_options={"augmentations": [{"op": "rotate_yaw"}]}, monitor="nwucla", monitor_every=2,
)  # fmt: skip
SKELETONMAE = dataclasses.replace(
    SKEATTNCLR, method="skeletonmae", arch="skeletonmae-strl", options={**SMALL["skeletonmae-strl"], "num_frames": 16, "num_persons": 1}, stored_frames=16,
    method_options={"mask": "random_regions", "temporal_share": 0.5},
)  # fmt: skip
RECIPES = {r.method: dataclasses.replace(r, name=r.method) for r in (SKEATTNCLR, SKELETONMAE, PSP)}

UNEVEN = dataclasses.replace(SKEATTNCLR, name="uneven", batch_size=1)
"""One clip for two devices."""

SCRIPT = """
import os
import shutil
import sys
from pathlib import Path
from skelzoo.cli import main

*recipes, uneven, data, out = sys.argv[1:]

def pretrain(recipe, *more):
    folder = f"{out}/{Path(recipe).stem}"
    main(["pretrain", recipe, "--data", data, "--out", folder, "--device", "cpu", "--devices", "2", *more], standalone_mode=False)

pretrain(recipes[-1], "--stop-after", "2")
for recipe in recipes:
    pretrain(recipe)
pretrain(uneven)

if os.environ.get("LOCAL_RANK") == "1":
    psp = Path(recipes[-1])
    recipes[-1] = str(psp.with_name("other.json"))
    Path(recipes[-1]).write_text(psp.read_text().replace('"seed": 0', '"seed": 1'))
    own = Path(out, "own")
    shutil.copytree(data, own)
    (own / "a.npz").write_bytes((own / "nw_ucla.npz").read_bytes())
    data = own
pretrain(recipes[-1], "--out", f"{out}/unlike")
recipes[-1], data = sys.argv[len(recipes)], sys.argv[-2]
pretrain(recipes[-1], "--out", f"{out}/place{os.environ.get('LOCAL_RANK')}")
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_corpus(folder / "a.npz", [make_clip(i, frames=16 + i) for i in range(24)])
    rows = {"view": np.array([1, 2] * 8, np.int32), "split": np.zeros(16, np.int32)}
    write_corpus(folder / "nw_ucla.npz", [make_clip(100 + i) for i in range(16)], labels=[i // 2 % 2 for i in range(16)], **rows)
    return folder


@pytest.fixture(scope="module")
def one(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of one process."""
    out = tmp_path_factory.mktemp("one")
    for name, recipe in RECIPES.items():
        pretrain(recipe, data, out / name, device="cpu")
    return out


def in_two(command: Sequence[str], names: Sequence[str], data: Path, out: Path) -> str:
    """What is printed by two processes that train the recipes one after the other, the last of them stopped once and gone on with."""
    files = [write_json(out / f"{r.name}.json", r.to_dict()) for r in (*(RECIPES[n] for n in names), UNEVEN)]
    script = out / "script.py"
    script.write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": str(Path(skelzoo.__file__).parents[1])}
    done = subprocess.run(
        [*command, str(script), *map(str, files), str(data), str(out)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


class Two(NamedTuple):
    """Runs of two processes, and what they printed."""

    out: Path
    printed: str


@pytest.fixture(scope="module")
def two(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Two:
    out = tmp_path_factory.mktemp("two")
    return Two(out, in_two([sys.executable], list(RECIPES), data, out))


def log(run: Path) -> list[dict[str, str]]:
    with (run / "log.csv").open() as f:
        return list(csv.DictReader(f))


def column(run: Path, name: str) -> list[float]:
    return [float(row[name]) for row in log(run)]


def moments(run: Path) -> list[Tensor]:
    """AdamW's running means of the gradients, parameter by parameter."""
    state = torch.load(run / "checkpoint.pt", weights_only=True)["optimiser"]["state"]
    return [row["exp_avg"] for row in state.values()]


def test_fabric_says_nothing_of_itself(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("lightning_fabric")
    monkeypatch.setattr(logger, "handlers", [caplog.handler])
    monkeypatch.setattr(logger, "level", logging.INFO)
    processes.start("cpu", 1, 1, "bf16-mixed", False)
    assert not caplog.records and logger.level == logging.INFO


def check_losses(run: Path, expected: Path) -> None:
    # Cosine and spread are means over a process's own masked joints and pairs.
    names = [n for n in log(run)[0] if n.startswith("loss") and n not in ("loss_cosine", "loss_spread")]
    assert column(run, "step") == [1, 2, 3, 4] and len(names) > 1
    for n in names:
        np.testing.assert_allclose(column(run, n), column(expected, n), rtol=1e-4, atol=1e-6, err_msg=n)


def test_every_method_is_trained_here() -> None:
    assert set(RECIPES) == METHODS.keys() - {"psp-ensemble"}, "RECIPES has a small recipe of each method; an ensemble trains members by psp"


@pytest.mark.parametrize("name", RECIPES)
def test_two_processes_have_the_losses_of_one(one: Path, two: Two, name: str) -> None:
    """To a relative 1e-4: the same sums in another order, whose rounding (1e-7) four steps through BatchNorm over few rows magnify."""
    check_losses(two.out / name, one / name)


@pytest.mark.parametrize("name", RECIPES)
def test_two_processes_have_the_gradients_and_weights_of_one(one: Path, two: Two, data: Path, tmp_path: Path, name: str) -> None:
    """Gradients to 1 % of the largest (rounding differs by processor: up to 0.4 % was seen), the way a weight matrix went to 1 % of its length.

    Biases before a BatchNorm have no gradient but rounding, of which Adam makes whole steps; they tell nothing.
    """
    expected, found = moments(one / name), moments(two.out / name)
    largest = max(float(g.abs().max()) for g in expected)
    assert len(found) == len(expected) > 0
    assert max(float((f - e).abs().max()) for e, f in zip(expected, found, strict=True)) < 1e-2 * largest
    start = Run(RECIPES[name], tmp_path, data, "cpu").net.state_dict()
    alone, together = (load_file(folder / name / "weights/model.safetensors") for folder in (one, two.out))
    matrices = [key for key, value in alone.items() if value.ndim > 1]
    moved = [key for key in matrices if not torch.equal(alone[key], start[key])]
    assert 2 * len(moved) > len(matrices)
    assert {key: off for key in moved if (off := float((together[key] - alone[key]).norm() / (alone[key] - start[key]).norm())) > 0.01} == {}


def test_the_first_process_alone_writes_and_speaks(two: Two) -> None:
    for name in RECIPES:
        written = {p.name.split("-")[0] for p in (two.out / name).iterdir()}
        assert written == {"recipe.json", "log.csv", "checkpoint.pt", ".lock", "weights", "windows"}
        assert two.printed.count(f"local:{two.out / name / 'weights'}") == 1
        assert skelzoo.verify(f"local:{two.out / name / 'weights'}", device="cpu").ok
    assert two.printed.count("stopped; the same command goes on") == 1


def test_two_processes_read_the_benchmark_when_it_is_time(two: Two) -> None:
    assert [bool(row["knn"]) for row in log(two.out / "psp")] == [False, True, False, True]


def test_a_batch_that_does_not_split_is_refused_by_every_process(two: Two) -> None:
    assert two.printed.count("uneven: batch_size 1 is not a multiple of the 2 devices") == 2


def test_unlike_processes_are_refused_by_every_one(two: Two) -> None:
    assert two.printed.count("process 1 has another a.npz, seed in the recipe than process 0. Give all processes the same") == 2
    assert two.printed.count("place1 of process 1 is not that of process 0. Give an --out that all nodes see.") == 1, two.printed
    assert two.printed.count("of process 1 is not that of process 0") == 2
    assert not any((two.out / name / "recipe.json").exists() for name in ("unlike", "placeNone", "place1"))


@pytest.mark.slow
def test_fabric_run_starts_the_processes_too(one: Path, data: Path, tmp_path: Path) -> None:
    in_two([sys.executable, "-m", "lightning_fabric.cli", "--accelerator", "cpu", "--devices", "2"], ["psp"], data, tmp_path)
    check_losses(tmp_path / "psp", one / "psp")


class Draws(Method):
    """Gives back its view, and numbers drawn where dropout draws them."""

    def views(self, clips: Tensor) -> tuple[Tensor]:
        return (clips + torch.rand_like(clips),)

    def losses(self, view: Tensor) -> tuple[Tensor, Tensor]:
        return view, torch.rand(4)


def test_views_are_those_of_one_process_and_dropout_is_each_process_s_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def draws(count: int, rank: int) -> tuple[Tensor, Tensor]:
        monkeypatch.setattr(processes, "count", lambda: count)
        monkeypatch.setattr(processes, "rank", lambda: rank)
        torch.manual_seed(0)
        method = Draws()
        out: tuple[Tensor, Tensor] = method(*method.own_views(torch.arange(12.0).reshape(6, 2)))
        return out

    whole, (first, one), (second, other) = draws(1, 0)[0], draws(2, 0), draws(2, 1)
    assert torch.equal(torch.cat([first, second]), whole) and len(first) == len(second) == 3
    assert not torch.equal(one, other)


def test_one_device_by_name_is_not_several(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "pick_device", torch.device)
    for device in ("mps", "cuda:1"):
        with pytest.raises(DeviceError, match=rf"{device} is one device, and 2 on 3 node"):
            pretrain(SKEATTNCLR, data, tmp_path / "run", device=device, devices=2, nodes=3)
    with pytest.raises(DeviceError, match="64 devices were asked for, this machine has"):
        pretrain(SKEATTNCLR, data, tmp_path / "run", device="cuda", devices=64)
    assert not (tmp_path / "run/recipe.json").exists()


@pytest.mark.parametrize(
    ("slurm", "devices", "nodes"),
    [
        ({"NTASKS": "1"}, 2, 1),  # a job without srun
        ({"NTASKS": "2"}, 1, 1),
        ({"NTASKS": "2"}, 2, 1),  # Lightning asks for the tasks on each node
        ({"NTASKS": "2", "NTASKS_PER_NODE": "1", "NNODES": "2"}, 2, 1),
    ],
)
def test_tasks_of_slurm_are_as_many_as_devices(
    slurm: dict[str, str], devices: int, nodes: int, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in slurm.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    with pytest.raises(DeviceError, match=rf"SLURM_NTASKS={slurm['NTASKS']}.*srun --nodes {nodes} --ntasks-per-node {devices} skelzoo"):
        pretrain(SKEATTNCLR, data, tmp_path / "run", device="cpu", devices=devices, nodes=nodes)
    assert not (tmp_path / "run/recipe.json").exists()


def test_every_task_of_an_interactive_job_is_a_run_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"NTASKS": "2", "NTASKS_PER_NODE": "2", "PROCID": "1"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    assert not processes.is_first(1, 2)
    monkeypatch.setenv("SLURM_JOB_NAME", "bash")
    assert processes.is_first(1, 2)


@pytest.mark.parametrize(
    ("environment", "nodes", "first"),
    [
        ({"NODE_RANK": "1"}, 1, True),
        ({"RANK": "1", "WORLD_SIZE": "2"}, 1, True),  # a pod's, which nothing here started
        ({"NODE_RANK": "1"}, 2, False),
        ({"NODE_RANK": "1", "LT_CLI_USED": "1"}, 1, False),
        ({"TORCHELASTIC_RUN_ID": "a", "RANK": "0", "SLURM_NTASKS": "2", "SLURM_PROCID": "1"}, 1, True),
        ({"TORCHELASTIC_RUN_ID": "a", "RANK": "1", "SLURM_NTASKS": "2", "SLURM_PROCID": "0"}, 1, False),
    ],
)
def test_the_first_process_is_told_before_it_starts(environment: dict[str, str], nodes: int, first: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert processes.is_first(1, nodes) is first


@pytest.mark.parametrize(("several", "told"), [(True, TrainingError), (False, RuntimeError)])
def test_what_a_lost_process_leaves_is_said(several: bool, told: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "count", lambda: 1 + several)
    with pytest.raises(told, match="another process of this run ended" if several else "Connection"), processes.told_of_loss():
        raise RuntimeError("[pair.cc:537] Read error: Connection reset by peer")


def test_fabric_run_has_no_precision_of_its_own(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LT_CLI_USED", "1")
    monkeypatch.setenv("LT_PRECISION", "bf16-mixed")
    with pytest.raises(DeviceError, match=r"\(cpu, 32-true\).*Leave --precision and --strategy out of fabric run"):
        pretrain(SKEATTNCLR, data, tmp_path / "run", device="cpu")


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """torch.compile with a backend that runs the captured graph as it is, and one entry per run of it: which graph it was."""
    entered: list[int] = []
    known: list[object] = []

    def record(graph: torch.fx.GraphModule, inputs: Sequence[Tensor]) -> Callable[..., Any]:
        known.append(graph)
        number = len(known)

        def run(*arguments: Any) -> Any:
            entered.append(number)
            return graph(*arguments)

        return run

    torch.compiler.reset()
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=record))
    return entered


@pytest.mark.slow
def test_compiled_training_is_one_graph_with_the_losses_of_eager(one: Path, data: Path, tmp_path: Path, graphs: list[int]) -> None:
    pretrain(RECIPES["psp"], data, tmp_path / "run", device="cpu", compile=True)
    assert graphs == [1] * STEPS
    np.testing.assert_allclose(column(tmp_path / "run", "loss"), column(one / "psp", "loss"), rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["skeattnclr", "psp"])
def test_training_compiled_by_inductor_has_the_losses_of_eager(one: Path, data: Path, tmp_path: Path, name: str) -> None:
    pretrain(RECIPES[name], data, tmp_path / "run", device="cpu", compile=True)
    np.testing.assert_allclose(column(tmp_path / "run", "loss"), column(one / name, "loss"), rtol=1e-4)


@pytest.mark.parametrize("name", {(r.method, r.contract.layout): r.name for r in map(load_recipe, shipped_recipes())}.values())
def test_everything_is_on_the_device_of_the_run(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = load_recipe(name)
    method: Any = build_method(build_net(ModelConfig(recipe.arch, recipe.options, recipe.contract)), recipe).to("meta")
    clips = torch.randn(8, *stored(recipe).shape, device="meta")
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())  # which the meta device has none of
    stages = (False, True) if recipe.method != "skeletonmae" or recipe.method_options.get("temporal_share") else (False,)
    for stage in stages:
        # What is read as a number cannot be on the meta device.
        for buffer, value in (("temporal", torch.tensor(stage or recipe.method_options.get("temporal_share") == 1)), ("pointer", torch.tensor(0))):
            if hasattr(method, buffer):
                setattr(method, buffer, value)
        with one_device():
            losses = method.losses(*method.views(clips))
            losses.total.backward()
            method.after_step(losses, 0, 10)
        assert losses.total.device.type == "meta"
