"""`make mutants`: does a test notice each of the faults? `python tests/mutants [WORDS]` tries those with WORDS in them.

A fault is written into a copy of the tree in a temporary folder, and its test is run there. It is killed if the test
fails. Exit status 1 if a fault survives, does not apply, or breaks more than its test; or if a test fails without it.
"""

import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch  # noqa: F401 (loaded once, here, and not again in the process of every test)
from faults import FAULTS, Fault

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT = 300  # seconds that the test of one fault may take
PASSED, FAILED = 0, 1  # exit statuses of pytest


def copy_tree(folder: Path) -> Path:
    """Copies what git tracks, as it lies in the working tree."""
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, tracked.split("\0")):
        if (ROOT / name).is_file():  # and not deleted since
            target = folder / "tree" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target)
    return folder / "tree"


def run_tests(tree: Path, tests: Sequence[str], *options: str) -> tuple[int | None, str]:
    """Runs tests in a copy; returns the exit status of pytest, None after a timeout, and what it printed."""
    log = tree.parent / "log"
    arguments = ["-q", "-p", "no:cacheprovider", *options, *(f"tests/{test}" for test in tests)]
    process = multiprocessing.get_context("fork").Process(target=pytest_in, args=(tree, arguments, log))
    process.start()
    process.join(TIMEOUT)
    if process.is_alive():
        process.kill()
        process.join()
        return None, f"no end after {TIMEOUT} s"
    return process.exitcode, log.read_text(errors="replace")


def pytest_in(tree: Path, arguments: list[str], log: Path) -> None:
    """The process of one call of pytest."""
    with log.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.chdir(tree)
    sys.path[0] = str(tree)  # before the packages that are installed from the working tree
    sys.dont_write_bytecode = True  # a stale .pyc hides a fault
    os.environ |= {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}  # for processes that tests start
    sys.exit(int(pytest.main(arguments)))


def unfit_tests(tree: Path, tests: Sequence[str]) -> Iterator[str]:
    """Names the tests that cannot prove anything: they fail, or nothing of them is run, without any fault."""
    report = tree.parent / "without.xml"
    status, output = run_tests(tree, tests, f"--junitxml={report}")
    if status not in (PASSED, FAILED):
        yield output
        return
    cases = [
        (case.get("classname", "").replace(".", "/") + ".py", case.get("name", "").partition("[")[0], case)
        for case in ElementTree.parse(report).iter("testcase")
    ]
    for test in tests:
        file, _, function = test.partition("::")
        own = [case for path, name, case in cases if path == f"tests/{file}" and function in ("", name)]
        if any(case.find(bad) is not None for case in own for bad in ("failure", "error")):
            yield f"{test} fails without any fault"
        elif all(case.find("skipped") is not None for case in own):
            yield f"{test} runs nothing on this machine"


def verdict_on(fault: Fault, tree: Path) -> str:
    """Writes a fault into the copy, runs its test, and takes the fault out again."""
    path = tree / fault.file
    right = path.read_text() if path.exists() else ""
    if fault.right not in right:
        return f"DOES NOT APPLY: {fault.file} has no {fault.right!r}"
    path.write_text(right.replace(fault.right, fault.wrong))
    try:
        status, output = run_tests(tree, [fault.test], "-x", "--durations=0")
    finally:
        path.write_text(right)
    if status == FAILED:
        return "killed"
    return "SURVIVED" if status == PASSED else f"BREAKS MORE THAN ITS TEST:\n{output[-2000:]}"


def main(words: str = "") -> int:
    chosen = [fault for fault in FAULTS if words in " ".join(fault)]
    if not chosen:
        print(f"no fault has {words!r} in it")
        return 1
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        tree = copy_tree(Path(folder))
        problems = list(unfit_tests(tree, sorted({fault.test for fault in chosen})))
        for problem in problems:
            print(problem)
        if problems:
            return 1
        print(f"without a fault all tests pass: {time.monotonic() - begin:.0f} s", flush=True)
        survivors = 0
        for number, fault in enumerate(chosen, start=1):
            start = time.monotonic()
            verdict = verdict_on(fault, tree)
            survivors += verdict != "killed"
            package, seconds = fault.file.partition("/")[0], time.monotonic() - start
            print(f"{number:3} {seconds:5.1f} s  {package:9}  {fault.name}  [{fault.test}]  {verdict}", flush=True)
    print(f"{len(chosen) - survivors} of {len(chosen)} faults killed in {time.monotonic() - begin:.0f} s")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
