"""Shards go to workers and come back in order; what goes wrong there is told here."""

from __future__ import annotations

import contextlib
import os
import random
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from xqg_qdrant.errors import RayError
from xqg_qdrant.ray_data import shards
from xqg_qdrant.ray_data.cluster import Connection
from xqg_qdrant.ray_data.shards import run_shards, versions_of


def work(do: Any, **versions: str) -> Any:
    """Work that is sent by value, whatever modules the workers can import."""

    class _Work:
        def __init__(self) -> None:
            self.versions = versions

        def start(self, threads: int) -> Any:
            return do

    return _Work()


def test_results_come_in_the_order_of_the_shards(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "SHARDS_PER_WORKER", 4)
    waits = random.Random(0).choices((0.0, 0.02, 0.1), k=12)
    read = 0

    def inputs() -> Iterator[bytes]:
        nonlocal read
        for wait in waits:
            read += 1
            yield f"{wait}\0".encode()

    def do(shard: bytes) -> bytes:
        time.sleep(float(shard[:-1]))
        return shard * 2

    results = run_shards(connection, work(do), inputs())
    first = next(results)
    assert read == 8  # a round, no more
    assert [first, *results] == [f"{wait}\0".encode() * 2 for wait in waits]
    assert not [each.name for each in threading.enumerate() if "usage" in each.name]


def test_rounds_are_bounded_by_bytes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "ROUND_BYTES", 10)
    rounds = list(shards._rounds([b"abcd"] * 5 + [b"x" * 99], most=4))
    assert [len(each) for each in rounds] == [3, 3]
    assert list(shards._rounds([], most=4)) == []


def test_what_a_worker_says_is_told_with_its_node(connection: Connection) -> None:
    def do(shard: bytes) -> bytes:
        from xqg_qdrant.errors import ModelError

        if shard == b"2":
            raise ModelError("the model is no good")
        return shard

    results = run_shards(connection, work(do), [b"0", b"1", b"2", b"3"])
    assert [next(results), next(results)] == [b"0", b"1"]
    with pytest.raises(RayError, match=r"^a worker on node \S+: the model is no good$"):
        next(results)


def told_by(do: Any, **versions: str) -> dict[str, Any]:
    """What an actor says of a shard, asked in this process."""
    pa = pytest.importorskip("pyarrow")
    worker = shards._Worker(work(do, **versions), 1)
    [row] = worker(pa.table({"number": [7], "shard": [b"shard"]})).to_pylist()
    assert row["number"] == 7
    return dict(row)


def test_a_result_is_told() -> None:
    told = told_by(lambda shard: shard + b"\0", **versions_of("numpy"))
    assert (told["result"], told["error"]) == (b"shard\0", None)


def test_an_error_that_nobody_foresaw_is_told_too() -> None:
    told = told_by(lambda shard: shard[99])
    assert told["result"] is None
    assert "IndexError: index out of range" in told["error"]


def test_other_versions_on_a_node_are_refused() -> None:
    told = told_by(bytes, **{**versions_of("numpy"), "numpy": "0.1"})
    assert re.search(r"it has numpy \S+ \(here 0\.1\): install the same", told["error"])


def test_workers_that_die(
    connection: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "RETRIES", 1)
    marker = str(tmp_path / "died")

    def do(shard: bytes) -> bytes:
        died = os.path.exists(marker)  # noqa: PTH110
        if (shard == b"1" and not died) or shard == b"3":
            os.close(os.open(marker, os.O_CREAT))
            os.kill(os.getpid(), 9)
        return shard

    one = Connection(connection.cluster, 1, contextlib.ExitStack())
    # The first is done again by a worker in the place of the one that died over it.
    assert list(run_shards(one, work(do), [b"0", b"1", b"2"])) == [b"0", b"1", b"2"]
    with pytest.raises(RayError) as caught:
        list(run_shards(one, work(do), [b"3"]))
    message = str(caught.value)
    assert "a worker of the Ray cluster" in message
    assert "died 2 times" in message
    assert "--ray-workers" in message
    assert "\n" not in message
