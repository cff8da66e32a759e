"""The one training loop: Lightning Fabric, checkpoints that resume exactly, a CSV log, kNN readings."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.profiler import record_function
from tqdm import tqdm

from skelzoo import __version__
from skelzoo.errors import TrainingError
from skelzoo.inference.encoder import Encoder
from skelzoo.inference.golden import golden_clip, prepare_golden
from skelzoo.inference.precision import without_autocast
from skelzoo.inference.runner import told_of_compiler
from skelzoo.learn import probe, processes
from skelzoo.learn.head import check_head, fit_head
from skelzoo.learn.held_out import check_files, file_hashes
from skelzoo.learn.pretrain.batches import Batches
from skelzoo.learn.pretrain.methods import build_method, stored
from skelzoo.learn.pretrain.start import Learned, begin_with, not_noted, noted_by_start, with_run, without_head
from skelzoo.learn.pretrain.windows import pretraining_array
from skelzoo.learn.recipe import Recipe, RecipeSource, is_there, load_recipe
from skelzoo.learn.training import begin_at, check_sums, seeded
from skelzoo.skeleton.clip import FloatArray
from skelzoo.skeleton.writing import alone, whole_file
from skelzoo.weights.checkpoint import UNREADABLE, build_net
from skelzoo.weights.manifest import ModelConfig

LOG, CHECKPOINT, RECIPE, HEAD, RESULT, LOCK = "log.csv", "checkpoint.pt", "recipe.json", "head.json", "weights", ".lock"


@torch.inference_mode(False)
@torch.random.fork_rng([])
def pretrain(
    recipe: RecipeSource | Recipe,
    data: str | Path,
    out: str | Path,
    device: str = "auto",
    stop_after: int | None = None,
    devices: int = 1,
    nodes: int = 1,
    compile: bool = False,
) -> Path:
    """Pretrain an encoder; called again with the same ``out`` it goes on where it was stopped.

    Every step seeds torch with (seed, step), so that a resumed run draws the same batches, augmentations and
    dropout as one that was never stopped. The caller's random numbers go on as if nothing had been drawn.

    Args:
        recipe: a Recipe, or what ``skelzoo.learn.recipe.load_recipe`` takes: a name, a JSON path or a dict.
        data: folder with the recipe's corpus files.
        out: folder for ``recipe.json``, ``log.csv``, ``checkpoint.pt``, the prepared ``windows-*.npy`` and, at the end, ``weights/``
            (and ``head.json``, how its head does on held-out clips).
        device: ``auto`` (a GPU where there is one), ``cpu``, ``cuda``.
        stop_after: stop (with a checkpoint) once this many steps are done in all.
        devices: of each node to train on; the program is started again once per device of this node. Started by ``fabric run``
            or ``torchrun``, it has the processes that they made instead. Every process calls this function, and must see the
            same ``data`` and ``out``.
        nodes: machines, each with as many devices.
        compile: run the net and its losses through ``torch.compile``.

    Returns:
        The weights folder, for ``skelzoo.load("local:...")``; ``out`` itself when stopped before the end.

    Raises:
        ContractError: the contract's steps leave another number of frames or persons than it says.
        TrainingError: data missing, fewer windows than a batch, a head that cannot be fitted, the loss is not finite, a batch that does not split over the devices, processes of unlike recipe, data or ``out``,
            ``checkpoint.pt`` is damaged, ``start`` is another net or prepared in another way, or ``out`` holds a run of another recipe or on other data.
        WriteError: ``out`` cannot be written, or another process trains there.
        DeviceError: devices that are not on this machine, or no compiler for ``compile``.
        MissingDependencyError: the ``train`` extra is not installed.
    """
    recipe, folder = _placed(recipe), Path(out)
    check_files(data, recipe.data.files)  # before anything is written
    with alone(folder / LOCK, folder, wait=0) if processes.is_first(devices, nodes) else nullcontext(), processes.told_of_loss():
        _check_claim(folder, recipe)
        if (folder / RESULT).is_dir() and not (folder / CHECKPOINT).is_file():  # finished, and tidied up
            return folder / RESULT
        if recipe.head is not None and not (folder / RESULT).is_dir():
            check_head(ModelConfig(recipe.arch, recipe.options, recipe.contract), recipe.head, recipe.data, data)
        run = Run(recipe, folder, data, device, devices, nodes, compile)
        if run.fabric.is_global_zero:
            _write(folder / RECIPE, _recipe_text(recipe))
        finished = run.step == recipe.steps and (folder / RESULT).is_dir()
        last = recipe.steps if stop_after is None else min(recipe.steps, stop_after)
        with without_autocast(run.fabric.device), seeded(recipe.seed, run.fabric.device), told_of_compiler():
            run.train(last)
        if last < recipe.steps:
            return folder
        with run.fabric.rank_zero_first():  # a barrier without a time limit, which a head may take longer than
            if run.fabric.is_global_zero and not finished:
                _finish(run.encoder(), recipe, folder, data, with_run(run.begun, recipe))
        return folder / RESULT


def _finish(encoder: Encoder, recipe: Recipe, folder: Path, data: str | Path, learned: Learned) -> None:
    """Fit the recipe's head, if it has one, and save the weights with what they learned from; the head's held-out result goes to ``head.json``."""
    if recipe.head is not None:
        encoder, result = fit_head(encoder, recipe.head, recipe.data, data)
        _write(folder / HEAD, json.dumps(dataclasses.asdict(result), indent=2) + "\n")
    encoder.fine_tuned_on, encoder.pretrained_on = learned
    encoder.save(folder / RESULT)


@torch.random.fork_rng([])
def refit(recipe: RecipeSource | Recipe, data: str | Path, out: str | Path, device: str = "auto") -> Path:
    """Fit the head of a finished run anew, and save its weights with it.

    Args:
        recipe: as the run's, but for ``head`` and the ``embed_`` options, which no weight depends on.
        data, out, device: as ``pretrain`` takes them.

    Returns:
        The weights folder.

    Raises:
        TrainingError: ``out`` holds no finished run of such a recipe.
        WriteError: it cannot be written, or another process trains there.
        MissingDependencyError: the ``train`` extra is not installed.
    """
    recipe, folder = _placed(recipe), Path(out)
    if not (folder / RESULT).is_dir():
        raise TrainingError(f"{folder} holds no finished run. Finish it with the same command without --refit.")
    if _body(_placed(str(folder / RECIPE))) != _body(recipe):
        raise TrainingError(f"{folder / RECIPE} differs from {recipe.name} in more than head and embed_ options. Train that in another folder.")
    with alone(folder / LOCK, folder, wait=0):
        trained = Encoder.from_pretrained(f"local:{folder / RESULT}", device=device)
        config = ModelConfig(recipe.arch, recipe.options, recipe.contract)
        net = build_net(config)
        net.load_state_dict(without_head(trained.net))
        learned = trained.fine_tuned_on, trained.pretrained_on or with_run((frozenset(), not_noted(recipe)), recipe)[1]
        _finish(Encoder(net, config, recipe.name, trained.device), recipe, folder, data, learned)
        _write(folder / RECIPE, _recipe_text(recipe))
    return folder / RESULT


def _placed(recipe: RecipeSource | Recipe) -> Recipe:
    """The recipe, with the place of what it starts with as it is seen from everywhere."""
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    if recipe.start is None or not recipe.start.startswith("local:"):
        return recipe
    return dataclasses.replace(recipe, start=f"local:{Path(recipe.start.removeprefix('local:')).resolve()}")


def _body(recipe: Recipe) -> dict[str, Any]:
    """What of a recipe decides the weights of the net without its head."""
    options = {name: value for name, value in recipe.options.items() if not name.startswith("embed_")}
    return dataclasses.replace(recipe, head=None, options=options).to_dict()


def _write(path: Path, text: str) -> None:
    with whole_file(path) as file:
        file.write(text.encode())


def _recipe_text(recipe: Recipe) -> str:
    return json.dumps(recipe.to_dict(), indent=2) + "\n"


def _check_claim(folder: Path, recipe: Recipe) -> None:
    path = folder / RECIPE
    if (folder / RESULT).is_dir() and not path.is_file():
        raise TrainingError(f"{folder / RESULT} is there, but not the {RECIPE} of the run that made it. Choose another folder with --out, or remove this one.")
    shown = Recipe.to_dict if (folder / RESULT).is_dir() else _body  # before the end, a head that cannot be fitted may be corrected
    if path.is_file() and json.dumps(shown(_placed(str(path)))) != json.dumps(shown(recipe)):
        raise TrainingError(f"{folder} holds a run of another recipe (see {path}). Choose another folder with --out, or remove this one.")


class Run:
    """One pretraining run: its state, step by step.

    Attributes:
        step: steps done so far.
    """

    def __init__(self, recipe: Recipe, folder: Path, data: str | Path, device: str, devices: int = 1, nodes: int = 1, compile: bool = False) -> None:
        self.recipe, self.folder, self.step = recipe, folder, 0
        self.config = ModelConfig(recipe.arch, recipe.options, recipe.contract)
        prepare_golden(golden_clip(recipe.contract), recipe.contract)  # else only what is saved at the end tells that its steps do not give its shape
        torch.default_generator.manual_seed(recipe.seed)
        self.net = build_net(self.config)
        self.begun: Learned = frozenset(), not_noted(recipe)
        if recipe.start is not None and not (folder / CHECKPOINT).is_file():
            self.begun = begin_with(self.net, recipe)
        method = build_method(self.net, recipe).float()
        self.fabric = processes.start(device, devices, nodes, recipe.precision, method.idle_parameters)
        self.files = file_hashes(data, recipe.data.files)
        told = {f"{name} in the recipe": json.dumps(value) for name, value in recipe.to_dict().items()}
        processes.check_alike(folder, **told, **self.files, **{"version of skelzoo": __version__})
        if processes.count() > 1:
            if recipe.batch_size % processes.count():
                raise TrainingError(f"{recipe.name}: batch_size {recipe.batch_size} is not a multiple of the {processes.count()} devices.")
            processes.synchronise_batch_norm(method, self.fabric.device)
        if compile:
            method.losses = torch.compile(method.losses)
        trainable = [p for p in method.parameters() if p.requires_grad]
        self.method, self.optimiser = self.fabric.setup(method, recipe.optimiser.of(trainable))
        self._resume()
        with self.fabric.rank_zero_first():
            self.clips = Batches(self._data(data), self.fabric.device)
        self._views(self.clips[self._indices()])  # so that what cannot be trained is said before the folder is this recipe's
        self.readings = self._monitor(data)

    def _data(self, folder: str | Path) -> FloatArray:
        return pretraining_array(folder, self.recipe.data, stored(self.recipe), cache=self.folder)

    def _monitor(self, data: str | Path) -> probe.Split | None:
        return None if self.recipe.monitor is None else probe.validation_split(self.recipe.monitor, data, self.recipe.contract)

    def encoder(self) -> Encoder:
        """The encoder as it is now, without a head."""
        self.method.module.sync()
        net = self.net
        if processes.count() > 1:  # an encoder knows nothing of other processes, so neither does its net
            net = build_net(self.config)
            net.load_state_dict(self.net.state_dict())
        return Encoder(net, self.config, self.recipe.name, self.fabric.device)

    def train(self, last: int) -> None:
        """Go on until ``last`` steps are done; the last of them is always in the checkpoint."""
        r = self.recipe
        self.method.train()
        with tqdm(total=r.steps, initial=self.step, unit="step", desc=r.name, disable=not self.fabric.is_global_zero) as bar:
            while self.step < last:
                row = self.one_step()
                if self.fabric.is_global_zero:
                    if r.monitor is not None and (self.step % r.monitor_every == 0 or self.step == r.steps):
                        row["knn"] = self._reading()
                    self._log(row)
                    if self.step % r.checkpoint_every == 0 or self.step == last:
                        self._save()
                bar.update()
                bar.set_postfix(loss=f"{row['loss']:.3f}")

    def one_step(self) -> dict[str, float]:
        """Do the next step.

        Returns:
            What the log shows of it: ``loss`` and its parts, of the whole batch.

        Raises:
            TrainingError: loss or gradient is not finite, or the augmentations leave another number of frames than the contract's.
        """
        r, o, method = self.recipe, self.recipe.optimiser, self.method.module
        for group in self.optimiser.param_groups:
            group["lr"] = o.rate(self.step, r.steps)
        with record_function("data"):
            batch = self.clips[self._indices()]
        begin_at(r.seed * 1_000_003 + self.step, self.fabric.device)
        torch.clear_autocast_cache()  # which inside a caller's autocast still holds the weights of the step before
        losses = self.method(*self._views(batch))
        with record_function("backward"):
            self.optimiser.zero_grad()
            self.fabric.backward(losses.total)
        with record_function("optimiser"):
            length = self.fabric.clip_gradients(
                self.method, self.optimiser, max_norm=math.inf if o.clip_norm is None else o.clip_norm, error_if_nonfinite=False
            )
            self.optimiser.step()
            method.after_step(losses, self.step, r.steps)
        # All at once and last, since reading a number waits for the GPU.
        shown = torch.stack([losses.total, *(getattr(losses, n) for n in method.loss_names), length]).detach()
        row = dict(zip(("loss", *(f"loss_{n}" for n in method.loss_names), "gradient"), processes.mean(shown).tolist(), strict=True))
        for name, value in (("loss", row["loss"]), ("gradient", row.pop("gradient"))):
            if not math.isfinite(value):
                kept = f"; {self.folder / CHECKPOINT} is from before" if (self.folder / CHECKPOINT).is_file() else ""
                raise TrainingError(f"{r.name}: the {name} is {value} at step {self.step}. Lower optimiser.learning_rate{kept}.")
        self.step += 1
        return row

    def _views(self, batch: Tensor) -> list[Tensor]:
        """What the method makes of a batch, clips as long as the contract says."""
        views: list[Tensor] = self.method.module.own_views(batch)
        frames = self.recipe.contract.frames
        other = [view.shape[2] for view in views if view.dim() == 5 and view.shape[2] != frames]
        if other:
            raise TrainingError(
                f"{self.recipe.name}: the augmentations leave {other[0]} frames, the contract says {frames}. Give temporal_crop these frames, or set stored_frames to that."
            )
        return views

    def _indices(self) -> Tensor:
        """Clips of this step: epochs are permutations drawn from (seed, epoch), short last batches are left out."""
        count, size = len(self.clips), self.recipe.batch_size
        per_epoch = count // size
        if per_epoch == 0:
            raise TrainingError(f"{count} training windows are fewer than one batch of {size}. Lower batch_size.")
        epoch, batch = divmod(self.step, per_epoch)
        order = np.random.default_rng((self.recipe.seed, epoch)).permutation(count)
        return torch.from_numpy(order[batch * size : (batch + 1) * size]).to(self.clips.device)

    def _reading(self) -> float:
        assert self.readings is not None
        value = probe.score(self.encoder(), self.readings, "knn")
        self.method.train()
        return value

    def _log(self, row: Mapping[str, float]) -> None:
        fields = ["step", "loss", *(f"loss_{n}" for n in self.method.module.loss_names), "learning_rate", "knn"]
        path = self.folder / LOG
        new = not path.exists()
        with path.open("a", newline="", encoding="utf-8") as f:
            writer = csv.DictWriter(f, fields, restval="", lineterminator="\n")
            if new:
                writer.writeheader()
            writer.writerow({"step": self.step, "learning_rate": self.optimiser.param_groups[0]["lr"], **row})

    def _save(self) -> None:
        with whole_file(self.folder / CHECKPOINT) as file:
            state = {"method": self.method.state_dict(), "optimiser": self.optimiser.state_dict(), "step": self.step, "files": self.files}
            state["begun"] = [list(part) for part in self.begun]  # the model that the run began with may be gone at its end
            torch.save(state, file)

    def _resume(self) -> None:
        """Go on from the checkpoint, if there is one, and clear away what a kill left of later steps."""
        path = self.folder / CHECKPOINT
        if self.fabric.broadcast(path.is_file()):
            if not path.is_file():
                raise TrainingError(f"{path} is there for the first process, but not for number {processes.rank()}. Give an --out that all nodes see.")
            rest = self._read(path)
            other = [file for file, sha256 in self.files.items() if rest.get("files", self.files).get(file) != sha256]
            if other:
                raise TrainingError(
                    f"{self.folder} holds a run on other data: {', '.join(other)} changed since. Give the data it began with, or another --out."
                )
            self.step = rest["step"]
            if "begun" in rest:
                self.begun = frozenset(rest["begun"][0]), tuple(rest["begun"][1])
            elif self.recipe.start is not None and is_there(self.recipe.start):  # begun by a version that kept nothing of it
                self.begun = noted_by_start(self.recipe)
        if self.fabric.is_global_zero:
            self._trim_log()
            for scratch in self.folder.glob(f".{CHECKPOINT}.*.part"):
                scratch.unlink()

    def _read(self, path: Path) -> dict[str, Any]:
        """Take method and optimiser from a checkpoint; the rest of it is returned."""
        try:
            check_sums(path)
            rest: dict[str, Any] = self.fabric.load(path, {"method": self.method, "optimiser": self.optimiser}, weights_only=True)
            return {**rest, "step": int(rest["step"])}
        except (MemoryError, torch.OutOfMemoryError):
            raise
        except UNREADABLE as error:
            raise TrainingError(
                f"{path} cannot be read: it is empty, damaged, or of another net. Put a copy of it back, or remove it to begin anew."
            ) from error

    def _trim_log(self) -> None:
        """Drop steps that a killed run logged after its last checkpoint; they are run again."""
        path = self.folder / LOG
        if not path.exists():
            return
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [x for i, x in enumerate(lines) if i == 0 or (x.endswith("\n") and int(x.split(",")[0]) <= self.step)]
        _write(path, "".join(kept))
