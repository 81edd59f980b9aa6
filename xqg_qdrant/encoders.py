"""The encoders of a client: the one chosen, or the ones that its collections were built with."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from xqg_qdrant.collection import CollectionManifest
from xqg_qdrant.errors import CollectionMismatch, InputError, ModelError
from xqg_qdrant.models.manifest import DEFAULT_ENCODER, is_plain_name

if TYPE_CHECKING:
    from xqg_qdrant.models.encoder import Encoder


class Encoders:
    """Encoders, loaded when they are first wanted; for several threads.

    Args:
        chosen: name, model folder or encoder; None for the default one when ingesting, and the
            collection's own when searching.
        threads: that each runs on; all cores when None.
    """

    def __init__(
        self, chosen: str | os.PathLike[str] | Encoder | None, threads: int | None
    ) -> None:
        self.chosen = chosen
        self.threads = threads
        self._loaded: dict[str, Encoder] = {}
        self._lock = threading.Lock()

    def for_ingest(self) -> Encoder:
        """The encoder that collections are built with.

        Raises:
            ModelError: it cannot be loaded.
        """
        return self._load(DEFAULT_ENCODER if self.chosen is None else self.chosen)

    def for_collection(self, manifest: CollectionManifest, collection: str) -> Encoder:
        """The encoder that a collection is searched with: the one that it was built with.

        Raises:
            CollectionMismatch: the chosen one is another.
            ModelError: it cannot be loaded.
        """
        built_with = f"collection {collection!r} was built with encoder {manifest.encoder!r}"
        try:
            if self.chosen is None and not is_plain_name(manifest.encoder):
                raise ModelError("no encoder is looked for at a path that a collection names")
            encoder = self._load(manifest.encoder if self.chosen is None else self.chosen)
        except ModelError as error:
            if self.chosen is not None:
                raise
            raise ModelError(
                f"{built_with}, which is not at hand: give its folder as encoder ({error})"
            ) from None
        if encoder.fingerprint != manifest.encoder_fingerprint:
            raise CollectionMismatch(
                f"{built_with} ({manifest.encoder_fingerprint[:12]}…), this is {encoder.name!r} "
                f"({encoder.fingerprint[:12]}…): their vectors cannot be compared. Search with the "
                "encoder that it was built with, or ingest into a new collection"
            )
        return encoder

    def _load(self, chosen: str | os.PathLike[str] | Encoder) -> Encoder:
        from xqg_qdrant.models.encoder import Encoder

        if isinstance(chosen, Encoder):
            return chosen
        if not isinstance(chosen, str | os.PathLike):
            raise InputError(f"encoder is a {type(chosen).__name__}: give a name or a folder")
        key = os.fspath(chosen)
        with self._lock:
            if key not in self._loaded:
                folder = key if isinstance(chosen, str) else Path(chosen)
                self._loaded[key] = Encoder.load(folder, threads=self.threads)
            return self._loaded[key]
