"""What is served, on which platform: find deployments, and see whether their addresses lead to them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from winnow.config.errors import InputError, UnreachableError, WinnowError
from winnow.config.settings import Settings
from winnow.platforms.deployer import Deployer, Deployment, Say, UnknownDeploymentError, mute
from winnow.platforms.readiness import ASKED_WITHIN_S, NoModelError, model_at
from winnow.platforms.table import all_platforms, platform_for


@dataclass(frozen=True)
class FoundDeployment:
    """A deployment, and the platform that serves it."""

    platform: str
    deployment: Deployment


def deployer_for(platform: str, settings: Settings, *, say: Say = mute) -> Deployer[Any]:
    """The deployer of a platform. It contacts nothing before it is asked something.

    Args:
        say: receives lines about a change while the change lasts.

    Raises:
        InputError: there is no such platform, or it is not configured.
    """
    return platform_for(platform, settings).deployer(say=say)


def answering_deployers(
    settings: Settings,
    platform: str | None = None,
    *,
    say: Say = mute,
    on_away: Callable[[str, WinnowError], object] | None = None,
) -> dict[str, Deployer[Any]]:
    """The deployers that answer, by platform; with `platform`, that one alone.

    Without `platform`, a remote platform is asked only where it is in use or has deployments of this home: a
    kubeconfig alone may be there for something else.

    Args:
        say: receives lines about a change while a deployer makes it.
        on_away: is called with a remote platform that does not answer, and why: it may well serve something.

    Raises:
        InputError, UnreachableError: the named platform does not answer.
    """
    found = {}
    for each in all_platforms(settings) if platform is None else (platform_for(platform, settings),):
        is_used = each.is_in_use or each.has_deployments
        if platform is None and each.capabilities.is_remote and not is_used:
            continue
        try:
            deployer = each.deployer(say=say)
            deployer.names()
        except (InputError, UnreachableError) as error:
            if platform is not None:
                raise
            if each.capabilities.is_remote and on_away is not None:
                on_away(each.name, error)
            continue
        found[each.name] = deployer
    return found


def find_deployment(
    deployers: Mapping[str, Deployer[Any]], name: str | None, command: Callable[[str, str | None], str]
) -> tuple[str, str]:
    """The platform and the name of the one deployment that is meant.

    Args:
        deployers: by platform.
        name: None means the only deployment that there is.
        command: gives the command that means one deployment, from its name and, where the name is not enough, its
            platform.

    Raises:
        UnknownDeploymentError: nothing of that name is served, or nothing at all.
        InputError: several are meant; it lists the command for each.
    """
    known = [(platform, each) for platform, deployer in deployers.items() for each in deployer.names()]
    found = [(platform, each) for platform, each in known if name in (None, each)]
    if not found:
        raise UnknownDeploymentError(name, sorted({each for _, each in known}))
    if len(found) == 1:
        return found[0]
    count = Counter(each for _, each in found)
    commands = [command(each, platform if count[each] > 1 else None) for platform, each in found]
    raise InputError(
        "deployments" if name is None else f"deployment '{name}'",
        expected="one, since none is named" if name is None else "one platform that serves it",
        found=f"{len(found)}: {', '.join(f'{each} ({platform})' for platform, each in found)}",
        remedy="\n  ".join(("Say which is meant:", *commands)),
    )


def list_deployments(deployers: Mapping[str, Deployer[Any]], name: str | None = None) -> list[FoundDeployment]:
    """All deployments, of one name or of any.

    Args:
        deployers: by platform.

    Raises:
        UnknownDeploymentError: a name was given, and nothing of that name is served.
    """
    names = {platform: deployer.names() for platform, deployer in deployers.items()}
    known = sorted({each for served in names.values() for each in served})
    if name is not None and name not in known:
        raise UnknownDeploymentError(name, known)
    return [
        FoundDeployment(platform, deployer.status(each))
        for platform, deployer in deployers.items()
        for each in names[platform]
        if name is None or each == name
    ]


def other_answer(deployment: Deployment) -> str:
    """What answers at a deployment's address in place of its model, asked once; empty where the model itself does."""
    try:
        found = model_at(deployment.url, timeout_s=ASKED_WITHIN_S)
    except NoModelError as error:
        return f"no model answers there ({error})"
    return "" if found.is_of(deployment.release) else f"{found} answers there"
