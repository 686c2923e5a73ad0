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
