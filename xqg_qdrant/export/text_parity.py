"""Whether a generator's folder writes the same texts as torch, measured on the bundled samples.

Torch writes some texts greedily. Then the folder, as the run time loads it, writes them too; and it
is led along torch's texts, token for token, so that one early difference does not hide the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from xqg_qdrant.corpus import samples
from xqg_qdrant.corpus.jsonl import read_passages
from xqg_qdrant.errors import ModelError
from xqg_qdrant.export.checkpoint import quiet
from xqg_qdrant.models.generator import Generator, fill_prompt

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer

    from xqg_qdrant.export.presets import GeneratorPreset

PROMPTS = 8
MAX_TOKENS = 32
CLOSE = 1e-3
"""Logits no further apart are as good as equal: torch itself orders them by chance."""

LARGEST_DIFFERENCE = 1e-3
"""Of the log-probability of a token, where logits are no larger than ``USUAL_LOGIT``."""

USUAL_LOGIT = 50.0
"""Beyond it differences grow with the logits: both precisions have so many digits."""

LARGEST_MEAN_DIFFERENCE_INT8 = 0.25

_LANGUAGES = ("ar", "fi", "ja", "ru", "sw")


@dataclass(frozen=True, slots=True)
class Written:
    """What torch makes of a prompt.

    Attributes:
        prompt: its token ids.
        tokens: those of the greedy text, the closing one included.
        log_probabilities: of each of them, float32.
        close: whether the best two logits were as good as equal, for each of them.
        largest_logit: without its sign.
    """

    prompt: Sequence[int]
    tokens: Sequence[int]
    log_probabilities: NDArray[np.float32]
    close: NDArray[np.bool_]
    largest_logit: float


def sample_prompts(tokenizer: Tokenizer, settings: GeneratorPreset) -> list[list[int]]:
    """Token ids of prompts over sample passages, in several languages; the last is cut."""
    from tokenizers import Tokenizer

    cutting = Tokenizer.from_str(tokenizer.to_str())
    cutting.enable_truncation(max_length=settings.prompt_length)
    languages = settings.languages or _LANGUAGES
    passages = [passage for _, passage in read_passages(samples.PASSAGES)]
    prompts = [
        fill_prompt(settings.prompt, passage, languages[number % len(languages)])
        for number, passage in enumerate(passages[: PROMPTS - 1])
    ]
    prompts.append(" ".join([*prompts, *(each.text for each in passages)]))
    return [cutting.encode(prompt).ids for prompt in prompts]


def torch_texts(model: torch.nn.Module, prompts: Sequence[Sequence[int]]) -> list[Written]:
    """Write greedily with torch, each prompt alone and unpadded."""
    import torch

    config: Any = model.config
    # transformers keeps a cache for as many layers as the encoder has.
    use_cache = config.num_layers == config.num_decoder_layers
    written = []
    for prompt in prompts:
        ids = torch.tensor([list(prompt)])
        with torch.inference_mode(), quiet():
            found = model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                do_sample=False,
                num_beams=1,
                max_new_tokens=MAX_TOKENS,
                min_length=0,
                use_cache=use_cache,
            )[0]
            logits = model(input_ids=ids, decoder_input_ids=found[None, :-1]).logits[0].float()
        best = logits.topk(2).values
        tokens = found[1:]
        likely = logits.log_softmax(-1)[torch.arange(len(tokens)), tokens]
        written.append(
            Written(
                prompt,
                tokens.tolist(),
                likely.numpy(),
                (best[:, 0] - best[:, 1] < CLOSE).numpy(),
                float(logits.abs().max()),
            )
        )
    return written


def check_fp32(generator: Generator, reference: Sequence[Written]) -> dict[str, Any]:
    """Compare a generator with torch.

    Returns:
        What was measured, for the manifest.

    Raises:
        ModelError: it writes other texts, or finds them otherwise likely.
    """
    figures = _measure(generator, reference)
    difference = figures["maximum_log_probability_difference"]
    if figures["tokens_that_differ"] or difference > LARGEST_DIFFERENCE * _scale(reference):
        raise ModelError(
            "parity check failed: what was exported writes other texts than the checkpoint in "
            f"torch (measured: {_listed(figures)})"
        )
    return figures


def check_int8(generator: Generator, reference: Sequence[Written]) -> dict[str, Any]:
    """Measure what int8 costs, against torch in float32.

    Returns:
        What was measured, for the manifest.

    Raises:
        ModelError: it costs too much.
    """
    figures = _measure(generator, reference)
    difference = figures["mean_log_probability_difference"]
    if difference > LARGEST_MEAN_DIFFERENCE_INT8 * _scale(reference):
        raise ModelError(
            "parity check failed, int8 costs this model too much; export it with --precision fp32 "
            f"(measured: {_listed(figures)})"
        )
    return figures


def _measure(generator: Generator, reference: Sequence[Written]) -> dict[str, Any]:
    same, differ, total = 0, 0, 0
    differences: list[NDArray[np.float32]] = []
    # All at once, as batches are: so padding is checked too.
    led = generator.follow([each.prompt for each in reference], [each.tokens for each in reference])
    for each, (best, likely) in zip(reference, led, strict=True):
        other = best != np.array(each.tokens)
        total += len(other)
        differ += int((other & ~each.close).sum())
        same += not other.any()
        differences.append(np.abs(likely - each.log_probabilities))
    apart = np.concatenate(differences)
    return {
        "texts": len(reference),
        "texts_the_same": same,
        "tokens": total,
        "tokens_that_differ": differ,
        "mean_log_probability_difference": _round(apart.mean()),
        "maximum_log_probability_difference": _round(apart.max()),
    }


def _scale(reference: Sequence[Written]) -> float:
    return max(1.0, max(each.largest_logit for each in reference) / USUAL_LOGIT)


def _listed(figures: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in figures.items())


def _round(value: float) -> float:
    return float(f"{float(value):.3g}")
