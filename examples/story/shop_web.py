"""The story's web application: a shop that never says why its pages do not come.

    shop_web.py [--settings shop.ini] [--port PORT] [--database HOST:PORT]

Each page asks a worker process for the stock; a worker lives as long as its one question.  When
the question fails the shop tries again, quietly, and says sorry in the end: no log, no reason.
Prints its own address once it listens.
"""

from __future__ import annotations

import argparse
import configparser
import http.server
import pathlib
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).parent
TRIES, PAUSE = 5, 0.4


def name_process(name: str) -> None:
    """What `ps` and `execname` show; otherwise each Python program is called python3."""
    pathlib.Path("/proc/self/comm").write_text(name)


def stock(database: str) -> str | None:
    """The stock, from a worker of its own for each try; None when the tries are used up."""
    for _ in range(TRIES):
        worker = [sys.executable, str(HERE / "shop_worker.py"), database]
        done = subprocess.run(worker, capture_output=True, text=True)
        if done.returncode == 0:
            return done.stdout
        time.sleep(PAUSE)
    return None


class Page(http.server.BaseHTTPRequestHandler):
    database = ""

    def do_GET(self) -> None:
        found = stock(self.database)
        body = (found or "Sorry, something went wrong. Please try again later.\n").encode()
        self.send_response(200 if found else 503)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing: that is the story."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", default=str(HERE / "shop.ini"))
    parser.add_argument("--port", type=int)
    parser.add_argument("--database")
    options = parser.parse_args()
    settings = configparser.ConfigParser()
    settings.read(options.settings)
    Page.database = options.database or "{host}:{port}".format(**settings["database"])
    port = options.port if options.port is not None else settings.getint("web", "port")

    name_process("shop-web")
    with http.server.ThreadingHTTPServer(("127.0.0.1", port), Page) as server:
        print(f"http://127.0.0.1:{server.server_address[1]}/", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main()
