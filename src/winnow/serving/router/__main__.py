"""`python -m winnow.serving.router`: one router process. Its route is in `WINNOW_ROUTER`."""

from __future__ import annotations

import argparse
import dataclasses
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from winnow.config import error_reports
from winnow.serving import settings as serving_settings
from winnow.serving.router import settings
from winnow.serving.settings import SettingError


def main(arguments: Sequence[str] | None = None) -> int:
    """Route until stopped; 0 after an orderly stop, 2 for wrong arguments."""
    given = _parser().parse_args(arguments)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    try:
        limits = serving_settings.from_environment()
        router = settings.from_environment()
    except SettingError as error:
        return _fail(error)
    if given.settle_s is not None:
        limits = dataclasses.replace(limits, settle_s=given.settle_s)
    if silent := error_reports.start(os.environ, {"part": "router", "deployment": router.router.name}):
        logging.getLogger("winnow.serving").warning(silent)
    from winnow.serving.listening import Listening, PortTakenError
    from winnow.serving.router.server import run

    listening = Listening(given.host, given.port, given.fd, given.door_fd, given.ready_file)
    try:
        run(router, listening, Listening(given.control_host, given.control_port), limits)
    except PortTakenError as error:
        return _fail(error)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m winnow.serving.router",
        description="Divide requests between two revisions of a deployment. WINNOW_ROUTER has the route as JSON "
        "(winnow.routing.RouterSettings), WINNOW_ROUTER_TOKEN the token for POST /renew; limits are the server's.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0 finds a free one (default)")
    parser.add_argument("--control-host", default="127.0.0.1", help="address for renewals and metrics")
    parser.add_argument("--control-port", type=int, default=0, help="its port; 0 finds a free one (default)")
    parser.add_argument("--fd", type=int, metavar="N", help="inherited, bound socket instead of host and port")
    parser.add_argument("--door-fd", type=int, metavar="N", help="inherited Unix socket that passes the other one on")
    parser.add_argument("--ready-file", type=Path, metavar="FILE", help="written with pid, ports and URL when ready")
    parser.add_argument("--settle-s", type=float, metavar="S", help="seconds to go on answering after SIGTERM")
    return parser


def _fail(error: Exception) -> int:
    print(f"error: {error}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
