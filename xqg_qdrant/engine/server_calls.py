"""Requests to a Qdrant server: what is repeated when it fails, and what its failures mean."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

import grpc
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

_TRANSIENT_HTTP = (408, 429, 500, 502, 503, 504)
_TRANSIENT_GRPC = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.ABORTED,
)

Result = TypeVar("Result")

log = logging.getLogger(__name__)
log.addFilter(HideKeys())


def retrying() -> tenacity.Retrying:
    """Tries again on transient failures, with exponential back-off and jitter."""
    return tenacity.Retrying(
        stop=tenacity.stop_after_attempt(ATTEMPTS),
        wait=_wait,
        retry=tenacity.retry_if_exception(_is_transient),
        before_sleep=tenacity.before_sleep_log(log, logging.INFO),
        reraise=True,
    )


_backoff = tenacity.wait_exponential_jitter(multiplier=0.25, max=20.0, jitter=1.0)


def _wait(state: tenacity.RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, ResourceExhaustedResponse):
        return min(float(error.retry_after_s), 60.0) + _backoff(state)
    return _backoff(state)


def _is_transient(error: BaseException) -> bool:
    if isinstance(error, UnexpectedResponse):
        return error.status_code in _TRANSIENT_HTTP
    if isinstance(error, grpc.RpcError):
        return _grpc_code(error) in _TRANSIENT_GRPC
    return isinstance(error, ResponseHandlingException | ResourceExhaustedResponse)


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
        raise _error(location, 429, str(error)) from safe_cause(error)
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
    except (ValueError, TypeError, QdrantException, NotImplementedError) as error:
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
