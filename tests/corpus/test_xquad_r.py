from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.xquad import paragraph, write_language
from xqg_qdrant.corpus.xquad_r import read_xquad_r
from xqg_qdrant.errors import InputError
from xqg_qdrant.records import Passage, Qrel


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two articles, English and Swahili; the second has a paragraph without questions."""
    write_language(
        tmp_path,
        "en",
        [
            paragraph("Water boils. It is hot.", {"q1": "When?", "q2": "Hot?"}, ["Water boils."]),
            paragraph("Ice melts.", {"q3": "Melts?"}, ["Ice melts.", " "]),
        ],
        [paragraph("Nobody asks about this.", {})],
    )
    write_language(
        tmp_path,
        "sw",
        [
            paragraph("Maji huchemka.", {"q1": "Lini?", "q2": "Moto?"}),
            paragraph("Barafu huyeyuka.", {"q3": "Huyeyuka?"}),
        ],
        [paragraph("Hakuna anayeuliza.", {})],
    )
    return tmp_path


def edit(path: Path, *keys: str | int, value: Any) -> None:
    """Set one field of a JSON file, found along the keys."""
    data = json.loads(path.read_text(encoding="utf-8"))
    place = data
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    path.write_text(json.dumps(data), encoding="utf-8")


FIRST = ("data", 0, "paragraphs", 0)


def refuses(message: str) -> Any:
    return pytest.raises(InputError, match=re.escape(message))


def test_all_english_paragraphs_are_the_pool(folder: Path) -> None:
    assert read_xquad_r(folder).passages == (
        Passage("0-0", "Water boils. It is hot.", lang="en"),
        Passage("0-1", "Ice melts.", lang="en"),
        Passage("1-0", "Nobody asks about this.", lang="en"),
    )


def test_titles_are_given_only_when_asked_for(folder: Path) -> None:
    assert {each.title for each in read_xquad_r(folder, titles=True).passages} == {
        "Article 0",
        "Article 1",
    }


def test_questions_of_every_language_point_at_the_english_paragraph(folder: Path) -> None:
    data = read_xquad_r(folder)
    assert data.languages == ("en", "sw")
    assert [
        (each.question.id, each.question.lang, each.question.text, each.passage_id, each.position)
        for each in data.questions
    ] == [
        ("en:q1", "en", "When?", "0-0", 0),
        ("en:q2", "en", "Hot?", "0-0", 1),
        ("en:q3", "en", "Melts?", "0-1", 0),
        ("sw:q1", "sw", "Lini?", "0-0", 0),
        ("sw:q2", "sw", "Moto?", "0-0", 1),
        ("sw:q3", "sw", "Huyeyuka?", "0-1", 0),
    ]
    assert data.questions[-1].qrel == Qrel("sw:q3", "0-1")


def test_a_question_has_its_english_position_in_every_language(folder: Path) -> None:
    """Else a fold would hold the translation of a question that it is asked."""
    qas = [{"id": "q2", "question": "Moto?"}, {"id": "q1", "question": "Lini?"}]
    edit(folder / "sw.json", *FIRST, "qas", value=qas)
    positions = {each.question.id: each.position for each in read_xquad_r(folder).questions}
    assert positions["sw:q1"] == positions["en:q1"] == 0
    assert positions["sw:q2"] == positions["en:q2"] == 1


def test_questions_that_english_lacks_are_placed_by_their_paragraph(folder: Path) -> None:
    edit(folder / "en.json", *FIRST, "qas", value=[])
    placed = {each.question.id: each.passage_id for each in read_xquad_r(folder).questions}
    assert placed == {"en:q3": "0-1", "sw:q1": "0-0", "sw:q2": "0-0", "sw:q3": "0-1"}


def test_sentences_are_kept_without_blank_ones(folder: Path) -> None:
    assert read_xquad_r(folder).sentences == {
        "0-0": ("Water boils.",),
        "0-1": ("Ice melts.",),
        "1-0": (),
    }


def test_files_named_as_xquad_names_them_are_read(folder: Path) -> None:
    (folder / "sw.json").rename(folder / "xquad.sw.json")
    (folder / "en.json").rename(folder / "xquad.en.json")
    (folder / "notes.json").write_text("not ours")
    assert read_xquad_r(folder).languages == ("en", "sw")


def test_a_folder_without_english_is_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "en.json").unlink()
    with refuses(f"{folder} holds no en.json"):
        read_xquad_r(folder)
    with refuses("holds no en.json"):
        read_xquad_r(tmp_path / "nothing here")


def test_a_file_of_an_unknown_language_is_refused(folder: Path) -> None:
    (folder / "xx.json").write_text("{}")
    with refuses("unknown language code 'xx'"):
        read_xquad_r(folder)


def test_a_language_in_two_files_is_refused(folder: Path) -> None:
    (folder / "xquad.sw.json").write_bytes((folder / "sw.json").read_bytes())
    with refuses("sw.json"):
        read_xquad_r(folder)


def test_files_without_questions_are_refused(tmp_path: Path) -> None:
    write_language(tmp_path, "en", [paragraph("Nobody asks about this.", {})])
    with refuses(f"{tmp_path}: no questions in any of en"):
        read_xquad_r(tmp_path)


def test_a_file_of_a_part_of_the_articles_is_placed_by_the_english_one(folder: Path) -> None:
    write_language(folder, "sw", [paragraph("Barafu huyeyuka.", {"q3": "Huyeyuka?"})])
    placed = {each.question.id: each.passage_id for each in read_xquad_r(folder).questions}
    assert placed["sw:q3"] == placed["en:q3"] == "0-1"


NEW = [paragraph("Zaidi.", {"q9": "Zaidi?"})]
OLD = [paragraph("Maji.", {"q1": "Lini?"}), paragraph("Barafu.", {"q3": "Huyeyuka?"})]
UNPLACED = {
    "fewer paragraphs": ([OLD[:1], NEW], "data[1].paragraphs[0]"),
    "more paragraphs": ([OLD, [paragraph("Hakuna.", {})], NEW], "data[2].paragraphs[0]"),
    "another order": ([OLD[::-1], NEW], "data[1].paragraphs[0]"),
    "another order, seen late": ([NEW, OLD], "data[0].paragraphs[0]"),
}


@pytest.mark.parametrize("case", UNPLACED)
def test_a_question_that_nothing_places_is_refused(folder: Path, case: str) -> None:
    articles, place = UNPLACED[case]
    write_language(folder, "sw", *articles)
    with refuses(f"sw.json: {place}.qas[0]: question 'q9' is not in en.json"):
        read_xquad_r(folder)


@pytest.mark.parametrize("language", ["en", "sw"])
def test_a_question_id_that_comes_twice_is_refused(folder: Path, language: str) -> None:
    edit(folder / f"{language}.json", *FIRST, "qas", 1, "id", value="q1")
    with refuses(f"{language}.json: data[0].paragraphs[0].qas[1]: question 'q1' comes twice"):
        read_xquad_r(folder)


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (("data",), {}, "en.json: field 'data' must be a list, not dict"),
        (("data",), None, "en.json: field 'data' must be a list"),
        (("data", 0), [], "data[0]: expected an object"),
        (("data", 0, "paragraphs"), "x", "data[0]: field 'paragraphs' must be a list, not str"),
        (FIRST, 5, "data[0].paragraphs[0]: expected an object"),
        ((*FIRST, "context"), None, "data[0].paragraphs[0]: field 'context' must be a str"),
        ((*FIRST, "context"), " ", "data[0].paragraphs[0].context is empty"),
        ((*FIRST, "context"), "\ud800", "data[0].paragraphs[0].context holds a lone surrogate"),
        ((*FIRST, "context"), "x" * 2**20, "data[0].paragraphs[0].context has 1,048,576 charact"),
        ((*FIRST, "sentences"), "Water.", "data[0].paragraphs[0]: field 'sentences' must be"),
        ((*FIRST, "sentences"), 1, "data[0].paragraphs[0]: field 'sentences' must be"),
        ((*FIRST, "sentences"), ["a", 1], "data[0].paragraphs[0]: field 'sentences' must be"),
        ((*FIRST, "qas"), {}, "data[0].paragraphs[0]: field 'qas' must be a list"),
        ((*FIRST, "qas", 0), "q1", "data[0].paragraphs[0].qas[0]: expected an object"),
        ((*FIRST, "qas", 0, "id"), 5, "qas[0]: field 'id' must be a str, not int"),
        ((*FIRST, "qas", 0, "question"), None, "qas[0]: field 'question' must be a str"),
        ((*FIRST, "qas", 0, "question"), "", "data[0].paragraphs[0].qas[0]: text is empty"),
        ((*FIRST, "qas", 0, "question"), "a\0", "qas[0]: text holds a NUL"),
    ],
)
def test_a_malformed_file_is_refused_by_its_place(
    folder: Path, keys: tuple[str | int, ...], value: Any, message: str
) -> None:
    edit(folder / "en.json", *keys, value=value)
    with refuses(message) as error:
        read_xquad_r(folder)
    assert str(error.value).startswith(str(folder / "en.json"))


def test_a_file_that_is_no_json_is_refused_by_name(folder: Path) -> None:
    (folder / "sw.json").write_text("{")
    with refuses(f"{folder / 'sw.json'}: not valid JSON"):
        read_xquad_r(folder)


def test_paragraphs_without_the_field_of_questions_are_in_the_pool(folder: Path) -> None:
    edit(folder / "en.json", "data", 1, "paragraphs", value=[{"context": "Bare."}])
    assert [each.text for each in read_xquad_r(folder).passages][-1] == "Bare."
