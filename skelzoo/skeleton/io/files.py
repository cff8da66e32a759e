"""What all readers share: opening files, turning text into numbers, arrays out of zips; every failure a ReadError."""

from __future__ import annotations

import codecs
import contextlib
import gzip
import json
import math
import os
import re
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Container, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skelzoo.errors import ClipError, ReadError, SkelzooError
from skelzoo.skeleton.arrays import Float64s
from skelzoo.skeleton.clip import Clip
from skelzoo.skeleton.layouts import Layout
from skelzoo.skeleton.points import fill_missing

PathLike = str | os.PathLike[str]

GZIP_MAGIC = b"\x1f\x8b"
UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
LARGEST = 1e8
"""No coordinate in millimetres and no angle in degrees of a person comes near this; a damaged number does."""

DENSEST = 1032
"""Times as many bytes as they take in a zip file that deflate, with which numpy packs arrays, can make of any; bzip2 and LZMA make more."""

SPARSE = 100
"""Times as many frames as there are pictures with numbers, at most, for the pictures to be of one video."""


def read_bytes(path: PathLike) -> bytes:
    """All bytes of a file.

    Raises:
        ReadError: no such file, a folder, a pipe or device, no permission, or an empty file.
    """
    path = Path(path)
    check_no_pipe(path)
    if os.path.isdir(path):
        if not os.access(path, os.R_OK | os.X_OK):
            raise ReadError(path, "is a folder that cannot be looked into", "Check your permission to read it.")
        raise ReadError(path, "is a folder, not a file", "List its files with skelzoo.find_files([folder]) and read them one by one.")
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ReadError(path, "no such file", "Check the path; relative paths start at the current folder.") from None
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        raise ReadError(path, f"cannot be opened ({error})", "Check the path and your permission to read it.") from None
    if not data:
        raise ReadError(path, "is empty (0 bytes)", "Copy or download the file again.")
    return data


def check_no_pipe(path: PathLike) -> None:
    """Raise ReadError for a pipe or a device, which may never end."""
    if not os.path.isfile(path) and os.path.exists(path) and not os.path.isdir(path):
        raise ReadError(path, "is neither a file nor a folder", "Save what comes out of it to a file, and give that.")


def read_text(path: PathLike) -> str:
    """All text of a file, unpacked if it is gzip. UTF-16 is known by its first bytes; other text that is not UTF-8 is taken as Latin-1, which never fails.

    Raises:
        ReadError: as ``read_bytes``; a gzip file that is cut off or damaged; nothing in it.
    """
    data = read_bytes(path)
    if data.startswith(GZIP_MAGIC):
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise ReadError(path, f"the gzip data are cut off or damaged ({error})", "Copy or download the file again.") from None
    if data in (b"", codecs.BOM_UTF8):
        raise ReadError(path, "holds no text", "Copy or download the file again.")
    if data.startswith(UTF16_MARKS):
        return data.decode("utf-16", "replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def read_head(path: Path, size: int = 65536) -> bytes:
    """The first bytes of a file, unpacked if it is gzip, UTF-16 as UTF-8; b"" when gzip data do not unpack."""
    check_no_pipe(path)
    try:
        with path.open("rb") as file:
            head = file.read(size)
    except OSError as error:
        raise ReadError(path, f"cannot be opened ({error})", "Check the path and your permission to read it.") from None
    if head.startswith(GZIP_MAGIC):
        try:
            head = zlib.decompressobj(wbits=31).decompress(head, size)
        except zlib.error:
            return b""
    return head.decode("utf-16", "replace").encode() if head.startswith(UTF16_MARKS) else head


def is_json(head: bytes) -> bool:
    """Whether a file that starts with these bytes looks like a JSON table or list."""
    return head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"[") and not is_json_lines(head)


def is_json_lines(head: bytes) -> bool:
    """Whether a file that starts with these bytes has a JSON table in each line, which no JSON has."""
    return re.match(rb"\s*\{.*\}[^\S\n]*\n\s*\{", head) is not None


def load_json(path: PathLike) -> Any:
    """What a JSON file holds.

    Raises:
        ReadError: as ``read_text``; no JSON, or cut off.
    """
    return parse_json(read_text(path), path)


def parse_json(text: str, path: PathLike) -> Any:
    """What a JSON text of a file holds. Raises ReadError: no JSON, cut off, or more behind it."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        if str(error).startswith("Extra data"):
            how = "If it is of several frames, make one list of them, json.dump([json.loads(text) for text in texts], file); else copy or download it again."
            raise ReadError(path, f"holds more than one JSON text ({error})", how) from None
        raise ReadError(path, f"is no complete JSON ({str(error)[:120]})", "The file is cut off or damaged; copy or download it again.") from None


def numbers(tokens: Sequence[str], path: PathLike, what: str) -> Float64s:
    """Texts as a flat float64 array.

    Args:
        what: what the numbers are, for the message, e.g. ``"motion data"``.

    Raises:
        ReadError: a text that is not a number, NaN, infinite, or absurdly large.
    """
    try:
        if not is_plain("".join(tokens)):
            raise ValueError
        values = np.array(tokens, dtype=np.float64)
    except ValueError:
        values = np.array([_number(t) for t in tokens], dtype=np.float64)
    bad = ~(np.abs(values) < LARGEST)
    if bad.any():
        i = int(np.argmax(bad))
        raise ReadError(path, f"number {i + 1} of the {what} is {tokens[i][:40]!r}, not a usable number", "The file is damaged there; copy or export it again.")
    return values


def _number(token: str) -> float:
    try:
        return float(token) if is_plain(token) else math.nan
    except ValueError:
        return math.nan


def is_plain(text: str) -> bool:
    """Whether numbers in a text are such as files have: Python also takes separators, 1_000, and digits of other scripts."""
    return "_" not in text and text.isascii()


def whole_number(token: str, path: PathLike, what: str) -> int:
    """A text as a count.

    Raises:
        ReadError: not a whole number, or negative.
    """
    try:
        value = int(token) if is_plain(token) else -1
    except ValueError:
        value = -1
    if value < 0:
        raise ReadError(path, f"{what} should be a whole number, but is {token.strip()[:40]!r}", "The file is damaged there; copy or export it again.")
    return value


def check_video(path: PathLike, found: int, frames: float, what: str) -> None:
    """Refuse pictures that stand too far apart to be of one video, before memory is taken for what is between them.

    Args:
        found: number of the pictures.
        frames: number of frames from the first to the last.
        what: what they are, for the message, e.g. ``"pictures have numbers from 1 to 9"``.

    Raises:
        ReadError: more than ``SPARSE`` frames for each picture.
    """
    if frames > SPARSE * found:
        raise ReadError(path, f"its {found} {what}, and are no video", "Give the frames of one video.")


ARRAY_ERRORS = (
    ValueError, OSError, EOFError, KeyError, OverflowError, MemoryError, NotImplementedError, RuntimeError, SyntaxError, TypeError,
    tokenize.TokenError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""What numpy, zipfile and zlib raise on damaged bytes."""

_DAMAGE = (*ARRAY_ERRORS, LookupError, ArithmeticError, AttributeError, SystemError, struct.error)
"""What a reader raises on content that nobody thought of."""


@contextlib.contextmanager
def named(path: PathLike) -> Iterator[None]:
    """Around a reader: what a file's content makes it raise becomes a ReadError that names the file, so that one odd file does not end the reading of many.

    numpy does not warn of numbers that are too large or infinite in it: they stay so, and a Clip refuses them.
    """
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            yield
    except SkelzooError:
        raise
    except MemoryError:
        raise ReadError(path, "unpacks to more than memory holds", "It is damaged or made to do so; or cut it into smaller files.") from None
    except _DAMAGE as error:
        detail = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:120]}"
        problem = f"is damaged, or of a form that is not known ({detail})"
        raise ReadError(path, problem, "Copy or export it again; if other programs read it, this is a fault of skelzoo, please report it.") from error


def load_npz(path: PathLike, keys: Container[str] | None = None) -> dict[str, NDArray[Any]]:
    """The arrays of an ``.npz``, never unpickling anything.

    Args:
        keys: those that are wanted, and may be there or not; None is all.

    Raises:
        ReadError: not an npz, cut off, damaged, or with object arrays (which would need pickle) or such as numpy does not pack among those that are wanted.
    """
    check_file(path)
    try:
        # Opened here, as numpy leaves a file open that is no zip file.
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            check_packed(archive.zip, path, keys)
            return {key: np.asarray(archive[key]) for key in archive.files if keys is None or key in keys}
    except ReadError:  # which is a ValueError
        raise
    except ARRAY_ERRORS as error:
        raise array_error(path, error) from None


def check_packed(archive: zipfile.ZipFile, path: PathLike, keys: Container[str] | None = None) -> None:
    """Refuse arrays of a zip file, those of these keys or all, that would take memory out of all proportion to the file, before they do.

    Raises:
        ReadError: one of more than ``DENSEST`` times the bytes it has in the file.
    """
    whole = os.path.getsize(path)
    for member in archive.infolist():
        key = member.filename.removesuffix(".npy")
        if (keys is None or key in keys) and member.file_size > DENSEST * min(member.compress_size, whole):
            problem = f"{key!r} in it would unpack to {member.file_size / 1e6:.3g} MB, more than numpy packs into a file of this size"
            raise ReadError(path, problem, "It is damaged or made to do so; if it is right, unpack it and save the arrays anew with numpy.savez_compressed.")


def npz_keys(path: PathLike) -> list[str]:
    """Names of the arrays of an ``.npz``.

    Raises:
        ReadError: not a zip file.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    except ARRAY_ERRORS as error:
        raise array_error(path, error) from None


def load_npy(path: PathLike) -> NDArray[Any]:
    """The array of a ``.npy``, never unpickling anything.

    Raises:
        ReadError: not an npy, cut off, damaged, or an object array (which would need pickle).
    """
    check_file(path)
    try:
        return np.asarray(np.load(path, allow_pickle=False))
    except ARRAY_ERRORS as error:
        raise array_error(path, error) from None


def check_file(path: PathLike) -> None:
    """Check that a file is there and not empty, without keeping its bytes.

    Raises:
        ReadError: as ``read_bytes``.
    """
    if not os.path.isfile(path) or os.path.getsize(path) == 0:
        read_bytes(path)


def array_error(path: PathLike, error: BaseException) -> ReadError:
    """What is said when numpy, zipfile or zlib refuse the bytes of a file."""
    if "allow_pickle" in str(error) or "Object arrays" in str(error):
        return ReadError(path, "holds Python objects (pickle), which are not loaded for safety", "Save plain arrays of floats and texts, without dtype=object.")
    detail = (str(error).splitlines() or [""])[0][:120] or type(error).__name__
    return ReadError(path, f"is cut off, damaged or no numpy file ({detail})", "Copy or download the file again, or save the arrays anew.")


def build_clip(
    keypoints: NDArray[Any],
    layout: str | Layout,
    *,
    name: str,
    fps: float | None,
    label: str | None = None,
    scores: NDArray[Any] | None = None,
    image_size: Sequence[int] | None = None,
    fill: bool = False,
    notes: Sequence[str] = (),
    first: int = 0,
    person_ids: Sequence[str] = (),
) -> Clip:
    """A Clip; numbers too large for float32 become infinite without a warning, and Clip then names them, unless ``fill`` has them filled like NaN."""
    with np.errstate(over="ignore", invalid="ignore"):
        points = np.asarray(keypoints, dtype=np.float32)
        if fill and not np.isfinite(points).all():
            try:
                points = fill_missing(points)
            except ClipError as error:
                raise ClipError(f"{name}: {error}") from error
        return Clip(points, layout, fps=fps, scores=scores, label=label, name=name, image_size=image_size, notes=notes, first=first, person_ids=person_ids)


def checksums_fit(path: PathLike) -> bool:
    """Whether a zip file holds what was put into it, which its checksums tell once all of it is read; True for a file of another kind."""
    try:
        if not zipfile.is_zipfile(path):
            return True
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except ARRAY_ERRORS:
        return False
