#!/usr/bin/env python3
"""The README's story, running: a shop whose pages do not come, and somebody who keeps asking.

    story.py [--requests N] [--port PORT] [--database HOST:PORT]

Starts shop_web.py and asks it for a page every few seconds until Ctrl-C, or N times.  To find
out why no page comes, run `sudo dsight` in another terminal, or both in one go:

    sudo dsight watch -c 'examples/story/story.py --requests 1'
"""

from __future__ import annotations

import argparse
import pathlib
import subprocess
import sys
import time
import urllib.error
import urllib.request

HERE = pathlib.Path(__file__).parent


def ask(address: str) -> str:
    """One page, as a browser would show it, and how long it took."""
    began = time.monotonic()
    try:
        with urllib.request.urlopen(address, timeout=30) as page:
            status, text = page.status, page.read().decode()
    except urllib.error.HTTPError as e:
        status, text = e.code, e.read().decode()
    return f"GET {address}  {status} after {time.monotonic() - began:.1f} s: {text.strip()}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=0, help="how many; without it, until Ctrl-C")
    parser.add_argument("--port", type=int, help="where the shop listens (0: any free port)")
    parser.add_argument("--database", help="instead of what shop.ini says")
    options = parser.parse_args()
    command = [sys.executable, str(HERE / "shop_web.py")]
    command += ["--port", str(options.port)] if options.port is not None else []
    command += ["--database", options.database] if options.database else []
    web = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert web.stdout is not None
        address = web.stdout.readline().strip()
        if not address:
            return 1
        asked = 0
        while not options.requests or asked < options.requests:
            if asked:
                time.sleep(2)
            print(ask(address), flush=True)
            asked += 1
    except KeyboardInterrupt:
        pass
    finally:
        web.terminate()
        web.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
