from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from tests import checkpoints
from xqg_qdrant.errors import InputError, ModelError
from xqg_qdrant.export.checkpoint import load_model, open_checkpoint
from xqg_qdrant.export.trim import Trimmed, trim, trim_tokenizer
from xqg_qdrant.export.vocabulary import tokens_for_languages

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

PROMPTS = [
    "Generate a Swahili question for this passage: Niger River It enters the Gulf of Guinea.",
    "Generate a Arabic question for this passage: Oil 240 kilometres",
    "Wapi mto Niger?",
]
FAMILIES = ["mt5", "t5", "umt5"]
ENCODERS = ["bert", "distilbert", "xlm-roberta"]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, Tokenizer]]:
    """A model and its tokenizer of every architecture."""
    root = tmp_path_factory.mktemp("checkpoints")
    built = {
        "mt5": checkpoints.build_mt5(root / "mt5"),
        "t5": checkpoints.build_mt5(root / "t5", t5=True, initializer_factor=4.0),
        "bert": checkpoints.build_bert(root / "bert"),
        "xlm-roberta": checkpoints.build_xlmr(root / "xlmr"),
    }
    found = {}
    for kind, folder in built.items():
        checkpoint = open_checkpoint(str(folder))
        generator = kind in FAMILIES
        auto = transformers.AutoModelForSeq2SeqLM if generator else transformers.AutoModel
        found[kind] = (load_model(checkpoint, auto), checkpoint.tokenizer)
    # mT5's published table has twelve rows more than there are tokens.
    model, tokenizer = found["mt5"]
    model.resize_token_embeddings(tokenizer.get_vocab_size() + 12)
    torch.manual_seed(1)
    torch.nn.init.normal_(model.lm_head.weight)
    umt5 = transformers.UMT5ForConditionalGeneration(
        transformers.UMT5Config(
            vocab_size=tokenizer.get_vocab_size(), d_model=32, d_kv=12, d_ff=64, num_layers=2,
            num_heads=4, tie_word_embeddings=False, decoder_start_token_id=0,
        )
    )  # fmt: skip
    found["umt5"] = (umt5.eval(), tokenizer)
    tokenizer = found["bert"][1]
    distilbert = transformers.DistilBertModel(
        transformers.DistilBertConfig(
            vocab_size=tokenizer.get_vocab_size(), dim=32, hidden_dim=64, n_layers=2, n_heads=4
        )
    )
    found["distilbert"] = (distilbert.eval(), tokenizer)
    return found


def batch(tokenizer: Tokenizer, texts: list[str], pad: int) -> tuple[Any, Any]:
    rows = [each.ids for each in tokenizer.encode_batch(texts)]
    width = max(map(len, rows))
    ids = torch.tensor([row + [pad] * (width - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    return ids, mask


def generate(model: Any, tokenizer: Tokenizer, texts: list[str], **options: Any) -> Any:
    ids, mask = batch(tokenizer, texts, model.config.pad_token_id)
    return model.generate(
        input_ids=ids, attention_mask=mask, max_new_tokens=12, do_sample=False, **options
    )


def state(model: Any) -> dict[str, Any]:
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize("kind", FAMILIES)
def test_greedy_texts_of_kept_tokens_stay_equal(kind: str, pairs: Any) -> None:
    model, tokenizer = pairs[kind]
    before = generate(model, tokenizer, PROMPTS)
    prompts, _ = batch(tokenizer, PROMPTS, model.config.pad_token_id)
    keep = {*prompts.unique().tolist(), *before.unique().tolist()}
    keep = {number for number in keep if number < tokenizer.get_vocab_size()}
    assert len(before.unique()) > 3, "the model says nothing"
    trimmed = trim(model, tokenizer, keep)
    after = generate(trimmed.model, trimmed.tokenizer, PROMPTS)
    assert trimmed.tokens < tokenizer.get_vocab_size() / 2
    assert after.tolist() == [trimmed.renumber(row) for row in before.tolist()]
    texts = [tokenizer.decode(row.tolist()) for row in before]
    assert [trimmed.tokenizer.decode(row.tolist()) for row in after] == texts


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_trimmed_generator_chooses_the_best_of_what_is_left(kind: str, pairs: Any) -> None:
    model, tokenizer = pairs[kind]
    trimmed = trim(model, tokenizer, tokens_for_languages(tokenizer, ["en", "sw"]))
    rows = model.get_input_embeddings().num_embeddings
    lost = torch.tensor(sorted(set(range(rows)) - set(trimmed.kept.tolist())))

    class OnlyKept(transformers.LogitsProcessor):
        def __call__(self, input_ids: Any, scores: Any) -> Any:
            return scores.index_fill(1, lost, -math.inf)

    before = generate(
        model, tokenizer, PROMPTS, logits_processor=transformers.LogitsProcessorList([OnlyKept()])
    )
    after = generate(trimmed.model, trimmed.tokenizer, PROMPTS)
    assert after.tolist() == [trimmed.renumber(row) for row in before.tolist()]


@pytest.mark.parametrize("kind", ENCODERS)
@pytest.mark.parametrize("languages", [["en", "sw"], ["en", "ar", "ja"]])
def test_vectors_of_kept_tokens_stay_equal(kind: str, languages: list[str], pairs: Any) -> None:
    model, tokenizer = pairs[kind]
    trimmed = trim(model, tokenizer, tokens_for_languages(tokenizer, languages))
    assert trimmed.tokens < tokenizer.get_vocab_size()
    texts = [*PROMPTS, "240"] + (["ما هو النيل؟ ナイル川"] if "ar" in languages else [])
    ids, mask = batch(tokenizer, texts, model.config.pad_token_id)
    new_ids, new_mask = batch(trimmed.tokenizer, texts, trimmed.model.config.pad_token_id)
    assert new_ids.tolist() == [trimmed.renumber(row) for row in ids.tolist()]
    assert new_mask.equal(mask)
    with torch.no_grad():
        before = model(input_ids=ids, attention_mask=mask).last_hidden_state
        after = trimmed.model(input_ids=new_ids, attention_mask=new_mask).last_hidden_state
    assert before[0].std() > 0.1
    torch.testing.assert_close(after, before, atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", FAMILIES + ENCODERS)
def test_only_rows_of_the_vocabulary_are_lost(kind: str, pairs: Any) -> None:
    model, tokenizer = pairs[kind]
    before = state(model)
    configuration = model.config.to_json_string()
    trimmed = trim(model, tokenizer, tokens_for_languages(tokenizer, ["sw"]))
    after = trimmed.model.state_dict()
    assert after.keys() == before.keys()
    for name, weight in before.items():
        changed = after[name].shape != weight.shape
        assert changed == (weight.shape[:1] == (trimmed.rows_before,))
        assert after[name].equal(weight[trimmed.kept] if changed else weight)
        # What went in is as it was, and what did not change is not held twice.
        assert model.state_dict()[name].equal(weight)
        if name in dict(model.named_parameters()) and not changed:
            assert after[name].data_ptr() == model.state_dict()[name].data_ptr()
    assert model.config.to_json_string() == configuration
    assert trimmed.parameters_before == sum(each.numel() for each in model.parameters())
    tables = {each.data_ptr(): each for name, each in after.items() if len(each) == trimmed.tokens}
    width = next(iter(tables.values())).shape[1]
    lost = (trimmed.rows_before - trimmed.tokens) * width * len(tables)
    assert len(tables) == (2 if kind in ("mt5", "umt5") else 1)
    assert trimmed.parameters == trimmed.parameters_before - lost


@pytest.mark.parametrize("kind", ["mt5", "t5", "bert", "xlm-roberta"])
def test_a_trimmed_model_is_a_checkpoint_like_any_other(
    kind: str, pairs: Any, tmp_path: Path
) -> None:
    model, tokenizer = pairs[kind]
    trimmed = trim(model, tokenizer, tokens_for_languages(tokenizer, ["sw"]))
    trimmed.model.save_pretrained(tmp_path)
    again, loading = type(model).from_pretrained(tmp_path, output_loading_info=True)
    assert not any(loading.values())
    assert again.config.vocab_size == trimmed.tokens
    for name, weight in trimmed.model.state_dict().items():
        assert again.state_dict()[name].equal(weight)


def test_an_output_layer_with_a_bias_is_trimmed_as_a_whole(pairs: Any) -> None:
    _, tokenizer = pairs["bert"]
    config = transformers.BertConfig(
        vocab_size=tokenizer.get_vocab_size(), hidden_size=32, num_hidden_layers=1,
        num_attention_heads=4, intermediate_size=64, pad_token_id=100,
    )  # fmt: skip
    model = transformers.BertForMaskedLM(config).eval()
    torch.nn.init.normal_(model.cls.predictions.bias)
    trimmed = trim(model, tokenizer, tokens_for_languages(tokenizer, ["sw"]))
    ids, _ = batch(tokenizer, ["mto"], 0)
    new_ids, _ = batch(trimmed.tokenizer, ["mto"], 0)
    with torch.no_grad():
        before = model(input_ids=ids).logits[:, :, trimmed.kept]
        after = trimmed.model(input_ids=new_ids).logits
    torch.testing.assert_close(after, before, atol=1e-6, rtol=0)
    head = trimmed.model.cls.predictions
    assert head.bias is head.decoder.bias
    table = trimmed.model.get_input_embeddings()
    assert head.decoder.weight is table.weight
    assert head.decoder.out_features == table.num_embeddings == trimmed.tokens
    assert [table.padding_idx] == trimmed.renumber([100])


def test_the_pad_id_that_positions_hang_on_stays() -> None:
    pieces = [(letter, -float(n)) for n, letter in enumerate("abcdefgh", 1)]
    pieces[3:3] = [("<pad>", 0.0), ("<unk>", 0.0)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=4))
    tokenizer.add_special_tokens(["<pad>", "<unk>"])
    config = transformers.XLMRobertaConfig(
        vocab_size=len(pieces), hidden_size=8, num_hidden_layers=1, num_attention_heads=1,
        intermediate_size=8, pad_token_id=3, bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    model = transformers.XLMRobertaModel(config).eval()
    trimmed = trim(model, tokenizer, {5, 7})
    assert trimmed.kept.tolist() == [0, 1, 2, 3, 4, 5, 7, 9]
    ids, mask = batch(tokenizer, ["df", "f"], 3)
    new_ids, _ = batch(trimmed.tokenizer, ["df", "f"], 3)
    with torch.no_grad():
        before = model(input_ids=ids, attention_mask=mask).last_hidden_state
        after = trimmed.model(input_ids=new_ids, attention_mask=mask).last_hidden_state
    torch.testing.assert_close(after, before, atol=1e-6, rtol=0)


def test_ids_that_configurations_name_are_renumbered(pairs: Any) -> None:
    _, tokenizer = pairs["mt5"]
    special = {"decoder_start_token_id": 40, "eos_token_id": 300, "pad_token_id": 200}
    config = transformers.MT5Config(
        vocab_size=tokenizer.get_vocab_size(), d_model=8, d_kv=3, d_ff=8, num_layers=1,
        num_heads=1, **special,
    )  # fmt: skip
    model = transformers.MT5ForConditionalGeneration(config)
    model.generation_config.eos_token_id = [300, 301]
    trimmed = trim(model, tokenizer, ())
    for each in (trimmed.model.config, trimmed.model.encoder.config, trimmed.model.decoder.config):
        assert each.vocab_size == trimmed.tokens
        for name, old in special.items():
            assert [getattr(each, name)] == trimmed.renumber([old])
    assert trimmed.model.generation_config.eos_token_id == trimmed.renumber([300, 301])
    assert model.config.eos_token_id == 300


def test_padding_rows_go_even_where_all_tokens_stay(pairs: Any) -> None:
    model, tokenizer = pairs["mt5"]
    trimmed = trim(model, tokenizer, tokenizer.get_vocab().values())
    assert trimmed.rows_before == tokenizer.get_vocab_size() + 12
    assert trimmed.tokens == trimmed.tokens_before == tokenizer.get_vocab_size()
    assert json.loads(trimmed.tokenizer.to_str()) == json.loads(tokenizer.to_str())


def test_the_number_of_tokens_is_rounded_up(pairs: Any) -> None:
    model, tokenizer = pairs["mt5"]
    plain = trim(model, tokenizer, {300, 301})
    rounded = trim(model, tokenizer, {300, 301}, multiple=64)
    assert plain.tokens % 64
    assert rounded.tokens % 64 == 0
    assert set(plain.kept) < set(rounded.kept)
    filled = sorted(set(rounded.kept) - set(plain.kept))
    assert filled == [n for n in range(filled[-1] + 1) if n not in plain.kept]
    everything = trim(model, tokenizer, tokenizer.get_vocab().values(), multiple=10**6)
    assert everything.tokens == tokenizer.get_vocab_size()
    with pytest.raises(InputError, match="multiple is 0"):
        trim(model, tokenizer, {300}, multiple=0)


# Tokenizers


LETTERS = "abcd"
WORDS = st.text(LETTERS, min_size=2, max_size=5)


@st.composite
def unigrams(draw: st.DrawFn) -> Tokenizer:
    """All or some letters, some longer pieces, an unknown token anywhere."""
    scores = st.floats(-40, 0, width=32)
    texts = draw(st.sets(WORDS, max_size=12)) | draw(st.sets(st.sampled_from(LETTERS)))
    pieces = [(text, draw(scores)) for text in sorted(texts)]
    place = draw(st.integers(0, len(pieces)))
    pieces.insert(place, ("<unk>", 0.0))
    return Tokenizer(models.Unigram(pieces, unk_id=place))


@settings(max_examples=200, deadline=None)
@given(tokenizer=unigrams(), text=st.text(LETTERS, min_size=1, max_size=12), data=st.data())
def test_unigram_cuts_up_texts_of_kept_pieces_as_before(
    tokenizer: Tokenizer, text: str, data: st.DataObject
) -> None:
    before = tokenizer.encode(text)
    others = data.draw(st.sets(st.sampled_from(range(tokenizer.get_vocab_size()))))
    smaller, kept = trim_tokenizer(tokenizer, others | set(before.ids))
    after = smaller.encode(text)
    assert after.tokens == before.tokens
    assert kept[after.ids].tolist() == before.ids


@st.composite
def wordpieces(draw: st.DrawFn) -> Tokenizer:
    """All letters, so that no word is unknown, and some longer pieces."""
    longer = [form for text in sorted(draw(st.sets(WORDS))) for form in (text, f"##{text}")]
    pieces = {form for letter in LETTERS for form in (letter, f"##{letter}")}
    if longer:
        pieces |= draw(st.sets(st.sampled_from(longer)))
    names = draw(st.permutations(sorted(pieces | {"[UNK]"})))
    return Tokenizer(models.WordPiece({name: n for n, name in enumerate(names)}, unk_token="[UNK]"))


@settings(max_examples=200, deadline=None)
@given(tokenizer=wordpieces(), text=st.text(LETTERS, min_size=1, max_size=12), data=st.data())
def test_wordpiece_cuts_up_known_texts_of_kept_pieces_as_before(
    tokenizer: Tokenizer, text: str, data: st.DataObject
) -> None:
    before = tokenizer.encode(text)
    others = data.draw(st.sets(st.sampled_from(range(tokenizer.get_vocab_size()))))
    smaller, kept = trim_tokenizer(tokenizer, others | set(before.ids))
    after = smaller.encode(text)
    assert after.tokens == before.tokens
    assert kept[after.ids].tolist() == before.ids


def test_unknown_characters_do_not_become_likelier() -> None:
    """Without the worst piece, w, an unknown one would score -18 and win with xyzuv."""
    pieces = [("<unk>", 0.0), ("w", -25.0), ("wx", -8.0), ("yz", -8.0), ("uv", -8.0)]
    pieces.append(("xyzuv", -1.0))
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0))
    assert tokenizer.encode("wxyzuv").tokens == ["wx", "yz", "uv"]
    smaller, kept = trim_tokenizer(tokenizer, {2, 3, 4, 5})
    assert smaller.encode("wxyzuv").tokens == ["wx", "yz", "uv"]
    assert 1 in kept
    spoilt = json.loads(tokenizer.to_str())
    del spoilt["model"]["vocab"][1]
    unknown = Tokenizer.from_str(json.dumps(spoilt)).encode("wxyzuv").tokens
    assert unknown != ["wx", "yz", "uv"]


def test_single_bytes_and_added_tokens_always_stay() -> None:
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    pieces += [(f"<0x{byte:02X}>", 0.0) for byte in range(256)]
    pieces += [("▁", -2.0), ("a", -3.0), ("é", -4.0), ("b", -5.0)]
    pieces += [(f"<extra_id_{number}>", 0.0) for number in reversed(range(3))]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=2, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.add_special_tokens(["<pad>", "</s>", "<unk>"])
    tokenizer.add_special_tokens([f"<extra_id_{number}>" for number in range(3)])
    tokenizer.add_tokens(["<passage>", "<query>"])
    smaller, kept = trim_tokenizer(tokenizer, map(tokenizer.token_to_id, "▁a"))
    lost = set(tokenizer.get_vocab().values()) - set(kept.tolist())
    assert {tokenizer.id_to_token(number) for number in lost} == {"é"}  # b is the worst piece
    assert smaller.encode("aé").tokens == ["▁", "a", "<0xC3>", "<0xA9>"]
    assert (
        smaller.encode("a<query>a<extra_id_2>").tokens
        == tokenizer.encode("a<query>a<extra_id_2>").tokens
    )
    assert smaller.get_added_tokens_decoder().keys() == {
        int(np.searchsorted(kept, number)) for number in tokenizer.get_added_tokens_decoder()
    }


@pytest.mark.parametrize(
    "processor",
    [
        processors.BertProcessing(("[SEP]", 7), ("[CLS]", 9)),
        processors.RobertaProcessing(("[SEP]", 7), ("[CLS]", 9)),
        processors.TemplateProcessing("[CLS] $A [SEP]", None, [("[CLS]", 9), ("[SEP]", 7)]),
        processors.Sequence(
            [
                processors.ByteLevel(trim_offsets=False),
                processors.TemplateProcessing("[CLS] $A [SEP]", None, [("[CLS]", 9), ("[SEP]", 7)]),
            ]
        ),
    ],
)
def test_what_frames_a_text_is_renumbered(processor: Any) -> None:
    names = ["a", "b", "c", "d", "[UNK]", "e", "[PAD]", "[SEP]", "f", "[CLS]"]
    tokenizer = Tokenizer(
        models.WordPiece({name: n for n, name in enumerate(names)}, unk_token="[UNK]")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processor
    tokenizer.enable_padding(pad_id=6, pad_token="[PAD]")
    tokenizer.enable_truncation(4)
    smaller, kept = trim_tokenizer(tokenizer, [1])
    assert kept.tolist() == [1, 4, 6, 7, 9]
    long, short = smaller.encode_batch(["b b b", "c"])
    assert long.tokens == ["[CLS]", "b", "b", "[SEP]"]
    assert long.ids == [4, 0, 0, 3]
    assert short.tokens == ["[CLS]", "[UNK]", "[SEP]", "[PAD]"]
    assert short.ids == [4, 1, 3, 2]


# Refusals


def test_vocabularies_that_cannot_be_trimmed_are_refused(pairs: Any) -> None:
    model, tokenizer = pairs["mt5"]
    merges = Tokenizer(models.BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")]))
    with pytest.raises(ModelError, match="a BPE vocabulary cannot be trimmed"):
        trim(model, merges, {0})
    with pytest.raises(InputError, match="token 99999 to keep is none of the tokenizer's"):
        trim(model, tokenizer, {5, 99999})


def test_models_that_cannot_be_trimmed_are_refused(pairs: Any) -> None:
    _, tokenizer = pairs["bert"]
    shape = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    shape["intermediate_size"] = 8
    small = transformers.BertModel(transformers.BertConfig(vocab_size=50, **shape))
    with pytest.raises(ModelError, match="embeds only 50: the tokenizer is not this model's"):
        trim(small, tokenizer, {5})
    electra = transformers.ElectraModel(transformers.ElectraConfig(embedding_size=8, **shape))
    with pytest.raises(ModelError, match="vocabulary of a electra model cannot be trimmed"):
        trim(electra, tokenizer, {5})
    with pytest.raises(ModelError, match="vocabulary of a Linear model cannot be trimmed"):
        trim(torch.nn.Linear(2, 2), tokenizer, {5})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"eos_token_id": 99999}, "eos_token_id is 99999, which is none of the tokenizer's"),
        ({"eos_token_id": [1, 99999]}, "eos_token_id is 99999"),
        ({"suppress_tokens": [5]}, "sets suppress_tokens, which --trim-vocab cannot renumber"),
    ],
)
def test_settings_that_cannot_be_renumbered_are_refused(
    settings: dict[str, Any], message: str, pairs: Any
) -> None:
    model, tokenizer = pairs["mt5"]
    kept = model.generation_config
    model.generation_config = transformers.GenerationConfig(**settings)
    try:
        with pytest.raises(ModelError, match=message):
            trim(model, tokenizer, {5})
    finally:
        model.generation_config = kept


def test_tokens_that_were_not_kept_have_no_new_id(pairs: Any) -> None:
    model, tokenizer = pairs["mt5"]
    trimmed: Trimmed = trim(model, tokenizer, {300})
    assert trimmed.renumber([0, 300]) == [0, trimmed.kept.tolist().index(300)]
    with pytest.raises(InputError, match="token 301 was not kept"):
        trimmed.renumber([301])
