"""int8 models whose answers do not hang on the batch, nor on the processor.

ONNX Runtime's ``quantize_dynamic`` takes one scale for a whole batch of activations, so a text's
vector changes with the texts beside it, and 8-bit weights saturate in 16-bit sums on processors
without VNNI. Here every row of activations, that is every token, has a scale of its own, and
weights keep to 7 of their 8 bits: sums of products are exact in 32-bit integers everywhere.

A row ``x`` becomes ``q = round(x * 127 / max|x|)``, and ``x W`` becomes ``max|x| / 127 * (q Q) s``,
with ``Q`` the int8 weights and ``s`` a scale for each of their columns. ``(q Q) s`` is one kernel,
com.microsoft's MatMulIntegerToFloat.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto

WEIGHT_LEVELS = 63
"""Largest weight: 255 * 63 * 2 still fits the 16 bits that processors without VNNI sum pairs in."""

TABLE_LEVELS = 127
ACTIVATION_LEVELS = 127

SMALLEST_TABLE = 2**18
"""Elements from which on an embedding table is worth rounding; positions and types are smaller."""

_MICROSOFT = "com.microsoft"


def quantize(model: ModelProto) -> ModelProto:
    """Round the weights of matrix products, and embedding tables, to int8.

    Args:
        model: float32; it is changed, and spent afterwards.

    Returns:
        The model with the same inputs and outputs. It needs onnxruntime's own operators.
    """
    from onnx import helper

    graph = model.graph
    rewriter = _Rewriter(graph, _opset(model))
    nodes = list(rewriter.rewritten())
    used = {*_names(nodes), *(each.name for each in graph.output)}
    del graph.node[:]
    graph.node.extend(node for node in nodes if node.op_type != "Constant" or used & {*node.output})
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    graph.initializer.extend(rewriter.initializers.values())
    if not any(each.domain == _MICROSOFT for each in model.opset_import):
        model.opset_import.append(helper.make_opsetid(_MICROSOFT, 1))
    # What torch noted of the shapes of tensors between nodes that are gone.
    del graph.value_info[:]
    return model


def round_columns(
    weights: NDArray[np.float32], levels: int
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Round to whole multiples of a scale for each column.

    Args:
        weights: float32, (rows, columns).
        levels: the largest multiple.

    Returns:
        int8 (rows, columns), and the scales, float32 (columns,).
    """
    scales = np.maximum(np.abs(weights).max(axis=0), np.float32(1e-30)) / np.float32(levels)
    rounded = np.rint(weights / scales).astype(np.int8)
    return rounded, scales.astype(np.float32)


class _Rewriter:
    def __init__(self, graph: GraphProto, opset: int) -> None:
        self._graph = graph
        self._opset = opset
        self._given = {tensor.name: tensor for tensor in graph.initializer}
        self._constants = {
            node.output[0]: node.attribute[0].t
            for node in graph.node
            if node.op_type == "Constant" and node.attribute[0].name == "value"
        }
        self.initializers: dict[str, TensorProto] = {}
        self._rows: dict[str, tuple[str, str]] = {}

    def rewritten(self) -> Iterator[NodeProto]:
        for node in self._graph.node:
            if node.op_type == "MatMul" and self._is_matrix(node.input[1]):
                yield from self._product(node, self._value(node.input[1]))
            elif node.op_type == "Gemm" and self._is_plain_gemm(node):
                weights = self._value(node.input[1])
                yield from self._product(node, weights.T if _flag(node, "transB") else weights)
            elif node.op_type == "Gather" and self._is_table(node):
                yield from self._lookup(node)
            else:
                yield node

    def _product(self, node: NodeProto, weights: NDArray[np.float32]) -> Iterator[NodeProto]:
        """``x W``, or ``x W + b`` of a Gemm."""
        from onnx import helper

        x, name = node.input[0], node.output[0]
        weight = f"{node.input[1]}::{'t' if _flag(node, 'transB') else 'n'}"
        if f"{weight}::int8" not in self.initializers:
            rounded, scales = round_columns(weights, WEIGHT_LEVELS)
            self._add(f"{weight}::int8", rounded)
            self._add(f"{weight}::scale", scales)
        if x not in self._rows:
            yield from self._round_rows(x)
        rounded_rows, row_scales = self._rows[x]
        self._add("xqg::one", np.array(1, dtype=np.float32))
        self._add("xqg::middle", np.array(128, dtype=np.uint8))
        yield helper.make_node(
            "MatMulIntegerToFloat",
            [
                rounded_rows,
                f"{weight}::int8",
                "xqg::one",
                f"{weight}::scale",
                "xqg::middle",
            ],
            [f"{name}::sums"],
            name=f"{node.name}::product",
            domain=_MICROSOFT,
        )
        bias = node.input[2] if node.op_type == "Gemm" and len(node.input) > 2 else None
        scaled = f"{name}::scaled" if bias else name
        yield helper.make_node("Mul", [f"{name}::sums", row_scales], [scaled])
        if bias:
            yield helper.make_node("Add", [scaled, bias], [name])

    def _round_rows(self, x: str) -> Iterator[NodeProto]:
        from onnx import helper

        axes: dict[str, Any] = {"axes": [-1]} if self._opset < 18 else {}
        last = [] if self._opset < 18 else ["xqg::last"]
        self._add("xqg::last", np.array([-1], dtype=np.int64))
        self._add("xqg::least", np.array(1e-30, dtype=np.float32))
        self._add("xqg::levels", np.array(ACTIVATION_LEVELS, dtype=np.float32))
        self._add("xqg::one", np.array(1, dtype=np.float32))
        self._add("xqg::middle", np.array(128, dtype=np.uint8))
        rounded, scale = f"{x}::uint8", f"{x}::scale"
        yield helper.make_node("ReduceMax", [x, *last], [f"{x}::most"], keepdims=1, **axes)
        yield helper.make_node("ReduceMin", [x, *last], [f"{x}::lowest"], keepdims=1, **axes)
        yield helper.make_node("Neg", [f"{x}::lowest"], [f"{x}::below"])
        yield helper.make_node(
            "Max", [f"{x}::most", f"{x}::below", "xqg::least"], [f"{x}::largest"]
        )
        yield helper.make_node("Div", [f"{x}::largest", "xqg::levels"], [scale])
        yield helper.make_node("Div", ["xqg::levels", f"{x}::largest"], [f"{x}::factor"])
        yield helper.make_node("Mul", [x, f"{x}::factor"], [f"{x}::multiples"])
        yield helper.make_node(
            "QuantizeLinear", [f"{x}::multiples", "xqg::one", "xqg::middle"], [rounded]
        )
        self._rows[x] = rounded, scale

    def _lookup(self, node: NodeProto) -> Iterator[NodeProto]:
        """Rows of a table: only those asked for are made floats."""
        from onnx import TensorProto, helper

        table, ids, name = node.input[0], node.input[1], node.output[0]
        if f"{table}::rows" not in self.initializers:
            rounded, scales = round_columns(self._value(table).T, TABLE_LEVELS)
            self._add(f"{table}::rows", np.ascontiguousarray(rounded.T))
            self._add(f"{table}::row_scales", scales[:, None])
        yield helper.make_node("Gather", [f"{table}::rows", ids], [f"{name}::rows"], axis=0)
        yield helper.make_node("Gather", [f"{table}::row_scales", ids], [f"{name}::scale"], axis=0)
        yield helper.make_node("Cast", [f"{name}::rows"], [f"{name}::values"], to=TensorProto.FLOAT)
        yield helper.make_node("Mul", [f"{name}::values", f"{name}::scale"], [name])

    def _is_matrix(self, name: str) -> bool:
        tensor = self._tensor(name)
        return tensor is not None and len(tensor.dims) == 2 and tensor.data_type == 1

    def _is_plain_gemm(self, node: NodeProto) -> bool:
        scales = [each.f for each in node.attribute if each.name in ("alpha", "beta")]
        return (
            self._is_matrix(node.input[1])
            and all(scale == 1 for scale in scales)
            and not _flag(node, "transA")
        )

    def _is_table(self, node: NodeProto) -> bool:
        axis = next((each.i for each in node.attribute if each.name == "axis"), 0)
        tensor = self._tensor(node.input[0])
        return (
            axis == 0
            and self._is_matrix(node.input[0])
            and tensor is not None
            and int(np.prod(tensor.dims)) >= SMALLEST_TABLE
        )

    def _tensor(self, name: str) -> TensorProto | None:
        return self._given.get(name) or self._constants.get(name)

    def _value(self, name: str) -> NDArray[np.float32]:
        from onnx import numpy_helper

        tensor = self._tensor(name)
        assert tensor is not None
        return numpy_helper.to_array(tensor)

    def _add(self, name: str, value: NDArray[Any]) -> None:
        from onnx import numpy_helper

        if name not in self.initializers:
            self.initializers[name] = numpy_helper.from_array(value, name)


def _names(nodes: Iterable[NodeProto]) -> Iterator[str]:
    """What nodes read, those inside branches and loops too."""
    for node in nodes:
        yield from node.input
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                yield from _names(graph.node)
                yield from (each.name for each in graph.output)


def _opset(model: ModelProto) -> int:
    return int(next(each.version for each in model.opset_import if each.domain in ("", "ai.onnx")))


def _flag(node: NodeProto, name: str) -> bool:
    return any(each.name == name and each.i for each in node.attribute)
