# SPDX-License-Identifier: GPL-2.0-only
#
# Results of KUnit in a kernel log, in the form of results.awk. Only the leaves
# count: the summary of a suite, or of a case with parameters, comes after the
# "# Subtest" line with the same name, and is indented less by a level.

{
	sub(/\r$/, "")
	sub(/^\[ *[0-9]+\.[0-9]+\](\[ *[TC][0-9]+\])? ?/, "")
}

/^ *# Subtest: / {
	sub(/^ *# Subtest: /, "")
	group[++depth] = $0
	next
}

depth && /^ *(not )?ok [0-9]+ / {
	text = $0
	bad = text ~ /^ *not /
	sub(/^ *(not )?ok [0-9]+ (- )?/, "", text)
	label = text
	sub(/ *# .*/, "", label)
	if (label == group[depth]) {
		depth--
		next
	}
	printf "%s\t%s\tkunit %s\t%s\n",
		bad ? "fail" : text ~ /# *SKIP/ ? "skip" : "pass",
		name, group[1], text
	found++
}

/selftest: completed with [0-9]+ PASS [0-9]+ FAIL/ {
	who = $0
	sub(/: .*/, "", who)
	match($0, /with [0-9]+ PASS/)
	pass = substr($0, RSTART + 5) + 0
	match($0, /PASS [0-9]+ FAIL/)
	fail = substr($0, RSTART + 5) + 0
	for (i = 0; i < pass; i++)
		printf "pass\t%s\t%s selftest\t%d\n", name, who, i + 1
	for (i = 0; i < fail; i++)
		printf "fail\t%s\t%s selftest\tsee the kernel log\n", name, who
}

END {
	if (!found)
		printf "fail\t%s\tkunit\tno result in the kernel log\n", name
	else if (depth)
		printf "fail\t%s\tkunit %s\tdid not end\n", name, group[depth]
}
