"""What a router is given at its start, by its environment. Its limits are the server's (`winnow.serving.settings`)."""

from __future__ import annotations

import os
from collections.abc import Mapping

import msgspec

from winnow.routing import RouterSettings
from winnow.serving.settings import SettingError

SETTINGS = "WINNOW_ROUTER"
TOKEN = "WINNOW_ROUTER_TOKEN"


def from_environment(environment: Mapping[str, str] = os.environ) -> tuple[RouterSettings, bytes]:
    """A router's route, and the token of those who may renew its lease.

    Raises SettingError where a variable is missing or has a wrong value.
    """
    token = environment.get(TOKEN, "").strip().encode()
    if not token:
        raise SettingError(TOKEN, "a secret text", "none")
    text = environment.get(SETTINGS, "")
    if not text:
        raise SettingError(SETTINGS, "the router's settings as JSON", "none")
    try:
        router = msgspec.json.decode(text, type=RouterSettings)
    except ValueError as error:
        raise SettingError(SETTINGS, "the router's settings as JSON", f"other content ({error})") from error
    for address in (*router.stable, *router.candidate):
        if not address.rpartition(":")[0] or not address.rpartition(":")[2].isdigit():
            raise SettingError(SETTINGS, "addresses HOST:PORT", repr(address))
    if not router.stable:
        raise SettingError(SETTINGS, "an address of the stable revision", "none")
    if router.route.candidate is not None and not router.candidate:
        raise SettingError(SETTINGS, "an address of the candidate", "none")
    for name, share in (("weight", router.route.weight), ("mirror", router.route.mirror)):
        if not 0 <= share <= 1:
            raise SettingError(SETTINGS, f"a {name} from 0 to 1", f"{share:g}")
    return router, token
