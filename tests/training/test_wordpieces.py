from __future__ import annotations

import numpy as np
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from training import wordpieces
from training.corpus import Corpus, Pair
from training.switch import CodeSwitcher

ENGLISH = ["the players played, and the play was playing", "a player's plays", "un-played"]
PIECES = ["the", "play", "##er", "##s", "##ed", "##ing", "and", "was", "a", "un", ",", "'", "-"]


@pytest.fixture(scope="module")
def teacher() -> Tokenizer:
    """A BERT tokenizer of a few words and all letters."""
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    texts = ["[PAD]", "[UNK]", *PIECES, *letters, *(f"##{letter}" for letter in letters)]
    vocabulary = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


@pytest.fixture(scope="module")
def pieces(teacher: Tokenizer) -> list[wordpieces.Piece]:
    others = [("▁spielen", -6.0), ("▁play", -7.0), ("ß", -12.0), ("▁selten", -13.0), ("en", -5.0)]
    english = wordpieces.english_pieces(teacher, ENGLISH, 1_000)
    return wordpieces.merge(english, others, len(english) + 4 + 3)


def test_english_is_cut_as_the_teacher_cuts_it(
    teacher: Tokenizer, pieces: list[wordpieces.Piece]
) -> None:
    tokenizer = wordpieces.to_tokenizer(pieces)
    assert wordpieces.agreement(tokenizer, pieces, teacher, ENGLISH) == 1
    assert tokenizer.encode("Players' play").tokens == [
        *("[CLS]", "▁play", "er", "s", "▁'", "▁play", "[SEP]")
    ]


def test_pieces_know_which_wordpiece_they_are(
    teacher: Tokenizer, pieces: list[wordpieces.Piece]
) -> None:
    numbers = {piece.text: piece.wordpiece for piece in pieces}
    assert numbers["▁play"] == teacher.token_to_id("play")
    assert numbers["er"] == teacher.token_to_id("##er")
    assert numbers["▁spielen"] is None
    assert numbers["[CLS]"] is None


def test_the_least_probable_piece_is_left_out_but_no_single_character(
    pieces: list[wordpieces.Piece],
) -> None:
    texts = [piece.text for piece in pieces]
    assert texts[:4] == list(wordpieces.SPECIAL)
    assert {"▁spielen", "ß", "en"} <= set(texts)
    assert "▁selten" not in texts
    assert len(texts) == len(set(texts))


def test_a_piece_of_both_sides_has_both_probabilities(teacher: Tokenizer) -> None:
    english = wordpieces.english_pieces(teacher, ENGLISH, 1_000)
    (alone,) = (p for p in wordpieces.merge(english, [], 1_000) if p.text == "▁play")
    (both,) = (p for p in wordpieces.merge(english, [("▁play", -2.0)], 1_000) if p.text == "▁play")
    share = 1 - wordpieces.ENGLISH_SHARE
    assert np.exp(both.score) - np.exp(alone.score) == pytest.approx(share * np.exp(-2.0), rel=1e-4)


@pytest.mark.parametrize("text", ["", " \n", "[SEP]", "\u0416", "\u0000"])
def test_no_text_breaks_the_tokenizer(pieces: list[wordpieces.Piece], text: str) -> None:
    """Names of special tokens in a text are text; what has no piece is unknown."""
    ids = wordpieces.to_tokenizer(pieces).encode(text).ids
    assert (ids[0], ids[-1]) == (wordpieces.START_ID, wordpieces.END_ID)
    assert not {wordpieces.START_ID, wordpieces.END_ID} & set(ids[1:-1])
    assert bool(ids[1:-1]) == bool(text.strip(" \n\0"))


def test_a_text_is_cut_between_its_special_tokens() -> None:
    assert wordpieces.around([7, 8, 9], 4) == [2, 7, 8, 3]
    assert wordpieces.around([7], 4) == [2, 7, 3]


def test_words_of_a_lexicon_replace_english_ones(pieces: list[wordpieces.Piece]) -> None:
    pairs = [
        Pair("the players was playing a play", "x", "de", "s", "tests", 0),
        Pair("to play", "spielen", "de", "w", "tests", 1),
    ]
    corpus = Corpus(pairs, [], [])
    tokenizer = wordpieces.to_tokenizer(pieces)
    switcher = CodeSwitcher(corpus, tokenizer, 8, np.array([1.0, 1.0]))
    texts, rows = switcher.draw(np.random.default_rng(0), 50)
    # The lexicon's own entry is too short to be written in two languages.
    assert set(rows) == {0}
    assert {len(text) for text in texts} == {8}
    spielen = tokenizer.token_to_id("▁spielen")
    assert 20 < sum(spielen in text for text in texts) <= 50
    again, _ = switcher.draw(np.random.default_rng(0), 50)
    assert again == texts
