# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash
# What the namespace tests, the demo and the benchmark share: two namespaces joined by a veth pair,
# processes in them, waiting with a deadline, counting, and taking everything away at the end
# however that comes.
#
#   namespace $NS_A (the client)          namespace $NS_B (the server)
#     eth0 $IP_A/24 ──────── veth ──────── eth0 $IP_B/24  ◄─ tandem attaches here, as $TD
#
# Only the network namespace is entered (nsenter --net): bpffs and /run stay the host's.

set -u
TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
B=${B:-build}
[ "${B#/}" != "$B" ] || B=$TOP/$B
TANDEM=$B/tandem
TD=td-$$
NS_A=td-$$-a
NS_B=td-$$-b
IP_A=10.77.0.1
IP_B=10.77.0.2
TMP=
n_passed=0 n_failed=0 n_skipped=0
PIDS=()

# ---- counting: one line for each fact, which tools/test.sh counts ----

pass() { n_passed=$((n_passed + 1)); echo "ok $*"; }
fail() { n_failed=$((n_failed + 1)); echo "not ok $*"; }
skip() { n_skipped=$((n_skipped + 1)); echo "skip $*"; }
# check "what should be" command...: runs it, in this shell; its output is shown when it fails.
check() {
	local what=$1
	shift
	if "$@" >"$TMP/check" 2>&1; then
		pass "$what"
	else
		fail "$what"
		head -n 20 "$TMP/check" | sed 's/^/    /'
		return 1
	fi
}
# Ends the test at once; cleaning up is the trap's.
die() { fail "$*"; exit 1; }

# ---- waiting ----

now_ms() { echo $((${EPOCHREALTIME/[.,]/} / 1000)); }
# wait_for SECONDS command...: until it succeeds. Fails after that time.
wait_for() {
	local end=$(($(now_ms) + $1 * 1000))
	shift
	until "$@" >/dev/null 2>&1; do
		[ "$(now_ms)" -lt $end ] || return 1
		sleep 0.02
	done
}

# ---- namespaces and processes ----

in_ns() { nsenter --net="/run/netns/$1" "${@:2}"; }
in_a() { in_ns "$NS_A" "$@"; }
in_b() { in_ns "$NS_B" "$@"; }
# In the background; the process id in $PID. Ended by the trap, or before by stop.
start_in() {
	nsenter --net="/run/netns/$1" "${@:2}" <&0 & # which bash would make /dev/null
	PID=$!
	PIDS+=("$PID")
}
start_a() { start_in "$NS_A" "$@"; }
start_b() { start_in "$NS_B" "$@"; }
# stop PID: and wait for its end; after 10 s by force, which is a failure.
stop() {
	local rc=0
	kill -TERM "$1" 2>/dev/null
	if ! wait_for 10 not alive "$1"; then
		kill -KILL "$1" 2>/dev/null
		rc=1
	fi
	wait "$1" 2>/dev/null
	return $rc
}
# Numbers come back: what is not our child any more is somebody else's.
stop_all() {
	local p
	for p in "${PIDS[@]}"; do
		grep -qsx "PPid:[[:space:]]$$" "/proc/$p/status" && alive "$p" && stop "$p"
	done
}
not() { ! "$@"; }
# A zombie that bash has not yet waited for is not alive.
alive() {
	local state
	state=$(sed 's/.*) //' "/proc/$1/stat" 2>/dev/null) && [ "${state%% *}" != Z ]
}

# CPU time of a process so far, in microseconds (all threads that live).
cpu_us() { cat "/proc/$1/task/"*/schedstat 2>/dev/null | awk '{ n += $1 } END { printf "%d\n", n / 1000 }'; }

setup() {
	[ "$(id -u)" = 0 ] || {
		skip "$(basename "$0"): needs root"
		exit 0
	}
	[ -x "$TANDEM" ] || die "$TANDEM is not built; run make"
	TMP=$(mktemp -d)
	trap cleanup EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM
	ulimit -n "$(ulimit -Hn)"
	# Mounted for good, as a system with systemd has it; everything pinned there is removed.
	mountpoint -q /sys/fs/bpf || mount -t bpf bpf /sys/fs/bpf || die "cannot mount bpffs"
	for ns in "$NS_A" "$NS_B"; do
		ip netns add "$ns" || die "cannot add network namespace $ns"
	done
	ip -n "$NS_A" link add eth0 type veth peer name eth0 netns "$NS_B" || die "cannot add a veth pair"
	ip -n "$NS_A" addr add $IP_A/24 dev eth0
	ip -n "$NS_B" addr add $IP_B/24 dev eth0
	for ns in "$NS_A" "$NS_B"; do
		in_ns "$ns" sysctl -qw net.ipv6.conf.all.disable_ipv6=1 \
			net.ipv4.ip_local_port_range="1025 65535"
		ip -n "$ns" link set lo up
		ip -n "$ns" link set eth0 up
	done
	wait_for 5 in_a ping -q -c 1 -W 1 $IP_B || die "the veth pair does not carry packets"
}

# ---- tandem ----

# shellcheck disable=SC2120 # the arguments are optional
# attach [OPTIONS]: eth0 of $NS_B as $TD. Its output in $TMP/attach.
attach() {
	"$TANDEM" attach eth0 --netns "$NS_B" --name "$TD" "$@" >"$TMP/attach" 2>&1 || {
		cat "$TMP/attach"
		return 1
	}
}
detach() { "$TANDEM" detach "$TD"; }
daemons() { # process ids of the daemons of this run
	local p
	for p in /proc/[0-9]*; do
		tr '\0' ' ' 2>/dev/null <"$p/cmdline" | grep -qE "^[^ ]*tandemd .*--name $TD( |-)" && echo "${p#/proc/}"
	done
}
status() { "$TANDEM" status "$TD" --json; }
# status_is JQ-EXPRESSION: is it true of the daemon's status?
status_is() { status | jq -e "$1" >/dev/null; }
# xdp NAME: one counter of the XDP program.
xdp() { "$TANDEM" stat "$TD" --json | jq ".xdp.$1"; }
# Packets that went straight to an application: by their flow, or by its port, as those of young connections do.
xdp_direct() { echo $(($(xdp flow_direct) + $(xdp port_direct))); }
flow_count() { "$TANDEM" flows "$TD" --json | jq length; }
flows_are() { [ "$(flow_count)" = "$1" ]; }
# flows_live N: so many, besides those in TIME_WAIT, where the side that closes first waits; these keep
# their flow, as what may still come for them is not the kernel's.
flows_live() {
	local ended
	ended=$(status | jq .slow_path.time_wait)
	"$TANDEM" flows "$TD" --json | jq -e --argjson n "$1" --argjson ended "$ended" \
		'map(select(.state == "closing" and .slot == 0)) as $c | ($c | length) <= $ended and
		 length - ($c | length) == $n' >/dev/null
}
listens() { status_is "[.listeners[]?.port] | index($1)"; }

# ---- servers and clients ----

# serve_on LOG PROGRAM...: an example server in $NS_B; returns when it listens.
serve_on() {
	local log=$1
	shift
	start_b "$@" >"$log" 2>&1
	wait_for 10 grep -qE '^(listening|serving|ready)' "$log" || {
		fail "${1##*/} listens"
		cat "$log"
		return 1
	}
}
# Many connections from the kernel of $NS_A, held open until conns_close. conns_open N [SECONDS]
conns_open() {
	start_a python3 "$TOP/selftests/conns.py" $IP_B 80 "$1" /small "${2:-0}" >"$TMP/conns" 2>&1
	CONNS_PID=$PID
	wait_for $((60 + ${2:-0})) conns_ready
	cat "$TMP/conns"
	grep -q "^open $1 " "$TMP/conns"
}
conns_ready() { grep -q ^open "$TMP/conns" || not alive "$CONNS_PID"; }
conns_close() {
	kill -TERM "$CONNS_PID"
	wait "$CONNS_PID"
}
# random_file PATH MEGABYTES: that no two runs and no two pages are alike.
random_file() { openssl rand -out "$1" $(($2 * 1048576)); }

# Bytes of memory, as JSON: what daemon $1 and application $2 have each for itself, the arenas that they
# share (each file once), the flow table. The packet memory is of a fixed size, however many
# connections there are. A preallocated table does not grow: then "flow_entry" says what one takes.
private() { awk '/^Anonymous:/ { print $2 * 1024 }' "/proc/$1/smaps_rollup"; }
memory_of() { # DAEMON APPLICATION [INODE of an arena that is not counted]
	local f arenas
	arenas=$(for f in "/proc/$1/fd/"* "/proc/$2/fd/"*; do
		if [[ $(readlink "$f") == *tandem-arena* ]]; then stat -L -c '%i %b %B' "$f"; fi
	done | sort -u | awk -v not="${3:-}" '$1 != not { n += $2 * $3 } END { printf "%d\n", n }')
	bpftool map show pinned "/sys/fs/bpf/tandem/$TD/flows" -j |
		jq -c "{daemon: $(private "$1"), application: $(private "$2"), arenas: $arenas,
			flows: .bytes_memlock, flow_entry: (.bytes_memlock / .max_entries)}"
}

# An nginx with sockets of the kernel in $NS_A, serving directory $1 on port $2.
nginx_conf() { # ROOT ADDRESS:PORT MASTER: a configuration, with or without a master process
	cat <<-END
		daemon off;
		master_process $3;
		pid $TMP/nginx-$2.pid;
		error_log $TMP/nginx.log;
		user root;
		worker_processes 1;
		events { worker_connections 4096; }
		http {
			access_log off;
			sendfile on;
			server { listen $2; root $1; }
		}
	END
}
start_nginx() { # ROOT PORT
	nginx_conf "$1" "$IP_A:$2" on >"$TMP/nginx.conf"
	start_a nginx -e "$TMP/nginx.log" -c "$TMP/nginx.conf"
	wait_for 10 in_a curl -s -o /dev/null "http://$IP_A:$2/" || {
		cat "$TMP/nginx.log"
		return 1
	}
}

# ---- the end ----

# Nothing of this run may be left: that is a test of its own, in every script.
leaks() {
	local left=
	compgen -G "/sys/fs/bpf/tandem/$TD*" >/dev/null && left="$left pins"
	compgen -G "/run/tandem/$TD*" >/dev/null && left="$left /run/tandem"
	[ -z "$(daemons)" ] || left="$left tandemd"
	[ -z "$left" ] || { echo "left behind:$left"; return 1; }
}

cleanup() {
	local rc=$? p name
	trap - EXIT INT TERM
	stop_all
	for name in $(compgen -G "/run/tandem/$TD*"; compgen -G "/sys/fs/bpf/tandem/$TD*"); do
		"$TANDEM" detach "${name##*/}" >/dev/null 2>&1
	done
	check "nothing is left behind" leaks
	for p in $(daemons); do kill -KILL "$p"; done
	for name in $(ip netns list 2>/dev/null | awk '{print $1}' | grep "^td-$$-"); do
		ip netns del "$name"
	done
	rm -rf "$TMP"
	echo "# $(basename "$0"): $n_passed passed, $n_failed failed, $n_skipped skipped"
	[ $n_failed = 0 ] || rc=1
	exit $rc
}
