# SPDX-License-Identifier: GPL-2.0-only
#
# Workers of command queues in software, from the reports of init: prints
# results in the form of results.awk.
#
#   name    the scenario
#   holds   the number of holds at which a guest must have a worker that has worked
#           since the previous hold
#   most    the limit for the blocks of commands that a hostile guest gets through
#           while another guest reads a page
#   block   the number of commands in a block

function result(good, text) {
	printf "%s\t%s\t%s\t%s\n", good ? "pass" : "fail", name, "guest", text
}

/^@host pagetables / { held++ }
/^@host workers / {
	vmm = $3
	n[vmm]++
	if ($4 != 1)
		strange++
	worked[held, vmm] = $6 + $8 > before[vmm]
	before[vmm] = $6 + $8
	ticks[held, vmm] = $8
	if (worked[held, vmm])
		done++
}
/^@[a-z]+ reads / {
	reads += $3
	guests++
}
/^@bad flooded / { flooded = $3 }
END {
	if (holds)
		result(done == holds && !strange,
		       sprintf("%d of %d holds after work of a worker", done, holds))
	if (!most)
		exit
	result(held && n["a"] == held && n["b"] == held && n["bad"] == held && !strange,
	       "each of the guests has a worker")
	blocks = flooded / block
	each = reads ? blocks * guests / reads : -1
	result(guests == 2 && flooded && each <= most,
	       sprintf("while each of two guests reads %d pages, a hostile guest gets %d blocks through: %.1f per read, at most %d",
		       guests ? reads / guests : 0, blocks, each, most))
	printf "# CPU time of the workers in ms: a %d0, b %d0, hostile %d0\n",
		ticks[held, "a"] - ticks[held - 1, "a"],
		ticks[held, "b"] - ticks[held - 1, "b"],
		ticks[held, "bad"] - ticks[held - 1, "bad"] >"/dev/stderr"
}
