// SPDX-License-Identifier: GPL-2.0-only
/*
 * The host of a VM without nested translation: the answers of GET_HW_INFO, DMA
 * through stage 2 alone, and the refusal to nest
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/pci_regs.h>

#include "smmuv3_vm.h"

/* The host, with stage 2 alone */
FIXTURE(host)
{
	struct vm vm;
};

FIXTURE_SETUP(host)
{
	vm_start(_metadata, &self->vm);
}

FIXTURE_TEARDOWN(host)
{
	vm_stop(_metadata, &self->vm);
}

TEST_F(host, hw_info)
{
	struct {
		struct iommu_hw_info_arm_smmuv3 info;
		__u8 tail[8];
	} buf, part;
	__u32 dev_id = self->vm.dev.dev_id;
	int fd = self->vm.fd;
	__u32 type, len;

	type = IOMMU_HW_INFO_TYPE_DEFAULT;
	len = sizeof(buf);
	memset(&buf, 0xff, sizeof(buf));
	ASSERT_EQ(0, hw_info(fd, dev_id, 0, &type, &buf, &len));
	if (type == IOMMU_HW_INFO_TYPE_NONE && !self->vm.g.nest_parent)
		SKIP(return, "this kernel has no nesting on SMMUv3");
	ASSERT_EQ(IOMMU_HW_INFO_TYPE_ARM_SMMUV3, type);
	EXPECT_EQ(40, len);
	EXPECT_EQ(0, buf.info.flags);
	EXPECT_EQ(0, buf.info.__reserved);
	EXPECT_EQ(0, buf.tail[0]);
	EXPECT_EQ(0, buf.tail[7]);

	/* The answers that a VMM needs before it puts a guest behind an SMMU */
	EXPECT_NE(0, buf.info.idr[0] & IDR0_S2P);
	EXPECT_NE(0, buf.info.idr[0] & IDR0_S1P);
	EXPECT_LE(2, buf.info.idr[0] >> 2 & 3) {
		TH_LOG("no AArch64 tables in IDR0.TTF");
	}
	EXPECT_EQ(1, buf.info.idr[0] >> 27 & 3) {
		TH_LOG("IDR0.ST_LEVEL is not 2-level");
	}
	EXPECT_LE(8, buf.info.idr[1] & 0x3f) {
		TH_LOG("IDR1.SIDSIZE");
	}
	EXPECT_NE(0, buf.info.idr[5] & 0x70) {
		TH_LOG("IDR5: no granule");
	}
	EXPECT_GE(6, IDR5_OAS(buf.info.idr[5]));

	/* A buffer that is too small gets as many bytes as fit */
	type = IOMMU_HW_INFO_TYPE_DEFAULT;
	len = 12;
	memset(&part, 0xee, sizeof(part));
	ASSERT_EQ(0, hw_info(fd, dev_id, 0, &type, &part, &len));
	EXPECT_EQ(40, len);
	EXPECT_EQ(buf.info.idr[0], part.info.idr[0]);
	EXPECT_EQ(0xeeeeeeee, part.info.idr[1]);
	type = IOMMU_HW_INFO_TYPE_DEFAULT;
	len = 0;
	ASSERT_EQ(0, hw_info(fd, dev_id, 0, &type, NULL, &len));
	EXPECT_EQ(IOMMU_HW_INFO_TYPE_ARM_SMMUV3, type);

	/* With the type in the request */
	type = IOMMU_HW_INFO_TYPE_ARM_SMMUV3;
	len = sizeof(buf.info);
	memset(&part, 0, sizeof(part));
	EXPECT_EQ(0, hw_info(fd, dev_id, IOMMU_HW_INFO_FLAG_INPUT_TYPE, &type,
			     &part, &len));
	EXPECT_EQ(IOMMU_HW_INFO_TYPE_ARM_SMMUV3, type);
	EXPECT_EQ(0, memcmp(&buf.info, &part.info, sizeof(buf.info)));
	type = IOMMU_HW_INFO_TYPE_DEFAULT;
	EXPECT_EQ(0, hw_info(fd, dev_id, IOMMU_HW_INFO_FLAG_INPUT_TYPE, &type,
			     &part, &len));
	EXPECT_EQ(IOMMU_HW_INFO_TYPE_ARM_SMMUV3, type);
	type = IOMMU_HW_INFO_TYPE_INTEL_VTD;
	EXPECT_EQ(-EOPNOTSUPP,
		  hw_info(fd, dev_id, IOMMU_HW_INFO_FLAG_INPUT_TYPE, &type,
			  &part, &len));
	type = 0x7777;
	EXPECT_EQ(-EOPNOTSUPP,
		  hw_info(fd, dev_id, IOMMU_HW_INFO_FLAG_INPUT_TYPE, &type,
			  &part, &len));
	/* Without the flag, the field is output only */
	EXPECT_EQ(0, hw_info(fd, dev_id, 0, &type, &part, &len));
	EXPECT_EQ(IOMMU_HW_INFO_TYPE_ARM_SMMUV3, type);
	EXPECT_EQ(-EOPNOTSUPP, hw_info(fd, dev_id, 1U << 1, &type, &part, &len));
	EXPECT_EQ(-ENOENT, hw_info(fd, self->vm.g.ioas_id, 0, &type, &part,
				   &len));
}

TEST_F(host, stage2_dma)
{
	struct vm *vm = &self->vm;
	__u64 a = guest_page(&vm->g), b = guest_page(&vm->g);

	EXPECT_EQ(a, vm_lands(vm, a));
	EXPECT_TRUE(edu_read_gets(&vm->dev, &vm->g, a, a, b, b));
	EXPECT_EQ(NOWHERE, vm_lands(vm, HOLE_IPA));
	ASSERT_EQ(0, guest_map(&vm->g, HOLE_IPA, HOLE_SIZE, true));
	EXPECT_EQ(HOLE_IPA, vm_lands(vm, HOLE_IPA));
	ASSERT_EQ(0, guest_unmap(&vm->g, HOLE_IPA));
	EXPECT_EQ(NOWHERE, vm_lands(vm, HOLE_IPA));
	ASSERT_EQ(0, edu_detach(&vm->dev));
	EXPECT_EQ(NOWHERE, vm_lands(vm, a));
	ASSERT_EQ(0, edu_attach(&vm->dev, vm->g.s2_id));
	EXPECT_EQ(a, vm_lands(vm, a));
}

TEST_F(host, refusal_says_why)
{
	struct vm *vm = &self->vm;
	__u32 id;
	char *log;
	int rc;

	if (smmu_can_nest(&vm->dev.info))
		SKIP(return, "this host can nest");
	rc = viommu_alloc(vm->fd, vm->dev.dev_id, vm->g.s2_id, &id);
	if (rc == -ENOTTY)
		SKIP(return, "this kernel has no vIOMMU");
	EXPECT_EQ(-EOPNOTSUPP, rc);
	/* The log has this only once, maybe from before this test */
	log = klog_read(false);
	ASSERT_NE(NULL, log);
	if ((vm->dev.info.idr[0] & IDR0_S1P) &&
	    (vm->dev.info.idr[0] & IDR0_S2P)) {
		EXPECT_NE(NULL, strstr(log, smmu_has_stages(&vm->dev.info) ?
						    "CANWBS" : "has an erratum"));
	}
	free(log);
}

static __u16 config_read(struct edu *dev, unsigned int pos)
{
	__u16 val;

	if (pread(dev->fd, &val, 2, dev->cfg_offset + pos) != 2)
		val = 0xffff;
	return le16toh(val);
}

static bool config_write(struct edu *dev, unsigned int pos, __u16 val)
{
	val = htole16(val);
	return pwrite(dev->fd, &val, 2, dev->cfg_offset + pos) == 2;
}

/* The value in the device, not the copy that VFIO shows */
static __u16 config_physical(struct edu *dev, unsigned int pos)
{
	char path[64];
	__u16 val = 0;
	int fd;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/config", dev->bdf);
	fd = open(path, O_RDONLY);
	if (fd < 0 || pread(fd, &val, 2, pos) != 2)
		val = 0xffff;
	close(fd);
	return le16toh(val);
}

/*
 * VFIO withholds Enable No Snoop from a device if nothing else makes its DMA
 * coherent. A user that sets the bit reads it as set.
 */
TEST_F(host, no_snoop)
{
	static struct edu nvme;
	unsigned int pos, ctl;
	char bdf[16], why[128];
	__u16 before, byte;

	if (device_find(NVME_ID, bdf, why, sizeof(why)))
		SKIP(return, "%s", why);
	ASSERT_EQ(0, device_open(&nvme, bdf, self->vm.fd));
	pos = config_read(&nvme, PCI_CAPABILITY_LIST) & 0xfc;
	while (pos && (config_read(&nvme, pos) & 0xff) != PCI_CAP_ID_EXP)
		pos = config_read(&nvme, pos) >> 8 & 0xfc;
	ASSERT_NE(0, pos);
	ctl = pos + PCI_EXP_DEVCTL;

	before = config_read(&nvme, ctl);
	EXPECT_EQ(before, config_physical(&nvme, ctl));
	ASSERT_TRUE(config_write(&nvme, ctl,
				 before | PCI_EXP_DEVCTL_NOSNOOP_EN));
	if (host_iort_canwbs()) {
		/* The device may ignore the bit that it gets */
		EXPECT_EQ(config_physical(&nvme, ctl), config_read(&nvme, ctl));
	} else {
		EXPECT_EQ(0, before & PCI_EXP_DEVCTL_NOSNOOP_EN);
		EXPECT_EQ(before, config_physical(&nvme, ctl));
		EXPECT_EQ(before | PCI_EXP_DEVCTL_NOSNOOP_EN,
			  config_read(&nvme, ctl));
		/* By the byte of the bit alone */
		byte = config_read(&nvme, ctl) >> 8 &
		       ~(PCI_EXP_DEVCTL_NOSNOOP_EN >> 8);
		EXPECT_EQ(1, pwrite(nvme.fd, &byte, 1,
				    nvme.cfg_offset + ctl + 1));
		EXPECT_EQ(before, config_read(&nvme, ctl));
		EXPECT_EQ(before, config_physical(&nvme, ctl));
	}
	/* The rest of the register is unchanged */
	ASSERT_TRUE(config_write(&nvme, ctl, before ^ PCI_EXP_DEVCTL_URRE));
	EXPECT_EQ(before ^ PCI_EXP_DEVCTL_URRE, config_physical(&nvme, ctl));
	ASSERT_TRUE(config_write(&nvme, ctl, before));
	EXPECT_EQ(before, config_physical(&nvme, ctl));
	edu_close(&nvme);
}

TEST_HARNESS_MAIN
