"""The decoder of a generator at work on one batch: its cache, and one step after another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from xqg_qdrant.errors import ModelError
from xqg_qdrant.models.session import open_session

if TYPE_CHECKING:
    import onnxruntime

ROOM = 16
"""Positions that a cache grows by; the unused ones of its end are looked at in vain."""

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


class Encoded(NamedTuple):
    """Prompts, as the decoder attends to them.

    Attributes:
        mask: int64 (prompts, tokens), 1 where there is a token.
        values: keys and values of each layer, turn about: float32 (prompts, heads, head_dim,
            tokens) and (prompts, heads, tokens, head_dim).
    """

    mask: Ints
    values: Sequence[Floats]


class Decoder:
    """The graph of one decoding step."""

    def __init__(self, session: onnxruntime.InferenceSession, layers: int, path: Path) -> None:
        self.session = session
        self.layers = layers
        self.path = path
        shape = next(each.shape for each in session.get_inputs() if each.name == "past_key_0")
        self.heads, self.head_dim = int(shape[1]), int(shape[2])

    @classmethod
    def load(cls, path: Path, layers: int, *, threads: int | None) -> Self:
        """Open the graph.

        Raises:
            ModelError: onnxruntime cannot load it, or it is no decoder of so many layers.
        """
        names = [f"{part}_{n}" for n in range(layers) for part in ("key", "value")]
        session = open_session(
            path,
            threads=threads,
            inputs=[
                *("input_ids", "position", "top_k", "attention_mask"),
                *(f"{kind}_{name}" for name in names for kind in ("past", "cross")),
            ],
            outputs=["logits", "token_ids", "top_probability", *names],
            # Every step wants the same large blocks again: taking them anew doubles its time.
            arena=True,
        )
        return cls(session, layers, path)

    def start(self, encoded: Encoded, texts: int, *, start: int, length: int) -> Run:
        """Begin a batch.

        Args:
            encoded: its prompts.
            texts: texts a prompt.
            start: the token that every text starts from.
            length: most positions of a text.
        """
        return Run(self, encoded, texts, start, length)


class Run:
    """One batch of ``prompts`` times ``texts`` texts.

    Attributes:
        tokens: int64 (prompts * texts,), what the next step goes on from.
    """

    def __init__(
        self, decoder: Decoder, encoded: Encoded, texts: int, start: int, length: int
    ) -> None:
        self._decoder = decoder
        self._mask = encoded.mask
        self._cross = list(encoded.values)
        self._texts = texts
        self._length = length
        self._position = np.zeros(1, dtype=np.int64)
        self._top_k = np.zeros(1, dtype=np.int64)
        self._keys: list[Floats] = []
        self._values: list[Floats] = []
        self._new: list[Floats] = []
        self._binding: Any = None
        self.tokens: Ints = np.full(len(self._mask) * texts, start, dtype=np.int64)

    @property
    def shape(self) -> tuple[int, int]:
        """Prompts and texts of each."""
        return len(self._mask), self._texts

    def step(self, top_k: int) -> tuple[NDArray[np.float64], Ints]:
        """Go one position on from ``tokens``.

        Returns:
            Log-probabilities and ids of the best tokens, float64 and int64 (prompts * texts,
            top_k), best first.

        Raises:
            ModelError: the model fails, or gives what is not finite.
        """
        position = int(self._position[0])
        room = self._keys[0].shape[3] if self._keys else 0
        if position == room:
            self._make_room(min(room + ROOM, max(self._length, 1)))
        if self._binding is None or self._top_k[0] != top_k:
            self._top_k[0] = top_k
            self._bind()
        self._input_ids[...] = self.tokens.reshape(self.shape)
        try:
            self._decoder.session.run_with_iobinding(self._binding)
        except Exception as error:
            raise ModelError(f"{self._decoder.path}: the decoder failed: {error}") from error
        for layer in range(self._decoder.layers):
            self._keys[layer][:, :, :, position] = self._new[2 * layer]
            self._values[layer][:, :, position] = self._new[2 * layer + 1]
        self._position[0] += 1
        logits, token_ids, top_probability = self._best
        # Here and not in the graph: ONNX Runtime's logarithm of the last few values of an array
        # is not that of the others to the last digit, so that texts would hang on the batch.
        likeliest = np.log(top_probability.astype(np.float64))
        if not np.isfinite(likeliest).all():
            raise ModelError(f"{self._decoder.path}: the decoder made a logit that is not finite")
        likely = logits.astype(np.float64)
        return likely - likely[:, :1] + likeliest[:, None], token_ids

    def select(self, places: Ints) -> None:
        """Go on with some of the texts, or with some of them several times.

        Args:
            places: int64 (prompts, texts), places in the batch as it is; those of a row belong to
                one prompt.
        """
        flat = places.ravel()
        prompts = places[:, 0] // self._texts
        if len(prompts) < len(self._mask):
            self._mask = self._mask[prompts]
            self._cross = [each[prompts] for each in self._cross]
        if len(flat) != len(self.tokens) or (flat != np.arange(len(flat))).any():
            self._keys = [each[flat] for each in self._keys]
            self._values = [each[flat] for each in self._values]
            self._binding = None
        self._texts = places.shape[1]
        self.tokens = self.tokens[flat]

    def _make_room(self, room: int) -> None:
        heads, head_dim = self._decoder.heads, self._decoder.head_dim
        sequences = len(self.tokens)
        keys = [np.zeros((sequences, heads, head_dim, room), np.float32) for _ in self._cross[::2]]
        values = [np.zeros((sequences, heads, room, head_dim), np.float32) for _ in keys]
        for old, new in zip(self._keys, keys, strict=False):
            new[..., : old.shape[3]] = old
        for old, new in zip(self._values, values, strict=False):
            new[:, :, : old.shape[2]] = old
        self._keys, self._values = keys, values
        self._binding = None

    def _bind(self) -> None:
        """Tell the session where its inputs lie and its outputs go, until something moves."""
        from onnxruntime import OrtValue

        layers, sequences = self._decoder.layers, len(self.tokens)
        shape = (sequences, self._decoder.heads, self._decoder.head_dim)
        self._input_ids = np.zeros(self.shape, dtype=np.int64)
        self._new = [np.zeros(shape, dtype=np.float32) for _ in range(2 * layers)]
        width = int(self._top_k[0])
        self._best = (
            np.zeros((sequences, width), dtype=np.float32),
            np.zeros((sequences, width), dtype=np.int64),
            np.zeros(sequences, dtype=np.float32),
        )
        inputs: dict[str, NDArray[Any]] = {
            "input_ids": self._input_ids,
            "position": self._position,
            "top_k": self._top_k,
            "attention_mask": np.ascontiguousarray(self._mask),
        }
        outputs: dict[str, NDArray[Any]] = dict(
            zip(("logits", "token_ids", "top_probability"), self._best, strict=True)
        )
        for layer in range(layers):
            inputs[f"past_key_{layer}"] = self._keys[layer]
            inputs[f"past_value_{layer}"] = self._values[layer]
            inputs[f"cross_key_{layer}"] = self._cross[2 * layer]
            inputs[f"cross_value_{layer}"] = self._cross[2 * layer + 1]
            outputs[f"key_{layer}"] = self._new[2 * layer]
            outputs[f"value_{layer}"] = self._new[2 * layer + 1]
        # A value on the CPU is the array's own memory: what is written there later is seen.
        self._bound = {
            name: OrtValue.ortvalue_from_numpy(array) for name, array in (inputs | outputs).items()
        }
        self._binding = self._decoder.session.io_binding()
        for name in inputs:
            self._binding.bind_ortvalue_input(name, self._bound[name])
        for name in outputs:
            self._binding.bind_ortvalue_output(name, self._bound[name])
