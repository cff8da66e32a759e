"""The verb ``eval``, which measures models on benchmarks."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from skelzoo.cli.completion import complete_files, complete_models
from skelzoo.cli.options import device_option, pretty_json, select_option

if TYPE_CHECKING:
    from skelzoo.learn.benchmarks import Benchmark


@click.command("eval")
@click.argument("model", required=False, shell_complete=complete_models)
@click.option(
    "--on",
    "benchmark",
    help="Benchmark: nwucla, utdmhad, uiprmd, hdm05; nwucla-2d, utdmhad-2d for 2-D; ntu60-xsub, -xview, ntu120-xsub, -xset; or FILE.json or FILE.npz of your own.",
)
@click.option("--data", shell_complete=complete_files, help="Folder with the benchmarks' corpus files; that of FILE.npz by default.")
@click.option(
    "--test-subjects",
    metavar="LIST",
    help="With --on FILE.npz, a labelled corpus file: the subjects that test, such as 7,8, while all others train; or each, one after the other, for the mean over subjects.",
)
@click.option("--film", is_flag=True, help="Have simulated cameras film the benchmark's 3-D clips, for 2-D models.")
@click.option(
    "--protocol",
    "protocols",
    multiple=True,
    help="linear, knn, retrieval (these three by default), finetune, semi; may be given again. head, of a model with a recipe, goes alone and without --on.",
)
@click.option("--labels", type=float, metavar="PERCENT", help="Use this share of every class's labels: mean over five draws; not for retrieval.")
@select_option
@click.option("--random-weights", is_flag=True, help="Measure the same net untrained, with torch seed 0.")
@click.option("--all", "everything", is_flag=True, help="Every model with published weights, its untrained twin and the baselines, on every benchmark.")
@click.option(
    "--out", metavar="TABLE", shell_complete=complete_files, help="Merge the numbers into this .csv; with --all into one .csv per benchmark in this folder."
)
@device_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def eval_command(
    model: str | None, benchmark: str | None, data: str | None, test_subjects: str | None, film: bool, protocols: tuple[str, ...], labels: float | None, select_persons: bool,
    random_weights: bool, everything: bool, out: str | None, device: str, as_json: bool,
) -> None:  # fmt: skip
    """Measure MODEL on a benchmark by the protocols of `skelzoo docs evaluation`, which are not the papers' own; `coordinates` and `statistics` are baselines without a net."""
    from skelzoo.inference.output import check_output
    from skelzoo.learn.evaluate import evaluate, evaluate_all
    from skelzoo.learn.head_rows import evaluate_head
    from skelzoo.learn.results import HEAD, Row, merge_rows, read_rows

    on, data = _benchmark(benchmark, data, test_subjects, film)
    of_head = HEAD in protocols
    if of_head and (not model or everything or on or len(protocols) > 1 or film or labels or select_persons or random_weights):
        raise click.UsageError("--protocol head goes with a MODEL, --data, --out, --device and --json alone: the model's recipe says which clips test.")
    rows = list[Row]()

    def done(found: Iterable[Row]) -> None:
        """Takes rows as they come: what goes wrong later loses none of them."""
        if out and not everything:
            merge_rows(out, list(found))
        for row in found:
            rows.append(row)
            if not as_json:
                click.echo(row)

    if everything and out and not (model or benchmark or labels or random_weights or select_persons or film):
        done(evaluate_all(data, out, protocols, device))
    elif everything or not model or not (on or of_head):
        raise click.UsageError(
            "Give a MODEL and --on BENCHMARK; or --all with --out FOLDER, and without MODEL, --on, --film, --labels, --select-persons and --random-weights."
        )
    else:
        if out:  # what is wrong with it is said before anything is measured
            check_output(out, (".csv",))
            read_rows(out)
        if on:
            evaluate(model, on, data, protocols, labels=labels, select_persons=select_persons, random_weights=random_weights, device=device, done=done)
        else:
            done(evaluate_head(model, data, device))
    if as_json:
        click.echo(pretty_json([dataclasses.asdict(row) for row in rows]))


def _benchmark(benchmark: str | None, data: str | None, subjects: str | None, film: bool) -> tuple[str | Benchmark | None, str]:
    """The benchmark and the folder of its file."""
    from skelzoo.learn.benchmarks import EACH, by_subjects, filmed, leave_one_subject_out

    own = benchmark is not None and benchmark.endswith(".npz")
    if own != (subjects is not None):
        raise click.UsageError("--on FILE.npz and --test-subjects LIST, or each, go together.")
    if benchmark is not None and subjects is not None:
        words = subjects.replace(",", " ").split()
        if words != [EACH] and not (words and all(word.isdecimal() for word in words)):
            raise click.UsageError(f"--test-subjects {subjects!r} are no numbers. Give ids such as 7,8, which skelzoo corpus make says, or each.")
        file = benchmark if data is not None else Path(benchmark).name
        on = leave_one_subject_out(file) if words == [EACH] else by_subjects(file, [int(word) for word in words])
        return filmed(on) if film else on, data or str(Path(benchmark).parent)
    if data is None:
        raise click.UsageError("Give the folder with the benchmarks' corpus files as --data.")
    return filmed(benchmark) if film and benchmark is not None else benchmark, data
