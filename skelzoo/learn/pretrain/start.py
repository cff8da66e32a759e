"""What a run begins with: the weights of another model, and what these learned from."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from skelzoo.errors import TrainingError
from skelzoo.learn.recipe import Recipe
from skelzoo.nets.archs import ARCHS
from skelzoo.weights.checkpoint import Pretrained, learned_from, read_net
from skelzoo.weights.files import CONFIG, MODEL
from skelzoo.weights.hub import Hub
from skelzoo.weights.manifest import ModelConfig
from skelzoo.weights.sources import Located, locate_weights

Learned = tuple[frozenset[str], Pretrained]
"""What ``Encoder`` calls fine_tuned_on and pretrained_on."""


def begin_with(net: nn.Module, recipe: Recipe) -> Learned:
    """Give a net the weights of the model that the recipe starts with.

    Returns:
        What those weights note of the clips that they learned from.

    Raises:
        TrainingError: the model is another net, or prepared in another way.
    """
    located = locate_weights(str(recipe.start), Hub())
    # Not by Encoder.from_pretrained: what this draws for a net without weights moves on the run's random numbers, as it did in runs before.
    data = located.read(MODEL)
    config, start = read_net(located, located.read(CONFIG), data)
    body = without_head(start)
    shapes = ({name: t.shape for name, t in state.items()} for state in (body, without_head(net)))
    known, ours = _decides(config), _decides(ModelConfig(recipe.arch, recipe.options, recipe.contract))
    other = [name for name in ours if known.get(name) != ours[name]]
    if other or next(shapes) != next(shapes):
        which = f" ({', '.join(f'{name}: {known.get(name)!r}, here {ours[name]!r}' for name in other)})" if other else ""
        raise TrainingError(
            f"{recipe.name}: {recipe.start} is another net than arch and options of the recipe describe, or reads clips that are prepared in another way{which}. "
            "Take arch, options and contract from its config.json."
        )
    net.load_state_dict(body, strict=False)
    return _noted(recipe, located, data)


def noted_by_start(recipe: Recipe) -> Learned:
    """What the weights that the recipe starts with note of the clips that they learned from, as ``begin_with``; errors as ``locate_weights``."""
    located = locate_weights(str(recipe.start), Hub())
    return _noted(recipe, located, located.read(MODEL))


def _noted(recipe: Recipe, located: Located, data: bytes) -> Learned:
    tuned, before = learned_from(data, located)
    return tuned, before or not_noted(recipe)


def with_run(begun: Learned, recipe: Recipe) -> Learned:
    """What the weights of a run have learned from: what they began with did, and the run's clips."""
    tuned, before = begun
    return tuned, (*before, {"name": recipe.name, "data": asdict(recipe.data)})


def not_noted(recipe: Recipe) -> Pretrained:
    """The row of a start that notes nothing of its pretraining, so that what comes of it is not taken for known; () without a start."""
    if recipe.start is None:
        return ()
    # Weights go elsewhere, and are not to tell a path of this machine.
    return ({"name": f"the folder {Path(recipe.start).name}" if recipe.start.startswith("local:") else recipe.start},)


def _decides(config: ModelConfig) -> dict[str, Any]:
    """What of a model its weights have grown used to, though another would fit their shapes."""
    options, row = {**ARCHS[config.arch].options, **config.options}, config.contract.to_dict()
    free = ("embed_", "dropout", "fast", "num_frames")  # statistics of features, or the same numbers in another way
    kept = {f"options.{name}": value for name, value in options.items() if not name.startswith(free)}
    told = {"arch": config.arch, **kept, **{f"contract.{name}": row[name] for name in ("layout", "channels", "streams", "steps")}}
    return dict(json.loads(json.dumps(told)))


def without_head(net: nn.Module) -> dict[str, Tensor]:
    """The tensors of a net but for its head's."""
    return {name: value for name, value in net.state_dict().items() if not name.startswith("head.")}
