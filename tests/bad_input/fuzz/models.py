"""Model folders as targets: hostile manifests, damaged graphs and tokenizers."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from tests.bad_input.fuzz.mutations import dump, spoil_bytes, spoil_json
from tests.bad_input.fuzz.oracle import MISSING, Bad, Each, Object, conform, decode, parse
from tests.bad_input.fuzz.readers import Target, json_or_bytes
from tests.tiny import build_encoder
from xqg_qdrant import Encoder

_TEXTS = ["The Nile flows north.", "什麼？", "\u202e🦉 " * 50]
_FOLDER = "model"


def _tiny() -> tuple[dict[str, Any], bytes, bytes]:
    """The manifest, graph and tokenizer of a tiny encoder."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        built = build_encoder(Path(folder) / _FOLDER)
        manifest = json.loads((built / "manifest.json").read_bytes())
        return (
            manifest,
            (built / "model.onnx").read_bytes(),
            (built / "tokenizer.json").read_bytes(),
        )


_MANIFEST, _MODEL, _TOKENIZER = _tiny()


def _text(value: Any) -> bool:
    return (
        isinstance(value, str) and value != "" and not any(0xD800 <= ord(c) < 0xE000 for c in value)
    )


def _strict_whole(low: int, high: int) -> Any:
    return lambda value: type(value) is int and low <= value <= high


def _object(value: Any) -> bool:
    return value is MISSING or value is None or isinstance(value, dict)


_KIND = Object(
    {
        "prefix": lambda value: value is MISSING or value == "" or _text(value),
        "max_length": _strict_whole(2, 65_536),
    }
)
_SCHEMA = Object(
    {
        "schema_version": _strict_whole(1, 1),
        "kind": lambda value: value == "encoder",
        "name": _text,
        "dimension": _strict_whole(16, 16),  # the graph's
        "similarity": lambda value: value in ("cosine", "dot"),
        "pooling": _text,
        "precision": _text,
        "query": _KIND,
        "passage": _KIND,
        "pad_token_id": _strict_whole(0, 256),  # rows of its table
        "languages": lambda value: (
            value is MISSING
            or value is None
            or (isinstance(value, list) and all(each == "" or _text(each) for each in value))
        ),
        "source": _object,
        "parity": _object,
    }
)


def _check_manifest(data: bytes) -> None:
    row = parse(decode(data))
    conform(row, _SCHEMA)
    files = row.get("files")
    conform(files, Each(lambda name: name in ("model.onnx", "tokenizer.json"), lambda value: True))
    for name, content in (("model.onnx", _MODEL), ("tokenizer.json", _TOKENIZER)):
        entry = files.get(name)
        told = entry.get("sha256") if isinstance(entry, dict) else entry
        if not isinstance(told, str) or told.lower() != hashlib.sha256(content).hexdigest():
            raise Bad(f"the hash of {name}")


def _load(folder: Path) -> Iterable[Any]:
    """Load the encoder, and encode with it."""
    encoder = Encoder.load(folder / _FOLDER, threads=1)
    for vectors in (encoder.encode_queries(_TEXTS), encoder.encode_passages(_TEXTS)):
        if vectors.shape != (3, encoder.dimension) or not np.isfinite(vectors).all():
            raise Bad(f"vectors of shape {vectors.shape}")
    return [encoder.fingerprint]


def _prepare(folder: Path) -> None:
    build_encoder(folder / _FOLDER)


def _load_resealed(name: str) -> Any:
    """Read a folder whose manifest has the hash of the spoilt file: its maker is hostile."""

    def load(folder: Path) -> Iterable[Any]:
        manifest = json.loads(dump(_MANIFEST))
        data = (folder / _FOLDER / name).read_bytes()
        manifest["files"][name] = hashlib.sha256(data).hexdigest()
        (folder / _FOLDER / "manifest.json").write_bytes(dump(manifest))
        return _load(folder)

    return load


def _never_bad(data: bytes) -> None:
    """Any graph or tokenizer may be one; what it makes is checked."""


def _changed(original: bytes) -> Any:
    def check(data: bytes) -> None:
        if data != original:
            raise Bad("its hash is another")

    return check


def _spoil_tokenizer(rng: random.Random) -> bytes:
    if rng.random() < 0.3:
        return spoil_bytes(_TOKENIZER, rng)
    row = json.loads(_TOKENIZER)
    # Not the vocabulary alone, which is nearly all of it.
    part = rng.choice(("truncation", "pre_tokenizer", "decoder", "model", "normalizer", "all"))
    if part == "all":
        row = spoil_json({**row, "model": {**row["model"], "vocab": {}}}, rng)
    elif part == "model":
        vocab = row["model"].pop("vocab")
        row["model"] = spoil_json(row["model"], rng)
        if isinstance(row["model"], dict):
            row["model"].setdefault("vocab", vocab)
            if rng.random() < 0.3:
                row["model"]["vocab"] = {**vocab, "a": rng.choice([-1, 10**9, 2**40, 300, "x"])}
    else:
        row[part] = rng.choice(
            [
                {"type": "ByteLevel"},
                {"type": "Sequence", "normalizers": [], "pretokenizers": []},
                {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated"},
                {"type": "Replace", "pattern": {"Regex": "("}, "content": "x"},
                {"type": "Precompiled", "precompiled_charsmap": "AAAA"},
                {"max_length": 0, "strategy": "LongestFirst", "stride": 5, "direction": "Right"},
                {"max_length": 2**63, "strategy": "LongestFirst", "stride": 2**63},
                5,
                [],
            ]
        )
    return dump(row)


TARGETS = [
    Target(
        "model manifest",
        f"{_FOLDER}/manifest.json",
        json_or_bytes(_MANIFEST, dump),
        _load,
        _check_manifest,
        _prepare,
        risky=True,
    ),
    Target(
        "model graph",
        f"{_FOLDER}/model.onnx",
        lambda rng: spoil_bytes(_MODEL, rng),
        _load,
        _changed(_MODEL),
        _prepare,
    ),
    Target(
        "model tokenizer",
        f"{_FOLDER}/tokenizer.json",
        _spoil_tokenizer,
        _load,
        _changed(_TOKENIZER),
        _prepare,
    ),
    Target(
        "model graph, resealed",
        f"{_FOLDER}/model.onnx",
        lambda rng: (
            spoil_bytes(_MODEL[:3_000], rng) + _MODEL[3_000:]
            if rng.random() < 0.5
            else spoil_bytes(_MODEL[-2_500:], rng).join([_MODEL[:-2_500], b""])
        ),
        _load_resealed("model.onnx"),
        _never_bad,
        _prepare,
        risky=True,
    ),
    Target(
        "tokenizer, resealed",
        f"{_FOLDER}/tokenizer.json",
        _spoil_tokenizer,
        _load_resealed("tokenizer.json"),
        _never_bad,
        _prepare,
        risky=True,
    ),
]
