"""Makes the certificates of one cluster: an authority of its own, and all whom it signs for.

https://kubernetes.io/docs/setup/best-practices/certificates/
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from harness.clusters.embedded.addresses import (
    CONTROL_PLANE_ADDRESS,
    CONTROL_PLANE_ADDRESS6,
    SERVICE_NETWORK,
    SERVICE_NETWORK6,
    Address,
)
from harness.clusters.embedded.pki import Client, Pki

_LIFE = timedelta(days=365)
_SKEW = timedelta(hours=1)
_LOOPBACK = IPv4Address("127.0.0.1")
_API_SERVER_NAMES = (
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
)


def make(path: Path, nodes: Sequence[Address]) -> Pki:
    """Make every key and certificate of a cluster whose nodes have these addresses."""
    path.mkdir(mode=0o700)
    pki = Pki(path)
    authority = _Authority(pki)
    fabric = (
        _LOOPBACK,
        CONTROL_PLANE_ADDRESS,
        CONTROL_PLANE_ADDRESS6,
        SERVICE_NETWORK[1],
        SERVICE_NETWORK6[1],
    )
    authority.server("apiserver", "kube-apiserver", _API_SERVER_NAMES, fabric)
    authority.server("etcd", "etcd", ("localhost",), (_LOOPBACK,))
    authority.server("kubelet", "kubelet", (), nodes)
    for client in Client:
        authority.client(client)
    _make_account_keys(pki)
    return pki


class _Authority:
    """Signs the cluster's certificates."""

    def __init__(self, pki: Pki) -> None:
        self._pki = pki
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(f"npd-{pki.path.parent.name}", "")
        basic = x509.BasicConstraints(ca=True, path_length=0)
        builder = self._builder(self._name, self._key).add_extension(basic, critical=True)
        usage = _key_usage(signs=True)
        certificate = builder.add_extension(usage, critical=True).sign(self._key, hashes.SHA256())
        _write(pki.ca, certificate.public_bytes(serialization.Encoding.PEM))
        _write(pki.ca_key, _private(self._key))

    def server(
        self, file: str, name: str, names: Sequence[str], addresses: Sequence[Address]
    ) -> None:
        """Sign for a server, which may be a client of its like, too (etcd's peers are both)."""
        alternatives = x509.SubjectAlternativeName(
            [*map(x509.DNSName, names), *map(x509.IPAddress, addresses)]
        )
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        self._sign(file, _name(name, ""), usages, alternatives)

    def client(self, client: Client) -> None:
        """Sign for a client."""
        self._sign(client.file_name, _name(*client.value), [ExtendedKeyUsageOID.CLIENT_AUTH])

    def _sign(
        self,
        file: str,
        subject: x509.Name,
        usages: list[x509.ObjectIdentifier],
        alternatives: x509.SubjectAlternativeName | None = None,
    ) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = (
            self._builder(subject, key)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        )
        if alternatives is not None:
            builder = builder.add_extension(alternatives, critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        certificate_path, key_path = self._pki.pair(file)
        _write(certificate_path, certificate.public_bytes(serialization.Encoding.PEM))
        _write(key_path, _private(key))

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        public = self._key.public_key()
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _SKEW)
            .not_valid_after(now + _LIFE)
            # What OpenSSL's strict checks, Python's default since 3.13, want to see.
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)  # noqa: FBT003
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), False)  # noqa: FBT003
        )


def _make_account_keys(pki: Pki) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    public_path, private_path = pki.accounts
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    _write(public_path, public)
    _write(private_path, _private(key))


def _name(common_name: str, organization: str) -> x509.Name:
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    if organization:
        parts.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
    return x509.Name(parts)


def _key_usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _write(path: Path, data: bytes) -> None:
    """Write a file that root alone may read."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
