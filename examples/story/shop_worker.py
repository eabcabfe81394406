"""The story's worker: asks the database one question and ends.  When it cannot, it keeps quiet.

shop_worker.py HOST:PORT
"""

import socket
import sys


def main(database: str) -> int:
    with open("/proc/self/comm", "w") as comm:
        comm.write("shop-worker")
    host, _, port = database.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=5) as connection:
            connection.sendall(b"STOCK\n")
            print(connection.recv(4096).decode(), end="")
    except OSError:
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
