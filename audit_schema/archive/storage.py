"""Files of archives, wherever fsspec reaches: a local folder, S3 and the like.

A file is there as a whole or not at all. On a local disk it gets its name when it is complete and
on the disk; object storage shows an object when its upload is complete.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Final

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from audit_schema.errors import AuditSchemaError

BLOCK: Final = 2**20


class StorageError(AuditSchemaError):
    """The storage can't be reached, or refuses to read or write."""


class Sink(io.RawIOBase):
    """A file that is being written, with the number of its bytes and their SHA-256."""

    def __init__(self, file: Any, url: str) -> None:
        self._file, self._url = file, url
        self._digest = hashlib.sha256()
        self.bytes = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.bytes

    def write(self, data: Any) -> int:
        with _told("write", self._url):
            self._file.write(data)
        self._digest.update(data)
        size = len(data)
        self.bytes += size
        return size

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


class Source(io.RawIOBase):
    """A file that is being read."""

    def __init__(self, file: Any, url: str) -> None:
        self._file, self._url = file, url

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        with _told("read", self._url):
            return bytes(self._file.read(size))

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())


@contextmanager
def create(url: str) -> Iterator[Sink]:
    """Write the file *url*; on an error there is none. Raises StorageError."""
    fs, path = _resolve(url)
    make = _create_local if isinstance(fs, LocalFileSystem) else _create_object
    with make(fs, path, url) as file:
        yield Sink(file, url)


@contextmanager
def read(url: str) -> Iterator[Source]:
    """Read the file *url*. Raises FileNotFoundError when it is gone, else StorageError."""
    fs, path = _resolve(url)
    with _told("read", url):
        if isinstance(fs, LocalFileSystem) and not os.path.isdir(os.path.dirname(path)):
            raise NotADirectoryError(f"no folder {os.path.dirname(path)}")
        file = fs.open(path, "rb")
    with file:
        yield Source(file, url)


def digest(url: str) -> tuple[int, str]:
    """Return the length of the file *url* and its SHA-256; raises as read()."""
    found, size = hashlib.sha256(), 0
    with read(url) as file:
        while block := file.read(BLOCK):
            found.update(block)
            size += len(block)
    return size, found.hexdigest()


def _resolve(url: str) -> tuple[Any, str]:
    try:
        fs, path = url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise StorageError(
            f"can't use the archive {url}: {error}\nHINT: Use a path, or a URL that fsspec knows; "
            "s3:// takes  pip install 'audit-schema[s3]'."
        ) from error
    return fs, str(path)


@contextmanager
def _create_local(_: Any, path: str, url: str) -> Iterator[Any]:
    part = f"{path}.part"
    with _told("write", url):
        file = open(part, "wb")  # noqa: SIM115 - what the body raises is not for _told
    try:
        yield file
        with _told("write", url):
            file.flush()
            os.fsync(file.fileno())
            file.close()
            os.replace(part, path)
            _sync_folder(os.path.dirname(path))
    except BaseException:
        with suppress(OSError):
            file.close()
        with suppress(FileNotFoundError):
            os.unlink(part)
        raise


def _sync_folder(path: str) -> None:
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextmanager
def _create_object(fs: Any, path: str, url: str) -> Iterator[Any]:
    with _told("write", url):
        file = fs.open(path, "wb", autocommit=False)
    try:
        yield file
        with _told("write", url):
            file.close()
            file.commit()
    except BaseException:
        with suppress(AttributeError):
            file.closed = True  # else it would try to go on when it is forgotten
        for clear in (file.discard, partial(fs.rm_file, path)):
            with suppress(Exception):  # what went wrong before is what to tell
                clear()
        raise


@contextmanager
def _told(verb: str, url: str) -> Iterator[None]:
    """Name the file in what goes wrong; libraries of storages have errors of all kinds."""
    try:
        yield
    except Exception as error:
        if verb == "read" and isinstance(error, FileNotFoundError):
            raise
        raise StorageError(f"can't {verb} the archive {url}: {error}") from error
