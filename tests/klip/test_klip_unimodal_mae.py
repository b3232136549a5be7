"""MAE: the loss is of removed patches alone, every token finds its place again, and the decoder learns to paint."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from klip.unimodal.settings import settings_of
from klip.unimodal.tower import encoded, keep_random, patch_tokens, patches_of
from tests.klip.structured_images import learnt, seeded, small_module, structured


def grey(count: int = 3) -> Tensor:
    return torch.from_numpy(structured(count, 32)).float() / 255


def test_a_quarter_is_kept_and_every_place_is_either_kept_or_removed() -> None:
    kept, removed = keep_random(50, 64, 16, seeded())
    assert kept.shape == (50, 16) and removed.shape == (50, 48)
    assert torch.equal(torch.cat([kept, removed], dim=1).sort(dim=1).values, torch.arange(64).expand(50, -1))
    assert len(torch.unique(kept, dim=0)) == 50


def test_only_removed_patches_count(monkeypatch: pytest.MonkeyPatch) -> None:
    module, images = small_module("mae"), grey()
    target = module.target(images)
    kept, removed = keep_random(3, 16, 4, seeded(1))

    def loss(wrong: Tensor) -> float:
        painted = target.clone()
        painted[torch.arange(3)[:, None], wrong] += 1.0
        monkeypatch.setattr(module, "painted", lambda *_: painted)
        return float(module([images], seeded(1))["loss"])

    assert loss(kept) == 0.0
    assert loss(removed) == pytest.approx(1.0, rel=1e-5)


def test_tokens_return_to_their_places() -> None:
    # With a decoder that only hands through, a painted patch is what the encoder said of the patch at that place.
    module, images = small_module("mae"), grey()
    order = torch.stack([torch.randperm(16, generator=seeded(i)) for i in range(3)])
    kept, removed = order[:, :4], order[:, 4:]
    seen: list[Tensor] = []

    def remember(tokens: Tensor) -> Tensor:
        seen.append(tokens)
        return torch.zeros(3, 17, 64)

    module.decoder.embed = torch.nn.Identity()
    module.decoder_positions.zero_()
    module.decoder.forward = remember
    with torch.no_grad():
        module.decoder.mask_token.fill_(7.0)
        module.painted(images, kept, removed)
        (tokens,) = seen
        for i in range(3):
            every = patch_tokens(module.encoder, module.input_of(images))[i]
            states = encoded(module.encoder, every[kept[i]][None])[0, 1:]
            for place in range(16):
                at = (kept[i] == place).nonzero()
                expected = states[int(at)] if len(at) else torch.full((32,), 7.0)
                torch.testing.assert_close(tokens[i, 1 + place], expected, atol=1e-5, rtol=1e-5)


def test_what_was_removed_does_not_reach_the_decoder() -> None:
    module, images = small_module("mae"), grey(1)
    kept, removed = torch.arange(4)[None], torch.arange(4, 16)[None]
    before = module.painted(images, kept, removed)
    changed = images.clone()
    changed[:, 8:] = 0.9  # patches 4 to 15 are the lower three rows of four
    torch.testing.assert_close(module.painted(changed, kept, removed), before)
    changed[:, :8] = 0.9
    assert not torch.allclose(module.painted(changed, kept, removed), before)


def test_the_target_of_a_patch_is_normalised_as_a_loop_does_it() -> None:
    module, images = small_module("mae"), grey(2)
    found = module.target(images)
    for i in range(2):
        for row in range(4):
            for column in range(4):
                patch = images[i, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8].reshape(-1)
                expected = (patch - patch.mean()) / (patch.var() + 1e-6).sqrt()
                torch.testing.assert_close(found[i, 4 * row + column], expected, atol=1e-4, rtol=1e-4)


def test_without_normalisation_the_target_is_the_pixels() -> None:
    module, images = small_module("mae", "mae.normalise_target=false"), grey(2)
    assert torch.equal(module.target(images), patches_of(images[:, None], 8))


def test_it_learns_to_paint() -> None:
    easy = ("mae.normalise_target=false", "mae.keep=0.5", "views.scale=[0.6, 1.0]")
    module, pixels = small_module("mae", *easy), structured(64, 64, speckle=0.0)
    constant = float((torch.from_numpy(pixels).float() / 255).var())
    losses = learnt(module, pixels, 250, rate=3e-3)
    assert sum(losses[-10:]) / 10 < 0.5 * constant


def test_the_base_geometry_is_that_of_the_specification() -> None:
    settings = settings_of("mae")
    assert (settings.mae.decoder_width, settings.mae.decoder_depth, settings.mae.decoder_heads) == (512, 8, 16)
    assert settings.mae.keep == 0.25 and settings.mae.normalise_target
    assert (settings.optim.rate, settings.optim.betas, settings.optim.weight_decay) == (1.5e-4, (0.9, 0.95), 0.05)
    assert settings.optim.warmup == 40 / 800
