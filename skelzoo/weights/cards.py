"""Cards (README.md) of weights: those of models that ship or are published, those of weights that nobody wrote one for, and what a card says of the licence. No torch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from skelzoo.errors import ManifestError
from skelzoo.weights.hub import card_metadata
from skelzoo.weights.manifest import Metric, ModelConfig

UNKNOWN = "unknown"
"""Licence of weights that nobody named one of."""

CONFUSED = "head, clips taken for "
"""Starts the protocol of a metric that counts the held-out clips of one class (its dataset) that got another; the card has them in a table of their own."""

ACCURACIES = ("linear", "knn", "finetune", "semi")
"""Protocols that give the top-1 accuracy of the model itself, as do those that end in ``, top-1``; its random twin's and the baselines' have longer names."""


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


def licence_of(card: str) -> str:
    """What a card says under Licence, else the licence of its metadata; "" where it names none."""
    said = re.search(r"^## Licence\n+(.+?)\s*(?=^## |\Z)", card, re.M | re.S)
    named = re.match(r"---\n(?:.*\n)*?license: *(.+)\n", card)
    licence = said[1] if said else named[1] if named else ""
    return "" if licence == UNKNOWN else licence


def plain_card(name: str, config: ModelConfig, start: str) -> str:
    """The card of an encoder's weights.

    Args:
        start: card of the weights they were made from, whose licence holds on; its numbers do not.
    """
    licence = licence_of(start)
    return f"# {name}\n\nSaved by skelzoo. Architecture `{config.arch}`, layout `{config.contract.layout}`.\n" + (
        f"\n## Licence\n\n{licence}\n" if licence else ""
    )


def card(name: str, provenance: Provenance, metrics: Sequence[Metric], parameters: int, labels: Sequence[str], address: str = "") -> str:
    """The model card (README.md) of a weights folder, with the metadata block the Hub reads; that holds the model's own accuracies only.

    Args:
        address: under which readers can load it, where the name is known to the publisher's installation alone.

    Raises:
        ManifestError: there is no measured number, or no licence.
    """
    confused = [m for m in metrics if m.protocol.startswith(CONFUSED)]
    measured = [m for m in metrics if m not in confused]
    if not measured:
        raise ManifestError(f"{name}: a card without a measured number is not published. Run skelzoo eval first.")
    if provenance.license.lower() in ("", "unknown"):
        raise ManifestError(f"{name}: weights without a licence are not published. Say which, and why, after the data they were trained on.")
    rows = "\n".join(f"| {m.dataset} | {m.protocol} | {m.value:.1f} | `{m.source}` |" for m in measured)
    metadata = card_metadata(
        name,
        provenance.license.lower(),
        ("skeleton", "action-recognition", "self-supervised", _slug(provenance.family)),
        [_slug(re.split("[,(]", data)[0]) for data in provenance.trained_on],
        [(m.dataset, _slug(m.dataset), m.protocol, m.value) for m in measured if m.protocol in ACCURACIES or m.protocol.endswith(", top-1")],
    )
    return f"""---
{metadata.strip()}
---

# {name}

{provenance.summary}

{parameters:,} parameters. Load with `skelzoo.load("{address or name}")`.

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
{_confusions(confused)}
## Notes

{chr(10).join(f"- {n}" for n in provenance.notes)}
"""


def _confusions(metrics: Sequence[Metric]) -> str:
    rows = [f"| {m.dataset} | {m.protocol.removeprefix(CONFUSED)} | {m.value:.0f} |" for m in metrics]
    return "\n".join(["", "What the head confuses:", "", "| held out | taken for | clips |", "| --- | --- | --- |", *rows, ""]) if rows else ""


def _slug(text: str) -> str:
    """A text as an identifier of the Hub: lower-case letters, digits and single dashes."""
    return re.sub("[^a-z0-9]+", "-", text.lower()).strip("-")
