# SPDX-License-Identifier: GPL-2.0-only
#
# Sourced by other scripts of this directory: the paths of this repository and of
# the kernel tree, and functions that several scripts need.
#
# SERIES_TOP and SERIES_TREE replace these paths. The tests of the scripts set them.

# Scripts parse the output of tools
export LC_ALL=C.UTF-8

top=$(cd "${BASH_SOURCE[0]%/*}/.." && pwd)
top=${SERIES_TOP:-$top}
tree=${SERIES_TREE:-$top/build/linux}

die() {
	echo "${0##*/}: $*" >&2
	exit 1
}

# The comment at the head of a script is its manual
usage() {
	sed -n '3,/^[^#]/{/^[^#]/d;s/^# \{0,1\}//p}' "$0" >&2
	exit 2
}

# The first commit of the tree: a release of Linux without the series
base() {
	git -C "$tree" rev-list --max-parents=0 HEAD
}

# version_of DIR: the version of a kernel tree
version_of() {
	sed -n -e 's/^\(VERSION\|PATCHLEVEL\|SUBLEVEL\) *= *//p' "$1/Makefile" |
		head -3 | paste -sd.
}
