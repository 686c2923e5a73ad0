# SPDX-License-Identifier: GPL-2.0-only
#
# The front door. Everything that is made goes to build/.

LAB := tools/testing/selftests/iommu/qemu
TREE := $(CURDIR)/build/linux
OBJ := $(CURDIR)/build/obj
ROOTFS := $(CURDIR)/build/root-arm64
# When the first make of them began
ifndef BEGAN
export BEGAN := $(shell date +%s)
endif
export LINUX
# What tools say is looked at
export LC_ALL := C.UTF-8
TOTALS := $(CURDIR)/build/totals

# What make test runs on: the plain kernel, one that checks itself, another machine
KERNELS ?= plain x86_64 debug
ifneq ($(or $(filter-out plain x86_64 debug,$(KERNELS)),$(if $(strip $(KERNELS)),,none)),)
$(error KERNELS is one or more of: plain x86_64 debug)
endif

STAGE := scripts/stage
IN_LAB = $(MAKE) --no-print-directory -s -C $(LAB) KERNEL_TREE=$(TREE) BUILD=$(OBJ) \
	QEMU=$(CURDIR)/build/bin/qemu-system-aarch64 ROOTFS=$(ROOTFS) \
	FIRMWARE=$(ROOTFS)/usr/share/qemu-efi-aarch64/QEMU_EFI.fd
IN_X86 = $(MAKE) --no-print-directory -s -C $(LAB) KERNEL_TREE=$(TREE) \
	BUILD=$(OBJ)/x86_64 ARCH=x86_64

# What failed before it could count anything
NOTE_FAILURE = grep -q '^fail' $(TOTALS) || \
	printf 'fail\ttools\tmake test\tended early\n' >>$(TOTALS)
TEST_ON = $(if $(filter $(1),$(KERNELS)),$(MAKE) --no-print-directory -s test-$(1) \
	|| $(NOTE_FAILURE),true)
# One kernel is built while the one before is tested, which leaves half of two
# processors idle. Who tests it sees whether that went well.
BUILD_AHEAD = $(if $(filter $(1),$(KERNELS)),nice -n 19 $(MAKE) --no-print-directory \
	-s kernel-$(1),true)

help:
	@echo 'make run      a guest drives its NVMe behind an SMMU of its own, in an emulated'
	@echo '              Arm host: installs, builds and boots what that takes'
	@echo 'make test     all tests; make test KERNELS=plain SCENARIOS="nesting kunit" for'
	@echo '              some of them'
	@echo 'make tree     the kernel with the series as commits, in build/linux'
	@echo 'make refresh  the commits of build/linux back into patches/ and the new files'
	@echo 'make series   build/series/NNNN-*.patch for git am'
	@echo 'make stat     how large the series is'
	@echo 'make bench    what the calls of a VMM cost, in instructions'
	@echo 'make check    checkpatch, compilers and sparse on the series; make check-all:'
	@echo '              on each commit in seven configurations, the documentation, the'
	@echo '              configuration of Debian, and the rest of the debug kernel'
	@echo 'make quilt    build/quilt, as debian/patches takes it'
	@echo 'make releases to which releases of 6.12 the series applies, and whether it'
	@echo '              builds there: three minutes for each'
	@echo
	@echo 'LINUX=DIR     another unpacked 6.12.y than the one of Debian'
	@echo 'V=1           show what the tests print'
	@echo 'KERNELS="..." of make test: plain, x86_64, debug (KASAN, lockdep and others)'

tree:
	@$(STAGE) "build tools" scripts/setup build
	@$(STAGE) "kernel tree" scripts/series push

# Both take a minute of one processor the first time
parts:
	@$(STAGE) "build tools" scripts/setup build
	@{ $(STAGE) "QEMU" scripts/setup lab && \
		$(STAGE) "host and guest" $(IN_LAB) parts; } & parts=$$!; \
		$(STAGE) "kernel tree" scripts/series push; tree=$$?; \
		wait $$parts && exit $$tree

lab: parts
	@$(STAGE) "kernel" $(IN_LAB) kernel

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
	@$(STAGE) "packaging tools" $(LAB)/tap.sh tools scripts/package-test $(TOTALS) || \
		$(NOTE_FAILURE)
	@$(STAGE) "check tools" scripts/setup check
	@$(STAGE) "uAPI header" env HEADERS=$(OBJ)/headers/usr/include $(LAB)/tap.sh tools \
		tools/testing/selftests/iommu/iommufd_uapi.sh $(TOTALS) || $(NOTE_FAILURE)
	@$(STAGE) "patches" scripts/series export
	@$(STAGE) "style and warnings" env OBJ=$(OBJ) $(LAB)/tap.sh tools scripts/check $(TOTALS) || \
		$(NOTE_FAILURE)
	@mkdir -p $(OBJ)/hostcheck-tests
	@$(STAGE) "tests of smmu-nesting" $(MAKE) -s -C tools/iommu srctree=$(TREE) \
		OUTPUT=$(OBJ)/hostcheck-tests/ tests || $(NOTE_FAILURE)
	@for t in unit fuzz; do $(STAGE) "smmu-nesting: $$t" $(LAB)/tap.sh tools \
		$(OBJ)/hostcheck-tests/tests/$$t $(TOTALS) || $(NOTE_FAILURE); done
	@$(call BUILD_AHEAD,debug) & $(call TEST_ON,plain); wait
	@$(call BUILD_AHEAD,x86_64) & $(call TEST_ON,debug); wait
	@$(call TEST_ON,x86_64)
	@scripts/report $(TOTALS) build/result

test-plain:
	@$(IN_LAB) judge-test TOTALS=$(TOTALS)

kernel-x86_64:
	@$(STAGE) "x86-64 emulator" scripts/setup x86
	@$(STAGE) "x86-64 kernel" $(IN_X86) all

test-x86_64: kernel-x86_64
	@$(IN_X86) judge-test TOTALS=$(TOTALS)

kernel-debug:
	@$(STAGE) "debug kernel" $(IN_LAB) kernel DEBUG_KERNEL=yes

test-debug: kernel-debug
	@$(IN_LAB) judge-test DEBUG_KERNEL=yes TOTALS=$(TOTALS)

bench: parts
	@$(STAGE) "kernel to measure" $(IN_LAB) kernel BENCH_KERNEL=yes
	@$(STAGE) "tests" $(IN_LAB) tests
	@$(IN_LAB) judge SCENARIOS=bench BENCH_KERNEL=yes
	@scripts/bench-table $(OBJ)/host-bench-results/bench/report.log

check: series
	@$(STAGE) "check tools" scripts/setup check
	@$(STAGE) "configuration" $(IN_LAB) $(OBJ)/host/.config
	@OBJ=$(OBJ) scripts/check

# What takes too long for make test
check-all: check docs lab
	@scripts/check-commits
	@scripts/debian-config
	@$(STAGE) "tests" $(IN_LAB) tests
	@$(MAKE) --no-print-directory -s test-debug SCENARIOS="iommufd nesting no_canwbs guest guest_two" \
		ALL=1

# As debian/patches takes it
quilt: series
	@scripts/setup quilt
	@scripts/quilt
	@scripts/quilt check

releases: series
	@BUILD_WITH="$(CURDIR)/scripts/build-touched" scripts/releases $(DIRS)

docs: tree
	@scripts/setup docs
	@scripts/docs

refresh:
	@scripts/series refresh $(if $(FORCE),--force)

series: tree
	@scripts/series export

stat:
	@scripts/series stat

# Parts of test
.PHONY: test-plain test-x86_64 test-debug kernel-x86_64 kernel-debug
.PHONY: help tree parts lab run test bench check check-all refresh series stat quilt releases docs
