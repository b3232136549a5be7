"""The list of checks, and how they are run."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from adapters.conformance.report import Finding, NotApplicable, Report, Unmet
from foundation.errors import BenchError
from foundation.progress import Progress, silent

if TYPE_CHECKING:
    from adapters.card import ModelCard
    from adapters.conformance.subject import Build, Subject


class Check(NamedTuple):
    """One check; its function's docstring is what is expected."""

    name: str
    function: Callable[[Any], str]
    measures: bool = False
    """Reported, not judged, and left out of a quick run."""


def check_model(
    card: ModelCard,
    *,
    weights_root: Path | None = None,
    quick: bool = False,
    build: Build | None = None,
    progress: Progress = silent,
) -> Report:
    """Loads a model and checks it.

    Args:
        card: The model.
        weights_root: Where published weights lie.
        quick: Small images, fewer of them, nothing measured.
        build: In place of loading by the card: called with `image_size` and `seed`.
        progress: Told about each check.
    """
    from adapters.load import load

    report = Report(card.id)
    make: Build = build or partial(load, card, weights_root=weights_root)
    subject = _loaded(card, make, quick, report)
    if subject is None:
        return report
    checks = _checks(subject)
    for done, check in enumerate(checks):
        progress(done, len(checks), check.name)
        finding = run_check(check, subject)
        report.findings.append(finding)
        if finding.state == "failed" and done == 0:
            _give_up(report, checks[1:], "what the interface names is not there")
            break
    progress(len(checks), len(checks))
    return report


def run_check(check: Check, subject: Any) -> Finding:
    """One finding; whatever a check raises is a finding too."""
    expected = (check.function.__doc__ or check.name).strip().splitlines()[0]
    try:
        seen = check.function(subject)
    except Unmet as unmet:
        return Finding(check.name, "failed", unmet.expected, unmet.seen, unmet.change)
    except NotApplicable as reason:
        return Finding(check.name, "skipped", expected, str(reason))
    except BenchError as error:
        return Finding(check.name, "failed", expected, error.what, error.way_out or "see what was seen")
    except Exception as error:  # the model's code may raise anything
        seen = f"{type(error).__name__}: {error}".strip()
        return Finding(check.name, "failed", expected, seen, f"the model raised this in {_place(error)}: mend it there")
    return Finding(check.name, "measured" if check.measures else "ok", expected, seen)


def _loaded(card: ModelCard, make: Build, quick: bool, report: Report) -> Subject | None:
    """The model at the size of the check, with the finding about loading it."""
    from adapters.conformance import subject as under_test

    side = card.architecture.image_size if card.architecture is not None else under_test.QUICK_SIDE
    try:
        loaded = make(image_size=side, seed=0)
        stride = getattr(loaded.encoder, "stride", 1)
        stride = stride if isinstance(stride, int) and stride > 0 else 1
        size = under_test.quick_side(stride) if quick else under_test.fitting(side, stride)
        if size != side:
            loaded = make(image_size=size, seed=0)
    except BenchError as error:
        report.findings.append(Finding("loading", "failed", "the model loads", error.what, error.way_out))
        return None
    except Exception as error:  # a foreign factory may raise anything
        seen = f"{type(error).__name__}: {error}"
        change = f"the model raised this in {_place(error)}: mend it there"
        report.findings.append(Finding("loading", "failed", "the model loads", seen, change))
        return None
    filled = len(loaded.report.matched)
    seen = f"{filled} tensors from its file" if filled else "from scratch"
    report.findings.append(Finding("loading", "ok", "the model loads", f"{seen}, at {size} x {size}"))
    return under_test.Subject(card, make, loaded, size, quick)


def _checks(subject: Subject) -> list[Check]:
    if not subject.loaded.trainable:
        from adapters.conformance import fixed_features

        return [
            Check("interface", fixed_features.extractor),
            Check("features", fixed_features.values),
            Check("independence", fixed_features.company),
        ]
    from adapters.conformance import behaviour, costs, shapes

    checks = [
        Check("interface", shapes.interface),
        Check("features", shapes.features),
        Check("maps", shapes.maps),
        Check("image sizes", shapes.other_sizes),
        Check("other sizes at run time", shapes.sizes_it_was_not_built_for),
        Check("channels", shapes.wrong_channels),
        Check("input contract", behaviour.input_contract),
        Check("input left alone", behaviour.input_left_alone),
        Check("determinism", behaviour.same_input_twice),
        Check("seed", behaviour.same_seed_twice),
        Check("independence", behaviour.alone_or_in_company),
        Check("modes", behaviour.modes),
        Check("gradients", behaviour.gradients),
        Check("number formats", behaviour.number_formats),
        Check("layers", behaviour.layers),
        Check("weight decay", behaviour.weight_decay),
        Check("storage", behaviour.storage),
    ]
    if not subject.quick:
        checks += [Check("speed", costs.speed, measures=True), Check("memory", costs.memory, measures=True)]
    return checks


def _give_up(report: Report, checks: list[Check], reason: str) -> None:
    for check in checks:
        expected = (check.function.__doc__ or "").splitlines()[0]
        report.findings.append(Finding(check.name, "skipped", expected, reason))


def _place(error: BaseException) -> str:
    """File and line that raised."""
    trace = error.__traceback__
    place = "unknown place"
    while trace is not None:
        place = f"{trace.tb_frame.f_code.co_filename}, line {trace.tb_lineno}"
        trace = trace.tb_next
    return place
