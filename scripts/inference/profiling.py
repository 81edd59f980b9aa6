"""Where the time of the product's generator goes, as ONNX Runtime's profiler sees it."""

from __future__ import annotations

import json
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import click

from inference import generators, texts
from inference.checkpoints import GeneratorShape
from inference.timing import table
from xqg_qdrant.models.decoder import Decoder
from xqg_qdrant.models.decoding import Decoding
from xqg_qdrant.models.generator import Generator, Prompt
from xqg_qdrant.models.manifest import (
    DECODER_FILE,
    ENCODER_FILE,
    TOKENIZER_FILE,
    read_generator_manifest,
)
from xqg_qdrant.models.session import open_tokenizer

SHOWN = 16


def measure(shape: GeneratorShape, work: Path, name: str, *, threads: int) -> None:
    """Print the shares of encoder, decoder and Python, and of the decoder's operators."""
    folder = generators.prepare(shape, work, name, fresh=False).int8
    manifest = read_generator_manifest(folder)
    with tempfile.TemporaryDirectory() as place:
        encoder = _profiled(folder / ENCODER_FILE, place, threads, arena=False)
        step = _profiled(folder / DECODER_FILE, place, threads, arena=True)
        tokenizer = open_tokenizer(folder / TOKENIZER_FILE, max_length=manifest.max_length)
        decoder = Decoder(step, manifest.layers, folder / DECODER_FILE)
        generator = Generator(manifest, encoder, decoder, tokenizer)
        asked = texts.prompts(generators.open_tokenizer(folder), generators.PROMPTS)
        prompts = [Prompt(text, str(number)) for number, text in enumerate(asked)]
        decoding = Decoding(max_length=generators.NEW_TOKENS, top_k=generators.TOP_K)
        began = time.perf_counter()
        generator.generate(prompts, count=generators.TEXTS, decoding=decoding)
        total = time.perf_counter() - began
        encoding, _, _ = _read(Path(encoder.end_profiling()))
        decoding_time, steps, operators = _read(Path(step.end_profiling()))
    click.echo(
        f"### Where the time goes: {name}, int8, {threads} thread{'s' if threads > 1 else ''}\n"
    )
    click.echo(f"{steps} steps; the profiler itself takes some time of each operator.\n")
    kernels = sum(operators.values())
    parts = {
        "encoder": encoding,
        "decoder, in its operators": kernels,
        "decoder, between them": decoding_time - kernels,
        "Python: sampling, caches, tokens to text": total - encoding - decoding_time,
        "all": total,
    }
    rows = [[part, f"{1e3 * spent:,.0f}", f"{spent / total:.1%}"] for part, spent in parts.items()]
    table(["part", "ms", "share"], rows)
    rows = [
        [operator, f"{1e3 * spent / steps:.2f}", f"{spent / kernels:.1%}"]
        for operator, spent in operators.most_common(SHOWN)
    ]
    table(["operator of the decoder", "ms a step", "share"], rows)


def _profiled(path: Path, place: str, threads: int, *, arena: bool) -> Any:
    """A session as the product opens it, profiled."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.enable_cpu_mem_arena = arena
    options.enable_profiling = True
    options.profile_file_prefix = str(Path(place) / path.stem)
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _read(profile: Path) -> tuple[float, int, Counter[str]]:
    """Seconds in the session, its runs, and seconds by operator; of the output layer apart."""
    events = json.loads(profile.read_text(encoding="utf-8"))
    runs = [event["dur"] for event in events if event.get("name") == "model_run"]
    operators: Counter[str] = Counter()
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            name = event["args"]["op_name"]
            if "lm_head" in event["name"]:
                name += ", output layer"
            operators[name] += event["dur"] / 1e6
    return sum(runs) / 1e6, len(runs), operators
