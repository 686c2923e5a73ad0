# SPDX-License-Identifier: GPL-2.0-only
#
# Compare the results on another kernel with the list of differences, see scripts/peer. A
# line of the list is one of these, with tabs between its fields:
#
#   run   SCENARIO...             the scenarios to run
#   cpu   TYPE                    the type of the CPUs
#   fail  SCENARIO PROGRAM TEST   REASON
#   may   SCENARIO PROGRAM TEST   REASON, for a test that fails in some of the runs
#   skip  TEXT                    REASON
#
# An asterisk stands for any text, except in TEXT, which is a part of the result.

function differs(text)
{
	print text
	bad++
}

# A regular expression of a name with asterisks
function pattern(name)
{
	gsub(/[][.+?(){}^$|\\]/, "\\\\&", name)
	gsub(/\*/, ".*", name)
	return "^" name "$"
}

FNR == 1 { file++ }

file == 1 && /^run\t/ {
	n = split($2, s, " ")
	while (n)
		scenario[s[n--]] = 1
	next
}

file == 1 && /^(fail|may|skip)\t/ {
	if ($3 == "")
		differs("no reason: " $0)
	kind[++lines] = $1 == "may" ? "fail" : $1
	used[lines] = $1 == "may"
	name[lines] = $2
	re[lines] = pattern($2)
	next
}

file == 1 { next }

{
	test = $4
	sub(/ *#.*/, "", test)
	test = $2 " " $3 " " test
	count[$1]++
	ran[$2] += $1 != "skip"
	if ($1 == "pass")
		next
	found = 0
	for (i = 1; i <= lines; i++) {
		if (kind[i] != $1)
			continue
		if ($1 == "fail" ? test ~ re[i] : index($4, name[i])) {
			used[i]++
			found = 1
		}
	}
	if (!found)
		differs(($1 == "fail" ? "fails" : "is skipped") " unexpectedly: " \
			($1 == "fail" ? test : $2 " " $3 " " $4))
}

END {
	for (i = 1; i <= lines; i++)
		if (!used[i])
			differs("is expected to " (kind[i] == "fail" ? "fail" : \
				"skip a test") ", and does not: " name[i])
	for (s1 in scenario)
		if (!ran[s1])
			differs("nothing ran in " s1)
	printf "Linux %s: %d passed, %d failed, %d skipped; %d differ\n",
		version, count["pass"], count["fail"], count["skip"], bad
	exit bad != 0
}
