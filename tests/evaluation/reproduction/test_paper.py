from __future__ import annotations

import pytest

from xqg_qdrant.evaluation.measures import AVERAGE
from xqg_qdrant.evaluation.reproduction.paper import (
    COLUMNS,
    LANGUAGES,
    MBERT,
    MEASURES,
    QUESTIONS,
    ROWS,
    PaperRow,
)
from xqg_qdrant.export.presets import find_encoder_preset

KNOWN = [row for row in ROWS if row.published]


def test_rows() -> None:
    assert [row.name for row in ROWS] == ["mbert", "mbert-xqg", "xlm-r", "xlm-r-xqg"]
    assert [row.title for row in ROWS][:2] == ["mBERT", "mBERT + xQG"]
    # The source has mBERT's figures alone.
    assert {row.encoder for row in KNOWN} == {MBERT}
    for row in KNOWN:
        assert set(row.published) == {(measure, code) for measure in MEASURES for code in COLUMNS}


@pytest.mark.parametrize("code", LANGUAGES)
def test_published_values_are_shares_of_the_same_questions(code: str) -> None:
    """A slip in one digit leaves no number of questions of which all four are shares."""
    shares = [row.published[measure, code] for row in KNOWN for measure in MEASURES]
    fitting = [
        n
        for n in range(1, 400)
        if all(round(100 * round(share * n / 100) / n, 2) == share for share in shares)
    ]
    assert fitting == [QUESTIONS[code]]


@pytest.mark.parametrize("row", KNOWN, ids=lambda row: row.name)
@pytest.mark.parametrize("measure", MEASURES)
def test_published_averages_are_those_of_these_shares(row: PaperRow, measure: str) -> None:
    shares = [round(row.published[measure, code] * n / 100) / n for code, n in QUESTIONS.items()]
    assert row.published[measure, AVERAGE] == round(100 * sum(shares) / len(shares), 2)


def test_the_encoder_is_used_as_its_makers_do() -> None:
    preset = find_encoder_preset(MBERT.model)
    assert preset is not None and preset.name == "xor-tydi"
