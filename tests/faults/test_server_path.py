"""The way to a real server under faults: the same points in the end, or a clear error.

Runs against whatever speaks Qdrant's protocol at ``QDRANT_URL``, through proxies of ours; skipped
where there is none. The collection is made under a name of its own, and removed.
"""

from __future__ import annotations

import os
import random
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import tenacity
from qdrant_client import QdrantClient

from tests.behaviour.conftest import write_corpus
from tests.faults.proxy import (
    Answer,
    CutReply,
    DrawnFaults,
    Drop,
    HttpProxy,
    TcpProxy,
    faults_of_all_kinds,
)
from xqg_qdrant import Client, Encoder
from xqg_qdrant.engine import open_engine, server, server_calls
from xqg_qdrant.engine.base import Engine
from xqg_qdrant.engine.server import ServerEngine
from xqg_qdrant.errors import CollectionLocked, EngineUnavailable, PartialIngest

NUMBER = 60
BATCH = 8
LAYOUTS: dict[str, dict[str, Any]] = {
    "dense": {},
    "hybrid": {"hybrid": True},
    "multivector": {"layout": "multivector"},
}

Corpus = tuple[Path, Path]
Dump = list[tuple[str, Any, dict[str, Any]]]


@pytest.fixture
def url() -> str:
    found = os.environ.get("QDRANT_URL")
    if not found or not found.startswith("http://"):
        pytest.skip("needs a Qdrant server over http: set QDRANT_URL, docker-compose.yml has one")
    return found


@pytest.fixture
def direct(url: str) -> Iterator[Engine]:
    """The server, without a proxy; what a test made is removed."""
    with open_engine(url, api_key=os.environ.get("QDRANT_API_KEY")) as engine:
        before = set(engine.collections())
        yield engine
        for name in set(engine.collections()) - before:
            engine.delete(name)


@pytest.fixture
def proxy(url: str) -> Iterator[HttpProxy]:
    with HttpProxy(url) as running:
        yield running


@pytest.fixture
def through(
    proxy: HttpProxy, tiny_encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Client]:
    """A client whose every request goes through the proxy; it need not wait long."""
    _hasten(monkeypatch)
    with _remote(proxy.url) as engine, Client(engine, encoder=tiny_encoder) as client:
        yield client


def _hasten(monkeypatch: pytest.MonkeyPatch) -> None:
    def retrying(**bounds: Any) -> tenacity.Retrying:
        return server_calls.retrying(**bounds).copy(wait=tenacity.wait_fixed(0.02))

    monkeypatch.setattr(server, "retrying", retrying)


def _remote(url: str, **settings: Any) -> ServerEngine:
    key = os.environ.get("QDRANT_API_KEY")
    settings = {"prefer_grpc": False, "timeout": 20, **settings}
    remote = QdrantClient(url=url, api_key=key, check_compatibility=False, **settings)
    return ServerEngine(remote, url)


@pytest.fixture
def name() -> str:
    return f"xqg-faults-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return write_corpus(tmp_path, NUMBER)


def _dump(engine: Engine, name: str) -> Dump:
    return [
        (
            point.id,
            point.payload,
            {
                key: str(each.to_json() if hasattr(each, "to_json") else each.tolist())
                for key, each in point.vectors.items()
            },
        )
        for point in engine.scroll(name, with_vectors=True)
    ]


@pytest.fixture
def undisturbed(direct: Engine, tiny_encoder: Encoder, corpus: Corpus) -> Callable[..., Dump]:
    def load(**layout: Any) -> Dump:
        whole = f"xqg-whole-{uuid.uuid4().hex[:12]}"
        Client(direct, encoder=tiny_encoder).ingest(whole, *corpus, batch_size=BATCH, **layout)
        return _dump(direct, whole)

    return load


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_same_points_through_a_faulty_proxy(
    through: Client,
    proxy: HttpProxy,
    direct: Engine,
    undisturbed: Callable[..., Dump],
    corpus: Corpus,
    name: str,
    layout: str,
) -> None:
    proxy.rule = DrawnFaults(random.Random(layout), faults_of_all_kinds())
    report = through.ingest(name, *corpus, batch_size=BATCH, **LAYOUTS[layout])
    assert report.points == NUMBER
    assert sum(exchange.fault is not None for exchange in proxy.exchanges) >= 5
    assert _dump(direct, name) == undisturbed(**LAYOUTS[layout])
    assert through.info(name).complete


def test_every_answer_is_lost_once(
    through: Client,
    proxy: HttpProxy,
    direct: Engine,
    undisturbed: Callable[..., Dump],
    corpus: Corpus,
    name: str,
) -> None:
    """Each request is carried out, its answer lost, and made again: the creation too."""
    proxy.rule = DrawnFaults(random.Random(0), [CutReply()], share=1.0, row=1)
    assert through.ingest(name, *corpus, batch_size=BATCH).points == NUMBER
    assert len(proxy.carried_out("PUT", "/points")) > NUMBER // BATCH + 1
    assert _dump(direct, name) == undisturbed()


@pytest.mark.parametrize("fault", [Answer(503), Answer(500), Drop(), CutReply()], ids=str)
def test_an_outage_leaves_a_partial_ingest_that_the_same_call_finishes(
    through: Client,
    proxy: HttpProxy,
    direct: Engine,
    undisturbed: Callable[..., Dump],
    corpus: Corpus,
    name: str,
    fault: Any,
) -> None:
    writes = 0

    def outage(method: str, path: str) -> Any:
        nonlocal writes
        writes += method == "PUT" and path.split("?")[0].endswith("/points")
        return fault if writes > 3 else None

    proxy.rule = outage
    with pytest.raises(PartialIngest, match=r"24 of 60 passages.*run the same again") as caught:
        through.ingest(name, *corpus, batch_size=BATCH)
    assert (caught.value.done, caught.value.total) == (24, NUMBER)
    assert direct.count(name) >= 24
    with pytest.raises(EngineUnavailable):
        through.search(name, "mto", lang="sw")
    proxy.rule = lambda method, path: None
    assert through.ingest(name, *corpus, batch_size=BATCH).points == NUMBER
    assert _dump(direct, name) == undisturbed()
    assert through.search(name, "mto", lang="sw")


def test_searches_find_the_same_through_a_faulty_proxy(
    through: Client, proxy: HttpProxy, direct: Engine, corpus: Corpus, name: str
) -> None:
    through.ingest(name, *corpus, hybrid=True)
    whole = through.search_batch(name, ["mto mlima", "jangwa"], lang="sw", exact=True)
    proxy.rule = DrawnFaults(random.Random(1), faults_of_all_kinds())
    for _ in range(10):
        found = through.search_batch(name, ["mto mlima", "jangwa"], lang="sw", exact=True)
        assert found == whole


def test_two_writers_end_with_the_same_points(
    direct: Engine,
    url: str,
    tiny_encoder: Encoder,
    undisturbed: Callable[..., Dump],
    corpus: Corpus,
    name: str,
) -> None:
    """A server locks nobody out: the one that was overtaken ends with a clear error."""
    errors: list[Exception] = []

    def write() -> None:
        try:
            with _remote(url) as engine:
                Client(engine, encoder=tiny_encoder).ingest(name, *corpus, batch_size=BATCH)
        except CollectionLocked as error:
            errors.append(error)

    writers = [threading.Thread(target=write) for _ in range(2)]
    for each in writers:
        each.start()
    for each in writers:
        each.join()
    assert len(errors) <= 1
    Client(direct, encoder=tiny_encoder).ingest(name, *corpus, batch_size=BATCH)
    assert _dump(direct, name) == undisturbed()


@pytest.mark.parametrize("harm", ["cut", "refused", "delayed"])
def test_the_same_points_over_grpc_through_a_faulty_proxy(
    direct: Engine,
    url: str,
    tiny_encoder: Encoder,
    undisturbed: Callable[..., Dump],
    corpus: Corpus,
    name: str,
    harm: str,
) -> None:
    if not getattr(direct, "_grpc", False):
        pytest.skip("the server's gRPC port 6334 does not answer")
    with TcpProxy(urlsplit(url).hostname or "", 6334) as tcp:

        def disturb(progress: Any) -> None:
            if progress.stage == "loading" and progress.done in (8, 24, 40):
                if harm == "cut":
                    tcp.cut_after = 10  # in the middle of the next answer
                elif harm == "refused":
                    tcp.refuse = True
                    tcp.cut_all()
                    threading.Timer(0.3, setattr, (tcp, "refuse", False)).start()
                else:
                    tcp.delay = 0.02

        remote = f"http://127.0.0.1:{urlsplit(url).port or 6333}"
        with _remote(remote, prefer_grpc=True, grpc_port=tcp.port) as engine:
            client = Client(engine, encoder=tiny_encoder)
            report = client.ingest(name, *corpus, batch_size=BATCH, progress=disturb)
        assert report.points == NUMBER
        assert tcp.cuts >= (0 if harm == "delayed" else 1)
    assert _dump(direct, name) == undisturbed()
