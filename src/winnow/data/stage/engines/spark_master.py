"""Where Spark runs: in the process of the job, at a standalone master, or in the pods of a cluster."""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from winnow.config.errors import InputError

VARIABLE = "SPARK_MASTER"
ALL_CORES = "local[*]"
CONF_DIR = "SPARK_CONF_DIR"
"""Spark's own variable: the folder with `spark-defaults.conf`."""
_LOCAL = re.compile(r"local(\[(\*|[1-9][0-9]*)(,\s*[1-9][0-9]*)?\])?")
_STANDALONE = re.compile(r"spark://([^:/,@?#]+:[0-9]{1,5})(,[^:/,@?#]+:[0-9]{1,5})*")
_KUBERNETES = re.compile(r"k8s://(https?://)?[^:/]+(:[0-9]{1,5})?")
_ANSWER_S = 5.0


@dataclass(frozen=True)
class SparkMaster:
    """A master that a session is opened with.

    Attributes:
        address: as Spark takes it.
    """

    address: str

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> SparkMaster:
        """The master that SPARK_MASTER names; by default all cores of this machine.

        Raises:
            InputError: it has another form.
        """
        address = environment.get(VARIABLE) or ALL_CORES
        if not any(form.fullmatch(address) for form in (_LOCAL, _STANDALONE, _KUBERNETES)):
            raise InputError(
                VARIABLE,
                expected="local[*], local[CORES], spark://HOST:PORT or k8s://https://HOST:PORT",
                found=f"'{address}'",
                remedy="Correct it.",
            )
        return cls(address)

    @property
    def is_local(self) -> bool:
        """Whether the job's own process computes."""
        return _LOCAL.fullmatch(self.address) is not None

    @property
    def is_kubernetes(self) -> bool:
        """Whether executors are pods."""
        return self.address.startswith("k8s://")

    @property
    def places(self) -> tuple[tuple[str, int], ...]:
        """Hosts and ports that answer; none for a local one."""
        if self.is_local:
            return ()
        _, _, rest = self.address.rpartition("://")
        default = 80 if "http://" in self.address else 443
        found = (each.partition(":") for each in rest.split(","))
        return tuple((host, int(port or default)) for host, _, port in found)

    def check(self) -> None:
        """Raises InputError where none of its addresses takes a connection."""
        reasons = []
        for place in self.places:
            try:
                socket.create_connection(place, timeout=_ANSWER_S).close()
                return
            except (OSError, OverflowError) as error:
                reasons.append(f"{(getattr(error, 'strerror', None) or str(error)).lower()} at {place[0]}:{place[1]}")
        if reasons:
            raise silent(self, "; ".join(reasons))

    @property
    def own_address(self) -> str:
        """The address of this machine at which the master's side reaches it."""
        if self.is_local:
            return "127.0.0.1"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sent:
            sent.connect(self.places[0])  # sends nothing
            return str(sent.getsockname()[0])


def silent(master: SparkMaster, found: str) -> InputError:
    """The error for a master that does not answer."""
    return InputError(
        VARIABLE,
        expected=f"a master that answers at {master.address}",
        found=found,
        remedy="Start it, correct the address, or leave SPARK_MASTER out to compute on this machine.",
    )


def stack_conf(home: Path) -> Path:
    """The folder of the configuration with which sessions open the master that `winnow spark-init` starts."""
    return home / "spark" / "conf"
