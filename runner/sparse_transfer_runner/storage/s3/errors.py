"""What a store's refusals mean: what is wrong, where, which right is missing, what to do."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from boto3.exceptions import Boto3Error
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    EndpointConnectionError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
    ProxyConnectionError,
    SSLError,
    UnauthorizedSSOTokenError,
)
from s3transfer.exceptions import RetriesExceededError

from sparse_transfer_api.errors import AccessError, InputError, SparseTransferError, Transient

from ..protocol import Missing

RIGHTS = {
    "GetObject": "s3:GetObject",
    "HeadObject": "s3:GetObject",
    "ListObjectsV2": "s3:ListBucket",
    "HeadBucket": "s3:ListBucket",
    "PutObject": "s3:PutObject",
    "CreateMultipartUpload": "s3:PutObject",
    "UploadPart": "s3:PutObject",
    "CompleteMultipartUpload": "s3:PutObject",
    "AbortMultipartUpload": "s3:AbortMultipartUpload",
    "ListMultipartUploads": "s3:ListBucketMultipartUploads",
    "DeleteObject": "s3:DeleteObject",
    "DeleteObjects": "s3:DeleteObject",
}
"""The right that a policy must grant for each operation."""

_MISSING = ("NoSuchKey", "404", "NotFound")
_REFUSED = ("PreconditionFailed", "412", "NoSuchUpload")
"""Of a conditional write; an upload that has ended may have ended well."""

_UNKNOWN = "{store} refused {operation} in spite of retries"
_IDENTITY = (
    "the workload identity was refused; check the role of the service account, and that the store "
    "trusts its provider"
)
_HIDDEN = "; an object that does not exist is answered so too, where s3:ListBucket is missing"


def _meaning(
    kind: type[SparseTransferError], text: str, *codes: str
) -> dict[str, tuple[type[SparseTransferError], str]]:
    return dict.fromkeys(codes, (kind, text))


_MEANINGS = {
    **_meaning(
        Missing, "{store} has no such bucket; check its name and the endpoint", "NoSuchBucket"
    ),
    **_meaning(
        Missing,
        "no such object in {store}; it was deleted, or never written",
        *_MISSING,
    ),
    **_meaning(
        AccessError,
        "access denied, the right {right} is missing; grant it to these credentials{hidden}",
        *("AccessDenied", "AllAccessDisabled", "AccountProblem", "403", "Forbidden"),
    ),
    **_meaning(
        AccessError,
        "{store} does not know these credentials; correct them",
        *("InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidSecurity"),
    ),
    **_meaning(
        AccessError,
        "the session token is not valid any more; renew AWS_SESSION_TOKEN, or use workload "
        "identity, which renews itself",
        *("ExpiredToken", "ExpiredTokenException", "InvalidToken", "TokenRefreshRequired"),
    ),
    **_meaning(
        AccessError,
        "the clock of this machine differs too much from that of {store}; set it by a time server",
        "RequestTimeTooSkewed",
    ),
    **_meaning(
        AccessError,
        "the bucket is in another region; set spec.storage.s3.region to {region}",
        *("PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraint", "301"),
    ),
    **_meaning(
        AccessError,
        "the encryption key of spec.storage.s3.kmsKeyId cannot be used",
        *("KMS.DisabledException", "KMS.NotFoundException", "KMS.KMSInvalidStateException"),
    ),
    **_meaning(
        InputError,
        "refused by {store}; correct the address or the settings",
        *("InvalidBucketName", "InvalidArgument", "InvalidRequest", "KeyTooLongError"),
    ),
    **_meaning(
        Transient, "was changed by somebody else meanwhile", *_REFUSED, "ConditionalRequestConflict"
    ),
}
"""What the answers of a store mean, by their code."""

_TOKEN_FILE = "AWS_WEB_IDENTITY_TOKEN_FILE"
_CA_BUNDLE = "AWS_CA_BUNDLE"
_CREDENTIALS = (
    "give AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the Secret of spec.credentials (on one "
    "machine in the environment), a service account with workload identity in spec.template, or "
    "set spec.storage.s3.anonymous: true for a public bucket"
)


@contextmanager
def explained_s3(uri: str, store: str) -> Iterator[None]:
    """Turns what boto3 raises about an address into errors that say what to do.

    Raises:
        Missing: Bucket or object does not exist.
        AccessError: Credentials or rights do not suffice.
        InputError: The address or a setting cannot be right.
        Transient: The store could not be reached, or did not answer, in spite of retries.
    """
    try:
        yield
    except SparseTransferError:
        raise
    except (ClientError, BotoCoreError, Boto3Error, RetriesExceededError) as error:
        raise translated(error, uri, store) from error
    except OSError as error:
        if error.filename is None or error.filename != os.environ.get(_TOKEN_FILE):
            raise
        raise AccessError(
            f"{uri}: the token of the workload identity cannot be read "
            f"({_TOKEN_FILE}={error.filename}: {error.strerror}); check that the cluster mounts it"
        ) from error


def is_refusal(error: BaseException) -> bool:
    """Whether a conditional write was refused because there is an object already."""
    return is_answer(error, _REFUSED)


def is_missing(error: BaseException) -> bool:
    """Whether an object does not exist."""
    return is_answer(error, _MISSING)


def is_answer(error: BaseException, codes: Collection[str]) -> bool:
    """Whether a store answered with one of these codes."""
    cause = root_of(error)
    return isinstance(cause, ClientError) and _code(cause) in codes


def translated(error: Exception, uri: str, store: str) -> SparseTransferError:
    """Returns the error that says what happened to a request about an address."""
    cause = root_of(error)
    if isinstance(cause, ClientError):
        return _answer(cause, uri, store)
    match cause:
        case NoCredentialsError() | PartialCredentialsError():
            return AccessError(f"{uri}: no complete credentials ({cause}); {_CREDENTIALS}")
        case CredentialRetrievalError() | ProfileNotFound() | UnauthorizedSSOTokenError():
            return AccessError(f"{uri}: credentials could not be had ({cause}); {_CREDENTIALS}")
        case ParamValidationError():
            return InputError(f"{uri}: not an address that a store can have ({cause})")
        case SSLError() if _bundle_is_missing():
            return AccessError(f"{uri}: {_CA_BUNDLE}={os.environ[_CA_BUNDLE]}: no such file")
        case SSLError():
            return AccessError(
                f"{uri}: the certificate of {store} is not trusted ({cause}); give its authorities "
                "in spec.storage.s3.caBundle (on one machine AWS_CA_BUNDLE=FILE)"
            )
        case ProxyConnectionError():
            return Transient(f"{uri}: {cause}; check spec.storage.s3.proxy")
        case EndpointConnectionError():
            return Transient(f"{uri}: {store} cannot be reached; check spec.storage.s3.endpoint")
    return Transient(f"{uri}: {store} did not answer as it should, in spite of retries ({cause})")


def _answer(error: ClientError, uri: str, store: str) -> SparseTransferError:
    """Returns the error for what the store itself answered."""
    code, operation = _code(error), error.operation_name
    kind, meaning = _MEANINGS.get(code, (Transient, _UNKNOWN))
    if operation == "AssumeRoleWithWebIdentity":
        kind, meaning = AccessError, _IDENTITY
    said = f"{code}: {error.response.get('Error', {}).get('Message', '')}".rstrip(": ")
    hidden = _HIDDEN if operation in ("GetObject", "HeadObject") else ""
    text = meaning.format(
        store=store,
        operation=operation,
        right=RIGHTS.get(operation, operation),
        region=_region_of(error),
        hidden=hidden,
    )
    return kind(f"{uri}: {text} ({said})")


def _bundle_is_missing() -> bool:
    named = os.environ.get(_CA_BUNDLE)
    return bool(named) and not Path(str(named)).exists()


def _region_of(error: ClientError) -> str:
    headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    details: dict[str, str] = dict(error.response.get("Error", {}))  # type: ignore[arg-type]
    return headers.get("x-amz-bucket-region") or details.get("Region") or "the bucket's own"


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def root_of(error: BaseException) -> BaseException:
    """Returns what a library's wrapper is about."""
    if isinstance(error, RetriesExceededError):
        return error.last_exception
    if isinstance(error, Boto3Error):
        known = (ClientError, BotoCoreError, RetriesExceededError)
        inner = error.__cause__ or error.__context__
        return root_of(inner) if isinstance(inner, known) else error
    return error
