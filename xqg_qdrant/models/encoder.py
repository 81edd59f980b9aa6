"""Encoders: texts to vectors, on onnxruntime."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from xqg_qdrant.errors import InputError, ModelError
from xqg_qdrant.fusion import Matrix
from xqg_qdrant.models.manifest import (
    DEFAULT_ENCODER,
    MODEL_FILE,
    TOKENIZER_FILE,
    EncoderManifest,
    find_model,
    read_encoder_manifest,
)
from xqg_qdrant.models.session import check_threads, open_session, open_tokenizer, tokenizer_errors
from xqg_qdrant.records import Passage

if TYPE_CHECKING:
    import onnxruntime
    from tokenizers import Encoding, Tokenizer

Kind = Literal["query", "passage"]

BATCH_SIZE = 32
WINDOW = 4_096
"""Texts of a stream that are held, sorted by length and batched together."""

_BATCH_TOKENS = 1_024
"""Most tokens, padding included, in one run of the model.

Larger runs are slower: what passes between their layers outgrows the caches, and is memory that the
system has to find anew each time.
"""

log = logging.getLogger(__name__)


class Encoded(NamedTuple):
    """Vectors, and what it took to make them.

    Attributes:
        vectors: float32, (n, dimension), in the order of the texts.
        truncated: how many texts were longer than the model takes, and were cut.
    """

    vectors: Matrix
    truncated: int


def passage_text(passage: Passage) -> str:
    """What is encoded for a passage: ``title + " " + text``, as in the paper."""
    return f"{passage.title} {passage.text}" if passage.title else passage.text


class Encoder:
    """Texts to vectors with a model folder; make one with :meth:`load`.

    Safe to share between threads. Tokenising and the model release the GIL.
    """

    def __init__(
        self,
        manifest: EncoderManifest,
        session: onnxruntime.InferenceSession,
        tokenizers: dict[Kind, Tokenizer],
    ) -> None:
        self.manifest = manifest
        self._session = session
        self._tokenizers = tokenizers
        self._inputs = {each.name for each in session.get_inputs()}

    @classmethod
    def load(
        cls, name_or_folder: str | Path = DEFAULT_ENCODER, *, threads: int | None = None
    ) -> Encoder:
        """Load an encoder, checking every file against its hash.

        Args:
            name_or_folder: the name of a bundled model or of one under ``$XQG_MODELS``, or the
                path of a model folder.
            threads: threads that the model runs on; all cores when None.

        Raises:
            ModelError: the folder is missing, damaged, hostile or no encoder.
            InputError: threads is not from 1 to 1024.
        """
        check_threads(threads)
        manifest = read_encoder_manifest(find_model(name_or_folder))
        manifest.verify_files()
        session = open_session(
            manifest.folder / MODEL_FILE,
            threads=threads,
            inputs=("input_ids", "attention_mask"),
            outputs=("embedding",),
            arena=True,
        )
        tokenizer = manifest.folder / TOKENIZER_FILE
        tokenizers: dict[Kind, Tokenizer] = {
            "query": open_tokenizer(tokenizer, max_length=manifest.query.max_length),
            "passage": open_tokenizer(tokenizer, max_length=manifest.passage.max_length),
        }
        return cls(manifest, session, tokenizers)

    @property
    def name(self) -> str:
        """The encoder's name, as its manifest has it."""
        return self.manifest.name

    @property
    def dimension(self) -> int:
        """Length of its vectors."""
        return self.manifest.dimension

    @property
    def fingerprint(self) -> str:
        """64 hex digits, equal for encoders that make the same vectors."""
        return self.manifest.fingerprint

    def __repr__(self) -> str:
        return f"Encoder({self.name!r}, dimension={self.dimension})"

    def encode_queries(self, texts: Iterable[str], *, batch_size: int = BATCH_SIZE) -> Matrix:
        """Encode questions or generated queries.

        Args:
            texts: a list or a stream; a stream is read in windows.
            batch_size: most texts in one run of the model.

        Returns:
            float32, (n, dimension), in the order of the texts.

        Raises:
            InputError: a text is no string, or is blank.
            ModelError: the model fails, or makes other vectors than its manifest says.
        """
        return self._encode_and_warn(texts, "query", batch_size)

    def encode_passages(self, texts: Iterable[str], *, batch_size: int = BATCH_SIZE) -> Matrix:
        """Encode passages; see :meth:`encode_queries`, and :func:`passage_text` for titles."""
        return self._encode_and_warn(texts, "passage", batch_size)

    def encode(self, texts: Iterable[str], kind: Kind, *, batch_size: int = BATCH_SIZE) -> Encoded:
        """Encode texts of one kind and count those that were cut; see :meth:`encode_queries`."""
        parts = list(self.stream(texts, kind, batch_size=batch_size))
        if not parts:
            return Encoded(np.zeros((0, self.dimension), dtype=np.float32), 0)
        if len(parts) == 1:
            return parts[0]
        vectors = np.concatenate([part.vectors for part in parts])
        return Encoded(vectors, sum(part.truncated for part in parts))

    def stream(
        self, texts: Iterable[str], kind: Kind, *, batch_size: int = BATCH_SIZE
    ) -> Iterator[Encoded]:
        """Encode a stream window by window, holding one window of texts at a time.

        Yields:
            The vectors of the next window of up to ``WINDOW`` texts, in their order.

        Raises:
            InputError: a text is no string or is blank; it names the text's position.
        """
        if isinstance(texts, str):
            raise InputError("texts is one string: give a list or another iterable of strings")
        if not isinstance(texts, Iterable):
            raise InputError(f"texts is a {type(texts).__name__}: give a list of strings")
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
            raise InputError(f"batch_size is {batch_size!r}: give a positive number")
        stream = iter(texts)
        position = 0
        while window := list(islice(stream, WINDOW)):
            for offset, text in enumerate(window):
                _check(text, position + offset)
            yield self._encode_window(window, kind, batch_size)
            position += len(window)

    def _encode_and_warn(self, texts: Iterable[str], kind: Kind, batch_size: int) -> Matrix:
        vectors, truncated = self.encode(texts, kind, batch_size=batch_size)
        if truncated:
            log.warning(
                "%d of %d texts had more than the %d tokens that %s takes of a %s, and were cut",
                truncated,
                len(vectors),
                getattr(self.manifest, kind).max_length,
                self.name,
                kind,
            )
        return vectors

    def _encode_window(self, texts: Sequence[str], kind: Kind, batch_size: int) -> Encoded:
        prefix = getattr(self.manifest, kind).prefix
        with tokenizer_errors(f"{self.manifest.folder}: the tokenizer failed"):
            encodings = self._tokenizers[kind].encode_batch_fast([prefix + text for text in texts])
        lengths = np.array([len(encoding.ids) for encoding in encodings])
        truncated = sum(1 for encoding in encodings if encoding.overflowing)
        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)
        for rows in _batches(lengths, batch_size):
            vectors[rows] = self._run([encodings[row] for row in rows])
        return Encoded(vectors, truncated)

    def _run(self, encodings: Sequence[Encoding]) -> Matrix:
        width = max(1, *(len(encoding.ids) for encoding in encodings))
        shape = (len(encodings), width)
        feeds: dict[str, Any] = {
            "input_ids": np.full(shape, self.manifest.pad_token_id, dtype=np.int64),
            "attention_mask": np.zeros(shape, dtype=np.int64),
        }
        for row, encoding in enumerate(encodings):
            feeds["input_ids"][row, : len(encoding.ids)] = encoding.ids
            feeds["attention_mask"][row, : len(encoding.ids)] = 1
        if "token_type_ids" in self._inputs:
            feeds["token_type_ids"] = np.zeros(shape, dtype=np.int64)
        try:
            vectors = self._session.run(["embedding"], feeds, _run_options(shape))[0]
        except Exception as error:
            raise ModelError(f"{self.manifest.folder}: the model failed: {error}") from error
        if vectors.shape != (len(encodings), self.dimension):
            raise ModelError(
                f"{self.manifest.folder}: the model made vectors of shape {vectors.shape}, "
                f"its manifest says dimension {self.dimension}"
            )
        if not np.isfinite(vectors).all():
            raise ModelError(f"{self.manifest.folder}: the model made a vector that is not finite")
        return np.asarray(vectors, dtype=np.float32)


def _run_options(shape: tuple[int, int]) -> onnxruntime.RunOptions | None:
    """One long text may take gigabytes, which the arena is to give back afterwards."""
    if shape[0] * shape[1] <= _BATCH_TOKENS:
        return None
    import onnxruntime

    options = onnxruntime.RunOptions()
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    return options


def _batches(lengths: np.ndarray[Any, Any], batch_size: int) -> Iterator[np.ndarray[Any, Any]]:
    """Rows in batches of like length: at most ``batch_size`` rows and ``_BATCH_TOKENS`` tokens."""
    order = np.argsort(lengths, kind="stable")
    start = 0
    for end in range(1, len(order) + 1):
        full = end - start == batch_size
        if end < len(order):
            full = full or (end + 1 - start) * int(lengths[order[end]]) > _BATCH_TOKENS
        if full or end == len(order):
            yield order[start:end]
            start = end


def _check(text: object, position: int) -> None:
    if not isinstance(text, str):
        raise InputError(f"text {position} is a {type(text).__name__}: give strings")
    if not text.strip():
        raise InputError(f"text {position} is empty: there is nothing to encode")
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            raise InputError(f"text {position} holds a lone surrogate: repair it") from None
