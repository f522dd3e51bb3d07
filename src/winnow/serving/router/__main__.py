"""`python -m winnow.serving.router`: one router process. Its route is in `WINNOW_ROUTER`."""

from __future__ import annotations

import argparse
import dataclasses
import logging
import os
import sys
from collections.abc import Sequence

from winnow.config import error_reports
from winnow.serving import listening
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
    if silent := error_reports.start(os.environ, {"part": "router", "deployment": router[0].name}):
        logging.getLogger("winnow.serving").warning(silent)
    from winnow.serving.router.server import run

    try:
        control = listening.Listening(given.control_host, given.control_port)
        run(*router, listening.listening_in(given), control, limits)
    except listening.PortTakenError as error:
        return _fail(error)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m winnow.serving.router",
        description="Divide requests between two revisions of a deployment. WINNOW_ROUTER has the route as JSON "
        "(winnow.routing.RouterSettings), WINNOW_ROUTER_TOKEN the token for POST /renew; limits are the server's.",
    )
    listening.add_arguments(parser)
    parser.add_argument("--control-host", default="127.0.0.1", help="address for renewals and metrics")
    parser.add_argument("--control-port", type=int, default=0, help="its port; 0 finds a free one (default)")
    return parser


def _fail(error: Exception) -> int:
    print(f"error: {error}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
