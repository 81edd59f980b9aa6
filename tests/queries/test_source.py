from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xqg_qdrant.corpus.checks import MAX_QUERY_CHARS, check_query
from xqg_qdrant.queries.source import Gathering, Tally, duplicate_key, tidy, written


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Wo liegt Köln?", "wo  liegt\tKÖLN?"),
        ("Straße", "STRASSE"),
        ("ｶﾞ", "ガ"),
        ("１２", "12"),
        ("Σίσυφος", "ΣΊΣΥΦΟΣ"),
    ],
)
def test_texts_that_differ_in_case_width_or_space_are_the_same(one: str, other: str) -> None:
    assert duplicate_key(one) == duplicate_key(other)


def test_texts_that_differ_otherwise_are_not_the_same() -> None:
    assert len({duplicate_key(text) for text in ("Koln?", "Köln?", "Köln", "قل", "قال")}) == 5


@given(st.text(st.characters(), max_size=50))
def test_what_is_tidied_can_be_stored(text: str) -> None:
    line = tidy(text)
    assert tidy(line) == line
    assert "\n" not in line
    if line:
        gathering = Gathering("p", "sw", None)
        gathering.offer(text)
        check_query(gathering.queries[0])


def test_what_cannot_be_stored_is_nothing() -> None:
    assert tidy("a\x00b\r\nc") == "a b c"
    assert tidy("\ud800") == ""
    assert tidy("x" * (MAX_QUERY_CHARS + 1)) == ""
    assert tidy(" \x00\n ") == ""


def test_texts_are_gathered_once_and_counted() -> None:
    gathering = Gathering("p", "sw", 3)
    assert gathering.offer("Nini?", -0.5)
    assert not gathering.offer("NINI?", -0.1)
    assert not gathering.offer(" ")
    assert gathering.short == 2
    assert gathering.offer("Wapi?", replacing=True)
    tally = gathering.tally()
    assert [(query.text, query.score) for query in gathering.queries] == [
        ("Nini?", -0.5),
        ("Wapi?", None),
    ]
    assert tally == Tally(
        queries=Counter(sw=2),
        empty=1,
        duplicates=1,
        replaced=1,
        missing=Counter(sw=1),
    )


def test_what_comes_when_there_is_enough_is_not_counted() -> None:
    gathering = Gathering("p", "sw", 1)
    gathering.offer("Nini?")
    assert not gathering.offer("nini?")
    assert not gathering.offer("Wapi?")
    assert gathering.tally().duplicates == 0


def test_languages_are_told_apart() -> None:
    one, other = Gathering("p", "id", 1), Gathering("p", "ms", 1)
    one.offer("Apa?")
    other.offer("Apa?")
    queries, tally = written([one, other])
    assert [query.lang for query in queries] == ["id", "ms"]
    assert tally.queries == {"id": 1, "ms": 1}


def test_tallies_add_up_and_survive_json() -> None:
    one, other = Gathering("p", "sw", 2), Gathering("p", "ar", 2)
    one.offer("Nini?")
    one.other["cut"] += 1
    other.offer("ما")
    other.offer("")
    tally = one.tally() + other.tally()
    assert tally.missing == {"sw": 1, "ar": 1}
    assert Tally.from_json(json.loads(json.dumps(tally.to_json()))) == tally
    with pytest.raises(KeyError):
        Tally.from_json({})
