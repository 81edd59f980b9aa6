"""``xqg models``."""

from __future__ import annotations

import click

from xqg_qdrant.cli import options
from xqg_qdrant.errors import ModelError
from xqg_qdrant.models.manifest import DEFAULT_ENCODER, list_models, read_encoder_manifest


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
            found.append(read_encoder_manifest(folder))
        except ModelError as error:
            click.echo(f"Warning: {error}", err=True)
    if as_json:
        options.print_json(
            [
                {
                    "name": model.name,
                    "folder": str(model.folder),
                    "kind": "encoder",
                    "dimension": model.dimension,
                    "similarity": model.similarity,
                    "precision": model.precision,
                    "languages": list(model.languages),
                    "license": model.license,
                    "fingerprint": model.fingerprint,
                    "default": model.name == DEFAULT_ENCODER,
                }
                for model in found
            ]
        )
        return
    options.print_table(
        ["model", "kind", "dimension", "precision", "license", "languages"],
        [
            [
                model.name + (" (default)" if model.name == DEFAULT_ENCODER else ""),
                "encoder",
                str(model.dimension),
                model.precision,
                model.license,
                " ".join(model.languages),
            ]
            for model in found
        ],
    )
