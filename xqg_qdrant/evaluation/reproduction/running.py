"""Measuring the rows of the paper's table, and its figures, through real collections."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path

from xqg_qdrant.client import Client
from xqg_qdrant.errors import InputError
from xqg_qdrant.evaluation.answers import OFFICIAL, measure_answers
from xqg_qdrant.evaluation.asking import hits_of, load
from xqg_qdrant.evaluation.comparison import LEVEL, Comparison, compare, correct_over_systems
from xqg_qdrant.evaluation.experiments import ALPHAS, Curve
from xqg_qdrant.evaluation.measures import AVERAGE, Row, Scores, rows_of
from xqg_qdrant.evaluation.predicting import DEPTH, predict
from xqg_qdrant.evaluation.reproduction.inputs import Inputs, strange_size
from xqg_qdrant.evaluation.reproduction.paper import (
    ALPHA,
    FIGURES,
    LAYOUT,
    MEASURES,
    QUERIES,
    ROWS,
    PaperEncoder,
    PaperRow,
)
from xqg_qdrant.evaluation.statistics import RESAMPLES
from xqg_qdrant.evaluation.words import word_tokenizer
from xqg_qdrant.layouts import TunableLayout
from xqg_qdrant.loader import Progress
from xqg_qdrant.records import GeneratedQuery, Passage, Prediction

Connect = Callable[[Path], AbstractContextManager[Client]]
"""Opens a client with the encoder of that folder."""


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """A system's figures.

    Attributes:
        scores: of every question, those without a prediction as misses.
        official: the official script's figures, as the paper's.
    """

    scores: Scores
    official: tuple[Row, ...]

    def rows(self, resamples: int) -> tuple[Row, ...]:
        """All figures, the official ones first."""
        return (*self.official, *rows_of(self.scores, resamples=resamples))


@dataclass(slots=True)
class Reproduction:
    """What was measured.

    Attributes:
        table: by the names of rows.
        comparisons: of rows with xQG with the same encoder's without.
        figures: rows of the figures' systems.
        figure_comparisons: of them with the passages alone.
        curves: of the figures.
        notes: sentences.
        deviations: in what all this is not what the paper measured.
        passages: in the corpus.
    """

    table: dict[str, Measured] = field(default_factory=dict)
    comparisons: list[Comparison] = field(default_factory=list)
    figures: list[Row] = field(default_factory=list)
    figure_comparisons: list[Comparison] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    deviations: list[str] = field(default_factory=list)
    passages: int = 0


class _Counted:
    """Passages, and how many they were when last gone through."""

    def __init__(self, inputs: Inputs) -> None:
        self._corpus = inputs.corpus or ()
        self.number = 0

    def __iter__(self) -> Iterator[Passage]:
        number = 0
        for passage in self._corpus:
            number += 1
            yield passage
        self.number = number


_MANY = "mul"
"""Many languages, in ISO 639-2."""


class _OneSum:
    """Queries as of one language: the paper sums over all, and a sum each is seven times as big."""

    def __init__(self, queries: Iterable[GeneratedQuery]) -> None:
        self._queries = queries

    def __iter__(self) -> Iterator[GeneratedQuery]:
        for query in self._queries:
            yield replace(query, lang=_MANY)


def reproduce(
    inputs: Inputs,
    rows: Sequence[PaperRow],
    figures: Sequence[str],
    connect: Connect,
    *,
    resamples: int = RESAMPLES,
    progress: Callable[[Progress], None] | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Reproduction:
    """Measure rows of the table, and figures, of which nothing is missing.

    What is wrong with an encoder is found before anything is measured.

    Args:
        inputs: that the rows and figures need; rows that lack some are scored from what was found
            elsewhere.
        rows: to measure; with one that has xQG the one without is measured too.
        figures: ``alpha`` and ``queries``, for the encoders of the inputs.
        connect: opens a client for each encoder.
        resamples: of intervals and tests; no tests with 0.
        progress: called while loading.
        say: called with a sentence when a row is done.

    Raises:
        ModelError: an encoder's folder is damaged.
        CollectionMismatch: a collection found holds other data.
        XqgError: loading or searching failed.
    """
    word_tokenizer()  # what is missing is said before days of work, not after
    if unknown := set(figures) - set(FIGURES):
        raise InputError(f"no figure {sorted(unknown)[0]!r}: there are {', '.join(FIGURES)}")
    elsewhere = [row for row in rows if inputs.file_of(row) is not None]
    here = [row for row in rows if row not in elsewhere]
    wanted = {row.encoder.name for row in here} | (set(inputs.encoders) if figures else set())
    encoders = list(dict.fromkeys(row.encoder for row in ROWS if row.encoder.name in wanted))
    for encoder in encoders:
        inputs.encoders[encoder.name].verify_files()
    found = Reproduction(deviations=inputs.deviations(encoders))
    _score(found, inputs, elsewhere, say)
    passages = _Counted(inputs)
    for encoder in encoders:
        augmented = bool(figures) or any(row.augmented for row in here if row.encoder is encoder)
        with connect(inputs.encoders[encoder.name].folder) as client:
            work = _Work(client, inputs, encoder, passages, resamples, progress)
            plain, with_queries = work.table(augmented=augmented)
            for row, measured in zip(_rows_of(encoder), (plain, with_queries), strict=True):
                if measured is not None:
                    found.table[row.name] = measured
                    say(_done(row, measured))
            if "alpha" in figures:
                work.alpha(found)
            if "queries" in figures and with_queries is not None:
                work.queries(found, plain, with_queries)
    for row in ROWS:
        plain_row = _rows_of(row.encoder)[0]
        if resamples and row.augmented and {row.name, plain_row.name} <= found.table.keys():
            scores, baseline = (found.table[name].scores for name in (row.name, plain_row.name))
            found.comparisons += compare(scores, baseline, resamples=resamples)
    found.passages = passages.number
    if encoders and (strange := strange_size(passages.number)):
        found.deviations.append(strange)
    return found


def _score(
    found: Reproduction, inputs: Inputs, rows: Sequence[PaperRow], say: Callable[[str], None]
) -> None:
    """Rows of which another system says what it found."""
    predictions = inputs.predictions(rows)
    for row in rows:
        assert inputs.questions is not None
        scores, official = measure_answers(row.title, predictions[row.name], inputs.questions)
        found.table[row.name] = Measured(scores, tuple(official))
        if missing := int(scores.missing.sum()):
            found.deviations.append(
                f"{row.title}: {missing:,} questions have no prediction in {inputs.file_of(row)}, "
                "and the official script leaves them out"
            )
        found.notes.append(f"{row.title}: scored here, found elsewhere: {inputs.file_of(row)}.")
        say(_done(row, found.table[row.name]))


def _rows_of(encoder: PaperEncoder) -> list[PaperRow]:
    """Without xQG, and with it."""
    return [row for row in ROWS if row.encoder is encoder]


def _done(row: PaperRow, measured: Measured) -> str:
    parts = []
    for each in measured.official:
        measure = each.measure.removeprefix(f"{OFFICIAL} ")
        if each.language == AVERAGE:
            published = row.published.get((measure, AVERAGE))
            beside = "no published value" if published is None else f"published {published:.2f}"
            parts.append(f"{measure} {100 * each.value:.2f} ({beside})")
    return f"{row.title}, average: {', '.join(parts)}"


@dataclass(frozen=True, slots=True)
class _Work:
    """One encoder's collections, and what is asked of them."""

    client: Client
    inputs: Inputs
    encoder: PaperEncoder
    passages: _Counted
    resamples: int
    progress: Callable[[Progress], None] | None

    @property
    def name(self) -> str:
        """Of its collections; a sample has collections of its own."""
        limit = self.inputs.limit
        return f"reproduce-{self.encoder.name}" + ("" if limit is None else f"-first-{limit}")

    def table(self, *, augmented: bool) -> tuple[Measured, Measured | None]:
        """The row without xQG and, where it is wanted, the one with it."""
        rows = _rows_of(self.encoder)
        systems = self._predict(self.name, QUERIES if augmented else 0, plain=augmented)
        measured = [
            self._measured(row.title, predictions)
            # With queries comes first, as it does in 'xqg eval'.
            for row, (_, predictions) in zip(
                reversed(rows) if augmented else rows[:1], systems, strict=True
            )
        ]
        return measured[-1], measured[0] if augmented else None

    def alpha(self, found: Reproduction) -> None:
        """Effectiveness by alpha: of one collection, whose sum is weighed with each question."""
        name = f"{self.name}-alpha"
        load(
            self.client,
            name,
            self.passages,
            _OneSum(self.inputs.queries()),
            layout=TunableLayout.name,
            progress=self.progress,
        )
        points = {
            alpha: self._measured(
                f"{_rows_of(self.encoder)[1].title}, alpha {alpha:g}", self._asked(name, alpha)
            )
            for alpha in ALPHAS
        }
        self._figure(found, "alpha", points)

    def queries(self, found: Reproduction, plain: Measured, full: Measured) -> None:
        """Effectiveness by the number of queries of each passage and language."""
        points: dict[float, Measured] = {0: plain, QUERIES: full}
        for number in range(1, QUERIES):
            [(_, predictions)] = self._predict(f"{self.name}-{number}", number, plain=False)
            points[number] = self._measured("", predictions)
        named = {
            number: _renamed(point, f"{_rows_of(self.encoder)[1].title}, {number:g} a language")
            for number, point in sorted(points.items())
        }
        self._figure(found, "queries", named)

    def _predict(
        self, name: str, queries: int, *, plain: bool
    ) -> list[tuple[str, Iterator[Prediction]]]:
        assert self.inputs.questions is not None
        return predict(
            self.client,
            name,
            self.passages,
            self.inputs.queries(queries) if queries else (),
            [each for each in self.inputs.questions if each.answers],
            layout=LAYOUT,
            alpha=ALPHA,
            plain=plain,
            progress=self.progress,
        )

    def _asked(self, name: str, alpha: float) -> Iterator[Prediction]:
        assert self.inputs.questions is not None
        asked = [each.question for each in self.inputs.questions if each.answers]
        for question, hits in hits_of(
            self.client,
            name,
            asked,
            detect_language=False,
            depth=DEPTH,
            alpha=alpha,
            language_weights={_MANY: 1.0},
        ):
            yield Prediction(question.id, question.lang, tuple(hit.text for hit in hits))

    def _measured(self, system: str, predictions: Iterator[Prediction]) -> Measured:
        assert self.inputs.questions is not None
        scores, official = measure_answers(system, predictions, self.inputs.questions)
        return Measured(scores, tuple(official))

    def _figure(self, found: Reproduction, x: str, points: Mapping[float, Measured]) -> None:
        """Curves, rows, and tests of each point against the first, without queries."""
        for point in points.values():
            found.figures += point.rows(self.resamples)
        for measure in MEASURES:
            lines: dict[str, list[tuple[float, float]]] = {}
            for at, point in points.items():
                for row in point.official:
                    if row.measure == f"{OFFICIAL} {measure}":
                        lines.setdefault(row.language, []).append((at, row.value))
            title = f"{self.encoder.title} + xQG: {measure} by {_X[x]}"
            kept = {language: tuple(line) for language, line in lines.items()}
            found.curves.append(Curve(title, _X[x], measure, kept))
        if not self.resamples:
            return
        (_, first), *others = points.items()
        compared = correct_over_systems(
            [
                row
                for _, point in others
                for row in compare(point.scores, first.scores, resamples=self.resamples)
            ]
        )
        found.figure_comparisons += compared
        places = {point.scores.system: at for at, point in others}
        for measure in MEASURES:
            better = [
                f"{places[row.system]:g}"
                for row in compared
                if row.measure == measure
                and row.language == AVERAGE
                and row.difference > 0
                and row.t_test.bonferroni < LEVEL
            ]
            found.notes.append(
                f"{self.encoder.title}, {measure}, average: significantly better than without "
                f"queries at {_X[x]}: {', '.join(better) or 'none'} (paired t-test, Bonferroni "
                f"over {len(others)}, p < {LEVEL:g})."
            )


_X = {"alpha": "alpha", "queries": "queries a language"}


def _renamed(measured: Measured, name: str) -> Measured:
    official = tuple(replace(row, system=name) for row in measured.official)
    return Measured(replace(measured.scores, system=name), official)
