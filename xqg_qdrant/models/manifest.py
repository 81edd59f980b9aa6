"""``manifest.json`` of a model folder: what the model is, and the hashes of its files."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from xqg_qdrant.corpus.jsonl import json_digest, read_json_object
from xqg_qdrant.errors import InputError, ModelError
from xqg_qdrant.models.external_data import check_external_data
from xqg_qdrant.models.fields import Fields
from xqg_qdrant.models.files import check_inside

MANIFEST_FILE = "manifest.json"
MODEL_FILE = "model.onnx"
ENCODER_FILE = "encoder.onnx"
DECODER_FILE = "decoder.onnx"
TOKENIZER_FILE = "tokenizer.json"
ONNX_SUFFIX = ".onnx"
MODELS_VARIABLE = "XQG_MODELS"
DEFAULT_ENCODER = "mini"
FAST_ENCODER = "mini-static"
SCHEMA_VERSION = 1
MAX_DIMENSION = 65_536
MAX_LENGTH = 65_536
MAX_LAYERS = 1_000
MAX_MANIFEST_BYTES = 16 * 2**20

_SIMILARITIES = ("cosine", "dot")


@dataclass(frozen=True, slots=True)
class TextKind:
    """How one kind of text, query or passage, is prepared.

    Attributes:
        prefix: put in front of every text (``"query: "`` for e5).
        max_length: in tokens, special tokens included; longer texts are cut.
    """

    prefix: str
    max_length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelManifest:
    """What every model folder says of itself.

    Attributes:
        name: of the model.
        folder: where its files lie.
        precision: ``fp32`` or ``int8``.
        languages: ISO 639 codes it was trained on.
        license: of the weights.
        source: what it was made from.
        files: sha256 of each file, by name.
        parity: measured differences to the model it was exported from.
    """

    kind: ClassVar[str]
    name: str
    folder: Path
    precision: str
    languages: tuple[str, ...]
    license: str
    source: Mapping[str, Any]
    files: Mapping[str, str]
    parity: Mapping[str, Any]

    @property
    def fingerprint(self) -> str:
        """64 hex digits that change with anything that changes what the model makes."""
        parts = {"files": dict(sorted(self.files.items())), **self._settings()}
        return json_digest(parts)

    def verify_files(self) -> None:
        """Check that each file is there and has its hash, and that models use no other files.

        Raises:
            ModelError: a file is missing, unreadable or other than the manifest says, or a model
                takes its weights from a file that is not listed.
        """
        bundled = self.folder.parent == _package() / "onnx"
        for name, expected in self.files.items():
            path = self.folder / name
            if not bundled:  # installers may link what is in a package
                check_inside(path, self.folder)
            digest = hashlib.sha256()
            try:
                with path.open("rb") as stream:
                    while block := stream.read(2**20):
                        digest.update(block)
            except OSError as error:
                raise ModelError(f"{path}: cannot be read: {error.strerror}") from None
            if digest.hexdigest() != expected:
                raise ModelError(
                    f"{path}: its sha256 is {digest.hexdigest()[:12]}…, the manifest says "
                    f"{expected[:12]}…: the file was damaged or changed, export or install it again"
                )
            if path.suffix == ONNX_SUFFIX:
                check_external_data(path, self.files)

    def _settings(self) -> dict[str, Any]:
        """What changes the results, beside the files."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderManifest(ModelManifest):
    """What an encoder folder says of itself.

    Attributes:
        dimension: of its vectors.
        similarity: ``cosine`` (vectors are normalised in the graph) or ``dot``.
        pooling: ``mean``, ``cls`` or ``last``; done in the graph.
        query: how questions and generated queries are prepared.
        passage: how passages are prepared.
        pad_token_id: what shorter texts of a batch are filled up with.
        alphas: the alphas that collections of its vectors are built with unless told otherwise: by
            layout for ``dense`` and for ``hybrid`` search, as ``xqg sweep defaults`` finds them.
            The layouts' own where there are none.
    """

    kind: ClassVar[str] = "encoder"
    dimension: int
    similarity: str
    pooling: str
    query: TextKind
    passage: TextKind
    pad_token_id: int
    alphas: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def _settings(self) -> dict[str, Any]:
        return {
            "pooling": self.pooling,
            "query": [self.query.prefix, self.query.max_length],
            "passage": [self.passage.prefix, self.passage.max_length],
            "pad_token_id": self.pad_token_id,
            "similarity": self.similarity,
            "dimension": self.dimension,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratorManifest(ModelManifest):
    """What a generator folder says of itself.

    Attributes:
        prompt: template with ``{language}``, ``{title}`` and ``{passage}``.
        max_length: tokens of a prompt, special tokens included; longer ones are cut.
        layers: of the decoder.
        vocabulary_size: tokens it chooses from.
        pad_token_id: what shorter prompts of a batch are filled up with.
        eos_token_id: closes a text.
        decoder_start_token_id: begins a text.
    """

    kind: ClassVar[str] = "generator"
    prompt: str
    max_length: int
    layers: int
    vocabulary_size: int
    pad_token_id: int
    eos_token_id: int
    decoder_start_token_id: int

    def _settings(self) -> dict[str, Any]:
        names = ("prompt", "max_length", "vocabulary_size")
        tokens = ("pad_token_id", "eos_token_id", "decoder_start_token_id")
        return {name: getattr(self, name) for name in (*names, *tokens)}


def read_manifest(folder: Path) -> EncoderManifest | GeneratorManifest:
    """Read ``manifest.json`` of a model folder, of whatever kind.

    Raises:
        ModelError: missing, malformed, or naming files outside its folder.
    """
    field = _open(folder)
    kind = field.text("kind")
    if kind == EncoderManifest.kind:
        return _encoder_manifest(folder, field)
    if kind == GeneratorManifest.kind:
        return _generator_manifest(folder, field)
    raise ModelError(
        f"{field.path}: unknown kind of model {kind!r}: encoder and generator are known"
    )


def read_encoder_manifest(folder: Path) -> EncoderManifest:
    """Read ``manifest.json`` of an encoder folder; the files' hashes are not checked here.

    Raises:
        ModelError: missing, malformed, of another kind, or naming files outside its folder.
    """
    field = _open(folder)
    field.require_kind(EncoderManifest.kind)
    return _encoder_manifest(folder, field)


def read_generator_manifest(folder: Path) -> GeneratorManifest:
    """Read ``manifest.json`` of a generator folder; the files' hashes are not checked here.

    Raises:
        ModelError: missing, malformed, of another kind, or naming files outside its folder.
    """
    field = _open(folder)
    field.require_kind(GeneratorManifest.kind)
    return _generator_manifest(folder, field)


def _open(folder: Path) -> Fields:
    path = folder / MANIFEST_FILE
    try:
        check_inside(path, None)
        row = read_json_object(path, limit=MAX_MANIFEST_BYTES)
    except InputError as error:
        raise ModelError(f"not a model folder: {error}") from None
    return Fields(path, row)


def _common(folder: Path, field: Fields, *needed: str) -> dict[str, Any]:
    if (version := field.whole("schema_version", 1, 10**6)) != SCHEMA_VERSION:
        raise ModelError(
            f"{field.path}: manifest version {version}, this release reads {SCHEMA_VERSION}: "
            "install a release of xqg-qdrant that fits the model"
        )
    return {
        "name": field.text("name"),
        "folder": folder,
        "precision": field.text("precision"),
        "languages": field.texts("languages"),
        "license": field.text("license") if field.row.get("license") else "unknown",
        "source": field.mapping("source"),
        "files": field.files(*needed, TOKENIZER_FILE),
        "parity": field.mapping("parity"),
    }


def _encoder_manifest(folder: Path, field: Fields) -> EncoderManifest:
    common = _common(folder, field, MODEL_FILE)
    similarity = field.text("similarity")
    if similarity not in _SIMILARITIES:
        raise ModelError(f"{field.path}: similarity is {similarity!r}, not one of {_SIMILARITIES}")
    return EncoderManifest(
        **common,
        dimension=field.whole("dimension", 1, MAX_DIMENSION),
        similarity=similarity,
        pooling=field.text("pooling"),
        query=_text_kind(field.inner("query")),
        passage=_text_kind(field.inner("passage")),
        pad_token_id=field.whole("pad_token_id", 0, 2**31),
        alphas=field.alphas("alphas"),
    )


def _generator_manifest(folder: Path, field: Fields) -> GeneratorManifest:
    common = _common(folder, field, ENCODER_FILE, DECODER_FILE)
    vocabulary = field.whole("vocabulary_size", 2, 2**31)
    return GeneratorManifest(
        **common,
        prompt=field.text("prompt"),
        max_length=field.whole("max_length", 2, MAX_LENGTH),
        layers=field.whole("layers", 1, MAX_LAYERS),
        vocabulary_size=vocabulary,
        pad_token_id=field.whole("pad_token_id", 0, vocabulary - 1),
        eos_token_id=field.whole("eos_token_id", 0, vocabulary - 1),
        decoder_start_token_id=field.whole("decoder_start_token_id", 0, vocabulary - 1),
    )


def _text_kind(fields: Fields) -> TextKind:
    return TextKind(fields.text("prefix", default=""), fields.whole("max_length", 2, MAX_LENGTH))


def find_model(name_or_folder: str | Path) -> Path:
    """The folder of a model: a path as given, or a name among the models at hand.

    A name is looked up in ``$XQG_MODELS`` (folders, separated as in ``$PATH``), then among the
    models that ship with the package.

    Raises:
        InputError: it is no name and no path.
        ModelError: no such folder, no such name; the names at hand are listed.
    """
    if not isinstance(name_or_folder, str | os.PathLike):
        kind = type(name_or_folder).__name__
        raise InputError(f"a model is given by its name or its folder, not by a {kind}")
    path = Path(name_or_folder)
    if isinstance(name_or_folder, Path) or path.name != str(name_or_folder):
        if not path.is_dir():
            raise ModelError(f"{path}: no such model folder")
        return path
    for root in model_roots():
        if (root / path / MANIFEST_FILE).is_file():
            return root / path
    if (path / MANIFEST_FILE).is_file():
        return path
    at_hand = ", ".join(folder.name for folder in list_models()) or "none"
    raise ModelError(
        f"no model named {str(name_or_folder)!r}: at hand are {at_hand}; "
        f"or give the path of a model folder, or set {MODELS_VARIABLE}"
    )


def is_plain_name(name: str) -> bool:
    """Whether it can only name a model at hand, and never leads to another folder."""
    return name not in ("", ".", "..") and not {"/", "\\", "\0"} & set(name)


def list_models() -> Iterator[Path]:
    """The folders of all models that a name reaches, in the order in which names are looked up."""
    seen: set[str] = set()
    for root in model_roots():
        if not root.is_dir():
            continue
        for folder in sorted(root.iterdir()):
            # Models that are being exported lie in hidden folders.
            taken = folder.name in seen or folder.name.startswith(".")
            if not taken and (folder / MANIFEST_FILE).is_file():
                seen.add(folder.name)
                yield folder


def model_roots() -> list[Path]:
    """Where model folders are looked for; bundled ones lie in the package, or beside a checkout."""
    roots = [Path(part) for part in os.environ.get(MODELS_VARIABLE, "").split(os.pathsep) if part]
    package = _package()
    return [*roots, package / "onnx", package.parent / "onnx"]


def _package() -> Path:
    return Path(__file__).resolve().parent.parent
