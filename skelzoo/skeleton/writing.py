"""Writing a file whole or not at all."""

from __future__ import annotations

import csv
import io
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from skelzoo.errors import WriteError


def check_place(target: Path) -> None:
    """Check that a file can be written there. Nothing is written or created.

    Raises:
        WriteError: something that is no file in the way, or no permission to write.
    """
    try:
        other = target.exists() and not target.is_file()
    except OSError as error:
        raise cannot_write(target, error) from error
    if other:
        raise WriteError(f"{target}: is a {'folder' if target.is_dir() else 'device or pipe'}, not a file. Choose another name.")
    check_parent(target)


def check_parent(target: Path) -> None:
    """Check that something new can be put there. Nothing is written or created.

    Raises:
        WriteError: a file where a folder should be, or no permission to write.
    """
    try:
        folder = next(p for p in target.absolute().parents if p.exists())
    except OSError as error:
        raise cannot_write(target, error) from error
    if not folder.is_dir():
        raise WriteError(f"{target}: {folder} is a file, not a folder. Choose another name.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise WriteError(f"{target}: no permission to write in {folder}. Choose a folder you may write to.")


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """A binary file that appears under its name only when the block ends without an error; an older one stays until then.

    Missing folders are made.

    Raises:
        WriteError: it cannot be written.
    """
    # A link is followed, so that it goes on pointing at the file instead of being replaced by it.
    target = Path(os.path.realpath(path))
    scratch = target.with_name(f".{target.name[:200]}.{secrets.token_hex(4)}.part")
    try:
        check_place(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        with scratch.open("xb") as file:
            yield file
            # Else a power cut could leave the new name with the old disk's content.
            file.flush()
            os.fsync(file.fileno())
        os.replace(scratch, target)
    except WriteError:
        raise
    except OSError as error:
        raise cannot_write(Path(path), error) from error
    finally:
        with suppress(OSError):
            scratch.unlink(missing_ok=True)


@contextmanager
def alone(lock: Path, target: str | os.PathLike[str], wait: float = 60.0) -> Iterator[None]:
    """Keep other processes that ask for the same lock out until the block ends; the file of the lock stays, empty.

    Args:
        target: what the lock is of, for messages.
        wait: seconds.

    Raises:
        WriteError: another one is still at it after that time, or no lock can be put there.
    """
    from filelock import FileLock, Timeout  # comes with huggingface_hub, and is not needed to read or prepare a clip

    check_place(lock)
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        held = FileLock(lock, timeout=wait, mode=0o666).acquire()
    except Timeout:
        raise WriteError(f"{target}: another process works on it. Wait for it, or stop it; if there is none, remove {lock}.") from None
    except OSError as error:
        raise cannot_write(lock, error) from error
    with held:
        yield


def cannot_write(target: Path, error: OSError) -> WriteError:
    """What is said when the system refuses to write a file."""
    # numpy only counts what it could write of an array, and does not say why it was no more.
    why = error.strerror or (str(error) if "No space" in str(error) else f"{error}; the disk may be full")
    return WriteError(f"{target}: cannot be written ({why}); nothing was changed. Choose another place, or make room there.")


def write_csv(path: str | os.PathLike[str], columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a table with a line of names on top. Errors as ``whole_file``."""
    with whole_file(path) as file:
        file.write(csv_bytes([columns, *([row[name] for name in columns] for row in rows)]))


def csv_bytes(rows: Iterable[Sequence[Any]]) -> bytes:
    """Rows as CSV in UTF-8; file names that are none are kept byte by byte."""
    text = io.StringIO()
    plain, quoted = (csv.writer(text, lineterminator="\n", quoting=quoting) for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL))
    for row in rows:
        # Left without quotes by itself, a carriage return would end the line for whoever reads it.
        (quoted if any("\r" in str(cell) for cell in row) else plain).writerow(row)
    return text.getvalue().encode("utf-8", "surrogateescape")
