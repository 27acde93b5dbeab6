"""Every error this project raises on purpose. The class says what the caller does next.

ReleaseError
├─ Transient     ask again              the task retries with backoff and jitter
│  └─ StillStarting  a revision is not ready yet    asked again; in the end the release is reverted
├─ Conflict      the world moved        re-read, re-decide; never a blind retry
│  └─ Overwritten   our write was accepted, and another replaced it before it was seen
├─ Fenced        a newer epoch holds    stop at once, touch nothing
├─ OutOfBandChange   another person or tool changed it   leave that service, take the rest back
├─ Refused       we may not or cannot   no retry; a person; says which permission, field or limit
│  ├─ Gone          it does not exist, by Google's own word
│  ├─ Held          another release holds a service   Duplicate or Refused, naming who holds what
│  ├─ StartFailed   a revision did not become ready   the release is reverted
│  └─ SmokeFailed   a smoke test saw something wrong  the release is reverted
├─ Unfinished    a lease could not be ended         Failed, a person was paged; recovery tries again
├─ BadRequest    the request is wrong   stops before any write; names every field that is wrong
└─ NoData        the query is empty     not the canary's fault: INCONCLUSIVE
"""

from collections.abc import Sequence

from playbook.text import MESSAGE_MAX, clean

PROBLEMS_MAX = 100


class ReleaseError(Exception):
    """The root: a sentence that names the service, what was asked, what came and the next step.

    The sentence is clean and not longer than `MESSAGE_MAX`, whatever a vendor said.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(clean(message, MESSAGE_MAX))

    done_before: str = ""
    """What its run has done before it, for the message about how it ended; empty: nothing was touched."""


class Transient(ReleaseError):
    """The other side was away, slow or busy. Asking again is safe."""


class StillStarting(Transient):
    """A revision that was asked for is not ready yet."""


class Conflict(ReleaseError):
    """The service changed between our read and our write. Nothing was written."""


class Overwritten(Conflict):
    """What was written was replaced by another person or tool before it was seen in effect."""

    done_before = "It was written, and replaced right after."


class Fenced(ReleaseError):
    """A newer epoch holds the lease. The run that gets this stops at once and writes nothing more."""


class OutOfBandChange(ReleaseError):
    """A person or another tool changed a service of this release."""

    def __init__(self, message: str, *, service: str) -> None:
        super().__init__(message)
        self.service = service


class Refused(ReleaseError):
    """The other side will not do it, however often it is asked."""


class Gone(Refused):
    """What was asked for does not exist, by the word of Google itself and not of something between."""


class Held(Refused):
    """Another release, ``holder``, has the service. ``is_same``: it is one of the very version that was asked for."""

    def __init__(self, message: str, *, is_same: bool, holder: str = "") -> None:
        super().__init__(message)
        self.is_same = is_same
        self.holder = holder


class StartFailed(Refused):
    """A revision did not start. Traffic never reached it; the old revision goes on serving."""


class SmokeFailed(Refused):
    """A revision answered a smoke test, and the answer is wrong."""


class Unfinished(ReleaseError):
    """Users could not be moved back everywhere, or a lease is still held. Recovery tries again."""


class BadRequest(ReleaseError):
    """The request is wrong. ``problems`` holds one line for each field, ready to be shown."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = tuple(clean(problem, MESSAGE_MAX) for problem in problems[:PROBLEMS_MAX])
        super().__init__(_joined(self.problems))


def _joined(problems: Sequence[str]) -> str:
    text = ""
    for problem in problems:
        text += f"{'' if not text else ' ' if text.endswith(('.', '?')) else '; '}{problem}"
    return text


class NoData(ReleaseError):
    """A query gave nothing, or nothing finite. It says nothing about the canary."""
