"""A download is whole and right or not there, and goes on where an earlier one stopped."""

from __future__ import annotations

import hashlib
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.weight_files import download as module
from adapters.weight_files.download import Downloaded, Remote, download
from foundation.errors import BenchError, CheckError, MissingError, StorageError, UsageError
from foundation.files import exclusive
from tests.adapters.weights_server import Site, serving

CONTENT = bytes(range(256)) * 40
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as found:
        yield found


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "model" / "ckpt.pth"


def get(url: str, target: Path, **known: object) -> Downloaded:
    return download(Remote(url, url, **known), target, pause=0.0)  # type: ignore[arg-type]


def left_over(target: Path) -> set[str]:
    return {path.name for path in target.parent.iterdir()} - {target.name}


def interrupted(site: Site, target: Path, url: str, after: int, **known: object) -> None:
    """A run that was ended from outside when `after` bytes had come."""

    class Ended(BaseException):
        pass

    def end(done: int, total: int, note: str = "") -> None:
        if done >= after:
            raise Ended

    served = site.files[url.removeprefix(site.address)]
    served.cuts.append(after)
    with pytest.raises(Ended):
        download(Remote(url, url, **known), target, end, pause=0.0)  # type: ignore[arg-type]


def test_a_file_arrives_whole_and_leaves_nothing_beside_it(site: Site, target: Path) -> None:
    done = get(site.add("/ckpt.pth", CONTENT), target)
    assert target.read_bytes() == CONTENT
    assert done == Downloaded(target, len(CONTENT), SHA256, 0)
    assert left_over(target) == set()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(1, 4000), max_size=6))
def test_however_the_connection_is_cut_the_file_is_the_same(site: Site, target: Path, cuts: list[int]) -> None:
    shutil.rmtree(target.parent, ignore_errors=True)
    get(site.add("/ckpt.pth", CONTENT, cuts=list(cuts)), target)
    assert target.read_bytes() == CONTENT


def test_after_a_cut_only_the_rest_is_asked_for(site: Site, target: Path) -> None:
    get(site.add("/ckpt.pth", CONTENT, cuts=[1000]), target)
    first, second = site.asked()
    assert "Range" not in first.headers
    assert (second.headers["Range"], second.headers["If-Range"]) == ("bytes=1000-", '"v1"')


def test_without_a_mark_nothing_is_added_to_what_came_before_a_cut(site: Site, target: Path) -> None:
    get(site.add("/ckpt.pth", CONTENT, etag=None, cuts=[1000]), target)
    assert ["Range" in request.headers for request in site.asked()] == [False, False]
    assert target.read_bytes() == CONTENT


def test_a_server_that_gives_another_part_than_asked_for_does_no_harm(site: Site, target: Path) -> None:
    get(site.add("/ckpt.pth", CONTENT, mistaken=True, cuts=[1000]), target)
    assert target.read_bytes() == CONTENT


def test_bytes_of_another_address_are_not_gone_on_with(site: Site, target: Path) -> None:
    interrupted(site, target, site.add("/old/ckpt.pth", b"o" * len(CONTENT)), 3000)
    assert get(site.add("/new/ckpt.pth", CONTENT), target).kept == 0
    assert target.read_bytes() == CONTENT


def test_a_later_run_goes_on_where_an_earlier_one_was_ended(site: Site, target: Path) -> None:
    url = site.add("/ckpt.pth", CONTENT)
    interrupted(site, target, url, 3000)
    assert not target.exists()
    site.requests.clear()
    done = get(url, target)
    assert done.kept == 3000
    assert [request.headers["Range"] for request in site.asked()] == ["bytes=3000-"]
    assert target.read_bytes() == CONTENT
    assert left_over(target) == set()


def test_a_killed_download_goes_on_as_well(site: Site, target: Path) -> None:
    content = CONTENT * 300  # 3 MB, so that some of it has reached the disk
    url = site.add("/ckpt.pth", content)
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from adapters.weight_files.download import Remote, download\n"
        "def kill(done, total, note=''): done > 2_000_000 and os.kill(os.getpid(), signal.SIGKILL)\n"
        "download(Remote(sys.argv[1], sys.argv[1]), Path(sys.argv[2]), kill)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, url, str(target)], check=False)
    assert done.returncode == -signal.SIGKILL and not target.exists()
    assert get(url, target).kept > 0
    assert target.read_bytes() == content


def test_what_is_here_is_dropped_when_the_server_has_another_file_now(site: Site, target: Path) -> None:
    url = site.add("/ckpt.pth", b"o" * len(CONTENT), etag='"old"')
    interrupted(site, target, url, 3000)
    site.add("/ckpt.pth", CONTENT, etag='"new"')
    assert get(url, target).kept == 0
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_without_a_sure_mark_or_a_checksum_a_download_begins_again(site: Site, target: Path, etag: str | None) -> None:
    url = site.add("/ckpt.pth", CONTENT, etag=etag)
    interrupted(site, target, url, 3000)
    site.requests.clear()
    assert get(url, target).kept == 0
    assert "Range" not in site.asked()[0].headers
    assert target.read_bytes() == CONTENT


def test_with_a_checksum_a_download_goes_on_even_at_another_signed_address(site: Site, target: Path) -> None:
    site.add("/signed/1", CONTENT, etag=None, cuts=[3000, 0, 0, 0, 0, 0])
    lasting = "https://hub.example/ckpt.pth"
    with pytest.raises(MissingError, match="the first 3000 bytes are kept"):
        download(Remote(site.address + "/signed/1", lasting, SHA256), target, pause=0.0)
    signed_anew = site.add("/signed/2", CONTENT, etag=None)
    assert download(Remote(signed_anew, lasting, SHA256), target, pause=0.0).kept == 3000
    assert target.read_bytes() == CONTENT


def test_a_server_without_ranges_gives_the_whole_file_again(site: Site, target: Path) -> None:
    get(site.add("/ckpt.pth", CONTENT, ranges=False, cuts=[1000]), target)
    assert target.read_bytes() == CONTENT


def test_a_file_that_had_arrived_whole_is_not_asked_for_again(site: Site, target: Path) -> None:
    url = site.add("/ckpt.pth", CONTENT)
    interrupted(site, target, url, len(CONTENT))
    get(url, target)
    assert target.read_bytes() == CONTENT
    site.files.clear()
    target.unlink()
    site.add("/ckpt.pth", CONTENT)
    interrupted(site, target, url, len(CONTENT), size=len(CONTENT))
    site.requests.clear()
    get(url, target, size=len(CONTENT))
    assert site.requests == []


def test_a_file_without_a_stated_length_arrives(site: Site, target: Path) -> None:
    get(site.add("/ckpt.pth", CONTENT, states_length=False), target, sha256=SHA256)
    assert target.read_bytes() == CONTENT


def test_a_wrong_checksum_leaves_nothing_behind(site: Site, target: Path) -> None:
    with pytest.raises(CheckError, match="not the published file") as caught:
        get(site.add("/ckpt.pth", b"something else"), target, sha256=SHA256)
    assert caught.value.exit_code == 5
    assert SHA256 in caught.value.what
    assert list(target.parent.iterdir()) == []


def test_another_size_than_the_published_one_is_refused_before_the_bytes_come(site: Site, target: Path) -> None:
    with pytest.raises(CheckError, match=r"offers 10240 bytes, the published file has 7"):
        get(site.add("/ckpt.pth", CONTENT), target, size=7)


@pytest.mark.parametrize(
    ("status", "complaint"),
    [(404, "not published at this address any more"), (410, "any more"), (401, "refuses"), (403, "refuses")],
)
def test_an_answer_that_will_not_change_is_not_asked_for_twice(
    site: Site, target: Path, status: int, complaint: str
) -> None:
    url = site.add("/ckpt.pth", CONTENT, statuses=[status])
    with pytest.raises(MissingError, match=complaint) as caught:
        get(url, target)
    assert caught.value.exit_code == 3
    assert url in caught.value.where
    assert len(site.requests) == 1
    assert list(target.parent.iterdir()) == []


def test_a_busy_server_is_asked_again(site: Site, target: Path) -> None:
    get(site.add("/ckpt.pth", CONTENT, statuses=[503, 429, 500]), target)
    assert target.read_bytes() == CONTENT


def test_a_server_that_stays_busy_is_given_up(site: Site, target: Path) -> None:
    with pytest.raises(MissingError, match="the server answered 503"):
        get(site.add("/ckpt.pth", CONTENT, statuses=[503] * 99), target)
    assert len(site.requests) == module.ATTEMPTS


def test_without_a_network_it_ends_at_once_and_names_the_host(target: Path) -> None:
    with serving() as closed:
        url = closed.address + "/ckpt.pth"
    with pytest.raises(MissingError, match=r"no connection to 127\.0\.0\.1") as caught:
        get(url, target)
    assert "network" in caught.value.way_out
    assert list(target.parent.iterdir()) == []


def test_a_web_page_instead_of_the_file_is_refused(site: Site, target: Path) -> None:
    with pytest.raises(MissingError, match="a web page instead"):
        get(site.add("/ckpt.pth", b"<html>sign in</html>", kind="text/html; charset=utf-8"), target)
    assert not target.exists()


def test_redirects_are_followed_but_take_no_token_along(site: Site, target: Path) -> None:
    with serving() as other:
        there = other.add("/bytes", CONTENT)
        url = site.add("/ckpt.pth", b"", redirect=there)
        download(Remote(url, url, headers={"Authorization": "Bearer secret"}), target, pause=0.0)
        assert site.requests[0].headers["Authorization"] == "Bearer secret"
        assert "Authorization" not in other.requests[0].headers
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("place", ["file:///etc/hostname", "ftp://127.0.0.1/ckpt.pth"])
def test_only_web_addresses_are_fetched_or_followed(site: Site, target: Path, place: str) -> None:
    with pytest.raises(UsageError, match="not a web address"):
        get(place, target)
    with pytest.raises(BenchError):
        get(site.add("/ckpt.pth", b"", redirect=place), target)
    assert not target.exists()


def test_a_disk_that_is_too_full_is_said_before_the_bytes_come(
    site: Site, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")._replace(free=10)
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: usage)
    with pytest.raises(StorageError, match="disk is too full"):
        get(site.add("/ckpt.pth", CONTENT), target)


def test_two_processes_do_not_write_to_one_file(site: Site, target: Path) -> None:
    url = site.add("/ckpt.pth", CONTENT)
    with exclusive(target.with_name(".partial-ckpt.pth")), pytest.raises(UsageError, match="another process"):
        get(url, target)
    get(url, target)


@pytest.mark.parametrize("damage", [b"", b"not json", b"[]", b'{"address": 3}'])
def test_a_damaged_note_of_an_earlier_run_costs_only_the_bytes(site: Site, target: Path, damage: bytes) -> None:
    url = site.add("/ckpt.pth", CONTENT)
    interrupted(site, target, url, 3000)
    target.with_name(".partial-ckpt.pth.json").write_bytes(damage)
    assert get(url, target).kept == 0
    assert target.read_bytes() == CONTENT


def test_bytes_of_an_earlier_run_that_are_damaged_are_noticed(site: Site, target: Path) -> None:
    url = site.add("/ckpt.pth", CONTENT)
    interrupted(site, target, url, 3000, sha256=SHA256)
    target.with_name(".partial-ckpt.pth").write_bytes(b"x" * 3000)
    with pytest.raises(CheckError, match="not the published file"):
        get(url, target, sha256=SHA256)
    assert get(url, target, sha256=SHA256).path.read_bytes() == CONTENT


class Said(NamedTuple):
    done: int
    total: int
    note: str


def test_progress_counts_bytes_and_begins_with_what_is_here(site: Site, target: Path) -> None:
    url = site.add("/ckpt.pth", CONTENT)
    interrupted(site, target, url, 3000)
    said: list[Said] = []
    download(Remote(url, url), target, lambda done, total, note="": said.append(Said(done, total, note)), pause=0.0)
    assert said[0] == Said(3000, len(CONTENT), "ckpt.pth")
    assert said[-1] == Said(len(CONTENT), len(CONTENT), "ckpt.pth")
