"""The one training loop: Lightning Fabric, checkpoints that resume exactly, a CSV log, kNN readings."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from skelzoo.errors import MissingDependencyError, TrainingError
from skelzoo.inference.encoder import Encoder
from skelzoo.inference.runner import pick_device
from skelzoo.learn import probe
from skelzoo.learn.head import fit_head
from skelzoo.learn.pretrain.data import pretraining_array
from skelzoo.learn.pretrain.methods import build_method
from skelzoo.learn.pretrain.recipe import Recipe, load_recipe
from skelzoo.learn.training import computes_bf16, warmup_cosine
from skelzoo.nets.archs import build
from skelzoo.skeleton.layouts import get_layout
from skelzoo.skeleton.writing import whole_file
from skelzoo.weights.manifest import ModelConfig

LOG, CHECKPOINT, RECIPE, HEAD, RESULT = "log.csv", "checkpoint.pt", "recipe.json", "head.json", "weights"


def pretrain(recipe: str | Recipe, data: str | Path, out: str | Path, device: str = "auto", stop_after: int | None = None) -> Path:
    """Pretrain an encoder; called again with the same ``out`` it goes on where it was stopped.

    Every step seeds torch with (seed, step), so that a resumed run draws the same batches, augmentations and
    dropout as one that was never stopped.

    Args:
        recipe: name, JSON path or Recipe.
        data: folder with the recipe's corpus files.
        out: folder for ``recipe.json``, ``log.csv``, ``checkpoint.pt`` and, at the end, ``weights/``
            (and ``head.json``, how its head does on held-out clips).
        stop_after: stop (with a checkpoint) once this many steps are done in all.

    Returns:
        The weights folder, for ``skelzoo.load("local:...")``. ``out`` itself when
        stopped before the end.

    Raises:
        TrainingError: data missing, the loss is not finite, or ``out`` holds a run of another recipe.
        MissingDependencyError: the ``train`` extra is not installed.
    """
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    folder = Path(out)
    _check_claim(folder, recipe)
    run = Run(recipe, folder, data, device)
    _write(folder / RECIPE, _recipe_text(recipe))
    last = recipe.steps if stop_after is None else min(recipe.steps, stop_after)
    run.train(last)
    return folder if last < recipe.steps else _finish(run.encoder(), recipe, folder, data)


def _finish(encoder: Encoder, recipe: Recipe, folder: Path, data: str | Path) -> Path:
    """Fit the recipe's head, if it has one, and save the weights; the head's held-out result goes to ``head.json``."""
    if recipe.head is not None:
        encoder, result = fit_head(encoder, recipe.head, recipe.data, data)
        _write(folder / HEAD, json.dumps(dataclasses.asdict(result), indent=2) + "\n")
    return encoder.save(folder / RESULT)


def _write(path: Path, text: str) -> None:
    with whole_file(path) as file:
        file.write(text.encode())


def _recipe_text(recipe: Recipe) -> str:
    return json.dumps(recipe.to_dict(), indent=2) + "\n"


def _check_claim(folder: Path, recipe: Recipe) -> None:
    path = folder / RECIPE
    if path.is_file() and path.read_text(encoding="utf-8") != _recipe_text(recipe):
        raise TrainingError(f"{folder} holds a run of another recipe (see {path}). Choose another folder with --out, or remove it.")


def _precision(name: str, device: torch.device) -> Any:
    if name != "auto":
        return name
    return "bf16-mixed" if computes_bf16(device) else "32-true"


class Run:
    """One pretraining run: its state, step by step.

    Attributes:
        step: steps done so far.
    """

    def __init__(self, recipe: Recipe, folder: Path, data: str | Path, device: str) -> None:
        try:
            from lightning_fabric import Fabric
        except ImportError as error:
            raise MissingDependencyError("lightning-fabric", "train", "pretraining") from error
        self.recipe, self.folder, self.step = recipe, folder, 0
        chosen = pick_device(device)
        self.fabric = Fabric(
            accelerator=chosen.type, devices=1 if chosen.type == "cpu" else [chosen.index or 0], precision=_precision(recipe.precision, chosen)
        )
        torch.manual_seed(recipe.seed)
        layout = get_layout(recipe.contract.layout)
        self.net = build(recipe.arch, layout, recipe.contract.input_channels, 0, recipe.options)
        method = build_method(self.net, recipe)
        trainable = [p for p in method.parameters() if p.requires_grad]
        o = recipe.optimiser
        optimiser = torch.optim.AdamW(trainable, lr=o.learning_rate, weight_decay=o.weight_decay)
        self.method, self.optimiser = self.fabric.setup(method, optimiser)
        self.clips = torch.from_numpy(self._data(data)).to(self.fabric.device)
        self.readings = self._monitor(data)
        if (folder / CHECKPOINT).is_file():
            self._resume()
        self._trim_log()

    def _data(self, folder: str | Path) -> Any:
        stored = [{**s, "frames": self.recipe.stored_frames} if s["step"] == "resample" else s for s in self.recipe.contract.steps]
        return pretraining_array(
            folder, self.recipe.data, self.recipe.contract.replace(steps=tuple(stored), frames=self.recipe.stored_frames, streams=("joint",))
        )

    def _monitor(self, data: str | Path) -> probe.Split | None:
        return None if self.recipe.monitor is None else probe.validation_split(self.recipe.monitor, data, self.recipe.contract)

    def encoder(self) -> Encoder:
        """The encoder as it is now, without a head."""
        self.method.module.sync()
        config = ModelConfig(self.recipe.arch, self.recipe.options, self.recipe.contract)
        return Encoder(self.net, config, self.recipe.name, self.fabric.device)

    def train(self, last: int) -> None:
        """Go on until ``last`` steps are done; the last of them is always in the checkpoint."""
        r = self.recipe
        self.method.train()
        with tqdm(total=r.steps, initial=self.step, unit="step", desc=r.name) as bar:
            while self.step < last:
                row = self._one_step()
                self.step += 1
                if r.monitor is not None and (self.step % r.monitor_every == 0 or self.step == r.steps):
                    row["knn"] = self._reading()
                self._log(row)
                bar.update()
                bar.set_postfix(loss=f"{row['loss']:.3f}")
                if self.step % r.checkpoint_every == 0 or self.step == last:
                    self._save()

    def _one_step(self) -> dict[str, float]:
        r, o = self.recipe, self.recipe.optimiser
        progress = self.step / r.steps
        for group in self.optimiser.param_groups:
            group["lr"] = o.learning_rate * warmup_cosine(self.step, r.steps, o.warmup)
        batch = self.clips[self._indices()]
        torch.manual_seed(r.seed * 1_000_003 + self.step)
        losses = self.method(batch)
        if not torch.isfinite(losses.total):
            raise TrainingError(
                f"{r.name}: the loss is {losses.total.item()} at step {self.step}. Lower optimiser.learning_rate; {self.folder / CHECKPOINT} is from before."
            )
        self.optimiser.zero_grad()
        self.fabric.backward(losses.total)
        self.fabric.clip_gradients(self.method, self.optimiser, max_norm=o.clip_norm)
        self.optimiser.step()
        self.method.module.after_step(losses, progress)
        parts = {f"loss_{n}": float(getattr(losses, n).detach()) for n in self.method.module.loss_names}
        return {"loss": float(losses.total.detach()), **parts}

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
        scratch = self.folder / f".{CHECKPOINT}.tmp"
        self.fabric.save(scratch, {"method": self.method, "optimiser": self.optimiser, "step": self.step})
        os.replace(scratch, self.folder / CHECKPOINT)

    def _resume(self) -> None:
        rest = self.fabric.load(self.folder / CHECKPOINT, {"method": self.method, "optimiser": self.optimiser})
        self.step = int(rest["step"])

    def _trim_log(self) -> None:
        """Drop steps that a killed run logged after its last checkpoint; they are run again."""
        path = self.folder / LOG
        if not path.exists():
            return
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [x for i, x in enumerate(lines) if i == 0 or (x.endswith("\n") and int(x.split(",")[0]) <= self.step)]
        _write(path, "".join(kept))
