"""The contrastive baseline: CLIP's loss where all texts differ, equal texts no negatives, nothing left untrained."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from foundation.errors import MissingError
from klip.tokens.batch import pack
from klip.training.distributed import single
from klip.unimodal.contrastive import ContrastivePretraining, symmetric_contrast
from klip.unimodal.run import prepare, read_baseline_corpus, tokenised
from tests.klip.small_corpus import record, write_corpus, write_lines
from tests.klip.structured_images import seeded, small_settings


def unit(count: int, seed: int) -> torch.Tensor:
    return F.normalize(torch.randn(count, 8, generator=seeded(seed), dtype=torch.float64), dim=1)


def test_the_loss_is_that_of_open_clip_where_all_texts_differ() -> None:
    from open_clip import ClipLoss

    images, texts, tau = unit(6, 0), unit(6, 1), torch.tensor(0.1, dtype=torch.float64)
    expected = ClipLoss()(images, texts, 1 / tau)
    found = symmetric_contrast(images, texts, tau, torch.arange(6))
    assert float(found) == pytest.approx(float(expected), abs=1e-6)  # targets are single precision


def test_equal_texts_share_the_target() -> None:
    images, tau = unit(4, 0), torch.tensor(0.1, dtype=torch.float64)
    texts = unit(4, 1)[[0, 0, 2, 3]]
    groups = torch.tensor([5, 5, 6, 7])
    logits = images @ texts.T / tau
    target = torch.tensor([[0.5, 0.5, 0, 0], [0.5, 0.5, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], dtype=torch.float64)
    expected = 0.5 * (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target))
    assert float(symmetric_contrast(images, texts, tau, groups)) == pytest.approx(float(expected))


@pytest.fixture()
def folder(tmp_path: Path) -> Path:
    records = [record(number, Count=f"{number} ships") for number in range(6)]
    corpus = write_corpus(tmp_path / "corpus", records, side=32)
    write_lines(corpus / "texts_template.jsonl", [{**entry, "Region": "a harbour"} for entry in records])
    return corpus


SETTINGS = small_settings("clip", "batch_size_per_device=3", "clip.vocabulary_size=300")


def test_it_reads_the_template_texts(folder: Path) -> None:
    corpus = read_baseline_corpus(folder, SETTINGS)
    assert {text.segments[6].value for text in corpus.texts} == {"a harbour"}
    (folder / "texts_template.jsonl").unlink()
    with pytest.raises(MissingError, match="no template texts"):
        read_baseline_corpus(folder, SETTINGS)


def test_every_parameter_gets_a_gradient(folder: Path) -> None:
    corpus = read_baseline_corpus(folder, SETTINGS)
    tokens, vocabulary = tokenised(corpus, SETTINGS)
    found = prepare(corpus, SETTINGS, single()).statistics
    module = ContrastivePretraining(SETTINGS, found, vocabulary.size, vocabulary.specials)
    texts = pack(tokens, vocabulary.specials)
    module(torch.rand(6, 32, 32), texts, torch.arange(6))["loss"].backward()
    # Several processes would wait for gradients that never come.
    assert [name for name, one in module.named_parameters() if one.requires_grad and one.grad is None] == []


def test_it_learns_which_text_belongs_to_which_image(folder: Path) -> None:
    corpus = read_baseline_corpus(folder, SETTINGS)
    prepared = prepare(corpus, SETTINGS, single())
    module = prepared.objective.module
    optimiser = torch.optim.AdamW(module.parameters(), lr=1e-3)
    tokens, vocabulary = tokenised(corpus, SETTINGS)
    texts = pack(tokens, vocabulary.specials)
    images = torch.from_numpy(prepared.objective._pixels.copy()).float() / 255
    module.eval()  # without dropout six pairs are learnt by heart in a moment
    losses = []
    for _ in range(80):
        loss = module(images, texts, torch.arange(6))["loss"]
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.3 * losses[0]
