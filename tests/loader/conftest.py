from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from xqg_qdrant.engine.base import Engine
from xqg_qdrant.engine.edge import EdgeEngine
from xqg_qdrant.engine.server import ServerEngine


@pytest.fixture(params=["edge", "local"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    with EdgeEngine(tmp_path / "e") if request.param == "edge" else ServerEngine.local() as opened:
        yield opened
