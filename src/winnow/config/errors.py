"""The errors a person can cause, and how they end the program.

Every message has four parts: the place, what was expected there, what was found, and the remedy. The command line
prints the message alone, without a traceback, and exits with `exit_code`. Faults of winnow itself stay ordinary
exceptions with their tracebacks.
"""

from winnow.config.exit_codes import CommandExit


class WinnowError(Exception):
    """An error with a message for a person; `exit_code` is the status the command line ends with."""

    exit_code: int = CommandExit.FAILED


class UnreachableError(WinnowError):
    """Something that was asked does not answer; it may again in a while."""


class InputError(WinnowError):
    """Bad input: something a person wrote, named or set has to change before anything is started.

    Args:
        place: where it is, as exactly as can be said ("experiments/x.yaml: training.epochs").
        expected: what would have been right ("an integer of at least 1").
        found: what stands there ("'ten'").
        remedy: what to do about it, a full sentence.
    """

    exit_code = CommandExit.REFUSED

    def __init__(self, place: str, *, expected: str, found: str, remedy: str) -> None:
        self.expected = expected
        self.found = found
        self.remedy = remedy
        super().__init__()
        self.move_to(place)

    def move_to(self, place: str) -> None:
        """Name the place more exactly than the code that raised the error could."""
        self.place = place
        self.args = (f"{place}: expected {self.expected}, found {self.found}. {self.remedy}",)


class UnavailableError(InputError):
    """A platform is not there: its SDK is not installed, no engine answers, or no cluster is configured.

    Verbs that only show a plan continue without it (`DRY_RUN=1`).
    """
