#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# attach and detach: every refusal says what is wrong and leaves nothing; detach restores.
#
#   $NS_A  eth0 10.77.0.1/24 ──── veth ──── eth0 10.77.0.2/24  $NS_B  ◄─ attach, detach

. "$(dirname "$0")/../lib.sh"
setup

# All that attaching could change about the two ends.
state() {
	local ns
	for ns in "$NS_A" "$NS_B"; do
		ip -n "$ns" -d -j link show eth0 | jq -S 'del(.[].stats, .[].stats64)'
		in_ns "$ns" ethtool -k eth0
		ip -n "$ns" -j addr show eth0 | jq -S 'del(.. | .valid_life_time?, .preferred_life_time?)'
		ip -n "$ns" route
	done
}
xdp_is_off() { ip -n "$NS_B" -j link show eth0 | jq -e '.[0].xdp == null' >/dev/null; }
# The link goes from the interface with the last reference, shortly after detach has returned.
restored() { wait_for 5 xdp_is_off && diff "$TMP/before" <(state); }

# refused STATUS PATTERN command...: fails with this exit status and a sentence that matches.
refused() {
	local want=$1 pattern=$2 rc
	shift 2
	"$@" >"$TMP/out" 2>"$TMP/err"
	rc=$?
	cat "$TMP/out" "$TMP/err"
	[ $rc = "$want" ] || { echo "exit status $rc, expected $want"; return 1; }
	grep -qE -- "$pattern" "$TMP/err" || { echo "stderr does not match: $pattern"; return 1; }
}
clean() { leaks && restored; }
# A refusal, and nothing left of the attempt.
refusal() { # text status pattern command...
	check "$1" refused "${@:2}"
	check "$1: nothing left" clean
}
tandem() { "$TANDEM" "$@"; }
attach_b() { tandem attach eth0 --netns "$NS_B" --name "$TD" "$@"; }

state >"$TMP/before"

# ---- wrong command lines ----
check "no command" refused 2 'Usage' tandem
check "unknown command names those that exist" refused 2 "'fly'.*attach.*detach.*flows" tandem fly
check "unknown option names those that exist" refused 2 "'--fast'.*--netns.*--json" tandem attach eth0 --fast
check "bad mode names the allowed" refused 2 "'warp'.*auto, native, generic" attach_b --mode warp
check "bad claim names the allowed" refused 2 "'some'.*bound, all" attach_b --claim some
check "missing operand" refused 2 'IFNAME' tandem attach
check "option without its value" refused 2 '--config.*FILE' attach_b --config
check "one word too many" refused 2 "'b'" tandem detach a b
refusal "an interface named twice" 1 'eth0 is named twice' attach_b eth0
refusal "the second interface is not there" 1 "no interface 'eth7'" attach_b lo eth7
for c in attach detach list status stat ss flows; do
	check "$c --help" sh -c "'$TANDEM' $c --help | grep -q 'Usage: tandem $c'"
done
check "--version" sh -c "'$TANDEM' --version | grep -qE '^tandem [0-9]+[.]'"

# ---- refused attachments ----
refusal "not root" 1 'root' setpriv --reuid 65534 --regid 65534 --clear-groups \
	"$TANDEM" attach eth0 --netns "$NS_B" --name "$TD"
refusal "no such interface" 1 "no.*interface.*nosuch0|nosuch0.*no such" \
	tandem attach nosuch0 --netns "$NS_B" --name "$TD"
refusal "no such namespace" 1 "$TD-none" tandem attach eth0 --netns "$TD-none" --name "$TD"
refusal "bad name" 1 "'a/b'.*--name" tandem attach eth0 --netns "$NS_B" --name a/b
printf 'somaxconn = 100\n# fine so far\nsomaxcon = 5\n' >"$TMP/bad.conf"
refusal "config: unknown key, with file, line and what is allowed" 1 'bad.conf:3.*somaxconn' \
	attach_b --config "$TMP/bad.conf"
printf 'somaxconn = many\n' >"$TMP/bad2.conf"
refusal "config: bad value" 1 'bad2.conf:1.*somaxconn' attach_b --config "$TMP/bad2.conf"
refusal "config: no such file" 1 'none.conf' attach_b --config "$TMP/none.conf"

echo '__attribute__((section("xdp"), used)) int pass(void *ctx) { return 2; }' |
	clang -O2 -target bpf -x c -c -o "$TMP/pass.o" - || die "clang cannot build a BPF program"
for mode in xdpgeneric xdpdrv; do
	ip -n "$NS_B" link set eth0 $mode obj "$TMP/pass.o" sec xdp || die "cannot attach an XDP program"
	check "another XDP program ($mode)" refused 1 'another XDP program|other XDP program' attach_b
	check "another XDP program ($mode): it stays" not xdp_is_off
	ip -n "$NS_B" link set eth0 $mode off
	check "another XDP program ($mode): nothing left" clean
done

# ---- attach, look, detach; in both modes ----
for mode in auto generic native; do
	check "attach --mode $mode" attach_b --mode $mode
	check "$mode: XDP is on the interface" not xdp_is_off
	check "$mode: status tells the interface" status_is '.interfaces | keys == ["eth0"]'
	if [ $mode != auto ]; then check "$mode: status tells the mode" status_is ".interfaces.eth0.mode == \"$mode\""; fi
	check "$mode: list has it" sh -c "'$TANDEM' list --json | jq -e 'any(.[]; .name == \"$TD\")'"
	for c in status stat ss flows; do
		check "$mode: $c" tandem $c "$TD"
		check "$mode: $c --json is JSON" sh -c "'$TANDEM' $c '$TD' --json | jq -e ."
	done
	check "$mode: the kernel's traffic goes on" in_a ping -q -c 1 -W 2 $IP_B
	check "$mode: name taken" refused 1 "taken.*--name" attach_b
	check "$mode: already attached by tandem" refused 1 'already|tandem' \
		tandem attach eth0 --netns "$NS_B" --name "$TD-two"
	check "$mode: the first is unharmed" status_is '.interfaces | keys == ["eth0"]'
	check "$mode: detach" detach
	check "$mode: the interface is as before, nothing left" clean
	check "$mode: detach again says that there is nothing" refused 1 "nothing is attached|'$TD'" detach
done

# ---- by interface name; JSON of attach ----
ip -n "$NS_B" link set eth0 down
ip -n "$NS_B" link set eth0 name "td$$"
ip -n "$NS_B" link set "td$$" up
check "attach --json gives one object" sh -c "
	'$TANDEM' attach td$$ --netns $NS_B --name $TD --json | tee '$TMP/json' |
	jq -e '.name == \"$TD\" and .interfaces == [\"td$$\"] and (.notes | length) > 0 and .status.pid > 0'"
check "status by interface name" sh -c "'$TANDEM' status td$$ --json | jq -e '.name == \"$TD\"'"
check "detach by interface name" tandem detach "td$$"
ip -n "$NS_B" link set "td$$" down
ip -n "$NS_B" link set "td$$" name eth0
ip -n "$NS_B" link set eth0 up

# ---- a daemon that was killed: what it left is named, cleared away, and no obstacle ----
check "attach" attach_b
pid=$(status | jq .pid)
kill -KILL "$pid"
wait_for 5 not alive "$pid"
check "dead daemon: status says so" refused 1 'not running' tandem status "$TD"
check "dead daemon: detach clears up" detach
check "dead daemon: nothing left" clean
check "attach again at once" attach_b
pid=$(status | jq .pid)
kill -KILL "$pid"
wait_for 5 not alive "$pid"
check "dead daemon: attach takes its place" attach_b
check "detach" detach
check "as before" clean
