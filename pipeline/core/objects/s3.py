"""Objects in an S3 bucket, through s3fs.

Its calls are used, not its paths: keys that end with a slash or contain `..` or `?versionId=` need no escaping,
and listings are never cached. Credentials, region and endpoint come from the usual AWS variables and files.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

from aiohttp import ClientError as ConnectionFailed
from botocore import exceptions as botocore
from fsspec.asyn import sync
from s3fs import S3FileSystem

from pipeline.core.errors import ServiceRefused, ServiceUnavailable, SourceChanged
from pipeline.core.models import FileState
from pipeline.core.objects.protocol import BucketMissing, ObjectPage
from pipeline.core.times import nanoseconds_of

#: Connections of a process. With botocore's default of 10 the threads of a process would wait for each other.
_CONNECTIONS = 64
_CHUNK_BYTES = 1 << 20
#: The last code point: a folder's key followed by it sorts after all keys in the folder.
_LAST_CHARACTER = "\U0010ffff"
_WRITER = "pagesight-writer"

REMEDY = (
    "Look at AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION and AWS_ENDPOINT_URL, and at the bucket's policy; "
    "then run the same command again."
)
#: 4xx codes by which S3 refuses every request. All others are about the requested object.
REFUSALS = frozenset(
    """
    301 AccountProblem AuthorizationHeaderMalformed AuthorizationQueryParametersError CredentialsNotSupported
    CrossLocationLoggingProhibited ExpiredToken ExpiredTokenException IllegalLocationConstraintException
    InvalidAccessKeyId InvalidAddressingHeader InvalidBucketName InvalidBucketState InvalidClientTokenId
    InvalidLocationConstraint InvalidPayer InvalidSecurity InvalidToken MissingSecurityElement MissingSecurityHeader
    NotImplemented NotSignedUp PermanentRedirect Redirect RequestTimeTooSkewed SignatureDoesNotMatch
    TemporaryRedirect TokenRefreshRequired UnauthorizedAccess
    """.split()
)
#: 4xx codes that ask for a later attempt.
DELAYS = frozenset(
    """
    409 429 BandwidthLimitExceeded ConditionalRequestConflict OperationAborted RequestLimitExceeded RequestThrottled
    RequestThrottledException RequestTimeout SlowDown Throttling ThrottlingException TooManyRequestsException
    XAmzContentSHA256Mismatch
    """.split()
)
#: Errors of botocore without a complete response.
UNANSWERED = (
    botocore.HTTPClientError,
    botocore.ConnectionError,
    botocore.IncompleteReadError,
    botocore.FlexibleChecksumError,
    botocore.ChecksumError,
    ConnectionFailed,
    ConnectionError,
    TimeoutError,
    asyncio.TimeoutError,
)


@cache
def _connect(endpoint: str | None) -> S3FileSystem:
    """Return the client of an endpoint. Its calls run on fsspec's own thread, so any number of threads may share it."""
    given = {"endpoint_url": endpoint} if endpoint else {}
    client = S3FileSystem(
        **given,
        config_kwargs={"max_pool_connections": _CONNECTIONS, "retries": {"total_max_attempts": 1}},
        # fsspec would cache the client per thread, with the environment of its first use.
        skip_instance_cache=True,
    )
    client.retries = 1  # retries are decided in `pipeline.core.retry`
    return client


class S3Objects:
    """The objects of a bucket."""

    def __init__(self, bucket: str, service: str) -> None:
        self._bucket = bucket
        self._service = service
        # botocore reads these two as well; here they are the key of the cached client.
        self._client = _connect(os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL"))

    def state(self, key: str) -> FileState:
        """Return the state of an object."""
        try:
            found = self._wait(self._call("head_object", Key=key))
        except (FileNotFoundError, PermissionError):
            # The response to a HEAD has no body with the reason; that of a GET has.
            self._wait(self._peek(key))
            raise
        return _state(found)

    def page(self, folder: str, after: str, keys: int) -> ObjectPage:
        """List a part of a folder."""
        start = {"StartAfter": after} if after else {}
        answer = self._wait(self._call("list_objects_v2", Prefix=folder, Delimiter="/", MaxKeys=keys, **start))
        contents, prefixes = answer.get("Contents", ()), answer.get("CommonPrefixes", ())
        found = tuple(entry["Key"] for entry in contents)
        folders = tuple(entry["Prefix"] for entry in prefixes)
        marker = folder if any(entry["Key"] == folder and not entry["Size"] for entry in contents) else None
        return ObjectPage(
            keys=tuple(key for key in found if key != marker),
            folders=folders,
            after=max((*found, *(name + _LAST_CHARACTER for name in folders))) if answer["IsTruncated"] else "",
        )

    def read(self, key: str) -> bytes:
        """Return an object's bytes."""
        return bytes(self._wait(self._read(key)))

    def read_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return several at once."""
        return list(self._wait(self._read_many(keys)))

    def chunks(self, key: str, state: FileState) -> Generator[bytes]:
        """Yield an object's bytes piece by piece."""
        try:
            answer = self._wait(self._call("get_object", Key=key, IfMatch=state.etag))
        except FileExistsError:
            raise SourceChanged("the object was replaced while it was read") from None
        body = answer["Body"]
        try:
            if _state(answer) != state:  # not every store checks If-Match
                raise SourceChanged("the object was replaced while it was read")
            while chunk := self._wait(self._next(body)):
                yield chunk
        finally:
            self._wait(_close(body))

    def create(self, key: str, data: bytes, writer: str) -> None:
        """Create an object."""
        try:
            self._wait(self._call("put_object", Key=key, Body=data, IfNoneMatch="*", Metadata={_WRITER: writer}))
        except FileExistsError:
            there = self._wait(self._call("head_object", Key=key))
            if there["Metadata"].get(_WRITER) != writer:
                raise

    def put(self, key: str, data: bytes) -> None:
        """Write an object."""
        self._wait(self._call("put_object", Key=key, Body=data))

    def delete(self, key: str) -> None:
        """Remove an object."""
        self._wait(self._call("delete_object", Key=key))

    # -- on fsspec's thread

    def _wait(self, coroutine: Any) -> Any:
        async def run() -> Any:
            return await coroutine

        return sync(self._client.loop, run)

    async def _call(self, method: str, **arguments: Any) -> Any:
        with self._translated():
            return await self._client._call_s3(method, Bucket=self._bucket, **arguments)

    async def _read(self, key: str) -> bytes:
        answer = await self._call("get_object", Key=key)
        try:
            with self._translated():
                return bytes(await answer["Body"].read())
        finally:
            await _close(answer["Body"])

    async def _read_many(self, keys: Sequence[str]) -> Sequence[bytes | None]:
        async def one(key: str) -> bytes | None:
            try:
                return await self._read(key)
            except FileNotFoundError:
                return None

        return await asyncio.gather(*map(one, keys))

    async def _peek(self, key: str) -> None:
        answer = await self._call("get_object", Key=key)
        await _close(answer["Body"])

    async def _next(self, body: Any) -> bytes:
        with self._translated():
            return bytes(await body.read(_CHUNK_BYTES))

    # -- errors

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            translated = translate(error, self._service, self._bucket)
            if translated is None:
                raise
            raise translated from error


def translate(error: Exception, service: str, bucket: str) -> Exception | None:
    """Return the error of `Objects` for what s3fs, botocore or aiohttp raised; None for a bug of our own."""
    answer = error if isinstance(error, botocore.ClientError) else error.__cause__
    if isinstance(answer, botocore.ClientError):
        return _translate_answer(answer, service, bucket)
    if isinstance(error, botocore.SSLError):
        return ServiceRefused(service, f"the store cannot be trusted: {error}", remedy="Set AWS_CA_BUNDLE to its CA.")
    if isinstance(error, UNANSWERED):
        return ServiceUnavailable(service, f"the object store is away: {str(error) or type(error).__name__}")
    # ValueError: an endpoint that is not a URL. OSError: s3fs' error for an unknown response.
    if isinstance(error, botocore.BotoCoreError | ValueError | OSError):
        return ServiceRefused(service, f"the bucket {bucket} cannot be used: {_one_line(error)}", remedy=REMEDY)
    return None


def _translate_answer(error: botocore.ClientError, service: str, bucket: str) -> Exception:
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    message = f"the bucket {bucket} says {_one_line(error)}"
    if code == "NoSuchBucket":
        return BucketMissing(service, f"there is no bucket {bucket}", remedy="Name one that exists, or create it.")
    if code in REFUSALS or status == 501:
        return ServiceRefused(service, message, remedy=REMEDY)
    if code in DELAYS or status in (409, 429) or status >= 500:
        return ServiceUnavailable(service, message)
    if code in ("PreconditionFailed", "412") or status == 412:
        return FileExistsError(message)
    if status == 404 or code in ("NoSuchKey", "404"):
        return FileNotFoundError(message)
    return PermissionError(message)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _state(answer: Any) -> FileState:
    """Return the state in a response. HTTP gives the time in whole seconds."""
    return FileState(
        bytes=answer["ContentLength"],
        mtime_ns=nanoseconds_of(answer["LastModified"]) // 10**9 * 10**9,
        etag=answer["ETag"],
    )


async def _close(body: Any) -> None:
    body.close()
