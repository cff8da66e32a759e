"""The verb ``docs``, which shows the pages of the documentation."""

from __future__ import annotations

import difflib
from pathlib import Path

import click

from skelzoo.cli.completion import complete
from skelzoo.cli.options import fail


def pages() -> dict[str, Path]:
    """Name -> file of the README, every page and every example: of the package (wheel), else of the folder beside it (source checkout, editable install)."""
    package = Path(__file__).resolve().parents[1]
    root = package if (package / "docs").is_dir() else package.parent
    return {path.stem: path for pattern in ("README.md", "docs/*.md", "examples/*.py") for path in sorted(root.glob(pattern))}


@click.command("docs")
@click.argument("page", required=False, shell_complete=complete(pages))
def docs_command(page: str | None) -> None:
    """List the pages of the documentation and the examples, or show PAGE."""
    from skelzoo.inference.screen import table

    texts = {name: path.read_text(encoding="utf-8") for name, path in pages().items()}
    if page is None:
        click.echo(table(["page", "title"], [[name, text.partition("\n")[0].strip('#" ')] for name, text in texts.items()]))
        return
    names = {name.lower(): name for name in texts}
    wanted = Path(page).stem.lower()  # links say docs/files.md#tables
    if wanted in names:
        click.echo_via_pager(texts[names[wanted]])
    else:
        near = " or ".join(names[each] for each in difflib.get_close_matches(wanted, names))
        fail(f"no page {page!r}. {f'Did you mean {near}? ' if near else ''}`skelzoo docs` lists the pages.")
