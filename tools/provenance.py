"""What the card and the manifest say of a model of this project, made from the recipe that trained it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from skelzoo.learn.cameras import SEEN
from skelzoo.learn.pretrain.methods import members_options
from skelzoo.learn.pretrain.recipe import Recipe
from skelzoo.weights.publish import Provenance

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
"""Corpus file -> what of it was trained on."""

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
        SystemExit: it trains on data whose licence is not known to allow weights of it to be published.
    """
    unknown = [f for f in recipe.data.files if f not in TRAINED_ON]
    if unknown:
        raise SystemExit(f"{recipe.name} trains on {', '.join(unknown)}: weights of it are not published. Its recipe and its results are.")
    free = "bandai_namco.npz" not in recipe.data.files
    family, net, notes = {"skeattnclr": _skeattnclr, "psp": _psp, "psp-ensemble": _psp, "skeletonmae": _skeletonmae}[recipe.method](recipe)
    streams, filmed = _listed(recipe.contract.streams), _filmed(recipe)
    sensed = recipe.method == "skeattnclr" and _sensed(recipe.method_options)
    summary = (
        f"{family} ({net}, {streams} stream{'s' * (len(recipe.contract.streams) > 1)}) pretrained on {'the part of openskel that is free for any use' if free else 'openskel'}"
        f"{', filmed by simulated cameras,' if filmed else ', with the errors of a depth camera,' if sensed else ''} without labels"
    )
    head = f", with a linear head for {'exercises and locomotion' if free else 'exercises, gestures and locomotion'}" if recipe.head else ""
    held_out = recipe.data.held_out.get("bandai_namco.npz", {})
    trained_on = [TRAINED_ON[f] + (", without the style exhausted" if f == "bandai_namco.npz" and "style" in held_out else "") for f in recipe.data.files]
    start = [f"Training started from the weights of `{recipe.start}`."] if recipe.start else []
    said = (*notes, *start, *([CAMERAS] if filmed else []), *([HEAD] if recipe.head else []), *([] if free else [ACTORS]))
    command = f"skelzoo pretrain {recipe.name} --data DATA --out RUN"
    return Provenance(family, f"{summary}{head}.", *(FREE if free else NON_COMMERCIAL), tuple(dict.fromkeys(trained_on)), command, said)


def _skeattnclr(recipe: Recipe) -> tuple[str, str, Sequence[str]]:
    options, channels = recipe.options, recipe.options["hidden_channels"]
    sensed = "; half of the views get the errors of a depth camera, this project's own" if _sensed(recipe.method_options) else ""
    return "SkeAttnCLR", f"ST-GCN, {channels} channels", (
        f"Narrower than the paper's net ({channels} instead of 64 channels): it was trained on a CPU.",
        "Departures from the paper, all in the recipe: the contrast pools four stretches of time and five body parts apart (the paper pools once); "
        f"{_vector(options, 'blocks')}, chosen on splits inside the training parts of NW-UCLA and UTD-MHAD; "
        f"the streams enter together; AdamW, a queue of 1024, momentum 0.95, temperature 0.1; windows of about 90 frames of one person{sensed}.",
    )  # fmt: skip


def _psp(recipe: Recipe) -> tuple[str, str, Sequence[str]]:
    options, ways = recipe.options, [_way(way) for way in members_options(recipe)]
    first, last = options["blocks"][0][0], options["blocks"][-1][1]
    ensemble = f"{len(ways)} nets side by side on the same clips, one trained with {' and one with '.join(ways)}; " if len(ways) > 1 else ""
    return "PSP", f"{f'{len(ways)} DSTA-Nets' if ensemble else 'DSTA-Net'}, {first} to {last} channels", (
        f"Narrower than the paper's net ({first} to {last} instead of 64 to 256 channels, {len(options['blocks'])} blocks instead of eight): it was trained on a CPU.",
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
