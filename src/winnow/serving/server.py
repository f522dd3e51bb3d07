"""One server process: it loads and checks the model, listens, and stops without losing a request.

The model is checked against its reference rows before the process listens; `draining` stops it, and exits with 0.
"""

from __future__ import annotations

import gc
import logging
import signal
import sys
import time
from pathlib import Path

from winnow.serving import codec
from winnow.serving.app import App
from winnow.serving.connections import Connections, most_connections
from winnow.serving.draining import DrainingServer, config_of
from winnow.serving.listening import Door, Listening, open_listener
from winnow.serving.predict_codec import PredictCodec
from winnow.serving.predictor import Predictor, WrongModelError
from winnow.serving.problems import ProblemError
from winnow.serving.request import ASGIApp
from winnow.serving.settings import ServingSettings

log = logging.getLogger("winnow.serving")


def run(
    bundle: Path, version: str | None, listening: Listening, settings: ServingSettings, *, digest: str = ""
) -> None:
    """Serve a bundle until SIGTERM or SIGINT.

    Raises as `load_app`, before anything was listened on; PortTakenError where the address cannot be listened on.
    """
    started = time.perf_counter()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # as process 1 of a container nothing happens by itself
    app = load_app(bundle, version, settings, digest=digest)
    gc.collect()
    gc.freeze()  # collections skip objects that live as long as the process
    listener = open_listener(listening)
    host, port = listener.getsockname()[:2]

    def on_listening() -> None:
        log.info("serving at http://%s:%d, ready after %.2f s", host, port, time.perf_counter() - started)
        listening.report_ready(host, port)

    connections = Connections(app, settings, most_connections(settings.max_connections))
    config = config_of(connections, settings.drain_s)
    door = Door(listening.door_fd, listener)
    DrainingServer(config, connections, settings.settle_s, on_listening, door).run([listener])
    app.close()


def load_app(bundle: Path, version: str | None, settings: ServingSettings, *, digest: str = "") -> App:
    """The application for a bundle, after it has answered the bundle's input example.

    Args:
        digest: that the bundle has to have; empty for any.

    Raises:
        WrongModelError: the bundle cannot be served.
        SettingError: what is to be logged cannot be.
    """
    predictor = Predictor(bundle, version, settings.max_rows)
    if digest and predictor.manifest.digest != digest:
        found = predictor.manifest
        raise WrongModelError(f"{bundle}: expected the model with sha256 {digest}, found {found.name}, {found.digest}")
    predict = PredictCodec(predictor.signature)
    try:
        request = predict.decode(predictor.example, codec.JSON)
        predict.encode(request, predictor.outputs(request.matrix), "warm-up")
    except ProblemError as error:
        raise WrongModelError(f"{bundle}: the input example is refused: {error.detail}") from error

    def make_admin() -> ASGIApp:
        from winnow.serving.admin import make_admin as make

        return make(predictor, settings)

    return App(predictor, settings, make_admin)
