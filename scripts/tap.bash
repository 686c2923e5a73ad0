# SPDX-License-Identifier: GPL-2.0-only
#
# For scripts that look at the series in build/linux and report as TAP: sourced,
# with $tree set, and $obj before make_. They end with: echo "1..$n"; exit $failed

# What tools say is looked at
export LC_ALL=C.UTF-8
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

# added_lines FROM TO: what is new between two commits, as FILE:LINE
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

# make_ TARGET...: in the tree, for arm64, by the cross compiler if it takes one
make_() {
	nice make -C "$tree" O="$obj" ARCH=arm64 CROSS_COMPILE="$cross" -s -j"$(nproc)" "$@"
}
