"""Backups: the same collection again, and no harm from files that are something else."""

from __future__ import annotations

import hashlib
import io
import json
import random
import shutil
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engine.conftest import open_named
from tests.loader.test_copying import SETTINGS, dump
from tests.loader.test_ingestion import passages, queries
from xqg_qdrant import Client, Encoder
from xqg_qdrant.engine.base import Engine
from xqg_qdrant.engine.edge import EdgeEngine
from xqg_qdrant.errors import CollectionExists, EngineError, InputError
from xqg_qdrant.loader import backup, ingest
from xqg_qdrant.loader.backup import INDEX, BackupSource, write_backup
from xqg_qdrant.loader.copying import CollectionSource, copy


@pytest.fixture(scope="module")
def home(tiny_encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("home")
    with EdgeEngine(folder) as engine:
        for layout, hybrid in SETTINGS:
            settings: dict[str, Any] = {"layout": layout, "hybrid": hybrid}
            ingest(engine, layout, passages(30), queries(30), encoder=tiny_encoder, **settings)
        yield Client(engine, encoder=tiny_encoder)


@pytest.fixture(scope="module")
def file(home: Client, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("backups") / "multivector.tar"
    home.backup("multivector", path)
    return path


@pytest.fixture(params=["edge", "local", "server"])
def away(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    with open_named(request.param, tmp_path) as engine:
        before = set(engine.collections())
        yield engine
        for name in set(engine.collections()) - before:
            engine.delete(name)


@pytest.mark.parametrize("layout", [layout for layout, _ in SETTINGS])
def test_a_round_trip_over_a_file(
    home: Client, away: Engine, tmp_path: Path, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup, "_PART_POINTS", 8)
    report = home.backup(layout, tmp_path)
    path = tmp_path / f"{layout}.xqg.tar"
    assert (report.path, report.points) == (str(path), 30)
    assert report.bytes == path.stat().st_size
    assert report.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    there = Client(away)
    name = f"restored-{layout}"
    restored = there.restore(path, name)
    assert (restored.points, restored.resumed_at) == (30, 0)
    assert dump(away, name) == dump(home._engine, layout)
    assert there.restore(path, name).resumed_at == 30
    there.backup(name, tmp_path / "again.tar")
    assert (tmp_path / "again.tar").read_bytes() == path.read_bytes()
    there.delete(name)


def test_a_file_is_not_overwritten_unless_told(home: Client, tmp_path: Path) -> None:
    path = tmp_path / "b.tar"
    path.write_text("precious")
    with pytest.raises(InputError, match="exists already"):
        home.backup("multivector", path)
    assert path.read_text() == "precious"
    home.backup("multivector", path, overwrite=True)
    assert BackupSource(path).total == 30
    with pytest.raises(InputError, match=r"cannot be written: No such file"):
        home.backup("multivector", tmp_path / "absent" / "b.tar")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["b.tar"]


def test_a_collection_is_not_overwritten_unless_told(
    home: Client, file: Path, tmp_path: Path
) -> None:
    with open_named("local", tmp_path) as engine:
        client = Client(engine)
        home.push("per-language", client, name="c")
        with pytest.raises(CollectionExists, match="is another one"):
            client.restore(file, "c")
        assert client.restore(file, "c", replace=True).previous == "c.previous"
        assert dump(engine, "c") == dump(home._engine, "multivector")
        assert dump(engine, "c.previous") == dump(home._engine, "per-language")


def test_a_collection_that_changes_meanwhile_gives_no_file(home: Client, tmp_path: Path) -> None:
    source = CollectionSource(home._engine, "multivector")
    source.total += 1
    with pytest.raises(EngineError, match="written to meanwhile"):
        write_backup(source, tmp_path / "b.tar")
    assert list(tmp_path.iterdir()) == []


def test_any_flipped_or_missing_byte_is_noticed(file: Path, tmp_path: Path) -> None:
    """What tar fills up with, owners and times say nothing, and may change."""
    whole = file.read_bytes()
    expected = [(p.id, p.payload) for p in BackupSource(file).points()]
    with tarfile.open(file) as tar:
        contents = [(each.offset_data, each.size) for each in tar]
    damaged = tmp_path / "d.tar"
    rng = random.Random(5)
    for offset, size in contents * 20:
        data = bytearray(whole)
        data[offset + rng.randrange(size)] ^= 1 << rng.randrange(8)
        damaged.write_bytes(data)
        assert _refused_or_same(damaged, expected)
    for _ in range(100):
        data = bytearray(whole)
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        damaged.write_bytes(data)
        _refused_or_same(damaged, expected)
    end = sum(contents[-1])
    for _ in range(30):
        damaged.write_bytes(whole[: rng.randrange(end)])
        assert _refused_or_same(damaged, expected)


def _refused_or_same(path: Path, expected: list[Any]) -> bool:
    try:
        source = BackupSource(path)
    except InputError as error:
        assert str(path) in str(error)
        return True
    assert [(p.id, p.payload) for p in source.points()] == expected
    return False


def rebuilt(
    file: Path,
    path: Path,
    *,
    index: Callable[[Any], Any] = lambda index: index,
    lines: Callable[[bytes], bytes] = lambda data: data,
    vectors: Callable[[bytes], bytes] = lambda data: data,
    more: tuple[tarfile.TarInfo, ...] = (),
) -> Path:
    """A backup by someone with ill will: changed, and every hash right."""
    with tarfile.open(file) as tar:
        data = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    sealed = json.loads(data.pop(INDEX))["backup"]
    for kind, change in (("jsonl", lines), ("vectors", vectors)):
        name = f"points/000000.{kind}"
        data[name] = change(data[name])
        sealed["parts"][0][kind] = {
            "bytes": len(data[name]),
            "sha256": hashlib.sha256(data[name]).hexdigest(),
        }
    sealed = index(sealed)
    digest = hashlib.sha256(json.dumps(sealed, sort_keys=True).encode()).hexdigest()
    data[INDEX] = json.dumps({"sha256": digest, "backup": sealed}).encode()
    with tarfile.open(path, "w") as tar:
        for member in more:
            tar.addfile(member, io.BytesIO(b"x" * member.size))
        for name, each in data.items():
            info = tarfile.TarInfo(name)
            info.size = len(each)
            tar.addfile(info, io.BytesIO(each))
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    info.size = 1 if kind == tarfile.REGTYPE else 0
    return info


def put(**fields: Any) -> Callable[[Any], Any]:
    return lambda index: index | fields


def first_line(change: Callable[[Any], Any]) -> Callable[[bytes], bytes]:
    def changed(data: bytes) -> bytes:
        head, _, tail = data.partition(b"\n")
        return json.dumps(change(json.loads(head))).encode() + b"\n" + tail

    return changed


def manifest(**fields: Any) -> Callable[[Any], Any]:
    def change(index: Any) -> Any:
        index["documents"]["manifest"] |= fields
        return index

    return change


HOSTILE: dict[str, tuple[dict[str, Any], str]] = {
    "path traversal": ({"more": (member("../../evil"),)}, "evil' does not belong"),
    "absolute path": ({"more": (member("/tmp/evil"),)}, "evil' does not belong"),
    "symbolic link": ({"more": (member("a", tarfile.SYMTYPE, "/etc/passwd"),)}, "no plain file"),
    "hard link": ({"more": (member("a", tarfile.LNKTYPE, "/etc/passwd"),)}, "no plain file"),
    "device": ({"more": (member("a", tarfile.CHRTYPE),)}, "no plain file"),
    "a name twice": ({"more": (member(INDEX),)}, "twice"),
    "a later version": ({"index": put(version=2)}, "version 2"),
    "another format": ({"index": put(format="zip")}, "format 'zip'"),
    "no manifest": ({"index": put(documents={})}, "schema version None"),
    "a document outside": (
        {"index": lambda index: index | {"documents": index["documents"] | {"../../evil": {}}}},
        r"document '../../evil'",
    ),
    "a document that is none": ({"index": put(documents={"manifest": 1})}, "document 'manifest'"),
    "huge dimension": ({"index": put(dimensions={"passage": 10**12})}, "dimension"),
    "infinite dimension": ({"index": put(dimensions={"passage": float("inf")})}, "infinity"),
    "a vector outside": (
        {"index": put(dimensions={"../../evil": 4}, multivectors=[])},
        r"vector '../../evil'",
    ),
    "other vectors": ({"index": put(dimensions={"v": 4}, multivectors=[])}, "of its manifest"),
    "language outside": (
        {"index": manifest(layout="per-language", alpha=0.1, languages=["../../x"])},
        "unknown language",
    ),
    "damaged manifest": ({"index": manifest(languages=7)}, "manifest.*damaged"),
    "no parts": ({"index": put(parts=[])}, "not 30"),
    "negative points": (
        {"index": lambda index: put(parts=[index["parts"][0] | {"points": -1}])(index)},
        "no number of anything",
    ),
    "an index of another kind": ({"index": lambda index: [index]}, "is not as it should be"),
    "more points than lines": (
        {"index": lambda i: put(points=31, parts=[i["parts"][0] | {"points": 31}])(i)},
        "30 lines, not 31",
    ),
    "too few vectors": ({"vectors": lambda data: data[:-4]}, "fewer vectors than points"),
    "too many vectors": ({"vectors": lambda data: data + b"four"}, "more vectors than points"),
    "huge multivector": (
        {"lines": first_line(lambda row: [row[0], row[1], {"multivector": 10**9}])},
        "fewer vectors",
    ),
    "bad multivector": (
        {"lines": first_line(lambda row: [row[0], row[1], {"multivector": "many"}])},
        "no number of anything",
    ),
    "no multivector": ({"lines": first_line(lambda row: [row[0], row[1], {}])}, "multivector"),
    "not JSON": ({"lines": lambda data: b"{" + data}, "line 1"),
    "deep JSON": ({"lines": lambda data: b"[" * 200_000 + data}, "line 1"),
    "a payload that is none": ({"lines": first_line(lambda row: [row[0], 7, row[2]])}, "line 1"),
    "NaN": (
        {"lines": first_line(lambda row: [row[0], row[1] | {"text": float("nan")}, row[2]])},
        "nan",
    ),
    "another's id": ({"lines": first_line(lambda row: ["0", row[1], row[2]])}, "not belong here"),
    "no text": (
        {"lines": first_line(lambda row: [row[0], {"passage_id": row[1]["passage_id"]}, row[2]])},
        "line 1: .*'text'",
    ),
    "bad queries": (
        {"lines": first_line(lambda row: [row[0], row[1] | {"queries": [1]}, row[2]])},
        "line 1",
    ),
    "a number for an id": ({"lines": first_line(lambda row: [7, row[1], row[2]])}, "line 1"),
    "infinity in a vector": (
        {"vectors": lambda data: b"\x00\x00\x80\x7f" + data[4:]},
        "NaN or infinity",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_files_are_refused_and_nothing_takes_a_name(
    file: Path, tmp_path: Path, case: str
) -> None:
    change, message = HOSTILE[case]
    path = rebuilt(file, tmp_path / "h.tar", **change)
    with open_named("local", tmp_path) as engine:
        with pytest.raises(InputError, match=message):
            Client(engine).restore(path, "c")
        assert not engine.exists("c")
    assert [each.name for each in tmp_path.iterdir()] == ["h.tar"]
    assert not Path("/tmp/evil").exists()


def test_what_was_not_changed_is_taken(file: Path, tmp_path: Path) -> None:
    """The tool of the test above does no harm by itself."""
    assert BackupSource(rebuilt(file, tmp_path / "r.tar")).total == 30


def test_other_files_are_named(tmp_path: Path, file: Path) -> None:
    zipped = Path(shutil.make_archive(str(tmp_path / "a"), "gztar", file.parent))
    other = tmp_path / "other.tar"
    with tarfile.open(other, "w") as tar:
        tar.addfile(member("a"), io.BytesIO(b"x"))
    empty = tmp_path / "empty"
    empty.touch()
    for path in (zipped, other, empty, tmp_path, tmp_path / "absent"):
        with pytest.raises(InputError, match=path.name):
            BackupSource(path)


def test_a_restore_that_was_cut_off_goes_on(
    home: Client, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xqg_qdrant.loader import copying

    monkeypatch.setattr(copying, "BATCH_POINTS", 6)
    with open_named("local", tmp_path) as engine:
        original: Any = engine._upsert
        left = iter(range(3))

        def upsert(name: str, points: Any) -> None:
            next(left)
            original(name, points)

        with monkeypatch.context() as patch:
            patch.setattr(engine, "_upsert", upsert)
            patch.setattr(copying, "CHECKPOINT_SECONDS", 0.0)
            with pytest.raises((StopIteration, RuntimeError)):
                copy(BackupSource(file), engine, "c")
        assert not engine.exists("c")
        assert copy(BackupSource(file), engine, "c").resumed_at == 18
        assert dump(engine, "c") == dump(home._engine, "multivector")
