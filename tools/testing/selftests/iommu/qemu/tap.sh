#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# tap.sh NAME PROGRAM TOTALS: run a test program on this machine in the way in which
# init runs programs of the host, and add its results to those of the scenarios.
set -u
here=$(cd "$(dirname "$0")" && pwd)

{
	echo "@here run $2"
	"$2"
	echo "@here exit $2 status $?"
} | tee -a /dev/stderr | awk -v name="$1" -f "$here/results.awk" >"$3.new"
cat "$3.new" >>"$3"
! grep -q ^fail "$3.new"
rc=$?
rm "$3.new"
exit $rc
