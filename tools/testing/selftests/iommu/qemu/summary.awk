# SPDX-License-Identifier: GPL-2.0-only
#
# What was seen of a guest behind its own SMMU, from outside or by the guest
# itself: nothing that was not seen has a value.
#
# Read are the version of the emulator, the reports, the trace of the physical
# SMMU and the kernel's log. The guest's own commands are the stage-1
# invalidations under a VMID, which no domain of the host has, and the CFGI_CD
# among them; less the NH_ALL that the kernel sends on its own after each
# invalidation of stage 2.

/^outer / { sub(/.*version /, ""); outer = $0 }
/^@host boot / { kernel = $3 }
/^@host vfio nvme/ { bdf = $4 }
/^@guest boot / { guest = $3 }
/^@guest device nvme/ { vbdf = $4; vsid = $6 }
/^@guest group/ { group = $3 }
/^@guest verified/ { bytes = $3 }
/^@guest msi/ { msi = $3 }
/^QEMU emulator version/ { sub(/.*version /, ""); inner = $0 }
/arm-smmu-v3.*: ias / { sub(/.*arm-smmu-v3 /, ""); smmu = $0 }
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
	# CFGI_CD before the first one is not the guest's
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
function row(what, value) {
	printf "    %-28s%s\n", what, value == "" ? "not seen" : value
}
END {
	row("host kernel", kernel)
	row("emulator of the host", "QEMU " outer)
	row("VMM in the host", "QEMU " inner)
	row("guest kernel", guest)
	row("SMMU of the host", smmu)
	row("device, host -> guest", bdf " -> " vbdf)
	row("IOMMU group in the guest", group)
	row("vSID -> SID", vsid " -> " all(sid))
	row("VMID", all(vmid))
	row("guest commands translated", commands)
	row("MSIs delivered", msi)
	row("bytes verified", bytes)
}
