#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# The protocol core does no I/O: its objects may need nothing but each other and four functions of
# libc, and hold no variables. Usage: check-core.sh OBJECT...
set -u
allowed='^(memcpy|memset|memcmp|memmove|__stack_chk_fail|_GLOBAL_OFFSET_TABLE_)$'
[ $# -gt 0 ] || { echo "check-core: no objects given" >&2; exit 2; }

foreign=$(comm -13 <(nm --defined-only --format=just-symbols "$@" | sort -u) \
	<(nm -u --format=just-symbols "$@" | sort -u) | grep -vE "$allowed" | grep -vE '^$|:$')
# Constant tables that hold pointers are in .data.rel.ro; that is read-only once loaded.
variables=$(size -A "$@" | awk '
	$2 == ":" { file = $1 }
	$1 ~ /^\.(data|bss|tdata|tbss)/ && $1 !~ /^\.data\.rel\.ro/ && $2 > 0 { print file ": " $1 ", " $2 " bytes" }')

[ -z "$foreign" ] || echo "check-core: the core calls what is not its own: ${foreign//$'\n'/ }" >&2
[ -z "$variables" ] || printf 'check-core: the core has variables:\n%s\n' "$variables" >&2
[ -z "$foreign$variables" ] && echo "ok the core does no I/O and holds no variables"
