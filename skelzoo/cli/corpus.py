"""The verbs that make corpus files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from skelzoo.cli.completion import complete_files, complete_layouts
from skelzoo.cli.files import finish, note_passed_over
from skelzoo.cli.options import array_options, fail

if TYPE_CHECKING:
    from skelzoo.learn.labels import Source
    from skelzoo.skeleton.io.read_options import ReadOptions


@click.group("corpus")
def corpus_group() -> None:
    """The data that encoders are pretrained on."""


@corpus_group.command("build")
@click.argument("name")
@click.option(
    "--from",
    "sources",
    required=True,
    multiple=True,
    metavar="DIR",
    shell_complete=complete_files,
    help="Original downloads, or ready corpus files; may be given again.",
)
@click.option("--to", required=True, metavar="DIR", shell_complete=complete_files, help="Folder for the corpus files and clips.csv.")
def corpus_build_command(name: str, sources: tuple[str, ...], to: str) -> None:
    """Make the corpus NAME, openskel or openskel-free, and a table of its clips with their licences; or the file of the benchmark nwucla or utdmhad."""
    from skelzoo.learn.corpus import build_corpus

    report = build_corpus(name, sources, to)
    for refusal in report.refused:
        click.echo(f"error: {refusal}", err=True)
    click.echo(str(report))
    if report.missing or report.refused:
        refused = f"{len(report.refused)} file(s) could not be used; " if report.refused else ""
        fail(f"{refused}nothing was found of {', '.join(report.missing)}." if report.missing else f"{refused}all corpus files are there.")


@corpus_group.command("make")
@click.argument("recordings", shell_complete=complete_files)
@click.option(
    "--to", required=True, metavar="FILE.npz", shell_complete=complete_files, help="Corpus file to write, in the folder that pretrain gets as --data."
)
@click.option(
    "--label-from", type=click.Choice(["auto", "folder", "file"]), help="The first folder's name, or the file's own label; without, that where there is one."
)
@click.option("--label", metavar="REGEX", help="Finds the class in PATH/CLIPNAME instead.")
@click.option("--labels", "table", metavar="FILE.csv", shell_complete=complete_files, help="Table with the columns file and label instead.")
@click.option("--subject", metavar="REGEX", help="Finds the person in PATH/CLIPNAME, e.g. 'subject(\\d+)', so that a recipe can hold persons out.")
@click.option("--licence", default="", metavar="TEXT", help="Licence of the recordings.")
@click.option(
    "--layout",
    metavar="NAME",
    shell_complete=complete_layouts,
    help="Layout of the file; by default that of the clips, or kinect20 (2-D: coco17) when they are not all of one that skelzoo has.",
)
@click.option("--fps", type=float, default=30.0, show_default=True, help="Of the file; faster recordings keep every n-th frame.")
@click.option("--persons", type=int, default=1, show_default=True, help="Most persons of a clip.")
@click.option("--select-persons", is_flag=True, help="Where a clip has more persons, keep those that move most.")
@array_options("from-")
@click.option("--overwrite", is_flag=True, help="Replace a file that is there.")
def corpus_make_command(
    recordings: str, to: str, label_from: Source | None, label: str | None, table: str | None, subject: str | None, licence: str, layout: str | None, fps: float,
    persons: int, select_persons: bool, overwrite: bool, reading: ReadOptions,
) -> None:  # fmt: skip
    """Make a corpus file of RECORDINGS of your own, a file, folder or glob, for a recipe of your own. Labels are not needed."""
    from skelzoo.learn.own_corpus import make_own_corpus

    report = make_own_corpus(
        recordings, to, label_from=label_from, label=label, table=table, subject=subject, licence=licence, layout=layout, fps=fps,
        persons=persons, select_persons=select_persons, overwrite=overwrite, reading=reading,
    )  # fmt: skip
    for refusal in report.refused:
        click.echo(f"error: {refusal}", err=True)
    note_passed_over([recordings], to)
    click.echo(str(report))
    finish(report.clips, len(report.refused))
