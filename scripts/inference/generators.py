"""Generators: tokens a second, beside torch, optimum's ONNX Runtime and CTranslate2.

All run the same weights and sample from the 50 best tokens. Prompts are tokenised and texts made of
tokens by every system; what counts is the tokens really written, the closing one included.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from inference import texts
from inference.checkpoints import (
    END,
    TRIMMED,
    WHOLE,
    GeneratorShape,
    build_generator,
    build_trimmed,
    made,
)
from inference.timing import System, goals, progress, rate, spread, table, times, turn_about
from xqg_qdrant.models.decoding import Decoding
from xqg_qdrant.models.generator import Generator, Prompt

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PROMPTS, TEXTS, TOP_K, NEW_TOKENS = 8, 5, 50, 64
TORCH, OPTIMUM = "torch eager", "optimum, ONNX Runtime"
CTRANSLATE, CTRANSLATE_INT8 = "CTranslate2 fp32", "CTranslate2 int8"
OURS, OURS_INT8 = "xqg-qdrant fp32", "xqg-qdrant int8"
SLOW = (TORCH, OPTIMUM)

Write = Callable[[Sequence[str]], int]
"""From prompts to the number of tokens written."""


@dataclass(frozen=True, slots=True)
class Folders:
    """What is measured, on disk; None where it is not."""

    checkpoint: Path
    int8: Path
    ctranslate_int8: Path
    fp32: Path | None = None
    ctranslate: Path | None = None
    optimum: Path | None = None


def prepare(shape: GeneratorShape, work: Path, name: str, *, fresh: bool) -> Folders:
    """Build and export what is not there yet; the product's own exports anew if ``fresh``."""
    whole = made(work / WHOLE / "checkpoint", partial(build_generator, shape))
    if name == TRIMMED:
        checkpoint = made(
            work / TRIMMED / "checkpoint", partial(build_trimmed, shape, whole, PROMPTS)
        )
    else:
        checkpoint = whole
    folder = work / name

    def ours(precision: str) -> Path:
        return made(
            folder / f"xqg-{precision}", partial(_export, checkpoint, precision), fresh=fresh
        )

    def ctranslate(precision: str) -> Path:
        return made(folder / f"ctranslate2-{precision}", partial(_convert, checkpoint, precision))

    if name == TRIMMED:
        return Folders(checkpoint, ours("int8"), ctranslate("int8"))
    return Folders(
        checkpoint,
        ours("int8"),
        ctranslate("int8"),
        ours("fp32"),
        ctranslate("float32"),
        made(folder / "optimum", partial(_export_through_optimum, checkpoint)),
    )


def _export(checkpoint: Path, precision: Any, folder: Path) -> None:
    from xqg_qdrant.export.checkpoint import open_checkpoint
    from xqg_qdrant.export.generator import GeneratorOptions, export_generator

    options = GeneratorOptions(prompt=texts.PROMPT, prompt_length=128)
    opened = open_checkpoint(str(checkpoint))
    exported = export_generator(
        opened, folder, name=folder.stem, options=options, precision=precision
    )
    progress(f"parity {exported.manifest['parity']}")


def _convert(checkpoint: Path, precision: str, folder: Path) -> None:
    from ctranslate2.converters import TransformersConverter

    TransformersConverter(str(checkpoint)).convert(str(folder), quantization=precision)


def _export_through_optimum(checkpoint: Path, folder: Path) -> None:
    from optimum.onnxruntime import ORTModelForSeq2SeqLM
    from transformers import AutoTokenizer

    # Its merged decoder breaks where d_kv is not d_model / heads.
    model = ORTModelForSeq2SeqLM.from_pretrained(
        checkpoint, export=True, use_cache=True, use_merged=False
    )
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(checkpoint).save_pretrained(folder)


def ways(folders: Folders, threads: int) -> dict[str, Write]:
    """All systems, loaded."""
    import torch

    torch.set_num_threads(threads)
    found: dict[str, Write] = {TORCH: _torch(folders.checkpoint)}
    if folders.optimum is not None:
        found[OPTIMUM] = _optimum(folders.optimum, threads)
    if folders.ctranslate is not None:
        found[CTRANSLATE] = _ctranslate(folders.ctranslate, folders.checkpoint, "float32", threads)
    found[CTRANSLATE_INT8] = _ctranslate(
        folders.ctranslate_int8, folders.checkpoint, "int8", threads
    )
    if folders.fp32 is not None:
        found[OURS] = _ours(folders.fp32, threads)
    found[OURS_INT8] = _ours(folders.int8, threads)
    return found


def _through_transformers(model: Any, tokenizer: Any) -> Write:
    import torch

    @torch.inference_mode()
    def write(prompts: Sequence[str]) -> int:
        inputs = tokenizer(list(prompts), padding=True, return_tensors="pt")
        written = model.generate(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            do_sample=True,
            top_k=TOP_K,
            num_return_sequences=TEXTS,
            max_new_tokens=NEW_TOKENS,
        )[:, 1:]
        tokenizer.batch_decode(written, skip_special_tokens=True)
        rows = written.tolist()
        return sum(row.index(END) + 1 if END in row else len(row) for row in rows)

    return write


def _torch(checkpoint: Path) -> Write:
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    model = AutoModelForSeq2SeqLM.from_pretrained(checkpoint).eval()
    return _through_transformers(model, AutoTokenizer.from_pretrained(checkpoint))


def _optimum(folder: Path, threads: int) -> Write:
    import onnxruntime
    from optimum.onnxruntime import ORTModelForSeq2SeqLM
    from transformers import AutoTokenizer

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    model = ORTModelForSeq2SeqLM.from_pretrained(
        folder,
        use_cache=True,
        use_merged=False,
        provider="CPUExecutionProvider",
        session_options=options,
    )
    return _through_transformers(model, AutoTokenizer.from_pretrained(folder))


def _ctranslate(folder: Path, checkpoint: Path, precision: str, threads: int) -> Write:
    import ctranslate2
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    translator = ctranslate2.Translator(
        str(folder), device="cpu", compute_type=precision, inter_threads=1, intra_threads=threads
    )

    def write(prompts: Sequence[str]) -> int:
        ids = tokenizer(list(prompts))["input_ids"]
        results = translator.translate_batch(
            [tokenizer.convert_ids_to_tokens(each) for each in ids],
            beam_size=1,
            num_hypotheses=TEXTS,
            sampling_topk=TOP_K,
            max_decoding_length=NEW_TOKENS,
            return_end_token=True,
        )
        written = [tokens for result in results for tokens in result.hypotheses]
        tokenizer.batch_decode([tokenizer.convert_tokens_to_ids(tokens) for tokens in written])
        return sum(map(len, written))

    return write


def _ours(folder: Path, threads: int) -> Write:
    generator = Generator.load(folder, threads=threads)

    def write(prompts: Sequence[str]) -> int:
        asked = [Prompt(text, str(number)) for number, text in enumerate(prompts)]
        decoding = Decoding(max_length=NEW_TOKENS, top_k=TOP_K)
        written = generator.generate(asked, count=TEXTS, decoding=decoding)
        return sum(text.tokens for some in written for text in some)

    return write


def measure(
    shape: GeneratorShape,
    work: Path,
    name: str,
    *,
    threads: int,
    rounds: int,
    slow_every: int,
) -> None:
    """Print the table of the whole or of the trimmed model on some threads."""
    folders = prepare(shape, work, name, fresh=False)
    generator = Generator.load(folders.int8, threads=1)
    tokenizer = open_tokenizer(folders.int8)
    prompts = texts.prompts(tokenizer, PROMPTS)
    systems = [
        System(way, rate(partial(write, prompts)), slow_every if way in SLOW else 1)
        for way, write in ways(folders, threads).items()
    ]
    figures = turn_about(systems, rounds)
    vocabulary = generator.manifest.vocabulary_size
    click.echo(f"### {name}, {vocabulary:,} tokens, {threads} thread{'s' if threads > 1 else ''}\n")
    lengths = [len(each.ids) for each in tokenizer.encode_batch(prompts)]
    click.echo(
        f"{len(prompts)} prompts of {min(lengths)} to {max(lengths)} tokens with {TEXTS} texts of "
        f"up to {NEW_TOKENS} tokens each, {rounds} rounds\n"
    )
    rows = [
        [
            system.name,
            spread(figures[system.name], 0),
            times(figures[system.name], figures[TORCH]),
            times(figures[system.name], figures[CTRANSLATE_INT8]),
        ]
        for system in systems
    ]
    table(["system", "tokens/s", "of torch", "of CTranslate2 int8"], rows)
    if name == TRIMMED:
        goals(figures, [("trimmed", OURS_INT8, CTRANSLATE_INT8, 1)])
    else:
        goals(
            figures,
            [
                ("whole", OURS_INT8, TORCH, 8),
                ("whole, or CTranslate2 is offered", OURS_INT8, CTRANSLATE_INT8, round(2 / 3, 2)),
            ],
        )


def open_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of a model folder, without limits."""
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(folder / "tokenizer.json"))
