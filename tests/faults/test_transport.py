"""The way to a server under faults, as far as it can be tested without one: what travels.

A proxy of ours does the harm; behind it is a script with answers of the shapes that Qdrant's API
documents. It is no Qdrant, so nothing is said here of what a server makes of what it gets; that is
tested where ``QDRANT_URL`` names one, in ``test_server_path.py``.
"""

from __future__ import annotations

import json
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from qdrant_client import QdrantClient

from tests.behaviour.conftest import Run, write_corpus
from tests.beir import write_beir
from tests.faults.proxy import Answer, CutReply, Delay, DrawnFaults, Drop, Hang, HttpProxy, TcpProxy
from tests.faults.proxy import faults_of_all_kinds as all_kinds
from tests.faults.upstream import Request, Upstream, described, shaped, upstream
from xqg_qdrant import Client, Encoder
from xqg_qdrant.collection import CollectionManifest, point_id
from xqg_qdrant.engine import server, server_calls
from xqg_qdrant.engine.server import ServerEngine
from xqg_qdrant.errors import EngineUnavailable, PartialIngest

NUMBER = 40
BATCH = 8
VECTORS = {"passage": 16, "fused-sw": 16}
UPDATED = shaped({"operation_id": 1, "status": "completed"})
ROOT = {"title": "qdrant - vector search engine", "version": "1.20.0"}


class Answers:
    """A script for one ingest of ``NUMBER`` passages into a collection ``c``, and for searches."""

    def __init__(self) -> None:
        self.metadata: dict[str, Any] | None = None

    def __call__(self, request: Request) -> tuple[int, Any]:
        route = (request.method, request.path)
        if route == ("PUT", "/collections/c"):
            if self.metadata is not None:
                return 409, {"status": {"error": "Wrong input: Collection `c` already exists!"}}
            self.metadata = request.body["metadata"]
        answers: dict[tuple[str, str], Any] = {
            ("GET", "/"): ROOT,
            ("GET", "/collections"): shaped({"collections": []}),
            ("GET", "/aliases"): shaped({"aliases": []}),
            ("GET", "/collections/c/exists"): shaped({"exists": self.metadata is not None}),
            ("PUT", "/collections/c"): shaped(True),
            ("PUT", "/collections/c/index"): UPDATED,
            ("PUT", "/collections/c/points"): UPDATED,
            ("POST", "/collections/c/points/count"): shaped({"count": NUMBER}),
            ("PATCH", "/collections/c"): shaped(True),
            ("GET", "/collections/c"): described(VECTORS, self.metadata),
            ("POST", "/collections/c/points/query/batch"): shaped([{"points": FOUND}]),
        }
        return 200, answers[route]


FOUND = [
    {
        "id": point_id(f"p{n}"),
        "version": 1,
        "score": 1.0 - n / 10,
        "payload": {"passage_id": f"p{n}", "text": "mto", "title": "", "queries": []},
    }
    for n in range(3)
]


@pytest.fixture
def behind() -> Iterator[Upstream]:
    with upstream(Answers()) as running:
        yield running


@pytest.fixture
def proxy(behind: Upstream) -> Iterator[HttpProxy]:
    with HttpProxy(behind.url) as running:
        yield running


@pytest.fixture
def client(proxy: HttpProxy, quick: list[float], tiny_encoder: Encoder) -> Iterator[Client]:
    remote = QdrantClient(url=proxy.url, prefer_grpc=False, check_compatibility=False, timeout=10)
    with Client(ServerEngine(remote, proxy.url), encoder=tiny_encoder) as opened:
        yield opened


@pytest.fixture
def corpus(tmp_path: Path) -> tuple[Path, Path]:
    return write_corpus(tmp_path, NUMBER)


def _after(number: int, then: Any, path: str = "/points") -> Callable[[str, str], Any]:
    """A rule: so many writes of points go well, and then nothing does."""
    seen = 0

    def rule(method: str, full: str) -> Any:
        nonlocal seen
        if method == "PUT" and full.split("?")[0].endswith(path):
            seen += 1
        return then if seen > number else None

    return rule


@pytest.mark.parametrize("seed", range(3))
def test_every_point_arrives_the_same_however_often_it_was_sent(
    client: Client, proxy: HttpProxy, corpus: tuple[Path, Path], quick: list[float], seed: int
) -> None:
    proxy.rule = DrawnFaults(random.Random(seed), all_kinds())
    report = client.ingest("c", *corpus, batch_size=BATCH)
    assert (report.passages, report.points) == (NUMBER, NUMBER)
    carried_out: dict[str, list[Any]] = {}
    for exchange in proxy.carried_out("PUT", "/points"):
        for point in json.loads(exchange.body)["points"]:
            carried_out.setdefault(point["id"], []).append(point)
    assert carried_out.keys() == {point_id(f"p{n}") for n in range(NUMBER)}
    for sent in carried_out.values():
        assert all(each == sent[0] for each in sent)
    harmed = [exchange.fault for exchange in proxy.exchanges if exchange.fault]
    assert len(harmed) >= 5
    assert len(quick) == sum(not isinstance(fault, Delay) for fault in harmed)


def test_points_sent_twice_are_the_same_points(
    client: Client, proxy: HttpProxy, corpus: tuple[Path, Path], behind: Upstream
) -> None:
    """Each write was carried out before its answer got lost, and is made again."""
    proxy.rule = DrawnFaults(random.Random(0), [CutReply()], share=1.0, row=1)
    client.ingest("c", *corpus, batch_size=BATCH)
    writes = [json.dumps(each.body) for each in behind.of("PUT", r".*/points")]
    assert len(writes) > NUMBER // BATCH
    assert len(set(writes)) == NUMBER // BATCH


def test_a_collection_whose_making_was_not_answered_is_ours(
    client: Client, proxy: HttpProxy, corpus: tuple[Path, Path], behind: Upstream
) -> None:
    cut = iter([CutReply()])
    proxy.rule = lambda method, path: (
        next(cut, None) if (method, path.split("?")[0]) == ("PUT", "/collections/c") else None
    )
    assert client.ingest("c", *corpus, batch_size=BATCH).points == NUMBER
    assert len(behind.of("PUT", "/collections/c")) == 2


@pytest.mark.parametrize("fault", [Answer(503), Drop(), CutReply()], ids=str)
def test_a_server_that_stays_away_leaves_a_partial_ingest(
    client: Client, proxy: HttpProxy, corpus: tuple[Path, Path], quick: list[float], fault: Any
) -> None:
    proxy.rule = _after(2, fault)
    with pytest.raises(
        PartialIngest, match=r"16 of 40 passages are in collection 'c'; run the same again"
    ) as caught:
        client.ingest("c", *corpus, batch_size=BATCH)
    assert (caught.value.done, caught.value.total) == (16, 40)
    assert isinstance(caught.value.__cause__, EngineUnavailable)
    # Given up once: not waited for again to note how far it came.
    assert len(quick) == server_calls.ATTEMPTS - 1


def test_a_refusal_is_not_repeated(
    client: Client, proxy: HttpProxy, corpus: tuple[Path, Path], quick: list[float]
) -> None:
    proxy.rule = _after(1, Answer(413))
    with pytest.raises(PartialIngest, match=r"refused \(status 413\)[\s\S]*8 of 40"):
        client.ingest("c", *corpus, batch_size=BATCH)
    assert quick == []


def test_patience_ends_however_many_attempts_are_left() -> None:
    made = 0

    def slow() -> None:
        nonlocal made
        made += 1
        time.sleep(0.2)
        raise server_calls.ResponseHandlingException(TimeoutError("too late"))

    with pytest.raises(server_calls.ResponseHandlingException):
        server_calls.retrying(attempts=50, patience=0.5)(slow)
    assert made <= 2


def test_connections_that_hang_are_given_up(
    proxy: HttpProxy, tiny_encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "retrying", lambda **bounds: server_calls.retrying(patience=1.5))
    remote = QdrantClient(url=proxy.url, prefer_grpc=False, check_compatibility=False, timeout=1)
    proxy.rule = lambda method, path: Hang()
    with (
        Client(ServerEngine(remote, proxy.url), encoder=tiny_encoder) as client,
        pytest.raises(EngineUnavailable, match=r"no answer.*timed out"),
    ):
        client.search("c", "mto")
    assert len(proxy.exchanges) <= 2


def _manifest(encoder: Encoder) -> CollectionManifest:
    return CollectionManifest(
        encoder=encoder.name,
        encoder_fingerprint=encoder.fingerprint,
        dimension=encoder.dimension,
        similarity="cosine",
        layout="per-language",
        alpha=0.1,
        languages=(),
    )


def _searchable(encoder: Encoder) -> Answers:
    answers = Answers()
    answers.metadata = {"xqg_manifest": _manifest(encoder).to_json()}
    return answers


@pytest.mark.parametrize("seed", range(3))
def test_searches_find_the_same_under_faults(
    quick: list[float], tiny_encoder: Encoder, seed: int
) -> None:
    with upstream(_searchable(tiny_encoder)) as behind, HttpProxy(behind.url) as proxy:
        remote = QdrantClient(
            url=proxy.url, prefer_grpc=False, check_compatibility=False, timeout=10
        )
        with Client(ServerEngine(remote, proxy.url), encoder=tiny_encoder) as client:
            proxy.rule = DrawnFaults(random.Random(seed), all_kinds())
            for _ in range(8):
                assert [hit.id for hit in client.search("c", "mto", lang="sw")] == [
                    "p0",
                    "p1",
                    "p2",
                ]
        assert any(exchange.fault for exchange in proxy.exchanges)


@pytest.mark.parametrize("fault", [Answer(503), Answer(429), Drop(), CutReply(sent=3)], ids=str)
def test_searches_end_in_a_clear_error_when_the_server_stays_away(
    quick: list[float], tiny_encoder: Encoder, fault: Any
) -> None:
    with upstream(_searchable(tiny_encoder)) as behind, HttpProxy(behind.url) as proxy:
        remote = QdrantClient(
            url=proxy.url, prefer_grpc=False, check_compatibility=False, timeout=10
        )
        with Client(ServerEngine(remote, proxy.url), encoder=tiny_encoder) as client:
            assert client.search("c", "mto", lang="sw")
            before = len(proxy.exchanges)
            proxy.rule = lambda method, path: fault
            with pytest.raises(EngineUnavailable, match=r"no answer|cannot serve now"):
                client.search("c", "mto", lang="sw")
            assert len(proxy.exchanges) - before == server_calls.ATTEMPTS


def test_grpc_connections_that_are_cut_or_refused_are_made_again() -> None:
    """A real gRPC server that answers every call with an empty message, behind a proxy."""
    calls: list[str] = []

    class Empty(grpc.GenericRpcHandler):
        def service(self, details: Any) -> Any:
            calls.append(details.method)
            if len(calls) == 2:
                # The call is carried out, its answer never comes. Set any earlier, a frame that
                # only keeps the connection going would be cut, and the call not be made at all.
                tcp.cut_after = 0
            return grpc.unary_unary_rpc_method_handler(lambda request, context: b"")

    rpc = grpc.server(ThreadPoolExecutor(2))
    rpc.add_generic_rpc_handlers((Empty(),))
    port = rpc.add_insecure_port("127.0.0.1:0")
    rpc.start()
    try:
        with TcpProxy("127.0.0.1", port) as tcp:
            remote = QdrantClient(
                url="http://127.0.0.1:1",
                grpc_port=tcp.port,
                prefer_grpc=True,
                check_compatibility=False,
                timeout=10,
            )
            with ServerEngine(remote, "there") as engine:
                assert engine.collections() == []
                assert tcp.cuts == 0
                assert engine.collections() == []
                assert tcp.cuts == 1
                assert len(calls) == 3
                tcp.refuse = True
                tcp.cut_all()
                threading.Timer(0.5, setattr, (tcp, "refuse", False)).start()
                assert engine.collections() == []
                assert tcp.cuts >= 2
    finally:
        rpc.stop(None)


@pytest.fixture
def no_grpc() -> None:
    """The command line looks for gRPC on port 6334: with a server there it would bypass a proxy."""
    with socket.socket() as probe:
        probe.settimeout(1)
        if probe.connect_ex(("127.0.0.1", 6334)) == 0:
            pytest.skip("a server listens on port 6334, the command line would use that one")


@pytest.mark.usefixtures("no_grpc")
def test_a_partial_ingest_on_the_command_line(
    xqg: Run, proxy: HttpProxy, corpus: tuple[Path, Path], behind: Upstream
) -> None:
    proxy.rule = _after(2, Answer(503, {"Retry-After": "500"}))
    passages, queries = corpus
    done = xqg(
        *("ingest", passages, "--queries", queries, "--to", proxy.url, "-c", "c"),
        *("--batch-size", BATCH, "-q"),
        env={"QDRANT_API_KEY": "a-secret-key"},
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "cannot serve now (status 503)" in done.stderr
    assert "16 of 40 passages are in collection 'c'; run the same again to go on" in done.stderr
    assert "a-secret-key" not in done.stderr + done.stdout
    assert len(behind.of("PUT", r".*/points")) == 2


@pytest.mark.usefixtures("no_grpc")
def test_commands_that_find_no_server_say_so(xqg: Run, proxy: HttpProxy, tmp_path: Path) -> None:
    beir = write_beir(
        tmp_path / "beir",
        [{"_id": "d", "title": "", "text": "mto"}],
        [{"_id": "q", "text": "mto"}],
        [("q", "d", 1)],
    )
    proxy.rule = lambda method, path: Answer(503, {"Retry-After": "500"})
    for url, words in ((proxy.url, "status 503"), ("http://127.0.0.1:9", "is it running")):
        for command in (
            ("search", "mto", "--from", url, "-c", "c"),
            ("eval", "beir", beir, "--to", url),
        ):
            done = xqg(*command)
            assert done.returncode == 1, (command, done.stderr)
            assert words in done.stderr
            assert url in done.stderr
            assert "Traceback" not in done.stderr
            assert done.stdout == ""


def test_the_script_has_the_shapes_that_the_client_reads(behind: Upstream) -> None:
    """Each answer passes the client's own validation, or the tests above would show little."""
    remote = QdrantClient(url=behind.url, prefer_grpc=False, check_compatibility=False)
    assert remote.info().version == ROOT["version"]
    assert remote.get_collections().collections == []
    assert remote.get_collection("c").status == "green"
    assert remote.count("c").count == NUMBER
    remote.close()
