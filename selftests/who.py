#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Which of several servers of one port answers: each says its name, one letter, first, and echoes then.

who.py PORT N         N connections one after the other
who.py PORT 0 AT_ONCE connections on and on, AT_ONCE at a time; says "runs", and ends at a line on its input

Prints {name: connections} as JSON, with "failed" for those that did not get their echo.
"""
import collections
import json
import socket
import sys
import threading
addr, port, n = "10.77.0.2", int(sys.argv[1]), int(sys.argv[2])
count, lock, end = collections.Counter(), threading.Lock(), threading.Event()
def one():
    try:
        with socket.create_connection((addr, port), 20) as s:
            s.settimeout(20)
            name = s.recv(1)
            s.sendall(b"hello")
            got = b""
            while name and len(got) < 5:
                b = s.recv(5)
                if not b:
                    break
                got += b
            return name.decode() if got == b"hello" else "failed"
    except OSError as e:
        print(e, file=sys.stderr)
        return "failed"
def many(n):
    while n and not end.is_set():
        r = one()
        with lock:
            count[r] += 1
        n -= 1
if n:
    many(n)
else:
    ts = [threading.Thread(target=many, args=(-1,)) for _ in range(int(sys.argv[3]))]
    for t in ts:
        t.start()
    print("runs", flush=True)
    sys.stdin.readline()
    end.set()
    for t in ts:
        t.join()
print(json.dumps(count), flush=True)
