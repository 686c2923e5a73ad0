# SPDX-License-Identifier: GPL-2.0-only
#
# The front door. Everything that is made goes to build/.

LAB := tools/testing/selftests/iommu/qemu
TREE := $(CURDIR)/build/linux
OBJ := $(CURDIR)/build/obj
ROOTFS := $(CURDIR)/build/root-arm64
export BEGAN := $(shell date +%s)
export LINUX
TOTALS := $(CURDIR)/build/totals

STAGE := scripts/stage
IN_LAB = $(MAKE) --no-print-directory -s -C $(LAB) KERNEL_TREE=$(TREE) BUILD=$(OBJ) \
	QEMU=$(CURDIR)/build/bin/qemu-system-aarch64 ROOTFS=$(ROOTFS) \
	FIRMWARE=$(ROOTFS)/usr/share/qemu-efi-aarch64/QEMU_EFI.fd

# What failed before it could count anything
NOTE_FAILURE = grep -q '^fail' $(TOTALS) || \
	printf 'fail\ttools\tmake test\tended early\n' >>$(TOTALS)

help:
	@echo 'make run      a guest drives its NVMe behind an SMMU of its own, in an emulated'
	@echo '              Arm host: installs, builds and boots what that takes'
	@echo 'make test     all tests; make test SCENARIOS="nesting kunit" for some of them'
	@echo 'make tree     the kernel with the series as commits, in build/linux'
	@echo 'make refresh  the commits of build/linux back into patches/ and the new files'
	@echo 'make series   build/series/NNNN-*.patch for git am'
	@echo 'make stat     how large the series is'
	@echo 'make bench    what the calls of a VMM cost, in instructions'
	@echo 'make check    style, and the tools of this repository'
	@echo
	@echo 'LINUX=DIR     another unpacked 6.12.y than the one of Debian'
	@echo 'V=1           show what the tests print'
	@echo 'DEBUG_KERNEL=yes  test a kernel with KASAN, lockdep and others'

tree:
	@$(STAGE) "build tools" scripts/setup build
	@$(STAGE) "kernel tree" scripts/series push

lab: tree
	@$(STAGE) "QEMU" scripts/setup lab
	@$(STAGE) "kernel" $(IN_LAB) kernel
	@$(STAGE) "host and guest" $(IN_LAB) parts

run: lab
	@$(IN_LAB) judge SCENARIOS=guest SUMMARY=1

# All of them run, whichever fails; the report decides
test: lab
	@$(STAGE) "tests" $(IN_LAB) tests
	@rm -f $(TOTALS) build/result
	@$(STAGE) "series tool" $(LAB)/tap.sh tools scripts/series-test $(TOTALS) || \
		$(NOTE_FAILURE)
	@$(STAGE) "judges of the tests" env IORT=$(OBJ)/iort \
		$(LAB)/tap.sh tools $(LAB)/selftest.sh $(TOTALS) || $(NOTE_FAILURE)
	@$(IN_LAB) judge-test TOTALS=$(TOTALS) || $(NOTE_FAILURE)
	@scripts/report $(TOTALS) build/result

bench: lab
	@$(STAGE) "tests" $(IN_LAB) tests
	@$(IN_LAB) judge SCENARIOS=bench
	@scripts/bench-table $(OBJ)/host-results/bench/report.log

check: series
	@scripts/check

refresh:
	@scripts/series refresh $(if $(FORCE),--force)

series: tree
	@scripts/series export

stat:
	@scripts/series stat

.PHONY: help tree lab run test bench check refresh series stat
