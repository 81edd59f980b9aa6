"""Optimising in a process of its own: others run on, kills and Ctrl-C leave a whole collection."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from xqg_qdrant.engine.edge import EdgeEngine
from xqg_qdrant.engine.points import Point
from xqg_qdrant.engine.storage import Storage
from xqg_qdrant.errors import CollectionLocked, EngineError, XqgError
from xqg_qdrant.loader import ingestion

DIMENSION = 64
POINTS, MANY = 1_000, 4_000
EAGER = Storage(quantization="int8", hnsw_ef_construct=300, indexing_threshold=1)
"""A graph whatever the size, and one that takes a second."""

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads children from /proc")


def _points(number: int = POINTS, seed: int = 1) -> list[Point]:
    rows = np.random.default_rng(seed).standard_normal((number, DIMENSION)).astype(np.float32)
    return [
        Point(str(uuid.UUID(int=row + 1)), {"n": row}, {"v": rows[row]}) for row in range(number)
    ]


def _children(process: int | str = "self") -> list[int]:
    """The processes that a process has optimising for it."""
    found = []
    for thread in Path(f"/proc/{process}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread that has just ended
            found += [int(each) for each in (thread / "children").read_text().split()]
    return [each for each in found if _optimizes(each)]


def _optimizes(process: int) -> bool:
    try:
        return b"optimizing" in Path(f"/proc/{process}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):  # it has just ended
        return False


def _wait_for(condition: Callable[[], object], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.005)


def _under_way(root: Path) -> bool:
    """Whether a new segment is being built."""
    return any((root / "c" / "shard").glob("temp_segments/*"))


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[EdgeEngine]:
    with EdgeEngine(tmp_path / "root") as opened:
        for name in ("c", "other"):
            opened.create(name, {"v": DIMENSION}, storage=EAGER)
        opened.upsert("c", _points())
        opened.upsert("other", _points(10))
        yield opened


def test_other_threads_run_on_and_those_of_this_collection_wait(engine: EdgeEngine) -> None:
    steps, served, answered_while = 0, 0, []
    done = threading.Event()

    def count() -> None:
        nonlocal steps
        while not done.wait(0.001):
            steps += bool(engine._shards.away)

    def search_other() -> None:
        nonlocal served
        while not done.is_set():
            away = bool(engine._shards.away)
            engine.search("other", [_points(1)[0].vectors["v"]], using=["v"])
            served += away

    def search_this() -> None:
        _wait_for(lambda: engine._shards.away)
        answered_while.append(engine.count("c"))
        answered_while.append("c" in engine._shards.away)

    threads = [threading.Thread(target=each) for each in (count, search_other, search_this)]
    for thread in threads:
        thread.start()
    engine.optimize("c")
    done.set()
    for thread in threads:
        thread.join()
    assert steps > 10
    assert served > 1
    assert answered_while == [POINTS, False]
    assert engine.info("c").indexed == POINTS


def test_two_threads_may_optimise_at_once(engine: EdgeEngine) -> None:
    errors: list[XqgError] = []

    def optimise() -> None:
        try:
            engine.optimize("c")
        except XqgError as error:
            errors.append(error)

    threads = [threading.Thread(target=optimise) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert engine.info("c").indexed == POINTS


def test_closing_waits_until_it_is_done(engine: EdgeEngine) -> None:
    thread = threading.Thread(target=engine.optimize, args=("c",))
    thread.start()
    _wait_for(lambda: engine._shards.away)
    engine.close()
    assert not engine._shards.away
    thread.join()


@linux
def test_a_killed_process_is_told_and_the_collection_lives_on(engine: EdgeEngine) -> None:
    engine.upsert("c", _points(MANY))

    def kill() -> None:
        _wait_for(lambda: _under_way(engine.root))
        for child in _children():
            os.kill(child, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(EngineError, match=r"signal 9 .*want of memory.*run the same again"):
        engine.optimize("c")
    killer.join()
    assert engine.count("c") == MANY
    (hits,) = engine.search("c", [_points(MANY)[3].vectors["v"]], using=["v"])
    assert hits[0].payload == {"n": 3}
    engine.optimize("c")
    assert engine.info("c").indexed == MANY
    assert not list((engine.root / "c" / "shard").glob("temp_segments/*"))  # nothing is left


SCRIPT = """
import sys
from pathlib import Path
from tests.engine.test_optimizing import DIMENSION, EAGER, MANY, _points
from xqg_qdrant.engine.edge import EdgeEngine

# No __main__ guard: many scripts have none.
with EdgeEngine(Path(sys.argv[1])) as engine:
    engine.create("c", {"v": DIMENSION}, storage=EAGER)
    engine.upsert("c", _points(MANY))
    print("loaded", flush=True)
    engine.optimize("c")
    print("indexed", engine.info("c").indexed, flush=True)
"""


def _start(folder: Path) -> subprocess.Popen[str]:
    script = folder / "script.py"
    script.write_text(SCRIPT)
    return subprocess.Popen(
        [sys.executable, str(script), str(folder / "root")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_scripts_without_a_main_guard_work(tmp_path: Path) -> None:
    out, err = _start(tmp_path).communicate(timeout=120)
    assert out.split("\n")[:2] == ["loaded", "indexed 4000"], err


@linux
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_the_process_ends_with_its_parent(tmp_path: Path, number: signal.Signals) -> None:
    process = _start(tmp_path)
    assert process.stdout is not None
    assert process.stdout.readline() == "loaded\n", process.communicate()[1]
    _wait_for(lambda: _under_way(tmp_path / "root"))
    (child,) = _children(process.pid)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert out == "", "it was done before the signal came"
    assert ("KeyboardInterrupt" in err) == (number == signal.SIGINT)
    _wait_for(lambda: _is_gone(child))
    with EdgeEngine(tmp_path / "root") as engine:
        assert engine.count("c") == MANY
        engine.optimize("c")
        assert engine.info("c").indexed == MANY


def _is_gone(process: int) -> bool:
    try:
        return "Z" in Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True


def test_an_error_of_the_engine_is_passed_on(engine: EdgeEngine) -> None:
    from xqg_qdrant.engine.optimizing import optimize_apart

    shape, storage = engine._shape("c"), engine.storage("c")
    with pytest.raises(CollectionLocked, match="has it open"):
        optimize_apart(engine.root / "c" / "shard", shape, storage, quantized=True)
    with pytest.raises(EngineError, match="optimise"):
        optimize_apart(engine.root / "nowhere", shape, storage, quantized=True)


def test_without_a_python_to_start_it_is_done_in_this_process(
    engine: EdgeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/opt/app/library-search")
    engine.optimize("c")
    assert engine.info("c").indexed == POINTS
    assert list((engine.root / "c" / "shard").glob("segments/*/*/quantized*"))


@linux
def test_an_ingest_whose_optimising_was_killed_goes_on(
    tmp_path: Path, tiny_encoder: ingestion.Encoder
) -> None:
    from tests.loader.test_ingestion import passages, queries
    from xqg_qdrant.errors import PartialIngest

    def ingest(engine: EdgeEngine) -> ingestion.IngestReport:
        return ingestion.ingest(
            engine, "c", passages(40), queries(40), encoder=tiny_encoder, storage=EAGER
        )

    def kill() -> None:
        _wait_for(_children)
        for child in _children():
            os.kill(child, signal.SIGKILL)

    with EdgeEngine(tmp_path / "root") as engine:
        killer = threading.Thread(target=kill)
        killer.start()
        with pytest.raises(PartialIngest, match="40 of 40 passages are in"):
            ingest(engine)
        killer.join()
        report = ingest(engine)
        assert (report.resumed_at, report.points) == (40, 40)
        assert engine.info("c").indexed
