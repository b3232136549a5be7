"""A step of KLIP's pre-training against a plain BLIP-style step from library parts of equal sizes."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.bench.interleave import Timing, interleaved

if TYPE_CHECKING:
    from torch import Tensor

    from klip.model.pretrainer import PairBatch, Pretrainer

PEER = "BLIP-style, library parts"


class Case(NamedTuple):
    """What both sides work on."""

    size: str
    vocabulary: int
    pairs: int
    tokens: int


TINY, TINY_LONG, BASE = Case("tiny", 2000, 16, 32), Case("tiny", 2000, 16, 150), Case("base", 30_524, 4, 30)


def tiny_step(turns: int) -> dict[str, Timing]:
    """One optimiser step of the tiny model, 16 pairs of 32 tokens: contrast, matching and language."""
    return _measured(TINY, turns)


def tiny_step_long(turns: int) -> dict[str, Timing]:
    """The same with texts of 150 tokens."""
    return _measured(TINY_LONG, turns)


def base_step(turns: int) -> dict[str, Timing]:
    """One optimiser step of the base model, 4 pairs of 30 tokens; takes 12 GB of memory and half a minute a turn."""
    return _measured(BASE, min(turns, 3))


KLIP_STEP_MEASUREMENTS: dict[str, tuple[Callable[[int], dict[str, Timing]], str]] = {
    "klip-step": (tiny_step, PEER),
    "klip-step-long": (tiny_step_long, PEER),
    "klip-step-base": (base_step, PEER),
}
"""Name to the measurement and the peer that the others are divided by."""


def _measured(case: Case, turns: int) -> dict[str, Timing]:
    import torch

    torch.set_num_threads(1)
    pairs = pairs_of(case)
    return interleaved({"ours": our_step(case, pairs), PEER: peer_step(case, pairs)}, turns=turns)


def our_step(case: Case, pairs: PairBatch) -> Callable[[], None]:
    """A whole step of ours, the twins included, with a queue that is full."""
    import torch

    from klip.model.pretrainer import StepContext
    from klip.training.optimiser import OptimiserPlan, build_optimiser

    ours = pretrainer_of(case).train()
    generator = torch.Generator().manual_seed(0)
    _fill(ours.queue.vision, ours.queue.text)
    ours.queue.filled = ours.queue.size
    optimiser = build_optimiser(ours, OptimiserPlan(weight_decay=0.05))

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        ours(pairs, StepContext(alpha=0.4, generator=generator))["loss"].backward()
        optimiser.step()
        ours.follow()

    return step


def pretrainer_of(case: Case) -> Pretrainer:
    """The model of the size with its twins and queue."""
    from klip.model.pretrainer import Pretrainer
    from klip.settings import preset

    return Pretrainer(preset(size=case.size), case.vocabulary, _specials(case))


def pairs_of(case: Case) -> PairBatch:
    """Noise, and texts of eight segments that fill the length exactly."""
    import torch

    from klip.model.pretrainer import PairBatch
    from klip.settings import SLOTS, preset
    from klip.tokens.batch import pack
    from klip.tokens.layout import SlotTokens

    rng = random.Random(0)
    generator = torch.Generator().manual_seed(0)
    side = preset(size=case.size).image.size

    def text() -> tuple[SlotTokens, ...]:
        room = case.tokens - 2 - SLOTS  # [CLS], [SEP] and the ends of segments
        lengths = [room // SLOTS + (n < room % SLOTS) for n in range(SLOTS)]
        words = [tuple(rng.randrange(200, case.vocabulary - 2) for _ in range(length)) for length in lengths]
        return tuple(SlotTokens(each[: min(2, len(each) - 1)], each[min(2, len(each) - 1) :]) for each in words)

    tokens = pack([text() for _ in range(case.pairs)], _specials(case))
    assert tokens.width == case.tokens
    return PairBatch(
        images=torch.randn(case.pairs, 3, side, side, generator=generator),
        tokens=tokens,
        image_id=torch.arange(case.pairs) + 1_000_000,
        text_hash=torch.arange(case.pairs) + 1_000_000,
        noise=torch.zeros(case.pairs, SLOTS, dtype=torch.bool),
    )


def peer_step(case: Case, pairs: PairBatch) -> Callable[[], None]:
    """A whole step as BLIP's recipe has it, written with timm's ViT and the BERT of transformers."""
    import torch

    peer = _BlipStep(case)
    module = torch.nn.ModuleList(peer.trained)
    optimiser = torch.optim.AdamW(module.parameters(), lr=3e-4, weight_decay=0.05)

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        peer.loss(pairs.images, pairs.tokens.ids, pairs.tokens.mask).backward()  # type: ignore[no-untyped-call]
        optimiser.step()

    return step


class _BlipStep:
    """Towers, twins and queues of the peer, and its three losses."""

    def __init__(self, case: Case) -> None:
        import copy

        import torch
        from torch import nn

        from klip.settings import preset

        model = preset(size=case.size).model
        self.specials = _specials(case)
        self.vision, self.encoder, self.decoder = self._towers(case)
        self.vision_proj = nn.Linear(model.vision_width, model.embed_dim)
        self.text_proj = nn.Linear(model.text_width, model.embed_dim)
        self.itm_head = nn.Linear(model.text_width, 2)
        self.temperature = nn.Parameter(torch.tensor(0.07))
        self.online = nn.ModuleList([self.vision, self.encoder, self.vision_proj, self.text_proj])
        self.twins = copy.deepcopy(self.online).requires_grad_(False)
        self.trained = [self.online, self.decoder, self.itm_head]
        size = preset(size=case.size).queue.size
        self.queue_vision, self.queue_text = torch.empty(size, model.embed_dim), torch.empty(size, model.embed_dim)
        _fill(self.queue_vision, self.queue_text)
        self.pointer = 0
        for part in (*self.trained, self.twins):
            part.train()

    def loss(self, images: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        import torch
        import torch.nn.functional as F

        count = len(images)
        with torch.no_grad():
            self.temperature.clamp_(0.001, 0.5)
            for twin, own in zip(self.twins.parameters(), self.online.parameters(), strict=True):
                twin.data = twin.data * 0.995 + own.data * 0.005
        visual = self.vision.forward_features(images)
        vision = F.normalize(self.vision_proj(visual[:, 0]), dim=-1)
        text = F.normalize(self.text_proj(self.encoder(ids, attention_mask=mask).last_hidden_state[:, 0]), dim=-1)
        contrast = self._contrast(images, ids, mask, vision, text)
        matching = self._matching(ids, mask, visual, vision, text)
        written = ids.clone()
        written[:, 0] = self.specials.dec
        labels = ids.masked_fill(~mask, -100)
        found = self.decoder(
            written, attention_mask=mask, encoder_hidden_states=visual, encoder_attention_mask=_ones(visual)
        ).logits
        language = F.cross_entropy(found[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), label_smoothing=0.1)
        assert len(vision) == count
        return contrast + matching + language

    def _contrast(self, images: Tensor, ids: Tensor, mask: Tensor, vision: Tensor, text: Tensor) -> Tensor:
        import torch
        import torch.nn.functional as F

        twins: Any = self.twins
        twin_vision_tower, twin_encoder, twin_vision_proj, twin_text_proj = twins
        with torch.no_grad():
            twin_vision = F.normalize(twin_vision_proj(twin_vision_tower.forward_features(images)[:, 0]), dim=-1)
            states = twin_encoder(ids, attention_mask=mask).last_hidden_state[:, 0]
            twin_text = F.normalize(twin_text_proj(states), dim=-1)
            keys_vision = torch.cat([twin_vision.T, self.queue_vision.clone().T], dim=1)
            keys_text = torch.cat([twin_text.T, self.queue_text.clone().T], dim=1)
            hard = torch.zeros(len(ids), keys_text.shape[1])
            hard.fill_diagonal_(1)
            soft_i2t = 0.4 * F.softmax(twin_vision @ keys_text / self.temperature, dim=1) + 0.6 * hard
            soft_t2i = 0.4 * F.softmax(twin_text @ keys_vision / self.temperature, dim=1) + 0.6 * hard
        i2t = -(F.log_softmax(vision @ keys_text / self.temperature, dim=1) * soft_i2t).sum(1).mean()
        t2i = -(F.log_softmax(text @ keys_vision / self.temperature, dim=1) * soft_t2i).sum(1).mean()
        end = self.pointer + len(ids)
        self.queue_vision[self.pointer : end], self.queue_text[self.pointer : end] = twin_vision, twin_text
        self.pointer = end % len(self.queue_text) if end < len(self.queue_text) else 0
        return (i2t + t2i) / 2

    def _matching(self, ids: Tensor, mask: Tensor, visual: Tensor, vision: Tensor, text: Tensor) -> Tensor:
        import torch
        import torch.nn.functional as F

        count = len(ids)
        read = ids.clone()
        read[:, 0] = self.specials.enc
        with torch.no_grad():
            weights_i2t = F.softmax(vision @ text.T / self.temperature, dim=1) + 1e-4
            weights_t2i = F.softmax(text @ vision.T / self.temperature, dim=1) + 1e-4
            weights_i2t.fill_diagonal_(0)
            weights_t2i.fill_diagonal_(0)
        wrong_image = torch.tensor([int(torch.multinomial(weights_t2i[n], 1)) for n in range(count)])
        wrong_text = torch.tensor([int(torch.multinomial(weights_i2t[n], 1)) for n in range(count)])
        matches = self._fused(read, mask, visual)
        texts, masks = torch.cat([read, read[wrong_text]]), torch.cat([mask, mask[wrong_text]])
        mismatches = self._fused(texts, masks, torch.cat([visual[wrong_image], visual]))
        logits = self.itm_head(torch.cat([matches, mismatches]))
        labels = torch.cat([torch.ones(count, dtype=torch.int64), torch.zeros(2 * count, dtype=torch.int64)])
        return F.cross_entropy(logits, labels)

    def _fused(self, ids: Tensor, mask: Tensor, visual: Tensor) -> Tensor:
        states: Tensor = self.encoder(
            ids, attention_mask=mask, encoder_hidden_states=visual, encoder_attention_mask=_ones(visual)
        ).last_hidden_state
        return states[:, 0]

    def _towers(self, case: Case) -> tuple[Any, Any, Any]:
        """A ViT, an encoder, and a decoder that shares everything with it but its self-attention."""
        import timm
        from transformers import BertConfig, BertLMHeadModel, BertModel

        from klip.settings import preset

        settings = preset(size=case.size)
        model = settings.model
        vision = timm.create_model(
            "vit_base_patch16_224",
            img_size=settings.image.size,
            patch_size=settings.image.patch,
            embed_dim=model.vision_width,
            depth=model.vision_depth,
            num_heads=model.vision_heads,
            num_classes=0,
        )
        shape: dict[str, Any] = {
            "vocab_size": case.vocabulary,
            "hidden_size": model.text_width,
            "num_hidden_layers": model.text_layers,
            "num_attention_heads": model.text_heads,
            "intermediate_size": model.text_ffn,
            "add_cross_attention": True,
            "use_cache": False,
        }
        # Layers of a decoder have cross-attention; the encoder reads in both directions all the same.
        encoder = BertModel(BertConfig(**shape, is_decoder=True), add_pooling_layer=False)
        encoder.config.is_decoder = False
        layers: Any = encoder.encoder.layer
        for layer in layers:
            layer.attention.self.is_causal = False
        decoder = BertLMHeadModel(BertConfig(**shape, is_decoder=True))
        decoder.bert.embeddings = encoder.embeddings
        decoder.tie_weights()
        for own, shared in zip(decoder.bert.encoder.layer, encoder.encoder.layer, strict=True):
            own.crossattention, own.intermediate, own.output = shared.crossattention, shared.intermediate, shared.output
        return vision, encoder, decoder


def _ones(visual: Tensor) -> Tensor:
    return visual.new_ones(visual.shape[:2])


def _fill(*queues: Tensor) -> None:
    import torch
    import torch.nn.functional as F

    generator = torch.Generator().manual_seed(0)
    for queue in queues:
        queue.copy_(F.normalize(torch.randn(queue.shape, generator=generator), dim=-1))


def _specials(case: Case) -> Any:
    from klip.tokens.vocabulary import Specials

    return Specials(0, 100, 101, 102, 103, 104, case.vocabulary - 2, case.vocabulary - 1)


def main() -> None:
    """Peak memory and processor seconds of one side alone, which takes a process of its own."""
    import argparse
    import json
    import resource
    import time

    import torch

    cases = {"tiny": TINY, "tiny-long": TINY_LONG, "base": BASE}
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("side", choices=["ours", "peer"])
    parser.add_argument("case", choices=list(cases))
    parser.add_argument("--steps", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    case = cases[arguments.case]
    step = (our_step if arguments.side == "ours" else peer_step)(case, pairs_of(case))
    seconds = []
    for _ in range(arguments.steps):
        start = time.process_time()
        step()
        seconds.append(round(time.process_time() - start, 3))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"side": arguments.side, **case._asdict(), "processor_s": seconds, "peak_mb": round(peak)}))


if __name__ == "__main__":
    main()
