"""The systems that encode: what each of them needs on disk, and how it is called."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from inference.checkpoints import (
    PAD,
    PASSAGE_TOKENS,
    SPECIAL,
    EncoderShape,
    build_encoder,
    made,
)
from inference.timing import progress
from xqg_qdrant import Encoder
from xqg_qdrant.models.encoder import Kind
from xqg_qdrant.models.manifest import MODEL_FILE, TOKENIZER_FILE
from xqg_qdrant.models.session import open_session, open_tokenizer

BATCH = 32
TORCH, TRANSFORMERS, TRANSFORMERS_ONNX = (
    "torch eager",
    "sentence-transformers, torch",
    "sentence-transformers, ONNX",
)
FASTEMBED, FASTEMBED_INT8 = "fastembed fp32", "fastembed on our int8 file"
OURS, OURS_INT8 = "xqg-qdrant fp32", "xqg-qdrant int8"
PADDED, PADDED_INT8 = "xqg-qdrant fp32, padded batches", "xqg-qdrant int8, padded batches"

Vectors = np.ndarray[Any, Any]
Encode = Callable[[Sequence[str]], Vectors]


@dataclass(frozen=True, slots=True)
class Folders:
    """What is measured of a shape, on disk.

    Attributes:
        checkpoint: a sentence-transformers folder.
        fp32: the product's export of it.
        int8: the same in int8.
        onnx: sentence-transformers' own export through optimum, which fastembed takes too.
        fastembed: the product's int8 file as fastembed wants it.
    """

    checkpoint: Path
    fp32: Path
    int8: Path
    onnx: Path
    fastembed: Path


@dataclass(frozen=True, slots=True)
class Way:
    """How a system encodes.

    Attributes:
        name: of the system.
        passages: encodes a list.
        query: encodes a list of one.
        sorts: the list is sorted by length first.
        every: rounds from one turn to the next.
    """

    name: str
    passages: Encode
    query: Encode | None = None
    sorts: bool = False
    every: int = 1


def prepare(shape: EncoderShape, work: Path, *, fresh: bool) -> Folders:
    """Build and export what is not there yet; the product's own exports anew if ``fresh``."""
    folder = work / shape.name
    checkpoint = made(folder / "checkpoint", partial(build_encoder, shape))
    exports = [
        made(folder / f"xqg-{precision}", partial(_export, checkpoint, precision), fresh=fresh)
        for precision in ("fp32", "int8")
    ]
    return Folders(
        checkpoint,
        *exports,
        made(folder / "sentence-transformers-onnx", partial(_export_through_optimum, checkpoint)),
        made(
            folder / "fastembed-int8", partial(_for_fastembed, checkpoint, exports[1]), fresh=fresh
        ),
    )


def _export(checkpoint: Path, precision: Any, folder: Path) -> None:
    from xqg_qdrant.export.checkpoint import open_checkpoint
    from xqg_qdrant.export.encoder import export_encoder

    opened = open_checkpoint(str(checkpoint))
    exported = export_encoder(opened, folder, name=folder.stem, precision=precision)
    progress(f"parity {exported.manifest['parity']}")


def _export_through_optimum(checkpoint: Path, folder: Path) -> None:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(
        str(checkpoint),
        backend="onnx",
        device="cpu",
        local_files_only=True,
        model_kwargs={"export": True, "provider": "CPUExecutionProvider"},
    )
    model.save_pretrained(str(folder))


def _for_fastembed(checkpoint: Path, exported: Path, folder: Path) -> None:
    folder.mkdir()
    for path in exported.glob(f"{MODEL_FILE}*"):
        os.link(path, folder / path.name)
    for path in checkpoint.glob("*.json"):
        shutil.copy(path, folder)


def ways(shape: EncoderShape, folders: Folders, threads: int) -> list[Way]:
    """All systems, loaded."""
    import torch

    torch.set_num_threads(threads)
    whole, small = (Encoder.load(each, threads=threads) for each in (folders.fp32, folders.int8))
    eager = _torch(folders.checkpoint)
    sentences, sentences_onnx = (
        _sentence_transformer(folders, backend, threads) for backend in ("torch", "onnx")
    )
    plain = _fastembed(folders.onnx, "onnx/model.onnx", shape.hidden, threads, output=None)
    int8 = open_fastembed_int8(shape, folders, threads)
    ours, ours_int8 = _ours(whole, "passage"), _ours(small, "passage")
    return [
        Way(TORCH, eager, eager),
        Way(TRANSFORMERS, sentences, sentences, sorts=True, every=2),
        Way(TRANSFORMERS_ONNX, sentences_onnx, sentences_onnx, sorts=True, every=2),
        Way(FASTEMBED, plain, plain),
        Way(FASTEMBED_INT8, int8, int8),
        Way(PADDED, _padded(folders.fp32, threads)),
        Way(PADDED_INT8, _padded(folders.int8, threads)),
        Way(OURS, ours, _ours(whole, "query"), sorts=True),
        Way(OURS_INT8, ours_int8, _ours(small, "query"), sorts=True),
    ]


def open_ours(folder: Path, threads: int) -> Encode:
    """The product's encoder of passages."""
    return _ours(Encoder.load(folder, threads=threads), "passage")


def _ours(encoder: Encoder, kind: Kind) -> Encode:
    # As encode_passages and encode_queries, without a word on each text that is cut.
    return lambda some: encoder.encode(some, kind, batch_size=BATCH).vectors


def _padded(folder: Path, threads: int) -> Encode:
    """The product's graph and session on one batch as it comes, filled up to its longest text."""
    session = open_session(
        folder / MODEL_FILE,
        threads=threads,
        inputs=("input_ids", "attention_mask"),
        outputs=("embedding",),
    )
    tokenizer = open_tokenizer(folder / TOKENIZER_FILE, max_length=PASSAGE_TOKENS)
    tokenizer.enable_padding(pad_id=PAD, pad_token=SPECIAL["pad_token"])

    def encode(some: Sequence[str]) -> Vectors:
        encodings = tokenizer.encode_batch_fast(list(some))
        feeds = {
            "input_ids": np.array([each.ids for each in encodings], dtype=np.int64),
            "attention_mask": np.array([each.attention_mask for each in encodings], dtype=np.int64),
        }
        return np.asarray(session.run(["embedding"], feeds)[0])

    return encode


def _torch(checkpoint: Path) -> Encode:
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    model = AutoModel.from_pretrained(checkpoint, attn_implementation="sdpa").eval()

    @torch.inference_mode()
    def encode(some: Sequence[str]) -> Vectors:
        inputs = tokenizer(list(some), padding=True, truncation=True, return_tensors="pt")
        mask = inputs["attention_mask"]
        states = model(input_ids=inputs["input_ids"], attention_mask=mask).last_hidden_state
        weights = mask[..., None].to(states.dtype)
        pooled = (states * weights).sum(dim=1) / weights.sum(dim=1)
        return np.asarray(torch.nn.functional.normalize(pooled, dim=-1).numpy())

    return encode


def _sentence_transformer(folders: Folders, backend: Any, threads: int) -> Encode:
    import onnxruntime
    from sentence_transformers import SentenceTransformer

    settings: dict[str, Any] = {}
    if backend == "onnx":
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        settings = {
            "provider": "CPUExecutionProvider",
            "session_options": options,
            "file_name": "onnx/model.onnx",
        }
    model = SentenceTransformer(
        str(folders.onnx if backend == "onnx" else folders.checkpoint),
        backend=backend,
        device="cpu",
        local_files_only=True,
        model_kwargs=settings,
    )
    return lambda some: np.asarray(
        model.encode(list(some), batch_size=BATCH, show_progress_bar=False)
    )


def open_fastembed_int8(shape: EncoderShape, folders: Folders, threads: int) -> Encode:
    """Fastembed on the product's int8 file."""
    return _fastembed(folders.fastembed, MODEL_FILE, shape.hidden, threads, output="embedding")


def _fastembed(
    folder: Path, file: str, dimension: int, threads: int, *, output: str | None
) -> Encode:
    """Fastembed with a local file: token states that it pools, or an output that is the vector."""
    from fastembed import TextEmbedding
    from fastembed.common.model_description import ModelSource, PoolingType

    name = f"bench/{folder.parent.name}-{folder.name}"
    TextEmbedding.add_custom_model(
        model=name,
        pooling=PoolingType.DISABLED if output else PoolingType.MEAN,
        normalization=output is None,
        sources=ModelSource(hf=name),
        dim=dimension,
        model_file=file,
        output_name=output,
    )
    model = TextEmbedding(name, threads=threads, specific_model_path=str(folder.resolve()))
    return lambda some: np.stack(list(model.embed(list(some), batch_size=BATCH)))
