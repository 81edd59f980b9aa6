"""Hostile model folders: nothing outside is read, nothing waited for without end."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from tests.tiny import build_encoder, write_manifest
from xqg_qdrant import Client, Encoder, InputError, ModelError, Passage
from xqg_qdrant.corpus.jsonl import read_json_object
from xqg_qdrant.engine.server import ServerEngine
from xqg_qdrant.models.external_data import external_data
from xqg_qdrant.models.manifest import MAX_MANIFEST_BYTES, read_manifest

SECRET = b"a secret outside of the folder"


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    (tmp_path / "secret").write_bytes(SECRET)
    return Path(shutil.copytree(tiny_folder, tmp_path / "model"))


def _reseal(folder: Path, **more: bytes) -> None:
    """Give the manifest the hashes of the files as they are."""
    path = folder / "manifest.json"
    row = json.loads(path.read_text())
    for name in row["files"]:
        row["files"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    for name, data in more.items():
        row["files"][name] = hashlib.sha256(data).hexdigest()
    path.write_text(json.dumps(row))


def _link(name: str, target: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder.parent / "elsewhere").write_bytes(data)  # with the right hash, even
        (folder / name).unlink()
        (folder / name).symlink_to(target)

    return spoil


def _pipe(name: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return spoil


SPOILT: dict[str, tuple[Callable[[Path], None], str]] = {
    "the graph a link out": (_link("model.onnx", "../elsewhere"), "outside the model folder"),
    "the tokenizer a link out": (_link("tokenizer.json", "../elsewhere"), "outside the model"),
    "the graph a link to /etc/passwd": (_link("model.onnx", "/etc/passwd"), "outside the model"),
    "the graph without end": (_link("model.onnx", "/dev/zero"), "no plain file"),
    "the manifest without end": (_link("manifest.json", "/dev/zero"), "no plain file"),
    "the graph a loop of links": (_link("model.onnx", "model.onnx"), "cannot be read|symbolic"),
    "the graph a link to nothing": (_link("model.onnx", "../absent"), "cannot be read"),
    "the graph a pipe": (_pipe("model.onnx"), "no plain file"),
    "the tokenizer a pipe": (_pipe("tokenizer.json"), "no plain file"),
    "the manifest a pipe": (_pipe("manifest.json"), "no plain file"),
}


@pytest.mark.parametrize("case", SPOILT)
def test_what_is_no_file_of_the_folder_is_refused(folder: Path, case: str) -> None:
    spoil, message = SPOILT[case]
    spoil(folder)
    with pytest.raises(ModelError, match=message) as caught:
        Encoder.load(folder)
    assert SECRET.decode() not in str(caught.value)


def test_links_within_a_folder_and_to_a_folder_are_fine(folder: Path) -> None:
    (folder / "model.onnx").rename(folder / "weights.bin")
    (folder / "model.onnx").symlink_to("weights.bin")
    (folder.parent / "link").symlink_to(folder)
    assert Encoder.load(folder).fingerprint == Encoder.load(folder.parent / "link").fingerprint


def test_a_manifest_of_gigabytes_is_not_read(folder: Path) -> None:
    with (folder / "manifest.json").open("r+b") as stream:
        stream.truncate(MAX_MANIFEST_BYTES + 1)
    with pytest.raises(ModelError, match="longer than 16 MiB"):
        read_manifest(folder)
    with pytest.raises(InputError, match="longer than"):
        read_json_object(folder / "manifest.json", limit=1_000)


def _with_outside_weights(folder: Path, location: str) -> bytes:
    """A graph whose table of embeddings is in another file."""
    model = onnx.load(str(folder / "model.onnx"))
    (table,) = (each for each in model.graph.initializer if each.name == "table")
    shape = list(table.dims)
    values = numpy_helper.to_array(table)
    table.ClearField("raw_data")
    table.ClearField("float_data")
    table.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0")):
        entry = table.external_data.add()
        entry.key, entry.value = key, value
    assert list(table.dims) == shape
    (folder.parent / "secret").write_bytes(values.tobytes())
    return model.SerializeToString()


@pytest.mark.parametrize(
    "location", ["../secret", "./../secret", "{parent}/secret", "x/../../secret"]
)
def test_weights_outside_are_not_read(folder: Path, location: str) -> None:
    place = location.replace("{parent}", str(folder.parent))
    (folder / "model.onnx").write_bytes(_with_outside_weights(folder, place))
    _reseal(folder)
    with pytest.raises(ModelError, match="a file that the manifest does not list"):
        Encoder.load(folder)


def test_listed_weights_that_are_a_link_out_are_not_read(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(_with_outside_weights(folder, "w.bin"))
    (folder / "w.bin").symlink_to("../secret")
    _reseal(folder, **{"w.bin": (folder.parent / "secret").read_bytes()})
    with pytest.raises(ModelError, match="outside the model folder"):
        Encoder.load(folder)
    (folder / "w.bin").unlink()
    shutil.copy(folder.parent / "secret", folder / "w.bin")
    assert np.isfinite(Encoder.load(folder).encode_queries(["now it is inside"])).all()


def _overlong_tags(data: bytes, location: bytes) -> bytes:
    """The same graph for protobuf, which drops the upper bits of a field's number."""
    # Field 13 of a tensor, external_data, as five bytes: 13 << 3 | 2, and a bit beyond 32.
    plain = bytes([13 << 3 | 2])
    hidden = bytes([(13 << 3 | 2) | 0x80, 0x80, 0x80, 0x80, 0x10])
    entry = data.index(location) - 4
    while data[entry : entry + 1] != plain:
        entry -= 1
    return data[:entry] + hidden + data[entry + 1 :]


def test_a_field_whose_number_protobuf_would_cut_is_refused(folder: Path) -> None:
    data = _overlong_tags(_with_outside_weights(folder, "../secret"), b"../secret")
    (folder / "model.onnx").write_bytes(data)
    with pytest.raises(ModelError, match="not an ONNX model"):
        external_data(folder / "model.onnx")
    _reseal(folder)
    with pytest.raises(ModelError, match="not an ONNX model"):
        Encoder.load(folder)


NUMBERS: list[Any] = [float("nan"), float("inf"), 1e400, -1, 0, 2**31 + 1, 2**63, 10**30, 1.5, True]


@pytest.mark.parametrize("value", NUMBERS, ids=repr)
@pytest.mark.parametrize("field", ["dimension", "pad_token_id", "query", "schema_version"])
def test_numbers_that_are_none(folder: Path, field: str, value: Any) -> None:
    if field == "pad_token_id" and value == 0:
        return  # which is one
    row = json.loads((folder / "manifest.json").read_text())
    row[field] = {"prefix": "", "max_length": value} if field == "query" else value
    (folder / "manifest.json").write_text(json.dumps(row))
    with pytest.raises(ModelError, match=r"manifest.json: "):
        Encoder.load(folder)


def test_the_hash_decides_not_the_size(folder: Path) -> None:
    data = bytearray((folder / "tokenizer.json").read_bytes())
    data[-3] ^= 1
    (folder / "tokenizer.json").write_bytes(data)
    with pytest.raises(ModelError, match="its sha256 is"):
        Encoder.load(folder)


def test_a_collection_cannot_make_a_client_load_a_model_from_a_path(
    tmp_path: Path, tiny_encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    build_encoder(tmp_path / "evil" / "tiny")
    with ServerEngine.local() as engine:
        Client(engine, encoder=tiny_encoder).ingest("c", [Passage("a", "water")])
        manifest = engine.read_document("c", "manifest")
        assert manifest is not None
        for name in ("./evil/tiny", "evil/tiny", str(tmp_path / "evil" / "tiny"), "..", "a\\b"):
            engine.write_document("c", "manifest", {**manifest, "encoder": name})
            with pytest.raises(ModelError, match="not at hand"):
                Client(engine).search("c", "water")
            assert Client(engine, encoder=tiny_encoder).search("c", "water")


def test_a_tokenizer_that_cannot_be_built_is_a_model_error(folder: Path) -> None:
    row = json.loads((folder / "tokenizer.json").read_text())
    row["pre_tokenizer"] = {"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated"}
    (folder / "tokenizer.json").write_text(json.dumps(row))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest.pop("files")
    write_manifest(folder, **manifest)
    with pytest.raises(ModelError, match="not a tokenizer"):
        Encoder.load(folder)
