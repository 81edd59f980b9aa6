"""Texts to measure with: passages of ragged lengths, questions, prompts."""

from __future__ import annotations

import json
import random
from itertools import cycle, islice
from pathlib import Path

from tokenizers import Tokenizer

from xqg_qdrant.corpus import samples
from xqg_qdrant.corpus.jsonl import read_passages, read_questions

QUERY_TOKENS = (8, 16)
PROMPT_TOKENS = 120
PROMPT = "Generate a {language} question for this passage: {passage}"
LANGUAGES = ("Arabic", "Bengali", "Finnish", "Japanese", "Korean", "Russian", "Swahili", "Telugu")

# Words of XQuAD's English paragraphs: quartiles 90, 110 and 146, from 25 up.
_MEDIAN_WORDS = 110
_SIGMA = 0.4
_FEWEST_WORDS = 25


def passages(count: int, file: Path | None, *, seed: int = 0) -> list[str]:
    """Some passages in an order of chance.

    Args:
        count: how many; those of a file come again if there are fewer.
        file: JSONL with a ``text`` field. When None, sentences of the bundled samples are joined
            to lengths like those of XQuAD's paragraphs.
        seed: of the order, the sentences and the lengths.
    """
    rng = random.Random(seed)
    if file is None:
        return [_joined(rng) for _ in range(count)]
    lines = file.read_text(encoding="utf-8").splitlines()
    texts = [json.loads(line)["text"] for line in lines if line.strip()]
    rng.shuffle(texts)
    return list(islice(cycle(texts), count))


def _joined(rng: random.Random) -> str:
    words = max(_FEWEST_WORDS, rng.lognormvariate(0, _SIGMA) * _MEDIAN_WORDS)
    text: list[str] = []
    while len(text) < words:
        text += rng.choice(_SENTENCES).split()
    return " ".join(text)


def _sentences() -> list[str]:
    texts = [passage.text for _, passage in read_passages(samples.PASSAGES)]
    return [f"{part.rstrip('.')}." for text in texts for part in text.split(". ")]


_SENTENCES = _sentences()


def queries(tokenizer: Tokenizer, count: int) -> list[str]:
    """Questions of the bundled samples, of 8 to 16 tokens."""
    texts = [question.text for _, (question, _) in read_questions(samples.QUESTIONS)]
    low, high = QUERY_TOKENS
    fitting = [text for text in texts if low <= len(tokenizer.encode(text).ids) <= high]
    random.Random(0).shuffle(fitting)
    return list(islice(cycle(fitting), count))


def prompts(
    tokenizer: Tokenizer, count: int, *, tokens: int = PROMPT_TOKENS, seed: int = 0
) -> list[str]:
    """Prompts of so many tokens, or few less, over passages like those above that are cut."""
    rng = random.Random(seed)
    made = []
    for number in range(count):
        prompt = PROMPT.replace("{language}", LANGUAGES[number % len(LANGUAGES)])
        words = _joined(rng).split()
        while len(words) < tokens:
            words += _joined(rng).split()

        def filled(many: int, prompt: str = prompt, words: list[str] = words) -> str:
            return prompt.replace("{passage}", " ".join(words[:many]))

        many = len(words)
        while len(tokenizer.encode(filled(many)).ids) > tokens:
            many -= 1
        made.append(filled(many))
    return made
