"""Every published file fills its encoder: names and shapes at full size, real numbers at a fraction of the width."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from adapters.card import ModelCard
from adapters.encoder import PlainViT
from adapters.hivit import HiViT
from adapters.interface import LoadedModel
from adapters.layouts import LAYOUTS, layout, recognise
from adapters.layouts.tower import NoTowerError
from adapters.load import load
from adapters.registry import catalog
from adapters.weights import weight_file
from foundation.errors import CellError, MissingError, UsageError
from tests.adapters.published_files import (
    Shapes,
    State,
    expanded,
    flax,
    hollow_values,
    lavis_tower,
    mae,
    published_cards,
    random_values,
    reduced,
    san,
    save_torchscript,
    shapes_of,
    write,
)

CARDS = published_cards()

# Tensors in the files, as counted from the upstream models (section 10 of the adapter specification).
COUNTS = {
    "remoteclip-vit-b-32": 302,
    "georsclip-vit-b-32": 302,
    "skyscript-vit-b-32": 302,
    "remoteclip-vit-l-14": 446,
    "skyscript-vit-l-14": 446,
    "clip-vit-b-16": 305,
    "sar-jepa-vit-b-16": 289,
    "saratr-x-hivit-b": 393,
    "mae-vit-b-16": 150,
    "moco-v3-vit-b-16": 342,
    "prithvi-vit-b-16": 254,
    "deit-vit-b-16": 152,
    "vhm-vit-l-14-336": 391,
}


def hollow(shapes: Shapes) -> State:
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


def encoder_shapes(card: ModelCard) -> Shapes:
    """What the card's encoder declares at its own image size; nothing is allocated."""
    architecture = card.architecture
    assert architecture is not None
    kind: type[nn.Module] = HiViT if architecture.kind == "hivit" else PlainViT
    with torch.device("meta"):
        encoder = kind(architecture, image_size=architecture.image_size)
    return {name: tuple(value.shape) for name, value in encoder.state_dict().items()}


def symbols(card: ModelCard, side: int | None = None) -> dict[str, int]:
    architecture = card.architecture
    assert architecture is not None
    width = architecture.width
    side = side or architecture.image_size // architecture.patch
    found = {"D": width, "p": architecture.patch, "N": 1 + side**2, "E": 512, "W": 512, "V": 64, "Q": 512}
    return found | {"H": architecture.heads, "h": width // architecture.heads}


def put(card: ModelCard, root: Path, state: State) -> Path:
    path = weight_file(card, root)
    assert path is not None
    write(card, path, state)
    return path


def loaded(card: ModelCard, root: Path, image_size: int | None = None) -> LoadedModel:
    assert card.architecture is not None
    return load(card, image_size=image_size or card.architecture.image_size, seed=0, weights_root=root)


# ---- all models


def test_the_files_of_these_tests_have_as_many_tensors_as_the_published_ones() -> None:
    assert {card.id: len(shapes_of(card)) for card in CARDS if card.id in COUNTS} == COUNTS


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.id)
def test_a_published_file_holds_exactly_what_its_encoder_declares(card: ModelCard) -> None:
    converted = layout(card.layout or "")(hollow(shapes_of(card)), card)
    declared = encoder_shapes(card)
    found = {name: tuple(value.shape) for name, value in converted.state.items() if name in declared}
    if card.id == "bita-vit-l-14":  # the rest is the companion's
        assert found == {"norm.weight": (1024,), "norm.bias": (1024,)}
        found |= {
            name: tuple(value.shape)
            for name, value in layout("openai_clip")(hollow(lavis_tower(symbols(card))), card).state.items()
            if name in declared
        }
    assert found == declared
    # All of the file is accounted for; Hugging Face's six tensors of queries, keys and values have become two.
    stacked = 4 * 24 if card.layout == "hf_clip" else 0
    assert len(converted.state) + stacked + len(converted.dropped) == len(shapes_of(card))


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.id)
def test_a_published_file_loads_from_its_own_container_with_its_own_numbers(card: ModelCard, tmp_path: Path) -> None:
    card = reduced(card)
    shapes = shapes_of(card)
    values = random_values(shapes)
    path = put(card, tmp_path, values)
    if card.companion is not None and card.layout == "bita":
        torch.save(random_values(lavis_tower(symbols(card)), seed=1), path.with_name(card.companion.filename))
    model = loaded(card, tmp_path)
    assert isinstance(model.encoder, nn.Module)
    state = model.encoder.state_dict()
    assert set(model.report.matched) == state.keys()
    assert model.report.missing == model.report.lost == ()
    assert model.mode == "native"
    assert all(value.dtype == torch.float32 and value.isfinite().all() for value in state.values())


def test_every_published_card_names_a_layout_and_an_activation() -> None:
    for card in CARDS:
        assert card.layout in LAYOUTS, card.id
        assert card.architecture is not None
        assert card.architecture.activation is not None, card.id


def test_every_layout_of_the_table_exists_and_says_what_it_is_not() -> None:
    card = catalog()["clip-vit-b-16"]
    for name in LAYOUTS:
        if name != "timm":  # timm's names are nobody else's: whatever comes in is passed on
            with pytest.raises(CellError) as caught:
                layout(name)({"unknown.weight": torch.ones(1)}, card)
            assert caught.value.way_out
    with pytest.raises(UsageError, match="unknown checkpoint layout"):
        layout("openai-clip")


# ---- names and numbers, family by family


def test_queries_keys_and_values_are_stacked_in_this_order() -> None:
    card = reduced(catalog()["vhm-vit-l-14-336"])
    values = random_values(shapes_of(card))
    state = layout("hf_clip")(values, card).state
    prefix = "vision_model.encoder.layers.3.self_attn."
    for end in ("weight", "bias"):
        parts = torch.cat([values[f"{prefix}{letter}_proj.{end}"] for letter in "qkv"])
        assert torch.equal(state[f"blocks.3.attn.qkv.{end}"], parts)


def test_a_file_without_the_keys_of_one_block_is_torn() -> None:
    card = reduced(catalog()["vhm-vit-l-14-336"])
    values = random_values(shapes_of(card))
    del values["vision_model.encoder.layers.3.self_attn.k_proj.bias"]
    with pytest.raises(CellError, match=r"missing \(blocks\.3\.attn\.qkv\.bias\)"):
        layout("hf_clip")(values, card)


def test_the_class_token_is_doubled_for_changeclip_and_for_nobody_else() -> None:
    card = reduced(catalog()["changeclip-vit-b-16"])
    values = random_values(shapes_of(card))
    token = values["backbone.class_embedding"].reshape(1, 1, -1)
    assert torch.equal(layout("changeclip")(values, card).state["cls_token"], 2 * token)
    assert card.architecture is not None
    plain = card.model_copy(
        update={"architecture": card.architecture.model_copy(update={"doubled_class_token": False})}
    )
    assert torch.equal(layout("changeclip")(values, plain).state["cls_token"], token)


def test_moco_gives_the_base_encoder_and_not_the_momentum_one() -> None:
    card = reduced(catalog()["moco-v3-vit-b-16"])
    values = random_values(shapes_of(card))
    state = layout("moco_v3")(values, card).state
    assert torch.equal(state["norm.weight"], values["module.base_encoder.norm.weight"])
    bare = {
        name.removeprefix("module.base_encoder."): value for name, value in values.items() if "base_encoder" in name
    }
    assert torch.equal(layout("moco_v3")(bare, card).state["norm.weight"], state["norm.weight"])


def test_the_absolute_table_of_sar_jepa_is_never_used() -> None:
    card = reduced(catalog()["sar-jepa-vit-b-16"])
    converted = layout("sar_jepa")(random_values(shapes_of(card)), card)
    assert "pos_embed" not in converted.state
    assert "pos_embed" in converted.dropped
    assert "blocks.11.attn.rpe_k.lookup_table_weight" in converted.state


def test_prithvi_loses_the_axis_of_time_under_either_name() -> None:
    card = reduced(catalog()["prithvi-vit-b-16"])
    values = random_values(shapes_of(card))
    renamed = {
        ("decoder." if name.startswith(("decoder_", "mask_token")) else "encoder.") + name: value
        for name, value in values.items()
    }
    for state in (values, renamed):
        converted = layout("prithvi")(state, card)
        kernel = converted.state["patch_embed.proj.weight"]
        assert torch.equal(kernel, values["patch_embed.proj.weight"][:, :, 0])
        assert "pos_embed" not in converted.state  # the encoder makes its own
        assert converted.notes  # these random numbers are not that table
    values["patch_embed.proj.weight"] = values["patch_embed.proj.weight"].repeat(1, 1, 2, 1, 1)
    with pytest.raises(CellError, match="spans 2 frames"):
        layout("prithvi")(values, card)


def test_the_stored_table_of_prithvi_is_compared_with_the_one_that_is_used() -> None:
    from adapters.interface import Grid
    from adapters.positions import sincos3d_table

    card = reduced(catalog()["prithvi-vit-b-16"])
    values = random_values(shapes_of(card))
    values["pos_embed"] = sincos3d_table(Grid(14, 14), 48, class_token=True, frames=3)
    assert layout("prithvi")(values, card).notes == ()


def test_flax_kernels_are_turned() -> None:
    card = reduced(catalog()["in21k-vit-l-16"])
    values = random_values(flax(symbols(card), 24))
    attention = "Transformer/encoderblock_2/MultiHeadDotProductAttention_1"
    state = layout("flax_npz")({f"opt/target/{name}": value for name, value in values.items()}, card).state
    declared = encoder_shapes(card)
    assert {name: tuple(value.shape) for name, value in state.items()} == declared
    query = values[f"{attention}/query/kernel"]  # [in, head, width of a head]
    assert torch.equal(state["blocks.2.attn.qkv.weight"][:64], query.reshape(64, 64).T)
    assert torch.equal(state["patch_embed.proj.weight"][5, 1], values["embedding/kernel"][:, :, 1, 5])


def san_file(card: ModelCard, depth: int, split: int) -> State:
    return random_values(san(symbols(card), depth, split))


def test_the_tail_of_a_san_file_is_appended_to_deep_cards_only() -> None:
    short = reduced(catalog()["ban-vit-b-16"])
    values = san_file(short, 12, 9)
    converted = layout("mmseg_vit")(values, short)
    assert {name: tuple(value.shape) for name, value in converted.state.items()} == encoder_shapes(short)
    assert short.architecture is not None
    deep = short.architecture.model_copy(update={"depth": 12, "final_norm": True})
    whole = short.model_copy(update={"architecture": deep})
    converted = layout("mmseg_vit")(values, whole)
    assert {name: tuple(value.shape) for name, value in converted.state.items()} == encoder_shapes(whole)
    tail = "decode_head.rec_with_attnbias."
    assert torch.equal(converted.state["blocks.9.norm1.bias"], values[f"{tail}layers.0.norms.0.bias"])
    assert torch.equal(converted.state["blocks.11.mlp.fc2.bias"], values[f"{tail}layers.2.ffns.0.layers.1.bias"])
    assert f"{tail}proj.weight" in converted.dropped


# ---- which encoder of a file is meant


def two_encoders() -> State:
    card = reduced(catalog()["mae-vit-b-16"])
    values = random_values(mae(symbols(card), 12))
    student = {f"student.{name}": value for name, value in values.items()}
    return student | {f"teacher.{name}": value + 1 for name, value in values.items()}


def test_two_encoders_in_a_file_are_not_chosen_from_by_chance() -> None:
    card = reduced(catalog()["mae-vit-b-16"])
    with pytest.raises(CellError, match=r"several encoders, under 'student\.', 'teacher\.'") as caught:
        layout("timm")(two_encoders(), card)
    assert "`prefix`" in caught.value.way_out
    for prefix in ("student.", "module.teacher."):
        chosen = layout("timm")(two_encoders(), card.model_copy(update={"prefix": prefix})).state
        assert torch.equal(chosen["norm.bias"], two_encoders()[f"{prefix.removeprefix('module.')}norm.bias"])
    with pytest.raises(NoTowerError, match=r"under the card's prefix 'backbone\.'; there are encoders under 'student"):
        layout("timm")(two_encoders(), card.model_copy(update={"prefix": "backbone."}))


@pytest.mark.parametrize(
    ("identifier", "keep", "complaint"),
    [
        ("blip-vit-b-16", "visual_encoder_m.", "only a momentum copy"),
        ("moco-v3-vit-b-16", "module.momentum_encoder.", "only a momentum copy"),
        ("blip-vit-b-16", "text_encoder.", "no encoder in the layout 'blip'"),
        ("clip-vit-b-16", "transformer.resblocks.", "no encoder in the layout 'openai_clip'"),
        ("geochat-vit-l-14-504", "model.layers.", "no encoder in the layout 'hf_clip'"),
    ],
)
def test_files_with_a_copy_or_with_text_alone_are_refused(identifier: str, keep: str, complaint: str) -> None:
    card = reduced(catalog()[identifier]).model_copy(update={"companion": None})
    values = {name: value for name, value in random_values(shapes_of(card)).items() if name.startswith(keep)}
    assert values
    with pytest.raises(NoTowerError, match=complaint) as caught:
        layout(card.layout or "")(values, card)
    assert caught.value.way_out


@pytest.mark.parametrize("wrapper", ["module.", "module.module.", "_orig_mod.module."])
def test_wrappers_are_stripped_as_often_as_they_are_there(wrapper: str) -> None:
    card = reduced(catalog()["remoteclip-vit-b-32"])
    values = random_values(shapes_of(card))
    plain = layout("openai_clip")(values, card).state
    wrapped = layout("openai_clip")({wrapper + name: value for name, value in values.items()}, card).state
    assert plain.keys() == wrapped.keys()


def test_a_name_with_and_without_its_wrapper_is_ambiguous() -> None:
    card = catalog()["mae-vit-b-16"]
    with pytest.raises(CellError, match="twice"):
        layout("timm")({"norm.bias": torch.ones(1), "module.norm.bias": torch.ones(1)}, card)


def test_a_part_of_the_tower_that_nobody_knows_is_not_passed_over() -> None:
    card = reduced(catalog()["remoteclip-vit-b-32"])
    values = random_values(shapes_of(card)) | {"visual.transformer.resblocks.0.ls_1.gamma": torch.ones(48)}
    with pytest.raises(CellError, match=r"unknown to the layout 'openai_clip' \(visual\.transformer.*ls_1\.gamma\)"):
        layout("openai_clip")(values, card)


# ---- files of two parts


def test_bita_is_its_own_norm_on_the_blocks_of_the_other_file(tmp_path: Path) -> None:
    card = reduced(catalog()["bita-vit-l-14"])
    assert card.companion is not None
    values, tower = random_values(shapes_of(card)), random_values(lavis_tower(symbols(card)), seed=1)
    path = put(card, tmp_path, values)
    with pytest.raises(MissingError, match=r"clip_vit_L\.pth is not beside"):
        loaded(card, tmp_path)
    torch.save(tower, path.with_name("clip_vit_L.pth"))
    model = loaded(card, tmp_path)
    assert isinstance(model.encoder, PlainViT)
    state = model.encoder.state_dict()
    assert torch.equal(state["norm.weight"], values["ln_vision.weight"])
    assert torch.equal(state["blocks.20.norm1.weight"], tower["transformer.resblocks.20.ln_1.weight"])
    assert len(model.report.borrowed) == len(state) - 2
    assert any("clip_vit_L.pth" in note for note in model.report.notes)
    # a tower in the file itself is preferred
    own = {f"visual_encoder.{name}": value for name, value in random_values(lavis_tower(symbols(card)), seed=2).items()}
    own = {name: value for name, value in own.items() if ".21." not in name and ".22." not in name}
    put(card, tmp_path, values | own)
    model = loaded(card, tmp_path)
    assert model.report.borrowed == ()
    assert isinstance(model.encoder, PlainViT)
    assert torch.equal(
        model.encoder.state_dict()["blocks.20.norm1.weight"],
        own["visual_encoder.transformer.resblocks.20.ln_1.weight"],
    )


def geochat(side: int) -> tuple[ModelCard, State]:
    """The card at a fraction of its width and image size; the file with a table for `side` x `side` tokens."""
    card = reduced(catalog()["geochat-vit-l-14-504"])
    assert card.architecture is not None
    card = card.model_copy(update={"architecture": card.architecture.model_copy(update={"image_size": 14 * 6})})
    assert card.companion is not None
    card = card.model_copy(update={"companion": card.companion.model_copy(update={"sha256": None})})
    values = random_values(shapes_of(card))
    table = "model.vision_tower.vision_tower.vision_model.embeddings.position_embedding.weight"
    values[table] = torch.randn(1 + side**2, 64, generator=torch.Generator().manual_seed(5))
    return card, values


@pytest.mark.parametrize("side", [6, 4], ids=["stretched table", "table of CLIP"])
def test_geochat_takes_either_length_of_its_position_table(tmp_path: Path, side: int) -> None:
    card, values = geochat(side)
    put(card, tmp_path, values)
    report = loaded(card, tmp_path, image_size=84).report
    assert report.reshaped == (() if side == 6 else ("pos_embed",))
    assert report.borrowed == ()


def test_geochat_without_its_tower_falls_back_to_clip_and_says_so(tmp_path: Path) -> None:
    card, values = geochat(6)
    language = {name: value for name, value in values.items() if "vision_tower" not in name}
    path = put(card, tmp_path, language)
    with pytest.raises(MissingError, match=r"ViT-L-14-336px\.pt is not beside"):
        loaded(card, tmp_path, image_size=84)
    clip = catalog()["remoteclip-vit-l-14"].model_copy(update={"architecture": card.architecture})
    save_torchscript(path.with_name("ViT-L-14-336px.pt"), random_values(shapes_of(clip)))
    report = loaded(card, tmp_path, image_size=84).report
    assert set(report.borrowed) == set(report.matched)
    assert any("ViT-L-14-336px.pt" in note for note in report.notes)


def test_a_companion_does_not_mend_a_hole_in_the_main_file(tmp_path: Path) -> None:
    card, values = geochat(6)
    torn = "model.vision_tower.vision_tower.vision_model.encoder.layers.3.layer_norm1.bias"
    path = put(card, tmp_path, {name: value for name, value in values.items() if name != torn})
    clip = catalog()["remoteclip-vit-l-14"].model_copy(update={"architecture": card.architecture})
    save_torchscript(path.with_name("ViT-L-14-336px.pt"), random_values(shapes_of(clip)))
    with pytest.raises(CellError, match=r"missing \(blocks\.3\.norm1\.bias\)"):
        loaded(card, tmp_path, image_size=84)


def test_the_checksum_of_a_model_covers_all_of_its_files(tmp_path: Path) -> None:
    card = reduced(catalog()["bita-vit-l-14"])
    path = put(card, tmp_path, random_values(shapes_of(card)))
    hashes = set()
    for seed in (1, 2):
        torch.save(random_values(lavis_tower(symbols(card)), seed=seed), path.with_name("clip_vit_L.pth"))
        hashes.add(loaded(card, tmp_path).weights_hash)
    assert len(hashes) == 2


def test_the_layout_of_seven_billion_parameters_is_read_without_them(tmp_path: Path) -> None:
    from adapters.containers import read

    card = catalog()["geochat-vit-l-14-504"]
    shapes = shapes_of(card)
    path = tmp_path / "a.bin"
    torch.save(hollow_values(shapes), path)
    container = read(path)
    assert {name: tuple(value.shape) for name, value in container.tensors.items()} == shapes
    assert path.stat().st_size < 1_000_000


# ---- files that do not fit


def test_nine_blocks_do_not_make_a_model_of_twelve(tmp_path: Path) -> None:
    card = reduced(catalog()["ban-vit-b-16"])
    put(card, tmp_path, random_values(shapes_of(card)))
    assert card.architecture is not None
    deep = card.model_copy(update={"architecture": card.architecture.model_copy(update={"depth": 12})})
    with pytest.raises(CellError, match=r"36 of 149 tensors are missing \(blocks\.10\.") as caught:
        loaded(deep, tmp_path)
    assert "depth 9" in caught.value.way_out


def test_a_missing_tensor_of_any_kind_is_an_error(tmp_path: Path) -> None:
    card = reduced(catalog()["remoteclip-vit-b-32"])
    values = random_values(shapes_of(card))
    for name in ("visual.class_embedding", "visual.ln_pre.bias", "visual.transformer.resblocks.7.mlp.c_fc.weight"):
        put(card, tmp_path, {key: value for key, value in values.items() if key != name})
        with pytest.raises(CellError, match="1 of 151 tensors are missing"):
            loaded(card, tmp_path)


# ---- recognising a file


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.id)
def test_a_published_file_is_recognised_by_its_names_and_shapes(card: ModelCard) -> None:
    best, *_ = recognise(shapes_of(card))
    assert best.layout == card.layout
    architecture = card.architecture
    assert architecture is not None
    if best.layout != "bita":
        for fact in (f"width {architecture.width}", f"depth {architecture.depth}", f"patch {architecture.patch}"):
            assert fact in best.description


def test_openai_is_told_from_those_who_trained_on() -> None:
    theirs, ours = (recognise(shapes_of(catalog()[name]))[0] for name in ("remoteclip-vit-b-32", "clip-vit-b-16"))
    assert "OpenAI's own file" in ours.description
    assert "OpenAI's own file" not in theirs.description
    assert "patch 32" in theirs.description


def test_the_archive_and_the_zoo_file_are_recognised_too() -> None:
    card = catalog()["in21k-vit-l-16"]
    assert recognise(flax(symbols(card), 24))[0].layout == "flax_npz"
    ban = catalog()["ban-vit-b-16"]
    found = recognise(san(symbols(ban), 12, 9))[0]
    assert found.layout == "mmseg_vit"
    assert "depth 12" in found.description


@pytest.mark.parametrize(
    "shapes",
    [{}, {"a": (3,)}, expanded("encoder.layer.{i}.attention.self.query.{wb} D,D", {"D": 8}, range(2), "bert.")],
)
def test_a_file_without_an_encoder_is_recognised_as_nothing(shapes: Shapes) -> None:
    assert recognise(shapes) == ()


def test_values_never_count_for_recognition() -> None:
    state: dict[str, Tensor] = hollow(shapes_of(catalog()["mae-vit-b-16"]))
    assert recognise({name: tuple(value.shape) for name, value in state.items()})[0].layout == "timm"
