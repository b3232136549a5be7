"""Files of the hub, asked for by the hub's own client, from a small hub in this process."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.card import ModelCard, WeightSource
from adapters.registry import common_input
from adapters.weight_files import hub
from adapters.weight_files.checksums import note_file, noted
from adapters.weight_files.fetch import Got, fetch
from foundation.errors import MissingError, UsageError
from tests.adapters.weights_server import COMMIT, Site, serving

CONTENT = b"PK" + bytes(range(256)) * 20
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A hub that the client takes for the real one, and no token or cache of the user's."""
    from huggingface_hub import constants

    for variable in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no_token"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub_cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    with serving() as found:
        monkeypatch.setenv("HF_ENDPOINT", found.address)
        yield found


def card(filename: str | None = "weights/ckpt.pth", **source: object) -> ModelCard:
    return ModelCard(
        id="mine",
        name="Mine",
        backbone="other",
        kind="own",
        architecture=None,
        input=common_input("half"),
        weights=WeightSource.model_validate({"kind": "hub", "hub_id": "lab/mine", "filename": filename} | source),
    )


def fetched(model: ModelCard, root: Path) -> list[Got]:
    return list(fetch(model, root))


def test_a_file_of_the_hub_arrives_with_its_checksum_and_revision(site: Site, tmp_path: Path) -> None:
    site.add_to_hub("lab/mine", "weights/ckpt.pth", CONTENT)
    found = hub.find("lab/mine", "weights/ckpt.pth")
    assert (found.remote.sha256, found.remote.size, found.revision) == (SHA256, len(CONTENT), COMMIT)
    (got,) = fetched(card(), tmp_path)
    assert got.path == tmp_path / "mine" / "ckpt.pth"
    assert got.path.read_bytes() == CONTENT
    assert noted(got.path) == got.sha256 == SHA256
    assert COMMIT in note_file(got.path).read_text(encoding="utf-8")
    assert fetched(card(), tmp_path) == []  # what is here is left alone


def test_a_download_from_the_hub_goes_on_where_it_was_cut(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.add_to_hub("lab/mine", "weights/ckpt.pth", CONTENT)
    for served in site.files.values():
        served.cuts = [1000] + [0] * 9
    monkeypatch.setattr("adapters.weight_files.download.time.sleep", lambda _seconds: None)
    with pytest.raises(MissingError, match="the first 1000 bytes are kept"):
        fetched(card(), tmp_path)
    for served in site.files.values():
        served.cuts = []
    assert fetched(card(), tmp_path)[0].kept == 1000


def test_bytes_that_are_not_what_the_hub_announced_are_refused(site: Site, tmp_path: Path) -> None:
    with serving("localhost") as cdn:
        site.add_to_hub("lab/mine", "weights/ckpt.pth", CONTENT, cdn=cdn.add("/blob", CONTENT[::-1]))
        with pytest.raises(Exception, match="not the published file"):
            fetched(card(), tmp_path)
    assert not (tmp_path / "mine" / "ckpt.pth").exists()


def test_the_token_goes_to_the_hub_and_not_to_the_host_of_the_bytes(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with serving("localhost") as cdn:
        site.add_to_hub("lab/mine", "weights/ckpt.pth", CONTENT, cdn=cdn.add("/blob", CONTENT))
        fetched(card(), tmp_path)
        assert [request.headers["Authorization"] for request in site.asked("HEAD")] == ["Bearer hf_secret"]
        assert cdn.asked() and all("Authorization" not in request.headers for request in cdn.requests)
    site.add_to_hub("lab/mine", "direct.pth", CONTENT)
    fetched(card("direct.pth"), tmp_path)
    assert site.asked()[-1].headers["Authorization"] == "Bearer hf_secret"


def test_small_files_of_the_hub_have_no_checksum_to_compare_with(site: Site, tmp_path: Path) -> None:
    site.add_to_hub("lab/mine", "small.pth", CONTENT, large=False)
    assert hub.find("lab/mine", "small.pth").remote.sha256 is None
    assert fetched(card("small.pth"), tmp_path)[0].sha256 == SHA256


def test_a_checksum_of_the_card_stands_above_the_hubs(site: Site, tmp_path: Path) -> None:
    site.add_to_hub("lab/mine", "weights/ckpt.pth", CONTENT)
    with pytest.raises(Exception, match="expected 0000"):
        fetched(card(sha256="0" * 64), tmp_path)


@pytest.mark.parametrize(
    ("reason", "complaint", "way_out"),
    [
        ("EntryNotFound", "lab/mine has no file weights/ckpt.pth", "it has other.zip"),
        ("RepoNotFound", "no repository lab/mine", "HF_TOKEN"),
        ("RevisionNotFound", "has no revision", "commits"),
        ("GatedRepo", "those who accept its terms", "https://huggingface.co/lab/mine"),
    ],
)
def test_what_the_hub_refuses_is_said_with_the_way_out(
    site: Site, tmp_path: Path, reason: str, complaint: str, way_out: str
) -> None:
    site.trees["lab/mine"] = ["README.md", "other.zip"]
    site.gone["lab/mine"] = reason
    with pytest.raises(MissingError) as caught:
        fetched(card(alternatives="a copy at lab/copy"), tmp_path)
    assert complaint in caught.value.what
    assert way_out in caught.value.way_out
    # Whatever went wrong, a person with a browser is told what to do.
    assert "https://huggingface.co/lab/mine/resolve/main/weights/ckpt.pth" in caught.value.way_out
    assert f"save it as {tmp_path / 'mine' / 'ckpt.pth'}" in caught.value.way_out
    assert "a copy at lab/copy" in caught.value.way_out


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"hub_id": None}, "not a possible repository"),
        ({"hub_id": "a/b/c"}, "not a possible repository"),
        ({"filename": None}, "names no file on the hub"),
    ],
)
def test_a_card_that_says_too_little_is_told_so(
    site: Site, tmp_path: Path, wrong: dict[str, str | None], complaint: str
) -> None:
    with pytest.raises(UsageError, match=complaint):
        fetched(card(**wrong), tmp_path)


def test_without_a_network_the_way_out_names_file_and_place(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving() as closed:
        monkeypatch.setenv("HF_ENDPOINT", closed.address)
    with pytest.raises(MissingError, match="no connection to the hub") as caught:
        fetched(card(), tmp_path)
    assert caught.value.exit_code == 3
    assert "weights/ckpt.pth" in caught.value.way_out and str(tmp_path / "mine") in caught.value.way_out


def test_the_offline_switch_of_the_hub_is_obeyed_and_named(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(MissingError, match="switched off by HF_HUB_OFFLINE"):
        fetched(card(), tmp_path)
    assert site.requests == []


def test_what_other_programs_have_fetched_is_taken_from_the_hubs_cache(site: Site, tmp_path: Path) -> None:
    from huggingface_hub import hf_hub_download

    site.add_to_hub("lab/mine", "weights/ckpt.pth", CONTENT)
    hf_hub_download("lab/mine", "weights/ckpt.pth", endpoint=site.address)
    site.requests.clear()
    (got,) = fetched(card(), tmp_path)
    assert got.sha256 == SHA256 and "cache" in got.origin
    assert site.requests == []


def test_of_a_sharded_model_only_the_shards_with_the_tower_are_fetched(site: Site, tmp_path: Path) -> None:
    index = b"""{"weight_map": {"model.layers.0.weight": "part-1.bin", "tower.conv1.weight": "part-2.bin",
                "tower.ln_pre.weight": "part-2.bin", "lm_head.weight": "part-3.bin"}}"""
    for name, content in (("model.bin.index.json", index), ("part-1.bin", b"1"), ("part-2.bin", CONTENT)):
        site.add_to_hub("lab/mine", name, content, large=name != "model.bin.index.json")
    got = fetched(card("model.bin.index.json", shard_prefix="tower."), tmp_path)
    assert [file.path.name for file in got] == ["model.bin.index.json", "part-2.bin"]


def test_the_hubs_client_is_not_imported_until_something_is_fetched() -> None:
    code = (
        "import sys, adapters.weight_files.fetch, adapters.weight_files.examine\n"
        "heavy = {'torch', 'numpy', 'huggingface_hub'} & sys.modules.keys()\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
