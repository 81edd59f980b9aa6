"""The teacher's own wordpieces beside pieces of other languages, in one vocabulary.

English text is cut almost as the teacher cuts it, so that its tokens can start from, and stay at,
the very vectors that the teacher reads. A wordpiece that starts a word, ``play``, becomes
``▁play``; one that goes on, ``##ing``, becomes ``ing``, as SentencePiece spells them. What tells
the cuts of a word apart is how probable each piece is, in a mixture of English, as the teacher cuts
it, and of the other languages, as SentencePiece learnt them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from training.vocabulary import normalizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
PAD_ID, UNKNOWN_ID, START_ID, END_ID = range(4)

ENGLISH_SHARE = 0.4
"""Of English in the mixture that the probabilities of pieces are computed for."""

_WORDPIECE = re.compile(r"(##)?[!-~]+")
"""Printable ASCII: the wordpieces that English is written in."""

_WHOLE_WORD = 4.0
"""Added to the logarithm of a whole word's probability: the teacher never cuts a word it knows."""


class Piece(NamedTuple):
    """An entry of the vocabulary.

    Attributes:
        text: as SentencePiece spells it.
        score: logarithm of its probability.
        wordpiece: the teacher's id of the same piece; None if the teacher has none.
    """

    text: str
    score: float
    wordpiece: int | None


def spelling(wordpiece: str) -> str:
    """A wordpiece as SentencePiece spells it."""
    return wordpiece[2:] if wordpiece.startswith("##") and len(wordpiece) > 2 else "▁" + wordpiece


def around(ids: Sequence[int], longest: int) -> list[int]:
    """Token ids of a text, cut, between the special tokens that the body wants."""
    return [START_ID, *ids[: longest - 2], END_ID]


def split_words(text: str) -> str:
    """A text with its words and punctuation marks between spaces, as BERT splits them."""
    from tokenizers import pre_tokenizers

    words = pre_tokenizers.BertPreTokenizer().pre_tokenize_str(normalizer().normalize_str(text))
    return " ".join(word for word, _ in words)


def english_pieces(teacher: Tokenizer, texts: Sequence[str], most: int) -> dict[str, Piece]:
    """The teacher's wordpieces that English needs, by their text.

    Args:
        teacher: its tokenizer, without special tokens.
        texts: English.
        most: pieces to keep: single characters, then those that the texts hold most of, then
            those with low ids, which were frequent where the teacher learnt them.
    """
    counts: Counter[int] = Counter()
    for first in range(0, len(texts), 10_000):
        for encoding in teacher.encode_batch_fast(list(texts[first : first + 10_000])):
            counts.update(encoding.ids)
    total = sum(counts.values())
    known = [(t, i) for t, i in teacher.get_vocab().items() if _WORDPIECE.fullmatch(t)]
    known.sort(key=lambda each: (len(spelling(each[0]).strip("▁")) > 1, -counts[each[1]], each[1]))
    pieces = {}
    for text, number in known[:most]:
        score = float(np.log((counts[number] + 0.3) / total))
        whole = not text.startswith("##") and len(text) > 1
        pieces[spelling(text)] = Piece(spelling(text), score + _WHOLE_WORD * whole, number)
    return pieces


def merge(english: dict[str, Piece], others: Iterable[tuple[str, float]], size: int) -> list[Piece]:
    """One vocabulary out of the teacher's wordpieces and the pieces of other languages.

    Args:
        english: from :func:`english_pieces`.
        others: pieces and scores of SentencePiece, without special ones.
        size: of the vocabulary, special pieces included; the least probable pieces of other
            languages are left out, single characters never.
    """
    share = np.log(ENGLISH_SHARE), np.log(1 - ENGLISH_SHARE)
    pieces = {
        text: piece._replace(score=piece.score + float(share[0])) for text, piece in english.items()
    }
    left = size - len(SPECIAL) - len(pieces)
    ranked = sorted(others, key=lambda each: (len(each[0].strip("▁")) > 1, -each[1], each[0]))
    for text, learnt in ranked:
        score = learnt + float(share[1])
        if text in pieces:
            both = float(np.logaddexp(pieces[text].score, score))
            pieces[text] = pieces[text]._replace(score=both)
        elif left > 0:
            pieces[text] = Piece(text, score, None)
            left -= 1
    chosen = sorted(pieces.values(), key=lambda piece: (-piece.score, piece.text))
    return [Piece(text, 0.0, None) for text in SPECIAL] + chosen


def to_tokenizer(pieces: Sequence[Piece]) -> Tokenizer:
    """A tokenizer that puts ``[CLS]`` and ``[SEP]`` around every text, as the teacher's does."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    table = [(piece.text, round(piece.score, 3)) for piece in pieces]
    tokenizer = Tokenizer(models.Unigram(table, unk_id=UNKNOWN_ID, byte_fallback=False))
    tokenizer.normalizer = normalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.BertPreTokenizer(),
            pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always", split=False),
        ]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[("[CLS]", START_ID), ("[SEP]", END_ID)],
    )
    return tokenizer


def agreement(
    tokenizer: Tokenizer, pieces: Sequence[Piece], teacher: Tokenizer, texts: Sequence[str]
) -> float:
    """Share of the texts' words that both tokenizers cut alike."""
    words = Counter(word for text in texts for word in split_words(text).split())
    alike = 0
    ours = tokenizer.encode_batch_fast(list(words), add_special_tokens=False)
    theirs = teacher.encode_batch_fast(list(words))
    for count, mine, other in zip(words.values(), ours, theirs, strict=True):
        alike += count * ([pieces[each].wordpiece for each in mine.ids] == other.ids)
    return alike / sum(words.values())


def read_sentencepiece(model: Path) -> list[tuple[str, float]]:
    """Pieces and scores of a SentencePiece model, without its special ones."""
    import sentencepiece

    processor = sentencepiece.SentencePieceProcessor(model_file=str(model))
    return [
        (processor.id_to_piece(number), processor.get_score(number))
        for number in range(processor.get_piece_size())
        if not (processor.is_control(number) or processor.is_unknown(number))
    ]
