"""Which clips a model saw in training, told by their joints and not by the names of files, so that none of them measures it."""

from __future__ import annotations

import contextlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Protocol

import numpy as np

from skelzoo.errors import SkelzooError, TrainingError, warn
from skelzoo.inference.encoder import Encoder
from skelzoo.learn.benchmarks import Benchmark, Selects, array_hash, benchmark_corpus, benchmark_file, find_benchmark, joints_hash, known_benchmarks
from skelzoo.learn.held_out import DataOptions, held_out
from skelzoo.learn.recipe import Recipe, is_there, load_recipe, shipped_recipes
from skelzoo.skeleton.clip import Clip
from skelzoo.skeleton.io.corpus import read_corpus
from skelzoo.weights.manifest import manifest

SEEN = "The recordings hold"
"""Begins what a card says of test clips that a model was fine-tuned on."""

Stamp = tuple[str, int, int]
"""Path of a file, its time in nanoseconds and its size: what was read of it once holds as long as these are the same."""


class Labelled(Protocol):
    """A clip and the file that it was read from."""

    @property
    def clip(self) -> Clip:
        """As it was read."""

    @property
    def file(self) -> str:
        """Path."""


def check_unseen(benchmark: str | Benchmark, data: str | Path, model: str, options: DataOptions) -> None:
    """Check that pretraining with these options left the test clips of a benchmark alone, as far as its corpus files lie in the data folder.

    Args:
        model: its name, for the message.

    Raises:
        TrainingError: a test clip was trained on, in whatever file; unknown benchmark or missing file.
    """
    tests, trained = test_joints(benchmark, data), trained_joints(data, options)
    count = sum(joints in trained for joints in tests)
    if count:
        raise TrainingError(
            f"{model}: its recipe trains on {count} of the {len(tests)} test clips of {find_benchmark(benchmark).name}, so it is not measured there. "
            "Choose another benchmark, or pretrain it with them held out."
        )


def test_joints(benchmark: str | Benchmark, data: str | Path) -> tuple[str, ...]:
    """``joints_hash`` of every test clip of a benchmark.

    Raises:
        TrainingError: unknown benchmark or missing file.
    """
    return _test_joints(find_benchmark(benchmark).test, _stamp(benchmark_file(benchmark, data)))


def trained_joints(data: str | Path, options: DataOptions) -> frozenset[str]:
    """``joints_hash`` of every clip that the options train on, of those of their files that lie in the data folder."""
    files = [file for file in options.files if (Path(data) / file).is_file()]
    parts = [_parts(_stamp(Path(data) / file), json.dumps(options.held_out.get(file))) for file in files]
    return frozenset().union(*(trained for trained, _ in parts)).difference(*(held for _, held in parts))


def seen_tests(clips: Iterable[Labelled]) -> tuple[str, ...]:
    """What a card says of recordings among which there are test clips of benchmarks: a sentence for each benchmark.

    The benchmarks are those whose corpus file lies in the folder of a recording, or is the recording itself.

    Args:
        clips: with the files that they were read from.
    """
    found = list(clips)
    folders, hashes = dict.fromkeys(Path(c.file).absolute().parent for c in found), Counter[str]()
    notes = []
    for b in known_benchmarks():
        tests: set[str] = set()
        for folder in folders:
            if (folder / b.file).is_file():
                with contextlib.suppress(SkelzooError):  # another file of that name
                    tests.update(test_joints(b, folder))
        hashes = hashes or Counter(joints_hash(c.clip) for c in found if tests)
        count = sum(hashes[joints] > 0 for joints in tests)
        if count:
            notes.append(f"{SEEN} {count} of the {len(tests)} different test clips of {b.name}, so no number of this model counts there.")
    return tuple(notes)


def seen_in_card(card: str) -> dict[str, str]:
    """Benchmark -> the sentence of ``seen_tests`` that a card has on it."""
    return {m[1]: m[0] for m in re.finditer(rf"^{SEEN} \d+ of the \d+ different test clips of ([^\n,]+),.*$", card, re.M)}


def check_card(model: str, card: str, benchmark: str | Benchmark) -> None:
    """Check that a card does not say that its model was fine-tuned on test clips of a benchmark.

    Raises:
        TrainingError: it does; unknown benchmark.
    """
    found, known = find_benchmark(benchmark), {b.name: b for b in known_benchmarks()}
    tests = [b.test for b in known.values() if b.file == found.file]
    for name, sentence in seen_in_card(card).items():
        # Of a known test part the card tells itself; another one of the same file is not among those that it looked for.
        if name in known and known[name].file == found.file and (found.test not in tests or known[name].test == found.test):
            raise TrainingError(f"{model}: its card says: {sentence} Choose another benchmark, or fine-tune it without them.")


def person_hashes(clips: Iterable[Clip]) -> frozenset[str]:
    """What ``Encoder.fine_tuned_on`` holds of clips: the first 16 digits of the ``joints_hash`` of each person who is there, so that persons may be selected."""
    return frozenset(array_hash(joints[None])[:16] for clip in clips for joints in clip.keypoints if joints.any())


def learned_before(clips: Iterable[Clip], encoder: Encoder) -> int:
    """How many of the clips show somebody as in a clip that the encoder was fine-tuned on."""
    known = encoder.fine_tuned_on
    return sum(not known.isdisjoint(person_hashes([clip])) for clip in clips) if known else 0


def warn_of_learned(clips: Sequence[Clip], encoder: Encoder) -> str:
    """Warn where an encoder was fine-tuned on clips that are to judge what comes of it; the same for reports, "" for nothing."""
    count = learned_before(clips, encoder)
    if not count:
        return ""
    said = f"{encoder.name} was fine-tuned before on {count} of the {len(clips)} clips that judge, so the accuracy is too high"
    warn(f"{said}. Start from a pretrained model, or judge by other clips.")
    return said


def check_unlearned(model: str, encoder: Encoder, benchmark: str | Benchmark, data: str | Path) -> None:
    """Check what a loaded encoder notes of its training as ``check_recipe`` checks recipes: its card, the clips of its fine-tunings and those of its pretraining.

    Args:
        model: its name, for the message.

    Raises:
        TrainingError: some of them are test clips of the benchmark; unknown benchmark or missing file.
    """
    found = find_benchmark(benchmark)
    check_card(model, encoder.card, found)
    _check_not_learned(model, encoder, found, data)
    _check_pretrained(model, encoder, found, data)


def _check_not_learned(model: str, encoder: Encoder, found: Benchmark, data: str | Path) -> None:
    """Raise TrainingError for an encoder that was fine-tuned on test clips, or on what simulated cameras film of them."""
    if not encoder.fine_tuned_on:
        return
    corpus, film = benchmark_corpus(found, data), found.transform
    tests = [int(i) for i in np.flatnonzero(found.test(corpus))]
    count = sum(learned_before([corpus.clips[i], *([] if film is None else [film(corpus.clips[i], i)])], encoder) > 0 for i in tests)
    if count:
        raise TrainingError(
            f"{model}: was fine-tuned on {count} of the {len(tests)} test clips of {found.name}, so it is not measured there. "
            "Choose another benchmark, or fine-tune it without them."
        )


def check_recipe(model: str, benchmark: str | Benchmark, data: str | Path) -> None:
    """Check that the recipe of a model, where it is known, holds out the test clips of a benchmark, and so does that of the model it starts with.

    Clips are compared by their joints, so that it does not matter what a file of the recipe is called; one that is not in the folder cannot be compared.

    Raises:
        TrainingError: one trains on some of them; or an unknown benchmark, a missing file.
    """
    found = find_benchmark(benchmark)
    for recipe in recipes_of(model):
        if not is_there(recipe.start):
            raise TrainingError(
                f"{model} began with {recipe.start}, which is not there any more, so that nothing tells whether that trained on the test clips of {found.name}. "
                "Put it back; or, if you know that it did not, take start out of recipe.json."
            )
        check_unseen(found, data, model, recipe.data)
        if recipe.start is not None:
            check_recipe(recipe.start, found, data)
            if recipe.start.startswith("local:"):
                check_unlearned(recipe.start, Encoder.from_pretrained(recipe.start, device="cpu"), found, data)


def _check_pretrained(model: str, encoder: Encoder, benchmark: Benchmark, data: str | Path) -> None:
    """Check what weights themselves note of their pretraining as ``check_recipe`` checks recipes, and warn of what neither tells."""
    unknown = [] if encoder.pretrained_on or recipes_of(model) else ["it"]
    for row in encoder.pretrained_on:
        if "data" not in row:
            if _ships(row["name"]):
                check_recipe(row["name"], benchmark, data)
            else:
                unknown.append(f"{row['name']}, which it began with,")
            continue
        try:
            options = DataOptions(**row["data"])
        except (TypeError, AttributeError, TrainingError) as error:
            raise TrainingError(f"{model}: its weights note the clips of pretraining in another way than this skelzoo ({error}). Upgrade skelzoo.") from error
        check_unseen(benchmark, data, f"{model}, pretrained as {row['name']}", options)
    if unknown:
        warn(
            f"{model}: nothing tells what {' and '.join(unknown)} was pretrained on, so its numbers count only if you know that no test clip of {benchmark.name} was among it.",
        )


def recipes_of(model: str) -> list[Recipe]:
    """That of a shipped model, or of the run that a weights folder lies in; of a link also of the run that it leads to."""
    folder = Path(model.removeprefix("local:"))
    if model.startswith("local:"):
        beside = dict.fromkeys(place.parent / "recipe.json" for place in (folder.absolute(), folder.resolve()))
        return [load_recipe(str(path)) for path in beside if path.is_file()]
    return [load_recipe(manifest().aliases.get(model, model))] if _ships(model) else []


def _ships(name: str) -> bool:
    """Whether a name stands for weights that a shipped recipe made; under others a user may have registered any."""
    name = manifest().aliases.get(name, name)
    return name in manifest().pretrained and name in shipped_recipes()


def _stamp(path: Path) -> Stamp:
    about = path.stat()
    return str(path.resolve()), about.st_mtime_ns, about.st_size


@cache
def _test_joints(test: Selects, stamp: Stamp) -> tuple[str, ...]:
    corpus = read_corpus(stamp[0])
    return tuple(joints_hash(corpus.clips[i]) for i in np.flatnonzero(test(corpus)))


@cache
def _parts(stamp: Stamp, rule: str) -> tuple[frozenset[str], frozenset[str]]:
    """The joints of a file's clips that a rule leaves, and of those that it holds out."""
    corpus, entries = read_corpus(stamp[0]), json.loads(rule)
    held, hashes = held_out(corpus, entries, partial=True), np.array([joints_hash(clip) for clip in corpus.clips])
    return frozenset(hashes[~held].tolist()), frozenset(hashes[held].tolist())
