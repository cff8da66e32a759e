"""A Hub on loopback: olah, serving git repositories that the test makes, and a proxy before it that breaks things.

olah does not serve ranges, answers a commit that is not there with 500, and takes no uploads. The proxy adds ranges.
"""

from __future__ import annotations

import hashlib
import http.client
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

GIT = ["git", "-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "init.defaultBranch=main"]
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize {}\n"


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


class Olah:
    """The server, and the repositories it serves."""

    def __init__(self, folder: Path) -> None:
        program = shutil.which("olah-cli", path=str(Path(sys.executable).parent)) or shutil.which("olah-cli")
        if program is None:
            pytest.skip("olah is not installed; it is in the test extra")
        self.folder, self.port = folder, free_port()
        config = folder / "olah.toml"
        config.write_text(
            f'[basic]\nhost = "127.0.0.1"\nport = {self.port}\nrepos-path = "{folder}/repos"\nmirrors-path = ["{folder}/mirrors"]\n'
            "[accessibility]\noffline = true\n"
        )
        with (folder / "olah.log").open("wb") as log:
            self.process = subprocess.Popen([program, "--config", config, "--log-path", folder / "logs"], stdout=log, stderr=log, cwd=folder)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self.process.poll() is None:
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.1)
        raise AssertionError((folder / "olah.log").read_text())

    def add(self, repo: str, files: Mapping[str, bytes | Path], lfs: tuple[str, ...] = ("model.safetensors", "golden.safetensors")) -> str:
        """A commit of these files, and no others; a Path becomes a symbolic link to it.

        Returns:
            The full commit.
        """
        folder = self.folder / "mirrors/models" / repo
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / ".git").exists():
            subprocess.run([*GIT, "init", "-q"], cwd=folder, check=True)
        for old in folder.iterdir():
            if old.name != ".git":
                old.unlink()
        for name, data in files.items():
            if isinstance(data, Path):
                (folder / name).symlink_to(data)
            elif name in lfs:
                sha = hashlib.sha256(data).hexdigest()
                kept = folder / ".git/lfs/objects" / sha[:2] / sha[2:4] / sha
                kept.parent.mkdir(parents=True, exist_ok=True)
                kept.write_bytes(data)
                (folder / name).write_text(POINTER.format(sha, len(data)))
            else:
                (folder / name).write_bytes(data)
        subprocess.run([*GIT, "add", "-A"], cwd=folder, check=True)
        subprocess.run([*GIT, "commit", "-q", "--allow-empty", "-m", "a commit"], cwd=folder, check=True)
        return subprocess.run([*GIT, "rev-parse", "HEAD"], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()

    def git(self, repo: str, *command: str) -> None:
        subprocess.run([*GIT, *command], cwd=self.folder / "mirrors/models" / repo, check=True)


@dataclass
class Fault:
    """What the proxy does to requests of a file.

    Attributes:
        method: of the requests, or any.
        times: how many of them, then no more.
        status: answer with this and nothing else.
        cut: end the connection after so many bytes of the body; ``reset`` it instead of closing.
        wait: seconds before the answer.
        pace: bytes per twentieth of a second.
        body: change of the body.
        headers: in place of those of the answer.
    """

    method: str = "GET"
    times: int = 10**6
    status: int = 0
    cut: int | None = None
    reset: bool = False
    wait: float = 0
    pace: int = 0
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: dict[str, str]

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


class Proxy(ThreadingHTTPServer):
    """Hands requests on to olah, counts them, and breaks those it is told to."""

    daemon_threads = True

    def __init__(self, olah_port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.olah_port = olah_port
        self.faults: dict[str, Fault] = {}
        self.requests: list[Request] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def seen(self, method: str = "GET") -> list[str]:
        """Names of the files that were asked for, in order."""
        return [r.name for r in self.requests if r.method == method]

    def fault(self, request: Request) -> Fault:
        fault = self.faults.get(request.name)
        if fault is None or fault.method not in (request.method, "any") or fault.times <= 0:
            return Fault()
        fault.times -= 1
        return fault


class _Handler(BaseHTTPRequestHandler):
    server: Proxy
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        request = Request(self.command, self.path, {k.lower(): v for k, v in self.headers.items()})
        self.server.requests.append(request)
        fault = self.server.fault(request)
        time.sleep(fault.wait)
        if fault.status:
            self.reply(fault.status, fault.headers, b"")
            return
        upstream = http.client.HTTPConnection("127.0.0.1", self.server.olah_port, timeout=30)
        upstream.request(self.command, self.path)
        answer = upstream.getresponse()
        body, headers = answer.read(), {k.lower(): v for k, v in answer.getheaders() if k.lower() not in ("transfer-encoding", "connection")}
        upstream.close()
        body = fault.body(body) if fault.body else body
        headers = {"content-length": str(len(body)), **headers, **fault.headers}
        status = answer.status
        first = int(request.headers.get("range", "bytes=0-")[6:].partition("-")[0])
        if first and status == 200 and self.command == "GET":
            status, headers["content-range"], body = 206, f"bytes {first}-{len(body) - 1}/{len(body)}", body[first:]
            headers["content-length"] = str(len(body))
        self.reply(status, headers, body, fault)

    do_HEAD = do_GET

    def reply(self, status: int, headers: Mapping[str, str], body: bytes, fault: Fault | None = None) -> None:
        fault = fault or Fault()
        self.send_response_only(status)
        for key, value in {"content-length": str(len(body)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        step = fault.pace or len(body) or 1
        body = body if fault.cut is None else body[: fault.cut]
        try:
            for start in range(0, len(body), step):
                self.wfile.write(body[start : start + step])
                time.sleep(0.05 if fault.pace else 0)
        except ConnectionError:  # the client was killed
            self.close_connection = True
        if fault.cut is not None:
            self.wfile.flush()
            time.sleep(0.1)
            if fault.reset:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
            self.close_connection = True

    def finish(self) -> None:
        try:
            super().finish()
        except (OSError, ValueError):  # reset above
            return

    def log_message(self, format: str, *args: Any) -> None:
        return


@contextmanager
def serving(server: ThreadingHTTPServer) -> Iterator[None]:
    """Serve in a thread until the end of the block."""
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
