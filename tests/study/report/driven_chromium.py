"""Chromium under the hand of a test: real pointer, keys, media and widths, through its pipe for developer tools.

Messages are JSON that ends with a zero byte (https://chromedevtools.github.io/devtools-protocol/).
"""

import base64
import fcntl
import json
import os
import select
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

KEYS = {"Tab": 9, "Enter": 13, "Escape": 27, "End": 35, "Home": 36, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39}
PATIENCE = 60  # seconds for an answer


class Page:
    """One page of a browser; ``complaints`` are the messages of its console, and exceptions."""

    def __init__(self, write: int, read: int) -> None:
        self.write, self.read = write, read
        self.received, self.number, self.session = b"", 0, ""
        self.loaded = 0
        self.complaints: list[str] = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its result."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        message |= {"sessionId": self.session} if self.session else {}
        os.write(self.write, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self.number:
            self._hear(answer)
        assert "error" not in answer, (method, answer["error"])
        return answer["result"]

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self.received:
            assert select.select([self.read], [], [], PATIENCE)[0], "Chromium does not answer"
            more = os.read(self.read, 1 << 20)
            assert more, "Chromium has ended"
            self.received += more
        message, _, self.received = self.received.partition(b"\0")
        return json.loads(message)

    def _hear(self, event: dict[str, Any]) -> None:
        match event.get("method"):
            case "Page.loadEventFired":
                self.loaded += 1
            case "Runtime.exceptionThrown" | "Runtime.consoleAPICalled" | "Log.entryAdded":
                self.complaints.append(json.dumps(event["params"])[:500])

    def open(
        self, place: Path | str, width: int = 1200, height: int = 1000, scheme: str = "light", script: bool = True
    ) -> None:
        """Load a file or an address as on a screen of this size and colour scheme, with or without JavaScript."""
        self.send("Emulation.setScriptExecutionDisabled", value=not script)
        self.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        before = self.loaded
        self.send("Page.navigate", url=place if isinstance(place, str) else place.as_uri())
        self.wait(before)

    def wait(self, loaded: int) -> None:
        """Wait until more pages than these have loaded."""
        while self.loaded == loaded:
            self._hear(self._next())

    def ask(self, expression: str) -> Any:
        """The value of an expression in the page, of a promise when it is kept."""
        found = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def press(self, key: str) -> None:
        code = {"key": key, "code": key, "windowsVirtualKeyCode": KEYS[key]}
        for kind in ("keyDown", "keyUp"):
            self.send("Input.dispatchKeyEvent", type=kind, **code, **({"text": "\r"} if key == "Enter" else {}))

    def pointer(self, kind: str, x: float, y: float) -> None:
        """Kind: "mouseMoved", "mousePressed" or "mouseReleased"."""
        button = {} if kind == "mouseMoved" else {"button": "left", "clickCount": 1}
        self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, **button)

    def click(self, x: float, y: float) -> None:
        self.drag((x, y), (x, y))

    def drag(self, start: Sequence[float], end: Sequence[float]) -> None:
        self.pointer("mouseMoved", *start)
        self.pointer("mousePressed", *start)
        if tuple(start) != tuple(end):
            middle = [(a + b) / 2 for a, b in zip(start, end, strict=True)]
            for place in (middle, end):
                self.send("Input.dispatchMouseEvent", type="mouseMoved", x=place[0], y=place[1], buttons=1)
        self.pointer("mouseReleased", *end)

    def screenshot(self, path: Path, x: float, y: float, width: float, height: float) -> None:
        clip = {"x": x, "y": y, "width": width, "height": height, "scale": 1}
        shown = self.send("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shown["data"]))


@contextmanager
def opened(browser: str, profile: Path) -> Iterator[Page]:
    """A page of a browser that ends with the block."""
    flags = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")
    ends = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for pipe in (os.pipe(), os.pipe()) for end in pipe]
    theirs_read, ours_write, ours_read, theirs_write = ends

    def place() -> None:
        os.dup2(theirs_read, 3)
        os.dup2(theirs_write, 4)

    started = subprocess.Popen(
        [browser, *flags, "--remote-debugging-pipe", f"--user-data-dir={profile}", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        close_fds=False,  # 3 and 4 may be free here, and what Python opens is not inherited
        preexec_fn=place,
    )
    for end in (theirs_read, theirs_write):
        os.close(end)
    try:
        page = Page(ours_write, ours_read)
        yield page
        page.session = ""
        with suppress(AssertionError, OSError):
            page.send("Browser.close")
    finally:
        with suppress(subprocess.TimeoutExpired):
            started.wait(10)
        started.kill()
        started.wait()
        for end in (ours_write, ours_read):
            os.close(end)
        time.sleep(0.1)
