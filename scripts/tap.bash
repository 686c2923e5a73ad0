# SPDX-License-Identifier: GPL-2.0-only
#
# Functions for scripts that check the series in build/linux and report as TAP.
# The caller sets $obj before make_, and must end with: echo "1..$n"; exit $failed
. "${BASH_SOURCE[0]%/*}/lib.bash"

n=0
failed=0
cross=
[ "$(uname -m)" = aarch64 ] || cross=aarch64-linux-gnu-

# result NAME FILE: ok if FILE is empty
result() {
	n=$((n + 1))
	if [ -s "$2" ]; then
		failed=1
		sed 's/^/# /' "$2"
		echo "not ok $n - $1"
	else
		echo "ok $n - $1"
	fi
}

# added_lines FROM TO: the lines added between two commits, as FILE:LINE
added_lines() {
	git -C "$tree" diff -U0 --no-renames "$1" "$2" |
		awk '/^\+\+\+ / { file = substr($2, 3) }
			/^@@ / {
				split($3, at, ",")
				num = at[2] == "" ? 1 : at[2]
				for (i = 0; i < num; i++)
					print file ":" substr(at[1], 2) + i
			}'
}

# make_ TARGET...: run make in the tree, for arm64, with a cross compiler if
# needed
make_() {
	nice make -C "$tree" O="$obj" ARCH=arm64 CROSS_COMPILE="$cross" -s -j"$(nproc)" "$@"
}
