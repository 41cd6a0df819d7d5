#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# Both ends of one connection say what getsockopt(TCP_INFO) tells them, as one line of JSON, after
# UP bytes from the client and DOWN bytes back; then they hold the connection until stdin ends.
#
#	tcpinfo.py server ADDR PORT		tcpinfo.py client ADDR PORT
import json
import socket
import struct
import sys

UP, DOWN = 1000000, 300000
NAMES8 = "state ca_state retransmits probes backoff options".split()
NAMES32 = """rto ato snd_mss rcv_mss unacked sacked lost retrans fackets last_data_sent
    last_ack_sent last_data_recv last_ack_recv pmtu rcv_ssthresh rtt rttvar snd_ssthresh snd_cwnd
    advmss reordering rcv_rtt rcv_space total_retrans""".split()
NAMES64 = "pacing_rate max_pacing_rate bytes_acked bytes_received".split()
NAMES32B = "segs_out segs_in notsent_bytes min_rtt data_segs_in data_segs_out".split()
FORMAT = "6BBx24I4Q6I"


def info(s):
    raw = s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, struct.calcsize(FORMAT))
    v = struct.unpack(FORMAT, raw)
    out = dict(zip(NAMES8, v[:6]), snd_wscale=v[6] & 15, rcv_wscale=v[6] >> 4)
    out.update(zip(NAMES32 + NAMES64 + NAMES32B, v[7:]))
    print(json.dumps(out), flush=True)


def read(s, n):
    while n:
        data = s.recv(min(n, 65536))
        assert data
        n -= len(data)


role, addr, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
if role == "server":
    listener = socket.create_server((addr, port), backlog=17)
    print("listening", flush=True)
    s, _ = listener.accept()
    read(s, UP)
    s.sendall(bytes(DOWN))
    read(s, 1)  # the client has all of it; its acknowledgements came before this
else:
    s = socket.create_connection((addr, port))
    s.sendall(bytes(UP))
    read(s, DOWN)
    s.sendall(b"k")
    s.settimeout(10)
    read(s, 1)
if role == "server":
    s.sendall(b"k")
    # Until the client's kernel has acknowledged that, too.
    while struct.unpack(FORMAT, s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO,
                                             struct.calcsize(FORMAT)))[11]:
        pass
info(s)
sys.stdin.read()
