from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xqg_qdrant import Encoder, Passage
from xqg_qdrant.corpus import samples
from xqg_qdrant.corpus.jsonl import read_passages
from xqg_qdrant.errors import InputError, ModelError
from xqg_qdrant.models.decoding import Decoding
from xqg_qdrant.models.generator import (
    Generated,
    Generator,
    Prompt,
    _places_to_keep,
    fill_prompt,
)

torch = pytest.importorskip("torch", reason="needs the export extra")
transformers = pytest.importorskip("transformers", reason="needs the export extra")

PASSAGES = [passage for _, passage in read_passages(samples.PASSAGES)][:9]
TEMPLATE = "Generate a {language} question for this passage: {title} {passage}"
PROMPTS = [
    Prompt(fill_prompt(TEMPLATE, passage, lang), f"{passage.id}\x00{lang}")
    for passage in PASSAGES
    for lang in ("sw", "ar")
]


@pytest.fixture(scope="module", params=["fp32", "int8"])
def generator(request: Any, tiny_generators: dict[str, Path]) -> Generator:
    return Generator.load(tiny_generators[request.param], threads=1)


@pytest.fixture(scope="module")
def exact(tiny_generators: dict[str, Path]) -> Generator:
    return Generator.load(tiny_generators["fp32"], threads=1)


@pytest.fixture(scope="module")
def model(tiny_mt5_checkpoint: Path) -> Any:
    return transformers.MT5ForConditionalGeneration.from_pretrained(tiny_mt5_checkpoint).eval()


@pytest.fixture
def ending(tiny_generators: dict[str, Path], tmp_path: Path) -> Generator:
    """A generator whose texts are short: a token that it often writes closes them."""
    written = Generator.load(tiny_generators["fp32"]).generate(PROMPTS, count=4)
    tokenizer = Generator.load(tiny_generators["fp32"])._tokenizer
    texts = " ".join(text.text for texts in written for text in texts)
    ids = [number for number in tokenizer.encode(texts).ids if number > 2]
    common = int(np.bincount(ids).argmax())
    folder = tmp_path / "ending"
    shutil.copytree(tiny_generators["fp32"], folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "eos_token_id": common}))
    return Generator.load(folder)


def with_torch(model: Any, generator: Generator, prompts: list[Prompt], **options: Any) -> Any:
    """All prompts in one padded batch of torch's."""
    rows = [each.ids for each in generator._tokenizer.encode_batch([p.text for p in prompts])]
    width = max(map(len, rows))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    with torch.inference_mode():
        return model.generate(input_ids=ids, attention_mask=mask, **options)


def decoded(generator: Generator, rows: Any) -> list[str]:
    return [
        generator._tokenizer.decode(row.tolist(), skip_special_tokens=True).strip() for row in rows
    ]


def test_greedy_texts_are_torchs(exact: Generator, model: Any) -> None:
    texts = exact.generate(PROMPTS, count=1, decoding=Decoding("greedy", max_length=40))
    found = with_torch(model, exact, PROMPTS, do_sample=False, max_new_tokens=40)
    assert [each.text for (each,) in texts] == decoded(exact, found)
    assert len({each.text for (each,) in texts}) > 3, "the model says one thing only"


@pytest.mark.parametrize("beams", [1, 3, 5])
def test_beam_texts_and_scores_are_torchs(exact: Generator, model: Any, beams: int) -> None:
    decoding = Decoding("beam", max_length=20, beams=beams)
    texts = exact.generate(PROMPTS, count=beams, decoding=decoding)
    found = with_torch(
        model,
        exact,
        PROMPTS,
        do_sample=False,
        num_beams=beams,
        num_return_sequences=beams,
        max_new_tokens=20,
        return_dict_in_generate=True,
        output_scores=True,
    )
    assert [each.text for row in texts for each in row] == decoded(exact, found.sequences)
    if beams > 1:
        scores = [each.score for row in texts for each in row]
        np.testing.assert_allclose(scores, found.sequences_scores.numpy(), atol=1e-4)


def test_beam_search_knows_texts_that_end(ending: Generator, model: Any) -> None:
    decoding = Decoding("beam", max_length=20, beams=4)
    texts = ending.generate(PROMPTS, count=4, decoding=decoding)
    found = with_torch(
        model,
        ending,
        PROMPTS,
        do_sample=False,
        num_beams=4,
        num_return_sequences=4,
        max_new_tokens=20,
        eos_token_id=ending.manifest.eos_token_id,
        return_dict_in_generate=True,
        output_scores=True,
    )
    assert any(each.finished for row in texts for each in row)
    scores = [each.score for row in texts for each in row]
    np.testing.assert_allclose(scores, found.sequences_scores.numpy(), atol=1e-4)


def test_samples_are_drawn_as_torch_would(exact: Generator, model: Any) -> None:
    """First tokens of many samples against the probabilities of torch."""
    decoding = Decoding(max_length=1, top_k=20, temperature=0.8)
    counts: dict[str, int] = {}
    for first in range(0, 4_000, 250):
        (texts,) = exact.generate(PROMPTS[:1], count=250, decoding=decoding, first=first)
        for each in texts:
            counts[each.text] = counts.get(each.text, 0) + 1
    ids = torch.tensor([exact._tokenizer.encode(PROMPTS[0].text).ids])
    with torch.inference_mode():
        logits = model(input_ids=ids, decoder_input_ids=torch.zeros(1, 1, dtype=torch.int64)).logits
    best = logits[0, 0].topk(20)
    probabilities = (best.values / 0.8).softmax(-1).numpy()
    expected: dict[str, float] = {}
    for text, share in zip(decoded(exact, best.indices[:, None]), probabilities, strict=True):
        expected[text] = expected.get(text, 0) + float(share)
    assert counts.keys() <= expected.keys()
    for text, share in expected.items():
        spread = (share * (1 - share) / 4_000) ** 0.5
        assert abs(counts.get(text, 0) / 4_000 - share) < 5 * spread


def test_scores_are_mean_log_probabilities(exact: Generator, model: Any) -> None:
    (texts,) = exact.generate(PROMPTS[:1], count=5, decoding=Decoding(max_length=10))
    encoded = exact._encode([exact._tokenizer.encode(PROMPTS[0].text).ids])
    assert encoded.mask.all()
    prompt = exact._tokenizer.encode(PROMPTS[0].text).ids
    for each in texts:
        assert each.tokens == 10
        assert each.score < 0
    # Along greedy texts, whose tokens are known.
    found = with_torch(model, exact, PROMPTS[:1], do_sample=False, max_new_tokens=10)
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([prompt]), decoder_input_ids=found[:, :-1]).logits
    likely = logits[0].log_softmax(-1)[torch.arange(10), found[0, 1:]].mean().item()
    ((greedy,),) = exact.generate(PROMPTS[:1], count=1, decoding=Decoding("greedy", max_length=10))
    assert greedy.score == pytest.approx(likely, abs=1e-5)


@pytest.mark.parametrize("method", ["sample", "greedy", "beam"])
@pytest.mark.parametrize("batch_size", [1, 4, 7, 100])
def test_texts_do_not_hang_on_the_batch(generator: Generator, method: Any, batch_size: int) -> None:
    decoding = Decoding(method, max_length=24, seed=3)
    count = 1 if method == "greedy" else 3
    expected = generator.generate(PROMPTS, count=count, decoding=decoding, batch_size=5)
    assert expected == generator.generate(
        PROMPTS, count=count, decoding=decoding, batch_size=batch_size
    )
    backwards = generator.generate(PROMPTS[::-1], count=count, decoding=decoding)
    assert expected == backwards[::-1]


def test_texts_do_not_hang_on_how_many_are_written(generator: Generator) -> None:
    five = generator.generate(PROMPTS, count=5)
    for counts in ([3, 2], [1, 1, 1, 1, 1], [1, 4]):
        first, parts = 0, [[] for _ in PROMPTS]
        for count in counts:
            for part, texts in zip(
                parts, generator.generate(PROMPTS, count=count, first=first), strict=True
            ):
                part += texts
            first += count
        assert parts == five


def test_texts_that_end_make_room_and_change_nothing(
    ending: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoding = Decoding(max_length=40)
    found = ending.generate(PROMPTS, count=6, decoding=decoding, batch_size=18)
    lengths = {each.tokens for texts in found for each in texts}
    assert len(lengths) > 10
    assert {each.finished for texts in found for each in texts} == {True, False}
    monkeypatch.setattr("xqg_qdrant.models.generator._SHRINK_BELOW", 0)
    assert found == ending.generate(PROMPTS, count=6, decoding=decoding, batch_size=18)


def test_a_text_ends_with_its_closing_token(ending: Generator) -> None:
    closing = ending._tokenizer.id_to_token(ending.manifest.eos_token_id)
    for texts in ending.generate(PROMPTS, count=4, decoding=Decoding(max_length=30)):
        for each in texts:
            assert each.tokens <= 30
            assert each.finished or each.tokens == 30
            assert each.text.count(closing.strip("▁")) >= each.finished


@pytest.mark.parametrize("seed", [0, 1])
def test_another_seed_draws_other_texts(exact: Generator, seed: int) -> None:
    one = exact.generate(PROMPTS[:2], count=3, decoding=Decoding(seed=seed))
    other = exact.generate(PROMPTS[:2], count=3, decoding=Decoding(seed=seed + 1))
    assert all(a.text != b.text for x, y in zip(one, other, strict=True) for a in x for b in y)


def test_texts_longer_than_the_first_cache(exact: Generator, model: Any) -> None:
    """The cache grows, and distances pass the last bucket of positions."""
    texts = exact.generate(PROMPTS[:3], count=1, decoding=Decoding("greedy", max_length=150))
    found = with_torch(model, exact, PROMPTS[:3], do_sample=False, max_new_tokens=150)
    assert [each.text for (each,) in texts] == decoded(exact, found)


def test_long_prompts_are_cut(exact: Generator) -> None:
    long = Prompt(PROMPTS[0].text + " river" * 500, "k")
    longer = Prompt(long.text + " bank" * 500, "k")
    assert exact.generate([long], count=2) == exact.generate([longer], count=2)


def test_nothing_comes_of_nothing(exact: Generator) -> None:
    assert exact.generate([], count=3) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"count": 0}, "count is 0"),
        ({"count": 257}, "count is 257"),
        ({"count": True}, "count is True"),
        ({"count": 1, "batch_size": 0}, "batch_size is 0"),
        ({"count": 2, "decoding": Decoding("greedy")}, "greedy decoding writes one text"),
        ({"count": 6, "decoding": Decoding("beam")}, "6 texts a prompt are wanted of 5 beams"),
    ],
)
def test_arguments_out_of_range_are_refused(
    exact: Generator, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        exact.generate(PROMPTS[:1], **arguments)


def test_an_empty_prompt_is_refused(exact: Generator) -> None:
    with pytest.raises(InputError, match="prompt 1 is empty"):
        exact.generate([PROMPTS[0], Prompt("  ", "k")], count=1)


def test_prompts_are_filled_in_in_one_go() -> None:
    passage = Passage("p", "A {title} and a {0} {x}\nin  braces", "About {passage}")
    assert (
        fill_prompt(TEMPLATE, passage, "sw")
        == "Generate a Swahili question for this passage: About {passage} A {title} and a {0} {x} "
        "in braces"
    )
    assert fill_prompt("{language}: {title}{passage}", Passage("p", "x"), "ar") == "Arabic: x"


def test_the_manifests_prompt_is_used(exact: Generator) -> None:
    passage = PASSAGES[0]
    assert exact.prompt_for(passage, "ar") == fill_prompt(TEMPLATE, passage, "ar")
    assert exact.prompt_for(passage, "ar", template="q: {passage}") == f"q: {passage.text}"


@pytest.mark.parametrize("name", ["encoder.onnx", "decoder.onnx", "tokenizer.json"])
def test_a_damaged_file_is_refused(
    tiny_generators: dict[str, Path], tmp_path: Path, name: str
) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(tiny_generators["fp32"], folder)
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(ModelError, match=f"{name}: its sha256 is"):
        Generator.load(folder)


def test_kinds_are_told_apart(tiny_generators: dict[str, Path], tiny_folder: Path) -> None:
    with pytest.raises(ModelError, match="of kind 'encoder', a generator is wanted"):
        Generator.load(tiny_folder)
    with pytest.raises(ModelError, match="of kind 'generator', an encoder is wanted"):
        Encoder.load(tiny_generators["fp32"])


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("prompt", "", "'prompt' must be a non-empty string"),
        ("layers", 0, "'layers' must be a whole number from 1 to 1000"),
        ("layers", 3, "wanted inputs"),
        ("vocabulary_size", 1, "'vocabulary_size' must be a whole number"),
        ("eos_token_id", 10**6, "'eos_token_id' must be a whole number"),
        ("max_length", 1, "'max_length' must be a whole number"),
        ("schema_version", 2, "manifest version 2"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(
    tiny_generators: dict[str, Path], tmp_path: Path, field: str, value: Any, message: str
) -> None:
    folder = tmp_path / "other"
    shutil.copytree(tiny_generators["fp32"], folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, field: value}))
    with pytest.raises(ModelError, match=message):
        Generator.load(folder)


def test_a_batch_shrinks_to_what_is_still_going() -> None:
    going = np.array([[1, 0, 0], [0, 0, 0], [1, 0, 1], [0, 0, 0]], dtype=bool)
    kept = _places_to_keep(going.ravel(), (4, 3), least=2)
    assert kept is not None
    assert kept.shape == (2, 2)
    assert {0, 6, 8} <= set(kept.ravel().tolist())
    assert (kept // 3 == [[0, 0], [2, 2]]).all()
    assert _places_to_keep(np.ones(12, dtype=bool), (4, 3), least=2) is None


def test_a_text_is_a_plain_record(exact: Generator) -> None:
    ((text, _),) = exact.generate(PROMPTS[:1], count=2)
    assert isinstance(text, Generated)
    assert isinstance(text.text, str)
    assert type(text.score) is float
    assert type(text.tokens) is int
    assert type(text.finished) is bool
