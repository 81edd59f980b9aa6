"""Where vectors live: one small interface, and its implementations."""

from __future__ import annotations

import os
from pathlib import Path

from xqg_qdrant.engine.base import Engine
from xqg_qdrant.errors import InputError

MEMORY = ":memory:"
DEFAULT_LOCATION = "xqg-data"

_PLACES = "give a folder, ':memory:', or a Qdrant server as http://HOST:6333"


def open_engine(
    location: str | os.PathLike[str] | None = None,
    *,
    api_key: str | None = None,
    allow_insecure_api_key: bool = False,
) -> Engine:
    """Open the engine that a location stands for.

    Args:
        location: a folder for the embedded engine (``xqg-data`` when None), ``":memory:"`` for
            one that is gone when closed, or the ``http(s)://`` URL of a Qdrant server or cluster.
        api_key: for a server.
        allow_insecure_api_key: send the key over plain HTTP to another machine too.

    Raises:
        InputError: the location is neither, or the key would go to another machine unencrypted.
        EngineUnavailable: the server cannot be reached.
        AuthenticationError: the server refuses the API key.
    """
    if location is not None and not isinstance(location, str | os.PathLike):
        raise InputError(f"the location is a {type(location).__name__}: {_PLACES}")
    where = os.fspath(DEFAULT_LOCATION if location is None else location)
    if not isinstance(where, str) or not where.strip() or not _can_be_a_path(where):
        raise InputError(f"{where!r} is no place for collections: {_PLACES}")
    if "://" in where:
        if not where.lower().startswith(("http://", "https://")):
            scheme = where.split("://", 1)[0]
            raise InputError(f"{scheme}:// is no place for collections: {_PLACES}")
        from xqg_qdrant.engine.server import ServerEngine

        return ServerEngine.connect(
            where, api_key=api_key, allow_insecure_api_key=allow_insecure_api_key
        )

    from xqg_qdrant.engine.edge import EdgeEngine

    return EdgeEngine.in_memory() if where == MEMORY else EdgeEngine(Path(where))


def _can_be_a_path(text: str) -> bool:
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False
