from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from tests.tiny import build_encoder, write_manifest
from xqg_qdrant import Encoder, ModelError
from xqg_qdrant.models.external_data import check_external_data, external_data

WEIGHTS = np.arange(64, dtype=np.float32)


def outside(name: str, location: str = "../secret") -> TensorProto:
    """A tensor whose numbers are in another file."""
    tensor = numpy_helper.from_array(WEIGHTS, name)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("offset", "0"), ("location", location), ("length", "256")):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    return tensor


def as_initializer(graph: onnx.GraphProto) -> None:
    graph.initializer.append(outside("w"))


def as_constant(graph: onnx.GraphProto) -> None:
    graph.node.append(helper.make_node("Constant", [], ["w"], value=outside("w")))


def as_list(graph: onnx.GraphProto) -> None:
    node = helper.make_node("Own", [], ["w"])
    node.attribute.append(helper.make_attribute("tensors", [outside("w")]))
    graph.node.append(node)


def as_sparse(graph: onnx.GraphProto) -> None:
    sparse = graph.sparse_initializer.add()
    sparse.values.CopyFrom(outside("w"))


def as_sparse_attribute(graph: onnx.GraphProto) -> None:
    sparse = onnx.SparseTensorProto()
    sparse.indices.CopyFrom(outside("w"))
    graph.node.append(helper.make_node("Constant", [], ["w"], sparse_value=sparse))


def in_a_branch(graph: onnx.GraphProto) -> None:
    branch = helper.make_graph([], "branch", [], [])
    as_constant(branch)
    graph.node.append(
        helper.make_node("If", ["c"], ["w"], then_branch=branch, else_branch=onnx.GraphProto())
    )


def model_with(place: Callable[[onnx.GraphProto], None]) -> onnx.ModelProto:
    model = helper.make_model(helper.make_graph([], "g", [], []))
    place(model.graph)
    return model


@pytest.mark.parametrize(
    "place",
    [as_initializer, as_constant, as_list, as_sparse, as_sparse_attribute, in_a_branch],
)
def test_weights_elsewhere_are_found_wherever_a_model_may_have_them(
    place: Callable[[onnx.GraphProto], None], tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(model_with(place).SerializeToString())
    assert external_data(path) == {"../secret"}
    with pytest.raises(ModelError, match=r"'\.\./secret', a file that the manifest does not list"):
        check_external_data(path, ["model.onnx"])


def test_weights_elsewhere_are_found_in_functions_and_training_graphs(tmp_path: Path) -> None:
    model = helper.make_model(helper.make_graph([], "g", [], []))
    function = model.functions.add()
    function.name = "f"
    function.node.append(helper.make_node("Constant", [], ["w"], value=outside("w", "one")))
    function.attribute_proto.append(helper.make_attribute("a", outside("w", "two")))
    training = model.training_info.add()
    training.initialization.initializer.append(outside("w", "three"))
    training.algorithm.initializer.append(outside("w", "four"))
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    assert external_data(path) == {"one", "two", "three", "four"}


def test_a_model_of_one_file_names_no_other(tiny_folder: Path) -> None:
    assert external_data(tiny_folder / "model.onnx") == set()


@given(data=st.binary(max_size=200))
def test_bytes_that_are_no_model_are_refused_or_name_nothing_by_accident(
    data: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "noise.onnx"
    path.write_bytes(data)
    try:
        found = external_data(path)
    except ModelError as error:
        assert "noise.onnx: not an ONNX model" in str(error)
    else:
        assert all(isinstance(each, str) for each in found)


@given(end=st.integers(min_value=1, max_value=10_000))
def test_a_model_that_is_cut_off_is_no_model_or_names_nothing(
    end: int, tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    whole = (tiny_folder / "model.onnx").read_bytes()
    path = tmp_path_factory.getbasetemp() / "cut.onnx"
    path.write_bytes(whole[: min(end, len(whole))])
    try:
        assert external_data(path) == set()
    except ModelError as error:
        assert "ends too early" in str(error)


def test_graphs_nested_without_end_are_refused(tmp_path: Path) -> None:
    graph = helper.make_graph([], "g", [], []).SerializeToString()
    # An onnx.ModelProto cannot be built this deep, so its bytes are.
    for _ in range(200):
        attribute = field(6, graph)
        graph = field(1, field(5, attribute))
    path = tmp_path / "model.onnx"
    path.write_bytes(field(7, graph))
    with pytest.raises(ModelError, match="nested too deep"):
        external_data(path)


def field(number: int, value: bytes) -> bytes:
    length, size = b"", len(value)
    while size > 127:
        length += bytes([size & 127 | 128])
        size >>= 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + value


def externalise(folder: Path, location: str, *, listed: bool) -> None:
    """Move the weights of a tiny encoder into a file."""
    path = folder / "model.onnx"
    model = onnx.load(str(path))
    (table,) = [each for each in model.graph.initializer if each.name == "table"]
    weights = bytes(table.raw_data)
    table.ClearField("raw_data")
    table.data_location = TensorProto.EXTERNAL
    entry = table.external_data.add()
    entry.key, entry.value = "location", location
    path.write_bytes(model.SerializeToString())
    (folder / location).write_bytes(weights)
    sign(folder, *([location] if listed else []))


def sign(folder: Path, *more: str) -> None:
    fields = json.loads((folder / "manifest.json").read_text())
    del fields["files"]
    write_manifest(folder, more=more, **fields)


def test_weights_in_a_listed_file_are_read_and_checked(tmp_path: Path) -> None:
    plain = Encoder.load(build_encoder(tmp_path / "plain"), threads=1)
    folder = build_encoder(tmp_path / "split")
    externalise(folder, "model.onnx.data", listed=True)
    encoder = Encoder.load(folder, threads=1)
    np.testing.assert_array_equal(encoder.encode_queries(["mto"]), plain.encode_queries(["mto"]))
    data = bytearray((folder / "model.onnx.data").read_bytes())
    data[100] ^= 1
    (folder / "model.onnx.data").write_bytes(data)
    with pytest.raises(ModelError, match=r"model\.onnx\.data: its sha256 is"):
        Encoder.load(folder)


@pytest.mark.parametrize("location", ["model.onnx.data", "../secret", "sub/../../secret"])
def test_weights_in_a_file_that_is_not_listed_are_not_read(tmp_path: Path, location: str) -> None:
    folder = build_encoder(tmp_path / "hostile")
    (folder / "sub").mkdir()
    externalise(folder, location, listed=False)
    with pytest.raises(ModelError, match="a file that the manifest does not list"):
        Encoder.load(folder)


def test_a_manifest_cannot_list_a_file_outside(tmp_path: Path) -> None:
    folder = build_encoder(tmp_path / "hostile")
    externalise(folder, "../secret", listed=True)
    with pytest.raises(ModelError, match=r"'\.\./secret' is not the plain name of a file"):
        Encoder.load(folder)
