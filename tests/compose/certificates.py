"""A certificate authority of our own and a server's certificate signed by it, as a company's database has them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def make(folder: Path, host: str) -> None:
    """Write ``ca.crt``, and ``server.crt`` and ``server.key`` for ``host``, into a new folder, the name of its CA."""
    folder.mkdir()
    authority, authority_key = _name(f"authority of {folder.name}"), ec.generate_private_key(ec.SECP256R1())
    key = ec.generate_private_key(ec.SECP256R1())
    root = _draft(authority, authority, authority_key).add_extension(x509.BasicConstraints(True, None), critical=True)
    leaf = _draft(authority, _name(host), key).add_extension(
        x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False
    )
    for name, draft in (("ca", root), ("server", leaf)):
        signed = draft.sign(authority_key, hashes.SHA256())
        (folder / f"{name}.crt").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "server.key").write_bytes(private)
    (folder / "server.key").chmod(0o640)


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _draft(issuer: x509.Name, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .issuer_name(issuer)
        .subject_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
    )
