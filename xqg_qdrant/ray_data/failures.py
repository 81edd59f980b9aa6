"""What Ray's errors mean to those who run us: one line, and what to do."""

from __future__ import annotations

_MEANINGS = (
    # What is in Ray's message, and what is to be done about it.
    (
        "Could not find any running Ray instance",
        "this machine belongs to none: start one with 'ray start --head', or give its HOST:PORT",
    ),
    (
        "uthentication token",
        "it refused this machine's authentication token, or wants one: set RAY_AUTH_MODE=token, "
        "and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH, as on its nodes",
    ),
    (
        "ersion mismatch",
        "it runs another release of Ray or of Python: install the same here and on all its nodes",
    ),
    (
        "No module named 'xqg_qdrant'",
        "xqg-qdrant is not installed on all of its nodes: install the same release there",
    ),
    (
        "No node info found",
        "this machine is no node of it: run on one of its nodes, or submit the command with "
        "'ray job submit'",
    ),
)

_DIED = ("ActorDiedError", "ActorUnavailableError", "WorkerCrashedError", "OutOfMemoryError")
_NO_CAUSE = ("UserCodeException", "SystemException")


def in_words(error: BaseException) -> str:
    """Ray's error in a line, without its traceback."""
    chain = list(_chain(error))
    everything = "\n".join(str(each) for each in chain)
    for part, meaning in _MEANINGS:
        if part in everything:
            return meaning
    told = next((each for each in reversed(chain) if str(each).strip()), error)
    lines = [line.strip() for line in str(told).splitlines() if line.strip()]
    if not lines:
        return type(told).__name__
    if any("Traceback" in line or line.startswith("ray::") for line in lines):
        return lines[-1]
    return f"{type(told).__name__}: {lines[0]}"


def died(error: BaseException) -> bool:
    """Whether it is about a worker's process that came to its end."""
    return any(type(each).__name__ in _DIED for each in _chain(error))


def _chain(error: BaseException) -> list[BaseException]:
    """The error, and those that it came of."""
    found: list[BaseException] = []
    each: BaseException | None = error
    while each is not None and each not in found:
        found.append(each)
        each = each.__cause__ or each.__context__
    return [each for each in found if type(each).__name__ not in _NO_CAUSE] or [error]
