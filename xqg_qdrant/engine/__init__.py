"""Where vectors live: one small interface, and its implementations."""

from __future__ import annotations

from pathlib import Path

from xqg_qdrant.engine.base import Engine
from xqg_qdrant.errors import InputError

MEMORY = ":memory:"
DEFAULT_LOCATION = "xqg-data"


def open_engine(location: str | Path | None = None, *, api_key: str | None = None) -> Engine:
    """Open the engine that a location stands for.

    Args:
        location: a folder for the embedded engine (``xqg-data`` when None), ``":memory:"`` for
            one that is gone when closed, or the ``http(s)://`` URL of a Qdrant server or cluster.
        api_key: for a server.

    Raises:
        InputError: the location is neither.
        EngineUnavailable: the server cannot be reached.
        AuthenticationError: the server refuses the API key.
    """
    where = str(DEFAULT_LOCATION if location is None else location)
    if "://" in where:
        if not where.startswith(("http://", "https://")):
            scheme = where.split("://", 1)[0]
            raise InputError(
                f"{scheme}:// is no place for collections: give a folder, ':memory:', "
                "or a Qdrant server as http://HOST:6333"
            )
        from xqg_qdrant.engine.server import ServerEngine

        return ServerEngine.connect(where, api_key=api_key)
    if not where:
        raise InputError("the location is empty: give a folder, ':memory:' or a server's URL")

    from xqg_qdrant.engine.edge import EdgeEngine

    return EdgeEngine.in_memory() if where == MEMORY else EdgeEngine(Path(where))
