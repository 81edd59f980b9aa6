from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xqg_qdrant import Encoder, GeneratedQuery, Passage
from xqg_qdrant.errors import InputError, StorageError
from xqg_qdrant.queries.filtering import Criteria, FilterReport, filter_queries
from xqg_qdrant.records import Progress

PASSAGES = [Passage(f"p{number}", letter * 12) for number, letter in enumerate("acegi")]
LETTERS = [("p0", "aa"), ("p0", "ac"), ("p1", "cccc"), ("p1", "ii"), ("p2", "e"), ("p4", "iii a")]
QUERIES = [GeneratedQuery(passage, "de", text) for passage, text in LETTERS] + [
    GeneratedQuery("p3", "sw", "gg"),
    GeneratedQuery("p3", "sw", "aaaa"),
]


def run(
    out: Path,
    encoder: Encoder,
    queries: list[GeneratedQuery] = QUERIES,
    passages: list[Passage] = PASSAGES,
    progress: Any = None,
    **criteria: Any,
) -> tuple[FilterReport, list[dict[str, Any]]]:
    report = filter_queries(
        ((f"line {number}", passage) for number, passage in enumerate(passages)),
        ((f"line {number}", query) for number, query in enumerate(queries)),
        out,
        encoder=encoder,
        criteria=Criteria(**criteria),
        progress=progress,
    )
    return report, [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]


def similarity(encoder: Encoder, query: GeneratedQuery) -> float:
    (passage,) = (each for each in PASSAGES if each.id == query.passage_id)
    return float(
        encoder.encode_queries([query.text])[0] @ encoder.encode_passages([passage.text])[0]
    )


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "kept.jsonl"


def test_scores_are_similarities_of_query_and_passage(out: Path, tiny_encoder: Encoder) -> None:
    report, rows = run(out, tiny_encoder, keep=1)
    by_text = {(query.passage_id, query.text): query for query in QUERIES}
    assert len(rows) == len(QUERIES)
    for row in rows:
        query = by_text[row["passage_id"], row["text"]]
        assert row["lang"] == query.lang
        assert row["score"] == pytest.approx(similarity(tiny_encoder, query), abs=1e-5)
    assert report.kept == report.read == {"de": 6, "sw": 2}
    assert report.dropped == {}


def test_the_best_share_of_each_language_is_kept(out: Path, tiny_encoder: Encoder) -> None:
    report, rows = run(out, tiny_encoder, keep=0.5)
    best = sorted(QUERIES[:6], key=lambda query: -similarity(tiny_encoder, query))[:3]
    kept = {(row["passage_id"], row["text"]) for row in rows}
    assert kept == {(query.passage_id, query.text) for query in best} | {("p3", "gg")}
    assert report.kept == {"de": 3, "sw": 1}
    assert report.dropped == {"low score": 4}
    assert report.lowest["de"] == pytest.approx(min(r["score"] for r in rows if r["lang"] == "de"))


def test_queries_below_the_least_score_are_left_out(out: Path, tiny_encoder: Encoder) -> None:
    _, rows = run(out, tiny_encoder, min_score=0.99)
    assert {row["text"] for row in rows} == {"aa", "cccc", "e", "gg"}


def test_a_query_that_finds_another_passage_is_left_out(out: Path, tiny_encoder: Encoder) -> None:
    report, rows = run(out, tiny_encoder, round_trip=1)
    assert {("p1", "ii"), ("p3", "aaaa")}.isdisjoint((r["passage_id"], r["text"]) for r in rows)
    assert {"aa", "cccc", "e", "gg"} <= {row["text"] for row in rows}
    assert set(report.dropped) == {"does not find its passage"}
    report, rows = run(out, tiny_encoder, round_trip=len(PASSAGES))
    assert len(rows) == len(QUERIES)


def test_passages_of_the_same_text_find_each_other(out: Path, tiny_encoder: Encoder) -> None:
    """A tie is no reason to leave a query out."""
    twins = [*PASSAGES, Passage("p5", PASSAGES[0].text)]
    _, rows = run(out, tiny_encoder, [GeneratedQuery("p0", "de", "aa")], twins, round_trip=1)
    assert len(rows) == 1


def test_a_query_in_another_language_is_left_out(out: Path, tiny_encoder: Encoder) -> None:
    queries = [
        GeneratedQuery("p0", "de", "Welche Stadt ist die größte in Deutschland?"),
        GeneratedQuery("p0", "de", "What is the largest city of the country?"),
        GeneratedQuery("p0", "ar", "ما هي أكبر مدينة في البلاد؟"),
        GeneratedQuery("p0", "bem", "Umusumba uukulu niwisa?"),
    ]
    report, rows = run(out, tiny_encoder, queries, check_language=True)
    # No detector knows Bemba: what cannot be checked is kept, and said.
    assert [row["lang"] for row in rows] == ["de", "ar", "bem"]
    assert report.dropped == {"other language": 1}
    assert report.undetectable == ("bem",)


def test_queries_come_in_the_order_of_the_passages(out: Path, tiny_encoder: Encoder) -> None:
    shuffled = [QUERIES[number] for number in (7, 2, 0, 5, 1)]
    _, rows = run(out, tiny_encoder, shuffled, keep=1)
    assert [row["text"] for row in rows] == ["aa", "ac", "cccc", "aaaa", "iii a"]


def test_progress_counts_passages(out: Path, tiny_encoder: Encoder) -> None:
    seen: list[Progress] = []
    run(out, tiny_encoder, progress=seen.append, round_trip=3)
    assert seen == [Progress("encoding", 5, 5), Progress("scoring", 5, 5)]


@settings(max_examples=30)
@given(st.floats(0.01, 1), st.integers(1, 30), st.integers(0, 2**32 - 1))
def test_a_share_is_rounded_up(
    tmp_path_factory: pytest.TempPathFactory,
    tiny_encoder: Encoder,
    keep: float,
    count: int,
    seed: int,
) -> None:
    letters = np.random.default_rng(seed).choice(list("acegi "), (count, 6))
    queries = [GeneratedQuery("p0", "de", "a" + "".join(row)) for row in letters]
    out = tmp_path_factory.mktemp("share") / "kept.jsonl"
    _, rows = run(out, tiny_encoder, queries, keep=keep)
    assert len(rows) == math.ceil(keep * count)


@pytest.mark.parametrize(
    ("criteria", "message"),
    [
        ({}, "nothing to filter by"),
        ({"keep": 0}, "keep is 0"),
        ({"keep": 1.1}, "keep is 1.1"),
        ({"keep": math.nan}, "keep is nan"),
        ({"min_score": math.nan}, "min_score is nan"),
        ({"round_trip": 0}, "round_trip is 0"),
    ],
)
def test_criteria_out_of_range_are_refused(
    out: Path, tiny_encoder: Encoder, criteria: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        run(out, tiny_encoder, **criteria)
    assert not out.exists()


def test_a_failure_leaves_the_older_file_alone(out: Path, tiny_encoder: Encoder) -> None:
    out.write_text("older", encoding="utf-8")
    stranger = [*QUERIES, GeneratedQuery("p9", "de", "x")]
    with pytest.raises(InputError, match="line 8: a query for the unknown passage 'p9'"):
        run(out, tiny_encoder, stranger, keep=0.5)
    with pytest.raises(InputError, match="there are no queries to filter"):
        run(out, tiny_encoder, [], keep=0.5)
    assert out.read_text(encoding="utf-8") == "older"
    assert list(out.parent.iterdir()) == [out]


def test_a_folder_that_is_not_there_is_named(tmp_path: Path, tiny_encoder: Encoder) -> None:
    with pytest.raises(InputError, match="cannot be written: No such file"):
        run(tmp_path / "absent" / "kept.jsonl", tiny_encoder, keep=0.5)


def test_a_full_disk_is_an_error_and_leaves_nothing(
    small_disk: Path, tiny_encoder: Encoder
) -> None:
    (small_disk / "filler").write_bytes(b"x" * (64 * 2**20 - 2 * 4096))
    queries = [GeneratedQuery("p0", "de", "a" * 4_000) for _ in range(200)]
    with pytest.raises(StorageError, match="cannot be written: No space left"):
        run(small_disk / "kept.jsonl", tiny_encoder, queries, keep=1)
    assert [path.name for path in small_disk.iterdir()] == ["filler"]
