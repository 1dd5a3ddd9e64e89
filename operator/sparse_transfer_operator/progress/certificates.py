"""The endpoint's certificates as values: an authority of its own, and the leaf that it signed.

Runners trust this authority for this endpoint and for nothing else. Its PEM is in the environment
of Jobs that may run for weeks, so it outlives leaves, restarts and replicas; the leaf is renewed
long before it ends. Nothing here is read or written, and the time comes from the caller.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CA_LIFE = timedelta(days=3650)
CA_RENEWAL = timedelta(days=365)
"""Before its end: longer than any Job that has the old one in its environment."""
LEAF_LIFE = timedelta(days=90)
LEAF_RENEWAL = timedelta(days=30)
"""Before its end: an operator that was down for a month still starts with a good one."""
BACKDATED = timedelta(hours=1)
"""Clocks of nodes that are behind by less still find a new certificate valid."""

CA_CERTIFICATE, CA_KEY, LEAF_CERTIFICATE, LEAF_KEY = "ca.crt", "ca.key", "tls.crt", "tls.key"
"""Entries of the Secret."""

_SERVICE_SUFFIX = ".svc"
_NAME = "sparse-transfer-operator progress"

Name = x509.DNSName | x509.IPAddress


@dataclass(frozen=True)
class KeyPair:
    """A certificate with its private key.

    Args:
        certificate: Of an ECDSA P-256 key.
        key: The private key.
    """

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def certificate_pem(self) -> bytes:
        """The certificate as PEM."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        """The private key as PEM (PKCS #8), not encrypted."""
        return self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )


@dataclass(frozen=True)
class Certificates:
    """The authority and the leaf that the endpoint shows.

    Args:
        ca: Signs leaves; runners trust it.
        leaf: Signed by it.
    """

    ca: KeyPair
    leaf: KeyPair

    def to_secret_data(self) -> dict[str, bytes]:
        """Returns the entries of the Secret that keeps them."""
        return {
            CA_CERTIFICATE: self.ca.certificate_pem,
            CA_KEY: self.ca.key_pem,
            LEAF_CERTIFICATE: self.leaf.certificate_pem,
            LEAF_KEY: self.leaf.key_pem,
        }


def read_certificates(data: Mapping[str, bytes]) -> Certificates | None:
    """Returns what a Secret's entries hold, or None where they are no use.

    They are none where one is missing or garbage, a key is another certificate's or of another
    kind, or the authority has not signed the leaf.
    """
    try:
        ca = _read_pair(data[CA_CERTIFICATE], data[CA_KEY])
        leaf = _read_pair(data[LEAF_CERTIFICATE], data[LEAF_KEY])
        leaf.certificate.verify_directly_issued_by(ca.certificate)
    except (KeyError, ValueError, TypeError, InvalidSignature):
        return None
    return Certificates(ca, leaf)


def renewed(known: Certificates | None, host: str, now: datetime) -> Certificates:
    """Returns certificates that are good for a while: the known ones themselves where they are.

    Args:
        known: So far.
        host: The name or IP address that pods reach the endpoint by.
        now: With its time zone.
    """
    if known is None or _is_due(known.ca, CA_RENEWAL, now):
        ca = _new_ca(now)
        return Certificates(ca, _new_leaf(ca, host, now))
    if _is_due(known.leaf, LEAF_RENEWAL, now) or _names_of(known.leaf) != set(names_for(host)):
        return Certificates(known.ca, _new_leaf(known.ca, host, now))
    return known


def names_for(host: str) -> list[Name]:
    """Returns the names in the leaf: the host, and for a Service's name its other forms.

    Args:
        host: A DNS name such as ``SERVICE.NAMESPACE.svc``, or an IP address.
    """
    try:
        return [x509.IPAddress(ipaddress.ip_address(host))]
    except ValueError:
        pass
    found = [host]
    if host.endswith(_SERVICE_SUFFIX):
        found += [host.removesuffix(_SERVICE_SUFFIX), f"{host}.cluster.local"]
    return [x509.DNSName(each) for each in found]


def _read_pair(certificate_pem: bytes, key_pem: bytes) -> KeyPair:
    certificate = x509.load_pem_x509_certificate(certificate_pem)
    key = serialization.load_pem_private_key(key_pem, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("not a key of an elliptic curve")
    if key.public_key() != certificate.public_key():
        raise ValueError("the key is another certificate's")
    return KeyPair(certificate, key)


def _is_due(pair: KeyPair, before: timedelta, now: datetime) -> bool:
    # One that is not valid yet was made by a clock that is wrong, then or now.
    certificate = pair.certificate
    valid_so_far = certificate.not_valid_before_utc <= now
    return not valid_so_far or certificate.not_valid_after_utc - before <= now


def _names_of(pair: KeyPair) -> set[x509.GeneralName]:
    try:
        found = pair.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return set()
    return set(found.value)


def _new_ca(now: datetime) -> KeyPair:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _subject(f"{_NAME} CA")

    def extended(builder: x509.CertificateBuilder) -> x509.CertificateBuilder:
        return builder.add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        ).add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)

    certificate = _signed(key, subject, _Issuer(subject, key), now, CA_LIFE, extended)
    return KeyPair(certificate, key)


def _new_leaf(ca: KeyPair, host: str, now: datetime) -> KeyPair:
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = _Issuer(ca.certificate.subject, ca.key)

    def extended(builder: x509.CertificateBuilder) -> x509.CertificateBuilder:
        return (
            builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(digital_signature=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectAlternativeName(names_for(host)), critical=False)
        )

    return KeyPair(_signed(key, _subject(_NAME), issuer, now, LEAF_LIFE, extended), key)


@dataclass(frozen=True)
class _Issuer:
    """Who signs a certificate.

    Args:
        subject: The signer's name.
        key: The signer's key.
    """

    subject: x509.Name
    key: ec.EllipticCurvePrivateKey


def _signed(
    key: ec.EllipticCurvePrivateKey,
    subject: x509.Name,
    issuer: _Issuer,
    now: datetime,
    life: timedelta,
    extended: Callable[[x509.CertificateBuilder], x509.CertificateBuilder],
) -> x509.Certificate:
    # Both identifiers, since strict verification (RFC 5280; Python 3.13's default) asks for them.
    issuer_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key())
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(issuer_id, critical=False)
    )
    return extended(builder).sign(issuer.key, hashes.SHA256())


def _subject(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _usage(
    *, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
