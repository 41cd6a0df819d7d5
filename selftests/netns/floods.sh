#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Floods of hostile segments (tools/flood.c: bounded, in these namespaces only). Spoofed RST, SYN, ACK and FIN
# segments, whose sender knows all of a connection's numbers but sends others, never end it nor
# add to its data. Under a SYN flood as fast as one core makes it, with the XDP program answering by cookies,
# 99 % of 1000 real clients connect within one retransmission of their SYN; so they do under a flood of ACKs that return no
# cookie. Memory stays bounded. The same without the XDP program's cookies is reported for comparison.
# COUNT: segments of each spoofed flood (100000); CLIENTS: under each flood (1000).
#
#   $NS_A  eth0 10.77.0.1/24 ──── veth ──── eth0 10.77.0.2/24  $NS_B
#          flood, real clients              tandem: echo_server :7, goodput
#                                           198.18.0.0/15 (where SYNs say they are from) via 10.77.0.1

. "$(dirname "$0")/../lib.sh"
setup
: "${COUNT:=100000}" "${CLIENTS:=1000}"
ip -n "$NS_B" route add 198.18.0.0/15 via $IP_A
MAC=$(ip -n "$NS_B" -j link show eth0 | jq -r '.[0].address')

# Echoes every 5 ms on one connection until SIGTERM; ends with an error where one is not right.
cat >"$TMP/steady.py" <<'END'
import signal, socket, sys, time
s = socket.create_connection((sys.argv[1], 7), 10)
s.settimeout(10)
stop = []
signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
print("port", s.getsockname()[1], flush=True)
n = 0
while not stop:
    msg = n.to_bytes(8, "big") * 8
    s.sendall(msg)
    got = b""
    while len(got) < 64:
        piece = s.recv(64 - len(got))
        if not piece:
            sys.exit(f"closed after {n} echoes")
        got += piece
    if got != msg:
        sys.exit(f"echo {n} is wrong")
    n += 1
    time.sleep(0.005)
s.shutdown(socket.SHUT_WR)
if s.recv(1):
    sys.exit("more came back than was sent")
print("echoes", n)
END
# A new connection every 10 ms, each with one echo; which of them are done before the second
# retransmission of the SYN would be due (1 s, then 2 s later). A process of little to do: what is late
# because this program was is not tandem's.
cat >"$TMP/clients.py" <<'END'
import asyncio, json, sys, time
addr, n = sys.argv[1], int(sys.argv[2])
async def one():
    start = time.monotonic()
    async def talk():
        r, w = await asyncio.open_connection(addr, 7)
        try:
            w.write(b"hello")
            return await r.readexactly(5) == b"hello"
        finally:
            w.close()
    try:
        return await asyncio.wait_for(talk(), 2.9) and time.monotonic() - start
    except (OSError, EOFError, asyncio.TimeoutError):
        return None
async def main():
    tasks, begin = [], time.monotonic()
    for i in range(n):
        tasks.append(asyncio.create_task(one()))
        await asyncio.sleep(max(0, begin + i * 0.01 - time.monotonic()))
    got = await asyncio.gather(*tasks)
    done = sorted(t for t in got if t)
    print(json.dumps({"tried": len(got), "connected": len(done),
        "percent": round(100 * len(done) / len(got), 2),
        "seconds": round(time.monotonic() - begin, 1),
        "worst_ms": round(done[-1] * 1000) if done else None,
        "median_ms": round(done[len(done) // 2] * 1000, 1) if done else None}))
asyncio.run(main())
END

flood() { in_a "$B/tools/flood" "$1" --if eth0 --mac "$MAC" "${@:2}"; }
to_tandem() { # packets that the XDP program sent to user space
	"$TANDEM" stat "$TD" --json | jq '.xdp | [to_entries[] | select(.key | test("^flow_|^port_")) | .value] | add'
}
# spoofed KIND FROM-PORT TO-PORT WHOM: spread over a second of real traffic; they arrive.
spoofed() {
	local before arrived sent
	before=$(to_tandem)
	check "$4: spoofed $1" flood "$1" --from $IP_A:"$2" --to $IP_B:"$3" --count "$COUNT" \
		--rate 100000 --seconds 2 || return
	sent=$(jq .sent "$TMP/check")
	arrived=$(($(to_tandem) - before))
	check "$4: tandem got these $sent" [ $arrived -ge $((sent * 9 / 10)) ]
}

against_server() {
	local kind port steady
	start_a python3 "$TMP/steady.py" $IP_B >"$TMP/steady" 2>&1
	steady=$PID
	wait_for 10 grep -q ^port "$TMP/steady" || die "the client connects: $(cat "$TMP/steady")"
	port=$(sed -n 's/^port //p' "$TMP/steady")
	for kind in rst syn-known ack fin; do
		spoofed $kind "$port" 7 "tandem the server"
		check "tandem the server: the connection lives after $kind" alive "$steady"
	done
	kill -TERM "$steady"
	check "tandem the server: it echoed throughout, and ends in order" wait "$steady"
	sed 's/^/# /' "$TMP/steady"
}

# A transfer goes on meanwhile, until it is told to end: the client sends, so that its peer's numbers
# stand still.
against_client() { # KIND
	local port send recv
	start_a timeout 60 "$B/tools/goodput" recv --listen $IP_A --port 9000 --seconds 1 --kernel >"$TMP/recv" 2>&1
	recv=$PID
	wait_for 10 grep -q ready "$TMP/recv" || die "the receiver listens"
	start_b timeout 60 "$B/tools/goodput" send --to $IP_A --port 9000 --seconds 50 >"$TMP/send" 2>&1
	send=$PID
	wait_for 10 transfers || die "the transfer starts"
	port=$("$TANDEM" flows "$TD" --json | jq -r "$transfer | .local" | sed 's/.*://')
	spoofed "$1" 9000 "$port" "tandem the client"
	check "tandem the client: the transfer goes on after $1" alive "$send"
	kill -TERM "$send"
	check "tandem the client: it ends in order" wait "$send"
	check "tandem the client: every byte was the right one" wait "$recv"
	cat "$TMP/send" "$TMP/recv" | sed 's/^/# /'
}
transfer='.[] | select((.remote | endswith(":9000")) and .state == "established")'
transfers() { "$TANDEM" flows "$TD" --json | jq -e "$transfer" >/dev/null; }

# Kilobytes of the daemon's own memory, and of arenas.
memory_kb() {
	local pid f
	pid=$(status | jq .pid)
	{
		awk '/^Anonymous:/ { print $2 }' "/proc/$pid/smaps_rollup"
		for f in "/proc/$pid/fd/"*; do
			if [[ $(readlink "$f") == *tandem-arena* ]]; then stat -L -c '%b %B' "$f"; fi
		done | awk '{ print $1 * $2 / 1024 }'
	} | awk '{ n += $1 } END { printf "%d\n", n }'
}

counter() { "$TANDEM" stat "$TD" --json | jq ".counters.TcpExt$1 // 0"; }

# clients_under KIND WHAT: real clients while a flood goes on; $percent of them connected, $flooded segments
# were sent, $cpu: ms of the daemon's in this time.
clients_under() {
	local before after clients flooder n began
	half_open=0
	before=$(memory_kb)
	cpu=$(status | jq .cpu_ms)
	began=$(now_ms)
	start_a "$B/tools/flood" "$1" --if eth0 --mac "$MAC" --to $IP_B:7 --count 100000000 \
		--seconds 60 >"$TMP/flood" 2>&1
	flooder=$PID
	start_a python3 "$TMP/clients.py" $IP_B "$CLIENTS" >"$TMP/clients" 2>"$TMP/clients.err"
	clients=$PID
	while alive "$clients"; do
		n=$(status | jq .slow_path.half_open)
		[ "${n:-0}" -le $half_open ] || half_open=$n
		wait_for 1 not alive "$clients"
	done
	check "$2: the flood outlasts the clients" alive "$flooder"
	cpu=$(($(status | jq .cpu_ms) - cpu))
	cpu="$cpu ms of $(($(now_ms) - began))"
	kill -TERM "$flooder"
	wait "$flooder"
	check "$2: the clients ran to their end" wait "$clients"
	after=$(memory_kb)
	sed 's/^/# /' "$TMP/flood" "$TMP/clients"
	percent=$(jq .percent "$TMP/clients")
	echo "# $2: $percent % of the real clients connected within one retransmission; CPU of the daemon: $cpu"
	check "$2: half-open connections are bounded ($half_open at most)" [ "$half_open" -le 4096 ]
	check "$2: memory is bounded ($((after - before)) KB more)" [ $((after - before)) -lt 32768 ]
	check "$2: the daemon answers" status_is '.pid > 0'
}
most_connected() { jq -e '.percent >= 99' "$TMP/clients"; }

syn_flood_with_cookies() {
	local sent dropped passed
	in_a python3 "$TMP/clients.py" $IP_B 100 >"$TMP/clients"
	check "all real clients connect without a flood" jq -e '.tried == .connected' "$TMP/clients"
	sed 's/^/# /' "$TMP/clients"
	clients_under syn "SYN flood"
	check "SYN flood: at least 99 % of the real clients connected" most_connected
	sent=$(xdp syn_cookie)
	echo "# the XDP program sent $sent cookies"
	check "SYN flood: the XDP program took over" [ "$sent" -gt 10000 ]
	check "SYN flood: its cookies are in SyncookiesSent" [ "$(counter SyncookiesSent)" -ge "$sent" ]
	check "SYN flood: real clients came in by cookies" [ "$(counter SyncookiesRecv)" -ge $((CLIENTS / 2)) ]
	check "SYN flood: status tells" status_is '[.listeners[] | select(.port == 7)][0].syn_flood'
	# The program keeps on for a while: now ACKs that return nothing.
	dropped=$(xdp drop_cookie)
	passed=$(xdp port_slow)
	clients_under ack-random "ACK flood"
	check "ACK flood: at least 99 % of the real clients connected" most_connected
	dropped=$(($(xdp drop_cookie) - dropped))
	passed=$(($(xdp port_slow) - passed))
	echo "# of ACKs without a cookie $dropped were dropped, $passed packets went to the slow path"
	check "ACK flood: most is dropped" [ $dropped -gt $((passed * 9)) ]
	check "ACK flood: that is in SyncookiesFailed" [ "$(counter SyncookiesFailed)" -ge $dropped ]
}

# Without the XDP program's cookies, to compare with.
syn_flood_without() {
	stop "$SERVER" # which has the interface's sockets, too
	check "detach" detach
	echo "syncookies_xdp = 0" >"$TMP/conf"
	# The sockets of before are released late.
	wait_for 10 attach --config "$TMP/conf" || die "attach: $(cat "$TMP/attach")"
	serve_on "$TMP/echo" "$B/tools/echo_server" --addr $IP_B --port 7 || exit 1
	clients_under syn "SYN flood, slow path alone"
	check "SYN flood, slow path alone: it answered" [ "$(counter SyncookiesSent)" -gt 100 ]
	check "SYN flood, slow path alone: the XDP program did not" [ "$(xdp syn_cookie)" = 0 ]
}

attach || die "attach"
serve_on "$TMP/echo" "$B/tools/echo_server" --addr $IP_B --port 7 || exit 1
SERVER=$PID
against_server
for kind in rst syn-known ack fin; do
	against_client $kind
done
challenges=$("$TANDEM" stat "$TD" --json | jq '.counters.TcpExtTCPChallengeACK // 0')
check "challenge ACKs were sent ($challenges)" [ "$challenges" -gt 0 ]
check "and few of them: their rate is limited" [ "$challenges" -lt $((COUNT / 2)) ]
check "no live flow is left" wait_for 10 flows_live 0
syn_flood_with_cookies
check "no frame is lost" wait_for 15 status_is \
	'.frames | .bad == 0 and .tx == 0 and .pool + .fill + .owned == .total'
syn_flood_without
check "detach" detach
