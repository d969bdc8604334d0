"""What only reads, and is offered alike by the server's listeners and by the data plane."""

from __future__ import annotations

from grpc_health.v1 import health_pb2

from policy_service.config import Config
from policy_service.domain.source import PolicySource
from policy_service.envoy_v3 import external_auth_pb2
from policy_service.ext_authz.service import AuthorizationService
from policy_service.ext_authz.settings import Settings, read_settings
from policy_service.listeners import read_file
from policy_service.services.access import AccessService
from policy_service.services.auth import Permission
from policy_service.services.unary import Offer
from policy_service.v1 import access_pb2

ACCESS = access_pb2.DESCRIPTOR.services_by_name["AccessService"]
AUTHORIZATION = external_auth_pb2.DESCRIPTOR.services_by_name["Authorization"]
HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"]
READ_SERVICES = (ACCESS.full_name, AUTHORIZATION.full_name)


class Reads:
    """The services that read, from a source of the policy."""

    def __init__(self, source: PolicySource, settings: Settings) -> None:
        authorization = AuthorizationService(source, settings)
        self.close = authorization.close
        self.max_message_bytes = authorization.max_message_bytes
        self.offers = (
            Offer(ACCESS, AccessService(source), Permission.CHECK),
            Offer(
                AUTHORIZATION,
                authorization,
                Permission.CHECK,
                self.max_message_bytes,
                authorization.answer_to_undecodable,
            ),
        )


def read_ext_authz(config: Config) -> Settings:
    """The configuration of ext_authz. Raises StartupError."""
    path = config.ext_authz_config
    if path is None:
        return Settings()
    return read_settings(read_file(path, "--ext-authz-config").decode(errors="replace"), str(path))
