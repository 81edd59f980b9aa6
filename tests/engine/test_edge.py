"""What only the embedded engine does: files, locks, panics, processes, full disks."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import qdrant_edge

from xqg_qdrant.engine import open_engine
from xqg_qdrant.engine.edge import EdgeEngine
from xqg_qdrant.engine.edge_errors import guarded
from xqg_qdrant.engine.points import Point
from xqg_qdrant.errors import CollectionLocked, EngineError, InputError, StorageError

ONES = np.ones(4, dtype=np.float32)


def _point(number: int) -> Point:
    return Point(str(uuid.UUID(int=number + 1)), {"n": number}, {"v": ONES * (number + 1)})


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[EdgeEngine]:
    with EdgeEngine(tmp_path / "root") as opened:
        opened.create("c", {"v": 4}, ("lang",), {"manifest": {"a": 1}})
        opened.upsert("c", [_point(n) for n in range(10)])
        yield opened


def test_points_are_there_when_the_folder_is_opened_again(engine: EdgeEngine) -> None:
    engine.close()
    with EdgeEngine(engine.root) as again:
        assert again.collections() == ["c"]
        assert again.count("c") == 10
        assert again.read_document("c", "manifest") == {"a": 1}


def test_a_closed_engine_opens_again_when_used(engine: EdgeEngine) -> None:
    engine.close()
    engine.close()
    assert engine.count("c") == 10


def test_opening_makes_no_folder(tmp_path: Path) -> None:
    with EdgeEngine(tmp_path / "nothing" / "here") as engine:
        assert engine.collections() == []
        assert not engine.exists("c")
    assert not (tmp_path / "nothing").exists()


def test_a_temporary_engine_leaves_nothing_behind() -> None:
    with open_engine(":memory:") as engine:
        assert isinstance(engine, EdgeEngine)
        engine.create("c", {"v": 4})
        root = engine.root
        assert root.is_dir()
        assert engine.location == ":memory:"
    assert not root.exists()


def test_other_folders_are_no_collections(engine: EdgeEngine) -> None:
    (engine.root / "notes").mkdir()
    (engine.root / "notes" / "todo.txt").write_text("x")
    assert engine.collections() == ["c"]
    assert not engine.exists("notes")
    with pytest.raises(StorageError, match=r"notes is in the way.*Move it away"):
        engine.create("notes", {"v": 4})
    assert (engine.root / "notes" / "todo.txt").read_text() == "x"
    assert [path.name for path in engine.root.iterdir() if path.name.startswith(".")] == []


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("x")
    with pytest.raises(InputError, match="is a file"):
        EdgeEngine(path)


def test_a_second_process_gets_a_clear_error(engine: EdgeEngine) -> None:
    script = (
        "import sys; from pathlib import Path\n"
        "from xqg_qdrant.engine.edge import EdgeEngine\n"
        "from xqg_qdrant.errors import CollectionLocked\n"
        "e = EdgeEngine(Path(sys.argv[1]))\n"
        "for call in (lambda: e.count('c'), lambda: e.delete('c')):\n"
        "    try: call()\n"
        "    except CollectionLocked as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(engine.root)], capture_output=True, text=True, check=True
    )
    assert done.stdout.count("another process, or another client") == 2
    assert engine.count("c") == 10


def test_the_lock_is_let_go_of_when_closed(engine: EdgeEngine) -> None:
    with pytest.raises(CollectionLocked):
        EdgeEngine(engine.root).count("c")
    engine.close()
    with EdgeEngine(engine.root) as other:
        assert other.count("c") == 10


def test_whoever_is_locked_out_touches_nothing(engine: EdgeEngine) -> None:
    """Edge alone mends files before it looks at its lock, and so spoils another's work."""
    engine.flush("c")
    shard = engine.root / "c" / "shard"
    before = {path: path.stat().st_mtime_ns for path in shard.rglob("*")}
    for _ in range(3):
        with pytest.raises(CollectionLocked):
            EdgeEngine(engine.root).count("c")
    assert {path: path.stat().st_mtime_ns for path in shard.rglob("*")} == before
    engine.upsert("c", [_point(n) for n in range(10, 30)])
    engine.optimize("c")
    assert engine.count("c") == 30


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_is_told_not_to_use_it(engine: EdgeEngine) -> None:
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            engine.count("c")
            os.write(write, b"no error")
        except EngineError as error:
            os.write(write, str(error).encode())
        finally:
            os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    assert b"os.fork" in os.read(read, 4096)


def test_a_panic_of_the_engine_becomes_an_error_of_ours(tmp_path: Path) -> None:
    shard = qdrant_edge.EdgeShard.create(
        str(tmp_path / "shard"),
        qdrant_edge.EdgeConfig(sparse_vectors={"s": qdrant_edge.EdgeSparseVectorParams()}),
    )
    ragged = qdrant_edge.SparseVector([1, 2, 3], [1.0])
    update = qdrant_edge.UpdateOperation.upsert_points([qdrant_edge.Point(1, {"s": ragged}, {})])
    with pytest.raises(EngineError, match="panicked") as caught, guarded("do it"):
        shard.update(update)
    assert not isinstance(caught.value.__cause__, Exception)


def test_ctrl_c_passes_through_unchanged() -> None:
    with pytest.raises(KeyboardInterrupt), guarded("do it"):
        raise KeyboardInterrupt


@pytest.mark.parametrize("damage", ["flipped", "cut", "emptied", "another"])
def test_a_damaged_document_is_noticed(engine: EdgeEngine, damage: str) -> None:
    path = engine.root / "c" / "documents" / "manifest.json"
    data = path.read_bytes()
    path.write_bytes(
        {
            "flipped": data.replace(b'"a": 1', b'"a": 3'),
            "cut": data[: len(data) // 2],
            "emptied": b"",
            "another": b'{"a": 1}',
        }[damage]
    )
    with pytest.raises(StorageError, match=r"manifest\.json.*damaged"):
        engine.read_document("c", "manifest")


def test_a_damaged_description_is_noticed(engine: EdgeEngine) -> None:
    engine.close()
    (engine.root / "c" / "collection.json").write_text("{")
    with pytest.raises(StorageError, match=r"damaged.*'xqg delete -c c'"):
        EdgeEngine(engine.root).info("c")


@pytest.mark.parametrize("name", ["collection.json", "documents/manifest.json"])
def test_a_flipped_bit_is_noticed_wherever_it_is(engine: EdgeEngine, name: str) -> None:
    """Each bit of both files: it is noticed, or it changes nothing."""

    def read() -> object:
        fresh = EdgeEngine(engine.root)
        return fresh.read_document("c", "manifest"), fresh._shape("c")

    engine.close()
    path = engine.root / "c" / name
    data, before = path.read_bytes(), read()
    noticed = 0
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        try:
            assert read() == before, bit
        except StorageError:
            noticed += 1
    assert noticed > 7.9 * len(data)


@pytest.mark.parametrize("part", ["", "shard"])
def test_a_folder_removed_or_replaced_meanwhile_is_noticed(engine: EdgeEngine, part: str) -> None:
    """The engine itself writes on, to files that nobody will find again."""
    shutil.copytree(engine.root / "c", engine.root.parent / "copy")
    shutil.rmtree(engine.root / "c" / part)
    engine.upsert("c", [_point(99)])
    with pytest.raises(StorageError, match=r"removed or replaced.*Run the same again"):
        engine.flush("c")
    engine.close()
    shutil.rmtree(engine.root / "c", ignore_errors=True)
    (engine.root.parent / "copy").rename(engine.root / "c")
    assert engine.count("c") == 10  # opened anew: what is there now
    engine.flush("c")


def test_a_collection_whose_shard_is_damaged_can_be_deleted(engine: EdgeEngine) -> None:
    engine.close()
    shutil.rmtree(engine.root / "c" / "shard")
    with EdgeEngine(engine.root) as again:
        with pytest.raises(EngineError, match=r"cannot open collection 'c'.*'xqg delete -c c'"):
            again.count("c")
        again.delete("c")
        assert again.collections() == []


def test_what_killed_creations_leave_is_swept_after_an_hour(engine: EdgeEngine) -> None:
    old, new = engine.root / ".creating-x-1", engine.root / ".deleting-y-2"
    for path in (old, new):
        path.mkdir()
    os.utime(old, (0, 0))
    assert engine.collections() == ["c"]
    engine.create("d", {"v": 4})
    assert not old.exists()
    assert new.exists()


def test_a_creation_that_fails_leaves_nothing(engine: EdgeEngine) -> None:
    with pytest.raises(TypeError):
        engine.create("d", {"v": 4}, (), {"manifest": {"no": object()}})
    assert engine.collections() == ["c"]
    assert sorted(path.name for path in engine.root.iterdir()) == ["c"]


def test_documents_are_readable_json(engine: EdgeEngine) -> None:
    row = json.loads((engine.root / "c" / "documents" / "manifest.json").read_text())
    assert row["value"] == {"a": 1}


def test_no_room_is_noticed_before_writing(engine: EdgeEngine) -> None:
    with pytest.raises(StorageError, match=r"not enough room.*MiB are free"):
        engine.ensure_space("c", 2**60)


def test_a_small_disk_is_refused_not_crashed_on(small_disk: Path) -> None:
    with EdgeEngine(small_disk / "root") as engine:
        with pytest.raises(StorageError, match="not enough room"):
            engine.create("c", {"v": 4})
        assert engine.collections() == []


def test_a_disk_too_full_to_open_a_collection_is_refused_not_crashed_on(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=300m", str(small_disk)], check=True)
    with EdgeEngine(small_disk / "root") as engine:
        engine.create("c", {"v": 4})
        engine.upsert("c", [_point(1)])
    filler = small_disk / "filler"
    with filler.open("wb") as stream:
        os.posix_fallocate(stream.fileno(), 0, shutil.disk_usage(small_disk).free)
    with EdgeEngine(small_disk / "root") as engine:
        with pytest.raises(StorageError, match=r"not enough room.*0 MiB are free"):
            engine.count("c")
        filler.unlink()
        assert engine.count("c") == 1
        with filler.open("wb") as stream:
            os.posix_fallocate(stream.fileno(), 0, shutil.disk_usage(small_disk).free)
        assert engine.count("c") == 1  # open already
    with EdgeEngine(small_disk / "root") as engine:
        engine.delete("c")  # which makes room
        assert engine.collections() == []


def test_a_read_only_disk_is_refused(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=1g,ro", str(small_disk)], check=True)
    with (
        EdgeEngine(small_disk / "root") as engine,
        pytest.raises(StorageError, match="Read-only file system"),
    ):
        engine.create("c", {"v": 4})
