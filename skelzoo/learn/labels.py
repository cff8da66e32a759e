"""Which class a recording is of, by one rule for all recordings of a run: its folder, its file, a pattern, or a table."""

from __future__ import annotations

import csv
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from skelzoo.errors import ReadError, TrainingError
from skelzoo.learn.ranges import NO_PATTERN
from skelzoo.skeleton.io.files import read_text
from skelzoo.skeleton.io.table import cells_of

Source = Literal["auto", "folder", "file"]

SPLIT_FOLDERS = frozenset({"train", "training", "val", "valid", "validation", "dev", "test", "testing"})
"""Folders of these names are parts of a data set, not classes."""


WORKBOOKS = (".xlsx", ".xls", ".xlsm", ".ods")
"""Suffixes of spreadsheets, which are no text."""


@dataclass(frozen=True)
class Row:
    """What a table says of a file or clip."""

    label: str
    group: str


@dataclass
class Labels:
    """The rule of a run.

    Args:
        path: a folder with one folder per class, named after it, that holds the recordings at any depth; or recordings whose files
            give their clips labels, such as a corpus.
        group: regular expression that finds the group, such as the person, in a file's path below the folder followed by
            ``/`` and the clip's name: its first bracketed part, or all of what it fits.
        label: regular expression that finds the class there in the same way, instead of ``label_from``.
        label_from: ``folder``, the name of the first folder; ``file``, the label that the file gives its clip; ``auto``, whichever there
            is, as long as no clip has two that differ.
        table: CSV with the columns file, label and, if wanted, group, instead of all these, see ``read_labels``; paths are below the folder.
        needed: whether it is wrong with ``file`` that a file gives its clip no label.

    Raises:
        TrainingError: no such source, several of ``label``, ``label_from`` and ``table``, not a regular expression, or a table that cannot be read.
    """

    path: str
    group: str | None = None
    label: str | None = None
    label_from: Source = "auto"
    table: str | Path | None = None
    rows: dict[str, Row] = field(init=False)
    used: set[str] = field(init=False, default_factory=set)
    folders: set[str] = field(init=False, default_factory=set)
    needed: bool = True

    def __post_init__(self) -> None:
        if self.label_from not in get_args(Source):
            raise TrainingError(f"labels cannot be taken from {self.label_from!r}. Give {', '.join(get_args(Source))}.")
        # Where labels are not needed, nobody said label_from.
        if sum(map(bool, (self.label, self.table, self.needed and self.label_from != "auto"))) > 1:
            raise TrainingError("labels come from one place. Give one of --label, --label-from and --labels (label=, label_from= and table= in Python).")
        self.find_group, self.find_label = (finder(pattern) if pattern else None for pattern in (self.group, self.label))
        self.rows = {} if self.table is None else read_labels(self.table)

    def of(self, file: str, clip: str, own: str | None) -> tuple[str, str, str]:
        """Label and group of a clip, and what is wrong with them, "" for nothing.

        Args:
            own: the label that its file gives it.

        Raises:
            TrainingError: folder and file give it different labels, and nobody said which holds.
        """
        place = inside(file, self.path).as_posix()
        where = f"{place}/{clip}"
        if self.table is not None:
            key = next((key for key in map(_key, (where, place, file)) if key in self.rows), None)
            if key is None:
                return "", "", f"is not in {self.table}. Add a row for {place!r}."
            self.used.add(key)
            label, group, problem = self.rows[key].label, self.rows[key].group, ""
        else:
            label, problem = self._label(file, where, composed(own or ""))
            group = ""
        if self.find_group and not problem:
            group = self.find_group(where)
            problem = "" if group else f"the pattern {self.group!r} fits nothing in {where!r}. Loosen it."
        return label, group, problem

    def met(self, file: str, clip: str = "") -> None:
        """Note that a file, or one clip of it, was found but cannot be used, so that its row is not said to name nothing."""
        place = inside(file, self.path).as_posix()
        known = {_key(place), _key(file)}
        here = {_key(f"{place}/{clip}")} if clip else {key for key in self.rows if key.startswith(f"{_key(place)}/")}
        self.used |= known | here

    def _label(self, file: str, where: str, own: str) -> tuple[str, str]:
        if self.find_label:
            found = self.find_label(where)
            return found, "" if found else f"the label pattern {self.label!r} fits nothing in {where!r}. Loosen it."
        folder = class_folder(file, [self.path])
        if self.label_from == "auto" and folder and own and folder != own:
            raise TrainingError(
                f"{file}: its folder says that {where.rpartition('/')[2]} is of the class {folder!r}, the file itself says {own!r}. One must hold for all recordings: "
                "give --label-from folder or --label-from file (label_from= in Python), or --label REGEX."
            )
        found = {"auto": folder or own, "folder": folder, "file": own}[self.label_from]
        self.folders |= {found} & {folder}
        if found or not (self.needed or self.label_from != "file"):
            return found, ""
        if self.label_from == "file":
            return "", "has no label of its own. Give it one in the file, or take the folders' names with --label-from folder."
        if not Path(self.path).exists():  # a glob
            return "", f"has no label, and {self.path!r} does not tell which folders are classes. Give the folder above the class folders."
        return "", f"{'' if self.label_from == 'folder' else 'has no label, and '}lies in no folder named after its class. Put it into one."

    def finish(self, labels: set[str]) -> str:
        """Look back when everything was read.

        Args:
            labels: that were given.

        Returns:
            What is wrong with the table, "" for nothing.

        Raises:
            TrainingError: the class folders are parts of a data set.
        """
        if labels and labels <= self.folders and {label.casefold() for label in labels} <= SPLIT_FOLDERS:
            first = min(labels, key=lambda label: ("train" not in label.casefold(), label))
            others = sorted(labels - {first})
            raise TrainingError(
                f"{self.path}: its folders are {', '.join(sorted(labels))}, which are parts of a data set and not classes. Give the part to train on, "
                f"and the one to validate on with --validation: {Path(self.path) / first} --validation {Path(self.path) / (others or ['val'])[-1]}."
            )
        unused = [key for key in self.rows if key not in self.used]
        return f"{len(unused)} of its rows name no recording that was read, the first {unused[0]!r}. Paths start below RECORDINGS." if unused else ""


def read_labels(path: str | Path) -> dict[str, Row]:
    """A table with the columns file, label and, if wanted, group: file -> row. ``FILE/CLIP`` stands for one clip of a file.

    Cells stand between commas, semicolons or tabs; text is read as ``skelzoo.skeleton.io.files.read_text`` does; \\ in paths is /.

    Raises:
        TrainingError: it cannot be read, has other columns, an empty place, or two rows of one file that differ.
    """
    if Path(path).suffix.lower() in WORKBOOKS:
        raise TrainingError(f"{path}: is a workbook. Save its sheet as CSV.")
    try:
        lines = cells_of(read_text(Path(path)).splitlines())
    except (ReadError, csv.Error) as error:
        raise TrainingError(f"{path}: cannot be read as a table ({error}). Give a CSV with the columns file, label and, if wanted, group.") from error
    columns = [cell.strip().casefold() for cell in lines[0]] if lines else []
    if not {"file", "label"} <= set(columns):
        raise TrainingError(f"{path}: has the columns {', '.join(sorted(columns)) or 'none'}. Give file, label and, if wanted, group.")
    rows: dict[str, Row] = {}
    for number, cells in enumerate(lines[1:], 2):
        if not any(cell.strip() for cell in cells):
            continue
        line = dict(zip(columns, cells, strict=False))
        name, label, group = (composed(line.get(column, "")).strip() for column in ("file", "label", "group"))
        key, row = _key(name), Row(label, group)
        if not (name and label and (group or "group" not in columns)):
            raise TrainingError(f"{path}, line {number}: a place is empty. Give file, label and, where there is such a column, group in every row.")
        if rows.setdefault(key, row) != row:
            raise TrainingError(f"{path}, line {number}: {name!r} stands there twice, with different labels or groups. Leave one row.")
    return rows


def _key(path: str) -> str:
    """A path as rows are found by it, whichever way its slashes lean."""
    return Path(composed(path).replace("\\", "/")).as_posix()


def composed(text: str) -> str:
    """A name as one text, however its letters with marks are made: Macs write ü as u and a mark, and it looks the same."""
    return unicodedata.normalize("NFC", text)


def class_folder(file: str, paths: list[str]) -> str:
    """The class of a recording by its folder: the first folder below that of the paths in which it lies; "" for none."""
    places = [inside(file, path) for path in paths if Path(path).is_dir() and Path(file).is_relative_to(path)]
    return composed(places[0].parts[0]) if places and len(places[0].parts) > 1 else ""


def inside(file: str, path: str) -> Path:
    """A recording's path below the folder that was given; its name where that was no folder."""
    return Path(file).relative_to(path) if Path(path).is_dir() else Path(Path(file).name)


def finder(pattern: str) -> Callable[[str], str]:
    """A text -> what a regular expression's first bracketed part, or all of it, fits there; "" for nothing."""
    try:
        compiled = re.compile(composed(pattern))
    except NO_PATTERN as error:
        raise TrainingError(f"{pattern!r} is no regular expression ({error}). Example: 'person(\\d+)'.") from error

    def find(text: str) -> str:
        found = compiled.search(composed(text))
        return "" if found is None else (found[1] or "" if compiled.groups else found[0])

    return find
