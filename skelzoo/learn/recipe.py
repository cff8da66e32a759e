"""Recipes: everything that decides a pretraining run, as one readable JSON file."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from skelzoo.errors import SkelzooError, TrainingError
from skelzoo.learn.benchmarks import find_benchmark
from skelzoo.learn.head_clips import HeadOptions, head_options
from skelzoo.learn.held_out import DataOptions
from skelzoo.learn.optimiser import Optimiser
from skelzoo.learn.ranges import Range, check_numbers
from skelzoo.skeleton.contract import Contract
from skelzoo.weights.files import parse_json

RecipeSource = str | os.PathLike[str] | Mapping[str, Any]
"""What ``load_recipe`` takes."""

PRECISIONS = ("auto", "32-true", "bf16-mixed")
"""What Fabric computes in; ``auto`` is bf16 where the device does, else 32 bits. A momentum encoder whose weights are kept in 16 bits stands still."""

MOST = 2**42
"""Numbers of a recipe are below this, so that seed and step together still are a seed to torch."""

COUNTS = ("stored_frames", "steps", "batch_size", "checkpoint_every", "monitor_every")

_SHIPPED = resources.files("skelzoo.learn").joinpath("recipes")


@dataclass(frozen=True)
class Recipe:
    """A pretraining run.

    Attributes:
        name: of the model that comes out.
        method: a name of ``skelzoo.learn.pretrain.methods.METHODS``.
        arch, options: the net, see ``skelzoo.create``.
        contract: of the weights that come out.
        data: corpora, windows, what is held out.
        stored_frames: frames the windows are kept at before the augmentations crop them to the contract's.
        method_options: options of the method.
        steps, batch_size, seed: length of the run.
        checkpoint_every: steps between checkpoints.
        monitor_every: steps between kNN readings on ``monitor``.
        monitor: benchmark of ``skelzoo.learn.benchmarks`` whose training part is split for the readings; None for none.
        precision: ``auto`` is bf16 where the device computes in it, else 32-bit.
        head: labels of a classification head fitted on the frozen encoder at the end; None for no head.
        native_rate: keep windows at the rate of their recording, with empty frames behind them up to ``stored_frames``, so that motion is
            that of the recording; for methods ``psp`` and ``psp-ensemble`` and contracts that compute their streams before resampling.
        start: model whose weights the net begins with, as ``skelzoo.load`` takes it, to go on with other clips; None for random ones.
    """

    name: str
    method: str
    arch: str
    options: Mapping[str, Any]
    contract: Contract
    data: DataOptions
    stored_frames: int = 96
    method_options: Mapping[str, Any] = field(default_factory=dict)
    optimiser: Optimiser = field(default_factory=Optimiser)
    steps: int = 1000
    batch_size: int = 128
    seed: int = 0
    checkpoint_every: int = 100
    monitor_every: int = 500
    monitor: str | None = None
    precision: str = "auto"
    head: HeadOptions | None = None
    start: str | None = None
    native_rate: bool = False

    def __post_init__(self) -> None:
        """Check what can be checked without data or net.

        Raises:
            TrainingError: a name that is no text, a number that is none or out of its range, an unknown precision or benchmark, a head without labels, milestones behind the last step.
        """
        if not isinstance(self.name, str) or not isinstance(self.start, (str, type(None))):
            raise TrainingError(f"name is {self.name!r} and start {self.start!r}. Give texts, or leave start out.")
        wrong = [key for key, kind in (("contract", Contract), ("data", DataOptions), ("optimiser", Optimiser)) if not isinstance(getattr(self, key), kind)]
        if wrong:
            raise TrainingError(
                f"{self.name}: {', '.join(wrong)} of a recipe cannot be dicts here. Give what to_dict gave to skelzoo.learn.recipe.load_recipe."
            )
        count = Range(1, MOST, below=True, whole=True)
        check_numbers(self, {**dict.fromkeys(COUNTS, count), "seed": dataclasses.replace(count, low=0)}, f"{self.name}: ")
        if self.optimiser.milestones and max(self.optimiser.milestones) >= self.steps:
            raise TrainingError(
                f"{self.name}: optimiser.milestones are {list(self.optimiser.milestones)}, and the run has {self.steps} steps. Give steps below that."
            )
        if self.head is not None and not set(self.head.labels) & set(self.data.files):
            raise TrainingError(f"{self.name}: the head has labels for {', '.join(self.head.labels)}, and none of these is among data.files. Name one of them.")
        if type(self.native_rate) is not bool:
            raise TrainingError(f"{self.name}: native_rate is {self.native_rate!r}. Give true or false.")
        if self.precision not in PRECISIONS or not isinstance(self.method_options, Mapping):
            raise TrainingError(f"{self.name}: precision is {self.precision!r}, one of {', '.join(PRECISIONS)}; method_options is a table of options.")
        if self.monitor is not None:
            find_benchmark(self.monitor)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, which ``load_recipe`` reads back."""
        return {**dataclasses.asdict(self), "contract": self.contract.to_dict()}


def is_there(start: str | None) -> bool:
    """Whether what a recipe starts with is there; names and addresses count as being so."""
    return start is None or not start.startswith("local:") or Path(start.removeprefix("local:")).exists()


def shipped_recipes() -> list[str]:
    """Names of the recipes that ship with skelzoo."""
    return sorted(f.name.removesuffix(".json") for f in _SHIPPED.iterdir() if f.name.endswith(".json"))


def load_recipe(recipe: RecipeSource) -> Recipe:
    """A recipe that ships with skelzoo, or of a JSON file or dict.

    Args:
        recipe: e.g. ``"skeattnclr-openskel"``, a path ending in ``.json``, or what ``Recipe.to_dict`` gives.

    Raises:
        TrainingError: unknown, or not a recipe.
    """
    given = isinstance(recipe, Mapping)
    name = "the dict" if given else str(recipe)
    source = Path(name) if name.endswith(".json") else _SHIPPED.joinpath(f"{name}.json")
    if not given and not (os.path.isfile(name) if name.endswith(".json") else name in shipped_recipes()):
        raise TrainingError(f"no recipe {name[:80]!r}. Recipes that ship: {', '.join(shipped_recipes())}; or give a path to a .json file, or its dict.")
    try:
        row = parse_json(json.dumps(recipe) if given else source.read_bytes())
        if "data" not in row and "test" in row:
            raise ValueError("has no 'data'; it looks like a benchmark for `skelzoo eval --on`")
        row.setdefault("optimiser", {})
        for what, entries, kind in (("the recipe", row, Recipe), ("data", row["data"], DataOptions), ("optimiser", row["optimiser"], Optimiser)):
            _check_keys(what, entries, kind)
        row["contract"], row["data"], row["optimiser"] = Contract.from_dict(row["contract"]), DataOptions(**row["data"]), Optimiser(**row["optimiser"])
        row["head"] = head_options(row["head"]) if row.get("head") else None
        return Recipe(**row)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, SkelzooError) as error:
        raise TrainingError(f"{name}: not a recipe ({error}). Copy a shipped one from skelzoo/learn/recipes and change it.") from error


def _check_keys(what: str, entries: Mapping[str, Any], kind: type) -> None:
    known = [f.name for f in dataclasses.fields(kind)]
    unknown = [key for key in entries if key not in known]
    if unknown:
        raise TrainingError(f"{what} has no entry {', '.join(unknown)}; known: {', '.join(known)}")
