"""Every row of bad input, on every engine, by API and command line: the error, and no trace of it.

A row names the error and a part of its message. Afterwards the collections are as they were: the
same points, vectors and documents, read anew from where they are kept.
"""

from __future__ import annotations

import re
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from tests.bad_input.rows import (
    DIMENSION,
    FILES,
    FINE_FILES,
    ID,
    MODELS,
    PLACES,
    POINTS,
    RECORDS,
    SEARCHES,
    File,
    _point,
)
from tests.engine.conftest import ENGINES, open_named
from xqg_qdrant import Client, Encoder, GeneratedQuery, InputError, Passage
from xqg_qdrant.cli import main
from xqg_qdrant.engine.base import Engine
from xqg_qdrant.engine.edge import EdgeEngine
from xqg_qdrant.engine.points import Point

PASSAGES = [
    Passage("nile", "The Nile flows north.", "Nile", "en", {"km": 6650}),
    Passage("rhine", "The Rhine flows to the North Sea.", metadata={"tags": ["a"]}),
]
QUERIES = [GeneratedQuery("nile", "sw", "Mto Nile?"), GeneratedQuery("rhine", "sw", "Mto Rhine?")]
DOCUMENTS = ("manifest", "journal", "statistics", "lexical")


class Place:
    """An engine with collections that are to stay as they are."""

    def __init__(self, engine: Engine, encoder: Encoder, folder: Path) -> None:
        self.engine = engine
        self.folder = folder
        self.client = Client(engine, encoder=encoder)
        for name, layout in (("c", "per-language"), ("tunable", "tunable")):
            self.client.ingest(name, PASSAGES, QUERIES, layout=layout)
        engine.create(
            "points",
            {"dense": DIMENSION, "rows": DIMENSION},
            multivectors=["rows"],
            sparse=["sparse"],
        )
        engine.upsert("points", [_point(id=str(uuid.UUID(int=1)), payload={"first": True})])
        self.before = self.all()

    def all(self) -> dict[str, Any]:
        """Everything that is there."""
        return {
            name: (
                [_plain(point) for point in self.engine.scroll(name, with_vectors=True)],
                [self.engine.read_document(name, key) for key in DOCUMENTS],
            )
            for name in self.engine.collections()
        }

    def check(self, *, anew: bool = False) -> None:
        """Check that nothing has changed; anew, after opening it anew, which is slow."""
        if anew and isinstance(self.engine, EdgeEngine):
            self.engine.close()
        assert self.all() == self.before
        if anew:
            assert self.client.search("c", "river")
            self.engine.search("points", [np.ones(DIMENSION, np.float32)], using=["dense"])


def _plain(point: Point) -> tuple[Any, ...]:
    return (
        point.id,
        point.payload,
        {
            name: vector.tolist() if hasattr(vector, "tolist") else vector.to_json()
            for name, vector in point.vectors.items()
        },
    )


@pytest.fixture(scope="module", params=ENGINES)
def place(
    request: pytest.FixtureRequest, tiny_encoder: Encoder, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("bad")
    with open_named(request.param, folder) as engine:
        there = set(engine.collections())
        opened = Place(engine, tiny_encoder, folder / "edge")
        yield opened
        opened.check(anew=True)
        for name in set(engine.collections()) - there:
            engine.delete(name)


@pytest.fixture(scope="module")
def edge(tiny_encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("bad-cli") / "edge"
    with EdgeEngine(folder) as engine:
        opened = Place(engine, tiny_encoder, folder)
        yield opened
        opened.check(anew=True)


def run(models: Path, *arguments: str) -> Result:
    """The command line, in this process."""
    env = {"XQG_MODELS": str(models), "XQG_ENCODER": "tiny", "QDRANT_API_KEY": ""}
    with warnings.catch_warnings():
        return CliRunner().invoke(main, list(arguments), env=env)


def failed(done: Result, code: int, says: str) -> None:
    """Check that a command failed as commands shall: a message alone, on standard error."""
    assert isinstance(done.exception, SystemExit), done.exception
    assert done.exit_code == code, done.output
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert "Error: " in done.stderr
    if code == 1:
        assert re.search(says, done.stderr), done.stderr


def _write(row: File, folder: Path) -> tuple[Path, Path]:
    passages, queries = folder / row.name, folder / "q.jsonl"
    passages.write_bytes(row.passages)
    queries.write_bytes(row.queries)
    return passages, queries


@pytest.mark.parametrize("case", FILES)
def test_files(place: Place, tmp_path: Path, case: str) -> None:
    row = FILES[case]
    passages, queries = _write(row, tmp_path)
    with pytest.raises(InputError, match=re.escape(row.says)) as caught:
        place.client.ingest("c", passages, queries)
    assert type(caught.value) is InputError
    message = str(caught.value)
    assert row.name in message or "q.jsonl" in message or "no passages" in message
    message.encode()
    assert len(message) < 2_000
    place.check()


@pytest.mark.parametrize("case", FILES)
def test_files_by_command_line(edge: Place, tiny_folder: Path, tmp_path: Path, case: str) -> None:
    row = FILES[case]
    passages, queries = map(str, _write(row, tmp_path))
    done = run(
        tiny_folder.parent,
        *("ingest", passages, "--queries", queries, "--to", str(edge.folder), "-c", "c", "-q"),
    )
    failed(done, 1, re.escape(row.says))
    edge.check()


@pytest.mark.parametrize("case", FINE_FILES)
def test_files_that_only_look_odd(place: Place, tmp_path: Path, case: str) -> None:
    row = FINE_FILES[case]
    report = place.client.ingest("fine", *_write(row, tmp_path))
    assert (report.passages, report.points) == (1, 1)
    (hit,) = place.client.search("fine", "good")
    assert (hit.id, hit.text, len(hit.queries)) == ("a", "good", bool(row.queries))
    place.client.delete("fine")
    place.check()


@pytest.mark.parametrize(
    ("name", "says"), [("absent.jsonl", "no such file"), ("folder", "is a folder"), ("a\0b", "NUL")]
)
def test_paths_that_are_no_files(place: Place, tmp_path: Path, name: str, says: str) -> None:
    (tmp_path / "folder").mkdir()
    good = tmp_path / "good.jsonl"
    good.write_bytes(FINE_FILES["no line end"].passages)
    with pytest.raises(InputError, match=says):
        place.client.ingest("c", tmp_path / name)
    with pytest.raises(InputError, match=says):
        place.client.ingest("c", good, tmp_path / name)
    place.check()


@pytest.mark.parametrize("case", RECORDS)
def test_records_and_settings(place: Place, case: str) -> None:
    row = RECORDS[case]
    with pytest.raises(row.error, match=row.says) as caught:
        place.client.ingest(row.collection, row.passages, row.queries, **row.settings)
    assert type(caught.value) is row.error
    str(caught.value).encode()
    place.check()


@pytest.mark.parametrize("case", SEARCHES)
def test_searches(place: Place, case: str) -> None:
    row = SEARCHES[case]
    with pytest.raises(row.error, match=row.says) as caught:
        place.client.search(row.collection, row.question, **row.settings)
    assert type(caught.value) is row.error
    str(caught.value).encode()
    place.check()


@pytest.mark.parametrize("case", [case for case, row in SEARCHES.items() if row.flags is not None])
def test_searches_by_command_line(edge: Place, tiny_folder: Path, case: str) -> None:
    row = SEARCHES[case]
    assert row.flags is not None
    edge.engine.close()
    done = run(tiny_folder.parent, "search", *row.flags, "--from", str(edge.folder))
    failed(done, row.code, row.says)
    edge.check()


@pytest.mark.parametrize("questions", [None, 5, "river", [5], [None], ["river", ""]], ids=repr)
def test_batches_of_questions(place: Place, questions: Any) -> None:
    with pytest.raises(InputError, match="question"):
        place.client.search_batch("c", questions)
    place.check()


@pytest.mark.parametrize("case", POINTS)
def test_points(place: Place, case: str) -> None:
    bad, says = POINTS[case]
    good = _point(id=str(uuid.UUID(int=2)))
    for batch in ([bad], [good, bad], [bad, good]):
        with pytest.raises(InputError, match=says) as caught:
            place.engine.upsert("points", batch)
        assert type(caught.value) is InputError
    # What Edge mishandles is in its log before it fails, and shows when it is opened again.
    if isinstance(place.engine, EdgeEngine):
        place.engine.close()
    assert [point.id for point in place.engine.scroll("points")] == [str(uuid.UUID(int=1))]


def test_equal_ids_in_a_batch(place: Place) -> None:
    with pytest.raises(InputError, match=f"{ID} stands twice"):
        place.engine.upsert("points", [_point(), _point(payload={"other": 1})])
    place.check()


@pytest.mark.parametrize("case", PLACES)
def test_places(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    location, says = PLACES[case]
    with pytest.raises(InputError, match=says) as caught:
        Client(location)
    str(caught.value).encode()
    if isinstance(location, str) and location.isprintable() and location:
        done = run(tmp_path, "info", "--from", location)
        failed(done, 1, says)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("case", MODELS)
def test_models(place: Place, case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    chosen, error, says = MODELS[case]
    client = Client(place.engine, encoder=chosen)
    for call in (lambda: client.ingest("c", PASSAGES), lambda: client.search("c", "river")):
        with pytest.raises(error, match=says):
            call()
    place.check()


@pytest.mark.parametrize("texts", [None, 5, "water", [5], [None], ["x", ""], ["\ud800"]], ids=repr)
def test_texts_to_encode(tiny_encoder: Encoder, texts: Any) -> None:
    for encode in (tiny_encoder.encode_queries, tiny_encoder.encode_passages):
        with pytest.raises(InputError, match="text"):
            encode(texts)


@pytest.mark.parametrize("size", [0, -1, 1.5, "4", True, None], ids=repr)
def test_sizes_of_batches_to_encode(tiny_encoder: Encoder, size: Any) -> None:
    with pytest.raises(InputError, match="batch_size is"):
        tiny_encoder.encode_queries(["water"], batch_size=size)


@pytest.mark.parametrize("model", [None, 5, b"tiny", ["tiny"]], ids=repr)
def test_what_names_no_model(model: Any) -> None:
    with pytest.raises(InputError, match="by its name or its folder"):
        Encoder.load(model)


@pytest.mark.parametrize("threads", [0, -1, 1.5, "4", True, 10**6], ids=repr)
def test_threads(place: Place, tiny_folder: Path, threads: Any) -> None:
    with pytest.raises(InputError, match="threads is"):
        Client(place.engine, encoder=tiny_folder, threads=threads).search("c", "river")
    place.check()
