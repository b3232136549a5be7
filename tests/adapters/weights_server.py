"""A web server and a small Hugging Face hub in this process: nothing of these tests leaves the machine."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

COMMIT = "c0ffee" + "0" * 34


@dataclass
class Served:
    """One file and how the server behaves about it."""

    content: bytes
    etag: str | None = '"v1"'
    ranges: bool = True
    mistaken: bool = False
    """Answers a request for the rest with all of it, as if that were the rest."""
    cuts: list[int] = field(default_factory=list)
    """For each of the next requests, after how many bytes the connection is cut."""
    statuses: list[int] = field(default_factory=list)
    """Answers to the next requests before it is given."""
    kind: str = "application/octet-stream"
    redirect: str | None = None
    states_length: bool = True


@dataclass
class Request:
    """What a client asked for."""

    method: str
    path: str
    headers: dict[str, str]


class Site:
    """Files by path, and the requests that came."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.files: dict[str, Served] = {}
        self.trees: dict[str, list[str]] = {}
        self.gone: dict[str, str] = {}
        self.requests: list[Request] = []

    def add(self, path: str, content: bytes, **how: Any) -> str:
        """Serves `content` at `path` and returns its address."""
        self.files[path] = Served(content, **how)
        return self.address + path

    def add_to_hub(self, repository: str, filename: str, content: bytes, *, large: bool = True, cdn: str = "") -> None:
        """Publishes a file as the hub does: a large one by its SHA-256, and its bytes on another host if `cdn`."""
        digest = hashlib.sha256(content).hexdigest() if large else hashlib.sha1(content).hexdigest()
        for revision in ("main", COMMIT):
            path = f"/{repository}/resolve/{revision}/{filename}"
            self.add(path, content, etag=f'"{digest}"', redirect=cdn or None)
        self.trees.setdefault(repository, []).append(filename)

    def asked(self, method: str = "GET") -> list[Request]:
        """The requests of one method."""
        return [request for request in self.requests if request.method == method]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    site: Site

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _answer(self, *, body: bool) -> None:
        path = unquote(self.path.partition("?")[0])
        self.site.requests.append(Request(self.command, path, {k.title(): v for k, v in self.headers.items()}))
        served = self.site.files.get(path)
        if path.startswith("/api/models/"):
            self._listing(path)
        elif served is None:
            self._plain(404, {"X-Error-Code": self._reason(path)})
        elif served.statuses:
            self._plain(served.statuses.pop(0), {"Retry-After": "0"})
        else:
            hub = {"X-Repo-Commit": COMMIT, "X-Linked-Size": str(len(served.content))} if "/resolve/" in path else {}
            if served.redirect is None:
                self._give(served, hub, body=body)
            else:
                self._plain(302, {**hub, "Location": served.redirect, "X-Linked-Etag": served.etag or ""})

    def _give(self, served: Served, headers: dict[str, str], *, body: bool) -> None:
        content, status = served.content, 200
        asked = self.headers.get("Range")
        condition = self.headers.get("If-Range")
        if asked and served.ranges and condition in (None, served.etag):
            start = 0 if served.mistaken else int(asked.removeprefix("bytes=").rstrip("-"))
            if start >= len(content):
                self._plain(416, {"Content-Range": f"bytes */{len(content)}"})
                return
            headers = {**headers, "Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
            content, status = content[start:], 206
        self.send_response(status)
        self.send_header("Content-Type", served.kind)
        if served.states_length:
            self.send_header("Content-Length", str(len(content)))
        else:
            self.send_header("Connection", "close")
        if served.etag:
            self.send_header("ETag", served.etag)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            cut = served.cuts.pop(0) if served.cuts else None
            self.wfile.write(content[:cut])
            self.close_connection = cut is not None or not served.states_length

    def _plain(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _reason(self, path: str) -> str:
        repository = "/".join(path.split("/")[1:3])
        return self.site.gone.get(repository) or ("EntryNotFound" if repository in self.site.trees else "RepoNotFound")

    def _listing(self, path: str) -> None:
        repository = path.removeprefix("/api/models/").partition("/tree/")[0]
        rows = [{"type": "file", "path": name, "size": 1, "oid": "0" * 40} for name in self.site.trees[repository]]
        body = json.dumps(rows).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is what some tests are about."""


@contextmanager
def serving(host: str = "127.0.0.1") -> Iterator[Site]:
    """A site on a free port of this machine."""
    handler = type("Handler", (_Handler,), {})
    server = _Server((host, 0), handler)
    site = Site(f"http://{host}:{server.server_address[1]}")
    handler.site = site  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
