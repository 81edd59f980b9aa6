"""Blue-green: a collection is built beside the one that serves, and takes its name in one step.

What is built is a collection of its own, ``NAME-<8 hex digits>``; the digits derive from input
and settings, so that the same call after a kill finds it again and goes on. When it is whole and
verified, aliases move: NAME stands for the new one, NAME.previous for the old one. Until then the
old one serves, and nothing of it was touched.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from xqg_qdrant.collection import CollectionManifest
from xqg_qdrant.engine.base import Engine
from xqg_qdrant.engine.names import PREVIOUS, base_of, check_collection_name
from xqg_qdrant.engine.storage import Storage
from xqg_qdrant.errors import (
    CollectionExists,
    CollectionLocked,
    CollectionMismatch,
    InputError,
    StorageError,
    UnfinishedIngest,
)
from xqg_qdrant.loader.documents import BUILD, read_journal, read_manifest
from xqg_qdrant.loader.journal import Journal

_DIGITS = 8


@dataclass(frozen=True, slots=True)
class Replacement:
    """What takes a name, and how.

    Attributes:
        engine: where the collections are.
        name: that users search by.
        target: the collection that is to take it.
        in_place: it has it already, there is nothing to do.
        drop_previous: what was replaced the last time may be destroyed.
    """

    engine: Engine
    name: str
    target: str
    in_place: bool
    drop_previous: bool

    @classmethod
    def plan(
        cls,
        engine: Engine,
        name: str,
        key: str,
        same: Callable[[str], bool],
        *,
        restart: bool = False,
        drop_previous: bool = False,
        dry_run: bool = False,
    ) -> Replacement:
        """See that a name can be taken, before any work; find what an earlier call has built.

        Args:
            engine: where the collection is.
            name: that is to stand for another one.
            key: changes with any change of input or settings.
            same: whether a collection is exactly what would be built.
            restart: begin again from nothing.
            drop_previous: destroy what was replaced the last time, at the end.
            dry_run: change nothing.

        Raises:
            InputError: the name is too long, or is that of a replaced collection.
            CollectionExists: an older replaced collection is still there, or the name is a
                collection itself on a server.
            CollectionLocked: another process holds the one to be dropped.
            UnfinishedIngest: another replacement of the name was cut off.
        """
        _check_name(name)
        previous = name + PREVIOUS
        live = engine.resolve(name) if engine.exists(name) else None
        if live is not None:
            require_movable(engine, name)
            if not restart and same(live):
                return cls(engine, name, live, in_place=True, drop_previous=False)
        kept = engine.resolve(previous) if engine.exists(previous) else None
        if live is not None and kept is not None:
            if not drop_previous:
                raise CollectionExists(
                    f"{previous!r} at {engine.location} is there still, from when {name!r} was "
                    f"replaced before: 'xqg delete -c {previous} --from {engine.location}' "
                    "destroys it, or let this run do so at its end with --drop-previous "
                    "(drop_previous=True)"
                )
            engine.info(kept)  # opens it: one that another process holds could not be dropped
        target = _target(name, key, taken={live, kept})
        _clear(engine, name, target, restart=restart, dry_run=dry_run)
        return cls(engine, name, target, in_place=False, drop_previous=drop_previous)

    @property
    def documents(self) -> dict[str, dict[str, str]]:
        """What is kept with the collection that is being built."""
        return {BUILD: {"replaces": self.name}}

    def swap(self) -> str | None:
        """Let the name stand for what was built, and NAME.previous for what it stood for.

        Returns:
            The name of what was replaced; None if there was nothing.

        Raises:
            CollectionExists: another replacement was faster.
            EngineError: the engine failed; the name stands for what it did before.
        """
        engine, name, previous = self.engine, self.name, self.name + PREVIOUS
        changes: dict[str, str | None] = {name: self.target}
        if engine.exists(name):
            require_movable(engine, name)
            if engine.exists(previous):
                if not self.drop_previous:
                    raise CollectionExists(
                        f"{name!r} at {engine.location} was replaced by another run meanwhile, "
                        f"and {previous!r} is what it replaced: delete that by name, and run "
                        "the same again"
                    )
                engine.delete(previous)
            changes[previous] = engine.resolve(name)
        engine.change_aliases(changes)
        return previous if previous in changes else None


def check_flags(*, replace: bool, drop_previous: bool) -> None:
    """Check what a user asks to be done with the collection that has the name.

    Raises:
        InputError: ``drop_previous`` without ``replace``.
    """
    if drop_previous and not replace:
        raise InputError("drop_previous goes with replace: nothing else drops a collection")


def build_key(manifest: CollectionManifest, storage: Storage, journal: Journal) -> str:
    """Changes with any change of input or settings."""
    row = [_compared(manifest), storage.resolved().to_json(), journal.input, journal.batch_size]
    return json.dumps(row, sort_keys=True)


def holds(
    engine: Engine, name: str, manifest: CollectionManifest, storage: Storage, journal: Journal
) -> bool:
    """Whether a collection is exactly what an ingest would make.

    Args:
        engine: where it is.
        name: of the collection.
        manifest: of that ingest.
        storage: of that ingest; what it leaves open may be anything.
        journal: of that ingest.
    """
    try:
        stored, earlier = read_manifest(engine, name), read_journal(engine, name)
        engine.storage(name).require_same(storage, name)
    except (CollectionMismatch, StorageError):
        return False
    if earlier is None or not earlier.complete or _compared(stored) != _compared(manifest):
        return False
    if (earlier.input, earlier.total) != (journal.input, journal.total):
        return False
    try:
        return engine.count(name) == journal.total
    except CollectionLocked:
        return True  # another process searches it, and knows no better than its journal


def rollback(engine: Engine, name: str) -> None:
    """Let a name stand again for what it stood for before it was replaced, and the other way round.

    Where the collection itself is gone, what was replaced takes the name.

    Raises:
        CollectionNotFound: there is no ``NAME.previous``.
        CollectionExists: the name is a collection itself on a server.
    """
    check_collection_name(name)
    previous = name + PREVIOUS
    engine.require(previous)
    changes: dict[str, str | None] = {name: engine.resolve(previous), previous: None}
    if engine.exists(name):
        require_movable(engine, name)
        changes[previous] = engine.resolve(name)
    if not engine.alias_may_hide and previous not in engine.aliases():
        raise CollectionExists(
            f"{previous!r} at {engine.location} is a collection itself, nothing that "
            f"{name!r} was replaced by"
        )
    engine.change_aliases(changes)


def set_alias(engine: Engine, alias: str, collection: str) -> None:
    """Let one more name stand for a collection.

    Raises:
        CollectionNotFound: there is no such collection.
        CollectionExists: the name stands for another one, or is one.
    """
    check_collection_name(alias)
    engine.require(collection)
    target = engine.resolve(collection)
    if engine.exists(alias) and engine.resolve(alias) != target:
        raise CollectionExists(
            f"{alias!r} at {engine.location} is another collection: take another name, or free "
            f"this one ('xqg delete -c {alias}' destroys it)"
        )
    if alias != target:
        engine.change_aliases({alias: target})


def require_movable(engine: Engine, name: str) -> None:
    """Check that a name that exists can be given to another collection.

    Raises:
        CollectionExists: it cannot: it is a collection itself, and a server's aliases cannot have
            its name; the message says how to free it.
    """
    if engine.alias_may_hide or name in engine.aliases():
        return
    where = engine.location
    raise CollectionExists(
        f"{name!r} at {where} is a collection itself, not an alias, and a server cannot give its "
        "name to another: replace under a new name (-c) and search by that, or free the name "
        f"once: 'xqg push -c {name} --from {where} --to {where} --as {name}-kept', "
        f"'xqg delete -c {name} --from {where}', 'xqg alias {name} -c {name}-kept --from {where}'; "
        "between the last two there is none of that name"
    )


def _check_name(name: str) -> None:
    check_collection_name(name)
    if name.endswith(PREVIOUS):
        raise InputError(
            f"{name!r} is the name of what was replaced: replace {name.removesuffix(PREVIOUS)!r}, "
            "or choose a name that does not end so"
        )
    check_collection_name(f"{name}-{'0' * max(_DIGITS, len(PREVIOUS) - 1)}")


def _target(name: str, key: str, taken: set[str | None]) -> str:
    """The name of what is built: the same for the same key, and none that serves."""
    for number in itertools.count():
        digits = hashlib.sha256(f"{key}:{number}".encode()).hexdigest()[:_DIGITS]
        if (target := f"{name}-{digits}") not in taken:
            return target
    raise AssertionError  # count() has no end


def _clear(engine: Engine, name: str, target: str, *, restart: bool, dry_run: bool) -> None:
    """Refuse a second build of the same name; on a restart, drop the unfinished ones."""
    serving = set(engine.aliases().values())
    for build in engine.collections():
        if base_of(build) != name or build in serving or (build == target and not restart):
            continue
        if (engine.read_document(build, BUILD) or {}).get("replaces") != name:
            continue
        journal = read_journal(engine, build)
        if restart and (build == target or (journal is not None and not journal.complete)):
            if not dry_run:
                engine.delete(build)
            continue
        state = (
            "was loaded whole, but not swapped in"
            if journal is None or journal.complete
            else f"was cut off after {journal.done:,} of {journal.total:,} passages"
        )
        raise UnfinishedIngest(
            f"a replacement of {name!r} with other input or settings {state} ({build}): run it "
            f"again with what it had to finish it, or drop it with 'xqg delete -c {build}'"
            + ("" if journal is None or journal.complete else " or --restart (restart=True)")
        )


def _compared(manifest: CollectionManifest) -> dict[str, Any]:
    """What makes a difference; who wrote the queries makes none."""
    return replace(manifest, generator=None).to_json()
