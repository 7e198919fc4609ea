"""Objects in a bucket of S3, or of whatever speaks its language.

boto3 is used from threads and never tries again by itself: whoever stores a backup does, for hours. An object above
`multipart_bytes` is sent in parts; S3 puts it together at the end, so that it too is whole or absent. (Parts of one whose
sender died are seen by nobody, but cost space: a lifecycle rule of the bucket removes them.)
"""

import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import boto3
import structlog
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from breezeblock.backup.contract import Buffer, ObjectMissing, Stored, StoreRefused
from breezeblock.backup.stores.credentials import read_credentials
from breezeblock.backup.stores.joined import Joined
from breezeblock.backup.stores.keys import check_key, check_prefix, check_size, is_key
from breezeblock.backup.stores.s3_errors import code_of, explained, is_about_credentials
from breezeblock.env.contract import Threads

__all__ = ["Bucket", "S3Store"]

T = TypeVar("T")

log = structlog.get_logger(__name__)

# What Amazon takes: an object, and its parts.
_MAX_OBJECT_BYTES: Final = 5 << 40
_MAX_PARTS: Final = 10_000
_LEAST_PART_BYTES: Final = 5 << 20
# Far above the size of packs: parts are for what is larger than usual.
MULTIPART_BYTES: Final = 64 << 20
# The most that one answer lists.
PAGE: Final = 1000
# As many as there are threads: none waits for a connection.
_CONNECTIONS: Final = 32
_CONNECT_S: Final = 10.0
# Requests are signed for some region; those who have none take any.
_ANY_REGION: Final = "us-east-1"
_KEYS: Final = ("access_key_id", "secret_access_key")
_PROBE: Final = "breezeblock-check"
_NOT_THERE: Final = ("NoSuchKey", "404")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """Where a bucket is. `prefix` is put before each key, with a slash. Without a file boto3 looks for credentials itself."""

    bucket: str
    prefix: str = ""
    endpoint: str = ""
    region: str = ""
    path_style: bool = False
    ca_file: Path | None = None
    credentials_file: Path | None = None
    timeout_s: float = 60.0


class S3Store:
    """`contract.ObjectStore` says what each method promises."""

    def __init__(
        self, at: Bucket, *, name: str, threads: Threads, multipart_bytes: int = MULTIPART_BYTES, page: int = PAGE
    ) -> None:
        assert multipart_bytes >= _LEAST_PART_BYTES, f"S3 takes no parts of {multipart_bytes} bytes"
        self._at = at
        self._name = name
        self._threads = threads
        self._multipart_bytes = multipart_bytes
        self._page_size = page
        self._prefix = f"{at.prefix}/" if at.prefix else ""
        self._lock = threading.Lock()
        self._client: Any = None

    @property
    def max_object_bytes(self) -> int:
        return _MAX_OBJECT_BYTES

    async def check(self, *, known: bool = False) -> None:
        def check(client: Any) -> None:
            try:
                self._look(client)
            except ClientError as error:
                if known or code_of(error) != "NoSuchBucket":
                    raise
                self._make_bucket(client)
            client.put_object(Body=b"", **self._place(_PROBE))
            client.delete_object(**self._place(_PROBE))

        await self._run("check", check)

    async def put(self, key: str, parts: Sequence[Buffer]) -> None:
        check_key(key)
        size_bytes = check_size(parts, at_most=self.max_object_bytes, store=self._name)

        def put(client: Any) -> None:
            if size_bytes > self._multipart_bytes:
                self._put_in_parts(client, key, parts, size_bytes)
            else:
                client.put_object(Body=Joined(parts), ContentLength=size_bytes, **self._place(key))

        await self._run("put", put)

    async def get(self, key: str, *, offset: int = 0, length: int | None = None) -> bytes:
        assert offset >= 0 and (length is None or length >= 0)
        check_key(key)
        if length == 0:
            await self.size(key)  # no range says this, and the object may be missing
            return b""
        wanted = {} if offset == 0 and length is None else {"Range": _range(offset, length)}

        def get(client: Any) -> bytes:
            try:
                answer = client.get_object(**self._place(key), **wanted)
            except ClientError as error:
                if code_of(error) in _NOT_THERE:
                    raise ObjectMissing(key) from None
                if code_of(error) == "InvalidRange":  # it begins behind the end
                    return b""
                raise
            with closing(answer["Body"]) as body:  # its own `with` gives what lies below, which checks less
                data: bytes = body.read()
            return data

        return await self._run("get", get)

    async def size(self, key: str) -> int:
        check_key(key)

        def size(client: Any) -> int:
            try:
                return int(client.head_object(**self._place(key))["ContentLength"])
            except ClientError as error:
                self._look(client)  # an answer without a body does not say what is missing, or why it is denied
                if code_of(error) in _NOT_THERE:
                    raise ObjectMissing(key) from None
                raise

        return await self._run("size", size)

    async def delete(self, key: str) -> None:
        check_key(key)

        def delete(client: Any) -> None:
            try:
                client.delete_object(**self._place(key))
            except ClientError as error:
                if code_of(error) != "NoSuchKey":  # Amazon does not mind; others do
                    raise

        await self._run("delete", delete)

    async def list(self, prefix: str) -> AsyncIterator[Stored]:
        """See the contract: page by page."""
        check_prefix(prefix)
        more: dict[str, str] = {}
        last = ""
        while True:
            page = await self._run("list", partial(self._page, self._prefix + prefix, more))
            for found in page.get("Contents", ()):
                key = found["Key"].removeprefix(self._prefix)
                if key <= last:  # some that speak S3 keep no order
                    raise StoreRefused(f"Backup store {self._name} lists its objects in no order, which is needed.")
                last = key
                if is_key(key):
                    yield Stored(key, int(found["Size"]))
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await self._threads.run(client.close)

    def _look(self, client: Any) -> None:
        """Raises what is wrong with the whole bucket. Who may not list is told "denied" for what is missing, so it is tried."""
        client.list_objects_v2(Bucket=self._at.bucket, Prefix=self._prefix, MaxKeys=1)

    def _page(self, prefix: str, more: Mapping[str, str], client: Any) -> Any:
        return client.list_objects_v2(Bucket=self._at.bucket, Prefix=prefix, MaxKeys=self._page_size, **more)

    def _place(self, key: str) -> dict[str, str]:
        return {"Bucket": self._at.bucket, "Key": self._prefix + key}

    # Writing.

    def _make_bucket(self, client: Any) -> None:
        region = client.meta.region_name
        # Amazon wants to hear of every region but its first; others mostly know none.
        if not self._at.endpoint and region not in (_ANY_REGION, "aws-global"):
            client.create_bucket(Bucket=self._at.bucket, CreateBucketConfiguration={"LocationConstraint": region})
        else:
            client.create_bucket(Bucket=self._at.bucket)
        log.info("store.initialised", store=self._name, bucket=self._at.bucket)

    def _put_in_parts(self, client: Any, key: str, parts: Sequence[Buffer], size_bytes: int) -> None:
        place = self._place(key)
        upload = {"UploadId": client.create_multipart_upload(**place)["UploadId"]}
        step = max(self._multipart_bytes, -(-size_bytes // _MAX_PARTS))
        sent = []
        try:
            for number, start in enumerate(range(0, size_bytes, step), start=1):
                body = Joined(parts, start=start, end=min(start + step, size_bytes))
                answer = client.upload_part(Body=body, ContentLength=len(body), PartNumber=number, **place, **upload)
                sent.append({"PartNumber": number, "ETag": answer["ETag"]})
            client.complete_multipart_upload(MultipartUpload={"Parts": sent}, **place, **upload)
        except (ClientError, BotoCoreError):
            self._call_off(client, place | upload)
            raise

    def _call_off(self, client: Any, upload: dict[str, str]) -> None:
        try:
            client.abort_multipart_upload(**upload)
        except (ClientError, BotoCoreError) as error:  # the first error is the one to tell
            log.warning("store.parts_left", store=self._name, key=upload["Key"], error=type(error).__name__)

    # The client.

    def _open(self) -> Any:
        """The client, which may be used by many threads; made by the first that needs it."""
        with self._lock:
            if self._client is None:
                self._client = self._new_client()
            return self._client

    def _new_client(self) -> Any:
        at, keys = self._at, {}
        if at.credentials_file is not None:
            found = read_credentials(at.credentials_file, store=self._name, one_of=[_KEYS], may=["session_token"])
            keys = {f"aws_{name}": value for name, value in found.items()}
        return boto3.session.Session().client(
            "s3",
            endpoint_url=at.endpoint or None,
            region_name=at.region or (_ANY_REGION if at.endpoint else None),
            verify=None if at.ca_file is None else str(at.ca_file),
            config=Config(
                connect_timeout=min(_CONNECT_S, at.timeout_s),
                read_timeout=at.timeout_s,
                retries={"total_max_attempts": 1, "mode": "standard"},
                max_pool_connections=_CONNECTIONS,
                s3={"addressing_style": "path" if at.path_style else "auto"},
                # Sums that only Amazon and the newest of others know. Each block has a hash of its own.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
            **keys,
        )

    async def _run(self, call: str, f: Callable[[Any], T]) -> T:
        """Run beside the event loop, and tell errors as the contract does."""
        try:
            return await self._threads.run(lambda: f(self._open()))
        except (ClientError, BotoCoreError, ResponseParserError, OSError) as error:
            if is_about_credentials(error):
                self._client = None  # the file may have others by the next call
            told = explained(error, store=self._name, bucket=self._at.bucket)
            log.warning("store.call_failed", store=self._name, call=call, error=code_of(error), told=str(told))
            raise told from error
        except StoreRefused as error:
            log.warning("store.call_failed", store=self._name, call=call, error="credentials_file", told=str(error))
            raise


def _range(offset: int, length: int | None) -> str:
    return f"bytes={offset}-{'' if length is None else offset + length - 1}"
