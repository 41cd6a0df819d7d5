#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# An application is killed (SIGKILL) at random moments under load, again and again: nothing of
# it is left, no client of it hangs, and the other application does not notice.
# KILLS: how often (200); SEED: of the moments, to repeat a run.
#
#   $NS_A  eth0 10.77.0.1/24 ──── veth ──── eth0 10.77.0.2/24  $NS_B
#          load.py ─► :80                   tandem ─► http_server :80   the victim
#          steady.py ─► :7                         └► echo_server :7    the other

. "$(dirname "$0")/../lib.sh"
setup
: "${KILLS:=200}" "${SEED:=$RANDOM}"
RANDOM=$SEED
echo "# SEED=$SEED KILLS=$KILLS"
root=$TMP/root
mkdir "$root"
random_file "$root/big" 8
head -c 1000 "$root/big" >"$root/small"

# Short, kept-alive and large downloads all the time. Broken ones are expected here, ones that
# hang are not: a killed server's peer gets FIN or RST, as from the kernel.
cat >"$TMP/load.py" <<'END'
import http.client, random, signal, sys, threading, time
addr, root = sys.argv[1], sys.argv[2]
want = {p: open(f"{root}/{p}", "rb").read() for p in ("small", "big")}
n = {"whole": 0, "broken": 0, "hung": 0, "wrong": 0}
stop = threading.Event()
def one():
    c = http.client.HTTPConnection(addr, 80, timeout=15)
    for _ in range(random.choice((1, 1, 20))):
        path = random.choice(("small",) * 9 + ("big",))
        c.request("GET", "/" + path)
        n["whole" if c.getresponse().read() == want[path] else "wrong"] += 1
    if random.random() < 0.8:
        c.close()   # the others are dropped by the collector, unread or idle
def worker():
    while not stop.is_set():
        try:
            one()
        except TimeoutError:
            n["hung"] += 1
        except (OSError, http.client.HTTPException):
            n["broken"] += 1
            time.sleep(0.002)
signal.signal(signal.SIGTERM, lambda *_: stop.set())
threads = [threading.Thread(target=worker) for _ in range(8)]
[t.start() for t in threads]
[t.join() for t in threads]
print(*(f"{k}={v}" for k, v in n.items()))
END
# One connection to the other application for the whole time; the longest wait for an echo, in ms.
cat >"$TMP/steady.py" <<'END'
import signal, socket, sys, time
s = socket.create_connection((sys.argv[1], 7), 10)
stop = []
signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
i = worst = 0
print("open", flush=True)
while not stop:
    msg = i.to_bytes(8, "big") * 8
    t = time.monotonic()
    s.sendall(msg)
    got = b""
    while len(got) < 64:
        piece = s.recv(64 - len(got))
        if not piece:
            sys.exit(f"closed after {i} echoes")
        got += piece
    if got != msg:
        sys.exit(f"echo {i} is wrong")
    worst = max(worst, time.monotonic() - t)
    i += 1
print(f"echoes={i} worst_ms={worst * 1000:.0f}")
END
value() { sed -n "s/.*\b$1=\([0-9]*\).*/\1/p" "$2"; }
start_victim() {
	start_b "$B/tools/http_server" --addr $IP_B --port 80 --root "$root" >"$TMP/victim" 2>&1
	victim=$PID
}
kill_victim() {
	kill -KILL "$victim"
	wait "$victim" 2>/dev/null
}
only_other() { status_is '(.applications | length) == 1 and (.listeners | length) == 1'; }

attach || die "attach"
serve_on "$TMP/echo" "$B/tools/echo_server" --addr $IP_B --port 7 || exit 1
start_a python3 "$TMP/steady.py" $IP_B >"$TMP/steady" 2>&1
steady=$PID
wait_for 10 grep -q open "$TMP/steady" || die "the other application answers"
start_a python3 "$TMP/load.py" $IP_B "$root" >"$TMP/load" 2>&1
load=$PID

served=0 stuck=0
for ((i = 1; i <= KILLS; i++)); do
	start_victim
	# Some die before they have registered, most under load: how long that takes is the machine's to
	# say.
	if [ $((i % 4)) != 0 ]; then wait_for 30 grep -q '^serving' "$TMP/victim"; fi
	sleep "0.$(printf %03d $((RANDOM % 200)))"
	if grep -q '^serving' "$TMP/victim"; then served=$((served + 1)); fi
	kill_victim
	wait_for 10 only_other || stuck=$((stuck + 1))
done
check "each time its registration and port were given back" [ $stuck = 0 ]
check "most were killed while they served ($served of $KILLS)" [ $served -ge $((KILLS / 2)) ]

kill -TERM "$load"
wait "$load"
cat "$TMP/load"
check "clients got whole answers in between" [ "$(value whole "$TMP/load")" -gt "$KILLS" ]
check "none got a wrong byte" [ "$(value wrong "$TMP/load")" = 0 ]
check "none hung" [ "$(value hung "$TMP/load")" = 0 ]

check "the other application is alive" alive "$steady"
check "only its flow is left, and TIME_WAIT of killed ones" wait_for 10 flows_live 1
kill -TERM "$steady"
wait "$steady"
cat "$TMP/steady"
check "the other application answered throughout" [ "$(value echoes "$TMP/steady")" -gt "$KILLS" ]
check "and never paused for a second" [ "$(value worst_ms "$TMP/steady")" -lt 1000 ]
check "no flow is left but TIME_WAIT" wait_for 10 flows_live 0
check "no connection is left in the daemon" wait_for 10 status_is ".slow_path | .connections == 0 and .orphans == 0"
# Frames of the dead go back at once, those that were being sent after a grace period.
frames_ok='.frames | .bad == 0 and .tx == 0 and .pool + .fill + .owned == .total'
check "no frame is lost" wait_for 15 status_is "$frames_ok"
status | jq -c .frames
check "detach" detach
