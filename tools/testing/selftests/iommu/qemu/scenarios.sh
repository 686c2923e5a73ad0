# SPDX-License-Identifier: GPL-2.0-only
#
# The machines and the scenarios of run.sh. The following are the tests, in this
# order. Limits are multiplied by $slow.
test_scenarios="kunit iommufd nesting group cdev p2p vcmdq vcmdq_off no_cpu_fwb two_smmus no_canwbs"
test_scenarios+=" guest guest_update guest_vcmdq guest_vcmdq_two guest_vcmdq_life"
test_scenarios+=" guest_vcmdq_huge guest_vcmdq_off guest_two"
# The tests that need the emulator with the models of emulator/,
# and with ALL=1 also "strict", which takes minutes
model_scenarios="${ALL:+strict }small_smmu overflow mmu700_r0p0 mmu700_r1p0 mmu700_r1p1"
model_scenarios+=" fwb fwb_httu ats ssid stall stall_force httu guest_ssid cmdqv guest_cmdqv"
model_scenarios+=" guest_cmdqv_life guest_cmdqv_two crash fuzz_smmuv3 fuzz_cmdqv"
# On a debug kernel, these repeat most of the previous tests: only with ALL=1
long_scenarios="no_canwbs guest guest_update guest_vcmdq guest_vcmdq_two guest_vcmdq_life"
long_scenarios+=" guest_vcmdq_huge guest_vcmdq_off guest_two guest_cmdqv guest_cmdqv_life"
long_scenarios+=" guest_cmdqv_two"

# An SMMU for all devices. Each edu is alone behind a root port, so that it has an
# IOMMU group of its own and can be reset through the port.
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

# Two SMMUs, each with an edu and an NVMe. Devices on pcie.0 have no SMMU
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

# Two more edu are functions of the same device, and so in the same group. Behind a
# port VFIO would have a common lock for them, so they are on the root bus. A third
# is in a group with its port, as the port has its ACS disabled.
machine_group() {
	machine_one
	machine+=(-device edu,addr=10.0,multifunction=on,dma_mask=0xffffffffffff
		-device edu,addr=10.1,dma_mask=0xffffffffffff
		-device pcie-root-port,id=rp3,chassis=4,addr=11.0
		-device edu,bus=rp3,dma_mask=0xffffffffffff)
	kargs+=" pci=config_acs=0000000@0000:00:11.0"
}

# Devices for vfio_cdev: one with ATS and an FLR, one with VFs, and an edu whose
# interrupt pin has no route
machine_cdev() {
	machine_one
	machine+=(-device pcie-root-port,id=rp3,chassis=4
		-object rng-builtin,id=rng
		-device virtio-rng-pci,bus=rp3,rng=rng,ats=on,disable-legacy=on,iommu_platform=on
		-device pcie-root-port,id=rp4,chassis=5
		-device igb,bus=rp4
		-device pcie-root-port,id=rp5,chassis=6,addr=12.0
		-device edu,bus=rp5,dma_mask=0xffffffffffff)
	no_intx=1
}

# machine_models PROPERTY...: the SMMU of the models, with these properties. Its
# devices are edu-pcie, which are faster than edu.
machine_models() {
	local property

	machine_one
	machine=("${machine[@]/#edu,/edu-pcie,delay-us=1000,}")
	for property; do
		machine+=(-global "arm-smmuv3.$property")
	done
}

# Another NVMe has memory in a BAR, its controller memory buffer
machine_p2p() {
	machine_one
	nvme_drive disk2
	machine+=(-device pcie-root-port,id=rp3,chassis=4
		-device nvme,bus=rp3,drive=disk2,serial=peer,cmb_size_mb=4)
}

# The same, with ATS and PASIDs. Two more devices can stall: they have the ID of
# a device that is known to the kernel to do so.
machine_features() {
	local caps=delay-us=1000,ats=on,pasid-bits=16,dma_mask=0xffffffffffff
	local stall=stall=on,vendor=0x19e5,device=0xa250,revision=0x21

	machine_models "$@"
	machine=("${machine[@]/#edu-pcie,/edu-pcie,ats=on,pasid-bits=16,}")
	machine+=(-device pcie-root-port,id=rp8,chassis=8
		-device "edu-pcie,bus=rp8,$caps,$stall"
		-device pcie-root-port,id=rp9,chassis=9
		-device "edu-pcie,bus=rp9,$caps,$stall")
	strict_log
}

# machine_cmdqv VALUE: with a CMDQV (x-cmdqv), and ATS. There are four edu-pcie, one more
# than it has VINTFs for VMs.
machine_cmdqv() {
	local i

	machine_models x-strict=1 x-idr0-set=0xc00 "x-cmdqv=$1"
	for i in 4 5; do
		machine+=(-device "pcie-root-port,id=rp$i,chassis=$i"
			-device "edu-pcie,bus=rp$i,delay-us=1000,dma_mask=0xffffffffffff")
	done
	machine=("${machine[@]/#edu-pcie,/edu-pcie,ats=on,}")
	trace=(-d guest_errors -D "$OUT/$name/errors.log" -trace 'smmuv3_cmdqv_*')
}

# A host that boots by device tree has no CANWBS
machine_dt() {
	machine_one
	firmware=()
	# With a device tree the ports are probed before the SMMU requests ACS, so
	# an edu would share its group with its port
	kargs+=" pci=config_acs=xx111x1@pci:1b36:000c"
}

scenario_boot() {
	about="boots and runs PLAN"
	case ${MACHINE:=one} in
	one)	machine_one ;;
	group)	machine_group ;;
	cdev)	machine_cdev ;;
	p2p)	machine_p2p ;;
	two)	machine_two ;;
	dt)	machine_dt; canwbs=0 ;;
	cmdqv)	use_models || return 0
		machine_cmdqv 2 ;;
	*)	die "MACHINE is one, group, cdev, p2p, two, dt or cmdqv" ;;
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

# Variants that repeat others with larger numbers take too long on a debug kernel
iommufd_repeats="two_mock_domain mock_domain_limit one_domain two_domains_hugepage
	domain_dirty16k domain_dirty64k domain_dirty320k domain_dirty64M
	domain_dirty128M domain_dirty128M_huge"
# Waits for a minute, on any kernel
iommufd_waits="unbind_while_device_in_use_long"

scenario_iommufd() {
	local repeats= waits= killed=

	about="iommufd against its mock driver"
	machine_one
	limit=500
	kargs+=" default_hugepagesz=2M hugepages=160"
	if [ -n "$brief" ]; then
		repeats=$(printf ',-V,%s' $iommufd_repeats)
		# Each message about a killed process takes long
		killed=,-T,killed
		about+=", without repeats"
	fi
	if [ -n "${label%$pages}" ] && [ -z "${ALL:-}" ]; then
		waits=$(printf ',-T,%s' $iommufd_waits)
	fi
	args="timeout=$((240 * slow)) ${MODULES_CPIO:+load=iommufd}"
	args+=" run=/tests/iommufd$repeats"
	args+=" run=/tests/iommufd_fail_nth run=/tests/iommufd_viommu"
	args+=" run=/tests/iommufd_invalidate run=/tests/iommufd_attach"
	args+=" run=/tests/iommufd_dirty"
	args+=" run=/tests/iommufd_unbind$waits run=/tests/iommufd_veventq"
	args+=" run=/tests/iommufd_veventq_wait run=/tests/iommufd_iopf"
	args+=" run=/tests/iommufd_stress run=/tests/iommufd_hw_queue"
	args+=" run=/tests/iommufd_mmap run=/tests/iommufd_map_file"
	args+=" run=/tests/iommufd_map_file_pins run=/tests/iommufd_change_process"
	args+=" run=/tests/iommufd_cgroup$killed"
	args+=" run=/tests/iommufd_dmabuf run=/tests/iommufd_pasid"
	args+=" run=/tests/iommufd_pasid_fault run=/tests/iommufd_uapi"
	args+=" run=/tests/iommufd_fuzz"
	args+=" ${MODULES_CPIO:+unload=iommufd}"
}

# With -icount an instruction takes a nanosecond of the guest's clock, everywhere
scenario_bench() {
	about="the cost of the calls of a VMM, in instructions"
	icount="-smp 1 -icount shift=0,sleep=off"
	machine_one
	limit=300
	kargs+=" hugepages=1"
	args="timeout=$((240 * slow)) run=/tests/smmuv3_bench"
}

# nesting_tests [LEFT_OUT]: the tests of a VMM and its guest
nesting_tests() {
	local test tests="host plain dma inval errors limits msi events concurrent two race"

	limit=300
	args="timeout=$((240 * slow)) run=/tests/smmuv3_hostcheck"
	for test in $tests; do
		[ "$test" = "${1-}" ] || args+=" run=/tests/smmuv3_$test"
	done
	args+=" vfio=edu,1234:11e8 run=/tests/smmuv3_example,@edu@"
}

scenario_nesting() {
	about="a VMM and its guest played against one SMMU"
	machine_one
	# smmuv3_limits allocates thousands of objects
	nesting_tests ${brief:+limits}
	args+=" run=/tests/smmuv3_tags"
	about+=${brief:+, without limits}
}

# The host of "nesting", with an SMMU that refuses each bit that the
# architecture lets it refuse. It signals CMD_SYNC by MSIs, and has 48-bit
# addresses.
scenario_strict() {
	about="the same against an SMMU that checks all reserved bits"
	use_models || return 0
	machine_models x-strict=1 x-idr0-set=0x2000 x-idr5-clear=0x7 x-idr5-set=0x5
	strict_log
	# smmuv3_limits is about objects of the kernel, not about the SMMU
	nesting_tests limits
}

# The lines of the emulator that name a refusal are kept for judge_strict()
strict_log() {
	trace=(-d guest_errors -D "$OUT/$name/errors.log")
	judge=judge_strict
}

# A refused STE or command is an error of the kernel. A guest may write any CD.
judge_strict() {
	awk -v name="$title" -f "$here/strict.awk" "$1/errors.log"
}

# 8-bit ASIDs and VMIDs, a linear Stream table, no range invalidation, a command queue
# of 128 entries, the smallest that the driver takes, and an event queue of 8
small_smmu="x-strict=1 x-idr0-clear=0x18041000 x-idr3-clear=0x400"
small_smmu+=" x-idr1-clear=0x3ff0000 x-idr1-set=0xe30000"

scenario_small_smmu() {
	local test

	about="a VMM and its guest played against a small SMMU"
	use_models || return 0
	machine_models $small_smmu
	strict_log
	limit=200
	args="timeout=$((150 * slow))"
	for test in dma inval errors msi events; do
		args+=" run=/tests/smmuv3_$test"
	done
}

# With edu, which faults many times in a DMA
scenario_overflow() {
	about="an event queue that overflows"
	use_models || return 0
	machine_one
	machine+=(-global arm-smmuv3.x-idr1-clear=0x1f0000
		-global arm-smmuv3.x-idr1-set=0x30000)
	args="timeout=$((60 * slow)) run=/tests/smmuv3_events,-t,overflow"
}

# The SMMU refuses DMA to memory that is not coherent with the caches
scenario_fwb() {
	about="a host that nests by S2FWB, without CANWBS"
	use_models || return 0
	canwbs=0
	machine_features x-strict=1 x-abort-uncached=1 x-idr3-set=0x100
	args="run=/tests/smmuv3_fwb run=/tests/smmuv3_dirty,-t,errors"
}

# The same with IDR0.HTTU and ATS: both are in the descriptors of stage 2
scenario_fwb_httu() {
	about="dirty tracking below a guest by S2FWB, without CANWBS"
	use_models || return 0
	canwbs=0 httu=2
	machine_features x-strict=1 x-abort-uncached=1 x-idr0-set=0xc80 x-idr3-set=0x100
	limit=200
	kargs+=" hugepages=8"
	args="timeout=$((120 * slow)) run=/tests/smmuv3_fwb run=/tests/smmuv3_dirty"
	args+="$(printf ',%s' -v nested -f dirty_tables -f dirty_two)"
}

# IDR0.ATS, and NS1ATS: no ATS of split stages
scenario_ats() {
	about="ATS of guests and of the host"
	use_models || return 0
	machine_features x-strict=1 x-idr0-set=0xc00
	limit=200
	args="timeout=$((120 * slow)) run=/tests/smmuv3_plain run=/tests/smmuv3_ats"
}

# IDR0.HTTU, ATS, and substreams
scenario_httu() {
	about="dirty tracking of guests and of the host"
	use_models || return 0
	machine_features x-strict=1 x-idr0-set=0x80c80 x-idr1-set=0x400
	httu=2
	limit=400
	kargs+=" hugepagesz=2M hugepages=8"
	args="timeout=$((360 * slow)) run=/tests/smmuv3_dirty"
}

# Substreams of 16 bits, CD tables of two levels, and ATS
scenario_ssid() {
	about="PASIDs of guests and of the host"
	use_models || return 0
	machine_features x-strict=1 x-idr0-set=0x80c00 x-idr1-set=0x400
	# Without ACS in its port, the PASIDs of a device are not enabled
	machine+=(-device pcie-root-port,id=rp10,chassis=10,addr=0x11
		-device edu-pcie,bus=rp10,pasid-bits=16,dma_mask=0xffffffffffff)
	kargs+=" pci=config_acs=0000000@0000:00:11.0"
	args="run=/tests/smmuv3_ssid"
}

# Software decides on stalls (IDR0.STALL_MODEL), and the event queue has 8 entries.
# Mainline needs SVA for stalls, and SVA an SMMU with the 48-bit addresses of a CPU
# (CPU=neoverse-n2)
scenario_stall() {
	about="page faults of guests by stalls"
	use_models || return 0
	machine_features x-strict=1 x-idr0-clear=0x3000000 x-idr1-clear=0x1f0000 \
		x-idr1-set=0x30400 x-idr5-clear=0x7 x-idr5-set=0x5
	limit=200
	args="timeout=$((120 * slow)) run=/tests/smmuv3_stall"
}

# The same where each fault stalls, with a large event queue
scenario_stall_force() {
	about="an SMMU that forces stalls"
	use_models || return 0
	machine_features x-strict=1 x-idr0-clear=0x3000000 x-idr0-set=0x2000000 \
		x-idr1-set=0x400 x-idr5-clear=0x7 x-idr5-set=0x5
	args="run=/tests/smmuv3_plain run=/tests/smmuv3_dma"
	# All faults stall, so nothing else fills the event queue
	args+=" run=/tests/smmuv3_stall,-F,full"
}

# A Tegra241 CMDQV: VINTF0 for the host, and others for VMs, which the emulator
# makes as hostile as possible
scenario_cmdqv() {
	about="command queues in hardware"
	use_models || return 0
	machine_cmdqv 2
	limit=300
	args="timeout=$((120 * slow)) run=/tests/smmuv3_dma run=/tests/smmuv3_vintf"
	args+=" run=/tests/smmuv3_fail_nth,-v,cmdqv"
	# Only those tests that do not depend on queues in software
	args+=" run=/tests/smmuv3_vcmdq"
	args+="$(printf ',-t,%s' hw_info queue_alloc invalidate error hostile)"
}

# The kernel crashes while a VM floods its queue in hardware. The next kernel finds the
# registers as they were. Without CONFIG_HOTPLUG_CPU the machine must have a single CPU,
# which some of the tests cannot use.
scenario_crash() {
	local SMP=1

	about="a crash while a VM has a command queue in hardware"
	use_models || return 0
	machine_cmdqv 1
	with_crash=1
	kargs+=" crashkernel=768M"
	limit=300
	args="timeout=$((120 * slow)) beside=/tests/smmuv3_flood,0 crash"
	args+=" timeout=$((120 * slow)) canwbs=1 run=/tests/smmuv3_vintf"
	args+="$(printf ',-t,%s' stale_without_tlbi second_queue \
		illegal atc_inv reset_after_close isolated errors limits)"
}

judge_crash() {
	judge_cmdqv "$1"
}

# The commands that the queues have executed, and refusals by judge_strict()
judge_cmdqv() {
	awk -v name="$title" -v atc=1 -f "$here/cmdqv.awk" "$1/errors.log"
	judge_strict "$1"
}

# An MMU-700 by its IIDR. Errata keep the first two from nesting.
mmu700() {
	about="an MMU-700 $1, which $2"
	use_models || return 0
	machine_models "x-iidr=$3" x-strict=1
	args="timeout=$((60 * slow)) run=/tests/smmuv3_hostcheck run=/tests/smmuv3_host"
}

scenario_mmu700_r0p0() {
	mmu700 r0p0 "must refuse to nest" 0x4870043b
}

scenario_mmu700_r1p0() {
	mmu700 r1p0 "must refuse to nest" 0x4871043b
}

scenario_mmu700_r1p1() {
	mmu700 r1p1 "can nest" 0x4871143b
	args+=" run=/tests/smmuv3_dma"
}

# fuzz_begin PROGRAM [ARG]: the options of the fuzzer, or the replay of its corpus, if
# FUZZ_DIR is not set. The fuzzer runs for $FUZZ_TIME seconds, or until the kernel reports
# an error. FUZZ_DIR has the corpus, and gets all findings. With FUZZ_MINIMISE=1 the fuzzer
# only lists the inputs that the corpus needs.
fuzz_begin() {
	local run time=${FUZZ_TIME:-60}

	run=$(IFS=,; echo "$*")
	if [ -z "${FUZZ_DIR:-}" ]; then
		about+=", and the calls that its fuzzer has found"
		limit=300
		args="timeout=$((240 * slow)) run=$run"
		return
	fi
	about+=", under its fuzzer for $time s"
	# The console and grace periods would take most of the time
	kargs+=" loglevel=5 rcupdate.rcu_expedited=1"
	limit=$((time + 600))
	args="timeout=$((time + 300)) run=$run,-max_total_time=$time,-max_len=1024"
	args+=",-len_control=0,-timeout=120,-rss_limit_mb=0,-reload=0"
	args+=",-print_final_stats=1,-verbosity=1,-artifact_prefix=/tmp/fuzz/"
	args+="${FUZZ_ARGS:+,$FUZZ_ARGS},/tmp/fuzz/corpus"
	[ -z "${FUZZ_MINIMISE:-}" ] || args="timeout=3000 run=$run,--minimise"
}

# An SMMU with all features that the emulator has, for hostile users of its devices.
# The emulator has no 9p: FUZZ_DIR is on a disk.
fuzz_smmuv3() {
	use_models || return 0
	machine_features x-strict=1 x-idr0-clear=0x3000000 x-idr0-set=0x80c80 \
		x-idr1-set=0x400 x-idr5-clear=0x7 x-idr5-set=0x5 "$@"
	httu=2
	judge=judge_fuzzed_smmu
	kargs+=" arm_smmu_v3.soft_cmdqv=1 hugepages=8"
	fuzz_begin /tests/iommufd_fuzz smmuv3
	[ -n "${FUZZ_DIR:-}" ] || return 0
	mkdir -p "$OUT/$name"
	mke2fs -q -F -t ext2 -N 65536 -d "$FUZZ_DIR" "$OUT/fuzz.ext2" 512M
	machine+=(-drive "if=none,id=fuzz,format=raw,file=$OUT/fuzz.ext2"
		-device virtio-blk-pci,drive=fuzz)
}

scenario_fuzz_smmuv3() {
	about="command queues in software"
	fuzz_smmuv3
}

scenario_fuzz_cmdqv() {
	about="command queues in hardware"
	fuzz_smmuv3 x-cmdqv=2
}

judge_fuzzed_smmu() {
	if [ -n "${FUZZ_DIR:-}" ]; then
		# It does not write into directories that exist
		mkdir -p "$1/fuzz"
		debugfs -R "rdump / $1/fuzz" "$OUT/fuzz.ext2" >/dev/null 2>&1
		rm -rf "$1/fuzz/lost+found"
		cp -r "$1/fuzz/." "$FUZZ_DIR"
	fi
	judge_strict "$1"
}

scenario_group() {
	about="groups of two devices, and of a device and its port"
	machine_group
	args="run=/tests/smmuv3_group"
}

scenario_cdev() {
	about="resets, VF tokens and interrupts of VFIO's devices"
	machine_cdev
	args="timeout=$((120 * slow)) run=/tests/vfio_cdev"
	args+=" run=/tests/vfio_wait"
}

scenario_p2p() {
	about="DMA of a device into the BAR of another"
	machine_p2p
	args="timeout=$((120 * slow)) run=/tests/smmuv3_p2p"
}

scenario_vcmdq() {
	about="command queues in software"
	machine_one
	limit=300
	kargs+=" arm_smmu_v3.soft_cmdqv=1"
	args="timeout=$((120 * slow)) run=/tests/smmuv3_doorbell run=/tests/smmuv3_ring"
	args+=" run=/tests/smmuv3_vcmdq run=/tests/smmuv3_vcmdq_vmm"
	args+=" run=/tests/smmuv3_fail_nth"
	args+=" vfio=edu,1234:11e8 run=/tests/smmuv3_example,@edu@,queue"
}

# The worker is in the middle of commands when the SMMU is disabled
scenario_vcmdq_off() {
	about="power off while a hostile guest floods its command queue in software"
	machine_one
	kargs+=" arm_smmu_v3.soft_cmdqv=1"
	args="beside=/tests/smmuv3_flood,0"
}

# judge_off DIR WORKERS: a host that has powered off during work
judge_off() {
	awk -v name="$title" -v want="$2" '
		/^@host workers / { workers += $4 }
		/reboot: Power down/ { off++ }
		/SMP: failed to stop secondary CPUs/ { stuck++ }
		END { printf "%s\t%s\thost\t%s\n",
			workers + 0 == want && off && !stuck ? "pass" : "fail", name,
			"powers off, and stops all CPUs, during work" }' \
		"$1/report.log" "$1/console.log"
}

judge_vcmdq_off() {
	judge_off "$1" 0
}

scenario_no_cpu_fwb() {
	local CPU=neoverse-n1

	about="CPUs without FEAT_S2FWB: nesting, but no command queues in software"
	machine_one
	kargs+=" arm_smmu_v3.soft_cmdqv=1"
	args="run=/tests/smmuv3_vcmdq,-v,no_cpu_fwb,-f,no_cpu_fwb run=/tests/smmuv3_dma"
}

scenario_two_smmus() {
	about="tests that need two SMMUs"
	machine_two
	limit=300
	args="timeout=$((240 * slow))"
	args+=" run=/tests/smmuv3_hostcheck"
	args+=" run=/tests/smmuv3_two,-f,two_devices,-f,one_stage2"
	args+=" run=/tests/smmuv3_race"
}

scenario_no_canwbs() {
	about="a host by device tree, which must refuse to nest"
	machine_dt
	canwbs=0
	args="run=/tests/smmuv3_hostcheck run=/tests/smmuv3_host"
}

# Begin a scenario with VMMs inside of the host: prepare the files that they
# share, which vmm_guest adds to. Skip the scenario if there is no VMM.
vmm_begin() {
	if [ -z "$ROOTFS_IMG" ]; then
		skip="no ROOTFS with a VMM"
		return 1
	fi
	with_root=1 with_tests=
	rm -rf "$OUT/vmm"
	mkdir -p "$OUT/vmm/guest"
	cp "$GUEST_KERNEL" "$OUT/vmm/guest/Image"
	cp "$INITRD" "$OUT/vmm/guest/initrd"
}

# vmm_guest FILE ACTIONS DEVICE...: write the arguments of a VMM inside of the host,
# an argument in each line, and the actions of init in its guest. Reports of the
# guest leave through the VMM's output; its input is the answer to what it asks for.
# The console of a second guest at the same time is port 3.
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
		file:/dev/vport0p${port:-2}
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

# Another NVMe, for a second guest at the same time
second_nvme() {
	nvme_drive disk2
	machine+=(-device pcie-root-port,id=rp7,chassis=7
		-device nvme,bus=rp7,drive=disk2,serial=nesting2)
}

# Guests a and b, each with an NVMe and the devices in vmm, and the hostile guest bad.
# They wait for each other: until both have booted, before the hostile guest begins, and
# until its queue is full. The commands of the hostile guest are counted for many reads,
# as it goes on while a busy machine stops another. In hardware, all are in a log.
vmm_pair() {
	local guest port=2 do="hold nvme=4 hold" reads=600

	[ -z "${hardware-}" ] || reads=200
	do+=" hold reads=$reads nvme=1 hold"
	for guest in a b; do
		[ $guest = a ] || port=3
		vmm_guest $guest "tag=$guest $do" "${vmm[@]}" \
			-device "vfio-pci,host=@nvme$guest@,bus=pa.0,iommufd=i0"
	done
	cp "${TESTS_CPIO%.cpio}/smmuv3_flood" "$OUT/vmm/guest"
	printf '%s\n' /host/guest/smmuv3_flood 2 >"$OUT/vmm/guest/bad"
}

# vmm_lives NVME: a guest with a VMM that is killed, and another with the same
# devices, which reboots and loses its NVMe. The NVMe is not its first device,
# because with a command queue QEMU refuses to unplug the first.
vmm_lives() {
	local nvme="vfio-pci,host=@$1@,id=hot,bus=pa.1,iommufd=i0"
	local devices=(-device "vfio-pci,host=@edu@,bus=pa.0,iommufd=i0" -device "$nvme")

	vmm_guest killed "tag=guest nvme=1 hold kill" "${vmm[@]}" "${devices[@]}"
	vmm_guest life "tag=guest nvme=2 hold reboot=1 unplug=hot plug=hot nvme=2 hold" \
		"${vmm[@]}" "${devices[@]}" -action reboot=reset -qmp pipe:/tmp/life.qmp
}

vmm_end() {
	(cd "$OUT/vmm" && find guest | cpio -o -H newc --quiet) >"$OUT/vmm.cpio"
	extra=$OUT/vmm.cpio
}

# vmm_bus NAME BUS PORTS: a root complex of the guest, with the ports NAME.0 and up
vmm_bus() {
	local i

	vmm+=(-device "pxb-pcie,id=$1,bus_nr=$2,bus=pcie.0")
	for ((i = 0; i < $3; i++)); do
		vmm+=(-device "pcie-root-port,id=$1.$i,bus=$1,chassis=$(($2 + i))")
	done
}

# vmm_trace NAME: the arguments of a VMM that let init count the commands that it
# passes on by IOMMU_HWPT_INVALIDATE
vmm_trace() {
	vmm+=(-D "/tmp/$1.trace" -trace iommufd_backend_invalidate_cache)
}

# A guest behind an SMMU of its own. The trace has the commands of the physical
# SMMU, including those of the guest after translation.
guest_traced() {
	local vmm=(-object "iommufd,id=i0")

	vmm_begin || return 0
	machine_one
	vmm_bus pa 8 1
	vmm_trace args
	vmm_guest args "tag=guest nvme=8 hold" "${vmm[@]}" \
		-device arm-smmuv3,primary-bus=pa,id=sa,accel=on \
		-device vfio-pci,host=@nvme@,bus=pa.0,iommufd=i0
	vmm_end
	trace=(-D "$OUT/$1/trace.log" -trace smmuv3_cmdq_cfgi_cd
		-trace smmuv3_range_inval -trace 'smmu_iotlb_inv_*vmid*')
	limit=180
	args="timeout=$((150 * slow)) root=/dev/vda version=/usr/bin/qemu-system-aarch64"
	args+=" vfio=nvme,1b36:0010 vmm=/guest/args"
}

scenario_guest() {
	about="QEMU with KVM and its NVMe behind its own accelerated SMMU"
	guest_traced guest
}

summary_guest() {
	local dir=$1

	{
		echo "outer $($QEMU --version | head -1)"
		cat "$dir/report.log" "$dir/trace.log" "$dir/console.log"
	} | awk -v ways="${2:-}" -f "$here/summary.awk"
}

# Only for its table of observations: guest_vcmdq tests more
scenario_guest_queue() {
	about="the same with a command queue in software for the guest"
	guest_traced guest_queue
	kargs+=" arm_smmu_v3.soft_cmdqv=1"
}

summary_guest_queue() {
	summary_guest "$1" 1
}

# Scenarios of guests with command queues in software
vcmdq_begin() {
	vmm_begin || return 1
	machine_one
	kargs+=" arm_smmu_v3.soft_cmdqv=1"
	vmm_bus pa 8 "$1"
	vmm+=(-device arm-smmuv3,primary-bus=pa,id=sa,accel=on)
	args="timeout=$((150 * slow)) root=/dev/vda version=/usr/bin/qemu-system-aarch64"
}

# The guest runs twice, to compare its exits. The second VMM finds the queue by
# itself (cmdqv=auto), and then its guest is idle: for a minute with ALL=1, and twice, as
# the worker may fall asleep late. A CMDQV in hardware has no error in this, because a
# trace shows that guests make none.
scenario_guest_vcmdq() {
	local vmm=(-object "iommufd,id=i0") do="nvme=8 hold reads=2000 hold" error
	local nvme="vfio-pci,host=@nvme@,bus=pa.0,iommufd=i0"
	local idle="idle=$([ -z "${ALL:-}" ] && echo 5 || echo 60) hold"

	about="QEMU with a command queue in software for its accelerated SMMU"
	vcmdq_begin 1 || return 0
	# The BAR of the NVMe is smaller than such a page, so KVM cannot map it
	[ "$pages" != 64K ] || vmm+=(-trace memory_region_ram_device_write)
	vmm_guest off "tag=guest $do" "${vmm[@]/accel=on/accel=on,cmdqv=off}" \
		-device "$nvme"
	error="queue_error nvme=2"
	splat_known='CMDQ error .*: Illegal command'
	[ -z "${hardware-}" ] || error= splat_known=
	vmm_guest on "tag=guest $do $idle $idle $error" "${vmm[@]}" -device "$nvme"
	vmm_end
	limit=300
	args+=" vfio=nvme,1b36:0010 vmm=/guest/off vmm=/guest/on"
}

judge_guest_vcmdq() {
	awk -v name="$title" -v least=1 -v most=0.05 \
		-f "$here/vcmdq.awk" "$1/report.log"
}

# on_cmdqv ABOUT SCENARIO: the same with a CMDQV in place of the software
on_cmdqv() {
	local hardware=1

	about=$1
	use_models || return 0
	"scenario_$2"
	about=$1
	machine_cmdqv 1
	kargs=${kargs/ arm_smmu_v3.soft_cmdqv=1/}
}

scenario_guest_cmdqv() {
	on_cmdqv "QEMU with a command queue in hardware for its accelerated SMMU" guest_vcmdq
}

judge_guest_cmdqv() {
	awk -v name="$title" -v least=1 -v most=0.05 \
		-v hardware=1 -f "$here/vcmdq.awk" "$1/report.log"
	judge_guest_cmdqv_life "$1"
}

# The same reads, with the instructions counted. The host has CPUs for the worker and for
# the VMM besides that of the guest, and with -icount they take turns. The time between
# two reads depends on how long the emulator takes for IO, which is on the clock of its
# machine. So the worker polls for much longer than by default, and hardly ever sleeps
# between them.
scenario_guest_cost() {
	icount="-smp ${SMP:-4} -icount shift=0"
	scenario_guest_vcmdq
	about="exits and instructions for each read of a guest, with and without a queue"
	kargs+=" arm_smmu_v3.soft_cmdqv_poll_ns=10000000"
	trace=(-plugin "$INSNS,out=$OUT/guest_cost/insns.log")
}

judge_guest_cost() {
	awk -v name="$title" -v least=1 -v most=0.05 -v ratio=0.6 \
		-f "$here/vcmdq.awk" "$1/report.log" "$1/insns.log"
}

summary_guest_cost() {
	awk -F'\t' '{ print "    " $4 }' "$1/results"
}

scenario_guest_vcmdq_two() {
	local vmm=(-object "iommufd,id=i0")

	about="two guests and a hostile guest, each with a command queue in software"
	vcmdq_begin 1 || return 0
	second_nvme
	vmm_pair
	vmm_end
	limit=300
	args+=" vfio=nvmea,1b36:0010,0 vfio=nvmeb,1b36:0010,1"
	args+=" vmm=/guest/a,/guest/b,/guest/bad"
}

judge_guest_vcmdq_two() {
	awk -v name="$title" -v block=96 -v most=50 -f "$here/queues.awk" \
		"$1/report.log"
}

scenario_guest_vcmdq_life() {
	# The RAM is a memfd, and QEMU must not start without the queue
	local vmm=(-object "iommufd,id=i0" -M memory-backend=ram
		-object "memory-backend-memfd,id=ram,size=512M")

	about="a VMM killed during IO; reboot, unplug and plug with a command queue"
	vcmdq_begin 2 || return 0
	vmm=("${vmm[@]/accel=on/accel=on,cmdqv=on}")
	vmm_lives nvme
	vmm_end
	limit=300
	args+=" vfio=edu,1234:11e8 vfio=nvme,1b36:0010 vmm=/guest/killed vmm=/guest/life"
}

# RAM of huge pages: the queue can be larger than a page of the host, and QEMU offers this
scenario_guest_vcmdq_huge() {
	local vmm=(-object "iommufd,id=i0" -M memory-backend=ram
		-object "memory-backend-memfd,id=ram,size=512M,hugetlb=on,hugetlbsize=2M"
		-trace iommufd_backend_alloc_hw_queue)

	about="a guest with RAM of huge pages and a command queue in software"
	vcmdq_begin 1 || return 0
	kargs+=" hugepagesz=2M hugepages=256"
	vmm=("${vmm[@]/accel=on/accel=on,cmdqv=on}")
	vmm_guest huge "tag=guest nvme=8 hold" "${vmm[@]}" \
		-device "vfio-pci,host=@nvme@,bus=pa.0,iommufd=i0"
	vmm_end
	limit=180
	args+=" vfio=nvme,1b36:0010 vmm=/guest/huge"
}

judge_guest_vcmdq_huge() {
	awk -v name="$title" -v holds=1 -f "$here/queues.awk" "$1/report.log"
	# 0x10000 is the largest page of a host
	awk -v name="$title" '
		/^iommufd_backend_alloc_hw_queue .* index=0 .*\(0\)$/ {
			sub(/.* size=/, "")
			size = $1
		}
		END {
			good = length(size) > length("0x10000")
			printf "%s\t%s\tguest\t", good ? "pass" : "fail", name
			print "its queue has " (size ? size : "no") " bytes"
		}' "$1/report.log"
}

judge_guest_vcmdq_life() {
	awk -v name="$title" -v holds=4 -f "$here/queues.awk" "$1/report.log"
}

# On two CPUs, so that a CPU stops while the worker runs on it
scenario_guest_vcmdq_off() {
	local vmm=(-object "iommufd,id=i0")

	about="power off while a guest with a command queue in software does IO"
	vcmdq_begin 1 || return 0
	vmm_guest off "tag=guest nvme=1 poweroff" "${vmm[@]/accel=on/accel=on,cmdqv=on}" \
		-device "vfio-pci,host=@nvme@,bus=pa.0,iommufd=i0"
	vmm_end
	limit=180
	args+=" vfio=nvme,1b36:0010 vmm=/guest/off"
}

judge_guest_vcmdq_off() {
	judge_off "$1" 1
}

# Three VMs, each with a VINTF, at the same time
scenario_guest_cmdqv_two() {
	on_cmdqv "two guests and a hostile guest, each with a command queue in hardware" \
		guest_vcmdq_two
	[ -n "$skip" ] || second_nvme
}

judge_guest_cmdqv_two() {
	awk -v name="$title" -v vms=3 -f "$here/cmdqv.awk" "$1/errors.log"
	judge_strict "$1"
}

scenario_guest_cmdqv_life() {
	on_cmdqv "the same with a command queue in hardware" guest_vcmdq_life
}

judge_guest_cmdqv_life() {
	awk -v name="$title" -f "$here/cmdqv.awk" "$1/errors.log"
	judge_strict "$1"
}

# Both guests have the same memory. The first shows the size of the page tables for
# a single SMMU. The second also makes its devices fault.
scenario_guest_two() {
	# RAM is a memfd, so that QEMU maps it by IOMMU_IOAS_MAP_FILE
	local vmm=(-object "iommufd,id=i0" -M memory-backend=ram
		-object "memory-backend-memfd,id=ram,size=512M")

	about="QEMU with an NVMe behind each of two accelerated SMMUs, and one stage 2"
	vmm_begin || return 0
	machine_two
	# With blocks of 2 MiB, two stage 2 would need hardly more than one
	kargs+=" transparent_hugepage=never"
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

# Everything that guests and their VMMs do, for a long time. The SMMU has 256
# VMIDs and ASIDs, so that leaking them ends the scenario.
scenario_soak() {
	local time=${SOAK:-600} vmm=(-object "iommufd,id=i0")

	about="guests that do IO, reboot, are killed and lose their devices, for $time s"
	use_models || return 0
	vmm_begin || return 0
	machine_models x-strict=1 x-idr0-clear=0x41000
	strict_log
	second_nvme
	kargs+=" arm_smmu_v3.soft_cmdqv=1"
	vmm_bus pa 8 2
	vmm+=(-device arm-smmuv3,primary-bus=pa,id=sa,accel=on)
	vmm_pair
	vmm_lives nvmea
	vmm_end
	extra+=" $TESTS_CPIO"
	limit=$((time / slow + 600))
	args="timeout=$((240 * slow)) root=/dev/vda vfio=edu,1234:11e8"
	args+=" vfio=nvmea,1b36:0010,0 vfio=nvmeb,1b36:0010,1 repeat=$time"
	args+=" vmm=/guest/killed vmm=/guest/a,/guest/b,/guest/bad vmm=/guest/life"
	args+=" run=/tests/smmuv3_race left again"
}

# A live update of a VMM (QEMU's cpr-exec): the new QEMU gets the guest's memory, its
# device and the iommufd, and calls IOMMU_IOAS_CHANGE_PROCESS. The guest has no SMMU:
# with one, QEMU refuses.
scenario_guest_update() {
	local io="nvme=4,0,none" vmm=(-object "iommufd,id=i0"
		-object "memory-backend-memfd,id=ram,size=512M,share=on"
		-machine "memory-backend=ram,aux-ram-share=on"
		-device "pcie-root-port,id=pa.0,chassis=1"
		-device "vfio-pci,host=@nvme@,bus=pa.0,iommufd=i0"
		-qmp pipe:/tmp/args.qmp -trace iommufd_change_process)

	about="QEMU is updated while its guest has a device"
	vmm_begin || return 0
	machine_one
	vmm_guest args "tag=guest $io update $io update $io" "${vmm[@]}"
	vmm_end
	limit=200
	args="timeout=$((150 * slow)) root=/dev/vda vfio=nvme,1b36:0010 vmm=/guest/args"
}

judge_guest_update() {
	awk -v name="$title" -v updates=2 '
		/^iommufd_change_process .*\(1\)$/ { n++ }
		END {
			printf "%s\t%s\tVMM\t", n == updates ? "pass" : "fail", name
			printf "the pinned pages have changed their process %d times\n", n
		}' "$1/report.log"
}

# The driver of a guest programs ATS, a table of CDs and PASIDs, without knowing
# the host. The guest runs those tests of the host in which a VMM attaches
# PASIDs.
scenario_guest_ssid() {
	local vmm=(-object "iommufd,id=i0")

	about="the driver of a guest uses ATS and PASIDs"
	use_models || return 0
	vmm_begin || return 0
	machine_features x-strict=1 x-idr0-set=0x80c00 x-idr1-set=0x400
	judge=judge_guest_ssid
	(cd "${TESTS_CPIO%/*}" && printf '%s\n' tests tests/smmuv3_ssid |
		cpio -o -H newc --quiet) >>"$OUT/vmm/guest/initrd"
	vmm_bus pa 8 1
	vmm+=(-device arm-smmuv3,primary-bus=pa,id=sa,accel=on,ats=on,ssidsize=16
		-device vfio-pci,host=@edu@,bus=pa.0,iommufd=i0)
	vmm_guest table "tag=guest table=IORT" "${vmm[@]}"
	vmm_guest args "tag=guest timeout=$((60 * slow)) run=/tests/smmuv3_ssid,-f,pasid" \
		"${vmm[@]}"
	vmm_end
	guest_table=table
	limit=180
	args="timeout=$((150 * slow)) root=/dev/vda vfio=edu,1234:11e8 vmm=/guest/args"
}

# A guest has no stage 2. No test may be skipped for any other reason.
judge_guest_ssid() {
	awk -F'\t' -v OFS='\t' '$1 == "skip" && !/no stage 2$/ {
		$1 = "fail"
		print
	}' "$1/results"
	judge_strict "$1"
}

scenario_guest_emulated() {
	local vmm=()

	about="the same guest with all its devices emulated by its VMM"
	vmm_begin || return 0
	machine_one
	vmm_bus pa 8 1
	vmm_guest args "tag=guest nvme=8" "${vmm[@]}" \
		-device arm-smmuv3,primary-bus=pa,id=sa \
		-drive if=none,id=d,format=raw,file=/dev/nvme0n1 \
		-device nvme,bus=pa.0,drive=d,serial=x
	vmm_end
	limit=180
	args="timeout=$((150 * slow)) root=/dev/vda vmm=/guest/args"
}
