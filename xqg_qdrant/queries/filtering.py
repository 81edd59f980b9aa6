"""Leaving out generated queries that would do harm.

A generator writes queries that its passage does not answer, and Doc2Query-- (Gospodinov, MacAvaney
and Macdonald, ECIR 2023, https://arxiv.org/abs/2301.03266) showed that a search is better without
them: score every query against its passage, keep the best. Here the encoder itself scores, by the
similarity that the search will use.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from xqg_qdrant.corpus.staging import Augmented, Staging
from xqg_qdrant.corpus.writing import replacing
from xqg_qdrant.errors import InputError
from xqg_qdrant.fusion import Matrix
from xqg_qdrant.languages import LanguageDetector
from xqg_qdrant.models.encoder import Encoder, passage_text
from xqg_qdrant.queries.output import query_line
from xqg_qdrant.records import GeneratedQuery, Passage, Progress

BATCH_SIZE = 256
"""Passages scored at a time, with their queries."""

_COMPARED = 4_096
"""Passages compared with a batch of queries at a time in the round trip."""

KEPT, OTHER_LANGUAGE, NOT_FOUND, LOW_SCORE = range(4)
REASONS = {
    OTHER_LANGUAGE: "other language",
    NOT_FOUND: "does not find its passage",
    LOW_SCORE: "low score",
}
"""Why a query is left out, in the order in which the checks are made."""


@dataclass(frozen=True, slots=True)
class Criteria:
    """What a query must be to be kept; all that are given must hold.

    Attributes:
        keep: share of each language's queries that is kept, the best by score. Of each language,
            because encoders score languages differently, and the worst of them would vanish.
        min_score: least similarity of a query and its passage.
        round_trip: the query, asked, must find its passage among so many.
        check_language: the query must be in the language that it says.
    """

    keep: float | None = None
    min_score: float | None = None
    round_trip: int | None = None
    check_language: bool = False

    def check(self) -> None:
        """Check the values.

        Raises:
            InputError: one is out of its range, or none is given.
        """
        if self.keep is not None and not 0 < self.keep <= 1:
            raise InputError(f"keep is {self.keep:g}: give a share above 0, at most 1")
        if self.min_score is not None and not np.isfinite(self.min_score):
            raise InputError(f"min_score is {self.min_score}: give a number")
        if self.round_trip is not None and self.round_trip < 1:
            raise InputError(f"round_trip is {self.round_trip}: give a positive number of passages")
        if self == Criteria():
            raise InputError(
                "nothing to filter by: give keep, min_score, round_trip or check_language"
            )


@dataclass(frozen=True, slots=True)
class FilterReport:
    """What a filter did.

    Attributes:
        read: queries, by language.
        kept: queries, by language.
        dropped: queries by reason, the first that held; see ``REASONS``.
        lowest: score of the last query kept, by language.
        undetectable: languages that the detector does not know; their queries passed its check.
        encoder: its name.
    """

    read: Mapping[str, int]
    kept: Mapping[str, int]
    dropped: Mapping[str, int]
    lowest: Mapping[str, float]
    undetectable: tuple[str, ...]
    encoder: str


class _Scored(NamedTuple):
    """All queries, in the order of their passages."""

    scores: NDArray[np.float32]
    languages: NDArray[np.int32]
    verdicts: NDArray[np.int8]


def filter_queries(
    passages: Iterable[tuple[str, Passage]],
    queries: Iterable[tuple[str, GeneratedQuery]],
    out: Path,
    *,
    encoder: Encoder,
    criteria: Criteria,
    progress: Callable[[Progress], None] | None = None,
) -> FilterReport:
    """Write the queries that are worth keeping, each with its score.

    Memory is flat but for a few bytes a query, and for the round trip all passages' vectors.

    Args:
        passages: checked passages, each with where it stands.
        queries: checked queries of them, each with where it stands.
        out: JSONL in the order of the passages; appears whole or not at all, and replaces an
            older file. Its ``score`` is the similarity of query and passage, as searches score.
        encoder: scores.
        criteria: what a query must be.
        progress: called while working.

    Raises:
        InputError: the criteria are wrong, the input is, or there are no queries.
        StorageError: the disk is full.
        ModelError: the encoder fails.
    """
    criteria.check()
    with Staging() as staging:
        staging.add_passages(passages)
        staging.add_queries(queries)
        if not staging.queries:
            raise InputError("there are no queries to filter: the input is empty")
        codes = sorted(staging.queries)
        detector = LanguageDetector([*codes, "en"]) if criteria.check_language else None
        run = _Run(staging, encoder, criteria, codes, detector, progress)
        scored = run.score()
        _leave_out_low_scores(scored, criteria, len(codes))
        with replacing(out) as stream:
            for number, query in enumerate(run.all_queries()):
                if scored.verdicts[number] == KEPT:
                    kept = replace(query, score=float(scored.scores[number]))
                    stream.write(query_line(kept))
        return _report(scored, codes, staging, detector, encoder.name)


class _Run:
    def __init__(
        self,
        staging: Staging,
        encoder: Encoder,
        criteria: Criteria,
        codes: list[str],
        detector: LanguageDetector | None,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self._staging = staging
        self._encoder = encoder
        self._criteria = criteria
        self._code = {code: number for number, code in enumerate(codes)}
        self._detector = detector
        self._progress = progress

    def all_queries(self) -> Iterator[GeneratedQuery]:
        for batch in self._staging.batches(BATCH_SIZE):
            for _, queries in batch:
                yield from queries

    def score(self) -> _Scored:
        """Score every query, and check all but the scores."""
        round_trip = self._criteria.round_trip
        pool = self._pool() if round_trip is not None else None
        scores, languages, verdicts = [], [], []
        done = 0
        for batch in self._staging.batches(BATCH_SIZE):
            own = pool[done : done + len(batch)] if pool is not None else self._vectors(batch)
            asked = [query for _, queries in batch for query in queries]
            owner = np.repeat(np.arange(len(batch)), [len(each.queries) for each in batch])
            vectors = self._encoder.encode([query.text for query in asked], "query").vectors
            found = np.einsum("nd,nd->n", vectors, own[owner])
            verdict = np.full(len(asked), KEPT, dtype=np.int8)
            if pool is not None and round_trip is not None:
                verdict[self._ranks(vectors, found, pool) > round_trip] = NOT_FOUND
            verdict[[self._is_other(query) for query in asked]] = OTHER_LANGUAGE
            scores.append(found.astype(np.float32))
            languages.append(np.array([self._code[query.lang] for query in asked], dtype=np.int32))
            verdicts.append(verdict)
            done += len(batch)
            self._show("scoring", done)
        return _Scored(np.concatenate(scores), np.concatenate(languages), np.concatenate(verdicts))

    def _pool(self) -> Matrix:
        pool = np.empty((self._staging.passages, self._encoder.dimension), dtype=np.float32)
        done = 0
        for batch in self._staging.batches(BATCH_SIZE):
            pool[done : done + len(batch)] = self._vectors(batch)
            done += len(batch)
            self._show("encoding", done)
        return pool

    def _vectors(self, batch: list[Augmented]) -> Matrix:
        texts = [passage_text(each.passage) for each in batch]
        return self._encoder.encode(texts, "passage").vectors

    def _ranks(self, vectors: Matrix, own: NDArray[np.float32], pool: Matrix) -> NDArray[np.int64]:
        """Where each query finds its passage, from 1; one that scores the same comes no earlier."""
        ranks = np.ones(len(vectors), dtype=np.int64)
        for first in range(0, len(pool), _COMPARED):
            scores = vectors @ pool[first : first + _COMPARED].T
            # Two ways of summing differ in the last digits; its own passage is not ahead of itself.
            ranks += (scores > own[:, None] + 1e-6).sum(axis=1)
        return ranks

    def _is_other(self, query: GeneratedQuery) -> bool:
        if self._detector is None or query.lang in self._detector.undetectable:
            return False
        return self._detector.detect(query.text) != query.lang

    def _show(self, stage: str, done: int) -> None:
        if self._progress:
            self._progress(Progress(stage, done, self._staging.passages))


def _leave_out_low_scores(scored: _Scored, criteria: Criteria, languages: int) -> None:
    low = np.zeros(len(scored.scores), dtype=bool)
    if criteria.min_score is not None:
        low |= scored.scores < criteria.min_score
    if criteria.keep is not None:
        for language in range(languages):
            mine = np.flatnonzero(scored.languages == language)
            best_first = mine[np.argsort(-scored.scores[mine], kind="stable")]
            low[best_first[int(np.ceil(criteria.keep * len(mine))) :]] = True
    scored.verdicts[low & (scored.verdicts == KEPT)] = LOW_SCORE


def _report(
    scored: _Scored,
    codes: list[str],
    staging: Staging,
    detector: LanguageDetector | None,
    encoder: str,
) -> FilterReport:
    kept = scored.verdicts == KEPT
    counts = Counter(scored.verdicts.tolist())
    lowest = {}
    for number, code in enumerate(codes):
        mine = scored.scores[kept & (scored.languages == number)]
        if len(mine):
            lowest[code] = float(mine.min())
    return FilterReport(
        read=dict(sorted(staging.queries.items())),
        kept={
            code: int((kept & (scored.languages == number)).sum())
            for number, code in enumerate(codes)
        },
        dropped={text: counts[number] for number, text in REASONS.items() if counts[number]},
        lowest=lowest,
        undetectable=tuple(detector.undetectable) if detector else (),
        encoder=encoder,
    )
