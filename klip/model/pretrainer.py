"""One step of pre-training: the model, its twins, the queue and the three losses (sections 4 and 5).

All losses come out of one forward, so data-parallel training wraps this module and synchronises once. The order inside
a step is that of section 5.1: the twins' features, the losses against the queue as it was, then the queue takes the
step's rows. The twins follow after the optimiser's step (`follow`), not per micro-batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from foundation.errors import UsageError
from klip.losses.contrast import Keys, Query, contrast, similarity
from klip.losses.corrupt import Corrupted, Noise, corrupt, whole_text
from klip.losses.infilling import language_loss, next_token_loss
from klip.losses.matching import Negatives, draw_negatives, matching_loss, negative_weights
from klip.model.early_count import EarlyCount
from klip.model.gather import gathered, gathered_tokens, gathered_with_gradient, rank
from klip.model.klip import KLIP
from klip.model.momentum import MomentumTwin
from klip.model.queue import FeatureQueue
from klip.model.start import start_towers
from klip.model.text_stack import Layer, Memory
from klip.tokens.batch import TokenBatch, joined

if TYPE_CHECKING:
    from klip.settings import InfillingSettings, PretrainingSettings
    from klip.tokens.vocabulary import Specials

BLIP_SMOOTHING = 0.1  # [B] section 4.3: of the language loss of BLIP, objective `lm`


@dataclass(frozen=True, slots=True)
class PairBatch:
    """Images and their texts."""

    images: Tensor
    """[B, 3, S, S], augmented and normalised."""
    tokens: TokenBatch
    image_id: Tensor
    """int64 [B]: row in the corpus."""
    text_hash: Tensor
    """int64 [B]."""
    noise: Tensor
    """bool [B, 8]: segments in the noise pool; only infilling looks at it (contradiction C6)."""

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: torch.device | str) -> PairBatch:
        """The batch on a device."""
        moved = (part.to(device, non_blocking=True) for part in (self.image_id, self.text_hash, self.noise))
        return PairBatch(self.images.to(device, non_blocking=True), self.tokens.to(device), *moved)


@dataclass(frozen=True, slots=True)
class StepContext:
    """What changes from step to step and is no data."""

    alpha: float
    """Weight of the soft targets, on its ramp (section 4.1)."""
    generator: torch.Generator
    """Of this step and rank: negatives and corruption. On the device of the model."""


class _Candidates(NamedTuple):
    """Who may be drawn as a negative: this rank's pairs or all ranks'."""

    i2t: Tensor
    """[B, C], no gradient: this rank's images against the candidates' texts."""
    t2i: Tensor
    image_id: Tensor
    text_hash: Tensor
    first: int
    """Where this rank's own rows begin."""


class _Pass(NamedTuple):
    """One batch on its way through the losses."""

    pairs: PairBatch
    context: StepContext
    memory: Memory
    """Keys and values of the candidates' images, projected once for all losses."""
    text_states: Tensor | None
    """Of mode `text`; with `albef` of all positions, else of the first. None where nothing is compared."""
    candidates: _Candidates | None


class Asked(NamedTuple):
    """The questions of the language loss."""

    question: Corrupted
    tokens: EarlyCount
    """How many are asked for."""


class Pretrainer(nn.Module):
    """Everything that training changes: `online` learns, `twin` follows, `queue` remembers."""

    def __init__(
        self,
        settings: PretrainingSettings,
        vocabulary_size: int,
        specials: Specials,
        *,
        queue_size: int | None = None,
        dropout: float | None = None,
        online: KLIP | None = None,
    ) -> None:
        """`online` is a model that is there already and is trained in place of a new one."""
        super().__init__()
        self.settings = settings
        if online is None:
            online = KLIP(settings, vocabulary_size, specials, dropout=dropout)
            start_towers(online)
        self.online = online
        self.twin = MomentumTwin(self.online, dropout=settings.ema.dropout)
        size = settings.queue.size if queue_size is None else queue_size
        self.queue = FeatureQueue(size, settings.model.embed_dim, start=settings.queue.init, seed=settings.seed)
        self._freeze_unused()

    def forward(self, pairs: PairBatch, context: StepContext) -> dict[str, Tensor]:
        """The losses, their weighted sum as `loss`, and what a log wants to know, all detached but `loss`."""
        weights = self.settings.loss.weights
        model = self.online
        self._require_room(len(pairs))
        model.clamp_temperature()
        if weights[2]:
            asked = self.asked(pairs, context)
        image = model.encode_image(pairs.images)
        total = torch.zeros((), device=pairs.images.device)
        report, states, candidates = {}, None, None
        if self._compares:
            states = model.text.text(pairs.tokens.ids, pairs.tokens.mask, first_only=not model.text.first_cross)
            contrastive, candidates = self._contrast(pairs, image.features, model.text_feature(states), context)
            total = weights[0] * contrastive
            report = {"itc": contrastive.detach(), **_contrast_report(candidates, len(pairs))}
        if weights[1] or weights[2]:
            visual = gathered_with_gradient(image.memory) if self._everywhere else image.memory
            run = _Pass(pairs, context, model.visual_memory(visual), states, candidates)
        if weights[1]:
            matching, logits = self._matching(run)
            total = total + weights[1] * matching
            report |= {"itm": matching.detach(), **_matching_report(logits, len(pairs))}
        if weights[2]:
            infilling = self._infilling(run, asked)
            total = total + weights[2] * infilling
            report |= {"mlm": infilling.detach(), "targets": asked.tokens.total}
        return {"loss": total, **report}

    @torch.no_grad()
    def follow(self) -> None:
        """The twins move towards the model: after every step of the optimiser, and only then (section 5.2)."""
        if self._compares:
            self.twin.follow(self.online, self.settings.ema.m)

    @property
    def _compares(self) -> bool:
        """Whether features of images and texts are compared; writing alone needs neither them nor the twins."""
        return bool(self.settings.loss.weights[0] or self.settings.loss.weights[1])

    @property
    def _everywhere(self) -> bool:
        """Whether negatives of matching come from all ranks (section 5.4)."""
        return self.settings.itm.negative_all_rank and self.settings.loss.weights[1] > 0

    def _contrast(
        self, pairs: PairBatch, vision: Tensor, text: Tensor, context: StepContext
    ) -> tuple[Tensor, _Candidates]:
        twin_vision, twin_text = self.twin.features(pairs.images, pairs.tokens)
        mine = Keys(twin_vision, twin_text, pairs.image_id, pairs.text_hash)
        everyone = Keys(*(gathered(part) for part in mine))
        now = everyone if self.settings.itc.gather else mine
        # Joining copies, so what the backward pass needs is not overwritten when the queue takes the step's rows.
        keys = Keys(*(torch.cat(both) for both in zip(now, self.queue.rows(), strict=True)))
        loss = contrast(
            Query(vision, text, *mine),
            keys,
            self.online.temperature,
            alpha=context.alpha,
            batch_keys=len(now.image_id),
            same_id=self.settings.queue.same_id,
            group_equal_text=self.settings.itc.group_equal_text,
        )
        if self.training:
            self.queue.enqueue(*everyone)
        others = everyone if self._everywhere else mine
        tau = self.online.temperature.detach()
        i2t = similarity(vision.detach(), others.text, tau)
        t2i = similarity(text.detach(), others.vision, tau)
        first = rank() * len(pairs) if self._everywhere else 0
        return loss, _Candidates(i2t, t2i, others.image_id, others.text_hash, first)

    def _matching(self, run: _Pass) -> tuple[Tensor, Tensor]:
        """Matches, hard wrong texts and hard wrong images through one pass of the fusion encoder."""
        assert run.candidates is not None and run.text_states is not None
        model, tokens, first = self.online, run.pairs.tokens, run.candidates.first
        wrong_text, wrong_image = self._negatives(run)
        own = torch.arange(first, first + len(run.pairs), device=tokens.ids.device)
        # Matches and wrong texts look at the images in their order; of all ranks' images they are named one by one.
        images, rounds = wrong_image.partner, 2
        if self._everywhere:
            images, rounds = torch.cat([own, own, images]), 0
        pad = model.specials.pad
        texts = gathered_tokens(tokens, pad) if self._everywhere else tokens
        if model.text.first_cross:
            # The texts were read already: the second half of the layers goes on from there.
            chosen = torch.cat([own, wrong_text.partner, own])
            wide = torch.nn.functional.pad(run.text_states, (0, 0, 0, texts.width - tokens.width))
            states = gathered_with_gradient(wide) if self._everywhere else wide
            fused = model.text.fused_from(
                states[chosen], texts.mask[chosen], run.memory, images, first_only=True, rounds=rounds
            )
            logits = model.itm_from(fused)
        else:
            rows = joined([tokens, texts.rows(wrong_text.partner), tokens], pad)
            logits = model.itm_logits(rows, run.memory, images, rounds=rounds)
        return matching_loss(logits, wrong_text.valid, wrong_image.valid), logits.detach()

    def _negatives(self, run: _Pass) -> tuple[Negatives, Negatives]:
        """A wrong text for each image and a wrong image for each text."""
        pairs, others = run.pairs, run.candidates
        assert others is not None
        draws = torch.rand(2, len(pairs), generator=run.context.generator, device=pairs.images.device)
        same = pairs.image_id[:, None] == others.image_id[None]
        same = same | (pairs.text_hash[:, None] == others.text_hash[None])
        hardness = self.settings.itm.hardness
        wrong_text = draw_negatives(negative_weights(others.i2t, same, hardness), draws[0])
        return wrong_text, draw_negatives(negative_weights(others.t2i, same, hardness), draws[1])

    def asked(self, pairs: PairBatch, context: StepContext) -> Asked:
        """What the language loss asks for; drawn before anything else, so that its size is known when it is needed."""
        noise = Noise(pairs.noise, hidden=self.settings.scio.noise_in_mlm == "mask")
        if self.settings.mlm.objective == "lm":
            question = whole_text(pairs.tokens, noise, self.online.specials)
            return Asked(question, EarlyCount(question.targets))
        question = corrupt(
            pairs.tokens,
            noise,
            self._drawn_modes(),
            self.online.specials,
            self.online.vocabulary_size,
            context.generator,
            keep_label=self.settings.scio.recon.keep_label,
        )
        return Asked(question, EarlyCount(question.targets))

    def _infilling(self, run: _Pass, asked: Asked) -> Tensor:
        """The language loss of the objective in force."""
        model, settings, question = self.online, self.settings.mlm, asked.question
        own = None  # row by row: naming the rows would copy them
        if self._everywhere:
            assert run.candidates is not None
            own = torch.arange(len(run.pairs), device=question.gold.device) + run.candidates.first
        # ALBEF reads the gaps and fills them, BLIP writes from the image, infilling does one after the other.
        blind = settings.objective == "lm" or self.settings.model.decoder_memory == "image"
        if settings.objective == "bidir" or not blind:
            fused = model.fused(question.encoder, run.memory, own)
        if settings.objective == "bidir":
            smoothing = settings.label_smoothing
            return language_loss(model, fused, question.gold, question.targets, smoothing=smoothing, count=asked.tokens)
        memory = model.decoder_memory(None if blind else fused, question.encoder.mask, run.memory, own)
        return next_token_loss(
            model,
            model.decode(question.decoder.ids, memory),
            question.gold,
            question.targets,
            smoothing=settings.label_smoothing or (BLIP_SMOOTHING if settings.objective == "lm" else 0.0),
            count=asked.tokens,
        )

    def _drawn_modes(self) -> InfillingSettings:
        """ALBEF's objective has no gaps of unknown length, so it asks for single tokens only."""
        settings = self.settings.mlm
        if settings.objective == "bidir":
            return settings.model_copy(update={"mode_probs": (1.0, 0.0, 0.0)})
        return settings

    def _require_room(self, pairs: int) -> None:
        if pairs < 2 and self.settings.loss.weights[1] and not self._everywhere:
            raise UsageError(
                "matching needs another image to be mismatched with, the batch has one",
                way_out="use batch_size_per_device of two or more, or switch matching off",
            )

    def _freeze_unused(self) -> None:
        """What no loss reaches does not learn: data-parallel training would wait for its gradient in vain."""
        contrastive, matching, infilling = self.settings.loss.weights
        objective, model = self.settings.mlm.objective, self.online
        unused: list[nn.Module] = []
        if not contrastive:  # matching only draws from what the projections say
            unused += [model.vision_proj, model.text_proj]
            model.temperature.requires_grad_(False)
        if not matching:
            unused.append(model.itm_head)
        if not infilling:
            unused.append(model.language_head)
        if not infilling or objective == "bidir":
            unused += [layer.self_dec for layer in model.text.layers if isinstance(layer, Layer)]
        if not matching and not infilling:
            unused += [layer.cross for layer in model.text.layers if isinstance(layer, Layer) and layer.cross]
            unused.append(model.vis_to_txt)
            if model.text.first_cross:  # `albef`: the second half is never run
                unused += list(model.text.layers[model.text.first_cross :])
        for part in unused:
            part.requires_grad_(False)


@torch.no_grad()
def _contrast_report(candidates: _Candidates, count: int) -> dict[str, Tensor]:
    """How often a pair's own partner is the nearest of the batch."""
    own = torch.arange(candidates.first, candidates.first + count, device=candidates.i2t.device)
    return {
        "r1_i2t": (candidates.i2t.argmax(dim=1) == own).float().mean(),
        "r1_t2i": (candidates.t2i.argmax(dim=1) == own).float().mean(),
    }


@torch.no_grad()
def _matching_report(logits: Tensor, count: int) -> dict[str, Tensor]:
    """Share of matches and of mismatches that are told right."""
    match = logits.argmax(dim=1) == 1
    return {"itm_match": match[:count].float().mean(), "itm_mismatch": (~match[count:]).float().mean()}
