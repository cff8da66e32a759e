"""The verbs under ``bench``, which measure skelzoo on this machine."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import click

from skelzoo.cli.completion import complete_files, complete_models
from skelzoo.cli.options import device_option


@click.group("bench")
def bench_group() -> None:
    """Measure skelzoo on this machine."""


@bench_group.command("speed")
@click.argument("models", shell_complete=complete_models, nargs=-1)
@click.option(
    "--form", "forms", multiple=True, help="plain, fused, compiled, max-autotune, embed; all but max-autotune by default. May be given again, as the next two."
)
@click.option("--dtype", "dtypes", multiple=True, help="float32, tf32, bfloat16, float16; float32 and bfloat16 by default.")
@click.option("--batch", "batches", type=click.IntRange(1), multiple=True, help="Clips at a time; 1, 16 and 64 by default.")
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True, help="In each of which every form takes its turn; the median counts.")
@device_option
@click.option("--no-memory", is_flag=True, help="Leave out the peak of memory, which takes one more process per row.")
@click.option("--out", metavar="TABLE", shell_complete=complete_files, help="Also write a .csv.")
def bench_speed_command(
    models: tuple[str, ...],
    forms: tuple[str, ...],
    dtypes: tuple[str, ...],
    batches: tuple[int, ...],
    rounds: int,
    device: str,
    no_memory: bool,
    out: str | None,
) -> None:
    """Time MODELS, or one of each family at the width of its paper: as trained, fused, compiled, in fewer bits.

    All forms of a model and batch take turns, so its rows come together. By default, one net of each paper in all forms, it takes long on a CPU. A minute: one model,
    --batch 16 --form fused --rounds 3 --no-memory.
    """
    from skelzoo.bench.speed import DEFAULT_FORMS, DTYPES, PAPER_SIZED, Row, bench_speed

    _show(Row, bench_speed(models or PAPER_SIZED, forms or DEFAULT_FORMS, dtypes or DTYPES, batches or (1, 16, 64), rounds, device, not no_memory), out)


@bench_group.command("precision")
@click.argument("models", shell_complete=complete_models, nargs=-1, required=True)
@click.option("--on", "benchmark", default="nwucla", show_default=True, help="Benchmark, as for eval.")
@click.option("--data", required=True, shell_complete=complete_files, help="Folder with the benchmark's corpus file.")
@click.option("--dtype", "dtypes", multiple=True, help="tf32, bfloat16, float16; all by default. May be given again.")
@click.option("--compile", "compiled", default="default", show_default=True, help="Mode of torch.compile for one more row in float32, or '' for none.")
@device_option
@click.option("--out", metavar="TABLE", shell_complete=complete_files, help="Also write a .csv.")
def bench_precision_command(models: tuple[str, ...], benchmark: str, data: str, dtypes: tuple[str, ...], compiled: str, device: str, out: str | None) -> None:
    """Compare vectors of MODELS in fewer bits, and compiled, with those in float32: cosine, and the classes that neighbours give."""
    from skelzoo.bench.precision import DTYPES, Row, bench_precision

    _show(Row, bench_precision(models, benchmark, data, dtypes or DTYPES, compiled, device), out)


def _show(kind: type[Any], rows: Iterable[Any], out: str | None) -> None:
    """Print rows as they come, and write them as CSV."""
    from skelzoo.inference.output import check_table
    from skelzoo.skeleton.writing import write_csv

    columns = [f.name for f in dataclasses.fields(kind)]
    if out:
        check_table(out, columns)
    done = []
    for row in rows:
        click.echo(row)
        done.append(row)
    if out:
        write_csv(out, columns, map(dataclasses.asdict, done))


@bench_group.command("bulk")
@click.argument("model", default="skeattnclr-openskel", shell_complete=complete_models)
@click.option(
    "--clips", "counts", type=click.IntRange(1), multiple=True, help="Rounded up to thousands; 1000, 10000 and 100000 by default; may be given again."
)
def bench_bulk_command(model: str, counts: tuple[int, ...]) -> None:
    """Time `embed --out` on the CPU for more and more made-up clips, and what memory it takes, each in a cold process."""
    from skelzoo.bench.cold import bench_bulk

    for line in bench_bulk(model, counts or (1000, 10_000, 100_000)):
        click.echo(line)


@bench_group.command("load")
@click.argument("models", shell_complete=complete_models, nargs=-1)
@click.option("--runs", type=click.IntRange(1), default=5, show_default=True, help="Cold processes per model.")
def bench_load_command(models: tuple[str, ...], runs: int) -> None:
    """Time skelzoo.load in cold processes that have imported torch: MODELS, or those of the package and a made-up one of 14 MB."""
    from skelzoo.bench.cold import bench_load

    for line in bench_load(models, runs):
        click.echo(line)


@bench_group.command("import")
@click.option("--runs", type=click.IntRange(1), default=5, show_default=True, help="Cold processes.")
def bench_import_command(runs: int) -> None:
    """Time `import skelzoo`, and what it takes to list the models."""
    from skelzoo.bench.cold import bench_import

    click.echo(bench_import(runs))
