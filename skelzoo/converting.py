"""convert(): checkpoints of the authors' code become weights folders."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from skelzoo.errors import CheckpointError
from skelzoo.inference.encoder import Encoder
from skelzoo.weights.author_config import Wanted
from skelzoo.weights.author_files import AuthorFile, check_constants, check_state, read_author_file
from skelzoo.weights.author_keys import Translation, translate
from skelzoo.weights.cards import UNKNOWN
from skelzoo.weights.checkpoint import build_net
from skelzoo.weights.entries import check_name
from skelzoo.weights.entries import register as register_folder
from skelzoo.weights.files import check_target, file_info
from skelzoo.weights.hub import card_metadata
from skelzoo.weights.infer_options import infer
from skelzoo.weights.manifest import manifest
from skelzoo.weights.places import models_folder

UNTRAINED_HEAD = (
    "THE HEAD NEVER LEARNED: in a pretraining file the classification layer has its random start, so logits and classify() mean nothing. "
    "Convert without --head (head=True), or fit one: skelzoo.load(..., num_classes=N)."
)
NO_HEAD = "head, as that of a pretraining file never learned; --head (head=True) keeps it"
OF_NECK = ("attention_mask", "salient", "non_salient", "projection")
"""Features of SkeAttnCLR that its neck gives."""

RANDOM_NECK = (
    f"This file comes from linear evaluation or fine-tuning, in which the authors' code leaves the neck random: {', '.join(OF_NECK[:-1])} "
    f"and {OF_NECK[-1]} mean nothing, and features() refuses them. Take them from the pretraining file. The arch stgcn is SkeAttnCLR's ST-GCN without a neck."
)


@dataclass(frozen=True)
class Conversion:
    """What ``convert`` did.

    Attributes:
        folder: the weights folder.
        arch, options: of the net.
        used: the authors' name of a tensor -> ours; an ensemble's are after the stream's name. No tensor of the net is left random.
        dropped: the authors' name of an entry -> why it is not needed.
        assumed: what the checkpoint does not tell and nobody named -> the value taken.
        notes: what to know before using the weights.
        registered: name under which ``skelzoo.load`` finds a copy, or None.
    """

    folder: Path
    arch: str
    options: Mapping[str, Any]
    used: Mapping[str, str]
    dropped: Mapping[str, str]
    assumed: Mapping[str, Any]
    notes: Sequence[str]
    registered: str | None

    def report(self) -> str:
        """The same in a few lines, names of tensors counted."""
        lines = [f"{self.arch} {dict(self.options)}", f"used: {len(self.used)} tensors"]
        lines += [f"dropped: {count}, {why}" for why, count in Counter(self.dropped.values()).items()]
        lines += [f"assumed: {name} {value}" for name, value in self.assumed.items()]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def convert(
    path: str | Path | Sequence[str | Path],
    *,
    to: str | Path,
    arch: str | None = None,
    name: str | None = None,
    options: Mapping[str, Any] | None = None,
    layout: str | None = None,
    head: bool | None = None,
    licence: str = UNKNOWN,
    register: str | None = None,
    overwrite: bool = False,
) -> Conversion:
    """Turn a checkpoint of the authors' code into a weights folder.

    Nothing in the file is run. Every tensor must be explained, and what the file stores of graph and position codes must
    be what our net computes.

    Args:
        path: .pt, .pth, .state, .safetensors or the like; for an ensemble three, of the joint, bone and motion stream.
        to: folder to write, loaded as ``local:FOLDER``.
        arch: the net; clips are prepared as its paper does where that is known. Or
        name: a model of the manifest, whose arch, options, contract and labels are taken.
        options: what shapes do not tell, e.g. ``{"heads": 8}``; for every arch also ``num_frames`` and ``num_persons`` of a clip.
        layout: of the joints; by default that of ntu25, kinect20 and coco17 which has as many.
        head: keep the classification layer; by default where it was trained, which it never is in a pretraining file.
        licence: of the weights, for the card.
        register: name under which a copy goes to the user's models, for ``skelzoo.load(name)``.
        overwrite: replace a model that the folder, or the name, holds.

    Raises:
        CheckpointError: a file that cannot be read or does not fit, an option that contradicts it, a folder or name that cannot be taken.
        WriteError: the folder cannot be written.
        UnknownModelError, UnknownArchError, LayoutError: unknown names, near ones listed.
    """
    if (arch is None) == (name is None):
        raise CheckpointError("a conversion needs an arch or the name of a model (--arch or --as), and not both. skelzoo.list_models() shows the models.")
    entry = None if name is None else manifest().find(name)
    wanted = Wanted(str(arch) if entry is None else entry.config.arch, entry, options or {}, layout, head is not False)
    paths = [Path(p) for p in ([path] if isinstance(path, (str, Path)) else path)]
    wanted.check(len(paths))
    check_target(Path(to), overwrite)
    if register is not None:
        check_name(register, wanted.arch)
        check_target(models_folder() / register, overwrite)
    files = [read_author_file(p) for p in paths]
    if head is None and any(file.pretraining for file in files):
        wanted, why = replace(wanted, head=False), NO_HEAD
    else:
        why = "head, which was not wanted"
    with _about(", ".join(map(str, paths))):
        encoder, done = _build(wanted, files, Path(to), register, why)
    encoder.save(to, _card(done, name, paths, licence))
    if register is not None:
        register_folder(Path(to), register)
    return done


@contextlib.contextmanager
def _about(files: str) -> Iterator[None]:
    """Name the files in what is said of them."""
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(f"{files}: {error}") from error


def _build(wanted: Wanted, files: Sequence[AuthorFile], to: Path, register: str | None, no_head: str) -> tuple[Encoder, Conversion]:
    """The encoder, and what became of the files; ``no_head`` says why heads are left out where they are."""
    parts = [_trimmed(translate(wanted.member, file.encoder), wanted, file, no_head) for file in files]
    sizes = infer(wanted.member, parts[0], wanted.named, wanted.layout_name)
    for part in parts:
        check_constants(part.constants, sizes.layout, sizes.options.get("graph", "agcn"))
    pretraining = any(file.pretraining for file in files)
    config, assumed, notes = wanted.config(sizes, trained_head=not pretraining)
    net, merged = build_net(config), Translation()
    for stream, part, file in zip(wanted.streams or ("",), parts, files, strict=True):
        where = f"{stream}: " if stream else ""
        merged.state.update({_member_key(stream, k): v for k, v in part.state.items()})
        merged.used.update({where + file.prefix + k: _member_key(stream, v) for k, v in part.used.items()})
        merged.unused.update({where + file.prefix + k: v for k, v in part.unused.items()} | {where + k: v for k, v in file.dropped.items()})
    edges = {k: v for k, v in net.state_dict().items() if k.endswith("edge_importance")}
    plain = bool(edges) and not any(k in merged.state for k in edges)
    if plain:  # the authors' code then multiplies by 1, which is where ours starts
        merged.state.update(edges)
    check_state(net, merged)
    net.load_state_dict(merged.state)
    skeattnclr, converted = wanted.member.startswith("skeattnclr"), sum(file.converted for file in files)
    notes += [UNTRAINED_HEAD] if pretraining and config.num_classes else []
    random = [stream for stream, file in zip(wanted.streams or ("",), files, strict=True) if skeattnclr and not file.pretraining]
    config = replace(config, untrained=tuple(f"{stream}.{name}".removeprefix(".") for stream in random for name in OF_NECK))
    notes += [RANDOM_NECK] if random else []
    notes += ["Trained without edge importance, which is 1."] if plain else []
    notes += [f"{converted} tensors were not stored in float32, and are now."] if converted else []
    return Encoder(net, config, str(to), "cpu"), Conversion(to, wanted.arch, config.options, merged.used, merged.unused, assumed, notes, register)


def _trimmed(tensors: Translation, wanted: Wanted, file: AuthorFile, why: str) -> Translation:
    """The tensors without the head, where none is wanted or what lies in its place is none."""
    projects = wanted.member == "stgcn" and file.pretraining and not any(k.startswith("neck.") for k in tensors.unused)
    if wanted.head and not projects:
        return tensors
    why = "projector of the contrastive loss" if projects else why
    gone = {theirs: why for theirs, ours in tensors.used.items() if ours.startswith("head.")}
    return Translation(
        {k: v for k, v in tensors.state.items() if not k.startswith("head.")},
        {k: v for k, v in tensors.used.items() if k not in gone}, tensors.unused | gone, tensors.constants,
    )  # fmt: skip


def _member_key(stream: str, key: str) -> str:
    """Name in a ``StreamEnsemble`` of a tensor of one of its nets; the name as it is without a stream."""
    kind, rest = ("heads", key.removeprefix("head.")) if key.startswith("head.") else ("members", key)
    return f"{kind}.{stream}.{rest}" if stream else key


def _card(done: Conversion, name: str | None, paths: Sequence[Path], licence: str) -> str:
    """The model card of a converted checkpoint."""
    rows = ((path.name, file_info(path)) for path in paths)
    title, licence = f"{name or done.arch}, converted", licence.strip() or UNKNOWN
    return f"""---
{card_metadata(title, licence.lower(), ("skeleton", "action-recognition"), (), ()).strip()}
---

# {title}

Converted by skelzoo from a checkpoint in the format of the authors' code. The weights are by whoever trained them.

## Licence

{licence}

## Files

| file | bytes | sha256 |
| --- | --- | --- |
{chr(10).join(f"| {file} | {info.size} | `{info.sha256}` |" for file, info in rows)}

## Conversion

{chr(10).join(f"- {line}" for line in done.report().splitlines())}
"""
