#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# A workload whose events TCP counts, the same whatever stack it runs on. "near" serves and then
# connects, "far" is its peer. near prints "held" while connections are open, "done" at the end.
#
#	tcpload.py near ADDR PORT FARADDR FARPORT CLOSEDPORT	tcpload.py far ADDR PORT FARADDR FARPORT
import socket
import struct
import sys
import time

role, addr, port, far_addr, far_port = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4], int(sys.argv[5])
LINGER0 = struct.pack("ii", 1, 0)
PLAIN, ABORTED, UNREAD, LINGERING, HELD = 20, 3, 2, 2, 5


def reset(s):
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER0)
    s.close()


def read(s, n):
    while n:
        data = s.recv(n)
        assert data
        n -= len(data)


def gone(s):
    try:
        while s.recv(1000):
            pass
    except ConnectionResetError:
        pass
    s.close()


if role == "near":
    listener = socket.create_server((addr, port), backlog=50)
    print("listening", flush=True)
    for i in range(PLAIN):
        s, _ = listener.accept()
        read(s, 100)
        s.sendall(bytes(200))
        assert s.recv(1) == b""
        s.close()
    for i in range(ABORTED):  # by the peer
        gone(listener.accept()[0])
    for i in range(UNREAD):  # closed with data that nobody has read
        s, _ = listener.accept()
        s.recv(1, socket.MSG_PEEK)
        s.close()
    for i in range(LINGERING):
        s, _ = listener.accept()
        read(s, 1)
        reset(s)
    for i in range(4):
        s = socket.create_connection((far_addr, far_port))
        s.sendall(b"x")
        read(s, 1)
        s.close()
    for i in range(3):
        try:
            socket.create_connection((far_addr, int(sys.argv[6])))
            assert False
        except ConnectionRefusedError:
            pass
    held = [listener.accept()[0] for i in range(HELD)]
    for s in held:
        read(s, 1)
    print("held", flush=True)
    for s in held:
        assert s.recv(1) == b""
        s.close()
    print("done", flush=True)
    sys.stdin.read()
else:
    server = socket.create_server((far_addr, far_port))

    def dial():
        while True:
            try:
                return socket.create_connection((addr, port))
            except ConnectionRefusedError:
                time.sleep(0.05)

    for i in range(PLAIN):
        s = dial()
        s.sendall(bytes(100))
        read(s, 200)
        s.shutdown(socket.SHUT_WR)
        gone(s)
    for i in range(ABORTED):
        reset(dial())
    for i in range(UNREAD + LINGERING):
        s = dial()
        s.sendall(b"x")
        gone(s)
    for i in range(4):
        s, _ = server.accept()
        read(s, 1)
        s.sendall(b"y")
        gone(s)
    held = [dial() for i in range(HELD)]
    for s in held:
        s.sendall(b"x")
    print("held", flush=True)
    sys.stdin.readline()
    for s in held:
        s.close()
    sys.stdin.read()
