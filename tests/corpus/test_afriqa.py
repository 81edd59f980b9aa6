from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.afriqa import row, write_split
from tests.conftest import SHARED_DATA
from xqg_qdrant.corpus.afriqa import read_afriqa
from xqg_qdrant.errors import InputError
from xqg_qdrant.records import Passage, Qrel, Question


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Hausa and Swahili; one row without a passage, one without a question, a passage twice."""
    write_split(
        tmp_path, "hau", "test", row("Ina?", "Kano is a city."), row("Yaushe?", None), row("", "x")
    )
    write_split(tmp_path, "hau", "dev", row("Wane?", "Kano is a city."), row("Nawa?", "It has 3."))
    write_split(tmp_path, "swa", "test", row("Lini?", "It was in 1961."))
    (tmp_path / "README.json").write_text("[]", encoding="utf-8")
    return tmp_path


def refuses(message: str) -> Any:
    return pytest.raises(InputError, match=re.escape(message))


def test_the_pool_holds_each_passage_of_every_file_once(folder: Path) -> None:
    for data in (read_afriqa(folder), read_afriqa(folder, split="test", languages=("sw",))):
        assert [passage.text for passage in data.passages] == [
            "Kano is a city.",
            "It has 3.",
            "It was in 1961.",
        ]


def test_questions_of_all_files_point_at_their_passages(folder: Path) -> None:
    data = read_afriqa(folder)
    assert data.languages == ("ha", "sw")
    assert [(each.question, each.qrel, each.split) for each in data.questions] == [
        (Question("ha:dev:1", "ha", "Wane?"), Qrel("ha:dev:1", "ha:dev:1"), "dev"),
        (Question("ha:dev:2", "ha", "Nawa?"), Qrel("ha:dev:2", "ha:dev:2"), "dev"),
        (Question("ha:test:1", "ha", "Ina?"), Qrel("ha:test:1", "ha:dev:1"), "test"),
        (Question("sw:test:1", "sw", "Lini?"), Qrel("sw:test:1", "sw:test:1"), "test"),
    ]


def test_rows_without_passage_or_question_are_counted(folder: Path) -> None:
    assert read_afriqa(folder).skipped == 2
    assert read_afriqa(folder, split="dev").skipped == 0
    assert read_afriqa(folder, languages=("sw",)).skipped == 0


def test_nan_is_what_upstream_writes_for_nothing(tmp_path: Path) -> None:
    path = write_split(tmp_path, "hau", "train", row("Ina?", "Kano is a city."))
    with path.open("a", encoding="utf-8") as stream:
        stream.write('{"context": NaN, "question_lang": "Yaushe?", "title": NaN}\n')
        stream.write('{"context": "It was in 1961.", "question_lang": "Lini?", "title": NaN}\n')
    data = read_afriqa(tmp_path, titles=True)
    assert [passage.title for passage in data.passages] == ["A title", ""]
    assert data.skipped == 1


def test_titles_are_given_only_when_asked_for(folder: Path) -> None:
    assert read_afriqa(folder).passages[0] == Passage("ha:dev:1", "Kano is a city.", lang="en")
    assert {each.title for each in read_afriqa(folder, titles=True).passages} == {"A title"}


def test_a_folder_of_other_files_is_refused(tmp_path: Path) -> None:
    with refuses("no gold_span_passages.afriqa.LANG.en.SPLIT.json"):
        read_afriqa(tmp_path)


def test_questions_that_are_not_there_are_named_with_those_that_are(folder: Path) -> None:
    with refuses("no question of sw, dev in 3 files: found are ha dev, ha test, sw test"):
        read_afriqa(folder, split="dev", languages=("sw",))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[1]", "line 2: expected a JSON object"),
        ("{", "line 2: not valid JSON"),
        (json.dumps({"context": "x"}), "line 2: no field 'question_lang'"),
        (json.dumps({"question_lang": "x"}), "line 2: no field 'context'"),
        (json.dumps(row("x", "y", title=3)), "line 2: 'title' must be a string, not int"),
        (json.dumps(row("x", "y") | {"context": [1]}), "line 2: 'context' must be a string"),
        (json.dumps(row("x\ud800", "y")), "line 2: "),
    ],
)
def test_malformed_lines_are_named(tmp_path: Path, line: str, message: str) -> None:
    path = write_split(tmp_path, "yor", "dev", row("Kí?", "A passage."))
    with path.open("a", encoding="utf-8") as stream:
        stream.write(line + "\n")
    with refuses(f"{path}, {message}"):
        read_afriqa(tmp_path)


def test_a_file_of_no_language_is_refused(tmp_path: Path) -> None:
    path = write_split(tmp_path, "xx", "dev", row("?", "A passage."))
    with refuses(f"{path}: unknown language code 'xx'"):
        read_afriqa(tmp_path)


def test_upstreams_own_files_are_read() -> None:
    folder = SHARED_DATA / "afriqa-dev/gold_passages"
    if not folder.is_dir():
        pytest.skip(f"needs AfriQA at {folder}: fetch it from github.com/masakhane-io/afriqa")
    data = read_afriqa(folder)
    assert {"ha", "ig", "rw", "yo", "zu"} <= set(data.languages)
    assert data.skipped > 0
    assert len(data.passages) > 2_000
