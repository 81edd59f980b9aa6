"""``xqg models``."""

from __future__ import annotations

from typing import Any

import click

from xqg_qdrant.cli import options
from xqg_qdrant.errors import ModelError
from xqg_qdrant.models.manifest import (
    DEFAULT_ENCODER,
    EncoderManifest,
    GeneratorManifest,
    list_models,
    read_manifest,
)


@click.command()
@options.as_json
def models(as_json: bool) -> None:
    """List the models at hand: bundled ones, and those in the folders of $XQG_MODELS.

    \b
    Example:
      XQG_MODELS=~/models xqg models
    """
    found = []
    for folder in list_models():
        try:
            found.append(read_manifest(folder))
        except ModelError as error:
            click.echo(f"Warning: {error}", err=True)
    if as_json:
        options.print_json([_row(model) for model in found])
        return
    options.print_table(
        ["model", "kind", "dimension", "precision", "license", "languages"],
        [
            [
                model.name + (" (default)" if _is_default(model) else ""),
                model.kind,
                str(model.dimension) if isinstance(model, EncoderManifest) else "-",
                model.precision,
                model.license,
                " ".join(model.languages),
            ]
            for model in found
        ],
    )


def _row(model: EncoderManifest | GeneratorManifest) -> dict[str, Any]:
    own: dict[str, Any] = (
        {"dimension": model.dimension, "similarity": model.similarity}
        if isinstance(model, EncoderManifest)
        else {"prompt": model.prompt, "max_length": model.max_length}
    )
    return {
        "name": model.name,
        "folder": str(model.folder),
        "kind": model.kind,
        **own,
        "precision": model.precision,
        "languages": list(model.languages),
        "license": model.license,
        "fingerprint": model.fingerprint,
        "default": _is_default(model),
    }


def _is_default(model: EncoderManifest | GeneratorManifest) -> bool:
    return isinstance(model, EncoderManifest) and model.name == DEFAULT_ENCODER
