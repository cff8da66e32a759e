"""Fine-tuning: an encoder learns the classes of one's own labelled clips."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from skelzoo.errors import TrainingError
from skelzoo.inference.encoder import Encoder
from skelzoo.inference.golden import check_kept
from skelzoo.inference.precision import without_autocast
from skelzoo.learn.calibration import Calibration, calibrate
from skelzoo.learn.finetune_checkpoint import Checkpoint, Stateful, call_of, kept_in
from skelzoo.learn.finetune_options import FEW, Mode, check_used
from skelzoo.learn.finetune_options import FinetuneOptions as FinetuneOptions
from skelzoo.learn.finetune_report import card
from skelzoo.learn.finetune_result import CrossValidation, Epoch, confusion_of
from skelzoo.learn.finetune_result import FinetuneResult as FinetuneResult
from skelzoo.learn.inputs import Inputs
from skelzoo.learn.layers import freeze, freeze_unused, norms_with_statistics, parameter_groups, set_train
from skelzoo.learn.losses import semi_supervised_losses
from skelzoo.learn.seen import person_hashes, warn_of_learned
from skelzoo.learn.splits import class_ids, hold_out, hold_out_groups, known_ids, one_per_clip, same_clips, warn_of_leaks, warn_of_spellings
from skelzoo.learn.training import Standardised, computes_bf16, seeded, warmup_cosine
from skelzoo.nets.archs import ARCHS
from skelzoo.nets.net import Net
from skelzoo.nets.psp import PSP
from skelzoo.skeleton.arrays import Float64s, Int64s
from skelzoo.skeleton.clip import Clip, clip_list
from skelzoo.weights.checkpoint import build_net, tensors_of
from skelzoo.weights.manifest import ModelConfig

SUFFIX = " (fine-tuned)"
"""Of the name of what comes out."""

CLIP_NORM = 5.0
"""Largest norm of a step's gradient."""

AUGMENTATIONS: tuple[Mapping[str, Any], ...] = (
    {"op": "temporal_crop", "shortest": 0.7}, {"op": "shear", "amplitude": 0.2}, {"op": "scale", "amplitude": 0.1},
)  # fmt: skip
"""Of whole clips and without a unit, so that they suit every encoder."""


@torch.inference_mode(False)
def finetune(
    encoder: Encoder,
    clips: Sequence[Clip],
    labels: Sequence[str] | None = None,
    *,
    mode: Mode = "full",
    unlabelled: Sequence[Clip] = (),
    validation: float | Sequence[Clip] | CrossValidation = 0.2,
    groups: Sequence[str] | None = None,
    options: FinetuneOptions | None = None,
    seen: Sequence[str] = (),
    checkpoint: str | Path | None = None,
) -> FinetuneResult:
    """Fine-tune a copy of an encoder on labelled clips. `skelzoo docs finetuning` says which mode is for how many clips.

    A head whose classes are already those of the clips goes on learning; any other is replaced by a new one.

    Args:
        encoder: stays as it is; its device is used.
        clips: in any layout the encoder takes.
        labels: one class name per clip; by default the clips' own.
        mode: ``full`` trains body and head by cross-entropy, ``linear`` the head alone, ``semi`` both with PSP's contrast on unlabelled clips (PSP encoders only).
        unlabelled: for ``semi``; the training clips count as unlabelled too, as in PSP's code.
        validation: share of the clips to hold out, 0 for none; labelled clips of one's own; or what ``cross_validate`` gave for these clips:
            then all are trained on, the last epoch is kept, and the temperature comes from the scores out of fold.
        groups: one name per clip, such as the person's: whole groups are held out. Without, clips are, class by class.
        options: defaults when None.
        seen: what ``skelzoo.learn.seen.seen_tests`` says of the clips and their files. The card says it, and no evaluation then counts.
        checkpoint: file to keep the training in: if it is stopped, the same call goes on after the last epoch in it, to the same result. It is written when an epoch
            ends and 30 seconds have passed since the last time, and after the last epoch; a kill costs that and one epoch at most. Remove it once the result is saved.

    Raises:
        TrainingError: labels, classes, groups or options that cannot be trained with, a loss that is not finite, or a checkpoint that is damaged or of another call.
        CheckpointError: the encoder's net has other layers than its config says, or hooks or methods of one's own that change what it gives, so that it cannot be copied.
        WriteError: the checkpoint cannot be written, or another process trains with it.
        ClipError, CoverageError: a clip does not fit the encoder's contract; the message names it.
    """
    o, clips, unlabelled = check_call(encoder, options), clip_list(clips), clip_list(unlabelled)
    groups = None if groups is None else one_per_clip(groups, "groups")
    check_mode(encoder, mode, unlabelled, o)
    names, truth = class_ids(clips, labels, encoder.labels)
    if encoder.labels == names:  # and the head is kept
        check_kept(encoder)
    crossed = None
    if isinstance(validation, CrossValidation):
        validation.check(names, truth)
        crossed, validation, groups = validation, 0, None
    warn_of_spellings(names)
    inputs = Inputs(encoder.contract, _augmentations(o, mode))
    parts = _parts(inputs, encoder, clips, truth, names, validation, groups, o.seed)
    tuned, history, best, confusion, calibration = _trained(encoder, names, inputs, parts, inputs.keep(unlabelled), mode, o, crossed, checkpoint)
    counts = {name: (int((parts.train.y == i).sum()), int((parts.valid.y == i).sum())) for i, name in enumerate(names)}
    result = FinetuneResult(
        encoder=tuned, clips=counts, history=history, best_epoch=best, confusion=confusion, held_out=parts.groups, calibration=calibration,
        cross_validation=crossed, seen=tuple(seen), own_validation=parts.own, learned_before=parts.learned_before,
    )  # fmt: skip
    tuned.fine_tuned_on, tuned.pretrained_on = encoder.fine_tuned_on | person_hashes([*parts.clips, *unlabelled]), encoder.pretrained_on
    tuned.card = card(result, encoder.name, _call(mode, o), encoder.card)
    return result


def check_call(encoder: Any, options: Any) -> FinetuneOptions:
    """The options, or the defaults.

    Raises:
        TrainingError: the encoder is none, or the options are none.
        CheckpointError: see ``check_kept``, of all but the head, which is kept for the same classes alone.
    """
    o = FinetuneOptions() if options is None else options
    if not isinstance(encoder, Encoder):
        raise TrainingError(f"encoder is of type {type(encoder).__name__}. Give skelzoo.load(NAME).")
    if not isinstance(o, FinetuneOptions):
        raise TrainingError(f"options are of type {type(o).__name__}. Give skelzoo.learn.finetune.FinetuneOptions(...).")
    check_kept(encoder, head=False)
    return o


def _call(mode: str, options: FinetuneOptions) -> str:
    """The call for the card."""
    changed = [f"{f.name}={getattr(options, f.name)!r}" for f in dataclasses.fields(options) if getattr(options, f.name) != f.default]
    return f"skelzoo.learn.finetune.finetune(encoder, clips, mode={mode!r}, options=FinetuneOptions({', '.join(changed)}))"


def check_mode(encoder: Encoder, mode: str, unlabelled: Sequence[Clip], options: FinetuneOptions) -> None:
    """Raise TrainingError unless a mode suits the encoder and goes with the unlabelled clips and the options."""
    net = encoder.net
    if mode not in get_args(Mode):
        raise TrainingError(f"no mode {mode!r}. Use one of {', '.join(get_args(Mode))}.")
    if mode == "semi" and not (isinstance(net, PSP) and net.pyramid is not None and net.streams == 2):
        raise TrainingError(
            f"mode semi is PSP's objective, and {encoder.name} is no PSP encoder of one net with two streams and a pyramid. Use mode full or linear."
        )
    if mode == "semi" and not unlabelled:
        raise TrainingError("mode semi learns from unlabelled clips beside the labelled ones. Give unlabelled=, or use mode full or linear.")
    if mode != "semi" and unlabelled:
        raise TrainingError(f"mode {mode} does not use unlabelled clips. Leave them out, or use mode semi with a PSP encoder.")
    check_used(options, mode)


def _augmentations(options: FinetuneOptions, mode: str) -> Sequence[Mapping[str, Any]]:
    if options.augmentations is not None:
        return options.augmentations
    return () if mode == "linear" else AUGMENTATIONS


@dataclass(frozen=True)
class _Part:
    """Clips as ``Inputs`` keeps them, or their vectors (N, D), and class ids (N,)."""

    x: Tensor
    y: Tensor

    def to(self, device: torch.device) -> _Part:
        return _Part(self.x.to(device), self.y.to(device))


@dataclass(frozen=True)
class _Parts:
    """Training and validation part, the clips of both, and of the latter the groups, whether it was given, and what is known of it."""

    train: _Part
    valid: _Part
    groups: tuple[str, ...]
    own: bool
    clips: Sequence[Clip]
    learned_before: str


def _parts(
    inputs: Inputs,
    encoder: Encoder,
    clips: Sequence[Clip],
    truth: Int64s,
    names: Sequence[str],
    validation: float | Sequence[Clip],
    groups: Sequence[str] | None,
    seed: int,
) -> _Parts:
    own = not isinstance(validation, (int, float, np.number))
    if not isinstance(validation, (int, float, np.number)):
        validation = clip_list(validation)
        if groups is not None:
            raise TrainingError("groups choose the validation part, and validation clips were given too. Leave one of them out.")
        learned = {id(clip) for clip in clips}
        both = [clip.name for clip in validation if id(clip) in learned]
        if both:
            raise TrainingError(f"{len(both)} validation clips are training clips too, the first is {both[0]!r}. Leave them out of one of both.")
        held = np.arange(len(clips) + len(validation)) >= len(clips)
        clips, truth = [*clips, *validation], np.concatenate([truth, known_ids(validation, names)])
        x = inputs.keep(clips)
        same = same_clips(x.numpy(), truth)
    else:
        x = inputs.keep(clips)
        same = same_clips(x.numpy(), truth)
        held = (
            hold_out(truth, names, [c.name for c in clips], validation, seed, same)
            if groups is None
            else hold_out_groups(truth, groups, validation, seed, names)
        )
    warn_of_leaks(clips, same, held.tolist(), own or groups is not None)
    known = warn_of_learned([clip for clip, h in zip(clips, held, strict=True) if h], encoder)
    y = torch.from_numpy(truth)
    names_held = {str(g) for g, h in zip(groups or (), held, strict=groups is not None) if h}
    return _Parts(_Part(x[~held], y[~held]), _Part(x[held], y[held]), tuple(sorted(names_held)), own, clips, known)


def _copy_with_head(encoder: Encoder, names: tuple[str, ...]) -> tuple[Net, ModelConfig]:
    """A float32 copy of the net, with a new head unless the head's classes are the same already."""
    config = dataclasses.replace(encoder.config, num_classes=len(names), labels=names)
    net, head = build_net(config), ARCHS[config.arch].head
    kept = {k: v for k, v in tensors_of(encoder.net).items() if encoder.labels == names or not k.startswith(head)}
    net.load_state_dict({**net.state_dict(), **kept})
    return net.to(encoder.device), config


def _trained(
    encoder: Encoder, names: tuple[str, ...], inputs: Inputs, parts: _Parts, unlabelled: Tensor, mode: str, options: FinetuneOptions,
    crossed: CrossValidation | None, checkpoint: str | Path | None,
) -> tuple[Encoder, tuple[Epoch, ...], int, Int64s, Calibration | None]:  # fmt: skip
    """The copy of the encoder that has learned, all epochs run, the number of the best, the confusion and the calibration."""
    device, (train, valid) = encoder.device, (parts.train, parts.valid)
    held: dict[str, Sequence[Tensor | str]] = {"classes": names, "training clips": (train.x, train.y), "validation clips": (valid.x, valid.y), "unlabelled clips": (unlabelled,)}  # fmt: skip
    with kept_in(checkpoint, device, lambda: call_of(encoder, mode, options, held)) as kept, seeded(options.seed, device), without_autocast(device):
        net, config = _copy_with_head(encoder, names)
        run = _Run(net, inputs, ARCHS[config.arch].head, encoder.labels != names, mode, options, train.to(device), valid.to(device), unlabelled.to(device))
        history, best = run.train(encoder.name, kept)
        confusion, calibration = run.finish(crossed)
    return Encoder(net.requires_grad_(True), config, f"{encoder.name.removesuffix(SUFFIX)}{SUFFIX}", device), history, best, confusion, calibration


class _Run:
    """One training: the net, its data on the device, the optimiser."""

    def __init__(
        self, net: Net, inputs: Inputs, head: str, new_head: bool, mode: str, options: FinetuneOptions, train: _Part, valid: _Part, unlabelled: Tensor
    ) -> None:
        self.net, self.inputs, self.head, self.options, self.mode, self.training, self.valid = net, inputs, head, options, mode, train, valid
        self.bf16 = computes_bf16(train.x.device) if options.precision == "auto" else options.precision == "bf16-mixed"
        self.unlabelled = torch.cat([train.x, unlabelled])
        freeze(net, "body" if mode == "linear" else options.freeze, head)
        if mode != "semi":
            freeze_unused(net, self.inputs.plain(train.x[:2]))
        keep = options.batch_norm == "kept" or (options.batch_norm == "auto" and len(self.unlabelled) < FEW)
        self.kept = norms_with_statistics(net) if keep and mode != "linear" else []
        groups = parameter_groups(net, options.learning_rate, options.layer_decay, options.weight_decay, head)
        self.optimiser = torch.optim.AdamW(groups)
        frozen = mode != "semi" and not any(p.requires_grad for n, p in net.named_parameters() if not n.startswith(head))
        self.standardised = self._standardise(head, new_head) if frozen else None
        # A frozen body gives a clip that is not augmented the same vector in every epoch.
        self.cached = frozen and not inputs.operations
        if self.cached:
            self.training, self.valid = (_Part(self._vectors(p.x), p.y) for p in (train, valid))

    def _standardise(self, head: str, new: bool) -> Standardised | None:
        """The head's first layer, made to learn in standardised units; None for heads that are no chain of layers."""
        layers, name = dict(self.net.named_modules()), head.removesuffix(".")
        single, first = layers.get(name), layers.get(f"{name}.0")
        if isinstance(single, nn.Linear) and new:  # of random weights, what the few clips do not tell would stay
            nn.init.zeros_(single.weight)
        layer = single if isinstance(single, nn.Linear) else first
        vectors = self._evaluated(lambda x: self.net.forward_features(self.inputs.plain(x)), self.training.x)
        return Standardised(layer, vectors) if isinstance(layer, nn.Linear) else None

    def _vectors(self, x: Tensor) -> Tensor:
        """Vectors of clips as the head takes them."""
        return self._evaluated(lambda part: self._scaled(self.net.forward_features(self.inputs.plain(part))), x)

    def _scaled(self, z: Tensor) -> Tensor:
        return z if self.standardised is None else self.standardised(z)

    def train(self, name: str, checkpoint: Checkpoint) -> tuple[tuple[Epoch, ...], int]:
        """Train, from where a checkpoint is, and bring the net to its best epoch: all epochs run, and the number of the best."""
        o = self.options
        steps = o.epochs * len(self._batches(1))
        schedule = torch.optim.lr_scheduler.LambdaLR(self.optimiser, lambda step: warmup_cosine(step, steps, o.warmup))
        parts: dict[str, Stateful] = {"net": self.net, "optimiser": self.optimiser, "schedule": schedule}
        so_far = checkpoint.load(parts)
        if so_far.history:
            tqdm.write(f"{name}: goes on after epoch {len(so_far.history)} of {o.epochs}, from {checkpoint.path}", file=sys.stderr)
        with tqdm(total=o.epochs, initial=len(so_far.history), unit="epoch", desc=name, delay=2, disable=None, leave=False) as bar:
            while not so_far.ended(o):
                so_far.add(self._epoch(len(so_far.history) + 1, schedule, name), self.net)
                checkpoint.save(parts, so_far, now=so_far.ended(o))
                bar.update()
        self.net.load_state_dict(so_far.state)
        return tuple(so_far.history), so_far.best

    def _epoch(self, epoch: int, schedule: torch.optim.lr_scheduler.LambdaLR, name: str) -> Epoch:
        set_train(self.net, self.kept)
        losses = []
        for rows in self._batches(epoch):
            losses.append(self._step(rows))
            schedule.step()
            if not math.isfinite(losses[-1]):
                raise TrainingError(
                    f"{name}: the loss is {losses[-1]} at step {len(losses)} of epoch {epoch}. Lower learning_rate, now {self.options.learning_rate:g}"
                    f"{', or set precision to 32-true' if self.bf16 else ''}."
                )
        return Epoch(epoch, float(np.mean(losses)), *self._validate())

    def finish(self, crossed: CrossValidation | None) -> tuple[Int64s, Calibration | None]:
        """Calibrate the head, and bring one that learned in standardised units back to those of the vectors.

        Returns:
            (classes, classes) validation clips, row the true class, column the one given; and how far the scores can be trusted.
        """
        logits, truth = self.logits(self.valid), self.valid.y.cpu().numpy()
        judged, unseen = (truth, None) if crossed is None else crossed.judged()
        calibration = calibrate(self.net, self.head, lambda: self.logits(self.valid if crossed is None else self.training), judged, unseen)
        if self.standardised is not None:
            self.standardised.fold()
        return confusion_of(truth, logits.argmax(1), logits.shape[1]), calibration

    def logits(self, part: _Part) -> Float64s:
        """(clips, classes) of ``valid`` or ``training``."""
        return self._logits(part.x).double().cpu().numpy()

    def _batches(self, epoch: int) -> list[Tensor]:
        """Rows of the training clips for each step of an epoch, drawn from (seed, epoch)."""
        o, y = self.options, self.training.y.cpu().numpy()
        rng = np.random.default_rng((o.seed, epoch))
        order = rng.permutation(len(y))
        if o.balanced:
            members = [rng.permutation(np.flatnonzero(y == i)) for i in np.unique(y)]
            # A class with fewer clips than the others goes round.
            order = rng.permutation(np.concatenate([np.resize(m, math.ceil(len(y) / len(members))) for m in members]))
        # Batches of nearly equal size: BatchNorm cannot do with a last one of a single clip.
        return [torch.from_numpy(rows).to(self.training.y.device) for rows in np.array_split(order, math.ceil(len(order) / o.batch_size))]

    def _step(self, rows: Tensor) -> float:
        loss = self._loss(self.training.x[rows], self.training.y[rows])
        self.optimiser.zero_grad()
        torch.autograd.backward([loss])
        nn.utils.clip_grad_norm_(self.net.parameters(), CLIP_NORM)
        self.optimiser.step()
        return float(loss.detach())

    def _loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Frames are placed and differences taken in float32, whatever the net computes in."""
        o = self.options
        if self.mode == "semi":
            assert isinstance(self.net, PSP)
            others = self.unlabelled[torch.randperm(len(self.unlabelled), device=x.device)[: o.unlabelled_ratio * len(x)]]
            labelled, unlabelled = self.inputs.augmented(x), self.inputs.augmented(others)
            with self._mixed(x.device):
                return semi_supervised_losses(self.net, labelled, y, unlabelled, o.temperature, o.contrast_weight).total
        seen = x if self.cached else self.inputs.augmented(x)
        with self._mixed(x.device):
            return F.cross_entropy(self._forward(seen).float(), y, label_smoothing=o.label_smoothing)

    def _mixed(self, device: torch.device) -> contextlib.AbstractContextManager[object]:
        # A cache of cast weights would stay until the outermost autocast ends, and every step would compute with those of the first.
        return torch.autocast(device.type, torch.bfloat16, cache_enabled=False) if self.bf16 else contextlib.nullcontext()

    def _forward(self, x: Tensor) -> Tensor:
        """Inputs of the net, or cached vectors -> logits."""
        z = x if self.cached else self._scaled(self.net.forward_features(x))
        return self.net.forward_head(z)

    def _evaluated(self, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """A function of a batch on all rows, in evaluation mode and 32 bits, as the encoder will be used."""
        self.net.eval()
        with torch.no_grad():
            rows = x if len(x) else x.new_zeros(1, *x.shape[1:])  # of no clips only the shape is wanted
            return torch.cat([function(part) for part in torch.split(rows, self.options.batch_size)])[: len(x)]

    def _logits(self, x: Tensor) -> Tensor:
        return self._evaluated(lambda part: self._forward(part if self.cached else self.inputs.plain(part)), x)

    def _validate(self) -> tuple[float, float]:
        if not len(self.valid.y):
            return math.nan, math.nan
        logits = self._logits(self.valid.x)
        right, loss = (logits.argmax(1) == self.valid.y).float().mean(), float(F.cross_entropy(logits, self.valid.y))
        if not math.isfinite(loss):
            raise TrainingError(f"the validation loss is {loss}. Lower learning_rate.")
        return loss, 100 * float(right)
