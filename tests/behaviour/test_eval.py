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
from tests.evaluation.test_bench import parted
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


@pytest.fixture
def xor(tmp_path: Path) -> list[str]:
    """Questions of one letter each, and passages that say nothing but an answer."""
    cities = [f"City{n}" for n in range(10)]
    questions = [
        {"id": f"{n}", "question": letter * 5, "lang": "fi" if n % 2 else "te", "answers": [city]}
        for n, (letter, city) in enumerate(zip(LETTERS, cities, strict=True))
    ]
    (tmp_path / "dev.jsonl").write_text("".join(json.dumps(q) + "\n" for q in questions))
    rows = [f"p{n}\tzy zw. {city}.\tT{n}\n" for n, city in enumerate(cities)]
    (tmp_path / "corpus.tsv").write_text("id\ttext\ttitle\n" + "".join(rows))
    queries = [
        {"passage_id": f"p{n}", "lang": "fi" if n % 2 else "te", "text": letter * 4}
        for n, letter in enumerate(LETTERS)
    ]
    (tmp_path / "queries.jsonl").write_text("".join(json.dumps(q) + "\n" for q in queries))
    return ["eval", "xor-tydi", "dev.jsonl"]


def test_xor_tydi_searches_and_scores_predictions(xqg: Run, xor: list[str], tmp_path: Path) -> None:
    searched = xqg(
        *(*xor, "--corpus", "corpus.tsv", "--queries", "queries.jsonl", "--alpha", "1"),
        *("--depth", "1", "--baseline", "plain", "--save-predictions", "ours.json", "--json"),
    )
    assert searched.returncode == 0, searched.stderr
    found = json.loads(searched.stdout)
    system = "tiny + queries, per-language, alpha 1"
    assert figures(found["rows"], system)["average", "R@2kt"] == 1
    assert figures(found["rows"], "tiny")["average", "R@2kt"] < 1
    predictions = json.loads((tmp_path / "ours.json").read_text())
    assert {len(each["ctxs"]) for each in predictions} == {1}
    # Quiet about three Finnish questions: the official figure does not mind.
    fewer = [each for each in predictions if each["id"] not in ("1", "3", "5")]
    (tmp_path / "fewer.json").write_text(json.dumps(fewer))
    rows = json.loads(xqg(*xor, "--predictions", "fewer.json", "--json").stdout)
    found = figures(rows, "fewer.json")
    assert found["fi", "official R@2kt"] == 1
    assert found["fi", "R@2kt"] == pytest.approx(2 / 5)
    assert found["average", "official R@5kt"] == 1
    assert found["average", "R@5kt"] == pytest.approx(0.7)
    done = xqg(*xor, "--predictions", "fewer.json", "--baseline", "ours.json")
    assert "3 of 10 questions found nothing" in done.stdout
    assert "R@2kt: fewer.json minus ours.json" in done.stdout


def test_the_published_set_augments_itself(xqg: Run, xor: list[str], tmp_path: Path) -> None:
    rows = [
        {
            "docid": f"p{n}",
            "title": f"T{n}",
            "text": f"zy zw. City{n}.",
            "generated_queries": {lang: [letter * 4] for lang in ("fi", "te")},
        }
        for n, letter in enumerate(LETTERS)
    ]
    (tmp_path / "augmented.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = [*xor, "--corpus", "augmented.jsonl", "--alpha", "1", "--depth", "1", "--json"]
    rows = json.loads(xqg(*asked).stdout)
    assert {row["value"] for row in rows} == {1}
    plain = json.loads(xqg(*asked, "--no-queries").stdout)
    assert plain[0]["system"] == "tiny"
    assert {row["value"] for row in plain if row["language"] == "average"} != {1}


def test_mkqa_is_scored_as_xor_tydi_is(xqg: Run, xor: list[str], tmp_path: Path) -> None:
    rows = [
        {
            "example_id": n,
            "queries": {"fi": letter * 5, "te": letter * 6},
            "answers": {"en": [{"type": "entity", "text": f"City{n}"}]},
        }
        for n, letter in enumerate(LETTERS)
    ]
    (tmp_path / "mkqa.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = xqg(
        "eval", "mkqa", "mkqa.jsonl", "--corpus", "corpus.tsv", "--languages", "fi", "--json"
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert {(row["language"], row["n"]) for row in rows} == {("fi", 10), ("average", 10)}
    # All ten passages are within two thousand words.
    assert {row["value"] for row in rows} == {1}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give --predictions to score, or --corpus to search"),
        (["--corpus", "corpus.tsv", "--predictions", "corpus.tsv"], "one of them"),
        (["--predictions", "corpus.tsv", "--save-predictions", "x"], "nothing is searched"),
        (["--corpus", "corpus.tsv", "--baseline", "plain"], "give queries"),
    ],
)
def test_wrong_usage_of_xor_tydi(
    xqg: Run, xor: list[str], arguments: list[str], message: str
) -> None:
    done = xqg(*xor, *arguments)
    assert done.returncode == 2
    assert message in done.stderr


def test_the_sentences_task(xqg: Run, xquad_r_folder: Path, tmp_path: Path) -> None:
    asked = ["eval", "xquad-r", xquad_r_folder, "--task", "sentences", "--articles", "24"]
    rows = json.loads(xqg(*asked, "--json").stdout)
    measures = {"mAP monolingual", "mAP cross-lingual", "mAP multilingual pool"}
    assert {row["measure"] for row in rows} == measures
    assert all(0 < row["low"] <= row["value"] <= row["high"] < 1 for row in rows)
    done = xqg(*asked, "--augment", "questions")
    assert done.returncode == 2
    assert "takes no --augment" in done.stderr


def test_data_sets_are_listed_with_their_licences(xqg: Run) -> None:
    rows = {row["name"]: row for row in json.loads(xqg("data", "list", "--json").stdout)}
    assert rows["afriqa"]["licence"] == "CC BY 4.0"
    text = xqg("data").stdout
    assert text == xqg("data", "list").stdout
    for row in rows.values():
        assert row["licence"] in text
        assert row["fetch"] in text


def test_fetching_without_a_network_says_so(xqg: Run, tmp_path: Path) -> None:
    nowhere = {"HTTPS_PROXY": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    done = xqg("data", "fetch", "mkqa", "--to", "mkqa", "-q", env=nowhere)
    assert done.returncode == 1
    assert "cannot reach github.com" in done.stderr
    assert "is there a network?" in done.stderr
    assert list((tmp_path / "mkqa").iterdir()) == []


def test_experiments_print_what_they_find_and_write_a_report(xqg: Run, tmp_path: Path) -> None:
    folder = parted(tmp_path / "xquad-r")
    done = xqg("sweep", "alpha", folder, "--alphas", "0.1,1", "--report", "report", "-q")
    assert done.returncode == 0, done.stderr
    assert "alpha by cross-validation" in done.stdout
    assert "Report: report/report.html" in done.stderr
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert "MRR@10 by alpha, per-language" in page
    assert "CC BY-SA 4.0" in page
    found = json.loads(xqg("sweep", "queries", folder, "--alpha", "1", "--json").stdout)
    assert {row["system"] for row in found["rows"]} == {"0 queries", "1 query", "2 queries"}
    found = json.loads(xqg("sweep", "languages", folder, "--alpha", "1", "--json").stdout)
    assert {each["baseline"] for each in found["comparisons"]} == {"none"}
    done = xqg("compare", folder, "--no-hybrid", "--measures", "MRR@10", "--resamples", "200")
    assert "queries minus own sentences" in done.stdout
    assert "passage in the asker's language" in done.stdout


def test_an_evaluation_writes_a_report(xqg: Run, beir: Path, tmp_path: Path) -> None:
    done = xqg(
        *("eval", "beir", beir, "--queries", "queries.jsonl", "--baseline", "plain"),
        *("--report", "out/report"),
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "out" / "report" / "report.json").read_text())
    assert found["settings"]["baseline"] == "tiny"
    assert {row["system"] for row in found["rows"]} == {
        "tiny",
        "tiny + queries, per-language, alpha 0.1",
    }


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["sweep", "alpha", "{folder}", "--alphas", "0,2"], 2, "alpha is 2.0"),
        (["sweep", "alpha", "{folder}", "--alphas", "some"], 2, "write numbers, as in 0,0.05,0.1"),
        (["sweep", "alpha", "{folder}", "--articles", "1-1"], 1, "one group of questions alone"),
        (["compare", "."], 1, "gold_span_passages"),
    ],
)
def test_experiments_that_cannot_be_done(
    xqg: Run, tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    folder = parted(tmp_path / "xquad-r")
    done = xqg(*[argument.replace("{folder}", str(folder)) for argument in arguments])
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr
