"""Fetches a file over HTTP: an interrupted download resumes, failures are tried again, a stalled one is closed.

The file takes its name only once it is whole. Until then NAME.partial holds what came, and NAME.validator what tells
whether the server still has the same file (its ETag or date), without which no download resumes.
"""

import hashlib
import http.client
import re
import shutil
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from ..console import say
from ..errors import UsageError

STALL = 60  #: seconds without a byte after which a connection is closed
ATTEMPTS = 5  #: in a row without a byte
LONGEST_WAIT = 60
REPORT_EVERY = 10
MEGABYTE = 1_000_000
PASSING = (408, 425, 429, 500, 502, 503, 504)
Unfinished = (ConnectionError, TimeoutError, urllib.error.URLError, http.client.HTTPException)


def fetch(url: str, path: Path, stall: float = STALL, attempts: int = ATTEMPTS) -> None:
    """Makes `path` what the URL has; raises UsageError with the reason where that is impossible."""
    if _parts(url).scheme not in ("http", "https"):
        raise UsageError(f"{shown(url)} is not an http or https address")
    path.parent.mkdir(parents=True, exist_ok=True)
    part, failures = partial(path), 0
    while True:
        before = size(part)
        try:
            receive(url, path, stall)
            break
        except Unfinished as error:
            if isinstance(error, urllib.error.HTTPError) and error.code not in PASSING:
                # Of a redirection that leads nowhere Python says more, in three lines.
                because, _, _ = error.reason.partition("\n")
                raise UsageError(f"{shown(url)} answers {error.code} {because}") from None
            failures = 0 if size(part) > before else failures + 1
            reason = getattr(error, "reason", None) or str(error) or type(error).__name__
        if failures == attempts:
            raise UsageError(f"cannot fetch {shown(url)} ({reason}); run this again to resume it")
        wait = min(LONGEST_WAIT, 2**failures)
        say(f"{path.name}: {reason}; trying again in {wait} s")
        time.sleep(wait)
    part.replace(path)
    validator(path).unlink(missing_ok=True)


def receive(url: str, path: Path, stall: float) -> None:
    """One connection: appends to the partial file, or writes it anew, until all of the file is there.

    Raises:
        UsageError: if the URL is not valid, or the disk too full.
    """
    part, known = partial(path), validator(path)
    have = size(part) if known.exists() else 0
    headers = {"User-Agent": "fairseq_intra"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": known.read_text(encoding="ascii")}
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=stall)
    except (UnicodeError, http.client.InvalidURL):
        raise UsageError(
            f"{shown(url)} is not a valid address: letters other than ASCII's are written as %XX"
        ) from None
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        if error.headers.get("Content-Range") == f"bytes */{have}":
            return
        part.unlink()
        raise ConnectionError("the server has less of it than was fetched") from None
    with response:
        is_rest = response.status == 206
        have = have if is_rest else 0
        try:
            total = total_size(response, have)
        except ConnectionError:
            # Asked again, it would send the same: the next request is for the whole file.
            known.unlink(missing_ok=True)
            raise
        if total is not None:
            need_space(part.parent, total - have)
        if not is_rest:
            # Before the validator is that of another file.
            part.write_bytes(b"")
            remember(known, response)
        with part.open("ab") as stream:
            copy(response, stream, path.name, have, total)
    if total is not None and size(part) != total:
        raise ConnectionError(f"the connection ended after {size(part)} of {total} bytes")


def remember(known: Path, response: http.client.HTTPResponse) -> None:
    """Keeps what tells this file from another that the server may have later."""
    known.unlink(missing_ok=True)
    tag = response.headers.get("ETag", "")
    mark = tag if tag.isascii() and tag and not tag.startswith("W/") else response.headers.get("Last-Modified")
    if mark and mark.isascii() and response.headers.get("Accept-Ranges") != "none":
        known.write_text(mark, encoding="ascii")


def total_size(response: http.client.HTTPResponse, have: int) -> int | None:
    """The whole file's bytes, as far as the server tells."""
    if response.status != 206:
        length = response.headers.get("Content-Length", "")
        return int(length) if length.isdigit() else None
    told = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
    if not told or int(told[1]) != have:
        raise ConnectionError("the server sends another part of it than was asked for")
    return int(told[2])


def copy(response: http.client.HTTPResponse, stream: BinaryIO, name: str, have: int, total: int | None) -> None:
    """Writes all that comes, and says from time to time how much that is."""
    start = said = time.monotonic()
    came = 0
    while block := _next_block(response):
        stream.write(block)
        came += len(block)
        if (now := time.monotonic()) - said >= REPORT_EVERY:
            said = now
            of = f" of {total / MEGABYTE:.0f}" if total else ""
            speed = came / (now - start) / MEGABYTE
            say(f"{name}: {(have + came) / MEGABYTE:.0f}{of} MB, {speed:.1f} MB/s")


def _next_block(response):
    try:
        return response.read1(1 << 16)
    except OSError as error:  # of TLS, or of the route: not all of them are a ConnectionError
        raise ConnectionError(error) from error


def need_space(folder: Path, needed: int) -> None:
    """Rejects what the disk cannot hold before it begins.

    Raises:
        UsageError: if less is free.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UsageError(
            f"{needed / MEGABYTE:.0f} MB are needed and {free / MEGABYTE:.0f} MB free on the disk of {folder}"
        )


def place(cache: Path, url: str) -> Path:
    """Where a URL's file lies in a cache: under its host and path, and what tells one query from another.

    The host is with the port, if the URL names one, and with any scheme but https before it.

    Raises:
        UsageError: if the URL names no host or no file.
    """
    parts = _parts(url)
    names = [name for name in unquote(parts.path).split("/") if name not in ("", ".", "..")]
    if not parts.hostname or not names:
        raise UsageError(f"{shown(url)} names no file")
    host = parts.netloc.rpartition("@")[2].lower()
    host = host if parts.scheme == "https" else f"{parts.scheme}:{host}"
    query = [hashlib.sha256(parts.query.encode()).hexdigest()[:16]] if parts.query else []
    return cache.joinpath(host, *names[:-1], *query, names[-1])


def shown(url: str) -> str:
    """A URL without what may be secret in it: name, password and query."""
    parts = _parts(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _parts(url):
    try:
        return urlsplit(url)
    except ValueError as error:
        raise UsageError(f"an address is not valid: {error}") from None


def partial(path: Path) -> Path:
    return path.with_name(f"{path.name}.partial")


def validator(path: Path) -> Path:
    return path.with_name(f"{path.name}.validator")


def size(path: Path) -> int:
    """The bytes of a file, none where it is not there."""
    return path.stat().st_size if path.exists() else 0
