"""What the Hugging Face hub says of a file: where its bytes are, how many, their SHA-256, and of which revision.

The hub's own client asks; it knows mirrors (HF_ENDPOINT), tokens, gated repositories and the offline switch.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from adapters.weight_files.download import Remote
from foundation.errors import MissingError, UsageError

TIMEOUT = 10.0
"""Seconds that the hub has to answer."""

_SHA256_DIGITS = 64
_NAMES_IN_MESSAGES = 8


class HubFile(NamedTuple):
    """A file of a repository at one revision."""

    remote: Remote
    revision: str | None
    """The commit that was asked for or is the newest; pins the file."""


def find(hub_id: str, filename: str, revision: str | None = None) -> HubFile:
    """Asks the hub for one file; every way in which it is not to be had is named with the way out."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    endpoint = os.environ.get("HF_ENDPOINT") or None
    _require_possible(hub_id, filename)
    address = hf_hub_url(hub_id, filename, revision=revision, endpoint=endpoint)
    try:
        said = get_hf_file_metadata(address, timeout=TIMEOUT, library_name="fusar-klip-bench", endpoint=endpoint)
    except Exception as error:  # the client has changed its network library twice, and its exceptions with it
        raise _explained(error, hub_id, filename, revision, endpoint) from error
    # The token is for the hub alone, not for the hosts that it has the bytes on.
    headers = _authorization() if urlsplit(said.location).netloc == urlsplit(address).netloc else {}
    # Large files carry their SHA-256 as ETag, small ones the hash of their git object.
    sha256 = said.etag if said.etag is not None and len(said.etag) == _SHA256_DIGITS else None
    lasting = hf_hub_url(hub_id, filename, revision=said.commit_hash or revision, endpoint=endpoint)
    return HubFile(Remote(said.location, lasting, sha256, said.size, headers), said.commit_hash)


def cached(hub_id: str, filename: str, revision: str | None = None) -> Path | None:
    """The file in the cache of the hub's client, where some other program has fetched it before."""
    from huggingface_hub import try_to_load_from_cache

    _require_possible(hub_id, filename)
    found = try_to_load_from_cache(hub_id, filename, revision=revision)
    return Path(found) if isinstance(found, str) else None


def _require_possible(hub_id: str, filename: str) -> None:
    from huggingface_hub import hf_hub_url
    from huggingface_hub.errors import HFValidationError

    try:
        hf_hub_url(hub_id, filename)
    except HFValidationError as error:
        raise UsageError(
            f"not a possible repository of the hub: {hub_id!r}",
            where=filename,
            way_out="write weights.hub_id in the model's card as owner/name",
        ) from error
    if not filename:
        raise UsageError(
            "the card names no file on the hub", where=hub_id, way_out="write weights.filename in the model's card"
        )


def _authorization() -> dict[str, str]:
    from huggingface_hub import constants, get_token

    token = None if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN else get_token()
    return {"Authorization": f"Bearer {token}"} if token else {}


def _explained(
    error: Exception, hub_id: str, filename: str, revision: str | None, endpoint: str | None
) -> MissingError:
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    page = f"https://huggingface.co/{hub_id}"
    if isinstance(error, OfflineModeIsEnabled):
        what, way_out = "the hub is switched off by HF_HUB_OFFLINE", "unset HF_HUB_OFFLINE and run again"
    elif isinstance(error, GatedRepoError):
        what = f"{hub_id} is given only to those who accept its terms"
        way_out = f"accept them at {page}, then set HF_TOKEN or sign in with `hf auth login`, and run again"
    elif isinstance(error, RepositoryNotFoundError):
        what = f"the hub has no repository {hub_id}, or does not show it to you"
        way_out = f"look at {page}; for a private one set HF_TOKEN"
    elif isinstance(error, RevisionNotFoundError):
        what, way_out = f"{hub_id} has no revision {revision}", f"see the revisions at {page}/commits"
    elif isinstance(error, EntryNotFoundError):
        what = f"{hub_id} has no file {filename}"
        way_out = _what_is_there(hub_id, revision, endpoint) or f"see {page}/tree/main"
    elif isinstance(error, HfHubHTTPError):
        status = getattr(error.response, "status_code", "an error")
        what, way_out = f"the hub answered {status}", "run again later"
    else:
        reason = str(error).partition("\n")[0] or type(error).__name__
        what, way_out = f"no connection to the hub: {reason}", "run again when this machine has a network"
    return MissingError(what, where=f"{page} ({filename})", way_out=way_out)


def _what_is_there(hub_id: str, revision: str | None, endpoint: str | None) -> str:
    from huggingface_hub import HfApi

    try:
        names = sorted(HfApi(endpoint=endpoint).list_repo_files(hub_id, revision=revision))
    except Exception:  # only a courtesy: the answer is the same without it
        return ""
    large = [name for name in names if not name.endswith((".md", ".gitattributes", ".json", ".txt", ".yaml"))]
    more = f" and {len(large) - _NAMES_IN_MESSAGES} more" if len(large) > _NAMES_IN_MESSAGES else ""
    return f"it has {', '.join(large[:_NAMES_IN_MESSAGES])}{more}; fetch the right one by hand" if large else ""
