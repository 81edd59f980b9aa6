"""Published generated queries, as in the hub's data set ``ielab/xor-tydi-xqg-augmented``.

A row a passage: ``docid``, its ``title`` and ``text``, and ``generated_queries``, an object of
lists of queries by language. Zhuang, Shou and Zuccon, SIGIR 2023,
https://github.com/ielab/xQG4xDR; JSONL as published, or Parquet as the hub converts it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from xqg_qdrant.corpus.checks import check_id, check_passage
from xqg_qdrant.corpus.jsonl import Record, read_rows
from xqg_qdrant.errors import InputError
from xqg_qdrant.languages import normalize_language
from xqg_qdrant.records import Passage

ID_FIELD = "docid"
QUERIES_FIELD = "generated_queries"

_PARQUET_ROWS = 1_024


class PublishedQueries(NamedTuple):
    """The queries of one passage.

    Attributes:
        passage_id: upstream's ``docid``.
        queries: texts by language, in upstream's order.
    """

    passage_id: str
    queries: dict[str, list[str]]


def read_published(path: Path) -> Iterator[tuple[str, PublishedQueries]]:
    """Stream published queries from JSONL (``.gz`` is unpacked) or, by its ending, Parquet.

    Yields:
        Where each row stands, and what it says.

    Raises:
        InputError: the file cannot be read, or a row is not of this format; it names the place.
    """
    return _read(path, _build, (ID_FIELD, QUERIES_FIELD))


def read_published_passages(path: Path) -> Iterator[tuple[str, Passage]]:
    """Stream the passages of the same files.

    Yields:
        Where each row stands, and its passage.

    Raises:
        InputError: the file cannot be read, or a row is not of this format; it names the place.
    """
    return _read(path, _build_passage, (ID_FIELD, "title", "text"))


def _read(
    path: Path, build: Callable[[dict[str, Any]], Record], columns: tuple[str, ...]
) -> Iterator[tuple[str, Record]]:
    if path.suffix in (".parquet", ".pq"):
        return _read_parquet(path, build, columns)
    return read_rows(path, build)


def _read_parquet(
    path: Path, build: Callable[[dict[str, Any]], Record], columns: tuple[str, ...]
) -> Iterator[tuple[str, Record]]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise InputError(
            f"{path}: reading Parquet needs pyarrow: pip install 'xqg-qdrant[parquet]'"
        ) from None
    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            missing = set(columns) - set(file.schema_arrow.names)
            if missing:
                raise InputError(f"{path}: {_no_field(sorted(missing)[0])}")
            for batch in file.iter_batches(_PARQUET_ROWS, columns=list(columns)):
                for row in batch.to_pylist():
                    number += 1
                    where = f"{path}, row {number}"
                    if _is_map(row.get(QUERIES_FIELD)):
                        row[QUERIES_FIELD] = dict(row[QUERIES_FIELD])
                    try:
                        built = build(row)
                    except InputError as error:
                        raise InputError(f"{where}: {error}") from None
                    yield where, built
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    # Strings that are no UTF-8 and values that Python has no type for come as ValueError and the
    # like; pyarrow's own errors are of many kinds.
    except (
        OSError,
        pyarrow.ArrowException,
        ValueError,
        TypeError,
        OverflowError,
        NotImplementedError,
    ) as error:
        raise InputError(f"{path}: cannot be read as Parquet: {error}") from error


def _build(row: Mapping[str, Any]) -> PublishedQueries:
    for field in (ID_FIELD, QUERIES_FIELD):
        if row.get(field) is None:
            raise InputError(_no_field(field))
    by_language = row[QUERIES_FIELD]
    if not isinstance(by_language, Mapping):
        raise InputError(
            f"{QUERIES_FIELD!r} must be an object of lists by language, not a "
            f"{type(by_language).__name__}"
        )
    queries: dict[str, list[str]] = {}
    for code, texts in by_language.items():
        language = normalize_language(code)
        if texts is None:  # Parquet has a column for every language of any row
            continue
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise InputError(f"{QUERIES_FIELD}.{code} must be a list of strings")
        queries.setdefault(language, []).extend(texts)
    return PublishedQueries(check_id(row[ID_FIELD], ID_FIELD), queries)


def _build_passage(row: Mapping[str, Any]) -> Passage:
    for field in (ID_FIELD, "text"):
        if row.get(field) is None:
            raise InputError(_no_field(field))
    return check_passage(
        Passage(check_id(row[ID_FIELD], ID_FIELD), row["text"], row.get("title") or "")
    )


def _is_map(value: object) -> bool:
    """Whether it is what pyarrow makes of a map: a list of pairs."""
    return isinstance(value, list) and all(isinstance(pair, tuple) for pair in value)


def _no_field(name: str) -> str:
    return (
        f"no field {name!r}: published queries have {ID_FIELD} and {QUERIES_FIELD} in every row, "
        "as in ielab/xor-tydi-xqg-augmented; queries of 'xqg generate' are ready for 'xqg ingest'"
    )
