"""Makes, follows and removes a planned stack in a namespace of a cluster: the part that touches the world."""

from __future__ import annotations

import base64

from winnow.cluster.api import Cluster
from winnow.cluster.kinds import SECRET

SECRET_NAME = "winnow-tracking"


def read_secret(cluster: Cluster) -> dict[str, str] | None:
    """The stack's secrets by name; None where there are none. Raises what Cluster raises."""
    found = cluster.get(SECRET, SECRET_NAME)
    if found is None:
        return None
    return {name: base64.b64decode(value).decode() for name, value in (found.get("data") or {}).items()}
