"""``ray up``, ``ray job submit`` and ``ray down`` of cluster-own-machines.yaml, for real: ``make test-ray-up``.

Three machines are made out of this one: the laptop in front of it all, a head and a worker. The last two are OpenSSH
servers on loopback addresses of their own, with their own processes, /tmp, home and host name; what they share is the
network and /mnt, where the storage of the study lies. All of it lives in namespaces of its own, its files in memory:
nothing of this machine is touched, and everything ends with this script, however that ends. Needs Linux, root, and
Debian's iproute2, openssh-server and rsync.

The shipped file is used as it is, but for its addresses, user and key, and for the two lines that would install the
requirements: they give way to a link to the virtual environment that is here.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psutil
import yaml
from mlflow import MlflowClient

ROOT = Path(__file__).resolve().parents[2]
SHARED, HOME = Path("/mnt"), Path("/mnt/home")  # a home for each machine, at the same place
HEAD, WORKER, ELSEWHERE = "127.0.0.1", "127.0.0.2", "127.0.0.3"
PRIVATE = ["/tmp", "/dev/shm", "/run", str(SHARED)]  # of the machines that are made, and hidden from them
PROGRAMS = {"unshare": "util-linux", "ip": "iproute2", "sshd": "openssh-server", "rsync": "rsync"}
NAMESPACES = ["unshare", "--fork", "--kill-child", "--mount-proc", "--pid", "--mount", "--uts"]
MACHINE = """
    mount -t tmpfs home {home} && touch {home}/.bashrc && mount -t tmpfs tmp /tmp && mount -t tmpfs shm /dev/shm
    hostname {name}
    exec $(command -v sshd) -D -e -f /dev/null -h {shared}/host_key -o ListenAddress={address} \
        -o AuthorizedKeysFile={shared}/user_key.pub -o StrictModes=no -o PidFile=none
"""
NOISE = (  # says nothing about this cluster
    r"Shared connection to|Ignoring upload|network_util\.cc|ClusterState: |File Mount: |To ensure this mount"
    r"|cached provider|issues with the cloud provider|Autoscaler v2 is now enabled"
)
ENVIRONMENT = {
    "PATH": f"{sys.prefix}/bin:{os.environ['PATH']}:/usr/sbin:/sbin",
    "HOME": str(HOME),
    "LANG": "C.UTF-8",
    "RAY_AUTH_MODE": "token",
    "RAY_API_SERVER_ADDRESS": "http://127.0.0.1:8266",  # forwarded by `ray dashboard`; 8265 is the head's own
    "RAY_OVERRIDE_RUNTIME_ENV_DEFAULT_EXCLUDES": "",
    "RAY_USAGE_STATS_ENABLED": "0",
    "PYTHONUNBUFFERED": "1",
}


def main() -> None:
    for program, package in PROGRAMS.items():
        if shutil.which(program, path=ENVIRONMENT["PATH"]) is None:
            sys.exit(f"{program} is missing: apt-get install {package}")
    if os.geteuid() != 0:
        sys.exit("needs root, to make machines of its own")
    if any(ROOT.is_relative_to(folder) for folder in PRIVATE):
        sys.exit(f"{ROOT}: the machines that are made cannot see it there; move the repository elsewhere")
    if "--inside" not in sys.argv:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
        inside = ["setpriv", "--pdeathsig", "KILL", *NAMESPACES, "--net", sys.executable, __file__, "--inside"]
        sys.exit(subprocess.run(inside, env=ENVIRONMENT).returncode)
    prepare()
    machines = [boot("head", HEAD), boot("worker", WORKER)]
    try:
        play()
    finally:
        for machine in machines:
            machine.kill()


def prepare() -> None:
    """The network, keys, and the laptop's home with the adapted cluster file."""
    run("ip", "link", "set", "lo", "up")
    for folder in PRIVATE:
        run("mount", "-t", "tmpfs", "tmpfs", folder)
    for folder in (HOME, Path("/run/sshd")):
        folder.mkdir()
    passwd = re.sub(r"^root:.*$", f"root:x:0:0:root:{HOME}:/bin/bash", Path("/etc/passwd").read_text(), flags=re.M)
    (SHARED / "passwd").write_text(passwd)
    run("mount", "--bind", str(SHARED / "passwd"), "/etc/passwd")
    for key in ("host_key", "user_key"):
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(SHARED / key))

    cluster = yaml.safe_load((ROOT / "cluster-own-machines.yaml").read_text())
    cluster["provider"] |= {"head_ip": HEAD, "worker_ips": [WORKER]}
    cluster["auth"] = {"ssh_user": "root", "ssh_private_key": str(SHARED / "user_key")}
    install = [command for command in cluster["setup_commands"] if "-m venv" in command or "pip install" in command]
    kept = [command for command in cluster["setup_commands"] if command not in install]
    cluster["setup_commands"] = [*kept, f"ln -sfn {sys.prefix} ~/imaging-pipelines/venv"]
    os.chdir(HOME)
    Path("cluster.yaml").write_text(yaml.safe_dump(cluster, sort_keys=False))
    shutil.copy(ROOT / "requirements.txt", ".")


def boot(name: str, address: str) -> subprocess.Popen[bytes]:
    script = MACHINE.format(home=HOME, shared=SHARED, name=name, address=address)
    with (SHARED / f"{name}.log").open("wb") as log:
        return subprocess.Popen([*NAMESPACES, "sh", "-c", script], stdout=log, stderr=log)


def play() -> None:
    """What the README says, line by line."""
    say(
        "cluster-own-machines.yaml, with an existing virtual environment in place of an installation; "
        f"head {HEAD}, worker {WORKER}"
    )
    start = time.monotonic()
    run("ray", "get-auth-token", "--generate")
    show("ray up", "--yes", "cluster.yaml")
    print("\n$ ray dashboard cluster.yaml --port 8266 &")
    dashboard = subprocess.Popen(
        ["ray", "dashboard", "cluster.yaml", "--port", "8266"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    check_doors()
    study = ["python", "-m", "study", "run", "smoke", "--address", "auto", "--storage", str(SHARED / "study")]
    show("ray job submit", "--submission-id", "smoke", "--working-dir", str(ROOT), "--", *study)
    show("ray job status", "smoke")
    show("ray exec", "cluster.yaml", "RAY_AUTH_MODE=token ray status")
    check_runs()
    dashboard.terminate()
    show("ray down", "--yes", "cluster.yaml")
    down = time.monotonic()
    until(lambda: not ray_processes(), 180)
    say(f"no process of Ray is left on the machines, {time.monotonic() - down:.0f} s after `ray down`")
    say(f"{time.monotonic() - start:.0f} s in all")


def check_doors() -> None:
    """Who may not come in."""
    until(lambda: answer("http://127.0.0.1:8266") is not None, 60)
    until(lambda: answer(f"http://{HEAD}:5000/health") == 200, 60)
    assert answer("http://127.0.0.1:8266/api/jobs/") == 401
    assert answer(f"http://{ELSEWHERE}:8265") is None
    assert answer(f"http://{ELSEWHERE}:5000/health") is None
    experiments = f"http://{HEAD}:5000/api/2.0/mlflow/experiments/search?max_results=1"
    assert answer(experiments) == 200
    assert answer(experiments, host="mlflow.example.com") == 403
    say("the job API refuses whoever has no token; MLflow refuses a foreign host name; neither listens elsewhere")


def check_runs() -> None:
    client = MlflowClient(f"http://{HEAD}:5000")
    runs = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    found = Counter((run.data.tags.get("kind"), run.info.status) for run in runs)
    say("MLflow: " + ", ".join(f"{count} {kind} {status}" for (kind, status), count in sorted(found.items(), key=str)))
    assert found == {("pretrain", "FINISHED"): 2, ("trial", "FINISHED"): 4}
    assert len({run.data.tags["trial_key"] for run in runs if run.data.tags["kind"] == "trial"}) == 4
    revisions = {run.data.tags["git_revision"] for run in runs}
    say(f"code revision of all runs: {', '.join(revisions)}")
    assert "unknown" not in revisions or not (ROOT / ".git").exists(), "the commit did not travel with the code"


def answer(url: str, host: str | None = None) -> int | None:
    """The status of a plain request without a token, or None where nobody listens."""
    request = urllib.request.Request(url, headers={"Host": host} if host else {})
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


def ray_processes() -> list[str]:
    """Of all machines."""
    commands = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
    return [command for command in commands if command.startswith("ray::") or "/site-packages/ray/" in command]


def until(holds: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"waited {seconds} s in vain"
        time.sleep(1)


def run(*command: str) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def show(command: str, *arguments: str) -> None:
    """Run a command of Ray and print it with what it says, less colours, noise and this machine's paths."""
    print(f"\n$ {plain(' '.join([command, *arguments]))}", flush=True)
    process = subprocess.Popen(
        [*command.split(), "--log-style", "pretty", "--log-color", "false", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() and not re.search(NOISE, line):
            print(plain(line.rstrip()), flush=True)
    assert process.wait() == 0, f"{command} failed"


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\r", "", text).replace(sys.prefix, ".venv").replace(str(ROOT), ".")


def say(text: str) -> None:
    print(f"\n# {text}", flush=True)


if __name__ == "__main__":
    main()
