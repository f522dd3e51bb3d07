"""The settings of a verb that works on runs and studies: the stores of a stack in use are made reachable from here.

Verbs that open neither store use `Settings.from_environment`, which contacts nothing.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from winnow.config.settings import Settings
from winnow.platforms.stack import ChoosePort, any_port
from winnow.platforms.table import platform_for


def current(environment: Mapping[str, str] = os.environ, *, choose_port: ChoosePort = any_port) -> Settings:
    """The settings, with addresses that answer on this machine.

    `choose_port`: picks the port to forward to MLflow, if the stack's own address does not answer here. Raises
    InputError if a setting is wrong, or the stack in use cannot be reached: kubectl points to another cluster, a
    permission is missing, or its secrets are gone; UnreachableError if that stack's cluster does not answer.
    """
    settings = Settings.from_environment(environment)
    if settings.stack is None:
        return settings
    return platform_for(settings.stack.platform, settings, environment).local_settings(choose_port)


def silent_stack(settings: Settings, environment: Mapping[str, str] = os.environ) -> str | None:
    """What to do about a stack in use that does not answer; None if it answers or none is in use."""
    if settings.stack is None:
        return None
    return platform_for(settings.stack.platform, settings, environment).silent_stack()
