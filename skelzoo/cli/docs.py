"""The verb ``docs``, which shows the pages of the documentation."""

from __future__ import annotations

from pathlib import Path

import click

from skelzoo.cli.completion import complete
from skelzoo.cli.options import fail


def pages() -> dict[str, Path]:
    """Name -> file of every page: of the package (wheel), else of the folder beside it (source checkout, editable install)."""
    package = Path(__file__).resolve().parents[1]
    found = (package if (package / "docs").is_dir() else package.parent).glob("docs/*.md")
    return {path.stem: path for path in sorted(found)}


@click.command("docs")
@click.argument("page", required=False, shell_complete=complete(pages))
def docs_command(page: str | None) -> None:
    """List the pages of the documentation, or show PAGE."""
    from skelzoo.inference.screen import table

    texts = {name: path.read_text(encoding="utf-8") for name, path in pages().items()}
    if page is None:
        click.echo(table(["page", "title"], [[name, text.partition("\n")[0].strip("# ")] for name, text in texts.items()]))
    elif page in texts:
        click.echo_via_pager(texts[page])
    else:
        fail(f"no page {page!r}. `skelzoo docs` lists the pages.")
