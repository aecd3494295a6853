"""``python -m forensics serve``: a browser hands photographs in; others than a browser on this machine get nothing."""

import http.client
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cameras.photographs import PhotographError
from forensics.analysis.analyse import analyse
from forensics.commands.serve import listening, server_of
from forensics.package import save_package
from forensics.service import app, upload
from tests.broken_photographs import large_png
from tests.forensics.small_packages import judging_package, received
from tests.study.report.driven_chromium import Page, opened

BOUNDARY = "between-parts"


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """The service, in a thread of this process."""
    server = server_of(judging_package())
    with listening(0) as open_socket:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [open_socket]})
        thread.start()
        yield open_socket.getsockname()[1]
        server.should_exit = True
        thread.join(30)
    assert not thread.is_alive()


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photo") / "photo.jpg"
    Image.fromarray(received(judging_package())[0].movedim(0, -1).numpy()).save(path, quality=90)
    return path


@pytest.fixture(scope="module")
def chromium() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    return found


@pytest.fixture(scope="module")
def page(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with opened(chromium, tmp_path_factory.mktemp("profile")) as page:
        yield page


def body(content: bytes, name: str = "photo.jpg", rate: str = "0.1") -> bytes:
    """A form as a browser sends it."""
    field = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="false_alarms"\r\n\r\n{rate}\r\n'
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="photograph"; filename="{name}"\r\n\r\n'
    return field.encode() + head.encode() + content + f"\r\n--{BOUNDARY}--\r\n".encode()


def send(port: int, content: bytes | None, host: str | None = None, **headers: str) -> tuple[int, str, dict[str, str]]:
    """Status, page and headers of an answer; to a form where there is content."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    sent = {"Host": host or f"127.0.0.1:{port}", **{name.replace("_", "-"): value for name, value in headers.items()}}
    if content is not None:
        sent.setdefault("Content-Type", f"multipart/form-data; boundary={BOUNDARY}")
    connection.request("GET" if content is None else "POST", "/", content, sent)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text, {name.lower(): value for name, value in answer.getheaders()}


def hand_in(page: Page, *files: Path) -> None:
    """Choose files in the form, and send it by its button and the keyboard."""
    root = page.send("DOM.getDocument")["root"]["nodeId"]
    node = page.send("DOM.querySelector", nodeId=root, selector="input[type=file]")["nodeId"]
    page.send("DOM.setFileInputFiles", nodeId=node, files=[str(file) for file in files])
    before = page.loaded
    page.send("DOM.focus", nodeId=node)
    page.press("Tab")
    page.press("Tab")
    page.press("Enter")
    page.wait(before)


# --- in a browser ---


@pytest.mark.parametrize(("width", "scheme", "script"), [(1200, "light", True), (390, "dark", False)])
def test_a_photograph_is_handed_in(page: Page, port: int, photo: Path, width: int, scheme: str, script: bool) -> None:
    page.complaints.clear()
    page.open(f"http://127.0.0.1:{port}/", width, 800, scheme, script)
    assert page.ask("[...document.querySelectorAll('input, select')].every(field => field.labels.length == 1)")
    hand_in(page, photo)
    found = analyse(judging_package(), photo, 0.1)
    assert page.ask("document.title").startswith("photo.jpg")
    assert page.ask("document.querySelector('.verdict').innerText.toLowerCase()").count(found.reason.lower()) == 1
    assert page.ask("getComputedStyle(document.querySelector('.waiting')).display") == "none"
    images = "[...document.querySelectorAll('figure img')]"
    assert page.ask(f"{images}.every(image => image.alt.length > 10)")
    assert page.ask(f"{images}[0].naturalWidth") == 128, "a security policy that hides pictures would hide all"
    assert page.ask("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    colour = page.ask("getComputedStyle(document.body).backgroundColor")
    assert colour == ("rgb(22, 24, 27)" if scheme == "dark" else "rgb(255, 255, 255)"), "nor is the style hidden"
    assert page.complaints == []


def test_a_photograph_is_dropped(page: Page, port: int, photo: Path) -> None:
    """On the field, which needs no script for it."""
    page.open(f"http://127.0.0.1:{port}/", script=False)
    corner = "const {x, y, width, height} = document.querySelector('input').getBoundingClientRect()"
    box = page.ask(f"(() => {{ {corner}; return [x + width / 2, y + height / 2]; }})()")
    data = {"items": [], "files": [str(photo)], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        page.send("Input.dispatchDragEvent", type=kind, x=box[0], y=box[1], data=data)
    assert page.ask("document.querySelector('input').files[0].name") == "photo.jpg"


def test_what_is_no_photograph_gets_one_line_and_another_chance(
    page: Page, port: int, tmp_path: Path, photo: Path
) -> None:
    (tmp_path / "text.jpg").write_text("no picture")
    page.open(f"http://127.0.0.1:{port}/", script=False)
    for name in ("text.jpg", "<img src=x>.jpg"):
        shutil.copy(tmp_path / "text.jpg", tmp_path / name) if name != "text.jpg" else None
        hand_in(page, tmp_path / name)
        assert page.ask("document.querySelector('.refused').innerText").startswith(f"{name} is no JPEG, PNG")
        assert page.ask("document.querySelectorAll('.refused').length") == 1
    hand_in(page, photo)
    assert page.ask("document.querySelector('.verdict') != null")


# --- limits ---


def test_too_large_a_file_gets_one_line(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload, "MEGABYTES", 1)
    status, text, _ = send(port, body(bytes(3 << 20)))
    assert status == 413
    assert "more than 1 MB" in text
    assert send(port, body(b"x"))[0] == 422, "the service goes on"
    status, text, _ = send(port, body(large_png(20_000, 5_000), "panorama.png"))
    assert status == 422
    assert "panorama.png has 100 megapixels, more than 64" in text


@pytest.mark.parametrize(
    ("content", "headers", "words"),
    [
        (b"", {"Content_Type": "text/plain"}, "no form with a photograph"),
        (b"\0" * 100, {}, "no form with one photograph"),
        (b"", {"Content_Type": "multipart/form-data"}, "no form with one photograph"),
        (body(b"", ""), {}, "No photograph was chosen"),
        (body(b"x", rate="2"), {}, "not on offer"),
        (body(b"x", rate="nan"), {}, "not on offer"),
    ],
)
def test_forms_of_others_are_refused(port: int, content: bytes, headers: dict[str, str], words: str) -> None:
    status, text, _ = send(port, content, **headers)
    assert status == 400
    assert words in text


def test_a_photograph_that_is_damaged_behind_its_head(port: int, photo: Path) -> None:
    status, text, _ = send(port, body(photo.read_bytes()[:-1500]))
    assert status == 200, "the page had begun"
    assert "photo.jpg cannot be read: image file is truncated" in text
    assert text.rstrip().endswith("</html>")


# --- nobody else ---


@pytest.mark.parametrize("host", ["example.org", "example.org:80", "127.0.0.1.example.org", "10.0.0.1"])
def test_other_names_for_this_machine_are_refused(port: int, photo: Path, host: str) -> None:
    for content in (None, body(photo.read_bytes())):
        status, text, _ = send(port, content, host)
        assert status == 400
        assert "form" not in text


@pytest.mark.parametrize("origin", ["http://example.org", "null", "https://127.0.0.1", "http://127.0.0.1"])
def test_forms_on_other_pages_are_refused(port: int, photo: Path, origin: str) -> None:
    status, text, _ = send(port, body(photo.read_bytes()), Origin=origin)
    assert status == 403
    assert "another page" in text
    assert send(port, body(photo.read_bytes()), Origin=f"http://127.0.0.1:{port}")[0] == 200


def test_it_listens_on_the_loopback_alone(port: int) -> None:
    with listening(0) as open_socket:
        assert open_socket.getsockname()[0] == "127.0.0.1"


def test_every_page_forbids_what_it_does_not_need(port: int, photo: Path) -> None:
    for content in (None, body(b"x"), body(photo.read_bytes())):
        _, text, headers = send(port, content)
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["cache-control"] == "no-store"
        assert "<script" not in text
        assert " style=" not in text, "the policy would drop it"


# --- memory ---


def test_nothing_is_left_on_disk(port: int, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even for a moment: of a file of 3 MB, libraries would make a temporary one."""
    made: list[object] = []
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(tempfile.SpooledTemporaryFile, "rollover", lambda self: made.append(self))
    content = photo.read_bytes() + bytes(3 << 20)
    status, text, _ = send(port, body(content))
    assert status == 200
    assert "verdict" in text
    assert made == []
    assert list(tmp_path.iterdir()) == []


# --- two at once ---


def test_one_at_a_time_and_the_page_says_that_it_waits(port: int, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at_work, most = 0, 0
    begun, go_on = threading.Semaphore(0), threading.Event()

    def slowly(*arguments: Any) -> Any:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        begun.release()
        assert go_on.wait(30)
        at_work -= 1
        return analyse(*arguments)

    monkeypatch.setattr(app, "analyse", slowly)
    content = body(photo.read_bytes())

    connections = []
    for number in range(app.MOST_AT_ONCE):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("POST", "/", content, {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"})
        answer = connection.getresponse()
        connections.append((connection, answer))
        first = b""
        while b"</p>" not in first:  # the page begins before the analysis does
            first += answer.read1()
        words = ("is being analysed. This page", "Yours comes next", "2 other photographs", "3 other photographs")
        assert words[number] in first.decode()
        if number == 0:
            assert begun.acquire(timeout=30)
    assert send(port, content)[0] == 503, "memory is bounded"
    go_on.set()
    for connection, answer in connections:
        rest = answer.read().decode()
        assert "verdict" in rest
        assert rest.rstrip().endswith("</html>")
        connection.close()
    assert most == 1
    assert send(port, content)[0] == 200, "there is room again"


def test_a_browser_that_goes_away_leaves_its_place(port: int, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = threading.Semaphore(0), threading.Event()

    def slowly(*arguments: Any) -> Any:
        begun.release()
        assert go_on.wait(30)
        raise PhotographError("was never looked at")

    monkeypatch.setattr(app, "analyse", slowly)
    content = body(photo.read_bytes())
    for _ in range(app.MOST_AT_ONCE):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("POST", "/", content, {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"})
        connection.getresponse().read1()
        connection.close()
    go_on.set()
    monkeypatch.setattr(app, "analyse", analyse)
    for _ in range(100):
        if (status := send(port, content)[0]) == 200:
            break
        time.sleep(0.1)
    assert status == 200


# --- the command ---


def serve(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "forensics", "serve", *map(str, arguments)]
    root = Path(__file__).parents[2]
    return subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_ctrl_c_ends_it_and_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    save_package(tmp_path / "camera", judging_package())
    started = serve("--with", tmp_path / "camera", "--port", 0)
    assert started.stdout is not None
    address = started.stdout.readline().split()[0]
    port = int(address.rstrip("/").rpartition(":")[2])
    try:
        assert send(port, None)[0] == 200
        second = serve("--with", tmp_path / "camera", "--port", port)
        out, err = second.communicate(timeout=120)
        assert (second.returncode, out) == (2, "")
        assert err == f"error: port {port} cannot be used (Address already in use): choose another with --port\n"
    finally:
        started.send_signal(signal.SIGINT)
    out, err = started.communicate(timeout=60)
    assert (started.returncode, out, err) == (0, "", "the service has ended\n")
    with socket.socket() as free, pytest.raises(ConnectionRefusedError):
        free.connect(("127.0.0.1", port))


def test_a_package_without_calibration_is_not_served() -> None:
    with pytest.raises(ValueError, match="no calibration"):
        app.application(replace(judging_package(), calibration=None))


def test_rates_on_offer_are_those_that_the_calibration_allows(port: int) -> None:
    _, text, _ = send(port, None)
    assert [rate for rate in app.RATES if f'value="{rate:g}"' in text] == [0.1, 0.2]
