"""The command line: every verb calls one public function and prints what it gives. Heavy imports wait inside the verbs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

import skelzoo
from skelzoo.errors import SkelzooError

if TYPE_CHECKING:
    from skelzoo.inference.encoder import Encoder
    from skelzoo.inference.files import PreparedClip, Refusal
    from skelzoo.inference.output import ClipId
    from skelzoo.skeleton.clip import FloatArray

T = TypeVar("T")


class Verbs(click.Group):
    """A group whose verbs turn every SkelzooError into one line and exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a verb."""
        try:
            return super().invoke(ctx)
        except SkelzooError as error:
            _fail(error)


def _fail(error: SkelzooError | str) -> NoReturn:
    from skelzoo.inference.files import one_line

    click.echo(f"error: {error if isinstance(error, str) else one_line(error)}", err=True)
    raise click.exceptions.Exit(1)


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(skelzoo.__version__, prog_name="skelzoo")
def main() -> None:
    """Skeleton sequences in, vectors and action labels out.

    PATHS are files, folders and quoted globs of BVH, ASF/AMC, NTU, NW-UCLA, UTD-MHAD, UI-PRMD or numpy data. MODEL is a
    name from `skelzoo list`, local:FOLDER or hf:owner/repo@COMMIT.

    Exit codes: 0 all was done; 1 something failed, and is named on stderr; 2 the command line is not understood.
    """


@main.command("list")
@click.argument("pattern", default="*")
@click.option("--pretrained", is_flag=True, help="Only models with published weights.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_command(pattern: str, pretrained: bool, as_json: bool) -> None:
    """List the models whose names fit PATTERN, such as "skeattnclr*"."""
    from skelzoo.inference.output import table

    rows = [skelzoo.info(name) for name in skelzoo.list_models(pattern, pretrained)]
    brief = [
        {
            "name": r["name"],
            "family": r["family"],
            "weights": r["weights"] and r["weights"]["source"],
            "layout": r["config"]["contract"]["layout"],
            "summary": r["summary"],
        }
        for r in rows
    ]
    if as_json:
        click.echo(_json(brief))
    elif brief:
        click.echo(
            table(["name", "weights", "layout", "summary"], [[r["name"], (r["weights"] or "-").partition("@")[0], r["layout"], r["summary"]] for r in brief])
        )
    else:
        click.echo(f"no model fits {pattern!r}{' and has weights' if pretrained else ''}; `skelzoo list` shows all", err=True)


@main.command("info")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def info_command(name: str, as_json: bool) -> None:
    """Show what is known of a model: contract, classes, licence, metrics, provenance."""
    row = skelzoo.info(name)
    click.echo(_json(row) if as_json else "\n".join(_info_lines(row)))


def _info_lines(row: dict[str, Any]) -> Iterator[str]:
    config, weights = row["config"], row["weights"]
    contract = config["contract"]
    yield from (row["name"], f"  {row['summary']}")
    yield f"  arch       {config['arch']} {config['options']}"
    yield f"  input      {contract['layout']}, {contract['channels']}-D, {contract['frames']} frames, up to {contract['persons']} person(s), streams {', '.join(contract['streams'])}"
    yield f"  steps      {'; '.join(' '.join(str(v) for v in step.values()) for step in contract['steps'])}"
    yield f"  classes    {', '.join(config['labels']) if config['labels'] else config['num_classes'] or 'none'}"
    if weights:
        size = sum(file["size"] for file in weights["files"].values())
        yield f"  weights    {weights['source']}, {weights['parameters']:,} parameters, {size / 1e6:.1f} MB"
        yield f"  licence    {weights['license']}{'' if weights['commercial_use'] else ', no commercial use'}: {weights['license_reason']}"
        yield f"  trained on {'; '.join(weights['trained_on'])}"
        yield f"  command    {weights['command']}"
    else:
        yield "  weights    none published"
    yield from (f"  metric     {m['dataset']}, {m['protocol']}: {m['value']:g} ({m['source']})" for m in row["metrics"])
    yield from (f"  note       {note}" for note in row["notes"])


@main.command("read")
@click.argument("paths", nargs=-1, required=True)
def read_command(paths: tuple[str, ...]) -> None:
    """Show what is in files: one line per clip."""
    from skelzoo.inference.files import read_files
    from skelzoo.inference.output import table

    done, refused = _go_through(read_files(paths))
    rows = []
    for item in done:
        c = item.clip
        share = skelzoo.coverage(c.layout, "kinect20").share
        rows.append([c.name, str(c.persons), str(c.frames), f"{c.fps:g}" if c.fps else "-", c.layout.name, str(c.channels), c.label or "-", f"{share:.0%}"])
    if rows:
        click.echo(table(["name", "persons", "frames", "fps", "layout", "channels", "label", "kinect20"], rows))
    _finish(len(rows), refused)


def _encoder_options(command: Callable[..., None]) -> Callable[..., None]:
    """Options shared by embed and classify."""
    for option in (
        click.option("--select-persons", is_flag=True, help="Where a clip has more persons than the model takes, keep those that move most."),
        click.option("--compile", is_flag=True, help="Use torch.compile."),
        click.option("--dtype", default="auto", show_default=True, help="float32 (auto), bfloat16 or float16."),
        click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, mps."),
        click.option("--batch-size", type=click.IntRange(1), help="Clips per batch; the default suits the device."),
    ):
        command = option(command)
    return command


@main.command("embed")
@click.argument("model")
@click.argument("paths", nargs=-1, required=True)
@click.option("-o", "--output", required=True, help=".npz (embeddings, names, files, labels, model) or .npy (and NAME.ids.csv).")
@_encoder_options
def embed_command(
    model: str, paths: tuple[str, ...], output: str, batch_size: int | None, device: str, dtype: str, compile: bool, select_persons: bool
) -> None:
    """Write one vector per clip."""
    from skelzoo.inference.output import EMBEDDING_SUFFIXES, check_output, write_embeddings

    check_output(output, EMBEDDING_SUFFIXES)
    encoder = skelzoo.load(model, device=device, dtype=dtype, compile=compile)
    array, ids, refused = _prepare(encoder, paths, select_persons)
    if ids:
        vectors = encoder.embed(array, prepared=True, batch_size=batch_size)
        files = write_embeddings(output, vectors, ids, encoder.name)
        click.echo(f"{len(vectors)} vectors of {vectors.shape[1]} numbers: {', '.join(map(str, files))}")
    _finish(len(ids), refused)


@main.command("classify")
@click.argument("model")
@click.argument("paths", nargs=-1, required=True)
@click.option("-o", "--output", default="-", show_default=True, help=".csv, .jsonl, or - for a table on the screen.")
@click.option("--top-k", type=click.IntRange(1), default=5, show_default=True, help="Classes per clip.")
@_encoder_options
def classify_command(
    model: str, paths: tuple[str, ...], output: str, top_k: int, batch_size: int | None, device: str, dtype: str, compile: bool, select_persons: bool
) -> None:
    """Name the likeliest classes of each clip."""
    from skelzoo.inference.output import CLASS_SUFFIXES, check_output, classes_table, write_classes

    if output != "-":
        check_output(output, CLASS_SUFFIXES)
    encoder = skelzoo.load(model, device=device, dtype=dtype, compile=compile)
    if not encoder.config.num_classes:
        encoder.classify([], top_k)  # says so before any file is read
    array, ids, refused = _prepare(encoder, paths, select_persons)
    if ids:
        result = encoder.classify(array, top_k, prepared=True, batch_size=batch_size)
        click.echo(classes_table(result, ids) if output == "-" else f"{len(ids)} clips: {write_classes(output, result, ids)}")
    _finish(len(ids), refused)


def _prepare(encoder: Encoder, paths: Sequence[str], select_persons: bool) -> tuple[FloatArray, list[ClipId], int]:
    """Prepared clips (N, C, T, V, M), what they are, and how many files or clips were refused."""
    import numpy as np

    from skelzoo.inference.files import prepare_files

    clips: list[PreparedClip]
    clips, refused = _go_through(prepare_files(paths, encoder.contract, select_persons))
    array = np.stack([c.array for c in clips]) if clips else np.zeros((0, *encoder.contract.shape), np.float32)
    return array, [c.id for c in clips], refused


def _go_through(items: Iterator[T | Refusal]) -> tuple[list[T], int]:
    """Collect what is usable, name the rest on stderr as it comes."""
    import sys

    from tqdm import tqdm

    from skelzoo.inference.files import Refusal

    done, refused = [], 0
    for item in tqdm(items, desc="reading", unit="clip", delay=2, disable=None, leave=False):
        if isinstance(item, Refusal):
            refused += 1
            tqdm.write(f"error: {item}", file=sys.stderr)
        else:
            done.append(item)
    return done, refused


def _finish(done: int, refused: int) -> None:
    if not done:
        _fail("no clip could be used; nothing was written.")
    if refused:
        _fail(f"{refused} file(s) or clip(s) left out, {done} clip(s) done.")


@main.command("verify")
@click.argument("name", required=False)
@click.option("--all", "everything", is_flag=True, help="Every model with published weights.")
def verify_command(name: str | None, everything: bool) -> None:
    """Check a model's files by sha256, load it strictly and recompute its golden on this machine."""
    if (name is None) != everything:
        raise click.UsageError("Give a model name, or --all.")
    names = skelzoo.list_models(pretrained=True) if name is None else [name]
    bad = 0
    for each in names:
        try:
            result = skelzoo.verify(each)
        except SkelzooError as error:
            bad += 1
            click.echo(f"FAILED {each}: {error}", err=True)
            continue
        bad += not result.ok
        worst = max(result.differences.values(), default=0.0)
        click.echo(f"{'ok    ' if result.ok else 'FAILED'} {each}: largest difference {worst:.1e}, tolerance {result.tolerance:.0e}", err=not result.ok)
    if bad or not names:
        _fail(f"{bad} of {len(names)} model(s) failed." if names else "no model has published weights, so nothing was verified.")


@main.command("demo")
@click.option("--model", default="skeattnclr-openskel", show_default=True, help="Model to run.")
@click.option("--picture", default="skelzoo_demo.png", show_default=True, help=".png, .svg or .pdf to write.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, mps.")
def demo_command(model: str, picture: str, device: str) -> None:
    """Classify and embed four made-up motions and draw them. Needs no data and no network."""
    from skelzoo.demo import run_demo

    click.echo(run_demo(model, picture, device))


@main.command("pretrain")
@click.argument("recipe")
@click.option("--data", required=True, help="Folder with the recipe's corpus files.")
@click.option("--out", required=True, help="Folder of the run; given again, the run goes on.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, mps.")
@click.option("--stop-after", type=click.IntRange(1), metavar="STEPS", help="Stop, with a checkpoint, once this many steps are done in all.")
def pretrain_command(recipe: str, data: str, out: str, device: str, stop_after: int | None) -> None:
    """Pretrain an encoder by RECIPE: a name, or a path ending in .json."""
    from skelzoo.learn.pretrain.loop import pretrain

    folder = pretrain(recipe, data, out, device, stop_after)
    click.echo(f"stopped; the same command goes on: {folder}" if folder == Path(out) else f"weights, to be loaded as local:{folder}")


@main.command("probe")
@click.argument("model")
@click.option("--on", "benchmark", required=True, help="Benchmark: nwucla or utdmhad.")
@click.option("--data", required=True, help="Folder with the benchmark's corpus file.")
@click.option("--protocol", type=click.Choice(["linear", "knn", "all"]), default="all", show_default=True, help="What is fitted on the frozen vectors.")
@click.option("--random-weights", is_flag=True, help="Measure the same net untrained, with torch seed 0.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, mps.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def probe_command(model: str, benchmark: str, data: str, protocol: str, random_weights: bool, device: str, as_json: bool) -> None:
    """Measure a model's frozen vectors on a benchmark; the MODEL `coordinates` is the baseline without a net."""
    import torch

    from skelzoo.learn.probe import PROTOCOLS, Coordinates, probe

    torch.manual_seed(0)
    encoder = Coordinates() if model == Coordinates.name else skelzoo.load(model, device=device, pretrained=not random_weights)
    results = [probe(encoder, benchmark, data, p) for p in (PROTOCOLS if protocol == "all" else [protocol])]
    if as_json:
        click.echo(_json([{**dataclasses.asdict(r), "random_weights": random_weights} for r in results]))
        return
    for r in results:
        copies = "" if r.accuracy_without_copies is None else f", {r.accuracy_without_copies:.1f} % without copies of training clips"
        click.echo(
            f"{r.model}, {r.benchmark}, {r.protocol}: {r.accuracy:.1f} %{copies} ({r.train_clips} train, {r.test_clips} test, {r.classes} classes; {r.description})"
        )


def _json(row: Any) -> str:
    return json.dumps(row, indent=2, ensure_ascii=False)
