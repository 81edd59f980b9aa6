"""Vectors held in memory, and fused anew for every setting: what sweeps need.

Scores are linear in what is summed, so that passages, queries and questions are encoded once (or
read from a collection, :mod:`xqg_qdrant.evaluation.stored`) and every alpha, number of queries and
choice of languages is a matter of two matrix products. The arithmetic is that of the layouts
(:mod:`xqg_qdrant.layouts`), the lexical side and the fusion are the product's own; that
collections give the same figures is tested.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from xqg_qdrant.collection import point_id
from xqg_qdrant.errors import InputError
from xqg_qdrant.evaluation.additions import Added, SingleVectors
from xqg_qdrant.evaluation.lexical_side import LexicalSide
from xqg_qdrant.evaluation.measures import JudgedRun
from xqg_qdrant.evaluation.trials import EVERY_FOLD, EVERYONE, Addition, Trial
from xqg_qdrant.fusion import Matrix, check_alpha, total_mass
from xqg_qdrant.hybrid import DEPTH, MAXSIM_PERFECT, Ranking, fuse_rankings
from xqg_qdrant.lexical import LexicalSettings
from xqg_qdrant.models.encoder import passage_text
from xqg_qdrant.records import Progress, ScoredPassage

if TYPE_CHECKING:
    from xqg_qdrant.evaluation.stored import Stored
    from xqg_qdrant.models.encoder import Encoder, Kind

QUERIES, SENTENCES, TRANSLATIONS = "queries", "sentences", "translations"

_BLOCK = 256
"""Questions compared at a time."""

_LEXICAL_SIDES = 8
"""Kept at a time; most systems are asked in every setting before the next."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What a system may be tuned by.

    Attributes:
        alpha: the paper's: weight of every query beside the passage.
        beta: the passage in the asker's language instead of the passage itself, from 0 to 1.
        rest: weight of queries in other languages than the asker's, where those weigh 1.
    """

    alpha: float = 0.0
    beta: float = 0.0
    rest: float = 0.0

    def __post_init__(self) -> None:
        for each in (self.alpha, self.beta, self.rest):
            check_alpha(each)


@dataclass(frozen=True, slots=True)
class System:
    """A way to augment: ``(1 - a) ((1 - b) E(p) + b E(p'))  +  a sum_q E(q)``.

    Attributes:
        name: of the system.
        source: what is summed: ``queries`` or ``sentences``; "" for nothing.
        languages: of the queries that an asker of this language is scored by; the asker's own
            when None.
        first: so many queries of each passage and language; all when None.
        translated: beta has a meaning: p' is the passage in the asker's language.
        weighted: rest has a meaning, as layout ``tunable`` lets it.
        maxsim: nothing is summed: the best of the passage and its queries, whatever their
            language, is the score, as layout ``multivector`` has it.
        hybrid: fused with the lexical ranking, of the passage and of what augments it.
        heard: languages whose queries the lexical side compares with; the asker's own when None.
    """

    name: str
    source: str = ""
    languages: Callable[[str], Sequence[str]] | None = field(default=None, compare=False)
    first: int | None = None
    translated: bool = False
    weighted: bool = False
    maxsim: bool = False
    hybrid: bool = False
    heard: Callable[[str], Sequence[str]] | None = field(default=None, compare=False)


class Bench:
    """A trial's texts, encoded once.

    Args:
        encoder: of all of them.
        trial: the texts.
        stored: where vectors of passages and queries are read from, of the same trial; both are
            encoded when None.
        progress: called while encoding.

    Raises:
        InputError: an addition or a judgement is of a passage that is not in the pool.
    """

    def __init__(
        self,
        encoder: Encoder,
        trial: Trial,
        *,
        stored: Stored | None = None,
        progress: Callable[[Progress], None] | None = None,
    ) -> None:
        self.default_alphas = encoder.manifest.alphas
        # Equal scores are ranked by point id, as engines do.
        pool = sorted(trial.passages, key=lambda passage: point_id(passage.id))
        self._pool = pool
        self._points = [point_id(passage.id) for passage in pool]
        self._ids = dict(zip(self._points, (passage.id for passage in pool), strict=True))
        self._rows = {passage.id: row for row, passage in enumerate(pool)}
        self.trial = trial
        texts = (*trial.queries, *trial.sentences, *trial.translations)
        for passage_id in [each.passage_id for part in (trial.qrels, texts) for each in part]:
            if passage_id not in self._rows:
                raise InputError(f"passage {passage_id!r} is not in the pool")
        total = len(trial.asked) + len(trial.sentences) + len(trial.translations)
        total += 0 if stored else len(pool) + len(trial.queries)
        done = 0

        def encode(texts: Sequence[str], kind: Kind) -> Matrix:
            nonlocal done
            parts = [np.zeros((0, encoder.dimension), dtype=np.float32)]
            for part in encoder.stream(texts, kind):
                parts.append(part.vectors)
                done += len(part.vectors)
                if progress is not None:
                    progress(Progress("encoding", done, total))
            return np.concatenate(parts)

        def singles(found: Sequence[Addition], kind: Kind) -> SingleVectors:
            vectors = encode([each.text for each in found], kind)
            return SingleVectors(vectors, found, self._rows)

        self._passages: Sequence[Matrix]
        self._lengths: Sequence[Mapping[str, float]]
        self._added: dict[str, Added] = {}
        if stored is not None:
            self._passages, self._added[QUERIES] = stored.passages, stored.queries
            self._lengths, self._settings = stored.lengths, stored.lexical
        else:
            self._passages = [encode([passage_text(each) for each in pool], "passage")]
            self._added[QUERIES] = singles(trial.queries, "query")
            self._lengths, self._settings = (), LexicalSettings()
        self._questions = encode([each.question.text for each in trial.asked], "query")
        self._added[SENTENCES] = singles(trial.sentences, "query")
        self._translations = singles(trial.translations, "passage")
        self._lexical = lru_cache(maxsize=_LEXICAL_SIDES)(self._lexical_side)
        self._summed = lru_cache(maxsize=None)(self._count)

    @property
    def most_queries(self) -> int:
        """Most queries that a passage has in one language and fold.

        Raises:
            InputError: the collection that they are read from keeps sums alone.
        """
        return self._added[QUERIES].most

    @property
    def single_queries(self) -> bool:
        """Whether each query has a vector of its own here, not their sums alone."""
        return isinstance(self._added[QUERIES], SingleVectors)

    @property
    def query_languages(self) -> tuple[str, ...]:
        """The languages of the queries, sorted."""
        return self._added[QUERIES].languages

    def runs(self, system: System, settings: Sequence[Setting], *, depth: int) -> list[JudgedRun]:
        """What a system finds in each setting.

        A question in whose language there is not one query is scored by the passage alone, as
        the layout ``per-language`` does.

        Raises:
            InputError: the system needs single queries, where a collection keeps sums alone.
        """
        found: list[dict[str, Sequence[ScoredPassage]]] = [{} for _ in settings]
        for (fold, language), places in self._blocks():
            dense, fused = self._dense(system, fold, language), max(depth, DEPTH)
            for start in range(0, len(places), _BLOCK):
                block = places[start : start + _BLOCK]
                scored = dense(self._questions[block], settings)
                lexical: dict[float, list[Ranking]] = {}
                for setting, scores, run in zip(settings, scored, found, strict=True):
                    if system.hybrid and setting.rest not in lexical:
                        lexical[setting.rest] = self._lexical_rankings(
                            system, fold, language, setting.rest, block, fused
                        )
                    perfect = self._perfect(system, setting, fold, language)
                    for number, place in enumerate(block):
                        hits = self._best(scores[number], fused if system.hybrid else depth)
                        if system.hybrid:
                            question = self._questions[place]
                            hits = fuse_rankings(
                                hits,
                                lexical[setting.rest][number],
                                depth,
                                perfect=float(question @ question) * perfect,
                            )
                        run[self.trial.asked[place].question.id] = self._named(hits)
        languages = {each.question.id: each.question.lang for each in self.trial.asked}
        clusters = {each.question.id: each.cluster for each in self.trial.asked}
        return [
            JudgedRun(system.name, tuple(self.trial.qrels), run, languages, clusters)
            for run in found
        ]

    def _blocks(self) -> Iterable[tuple[tuple[int, str], npt.NDArray[np.intp]]]:
        blocks: dict[tuple[int, str], list[int]] = {}
        for place, each in enumerate(self.trial.asked):
            blocks.setdefault((each.fold, each.question.lang), []).append(place)
        return [(key, np.array(blocks[key], dtype=np.intp)) for key in sorted(blocks)]

    def _dense(
        self, system: System, fold: int, language: str
    ) -> Callable[[Matrix, Sequence[Setting]], Iterator[Matrix]]:
        """Scores, (questions, passages), of questions in each setting."""
        passages = self._passages[fold if len(self._passages) > 1 else 0]
        summed, others, singles, translated = None, None, None, None
        if system.maxsim:
            singles = self._added[system.source].singles(fold)
        elif system.source:
            wanted = [language] if system.languages is None else system.languages(language)
            added = self._added[system.source]
            summed = added.total(wanted, fold, system.first)
            if system.weighted:
                rest = [each for each in added.languages if each not in wanted]
                others = added.total(rest, fold, system.first)
        if system.translated:
            translated = self._translations.in_place_of(passages, language)

        def scored(asked: Matrix, settings: Sequence[Setting]) -> Iterator[Matrix]:
            plain = asked @ passages.T
            by_queries = None if summed is None else asked @ summed.T
            by_others = None if others is None else asked @ others.T
            by_translation = None if translated is None else asked @ translated.T
            for setting in settings:
                scores = plain
                if by_translation is not None and setting.beta:
                    scores = (1 - setting.beta) * scores + setting.beta * by_translation
                by_all = by_queries
                if by_others is not None and setting.rest:
                    by_all = setting.rest * by_others + (0.0 if by_queries is None else by_queries)
                if by_all is not None and setting.alpha:
                    scores = (1 - setting.alpha) * scores + setting.alpha * by_all
                if singles is not None:
                    scores = _with_best(scores, asked @ singles[0].T, singles[1])
                yield scores

        return scored

    def _perfect(self, system: System, setting: Setting, fold: int, language: str) -> float:
        """A perfect match's score over the question's with itself, as a search has it."""
        if not system.source:
            return 1.0
        if system.maxsim:
            return MAXSIM_PERFECT
        wanted = [language] if system.languages is None else system.languages(language)
        mean, known = self._summed(system.source, fold, system.first)
        weight = float(len(known.intersection([*wanted, EVERYONE])))
        if system.weighted:
            weight += setting.rest * (len(known) - weight)
        return total_mass(setting.alpha, mean * weight) if weight else 1.0

    def _count(self, source: str, fold: int, first: int | None) -> tuple[float, frozenset[str]]:
        """The mean number of queries that a sum is over, and the languages that there are."""
        taken = [language for _, language, _ in self._texts(source, fold, first)]
        known = frozenset(taken)
        return len(taken) / (len(self._pool) * len(known)) if known else 0.0, known

    def _lexical_rankings(
        self,
        system: System,
        fold: int,
        language: str,
        rest: float,
        block: npt.NDArray[np.intp],
        depth: int,
    ) -> list[Ranking]:
        """The lexical ranking of each question."""
        heard = [language] if system.heard is None else system.heard(language)
        weights = dict.fromkeys(self._added[QUERIES].languages, rest) if rest else {}
        weights.update(dict.fromkeys(heard, 1.0))
        side = self._lexical(system.source, fold, system.first, system.translated)
        texts = [self.trial.asked[place].question.text for place in block]
        return [
            [hit for hit in self._best(row, depth) if hit[1] > 0.0]
            for row in side.scores(texts, weights)
        ]

    def _lexical_side(
        self, source: str, fold: int, first: int | None, translated: bool
    ) -> LexicalSide:
        texts = [*self._texts(source, fold, first)]
        if translated:
            texts += self._texts(TRANSLATIONS, fold, first)
        # A passage's own words are in its own language.
        placed = [
            (row, language or self._pool[row].lang or "en", text) for row, language, text in texts
        ]
        # Those of a collection are of the passage and of all of its queries, of nothing else.
        same = source in ("", QUERIES) and first is None and not translated
        lengths = self._lengths[fold] if same and self._lengths else {}
        return LexicalSide(self._pool, placed, lengths=lengths, settings=self._settings)

    def _texts(self, source: str, fold: int, first: int | None) -> Iterator[tuple[int, str, str]]:
        """The texts that a system sums or hears in a fold: row of the pool, language, text."""
        counts: Counter[tuple[int, str]] = Counter()
        found = {
            QUERIES: self.trial.queries,
            SENTENCES: self.trial.sentences,
            TRANSLATIONS: self.trial.translations,
        }
        for each in found.get(source, ()):
            if each.fold in (fold, EVERY_FOLD):
                key = self._rows[each.passage_id], each.lang
                counts[key] += 1
                if first is None or counts[key] <= first:
                    yield (*key, each.text)

    def _best(self, scores: Matrix, depth: int) -> list[tuple[str, float]]:
        candidates = np.arange(len(scores))
        if len(scores) > depth:  # to sort a large pool for each question and setting takes long
            candidates = np.flatnonzero(scores >= np.partition(scores, -depth)[-depth])
        order = candidates[np.argsort(-scores[candidates], kind="stable")[:depth]]
        return [(self._points[row], float(scores[row])) for row in order]

    def _named(self, hits: Sequence[tuple[str, float]]) -> tuple[ScoredPassage, ...]:
        return tuple(ScoredPassage(self._ids[point], score) for point, score in hits)


def _with_best(scores: Matrix, singles: Matrix, rows: npt.NDArray[np.intp]) -> Matrix:
    """Scores, or the best of a passage's single vectors where that is better; rows are sorted."""
    if not len(rows):
        return scores
    starts = np.flatnonzero(np.diff(rows, prepend=-1))
    best = scores.copy()
    place = rows[starts]
    best[:, place] = np.maximum(best[:, place], np.maximum.reduceat(singles, starts, axis=1))
    return best


def among(languages: Mapping[str, Sequence[str]] | Sequence[str]) -> Callable[[str], Sequence[str]]:
    """Queries in these languages, whoever asks; or in those that a mapping says for each."""
    if isinstance(languages, Mapping):
        return lambda language: languages.get(language, ())
    return lambda language: languages
