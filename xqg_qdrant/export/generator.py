"""Generators, T5 and mT5, to ONNX: two graphs, see :mod:`xqg_qdrant.export.t5_graphs`."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xqg_qdrant.errors import InputError
from xqg_qdrant.export import text_parity
from xqg_qdrant.export.checkpoint import Checkpoint, load_model
from xqg_qdrant.export.encoder import PRECISIONS, Precision
from xqg_qdrant.export.folder import (
    Exported,
    check_target,
    known_languages,
    rewrite_model,
    save_model,
    save_tokenizer,
    source_of,
    staged_folder,
    write_manifest,
)
from xqg_qdrant.export.presets import GeneratorPreset, find_generator_preset, generator_preset
from xqg_qdrant.export.quantize import quantize
from xqg_qdrant.export.tracing import to_onnx
from xqg_qdrant.export.trim import trim
from xqg_qdrant.export.vocabulary import parse_trim_option, select_tokens
from xqg_qdrant.languages import language_name, parse_languages
from xqg_qdrant.models.generator import Generator
from xqg_qdrant.models.manifest import DECODER_FILE, ENCODER_FILE, MAX_LENGTH

if TYPE_CHECKING:
    import torch

ARCHITECTURES = ("t5", "mt5")
OPSET = 20
"""The first with a GELU of its own, which T5's gated layers want."""

TOKEN_GROUP = 128
"""Trimmed vocabularies are a multiple of it: then the best logits are found group by group."""


@dataclass(frozen=True, slots=True)
class GeneratorOptions:
    """What goes before preset and checkpoint.

    Attributes:
        prompt: template with ``{passage}``, and where the model was trained so ``{language}`` and
            ``{title}``.
        prompt_length: in tokens; longer prompts are cut.
        languages: codes that it was trained to write in.
    """

    prompt: str | None = None
    prompt_length: int | None = None
    languages: tuple[str, ...] = ()


def export_generator(
    checkpoint: Checkpoint,
    output: Path,
    *,
    name: str | None = None,
    preset: str | None = None,
    options: GeneratorOptions | None = None,
    precision: Precision = "fp32",
    trim_vocab: str | None = None,
    force: bool = False,
    say: Callable[[str], None] | None = None,
) -> Exported:
    """Turn a checkpoint into a model folder, and check that it writes the same texts as torch.

    Args:
        checkpoint: from :func:`~xqg_qdrant.export.checkpoint.open_checkpoint`.
        output: the model folder to be; it appears whole or not at all.
        name: of the model; the folder's name when None.
        preset: how the model is used; see :mod:`~xqg_qdrant.export.presets`. When None, the preset
            that goes by its name.
        options: what goes before the preset.
        precision: of the weights of matrix products and of embedding tables.
        trim_vocab: languages, or files, whose tokens alone are kept, separated by commas.
        force: replace a model folder that is there already.
        say: is told what is being done.

    Raises:
        InputError: an argument is wrong, or the model is no generator.
        ModelError: it cannot be exported, or what was exported differs from torch.
        StorageError: it cannot be written.
    """
    from transformers import AutoModelForSeq2SeqLM

    start = time.perf_counter()
    say = say or (lambda text: None)
    if precision not in PRECISIONS:
        raise InputError(f"precision {precision!r} is not one of {', '.join(PRECISIONS)}")
    check_target(output, force=force)
    if (kind := checkpoint.config.model_type) not in ARCHITECTURES:
        raise InputError(
            f"{checkpoint.source}: {kind} is no generator that can be exported: those of type "
            f"{' and '.join(ARCHITECTURES)} can"
        )
    settings = _settings(checkpoint, preset, options or GeneratorOptions())
    option = parse_trim_option(trim_vocab) if trim_vocab is not None else None
    say("loading the checkpoint")
    model: Any = load_model(checkpoint, AutoModelForSeq2SeqLM)
    tokenizer = checkpoint.tokenizer
    vocabulary = None
    if option is not None:
        say("trimming the vocabulary")
        always = (settings.prompt, *map(language_name, settings.languages))
        keep = select_tokens(tokenizer, option, always=always)
        trimmed = trim(model, tokenizer, keep, multiple=TOKEN_GROUP)
        model, tokenizer = trimmed.model, trimmed.tokenizer
        vocabulary = {
            "trimmed_to": str(option),
            "tokens": trimmed.tokens,
            "tokens_before": trimmed.tokens_before,
        }
    say("writing samples with torch")
    prompts = text_parity.sample_prompts(tokenizer, settings)
    reference = text_parity.torch_texts(model, prompts)
    config = model.config
    fields: dict[str, Any] = {
        "kind": "generator",
        "name": name or output.resolve().name,
        "prompt": settings.prompt,
        "max_length": settings.prompt_length,
        "layers": config.num_decoder_layers,
        "vocabulary_size": model.lm_head.weight.shape[0],
        "pad_token_id": config.pad_token_id,
        "eos_token_id": config.eos_token_id,
        "decoder_start_token_id": config.decoder_start_token_id,
        "precision": precision,
        "opset": OPSET,
        "languages": list(settings.languages),
        "source": source_of(checkpoint, preset=settings.name or None),
        **({"vocabulary": vocabulary} if vocabulary else {}),
        "license": checkpoint.license or "unknown",
    }
    with staged_folder(output, force=force) as folder:
        save_tokenizer(tokenizer, folder)
        say("exporting to ONNX")
        _write_graphs(model, folder)
        del model
        gc.collect()
        say("comparing with torch")
        write_manifest(folder, {**fields, "parity": {}})
        measured = text_parity.check_fp32(Generator.load(folder), reference)
        if precision == "int8":
            say("rounding to int8")
            for file_name in (ENCODER_FILE, DECODER_FILE):
                rewrite_model(folder, file_name, quantize)
            say("comparing with torch")
            write_manifest(folder, {**fields, "parity": {}})
            rounded = text_parity.check_int8(Generator.load(folder), reference)
            measured = {**rounded, "before_rounding": measured}
        manifest = write_manifest(folder, {**fields, "parity": measured})
    return Exported(output, manifest, time.perf_counter() - start)


def _settings(
    checkpoint: Checkpoint, preset: str | None, options: GeneratorOptions
) -> GeneratorPreset:
    """What the options say, then the preset."""
    found = (
        generator_preset(preset) if preset is not None else find_generator_preset(checkpoint.source)
    )
    prompt = options.prompt or (found.prompt if found else None)
    if prompt is None:
        raise InputError(
            f"{checkpoint.source}: how it was prompted in training is not known: give --prompt, "
            "such as 'Generate a {language} question for this passage: {title} {passage}', or "
            "--preset"
        )
    if "{passage}" not in prompt:
        raise InputError(f"the prompt {prompt!r} has no {{passage}} in it")
    length = options.prompt_length or (found.prompt_length if found else checkpoint.max_tokens)
    length = length or 512
    if not 2 <= length <= MAX_LENGTH:
        raise InputError(f"prompt_length is {length}: give a number from 2 to {MAX_LENGTH:,}")
    return GeneratorPreset(
        name=found.name if found else "",
        models=(checkpoint.source,),
        prompt=prompt,
        prompt_length=length,
        max_length=found.max_length if found else 64,
        languages=parse_languages(options.languages)
        or (found.languages if found else tuple(known_languages(checkpoint.languages))),
    )


def _write_graphs(model: Any, folder: Path) -> None:
    import torch

    from xqg_qdrant.export.t5_graphs import DecoderGraph, EncoderGraph

    config, layers = model.config, range(model.config.num_decoder_layers)
    crosses = [f"cross_{part}_{layer}" for layer in layers for part in ("key", "value")]
    token_axes = {0: "prompts", 1: "tokens"}
    last = {"key": 3, "value": 2}
    axes: dict[str, dict[int, str]] = {"input_ids": token_axes, "attention_mask": token_axes}
    for layer in layers:
        for part, axis in last.items():
            axes[f"cross_{part}_{layer}"] = {0: "prompts", axis: "tokens"}
            axes[f"past_{part}_{layer}"] = {0: "sequences", axis: "room"}
            axes[f"{part}_{layer}"] = {0: "sequences"}

    # Two prompts, one of them padded, of three texts each.
    prompts, texts, tokens, room = 2, 3, 7, 16
    ids = torch.arange(prompts * tokens).reshape(prompts, tokens) % config.vocab_size
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    encoder = EncoderGraph(model).eval()
    with torch.inference_mode():
        cross = encoder(ids, mask)
    exported = to_onnx(
        encoder,
        (ids, mask),
        folder,
        inputs=("input_ids", "attention_mask"),
        outputs=crosses,
        axes={name: axes[name] for name in ("input_ids", "attention_mask", *crosses)},
        opset=OPSET,
    )
    save_model(exported, folder, ENCODER_FILE)
    del exported, encoder
    gc.collect()

    caches: list[torch.Tensor] = []
    names: list[str] = []
    sequences, heads, head_dim = prompts * texts, config.num_heads, config.d_kv
    for layer in layers:
        caches.append(torch.zeros(sequences, heads, head_dim, room))
        caches.append(torch.zeros(sequences, heads, room, head_dim))
        # Inference tensors cannot be traced.
        caches += [each.clone() for each in cross[2 * layer : 2 * layer + 2]]
        names += [f"{kind}_{part}_{layer}" for kind in ("past", "cross") for part in last]
    made = [f"{part}_{layer}" for layer in layers for part in last]
    best = ("logits", "token_ids")
    step_axes = {name: axes[name] for name in ("attention_mask", *names, *made)}
    step_axes |= {name: {0: "sequences", 1: "best"} for name in best}
    step_axes |= {"input_ids": {0: "prompts", 1: "texts"}, "top_probability": {0: "sequences"}}
    exported = to_onnx(
        DecoderGraph(model).eval(),
        (
            torch.zeros(prompts, texts, dtype=torch.int64),
            torch.tensor([1]),
            torch.tensor([4]),
            mask,
            *caches,
        ),
        folder,
        inputs=("input_ids", "position", "top_k", "attention_mask", *names),
        outputs=(*best, "top_probability", *made),
        axes=step_axes,
        opset=OPSET,
    )
    save_model(exported, folder, DECODER_FILE)
