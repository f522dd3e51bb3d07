"""Errors that a user can cause.

Every message has four parts: the place, what was expected there, what was found, and the remedy. The command line
prints the message without a traceback and exits with `exit_code`. Bugs of winnow stay ordinary exceptions.
"""

from winnow.config.exit_codes import CommandExit


class WinnowError(Exception):
    """An error with a message for the user; the command line exits with `exit_code`."""

    exit_code: int = CommandExit.FAILED

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows in place of a traceback: the message says what to do."""
        return [f"{type(self).__name__}: {self}", *getattr(self, "__notes__", ())]


class UnreachableError(WinnowError):
    """A service does not answer now. It may answer later."""


class InputError(WinnowError):
    """Bad input: the user must change something before anything can start.

    Args:
        place: where it is, as exactly as possible ("experiments/x.yaml: training.epochs").
        expected: what would have been right ("an integer of at least 1").
        found: what is there ("'ten'").
        remedy: what to do, as a full sentence.
    """

    exit_code = CommandExit.REFUSED

    def __init__(self, place: str, *, expected: str, found: str, remedy: str) -> None:
        self.expected = expected
        self.found = found
        self.remedy = remedy
        super().__init__()
        self.move_to(place)

    def move_to(self, place: str) -> None:
        """Replace the place by a more exact one than the raising code knew."""
        self.place = place
        self.args = (f"{place}: expected {self.expected}, found {self.found}. {self.remedy}",)


class UnavailableError(InputError):
    """A platform is unavailable: its SDK is not installed, no engine answers, or no cluster is configured.

    Commands that only show a plan (`DRY_RUN=1`) continue without it.
    """
