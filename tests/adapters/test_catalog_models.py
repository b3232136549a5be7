"""The catalogue holds every row of the paper, says how each model is built, and is ready to be read by people."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from adapters import catalogue
from adapters.card import ModelCard
from adapters.layouts import LAYOUTS
from adapters.registry import catalog, catalog_problems, load_model_file, weight_file, weight_state
from foundation.errors import MissingError, UsageError

# Table 4, in the printed order.
TABLE_4 = [
    ("RemoteClip", "ViT-Base"),
    ("GeoRSClip", "ViT-Base"),
    ("BAN", "ViT-Base"),
    ("ChangeClip", "ViT-Base"),
    ("Prithvi", "ViT-Base"),
    ("SkyScript", "ViT-Base"),
    ("CLIP", "ViT-Base"),
    ("BLIP", "ViT-Base"),
    ("SAR-JEPA", "ViT-Base"),
    ("MAE", "ViT-Base"),
    ("MoCo v3", "ViT-Base"),
    ("FUSAR-KLIP", "ViT-Base"),
    ("RemoteClip", "ViT-Large"),
    ("BAN", "ViT-Large"),
    ("GeoChat", "ViT-Large"),
    ("VHM", "ViT-Large"),
    ("SkyScript", "ViT-Large"),
    ("BITA", "ViT-Large"),
    ("FUSAR-KLIP", "ViT-Large"),
]
VISION_ONLY = {"SAR-JEPA", "MAE", "MoCo v3"}  # not in Table 6
TABLE_7 = ["GPT-4o", "Gemini-2.5", "Grok-3", "Qwen2.5-VL", "FUSAR-KLIP"]

# width, depth, heads, patch, side, activation, epsilon, norm before the blocks, norm after them, channels:
# section 9 of the adapter specification, model by model.
BUILT_AS = {
    "remoteclip-vit-b-32": (768, 12, 12, 32, 224, "quick_gelu", 1e-5, True, True, 3),
    "georsclip-vit-b-32": (768, 12, 12, 32, 224, "quick_gelu", 1e-5, True, True, 3),
    "ban-vit-b-16": (768, 9, 12, 16, 224, "quick_gelu", 1e-5, True, False, 3),
    "changeclip-vit-b-16": (768, 12, 12, 16, 256, "quick_gelu", 1e-5, True, True, 3),
    "prithvi-vit-b-16": (768, 12, 12, 16, 224, "gelu", 1e-6, False, True, 6),
    "skyscript-vit-b-32": (768, 12, 12, 32, 224, "gelu", 1e-5, True, True, 3),
    "clip-vit-b-16": (768, 12, 12, 16, 224, "quick_gelu", 1e-5, True, True, 3),
    "blip-vit-b-16": (768, 12, 12, 16, 224, "gelu", 1e-6, False, True, 3),
    "sar-jepa-vit-b-16": (768, 12, 12, 16, 224, "gelu", 1e-6, False, True, 1),
    "mae-vit-b-16": (768, 12, 12, 16, 224, "gelu", 1e-6, False, True, 3),
    "moco-v3-vit-b-16": (768, 12, 12, 16, 224, "gelu", 1e-6, False, True, 3),
    "fusar-klip-vit-b-16": (768, 12, 12, 16, 224, "gelu", 1e-6, False, True, 3),
    "remoteclip-vit-l-14": (1024, 24, 16, 14, 224, "quick_gelu", 1e-5, True, True, 3),
    "ban-vit-l-14-336": (1024, 18, 16, 14, 336, "quick_gelu", 1e-5, True, False, 3),
    "geochat-vit-l-14-504": (1024, 24, 16, 14, 504, "quick_gelu", 1e-5, True, True, 3),
    "vhm-vit-l-14-336": (1024, 24, 16, 14, 336, "quick_gelu", 1e-5, True, True, 3),
    "skyscript-vit-l-14": (1024, 24, 16, 14, 224, "quick_gelu", 1e-5, True, True, 3),
    "bita-vit-l-14": (1024, 21, 16, 14, 224, "quick_gelu", 1e-5, True, True, 3),
    "fusar-klip-vit-l-16": (1024, 24, 16, 16, 224, "gelu", 1e-6, False, True, 3),
}

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
IMAGENET_MEAN = (0.485, 0.456, 0.406)


def rows_of(table: int) -> list[tuple[str, str]]:
    return [(card.name, card.backbone) for card in catalog().values() if table in card.tables]


def test_the_catalogue_has_the_nineteen_rows_of_table_4_in_the_printed_order() -> None:
    assert rows_of(4) == TABLE_4


def test_table_6_is_table_4_without_the_vision_only_models() -> None:
    assert rows_of(6) == [row for row in TABLE_4 if row[0] not in VISION_ONLY]


def test_table_7_is_the_four_answerers_and_fusar_klip_base() -> None:
    assert sorted(rows_of(7)) == sorted((name, "ViT-Base" if name == "FUSAR-KLIP" else "other") for name in TABLE_7)


@pytest.mark.parametrize("identifier", BUILT_AS)
def test_the_geometry_is_that_of_the_specification(identifier: str) -> None:
    architecture = catalog()[identifier].architecture
    assert architecture is not None
    assert BUILT_AS[identifier] == (
        architecture.width,
        architecture.depth,
        architecture.heads,
        architecture.patch,
        architecture.image_size,
        architecture.activation,
        architecture.norm_eps,
        architecture.pre_norm,
        architecture.final_norm,
        architecture.in_channels,
    )
    # The CLIP family has a norm before the blocks and no bias in the patch embedding; the others the reverse.
    assert architecture.patch_bias is not architecture.pre_norm
    assert architecture.class_token


def test_every_row_of_table_4_has_its_geometry_tested() -> None:
    assert list(BUILT_AS) == [card.id for card in catalog().values() if 4 in card.tables]


def test_position_terms_are_the_published_ones() -> None:
    position = {
        card.id: card.architecture.position
        for card in catalog().values()
        if card.architecture is not None and card.architecture.position != "learned" and card.weights.kind != "shipped"
    }
    assert position == {
        "prithvi-vit-b-16": "sincos3d",
        "sar-jepa-vit-b-16": "irpe_k",
        "mae-vit-b-16": "sincos2d",
        "moco-v3-vit-b-16": "sincos2d",
        "saratr-x-hivit-b": "sincos2d",
    }


def test_input_statistics_go_with_the_weights() -> None:
    means = {card.id: card.input.mean for card in catalog().values() if card.input is not None}
    assert means["changeclip-vit-b-16"] == IMAGENET_MEAN  # although its tower starts from CLIP
    assert means["mae-vit-b-16"] == means["moco-v3-vit-b-16"] == means["deit-vit-b-16"] == IMAGENET_MEAN
    assert means["in21k-vit-l-16"] == (0.5, 0.5, 0.5)
    assert means["sar-jepa-vit-b-16"] == (0.0,)
    assert means["prithvi-vit-b-16"] == (0.0,) * 6  # the HLS statistics must never reach 8-bit SAR
    clip_like = set(BUILT_AS) - {key for key, mean in means.items() if mean != CLIP_MEAN}
    assert clip_like == set(BUILT_AS) - {
        "changeclip-vit-b-16",
        "prithvi-vit-b-16",
        "sar-jepa-vit-b-16",
        "mae-vit-b-16",
        "moco-v3-vit-b-16",
    }


@pytest.mark.parametrize("card", catalog().values(), ids=lambda card: card.id)
def test_a_card_agrees_with_itself(card: ModelCard) -> None:
    if card.architecture is not None:
        assert card.input is not None
        assert card.input.channels == card.architecture.in_channels
    if card.tables:
        assert card.paper_model
    if card.weights.kind in ("hub", "url", "manual", "unreleased"):
        assert card.checkpoint_id
        assert card.weights.licence
        assert card.layout in LAYOUTS


@pytest.mark.parametrize("card", catalog().values(), ids=lambda card: card.id)
def test_a_model_that_cannot_run_says_why_and_how_to_get_it(card: ModelCard, tmp_path: Path) -> None:
    state = weight_state(card, tmp_path)
    if card.kind == "control" or card.weights.kind == "shipped":
        assert state.state == "ready"
        return
    assert state.state == ("unsupported" if card.architecture is None else "missing")
    assert state.reason
    assert state.way_out
    target = weight_file(card, tmp_path)
    if state.state == "missing":
        assert target is not None
        assert target.parent == tmp_path / card.id
        assert str(target) in state.way_out
        origin = card.weights.hub_id or card.weights.url
        assert origin is not None
        assert origin in state.way_out


def test_licences_that_forbid_commercial_use_are_flagged(tmp_path: Path) -> None:
    flagged = {card.id for card in catalog().values() if "commercial" in weight_state(card, tmp_path).way_out}
    # Section 11 of the adapter specification.
    assert flagged == {
        "mae-vit-b-16",
        "moco-v3-vit-b-16",
        "sar-jepa-vit-b-16",
        "saratr-x-hivit-b",
        "vhm-vit-l-14-336",
    }


def test_unreleased_weights_are_called_unreleased(tmp_path: Path) -> None:
    assert "unreleased" in weight_state(catalog()["fusar-klip-vit-b-16"], tmp_path).reason


def test_a_published_file_without_a_reader_is_unsupported(tmp_path: Path) -> None:
    card = catalog()["remoteclip-vit-b-32"].model_copy(update={"layout": "not_built_yet"})
    path = weight_file(card, tmp_path)
    assert path is not None
    path.parent.mkdir()
    path.write_bytes(b"anything")
    state = weight_state(card, tmp_path)
    assert state.state == "unsupported"
    assert "not built yet" in state.reason


def test_listing_models_imports_neither_torch_nor_numpy() -> None:
    code = (
        "import sys, adapters.interface, adapters.load\n"
        "from adapters.registry import *\n"
        "cards = select('all,timm:resnet18,mine=x.pth:vit_base_patch16_224')\n"
        "[weight_state(card, None) for card in cards]; groups(); catalog_problems()\n"
        "heavy = {'torch', 'timm', 'numpy', 'torchvision', 'skimage', 'sklearn', 'pandas'} & sys.modules.keys()\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# ---- files of users


OWN_MODEL = """
[[model]]
id = "mine"
name = "Mine"
backbone = "ViT-Base"
kind = "own"
architecture = { kind = "vit", width = 32, depth = 1, heads = 2, patch = 8, activation = "gelu" }
input = "clip"
weights = { kind = "file", path = "mine.pth" }
layout = "timm"
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "models.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_model_file_may_use_the_inputs_of_the_catalogue(tmp_path: Path) -> None:
    (card,) = load_model_file(written(tmp_path, OWN_MODEL))
    assert card.input is not None
    assert card.input.mean == CLIP_MEAN
    assert weight_state(card, None).state == "missing"


def test_a_model_file_may_define_inputs_of_its_own(tmp_path: Path) -> None:
    text = "[inputs]\nradar = { channels = 3, mean = [0.1, 0.1, 0.1], std = [1.0, 1.0, 1.0] }\n" + OWN_MODEL
    (card,) = load_model_file(written(tmp_path, text.replace('"clip"', '"radar"')))
    assert card.input is not None
    assert card.input.mean == (0.1, 0.1, 0.1)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (('activation = "gelu"', 'activation = "swish"'), "activation"),
        ((', activation = "gelu"', ""), "must state activation"),  # stored in no file, so a card must say it
        (("width = 32", "width = 33"), "not divisible"),
        (('input = "clip"', 'input = "clipp"'), "unknown input"),
        (("[[model]]", "[[modle]]"), "no models"),
        (('kind = "own"', 'kind = "own'), "not valid TOML"),
        (('name = "Mine"', 'name = "Mine"\ncolour = "red"'), "colour"),
    ],
)
def test_a_wrong_model_file_is_named_with_the_field(tmp_path: Path, change: tuple[str, str], complaint: str) -> None:
    path = written(tmp_path, OWN_MODEL.replace(*change))
    with pytest.raises(UsageError) as caught:
        load_model_file(path)
    assert complaint in caught.value.what
    assert str(path) in caught.value.where
    assert caught.value.way_out


def test_the_same_id_twice_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'mine' is used twice"):
        load_model_file(written(tmp_path, OWN_MODEL + OWN_MODEL))


def test_a_missing_model_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="cannot read the model file"):
        load_model_file(tmp_path / "nowhere.toml")


# ---- installed packages


def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, code: str, value: str) -> None:
    """A package as pip would leave it: a module and a dist-info folder with an entry point."""
    (tmp_path / f"{name}.py").write_text(code, encoding="utf-8")
    info = tmp_path / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(f"[{catalogue.ENTRY_POINT_GROUP}]\n{name} = {value}\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)


CARDS = """
from adapters.registry import catalog
def card(name):
    return catalog_entry.model_copy(update={"id": name})
from adapters.catalogue import shipped_cards
catalog_entry = shipped_cards()[-1]
one = card("theirs-one")
def several():
    return [card("theirs-two"), card("theirs-three")]
taken = card("clip-vit-b-16")
wrong = ["not a card"]
"""


def test_installed_packages_add_their_cards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, "theirs_a", CARDS, "theirs_a:one")
    install(tmp_path, monkeypatch, "theirs_b", CARDS, "theirs_b:several")
    assert list(catalog())[-3:] == ["theirs-one", "theirs-two", "theirs-three"]
    assert catalog_problems() == []


@pytest.mark.parametrize(
    ("code", "value", "reason"),
    [
        ("raise RuntimeError('no licence server')", "broken:cards", "RuntimeError: no licence server"),
        ("def cards(): raise KeyError('x')", "broken:cards", "KeyError"),
        ("", "broken:cards", "AttributeError"),
        (CARDS, "broken:wrong", "expected a ModelCard, got str"),
        (CARDS, "broken:taken", "'clip-vit-b-16' is already taken"),
    ],
)
def test_a_package_that_misbehaves_is_named_and_leaves_the_others_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, value: str, reason: str
) -> None:
    monkeypatch.delitem(sys.modules, "broken", raising=False)
    install(tmp_path, monkeypatch, "broken", code, value)
    install(tmp_path, monkeypatch, "theirs_c", CARDS, "theirs_c:one")
    assert "theirs-one" in catalog()
    (problem,) = catalog_problems()
    assert "models of broken" in problem
    assert reason in problem
    assert "way out: update or uninstall broken" in problem
    sys.modules.pop("broken", None)
