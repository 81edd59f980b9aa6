"""Memory over a long run of ever other lengths: resident size, first against last.

Each system wants a process of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from inference import encoder_systems, generators, texts
from inference.checkpoints import EncoderShape
from inference.timing import progress, resident
from xqg_qdrant.models.decoding import Decoding
from xqg_qdrant.models.generator import Generator, Prompt

HEADS = ("system", "steps", "loaded", "first", "a quarter", "half", "last", "last / first")
ENCODER, FASTEMBED, GENERATOR = "encoder", "fastembed", "generator"
SYSTEMS = (ENCODER, FASTEMBED, GENERATOR)
"""fastembed, on the encoder's own int8 file, shows what onnxruntime's defaults make of it."""


def encode(
    system: str, encode: encoder_systems.Encode, *, steps: int, passages: int, file: Path | None
) -> None:
    """Print the row of an encoder that takes so many passages a step, other ones each time."""

    def step(number: int) -> None:
        encode(texts.passages(passages, file, seed=number))

    labels = {ENCODER: encoder_systems.OURS_INT8, FASTEMBED: encoder_systems.FASTEMBED_INT8}
    _run(f"encoder, {labels[system]}", steps, step)


def open_encoder(
    system: str, shape: EncoderShape, work: Path, threads: int
) -> encoder_systems.Encode:
    """The product's encoder, or fastembed with its file."""
    folders = encoder_systems.prepare(shape, work, fresh=False)
    if system == FASTEMBED:
        return encoder_systems.open_fastembed_int8(shape, folders, threads)
    return encoder_systems.open_ours(folders.int8, threads)


def generate(folder: Path, *, threads: int, steps: int) -> None:
    """Print the row of the generator, with other lengths and numbers of texts each step."""
    model = Generator.load(folder, threads=threads)
    tokenizer = generators.open_tokenizer(folder)

    def step(number: int) -> None:
        tokens = 24 + 8 * (number * 5 % 13)
        some = texts.prompts(tokenizer, generators.PROMPTS, tokens=tokens, seed=number)
        prompts = [Prompt(text, f"{number}-{place}") for place, text in enumerate(some)]
        decoding = Decoding(max_length=16 + number * 7 % 33)
        model.generate(prompts, count=1 + number % generators.TEXTS, decoding=decoding)

    _run(f"generator, {generators.OURS_INT8}", steps, step)


def _run(label: str, steps: int, step: Callable[[int], None]) -> None:
    readings = [resident()]
    for number in range(steps):
        step(number)
        readings.append(resident())
        progress(f"{label}: step {number + 1} of {steps}, {readings[-1]:.0f} MiB")
    places = (0, 1, max(1, steps // 4), max(1, steps // 2), steps)
    cells = [f"{readings[place]:,.0f}" for place in places]
    click.echo(f"| {label} | {steps} | {' | '.join(cells)} | {readings[-1] / readings[1]:.2f} |")
