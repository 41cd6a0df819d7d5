# SPDX-License-Identifier: BSD-2-Clause
"""The other end of the programs here, on the kernel's sockets. peer.py ADDRESS

The first line of a connection says what to do:
  echo              echo until the end, then close
  source N          send N bytes of a pattern, close
  hello             send "hello", then read to the end
  bye               send "bye", shutdown for writing, read to the end
  close             close at once
  reset             reset the connection when the next byte comes
  hold              read nothing until a "go" connection comes
  delay MS BYTES    send BYTES after MS
  urgent            send "abcx!", the "!" urgent; when a byte comes, "def"; then read to the end
  lateurgent        when a byte comes, send an urgent one
  ofurgent          wait for an urgent byte, read to the end, answer with both
  end NAME          answer "ok", read until the connection ends, remember how
  ended NAME        answer how "end NAME" ended, and how many bytes came: "eof 3", "reset 0"
  count             read to the end, answer with the number of bytes
  connect PORT N WHAT   connect back N times, one after the other; on each: hello, close, reset
                    (after hello), echo. Answer "done" when all are up.
  udp PORT N TEXT   send N datagrams to PORT of whoever asks: TEXT0, TEXT1, ...

UDP, same port: each datagram comes back; "twice ..." two times, "size N": N bytes of a pattern.
"""
import fcntl
import select
import socket
import struct
import sys
import termios
import threading
import time

go = threading.Event()
ends = {}
ends_changed = threading.Condition()


def reset(s):
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()


# Once the other end has the connection: a reset may overtake the ACK that completes the handshake, which leaves
# by another CPU.
def abort(s):
    s.sendall(b"x")
    for _ in range(10000):
        if not struct.unpack("i", fcntl.ioctl(s, termios.TIOCOUTQ, bytes(4)))[0]:
            break
        time.sleep(0.0005)
    reset(s)


def drain(s):
    while s.recv(65536):
        pass


def echo(s):
    while d := s.recv(65536):
        s.sendall(d)


def back(s, what):
    try:
        if what == "abort":
            return abort(s)
        if what in ("hello", "reset"):
            s.sendall(b"hello")
        if what == "reset":
            s.recv(1)
            return reset(s)
        if what == "hello":
            drain(s)
        if what == "echo":
            echo(s)
    except OSError:
        pass
    s.close()


def serve(s, addr):
    f = s.makefile("rb", buffering=0)
    word = f.readline().decode().split()
    what = word[0] if word else "close"
    try:
        if what == "echo":
            echo(s)
        elif what == "source":
            n = int(word[1])
            block = bytes(range(251)) * 1024
            while n > 0:
                s.sendall(block[: min(n, len(block))])
                n -= len(block)
        elif what == "hello":
            s.sendall(b"hello")
            drain(s)
        elif what == "bye":
            s.sendall(b"bye")
            s.shutdown(socket.SHUT_WR)
            drain(s)
        elif what == "reset":
            s.recv(1)
            return reset(s)
        elif what == "hold":
            go.clear()
            go.wait(30)
            drain(s)
        elif what == "go":
            go.set()
        elif what == "delay":
            time.sleep(int(word[1]) / 1000)
            s.sendall(word[2].encode())
            drain(s)
        elif what == "urgent":
            s.sendall(b"abc")
            s.send(b"x!", socket.MSG_OOB)
            s.recv(1)
            s.sendall(b"def")
            drain(s)
        elif what == "lateurgent":
            s.recv(1)
            s.send(b"!", socket.MSG_OOB)
            drain(s)
        elif what == "ofurgent":
            select.select([], [], [s], 10)
            oob = s.recv(1, socket.MSG_OOB)
            rest = b""
            while d := s.recv(65536):
                rest += d
            s.sendall(b"urgent %s of %s" % (oob, rest))
        elif what == "end":
            n = 0
            s.sendall(b"ok")
            try:
                while d := s.recv(65536):
                    n += len(d)
                how = "eof"
            except ConnectionResetError:
                how = "reset"
            with ends_changed:
                ends[word[1]] = f"{how} {n}"
                ends_changed.notify_all()
        elif what == "ended":
            with ends_changed:
                ends_changed.wait_for(lambda: word[1] in ends, 20)
                s.sendall(ends.pop(word[1], "nothing").encode())
        elif what == "count":
            n = 0
            while d := s.recv(65536):
                n += len(d)
            s.sendall(b"%d" % n)
        elif what == "udp":
            u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            u.bind((sys.argv[1], 0))
            for i in range(int(word[2])):
                u.sendto(b"%s%d" % (word[3].encode(), i), (addr[0], int(word[1])))
            s.sendall(b"done")
        elif what == "connect":
            for _ in range(int(word[2])):
                c = socket.create_connection((addr[0], int(word[1])), 10)
                c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if word[3] == "abort":
                    back(c, word[3])  # before the next
                else:
                    threading.Thread(target=back, args=(c, word[3]), daemon=True).start()
            s.sendall(b"done")
            drain(s)
    except OSError:
        pass
    s.close()


def datagrams(u):
    pattern = bytes(range(251)) * 300
    while True:
        d, addr = u.recvfrom(65536)
        if d.startswith(b"size "):
            d = pattern[: int(d[5:])]
        u.sendto(d, addr)
        if d.startswith(b"twice"):
            u.sendto(d, addr)


udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind((sys.argv[1], 7000))
threading.Thread(target=datagrams, args=(udp,), daemon=True).start()
listener = socket.create_server((sys.argv[1], 7000), backlog=128)
print("listening", flush=True)
while True:
    conn, peer = listener.accept()
    threading.Thread(target=serve, args=(conn, peer), daemon=True).start()
