"""Parquet files as targets: pyarrow's C++ reads them."""

from __future__ import annotations

import io
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from tests.bad_input.fuzz.mutations import spoil_bytes
from tests.bad_input.fuzz.oracle import Bad
from tests.bad_input.fuzz.readers import Target, _published_texts, records_are_good
from xqg_qdrant.corpus.published import read_published_passages

_QUERIES = pa.map_(pa.string(), pa.list_(pa.string()))
_GOOD: dict[str, Any] = {
    "docid": pa.array(["a", "b"]),
    "title": pa.array(["T", None]),
    "text": pa.array(["The Nile.", "The Rhine."]),
    "generated_queries": pa.array([[("ar", ["أ"]), ("ja", ["何"])], []], type=_QUERIES),
}


def _bytes(columns: dict[str, Any], compression: str = "snappy") -> bytes:
    stream = io.BytesIO()
    parquet.write_table(pa.table(columns), stream, compression=compression)
    return stream.getvalue()


_INVALID_UTF8 = pa.Array.from_buffers(
    pa.string(), 2, pa.array([b"\xff", b"\xc0\xaf"], type=pa.binary()).buffers()
)
_OTHERS: list[Any] = [
    pa.array([1.5, 2.5]),
    pa.array([True, False]),
    pa.array([None, None]),
    pa.array([None, "x"]),
    pa.array([b"a", b"\xff"]),
    _INVALID_UTF8,
    pa.array([[1], [2]]),
    pa.array([["a"], None]),
    pa.array([{"ar": ["x"]}, {"ar": None}]),
    pa.array([{"ar": [1]}, {"ar": None}]),
    pa.array([{"nowhere": ["x"]}, None]),
    pa.array([[(1, ["x"])], []], type=pa.map_(pa.int64(), pa.list_(pa.string()))),
    pa.array([[("ar", "x")], []], type=pa.map_(pa.string(), pa.string())),
    pa.array([[("ar", [None])], []], type=_QUERIES),
    pa.array([[("ar", ["x"]), ("ar", ["y"])], []], type=_QUERIES),
    pa.array([[(b"\xff", ["x"])], []], type=pa.map_(pa.binary(), pa.list_(pa.string()))),
    pa.array([10**18, -1]),
    pa.array([2**63, 5], type=pa.uint64()),
    pa.array([10**15, 1], type=pa.timestamp("ns")),
    pa.array([2**62, -(2**62)], type=pa.timestamp("us")),
    pa.array([1, 2], type=pa.duration("ns")),
    pa.array([1, 2], type=pa.date32()),
    pa.array(["", " "]),
    pa.array(["a\0", "x" * 300_000]),
    pa.array(["a", "a"]).dictionary_encode(),
]


def _make(rng: random.Random) -> bytes:
    if rng.random() < 0.5:
        return spoil_bytes(_bytes(_GOOD, rng.choice(("none", "snappy", "zstd"))), rng)
    columns = dict(_GOOD)
    name = rng.choice(list(columns))
    if rng.random() < 0.15:
        del columns[name]
    else:
        columns[name] = rng.choice(_OTHERS)
    return _bytes(columns)


def _read(folder: Path) -> list[Any]:
    return _published_texts(folder, "published.parquet")


def _read_passages(folder: Path) -> list[Any]:
    passages = [record for _, record in read_published_passages(folder / "published.parquet")]
    records_are_good(passages)
    return passages


def _check(data: bytes) -> None:
    """Only its beginning and end are fixed; beyond them the records are checked."""
    if data[:4] != b"PAR1" or data[-4:] != b"PAR1":
        raise Bad("not the magic number")


TARGETS = [
    Target("Parquet queries", "published.parquet", _make, _read, _check, risky=True),
    Target("Parquet passages", "published.parquet", _make, _read_passages, _check, risky=True),
]
