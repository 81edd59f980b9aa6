"""A collection is replaced while it serves, and whatever kills that, something whole serves."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.behaviour.conftest import XQG, Run, write_corpus
from tests.tiny import build_encoder
from xqg_qdrant import Client, Encoder, Passage, client
from xqg_qdrant.engine.base import Engine
from xqg_qdrant.engine.edge import EdgeEngine
from xqg_qdrant.engine.server import ServerEngine

KILLS = int(os.environ.get("XQG_KILLS", "2"))
"""Runs killed at random moments; set XQG_KILLS for more."""

OLD = [Passage(f"p{n}", f"the old text number {n}") for n in range(5)]
NEW = [Passage(f"p{n}", f"the new text number {n}") for n in range(9)]


def _dump(folder: Path, name: str) -> list[Any]:
    with EdgeEngine(folder) as engine:
        return [
            (point.id, point.payload, {key: repr(each) for key, each in point.vectors.items()})
            for point in engine.scroll(name, with_vectors=True)
        ]


def test_killed_at_random_moments(
    xqg: Run, environment: dict[str, str], tiny_encoder: Encoder, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    with Client(data, encoder=tiny_encoder) as client:
        client.ingest("c", OLD)
    old = _dump(data, "c")
    passages, queries = write_corpus(tmp_path, 300, seed=2)
    command = [
        *("ingest", str(passages), "--queries", str(queries), "--to", "data", "-c", "c", "-q"),
        *("--batch-size", "8", "--replace", "--hybrid"),
    ]
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    for _ in range(KILLS):
        process = subprocess.Popen(
            [*XQG, *command], env=environment, cwd=tmp_path, stderr=subprocess.PIPE, text=True
        )
        try:
            process.communicate(timeout=rng.uniform(0.8, 2.5))
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
        assert process.returncode in (0, -signal.SIGKILL)
        with EdgeEngine(data) as engine:
            swapped = engine.exists("c.previous")
        assert _dump(data, "c.previous" if swapped else "c") == old
    done = xqg(*command)
    assert done.returncode == 0, done.stderr
    assert _dump(data, "c.previous") == old
    with Client(tmp_path / "whole", encoder=tiny_encoder) as client:
        client.ingest("c", passages, queries, batch_size=8, hybrid=True)
    assert _dump(data, "c") == _dump(tmp_path / "whole", "c")
    assert xqg("rollback", "--from", "data", "-c", "c").returncode == 0
    assert _dump(data, "c") == old


KILL_AT = {
    "before verifying": "running.verify_sample = die",
    "before the swap": "EdgeEngine.change_aliases = die",
    "aliases written, not renamed": "writing.rename = die_for_aliases",
    "aliases renamed": "writing.rename = rename_and_die",
    "the older one deleted, before the swap": "EdgeEngine.delete = delete_and_die",
    "the older one half deleted": "shutil.rmtree = die_for_deleted",
}
_CHILD = """
import os, shutil, signal, sys
from xqg_qdrant import Client, Passage
from xqg_qdrant.corpus import writing
from xqg_qdrant.engine.edge import EdgeEngine
from xqg_qdrant.loader import ingestion, running
folder, encoder, patch = sys.argv[1:]
rename, delete, rmtree = writing.rename, EdgeEngine.delete, shutil.rmtree
def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
def die_for_aliases(path, target):
    die() if target.name == ".aliases.json" else rename(path, target)
def rename_and_die(path, target):
    rename(path, target)
    die_for_aliases(path, target)
def delete_and_die(self, name):
    delete(self, name)
    die()
def die_for_deleted(path, **options):
    die() if ".deleting-" in str(path) else rmtree(path, **options)
with Client(folder, encoder=encoder) as client:
    exec(patch)
    rows = [Passage(f"p{n}", f"the new text number {n}") for n in range(9)]
    client.ingest("c", rows, replace=True, drop_previous=True, layout="fused", batch_size=4)
"""


@pytest.fixture(scope="module")
def replaced_once(tiny_encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``c`` and ``c.previous``, to be copied."""
    folder = tmp_path_factory.mktemp("once") / "data"
    with Client(folder, encoder=tiny_encoder) as client:
        client.ingest("c", [Passage("older", "the oldest text")])
        client.ingest("c", OLD, replace=True)
    return folder


@pytest.mark.parametrize("moment", KILL_AT)
def test_killed_at_every_step_of_the_swap(
    replaced_once: Path,
    tiny_folder: Path,
    tiny_encoder: Encoder,
    tmp_path: Path,
    moment: str,
) -> None:
    folder = tmp_path / "data"
    shutil.copytree(replaced_once, folder)
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, str(folder), str(tiny_folder), KILL_AT[moment]],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    with Client(folder, encoder=tiny_encoder) as client:
        swapped = moment == "aliases renamed" and client.info("c").points == 9
        if not swapped:
            assert {hit.text for hit in client.search("c", "text")} == {p.text for p in OLD}
        client.ingest("c", NEW, replace=True, drop_previous=True, layout="fused", batch_size=4)
        assert {hit.text for hit in client.search("c", "text")} == {p.text for p in NEW}
        assert {hit.text for hit in client.search("c.previous", "text")} == {p.text for p in OLD}
        assert client.collections() == ["c", "c.previous"]
        client.rollback("c")
        assert client.info("c").points == len(OLD)


def test_another_process_replaces_what_is_open_here(
    xqg: Run, tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "MANIFEST_SECONDS", 0.5)
    rows = tmp_path / "new.jsonl"
    rows.write_text("".join(f'{{"id": "{p.id}", "text": "{p.text}"}}\n' for p in NEW))
    with Client(tmp_path / "data", encoder=tiny_folder) as reader:
        reader.ingest("c", OLD)
        assert len(reader.search("c", "text")) == len(OLD)
        done = xqg("ingest", rows, "--to", "data", "-c", "c", "-q", "--replace")
        assert done.returncode == 0, done.stderr
        assert "what there was is kept as c.previous" in done.stdout
        deadline = time.monotonic() + 60
        while len(reader.search("c", "text")) == len(OLD):
            assert time.monotonic() < deadline
        assert {hit.text for hit in reader.search("c", "text")} == {p.text for p in NEW}
        again = xqg("ingest", rows, "--to", "data", "-c", "c", "-q", "--replace")
        assert (again.returncode, "resumed after" in again.stdout) == (0, True), again.stderr
        done = xqg("delete", "--from", "data", "-c", "c.previous", "--yes")
        assert done.returncode == 0, done.stderr
        assert reader.collections() == ["c"]
        locked = xqg("search", "text", "--from", "data", "-c", "c")
        assert locked.returncode == 1
        assert "another process" in locked.stderr


@pytest.fixture(params=["edge", "local"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    with EdgeEngine(tmp_path / "e") if request.param == "edge" else ServerEngine.local() as opened:
        yield opened


def test_threads_that_search_see_the_old_or_the_new_and_nothing_else(
    engine: Engine, tiny_encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Replaced, rolled back and deleted under them, with encoders of other dimensions."""
    monkeypatch.setattr(client, "MANIFEST_SECONDS", 0.01)
    monkeypatch.setenv("XQG_MODELS", str(tmp_path / "models"))
    folders = [
        build_encoder(tmp_path / "models" / f"m{n}", name=f"m{n}", seed=n, dimension=8 + 4 * n)
        for n in range(2)
    ]
    reader = Client(engine)  # takes the encoder that each collection was built with
    writers = [Client(engine, encoder=folder) for folder in folders]
    sets = [frozenset(p.text for p in OLD), frozenset(p.text for p in NEW)]
    writers[0].ingest("c", OLD, replace=True)
    seen: set[frozenset[str]] = set()
    errors: list[BaseException] = []
    stop = threading.Event()

    def search() -> None:
        try:
            while not stop.is_set():
                seen.add(frozenset(hit.text for hit in reader.search("c", "text")))
        except Exception as error:  # noqa: BLE001 (whatever it is, the test shows it)
            errors.append(error)

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    arguments: dict[str, Any] = {"replace": True, "drop_previous": True}
    writers[1].ingest("c", NEW, layout="fused", **arguments)
    writers[0].ingest("c", OLD, **arguments)
    reader.rollback("c")
    reader.delete("c.previous")
    stop.set()
    for thread in threads:
        thread.join()
    assert errors == []
    assert seen <= set(sets)
    assert frozenset(hit.text for hit in reader.search("c", "text")) == sets[1]
