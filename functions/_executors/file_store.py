"""Where files of jobs are kept that outlive them: whole logs, and artifacts. A folder, or a bucket of S3 or its like.

<root>/<ticket>/<attempt>/log.txt
<root>/<ticket>/<attempt>/artifacts/<path below the folder of the job>
"""

import os
import stat
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit
from uuid import uuid4

from functions._executors.stored_files import FileStore, StoredFile, StoreFailed

PART_BYTES = 8 * 1024 * 1024
"""Bytes of a part of an upload; S3 takes no fewer than 5 MiB, and no more than 10,000 parts."""

CHUNK = 1024 * 1024

BUCKET = "s3://"


def store_at(where: str) -> FileStore | None:
    """Return the store that a setting names; None for none. Raises `ValueError`."""
    if not where:
        return None
    if not where.startswith(BUCKET):
        if "://" in where:
            raise ValueError("WORKER_LOGS is neither a folder nor s3://bucket/prefix")
        return FolderStore(Path(where))
    parts = urlsplit(where)
    if not parts.netloc or parts.query or parts.fragment or "@" in parts.netloc or ".." in parts.path.split("/"):
        raise ValueError("WORKER_LOGS is no s3://bucket/prefix")
    return BucketStore(parts.netloc, parts.path.strip("/"))


class FolderStore:
    """Keeps files in a folder, which other workers may share; no link in it is followed."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()

    def create(self, name: str) -> StoredFile:
        """See `FileStore.create`."""
        path = self._root / _checked(name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            _without_links(path.parent)
            path.unlink(missing_ok=True)
            return _LocalFile(path, os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        except (OSError, ValueError) as error:
            raise _failed(error) from error

    def uri(self, name: str) -> str:
        """See `FileStore.uri`."""
        return (self._root / _checked(name)).as_uri()

    def read(self, uri: str) -> Iterator[bytes]:
        """See `FileStore.read`."""
        parts = urlsplit(uri)
        path = Path(unquote(parts.path))
        if parts.scheme != "file" or parts.netloc or ".." in path.parts or not path.is_relative_to(self._root):
            raise StoreFailed("that file is not in the worker's store (WORKER_LOGS)")
        try:
            _without_links(path)
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(descriptor, "rb") as file:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise StoreFailed("that is no plain file")
                while data := file.read(CHUNK):
                    yield data
        except (OSError, ValueError) as error:
            raise _failed(error) from error

    def put_new(self, name: str, data: bytes) -> bool:
        """See `FileStore.put_new`: it is written beside the place, and linked there when it is whole."""
        path = self._root / _checked(name)
        beside = path.parent / f".{path.name[:100]}.{uuid4().hex}"
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            _without_links(path.parent)
            try:
                with os.fdopen(
                    os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb"
                ) as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())  # else a machine that stops may leave an empty file by that name
                os.link(beside, path)
            finally:
                beside.unlink(missing_ok=True)
        except FileExistsError:
            return False
        except (OSError, ValueError) as error:
            raise _failed(error) from error
        return True

    def find(self, name: str, most: int) -> bytes | None:
        """See `FileStore.find`."""
        path = self._root / _checked(name)
        return _bounded(self.read(path.as_uri()), most) if os.path.lexists(path) else None

    def names(self, folder: str) -> Iterator[str]:
        """See `FileStore.names`."""
        path = self._root / _checked(folder)
        try:
            _without_links(path)
            with os.scandir(path) as found:
                yield from (entry.name for entry in found if entry.is_file(follow_symlinks=False))
        except FileNotFoundError:
            return
        except OSError as error:
            raise _failed(error) from error

    def fault(self) -> str:
        """See `FileStore.fault`."""
        there = next(path for path in (self._root, *self._root.parents) if path.exists())
        return "" if there.is_dir() and os.access(there, os.W_OK) else f"{there} cannot be written to"


class _LocalFile:
    def __init__(self, path: Path, descriptor: int) -> None:
        self._descriptor = descriptor
        self.uri = path.as_uri()

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._descriptor, view) :]
        except OSError as error:
            raise _failed(error) from error

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        try:
            os.close(descriptor)
        except OSError as error:
            raise _failed(error) from error

    def discard(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)


class BucketStore:
    """Keeps files in a bucket; a large one is uploaded in parts while it is written.

    Credentials, region and endpoint come from the standard environment of AWS.
    """

    def __init__(self, bucket: str, prefix: str) -> None:
        """Call nothing yet; raise `ValueError` where the SDK is not installed."""
        if find_spec("boto3") is None:
            raise ValueError("WORKER_LOGS is in S3, which needs boto3 (flowc[aws])")
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._made: Any = None

    def create(self, name: str) -> StoredFile:
        """See `FileStore.create`."""
        key = f"{self._prefix}{_checked(name)}"
        return _Upload(self._client(), self._bucket, key)

    def uri(self, name: str) -> str:
        """See `FileStore.uri`."""
        return f"{BUCKET}{self._bucket}/{quote(f'{self._prefix}{_checked(name)}')}"

    def read(self, uri: str) -> Iterator[bytes]:
        """See `FileStore.read`."""
        root = f"{BUCKET}{self._bucket}/"
        key = unquote(uri.removeprefix(root))
        if not uri.startswith(root) or not key.startswith(self._prefix) or ".." in key.split("/"):
            raise StoreFailed("that file is not in the worker's store (WORKER_LOGS)")
        client = self._client()
        body = _done(lambda: client.get_object(Bucket=self._bucket, Key=key))["Body"]
        while data := _done(lambda: body.read(CHUNK)):
            yield data

    def put_new(self, name: str, data: bytes) -> bool:
        """See `FileStore.put_new`: S3 takes it if nobody was faster."""
        where = {"Bucket": self._bucket, "Key": f"{self._prefix}{_checked(name)}"}
        client = self._client()
        return _done(lambda: client.put_object(**where, Body=data, IfNoneMatch="*"), TAKEN) is not None

    def find(self, name: str, most: int) -> bytes | None:
        """See `FileStore.find`."""
        where = {"Bucket": self._bucket, "Key": f"{self._prefix}{_checked(name)}"}
        client = self._client()
        if (answer := _done(lambda: client.get_object(**where), ABSENT)) is None:
            return None
        body = answer["Body"]
        return _bounded(iter(lambda: _done(lambda: body.read(CHUNK)), b""), most)

    def names(self, folder: str) -> Iterator[str]:
        """See `FileStore.names`."""
        prefix = f"{self._prefix}{_checked(folder)}/"
        client = self._client()
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix, Delimiter="/")
        found = iter(pages)
        while (page := _done(lambda: next(found, None))) is not None:
            yield from (item["Key"].removeprefix(prefix) for item in page.get("Contents", ()))

    def fault(self) -> str:
        """See `FileStore.fault`."""
        try:
            client = self._client()
            _done(lambda: client.head_bucket(Bucket=self._bucket))
        except StoreFailed as error:
            return str(error)
        return ""

    def _client(self) -> Any:  # noqa: ANN401 - its package has no types
        if self._made is None:
            from boto3.session import Session  # only where a bucket is named
            from botocore.config import Config

            self._made = _done(lambda: Session().client("s3", config=Config(**OPTIONS)))
        return self._made


OPTIONS = {"connect_timeout": 3, "read_timeout": 30, "retries": {"mode": "standard", "total_max_attempts": 4}}
"""Of calls of S3: times in seconds, and how often one is made."""


class _Upload:
    """One object: put at once where it is small, in parts where it is not."""

    def __init__(self, client: Any, bucket: str, key: str) -> None:  # noqa: ANN401 - its package has no types
        self._client = client
        self._where = {"Bucket": bucket, "Key": key}
        self.uri = f"{BUCKET}{bucket}/{quote(key)}"
        self._data = bytearray()
        self._upload_id: str | None = None
        self._parts: list[dict[str, Any]] = []

    def write(self, data: bytes) -> None:
        self._data += data
        while len(self._data) >= PART_BYTES:
            self._send(bytes(self._data[:PART_BYTES]))
            del self._data[:PART_BYTES]

    def close(self) -> None:
        if self._upload_id is None:
            _done(lambda: self._client.put_object(**self._where, Body=bytes(self._data)))
            return
        if self._data:
            self._send(bytes(self._data))
        whole = {"UploadId": self._upload_id, "MultipartUpload": {"Parts": self._parts}}
        _done(lambda: self._client.complete_multipart_upload(**self._where, **whole))

    def discard(self) -> None:
        if self._upload_id is not None:
            try:
                _done(lambda: self._client.abort_multipart_upload(**self._where, UploadId=self._upload_id))
            except StoreFailed:
                return  # a rule of the bucket removes it in time

    def _send(self, data: bytes) -> None:
        if self._upload_id is None:
            self._upload_id = _done(lambda: self._client.create_multipart_upload(**self._where))["UploadId"]
        number = len(self._parts) + 1
        about = {"UploadId": self._upload_id, "PartNumber": number, "Body": data}
        tag = _done(lambda: self._client.upload_part(**self._where, **about))["ETag"]
        self._parts.append({"PartNumber": number, "ETag": tag})


def _checked(name: str) -> str:
    """Return a name; raise `StoreFailed` for one that would lead elsewhere or is no text."""
    parts = name.split("/")
    if name.startswith("/") or ".." in parts or "" in parts or "." in parts or "\0" in name:
        raise StoreFailed("the name of a file leads elsewhere")
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise StoreFailed("the name of a file is no text") from error
    return name


ABSENT = frozenset({"NoSuchKey", "404"})
TAKEN = frozenset({"PreconditionFailed", "ConditionalRequestConflict"})
"""Codes by which S3 says that an object is not there, or that somebody else was faster."""


def _bounded(chunks: Iterator[bytes], most: int) -> bytes:
    data = bytearray()
    for chunk in chunks:
        data += chunk
        if len(data) > most:
            raise StoreFailed(f"a file of the store has more than {most} bytes")
    return bytes(data)


def _done(call: Any, expected: AbstractSet[str] = frozenset()) -> Any:  # noqa: ANN401 - what the SDK returns
    """Make a call of the SDK; what it says of a failure is its code alone. None for a code that is expected."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return call()
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", "")) or "an error"
        if code in expected:
            return None
        raise StoreFailed(f"S3 answered {code}") from error
    except (BotoCoreError, OSError) as error:
        raise StoreFailed(f"S3 does not answer: {type(error).__name__}") from error


def _without_links(path: Path) -> None:
    if path.resolve() != path:
        raise StoreFailed("a folder of the store is a link")


def _failed(error: OSError | ValueError) -> StoreFailed:
    return StoreFailed(getattr(error, "strerror", None) or "the file cannot be kept or read")
