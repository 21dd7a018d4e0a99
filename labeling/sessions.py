"""Who is logged in: sessions in memory, and a limit on wrong tokens.

A restart of the server ends every session; judgements are in the store, and what was typed but not
saved comes back after the next login. Writes no file. Time is seconds of any steady clock.
"""

from __future__ import annotations

import base64
import os
from collections import deque
from collections.abc import Callable

from labeling.annotations import Annotator

Clock = Callable[[], float]
LIFETIME_SECONDS = 12 * 3600.0  # a working day
MAX_SESSIONS = 8  # of one annotator; the oldest ends


class Sessions:
    """Session id -> annotator, until it ends."""

    def __init__(self, clock: Clock, lifetime_seconds: float = LIFETIME_SECONDS) -> None:
        self._clock = clock
        self._lifetime_seconds = lifetime_seconds
        self._sessions: dict[str, tuple[Annotator, float]] = {}

    def open(self, annotator: Annotator) -> str:
        """Return a new session's id: 32 random bytes, in base64."""
        now = self._clock()
        self._sessions = {key: kept for key, kept in self._sessions.items() if kept[1] > now}
        own = [key for key, kept in self._sessions.items() if kept[0] == annotator]
        for key in own[: max(0, len(own) - MAX_SESSIONS + 1)]:
            del self._sessions[key]
        session_id = base64.urlsafe_b64encode(os.urandom(32)).decode().rstrip("=")
        self._sessions[session_id] = annotator, now + self._lifetime_seconds
        return session_id

    def find(self, session_id: str) -> Annotator | None:
        """Return whose session it is; None where it has ended, or never was."""
        annotator, ends = self._sessions.get(session_id, (None, 0.0))
        return annotator if ends > self._clock() else None

    def close(self, session_id: str) -> None:
        """End a session, if there is such a one."""
        self._sessions.pop(session_id, None)


class FailureLimit:
    """At most so many failures in a stretch of time by one client; after that, wait.

    >>> now = [0.0]
    >>> limit = FailureLimit(lambda: now[0], max_failures=2, within_seconds=60)
    >>> limit.record("::1"); now[0] = 5; limit.record("::1")
    >>> limit.seconds_to_wait("::1"), limit.seconds_to_wait("::2")
    (55.0, 0.0)
    """

    def __init__(
        self, clock: Clock, *, max_failures: int = 10, within_seconds: float = 300
    ) -> None:
        self._clock = clock
        self._max_failures, self._within_seconds = max_failures, within_seconds
        self._failures: dict[str, deque[float]] = {}

    def record(self, client: str) -> None:
        """Count one failure."""
        times = self._failures.pop(client, deque(maxlen=self._max_failures))
        times.append(self._clock())
        self._failures[client] = times  # newest last
        if len(self._failures) > 10_000:  # nobody can fill the memory with addresses
            del self._failures[next(iter(self._failures))]

    def seconds_to_wait(self, client: str) -> float:
        """Return how long the client is refused yet; 0.0: it may try."""
        times = self._failures.get(client, deque())
        if len(times) < self._max_failures:
            return 0.0
        return max(0.0, times[0] + self._within_seconds - self._clock())
