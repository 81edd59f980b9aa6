"""The records that flow through the house, all frozen.

Data flows one way: passages, queries, vectors, collection, hits, metrics.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Passage:
    """A text to be found.

    Attributes:
        id: the user's own identifier, unique in a collection.
        text: the passage itself.
        title: title of the document it comes from; encoded in front of the text.
        lang: ISO 639 code of the passage's language, if known.
        metadata: the user's own JSON fields; stored under ``metadata`` in the payload.
    """

    id: str
    text: str
    title: str = ""
    lang: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GeneratedQuery:
    """A query written for a passage at indexing time, in a user's language.

    Attributes:
        passage_id: the passage that it is about.
        lang: ISO 639 code of its language.
        text: the query.
        score: the generator's or the filter's score, if there is one.
    """

    passage_id: str
    lang: str
    text: str
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """A question that an evaluation asks.

    Attributes:
        id: unique among the questions of one evaluation.
        lang: ISO 639 code of its language.
        text: the question.
    """

    id: str
    lang: str
    text: str


@dataclass(frozen=True, slots=True)
class AnsweredQuestion:
    """A question whose answers are texts to be found, not passages.

    Attributes:
        question: the question.
        answers: any of them will do; empty where it has none.
        cluster: what its translations have in common, "" where it has none.
    """

    question: Question
    answers: tuple[str, ...]
    cluster: str = ""


@dataclass(frozen=True, slots=True)
class Prediction:
    """The texts found for a question, as XOR-TyDi's predictions have them.

    Attributes:
        question_id: the question.
        lang: its language, as the prediction says it.
        texts: of the passages found, best first.
    """

    question_id: str
    lang: str
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Qrel:
    """A relevance judgement: this passage answers that question.

    Attributes:
        question_id: the question judged.
        passage_id: the passage judged.
        relevance: 0 is not relevant, 1 and more are degrees of relevance.
    """

    question_id: str
    passage_id: str
    relevance: int = 1


@dataclass(frozen=True, slots=True)
class ScoredPassage:
    """What a run keeps of a hit.

    Attributes:
        id: the passage's own identifier.
        score: higher is better.
    """

    id: str
    score: float


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage found, best first in every list of hits.

    Attributes:
        id: the passage's own identifier.
        score: the dot product of the question's vector and the passage's; higher is better.
        title: the passage's title, "" if it has none.
        text: the passage.
        lang: its language, if known.
        metadata: the user's own fields.
        queries: the generated queries stored with the passage.
    """

    id: str
    score: float
    title: str
    text: str
    lang: str | None
    metadata: Mapping[str, Any]
    queries: tuple[GeneratedQuery, ...]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a long piece of work is.

    Attributes:
        stage: ``checking`` the input, ``loading``, ``optimizing``, ``verifying``, ``encoding``,
            ``scoring``, ``generating``, ``copying`` or ``backing up``.
        done: records that were checked, or passages that are dealt with.
        total: passages in all; 0 while it is not known.
        queries: that were written; None where none are.
    """

    stage: str
    done: int
    total: int
    queries: int | None = None
