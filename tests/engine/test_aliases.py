"""Names that move: the file that the embedded engine keeps them in, and what users see."""

from __future__ import annotations

import multiprocessing
import uuid
from pathlib import Path

import pytest

from xqg_qdrant.engine import aliases
from xqg_qdrant.engine.aliases import AliasFile
from xqg_qdrant.engine.base import Engine
from xqg_qdrant.engine.edge import EdgeEngine
from xqg_qdrant.engine.names import Pinned, base_of, listed
from xqg_qdrant.errors import CollectionLocked, CollectionNotFound, EngineError, StorageError


def test_what_users_see() -> None:
    held = {"wiki": "wiki-0a1b2c3d", "wiki.previous": "wiki", "now": "news-0a1b2c3d", "x": "y"}
    there = ["wiki-0a1b2c3d", "wiki", "news-0a1b2c3d", "y", "wiki-00000000"]
    assert listed(there, held) == [
        *("news-0a1b2c3d", "now", "wiki", "wiki-00000000", "wiki.previous", "x", "y")
    ]
    assert listed(there, {}) == sorted(there)
    assert base_of("wiki-0a1b2c3d") == "wiki"
    assert base_of("wiki-0A1b2c3d") is base_of("wiki") is base_of("-0a1b2c3d") is None


def test_names_move_on_every_engine(engine: Engine) -> None:
    one, other = f"one-{uuid.uuid4().hex}", f"other-{uuid.uuid4().hex}"
    name = f"name-{uuid.uuid4().hex}"
    engine.create(one, {"v": 2}, documents={"manifest": {"which": "one"}})
    engine.create(other, {"v": 3}, documents={"manifest": {"which": "other"}})
    assert engine.resolve(one) == one
    assert engine.resolve("absent") == "absent"
    engine.change_aliases({name: one})
    assert engine.exists(name)
    assert engine.aliases()[name] == one
    assert engine.read_document(name, "manifest") == {"which": "one"}
    held = engine.resolve(name)
    engine.change_aliases({name: other, f"{name}.previous": one})
    assert engine.info(name).dimensions == {"v": 3}
    assert engine.documents(name)["manifest"] == {"which": "other"}
    assert engine.info(held).dimensions == {"v": 2}, "what was resolved stays"
    assert engine.resolve(held) == one
    engine.change_aliases({f"{name}.previous": None, "absent": None})
    assert not engine.exists(f"{name}.previous")
    engine.delete(name)
    assert not engine.exists(name)
    assert not engine.exists(other)
    assert name not in engine.aliases()
    with pytest.raises(CollectionNotFound, match=name):
        engine.delete(name)
    assert engine.exists(one)


def test_an_alias_of_nothing_or_in_a_collections_name(engine: Engine) -> None:
    if engine.alias_may_hide:
        pytest.skip("a folder's aliases may")
    one, other = f"one-{uuid.uuid4().hex}", f"other-{uuid.uuid4().hex}"
    engine.create(one, {"v": 2})
    engine.create(other, {"v": 2})
    for changes in ({one: other}, {"x": "absent"}):
        with pytest.raises((EngineError, CollectionNotFound)):
            engine.change_aliases(changes)
    assert "x" not in engine.aliases()


def test_scrolling_from_an_id(engine: Engine) -> None:
    from tests.engine.test_congruence import DIMENSIONS, _points

    name = f"scroll-{uuid.uuid4().hex}"
    engine.create(name, DIMENSIONS)
    engine.upsert(name, _points(60))
    ids = [point.id for point in engine.scroll(name)]
    assert ids == sorted(ids)
    for place in (0, 17, 59):
        assert [p.id for p in engine.scroll(name, start=ids[place], batch_size=7)] == ids[place:]
    between = str(uuid.UUID(int=uuid.UUID(ids[17]).int + 1))
    assert next(iter(engine.scroll(name, start=between, batch_size=1))).id == ids[18]
    assert list(engine.scroll(name, start="f" * 8 + "-ffff-ffff-ffff-" + "f" * 12)) == []


@pytest.mark.parametrize("text", ["", "{", '{"aliases": 1}', '{"sha256": "x", "aliases": {}}'])
def test_a_damaged_file_is_named_with_the_fix(tmp_path: Path, text: str) -> None:
    with EdgeEngine(tmp_path) as engine:
        engine.create("c", {"v": 2})
        engine.change_aliases({"d": "c"})
        file = tmp_path / aliases.ALIASES_FILE
        file.write_text(text)
        for call in (lambda: engine.exists("d"), lambda: engine.change_aliases({"e": "c"})):
            with pytest.raises(StorageError, match=r"\.aliases\.json.*'xqg alias'"):
                call()
        assert file.read_text() == text


def _change(root: Path, number: int) -> None:
    for step in range(20):
        AliasFile(root).change({f"alias-{number}": f"c-{step}"})


def test_processes_do_not_lose_each_others_changes(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_change, args=(tmp_path, n)) for n in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert AliasFile(tmp_path).read() == {f"alias-{n}": "c-19" for n in range(3)}


def test_a_lock_that_is_held_is_waited_for_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aliases, "_LOCK_SECONDS", 0.2)
    file = AliasFile(tmp_path)
    with file._locked(), pytest.raises(CollectionLocked, match="try again"):
        AliasFile(tmp_path).change({"a": "b"})
    file.change({"a": "b"})


def test_a_pinned_name_is_not_looked_up(tmp_path: Path) -> None:
    with EdgeEngine(tmp_path) as engine:
        engine.create("c", {"v": 2})
        engine.create("d", {"v": 3})
        engine.change_aliases({"c": "d", "before": "c"})
        assert engine.info("c").dimensions == {"v": 3}
        assert engine.info("before").dimensions == {"v": 2}
        assert engine.info(Pinned("c")).dimensions == {"v": 2}
        assert engine.names() == ["before", "c", "d"]
