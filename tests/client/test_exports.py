"""What the library is to its users: its names."""

from __future__ import annotations

import re
from types import ModuleType

import policy_client
from policy_service.v1 import access_pb2, admin_pb2

NAMES = {
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
}


def test_the_exported_names_are_these_and_no_others() -> None:
    public = {
        name
        for name, value in vars(policy_client).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    assert set(policy_client.__all__) == public == NAMES


def test_the_exported_names_say_that_they_are_the_librarys() -> None:
    for name in NAMES:
        assert getattr(policy_client, name).__module__.startswith("policy_client.")


def test_the_admin_client_has_every_rpc() -> None:
    rpcs = admin_pb2.DESCRIPTOR.services_by_name["AdminService"].methods
    names = {re.sub(r"(?<!^)(?=[A-Z])", "_", rpc.name).lower() for rpc in rpcs}
    assert len(names) == 20
    assert names == _methods(policy_client.AdminClient)


def test_the_access_client_has_every_rpc() -> None:
    rpcs = access_pb2.DESCRIPTOR.services_by_name["AccessService"].methods
    assert len(rpcs) == 4
    assert _methods(policy_client.AccessClient) == {"check", "batch_check", "list_accessible_models", "explain"}


def _methods(client: type) -> set[str]:
    return {name for name in vars(client) if not name.startswith("_")} - {"close"}
