"""What goes wrong on the way to the hub, each as one sentence for the user."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

from flyweight.base import UserError
from flyweight.corpus.reading.hub_errors import TRANSPORT_ERRORS, passes, reason_of, without_login

NOTHING = "nothing was published"
"""What is known while nothing has been sent, or where the hub has refused it."""


@contextlib.contextmanager
def explain_upload_errors(
    repository: str, api: HfApi, so_far: str = NOTHING, refused: str = NOTHING
) -> Iterator[None]:
    """Turn every error of the hub, of the way to it and of an upload into a UserError.

    Args:
        repository: its id.
        api: knows the address.
        so_far: what is known of what was published, should the hub not say it.
        refused: what is known of it where the hub refuses what is asked.
    """
    try:
        yield
    except UserError:
        raise
    except OfflineModeIsEnabled:
        raise UserError(
            f"{repository}: HF_HUB_OFFLINE (or TRANSFORMERS_OFFLINE) is set, so nothing can be sent; unset it, and run "
            f"the same command again."
        ) from None
    except HFValidationError as error:
        raise UserError(f"{repository}: not a name that the hub takes ({reason_of(error)}).") from None
    except HfHubHTTPError as error:
        raise UserError(f"{repository}: {_refusal(error, api, so_far, refused)}.") from None
    except TRANSPORT_ERRORS as error:
        raise UserError(
            f"{repository}: the hub at {without_login(api.endpoint)} does not answer ({reason_of(error)}), check the "
            f"network and HF_ENDPOINT; {so_far}."
        ) from None
    except (ValueError, RuntimeError, OSError) as error:  # a card that the hub refuses; hf_xet's own failures
        raise UserError(f"{repository}: the upload broke off ({reason_of(error)}); {so_far}.") from None


def _refusal(error: HfHubHTTPError, api: HfApi, so_far: str, refused: str) -> str:
    status, place = error.response.status_code, without_login(api.endpoint)
    if status == 401:
        return (
            f"the hub at {place} does not accept the login, log in anew with `hf auth login`, or check HF_TOKEN; "
            f"{refused}"
        )
    if status in (403, 404):
        return (
            f"the login may not write there, take a token with the right to write, and an owner that is you or an "
            f"organisation of yours (`hf auth whoami`); {refused}"
        )
    if status in (409, 412):
        return f"somebody else changed the repository at the same time (HTTP {status}), try again; {refused}"
    if status in (402, 413):
        return f"the hub at {place} has no room for this under that account (HTTP {status}); {refused}"
    if passes(error) or status >= 500:
        return f"the hub at {place} cannot take it at present (HTTP {status}), try again later; {so_far}"
    return f"the hub at {place} refuses it (HTTP {status}: {reason_of(error)}); {refused}"
