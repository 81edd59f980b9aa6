"""A tiny mT5 of random numbers, exported and run for real: what it writes is noise, but its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xqg_qdrant import Passage
from xqg_qdrant.corpus import samples
from xqg_qdrant.corpus.jsonl import read_passages
from xqg_qdrant.errors import InputError
from xqg_qdrant.models.decoding import Decoding
from xqg_qdrant.models.generator import Generator, Prompt
from xqg_qdrant.queries.generation import generate_queries
from xqg_qdrant.queries.model_source import CUT, ModelSource
from xqg_qdrant.queries.source import Tally, Written, duplicate_key

PASSAGES = [passage for _, passage in read_passages(samples.PASSAGES)][:8]
SHORT = Decoding(top_k=8, max_length=6)
DULL = Decoding(top_k=2, max_length=3)
"""Draws the same texts again and again."""


@pytest.fixture(scope="module")
def generator(tiny_generator_folder: Path) -> Generator:
    return Generator.load(tiny_generator_folder, threads=1)


def total(written: Sequence[Written]) -> Tally:
    tally = Tally()
    for each in written:
        tally += each.tally
    return tally


def test_every_passage_gets_its_queries_in_every_language(generator: Generator) -> None:
    written = list(ModelSource(generator, decoding=SHORT, per_language=3).write(PASSAGES))
    assert len(written) == len(PASSAGES)
    for passage, (queries, tally) in zip(PASSAGES, written, strict=True):
        assert {query.passage_id for query in queries} == {passage.id}
        languages = [query.lang for query in queries]
        assert languages == sorted(languages)
        assert set(languages) == {"ar", "sw"}
        assert all(query.score is not None and query.score < 0 for query in queries)
        for lang in ("ar", "sw"):
            texts = [duplicate_key(query.text) for query in queries if query.lang == lang]
            assert len(texts) == len(set(texts)) == 3 - tally.missing[lang]


def test_the_texts_are_those_of_the_generator(generator: Generator) -> None:
    passage = PASSAGES[0]
    prompt = Prompt(generator.prompt_for(passage, "sw"), f"{passage.id}\x00sw")
    [drawn] = generator.generate([prompt], count=3, decoding=SHORT)
    source = ModelSource(generator, languages=["sw"], decoding=SHORT, per_language=3)
    [(queries, _)] = source.write([passage])
    expected = {duplicate_key(each.text): each.score for each in drawn}
    assert expected.items() <= {duplicate_key(q.text): q.score for q in queries}.items()


@settings(max_examples=10)
@given(st.integers(1, 9), st.integers(1, 40), st.sampled_from([SHORT, DULL]))
def test_neither_window_nor_batch_size_changes_anything(
    tmp_path_factory: pytest.TempPathFactory,
    generator: Generator,
    window: int,
    batch_size: int,
    decoding: Decoding,
) -> None:
    folder = tmp_path_factory.mktemp("windows")
    for name, how in (("one", (8, 16)), ("other", (window, batch_size))):
        generate_queries(
            [("", passage) for passage in PASSAGES],
            ModelSource(generator, decoding=decoding, batch_size=how[1]),
            folder / name,
            window=how[0],
        )
    assert (folder / "one").read_bytes() == (folder / "other").read_bytes()


def test_languages_and_passages_do_not_hang_on_each_other(generator: Generator) -> None:
    [(alone, _)] = ModelSource(generator, languages=["sw"], decoding=SHORT).write(PASSAGES[3:4])
    together = list(ModelSource(generator, languages=["ar", "sw"], decoding=SHORT).write(PASSAGES))
    assert alone == [query for query in together[3].queries if query.lang == "sw"]


def test_another_seed_draws_other_texts(generator: Generator) -> None:
    one, other = (
        [queries for queries, _ in ModelSource(generator, decoding=decoding).write(PASSAGES)]
        for decoding in (SHORT, Decoding(top_k=8, max_length=6, seed=1))
    )
    assert all(a != b for a, b in zip(one, other, strict=True))


def test_repeated_texts_are_replaced_by_further_ones(generator: Generator) -> None:
    tally = total(list(ModelSource(generator, decoding=DULL, per_language=5).write(PASSAGES)))
    assert tally.duplicates > 0
    assert tally.replaced > 0
    wanted = 5 * 2 * len(PASSAGES)
    assert tally.queries.total() + tally.missing.total() == wanted
    first_round = 5 * 2 * len(PASSAGES) - tally.queries.total() + tally.replaced
    assert tally.duplicates + tally.empty >= first_round


def test_a_generator_that_has_but_one_thing_to_say_is_not_asked_for_ever(
    generator: Generator,
) -> None:
    decoding = Decoding(top_k=1, max_length=4)
    written = list(ModelSource(generator, decoding=decoding, per_language=4).write(PASSAGES))
    tally = total(written)
    assert tally.queries == {"ar": 8, "sw": 8}
    assert tally.missing == {"ar": 24, "sw": 24}
    assert tally.replaced == 0


def test_texts_that_are_cut_are_counted(generator: Generator) -> None:
    tally = total(list(ModelSource(generator, decoding=SHORT).write(PASSAGES)))
    assert 0 < tally.other[CUT] <= tally.queries.total()


def test_greedy_and_beam_search(generator: Generator) -> None:
    greedy = Decoding(method="greedy", max_length=6)
    written = list(ModelSource(generator, decoding=greedy, per_language=1).write(PASSAGES))
    assert total(written).queries == {"ar": 8, "sw": 8}
    beam = Decoding(method="beam", max_length=6, beams=4)
    written = list(ModelSource(generator, decoding=beam, per_language=2).write(PASSAGES))
    tally = total(written)
    assert tally.queries.total() + tally.missing.total() == 32
    for queries, _ in written:
        arabic = [query.score or 0 for query in queries if query.lang == "ar"]
        assert arabic == sorted(arabic, reverse=True)


def test_another_prompt_gives_other_queries_and_another_configuration(
    generator: Generator,
) -> None:
    own = ModelSource(generator, decoding=SHORT)
    other = ModelSource(generator, decoding=SHORT, prompt="Frage auf {language}: {passage}")
    assert own.configuration["prompt"] == generator.manifest.prompt
    assert other.configuration["prompt"] == "Frage auf {language}: {passage}"
    assert [each.queries for each in own.write(PASSAGES)] != [
        each.queries for each in other.write(PASSAGES)
    ]


def test_everything_that_decides_is_in_the_configuration(generator: Generator) -> None:
    source = ModelSource(generator, languages=["swa", "ja"], decoding=SHORT, batch_size=3)
    assert source.configuration == {
        "model": "tiny-generator",
        "model_fingerprint": generator.fingerprint,
        "prompt": generator.manifest.prompt,
        "languages": ["sw", "ja"],
        "per_language": 5,
        **SHORT.to_json(),
    }
    assert source.untrained == ("ja",)
    assert ModelSource(generator).languages == ("ar", "sw")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"per_language": 0}, "per_language is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"languages": ["xx"]}, "unknown language code 'xx'"),
        ({"prompt": "nothing"}, "has no {passage}"),
        ({"prompt": "{passage}"}, "has no {language}"),
        ({"decoding": Decoding(method="greedy")}, "greedy decoding writes one query"),
        ({"decoding": Decoding(method="beam", beams=4)}, "4 beams cannot write 5 queries"),
    ],
)
def test_settings_that_cannot_be_are_refused(
    generator: Generator, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError) as caught:
        ModelSource(generator, **settings)
    assert message in str(caught.value)


def test_a_passage_of_any_length_has_queries(generator: Generator) -> None:
    passages = [Passage("long", "word " * 5_000), Passage("short", "?"), Passage("{x}", "{title}")]
    written = list(ModelSource(generator, decoding=SHORT).write(passages))
    assert all(queries for queries, _ in written)
