# SPDX-License-Identifier: GPL-2.0-only
#
# The machines and the scenarios of run.sh.

# One SMMU for everything. edu devices each alone behind a root port, so that
# each has an IOMMU group of its own and can be reset through the port.
machine_one() {
	machine=(-M virt,gic-version=3,virtualization=on,its=on,iommu=smmuv3
		-global arm-smmuv3.stage=nested)
	machine_common
	nvme_drive
	machine+=(-device pcie-root-port,id=rp0,chassis=1
		-device edu,bus=rp0,dma_mask=0xffffffffffff
		-device pcie-root-port,id=rp1,chassis=2
		-device edu,bus=rp1,dma_mask=0xffffffffffff
		-device pcie-root-port,id=rp2,chassis=3
		-device nvme,bus=rp2,drive=disk,serial=nesting)
}

# Two SMMUs, each with an edu of its own; what hangs on pcie.0 has none
machine_two() {
	machine=(-M virt,gic-version=3,virtualization=on,its=on)
	machine_common
	nvme_drive
	machine+=(-device pxb-pcie,id=pa,bus_nr=32,bus=pcie.0
		-device arm-smmuv3,primary-bus=pa,id=sa,stage=nested
		-device pcie-root-port,id=ra0,bus=pa,chassis=1
		-device edu,bus=ra0,dma_mask=0xffffffffffff
		-device pcie-root-port,id=ra1,bus=pa,chassis=2
		-device edu,bus=ra1,dma_mask=0xffffffffffff
		-device pxb-pcie,id=pb,bus_nr=64,bus=pcie.0
		-device arm-smmuv3,primary-bus=pb,id=sb,stage=nested
		-device pcie-root-port,id=rb0,bus=pb,chassis=3
		-device edu,bus=rb0,dma_mask=0xffffffffffff
		-device pcie-root-port,id=rb1,bus=pb,chassis=4
		-device nvme,bus=rb1,drive=disk,serial=nesting)
}

# A host that boots by device tree knows nothing of CANWBS
machine_dt() {
	machine_one
	firmware=()
}

scenario_boot() {
	about="boots and does nothing (PLAN=... to do something)"
	machine_one
	limit=${LIMIT:-120}
	args=${PLAN-}
}

scenario_two_boot() {
	about="two SMMUs, as boot"
	machine_two
	limit=${LIMIT:-120}
	args=${PLAN-}
}

scenario_dt_boot() {
	about="device tree, as boot"
	machine_dt
	canwbs=0
	limit=${LIMIT:-120}
	args=${PLAN-}
}
