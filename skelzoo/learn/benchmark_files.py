"""Benchmarks as JSON files: a corpus file, and by which columns or names its clips train and test; ``benchmark_rules`` holds those that ship.

=====================================  ==============================================================================
``file``                               name of the corpus file in the data folder
``title``                              of data set and split, for tables
``names``                              optional regular expression; what its named groups find in the names of clips are
                                       columns, numbers where they are digits
``dimension``                          optional, 2 for a file of 2-D joints; 3 by default
``evaluation_only``                    optional, true where no recipe may pretrain on a test clip; it counts in those that ship, among
                                       which it cannot be of NTU RGB+D: test clips of one rule are training clips of another
``train``, ``test``                    rules: ``{column: [values], ...}``, of which all must hold. Columns are ``subjects``,
                                       ``split``, ``view``, further ones of the file, and the groups of ``names``;
                                       ``{"name": REGEX}`` takes the clips in whose name it is found
``validation_train``,                  optional rules of two parts of the training part, for readings during pretraining
``validation_test``
=====================================  ==============================================================================
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skelzoo.errors import TrainingError, warn
from skelzoo.learn.ranges import NO_PATTERN
from skelzoo.skeleton.io.corpus import Corpus
from skelzoo.weights.files import parse_json

SUFFIX = ".json"

PARTS = ("train", "test", "validation_train", "validation_test")
KEYS = ("file", "title", "names", "dimension", "evaluation_only", *PARTS)
_NEEDED = ("file", "title", "train", "test")

_SHIPPED = resources.files("skelzoo.learn").joinpath("benchmark_rules")


@dataclass(frozen=True)
class Rule:
    """One part of a benchmark; two of the same entries are equal, wherever they stand.

    Attributes:
        source: the file it stands in, for messages.
        names: regular expression whose named groups are columns; "" for none.
        entries: column and values; of ``name`` the one regular expression.
    """

    source: str = field(compare=False)
    names: str
    entries: tuple[tuple[str, tuple[int | str, ...]], ...]

    def __call__(self, corpus: Corpus) -> NDArray[np.bool_]:
        """Which clips of a corpus it takes: (clips,) bool.

        Raises:
            TrainingError: the file has no such column, or no name fits ``names``.
        """
        columns, out = self._columns(corpus), np.ones(len(corpus), bool)
        for key, wanted in self.entries:
            if key == "name":
                out &= corpus.named(str(wanted[0]))
            elif key in columns:
                out &= np.array([value in wanted for value in columns[key]], bool)
            else:
                raise TrainingError(f"{corpus.name}: no column {key!r}, which {self.source} goes by. There are: name, {', '.join(columns)}.")
        return out

    def _columns(self, corpus: Corpus) -> dict[str, list[Any]]:
        """Column -> a value for each clip; None where a name does not fit, or a group found nothing."""
        found = {key: values.tolist() for key, values in corpus.columns.items()}
        if not self.names:
            return found
        fits = [re.search(self.names, name) for name in corpus.clip_names]
        if not any(fits):
            raise TrainingError(
                f"{corpus.name}: no clip has a name such as {self.source} goes by; the first is {corpus.clip_names[0]!r}. Keep the names of the data set."
            )
        groups = {key: [match and _value(match[key]) for match in fits] for key in re.compile(self.names).groupindex}
        return {**found, **groups}

    def absent(self, corpus: Corpus) -> list[str]:
        """Listed values that no clip of a corpus has, as ``subjects '3' (a text; it is a number there)``."""
        columns, out = self._columns(corpus), list[str]()
        for key, wanted in self.entries:
            there = set(columns.get(key, wanted))  # of ``name`` there is no column
            alike = {str(value): "text" if isinstance(value, str) else "number" for value in there}
            for value in wanted:
                if value not in there:
                    mine = "text" if isinstance(value, str) else "number"
                    out.append(f"{key} {value!r}" + (f" (a {mine}; there it is a {alike[str(value)]})" if str(value) in alike else ""))
        return out


def warn_of_gaps(corpus: Corpus, train: object, test: object, left: NDArray[np.bool_]) -> None:
    """Warn of what a benchmark of one's own leaves out, perhaps unawares: values that no clip has, and clips that are in no part. Those that ship are meant so.

    Args:
        left: which clips are in neither part.
    """
    if not isinstance(train, Rule) or not isinstance(test, Rule) or not train.source.endswith(SUFFIX):
        return
    absent = "; ".join(f"{part}: {', '.join(values)}" for part, rule in (("train", train), ("test", test)) if (values := rule.absent(corpus)))
    if absent:
        warn(f"{corpus.name}: no clip has these values, which {train.source} lists for {absent}. Correct them, or take them out.")
    if left.any():
        names = [corpus.clip_names[i] for i in np.flatnonzero(left)]
        odd = sum(re.search(train.names, name) is None for name in names)
        why = f", {odd} of them as their names do not fit its 'names'" if odd else ""
        warn(
            f"{corpus.name}: {len(names)} of {len(left)} clips, the first {names[0]!r}, neither train nor test by {train.source}{why}. See that it is meant so.",
        )


def _value(text: str | None) -> int | str | None:
    return int(text) if text and text.isdecimal() else text


def shipped_rules() -> list[str]:
    """Names of the benchmarks whose files ship with skelzoo."""
    return sorted(f.name.removesuffix(SUFFIX) for f in _SHIPPED.iterdir() if f.name.endswith(SUFFIX))


def load_rules(name: str) -> dict[str, Any]:
    """What ``Benchmark`` takes beside a name; its parts are a ``Rule`` or None each.

    Args:
        name: one of ``shipped_rules``, or a path ending in ``.json``.

    Raises:
        TrainingError: no such file, or none of a benchmark.
    """
    source = Path(name) if name.endswith(SUFFIX) else _SHIPPED.joinpath(f"{name}{SUFFIX}")
    try:
        row = parse_json(source.read_bytes())
    except (OSError, ValueError) as error:
        raise TrainingError(f"{name}: cannot be read as a benchmark ({error}). Give a JSON file as `skelzoo docs evaluation` describes.") from error
    problem = _problem(row)
    if problem:
        raise TrainingError(f"{name}: {problem}")
    plain = {"file": row["file"], "title": row["title"], "dimension": row.get("dimension", 3), "evaluation_only": row.get("evaluation_only", False)}
    return {**plain, **{part: _rule(name, row, part) for part in PARTS}}


def _problem(row: Any) -> str:
    """What is wrong with a benchmark's table, and what to do; "" for nothing."""
    if not isinstance(row, Mapping) or any(key not in KEYS for key in row) or any(key not in row for key in _NEEDED):
        got = ", ".join(map(str, row)) if isinstance(row, Mapping) else type(row).__name__
        recipe = "It looks like a recipe for `skelzoo pretrain`. " if isinstance(row, Mapping) and "data" in row else ""
        return f"has {got or 'nothing'}. {recipe}A benchmark has {', '.join(_NEEDED)}, and may have {', '.join(key for key in KEYS if key not in _NEEDED)}."
    texts = [row["file"], row["title"], row.get("names", "")]
    if not all(isinstance(text, str) for text in texts) or Path(row["file"]).name != row["file"] or not row["title"]:
        return "file, title or names is none. Give the name of a corpus file in the data folder, without a folder, and texts."
    if row.get("dimension", 3) not in (2, 3):
        return f"dimension is {row['dimension']!r}. Give 2 or 3."
    if type(row.get("evaluation_only", False)) is not bool:
        return f"evaluation_only is {row['evaluation_only']!r}. Give true or false."
    if len([part for part in PARTS[2:] if part in row]) == 1:
        return "has one of validation_train and validation_test. Give both or none."
    if texts[2] and not _groups(texts[2]):
        return f"names is {texts[2]!r}. Give a regular expression with named groups, such as '_s(?P<subjects>\\d+)'."
    return next(
        (f'{part} is {row[part]!r}. Give {{column: [values, ...]}}, or {{"name": REGEX}}.' for part in PARTS if not _is_rule(row.get(part, {"name": ""}))), ""
    )


def _is_rule(rule: Any) -> bool:
    if not isinstance(rule, Mapping) or not rule:
        return False
    lists = [values for key, values in rule.items() if key != "name"]
    fits = all(isinstance(values, list) and values and all(type(v) in (int, str) for v in values) for values in lists)
    return fits and isinstance(rule.get("name", ""), str) and _groups(rule.get("name", "")) is not None


def _groups(expression: str) -> Mapping[str, int] | None:
    """The named groups of a regular expression; None where it is none."""
    try:
        return re.compile(expression).groupindex
    except NO_PATTERN:
        return None


def _rule(source: str, row: Mapping[str, Any], part: str) -> Rule | None:
    if part not in row:
        return None
    entries = tuple((key, (values,) if key == "name" else tuple(values)) for key, values in row[part].items())
    return Rule(source, row.get("names", ""), entries)
