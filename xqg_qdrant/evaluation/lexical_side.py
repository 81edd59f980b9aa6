"""The lexical side of a hybrid collection, in memory: BM25 as the engine works it out.

Vectors are the product's own (:mod:`xqg_qdrant.lexical`), with the mean lengths that an ingest of
the same texts would count. The idf is Qdrant's (IDF modifier), ``ln(1 + (N - n + .5) / (n + .5))``
over N points with a lexical vector, n of them with the term; that a hybrid collection finds the
same with the same scores is tested.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from xqg_qdrant.lexical import Lexical, LexicalSettings, SparseVector
from xqg_qdrant.loader.lengths import Document, mean_lengths_of
from xqg_qdrant.models.encoder import passage_text
from xqg_qdrant.records import Passage

Scores = npt.NDArray[np.float32]
"""float32, (questions, passages)."""


class LexicalSide:
    """Lexical vectors of a pool, of which each passage has texts in the fields of languages.

    Args:
        passages: the pool.
        texts: of other fields, as (row of the passage, language, text).
        lengths: mean lengths of fields that a collection has counted already.
        settings: of the vectors.
    """

    def __init__(
        self,
        passages: Sequence[Passage],
        texts: Iterable[tuple[int, str, str]] = (),
        *,
        lengths: Mapping[str, float] | None = None,
        settings: LexicalSettings | None = None,
    ) -> None:
        settings = settings or LexicalSettings()
        added: dict[int, tuple[list[str], list[str]]] = {}
        for row, language, text in texts:
            queries, languages = added.setdefault(row, ([], []))
            queries.append(text)
            languages.append(language)
        documents: list[Document] = [
            (passage_text(passage), *added.get(row, ((), ())))
            for row, passage in enumerate(passages)
        ]
        counted = mean_lengths_of(documents, settings)
        self._lexical = Lexical(settings, counted | dict(lengths or {}))
        vectors = [self._lexical.passage_vector(*document) for document in documents]
        self._indices = _joined([vector.indices for vector in vectors], np.uint32)
        self._values = _joined([vector.values for vector in vectors], np.float32)
        sizes = [len(vector) for vector in vectors]
        self._rows = np.repeat(np.arange(len(vectors)), sizes)
        self._shape = len(vectors)
        self._points = sum(size > 0 for size in sizes)

    def scores(self, questions: Sequence[str], weights: Mapping[str, float]) -> Scores:
        """BM25 of every passage for each question; 0 where they share no term.

        Args:
            questions: their texts.
            weights: of the fields that they are compared with, beside the passage.
        """
        from scipy import sparse

        asked = [self._lexical.question_vector(text, weights) for text in questions]
        terms = np.unique(_joined([vector.indices for vector in asked], np.uint32))
        if not len(terms):
            return np.zeros((len(asked), self._shape), dtype=np.float32)
        places = np.searchsorted(terms, self._indices)
        kept = terms[np.minimum(places, len(terms) - 1)] == self._indices
        columns = places[kept]
        documents = sparse.csr_matrix(
            (self._values[kept], (self._rows[kept], columns)), shape=(self._shape, len(terms))
        )
        frequency = np.bincount(columns, minlength=len(terms))
        idf = np.log1p((self._points - frequency + 0.5) / (frequency + 0.5))
        wanted = sparse.csr_matrix(_cells(asked, terms, idf), shape=(len(asked), len(terms)))
        found: Scores = (wanted @ documents.T).toarray().astype(np.float32)
        return found


def _cells(
    asked: Sequence[SparseVector],
    terms: npt.NDArray[np.uint32],
    idf: npt.NDArray[np.float64],
) -> tuple[Any, tuple[Any, Any]]:
    """The questions' weights times the idf, with their rows and columns."""
    columns = np.searchsorted(terms, _joined([vector.indices for vector in asked], np.uint32))
    values = _joined([vector.values for vector in asked], np.float32)
    rows = np.repeat(np.arange(len(asked)), [len(vector) for vector in asked])
    return (values * idf[columns]).astype(np.float32), (rows, columns)


def _joined(arrays: Sequence[npt.NDArray[Any]], kind: type[np.generic]) -> npt.NDArray[Any]:
    return np.concatenate([np.zeros(0, dtype=kind), *arrays])
