"""What came of a pass, from its log and its store (section 6.9 of the KLIP specification, no torch).

Everything is computed from the audit log, so a report can be asked for with other margins. Precision and recall are
there only where the store knows what was planted: a synthetic corpus.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from klip.scio.audit_log import Record, header_of, plain, read_kind, shards, skipped
from klip.scio.decide import Flags, Floats, Rule
from klip.scio.decisions import FIELD_NAMES, Decisions, PassScores, decided
from klip.scio.ranking import area_under_curve
from klip.text import FIELDS

if TYPE_CHECKING:
    from klip.store.text_store import TextStore

QUANTILES = (5, 25, 50, 75, 95)


def report_of(place: Path, store: TextStore | None = None, rule: Rule | None = None) -> dict[str, Any]:
    """Everything that a pass says about the texts, as plain data.

    Args:
        place: The folder of the pass.
        store: The texts, for planted errors and versions.
        rule: Decides with other margins than the pass did; None: as the pass did.
    """
    skip = skipped(place)
    if skip is not None:
        return {"pass": place.name, "skipped": skip}
    if not shards(place, "scores") and shards(place, "rebuilt"):
        return _of_another_pass(place, store)
    header = header_of(place, "scores")
    own = Rule(**header["rule"])
    scores, decisions = decided(place, rule)
    noise = decisions.noise
    report: dict[str, Any] = {
        "pass": header["pass"],
        "version": header["version"],
        "images": len(scores.ids),
        "of_images": header["images"],
        "checkpoint": header["checkpoint"],
        "rule": {name: getattr(rule or own, name) for name in own.__slots__},
        "control": header["control"],
        "segments": int(scores.numbers.present.sum()),
        "noise": int(noise.sum()),
        "flag_rate": _share(noise.sum(), scores.numbers.present.sum()),
        "texts_with_noise": int(noise.any(axis=1).sum()),
        "guard": guard_figures(decisions),
        "fields": fields_of(scores, decisions),
        "full_text": {"itc": _mean(scores.itc[:, 0]), "itm": _mean(scores.itm[:, 0])},
    }
    report["texts_with_noise_full"] = {
        "itc": _mean(scores.itc[noise.any(axis=1), 0]),
        "itm": _mean(scores.itm[noise.any(axis=1), 0]),
    }
    if shards(place, "rebuilt"):
        records = read_kind(place, "rebuilt")
        report["reconstruction"] = rebuilt_summary(records) | {"fields": rebuilt_fields(records)}
    if store is not None:
        report |= _from_store(store, header, scores, noise)
    return report


def _of_another_pass(place: Path, store: TextStore | None) -> dict[str, Any]:
    """A reconstruction from a pool that was decided from the scores of another pass."""
    header, records = header_of(place, "rebuilt"), read_kind(place, "rebuilt")
    report = {"pass": header["pass"], "version": header["version"], "checkpoint": header["checkpoint"]}
    report["reconstruction"] = rebuilt_summary(records) | {"fields": rebuilt_fields(records)}
    return report if store is None else report | {"versions": _versions(store)}


def guard_figures(decisions: Decisions) -> dict[str, int]:
    """How the set-level guard changed what the rule flagged."""
    return {
        "sets_tried": int(decisions.guarded.tried.sum()),
        "readmitted": int(decisions.guarded.readmitted.sum()),
        "undecided": int(decisions.guarded.undecided.sum()),
        "errors": int(decisions.error.sum()),
    }


def fields_of(scores: PassScores, decisions: Decisions) -> dict[str, dict[str, Any]]:
    """Flag rate and distribution of the differences, field by field."""
    numbers = scores.numbers
    found = {}
    for number, name in enumerate(FIELD_NAMES):
        where = numbers.present & (numbers.field == number)
        if where.any():
            found[name] = {
                "segments": int(where.sum()),
                "noise": int((decisions.noise & where).sum()),
                "flag_rate": _share((decisions.noise & where).sum(), where.sum()),
                "d_itc": quantiles(numbers.d_itc[where]),
                "d_itm": quantiles(numbers.d_itm[where]),
            }
    return found


def quantiles(values: Floats) -> dict[str, Any]:
    """Quantiles of the numbers that are there."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return {"asked": 0}
    points = np.percentile(finite, QUANTILES)
    return {"asked": len(finite)} | {f"p{q}": plain(value) for q, value in zip(QUANTILES, points, strict=True)}


def rebuilt_summary(records: list[Record]) -> dict[str, Any]:
    """Counts of a reconstruction, and the mean scores of the texts before and after."""
    slots = [entry for record in records for entry in record["slots"]]
    refused: dict[str, int] = {}
    for entry in slots:
        if entry["reject"] is not None:
            refused[entry["reject"]] = refused.get(entry["reject"], 0) + 1
    accepted = sum(entry["accepted"] for entry in slots)
    fate = [record["status"][entry["slot"]] for record in records for entry in record["slots"]]
    return {
        "texts": len(records),
        "gaps": len(slots),
        "refused": dict(sorted(refused.items())),
        "accepted": accepted,
        "acceptance": _share(accepted, len(slots)),
        "replaced": fate.count("replaced"),
        "dropped": fate.count("dropped"),
        "restored": fate.count("ok"),
        "joint": {
            "tested": sum(record["joint"] is not None for record in records),
            "held": sum(bool(record["joint"]["holds"]) for record in records if record["joint"]),
        },
        **{
            name: {kind: _mean_of(record[name][kind] for record in records) for kind in ("itc", "itm")}
            for name in ("full", "without_noise", "final")
        },
    }


def rebuilt_fields(records: list[Record]) -> dict[str, dict[str, int]]:
    """Gaps, refused, accepted and replaced segments, field by field."""
    found: dict[str, dict[str, int]] = {}
    for record in records:
        for entry in record["slots"]:
            name = f"{record['domain']}.{FIELDS[record['domain']][entry['slot']]}"
            counts = found.setdefault(name, {"gaps": 0, "refused": 0, "accepted": 0, "replaced": 0})
            counts["gaps"] += 1
            counts["refused"] += entry["reject"] is not None
            counts["accepted"] += entry["accepted"]
            counts["replaced"] += record["status"][entry["slot"]] == "replaced"
    return {name: found[name] for name in FIELD_NAMES if name in found}


def against_planted(scores: PassScores, noise: Flags, planted: Flags) -> dict[str, Any]:
    """How well the noise is what was planted, among the segments that are there."""
    numbers = scores.numbers
    wrong = planted & numbers.present
    hits = int((noise & wrong).sum())
    clean = numbers.present & ~wrong
    return {
        "planted": int(wrong.sum()),
        "base_rate": _share(wrong.sum(), numbers.present.sum()),
        "precision": _share(hits, noise.sum()),
        "recall": _share(hits, wrong.sum()),
        "flagged_clean": _share((noise & clean).sum(), clean.sum()),
        "auc_d_itc": _auc(-numbers.d_itc, wrong, clean),
        "auc_d_itm": _auc(numbers.d_itm, wrong, clean),
        "asked_d_itm": int((np.isfinite(numbers.d_itm) & numbers.present).sum()),
    }


def _from_store(store: TextStore, header: dict[str, Any], scores: PassScores, noise: Flags) -> dict[str, Any]:
    found: dict[str, Any] = {}
    planted = store.planted()
    if planted is not None:
        every = (
            np.logical_or.reduce(list(planted.values())) if planted else np.zeros((len(store), noise.shape[1]), bool)
        )
        if header["version"] == 0:
            found["planted"] = against_planted(scores, noise, every[scores.rows]) | {
                "kinds": {
                    kind: {
                        "planted": int(flags.sum()),
                        "recall": _share((noise & flags[scores.rows]).sum(), flags.sum()),
                    }
                    for kind, flags in planted.items()
                }
            }
    return found | {"versions": _versions(store)}


def _versions(store: TextStore) -> list[dict[str, Any]]:
    versions = []
    for version in store.versions():
        truth = store.truth(version)
        versions.append(
            {"version": version, "counts": store.manifest(version).counts}
            | ({} if truth is None else {"share_correct": truth.share_correct, "share_kept": truth.share_kept})
        )
    return versions


def as_text(report: dict[str, Any]) -> str:
    """The report to be read."""
    if "skipped" in report:
        return why_skipped(report["pass"], report["skipped"])
    screened = "segments" in report
    lines = _screened_lines(report) if screened else [f"pass {report['pass']} on version {report['version']}"]
    if "reconstruction" in report:
        lines += ["", *_rebuilt_lines(report["reconstruction"])]
    for row in report.get("versions", ()):
        share = f", {row['share_correct']:.1%} equal the clean text" if row.get("share_correct") is not None else ""
        counts = ", ".join(f"{count} {status}" for status, count in row["counts"].items())
        lines.append(f"version {row['version']}: {counts}{share}")
    return "\n".join(lines)


def rebuilt_text(summary: dict[str, Any]) -> str:
    """What `reconstruct` did, where no report can be given: its summary alone."""
    written = "texts" in summary  # not with scio.reconstruct=false
    lines = _rebuilt_lines(summary) if written else [f"{summary['dropped']} segments dropped, none rebuilt"]
    return "\n".join([f"pass {summary['pass']}: version {summary['version']} of the texts", *lines])


def why_skipped(pass_id: str, skip: dict[str, Any]) -> str:
    """A sentence about a pass that found nothing because it did not look."""
    return (
        f"pass {pass_id} was skipped, nothing was screened: scio.strict was on, and matching separates held-out pairs "
        f"with an AUC of {_shown(skip['itm_auc'])}, less than scio.min_itm_auc = {skip['min_itm_auc']}"
    )


def _screened_lines(report: dict[str, Any]) -> list[str]:
    lines = [
        f"pass {report['pass']} on version {report['version']}: {report['noise']} of {report['segments']} segments are "
        f"noise ({report['flag_rate']:.1%}), in {report['texts_with_noise']} of {report['images']} texts",
        "guard: {sets_tried} sets tested, {readmitted} segments kept after all, {undecided} texts undecided, "
        "{errors} segments without a number".format(**report["guard"]),
        "",
        f"{'field':24}{'segments':>9}{'noise':>8}{'rate':>8}{'median d_itc':>15}{'median d_itm':>15}",
    ]
    for name, row in report["fields"].items():
        lines.append(
            f"{name:24}{row['segments']:9}{row['noise']:8}{row['flag_rate']:8.1%}"
            f"{_shown(row['d_itc'].get('p50')):>15}{_shown(row['d_itm'].get('p50')):>15}"
        )
    if "planted" in report:
        lines += ["", *_planted_lines(report["planted"])]
    return lines


def _planted_lines(planted: dict[str, Any]) -> list[str]:
    kinds = [
        f"  {kind:32}{row['planted']:7} planted{_shown(row['recall']):>9} found"
        for kind, row in planted["kinds"].items()
    ]
    return [
        f"against {planted['planted']} planted errors (base rate {_shown(planted['base_rate'])}): precision "
        f"{_shown(planted['precision'])}, recall {_shown(planted['recall'])}, right ones flagged "
        f"{_shown(planted['flagged_clean'])}, AUC of -d_itc {_shown(planted['auc_d_itc'])}, of d_itm "
        f"{_shown(planted['auc_d_itm'])} ({planted['asked_d_itm']} asked)",
        *kinds,
    ]


def _rebuilt_lines(rebuilt: dict[str, Any]) -> list[str]:
    refused = ", ".join(f"{count} {reason}" for reason, count in rebuilt["refused"].items()) or "none"
    scores = [
        f"  {name.replace('_', ' '):16}ITC {_shown(rebuilt[name]['itc'])}   ITM {_shown(rebuilt[name]['itm'])}"
        for name in ("full", "without_noise", "final")
    ]
    return [
        f"rebuilt: {rebuilt['replaced']} of {rebuilt['gaps']} gaps replaced, {rebuilt['dropped']} dropped; accepted "
        f"{_shown(rebuilt['acceptance'])}, refused: {refused}",
        "mean scores of these texts:",
        *scores,
    ]


def _auc(evidence: Floats, wrong: Flags, clean: Flags) -> float | None:
    finite = np.isfinite(evidence)
    found = area_under_curve(evidence[wrong & finite], evidence[clean & finite])
    return found if np.isfinite(found) else None


def _share(part: Any, whole: Any) -> float:
    return float(part) / float(whole) if whole else 0.0


def _mean(values: Floats) -> float | None:
    return _mean_of(values.tolist())


def _mean_of(values: Any) -> float | None:
    finite = [value for value in values if value is not None and np.isfinite(value)]
    return plain(float(np.mean(finite))) if finite else None


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
