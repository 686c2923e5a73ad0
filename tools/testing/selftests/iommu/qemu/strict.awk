# SPDX-License-Identifier: GPL-2.0-only
#
# The commands and STEs that a strict SMMU refused, from the log of the
# emulator: each is a failure, once for each kind. The form is that of
# results.awk.

sub(/^SMMUv3 strict: /, "") {
	if ($1 != "CD:" && !seen[$0]++)
		printf "fail\t%s\tSMMU\tit refused %s\n", name, $0
	refused += $1 != "CD:"
}

END {
	if (!refused)
		printf "pass\t%s\tSMMU\tit refused no command and no STE\n", name
}
