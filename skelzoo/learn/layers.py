"""The layers of a net by depth: which are frozen, and how fast each learns."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from skelzoo.errors import TrainingError

_BLOCK = re.compile(r"(?:^|\.)(?:blocks|layers|encoders)\.(\d+)\.")


def depths(net: nn.Module, head: str) -> dict[str, int]:
    """Depth of every parameter: 0 before the first block, i + 1 in block i, one more than the last block in the head.

    What comes after the last block but is not the head (a neck, a final norm) counts to the last block.

    Args:
        net: with its blocks in lists called ``blocks``, ``layers`` or ``encoders``; of nested lists the outermost counts. Without them all but the head is 0.
        head: prefix of the head's parameters, ``ARCHS[arch].head``.
    """
    names = [name for name, _ in net.named_parameters()]
    blocks = {name: match for name in names if not name.startswith(head) and (match := _BLOCK.search(name))}
    last = max((int(m[1]) + 1 for m in blocks.values()), default=0)
    owners = {m.string[: m.start()] for m in blocks.values()}  # an ensemble has several lists of blocks
    waiting, out = set(owners), {}
    for name in names:
        if name in blocks:
            waiting.discard(name[: blocks[name].start()])
            out[name] = int(blocks[name][1]) + 1
        else:
            before = waiting == owners or any(name.startswith(owner) for owner in waiting)
            out[name] = last + 1 if name.startswith(head) else 0 if before else last
    return out


def freeze(net: nn.Module, what: str | int, head: str) -> None:
    """Take layers out of training; see ``set_train`` for their BatchNorm.

    Args:
        what: ``none``, ``body`` (all but the head), or a number N: what comes before the first block and the first N blocks.
        head: see ``depths``.

    Raises:
        TrainingError: neither of these, more blocks than the net has, or a number for a net without lists of blocks.
    """
    depth = depths(net, head)
    blocks = max((d for name, d in depth.items() if not name.startswith(head)), default=0)
    numbered = isinstance(what, int) and not isinstance(what, bool)
    if numbered and not blocks:
        raise TrainingError(
            f"freeze is {what!r}, and the net has no blocks that could be counted: lists of layers called blocks, layers or encoders. Give none or body, or call them so."
        )
    if what not in ("none", "body") and not (numbered and 0 <= int(what) <= blocks):
        raise TrainingError(f"freeze is {what!r}. Give none, body, or a number of first blocks from 0 to {blocks}.")
    limit = -1 if what == "none" else blocks if what == "body" else int(what)
    for name, parameter in net.named_parameters():
        parameter.requires_grad_(depth[name] > limit)


def freeze_unused(net: nn.Module, example: Tensor) -> None:
    """Take out of training what does not act on the logits, such as blocks behind ``embed_blocks`` and pretraining heads.

    Args:
        example: prepared clips (N, C, T, V, M).
    """
    tried = copy.deepcopy(net).train()
    tried(example).sum().backward()
    for parameter, twin in zip(net.parameters(), tried.parameters(), strict=True):
        parameter.requires_grad_(twin.grad is not None)


def norms_with_statistics(net: nn.Module) -> list[nn.Module]:
    """The BatchNorm layers that were trained: those of new layers have a mean of zero everywhere."""
    norms = [module for module in net.modules() if isinstance(module, _BatchNorm)]
    return [norm for norm in norms if norm.running_mean is not None and norm.running_mean.any()]


def set_train(net: nn.Module, kept: Iterable[nn.Module] = ()) -> None:
    """Training mode, but for modules whose parameters are all frozen: their BatchNorm keeps its statistics, their dropout is off.

    Args:
        kept: BatchNorm layers that keep theirs too, though their scale and shift learn.
    """
    net.train()
    for module in net.modules():
        parameters = list(module.parameters())
        if parameters and not any(p.requires_grad for p in parameters):
            module.eval()
    for norm in kept:
        norm.eval()


def parameter_groups(net: nn.Module, learning_rate: float, layer_decay: float, weight_decay: float, head: str = "head.") -> list[dict[str, Any]]:
    """Groups for a torch optimiser, by depth: the head learns at the full rate, each block below at ``layer_decay`` times the one above.

    Only what is in training gets into a group. Biases, norms, learned graphs and position codes do not decay.

    Args:
        learning_rate: of the head.
        layer_decay: 1 for one rate everywhere.
        head: see ``depths``.

    Returns:
        Rows with ``params``, ``lr`` and ``weight_decay``, the lowest layers first.

    Raises:
        TrainingError: nothing is in training.
    """
    depth = depths(net, head)
    trained = {name: p for name, p in net.named_parameters() if p.requires_grad}
    if not trained:
        raise TrainingError("every layer of the net is frozen. Give the net a head (num_classes), or freeze fewer layers.")
    below = sorted({depth[name] for name in trained if not name.startswith(head)}, reverse=True)
    groups: dict[tuple[int, bool], dict[str, Any]] = {}
    for name, parameter in trained.items():
        decays = parameter.ndim > 1 and name.rpartition(".")[2].startswith("weight")
        steps = 0 if name.startswith(head) else below[0] + 1 - depth[name]
        row = {"params": [], "lr": learning_rate * layer_decay**steps, "weight_decay": weight_decay if decays else 0.0}
        groups.setdefault((-steps, decays), row)["params"].append(parameter)
    return [groups[key] for key in sorted(groups)]
