"""The client's certificate, as Envoy hands it on after it has verified it."""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import unquote_to_bytes

from cryptography import x509

HEADER = b"x-forwarded-client-cert"  # one that a client sends, Envoy takes away
_CERTIFICATE = re.compile(rb'(?:^|;)Cert="([^"]*)"(?:;|$)')


@lru_cache(maxsize=1_024)
def names_of(header: bytes) -> tuple[str, ...]:
    """The subject's alternative names in the certificate, as texts. None when there is no certificate in the header, or
    none that can be read."""
    found = _CERTIFICATE.findall(header)
    if len(found) != 1:
        return ()
    try:
        certificate = x509.load_pem_x509_certificate(unquote_to_bytes(found[0]))
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension):
        return ()
    kinds = (x509.DNSName, x509.UniformResourceIdentifier, x509.RFC822Name, x509.IPAddress)
    return tuple(str(name.value) for name in names if isinstance(name, kinds))
