"""publish(): a weights folder goes to the Hub, and the manifest names its commit and hashes."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_type_hints

from skelzoo.errors import CheckpointError, ManifestError
from skelzoo.inference.encoder import Encoder
from skelzoo.inference.replacing import about_models, check_replaced
from skelzoo.loading import verify
from skelzoo.skeleton.writing import check_place, whole_file
from skelzoo.weights.cards import Provenance, card
from skelzoo.weights.entries import check_entry, entry_file, entry_row, write_entry
from skelzoo.weights.files import CHECKSUMS, LISTED, copy_folder, dump_json, parse_json, read_checksums, to_send
from skelzoo.weights.hub import HUB, Hub, check_repo, upload
from skelzoo.weights.manifest import Metric, ModelEntry, manifest, manifest_path
from skelzoo.weights.places import NAME_PATTERN

UNPUBLISHED = "0" * 40
"""Stands for the commit while there is none."""


@dataclass(frozen=True)
class Publication:
    """What ``publish`` did.

    Attributes:
        name: of the model.
        pinned: ``hf:owner/repo@<commit>``; "" for a dry run.
        manifest: the file in which it was pinned: the manifest of a source checkout, else ``FOLDER.entry.json``, beside the entries that are there.
        card: the model card.
    """

    name: str
    pinned: str
    manifest: Path
    card: str


def publish(
    folder: str | Path, repo: str, *, name: str | None = None, about: str | Path | None = None, dry_run: bool = False, private: bool = False, hub: Hub = HUB
) -> Publication:
    """Check a weights folder, write its card, upload it in one commit, and pin commit and hashes in the manifest.

    The folder itself stays as it is. Only a source checkout has a manifest to write in: an installed package is replaced by the next
    upgrade, so the entry then goes into a file beside the folder, and the model is known by its pinned name.

    Args:
        folder: its path, also as ``local:FOLDER``.
        repo: ``owner/repo``; made where there is none.
        name: of the model; by default that of the repository.
        about: JSON file with the keys of ``Provenance`` and ``metrics``; by default what the manifest says of the model.
        dry_run: send nothing.
        private: make the repository, where there is none, one that only you see.

    Raises:
        CheckpointError: the folder is damaged, or a name that cannot be taken.
        ManifestError: licence, provenance or metrics are missing.
        WriteError: the manifest, or the file beside the folder, cannot be written, or that file holds something else than entries.
        WeightsUnavailableError: not owner/repo, or the Hub cannot be reached, or refuses.
    """
    check_repo(repo)
    folder = str(folder).removeprefix("local:")
    name = name or repo.rpartition("/")[2]
    found = verify(f"local:{folder}")
    if not found.ok:
        raise CheckpointError(f"{folder}: is not published, as it is damaged. " + " ".join(filter(None, (found.hash, found.load, found.golden))))
    encoder = Encoder.from_pretrained(f"local:{folder}", device="cpu")
    _check_name(name, encoder)
    provenance, metrics = _about(name, about)
    beside = entry_file(Path(folder).resolve())
    target = beside or manifest_path()
    check_place(target)
    if beside is not None:
        check_replaced({beside: about_models})
    parameters = sum(p.numel() for p in encoder.net.parameters())
    row = entry_row(f"hf:{repo}@{UNPUBLISHED}", encoder.config, provenance, metrics, parameters, read_checksums(Path(folder)))
    check_entry(name, row)
    text = card(name, provenance, metrics, parameters, encoder.labels or (), f"hf:{repo}")
    if dry_run:
        return Publication(name, "", target, text)
    with tempfile.TemporaryDirectory() as scratch:
        with to_send():
            files = copy_folder(Path(folder), read_checksums(Path(folder)), Path(scratch) / "model", text)
        pinned = upload(Path(scratch) / "model", (*LISTED, CHECKSUMS), repo, f"{name}, by skelzoo publish", hub, private)
    row = entry_row(pinned, encoder.config, provenance, metrics, parameters, files)
    if beside is None:
        write_entry(name, row)
    else:
        earlier = parse_json(beside.read_bytes() or b"{}") if beside.is_file() else {}
        with whole_file(beside) as file:
            file.write(dump_json({**earlier, name: row}).encode())
    return Publication(name, pinned, target, text)


def _check_name(name: str, encoder: Encoder) -> None:
    known = manifest()
    if not NAME_PATTERN.fullmatch(name) or name in known.aliases:
        raise CheckpointError(f"nothing can be published as {name!r}: it is not a name of a model. Choose another with --as.")
    if name in known.models and known.models[name].config != encoder.config:
        raise CheckpointError(f"{name} is in the manifest with another config than this folder's. Publish this one under another name, with --as.")


def _about(name: str, path: str | Path | None) -> tuple[Provenance, Sequence[Metric]]:
    """What people must know of the weights, from a file or the manifest."""
    if path is None:
        entry = manifest().models.get(name)
        if entry is None or entry.weights is None:
            raise ManifestError(f"{name}: the manifest knows no licence and provenance of it. Give them with --about FILE; its keys: {', '.join(_KEYS)}.")
        return known_provenance(entry), entry.metrics
    try:
        row: Any = parse_json(Path(path).read_bytes())
    except (OSError, ValueError) as error:
        raise ManifestError(f"{path}: cannot be read ({error}). It is JSON with the keys {', '.join(_KEYS)}.") from error
    metrics = row.pop("metrics", None) if isinstance(row, dict) else None
    keys = {f.name for f in fields(Metric)}
    if not isinstance(metrics, list) or row.keys() != {*_KEYS} - {"metrics"} or any(not isinstance(m, dict) or m.keys() != keys for m in metrics):
        raise ManifestError(f"{path}: the keys must be exactly {', '.join(_KEYS)}, and those of every metric {', '.join(sorted(keys))}.")
    for part, kinds in ((row, get_type_hints(Provenance)), *((metric, get_type_hints(Metric)) for metric in metrics)):
        for key, value in part.items():
            if not _fits(value, kinds[key]):
                raise ManifestError(f"{path}: {key} cannot be {value!r}. It must be {_FORMS.get(kinds[key], 'lists of texts')}.")
    return Provenance(**row), [Metric(**m) for m in metrics]


def _fits(value: Any, kind: Any) -> bool:
    if kind is float:
        return type(value) in (int, float) and math.isfinite(value)
    return type(value) is kind if kind in _FORMS else isinstance(value, list) and all(isinstance(item, str) for item in value)


_FORMS: dict[Any, str] = {str: "text", bool: "true or false", float: "a finite number"}
_KEYS = (*(f.name for f in fields(Provenance)), "metrics")


def known_provenance(entry: ModelEntry) -> Provenance:
    """What the manifest says of published weights."""
    assert entry.weights is not None
    weights = entry.weights
    return Provenance(
        entry.family, entry.summary, weights.license, weights.license_reason, weights.commercial_use, weights.trained_on, weights.command, entry.notes
    )
