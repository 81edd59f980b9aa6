"""A multilingual unigram vocabulary: trained by SentencePiece, run by ``tokenizers``."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# Upper case cannot come out of the lower-casing normaliser: no text, not even one that spells
# these names out, is ever cut into them.
PAD = "[PAD]"
UNKNOWN = "[UNK]"
PAD_ID = 0
UNKNOWN_ID = 1

_LONGEST = 2_000
"""Characters of a training text that count; longer lines slow SentencePiece down."""


_DROPPED = (
    r"(?<=[\u0370-\u03ff\u0600-\u06ff])\p{Mn}+"  # Greek accents; Arabic vowels and hamzas
    r"|(?<=\u0435)\u0308"  # the dots of the Russian yo
    r"|\u093c|\u0640"  # Devanagari nukta, Arabic tatweel
    r"|\p{Cf}"  # soft hyphens, zero-width joiners, marks of direction and of byte order
)
_SAME = {
    "i\u0307": "i",  # what lower-casing makes of the Turkish capital dotted I
    "\u03c2": "\u03c3",  # Greek final sigma
    "\u0629": "\u0647",  # Arabic ta marbuta
    "\u0649": "\u064a",  # Arabic alif maqsura
    "\u0901": "\u0902",  # Devanagari candrabindu
}


def normalizer() -> Any:
    """NFKC, lower case, and one spelling where a language writes the same word in several.

    Accents of Greek, vowel signs and hamzas of Arabic and the like are written by some and left
    out by others, as every search engine's analysers for these languages know.
    """
    from tokenizers import Regex, normalizers

    return normalizers.Sequence(
        [
            normalizers.NFKD(),
            normalizers.Lowercase(),
            normalizers.Replace(Regex(_DROPPED), ""),
            *(normalizers.Replace(variant, letter) for variant, letter in _SAME.items()),
            normalizers.NFC(),
            normalizers.Replace(Regex(r"[\s\p{Cc}]+"), " "),
            normalizers.Strip(),
        ]
    )


def balanced_sample(
    texts: Mapping[str, Sequence[str]], *, characters: int, shares: Mapping[str, float], seed: int
) -> list[str]:
    """Texts of every language up to a budget of characters each.

    Args:
        texts: by language.
        characters: the budget of a language of share 1.
        shares: of languages whose share is not 1.
        seed: of the choice.
    """
    chosen: list[str] = []
    for language in sorted(texts):
        rng = random.Random(f"{seed}-{language}")
        candidates = list(texts[language])
        rng.shuffle(candidates)
        # Sentences first: words out of a lexicon say nothing of how often a piece is used.
        candidates.sort(key=lambda text: len(text) < 20)
        left = characters * shares.get(language, 1.0)
        for text in candidates:
            if left <= 0:
                break
            chosen.append(text)
            left -= len(text)
    return chosen


def train_sentencepiece(
    texts: Iterable[str],
    prefix: Path,
    *,
    size: int,
    coverage: float,
    threads: int,
    prepare: Callable[[str], str] | None = None,
) -> Path:
    """Train a unigram model.

    Args:
        texts: the sample.
        prefix: the model goes to ``prefix.model``.
        size: pieces, the padding and the unknown one included.
        coverage: share of the characters that get a piece.
        threads: to train with.
        prepare: applied to every text first; the normaliser unless given.

    Returns:
        The path of the model.
    """
    import sentencepiece

    prepare = prepare or normalizer().normalize_str
    lines = (prepare(text[:_LONGEST]) for text in texts)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=(line for line in lines if line),
        model_prefix=str(prefix),
        vocab_size=size,
        model_type="unigram",
        character_coverage=coverage,
        normalization_rule_name="identity",
        max_sentence_length=4 * _LONGEST,
        seed_sentencepiece_size=600_000,
        num_threads=threads,
        pad_id=PAD_ID,
        unk_id=UNKNOWN_ID,
        bos_id=-1,
        eos_id=-1,
        minloglevel=1,
    )
    return prefix.with_name(prefix.name + ".model")


def to_tokenizer(model: Path) -> Tokenizer:
    """The same vocabulary as a ``tokenizers`` tokenizer."""
    import sentencepiece
    from tokenizers import Tokenizer, models, pre_tokenizers

    processor = sentencepiece.SentencePieceProcessor(model_file=str(model))
    pieces = [
        (processor.id_to_piece(number), processor.get_score(number))
        for number in range(processor.get_piece_size())
    ]
    pieces[PAD_ID] = (PAD, 0.0)
    pieces[UNKNOWN_ID] = (UNKNOWN, 0.0)
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=UNKNOWN_ID, byte_fallback=False))
    tokenizer.normalizer = normalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            # Without this an empty text would become a lone word mark.
            pre_tokenizers.Split(" ", "removed"),
            pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always", split=False),
        ]
    )
    return tokenizer


def compare(model: Path, tokenizer: Tokenizer, texts: Sequence[str]) -> list[str]:
    """The texts that SentencePiece and ``tokenizers`` cut differently."""
    import sentencepiece

    processor = sentencepiece.SentencePieceProcessor(model_file=str(model))
    normalise = normalizer()
    encodings = tokenizer.encode_batch(list(texts))
    return [
        text
        for text, encoding in zip(texts, encodings, strict=True)
        if processor.encode(normalise.normalize_str(text)) != encoding.ids
    ]
