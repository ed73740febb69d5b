"""Servers, runs of whetstone, and what is expected of them: what story.py is written with."""

import contextlib
import dataclasses
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
HERE = ROOT / "tests" / "partners"
PLACE = ROOT / "target" / "partners"
QUICKSTART = ROOT / "examples" / "quickstart"
LONGEST_RUN = 600  # seconds
VERDICTS = (0, 10, 11, 12)  # exit codes; 1 and 2 say nothing about a prompt


class Failed(Exception):
    """The story is not what it should be. What was expected, and what was seen."""


def expect(what, holds, seen=""):
    if not holds:
        raise Failed(f"expected {what}" + (f"; saw {seen}" if seen != "" else ""))


def same(what, expected, seen):
    expect(f"{what} to be {expected!r}", expected == seen, repr(seen))


def say(step, figures, seconds):
    print(f"{step:<44} {figures}; {seconds:.1f} s", flush=True)


def environment(**more):
    """What child processes get: none of the keys, proxies and settings of the person who runs this."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    return kept | {"NO_PROXY": "127.0.0.1", "PYTHONUNBUFFERED": "1"} | more


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def get(url):
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)


class Servers:
    """Processes that are stopped at the end, whatever it is like. Each is a process group, so that nothing of it stays."""

    def __init__(self, logs):
        self._logs = logs
        self._running = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self._running:
            self._signal(process, signal.SIGTERM)
        for process in self._running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=5)
            self._signal(process, signal.SIGKILL)
            process.wait()

    @staticmethod
    def _signal(process, number):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)

    def start(self, name, command, answers=None, patience=120, **more):
        """Starts a server and gives its address: what it says to listen on, or `answers` once that is answered with 200."""
        log = self._logs / f"{name}.log"
        with open(log, "wb") as output:
            process = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment(**more),
                cwd=HERE,
                start_new_session=True,
            )
        self._running.append(process)
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            said = log.read_text(errors="replace")
            if answers is None:
                found = re.search(r"listening on (http://[^\s/]+)", said)
                if found:
                    return found.group(1)
            else:
                with contextlib.suppress(OSError, urllib.error.HTTPError):
                    with urllib.request.urlopen(answers, timeout=2):
                        return answers
            if process.poll() is not None:
                raise Failed(f"{name} ended with {process.returncode} before it listened: {said[-2000:]}")
            time.sleep(0.1)
        raise Failed(f"{name} did not listen within {patience} s: {log.read_text(errors='replace')[-2000:]}")


@dataclasses.dataclass
class Ran:
    """A run that has ended."""

    code: int
    seconds: float
    text: str  # standard output and standard error
    report: dict | None

    @property
    def calls(self):
        return self.report["calls"]

    @property
    def paid(self):
        return float(self.report["cost"]["paid"])

    def scores(self):
        """Champion and challenger in words."""
        champion, challenger = self.report["champion"], self.report.get("challenger")
        words = f"{champion['score']:.3f}"
        return words if challenger is None else f"{words} -> {challenger['score']:.3f}"

    def usage(self):
        """Tokens that were paid: input and output."""
        phases = [phase["usage"] for phase in self.calls["byPhase"].values()]
        return sum(usage["input"] for usage in phases), sum(usage["output"] for usage in phases)

    def reasons(self):
        return "\n".join(reason["message"] for reason in self.report["reasons"])

    def figures(self):
        """All that must be the same in two runs that differ in their way to the models only."""
        sides = [
            {key: side[key] for key in ("hash", "score", "dimensions", "passRate", "scenarios")}
            for side in (self.report["champion"], self.report.get("challenger"))
            if side is not None
        ]
        clusters = [(cluster["label"], cluster["size"]) for cluster in self.report["clusters"]]
        calls = (self.calls["total"], self.calls["fromLedger"], self.calls["paidCalls"])
        paid = self.report["cost"]["paid"]
        return {"verdict": self.report["verdict"], "sides": sides, "clusters": clusters, "calls": calls, "paid": paid}


class Whetstone:
    """The program, and a folder for what it is given and what it writes."""

    def __init__(self, binary, folder):
        self.binary = binary
        self.folder = folder

    def take(self, *files):
        """Copies files into the folder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for file in files:
            shutil.copy(file, self.folder)

    def write(self, name, text):
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_text(text)
        return name

    def run(self, *arguments, code, out, patience=LONGEST_RUN, **variables):
        """Runs a command, which must end with `code`, or with one of them. There must be a report exactly where the code says so."""
        codes = code if isinstance(code, tuple) else (code,)
        folder = self.folder / out
        shutil.rmtree(folder, ignore_errors=True)
        began = time.monotonic()
        try:
            ended = subprocess.run(
                [str(self.binary), *arguments, "--out", out, "-q"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                env=environment(**variables),
                cwd=self.folder,
                timeout=patience,
            )
        except subprocess.TimeoutExpired:
            raise Failed(f"whetstone {' '.join(arguments)} was not done within {patience} s") from None
        text = ended.stdout + ended.stderr
        if ended.returncode not in codes:
            wanted = " or ".join(map(str, codes))
            command = " ".join(arguments)
            raise Failed(f"whetstone {command}: expected exit code {wanted}; saw {ended.returncode} and\n{text}")
        path = folder / "report.json"
        is_verdict = ended.returncode in VERDICTS
        expect(f"{'a' if is_verdict else 'no'} report", path.exists() == is_verdict, text)
        report = json.loads(path.read_text()) if path.exists() else None
        return Ran(ended.returncode, time.monotonic() - began, text, report)


def interrupted(*_):
    sys.exit(130)


def stop_on_signals():
    """SIGTERM and SIGHUP end the program as Ctrl-C does: everything that it has started is stopped first."""
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, interrupted)
