"""Generating and encoding on a Ray cluster, by Ray Data; needs the extra ``ray``.

Passages are read, checked and journalled where the run was started, and go to the workers in
shards; what the workers make comes back in order. So results, files and collections are those of
a run on one machine, and each kind of run goes on where the other was cut off.
"""

from xqg_qdrant.ray_data.cluster import RayCluster
from xqg_qdrant.ray_data.encoding import ray_encoding
from xqg_qdrant.ray_data.generation import RayModelSource

__all__ = ["RayCluster", "RayModelSource", "ray_encoding"]
