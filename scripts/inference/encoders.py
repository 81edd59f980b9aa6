"""Encoders: passages a second and time of a query, beside torch, sentence-transformers, fastembed.

All run the same weights on the same threads, with batches of 32. Torch, fastembed and the rows "in
order" fill up batches of passages as they come; sentence-transformers and the product itself sort
them by length first. Tokenising counts everywhere.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import click
import numpy as np

from inference import texts
from inference.checkpoints import EncoderShape, build_encoder, bundled_tokenizer, made
from inference.timing import System, goals, progress, rate, ratios, spread, table, times, turn_about
from xqg_qdrant import Encoder
from xqg_qdrant.models.encoder import Kind
from xqg_qdrant.models.manifest import MODEL_FILE

BATCH = 32
TORCH, TRANSFORMERS, TRANSFORMERS_ONNX = (
    "torch eager",
    "sentence-transformers, torch",
    "sentence-transformers, ONNX",
)
FASTEMBED, FASTEMBED_INT8 = "fastembed fp32", "fastembed on our int8 file"
OURS, OURS_INT8 = "xqg-qdrant fp32", "xqg-qdrant int8"
IN_ORDER, IN_ORDER_INT8 = "xqg-qdrant fp32, in order", "xqg-qdrant int8, in order"

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
    """How a system encodes."""

    name: str
    passages: Encode
    query: Encode | None = None


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
    return [
        Way(TORCH, _in_order(eager), eager),
        Way(TRANSFORMERS, sentences, sentences),
        Way(TRANSFORMERS_ONNX, sentences_onnx, sentences_onnx),
        Way(FASTEMBED, plain, plain),
        Way(FASTEMBED_INT8, int8, int8),
        Way(IN_ORDER, _in_order(_ours(whole, "passage"))),
        Way(IN_ORDER_INT8, _in_order(_ours(small, "passage"))),
        Way(OURS, _ours(whole, "passage"), _ours(whole, "query")),
        Way(OURS_INT8, _ours(small, "passage"), _ours(small, "query")),
    ]


def open_ours(folder: Path, threads: int) -> Encode:
    """The product's encoder of passages."""
    return _ours(Encoder.load(folder, threads=threads), "passage")


def _ours(encoder: Encoder, kind: Kind) -> Encode:
    # As encode_passages and encode_queries, without a word on each text that is cut.
    return lambda some: encoder.encode(some, kind, batch_size=BATCH).vectors


def _in_order(encode: Encode) -> Encode:
    """Batch by batch as the passages come."""

    def encode_all(passages: Sequence[str]) -> Vectors:
        starts = range(0, len(passages), BATCH)
        return np.concatenate([encode(passages[start : start + BATCH]) for start in starts])

    return encode_all


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


def measure(
    shape: EncoderShape,
    work: Path,
    *,
    threads: int,
    rounds: int,
    passages: int,
    queries: int,
    file: Path | None,
) -> None:
    """Print the table of one shape on some threads."""
    folders = prepare(shape, work, fresh=False)
    found = texts.passages(passages, file)
    asked = texts.queries(bundled_tokenizer(), queries)
    systems = ways(shape, folders, threads)
    _check_same(systems, found[:BATCH])
    figures = turn_about(
        [System(way.name, rate(partial(_encode_all, way.passages, found))) for way in systems],
        rounds,
    )
    asking = {way.name: way.query for way in systems if way.query is not None}
    latencies: dict[str, list[float]] = {name: [] for name in asking}
    speeds = turn_about(
        [
            System(name, partial(_ask, query, asked, latencies[name]))
            for name, query in asking.items()
        ],
        max(rounds, 5),
    )
    lengths = [len(each.ids) for each in bundled_tokenizer().encode_batch(found)]
    click.echo(f"### {shape.label}, {threads} thread{'s' if threads > 1 else ''}\n")
    click.echo(
        f"{len(found)} passages of {min(lengths)} to {max(lengths)} tokens (median "
        f"{median(lengths):.0f}) a round, {rounds} rounds; single queries of "
        f"{texts.QUERY_TOKENS[0]} to {texts.QUERY_TOKENS[1]} tokens\n"
    )
    rows = []
    for way in systems:
        row = [
            way.name,
            spread(figures[way.name], 1),
            times(figures[way.name], figures[TORCH]),
            times(figures[way.name], figures[FASTEMBED]),
        ]
        if way.query is None:
            row += ["", ""]
        else:
            row.append(spread([1e3 * each for each in latencies[way.name]], 2))
            row.append(times(speeds[way.name], speeds[TORCH]))
        rows.append(row)
    heads = ["system", "passages/s", "of torch", "of fastembed fp32", "query, ms", "torch's / its"]
    table(heads, rows)
    sorting = {
        name: spread(ratios(figures[name], figures[padded]), 2)
        for name, padded in ((OURS, IN_ORDER), (OURS_INT8, IN_ORDER_INT8))
    }
    click.echo(f"- sorted against in order: {', '.join(f'{k} {v}' for k, v in sorting.items())}")
    goals(
        figures,
        [
            ("passages", OURS_INT8, TORCH, 3),
            ("passages", OURS_INT8, FASTEMBED, 1.5),
            ("passages", OURS_INT8, FASTEMBED_INT8, 1.5),
        ],
    )
    goals(speeds, [("queries", OURS_INT8, TORCH, 5)])


def _encode_all(encode: Encode, some: Sequence[str]) -> float:
    return len(encode(some))


def _ask(query: Encode, asked: Sequence[str], latencies: list[float]) -> float:
    """Ask one by one; queries a second at the median time."""
    taken = []
    for text in asked:
        began = time.perf_counter()
        query([text])
        taken.append(time.perf_counter() - began)
    latencies += taken
    return 1 / median(taken)


def _check_same(systems: Sequence[Way], some: Sequence[str]) -> None:
    """Check that all make the same vectors of the same texts, so that all do the same work."""
    expected = systems[0].passages(some)
    for way in systems[1:]:
        least = float((expected * way.passages(some)).sum(axis=1).min())
        if least < (0.9 if "int8" in way.name else 0.9999):
            raise click.ClickException(f"{way.name} makes other vectors than torch: cosine {least}")
        progress(f"{way.name}: least cosine to torch {least:.6f}")
