"""Models on the nodes of a cluster: found by their folder or name, known by their fingerprint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from xqg_qdrant.errors import ModelError
from xqg_qdrant.models.manifest import ModelManifest, find_model


@dataclass(frozen=True, slots=True)
class NodeModel:
    """A model that every node must have.

    Attributes:
        folder: where it is on this machine.
        fingerprint: of it.
    """

    folder: str
    fingerprint: str

    @classmethod
    def of(cls, manifest: ModelManifest) -> NodeModel:
        """The model of a manifest."""
        return cls(str(manifest.folder.resolve()), manifest.fingerprint)

    def find(self) -> Path:
        """On a node: its folder, at the same path, or among the models that a name reaches there.

        Raises:
            ModelError: it is not there.
        """
        folder = Path(self.folder)
        if folder.is_dir():
            return folder
        try:
            return find_model(folder.name)
        except ModelError:
            raise ModelError(
                f"no model folder {folder}: it must be at the same path on every node, on a "
                "shared file system or copied, or be a folder of $XQG_MODELS there"
            ) from None

    def check(self, manifest: ModelManifest) -> None:
        """Check that what was loaded is this model.

        Raises:
            ModelError: it is another.
        """
        if manifest.fingerprint != self.fingerprint:
            raise ModelError(
                f"{manifest.folder} holds another model ({manifest.fingerprint[:12]}…) than where "
                f"the run was started ({self.fingerprint[:12]}…): copy that one to every node"
            )
