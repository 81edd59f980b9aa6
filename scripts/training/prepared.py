"""The corpus as tokens, with the teacher's vectors looked up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from training import corpus, distil, teacher
from training.vocabulary import UNKNOWN_ID

if TYPE_CHECKING:
    from tokenizers import Tokenizer


@dataclass(frozen=True)
class Prepared:
    """The corpus as tokens."""

    translations: distil.Translations
    retrieval: distil.Retrieval


def prepare(
    texts: corpus.Corpus,
    tokenizer: Tokenizer,
    vectors: teacher.TeacherVectors,
    *,
    query_length: int,
    passage_length: int,
) -> Prepared:
    """Cut every text into tokens, and look up its teacher vector.

    Args:
        texts: the corpus.
        tokenizer: whose special tokens are left out.
        vectors: of all English texts.
        query_length: tokens of a question that count.
        passage_length: tokens of any other text that count.
    """

    def bags(strings: Sequence[str], longest: int = passage_length) -> distil.Bags:
        encodings = tokenizer.encode_batch_fast(list(strings), add_special_tokens=False)
        # A text of no tokens would have no vector to train.
        return distil.Bags([each.ids[:longest] or [UNKNOWN_ID] for each in encodings])

    english = list(dict.fromkeys(pair.english for pair in texts.pairs))
    row = {text: number for number, text in enumerate(english)}
    first, follow = distil.running_pairs(texts)
    groups = {group: n for n, group in enumerate(dict.fromkeys(p.group for p in texts.passages))}
    return Prepared(
        distil.Translations(
            foreign=bags([pair.foreign for pair in texts.pairs]),
            english=bags(english),
            english_of=np.array([row[pair.english] for pair in texts.pairs]),
            teacher_of=vectors.rows(english),
            weight=distil.pair_weights(texts, distil.Recipe.small_language),
        ),
        distil.Retrieval(
            questions=bags([asked.text for asked in texts.asked], query_length),
            answer=np.array([asked.passage for asked in texts.asked]),
            passages=bags([passage.text for passage in texts.passages]),
            titles=bags([passage.title for passage in texts.passages]),
            teacher_of=vectors.rows([passage.text for passage in texts.passages]),
            group=np.array([groups[passage.group] for passage in texts.passages]),
            weight=distil.question_weights(texts),
            runs=(first, follow),
        ),
    )
