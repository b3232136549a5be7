"""What lies under the weights root is called by the name of what it is, without running anything from it."""

from __future__ import annotations

import subprocess
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from adapters.card import ModelCard
from adapters.registry import catalog, select
from adapters.weight_files.checksums import note, note_file, noted
from adapters.weight_files.examine import FileState, examine, verify
from adapters.weight_files.identity import OPENAI_CLIP, first_look, geometry_of, known_file
from adapters.weights import weight_file
from foundation.hashing import hash_file

CARDS = catalog()
Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]


def clip_shapes(width: int = 768, depth: int = 12, patch: int = 32, *, prefix: str = "visual.") -> dict[str, Shape]:
    """The vision tower of CLIP as OpenAI and open_clip write it (section 5 of the adapter specification)."""
    block = {
        "ln_1.weight": (width,),
        "ln_1.bias": (width,),
        "attn.in_proj_weight": (3 * width, width),
        "attn.in_proj_bias": (3 * width,),
        "attn.out_proj.weight": (width, width),
        "attn.out_proj.bias": (width,),
        "ln_2.weight": (width,),
        "ln_2.bias": (width,),
        "mlp.c_fc.weight": (4 * width, width),
        "mlp.c_fc.bias": (4 * width,),
        "mlp.c_proj.weight": (width, 4 * width),
        "mlp.c_proj.bias": (width,),
    }
    found: dict[str, Shape] = {
        f"{prefix}class_embedding": (width,),
        f"{prefix}positional_embedding": ((224 // patch) ** 2 + 1, width),
        f"{prefix}proj": (width, 512),
        f"{prefix}conv1.weight": (width, 3, patch, patch),
    }
    for norm in ("ln_pre", "ln_post"):
        found |= {f"{prefix}{norm}.weight": (width,), f"{prefix}{norm}.bias": (width,)}
    for number in range(depth):
        found |= {f"{prefix}transformer.resblocks.{number}.{name}": shape for name, shape in block.items()}
    return found


def timm_shapes(prefix: str, width: int = 768, depth: int = 12, patch: int = 16) -> dict[str, Shape]:
    """A plain ViT in timm's names (section 3.1 of the adapter specification)."""
    rows = {"norm1": (width,), "norm2": (width,), "attn.qkv": (3 * width, width), "attn.proj": (width, width)}
    rows |= {"mlp.fc1": (4 * width, width), "mlp.fc2": (width, 4 * width)}
    layers: dict[str, Shape] = {"patch_embed.proj": (width, 3, patch, patch), "norm": (width,)}
    layers |= {f"blocks.{number}.{name}": shape for number in range(depth) for name, shape in rows.items()}
    found: dict[str, Shape] = {"cls_token": (1, 1, width), "pos_embed": (1, (224 // patch) ** 2 + 1, width)}
    for name, shape in layers.items():
        found |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    return {prefix + name: shape for name, shape in found.items()}


def save(path: Path, shapes: Shapes, *, archive: bool = False) -> Path:
    """A file with tensors of these shapes, a few kB however large they are; as TorchScript keeps them if `archive`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({name: torch.zeros(()).expand(shape) for name, shape in shapes.items()}, path)
    if archive:
        with zipfile.ZipFile(path, "a") as whole:
            top = whole.namelist()[0].partition("/")[0]
            whole.writestr(f"{top}/constants.pkl", b"\x80\x02).")
            whole.writestr(f"{top}/code/__torch__.py", "raise SystemExit('code of the archive was run')")
    return path


def place(card: ModelCard, root: Path) -> Path:
    path = weight_file(card, root)
    assert path is not None
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def only(states: list[FileState]) -> FileState:
    (state,) = states
    return state


# ---- at first sight


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "a pointer of git-lfs"),
        (b"\n<!DOCTYPE html><html>", "a web page"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "a web page"),
        (b"PK\x03\x04 and then it stops", "stopped early"),
        (b"hello", "no checkpoint of any known kind"),
    ],
)
def test_what_is_no_checkpoint_is_named_at_first_sight(tmp_path: Path, content: bytes, complaint: str) -> None:
    card = CARDS["remoteclip-vit-b-32"]
    place(card, tmp_path).write_bytes(content)
    state = only(examine(card, tmp_path))
    assert state.state == "wrong file" and complaint in state.says
    assert "delete" in state.way_out and "harness weights fetch remoteclip-vit-b-32" in state.way_out


def test_real_files_pass_the_first_look(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(1)}, tmp_path / "new.pth")
    torch.save({"a": torch.ones(1)}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    (tmp_path / "shards.index.json").write_text('{"weight_map": {}}', encoding="utf-8")
    assert [first_look(path) for path in sorted(tmp_path.iterdir())] == ["", "", ""]


# ---- checksums


def test_a_published_checksum_decides(tmp_path: Path) -> None:
    card = CARDS["clip-vit-b-16"]
    path = save(place(card, tmp_path), {"a": (1,)})
    state = only(examine(card, tmp_path))
    assert (state.state, state.checksum) == ("wrong file", "wrong")
    assert hash_file(path) in state.says
    pinned = card.model_copy(update={"weights": card.weights.model_copy(update={"sha256": hash_file(path)})})
    assert only(examine(pinned, tmp_path)).checksum == "ok"


def test_openais_files_are_known_by_their_checksum_wherever_they_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = CARDS["remoteclip-vit-b-32"]
    path = save(place(card, tmp_path), {"a": (1,)})
    monkeypatch.setitem(OPENAI_CLIP, hash_file(path), "ViT-B-32.pt")
    state = only(examine(card, tmp_path))
    assert (state.state, state.says) == ("wrong file", "this is ViT-B-32.pt of OpenAI CLIP, not RemoteClip")
    assert only(examine(select(f"mine={path}:vit_base_patch32_224")[0], None)).sound  # one's own choice


def test_openais_addresses_name_their_own_checksums() -> None:
    for card in CARDS.values():
        if "openaipublic" in (card.weights.url or ""):
            assert card.weights.sha256 is not None and card.weights.sha256 in (card.weights.url or "")
            assert known_file(card.weights.sha256) == f"{card.weights.filename} of OpenAI CLIP"


def test_a_checksum_is_noted_in_the_form_of_sha256sum(tmp_path: Path) -> None:
    path = save(tmp_path / "ckpt.pth", {"a": (1,)})
    note(path, hash_file(path), "from https://example.org\nline two")
    assert noted(path) == hash_file(path)
    done = subprocess.run(["sha256sum", "-c", note_file(path).name], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and "ckpt.pth: OK" in done.stdout, done.stderr
    note_file(path).write_bytes(b"\xff\xfe")
    assert noted(path) is None


def test_a_file_that_changes_after_it_was_noted_is_noticed(tmp_path: Path) -> None:
    card = CARDS["remoteclip-vit-b-32"]
    path = save(place(card, tmp_path), clip_shapes())
    assert only(verify(card, tmp_path)).checksum == "unknown"  # and is noted by this
    assert only(examine(card, tmp_path)).checksum == "noted"
    with path.open("ab") as stream:
        stream.write(b"\0")
    state = only(verify(card, tmp_path))
    assert state.checksum == "changed" and not state.sound
    assert "has changed" in state.says and "ckpt" not in state.way_out


def test_files_of_ones_own_get_no_note_beside_them(tmp_path: Path) -> None:
    path = save(tmp_path / "mine.pth", clip_shapes(prefix=""))
    (card,) = select(f"mine={path}:vit_base_patch32_224")
    verify(card, None)
    assert list(tmp_path.iterdir()) == [path]


# ---- names and shapes


def test_the_right_file_is_described_and_noted(tmp_path: Path) -> None:
    card = CARDS["remoteclip-vit-b-32"]
    path = save(place(card, tmp_path), clip_shapes() | {"logit_scale": ()})
    state = only(verify(card, tmp_path))
    assert state.sound and "CLIP" in state.says and "patch 32" in state.says
    assert noted(path) == state.sha256


def test_openais_archive_in_the_place_of_another_model_is_named_and_not_run(tmp_path: Path) -> None:
    card = CARDS["remoteclip-vit-b-32"]
    scalars: dict[str, Shape] = {"input_resolution": (), "context_length": (), "vocab_size": ()}
    path = save(place(card, tmp_path), clip_shapes() | scalars, archive=True)
    state = only(verify(card, tmp_path))
    assert state.state == "wrong file"
    assert state.says.startswith("this is OpenAI's own CLIP ViT-B/32, a TorchScript archive, not RemoteClip")
    assert noted(path) is None


@pytest.mark.parametrize(
    ("shapes", "complaint"),
    [
        (clip_shapes(patch=16), "patch 16, not 32"),
        (clip_shapes(width=1024, depth=24, patch=14), "width 1024, not 768"),
        (clip_shapes(depth=9), "9 blocks, not 12"),
        ({"visual.conv1.weight": (768, 3, 32, 32)}, "no known layout"),
        ({"bert.embeddings.word_embeddings.weight": (30522, 768)}, "no known layout (bert.embeddings"),
    ],
)
def test_another_size_or_model_is_told_by_names_and_shapes(tmp_path: Path, shapes: Shapes, complaint: str) -> None:
    card = CARDS["remoteclip-vit-b-32"]
    save(place(card, tmp_path), shapes)
    state = only(verify(card, tmp_path))
    assert state.state == "wrong file" and complaint in state.says


def test_a_file_of_another_layout_is_named_by_it(tmp_path: Path) -> None:
    card = CARDS["mae-vit-b-16"]
    save(place(card, tmp_path), clip_shapes(patch=16))
    state = only(verify(card, tmp_path))
    assert "not MAE" in state.says and "openai_clip" in state.says


def test_a_file_that_the_layout_could_read_is_still_not_another_models(tmp_path: Path) -> None:
    mae, moco = CARDS["mae-vit-b-16"], CARDS["moco-v3-vit-b-16"]
    shapes = timm_shapes("module.base_encoder.")
    save(place(moco, tmp_path), shapes)
    save(place(mae, tmp_path), shapes)
    assert only(verify(moco, tmp_path)).sound
    state = only(verify(mae, tmp_path))
    assert state.state == "wrong file" and state.says.startswith("this is MoCo v3")


def test_a_damaged_file_is_said_to_be_damaged(tmp_path: Path) -> None:
    card = CARDS["remoteclip-vit-b-32"]
    path = save(place(card, tmp_path), clip_shapes())
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"class_embedding", b"class_embeddinX\xff"[:15]))
    state = only(verify(card, tmp_path))
    assert state.state == "wrong file" and state.says


def test_geometry_is_read_from_the_vision_tower_and_not_from_its_momentum_copy() -> None:
    shapes = {
        "visual_encoder_m.patch_embed.proj.weight": (64, 3, 8, 8),
        "visual_encoder.patch_embed.proj.weight": (768, 3, 16, 16),
        "visual_encoder.blocks.0.norm1.weight": (768,),
        "text_encoder.layers.5.weight": (768,),
    }
    found = geometry_of(shapes)
    assert found is not None and tuple(found) == (768, 1, 16, 3)
    assert geometry_of({"a": (1,)}) is None


def test_a_model_of_two_files_needs_both(tmp_path: Path) -> None:
    card = CARDS["bita-vit-l-14"]
    save(place(card, tmp_path), {"ln_vision.weight": (1024,), "ln_vision.bias": (1024,)})
    first, second = examine(card, tmp_path)
    assert (first.state, second.state, second.path.name) == ("present", "missing", "clip_vit_L.pth")


def test_openais_own_file_may_stand_in_for_a_companion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = CARDS["bita-vit-l-14"]
    main = save(place(card, tmp_path), {"ln_vision.weight": (1024,), "ln_vision.bias": (1024,)})
    tower = save(main.with_name("clip_vit_L.pth"), clip_shapes(width=1024, depth=23, patch=14))
    monkeypatch.setitem(OPENAI_CLIP, hash_file(tower), "ViT-L-14.pt")
    assert [state.sound for state in verify(card, tmp_path)] == [True, True]


def test_shards_without_the_tower_are_said_to_be_so(tmp_path: Path) -> None:
    card = CARDS["geochat-vit-l-14-504"]
    index = place(card, tmp_path)
    index.write_text('{"weight_map": {"model.layers.0.weight": "part-1.bin"}}', encoding="utf-8")
    assert card.companion is not None
    save(index.with_name(card.companion.filename), {"a": (1,)})
    pinned = card.companion.model_copy(update={"sha256": None})
    main, companion = verify(card.model_copy(update={"companion": pinned}), tmp_path)
    assert main.sound and "shards without any tensor of model.vision_tower" in main.says
    assert companion.sound


def test_models_without_files_have_nothing_to_examine() -> None:
    assert [examine(CARDS[name], None) for name in ("random-mini", "simple-features", "gpt-4o")] == [[], [], []]
