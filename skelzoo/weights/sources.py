"""From a name to the folder that holds the model: one order, online and off.

A name that says where (``local:``, ``hf:``) comes first, then the package, the models registered on this machine, the
Hub's cache, and the Hub. No torch.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from skelzoo.errors import CheckpointError, UnknownModelError, WeightsUnavailableError
from skelzoo.weights.files import (
    CARD,
    CHECKSUMS,
    CONFIG,
    GET_AGAIN,
    GOLDEN,
    LISTED,
    MAX_JSON,
    MODEL,
    FileInfo,
    check_target,
    copy_folder,
    parse_json,
    read_checksums,
    read_verified,
)
from skelzoo.weights.hub import HUB, Hub, cache_folder, hub_folder, pin
from skelzoo.weights.manifest import ModelConfig, ModelEntry, manifest
from skelzoo.weights.places import bundled_folder, local_folder, registered_folder


@dataclass(frozen=True)
class Source:
    """Where a model comes from.

    Attributes:
        name: as it was asked for; a model of the Hub with its full commit.
        kind: how it is supplied.
        folder: where it lies; for the Hub in the cache, where it may be missing.
        pinned: ``hf:owner/repo@<commit>`` for the Hub, else "".
        entry: its entry in the manifest, where that says which bytes it is.
    """

    name: str
    kind: Literal["local", "bundled", "registered", "hub"]
    folder: Path
    pinned: str = ""
    entry: ModelEntry | None = None

    @property
    def listed(self) -> Mapping[str, FileInfo] | None:
        """What the manifest says that the folder must hold."""
        return self.entry.weights.files if self.entry and self.entry.weights else None

    @property
    def missing(self) -> list[str]:
        """Files that are not there; before a foreign model's checksum list is, those that every model has."""
        names = self.listed or (read_checksums(self.folder) if (self.folder / CHECKSUMS).is_file() else (CHECKSUMS, *LISTED))
        return [name for name in names if not (self.folder / name).is_file()]


@dataclass(frozen=True)
class Located:
    """A folder that is there, and the size and sha256 of every file that it must hold."""

    source: Source
    files: Mapping[str, FileInfo]

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return self.source.folder

    def read(self, name: str) -> bytes:
        """The bytes of a file.

        Raises:
            IntegrityError: they are not those listed.
        """
        return read_verified(self.folder, name, self.files)

    def card(self) -> str:
        """README.md, whatever it is, as nothing depends on it; "" where there is none."""
        try:
            with (self.folder / CARD).open("rb") as file:
                return file.read(MAX_JSON).decode("utf-8", "replace")
        except OSError:
            return ""

    def config(self, data: bytes) -> ModelConfig:
        """What ``config.json`` says.

        Raises:
            CheckpointError: it is no config, or not that of the manifest.
        """
        path = self.folder / CONFIG
        try:
            row = parse_json(data)
        except ValueError as error:
            raise CheckpointError(f"{path}: not JSON ({error}). {GET_AGAIN}") from error
        config = ModelConfig.from_dict(row, str(path))
        if self.source.entry and config != self.source.entry.config:
            raise CheckpointError(f"{self.source.name}: config.json in {self.folder} is not the config of the manifest. Reinstall skelzoo.")
        return config


def find(name: str, hub: Hub = HUB) -> Source:
    """Where a model comes from. Nothing is fetched; the Hub is asked only which commit an unpinned ``hf:`` name is.

    Raises:
        UnknownModelError: no such name; near ones are listed.
        WeightsUnavailableError: no published weights, no such folder, or a commit that cannot be told.
    """
    if not isinstance(name, str):
        raise UnknownModelError(f"the name of a model is text, not {type(name).__name__}. A folder of weights is 'local:{name}'.")
    if name.startswith("local:"):
        return Source(name, "local", local_folder(name.removeprefix("local:")))
    if name.startswith("hf:"):
        pinned = pin(name, hub)
        return Source(pinned, "hub", cache_folder(pinned, hub), pinned)
    known = manifest()
    registered = registered_folder(known.aliases.get(name, name))
    if registered is not None and registered.name not in known.pretrained:
        return Source(name, "registered", registered)
    entry = known.find(name)
    if entry.weights is None:
        raise WeightsUnavailableError(_unavailable(entry))
    if entry.weights.source == "bundled":
        return Source(name, "bundled", bundled_folder(entry.name), "", entry)
    return Source(name, "hub", cache_folder(entry.weights.source, hub), entry.weights.source, entry)


def locate(name: str, hub: Hub = HUB, repair: bool = False, wanted: Collection[str] = LISTED) -> Located:
    """The folder of a model, fetched where it is not on this machine.

    Args:
        repair: fetch files of the Hub again that are here and damaged.
        wanted: names of the files that are needed.

    Raises:
        UnknownModelError, WeightsUnavailableError: as ``find``, or the Hub does not give it.
        IntegrityError, WriteError: as ``hub_folder``.
        CheckpointError: no usable checksum list.
    """
    return _fetched(find(name, hub), hub, repair, wanted)


def locate_weights(name: str, hub: Hub = HUB) -> Located:
    """The folder of a model that is to be loaded: its config and weights are needed, errors as ``locate``.

    Card and golden are fetched with them where they can be, and not asked for later.
    """
    source, needed = find(name, hub), (MODEL, CONFIG)
    here = all(os.path.isfile(source.folder / file) for file in needed)  # False where one may not look
    return _fetched(source, hub, wanted=needed, also=() if here else (GOLDEN, CARD))


def _fetched(source: Source, hub: Hub, repair: bool = False, wanted: Collection[str] = LISTED, also: Collection[str] = ()) -> Located:
    if source.pinned:
        hub_folder(source.pinned, hub, source.listed, repair, wanted, also)
    return Located(source, source.listed or read_checksums(source.folder))


def read_config(name: str, hub: Hub = HUB) -> ModelConfig:
    """``config.json`` of a model, its sha256 checked first; errors as ``locate`` and ``Located``."""
    located = locate(name, hub, wanted=(CONFIG,))
    return located.config(located.read(CONFIG))


def described(name: str, hub: Hub = HUB) -> tuple[str, ModelConfig, str]:
    """Name, with the full commit, config and card of a model; errors as ``read_config``."""
    located = _fetched(find(name, hub), hub, wanted=(CONFIG,), also=(CARD,))
    return located.source.name, located.config(located.read(CONFIG)), located.card()


def fetch(name: str, to: str | Path | None = None, hub: Hub = HUB, repair: bool = False, overwrite: bool = False) -> Located:
    """Have a model on this machine, every file checked.

    Args:
        to: also copy it to this folder, to be loaded as ``local:TO``.
        repair: fetch files of the Hub again that are here and damaged.
        overwrite: replace another model that ``to`` holds.

    Raises:
        IntegrityError: a file is not the one listed.
        CheckpointError: ``to`` is a folder of something else, or holds another model.
        WriteError: ``to`` or the cache cannot be written.
        UnknownModelError, WeightsUnavailableError: as ``locate``.
    """
    if to is not None:
        check_target(Path(to), overwrite=True)
    located = locate(name, hub, repair)
    if to is not None:
        check_target(Path(to), overwrite, located.files)
    for file in located.files:
        located.read(file)
    if to is not None:
        copy_folder(located.folder, located.files, Path(to))
    return located


def _unavailable(entry: ModelEntry) -> str:
    from skelzoo.weights.author_config import member_of
    from skelzoo.weights.author_keys import RULES

    nearest = [n for n in manifest().pretrained if manifest().find(n).family == entry.family] or manifest().pretrained
    convert = f"convert a checkpoint of the authors' code with skelzoo convert CHECKPOINT --as {entry.name} --to FOLDER --register; "
    return (
        f"{entry.name} has no published weights. You can: load a folder of your own with skelzoo.load('local:FOLDER'); "
        f"{convert if member_of(entry.config.arch) in RULES else ''}train it with skelzoo pretrain; "
        f"get the untrained net with skelzoo.load({entry.name!r}, pretrained=False). Nearest model with weights: {nearest[0] if nearest else 'none'}."
    )
