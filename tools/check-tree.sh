#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# What is written in two places agrees, and uninstall takes away all that install puts there.
# One line "ok ..." or "not ok ..." for each fact. Usage: check-tree.sh BUILDDIR
set -u
cd "$(dirname "$0")/.." || exit 1
B=$1
rc=0
agree() { # text, words that must be there, words that are there
	local missing
	missing=$(comm -23 <(sort -u <<<"$2") <(sort -u <<<"$3") | tr '\n' ' ')
	if [ -z "$missing" ]; then
		echo "ok $1"
	else
		echo "not ok $1: missing $missing"
		rc=1
	fi
}

keys=$(sed -n 's/^#\([a-z_0-9]*\) = .*/\1/p' configs/tandem.conf)
documented=$(sed -n 's/^\.It Cm \([a-z_0-9]*\) No = .*/\1/p' man/tandem.conf.5)
agree "each key of tandem.conf is in its manual page" "$keys" "$documented"
agree "the manual page names no other key" "$documented" "$keys"
for c in $("$B/tandem" --help | awk '/^Commands:/ { on = 1; next } /^$/ { on = 0 } on { print $1 }'); do
	options=$("$B/tandem" "$c" --help | grep -oE '^  --[a-z-]+' | sed 's/^  --//' | grep -vx help)
	agree "tandem $c: its options are in the manual page" "$options" \
		"$(grep -oE 'Fl -[a-z-]+' man/tandem.8 | sed 's/Fl -//')"
	agree "tandem $c: they are completed" "$options" \
		"$(grep -oE -- '--[a-z-]+' configs/completion/tandem.bash | sed 's/^--//')"
	agree "tandem $c is in the manual page" "$c" "$(sed -n 's/^.It Cm \([a-z]*\).*/\1/p' man/tandem.8)"
done

agree "each clause of the RFCs has a test, each test's clauses are known" "$(tools/rfc-table.sh --missing)" ""
agree "docs/RFC.md is up to date (make rfc)" "$(tools/rfc-table.sh | diff - docs/RFC.md | grep '^[<>]')" ""

dest=$(mktemp -d)
trap 'rm -rf "$dest"' EXIT
make -s B="$B" DESTDIR="$dest" PREFIX=/usr install >/dev/null || rc=1
agree "install puts everything in place" "$(printf '%s\n' usr/bin/tandem usr/sbin/tandemd \
	usr/lib/libtandem.so usr/lib/libtandem.a usr/include/tandem.h usr/lib/pkgconfig/tandem.pc \
	etc/tandem.conf usr/share/man/man8/tandem.8 usr/lib/systemd/system/tandemd@.service)" \
	"$(cd "$dest" && find . -type f -o -type l | sed 's,^\./,,')"
cat >"$dest/prog.c" <<'END'
#include <tandem.h>
int main(void) { return tandem_is_socket(0); }
END
flags=$(PKG_CONFIG_SYSROOT_DIR=$dest PKG_CONFIG_ALLOW_SYSTEM_CFLAGS=1 PKG_CONFIG_ALLOW_SYSTEM_LIBS=1 \
	PKG_CONFIG_PATH=$dest/usr/lib/pkgconfig pkg-config --cflags --libs tandem)
# shellcheck disable=SC2086 # a list of words
if gcc -o "$dest/prog" "$dest/prog.c" $flags && LD_LIBRARY_PATH=$dest/usr/lib "$dest/prog"; then
	echo "ok a program builds against what was installed"
else
	echo "not ok a program builds against what was installed"
	rc=1
fi
rm -f "$dest"/prog*
make -s B="$B" DESTDIR="$dest" PREFIX=/usr uninstall >/dev/null || rc=1
agree "uninstall leaves nothing" "$(find "$dest" -type f -o -type l)" ""
exit $rc
