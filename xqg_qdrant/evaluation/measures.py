"""Measures over runs, computed by ir-measures, per language and averaged over languages."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from xqg_qdrant.errors import InputError
from xqg_qdrant.evaluation.statistics import SEED, Stratum, bootstrap
from xqg_qdrant.records import Qrel

MEASURES = ("R@1", "R@10", "MRR@10")
"""Measured where no others are asked for."""

DEPTH = 10
"""Hits a question that :data:`MEASURES` look at."""

FULL_DEPTH = 1000
"""Hits a question that a measure without a cutoff looks at, as in TREC's runs."""

AVERAGE = "average"
"""Stands for a language in the row of the mean over the languages other than the passages'."""

ALL = "all"
"""Stands for the language of questions of which nobody said what language they are in."""

_OUR_NAMES = (("MRR", "RR"), ("mAP", "AP"), ("MAP", "AP"))


class Found(Protocol):
    """A passage that was found: a hit of a search, or a line of a run file."""

    @property
    def id(self) -> str:
        """The passage's own identifier."""

    @property
    def score(self) -> float:
        """Higher is better."""


@dataclass(frozen=True, slots=True)
class Row:
    """One figure.

    Attributes:
        system: what was measured.
        language: of the questions, or ``average``.
        measure: its name.
        value: from 0 to 1.
        n: questions behind it.
        low: lower end of the 95 % bootstrap interval; None where none was asked for.
        high: its upper end.
        missing: how many of the questions found nothing; they count as 0.
    """

    system: str
    language: str
    measure: str
    value: float
    n: int
    low: float | None = None
    high: float | None = None
    missing: int = 0

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class JudgedRun:
    """What a system found for each question, and what it should have found.

    Attributes:
        system: its name.
        qrels: judgements of all questions that were asked.
        run: for each question id its hits, best first.
        languages: the language of each question id.
        clusters: what belongs together when questions are resampled, for each question id: the
            translations of one question say the same thing over and over. A question of its own
            where it is not named.
    """

    system: str
    qrels: tuple[Qrel, ...]
    run: Mapping[str, Sequence[Found]]
    languages: Mapping[str, str]
    clusters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """The value of every measure for every question of a run.

    Attributes:
        system: what was measured.
        questions: the n judged questions' ids, sorted by language, then by id.
        languages: of each question.
        clusters: of each question; see :class:`JudgedRun`.
        values: for each measure float64, (n,), in the order of the questions.
        missing: bool, (n,): the question found nothing.
        without: the language left out of the average, the passages' own.
    """

    system: str
    questions: tuple[str, ...]
    languages: tuple[str, ...]
    clusters: tuple[str, ...]
    values: Mapping[str, npt.NDArray[np.float64]]
    missing: npt.NDArray[np.bool_]
    without: str = "en"

    def places(self) -> dict[str, list[int]]:
        """Where the questions of each language stand."""
        places: dict[str, list[int]] = {}
        for place, language in enumerate(self.languages):
            places.setdefault(language, []).append(place)
        return places

    def averaged(self) -> tuple[str, ...]:
        """The languages that the average is over; empty where there is no average to speak of."""
        return tuple(each for each in self.places() if each not in (self.without, ALL))

    def strata(self, languages: Iterable[str] | None = None) -> list[Stratum]:
        """The questions by language, as the statistics want them."""
        places = self.places()
        chosen = places if languages is None else languages
        return [
            Stratum(name, np.array(places[name]), tuple(self.clusters[p] for p in places[name]))
            for name in chosen
        ]


def parse_measures(names: str | Iterable[str]) -> dict[str, Any]:
    """Measures by the names that they are asked for.

    Args:
        names: of ir-measures (https://ir-measur.es/en/latest/measures.html), as in ``nDCG@10``,
            ``Success@5`` or ``P(rel=2)@5``; and MRR, which is its RR, and mAP, its AP. Separated
            by commas or spaces in a string.

    Returns:
        For each name, as it was given, the measure of ir-measures.

    Raises:
        InputError: there is no such measure, or none was named.
    """
    import ir_measures

    parts = re.split(r"[,\s]+(?![^(]*\))", names) if isinstance(names, str) else list(names)
    parsed: dict[str, Any] = {}
    for name in parts:
        if not name:
            continue
        theirs = name
        for ours, known in _OUR_NAMES:
            if re.match(rf"{ours}(\W|$)", name):
                theirs = known + name[len(ours) :]
        try:
            measure = ir_measures.parse_measure(theirs)
            known_here = ir_measures.DefaultPipeline.supports(measure)  # type: ignore[no-untyped-call]
        except (NameError, ValueError, TypeError, SyntaxError, AssertionError):
            known_here = False
        if not known_here:
            raise InputError(
                f"unknown measure {name!r}: write it as ir-measures does, as in R@10, MRR@10, "
                "nDCG@10, mAP, Success@5"
            )
        parsed[name] = measure
    if not parsed:
        raise InputError("no measure is named: give some, as in R@10,MRR@10")
    return parsed


def depth_of(names: str | Iterable[str]) -> int:
    """How many hits a question these measures look at: the largest cutoff of theirs.

    Raises:
        InputError: there is no such measure.
    """
    return max(
        int(measure.params.get("cutoff", FULL_DEPTH)) for measure in parse_measures(names).values()
    )


def score(judged: JudgedRun, measures: str | Iterable[str] = MEASURES) -> Scores:
    """The value of every measure for every judged question.

    A question without hits, or missing from the run, scores 0. Hits of questions that nobody
    judged count for nothing.

    Raises:
        InputError: there are no judgements, a question's language is not known, or there is no
            such measure.
    """
    import ir_measures

    named = parse_measures(measures)
    qrels = [ir_measures.Qrel(q.question_id, q.passage_id, q.relevance) for q in judged.qrels]
    if not qrels:
        raise InputError("there are no judged questions to measure")
    ids = {qrel.query_id for qrel in qrels}
    if unknown := sorted(ids - judged.languages.keys()):
        raise InputError(f"question {unknown[0]!r} has judgements but no language is known of it")
    questions = sorted(ids, key=lambda each: (judged.languages[each], each))
    place = {question: number for number, question in enumerate(questions)}
    # The rank stands for the score: tools break ties in scores in different ways.
    ranked = [
        ir_measures.ScoredDoc(question, hit.id, float(-rank))
        for question in questions
        for rank, hit in enumerate(judged.run.get(question, ()))
    ]
    names: dict[Any, list[str]] = {}
    for name, measure in named.items():
        names.setdefault(measure, []).append(name)
    values = {name: np.zeros(len(questions)) for name in named}
    for each in ir_measures.iter_calc(list(names), qrels, ranked):
        for name in names[each.measure]:
            values[name][place[each.query_id]] = each.value
    return Scores(
        judged.system,
        tuple(questions),
        tuple(judged.languages[each] for each in questions),
        tuple(judged.clusters.get(each, each) for each in questions),
        values,
        np.array([not judged.run.get(each) for each in questions], dtype=np.bool_),
    )


def rows_of(scores: Scores, *, resamples: int = 0, seed: int = SEED) -> list[Row]:
    """Figures of each language, and of the mean over languages.

    Args:
        scores: what :func:`score` found.
        resamples: of the bootstrap that intervals come from; 0 for no intervals.
        seed: of the bootstrap.

    Returns:
        For each language, sorted, and last for the average over languages, one row a measure.
    """
    places = scores.places()
    averaged = scores.averaged()
    rows: dict[tuple[str, str], Row] = {}
    for name, values in scores.values.items():
        intervals = (
            bootstrap(values, scores.strata(), averaged, resamples=resamples, seed=seed)
            if resamples
            else None
        )
        means = {language: mean(values[at]) for language, at in places.items()}
        lines = [(language, means[language], places[language]) for language in places]
        if averaged:
            average = mean([means[language] for language in averaged])
            lines.append((AVERAGE, average, [p for each in averaged for p in places[each]]))
        for language, value, at in lines:
            low, high = (None, None) if intervals is None else intervals[_key(language)]
            missing = int(scores.missing[at].sum())
            rows[language, name] = Row(
                scores.system, language, name, value, len(at), low, high, missing
            )
    languages = [*places, *([AVERAGE] if averaged else [])]
    return [rows[language, name] for language in languages for name in scores.values]


def measure(
    system: str,
    qrels: Iterable[Qrel],
    run: Mapping[str, Sequence[Found]],
    languages: Mapping[str, str],
    *,
    measures: str | Iterable[str] = MEASURES,
    without: str = "en",
    resamples: int = 0,
) -> list[Row]:
    """Measure a run: :func:`score`, then :func:`rows_of`.

    Args:
        system: what rows call it.
        qrels: judgements of all questions that were asked.
        run: for each question id its hits, best first.
        languages: the language of each question id.
        measures: their names, see :func:`parse_measures`.
        without: the language left out of the average, the passages' own.
        resamples: of the bootstrap that intervals come from; 0 for no intervals.

    Raises:
        InputError: there are no judgements, or no such measure.
    """
    from dataclasses import replace

    scores = score(JudgedRun(system, tuple(qrels), run, languages), measures)
    return rows_of(replace(scores, without=without), resamples=resamples)


def mean(values: Iterable[float]) -> float:
    """The mean, of an exactly rounded sum: the order of the values does not matter."""
    taken = [float(value) for value in values]
    return math.fsum(taken) / len(taken)


def _key(language: str) -> str | None:
    """What the bootstrap calls a line: None is the average."""
    return None if language == AVERAGE else language
