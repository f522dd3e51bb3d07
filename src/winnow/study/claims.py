"""Claims in the study database: what one process at a time may do, also of several machines that share the database."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import sqlalchemy as sa

from winnow.config.errors import InputError
from winnow.study.database import Database
from winnow.study.tables import claims

TTL_S = 120.0
"""How long a claim outlasts the death of its holder."""


class ClaimLostError(Exception):
    """The claim ran out, because the database did not answer its holder, and another process has it now."""


@dataclass(frozen=True)
class Claim:
    """A claim that is held, or the owner of the one that is in the way.

    Attributes:
        other: who holds it; None where this process does.
    """

    other: str | None
    _lost: threading.Event = field(default_factory=threading.Event)

    def check(self) -> None:
        """Raise ClaimLostError if another process has taken the claim meanwhile."""
        if self._lost.is_set():
            raise ClaimLostError


@contextlib.contextmanager
def claimed(database: Database, name: str, owner: str, *, ttl_s: float = TTL_S) -> Iterator[Claim]:
    """Claim `name` and hold it until the context closes, if it is free.

    Args:
        database: opened with `create=True`.
        owner: of the processes of an owner, one at a time calls this: a claim that it left is taken again at once.
    """
    other = _take(database, name, owner, ttl_s)
    claim = Claim(other)
    if other is not None:
        yield claim
        return
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(ttl_s / 4):
            # A database that is away may be back before the claim runs out.
            with contextlib.suppress(sa.exc.SQLAlchemyError, InputError):
                if _take(database, name, owner, ttl_s) is not None:
                    claim._lost.set()
                    return

    thread = threading.Thread(target=renew, name=f"claim {name}", daemon=True)
    thread.start()
    try:
        yield claim
    finally:
        ended.set()
        thread.join()
        # A database that is away must not hide an error; the claim then runs out.
        with contextlib.suppress(sa.exc.SQLAlchemyError, InputError), database.writing() as connection:
            connection.execute(sa.delete(claims).where(claims.c.name == name, claims.c.owner == owner))


def _take(database: Database, name: str, owner: str, ttl_s: float) -> str | None:
    """Take or renew a claim; return who else holds it."""
    try:
        return _try(database, name, owner, ttl_s)
    except sa.exc.IntegrityError:  # another process inserted the row meanwhile
        return _try(database, name, owner, ttl_s)


def _try(database: Database, name: str, owner: str, ttl_s: float) -> str | None:
    with database.writing() as connection:
        row = connection.execute(sa.select(claims).where(claims.c.name == name).with_for_update()).one_or_none()
        now = database.now(connection)
        if row is not None and row.owner != owner and row.expires_at > now:
            return str(row.owner)
        values = {"owner": owner, "expires_at": now + ttl_s}
        if row is None:
            connection.execute(sa.insert(claims).values(name=name, **values))
        else:
            connection.execute(sa.update(claims).where(claims.c.name == name).values(values))
        return None
