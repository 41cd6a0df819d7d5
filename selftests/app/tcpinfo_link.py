#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# What TCP_INFO tells after traffic that makes it tell something. "near" prints it, a line of JSON
# for each connection, whatever stack it runs on; "far" is its peer.
#
#	tcpinfo_link.py near ADDR PORT WHAT		tcpinfo_link.py far ADDR PORT WHAT
#
# WHAT: "bulk": UP bytes to near, DOWN bytes back, with some seconds of silence.
# "window": far reads nothing for a second. "buffer": near sends through a small buffer.
# "talk": short requests and answers.
import json
import socket
import struct
import sys
import time

UP, DOWN = 2000000, 3000000
HEAD = "state ca_state retransmits probes backoff options".split()
FIELDS = """rto ato snd_mss rcv_mss unacked sacked lost retrans fackets last_data_sent
    last_ack_sent last_data_recv last_ack_recv pmtu rcv_ssthresh rtt rttvar snd_ssthresh snd_cwnd
    advmss reordering rcv_rtt rcv_space total_retrans pacing_rate:Q max_pacing_rate:Q bytes_acked:Q
    bytes_received:Q segs_out segs_in notsent_bytes min_rtt data_segs_in data_segs_out
    delivery_rate:Q busy_time:Q rwnd_limited:Q sndbuf_limited:Q delivered delivered_ce bytes_sent:Q
    bytes_retrans:Q dsack_dups reord_seen rcv_ooopack snd_wnd rcv_wnd rehash total_rto:H
    total_rto_recoveries:H total_rto_time""".split()
FORMAT = "=6BBB" + "".join(f.partition(":")[2] or "I" for f in FIELDS)


def info(s):
    raw = s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, struct.calcsize(FORMAT))
    raw += bytes(struct.calcsize(FORMAT) - len(raw))  # a kernel that has less
    v = struct.unpack(FORMAT, raw)
    out = dict(zip(HEAD, v[:6]))
    out.update(zip((f.partition(":")[0] for f in FIELDS), v[8:]))
    return out


def read(s, n):
    while n:
        data = s.recv(min(n, 65536))
        assert data
        n -= len(data)


def acked(s):  # all of it, by the peer's kernel
    while info(s)["unacked"]:
        time.sleep(0.01)


role, addr, port, what = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
if role == "near":
    listener = socket.create_server((addr, port))
    print("listening", flush=True)
    s, _ = listener.accept()
else:
    s = socket.socket()
    if what == "window":
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 20000)
    s.connect((addr, port))
s.settimeout(60)
if what == "bulk":
    if role == "near":
        read(s, UP)
        s.sendall(bytes(DOWN))
    else:
        s.sendall(bytes(UP))
        read(s, DOWN)
elif what == "window":
    if role == "near":
        s.sendall(bytes(100000))
    else:
        time.sleep(1)
        read(s, 100000)
elif what == "buffer":
    if role == "near":
        s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4608)
        s.sendall(bytes(300000))
    else:
        read(s, 300000)
elif what == "talk":
    for i in range(50):
        if role == "near":
            read(s, 100)
            s.sendall(bytes(1000))
        else:
            s.sendall(bytes(100))
            read(s, 1000)
# Near is the last to have heard something: an ACK, for a second.
if role == "far":
    s.sendall(b"k")
    read(s, 1)
    time.sleep(3)
else:
    read(s, 1)
    s.sendall(b"k")
    acked(s)
    time.sleep(1)
    print(json.dumps(info(s)), flush=True)
