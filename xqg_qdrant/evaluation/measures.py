"""Measures over runs, computed by ir-measures, per language and averaged over languages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from xqg_qdrant.errors import InputError
from xqg_qdrant.records import Hit, Qrel

MEASURES = {"R@1": "R@1", "R@10": "R@10", "MRR@10": "RR@10"}
"""Our names of measures, and those of ir-measures."""

DEPTH = 10
AVERAGE = "average"
"""Stands for a language in the row of the mean over the languages other than the passages'."""


@dataclass(frozen=True, slots=True)
class Row:
    """One figure.

    Attributes:
        system: what was measured.
        language: of the questions, or ``average``.
        measure: its name.
        value: from 0 to 1.
        n: questions behind it.
    """

    system: str
    language: str
    measure: str
    value: float
    n: int

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self)


def measure(
    system: str,
    qrels: Iterable[Qrel],
    run: Mapping[str, Sequence[Hit]],
    languages: Mapping[str, str],
    *,
    without: str = "en",
) -> list[Row]:
    """Measure a run.

    A question without hits, or missing from the run, scores 0.

    Args:
        system: what rows call it.
        qrels: judgements of all questions that were asked.
        run: for each question id its hits, best first.
        languages: the language of each question id.
        without: the language left out of the average, the passages' own.

    Returns:
        For each language, sorted, and last for the average over languages, one row a measure.

    Raises:
        InputError: there are no judgements.
    """
    import ir_measures

    judged = [ir_measures.Qrel(q.question_id, q.passage_id, q.relevance) for q in qrels]
    if not judged:
        raise InputError("there are no judged questions to measure")
    # The rank stands for the score: tools break ties in scores in different ways.
    ranked = [
        ir_measures.ScoredDoc(question_id, hit.id, float(-rank))
        for question_id, hits in run.items()
        for rank, hit in enumerate(hits)
    ]
    names = {ir_measures.parse_measure(theirs): ours for ours, theirs in MEASURES.items()}
    values: dict[tuple[str, str], list[float]] = {}
    for each in ir_measures.iter_calc(list(names), judged, ranked):
        key = (languages[each.query_id], names[each.measure])
        values.setdefault(key, []).append(float(each.value))
    rows = [
        Row(system, language, name, sum(found) / len(found), len(found))
        for language in sorted({language for language, _ in values})
        for name in MEASURES
        if (found := values[language, name])
    ]
    return rows + _averages(system, rows, without)


def _averages(system: str, rows: Sequence[Row], without: str) -> list[Row]:
    averages = []
    for name in MEASURES:
        taken = [row for row in rows if row.measure == name and row.language != without]
        if taken:
            mean = sum(row.value for row in taken) / len(taken)
            averages.append(Row(system, AVERAGE, name, mean, sum(row.n for row in taken)))
    return averages
