"""Every way in which xqg-qdrant fails, under one root: :class:`XqgError`.

Messages name what was wrong (file, line or field) and the fix, and never contain API keys.
The command line prints the message alone and exits with 1.
"""

from __future__ import annotations


class XqgError(Exception):
    """Root of all errors raised on purpose by this package."""


class InputError(XqgError):
    """Something the user gave is wrong: a file, a line, a field, an argument."""


class ModelError(XqgError):
    """A model folder is missing, malformed, damaged or of the wrong kind."""


class CollectionNotFound(XqgError):
    """There is no collection of that name at that place."""


class CollectionExists(XqgError):
    """A collection of that name exists already."""


class CollectionMismatch(XqgError):
    """A collection was built with other settings than the ones now asked for."""


class CollectionLocked(XqgError):
    """Another process holds the embedded collection open."""


class UnfinishedIngest(XqgError):
    """An ingest of this collection was cut off; finish it or begin it again."""


class PartialIngest(XqgError):
    """An ingest stopped early; what is in stays in, and the same call goes on from there.

    Attributes:
        done: passages acknowledged by the engine, counted from the first of the input.
        total: passages in the input.
    """

    def __init__(self, message: str, *, done: int, total: int) -> None:
        super().__init__(message)
        self.done = done
        self.total = total


class UnfinishedGeneration(XqgError):
    """A run that writes queries to this file was cut off; finish it or begin it again."""


class PartialGeneration(XqgError):
    """A run that writes queries stopped early; the same call goes on from there.

    Attributes:
        done: passages whose queries are written, counted from the first of the input.
        total: passages in the input.
    """

    def __init__(self, message: str, *, done: int, total: int) -> None:
        super().__init__(message)
        self.done = done
        self.total = total


class EndpointError(XqgError):
    """An endpoint that is to write queries cannot be reached, refuses, or answers nonsense."""


class RayError(XqgError):
    """A Ray cluster cannot be reached, or its workers failed."""


class FetchError(XqgError):
    """A data set cannot be fetched: no network, or its server refuses."""


class EngineError(XqgError):
    """The vector engine refused or failed an operation."""


class EngineUnavailable(EngineError):
    """The vector engine cannot be reached, or does not answer in time."""


class AuthenticationError(EngineUnavailable):
    """The server refused the API key, or wants one."""


class StorageError(EngineError):
    """The disk is full, read-only or not permitted."""
