"""A Qdrant server's own snapshots of a collection: its files, with graphs and indexes.

They are read by a server alone, of the same or the next minor version, and hold what one node has
of the collection. See https://qdrant.tech/documentation/concepts/snapshots/.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import httpx
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse
from qdrant_client.qdrant_remote import QdrantRemote

from xqg_qdrant.corpus.writing import replacing_binary
from xqg_qdrant.engine.base import Engine
from xqg_qdrant.engine.server import ServerEngine
from xqg_qdrant.engine.server_calls import translated
from xqg_qdrant.errors import EngineError, InputError, XqgError

WORK_SECONDS = 3600.0
"""For so long a server may make or take in a snapshot; large ones take minutes."""

_CHUNK = 2**20

log = logging.getLogger(__name__)


class Snapshots:
    """The snapshots of a server.

    Args:
        engine: connected to it.

    Raises:
        InputError: the engine is no server.
    """

    def __init__(self, engine: Engine) -> None:
        remote = engine._client._client if isinstance(engine, ServerEngine) else None
        if not isinstance(remote, QdrantRemote):
            raise InputError(
                f"{engine.location} has no snapshots of its own, Qdrant servers have: leave "
                "--native (native=True) out, the other form works everywhere"
            )
        self.location = engine.location
        self._client = httpx.Client(
            base_url=remote.rest_uri,
            headers={
                name: value for name, value in remote._rest_headers.items() if name == "api-key"
            },
            timeout=httpx.Timeout(WORK_SECONDS, connect=10.0),
        )

    def __enter__(self) -> Snapshots:
        return self

    def __exit__(self, *details: object) -> None:
        self._client.close()

    def download(
        self, name: str, path: Path, progress: Callable[[int, int], None] | None = None
    ) -> str:
        """Have a snapshot made, write it to a file (whole or not at all), and remove it there.

        Args:
            name: of the collection itself.
            path: of the file.
            progress: called with the bytes that are there, and all.

        Returns:
            The SHA-256 of the file, 64 hex digits.

        Raises:
            EngineError: the server refused, what came differs from what it made, or other nodes
                hold a part of the collection.
            StorageError: the disk is full.
        """
        cluster = self._json("GET", f"{_of(name)}/cluster")
        if cluster.get("remote_shards"):
            raise EngineError(
                f"{name!r} at {self.location} lies on several nodes, and a snapshot holds what one "
                "of them has: leave --native (native=True) out"
            )
        made = self._json("POST", f"{_of(name)}/snapshots", params={"wait": "true"})
        url = f"{_of(name)}/snapshots/{quote(str(made['name']), safe='')}"
        try:
            digest = self._stream(url, path, made, progress)
        finally:
            try:
                self._json("DELETE", url, params={"wait": "true"})
            except XqgError as error:
                log.warning("the snapshot %s is left on the server: %s", made["name"], error)
        return digest

    def upload(self, path: Path, name: str, digest: str) -> None:
        """Make a collection from a snapshot; the server compares its hash before it uses it.

        It takes the place of a collection of that name: give one that there is none of.

        Args:
            path: of the file.
            name: of the collection.
            digest: the SHA-256 of the file, 64 hex digits.

        Raises:
            InputError: the file cannot be read.
            EngineError: the server refused.
        """
        try:
            with path.open("rb") as stream:
                self._json(
                    "POST",
                    f"{_of(name)}/snapshots/upload",
                    params={"wait": "true", "priority": "snapshot", "checksum": digest},
                    files={"snapshot": (path.name, stream)},
                )
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None

    def _stream(
        self,
        url: str,
        path: Path,
        made: dict[str, Any],
        progress: Callable[[int, int], None] | None,
    ) -> str:
        digest, size, total = hashlib.sha256(), 0, int(made.get("size") or 0)

        def request() -> str:
            nonlocal size
            try:
                with replacing_binary(path) as file, self._client.stream("GET", url) as response:
                    if response.status_code != httpx.codes.OK:
                        response.read()
                        raise UnexpectedResponse.for_response(response)
                    for chunk in response.iter_bytes(_CHUNK):
                        file.write(chunk)
                        digest.update(chunk)
                        size += len(chunk)
                        if progress is not None:
                            progress(size, total)
                    expected = made.get("checksum")
                    if size != total or expected not in (None, digest.hexdigest()):
                        raise EngineError(
                            f"the snapshot from {self.location} is not what the server made: "
                            f"{size:,} of {total:,} bytes, or another checksum; try again"
                        )
            except httpx.HTTPError as error:
                raise ResponseHandlingException(error) from error
            return digest.hexdigest()

        return translated(self.location, request)

    def _json(self, method: str, url: str, **options: Any) -> dict[str, Any]:
        def request() -> dict[str, Any]:
            try:
                response = self._client.request(method, url, **options)
            except httpx.HTTPError as error:
                raise ResponseHandlingException(error) from error
            if response.is_error:
                raise UnexpectedResponse.for_response(response)
            result = response.json().get("result")
            return cast(dict[str, Any], result) if isinstance(result, dict) else {}

        return translated(self.location, request)


def _of(name: str) -> str:
    return f"/collections/{quote(name, safe='')}"
