"""The README's story, for real: the shop is set up with its own address instead of the database's;
`dsight` names the process, shows that it connects to itself and that nothing listens there."""

from __future__ import annotations

import json
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from datetime import datetime

import pytest

pytestmark = pytest.mark.kernel

REPO = pathlib.Path(__file__).resolve().parents[2]
STORY = REPO / "examples" / "story"


def lines(stream, seconds: float):
    """Lines of a stream with the time each came, until it ends or the seconds are over."""
    import queue

    found: queue.Queue = queue.Queue()

    def read() -> None:
        for line in stream:
            found.put((time.time(), line))
        found.put(None)

    threading.Thread(target=read, daemon=True).start()
    end = time.monotonic() + seconds
    while True:
        try:
            item = found.get(timeout=max(0.0, end - time.monotonic()))
        except queue.Empty:
            pytest.fail(f"no more lines within {seconds} s")
        if item is None:
            return
        yield item


@pytest.fixture
def port():
    """A port on which nothing listens while the test runs: bound, so that nobody else gets it."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        yield s.getsockname()[1]


@pytest.fixture
def web(port):
    """The shop's address, with the shop running."""
    command = [sys.executable, str(STORY / "shop_web.py"), "--port", "0", "--database", f"127.0.0.1:{port}"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield process, process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()


@pytest.fixture
def watcher(port):
    """`dsight watch --json --port PORT`, armed: a canary's refused connection has been reported."""
    command = [sys.executable, "-m", "dsight.ui.cli", "watch", "--json", "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    events = lines(process.stdout, 60)
    stop = threading.Event()

    def canary() -> None:
        while not stop.wait(0.05):
            with socket.socket() as s:
                s.connect_ex(("127.0.0.1", port))

    thread = threading.Thread(target=canary)
    thread.start()
    try:
        next(events)
        stop.set()
        thread.join()
        yield events
    finally:
        stop.set()
        thread.join()
        process.send_signal(signal.SIGINT)
        try:
            process.wait(10)
        finally:
            process.kill()
            process.wait()
            process.stdout.close()


def status_of(address: str) -> int:
    try:
        with urllib.request.urlopen(address, timeout=30) as page:
            return page.status
    except urllib.error.HTTPError as e:
        return e.code


def test_the_watcher_tells_the_story(web, watcher, port):
    process, address = web
    asked = time.time()
    statuses: list[int] = []
    page = threading.Thread(target=lambda: statuses.append(status_of(address)))
    page.start()
    try:
        came, event = next(
            (came, event)
            for came, event in ((came, json.loads(line)) for came, line in watcher)
            if event["event"] == "outcome" and event["process"]["comm"] == "shop-worker"
        )
    finally:
        page.join(30)
    assert statuses == [503]
    # Who: the worker, although it lived for milliseconds, and whose child it was.
    assert event["process"]["args"][1:] == [str(STORY / "shop_worker.py"), f"127.0.0.1:{port}"]
    assert event["process"]["parents"][0] == {"pid": process.pid, "comm": "shop-web"}
    # Where to, and what came of it: itself, and nothing listens there.
    assert event["remote"]["address"] == "127.0.0.1"
    assert event["remote"]["port"] == port
    assert event["remote"]["self"] is True
    assert event["remote"]["listener"] is None
    assert (event["outcome"], event["error"]) == ("refused", "ECONNREFUSED")
    assert event["diagnosis"]["code"] == "nothing-listens-here"
    assert event["diagnosis"]["text"]
    # When: within a second of the request, by the kernel's clock and by ours.  A Python start on
    # a busy machine is part of it.
    happened = datetime.fromisoformat(event["time"][:26].rstrip("Z") + "+00:00").timestamp()
    assert asked - 0.1 < happened < asked + 1
    assert came < happened + 1


def test_the_command_of_the_readme_runs_and_ends(port):
    """`dsight watch -c STORY`: ends with the story, with its status, and names the worker."""
    story = f"{sys.executable} {STORY / 'story.py'} --requests 1 --port 0 --database 127.0.0.1:{port}"
    command = [sys.executable, "-m", "dsight.ui.cli", "watch", "-c", story]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "503 after" in done.stdout
    assert any("shop-worker" in line and f"127.0.0.1:{port}" in line for line in done.stdout.splitlines())
