# SPDX-License-Identifier: GPL-2.0-only
#
# The commands that the queues of a CMDQV have executed, from the trace of the
# emulator: prints results in the form of results.awk.
#
#   name    the scenario
#   atc     1: guests must have sent ATC_INVs, too
#   vms     if set, the number of VMs, all at the same time: so many VINTFs must have
#           executed TLBIs, each with a VMID of its own

function result(good, text) {
	printf "%s\t%s\tCMDQV\t%s\n", good ? "pass" : "fail", name, text
}

/smmuv3_cmdqv_cmd / {
	split($0, f, /[ =]/)
	for (i in f)
		if (f[i] == "vintf") {
			vintf = f[i + 1]
			hyp = f[i + 5]
			op = f[i + 6]
			vmid = f[i + 8]
			sid = f[i + 10]
			break
		}
	sub(/^SMMU_CMD_/, "", op)
	if (hyp == 1) {
		host[op]++
		hosts++
		strange += vintf != 0
		next
	}
	guest[op]++
	strange += vintf == 0
	if (op ~ /^TLBI/) {
		vmids[vintf, vmid] = 1
		# VMID 0 is that of stage 1 alone
		strange += vmid == 0
	}
	# The guests in the tests have StreamIDs that no device has
	strange += op == "ATC_INV" && sid !~ /^0x[0-7]?[0-9a-f]?[0-9a-f]$/
	strange += op !~ /^(TLBI_NH_ASID|TLBI_NH_VA|ATC_INV|SYNC)$/
}

END {
	result(hosts > 0 && host["SYNC"] > 0,
	       sprintf("the queues of the host executed %d commands, %d of them CMD_SYNC",
		       hosts, host["SYNC"]))
	result(guest["TLBI_NH_ASID"] + guest["TLBI_NH_VA"] > 0 && guest["SYNC"] > 0 &&
	       (!atc || guest["ATC_INV"] > 0),
	       sprintf("those of VMs executed %d TLBI_NH_ASID, %d TLBI_NH_VA, %d ATC_INV and %d CMD_SYNC",
		       guest["TLBI_NH_ASID"], guest["TLBI_NH_VA"], guest["ATC_INV"],
		       guest["SYNC"]))
	for (i in vmids)
		n++
	if (vms) {
		for (i in vmids) {
			split(i, f, SUBSEP)
			if (f[1] in vmid_of || f[2] in taken)
				shared++
			vmid_of[f[1]] = f[2]
			taken[f[2]] = 1
		}
		result(n == vms && !shared,
		       sprintf("%d VINTFs of VMs, each with a VMID of its own", n))
	}
	result(n && !strange,
	       sprintf("with %d VMIDs of VINTFs, and nothing else (%d)", n, strange))
}
