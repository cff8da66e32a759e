"""Models of the Hub. The only file that touches the network or the cache.

Downloads go into huggingface_hub's own cache, so that its tools know them. A file gets its place there only once its
size and sha256 are those listed; what a killed download has got is kept beside it and gone on from.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from skelzoo.errors import IntegrityError, SkelzooError, WeightsUnavailableError, WriteError
from skelzoo.weights.files import CARD, CHECKSUMS, LISTED, MAX_JSON, FileInfo, file_info, is_right, link, read_checksums
from skelzoo.weights.held import held
from skelzoo.weights.places import of_home

if TYPE_CHECKING:
    from huggingface_hub import HfFileMetadata

HF_PATTERN = re.compile(r"hf:(?P<repo>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)@(?P<revision>[0-9a-f]{40})", re.ASCII)
"""A pinned model of the Hub."""

_ANY_PATTERN = re.compile(r"hf:(?P<repo>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@(?P<revision>[\w.-]+(?:/[\w.-]+)*))?", re.ASCII)

CONNECT_SECONDS = 2.5
"""How long a server may take to accept a connection; HF_HUB_ETAG_TIMEOUT is how long it may then take to answer."""

TRIES = 3
"""How often a file that is cut off is gone on with before that is an error."""

OFFLINE = "HF_HUB_OFFLINE=1 (or local_files_only=True) makes skelzoo use the cache alone"

REFUSED = {
    401: ": it refused the token. Check HF_TOKEN, token= or hf auth login; for a public repository none is needed.",
    403: ": the token may not do this, or there is none. Check HF_TOKEN, token= or hf auth login.",
    407: ": a proxy refused. Check HTTP_PROXY, HTTPS_PROXY and ALL_PROXY, with the name and password that it wants.",
}
"""What to do about answers that stay the same however often one tries."""


@dataclass(frozen=True)
class Hub:
    """How the Hub is reached; what is None is as huggingface_hub has it.

    Attributes:
        endpoint: address of the server, HF_ENDPOINT.
        cache_dir: folder of the cache, HF_HUB_CACHE or HF_HOME.
        local_files_only: make no request, as HF_HUB_OFFLINE=1.
        token: for private repositories, HF_TOKEN or `hf auth login`.
    """

    endpoint: str | None = None
    cache_dir: str | os.PathLike[str] | None = None
    local_files_only: bool = False
    token: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.token, str):  # as read from a file, with its last newline
            object.__setattr__(self, "token", self.token.strip() or None)

    @property
    def url(self) -> str:
        """Address of the server."""
        from huggingface_hub import constants

        return (self.endpoint or constants.ENDPOINT).rstrip("/")

    @property
    def cache(self) -> Path:
        """Folder of the cache; WriteError where the user has no home folder for it."""
        from huggingface_hub import constants

        return of_home(self.cache_dir or constants.HF_HUB_CACHE, "HF_HOME or cache_dir=").absolute()

    @property
    def offline(self) -> bool:
        """Whether no request may be made."""
        from huggingface_hub import constants

        return self.local_files_only or constants.HF_HUB_OFFLINE


HUB = Hub()
"""As huggingface_hub has it."""


@dataclass(frozen=True)
class _Pinned:
    """A commit of a repository, and its places in the cache."""

    repo: str
    commit: str
    hub: Hub

    def __str__(self) -> str:
        return f"hf:{self.repo}@{self.commit}"

    @property
    def storage(self) -> Path:
        return self.hub.cache / f"models--{self.repo.replace('/', '--')}"

    @property
    def folder(self) -> Path:
        return self.storage / "snapshots" / self.commit


def pin(source: str, hub: Hub) -> str:
    """``hf:owner/repo@<40-hex commit>`` of ``hf:owner/repo``, of one with a branch, a tag or a short commit, or of itself.

    Raises:
        WeightsUnavailableError: not such a name, or the Hub cannot be asked or does not know it.
    """
    match = _ANY_PATTERN.fullmatch(source)
    if match is None:
        raise WeightsUnavailableError(f"{source!r} is not hf:owner/repo or hf:owner/repo@REVISION. Best name the full commit of 40 hex digits.")
    repo, revision = match["repo"], match["revision"] or "main"
    if HF_PATTERN.fullmatch(source):
        return source
    if hub.offline:
        known = sorted(p.name for p in (_Pinned(repo, "", hub).storage / "snapshots").glob("*"))
        raise WeightsUnavailableError(
            f"hf:{repo}@{revision}: which commit this is only {hub.url} knows, and HF_HUB_OFFLINE or local_files_only forbid asking. "
            f"Name a full commit of 40 hex digits; in the cache: {', '.join(known) or 'none'}."
        )
    with _asking(f"hf:{repo}@{revision}", hub):
        commit = _metadata(_Pinned(repo, revision, hub), CHECKSUMS).commit_hash
    if commit is None or not re.fullmatch("[0-9a-f]{40}", commit):
        raise WeightsUnavailableError(f"hf:{repo}@{revision}: {hub.url} did not say which commit it is. Check HF_ENDPOINT, or name the full commit.")
    return f"hf:{repo}@{commit}"


def _pinned(source: str, hub: Hub) -> _Pinned:
    match = HF_PATTERN.fullmatch(source)
    if match is None:
        raise WeightsUnavailableError(f"{source!r} is not hf:owner/repo@<commit> with the full commit of 40 hex digits.")
    return _Pinned(match["repo"], match["revision"], hub)


def cache_folder(source: str, hub: Hub) -> Path:
    """Where a pinned model lies in the cache, or would."""
    return _pinned(source, hub).folder


def hub_folder(
    source: str, hub: Hub, files: Mapping[str, FileInfo] | None = None, repair: bool = False, wanted: Collection[str] = LISTED, also: Collection[str] = ()
) -> Path:
    """Folder of a pinned model in the cache. What is missing is fetched; when nothing is, no request is made.

    Args:
        files: what it must hold; None for what its own checksum list says.
        repair: fetch again what is there and is not what it must be.
        wanted: names of the files that are needed.
        also: names of files that are done without where they cannot be had. A card need not be the one of the model's own list, as
            people edit it on the Hub.

    Raises:
        WeightsUnavailableError: it is not there and cannot be fetched.
        IntegrityError: the Hub gave other bytes than those listed; they were not kept.
        WriteError: the cache cannot be written.
        CheckpointError: the repository has no usable checksum list.
    """
    place, listed = _pinned(source, hub), files
    if listed is None:
        _complete(place, {CHECKSUMS: None}, repair)
        listed = read_checksums(place.folder)
    _complete(place, {name: info for name, info in listed.items() if name in wanted}, repair)
    for name in (n for n in also if n in listed):
        with contextlib.suppress(IntegrityError, WeightsUnavailableError, WriteError):
            _complete(place, {name: None if files is None and name == CARD else listed[name]}, repair)
    return place.folder


def _complete(place: _Pinned, files: Mapping[str, FileInfo | None], repair: bool) -> None:
    """Fetch what is missing of these files and, to repair, what is wrong; of the list itself that is always asked."""
    for name, expected in files.items():
        path = place.folder / name
        if os.path.isfile(path) and not (repair and (expected is None or file_info(path) != expected)):
            continue
        if place.hub.offline:
            raise WeightsUnavailableError(
                f"{place}: {place.hub.cache} has no {name} of it, and HF_HUB_OFFLINE or local_files_only forbid fetching it from {place.hub.url}. "
                "Unset them, or fetch on another machine with skelzoo fetch NAME --to FOLDER and load local:FOLDER."
            )
        with _asking(f"{place}, {name}", place.hub):
            _download(place, name, expected)


def _metadata(place: _Pinned, name: str) -> HfFileMetadata:
    """What the Hub says of a file."""
    import httpx2
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url

    url = hf_hub_url(place.repo, name, revision=place.commit, endpoint=place.hub.url)
    timeout: Any = httpx2.Timeout(constants.HF_HUB_ETAG_TIMEOUT, connect=CONNECT_SECONDS)
    return get_hf_file_metadata(url, token=place.hub.token, timeout=timeout, endpoint=place.hub.url)


def _download(place: _Pinned, name: str, expected: FileInfo | None) -> None:
    """Put one file into the cache, where a process that comes second finds it."""
    from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]

    found = _metadata(place, name)
    _check_metadata(place, name, found, expected)
    blob = place.storage / "blobs" / str(found.etag)
    locks = place.hub.cache / ".locks" / place.storage.name
    for folder in (blob.parent, place.folder, locks):
        folder.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(locks / f"{blob.name}.lock"):
        if not (blob.is_file() and is_right(blob, expected, blob.name)):
            _fetch_blob(place, name, found, expected, blob)
        link(blob, place.folder / name)


def _check_metadata(place: _Pinned, name: str, found: HfFileMetadata, expected: FileInfo | None) -> None:
    """Refuse, before a byte of it is fetched, a file that cannot be the one that is wanted."""
    etag = found.etag or ""
    if not re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", etag) or found.size is None or found.commit_hash != place.commit:
        raise WeightsUnavailableError(f"{place}, {name}: {place.hub.url} does not answer as a Hub does (commit, hash and size of the file). Check HF_ENDPOINT.")
    if expected is None:
        if found.size > MAX_JSON:
            raise IntegrityError(f"{place}, {name}: has {found.size} bytes, more than the {MAX_JSON} that are read. Nothing was fetched.")
    elif found.size != expected.size or (len(etag) == 64 and etag != expected.sha256):
        shown = FileInfo(found.size, etag) if len(etag) == 64 else f"{found.size} bytes"
        raise IntegrityError(f"{place}, {name}: {place.hub.url} has another file: {shown}, expected {expected}. Nothing was fetched.")


def _fetch_blob(place: _Pinned, name: str, found: HfFileMetadata, expected: FileInfo | None, blob: Path) -> None:
    """Fetch a file, going on where an earlier try was cut off, and move it to its place when it is the right one."""
    import httpx2

    part, size = blob.with_name(f"{blob.name}.skelzoo.incomplete"), int(found.size or 0)
    try:
        with part.open("ab") as file:
            for left in reversed(range(TRIES)):
                try:
                    if file.tell() < size:
                        _stream(place, name, size, file)
                    break
                except httpx2.TransportError:
                    if not left:
                        raise
                    time.sleep(1)
        if not is_right(part, expected, blob.name):
            raise IntegrityError(f"{place.hub.url} gave other bytes: {file_info(part)}, expected {expected or blob.name}")
    except IntegrityError as error:
        part.unlink()
        raise IntegrityError(
            f"{place}, {name}: {error}. They were not kept. Try again; if it stays so, do not trust the repository or what is between."
        ) from None
    os.replace(part, blob)


def _stream(place: _Pinned, name: str, size: int, file: BinaryIO) -> None:
    """Append what a file still lacks; no more than ``size`` bytes in all, whatever the server sends."""
    import httpx2
    from huggingface_hub import constants, get_session, hf_hub_url
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status  # type: ignore[attr-defined]
    from tqdm import tqdm

    # From the Hub's own address: the client then drops the token where it is sent on to another host.
    url = hf_hub_url(place.repo, name, revision=place.commit, endpoint=place.hub.url)
    rest = {"Range": f"bytes={file.tell()}-"} if file.tell() else {}
    headers = {**build_hf_headers(token=place.hub.token), "Accept-Encoding": "identity", **rest}
    with get_session().stream("GET", url, headers=headers, timeout=httpx2.Timeout(constants.HF_HUB_DOWNLOAD_TIMEOUT, connect=CONNECT_SECONDS)) as answer:
        hf_raise_for_status(answer)
        if answer.status_code != 206:  # the whole file
            file.seek(0)
            file.truncate()
        hidden = constants.HF_HUB_DISABLE_PROGRESS_BARS or None
        with tqdm(desc=name, total=size, initial=file.tell(), unit="B", unit_scale=True, delay=0.5, disable=hidden) as bar:
            for chunk in answer.iter_bytes():
                if file.tell() + len(chunk) > size:
                    raise IntegrityError(f"{place.hub.url} sends more than the {size} bytes it announced")
                file.write(chunk)
                bar.update(len(chunk))


@contextlib.contextmanager
def _asking(what: str, hub: Hub, sending: bool = False) -> Iterator[None]:
    """Say what failed, of what, where, and what to do."""
    import httpx2
    from huggingface_hub import constants, errors

    kept = "Nothing was committed; the same command tries again" if sending else "What was fetched is kept; try again later"
    resumed = f"{kept}." if sending else "What was fetched is kept, and the same command goes on from there."
    offline = "" if sending else f" {OFFLINE}."
    try:
        # Its user agent asks the default endpoint for a list once a day: a request to another server than was asked for.
        with held(constants, "HF_HUB_DISABLE_TELEMETRY", True):
            yield
    except errors.RepositoryNotFoundError as error:
        raise WeightsUnavailableError(
            f"{what}: {hub.url} has no such repository or commit, or does not show it to you. Check the name; for a private or gated one set HF_TOKEN or run hf auth login."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise WeightsUnavailableError(f"{what}: {hub.url} has the repository, but no such revision. Check the commit.") from error
    except errors.EntryNotFoundError as error:
        raise WeightsUnavailableError(
            f"{what}: {hub.url} has no such file, or no such repository. Check the name; skelzoo publish makes complete ones."
        ) from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        raise WeightsUnavailableError(f"{what}: {hub.url} answered {status}{REFUSED.get(status, f'. {kept}.{offline}')}") from error
    except httpx2.ProxyError as error:
        raise WeightsUnavailableError(f"{what}: the way to {hub.url}: {error}{REFUSED[407]}") from error
    except (httpx2.HTTPError, errors.FileMetadataError) as error:
        raise WeightsUnavailableError(
            f"{what}: {hub.url} cannot be reached or broke off ({type(error).__name__}: {error}). {resumed} Check the connection and HF_ENDPOINT."
            + ("" if sending else f" {OFFLINE}; skelzoo fetch NAME --to FOLDER elsewhere gives a folder for local:FOLDER.")
        ) from error
    except errors.HFValidationError as error:
        raise WeightsUnavailableError(f"{what}: not a name of the Hub ({error}). It is hf:owner/repo@REVISION.") from error
    except SkelzooError:
        raise
    except (ImportError, ValueError, httpx2.InvalidURL) as error:  # before anything is sent
        raise WeightsUnavailableError(
            f"{what}: the proxy, token or endpoint of the environment cannot be used ({type(error).__name__}: {error}). Correct HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, HF_TOKEN or HF_ENDPOINT, now {hub.url}."
        ) from error
    except OSError as error:
        if error.errno is None:
            raise WeightsUnavailableError(f"{what}: {hub.url}: {error} Try again.") from error
        raise WriteError(
            f"{what}: the cache {hub.cache} cannot be used ({error.strerror}). Make room or give yourself permission there, or choose another with HF_HOME or cache_dir=."
        ) from error


def remove_cached(source: str, hub: Hub) -> int:
    """Remove a pinned model from the cache.

    Returns:
        Bytes that became free.

    Raises:
        WeightsUnavailableError: it is not there.
        WriteError: no permission.
    """
    from huggingface_hub import scan_cache_dir

    place = _pinned(source, hub)
    if not place.folder.is_dir():
        raise WeightsUnavailableError(f"{place}: is not in {hub.cache}. skelzoo cache list shows what is.")
    with _asking(str(place), hub):
        everything = scan_cache_dir(hub.cache)
        strategy = replace(everything, repos=frozenset(r for r in everything.repos if r.repo_id == place.repo)).delete_revisions(place.commit)
        partial = list(place.storage.glob("blobs/*.skelzoo.incomplete"))
        freed = strategy.expected_freed_size + sum(p.stat().st_size for p in partial)
        strategy.execute()
        for path in partial:
            path.unlink(missing_ok=True)
    return freed


def check_repo(repo: str) -> None:
    """Check that a repository's name is one under which a model can be loaded.

    Raises:
        WeightsUnavailableError: it is not owner/repo.
    """
    if not isinstance(repo, str) or not HF_PATTERN.fullmatch(f"hf:{repo}@{'0' * 40}"):
        raise WeightsUnavailableError(f"{repo!r} is not the name of a repository of the Hub. Give owner/repo, as in 'your-name/my-model'. Nothing was sent.")


def upload(folder: Path, names: Sequence[str], repo: str, message: str, hub: Hub, private: bool = False) -> str:
    """Put files of a folder into a repository of the Hub, in one commit; the repository is made where there is none.

    Returns:
        The pinned name, ``hf:owner/repo@<commit>``.

    Raises:
        WeightsUnavailableError: not owner/repo, or the Hub cannot be reached, or refuses.
    """
    from huggingface_hub import CommitOperationAdd, HfApi, utils

    check_repo(repo)
    if hub.offline:
        raise WeightsUnavailableError(f"hf:{repo}: HF_HUB_OFFLINE is set, so nothing was sent to {hub.url}. Unset it to publish.")
    api = HfApi(endpoint=hub.url, token=hub.token)
    with _asking(f"hf:{repo}", hub, sending=True), contextlib.nullcontext() if os.isatty(2) else utils.disable_progress_bars():  # type: ignore[attr-defined]
        api.create_repo(repo, private=private, exist_ok=True)
        done = api.create_commit(repo, [CommitOperationAdd(name, folder / name) for name in names], commit_message=message)
    return f"hf:{repo}@{done.oid}"


def card_metadata(name: str, license: str, tags: Sequence[str], datasets: Sequence[str], results: Sequence[tuple[str, str, str, float]]) -> str:
    """The metadata block of a card, as YAML without its fences.

    Args:
        results: data, their identifier, protocol and accuracy in percent of each measurement; the Hub takes them all for the model's.
    """
    from huggingface_hub import EvalResult, ModelCardData

    rows = [EvalResult("action-recognition", known, data, "accuracy", value, metric_name=protocol) for data, known, protocol, value in results]
    data = ModelCardData(model_name=name, license=license, library_name="skelzoo", tags=list(tags), datasets=list(datasets) or None, eval_results=rows or None)
    return str(data.to_yaml())
