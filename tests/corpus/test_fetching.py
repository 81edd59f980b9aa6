from __future__ import annotations

import hashlib
import io
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from xqg_qdrant.corpus.catalogue import CATALOGUE, DataSet, RemoteFile, data_set_named
from xqg_qdrant.corpus.fetching import fetch
from xqg_qdrant.errors import FetchError, InputError
from xqg_qdrant.languages import normalize_language
from xqg_qdrant.records import Progress

CONTENT = b"en file\n" * 1000


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A server of files, and the folder that it serves."""
    served = tmp_path / "served"
    served.mkdir()
    handler = partial(Quiet, directory=str(served))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_address[1]}", served
        httpd.shutdown()
        thread.join()


def of(*files: RemoteFile) -> DataSet:
    return replace(CATALOGUE[0], files=files)


def test_files_are_fetched_once(server: tuple[str, Path], tmp_path: Path) -> None:
    url, served = server
    (served / "en.json").write_bytes(CONTENT)
    data = of(RemoteFile(f"{url}/en.json", "deep/en.json"))
    seen: list[Progress] = []
    [fetched] = fetch(data, tmp_path / "to", progress=seen.append)
    assert fetched.path.read_bytes() == CONTENT
    assert (fetched.bytes, fetched.kept) == (len(CONTENT), False)
    assert fetched.sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert seen[-1] == Progress("fetching deep/en.json", len(CONTENT), len(CONTENT))
    (served / "en.json").write_bytes(b"newer")
    [again] = fetch(data, tmp_path / "to")
    assert (again.kept, again.sha256) == (True, fetched.sha256)
    [forced] = fetch(data, tmp_path / "to", force=True)
    assert forced.path.read_bytes() == b"newer"


@pytest.mark.parametrize("kind", ["md5", "sha256"])
def test_what_is_not_the_file_is_not_kept(
    server: tuple[str, Path], tmp_path: Path, kind: str
) -> None:
    url, served = server
    (served / "a").write_bytes(CONTENT)
    right = f"{kind}:{hashlib.new(kind, CONTENT).hexdigest()}"
    to = tmp_path / "to"
    with pytest.raises(FetchError, match="not the file that upstream describes"):
        fetch(of(RemoteFile(f"{url}/a", "a", right[:-1] + "x")), to)
    assert list(to.iterdir()) == []
    data = of(RemoteFile(f"{url}/a", "a", right))
    fetch(data, to)
    (to / "a").write_bytes(b"touched")
    with pytest.raises(InputError, match="is another file: delete it, or give --force"):
        fetch(data, to)
    fetch(data, to, force=True)
    assert (to / "a").read_bytes() == CONTENT


def test_archives_are_unpacked(server: tuple[str, Path], tmp_path: Path) -> None:
    url, served = server
    with zipfile.ZipFile(served / "set.zip", "w") as archive:
        archive.writestr("set/corpus.jsonl", "{}")
    fetch(of(RemoteFile(f"{url}/set.zip", "set.zip", unpack="zip")), tmp_path / "to")
    assert (tmp_path / "to" / "set" / "corpus.jsonl").read_text() == "{}"


@pytest.mark.parametrize("name", ["../out", "/tmp/out", "a/../../out"])
def test_archives_do_not_write_elsewhere(
    server: tuple[str, Path], tmp_path: Path, name: str
) -> None:
    url, served = server
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr(name, "x")
    (served / "set.zip").write_bytes(held.getvalue())
    with pytest.raises(FetchError, match="lies outside: nothing unpacked"):
        fetch(of(RemoteFile(f"{url}/set.zip", "set.zip", unpack="zip")), tmp_path / "to")
    assert {path.name for path in tmp_path.rglob("*")} == {"served", "to", "set.zip"}


def test_no_network_is_said_with_the_way_around_it(tmp_path: Path) -> None:
    data = of(RemoteFile("http://127.0.0.1:9/en.json", "en.json"))
    with pytest.raises(FetchError, match=r"cannot reach 127.0.0.1:9 .*is there a network.*curl -L"):
        fetch(data, tmp_path / "to")
    assert list((tmp_path / "to").iterdir()) == []


def test_a_file_that_has_moved(server: tuple[str, Path], tmp_path: Path) -> None:
    url, _ = server
    with pytest.raises(FetchError, match="answers 404"):
        fetch(of(RemoteFile(f"{url}/gone", "gone")), tmp_path / "to")


def test_sets_that_come_in_another_way_say_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="huggingface-cli download"):
        fetch(data_set_named("xor-tydi-xqg-augmented"), tmp_path)


def test_the_catalogue_is_whole() -> None:
    names = [each.name for each in CATALOGUE]
    assert len(set(names)) == len(names)
    for each in CATALOGUE:
        assert each.title and each.licence and each.paper and each.fetch and each.evaluate
        assert each.source.startswith("https://")
        assert tuple(map(normalize_language, each.languages)) == each.languages
        for file in each.files:
            assert file.url.startswith("https://")
            assert not Path(file.path).is_absolute() and ".." not in file.path
    with pytest.raises(InputError, match="unknown data set 'squad': there are xquad-r, afriqa"):
        data_set_named("squad")
