from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from xqg_qdrant import Passage
from xqg_qdrant.errors import InputError
from xqg_qdrant.queries.published import PublishedSource
from xqg_qdrant.queries.source import Written
from xqg_qdrant.records import Progress

ROWS: list[dict[str, Any]] = [
    {
        "docid": "10",
        "title": "Nile",
        "text": "It flows north.",
        "generated_queries": {
            "ar": ["أين؟", "متى؟", "أين؟ "],
            "ja": ["どこ？", "いつ？"],
        },
    },
    {
        "docid": "11",
        "title": "Niger",
        "text": "It bends.",
        "generated_queries": {"ar": ["لماذا؟"], "ja": []},
    },
    {"docid": "12", "title": "", "text": "-", "generated_queries": {"ar": [" ", "كيف؟"]}},
]
PASSAGES = [Passage("11", "It bends."), Passage("10", "It flows north."), Passage("99", "Other.")]


def write_jsonl(path: Path, rows: Sequence[Any]) -> Path:
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def write_parquet(path: Path, rows: Sequence[Any], *, as_map: bool = False) -> Path:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    texts = pyarrow.list_(pyarrow.string())
    queries = (
        pyarrow.map_(pyarrow.string(), texts)
        if as_map
        else pyarrow.struct([(code, texts) for code in ("ar", "ja")])
    )
    fields = [(name, pyarrow.string()) for name in ("docid", "title", "text")]
    schema = pyarrow.schema([*fields, ("generated_queries", queries)])
    if as_map:
        rows = [
            {**row, "generated_queries": list(row["generated_queries"].items())} for row in rows
        ]
    parquet.write_table(pyarrow.Table.from_pylist(list(rows), schema), path)
    return path


def texts(written: list[Written]) -> list[list[tuple[str, str, str]]]:
    return [[(each.passage_id, each.lang, each.text) for each in queries] for queries, _ in written]


@pytest.fixture(params=["jsonl", "jsonl.gz", "parquet", "map.parquet"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / f"shard.{request.param}"
    if path.suffix == ".parquet":
        return write_parquet(path, ROWS, as_map="map" in request.param)
    return write_jsonl(path, ROWS)


def test_queries_are_found_by_the_ids_of_passages(file: Path) -> None:
    with PublishedSource([file]) as source:
        written = list(source.write(PASSAGES))
        assert texts(written) == [
            [("11", "ar", "لماذا؟")],
            [
                ("10", "ar", "أين؟"),
                ("10", "ar", "متى؟"),
                ("10", "ja", "どこ？"),
                ("10", "ja", "いつ？"),
            ],
            [],
        ]
        tally = written[0].tally + written[1].tally + written[2].tally
        assert tally.duplicates == 1
        assert source.counts(tally) == {
            "passages found in the files": 2,
            "passages not in the files": 1,
            "passages of the files that are not in the input": 1,
        }
        assert source.name == f"published: {file.name}"


def test_some_languages_and_the_first_queries_of_each(file: Path) -> None:
    with PublishedSource([file], languages=["ja", "ar"], per_language=1) as source:
        written = list(source.write(PASSAGES))
    assert texts(written)[1] == [("10", "ja", "どこ？"), ("10", "ar", "أين؟")]
    assert written[0].tally.missing == {"ja": 1}


def test_a_repeated_query_makes_room_for_a_further_one(tmp_path: Path) -> None:
    rows = [{"docid": 1, "generated_queries": {"ar": ["أين؟", "أين؟", "متى؟", "كيف؟"]}}]
    with PublishedSource([write_jsonl(tmp_path / "a.jsonl", rows)], per_language=2) as source:
        ((queries, tally),) = source.write([Passage("1", "x")])
    assert [query.text for query in queries] == ["أين؟", "متى؟"]
    assert (tally.duplicates, tally.replaced) == (1, 1)


def test_several_files_are_one(tmp_path: Path) -> None:
    files = [write_jsonl(tmp_path / f"{n}.jsonl", ROWS[n : n + 1]) for n in range(3)]
    seen: list[Progress] = []
    with PublishedSource(files, progress=seen.append) as source:
        assert [len(queries) for queries, _ in source.write(PASSAGES)] == [1, 4, 0]


def test_the_same_queries_have_the_same_configuration(tmp_path: Path) -> None:
    one = write_jsonl(tmp_path / "a.jsonl", ROWS)
    packed = write_jsonl(tmp_path / "b.jsonl.gz", ROWS)
    other = write_jsonl(tmp_path / "c.jsonl", ROWS[:2])
    digests = []
    for path in (one, packed, other):
        with PublishedSource([path]) as source:
            digests.append(source.configuration["files_sha256"])
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"passage_id": "1", "lang": "ar", "text": "?"}, "line 2: no field 'docid'"),
        ({"docid": "1"}, "line 2: no field 'generated_queries'"),
        ({"docid": "1", "generated_queries": ["?"]}, "must be an object of lists by language"),
        ({"docid": "1", "generated_queries": {"ar": "?"}}, "generated_queries.ar must be a list"),
        ({"docid": "1", "generated_queries": {"ar": [1]}}, "generated_queries.ar must be a list"),
        ({"docid": "1", "generated_queries": {"xx": ["?"]}}, "unknown language code 'xx'"),
        ({"docid": "10", "generated_queries": {}}, "line 2: queries of '10' stand there already"),
        ({"docid": 1.5, "generated_queries": {}}, "docid must be a string"),
    ],
)
def test_another_format_is_named_with_its_place(
    tmp_path: Path, row: dict[str, Any], message: str
) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [ROWS[0], row])
    with pytest.raises(InputError) as caught:
        PublishedSource([path])
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_files_without_what_is_asked_for_are_told(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", ROWS)
    with pytest.raises(InputError, match="no queries in fi: found are ar, ja"):
        PublishedSource([path], languages=["ar", "fi"])
    with pytest.raises(InputError, match="the input is empty"):
        PublishedSource([write_jsonl(tmp_path / "b.jsonl", [])])
    with PublishedSource([path]) as source:
        assert "such as '10', the passages' such as 'p'" in source.nothing_written(3, "p")


def test_parquet_of_something_else_is_told(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    other = tmp_path / "other.parquet"
    parquet.write_table(pyarrow.table({"docid": ["1"]}), other)
    with pytest.raises(InputError, match=r"other.parquet: no field 'generated_queries'"):
        PublishedSource([other])
    other.write_bytes(b"not parquet")
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        PublishedSource([other])
    with pytest.raises(InputError, match="no such file"):
        PublishedSource([tmp_path / "absent.parquet"])


def test_parquet_without_pyarrow_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match=r"pip install 'xqg-qdrant\[parquet\]'"):
        PublishedSource([tmp_path / "a.parquet"])
