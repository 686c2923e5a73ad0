# SPDX-License-Identifier: GPL-2.0-only
#
# The cost of a guest for its host, and the events of its faults: turns reports of
# init into results, in the form of results.awk. The input is the reports and the
# host's kernel log, which must not mention the faults of a guest.
#
#   name    the scenario
#   most    the limit for the page tables of the second guest that was held, in
#           percent of those of the first
#   events  the number of DMAs that must cause an event

function result(good, text) {
	printf "%s\t%s\t%s\t%s\n", good ? "pass" : "fail", name, "guest", text
}

# A DMA without an event must not be combined with a later event
function unanswered() {
	if (waiting)
		result(0, "no event for DMA of " bdf)
	waiting = 0
}

/^@host pagetables idle [0-9]+ held [0-9]+$/ {
	idle[++held] = $4
	tables[held] = $6 - $4
	next
}

# @guest dma BDF group TYPE sid 0x%08x smmu NAME from 0x%016x
/^@[a-z0-9]+ dma / {
	unanswered()
	dmas++
	waiting = 1
	bdf = $3
	group = $5
	sid = substr($7, 3)
	smmu = $9
	address = $11 ""
	next
}

# @guest event SMMU and four words: F_TRANSLATION is 0x10; the SID is the upper half
# of the first word, the address is the third. awk is exact only up to 2^53, so
# these are compared as text.
/^@[a-z0-9]+ event / {
	if (!waiting) {
		result(0, "an event without a DMA")
		next
	}
	waiting = 0
	result($3 == smmu && $4 == "0x" sid "00000010" && $6 == address &&
	       group ~ /^DMA/,
	       bdf " (group " group ") reads " address " as SID 0x" sid \
	       " of " smmu ": event 0x" substr($4, 17) " of " $3 ", SID 0x" \
	       substr($4, 3, 8) ", address " $6)
}

/arm-smmu-v3 .*: ias / { smmus++ }
/arm-smmu-v3 .*event 0x[0-9a-f]+ received/ { strays++ }

END {
	unanswered()
	if (dmas != events)
		result(0, dmas + 0 " DMAs for events, not " events)
	result(smmus && !strays, strays + 0 " events in the log of the host, of " \
	       smmus + 0 " SMMUs")
	if (held != 2) {
		result(0, held + 0 " guests were held, not 2")
		exit
	}
	# A guest whose page tables take nothing was not running
	ratio = tables[1] > 0 ? tables[2] / tables[1] : 0
	result(ratio > 0 && tables[2] * 100 <= tables[1] * most,
	       "page tables: " tables[1] " kB with one SMMU, " tables[2] \
	       " kB with two, " sprintf("%.2f times (at most %.2f)", ratio,
					most / 100) \
	       "; idle " idle[1] " and " idle[2] " kB")
}
