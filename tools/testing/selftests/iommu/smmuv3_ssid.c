// SPDX-License-Identifier: GPL-2.0-only
/*
 * Substreams, judged by DMA: the PASIDs of a guest, which has a table of CDs,
 * and PASIDs that the VMM attaches to HWPTs. The device is an edu-pcie.
 */
#include <errno.h>
#include <string.h>

#include <linux/pci_regs.h>

#include "smmuv3_vm.h"

#define CD_SIZE		64
#define L1CD_V		BIT_ULL(0)
#define S1FMT_LINEAR	0
#define S1FMT_4K	1
#define S1FMT_64K	2
#define S1DSS_TERMINATE	0
#define S1DSS_BYPASS	1
#define S1DSS_SSID0	2
/* The STEs here have PASIDs below 64 */
#define S1CDMAX		6
#define NUM		4

static bool has_pasids(struct edu *dev)
{
	return IDR1_SSIDSIZE(dev->info.idr[1]) && edu_is_pcie(dev);
}

/* Give the following DMA a PASID */
static void use_pasid(struct edu *dev, __u32 pasid)
{
	edu_set_reg(dev, EDU_REG_PASID, pasid);
	dev->dma_flags |= EDU_DMA_PASID;
}

static void use_no_pasid(struct edu *dev)
{
	dev->dma_flags &= ~EDU_DMA_PASID;
}

/*
 * A guest with a linear table of CDs. Each of the first CDs has its own ASID,
 * and translates IOVA_A to its own page.
 */
FIXTURE(ssid)
{
	struct vm vm;
	int queue;
	__u32 sequence;
	__u64 table;
	__u64 ttb[NUM];
	__u64 page[NUM];
	__u32 hwpt;
};

static struct iommu_hwpt_arm_smmuv3 ste_cds(__u64 table, int cdmax, int fmt,
					    int dss)
{
	struct iommu_hwpt_arm_smmuv3 ste = ste_s1(table);

	ste.ste[0] |= htole64(STE0_S1CDMAX(cdmax) | STE0_S1FMT(fmt));
	ste.ste[1] |= htole64(STE1_S1DSS(dss) | STE1_EATS(1));
	return ste;
}

static void cds_write(struct vm *vm, __u64 at, const __u64 *ttb)
{
	int i;

	for (i = 0; i != NUM; i++)
		cd_write(&vm->g, &vm->dev, at + CD_SIZE * i, ttb[i], ASID + i);
}

FIXTURE_SETUP(ssid)
{
	struct vm *vm = &self->vm;
	int i;

	vm_start_nesting(_metadata, vm);
	if (_metadata->exit_code)
		return;
	if (!has_pasids(&vm->dev))
		SKIP(return, "no substreams");
	self->table = guest_zero_page(&vm->g);
	for (i = 0; i != NUM; i++) {
		self->ttb[i] = s1_create(&vm->g);
		self->page[i] = guest_page(&vm->g);
		s1_map(&vm->g, self->ttb[i], IOVA_A, self->page[i], S1_RW);
	}
	cds_write(vm, self->table, self->ttb);
	ASSERT_EQ(0, vm_hwpt(vm, ste_cds(self->table, S1CDMAX, S1FMT_LINEAR,
					 S1DSS_SSID0),
			     &self->hwpt));
	ASSERT_EQ(0, veventq_alloc(vm->fd, vm->v.viommu_id, QUEUE_DEPTH, NULL,
				   &self->queue));
	ASSERT_EQ(0, edu_attach(&vm->dev, self->hwpt));
}

FIXTURE_TEARDOWN(ssid)
{
	close(self->queue);
	vm_stop(_metadata, &self->vm);
}

/* PASID 0 is CD 0 without a PASID, with S1DSS_SSID0 */
static __u64 pasid_lands(struct vm *vm, __u32 pasid, __u64 iova)
{
	use_no_pasid(&vm->dev);
	if (pasid)
		use_pasid(&vm->dev, pasid);
	return vm_lands(vm, iova);
}

static void expect_all(struct __test_metadata *_metadata, struct vm *vm,
		       const __u64 *page)
{
	int i;

	for (i = 0; i != NUM; i++) {
		EXPECT_EQ(page[i], pasid_lands(vm, i, IOVA_A)) {
			TH_LOG("PASID %d", i);
		}
	}
}

TEST_F(ssid, dma)
{
	struct vm *vm = &self->vm;
	__u64 sink = guest_page(&vm->g);

	expect_all(_metadata, vm, self->page);
	/* Once more, from the caches of the SMMU */
	expect_all(_metadata, vm, self->page);
	s1_map(&vm->g, self->ttb[2], IOVA_B, sink, S1_RW);
	use_pasid(&vm->dev, 2);
	EXPECT_TRUE(edu_read_gets(&vm->dev, &vm->g, IOVA_A, self->page[2],
				  IOVA_B, sink));
	/* IOVA_B is of PASID 2 alone */
	EXPECT_EQ(NOWHERE, pasid_lands(vm, 1, IOVA_B));
	EXPECT_EQ(NOWHERE, pasid_lands(vm, 0, IOVA_B));
	EXPECT_EQ(0, klog_count(HOST_EVENT));
}

/* CFGI_CD is for the CD of its SSID, and CFGI_CD_ALL for all of them */
TEST_F(ssid, cfgi_cd)
{
	struct vm *vm = &self->vm;
	__u64 ttb = s1_create(&vm->g), new = guest_page(&vm->g);
	int i;

	s1_map(&vm->g, ttb, IOVA_A, new, S1_RW);
	expect_all(_metadata, vm, self->page);
	for (i = 0; i != NUM; i++)
		cd_write(&vm->g, &vm->dev, self->table + CD_SIZE * i, ttb,
			 ASID + NUM);
	expect_all(_metadata, vm, self->page);

	ASSERT_EQ(0, vm_cmd(vm, cmd_raw(CMD_CFGI_CD | CMD0_SID(VSID) |
						CMD0_SSID(2),
					CMD1_LEAF)));
	self->page[2] = new;
	expect_all(_metadata, vm, self->page);
	/* The CD of DMA without a PASID */
	ASSERT_EQ(0, vm_cmd(vm, cmd_cfgi_cd(VSID)));
	self->page[0] = new;
	expect_all(_metadata, vm, self->page);
	ASSERT_EQ(0, vm_cmd(vm, cmd_cfgi_cd_all(VSID)));
	self->page[1] = new;
	self->page[3] = new;
	expect_all(_metadata, vm, self->page);

	/* An SSID beyond the table is not illegal */
	EXPECT_EQ(0, vm_cmd(vm, cmd_raw(CMD_CFGI_CD | CMD0_SID(VSID) |
						CMD0_SSID(0xfffff),
					CMD1_LEAF)));
}

/* TLBIs of an ASID are for the PASIDs that have it */
TEST_F(ssid, tlbi)
{
	struct vm *vm = &self->vm;
	__u64 new[NUM];
	int i;

	expect_all(_metadata, vm, self->page);
	for (i = 0; i != NUM; i++) {
		new[i] = guest_page(&vm->g);
		s1_map(&vm->g, self->ttb[i], IOVA_A, new[i], S1_RW);
	}
	ASSERT_EQ(0, vm_cmd(vm, cmd_nh_asid(any_vmid(), ASID + 1)));
	self->page[1] = new[1];
	expect_all(_metadata, vm, self->page);
	ASSERT_EQ(0, vm_cmd(vm, cmd_nh_va(any_vmid(), ASID + 3, IOVA_A)));
	self->page[3] = new[3];
	expect_all(_metadata, vm, self->page);
}

/* A table of two levels, with leaves of 4K and of 64K */
TEST_F(ssid, two_levels)
{
	struct vm *vm = &self->vm;
	__u64 l1 = guest_zero_page(&vm->g), leaf = HOLE_IPA;
	static const struct {
		int fmt;
		int bits;
	} formats[] = {
		{ S1FMT_4K, 6 },
		{ S1FMT_64K, 10 },
	};
	__u32 hwpt;
	size_t i, j;

	ASSERT_EQ(0, guest_map(&vm->g, HOLE_IPA, HOLE_SIZE, true));
	for (i = 0; i != HOLE_SIZE; i += 8)
		guest_write64(&vm->g, HOLE_IPA + i, 0);
	for (i = 0; i != ARRAY_SIZE(formats); i++) {
		const __u32 first = 3 << formats[i].bits;

		for (j = 0; j != 8; j++)
			guest_write64(&vm->g, l1 + 8 * j, 0);
		/* Only PASIDs from first on have CDs, at the end of the leaf */
		guest_write64(&vm->g, l1 + 8 * 3, leaf | L1CD_V);
		cds_write(vm, leaf + CD_SIZE * ((1 << formats[i].bits) - NUM),
			  self->ttb);
		ASSERT_EQ(0, vm_hwpt(vm, ste_cds(l1, formats[i].bits + 3,
						 formats[i].fmt,
						 S1DSS_TERMINATE),
				     &hwpt));
		ASSERT_EQ(0, edu_attach(&vm->dev, hwpt));
		for (j = 0; j != NUM; j++) {
			__u32 pasid = first + (1 << formats[i].bits) - NUM + j;

			EXPECT_EQ(self->page[j], pasid_lands(vm, pasid, IOVA_A));
		}
		/* No leaf, and a leaf without this CD */
		use_pasid(&vm->dev, first - 1);
		fault(&vm->dev, IOVA_A, false);
		expect_event(_metadata, self->queue, self->sequence++,
			     EVT_BAD_SUBSTREAMID | EVT0_SSID(first - 1), VSID,
			     0, 0);
		use_pasid(&vm->dev, first);
		fault(&vm->dev, IOVA_A, false);
		expect_event(_metadata, self->queue, self->sequence++,
			     EVT_BAD_CD | EVT0_SSV | EVT0_SSID(first), VSID, 0,
			     0);
		ASSERT_EQ(0, edu_attach(&vm->dev, self->hwpt));
	}
}

/* S1DSS decides on DMA without a PASID */
TEST_F(ssid, s1dss)
{
	struct vm *vm = &self->vm;
	__u64 b = guest_page(&vm->g);
	__u32 terminate, bypass;

	ASSERT_EQ(0, vm_hwpt(vm, ste_cds(self->table, S1CDMAX, S1FMT_LINEAR,
					 S1DSS_TERMINATE),
			     &terminate));
	ASSERT_EQ(0, vm_hwpt(vm, ste_cds(self->table, S1CDMAX, S1FMT_LINEAR,
					 S1DSS_BYPASS),
			     &bypass));

	/* While CD 0 is for DMA without a PASID, PASID 0 cannot use it */
	use_pasid(&vm->dev, 0);
	fault(&vm->dev, IOVA_A, false);
	expect_event(_metadata, self->queue, self->sequence++,
		     EVT_STREAM_DISABLED | EVT0_SSV, VSID, 0, 0);

	ASSERT_EQ(0, edu_attach(&vm->dev, terminate));
	use_no_pasid(&vm->dev);
	fault(&vm->dev, IOVA_A, false);
	expect_event(_metadata, self->queue, self->sequence++,
		     EVT_STREAM_DISABLED, VSID, 0, 0);
	EXPECT_EQ(self->page[1], pasid_lands(vm, 1, IOVA_A));
	use_pasid(&vm->dev, 0);
	EXPECT_EQ(self->page[0], vm_lands(vm, IOVA_A));

	ASSERT_EQ(0, edu_attach(&vm->dev, bypass));
	EXPECT_EQ(b, pasid_lands(vm, 0, b));
	EXPECT_EQ(NOWHERE, pasid_lands(vm, 0, IOVA_A));
	EXPECT_EQ(self->page[1], pasid_lands(vm, 1, IOVA_A));
	expect_no_event(_metadata, self->queue);
}

/* Events of a PASID have its number, and the vSID of the device */
TEST_F(ssid, events)
{
	struct vm *vm = &self->vm;
	__u32 bypass;
	int rw;

	for (rw = 0; rw != 2; rw++) {
		__u64 word_1 = EVT1_CLASS_IN | (rw ? EVT1_RNW : 0);

		use_pasid(&vm->dev, 1);
		fault(&vm->dev, IOVA_B, rw);
		expect_event(_metadata, self->queue, self->sequence++,
			     EVT_TRANSLATION | EVT0_SSV | EVT0_SSID(1), VSID,
			     word_1, IOVA_B);
		use_no_pasid(&vm->dev);
		fault(&vm->dev, IOVA_B, rw);
		expect_event(_metadata, self->queue, self->sequence++,
			     EVT_TRANSLATION, VSID, word_1, IOVA_B);
	}

	/* In the table, but not valid; and behind the end of the table */
	use_pasid(&vm->dev, NUM);
	fault(&vm->dev, IOVA_A, false);
	expect_event(_metadata, self->queue, self->sequence++,
		     EVT_BAD_CD | EVT0_SSV | EVT0_SSID(NUM), VSID, 0, 0);
	use_pasid(&vm->dev, 1 << S1CDMAX);
	fault(&vm->dev, IOVA_A, false);
	expect_event(_metadata, self->queue, self->sequence++,
		     EVT_BAD_SUBSTREAMID | EVT0_SSID(1 << S1CDMAX), VSID, 0, 0);

	/* A guest without stage 1, and one without substreams */
	ASSERT_EQ(0, vm_hwpt(vm, ste_bypass(), &bypass));
	ASSERT_EQ(0, edu_attach(&vm->dev, bypass));
	use_pasid(&vm->dev, 1);
	fault(&vm->dev, IOVA_A, false);
	expect_event(_metadata, self->queue, self->sequence++,
		     EVT_BAD_SUBSTREAMID | EVT0_SSID(1), VSID, 0, 0);
	ASSERT_EQ(0, edu_attach(&vm->dev, vm->v.hwpt_s1));
	fault(&vm->dev, IOVA_A, false);
	expect_event(_metadata, self->queue, self->sequence++,
		     EVT_BAD_SUBSTREAMID | EVT0_SSID(1), VSID, 0, 0);
	expect_no_event(_metadata, self->queue);
	EXPECT_EQ(0, klog_count(HOST_EVENT));
}

/* More CDs than the SMMU has substreams: ILLEGAL, and reported once */
TEST_F(ssid, bad_ste)
{
	struct vm *vm = &self->vm;
	int most = IDR1_SSIDSIZE(vm->dev.info.idr[1]);
	__u32 good, bad;

	ASSERT_EQ(0, vm_hwpt(vm, ste_cds(self->table, most, S1FMT_LINEAR,
					 S1DSS_SSID0),
			     &good));
	ASSERT_EQ(0, vm_hwpt(vm, ste_cds(self->table, most + 1, S1FMT_LINEAR,
					 S1DSS_SSID0),
			     &bad));
	ASSERT_EQ(0, edu_attach(&vm->dev, good));
	expect_all(_metadata, vm, self->page);
	ASSERT_EQ(0, edu_attach(&vm->dev, bad));
	expect_event(_metadata, self->queue, self->sequence++, EVT_BAD_STE,
		     VSID, 0, 0);
	EXPECT_EQ(NOWHERE, pasid_lands(vm, 1, IOVA_A));
	EXPECT_EQ(NOWHERE, pasid_lands(vm, 0, IOVA_A));
	expect_no_event(_metadata, self->queue);
}

/* ATC_INV with a PASID, for all PASIDs, and for the whole device */
TEST_F(ssid, atc_inv)
{
	struct vm *vm = &self->vm;
	struct smmu_cmd inv = cmd_atc_inv(VSID, IOVA_A, 0);
	__u64 new[NUM];
	int i, n;

	if (!(vm->dev.info.idr[0] & IDR0_ATS))
		SKIP(return, "this SMMU has no ATS");
	vm->dev.dma_flags = EDU_DMA_ATS;
	for (n = 0; n != 2; n++) {
		expect_all(_metadata, vm, self->page);
		for (i = 0; i != NUM; i++) {
			new[i] = guest_page(&vm->g);
			s1_map(&vm->g, self->ttb[i], IOVA_A, new[i], S1_RW);
		}
		ASSERT_EQ(0, vm_cmd(vm, cmd_nsnh_all()));
		expect_all(_metadata, vm, self->page);

		ASSERT_EQ(0, vm_cmd(vm, cmd_with_ssid(inv, 2)));
		self->page[2] = new[2];
		expect_all(_metadata, vm, self->page);
		if (n) {
			inv = cmd_with_ssid(inv, 2);
			inv.cmd[0] |= htole64(CMD0_GLOBAL);
			ASSERT_EQ(0, vm_cmd(vm, inv));
			self->page[1] = new[1];
			self->page[3] = new[3];
			expect_all(_metadata, vm, self->page);
		}
		/* Without a PASID, it is for DMA with any PASID, or without */
		ASSERT_EQ(0, vm_cmd(vm, cmd_atc_inv(VSID, IOVA_A, 0)));
		expect_all(_metadata, vm, new);
		memcpy(self->page, new, sizeof(new));
	}
}

/* Stage 2 is the same for all PASIDs, also in the ATC */
TEST_F(ssid, stage2_unmap)
{
	struct vm *vm = &self->vm;
	int ats, i;

	for (ats = 0; ats != 2; ats++) {
		if (ats && !(vm->dev.info.idr[0] & IDR0_ATS))
			break;
		ASSERT_EQ(0, guest_map(&vm->g, HOLE_IPA, HOLE_SIZE, true));
		vm->dev.dma_flags = ats ? EDU_DMA_ATS : 0;
		for (i = 0; i != NUM; i++)
			s1_map(&vm->g, self->ttb[i], IOVA_B, HOLE_IPA, S1_RW);
		for (i = 0; i != NUM; i++)
			EXPECT_EQ(HOLE_IPA, pasid_lands(vm, i, IOVA_B));
		ASSERT_EQ(0, guest_unmap(&vm->g, HOLE_IPA));
		for (i = 0; i != NUM; i++)
			EXPECT_EQ(NOWHERE, pasid_lands(vm, i, IOVA_B));
	}
}

/* PASIDs that are attached by the VMM. Each domain has memory of its own */
FIXTURE(pasid)
{
	struct edu dev;
	int fd;
	struct guest g[3];
	__u32 hwpt[3];
};

FIXTURE_VARIANT(pasid)
{
	bool ats;
};

FIXTURE_VARIANT_ADD(pasid, untranslated)
{
	.ats = false,
};

FIXTURE_VARIANT_ADD(pasid, ats)
{
	.ats = true,
};

FIXTURE_SETUP(pasid)
{
	char bdf[16], why[128];
	__u64 page;
	int i;

	if (edu_find(bdf, why, sizeof(why)))
		SKIP(return, "%s", why);
	klog_mark(_metadata->name);
	self->fd = iommufd_open();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, edu_open(&self->dev, bdf, self->fd));
	if (!has_pasids(&self->dev))
		SKIP(return, "no substreams");
	if (variant->ats) {
		if (!(self->dev.info.idr[0] & IDR0_ATS) ||
		    !pci_has_ext_cap(bdf, PCI_EXT_CAP_ID_ATS))
			SKIP(return, "no ATS");
		self->dev.dma_flags = EDU_DMA_ATS;
	}
	for (i = 0; i != 3; i++) {
		ASSERT_EQ(0, guest_init(&self->g[i], self->fd));
		ASSERT_EQ(0, hwpt_alloc(self->fd, self->dev.dev_id,
					self->g[i].ioas_id,
					IOMMU_HWPT_ALLOC_PASID,
					IOMMU_HWPT_DATA_NONE, NULL, 0,
					&self->hwpt[i]));
	}
	ASSERT_EQ(0, edu_attach(&self->dev, self->hwpt[0]));
	page = guest_page(&self->g[0]);
	edu_load(&self->dev, &self->g[0], page, page);
	ASSERT_EQ(0, edu_attach_pasid(&self->dev, 1, self->hwpt[1]));
	ASSERT_EQ(0, edu_attach_pasid(&self->dev, 5, self->hwpt[2]));
}

FIXTURE_TEARDOWN(pasid)
{
	edu_close(&self->dev);
	close(self->fd);
	expect_clean_klog(_metadata);
}

/* All domains have the same addresses, but different memory */
static bool reaches(struct edu *dev, struct guest *g, __u32 pasid)
{
	__u64 page = guest_page(g);

	use_no_pasid(dev);
	if (pasid)
		use_pasid(dev, pasid);
	return lands(dev, g, page) == page;
}

static bool reaches_nothing(struct edu *dev, struct guest *g, __u32 pasid)
{
	use_no_pasid(dev);
	if (pasid)
		use_pasid(dev, pasid);
	return lands(dev, g, guest_page(g)) == NOWHERE;
}

TEST_F(pasid, dma)
{
	struct edu *dev = &self->dev;
	int i;

	for (i = 0; i != 2; i++) {
		EXPECT_TRUE(reaches(dev, &self->g[0], 0));
		EXPECT_TRUE(reaches(dev, &self->g[1], 1));
		EXPECT_TRUE(reaches(dev, &self->g[2], 5));
		EXPECT_TRUE(reaches_nothing(dev, &self->g[0], 2));
		EXPECT_TRUE(edu_failed(dev));
	}
}

TEST_F(pasid, replace_and_detach)
{
	struct edu *dev = &self->dev;

	EXPECT_TRUE(reaches(dev, &self->g[1], 1));
	EXPECT_TRUE(reaches(dev, &self->g[2], 5));
	ASSERT_EQ(0, edu_attach_pasid(dev, 1, self->hwpt[2]));
	EXPECT_TRUE(reaches(dev, &self->g[2], 1));
	EXPECT_TRUE(reaches(dev, &self->g[2], 5));
	ASSERT_EQ(0, edu_detach_pasid(dev, 1));
	EXPECT_TRUE(reaches_nothing(dev, &self->g[2], 1));
	EXPECT_TRUE(reaches(dev, &self->g[2], 5));
	EXPECT_TRUE(reaches(dev, &self->g[0], 0));
}

/* The RID can be detached without its PASIDs, and vice versa */
TEST_F(pasid, without_rid)
{
	struct edu *dev = &self->dev;

	ASSERT_EQ(0, edu_detach(dev));
	EXPECT_TRUE(reaches(dev, &self->g[1], 1));
	EXPECT_TRUE(reaches_nothing(dev, &self->g[0], 0));
	ASSERT_EQ(0, edu_attach(dev, self->hwpt[2]));
	EXPECT_TRUE(reaches(dev, &self->g[2], 0));
	EXPECT_TRUE(reaches(dev, &self->g[1], 1));
	ASSERT_EQ(0, edu_detach_pasid(dev, 1));
	ASSERT_EQ(0, edu_detach_pasid(dev, 5));
	EXPECT_TRUE(reaches_nothing(dev, &self->g[1], 1));
	EXPECT_TRUE(reaches(dev, &self->g[2], 0));
}

/* An unmap reaches the PASIDs of the domain, in the TLB and in the ATC */
TEST_F(pasid, unmap)
{
	struct edu *dev = &self->dev;
	struct guest *g = &self->g[1];
	__u64 hit, inv;

	ASSERT_EQ(0, guest_map(g, HOLE_IPA, HOLE_SIZE, true));
	use_pasid(dev, 1);
	EXPECT_EQ(HOLE_IPA, lands(dev, g, HOLE_IPA));
	hit = edu_reg(dev, EDU_REG_ATC_HITS);
	EXPECT_EQ(HOLE_IPA, lands(dev, g, HOLE_IPA));
	EXPECT_EQ(hit + variant->ats, edu_reg(dev, EDU_REG_ATC_HITS));
	inv = edu_reg(dev, EDU_REG_ATC_INVS);
	ASSERT_EQ(0, guest_unmap(g, HOLE_IPA));
	if (variant->ats)
		EXPECT_LT(inv, edu_reg(dev, EDU_REG_ATC_INVS));
	EXPECT_EQ(NOWHERE, lands(dev, g, HOLE_IPA));
}

/* A device is either the guest's with all its PASIDs, or the VMM's */
TEST_F(pasid, not_below_a_guest)
{
	struct edu *dev = &self->dev;
	__u32 s2;

	if (!(dev->info.idr[0] & IDR0_S2P))
		SKIP(return, "no stage 2");
	ASSERT_EQ(0, hwpt_alloc(self->fd, dev->dev_id, self->g[0].ioas_id,
				IOMMU_HWPT_ALLOC_NEST_PARENT,
				IOMMU_HWPT_DATA_NONE, NULL, 0, &s2));
	EXPECT_EQ(-EINVAL, edu_attach(dev, s2));
	EXPECT_TRUE(reaches(dev, &self->g[0], 0));
	EXPECT_TRUE(reaches(dev, &self->g[1], 1));
	EXPECT_TRUE(reaches(dev, &self->g[2], 5));
	ASSERT_EQ(0, edu_detach_pasid(dev, 1));
	ASSERT_EQ(0, edu_detach_pasid(dev, 5));
	ASSERT_EQ(0, edu_attach(dev, s2));
	EXPECT_EQ(-EINVAL, edu_attach_pasid(dev, 1, self->hwpt[1]));
	EXPECT_TRUE(reaches(dev, &self->g[0], 0));
}

static int pasid_info(int fd, const char *bdf, __u8 *log2, __u64 *caps)
{
	struct iommu_hw_info cmd = { .size = sizeof(cmd) };
	static struct edu dev;
	int rc;

	rc = device_open(&dev, bdf, fd);
	if (rc)
		return rc;
	cmd.dev_id = dev.dev_id;
	rc = iommufd_ioctl(fd, IOMMU_GET_HW_INFO, &cmd);
	edu_close(&dev);
	*log2 = cmd.out_max_pasid_log2;
	*caps = cmd.out_capabilities & (IOMMU_HW_CAP_PCI_PASID_EXEC |
					IOMMU_HW_CAP_PCI_PASID_PRIV);
	return rc;
}

/*
 * A device behind a port without ACS, with which it shares its group, cannot
 * use the PASIDs that its configuration space and the SMMU have.
 */
TEST(pasids_not_enabled)
{
	char bdfs[MAX_DEVICES][BDF_LEN], why[128];
	int fd = iommufd_open();
	unsigned int num;
	__u64 caps;
	__u8 log2;

	ASSERT_LE(0, fd);
	num = pci_list_vfio(EDU_ID, 2, bdfs, why, sizeof(why));
	if (!num)
		SKIP(return, "%s", why);
	ASSERT_TRUE(pci_has_ext_cap(bdfs[0], PCI_EXT_CAP_ID_PASID));
	ASSERT_EQ(0, pasid_info(fd, bdfs[0], &log2, &caps));
	EXPECT_EQ(0, log2);
	EXPECT_EQ(0, caps);

	ASSERT_EQ(0, device_find(EDU_ID, bdfs[0], why, sizeof(why))) {
		TH_LOG("%s", why);
	}
	ASSERT_EQ(0, pasid_info(fd, bdfs[0], &log2, &caps));
	EXPECT_EQ(16, log2);
	close(fd);
}

TEST_HARNESS_MAIN
