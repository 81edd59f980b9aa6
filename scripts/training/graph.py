"""The student as an int8 ONNX model.

Every matrix product of the body is one of int8 weights, a scale a column, and uint8 activations,
whose scale is fixed beforehand: a token's vector then depends on its own text alone, where scales
measured at run time, ONNX Runtime's default, would make it depend on the batch. Weights keep to 7
bits: two products of 8 bits overflow the 16 that processors without VNNI add them up in. Token
vectors have three and two bits a value, see ``levels``; those of the texts at hand are unpacked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training import levels
from training.shape import BAG_BITS, BAG_BLOCK, BAG_WEIGHT, EPSILON, TOKEN_BITS, TOKEN_BLOCK
from training.wordpieces import SPECIAL

OPSET = 17
Floats = NDArray[np.float32]


def quantise_columns(weight: Floats, bits: int) -> tuple[NDArray[np.int8], Floats]:
    """A matrix (inputs, outputs) as whole numbers, with a scale for each column."""
    most = 2 ** (bits - 1) - 1
    scales = np.maximum(np.abs(weight).max(axis=0) / most, 1e-12).astype(np.float32)
    return np.rint(weight / scales).astype(np.int8), scales


class _Graph:
    """Nodes and initializers, named as they come."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []

    def value(self, name: str, array: NDArray[Any]) -> str:
        from onnx import numpy_helper

        self.initializers.append(numpy_helper.from_array(np.array(array, order="C"), name))
        return name

    def node(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        from onnx import helper

        if kind in _CONTRIB:
            attributes["domain"] = "com.microsoft"
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output


_CONTRIB = {"QAttention", "MatMulIntegerToFloat", "BiasGelu"}


def write_model(
    path: Path,
    weights: Mapping[str, Floats],
    ranges: Mapping[str, tuple[float, float]],
    *,
    layers: int,
    heads: int,
    producer: str,
) -> None:
    """Write the model.

    Args:
        path: of the file.
        weights: the student's, by their names in its state.
        ranges: least and largest input of each product, by the name of its layer and matrix.
        layers: of the body.
        heads: of each layer.
        producer: named in the file.
    """
    import onnx
    from onnx import TensorProto, helper

    graph = _Graph()
    dimension = weights["tokens"].shape[1]
    hidden = _embed(graph, weights)
    graph.node("Cast", ["attention_mask"], "mask", to=TensorProto.INT32)
    for number in range(layers):
        hidden = _layer(graph, weights, ranges, f"layers.{number}", hidden, heads)
    graph.node("Cast", ["attention_mask"], "real", to=TensorProto.FLOAT)
    body = _unit(graph, _summed(graph, hidden, "real", "contextual"), "contextual")
    # Special tokens have the lowest ids, and are no part of what is summed.
    graph.value("first_content", np.array(len(SPECIAL), dtype=np.int64))
    graph.node("GreaterOrEqual", ["input_ids", "first_content"], "is_content")
    graph.node("Cast", ["is_content"], "content", to=TensorProto.FLOAT)
    graph.node("Mul", ["content", "real"], "counted")
    bag = _table(graph, "bag", weights["bag"], BAG_BITS, BAG_BLOCK)
    plain = _unit(graph, _summed(graph, bag, "counted", "plain"), "plain")
    graph.value("bag_weight", np.array(BAG_WEIGHT, dtype=np.float32))
    graph.node("Mul", [plain, "bag_weight"], "plain_share")
    graph.node("Add", [body, "plain_share"], "both")
    _unit(graph, "both", "embedding", output="embedding")
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "encoder",
            [
                helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "sequence"])
                for name in ("input_ids", "attention_mask")
            ],
            [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", dimension])],
            graph.initializers,
        ),
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid("com.microsoft", 1)],
        producer_name=producer,
        ir_version=8,
    )
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString(deterministic=True))


def _table(graph: _Graph, name: str, table: Floats, bits: int, block: int) -> str:
    """The rows of a table for the tokens at hand, (batch, sequence, dimension), unpacked.

    Values of two bits are packed four to a byte; a third bit, the sign, eight to a byte.
    """
    from onnx import TensorProto

    codes, scales = levels.quantise(table, bits, block)
    dimension = table.shape[1]
    row_shape = graph.value(f"{name}.row_shape", np.array([0, 0, dimension], dtype=np.int64))

    def unpacked(part: str, numbers: NDArray[np.uint8], width: int, values: Floats) -> str:
        own = f"{name}.{part}"
        graph.value(f"{own}.packed", levels.pack(numbers, width))
        # Every byte stands for the same few values, wherever it is.
        of_byte = levels.unpack(np.arange(256, dtype=np.uint8), width)
        graph.value(f"{own}.table", values[of_byte].astype(np.float32))
        graph.node("Gather", [f"{own}.packed", "input_ids"], f"{own}.bytes", axis=0)
        graph.node("Cast", [f"{own}.bytes"], f"{own}.places", to=TensorProto.INT32)
        graph.node("Gather", [f"{own}.table", f"{own}.places"], f"{own}.groups", axis=0)
        return graph.node("Reshape", [f"{own}.groups", row_shape], f"{own}.values")

    values = np.array(levels.LEVELS[bits], dtype=np.float32)
    half = len(values) // 2
    if bits == 2:
        whole = unpacked("value", codes, 2, values)
    else:
        # Levels are symmetric: two bits of size, one of sign.
        size = np.where(codes >= half, codes - half, half - 1 - codes).astype(np.uint8)
        sizes = unpacked("size", size, 2, values[half:])
        sign = (codes >= half).astype(np.uint8)
        signs = unpacked("sign", sign, 1, np.array([-1, 1], dtype=np.float32))
        whole = graph.node("Mul", [sizes, signs], f"{name}.values")
    axis = graph.value(f"{name}.axis", np.array([3], dtype=np.int64))
    graph.value(f"{name}.scales", scales)
    graph.node("Gather", [f"{name}.scales", "input_ids"], f"{name}.half_scales", axis=0)
    graph.node("Cast", [f"{name}.half_scales"], f"{name}.full_scales", to=TensorProto.FLOAT)
    graph.node("Unsqueeze", [f"{name}.full_scales", axis], f"{name}.block_scales")
    shape = np.array([0, 0, dimension // block, block], dtype=np.int64)
    graph.node("Reshape", [whole, graph.value(f"{name}.shape", shape)], f"{name}.blocks")
    graph.node("Mul", [f"{name}.blocks", f"{name}.block_scales"], f"{name}.scaled")
    return graph.node("Reshape", [f"{name}.scaled", row_shape], f"{name}.vectors")


def _summed(graph: _Graph, vectors: str, weights: str, name: str) -> str:
    """Sums over the sequence, (batch, dimension), each token weighted."""
    axis = graph.value(f"{name}.sum_axis", np.array([1], dtype=np.int64))
    graph.node("Unsqueeze", [weights, axis], f"{name}.weights")
    graph.node("MatMul", [f"{name}.weights", vectors], f"{name}.row")
    return graph.node("Squeeze", [f"{name}.row", axis], f"{name}.sum")


def _unit(graph: _Graph, vectors: str, name: str, *, output: str = "") -> str:
    """Vectors of length 1; a zero vector stays one."""
    graph.value(f"{name}.least", np.array(1e-6, dtype=np.float32))
    graph.node("ReduceL2", [vectors], f"{name}.length", axes=[1], keepdims=1)
    graph.node("Max", [f"{name}.length", f"{name}.least"], f"{name}.safe_length")
    return graph.node("Div", [vectors, f"{name}.safe_length"], output or f"{name}.unit")


def _embed(graph: _Graph, weights: Mapping[str, Floats]) -> str:
    from onnx import TensorProto

    read = _table(graph, "tokens", weights["tokens"], TOKEN_BITS, TOKEN_BLOCK)
    graph.value("places_half", weights["places"].astype(np.float16))
    graph.node("Shape", ["input_ids"], "sequence", start=1, end=2)
    graph.value("zero", np.array([0], dtype=np.int64))
    graph.node("Slice", ["places_half", "zero", "sequence", "zero"], "places_used")
    graph.node("Cast", ["places_used"], "places", to=TensorProto.FLOAT)
    graph.node("Add", [read, "places"], "placed")
    names = [graph.value(f"norm.{part}", weights[f"norm.{part}"]) for part in ("weight", "bias")]
    return graph.node("LayerNormalization", ["placed", *names], "embedded", epsilon=EPSILON)


def _layer(
    graph: _Graph,
    weights: Mapping[str, Floats],
    ranges: Mapping[str, tuple[float, float]],
    name: str,
    hidden: str,
    heads: int,
) -> str:
    def product(matrix: str, inputs: str) -> list[str]:
        """What a product of integers needs, in the order of MatMulIntegerToFloat."""
        own = f"{name}.{matrix}"
        rows, scales = quantise_columns(weights[f"{own}.weight"].T, 7)
        low, high = ranges[own]
        step = np.float32((high - low) / 255)
        zero = np.uint8(np.clip(round(-low / float(step)), 0, 255))
        graph.value(f"{own}.step", step.reshape(()))
        graph.value(f"{own}.zero", zero.reshape(()))
        graph.node("QuantizeLinear", [inputs, f"{own}.step", f"{own}.zero"], f"{own}.inputs")
        graph.value(f"{own}.rows", rows)
        graph.value(f"{own}.scales", scales)
        return [f"{own}.{part}" for part in ("inputs", "rows", "step", "scales", "zero")]

    def given(part: str) -> str:
        return graph.value(f"{name}.{part}", weights[f"{name}.{part}"])

    def added(matrix: str, norm: str, inputs: str, skipped: str, output: str) -> str:
        """A product added to what went past it, normalised.

        ONNX Runtime's own fusion of the two, SkipLayerNormalization, is slower on a processor.
        """
        bias = ["", given(f"{matrix}.bias")]
        out = graph.node(
            "MatMulIntegerToFloat", product(matrix, inputs) + bias, f"{name}.{matrix}.out"
        )
        graph.node("Add", [out, skipped], f"{output}.sum")
        names = [given(f"{norm}.{part}") for part in ("weight", "bias")]
        return graph.node("LayerNormalization", [f"{output}.sum", *names], output, epsilon=EPSILON)

    inputs, rows, step, scales, zero = product("attend", hidden)
    mixed = graph.node(
        "QAttention",
        [inputs, rows, given("attend.bias"), step, scales, "mask", zero],
        f"{name}.mixed",
        num_heads=heads,
    )
    hidden = added("gather", "norm1", mixed, hidden, f"{name}.between")
    wide = graph.node("MatMulIntegerToFloat", product("widen", hidden), f"{name}.wide")
    inner = graph.node("BiasGelu", [wide, given("widen.bias")], f"{name}.inner")
    return added("narrow", "norm2", inner, hidden, f"{name}.out")
