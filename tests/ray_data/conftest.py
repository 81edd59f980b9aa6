from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from xqg_qdrant.ray_data.cluster import Connection, RayCluster

long = pytest.mark.skipif("XQG_RAY" not in os.environ, reason="long: set XQG_RAY=1 to run it")
"""Of tests that start Ray again and again."""


@pytest.fixture(scope="module")
def connection(ray_address: str) -> Iterator[Connection]:
    """This process, connected to the tests' cluster, with two workers."""
    connection = Connection.open(RayCluster(ray_address, quiet=True))
    yield connection
    connection.close()
