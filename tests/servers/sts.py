"""Workload identity on loopback: tokens in files are exchanged for passing credentials.

``SecurityTokenService`` answers ``AssumeRoleWithWebIdentity`` for the tokens it knows, with the
keys of a real user and a session token. The S3 server knows users only, so ``sessions_of`` is to be
put into a proxy before it: it checks session token and signature of each request, answers for what
has expired, and signs the rest anew as the user.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

from tests.servers.faults import Reply, refusal
from tests.servers.http_messages import Request
from tests.servers.s3_server import REGION, Keys, no_credentials

ROLE = "arn:aws:iam::123456789012:role/experiments"
_ANSWER = """<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>{access}</AccessKeyId>
<SecretAccessKey>{secret}</SecretAccessKey><SessionToken>{session}</SessionToken>
<Expiration>{expiration:%Y-%m-%dT%H:%M:%SZ}</Expiration></Credentials>
<AssumedRoleUser><AssumedRoleId>AROA:x</AssumedRoleId><Arn>{role}</Arn></AssumedRoleUser>
</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"""
_REFUSAL = """<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error>
<Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error></ErrorResponse>"""


@dataclass
class SecurityTokenService:
    """Which web identities are known, and the sessions they were given.

    Args:
        keys: Of the user that the role stands for.
        identities: Tokens that are accepted just now.
        lifetime: Of the sessions handed out; short ones make clients come back.
    """

    keys: Keys
    identities: set[str] = field(default_factory=set)
    lifetime: timedelta = timedelta(hours=1)
    endpoint: str = ""
    presented: list[str] = field(default_factory=list)
    sessions: set[str] = field(default_factory=set)

    def environment(self, token_file: Path) -> dict[str, str]:
        """Returns what a cluster with workload identity puts into a pod."""
        return {
            **no_credentials(),
            "AWS_ROLE_ARN": ROLE,
            "AWS_WEB_IDENTITY_TOKEN_FILE": str(token_file),
            "AWS_ENDPOINT_URL_STS": self.endpoint,
            "AWS_REGION": REGION,
        }

    def expire_sessions(self) -> None:
        """Ends all sessions at once, before their time."""
        self.sessions.clear()

    def answer(self, form: dict[str, list[str]]) -> tuple[int, str]:
        """Returns status and body for a call."""
        token = form.get("WebIdentityToken", [""])[0]
        self.presented.append(token)
        if form.get("Action") != ["AssumeRoleWithWebIdentity"] or form.get("RoleArn") != [ROLE]:
            return 403, _REFUSAL.format(code="AccessDenied", message="Not this role")
        if token not in self.identities:
            return 400, _REFUSAL.format(code="ExpiredTokenException", message="Token has expired")
        session = secrets.token_hex(16)
        self.sessions.add(session)
        return 200, _ANSWER.format(
            access=self.keys.access,
            secret=self.keys.secret,
            session=session,
            expiration=datetime.now(UTC) + self.lifetime,
            role=ROLE,
        )


def sessions_of(service: SecurityTokenService) -> Callable[[Request], Request | Reply]:
    """Returns what turns a session's requests into its user's, for a proxy."""

    def rewritten(request: Request) -> Request | Reply:
        token = request.headers.get("x-amz-security-token")
        if token not in service.sessions:
            return refusal(400, "ExpiredToken", "The provided token has expired.")
        if _authorization(request, service.keys) != request.headers.get("authorization"):
            return refusal(403, "SignatureDoesNotMatch")
        lines = request.raw.split(b"\r\n")
        kept = [line for line in lines if not line.lower().startswith(b"x-amz-security-token:")]
        plain = Request(b"\r\n".join(kept))
        signed = f"Authorization: {_authorization(plain, service.keys)}".encode()
        return Request(
            b"\r\n".join(
                signed if line.lower().startswith(b"authorization:") else line for line in kept
            )
        )

    return rewritten


def _authorization(request: Request, keys: Keys) -> str:
    """Returns the signature's header of a request that names the headers to be signed."""
    from botocore.auth import S3SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    _, _, given = request.headers.get("authorization", "").partition("SignedHeaders=")
    names = [name for name in given.partition(",")[0].split(";") if name in request.headers]
    wanted = {name: request.headers[name] for name in names}
    host = wanted.pop("host", "")
    signed = AWSRequest(request.method, f"http://{host}{request.target}", wanted)
    signed.context["timestamp"] = request.headers.get("x-amz-date", "")
    auth = S3SigV4Auth(Credentials(keys.access, keys.secret), "s3", REGION)
    canonical = auth.canonical_request(signed)
    signature = auth.signature(auth.string_to_sign(signed, canonical), signed)
    return (
        f"AWS4-HMAC-SHA256 Credential={auth.scope(signed)}, "
        f"SignedHeaders={auth.signed_headers(auth.headers_to_sign(signed))}, Signature={signature}"
    )


@contextmanager
def security_token_service(keys: Keys) -> Iterator[SecurityTokenService]:
    """Runs the service on a free loopback port until the block ends."""
    service = SecurityTokenService(keys)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            size = int(self.headers.get("Content-Length", 0))
            status, text = service.answer(parse_qs(self.rfile.read(size).decode()))
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/xml")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    service.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
