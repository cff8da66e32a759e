"""Publishing: what is refused before anything is sent, the requests that are sent, and what the manifest says then.

No server that runs here takes uploads, so they go to one of the test that answers in the shapes of the Hub's API
(create repository, pre-upload, LFS batch, commit) and hands what came to olah, from which it is loaded again.
"""

from __future__ import annotations

import base64
import errno
import json
import os
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from hub_server import Olah, free_port, serving
from tiny import make_clip, make_encoder

import skelzoo
from skelzoo.cli import main
from skelzoo.errors import CheckpointError, ManifestError, SkelzooError, WeightsUnavailableError, WriteError
from skelzoo.learn.protocols import PROTOCOLS
from skelzoo.publishing import publish
from skelzoo.weights import entries
from skelzoo.weights import manifest as manifest_module
from skelzoo.weights.cards import ACCURACIES
from skelzoo.weights.hub import Hub

ABOUT: dict[str, Any] = {
    "family": "SkeAttnCLR", "summary": "A small one: made up.", "license": "CC-BY-4.0", "license_reason": "Made-up data.", "commercial_use": True,
    "trained_on": ["Made-up motions, all of them (CC0)"], "command": "skelzoo pretrain tiny --data DATA", "notes": ["A note."],
    "metrics": [{"dataset": "NW-UCLA", "protocol": "knn", "value": 61.5, "source": "skelzoo eval tiny"}],
}  # fmt: skip


class Uploads(ThreadingHTTPServer):
    """Answers as the Hub does to uploads, and keeps them as commits of olah."""

    daemon_threads = True

    def __init__(self, olah: Olah | None) -> None:
        super().__init__(("127.0.0.1", 0), _Upload)
        self.olah = olah
        self.calls: list[tuple[str, str]] = []
        self.objects: dict[str, bytes] = {}
        self.commits: list[list[dict[str, Any]]] = []
        self.tokens: set[str | None] = set()
        self.created: list[dict[str, Any]] = []
        self.status = 200

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def answer(self, path: str, body: bytes) -> dict[str, Any]:
        if path.endswith("/preupload/main"):
            names = [f["path"] for f in json.loads(body)["files"]]
            return {"files": [{"path": n, "uploadMode": "lfs" if n.endswith(".safetensors") else "regular", "shouldIgnore": False} for n in names]}
        if path.endswith("/objects/batch"):
            wanted = json.loads(body)["objects"]
            return {"transfer": "basic", "objects": [{**o, "actions": {"upload": {"href": f"{self.url}/put/{o['oid']}"}}} for o in wanted]}
        if path.startswith("/put/"):
            self.objects[path[5:]] = body
        if path.endswith("/commit/main"):
            self.commits.append([json.loads(line) for line in body.splitlines()])
            repo = path.removeprefix("/api/models/").removesuffix("/commit/main")
            files = {r["value"]["path"]: base64.b64decode(r["value"]["content"]) for r in self.commits[-1] if r["key"] == "file"}
            files |= {r["value"]["path"]: self.objects[r["value"]["oid"]] for r in self.commits[-1] if r["key"] == "lfsFile"}
            commit = self.olah.add(repo, files) if self.olah else "ab" * 20
            return {"commitUrl": f"{self.url}/{repo}/commit/{commit}", "commitOid": commit}
        if path == "/api/repos/create":
            self.created.append({key: value for key, value in json.loads(body).items() if key != "type"})
        return {"url": f"{self.url}/owner/tiny-new"} if path == "/api/repos/create" else {}


class _Upload(BaseHTTPRequestHandler):
    server: Uploads
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        path = self.path.partition("?")[0]
        self.server.calls.append((self.command, path))
        self.server.tokens |= {self.headers.get("authorization")} if self.command == "POST" else set()
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        data = json.dumps(self.server.answer(path, body) if self.server.status == 200 else {"error": "no"}).encode()
        self.send_response_only(self.server.status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_PUT = do_POST

    def log_message(self, format: str, *args: Any) -> None:
        return


@pytest.fixture
def uploads(monkeypatch: pytest.MonkeyPatch) -> Iterator[Uploads]:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    with serving(server := Uploads(None)):
        yield server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_encoder().save(tmp_path / "tiny-new")


@pytest.fixture
def about(tmp_path: Path) -> Path:
    (tmp_path / "about.json").write_text(json.dumps(ABOUT))
    return tmp_path / "about.json"


@pytest.fixture(autouse=True)
def own_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The manifest of the package, copied, so that the tests may write in it."""
    path = Path(shutil.copy(manifest_module.manifest_path(), tmp_path / "weights_manifest.json"))
    for module in ("weights.manifest", "weights.entries", "publishing"):
        monkeypatch.setattr(f"skelzoo.{module}.manifest_path", lambda: path)
    manifest_module.manifest.cache_clear()
    yield path
    manifest_module.manifest.cache_clear()


def test_published_uploaded_in_one_commit_pinned_and_loaded_again(olah: Olah, uploads: Uploads, folder: Path, about: Path, own_manifest: Path) -> None:
    uploads.olah = olah
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    done = publish(folder, "owner/tiny-new", about=about, hub=Hub(uploads.url, token="hf_secret"))
    assert len(uploads.commits) == 1 and uploads.tokens == {"Bearer hf_secret"}
    kinds = {r["value"]["path"]: r["key"] for r in uploads.commits[0] if r["key"] != "header"}
    assert kinds == {
        "model.safetensors": "lfsFile", "golden.safetensors": "lfsFile", "config.json": "file", "README.md": "file", "checksums.json": "file"
    }  # fmt: skip
    assert [path for _, path in uploads.calls if not path.startswith("/put/")] == [
        "/api/repos/create", "/api/validate-yaml", "/api/models/owner/tiny-new/preupload/main",
        "/owner/tiny-new.git/info/lfs/objects/batch", "/api/models/owner/tiny-new/commit/main",
    ]  # fmt: skip
    entry = skelzoo.info("tiny-new")
    assert entry["weights"]["source"] == done.pinned and done.pinned.startswith("hf:owner/tiny-new@") and done.manifest == own_manifest
    cache = folder.parent / "cache"
    encoder = skelzoo.load("tiny-new", device="cpu", endpoint=f"http://127.0.0.1:{olah.port}", cache_dir=cache)
    assert np.array_equal(encoder.embed(make_clip()), make_encoder().embed(make_clip())) and "tiny-new" in skelzoo.list_models(pretrained=True)
    assert skelzoo.verify("tiny-new", device="cpu", cache_dir=cache, local_files_only=True).ok
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


def test_the_manifest_of_an_installed_package_is_not_written_in(
    uploads: Uploads, folder: Path, about: Path, own_manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = own_manifest.parent / "site-packages/skelzoo"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    installed = own_manifest.rename(package / own_manifest.name)
    before = installed.read_bytes()
    for module in ("weights.manifest", "weights.entries", "publishing"):
        monkeypatch.setattr(f"skelzoo.{module}.manifest_path", lambda: installed)
    monkeypatch.setattr(os, "access", lambda path, mode: package not in (Path(path), *Path(path).parents))
    dry = publish(folder, "owner/tiny-new", about=about, dry_run=True)
    assert dry.manifest == folder.parent / "tiny-new.entry.json" and not dry.manifest.exists()
    done = publish(folder, "owner/tiny-new", about=about, hub=Hub(uploads.url, token="hf_no"))
    (entry,) = json.loads(done.manifest.read_text()).items()
    assert done.manifest == dry.manifest and entry[0] == "tiny-new" and entry[1]["weights"]["source"] == done.pinned
    again = publish(folder, "owner/other", about=about, hub=Hub(uploads.url, token="hf_no"))
    rows = json.loads(again.manifest.read_text())
    assert list(rows) == ["tiny-new", "other"] and [row["weights"]["source"] for row in rows.values()] == [done.pinned, again.pinned]
    assert installed.read_bytes() == before and len(os.listdir(package)) == 2 and "tiny-new" not in skelzoo.list_models()
    sent = len(uploads.calls)
    for text in ('{"tasks": {"pick": 3}}', "[1]", "[" * 100_000, "notes"):
        done.manifest.write_text(text)
        with pytest.raises(WriteError, match=r"tiny-new\.entry\.json: is there, and is no earlier result .* move that file away; nothing was written"):
            publish(folder, "owner/tiny-new", about=about, hub=Hub(uploads.url))
        assert done.manifest.read_text() == text and len(uploads.calls) == sent


def test_two_that_publish_at_once_lose_no_entry(folder: Path, own_manifest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = next(iter(json.loads(own_manifest.read_text())["models"].values()))
    check, second = entries.check_entry, threading.Thread(target=entries.write_entry, args=("second", row))

    def slow(name: str, row: dict[str, Any]) -> str:
        text = check(name, row)
        if name == "first":
            second.start()
            second.join(0.5)
        return text

    monkeypatch.setattr(entries, "check_entry", slow)
    entries.write_entry("first", row)
    second.join()
    assert {"first", "second"} <= json.loads(own_manifest.read_text())["models"].keys()


def test_the_card_has_the_metadata_of_the_hub(folder: Path, about: Path) -> None:
    card = publish(folder, "owner/tiny-new", about=about, dry_run=True).card
    data = yaml.safe_load(card.split("---\n")[1])
    assert (data["license"], data["library_name"], data["datasets"]) == ("cc-by-4.0", "skelzoo", ["made-up-motions"])
    assert {"skeleton", "action-recognition", "skeattnclr"} <= set(data["tags"])
    (result,) = data["model-index"][0]["results"]
    assert data["model-index"][0]["name"] == "tiny-new" and result["dataset"] == {"name": "NW-UCLA", "type": "nw-ucla"}
    assert result["metrics"] == [{"type": "accuracy", "value": 61.5, "name": "knn"}]
    assert "# tiny-new" in card and "A note." in card and "skelzoo eval tiny" in card


def test_the_metadata_holds_only_the_models_own_accuracies(folder: Path, tmp_path: Path) -> None:
    assert {*ACCURACIES, "retrieval"} == set(PROTOCOLS)
    own, others = ["linear", "head, top-1"], ["retrieval", "knn, random weights", "linear, statistics baseline", "head, calibration error in percent"]
    for told, known in (([*own, *others], own), (others, [])):
        metrics = [{"dataset": "NW-UCLA", "protocol": p, "value": 50.5, "source": "skelzoo eval tiny"} for p in told]
        (tmp_path / "more.json").write_text(json.dumps({**ABOUT, "metrics": metrics}))
        card = publish(folder, "owner/tiny-new", about=tmp_path / "more.json", dry_run=True).card
        results = yaml.safe_load(card.split("---\n")[1]).get("model-index", [{}])[0].get("results", [])
        assert [m["name"] for r in results for m in r["metrics"]] == known and all(f"| NW-UCLA | {p} | 50.5 |" in card for p in told)


def test_the_card_tells_what_the_head_confuses_apart_from_what_was_measured(folder: Path, tmp_path: Path) -> None:
    counted = {"dataset": "openskel, walk", "protocol": "head, clips taken for run", "value": 12, "source": "skelzoo pretrain tiny"}
    (tmp_path / "more.json").write_text(json.dumps({**ABOUT, "metrics": [*ABOUT["metrics"], counted]}))
    card = publish(folder, "owner/tiny-new", about=tmp_path / "more.json", dry_run=True).card
    assert "| held out | taken for | clips |\n| --- | --- | --- |\n| openskel, walk | run | 12 |\n\n## Notes" in card
    assert card.count("openskel, walk") == 1 and card.count("61.5") == 2
    (tmp_path / "more.json").write_text(json.dumps({**ABOUT, "metrics": [counted]}))
    with pytest.raises(ManifestError, match="without a measured number"):
        publish(folder, "owner/tiny-new", about=tmp_path / "more.json", dry_run=True)


def test_a_dry_run_sends_and_changes_nothing(uploads: Uploads, folder: Path, about: Path, own_manifest: Path) -> None:
    before = own_manifest.read_bytes()
    done = publish(folder, "owner/tiny-new", about=about, dry_run=True, hub=Hub(uploads.url))
    assert done.pinned == "" and uploads.calls == [] and own_manifest.read_bytes() == before
    said = CliRunner().invoke(main, ["publish", str(folder), "--to", "owner/tiny-new", "--about", str(about), "--dry-run"])
    assert said.exit_code == 0 and "everything is in order; nothing was sent" in said.output and "license: cc-by-4.0" in said.output


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"license": "unknown"}, "without a licence are not published"),
        ({"license": ""}, "without a licence are not published"),
        ({"metrics": []}, "without a measured number is not published"),
        ({"metrics": [{"dataset": "x"}]}, "the keys must be exactly"),
        ({"metrics": [{**ABOUT["metrics"][0], "value": "good"}]}, "value cannot be 'good'"),
        ({"trained_on": "everything"}, "must be lists"),
        ({"commercial_use": "yes"}, r"about\.json: commercial_use cannot be 'yes'\. It must be true or false"),
        ({"license": 4}, r"about\.json: license cannot be 4\. It must be text"),
        ({"notes": [1]}, r"about\.json: notes cannot be \[1\]\. It must be lists of texts"),
        ({"metrics": [{**ABOUT["metrics"][0], "value": float("nan")}]}, "value cannot be nan. It must be a finite number"),
        ({"colour": "red"}, "the keys must be exactly"),
    ],
)
def test_nothing_is_sent_without_licence_provenance_and_metrics(uploads: Uploads, folder: Path, about: Path, change: dict[str, Any], says: str) -> None:
    about.write_text(json.dumps(ABOUT | change))
    with pytest.raises(ManifestError, match=says):
        publish(folder, "owner/tiny-new", about=about, hub=Hub(uploads.url))
    assert uploads.calls == []


def test_nothing_is_sent_of_a_damaged_folder_or_under_a_taken_name(uploads: Uploads, folder: Path, about: Path, tmp_path: Path) -> None:
    hub = Hub(uploads.url)
    for name, says in (("skeattnclr-openskel", "another config"), ("a b", "not a name")):
        with pytest.raises(CheckpointError, match=says):
            publish(folder, "owner/tiny-new", name=name, about=about, hub=hub)
    with pytest.raises(ManifestError, match="--about FILE"):
        publish(folder, "owner/tiny-new", hub=hub)
    with pytest.raises(ManifestError, match="cannot be read"):
        publish(folder, "owner/tiny-new", about=tmp_path / "none.json", hub=hub)
    (folder / "golden.safetensors").write_bytes(b"other")
    with pytest.raises(CheckpointError, match=r"damaged.*golden\.safetensors"):
        publish(folder, "owner/tiny-new", about=about, hub=hub)
    assert uploads.calls == []


@pytest.mark.parametrize("repo", ["physio", "a/b/c", "-x/y", ""])
def test_a_repository_is_owner_and_name(uploads: Uploads, folder: Path, about: Path, repo: str) -> None:
    with pytest.raises(WeightsUnavailableError, match=r"is not the name of a repository of the Hub\. Give owner/repo"):
        publish(folder, repo, name="tiny-new", about=about, hub=Hub(uploads.url))
    with pytest.raises(WeightsUnavailableError, match=r"Give owner/repo.*Nothing was sent"):
        make_encoder().push_to_hub(repo, endpoint=uploads.url, token="hf_no")
    assert uploads.calls == []


def test_private_publications_of_local_folders(uploads: Uploads, folder: Path, about: Path) -> None:
    """Also of one whose card was edited: publishing writes a new one."""
    (folder / "README.md").write_text("# Mine\n")
    said = CliRunner().invoke(main, ["verify", f"local:{folder}", "--device", "cpu"])
    assert said.exit_code == 0 and "card   " in said.stderr and "is not the card that was saved" in said.stderr
    done = publish(f"local:{folder}", "owner/tiny-new", about=about, private=True, hub=Hub(uploads.url, token="hf_no"))
    assert 'skelzoo.load("hf:owner/tiny-new")' in done.card and uploads.created == [{"name": "tiny-new", "organization": "owner", "visibility": "private"}]


def test_a_hub_that_refuses_or_is_gone(uploads: Uploads, folder: Path, about: Path, own_manifest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = own_manifest.read_bytes()
    uploads.status = 403
    with pytest.raises(WeightsUnavailableError, match="answered 403"):
        publish(folder, "owner/tiny-new", about=about, hub=Hub(uploads.url, token="hf_no"))
    with pytest.raises(
        WeightsUnavailableError, match=r"cannot be reached.*Nothing was committed; the same command tries again\. Check the connection and HF_ENDPOINT\.$"
    ):
        make_encoder().push_to_hub("owner/tiny-new", endpoint=f"http://127.0.0.1:{free_port()}", token="hf_no")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(SkelzooError, match="HF_HUB_OFFLINE is set"):
        make_encoder().push_to_hub("owner/tiny-new", endpoint=uploads.url)
    assert own_manifest.read_bytes() == before


def test_encoders_go_to_the_hub_and_come_back(olah: Olah, uploads: Uploads, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    uploads.olah = olah
    name = make_encoder().push_to_hub("owner/mine", card="# Mine\n", private=True, endpoint=uploads.url, token="hf_secret")
    assert "LFS" not in capfd.readouterr().err  # no bars where there is no terminal
    again = skelzoo.Encoder.from_pretrained(name, device="cpu", endpoint=f"http://127.0.0.1:{olah.port}", cache_dir=tmp_path / "cache")
    assert again.name == name and np.array_equal(again.embed(make_clip()), make_encoder().embed(make_clip()))
    assert skelzoo.Encoder.from_pretrained("skeattnclr-openskel", device="cpu", num_classes=3).config.num_classes == 3


def test_a_full_folder_for_temporary_files(uploads: Uploads, folder: Path, about: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("checkpoint", "files"):
        monkeypatch.setattr(f"skelzoo.weights.{place}.write_checksums", Mock(side_effect=OSError(errno.ENOSPC, "No space left on device")))
    for send in (
        lambda: publish(folder, "owner/tiny-new", about=about, hub=Hub(uploads.url)),
        lambda: make_encoder().push_to_hub("owner/mine", endpoint=uploads.url),
    ):
        with pytest.raises(WriteError, match=r"\(No space left on device\)\. Set TMPDIR to a folder with room\. Nothing was sent"):
            send()
    assert uploads.calls == []
