"""Addresses that a server listens on: bound, with TLS where that is configured."""

from __future__ import annotations

import os
import socket
import ssl
from pathlib import Path

import grpc

from policy_service.addresses import Address
from policy_service.config import Config
from policy_service.errors import StartupError


def bind(server: grpc.aio.Server, address: Address, config: Config) -> str:
    """Returns the address with the port that was chosen."""
    if address.is_unix and _is_served(address.text.removeprefix("unix:")):
        raise StartupError(f"cannot listen on {address.text}: the address is in use")  # grpc would take it over
    mask = os.umask(0o177)  # a Unix socket is its owner's alone from its first moment
    try:
        if config.has_tls and not address.is_unix:
            port = server.add_secure_port(address.text, _tls(config))
        else:
            port = server.add_insecure_port(address.text)
    except RuntimeError:
        port = 0
    finally:
        os.umask(mask)
    if not port:
        raise StartupError(f"cannot listen on {address.text}: the address is in use or is not this machine's")
    return address.text if address.is_unix else f"{address.text.rpartition(':')[0]}:{port}"


def read_file(path: Path, option: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise StartupError(f"{option} {path}: {error.strerror}") from error


def _is_served(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except OSError:
            return False
        return True


def _tls(config: Config) -> grpc.ServerCredentials:
    assert config.tls_cert is not None and config.tls_key is not None  # noqa: S101, PT018 - Config checks it
    cert, key = read_file(config.tls_cert, "--tls-cert"), read_file(config.tls_key, "--tls-key")
    client_ca = None if config.tls_client_ca is None else read_file(config.tls_client_ca, "--tls-client-ca")
    _check_key_pair(config)
    return grpc.ssl_server_credentials([(key, cert)], client_ca, require_client_auth=client_ca is not None)


def _check_key_pair(config: Config) -> None:
    """grpc would only log that a certificate and a key do not fit."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(str(config.tls_cert), str(config.tls_key), password=_no_password)
        if config.tls_client_ca is not None:
            context.load_verify_locations(str(config.tls_client_ca))
    except (ssl.SSLError, ValueError) as error:
        raise StartupError(
            f"the TLS files {config.tls_cert}, {config.tls_key} and {config.tls_client_ca or 'no client CA'} are no "
            "PEM certificate, its unencrypted key and CA certificates; check that they belong together"
        ) from error


def _no_password() -> str:
    raise ValueError("the key is encrypted")
