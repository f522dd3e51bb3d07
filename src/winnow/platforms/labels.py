"""The labels of what winnow makes on a platform.

Any process finds it again by label. Docker objects and Kubernetes objects carry the same labels.
"""

from __future__ import annotations

STUDY, GROUP, NODE = "winnow.study", "winnow.group", "winnow.node"
"""Labels of a worker group's containers and networks: its study, its name, the index of its node."""

DEPLOYMENT, SERIAL, RELEASE, ROLE = "winnow.deployment", "winnow.serial", "winnow.release", "winnow.role"
"""Labels of what serves: the deployment, the number of the change that made it, the release as JSON, and its part."""

REVISION, REVISION_JSON = "winnow.revision", "winnow.revision.json"
FOLDER, FOLDER_ID = "winnow.folder", "winnow.folder.id"
"""Labels of what serves a revision: its number, all of it; on Docker also the deployment's folder, and its inode."""

STACK = "winnow.stack"
"""Label of all that a tracking stack consists of; on Docker its value is the name of the project."""

MONITORING = "winnow.monitoring"
"""Label of all that monitoring consists of; on Docker its value is the folder of the deployments that it watches."""

AIRFLOW = "winnow.airflow"
"""Label of all that Airflow consists of; on Docker its value is the home that it belongs to."""
