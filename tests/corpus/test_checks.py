from __future__ import annotations

import copy
import datetime
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xqg_qdrant.corpus.checks import (
    MAX_ID_CHARS,
    MAX_METADATA_CHARS,
    MAX_METADATA_DEPTH,
    MAX_QUERY_CHARS,
    MAX_TEXT_CHARS,
    check_id,
    check_metadata,
    check_passage,
    check_payload,
    check_query,
    check_question,
    check_text,
)
from xqg_qdrant.errors import InputError
from xqg_qdrant.records import GeneratedQuery, Passage, Question

ANY_TEXT = st.text(st.characters(exclude_categories=()))
"""Any string that Python can hold, lone surrogates and NUL included."""

STORABLE_TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"))

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | STORABLE_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(STORABLE_TEXT, inner, max_size=4),
    max_leaves=12,
)


def nested(depth: int) -> dict[str, Any]:
    """An object nested so deep: ``{}`` is 1 deep."""
    value: dict[str, Any] = {}
    for _ in range(depth - 1):
        value = {"a": value}
    return value


def refuses(message: str) -> Any:
    return pytest.raises(InputError, match=re.escape(message))


def test_a_passage_comes_back_as_it_was() -> None:
    passage = Passage("p1", "Water boils.", "Water", "en", {"year": 1900, "tags": ["a", "b"]})
    assert check_passage(passage) == passage


def test_a_passage_needs_only_an_id_and_a_text() -> None:
    assert check_passage(Passage("p1", "Water boils.")) == Passage("p1", "Water boils.")


def test_language_codes_are_normalised_in_every_record() -> None:
    assert check_passage(Passage("p1", "Ruwa", lang="hau")).lang == "ha"
    assert check_query(GeneratedQuery("p1", "zh-Hant", "水")).lang == "zh"
    assert check_question(Question("q1", "swa", "Maji?")).lang == "sw"


def test_whole_numbers_are_ids_in_every_record() -> None:
    number: Any = 5
    assert check_passage(Passage(number, "Water")).id == "5"
    assert check_query(GeneratedQuery(number, "en", "Water?")).passage_id == "5"
    assert check_question(Question(number, "en", "Water?")).id == "5"


BAD_STRINGS = [
    (None, "must be a string, not null"),
    (b"bytes", "must be a string, not a bytes"),
    (["list"], "must be a string, not a list"),
    ("a\0b", "holds a NUL character"),
    ("ab\ud800c", "holds a lone surrogate (U+D800) at character 3"),
    ("\udfff", "holds a lone surrogate (U+DFFF) at character 1"),
]


@pytest.mark.parametrize(("value", "message"), BAD_STRINGS)
@pytest.mark.parametrize("field", ["id", "text", "title"])
def test_a_bad_string_in_a_passage_is_refused_by_its_field(
    field: str, value: Any, message: str
) -> None:
    with refuses(f"{field} {message}"):
        check_passage(Passage(**{"id": "p1", "text": "Water", field: value}))


@pytest.mark.parametrize(("value", "message"), BAD_STRINGS)
@pytest.mark.parametrize("field", ["passage_id", "text"])
def test_a_bad_string_in_a_query_is_refused_by_its_field(
    field: str, value: Any, message: str
) -> None:
    with refuses(f"{field} {message}"):
        check_query(
            GeneratedQuery(**{"passage_id": "p1", "lang": "en", "text": "Water?", field: value})
        )


@pytest.mark.parametrize(("value", "message"), BAD_STRINGS)
@pytest.mark.parametrize("field", ["id", "text"])
def test_a_bad_string_in_a_question_is_refused_by_its_field(
    field: str, value: Any, message: str
) -> None:
    with refuses(f"{field} {message}"):
        check_question(Question(**{"id": "q1", "lang": "en", "text": "Water?", field: value}))


@pytest.mark.parametrize("blank", ["", " ", "\n\t", "\u3000", "\u00a0\u2003"])
def test_a_blank_text_is_refused(blank: str) -> None:
    with refuses("text is empty"):
        check_passage(Passage("p1", blank))
    with refuses("text is empty"):
        check_query(GeneratedQuery("p1", "en", blank))
    with refuses("text is empty"):
        check_question(Question("q1", "en", blank))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", "id is empty"),
        (True, "id must be a string, not a bool"),
        (1.5, "id must be a string, not a float"),
        ("a\tb", "holds control characters"),
        ("a\nb", "holds control characters"),
        ("x" * (MAX_ID_CHARS + 1), f"id has {MAX_ID_CHARS + 1:,} characters"),
        (10 ** (MAX_ID_CHARS + 1), "id has"),
        (10**5_000, "id has"),
    ],
    ids=["empty", "bool", "float", "tab", "newline", "long", "long number", "huge number"],
)
def test_a_bad_id_is_refused(value: object, message: str) -> None:
    with refuses(message):
        check_id(value, "id")


@pytest.mark.parametrize("char", ["x", "語", "🦉"])
def test_texts_are_measured_in_characters(char: str) -> None:
    longest = char * MAX_TEXT_CHARS
    assert check_text(longest, "text") == longest
    with refuses(f"text has {MAX_TEXT_CHARS + 1:,} characters"):
        check_text(longest + char, "text")


def test_a_text_of_a_megabyte_is_refused_with_its_length() -> None:
    with refuses("text has 1,048,576 characters, more than the 262,144 allowed"):
        check_passage(Passage("p1", "x" * 2**20))
    with refuses("title has 1,048,576 characters"):
        check_passage(Passage("p1", "x", "x" * 2**20))


def test_a_query_may_be_as_long_as_a_query_and_no_longer() -> None:
    longest = "x" * MAX_QUERY_CHARS
    assert check_query(GeneratedQuery("p1", "en", longest)).text == longest
    assert check_question(Question("q1", "en", longest)).text == longest
    with refuses("text has 8,193 characters"):
        check_query(GeneratedQuery("p1", "en", longest + "x"))
    with refuses("text has 8,193 characters"):
        check_question(Question("q1", "en", longest + "x"))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (7, "lang must be a string, not a int"),
        (["en"], "lang must be a string, not a list"),
        ("", "unknown language code ''"),
        ("klingonese", "unknown language code 'klingonese'"),
        ("\ud800", "unknown language code '\\ud800'"),
    ],
)
def test_a_bad_language_is_refused(value: Any, message: str) -> None:
    with refuses(message):
        check_passage(Passage("p1", "Water", lang=value))
    with refuses(message):
        check_query(GeneratedQuery("p1", value, "Water?"))
    with refuses(message):
        check_question(Question("q1", value, "Water?"))


def test_a_passage_may_have_no_language_but_a_query_must_have_one() -> None:
    none: Any = None
    assert check_passage(Passage("p1", "Water", lang=None)).lang is None
    with refuses("lang must be a string, not null"):
        check_query(GeneratedQuery("p1", none, "Water?"))


@pytest.mark.parametrize("score", [0, 1, -2.5, 1e300])
def test_a_score_is_any_finite_number(score: float) -> None:
    checked = check_query(GeneratedQuery("p1", "en", "Water?", score)).score
    assert checked == score
    assert isinstance(checked, float)


@pytest.mark.parametrize(
    "score",
    [True, "1", [1], float("nan"), float("inf"), -float("inf"), 10**400, -(10**5_000)],
    ids=["bool", "string", "list", "NaN", "inf", "-inf", "beyond floats", "beyond digits"],
)
def test_a_score_that_is_no_finite_number_is_refused(score: Any) -> None:
    with refuses("score"):
        check_query(GeneratedQuery("p1", "en", "Water?", score))


@pytest.mark.parametrize("other", [None, "p1", {"id": "p1", "text": "Water"}])
def test_what_is_no_record_is_refused(other: Any) -> None:
    with refuses("expected a Passage"):
        check_passage(other)
    with refuses("expected a GeneratedQuery"):
        check_query(other)


@given(value=st.dictionaries(STORABLE_TEXT, JSON, max_size=5))
def test_metadata_that_is_json_comes_back_equal_and_apart(value: dict[str, Any]) -> None:
    before = copy.deepcopy(value)
    checked = check_metadata(value)
    assert checked == before
    assert json.loads(json.dumps(checked, allow_nan=False)) == before
    checked["added"] = 1
    for inner in checked.values():
        if isinstance(inner, list | dict):
            inner.clear()
    assert value == before


def test_tuples_in_metadata_become_lists() -> None:
    assert check_metadata({"a": (1, (2, 3))}) == {"a": [1, [2, 3]]}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (float("nan"), "metadata.a is nan"),
        (float("inf"), "metadata.a is inf"),
        (-float("inf"), "metadata.a is -inf"),
        (2**63, "metadata.a is a number beyond 64 bits"),
        (-(2**63) - 1, "metadata.a is a number beyond 64 bits"),
        (10**5_000, "metadata.a is a number beyond 64 bits"),
        ({1, 2}, "metadata.a is a set"),
        (b"x", "metadata.a is a bytes"),
        (datetime.date(2020, 1, 1), "metadata.a is a date"),
        (object(), "metadata.a is a object"),
        ("x\0", "metadata.a holds a NUL"),
        ("\ud83d", "metadata.a holds a lone surrogate"),
        ({"b": [0, {"c": float("nan")}]}, "metadata.a.b[1].c is nan"),
        ({1: 2}, "metadata.a has the key 1: keys must be strings"),
        ({None: 2}, "metadata.a has the key None"),
        ({"\ud83d": 2}, "a key of metadata.a holds a lone surrogate"),
        ({"\0": 2}, "a key of metadata.a holds a NUL"),
    ],
    ids=[
        "NaN",
        "inf",
        "-inf",
        "65 bits",
        "-65 bits",
        "huge",
        "set",
        "bytes",
        "date",
        "object",
        "NUL",
        "surrogate",
        "inner NaN",
        "number as key",
        "None as key",
        "surrogate in key",
        "NUL in key",
    ],
)
def test_what_json_or_an_engine_cannot_hold_is_refused_by_its_path(
    value: object, message: str
) -> None:
    with refuses(message):
        check_metadata({"fine": 1, "a": value})


@pytest.mark.parametrize("value", [None, [], "text", 3, [("a", 1)]])
def test_metadata_must_be_an_object(value: object) -> None:
    with refuses("metadata must be an object"):
        check_metadata(value)


def test_the_whole_of_64_bits_is_kept() -> None:
    bounds = {"low": -(2**63), "high": 2**63 - 1}
    assert check_metadata(bounds) == bounds


def test_metadata_may_be_nested_so_deep_and_no_deeper() -> None:
    deepest = nested(MAX_METADATA_DEPTH)
    assert check_metadata(deepest) == deepest
    check_payload({"metadata": deepest})


@pytest.mark.parametrize("depth", [MAX_METADATA_DEPTH + 1, 130, 900])
def test_metadata_nested_deeper_is_refused(depth: int) -> None:
    too_deep = nested(depth)
    with refuses(f"nested more than {MAX_METADATA_DEPTH} deep"):
        check_metadata(too_deep)
    with refuses(f"nested more than {MAX_METADATA_DEPTH} deep"):
        check_payload({"metadata": too_deep})


def test_metadata_that_holds_itself_is_refused() -> None:
    loop: dict[str, Any] = {}
    loop["loop"] = [loop]
    with refuses("nested more than"):
        check_metadata(loop)


@pytest.mark.parametrize(
    "value",
    [
        {"a": "x" * MAX_METADATA_CHARS},
        {"x" * MAX_METADATA_CHARS: "a"},
        {"a": ["x" * 100] * (MAX_METADATA_CHARS // 100 + 1)},
        {"a": {"b": ["x" * (MAX_METADATA_CHARS // 2)], "c": "x" * (MAX_METADATA_CHARS // 2)}},
        {"a": [1_234_567] * (MAX_METADATA_CHARS // 7 + 1)},
        {"a": [0.1234567] * (MAX_METADATA_CHARS // 7 + 1)},
        {"a": [True] * MAX_METADATA_CHARS},
        {"a": [[]] * MAX_METADATA_CHARS},
    ],
    ids=["value", "key", "list", "sum", "whole numbers", "numbers", "booleans", "empty lists"],
)
def test_metadata_too_long_in_all_is_refused(value: dict[str, Any]) -> None:
    with refuses(f"metadata has over {MAX_METADATA_CHARS:,} characters"):
        check_metadata(value)


def test_long_metadata_that_fits_is_kept() -> None:
    value = {"a": "x" * (MAX_METADATA_CHARS - 100), "b": list(range(10))}
    assert check_metadata(value) == value


@given(text=ANY_TEXT, title=ANY_TEXT, key=ANY_TEXT, value=ANY_TEXT)
def test_what_passes_can_be_stored_as_utf8_json(
    text: str, title: str, key: str, value: str
) -> None:
    passage = Passage("p1", text, title, "en", {key: value})
    try:
        checked = check_passage(passage)
    except InputError:
        strings = (text, title, key, value)
        assert not text.strip() or any(re.search("[\0\ud800-\udfff]", each) for each in strings)
    else:
        assert checked == passage
        check_payload({"text": checked.text, "title": checked.title, "metadata": checked.metadata})
        (text + title + key + value).encode()
