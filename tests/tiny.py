"""Tiny models, built here, for tests: real ONNX graphs and tokenizers, a few kilobytes each."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

DIMENSION = 16


def build_encoder(
    folder: Path,
    *,
    name: str = "tiny",
    seed: int = 0,
    dimension: int = DIMENSION,
    normalize: bool = True,
    query_prefix: str = "",
    passage_prefix: str = "",
    query_length: int = 64,
    passage_length: int = 256,
    **manifest: Any,
) -> Path:
    """A static encoder over bytes: embeddings drawn from a seed, mean pooled, L2 normalised."""
    folder.mkdir(parents=True)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<pad>": 0, **{token: number for number, token in enumerate(alphabet, 1)}}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(folder / "tokenizer.json"))
    _save_model(folder / "model.onnx", len(vocabulary), dimension, seed, normalize)
    write_manifest(
        folder,
        schema_version=1,
        kind="encoder",
        name=name,
        dimension=dimension,
        similarity="cosine" if normalize else "dot",
        pooling="mean",
        query={"prefix": query_prefix, "max_length": query_length},
        passage={"prefix": passage_prefix, "max_length": passage_length},
        pad_token_id=0,
        precision="fp32",
        opset=17,
        languages=["en"],
        source={"model": "random", "revision": str(seed)},
        license="CC0-1.0",
        parity={},
        **manifest,
    )
    return folder


def write_manifest(folder: Path, *, more: Sequence[str] = (), **fields: Any) -> None:
    """Write the manifest of a folder, with the hashes of its files, and of more, as they are."""
    files = {
        file: {
            "sha256": hashlib.sha256((folder / file).read_bytes()).hexdigest(),
            "bytes": (folder / file).stat().st_size,
        }
        for file in ("model.onnx", "tokenizer.json", *more)
    }
    (folder / "manifest.json").write_text(json.dumps({"files": files, **fields}), encoding="utf-8")


def _save_model(path: Path, rows: int, dimension: int, seed: int, normalize: bool) -> None:
    table = np.random.default_rng(seed).standard_normal((rows, dimension)).astype(np.float32)
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["tokens"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["weights"]),
        helper.make_node("Mul", ["tokens", "weights"], ["kept"]),
        helper.make_node("ReduceSum", ["kept", "middle"], ["total"], keepdims=0),
        helper.make_node("ReduceSum", ["weights", "middle"], ["number"], keepdims=0),
        helper.make_node("Max", ["number", "one"], ["divisor"]),
        helper.make_node("Div", ["total", "divisor"], ["mean" if normalize else "embedding"]),
    ]
    if normalize:
        nodes += [
            helper.make_node("ReduceL2", ["mean"], ["norm"], axes=[1], keepdims=1),
            helper.make_node("Max", ["norm", "small"], ["positive"]),
            helper.make_node("Div", ["mean", "positive"], ["embedding"]),
        ]
    constants = {
        "table": table,
        "last": np.array([2], dtype=np.int64),
        "middle": np.array([1], dtype=np.int64),
        "one": np.array([1.0], dtype=np.float32),
        "small": np.array([1e-12], dtype=np.float32),
    }
    graph = helper.make_graph(
        nodes,
        "tiny",
        [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"])
            for name in ("input_ids", "attention_mask")
        ],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", dimension])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
