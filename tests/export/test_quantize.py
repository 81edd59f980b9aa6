from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from onnx import TensorProto, helper, numpy_helper

from xqg_qdrant.export.quantize import (
    ACTIVATION_LEVELS,
    SMALLEST_TABLE,
    WEIGHT_LEVELS,
    quantize,
    round_columns,
)

RNG = np.random.default_rng(0)
WEIGHTS = RNG.standard_normal((24, 40)).astype(np.float32)
BIAS = RNG.standard_normal(40).astype(np.float32)
TABLE = RNG.standard_normal((SMALLEST_TABLE // 16, 16)).astype(np.float32)


def build(
    nodes: list[Any], constants: dict[str, Any], inputs: dict[str, list[Any]], opset: int = 17
) -> onnx.ModelProto:
    ids = {"ids": TensorProto.INT64}
    graph = helper.make_graph(
        nodes,
        "small",
        [
            helper.make_tensor_value_info(name, ids.get(name, TensorProto.FLOAT), shape)
            for name, shape in inputs.items()
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def run(model: onnx.ModelProto, **feeds: Any) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(["y"], feeds)[0]


def product(opset: int = 17) -> onnx.ModelProto:
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    return build([node], {"w": WEIGHTS}, {"x": ["b", "t", 24]}, opset)


def by_hand(x: Any) -> Any:
    """The same in whole numbers: sums are exact, only the last two factors are rounded."""
    largest = np.abs(x).max(axis=-1, keepdims=True).astype(np.float64)
    rows = np.rint(x * np.float32(ACTIVATION_LEVELS) / largest.astype(np.float32))
    columns, scales = round_columns(WEIGHTS, WEIGHT_LEVELS)
    sums = rows.astype(np.int64) @ columns.astype(np.int64)
    return sums * scales.astype(np.float64) * largest / ACTIVATION_LEVELS


@pytest.mark.parametrize("opset", [17, 18, 20])
def test_a_product_is_that_of_rounded_rows_and_columns(opset: int) -> None:
    x = RNG.standard_normal((3, 5, 24)).astype(np.float32)
    found = run(quantize(product(opset)), x=x)
    np.testing.assert_allclose(found, by_hand(x), rtol=1e-5, atol=1e-5)
    assert np.abs(found - x @ WEIGHTS).mean() < 0.02 * np.abs(x @ WEIGHTS).mean()


@settings(max_examples=30)
@given(
    hnp.arrays(np.float32, (4, 24), elements=st.floats(-1e4, 1e4, width=32)),
    st.integers(0, 3),
    st.floats(1e-3, 1e3),
)
def test_a_row_does_not_hang_on_the_rows_beside_it(x: Any, row: int, factor: float) -> None:
    model = quantize(product())
    beside = (x * np.float32(factor)).astype(np.float32)
    beside[row] = x[row]
    alone, first, second = (run(model, x=rows[None]) for rows in (x[row : row + 1], x, beside))
    assert np.array_equal(alone[0, 0], first[0, row])
    assert np.array_equal(first[0, row], second[0, row])


def test_a_row_of_zeros_stays_zero() -> None:
    assert not run(quantize(product()), x=np.zeros((1, 2, 24), dtype=np.float32)).any()


def test_weights_keep_to_seven_bits() -> None:
    """Two products of a 7-bit weight and an 8-bit activation fit 16 bits, without VNNI too."""
    (weights,) = (
        numpy_helper.to_array(each)
        for each in quantize(product()).graph.initializer
        if each.data_type == TensorProto.INT8
    )
    assert np.abs(weights.astype(int)).max() == WEIGHT_LEVELS
    assert np.iinfo(np.int16).max >= 2 * 255 * WEIGHT_LEVELS


@pytest.mark.parametrize("transposed", [0, 1])
@pytest.mark.parametrize("bias", [True, False])
def test_gemm(transposed: int, bias: bool) -> None:
    node = helper.make_node("Gemm", ["x", "w", *(["b"] if bias else [])], ["y"], transB=transposed)
    constants = {"w": WEIGHTS.T.copy() if transposed else WEIGHTS, **({"b": BIAS} if bias else {})}
    x = RNG.standard_normal((6, 24)).astype(np.float32)
    found = run(quantize(build([node], constants, {"x": ["n", 24]})), x=x)
    np.testing.assert_allclose(found, by_hand(x) + (BIAS if bias else 0), rtol=1e-5, atol=1e-5)


def test_a_gemm_that_scales_is_left_alone() -> None:
    node = helper.make_node("Gemm", ["x", "w", "b"], ["y"], alpha=0.5)
    model = build([node], {"w": WEIGHTS, "b": BIAS}, {"x": ["n", 24]})
    x = RNG.standard_normal((6, 24)).astype(np.float32)
    expected = run(model, x=x)
    assert np.array_equal(run(quantize(model), x=x), expected)


def test_one_input_of_several_products_is_rounded_once() -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["p"], name="p"),
        helper.make_node("MatMul", ["x", "v"], ["q"], name="q"),
        helper.make_node("Add", ["p", "q"], ["y"]),
    ]
    model = quantize(build(nodes, {"w": WEIGHTS, "v": -WEIGHTS}, {"x": ["n", 24]}))
    kinds = [node.op_type for node in model.graph.node]
    assert kinds.count("QuantizeLinear") == 1
    assert kinds.count("MatMulIntegerToFloat") == 2
    assert not run(model, x=RNG.standard_normal((2, 24)).astype(np.float32)).any()


def test_products_of_two_inputs_are_left_alone() -> None:
    node = helper.make_node("MatMul", ["x", "z"], ["y"])
    model = quantize(build([node], {}, {"x": ["n", 24], "z": [24, "m"]}))
    assert [each.op_type for each in model.graph.node] == ["MatMul"]


def test_large_tables_are_rounded_by_rows() -> None:
    node = helper.make_node("Gather", ["table", "ids"], ["y"])
    model = build([node], {"table": TABLE}, {"ids": ["b", "t"]})
    size = len(model.SerializeToString())
    ids = RNG.integers(0, len(TABLE), (3, 4))
    rounded = quantize(model)
    assert len(rounded.SerializeToString()) < 0.35 * size
    steps = np.abs(TABLE[ids]).max(axis=-1, keepdims=True) / 127
    assert (np.abs(run(rounded, ids=ids) - TABLE[ids]) <= 0.501 * steps).all()


def test_small_tables_are_left_alone() -> None:
    node = helper.make_node("Gather", ["table", "ids"], ["y"])
    model = quantize(build([node], {"table": WEIGHTS}, {"ids": ["b", "t"]}))
    assert [each.op_type for each in model.graph.node] == ["Gather"]


def test_weights_that_nothing_uses_any_more_are_gone() -> None:
    assert "w" not in {each.name for each in quantize(product()).graph.initializer}
    node = helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(WEIGHTS))
    model = build([node, *product().graph.node], {}, {"x": ["b", "t", 24]})
    assert "Constant" not in {each.op_type for each in quantize(model).graph.node}


@given(
    hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 20), st.integers(1, 20)),
        elements=st.floats(-1e6, 1e6, width=32),
    )
)
def test_no_weight_is_off_by_more_than_half_a_step(weights: Any) -> None:
    rounded, scales = round_columns(weights, WEIGHT_LEVELS)
    assert (np.abs(rounded.astype(int)) <= WEIGHT_LEVELS).all()
    assert (np.abs(rounded * scales - weights) <= 0.5001 * scales + 1e-30).all()
