"""What Ray's errors mean, in a line."""

from __future__ import annotations

import itertools

import pytest

from xqg_qdrant.ray_data.failures import died, in_words


def chained(*errors: Exception) -> Exception:
    """The first error, raised from the second, and so on."""
    for error, cause in itertools.pairwise(errors):
        error.__cause__ = cause
    return errors[0]


class ActorDiedError(Exception):
    """By the name of Ray's."""


class SystemException(Exception):
    """Raised without a word, as the cause of others."""


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            ConnectionError("Could not find any running Ray instance. Please specify the one"),
            "this machine belongs to none: start one with 'ray start --head'",
        ),
        (
            chained(
                ConnectionError("Failed to connect to Ray cluster at 10.0.0.1:6379"),
                RuntimeError("InvalidAuthToken: Authentication token is missing or incorrect"),
            ),
            "set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN",
        ),
        (
            RuntimeError("Version mismatch: The cluster was started with:\n Ray: 2.51.0"),
            "it runs another release of Ray or of Python",
        ),
        (
            chained(SystemException(), ActorDiedError("...\nNo module named 'xqg_qdrant'\n...")),
            "xqg-qdrant is not installed on all of its nodes",
        ),
        (
            chained(ActorDiedError("The actor died unexpectedly.\n\tpid: 5"), SystemException()),
            "ActorDiedError: The actor died unexpectedly.",
        ),
        (
            OSError("ray::Map() (pid=5, ip=1)\n  File x\nKeyError: 'number'\n"),
            "KeyError: 'number'",
        ),
        (ValueError(), "ValueError"),
    ],
)
def test_in_words(error: Exception, words: str) -> None:
    told = in_words(error)
    assert words in told
    assert "\n" not in told


def test_circles_end() -> None:
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    assert in_words(one) == "ValueError: other"


def test_death_is_known() -> None:
    assert died(chained(RuntimeError("x"), ActorDiedError("y")))
    assert not died(chained(RuntimeError("x"), ValueError("ActorDiedError")))
