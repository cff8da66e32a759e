"""How far a fine-tuning is, and the file from which the same call goes on."""

from __future__ import annotations

import dataclasses
import glob
import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from skelzoo.errors import TrainingError
from skelzoo.inference.encoder import Encoder
from skelzoo.learn.finetune_options import FinetuneOptions
from skelzoo.learn.finetune_result import Epoch
from skelzoo.learn.training import check_sums, random_states, set_random_states
from skelzoo.skeleton.writing import alone, check_place, whole_file
from skelzoo.weights.checkpoint import UNREADABLE, tensors_of

EVERY = 30.0
"""Seconds between two writings, except for the one after the last epoch."""

SHOWN = 40
"""Characters of the longest value that a message tells; longer ones, such as hashes, only differ."""


class Stateful(Protocol):
    """Part of a training that can be kept: a net, an optimiser, a schedule."""

    def state_dict(self) -> dict[str, Any]:
        """What is kept of it."""

    def load_state_dict(self, state_dict: dict[str, Any], /) -> object:
        """Take back what was kept."""


@dataclasses.dataclass
class Progress:
    """How far a training is.

    Attributes:
        history: one row per epoch done.
        best: number of the best of them, from 1; 0 before the first.
        state: the net's tensors after that.
    """

    history: list[Epoch] = dataclasses.field(default_factory=list)
    best: int = 0
    state: dict[str, Tensor] = dataclasses.field(default_factory=dict)

    def add(self, epoch: Epoch, net: nn.Module) -> None:
        """Note an epoch, and the tensors that the net has after it if it is the best one so far."""
        self.history.append(epoch)
        if not self.best or _better(epoch, self.history[self.best - 1]):
            self.best, self.state = len(self.history), {name: tensor.clone() for name, tensor in net.state_dict().items()}

    def ended(self, options: FinetuneOptions) -> bool:
        """Whether all epochs are done, or ``patience`` is at its end."""
        done = len(self.history)
        return done == options.epochs or 0 < options.patience <= done - self.best


def _better(new: Epoch, old: Epoch) -> bool:
    """Whether an epoch is to be kept instead of an earlier one; without a validation part the later one is."""
    return math.isnan(new.validation_loss) or (new.validation_accuracy, -new.validation_loss) > (old.validation_accuracy, -old.validation_loss)


class Checkpoint:
    """The file of one training; without a path nothing is kept.

    Args:
        call: what decides the result, see ``call_of``.
        device: that is trained on.
    """

    def __init__(self, path: Path | None, call: Mapping[str, str], device: torch.device) -> None:
        self.path, self.call, self.device, self.due = path, call, device, monotonic() + EVERY

    def load(self, parts: Mapping[str, Stateful]) -> Progress:
        """Bring a training and the random numbers to where the file has them; without a file they stay as they are.

        Args:
            parts: what changes from step to step, by name.

        Raises:
            TrainingError: the file is damaged, or of another call; the message says what differs.
        """
        if self.path is None or not self.path.is_file():
            return Progress()
        held = _read(self.path)
        _check_same(self.path, held, self.call)
        with _named(self.path):
            for name, part in parts.items():
                part.load_state_dict(held[name])
            set_random_states(self.device, held["random"])
            return Progress([Epoch(*row) for row in held["history"]], int(held["best"]), dict(held["state"]))

    def save(self, parts: Mapping[str, Stateful], progress: Progress, now: bool) -> None:
        """Write it after an epoch, unless the last time is less than EVERY ago.

        Args:
            parts: as for ``load``.
            now: write it in any case.

        Raises:
            WriteError: it cannot be written.
        """
        if self.path is not None and (now or monotonic() >= self.due):
            kept = {**{name: part.state_dict() for name, part in parts.items()}, "random": random_states(self.device), "call": dict(self.call)}
            history = [dataclasses.astuple(epoch) for epoch in progress.history]
            with whole_file(self.path) as file:
                torch.save({**kept, "history": history, "best": progress.best, "state": progress.state}, file)
            self.due = monotonic() + EVERY


@contextmanager
def kept_in(path: str | Path | None, device: torch.device, call: Callable[[], Mapping[str, str]]) -> Iterator[Checkpoint]:
    """A checkpoint that no other process has until the block ends. What a kill left of a writing is cleared away.

    Args:
        path: None to keep nothing.
        device, call: of ``Checkpoint``.

    Raises:
        WriteError: another process has it, or no file can be written there.
    """
    if path is None:
        yield Checkpoint(None, {}, device)
        return
    target = Path(path)
    check_place(target)
    with alone(target.with_name(f".{target.name}.lock"), target, wait=0):
        for scratch in target.parent.glob(f".{glob.escape(target.name[:200])}.{'?' * 8}.part"):
            scratch.unlink(missing_ok=True)
        yield Checkpoint(target, call(), device)


def fold_file(path: str | Path | None, number: int) -> Path | None:
    """The checkpoint of a fold, beside the one of the training on all clips.

    Args:
        number: from 0.
    """
    return None if path is None else Path(f"{path}.fold{number + 1}")


def remove_checkpoint(path: str | Path) -> None:
    """Remove the checkpoint of a training whose result is saved, and those of its folds; what is not there is left out."""
    target, name = Path(path), glob.escape(Path(path).name)
    for pattern in (name, f"{name}.fold*", f".{name}.lock", f".{name}.fold*.lock"):
        for file in target.parent.glob(pattern):
            with suppress(OSError):
                file.unlink()


def check_resumable(path: str | Path | None, encoder: Encoder, mode: str, options: FinetuneOptions) -> None:
    """Check, before any clip is read, that a checkpoint, if there is one, is of such a call.

    Raises:
        TrainingError: as ``Checkpoint.load``.
    """
    if path is not None and Path(path).is_file():
        _check_same(Path(path), _read(Path(path)), call_of(encoder, mode, options))


def call_of(encoder: Encoder, mode: str, options: FinetuneOptions, clips: Mapping[str, Sequence[Tensor | str]] | None = None) -> dict[str, str]:
    """What of a call decides its result: name -> value, or sha256.

    Args:
        clips: what the clips give, by name; tensors of any shape.
    """
    told = {field.name: repr(getattr(options, field.name)) for field in dataclasses.fields(options)}
    tensors = tensors_of(encoder.net)
    body = _sha256([repr(encoder.config.to_dict()), *tensors, *tensors.values()])
    return {"mode": mode, "device": encoder.device.type, **told, "encoder": body, **{name: _sha256(values) for name, values in (clips or {}).items()}}


def _sha256(values: Sequence[Tensor | str]) -> str:
    digest = hashlib.sha256()
    for value in values:
        if isinstance(value, str):
            digest.update(f"{value}\n".encode("utf-8", "surrogatepass"))
        else:
            digest.update(f"{value.dtype} {tuple(value.shape)}\n".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Say of which file it is that something in it cannot be used."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except UNREADABLE as error:
        raise TrainingError(
            f"{path} cannot be read: it is empty, damaged, or no checkpoint of a fine-tuning. Put a copy of it back, or remove it to begin anew."
        ) from error


def _read(path: Path) -> dict[str, Any]:
    with _named(path):
        check_sums(path)
        held = torch.load(path, map_location="cpu", weights_only=True)
        return {**held, "call": dict(held["call"])}


def _check_same(path: Path, held: Mapping[str, Any], call: Mapping[str, str]) -> None:
    before = held["call"]
    told = [_difference(name, str(before.get(name)), value) for name, value in call.items() if before.get(name) != value]
    if told:
        raise TrainingError(
            f"{path} is of another fine-tuning: {'; '.join(told)}. Give the call that it is of to go on with it, another file (on the command line another --out), or remove it to begin anew."
        )


def _difference(name: str, before: str, now: str) -> str:
    return f"other {name}" if max(len(before), len(now)) > SHOWN else f"its {name} is {before}, now it is {now}"
