"""Client library of Policy Service: asynchronous, typed, over gRPC.

    async with AccessClient("127.0.0.1:50051") as access:
        answer = await access.check("support", "sam@acme.example", "gpt-4o")

A gateway in Python can decide in its own process, from a policy that follows the authority:

    async with LocalPolicy("grpc://127.0.0.1:50051") as policy:
        await policy.wait_until_fresh(timeout_s=5)
        answer = await policy.check("support", "sam@acme.example", "gpt-4o")

Requests and answers are the generated messages of `policy_service.v1`. Whatever goes wrong in a call is a
PolicyClientError; a gateway may fail open when its `may_fail_open` is true, every other error is a deny.
"""

from policy_client.access import AccessClient, AccessibleModels
from policy_client.admin import AdminClient, MutationOptions
from policy_client.connection import TLS, RetryPolicy
from policy_client.errors import (
    Aborted,
    AlreadyExists,
    DeadlineExceeded,
    FieldViolation,
    Internal,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    PolicyClientError,
    PreconditionFailed,
    PreconditionViolation,
    Unauthenticated,
    Unavailable,
)
from policy_client.local import LocalPolicy

__all__ = [
    "TLS",
    "Aborted",
    "AccessClient",
    "AccessibleModels",
    "AdminClient",
    "AlreadyExists",
    "DeadlineExceeded",
    "FieldViolation",
    "Internal",
    "InvalidArgument",
    "LocalPolicy",
    "MutationOptions",
    "NotFound",
    "PermissionDenied",
    "PolicyClientError",
    "PreconditionFailed",
    "PreconditionViolation",
    "RetryPolicy",
    "Unauthenticated",
    "Unavailable",
]
