"""The manifest: which bytes a model name stands for, where they come from, under what licence, how well they do.

Long labels and contracts that several models share stand in it once, under ``label_sets`` and ``contracts``; a model's
config names them. Everything here shows them in full.

Read from ``weights_manifest.json``, which lies in the installed package, or beside it in a source checkout. No torch.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np

from skelzoo.errors import CheckpointError, ContractError, LayoutError, ManifestError, UnknownModelError
from skelzoo.skeleton.contract import Contract, wrong_keys
from skelzoo.weights.files import FileInfo, file_table, parse_json
from skelzoo.weights.hub import HF_PATTERN

CONFIG_FORMAT = 1


@dataclass(frozen=True)
class ModelConfig:
    """What is needed to build a net and feed it: the content of ``config.json``.

    Attributes:
        arch: a name of ``skelzoo.nets.archs``.
        options: constructor options of the arch, without parents, input channels and classes.
        contract: what the net expects of a clip.
        labels: class names of the head in order; None when there is no head or no names are known.
        num_classes: size of the head, 0 for none.
        untrained: features that come from layers which never learned, which ``Encoder.features`` refuses.
    """

    arch: str
    options: Mapping[str, Any]
    contract: Contract
    num_classes: int = 0
    labels: tuple[str, ...] | None = None
    untrained: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if isinstance(self.num_classes, np.integer):  # as counted with numpy; JSON takes Python's alone
            object.__setattr__(self, "num_classes", int(self.num_classes))
        if isinstance(self.num_classes, bool):
            raise CheckpointError(f"a head of {self.num_classes} classes cannot be built. Give their number, 0 for no head.")
        if self.labels is not None and len(self.labels) != self.num_classes:
            raise CheckpointError(f"{len(self.labels)} labels for a head of {self.num_classes} classes. Give one name per class, or none at all.")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "format": CONFIG_FORMAT, "arch": self.arch, "options": dict(self.options), "contract": self.contract.to_dict(),
            "num_classes": self.num_classes, "labels": None if self.labels is None else list(self.labels),
            **({"untrained": list(self.untrained)} if self.untrained else {}),
        }  # fmt: skip

    @classmethod
    def from_dict(cls, row: Any, where: str) -> ModelConfig:
        """Read back ``to_dict``.

        Raises:
            CheckpointError: not a config of this format; the message names ``where`` it was read.
        """
        needed = {"format": int, "arch": str, "options": dict, "contract": dict, "num_classes": int}
        found = row if isinstance(row, dict) else {}
        problem = wrong_keys(found, (*needed, "labels", "untrained"), needed) or ", ".join(
            f"{key} is no {kind.__name__}" for key, kind in needed.items() if type(found[key]) is not kind
        )
        if problem:
            raise CheckpointError(
                f"{where}: not a model config: {problem}. It needs exactly the keys {', '.join(needed)}, labels. Save the folder again with encoder.save(...)."
            )
        if row["num_classes"] < 0:
            raise CheckpointError(f"{where}: {row['num_classes']} classes. Give 0 for no head.")
        if row["format"] != CONFIG_FORMAT:
            raise CheckpointError(f"{where}: config format {row['format']}, this skelzoo reads {CONFIG_FORMAT}. Upgrade skelzoo or save the folder again.")
        labels, untrained = row.get("labels"), row.get("untrained", [])
        if labels is not None and not (isinstance(labels, list) and all(isinstance(x, str) for x in labels)):
            raise CheckpointError(f"{where}: labels must be a list of names or null.")
        if not (isinstance(untrained, list) and all(isinstance(x, str) for x in untrained)):
            raise CheckpointError(f"{where}: untrained must be a list of names, or left out.")
        try:
            contract = Contract.from_dict(row["contract"])
            return cls(row["arch"], row["options"], contract, row["num_classes"], None if labels is None else tuple(labels), tuple(untrained))
        except (CheckpointError, ContractError, LayoutError) as error:
            raise CheckpointError(f"{where}: {error}") from error


@dataclass(frozen=True)
class Weights:
    """Published weights of a model.

    Attributes:
        source: ``bundled`` (in the package) or ``hf:owner/repo@<40-hex commit>``.
        license: SPDX-like name; ``license_reason`` says why it is that.
        commercial_use: whether the licence allows it.
        parameters: number of parameters, head included.
        files: file name -> size and sha256.
        trained_on: corpora, with their licences.
        command: the command that trained them.
    """

    source: str
    license: str
    license_reason: str
    commercial_use: bool
    parameters: int
    files: Mapping[str, FileInfo]
    trained_on: tuple[str, ...]
    command: str


@dataclass(frozen=True)
class Metric:
    """One measured number, with the protocol and the command that gave it; or one a paper reports."""

    dataset: str
    protocol: str
    value: float
    source: str
    """The command that measured it, or "reported in the paper"."""


@dataclass(frozen=True)
class ModelEntry:
    """One model of the manifest."""

    name: str
    family: str
    summary: str
    config: ModelConfig
    weights: Weights | None
    metrics: tuple[Metric, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Manifest:
    """All models."""

    models: Mapping[str, ModelEntry]
    aliases: Mapping[str, str]

    @cached_property
    def pretrained(self) -> list[str]:
        """Names of the models with published weights."""
        return [n for n, e in self.models.items() if e.weights]

    def find(self, name: str) -> ModelEntry:
        """The entry of a name or alias.

        Raises:
            UnknownModelError: with names that begin with it, those with weights first, or near ones.
        """
        name = self.aliases.get(name, name)
        if name in self.models:
            return self.models[name]
        begun = [n for n in dict.fromkeys((*self.pretrained, *self.models)) if name and n.startswith(name.lower())][:3]
        near = begun or difflib.get_close_matches(name, [*self.models, *self.aliases], 3, 0.5)
        hint = f"Did you mean {' or '.join(near)}?" if near else f"Models with weights: {', '.join(self.pretrained)}."
        other = (
            "weights of your own and of the Hub have no entry among them"
            if name.startswith(("local:", "hf:"))
            else f"a folder of your own is loaded as 'local:{name}'"
        )
        raise UnknownModelError(f"no model {name!r}. {hint} skelzoo.list_models() shows all; {other}.")


def parse_manifest(text: str, where: str = "manifest") -> Manifest:
    """Read a manifest.

    Raises:
        ManifestError: not JSON, or not of the schema (``manifest.schema.json``).
    """
    try:
        data = parse_json(text)
    except ValueError as error:
        raise ManifestError(f"{where}: not JSON ({error}). Reinstall skelzoo.") from error
    if isinstance(data, dict) and type(data.get("schema_version")) is int and data["schema_version"] != 1:
        raise ManifestError(f"{where}: schema version {data['schema_version']}, this skelzoo reads 1. Upgrade skelzoo.")
    _check(data, _MANIFEST, where)
    _check_shared(data, where)
    models = {name: _entry(name, row, data, f"{where}, model {name}") for name, row in data["models"].items()}
    lost = [a for a, n in data["aliases"].items() if not isinstance(n, str) or n not in models or a in models]
    if lost:
        raise ManifestError(f"{where}: aliases {', '.join(lost)} point at no model, or are models themselves. Reinstall skelzoo.")
    return Manifest(models, data["aliases"])


_Kinds = Mapping[str, tuple[type, ...]]
_MANIFEST: _Kinds = {"schema_version": (int,), "label_sets": (dict,), "contracts": (dict,), "models": (dict,), "aliases": (dict,)}
_SHARED = {"labels": "label_sets", "contract": "contracts"}
"""Key of a model's config -> table of the manifest in which a name given there is looked up."""
_MODEL: _Kinds = {"family": (str,), "summary": (str,), "config": (dict,), "weights": (dict, type(None)), "metrics": (list,), "notes": (list,)}
_WEIGHTS: _Kinds = {
    "source": (str,), "license": (str,), "license_reason": (str,), "commercial_use": (bool,),
    "parameters": (int,), "files": (dict,), "trained_on": (list,), "command": (str,),
}  # fmt: skip
_METRIC: _Kinds = {"dataset": (str,), "protocol": (str,), "value": (int, float), "source": (str,)}


def _check(row: Any, kinds: _Kinds, where: str) -> None:
    """Raise ManifestError unless ``row`` has exactly these keys with values of these JSON types."""
    if not isinstance(row, dict) or row.keys() != kinds.keys():
        found = ", ".join(map(str, row)) if isinstance(row, dict) else repr(row)
        raise ManifestError(f"{where}: the keys must be exactly {', '.join(kinds)}; found {found}. Reinstall skelzoo.")
    for key, allowed in kinds.items():
        if type(row[key]) not in allowed:
            raise ManifestError(f"{where}: {key} cannot be {row[key]!r}. Reinstall skelzoo.")


def _names(row: Mapping[str, Any], key: str, where: str) -> tuple[str, ...]:
    if not all(isinstance(x, str) for x in row[key]):
        raise ManifestError(f"{where}: {key} must be a list of texts. Reinstall skelzoo.")
    return tuple(row[key])


def _check_shared(data: Mapping[str, Any], where: str) -> None:
    """Raise ManifestError unless every label set is a list of names and every contract one, used or not."""
    for name in data["label_sets"]:
        if not isinstance(data["label_sets"][name], list):
            raise ManifestError(f"{where}: label set {name} must be a list of names. Reinstall skelzoo.")
        _names(data["label_sets"], name, f"{where}, label_sets")
    for name, row in data["contracts"].items():
        if not isinstance(row, dict):
            raise ManifestError(f"{where}: contract {name} cannot be {row!r}. Reinstall skelzoo.")
        try:
            Contract.from_dict(row)
        except (ContractError, LayoutError) as error:
            raise ManifestError(f"{where}, contract {name}: {error} Reinstall skelzoo.") from error


def _resolve(config: Mapping[str, Any], data: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A model's config with the names of shared labels and of a shared contract replaced by what they stand for."""
    found = dict(config)
    for key, table in _SHARED.items():
        if isinstance(found.get(key), str):
            if found[key] not in data[table]:
                raise ManifestError(
                    f"{where}: {key} {found[key]!r} is not one of the {table}, which are {', '.join(data[table]) or 'none'}. Reinstall skelzoo."
                )
            found[key] = data[table][found[key]]
    return found


def _entry(name: str, row: Any, data: Mapping[str, Any], where: str) -> ModelEntry:
    _check(row, _MODEL, where)
    for metric in row["metrics"]:
        _check(metric, _METRIC, f"{where}, metrics")
    try:
        config = ModelConfig.from_dict(_resolve(row["config"], data, where), where)
    except CheckpointError as error:
        raise ManifestError(f"{error} Reinstall skelzoo.") from error
    weights = None if row["weights"] is None else _weights(row["weights"], f"{where}, weights")
    return ModelEntry(name, row["family"], row["summary"], config, weights, tuple(Metric(**m) for m in row["metrics"]), _names(row, "notes", where))


def _weights(row: Any, where: str) -> Weights:
    _check(row, _WEIGHTS, where)
    if row["source"] != "bundled" and not HF_PATTERN.fullmatch(row["source"]):
        raise ManifestError(f"{where}: source {row['source']!r} is neither bundled nor hf:owner/repo@<40-hex commit>. Reinstall skelzoo.")
    try:
        files = file_table(row["files"])
    except ValueError as error:
        raise ManifestError(f"{where}, files: {error}. Reinstall skelzoo.") from error
    return Weights(**{**row, "files": files, "trained_on": _names(row, "trained_on", where)})


def manifest_path() -> Path:
    """Where the manifest lies: in the package (wheel), else beside it (source checkout, editable install).

    Raises:
        ManifestError: in neither place.
    """
    package = Path(__file__).resolve().parent.parent
    for folder in (package, package.parent):
        if (folder / "weights_manifest.json").is_file():
            return folder / "weights_manifest.json"
    raise ManifestError(f"weights_manifest.json is neither in {package} nor beside it. Reinstall skelzoo.")


def in_package(path: Path) -> bool:
    """Whether a manifest is that of an installed package, which people do not write into."""
    return path.parent.name == "skelzoo" and (path.parent / "__init__.py").is_file()


@cache
def manifest() -> Manifest:
    """The manifest of this installation, read once."""
    path = manifest_path()
    return parse_manifest(path.read_text(encoding="utf-8"), str(path))
