"""One file over http(s): goes on where an earlier attempt stopped, checked before it gets its name.

Bytes arrive in `.partial-<name>` beside the target, with a note of what they are part of. They are only added to when
the server confirms that it still is the same file (If-Range), or when a checksum will tell. The file appears under its
own name once it is whole and its SHA-256 is right. hf_hub_download is not used for the transfer: since release 1 of
huggingface_hub a killed download starts again from nothing.
"""

from __future__ import annotations

import http.client
import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from email.message import Message
from pathlib import Path
from typing import IO, NamedTuple
from urllib.parse import urlsplit

from foundation.errors import BenchError, CheckError, MissingError, StorageError, UsageError, storage_error
from foundation.files import TEMPORARY_PREFIX, exclusive, read_json, write_json
from foundation.hashing import hash_file
from foundation.progress import Progress, silent

ATTEMPTS = 5
"""Attempts in a row that may end without a single new byte."""

TIMEOUT = 30.0
"""Seconds without a byte after which a connection counts as lost."""

LONGEST_WAIT = 60.0
"""Seconds that a server may ask us to wait before the next attempt."""

_PIECE = 1 << 20
_BUSY = (408, 425, 429, 500, 502, 503, 504)


class Remote(NamedTuple):
    """A file on a server."""

    url: str
    """Where the bytes come from; may be signed and short-lived."""
    address: str
    """The lasting address, by which a half-finished download is known again."""
    sha256: str | None = None
    size: int | None = None
    headers: Mapping[str, str] = {}
    """Sent to this host only, never to one that it redirects to."""


class Downloaded(NamedTuple):
    """What has arrived."""

    path: Path
    size: int
    sha256: str
    kept: int
    """Bytes that an earlier run had left."""


def download(remote: Remote, target: Path, progress: Progress = silent, *, pause: float = 1.0) -> Downloaded:
    """Fetches `remote` to `target`, going on with what an earlier run has left.

    `pause` is the first wait in seconds before another attempt; it doubles each time.
    """
    _require_web(remote)
    partial = target.with_name(TEMPORARY_PREFIX + target.name)
    with exclusive(partial, wait=False) as free:
        if not free:
            raise UsageError(
                f"{target.name} is being downloaded by another process",
                where=str(partial),
                way_out="wait for it, or end it and run again",
            )
        try:
            transfer = _Transfer(remote, partial, progress)
            transfer.run(pause)
            return _finish(transfer, target)
        except OSError as error:
            raise storage_error(error, target) from error
        finally:
            if partial.is_file() and not partial.stat().st_size:
                partial.unlink()


class _LostError(Exception):
    """The connection ended early, or the server asks to come again."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


class _Transfer:
    """The bytes of one file, over as many connections as it takes."""

    def __init__(self, remote: Remote, partial: Path, progress: Progress) -> None:
        self.remote = remote
        self.partial = partial
        self.note = partial.with_name(partial.name + ".json")
        self.progress = progress
        self.validator = self._known_validator()
        self.total = remote.size
        self.kept = self.have if self.validator is not None else 0
        if self.validator is None:
            self._restart()

    @property
    def have(self) -> int:
        """Bytes that are here."""
        return self.partial.stat().st_size

    def run(self, pause: float) -> None:
        """Until the file is whole or the server does not answer any more."""
        idle, wait, first = 0, pause, True
        while not (self.total is not None and self.have == self.total):
            before = self.have
            try:
                self._connect()
                return
            except _LostError as lost:
                idle = 0 if self.have > before else idle + 1
                if idle >= ATTEMPTS:
                    raise self._given_up(str(lost)) from lost
                if self.have > before:
                    wait = pause
                time.sleep(max(wait, lost.wait))
                wait *= 2
            except urllib.error.URLError as error:
                # Nothing listens there: worth another try only where bytes have come before.
                idle += 1
                if first or idle >= ATTEMPTS:
                    raise self._given_up(str(error.reason)) from error
                time.sleep(wait)
                wait *= 2
            first = False

    def _known_validator(self) -> str | None:
        """What tells that the bytes here belong to this file; None where nothing does. Empty: the checksum will."""
        try:
            said = read_json(self.note) if self.note.is_file() and self.have else {}
        except BenchError:
            said = {}
        if not isinstance(said, dict) or said.get("address") != self.remote.address:
            return None
        if self.remote.sha256 is not None:
            return "" if said.get("sha256") == self.remote.sha256 else None
        return str(said.get("validator") or "") or None

    def _restart(self) -> None:
        self.partial.write_bytes(b"")
        self.validator = None
        self.kept = 0

    def _connect(self) -> None:
        if not self.validator and self.remote.sha256 is None:
            self._restart()  # nothing would tell whether the rest belongs to what is here
        have = self.have
        request = urllib.request.Request(self.remote.url, headers={"Accept-Encoding": "identity"})
        for name, value in self.remote.headers.items():
            request.add_unredirected_header(name, value)
        if have:
            request.add_header("Range", f"bytes={have}-")
            if self.validator:
                request.add_header("If-Range", self.validator)
        try:
            with _OPENER.open(request, timeout=TIMEOUT) as response:
                self._receive(response, have)
        except urllib.error.HTTPError as error:
            self._refused(error)
        except urllib.error.URLError:
            raise
        except (TimeoutError, ConnectionError, http.client.HTTPException) as error:
            raise _LostError(f"{type(error).__name__}: {error}") from error

    def _receive(self, response: http.client.HTTPResponse, have: int) -> None:
        headers = response.headers
        if headers.get_content_type() == "text/html" and self.partial.suffix != ".html":
            raise MissingError(
                "the server answered with a web page instead of the file",
                where=self.remote.address,
                way_out="open the address in a browser: it may want you to sign in or to accept terms",
            )
        if response.status == 206 and _starts_at(headers) == have:
            total = _total_of_range(headers)
        else:  # the whole file, because it is new or because it has changed
            self._restart()
            have, total = 0, _number(headers.get("Content-Length"))
        if self.remote.size is not None and total is not None and total != self.remote.size:
            raise CheckError(
                f"the server offers {total} bytes, the published file has {self.remote.size}",
                where=self.remote.address,
                way_out="run again later; the server may be updating the file",
            )
        self.total = total if total is not None else self.remote.size
        self._remember(headers)
        _require_room(self.partial.parent, (self.total or 0) - have)
        with self.partial.open("ab") as stream:
            self._copy(response, stream, have)
            stream.flush()
            os.fsync(stream.fileno())
        if self.total is not None and self.have < self.total:
            raise _LostError(f"the connection ended after {self.have} of {self.total} bytes")

    def _copy(self, response: http.client.HTTPResponse, stream: IO[bytes], have: int) -> None:
        name = self.partial.name.removeprefix(TEMPORARY_PREFIX)
        self.progress(have, self.total or 0, name)
        while piece := response.read(_PIECE):
            stream.write(piece)
            have += len(piece)
            self.progress(have, self.total or 0, name)

    def _remember(self, headers: Message) -> None:
        etag = headers.get("ETag") or ""
        # A weak ETag does not promise equal bytes, so it may not be used with If-Range.
        self.validator = (etag if not etag.startswith("W/") else "") or headers.get("Last-Modified") or ""
        write_json(
            self.note,
            {"address": self.remote.address, "sha256": self.remote.sha256, "validator": self.validator},
        )
        if self.remote.sha256 is not None:
            self.validator = ""

    def _refused(self, error: urllib.error.HTTPError) -> None:
        if error.code == 416:
            if self.have and _total_of_range(error.headers) == self.have:
                self.total = self.have
                return
            if self.have:
                self._restart()
                raise _LostError("the server could not go on from here") from error
        if error.code in _BUSY:
            wait = min(float(_number(error.headers.get("Retry-After")) or 0), LONGEST_WAIT)
            raise _LostError(f"the server answered {error.code} {error.reason}", wait) from error
        gone = error.code in (404, 410)
        raise MissingError(
            f"not published at this address any more ({error.code} {error.reason})"
            if gone
            else f"the server refuses to give the file ({error.code} {error.reason})",
            where=self.remote.address,
            way_out="look for its new place on the publisher's page"
            if gone
            else "open the address in a browser: it may want you to sign in or to accept terms",
        ) from error

    def _given_up(self, reason: str) -> MissingError:
        host = urlsplit(self.remote.url).netloc
        kept = f"; the first {self.have} bytes are kept" if self.have else ""
        return MissingError(
            f"no connection to {host}: {reason}{kept}",
            where=self.remote.address,
            way_out="run again when this machine has a network" + (", and it goes on from there" if kept else ""),
        )


def _finish(transfer: _Transfer, target: Path) -> Downloaded:
    size, found, expected = transfer.have, hash_file(transfer.partial), transfer.remote.sha256
    if expected is not None and found != expected:
        transfer.partial.unlink()
        transfer.note.unlink(missing_ok=True)
        raise CheckError(
            f"what arrived is not the published file: SHA-256 {found}, expected {expected}",
            where=transfer.remote.address,
            way_out="it has been deleted; run again, and if it happens again the publisher has changed the file",
        )
    transfer.partial.replace(target)
    transfer.note.unlink(missing_ok=True)
    return Downloaded(target, size, found, transfer.kept)


class _SameOrBetter(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but never from https to http."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request | None:
        """The request to the new place."""
        allowed = ("https",) if req.type == "https" else ("https", "http")
        if urlsplit(newurl).scheme not in allowed:
            raise MissingError(
                "the server redirects to an address that is not safe",
                where=f"{req.full_url} -> {newurl}",
                way_out="look for the file on the publisher's page",
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


_OPENER = urllib.request.build_opener(_SameOrBetter)
_OPENER.addheaders = [("User-Agent", "fusar-klip-bench")]


def _require_web(remote: Remote) -> None:
    if urlsplit(remote.url).scheme not in ("http", "https"):
        raise UsageError("not a web address", where=remote.url, way_out="give an address that starts with https://")


def _require_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise StorageError(
            f"the disk is too full: {needed / 1e6:.0f} MB to come, {free / 1e6:.0f} MB free",
            where=str(folder),
            way_out="free some space, or choose another --weights-root",
        )


def _starts_at(headers: Message) -> int | None:
    unit, _, rest = headers.get("Content-Range", "").partition(" ")
    return _number(rest.partition("-")[0]) if unit == "bytes" else None


def _total_of_range(headers: Message) -> int | None:
    return _number(headers.get("Content-Range", "").rpartition("/")[2])


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.strip().isdecimal() else None
