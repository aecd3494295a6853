"""Passwords in addresses: they reach the server or bucket, and nothing that is printed or stored."""

import base64
import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from own_process import STUDY, is_one_line, python

from cameras.errors import one_line, redacted
from study import tracking
from study.execution import scheduler
from study.jobs.plan import context
from study.settings import StudyError, expanded, load_study, secrets

VARIABLES = (*secrets.MLFLOW, *secrets.AWS)


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*VARIABLES, "MLFLOW_TRACKING_URI"):
        monkeypatch.setenv(name, "")  # restored afterwards
        monkeypatch.delenv(name)
    monkeypatch.setattr(secrets, "moved", set())


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    """The address of a tracking server that refuses everybody, and the credentials that it was given."""
    given: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            given.append(self.headers.get("Authorization", ""))
            content = json.dumps({"error_code": "PERMISSION_DENIED", "message": "no"}).encode()
            self.send_response(403)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *arguments: object) -> None:
            pass

    served = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=served.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{served.server_address[1]}", given
    served.shutdown()


@pytest.mark.parametrize("named_in", ["environment", "study file"])
def test_a_tracker_gets_the_password_and_nobody_else(
    server: tuple[str, list[str]], tmp_path: Path, named_in: str
) -> None:
    """Behind a proxy that is not there, which must not be asked for this machine's own server."""
    address, given = server
    uri = f"http://user:hunter%402@{address}"
    path = tmp_path / "study.yaml"
    path.write_text(STUDY + (f"tracking_uri: {uri}\n" if named_in == "study file" else ""))
    env = {"http_proxy": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"}
    env |= {"MLFLOW_TRACKING_URI": uri} if named_in == "environment" else {}
    ran = python("-m", "study", "status", str(path), env=env, without=("no_proxy", "NO_PROXY"))
    assert is_one_line(ran), ran.stderr
    assert f"tracking at http://{address} cannot be used" in ran.stderr
    assert given
    assert set(given) == {"Basic " + base64.b64encode(b"user:hunter@2").decode()}
    assert "hunter" not in ran.stdout + ran.stderr


def test_nothing_that_is_stored_holds_a_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(STUDY + "storage: s3://AKIA:hunter/2+x@bucket/prefix/\n")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://user:hunter2@host/path")
    study = load_study(str(path))
    assert study.storage == "s3://bucket/prefix"
    travels = context(study, "7").model_dump_json() + study.model_dump_json() + str(secrets.moved)
    assert "https://host/path" in travels
    assert "hunter" not in travels
    assert tracking.default_uri("anywhere") == "https://host/path"
    assert [os.environ[name] for name in VARIABLES] == ["user", "hunter2", "AKIA", "hunter/2+x"]
    assert secrets.moved == set(VARIABLES), "workers of a cluster are given them"


def test_a_password_that_no_library_would_find_is_refused() -> None:
    with pytest.raises(StudyError, match=r"postgresql://\*\*\*@host/db would be stored") as refused:
        secrets.without_password("postgresql://user:hunter2@host/db")
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    "address",
    ["http://127.0.0.1:5000/a@b", "s3://bucket/a:b@c", "sqlite:////a/b:c@d.db", "file:///a", "postgresql://u@h/db"],
)
def test_an_address_without_a_password_stays(address: str) -> None:
    assert secrets.without_password(address) == address
    assert not secrets.moved


def test_errors_do_not_tell_passwords() -> None:
    text = "API request to http://user:p@ss@host/api failed, and s3://AK:a/b@bucket/x; mail a@b.c about http://h:1/x"
    assert redacted(text).startswith("API request to http://***@host/api failed")
    assert redacted(text).endswith("mail a@b.c about http://h:1/x")
    assert "a/b" not in redacted(text)
    assert "p@ss" not in one_line(ValueError(text))


def test_a_folder_keeps_its_colons() -> None:
    assert expanded("/a:b@c") == "/a:b@c"


def test_workers_of_a_cluster_are_given_the_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {}
    monkeypatch.setattr(scheduler.ray, "is_initialized", lambda: False)
    monkeypatch.setattr(scheduler.ray, "init", lambda **options: given.update(options))
    for name, value in scheduler.ENVIRONMENT.items():
        monkeypatch.setenv(name, value)  # restored afterwards
    monkeypatch.setenv("PYTHONPATH", "/modules/a:/modules/b")
    expanded("s3://AKIA:hunter2@bucket")
    for address in ("host:6379", "local"):
        scheduler.connect(address)
        assert "hunter2" not in str(given), "Ray writes down the environment that it gives to workers"
    assert scheduler.credentials()["AWS_SECRET_ACCESS_KEY"] == "hunter2", "an argument of every job"
