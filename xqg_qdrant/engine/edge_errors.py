"""What Qdrant Edge raises, panics included, as errors of ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from xqg_qdrant.errors import CollectionLocked, EngineError, StorageError, XqgError


class EnginePanic(EngineError):
    """The engine panicked: what is in memory cannot be trusted, what is on disk is read again."""


def locked(action: str) -> CollectionLocked:
    """What to say where a collection is open already."""
    return CollectionLocked(
        f"cannot {action}: another process, or another client in this one, has it open. Close "
        "that one, or share collections by a Qdrant server (docker-compose.yml)"
    )


@contextmanager
def guarded(action: str) -> Iterator[None]:
    """Turn whatever Edge raises, panics included, into errors of ours."""
    try:
        yield
    except (XqgError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except Exception as error:  # Edge raises plain Exception
        text = str(error)
        if "WouldBlock" in text:
            raise locked(action) from error
        if "No space left" in text or "Read-only file system" in text:
            raise StorageError(
                f"cannot {action}: {text}. Make room, or let it be written to, then run the same "
                "again"
            ) from error
        raise EngineError(f"cannot {action}: {text}") from error
    except BaseException as error:  # PanicException of the Rust engine
        raise EnginePanic(f"cannot {action}: the engine panicked: {error}") from error
