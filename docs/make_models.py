"""Write docs/models.md from weights_manifest.json: python docs/make_models.py."""

from __future__ import annotations

from pathlib import Path

from skelzoo import Contract
from skelzoo.weights.manifest import ModelEntry, manifest

HEAD = """# Models

Written by `python docs/make_models.py` from `weights_manifest.json`; do not edit. `skelzoo info NAME --metrics` shows all that is known of a model.

Names are `<family>-<data>[-<variant>]`. A model without weights can be built (`skelzoo.load(NAME, pretrained=False)`), trained, and filled with weights of
your own. Numbers in these tables are the papers', not ours; what we measured of our own weights stands in [accuracy.md](accuracy.md).
[labels.md](labels.md) says where the class names come from.
"""
HEADER = "| model | what | input (streams) | classes | weights | licence, commercial use | reported in the paper |"


def contract_text(c: Contract) -> str:
    """Input of a model in a few words."""
    return f"{c.layout}, {c.channels}-D, {c.frames} frames, {c.persons} person{'s' * (c.persons > 1)} ({', '.join(c.streams)})"


def row(entry: ModelEntry) -> str:
    """One model."""
    weights, config = entry.weights, entry.config
    licence = f"{weights.license}, {'yes' if weights.commercial_use else 'no'}" if weights else "-"
    reported = "; ".join(f"{m.dataset}, {m.protocol}: {m.value:g}" for m in entry.metrics if m.source == "reported in the paper")
    source = f"**{weights.source.partition('@')[0]}**" if weights else "-"
    return f"| `{entry.name}` | {entry.summary} | {contract_text(config.contract)} | {config.num_classes or '-'} | {source} | {licence} | {reported or '-'} |"


def section(family: str, entries: list[ModelEntry]) -> str:
    """One family: a table, models with weights first, and the notes with the models each goes for."""
    ordered = sorted(entries, key=lambda e: (e.weights is None, e.name))
    notes: dict[str, list[str]] = {}
    for entry in ordered:
        for note in entry.notes:
            notes.setdefault(note, []).append(f"`{entry.name}`")
    said = [f"- {note} ({', '.join(names) if len(names) <= 6 else f'{len(names)} models'})" for note, names in notes.items()]
    return "\n".join([f"\n## {family}\n", HEADER, "| --- |" + " --- |" * 6, *map(row, ordered), "", *said])


def text() -> str:
    """The whole page."""
    models = manifest().models.values()
    families = list(dict.fromkeys(e.family for e in models))
    return HEAD + "\n".join(section(f, [e for e in models if e.family == f]) for f in families) + "\n"


if __name__ == "__main__":
    Path(__file__).with_name("models.md").write_text(text(), encoding="utf-8")
