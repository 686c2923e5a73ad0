#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Boot the emulated host for some scenarios, and judge the results.
#
#   run.sh [-s] [-v] [-t FILE] SCENARIO...
#   run.sh -l | -d | -m
#
# -v shows every line that the machine reports, -s the table of observations if a
# scenario has any, -t appends the result of each test to FILE. -l lists all
# scenarios, -d the tests among them that any QEMU can run, and -m those that need the
# emulator with the models of emulator/. The Makefile beside this file builds the
# programs and sets the environment:
#
#   QEMU      command of the emulator (may hold several words)
#   QEMU_SOURCE  the archive that the other emulator is built from. Without it, its
#             scenarios are skipped. QEMU_SOURCE.why may have the reason
#   EMULATOR  the directory with the other emulator
#   FIRMWARE  UEFI for Arm
#   KERNEL    Image to boot
#   GUEST_KERNEL  Image for the guests in it
#   INITRD    cpio with /init
#   TESTS_CPIO  another with the programs in /tests
#   MODULES_CPIO  another with the modules of this kernel in /modules, if any
#   IORT      the program that overrides the table
#   INSNS     the plugin that counts instructions
#   IORT_TABLES  the directory of these tables, one for each machine
#   ROOTFS_IMG  disk image with the VMM
#   OUT       the directory for logs and caches
#   ARCH      of the host: arm64, or another with a file ARCH.sh
#   DEBUG_KERNEL  yes if KERNEL has debug.config: slow, and with kmemleak
#   PAGES     16K or 64K if the pages of KERNEL are not of 4K
#
# A scenario is a function in scenarios.sh. It sets the machine, whether the IORT
# must have CANWBS and HTTU, the actions of init, and the time limit. If results need a
# comparison, judge_SCENARIO, or the function that it has set as judge, prints them
# in the form of results.awk.
set -u -o pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/scenarios.sh"

arch=${ARCH:-arm64}
# Settings of other architectures
[ "$arch" = arm64 ] || . "$here/$arch.sh"
debug=${DEBUG_KERNEL:-}
debug=${debug#no}
pages=${PAGES:-4K}
pages=${pages#4K}
# Scenarios that take minutes on a debug kernel are left out
brief=$debug
[ -z "${ALL:-}" ] || brief=
# The name of a scenario in the sums of results
label=${arch#arm64}${debug:+debug}$pages
slow=${debug:+6}
# An idle machine needs a sixth of the limits, or less, but others may be busy
slow=${slow:-3}
verbose=
summary=
totals=/dev/null
began=${BEGAN:-$(date +%s)}

say() {
	printf '[%4d s] %s\n' $(($(date +%s) - began)) "$*"
}

die() {
	say "FAILED: $*" >&2
	exit 1
}

# The options of every host, which must not depend on the machine that emulates
machine_common() {
	machine+=(-cpu ${CPU:-max,pauth-impdef=on} ${icount:--smp ${SMP:-2}} -m 2G -nodefaults
		-display none -no-reboot)
	machine+=(-device virtio-serial-pci)
	if [ -n "$with_root" ]; then
		machine+=(-drive "if=none,id=root,format=raw,readonly=on,file=$ROOTFS_IMG"
			-device virtio-blk-pci,drive=root)
	fi
}

# The emulator with the models of emulator/, or the reason to skip the scenario
use_models() {
	if [ ! -e "${QEMU_SOURCE:-}" ]; then
		skip="no source of QEMU"
		[ ! -s "${QEMU_SOURCE:-}.why" ] || skip+=": $(head -1 "$QEMU_SOURCE.why")"
		return 1
	fi
	QEMU=$EMULATOR/qemu-system-aarch64
}

# nvme_drive ID: the drive for the data of an NVMe
nvme_drive() {
	disks+=("$OUT/$1.img")
	machine+=(-drive "if=none,id=$1,format=raw,cache=unsafe,file=$OUT/$1.img")
}

# vm DIR LIMIT CMDLINE INITRD: boot, and wait for the end. All reports go to
# DIR/report.log and, as they arrive, through show().
vm() {
	local dir=$1 limit=$2 cmdline=$3 initrd=$4 rc

	mkdir -p "$dir"
	: >"$dir/report.log"
	: >"$dir/guest.log"
	: >"$dir/guest2.log"
	timeout -k 5 "$limit" $QEMU "${machine[@]}" "${firmware[@]}" \
		-kernel "$KERNEL" -initrd "$initrd" -append "$cmdline" \
		-serial "file:$dir/console.log" \
		-chardev file,id=report,path=/dev/stdout \
		-device virtserialport,nr=1,chardev=report \
		-chardev "file,id=guest,path=$dir/guest.log" \
		-device virtserialport,nr=2,chardev=guest \
		-chardev "file,id=guest2,path=$dir/guest2.log" \
		-device virtserialport,nr=3,chardev=guest2 \
		"${trace[@]}" </dev/null 2>"$dir/qemu.log" |
		tee "$dir/report.log" | show
	rc=${PIPESTATUS[0]}
	case $rc in
	0)	;;
	124|137) echo "no end after $limit s" >"$dir/reason"; return 1 ;;
	*)	echo "QEMU ended with $rc: $(tail -1 "$dir/qemu.log")" >"$dir/reason"
		return 1 ;;
	esac
	if ! grep -qx '@host done' "$dir/report.log"; then
		sed -n 's/^@host fail //p' "$dir/report.log" >"$dir/reason"
		[ -s "$dir/reason" ] ||
			grep -m1 -a 'Kernel panic' "$dir/console.log" >"$dir/reason" ||
			echo "the host stopped before init was done" >"$dir/reason"
		return 1
	fi
}

# Show the output of a test that failed, because the whole log may be far away
show() {
	local line said=()

	while IFS= read -r line; do
		case $line in
		@*\ note\ *|@*\ boot\ *|@*\ run\ *|@*\ exit\ *|@*\ fail\ *)
			line=${line#@}
			say "  ${line%% *}: ${line#* }" ;;
		"not ok"*)
			[ -n "$verbose" ] || [ ${#said[@]} = 0 ] ||
				printf '    %s\n' "${said[@]}"
			say "  $line"
			said=() ;;
		*)	[ -z "$verbose" ] || printf '%s\n' "$line"
			case $line in
			"ok "*)	said=() ;;
			*)	[ ${#said[@]} -lt 12 ] || said=("${said[@]:1}")
				said+=("$line") ;;
			esac ;;
		esac
	done
}

# no_intx_cpio DIR: a table for the initrd. By this table, the interrupt pins of
# a device behind the port at slot 12 of the root bus have no route. 1023 is not
# an interrupt of a GIC.
#
#	Scope (\_SB.PCI0.S90) {
#		Name (_PRT, Package () { Package () { 0xffff, 0, 0, 1023 } })
#	}
no_intx_cpio() {
	mkdir -p "$1/tables/kernel/firmware/acpi"
	{
		printf 'SSDT\x48\0\0\0\x02\x4aLAB   NOINTX  \x01\0\0\0LAB \x01\0\0\0'
		printf '\x10\x23\x5c\x2f\x03_SB_PCI0S90_'
		printf '\x08_PRT\x12\x0d\x01\x12\x0a\x04\x0b\xff\xff\0\0\x0b\xff\x03'
	} >"$1/tables/kernel/firmware/acpi/no-intx.aml"
	(cd "$1/tables" && find kernel | cpio -o -H newc --quiet)
}

# The override for this machine. The table depends only on the devices, so it is
# read once for each set of devices.
iort_override() {
	local key dir=$IORT_TABLES

	key=$({ $QEMU --version; cat "$FIRMWARE" "$IORT" | cksum
		echo "${machine[@]//$OUT/} $httu $canwbs"; } | sha256sum | cut -c1-16)
	override=$dir/$key.cpio
	[ -s "$override" ] && return 0
	say "reading the IORT of this machine"
	vm "$dir/$key" $((120 * slow)) "$kargs -- table=IORT" "$INITRD" || {
		why="cannot read the IORT: $(cat "$dir/$key/reason"),"
		why+=" see $dir/$key/console.log"
		return 1
	}
	iort_cpio "$dir/$key" host "$httu${httu:+ $canwbs}"
}

# iort_cpio DIR TAG [OPTIONS]: change the IORT in the report of a machine, for its initrd
iort_cpio() {
	local cpio=$1.cpio

	mkdir -p "$1/cpio/kernel/firmware/acpi"
	sed -n "/^@$2 table IORT/{n;p}" "$1/report.log" |
		"$IORT" ${3-} >"$1/cpio/kernel/firmware/acpi/iort.aml" || {
		why="cannot change the IORT of the $2"
		return 1
	}
	(cd "$1/cpio" && find kernel | cpio -o -H newc --quiet) >"$cpio.tmp" &&
		mv "$cpio.tmp" "$cpio"
}

# guest_iort_override FILE: the same for the guest of the VMM with these
# arguments. QEMU keeps the doorbell of MSIs in place by reserved memory in the
# guest's IORT. This must be removed, because VFIO in the guest would refuse the
# device.
guest_iort_override() {
	local key dir=$IORT_TABLES

	key=$({ cksum <"$ROOTFS_IMG"; cksum <"$IORT"; cat "$OUT/vmm/guest/$1"; } |
		sha256sum | cut -c1-16)
	if [ ! -s "$dir/$key.cpio" ]; then
		say "reading the IORT of the guest"
		cat "$override" "$INITRD" $extra >"$dir/initrd"
		vm "$dir/$key" $((150 * slow)) \
			"$kargs -- canwbs=1 ${args% vmm=*} vmm=/guest/$1" \
			"$dir/initrd" && iort_cpio "$dir/$key" guest -r || {
			why=${why:-cannot read the IORT of the guest, see $dir/$key}
			return 1
		}
	fi
	cat "$dir/$key.cpio" "$OUT/vmm/guest/initrd" >"$OUT/vmm/initrd"
	mv "$OUT/vmm/initrd" "$OUT/vmm/guest/initrd"
	vmm_end
}

# The kernel and the initrd for the action "crash": those of this machine
crash_cpio() {
	local dir=$OUT/vmm

	rm -rf "$dir"
	mkdir -p "$dir/crash"
	cp "$KERNEL" "$dir/crash/Image"
	cat $override "$INITRD" $extra >"$dir/crash/initrd"
	(cd "$dir" && find crash | cpio -o -H newc --quiet) >"$OUT/vmm.cpio"
	extra+=" $OUT/vmm.cpio"
}

scenario() {
	local name=$1 title=${label:+$label }$1 dir=$OUT/$1 rc=0 started=$SECONDS
	local QEMU=$QEMU

	declare -F "scenario_$name" >/dev/null || die "no scenario $name"
	machine=() firmware=(-bios "$FIRMWARE") trace=() console=ttyAMA0
	judge=judge_$name
	canwbs=1 httu= limit=120 with_root= with_tests=1 args= extra= kunit= skip= icount=
	disks=() guest_table= no_intx= with_crash= splat_known=
	kargs="panic=-1 iommu.strict=1"
	"scenario_$name"
	kargs="console=$console $kargs${KARGS:+ $KARGS}"

	rm -rf "$dir"
	mkdir -p "$dir"
	# No run may find data of an earlier run on its drives
	if [ ${#disks[@]} -gt 0 ]; then
		rm -f "${disks[@]}"
		truncate -s 64M "${disks[@]}"
	fi
	say "$title: $about"

	if [ -n "$skip" ]; then
		printf 'skip\t%s\thost\t# SKIP %s\n' "$title" "$skip" >>"$totals"
		say "$title: skipped: $skip"
		return
	fi
	override= why=
	if { [ "$canwbs${httu:+1}" != 0 ] && ! iort_override; } ||
		{ [ -n "$guest_table" ] && ! guest_iort_override "$guest_table"; }; then
		printf 'fail\t%s\thost\t%s\n' "$title" "$why" >>"$totals"
		say "$title: FAILED: $why"
		return 1
	fi
	# Each archive is padded to more than the kernel requires
	[ -z "$with_tests" ] || extra=$TESTS_CPIO
	[ -z "$with_crash" ] || crash_cpio
	{
		[ -z "$no_intx" ] || no_intx_cpio "$dir"
		cat $override "$INITRD" $extra ${MODULES_CPIO-}
	} >"$dir/initrd"

	[ -z "$debug" ] || args+=" kmemleak"
	vm "$dir" $((limit * slow)) \
		"$kargs${kunit:+ kunit.enable=1} -- canwbs=$canwbs timeout=$((60 * slow)) $args" \
		"$dir/initrd" || rc=1
	rm -f "$dir/initrd"

	awk -v name="$title" -f "$here/results.awk" "$dir/report.log" >"$dir/results"
	if declare -F "$judge" >/dev/null; then
		"$judge" "$dir" >>"$dir/results"
	fi
	if [ -n "$kunit" ]; then
		awk -v name="$title" -f "$here/kunit.awk" "$dir/console.log" \
			>>"$dir/results"
	fi
	awk -v known="$splat_known" -f "$here/splat.awk" "$dir/console.log" \
		"$dir/guest.log" "$dir/guest2.log" >"$dir/splat"
	if [ -s "$dir/splat" ]; then
		printf 'fail\t%s\tkernel log\tsplat, see %s\n' "$title" \
			"$dir/splat" >>"$dir/results"
		sed 's/^/    | /' "$dir/splat"
	fi
	if [ $rc != 0 ]; then
		printf 'fail\t%s\thost\t%s\n' "$title" "$(head -1 "$dir/reason")" \
			>>"$dir/results"
	fi
	[ -s "$dir/results" ] ||
		printf 'pass\t%s\thost\tbooted, and powered off\n' "$title" \
			>>"$dir/results"
	cat "$dir/results" >>"$totals"
	awk -F'\t' '$1 == "fail" { print "    not ok: " $3 ": " $4 }' "$dir/results"
	awk -F'\t' -v name="$title" -v secs=$((SECONDS - started)) '
		{ n[$1]++ }
		END { printf "    %s: %d passed, %d failed, %d skipped (%d s)\n",
			name, n["pass"], n["fail"], n["skip"], secs }' "$dir/results"
	if [ -n "$summary" ] && declare -F "summary_$name" >/dev/null; then
		echo
		"summary_$name" "$dir"
		echo
	fi
	if grep -q '^fail' "$dir/results"; then
		say "$title failed; its logs are in $dir"
		return 1
	fi
}

while getopts dlmsvt: opt; do
	case $opt in
	l)	declare -F | sed -n 's/^declare -f scenario_//p'; exit 0 ;;
	d|m)	[ $opt = d ] || test_scenarios=$model_scenarios
		for s in $test_scenarios; do
			[ -n "$brief" ] && [[ " ${long_scenarios-} " = *" $s "* ]] ||
				echo "$s"
		done
		exit 0 ;;
	s)	summary=1 ;;
	v)	verbose=1 ;;
	t)	totals=$OPTARG ;;
	*)	exit 2 ;;
	esac
done
shift $((OPTIND - 1))
[ $# -gt 0 ] || { echo "no scenario given; run.sh -l lists all" >&2; exit 2; }

failed=0
for s; do
	scenario "$s" || failed=1
done
exit $failed
