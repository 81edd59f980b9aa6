"""A table of token vectors as an int8 ONNX model, and the manifest of its folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

OPSET = 17


def quantise(table: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Rows as int8, and a scale for each row."""
    scales = np.abs(table).max(axis=1) / 127
    scales = np.maximum(scales, 1e-12).astype(np.float32)
    return np.rint(table / scales[:, None]).astype(np.int8), scales


def write_static_model(
    path: Path, rows: NDArray[np.int8], scales: NDArray[np.float32], *, producer: str
) -> None:
    """Write the model: gather rows, weigh each by its scale and the mask, sum, normalise.

    Only the rows of a batch's tokens are ever turned into floats. Scale, mask and sum are one
    matrix product of (batch, 1, tokens) by (batch, tokens, dimension). The mean is left out: it
    has the direction of the sum, and the length is normalised away. A text without tokens sums to
    0 and stays 0.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    dimension = rows.shape[1]
    initializers = [
        numpy_helper.from_array(rows, "token_rows"),
        numpy_helper.from_array(scales, "token_scales"),
        numpy_helper.from_array(np.array([1], dtype=np.int64), "axis_one"),
        numpy_helper.from_array(np.array(1e-6, dtype=np.float32), "least_length"),
    ]
    nodes = [
        helper.make_node("Gather", ["token_rows", "input_ids"], ["gathered_rows"], axis=0),
        helper.make_node("Cast", ["gathered_rows"], ["row_values"], to=TensorProto.FLOAT),
        helper.make_node("Gather", ["token_scales", "input_ids"], ["gathered_scales"], axis=0),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["gathered_scales", "mask"], ["weights"]),
        helper.make_node("Unsqueeze", ["weights", "axis_one"], ["weights_row"]),
        helper.make_node("MatMul", ["weights_row", "row_values"], ["summed_row"]),
        helper.make_node("Squeeze", ["summed_row", "axis_one"], ["summed"]),
        helper.make_node("ReduceL2", ["summed"], ["length"], axes=[1], keepdims=1),
        helper.make_node("Max", ["length", "least_length"], ["safe_length"]),
        helper.make_node("Div", ["summed", "safe_length"], ["embedding"]),
    ]
    graph = helper.make_graph(
        nodes,
        "static_encoder",
        [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "sequence"])
            for name in ("input_ids", "attention_mask")
        ],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", dimension])],
        initializers,
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name=producer, ir_version=8
    )
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString(deterministic=True))


class OnnxEncoder:
    """The exported model at work, for measuring it."""

    def __init__(self, folder: Path, *, threads: int = 1) -> None:
        import onnxruntime
        from tokenizers import Tokenizer

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(
            str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))

    def encode(
        self, texts: Sequence[str], *, max_length: int, pad_id: int, batch_size: int = 32
    ) -> NDArray[np.float32]:
        """Vectors of texts, in batches that are padded to their longest text."""
        # By the tokenizer itself, which keeps the special token that closes a text.
        self._tokenizer.enable_truncation(max_length)
        ids = [each.ids for each in self._tokenizer.encode_batch(list(texts))]
        parts = []
        for first in range(0, len(ids), batch_size):
            batch = ids[first : first + batch_size]
            width = max(1, *(len(row) for row in batch))
            shape = (len(batch), width)
            tokens = np.full(shape, pad_id, dtype=np.int64)
            mask = np.zeros(shape, dtype=np.int64)
            for place, row in enumerate(batch):
                tokens[place, : len(row)] = row
                mask[place, : len(row)] = 1
            feeds = {"input_ids": tokens, "attention_mask": mask}
            parts.append(np.asarray(self._session.run(["embedding"], feeds)[0], dtype=np.float32))
        return np.concatenate(parts)


def write_manifest(folder: Path, fields: Mapping[str, Any], files: Sequence[str]) -> None:
    """Write ``manifest.json``, with the hash and size of each file of the folder."""
    hashes = {
        name: {
            "sha256": hashlib.sha256((folder / name).read_bytes()).hexdigest(),
            "bytes": (folder / name).stat().st_size,
        }
        for name in files
    }
    ordered: dict[str, Any] = {}
    for key, value in fields.items():
        if key == "parity":
            ordered["files"] = hashes
        ordered[key] = value
    text = json.dumps(ordered, indent=2, ensure_ascii=False)
    (folder / "manifest.json").write_text(text + "\n", encoding="utf-8")
