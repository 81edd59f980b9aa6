"""``xqg eval``: runs, baselines and figures, through the command line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ir_measures
import pytest

from tests.behaviour.conftest import Run
from tests.beir import write_beir
from tests.xquad import paragraph, write_language

LETTERS = "acegikmoqs"


@pytest.fixture
def beir(tmp_path: Path) -> Path:
    """Ten documents that say nothing, and questions in two languages of one letter each."""
    corpus = [{"_id": f"d{n}", "title": "", "text": f"zy {n}"} for n in range(10)]
    asked = [
        {"_id": f"{lang}{n}", "text": letter * 4, "lang": lang}
        for lang in ("ha", "sw")
        for n, letter in enumerate(LETTERS)
    ]
    qrels = [(f"{lang}{n}", f"d{n}", 1) for lang in ("ha", "sw") for n in range(10)]
    folder = write_beir(tmp_path / "letters", corpus, asked, qrels)
    queries = [
        {"passage_id": f"d{n}", "lang": "ha", "text": letter * 3}
        for n, letter in enumerate(LETTERS)
    ]
    lines = "".join(json.dumps(each) + "\n" for each in queries)
    (tmp_path / "queries.jsonl").write_text(lines, encoding="utf-8")
    return folder


def figures(rows: Sequence[dict[str, Any]], system: str) -> dict[tuple[str, str], float]:
    return {
        (row["language"], row["measure"]): row["value"] for row in rows if row["system"] == system
    }


@pytest.mark.parametrize("layout", ["per-language", "fused"])
def test_queries_beside_none(xqg: Run, beir: Path, layout: str) -> None:
    asked = ["eval", "beir", beir, "--queries", "queries.jsonl", "--layout", layout]
    asked += ["--alpha", "1", "--baseline", "plain", "--measures", "MRR@10,nDCG@5"]
    done = xqg(*asked, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    name = f"tiny + queries, {layout}, alpha 1"
    augmented, plain = figures(found["rows"], name), figures(found["rows"], "tiny")
    assert augmented["ha", "MRR@10"] == 1
    assert plain["ha", "MRR@10"] < 0.6
    # Queries in Hausa say nothing to askers in Swahili, unless all are in one vector.
    assert (augmented["sw", "MRR@10"] == plain["sw", "MRR@10"]) == (layout == "per-language")
    [hausa] = [
        each
        for each in found["comparisons"]
        if (each["language"], each["measure"]) == ("ha", "MRR@10")
    ]
    assert hausa["difference"] == pytest.approx(1 - plain["ha", "MRR@10"])
    assert 0 < hausa["low"] <= hausa["difference"] <= hausa["high"]
    for test in ("t_test", "randomization"):
        p_values = hausa[test]
        assert p_values["p"] < p_values["bonferroni"] == pytest.approx(2 * p_values["p"])
        assert p_values["holm"] <= p_values["bonferroni"]
    # The same input, the same figures to the last digit.
    assert xqg(*asked, "--json").stdout == done.stdout
    table = xqg(*asked).stdout
    assert f"MRR@10: {name} minus tiny" in table
    assert "corrected by Holm" in table


def test_a_run_is_kept_and_measured_again(xqg: Run, beir: Path, tmp_path: Path) -> None:
    measures = ["--measures", "R@1,R@5,AP"]
    asked = ["eval", "beir", beir, *measures, "--save-run", "plain.run", "--save-qrels", "qrels"]
    first = json.loads(xqg(*asked, "--json").stdout)
    topics = [f"{lang}{n}\t{lang}\ttext\n" for lang in ("ha", "sw") for n in range(10)]
    (tmp_path / "topics.tsv").write_text("".join(topics), encoding="utf-8")
    again = ["eval", "run", "--qrels", "qrels", "--run", "plain.run", *measures, "--json"]
    second = json.loads(xqg(*again, "--topics", "topics.tsv").stdout)
    assert second == first
    # Another tool finds the same.
    theirs = ir_measures.calc_aggregate(
        [ir_measures.R @ 1, ir_measures.R @ 5, ir_measures.AP],
        ir_measures.read_trec_qrels(str(tmp_path / "qrels")),
        ir_measures.read_trec_run(str(tmp_path / "plain.run")),
    )
    pooled = {row["measure"]: row["value"] for row in json.loads(xqg(*again).stdout)}
    assert pooled == pytest.approx({str(measure): value for measure, value in theirs.items()})
    # A run file is a baseline too.
    done = xqg(
        *("eval", "beir", beir, "--queries", "queries.jsonl", "--alpha", "1", "--json"),
        *("--baseline", "plain.run"),
    )
    found = json.loads(done.stdout)
    assert figures(found["rows"], "tiny")["ha", "R@1"] == figures(first, "tiny")["ha", "R@1"]


def test_questions_that_a_run_leaves_out_score_0_and_are_counted(xqg: Run, tmp_path: Path) -> None:
    (tmp_path / "qrels").write_text("q1 0 p1 1\nq2 0 p1 1\nq3 0 p1 1\nq4 0 p1 1\n")
    (tmp_path / "run").write_text("q1 Q0 p1 1 1.0 mine\nstranger Q0 p1 1 1.0 mine\n")
    done = xqg("eval", "run", "--qrels", "qrels", "--run", "run", "--resamples", "0")
    assert "mine: 4 judgements; 1 questions of the run are not judged" in done.stdout
    assert "3 of 4 questions found nothing: they count as 0" in done.stdout
    rows = json.loads(xqg("eval", "run", "--qrels", "qrels", "--run", "run", "--json").stdout)
    assert {(row["value"], row["n"], row["missing"]) for row in rows} == {(0.25, 4, 3)}


@pytest.mark.parametrize(
    ("run", "topics", "message"),
    [
        ("q9 Q0 p1 1 1.0 t\n", None, "none of its questions is judged in qrels"),
        ("q1 Q0 p1 1 1.0\n", None, "run, line 1: 5 columns"),
        ("q1 Q0 p1 1 1.0 t\n", "q2\tsw\tx\n", "topics: no topic 'q1', which qrels judges"),
    ],
)
def test_files_that_do_not_fit(
    xqg: Run, tmp_path: Path, run: str, topics: str | None, message: str
) -> None:
    (tmp_path / "qrels").write_text("q1 0 p1 1\n")
    (tmp_path / "run").write_text(run)
    extra = []
    if topics is not None:
        (tmp_path / "topics").write_text(topics)
        extra = ["--topics", "topics"]
    done = xqg("eval", "run", "--qrels", "qrels", "--run", "run", *extra)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_the_run_of_other_data_is_no_baseline(xqg: Run, beir: Path, tmp_path: Path) -> None:
    (tmp_path / "other.run").write_text("q1 Q0 p1 1 1.0 t\n")
    done = xqg("eval", "beir", beir, "--baseline", "other.run")
    assert done.returncode == 1
    assert "none of its questions is among those judged here, which are called like" in done.stderr


def test_perfect_queries_beside_the_control(xqg: Run, tmp_path: Path) -> None:
    folder = tmp_path / "xquad-r"
    folder.mkdir()
    for language, word in (("en", "what"), ("sw", "nini")):
        paragraphs = [
            paragraph(
                f"zy {number}. xw.",
                {f"{number}-{n}": f"{word} {letter * 9} {n}" for n in range(2)},
                [f"zy {number}.", "xw."],
            )
            for number, letter in enumerate(LETTERS)
        ]
        write_language(folder, language, paragraphs)
    asked = ["eval", "xquad-r", folder, "--augment", "questions", "--two-fold", "--alpha", "0.9"]
    found = json.loads(xqg(*asked, "--baseline", "sentences", "--json").stdout)
    assert {each["baseline"] for each in found["comparisons"]} == {
        "tiny + sentences, fused, alpha 0.9"
    }
    [swahili] = [
        each
        for each in found["comparisons"]
        if (each["language"], each["measure"]) == ("sw", "R@1")
    ]
    assert swahili["value"] == 1
    assert swahili["difference"] > 0
    assert swahili["randomization"]["holm"] < 0.05
