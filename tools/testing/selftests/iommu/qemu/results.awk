# SPDX-License-Identifier: GPL-2.0-only
#
# Results of a host's report: a line for each test, "pass|fail|skip SCENARIO
# PROGRAM TEXT", separated by tabs. report.h describes the input. Programs may
# nest (a guest reports through the VMM that the host runs), so there is a stack
# of them.

function result(what, text)
{
	printf "%s\t%s\t%s\t%s\n", what, name, prog[depth], text
	seen[depth]++
	if (what == "fail")
		fails[depth]++
}

function leave(how,    left)
{
	if (skip_all[depth] != "" && !seen[depth]) {
		result("skip", skip_all[depth])
	} else if (how == "status 4" && !seen[depth]) {
		result("skip", last[depth] == "" ? "no reason given" : last[depth])
	} else {
		left = plan[depth] - seen[depth]
		if (left > 0)
			result("fail", left " of " plan[depth] \
			       " tests did not report: " how)
		else if (how != "status 0" && how != "killed" && !fails[depth])
			result("fail", how \
			       (last[depth] == "" ? "" : ": " last[depth]))
		else if (!seen[depth] && !fails[depth])
			result("pass", "ended with " how)
	}
	depth--
}

/^@[a-z0-9]+ run / {
	depth++
	prog[depth] = $3
	sub(/.*\//, "", prog[depth])
	seen[depth] = fails[depth] = plan[depth] = unmapped[depth] = 0
	skip_all[depth] = last[depth] = ""
	next
}

/^@[a-z0-9]+ exit / {
	how = $0
	sub(/^@[a-z0-9]+ exit [^ ]+ /, "", how)
	if (depth)
		leave(how)
	next
}

/^@/ || !depth { next }

/^1\.\.0/ && /# *SKIP/ {
	skip_all[depth] = $0
	sub(/.*# *SKIP */, "", skip_all[depth])
	next
}

/^1\.\.[0-9]+/ {
	plan[depth] = substr($1, 4) + 0
	next
}

/^(not )?ok [0-9]+/ {
	text = $0
	sub(/^(not )?ok [0-9]+ *(- )?/, "", text)
	if ($1 == "not")
		result("fail", text)
	else if (text ~ /# *SKIP/)
		result("skip", text)
	else
		result("pass", text)
	next
}

/^Bail out!/ {
	result("fail", $0)
	next
}

# QEMU goes on with a warning, but its devices cannot reach this memory
/IOMMU_IOAS_[A-Z_]* failed/ && !unmapped[depth]++ {
	printf "fail\t%s\t%s\t%s\n", name, prog[depth], $0
	fails[depth]++
}

/[^ ]/ { last[depth] = $0 }

END {
	while (depth)
		leave("did not end")
}
