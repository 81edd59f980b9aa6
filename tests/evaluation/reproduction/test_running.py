from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests import paper
from xqg_qdrant.client import Client
from xqg_qdrant.errors import InputError, ModelError
from xqg_qdrant.evaluation.experiments import ALPHAS
from xqg_qdrant.evaluation.measures import AVERAGE
from xqg_qdrant.evaluation.reproduction.cells import cells_of, table_of
from xqg_qdrant.evaluation.reproduction.inputs import (
    ENCODERS_FOLDER,
    PREDICTIONS_FOLDER,
    RUNS_FOLDER,
    Inputs,
    open_inputs,
)
from xqg_qdrant.evaluation.reproduction.paper import COLUMNS, LANGUAGES, ROWS
from xqg_qdrant.evaluation.reproduction.running import Measured, Reproduction, reproduce

MBERT, MBERT_XQG, XLM_R, _ = ROWS


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("paper")
    paper.write_questions(made)
    paper.write_augmented(made)
    paper.write_encoder(made, "mbert")
    return made


@pytest.fixture(scope="module")
def found(folder: Path) -> Reproduction:
    """Table and figures, of a tiny stand-in."""
    return run(open_inputs(folder), [MBERT, MBERT_XQG], ["alpha", "queries"])


def run(inputs: Inputs, rows: Any, figures: Any = (), **more: Any) -> Reproduction:
    more.setdefault("resamples", 100)

    def connect(encoder: Path) -> Client:
        return Client(":memory:", encoder=encoder, threads=1)

    return reproduce(inputs, rows, figures, connect, **more)


def value(measured: Measured, measure: str, language: str = AVERAGE) -> float:
    return next(
        row.value
        for row in measured.official
        if (row.measure, row.language) == (f"official {measure}", language)
    )


def test_queries_find_what_passages_hide(found: Reproduction) -> None:
    plain, augmented = found.table["mbert"], found.table["mbert-xqg"]
    assert value(plain, "R@2kt") < value(plain, "R@5kt") < 1
    assert value(augmented, "R@2kt") == value(augmented, "R@5kt") == 1
    # The question with but a yes for an answer does not count.
    assert {row.n for row in plain.official} == {10, 70}
    assert (plain.scores.system, augmented.scores.system) == ("mBERT", "mBERT + xQG")
    assert found.passages == 10
    assert found.deviations[-1] == "10 passages, the paper's corpus has 18 million"


def test_cells(found: Reproduction) -> None:
    cells = cells_of(ROWS, found)
    assert len(cells) == 2 * len(ROWS) * len(COLUMNS)
    by_place = {(each.row, each.measure, each.language): each for each in cells}
    cell = by_place["mbert-xqg", "R@2kt", "ja"]
    assert (cell.measured, cell.published, cell.n) == (100, 33.61, 10)
    assert cell.difference == pytest.approx(66.39)
    # Bonferroni over seven languages; the average is a test of its own.
    test = next(
        each for each in found.comparisons if (each.language, each.measure) == ("ja", "R@2kt")
    )
    assert cell.p == test.t_test.bonferroni == pytest.approx(7 * test.t_test.p)
    assert cell.significant
    average = by_place["mbert-xqg", "R@2kt", AVERAGE]
    assert average.p is not None and average.significant
    assert by_place["mbert", "R@2kt", "ja"].p is None
    nothing = by_place["xlm-r", "R@5kt", "ar"]
    assert (nothing.measured, nothing.published, nothing.difference, nothing.n) == (*[None] * 3, 0)


def test_the_table(found: Reproduction) -> None:
    rows = [MBERT, MBERT_XQG, XLM_R]
    table = table_of("R@2kt", rows, cells_of(rows, found), comparable=False)
    assert "not comparable" in table.title
    lines = [[cell.strip() for cell in line] for line in table.lines]
    assert lines[3] == ["mBERT + xQG", *["100.00*"] * 8]
    assert lines[4][:3] == ["published", "42.39", "54.93"]
    assert lines[5][:3] == ["difference", "+57.61", "+45.07"]
    assert lines[6:] == [
        ["XLM-R", *["-"] * 8],
        ["published", *["-"] * 8],
        ["difference", *["-"] * 8],
    ]


def test_a_difference_of_nothing_is_no_negative_one(found: Reproduction) -> None:
    cells = [replace(each, difference=-1e-9) for each in cells_of([MBERT], found)]
    assert "+0.00 " in table_of("R@2kt", [MBERT], cells, comparable=True).lines[2]


def test_more_alpha_and_more_queries_help(found: Reproduction) -> None:
    by_alpha, _, by_queries, _ = found.curves
    assert set(by_alpha.lines) == set(by_queries.lines) == {*LANGUAGES, AVERAGE}
    alphas, queries = dict(by_alpha.lines[AVERAGE]), dict(by_queries.lines[AVERAGE])
    assert tuple(alphas) == ALPHAS and tuple(queries) == (0, 1, 2, 3, 4, 5)
    plain, augmented = (value(found.table[name], "R@2kt") for name in ("mbert", "mbert-xqg"))
    assert alphas[0] == queries[0] == plain
    assert plain < alphas[0.002] < alphas[0.01] == augmented
    # The first query of each language says nothing, the next ones do.
    assert queries[1] == plain < queries[2] < queries[5] == augmented
    assert any(
        note.startswith("mBERT, R@2kt, average: ") and "queries a language: 2, 3, 4, 5" in note
        for note in found.notes
    )


def test_a_sum_over_all_languages_scores_as_the_fused_vector(found: Reproduction) -> None:
    fused = found.table["mbert-xqg"]
    tunable = [row for row in found.figures if row.system == "mBERT + xQG, alpha 0.01"]
    assert [
        (row.language, row.measure, row.value) for row in tunable if "official" in row.measure
    ] == [(row.language, row.measure, row.value) for row in fused.official]


def test_the_same_again(folder: Path, found: Reproduction) -> None:
    again = run(open_inputs(folder), [MBERT_XQG])
    # The row without is measured too: it is what the other is compared with.
    assert set(again.table) == {"mbert", "mbert-xqg"}
    for name, measured in again.table.items():
        assert measured.official == found.table[name].official
    assert again.comparisons == found.comparisons


def test_a_row_alone_and_no_tests(folder: Path) -> None:
    said: list[str] = []
    found = run(open_inputs(folder, limit=4), [MBERT], resamples=0, say=said.append)
    assert set(found.table) == {"mbert"} and found.comparisons == []
    assert found.passages == 4
    assert found.deviations[1] == "the first 4 passages alone"
    assert said[0].startswith("mBERT, average: R@2kt ") and "(published 44.20)" in said[0]
    assert {row.low for row in found.table["mbert"].rows(0)} == {None}


def test_what_is_wrong_is_found_first(folder: Path, tmp_path: Path) -> None:
    inputs = open_inputs(folder)
    with pytest.raises(InputError, match="no figure 'beta'"):
        run(inputs, [MBERT], ["beta"])
    encoder = paper.write_encoder(tmp_path, "mbert")
    (encoder / "model.onnx").write_bytes(b"damaged")
    damaged = replace(inputs, encoders=open_inputs(tmp_path).encoders)
    said: list[str] = []
    with pytest.raises(ModelError, match="damaged or changed"):
        run(damaged, [MBERT], say=said.append)
    assert said == []


def test_an_encoder_exported_as_the_papers(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from tests.checkpoints import build_bert
    from xqg_qdrant.export.checkpoint import open_checkpoint
    from xqg_qdrant.export.encoder import export_encoder

    paper.write_questions(tmp_path, ["ja"])
    paper.write_augmented(tmp_path)
    checkpoint = build_bert(tmp_path / "bert-base-multilingual-cased-xor-tydi")
    target = tmp_path / ENCODERS_FOLDER / "mbert"
    target.parent.mkdir()
    export_encoder(open_checkpoint(str(checkpoint)), output=target)
    found = run(open_inputs(tmp_path), [MBERT], resamples=0)
    # [CLS], the dot product, 32 and 128 tokens: nothing is to be said of the encoder.
    asked, *rest = found.deviations
    assert "bn 0 of 304" in asked and rest == [
        "10 passages, the paper's corpus has 18 million",
    ]
    cells = {cell.language: cell for cell in cells_of([MBERT], found) if cell.measure == "R@5kt"}
    assert cells["ja"].measured == cells[AVERAGE].measured is not None
    assert (cells["ar"].measured, cells["ar"].published) == (None, 49.19)


def test_what_was_found_elsewhere(folder: Path, tmp_path: Path) -> None:
    """A run file of Tevatron and predictions in the official format, without any encoder."""
    paper.write_questions(tmp_path)
    paper.write_corpus(tmp_path)
    run_file = tmp_path / RUNS_FOLDER / MBERT.run
    run_file.parent.mkdir()
    found = [  # right first for even ones, else last of the first three or beyond them
        (f"{language}{n}", passage)
        for language in LANGUAGES
        for n in range(10)
        for passage in ([n, 0] if n % 2 == 0 else [(n + 1) % 10, (n + 2) % 10, (n + 3) % 10, n])
    ]
    run_file.write_text("".join(f"{question}\t{passage}\t1.0\n" for question, passage in found))
    predictions = [
        {"id": f"{language}{n}", "lang": language, "ctxs": [f"x answer{n} y"]}
        for language in LANGUAGES
        for n in range(10)
        if (language, n) != ("te", 9)
    ]
    file = tmp_path / PREDICTIONS_FOLDER / "mbert-xqg.json"
    file.parent.mkdir()
    file.write_text(json.dumps(predictions))
    inputs = open_inputs(tmp_path, limit=1)  # of what is loaded: nothing is
    assert [inputs.missing_for(row) for row in (MBERT, MBERT_XQG)] == [[], []]
    assert inputs.missing_for(XLM_R)
    done = run(inputs, [MBERT, MBERT_XQG])
    assert value(done.table["mbert"], "R@2kt") == 0.5
    assert value(done.table["mbert"], "R@5kt") == 1
    assert value(done.table["mbert-xqg"], "R@2kt") == 1
    assert {each.system for each in done.comparisons} == {"mBERT + xQG"}
    assert done.notes == [
        f"mBERT: scored here, found elsewhere: {run_file}.",
        f"mBERT + xQG: scored here, found elsewhere: {file}.",
    ]
    assert done.deviations[1:] == [
        f"mBERT + xQG: 1 questions have no prediction in {file}, and the official script leaves "
        "them out"
    ]
    # With an encoder at hand the row is measured from the start.
    paper.write_encoder(tmp_path, "mbert")
    assert open_inputs(tmp_path).file_of(MBERT) is None


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("ja1\t0\n", "line 1: 2 columns; runs have question, passage, score"),
        ("ja1\t77\t1.0\n", "1 of 1 ranked passages are not in the corpus, such as '77'"),
        ("xx1\t0\t1.0\n", "no question 'xx1' in"),
        ("", "there is nothing ranked"),
    ],
)
def test_runs_that_do_not_fit(tmp_path: Path, line: str, message: str) -> None:
    paper.write_questions(tmp_path)
    paper.write_corpus(tmp_path)
    (tmp_path / RUNS_FOLDER).mkdir()
    (tmp_path / RUNS_FOLDER / MBERT.run).write_text(line)
    with pytest.raises(InputError, match=message):
        run(open_inputs(tmp_path), [MBERT])
