"""The error about a command that fits several deployments. It imports little: every command knows it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from winnow.config.errors import InputError
from winnow.config.next_command import next_flag


class SeveralDeploymentsError(InputError):
    """Several deployments match.

    Args:
        name: the name that was given, if any.
        found: the platform and the name of each.
    """

    def __init__(self, name: str | None, found: Sequence[tuple[str, str]]) -> None:
        count = Counter(each for _, each in found)
        self.candidates = tuple((each, platform if count[each] > 1 else None) for platform, each in found)
        """The name of each, and its platform if the name is not enough."""
        super().__init__(
            "deployments" if name is None else f"deployment '{name}'",
            expected="one, since none is named" if name is None else "one platform that serves it",
            found=f"{len(found)}: {', '.join(f'{each} ({platform})' for platform, each in found)}",
            remedy="",
        )
        flags = [{"name": each, "platform": platform} for each, platform in self.candidates]
        self.suggest([" ".join(next_flag(key, value) for key, value in one.items() if value) for one in flags])

    def suggest(self, commands: Sequence[str]) -> None:
        """Name the command, or the flags, for each candidate."""
        self.remedy = "\n  ".join(("Choose one:", *commands))
        self.move_to(self.place)
