#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# The coverage of each file, by the places that the fuzzer has reached:
#
#   fuzz-coverage.sh VMLINUX SEEN		a table
#   fuzz-coverage.sh VMLINUX SEEN FILE	lines of FILE that were never reached
#
# CROSS_COMPILE is that of the kernel. A place is the return address of a call of the
# coverage, one for each basic block. It counts for the function that it is in, not for an
# inline function.
set -eu -o pipefail
vmlinux=$1 seen=$2 file=${3:-}
places=$vmlinux.places

# Each place, its file, and the line of this file. Innermost frames come first
if [ ! -e "$places" ] || [ "$places" -ot "$vmlinux" ]; then
	${CROSS_COMPILE-}objdump -d --no-show-raw-insn "$vmlinux" |
		awk 'call { sub(/:/, "", $1); print $1 }
			{ call = /(call|bl).*<__sanitizer_cov_trace_pc>/ }' >"$places.pcs"
	# The call, since the next instruction may be of another line
	perl -ne 'printf "%x\n", hex("0x$_") - 1' <"$places.pcs" 2>/dev/null |
		${CROSS_COMPILE-}addr2line -a -i -e "$vmlinux" |
		awk -v pcs="$places.pcs" '
			function out() {
				if (at == "")
					return
				getline pc <pcs
				sub(/.*\/drivers\//, "drivers/", at)
				sub(/ .*/, "", at)
				split(at, part, ":")
				print pc, part[1], part[2]
			}
			/^0x/ { out(); at = ""; next }
			{ at = $0 }
			END { out() }' >"$places.tmp"
	mv "$places.tmp" "$places"
fi
if [ -n "$file" ]; then
	# Lines that have places, none of which was reached
	awk -v file="$file" 'NR == FNR { seen[$1]; next }
		$2 ~ file "$" { if ($1 in seen) hit[$3]; else missed[$3] }
		END { for (l in missed) if (!(l in hit)) print l }' "$seen" "$places" | sort -n
	exit
fi
awk 'NR == FNR { seen[$1]; next }
	{ all[$2]++; if ($1 in seen) { hit[$2]++; hits++ } }
	END { for (f in all) printf "%5d of %5d  %3d %%  %s\n", hit[f], all[f],
		100 * hit[f] / all[f], f }' "$seen" "$places" | sort -k5
