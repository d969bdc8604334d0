"""The expected failures of the service, named by condition. Nothing here knows gRPC: services/status.py maps them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Violation(NamedTuple):
    """One thing wrong with a request: `field` is a path into it, `description` says what to change."""

    field: str
    description: str


class PolicyError(Exception):
    """An expected failure. `reason` is stable and machine-readable, the message is for people."""

    reason = "POLICY_ERROR"


class InvalidArgument(PolicyError):
    """The request breaks a rule of the contract, whatever the state. Lists every violation found."""

    reason = "INVALID_ARGUMENT"

    def __init__(self, violations: Sequence[Violation]) -> None:
        self.violations = tuple(violations)
        super().__init__("; ".join(f"{v.field}: {v.description}" if v.field else v.description for v in violations))


class RequestIdReused(InvalidArgument):
    """The request_id was used for another request of the same RPC."""

    reason = "REQUEST_ID_REUSED"

    def __init__(self) -> None:
        super().__init__(
            [Violation("request_id", "was used for another request; send a new id, or the same request to retry")]
        )


class NotFound(PolicyError):
    """No such team, member, group, model or service. `kind` is one of these words."""

    def __init__(self, kind: str, name: str) -> None:
        self.kind, self.name = kind, name
        self.reason = f"{kind.upper()}_NOT_FOUND"
        super().__init__(f"there is no {kind} {name!r}")


class AlreadyExists(PolicyError):
    """One or more records of this kind exist already. With several, `fields` says which of the request's items."""

    def __init__(self, kind: str, names: Sequence[str], fields: Sequence[str] = ()) -> None:
        self.kind, self.names = kind, tuple(names)
        self.fields = tuple(fields)
        self.reason = f"{kind.upper()}_EXISTS"
        shown = ", ".join(repr(name) for name in names[:10]) + (", ..." if len(names) > 10 else "")
        super().__init__(f"{kind} {shown} exists already; update it instead")


class PreconditionFailed(PolicyError):
    """The request is well formed, but the state forbids it. `subject` names what stands in the way."""

    def __init__(self, reason: str, subject: str, description: str) -> None:
        self.reason, self.subject, self.description = reason, subject, description
        super().__init__(description)


class RevisionNotReached(PreconditionFailed):
    """`at_least_revision` names a revision that this server has not reached. Carries the one it is at."""

    def __init__(self, wanted: str, current: str) -> None:
        self.current = current
        super().__init__(
            "REVISION_NOT_REACHED",
            wanted,
            f"at_least_revision {wanted!r} is not reached; this server is at {current!r}",
        )


class EtagMismatch(PolicyError):
    """The resource changed since the caller read it."""

    reason = "ETAG_MISMATCH"

    def __init__(self, kind: str, name: str) -> None:
        self.kind, self.name = kind, name
        super().__init__(f"{kind} {name!r} has changed since the etag was read; read it again and repeat the change")


class Unauthenticated(PolicyError):
    """The caller shows no credential, or one that is not known."""

    reason = "UNAUTHENTICATED"


class PermissionDenied(PolicyError):
    """The principal lacks the permission."""

    reason = "PERMISSION_DENIED"


class Unavailable(PolicyError):
    """The service cannot do this now; nothing was changed, and a retry may succeed."""

    reason = "UNAVAILABLE"


class MessageTooLarge(PolicyError):
    """The request is larger than a request of its kind may be."""

    reason = "MESSAGE_TOO_LARGE"


class TooSlow(PolicyError):
    """A follower does not read what it is sent."""

    reason = "TOO_SLOW"


class TooManyWatchers(PolicyError):
    """As many followers watch as are served at once."""

    reason = "TOO_MANY_WATCHERS"


class FeedUnavailable(PolicyError):
    """Where the policy comes from cannot be reached, or does not answer as it should."""

    reason = "FEED_UNAVAILABLE"


class RevisionCompacted(PolicyError):
    """The log does not go on from a follower's position; it needs a snapshot."""

    reason = "REVISION_COMPACTED"


class Malformed(PolicyError):
    """What came over a feed or from a file does not decode."""

    reason = "MALFORMED"


class Untrusted(PolicyError):
    """What came over a feed or from a file is not signed as it has to be, or goes back to what was before."""

    reason = "UNTRUSTED"


class UnknownFormat(PolicyError):
    """What came over a feed is in a format newer than this program knows."""

    reason = "UNKNOWN_FORMAT"


class ForeignEpoch(PolicyError):
    """What came over a feed is of another lineage, and nobody says that it replaces this one."""

    reason = "FOREIGN_EPOCH"


class DigestMismatch(PolicyError):
    """The state is not what the authority says it should be at this revision."""

    reason = "DIGEST_MISMATCH"


class StartupError(PolicyError):
    """The service cannot start as it is configured; the message says what to change."""

    reason = "STARTUP_ERROR"


class DatabaseError(StartupError):
    """The database cannot be used: in use, too new, damaged or not ours."""

    reason = "DATABASE_ERROR"
