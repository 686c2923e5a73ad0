# SPDX-License-Identifier: GPL-2.0-only
#
# Observations of a guest behind its own SMMU, from outside or by the guest itself.
# A value that was not observed is not printed.
#
# The input is the version of the emulator, the reports, the trace of the physical
# SMMU and the kernel's log. The guest's own commands are the stage-1
# invalidations under a VMID, which no domain of the host has, and the CFGI_CD
# among them; less the NH_ALL that the kernel sends on its own after each
# invalidation of stage 2.
#
# Each of them has come by an IOMMU_HWPT_INVALIDATE of the VMM, which has traced
# these calls, or by the guest's command queue in software. With ways=1 the
# table shows only by which of the two.
#
# With two=1 it is the guest behind two SMMUs. There is no trace of these, but the
# sizes of the page tables for it and for a guest with a single SMMU.

/^outer / { sub(/.*version /, ""); outer = $0 }
/^@host boot / { kernel = $3 }
/^@host vfio nvme/ { bdf = $4; add("host", $4) }
/^@host pagetables/ { tables[++guests] = $6 - $4 }
/^@guest boot / { guest = $3 }
/^@guest device nvme/ {
	vbdf = $4
	vsid = $6
	add("device", $4 ", vSID " $6 ", " $8)
}
/^@guest group/ { group = $3 }
/^@guest verified/ { bytes = $3; all_bytes += $3 }
/^@guest msi/ { msi = $3; all_msi += $3 }
/^@guest event/ {
	add("event", "0x" substr($4, 17) ", vSID 0x" substr($4, 3, 8) \
	    ", address " $6 ", " $3)
}
/^@host invalidations/ { calls = $5; called = $7 }
/^@host workers/ { workers = $4 }
/^QEMU emulator version/ { sub(/.*version /, ""); inner = $0 }
/arm-smmu-v3.*: ias / {
	sub(/.*arm-smmu-v3 /, "")
	smmu = $0
	add("smmu", $0)
}
/^smmuv3_cmdq_cfgi_cd/ { sub(/.*sid=/, ""); held[$0]++ }
/^smmu/ && /vmid=[1-9]/ && (/inv_vmid / || /stage=2/) {
	stage2 = 1
	next
}
/^smmu/ && /vmid=[1-9]/ {
	if (stage2 && /inv_vmid_s1/)
		next
	stage2 = 0
	match($0, /vmid=[0-9]+/)
	vmid[substr($0, RSTART + 5, RLENGTH - 5)]++
	commands++
	# CFGI_CD before the first guest's TLBI is not the guest's
	for (s in held) {
		if (commands > 1) {
			sid[s]++
			commands += held[s]
		}
		delete held[s]
	}
}
function all(a,    i, text) {
	for (i in a)
		text = text (text == "" ? "" : ", ") i
	return text
}
# Append a value to a list, unless the list has it
function add(what, text) {
	if (!((what, text) in seen)) {
		seen[what, text] = 1
		list[what, ++count[what]] = text
	}
}
function row(what, value) {
	printf "    %-28s%s\n", what, value == "" ? "not seen" : value
}
function rows(what, key,    i) {
	row(what, list[key, 1])
	for (i = 2; i <= count[key]; i++)
		printf "    %-28s%s\n", "", list[key, i]
}
function ways_rows() {
	row("guest commands translated", commands)
	row("  by HWPT_INVALIDATE", calls == "" ? "" : called " in " calls " calls")
	rest = commands - called
	row("  by a queue of the guest", calls == "" ? "" : \
	    rest (workers ? "" : " (it has none)"))
	row("MSIs delivered", msi)
	row("bytes verified", bytes)
}
END {
	if (ways) {
		ways_rows()
		exit
	}
	row("host kernel", kernel)
	row("emulator of the host", "QEMU " outer)
	if (!two)
		row("VMM in the host", "QEMU " inner)
	row("guest kernel", guest)
	if (two) {
		rows("SMMUs of the host", "smmu")
		rows("devices of the host", "host")
		rows("devices in the guest", "device")
		row("IOMMU groups in the guest", group)
		row("MSIs delivered", all_msi)
		row("bytes verified", all_bytes)
		rows("events in the guest", "event")
		row("page tables, one SMMU", guests ? tables[1] " kB" : "")
		row("page tables, two SMMUs", guests > 1 ? tables[2] " kB" : "")
		exit
	}
	row("SMMU of the host", smmu)
	row("device, host -> guest", bdf " -> " vbdf)
	row("IOMMU group in the guest", group)
	row("vSID -> SID", vsid " -> " all(sid))
	row("VMID", all(vmid))
	ways_rows()
}
