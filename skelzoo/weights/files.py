"""The files of a weights folder: their names, sizes and hashes. A file counts only when its bytes are those listed. No torch."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from skelzoo.errors import CheckpointError, IntegrityError, WriteError
from skelzoo.skeleton.writing import cannot_write, check_parent

MODEL, CONFIG, GOLDEN, CARD, CHECKSUMS = "model.safetensors", "config.json", "golden.safetensors", "README.md", "checksums.json"

LISTED = (MODEL, CONFIG, GOLDEN, CARD)
"""Files that a checksum list may name; no other name is ever read or fetched."""

MAX_JSON = 4 << 20
"""Bytes; larger JSON is refused before it is parsed."""

MAX_DEPTH = 32
"""Lists and objects in each other; ours have 8."""

GET_AGAIN = "Get it again: skelzoo fetch NAME --repair for a model of the Hub; reinstall skelzoo for one of the package; save a folder of your own again."

MAY_READ = "Give the user that runs this permission to read it, and to enter the folders above."


def _remedy(error: OSError) -> str:
    return MAY_READ if isinstance(error, PermissionError) else GET_AGAIN


@dataclass(frozen=True)
class FileInfo:
    """Size in bytes and sha256 of one file of a weights folder."""

    size: int
    sha256: str

    def __str__(self) -> str:
        return f"{self.size} bytes with sha256 {self.sha256[:16]}..."


def file_info(path: Path) -> FileInfo:
    """Size and sha256 of a file."""
    return bytes_info(path.read_bytes())


def bytes_info(data: bytes) -> FileInfo:
    """Size and sha256 of what a file holds."""
    return FileInfo(len(data), hashlib.sha256(data).hexdigest())


def parse_json(data: str | bytes) -> Any:
    """JSON of strangers.

    Raises:
        ValueError: longer than ``MAX_JSON``, nested too deeply, or not JSON.
    """
    if len(data) > MAX_JSON:
        raise ValueError(f"it has {len(data)} bytes, more than the {MAX_JSON} that are read")
    try:
        row = json.loads(data)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    level, depth = [row], 0
    while level:
        level, depth = (
            [inner for value in level for inner in (value.values() if isinstance(value, dict) else value if isinstance(value, list) else ())],
            depth + 1,
        )
    if depth > MAX_DEPTH:
        raise ValueError("it is nested too deeply")
    return row


def dump_json(row: Any) -> str:
    """JSON for people: indented, newline at the end."""
    return json.dumps(row, indent=2, ensure_ascii=False) + "\n"


def file_table(rows: Any) -> dict[str, FileInfo]:
    """A checksum list, read back from JSON.

    Raises:
        ValueError: names other than ``LISTED``, or what is no size and no sha256.
    """
    if not isinstance(rows, dict) or not all(isinstance(row, dict) and row.keys() == {"size", "sha256"} for row in rows.values()):
        raise ValueError("it must give size and sha256 of every file")
    strange = [name for name in rows if name not in LISTED]
    if strange:
        raise ValueError(f"it names {', '.join(map(repr, strange[:3]))}, but a weights folder has only {', '.join(LISTED)}")
    wrong = [name for name, row in rows.items() if type(row["size"]) is not int or row["size"] < 0 or not _is_sha256(row["sha256"])]
    if wrong:
        raise ValueError(f"{wrong[0]}: the size must not be negative and sha256 must have 64 hex digits")
    return {name: FileInfo(**row) for name, row in rows.items()}


def _is_sha256(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None


def read_checksums(folder: Path) -> dict[str, FileInfo]:
    """``checksums.json`` of a weights folder.

    Raises:
        CheckpointError: missing or not of that form.
    """
    path = folder / CHECKSUMS
    try:
        with path.open("rb") as file:
            return file_table(parse_json(file.read(MAX_JSON + 1)))
    except FileNotFoundError:
        raise CheckpointError(
            f"{folder}: has no {CHECKSUMS}, so it is not a weights folder. Folders are written by encoder.save(...) and skelzoo convert."
        ) from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror}). {_remedy(error)}") from error
    except ValueError as error:
        raise CheckpointError(f"{path}: not a checksum list ({error}). {GET_AGAIN}") from error


def read_verified(folder: Path, name: str, files: Mapping[str, FileInfo]) -> bytes:
    """The bytes of a file of a weights folder, checked against what they must be. No more than that many are read.

    Raises:
        IntegrityError: the file is missing, not listed, or its size or sha256 differ.
    """
    path, expected = folder / name, files.get(name)
    if expected is None:
        raise IntegrityError(f"{path}: its sha256 is not listed, so it is not loaded. Save the folder again with encoder.save(...).")
    try:
        if path.exists() and not path.is_file():
            raise IntegrityError(f"{path}: is not a file. {GET_AGAIN}")
        with path.open("rb") as file:
            data = file.read(min(expected.size, os.fstat(file.fileno()).st_size) + 1)
    except OSError as error:
        raise IntegrityError(f"{path}: cannot be read ({error.strerror}). {_remedy(error)}") from error
    found = bytes_info(data)
    if found != expected:
        shown = f"more than {expected.size} bytes" if found.size > expected.size else str(found)
        raise IntegrityError(f"{path}: not the file it must be: {shown}, expected {expected}. It is damaged or was changed. {GET_AGAIN}")
    return data


def is_right(path: Path, expected: FileInfo | None, etag: str) -> bool:
    """Whether a file is the one listed or, where none is, the one the Hub names: by sha256 for large files, as git does for others."""
    if expected is not None:
        return file_info(path) == expected
    data = path.read_bytes()
    return etag == (bytes_info(data).sha256 if len(etag) == 64 else hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest())


def link(blob: Path, path: Path) -> None:
    """Let a file of a folder be a blob of the cache; a copy where links cannot be made."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}.{time.monotonic_ns()}")
    try:
        scratch.symlink_to(os.path.relpath(blob, path.parent))
    except (NotImplementedError, OSError):
        shutil.copyfile(blob, scratch)
    os.replace(scratch, path)


def check_target(target: Path, overwrite: bool = False, files: Mapping[str, FileInfo] | None = None) -> None:
    """Check that a weights folder may be written there, before work that would be lost.

    Args:
        overwrite: another model that lies there may be replaced.
        files: what will be written, where that is known; a folder that is to hold just this may be replaced.

    Raises:
        CheckpointError: it holds a model that is not to be replaced, or something else than a weights folder, or it is the current folder.
        WriteError: a file where a folder should be, or no permission to write.
    """
    check_parent(target)
    try:
        names = {p.name for p in target.iterdir()} if target.is_dir() else set()
        other = target.exists() and not (target.is_dir() and _may_be_replaced(names))
        current = target.exists() and target.samefile(".")
    except OSError as error:
        raise WriteError(f"{target}: cannot be looked at ({error.strerror}). Choose another place.") from error
    if other or current:
        strange = ", ".join(sorted(names - {*LISTED, CHECKSUMS})[:3])
        what = (
            "is the current folder, which cannot be replaced" if current
            else f"exists and holds {strange} beside a model, which would be lost with it" if CHECKSUMS in names and strange
            else "exists and is not a weights folder"
        )  # fmt: skip
        raise CheckpointError(f"{target}: {what}. Choose another name; nothing was written.")
    if names and not overwrite and (files is None or _listed(target) != files):
        raise CheckpointError(f"{target}: holds a model. Choose another name, or give --overwrite (overwrite=True) to have it replaced; nothing was written.")


def _listed(folder: Path) -> dict[str, FileInfo] | None:
    """The checksum list of a folder, or None where it is damaged."""
    try:
        return read_checksums(folder)
    except CheckpointError:
        return None


def _may_be_replaced(names: set[str]) -> bool:
    """Whether a folder of these files is empty or a weights folder that nobody added anything to."""
    return not names or (CHECKSUMS in names and names <= {*LISTED, CHECKSUMS})


@contextlib.contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A temporary folder beside ``target`` that takes its place when all went well; nothing half-written is left.

    Raises:
        CheckpointError: the target exists and is not an older weights folder (and nothing else).
        WriteError: it cannot be written.
    """
    check_target(target, overwrite=True)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        raise cannot_write(target, error) from error
    try:
        yield scratch
        scratch.chmod(0o755)
        if target.exists():
            _replace(target, scratch)
        else:
            os.replace(scratch, target)
    except OSError as error:
        raise cannot_write(target, error) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextlib.contextmanager
def to_send() -> Iterator[None]:
    """What is written within is a temporary copy that is to be uploaded.

    Raises:
        WriteError: it cannot be written; the message names the setting of its place, which the user did not choose.
    """
    try:
        yield
    except WriteError as error:
        why = getattr(error.__cause__, "strerror", None) or error.__cause__ or error
        raise WriteError(
            f"{tempfile.gettempdir()}: what is to be sent cannot be written there first ({why}). Set TMPDIR to a folder with room. Nothing was sent."
        ) from error


def _replace(target: Path, new: Path) -> None:
    """Put a folder in the place of another, which is removed; back where it was if that fails."""
    old = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent))
    try:
        os.replace(target, old / "folder")
        try:
            os.replace(new, target)
        except OSError:
            os.replace(old / "folder", target)
            raise
        shutil.rmtree(old, ignore_errors=True)
    finally:
        with contextlib.suppress(OSError):
            old.rmdir()


def write_checksums(folder: Path) -> dict[str, FileInfo]:
    """Write the checksum list of a folder that holds everything else.

    Returns:
        The list.
    """
    files = {name: file_info(folder / name) for name in LISTED}
    (folder / CHECKSUMS).write_text(dump_json({name: asdict(info) for name, info in files.items()}), encoding="utf-8")
    return files


def copy_folder(source: Path, files: Mapping[str, FileInfo], target: Path, card: str | None = None) -> dict[str, FileInfo]:
    """Copy a weights folder, every byte checked on the way.

    Args:
        files: what the source must hold.
        card: a card in place of the source's.

    Returns:
        Size and sha256 of each file of the copy.

    Raises:
        IntegrityError: the source is damaged or not complete.
        CheckpointError: the target is something else.
        WriteError: it cannot be written.
    """
    with new_folder(target) as folder:
        for name in LISTED:
            replaced = name == CARD and card is not None
            (folder / name).write_bytes(str(card).encode() if replaced else read_verified(source, name, files))
        return write_checksums(folder)
