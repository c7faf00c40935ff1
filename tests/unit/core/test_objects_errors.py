"""What the packages behind object stores raise is one of our errors, and one object's trouble never stops a run."""

import botocore.exceptions
import pytest
from botocore.exceptions import BotoCoreError, ClientError
from s3fs.errors import ERROR_CODE_TO_EXCEPTION, translate_boto_error

from pipeline.core.errors import PagesightError, ServiceRefused, ServiceUnavailable
from pipeline.core.objects import BucketMissing
from pipeline.core.objects.s3 import DELAYS, REFUSALS, translate

#: One object's own trouble.
ABOUT_ONE_OBJECT = (FileNotFoundError, FileExistsError, PermissionError)


def answer(code: str, status: int = 400) -> ClientError:
    return ClientError({"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, "GetObject")


def translated(error: Exception) -> Exception | None:
    return translate(error, "archive", "bucket")


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("NoSuchKey", 404, FileNotFoundError),
        ("404", 404, FileNotFoundError),  # the answer to a HEAD has no body
        ("NoSuchBucket", 404, BucketMissing),
        ("PreconditionFailed", 412, FileExistsError),
        ("AccessDenied", 403, PermissionError),
        ("403", 403, PermissionError),
        ("InvalidObjectState", 403, PermissionError),  # in cold storage
        ("KMS.DisabledException", 400, PermissionError),
        ("InvalidAccessKeyId", 403, ServiceRefused),
        ("SignatureDoesNotMatch", 403, ServiceRefused),
        ("ExpiredToken", 400, ServiceRefused),
        ("PermanentRedirect", 301, ServiceRefused),
        ("NotImplemented", 501, ServiceRefused),  # a store without conditional writes
        ("SlowDown", 503, ServiceUnavailable),
        ("InternalError", 500, ServiceUnavailable),
        ("502", 502, ServiceUnavailable),
        ("TooManyRequests", 429, ServiceUnavailable),
        ("RequestTimeout", 400, ServiceUnavailable),
        ("ConditionalRequestConflict", 409, ServiceUnavailable),  # another writes right now: ask again
    ],
)
def test_an_answer_is_about_the_object_or_the_store(code: str, status: int, kind: type[Exception]) -> None:
    for error in (answer(code, status), translate_boto_error(answer(code, status))):
        found = translated(error)
        assert type(found) is kind
        if isinstance(found, ServiceRefused):
            assert found.remedy


@pytest.mark.parametrize("code", sorted({*ERROR_CODE_TO_EXCEPTION, *REFUSALS, *DELAYS}))
def test_every_code_that_is_known_has_a_meaning(code: str) -> None:
    assert isinstance(translated(answer(code)), (PagesightError, *ABOUT_ONE_OBJECT))


def raised_by_botocore() -> list[type[BotoCoreError]]:
    kinds = vars(botocore.exceptions).values()
    return [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BotoCoreError)]


@pytest.mark.parametrize("kind", raised_by_botocore(), ids=lambda kind: kind.__name__)
def test_everything_that_botocore_raises_is_away_or_refused(kind: type[BotoCoreError]) -> None:
    error = kind.__new__(kind)  # their constructors want a word each that matters to nobody here
    assert isinstance(translated(error), ServiceUnavailable | ServiceRefused)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (botocore.exceptions.EndpointConnectionError(endpoint_url="http://x"), ServiceUnavailable),
        (botocore.exceptions.ConnectTimeoutError(endpoint_url="http://x"), ServiceUnavailable),
        (botocore.exceptions.ReadTimeoutError(endpoint_url="http://x"), ServiceUnavailable),
        (botocore.exceptions.ConnectionClosedError(endpoint_url="http://x"), ServiceUnavailable),
        (botocore.exceptions.IncompleteReadError(actual_bytes=1, expected_bytes=2), ServiceUnavailable),
        (TimeoutError(), ServiceUnavailable),
        (botocore.exceptions.NoCredentialsError(), ServiceRefused),
        (botocore.exceptions.ProfileNotFound(profile="x"), ServiceRefused),
        (botocore.exceptions.SSLError(endpoint_url="https://x", error="no trust"), ServiceRefused),
        (ValueError("Invalid endpoint: x"), ServiceRefused),
    ],
)
def test_no_answer_is_waited_for_and_a_wrong_setting_is_not(error: Exception, kind: type[Exception]) -> None:
    assert type(translated(error)) is kind


def test_our_own_bugs_are_not_dressed_up() -> None:
    assert translated(KeyError("Contents")) is None
