"""Queries that an OpenAI-compatible endpoint writes, through the official client.

One request a passage and language, answered by JSON of a given schema where the server knows
schemas; several requests run at a time. The key comes from ``OPENAI_API_KEY`` alone, and stands in
no message, log, side file or ``repr``.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine, Iterator, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple

from xqg_qdrant.credentials import ApiKey, check_api_key, check_url, hide_keys, require_private
from xqg_qdrant.errors import EndpointError, InputError
from xqg_qdrant.languages import parse_languages
from xqg_qdrant.queries.answers import FORMATS, SYSTEM, Answer, read_answer
from xqg_qdrant.queries.prompts import COUNT, FIELDS, Template
from xqg_qdrant.queries.source import Gathering, Source, Tally, Written, written
from xqg_qdrant.records import Passage

KEY_VARIABLE = "OPENAI_API_KEY"
PER_LANGUAGE = 5
CONCURRENCY = 4
MAX_RETRIES = 5
TIMEOUT = 60.0

PROMPT = (
    "Write {count} different questions in {language} that the passage below answers, as people "
    "who speak {language} would type them into a search engine. Each question stands alone: it "
    "names what it is about and does not mention the passage. Write them in the usual script of "
    "{language}.\n\nTitle: {title}\nPassage: {passage}"
)

ROUNDS = 2
"""How often more is asked for in the place of texts that were dropped."""

_MOST_MALFORMED = 20
"""Answers in a row that are not the JSON asked for, before the run gives up."""

PROMPT_TOKENS, COMPLETION_TOKENS = "prompt tokens", "completion tokens"
_REQUESTS, _REFUSED, _MALFORMED = "requests answered", "requests refused", "answers malformed"


class _Asked(NamedTuple):
    answer: Answer
    prompt_tokens: int
    completion_tokens: int


class EndpointSource(Source):
    """An endpoint's queries.

    Args:
        url: its base URL, as in ``https://api.openai.com/v1``.
        model: what it calls the model.
        languages: to write in.
        per_language: queries of a passage in each language.
        prompt: with ``{language}``, ``{title}``, ``{passage}`` and ``{count}``.
        seed: passed on, where given; endpoints promise no more than their best effort.
        temperature: passed on, where given.
        top_p: passed on, where given.
        concurrency: requests at a time.
        max_retries: of a request that was throttled or failed, with the client's back-off.
        timeout: of a request, in seconds.
        allow_insecure_api_key: send the key over plain HTTP to another machine too.

    Raises:
        InputError: an argument is wrong, the client is not installed, or the key would go over
            plain HTTP to another machine.
    """

    kind = "endpoint"

    def __init__(
        self,
        url: str,
        model: str,
        *,
        languages: Sequence[str],
        per_language: int = PER_LANGUAGE,
        prompt: str | None = None,
        seed: int | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        concurrency: int = CONCURRENCY,
        max_retries: int = MAX_RETRIES,
        timeout: float = TIMEOUT,
        allow_insecure_api_key: bool = False,
    ) -> None:
        self.languages = parse_languages(languages)
        if not self.languages:
            raise InputError("no languages: give --languages, as in ar,bn,sw")
        for name, value in (("per_language", per_language), ("concurrency", concurrency)):
            if value < 1:
                raise InputError(f"{name} is {value}: give a positive number")
        template = Template(PROMPT if prompt is None else prompt, (*FIELDS, COUNT))
        template.check_languages(self.languages)
        self._key = check_api_key(
            os.environ.get(KEY_VARIABLE),
            name=f"the key of {KEY_VARIABLE}",
            allow_insecure=allow_insecure_api_key,
        )
        host = _checked_host(url, self._key)
        self.name = f"{model} at {host}"
        self.window = max(1, 8 * concurrency // len(self.languages))
        self.configuration = {
            "endpoint": url.rstrip("/"),
            "model": model,
            "prompt": template.text,
            "languages": list(self.languages),
            "per_language": per_language,
            "seed": seed,
            "temperature": temperature,
            "top_p": top_p,
        }
        self._model = model
        self._host = host
        self._per_language = per_language
        self._template = template
        self._seed = seed
        self._chosen = {
            name: value
            for name, value in (("temperature", temperature), ("top_p", top_p))
            if value is not None
        }
        self._format = 0
        self._malformed_in_a_row = 0
        self._max_retries = max_retries
        self._timeout = timeout
        self._slots = asyncio.Semaphore(concurrency)
        self._client = _client(url, self._key, max_retries, timeout)
        self._loop = _Loop()

    def write(self, passages: Sequence[Passage]) -> Iterator[Written]:
        """Ask for the queries of all passages in all languages, several at a time."""
        running = [
            [self._loop.start(self._queries(passage, lang)) for lang in self.languages]
            for passage in passages
        ]
        try:
            for of_passage in running:
                yield written([future.result() for future in of_passage])
        finally:
            for of_passage in running:
                for future in of_passage:
                    future.cancel()

    def counts(self, tally: Tally) -> dict[str, int]:
        """Requests and tokens, of the passages that are written."""
        names = (_REQUESTS, _REFUSED, _MALFORMED, PROMPT_TOKENS, COMPLETION_TOKENS)
        return {name: tally.other[name] for name in names}

    def versions(self) -> dict[str, str]:
        """Of the client."""
        from importlib.metadata import version

        return {"openai": version("openai")}

    def nothing_written(self, passages: int, first: str) -> str:
        """Why there may be not one query."""
        return (
            f"not one query came out for {passages:,} passages: {self.name} refused, or did not "
            "answer with the JSON asked for; try another prompt or model"
        )

    def close(self) -> None:
        """Close connections, and end what still runs."""
        self._loop.close(self._client.close())

    async def _queries(self, passage: Passage, lang: str) -> Gathering:
        gathering = Gathering(passage.id, lang, self._per_language)
        for number in range(1 + ROUNDS):
            if not gathering.short:
                break
            asked = await self._ask(passage, lang, gathering.short, number)
            gathering.other[_REQUESTS] += 1
            gathering.other[PROMPT_TOKENS] += asked.prompt_tokens
            gathering.other[COMPLETION_TOKENS] += asked.completion_tokens
            if asked.answer.refused:
                gathering.other[_REFUSED] += 1
                break
            if asked.answer.queries is None:
                gathering.other[_MALFORMED] += 1
                self._count_malformed(asked.answer)
                continue
            self._malformed_in_a_row = 0
            for text in asked.answer.queries:
                gathering.offer(text, replacing=number > 0)
        return gathering

    async def _ask(self, passage: Passage, lang: str, count: int, number: int) -> _Asked:
        """Ask once; where the server refuses a format of answers, ask for the next."""
        import openai

        messages = [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": self._template.fill(passage, lang, count=count)},
        ]
        settings: dict[str, Any] = dict(self._chosen)
        if self._seed is not None:
            settings["seed"] = self._seed + number
        async with self._slots:
            refused: Exception | None = None
            for place in range(self._format, len(FORMATS)):
                form = FORMATS[place]
                if form is not None:
                    settings["response_format"] = form
                else:
                    settings.pop("response_format", None)
                try:
                    completion = await self._client.chat.completions.create(
                        model=self._model, messages=messages, **settings
                    )
                except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                    if _is_content_filter(error):
                        return _Asked(Answer(None, refused=True, shown=""), 0, 0)
                    refused = refused or error
                    continue
                except openai.OpenAIError as error:
                    raise self._error(error, passage) from None
                except ValueError:  # a body that is no JSON at all
                    return _Asked(Answer(None, refused=False, shown="no JSON at all"), 0, 0)
                self._format = max(self._format, place)
                usage = getattr(completion, "usage", None)
                return _Asked(
                    read_answer(completion),
                    _count(getattr(usage, "prompt_tokens", None)),
                    _count(getattr(usage, "completion_tokens", None)),
                )
        assert refused is not None
        raise self._error(refused, passage) from None

    def _count_malformed(self, answer: Answer) -> None:
        self._malformed_in_a_row += 1
        if self._malformed_in_a_row >= _MOST_MALFORMED:
            raise EndpointError(
                f"{self.name}: the last {_MOST_MALFORMED} answers were not the JSON asked for, "
                f"the last was {self._without_key(answer.shown)!r}: try another model or prompt"
            )

    def _error(self, error: Exception, passage: Passage) -> EndpointError:
        import openai

        where = f"{self.name}, passage {passage.id!r}"
        told = self._without_key(str(error))
        told = told if len(told) <= 300 else f"{told[:300]}…"
        if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
            return EndpointError(
                f"{where}: not let in: set {KEY_VARIABLE} to a key that is ({told})"
            )
        if isinstance(error, openai.NotFoundError):
            return EndpointError(
                f"{where}: not found: check the model's name, and the URL, which often ends in "
                f"/v1 ({told})"
            )
        if isinstance(error, openai.APITimeoutError):
            return EndpointError(
                f"{where}: no answer within {self._timeout:g} s, {self._max_retries} retries"
            )
        if isinstance(error, openai.APIConnectionError):
            cause = self._without_key(str(error.__cause__ or error))
            return EndpointError(f"{where}: cannot be reached: {cause}")
        if isinstance(error, openai.RateLimitError | openai.InternalServerError):
            return EndpointError(f"{where}: failed after {self._max_retries} retries: {told}")
        return EndpointError(f"{where}: {told}")

    def _without_key(self, text: str) -> str:
        return hide_keys(text)


class _Loop:
    """An event loop on a thread of its own, so that callers may have one too."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def start(self, coroutine: Coroutine[Any, Any, Gathering]) -> Future[Gathering]:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def close(self, last: Coroutine[Any, Any, None]) -> None:
        """Cancel what runs, do the last thing, and end."""
        if self._loop.is_closed():
            last.close()
            return
        asyncio.run_coroutine_threadsafe(self._end(last), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @staticmethod
    async def _end(last: Coroutine[Any, Any, None]) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await last


def _client(url: str, key: str | None, max_retries: int, timeout: float) -> Any:
    try:
        import openai
    except ImportError:
        raise InputError(
            "asking an endpoint needs openai: pip install 'xqg-qdrant[endpoint]'"
        ) from None
    return openai.AsyncOpenAI(
        base_url=url,
        api_key=str(key or "none"),  # local servers want none, the client wants one
        max_retries=max_retries,
        timeout=timeout,
    )


def _checked_host(url: str, key: ApiKey | None) -> str:
    """The host, and port, of a URL that the key may go to."""
    parts = check_url(url, example="https://HOST/v1")
    require_private(parts, key, otherwise=f", or unset {KEY_VARIABLE} if no key is wanted there")
    return str(parts.hostname) if parts.port is None else f"{parts.hostname}:{parts.port}"


def _count(value: object) -> int:
    """A number of tokens, 0 where a server says something else."""
    return value if isinstance(value, int) and value >= 0 else 0


def _is_content_filter(error: Any) -> bool:
    return getattr(error, "code", None) == "content_filter"
