"""What a user may write after `--models`, and what comes of it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.card import ModelCard
from adapters.registry import catalog, groups, select
from adapters.shipped import zoo_card_files
from foundation.errors import UsageError

IDS = list(catalog())
MINI = [*(path.stem for path in zoo_card_files()), "random-mini"]


def chosen(spec: str, *extra: ModelCard) -> list[str]:
    return [card.id for card in select(spec, extra)]


def test_all_is_the_whole_catalogue() -> None:
    assert chosen("all") == IDS


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from([*IDS, *groups()]), min_size=1))
def test_any_mixture_keeps_the_order_of_the_catalogue_and_names_each_model_once(items: list[str]) -> None:
    wanted = {name for item in items for name in groups().get(item, [item])}
    assert chosen(",".join(items)) == [name for name in IDS if name in wanted]


def test_no_group_hides_a_model() -> None:
    assert not groups().keys() & set(IDS)


def test_groups_have_the_sizes_of_the_papers_tables() -> None:
    sizes = {name: len(members) for name, members in groups().items()}
    assert (sizes["table4"], sizes["table6"], sizes["table7"]) == (19, 16, 5)
    assert groups()["mini"] == MINI
    assert groups()["control"] == ["random-mini", "resnet18-scratch", "simple-features"]
    assert {"vit-base", "vit-large", "multimodal_optical_rs", "vision_only_sar"} <= sizes.keys()


def test_blanks_around_commas_do_not_matter() -> None:
    assert chosen(" random-mini , simple-features,") == ["random-mini", "simple-features"]


@pytest.mark.parametrize("spec", ["", " ", ",,"])
def test_naming_nothing_is_an_error(spec: str) -> None:
    with pytest.raises(UsageError, match="no model named"):
        select(spec)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("remoteclip-vit-b-23", "remoteclip-vit-b-32"), ("Random_Mini", "random-mini"), ("vit-bas", "vit-base")],
)
def test_a_misspelt_name_is_answered_with_the_near_ones(typed: str, meant: str) -> None:
    with pytest.raises(UsageError) as caught:
        select(f"all,{typed}")
    assert meant in caught.value.way_out
    assert "harness list models" in caught.value.way_out


def test_a_file_of_ones_own_becomes_a_card() -> None:
    (card,) = select("mine=some/ckpt.pth:vit_base_patch16_224")
    assert (card.id, card.backbone, card.layout) == ("mine", "ViT-Base", "timm")
    assert (card.weights.kind, card.weights.path) == ("file", "some/ckpt.pth")
    assert card.architecture is not None
    assert (card.architecture.width, card.architecture.patch, card.architecture.image_size) == (768, 16, 224)


@pytest.mark.parametrize(
    ("architecture", "backbone", "kind"),
    [
        ("vit_base_patch32_384", "ViT-Base", "vit"),
        ("vit_large_patch14_224", "ViT-Large", "vit"),
        ("vit_small_patch16_224", "other", "vit"),
        ("vit_base_patch16_224.mae", "ViT-Base", "vit"),
        ("vit_base_patch16_clip_224", "other", "timm"),  # a norm before the blocks: not our plain default
        ("resnet18", "other", "timm"),
    ],
)
def test_the_comparison_group_follows_from_width_and_depth(architecture: str, backbone: str, kind: str) -> None:
    (card,) = select(f"mine=ckpt.pth:{architecture}")
    assert card.backbone == backbone
    assert card.architecture is not None
    assert card.architecture.kind == kind


def test_written_models_come_after_those_of_the_catalogue() -> None:
    assert chosen("mine=a.pth:vit_base_patch16_224,random-mini") == ["random-mini", "mine"]


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ("mine=ckpt.pth", "needs a name, a file and an architecture"),
        ("=ckpt.pth:vit_base_patch16_224", "needs a name, a file and an architecture"),
        ("mine=:vit_base_patch16_224", "needs a name, a file and an architecture"),
        ("My Model=ckpt.pth:vit_base_patch16_224", "not a possible model name"),
        ("clip-vit-b-16=ckpt.pth:vit_base_patch16_224", "already belongs to the catalogue"),
        ("control=ckpt.pth:vit_base_patch16_224", "already belongs to the catalogue"),
        ("mine=a.pth:vit_base_patch16_224,mine=b.pth:vit_base_patch16_224", "given to two models"),
        ("timm:", "needs a model name"),
    ],
)
def test_wrongly_written_models_are_refused_with_the_form(spec: str, complaint: str) -> None:
    with pytest.raises(UsageError) as caught:
        select(spec)
    assert complaint in caught.value.what
    assert caught.value.way_out


def test_a_timm_name_is_from_scratch_unless_pretrained_is_asked_for() -> None:
    scratch, pretrained = select("timm:resnet18,timm:resnet18@pretrained")
    assert (scratch.id, scratch.weights.kind) == ("timm:resnet18", "random")
    assert (pretrained.id, pretrained.weights.kind) == ("timm:resnet18:pretrained", "timm")


def test_the_id_of_a_written_timm_model_selects_it_again() -> None:
    for card in select("timm:resnet18,timm:vit_base_patch16_224@pretrained"):
        assert select(card.id) == [card]


def test_cards_of_a_model_file_can_be_named_and_belong_to_all() -> None:
    mine = catalog()["random-mini"].model_copy(update={"id": "mine"})
    assert chosen("mine", mine) == ["mine"]
    assert chosen("all", mine) == [*IDS, "mine"]
    assert chosen("mini", mine) == [*MINI, "mine"]


def test_a_model_file_cannot_take_a_name_of_the_catalogue() -> None:
    with pytest.raises(UsageError, match="used twice"):
        select("all", [catalog()["random-mini"]])
