"""The graph of the bundled encoder, on random weights, against the same sums in numpy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnxruntime
import pytest
from training import graph, levels
from training.shape import BAG_BITS, BAG_BLOCK, BAG_WEIGHT, TOKEN_BITS, TOKEN_BLOCK

WORDS, DIMENSION, INNER, LAYERS, HEADS = 60, 384, 64, 2, 12

Weights = dict[str, Any]


@pytest.fixture(scope="module")
def weights() -> Weights:
    rng = np.random.default_rng(0)

    def drawn(*shape: int, scale: float = 0.05) -> np.ndarray[Any, Any]:
        return rng.normal(scale=scale, size=shape).astype(np.float32)

    found: Weights = {
        "tokens": drawn(WORDS, DIMENSION),
        "bag": drawn(WORDS, DIMENSION),
        "places": drawn(32, DIMENSION),
    }
    shapes = {
        "attend": (3 * DIMENSION, DIMENSION),
        "gather": (DIMENSION, DIMENSION),
        "widen": (INNER, DIMENSION),
        "narrow": (DIMENSION, INNER),
    }
    for layer in range(LAYERS):
        for name, shape in shapes.items():
            found[f"layers.{layer}.{name}.weight"] = drawn(*shape)
            found[f"layers.{layer}.{name}.bias"] = drawn(shape[0])
    for name in ("norm", *(f"layers.{n}.norm{k}" for n in range(LAYERS) for k in (1, 2))):
        found[f"{name}.weight"] = 1 + drawn(DIMENSION)
        found[f"{name}.bias"] = drawn(DIMENSION)
    return found


class Reference:
    """The encoder in float32, one text at a time; tables as they are kept."""

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self.ranges: dict[str, tuple[float, float]] = {}
        kept = {"tokens": (TOKEN_BITS, TOKEN_BLOCK), "bag": (BAG_BITS, BAG_BLOCK)}
        self.tables = {
            name: levels.restore(*levels.quantise(weights[name], bits, block), bits)
            for name, (bits, block) in kept.items()
        }

    def __call__(self, ids: list[int]) -> np.ndarray[Any, Any]:
        hidden = self._norm("norm", self.tables["tokens"][ids] + self.weights["places"][: len(ids)])
        for number in range(LAYERS):
            hidden = self._layer(f"layers.{number}", hidden)
        plain = self.tables["bag"][[each for each in ids if each > 3]].sum(axis=0)
        return _unit(_unit(hidden.sum(axis=0)) + BAG_WEIGHT * _unit(plain))

    def _layer(self, name: str, hidden: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        parts = self._product(f"{name}.attend", hidden).reshape(len(hidden), 3, HEADS, -1)
        query, key, value = parts.transpose(1, 2, 0, 3)
        scores = query @ key.transpose(0, 2, 1) / math.sqrt(DIMENSION / HEADS)
        share = np.exp(scores - scores.max(axis=2, keepdims=True))
        mixed = share / share.sum(axis=2, keepdims=True) @ value
        mixed = mixed.transpose(1, 0, 2).reshape(hidden.shape)
        hidden = self._norm(f"{name}.norm1", hidden + self._product(f"{name}.gather", mixed))
        wide = self._product(f"{name}.widen", hidden)
        inner = wide * (1 + np.vectorize(math.erf)(wide / math.sqrt(2))) / 2
        return self._norm(f"{name}.norm2", hidden + self._product(f"{name}.narrow", inner))

    def _product(self, name: str, inputs: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        low, high = self.ranges.get(name, (0.0, 0.0))
        self.ranges[name] = min(low, float(inputs.min())), max(high, float(inputs.max()))
        return inputs @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]

    def _norm(self, name: str, hidden: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        hidden = hidden - hidden.mean(axis=1, keepdims=True)
        hidden = hidden / np.sqrt((hidden**2).mean(axis=1, keepdims=True) + 1e-12)
        return hidden * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]


def _unit(vector: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return vector / max(float(np.linalg.norm(vector)), 1e-6)


@pytest.fixture(scope="module")
def texts() -> list[list[int]]:
    rng = np.random.default_rng(1)
    return [[2, *rng.integers(4, WORDS, length).tolist(), 3] for length in (1, 3, 8, 20, 30)]


@pytest.fixture(scope="module")
def expected(weights: Weights, texts: list[list[int]]) -> tuple[Any, dict[str, Any]]:
    reference = Reference(weights)
    return np.array([reference(text) for text in texts]), reference.ranges


@pytest.fixture(scope="module")
def session(
    weights: Weights, expected: tuple[Any, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> onnxruntime.InferenceSession:
    path = tmp_path_factory.mktemp("graph") / "model.onnx"
    graph.write_model(path, weights, expected[1], layers=LAYERS, heads=HEADS, producer="test")
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def run(session: onnxruntime.InferenceSession, texts: list[list[int]]) -> Any:
    width = max(map(len, texts))
    ids = np.array([text + [0] * (width - len(text)) for text in texts], dtype=np.int64)
    mask = np.array([[1] * len(text) + [0] * (width - len(text)) for text in texts])
    return session.run(["embedding"], {"input_ids": ids, "attention_mask": mask})[0]


def test_vectors_are_those_of_the_reference(
    session: onnxruntime.InferenceSession, texts: list[list[int]], expected: tuple[Any, Any]
) -> None:
    vectors = run(session, texts)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    # What is lost is the rounding of weights to 7 bits and of activations to 8.
    assert (vectors * expected[0]).sum(axis=1).min() > 0.998


def test_a_text_has_one_vector_alone_and_in_any_batch(
    session: onnxruntime.InferenceSession, texts: list[list[int]]
) -> None:
    alone = np.concatenate([run(session, [text]) for text in texts])
    assert (alone * run(session, texts)).sum(axis=1) == pytest.approx(1, abs=1e-5)


def test_a_text_of_special_tokens_only_has_a_finite_vector(
    session: onnxruntime.InferenceSession,
) -> None:
    assert np.isfinite(run(session, [[2, 3]])).all()
