"""How long passages are on average, in terms: what BM25 compares each with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from xqg_qdrant.corpus.staging import Augmented, Staging
from xqg_qdrant.lexical import LexicalSettings, count_terms
from xqg_qdrant.models.encoder import passage_text

_BATCH = 256

Document = tuple[str, Sequence[str], Sequence[str]]
"""Text of a passage, its queries, and their languages, as lexical vectors are made of them."""


def mean_lengths(
    staging: Staging, settings: LexicalSettings, fields: Collection[str]
) -> dict[str, float]:
    """The mean number of terms in each of these fields, over the passages that have it.

    A pass over all of the staged input, before the one that loads it.
    """
    documents = (texts_of(each) for batch in staging.batches(_BATCH) for each in batch)
    means = mean_lengths_of(documents, settings)
    return {field: means.get(field, 1.0) for field in sorted(fields)}


def mean_lengths_of(documents: Iterable[Document], settings: LexicalSettings) -> dict[str, float]:
    """The mean number of terms in each field, over the documents that have any in it."""
    totals: Counter[str] = Counter()
    passages: Counter[str] = Counter()
    for document in documents:
        for field, count in count_terms(settings, *document).items():
            totals[field] += count
            passages[field] += count > 0
    return {
        field: total / passages[field] if passages[field] else 1.0
        for field, total in totals.items()
    }


def texts_of(each: Augmented) -> Document:
    """The document of a passage and its queries."""
    queries = each.queries
    return (
        passage_text(each.passage),
        [query.text for query in queries],
        [query.lang for query in queries],
    )
