"""safetensors and config.json <-> net. Strict: every tensor must be there, known and of the right shape."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from skelzoo.errors import CheckpointError, UnknownArchError
from skelzoo.nets.archs import ARCHS, build
from skelzoo.nets.net import SETTINGS, Net, layers_of
from skelzoo.skeleton.layouts import get_layout
from skelzoo.weights.files import CARD, CONFIG, GET_AGAIN, GOLDEN, MODEL, FileInfo, dump_json, new_folder, write_checksums
from skelzoo.weights.manifest import ModelConfig, manifest
from skelzoo.weights.sources import Located

MAX_HEADER = 16 << 20
"""Bytes; a longer list of tensors is refused before it is parsed."""

UNREADABLE = (
    OSError, RuntimeError, ValueError, EOFError, LookupError, AttributeError, TypeError, AssertionError, ArithmeticError, MemoryError,
    struct.error, UnpicklingError, SafetensorError,
)  # fmt: skip
"""What the readers raise on files that are damaged or something else."""

MAX_NUMBER = 1 << 13
"""Largest whole number and longest list among the options of a net: a config must not keep a machine busy."""

LEARNED = "learned_from"
"""The one entry of a safetensors file's metadata, as more are written in any order: JSON of what ``Encoder`` calls fine_tuned_on and pretrained_on."""

Pretrained = tuple[Mapping[str, Any], ...]
"""Of each pretraining ``name`` and ``data`` of its recipe; of a model that ships its name alone."""

COMPILED = "_orig_mod."
"""What ``torch.compile`` puts before the names of a module's tensors."""


def parse_tensors(data: bytes, path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Args:
        path: named in messages.

    Raises:
        CheckpointError: not safetensors, or a header longer than ``MAX_HEADER``.
    """
    header = int.from_bytes(data[:8], "little")
    if len(data) < 8 or header > min(MAX_HEADER, len(data) - 8):
        raise CheckpointError(f"{path}: not a safetensors file (a header of {header} bytes in a file of {len(data)}). {GET_AGAIN}")
    try:
        return dict(load_tensors(data))
    except SafetensorError as error:
        raise CheckpointError(f"{path}: not a safetensors file ({error}). {GET_AGAIN}") from error


def learned_from(data: bytes, located: Located) -> tuple[frozenset[str], Pretrained]:
    """What a safetensors file, which ``parse_tensors`` took, notes of the clips that its weights were fine-tuned and pretrained on.

    Weights that ship have no note, and are known by their sha256, wherever they lie.
    """
    header = data[8 : 8 + int.from_bytes(data[:8], "little")]
    metadata = json.loads(header).get("__metadata__") if LEARNED.encode() in header else None
    try:
        row = json.loads((metadata or {}).get(LEARNED, "{}"))
    except (ValueError, RecursionError):  # of strangers
        row = {}
    noted = row if isinstance(row, dict) else {}
    tuned, before = (value if isinstance(value, list) else [] for value in (noted.get("fine_tuned_on"), noted.get("pretrained_on")))
    ships = [{"name": name} for name, entry in manifest().models.items() if entry.weights and located.files[MODEL] == entry.weights.files.get(MODEL)]
    hashes = frozenset(short for short in tuned if isinstance(short, str) and re.fullmatch("[0-9a-f]{16}", short))
    return hashes, tuple(item for item in before if isinstance(item, dict) and isinstance(item.get("name"), str)) or tuple(ships)


@torch.inference_mode(False)
def build_net(config: ModelConfig) -> Net:
    """A net with random weights, in float32 on the CPU.

    Raises:
        CheckpointError: the arch is unknown or does not take the options, or clips of the contract do not fit the net.
    """
    if any(n > MAX_NUMBER for n in _numbers(config.options)):
        raise CheckpointError(
            f"{config.arch}: an option is a number, or a list of a length, above {MAX_NUMBER}, which no net of skelzoo has. Correct the config."
        )
    c = config.contract
    net = build(config.arch, get_layout(c.layout), c.input_channels, config.num_classes, config.options)
    sizes = {**ARCHS[config.arch].options, **config.options}
    if sizes.get("num_frames", c.frames) != c.frames or sizes.get("num_persons", c.persons) != c.persons:
        raise CheckpointError(
            f"{config.arch}: the contract gives {c.frames} frames and {c.persons} persons, the options "
            + ", ".join(f"{n}={sizes[n]}" for n in ("num_frames", "num_persons") if n in sizes) + ". Make them the same."
        )  # fmt: skip
    return net


def _numbers(value: Any) -> Iterator[int]:
    """Whole numbers and lengths of lists in JSON."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        yield len(value)
        for item in value:
            yield from _numbers(item)
    elif type(value) is int:
        yield abs(value)


class Shapes(TorchFunctionMode):
    """Nets built in it have parameters without memory, so that none is taken for a config that is not that of the weights.

    torch.device("meta") would do, but imports a compiler, which takes seconds.
    """

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        if func is torch.empty:  # what parameters begin as
            return func(*args, **{**(kwargs or {}), "device": "meta"})
        filling = func.__name__.endswith("_") and not func.__name__.endswith("__")
        if filling and args and isinstance(args[0], Tensor) and args[0].is_meta:
            return args[0]
        return func(*args, **(kwargs or {}))


@torch.inference_mode(False)
def read_net(located: Located, config: bytes, model: bytes, num_classes: int | None = None) -> tuple[ModelConfig, Net]:
    """A model's config and net, from the bytes of its files, which were checked.

    Args:
        num_classes: give it a new random head of this size.

    Raises:
        CheckpointError: not a config, not safetensors, or they do not fit each other.
        UnknownArchError: the config names an arch that there is not.
    """
    stored = located.config(config)
    wanted = stored if num_classes is None else replace(stored, num_classes=num_classes, labels=None)
    if wanted.arch not in ARCHS:
        raise UnknownArchError(
            f"{located.folder / CONFIG}: was saved with a net, {wanted.arch!r}, that this skelzoo does not have. Import the package that adds it first, or update skelzoo."
        )
    path, tensors = located.folder / MODEL, parse_tensors(model, located.folder / MODEL)
    with Shapes():
        shapes = build_net(wanted).state_dict()
    head = {k for k in shapes.keys() | tensors.keys() if num_classes is not None and k.startswith(ARCHS[wanted.arch].head)}
    kept = {k: v for k, v in tensors.items() if k not in head}
    problems = _differences({k: v for k, v in shapes.items() if k not in head}, kept)
    if problems:
        raise CheckpointError(f"{path}: does not fit the net of its config: {problems}. The weights are of another model or version; nothing was loaded.")
    net = build_net(wanted)
    net.load_state_dict({**{k: v for k, v in net.state_dict().items() if k in head}, **kept})
    return wanted, net


def check_fit(net: Any, config: Any) -> None:
    """Raise CheckpointError unless a net is one, and reads such clips as the config has them prepared."""
    if not (hasattr(net, "forward_features") and hasattr(net, "embedding_dim")):
        raise CheckpointError(
            f"net is of type {type(net).__name__}, which has no forward_features or no embedding_dim. "
            "Give what skelzoo.create makes, or a net of your own that is a subclass of skelzoo.nets.net.Net and sets embedding_dim."
        )
    if not isinstance(config, ModelConfig):
        raise CheckpointError(
            f"config is of type {type(config).__name__}. Give skelzoo.weights.manifest.ModelConfig(arch, options, contract), with those that the net was made with."
        )
    c, reads = config.contract, getattr(net, "reads", None)
    given = c.input_channels, c.shape[2]
    if reads not in (None, given):
        raise CheckpointError(
            f"{config.arch}: the net reads {reads[0]} channels of {reads[1]} joints, its config gives it {given[0]} of {given[1]} ({c.layout}; {', '.join(c.streams)}). "
            "Give it the config that it was made with, or make it with skelzoo.create(arch, layout=contract.layout, in_channels=contract.input_channels)."
        )
    most = min((part.num_persons for part in net.modules() if isinstance(getattr(part, "num_persons", None), int)), default=c.persons)
    together = any(getattr(part, "persons_together", False) for part in net.modules())
    if c.persons > most or (together and c.persons < most):
        raise CheckpointError(
            f"{config.arch}: the net was built for {most} persons, its contract gives it {c.persons}. Set the contract's persons to {most}, or make the net with num_persons={c.persons}."
        )


def tensors_of(net: nn.Module) -> dict[str, Tensor]:
    """The tensors of a net under the names that they have where no part of it runs through ``torch.compile``."""
    return {name.replace(COMPILED, ""): tensor for name, tensor in net.state_dict().items()}


def check_net(net: nn.Module, config: ModelConfig, name: str, head: bool = True) -> Net:
    """Check that a net's tensors and layers are those of its config, so that it can be made again from both.

    Args:
        name: of the encoder, for the message.
        head: with False any head will do, as for one that is to be replaced.

    Returns:
        The net made again, on the CPU and in the net's type; with ``head=False`` without a head.

    Raises:
        CheckpointError: they are not; the message says which differ.
    """
    with torch.random.fork_rng([]):
        again = build_net(config if head else replace(config, num_classes=0, labels=None)).to(next(net.parameters()).dtype)
    left_out = () if head else (ARCHS[config.arch].head,)
    tensors = {key: tensor for key, tensor in tensors_of(net).items() if not key.startswith(left_out)}
    problems = _differences(again.state_dict(), tensors) or _other_layers(again, net, left_out)
    if problems:
        raise CheckpointError(
            f"{name}: its net is no longer that of its config ({config.arch}, {config.num_classes} classes), so it could not be made again: {problems}. "
            "Give it the layers it was made with: skelzoo.load(NAME, num_classes=N) makes a head of another size, torch.nn.utils.parametrize.remove_parametrizations "
            "and the merging of adapters bring weights back under their own names. Nothing was written."
        )
    again.load_state_dict(tensors)
    return again.eval()


def _other_layers(expected: nn.Module, found: nn.Module, left_out: tuple[str, ...]) -> str:
    """Which layers differ between nets of equal tensors; "" for none."""
    # What torch.compile puts around a module is named before that module.
    named = ({f"{name}.".replace(COMPILED, ""): layer for name, layer in layers_of(net).items()} for net in (expected, found))
    layers, others = ({name.rstrip("."): layer for name, layer in each.items() if not name.startswith(left_out)} for each in named)
    problems = [f"missing layer {name}" for name in layers if name not in others] + [f"unexpected layer {name}" for name in others if name not in layers]
    for name in layers.keys() & others.keys():
        values = zip(("class", *SETTINGS), layers[name], others[name], strict=False)
        problems += [f"{name or 'the net'} has {what} {_name(b)}, the net needs {_name(a)}" for what, a, b in values if a != b][:1]
    return _listed(sorted(problems))


def _name(value: Any) -> str:
    return getattr(value, "__name__", None) or str(value)


def _listed(problems: Sequence[str]) -> str:
    return "; ".join(problems[:8]) + (f"; and {len(problems) - 8} more" if len(problems) > 8 else "")


def _differences(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str:
    """What differs between a net's tensors and those that were found; "" for nothing."""
    problems = [f"missing {k}" for k in expected if k not in found] + [f"unexpected {k}" for k in found if k not in expected]
    problems += [
        f"{k} has shape {tuple(found[k].shape)}, the net needs {tuple(v.shape)}" for k, v in expected.items() if k in found and found[k].shape != v.shape
    ]
    problems += [f"{k} has type {found[k].dtype}, the net needs {v.dtype}" for k, v in expected.items() if k in found and found[k].dtype != v.dtype]
    return _listed(problems)


def save_folder(
    target: Path, net: nn.Module, config: ModelConfig, golden: Mapping[str, Tensor], card: str, learned: Collection[str] = (), pretrained: Pretrained = ()
) -> dict[str, FileInfo]:
    """Write a complete weights folder: model, config, golden, card and their checksums.

    Args:
        learned, pretrained: what ``learned_from`` is to give.

    Returns:
        Size and sha256 of each file.

    Raises:
        CheckpointError: the target is something else.
        WriteError: it cannot be written.
    """
    with new_folder(target) as folder:
        row = {key: value for key, value in (("fine_tuned_on", sorted(learned)), ("pretrained_on", pretrained)) if value}
        noted = {LEARNED: json.dumps(row)} if row else None
        for name, tensors, metadata in ((MODEL, tensors_of(net), noted), (GOLDEN, golden, None)):
            try:
                save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, folder / name, metadata)
            except SafetensorError as error:  # a full disk
                raise OSError(str(error)) from error
            (folder / name).chmod(0o644)  # safetensors writes files only their owner can read
        (folder / CONFIG).write_text(dump_json(config.to_dict()), encoding="utf-8")
        (folder / CARD).write_text(card, encoding="utf-8")
        return write_checksums(folder)
