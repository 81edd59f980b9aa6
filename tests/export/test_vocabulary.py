from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from xqg_qdrant.corpus import samples
from xqg_qdrant.errors import InputError, ModelError
from xqg_qdrant.export.vocabulary import (
    TrimOption,
    parse_trim_option,
    read_texts,
    scripts_of,
    select_tokens,
    tokens_for_languages,
    tokens_in_corpus,
)

pytest.importorskip("regex")

# fmt: off
PIECES = [
    "▁", "a", "é", "b", "▁the", "▁The", "▁mto", "▁naïve", "1", "▁2024", ",", "،", "▁(", "。",
    "ー", "🙂", "́", "ً", "م", "▁مر", "حبا", "▁مرحبا", "ক", "▁কি", "ে", "▁মa", "п", "▁мир", "ς",
    "你", "▁你好", "は", "▁です", "カ", "▁カメラ", "한", "▁한국", "国", "は国", "ไ", "▁ไทย",
    "<0x41>",
]
# fmt: on


@pytest.fixture
def unigram() -> Tokenizer:
    pieces = [("<unk>", 0.0)] + [(piece, -1.0 / len(piece)) for piece in PIECES]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.add_special_tokens(["<unk>"])
    return tokenizer


@pytest.fixture
def wordpiece() -> Tokenizer:
    pieces = ["[UNK]", "mto", "##ni", "##a", "a", "م", "##م", "##رحبا", "##は", ",", "##1"]
    tokenizer = Tokenizer(models.WordPiece({piece: n for n, piece in enumerate(pieces)}))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def names(tokenizer: Tokenizer, numbers: set[int]) -> set[str]:
    return {tokenizer.id_to_token(number) for number in numbers}


COMMON = {"▁", "1", "▁2024", ",", "،", "▁(", "。", "ー", "🙂", "́", "ً"}
LATIN = {"a", "é", "b", "▁the", "▁The", "▁mto", "▁naïve", "<unk>", "<0x41>"}


@pytest.mark.parametrize(
    ("languages", "own"),
    [
        (["sw"], LATIN),
        (["ar"], {"م", "▁مر", "حبا", "▁مرحبا"}),
        (["ur", "fa"], {"م", "▁مر", "حبا", "▁مرحبا"}),
        (["bn"], {"ক", "▁কি", "ে"}),
        (["bn", "en"], LATIN | {"ক", "▁কি", "ে", "▁মa"}),
        (["ru"], {"п", "▁мир"}),
        (["sr-Latn"], LATIN),
        (["zh-TW"], {"你", "▁你好", "国"}),
        (["ja"], {"は", "▁です", "カ", "▁カメラ", "国", "は国", "你", "▁你好"}),
        (["ko"], {"한", "▁한국", "国", "你", "▁你好"}),
    ],
)
def test_tokens_of_languages_are_those_of_their_scripts(
    languages: list[str], own: set[str], unigram: Tokenizer
) -> None:
    assert names(unigram, tokens_for_languages(unigram, languages)) == COMMON | own


def test_marks_of_pieces_inside_words_are_no_letters(wordpiece: Tokenizer) -> None:
    found = names(wordpiece, tokens_for_languages(wordpiece, ["ar"]))
    assert found == {"م", "##م", "##رحبا", ",", "##1"}


def test_scripts_are_named_as_characters_have_them() -> None:
    assert scripts_of("ja") == ("Hira", "Kana", "Hani")
    assert scripts_of("pa") == ("Guru",)
    assert scripts_of("pa-Arab") == scripts_of("ur-Aran") == ("Arab",)
    with pytest.raises(InputError, match="unknown language code 'swahili'"):
        scripts_of("swahili")
    with pytest.raises(InputError, match="written in Blis, which has no characters"):
        scripts_of("en-Blis")


def test_tokens_of_a_corpus_are_those_that_occur_and_single_characters(unigram: Tokenizer) -> None:
    keep = names(unigram, tokens_in_corpus(unigram, iter(["the مرحبا", "naïve"])))
    single = {"▁", "1", ",", "،", "▁(", "。", "ー", "🙂", "́", "ً"}
    assert keep == {"▁the", "▁مرحبا", "▁naïve", "a", "é", "b", "م"} | single


def test_a_name_in_another_script_does_not_bring_that_script_in(unigram: Tokenizer) -> None:
    text = "the " * 20
    rare = names(unigram, tokens_in_corpus(unigram, [f"{text} 你 "]))
    assert "你" in rare
    assert "国" not in rare
    often = names(unigram, tokens_in_corpus(unigram, [text, "the 你"]))
    assert {"你", "国"} <= often
    assert not {"は", "한", "م"} & often


def test_single_characters_stay_wherever_they_stand_in_words(wordpiece: Tokenizer) -> None:
    keep = names(wordpiece, tokens_in_corpus(wordpiece, ["mto"]))
    assert keep == {"mto", "a", "##a", ",", "##1"}


@settings(deadline=None)
@given(
    corpus=st.lists(st.text("abcdeاب,1 ", min_size=1), min_size=1, max_size=4),
    text=st.text("abcdeاب,1 "),
)
def test_any_text_of_a_corpus_s_scripts_can_be_spelled(corpus: list[str], text: str) -> None:
    from xqg_qdrant.export.trim import trim_tokenizer

    pieces = [("<unk>", 0.0)] + [(c, -9.0) for c in "▁abcdeاب,1"] + [("▁ab", -1.0), ("اب", -1.0)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.normalizer = normalizers.NFKC()
    smaller, _ = trim_tokenizer(tokenizer, tokens_in_corpus(tokenizer, corpus))
    for each in corpus:
        assert smaller.encode(each).tokens == tokenizer.encode(each).tokens
    scripts = [set("abcde"), set("اب")]
    own = {c for script in scripts if script & set("".join(corpus)) for c in script} | set(",1 ")
    if set(text) <= own:
        assert "<unk>" not in smaller.encode(text).tokens


def test_a_corpus_is_read_whole_whatever_the_tokenizer_cuts(unigram: Tokenizer) -> None:
    unigram.enable_truncation(1)
    unigram.enable_padding(length=5)
    keep = names(unigram, tokens_in_corpus(unigram, ["the mto"]))
    assert {"▁the", "▁mto"} <= keep
    assert unigram.truncation and unigram.padding


# The option


def test_an_option_tells_languages_from_files(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("queries.jsonl", "sw"):
        Path(name).touch()
    assert parse_trim_option("sw, ar,sw") == TrimOption(("sw", "ar"), ())
    assert parse_trim_option("./sw") == TrimOption((), (Path("sw"),))
    assert parse_trim_option("pa-Arab,queries.jsonl") == TrimOption(
        ("pa-Arab",), (Path("queries.jsonl"),)
    )


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", "no languages and no corpus"),
        (" , ", "no languages and no corpus"),
        ("sw,swahili", "'swahili' is neither a language code nor a file: give codes such as"),
        ("missing.jsonl", "'missing.jsonl' is neither a language code nor a file"),
        ("./", "./ is a folder"),
    ],
)
def test_options_that_say_neither_are_refused(value: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_trim_option(value)


def select(tokenizer: Tokenizer, value: str, **options: Any) -> set[str]:
    return names(tokenizer, select_tokens(tokenizer, parse_trim_option(value), **options))


def test_english_stays_with_any_languages(unigram: Tokenizer) -> None:
    assert select(unigram, "bn") == COMMON | LATIN | {"ক", "▁কি", "ে", "▁মa"}


def lines(path: Path, *rows: dict[str, Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_english_stays_where_a_corpus_has_none(unigram: Tokenizer, tmp_path: Path) -> None:
    query = {"passage_id": "1", "lang": "sw", "text": "mto"}
    passage = {"id": "1", "title": "naïve", "text": "the"}
    queries = lines(tmp_path / "queries.jsonl", query)
    passages = lines(tmp_path / "passages.jsonl", passage)
    swahili = lines(tmp_path / "swahili.jsonl", {**passage, "lang": "sw"})
    plain = tmp_path / "plain.txt"
    plain.write_text("mto")
    assert select(unigram, queries) >= LATIN
    assert select(unigram, swahili) >= LATIN
    assert select(unigram, passages) & LATIN == {"▁the", "▁naïve", "a", "é", "b"}
    assert select(unigram, f"{passages},{queries}") & LATIN == {
        "▁the", "▁naïve", "▁mto", "a", "é", "b",
    }  # fmt: skip
    assert select(unigram, str(plain)) & LATIN == {"▁mto", "a", "é", "b"}
    assert select(unigram, f"{plain},en") >= LATIN


def test_languages_and_a_corpus_add_up(unigram: Tokenizer, tmp_path: Path) -> None:
    passages = lines(tmp_path / "passages.jsonl", {"id": "1", "text": "the 한국"})
    assert select(unigram, f"{passages},ar") == select(unigram, "ar") | {"▁한국", "한"}


def test_texts_that_are_always_read_are_kept(unigram: Tokenizer, tmp_path: Path) -> None:
    passages = lines(tmp_path / "passages.jsonl", {"id": "1", "text": "the"})
    added = select(unigram, passages, always=["The مرحبا"]) - select(unigram, passages)
    assert added == {"▁The", "▁مرحبا"}


def test_other_vocabularies_are_refused_before_anything_is_read() -> None:
    tokenizer = Tokenizer(models.BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")]))
    for call in (
        lambda: select_tokens(tokenizer, TrimOption((), (Path("missing.jsonl"),))),
        lambda: tokens_for_languages(tokenizer, ["sw"]),
        lambda: tokens_in_corpus(tokenizer, []),
    ):
        with pytest.raises(ModelError, match="a BPE vocabulary cannot be trimmed: only Unigram"):
            call()


def test_nothing_to_keep_is_refused(unigram: Tokenizer, tmp_path: Path) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.write_text("\n")
    with pytest.raises(InputError, match="the corpus holds no texts"):
        select(unigram, str(empty))
    with pytest.raises(InputError, match="no languages to keep tokens of"):
        tokens_for_languages(unigram, [])


# Files


def test_records_and_plain_text_are_read(tmp_path: Path) -> None:
    assert sum(1 for _ in read_texts(samples.PASSAGES)) == 60
    languages = {text.lang for text in read_texts(samples.QUERIES)}
    assert languages == {"ar", "de", "es", "hi", "ja", "ru", "sw", "zh"}
    first = next(read_texts(samples.PASSAGES))
    assert first.text.startswith("Niger River The Niger rises")
    assert first.lang == "en"
    for name, write in (("a.txt", Path.write_bytes), ("a.txt.gz", _write_gzip)):
        write(tmp_path / name, b"\xef\xbb\xbf one \n\n two\r\nthree")
        assert [tuple(text) for text in read_texts(tmp_path / name)] == [
            ("one", None), ("two", None), ("three", None),
        ]  # fmt: skip
    _write_gzip(tmp_path / "a.jsonl.gz", b'{"text": "one"}\n')
    assert [text.text for text in read_texts(tmp_path / "a.jsonl.gz")] == ["one"]


def _write_gzip(path: Path, data: bytes) -> None:
    path.write_bytes(gzip.compress(data))


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.jsonl", b'{"text": "one"}\n{"text": 1}', "line 2: text must be a string, not a int"),
        ("a.jsonl", b'{"title": "one"}', "line 1: text must be a string, not null"),
        ("a.jsonl", b'{"text": "a \\ud800"}', "line 1: text holds a lone surrogate"),
        ("a.jsonl", b'{"text": "a", "lang": 7}', "line 1: lang is a int"),
        ("a.jsonl", b'{"text": "a", "lang": "swahili"}', "line 1: unknown language code"),
        ("a.txt", b"one\n\xff", r"line 2: not UTF-8 \(byte 1\)"),
        ("a.txt.gz", b"one", "cannot be read"),
        ("a.txt", b"a" * (16 * 2**20 + 1), "line 1: longer than 16 MiB"),
    ],
)
def test_files_that_hold_no_texts_are_refused(
    name: str, data: bytes, message: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(InputError, match=message):
        list(read_texts(path))
