"""Which of the teacher's wordpieces a student's token stands for, from translations alone.

IBM model 1, one language at a time: each English wordpiece of a pair is explained by one token of
the foreign side, and expectation maximisation finds p(wordpiece | token). English tokens need no
statistics: the two tokenizers cut the same characters. A token then starts as the mean of the
teacher's vectors of its wordpieces, weighted by these probabilities.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from training.corpus import LANGUAGES, Corpus
from training.progress import say
from training.vocabulary import UNKNOWN_ID

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

Ids = Sequence[int]

_LONGEST = 80
"""Tokens of a text; longer pairs are mostly noise to model 1, and cost the product of both."""


def model_one(
    pairs: Sequence[tuple[Ids, Ids]],
    shape: tuple[int, int],
    *,
    iterations: int = 5,
    most_links: int = 15_000_000,
) -> sp.csr_matrix:
    """Expected counts of (token, wordpiece) after ``iterations`` of model 1.

    Args:
        pairs: foreign token ids and English wordpiece ids.
        shape: sizes of the two vocabularies.
        iterations: of expectation maximisation.
        most_links: pairs are taken until there are so many possible links; bounds the memory
            (about 100 bytes each).
    """
    tokens: list[NDArray[np.int64]] = []
    pieces: list[NDArray[np.int64]] = []
    widths: list[NDArray[np.int64]] = []
    links = 0
    for foreign, english in pairs:
        if not foreign or not english or max(len(foreign), len(english)) > _LONGEST:
            continue
        # The unknown token stands for the empty word, which explains what nothing else does.
        candidates = np.array([UNKNOWN_ID, *foreign], dtype=np.int64)
        tokens.append(np.tile(candidates, len(english)))
        pieces.append(np.repeat(np.array(english, dtype=np.int64), len(candidates)))
        widths.append(np.full(len(english), len(candidates)))
        links += len(tokens[-1])
        if links >= most_links:
            break
    if not tokens:
        return sp.csr_matrix(shape)
    code = np.concatenate(tokens) * shape[1] + np.concatenate(pieces)
    width = np.concatenate(widths)
    del tokens, pieces, widths
    starts = np.concatenate([[0], np.cumsum(width)[:-1]])
    cells, cell = np.unique(code, return_inverse=True)
    del code
    row, column = cells // shape[1], cells % shape[1]
    counts: NDArray[np.float64] = np.ones(len(cells))
    for iteration in range(iterations):
        total = np.bincount(row, weights=counts, minlength=shape[0])
        # Before anything is known, every link is as likely as any other.
        probability = counts / total[row].astype(np.float64) if iteration else np.ones(len(cells))
        share = np.asarray(probability)[cell]
        share /= np.repeat(np.add.reduceat(share, starts), width)
        counts = np.asarray(np.bincount(cell, weights=share, minlength=len(cells)), np.float64)
    return sp.csr_matrix((counts, (row, column)), shape=shape)


def count_links(
    corpus: Corpus, student: Tokenizer, teacher: Tokenizer, *, english_texts: int = 120_000
) -> sp.csr_matrix:
    """How often each of the student's tokens stands for each of the teacher's wordpieces.

    Args:
        corpus: translations.
        student: its tokenizer; special tokens are left out.
        teacher: its tokenizer, without special tokens.
        english_texts: most English texts that both tokenizers cut.
    """
    shape = (student.get_vocab_size(), teacher.get_vocab_size())
    english = list(dict.fromkeys(pair.english for pair in corpus.pairs))
    rng = random.Random(0)
    sample = rng.sample(english, min(len(english), english_texts))
    counts = same_characters(
        student.encode_batch(sample, add_special_tokens=False), teacher.encode_batch(sample), shape
    )
    for language in LANGUAGES:
        mine = [pair for pair in corpus.pairs if pair.language == language]
        rng.shuffle(mine)
        foreign = student.encode_batch_fast(
            [pair.foreign for pair in mine], add_special_tokens=False
        )
        wordpieces = teacher.encode_batch_fast([pair.english for pair in mine])
        counts = counts + model_one(
            [(f.ids, e.ids) for f, e in zip(foreign, wordpieces, strict=True)], shape
        )
        say(f"alignment: {language}, {len(mine):,} pairs")
    return counts


def same_characters(
    student: Sequence[Encoding], teacher: Sequence[Encoding], shape: tuple[int, int]
) -> sp.csr_matrix:
    """Counts of (token, wordpiece) that cover the same characters of the same English texts."""
    rows: list[int] = []
    columns: list[int] = []
    weights: list[float] = []
    for left, right in zip(student, teacher, strict=True):
        spans = list(zip(right.ids, right.offsets, strict=True))
        at = 0
        for token, (start, end) in zip(left.ids, left.offsets, strict=True):
            while at < len(spans) and spans[at][1][1] <= start:
                at += 1
            here = at
            while here < len(spans) and spans[here][1][0] < end:
                piece, (first, last) = spans[here]
                rows.append(token)
                columns.append(piece)
                weights.append((min(end, last) - max(start, first)) / max(1, last - first))
                here += 1
    return sp.csr_matrix((weights, (rows, columns)), shape=shape)


def start_vectors(
    counts: sp.csr_matrix, wordpieces: NDArray[np.float32], *, least: float = 0.03
) -> NDArray[np.float32]:
    """A start for every token: the mean of its wordpieces' vectors, 0 where nothing is known.

    Args:
        counts: (tokens, wordpieces).
        wordpieces: the teacher's vector of each wordpiece.
        least: smaller probabilities are noise and are left out.
    """
    total = np.asarray(counts.sum(axis=1)).ravel()
    probabilities = sp.diags(1 / np.maximum(total, 1e-9)) @ counts
    probabilities.data[probabilities.data < least] = 0
    probabilities.eliminate_zeros()
    kept = np.asarray(probabilities.sum(axis=1)).ravel()
    probabilities = sp.diags(1 / np.maximum(kept, 1e-9)) @ probabilities
    vectors = np.asarray(probabilities @ wordpieces, dtype=np.float32)
    vectors[UNKNOWN_ID] = 0
    say(f"alignment: {int((kept > 0).sum()):,} of {len(kept):,} tokens have a start")
    return vectors


def rarity(ids: NDArray[np.integer], size: int, *, scale: float = 1e-3) -> NDArray[np.float32]:
    """Weights a / (a + p(token)), the smooth inverse frequencies of Arora et al. (2017)."""
    counts = np.bincount(ids, minlength=size)
    return np.asarray(scale / (scale + counts / counts.sum()), dtype=np.float32)
