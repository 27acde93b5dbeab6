"""Who calls: a certificate authority of our own, service-account keys, and the check of the JWTs they sign.

The Google clients sign a JWT themselves when they are given a service-account key, so nothing is asked of a token
server. The owner of a world gives them two files: the authority (``ca.pem``) and a key (``<email>.json``).
"""

import json
import time
from pathlib import Path

import google.auth.exceptions
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from google.auth import jwt
from google.auth.crypt import RSASigner

RELEASER = "releaser@ethixai-production.iam.gserviceaccount.com"
"""The identity that releases: what `Identities.environ` points the clients at."""

CLOCK_SKEW_S = 10
TOKEN_LIFETIME_S = 3600.0
NO_TOKEN_SERVER = "https://localhost/there-is-no-token-server"  # noqa: S105  # an address


class BadTokenError(Exception):
    """The caller's token is missing, not ours, expired or not about who signed it."""


def _write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read."""
    path.touch(mode=0o600)
    path.write_bytes(content)


def _public_key(certificate: bytes) -> bytes:
    """The public key of a certificate, both PEM."""
    key = x509.load_pem_x509_certificate(certificate).public_key()
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


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
        authority = trustme.CA(organization_name="rehearsal authority")
        _write_private(self._key_file, authority.private_key_pem.bytes())
        authority.cert_pem.write_to_path(self.ca_file)

    def issue(self, *identities: str, key_type: trustme.KeyType = trustme.KeyType.ECDSA) -> trustme.LeafCert:
        """Return a new private key and a certificate for it, issued to these host names, addresses or emails."""
        authority = trustme.CA.from_pem(self.ca_file.read_bytes(), self._key_file.read_bytes())
        return authority.issue_cert(*identities, key_type=key_type)

    def server_credentials(self, *hosts: str) -> tuple[bytes, bytes]:
        """Return a new private key and a certificate for these hosts (by default localhost), both PEM."""
        issued = self.issue(*(hosts or ("localhost", "127.0.0.1")))
        return issued.private_key_pem.bytes(), issued.cert_chain_pems[0].bytes()


class Identities:
    """The service accounts of a world.

    The folder of the authority holds two files for each email: the account's key (``.json``, as Google writes it) and
    the certificate that checks its signatures (``.pem``). Once the world has a token server, each account has a key
    file of this world's own in ``folder``, with the server's address.
    """

    def __init__(self, authority: Authority, folder: Path | None = None) -> None:
        self._authority = authority
        self._folder = folder or authority.folder
        self.token_uri = NO_TOKEN_SERVER
        self._certs = {path.stem: path.read_bytes() for path in authority.folder.glob("*@*.pem")}
        self._known: dict[bytes, tuple[str, float]] = {}

    def environ(self, email: str = RELEASER) -> dict[str, str]:
        """The two environment variables that make Google's clients talk to this world as ``email``."""
        return {
            "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": str(self._authority.ca_file),
            "GOOGLE_APPLICATION_CREDENTIALS": str(self.key_file(email)),
        }

    def key_file(self, email: str) -> Path:
        """The service-account file of ``email``, made at its first use."""
        path, certificate = (self._authority.folder / f"{email}.{kind}" for kind in ("json", "pem"))
        if not certificate.exists():
            issued = self._authority.issue(email, key_type=trustme.KeyType.RSA)
            account = {
                "type": "service_account",
                "project_id": email.partition("@")[2].partition(".")[0],
                "private_key_id": email,
                "private_key": issued.private_key_pem.bytes().decode(),
                "client_email": email,
                "client_id": email,
                "token_uri": NO_TOKEN_SERVER,
            }
            _write_private(path, json.dumps(account).encode())
            issued.cert_chain_pems[0].write_to_path(certificate)
        if email not in self._certs:
            self._certs[email] = certificate.read_bytes()
        if self.token_uri == NO_TOKEN_SERVER:
            return path
        own = self._folder / path.name
        own.parent.mkdir(parents=True, exist_ok=True)
        account = {**json.loads(path.read_text()), "token_uri": self.token_uri}
        _write_private(own, json.dumps(account).encode())
        return own

    @property
    def issuer_file(self) -> Path:
        """The public key (PEM) that the ID tokens of this authority are signed for."""
        private, public = self._authority.folder / "issuer.key", self._authority.folder / "issuer.pem"
        if not public.exists():
            issued = self._authority.issue("issuer@rehearsal", key_type=trustme.KeyType.RSA)
            _write_private(private, issued.private_key_pem.bytes())
            public.write_bytes(_public_key(issued.cert_chain_pems[0].bytes()))
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
