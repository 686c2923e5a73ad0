# SPDX-License-Identifier: GPL-2.0-only
#
# An x86-64 host, without an IOMMU, for the tests that use iommufd through its mock
# driver.
test_scenarios="iommufd"

# A boot sector that ends QEMU with this status. On some machines KVM exists, but
# guests do not run.
kvm_runs() {
	local sector=$OUT/kvm-probe rc

	[ -w /dev/kvm ] && [ "$(uname -m)" = x86_64 ] || return 1
	mkdir -p "$OUT"
	{
		# mov al, 0x21; out 0xf4, al; hlt
		printf '\260\041\346\364\364'
		head -c 505 /dev/zero
		printf '\125\252'
	} >"$sector"
	timeout -k 1 10 $QEMU -M q35 -accel kvm -nodefaults -display none \
		-drive "if=ide,format=raw,file=$sector" \
		-device isa-debug-exit,iobase=0xf4 </dev/null >/dev/null 2>&1
	rc=$?
	[ $rc = $((0x21 * 2 + 1)) ]
}

machine_one() {
	if kvm_runs; then
		machine=(-M q35 -accel kvm -cpu host)
	else
		machine=(-M q35 -accel tcg -cpu max)
	fi
	machine+=(-smp "${SMP:-2}" -m 2G -nodefaults -display none -no-reboot
		-device virtio-serial-pci)
	firmware=()
	canwbs=0
	console=ttyS0
}

scenario_fuzz() {
	about="iommufd with its mock driver"
	machine_one
	machine+=(-virtfs "local,path=$FUZZ_DIR,mount_tag=fuzz,security_model=none")
	kargs+=" hugepages=8"
	fuzz_begin /tests/iommufd_fuzz
}

# For a kernel with KCSAN: the tests with threads that work against each other.
# Each has a machine of its own, so that a report belongs to a test, and no test
# takes the time of another.
race_tests="stress fuzz unbind iopf pasid mmap hw_queue attach veventq_wait dmabuf map_file"
race_tests+=" change_process"

races() {
	local skip=100

	about="data races in iommufd_$1"
	machine_one
	limit=1500
	# These work on thousands of pages
	[[ $1 != @(map_file|change_process|dmabuf) ]] || skip=400
	# More watchpoints, and longer: another CPU of an emulated machine is
	# slow. Tests that depend on time may fail because of this.
	kargs+=" loglevel=5 kcsan.skip_watch=$skip kcsan.udelay_task=3000"
	args="timeout=$((limit - 200)) run=/tests/iommufd_$1"
}

for test in $race_tests; do
	eval "scenario_race_$test() { races $test; }"
done
[ "${KCSAN_KERNEL:-}" != yes ] || test_scenarios=$(printf 'race_%s ' $race_tests)
