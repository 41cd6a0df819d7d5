#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# make demo: the whole of tandem on real traffic, in a minute. Exit status 0 if every claim held.
# BIG_MB: size of the large file (1024); CONNS: connections at once (1000).
#
#   $NS_A  eth0 10.77.0.1/24 ──── veth ──── eth0 10.77.0.2/24  $NS_B
#          kernel: ping, curl, nginx        tandem: http_server, http_fetch, redis, nginx

. "$(dirname "$0")/../selftests/lib.sh"
: "${BIG_MB:=1024}" "${CONNS:=1000}"
bold='' plain=''
if [ -t 1 ]; then bold=$'\e[1m' plain=$'\e[0m'; fi
title() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
say() { printf '  %s\n' "$*"; }
pass() { n_passed=$((n_passed + 1)); printf '  [ok]     %s\n' "$*"; }
fail() { n_failed=$((n_failed + 1)); printf '  [FAILED] %s\n' "$*"; }

url=http://$IP_B
curl_a() { in_a curl -sS --max-time 300 "$@"; }

small_files() {
	local out
	# One connection for all of them, then a new one for each.
	out=$(curl_a -o /dev/null -w '%{http_code}\n' "$url/small?[1-200]") &&
		[ "$(grep -c '^200$' <<<"$out")" = 200 ] || return 1
	for _ in $(seq 50); do
		curl_a -o "$TMP/got" "$url/small" && cmp "$TMP/got" "$TMP/root/small" || return 1
	done
}

big_file() {
	local start want got ms
	want=$(sha256sum <"$TMP/root/big")
	start=$(now_ms)
	got=$(in_a curl -S --progress-bar --max-time 300 "$url/big" 2>&3 | sha256sum)
	ms=$(($(now_ms) - start))
	echo "sha256 ${got:0:20}..., $((BIG_MB * 1000 / (ms + 1))) MB/s with the checksum on the way" >"$TMP/rate"
	[ "$got" = "$want" ]
}

# The daemon's share of one CPU, in hundredths of a percent, while applications serve for 5 s.
steady_load() {
	local pid us
	pid=$(status | jq .pid)
	start_a python3 "$TOP/selftests/conns.py" $IP_B 80 50 /small 9 >"$TMP/steady" 2>&1
	STEADY_PID=$PID
	wait_for 10 flows_are 50 || return 1
	sleep 1
	us=$(cpu_us "$pid")
	sleep 5
	DAEMON_SHARE=$((($(cpu_us "$pid") - us) * 10000 / 5000000))
	wait_for 20 grep -q ^open "$TMP/steady"
	kill -TERM "$STEADY_PID"
	wait "$STEADY_PID"
}

# Groups of the XDP program's counters: who took how many of the packets that arrived.
table() {
	"$TANDEM" stat "$TD" --json | jq -r '
		.xdp as $x
		| def sum(names): [names | $x[.] // 0] | add;
		  def all(re): [$x | to_entries[] | select(.key | test(re)) | .value] | add // 0;
		  [ ["the application, directly", sum("flow_direct", "port_direct"), "data and ACKs of established connections"],
		    ["the slow path (tandemd)", (all("^flow_|^port_|^fragment$|^ip_options$|^echo_slow$|^icmp_error$|^claimed$")
		      - sum("flow_direct", "port_direct")), "handshakes, closing, fragments, options"],
		    ["the XDP program itself", all("_reply$"), "ping, ARP"],
		    ["the kernel", all("^pass_"), "all that is not claimed"],
		    ["dropped", all("^drop_"), ""] ] as $rows
		| ([$rows[][1]] | add) as $total
		| $rows[] | [.[0], .[1], (if $total > 0 then .[1] * 10000 / $total | round / 100 else 0 end), .[2]]
		| @tsv' | while IFS=$'\t' read -r who n percent what; do
		printf '  %-28s %12s %8s %%  %s\n' "$who" "$n" "$percent" "$what"
	done
}
# Packets of known flows that needed the slow path, against those that did not.
direct_enough() {
	"$TANDEM" stat "$TD" --json | jq -e '.xdp | .flow_direct * 1.0 /
		(.flow_direct + .flow_slow + .flow_control + .flow_no_socket) >= 0.99'
}

setup
exec 3>&2
mkdir "$TMP/root"
title "Two namespaces, one veth pair"
say "$NS_A  eth0 $IP_A (kernel) ---- veth ---- eth0 $IP_B (tandem)  $NS_B"
say "making a file of $BIG_MB MB"
random_file "$TMP/root/big" "$BIG_MB"
head -c 4096 "$TMP/root/big" >"$TMP/root/small"

title "tandem attach eth0 --netns $NS_B --name $TD"
attach || die "attach"
sed 's/^/  /' "$TMP/attach"

title "ping, answered by the XDP program"
in_a ip neigh flush all
check "20 of 20 answered" in_a ping -q -c 20 -i 0.01 -W 2 $IP_B
grep rtt "$TMP/check" | sed 's/^/  /'
say "echo requests answered in XDP: $(xdp echo_reply), ARP: $(xdp arp_reply)"

title "An HTTP server on tandem, the kernel's curl as its client"
serve_on "$TMP/server" "$B/tools/http_server" --addr $IP_B --port 80 --root "$TMP/root" || exit 1
server=$PID
check "200 small files over one connection, 50 over new ones" small_files
check "one file of $BIG_MB MB, checksum equal" big_file
say "$(cat "$TMP/rate")"

title "$CONNS connections at once"
check "all open, each request answered" conns_open "$CONNS"
check "within a moment the flow table holds exactly these $CONNS" wait_for 5 flows_are "$CONNS"
"$TANDEM" flows "$TD" | head -n 5 | sed 's/^/  /'
say "... the first of them by bpftool map dump pinned /sys/fs/bpf/tandem/$TD/flows:"
bpftool map dump pinned "/sys/fs/bpf/tandem/$TD/flows" 2>/dev/null | sed '/^    },{/q; s/^/  /'
check "closed in order" conns_close

title "Steady load: 50 connections, requests for some seconds"
check "served throughout" steady_load
say "$(awk '/^open/ { printf "%d requests, %d per second", $3, $3 / 9 }' "$TMP/steady")"
check "the daemon used $(printf '%d.%02d' $((DAEMON_SHARE / 100)) $((DAEMON_SHARE % 100))) % of a CPU over 5 s: less than 1 %" \
	[ "$DAEMON_SHARE" -lt 100 ]

stop "$server"
check "the server has ended, and no flow is left" wait_for 10 flows_are 0

title "The other way: http_fetch on tandem, nginx on the kernel's sockets"
check "nginx listens on $IP_A:8080" start_nginx "$TMP/root" 8080
check "the $BIG_MB MB file, byte for byte" sh -c "
	nsenter --net=/run/netns/$NS_B '$B/tools/http_fetch' -o /dev/stdout 'http://$IP_A:8080/big' | cmp - '$TMP/root/big'"

title "Programs that know nothing of tandem: tandem run -- redis-server, nginx"
start_b "$TANDEM" run --on "$TD" -- redis-server --bind $IP_B --save '' --protected-mode no >"$TMP/redis" 2>&1
redis=$PID
check "redis-server answers the kernel's redis-cli" wait_for 10 in_a redis-cli -h $IP_B ping
check "redis-benchmark: 50 clients" sh -c "
	nsenter --net=/run/netns/$NS_A redis-benchmark -h $IP_B -t set,get -n 100000 -c 50 -q | tr '\r' '\n' | grep 'per second'"
sed 's/^/  /' "$TMP/check"
stop "$redis"
nginx_conf "$TMP/root" $IP_B:8081 off >"$TMP/nginx-b.conf"
start_b "$TANDEM" run --on "$TD" -- nginx -e "$TMP/nginx-b.log" -c "$TMP/nginx-b.conf"
nginx=$PID
check "nginx listens" wait_for 10 in_a curl -s -o /dev/null http://$IP_B:8081/small
check "the $BIG_MB MB file from nginx, byte for byte" sh -c "
	nsenter --net=/run/netns/$NS_A curl -sS --max-time 300 http://$IP_B:8081/big | cmp - '$TMP/root/big'"
stop "$nginx"

title "Who took the packets that arrived at $IP_B"
printf '  %-28s %12s %10s\n' "" packets share
table
check "at least 99 % of the packets of known flows went directly" direct_enough
check "no live flow is left" wait_for 10 flows_live 0
say "$(status | jq .slow_path.time_wait) in TIME_WAIT, as http_fetch closed first"

title "tandem detach $TD"
check "detached" detach
