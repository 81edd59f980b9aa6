"""From a trained student to a model folder, with the figures of both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training import corpus, evaluate, export, graph, teacher
from training.body import Student
from training.progress import say
from training.shape import HEADS, LAYERS, MAX_LENGTH
from training.wordpieces import PAD_ID, around

if TYPE_CHECKING:
    from tokenizers import Tokenizer

NAME = "mini"
LICENSE = "CC-BY-SA-4.0"
LANGUAGES = sorted(("en", *corpus.LANGUAGES))

Floats = NDArray[np.float32]


def student_encoder(student: Student, tokenizer: Tokenizer, longest: int) -> evaluate.Encode:
    """Encode with a student in full precision."""

    def encode(texts: Sequence[str]) -> Floats:
        encodings = tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        with torch.inference_mode():
            return np.asarray(
                student.embed([around(e.ids, longest) for e in encodings]).cpu().numpy()
            )

    return encode


def measure(
    student: Student,
    tokenizer: Tokenizer,
    development: corpus.Development,
    query_length: int,
    passage_length: int,
) -> evaluate.Report:
    """Figures of a student in full precision."""
    return evaluate.evaluate(
        development,
        student_encoder(student, tokenizer, query_length),
        student_encoder(student, tokenizer, passage_length),
    )


def calibrate(
    student: Student, tokenizer: Tokenizer, texts: Sequence[str], *, longest: int
) -> dict[str, tuple[float, float]]:
    """The range of what goes into each matrix, over some texts.

    Returns:
        Least and largest value by ``layers.N.MATRIX``.
    """
    ranges: dict[str, tuple[float, float]] = {}

    def watch(name: str) -> Callable[[nn.Module, tuple[Tensor]], None]:
        def seen(linear: nn.Module, inputs: tuple[Tensor]) -> None:
            low, high = ranges.get(name, (0.0, 0.0))
            ranges[name] = min(low, inputs[0].min().item()), max(high, inputs[0].max().item())

        return seen

    hooks = [
        module.register_forward_pre_hook(watch(name))
        for name, module in student.named_modules()
        if isinstance(module, nn.Linear)
    ]
    try:
        student_encoder(student, tokenizer, longest)(texts)
    finally:
        for hook in hooks:
            hook.remove()
    return ranges


def export_and_measure(
    student: Student,
    tokenizer: Tokenizer,
    development: corpus.Development,
    calibration: Sequence[str],
    out: Path,
    *,
    source: str,
    query_length: int,
    passage_length: int,
) -> evaluate.Report:
    """Write the model folder and return the figures of what was written.

    Args:
        student: trained.
        tokenizer: of its vocabulary.
        development: what it is measured on.
        calibration: texts in all languages, of all lengths, that fix the ranges of activations.
        out: the folder.
        source: the command that made it.
        query_length: tokens of a question that count.
        passage_length: tokens of a passage that count.
    """
    student.cpu().eval()
    student.rounded = True
    out.mkdir(parents=True, exist_ok=True)
    ranges = calibrate(student, tokenizer, calibration, longest=MAX_LENGTH)
    weights = {name: value.numpy() for name, value in student.state_dict().items()}
    graph.write_model(
        out / "model.onnx", weights, ranges, layers=LAYERS, heads=HEADS, producer="train_encoder.py"
    )
    tokenizer.save(str(out / "tokenizer.json"), pretty=False)
    model = export.OnnxEncoder(out)

    def encoder(longest: int, batch_size: int = 32) -> Callable[[Sequence[str]], Floats]:
        return lambda texts: model.encode(
            texts, max_length=longest, pad_id=PAD_ID, batch_size=batch_size
        )

    report = evaluate.evaluate(development, encoder(query_length), encoder(passage_length))
    # Tables are rounded in the model's own way: what full precision would be, were they not.
    student.rounded = False
    full = measure(student, tokenizer, development, query_length, passage_length)
    say(f"int8: {evaluate.summary(report)}")
    say(f"fp32: {evaluate.summary(full)}")
    texts = [text for asked in development.questions.values() for text, _ in asked[:50]]
    texts += development.passages
    exact = student_encoder(student, tokenizer, passage_length)(texts)
    batched, alone = encoder(passage_length)(texts), encoder(passage_length, 1)(texts)
    parity = {
        "minimum_cosine_to_fp32": _round((batched * exact).sum(axis=1).min()),
        "minimum_cosine_alone_to_batched": _round((batched * alone).sum(axis=1).min()),
        "mrr_at_10_loss": _round(
            evaluate.average(full.xquad).mrr10 - evaluate.average(report.xquad).mrr10
        ),
        "texts": len(texts),
    }
    say(f"parity: {parity}")
    if not np.isfinite(encoder(passage_length)(["", "a"])).all():
        raise click.ClickException("a text without tokens must give a finite vector")
    fields: dict[str, Any] = {
        "schema_version": 1,
        "kind": "encoder",
        "name": NAME,
        "dimension": weights["tokens"].shape[1],
        "similarity": "cosine",
        "pooling": "mean",
        "query": {"prefix": "", "max_length": query_length},
        "passage": {"prefix": "", "max_length": passage_length},
        "pad_token_id": PAD_ID,
        "precision": "int8",
        "opset": graph.OPSET,
        "languages": LANGUAGES,
        "source": {"model": teacher.NAME, "revision": source},
        "license": LICENSE,
        "parity": parity,
    }
    export.write_manifest(out, fields, ["model.onnx", "tokenizer.json"])
    return report


def _round(value: float) -> float:
    return round(float(value), 6)
