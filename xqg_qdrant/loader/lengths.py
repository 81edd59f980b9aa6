"""How long passages are on average, in terms: what BM25 compares each with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from xqg_qdrant.corpus.staging import Augmented, Staging
from xqg_qdrant.lexical import LexicalSettings, count_terms
from xqg_qdrant.models.encoder import passage_text

_BATCH = 256


def mean_lengths(
    staging: Staging, settings: LexicalSettings, fields: Collection[str]
) -> dict[str, float]:
    """The mean number of terms in each of these fields, over the passages that have it.

    A pass over all of the staged input, before the one that loads it.
    """
    totals: Counter[str] = Counter()
    passages: Counter[str] = Counter()
    for batch in staging.batches(_BATCH):
        for each in batch:
            for field, count in count_terms(settings, *texts_of(each)).items():
                totals[field] += count
                passages[field] += count > 0
    return {
        field: totals[field] / passages[field] if passages[field] else 1.0
        for field in sorted(fields)
    }


def texts_of(each: Augmented) -> tuple[str, list[str], list[str]]:
    """Text, queries and their languages, as lexical vectors are made of them."""
    queries = each.queries
    return (
        passage_text(each.passage),
        [query.text for query in queries],
        [query.lang for query in queries],
    )
