#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Compares what the C library exports for descriptors and processes with what the shim puts in front of
# it, variants included (__NAME, NAME_chk, NAME64, NAME_time64). A name that the shim neither has
# nor is known to do without fails, as does one that is listed here and intercepted by now.
# Usage: check-calls.sh SHIM.so
set -eu
export LC_ALL=C
shim=$1
names='socket|socketpair|bind|listen|accept4?|connect|shutdown|close|close_range|closefrom|dup[23]?'
names+='|p?readv?|p?writev?|(preadv|pwritev)2|(preadv|pwritev)64v2|recv|recvfrom|recvm?msg|send|sendto|sendm?msg'
names+='|sendfile|splice|tee|vmsplice|copy_file_range|[gs]etsockopt|getsockname|getpeername|sockatmark|isfdtype'
names+='|fcntl|ioctl|p?poll|p?select|epoll_[a-z0-9_]+|v?fork|_Fork|clone|posix_spawnp?|f?exec[a-z]+|system|popen'
names+='|daemon|fdopen|dprintf|syscall|prctl'

# Without effect on sockets of ours: no sockets of these kinds, or another call of the list does the work.
left='socketpair daemon __libc_system
	tee vmsplice copy_file_range
	pread pread64 __pread64 __libc_pread __pread_chk __pread64_chk preadv preadv64 preadv64v2
	pwrite pwrite64 __pwrite64 __libc_pwrite pwritev pwritev64 pwritev64v2'
# Gaps. fork() itself is seen by pthread_atfork().
left+=' isfdtype _Fork fork __fork __libc_fork clone __clone
	__dup2 __fcntl __libc_fcntl64 __poll __select __recv __sendmmsg __socket'

libc=$(ldd "$shim" | awk '$1 ~ /^libc\.so/ { print $3; exit }')
[ -n "$libc" ] || { echo "check-calls: $shim is linked to no libc.so" >&2; exit 1; }
exported() { nm -D --defined-only "$1" | awk '$2 ~ /[TWi]/ { sub(/@.*/, "", $3); print $3 }' | sort -u; }
wanted=$(exported "$libc" | grep -E "^(__|__libc_)?($names)(64)?(_chk|_time64)?$")
known=$(printf '%s\n' $left | sort -u)
missing=$(comm -23 <(comm -23 <(echo "$wanted") <(exported "$shim")) <(echo "$known"))
stale=$(comm -12 <(exported "$shim") <(echo "$known"))
[ -z "$missing" ] || echo "not ok not intercepted:" $missing >&2
[ -z "$stale" ] || echo "not ok intercepted, and listed as not:" $stale >&2
[ -z "$missing$stale" ] || exit 1
echo "ok libc: $(comm -12 <(echo "$wanted") <(exported "$shim") | wc -l) calls are intercepted, no other is unknown"
