"""`harness weights`: what is published where, fetched on request, and called by the name of what it is."""

from __future__ import annotations

import hashlib
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from adapters.registry import select
from foundation.errors import UsageError
from harness.weights_commands import Choice, fetch_models, status, verify_models
from harness.weights_display import Lines, megabytes, show_download
from tests.adapters.weights_server import Site, serving
from tests.harness.conftest import Harness, environment

CARD = """
[[model]]
id = "{name}"
name = "Mine"
backbone = "other"
kind = "own"
architecture = {{ kind = "vit", width = 32, depth = 1, heads = 2, patch = 8, activation = "gelu", image_size = 32 }}
input = "half"
weights = {{ {weights}, licence = "{licence}" }}
layout = "timm"
"""


@pytest.fixture(scope="module")
def checkpoint() -> bytes:
    """A file in timm's names that the card above can be filled from."""
    import torch

    card = select("random-mini")[0].architecture
    assert card is not None
    from adapters.encoder import build_vit

    tiny = card.model_copy(update={"width": 32, "depth": 1, "heads": 2, "image_size": 32})
    stream = io.BytesIO()
    torch.save(build_vit(tiny, image_size=32, seed=0).state_dict(), stream)
    return stream.getvalue()


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as found:
        yield found


def described(folder: Path, weights: str, name: str = "mine", licence: str = "CC-BY-NC-4.0") -> Path:
    path = folder / f"{name}.toml"
    path.write_text(CARD.format(name=name, weights=weights, licence=licence), encoding="utf-8")
    return path


def at(url: str, content: bytes | None = None) -> str:
    pinned = f', sha256 = "{hashlib.sha256(content).hexdigest()}"' if content is not None else ""
    return f'kind = "url", url = "{url}", filename = "ckpt.pth"{pinned}'


def test_status_lists_every_published_file_with_place_and_licence(harness: Harness, tmp_path: Path) -> None:
    env = environment(FUSAR_KLIP_WEIGHTS=str(tmp_path / "weights"))
    done = harness("weights", "status", "--json", env=env)
    assert done.returncode == 0, done.stderr
    rows = {row["model"]: row for row in json.loads(done.stdout)}
    assert len(rows) >= 22 and {row["state"] for row in rows.values()} == {"missing"}
    assert rows["remoteclip-vit-b-32"]["published"]["hub_id"] == "chendelong/RemoteCLIP"
    assert rows["remoteclip-vit-b-32"]["path"].startswith(str(tmp_path / "weights"))
    assert not rows["mae-vit-b-16"]["published"]["commercial_use"] and rows["clip-vit-b-16"]["path"]
    shown = harness("weights", "status", env=env).stdout
    assert "unreleased" in shown and "hub: chendelong/RemoteCLIP" in shown and "(605 MB)" in shown
    # Section 11 of the adapter specification.
    (line,) = [line for line in shown.splitlines() if line.startswith("not for commercial use")]
    for name in ("mae-vit-b-16", "moco-v3", "sar-jepa", "saratr-x", "vhm"):
        assert name in line
    assert "clip-vit-b-16" not in line


def test_fetch_verify_and_run_find_the_same_file(
    harness: Harness, tmp_path: Path, site: Site, checkpoint: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    file = described(tmp_path, at(site.add("/ckpt.pth", checkpoint), checkpoint))
    env = environment(FUSAR_KLIP_WEIGHTS=str(tmp_path / "weights"), NO_PROXY="127.0.0.1")
    done = harness("weights", "fetch", "mine", "--model-file", file, "--yes", env=env)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "weights" / "mine" / "ckpt.pth").read_bytes() == checkpoint
    assert "not for commercial use" in done.stderr and "ckpt.pth: 0.0 kB of" in done.stderr
    assert hashlib.sha256(checkpoint).hexdigest() in done.stdout
    assert verify_models(Choice(["mine"], [file], tmp_path / "weights"), as_json=False) == 0
    assert "as published" in capsys.readouterr().out
    planned = harness("plan", "-m", "mine", "--model-file", file, "-t", "sar_acd", "--world", "ci", env=env)
    assert planned.returncode == 0 and "weights missing" not in planned.stdout, planned.stderr


def fetched(tmp_path: Path, file: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    code = fetch_models(Choice(["mine"], [file], tmp_path / "weights"), yes=True, as_json=True)
    (result,) = json.loads(capsys.readouterr().out)
    return code, result


def test_a_second_fetch_has_nothing_to_do(
    tmp_path: Path, site: Site, checkpoint: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    file = described(tmp_path, at(site.add("/ckpt.pth", checkpoint)))
    assert fetched(tmp_path, file, capsys)[1]["files"][0]["size"] == len(checkpoint)
    requests = len(site.requests)
    code, result = fetched(tmp_path, file, capsys)
    assert (code, result["files"], result["problem"], len(site.requests)) == (0, [], None, requests)


@pytest.mark.parametrize(
    ("how", "complaint"),
    [({"statuses": [404] * 9}, "not published at this address"), ({"kind": "text/html"}, "a web page")],
)
def test_what_cannot_be_had_exits_3_with_the_way_by_hand(
    tmp_path: Path, site: Site, capsys: pytest.CaptureFixture[str], how: dict[str, Any], complaint: str
) -> None:
    code, result = fetched(tmp_path, described(tmp_path, at(site.add("/ckpt.pth", b"PK", **how))), capsys)
    assert code == 3 and complaint in result["problem"]["what"]
    assert f"save it as {tmp_path / 'weights' / 'mine' / 'ckpt.pth'}" in result["problem"]["way_out"]


def test_a_file_that_is_not_the_published_one_is_not_kept(
    tmp_path: Path, site: Site, checkpoint: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    url = site.add("/ckpt.pth", checkpoint)
    code, result = fetched(tmp_path, described(tmp_path, at(url, b"another")), capsys)
    assert code == 5 and "not the published file" in result["problem"]["what"]
    assert not list((tmp_path / "weights" / "mine").iterdir())


def test_a_published_file_of_another_kind_is_named_when_it_arrives(
    tmp_path: Path, site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    stream = io.BytesIO()
    torch.save({"bert.embeddings.weight": torch.zeros(2, 2)}, stream)
    code, result = fetched(tmp_path, described(tmp_path, at(site.add("/ckpt.pth", stream.getvalue()))), capsys)
    assert code == 5 and "no known layout" in result["problem"]["what"]


def test_without_a_network_fetch_says_what_to_do_for_each_model(harness: Harness, tmp_path: Path) -> None:
    with serving() as closed:
        address = closed.address
    # Proxies and the hub lead nowhere: as on a machine without a network.
    hub = {"HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "hub"), "NO_PROXY": "127.0.0.1"}
    env = environment(HTTPS_PROXY=address, https_proxy=address, **hub)
    models = ["mae-vit-b-16", "remoteclip-vit-b-32", "sar-jepa-vit-b-16", "fusar-klip-vit-b-16"]
    done = harness("weights", "fetch", *models, "--yes", "--weights-root", "w", env=env)
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    assert "download https://dl.fbaipublicfiles.com/mae/pretrain/mae_pretrain_vit_base.pth" in done.stderr
    assert "https://huggingface.co/chendelong/RemoteCLIP/resolve/main/RemoteCLIP-ViT-B-32.pt" in done.stderr
    assert "w/remoteclip-vit-b-32/RemoteCLIP-ViT-B-32.pt" in done.stderr
    assert "1. sign in at Kaggle" in done.stdout and "not published these weights" in done.stdout
    assert [path for path in (tmp_path / "w").rglob("*") if path.is_file()] == []


def test_nothing_is_downloaded_where_nobody_can_be_asked(harness: Harness, tmp_path: Path) -> None:
    done = harness("weights", "fetch", "mae-vit-b-16")
    assert done.returncode == 2 and "add --yes" in done.stderr
    assert "licence: CC-BY-NC-4.0 (not for commercial use)" in done.stderr
    assert harness("weights", "fetch").returncode == 2


@pytest.mark.parametrize(("answer", "goes_on"), [("y\n", True), ("n\n", False), ("", False)])
def test_a_person_is_asked_before_the_download(
    tmp_path: Path, site: Site, checkpoint: bytes, monkeypatch: pytest.MonkeyPatch, answer: str, goes_on: bool
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    choice = Choice(["mine"], [described(tmp_path, at(site.add("/ckpt.pth", checkpoint)))], tmp_path / "weights")
    if goes_on:
        assert fetch_models(choice, yes=False, as_json=False) == 0
    else:
        with pytest.raises(UsageError, match="nothing has been downloaded"):
            fetch_models(choice, yes=False, as_json=False)
    assert bool(site.requests) == goes_on


def test_verify_notes_an_unknown_checksum_and_names_a_wrong_file(
    tmp_path: Path, checkpoint: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "weights"
    (root / "mine").mkdir(parents=True)
    path = root / "mine" / "ckpt.pth"
    choice = Choice(["mine"], [described(tmp_path, at("https://example.org/ckpt.pth"))], root)
    assert verify_models(choice, as_json=False) == 3
    path.write_bytes(checkpoint)
    assert verify_models(choice, as_json=False) == 0
    said = capsys.readouterr().out
    assert "to be pinned as weights.sha256" in said and hashlib.sha256(checkpoint).hexdigest() in said
    assert path.with_name("ckpt.pth.sha256").is_file()
    path.write_bytes(checkpoint + b"\0")
    assert verify_models(choice, as_json=True) == 5
    assert json.loads(capsys.readouterr().out)[0]["checksum"] == "changed"
    path.write_bytes(b"<html>sign in</html>")
    assert verify_models(choice, as_json=False) == 5
    assert "a web page" in capsys.readouterr().out
    assert status(choice, as_json=False) == 0
    shown = capsys.readouterr().out
    assert "wrong file" in shown and f"way out: delete {path}" in shown


@pytest.mark.parametrize("command", [("run",), ("plan",), ("weights", "status"), ("weights", "verify"), ("list",)])
def test_a_weights_root_that_is_not_there_is_an_error_everywhere(harness: Harness, command: tuple[str, ...]) -> None:
    done = harness(*command, "--weights-root", "nowhere")
    assert done.returncode == 2 and "the weights root is not a folder" in done.stderr


# ---- progress


def test_without_a_terminal_progress_is_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with show_download(quiet=False) as progress:
        for done in range(0, 1_000_001, 1000):
            progress(done, 1_000_000, "ckpt.pth")
        progress(5, 0, "other.pth")
    said = capsys.readouterr().err.splitlines()
    assert said == ["ckpt.pth: 0.0 kB of 1.0 MB (0%)", "ckpt.pth: 1.0 MB of 1.0 MB (100%)", "other.pth: 0.0 kB"]
    with show_download(quiet=True) as progress:
        progress(1, 2, "ckpt.pth")
    assert capsys.readouterr().err == ""


def test_a_slow_download_says_now_and_then_how_far_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines(heartbeat=0.0)
    for done in (0, 250_000, 500_000):
        lines(done, 1_000_000, "ckpt.pth")
    assert capsys.readouterr().err.splitlines()[-1] == "ckpt.pth: 0.5 MB of 1.0 MB (50%)"


def test_in_a_terminal_progress_is_a_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with show_download(quiet=False) as progress:
        progress(0, 100, "ckpt.pth")
        progress(100, 100, "ckpt.pth")
        progress(1, 0, "unknown length")


@pytest.mark.parametrize(
    ("size", "said"), [(None, "-"), (500, "0.5 kB"), (605_000_000, "605.0 MB"), (1_710_000_000, "1.71 GB")]
)
def test_sizes_are_said_for_people(size: int | None, said: str) -> None:
    assert megabytes(size) == said
