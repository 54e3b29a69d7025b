"""fairseq_intra/data/download.py: files over HTTP from a server that fails in every way."""

import errno
import http.client
import os
import re
import ssl
from types import SimpleNamespace

import pytest
import serving
from serving import Answer

from fairseq_intra.data import download as module
from fairseq_intra.errors import UsageError

CONTENT = os.urandom(300_000)


@pytest.fixture
def download(monkeypatch):
    """The module, with its waits left out and this machine's own addresses reached without a proxy."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(module.time, "sleep", lambda _: None)
    return module


@pytest.fixture
def server():
    with serving.serving({"/a/file.tgz": CONTENT}) as made:
        yield made


def refusal(download, *arguments, **more) -> str:
    with pytest.raises(UsageError) as raised:
        download.fetch(*arguments, **more)
    return str(raised.value).removeprefix("fairseq_intra: error: ")


def test_a_file_comes_whole_and_leaves_nothing_else(download, server, tmp_path):
    path = tmp_path / "cache" / "file.tgz"
    download.fetch(f"{server.url}/a/file.tgz", path)
    assert path.read_bytes() == CONTENT
    assert [entry.name for entry in path.parent.iterdir()] == ["file.tgz"]


def test_what_was_interrupted_goes_on_where_it_stopped(download, server, tmp_path, capsys):
    server.failures += [Answer(after=100_000), Answer(status=503), Answer(after=150_000)]
    download.fetch(f"{server.url}/a/file.tgz", tmp_path / "file.tgz")
    assert (tmp_path / "file.tgz").read_bytes() == CONTENT
    assert [asked for _, asked in server.requests] == ["", "bytes=100000-", "bytes=100000-", "bytes=250000-"]
    said = capsys.readouterr().err
    assert "ended after 100000 of 300000 bytes" in said and "Service Unavailable" in said


def test_another_run_goes_on_as_well_and_begins_anew_where_the_file_has_changed(download, server, tmp_path):
    url, path = f"{server.url}/a/file.tgz", tmp_path / "file.tgz"
    server.failures += [Answer(after=1000)] + 2 * [Answer(status=500)]
    assert "Internal Server Error" in refusal(download, url, path, attempts=2)
    assert download.partial(path).stat().st_size == 1000 and not path.exists()
    changed = server.files["/a/file.tgz"] = CONTENT[::-1]
    download.fetch(url, path)
    assert server.requests[-1][1] == "bytes=1000-"
    assert path.read_bytes() == changed


def test_a_run_that_ends_before_the_changed_file_is_written_leaves_no_mixture(
    download, server, tmp_path, monkeypatch
):
    url, path = f"{server.url}/a/file.tgz", tmp_path / "file.tgz"
    server.failures.append(Answer(after=1000))
    refusal(download, url, path, attempts=0)
    changed = server.files["/a/file.tgz"] = CONTENT[::-1]
    with monkeypatch.context() as patch:
        patch.setattr(download, "need_space", lambda *_: (_ for _ in ()).throw(UsageError("no space")))
        assert "no space" in refusal(download, url, path)
    download.fetch(url, path)
    assert path.read_bytes() == changed


def test_a_file_that_was_whole_when_the_run_was_killed_is_taken(download, server, tmp_path):
    url, path = f"{server.url}/a/file.tgz", tmp_path / "file.tgz"
    server.failures += [Answer(after=len(CONTENT) - 1)] + 2 * [Answer(status=500)]
    refusal(download, url, path, attempts=2)
    with download.partial(path).open("ab") as stream:
        stream.write(CONTENT[-1:])
    download.fetch(url, path)
    assert path.read_bytes() == CONTENT


def test_more_than_the_server_has_is_fetched_anew(download, server, tmp_path, capsys):
    url, path = f"{server.url}/a/file.tgz", tmp_path / "file.tgz"
    server.failures.append(Answer(after=1000))
    refusal(download, url, path, attempts=0)
    with download.partial(path).open("ab") as stream:
        stream.write(CONTENT)
    download.fetch(url, path)
    assert path.read_bytes() == CONTENT
    assert [asked for _, asked in server.requests] == ["", "bytes=301000-", ""]
    assert "file.tgz: the server has less of it than was fetched; trying again in" in capsys.readouterr().err


@pytest.mark.parametrize("headers", [{"ETag": 'W/"1"'}, {"ETag": '"1"', "Accept-Ranges": "none"}])
def test_what_a_server_cannot_resume_begins_anew(download, server, tmp_path, headers):
    """Both versions have the same tag: a part of the one would be taken for a part of the other."""
    url, path = f"{server.url}/a/file.tgz", tmp_path / "file.tgz"
    server.headers |= headers
    server.failures.append(Answer(after=1000))
    refusal(download, url, path, attempts=0)
    changed = server.files["/a/file.tgz"] = CONTENT[::-1]
    download.fetch(url, path)
    assert path.read_bytes() == changed
    assert [asked for _, asked in server.requests] == ["", ""]


def test_another_part_than_was_asked_for_is_not_taken(download, server, tmp_path, capsys):
    server.failures += [Answer(after=100_000), Answer(after=len(CONTENT), skip=1)]
    download.fetch(f"{server.url}/a/file.tgz", tmp_path / "file.tgz")
    assert (tmp_path / "file.tgz").read_bytes() == CONTENT
    assert "the server sends another part of it than was asked for; trying again" in capsys.readouterr().err
    # It might send the same again.
    assert [asked for _, asked in server.requests] == ["", "bytes=100000-", ""]


def test_a_server_that_stalls_is_given_up_on_and_asked_again(download, server, tmp_path):
    server.failures += [Answer(after=100_000, stall=True)]
    download.fetch(f"{server.url}/a/file.tgz", tmp_path / "file.tgz", stall=1)
    assert (tmp_path / "file.tgz").read_bytes() == CONTENT
    assert server.requests[1][1] == "bytes=100000-"


def test_a_redirection_is_followed_and_what_was_interrupted_behind_it_goes_on(download, server, tmp_path):
    moved = Answer(location="/a/file.tgz")
    server.failures += [moved, Answer(after=100_000), moved]
    download.fetch(f"{server.url}/old", tmp_path / "file.tgz")
    assert (tmp_path / "file.tgz").read_bytes() == CONTENT
    asked = [("/old", ""), ("/a/file.tgz", ""), ("/old", "bytes=100000-"), ("/a/file.tgz", "bytes=100000-")]
    assert server.requests == asked


def test_a_redirection_that_leads_nowhere_is_told_in_one_line(download, server, tmp_path):
    server.failures += 20 * [Answer(location="/old")]
    assert re.fullmatch(
        rf"{server.url}/old answers 302 .* infinite loop.*", refusal(download, f"{server.url}/old", tmp_path / "x")
    )
    server.failures[:] = [Answer(location="file:///etc/passwd")]
    assert refusal(download, f"{server.url}/old", tmp_path / "x").startswith(f"{server.url}/old answers 302 ")
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_fetched_is_told_in_one_line_without_secrets(download, server, tmp_path):
    path = tmp_path / "file.tgz"
    assert refusal(download, f"{server.url}/no?key=secret", path) == f"{server.url}/no answers 404 Not Found"
    assert (
        download.shown("https://me:secret@example.org:8443/file.tgz?key=secret")
        == "https://example.org:8443/file.tgz"
    )
    assert "not an http or https address" in refusal(download, "file:///etc/passwd", path)
    for address in ("http://127.0.0.1/d\u00e9.tgz", "http://127.0.0.1/a b"):
        assert "is not a valid address" in refusal(download, address, path)
    assert "cannot fetch http://127.0.0.1:1/x" in refusal(download, "http://127.0.0.1:1/x", path, attempts=2)
    assert not path.exists()


def test_a_disk_that_cannot_hold_it_is_told_beforehand(download, server, tmp_path, monkeypatch):
    usage = download.shutil.disk_usage(tmp_path)._replace(free=100_000)
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: usage)
    assert "0 MB are needed and 0 MB free on the disk of" in refusal(
        download, f"{server.url}/a/file.tgz", tmp_path / "file.tgz"
    )


def test_a_disk_that_fills_up_is_not_taken_for_a_bad_connection(download, server, tmp_path):
    download.partial(tmp_path / "file.tgz").symlink_to("/dev/full")
    with pytest.raises(OSError) as raised:
        download.fetch(f"{server.url}/a/file.tgz", tmp_path / "file.tgz")
    assert raised.value.errno == errno.ENOSPC
    assert len(server.requests) == 1


def test_an_error_of_tls_is_tried_again(download, server, tmp_path, monkeypatch):
    read, failures = (
        http.client.HTTPResponse.read1,
        [ssl.SSLEOFError("EOF occurred"), OSError(errno.EHOSTUNREACH, "no route")],
    )

    def broken(response, size):
        if failures:
            raise failures.pop()
        return read(response, size)

    monkeypatch.setattr(http.client.HTTPResponse, "read1", broken)
    download.fetch(f"{server.url}/a/file.tgz", tmp_path / "file.tgz")
    assert (tmp_path / "file.tgz").read_bytes() == CONTENT and not failures


def test_a_mark_that_is_not_ascii_is_none(download, tmp_path):
    headers = {"ETag": "caf\xe9", "Last-Modified": "today"}
    download.remember(tmp_path / "file.validator", SimpleNamespace(headers=headers))
    assert (tmp_path / "file.validator").read_text() == "today"


def test_the_cache_has_a_place_for_every_url_inside_itself(download, tmp_path):
    assert download.place(tmp_path, "https://example.org/a/b.tgz") == tmp_path / "example.org" / "a" / "b.tgz"
    places = {download.place(tmp_path, f"https://example.org/uc{query}") for query in ("", "?id=1", "?id=2", "?id=1")}
    assert len(places) == 3 and {path.name for path in places} == {"uc"}
    hosts = ("https://h", "https://h:8000", "https://h:9000", "http://h", "http://h:8000", "https://[::1]:80")
    places = [download.place(tmp_path, f"{host}/b.tgz").relative_to(tmp_path).parts[0] for host in hosts]
    assert places == ["h", "h:8000", "h:9000", "http:h", "http:h:8000", "[::1]:80"]
    assert download.place(tmp_path, "HTTPS://me:secret@EXAMPLE.org/b.tgz") == tmp_path / "example.org" / "b.tgz"
    assert download.place(tmp_path, "https://example.org/../%2e%2e/b.tgz") == tmp_path / "example.org" / "b.tgz"
    with pytest.raises(UsageError, match="an address is not valid: Invalid IPv6 URL"):
        download.place(tmp_path, "http://[::1/x.tgz")
    with pytest.raises(UsageError, match="names no file"):
        download.place(tmp_path, "https://example.org/")
