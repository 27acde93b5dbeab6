"""Who calls: a certificate authority of our own, service-account keys, and the check of the JWTs they sign.

The Google clients sign a JWT themselves when they are given a service-account key, so nothing is asked of a token
server. The owner of a world gives them two files: the authority (``ca.pem``) and a key (``<email>.json``).
"""

import datetime
import ipaddress
import json
import time
from pathlib import Path

import google.auth.exceptions
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from google.auth import jwt

RELEASER = "releaser@ethixai-production.iam.gserviceaccount.com"
"""The identity that releases: what `Identities.environ` points the clients at."""

CLOCK_SKEW_S = 10
VALID_DAYS = 3650
"""A folder may be used again years later; nothing outside it trusts its authority."""


class BadTokenError(Exception):
    """The caller's token is missing, not ours, expired or not about who signed it."""


def _pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _certificate(
    subject: str, key: ec.EllipticCurvePrivateKey, issuer: str, signer: ec.EllipticCurvePrivateKey, *, is_ca: bool
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=VALID_DAYS))
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )


class Authority:
    """A certificate authority in a folder: made when it is not there yet, shared by every world that is given it.

    gRPC reads its roots once per process, so two worlds that one process talks to must have the same authority.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca_file = folder / "ca.pem"
        self._key_file = folder / "ca.key"
        folder.mkdir(parents=True, exist_ok=True)
        if not self.ca_file.exists():
            self._make()

    def _make(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _certificate("rehearsal authority", key, "rehearsal authority", key, is_ca=True)
        self._key_file.touch(mode=0o600)
        self._key_file.write_bytes(_pem(key))
        self.ca_file.write_bytes(certificate.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def server_credentials(self) -> tuple[bytes, bytes]:
        """A new private key and a certificate for localhost, both PEM."""
        signer = serialization.load_pem_private_key(self._key_file.read_bytes(), None)
        assert isinstance(signer, ec.EllipticCurvePrivateKey)
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName(
            [x509.DNSName("localhost"), x509.IPAddress(ipaddress.IPv4Address("127.0.0.1"))]
        )
        certificate = _certificate("localhost", key, "rehearsal authority", signer, is_ca=False)
        signed = certificate.add_extension(names, critical=False).sign(signer, hashes.SHA256())
        return _pem(key), signed.public_bytes(serialization.Encoding.PEM)


class Identities:
    """The service accounts of a world. Keys lie beside the authority, one file per email."""

    def __init__(self, authority: Authority) -> None:
        self._authority = authority
        self._certs: dict[str, bytes] = {}
        self._known: dict[bytes, tuple[str, float]] = {}
        for path in authority.folder.glob("*@*.json"):
            self._learn(path)

    def environ(self, email: str = RELEASER) -> dict[str, str]:
        """The two environment variables that make Google's clients talk to this world as ``email``."""
        return {
            "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": str(self._authority.ca_file),
            "GOOGLE_APPLICATION_CREDENTIALS": str(self.key_file(email)),
        }

    def key_file(self, email: str) -> Path:
        """The service-account file of ``email``, made at its first use."""
        path = self._authority.folder / f"{email}.json"
        if not path.exists():
            key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
            account = {
                "type": "service_account",
                "project_id": email.partition("@")[2].partition(".")[0],
                "private_key_id": email,
                "private_key": _pem(key).decode(),
                "client_email": email,
                "client_id": email,
                "token_uri": "https://localhost/there-is-no-token-server",
            }
            path.touch(mode=0o600)
            path.write_text(json.dumps(account))
        if email not in self._certs:
            self._learn(path)
        return path

    def _learn(self, path: Path) -> None:
        account = json.loads(path.read_text())
        private = serialization.load_pem_private_key(account["private_key"].encode(), None)
        public = private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self._certs[account["client_email"]] = public

    def email_of(self, authorization: str | bytes | None) -> str:
        """The email whose key signed this ``Bearer`` token. Raises BadTokenError."""
        raw = authorization.encode() if isinstance(authorization, str) else authorization
        if not raw or not raw.startswith(b"Bearer "):
            raise BadTokenError("the request has no bearer token")
        token = raw.removeprefix(b"Bearer ")
        email, expires_at = self._known.get(token, ("", 0.0))
        if expires_at > time.time():
            return email
        try:
            leases = jwt.decode(token, certs=self._certs, clock_skew_in_seconds=CLOCK_SKEW_S)
        except (ValueError, google.auth.exceptions.GoogleAuthError) as error:
            raise BadTokenError(f"the bearer token is not valid: {error}") from error
        header_email = jwt.decode_header(token).get("kid")
        email = str(leases.get("iss", ""))
        if not (email == leases.get("sub") == header_email):
            raise BadTokenError("the token is signed by one account and speaks for another")
        self._known[token] = (email, float(leases["exp"]))
        return email
