"""What a converted checkpoint is: arch, options, contract and labels, from what was asked for and what its tensors tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from skelzoo.errors import CheckpointError
from skelzoo.nets.archs import ARCHS, check_options, find_arch
from skelzoo.nets.ensemble import StreamEnsemble
from skelzoo.skeleton.contract import STREAMS, Contract
from skelzoo.weights.author_keys import RULES
from skelzoo.weights.infer_options import Sizes
from skelzoo.weights.manifest import ModelConfig, ModelEntry, manifest

UNTOLD = ("heads", "sharpness", "dropout", "weights", "coefficients", "graph")
"""Options that no shape tells; this project's own additions, off by default, are not among them."""

CLIP_OPTIONS = ("num_frames", "num_persons")
"""Options that every arch takes here, as frames and persons of the contract."""

OWN_STEPS: tuple[Mapping[str, Any], ...] = ({"step": "drop_empty_frames"}, {"step": "center"}, {"step": "resample"})
"""Preparation where no paper's is known."""

FRAMES, PERSONS = 64, 2
"""Of a contract where nothing tells: those of SkeAttnCLR."""

SHARED_DATA = {"stgcn": ("skeattnclr-stgcn", 50)}
"""Arch -> the one whose papers prepare their data alike, and to how many frames (CrosSCLR, AimCLR); SkeAttnCLR's own files keep its frames."""

DSTA_NET = (
    "DSTA-Net's own data are 150 frames of a clip, cropped to 128, and its results are the sum of four streams, a file each. Here the whole clip is sampled, "
    "and the stream is joint, whichever the file was trained on."
)


def member_of(arch: str) -> str:
    """Arch of one stream, where an arch is an ensemble, else the arch itself.

    Raises:
        UnknownArchError: with near names.
    """
    net = find_arch(arch).net
    return next(a for a, row in ARCHS.items() if row.net is net and not row.ensemble)


@dataclass(frozen=True)
class Wanted:
    """What the converter was asked for.

    Attributes:
        arch: of the whole net.
        entry: model of the manifest that the checkpoint is to be, or None.
        options: as named by the user.
        layout: as named by the user, or None.
        head: keep the classification layer.
    """

    arch: str
    entry: ModelEntry | None
    options: Mapping[str, Any]
    layout: str | None
    head: bool

    @property
    def member(self) -> str:
        """Arch of one checkpoint."""
        return member_of(self.arch)

    @property
    def streams(self) -> tuple[str, ...]:
        """One name per checkpoint; empty for a net that is not an ensemble of streams."""
        return STREAMS if find_arch(self.arch).ensemble is StreamEnsemble else ()

    @property
    def named(self) -> dict[str, Any]:
        """The options of the manifest's entry, and over them the user's."""
        return {**(self.entry.config.options if self.entry else {}), **self.options}

    @property
    def layout_name(self) -> str | None:
        """Name of the layout, where one is known before the checkpoint is."""
        return self.entry.config.contract.layout if self.entry else self.layout

    def check(self, files: int) -> None:
        """Check what can be checked before a file is read.

        Raises:
            CheckpointError: no rules for the arch, a wrong number of files, options it does not have, another layout than the entry's.
            UnknownArchError: with near names.
        """
        known, ensemble = find_arch(self.arch).options, find_arch(self.arch).ensemble
        if self.member not in RULES or ensemble not in (None, StreamEnsemble):
            raise CheckpointError(f"no checkpoints of the authors' code are known for {self.arch}. They are for {', '.join(RULES)}.")
        if files != max(len(self.streams), 1):
            order = f" in the order {', '.join(self.streams)}" if self.streams else ""
            raise CheckpointError(f"{self.arch} is made from {max(len(self.streams), 1)} checkpoint(s), not {files}. Give them{order}.")
        check_options(self.arch, {n: v for n, v in self.options.items() if n in known or n not in CLIP_OPTIONS})
        wrong = [n for n in CLIP_OPTIONS if type(self.options.get(n, 1)) is not int or self.options.get(n, 1) < 1]
        if wrong:
            raise CheckpointError(f"{', '.join(f'{n} is {self.options[n]!r}' for n in wrong)}. Give a whole number of at least 1.")
        if self.layout and self.layout != self.layout_name:
            raise CheckpointError(
                f"layout {self.layout} was named, but the model's is {self.layout_name}. Leave the layout out, or name an arch instead of the model."
            )

    def config(self, sizes: Sizes, trained_head: bool) -> tuple[ModelConfig, dict[str, Any], list[str]]:
        """The config of a checkpoint of these sizes, what was assumed for it, and what to know of its preparation.

        Raises:
            CheckpointError: the head is not of the entry's classes, or joints have more coordinates than those of clips.
        """
        known, classes = find_arch(self.arch).options, sizes.num_classes if self.head else 0
        if sizes.channels not in (2, 3):
            raise CheckpointError(
                f"the net reads {sizes.channels} coordinates per joint, clips have 2 or 3. Streams that were concatenated cannot be told apart."
            )
        if self.entry and classes not in (0, self.entry.config.num_classes):
            raise CheckpointError(
                f"{self.entry.name} has {self.entry.config.num_classes} classes, the checkpoint {classes}. Convert without the head, or name an arch instead."
            )
        assumed = {n: known[n] for n in UNTOLD if n in known and n not in self.named and n not in sizes.options}
        contract, clip, notes = self._contract(sizes)
        told = {"num_frames": contract.frames, "num_persons": contract.persons, **assumed, **self.named, **sizes.options}
        options = {n: told[n] for n in known if n in told}
        labels = self.entry.config.labels if self.entry and classes and trained_head else None
        return ModelConfig(self.arch, options, contract, classes, labels), {**assumed, **clip, **sizes.assumed}, notes

    def _contract(self, sizes: Sizes) -> tuple[Contract, dict[str, Any], list[str]]:
        """The contract, the sizes of a clip that were assumed, and notes."""
        known, notes = find_arch(self.arch).options, list[str]()
        like, frames = SHARED_DATA.get(self.arch, (self.arch, None))
        frames = None if _is_skeattnclr(sizes) else frames
        paper = self.entry or next((e for e in manifest().models.values() if _prepares(e, like, sizes.layout.name)), None)
        base = paper.config.contract if paper else Contract(sizes.layout.name, sizes.channels, PERSONS, known.get("num_frames", FRAMES), OWN_STEPS)
        if not self.entry:
            pair = ("joint", "motion")[: {**known, **self.named, **sizes.options}.get("streams", 1)]
            base = base.replace(frames=frames or base.frames, streams=self.streams or pair)
        told = {"num_frames": sizes.frames or self.options.get("num_frames"), "num_persons": sizes.persons or self.options.get("num_persons")}
        used = {"num_frames": told["num_frames"] or base.frames, "num_persons": told["num_persons"] or base.persons}
        steps = tuple({**s, "frames": used["num_frames"]} if s["step"] == "resample" else s for s in base.steps)
        contract = base.replace(channels=sizes.channels, persons=used["num_persons"], frames=used["num_frames"], steps=steps)
        if not self.entry:
            how = f"as those of {paper.name}" if paper else "by this project's own steps, as no paper's are known for this net and layout"
            size = f"layout {contract.layout}, streams {', '.join(contract.streams)}, {contract.frames} frames"
            notes = [f"Clips are prepared {how}: {size}. Check that the network was trained so."]
            notes += [DSTA_NET] if self.member == "psp" and not sizes.options.get("pyramid", True) else []
        return contract, {n: v for n, v in used.items() if told[n] is None and not self.entry}, notes


def _is_skeattnclr(sizes: Sizes) -> bool:
    """Whether a file is SkeAttnCLR's, by its neck or its graph."""
    return sizes.options.get("graph", sizes.given.get("graph")) == "agcn" or any(theirs.startswith("neck.") for theirs in sizes.tensors.unused)


def _prepares(entry: ModelEntry, arch: str, layout: str) -> bool:
    """Whether a model of the manifest, other than those that this project published, is of an arch and layout."""
    return entry.weights is None and entry.config.arch == arch and entry.config.contract.layout == layout
