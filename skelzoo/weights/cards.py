"""What a card (README.md) says of the licence, and the card of weights that nobody wrote one for. No torch."""

from __future__ import annotations

import re

from skelzoo.weights.manifest import ModelConfig

UNKNOWN = "unknown"
"""Licence of weights that nobody named one of."""


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
