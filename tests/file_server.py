"""An HTTP server of files on the loopback address, which misbehaves as it is told."""

import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FileServer(ThreadingHTTPServer):
    """files: path -> content. plans: path -> what the next answers are like, "good" where there is no more plan.

    asked: path and Range of every request, in order.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.plans: dict[str, deque[str]] = defaultdict(deque)
        self.asked: list[tuple[str, str | None]] = []
        self.version = "1"

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def plan(self, path: str, *answers: str) -> None:
        self.plans[path].extend(answers)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is no error."""


class Handler(BaseHTTPRequestHandler):
    server: FileServer
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        path, server = self.path, self.server
        server.asked.append((path, self.headers["Range"]))
        plan = server.plans[path].popleft() if server.plans[path] else "good"
        self.close_connection = True
        if plan.isdigit() or path not in server.files:
            self.answer(int(plan) if plan.isdigit() else 404, b"no")
        elif plan == "redirect":
            self.send_response(302)
            self.send_header("Location", f"{server.address}/moved{path}")
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self.send_file(path, plan)

    def send_file(self, path: str, plan: str) -> None:
        server = self.server
        content, start, tag = server.files[path], 0, f'"{server.version}"'
        if self.headers["Range"] and plan != "no range" and self.headers["If-Range"] == tag:
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                self.answer(416, b"")
                return
        rest, whole = content[start:], len(content)
        self.send_response(206 if start else 200)
        if start:
            said = start + 1 if plan == "other range" else start
            self.send_header("Content-Range", f"bytes {said}-{whole - 1}/{whole}")
        if plan != "no range":
            self.send_header("ETag", tag)
        announced = {"too long": len(rest) + 100, "too short": len(rest) // 2}.get(plan, len(rest))
        if not plan.startswith("no length"):
            self.send_header("Content-Length", str(announced))
        self.send_header("Content-Type", "text/html" if plan == "web page" else "image/x-adobe-dng")
        self.end_headers()
        if plan in ("cut", "no length, cut"):
            rest = rest[: len(rest) // 2]
        with suppress(OSError):
            if plan == "silent":
                time.sleep(3)
            if plan == "drip":
                for byte in rest:
                    self.wfile.write(bytes([byte]))
                    time.sleep(0.01)
            self.wfile.write(rest)

    def answer(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def serving() -> Iterator[FileServer]:
    server = FileServer()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
