"""Reports of unforeseen errors to Sentry, where SENTRY_DSN names one. Without it, nothing is imported.

A report says which kind of error was raised where: the stack without local variables, the logged line, and whose
process it was. The error's own text stays in the process's log, since it may quote a request or a row; so do
requests, arguments and breadcrumbs.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import TYPE_CHECKING

from winnow.config.version import __version__

if TYPE_CHECKING:
    from sentry_sdk.types import Event, Hint

DSN = "SENTRY_DSN"
SEND_WITHIN_S = 2.0
"""How long an ending process waits until its last reports are sent."""


def start(environment: Mapping[str, str], tags: Mapping[str, str]) -> str:
    """Report errors from now on: exceptions that end the process or a thread, and log lines of level ERROR.

    Args:
        tags: whose errors they are, such as `{"part": "replica", "version": "3"}`.

    Returns:
        Why nothing will be reported although SENTRY_DSN is set; else empty. A report is never worth a failed start.
    """
    dsn = environment.get(DSN)
    if not dsn:
        return ""
    if importlib.util.find_spec("sentry_sdk") is None:
        return (
            f"{DSN} is set, but the package sentry-sdk is missing: errors are not reported. Install winnow[sentry]; "
            f"for an image, set {DSN} where it is built."
        )
    import sentry_sdk
    from sentry_sdk.integrations.atexit import AtexitIntegration
    from sentry_sdk.integrations.dedupe import DedupeIntegration
    from sentry_sdk.integrations.excepthook import ExcepthookIntegration
    from sentry_sdk.integrations.logging import LoggingIntegration
    from sentry_sdk.integrations.threading import ThreadingIntegration

    try:
        sentry_sdk.init(
            dsn,
            release=f"winnow@{__version__}",
            default_integrations=False,
            integrations=[
                AtexitIntegration(callback=lambda _pending, _timeout_s: None),
                DedupeIntegration(),
                ExcepthookIntegration(),
                LoggingIntegration(level=None),
                ThreadingIntegration(),
            ],
            auto_enabling_integrations=False,
            include_local_variables=False,
            max_request_body_size="never",
            max_breadcrumbs=0,
            auto_session_tracking=False,
            shutdown_timeout=SEND_WITHIN_S,
            before_send=_without_values,
        )
    except sentry_sdk.utils.BadDsn as error:
        return f"{DSN} is no address of a Sentry project ({error}): errors are not reported."
    sentry_sdk.get_global_scope().set_tags(dict(tags))
    return ""


def _without_values(event: Event, _hint: Hint) -> Event:
    """The event without the texts of its exceptions."""
    for each in event.get("exception", {}).get("values", ()):
        each["value"] = ""
    return event
