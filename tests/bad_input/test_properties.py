"""Whatever is given is stored and comes back equal on every engine, or is refused as input."""

from __future__ import annotations

import math
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xqg_qdrant import Client, Encoder, GeneratedQuery, InputError, Passage
from xqg_qdrant.collection import point_id
from xqg_qdrant.engine.base import Engine
from xqg_qdrant.engine.edge import EdgeEngine
from xqg_qdrant.engine.filters import parse_filters
from xqg_qdrant.engine.points import Point
from xqg_qdrant.engine.server import ServerEngine

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=40)
"""Lone surrogates, NUL, unassigned and private characters included."""

STRANGE_TEXT = st.sampled_from(
    [
        "",
        "\0",
        "\ud800",
        "\ufeff",
        "\ufffe",
        "\u202e",
        "a" * 600,
        "k.l",
        "k[]",
        "k[0]",
        '"',
        "\\",
        "🦉",
    ]
)
TEXT = ANY_TEXT | STRANGE_TEXT | st.text(max_size=10)
NUMBER = (
    st.integers()
    | st.sampled_from([2**53 + 1, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**64, 10**400])
    | st.floats()
    | st.sampled_from([5e-324, 1.7976931348623157e308, 0.1 + 0.2, 1e22, 1e23, -0.0])
)
ODD = st.sampled_from([b"x", {1, 2}, 1j, np.int64(3), np.float64(0.5), np.True_, object(), (1, 2)])
ANYTHING = st.recursive(
    st.none() | st.booleans() | NUMBER | TEXT | ODD,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(TEXT | st.integers(), inner, max_size=4)
    ),
    max_leaves=10,
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=8),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
VECTOR = np.ones(4, np.float32)

EXAMPLES = int(os.environ.get("XQG_FUZZ", "0")) or 50

some = settings(
    max_examples=EXAMPLES,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    deadline=None,
)


def same(one: Any, other: Any) -> bool:
    """Equal as JSON is: numbers by their value, and no boolean is a number.

    The engine's own JSON may change the last bit of a float of 16 digits and more.
    """
    if isinstance(one, bool) or isinstance(other, bool) or one is None or other is None:
        return one is other
    if isinstance(one, dict):
        return (
            isinstance(other, dict)
            and one.keys() == other.keys()
            and all(same(value, other[key]) for key, value in one.items())
        )
    if isinstance(one, list | tuple):
        return isinstance(other, list) and len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, str):
        return isinstance(other, str) and one == other
    if isinstance(one, int) or isinstance(other, int):
        return isinstance(other, int | float) and one == other
    return isinstance(other, float) and math.isclose(one, other, rel_tol=2**-51, abs_tol=1e-320)


class Place:
    """An engine, and all that it was given and took."""

    def __init__(self, engine: Engine, encoder: Encoder) -> None:
        self.engine = engine
        self.client = Client(engine, encoder=encoder)
        self.client.ingest(
            "c",
            [Passage("first", "The Nile flows north.", metadata={"k": 1})],
            [GeneratedQuery("first", "sw", "Mto?"), GeneratedQuery("first", "ar", "أين؟")],
            hybrid=True,
        )
        engine.create("payloads", {"v": 4})
        self.payloads: dict[str, Any] = {}
        self.passages: dict[str, Any] = {}

    def check(self) -> None:
        """Open it anew, and look at all of it."""
        if isinstance(self.engine, EdgeEngine):
            self.engine.close()
        found = {point.id: point.payload for point in self.engine.scroll("payloads")}
        assert found.keys() == self.payloads.keys()
        assert all(same(self.payloads[key], payload) for key, payload in found.items())
        kept = {point.payload["passage_id"]: point.payload for point in self.engine.scroll("c")}
        assert kept.keys() == self.passages.keys() | {"first"}
        assert all(same(payload, kept[key]["metadata"]) for key, payload in self.passages.items())


@pytest.fixture(scope="module", params=["edge", "local"])
def place(
    request: pytest.FixtureRequest, tiny_encoder: Encoder, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    folder: Path = tmp_path_factory.mktemp("properties")
    with EdgeEngine(folder) if request.param == "edge" else ServerEngine.local() as engine:
        opened = Place(engine, tiny_encoder)
        yield opened
        opened.check()


def _store(place: Place, payload: Any) -> bool:
    point = Point(str(uuid.uuid4()), payload, {"v": VECTOR})
    try:
        place.engine.upsert("payloads", [point])
    except InputError as error:
        str(error).encode("utf-8", "backslashreplace")
        return False
    place.payloads[point.id] = payload
    (read,) = place.engine._payloads("payloads", [point.id]).values()
    assert same(payload, read), (payload, read)
    return True


@some
@given(payload=st.dictionaries(TEXT, ANYTHING, max_size=4) | ANYTHING)
def test_any_payload_comes_back_equal_or_is_refused(place: Place, payload: Any) -> None:
    _store(place, payload)


@pytest.mark.parametrize("number", [0.1, 6650.25, 1e22, 123456789.012345, -1e-7, 2.0, 3])
def test_numbers_of_15_digits_come_back_to_the_last_bit(place: Place, number: float) -> None:
    point = Point(str(uuid.uuid4()), {"k": number}, {"v": VECTOR})
    place.engine.upsert("payloads", [point])
    place.payloads[point.id] = point.payload
    (read,) = place.engine._payloads("payloads", [point.id]).values()
    assert read == {"k": number}


@some
@given(payload=st.dictionaries(st.text("abc", min_size=1, max_size=3), JSON, max_size=4))
def test_all_json_is_taken(place: Place, payload: Any) -> None:
    assert _store(place, payload)


@settings(some, max_examples=EXAMPLES // 2)
@given(
    row=st.fixed_dictionaries(
        {"id": st.text(min_size=1, max_size=5) | TEXT | NUMBER, "text": TEXT | st.just("Water.")},
        optional={
            "title": TEXT,
            "lang": st.sampled_from(["en", "xx", "", "zh-Hant"]) | TEXT,
            "metadata": st.dictionaries(TEXT, JSON | ANYTHING, max_size=3),
        },
    )
)
def test_any_passage_comes_back_equal_or_is_refused(place: Place, row: dict[str, Any]) -> None:
    if str(row["id"]) in (*place.passages, "first"):
        return
    try:
        place.client.ingest("c", [row], hybrid=True)
    except InputError:
        return
    name = str(row["id"])
    place.passages[name] = row.get("metadata", {})
    (read,) = place.engine._payloads("c", [point_id(name)]).values()
    assert (read["passage_id"], read["text"]) == (name, row["text"])
    assert read["title"] == row.get("title", "")
    assert same(row.get("metadata", {}), read["metadata"])


@some
@given(question=TEXT | st.text(max_size=200), lang=st.sampled_from([None, "sw", "ko"]))
def test_any_question_is_answered_or_refused(place: Place, question: str, lang: str | None) -> None:
    for hybrid in (True, False):
        try:
            hits = place.client.search("c", question, lang=lang, limit=3, hybrid=hybrid)
        except InputError:
            assert not question.strip() or any(
                char == "\0" or "\ud800" <= char <= "\udfff" for char in question
            )
        else:
            assert hits or hybrid
            assert all(math.isfinite(hit.score) for hit in hits)


@some
@given(
    argument=st.sampled_from(["lang", "limit", "filters", "passage_lang", "alpha", "hybrid"]),
    value=ANYTHING,
)
def test_any_argument_is_taken_or_refused(place: Place, argument: str, value: Any) -> None:
    try:
        place.client.search("c", "Mto?", **{argument: value})
    except InputError as error:
        str(error).encode("utf-8", "backslashreplace")


KEYS = ["k", "l.m", "tags", "a b", "ü", "k-1", "1", "🦉", "k[]", "k[0]", "'", "a]", "[a", "*", "$"]
_values = st.sampled_from(
    ["x", "", "ü", 1, 0, -1, 2**53, 2**63 - 1, 0.5, 1.0, 1e22, True, False, "true", "1", "\u0000a"]
)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Engine]]:
    """The same points on both engines, with values of every kind under every key."""
    values = [
        "x",
        "ü",
        1,
        0,
        2**53,
        0.5,
        1.0,
        1e22,
        True,
        False,
        "true",
        ["x", 1],
        {"m": "x"},
        None,
    ]
    points = [
        Point(str(uuid.UUID(int=n + 1)), {"metadata": {key: value}}, {"v": VECTOR})
        for n, (key, value) in enumerate([(key, value) for key in [*KEYS, "l"] for value in values])
    ]
    with EdgeEngine(tmp_path_factory.mktemp("both")) as edge, ServerEngine.local() as local:
        for engine in (edge, local):
            engine.create("c", {"v": 4})
            engine.upsert("c", points)
        yield [edge, local]


@some
@given(
    filters=st.dictionaries(
        st.sampled_from(KEYS) | TEXT,
        _values
        | st.lists(_values, max_size=3)
        | st.dictionaries(st.sampled_from(["gt", "gte", "lt", "lte"]), NUMBER, max_size=2)
        | ANYTHING,
        min_size=1,
        max_size=2,
    )
)
def test_any_filter_finds_the_same_on_every_engine_or_is_refused(
    both: list[Engine], filters: dict[str, Any]
) -> None:
    try:
        where = parse_filters(filters)
    except InputError:
        return
    counts = [engine.count("c", where) for engine in both]
    assert counts[0] == counts[1], (filters, where, counts)
    edge, local = both
    for engine in (edge, local):
        (hits,) = engine.search("c", [VECTOR], using=["v"], where=where, limit=500)
        assert len(hits) == counts[0]
