from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from xqg_qdrant.engine import open_engine
from xqg_qdrant.engine.base import Engine
from xqg_qdrant.engine.edge import EdgeEngine
from xqg_qdrant.engine.server import ServerEngine

ENGINES = ("edge", "local", "server")


def open_named(name: str, folder: Path) -> Engine:
    """An engine by its short name; the server's is skipped where there is none."""
    if name == "edge":
        return EdgeEngine(folder / "edge")
    if name == "local":
        return ServerEngine.local()
    url = os.environ.get("QDRANT_URL")
    if not url:
        pytest.skip("needs a Qdrant server: set QDRANT_URL, docker-compose.yml starts one")
    return open_engine(url, api_key=os.environ.get("QDRANT_API_KEY"))


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """Every engine at hand, one after the other; what a test made is removed."""
    with open_named(request.param, tmp_path) as opened:
        before = set(opened.collections())
        yield opened
        for name in set(opened.collections()) - before:
            opened.delete(name)
