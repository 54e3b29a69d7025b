"""A web server on this machine that has some files, resumes them, and fails when it is told to."""

import contextlib
import http.server
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple


class Answer(NamedTuple):
    """What the server does with one request in place of answering it in full."""

    status: int = 0  #: answers with this status and nothing else
    after: int = 0  #: or sends this many bytes, and then
    stall: bool = False  #: nothing more; without it, the connection ends
    skip: int = 0  #: of what was asked for, so many bytes at its beginning are left out
    location: str = ""  #: or sends on to there


@dataclass
class Server:
    """A running server."""

    url: str  #: without a slash at the end
    files: dict[str, bytes]  #: what it has, by path; may be changed
    failures: list[Answer]  #: what befalls the next requests, first to last
    requests: list[tuple[str, str]]  #: every request's path and Range
    headers: dict[str, str] = field(default_factory=dict)  #: of what it sends, in place of its own or beside them


@contextlib.contextmanager
def serving(files: dict[str, bytes]) -> Iterator[Server]:
    """Serves the files until the block ends."""
    over = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.0"

        def do_GET(self):
            asked = self.headers.get("Range", "")
            made.requests.append((self.path, asked))
            failure = made.failures.pop(0) if made.failures else None
            if failure and failure.location:
                self.send_response(302)
                self.send_header("Location", failure.location)
                self.end_headers()
                return
            if failure and failure.status or self.path not in made.files:
                self.send_error(failure.status if failure else 404)
                return
            content = made.files[self.path]
            tag = made.headers.get("ETag", f'"{hash(content)}"')
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
            if self.headers.get("If-Range") != tag:
                start = 0
            if start and start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.end_headers()
                return
            self.send_response(206 if start else 200)
            start += failure.skip if failure else 0
            own = {"ETag": tag, "Content-Length": str(len(content) - start)}
            own["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            for name, value in (own | made.headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content[start:][: failure.after if failure else None])
            self.wfile.flush()
            if failure and failure.stall:
                over.wait()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made = Server(f"http://127.0.0.1:{server.server_port}", files, [], [])
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield made
    finally:
        over.set()
        server.shutdown()
        thread.join()
        server.server_close()
