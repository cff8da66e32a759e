"""What the card and the manifest say of a model of this project, made from the recipe that trained it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from skelzoo.learn.cameras import SEEN
from skelzoo.learn.corpus import find_corpus
from skelzoo.learn.pretrain.methods import members_options
from skelzoo.learn.recipe import Recipe, load_recipe
from skelzoo.nets.archs import ARCHS
from skelzoo.publishing import known_provenance
from skelzoo.weights.cards import Provenance
from skelzoo.weights.manifest import manifest

CMU = (
    "CMU Graphics Lab Motion Capture Database, a subset (free use, no resale of the data), without subjects 7 and 16. "
    "The data used in this project was obtained from mocap.cs.cmu.edu. The database was created with funding from NSF EIA-0196217."
)
TRAINED_ON: Mapping[str, str] = {
    "uiprmd_kinect.npz": "UI-PRMD, Kinect part (PDDL 1.0), subjects 1 to 8",
    "bandai_namco.npz": "Bandai-Namco-Research-Motiondataset 1 and 2 (CC BY-NC 4.0), nine tenths of the clips",
    "cmu_subset.npz": CMU,
    "cmu_daz.npz": CMU,
    "cmu_iclone.npz": CMU,
}
"""Corpus file -> what of it was trained on, by the rules of the corpora."""

BANDAI = "bandai_namco.npz"
EXHAUSTED = {"style": [5]}
"""What recipes may hold out of BANDAI beyond the rules; the text then says so."""

NON_COMMERCIAL = "CC-BY-NC-4.0", "Part of the training data, the Bandai-Namco-Research-Motiondataset, is CC BY-NC 4.0.", False
FREE = (
    "Apache-2.0",
    "The training data puts no condition on weights: UI-PRMD is in the public domain, CMU motion capture is free for any use but resale of the data.",
    True,
)

ACTORS = (
    "The Bandai-Namco clips are repetitions by three actors whose names are not in the files, so held-out Bandai clips share their actors with training: "
    "expect lower accuracy on other people."
)
HEAD = "The head was fitted on the training clips and measured on the held-out ones, which neither pretraining nor the head saw."
CAMERAS = (
    "The clips were filmed by simulated cameras (skelzoo.learn.cameras), with the noise, the missing joints and the scores of a pose estimator: this project's own. "
    "No real video was seen in training or measuring."
)


def provenance(recipe: Recipe) -> Provenance:
    """Provenance of the weights that a recipe gives.

    Raises:
        SystemExit: it trains on data, or starts from weights, whose licence is not known to allow weights of it to be published; or there are no words for
            what it trains on, or for its method.
    """
    corpus_of(recipe)
    method = recipe.method, recipe.arch
    if method not in DESCRIBED:
        raise SystemExit(f"{recipe.name}: nobody has said what a card tells of {' with '.join(method)}. Add a row to DESCRIBED in tools/provenance.py.")
    bandai, before = BANDAI in recipe.data.files, _started_from(recipe)
    terms = NON_COMMERCIAL if bandai else (before.license, before.license_reason, before.commercial_use) if before else FREE
    free = terms[-1]
    recipe = replace(recipe, options={**ARCHS[recipe.arch].options, **recipe.options})
    family, net, notes = DESCRIBED[method](recipe)
    streams, filmed = _listed(recipe.contract.streams), _filmed(recipe)
    sensed = recipe.method == "skeattnclr" and _sensed(recipe.method_options)
    summary = (
        f"{family} ({net}, {streams} stream{'s' * (len(recipe.contract.streams) > 1)}) pretrained on {'the part of openskel that is free for any use' if free else 'openskel'}"
        f"{', filmed by simulated cameras,' if filmed else ', with the errors of a depth camera,' if sensed else ''} without labels"
    )
    head = f", with a linear head for {'exercises, gestures and locomotion' if bandai else 'exercises and locomotion'}" if recipe.head else ""
    exhausted = EXHAUSTED.items() <= recipe.data.held_out.get(BANDAI, {}).items()
    trained_on = [TRAINED_ON[f] + (", without the style exhausted" if f == BANDAI and exhausted else "") for f in recipe.data.files]
    start = [f"Training started from the weights of `{recipe.start}`."] if recipe.start else []
    said = (*notes, *start, *([CAMERAS] if filmed else []), *([HEAD] if recipe.head else []), *([ACTORS] if bandai else []))
    command = f"skelzoo pretrain {recipe.name} --data DATA --out RUN"
    return Provenance(family, f"{summary}{head}.", *terms, tuple(dict.fromkeys([*trained_on, *(before.trained_on if before else ())])), command, said)


def corpus_of(recipe: Recipe) -> str:
    """The corpus that a recipe trains on, ``openskel`` or ``openskel-free``.

    Raises:
        SystemExit: it trains on other files or clips, of which TRAINED_ON and the summary would say something else.
    """
    files, held_out = set(recipe.data.files), recipe.data.held_out
    unknown = [f for f in recipe.data.files if f not in TRAINED_ON]
    if unknown:
        raise SystemExit(f"{recipe.name} trains on {', '.join(unknown)}: weights of it are not published. Its recipe and its results are.")
    for name in ("openskel", "openskel-free"):
        corpus = find_corpus(name)
        if files == corpus.files.keys():
            rules = load_recipe(corpus.rules).data.held_out
            if held_out in (rules, {**rules, BANDAI: {**rules.get(BANDAI, {}), **EXHAUSTED}}):
                return name
            raise SystemExit(f"{recipe.name} holds out {held_out}, and {name} {rules}. Take its rules, or say in tools/provenance.py what was trained on.")
    raise SystemExit(
        f"{recipe.name} trains on {', '.join(recipe.data.files)}, neither all of openskel nor of openskel-free. Say in tools/provenance.py what that is."
    )


def _started_from(recipe: Recipe) -> Provenance | None:
    """Provenance of the weights that a recipe starts from; None for random ones."""
    if recipe.start is None:
        return None
    known = manifest()
    entry = known.models.get(known.aliases.get(recipe.start, recipe.start))
    if entry is None or entry.weights is None:
        raise SystemExit(
            f"{recipe.name} starts from {recipe.start}, whose licence the manifest does not know. Bundle or publish that first, and start from its name."
        )
    return known_provenance(entry)


def _skeattnclr(recipe: Recipe) -> tuple[str, str, Sequence[str]]:
    options, channels = recipe.options, recipe.options["hidden_channels"]
    sensed = "; half of the views get the errors of a depth camera, this project's own" if _sensed(recipe.method_options) else ""
    narrower = [f"Narrower than the paper's net ({channels} instead of 64 channels): it was trained on a CPU."] if channels < 64 else []
    apart = (options["pool_segments"], options["pool_groups"]) == (4, "parts")
    pooled = "the contrast pools four stretches of time and five body parts apart (the paper pools once); " if apart else ""
    return "SkeAttnCLR", f"ST-GCN, {channels} channels", (
        *narrower,
        f"Departures from the paper, all in the recipe: {pooled}"
        f"{_vector(options, 'blocks')}, chosen on splits inside the training parts of NW-UCLA and UTD-MHAD; "
        f"the streams enter together; AdamW, a queue of 1024, momentum 0.95, temperature 0.1; windows of about 90 frames of one person{sensed}.",
    )  # fmt: skip


def _psp(recipe: Recipe) -> tuple[str, str, Sequence[str]]:
    options, ways = recipe.options, [_way(way) for way in members_options(recipe)]
    first, last = options["blocks"][0][0], options["blocks"][-1][1]
    ensemble = f"{len(ways)} nets side by side on the same clips, one trained with {' and one with '.join(ways)}; " if len(ways) > 1 else ""
    narrower = [
        f"Narrower than the paper's net ({first} to {last} instead of 64 to 256 channels, {len(options['blocks'])} blocks instead of eight): it was trained on a CPU."
    ] if (first, last, len(options["blocks"])) != (64, 256, 8) else []  # fmt: skip
    return "PSP", f"{f'{len(ways)} DSTA-Nets' if ensemble else 'DSTA-Net'}, {first} to {last} channels", (
        *narrower,
        f"Departures from the paper, all in the recipe: only the contrast without labels; {ensemble}clips are {'filmed' if _filmed(recipe) else 'turned'}, sheared and scaled "
        f"before the streams are computed{'' if ensemble else f', {ways[0]}'}; {_vector(options, 'blocks')}, chosen on splits inside the training parts of NW-UCLA and UTD-MHAD; AdamW; one person.",
    )  # fmt: skip


def _way(options: Mapping[str, Any]) -> str:
    """How a PSP net's clips are augmented, in words."""
    return f"joint and motion {'apart' if options.get('apart') else 'together'}{' and the errors of a depth camera' if _sensed(options) else ''}"


def _sensed(options: Mapping[str, Any]) -> bool:
    return any(row["op"] == "sense_joints" for row in options["augmentations"])


STAGES = {
    "reconstruction": "body regions are hidden for a stretch of every clip, and a linear map of the last layer of the whole STRL is to give all joints and their motion as they were.",
    "contrast": "two augmented views of every clip go through the whole STRL, and a projection of its last layer, pooled over four stretches of time and five body parts, is to tell "
    "the clip from the others of the batch.",
}
"""What the second stage of SkeletonMAE's recipes does."""


def _skeletonmae(recipe: Recipe) -> tuple[str, str, Sequence[str]]:
    return "SkeletonMAE", f"STRL, {recipe.options['dim']} channels", (
        "The paper's pretraining, masked body parts of single frames, leaves STRL's temporal layers random. Its last part here is this project's own, not the paper's: "
        + STAGES[recipe.method_options.get("temporal", "reconstruction")],
        f"Further departures from the paper, all in the recipe: {_vector(recipe.options, 'layers')}; AdamW; one person.",
        "The authors published neither code nor weights; docs/skeletonmae.md lists what was built where the paper is silent.",
    )  # fmt: skip


DESCRIBED: Mapping[tuple[str, str], Callable[[Recipe], tuple[str, str, Sequence[str]]]] = {
    ("skeattnclr", "skeattnclr-stgcn"): _skeattnclr,
    ("psp", "psp"): _psp,
    ("psp-ensemble", "psp-ensemble"): _psp,
    ("skeletonmae", "skeletonmae-strl"): _skeletonmae,
}
"""Method and arch -> family, net and notes of a recipe of it, whose options are complete."""


def _filmed(recipe: Recipe) -> bool:
    return recipe.contract.layout == SEEN


def _vector(options: Mapping[str, Any], what: str) -> str:
    """How the vector is pooled, in words."""
    statistics = _listed([{"std": "standard deviation", "max": "maximum", "min": "minimum"}.get(s, s) for s in options["embed_statistics"]])
    parts = {"subparts": "ten body parts' features", "parts": "five body parts' features", "all": "the features"}[options["embed_groups"]]
    inputs = ", and of the joints and limbs that come in" if options.get("embed_input") else ""
    inputs += f", and the joints' mean places in {options['embed_path']} stretches of the clip" if options.get("embed_path") else ""
    return f"the vector is {statistics} over time of {parts} after {what} {_listed([str(i) for i in options[f'embed_{what}']])}{inputs}"


def _listed(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
