"""``xqg generate``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from xqg_qdrant.cli import options
from xqg_qdrant.cli import ray as ray_options
from xqg_qdrant.corpus.jsonl import read_passages
from xqg_qdrant.corpus.xor_tydi import read_passages_tsv
from xqg_qdrant.models.decoding import MAX_BEAMS, MAX_TEXT_TOKENS, MAX_TOP_K, METHODS, Decoding
from xqg_qdrant.queries import endpoint as endpoints
from xqg_qdrant.queries.endpoint import COMPLETION_TOKENS, PROMPT_TOKENS, EndpointSource
from xqg_qdrant.queries.generation import GenerationReport, generate_queries
from xqg_qdrant.queries.journal import journal_path
from xqg_qdrant.queries.model_source import BATCH_SIZE, PER_LANGUAGE, ModelSource
from xqg_qdrant.queries.prompts import read_prompt
from xqg_qdrant.queries.published import PublishedSource
from xqg_qdrant.queries.sentences import SentenceSource
from xqg_qdrant.queries.source import Source
from xqg_qdrant.records import Progress

_DEFAULTS = Decoding()
_MODEL, _ENDPOINT = "--model", "--endpoint"
_SOURCES = {
    "model": _MODEL,
    "sentences": "--sentences",
    "published": "--published",
    "endpoint": _ENDPOINT,
}

_OF_MODELS = (
    *("method", "top_k", "max_length", "beams", "batch_size", "threads"),
    *("ray", "ray_workers"),
)
_ONLY = {
    # What goes with some sources alone; elsewhere it would be ignored, so it is refused.
    **dict.fromkeys(_OF_MODELS, (_MODEL,)),
    **dict.fromkeys(("top_p", "temperature", "seed", "prompt"), (_MODEL, _ENDPOINT)),
    **dict.fromkeys(
        (
            "endpoint_model",
            "concurrency",
            "max_retries",
            "timeout",
            "price_in",
            "price_out",
            "allow_insecure_api_key",
        ),
        (_ENDPOINT,),
    ),
}


@click.command("generate")
@click.argument("passages", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="File of the queries, JSONL; OUTPUT.meta.json beside it says what wrote them.",
)
@click.option(
    "--model", metavar="NAME_OR_FOLDER", help="A generator writes them: a folder of 'xqg export'."
)
@click.option(
    "--endpoint",
    metavar="URL",
    help="An OpenAI-compatible endpoint writes them; the key comes from OPENAI_API_KEY alone.",
)
@click.option(
    "--published",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Take them from published files, JSONL(.gz) or Parquet as in ielab/xor-tydi-xqg-augmented."
    " May be given several times.",
)
@click.option("--sentences", is_flag=True, help="Each passage's own sentences: the free control.")
@click.option(
    "--languages",
    metavar="CODES",
    callback=options.languages,
    help="Languages to write in, as in ar,bn,sw.  [default: those of the model or the files; for "
    "sentences the passage's own]",
)
@click.option(
    "--per-language",
    type=click.IntRange(min=1),
    metavar="N",
    help=f"Queries of a passage in each language.  [default: {PER_LANGUAGE}; all that there are "
    "for --published and --sentences]",
)
@click.option(
    "--prompt",
    metavar="TEXT_OR_FILE",
    help="Prompt in the place of the source's own, with {language}, {title}, {passage}; for "
    "--endpoint also {count}.",
)
@click.option(
    "--method",
    type=click.Choice(METHODS),
    help=f"How texts are drawn.  [default: {_DEFAULTS.method}]",
)
@click.option(
    "--top-k",
    type=click.IntRange(1, MAX_TOP_K),
    help=f"Sample from the so many likeliest tokens.  [default: {_DEFAULTS.top_k}]",
)
@click.option(
    "--top-p",
    type=click.FloatRange(0, 1, min_open=True),
    help="And from the fewest that hold this share of the probability.  "
    f"[default: {_DEFAULTS.top_p:g}]",
)
@click.option(
    "--temperature",
    type=click.FloatRange(min=0),
    help=f"Above 1 is more daring, below less.  [default: {_DEFAULTS.temperature:g}]",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**63 - 1),
    help="Of the samples. The same seed gives the same queries, whatever the batch size.  "
    f"[default: {_DEFAULTS.seed}]",
)
@click.option(
    "--max-length",
    type=click.IntRange(1, MAX_TEXT_TOKENS),
    help=f"Most tokens of a query.  [default: {_DEFAULTS.max_length}]",
)
@click.option(
    "--beams",
    type=click.IntRange(1, MAX_BEAMS),
    help=f"Of --method beam.  [default: {_DEFAULTS.beams}]",
)
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    help=f"Prompts that the model takes at a time.  [default: {BATCH_SIZE}]",
)
@click.option("--endpoint-model", metavar="NAME", help="What the endpoint calls the model.")
@click.option(
    "--concurrency",
    type=click.IntRange(min=1),
    help=f"Requests to the endpoint at a time.  [default: {endpoints.CONCURRENCY}]",
)
@click.option(
    "--max-retries",
    type=click.IntRange(min=0),
    help="Of a request that was throttled or failed, with back-off.  "
    f"[default: {endpoints.MAX_RETRIES}]",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help=f"Of a request.  [default: {endpoints.TIMEOUT:g}]",
)
@click.option("--price-in", type=click.FloatRange(min=0), help="Price of a million prompt tokens.")
@click.option(
    "--price-out", type=click.FloatRange(min=0), help="Price of a million completion tokens."
)
@click.option(
    "--allow-insecure-api-key",
    is_flag=True,
    default=None,
    help="Send the key over plain http:// to another machine too, for all on the way to read.",
)
@click.option("--force", is_flag=True, help="Replace the output file.")
@click.option(
    "--restart",
    is_flag=True,
    help="Begin a run that was cut off again, from its first passage.",
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    help="Threads of the model.  [default: all cores; 1 a worker with --ray]",
)
@ray_options.ray
@options.as_json
@options.quiet
def generate(
    passages: str,
    output: Path,
    force: bool,
    restart: bool,
    as_json: bool,
    quiet: bool,
    price_in: float | None,
    price_out: float | None,
    **settings: Any,
) -> None:
    """Write queries for PASSAGES, in the languages of those who will search.

    PASSAGES is the file that 'xqg ingest' takes, or a .tsv of id, text and title as XOR-TyDi's
    corpus; '-' is standard input. Queries come in the order
    of the passages, then of the languages; repeated and empty ones are replaced where the source
    can write more. A run that was cut off goes on where it stopped: run the same command again,
    and the file is the same as if it had not been.

    \b
    Examples:
      xqg generate passages.jsonl --model onnx/mt5 --languages ar,bn,sw -o queries.jsonl
      xqg generate passages.jsonl --model /shared/mt5 --languages ar --ray auto -o queries.jsonl
      xqg generate passages.jsonl --published shard_0.jsonl.gz --languages ja -o queries.jsonl
      xqg generate passages.jsonl --sentences -o control.jsonl
      xqg generate passages.jsonl --endpoint http://localhost:8000/v1 --endpoint-model qwen \\
          --languages ha,yo --per-language 3 -o queries.jsonl
    """
    _check_usage(settings, output)
    if output.exists() and not force and not journal_path(output).exists():
        raise click.UsageError(f"{output} is there already: choose another file, or give --force")
    again = "Interrupted. What is done stays: run the same command again to go on."
    with (
        options.interruptible(again),
        options.progress_bar(quiet=quiet) as show,
        _source(settings, show) as source,
    ):
        _warn_of_languages(source)
        read = read_passages_tsv if passages.endswith((".tsv", ".tsv.gz")) else read_passages
        report = generate_queries(
            read(passages), source, output, force=force, restart=restart, progress=show
        )
    cost = _cost(report, price_in, price_out)
    if as_json:
        options.print_json({**report.to_json(), **({} if cost is None else {"cost": cost})})
        return
    _print(report, cost)


def _check_usage(settings: dict[str, Any], output: Path) -> None:
    given = [flag for name, flag in _SOURCES.items() if settings[name]]
    if len(given) != 1:
        raise click.UsageError(
            f"give one of {', '.join(_SOURCES.values())}: what writes the queries"
            + (f"; not {' and '.join(given)}" if given else "")
        )
    params = click.get_current_context().params
    for name, flags in _ONLY.items():
        if params.get(name) is not None and given[0] not in flags:
            raise click.UsageError(
                f"--{name.replace('_', '-')} goes with {' or '.join(flags)}, not with {given[0]}"
            )
    if settings["endpoint"] and not settings["endpoint_model"]:
        raise click.UsageError("--endpoint needs --endpoint-model: what it calls the model")
    if settings["endpoint"] and not settings["languages"]:
        raise click.UsageError("--endpoint needs --languages, as in ar,bn,sw")
    if settings["sentences"] and len(settings["languages"]) > 1:
        raise click.UsageError("--sentences takes one code of --languages, to put them under")
    if output.suffix == ".gz" or output.name == "-":
        raise click.UsageError(
            "the output is a plain file, which a run that was cut off can go on with: pack it, or "
            "print it, afterwards"
        )


def _source(settings: dict[str, Any], show: Callable[[Progress], None]) -> Source:
    languages = settings["languages"]
    prompt = None if settings["prompt"] is None else read_prompt(settings["prompt"])
    if settings["sentences"]:
        return SentenceSource(
            lang=languages[0] if languages else None, per_passage=settings["per_language"]
        )
    if settings["published"]:
        return PublishedSource(
            settings["published"],
            languages=languages,
            per_language=settings["per_language"],
            progress=show,
        )
    if settings["endpoint"]:
        names = ("per_language", "seed", "temperature", "top_p", "concurrency", "max_retries")
        return EndpointSource(
            settings["endpoint"],
            settings["endpoint_model"],
            languages=languages,
            prompt=prompt,
            **_given(settings, *names, "timeout", "allow_insecure_api_key"),
        )
    drawn = ("method", "top_k", "top_p", "temperature", "seed", "max_length", "beams")
    decoding = Decoding(**_given(settings, *drawn))
    given = _given(settings, "per_language", "batch_size")
    given |= {"languages": languages, "decoding": decoding, "prompt": prompt}
    threads = settings["threads"]
    cluster = ray_options.cluster(settings["ray"], settings["ray_workers"], threads)
    if cluster is not None:
        from xqg_qdrant.ray_data.generation import RayModelSource

        return RayModelSource(settings["model"], cluster=cluster, **given)
    from xqg_qdrant.models.generator import Generator

    return ModelSource(Generator.load(settings["model"], threads=threads), **given)


def _given(settings: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: settings[name] for name in names if settings[name] is not None}


def _warn_of_languages(source: Source) -> None:
    if isinstance(source, ModelSource) and source.untrained:
        click.echo(
            f"Warning: {source.name} was not trained on {', '.join(source.untrained)}", err=True
        )


def _cost(
    report: GenerationReport, price_in: float | None, price_out: float | None
) -> float | None:
    if price_in is None and price_out is None:
        return None
    tokens = report.counts
    return (
        tokens[PROMPT_TOKENS] * (price_in or 0) + tokens[COMPLETION_TOKENS] * (price_out or 0)
    ) / 1e6


def _print(report: GenerationReport, cost: float | None) -> None:
    fields: dict[str, object] = {
        "output": report.output,
        "generator": report.generator,
        "passages": f"{report.passages:,}",
    }
    if report.repeated:
        fields["repeated passages dropped"] = f"{report.repeated:,}"
    if report.resumed_at:
        fields["resumed after"] = f"{report.resumed_at:,} passages"
    fields["queries"] = _by_language(report.queries)
    if report.empty:
        fields["empty dropped"] = f"{report.empty:,}"
    if report.duplicates:
        fields["duplicates dropped"] = f"{report.duplicates:,}"
    if report.replaced:
        fields["replaced"] = f"{report.replaced:,}"
    if report.missing:
        fields["missing"] = _by_language(report.missing)
    fields.update({name: f"{count:,}" for name, count in report.counts.items()})
    if cost is not None:
        fields["cost"] = f"{cost:,.4f}"
    rate = report.written / report.seconds if report.seconds else 0
    fields["time"] = f"{report.seconds:.1f} s ({rate:,.1f} queries/s)"
    options.print_fields(fields)


def _by_language(counts: dict[str, int]) -> str:
    return ", ".join(f"{lang} {count:,}" for lang, count in counts.items()) or "none"
