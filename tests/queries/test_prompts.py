from __future__ import annotations

from pathlib import Path

import pytest

from xqg_qdrant import Passage
from xqg_qdrant.errors import InputError
from xqg_qdrant.queries.prompts import COUNT, FIELDS, Template, read_prompt

PASSAGE = Passage("p", "It has {title} and {braces}.", "The {passage}")


def test_fields_are_filled_in_and_other_braces_left_alone() -> None:
    template = Template("{language} {count}: {title} / {passage} {} {A}", (*FIELDS, COUNT))
    assert template.fill(PASSAGE, "bn", count=3) == (
        "Bengali 3: The {passage} / It has {title} and {braces}. {} {A}"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Ask in {language}", "has no {passage}, and is no file"),
        ("{passage} {lang}", "unknown field {lang}: the fields are {language}, {title}, {passage}"),
        ("{passage} {count}", "unknown field {count}"),
    ],
)
def test_a_prompt_that_cannot_be_meant_is_refused(text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        Template(text)
    assert message in str(caught.value)


def test_a_prompt_without_language_is_for_one_language() -> None:
    template = Template("Ask: {passage}")
    template.check_languages(["sw"])
    assert template.fill(PASSAGE, "sw") == "Ask: It has {title} and {braces}."
    with pytest.raises(InputError, match="sw, ha would be the same"):
        template.check_languages(["sw", "ha"])


def test_prompts_come_from_files_or_as_they_are(tmp_path: Path) -> None:
    file = tmp_path / "prompt.txt"
    file.write_text("Frag: {passage}\n", encoding="utf-8")
    assert read_prompt(str(file)) == "Frag: {passage}"
    assert read_prompt("Frag: {passage}") == "Frag: {passage}"
    assert read_prompt("{passage}" * 1000) == "{passage}" * 1000
    file.write_bytes(b"\xff{passage}")
    with pytest.raises(InputError, match="not UTF-8"):
        read_prompt(str(file))
