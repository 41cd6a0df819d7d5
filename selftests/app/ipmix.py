#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# Packets that IP, ICMP, UDP and TCP count, good ones and bad ones, each kind a number of times of its
# own. "near" has an open UDP port and a listener; "far" sends from a packet socket.
#
#	ipmix.py near ADDR		ipmix.py far IF ADDR MAC NEARADDR NEARMAC
import socket
import struct
import sys
import time

OPEN, CLOSED = 5000, 5001


def csum(b):
    b += bytes(len(b) % 2)
    n = sum(struct.unpack(f"!{len(b) // 2}H", b))
    while n >> 16:
        n = (n & 0xFFFF) + (n >> 16)
    return ~n & 0xFFFF


if sys.argv[1] == "near":
    u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    u.bind((sys.argv[2], OPEN))
    listener = socket.create_server((sys.argv[2], OPEN))
    print("listening", flush=True)
    while True:  # an empty datagram ends it
        data, who = u.recvfrom(70000)
        u.sendto(data, who)

ifname, addr, mac, near, near_mac = sys.argv[2:]
raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
raw.bind((ifname, 0))
eth = bytes.fromhex((near_mac + mac).replace(":", "")) + b"\x08\x00"
src, ids = socket.inet_aton(addr), iter(range(1, 60000))


def ip(proto, body, dst=near, first=0x45, length=None, bad=False, frag=0, ident=None, tos=0):
    n = 20 + len(body) if length is None else length
    h = struct.pack("!BBHHHBBH", first, tos, n, next(ids) if ident is None else ident, frag, 64, proto, 0)
    h += src + socket.inet_aton(dst)
    c = csum(h) ^ (0x5555 if bad else 0)
    return h[:10] + struct.pack("!H", c) + h[12:] + body


def send(times, packet):
    for _ in range(times):
        p = packet()
        raw.send(eth + p + bytes(max(0, 46 - len(p))))
        time.sleep(0.002)


def l4(proto, head, at, body, bad=False):
    pseudo = src + socket.inet_aton(near) + struct.pack("!BBH", 0, proto, len(head) + len(body))
    c = csum(pseudo + head + body) ^ (0x5555 if bad else 0)
    return head[:at] + struct.pack("!H", c) + head[at + 2:] + body


def udp(port, body=b"hello", bad=False, sport=4000):
    return l4(17, struct.pack("!HHHH", sport, port, 8 + len(body), 0), 6, body, bad)


def tcp(port, flags, sport, bad=False, words=5):
    return l4(6, struct.pack("!HHIIBBHHH", sport, port, 1000, 0, words << 4, flags, 1000, 0, 0), 16, b"", bad)


def icmp(kind, body, bad=False):
    b = struct.pack("!BBHHH", kind, 0, 0, 1, 1) + body
    return b[:2] + struct.pack("!H", csum(b) ^ (0x5555 if bad else 0)) + b[4:]


sports = iter(range(20000, 30000))
send(5, lambda: ip(17, udp(OPEN)))
send(3, lambda: ip(17, udp(CLOSED)))  # six ICMP errors to one host are not limited
send(4, lambda: ip(17, udp(OPEN, bad=True)))
send(2, lambda: ip(17, udp(OPEN)[:6]))  # shorter than its header
send(3, lambda: ip(17, struct.pack("!HHHH", 4000, OPEN, 100, 0)))  # shorter than it says
send(6, lambda: ip(1, icmp(8, b"x" * 32)))
for ecn in 1, 2, 3:
    send(ecn, lambda: ip(1, icmp(8, b"x"), tos=ecn))
send(7, lambda: ip(1, icmp(8, b"x" * 32, bad=True)))
send(3, lambda: ip(1, icmp(99, b"")))
send(5, lambda: ip(17, udp(OPEN), bad=True))
send(2, lambda: ip(17, udp(OPEN), first=0x44))
send(3, lambda: ip(17, udp(OPEN), first=0x65))
send(1, lambda: ip(17, udp(OPEN), length=16))
send(2, lambda: ip(17, udp(OPEN), length=1000))
send(4, lambda: ip(17, udp(OPEN), dst="10.99.0.9"))
send(2, lambda: ip(200, b"what"))
send(6, lambda: ip(6, tcp(CLOSED, 2, next(sports))))
send(7, lambda: ip(6, tcp(OPEN, 2, next(sports), bad=True)))
send(2, lambda: ip(6, tcp(OPEN, 16, next(sports))))  # of no connection
send(3, lambda: ip(6, tcp(OPEN, 2, next(sports))[:12]))
send(2, lambda: ip(6, tcp(OPEN, 2, next(sports), words=7)))  # shorter than it says
send(4, lambda: ip(6, tcp(OPEN, 2, next(sports), words=4)))
send(1, lambda: ip(17, struct.pack("!HHHH", 4000, OPEN, 7, 0)))
send(2, lambda: ip(1, icmp(8, b"x" * 32), bad=True))
send(3, lambda: ip(1, struct.pack("!BBHH", 8, 0, 0xF7FE, 1)))  # six bytes, and right
whole = udp(OPEN, b"y" * 3000)
for i in range(4):  # datagrams in three pieces; near sends as many back
    ident = next(ids)
    for off in range(0, len(whole), 1480):
        more = 0x2000 if off + 1480 < len(whole) else 0
        send(1, lambda: ip(17, whole[off:off + 1480], frag=more | off // 8, ident=ident))
send(2, lambda: ip(17, whole[:1480], frag=0x2000))  # and the rest does not come
time.sleep(4)
print("done", flush=True)
