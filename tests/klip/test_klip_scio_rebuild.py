"""Reconstruction: what is written, what is refused, what is accepted, and what the store holds afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from foundation.errors import CheckError, UsageError
from klip.generate import KlipWriter, Writing, Written, forbidden_tokens, write
from klip.losses.corrupt import reconstruction_input
from klip.model.klip import KLIP
from klip.model.text_stack import Memory
from klip.scio.accept import Fit, Judge, Outcome, judge_all, statuses
from klip.scio.audit_log import pass_folder, read_kind
from klip.scio.fields import fault
from klip.scio.material import Material, material_of
from klip.scio.passes import screen
from klip.scio.rebuild import Gap, Proposal, Source, propose
from klip.scio.reconstruction import reconstruct
from klip.scio.score import Scorer, encode_bank
from klip.settings import PretrainingSettings, ScioSettings
from klip.store.text_store import TextStore
from klip.tokens.batch import pack
from klip.tokens.layout import SlotTokens
from tests.bench.toy_world import MEAN, STD, Plan, World, make_world, toy_settings, untrained
from tests.klip.killing import files, killed_after


def settings_of(**scio: Any) -> PretrainingSettings:
    return toy_settings(
        batch_size_per_device=5, queue={"size": 16}, seed=3, scio={"tests": "itm", "recon": {"num_beams": 3}} | scio
    )


SETTINGS = settings_of()


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path / "world", Plan(pairs=32, seed=2, wrong=0.25), SETTINGS)


@pytest.fixture
def model(world: World) -> KLIP:
    return untrained(world, SETTINGS)


class RecomputingWriter:
    """The decoder without a cache, each text alone: everything is read again for each token."""

    def __init__(self, model: KLIP, memory: Memory) -> None:
        self.model, self.memory = model, memory
        self.texts: list[tuple[int, list[int]]] = []

    def begin(self, prefix: Tensor, mask: Tensor) -> Tensor:
        self.texts = [(n, row[keep].tolist()) for n, (row, keep) in enumerate(zip(prefix, mask, strict=True))]
        return self._logits()

    def go_on(self, rows: Tensor, tokens: Tensor) -> Tensor:
        before = [self.texts[row] for row in rows.tolist()]
        self.texts = [(n, [*ids, token]) for (n, ids), token in zip(before, tokens.tolist(), strict=True)]
        return self._logits()

    def _logits(self) -> Tensor:
        rows = []
        for n, ids in self.texts:
            hidden = self.model.decode(torch.tensor([ids]), self.memory, torch.tensor([n]))
            rows.append(self.model.lm_logits(hidden[:, -1])[0])
        return torch.stack(rows)


@pytest.mark.parametrize("slots", [[0, 3, 7, 1, 5], [4, 4, 4, 4, 4]])
@torch.inference_mode()
def test_the_cache_writes_what_is_written_without_it(world: World, model: KLIP, slots: list[int]) -> None:
    material = world.material()
    rows = np.arange(5)
    tokens = material.packed(rows, model.device)
    memory = model.visual_memory(model.encode_image(material.images(rows, model.device)).memory)
    noise = torch.zeros(5, 8, dtype=torch.bool)
    question, prefix = reconstruction_input(tokens, torch.tensor(slots), noise, model.specials)
    prefix = prefix.trimmed()
    fused = model.fused(question, memory, torch.arange(5))
    both = model.decoder_memory(fused, question.mask, memory, torch.arange(5))
    how = Writing(most=6, beams=3, no_repeat=2)
    stop = model.specials.seg
    banned = forbidden_tokens(model.specials, model.vocabulary_size, stop=stop)
    cached = write(KlipWriter(model, both), prefix.ids, prefix.mask, stop=stop, how=how, banned=banned)
    plain = write(RecomputingWriter(model, both), prefix.ids, prefix.mask, stop=stop, how=how, banned=banned)
    assert [[text.ids for text in texts] for texts in cached] == [[text.ids for text in texts] for texts in plain]
    scores = [[text.score for text in texts] for texts in cached]
    np.testing.assert_allclose(scores, [[text.score for text in texts] for texts in plain], atol=1e-4)
    assert all(not banned[list(text.ids)].any() for texts in cached for text in texts)


@torch.inference_mode()
def test_what_is_noise_is_hidden_from_the_writer_whatever_it_says(world: World, model: KLIP) -> None:
    material = world.material()
    seen = Scorer(model, encode_bank(model, material, np.arange(9), chunk=5)).look(
        material.images(np.array([0]), model.device), *material.hashes(np.array([0]), model.device)
    )
    noise = np.array([True, False, True, False, False, True, False, False])
    texts = []
    for other in (0, 1, 2):  # the noise of the text is replaced by what other texts say there
        tokens = tuple(
            material.tokens[other][n] if wrong else slot
            for n, (slot, wrong) in enumerate(zip(material.tokens[0], noise, strict=True))
        )
        source = Source(material.texts[0], tokens, noise, noise)
        texts.append([[p.text for p in some] for some in propose(model, material.vocabulary, [source], seen, SETTINGS)])
    assert texts[0] == texts[1] == texts[2]
    open_texts = Source(material.texts[0], material.tokens[0], noise, noise)
    original = settings_of(recon={"context": "original"})
    assert propose(model, material.vocabulary, [open_texts], seen, original)[0][0].score != pytest.approx(
        propose(model, material.vocabulary, [open_texts], seen, SETTINGS)[0][0].score, abs=1e-7
    )


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("Count", "three ships", None),
        ("Count", "4 hulls", None),
        ("Count", "a pair of planes", None),
        ("Count", "no target", None),
        ("Count", "ships near the pier", "no number"),
        ("Size", "39-65 m", None),
        ("Size", "about 12 metres long", None),
        ("Size", "thirty pixels", None),
        ("Size", "the frame is empty of targets", None),
        ("Size", "rather large", "no number with a unit"),
        ("Size", "between 12 and 40", "no number with a unit"),
        ("Category", "anything", None),
    ],
)
def test_values_that_cannot_stand_in_their_field_are_refused(field: str, value: str, reason: str | None) -> None:
    assert fault("target", field, value) == reason


def test_fields_of_landforms_say_what_they_want() -> None:
    assert fault("terrain", "Location", "along the river") is None


class Table:
    """A judge with made-up scores: each rebuilt segment adds its own, some spoil each other."""

    def __init__(self, worth: dict[int, tuple[float, float]], spoil: set[frozenset[int]] | None = None) -> None:
        self.worth, self.spoil = worth, spoil or set()

    def fits(self, texts: Any, images: Any) -> list[Fit]:  # noqa: ARG002
        found = []
        for tokens in texts:
            new = {n for n, slot in enumerate(tokens) if slot is not None and slot.value == (99,)}
            old = sum(slot is not None and slot.value == (7,) for slot in tokens)
            itc = 5.0 + 0.1 * old - sum(self.worth[n][0] for n in new)
            itm = 0.0 - 0.1 * old + sum(self.worth[n][1] for n in new)
            for pair in self.spoil:
                if pair <= new:
                    itc += 10
            found.append(Fit(itc, itm))
        return found


def made_up(noise: list[int], scio: ScioSettings, judge: Table) -> tuple[Source, Outcome]:
    from klip.text import parse_record

    text = parse_record({"id": "a"} | dict.fromkeys(_fields(), "x"))
    flags = np.array([n in noise for n in range(8)])
    tokens = tuple(SlotTokens((5,), (7,) if wrong else (6,)) for wrong in flags)
    source = Source(text, tokens, flags, flags)
    proposals = [[Proposal(Gap(0, n), "new", SlotTokens((5,), (99,)), -1.0, None)] for n in noise]
    (outcome,) = judge_all(judge, [source], proposals, scio)  # type: ignore[arg-type]
    return source, outcome


def _fields() -> tuple[str, ...]:
    from klip.text import TARGET_FIELDS

    return TARGET_FIELDS


GOOD, WORSE_CONTRAST, WORSE_MATCH = (0.5, 0.5), (-0.5, 0.5), (0.5, -0.5)


def test_a_value_is_taken_only_if_contrast_and_matching_are_both_better() -> None:
    judge = Table({0: GOOD, 1: WORSE_CONTRAST, 2: WORSE_MATCH})
    source, outcome = made_up([0, 1, 2], ScioSettings(), judge)
    assert sorted(outcome.taken) == [0]
    assert statuses(source, outcome)[:4] == ["replaced", "dropped", "dropped", "ok"]


def test_both_bases_are_asked_for_unless_told_otherwise() -> None:
    class FullIsBetter(Table):
        """The full text with the value is worse than the full text."""

        def fits(self, texts: Any, images: Any) -> list[Fit]:
            found = super().fits(texts, images)
            return [
                Fit(fit.itc + 1, fit.itm)
                if all(slot is not None for slot in tokens) and any(slot.value == (99,) for slot in tokens)
                else fit
                for fit, tokens in zip(found, texts, strict=True)
            ]

    def taken(base: str) -> list[int]:
        scio = ScioSettings.model_validate({"accept": {"base": base}})
        return sorted(made_up([0, 1, 2], scio, FullIsBetter({0: GOOD, 1: GOOD, 2: WORSE_MATCH}))[1].taken)

    assert taken("filtered") == [0, 1]
    assert taken("original") == [] and taken("both") == []


def test_values_that_do_not_hold_together_are_added_best_first() -> None:
    judge = Table({0: (0.5, 0.2), 1: (0.5, 0.9), 2: (0.5, 0.4)}, {frozenset({0, 1})})
    _, outcome = made_up([0, 1, 2], ScioSettings(), judge)
    assert sorted(outcome.taken) == [1, 2]  # 1 gains most, 2 still improves, 0 no longer does
    assert outcome.joint is not None and not outcome.joint["holds"] and outcome.joint["kept"] == [1, 2]
    assert outcome.final is not None and outcome.final.better_than(outcome.filtered)


def test_values_that_hold_together_are_all_taken() -> None:
    _, outcome = made_up([0, 1], ScioSettings(), Table({0: GOOD, 1: GOOD}))
    assert sorted(outcome.taken) == [0, 1] and outcome.joint is not None and outcome.joint["holds"]


def test_what_is_not_taken_is_dropped_or_restored_and_enough_stays() -> None:
    bad = Table(dict.fromkeys(range(8), WORSE_MATCH))
    assert statuses(*made_up([0, 1], ScioSettings(), bad))[:2] == ["dropped", "dropped"]
    assert statuses(*made_up([0, 1], ScioSettings(fallback="original"), bad))[:2] == ["ok", "ok"]
    everything = statuses(*made_up(list(range(8)), ScioSettings(), bad))
    assert everything.count("ok") == 3 and everything.count("dropped") == 5


class ByValue(Table):
    """A judge that knows values by their one token."""

    def __init__(self, fits: dict[int, Fit]) -> None:
        super().__init__({})
        self.known = fits

    def fits(self, texts: Any, images: Any) -> list[Fit]:  # noqa: ARG002
        values = [{slot.value[0] for slot in tokens if slot is not None} & set(self.known) for tokens in texts]
        return [self.known[min(some)] if some else Fit(5.0, 0.0) for some in values]


def test_of_several_candidates_the_one_that_matches_best_is_kept_and_then_judged() -> None:
    from klip.text import parse_record

    text = parse_record({"id": "a"} | dict.fromkeys(_fields(), "x"))
    noise = np.array([True] + [False] * 7)
    source = Source(text, (SlotTokens((5,), (7,)),) * 8, noise, noise)

    def kept(fits: dict[int, Fit], refused: tuple[int, ...] = ()) -> tuple[int, bool]:
        some = [
            Proposal(Gap(0, 0), str(value), SlotTokens((5,), (value,)), -1.0, "empty" if value in refused else None)
            for value in (*refused, *fits)
        ]
        judge: Any = ByValue(fits)
        (outcome,) = judge_all(judge, [source], [some], ScioSettings())
        (judged,) = outcome.judged
        return judged.proposal.tokens.value[0], judged.accepted

    lowest_contrast, best_match = Fit(1.0, 0.5), Fit(2.0, 0.9)
    assert kept({11: lowest_contrast, 12: best_match, 13: Fit(3.0, float("nan"))}) == (12, True)
    assert kept({11: lowest_contrast, 12: Fit(9.0, 0.9)}) == (12, False)  # the best d_itm, and contrast is against it
    assert kept({12: Fit(9.0, -1.0)}, refused=(14,)) == (12, False)


class Harmful(Table):
    """The text fits better, by so much, without each of its segments."""

    def __init__(self, match: dict[int, float], contrast: dict[int, float]) -> None:
        super().__init__(dict.fromkeys(range(8), WORSE_MATCH))
        self.match, self.contrast = match, contrast

    def fits(self, texts: Any, images: Any) -> list[Fit]:
        gone = [{n for n, slot in enumerate(tokens) if slot is None} for tokens in texts]
        return [
            Fit(fit.itc - sum(self.contrast[n] for n in some), fit.itm + sum(self.match[n] for n in some))
            for fit, some in zip(super().fits(texts, images), gone, strict=True)
        ]


def test_when_too_few_segments_would_stay_the_least_harmful_are_restored() -> None:
    match = dict(zip(range(8), (0.9, 0.8, 0.1, 0.7, 0.3, 0.6, 0.2, 0.5), strict=True))
    contrast = dict(zip(range(8), (0.9, 0.1, 0.8, 0.7, 0.3, 0.6, 0.5, 0.2), strict=True))
    judge, everything = Harmful(match, contrast), list(range(8))
    assert made_up(everything, ScioSettings(), judge)[1].restored == [2, 4, 6]
    assert made_up(everything, ScioSettings(tests="itc"), judge)[1].restored == [1, 4, 7]
    assert made_up(everything[2:], ScioSettings(), judge)[1].restored == [2]
    assert made_up(everything[:5], ScioSettings(), judge)[1].restored == []


def screened(world: World, model: KLIP, folder: Path, settings: PretrainingSettings = SETTINGS) -> Any:
    return screen(model, world.material(), settings, folder, pass_id="p1")


def rebuilt(world: World, model: KLIP, folder: Path, settings: PretrainingSettings = SETTINGS, **more: Any) -> Any:
    noise = screened(world, model, folder, settings).noise
    store = more.pop("store", world.store)
    return reconstruct(model, world.material(), settings, folder, store, pass_id="p1", noise=noise, **more)


def test_accepted_segments_satisfy_all_inequalities_from_scratch_and_others_violate_one(
    world: World, model: KLIP, tmp_path: Path
) -> None:
    rebuilt(world, model, tmp_path)
    material = world.material()
    records = read_kind(pass_folder(tmp_path, "p1"), "rebuilt")
    judged = 0
    for record in records:
        row = np.array([record["row"]])
        old = material.tokens[record["row"]]
        filtered = tuple(None if n in record["noise"] else slot for n, slot in enumerate(old))
        with torch.inference_mode():
            scorer = Scorer(model, _whole_bank(model, material))
            seen = scorer.look(material.images(row, model.device), *material.hashes(row, model.device))
            judge = Judge(scorer, seen)
            full, less = judge.fits([old, filtered], [0, 0])
            for entry in record["slots"]:
                if entry["reject"] is not None:
                    assert not entry["accepted"]
                    continue
                new = SlotTokens(_label(material, record, entry["slot"]), material.vocabulary.encode(entry["text"]))
                there = tuple(new if n == entry["slot"] else slot for n, slot in enumerate(filtered))
                instead = tuple(new if n == entry["slot"] else slot for n, slot in enumerate(old))
                with_new, replaced = judge.fits([there, instead], [0, 0])
                signs = (
                    less.itc - with_new.itc,
                    with_new.itm - less.itm,
                    full.itc - replaced.itc,
                    replaced.itm - full.itm,
                )
                assert min(signs) > -1e-5 if entry["accepted"] else min(signs) < 1e-5
                assert entry["filtered"]["d_itc"] == pytest.approx(with_new.itc - less.itc, abs=1e-4)
                judged += 1
    accepted = sum(entry["accepted"] for record in records for entry in record["slots"])
    assert judged > accepted > 0


def _whole_bank(model: KLIP, material: Material) -> Any:
    from klip.scio.score import bank_rows

    return encode_bank(model, material, bank_rows(len(material), 16, 3), chunk=5)


def _label(material: Material, record: Any, slot: int) -> tuple[int, ...]:
    return material.vocabulary.encode(f"{material.texts[record['row']].segments[slot].field}:")


def test_the_new_version_holds_what_the_log_says_and_version_0_keeps_its_bytes(
    world: World, model: KLIP, tmp_path: Path
) -> None:
    before = {path.name: path.read_bytes() for path in world.store.folder.glob("*") if path.is_file()}
    done = rebuilt(world, model, tmp_path)
    assert done.version == 1 and done.summary["replaced"] > 0 and done.summary["dropped"] > 0
    for name, content in before.items():
        assert (world.store.folder / name).read_bytes() == content
    store = TextStore.open(world.store.folder)
    records = {record["id"]: record for record in read_kind(pass_folder(tmp_path, "p1"), "rebuilt")}
    for old, new in zip(store.texts(0), store.texts(1), strict=True):
        record = records.get(new.image_id)
        if record is None:
            assert old == new
            continue
        assert [segment.status for segment in new.segments] == record["status"]
        for entry in record["slots"]:
            if record["status"][entry["slot"]] == "replaced":
                assert new.segments[entry["slot"]].value == entry["text"] != old.segments[entry["slot"]].value
    provenance = store.manifest(1).provenance
    assert provenance["pass_id"] == "p1" and len(provenance["checkpoint"]) == 64


def test_rebuilding_again_changes_nothing(world: World, model: KLIP, tmp_path: Path) -> None:
    first = rebuilt(world, model, tmp_path / "run")
    files = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert rebuilt(world, model, tmp_path / "run") == first
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == files


@pytest.mark.parametrize("steps", [1, 3])
def test_a_reconstruction_killed_anywhere_and_resumed_publishes_the_same_bytes(
    world: World, model: KLIP, tmp_path: Path, steps: int
) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(world.store.folder, copy)
    noise = screened(world, model, tmp_path / "cut").noise
    whole = rebuilt(world, model, tmp_path / "whole")
    store = TextStore.open(copy)
    arguments = (model, world.material(), SETTINGS, tmp_path / "cut", store)
    killed_after(steps, lambda progress: reconstruct(*arguments, pass_id="p1", noise=noise, progress=progress))
    assert TextStore.open(copy).versions() == [0]
    (log,) = (tmp_path / "cut" / "audit" / "p1").glob("rebuilt.*")
    log.write_bytes(log.read_bytes()[:-30])
    resumed = reconstruct(*arguments, pass_id="p1", noise=noise)
    assert resumed == whole
    assert files(copy) == files(world.store.folder)
    assert files(tmp_path / "cut") == files(tmp_path / "whole")


def test_under_half_precision_segments_are_rebuilt_too(world: World, model: KLIP, tmp_path: Path) -> None:
    settings = settings_of().model_copy(update={"precision": "bf16"})
    done = rebuilt(world, model, tmp_path, settings)
    assert done.summary["gaps"] > 0 and done.version == 1


def test_without_reconstruction_the_noise_is_dropped(world: World, model: KLIP, tmp_path: Path) -> None:
    settings = settings_of(reconstruct=False)
    noise = screened(world, model, tmp_path, settings).noise
    done = rebuilt(world, model, tmp_path, settings)
    kept = material_of(world.store, done.version, world.pixels, MEAN, STD).present
    assert np.array_equal(kept, ~noise) and noise.any()


def test_a_dropped_segment_can_be_rebuilt_in_a_later_iteration(world: World, model: KLIP, tmp_path: Path) -> None:
    rebuilt(world, model, tmp_path)
    material = world.material(1)
    found = screen(model, material, SETTINGS, tmp_path, pass_id="p2")
    reconstruct(model, material, SETTINGS, tmp_path, world.store, pass_id="p2", noise=found.noise)
    records = read_kind(pass_folder(tmp_path, "p2"), "rebuilt")
    revived = [
        (record["id"], entry["slot"])
        for record in records
        for entry in record["slots"]
        if entry["slot"] not in record["noise"]
    ]
    assert revived
    texts = {text.image_id: text for text in world.store.texts(2)}
    fates = {texts[image].segments[slot].status for image, slot in revived}
    assert fates <= {"replaced", "dropped"}


def test_another_pool_than_the_pass_was_begun_with_is_refused(world: World, model: KLIP, tmp_path: Path) -> None:
    rebuilt(world, model, tmp_path)
    other = np.zeros((32, 8), dtype=np.bool_)
    other[0, 0] = True
    arguments = (model, world.material(), SETTINGS, tmp_path, world.store)
    with pytest.raises(CheckError, match="noise"):
        reconstruct(*arguments, pass_id="p1", noise=other)
    with pytest.raises(UsageError, match="other texts"):
        reconstruct(*arguments, pass_id="p3", noise=other[:5])


@torch.inference_mode()
def test_values_that_end_late_say_the_same_or_hold_specials_are_refused(world: World, model: KLIP) -> None:
    from klip.scio.rebuild import _proposal

    material = world.material()
    noise = np.array([True] + [False] * 7)
    source = Source(material.texts[0], material.tokens[0], noise, noise)
    book = material.vocabulary
    old = material.texts[0].segments[0].value
    new = next(word for word in ("one", "two") if word != old)

    def reason(ids: tuple[int, ...], ended: bool = True) -> str | None:
        return _proposal(book, source, Gap(0, 0), Written(ids, -1.0, ended), SETTINGS).reject

    assert reason(book.encode(new)) is None
    assert reason(book.encode(new), ended=False) == "no end"
    assert reason(()) == "empty"
    assert reason(book.encode(old)) == "unchanged"
    assert reason((book.specials.unk,)) == "special token"
    assert reason(book.encode(" ".join([new] * 5))) == "too long"
    assert reason(book.encode("regiona")) == "no number"


def test_texts_of_toy_worlds_pack_into_the_budget(world: World) -> None:
    assert pack(world.material().tokens, world.store.vocabulary.specials).width <= SETTINGS.text.max_len
