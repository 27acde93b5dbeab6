"""Who calls: a certificate authority of our own, service-account keys, and the check of the JWTs they sign.

The Google clients sign a JWT themselves when they are given a service-account key, so nothing is asked of a token
server. Whoever runs a world gives them two files: the authority (``ca.pem``) and a key (``<email>.json``).
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
from google.auth.crypt import RSASigner

RELEASER = "releaser@ethixai-production.iam.gserviceaccount.com"
"""The identity that releases: what `Identities.environ` points the clients at."""

CLOCK_SKEW_S = 10
TOKEN_LIFETIME_S = 3600.0
NO_TOKEN_SERVER = "https://localhost/there-is-no-token-server"  # noqa: S105  # an address
VALID_DAYS = 3650
"""A folder may be used again years later; nothing outside it trusts its authority."""


class BadTokenError(Exception):
    """The caller's token is missing, not ours, expired or not about who signed it."""


def _pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _public_pem(key: rsa.RSAPublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


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

    def server_credentials(self, *hosts: str) -> tuple[bytes, bytes]:
        """A new private key and a certificate for these hosts (by default localhost), both PEM."""
        signer = serialization.load_pem_private_key(self._key_file.read_bytes(), None)
        assert isinstance(signer, ec.EllipticCurvePrivateKey)
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName(
            [*map(x509.DNSName, hosts)]
            if hosts
            else [x509.DNSName("localhost"), x509.IPAddress(ipaddress.IPv4Address("127.0.0.1"))]
        )
        certificate = _certificate(hosts[0] if hosts else "localhost", key, "rehearsal authority", signer, is_ca=False)
        signed = certificate.add_extension(names, critical=False).sign(signer, hashes.SHA256())
        return _pem(key), signed.public_bytes(serialization.Encoding.PEM)


class Identities:
    """The service accounts of a world. Keys lie beside the authority, one file per email.

    Once the world has a token server, each account has a file of this world's own in ``folder``, with its address.
    """

    def __init__(self, authority: Authority, folder: Path | None = None) -> None:
        self._authority = authority
        self._folder = folder or authority.folder
        self.token_uri = NO_TOKEN_SERVER
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
                "token_uri": NO_TOKEN_SERVER,
            }
            path.touch(mode=0o600)
            path.write_text(json.dumps(account))
        if email not in self._certs:
            self._learn(path)
        if self.token_uri == NO_TOKEN_SERVER:
            return path
        own = self._folder / path.name
        own.parent.mkdir(parents=True, exist_ok=True)
        own.touch(mode=0o600)
        own.write_text(json.dumps({**json.loads(path.read_text()), "token_uri": self.token_uri}))
        return own

    @property
    def issuer_file(self) -> Path:
        """The public key (PEM) that the ID tokens of this authority are signed for."""
        private, public = self._authority.folder / "issuer.key", self._authority.folder / "issuer.pem"
        if not public.exists():
            key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
            private.touch(mode=0o600)
            private.write_bytes(_pem(key))
            public.write_bytes(_public_pem(key.public_key()))
        return public

    def access_token(self, email: str, lifetime_s: float = TOKEN_LIFETIME_S) -> str:
        """A bearer token of ``email`` that `email_of` accepts."""
        now = time.time()
        account = json.loads(self.key_file(email).read_text())
        signer = RSASigner.from_string(account["private_key"], key_id=email)
        claims = {"iss": email, "sub": email, "iat": int(now), "exp": int(now + lifetime_s)}
        return str(jwt.encode(signer, claims).decode())

    def id_token(self, email: str, audience: str, lifetime_s: float = TOKEN_LIFETIME_S) -> str:
        """An ID token of ``email`` for ``audience``, as a private service wants it."""
        now, issuer = time.time(), self.issuer_file.with_suffix(".key").read_text()
        claims = {
            "iss": "https://accounts.google.com",
            "aud": audience,
            "email": email,
            "email_verified": True,
            "azp": email,
            "sub": email,
            "iat": int(now),
            "exp": int(now + lifetime_s),
        }
        return str(jwt.encode(RSASigner.from_string(issuer, key_id="issuer"), claims).decode())

    def exchange(self, assertion: str) -> dict[str, object]:
        """What a token server answers to a service account's assertion. Raises BadTokenError."""
        try:
            claims = jwt.decode(assertion, certs=self._certs, clock_skew_in_seconds=CLOCK_SKEW_S)
        except (ValueError, google.auth.exceptions.GoogleAuthError) as error:
            raise BadTokenError(f"the assertion is not valid: {error}") from error
        email = str(claims.get("iss", ""))
        if audience := claims.get("target_audience"):
            return {"id_token": self.id_token(email, str(audience))}
        token = self.access_token(email)
        return {"access_token": token, "expires_in": int(TOKEN_LIFETIME_S), "token_type": "Bearer"}

    def _learn(self, path: Path) -> None:
        account = json.loads(path.read_text())
        private = serialization.load_pem_private_key(account["private_key"].encode(), None)
        assert isinstance(private, rsa.RSAPrivateKey)
        self._certs[account["client_email"]] = _public_pem(private.public_key())

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
            claims = jwt.decode(token, certs=self._certs, clock_skew_in_seconds=CLOCK_SKEW_S)
        except (ValueError, google.auth.exceptions.GoogleAuthError) as error:
            raise BadTokenError(f"the bearer token is not valid: {error}") from error
        header_email = jwt.decode_header(token).get("kid")
        email = str(claims.get("iss", ""))
        if not (email == claims.get("sub") == header_email):
            raise BadTokenError("the token is signed by one account and speaks for another")
        self._known[token] = (email, float(claims["exp"]))
        return email
