"""A collection is built beside the one that serves, and takes its name in one step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.loader.test_ingestion import passages, queries
from tests.tiny import build_encoder
from xqg_qdrant import Encoder
from xqg_qdrant.engine.base import Engine
from xqg_qdrant.engine.edge import EdgeEngine
from xqg_qdrant.engine.points import Point
from xqg_qdrant.engine.storage import Storage
from xqg_qdrant.errors import (
    CollectionExists,
    CollectionLocked,
    CollectionNotFound,
    EngineError,
    InputError,
    PartialIngest,
    UnfinishedIngest,
)
from xqg_qdrant.loader import IngestReport, ingest, running
from xqg_qdrant.loader.documents import read_manifest
from xqg_qdrant.loader.replacing import rollback, set_alias

# What does not hang on the engine: the one that writes less to the disk.
on_one_engine = pytest.mark.parametrize("engine", ["local"], indirect=True)


@pytest.fixture
def build(engine: Engine, tiny_encoder: Encoder) -> Any:
    """Replace ``c`` by so many passages, with such settings."""

    def build(number: int = 10, **settings: Any) -> IngestReport:
        settings = {"encoder": tiny_encoder, "replace": True, **settings}
        return ingest(engine, "c", passages(number), queries(number), **settings)

    return build


def dump(engine: Engine, name: str = "c") -> list[Any]:
    return [
        (point.id, point.payload, {key: repr(each) for key, each in point.vectors.items()})
        for point in engine.scroll(name, with_vectors=True)
    ]


def count(engine: Engine, name: str) -> int:
    return engine.count(name)


@pytest.mark.parametrize(
    ("layout", "hybrid"),
    [("fused", False), ("per-language", True), ("tunable", False), ("multivector", True)],
)
def test_a_new_collection_takes_the_name_and_the_old_one_is_kept(
    engine: Engine, build: Any, layout: str, hybrid: bool, tmp_path: Path
) -> None:
    first = build(6)
    assert (first.collection, first.points, first.previous) == ("c", 6, None)
    before = dump(engine)
    other = Encoder.load(build_encoder(tmp_path / "other", seed=1, dimension=8), threads=1)
    second = build(10, encoder=other, layout=layout, hybrid=hybrid)
    assert (second.points, second.previous) == (10, "c.previous")
    assert engine.names() == ["c", "c.previous"]
    assert read_manifest(engine, "c").dimension == 8
    assert dump(engine, "c.previous") == before
    if layout == "per-language":
        ingest(engine, "d", passages(), queries(), encoder=other, layout=layout, hybrid=hybrid)
        assert dump(engine) == dump(engine, "d")


def test_the_same_again_is_in_place_and_another_needs_the_previous_one_gone(
    engine: Engine, build: Any
) -> None:
    build(6), build(8)
    held = dict(engine.aliases())
    again = build(8)
    assert (again.points, again.resumed_at, again.previous) == (8, 8, None)
    assert engine.aliases() == held
    with pytest.raises(CollectionExists, match=r"c.previous.*xqg delete -c c.previous --from"):
        build(9)
    assert engine.aliases() == held
    third = build(9, drop_previous=True)
    assert third.previous == "c.previous"
    assert (count(engine, "c"), count(engine, "c.previous")) == (9, 8)
    assert len(engine.collections()) == 2
    engine.delete("c.previous")
    assert build(10).points == 10
    assert count(engine, "c.previous") == 9


@on_one_engine
def test_restart_builds_the_same_again(engine: Engine, build: Any) -> None:
    build(6)
    before = engine.resolve("c")
    build(6, restart=True)
    assert engine.resolve("c") != before
    assert dump(engine) == dump(engine, "c.previous")


def test_other_storage_is_another_collection(engine: Engine, build: Any) -> None:
    build(6, storage=Storage(hnsw_m=8))
    before = engine.resolve("c")
    assert build(6).previous is None  # what is left open may be anything
    assert engine.resolve("c") == before
    assert build(6, storage=Storage(hnsw_m=12)).previous == "c.previous"
    assert engine.resolve("c.previous") == before
    assert engine.storage("c").hnsw_m == 12


def test_rolling_back_and_forth(engine: Engine, build: Any) -> None:
    with pytest.raises(CollectionNotFound, match=r"'c.previous'"):
        rollback(engine, "c")
    build(6), build(8)
    rollback(engine, "c")
    assert (count(engine, "c"), count(engine, "c.previous")) == (6, 8)
    rollback(engine, "c")
    assert (count(engine, "c"), count(engine, "c.previous")) == (8, 6)
    engine.delete("c")
    assert engine.names() == ["c.previous"]
    assert not engine.exists("c")
    rollback(engine, "c")
    assert engine.names() == ["c"]
    assert count(engine, "c") == 6


def test_a_run_cut_off_while_loading_goes_on(
    engine: Engine, build: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(6)
    served = dump(engine)
    original, calls = engine._upsert, 0

    def upsert(name: str, points: list[Point]) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise EngineError("gone")
        original(name, points)

    monkeypatch.setattr(engine, "_upsert", upsert)
    with pytest.raises(PartialIngest) as caught:
        build(10, batch_size=2, layout="fused")
    assert (caught.value.done, caught.value.total) == (4, 10)
    assert dump(engine) == served
    with pytest.raises(UnfinishedIngest, match=r"cut off after 4 of 10 passages \(c-[0-9a-f]{8}\)"):
        build(9, batch_size=2)
    report = build(10, batch_size=2, layout="fused")
    assert (report.resumed_at, report.points) == (4, 10)
    assert dump(engine, "c.previous") == served


def test_a_run_cut_off_before_the_swap_swaps_and_encodes_nothing_again(
    engine: Engine, build: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(6)
    served = dump(engine)

    def die(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(engine, "change_aliases", die)
        with pytest.raises(KeyboardInterrupt):
            build(10, layout="fused")
    assert dump(engine) == served
    with pytest.raises(
        UnfinishedIngest, match=r"loaded whole, but not swapped in.*xqg delete -c c"
    ):
        build(9, restart=True)
    with monkeypatch.context() as patch:
        patch.setattr(engine, "upsert", die)
        report = build(10, layout="fused")
    assert (report.resumed_at, report.points, report.previous) == (10, 10, "c.previous")
    assert dump(engine, "c.previous") == served


@on_one_engine
def test_restart_drops_what_another_run_left_unfinished(
    engine: Engine, build: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(6)
    with monkeypatch.context() as patch:
        patch.setattr(engine, "_upsert", lambda *_: (_ for _ in ()).throw(EngineError("broken")))
        with pytest.raises(PartialIngest):
            build(10)
    assert len(engine.collections()) == 2
    build(9, restart=True, dry_run=True)
    assert len(engine.collections()) == 2
    assert build(9, restart=True).points == 9
    assert engine.names() == ["c", "c.previous"]
    assert len(engine.collections()) == 2


SPOILT: dict[str, Any] = {
    "missing": (lambda points: points[:-1], "holds 9 points"),
    "another payload": (
        lambda points: [Point(p.id, {**p.payload, "text": "other"}, p.vectors) for p in points],
        "another payload",
    ),
    "another vector": (
        lambda points: [
            Point(p.id, p.payload, {name: -vector for name, vector in p.vectors.items()})
            for p in points
        ],
        "another vector 'fused'",
    ),
}


@on_one_engine
@pytest.mark.parametrize("case", SPOILT)
def test_what_does_not_verify_takes_no_name(
    engine: Engine, build: Any, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    build(6)
    served, held = dump(engine), dict(engine.aliases())
    spoil, message = SPOILT[case]
    original = engine._upsert
    with monkeypatch.context() as patch:
        patch.setattr(engine, "_upsert", lambda name, points: original(name, spoil(points)))
        if case == "missing":  # the loader's own count is not to notice it
            patch.setattr(running.IngestRun, "_finish", _finish_blindly)
        with pytest.raises(EngineError, match=f"{message}.*'c' stays as it was.*--restart"):
            build(10, layout="fused")
    assert (dump(engine), engine.aliases()) == (served, held)
    assert build(10, layout="fused", restart=True).points == 10


def _finish_blindly(run: Any) -> None:
    run.journal.complete = True
    run._write_journal()


@on_one_engine
def test_a_dry_run_builds_nothing(engine: Engine, build: Any) -> None:
    build(6)
    names = engine.collections()
    assert build(10, dry_run=True).points is None
    assert engine.collections() == names
    build(8)
    with pytest.raises(CollectionExists):
        build(10, dry_run=True)


@on_one_engine
@pytest.mark.parametrize("name", ["x" * 125, "c.previous"])
def test_names_that_cannot_be_replaced(engine: Engine, tiny_encoder: Encoder, name: str) -> None:
    with pytest.raises(InputError):
        ingest(engine, name, passages(), encoder=tiny_encoder, replace=True)
    assert engine.collections() == []


def test_an_ingest_under_way_stays_with_its_collection(
    engine: Engine, build: Any, tiny_encoder: Encoder
) -> None:
    """The name moves between two batches; what was begun must not spill into the new one."""
    build(6)

    def progress(told: Any) -> None:
        if told.stage == "loading" and told.done == 2:
            build(8, layout="fused")

    ingest(
        engine,
        "c",
        passages(12),
        queries(12),
        encoder=tiny_encoder,
        batch_size=2,
        progress=progress,
    )
    assert (count(engine, "c"), count(engine, "c.previous")) == (8, 12)


def test_a_plain_folder_is_replaced_on_edge_and_a_servers_collection_is_not(
    engine: Engine, build: Any, tiny_encoder: Encoder
) -> None:
    ingest(engine, "c", passages(6), queries(6), encoder=tiny_encoder)
    served = dump(engine)
    if engine.alias_may_hide:
        assert build(8).previous == "c.previous"
        assert engine.names() == ["c", "c.previous"]
        assert dump(engine, "c.previous") == served
        rollback(engine, "c")
        assert dump(engine, "c") == served
        rollback(engine, "c")
        engine.delete("c")
        assert not engine.exists("c")
        ingest(engine, "c", passages(3), encoder=tiny_encoder)  # its folder is taken
        assert (count(engine, "c"), dump(engine, "c.previous")) == (3, served)
        engine.delete("c.previous")
        assert (engine.names(), count(engine, "c")) == (["c"], 3)
        return
    with pytest.raises(CollectionExists, match=r"xqg push -c c .*xqg delete -c c .*xqg alias c"):
        build(8)
    assert engine.collections() == ["c"]
    assert dump(engine) == served


@on_one_engine
def test_an_alias_is_one_more_name(engine: Engine, tiny_encoder: Encoder) -> None:
    ingest(engine, "c", passages(6), encoder=tiny_encoder)
    ingest(engine, "d", passages(3), encoder=tiny_encoder)
    set_alias(engine, "now", "c")
    set_alias(engine, "now", "c")
    assert engine.names() == ["c", "d", "now"]
    assert count(engine, "now") == 6
    for taken, collection in (("d", "c"), ("now", "d")):
        with pytest.raises(CollectionExists, match=f"'{taken}'"):
            set_alias(engine, taken, collection)
    with pytest.raises(CollectionNotFound):
        set_alias(engine, "x", "absent")
    engine.delete("now")
    assert engine.names() == ["d"]
    assert engine.aliases() == {}


def test_what_another_process_holds_is_not_dropped_and_that_is_said_early(
    tiny_encoder: Encoder, tmp_path: Path
) -> None:
    """Two engines on one folder meet the same lock as two processes do."""
    with EdgeEngine(tmp_path) as engine:
        for number in (6, 8):
            ingest(engine, "c", passages(number), encoder=tiny_encoder, replace=True)
    with EdgeEngine(tmp_path) as engine, EdgeEngine(tmp_path) as other:
        assert other.count("c.previous") == 6
        told: list[Any] = []
        with pytest.raises(CollectionLocked):
            ingest(
                engine,
                "c",
                passages(10),
                encoder=tiny_encoder,
                replace=True,
                drop_previous=True,
                progress=told.append,
            )
        assert told == []
        assert engine.names() == ["c", "c.previous"]
