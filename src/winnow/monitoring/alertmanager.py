"""The configuration of the Alertmanager that `monitoring-init` starts. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import yaml


def alertmanager_config(hooks: Sequence[str], token_file: str) -> str:
    """Group alerts by deployment, and post those that call for a rollback to `winnow serve-hooks`.

    Receivers for people (e-mail, chat, pagers) are added by a configuration of the user's own.

    Args:
        hooks: addresses of `serve-hooks`; all get every alert, and each acts on those of its deployment alone.
        token_file: where Alertmanager finds the bearer token of `serve-hooks`.
    """
    authorization = {"credentials_file": token_file}
    webhooks = [{"url": url, "send_resolved": False, "http_config": {"authorization": authorization}} for url in hooks]
    rollback = {
        "matchers": ['rollback="true"'],
        "receiver": "hooks",
        # A rollback does not wait for further alerts of its group. The next message tries a failed one again, such as
        # one that was refused because the update to the bad version was not over.
        "group_wait": "0s",
        "group_interval": "10s",
        "repeat_interval": "10s",
    }
    config = {
        "route": {
            "receiver": "none",
            "group_by": ["deployment", "alertname"],
            **({"routes": [rollback]} if hooks else {}),
        },
        "receivers": [{"name": "none"}, *([{"name": "hooks", "webhook_configs": webhooks}] if hooks else [])],
        # Where no replica answers, its absence explains the rest.
        "inhibit_rules": [
            {
                "source_matchers": ['alertname="WinnowNoReplica"'],
                "target_matchers": ['alertname=~"WinnowReplicaDown|WinnowNotScraped"'],
                "equal": ["deployment"],
            }
        ],
    }
    return yaml.safe_dump(config, sort_keys=False)
