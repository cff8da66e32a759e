"""Nets rewritten for inference: equal to the trained ones up to rounding, and several times as fast."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import cache
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from skelzoo.nets.dsta import DSTA
from skelzoo.nets.ensemble import Members
from skelzoo.nets.fused_dsta import Streams, dsta_stack
from skelzoo.nets.fused_stgcn import stgcn_stack
from skelzoo.nets.fused_strl import strl_stack
from skelzoo.nets.net import Net, layer_of, layers_of
from skelzoo.nets.pooling import InputStatistics, Pooling
from skelzoo.nets.psp import PSP
from skelzoo.nets.skeattnclr import SkeAttnCLR, SkeAttnCLRDSTA, SkeAttnCLRSTGCN
from skelzoo.nets.stgcn import STGCN, STGCNClassifier
from skelzoo.nets.strl import STRL

TEMPORARY = 10 << 20
"""Bytes of the largest temporary of a micro-batch on a CPU: much more falls out of the cache, much less leaves the products too small (measured)."""

FREED = 31 << 20
"""Bytes of the block that ``fuse`` frees."""


class PersonWise(nn.Module):
    """A net whose vector is the mean over persons of one vector each.

    Only present persons are computed. An all-zero person has one vector for given weights and T; it is computed once and kept.

    Args:
        persons: (B, C, T, V) -> (B, D), one net for all persons or one for each.
        width: channels of the largest temporary, which decides how many persons a CPU computes at a time; more where many are alive at once.
        check_frames: raises ValueError for a number of frames that the net does not take.
    """

    def __init__(self, persons: Sequence[nn.Module], width: int, check_frames: Callable[[int], None] | None = None) -> None:
        super().__init__()
        self.persons, self.width, self.check_frames, self.compiled = nn.ModuleList(persons), width, check_frames, False
        self._absent: dict[tuple[int, int], Tensor] = {}

    def compile_persons(self, mode: str) -> None:
        """Run ``persons`` through ``torch.compile``, always with the same number of persons at a time."""
        self.compiled = True
        for net in self.persons:
            net.compile(mode=mode)

    def forward_features(self, x: Tensor) -> Tensor:
        """(N, C, T, V, M) -> (N, D).

        Raises:
            ValueError: more frames or persons than the net was built for.
        """
        clips, _, frames, joints, count = x.shape
        if self.check_frames:
            self.check_frames(frames)
        if 1 < len(self.persons) < count:
            raise ValueError(f"{count} persons, this net was built for at most {len(self.persons)}")
        size = clips
        if x.is_cpu:
            rows = max(1, TEMPORARY // (self.width * frames * joints * x.element_size()))
            size = min(rows, clips) if self.compiled else rows
        groups = rearrange(x, "n c t v m -> 1 (m n) c t v" if len(self.persons) == 1 else "n c t v m -> m n c t v")
        vectors = torch.cat([self._vectors(which, group, size) for which, group in enumerate(groups)])
        return rearrange(vectors, "(m n) d -> m n d", n=clips).mean(0)

    def _vectors(self, which: int, rows: Tensor, size: int) -> Tensor:
        """(B, C, T, V) -> (B, D)."""
        present = (rows != 0).flatten(1).any(1).nonzero().flatten()
        if len(present) == len(rows):
            return self._compute(which, rows, size)
        key = which, rows.shape[2]
        if key not in self._absent:
            self._absent[key] = self._compute(which, torch.zeros_like(rows[:1]), size)
        vectors = self._absent[key].repeat(len(rows), 1)
        if len(present):
            vectors[present] = self._compute(which, rows[present], size)
        return vectors

    def _compute(self, which: int, rows: Tensor, size: int) -> Tensor:
        net, count = self.persons[which], len(rows)
        if self.compiled:
            rows = torch.cat([rows, rows.new_zeros(-count % size, *rows.shape[1:])])
        # Copied, since CUDA graphs write the vectors of every call to one place.
        return torch.cat([net(part).clone() for part in rows.chunk(math.ceil(count / size))])[:count]


class SideBySide(nn.Module):
    """Several vectors of the same persons, one after the other."""

    def __init__(self, parts: Sequence[nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T, V) -> (B, D)."""
        return torch.cat([part(x) for part in self.parts], 1)


class FusedMembers(nn.Module):
    """The fused members of an ensemble, and what each of them reads of the clips."""

    def __init__(self, members: Sequence[nn.Module], parts: Callable[[Tensor, int], Sequence[Tensor]]) -> None:
        super().__init__()
        self.members, self.parts = nn.ModuleList(members), parts

    def forward_features(self, x: Tensor) -> Tensor:
        """(N, C, T, V, M) -> (N, D)."""
        parts = self.parts(x, len(self.members))
        return torch.cat([member.forward_features(part) for member, part in zip(self.members, parts, strict=True)], 1)  # type: ignore[operator]


def fuse(net: nn.Module) -> nn.Module:
    """A form of a net for inference: its ``forward_features`` is that of the net in evaluation mode, up to rounding.

    BatchNorm, edge importance and codes of positions are folded into the weights, what the vector does not depend on is left out,
    and absent persons are not computed. It has copies of the weights as they are now, on their device and in their type.

    Returns:
        The net itself where there is no such form: for BiGRU, which reads persons side by side and has nothing to fold, and for nets
        that are not, in all their parts but the head, as ``archs.build`` made them (other layers or settings of layers, adapters, hooks, methods of one's own).
    """
    if not has_form(net):
        return net
    return FusedMembers([_form(member) for member in _members(net)], net.parts) if isinstance(net, Members) else _form(net)


def has_form(net: nn.Module) -> bool:
    """Whether ``fuse`` gives something else than the net itself. Such a form computes a few persons at a time on a CPU, so that a large batch takes no more memory."""
    return _as_made(net) and all(type(member) in FORMS for member in _members(net))


def _members(net: nn.Module) -> list[nn.Module]:
    return list(net.members.values()) if isinstance(net, Members) else [net]


def _form(net: nn.Module) -> PersonWise:
    dtype = next(net.parameters()).dtype
    # glibc returns freed memory to the system from twice the largest block freed so far, 32 MiB at most. Once such a block has been
    # freed, micro-batches get the pages of the last one instead of new ones: up to twice as fast.
    torch.empty(FREED, dtype=torch.uint8, device="cpu")
    with torch.no_grad():
        exact = copy.deepcopy(net)
        return FORMS[type(net)](net, exact if dtype == torch.float64 else exact.float()).to(dtype).eval()


def state_of(net: nn.Module) -> Hashable:
    """What differs once a form of a net is out of date: other weights, changed weights, other layers or settings of layers, other hooks.

    Tensors made in inference mode do not tell that they were changed: with one of them it differs every time.
    """
    modules = list(net.modules())
    tensors = [t for module in modules for t in (*module._parameters.values(), *module._buffers.values()) if t is not None]
    if any(t.is_inference() for t in tensors):
        return object()
    return tuple((t.data_ptr(), t._version) for t in tensors), tuple((layer_of(module), _hooks(module)) for module in modules)


def vectors_of(net: nn.Module, compile: str = "") -> Callable[[Tensor], Tensor]:
    """``forward_features`` of the fused form; with ``compile``, a mode of ``torch.compile``, through that."""
    form = fuse(net)
    person_wise = [module for module in form.modules() if isinstance(module, PersonWise)]
    forward_features: Callable[[Tensor], Tensor] = form.forward_features  # type: ignore[assignment]
    if not compile:
        return forward_features
    for module in person_wise:
        module.compile_persons(compile)
    return forward_features if person_wise else torch.compile(forward_features, mode=compile)


def _hooks(module: nn.Module) -> tuple[Any, ...]:
    """The functions that run beside the methods of a module's class, or in their place."""
    own, methods = vars(module), _methods(type(module))  # type: ignore[arg-type]  # mypy takes classes of modules for unhashable
    if not module._forward_hooks and not module._forward_pre_hooks and methods.isdisjoint(own):  # nearly always, and asked of every module at every call
        return ()
    replaced = sorted(own.keys() & methods)
    return *module._forward_hooks.values(), *module._forward_pre_hooks.values(), *(own[name] for name in replaced)


@cache
def _methods(kind: type[nn.Module]) -> frozenset[str]:
    return frozenset(name for name in dir(kind) if callable(getattr(kind, name, None)))


def _as_made(net: nn.Module) -> bool:
    if not isinstance(net, Net) or net.made is None or any(map(_hooks, net.modules())):
        return False
    now, made = ({name: layer for name, layer in layers.items() if not name.startswith("head")} for layers in (layers_of(net), net.made))
    return now == made


def _with_inputs(stack: nn.Module, statistics: InputStatistics | None) -> nn.Module:
    return stack if statistics is None else SideBySide([stack, statistics])


def _stgcn(net: STGCNClassifier, exact: STGCNClassifier) -> PersonWise:
    return PersonWise([stgcn_stack(exact.backbone, Pooling(), [len(net.backbone.blocks) - 1])], 3 * net.backbone.widths[0])


def _skeattnclr(net: SkeAttnCLR, exact: SkeAttnCLR) -> PersonWise:
    backbone, pooling, wanted = exact.backbone, exact.embed_pooling, exact.embed_blocks
    if isinstance(backbone, STGCN):
        return PersonWise([_with_inputs(stgcn_stack(backbone, pooling, wanted), exact.embed_input)], 3 * backbone.widths[0])
    assert isinstance(backbone, DSTA) and isinstance(net.backbone, DSTA)
    return PersonWise([dsta_stack(backbone, pooling, wanted)], backbone.num_subsets * backbone.widths[0], net.backbone.check_frames)


def _psp(net: PSP, exact: PSP) -> PersonWise:
    stack = dsta_stack(exact.backbone, exact.pooling, [i % len(net.backbone.blocks) for i in net.embed_blocks])
    width = net.streams * net.backbone.num_subsets * net.backbone.widths[0]
    return PersonWise([Streams(_with_inputs(stack, exact.embed_input), net.streams)], width, net.backbone.check_frames)


def _strl(net: STRL, exact: STRL) -> PersonWise:
    persons = [_with_inputs(strl_stack(exact, i), exact.embed_input) for i in range(len(exact.encoders[0]))]  # type: ignore[arg-type]
    return PersonWise(persons, 2 * max(net.encoder_sizes[:2]), net.check_size)


FORMS: Mapping[type[nn.Module], Callable[..., PersonWise]] = {
    SkeAttnCLRSTGCN: _skeattnclr,
    SkeAttnCLRDSTA: _skeattnclr,
    PSP: _psp,
    STGCNClassifier: _stgcn,
    STRL: _strl,
}
"""Class of a net -> its form, from the net and a copy whose weights may be taken to pieces."""
