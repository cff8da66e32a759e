"""What goes wrong between the Hub and the disk: what is said, what is left, and that nothing wrong becomes a model.

docs/supply.md has a row for each of these tests.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hub_server import Fault, Olah, Proxy, free_port, serving
from safetensors.torch import load as load_tensors
from safetensors.torch import save
from test_hub import environment, load, run
from tiny import make_clip, make_encoder

import skelzoo
from skelzoo.errors import CheckpointError, IntegrityError, SkelzooError, UnknownArchError, WeightsUnavailableError, WriteError
from skelzoo.weights import manifest as manifest_module
from skelzoo.weights.cached import cached_models
from skelzoo.weights.files import MAX_JSON, bytes_info, file_table
from skelzoo.weights.hub import Hub
from skelzoo.weights.sources import fetch

Repo = tuple[str, str]
Files = dict[str, bytes]


def pinned(repo: Repo) -> str:
    return f"hf:{repo[0]}@{repo[1]}"


def relisted(files: Files, **changes: bytes) -> Files:
    """The same files with other contents and a checksum list that says so, as somebody would publish who means it."""
    changed = files | {{"model": "model.safetensors", "config": "config.json", "golden": "golden.safetensors"}[k]: v for k, v in changes.items()}
    table = {name: asdict(bytes_info(changed[name])) for name in file_table(json.loads(files["checksums.json"]))}
    return changed | {"checksums.json": json.dumps(table).encode()}


@pytest.fixture
def manifest_of(tmp_path: Path, files: Files, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Writes a manifest with the model ``tiny`` at a repository, as the test wants it."""

    def write(repo: Repo, contents: Files = files, **config: Any) -> None:
        table = {k: asdict(v) for k, v in file_table(json.loads(contents["checksums.json"])).items()}
        weights = {
            "source": pinned(repo), "license": "CC0-1.0", "license_reason": "Made up.", "commercial_use": True,
            "parameters": 3, "files": table, "trained_on": [], "command": "none",
        }  # fmt: skip
        entry = {"family": "T", "summary": "T.", "config": {**json.loads(contents["config.json"]), **config}, "weights": weights, "metrics": [], "notes": []}
        path = tmp_path / "weights_manifest.json"
        path.write_text(json.dumps({"schema_version": 1, "label_sets": {}, "contracts": {}, "models": {"tiny": entry}, "aliases": {}}))
        monkeypatch.setattr(manifest_module, "manifest_path", lambda: path)
        manifest_module.manifest.cache_clear()

    yield write
    manifest_module.manifest.cache_clear()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("hf:owner/nowhere@main", "has no such repository"),
        (f"hf:owner/nowhere@{'ab' * 20}", "no such repository"),
        ("hf:{}@nowhere", "has no such repository or commit"),
        ("hf:{}@" + "ab" * 20, "answered 500"),  # olah's answer; the real Hub's is 404 with an error code
    ],
)
def test_missing_repositories_and_commits(proxy: Proxy, repo: Repo, cache: Path, name: str, says: str) -> None:
    name = name.format(repo[0])
    with pytest.raises(WeightsUnavailableError) as caught:
        load(name, proxy, cache)
    assert says in str(caught.value) and name in str(caught.value) and proxy.url in str(caught.value) and not cache.exists()


def test_a_missing_revision_as_the_hub_says_it(proxy: Proxy, cache: Path) -> None:
    proxy.faults["checksums.json"] = Fault("HEAD", status=404, headers={"x-error-code": "RevisionNotFound"})
    with pytest.raises(WeightsUnavailableError, match="no such revision"):
        load(f"hf:owner/model@{'ab' * 20}", proxy, cache)
    proxy.faults["checksums.json"] = Fault("HEAD", status=403, headers={"x-error-code": "GatedRepo"})
    with pytest.raises(WeightsUnavailableError, match="set HF_TOKEN or run hf auth login"):
        load(f"hf:owner/model@{'ab' * 20}", proxy, cache)


@pytest.mark.parametrize("name", ["checksums.json", "config.json", "model.safetensors"])
def test_a_missing_file(olah: Olah, proxy: Proxy, files: Files, cache: Path, name: str) -> None:
    commit = olah.add("owner/lacking", {k: v for k, v in files.items() if k != name})
    with pytest.raises(WeightsUnavailableError, match=f"{name}: .* has no such file"):
        load(f"hf:owner/lacking@{commit}", proxy, cache)


EDITED = b"# Tiny 0\n\nEdited on the Hub.\n"


@pytest.mark.parametrize("changes", [{"README.md": EDITED}, {"README.md": None}, {"golden.safetensors": None}], ids=["edited", "no card", "no golden"])
def test_a_model_loads_whatever_became_of_its_card_and_golden(olah: Olah, proxy: Proxy, files: Files, cache: Path, changes: dict[str, bytes | None]) -> None:
    name = f"hf:owner/edited@{olah.add('owner/edited', {k: v for k, v in {**files, **changes}.items() if v is not None})}"
    card = {**files, **changes}["README.md"]
    assert skelzoo.info(name, endpoint=proxy.url, cache_dir=cache)["card"] == (card or b"").decode()
    encoder = load(name, proxy, cache)
    assert np.array_equal(encoder.embed(make_clip()), make_encoder().embed(make_clip()))
    assert encoder.card == card.decode() if card else "Saved by skelzoo" in encoder.card
    proxy.requests.clear()
    assert load(name, proxy, cache).card == encoder.card and not proxy.requests, "what it does without is not asked for again"
    assert [m.name for m in cached_models(Hub(proxy.url, cache))] == [name]
    with pytest.raises((IntegrityError, WeightsUnavailableError), match=next(iter(changes))):
        fetch(name, hub=Hub(proxy.url, cache))


@pytest.mark.parametrize("lost", ["README.md", "golden.safetensors"])
def test_a_cached_model_without_card_or_golden_loads_offline(proxy: Proxy, repo: Repo, cache: Path, lost: str) -> None:
    load(pinned(repo), proxy, cache)
    (path,) = cache.rglob(lost)
    path.unlink()
    assert load(pinned(repo), proxy, cache, local_files_only=True).name == pinned(repo)


def test_the_card_of_a_model_of_the_manifest_is_the_pinned_one(olah: Olah, proxy: Proxy, files: Files, cache: Path, manifest_of: Any) -> None:
    manifest_of(("owner/card", olah.add("owner/card", {**files, "README.md": EDITED})))
    assert "Edited" not in load("tiny", proxy, cache).card and not list(cache.rglob("README.md"))


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
@pytest.mark.parametrize("change", [lambda d: d[:-1] + bytes([d[-1] ^ 1]), lambda d: d + b" ", lambda d: d[:-1]])
def test_other_bytes_than_the_manifest_or_the_list_names(olah: Olah, proxy: Proxy, files: Files, cache: Path, manifest_of: Any, name: str, change: Any) -> None:
    """By the Hub's own word of size and sha256 before a byte is fetched, else by the bytes. They never enter the cache."""
    swapped = ("owner/swapped", olah.add("owner/swapped", {**files, name: change(files[name])}))
    manifest_of(swapped)
    for each in ("tiny", pinned(swapped)):
        with pytest.raises(IntegrityError, match=f"{name}: .*(has another file|gave other bytes)"):
            load(each, proxy, cache)
        assert not list(cache.rglob(name)) and not list(cache.rglob("*.incomplete"))
    assert ("model.safetensors" in proxy.seen()) == (name != "model.safetensors")


def test_bytes_that_change_on_the_way(proxy: Proxy, repo: Repo, cache: Path) -> None:
    for name in ("model.safetensors", "checksums.json"):
        proxy.faults = {name: Fault(body=lambda d: d[:100] + bytes([d[100] ^ 1]) + d[101:])}
        with pytest.raises(IntegrityError, match=f"{name}: .* gave other bytes"):
            load(pinned(repo), proxy, cache / name)
        assert not [p for p in (cache / name).rglob("*") if p.name == name or p.suffix == ".incomplete"]
    proxy.faults = {}
    assert load(pinned(repo), proxy, cache / "model.safetensors").name == pinned(repo)


def test_a_server_that_sends_more_than_it_said(proxy: Proxy, repo: Repo, cache: Path) -> None:
    proxy.faults["model.safetensors"] = Fault(body=lambda d: d + bytes(1_000_000))
    with pytest.raises(IntegrityError, match="sends more than the"):
        load(pinned(repo), proxy, cache)
    assert max(p.stat().st_size for p in cache.rglob("*") if p.is_file()) < 100_000


@pytest.mark.parametrize("reset", [False, True])
def test_a_connection_that_is_cut_once_goes_on_where_it_was(proxy: Proxy, repo: Repo, files: Files, cache: Path, reset: bool) -> None:
    proxy.faults["model.safetensors"] = Fault(times=1, cut=30_000, reset=reset)
    assert np.array_equal(load(pinned(repo), proxy, cache).embed(make_clip()), make_encoder().embed(make_clip()))
    ranges = [r.headers.get("range") for r in proxy.requests if r.method == "GET" and r.name == "model.safetensors"]
    assert ranges == [None, "bytes=30000-"] or (reset and len(ranges) == 2)


def test_a_connection_that_is_always_cut(proxy: Proxy, repo: Repo, cache: Path) -> None:
    proxy.faults["model.safetensors"] = Fault(cut=10_000)
    with pytest.raises(WeightsUnavailableError, match=r"model\.safetensors: .* broke off .*What was fetched is kept"):
        load(pinned(repo), proxy, cache)
    (part,) = cache.rglob("*.incomplete")
    assert part.stat().st_size == 30_000
    proxy.faults.clear()
    assert load(pinned(repo), proxy, cache).name == pinned(repo) and not list(cache.rglob("*.incomplete"))


def test_a_server_that_dies_in_the_middle_and_comes_back_without_ranges(olah: Olah, proxy: Proxy, repo: Repo, cache: Path) -> None:
    """olah itself serves whole files only: the rest is fetched with the beginning again."""
    with serving(dying := Proxy(olah.port)):
        dying.faults["model.safetensors"] = Fault(cut=20_000, body=lambda d: (dying.socket.close(), d)[1])
        with pytest.raises(WeightsUnavailableError, match=r"model\.safetensors: .* broke off"):
            load(pinned(repo), dying, cache)
    (part,) = cache.rglob("*.incomplete")
    assert part.stat().st_size == 20_000
    assert load(pinned(repo), f"http://127.0.0.1:{olah.port}", cache).name == pinned(repo)


def test_a_slow_server_is_waited_for(proxy: Proxy, repo: Repo, cache: Path) -> None:
    proxy.faults = {"checksums.json": Fault("HEAD", wait=2.7), "model.safetensors": Fault(pace=15_000), "config.json": Fault(wait=0.5)}
    assert load(pinned(repo), proxy, cache).name == pinned(repo)


@pytest.mark.parametrize("method", ["HEAD", "GET"])
@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_server_in_trouble(proxy: Proxy, repo: Repo, cache: Path, method: str, status: int) -> None:
    proxy.faults["config.json"] = Fault(method, status=status)
    start = time.perf_counter()
    with pytest.raises(WeightsUnavailableError, match=rf"config\.json: {proxy.url} answered {status}"):
        load(pinned(repo), proxy, cache)
    assert time.perf_counter() - start < 3 and not list(cache.rglob("config.json"))
    proxy.faults.clear()
    assert load(pinned(repo), proxy, cache).name == pinned(repo)


@pytest.mark.parametrize(("status", "says"), [(401, "refused the token. Check HF_TOKEN, token="), (403, "may not do this"), (407, "Check HTTP_PROXY")])
def test_a_refused_token_or_proxy(proxy: Proxy, repo: Repo, cache: Path, status: int, says: str) -> None:
    proxy.faults["checksums.json"] = Fault("HEAD", status=status, headers={"x-error-message": "Invalid credentials in Authorization header"})
    with pytest.raises(WeightsUnavailableError, match=f"answered {status}: ") as caught:
        load(pinned(repo), proxy, cache, token="hf_old")
    assert says in str(caught.value) and "try again" not in str(caught.value)


@pytest.mark.parametrize(
    "setting", [{"ALL_PROXY": "sucks://127.0.0.1:9"}, {"HF_TOKEN": "hf_\u00fc"}, {"HF_ENDPOINT": "http://127.0.0.1:abc"}], ids=lambda s: next(iter(s))
)
def test_an_environment_that_cannot_be_used(proxy: Proxy, repo: Repo, cache: Path, setting: dict[str, str]) -> None:
    said = run(proxy, cache, "fetch", pinned(repo), code=1, **setting)
    assert f"error: {pinned(repo)}, checksums.json: the proxy, token or endpoint of the environment cannot be used" in said.splitlines()[-1]
    assert "Traceback" not in said


def test_a_server_that_is_no_hub(proxy: Proxy, repo: Repo, cache: Path) -> None:
    proxy.faults["checksums.json"] = Fault("HEAD", status=200)
    for name in (pinned(repo), f"hf:{repo[0]}"):
        with pytest.raises(WeightsUnavailableError, match="Check HF_ENDPOINT"):
            load(name, proxy, cache)


def test_a_redirect_to_another_host_gets_no_token_and_is_not_trusted(olah: Olah, proxy: Proxy, repo: Repo, files: Files, cache: Path) -> None:
    with serving(other := Proxy(olah.port)):
        info = bytes_info(files["model.safetensors"])
        target = f"http://localhost:{other.server_address[1]}/{repo[0]}/resolve/{repo[1]}/model.safetensors"
        told = {"location": target, "x-repo-commit": repo[1], "x-linked-etag": info.sha256, "x-linked-size": str(info.size)}
        proxy.faults["model.safetensors"] = Fault("any", status=302, headers=told)
        other.faults["model.safetensors"] = Fault(times=1, body=lambda d: d[::-1])
        with pytest.raises(IntegrityError, match="gave other bytes"):
            load(pinned(repo), proxy, cache, token="hf_secret")
        assert load(pinned(repo), proxy, cache, token="hf_secret").name == pinned(repo)
        assert {r.headers.get("authorization") for r in other.requests} == {None} and {r.name for r in other.requests} == {"model.safetensors"}
        assert {r.headers.get("authorization") for r in proxy.requests} == {"Bearer hf_secret"}


@pytest.mark.parametrize("name", ["../../../../evil.txt", "/evil.txt", "blobs/../evil.txt", "evil.txt", "model.safetensors\0", "MODEL.safetensors"])
def test_a_checksum_list_that_names_other_files(olah: Olah, proxy: Proxy, files: Files, cache: Path, name: str) -> None:
    table = {**json.loads(files["checksums.json"]), name: {"size": 1, "sha256": "0" * 64}}
    commit = olah.add("owner/paths", {**files, "checksums.json": json.dumps(table).encode()})
    with pytest.raises(CheckpointError, match="a weights folder has only"):
        load(f"hf:owner/paths@{commit}", proxy, cache)
    assert set(proxy.seen()) == {"checksums.json"} and not [p for p in cache.parent.rglob("evil*")]


@pytest.mark.parametrize("etag", ["../../../../evil", "/evil", "", "x" * 40, "0" * 41])
def test_a_hash_that_is_a_path(proxy: Proxy, repo: Repo, cache: Path, etag: str) -> None:
    proxy.faults["model.safetensors"] = Fault("HEAD", headers={"etag": etag})
    with pytest.raises(WeightsUnavailableError, match="does not answer as a Hub does"):
        load(pinned(repo), proxy, cache)
    assert not [p for p in cache.parent.rglob("evil*")]


def test_a_symbolic_link_in_the_repository(olah: Olah, proxy: Proxy, files: Files, cache: Path) -> None:
    """git stores its target as text, which is all that is served."""
    commit = olah.add("owner/link", {**files, "config.json": Path("/etc/passwd")})
    with pytest.raises(IntegrityError, match=r"config\.json: .*has another file: 11 bytes"):
        load(f"hf:owner/link@{commit}", proxy, cache)


def test_a_cache_where_links_cannot_be_made_holds_copies(proxy: Proxy, repo: Repo, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(Path, "symlink_to", refused)
    assert load(pinned(repo), proxy, cache).labels == ("sit", "stand", "wave")
    assert not [p for p in cache.rglob("*") if p.is_symlink()]


@pytest.mark.parametrize("size", [1 << 62, 17 << 20, 10_000_000])
def test_a_safetensors_file_with_an_oversized_header(olah: Olah, proxy: Proxy, files: Files, cache: Path, size: int) -> None:
    body = b" " * (17 << 20) if size == 17 << 20 else b"{}"
    commit = olah.add("owner/header", relisted(files, model=size.to_bytes(8, "little") + body))
    with pytest.raises(CheckpointError, match=rf"model\.safetensors: not a safetensors file \(a header of {size} bytes"):
        load(f"hf:owner/header@{commit}", proxy, cache)


def test_a_config_that_names_a_class_to_import(olah: Olah, proxy: Proxy, files: Files, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "evil_module.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\nclass Evil: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    config = json.loads(files["config.json"])
    for changes, error in (
        ({"auto_map": {"AutoModel": "evil_module.Evil"}}, CheckpointError),
        ({"arch": "evil_module.Evil"}, UnknownArchError),
        ({"options": {"_target_": "evil_module.Evil"}}, CheckpointError),
        ({"contract": {**config["contract"], "steps": [{"step": "evil_module.Evil"}]}}, CheckpointError),
    ):
        commit = olah.add("owner/inert", relisted({**files, "evil_module.py": b"raise SystemExit"}, config=json.dumps(config | changes).encode()))
        with pytest.raises(error):
            load(f"hf:owner/inert@{commit}", proxy, cache)
    assert "evil_module" not in sys.modules and not (tmp_path / "ran").exists() and not list(cache.rglob("evil*"))


def test_huge_json(olah: Olah, proxy: Proxy, files: Files, cache: Path) -> None:
    commit = olah.add("owner/huge", {**files, "checksums.json": b" " * (MAX_JSON + 1)})
    with pytest.raises(IntegrityError, match=r"checksums\.json: has 4194305 bytes, more than the 4194304 that are read. Nothing was fetched"):
        load(f"hf:owner/huge@{commit}", proxy, cache)
    assert proxy.seen() == []
    for name, data in (("long", files["config.json"] + b" " * MAX_JSON), ("deep", b"[" * 100_000), ("nested", b"[" * 900 + b"]" * 900)):
        commit = olah.add(f"owner/{name}", relisted(files, config=data))
        with pytest.raises(CheckpointError, match=r"config\.json: not JSON"):
            load(f"hf:owner/{name}@{commit}", proxy, cache)


def test_a_manifest_whose_config_disagrees_with_the_weights(olah: Olah, proxy: Proxy, files: Files, cache: Path, manifest_of: Any) -> None:
    whole = ("owner/whole", olah.add("owner/whole", files))
    manifest_of(whole)
    assert load("tiny", proxy, cache).name == "tiny"
    manifest_of(whole, labels=["a", "b", "c"])
    with pytest.raises(CheckpointError, match="is not the config of the manifest"):
        load("tiny", proxy, cache)
    tensors = {k: v for k, v in load_tensors(files["model.safetensors"]).items()}
    other = relisted(files, model=save({**tensors, "head.bias": torch.zeros(4)}))
    manifest_of(("owner/whole", olah.add("owner/whole", other)), other)
    with pytest.raises(CheckpointError, match=r"head.bias has shape \(4,\), the net needs \(3,\)"):
        load("tiny", proxy, cache)


def test_a_full_disk(proxy: Proxy, repo: Repo, cache: Path) -> None:
    """The limit of a process on the size of files stands for the disk's."""
    code = f"import skelzoo; skelzoo.load('{pinned(repo)}', device='cpu')"
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20000, {resource.RLIM_INFINITY})); "
    done = subprocess.run([sys.executable, "-c", limit + code], env=environment(proxy, cache), capture_output=True, text=True)
    assert "skelzoo.errors.WriteError" in done.stderr and f"the cache {cache}/hub cannot be used (File too large). Make room" in done.stderr
    assert not list(cache.rglob("model.safetensors"))
    assert load(pinned(repo), proxy, cache / "hub").name == pinned(repo)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a disk")
def test_a_small_disk(proxy: Proxy, repo: Repo, cache: Path) -> None:
    cache.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48k", "tmpfs", cache], capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount a disk")
    try:
        with pytest.raises(WriteError, match=r"No space left on device.*Make room"):
            load(pinned(repo), proxy, cache)
        assert not list(cache.rglob("model.safetensors"))
        subprocess.run(["mount", "-o", "remount,size=10m", cache], check=True)
        assert load(pinned(repo), proxy, cache).name == pinned(repo)
        subprocess.run(["mount", "-o", "remount,ro", cache], check=True)
        assert load(pinned(repo), proxy, cache).name == pinned(repo)
        with pytest.raises(WriteError, match="Read-only file system"):
            fetch(pinned(repo), hub=Hub(proxy.url, cache / "new"))
    finally:
        subprocess.run(["umount", cache], check=True)


def test_a_cache_that_may_not_be_written(proxy: Proxy, repo: Repo, cache: Path) -> None:
    cache.write_text("a file in its place")
    with pytest.raises(WriteError, match=r"cache .* cannot be used \((Not a directory|File exists)\).*HF_HOME or cache_dir="):
        load(pinned(repo), proxy, cache)
    assert cache.read_text() == "a file in its place"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_no_permission(proxy: Proxy, repo: Repo, cache: Path) -> None:
    cache.mkdir(mode=0o500)
    with pytest.raises(WriteError, match="Permission denied"):
        load(pinned(repo), proxy, cache)


def test_a_pinned_name_needs_all_of_its_commit(proxy: Proxy, repo: Repo, cache: Path) -> None:
    """Another commit than was asked for is not taken for it."""
    proxy.faults["model.safetensors"] = Fault("HEAD", headers={"x-repo-commit": "ab" * 20})
    with pytest.raises(SkelzooError, match="does not answer as a Hub does"):
        load(pinned(repo), proxy, cache)


def test_every_error_is_one_of_skelzoo(cache: Path) -> None:
    for name in ("hf:a--b/c", f"hf:a/{'x' * 200}", "hf:a/b.git@main"):
        with pytest.raises(WeightsUnavailableError):
            load(name, f"http://127.0.0.1:{free_port()}", cache)
