# SPDX-License-Identifier: GPL-2.0-only
#
# Count the exits of guests for their reads, from the reports of init, and print
# results in the form of results.awk. Each guest is held before its reads and after
# them. The first guest has no command queue, the second guest has, and is held again
# each time after it was idle. Once its worker must have been idle, too: on a busy machine
# it may do the rest of its work meanwhile.
#
#   name    the scenario
#   ratio   maximum of the instructions for each read with a queue, as a multiple of
#           those without. Waits do not count. They are told from work by insns.c, whose
#           output is the second file. 0: not counted
#   least   minimum of exits to user space for each read, without a command queue
#   most    maximum of these exits with a command queue
#   hardware  1: the queue is in hardware, and needs no worker

function result(good, text) {
	printf "%s\t%s\t%s\t%s\n", good ? "pass" : "fail", name, "guest", text
}

function quiet() {
	return awake <= 3 && cpu <= 1
}

# The VMM traces its writes to a BAR that it emulates. They are not for the queue
/^@host run / { guest++; held = 0 }
/^memory_region_ram_device_write / && held == 1 { bar[guest]++ }
/^@guest reads / { reads[guest] = $3 }
/^@guest idle / { idle[guest] = $3 }
/^insns / {
	if (++marks in first) {
		insns[first[marks]] = -$2
		waits[first[marks]] = -$4
	}
	if (marks in second) {
		insns[second[marks]] += $2
		waits[second[marks]] += $4
	}
}
/^@host exits / {
	exit_reports++
	if (++held == 1)
		first[exit_reports] = guest
	if (held == 2) {
		second[exit_reports] = guest
		all[guest] = $3 - exits
		user[guest] = $5 - mmio
		wfi[guest] = $7 - wfis
	}
	exits = $3
	mmio = $5
	wfis = $7
}
/^@host workers / {
	workers[guest] = $4
	if (held == 2)
		slept = $6 - sleeps
	if (held == 3 || held > 3 && !quiet()) {
		awake = $6 - sleeps
		cpu = $8 - ticks
	}
	sleeps = $6
	ticks = $8
}
END {
	for (i = 1; i <= 2; i++) {
		if (!reads[i] || !(i in all)) {
			result(0, "guest " i " was not counted")
			exit
		}
		u[i] = (user[i] - bar[i]) / reads[i]
		if (bar[i])
			beside[i] = sprintf(", beside %.3f for a BAR,", bar[i] / reads[i])
		a[i] = all[i] / reads[i]
		w[i] = wfi[i] / reads[i]
	}
	result(u[1] >= least,
	       sprintf("without the queue, a read costs %.3f exits to user space%s and %.2f in all, %.2f of them WFIs",
		       u[1], beside[1], a[1], w[1]))
	result(u[2] <= most,
	       sprintf("with it %.3f, at most %.3f%s and %.2f in all, %.2f of them WFIs",
		       u[2], most, beside[2] ? beside[2] : ",", a[2], w[2]))
	if (ratio) {
		each = insns[1] ? insns[2] / insns[1] : -1
		result(each > 0 && each <= ratio,
		       sprintf("instructions in all layers for a read: %d without the queue, %d with it, %.2f times (at most %.2f); %.2f sleeps of the worker; not counted: waits, which took %d and %d",
			       insns[1] / reads[1], insns[2] / reads[2], each, ratio,
			       slept / reads[2], waits[1] / reads[1], waits[2] / reads[2]))
		exit
	}
	if (hardware) {
		result(!workers[1] && !workers[2] && idle[2], "there is no worker")
		exit
	}
	result(!workers[1] && workers[2] == 1 && idle[2] && held >= 3 && quiet(),
	       sprintf("in %d s of an idle guest, its worker slept %d times and ran for %d0 ms",
		       idle[2], awake, cpu))
}
