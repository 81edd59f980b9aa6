"""Connecting to a Qdrant server: whether it answers, and over which protocol."""

from __future__ import annotations

import logging
import warnings

from qdrant_client import QdrantClient

from xqg_qdrant.credentials import ApiKey, check_api_key, check_url, require_private
from xqg_qdrant.engine.server_calls import retrying, translated
from xqg_qdrant.errors import EngineUnavailable, InputError

TIMEOUT_SECONDS = 60
CONNECT_SECONDS = 10
OLDEST_SERVER = (1, 16)
"""Collection metadata came with 1.16."""

_ATTEMPTS = 3
_EXAMPLE = "http://localhost:6333 or https://HOST:6333"

log = logging.getLogger(__name__)


def connect(
    url: str,
    *,
    api_key: str | None = None,
    allow_insecure_api_key: bool = False,
    grpc_port: int = 6334,
) -> QdrantClient:
    """Connect to a server and see that it answers.

    Args:
        url: ``http(s)://HOST[:PORT]``; the port is 6333 when not given.
        api_key: sent with every request; it never appears in errors.
        allow_insecure_api_key: send it over plain HTTP to another machine too.
        grpc_port: of the same host; where it does not answer, all goes over REST.

    Raises:
        InputError: the URL is malformed, or the key would go to another machine unencrypted.
        EngineUnavailable: nothing answers, or the server is older than 1.16.
        AuthenticationError: the API key is wrong or missing.
    """
    key = check_api_key(api_key, allow_insecure=allow_insecure_api_key)
    require_private(check_url(url, example=_EXAMPLE), key)
    _require_new_enough(url, key)
    trial = _client(url, key, timeout=CONNECT_SECONDS, grpc_port=grpc_port)
    try:
        translated(url, trial.get_collections)
        answers = True
    except EngineUnavailable:
        log.warning("%s: gRPC port %d does not answer, using REST", url, grpc_port)
        answers = False
    finally:
        trial.close()
    return _client(url, key, timeout=TIMEOUT_SECONDS, grpc_port=grpc_port if answers else None)


def _require_new_enough(url: str, key: ApiKey | None) -> None:
    try:
        probe = _client(url, key, timeout=CONNECT_SECONDS)
    except ValueError as error:
        raise InputError(f"{url!r} is no server URL: {error}") from None
    first_word = retrying(attempts=_ATTEMPTS, refused=False)
    try:
        translated(url, lambda: first_word(probe.get_collections))
        version = translated(url, probe.info).version
    finally:
        probe.close()
    if _version(version) < OLDEST_SERVER:
        raise EngineUnavailable(
            f"the server at {url} is Qdrant {version}, 1.16 or newer is needed: update it"
        )


def _client(
    url: str, key: ApiKey | None, *, timeout: int, grpc_port: int | None = None
) -> QdrantClient:
    """A client over gRPC, or REST alone where no port is given."""
    with warnings.catch_warnings():
        # Of a key over plain HTTP: it stays on this machine, or its user allowed it.
        warnings.filterwarnings("ignore", message="Api key is used with an insecure")
        return QdrantClient(
            url=url,
            api_key=None if key is None else str(key),
            prefer_grpc=grpc_port is not None,
            grpc_port=6334 if grpc_port is None else grpc_port,
            timeout=timeout,
            check_compatibility=False,
        )


def _version(text: str) -> tuple[int, int]:
    try:
        major, minor = text.split(".")[:2]
        return int(major), int(minor)
    except ValueError:
        return OLDEST_SERVER  # a development build
