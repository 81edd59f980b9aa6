"""Vectors held in memory, and fused anew for every setting: what sweeps need.

Scores are linear in what is summed, so that passages, queries and questions are encoded once and
every alpha, number of queries and choice of languages is a matter of two matrix products. The
arithmetic is that of the layouts (:mod:`xqg_qdrant.fusion`); that a collection gives the same
figures is tested.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from xqg_qdrant.errors import InputError
from xqg_qdrant.evaluation.measures import JudgedRun
from xqg_qdrant.fusion import Matrix, check_alpha
from xqg_qdrant.models.encoder import passage_text
from xqg_qdrant.records import Passage, Progress, Qrel, Question, ScoredPassage

if TYPE_CHECKING:
    from xqg_qdrant.models.encoder import Encoder, Kind

EVERY_FOLD = -1
EVERYONE = ""
"""Language of an addition that is for askers of every language, as the own sentences are."""

_BLOCK = 256
"""Questions compared at a time."""


@dataclass(frozen=True, slots=True)
class Addition:
    """A text that may be added to a passage's vector.

    Attributes:
        passage_id: whose.
        lang: its language, or EVERYONE.
        text: the text.
        fold: in which it may be used: that of the questions that it does not meet.
    """

    passage_id: str
    lang: str
    text: str
    fold: int = EVERY_FOLD


@dataclass(frozen=True, slots=True)
class Asked:
    """A question of an experiment.

    Attributes:
        question: the question.
        fold: that it is asked in.
        group: what is kept together in cross-validation, an article; the question's own id where
            there is nothing of the kind.
        cluster: what its translations have in common.
    """

    question: Question
    fold: int
    group: str
    cluster: str


@dataclass(frozen=True, slots=True)
class Trial:
    """What is needed for experiments on a data set.

    Attributes:
        name: of the data set.
        passages: the pool.
        asked: the questions.
        qrels: their answers.
        queries: generated, or others' questions in two folds.
        sentences: the passages' own, the control; empty where it was not asked for.
        translations: the passages in the askers' languages; empty where there are none.
    """

    name: str
    passages: Sequence[Passage]
    asked: Sequence[Asked]
    qrels: Sequence[Qrel]
    queries: Sequence[Addition] = ()
    sentences: Sequence[Addition] = ()
    translations: Sequence[Addition] = ()


@dataclass(frozen=True, slots=True)
class Setting:
    """What a system may be tuned by.

    Attributes:
        alpha: the paper's: weight of every query beside the passage.
        beta: the passage in the asker's language instead of the passage itself, from 0 to 1.
    """

    alpha: float = 0.0
    beta: float = 0.0

    def __post_init__(self) -> None:
        check_alpha(self.alpha)
        check_alpha(self.beta)


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
    """

    name: str
    source: str = ""
    languages: Callable[[str], Sequence[str]] | None = field(default=None, compare=False)
    first: int | None = None
    translated: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class _Encoded:
    """Additions of one source, encoded: rows, and what each row is."""

    vectors: Matrix
    rows: npt.NDArray[np.intp]
    languages: npt.NDArray[np.str_]
    folds: npt.NDArray[np.intp]
    orders: npt.NDArray[np.intp]


class Bench:
    """A trial's texts, encoded once.

    Args:
        encoder: of all of them.
        trial: the texts.
        progress: called while encoding.

    Raises:
        InputError: an addition or a judgement is of a passage that is not in the pool.
    """

    def __init__(
        self,
        encoder: Encoder,
        trial: Trial,
        *,
        progress: Callable[[Progress], None] | None = None,
    ) -> None:
        self.trial = trial
        self.encoder = encoder.name
        self._rows = {passage.id: row for row, passage in enumerate(trial.passages)}
        for qrel in trial.qrels:
            self._row(qrel.passage_id)
        total = len(trial.passages) + len(trial.asked)
        total += len(trial.queries) + len(trial.sentences) + len(trial.translations)
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

        def additions(found: Sequence[Addition], kind: Kind) -> _Encoded:
            orders: dict[tuple[str, str, int], int] = {}
            places = []
            for each in found:
                key = each.passage_id, each.lang, each.fold
                places.append(orders.get(key, 0))
                orders[key] = places[-1] + 1
            return _Encoded(
                encode([each.text for each in found], kind),
                np.array([self._row(each.passage_id) for each in found], dtype=np.intp),
                np.array([each.lang for each in found], dtype=np.str_),
                np.array([each.fold for each in found], dtype=np.intp),
                np.array(places, dtype=np.intp),
            )

        self._passages = encode([passage_text(each) for each in trial.passages], "passage")
        self._questions = encode([each.question.text for each in trial.asked], "query")
        self._additions = {
            "queries": additions(trial.queries, "query"),
            "sentences": additions(trial.sentences, "query"),
            "translations": additions(trial.translations, "passage"),
        }
        self._ids = [passage.id for passage in trial.passages]

    @property
    def most_queries(self) -> int:
        """Most queries that a passage has in one language and fold."""
        orders = self._additions["queries"].orders
        return int(orders.max()) + 1 if len(orders) else 0

    @property
    def query_languages(self) -> tuple[str, ...]:
        """The languages of the queries, sorted."""
        return tuple(sorted(set(self._additions["queries"].languages.tolist())))

    def runs(self, system: System, settings: Sequence[Setting], *, depth: int) -> list[JudgedRun]:
        """What a system finds in each setting.

        A question in whose language there is not one query is scored by the passage alone, as
        the layout ``per-language`` does.
        """
        found: list[dict[str, Sequence[ScoredPassage]]] = [{} for _ in settings]
        passages = self._passages
        for (fold, language), places in self._blocks():
            summed = self._sum(system, fold, language)
            translated = self._translated(language) if system.translated else None
            for start in range(0, len(places), _BLOCK):
                block = places[start : start + _BLOCK]
                asked = self._questions[block]
                plain = asked @ passages.T
                by_queries = None if summed is None else asked @ summed.T
                by_translation = None if translated is None else asked @ translated.T
                for setting, run in zip(settings, found, strict=True):
                    scores = plain
                    if by_translation is not None and setting.beta:
                        scores = (1 - setting.beta) * scores + setting.beta * by_translation
                    if by_queries is not None and setting.alpha:
                        scores = (1 - setting.alpha) * scores + setting.alpha * by_queries
                    for place, row in zip(block, scores, strict=True):
                        run[self.trial.asked[place].question.id] = self._best(row, depth)
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

    def _sum(self, system: System, fold: int, language: str) -> Matrix | None:
        """``sum_q E(q)`` of every passage, None where there is nothing to add."""
        if not system.source:
            return None
        found = self._additions[system.source]
        wanted = [language] if system.languages is None else system.languages(language)
        kept = np.isin(found.languages, [*wanted, EVERYONE])
        if not kept.any():
            return None
        kept &= (found.folds == fold) | (found.folds == EVERY_FOLD)
        if system.first is not None:
            kept &= found.orders < system.first
        total = np.zeros(self._passages.shape, dtype=np.float64)
        np.add.at(total, found.rows[kept], found.vectors[kept])
        return total.astype(np.float32)

    def _translated(self, language: str) -> Matrix:
        """The passages in a language, themselves where they are not translated."""
        found = self._additions["translations"]
        kept = found.languages == language
        vectors = self._passages.copy()
        vectors[found.rows[kept]] = found.vectors[kept]
        return vectors

    def _best(self, scores: npt.NDArray[np.floating], depth: int) -> tuple[ScoredPassage, ...]:
        order = np.argsort(-scores, kind="stable")[:depth]
        return tuple(ScoredPassage(self._ids[row], float(scores[row])) for row in order)

    def _row(self, passage_id: str) -> int:
        try:
            return self._rows[passage_id]
        except KeyError:
            raise InputError(f"passage {passage_id!r} is not in the pool") from None


def own_language(language: str) -> Sequence[str]:
    """Queries in the asker's language alone, as layout ``per-language`` has them."""
    return (language,)


def among(languages: Mapping[str, Sequence[str]] | Sequence[str]) -> Callable[[str], Sequence[str]]:
    """Queries in these languages, whoever asks; or in those that a mapping says for each."""
    if isinstance(languages, Mapping):
        return lambda language: languages.get(language, ())
    return lambda language: languages
