# SPDX-License-Identifier: GPL-2.0-only
#
# The machines and the scenarios of run.sh. The tests are these, in this order:
# slow is what a limit has to be multiplied by.
test_scenarios="kunit iommufd nesting two_smmus no_canwbs guest"

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
	# With a device tree the ports are set up before the SMMU asks for ACS, and
	# an edu would share its group with its port
	kargs+=" pci=config_acs=xx111x1@pci:1b36:000c"
}

scenario_boot() {
	about="boots and does what PLAN says"
	case ${MACHINE:=one} in
	one|two) "machine_$MACHINE" ;;
	dt)	machine_dt; canwbs=0 ;;
	*)	die "MACHINE is one, two or dt" ;;
	esac
	limit=${LIMIT:-120}
	args=${PLAN-}
}

scenario_kunit() {
	about="the tests that run inside of the kernel"
	machine_one
	limit=300
	kunit=1
}

scenario_iommufd() {
	about="iommufd against its mock driver"
	machine_one
	limit=300
	kargs+=" hugepages=160"
	args="timeout=$((120 * slow)) run=/tests/iommufd run=/tests/iommufd_fail_nth"
	args+=" run=/tests/iommufd_viommu"
}

# With -icount an instruction is a nanosecond of the guest's clock, on any machine
scenario_bench() {
	about="the cost of the calls of a VMM, in instructions"
	icount="-smp 1 -icount shift=0,sleep=off"
	machine_one
	limit=300
	args="timeout=$((240 * slow)) run=/tests/smmuv3_bench"
}

scenario_nesting() {
	about="a VMM and its guest played against one SMMU"
	machine_one
	limit=300
	args="timeout=$((240 * slow)) run=/tests/smmuv3_nesting"
}

scenario_two_smmus() {
	about="what takes two SMMUs of it"
	machine_two
	limit=300
	args="timeout=$((240 * slow)) run=/tests/smmuv3_nesting,-f,two_devices,-f,one_stage2"
}

scenario_no_canwbs() {
	about="a host by device tree, which must refuse to nest"
	machine_dt
	canwbs=0
	args="run=/tests/smmuv3_nesting,-f,host"
}

# What the VMM inside of the host is given, one argument a line. $1: devices
vmm_archive() {
	local dir=$OUT/vmm

	rm -rf "$dir"
	mkdir -p "$dir/guest"
	cp "$KERNEL" "$dir/guest/Image"
	cp "$INITRD" "$dir/guest/initrd"
	{
		cat <<-END
		/usr/bin/qemu-system-aarch64
		-M
		virt,gic-version=3
		-cpu
		host
		-accel
		kvm
		-m
		512
		-nodefaults
		-display
		none
		-no-reboot
		-bios
		/usr/share/qemu-efi-aarch64/QEMU_EFI.fd
		-kernel
		/host/guest/Image
		-initrd
		/host/guest/initrd
		-append
		console=ttyAMA0 quiet panic=-1 -- tag=guest nvme=8
		-serial
		file:/dev/vport0p2
		-device
		virtio-serial-pci
		-chardev
		file,id=report,path=/proc/self/fd/1
		-device
		virtserialport,nr=1,chardev=report
		-device
		pxb-pcie,id=pcie.1,bus_nr=8,bus=pcie.0
		-device
		pcie-root-port,id=rp0,bus=pcie.1,chassis=1
		END
		printf '%s\n' "$@"
	} >"$dir/guest/args"
	(cd "$dir" && find guest | cpio -o -H newc --quiet) >"$dir.cpio"
	extra=$dir.cpio
}

scenario_guest() {
	about="QEMU with KVM and its NVMe behind its own accelerated SMMU"
	if [ -z "$ROOTFS_IMG" ]; then
		skip="no ROOTFS with a VMM"
		return
	fi
	with_root=1 with_tests=
	machine_one
	vmm_archive -object iommufd,id=i0 \
		-device arm-smmuv3,primary-bus=pcie.1,id=s0,accel=on \
		-device vfio-pci,host=@nvme@,bus=rp0,iommufd=i0
	# What the physical SMMU was told: the guest's commands after translation
	trace=(-D "$OUT/guest/trace.log" -trace smmuv3_cmdq_cfgi_cd
		-trace smmuv3_range_inval -trace 'smmu_iotlb_inv_*vmid*')
	limit=180
	args="timeout=$((150 * slow)) root=/dev/vda version=/usr/bin/qemu-system-aarch64"
	args+=" vfio=nvme,1b36:0010 vmm=/guest/args"
}

summary_guest() {
	local dir=$1

	{
		echo "outer $($QEMU --version | head -1)"
		cat "$dir/report.log" "$dir/trace.log" "$dir/console.log"
	} | awk -f "$here/summary.awk"
}

scenario_guest_emulated() {
	about="the same guest with all its devices emulated by its VMM"
	with_root=1 with_tests=
	machine_one
	vmm_archive -device arm-smmuv3,primary-bus=pcie.1,id=s0 \
		-drive if=none,id=d,format=raw,file=/dev/nvme0n1 \
		-device nvme,bus=rp0,drive=d,serial=x
	limit=180
	args="timeout=$((150 * slow)) root=/dev/vda vmm=/guest/args"
}
