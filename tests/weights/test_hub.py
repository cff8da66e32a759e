"""Models of the Hub, from a real server on loopback: names, the cache, life without a network, the command line."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hub_server import Fault, Olah, Proxy, free_port
from tiny import make_clip, make_encoder

import skelzoo
from skelzoo.errors import CheckpointError, IntegrityError, WeightsUnavailableError
from skelzoo.weights.cached import cached_models
from skelzoo.weights.files import LISTED
from skelzoo.weights.hub import Hub, remove_cached
from skelzoo.weights.sources import fetch, find

ROOT = Path(skelzoo.__file__).parents[1]


def load(name: str, proxy: Proxy | str, cache: Path, **settings: Any) -> skelzoo.Encoder:
    return skelzoo.load(name, device="cpu", endpoint=proxy if isinstance(proxy, str) else proxy.url, cache_dir=cache, **settings)


def environment(proxy: Proxy, cache: Path, **more: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    return {**kept, "HF_ENDPOINT": proxy.url, "HF_HOME": str(cache), "PYTHONPATH": str(ROOT), "HF_HUB_DISABLE_PROGRESS_BARS": "1", **more}


def run(proxy: Proxy, cache: Path, *command: object, code: int = 0, **more: str) -> str:
    """What `skelzoo` prints on both streams."""
    words = [sys.executable, "-c", "from skelzoo.cli import main; main()", *map(str, command)]
    done = subprocess.run(words, env=environment(proxy, cache, **more), capture_output=True, text=True, timeout=120)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@contextmanager
def no_network() -> Iterator[None]:
    """Any connection or look-up of a host fails the test."""

    def refuse(*args: object, **settings: object) -> None:
        pytest.fail(f"a connection was made: {args}")

    with pytest.MonkeyPatch.context() as patch:
        for name in ("connect", "connect_ex", "sendto"):
            patch.setattr(socket.socket, name, refuse)
        patch.setattr(socket, "getaddrinfo", refuse)
        yield


def test_every_way_to_name_a_commit(olah: Olah, proxy: Proxy, repo: tuple[str, str], newer: dict[str, bytes], cache: Path) -> None:
    name, commit = repo
    olah.git(name, "tag", "v1")
    olah.add(name, newer)  # only the branch is about this one
    assert load(f"hf:{name}", proxy, cache).name == load(f"hf:{name}@main", proxy, cache).name != f"hf:{name}@{commit}"
    for revision in ("v1", commit[:8], commit):
        encoder = load(f"hf:{name}@{revision}", proxy, cache)
        assert encoder.name == f"hf:{name}@{commit}" in repr(encoder)
    assert np.array_equal(encoder.embed(make_clip()), make_encoder().embed(make_clip()))
    assert skelzoo.verify(f"hf:{name}@{commit}", device="cpu", endpoint=proxy.url, cache_dir=cache).ok
    assert load(f"hf:{name}@{commit}", proxy, cache, num_classes=7).config.num_classes == 7
    assert load(f"hf:{name}@{commit}", proxy, cache, pretrained=False).labels is None


def test_exactly_the_listed_files_are_fetched_once_into_the_cache_of_huggingface_hub(olah: Olah, proxy: Proxy, files: dict[str, bytes], cache: Path) -> None:
    from huggingface_hub import scan_cache_dir

    commit = olah.add("owner/more", {**files, "pytorch_model.bin": b"pickle", "code.py": b"print(1)"})
    for _ in range(2):
        load(f"hf:owner/more@{commit}", proxy, cache)
    assert sorted(proxy.seen()) == sorted(files)
    (kept,) = scan_cache_dir(cache).repos
    (revision,) = kept.revisions
    assert (kept.repo_id, revision.commit_hash) == ("owner/more", commit) and {f.file_name for f in revision.files} == set(files)
    assert all((revision.snapshot_path / n).read_bytes() == data for n, data in files.items())


def test_a_cached_pinned_model_needs_no_server(proxy: Proxy, repo: tuple[str, str], cache: Path) -> None:
    name = f"hf:{repo[0]}@{repo[1]}"
    load(name, proxy, cache)
    before = len(proxy.requests)
    with no_network():
        assert load(name, "http://127.0.0.1:9", cache).name == name
        assert load(name, proxy, cache, local_files_only=True).name == name
        assert skelzoo.verify(name, device="cpu", cache_dir=cache).ok
        moved = cache.rename(cache.with_name("moved"))
        assert load(name, proxy, moved, local_files_only=True).name == name
    assert len(proxy.requests) == before
    with no_network(), pytest.raises(pytest.fail.Exception, match="a connection was made"):
        socket.create_connection(("127.0.0.1", 9))  # the guard guards


def test_a_cached_model_loads_as_fast_as_one_in_a_folder(proxy: Proxy, repo: tuple[str, str], files: dict[str, bytes], cache: Path, tmp_path: Path) -> None:
    name, folder = f"hf:{repo[0]}@{repo[1]}", fetch(f"hf:{repo[0]}@{repo[1]}", tmp_path / "copy", Hub(proxy.url, cache))
    times: dict[str, list[float]] = {name: [], f"local:{tmp_path}/copy": []}
    for _ in range(15):
        for each, spent in times.items():
            start = time.perf_counter()
            load(each, "http://127.0.0.1:9", cache)
            spent.append(time.perf_counter() - start)
    hub, local = (min(t) for t in times.values())
    assert folder.source.kind == "hub" and hub < 1.5 * local + 0.005


def test_addresses_and_folders_as_people_write_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Hub("http://127.0.0.1:9/").url == "http://127.0.0.1:9" and Hub(cache_dir="~/models").cache == tmp_path / "models"


def test_a_server_that_is_gone(cache: Path) -> None:
    commit, endpoint = "ab" * 20, f"http://127.0.0.1:{free_port()}"
    for name in (f"hf:owner/repo@{commit}", "hf:owner/repo@main"):
        start = time.perf_counter()
        with pytest.raises(WeightsUnavailableError) as caught:
            load(name, endpoint, cache)
        assert time.perf_counter() - start < 3
        said = str(caught.value)
        assert endpoint in said and name in said and "HF_HUB_OFFLINE=1" in said and "skelzoo fetch NAME --to FOLDER" in said
    assert not cache.exists()


def test_a_server_that_does_not_take_the_connection(cache: Path) -> None:
    """A full queue of connections: the next one is not answered, as behind a firewall."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for s in waiting:
            s.setblocking(False)
            s.connect_ex(server.getsockname())
        start = time.perf_counter()
        with pytest.raises(WeightsUnavailableError, match="ConnectTimeout"):
            load(f"hf:owner/repo@{'ab' * 20}", f"http://127.0.0.1:{server.getsockname()[1]}", cache)
        assert time.perf_counter() - start < 3
        for s in waiting:
            s.close()


def test_offline_and_not_cached(proxy: Proxy, repo: tuple[str, str], cache: Path) -> None:
    name, commit = repo
    with no_network(), pytest.raises(WeightsUnavailableError, match=rf"hf:{name}@{commit}: {cache} has no checksums\.json .* from {proxy.url}"):
        load(f"hf:{name}@{commit}", proxy, cache, local_files_only=True)
    load(f"hf:{name}@{commit}", proxy, cache)
    with no_network(), pytest.raises(WeightsUnavailableError, match=rf"@main: which commit this is only {proxy.url} knows.*in the cache: {commit}"):
        load(f"hf:{name}", proxy, cache, local_files_only=True)


def test_the_token_goes_to_the_endpoint(proxy: Proxy, repo: tuple[str, str], cache: Path) -> None:
    load(f"hf:{repo[0]}@{repo[1]}", proxy, cache, token="hf_secret\n")
    assert {r.headers.get("authorization") for r in proxy.requests} == {"Bearer hf_secret"}


def test_info_reaches_the_hub_as_load_does(proxy: Proxy, repo: tuple[str, str], cache: Path) -> None:
    name, settings = f"hf:{repo[0]}@{repo[1]}", {"endpoint": proxy.url, "cache_dir": cache}
    with pytest.raises(WeightsUnavailableError, match=f"{cache} has no"):
        skelzoo.info(name, local_files_only=True, **settings)
    told = skelzoo.info(f"hf:{repo[0]}", token="hf_secret", **settings)
    assert told["name"] == name and told["card"] == "# Tiny 0\n" and {r.headers.get("authorization") for r in proxy.requests} == {"Bearer hf_secret"}
    assert skelzoo.info(name, local_files_only=True, **settings) == told and not list(cache.rglob("*.safetensors"))


def test_a_damaged_file_in_the_cache_is_named_kept_and_repaired(proxy: Proxy, repo: tuple[str, str], files: dict[str, bytes], cache: Path) -> None:
    name, hub = f"hf:{repo[0]}@{repo[1]}", Hub(proxy.url, cache)
    folder = fetch(name, hub=hub).folder
    damaged = files["model.safetensors"][:-1] + b"?"
    (folder / "model.safetensors").write_bytes(damaged)
    with pytest.raises(IntegrityError, match=r"model\.safetensors: not the file it must be.*skelzoo fetch NAME --repair"):
        load(name, proxy, cache)
    result = skelzoo.verify(name, device="cpu", endpoint=proxy.url, cache_dir=cache)
    assert "model.safetensors" in result.hash and "not checked" in result.load and not result.ok
    assert (folder / "model.safetensors").read_bytes() == damaged
    proxy.requests.clear()
    fetch(name, hub=hub, repair=True)
    assert proxy.seen() == ["checksums.json", "model.safetensors"] or proxy.seen() == ["model.safetensors"]
    assert load(name, proxy, cache).name == name


def test_the_checksum_list_itself_is_repaired(proxy: Proxy, repo: tuple[str, str], cache: Path) -> None:
    name, hub = f"hf:{repo[0]}@{repo[1]}", Hub(proxy.url, cache)
    path = fetch(name, hub=hub).folder / "checksums.json"
    for damage in (b"{", path.read_bytes().replace(b'"sha256": "', b'"sha256": "0')):
        path.write_bytes(damage)
        with pytest.raises(CheckpointError, match="fetch NAME --repair"):
            load(name, proxy, cache)
        fetch(name, hub=hub, repair=True)
        assert load(name, proxy, cache).name == name


def test_cached_models_are_listed_and_removed(olah: Olah, proxy: Proxy, repo: tuple[str, str], newer: dict[str, bytes], cache: Path) -> None:
    hub, name = Hub(proxy.url, cache), repo[0]
    later = olah.add(name, newer)
    other = cache / "models--someone--bert/snapshots" / ("cd" * 20)
    other.mkdir(parents=True)
    (other / "model.safetensors").write_bytes(b"not of skelzoo")
    names = sorted(f"hf:{name}@{c}" for c in (repo[1], later))
    for each in names:
        fetch(each, hub=hub)
    assert [m.name for m in cached_models(hub)] == names and all(m.size > 90_000 for m in cached_models(hub))
    for each, lost in zip(names, ("checksums.json", "golden.safetensors"), strict=True):  # the manifest has the list, or the golden could not be had
        (find(each, hub).folder / lost).unlink()
    partial = next(cache.rglob("blobs")) / "abc.skelzoo.incomplete"
    partial.write_bytes(bytes(10**7))
    assert [m.name for m in cached_models(hub)] == names
    assert remove_cached(names[0], hub) > 10**7 and not partial.exists()
    assert [m.name for m in cached_models(hub)] == names[1:] and load(names[1], "http://127.0.0.1:9", cache).name == names[1]
    with pytest.raises(WeightsUnavailableError, match=r"is not in .*cache list"):
        remove_cached(names[0], hub)
    remove_cached(names[1], hub)
    assert cached_models(hub) == [] and (other / "model.safetensors").exists()


def test_a_killed_download_goes_on_where_it_was(proxy: Proxy, repo: tuple[str, str], files: dict[str, bytes], cache: Path) -> None:
    proxy.faults["model.safetensors"] = Fault(times=1, pace=4000)
    command = [sys.executable, "-c", "from skelzoo.cli import main; main()", "fetch", f"hf:{repo[0]}@{repo[1]}"]
    process = subprocess.Popen(command, env=environment(proxy, cache), stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not [p for p in cache.rglob("*.incomplete") if p.stat().st_size > 9000]:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (part,) = cache.rglob("*.incomplete")
    kept = part.stat().st_size
    assert 9000 < kept < len(files["model.safetensors"])
    assert "4 files" in run(proxy, cache, "fetch", f"hf:{repo[0]}@{repo[1]}")
    assert [r.headers.get("range") for r in proxy.requests if r.method == "GET" and r.name == "model.safetensors"] == [None, f"bytes={kept}-"]
    assert not list(cache.rglob("*.incomplete"))


@pytest.mark.slow
def test_eight_processes_fetch_it_once(proxy: Proxy, repo: tuple[str, str], files: dict[str, bytes], cache: Path) -> None:
    proxy.faults["model.safetensors"] = Fault(pace=20_000)
    command = [sys.executable, "-c", "from skelzoo.cli import main; main()", "fetch", f"hf:{repo[0]}@{repo[1]}"]
    together = [subprocess.Popen(command, env=environment(proxy, cache), stdout=subprocess.PIPE, text=True) for _ in range(8)]
    said = [process.communicate(timeout=120)[0] for process in together]
    assert all(process.returncode == 0 for process in together) and all("4 files" in text for text in said)
    assert sorted(proxy.seen()) == sorted(files)


@pytest.mark.slow
def test_eight_processes_load_it_at_once(proxy: Proxy, repo: tuple[str, str], files: dict[str, bytes], cache: Path) -> None:
    proxy.faults["model.safetensors"] = Fault(pace=20_000)
    code = f"import skelzoo; print(skelzoo.load('hf:{repo[0]}@{repo[1]}', device='cpu').name)"
    together = [subprocess.Popen([sys.executable, "-c", code], env=environment(proxy, cache), stdout=subprocess.PIPE, text=True) for _ in range(8)]
    assert {process.communicate(timeout=300)[0].strip() for process in together} == {f"hf:{repo[0]}@{repo[1]}"}
    assert sorted(proxy.seen()) == sorted(files)


def test_the_command_line(proxy: Proxy, repo: tuple[str, str], cache: Path, tmp_path: Path) -> None:
    """HF_ENDPOINT, HF_HOME and HF_HUB_OFFLINE are those of huggingface_hub."""
    name, pinned = f"hf:{repo[0]}@main", f"hf:{repo[0]}@{repo[1]}"
    assert f"{pinned}: hub, " in run(proxy, cache, "fetch", name, "--dry-run") and not proxy.seen()
    assert "skelzoo fetch" in run(proxy, cache, "where", pinned, code=1)
    told = run(proxy, cache, "info", name)
    assert f"weights    {pinned}" in told and "classes    3: sit; stand; wave" in told and not list(cache.rglob("*.safetensors"))
    assert f"{pinned}: 4 files" in run(proxy, cache, "fetch", name, "--to", tmp_path / "copy")
    assert json.loads((tmp_path / "copy/checksums.json").read_text()).keys() == set(LISTED) and skelzoo.load(f"local:{tmp_path}/copy", device="cpu").labels
    where = run(proxy, cache, "where", name)
    assert f"{name} is {pinned}" in where and f"{cache}/hub/models--{repo[0].replace('/', '--')}/snapshots/{repo[1]}" in where
    before = len(proxy.requests)
    said = run(proxy, cache, "verify", pinned, "--device", "cpu", HF_HUB_OFFLINE="1")
    assert [line.split()[:3] for line in said.splitlines() if line.startswith("ok")] == [["ok", pinned, check] for check in ("hash", "load", "golden")]
    assert "on cpu, largest difference" in said and len(proxy.requests) == before
    assert "which commit this is only" in run(proxy, cache, "verify", name, code=1, HF_HUB_OFFLINE="1")
    assert pinned in run(proxy, cache, "cache", "list")
    assert f"{pinned}: removed" in run(proxy, cache, "cache", "remove", pinned) and "no models" in run(proxy, cache, "cache", "list")
    assert "not in the cache of the Hub" in run(proxy, cache, "cache", "remove", "skeattnclr-openskel", code=1)


def test_bundled_models_are_found_too(tmp_path: Path) -> None:
    assert find("skeattnclr-openskel").kind == "bundled" and find("skeattnclr-openskel").missing == []
    done = fetch("skeattnclr-openskel", tmp_path / "copy")
    assert done.folder.name == "skeattnclr-openskel" and skelzoo.verify(f"local:{tmp_path}/copy", device="cpu").ok
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("mine")
    with pytest.raises(CheckpointError, match="is not a weights folder"):
        fetch("skeattnclr-openskel", tmp_path / "mine")
