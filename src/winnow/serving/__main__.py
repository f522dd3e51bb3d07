"""`python -m winnow.serving --bundle DIR`: one server process. The entry point of images and deployers."""

from __future__ import annotations

import argparse
import dataclasses
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from winnow.config import error_reports
from winnow.serving import listening, settings
from winnow.serving.settings import SettingError


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until stopped; 0 after an orderly stop, 1 for a bundle that cannot be served, 2 for wrong arguments."""
    given = _parser().parse_args(arguments)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    # uvicorn warns of every request that is no HTTP, without saying which: a client could fill the log with it.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    access = logging.getLogger("winnow.serving.access")
    access.addHandler(logging.StreamHandler(sys.stdout))
    access.propagate = False
    try:
        chosen = settings.from_environment()
    except SettingError as error:
        return _fail(error, 2)
    if given.settle_s is not None:
        chosen = dataclasses.replace(chosen, settle_s=given.settle_s)
    if silent := error_reports.start(os.environ, {"part": "replica", "version": given.model_version or ""}):
        logging.getLogger("winnow.serving").warning(silent)
    # Late, so that wrong arguments are answered before ONNX Runtime is loaded.
    from winnow.serving.predictor import WrongModelError
    from winnow.serving.server import run

    try:
        where = listening.listening_in(given)
        run(given.bundle, given.model_version, where, chosen, digest=given.model_sha256)
    except WrongModelError as error:
        return _fail(error, 1)
    except (listening.PortTakenError, SettingError) as error:
        return _fail(error, 2)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m winnow.serving",
        description="Serve a model bundle over HTTP. Further settings are environment variables: WINNOW_API_KEY, "
        "WINNOW_API_KEY_FILE, and all others as JSON in WINNOW_SERVING or in the file WINNOW_SERVING_FILE, or one by "
        "one: WINNOW_MAX_BODY_BYTES, WINNOW_MAX_ROWS, WINNOW_MAX_HEADER_BYTES, WINNOW_MAX_CONNECTIONS, "
        "WINNOW_MAX_INFLIGHT_BYTES, WINNOW_HEADER_TIMEOUT_S, WINNOW_BODY_TIMEOUT_S, WINNOW_SETTLE_S, WINNOW_DRAIN_S, "
        "WINNOW_ACCESS_LOG.",
    )
    parser.add_argument("--bundle", type=Path, required=True, metavar="DIR", help="folder of the model bundle")
    parser.add_argument(
        "--model-version",
        metavar="V",
        default=os.environ.get("WINNOW_MODEL_VERSION") or None,
        help="version to show (default: $WINNOW_MODEL_VERSION, else the digest's first digits)",
    )
    parser.add_argument(
        "--model-sha256",
        metavar="DIGEST",
        default=os.environ.get("WINNOW_MODEL_SHA256", ""),
        help="serve no bundle but this one (default: $WINNOW_MODEL_SHA256, else any)",
    )
    listening.add_arguments(parser)
    return parser


def _fail(error: Exception, status: int) -> int:
    print(f"error: {error}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
