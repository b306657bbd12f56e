"""TLS contexts out of PEM data."""

from __future__ import annotations

import ssl
import tempfile


def client_context(ca: bytes | None, *, verify: bool = True) -> ssl.SSLContext:
    """Return a context that trusts ``ca`` (None: what the system trusts); ``ValueError`` if bad."""
    try:
        context = ssl.create_default_context(cadata=ca.decode("ascii") if ca else None)
    except (ssl.SSLError, ValueError) as error:
        raise ValueError(f"holds no certificate in PEM form ({error})") from error
    # Python 3.13 asks for extensions that many clusters' own CAs do not have.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def add_client_certificate(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    """Present a client certificate; ``ValueError`` if it and its key are no pair."""
    # The ssl module reads certificates from files only.
    with tempfile.NamedTemporaryFile() as file:  # made with mode 0600, removed at once
        file.write(certificate + b"\n" + key)
        file.flush()
        try:
            context.load_cert_chain(file.name, password="")  # never ask a terminal
        except (ssl.SSLError, ValueError) as error:
            raise ValueError(f"is no certificate with its private key ({error})") from error
