#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Many HTTP/1.1 connections at once from the kernel's sockets, for tests and the demo.

conns.py ADDR PORT COUNT PATH [SECONDS]

Opens COUNT connections and keeps them all open, requests PATH on each and checks that every
answer is whole and the same; with SECONDS, goes on requesting for that long. Prints "open COUNT
REQUESTS" and waits for SIGTERM before it closes them.
"""
import select
import signal
import socket
import sys
import time


def read_answer(sock, buf):
    """One answer from a blocking socket: (status, body, rest)."""
    while b"\r\n\r\n" not in buf:
        piece = sock.recv(65536)
        if not piece:
            raise EOFError("closed before an answer")
        buf += piece
    head, body = buf.split(b"\r\n\r\n", 1)
    length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n")
                  if line.lower().startswith(b"content-length:"))
    while len(body) < length:
        piece = sock.recv(65536)
        if not piece:
            raise EOFError("closed within an answer")
        body += piece
    return int(head.split()[1]), body[:length], body[length:]


def main():
    addr, port, count, path = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    seconds = float(sys.argv[5]) if len(sys.argv) > 5 else 0
    request = f"GET {path} HTTP/1.1\r\nHost: {addr}\r\n\r\n".encode()
    socks = []
    for _ in range(count):
        sock = socket.create_connection((addr, port), timeout=30)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        socks.append(sock)
    first, requests = None, 0
    end = time.monotonic() + seconds
    while True:
        for sock in socks:
            sock.sendall(request)
        for sock in socks:
            status, body, rest = read_answer(sock, b"")
            first = body if first is None else first
            if status != 200 or body != first or rest:
                sys.exit(f"conns.py: answer {status}, {len(body)} bytes, expected {len(first)}")
            requests += 1
        if time.monotonic() >= end:
            break
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    print("open", len(socks), requests, flush=True)
    signal.sigwait({signal.SIGTERM})
    if select.select(socks, [], [], 0)[0]:
        sys.exit("conns.py: a connection was closed, or sent data that nobody asked for")
    for sock in socks:
        sock.close()


main()
