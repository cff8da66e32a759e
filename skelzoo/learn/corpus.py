"""The pretraining corpora, and benchmarks whose data may not be passed on: what they are, building them from original downloads, and the table of their clips."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from skelzoo.errors import ClipError, ReadError, TrainingError
from skelzoo.inference.files import Refusal
from skelzoo.inference.output import check_table
from skelzoo.learn.benchmarks import joints_hash
from skelzoo.learn.held_out import held_out
from skelzoo.learn.originals import Original, Recording, Skipped, Source, identify, make_corpus, place, read_originals, recordings_of
from skelzoo.learn.recipe import load_recipe
from skelzoo.skeleton.io import PathLike, find_files
from skelzoo.skeleton.io.corpus import Corpus, read_corpus, save_corpus
from skelzoo.skeleton.writing import whole_file, write_csv

TABLE = "clips.csv"
"""One row per clip of a corpus, beside its files."""

HELD_OUT, TRAIN = "held out", "train"


@dataclass(frozen=True)
class CorpusDefinition:
    """A pretraining corpus, or the file of a benchmark.

    Attributes:
        files: corpus file name -> what it is made of.
        weights: licence of weights trained on it; "" of a benchmark.
        commercial_use: whether such weights may be used commercially.
        rules: recipe whose ``data.held_out`` says which clips are held out; "" of a benchmark.

    Raises:
        TrainingError: a file that is not for commercial use in a corpus that is.
    """

    name: str
    files: Mapping[str, Source]
    weights: str
    commercial_use: bool
    rules: str

    def __post_init__(self) -> None:
        closed = [file for file, source in self.files.items() if not source.commercial_use]
        if self.commercial_use and closed:
            raise TrainingError(f"{self.name}: {', '.join(closed)} may not be used commercially, but weights of this corpus may. Leave it out of the corpus.")


@dataclass(frozen=True)
class ClipRow:
    """A row of ``clips.csv``; ``sha256`` is that of the clip's joints as ``read_corpus`` gives them."""

    corpus: str
    file: str
    clip: str
    label: str
    subject: int
    frames: int
    licence: str
    citation: str
    origin: str
    commercial_use: str
    role: str
    sha256: str


COLUMNS = [field.name for field in fields(ClipRow)]


@dataclass(frozen=True)
class BuiltFile:
    """A corpus file that is there: its clips, how many a whole one has, and how it came about."""

    file: str
    clips: int
    size: int
    how: str


@dataclass(frozen=True)
class CorpusReport:
    """What building a corpus gave.

    Attributes:
        files: that are there now.
        missing: corpus files of which nothing was found.
        refused: recordings and files that could not be used.
        skipped: reason -> number of files that were not needed.
        roles: ``train`` and ``held out`` -> clips.
        table: the ``clips.csv``; None for a benchmark.
    """

    corpus: CorpusDefinition
    files: tuple[BuiltFile, ...]
    missing: tuple[str, ...]
    refused: tuple[Refusal, ...]
    skipped: Mapping[str, int]
    roles: Mapping[str, int]
    table: Path | None

    def __str__(self) -> str:
        c = self.corpus
        lines = [f"{f.file}: {f.clips} of {f.size} clips, {f.how}" for f in self.files]
        lines += [f"skipped {count} file(s): {reason}" for reason, count in self.skipped.items()]
        if self.table is None:
            return "\n".join([*lines, f"for evaluation alone: skelzoo eval MODEL --on {c.name}"])
        lines.append(f"{self.table}: {self.roles.get(TRAIN, 0)} clips to train on, {self.roles.get(HELD_OUT, 0)} held out")
        lines.append(f"weights trained on {c.name}: {c.weights}, {'any' if c.commercial_use else 'no commercial'} use")
        return "\n".join(lines)


def corpus_named_by(files: Iterable[str]) -> str:
    """The name of the corpus that has these files and no other; where there is none, theirs."""
    rows = _definitions()["corpora"].items()
    return next((name for name, row in rows if set(row["files"]) == set(files)), ", ".join(files))


def _definitions() -> dict[str, Any]:
    return dict(json.loads(resources.files("skelzoo.learn").joinpath("corpora.json").read_text(encoding="utf-8")))


def find_corpus(name: str) -> CorpusDefinition:
    """The definition of a corpus.

    Args:
        name: ``openskel``, ``openskel-free``, or of a benchmark ``nwucla`` or ``utdmhad``.

    Raises:
        TrainingError: there is none of that name.
    """
    table = _definitions()
    if name not in table["corpora"]:
        raise TrainingError(f"no corpus {name!r}. Known: {', '.join(table['corpora'])}.")
    row = table["corpora"][name]
    return CorpusDefinition(name, **{**row, "files": {file: Source(**table["files"][file]) for file in row["files"]}})


def build_corpus(name: str, sources: Sequence[PathLike], to: PathLike) -> CorpusReport:
    """Make the files of a corpus and, but for benchmarks, the table of their clips, ``clips.csv``.

    Corpus files that are ready among the sources are checked and copied; the others are made of the original recordings
    there. Each file appears whole or not at all. Clips of an earlier call stay: a recording is added to them, or takes the
    place of the clip of its name; a ready file that lacks some of them is refused.

    Args:
        name: see ``find_corpus``.
        sources: folders, files and globs.
        to: folder to write.

    Raises:
        TrainingError: unknown corpus.
        ReadError: a source that is not there, or without readable files.
        WriteError: the folder cannot be written, or holds another table under the name.
    """
    corpus, folder = find_corpus(name), Path(to)
    if corpus.rules:
        check_table(folder / TABLE, COLUMNS)
    ready, originals, skipped = _sort(find_files(sources), corpus)
    refused: list[Refusal] = []
    how: dict[str, str] = {}
    for file, source in corpus.files.items():
        try:
            if file in ready:
                _copy(ready[file], folder / file, source)
                how[file] = f"copied from {ready[file]}"
            elif originals[file]:
                recordings = _read(file, source, originals[file], refused, skipped)
                if recordings:
                    earlier = _earlier(folder / file, source, recordings)
                    together = sorted([*recordings, *earlier], key=lambda r: place(r.original))
                    save_corpus(folder / file, *make_corpus(Path(file).stem, source, together))
                    how[file] = f"made of {len(recordings)} recordings" + (f" and {len(earlier)} clips that were there" if earlier else "")
        except (ReadError, ClipError) as error:
            refused.append(Refusal(str(ready.get(file, folder / file)), error))
    tables = {file: _checked(folder / file, source) for file, source in corpus.files.items() if (folder / file).is_file()}
    rows = list(_rows(corpus, tables)) if corpus.rules else []
    if corpus.rules:
        _write(folder / TABLE, rows)
    files = [BuiltFile(file, len(table), corpus.files[file].size, how.get(file, "as it was")) for file, table in tables.items()]
    missing = tuple(file for file in corpus.files if file not in tables)
    return CorpusReport(corpus, tuple(files), missing, tuple(refused), skipped, Counter(row.role for row in rows), folder / TABLE if corpus.rules else None)


def _sort(paths: Sequence[Path], corpus: CorpusDefinition) -> tuple[dict[str, Path], dict[str, list[Original]], Counter[str]]:
    """Ready corpus files by name, originals by the corpus file they belong to, and what is neither."""
    ready: dict[str, Path] = {}
    originals: dict[str, list[Original]] = {file: [] for file in corpus.files}
    skipped: Counter[str] = Counter()
    for path in paths:
        if path.name in corpus.files:
            if ready.setdefault(path.name, path) != path:
                skipped[f"there is another ready {path.name}"] += 1
            continue
        found = ((file, identify(path, file, source)) for file, source in corpus.files.items())
        file, original = next(((f, o) for f, o in found if o is not None), ("", None))
        if original is None:
            skipped["by its name and folder no clip of the corpus"] += 1
        else:
            originals[file].append(original)
    for file in ready:
        if originals[file]:
            skipped[f"there is a ready {file}"] += len(originals.pop(file))
    return ready, originals, skipped


def _read(file: str, source: Source, originals: Sequence[Original], refused: list[Refusal], skipped: Counter[str]) -> list[Recording]:
    """The usable recordings; what is not is added to ``refused`` and ``skipped``."""
    recordings = []
    for item in tqdm(read_originals(originals, source), total=len(originals), desc=file, unit="file", delay=2, disable=None, leave=False):
        if isinstance(item, Recording):
            recordings.append(item)
        elif isinstance(item, Skipped):
            skipped[item.reason] += 1
        else:
            refused.append(item)
    return recordings


def _earlier(path: Path, source: Source, recordings: Sequence[Recording]) -> list[Recording]:
    """The clips of a corpus file that is there, but for those that the recordings replace."""
    if not path.is_file():
        return []
    new = {r.original.name for r in recordings}
    return [r for r in recordings_of(path, _checked(path, source), list(recordings[0].original.columns)) if r.original.name not in new]


def _copy(path: Path, to: Path, source: Source) -> None:
    new = set(_checked(path, source).clip_names)
    lost = [name for name in _checked(to, source).clip_names if name not in new] if to.is_file() else []
    if lost:
        problem = f"lacks {len(lost)} clip(s) of {to}, the first {lost[0]!r}, which copying it there would lose"
        raise ReadError(path, problem, "Build in another folder, or take that file away.")
    with path.open("rb") as file, whole_file(to) as copy:
        shutil.copyfileobj(file, copy)


def _checked(path: Path, source: Source) -> Corpus:
    """A corpus file that is what its name says, so that nothing under another licence comes in under that name."""
    table = read_corpus(path)
    for what, found, expected in (("layout", table.layout.name, source.layout), ("licence", table.licence, source.licence)):
        if found != expected:
            raise ReadError(path, f"its {what} is {found!r}, and that of {path.name} is {expected!r}", "It is another file under this name; take it away.")
    return table


def _rows(corpus: CorpusDefinition, tables: Mapping[str, Corpus]) -> Iterator[ClipRow]:
    """A row for every clip; held out is also what equals a held-out clip in all joints."""
    rules = load_recipe(corpus.rules).data.held_out
    out = {file: held_out(table, rules.get(file), partial=True) for file, table in tables.items()}
    hashes = {file: [joints_hash(clip) for clip in table.clips] for file, table in tables.items()}
    kept_back = {hashes[file][i] for file in tables for i in np.flatnonzero(out[file])}
    for file, t in tables.items():
        for clip, subject, sha256 in zip(t.clips, t.subject, hashes[file], strict=True):
            yield ClipRow(
                corpus.name, file, clip.name, clip.label or "", int(subject), clip.frames, t.licence, t.citation, t.origin,
                "yes" if corpus.files[file].commercial_use else "no", HELD_OUT if sha256 in kept_back else TRAIN, sha256,
            )  # fmt: skip


def _write(path: Path, rows: Sequence[ClipRow]) -> None:
    write_csv(path, COLUMNS, map(asdict, rows))
