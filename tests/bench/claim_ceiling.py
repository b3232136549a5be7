"""How many errors of synthetic texts could be found at best: a network that is told the truth judges what they claim.

Screening learns from texts that are wrong in one segment of five, through contrast, matching and infilling. This small
convolutional network is told the true answers instead, for most images of a corpus, and then judges the claims of the
images it was not shown: a claim is as doubtful as it is less likely than the likeliest answers. What it cannot tell, a
model of this size will not find in the same images by reading about them. Vague sentences state nothing and are left
out.

    python -m tests.bench.claim_ceiling CORPUS --epochs 25
    python -m tests.bench.claim_ceiling CORPUS --tower random-mini

With `--tower` a ViT of the catalogue is taught so instead, at the resolution of the mini profile.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from adapters.decode import read_grey
from adapters.interface import Encoder
from adapters.load import load
from adapters.registry import catalog
from foundation.progress import Progress, silent
from klip.scio.ranking import area_under_curve
from tasks.images import centre_square
from tasks.sarworld.texts.claims import FEATURES, FIELDS, SURROUNDINGS, TRAITS, VAGUE, Claim, claims_of
from tasks.sarworld.truth import AIRCRAFT_CONTEXTS, QUADRANTS, SHIP_CONTEXTS, Domain, Truth

SIDE = 128
TOWER_SIDE = 64
HELD_OUT = 1000
"""Images that the network is not shown."""
RECALL = 0.4
"""At which the precision is told, as in section 13.4 of the KLIP specification."""

_BATCH = 64
_RATE, _DECAY = 2e-3, 0.05
_CONTEXTS = tuple(dict.fromkeys([*AIRCRAFT_CONTEXTS, *SHIP_CONTEXTS]))
_COUNTED: Mapping[str, tuple[tuple[str, ...], int]] = {
    "Location": (QUADRANTS, 5),
    "Category": (tuple(TRAITS), 4),
    "Region": (_CONTEXTS, 6),
}
"""Fields of targets that count things, and the number from which on all counts are one answer."""
_LISTED: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "Feature": ("features", FEATURES),
    "Environment": ("surroundings", SURROUNDINGS),
}
_MOST_TARGETS = 12
_SHORTEST_M, _PER_DOUBLING = 8, 4
_UNHEARD_OF = -8.0
"""Log likelihood of an answer that no true claim gave."""

Question = tuple[str, str, str]
"""Kind of text, field, and what is asked."""


def answers_of(domain: Domain, field: str, claim: Claim) -> dict[Question, str]:
    """A claim as answers to questions with few answers each; none for a claim that states nothing."""
    kind = "landform" if domain == "landform" else "target"
    if claim == VAGUE:
        return {}
    if domain == "landform":
        told = {name: str(value) for name, value in claim.items()}
    elif field in _COUNTED:
        names, most = _COUNTED[field]
        told = {name: str(min(claim.get(name, 0), most)) for name in names}
    elif field in _LISTED:
        key, names = _LISTED[field]
        told = {name: str(name in claim[key]) for name in names}
    elif field == "Count":
        told = {"count": str(min(claim["count"], _MOST_TARGETS))}
    elif field == "Size":
        lengths = claim["length_m"] or [None]
        told = {"shortest": _length(lengths[0]), "longest": _length(lengths[-1])}
    else:
        told = {name: str(value) for name, value in claim.items()}
    return {(kind, field, name): answer for name, answer in told.items()}


def _length(metres: float | None) -> str:
    return "none" if metres is None else str(int(_PER_DOUBLING * math.log2(max(metres, _SHORTEST_M) / _SHORTEST_M)))


class Judged(NamedTuple):
    """A claim and how doubtful the network finds it."""

    field: str
    kind: str | None
    """Of the error, None where the claim is true."""
    doubt: float
    """Log likelihood of the likeliest answers less that of the stated ones."""


class Answers:
    """All questions with the answers that true claims give, as places in one vector of logits."""

    def __init__(self, truths: Sequence[Truth]) -> None:
        self.places: dict[Question, dict[str, int]] = defaultdict(dict)
        self.rows = [_true_answers(truth) for truth in truths]
        for question, answer in (pair for row in self.rows for pair in row):
            self.places[question].setdefault(answer, len(self.places[question]))
        self.questions = [question for question, known in self.places.items() if len(known) > 1]
        sizes = [len(self.places[question]) for question in self.questions]
        ends = np.cumsum(sizes).tolist()
        self.logits = ends[-1]
        self.spans = {q: slice(end - size, end) for q, end, size in zip(self.questions, ends, sizes, strict=True)}

    def targets(self) -> Tensor:
        """[N, questions], -1 where an image has no answer."""
        column = {question: at for at, question in enumerate(self.questions)}
        found = torch.full((len(self.rows), len(self.questions)), -1)
        for row, pairs in enumerate(self.rows):
            for question, answer in pairs:
                if question in column:
                    found[row, column[question]] = self.places[question][answer]
        return found

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Mean over all questions that have an answer."""
        parts = [
            F.cross_entropy(logits[:, self.spans[question]].float(), targets[:, at], ignore_index=-1, reduction="sum")
            for at, question in enumerate(self.questions)
        ]
        return torch.stack(parts).sum() / (targets >= 0).sum()

    def doubt(self, logits: Tensor, answers: Mapping[Question, str]) -> float:
        """How much less likely the answers are than the likeliest, for one image."""
        total = 0.0
        for question, answer in answers.items():
            if question in self.spans:
                likely = logits[self.spans[question]].float().log_softmax(dim=0)
                place = self.places[question].get(answer)
                total += float(likely.max()) - (_UNHEARD_OF if place is None else float(likely[place]))
        return total


def _true_answers(truth: Truth) -> list[tuple[Question, str]]:
    claims = claims_of(truth).items()
    return [pair for field, claim in claims for pair in answers_of(truth.domain, field, claim).items()]


class _Block(nn.Module):
    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.second = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm2d(after), nn.BatchNorm2d(after)])
        self.skip = nn.Conv2d(before, after, 1, stride, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        inner = F.relu(self.norms[0](self.first(maps)))
        return F.relu(self.norms[1](self.second(inner)) + self.skip(maps))


class Network(nn.Module):
    """Four residual blocks; answers hang on the whole image and on its quarters."""

    def __init__(self, logits: int) -> None:
        super().__init__()
        widths = (24, 48, 96, 160, 224)
        self.stem = nn.Sequential(nn.Conv2d(1, widths[0], 5, 2, 2, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU())
        strides = (1, 2, 2, 2)
        self.blocks = nn.Sequential(
            *(_Block(*ends, stride) for ends, stride in zip(pairwise(widths), strides, strict=True))
        )
        self.head = nn.Linear(5 * widths[-1], logits)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of images [B, 1, S, S]."""
        maps = self.blocks(self.stem(images.to(memory_format=torch.channels_last)))
        told: Tensor = self.head(F.dropout(_read(maps), 0.3, self.training))
        return told


class TaughtTower(nn.Module):
    """A tower of the catalogue with a linear layer on its pooled feature, its tokens' mean and those of quarters."""

    def __init__(self, name: str, logits: int) -> None:
        super().__init__()
        self.encoder = cast(Encoder, load(catalog()[name], image_size=TOWER_SIDE, seed=0).encoder)
        self.head = nn.Linear(6 * self.encoder.width, logits)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of images [B, 1, S, S]."""
        found = self.encoder(images.expand(-1, self.encoder.in_channels, -1, -1))
        maps = found.tokens.transpose(1, 2).reshape(len(images), self.encoder.width, *found.grid)
        told: Tensor = self.head(torch.cat([found.pooled, _read(maps)], dim=1))
        return told


def _read(maps: Tensor) -> Tensor:
    return torch.cat([maps.mean(dim=(2, 3)), F.adaptive_avg_pool2d(maps, 2).flatten(1)], dim=1)


def train(
    network: nn.Module, answers: Answers, images: Tensor, rows: NDArray[np.int64], epochs: int, progress: Progress
) -> None:
    """On the true answers of `rows`."""
    rng = np.random.default_rng(0)
    targets, size = answers.targets(), min(_BATCH, len(rows))
    steps = len(rows) // size
    optimiser = torch.optim.AdamW(network.parameters(), lr=_RATE, weight_decay=_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _RATE, epochs * steps)
    network.train()
    for epoch in range(epochs):
        order = rng.permutation(rows)
        for step in range(steps):
            batch = torch.from_numpy(order[step * size : (step + 1) * size])
            with torch.autocast("cpu", dtype=torch.bfloat16):
                logits = network(images[batch])
            optimiser.zero_grad(set_to_none=True)
            answers.loss(logits, targets[batch]).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            progress(epoch * steps + step + 1, epochs * steps, f"epoch {epoch + 1}/{epochs}")


@torch.inference_mode()
def judge(
    network: nn.Module, answers: Answers, images: Tensor, truths: Sequence[Truth], errors: Mapping[tuple[str, str], Any]
) -> list[Judged]:
    """Every claim of the texts of some images, true or wrong."""
    network.eval()
    logits = torch.cat([network(images[start : start + _BATCH]) for start in range(0, len(images), _BATCH)])
    found = []
    for row, truth in enumerate(truths):
        claims = claims_of(truth)
        for field in FIELDS[truth.domain]:
            error = errors.get((truth.image_id, field))
            stated = answers_of(truth.domain, field, error["stated_value"] if error else claims[field])
            if stated:
                name = f"{next(iter(stated))[0]}.{field}"
                found.append(Judged(name, error["kind"] if error else None, answers.doubt(logits[row], stated)))
    return found


def _area(right: Sequence[float], wrong: Sequence[float]) -> float:
    return area_under_curve(np.array(wrong), np.array(right))


def precision_at(judged: Sequence[Judged], recall: float) -> float:
    """Share of wrong claims among the most doubtful ones, as many of which as to find that share of all."""
    order = sorted(judged, key=lambda claim: -claim.doubt)
    wrong = np.cumsum([claim.kind is not None for claim in order])
    at = int(np.searchsorted(wrong, recall * wrong[-1]))
    return float(wrong[at] / (at + 1))


def table(judged: Sequence[Judged]) -> str:
    """All fields, all kinds of errors, and all together."""
    right, wrong = ([claim for claim in judged if (claim.kind is None) == true] for true in (True, False))
    lines = []
    for name in dict.fromkeys(claim.field for claim in judged):
        parts = [[c.doubt for c in part if c.field == name] for part in (right, wrong)]
        lines.append(f"  {name:26}{len(parts[1]):6} wrong of {sum(map(len, parts)):6}  AUC {_area(*parts):.3f}")
    for kind in sorted({claim.kind for claim in wrong if claim.kind}):
        some = [claim for claim in wrong if claim.kind == kind]
        fields = {claim.field for claim in some}
        against = [claim.doubt for claim in right if claim.field in fields]
        lines.append(f"  {kind:26}{len(some):6} wrong{'':12}  AUC {_area(against, [c.doubt for c in some]):.3f}")
    lines.append(
        f"  all: base rate {len(wrong) / len(judged):.3f}, "
        f"AUC {_area([c.doubt for c in right], [c.doubt for c in wrong]):.3f}, "
        f"precision at recall {RECALL} {precision_at(judged, RECALL):.3f}"
    )
    return "\n".join(lines)


def measure(
    corpus: Path, epochs: int, *, tower: str | None = None, held_out: int = HELD_OUT, progress: Progress = silent
) -> list[Judged]:
    """Trains on a synthetic corpus but for `held_out` images of it, whose claims are judged."""
    torch.manual_seed(0)
    truths = [Truth.from_json(json.loads(line)) for line in (corpus / "truth.jsonl").read_text().splitlines()]
    rows = [json.loads(line) for line in (corpus / "planted.jsonl").read_text().splitlines()]
    errors = {(row["image_id"], row["field"]): row for row in rows}
    side = TOWER_SIDE if tower else SIDE
    grey = np.stack([centre_square(read_grey(corpus / truth.image_id), side) for truth in truths])
    images = ((torch.from_numpy(grey).float() - float(grey.mean())) / float(grey.std()))[:, None]
    answers = Answers(truths)
    order = np.random.default_rng(0).permutation(len(truths))
    network = TaughtTower(tower, answers.logits) if tower else Network(answers.logits)
    network = network.to(memory_format=torch.channels_last)
    train(network, answers, images, order[held_out:], epochs, progress)
    asked = order[:held_out]
    return judge(network, answers, images[asked], [truths[row] for row in asked], errors)


def main() -> None:
    """Prints the table."""
    from klip.display import show_progress

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path, help="folder of a synthetic corpus, with truth.jsonl and planted.jsonl")
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--tower", help="a ViT of the catalogue instead of the convolutional network")
    arguments = parser.parse_args()
    if not (arguments.corpus / "truth.jsonl").is_file():
        parser.error(f"{arguments.corpus} holds no truth.jsonl: give a corpus of the synthetic world")
    if arguments.tower and arguments.tower not in catalog():
        parser.error(f"no model {arguments.tower!r} in the catalogue: see `harness list models`")
    torch.set_num_threads(1)
    with show_progress() as progress:
        judged = measure(arguments.corpus, arguments.epochs, tower=arguments.tower, progress=progress)
    print(table(judged))


if __name__ == "__main__":
    main()
