from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pytest

from xqg_qdrant.errors import InputError
from xqg_qdrant.evaluation.measures import (
    ALL,
    AVERAGE,
    FULL_DEPTH,
    Row,
    depth_of,
    measure,
    parse_measures,
)
from xqg_qdrant.records import Hit, Qrel


def hits(*ids: str, score: float | None = None) -> list[Hit]:
    """Hits of falling scores, or all of one score."""
    return [
        Hit(each, 1.0 - rank / 100 if score is None else score, "", "text", None, {}, ())
        for rank, each in enumerate(ids)
    ]


def figures(
    run: Mapping[str, Sequence[Hit]],
    qrels: Sequence[Qrel] = (Qrel("q1", "p1"),),
    languages: Mapping[str, str] | None = None,
    language: str = "de",
) -> list[float]:
    """R@1, R@10 and MRR@10 of one language."""
    rows = measure("s", qrels, run, languages or {"q1": "de", "q2": "de", "q3": "de"})
    return [
        next(row.value for row in rows if (row.language, row.measure) == (language, name))
        for name in ("R@1", "R@10", "MRR@10")
    ]


OTHERS = [f"x{number}" for number in range(20)]


@pytest.mark.parametrize(
    ("rank", "expected"),
    [(1, [1, 1, 1]), (2, [0, 1, 1 / 2]), (10, [0, 1, 1 / 10]), (11, [0, 0, 0])],
)
def test_one_answer_at_a_rank(rank: int, expected: list[float]) -> None:
    ranked = [*OTHERS[: rank - 1], "p1", *OTHERS[rank:]]
    assert figures({"q1": hits(*ranked)}) == pytest.approx(expected)


def test_recall_is_over_all_answers_and_the_reciprocal_rank_of_the_first() -> None:
    qrels = [Qrel("q1", "p1"), Qrel("q1", "p2")]
    assert figures({"q1": hits("x", "p2", "y", "p1")}, qrels) == [0, 1, 0.5]
    assert figures({"q1": hits("p2", "x")}, qrels) == [0.5, 0.5, 1]


def test_figures_are_means_over_questions() -> None:
    run = {"q1": hits("p1"), "q2": hits("x", "p2"), "q3": hits("x", "y", "z", "p3")}
    qrels = [Qrel("q1", "p1"), Qrel("q2", "p2"), Qrel("q3", "p3")]
    assert figures(run, qrels) == pytest.approx([1 / 3, 1, (1 + 1 / 2 + 1 / 4) / 3])


@pytest.mark.parametrize("run", [{"q1": hits("p1")}, {"q1": hits("p1"), "q2": []}])
def test_a_question_without_hits_scores_0(run: Mapping[str, Sequence[Hit]]) -> None:
    assert figures(run, [Qrel("q1", "p1"), Qrel("q2", "p2")]) == [0.5, 0.5, 0.5]


def test_an_empty_run_scores_0() -> None:
    assert figures({}) == [0, 0, 0]


def test_hits_of_questions_that_nobody_judged_count_for_nothing() -> None:
    assert figures({"q1": hits("p1"), "stranger": hits("p1")}) == [1, 1, 1]


@pytest.mark.parametrize("ids", [("x", "p1"), ("p0", "p1"), ("z", "p1")])
def test_ties_do_not_inflate(ids: tuple[str, ...]) -> None:
    """Hits of one score are taken in the order in which they stand, whatever their ids are."""
    assert figures({"q1": hits(*ids, score=0.5)}) == [0, 1, 0.5]
    assert figures({"q1": hits(*reversed(ids), score=0.5)}) == [1, 1, 1]


def test_a_judgement_of_0_is_no_answer() -> None:
    qrels = [Qrel("q1", "p1"), Qrel("q1", "p2", relevance=0)]
    assert figures({"q1": hits("p2", "p1")}, qrels) == [0, 1, 0.5]


def test_rows_come_by_language_with_the_average_of_the_others_than_english_last() -> None:
    qrels = [Qrel("a", "p1"), Qrel("b", "p1"), Qrel("c", "p1"), Qrel("d", "p1"), Qrel("e", "p1")]
    spoken = {"a": "sw", "b": "sw", "c": "sw", "d": "de", "e": "en"}
    run = {"a": hits("p1"), "d": hits("p1"), "e": hits("p1")}
    rows = measure("system", qrels, run, spoken)
    assert [(row.language, row.measure) for row in rows] == [
        (language, name)
        for language in ("de", "en", "sw", AVERAGE)
        for name in ("R@1", "R@10", "MRR@10")
    ]
    found = {(row.language, row.measure): (row.value, row.n) for row in rows}
    assert found["sw", "R@1"] == pytest.approx((1 / 3, 3))
    assert found["de", "R@1"] == (1.0, 1)
    assert found["en", "R@1"] == (1.0, 1)
    # Over languages, not over questions: (1/3 + 1) / 2, English left out.
    assert found[AVERAGE, "R@1"] == pytest.approx((2 / 3, 4))
    assert {row.system for row in rows} == {"system"}


def test_the_language_left_out_of_the_average_can_be_chosen() -> None:
    qrels = [Qrel("a", "p1"), Qrel("b", "p1")]
    rows = measure("s", qrels, {"a": hits("p1")}, {"a": "de", "b": "en"}, without="de")
    assert [row.value for row in rows if row.language == AVERAGE] == [0, 0, 0]


def test_english_alone_has_no_average() -> None:
    rows = measure("s", [Qrel("a", "p1")], {"a": hits("p1")}, {"a": "en"})
    assert {row.language for row in rows} == {"en"}


def test_no_judgements_are_refused() -> None:
    with pytest.raises(InputError, match="no judged questions"):
        measure("s", [], {"q1": hits("p1")}, {})


def test_a_row_is_a_json_object() -> None:
    assert Row("s", "de", "R@1", 0.5, 2, 0.25, 0.75, 1).to_json() == {
        "system": "s",
        "language": "de",
        "measure": "R@1",
        "value": 0.5,
        "n": 2,
        "low": 0.25,
        "high": 0.75,
        "missing": 1,
    }


def test_measures_of_ir_measures_and_our_names_for_them() -> None:
    run = {"q1": hits("x", "p1", "y", "p2"), "q2": hits("p3")}
    qrels = [Qrel("q1", "p1"), Qrel("q1", "p2", 2), Qrel("q2", "p3")]
    names = "nDCG@10, mAP, AP MRR,Success@1 P(rel=2)@5"
    rows = measure("s", qrels, run, {"q1": "de", "q2": "de"}, measures=names)
    found = {row.measure: row.value for row in rows if row.language == "de"}
    ideal = 2 + 1 / math.log2(3)
    assert found == pytest.approx(
        {
            "nDCG@10": ((1 / math.log2(3) + 2 / math.log2(5)) / ideal + 1) / 2,
            "mAP": (0.5 + 1) / 2,
            "AP": (0.5 + 1) / 2,
            "MRR": 0.75,
            "Success@1": 0.5,
            "P(rel=2)@5": 0.1,
        }
    )


@pytest.mark.parametrize("names", ["R@ten", "sorcery@10", "R@10,MRRR@10", "", ",", "R@10;R@20"])
def test_measures_that_are_none_are_refused(names: str) -> None:
    with pytest.raises(InputError, match="measure"):
        parse_measures(names)


def test_how_deep_a_run_must_be() -> None:
    assert depth_of("R@1") == 1
    assert depth_of("R@100, MRR@10") == 100
    assert depth_of("mAP,R@10") == FULL_DEPTH


def test_what_found_nothing_is_counted() -> None:
    qrels = [Qrel("a", "p1"), Qrel("b", "p1"), Qrel("c", "p1"), Qrel("d", "p1")]
    spoken = {"a": "sw", "b": "sw", "c": "de", "d": "de"}
    rows = measure("s", qrels, {"a": hits("p1"), "c": []}, spoken)
    assert {(row.language, row.missing, row.n) for row in rows} == {
        ("sw", 1, 2),
        ("de", 2, 2),
        (AVERAGE, 3, 4),
    }


def test_intervals_where_they_are_asked_for() -> None:
    qrels = [Qrel(f"q{number}", "p1") for number in range(60)]
    run = {f"q{number}": hits("p1") for number in range(0, 60, 2)}
    spoken = {qrel.question_id: "de" for qrel in qrels}
    [row, *_] = measure("s", qrels, run, spoken, resamples=500)
    assert row.low is not None and row.high is not None
    assert 0.3 < row.low < row.value == 0.5 < row.high < 0.7
    assert measure("s", qrels, run, spoken, resamples=500)[0] == row


def test_questions_of_which_no_language_is_known() -> None:
    rows = measure("s", [Qrel("a", "p1")], {}, {"a": ALL})
    assert {row.language for row in rows} == {ALL}
    with pytest.raises(InputError, match="'a' has judgements but no language"):
        measure("s", [Qrel("a", "p1")], {}, {})
