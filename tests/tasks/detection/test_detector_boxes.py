"""What the detector is made of, piece by piece, against torchvision's own pieces or plain loops."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.models.detection._utils import BoxCoder, Matcher
from torchvision.ops import batched_nms, box_iou, roi_align
from torchvision.ops.poolers import LevelMapper

from adapters.interface import Grid
from tasks.detection.anchors import level_anchors
from tasks.detection.assignment import match, sample
from tasks.detection.boxes import Targets, decode, encode, overlaps, padded
from tasks.detection.pyramid import Level
from tasks.detection.regions import level_of, region_features
from tasks.detection.suppression import Candidates, surest

CPU = torch.device("cpu")
DELTA_SCALE = (0.1, 0.1, 0.2, 0.2)


def random_boxes(count: int, seed: int, side: float = 100.0) -> Tensor:
    """Half of them on whole pixels, so that ties and shared borders happen."""
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * 0.8 * side
    boxes = torch.cat([corner, corner + 1 + torch.rand(count, 2, generator=generator) * 0.3 * side], dim=1)
    boxes[::2] = boxes[::2].round()
    return boxes


def random_targets(counts: list[int], seed: int) -> list[Targets]:
    generator = torch.Generator().manual_seed(seed)
    return [
        Targets(random_boxes(count, seed + number), torch.randint(5, (count,), generator=generator))
        for number, count in enumerate(counts)
    ]


def test_overlaps_are_those_of_torchvision() -> None:
    first, second = random_boxes(40, 0), random_boxes(60, 1)
    torch.testing.assert_close(overlaps(first, second), box_iou(first, second), rtol=0, atol=1e-7)
    both = overlaps(torch.stack([first, first + 5]), torch.stack([second, second]))
    torch.testing.assert_close(both[1], box_iou(first + 5, second), rtol=0, atol=1e-7)


def test_empty_boxes_overlap_nothing() -> None:
    point = torch.tensor([[3.0, 3.0, 3.0, 3.0]])
    assert overlaps(point, point).item() == 0


@pytest.mark.parametrize("scale", [(1.0, 1.0, 1.0, 1.0), DELTA_SCALE], ids=str)
def test_deltas_are_those_of_torchvision_and_lead_back(scale: tuple[float, float, float, float]) -> None:
    wanted, given_boxes = random_boxes(50, 0), random_boxes(50, 1)
    coder = BoxCoder(tuple(1 / one for one in scale))
    deltas = encode(wanted, given_boxes, scale)
    torch.testing.assert_close(deltas, coder.encode_single(wanted, given_boxes), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(decode(deltas, given_boxes, scale), wanted, rtol=1e-5, atol=1e-4)
    wild = 3 * torch.randn(50, 4, generator=torch.Generator().manual_seed(2))
    wild[0, 2:] = 1e4  # no box grows without bound
    expected = coder.decode_single(wild, given_boxes)
    torch.testing.assert_close(decode(wild, given_boxes, scale), expected, rtol=1e-5, atol=1e-3)


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(0, 6), min_size=1, max_size=4),
    seed=st.integers(0, 1000),
    low_quality=st.booleans(),
)
def test_matching_a_batch_is_matching_each_image(counts: list[int], seed: int, low_quality: bool) -> None:
    targets = random_targets(counts, seed)
    candidates = random_boxes(80, seed + 100)
    least = 0.0 if low_quality else None
    found = match(candidates, padded(targets, CPU), positive_iou=0.6, negative_iou=0.3, low_quality_iou=least)
    matcher = Matcher(0.6, 0.3, allow_low_quality_matches=low_quality)
    for image, target in enumerate(targets):
        if not len(target.labels):
            assert not found.positive[image].any()
            assert found.negative[image].all()
            continue
        shared = box_iou(target.boxes, candidates)
        if low_quality and bool((shared.amax(dim=1) == 0).any()):
            continue  # there torchvision makes every candidate positive that overlaps nothing
        expected = matcher(shared)
        assert torch.equal(found.positive[image], expected >= 0)
        assert torch.equal(found.negative[image], expected == Matcher.BELOW_LOW_THRESHOLD)
        positive = expected >= 0
        assert torch.equal(found.target[image][positive], expected[positive])


def test_a_target_that_nothing_overlaps_makes_nothing_positive() -> None:
    target = Targets(torch.tensor([[500.0, 500.0, 510.0, 510.0]]), torch.tensor([0]))
    found = match(random_boxes(20, 0), padded([target], CPU), positive_iou=0.7, negative_iou=0.3, low_quality_iou=0.0)
    assert not found.positive.any()
    assert found.negative.all()


def test_a_nearest_candidate_counts_from_the_overlap_that_the_protocol_says() -> None:
    # Three targets of 8 x 8, and one candidate that covers each by a quarter, by a third and a bit, and by all.
    boxes = torch.tensor([[0.0, 0, 8, 8], [20, 0, 28, 8], [40, 0, 48, 8]])
    candidates = torch.tensor([[0.0, 0, 8, 2], [20, 0, 28, 3], [40, 0, 48, 8]])
    target = padded([Targets(boxes, torch.tensor([0, 1, 2]))], CPU)
    positive = {
        least: match(candidates, target, positive_iou=0.7, negative_iou=0.2, low_quality_iou=least).positive[0].tolist()
        for least in (None, 0.0, 0.25, 0.3, 0.5)
    }
    assert positive == {
        None: [False, False, True],
        0.0: [True, True, True],
        0.25: [True, True, True],  # the bound itself counts
        0.3: [False, True, True],
        0.5: [False, False, True],
    }


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(1, 40), share=st.sampled_from([0.25, 0.5, 1.0]))
def test_samples_keep_the_share_and_fill_up_with_negatives(seed: int, count: int, share: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    kind = torch.randint(0, 3, (3, 30), generator=generator)  # positive, negative, neither
    positive, negative = kind == 0, kind == 1
    chosen = sample(positive, negative, count=count, positive_share=share)
    for image in range(3):
        taken = chosen.places[image][chosen.valid[image]]
        assert len(set(taken.tolist())) == len(taken)  # nothing twice
        good = chosen.places[image][chosen.positive[image]]
        assert bool(positive[image][good].all())
        assert len(good) == min(int(positive[image].sum()), int(count * share))
        others = len(taken) - len(good)
        assert others == min(int(negative[image].sum()), count - len(good))
        assert int(negative[image][taken].sum()) == others


def test_samples_are_drawn_evenly_and_by_the_seed() -> None:
    positive = torch.zeros(1, 10, dtype=torch.bool)
    drawn = torch.zeros(10)
    torch.manual_seed(0)
    for _ in range(2000):
        chosen = sample(positive, ~positive, count=3, positive_share=0.5)
        drawn[chosen.places[0][chosen.valid[0]]] += 1
    assert bool(((drawn - 600).abs() < 5 * math.sqrt(2000 * 0.3 * 0.7)).all())
    again = []
    for _ in range(2):
        torch.manual_seed(7)
        again.append(sample(positive, ~positive, count=3, positive_share=0.5).places)
    assert torch.equal(*again)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), images=st.integers(1, 4), limit=st.integers(1, 30), number=st.integers(0, 120))
def test_suppressing_a_batch_is_suppressing_each_image(seed: int, images: int, limit: int, number: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    flat = Candidates(
        random_boxes(number, seed),
        torch.rand(number, generator=generator),
        torch.randint(images, (number,), generator=generator),
        torch.randint(3, (number,), generator=generator),
    )
    kept = surest(flat, images=images, groups=3, overlap=0.3, limit=limit)
    assert kept.places.shape == kept.valid.shape == (images, limit)
    for image in range(images):
        (mine,) = (flat.image == image).nonzero(as_tuple=True)
        expected = mine[batched_nms(flat.boxes[mine], flat.scores[mine], flat.group[mine], 0.3)][:limit]
        assert torch.equal(kept.places[image][kept.valid[image]], expected)


def clustered(images: int, pairs: int, *, classes: int, side: float = 800.0) -> Candidates:
    """Pairs of boxes that overlap by one half, give or take some thousandths of a pixel; scores with many ties."""
    generator = torch.Generator().manual_seed(17)
    corners = torch.rand(images * pairs, 1, 2, generator=generator) * (side - 50)
    corners = corners.expand(-1, 2, -1).clone()
    corners[:, 1, 0] += 10 + 0.005 * torch.randn(images * pairs, generator=generator)
    labels = torch.randint(classes, (images * pairs,), generator=generator)
    return Candidates(
        torch.cat([corners, corners + 30], dim=2).reshape(-1, 4),
        torch.randint(1, 50, (2 * images * pairs,), generator=generator) / 50,
        torch.arange(images).repeat_interleave(2 * pairs),
        labels.repeat_interleave(2),
    )


@pytest.mark.parametrize("pairs", [30, 200], ids=["all at once", "so many that torchvision goes group by group"])
def test_what_is_found_in_an_image_does_not_depend_on_the_rest_of_the_batch(pairs: int) -> None:
    images, classes = 16, 7
    flat = clustered(images, pairs, classes=classes)
    together = surest(flat, images=images, groups=classes, overlap=0.5, limit=400)
    for image in range(images):
        (mine,) = (flat.image == image).nonzero(as_tuple=True)
        one = Candidates(flat.boxes[mine], flat.scores[mine], torch.zeros_like(mine), flat.group[mine])
        alone = surest(one, images=1, groups=classes, overlap=0.5, limit=400)
        assert torch.equal(together.places[image][together.valid[image]], mine[alone.places[0][alone.valid[0]]])


def test_suppression_in_single_precision_would_depend_on_the_batch() -> None:
    """The boxes above are such that the place in the batch would decide: the test can fail."""
    flat = clustered(16, 30, classes=7)
    kept = set(batched_nms(flat.boxes, flat.scores, flat.image * 7 + flat.group, 0.5).tolist())
    alone: set[int] = set()
    for image in range(16):
        (mine,) = (flat.image == image).nonzero(as_tuple=True)
        alone |= set(mine[batched_nms(flat.boxes[mine], flat.scores[mine], flat.group[mine], 0.5)].tolist())
    assert kept != alone


def test_anchors_stand_where_the_formula_says() -> None:
    anchors = level_anchors(Grid(3, 2), spacing=8.0, side=32.0, ratios=(0.5, 1.0, 2.0))
    expected = []
    for row in range(3):
        for column in range(2):
            for ratio in (0.5, 1.0, 2.0):
                height, width = 32 * math.sqrt(ratio), 32 / math.sqrt(ratio)
                x, y = 8 * column, 8 * row
                expected.append([x - width / 2, y - height / 2, x + width / 2, y + height / 2])
    torch.testing.assert_close(anchors, torch.tensor(expected))


LEVELS = (Level(4, 4.0), Level(8, 8.0), Level(16, 16.0), Level(32, 32.0))


def test_regions_are_read_from_the_level_of_their_size() -> None:
    boxes = torch.cat([random_boxes(200, 0, side=900.0), torch.tensor([[0.0, 0.0, 112.0, 112.0], [5, 5, 5, 5]])])
    assert torch.equal(level_of(boxes, LEVELS), LevelMapper(2, 5)([boxes]))
    assert torch.equal(level_of(boxes, LEVELS[:3]), LevelMapper(2, 4)([boxes]))


def test_region_features_are_those_of_roi_align() -> None:
    generator = torch.Generator().manual_seed(0)
    maps = [torch.randn(3, 5, 320 // one.stride, 256 // one.stride, generator=generator) for one in LEVELS]
    boxes = random_boxes(60, 0, side=128.0)
    boxes = torch.cat([boxes, torch.tensor([[0.0, 0.0, 256.0, 320.0], [255.0, 319.0, 256.0, 320.0], [0, 0, 1, 1]])])
    boxes = torch.cat([boxes, 5 * boxes]).minimum(torch.tensor([256.0, 320.0, 256.0, 320.0]))
    boxes = boxes[(boxes[:, 2:] > boxes[:, :2]).all(dim=1)]
    image = torch.arange(len(boxes)) % 3
    theirs, ours = ([one.clone().requires_grad_() for one in maps] for _ in range(2))
    level = level_of(boxes, LEVELS)
    assert set(level.tolist()) == {0, 1, 2}
    found = region_features(ours, LEVELS, boxes, image, 7)
    expected = torch.zeros_like(found)
    for number, one in enumerate(LEVELS):
        regions = torch.cat([image[:, None].float(), boxes], dim=1)[level == number]
        aligned = roi_align(theirs[number], regions, 7, 1 / one.spacing, sampling_ratio=2, aligned=True)
        expected[level == number] = aligned
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    weights = torch.randn(found.shape, generator=generator)
    (found * weights).sum().backward()  # type: ignore[no-untyped-call]
    (expected * weights).sum().backward()  # type: ignore[no-untyped-call]
    for mine, their in zip(ours[:3], theirs[:3], strict=True):
        torch.testing.assert_close(mine.grad, their.grad, rtol=1e-3, atol=1e-3)


def test_no_regions_have_no_features() -> None:
    maps = [torch.randn(1, 5, 8, 8), torch.randn(1, 5, 4, 4)]
    found = region_features(maps, LEVELS[:2], torch.zeros(0, 4), torch.zeros(0, dtype=torch.long), 7)
    assert found.shape == (0, 5, 7, 7)
