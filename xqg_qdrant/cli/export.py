"""``xqg export``."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from xqg_qdrant.cli import options
from xqg_qdrant.export.presets import ENCODERS, GENERATORS, POOLINGS

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from xqg_qdrant.export.checkpoint import Checkpoint
    from xqg_qdrant.export.folder import Exported

Options = TypeVar("Options", bound="DataclassInstance")


@click.command()
@click.argument("model")
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="The model folder to be, such as ~/models/NAME.",
)
@click.option(
    "--kind",
    type=click.Choice(["encoder", "generator"]),
    help="What the model is for.  [default: told by its architecture]",
)
@click.option(
    "--precision",
    type=click.Choice(["fp32", "int8"]),
    default="fp32",
    show_default=True,
    help="int8: a quarter of the size, and faster; what it costs is measured.",
)
@click.option(
    "--preset",
    type=click.Choice([each.name for each in (*ENCODERS, *GENERATORS)]),
    help="How the model is used.  [default: told by its modules.json, or by its name]",
)
@click.option(
    "--trim-vocab",
    metavar="LANGS|FILES",
    help="Keep only tokens of these languages or texts: 'sw,ar', 'passages.jsonl'. Texts keep far "
    "fewer; those of the passages must be among them.",
)
@click.option("--name", help="Name of the model.  [default: the folder's]")
@click.option("--pooling", type=click.Choice(POOLINGS), help="How tokens make a vector.")
@click.option(
    "--normalize/--no-normalize",
    default=None,
    help="Vectors of length one, for cosine; or as they are, for the dot product.",
)
@click.option("--query-prefix", metavar="TEXT", help="Put in front of every query.")
@click.option("--passage-prefix", metavar="TEXT", help="Put in front of every passage.")
@click.option("--query-length", type=click.IntRange(min=2), help="Most tokens of a query.")
@click.option("--passage-length", type=click.IntRange(min=2), help="Most tokens of a passage.")
@click.option("--prompt", help="Template of a generator, with {language}, {title}, {passage}.")
@click.option("--prompt-length", type=click.IntRange(min=2), help="Most tokens of a prompt.")
@click.option(
    "--languages",
    metavar="LANGS",
    callback=options.languages,
    help="Codes of the languages that a generator was trained to write in: 'ar,bn'.",
)
@click.option("--revision", help="Branch, tag or commit of a hub model.")
@click.option(
    "--allow-pickle",
    metavar="MODEL",
    help="Read pickled weights of MODEL, named again to be sure. Only if you trust its makers.",
)
@click.option("--force", is_flag=True, help="Replace the model folder if it is there already.")
@options.as_json
@options.quiet
def export(
    model: str,
    output: Path,
    kind: str | None,
    precision: str,
    preset: str | None,
    trim_vocab: str | None,
    name: str | None,
    revision: str | None,
    allow_pickle: str | None,
    force: bool,
    as_json: bool,
    quiet: bool,
    **settings: Any,
) -> None:
    """Turn MODEL, a hub id or a folder, into a model folder that runs without torch.

    Needs the export extra: pip install 'xqg-qdrant[export]'. The new folder is compared with torch
    before it appears, and the figures go into its manifest.json; where they are bad, nothing is
    written.

    \b
    Examples:
      xqg export intfloat/multilingual-e5-small -o ~/models/e5-small --precision int8
      xqg export ./my-bert -o ~/models/my-bert --pooling mean --normalize
      xqg export ielabgroup/xor-tydi-docTquery-mt5-base -o ~/models/xqg --trim-vocab ar,bn,sw
      XQG_MODELS=~/models xqg models
    """
    from xqg_qdrant.export.checkpoint import open_checkpoint
    from xqg_qdrant.export.folder import check_target

    if allow_pickle is not None and allow_pickle != model:
        raise click.UsageError(
            f"--allow-pickle names {allow_pickle}, the model is {model}: give the same"
        )
    check_target(output, force=force)

    def say(text: str) -> None:
        if not quiet:
            click.echo(f"{text[:1].upper()}{text[1:]} …", err=True)

    with options.interruptible("stopped: nothing was written"):
        say("opening the checkpoint")
        checkpoint = open_checkpoint(
            model, revision=revision, allow_pickle=allow_pickle is not None
        )
        run = _generator if (kind or _kind(checkpoint)) == "generator" else _encoder
        exported = run(
            checkpoint,
            settings,
            output=output,
            name=name,
            preset=preset,
            precision=precision,
            trim_vocab=trim_vocab,
            force=force,
            say=say,
        )
    if as_json:
        options.print_json(
            {
                "folder": str(exported.folder),
                "seconds": round(exported.seconds, 1),
                "manifest": exported.manifest,
            }
        )
        return
    _print(exported)


def _kind(checkpoint: Checkpoint) -> str:
    from xqg_qdrant.export.checkpoint import MODULES_FILE

    if (checkpoint.folder / MODULES_FILE).is_file():
        return "encoder"
    return "generator" if checkpoint.config.is_encoder_decoder else "encoder"


def _encoder(checkpoint: Checkpoint, settings: dict[str, Any], **arguments: Any) -> Exported:
    from xqg_qdrant.export.encoder import export_encoder
    from xqg_qdrant.export.settings import EncoderOptions

    chosen = _own(EncoderOptions, settings, "encoder")
    return export_encoder(checkpoint, options=chosen, **arguments)


def _generator(checkpoint: Checkpoint, settings: dict[str, Any], **arguments: Any) -> Exported:
    from xqg_qdrant.export.generator import GeneratorOptions, export_generator

    chosen = _own(GeneratorOptions, settings, "generator")
    return export_generator(checkpoint, options=chosen, **arguments)


def _own(options_class: type[Options], settings: dict[str, Any], kind: str) -> Options:
    """Settings of one kind of model; one of the other kind is a wrong use."""
    names = {each.name for each in fields(options_class)}
    for name, value in settings.items():
        if name not in names and value not in (None, ()):
            flag = f"--{name.replace('_', '-')}"
            raise click.UsageError(f"{flag} is not for models of kind {kind}, as this one is")
    return options_class(**{name: settings[name] for name in names})


def _print(exported: Exported) -> None:
    manifest = exported.manifest
    trimmed = manifest.get("vocabulary")
    options.print_fields(
        {
            "model": f"{manifest['name']} ({manifest['kind']}, {manifest['precision']})",
            "folder": exported.folder,
            **(
                {"vocabulary": f"{trimmed['tokens']:,} of {trimmed['tokens_before']:,} tokens"}
                if trimmed
                else {}
            ),
            **{
                name: f"{entry['bytes'] / 1e6:,.1f} MB" for name, entry in manifest["files"].items()
            },
            **{
                key.replace("_", " "): value
                for key, value in manifest["parity"].items()
                if not isinstance(value, dict)
            },
            "seconds": f"{exported.seconds:.0f}",
        }
    )
