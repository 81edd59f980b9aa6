"""xqg-qdrant: cross-lingual search that a Python application can embed.

::

    from xqg_qdrant import Client, GeneratedQuery, Passage

    with Client("library") as client:
        client.ingest("rivers", [Passage("nile", "The Nile flows north into the Mediterranean.")],
                      [GeneratedQuery("nile", "sw", "Mto Nile unaingia bahari gani?")])
        for hit in client.search("rivers", "Nile inamwaga maji wapi?", lang="sw"):
            print(hit.score, hit.id, hit.text)

Importing it loads neither onnxruntime nor qdrant-client nor an encoder.
"""

from xqg_qdrant.client import Client
from xqg_qdrant.collection import CollectionReport
from xqg_qdrant.errors import (
    AuthenticationError,
    CollectionExists,
    CollectionLocked,
    CollectionMismatch,
    CollectionNotFound,
    EndpointError,
    EngineError,
    EngineUnavailable,
    FetchError,
    InputError,
    ModelError,
    PartialGeneration,
    PartialIngest,
    StorageError,
    UnfinishedGeneration,
    UnfinishedIngest,
    XqgError,
)
from xqg_qdrant.loader import IngestReport, Progress
from xqg_qdrant.loader.backup import BackupReport
from xqg_qdrant.loader.copying import CopyReport
from xqg_qdrant.models.encoder import Encoder
from xqg_qdrant.records import GeneratedQuery, Hit, Passage, Qrel, Question

__version__ = "0.1.0"

__all__ = [
    "AuthenticationError",
    "BackupReport",
    "Client",
    "CollectionExists",
    "CollectionLocked",
    "CollectionMismatch",
    "CollectionNotFound",
    "CollectionReport",
    "CopyReport",
    "Encoder",
    "EndpointError",
    "EngineError",
    "EngineUnavailable",
    "FetchError",
    "GeneratedQuery",
    "Hit",
    "IngestReport",
    "InputError",
    "ModelError",
    "PartialGeneration",
    "PartialIngest",
    "Passage",
    "Progress",
    "Qrel",
    "Question",
    "StorageError",
    "UnfinishedGeneration",
    "UnfinishedIngest",
    "XqgError",
]
