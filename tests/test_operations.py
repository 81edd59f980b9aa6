"""What operators do, through the client and the command line."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from xqg_qdrant import Client, Encoder, InputError, Passage, client
from xqg_qdrant.cli import main
from xqg_qdrant.engine.base import Engine
from xqg_qdrant.engine.edge import EdgeEngine
from xqg_qdrant.engine.server import ServerEngine

OLD = [Passage(f"p{n}", f"the old text number {n}") for n in range(5)]
NEW = [Passage(f"p{n}", f"the new text number {n}") for n in range(9)]

Xqg = Callable[..., Result]


@pytest.fixture(params=["edge", "local"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    with EdgeEngine(tmp_path / "e") if request.param == "edge" else ServerEngine.local() as opened:
        yield opened


def texts(client: Client) -> set[str]:
    return {hit.text for hit in client.search("c", "text")}


def test_a_reader_keeps_to_one_collection_while_it_trusts_what_it_read(
    engine: Engine, tiny_encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "MANIFEST_SECONDS", 1e6)
    reader, writer = (Client(engine, encoder=tiny_encoder) for _ in range(2))
    writer.ingest("c", OLD, replace=True)
    old, new = {p.text for p in OLD}, {p.text for p in NEW}
    assert texts(reader) == old
    report = writer.ingest("c", NEW, replace=True, layout="fused", hybrid=True)
    assert report.to_json()["previous"] == "c.previous"
    assert texts(writer) == new, "who replaced it sees it at once"
    assert texts(reader) == old, "the old one, with the old one's manifest"
    writer.delete("c.previous")
    assert texts(reader) == new, "the old one is gone: the name is looked up again"
    info = writer.info("c")
    assert info.alias_of is not None
    assert info.alias_of.startswith("c-")
    with pytest.raises(InputError, match="drop_previous goes with replace"):
        writer.ingest("c", NEW, drop_previous=True)


def test_a_collection_is_searched_while_it_is_being_replaced(
    engine: Engine, tiny_encoder: Encoder
) -> None:
    client = Client(engine, encoder=tiny_encoder)
    client.ingest("c", OLD, replace=True)
    seen: list[tuple[str, set[str]]] = []
    client.ingest(
        "c",
        NEW,
        replace=True,
        layout="fused",
        batch_size=3,
        progress=lambda told: seen.append((told.stage, texts(client))),
    )
    assert [stage for stage, _ in seen] == [*["loading"] * 4, "optimizing", "verifying"]
    assert all(found == {p.text for p in OLD} for _, found in seen)
    assert texts(client) == {p.text for p in NEW}


@pytest.fixture
def xqg(tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Xqg:
    for name in ("XQG_LOCATION", "QDRANT_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XQG_MODELS", str(tiny_folder.parent))
    monkeypatch.setenv("XQG_ENCODER", "tiny")
    monkeypatch.chdir(tmp_path)
    for name, rows in (("old", OLD), ("new", NEW)):
        lines = [json.dumps({"id": p.id, "text": p.text}) + "\n" for p in rows]
        Path(f"{name}.jsonl").write_text("".join(lines))

    def run(*arguments: str, code: int = 0) -> Result:
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == code, result.output
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return result

    return run


def test_replacing_and_rolling_back_on_the_command_line(xqg: Xqg) -> None:
    to, at = ("--to", "d", "-c", "c", "-q"), ("--from", "d", "-c", "c")
    xqg("ingest", "old.jsonl", *to)
    assert "alias of" not in xqg("info", "--from", "d").stdout
    done = xqg("ingest", "new.jsonl", *to, "--replace")
    assert "replaced:" in done.stdout
    assert "what there was is kept as c.previous" in done.stdout
    listed = json.loads(xqg("info", "--from", "d", "--json").stdout)
    assert [(row["name"], row["points"]) for row in listed] == [("c", 9), ("c.previous", 5)]
    table = xqg("info", "--from", "d").stdout.splitlines()
    assert table[0].split()[:3] == ["collection", "alias", "of"]
    assert "alias of:" in xqg("info", *at).stdout
    again = xqg("ingest", "new.jsonl", *to, "--replace", "--json")
    assert json.loads(again.stdout)["resumed_at"] == 9
    refused = xqg("ingest", "old.jsonl", *to, "--replace", code=1)
    assert "--drop-previous" in refused.stderr
    assert "is again what it was before" in xqg("rollback", *at).stderr
    assert json.loads(xqg("info", *at, "--json").stdout)["points"] == 5
    xqg("delete", "--from", "d", "-c", "c.previous", "--yes")
    assert "c.previous" in xqg("rollback", *at, code=1).stderr
    assert "--replace" in xqg("ingest", "new.jsonl", *to, "--drop-previous", code=2).stderr
    assert "is a name of c" in xqg("alias", "now", *at).stderr
    assert json.loads(xqg("search", "old", "--from", "d", "-c", "now", "--json").stdout)


def test_backing_up_restoring_and_pushing_on_the_command_line(xqg: Xqg) -> None:
    xqg("ingest", "old.jsonl", "--to", "d", "-c", "c", "-q")
    saved = xqg("backup", "c.tar", "--from", "d", "-c", "c", "-q", "--json")
    assert json.loads(saved.stdout)["points"] == 5
    assert "--force" in xqg("backup", "c.tar", "--from", "d", "-c", "c", code=1).stderr
    assert "sha256:" in xqg("backup", "c.tar", "--from", "d", "-c", "c", "-q", "--force").stdout
    Path("backups").mkdir()
    xqg("backup", "backups", "--from", "d", "-c", "c", "-q")
    assert [path.name for path in Path("backups").iterdir()] == ["c.xqg.tar"]
    xqg("restore", "c.tar", "--to", "e", "-c", "c", "-q")
    pushed = xqg("push", "--from", "e", "--to", "f", "-c", "c", "--as", "copy", "-q")
    assert "copy at f" in pushed.stdout
    assert "c' at e" in pushed.stdout
    again = xqg("push", "--from", "e", "--to", "f", "-c", "c", "--as", "copy", "-q")
    assert "all of it was there already" in again.stdout
    dumps = {
        xqg("dump", "--from", place, "-c", name).stdout
        for place, name in (("d", "c"), ("e", "c"), ("f", "copy"))
    }
    assert len(dumps) == 1
    xqg("ingest", "new.jsonl", "--to", "g", "-c", "c", "-q")
    assert "--replace" in xqg("push", "--from", "d", "--to", "g", "-c", "c", "-q", code=1).stderr
    replaced = xqg("push", "--from", "d", "--to", "g", "-c", "c", "-q", "--replace", "--json")
    assert json.loads(replaced.stdout)["previous"] == "c.previous"
    assert "no backup" in xqg("restore", "new.jsonl", "--to", "g", "-c", "n", "-q", code=1).stderr
    assert "native" in xqg("backup", "n", "--from", "d", "-c", "c", "--native", code=1).stderr
    for command in (("push", "--from", "d"), ("restore", "c.tar")):
        xqg(*command, "--to", "g", "-c", "c", "--drop-previous", code=2)
    assert "bad/name" in xqg("restore", "c.tar", "--to", "g", "-c", "bad/name", code=1).stderr
    assert "'absent'" in xqg("push", "--from", "d", "--to", "g", "-c", "absent", code=1).stderr


_KILLED_PUSH = """
import os, signal, sys
from xqg_qdrant import Client
from xqg_qdrant.engine.edge import EdgeEngine
from xqg_qdrant.loader import copying
copying.BATCH_POINTS, copying.CHECKPOINT_SECONDS = 2, 0.0
upsert, calls = EdgeEngine._upsert, []
def die(self, name, points):
    upsert(self, name, points)
    calls.append(name)
    if len(calls) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
EdgeEngine._upsert = die
with Client(sys.argv[1]) as origin, Client(sys.argv[2]) as target:
    origin.push("c", target)
"""


def test_a_killed_push_goes_on(tiny_encoder: Encoder, tmp_path: Path) -> None:
    origin, target = tmp_path / "origin", tmp_path / "target"
    with Client(origin, encoder=tiny_encoder) as client:
        client.ingest("c", NEW, [{"passage_id": "p1", "lang": "sw", "text": "swali"}], hybrid=True)
    done = subprocess.run(
        [sys.executable, "-c", _KILLED_PUSH, str(origin), str(target)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    with Client(origin) as one, Client(target, encoder=tiny_encoder) as other:
        assert [name[:2] for name in other.collections()] == ["c-"]
        report = one.push("c", other)
        assert (report.resumed_at, report.points) == (4, 9)
        assert other.collections() == ["c"]
        found: Any = {hit.id: hit.queries for hit in other.search("c", "swali", lang="sw")}
        assert len(found["p1"]) == 1
