"""The verbs that write for other programs: ``embed --out`` and ``export``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from skelzoo.cli.completion import complete_files, complete_models
from skelzoo.cli.options import fail

if TYPE_CHECKING:
    from skelzoo.inference.job import Job
    from skelzoo.inference.runner import CompileMode


def store_options(command: Callable[..., None]) -> Callable[..., None]:
    """Options of embed that go with --out."""
    for option in (
        click.option("--parquet", is_flag=True, help="With --out: also write embeddings.parquet; needs the parquet extra."),
        click.option("--shard-size", type=click.IntRange(1), help="With --out: clips per shard, which a killed process loses at most; 1024 by default."),
        click.option("--workers", type=click.IntRange(1), help="With --out: processes per device; 1 by default."),
        click.option("--devices", metavar="LIST", help="With --out, instead of --device: several at once, a process for each, such as 0,1 for cuda:0,cuda:1."),
        click.option("--extend", is_flag=True, help="With --out: add the files that STORE does not hold yet; its rows keep their numbers."),
        click.option(
            "--out",
            metavar="STORE",
            shell_complete=complete_files,
            help="Folder for more clips than memory holds; given again, the run goes on. See skelzoo docs bulk.",
        ),
    ):
        command = option(command)
    return command


def embed_to_store(
    job: Job, paths: tuple[str, ...], out: str, *, devices: str, workers: int | None, compile: CompileMode | bool, batch_size: int | None, extend: bool
) -> None:
    """What ``embed --out`` does."""
    from skelzoo.inference.bulk import embed_store

    names = [f"cuda:{name}" if name.isdigit() else name for name in devices.split(",")]
    store = embed_store(job, paths, out, devices=names, workers=workers or 1, compile=compile, batch_size=batch_size, extend=extend)
    click.echo(f"{store.clips} vectors of {store.dim} numbers: {out}")
    if store.refused_before:
        click.echo(f"note: {store.refused_before} file(s) or clip(s) were left out earlier; {out}/refused.csv lists them.", err=True)
    refused = store.refused - store.refused_before
    if refused:
        fail(f"{refused} file(s) or clip(s) left out, {store.clips} clip(s) done; {out}/refused.csv lists them.")


@click.command("export")
@click.argument("model", shell_complete=complete_models)
@click.option(
    "--out",
    required=True,
    metavar="FILE",
    shell_complete=complete_files,
    help="Ends in .onnx (needs the onnx extra), or .pt2 for a program of torch.export; FILE.json beside it says how clips are prepared and what comes out.",
)
def export_command(model: str, out: str) -> None:
    """Write MODEL as one file that runs without skelzoo: prepared clips in, vectors and, with a head, logits out."""
    from skelzoo.inference.encoder import Encoder
    from skelzoo.inference.export import export

    done = export(Encoder.from_pretrained(model, device="cpu"), out)
    click.echo(f"{', '.join(map(str, done.files))}: vectors and logits as those of {model}, largest difference {done.difference:.1e}")
