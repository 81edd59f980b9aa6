"""JSON Lines: one JSON object a line, UTF-8, optionally gzipped, ``-`` for standard input."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, TypeVar, cast

from xqg_qdrant.corpus.checks import check_id, check_passage, check_query, check_question
from xqg_qdrant.errors import InputError
from xqg_qdrant.records import GeneratedQuery, Passage, Qrel, Question

STDIN = "-"
MAX_LINE_BYTES = 16 * 2**20
MAX_JSON_BYTES = 2**30
"""Of a file that holds one JSON value, unpacked; it is read as a whole."""

Record = TypeVar("Record")
Source = str | os.PathLike[str]
"""A path, or ``-`` for standard input."""


def read_passages(source: Source) -> Iterator[tuple[str, Passage]]:
    """Stream passages: ``{"id", "text", "title"?, "lang"?, "metadata"?}`` a line.

    Yields:
        Where each stands (``"passages.jsonl, line 3"``) and the checked passage.

    Raises:
        InputError: the file cannot be read, or a line is not a passage; it names file and line.
    """

    def build(row: dict[str, Any]) -> Passage:
        _check_fields(row, required=("id", "text"), optional=("title", "lang", "metadata"))
        return check_passage(
            Passage(
                id=row["id"],
                text=row["text"],
                title="" if row.get("title") is None else row["title"],
                lang=row.get("lang"),
                metadata={} if row.get("metadata") is None else row["metadata"],
            )
        )

    return read_rows(source, build)


def read_queries(source: Source) -> Iterator[tuple[str, GeneratedQuery]]:
    """Stream generated queries: ``{"passage_id", "lang", "text", "score"?}`` a line.

    Yields:
        Where each stands and the checked query.

    Raises:
        InputError: the file cannot be read, or a line is not a query; it names file and line.
    """

    def build(row: dict[str, Any]) -> GeneratedQuery:
        _check_fields(row, required=("passage_id", "lang", "text"), optional=("score",))
        return check_query(
            GeneratedQuery(row["passage_id"], row["lang"], row["text"], row.get("score"))
        )

    return read_rows(source, build)


def read_questions(source: Source) -> Iterator[tuple[str, tuple[Question, Qrel]]]:
    """Stream test questions: ``{"id", "passage_id", "lang", "text"}`` a line.

    Yields:
        Where each stands, the question, and the judgement that its passage answers it.

    Raises:
        InputError: the file cannot be read, or a line is not a question; it names file and line.
    """

    def build(row: dict[str, Any]) -> tuple[Question, Qrel]:
        _check_fields(row, required=("id", "passage_id", "lang", "text"))
        question = check_question(Question(row["id"], row["lang"], row["text"]))
        return question, Qrel(question.id, check_id(row["passage_id"], "passage_id"))

    return read_rows(source, build)


def read_rows(
    source: Source, build: Callable[[dict[str, Any]], Record], *, nan_is_null: bool = False
) -> Iterator[tuple[str, Record]]:
    """Stream JSON objects, one a line, each made into a record; blank lines are skipped.

    Args:
        source: the file.
        build: makes the record of an object.
        nan_is_null: take ``NaN``, which pandas writes for what is missing, for null; it is no
            JSON, and refused otherwise.

    Yields:
        Where each stands and what ``build`` returned.

    Raises:
        InputError: the file cannot be read, a line holds no object, or ``build`` refuses it; it
            names file and line.
    """
    for where, line in read_lines(source):
        row = _parse(line, where, _LENIENT if nan_is_null else _STRICT)
        if not isinstance(row, dict):
            raise InputError(f"{where}: expected a JSON object, found {type(row).__name__}")
        try:
            record = build(row)
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
        yield where, record


def read_lines(source: Source) -> Iterator[tuple[str, bytes]]:
    """Stream the lines of a file, each with its end; blank lines are skipped.

    Yields:
        Where each stands (``"run.txt, line 3"``) and its bytes.

    Raises:
        InputError: the file cannot be read, or a line is overlong.
    """
    name = name_of(source)
    with open_binary(source) as stream:
        number = 0
        while line := stream.readline(MAX_LINE_BYTES + 1):
            number += 1
            where = f"{name}, line {number}"
            if len(line) > MAX_LINE_BYTES:
                raise InputError(f"{where}: longer than {MAX_LINE_BYTES // 2**20} MiB")
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if line.strip():
                yield where, line


def decode_line(line: bytes, where: str) -> str:
    """A line's text, without its end.

    Raises:
        InputError: it is not UTF-8.
    """
    try:
        return line.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise _not_utf8(where, error) from None


def json_digest(value: object) -> str:
    """The SHA-256 of a JSON value, 64 hex digits, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def read_json_object(path: Path, *, limit: int = MAX_JSON_BYTES) -> dict[str, Any]:
    """Read a whole file that holds one JSON object, of at most ``limit`` bytes.

    Raises:
        InputError: the file cannot be read or holds something else.
    """
    value = _read_json(path, limit)
    if not isinstance(value, dict):
        raise InputError(f"{path}: expected a JSON object, found {type(value).__name__}")
    return value


def read_json_array(path: Path, *, limit: int = MAX_JSON_BYTES) -> list[Any]:
    """Read a whole file that holds one JSON array, of at most ``limit`` bytes.

    Raises:
        InputError: the file cannot be read or holds something else.
    """
    value = _read_json(path, limit)
    if not isinstance(value, list):
        raise InputError(f"{path}: expected a JSON array, found {type(value).__name__}")
    return value


def _read_json(path: Path, limit: int) -> Any:
    with open_binary(path) as stream:
        data = stream.read(limit + 1)
    if len(data) > limit:
        raise InputError(f"{path}: longer than {limit / 2**20:,.0f} MiB")
    return _parse(data, str(path))


@contextmanager
def open_binary(source: Source) -> Iterator[BinaryIO]:
    """Open a file, a gzipped file (by its ``.gz`` ending) or standard input (``-``) for reading.

    Raises:
        InputError: the file is missing, a folder, not permitted, or spoilt (gzip).
    """
    if str(source) == STDIN:
        yield sys.stdin.buffer
        return
    path = Path(source)
    if "\0" in str(path):
        raise InputError(f"{str(path)!r}: no file has a NUL in its name")
    try:
        if path.suffix == ".gz":
            with gzip.open(path, "rb") as stream:
                yield cast("BinaryIO", stream)
        else:
            with path.open("rb") as stream:
                yield stream
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder: give a file") from None
    except PermissionError:
        raise InputError(f"{path}: no permission to read it") from None
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error


def name_of(source: Source) -> str:
    """What errors call a source of lines."""
    return "standard input" if str(source) == STDIN else str(source)


def _null(name: str) -> None:
    """What stands for NaN."""


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number: leave the field out")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice!r} stands twice in one object: keep one of them")
    return row


_STRICT = json.JSONDecoder(parse_constant=_refuse_constant, object_pairs_hook=_once)
_LENIENT = json.JSONDecoder(parse_constant=_null, object_pairs_hook=_once)


def _parse(data: bytes, where: str, decoder: json.JSONDecoder | None = None) -> Any:
    try:
        return (decoder or _STRICT).decode(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise _not_utf8(where, error) from None
    except json.JSONDecodeError as error:
        raise InputError(f"{where}: not valid JSON: {error.msg} (column {error.colno})") from None
    except RecursionError:
        raise InputError(f"{where}: nested too deep to be read: flatten it") from None
    except ValueError as error:
        if "integer string conversion" in str(error):
            raise InputError(
                f"{where}: a number of thousands of digits: write it as a string"
            ) from None
        raise InputError(f"{where}: {error}") from None


def _not_utf8(where: str, error: UnicodeDecodeError) -> InputError:
    return InputError(f"{where}: not UTF-8 (byte {error.start + 1}): convert the file to UTF-8")


def _check_fields(
    row: Mapping[str, Any], *, required: tuple[str, ...], optional: tuple[str, ...] = ()
) -> None:
    missing = [field for field in required if row.get(field) is None]
    if missing:
        raise InputError(f"no field {missing[0]!r}: every line needs {', '.join(required)}")
    unknown = [field for field in row if field not in required and field not in optional]
    if unknown:
        fix = "put it under 'metadata'" if "metadata" in optional else "remove it"
        fields = ", ".join((*required, *optional))
        raise InputError(f"unknown field {unknown[0]!r}: the fields are {fields}; {fix}")
