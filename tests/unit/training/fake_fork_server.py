"""A fork server without torch, whose ranks do what their environment's `DO` says. Its standard input is its socket."""

import gc
import os
import socket
import time
from collections.abc import Callable
from typing import NoReturn

from winnow.training.fork_messages import Check, Checked, Refused
from winnow.training.fork_server import ForkServer


def check(_asked: Check, show: Callable[[str], None]) -> Checked | Refused:
    show("the first part")
    if "REFUSES" in os.environ:
        return Refused("data.source", "a file", "none", "Write one.", missing_key="NAME")
    return Checked("f1", "maximize", "classification", 5, "stratified", "rows", 569, "a" * 64)


def be_rank(environment: dict[str, str]) -> NoReturn:
    assert environment.items() <= os.environ.items()
    assert gc.isenabled()
    match environment["DO"].split():
        case ["end", code]:
            os._exit(int(code))
        case ["fail", rank, code] if environment["RANK"] == rank:
            os._exit(int(code))
        case ["say", name]:
            print(environment[name], flush=True)
            os._exit(0)
    time.sleep(60)
    os._exit(0)


def main() -> None:
    gc.disable()  # as the real one
    ForkServer(
        socket.socket(fileno=os.dup(0)), check, lambda _environment: None, lambda: os.environ.get("CANNOT"), be_rank
    ).serve()


if __name__ == "__main__":
    main()
