"""What goes wrong between here and the hub, each as one sentence for the user."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import (
    DisabledRepoError,
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from flyweight.base import UserError

# The client's HTTP library is httpx in one of its versions and httpx2 in another: its own errors derive
# from that library's common one, which is found there whatever its name.
TRANSPORT_ERRORS: tuple[type[Exception], ...] = tuple(
    base for base in HfHubHTTPError.__bases__ if not issubclass(base, OSError)
)
"""What the client's HTTP library raises when there is no answer: no connection, a break, a timeout."""

_PASSING = (408, 429, 500, 502, 503, 504)
_LONGEST_REASON = 160


def passes(error: Exception) -> bool:
    """Whether the same request may succeed a little later."""
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code in _PASSING
    return isinstance(error, TRANSPORT_ERRORS)


@contextlib.contextmanager
def explain_hub_errors(where: str, dataset: str, revision: str | None, api: HfApi) -> Iterator[None]:
    """Turn every error of the hub and of the way to it into a UserError.

    Args:
        where: names the setting, at the beginning of the sentence.
        dataset: its id.
        revision: the branch, tag or commit that was asked for.
        api: knows the address; also asked for the branches when the revision is not there.
    """
    try:
        yield
    except HFValidationError:
        raise UserError(
            f"{where}: {dataset!r} is not the id of a dataset; expected `owner/name`, as in the address of its page."
        ) from None
    except OfflineModeIsEnabled:
        raise UserError(
            f"{where}: {dataset} is on the hub, and HF_HUB_OFFLINE (or TRANSFORMERS_OFFLINE) is set; unset it, "
            f"or download the files elsewhere and name them with `kind: files` and `path`."
        ) from None
    except HfHubHTTPError as error:
        raise UserError(f"{where}: {_refusal(error, dataset, revision, api)}") from None
    except TRANSPORT_ERRORS as error:
        raise UserError(
            f"{where}: the hub at {without_login(api.endpoint)} does not answer ({reason_of(error)}); check the "
            f"network and HF_ENDPOINT, and run the same command again: finished work is kept."
        ) from None


def _refusal(error: HfHubHTTPError, dataset: str, revision: str | None, api: HfApi) -> str:
    status, place = error.response.status_code, without_login(api.endpoint)
    if isinstance(error, GatedRepoError):
        return (
            f"{dataset} is gated: its owners let in who has agreed to their terms; agree on its page, "
            f"{place}/datasets/{dataset}, and {_log_in()}."
        )
    if isinstance(error, DisabledRepoError):
        return f"{dataset} has been disabled on the hub; take another dataset."
    if isinstance(error, RepositoryNotFoundError):
        return (
            f"there is no dataset {dataset} at {place}, or it is private; check the name, and if it is private "
            f"{_log_in()}."
        )
    if isinstance(error, RevisionNotFoundError):
        return f"{dataset} has no revision {revision!r}; {_revisions(dataset, api)}."
    if isinstance(error, EntryNotFoundError):
        return f"{dataset} has no such file at revision {revision}; check the revision and `files`."
    if status == 401:
        return f"the hub at {place} does not accept the login; log in anew with `hf auth login`, or check HF_TOKEN."
    if status == 403:
        return f"the hub at {place} refuses access to {dataset}; {_log_in()}."
    if passes(error):
        return (
            f"the hub at {place} cannot serve {dataset} at present (HTTP {status}), after several tries; "
            f"run the same command again later: finished work is kept."
        )
    return f"the hub at {place} answers HTTP {status} for {dataset}; check the dataset's id and HF_ENDPOINT."


def _log_in() -> str:
    if get_token() is None:
        return "log in with `hf auth login`"
    return "check that the account you are logged in with (`hf auth whoami`) may read it"


def _revisions(dataset: str, api: HfApi) -> str:
    """The revisions that there are, as far as the hub tells them."""
    try:
        refs = api.list_repo_refs(dataset, repo_type="dataset")
    except (OSError, *TRANSPORT_ERRORS):
        return "see its page for its branches and tags"
    names = [ref.name for ref in (*refs.branches, *refs.tags)]
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return f"it has {', '.join(names[:8])}{more}, and every commit" if names else "it has none"


def reason_of(error: Exception) -> str:
    """The error's first line, without anything secret."""
    text = (str(error).strip() or type(error).__name__).splitlines()[0]
    token = get_token()
    return without_login(text.replace(token, "…") if token else text)[:_LONGEST_REASON]


def without_login(text: str) -> str:
    """Addresses may carry a name and a password before an @."""
    return re.sub(r"(?<=//)[^/@\s]+@", "", text)
