#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Tests of the programs that judge the tests: an error on the host must become a
# failure here. Prints TAP. selftest.sh [IORT], the program built from iort.c.
set -u
here=$(cd "$(dirname "$0")" && pwd)
iort=${1:-${IORT:?the program built from iort.c}}
n=0
bad=0

# expect TEXT WANTED GOT
expect() {
	n=$((n + 1))
	if [ "$2" = "$3" ]; then
		echo "ok $n - $1"
	else
		echo "not ok $n - $1"
		printf '# wanted: %s\n# got:    %s\n' "$2" "$3"
		bad=1
	fi
}

# Count the results: "PASSES FAILS SKIPS" of a report or a kernel log on stdin
count() {
	awk -v name=x -f "$here/$1" | awk -F'\t' '
		{ n[$1]++ }
		END { printf "%d %d %d", n["pass"], n["fail"], n["skip"] }'
}

splats() {
	awk "$@" -f "$here/splat.awk" | grep -c '^-\?:[0-9]*$'
}

expect "results count" "2 1 1" "$(count results.awk <<-'END'
	@host boot 6.12 1 ms
	@host run /tests/a
	TAP version 13
	1..4
	# not a result
	ok 1 one
	not ok 2 two
	ok 3 three # SKIP why
	ok 4 four
	@host exit /tests/a status 1
	@host done
	END
)"
expect "a refused STE or command fails, once for each kind" "0 3 0" "$(count strict.awk <<-'END'
	SMMUv3 strict: STE: S2VMID
	SMMUv3 strict: STE: S2VMID
	SMMUv3 strict: STE: dword 1 has reserved bits 0x20000000000
	SMMUv3 strict: SMMU_CMD_TLBI_NH_VA: a range without IDR3.RIL
	END
)"
expect "a refused CD does not, it is a guest's" "1 0 0" "$(count strict.awk <<-'END'
	smmuv3-iommu-memory-region-8-0 translation failed for iova=0x1000(SMMU_EVT_C_BAD_CD)
	SMMUv3 strict: CD: not valid
	END
)"
expect "a test that is missing fails" "1 1 0" "$(count results.awk <<-'END'
	@host run /tests/a
	1..3
	ok 1 one
	@host exit /tests/a status 0
	END
)"
expect "so does a program that did not end" "1 1 0" "$(count results.awk <<-'END'
	@host run /tests/a
	ok 1 one
	END
)"
expect "or ended badly" "1 1 0" "$(count results.awk <<-'END'
	@host run /tests/a
	ok 1 one
	@host exit /tests/a signal 11
	END
)"
expect "or could not be run" "0 1 0" "$(count results.awk <<-'END'
	@host run /tests/a
	cannot run /tests/a: No such file or directory
	@host exit /tests/a status 127
	END
)"
expect "or was stopped" "1 1 0" "$(count results.awk <<-'END'
	@host run /tests/a
	1..1
	ok 1 one
	@host exit /tests/a timeout after 60 s
	END
)"
expect "a failure is not counted twice" "0 1 0" "$(count results.awk <<-'END'
	@host run /tests/a
	1..1
	not ok 1 one
	@host exit /tests/a status 1
	END
)"
expect "a skipped program" "0 0 1" "$(count results.awk <<-'END'
	@host run /tests/a
	1..0 # SKIP no device
	@host exit /tests/a status 4
	END
)"
expect "Bail out!" "0 1 0" "$(count results.awk <<-'END'
	@host run /tests/a
	Bail out! no device
	@host exit /tests/a status 1
	END
)"
expect "the guest in the VMM" "2 1 0" "$(count results.awk <<-'END'
	@host run /usr/bin/vmm
	vmm: a warning
	@guest boot 6.12 1 ms
	@guest run nvme
	1..2
	ok 1 one
	not ok 2 two
	@guest exit nvme status 1
	@guest done
	@host exit /usr/bin/vmm status 0
	@host done
	END
)"
expect "a VMM that cannot map memory fails" "2 1 0" "$(count results.awk <<-'END'
	@host run /usr/bin/vmm
	vmm: warning: IOMMU_IOAS_MAP failed: Bad address, PCI BAR?
	vmm: warning: IOMMU_IOAS_MAP failed: Bad address, PCI BAR?
	@guest run nvme
	1..2
	ok 1 one
	ok 2 two
	@guest exit nvme status 0
	@guest done
	@host exit /usr/bin/vmm status 0
	@host done
	END
)"
expect "a guest that dies fails" "1 2 0" "$(count results.awk <<-'END'
	@host run /usr/bin/vmm
	@guest run nvme
	1..2
	ok 1 one
	@host exit /usr/bin/vmm timeout after 60 s
	END
)"
expect "a VMM that asked to be killed passes" "3 0 0" "$(count results.awk <<-'END'
	@host run /usr/bin/vmm
	@guest kill
	@host run killed
	1..2
	ok 1 one
	ok 2 two
	@host exit killed status 0
	@host exit /usr/bin/vmm killed
	END
)"
expect "but not without its tests" "1 1 0" "$(count results.awk <<-'END'
	@host run /usr/bin/vmm
	@host run killed
	1..1
	@host exit killed status 0
	@host exit /usr/bin/vmm killed
	END
)"

# "PASSES FAILS" of the reports of guests without a command queue and with it
judge_vcmdq() {
	awk -v name=x -v least=1 -v most=0.05 "$@" -f "$here/vcmdq.awk" \
		"$tmp/report" "$tmp/insns" | awk -F'\t' '
		{ n[$1]++ }
		END { printf "%d %d", n["pass"], n["fail"] }'
}

# $1 and $2: exits to user space for 100 reads, $3 and $4: of the worker of an idle
# guest, how often it slept and its ticks, $5 and $6: instructions for 100 reads
vcmdq_report() {
	cat >"$tmp/report" <<-END
	@host run /usr/bin/vmm
	@guest hold
	@host exits 1000 mmio_user 500 wfi 10
	@guest reads 100
	@host exits 2000 mmio_user $((500 + $1)) wfi 20
	@host run /usr/bin/vmm
	@host exits 5 mmio_user 4 wfi 3
	@host workers on 1 sleeps 10 ticks 20
	@guest reads 100
	@host exits 500 mmio_user $((4 + $2)) wfi 300
	@host workers on 1 sleeps 50 ticks 30
	@guest idle 5
	@host exits 600 mmio_user 900 wfi 400
	@host workers on 1 sleeps $((50 + $3)) ticks $((30 + $4))
	END
	printf 'insns %d waits 5\n' 7 $((7 + $5)) 9000000 $((9000000 + $6)) 20000000 >"$tmp/insns"
}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
vcmdq_report 200 5 3 1 100000 60000
expect "a guest with a command queue" "3 0" "$(judge_vcmdq)"
expect "its instructions" "3 0" "$(judge_vcmdq -v ratio=0.6)"
vcmdq_report 99 5 3 1 100000 60100
expect "without it there are too few exits, or with it too many instructions" "1 2" \
	"$(judge_vcmdq -v ratio=0.6)"
vcmdq_report 200 6 4 1 0 1
expect "too many exits, and wakeups of an idle worker" "1 2" "$(judge_vcmdq)"
vcmdq_report 200 5 0 2 100000 60000
expect "or CPU time" "2 1" "$(judge_vcmdq)"
sed -i /workers/d "$tmp/report"
expect "or no worker" "2 1" "$(judge_vcmdq)"
vcmdq_report 200 5 4 2 0 1
cat >>"$tmp/report" <<-END
	@guest idle 5
	@host exits 700 mmio_user 900 wfi 500
	@host workers on 1 sleeps 57 ticks 33
END
expect "a worker that is idle the second time" "3 0" "$(judge_vcmdq)"
sed -i 's/ticks 33/ticks 34/' "$tmp/report"
expect "or not" "2 1" "$(judge_vcmdq)"
: >"$tmp/insns"
expect "no instructions counted" "2 1" "$(judge_vcmdq -v ratio=0.6)"

judge_queues() {
	awk -v name=x "$@" -f "$here/queues.awk" 2>/dev/null | awk -F'\t' '
		{ n[$1]++ }
		END { printf "%d %d", n["pass"], n["fail"] }'
}
# $1: commands of the hostile guest
queues_report() {
	local guest i

	for i in 1 2; do
		echo "@host pagetables idle 1 held 2"
		for guest in a b bad; do
			echo "@host workers $guest ${2:-1} sleeps $i ticks 2"
		done
	done
	printf '@a reads 100\n@b reads 100\n@bad flooded %d\n' $1
}
expect "guests beside a hostile guest" "2 0" \
	"$(queues_report 20000 | judge_queues -v most=2 -v block=100)"
expect "which takes too much" "1 1" \
	"$(queues_report 20100 | judge_queues -v most=2 -v block=100)"
expect "or nothing" "1 1" "$(queues_report 0 | judge_queues -v most=2 -v block=100)"
expect "or there is none" "0 2" "$(judge_queues -v most=2 -v block=100 </dev/null)"
expect "a guest has two workers" "1 1" \
	"$(queues_report 20000 2 | judge_queues -v most=2 -v block=100)"
expect "workers that work" "1 0" "$(queues_report 1 | judge_queues -v holds=6)"
expect "or not" "0 1" "$(queues_report 1 | sed 's/sleeps 2/sleeps 1/' |
	judge_queues -v holds=6)"

# "PASSES FAILS" of the reports of a guest behind two SMMUs
judge_two() {
	awk -v name=x -v most=125 -v events=2 -f "$here/guest.awk" | awk -F'\t' '
		{ n[$1]++ }
		END { printf "%d %d", n["pass"], n["fail"] }'
}

# $1 and $2 are the sizes of the page tables, $3 and $4 the first and the third word
# of the second event
two_report() {
	cat <<-END
	[    0.9] arm-smmu-v3 s.0: ias 44-bit, oas 44-bit (features 0x0)
	@host pagetables idle 100 held $((100 + $1))
	@guest dma 0000:0a:00.0 group DMA sid 0x00000a00 smmu s.0 from 0x0000004000000008
	@guest event s.0 0x00000a0000000010 0x0000000800000000 0x0000004000000008 0x0
	@guest run nvme
	@guest dma 0000:12:00.0 group ${6:-DMA} sid 0x00001200 smmu s.1 from 0x0000007ffffffff8
	@guest event ${5:-s.1} $3 0x0000000800000000 $4 0x0
	@host pagetables idle 104 held $((104 + $2))
	END
}
two() {
	two_report "$@" | judge_two
}
first=0x0000120000000010
third=0x0000007ffffffff8

expect "a guest with two SMMUs" "4 0" "$(two 1000 1250 "$first" "$third")"
expect "its page tables took too much" "3 1" "$(two 1000 1251 "$first" "$third")"
expect "or nothing" "3 1" "$(two 1000 0 "$first" "$third")"
expect "or nothing to compare with" "3 1" "$(two 0 0 "$first" "$third")"
expect "an event of another id" "3 1" \
	"$(two 1000 1000 0x0000120000000013 "$third")"
expect "of another SID" "3 1" \
	"$(two 1000 1000 0x00000a0000000010 "$third")"
expect "of another address, in the last of 64 bits" "3 1" \
	"$(two 1000 1000 "$first" 0x0000007ffffffff9)"
expect "of another SMMU" "3 1" "$(two 1000 1000 "$first" "$third" s.0)"
expect "of a device that is not translated" "3 1" \
	"$(two 1000 1000 "$first" "$third" s.1 identity)"
expect "no event, one without a DMA, one guest only" "2 3" "$(judge_two <<-END
	[    0.9] arm-smmu-v3 s.0: ias 44-bit, oas 44-bit (features 0x0)
	@guest dma 0000:0a:00.0 group DMA sid 0x00000a00 smmu s.0 from 0x0000004000000008
	@guest note no event from s.0
	@guest dma 0000:12:00.0 group DMA sid 0x00001200 smmu s.1 from 0x0000007ffffffff8
	@guest event s.1 $first 0x0 $third 0x0
	@guest event s.1 $first 0x0 $third 0x0
	@host pagetables idle 100 held 1100
	END
)"
expect "an event in the log of the host" "3 1" "$({
	echo '[    1.0] arm-smmu-v3 s.0: event 0x10 received:'
	two_report 1000 1000 "$first" "$third"
	} | judge_two)"
expect "nothing at all" "0 3" "$(judge_two </dev/null)"

expect "a summary of what was not seen" 21 \
	"$({ awk -v two=1 -f "$here/summary.awk" </dev/null
	awk -f "$here/summary.awk" </dev/null; } | grep -c 'not seen$')"

expect "KUnit counts leaves" "3 1 1" "$(count kunit.awk <<-'END'
	[    0.1] KTAP version 1
	[    0.1] 1..1
	[    0.1]     KTAP version 1
	[    0.1]     # Subtest: suite
	[    0.1]     1..4
	[    0.1]     ok 1 first
	[    0.1]     # second: EXPECTATION FAILED at x.c:1
	[    0.1]     not ok 2 second
	[    0.1]     ok 3 third # SKIP why
	[    0.1]         KTAP version 1
	[    0.1]         # Subtest: fourth
	[    0.1]         ok 1 a
	[    0.1]         ok 2 b
	[    0.1]     ok 4 fourth
	[    0.1] # suite: pass:2 fail:1 skip:1 total:4
	[    0.1] not ok 1 suite
	END
)"
expect "no KUnit at all fails" "0 1 0" "$(echo '[    0.1] hello' | count kunit.awk)"
expect "a KUnit suite that did not end fails" "1 1 0" "$(count kunit.awk <<-'END'
	[    0.1]     # Subtest: suite
	[    0.1]     ok 1 first
	END
)"
expect "io-pgtable's own" "2 2 0" "$({
	echo '[    0.1]     # Subtest: s'
	echo '[    0.1]     ok 1 a'
	echo '[    0.1] ok 1 s'
	echo '[    0.1] arm-lpae io-pgtable: selftest: completed with 1 PASS 2 FAIL'
	} | count kunit.awk)"

while IFS= read -r line; do
	expect "splat: $line" 1 "$(printf '[    1.0] fine\n[    1.1] %s\n' "$line" | splats)"
done <<'END'
WARNING: CPU: 0 PID: 1 at drivers/iommu/iommu.c:1 f+0x1/0x2
BUG: KASAN: slab-use-after-free in f+0x1/0x2
BUG: sleeping function called from invalid context at x.c:1
WARNING: possible circular locking dependency detected
WARNING: suspicious RCU usage
UBSAN: array-index-out-of-bounds in x.c:1
Unable to handle kernel NULL pointer dereference at virtual address 0
Internal error: Oops: 0000000096000004 [#1] SMP
Kernel panic - not syncing: Attempted to kill init!
refcount_t: underflow; use-after-free.
list_del corruption. prev->next should be x
ODEBUG: free active (active state 0) object type: work_struct
INFO: task kworker/0:1 blocked for more than 60 seconds.
rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:
arm-smmu-v3 arm-smmu-v3.0.auto: CMD_SYNC timeout at 0x1 [hwprod 0x2, hwcons 0x3]
END
expect "a splat that the scenario makes" 0 "$(echo 'smmu: CMDQ error (cons 0x1): Illegal' |
	splats -v 'known=CMDQ error .*: Illegal')"
expect "and another" 1 "$(echo 'smmu: CMDQ error (cons 0x1): Abort' |
	splats -v 'known=CMDQ error .*: Illegal')"
expect "a known message is known once" 1 "$(for i in 1 2; do
	echo "smmu: CMDQ error (cons 0x1): Illegal"
	done | splats -v 'known=CMDQ error .*: Illegal')"
expect "a timeout that its test judges" 0 "$(splats <<'END'
[    1.0] selftest: waited_for 0123456789abcdef
[    2.1] arm-smmu-v3 arm-smmu-v3.0.auto: CMD_SYNC timeout at 0x1
END
)"
expect "and of the next test" 1 "$(splats <<'END'
[    1.0] selftest: waited_for 0123456789abcdef
[    1.5] selftest: reset 0123456789abcdef
[    2.1] arm-smmu-v3 arm-smmu-v3.0.auto: CMD_SYNC timeout at 0x1
END
)"
while IFS= read -r line; do
	expect "no splat: $line" 0 "$(printf '[    1.1] %s\n' "$line" | splats)"
done <<'END'
FAULT_INJECTION: forcing a failure.
kmemleak: 3 new suspected memory leaks (see /sys/kernel/debug/kmemleak)
**                      NOTICE NOTICE NOTICE                      **
iommufd_mock: Adding to iommu group 5
 fake-cmdqv: CMDQ error (cons 0x01000002): Illegal command
END

# An IORT with an SMMU (4) and a root complex (2) of the minimal length
table() {
	local len=$1 smmu=${2:-10} rest=${3-}

	printf '494f5254%02x000000%s' "$len" 05ee # IORT, length, revision, checksum
	printf '000000000000%016x01000000%s' 0 0000000001000000
	printf '0200000030000000%08x' 0
	printf '04%s000000000000%016x%s' "$smmu" 0 "$rest"
	printf '021c000000000000%016x%s' 0 000000000000000300000000
}
good=$(table 92)
out=$("$iort" <<<"$good" | od -An -v -tx1 | tr -d ' \n')
expect "CANWBS and ATS are set, and nothing else of the node" \
	"${good:128:46}0701000000" "${out:128}"
expect "the sum of all bytes is 0" 0 \
	$(($(echo "$out" | sed 's/../+0x&/g') & 255))
expect "the revision rises" 02 "${out:48:2}"
# Its flags: COHACC, HTTU 2, and another
httu=$(table 104 1c 00000000000000000d000000)
out=$("$iort" 1 <<<"$httu" | od -An -v -tx1 | tr -d ' \n')
expect "HTTU is set, and nothing else of the node" \
	"${httu:96:48}0b000000" "${out:96:56}"
out=$("$iort" 1 0 <<<"$httu" | od -An -v -tx1 | tr -d ' \n')
expect "HTTU and ATS are set, and CANWBS is not" "0b000000 0301000000" \
	"${out:144:8} ${out: -10}"
refuse() {
	"$iort" ${3-} <<<"$2" >/dev/null 2>&1
	expect "refused: $1" 1 $?
}
refuse "nothing" ""
refuse "half a digit" "${good}0"
refuse "no hexadecimal" "${good}zz"
refuse "cut short" "${good:0:-2}"
refuse "longer than it says" "${good}00"
refuse "another table" "44${good:2}"
refuse "a node of length 0" "${good:0:96}040000${good:102}"
refuse "a node beyond the end" "${good:0:96}04ff00${good:102}"
refuse "a root complex too short for flags" "${good:0:128}021000${good:134}"
refuse "an SMMU too short for flags" "$good" 2
refuse "nodes beyond the end" "${good:0:80}ffffff7f${good:88}"
refuse "more nodes than there are" "${good:0:72}09${good:74}"

# A machine that prints $1, and nothing else
machine() {
	printf '#!/bin/sh\nprintf %%s\\\\n %s\n' "$(printf "'%s' " "$@")" >"$tmp/qemu"
	chmod +x "$tmp/qemu"
	env QEMU="$tmp/qemu" FIRMWARE=none KERNEL=none INITRD=/dev/null \
		TESTS_CPIO=/dev/null IORT=none IORT_TABLES="$tmp" ROOTFS_IMG= \
		OUT="$tmp" ARCH=arm64 DEBUG_KERNEL= MACHINE=dt \
		"$here/run.sh" boot >"$tmp/said" 2>&1
}
machine "@host run /tests/a" "1..2" "#  RUN  a" "ok 1 a" "#  RUN  b" \
	"# a.c:9:b:Expected 0 (0) == rc (22)" "not ok 2 b" \
	"@host exit /tests/a status 1" "@host done"
expect "a machine with a failed test fails" 1 $?
expect "what the test said is shown" "    #  RUN  b|    # a.c:9:b:Expected 0 (0) == rc (22)" \
	"$(grep '^    #' "$tmp/said" | paste -sd'|')"
machine "@host run /tests/a" "1..1" "# nothing" "ok 1 a" \
	"@host exit /tests/a status 0" "@host done"
expect "and one without does not" "0 " "$? $(grep '^    #' "$tmp/said")"
machine "@host run /tests/a" "1..1" "ok 1 a" "@host exit /tests/a status 0"
expect "nor is one that stops early taken for good" 1 $?

# The scenarios of another emulator, without its source, and with a build that failed
models() {
	rm -f "$tmp/totals"
	env QEMU=/bin/false FIRMWARE=none KERNEL=none INITRD=/dev/null \
		TESTS_CPIO=/dev/null IORT=none IORT_TABLES="$tmp" ROOTFS_IMG= OUT="$tmp" \
		ARCH=arm64 DEBUG_KERNEL= QEMU_SOURCE="$tmp/source" EMULATOR="$tmp/none" \
		"$here/run.sh" -t "$tmp/totals" overflow >"$tmp/said" 2>&1
}
echo "the archive is gone" >"$tmp/source.why"
models
expect "a scenario without its emulator is skipped" "0 skip" "$? $(cut -f 1 "$tmp/totals")"
expect "and the reason is counted" "# SKIP no source of QEMU: the archive is gone" \
	"$(cut -f 4 "$tmp/totals")"
touch "$tmp/source"
models
expect "an emulator that was not built is a failure" "1 fail" "$? $(cut -f 1 "$tmp/totals")"

# On a fresh machine these are made while the kernel's sources are unpacked
parts=$(make -n -C "$here" KERNEL_TREE=/none BUILD="$tmp/build" ROOTFS= parts 2>&1)
expect "the parts of the host need no sources of the kernel" "0 0" \
	"$? $(grep -c /none <<<"$parts")"

echo "1..$n"
exit $bad
