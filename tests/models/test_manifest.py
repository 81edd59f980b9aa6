from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.tiny import build_encoder
from xqg_qdrant.errors import ModelError
from xqg_qdrant.models.manifest import (
    MANIFEST_FILE,
    MAX_DIMENSION,
    MAX_LENGTH,
    MODELS_VARIABLE,
    find_model,
    list_models,
    read_encoder_manifest,
)

MISSING = object()


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    """A copy of the tiny encoder, to spoil."""
    return Path(shutil.copytree(tiny_folder, tmp_path / "tiny"))


@pytest.fixture
def change(folder: Path) -> Callable[[str, Any], None]:
    """Sets a field of the manifest, or takes it away; bars lead into objects."""

    def change(field: str, value: Any) -> None:
        path = folder / MANIFEST_FILE
        row = json.loads(path.read_text(encoding="utf-8"))
        *outer, last = field.split("|")
        place = row
        for key in outer:
            place = place[key]
        if value is MISSING:
            del place[last]
        else:
            place[last] = value
        path.write_text(json.dumps(row), encoding="utf-8")

    return change


def refuses(message: str) -> Any:
    return pytest.raises(ModelError, match=re.escape(message))


def test_a_manifest_says_what_the_model_is(tmp_path: Path) -> None:
    folder = build_encoder(
        tmp_path / "m", name="mine", query_prefix="query: ", query_length=32, passage_length=99
    )
    manifest = read_encoder_manifest(folder)
    assert (manifest.name, manifest.folder, manifest.dimension) == ("mine", folder, 16)
    assert (manifest.similarity, manifest.pooling, manifest.precision) == ("cosine", "mean", "fp32")
    assert (manifest.query.prefix, manifest.query.max_length) == ("query: ", 32)
    assert (manifest.passage.prefix, manifest.passage.max_length) == ("", 99)
    assert (manifest.languages, manifest.license) == (("en",), "CC0-1.0")
    assert set(manifest.files) == {"model.onnx", "tokenizer.json"}
    manifest.verify_files()


def test_alphas_are_told_and_change_no_vector(
    folder: Path, change: Callable[[str, Any], None]
) -> None:
    before = read_encoder_manifest(folder)
    assert before.alphas == {}
    change("alphas", {"per-language": {"dense": 0.05, "hybrid": 1}, "fused": {}})
    after = read_encoder_manifest(folder)
    assert after.alphas == {"per-language": {"dense": 0.05, "hybrid": 1.0}, "fused": {}}
    assert after.fingerprint == before.fingerprint


@pytest.mark.parametrize(
    ("alphas", "message"),
    [
        ([0.1], "'alphas' must be an object"),
        ({"fused": 0.1}, "'alphas.fused' must be an object of 'dense' and 'hybrid'"),
        ({"fused": {"sparse": 0.1}}, "'alphas.fused' must be an object of 'dense' and 'hybrid'"),
        ({"fused": {"dense": 1.5}}, "'alphas.fused': alpha is 1.5"),
        ({"fused": {"dense": True}}, "'alphas.fused': alpha is True"),
        ({"fused": {"dense": "0.1"}}, "'alphas.fused': alpha is '0.1'"),
    ],
)
def test_what_is_no_alpha_is_refused(
    folder: Path, change: Callable[[str, Any], None], alphas: object, message: str
) -> None:
    change("alphas", alphas)
    with refuses(message):
        read_encoder_manifest(folder)


def test_hashes_may_stand_bare_and_in_capitals(
    folder: Path, change: Callable[[str, Any], None]
) -> None:
    before = read_encoder_manifest(folder)
    change("files|model.onnx", before.files["model.onnx"].upper())
    after = read_encoder_manifest(folder)
    assert after.fingerprint == before.fingerprint
    after.verify_files()


@pytest.mark.parametrize("field", ["languages", "license", "source", "parity"])
def test_what_does_not_change_vectors_may_be_missing(
    folder: Path, change: Callable[[str, Any], None], field: str
) -> None:
    before = read_encoder_manifest(folder).fingerprint
    change(field, MISSING)
    assert read_encoder_manifest(folder).fingerprint == before


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("query|prefix", "query: "),
        ("passage|prefix", "passage: "),
        ("query|max_length", 63),
        ("passage|max_length", 63),
        ("pooling", "cls"),
        ("similarity", "dot"),
        ("dimension", 15),
        ("pad_token_id", 1),
        ("files|model.onnx", "0" * 64),
        ("files|tokenizer.json", "0" * 64),
        ("files|more.bin", "0" * 64),
    ],
)
def test_the_fingerprint_changes_with_what_changes_vectors(
    folder: Path, change: Callable[[str, Any], None], field: str, value: Any
) -> None:
    before = read_encoder_manifest(folder).fingerprint
    change(field, value)
    assert read_encoder_manifest(folder).fingerprint != before


def test_the_fingerprint_does_not_hang_on_name_or_place(tmp_path: Path) -> None:
    one = read_encoder_manifest(build_encoder(tmp_path / "one", name="one"))
    two = read_encoder_manifest(build_encoder(tmp_path / "two", name="two"))
    assert one.fingerprint == two.fingerprint
    assert re.fullmatch("[0-9a-f]{64}", one.fingerprint)


REQUIRED = [
    "kind",
    "schema_version",
    "name",
    "dimension",
    "similarity",
    "pooling",
    "query",
    "passage",
    "query|max_length",
    "pad_token_id",
    "precision",
    "files",
    "files|model.onnx",
    "files|tokenizer.json",
    "files|model.onnx|sha256",
]


@pytest.mark.parametrize("field", REQUIRED)
def test_a_missing_field_is_named(
    folder: Path, change: Callable[[str, Any], None], field: str
) -> None:
    change(field, MISSING)
    with refuses(str(folder / MANIFEST_FILE)) as error:
        read_encoder_manifest(folder)
    assert field.split("|")[-1] in str(error.value)


WRONG_NUMBERS = [None, True, 1.5, "", [], ["x"], {"a": 1}, "abc", -1, 10**30, "\ud800"]


@pytest.mark.parametrize("value", WRONG_NUMBERS, ids=ascii)
@pytest.mark.parametrize(
    "field",
    ["schema_version", "dimension", "pad_token_id", "query|max_length", "passage|max_length"],
)
def test_what_is_no_fitting_number_is_refused_by_field(
    folder: Path, change: Callable[[str, Any], None], field: str, value: Any
) -> None:
    change(field, value)
    with refuses(f"{field.replace('|', '.')!r} must be a whole number from"):
        read_encoder_manifest(folder)


@pytest.mark.parametrize("value", [None, True, 1.5, "", [], {"a": 1}, 5, "\ud800"], ids=ascii)
@pytest.mark.parametrize("field", ["kind", "name", "similarity", "pooling", "precision"])
def test_what_is_no_text_is_refused_by_field(
    folder: Path, change: Callable[[str, Any], None], field: str, value: Any
) -> None:
    change(field, value)
    with refuses(f"{field!r} must be a non-empty string"):
        read_encoder_manifest(folder)


@pytest.mark.parametrize("value", [True, 1.5, ["x"], "abc", 5], ids=ascii)
@pytest.mark.parametrize("field", ["query", "passage", "files", "source", "parity"])
def test_what_is_no_object_is_refused_by_field(
    folder: Path, change: Callable[[str, Any], None], field: str, value: Any
) -> None:
    change(field, value)
    with refuses(f"{field!r} must be an object"):
        read_encoder_manifest(folder)


@pytest.mark.parametrize("value", [None, 5, ["x"], "\ud800"], ids=ascii)
def test_a_prefix_that_is_no_text_is_refused(
    folder: Path, change: Callable[[str, Any], None], value: Any
) -> None:
    change("query|prefix", value)
    with refuses("'query.prefix' must be a string"):
        read_encoder_manifest(folder)


@pytest.mark.parametrize("value", [5, "en", {"en": 1}, [1], ["en", None], True], ids=ascii)
def test_languages_must_be_a_list_of_codes(
    folder: Path, change: Callable[[str, Any], None], value: Any
) -> None:
    change("languages", value)
    with refuses("'languages' must be a list of strings"):
        read_encoder_manifest(folder)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("kind", "generator", "a model of kind 'generator', an encoder is wanted"),
        ("schema_version", 2, "manifest version 2, this release reads 1"),
        ("similarity", "euclid", "similarity is 'euclid', not one of"),
        ("dimension", MAX_DIMENSION + 1, "from 1 to 65536, not 65537"),
        ("query|max_length", 1, "'query.max_length' must be a whole number from 2"),
        ("passage|max_length", MAX_LENGTH + 1, "'passage.max_length' must be a whole number"),
        ("pad_token_id", 2**31 + 1, "'pad_token_id' must be a whole number"),
    ],
)
def test_what_this_release_cannot_run_is_refused(
    folder: Path, change: Callable[[str, Any], None], field: str, value: Any, message: str
) -> None:
    change(field, value)
    with refuses(message):
        read_encoder_manifest(folder)


@pytest.mark.parametrize(
    "name",
    [
        "../outside.bin",
        "/etc/passwd",
        "inner/file",
        "..\\outside.bin",
        "C:\\outside.bin",
        "..",
        ".",
        "",
        "a\0b",
        "a\nb",
        "\ud800",
    ],
    ids=ascii,
)
def test_a_file_outside_the_folder_is_never_touched(
    folder: Path, change: Callable[[str, Any], None], name: str
) -> None:
    (folder.parent / "outside.bin").write_bytes(b"secret")
    change(f"files|{name}", "0" * 64)
    with refuses("is not the plain name of a file") as error:
        read_encoder_manifest(folder)
    str(error.value).encode()


@pytest.mark.parametrize("digest", [None, 5, "", "0" * 63, "0" * 65, "z" * 64, {}, {"bytes": 5}])
def test_what_is_no_hash_is_refused(
    folder: Path, change: Callable[[str, Any], None], digest: Any
) -> None:
    change("files|model.onnx", digest)
    with refuses("'files.model.onnx' has no sha256"):
        read_encoder_manifest(folder)


@pytest.mark.parametrize("file", ["model.onnx", "tokenizer.json"])
def test_one_changed_byte_is_found_by_its_hash(folder: Path, file: str) -> None:
    path = folder / file
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with refuses(f"{path}: its sha256 is"):
        read_encoder_manifest(folder).verify_files()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"[]", "expected a JSON object"),
        (b"\xff\xfe", "not UTF-8"),
        (b'{"dimension": NaN}', "NaN is not a JSON number"),
        (b"[" * 100_000, "nested too deep"),
        (b'{"dimension": ' + b"9" * 5_000 + b"}", "thousands of digits"),
    ],
    ids=["empty", "cut off", "a list", "binary", "NaN", "deep", "huge number"],
)
def test_a_manifest_that_is_no_json_object_is_refused(
    folder: Path, data: bytes, message: str
) -> None:
    (folder / MANIFEST_FILE).write_bytes(data)
    with refuses(f"not a model folder: {folder / MANIFEST_FILE}") as error:
        read_encoder_manifest(folder)
    assert message in str(error.value)


def test_a_folder_without_a_manifest_is_no_model(tmp_path: Path) -> None:
    with refuses(f"not a model folder: {tmp_path / MANIFEST_FILE}: no such file"):
        read_encoder_manifest(tmp_path)


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / "model.onnx").unlink()
    with refuses(f"{folder / 'model.onnx'}: cannot be read: No such file"):
        read_encoder_manifest(folder).verify_files()


def test_a_folder_in_a_files_place_is_named(folder: Path) -> None:
    (folder / "model.onnx").unlink()
    (folder / "model.onnx").mkdir()
    with refuses(f"{folder / 'model.onnx'}: cannot be read: Is a directory"):
        read_encoder_manifest(folder).verify_files()


def test_a_name_is_looked_up_in_the_users_models_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for root in ("first", "second"):
        build_encoder(tmp_path / root / "mine", name=root)
    build_encoder(tmp_path / "second" / "other")
    roots = [tmp_path / "none", tmp_path / "first", tmp_path / "second"]
    monkeypatch.setenv(MODELS_VARIABLE, os.pathsep.join(["", *map(str, roots)]))
    assert find_model("mine") == tmp_path / "first" / "mine"
    assert find_model("other") == tmp_path / "second" / "other"
    assert list(list_models())[:2] == [find_model("mine"), find_model("other")]


def test_folders_without_a_manifest_are_no_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv(MODELS_VARIABLE, str(tmp_path))
    assert not {"empty", "file"} & {folder.name for folder in list_models()}
    with refuses("no model named 'empty'"):
        find_model("empty")


def test_models_that_are_still_being_exported_are_not_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_encoder(tmp_path / "mine")
    build_encoder(tmp_path / ".mine.partial-0123")
    monkeypatch.setenv(MODELS_VARIABLE, str(tmp_path))
    assert [each.name for each in list_models() if each.parent == tmp_path] == ["mine"]


@pytest.mark.parametrize("as_text", [False, True])
def test_a_path_is_taken_as_it_is(folder: Path, as_text: bool) -> None:
    assert find_model(str(folder) if as_text else folder) == folder


def test_a_folder_beside_is_found_by_its_name(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    assert find_model("tiny") == Path("tiny")
    assert find_model("./tiny") == Path("tiny")


def test_a_path_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with refuses(f"{tmp_path / 'none'}: no such model folder"):
        find_model(tmp_path / "none")


def test_an_unknown_name_is_refused_with_the_names_at_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_encoder(tmp_path / "mine")
    monkeypatch.setenv(MODELS_VARIABLE, str(tmp_path))
    with refuses("no model named 'unknown': at hand are mine"):
        find_model("unknown")


@pytest.mark.parametrize("name", ["", "a\0b", "\ud800"], ids=ascii)
def test_what_cannot_be_a_name_is_refused(name: str) -> None:
    with refuses("no model named"):
        find_model(name)
