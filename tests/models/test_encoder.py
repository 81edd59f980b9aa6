from __future__ import annotations

import json
import logging
import re
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, pre_tokenizers, processors

from tests.tiny import DIMENSION, build_encoder, write_manifest
from xqg_qdrant import Encoder
from xqg_qdrant.errors import InputError, ModelError
from xqg_qdrant.models.encoder import WINDOW, passage_text
from xqg_qdrant.records import Passage

TEXTS = [
    "a",
    "the quick brown fox",
    "Größe",
    "水は百度で沸騰する",
    "🦉",
    "x" * 1_000,
    "two\nlines",
    "ab",
]

texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=80).filter(str.strip)


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    """A copy of the tiny encoder, to spoil."""
    return Path(shutil.copytree(tiny_folder, tmp_path / "tiny"))


def sign(folder: Path, **fields: Any) -> None:
    """Write the manifest anew, with the hashes of the files as they are."""
    row = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    del row["files"]
    write_manifest(folder, **{**row, **fields})


def by_hand(text: str, seed: int = 0) -> np.ndarray[Any, Any]:
    """What the tiny encoder makes of ASCII letters."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    table = np.random.default_rng(seed).standard_normal((len(alphabet) + 1, DIMENSION))
    mean = np.mean([table[alphabet.index(char) + 1] for char in text], axis=0)
    return np.asarray(mean / np.linalg.norm(mean))


def refuses(kind: type[Exception], message: str) -> Any:
    return pytest.raises(kind, match=re.escape(message))


def test_vectors_are_what_the_model_makes(tiny_encoder: Encoder) -> None:
    vectors = tiny_encoder.encode_queries(["abc", "zebra"])
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, [by_hand("abc"), by_hand("zebra")], atol=1e-6)


def test_an_encoder_says_what_it_is(tiny_encoder: Encoder) -> None:
    assert (tiny_encoder.name, tiny_encoder.dimension) == ("tiny", DIMENSION)
    assert tiny_encoder.fingerprint == tiny_encoder.manifest.fingerprint
    assert "tiny" in repr(tiny_encoder)


def test_results_come_in_the_order_of_the_input(tiny_encoder: Encoder) -> None:
    """Batches are sorted by length inside; this has many batches of mixed lengths."""
    lengths = np.random.default_rng(1).permutation(np.arange(1, 61))
    words = ["abcdefghij"[length % 10] * length for length in lengths]
    vectors = tiny_encoder.encode_queries(words, batch_size=7)
    np.testing.assert_allclose(vectors, [by_hand(word[0]) for word in words], atol=1e-6)


@settings(max_examples=40)
@given(batch=st.lists(texts, min_size=1, max_size=12), batch_size=st.integers(1, 13))
def test_the_other_texts_of_a_batch_do_not_matter(
    tiny_encoder: Encoder, batch: list[str], batch_size: int
) -> None:
    together = tiny_encoder.encode_queries(batch, batch_size=batch_size)
    alone = np.concatenate([tiny_encoder.encode_queries([text]) for text in batch])
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_any_iterable_of_strings_is_taken(tiny_encoder: Encoder) -> None:
    expected = tiny_encoder.encode_queries(TEXTS)
    for given_texts in (tuple(TEXTS), iter(TEXTS), (text for text in TEXTS), dict.fromkeys(TEXTS)):
        np.testing.assert_array_equal(tiny_encoder.encode_queries(given_texts), expected)


@pytest.mark.parametrize("none", [[], (), iter([])])
def test_no_texts_make_no_vectors(tiny_encoder: Encoder, none: Any) -> None:
    vectors = tiny_encoder.encode_passages(none)
    assert (vectors.shape, vectors.dtype) == ((0, DIMENSION), np.float32)


def test_prefixes_are_put_in_front_of_each_kind(tmp_path: Path, tiny_encoder: Encoder) -> None:
    encoder = Encoder.load(
        build_encoder(tmp_path / "e5", query_prefix="query: ", passage_prefix="passage: ")
    )
    np.testing.assert_allclose(
        encoder.encode_queries(["a", "bcd"]),
        tiny_encoder.encode_queries(["query: a", "query: bcd"]),
        atol=1e-6,
    )
    np.testing.assert_allclose(
        encoder.encode_passages(["a", "bcd"]),
        tiny_encoder.encode_queries(["passage: a", "passage: bcd"]),
        atol=1e-6,
    )


def test_a_passage_is_encoded_with_its_title_in_front() -> None:
    assert passage_text(Passage("p1", "It boils.", "Water")) == "Water It boils."
    assert passage_text(Passage("p1", "It boils.")) == "It boils."


def test_texts_longer_than_the_model_takes_are_cut_and_counted(tmp_path: Path) -> None:
    encoder = Encoder.load(build_encoder(tmp_path / "m", query_length=4, passage_length=6))
    vectors, truncated = encoder.encode(["abcd", "abcde", "a", "abcdefghij"], "query")
    assert truncated == 2
    expected = [by_hand("abcd"), by_hand("abcd"), by_hand("a"), by_hand("abcd")]
    np.testing.assert_allclose(vectors, expected, atol=1e-6)
    assert encoder.encode(["abcd", "abcde", "abcdefghij"], "passage").truncated == 1


def test_a_prefix_takes_its_part_of_the_length(tmp_path: Path) -> None:
    encoder = Encoder.load(build_encoder(tmp_path / "m", query_prefix="q:", query_length=4))
    assert encoder.encode(["ab"], "query").truncated == 0
    assert encoder.encode(["ab", "abc"], "query").truncated == 1


def test_cutting_keeps_the_tokens_that_close_a_text(tmp_path: Path) -> None:
    folder = build_encoder(tmp_path / "m", query_length=4)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="s $A e", special_tokens=[(char, tokenizer.token_to_id(char)) for char in "se"]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    sign(folder)
    vectors, truncated = Encoder.load(folder).encode(["ab", "abcdef"], "query")
    assert truncated == 1
    np.testing.assert_allclose(vectors, [by_hand("sabe")] * 2, atol=1e-6)


def test_a_tokenizer_that_pads_and_cuts_by_itself_is_set_right(
    folder: Path, tiny_encoder: Encoder
) -> None:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_padding(length=50, pad_id=3)
    tokenizer.enable_truncation(max_length=2)
    tokenizer.save(str(folder / "tokenizer.json"))
    sign(folder)
    np.testing.assert_allclose(
        Encoder.load(folder).encode_queries(TEXTS), tiny_encoder.encode_queries(TEXTS), atol=1e-6
    )


def test_cut_texts_are_told_in_the_log_and_others_are_not(
    tiny_encoder: Encoder, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        tiny_encoder.encode_queries(["a", "x" * 64])
        assert caplog.messages == []
        tiny_encoder.encode_queries(["a", "x" * 65])
    assert caplog.messages == [
        "1 of 2 texts had more than the 64 tokens that tiny takes of a query, and were cut"
    ]


def test_truncation_is_counted_over_all_windows(tiny_encoder: Encoder) -> None:
    stream = (
        "x" * 65 if number in (0, WINDOW, WINDOW + 1) else "x" for number in range(WINDOW + 2)
    )
    vectors, truncated = tiny_encoder.encode(stream, "query", batch_size=512)
    assert (len(vectors), truncated) == (WINDOW + 2, 3)


def test_a_text_of_a_megabyte_is_cut(tiny_encoder: Encoder) -> None:
    vectors, truncated = tiny_encoder.encode(["a" * 2**20], "passage")
    assert truncated == 1
    np.testing.assert_allclose(vectors, [by_hand("a")], atol=1e-5)


def test_a_stream_is_read_window_by_window(tiny_encoder: Encoder) -> None:
    read = 0

    def stream() -> Iterator[str]:
        nonlocal read
        for number in range(2 * WINDOW + 10):
            read += 1
            yield "abc"[number % 3]

    windows = tiny_encoder.stream(stream(), "query", batch_size=512)
    assert read == 0
    assert [(len(window.vectors), read) for window in windows] == [
        (WINDOW, WINDOW),
        (WINDOW, 2 * WINDOW),
        (10, 2 * WINDOW + 10),
    ]


def test_an_error_in_a_stream_comes_out(tiny_encoder: Encoder) -> None:
    def stream() -> Iterator[str]:
        yield "a"
        raise RuntimeError("the disk is gone")

    with pytest.raises(RuntimeError, match="the disk is gone"):
        tiny_encoder.encode_queries(stream())


BAD_TEXTS = [
    ("", "is empty"),
    (" \n\t\u3000", "is empty"),
    (None, "is a NoneType: give strings"),
    (5, "is a int: give strings"),
    (b"bytes", "is a bytes: give strings"),
    (["nested"], "is a list: give strings"),
    ("ab\ud800", "holds a lone surrogate"),
]


@pytest.mark.parametrize(("text", "message"), BAD_TEXTS)
def test_a_bad_text_is_refused_by_its_position(
    tiny_encoder: Encoder, text: Any, message: str
) -> None:
    with refuses(InputError, f"text 2 {message}"):
        tiny_encoder.encode_queries(["a", "b", text])
    with refuses(InputError, f"text 0 {message}"):
        tiny_encoder.encode_passages([text, "b"])


def test_positions_count_on_over_windows(tiny_encoder: Encoder) -> None:
    with refuses(InputError, f"text {WINDOW + 1} is empty"):
        tiny_encoder.encode_queries([*["a"] * (WINDOW + 1), ""], batch_size=512)


def test_one_string_is_no_list_of_texts(tiny_encoder: Encoder) -> None:
    with refuses(InputError, "texts is one string"):
        tiny_encoder.encode_queries("abc")


@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_holds_at_least_one_text(tiny_encoder: Encoder, batch_size: int) -> None:
    with refuses(InputError, f"batch_size is {batch_size}"):
        tiny_encoder.encode_queries(["a"], batch_size=batch_size)


@pytest.mark.parametrize("threads", [None, 1, 2, 3])
def test_the_number_of_threads_changes_no_vector(
    tiny_folder: Path, tiny_encoder: Encoder, threads: int | None
) -> None:
    encoder = Encoder.load(tiny_folder, threads=threads)
    assert encoder._session.get_session_options().intra_op_num_threads == (threads or 0)
    np.testing.assert_allclose(
        encoder.encode_queries(TEXTS), tiny_encoder.encode_queries(TEXTS), atol=1e-6
    )


@pytest.mark.parametrize("threads", [0, -1, True, 10**6, 2**31, 2**70])
def test_an_impossible_number_of_threads_is_refused(tiny_folder: Path, threads: int) -> None:
    with refuses(InputError, f"threads is {threads}"):
        Encoder.load(tiny_folder, threads=threads)


def test_an_encoder_is_safe_to_share_between_threads(tiny_encoder: Encoder) -> None:
    jobs = [[f"{char}{'abc' * (number % 9)}" for char in "abcdef"] for number in range(40)]
    expected = [tiny_encoder.encode_queries(job) for job in jobs]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(tiny_encoder.encode_queries, jobs))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_encoding_twice_gives_the_same_bits(tiny_folder: Path, tiny_encoder: Encoder) -> None:
    again = Encoder.load(tiny_folder, threads=1)
    assert again.encode_queries(TEXTS).tobytes() == tiny_encoder.encode_queries(TEXTS).tobytes()
    assert again.fingerprint == tiny_encoder.fingerprint


def test_a_model_without_normalisation_keeps_its_lengths(tmp_path: Path) -> None:
    encoder = Encoder.load(build_encoder(tmp_path / "dot", normalize=False))
    [vector] = encoder.encode_queries(["abc"])
    assert encoder.manifest.similarity == "dot"
    assert np.linalg.norm(vector) != pytest.approx(1, abs=0.01)
    np.testing.assert_allclose(vector / np.linalg.norm(vector), by_hand("abc"), atol=1e-6)


def flip(folder: Path) -> None:
    path = folder / "model.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut_model(folder: Path) -> None:
    (folder / "model.onnx").write_bytes((folder / "model.onnx").read_bytes()[:3_000])
    sign(folder)


def empty_model(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"")
    sign(folder)


def no_model(folder: Path) -> None:
    (folder / "model.onnx").unlink()


def pickled_model(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"\x80\x04cos\nsystem\n(S'touch pwned'\ntR.")
    sign(folder)


def other_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text('{"version": "1.0"}', encoding="utf-8")
    sign(folder)


def broken_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_bytes(b"\xff{")
    sign(folder)


def other_kind(folder: Path) -> None:
    sign(folder, kind="generator")


def renamed_output(folder: Path) -> None:
    edit_graph(folder, lambda model: rename(model, "embedding", "vectors"))


def renamed_input(folder: Path) -> None:
    edit_graph(folder, lambda model: rename(model, "attention_mask", "mask_of_words"))


def weights_outside(folder: Path) -> None:
    def externalise(model: onnx.ModelProto) -> None:
        table = model.graph.initializer[0]
        (folder.parent / "outside.bin").write_bytes(table.raw_data)
        table.ClearField("raw_data")
        table.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", "../outside.bin"), ("offset", "0")):
            entry = table.external_data.add()
            entry.key, entry.value = key, value

    edit_graph(folder, externalise)


def edit_graph(folder: Path, edit: Callable[[onnx.ModelProto], None]) -> None:
    model = onnx.load(str(folder / "model.onnx"))
    edit(model)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    sign(folder)


def rename(model: onnx.ModelProto, old: str, new: str) -> None:
    for value in (*model.graph.input, *model.graph.output):
        value.name = new if value.name == old else value.name
    for node in model.graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
        node.output[:] = [new if name == old else name for name in node.output]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (flip, "model.onnx: its sha256 is"),
        (no_model, "model.onnx: cannot be read"),
        (cut_model, "model.onnx: not an ONNX model"),
        (empty_model, "model.onnx: onnxruntime cannot load it"),
        (pickled_model, "model.onnx: not an ONNX model"),
        (weights_outside, "model.onnx: its weights are in '../outside.bin'"),
        (renamed_output, "found inputs ['attention_mask', 'input_ids'] and outputs ['vectors']"),
        (renamed_input, "found inputs ['input_ids', 'mask_of_words'] and outputs ['embedding']"),
        (other_tokenizer, "tokenizer.json: not a tokenizer"),
        (broken_tokenizer, "tokenizer.json: not a tokenizer"),
        (other_kind, "a model of kind 'generator', an encoder is wanted"),
    ],
)
def test_a_spoilt_model_folder_is_refused(
    folder: Path, spoil: Callable[[Path], None], message: str
) -> None:
    spoil(folder)
    with refuses(ModelError, message) as error:
        Encoder.load(folder)
    assert str(folder) in str(error.value)


def more_inputs(model: onnx.ModelProto) -> None:
    model.graph.input.append(
        onnx.helper.make_tensor_value_info("position_ids", onnx.TensorProto.INT64, ["a", "b"])
    )


def endless_weights(model: onnx.ModelProto) -> None:
    table = model.graph.initializer[0]
    table.raw_data = np.full_like(onnx.numpy_helper.to_array(table), np.inf).tobytes()


@pytest.mark.parametrize(
    ("fields", "edit", "message"),
    [
        ({"dimension": 8}, None, "the model made vectors of shape (2, 16)"),
        ({"pad_token_id": 10**6}, None, "the model failed"),
        ({}, more_inputs, "the model failed"),
        ({}, endless_weights, "the model made a vector that is not finite"),
    ],
)
def test_a_model_that_fails_at_work_is_refused(
    folder: Path,
    fields: dict[str, Any],
    edit: Callable[[onnx.ModelProto], None] | None,
    message: str,
) -> None:
    if edit is not None:
        edit_graph(folder, edit)
    sign(folder, **fields)
    with refuses(ModelError, message) as error:
        Encoder.load(folder).encode_queries(["a", "abc"])
    assert str(folder) in str(error.value)


def test_a_model_that_wants_segment_ids_gets_them(folder: Path, tiny_encoder: Encoder) -> None:
    def add(model: onnx.ModelProto) -> None:
        more_inputs(model)
        model.graph.input[-1].name = "token_type_ids"

    edit_graph(folder, add)
    np.testing.assert_allclose(
        Encoder.load(folder).encode_queries(TEXTS), tiny_encoder.encode_queries(TEXTS), atol=1e-6
    )
