from __future__ import annotations

import gzip
import io
import json
import os
import re
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.corpus.test_checks import JSON, STORABLE_TEXT
from xqg_qdrant.corpus.jsonl import (
    MAX_LINE_BYTES,
    read_json_object,
    read_passages,
    read_queries,
    read_questions,
)
from xqg_qdrant.errors import InputError
from xqg_qdrant.records import GeneratedQuery, Passage, Qrel, Question

GOOD = b'{"id": "p1", "text": "Water boils."}\n'

PASSAGES = st.builds(
    Passage,
    id=st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=20),
    text=STORABLE_TEXT.filter(str.strip),
    title=STORABLE_TEXT,
    lang=st.sampled_from([None, "en", "sw", "zh"]),
    metadata=st.dictionaries(STORABLE_TEXT, JSON, max_size=3),
)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def write(data: bytes | str, name: str = "passages.jsonl") -> Path:
        path = tmp_path / name
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return path

    return write


def passages(path: Path | str) -> list[Passage]:
    return [passage for _, passage in read_passages(path)]


def refuses(message: str) -> Any:
    return pytest.raises(InputError, match=re.escape(message))


def test_all_fields_of_a_passage_are_read(write: Callable[..., Path]) -> None:
    path = write('{"id": "p1", "text": "T", "title": "A", "lang": "swa", "metadata": {"a": [1]}}')
    assert passages(path) == [Passage("p1", "T", "A", "sw", {"a": [1]})]


def test_optional_fields_may_be_null(write: Callable[..., Path]) -> None:
    path = write('{"id": 1, "text": "T", "title": null, "lang": null, "metadata": null}')
    assert passages(path) == [Passage("1", "T")]


def test_queries_are_read(write: Callable[..., Path]) -> None:
    path = write(
        '{"passage_id": "p1", "lang": "hau", "text": "Ruwa?", "score": 2}\n'
        '{"text": "水?", "lang": "zh-Hant", "passage_id": "p1", "score": null}\n'
    )
    assert list(read_queries(path)) == [
        (f"{path}, line 1", GeneratedQuery("p1", "ha", "Ruwa?", 2.0)),
        (f"{path}, line 2", GeneratedQuery("p1", "zh", "水?", None)),
    ]


def test_questions_are_read_with_the_judgement_that_their_passage_answers(
    write: Callable[..., Path],
) -> None:
    path = write('{"id": 7, "passage_id": 12, "lang": "sw", "text": "Maji?"}')
    [(where, (question, qrel))] = read_questions(path)
    assert where == f"{path}, line 1"
    assert question == Question("7", "sw", "Maji?")
    assert qrel == Qrel("7", "12")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(records=st.lists(PASSAGES, max_size=4), ascii_only=st.booleans())
def test_passages_written_as_json_come_back(
    write: Callable[..., Path], records: list[Passage], ascii_only: bool
) -> None:
    lines = [json.dumps(asdict(each), ensure_ascii=ascii_only) + "\n" for each in records]
    assert passages(write("".join(lines))) == records


@pytest.mark.parametrize(
    "data",
    [
        GOOD + b'{"id": "p2", "text": "Ice."}\n',
        GOOD + b'{"id": "p2", "text": "Ice."}',
        b"\xef\xbb\xbf" + GOOD + b'{"id": "p2", "text": "Ice."}\n',
        (GOOD + b'{"id": "p2", "text": "Ice."}\n').replace(b"\n", b"\r\n"),
        b"\n  \n" + GOOD + b'\r\n\t\n{"id": "p2", "text": "Ice."}\n\n\n',
        b"  " + GOOD + b'\t{"id": "p2", "text": "Ice."}  ',
    ],
    ids=["plain", "no last newline", "BOM", "CRLF", "blank lines", "indented"],
)
@pytest.mark.parametrize("compressed", [False, True], ids=["", "gz"])
def test_files_of_every_making_read_alike(
    write: Callable[..., Path], data: bytes, compressed: bool
) -> None:
    path = write(gzip.compress(data), "passages.jsonl.gz") if compressed else write(data)
    assert passages(path) == [Passage("p1", "Water boils."), Passage("p2", "Ice.")]


def test_lines_end_at_newlines_only(write: Callable[..., Path]) -> None:
    text = "one\u2028two\u2029three\x85four\x0bfive\x0csix"
    path = write(json.dumps({"id": "p1", "text": text}, ensure_ascii=False))
    assert [passage.text for passage in passages(path)] == [text]


def test_pairs_of_surrogate_escapes_are_one_character(write: Callable[..., Path]) -> None:
    assert passages(write(r'{"id": "p1", "text": "\ud83e\udd89"}'))[0].text == "🦉"


def test_an_empty_file_holds_no_passages(write: Callable[..., Path]) -> None:
    assert passages(write(b"")) == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"id": "p2", "text": "Ice."', "not valid JSON"),
        ("{'id': 'p2'}", "not valid JSON"),
        ('{"id": "p2", "text": "Ice."} {"id": "p3"}', "not valid JSON: Extra data (column 30)"),
        ('{"id": "p2", "text": "a\tb"}', "not valid JSON: Invalid control character"),
        ('{"id": "p2", "text": "a\0b"}', "not valid JSON: Invalid control character"),
        ("\0", "not valid JSON"),
        ("null", "expected a JSON object, found NoneType"),
        ('["p2", "Ice."]', "expected a JSON object, found list"),
        ('"p2"', "expected a JSON object, found str"),
        ("{}", "no field 'id': every line needs id, text"),
        ('{"id": "p2"}', "no field 'text'"),
        ('{"id": "p2", "text": null}', "no field 'text'"),
        ('{"id": "p2", "text": ""}', "text is empty"),
        ('{"id": "p2", "text": " \\n"}', "text is empty"),
        ('{"id": "", "text": "Ice."}', "id is empty"),
        ('{"id": "p2", "text": 5}', "text must be a string, not a int"),
        ('{"id": ["p2"], "text": "Ice."}', "id must be a string, not a list"),
        ('{"id": "p2", "text": "Ice.", "title": 5}', "title must be a string, not a int"),
        ('{"id": "p2", "text": "Ice.", "title": 0}', "title must be a string, not a int"),
        ('{"id": "p2", "text": "Ice.", "title": false}', "title must be a string, not a bool"),
        ('{"id": "p2", "text": "Ice.", "title": []}', "title must be a string, not a list"),
        ('{"id": "p2", "text": "Ice.", "lang": "xx"}', "unknown language code 'xx'"),
        ('{"id": "p2", "text": "Ice.", "lang": ""}', "unknown language code ''"),
        ('{"id": "p2", "text": "Ice.", "lang": 1}', "lang must be a string"),
        ('{"id": "p2", "text": "Ice.", "metadata": []}', "metadata must be an object"),
        ('{"id": "p2", "text": "Ice.", "year": 1}', "unknown field 'year'"),
        ('{"id": "p2", "text": "Ice.", "\\ud800": 1}', "unknown field '\\ud800'"),
        ('{"id": "p2", "text": "a\\u0000b"}', "text holds a NUL character"),
        ('{"id": "p2", "text": "a\\ud800b"}', "text holds a lone surrogate (U+D800)"),
        ('{"id": "p2", "text": "a\\udc00\\ud800b"}', "text holds a lone surrogate (U+DC00)"),
        ('{"id": "\\udfff", "text": "Ice."}', "id holds a lone surrogate"),
        ('{"id": "p2", "text": "I", "metadata": {"a": NaN}}', "NaN is not a JSON number"),
        ('{"id": "p2", "text": "I", "metadata": {"a": Infinity}}', "Infinity is not a JSON"),
        ('{"id": "p2", "text": "I", "metadata": {"a": -Infinity}}', "-Infinity is not a JSON"),
        ('{"id": "p2", "text": "I", "metadata": {"a": 1e999}}', "metadata.a is inf"),
        ('{"id": "p2", "text": "I", "metadata": {"a": 18446744073709551615}}', "beyond 64 bits"),
        (f'{{"id": "p2", "text": "I", "metadata": {{"a": {"9" * 5000}}}}}', "digits"),
        ('{"id": "p2", "text": "I", "metadata": {"a": "\\ud800"}}', "metadata.a holds a lone"),
        (
            f'{{"id": "p2", "text": "I", "metadata": {{"a": {"[" * 130}{"]" * 130}}}}}',
            "metadata is nested more than 32 deep",
        ),
        ("[" * 100_000, "nested too deep"),
        ('{"a":' * 100_000, "nested too deep"),
        (json.dumps({"id": "p2", "text": "x" * 2**20}), "text has 1,048,576 characters"),
    ],
    ids=lambda value: repr(value)[1:40],
)
def test_a_bad_line_is_refused_by_file_and_number(
    write: Callable[..., Path], line: str, message: str
) -> None:
    path = write(GOOD + b"\n" + line.encode() + b"\n" + GOOD)
    with refuses(f"{path}, line 3: ") as error:
        passages(path)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"lang": "en", "text": "Ice?"}, "no field 'passage_id': every line needs passage_id, "),
        ({"passage_id": "p1", "text": "Ice?"}, "no field 'lang'"),
        ({"passage_id": "p1", "lang": "en"}, "no field 'text'"),
        ({"passage_id": "p1", "lang": "xx", "text": "Ice?"}, "unknown language code 'xx'"),
        ({"passage_id": "p1", "lang": "en", "text": " "}, "text is empty"),
        ({"passage_id": "p1", "lang": "en", "text": "Ice?", "id": 1}, "unknown field 'id'"),
        ({"passage_id": "p1", "lang": "en", "text": "Ice?", "score": "1"}, "score must be a numb"),
        ({"passage_id": "p1", "lang": "en", "text": "Ice?", "score": 10**400}, "score"),
        ({"passage_id": "p1", "lang": "en", "text": "x" * 9_000}, "text has 9,000 characters"),
    ],
)
def test_a_bad_query_is_refused_by_file_and_line(
    write: Callable[..., Path], row: dict[str, Any], message: str
) -> None:
    path = write(json.dumps(row), "queries.jsonl")
    with refuses(f"{path}, line 1: ") as error:
        list(read_queries(path))
    assert message in str(error.value)


@pytest.mark.parametrize("missing", ["id", "passage_id", "lang", "text"])
def test_a_question_without_a_field_is_refused(write: Callable[..., Path], missing: str) -> None:
    row = {"id": "q1", "passage_id": "p1", "lang": "en", "text": "Ice?"}
    del row[missing]
    path = write(json.dumps(row))
    with refuses(f"{path}, line 1: no field {missing!r}"):
        list(read_questions(path))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"id": "p1", "text": "caf\xe9"}\n', "line 1: not UTF-8 (byte 26)"),
        (GOOD.decode().encode("utf-16"), "line 1: not UTF-8 (byte 1)"),
        (GOOD + b'{"id": "p2", "text": "\xed\xa0\x80"}\n', "line 2: not UTF-8"),
        (GOOD + b"\xef\xbb\xbf" + GOOD, "line 2: not valid JSON"),
    ],
    ids=["latin-1", "utf-16", "surrogate in UTF-8", "BOM in the middle"],
)
def test_what_is_not_utf8_is_refused_by_line(
    write: Callable[..., Path], data: bytes, message: str
) -> None:
    with refuses(message):
        passages(write(data))


def test_an_over_long_line_is_refused_before_it_is_parsed(write: Callable[..., Path]) -> None:
    path = write(GOOD + b"[" * (MAX_LINE_BYTES + 1) + b"\n")
    with refuses(f"{path}, line 2: longer than 16 MiB"):
        passages(path)


def test_a_file_is_read_line_by_line(write: Callable[..., Path]) -> None:
    path = write(GOOD * 2 + b"broken\n")
    stream = read_passages(path)
    assert [next(stream)[0], next(stream)[0]] == [f"{path}, line 1", f"{path}, line 2"]
    with refuses(f"{path}, line 3"):
        next(stream)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with refuses(f"{tmp_path / 'none.jsonl'}: no such file"):
        passages(tmp_path / "none.jsonl")
    with refuses(f"{tmp_path / 'none.jsonl.gz'}: no such file"):
        passages(tmp_path / "none.jsonl.gz")


@pytest.mark.parametrize("name", ["folder", "folder.gz"])
def test_a_folder_is_no_file(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    with refuses(f"{tmp_path / name} is a folder: give a file"):
        passages(tmp_path / name)


def test_a_path_below_a_file_is_refused(write: Callable[..., Path]) -> None:
    path = write(GOOD) / "passages.jsonl"
    with refuses(f"{path}: cannot be read"):
        passages(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_named(write: Callable[..., Path]) -> None:
    path = write(GOOD)
    path.chmod(0)
    with refuses(f"{path}: no permission"):
        passages(path)


def damage(data: bytes) -> bytes:
    return data[:30] + bytes(byte ^ 0xFF for byte in data[30:60]) + data[60:]


@pytest.mark.parametrize(
    "spoil",
    [lambda data: data[:-20], damage, lambda _: GOOD, lambda data: data[:5], lambda _: b"\x1f"],
    ids=["cut off", "damaged", "not gzip", "header cut off", "one byte"],
)
def test_a_spoilt_gzip_file_is_named(
    write: Callable[..., Path], spoil: Callable[[bytes], bytes]
) -> None:
    lines = b"".join(b'{"id": %d, "text": "%x"}\n' % (n, n * 7919**5) for n in range(500))
    path = write(spoil(gzip.compress(lines)), "passages.jsonl.gz")
    with refuses(str(path)):
        passages(path)


def stdin_of(data: bytes) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(data), encoding="ascii")


def test_a_dash_reads_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    text = '\ufeff{"id": "p1", "text": "Größe"}\r\n'
    monkeypatch.setattr("sys.stdin", stdin_of(text.encode()))
    assert list(read_passages("-")) == [("standard input, line 1", Passage("p1", "Größe"))]


def test_a_bad_line_on_standard_input_is_refused_by_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.stdin", stdin_of(GOOD + b"broken\n"))
    with refuses("standard input, line 2: not valid JSON"):
        passages("-")


def test_standard_input_stays_open_after_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    stdin = stdin_of(GOOD)
    monkeypatch.setattr("sys.stdin", stdin)
    passages("-")
    assert not stdin.buffer.closed


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
def test_a_reader_given_up_halfway_closes_its_file(write: Callable[..., Path]) -> None:
    path = write(GOOD * 3)

    def is_open() -> bool:
        files = list(Path("/proc/self/fd").iterdir())
        return any(file.exists() and file.samefile(path) for file in files)

    stream = read_passages(path)
    next(stream)
    assert is_open()
    del stream
    assert not is_open()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"[1]", "expected a JSON object, found list"),
        (b"{", "not valid JSON"),
        (b"\xff", "not UTF-8"),
        (b'{"a": NaN}', "NaN is not a JSON number"),
        (b"[" * 100_000, "nested too deep"),
    ],
)
def test_a_file_that_is_no_json_object_is_named(
    write: Callable[..., Path], data: bytes, message: str
) -> None:
    path = write(data)
    with refuses(f"{path}: {message}"):
        read_json_object(path)
