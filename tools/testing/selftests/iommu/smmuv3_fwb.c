// SPDX-License-Identifier: GPL-2.0-only
/*
 * A host without CANWBS whose SMMU has S2FWB, judged by DMA. The device is an
 * edu-pcie. The emulated SMMU refuses DMA that would bypass the caches of the
 * CPUs (x-abort-uncached).
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <linux/pci_regs.h>

#include "smmuv3_vm.h"

/* MAIR attributes: Write-Back, and all kinds of others */
#define MAIR_WB		0xff
static const __u8 uncached[] = {
	0x00,	/* Device-nGnRnE */
	0x04,	/* Device-nGnRE */
	0x44,	/* Normal, Non-cacheable */
	0xbb,	/* Write-Through */
	0x4f,	/* Write-Back for the inner caches only */
	0xf4,	/* ... and for the outer caches */
};

/* A nested device, and an SMMU that is known to refuse uncached DMA */
FIXTURE(fwb)
{
	struct vm vm;
};

FIXTURE_SETUP(fwb)
{
	struct vm *vm = &self->vm;

	vm_start_nesting(_metadata, vm);
	if (_metadata->exit_code)
		return;
	if (host_iort_canwbs())
		SKIP(return, "CANWBS makes all DMA of this host coherent");
	if (!edu_is_pcie(&vm->dev))
		SKIP(return, "this edu does not know whether its DMA is cached");
	ASSERT_NE(0, vm->dev.info.idr[3] & IDR3_FWB);
}

FIXTURE_TEARDOWN(fwb)
{
	vm_stop(_metadata, &self->vm);
}

static __u64 uncached_dma(struct vm *vm)
{
	return edu_reg(&vm->dev, EDU_REG_UNCACHED);
}

static void set_mair(struct __test_metadata *_metadata, struct vm *vm, __u8 attr)
{
	guest_write64(&vm->g, vm->v.cd + 24, attr);
	ASSERT_EQ(0, vm_cmd(vm, cmd_cfgi_cd(VSID)));
	ASSERT_EQ(0, vm_cmd(vm, cmd_nh_all(any_vmid())));
}

/* The attributes of stage 1 do not let a guest bypass the caches */
TEST_F(fwb, stage1_attributes)
{
	struct vm *vm = &self->vm;
	__u64 a = guest_page(&vm->g), b = guest_page(&vm->g);
	__u64 had = uncached_dma(vm);
	size_t i;

	vm_map(vm, IOVA_A, a);
	vm_map(vm, IOVA_B, b);
	ASSERT_EQ(0, edu_attach(&vm->dev, vm->v.hwpt_s1));
	EXPECT_EQ(a, vm_lands(vm, IOVA_A));
	for (i = 0; i != ARRAY_SIZE(uncached); i++) {
		set_mair(_metadata, vm, uncached[i]);
		EXPECT_EQ(a, vm_lands(vm, IOVA_A)) {
			TH_LOG("attribute %#x", uncached[i]);
		}
		EXPECT_TRUE(edu_read_gets(&vm->dev, &vm->g, IOVA_B, b, IOVA_A,
					  a));
	}
	EXPECT_EQ(had, uncached_dma(vm));
	EXPECT_EQ(0, klog_count(HOST_EVENT));
}

/* Stage 2 alone: bare, and below a guest that bypasses stage 1 */
TEST_F(fwb, stage2_alone)
{
	struct vm *vm = &self->vm;
	__u64 a = guest_page(&vm->g), had = uncached_dma(vm);
	__u32 bypass;

	ASSERT_EQ(0, vm_hwpt(vm, ste_bypass(), &bypass));
	EXPECT_EQ(a, vm_lands(vm, a));
	ASSERT_EQ(0, edu_attach(&vm->dev, bypass));
	EXPECT_EQ(a, vm_lands(vm, a));
	EXPECT_EQ(had, uncached_dma(vm));
	EXPECT_EQ(0, klog_count(HOST_EVENT));
}

/* The offset of Device Control in configuration space */
static __u64 devctl(struct edu *dev)
{
	__u8 cfg[256] = {}, at;
	int i;

	if (pread(dev->fd, cfg, sizeof(cfg), dev->cfg_offset) < 0)
		return 0;
	for (i = 0, at = cfg[PCI_CAPABILITY_LIST]; at && i != 48;
	     i++, at = cfg[at + PCI_CAP_LIST_NEXT])
		if (cfg[at] == PCI_CAP_ID_EXP)
			return dev->cfg_offset + at + PCI_EXP_DEVCTL;
	return 0;
}

/* Read the register of the device itself */
static int real_no_snoop(struct edu *dev)
{
	char path[64];
	__le16 val = 0;
	int fd;

	snprintf(path, sizeof(path), SYS_PCI "/%s/config", dev->bdf);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (pread(fd, &val, 2, devctl(dev) - dev->cfg_offset) != 2)
		val = 0xffff;
	close(fd);
	return !!(le16toh(val) & PCI_EXP_DEVCTL_NOSNOOP_EN);
}

/*
 * S2FWB does not cover transactions that the device sends with No Snoop. No VM
 * can enable them, neither by Device Control nor by a reset, which sets the
 * bit.
 */
TEST_F(fwb, no_snoop)
{
	struct vm *vm = &self->vm;
	__u64 a = guest_page(&vm->g), b = guest_page(&vm->g);
	__u64 had = uncached_dma(vm), at = devctl(&vm->dev);
	__le16 val;
	int i;

	ASSERT_NE(0, at);
	vm_map(vm, IOVA_A, a);
	vm_map(vm, IOVA_B, b);
	ASSERT_EQ(0, edu_attach(&vm->dev, vm->v.hwpt_s1));
	vm->dev.dma_flags = EDU_DMA_NO_SNOOP;
	for (i = 0; i != 3; i++) {
		EXPECT_EQ(0, real_no_snoop(&vm->dev));
		EXPECT_EQ(a, vm_lands(vm, IOVA_A));
		EXPECT_FALSE(edu_failed(&vm->dev));
		if (i == 0) {
			ASSERT_EQ(2, pread(vm->dev.fd, &val, 2, at));
			val |= htole16(PCI_EXP_DEVCTL_NOSNOOP_EN);
			ASSERT_EQ(2, pwrite(vm->dev.fd, &val, 2, at));
		} else {
			ASSERT_EQ(0, edu_reset(&vm->dev));
			edu_load(&vm->dev, &vm->g, IOVA_B, b);
		}
	}
	EXPECT_EQ(had, uncached_dma(vm));
	EXPECT_EQ(0, klog_count(HOST_EVENT));
}

TEST_HARNESS_MAIN
