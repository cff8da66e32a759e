"""A weights folder becomes a model of the manifest: its entry, with hashes and metrics, and the copy that the package has."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from skelzoo.errors import CheckpointError
from skelzoo.skeleton.writing import alone, whole_file
from skelzoo.weights.cards import Provenance, card
from skelzoo.weights.files import FileInfo, copy_folder, dump_json, read_checksums
from skelzoo.weights.manifest import Metric, ModelConfig, in_package, manifest, manifest_path, parse_manifest
from skelzoo.weights.places import NAME_PATTERN, models_folder
from skelzoo.weights.sources import read_config

ENTRY = ".entry.json"
"""Ends the name of a file that holds a model's entry and nothing else of a manifest."""


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
    config = read_config(f"local:{source}")
    text = card(name, provenance, metrics, parameters, config.labels or ())
    target = Path(__file__).resolve().parent / "bundled" / name
    files = copy_folder(source, read_checksums(source), target, text)
    write_entry(name, entry_row("bundled", config, provenance, metrics, parameters, files))
    return target


def entry_row(
    source: str, config: ModelConfig, provenance: Provenance, metrics: Sequence[Metric], parameters: int, files: Mapping[str, FileInfo]
) -> dict[str, Any]:
    """A model's entry, as the manifest has it."""
    weights = {
        "source": source,
        "license": provenance.license,
        "license_reason": provenance.license_reason,
        "commercial_use": provenance.commercial_use,
        "parameters": parameters,
        "files": {k: asdict(v) for k, v in files.items()},
        "trained_on": list(provenance.trained_on),
        "command": provenance.command,
    }
    return {
        "family": provenance.family,
        "summary": provenance.summary,
        "config": config.to_dict(),
        "weights": weights,
        "metrics": [asdict(m) for m in metrics],
        "notes": list(provenance.notes),
    }


def check_name(name: str, arch: str) -> None:
    """Check that a net of an arch may be registered under a name.

    Raises:
        CheckpointError: a name that is none, that has published weights, or that stands for another arch.
    """
    known = manifest()
    if not isinstance(name, str) or not NAME_PATTERN.fullmatch(name) or name in known.aliases or name in known.pretrained:
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
        IntegrityError, CheckpointError: the source is damaged, or the name cannot be taken.
        WriteError: the copy cannot be written.
    """
    check_name(name, read_config(f"local:{source}").arch)
    copy_folder(source, read_checksums(source), models_folder() / name)
    return models_folder() / name


def check_entry(name: str, row: Mapping[str, Any]) -> str:
    """The text of the manifest with a model's entry in it.

    Raises:
        ManifestError: it would not follow its schema.
    """
    path = manifest_path()
    data = json.loads(path.read_text(encoding="utf-8"))
    data["models"][name] = row
    text = dump_json(data)
    parse_manifest(text, str(path))
    return text


def write_entry(name: str, row: Mapping[str, Any]) -> None:
    """Put a model's entry into the manifest of this source checkout, one process at a time.

    Raises:
        ManifestError: the manifest would no longer follow its schema.
        WriteError: it cannot be written.
    """
    path = manifest_path()
    with alone(path.with_name(f".{path.name}.lock"), path):
        text = check_entry(name, row)
        with whole_file(path) as file:
            file.write(text.encode())
    manifest.cache_clear()


def entry_file(folder: Path) -> Path | None:
    """Where the entry of a published folder goes when skelzoo is no source checkout, beside it: the next upgrade would replace what is written into the package."""
    return folder.with_name(folder.name + ENTRY) if in_package(manifest_path()) else None
