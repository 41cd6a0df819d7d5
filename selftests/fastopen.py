# SPDX-License-Identifier: BSD-2-Clause
"""TCP fast open: a server and a client for selftests/netns/fastopen.sh.

fastopen.py serve ADDRESS PORT [KEYS] answers each connection's first text with it, and tells of it
fastopen.py CALL ADDRESS PORT [SIZE]  a connection whose first SIZE bytes are sent by CALL: sendto,
                                      connect (TCP_FASTOPEN_CONNECT), nonblock (sendto) or plain
"""
import select
import socket
import struct
import sys

TCP_FASTOPEN_CONNECT = 30
TCP_FASTOPEN_KEY = 33
SYN_DATA = 32


def syn_data(s):
    return bool(s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 8)[5] & SYN_DATA)


def take(s, n):
    got = b""
    while len(got) < n and (d := s.recv(n - len(got))):
        got += d
    return got


def serve(addr, keys):
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(addr)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 5)
    s.listen(20)
    if keys:  # of a listener, as who changes them does
        s.setsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN_KEY, keys)
        assert s.getsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN_KEY, 64) == keys
    print("listening", flush=True)
    while True:
        c, _ = s.accept()
        c.settimeout(10)
        try:
            n = struct.unpack("!I", take(c, 4))[0]
            c.sendall(take(c, n))
            print("in the SYN", syn_data(c), flush=True)
        except (OSError, struct.error) as e:
            print(e, flush=True)
        c.close()


def call(how, addr, size):
    body = bytes(range(251)) * (size // 251 + 1)
    text = struct.pack("!I", size) + body[:size]
    s = socket.socket()
    s.settimeout(10)
    if how == "plain":
        s.connect(addr)
        s.sendall(text)
    elif how == "connect":
        s.setsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1)
        s.connect(addr)
        s.sendall(text)
    elif how == "sendto":
        s.settimeout(None)
        n = s.sendto(text, socket.MSG_FASTOPEN, addr)
        s.sendall(text[n:])
    else:
        s.setblocking(False)
        try:
            n = s.sendto(text, socket.MSG_FASTOPEN, addr)
        except BlockingIOError:
            print("in progress")
            n = 0
        select.select([], [s], [], 10)
        s.settimeout(10)
        s.sendall(text[n:])
    got = take(s, size)
    print("same" if got == body[:size] else f"{len(got)} of {size}", "in the SYN", syn_data(s))
    s.close()


address = (sys.argv[2], int(sys.argv[3]))
if sys.argv[1] == "serve":
    serve(address, bytes.fromhex("".join(sys.argv[4:])))
else:
    call(sys.argv[1], address, int(sys.argv[4]) if len(sys.argv) > 4 else 100)
