"""What the errors of S3 mean for a backup: what passes is tried again for hours, what does not is told at once."""

from collections.abc import Mapping
from typing import Final

from botocore import exceptions as boto
from botocore.parsers import ResponseParserError

from breezeblock.backup.contract import StoreRefused, StoreUnavailable

__all__ = ["PASSES", "STAYS", "code_of", "explained", "is_about_credentials"]

_BUSY: Final = "is overloaded and asks to be left alone for a while."
_WRONG_KEYS: Final = "does not accept the credentials."
_WRONG_REGION: Final = "says that bucket {bucket} is in another region."
_NO_BUCKET: Final = "has no bucket {bucket}."

# By the code in the answer. Every other answer of 500 or more passes as well, and every other one stays.
PASSES: Final[Mapping[str, str]] = {
    "SlowDown": _BUSY,
    "Throttling": _BUSY,
    "ThrottlingException": _BUSY,
    "RequestLimitExceeded": _BUSY,
    "TooManyRequests": _BUSY,
    "TooManyRequestsException": _BUSY,
    "429": _BUSY,
    "RequestTimeout": "waited too long for our data.",
    "RequestTimeoutException": "waited too long for our data.",
    "408": "waited too long for our data.",
    "OperationAborted": "is busy with another request for the same thing.",
    # A part was lost in the middle of an upload, as when somebody cleans up: the next attempt begins anew.
    "NoSuchUpload": "has forgotten an upload before it was complete.",
    # Both pass by what is no business of ours: a clock that is set, credentials that are renewed.
    "RequestTimeTooSkewed": "has another time than this node; one of the clocks is wrong.",
    "ExpiredToken": "says that the credentials have expired; they must be renewed.",
    "ExpiredTokenException": "says that the credentials have expired; they must be renewed.",
    "TokenRefreshRequired": "says that the credentials have expired; they must be renewed.",
}
STAYS: Final[Mapping[str, str]] = {
    "NoSuchBucket": _NO_BUCKET,
    "404": _NO_BUCKET,
    "AccessDenied": "denies access to bucket {bucket}.",
    "AllAccessDisabled": "denies access to bucket {bucket}.",
    "AccountProblem": "denies access to bucket {bucket}.",
    "403": "denies access to bucket {bucket}, or does not accept the credentials.",
    "InvalidAccessKeyId": _WRONG_KEYS,
    "SignatureDoesNotMatch": _WRONG_KEYS,
    "InvalidToken": _WRONG_KEYS,
    "InvalidSecurity": _WRONG_KEYS,
    "QuotaExceeded": "has used up its quota.",
    "TooManyBuckets": "cannot make bucket {bucket}: there are too many already.",
    "BucketAlreadyExists": "cannot make bucket {bucket}: somebody else has one of that name.",
    "InvalidBucketName": "takes no bucket of the name {bucket}.",
    "EntityTooLarge": "takes no object of that size.",
    "InvalidObjectState": "has moved the object into an archive, from where it must be brought back first.",
    "MethodNotAllowed": "does not offer what is needed.",
    "NotImplemented": "does not offer what is needed.",
    "501": "does not offer what is needed.",
    "PermanentRedirect": _WRONG_REGION,
    "301": _WRONG_REGION,
    "AuthorizationHeaderMalformed": _WRONG_REGION,
    "IllegalLocationConstraintException": _WRONG_REGION,
    "InvalidLocationConstraint": _WRONG_REGION,
}
_ABOUT_CREDENTIALS: Final = frozenset(
    {"403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "InvalidSecurity"}
    | {"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"}
)
_NO_KEYS: Final = (boto.NoCredentialsError, boto.PartialCredentialsError, boto.ProfileNotFound)
# No answer, or half of one.
_NO_ANSWER: Final = (
    ConnectionError,
    TimeoutError,
    boto.ConnectionError,
    boto.HTTPClientError,
    boto.ResponseStreamingError,
    boto.IncompleteReadError,
    boto.CredentialRetrievalError,
    boto.MetadataRetrievalError,
    ResponseParserError,
)
# How OpenSSL says that nobody vouches for the server, which no repeat changes.
_UNTRUSTED: Final = "CERTIFICATE_VERIFY_FAILED"


def code_of(error: Exception) -> str:
    """What the answer says; the kind of the error where there was none."""
    if isinstance(error, boto.ClientError):
        return str(error.response.get("Error", {}).get("Code", ""))
    return type(error).__name__


def is_about_credentials(error: Exception) -> bool:
    """Whether other credentials may help."""
    return isinstance(error, _NO_KEYS) or code_of(error) in _ABOUT_CREDENTIALS


def explained(error: Exception, *, store: str, bucket: str) -> StoreUnavailable | StoreRefused:
    """The error as users and operators read it. Nothing that the server wrote is in it but its code."""
    code = code_of(error)
    if isinstance(error, boto.ClientError):
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        if code in PASSES:
            return StoreUnavailable(f"Backup store {store} {PASSES[code]}")
        if code in STAYS:
            return StoreRefused(f"Backup store {store} {STAYS[code].format(bucket=bucket)}")
        if status >= 500:
            return StoreUnavailable(f"Backup store {store} failed with {status} {code}.")
        return StoreRefused(f"Backup store {store} refused with {status} {code}.")
    if isinstance(error, _NO_KEYS):
        return StoreRefused(f"Backup store {store} has no credentials: none were found.")
    if _UNTRUSTED in str(error):
        return StoreRefused(
            f"Backup store {store} has a certificate that nobody vouches for here; ca_file may name who does."
        )
    if isinstance(error, _NO_ANSWER):
        return StoreUnavailable(f"Backup store {store} does not answer ({code}).")
    if isinstance(error, OSError):
        return StoreRefused(
            f"Backup store {store} cannot be used: a file that it needs cannot be read ({error.strerror})."
        )
    return StoreRefused(f"Backup store {store} cannot be used as it is configured ({code}).")
