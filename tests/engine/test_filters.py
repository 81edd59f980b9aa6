from __future__ import annotations

import re
from typing import Any

import pytest

from xqg_qdrant.engine.filters import Condition, parse_filters
from xqg_qdrant.errors import InputError


def test_without_filters_there_are_no_conditions() -> None:
    assert parse_filters() == parse_filters({}, None) == []


@pytest.mark.parametrize("value", ["geology", "", 7, -(2**63), 2**63 - 1, 1.5, True, False])
def test_a_scalar_must_be_equal(value: Any) -> None:
    [condition] = parse_filters({"topic": value})
    assert condition == Condition("metadata.topic", any_of=(value,))
    assert type(condition.any_of[0]) is type(value)


@pytest.mark.parametrize("values", [["a", "b"], ("a", "b"), {"a", "b"}, frozenset({"a", "b"})])
def test_of_a_list_one_must_be_equal(values: Any) -> None:
    [condition] = parse_filters({"tags": values})
    assert condition.key == "metadata.tags"
    assert set(condition.any_of) == {"a", "b"}


def test_bounds_limit_a_number() -> None:
    assert parse_filters({"year": {"gte": 1900, "lt": 2000.5}}) == [
        Condition("metadata.year", bounds=(("gte", 1900.0), ("lt", 2000.5)))
    ]


def test_all_conditions_are_kept_in_order() -> None:
    assert parse_filters({"a": 1, "b": {"gt": 2}}, ["de"]) == [
        Condition("lang", any_of=("de",)),
        Condition("metadata.a", any_of=(1,)),
        Condition("metadata.b", bounds=(("gt", 2.0),)),
    ]


@pytest.mark.parametrize(
    ("field", "key"),
    [
        ("topic", "metadata.topic"),
        ("author.name", "metadata.author.name"),
        ("authors[].name", "metadata.authors[].name"),
        ("a-b_9", "metadata.a-b_9"),
        ("pub date", 'metadata."pub date"'),
        ("a.pub date.c", 'metadata.a."pub date".c'),
        ("größe", 'metadata."größe"'),
        ("a[0]", 'metadata."a[0]"'),
        ("lang", "metadata.lang"),
        ("metadata.x", "metadata.metadata.x"),
    ],
)
def test_fields_are_paths_in_the_users_own_metadata(field: str, key: str) -> None:
    assert parse_filters({field: 1})[0].key == key


@pytest.mark.parametrize(
    ("languages", "codes"),
    [("sw", ("sw",)), (["hau", "zh-Hant"], ("ha", "zh")), (("de",), ("de",))],
)
def test_passage_languages_are_normalised(languages: Any, codes: tuple[str, ...]) -> None:
    assert parse_filters(None, languages) == [Condition("lang", any_of=codes)]


def test_an_unknown_passage_language_is_refused() -> None:
    with pytest.raises(InputError, match="unknown language code 'xx'"):
        parse_filters(None, ["de", "xx"])


@pytest.mark.parametrize(
    "value",
    [None, float("nan"), float("inf"), 2**63, -(2**63) - 1, b"x", object(), [1, None], [[1]]],
    ids=["None", "NaN", "inf", "65 bits", "-65 bits", "bytes", "object", "None inside", "nested"],
)
def test_what_no_field_can_equal_is_refused_by_field(value: Any) -> None:
    with pytest.raises(InputError, match="filter 'topic' wants"):
        parse_filters({"topic": value})


@pytest.mark.parametrize("empty", [[], (), set()])
def test_a_list_of_no_values_is_refused(empty: Any) -> None:
    with pytest.raises(InputError, match="filter 'topic' lists no values"):
        parse_filters({"topic": empty})


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ({}, "bounds are gt, gte, lt, lte, not []"),
        ({"from": 1}, "bounds are gt, gte, lt, lte, not ['from']"),
        ({"gte": 1, "max": 2}, "bounds are gt, gte, lt, lte"),
        ({1: 2}, "bounds are gt, gte, lt, lte"),
        ({"gte": "1900"}, "gte is '1900', not a number"),
        ({"gte": None}, "gte is None, not a number"),
        ({"gte": True}, "gte is True, not a number"),
        ({"lt": float("nan")}, "lt is nan: give a finite number"),
        ({"lt": float("inf")}, "lt is inf: give a finite number"),
    ],
)
def test_bad_bounds_are_refused_by_field(bounds: Any, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(f"filter 'year': {message}")):
        parse_filters({"year": bounds})


@pytest.mark.parametrize("field", ["", ".", "a.", ".a", "a..b", 5, None, 'a"b', "a\\b"])
def test_a_field_that_is_no_path_is_refused(field: Any) -> None:
    with pytest.raises(InputError, match=re.escape(f"filter on {field!r}")):
        parse_filters({field: 1})
