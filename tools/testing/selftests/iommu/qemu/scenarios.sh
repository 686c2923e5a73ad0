# SPDX-License-Identifier: GPL-2.0-only
#
# The machines and the scenarios of run.sh. The tests are these, in this order:
# slow is what a limit has to be multiplied by.
test_scenarios="kunit iommufd nesting group two_smmus no_canwbs guest guest_two"
# What these tell a debug kernel, it has mostly been told before: with ALL=1 only
long_scenarios="no_canwbs guest guest_two"

# One SMMU for everything. edu devices each alone behind a root port, so that
# each has an IOMMU group of its own and can be reset through the port.
machine_one() {
	machine=(-M virt,gic-version=3,virtualization=on,its=on,iommu=smmuv3
		-global arm-smmuv3.stage=nested)
	machine_common
	nvme_drive disk
	machine+=(-device pcie-root-port,id=rp0,chassis=1
		-device edu,bus=rp0,dma_mask=0xffffffffffff
		-device pcie-root-port,id=rp1,chassis=2
		-device edu,bus=rp1,dma_mask=0xffffffffffff
		-device pcie-root-port,id=rp2,chassis=3
		-device nvme,bus=rp2,drive=disk,serial=nesting)
}

# Two SMMUs, each with an edu and an NVMe of its own; what hangs on pcie.0 has none
machine_two() {
	machine=(-M virt,gic-version=3,virtualization=on,its=on)
	machine_common
	nvme_drive disk
	nvme_drive disk2
	machine+=(-device pxb-pcie,id=pa,bus_nr=32,bus=pcie.0
		-device arm-smmuv3,primary-bus=pa,id=sa,stage=nested
		-device pcie-root-port,id=ra0,bus=pa,chassis=1
		-device edu,bus=ra0,dma_mask=0xffffffffffff
		-device pcie-root-port,id=ra1,bus=pa,chassis=2
		-device edu,bus=ra1,dma_mask=0xffffffffffff
		-device pcie-root-port,id=ra2,bus=pa,chassis=5
		-device nvme,bus=ra2,drive=disk2,serial=nesting2
		-device pxb-pcie,id=pb,bus_nr=64,bus=pcie.0
		-device arm-smmuv3,primary-bus=pb,id=sb,stage=nested
		-device pcie-root-port,id=rb0,bus=pb,chassis=3
		-device edu,bus=rb0,dma_mask=0xffffffffffff
		-device pcie-root-port,id=rb1,bus=pb,chassis=4
		-device nvme,bus=rb1,drive=disk,serial=nesting)
}

# With two more edu that are functions of one device, and so in one group. Behind a
# port VFIO would have one lock for both; on the root bus nothing keeps them apart.
machine_group() {
	machine_one
	machine+=(-device edu,addr=10.0,multifunction=on,dma_mask=0xffffffffffff
		-device edu,addr=10.1,dma_mask=0xffffffffffff)
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
	one)	machine_one ;;
	group)	machine_group ;;
	two)	machine_two ;;
	dt)	machine_dt; canwbs=0 ;;
	*)	die "MACHINE is one, group, two or dt" ;;
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

# What only repeats with more of the same takes too long on a debug kernel
iommufd_repeats="two_mock_domain mock_domain_limit one_domain two_domains_hugepage
	domain_dirty16k domain_dirty64k domain_dirty320k domain_dirty64M
	domain_dirty128M domain_dirty128M_huge"

scenario_iommufd() {
	local repeats=

	about="iommufd against its mock driver"
	machine_one
	limit=300
	kargs+=" hugepages=160"
	if [ -n "$brief" ]; then
		repeats=$(printf ',-V,%s' $iommufd_repeats)
		about+=", without repeats"
	fi
	args="timeout=$((120 * slow)) run=/tests/iommufd$repeats"
	args+=" run=/tests/iommufd_fail_nth run=/tests/iommufd_viommu"
	args+=" run=/tests/iommufd_map_file run=/tests/iommufd_uapi"
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
	local without=

	about="a VMM and its guest played against one SMMU"
	machine_one
	limit=300
	# Thousands of objects, for what they cost
	if [ -n "$brief" ]; then
		without=",-F,charge,-T,asids_run_out"
		about+=", without charge and asids_run_out"
	fi
	args="timeout=$((240 * slow)) run=/tests/smmuv3_hostcheck"
	args+=" run=/tests/smmuv3_nesting$without run=/tests/smmuv3_race"
	args+=" vfio=edu,1234:11e8 run=/tests/smmuv3_example,@edu@"
}

scenario_group() {
	about="two devices in one IOMMU group"
	machine_group
	args="run=/tests/smmuv3_nesting,-f,group"
}

scenario_two_smmus() {
	about="what takes two SMMUs of it"
	machine_two
	limit=300
	args="timeout=$((240 * slow))"
	args+=" run=/tests/smmuv3_hostcheck"
	args+=" run=/tests/smmuv3_nesting,-f,two_devices,-f,one_stage2"
	args+=" run=/tests/smmuv3_race"
}

scenario_no_canwbs() {
	about="a host by device tree, which must refuse to nest"
	machine_dt
	canwbs=0
	args="run=/tests/smmuv3_hostcheck run=/tests/smmuv3_nesting,-f,host"
}

# What the VMMs inside of the host share; vmm_guest adds to it
vmm_begin() {
	rm -rf "$OUT/vmm"
	mkdir -p "$OUT/vmm/guest"
	cp "$GUEST_KERNEL" "$OUT/vmm/guest/Image"
	cp "$INITRD" "$OUT/vmm/guest/initrd"
}

# vmm_guest FILE ACTIONS DEVICE...: what a VMM inside of the host is given, one
# argument a line, and what init does in its guest. Reports of the guest leave
# through the VMM's output; its input is the answer to "hold".
vmm_guest() {
	local file=$1 actions=$2

	shift 2
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
		console=ttyAMA0 quiet panic=-1 -- $actions
		-serial
		file:/dev/vport0p2
		-device
		virtio-serial-pci
		-chardev
		stdio,id=report,signal=off
		-device
		virtserialport,nr=1,chardev=report
		END
		printf '%s\n' "$@"
	} >"$OUT/vmm/guest/$file"
}

vmm_end() {
	(cd "$OUT/vmm" && find guest | cpio -o -H newc --quiet) >"$OUT/vmm.cpio"
	extra=$OUT/vmm.cpio
}

# A root complex of the guest and its ports, NAME.0 and up: NAME BUS PORTS
vmm_bus() {
	local i

	vmm+=(-device "pxb-pcie,id=$1,bus_nr=$2,bus=pcie.0")
	for ((i = 0; i < $3; i++)); do
		vmm+=(-device "pcie-root-port,id=$1.$i,bus=$1,chassis=$(($2 + i))")
	done
}

scenario_guest() {
	local vmm=(-object "iommufd,id=i0")

	about="QEMU with KVM and its NVMe behind its own accelerated SMMU"
	if [ -z "$ROOTFS_IMG" ]; then
		skip="no ROOTFS with a VMM"
		return
	fi
	with_root=1 with_tests=
	machine_one
	vmm_bus pa 8 1
	vmm_begin
	vmm_guest args "tag=guest nvme=8" "${vmm[@]}" \
		-device arm-smmuv3,primary-bus=pa,id=sa,accel=on \
		-device vfio-pci,host=@nvme@,bus=pa.0,iommufd=i0
	vmm_end
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

# Both guests are given the same memory. The first one tells what page tables it
# takes for one SMMU, the second one makes its devices fault, too.
scenario_guest_two() {
	# RAM of a memfd, which QEMU maps by its file
	local vmm=(-object "iommufd,id=i0" -M memory-backend=ram
		-object "memory-backend-memfd,id=ram,size=512M")

	about="QEMU with an NVMe behind each of two accelerated SMMUs, and one stage 2"
	if [ -z "$ROOTFS_IMG" ]; then
		skip="no ROOTFS with a VMM"
		return
	fi
	with_root=1 with_tests=
	machine_two
	# In blocks of 2 MiB a stage 2 takes too little to tell one from two
	kargs+=" transparent_hugepage=never"
	vmm_begin
	vmm_bus pa 8 2
	vmm+=(-device "arm-smmuv3,primary-bus=pa,id=sa,accel=on"
		-device "vfio-pci,host=@nvmea@,bus=pa.0,iommufd=i0")
	vmm_guest single "tag=single smmus=1 nvme=4 hold" "${vmm[@]}"
	vmm_bus pb 16 2
	vmm+=(-device "arm-smmuv3,primary-bus=pb,id=sb,accel=on"
		-device "vfio-pci,host=@nvmeb@,bus=pb.0,iommufd=i0"
		-device "vfio-pci,host=@edua@,bus=pa.1,iommufd=i0"
		-device "vfio-pci,host=@edub@,bus=pb.1,iommufd=i0")
	vmm_guest two "tag=guest smmus=2 nvme=4,0 nvme=4,1 edu=0 edu=1 nvme=1,0 nvme=1,1 hold" \
		"${vmm[@]}"
	vmm_end
	limit=300
	args="timeout=$((150 * slow)) root=/dev/vda vfio=nvmea,1b36:0010,0"
	args+=" vfio=nvmeb,1b36:0010,1"
	args+=" vfio=edua,1234:11e8,0 vfio=edub,1234:11e8,2"
	args+=" vmm=/guest/single vmm=/guest/two"
}

judge_guest_two() {
	awk -v name="$title" -v most=125 -v events=2 -f "$here/guest.awk" \
		"$1/report.log" "$1/console.log"
}

summary_guest_two() {
	local dir=$1

	{
		echo "outer $($QEMU --version | head -1)"
		cat "$dir/report.log" "$dir/console.log"
	} | awk -v two=1 -f "$here/summary.awk"
}

scenario_guest_emulated() {
	local vmm=()

	about="the same guest with all its devices emulated by its VMM"
	if [ -z "$ROOTFS_IMG" ]; then
		skip="no ROOTFS with a VMM"
		return
	fi
	with_root=1 with_tests=
	machine_one
	vmm_bus pa 8 1
	vmm_begin
	vmm_guest args "tag=guest nvme=8" "${vmm[@]}" \
		-device arm-smmuv3,primary-bus=pa,id=sa \
		-drive if=none,id=d,format=raw,file=/dev/nvme0n1 \
		-device nvme,bus=pa.0,drive=d,serial=x
	vmm_end
	limit=180
	args="timeout=$((150 * slow)) root=/dev/vda vmm=/guest/args"
}
