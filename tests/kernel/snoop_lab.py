"""Packets of two processes of known names in a network namespace of their own, for test_snoop.

Prints the namespace; at each line it reads, makes the exchange and prints as JSON the processes' ids and what a capture
on the device saw: [direction, IP version, protocol, whole packet as hexadecimal] of each packet.  Ends with its input.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import struct
import subprocess
import sys

TCP, UDP, CLOSED = 5001, 5002, 5999


def named(name: str) -> None:
    with open("/proc/self/comm", "w") as f:
        f.write(name)


def query(name: bytes) -> bytes:
    """A DNS query for an address."""
    labels = b"".join(bytes([len(label)]) + label for label in name.split(b"."))
    return struct.pack(">6H", 4711, 0x100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">HH", 1, 1)


def serve(tcp: socket.socket, udp: socket.socket) -> None:
    named("snoop-early")
    try:
        udp.recv(9, socket.MSG_DONTWAIT)  # so that it is known whose the socket is
    except BlockingIOError:
        pass
    named("snoop-server")  # after it was seen
    c, _ = tcp.accept()
    c.sendall(c.recv(9999))
    c.recv(99)
    c.close()
    data, sender = udp.recvfrom(9999)
    udp.sendto(data, sender)


def ask() -> None:
    named("snoop-client")
    with socket.create_connection(("127.0.0.1", TCP)) as s:
        s.sendall(b"hello" * 200)
        s.recv(9999)
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as s:
        s.sendto(b"ping", ("::1", UDP))
        s.recv(99)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.connect(("127.0.0.1", 53))
        s.send(query(b"db1.example"))
        try:
            s.recv(9)
        except ConnectionRefusedError:
            pass
    with socket.socket() as s:
        s.connect_ex(("127.0.0.1", CLOSED))


def child(work: object, *args: socket.socket) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            work(*args)  # type: ignore[operator]
        finally:
            os._exit(0)
    return pid


def captured(capture: socket.socket) -> list[list[object]]:
    found: list[list[object]] = []
    while True:
        try:
            data, (_, protocol, kind, *_) = capture.recvfrom(65536)
        except BlockingIOError:
            return found
        if protocol in (0x800, 0x86DD):
            way = "out" if kind == socket.PACKET_OUTGOING else "in"
            found.append([way, data[0] >> 4, data[9 if data[0] >> 4 == 4 else 6], data.hex()])


def main() -> None:
    if ctypes.CDLL(None, use_errno=True).unshare(0x40000000):  # CLONE_NEWNET
        raise OSError(ctypes.get_errno(), "unshare")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    capture = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))  # ETH_P_ALL
    capture.setblocking(False)
    print(os.stat("/proc/self/ns/net").st_ino, flush=True)
    for _ in sys.stdin:
        captured(capture)
        with socket.create_server(("127.0.0.1", TCP)) as tcp, socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as udp:
            udp.bind(("::1", UDP))
            server, client = child(serve, tcp, udp), child(ask)
            os.waitpid(client, 0)
            os.waitpid(server, 0)
        print(
            json.dumps({"lab": os.getpid(), "server": server, "client": client, "captured": captured(capture)}),
            flush=True,
        )


if __name__ == "__main__":
    main()
