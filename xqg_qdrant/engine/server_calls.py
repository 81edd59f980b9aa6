"""Requests to a Qdrant server: what is repeated when it fails, and what its failures mean."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import TypeVar

import grpc
import httpx
import tenacity
from qdrant_client.common.client_exceptions import QdrantException, ResourceExhaustedResponse
from qdrant_client.http.exceptions import (
    ApiException,
    ResponseHandlingException,
    UnexpectedResponse,
)

from xqg_qdrant.credentials import HideKeys, hide_keys, safe_cause
from xqg_qdrant.errors import (
    AuthenticationError,
    CollectionNotFound,
    EngineError,
    EngineUnavailable,
)

ATTEMPTS = 6
READ_PATIENCE_SECONDS = 30.0
WRITE_PATIENCE_SECONDS = 150.0
"""From the first attempt on: later than this none is begun, whatever the server asks for."""

_TRANSIENT_HTTP = (408, 429, 500, 502, 503, 504)
_TRANSIENT_GRPC = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.ABORTED,
    # What a server calls status 500 over REST, and what is left of a connection cut in a reply.
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
)

Result = TypeVar("Result")

log = logging.getLogger(__name__)
log.addFilter(HideKeys())


def retrying(
    *,
    attempts: int = ATTEMPTS,
    patience: float = READ_PATIENCE_SECONDS,
    refused: bool = True,
) -> tenacity.Retrying:
    """Tries again on transient failures, with exponential back-off and jitter.

    The last failure is raised as it is.

    Args:
        attempts: in all, the first one included.
        patience: seconds from the first attempt on after which none is begun.
        refused: try again too when nothing listens there.
    """

    def again(error: BaseException) -> bool:
        return _is_transient(error) and (refused or not _is_refused(error))

    return tenacity.Retrying(
        stop=tenacity.stop_after_attempt(attempts) | tenacity.stop_before_delay(patience),
        wait=_wait,
        retry=tenacity.retry_if_exception(again),
        before_sleep=tenacity.before_sleep_log(log, logging.INFO),
        reraise=True,
    )


_backoff = tenacity.wait_exponential_jitter(multiplier=0.25, max=20.0, jitter=1.0)


def _wait(state: tenacity.RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    return _asked_to_wait(error) + _backoff(state)


def _asked_to_wait(error: BaseException | None) -> float:
    """Seconds that the server asks for (RFC 9110, section 10.2.3); 0 if it does not."""
    if isinstance(error, ResourceExhaustedResponse):
        return max(0.0, float(error.retry_after_s))
    if isinstance(error, UnexpectedResponse):
        text = error.headers.get("Retry-After") or ""
    elif _is_odd_retry_after(error):
        text = str(error).partition(": ")[2]
    else:
        return 0.0
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return 0.0


def _is_odd_retry_after(error: BaseException | None) -> bool:
    """What qdrant-client makes of a 429 whose Retry-After is a date or a fraction."""
    return type(error) is QdrantException and "Retry-After" in str(error)


def _is_transient(error: BaseException) -> bool:
    if isinstance(error, UnexpectedResponse):
        return error.status_code in _TRANSIENT_HTTP
    if isinstance(error, grpc.RpcError):
        return _grpc_code(error) in _TRANSIENT_GRPC
    return isinstance(
        error, ResponseHandlingException | ResourceExhaustedResponse
    ) or _is_odd_retry_after(error)


def _is_refused(error: BaseException) -> bool:
    source = getattr(error, "source", None)
    return isinstance(source, httpx.ConnectError | httpx.ConnectTimeout)


def says_exists(error: UnexpectedResponse | grpc.RpcError) -> bool:
    """Whether a collection could not be created since there is one of its name.

    Qdrant says so with status 409, ALREADY_EXISTS, or (older ones) as a bad request.
    """
    if isinstance(error, UnexpectedResponse):
        return error.status_code == 409 or (
            error.status_code == 400 and b"already exists" in error.content
        )
    details = error.details() if isinstance(error, grpc.Call) else None
    return _grpc_code(error) == grpc.StatusCode.ALREADY_EXISTS or (
        _grpc_code(error) == grpc.StatusCode.INVALID_ARGUMENT
        and "already exists" in (details or "")
    )


def translated(location: str, request: Callable[[], Result]) -> Result:
    """Make a request, and turn both of the client's exception trees into errors of ours."""
    try:
        return request()
    except UnexpectedResponse as error:
        text = error.content.decode("utf-8", "replace")[:500]
        raise _error(location, error.status_code or 500, text) from safe_cause(error)
    except grpc.RpcError as error:
        code = _grpc_code(error)
        details = error.details() if isinstance(error, grpc.Call) else str(error)
        status = {
            grpc.StatusCode.UNAUTHENTICATED: 401,
            grpc.StatusCode.PERMISSION_DENIED: 403,
            grpc.StatusCode.NOT_FOUND: 404,
        }.get(code, 503 if code in _TRANSIENT_GRPC else 400)
        raise _error(location, status, details or str(code)) from safe_cause(error)
    except ResourceExhaustedResponse as error:
        text = f"{error}; it asks to wait for {error.retry_after_s:,} s"
        raise _error(location, 429, text) from safe_cause(error)
    except (ResponseHandlingException, ApiException) as error:
        source = getattr(error, "source", error)
        raise EngineUnavailable(
            f"no answer from the Qdrant server at {location} ({hide_keys(str(source))}): is it "
            "running, and is the URL right? 'docker compose up -d' starts one on "
            "http://localhost:6333"
        ) from safe_cause(error)
    except (AssertionError, RecursionError) as error:
        # qdrant-client asserts that answers have results; proxies and others answer otherwise.
        told = hide_keys(str(error))[:200]
        raise EngineError(
            f"{location} answered what no Qdrant server answers ({told}): is the URL right?"
        ) from safe_cause(error)
    except QdrantException as error:
        status = 429 if _is_odd_retry_after(error) else 400
        raise _error(location, status, str(error)) from safe_cause(error)
    except (ValueError, TypeError, NotImplementedError) as error:
        raise EngineError(hide_keys(f"{location}: {error}")) from safe_cause(error)


def _error(location: str, status: int, text: str) -> EngineError | CollectionNotFound:
    text = hide_keys(text)
    if status in (401, 403):
        return AuthenticationError(
            f"the Qdrant server at {location} refused the API key (status {status}): give the "
            "right one with --api-key, api_key= or QDRANT_API_KEY"
        )
    if status == 404:
        return CollectionNotFound(f"{location}: {text}")
    if status in _TRANSIENT_HTTP:
        return EngineUnavailable(
            f"the Qdrant server at {location} cannot serve now (status {status}): {text}"
        )
    return EngineError(f"the Qdrant server at {location} refused (status {status}): {text}")


def _grpc_code(error: grpc.RpcError) -> grpc.StatusCode:
    return error.code() if isinstance(error, grpc.Call) else grpc.StatusCode.UNKNOWN
