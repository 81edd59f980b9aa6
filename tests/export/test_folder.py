from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.tiny import build_encoder
from xqg_qdrant import Encoder, InputError, StorageError
from xqg_qdrant.export import folder as folders
from xqg_qdrant.export.folder import save_model, staged_folder, write_manifest


def write(folder: Path, text: str = "new") -> None:
    (folder / "manifest.json").write_text(text)


def test_a_folder_appears_whole_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "models" / "mine"
    with staged_folder(target) as folder:
        write(folder)
        assert folder.parent == target.parent
        assert not target.exists()
    assert [each.name for each in target.parent.iterdir()] == ["mine"]
    assert (target / "manifest.json").read_text() == "new"
    mask = os.umask(0)
    os.umask(mask)
    assert target.stat().st_mode & 0o777 == 0o777 & ~mask


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_after_an_error_nothing_is_left(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), staged_folder(tmp_path / "new" / "er" / "mine") as folder:
        write(folder)
        raise error
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_is_there_is_kept_until_the_new_one_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "mine"
    target.mkdir()
    write(target, "old")
    with pytest.raises(InputError, match=r"is there already: .*--force"), staged_folder(target):
        pytest.fail("it was opened")
    with pytest.raises(ValueError, match="later"), staged_folder(target, force=True) as folder:
        write(folder)
        raise ValueError("later")
    assert (target / "manifest.json").read_text() == "old"
    with staged_folder(target, force=True) as folder:
        write(folder)
        assert (target / "manifest.json").read_text() == "old"
    assert (target / "manifest.json").read_text() == "new"
    assert [each.name for each in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize("force", [False, True])
def test_what_is_no_model_folder_is_never_replaced(tmp_path: Path, force: bool) -> None:
    diary = tmp_path / "home" / "diary.txt"
    diary.parent.mkdir()
    diary.write_text("dear diary")
    link = tmp_path / "link"
    link.symlink_to(diary.parent)
    for target in (diary.parent, diary, link):
        refused = pytest.raises(InputError, match="is no model folder")
        with refused, staged_folder(target, force=force):
            pytest.fail("it was opened")
    assert diary.read_text() == "dear diary"


def test_a_model_that_came_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    target = tmp_path / "mine"
    with pytest.raises(InputError, match="is there already"), staged_folder(target) as folder:
        write(folder)
        target.mkdir()
        write(target, "another's")
    assert (target / "manifest.json").read_text() == "another's"
    assert [each.name for each in tmp_path.iterdir()] == ["mine"]


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with staged_folder(tmp_path / "mine") as folder:
        write(folder)
    assert (tmp_path / "mine" / "manifest.json").is_file()


def test_what_a_killed_export_left_is_swept_and_what_a_running_one_has_is_not(
    tmp_path: Path,
) -> None:
    killed, running = tmp_path / ".mine.partial-1", tmp_path / ".mine.partial-2"
    others = tmp_path / ".yours.partial-1"
    for each in (killed, running, others):
        each.mkdir()
        (each / "model.onnx").write_bytes(b"half")
    handle = os.open(running, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        with staged_folder(tmp_path / "mine") as folder:
            write(folder)
    finally:
        os.close(handle)
    assert {each.name for each in tmp_path.iterdir()} == {"mine", running.name, others.name}


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refused = pytest.raises(StorageError, match="cannot be written: Not a directory")
    with refused, staged_folder(tmp_path / "file" / "mine"):
        pytest.fail("it was opened")


def test_a_full_disk_leaves_nothing(small_disk: Path) -> None:
    refused = pytest.raises(StorageError, match="No space left on device; make room")
    with refused, staged_folder(small_disk / "mine") as folder:
        (folder / "model.onnx").write_bytes(b"\0" * (100 * 2**20))
    assert list(small_disk.iterdir()) == []
    free = os.statvfs(small_disk)
    assert free.f_bavail * free.f_frsize > 60 * 2**20


def test_a_model_too_large_for_the_disk_is_refused_before_it_is_written(small_disk: Path) -> None:
    onnx = pytest.importorskip("onnx")
    weights = onnx.numpy_helper.from_array(np.zeros(20 * 2**20, dtype=np.float32), "w")
    model = onnx.helper.make_model(onnx.helper.make_graph([], "g", [], [], [weights]))
    with pytest.raises(StorageError, match=r"needs 84 MB and the disk has 6. MB left"):
        save_model(model, small_disk, "model.onnx")
    assert list(small_disk.iterdir()) == []


def test_a_large_model_keeps_its_weights_in_one_file_that_is_hashed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnx = pytest.importorskip("onnx")
    monkeypatch.setattr(folders, "INLINE_BYTES", 1000)
    small = build_encoder(tmp_path / "small", dimension=64)
    large = tmp_path / "large"
    with staged_folder(large) as folder:
        save_model(onnx.load(str(small / "model.onnx")), folder, "model.onnx")
        (folder / "tokenizer.json").write_bytes((small / "tokenizer.json").read_bytes())
        fields = json.loads((small / "manifest.json").read_text())
        del fields["files"], fields["schema_version"]
        manifest = write_manifest(folder, fields)
    assert list(manifest["files"]) == ["model.onnx", "model.onnx.data", "tokenizer.json"]
    assert manifest["files"]["model.onnx.data"]["bytes"] >= 257 * 64 * 4
    assert len({each.stat().st_mode for each in large.iterdir()}) == 1
    assert manifest == json.loads((large / "manifest.json").read_text())
    np.testing.assert_array_equal(
        Encoder.load(large, threads=1).encode_queries(["mto"]),
        Encoder.load(small, threads=1).encode_queries(["mto"]),
    )


def test_the_same_export_twice_is_the_same_file(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.load(str(build_encoder(tmp_path / "tiny") / "model.onnx"))
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        save_model(model, tmp_path / name, "model.onnx")
    one, two = ((tmp_path / name / "model.onnx").read_bytes() for name in ("one", "two"))
    assert one == two


def test_a_killed_process_leaves_no_model(tmp_path: Path) -> None:
    code = (
        "import os, pathlib, signal\n"
        "from xqg_qdrant.export.folder import staged_folder\n"
        "with staged_folder(pathlib.Path('mine')) as folder:\n"
        "    (folder / 'model.onnx').write_bytes(b'half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False)
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".mine.partial-")
    with staged_folder(tmp_path / "mine") as folder:
        write(folder)
    assert [each.name for each in tmp_path.iterdir()] == ["mine"]
