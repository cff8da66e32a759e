"""Encoder: a net, the contract of its weights and the names of its classes."""

from __future__ import annotations

import copy
import numbers
import tempfile
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skelzoo.errors import AxesError, CheckpointError, ClipError, ContractError
from skelzoo.inference.classification import Classification
from skelzoo.inference.golden import check_kept, make_golden
from skelzoo.inference.mode import evaluating
from skelzoo.inference.precision import TF32, own_precision
from skelzoo.inference.runner import SPLIT, CompileMode, Dtype, Room, pick_compile, pick_device, pick_dtype, run
from skelzoo.names import ENCODER, answered
from skelzoo.nets.archs import ARCHS
from skelzoo.nets.fused import has_form, state_of, vectors_of
from skelzoo.nets.net import Net
from skelzoo.skeleton.axes import AXES
from skelzoo.skeleton.clip import Clip, FloatArray, clip_list, clips_from_array
from skelzoo.skeleton.contract import Contract
from skelzoo.skeleton.doubts import noted_doubts
from skelzoo.skeleton.prepare import prepare_batch
from skelzoo.weights.cards import plain_card
from skelzoo.weights.checkpoint import Pretrained, check_fit, learned_from, read_net, save_folder
from skelzoo.weights.files import CHECKSUMS, CONFIG, LISTED, MODEL, to_send
from skelzoo.weights.hub import Hub, upload
from skelzoo.weights.manifest import ModelConfig
from skelzoo.weights.sources import locate_weights

Clips = Clip | Sequence[Clip] | NDArray[Any] | Tensor

TO_FLOAT32 = "Call encoder.net.float() first, which keeps what was trained; what was only loaded has all its digits when loaded with dtype='float32'."


class Encoder:
    """What ``skelzoo.load`` returns.

    Args:
        net: a net of ``skelzoo.nets``; ``encoder.net`` is ordinary torch for fine-tuning.
        config: arch, options, contract and labels: a ``skelzoo.weights.manifest.ModelConfig``, those that the net was made with.
        name: shown in messages.
        device: ``auto`` (CUDA, then MPS, then CPU) or a torch device.
        dtype: ``auto`` (float32), ``tf32``, ``bfloat16`` or ``float16``. Only ``tf32`` lets CUDA round factors of float32 products to TF32.
        compile: run the net through ``torch.compile``; True, or its mode (``reduce-overhead``, ``max-autotune``). Batches are then padded
            to one size, and the first one takes long.

    ``embed``, ``classify`` and ``scores`` run a fused copy of the net, see ``skelzoo.nets.fused``, made at first use and again whenever weights of
    ``net`` have changed. It goes by PyTorch's version counters: after a change behind their back (``p.data.add_(1)``) call ``refresh``.
    ``fine_tuned_on`` holds short hashes of the clips that ``finetune`` gave it, see ``skelzoo.learn.seen.person_hashes``, and
    ``pretrained_on`` says which clips pretraining took: name and data of the recipes, the name alone of a model that ships or that a run began with though nobody knows its clips, () where nobody knows; ``save`` keeps both.

    Raises:
        CheckpointError: the net or the config is none, or the config gives the net other channels or joints than it reads.
        DeviceError: the device is not there; another dtype or mode.
    """

    @torch.inference_mode(False)  # so that a net of another type has tensors whose changes are seen, see state_of
    def __init__(
        self,
        net: Net,
        config: ModelConfig,
        name: str = "encoder",
        device: str | torch.device = "auto",
        dtype: Dtype | torch.dtype = "auto",
        compile: bool | CompileMode = False,
    ) -> None:
        check_fit(net, config)
        self.net = net.to(pick_device(device), pick_dtype(dtype)).eval()
        self.config, self.name = config, name
        self._compile, self._tf32 = pick_compile(compile), dtype == TF32
        self._fused: tuple[Hashable, Callable[[Tensor], Tensor], bool] | None = None
        self._rooms: dict[Hashable, Room] = {}
        self._card: tuple[str, Hashable] = "", None
        self._drawn: dict[str, Tensor] = {}
        self.fine_tuned_on: frozenset[str] = frozenset()
        self.pretrained_on: Pretrained = ()

    @classmethod
    def from_pretrained(
        cls,
        name: str,
        *,
        device: str | torch.device = "auto",
        dtype: Dtype | torch.dtype = "auto",
        compile: bool | CompileMode = False,
        num_classes: int | None = None,
        endpoint: str | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        token: str | None = None,
    ) -> Encoder:
        """``skelzoo.load`` under the name that users of the Hub expect; arguments and errors are the same."""
        located = locate_weights(name, Hub(endpoint, cache_dir, local_files_only, token))
        data = located.read(MODEL)
        with torch.random.fork_rng([], enabled=num_classes is None):  # only a new head is to draw from the caller's random numbers
            config, net = read_net(located, located.read(CONFIG), data, num_classes)
        encoder = cls(net, config, located.source.name, device, dtype, compile)
        encoder._card = located.card(), state_of(encoder.net) if num_classes is None else None
        encoder._drawn = {name: p.detach().clone() for name, p in net.named_parameters() if num_classes and name.startswith(ARCHS[config.arch].head)}
        encoder.fine_tuned_on, encoder.pretrained_on = learned_from(data, located)
        return encoder

    @property
    def device(self) -> torch.device:
        """Where the net computes: where its parameters are, also after ``encoder.net.to(...)``."""
        return next(self.net.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """What the net computes in: the type of its parameters."""
        return next(self.net.parameters()).dtype

    @property
    def contract(self) -> Contract:
        """What the net expects of a clip."""
        return self.config.contract

    @property
    def labels(self) -> tuple[str, ...] | None:
        """Class names of the head, None when it has none."""
        return self.config.labels

    @labels.setter
    def labels(self, names: Sequence[str]) -> None:
        """Name the classes of a head that was trained in a loop of one's own.

        Raises:
            CheckpointError: not one text per class, or one twice.
        """
        if isinstance(names, str) or not isinstance(names, Iterable) or not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
            raise CheckpointError(f"{self.name}: labels are {names!r}. Give a list of texts, one for each class and each once.")
        self.config = replace(self.config, labels=tuple(names))

    @property
    def card(self) -> str:
        """README.md that ``save`` writes: of the weights as they were loaded, fine-tuned or given one; once they have changed a plain one, with the licence alone."""
        text, state = self._card
        return text if text and state == state_of(self.net) else plain_card(self.name, self.config, text)

    @card.setter
    def card(self, text: str) -> None:
        self._card = text, state_of(self.net)

    @property
    def embedding_dim(self) -> int:
        """D of ``embed``."""
        return self.net.embedding_dim

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names that ``features`` knows."""
        return self.net.feature_names

    def __getstate__(self) -> dict[str, Any]:
        """For ``copy`` and ``pickle``: the fused form is made anew, and a card that holds for the weights holds for theirs."""
        text, state = self._card
        return {**vars(self), "_fused": None, "_card": (text, state == state_of(self.net))}

    @torch.inference_mode(False)  # within that mode copied and unpickled tensors are of it, and are copied once more
    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        if any(t.is_inference() for t in (*self.net.parameters(), *self.net.buffers())):
            self.net = copy.deepcopy(self.net)
        text, holds = state["_card"]
        self._card = text, state_of(self.net) if holds else None

    if not TYPE_CHECKING:
        __getattr__ = answered("an Encoder", ENCODER)

    def __repr__(self) -> str:
        c = self.contract
        return f"Encoder({self.name!r}: {self.config.arch}, {c.layout} {c.channels}-D, {c.frames} frames, {self.embedding_dim}-d vectors, {self.config.num_classes} classes, on {self.device})"

    def embed(self, clips: Clips, *, axes: str = AXES, prepared: bool = False, batch_size: int | None = None, progress: bool | None = None) -> FloatArray:
        """One vector per clip.

        Args:
            clips: a Clip, a list of Clips of any length, layout and number of persons the contract takes, or an
                array or tensor of joints in the encoder's layout.
            axes: the axes of an array, e.g. ``"n t v c"``.
            prepared: the array is already what ``skelzoo.prepare`` gives, (N, C, T, V, M).
            batch_size: clips per batch; the default suits the device, on CUDA by measuring, which begins torch's peak memory statistics anew.
                Halved for good when memory runs out. The vectors do not depend on it beyond rounding.
            progress: show a bar; None shows one on long work, on a terminal.

        Returns:
            (N, D) float32, row i is clip i.

        Raises:
            AxesError, ClipError, CoverageError: a clip that does not fit; the message names it.
        """
        vectors = self._vectors()
        return self._run(lambda x: {"z": vectors(x)}, clips, axes, prepared, batch_size, progress)["z"]

    def classify(
        self, clips: Clips, top_k: int = 5, *, axes: str = AXES, prepared: bool = False, batch_size: int | None = None, progress: bool | None = None
    ) -> Classification:
        """The ``top_k`` likeliest classes of each clip, best first; ``scores`` gives those of all in the order of ``labels``. The other arguments and errors are those of ``embed``.

        Raises:
            ContractError: the encoder has no classification head, or one of another number of classes than its config; or ``top_k`` is no whole number of at least 1.
        """
        if not isinstance(top_k, numbers.Integral) or top_k < 1:
            raise ContractError(f"top_k is {top_k!r}. Give a whole number of at least 1; the axes of an array go into axes=.")
        p = self._run(self._scored(), clips, axes, prepared, batch_size, progress)["p"]
        indices = np.argsort(-p, axis=1, kind="stable")[:, : int(top_k)].astype(np.int64)
        names = np.array(self.labels or [f"class_{i}" for i in range(self.config.num_classes)])
        return Classification(names[indices], np.take_along_axis(p, indices, 1), indices)

    def scores(self, clips: Clips, *, axes: str = AXES, prepared: bool = False, batch_size: int | None = None, progress: bool | None = None) -> FloatArray:
        """Softmax scores of all classes, as scikit-learn's ``predict_proba``; arguments and errors are those of ``embed``.

        Returns:
            (N, classes) float32, row i is clip i, columns in the order of ``labels``.

        Raises:
            ContractError: the encoder has no classification head, or one of another number of classes than its config.
        """
        return self._run(self._scored(), clips, axes, prepared, batch_size, progress)["p"]

    def features(
        self,
        clips: Clips,
        at: str | Iterable[str] = ("pooled",),
        *,
        axes: str = AXES,
        prepared: bool = False,
        batch_size: int | None = None,
        progress: bool | None = None,
    ) -> dict[str, NDArray[np.float32]]:
        """Named intermediate outputs: those of ``encoder.feature_names``, which the net's ``features`` describes.

        Returns:
            name -> float32 array with one row per clip. The other arguments and errors are those of ``embed``.

        Raises:
            ContractError: a name the net does not have, or of what the weights never learned.
        """
        try:
            at = (at,) if isinstance(at, str) else tuple(at)
        except TypeError as error:
            raise ContractError(f"at is {at!r}. Give names of encoder.feature_names, or leave it out for the pooled vector.") from error
        unknown = [n for n in at if n not in self.feature_names]
        if unknown:
            raise ContractError(
                f"{self.config.arch} has no features {', '.join(map(str, unknown))}. It has, by encoder.feature_names: {', '.join(self.feature_names)}."
            )
        random = [n for n in at if n in self.config.untrained]
        if random:
            raise ContractError(
                f"{self.name}: its weights never learned {', '.join(random)}, which would be random. Take other features, or weights of a pretraining; "
                "encoder.net.features(x) gives them as they are."
            )

        def wanted(x: Tensor) -> dict[str, Tensor]:
            everything = self.net.features(x)
            return {n: everything[n] for n in at}

        return self._run(wanted, clips, axes, prepared, batch_size, progress, all_maps=True)

    def save(self, folder: str | Path, card: str | None = None) -> Path:
        """Write a weights folder that ``skelzoo.load("local:FOLDER")`` reads: model, config, golden, card, checksums.

        Written under a temporary name and renamed, so that a folder is either whole or not there. The default card is ``encoder.card``.

        Raises:
            CheckpointError: the folder exists and is something else; or the encoder does not compute in float32, in which weights
                are stored, gives NaN, or has other layers than its config says, or hooks or methods of one's own that change what it gives.
            WriteError: the folder cannot be written.
        """
        if self.dtype != torch.float32:
            raise CheckpointError(f"{self.name} computes in {self.dtype}, weights are stored in float32. {TO_FLOAT32}")
        if not isinstance(card, str | None):
            raise CheckpointError(f"{self.name}: card is of type {type(card).__name__}. Give its text, such as path.read_text() of a file.")
        check_kept(self)
        save_folder(Path(folder), self.net, self.config, make_golden(self), card or self.card, self.fine_tuned_on, self.pretrained_on)
        return Path(folder)

    def push_to_hub(self, repo: str, *, card: str | None = None, private: bool = False, endpoint: str | None = None, token: str | None = None) -> str:
        """Save the encoder to a repository ``owner/repo`` of the Hub, in one commit.

        Returns:
            The name under which everyone can load it, ``hf:owner/repo@<commit>``.

        Raises:
            CheckpointError, WriteError: as ``save``.
            WeightsUnavailableError: the Hub cannot be reached, or refuses.
        """
        with tempfile.TemporaryDirectory() as scratch:
            with to_send():
                folder = self.save(Path(scratch) / "model", card)
            return upload(folder, (*LISTED, CHECKSUMS), repo, f"Weights of {self.config.arch}, by skelzoo", Hub(endpoint=endpoint, token=token), private)

    def refresh(self) -> None:
        """Take the weights of ``net`` as they are now, after changes that PyTorch's version counters do not see, such as the ``p.data.copy_`` of averaging helpers."""
        self._fused, self._card = None, (self._card[0], None)

    def _vectors(self) -> Callable[[Tensor], Tensor]:
        """``forward_features`` of the fused form of the net as it is now."""
        state = state_of(self.net)
        if self._fused is None or self._fused[0] != state:
            with own_precision(self.device, tf32=False):
                self._fused = state, vectors_of(self.net, self._compile), has_form(self.net)
        return self._fused[1]

    def _scored(self) -> Callable[[Tensor], dict[str, Tensor]]:
        """Softmax of the head on the vectors, as ``p``."""
        if not self.config.num_classes:
            raise ContractError(
                f"{self.name} has no classification head. Load it with num_classes=N and fine-tune it, or fit any classifier on encoder.embed(clips)."
            )
        if self._drawn and self._has_learned_nothing():
            noted_doubts().warn_of(
                f"{self.name}: its head of {self.config.num_classes} classes is new and has learned nothing, so its scores mean nothing. "
                "Train it first: skelzoo.learn.finetune.finetune(encoder, clips), or a loop of your own on encoder.net."
            )
        vectors = self._vectors()
        return lambda x: {"p": self._logits(vectors(x)).softmax(-1)}

    def _has_learned_nothing(self) -> bool:
        """Whether the head is as ``load`` drew it; by its numbers, as ``p.data`` tells no version counter."""
        now = dict(self.net.named_parameters())
        return all(name in now and torch.equal(now[name], drawn.to(now[name])) for name, drawn in self._drawn.items())

    def _logits(self, z: Tensor) -> Tensor:
        logits = self.net.forward_head(z).float()
        given, expected = logits.shape[1], self.config.num_classes
        if given != expected:
            raise ContractError(
                f"{self.name}: its head gives {given} numbers for a clip, its config says {expected} classes. "
                "Load it with skelzoo.load(NAME, num_classes=N) and train the head it then has, or run a head of your own on what embed gives."
            )
        return logits

    def _run(
        self,
        function: Callable[[Tensor], dict[str, Tensor]],
        clips: Clips,
        axes: str,
        prepared: bool,
        batch_size: int | None,
        progress: bool | None,
        all_maps: bool = False,
    ) -> dict[str, NDArray[np.float32]]:
        doubts = noted_doubts()
        # What computes vectors was made by now, see _vectors.
        if batch_size is None and not all_maps and self.device.type == "cpu" and not self._compile and self._fused and self._fused[2]:
            batch_size = SPLIT  # compiled nets would fill up few clips to that many
        room = self._rooms.setdefault((self.device, self.dtype, all_maps), Room())  # features take more memory than vectors
        if prepared:
            array = self._check_prepared(clips)
            # Torch shares its memory, and would warn of a file that is mapped for reading.
            count, batch = len(array), lambda start, stop: np.require(array[start:stop], requirements="W")
        else:
            items = self._clips(clips, axes)
            count, batch = len(items), lambda start, stop: prepare_batch(items[start:stop], self.contract, doubts, start if len(items) > 1 else None)
        nothing = count == 0
        if nothing:  # a clip of zeros tells the shapes of the outputs
            count, batch = 1, lambda start, stop: np.zeros((1, *self.contract.shape), np.float32)
        try:
            with evaluating(self.net), own_precision(self.device, self._tf32):
                rows = run(function, batch, count, self.device, self.dtype, batch_size, progress, same_size=bool(self._compile), room=room)
        finally:
            if not prepared:  # who prepared them may not have all yet
                doubts.warn()
        return {name: values[:0] for name, values in rows.items()} if nothing else rows

    def _clips(self, clips: Clips, axes: str) -> list[Clip]:
        if isinstance(clips, (np.ndarray, Tensor)):
            return clips_from_array(clips, self.contract.layout, axes)
        return clip_list(clips)

    def _check_prepared(self, clips: Any) -> FloatArray:
        try:
            array = clips.detach().cpu().float().numpy() if isinstance(clips, Tensor) else np.asarray(clips, np.float32)
        except (TypeError, ValueError) as error:
            raise AxesError(
                f"prepared clips are one array of numbers (N, C, T, V, M), not {type(clips).__name__}. Stack what skelzoo.prepare gives, or leave prepared out."
            ) from error
        if array.shape[1:] != self.contract.shape:
            raise AxesError(
                f"prepared clips have shape {array.shape}, {self.name} needs (N, {', '.join(map(str, self.contract.shape))}) = (N, C, T, V, M). Use skelzoo.prepare(clip, encoder.contract)."
            )
        if not np.isfinite(array).all():
            raise ClipError("prepared clips hold NaN or infinite values. Use skelzoo.fill_missing before preparing.")
        return np.ascontiguousarray(array)
