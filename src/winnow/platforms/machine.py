"""What platforms need of this machine: addresses, CPUs and GPUs, and steps that Ctrl-C does not cut short."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping

from winnow.config.errors import InputError


def bound(host: str, port: int | None) -> socket.socket:
    """A bound socket that does not listen yet, on a free port where none is given.

    Raises:
        InputError: the port is taken, or the address is none of this machine's.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port or 0))
    except OSError as error:
        listener.close()
        raise InputError(
            f"address {host}:{port or 0}",
            expected="a port of this machine that is free",
            found=(error.strerror or str(error)).lower(),
            remedy="Leave the port out to have a free one found, or choose another.",
        ) from error
    return listener


def is_free(host: str, port: int) -> bool:
    """Whether somebody could listen there now."""
    try:
        bound(host, port).close()
    except InputError:
        return False
    return True


def url_for_clients(host: str, port: int) -> str:
    """The address at which a client on this machine reaches what listens on `host`."""
    name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Let Ctrl-C wait for the end of a step of a second or so.

    An engine goes on with a request whose sender was interrupted, and nobody would know of what it has made.
    """
    if threading.current_thread() is not threading.main_thread():  # where Ctrl-C is never heard
        yield
        return
    waiting: list[int] = []
    usual = signal.signal(signal.SIGINT, lambda number, _frame: waiting.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
        if waiting:
            signal.raise_signal(signal.SIGINT)


def usable_cpus() -> int:
    """CPUs that this process may use: a container's or `taskset`'s share, not the whole machine's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def visible_gpus(environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """This machine's GPUs, as CUDA_VISIBLE_DEVICES names them, without loading CUDA into this process."""
    chosen = environment.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return tuple(gpu for gpu in chosen.split(",") if gpu and gpu != "-1")
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30, check=False)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return ()
    count = sum(line.startswith("GPU ") for line in listed.stdout.splitlines()) if listed.returncode == 0 else 0
    return tuple(str(index) for index in range(count))
