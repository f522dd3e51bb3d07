"""Files behind URLs: http and https by urllib, s3 by boto3, all others by fsspec (torch
needs it, too) and the package that it wants for the scheme.

A file is fetched whole, since a sweep holds its data in memory. Credentials come from the environment, as the tools of
each store have them.
"""

from __future__ import annotations

import fnmatch
import io
import shutil
from contextlib import contextmanager
from http.client import HTTPException
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import urlopen

from winnow.config.addresses import without_password
from winnow.config.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from http.client import HTTPResponse
    from pathlib import Path

PLACE = "data.source"
FETCH_TIMEOUT_S = 60


def fetch(url: str) -> io.BytesIO:
    """The bytes behind a URL.

    Raises:
        InputError: an unknown scheme, a package that is not installed, unreachable, or refused.
    """
    scheme = urlsplit(url).scheme
    if scheme == "s3":
        return io.BytesIO(_with_s3(url, _object))
    if scheme not in ("http", "https"):
        return io.BytesIO(_with_fsspec(url, lambda store, path: store.cat_file(path)))
    with _answer(url) as answer:
        return io.BytesIO(answer.read())


def download(url: str, path: Path) -> None:
    """Copy what is behind a URL to a file, in pieces, so that it need not fit into memory.

    Raises:
        InputError: as `fetch`; the transfer ended too early.
    """
    scheme = urlsplit(url).scheme
    if scheme == "s3":
        _with_s3(url, lambda client, bucket, key: client.download_file(bucket, key, str(path)))
    elif scheme not in ("http", "https"):
        _with_fsspec(url, lambda store, remote: store.get_file(remote, str(path)))
    else:
        with _answer(url) as answer, path.open("wb") as file:
            shutil.copyfileobj(answer, file)
            # Reading in pieces, http.client does not report that the connection broke.
            if answer.length:
                raise _unreachable(url, f"a transfer that broke off {answer.length} bytes before its end")


def mark_of(url: str) -> str | None:
    """A text that changes with the content behind a URL, from the store's own listing; None: the store has none.

    Raises:
        InputError: as `fetch`.
    """
    scheme = urlsplit(url).scheme
    if scheme == "s3":
        return str(_with_s3(url, lambda client, bucket, key: client.head_object(Bucket=bucket, Key=key))["ETag"])
    if scheme in ("http", "https"):
        return None
    return str(_with_fsspec(url, lambda store, path: store.ukey(path)))


@contextmanager
def _answer(url: str) -> Iterator[HTTPResponse]:
    try:
        with urlopen(url, timeout=FETCH_TIMEOUT_S) as answer:  # nosec B310 (http or https, as its callers check)
            yield answer
    except HTTPError as error:
        error.close()
        raise _unreachable(url, f"{error.code} {error.reason}") from error
    except (URLError, HTTPException, TimeoutError, ConnectionError) as error:
        raise _unreachable(url, str(getattr(error, "reason", error))) from error


def list_urls(url: str) -> list[str] | None:
    """The URLs that a folder (`s3://bucket/rows/`) or a pattern (`gs://bucket/*.csv`) names, sorted; None for one file.

    Raises:
        InputError: as `fetch`; a pattern that matches nothing.
    """
    scheme = urlsplit(url).scheme
    is_pattern = any(magic in url for magic in "*[")
    if scheme in ("http", "https") or not (is_pattern or url.endswith("/")):
        return None
    urls: list[str] = _with_s3(url, _objects) if scheme == "s3" else _with_fsspec(url, _files)
    if is_pattern and not urls:
        remedy = "Correct the pattern, or the credentials."
        raise InputError(PLACE, expected=f"files that match {without_password(url)}", found="none", remedy=remedy)
    return sorted(urls)


def _with_s3(url: str, ask: Callable[[Any, str, str], Any]) -> Any:
    """What the client of S3 answers, with the AWS tools' own configuration (AWS_ENDPOINT_URL, credentials, …)."""
    try:
        import boto3
        from botocore.exceptions import BotoCoreError, ClientError
    except ModuleNotFoundError as error:
        raise _no_package(url, error.name or "boto3", "boto3") from error
    parts = urlsplit(url, allow_fragments=False)
    try:
        return ask(boto3.client("s3"), parts.netloc, parts.path.lstrip("/"))
    except (BotoCoreError, ClientError) as error:
        raise _unreachable(url, first_line(error)) from error


def _object(client: Any, bucket: str, key: str) -> bytes:
    content: bytes = client.get_object(Bucket=bucket, Key=key)["Body"].read()
    return content


def _objects(client: Any, bucket: str, pattern: str) -> list[str]:
    fixed = pattern.split("*")[0].split("[")[0]
    wanted = f"{pattern}*" if pattern.endswith("/") or not pattern else pattern
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=fixed)
    keys = [item["Key"] for page in pages for item in page.get("Contents", ())]
    return [f"s3://{bucket}/{key}" for key in keys if fnmatch.fnmatchcase(key, wanted) and not key.endswith("/")]


def _with_fsspec(url: str, ask: Callable[[Any, str], Any]) -> Any:
    import fsspec
    from fsspec.registry import known_implementations

    scheme = urlsplit(url).scheme
    try:
        return ask(*fsspec.core.url_to_fs(url))
    except ImportError as error:
        known = str(known_implementations.get(scheme, {}).get("class", "")).split(".")[0]
        missing = getattr(error.__cause__ or error, "name", None) or known
        raise _no_package(url, missing, known if known not in ("", "fsspec") else missing) from error
    except Exception as error:  # each of fsspec's stores has errors of its own
        if scheme not in known_implementations and isinstance(error, ValueError):
            raise InputError(
                PLACE,
                expected="a URL that begins with http://, https://, s3:// or another scheme of fsspec",
                found=f"'{url}'",
                remedy="Download the file, or read it in a data function.",
            ) from error
        # gcsfs' own sentence is an address of Google's API.
        missing = isinstance(error, FileNotFoundError)
        raise _unreachable(url, "no such file" if missing else first_line(error)) from error


def _files(store: Any, path: str) -> list[str]:
    found = store.glob(path) if any(magic in path for magic in "*[") else store.find(path)
    return [store.unstrip_protocol(one) for one in found if not store.isdir(one)]


def _no_package(url: str, missing: str, package: str) -> InputError:
    return InputError(
        PLACE,
        expected=f"the package {missing}, which reads {without_password(url)}",
        found="that it is not installed",
        remedy=f"Install it: pip install {package}.",
    )


def _unreachable(url: str, found: str) -> InputError:
    remedy = "Correct the URL, check credentials and network, or download the file."
    found = f"'{without_password(found)}'"
    return InputError(PLACE, expected=f"to fetch {without_password(url)}", found=found, remedy=remedy)


def first_line(error: BaseException) -> str:
    """What an error says first; its type where it says nothing."""
    return (str(error) or type(error).__name__).strip().splitlines()[0]
