"""One router process: it waits for stable, listens, and stops as the model's server does."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys

from uvicorn.server import ServerState

from winnow.routing import RouterSettings
from winnow.serving.connections import Connections, most_connections
from winnow.serving.draining import DrainingServer, config_of
from winnow.serving.listening import Door, Listening, open_listener
from winnow.serving.router.app import RouterApp
from winnow.serving.router.control import ControlApp
from winnow.serving.settings import ServingSettings

log = logging.getLogger("winnow.serving")

LONGEST_S = 60.0
"""Age from which clients are asked to close a connection, so that services before the routers choose another one."""
LOOK_S = 0.05
CONTROL_CONNECTIONS = 32


def run(
    router: RouterSettings, token: bytes, listening: Listening, control: Listening, settings: ServingSettings
) -> None:
    """Route requests until SIGTERM or SIGINT.

    Raises PortTakenError where one of the addresses cannot be listened on.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # as process 1 of a container nothing happens by itself
    listener, control_listener = open_listener(listening), open_listener(control)
    host, port = listener.getsockname()[:2]
    control_port = control_listener.getsockname()[1]
    app = RouterApp(router, settings)

    def on_listening() -> None:
        log.info("routing at http://%s:%d, controlled at port %d", host, port, control_port)
        listening.report_ready(host, port, control_port=control_port)

    # Each request of a client may need a connection to a replica as well.
    most = max(most_connections(2 * settings.max_connections) // 2, 1)
    connections = Connections(app, settings, most, longest_s=LONGEST_S)
    config = config_of(connections, settings.drain_s, has_date=False)
    controls = Connections(ControlApp(app, router.route, token), settings, CONTROL_CONNECTIONS)
    door = Door(listening.door_fd, listener)
    server = _RoutingServer(config, connections, settings.settle_s, on_listening, door)
    server.control(controls, control_listener)
    server.run([listener])


class _RoutingServer(DrainingServer):
    """A draining server that first waits for stable, and has a second address."""

    def control(self, connections: Connections, listener: socket.socket) -> None:
        """Set the second address; it answers from before the first does until the process ends."""
        self._control = connections, listener

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open the control address, wait until stable is ready, and listen."""
        loop = asyncio.get_running_loop()
        connections, listener = self._control
        config = config_of(connections, 1)
        config.load()
        state = ServerState()
        await loop.create_server(lambda: connections.protocol(config, state, {}, loop), sock=listener)
        connections.sweep_repeatedly(loop)
        app = self._connections.app
        assert isinstance(app, RouterApp)
        log.info("waiting until the stable revision is ready")
        while not self.should_exit and not await app.is_ready():
            await asyncio.sleep(LOOK_S)
        if not self.should_exit:
            await super().startup(sockets)
