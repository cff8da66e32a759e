"""The verbs about models, where they come from and whether they are whole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import click

import skelzoo
from skelzoo.cli.completion import complete_all_models, complete_files, complete_layouts, complete_models
from skelzoo.cli.options import device_option, fail, pretty_json
from skelzoo.errors import SkelzooError


@click.command("list")
@click.argument("pattern", default="*")
@click.option("--pretrained", is_flag=True, help="Only models with weights, published or registered here.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_command(pattern: str, pretrained: bool, as_json: bool) -> None:
    """List the models whose names fit PATTERN, such as "skeattnclr*", or contain it; those with published weights come first."""
    from skelzoo.inference.screen import table

    rows, damaged = [], []
    for name in skelzoo.list_models(pattern, pretrained):
        try:
            rows.append(skelzoo.info(name))
        except SkelzooError as error:
            damaged.append(error)
    rows.sort(key=lambda r: _source(r) is None)
    if as_json:
        click.echo(pretty_json([_brief(r) for r in rows]))
    elif rows:
        cells = [[r["name"], (_source(r) or "-").partition("@")[0], _licence(r), r["config"]["contract"]["layout"], r["summary"]] for r in rows]
        click.echo(table(["name", "weights", "licence", "layout", "summary"], cells))
    elif not damaged:
        click.echo(f"no model fits {pattern!r}{' and has weights' if pretrained else ''}; `skelzoo list` shows all", err=True)
    if damaged:
        fail("\nerror: ".join(map(str, damaged)))


def _brief(row: dict[str, Any]) -> dict[str, Any]:
    weights = row["weights"] or {}
    return {
        **{key: row[key] for key in ("name", "family", "summary")},
        "layout": row["config"]["contract"]["layout"],
        "weights": _source(row),
        **{key: weights.get(key) for key in ("license", "commercial_use")},
    }


def _source(row: dict[str, Any]) -> str | None:
    return row["weights"]["source"] if row["weights"] else row["registered"] and "registered"


def _licence(row: dict[str, Any]) -> str:
    weights = row["weights"]
    return f"{weights['license']}{'' if weights['commercial_use'] else ', no commercial use'}" if weights else "-"


@click.command("info")
@click.argument("name", shell_complete=complete_all_models)
@click.option("--metrics", "every", is_flag=True, help="Show every metric; by default those that models are compared by.")
@click.option("--json", "as_json", is_flag=True, help="Print all of it as JSON.")
def info_command(name: str, every: bool, as_json: bool) -> None:
    """Show what is known of a model: licence, contract, classes, metrics, provenance."""
    row = skelzoo.info(name)
    click.echo(pretty_json(row) if as_json else "\n".join(_info_lines(row, every)))


def _info_lines(row: dict[str, Any], every: bool) -> Iterator[str]:
    """What one decides by comes first."""
    from skelzoo.weights.listing import vector_width

    config, weights = row["config"], row["weights"]
    contract = config["contract"]
    yield from (row["name"], f"  {row['summary']}")
    if weights:
        size = sum(file["size"] for file in weights["files"].values())
        yield f"  licence    {_licence(row)}{', free for commercial use' if weights['commercial_use'] else ''}: {weights['license_reason']}"
        yield f"  weights    {weights['source']}, {weights['parameters']:,} parameters, {size / 1e6:.1f} MB"
    elif row["name"].startswith(("local:", "hf:")):
        yield f"  weights    {row['name']}"
    else:
        yield f"  weights    {'registered in ' + row['registered'] if row['registered'] else 'none published'}"
    joints, persons = len(skelzoo.get_layout(contract["layout"])), contract["persons"]
    resampled = any(step["step"] == "resample" for step in contract["steps"])
    yield (
        f"  input      {contract['layout']} ({joints} joints), {contract['channels']}-D, {'1 person' if persons == 1 else f'up to {persons} persons'}, "
        f"{contract['frames']} frames{', to which clips of any length and frame rate are brought' if resampled else ''}"
    )
    if width := vector_width(row["name"]):
        yield f"  vector     {width} numbers"
    yield f"  classes    {config['num_classes'] or 'none'}{': ' + '; '.join(config['labels']) if config['labels'] else ''}"
    if weights:
        yield f"  trained on {'; '.join(weights['trained_on'])}"
    shown = row["metrics"] if every else _compared(row["metrics"])
    yield from (f"  metric     {m['dataset']}, {m['protocol']}: {m['value']:g} ({m['source']})" for m in shown)
    if len(shown) < len(row["metrics"]):
        yield f"  metrics    {len(row['metrics']) - len(shown)} more: skelzoo info {row['name']} --metrics"
    yield from (f"  note       {note}" for note in row["notes"])
    yield f"  arch       {config['arch']} {config['options']}, streams {', '.join(contract['streams'])}"
    yield f"  steps      {'; '.join(' '.join(str(v) for v in step.values()) for step in contract['steps'])}"
    if weights:
        yield f"  command    {weights['command']}"
    if row["card"]:
        yield f"  card\n\n{row['card'].strip()}"


def _compared(metrics: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Linear probe, head and what papers report; all where there are none of these."""
    return [m for m in metrics if m["protocol"] in ("linear", "head, top-1") or not m["source"].startswith("skelzoo ")] or metrics


@click.command("where")
@click.argument("name", shell_complete=complete_models)
def where_command(name: str) -> None:
    """Show the folder in which a model lies. Nothing is fetched."""
    from skelzoo.weights.sources import find

    source = find(name)
    if source.name != name:
        click.echo(f"{name} is {source.name}", err=True)
    if source.missing:
        fail(f"{source.name}: not on this machine ({', '.join(source.missing)} missing). skelzoo fetch {name} gets it, to {source.folder}.")
    click.echo(source.folder)


@click.command("fetch")
@click.argument("name", required=False, shell_complete=complete_models)
@click.option("--to", metavar="DIR", shell_complete=complete_files, help="Also copy it to this folder, to be loaded as local:DIR.")
@click.option("--all", "everything", is_flag=True, help="Every model with published weights.")
@click.option("--dry-run", is_flag=True, help="Only say what would be fetched.")
@click.option("--repair", is_flag=True, help="Fetch again what is in the cache and damaged.")
@click.option("--overwrite", is_flag=True, help="Replace another model that DIR holds.")
def fetch_command(name: str | None, to: str | None, everything: bool, dry_run: bool, repair: bool, overwrite: bool) -> None:
    """Have a model on this machine, every file checked; from then on it loads without a network."""
    from skelzoo.weights.manifest import manifest
    from skelzoo.weights.sources import fetch, find

    if (name is None) != everything or (everything and to is not None):
        raise click.UsageError("Give a model name, or --all; --to goes with one model.")
    for each in manifest().pretrained if name is None else [name]:
        if dry_run:
            source = find(each)
            click.echo(f"{source.name}: {source.kind}, {source.folder}; to fetch: {', '.join(source.missing) or 'nothing'}")
            continue
        done = fetch(each, to, repair=repair, overwrite=overwrite)
        size = sum(info.size for info in done.files.values())
        click.echo(f"{done.source.name}: {len(done.files)} files, {size / 1e6:.1f} MB, all as listed: {to or done.folder}")


@click.group("cache")
def cache_group() -> None:
    """Models of the Hub that are on this machine."""


@cache_group.command("list")
def cache_list_command() -> None:
    """List them, with their size."""
    from skelzoo.inference.screen import table
    from skelzoo.weights.cached import cached_models
    from skelzoo.weights.hub import HUB

    rows = [[model.name, f"{model.size / 1e6:.1f} MB", str(model.folder)] for model in cached_models(HUB)]
    click.echo(table(["name", "size", "folder"], rows) if rows else f"no models in {HUB.cache}", err=not rows)


@cache_group.command("remove")
@click.argument("name")
def cache_remove_command(name: str) -> None:
    """Remove one: a name of `skelzoo list`, or hf:owner/repo@COMMIT."""
    from skelzoo.weights.hub import HUB, remove_cached
    from skelzoo.weights.sources import find

    source = find(name)
    if not source.pinned:
        fail(f"{name}: is {source.kind}, in {source.folder}, and not in the cache of the Hub.")
    click.echo(f"{source.pinned}: removed, {remove_cached(source.pinned, HUB) / 1e6:.1f} MB free")


@click.command("verify")
@click.argument("name", required=False, shell_complete=complete_models)
@click.option("--all", "everything", is_flag=True, help="Every model with weights, published or registered here.")
@device_option
def verify_command(name: str | None, everything: bool, device: str) -> None:
    """Check a model's files by sha256, load it strictly and recompute its golden on this machine."""
    if (name is None) != everything:
        raise click.UsageError("Give a model name, or --all.")
    names = skelzoo.list_models(pretrained=True) if name is None else [name]
    bad = 0
    for each in names:
        try:
            result = skelzoo.verify(each, device)
        except SkelzooError as error:
            bad += 1
            click.echo(f"FAILED {each}: {error}", err=True)
            continue
        bad += not result.ok
        if result.card:
            click.echo(f"note   {result.name} card   {result.card}", err=True)
        worst = f"on {result.device}, largest difference {result.worst:.1e}, tolerance {result.tolerance:.0e}"
        checks = (
            ("hash  ", result.hash, f"{result.files} files"),
            ("load  ", result.load, "every tensor there and of its shape"),
            ("golden", result.golden, worst),
        )
        for what, problem, fine in checks:
            click.echo(f"{'FAILED' if problem else 'ok    '} {result.name} {what} {problem or fine}", err=bool(problem))
    if bad or not names:
        fail(f"{bad} of {len(names)} model(s) failed." if names else "no model has published weights, so nothing was verified.")


@click.command("convert")
@click.argument("checkpoints", nargs=-1, required=True, shell_complete=complete_files)
@click.option("--as", "name", metavar="NAME", shell_complete=complete_all_models, help="Model of `skelzoo list` that the checkpoint is: gives the rest.")
@click.option("--arch", help="Or the architecture alone.")
@click.option("--to", required=True, metavar="FOLDER", shell_complete=complete_files, help="Weights folder to write, to be loaded as local:FOLDER.")
@click.option("--set", "settings", multiple=True, metavar="OPTION=VALUE", help="What shapes do not tell, e.g. heads=8 or num_frames=50; may be given again.")
@click.option("--layout", shell_complete=complete_layouts, help="Layout of the joints; by default one with as many.")
@click.option("--head/--no-head", default=None, help="Keep the classification layer, or leave it out; by default one that was trained is kept.")
@click.option("--licence", default="unknown", show_default=True, help="Of the weights, for the card.")
@click.option("--register", is_flag=False, flag_value="", metavar="[NAME]", help="Also copy to your models, to be loaded as NAME, by default that of --as.")
@click.option("--overwrite", is_flag=True, help="Replace a model that FOLDER, or NAME, holds.")
def convert_command(
    checkpoints: tuple[str, ...], name: str | None, arch: str | None, to: str, settings: tuple[str, ...], layout: str | None, head: bool | None, licence: str,
    register: str | None, overwrite: bool,
) -> None:  # fmt: skip
    """Turn CHECKPOINTS of the authors' code into a weights folder: one file, or those of the joint, bone and motion stream. Nothing in them is run."""
    if (name is None) == (arch is None) or (register == "" and name is None) or not all("=" in s for s in settings):
        raise click.UsageError("Give either --as NAME or --arch ARCH, with --arch a name to --register, and every --set as OPTION=VALUE.")
    options = {key: _value(text) for key, _, text in (s.partition("=") for s in settings)}
    register = name if register == "" else register
    done = skelzoo.convert(
        checkpoints, to=to, arch=arch, name=name, options=options, layout=layout, head=head, licence=licence, register=register, overwrite=overwrite
    )
    click.echo(f"{done.report()}\nweights, to be loaded as local:{done.folder}{f' or {done.registered}' if done.registered else ''}")


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


@click.command("publish")
@click.argument("folder", shell_complete=complete_files)
@click.option("--to", "repo", required=True, metavar="OWNER/REPO", help="Repository of the Hub; made where there is none.")
@click.option("--as", "name", help="Model name; by default that of the repository.")
@click.option(
    "--about", metavar="FILE", shell_complete=complete_files, help="JSON with licence, provenance and metrics; needed where the manifest does not have them."
)
@click.option("--private", is_flag=True, help="Make the repository, where there is none, one that only you see.")
@click.option("--dry-run", is_flag=True, help="Check everything and show the card, and send nothing.")
def publish_command(folder: str, repo: str, name: str | None, about: str | None, private: bool, dry_run: bool) -> None:
    """Check a weights FOLDER, write its card, upload it in one commit, and pin commit and hashes in the manifest."""
    from skelzoo.publishing import publish
    from skelzoo.weights.entries import ENTRY

    done = publish(folder, repo, name=name, about=about, dry_run=dry_run, private=private)
    if dry_run:
        click.echo(f"{done.card}\n{done.name}: everything is in order; nothing was sent")
    else:
        click.echo(f"{done.name}: {done.pinned}, pinned in {done.manifest}")
        if done.manifest.name.endswith(ENTRY):
            click.echo(
                f"note: that is its entry for the manifest of a source checkout, as that of a package is not written in; load it as {done.pinned}", err=True
            )
