"""The verbs that run an encoder on recordings: ``embed`` and ``classify``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

import skelzoo
from skelzoo.cli.completion import complete_files, complete_models
from skelzoo.cli.files import finish, go_through
from skelzoo.cli.options import array_options, check_step, device_option, each_option, fail, select_option, window_options

if TYPE_CHECKING:
    from skelzoo.inference.encoder import Encoder
    from skelzoo.inference.files import PreparedClip
    from skelzoo.inference.job import Job
    from skelzoo.inference.output import ClipId
    from skelzoo.inference.runner import CompileMode, Dtype
    from skelzoo.skeleton.clip import FloatArray
    from skelzoo.skeleton.io.read_options import ReadOptions
    from skelzoo.skeleton.windows import Length


def _store_options(command: Callable[..., None]) -> Callable[..., None]:
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


def _encoder_options(command: Callable[..., None]) -> Callable[..., None]:
    """Options shared by embed and classify."""
    for option in (
        window_options,
        array_options(),
        each_option,
        select_option,
        click.option("--max-autotune", "compile", flag_value="max-autotune", help="As --compile, with the fastest kernels it finds, in minutes."),
        click.option("--compile", "compile", flag_value="default", default="", help="Use torch.compile; the first batch takes long."),
        click.option("--dtype", default="auto", show_default=True, help="What to compute in: float32 (auto), tf32, bfloat16 or float16."),
        device_option,
        click.option("--batch-size", type=click.IntRange(1), help="Clips per batch; the default suits the device."),
    ):
        command = option(command)
    return command


@click.command("embed")
@click.argument("model", shell_complete=complete_models)
@click.argument("paths", nargs=-1, required=True, shell_complete=complete_files)
@click.option("-o", "--output", shell_complete=complete_files, help="File to write: .npz (embeddings, names, files, labels, model) or .npy (and NAME.ids.csv).")
@_store_options
@_encoder_options
def embed_command(
    model: str, paths: tuple[str, ...], output: str | None, out: str | None, devices: str | None, workers: int | None, shard_size: int | None, parquet: bool, extend: bool,
    batch_size: int | None, device: str, dtype: Dtype, compile: CompileMode | bool, select_persons: bool, each_person: bool, window: Length | None, step: Length | None,
    reading: ReadOptions,
) -> None:  # fmt: skip
    """Write one vector per clip: with -o to one file, with --out to a folder, for more clips than memory holds."""
    from skelzoo.inference.output import check_embeddings, write_embeddings
    from skelzoo.skeleton.persons import check_choice

    check_step(window, step)
    check_choice(select_persons, each_person)
    if devices and device != "auto":
        raise click.UsageError("Give --device or --devices. A number in --devices is one of CUDA; several processes on one device are --device with --workers.")
    if out is not None and output is None:
        from skelzoo.inference.job import SHARD, Job

        job = Job(
            model, dtype=dtype, select_persons=select_persons, each_person=each_person, shard_size=shard_size or SHARD, parquet=parquet, array_layout=reading.layout, array_axes=reading.axes,
            array_fps=reading.fps, window=window, step=step, fill_missing=reading.fill_missing, up=reading.up, image_size=reading.image_size,
        )  # fmt: skip
        _embed_to_store(job, paths, out, devices=devices or device, workers=workers, compile=compile, batch_size=batch_size, extend=extend)
        return
    if output is None or out is not None or devices or workers or shard_size or parquet or extend:
        raise click.UsageError("Give either -o FILE or --out STORE; --devices, --workers, --shard-size, --parquet and --extend go with --out.")
    check_embeddings(output, paths)
    encoder = skelzoo.load(model, device=device, dtype=dtype, compile=compile)
    array, ids, refused = _prepare(encoder, paths, select_persons, each_person, output, window, step, reading)
    if ids:
        vectors = encoder.embed(array, prepared=True, batch_size=batch_size)
        files = write_embeddings(output, vectors, ids, encoder.name)
        click.echo(f"{len(vectors)} vectors of {vectors.shape[1]} numbers: {', '.join(map(str, files))}")
    finish(len(ids), refused, output)


@click.command("classify")
@click.argument("model", shell_complete=complete_models)
@click.argument("paths", nargs=-1, required=True, shell_complete=complete_files)
@click.option(
    "-o", "--output", shell_complete=complete_files, default="-", show_default=True, help="File to write, .csv or .jsonl, or - for a table on the screen."
)
@click.option("--top-k", type=click.IntRange(1), default=5, show_default=True, help="Classes to name per clip, the likeliest first.")
@_encoder_options
def classify_command(
    model: str, paths: tuple[str, ...], output: str, top_k: int, batch_size: int | None, device: str, dtype: Dtype, compile: CompileMode | bool, select_persons: bool, each_person: bool,
    window: Length | None, step: Length | None, reading: ReadOptions,
) -> None:  # fmt: skip
    """Name the likeliest of the MODEL's classes for each clip; `skelzoo finetune` teaches it others."""
    from skelzoo.inference.output import check_classes, write_classes
    from skelzoo.inference.screen import classes_table
    from skelzoo.learn.recordings import with_classes
    from skelzoo.skeleton.persons import check_choice

    check_step(window, step)
    check_choice(select_persons, each_person)
    if output != "-":
        check_classes(output, paths)
    encoder = skelzoo.load(model, device=device, dtype=dtype, compile=compile)
    if not encoder.config.num_classes:
        encoder.classify([], top_k)  # says so before any file is read
    array, ids, refused = _prepare(encoder, paths, select_persons, each_person, output, window, step, reading)
    if ids:
        result, classes = encoder.classify(array, top_k, prepared=True, batch_size=batch_size), encoder.labels or ()
        ids = with_classes(ids, paths, classes)
        click.echo(classes_table(result, ids) if output == "-" else f"{len(ids)} clips: {write_classes(output, result, ids)}")
        right = [i.label == best for i, best in zip(ids, result.labels[:, 0], strict=True) if i.label in classes]
        if right:
            click.echo(
                f"{sum(right)} of {len(right)} clips with a label of the model's are classified so ({100 * sum(right) / len(right):.1f} %)", err=output == "-"
            )
    finish(len(ids), refused, output)


def _embed_to_store(
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


def _prepare(
    encoder: Encoder,
    paths: Sequence[str],
    select_persons: bool,
    each_person: bool,
    output: str,
    window: Length | None,
    step: Length | None,
    reading: ReadOptions,
) -> tuple[FloatArray, list[ClipId], int]:
    """Prepared clips (N, C, T, V, M), what they are, and how many files or clips were refused."""
    import numpy as np

    from skelzoo.inference.files import prepare_items, read_files, warn_of

    clips: list[PreparedClip]
    items = prepare_items(read_files(paths, output, reading), encoder.contract, select_persons, window, step, each_person=each_person)
    clips, refused = go_through(items, paths, output)
    warn_of(clips)
    array = np.stack([c.array for c in clips]) if clips else np.zeros((0, *encoder.contract.shape), np.float32)
    return array, [c.id for c in clips], refused
