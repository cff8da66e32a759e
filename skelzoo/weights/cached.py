"""What lies in the Hub's cache of this machine."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from skelzoo.weights.files import CHECKSUMS, GOLDEN, MODEL
from skelzoo.weights.hub import Hub


@dataclass(frozen=True)
class CachedModel:
    """A model in the cache: its pinned name, folder and size in bytes."""

    name: str
    folder: Path
    size: int


def cached_models(hub: Hub) -> list[CachedModel]:
    """Models of skelzoo in the cache, told from others by their golden or checksum list."""
    found = []
    for model in sorted(hub.cache.glob(f"models--*--*/snapshots/*/{MODEL}")):
        folder = model.parent
        if re.fullmatch("[0-9a-f]{40}", folder.name) and ((folder / GOLDEN).is_file() or (folder / CHECKSUMS).is_file()):
            repo = folder.parent.parent.name.removeprefix("models--").replace("--", "/")
            found.append(CachedModel(f"hf:{repo}@{folder.name}", folder, sum(p.stat().st_size for p in folder.iterdir())))
    return found
