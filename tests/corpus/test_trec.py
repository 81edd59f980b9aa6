from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import ir_measures
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xqg_qdrant.corpus.trec import read_qrels, read_run, read_topics, write_qrels, write_run
from xqg_qdrant.errors import InputError
from xqg_qdrant.evaluation.measures import measure
from xqg_qdrant.records import Qrel, Question, ScoredPassage

RUN = "q1 Q0 p2 1 0.5 xqg\nq1 Q0 p1 2 0.75 xqg\n\nq2\tQ0\tp1\t1\t3e-2\txqg\n"


def test_a_run_is_in_the_order_of_its_scores(tmp_path: Path) -> None:
    path = tmp_path / "run.txt"
    path.write_text(RUN)
    run = read_run(path)
    assert run.name == "xqg"
    assert run.ranked == {
        "q1": (ScoredPassage("p1", 0.75), ScoredPassage("p2", 0.5)),
        "q2": (ScoredPassage("p1", 0.03),),
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("q1 Q0 p1 1 0.5\n", "line 1: 5 columns; a run has six"),
        (RUN + "q1 Q0 p1 3 0.1 xqg\n", "line 5: passage 'p1' comes twice for question 'q1'"),
        ("q1 Q0 p1 1 high xqg\n", "line 1: the score is 'high'"),
        ("q1 Q0 p1 1 nan xqg\n", "line 1: the score is 'nan'"),
        ("\n \n", "no lines"),
        (b"q1 Q0 p\xff 1 1 x\n", "line 1: not UTF-8"),
    ],
)
def test_what_is_no_run_is_refused(tmp_path: Path, text: str | bytes, message: str) -> None:
    path = tmp_path / "run.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=message):
        read_run(path)


ids = st.text(st.characters(codec="utf-8", categories=("L", "N")), min_size=1, max_size=6)
scores = st.floats(-5, 5, width=32)
runs = st.dictionaries(
    ids, st.dictionaries(ids, scores, min_size=1, max_size=12), min_size=1, max_size=4
)


@given(runs)
def test_what_is_written_is_read_in_the_same_order(
    tmp_path_factory: pytest.TempPathFactory, found: dict[str, dict[str, float]]
) -> None:
    ranked = {
        question: [ScoredPassage(*pair) for pair in sorted(each.items(), key=lambda p: -p[1])]
        for question, each in found.items()
    }
    path = tmp_path_factory.mktemp("runs") / "run.txt"
    write_run(path, ranked, "mini + queries, alpha 0.1")
    run = read_run(path)
    assert run.name == "mini-+-queries,-alpha-0.1"
    for question, hits in ranked.items():
        back = run.ranked[question]
        assert [hit.id for hit in back] == [hit.id for hit in hits]
        assert [hit.score for hit in back] == pytest.approx([hit.score for hit in hits], abs=1e-5)


@given(runs, st.data())
def test_figures_of_a_run_file_are_those_of_trec_eval(
    tmp_path_factory: pytest.TempPathFactory,
    found: dict[str, dict[str, float]],
    data: st.DataObject,
) -> None:
    """Scores are rounded, for many ties."""
    judged = [
        Qrel(question, data.draw(st.sampled_from(sorted(each))), data.draw(st.integers(0, 2)))
        for question, each in found.items()
    ]
    folder = tmp_path_factory.mktemp("runs")
    run_path, qrels_path = folder / "run.txt", folder / "qrels.txt"
    lines = [
        f"{question} Q0 {passage} 0 {round(score)} t\n"
        for question, each in found.items()
        for passage, score in each.items()
    ]
    run_path.write_text("".join(lines), encoding="utf-8")
    write_qrels(qrels_path, judged)
    # RR@10 is not among them: ir-measures has it of a provider with another order of ties.
    names = ["R@1", "R@10", "RR", "AP", "nDCG@10"]
    spoken = {each.question_id: "de" for each in judged}
    rows = measure("s", judged, read_run(run_path).ranked, spoken, measures=names)
    theirs = ir_measures.calc_aggregate(
        [ir_measures.parse_measure(name) for name in names],
        list(ir_measures.read_trec_qrels(qrels_path.read_text(encoding="utf-8"))),
        list(ir_measures.read_trec_run(run_path.read_text(encoding="utf-8"))),
    )
    for row in rows:
        assert row.value == pytest.approx(theirs[ir_measures.parse_measure(row.measure)])


@pytest.mark.parametrize("write", [write_run, write_qrels])
def test_ids_with_white_space_cannot_be_written(tmp_path: Path, write: Callable[..., None]) -> None:
    path = tmp_path / "out.txt"
    with pytest.raises(InputError, match="'a b' holds white space"):
        if write is write_run:
            write_run(path, {"q": [ScoredPassage("a b", 1)]}, "t")
        else:
            write_qrels(path, [Qrel("q", "a b")])
    assert list(tmp_path.iterdir()) == []


def test_qrels_in_both_forms(tmp_path: Path) -> None:
    trec, beir = tmp_path / "qrels.txt", tmp_path / "test.tsv"
    trec.write_text("q1 0 p1 1\nq1 0 p2 -1\n\nq2 0 p1 3\n")
    beir.write_text("query-id\tcorpus-id\tscore\nq1\tp1\t1\nq1\tp2\t-1\nq2\tp1\t3\n")
    expected = [Qrel("q1", "p1", 1), Qrel("q1", "p2", -1), Qrel("q2", "p1", 3)]
    assert [qrel for _, qrel in read_qrels(trec)] == expected
    assert [qrel for _, qrel in read_qrels(beir)] == expected
    beir.write_text("q 1\tp 1\t1\n")
    assert [qrel for _, qrel in read_qrels(beir)] == [Qrel("q 1", "p 1", 1)]
    write_qrels(trec, expected)
    assert [qrel for _, qrel in read_qrels(trec)] == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("q1 0 p1 1\nq1 0 p1 1 2\n", "line 2: 5 columns"),
        ("q1\tp1\tx\n", "line 1: the relevance is 'x'"),
        ("q1 0 p1 1_0\n", "the relevance is '1_0'"),
        ("q1 0 p1 ١\n", "the relevance"),
        ("q1 0 p1 9999999999\n", "up to 9 digits"),
        ("q1\t0\t\t1\n", "line 1: the passage's id is empty"),
        ("q1 0 p\x001 1\n", "line 1: the passage's id holds a NUL"),
        ("q1 0 p1 yes\n", "line 1: the relevance is 'yes'"),
        ("q1 0 p1 1\nq1 0 p1 0\n", "line 2: 'p1' is judged twice for question 'q1'"),
        ("query-id\tcorpus-id\tscore\nq1\tp1\tx\n", "line 2: the relevance is 'x'"),
    ],
)
def test_what_are_no_qrels_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "qrels.txt"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        list(read_qrels(path))


def test_topics(tmp_path: Path) -> None:
    path = tmp_path / "topics.tsv"
    path.write_text("q1\tswa\tMto gani?\nq2\tWhich river?\n", encoding="utf-8")
    assert [question for _, question in read_topics(path, lang="en")] == [
        Question("q1", "sw", "Mto gani?"),
        Question("q2", "en", "Which river?"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("q1\tMto?\n", "line 1: nothing says what language"),
        ("q1\n", "line 1: 1 columns"),
        ("q1\tsw\tMto?\nq1\tsw\tZiwa?\n", "line 2: topic 'q1' comes twice"),
        ("q1\tsw\t \n", "line 1: text is empty"),
        ("q1\txx\tMto?\n", "line 1: unknown language code"),
    ],
)
def test_what_are_no_topics_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "topics.tsv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        list(read_topics(path))
