"""Collections copied from one engine to another, and back."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engine.conftest import ENGINES, open_named
from tests.loader.test_ingestion import passages, queries
from xqg_qdrant import Client, Encoder
from xqg_qdrant.engine.base import Engine
from xqg_qdrant.engine.edge import EdgeEngine
from xqg_qdrant.engine.points import Point
from xqg_qdrant.engine.server import ServerEngine
from xqg_qdrant.engine.storage import Storage
from xqg_qdrant.errors import (
    CollectionExists,
    CollectionMismatch,
    CollectionNotFound,
    EngineError,
    EngineUnavailable,
    InputError,
    PartialIngest,
    UnfinishedIngest,
)
from xqg_qdrant.loader import copying, ingest
from xqg_qdrant.loader.copying import CollectionSource, CopyReport, copy

SETTINGS = [("per-language", True), ("multivector", False)]


@pytest.fixture(scope="module")
def home(tiny_encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Collections on Edge, by layout."""
    with EdgeEngine(tmp_path_factory.mktemp("home")) as engine:
        for layout, hybrid in SETTINGS:
            settings: dict[str, Any] = {"layout": layout, "hybrid": hybrid}
            ingest(engine, layout, passages(40), queries(40), encoder=tiny_encoder, **settings)
        yield engine


@pytest.fixture(params=ENGINES)
def away(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    with open_named(request.param, tmp_path) as engine:
        before = set(engine.collections())
        yield engine
        for name in set(engine.collections()) - before:
            engine.delete(name)


def dump(engine: Engine, name: str) -> list[Any]:
    return [
        (
            point.id,
            point.payload,
            {
                key: sorted(zip(*each.to_json().values(), strict=True))
                if hasattr(each, "to_json")
                else each.tolist()
                for key, each in point.vectors.items()
            },
        )
        for point in engine.scroll(name, with_vectors=True)
    ]


@pytest.mark.parametrize(("layout", "hybrid"), SETTINGS)
def test_there_and_back_nothing_changes(
    home: Engine, away: Engine, tiny_encoder: Encoder, layout: str, hybrid: bool
) -> None:
    name = f"copy-{uuid.uuid4().hex[:12]}"
    told: list[Any] = []
    report = copy(CollectionSource(home, layout), away, name, progress=told.append)
    assert (report.points, report.resumed_at, report.previous) == (40, 0, None)
    assert {"copying", "optimizing", "verifying"} == {each.stage for each in told}
    assert name in away.names()
    copied = {key: row for key, row in away.documents(name).items() if key not in ("copy", "build")}
    assert copied == home.documents(layout)
    assert dump(away, name) == dump(home, layout)
    try:
        back = copy(CollectionSource(away, name), home, "back")
        assert back.points == 40
        assert dump(home, "back") == dump(home, layout)
        one, other = Client(home, encoder=tiny_encoder), Client(away, encoder=tiny_encoder)
        question = "sw question 1 of 5"
        for exact in (True, False):
            mine = one.search("back", question, lang="sw", exact=exact)
            theirs = other.search(name, question, lang="sw", exact=exact)
            assert mine[0].id == theirs[0].id  # among others there are near ties
            assert [hit.score for hit in mine] == pytest.approx(
                [hit.score for hit in theirs], abs=1e-4
            )
    finally:
        home.delete("back")


def test_what_only_a_cluster_has_stays_there(tmp_path: Path, tiny_encoder: Encoder) -> None:
    with ServerEngine.local() as cluster, EdgeEngine(tmp_path) as folder:
        spread = Storage(shards=6, replication_factor=2, hnsw_m=24)
        ingest(cluster, "c", passages(9), queries(9), encoder=tiny_encoder, storage=spread)
        copy(CollectionSource(cluster, "c"), folder, "c")
        assert folder.storage("c") == spread.embeddable().resolved()
        assert copy(CollectionSource(cluster, "c"), folder, "c").resumed_at == 9
        copy(CollectionSource(folder, "c"), cluster, "back")
        assert dump(cluster, "back") == dump(cluster, "c")


def test_the_same_again_does_nothing_and_another_is_refused(
    home: Engine, away: Engine, tiny_encoder: Encoder
) -> None:
    if away.alias_may_hide:
        pytest.skip("the same on each engine, and slow on this one")
    name = f"copy-{uuid.uuid4().hex[:12]}"
    copy(CollectionSource(home, "multivector"), away, name)
    before = away.resolve(name)
    assert copy(CollectionSource(home, "multivector"), away, name).resumed_at == 40
    with pytest.raises(CollectionExists, match=r"is another one.*--replace"):
        copy(CollectionSource(home, "per-language"), away, name)
    assert away.resolve(name) == before
    report = copy(CollectionSource(home, "per-language"), away, name, replace=True)
    assert report.previous == f"{name}.previous"
    assert away.resolve(report.previous) == before
    again = copy(CollectionSource(home, "per-language"), away, name, replace=True)
    assert again.resumed_at == 40
    # One more passage over there: no copy any more.
    ingest(
        away,
        name,
        passages(41),
        queries(41),
        encoder=tiny_encoder,
        layout="per-language",
        hybrid=True,
    )
    with pytest.raises(CollectionExists, match="its journal is another one"):
        copy(CollectionSource(home, "per-language"), away, name)


def test_what_is_not_ours_is_not_copied(home: Engine, away: Engine) -> None:
    with pytest.raises(CollectionNotFound):
        CollectionSource(home, "absent")
    away.create("foreign", {"v": 4})
    with pytest.raises(CollectionMismatch, match="has no manifest"):
        CollectionSource(away, "foreign")
    with pytest.raises(InputError, match="drop_previous goes with replace"):
        copy(CollectionSource(home, "multivector"), away, "c", drop_previous=True)


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Engine]:
    with open_named("local", tmp_path) as engine:
        yield engine


def test_a_copy_that_failed_goes_on_where_it_stopped(
    home: Engine, local: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "BATCH_POINTS", 6)
    original: Any = local._upsert
    written: list[str] = []

    def upsert(name: str, points: list[Point]) -> None:
        if len(written) == 18:
            raise EngineUnavailable("gone")
        written.extend(point.id for point in points)
        original(name, points)

    def push(name: str = "multivector", **options: Any) -> CopyReport:
        return copy(CollectionSource(home, name), local, "c", **options)

    with monkeypatch.context() as patch:
        patch.setattr(copying, "CHECKPOINT_SECONDS", 0.0)
        patch.setattr(local, "_upsert", upsert)
        with pytest.raises(PartialIngest, match="18 of 40 points are copied; run the same"):
            push()
    assert not local.exists("c")
    with pytest.raises(UnfinishedIngest, match="cut off after 18 of 40"):
        push("per-language")
    patched: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(
            local,
            "_upsert",
            lambda name, points: (patched.extend(p.id for p in points), original(name, points)),
        )
        report = push()
    assert (report.resumed_at, report.points) == (18, 40)
    assert sorted(written + patched) == [point.id for point in home.scroll("multivector")]
    assert dump(local, "c") == dump(home, "multivector")


def test_a_restart_begins_again(
    home: Engine, local: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(local, "_upsert", _fail)
        with pytest.raises(PartialIngest):
            copy(CollectionSource(home, "multivector"), local, "c")
    report = copy(CollectionSource(home, "per-language"), local, "c", restart=True)
    assert (report.points, report.resumed_at) == (40, 0)
    assert len(local.collections()) == 1


def _fail(*arguments: object) -> None:
    raise EngineUnavailable("gone")


@pytest.mark.parametrize("spoil", ["payload", "vector", "id", "lost"])
def test_a_copy_that_differs_takes_no_name(
    home: Engine, local: Engine, monkeypatch: pytest.MonkeyPatch, spoil: str
) -> None:
    original: Any = local._upsert

    def spoilt(point: Point) -> Point:
        if spoil == "payload":
            return Point(point.id, {**point.payload, "lang": "fr"}, point.vectors)
        if spoil == "vector":
            return Point(
                point.id, point.payload, {**point.vectors, "passage": 2 * point.vectors["passage"]}
            )
        return Point(str(uuid.UUID(int=uuid.UUID(point.id).int ^ 1)), point.payload, point.vectors)

    def upsert(name: str, points: list[Point]) -> None:
        original(name, points[:-1] if spoil == "lost" else [spoilt(point) for point in points])

    with monkeypatch.context() as patch:
        patch.setattr(local, "_upsert", upsert)
        with pytest.raises(EngineError, match=r"is not yet a copy of.*--restart"):
            copy(CollectionSource(home, "multivector"), local, "c")
    assert not local.exists("c")
    assert copy(CollectionSource(home, "multivector"), local, "c", restart=True).points == 40
    assert local.exists("c")


def test_a_server_is_free_to_be_the_same_one(local: Engine, tiny_encoder: Encoder) -> None:
    """How a server's collection gives its name to an alias, as the message of --replace says."""
    client = Client(local, encoder=tiny_encoder)
    rows = [passage for _, passage in passages()]
    client.ingest("wiki", rows)
    with pytest.raises(CollectionExists, match="xqg push"):
        client.ingest("wiki", rows[:5], replace=True)
    client.push("wiki", client, name="wiki-kept")
    client.delete("wiki")
    client.alias("wiki", "wiki-kept")
    assert client.info("wiki").points == 10
    client.ingest("wiki", rows[:5], replace=True)
    assert (client.info("wiki").points, client.info("wiki.previous").points) == (5, 10)
    assert client.collections() == ["wiki", "wiki-kept", "wiki.previous"]
    client.rollback("wiki")
    assert client.info("wiki").points == 10
    with pytest.raises(InputError, match="give a Client"):
        client.push("wiki", os.curdir)  # type: ignore[arg-type]
