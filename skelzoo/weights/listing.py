"""What models there are and what is known of each. No torch."""

from __future__ import annotations

import dataclasses
import fnmatch
from pathlib import Path
from typing import Any

from skelzoo.errors import UnknownModelError, WeightsUnavailableError
from skelzoo.weights.files import GOLDEN
from skelzoo.weights.hub import Hub
from skelzoo.weights.manifest import ModelEntry, manifest
from skelzoo.weights.places import registered_folder, registered_names
from skelzoo.weights.sources import described, find

SUMMARIES = {"local:": "A folder of this machine. Its card says what it is.", "hf:": "A repository of the Hub. Its card says what it is."}

YOURS = ("yours", "Registered on this machine; its README.md says what it is.")
"""Family and summary of models that were registered under a name of one's own."""


def list_models(pattern: str = "*", pretrained: bool = False) -> list[str]:
    """Model names that match a shell pattern such as ``"skeattnclr*"``; one without any of ``*?[`` that is no name matches those that contain it, in small letters or capitals where none has it as it is.

    Args:
        pretrained: only those with weights, published or registered on this machine.

    Raises:
        UnknownModelError: the pattern is no text.
    """
    if not isinstance(pattern, str):
        raise UnknownModelError(f"pattern is {pattern!r}. Give a text such as 'psp*'; pretrained=True asks for models with weights.")
    names = {*(manifest().pretrained if pretrained else manifest().models), *registered_names()}
    wanted = pattern if pattern in names or any(c in pattern for c in "*?[") else f"*{pattern}*"
    return sorted(n for n in names if fnmatch.fnmatchcase(n, wanted)) or sorted(n for n in names if pattern.casefold() in n.casefold())


def info(
    name: str, *, endpoint: str | None = None, cache_dir: str | Path | None = None, local_files_only: bool = False, token: str | None = None
) -> dict[str, Any]:
    """Everything that is known of a model as plain JSON types: contract, licence, metrics, provenance, size.

    Args:
        name: a model name, ``local:FOLDER`` or ``hf:owner/repo@<commit>``; of the last, config and card alone are fetched.
            ``endpoint``, ``cache_dir``, ``local_files_only`` and ``token`` are those of ``skelzoo.load``.

    Returns:
        The manifest's entry, and ``registered``: the folder of weights that were registered under this name, or None; their config
        then stands for the entry's. Of models that the manifest does not know, ``card`` is their README.md, else None.

    Raises:
        UnknownModelError: with near names.
        WeightsUnavailableError: no such folder, or the Hub does not give it.
        IntegrityError, CheckpointError: the config of a registered or foreign model cannot be read, or was changed.
    """
    name = str(name)
    kind = next((k for k in SUMMARIES if name.startswith(k)), None)
    folder = None if kind else registered_folder(manifest().aliases.get(name, name))
    hub, card = Hub(endpoint, cache_dir, local_files_only, token), None
    if kind is None and (folder is None or name in (*manifest().models, *manifest().aliases)):
        entry = manifest().find(name)
        if folder is not None and entry.weights is None:  # a registered net may lack the head
            entry = dataclasses.replace(entry, config=described(name, hub)[1])
    else:
        found, config, card = described(name, hub)
        family, summary = ("unknown", SUMMARIES[kind]) if kind else YOURS
        entry = ModelEntry(found, family, summary, config, None)
    return {**dataclasses.asdict(entry), "config": entry.config.to_dict(), "registered": folder and str(folder), "card": card}


def vector_width(name: str) -> int | None:
    """Numbers of a model's vector, as its golden on this machine has them; None where there is none that can be read. Nothing is fetched."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(find(name).folder / GOLDEN, "numpy") as golden:
            return int(golden.get_slice("embedding").get_shape()[-1])
    except (OSError, SafetensorError, IndexError, WeightsUnavailableError):
        return None
