"""A weights folder becomes a model of the manifest: card, copy into the package, hashes, metrics."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from skelzoo.errors import CheckpointError, ManifestError
from skelzoo.weights.checkpoint import CARD, CHECKSUMS, CONFIG, GOLDEN, MODEL, dump_json, file_info, new_folder, read_checksums, read_config, read_verified
from skelzoo.weights.hub import NAME_PATTERN, models_folder
from skelzoo.weights.manifest import Metric, manifest, manifest_path, parse_manifest


@dataclass(frozen=True)
class Provenance:
    """What people must know of weights before they use them; see ``manifest.Weights``."""

    family: str
    summary: str
    license: str
    license_reason: str
    commercial_use: bool
    trained_on: Sequence[str]
    command: str
    notes: Sequence[str] = ()


def bundle(source: Path, name: str, provenance: Provenance, metrics: Sequence[Metric], parameters: int) -> Path:
    """Copy a weights folder into the package under a model's name, write its card and its manifest entry.

    Args:
        source: folder written by ``save_folder``; every file is checked against its checksums first.
        parameters: number of parameters of the net.

    Returns:
        The bundled folder.

    Raises:
        IntegrityError, CheckpointError: the source folder is damaged.
        ManifestError: the manifest would no longer follow its schema.
    """
    checksums = read_checksums(source)
    config = read_config(source, checksums)
    target = Path(__file__).resolve().parent / "bundled" / name
    with new_folder(target) as folder:
        for file in (MODEL, CONFIG, GOLDEN):
            read_verified(source, file, checksums)
            shutil.copyfile(source / file, folder / file)
        (folder / CARD).write_text(card(name, provenance, metrics, parameters, config.labels or ()), encoding="utf-8")
        files = {file: file_info(folder / file) for file in (MODEL, CONFIG, GOLDEN, CARD)}
        (folder / CHECKSUMS).write_text(dump_json({k: asdict(v) for k, v in files.items()}), encoding="utf-8")
    row = {
        "family": provenance.family,
        "summary": provenance.summary,
        "config": config.to_dict(),
        "weights": {
            "source": "bundled",
            "license": provenance.license,
            "license_reason": provenance.license_reason,
            "commercial_use": provenance.commercial_use,
            "parameters": parameters,
            "files": {k: asdict(v) for k, v in files.items()},
            "trained_on": list(provenance.trained_on),
            "command": provenance.command,
        },
        "metrics": [asdict(m) for m in metrics],
        "notes": list(provenance.notes),
    }
    _write_entry(name, row)
    return target


def check_name(name: str, arch: str) -> None:
    """Check that a net of an arch may be registered under a name.

    Raises:
        CheckpointError: a name that is none, that has published weights, or that stands for another arch.
    """
    known = manifest()
    if not NAME_PATTERN.fullmatch(name) or name in known.aliases or name in known.pretrained:
        why = "has published weights" if name in known.pretrained else f"stands for {known.aliases[name]}" if name in known.aliases else "is not a name"
        raise CheckpointError(f"nothing can be registered as {name!r}: it {why}. Choose another name of letters, digits, dots, dashes and underscores.")
    if name in known.models and known.models[name].config.arch != arch:
        raise CheckpointError(f"{name} is a {known.models[name].config.arch}, not a {arch}. Register this one under another name.")


def register(source: Path, name: str) -> Path:
    """Copy a weights folder to the user's models, where ``skelzoo.load(name)`` finds it.

    Args:
        source: folder written by ``save_folder``; every file is checked against its checksums first.

    Returns:
        The copy.

    Raises:
        IntegrityError, CheckpointError: the source is damaged, the name cannot be taken, or the copy cannot be written.
    """
    checksums = read_checksums(source)
    check_name(name, read_config(source, checksums).arch)
    with new_folder(models_folder() / name) as folder:
        for file in (MODEL, CONFIG, GOLDEN, CARD):
            (folder / file).write_bytes(read_verified(source, file, checksums))
        shutil.copyfile(source / CHECKSUMS, folder / CHECKSUMS)
    return models_folder() / name


def _write_entry(name: str, row: Mapping[str, Any]) -> None:
    path = manifest_path()
    data = json.loads(path.read_text(encoding="utf-8"))
    data["models"][name] = row
    text = dump_json(data)
    parse_manifest(text, str(path))
    scratch = path.with_name(f".{path.name}.tmp")
    scratch.write_text(text, encoding="utf-8")
    scratch.replace(path)
    manifest.cache_clear()


def card(name: str, provenance: Provenance, metrics: Sequence[Metric], parameters: int, labels: Sequence[str]) -> str:
    """The model card (README.md) of a weights folder, with the metadata block the Hub reads."""
    if not metrics:
        raise ManifestError(f"{name}: a card without a measured number is not published. Run skelzoo probe first.")
    rows = "\n".join(f"| {m.dataset} | {m.protocol} | {m.value:.1f} | `{m.source}` |" for m in metrics)
    return f"""---
license: {provenance.license.lower()}
library_name: skelzoo
tags: [skeleton, action-recognition, self-supervised]
---

# {name}

{provenance.summary}

{parameters:,} parameters. Load with `skelzoo.load("{name}")`.

## Licence

{provenance.license}. {provenance.license_reason} Commercial use: {"yes" if provenance.commercial_use else "no"}.

## Data

{chr(10).join(f"- {d}" for d in provenance.trained_on)}

## Recipe

`{provenance.command}`

## Measured

| data | protocol | value | command |
| --- | --- | --- | --- |
{rows}

## Classes

{", ".join(labels) or "No classification head."}

## Notes

{chr(10).join(f"- {n}" for n in provenance.notes)}
"""
