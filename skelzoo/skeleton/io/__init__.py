"""Reading skeleton files: one module per format, and ``read`` that picks among them.

``read`` looks at the content and the name of a file. Where they contradict each other it says so instead of guessing.
"""

from __future__ import annotations

import glob
import json
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from skelzoo.errors import ClipError, LayoutError, ReadError
from skelzoo.names import submodules
from skelzoo.skeleton.clip import Clip
from skelzoo.skeleton.io import array, asf_amc, azure_kinect, bvh, corpus, datasets, ntu, nwucla, parquet, pose, pose_others, table, uiprmd, utdmhad
from skelzoo.skeleton.io.files import check_file, check_no_pipe, named, npz_keys, read_bytes, read_head
from skelzoo.skeleton.io.read_options import NO_OPTIONS, ReadOptions

PathLike = str | os.PathLike[str]


def _read_npz(path: PathLike, reading: ReadOptions = NO_OPTIONS) -> list[Clip]:
    return corpus.read(path) if corpus.MARK in npz_keys(path) else array.read(path, reading)


@dataclass(frozen=True)
class Format:
    """A readable file format: its suffixes, how its content is told, its reader, and whether that also takes what a file may leave open, ``ReadOptions``."""

    title: str
    suffixes: tuple[str, ...]
    sniff: Callable[[bytes], bool]
    read: Callable[..., list[Clip]]
    takes_options: bool = False


ARRAYS = (".npy", ".npz", ".parquet")
"""Suffixes of files whose joints a caller may name; those of others have names of their own, and keep them."""

TABLES = (".csv", ".tsv", ".csv.gz", ".tsv.gz")

FORMATS = (
    Format("BVH motion capture", (".bvh",), bvh.sniff, bvh.read, takes_options=True),
    Format("AMC motion (with its .asf skeleton)", (".amc",), asf_amc.sniff, asf_amc.read, takes_options=True),
    Format("an ASF skeleton", (".asf",), asf_amc.sniff_asf, asf_amc.read),
    Format("NTU RGB+D skeletons", (".skeleton",), ntu.sniff, ntu.read),
    Format("Azure Kinect's JSON of offline_processor", (".json",), azure_kinect.sniff, azure_kinect.read, takes_options=True),
    Format("pose estimators' JSON: OpenPose, AlphaPose, COCO, MMPose, Ultralytics", (".json",), pose.sniff, pose.read, takes_options=True),
    Format("Kinetics-skeleton JSON", (".json",), datasets.sniff_kinetics, datasets.read_kinetics),
    Format("NW-UCLA JSON", (".json",), nwucla.sniff, nwucla.read),
    Format("UTD-MHAD MATLAB file", (".mat",), utdmhad.sniff, utdmhad.read),
    Format("UI-PRMD text (angles and positions)", (".txt", ".txt.gz"), uiprmd.sniff, uiprmd.read),
    Format("ST-GCN's NTU array", (".npy",), datasets.sniff_stgcn, datasets.read_stgcn, takes_options=True),
    Format("CTR-GCN's NTU archive", (".npz",), datasets.sniff_ctrgcn, datasets.read_ctrgcn, takes_options=True),
    Format("numpy array", (".npy",), array.sniff_npy, array.read, takes_options=True),
    Format("numpy archive", (".npz",), array.sniff_npz, _read_npz, takes_options=True),
    Format("parquet of clips", (".parquet",), parquet.sniff, parquet.read, takes_options=True),
    Format("table of joints: wide, long, DeepLabCut", TABLES, table.sniff, table.read, takes_options=True),
)

READABLE = tuple(suffix for f in FORMATS for suffix in f.suffixes if suffix != ".asf")
"""Suffixes of files that hold motion and can be read."""

RESULT = frozenset(("embeddings", "names", "model"))
"""What an ``.npz`` of ``skelzoo embed`` holds, which is no recording."""

STORED = frozenset(("format", "shards", "weights_sha256"))
"""What the ``store.json`` of ``skelzoo embed --out`` says; nothing beside it is a recording."""

_SUPPORTED = f"Read are {', '.join(dict.fromkeys(READABLE))}; `skelzoo docs files` says more."
_BUILD = "Or load the numbers yourself (numpy) and build skelzoo.Clip(keypoints, layout)."


def read(
    path: PathLike,
    *,
    layout: str | None = None,
    axes: str | None = None,
    fps: float | None = None,
    fill_missing: bool = False,
    up: str | None = None,
    image_size: str | None = None,
) -> list[Clip]:
    """Read a skeleton file of any supported format.

    Args:
        path: a file. Of a UI-PRMD pair give either file, of OpenPose's frames any, or their folder; of ASF/AMC give the ``.amc``.
        layout: name of the layout of a numpy array whose file names none, or of a table whose joints have numbers for names. Files of other formats say what their joints are, and keep them.
        axes: of a numpy array whose file names none, such as ``"t v c"``.
        fps: frames per second of a file that gives none; of one whose rate is less than 0.11 % off, as times of frames may tell it, in its place.
        fill_missing: fill joints that are NaN in numpy and parquet files, or empty cells of tables, see ``skelzoo.fill_missing``; they are refused otherwise.
        up: axis of a 3-D file of any format that points up: ``"y"``, ``"z"``, ``"x"``, ``"-y"``, ``"-z"`` or ``"-x"``. The joints are rotated so that it becomes y, and nothing
            else turns them; None takes what is known of the format, and y of arrays and tables.
        image_size: width and height in pixels of the picture that a pose estimator's joints were found in, ``"1280x720"``. Where x and y are shares of it, as MediaPipe's landmarks
            are, they become pixels, z is left out, and those at (-1, -1) are not found.

    Returns:
        The clips of the file, most often one; 3-D in metres with y up, a pose estimator's in pixels with y down. Named after the file, labelled where its name or
        content tells the class.

    Raises:
        ReadError: no such file, empty, unknown or unsupported format, content that contradicts the suffix, damage.
        ClipError: NaN, or all coordinates zero; a layout frame rate or size of a picture that the file contradicts, or that is none; 2-D joints where ``up`` is given, 3-D ones in space where ``image_size`` is.
        LayoutError, AxesError: no such layout, or axes that are not understood, ``up`` among them.
    """
    reading = ReadOptions(layout, axes, fps, fill_missing, up, image_size)
    try:
        return read_with(path, reading)
    except (ClipError, LayoutError) as error:
        if str(error).startswith((f"{Path(path).stem}:", f"{Path(path).stem}[")):
            raise
        raise type(error)(f"{os.fspath(path)}: {error}") from error  # of a clip with a name of its own


def read_with(path: PathLike, reading: ReadOptions) -> list[Clip]:
    """``read``, with what a file may leave open in one; errors as there."""
    if not isinstance(path, (str, os.PathLike)):
        raise ReadError(
            type(path).__name__, "a file is read by its path", "Give one path; of several: [clip for path in paths for clip in skelzoo.read(path)]."
        )
    with named(path):
        return _read(Path(path), reading)


def _read(path: Path, reading: ReadOptions) -> list[Clip]:
    if os.path.isdir(path):
        path = pose.one_recording(path) or path
    check_file(path)
    by_name = [f for f in FORMATS if _suffix(path) in f.suffixes]
    head = read_head(path)
    _check_no_archive(path, head)
    by_content = next((f for f in FORMATS if f.sniff(head)), None)
    if by_content is None:
        named = datasets.recognise(head, path)
        if named is not None:
            raise ReadError(path, *named)
        foreign = _foreign(head)
        if foreign is not None and (not by_name or by_name[0].read is not utdmhad.read):
            raise ReadError(path, f"looks like {foreign}, which is not supported", f"{_SUPPORTED} {_BUILD}")
        if not by_name:
            raise ReadError(path, "is of no known format, by name and by content", f"{_SUPPORTED} {_BUILD}")
        if by_name[0].read is uiprmd.read and not (uiprmd.is_pair_name(path) or uiprmd.is_wide(head)):
            raise ReadError(path, "is text of no known format", f"{_SUPPORTED} {_BUILD}")
        return _clips(by_name[-1], path, reading)
    if by_name and by_content not in by_name:
        problem = f"is named {_suffix(path)}, but its content looks like {by_content.title}"
        raise ReadError(path, problem, f"Rename it to {by_content.suffixes[0]}, or give the right file.")
    if path.suffix.lower() == ".gz" and not any(suffix.endswith(".gz") for suffix in by_content.suffixes):
        raise ReadError(path, f"is a gzip file of what looks like {by_content.title}", "Unpack it first (gunzip).")
    return _clips(by_content, path, reading)


def _clips(found: Format, path: Path, reading: ReadOptions) -> list[Clip]:
    clips = found.read(path, reading) if found.takes_options else found.read(path)
    return (reading if found.suffixes[0] in ARRAYS else replace(reading, layout=None)).completed(clips)


def _suffix(path: Path) -> str:
    twofold = "".join(path.suffixes[-2:]).lower()
    return twofold if any(twofold in f.suffixes for f in FORMATS) else path.suffix.lower()


def _foreign(head: bytes) -> str | None:
    """What a file of no supported format looks like, as far as that helps."""
    rows = [line.split() for line in head.split(b"\n")[:5]][:-1]
    widths = {len(row) for row in rows}
    numeric = bool(rows) and all(_is_number(word) for row in rows for word in row)
    if numeric and widths == {5}:
        return "an MSRDailyActivity3D text file (rows of frame, joint, x, y, z)"
    if numeric and widths == {3}:
        return "a text file with rows of x y z"
    magics = {b"\x80": "a Python pickle", b"\x89HDF": "an HDF5 file"}
    return next((what for magic, what in magics.items() if head.startswith(magic)), None)


def _check_no_archive(path: Path, head: bytes) -> None:
    """Raise ReadError for a zip file of recordings, a tar file, or a spreadsheet."""
    inside = npz_keys(path) if array.sniff_npz(head) and zipfile.is_zipfile(path) else []
    if "xl/workbook.xml" in inside or "content.xml" in inside or head.startswith(b"\xd0\xcf\x11\xe0"):
        raise ReadError(path, "looks like a spreadsheet, which is not read", "Save its sheet as CSV, a file for each recording.")
    recordings = [name for name in inside if _suffix(Path(name)) in READABLE]
    if recordings or head[257:262] == b"ustar":
        what = f"an archive of recordings ({recordings[0]}, ...)" if recordings else "a tar archive"
        raise ReadError(path, f"is {what}", "Unpack it first, and give the folder of the recordings.")


def _is_number(word: bytes) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def find_files(paths: PathLike | Iterable[PathLike]) -> list[Path]:
    """Readable files among files, folders (with all below them) and globs.

    Args:
        paths: one or several. A file is always listed, whatever its name. In folders, links to others followed, and of globs only files
            with the suffixes READABLE are; ``.txt`` only as part of a UI-PRMD pair or when it looks like another skeleton format, so
            that it is refused by name instead of passed over, ``.json`` only with skeletons or a pose estimator's joints in it,
            tables only with columns of joints, either also when nothing is in it, so that it is refused by name, ``.npz`` only if it is no result of ``skelzoo embed``, and nothing whose name starts with a dot
            or that lies in a store of ``skelzoo embed --out`` below the folder.

    Returns:
        Files in the order given, those of a folder or glob sorted; each once, a UI-PRMD pair as one of its two files and
        files of a frame each as the first. What may not be
        looked at is listed too, so that reading it says so.

    Raises:
        ReadError: a path that is not there, a folder or glob without readable files.
    """
    found: dict[Path, Path] = {}
    for given in [paths] if isinstance(paths, str | os.PathLike) or not isinstance(paths, Iterable) else paths:
        add_files(found, given)
    return list(found.values())


def add_files(found: dict[Path, Path], path: PathLike) -> None:
    """Add what ``find_files`` finds for one path to what was found before; errors as there, and then nothing is added."""
    if not isinstance(path, str | os.PathLike):
        raise ReadError(str(path)[:80], "is no path", "Give paths of files, folders and globs.")
    for file in _expand(Path(path)):
        found.setdefault(_recording(file), file)


def _expand(path: Path) -> list[Path]:
    # os.path says no where Path raises: for names that are too long, and in folders that this user may not enter.
    if os.path.isfile(path):
        return [path]
    if os.path.isdir(path):
        files = sorted(p for p in _walk(path) if os.path.isdir(p) or _is_listed(p))
        if not files:
            raise ReadError(path, "holds no readable file", f"{_SUPPORTED} Give files by name to have them tried.")
        return files
    if not glob.has_magic(os.fspath(path)):
        check_no_pipe(path)
        try:
            path.stat()
        except (OSError, ValueError) as error:
            problem = "no such file or folder" if isinstance(error, FileNotFoundError) else f"cannot be opened ({error})"
            raise ReadError(path, problem, "Check the path; relative paths start at the current folder.") from None
    places = map(Path, glob.glob(os.fspath(path), recursive=True))
    found = {p for place in places for p in ([place] if os.path.isfile(place) else [] if _is_store(place) else _walk(place))}
    files = sorted(p for p in found if os.path.isfile(p) and _is_listed(p))
    if not files:
        raise ReadError(path, "the pattern fits no readable file", f"Put it in quotes so that the shell leaves it alone. {_SUPPORTED}")
    return files


def passed_over(paths: Iterable[PathLike]) -> list[Path]:
    """Files in folders that are of no format that is read, sorted; told by their suffix, text by its name, JSON and tables by how they begin, and vectors by what an ``.npz`` holds."""
    folders = [path for path in map(Path, paths) if os.path.isdir(path)]
    there = {p for folder in folders for p in _walk(folder) if os.path.isfile(p)}
    return sorted(
        p for p in there if _suffix(p) not in (*READABLE, ".asf") or (_suffix(p) in (".json", ".npz", ".txt", ".txt.gz", *TABLES) and not _is_listed(p))
    )


def _walk(folder: Path) -> Iterator[Path]:
    """Files in a folder and the folders below it, each folder once and by its own name before a link's, and folders that cannot be looked into; nothing hidden, no store."""
    closed: list[Path] = []
    seen: set[str] = set()
    waiting = [folder]
    while waiting:
        for place, folders, files in os.walk(waiting.pop(0), onerror=lambda error: closed.append(Path(error.filename))):
            new = os.path.realpath(place) not in seen
            seen.add(os.path.realpath(place))
            folders[:] = sorted(name for name in folders if new and not name.startswith(".") and not _is_store(Path(place, name)))
            waiting += [Path(place, name) for name in folders if os.path.islink(Path(place, name))]
            here = [Path(place, name) for name in files if new and not name.startswith(".")]
            yield from (p for p in here if os.path.isfile(p) or not os.path.exists(p))  # no pipes, which never end
    yield from closed


def _is_store(folder: Path) -> bool:
    """Whether ``skelzoo embed --out`` made a folder, whose arrays and tables are no recordings."""
    try:
        row = json.loads(read_bytes(folder / "store.json"))
    except ValueError:  # as ReadError is
        return False
    return isinstance(row, dict) and STORED.issubset(row)


def _is_listed(path: Path) -> bool:
    suffix = _suffix(path)
    try:
        with named(path):
            if suffix in (".txt", ".txt.gz"):
                return uiprmd.is_pair_name(path) or (suffix == ".txt" and (_foreign(head := read_head(path)) or datasets.recognise(head, path)) is not None)
            if suffix == ".json":
                return pose.frame_of(path) is not None or not (head := read_head(path)) or _is_skeletons(head) or datasets.recognise(head, path) is not None
            if suffix in TABLES:
                return not (head := read_head(path)) or table.sniff(head)
            if suffix == ".npz":
                return not RESULT.issubset(npz_keys(path))
    except ReadError:
        return True
    return suffix in READABLE


def _is_skeletons(head: bytes) -> bool:
    """Whether JSON that starts with these bytes is of a format that is read."""
    return any(f.sniff(head) for f in FORMATS if ".json" in f.suffixes)


@lru_cache(maxsize=8)
def _skeletons(folder: Path, changed: int) -> tuple[Path, ...]:
    """The .asf files of a folder as it was at a time in ns, listed once for all its motions."""
    return tuple(asf_amc.skeletons_in(folder))


def files_of(path: PathLike) -> list[Path]:
    """All files that reading one reads: of a UI-PRMD pair both, all frames that are a file each, the skeleton of an ``.amc``."""
    path = Path(path)
    partner = uiprmd.find_partner(path)
    try:
        skeleton = [asf_amc.find_asf(path, _skeletons(path.parent, path.parent.stat().st_mtime_ns))] if path.suffix.lower() == ".amc" else []
    except (ReadError, OSError):
        skeleton = []
    return pose.frames_of(path) or [path, *([] if partner is None else [partner]), *skeleton]


def _recording(path: Path) -> Path:
    """One path for all files of a recording, to list it once."""
    path = path.resolve()
    if (frames := pose.frame_of(path) or pose_others.labels_of(path)) is not None:
        return frames
    partner = uiprmd.find_partner(path)
    return path if partner is None else min(path, partner.resolve())


if not TYPE_CHECKING:
    __getattr__ = submodules(__name__)
