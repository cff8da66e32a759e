"""The verbs that make corpus files; ``skelzoo.cli`` has the others."""

from __future__ import annotations

import click

from skelzoo.cli_models import fail


@click.group("corpus")
def corpus_group() -> None:
    """The data that encoders are pretrained on."""


@corpus_group.command("build")
@click.argument("name")
@click.option("--from", "sources", required=True, multiple=True, metavar="DIR", help="Original downloads, or ready corpus files; may be given again.")
@click.option("--to", required=True, metavar="DIR", help="Folder for the corpus files and clips.csv.")
def corpus_build_command(name: str, sources: tuple[str, ...], to: str) -> None:
    """Make the corpus NAME, openskel or openskel-free, and a table of its clips with their licences."""
    from skelzoo.learn.corpus import build_corpus

    report = build_corpus(name, sources, to)
    for refusal in report.refused:
        click.echo(f"error: {refusal}", err=True)
    click.echo(str(report))
    if report.missing or report.refused:
        missing = f"nothing was found of {', '.join(report.missing)}" if report.missing else "all corpus files are there"
        fail(f"{len(report.refused)} file(s) could not be used; {missing}.")
