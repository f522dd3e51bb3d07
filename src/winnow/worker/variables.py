"""Environment variables that an executor sets for a worker group, beside those of `config.settings`."""

from __future__ import annotations

CPUS, GPUS = "WINNOW_GROUP_CPUS", "WINNOW_GROUP_GPUS"
"""CPUs of the group; its GPUs, comma-separated and possibly none, or unset to use all that are visible."""
NODE, NODES, MASTER, MASTER_PORT = "WINNOW_NODE", "WINNOW_NODES", "WINNOW_MASTER_ADDR", "WINNOW_MASTER_PORT"
"""Set if a group has several nodes: the index of this node, their number, and the address of the first one."""
RELAY_LOGS = "WINNOW_RELAY_LOGS"
"""Set if the ranks' logs are not kept: they are then copied to standard error."""
DATA_FILE = "WINNOW_DATA_FILE"
"""Set if groups do not see the terminal's files: `SHA256/NAME` of the data file in the artifact store."""
