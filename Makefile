# SPDX-License-Identifier: GPL-2.0-only
#
# The front door. Everything that is made goes to build/.

LAB := tools/testing/selftests/iommu/qemu
TREE := $(CURDIR)/build/linux
OBJ := $(CURDIR)/build/obj
ROOTFS := $(CURDIR)/build/root-arm64
# Seconds of fuzzing, and on what: the mock driver (mock), or an SMMUv3 with command queues
# in software (smmuv3) or in hardware (cmdqv)
TIME ?= 600
ON ?= mock
# When the outermost make began
ifndef BEGAN
export BEGAN := $(shell date +%s)
endif
export LINUX
# The output of tools is parsed
export LC_ALL := C.UTF-8
TOTALS := $(CURDIR)/build/totals

# The machines: the plain kernel, a kernel with debug options, the plain kernel on an
# emulator with models of more hardware, and x86-64
MACHINES := plain debug models x86_64
# The kernel for x86-64 takes too long to build for each make test: see check-all
KERNELS ?= $(filter-out x86_64,$(MACHINES))
ifneq ($(or $(filter-out $(MACHINES),$(KERNELS)),$(if $(strip $(KERNELS)),,none)),)
$(error KERNELS must be one or more of: $(MACHINES))
endif

STAGE := scripts/stage
# A stage that builds a kernel in $(1), of about $(2) object files
KERNEL_STAGE = $(STAGE) -p 'echo $$(find $(1) -name "*.o" 2>/dev/null | wc -l) $(2)'
IN_LAB = $(MAKE) --no-print-directory -s -C $(LAB) KERNEL_TREE=$(TREE) BUILD=$(OBJ) \
	QEMU=$(CURDIR)/build/bin/qemu-system-aarch64 ROOTFS=$(ROOTFS) \
	QEMU_SOURCE=$(CURDIR)/build/qemu/source.tar.xz \
	QEMU_PYTHON=$(CURDIR)/build/qemu/meson/usr/lib/python3/dist-packages \
	FIRMWARE=$(ROOTFS)/usr/share/qemu-efi-aarch64/QEMU_EFI.fd
IN_X86 = $(MAKE) --no-print-directory -s -C $(LAB) KERNEL_TREE=$(TREE) \
	BUILD=$(OBJ)/x86_64 ARCH=x86_64

ifeq ($(ON),mock)
FUZZ_DIR := $(CURDIR)/build/fuzz
FUZZ_CORPUS := corpus/iommufd_fuzz.txt
FUZZ_SCENARIO := fuzz
FUZZ_BUILD := $(OBJ)/fuzz
IN_FUZZ = $(MAKE) --no-print-directory -s -C $(LAB) KERNEL_TREE=$(TREE) \
	BUILD=$(FUZZ_BUILD) ARCH=x86_64 FUZZ_KERNEL=yes
else
FUZZ_DIR := $(CURDIR)/build/fuzz-smmuv3
FUZZ_CORPUS := corpus/smmuv3_fuzz.txt
FUZZ_SCENARIO := fuzz_$(ON)
FUZZ_BUILD := $(OBJ)/fuzz-arm64
FUZZ_CROSS := aarch64-linux-gnu-
# For the shell that links the fuzzer
LIBFUZZER_ARM64 := $(CURDIR)/build/fuzz-arm64/usr/lib/llvm-*/lib/clang/*/lib/linux/libclang_rt.fuzzer-aarch64.a
IN_FUZZ = $(IN_LAB) BUILD=$(FUZZ_BUILD) EMULATOR=$(OBJ)/emulator ROOTFS= MODELS=yes \
	FUZZ_KERNEL=yes LIBFUZZER=$(LIBFUZZER_ARM64)
endif

# Other kernels on the same machine. The machine and the tests are those of IN_LAB
PEERS ?= 7.3 6.12
IN_PEER = $(MAKE) --no-print-directory -s -C $(LAB) KERNEL_TREE=$(CURDIR)/build/peer/$(1) \
	BUILD=$(CURDIR)/build/peer/obj-$(1) \
	CONFIGS="$(CURDIR)/$(LAB)/kernel.config $(CURDIR)/scripts/peers/peer.config"

IN_KCSAN = $(MAKE) --no-print-directory -s -C $(LAB) KERNEL_TREE=$(TREE) \
	BUILD=$(OBJ)/kcsan ARCH=x86_64 KCSAN_KERNEL=yes

# A failure before the first test has been counted
NOTE_FAILURE = grep -q '^fail' $(TOTALS) || \
	printf 'fail\ttools\tmake test\tended early\n' >>$(TOTALS)
TEST_ON = $(if $(filter $(1),$(KERNELS)),$(MAKE) --no-print-directory -s test-$(1) \
	|| $(NOTE_FAILURE),true)
# A kernel, or the emulator, is built while the previous kernel is tested, because the
# tests leave half of two processors idle. If the build fails, the test of this kernel
# reports it.
BUILD_AHEAD = $(if $(filter $(1),$(KERNELS)),STAGE_SHARED=1 nice -n 19 $(MAKE) --no-print-directory \
	-s kernel-$(1),true)

help:
	@echo 'Run:'
	@echo '  make run       boot an emulated Arm host, whose guest drives its NVMe behind an'
	@echo '                 SMMU of its own; installs and builds everything for this'
	@echo '  make test      run all tests; make test KERNELS=plain SCENARIOS="nesting kunit"'
	@echo '                 runs some of them'
	@echo '  make fuzz      fuzz the uAPI of iommufd for TIME=600 seconds; ON=mock on its mock'
	@echo '                 driver, ON=smmuv3 and ON=cmdqv on an emulated SMMUv3 with devices'
	@echo '                 of VFIO, and command queues in software or in hardware'
	@echo '  make kcsan     look for data races in the tests with several threads'
	@echo '  make test-mainline'
	@echo '                 run the selftests of iommufd in Linux 7.3, unmodified'
	@echo '  make test-64k  run the tests that depend on the size of pages on a host with pages'
	@echo '                 of 64K, and a guest with such pages on the plain host'
	@echo '  make test-peers'
	@echo '                 run the tests by DMA on Linux 7.3 and on 6.12 without the series'
	@echo '  make bench     measure the calls of a VMM, and the reads of a guest, in'
	@echo '                 instructions'
	@echo
	@echo 'Apply:'
	@echo '  make series    write build/series/NNNN-*.patch for git am'
	@echo '  make quilt     write build/quilt/patches for debian/patches'
	@echo '  make rpm       write build/rpm for a source RPM'
	@echo '  make releases  check to which releases of 6.12 the series applies, and build'
	@echo '                 there; three minutes for each'
	@echo
	@echo 'Develop (see CONTRIBUTING):'
	@echo '  make tree      write the kernel with the series as commits to build/linux'
	@echo '  make refresh   copy the commits of build/linux back to patches/ and new files'
	@echo '  make rebase    LINUX=DIR: rebase the series onto the unpacked 6.12.y in DIR'
	@echo '  make check     run checkpatch, compilers and sparse on the series'
	@echo '  make check-all also build each commit in eight configurations, and the'
	@echo '                 configuration of Debian; build the documentation; run the rest'
	@echo "                 of the debug kernel's tests, x86-64, and mainline's tests; takes"
	@echo '                 hours'
	@echo '  make soak      TIME=SECONDS: guests that do IO, reboot, are killed and lose their'
	@echo '                 devices, on the debug kernel (two hours)'
	@echo '  make mutants   break the kernel in hundreds of places, one at a time, and check that'
	@echo '                 the tests notice; TIME=SECONDS, MUTANTS="PATTERN..."; takes hours'
	@echo '  make docs      build the pages of Documentation/'
	@echo '  make stat      show the size of the series'
	@echo
	@echo 'Variables:'
	@echo '  LINUX=DIR      an unpacked 6.12.y to use in place of that of Debian'
	@echo '  V=1            show the output of the tests'
	@echo '  KERNELS="..."  for make test: plain, debug (KASAN, lockdep and others), models'
	@echo '                 (the plain kernel on an SMMU with models of more hardware), and'
	@echo '                 x86_64, which is not among them by default'

tree:
	@$(STAGE) "build tools" scripts/setup build
	@$(STAGE) "kernel tree" scripts/series push

# Each of the two takes a minute of one processor the first time
parts:
	@$(STAGE) "build tools" scripts/setup build
	@export STAGE_SHARED=1; { $(STAGE) "QEMU" scripts/setup lab && \
		$(STAGE) "host and guest" $(IN_LAB) parts; } & parts=$$!; \
		$(STAGE) "kernel tree" scripts/series push; tree=$$?; \
		wait $$parts && exit $$tree

lab: parts
	@$(call KERNEL_STAGE,$(OBJ)/host,1210) "kernel" $(IN_LAB) init kernel

run: lab
	@$(IN_LAB) judge SCENARIOS="guest guest_queue" SUMMARY=1

# All tests run even if some fail; the report decides
test: lab
	@$(STAGE) "tests" $(IN_LAB) tests
	@rm -f $(TOTALS) build/result
	@$(STAGE) "series tool" $(LAB)/tap.sh tools scripts/series-test $(TOTALS) || \
		$(NOTE_FAILURE)
	@$(STAGE) "stage tool" $(LAB)/tap.sh tools scripts/stage-test $(TOTALS) || \
		$(NOTE_FAILURE)
	@$(STAGE) "mutants tool" $(LAB)/tap.sh tools scripts/mutants-test $(TOTALS) || \
		$(NOTE_FAILURE)
	@$(STAGE) "judges of the tests" env IORT=$(OBJ)/iort \
		$(LAB)/tap.sh tools $(LAB)/selftest.sh $(TOTALS) || $(NOTE_FAILURE)
	@$(STAGE) "packages of the packaging tools" scripts/setup package
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
	@{ $(call BUILD_AHEAD,x86_64); $(call BUILD_AHEAD,models); } & $(call TEST_ON,debug); wait
	@$(call TEST_ON,x86_64)
	@$(call TEST_ON,models)
	@scripts/report $(TOTALS) build/result

test-plain:
	@$(IN_LAB) judge-test TOTALS=$(TOTALS)

kernel-x86_64:
	@$(STAGE) "x86-64 emulator" scripts/setup x86
	@$(call KERNEL_STAGE,$(OBJ)/x86_64,1200) "x86-64 kernel" $(IN_X86) all

test-x86_64: kernel-x86_64
	@$(IN_X86) judge-test TOTALS=$(TOTALS)

# Ninja prints "[DONE/TOTAL]"
kernel-models:
	@$(STAGE) "source of the emulator" scripts/setup models
	@[ ! -e build/qemu/source.tar.xz ] || $(STAGE) -p \
		'sed -n "s,^\[\([0-9]*\)/\([0-9]*\)\].*,\1 \2,p" build/log/emulator.log | tail -1' \
		"emulator" nice $(IN_LAB) emulator

test-models: kernel-models
	@$(IN_LAB) judge-test MODELS=yes TOTALS=$(TOTALS)

kernel-debug:
	@$(call KERNEL_STAGE,$(OBJ)/host-debug,1250) "debug kernel" $(IN_LAB) kernel DEBUG_KERNEL=yes

test-debug: kernel-debug
	@$(IN_LAB) judge-test DEBUG_KERNEL=yes TOTALS=$(TOTALS)

kernel-64k:
	@$(call KERNEL_STAGE,$(OBJ)/host-64K,1210) "kernel with 64K pages" $(IN_LAB) kernel PAGES=64K

# The guests have pages of 4K. The last run is the opposite: guests of 64K on a host of 4K
SCENARIOS_64K := kunit iommufd nesting group cdev p2p vcmdq guest guest_vcmdq guest_vcmdq_huge

test-64k: lab
	@$(STAGE) "tests" $(IN_LAB) tests
	@rm -f $(TOTALS) build/result
	@$(MAKE) --no-print-directory -s kernel-64k || $(NOTE_FAILURE)
	@$(IN_LAB) judge-test PAGES=64K TOTALS=$(TOTALS) \
		SCENARIOS="$(or $(SCENARIOS),$(SCENARIOS_64K))" || $(NOTE_FAILURE)
	@[ -n "$(SCENARIOS)" ] || $(IN_LAB) judge-test GUEST_PAGES=64K TOTALS=$(TOTALS) \
		SCENARIOS=guest_vcmdq || $(NOTE_FAILURE)
	@scripts/report $(TOTALS) build/result

bench: parts
	@$(call KERNEL_STAGE,$(OBJ)/host-bench,1200) "kernel to measure" $(IN_LAB) kernel BENCH_KERNEL=yes
	@$(STAGE) "tests" $(IN_LAB) tests
	@$(IN_LAB) judge SCENARIOS=bench BENCH_KERNEL=yes
	@scripts/bench-table $(OBJ)/host-bench-results/bench/report.log
	@$(IN_LAB) judge SCENARIOS=guest_cost BENCH_KERNEL=yes SUMMARY=1

# On the debug kernel, for TIME seconds
soak: lab
	@$(STAGE) "tests" $(IN_LAB) tests
	@$(MAKE) --no-print-directory -s kernel-debug kernel-models
	@$(IN_LAB) judge SCENARIOS=soak DEBUG_KERNEL=yes SOAK=$(or $(TIME),7200)

# What is found stays in FUZZ_DIR, and the next run goes on from there
fuzz: $(if $(filter mock,$(ON)),tree,lab kernel-models)
	@$(if $(filter mock,$(ON)),$(STAGE) "x86-64 emulator" scripts/setup x86)
	@$(STAGE) "fuzzer" scripts/setup fuzz
	@$(call KERNEL_STAGE,$(FUZZ_BUILD),1100) "kernel to fuzz" $(IN_FUZZ) init parts tests kernel
	@scripts/fuzz-corpus unpack $(LAB)/../$(FUZZ_CORPUS) $(FUZZ_DIR)/corpus
	@FUZZ_DIR=$(FUZZ_DIR) FUZZ_TIME=$(TIME) $(IN_FUZZ) judge SCENARIOS=$(FUZZ_SCENARIO); result=$$?; \
		CROSS_COMPILE=$(FUZZ_CROSS) $(LAB)/fuzz-coverage.sh \
			$(FUZZ_BUILD)/host-fuzz/vmlinux $(FUZZ_DIR)/seen && exit $$result

# Choose the inputs that reach all that previous runs reached, as the corpus in build/linux
fuzz-corpus:
	@rm -f $(FUZZ_DIR)/least
	@FUZZ_DIR=$(FUZZ_DIR) FUZZ_MINIMISE=1 $(IN_FUZZ) judge \
		SCENARIOS="$(if $(filter mock,$(ON)),fuzz,fuzz_smmuv3 fuzz_cmdqv)"
	@sort -u -o $(FUZZ_DIR)/least $(FUZZ_DIR)/least
	@scripts/fuzz-corpus pack $(FUZZ_DIR)/corpus $(FUZZ_DIR)/least \
		$(TREE)/$(LAB)/../$(FUZZ_CORPUS)

kcsan: tree
	@$(STAGE) "x86-64 emulator" scripts/setup x86
	@$(call KERNEL_STAGE,$(OBJ)/kcsan,1190) "kernel with KCSAN" $(IN_KCSAN) init tests kernel
	@$(IN_KCSAN) judge-test

# Check the interfaces that user space of mainline relies on with mainline's own tests
test-mainline: lab
	@$(STAGE) "tests" $(IN_LAB) tests
	@$(STAGE) "mainline's tests" scripts/setup mainline
	@OBJ=$(OBJ) scripts/test-mainline $(IN_LAB)

# Judge the emulator and the tests by the drivers of other kernels
test-peers: lab kernel-models
	@$(STAGE) "tests" $(IN_LAB) tests
	@$(STAGE) "source of mainline" scripts/setup mainline
	@for p in $(PEERS); do $(MAKE) --no-print-directory -s test-peer-$$p || bad=1; done; \
		[ -z "$$bad" ]

test-peer-%:
	@$(STAGE) "kernel tree of $*" scripts/peer tree $*
	@$(call KERNEL_STAGE,build/peer/obj-$*/host,1150) "kernel $*" $(call IN_PEER,$*) kernel
	@scripts/peer judge $* $(IN_LAB)

check: series
	@$(STAGE) "check tools" scripts/setup check
	@$(STAGE) "configuration" $(IN_LAB) $(OBJ)/host/.config
	@OBJ=$(OBJ) scripts/check

# Checks that take too long for make test
check-all: check docs lab
	@scripts/check-commits
	@scripts/debian-config
	@$(STAGE) "tests" $(IN_LAB) tests
	@$(MAKE) --no-print-directory -s test-debug SCENARIOS="iommufd nesting no_canwbs guest guest_vcmdq \
		guest_vcmdq_two guest_vcmdq_life guest_vcmdq_off guest_two" ALL=1
	@$(MAKE) --no-print-directory -s test-models SCENARIOS=strict
	@$(MAKE) --no-print-directory -s test-x86_64
	@$(MAKE) --no-print-directory -s test-mainline
	@$(MAKE) --no-print-directory -s mutants TIME=3600

# A kernel that has all mutants, each of which is tested by a boot. TIME limits the
# seconds, MUTANTS selects by patterns of the shell
MUTANTS_LAB = $(MAKE) --no-print-directory -s -C $(LAB) KERNEL_TREE=$(CURDIR)/build/mutants/tree \
	BUILD=$(CURDIR)/build/mutants/obj QEMU=$(CURDIR)/build/bin/qemu-system-aarch64

mutants: parts
	@$(STAGE) "tests" $(IN_LAB) init tests
	@$(STAGE) "mutants" scripts/mutants tree build/mutants/tree
	@$(call KERNEL_STAGE,build/mutants/obj/host,1210) "kernel with mutants" \
		$(MUTANTS_LAB) kernel
	@set -f; LAB="$(IN_LAB)" nice -n 10 \
		env KERNEL=$(CURDIR)/build/mutants/obj/host/arch/arm64/boot/Image \
		scripts/mutants run $(MUTANTS)

# As debian/patches takes it
quilt: series
	@scripts/setup package
	@scripts/package quilt
	@scripts/package quilt check

# As a source RPM takes it
rpm: series
	@scripts/setup package
	@scripts/package rpm
	@scripts/package rpm check

releases: series
	@BUILD_WITH="$(CURDIR)/scripts/build-touched" scripts/releases $(DIRS)

docs: tree
	@scripts/setup docs
	@scripts/docs

refresh:
	@scripts/series refresh $(if $(FORCE),--force)

rebase: tree
	@scripts/series rebase "$(or $(LINUX),$(error LINUX=DIR must name the unpacked 6.12.y to rebase onto))"

series: tree
	@scripts/series export

stat:
	@scripts/series stat

# Parts of test
.PHONY: test-plain test-x86_64 test-debug test-models kernel-x86_64 kernel-debug kernel-models kernel-64k
.PHONY: help tree parts lab run test soak test-mainline test-peers test-64k bench check check-all refresh rebase series stat quilt rpm releases docs mutants fuzz fuzz-corpus kcsan
