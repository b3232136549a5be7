"""Every published ViT-Base, at full size: a file in exactly its layout loads whole and computes what timm computes."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from adapters.card import ModelCard
from adapters.encoder import PlainViT
from adapters.load import load
from adapters.weights import weight_file
from tests.adapters.published_files import hollow_values, published_cards, random_values, shapes_of, write

pytestmark = pytest.mark.slow

CARDS = [card for card in published_cards() if card.backbone == "ViT-Base" and card.architecture is not None]
TEXT = (
    "text",
    "token_embedding",
    "transformer.",
    "decoder",
    "context",
    "ln_final",
    "module.token",
    "module.transformer",
)
"""How names of text towers and decoders begin: their values are never looked at, so they take no room."""


class QuickGELU(nn.Module):
    """The activation of OpenAI's CLIP."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.sigmoid(1.702 * x)


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.id)
def test_a_published_file_at_full_size_loads_whole_and_computes_what_timm_computes(
    card: ModelCard, tmp_path: Path
) -> None:
    assert card.architecture is not None and card.architecture.width == 768
    shapes = shapes_of(card)
    text = {name for name in shapes if name.startswith(TEXT)}
    state = random_values({name: shape for name, shape in shapes.items() if name not in text})
    state |= hollow_values({name: shapes[name] for name in text})
    path = weight_file(card, tmp_path)
    assert path is not None
    path.parent.mkdir(parents=True)
    write(card, path, state)
    side = card.architecture.image_size
    unpinned = card.model_copy(update={"weights": card.weights.model_copy(update={"sha256": None})})
    loaded = load(unpinned, image_size=side, seed=0, weights_root=tmp_path)
    encoder = loaded.encoder
    assert isinstance(encoder, PlainViT)
    assert loaded.report.missing == () and loaded.report.lost == ()
    path.unlink()  # hundreds of megabytes each; pytest keeps what is left
    assert {name for name, _ in encoder.named_parameters()} <= set(loaded.report.matched) | {"pos_embed"}
    images = torch.randn(1, encoder.in_channels, side, side, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        found = encoder.eval()(images)
    assert found.tokens.isfinite().all()
    if card.architecture.position in ("learned", "sincos2d"):
        with torch.inference_mode():
            theirs = _timm(card, encoder).forward_features(images)
        assert torch.allclose(found.tokens, theirs[:, 1:], atol=1e-5 * float(theirs.abs().max().clamp(min=1)))
        assert torch.allclose(found.pooled, theirs[:, 0], atol=1e-5 * float(theirs.abs().max().clamp(min=1)))


def _timm(card: ModelCard, encoder: PlainViT) -> VisionTransformer:
    facts = card.architecture
    assert facts is not None
    model = VisionTransformer(
        img_size=facts.image_size,
        patch_size=facts.patch,
        in_chans=facts.in_channels,
        embed_dim=facts.width,
        depth=facts.depth,
        num_heads=facts.heads,
        num_classes=0,
        pre_norm=facts.pre_norm,
        act_layer=QuickGELU if facts.activation == "quick_gelu" else nn.GELU,
        norm_layer=partial(nn.LayerNorm, eps=facts.norm_eps),
    ).eval()
    if not facts.final_norm:
        model.norm = nn.Identity()
    state = dict(encoder.state_dict())
    if not facts.patch_bias and "patch_embed.proj.bias" in model.state_dict():
        state["patch_embed.proj.bias"] = torch.zeros(facts.width)
    model.load_state_dict(state, strict=True)
    return model
