#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# include/uapi/linux/iommufd.h as the compilers of user space see it: alone in C
# and C++ with all warnings, and its numbers, with iommufd_uapi.c, for both word
# sizes. Prints TAP. Only compiles, so CC and CXX may be of any architecture.
#
# Run this on the machine that builds the kernel. HEADERS is the directory of the
# kernel's headers that "make headers" creates.
here=$(cd "$(dirname "$0")" && pwd)
HEADERS=${HEADERS:-$here/../../../../usr/include}
CC=${CC:-cc}
CXX=${CXX:-c++}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
n=0
failed=0

echo "TAP version 13"
if [ ! -f "$HEADERS/linux/iommufd.h" ]; then
	echo "1..0 # SKIP no $HEADERS/linux/iommufd.h: make headers, or set HEADERS"
	exit 4
fi
if ! echo 'int main(void) { return 0; }' | $CC -x c -o "$tmp/a" - 2>/dev/null; then
	echo "1..0 # SKIP no compiler $CC"
	exit 4
fi

# result STATUS TEXT: print a result, with $tmp/log if it failed
result() {
	n=$((n + 1))
	if [ "$1" = 0 ]; then
		echo "ok $n - $2"
	else
		echo "not ok $n - $2"
		sed 's/^/# /' "$tmp/log"
		failed=1
	fi
}

# Only this header must be clean, not the headers that it includes
mkdir -p "$tmp/include/linux"
cp "$HEADERS/linux/iommufd.h" "$tmp/include/linux"
include=(-I"$tmp/include" -isystem "$HEADERS")

# compiles OPTION...: whether $cc takes these options. Sets $lang, or skips $text
compiles() {
	lang=c
	[ "$cc" = "$CC" ] || lang=c++
	if ! echo 'int a;' | $cc "$@" -x $lang -c -o "$tmp/a.o" - 2>/dev/null; then
		n=$((n + 1))
		echo "ok $n - $text # SKIP the compiler cannot"
		return 1
	fi
}

# alone COMPILER OPTION...: the header and nothing else
alone() {
	local text="the header alone: $*" cc=$1 lang

	shift
	compiles "$@" || return 0
	printf '#include <linux/iommufd.h>\n#include <linux/iommufd.h>\n' |
		$cc "$@" -Wall -Wextra -Werror "${include[@]}" -x $lang -c \
			-o "$tmp/a.o" - >"$tmp/log" 2>&1
	result $? "$text"
}

# The standards that the kernel requires of its uAPI. The unnamed union is C11
alone "$CC" -std=c90 -Wdeclaration-after-statement
alone "$CC" -std=c99
alone "$CC" -std=c11 -pedantic
alone "$CC" -std=c11 -pedantic -m32
alone "$CXX" -std=c++98
alone "$CXX" -std=c++11 -pedantic
alone "$CXX" -std=c++11 -pedantic -m32

# numbers COMPILER OPTION...: compile the whole table
numbers() {
	local text="all numbers: $*" cc=$1 lang

	shift
	compiles "$@" || return 0
	# This works without a C library to link with
	$cc "$@" -Wall "${include[@]}" -DCOMPILE_ONLY -x $lang -c \
		-o "$tmp/a.o" "$here/iommufd_uapi.c" >"$tmp/log" 2>&1
	result $? "$text"
}

numbers "$CC"
numbers "$CXX"
numbers "$CC" -m32
numbers "$CXX" -m32

# Every name of the header must be in the table
perl -0777 -pe 's,/\*.*?\*/,,gs' "$HEADERS/linux/iommufd.h" |
	grep -v -e '^#define IOMMUFD_TYPE' -e '_CMD_BASE = 0x80,$' |
	awk '
	/^struct / { struct = $2; next }
	/^(};?|enum.*)$/ { struct = "" }
	struct && match($0, /[a-z_][a-z0-9_]*(\[[0-9]+\])?;/) {
		field = substr($0, RSTART, RLENGTH)
		sub(/[[;].*/, "", field)
		print struct ", " field
	}
	match($0, /^(#define )?[ \t]*IOMMU[A-Z0-9_]+([ \t]*=|[ \t]+_IO|,)/) {
		name = substr($0, RSTART, RLENGTH)
		gsub(/#define|[ \t=,]|_IO$/, "", name)
		print name
	}' | sort -u >"$tmp/names"
: >"$tmp/log"
while IFS= read -r name; do
	grep -q "[ (]$name," "$here/iommufd_uapi.c" ||
		echo "iommufd_uapi.c does not have $name" >>"$tmp/log"
done <"$tmp/names"
[ -s "$tmp/names" ] || echo "no name found in the header" >>"$tmp/log"
[ ! -s "$tmp/log" ]
result $? "the table has all $(wc -l <"$tmp/names") names of the header"

echo "1..$n"
exit $failed
