"""Options, arguments and output that several commands share."""

from __future__ import annotations

import json
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

import click
from tqdm import tqdm

from xqg_qdrant.credentials import ApiKey, check_api_key
from xqg_qdrant.engine import DEFAULT_LOCATION
from xqg_qdrant.errors import InputError
from xqg_qdrant.fusion import check_alpha
from xqg_qdrant.languages import normalize_language, parse_languages
from xqg_qdrant.layouts import DEFAULT_LAYOUT, LAYOUTS
from xqg_qdrant.loader import Progress

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

Command = TypeVar("Command", bound=Callable[..., Any])

_DEFAULT_ALPHAS = ", ".join(
    f"{layout.default_alpha:g} for {name}"
    + (
        f" ({layout.hybrid_alpha:g} with --hybrid)"
        if layout.hybrid_alpha < layout.default_alpha
        else ""
    )
    for name, layout in LAYOUTS.items()
    if layout.default_alpha
)


def location(flag: str) -> Callable[[Command], Command]:
    """``--to`` or ``--from``: where collections are."""
    return click.option(
        flag,
        "location",
        metavar="PATH_OR_URL",
        envvar="XQG_LOCATION",
        default=DEFAULT_LOCATION,
        show_default=True,
        show_envvar=True,
        help="Folder of the embedded engine, or http(s):// URL of a Qdrant server.",
    )


def collection(*, required: bool = True) -> Callable[[Command], Command]:
    """``--collection``."""
    return click.option(
        "-c", "--collection", required=required, metavar="NAME", help="Name of the collection."
    )


_INSECURE = "xqg.allow_insecure_api_key"


def _note_insecure(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    ctx.meta[_INSECURE] = value


def checked_key(ctx: click.Context, param: click.Parameter, value: str | None) -> ApiKey | None:
    """The callback of options that are API keys."""
    try:
        return check_api_key(value, allow_insecure=ctx.meta.get(_INSECURE, False))
    except InputError as error:
        raise click.BadParameter(str(error)) from None


def api_key(command: Command) -> Command:
    """``--api-key``, and ``--allow-insecure-api-key``, which the key itself remembers."""
    allow = click.option(
        "--allow-insecure-api-key",
        is_flag=True,
        is_eager=True,  # before the key
        expose_value=False,
        callback=_note_insecure,
        help="Send the key over plain http:// to another machine too, for all on the way to read.",
    )
    key = click.option(
        "--api-key",
        envvar="QDRANT_API_KEY",
        show_envvar=True,
        metavar="KEY",
        callback=checked_key,
        help="API key of a Qdrant server; better given by the environment.",
    )
    return key(allow(command))


drop_previous = click.option(
    "--drop-previous",
    is_flag=True,
    help="With --replace: destroy a NAME.previous that is there already, at the end.",
)


def check_drop_previous(replace: bool, drop_previous: bool) -> None:
    """Check that ``--drop-previous`` is not given alone.

    Raises:
        UsageError: it is.
    """
    if drop_previous and not replace:
        raise click.UsageError("--drop-previous goes with --replace")


threads = click.option(
    "--threads",
    type=click.IntRange(min=1),
    help="Threads that the encoder runs on.  [default: all cores]",
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")
quiet = click.option("-q", "--quiet", is_flag=True, help="No progress bar.")
layout = click.option(
    "--layout",
    type=click.Choice(list(LAYOUTS)),
    default=DEFAULT_LAYOUT,
    show_default=True,
    help="fused: one vector, queries of all languages summed. per-language: one a language. "
    "tunable: unsummed, alpha is chosen with the question. multivector: the best query counts.",
)
hybrid = click.option(
    "--hybrid",
    is_flag=True,
    help="Keep lexical (BM25) vectors of passages and queries too, and fuse both rankings.",
)


def encoder(default: str) -> Callable[[Command], Command]:
    """``--encoder``; ``default`` says in words what is taken without it."""
    return click.option(
        "--encoder",
        metavar="NAME_OR_FOLDER",
        envvar="XQG_ENCODER",
        show_envvar=True,
        help=f"Encoder, see 'xqg models'.  [default: {default}]",
    )


def checked_alpha(ctx: click.Context, param: click.Parameter, value: float | None) -> float | None:
    """Callback of an option that takes an alpha."""
    try:
        return None if value is None else check_alpha(value)
    except InputError as error:
        raise click.BadParameter(str(error)) from None


alpha = click.option(
    "--alpha",
    type=float,
    callback=checked_alpha,
    help="Weight of each query's vector, 0 to 1.  [default: the encoder's, or else "
    f"{_DEFAULT_ALPHAS}]",
)


def shown_alpha(layout: str, alpha: float, share: float) -> str:
    """An alpha as people read it, where the layout has a use for one."""
    if not LAYOUTS[layout].default_alpha:
        return "none, nothing is summed"
    return f"{alpha:g} (queries' share of the mass: {share:.0%})"


def language(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Callback of an option that takes a language code."""
    try:
        return None if value is None else normalize_language(value)
    except InputError as error:
        raise click.BadParameter(str(error)) from None


def languages(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, ...]:
    """Callback of an option that takes language codes, separated by commas."""
    try:
        return parse_languages(value or "")
    except InputError as error:
        raise click.BadParameter(str(error)) from None


def _unit(stage: str) -> str:
    if stage.startswith("fetching"):
        return "B"
    if stage in ("copying", "backing up", "verifying"):
        return " points"
    return " records" if stage == "checking" else " passages"


@contextmanager
def progress_bar(*, quiet: bool) -> Iterator[Callable[[Progress], None]]:
    """A progress bar on standard error, with rate and time left."""
    bar: tqdm[Any] | None = None
    stage = ""
    queries_before, began = 0, 0.0

    def show(progress: Progress) -> None:
        nonlocal bar, stage, queries_before, began
        if bar is not None and stage != progress.stage:
            bar.close()
            bar = None
        if bar is None:
            stage = progress.stage
            bar = tqdm(
                # What an earlier run has loaded counts as done, not towards the rate.
                initial=progress.done if stage in ("loading", "copying", "generating") else 0,
                total=progress.total or None,
                unit=_unit(stage),
                unit_scale=stage.startswith("fetching"),
                desc=stage.capitalize(),
                file=sys.stderr,
                disable=quiet,
                dynamic_ncols=True,
                # The engine does not say how far it is with this.
                bar_format="{desc}: may take a while [{elapsed}]"
                if stage == "optimizing"
                else None,
            )
            queries_before, began = progress.queries or 0, time.monotonic()
        if progress.queries is not None:
            rate = (progress.queries - queries_before) / max(time.monotonic() - began, 1e-3)
            bar.set_postfix_str(f"{progress.queries:,} queries, {rate:,.1f}/s", refresh=False)
        if stage != "optimizing":
            bar.update(progress.done - bar.n)

    try:
        yield show
    finally:
        if bar is not None:
            bar.close()


@contextmanager
def interruptible(message: str) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end the work in good order: with a message, and exit code 1."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt:
        raise click.ClickException(message) from None
    finally:
        signal.signal(signal.SIGTERM, previous)


def printable(text: str) -> str:
    """Text of others without control characters, which terminals obey; lines may break."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def print_json(value: object) -> None:
    """One JSON value on standard output."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2))


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on standard output; all columns but the first are set flush right."""
    lines = [list(header), *([printable(cell) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    for number, line in enumerate(lines):
        cells = [line[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        click.echo("  ".join(cells).rstrip())
        if number == 0:
            click.echo("  ".join("-" * width for width in widths))


def print_fields(fields: Mapping[str, object]) -> None:
    """``name: value`` lines on standard output, values aligned."""
    width = max(len(name) for name in fields) + 2
    for name, value in fields.items():
        click.echo(f"{name + ':':<{width}}{printable(str(value))}")
