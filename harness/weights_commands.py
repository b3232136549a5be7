"""What `harness weights` prints; each function returns its exit code."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from adapters.card import ModelCard
from adapters.containers.shards import INDEX_SUFFIX
from adapters.registry import load_model_file, select
from adapters.weight_files.examine import FileState, examine, verify
from adapters.weight_files.fetch import Got, Wanted, by_hand, fetch, wanted_files
from adapters.weights import PUBLISHED, default_weights_root, is_restricted, weights_root_of
from foundation.errors import BenchError, CheckError, MissingError, UsageError
from foundation.files import require_writable
from foundation.progress import Progress
from harness.printing import print_json, print_rows
from harness.weights_display import megabytes, show_download

NOT_COMMERCIAL = "not for commercial use"


class Choice(NamedTuple):
    """Which models a command is about, as named on the command line."""

    models: Sequence[str]
    model_files: Sequence[Path]
    weights_root: Path | None

    def cards(self) -> list[ModelCard]:
        """The models with files; all published ones where none is named."""
        extra = [card for file in self.model_files for card in load_model_file(file)]
        if self.models:
            return select(",".join(self.models), extra)
        return [card for card in select("all", extra) if card.weights.kind in (*PUBLISHED, "file")]

    @property
    def root(self) -> Path:
        """The folder that is meant."""
        return self.weights_root or default_weights_root()


def status(choice: Choice, as_json: bool) -> int:
    """Prints for each model its files, where they are published, and whether they are here."""
    cards = choice.cards()
    weights_root_of(choice.weights_root)
    found: list[tuple[ModelCard, FileState | None]] = []
    for card in cards:
        found += [(card, state) for state in examine(card, choice.weights_root)] or [(card, None)]
    if as_json:
        print_json([_as_data(card, state) for card, state in found])
        return 0
    print(f"weights root: {choice.root}\n")
    heads = ("model", "file", "state", "checksum", "size", "published", "licence")
    origins = {file.target: file for card in cards for file in wanted_files(card, choice.weights_root)}
    print_rows(heads, [_row(card, state, origins) for card, state in found])
    _print_complaints([state for _, state in found if state is not None and not state.sound])
    restricted = [card.id for card in cards if is_restricted(card.weights)]
    if restricted:
        print(f"\n{NOT_COMMERCIAL}: {', '.join(restricted)}")
    missing = sum(state is not None and state.state in ("missing", "unfinished") for _, state in found)
    if missing:
        print(f"\n{missing} files are not here; `harness weights fetch MODEL` gets them, or says how")
    return 0


def fetch_models(choice: Choice, yes: bool, as_json: bool) -> int:
    """Gets the files of models; what cannot be had over the network is printed with exact steps."""
    cards = choice.cards()
    if not choice.models:
        raise UsageError("no model named", way_out="name models or groups, or `all`; see `harness weights status`")
    outstanding = [(card, file) for card in cards for file in wanted_files(card, choice.weights_root) if not file.here]
    over_network = [(card, file) for card, file in outstanding if file.source in ("hub", "url")]
    if over_network:
        _confirm(over_network, choice.root, yes=yes, quiet=as_json)
        require_writable(choice.root)
    with show_download(quiet=as_json) as progress:
        results = [_fetch_one(card, choice, progress, quiet=as_json) for card in cards]
    if as_json:
        print_json(results)
    else:
        _print_by_hand(results)
    return max((result["exit_code"] for result in results), default=0)


def verify_models(choice: Choice, as_json: bool) -> int:
    """Checks the files that are here: checksum, and names and shapes against the model's layout."""
    cards = choice.cards()
    weights_root_of(choice.weights_root)
    checked = [(card, state) for card in cards for state in verify(card, choice.weights_root)]
    there = [(card, state) for card, state in checked if state.state != "missing"]
    missing = [(card, state) for card, state in checked if state.state == "missing"]
    if as_json:
        print_json([_as_data(card, state) for card, state in checked])
    else:
        for card, state in there:
            _print_verdict(card, state)
        if choice.models:
            for card, state in missing:
                print(f"{card.id}: {state.path.name} is not here; {state.way_out}")
        if not there:
            print(f"no weights under {choice.root}")
    if any(not state.sound for _, state in there):
        return CheckError.exit_code
    return MissingError.exit_code if choice.models and missing else 0


def _fetch_one(card: ModelCard, choice: Choice, progress: Progress, *, quiet: bool) -> dict[str, Any]:
    result: dict[str, Any] = {"model": card.id, "files": [], "by_hand": [], "problem": None, "exit_code": 0}
    wanted = wanted_files(card, choice.weights_root)
    if not wanted and card.id in choice.models:
        _say(f"{card.id}: needs no file from the network", quiet)
    try:
        for got in fetch(card, choice.weights_root, progress):
            result["files"].append({**got._asdict(), "path": str(got.path)})
            _say(_arrived(card, got), quiet)
        if wanted and all(file.here for file in wanted):
            # What has just arrived is looked into; what was here before has been, or `verify` does it.
            _require_sound((verify if result["files"] else examine)(card, choice.weights_root))
            if not result["files"]:
                _say(f"{card.id}: already here", quiet)
    except BenchError as error:
        result["problem"] = {"what": error.what, "where": error.where, "way_out": error.way_out}
        result["exit_code"] = error.exit_code
        if not quiet:
            print(f"{card.id}: {error}", file=sys.stderr)
    result["by_hand"] = [
        {"file": str(file.target), "steps": by_hand(card, file)}
        for file in wanted
        if not file.here and file.source in ("manual", "unreleased")
    ]
    if result["by_hand"]:
        result["exit_code"] = max(result["exit_code"], MissingError.exit_code)
    return result


def _require_sound(states: Sequence[FileState]) -> None:
    wrong = next((state for state in states if not state.sound), None)
    if wrong is not None:
        what = f"{wrong.path.name}: {wrong.says or wrong.state}"
        raise CheckError(what, where=str(wrong.path), way_out=wrong.way_out)


def _confirm(files: Sequence[tuple[ModelCard, Wanted]], root: Path, *, yes: bool, quiet: bool) -> None:
    """Shows what is about to be downloaded and under which licence, and asks where there is somebody to ask."""
    if not quiet:
        print(f"to be downloaded to {root}:", file=sys.stderr)
        for card, file in files:
            size = f", {file.size_mb} MB" if file.size_mb else ""
            size += " and the shards that it names" if file.target.name.endswith(INDEX_SUFFIX) else ""
            terms = f" ({NOT_COMMERCIAL})" if is_restricted(card.weights) else ""
            print(f"  {card.id}: {file.target.name}{size} from {file.origin}", file=sys.stderr)
            print(f"    licence: {file.licence or 'not stated'}{terms}", file=sys.stderr)
    if yes:
        return
    if quiet or not sys.stdin.isatty():
        raise UsageError("nothing has been downloaded: there is nobody to ask", way_out="add --yes to go ahead")
    print("download? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise UsageError("nothing has been downloaded", way_out="answer y, or add --yes")


def _row(card: ModelCard, state: FileState | None, origins: Mapping[Path, Wanted]) -> tuple[str, ...]:
    licence = card.weights.licence or "-"
    if state is None:
        return (card.id, "-", _without_file(card), "-", "-", "-", licence)
    wanted = origins.get(state.path)
    shown = "unreleased" if card.weights.kind == "unreleased" and state.state == "missing" else state.state
    size = megabytes(state.size)
    if wanted is not None:
        licence = wanted.licence or licence
        size = f"({wanted.size_mb} MB)" if state.size is None and wanted.size_mb else size
    # In a table the beginning of a licence says enough; --json and `harness list MODEL` have all of it.
    brief = licence.partition(";")[0]
    return (card.id, state.path.name, shown, state.checksum, size, _place(wanted), brief)


def _place(wanted: Wanted | None) -> str:
    if wanted is None:
        return "your own"
    if wanted.source == "hub":
        return f"hub: {wanted.origin.removeprefix('https://huggingface.co/')}"
    return f"{'by hand' if wanted.source == 'manual' else wanted.source}: {urlsplit(wanted.origin).netloc}"


def _without_file(card: ModelCard) -> str:
    if card.architecture is None:
        return "no encoder"
    return {"timm": "timm's cache", "shipped": "in this package"}.get(card.weights.kind, "needs none")


def _as_data(card: ModelCard, state: FileState | None) -> dict[str, Any]:
    source = card.weights
    data: dict[str, Any] = {
        "model": card.id,
        "published": {**source.model_dump(mode="json"), "commercial_use": not is_restricted(source)},
    }
    if state is None:
        return {**data, "state": _without_file(card)}
    return {**data, **state._asdict(), "path": str(state.path), "sound": state.sound}


def _print_complaints(states: Sequence[FileState]) -> None:
    for state in states:
        if state.says:
            print(f"\n{state.path}: {state.says}\n  way out: {state.way_out}")


def _print_verdict(card: ModelCard, state: FileState) -> None:
    verdict = "ok" if state.sound else state.state if state.state != "present" else "changed"
    print(f"{card.id}: {state.path.name}: {verdict}: {state.says or megabytes(state.size)}")
    if state.sha256 is not None:
        told = {
            "ok": "as published",
            "noted": "as noted before",
            "unknown": "no published checksum; noted beside the file, and to be pinned as weights.sha256",
        }
        print(f"  SHA-256 {state.sha256} ({told.get(state.checksum, state.checksum)})")
    if not state.sound:
        print(f"  way out: {state.way_out}")


def _print_by_hand(results: Sequence[dict[str, Any]]) -> None:
    for result in results:
        for file in result["by_hand"]:
            print(f"{result['model']}: {Path(file['file']).name} cannot be fetched by this program:")
            for number, step in enumerate(file["steps"], start=1):
                print(f"  {number}. {step}")


def _arrived(card: ModelCard, got: Got) -> str:
    kept = f", of which {megabytes(got.kept)} were here from before" if got.kept else ""
    return f"{card.id}: {got.path} ({megabytes(got.size)}{kept})\n  from {got.origin}\n  SHA-256 {got.sha256}"


def _say(line: str, quiet: bool) -> None:
    if not quiet:
        print(line)
