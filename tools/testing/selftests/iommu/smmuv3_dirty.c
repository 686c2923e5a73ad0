// SPDX-License-Identifier: GPL-2.0-only
/*
 * Dirty tracking on an SMMU with HTTU, judged by DMA: of stage 1 of the host, also for
 * a PASID, and of a nesting parent, below the stage 1 of a guest and without it
 *
 * The bitmap must have the pages that the device has written, and no others. The
 * exception are pages with structures of the guest: the SMMU may mark those of
 * its tables dirty when it walks them (Arm IHI 0070, 3.13.4).
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <linux/memfd.h>

#include "lib/clock.h"
#include "smmuv3_vm.h"

#define NPAGES		16
#define ALL_PAGES	((1U << NPAGES) - 1)

/* IOVAs of the guest differ from IPAs */
#define IOVA_OF(i)	(IOVA_A + (i) * 3 * GUEST_PAGE)

#define NO_CLEAR	IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR

#define PASID		5

enum mode {
	/* Stage 1 of the host, for the RID or for a PASID alone */
	HOST,
	HOST_PASID,
	/* The nesting parent, without a guest */
	PARENT,
	/* The guest's STE has a bypass, or stage 1 */
	BYPASS,
	NESTED,
};

struct tracked {
	struct vm vm;
	enum mode mode;
	/* The HWPT with the dirty state, and those to attach to */
	__u32 hwpt_id;
	__u32 attach_id;
	__u64 ipa[NPAGES];
	__u64 iova[NPAGES];
};

static int capabilities(int fd, __u32 dev_id, __u64 *caps)
{
	struct iommu_hw_info cmd = {
		.size = sizeof(cmd),
		.dev_id = dev_id,
	};
	int rc = iommufd_ioctl(fd, IOMMU_GET_HW_INFO, &cmd);

	*caps = cmd.out_capabilities;
	return rc;
}

/* The memory of the guest, and the HWPT that maps it */
static void memory_start(struct __test_metadata *_metadata, struct tracked *t,
			 bool small_pages)
{
	struct guest *g = &t->vm.g;
	struct edu *dev = &t->vm.dev;
	__u32 flags = IOMMU_HWPT_ALLOC_DIRTY_TRACKING;
	__u64 caps;
	int i;

	ASSERT_EQ(0, capabilities(t->vm.fd, dev->dev_id, &caps));
	if (!(caps & IOMMU_HW_CAP_DIRTY_TRACKING))
		SKIP(return, "this SMMU does not track dirty pages");
	if (t->mode == HOST_PASID)
		flags |= IOMMU_HWPT_ALLOC_PASID;
	if (t->mode >= PARENT) {
		if (!smmu_can_nest(&dev->info))
			SKIP(return, "this host cannot nest");
		flags |= IOMMU_HWPT_ALLOC_NEST_PARENT;
	}
	ASSERT_EQ(0, guest_init(g, t->vm.fd));
	if (small_pages)
		ASSERT_EQ(0, ioas_small_pages(t->vm.fd, g->ioas_id));
	ASSERT_EQ(0, hwpt_alloc(t->vm.fd, dev->dev_id, g->ioas_id, flags,
				IOMMU_HWPT_DATA_NONE, NULL, 0, &t->hwpt_id));
	g->s2_id = t->hwpt_id;
	g->nest_parent = t->mode >= PARENT;
	t->attach_id = t->hwpt_id;
	for (i = 0; i != NPAGES; i++) {
		t->ipa[i] = guest_page(g);
		t->iova[i] = t->ipa[i];
	}
}

static void tracked_start(struct __test_metadata *_metadata, struct tracked *t,
			  enum mode mode, bool ats, bool small_pages)
{
	struct vm *vm = &t->vm;
	char bdf[BDF_LEN], why[128];
	struct iommu_hwpt_arm_smmuv3 ste;
	__u64 page;
	int i;

	t->mode = mode;
	if (edu_find(bdf, why, sizeof(why)))
		SKIP(return, "%s", why);
	klog_mark(_metadata->name);
	vm->fd = iommufd_open();
	ASSERT_LE(0, vm->fd);
	ASSERT_EQ(0, edu_open(&vm->dev, bdf, vm->fd));
	if (ats && !(vm->dev.info.idr[0] & IDR0_ATS))
		SKIP(return, "this SMMU has no ATS");
	if (ats && !edu_is_pcie(&vm->dev))
		SKIP(return, "this edu has no ATS");
	if (mode == HOST_PASID && (!IDR1_SSIDSIZE(vm->dev.info.idr[1]) ||
				   !edu_is_pcie(&vm->dev)))
		SKIP(return, "no substreams");
	memory_start(_metadata, t, small_pages);
	if (_metadata->exit_code)
		return;
	ASSERT_EQ(0, edu_attach(&vm->dev, t->attach_id));
	page = guest_page(&vm->g);
	edu_load(&vm->dev, &vm->g, page, page);

	if (mode >= BYPASS) {
		vsmmu_start(_metadata, &vm->v, &vm->g, &vm->dev, VSID);
		if (_metadata->exit_code)
			return;
		for (i = 0; i != NPAGES && mode == NESTED; i++) {
			t->iova[i] = IOVA_OF(i);
			vm_map(vm, t->iova[i], t->ipa[i]);
		}
		ste = mode == NESTED ? ste_s1(vm->v.cd) : ste_bypass();
		if (ats)
			ste.ste[1] |= htole64(STE1_EATS(1));
		ASSERT_EQ(0, vm_hwpt(vm, ste, &t->attach_id));
		ASSERT_EQ(0, edu_attach(&vm->dev, t->attach_id));
	}
	if (mode == HOST_PASID) {
		ASSERT_EQ(0, edu_detach(&vm->dev));
		ASSERT_EQ(0, edu_attach_pasid(&vm->dev, PASID, t->hwpt_id));
		edu_set_reg(&vm->dev, EDU_REG_PASID, PASID);
		vm->dev.dma_flags |= EDU_DMA_PASID;
	}
	if (ats)
		vm->dev.dma_flags |= EDU_DMA_ATS;
}

/* The dirty pages of guest RAM, as a bit for each page */
static int query(struct tracked *t, __u32 flags, __u64 *bitmap)
{
	memset(bitmap, 0, GUEST_RAM_PAGES / 8);
	return hwpt_dirty_bitmap(t->vm.fd, t->hwpt_id, flags, GUEST_RAM_IPA,
				 GUEST_RAM_SIZE, GUEST_PAGE, bitmap);
}

static bool in_bitmap(const __u64 *bitmap, __u64 ipa)
{
	__u64 n = (ipa - GUEST_RAM_IPA) / GUEST_PAGE;

	return bitmap[n / 64] >> (n % 64) & 1;
}

/* The dirty pages among the pages for DMA */
static __u32 dirty_pages(struct tracked *t, const __u64 *bitmap)
{
	__u32 pages = 0;
	int i;

	for (i = 0; i != NPAGES; i++)
		pages |= (__u32)in_bitmap(bitmap, t->ipa[i]) << i;
	return pages;
}

static bool may_be_table(struct tracked *t, unsigned int n)
{
	int i;

	if (t->mode != NESTED || !t->vm.g.used[n])
		return false;
	for (i = 0; i != NPAGES; i++)
		if (t->ipa[i] == GUEST_RAM_IPA + n * GUEST_PAGE)
			return false;
	return true;
}

/* Query, and expect exactly these of the pages for DMA */
static void expect_dirty(struct __test_metadata *_metadata, struct tracked *t,
			 __u32 flags, __u32 pages)
{
	__u64 bitmap[GUEST_RAM_PAGES / 64];
	unsigned int n, others = 0;

	ASSERT_EQ(0, query(t, flags, bitmap));
	EXPECT_EQ(pages, dirty_pages(t, bitmap));
	for (n = 0; n != GUEST_RAM_PAGES; n++)
		others += !may_be_table(t, n) && (bitmap[n / 64] >> (n % 64) & 1);
	EXPECT_EQ(__builtin_popcount(pages), others);
}

/* The device writes to these pages, and nowhere else */
static void write_pages(struct __test_metadata *_metadata, struct tracked *t,
			__u32 pages)
{
	int i;

	for (i = 0; i != NPAGES; i++)
		if (pages & 1U << i)
			EXPECT_EQ(t->ipa[i], vm_lands(&t->vm, t->iova[i]));
}

FIXTURE(dirty)
{
	struct tracked t;
};

FIXTURE_VARIANT(dirty)
{
	enum mode mode;
	bool ats;
};

FIXTURE_VARIANT_ADD(dirty, host)
{
	.mode = HOST,
};

FIXTURE_VARIANT_ADD(dirty, pasid)
{
	.mode = HOST_PASID,
};

FIXTURE_VARIANT_ADD(dirty, parent)
{
	.mode = PARENT,
};

FIXTURE_VARIANT_ADD(dirty, bypass)
{
	.mode = BYPASS,
};

FIXTURE_VARIANT_ADD(dirty, nested)
{
	.mode = NESTED,
};

FIXTURE_VARIANT_ADD(dirty, host_ats)
{
	.mode = HOST,
	.ats = true,
};

FIXTURE_VARIANT_ADD(dirty, pasid_ats)
{
	.mode = HOST_PASID,
	.ats = true,
};

FIXTURE_VARIANT_ADD(dirty, parent_ats)
{
	.mode = PARENT,
	.ats = true,
};

FIXTURE_VARIANT_ADD(dirty, nested_ats)
{
	.mode = NESTED,
	.ats = true,
};

FIXTURE_SETUP(dirty)
{
	tracked_start(_metadata, &self->t, variant->mode, variant->ats, true);
}

FIXTURE_TEARDOWN(dirty)
{
	vm_stop(_metadata, &self->t.vm);
}

TEST_F(dirty, track)
{
	struct tracked *t = &self->t;
	int fd = t->vm.fd;

	/* Enabling makes all pages clean, including those written before */
	write_pages(_metadata, t, 0x1);
	ASSERT_EQ(0, hwpt_track_dirty(fd, t->hwpt_id, true));
	expect_dirty(_metadata, t, 0, 0);

	write_pages(_metadata, t, 0x3);
	expect_dirty(_metadata, t, 0, 0x3);
	expect_dirty(_metadata, t, 0, 0);

	/* NO_CLEAR changes nothing, neither in the tables nor in the caches */
	write_pages(_metadata, t, 0x5);
	expect_dirty(_metadata, t, NO_CLEAR, 0x5);
	expect_dirty(_metadata, t, NO_CLEAR, 0x5);
	write_pages(_metadata, t, 0xa);
	expect_dirty(_metadata, t, NO_CLEAR, 0xf);
	expect_dirty(_metadata, t, 0, 0xf);
	expect_dirty(_metadata, t, NO_CLEAR, 0);

	/* A read does not make a page dirty, even if the page is writeable */
	EXPECT_TRUE(edu_read_gets(&t->vm.dev, &t->vm.g, t->iova[4], t->ipa[4],
				  t->iova[5], t->ipa[5]));
	expect_dirty(_metadata, t, 0, 0x20);
	/* Write to a page whose translation is cached since a read */
	write_pages(_metadata, t, 0x10);
	expect_dirty(_metadata, t, 0, 0x10);

	ASSERT_EQ(0, hwpt_track_dirty(fd, t->hwpt_id, false));
	write_pages(_metadata, t, 0xff);
	ASSERT_EQ(0, hwpt_track_dirty(fd, t->hwpt_id, true));
	expect_dirty(_metadata, t, 0, 0);
	write_pages(_metadata, t, 0x81);
	expect_dirty(_metadata, t, 0, 0x81);
}

/* The RID and PASIDs share a HWPT, and what any of them writes is dirty */
FIXTURE(dirty_shared)
{
	struct tracked t;
};

FIXTURE_VARIANT(dirty_shared)
{
	bool ats;
};

FIXTURE_VARIANT_ADD(dirty_shared, plain)
{
};

FIXTURE_VARIANT_ADD(dirty_shared, ats)
{
	.ats = true,
};

FIXTURE_SETUP(dirty_shared)
{
	tracked_start(_metadata, &self->t, HOST_PASID, variant->ats, true);
}

FIXTURE_TEARDOWN(dirty_shared)
{
	vm_stop(_metadata, &self->t.vm);
}

TEST_F(dirty_shared, track)
{
	struct tracked *t = &self->t;
	struct edu *dev = &t->vm.dev;
	__u64 ats = dev->dma_flags & EDU_DMA_ATS;
	int i;

	ASSERT_EQ(0, edu_attach(dev, t->hwpt_id));
	ASSERT_EQ(0, edu_attach_pasid(dev, PASID + 1, t->hwpt_id));
	ASSERT_EQ(0, hwpt_track_dirty(t->vm.fd, t->hwpt_id, true));
	for (i = 0; i != 3; i++) {
		/* From the second turn on, all of them have pages 0 and 2 in their caches */
		dev->dma_flags = ats | EDU_DMA_PASID;
		edu_set_reg(dev, EDU_REG_PASID, PASID);
		write_pages(_metadata, t, 0x07);
		edu_set_reg(dev, EDU_REG_PASID, PASID + 1);
		write_pages(_metadata, t, 0x1d);
		dev->dma_flags = ats;
		write_pages(_metadata, t, 0x75);
		expect_dirty(_metadata, t, NO_CLEAR, 0x7f);
		expect_dirty(_metadata, t, 0, 0x7f);
		expect_dirty(_metadata, t, 0, 0);
		/* A page that all of them have written, by the RID and by a PASID */
		write_pages(_metadata, t, 0x1);
		expect_dirty(_metadata, t, 0, 0x1);
		dev->dma_flags = ats | EDU_DMA_PASID;
		write_pages(_metadata, t, 0x4);
		expect_dirty(_metadata, t, 0, 0x4);
	}
	/* A PASID that is gone has left its pages dirty */
	write_pages(_metadata, t, 0x100);
	ASSERT_EQ(0, edu_detach_pasid(dev, PASID + 1));
	EXPECT_EQ(NOWHERE, vm_lands(&t->vm, t->iova[9]));
	expect_dirty(_metadata, t, 0, 0x100);
	edu_set_reg(dev, EDU_REG_PASID, PASID);
	write_pages(_metadata, t, 0x200);
	expect_dirty(_metadata, t, 0, 0x200);
}

/* The translations of the pages are still cached when they are made clean */
TEST_F(dirty, write_again)
{
	struct tracked *t = &self->t;
	int i;

	write_pages(_metadata, t, ALL_PAGES);
	ASSERT_EQ(0, hwpt_track_dirty(t->vm.fd, t->hwpt_id, true));
	for (i = 0; i != 20; i++) {
		__u32 pages = random_u64() & random_u64() & ALL_PAGES;

		write_pages(_metadata, t, pages);
		expect_dirty(_metadata, t, 0, pages);
	}
	expect_dirty(_metadata, t, 0, 0);
}

/* The bits may stand for several pages, and the bitmap need not begin with 0 */
TEST_F(dirty, bitmap)
{
	struct tracked *t = &self->t;
	__u64 bitmap[2] = { 1, BIT_ULL(63) };
	__u64 want = 0;
	int i;

	ASSERT_EQ(0, hwpt_track_dirty(t->vm.fd, t->hwpt_id, true));
	write_pages(_metadata, t, 0xf0);
	for (i = 4; i != 8; i++)
		want |= BIT_ULL((t->ipa[i] - GUEST_RAM_IPA) / 0x8000);
	ASSERT_EQ(0, hwpt_dirty_bitmap(t->vm.fd, t->hwpt_id, NO_CLEAR,
				       GUEST_RAM_IPA, GUEST_RAM_SIZE, 0x8000,
				       bitmap));
	EXPECT_EQ(want | 1, bitmap[0] & (want | 1));
	/* The tables of a guest may be dirty, too */
	if (t->mode != NESTED)
		EXPECT_EQ(want | 1, bitmap[0]);
	EXPECT_EQ(BIT_ULL(63), bitmap[1]);

	/* A part of the memory: the rest stays as it is */
	memset(bitmap, 0, sizeof(bitmap));
	ASSERT_EQ(0, hwpt_dirty_bitmap(t->vm.fd, t->hwpt_id, 0, t->ipa[5],
				       GUEST_PAGE, GUEST_PAGE, bitmap));
	EXPECT_EQ(1, bitmap[0]);
	expect_dirty(_metadata, t, 0, 0xd0);
}

/*
 * Migration: copy the pages that are dirty while the device writes to them. When
 * it has stopped, the copy must be the same as the memory.
 */
#define MANY_WRITES	1500

static int write_any(struct worker *w)
{
	struct tracked *t = w->data;
	unsigned int i = random_u64() % NPAGES;
	unsigned int at = random_u64() % (GUEST_PAGE / 64) * 64;
	unsigned int offset = random_u64() % (EDU_BUF_SIZE / 64) * 64;

	edu_write(&t->vm.dev, t->iova[i] + at, offset, 64);
	w->missed += edu_failed(&t->vm.dev);
	return 0;
}

static int switch_domain(struct worker *w)
{
	struct tracked *t = w->data;

	return edu_attach(&t->vm.dev, w->ids[w->turns & 1]);
}

static void copy_dirty(struct __test_metadata *_metadata, struct tracked *t,
		       __u8 (*copy)[GUEST_PAGE], unsigned int *copied)
{
	__u64 bitmap[GUEST_RAM_PAGES / 64];
	__u32 pages;
	int i;

	ASSERT_EQ(0, query(t, 0, bitmap));
	pages = dirty_pages(t, bitmap);
	for (i = 0; i != NPAGES; i++) {
		if (!(pages & 1U << i))
			continue;
		memcpy(copy[i], guest_ptr(&t->vm.g, t->ipa[i]), GUEST_PAGE);
		++*copied;
	}
}

static void migrate(struct __test_metadata *_metadata, struct tracked *t,
		    struct worker *other)
{
	struct worker w = { .once = write_any, .data = t };
	static __u8 copy[NPAGES][GUEST_PAGE];
	unsigned int copied = 0;
	double end = now() + 240;
	int i;

	write_pages(_metadata, t, ALL_PAGES);
	ASSERT_EQ(0, hwpt_track_dirty(t->vm.fd, t->hwpt_id, true));
	for (i = 0; i != NPAGES; i++)
		memcpy(copy[i], guest_ptr(&t->vm.g, t->ipa[i]), GUEST_PAGE);

	worker_start(_metadata, &w);
	if (other)
		worker_start(_metadata, other);
	/* Many pages are written again after they have been read */
	while ((worker_turns(&w) < MANY_WRITES || copied <= 2 * NPAGES) &&
	       now() < end)
		copy_dirty(_metadata, t, copy, &copied);
	if (other)
		worker_stop(_metadata, other);
	worker_stop(_metadata, &w);
	copy_dirty(_metadata, t, copy, &copied);

	EXPECT_LE(MANY_WRITES, w.turns);
	EXPECT_LT(2 * NPAGES, copied);
	for (i = 0; i != NPAGES; i++) {
		EXPECT_EQ(0, memcmp(copy[i], guest_ptr(&t->vm.g, t->ipa[i]),
				    GUEST_PAGE)) {
			TH_LOG("page %d was written and not reported", i);
		}
		guest_expect(&t->vm.g, t->ipa[i],
			     guest_ptr(&t->vm.g, t->ipa[i]), GUEST_PAGE);
	}
	if (!other || !t->vm.dev.dma_flags)
		EXPECT_EQ(0, w.missed);
	expect_dirty(_metadata, t, 0, 0);
}

TEST_F_TIMEOUT(dirty, migrate, 300)
{
	migrate(_metadata, &self->t, NULL);
}

/* The same while the guest changes its STE, which may interrupt ATS */
FIXTURE(dirty_attach)
{
	struct tracked t;
};

FIXTURE_VARIANT(dirty_attach)
{
	bool ats;
};

FIXTURE_VARIANT_ADD(dirty_attach, plain)
{
};

FIXTURE_VARIANT_ADD(dirty_attach, ats)
{
	.ats = true,
};

FIXTURE_SETUP(dirty_attach)
{
	tracked_start(_metadata, &self->t, NESTED, variant->ats, true);
}

FIXTURE_TEARDOWN(dirty_attach)
{
	vm_stop(_metadata, &self->t.vm);
}

TEST_F_TIMEOUT(dirty_attach, migrate, 300)
{
	struct tracked *t = &self->t;
	struct worker other = {
		.once = switch_domain,
		.data = t,
		.ids = { t->attach_id, t->hwpt_id },
	};
	int i;

	for (i = 0; i != NPAGES; i++) {
		vm_map(&t->vm, t->ipa[i], t->ipa[i]);
		t->iova[i] = t->ipa[i];
	}
	migrate(_metadata, t, &other);
}

/* The SMMU changes the tables of the guest, so their pages are dirty */
FIXTURE(dirty_tables)
{
	struct tracked t;
};

FIXTURE_VARIANT(dirty_tables)
{
	bool ats;
};

FIXTURE_VARIANT_ADD(dirty_tables, plain)
{
};

FIXTURE_VARIANT_ADD(dirty_tables, ats)
{
	.ats = true,
};

FIXTURE_SETUP(dirty_tables)
{
	tracked_start(_metadata, &self->t, NESTED, variant->ats, true);
}

FIXTURE_TEARDOWN(dirty_tables)
{
	vm_stop(_metadata, &self->t.vm);
}

static __u64 expect_desc(struct tracked *t, __u64 desc, __u64 val)
{
	__le64 le = htole64(val);

	guest_expect(&t->vm.g, desc, &le, sizeof(le));
	return val;
}

TEST_F(dirty_tables, stage1)
{
	struct tracked *t = &self->t;
	struct vm *vm = &t->vm;
	__u64 bitmap[GUEST_RAM_PAGES / 64];
	__u64 desc, old, val;

	cd_set_httu(&vm->g, vm->v.cd);
	ASSERT_EQ(0, vm_cmd(vm, cmd_cfgi_cd(VSID)));

	/* A clean page is written: the SMMU marks it in both stages */
	s1_map(&vm->g, vm->v.ttb, IOVA_C, t->ipa[0], S1_CLEAN);
	desc = s1_desc(&vm->g, vm->v.ttb, IOVA_C);
	old = guest_read64(&vm->g, desc);
	ASSERT_EQ(0, hwpt_track_dirty(vm->fd, t->hwpt_id, true));
	EXPECT_TRUE(edu_read_gets(&vm->dev, &vm->g, IOVA_C, t->ipa[0],
				  t->iova[1], t->ipa[1]));
	EXPECT_EQ(old, guest_read64(&vm->g, desc));
	expect_dirty(_metadata, t, 0, 0x2);
	val = expect_desc(t, desc, old & ~S1_PTE_RDONLY);
	EXPECT_EQ(t->ipa[0], vm_lands(vm, IOVA_C));
	EXPECT_EQ(val, guest_read64(&vm->g, desc));
	ASSERT_EQ(0, query(t, 0, bitmap));
	EXPECT_EQ(0x1, dirty_pages(t, bitmap));
	EXPECT_TRUE(in_bitmap(bitmap, desc));

	/* Stage 1 remains dirty, and stage 2 is marked again */
	EXPECT_EQ(t->ipa[0], vm_lands(vm, IOVA_C));
	EXPECT_EQ(val, guest_read64(&vm->g, desc));
	expect_dirty(_metadata, t, 0, 0x1);

	/* The guest makes it clean again */
	expect_dirty(_metadata, t, 0, 0);
	guest_write64(&vm->g, desc, old);
	ASSERT_EQ(0, vm_cmd(vm, cmd_nh_va(any_vmid(), ASID, IOVA_C)));
	if (vm->dev.dma_flags)
		ASSERT_EQ(0, vm_cmd(vm, cmd_atc_inv(VSID, IOVA_C, 0)));
	expect_desc(t, desc, val);
	EXPECT_EQ(t->ipa[0], vm_lands(vm, IOVA_C));
	EXPECT_EQ(val, guest_read64(&vm->g, desc));
	ASSERT_EQ(0, query(t, 0, bitmap));
	EXPECT_EQ(0x1, dirty_pages(t, bitmap));
	EXPECT_TRUE(in_bitmap(bitmap, desc));
}

TEST_F(dirty_tables, access_flag)
{
	struct tracked *t = &self->t;
	struct vm *vm = &t->vm;
	__u64 bitmap[GUEST_RAM_PAGES / 64];
	__u64 desc, val;

	cd_set_httu(&vm->g, vm->v.cd);
	ASSERT_EQ(0, vm_cmd(vm, cmd_cfgi_cd(VSID)));
	s1_map(&vm->g, vm->v.ttb, IOVA_C, t->ipa[0], S1_NO_AF);
	desc = s1_desc(&vm->g, vm->v.ttb, IOVA_C);
	val = guest_read64(&vm->g, desc);
	ASSERT_EQ(0, hwpt_track_dirty(vm->fd, t->hwpt_id, true));
	val = expect_desc(t, desc, val | S1_PTE_AF);
	/* This is a read of the page, and a write to the table */
	EXPECT_TRUE(edu_read_gets(&vm->dev, &vm->g, IOVA_C, t->ipa[0],
				  t->iova[1], t->ipa[1]));
	EXPECT_EQ(val, guest_read64(&vm->g, desc));
	ASSERT_EQ(0, query(t, 0, bitmap));
	EXPECT_EQ(0x2, dirty_pages(t, bitmap));
	EXPECT_TRUE(in_bitmap(bitmap, desc));
}

/* A page that is read-only for the guest is not marked in either stage */
TEST_F(dirty_tables, read_only)
{
	struct tracked *t = &self->t;
	struct vm *vm = &t->vm;

	cd_set_httu(&vm->g, vm->v.cd);
	ASSERT_EQ(0, vm_cmd(vm, cmd_cfgi_cd(VSID)));
	s1_map(&vm->g, vm->v.ttb, IOVA_C, t->ipa[0], S1_RO);
	ASSERT_EQ(0, hwpt_track_dirty(vm->fd, t->hwpt_id, true));
	EXPECT_EQ(NOWHERE, vm_lands(vm, IOVA_C));
	expect_dirty(_metadata, t, 0, 0);
}

/*
 * The attributes of stage 1, which the guest chooses, and the dirty state of both
 * stages do not get in the way of each other. With S2FWB, stage 2 makes all DMA
 * coherent with the caches: an SMMU that refuses other DMA is the judge
 * (x-abort-uncached).
 */
TEST_F(dirty_tables, uncached)
{
	/* Device-nGnRnE, Normal Non-cacheable, Write-Through, and Write-Back */
	static const __u8 attrs[] = { 0x00, 0x44, 0xbb, 0xff };
	struct tracked *t = &self->t;
	struct vm *vm = &t->vm;
	bool fwb = vm->dev.info.idr[3] & IDR3_FWB;
	__u64 desc, clean;
	size_t i;

	if (!edu_is_pcie(&vm->dev))
		SKIP(return, "this edu does not know whether its DMA is cached");
	cd_set_httu(&vm->g, vm->v.cd);
	s1_map(&vm->g, vm->v.ttb, IOVA_C, t->ipa[0], S1_CLEAN);
	desc = s1_desc(&vm->g, vm->v.ttb, IOVA_C);
	clean = guest_read64(&vm->g, desc);
	ASSERT_EQ(0, hwpt_track_dirty(vm->fd, t->hwpt_id, true));
	for (i = 0; i != ARRAY_SIZE(attrs); i++) {
		__u64 had = edu_reg(&vm->dev, EDU_REG_UNCACHED), now, val;
		bool cached = fwb || attrs[i] == 0xff;

		guest_write64(&vm->g, vm->v.cd + 24, attrs[i]);
		ASSERT_EQ(0, vm_cmd(vm, cmd_cfgi_cd(VSID)));
		guest_write64(&vm->g, desc, clean);
		ASSERT_EQ(0, vm_cmd(vm, cmd_nh_all(any_vmid())));
		if (vm->dev.dma_flags)
			ASSERT_EQ(0, vm_cmd(vm, cmd_atc_inv(VSID, IOVA_C, 0)));
		val = expect_desc(t, desc, clean & ~S1_PTE_RDONLY);
		EXPECT_EQ(t->ipa[0], vm_lands(vm, IOVA_C));
		EXPECT_FALSE(edu_failed(&vm->dev));
		EXPECT_EQ(val, guest_read64(&vm->g, desc));
		write_pages(_metadata, t, 0x6);
		EXPECT_TRUE(edu_read_gets(&vm->dev, &vm->g, t->iova[3], t->ipa[3],
					  t->iova[4], t->ipa[4]));
		expect_dirty(_metadata, t, 0, 0x17);
		expect_dirty(_metadata, t, 0, 0);
		now = edu_reg(&vm->dev, EDU_REG_UNCACHED);
		/* Without S2FWB, a translated request does not show its attributes */
		if (fwb || !vm->dev.dma_flags)
			EXPECT_EQ(cached, now == had) {
				TH_LOG("attribute %#x", attrs[i]);
			}
	}
	EXPECT_EQ(0, klog_count(HOST_EVENT));
}

/* Blocks: memory of huge pages */
#define HUGE_IPA	0x04000000ULL
#define HUGE_SIZE	0x200000ULL
#define HUGE_WORDS	(2 * HUGE_SIZE / GUEST_PAGE / 64)

FIXTURE(dirty_block)
{
	struct tracked t;
	__u8 *mem;
};

FIXTURE_VARIANT(dirty_block)
{
	enum mode mode;
	bool ats;
	/* By IOMMU_IOAS_MAP_FILE */
	bool file;
};

FIXTURE_VARIANT_ADD(dirty_block, host)
{
	.mode = HOST,
};

FIXTURE_VARIANT_ADD(dirty_block, parent)
{
	.mode = PARENT,
};

FIXTURE_VARIANT_ADD(dirty_block, parent_file)
{
	.mode = PARENT,
	.file = true,
};

FIXTURE_VARIANT_ADD(dirty_block, nested)
{
	.mode = NESTED,
};

FIXTURE_VARIANT_ADD(dirty_block, nested_ats)
{
	.mode = NESTED,
	.ats = true,
};

FIXTURE_SETUP(dirty_block)
{
	struct tracked *t = &self->t;
	unsigned int i;
	int file;

	file = memfd_create("blocks", MFD_CLOEXEC | MFD_HUGETLB | MFD_HUGE_2MB);
	if (file < 0)
		SKIP(return, "no files with huge pages of 2 MiB");
	ASSERT_EQ(0, ftruncate(file, 2 * HUGE_SIZE));
	self->mem = mmap(NULL, 2 * HUGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
			 file, 0);
	if (self->mem == MAP_FAILED)
		SKIP(return, "no huge pages of 2 MiB");
	tracked_start(_metadata, t, variant->mode, variant->ats, false);
	if (_metadata->exit_code)
		return;
	ASSERT_EQ(0, variant->file ?
		     ioas_map_file_at(t->vm.fd, t->vm.g.ioas_id, file, 0,
				      2 * HUGE_SIZE, HUGE_IPA,
				      IOMMU_IOAS_MAP_READABLE |
					      IOMMU_IOAS_MAP_WRITEABLE) :
		     ioas_map(t->vm.fd, t->vm.g.ioas_id, self->mem, HUGE_IPA,
			      2 * HUGE_SIZE, true));
	close(file);
	for (i = 0; i != 2 * HUGE_SIZE / GUEST_PAGE && t->mode == NESTED; i++)
		vm_map(&t->vm, HUGE_IPA + i * GUEST_PAGE,
		       HUGE_IPA + i * GUEST_PAGE);
}

FIXTURE_TEARDOWN(dirty_block)
{
	vm_stop(_metadata, &self->t.vm);
}

static void expect_range(struct __test_metadata *_metadata, struct tracked *t,
			 __u32 flags, __u64 offset, __u64 len, __u64 from,
			 __u64 to)
{
	__u64 bitmap[HUGE_WORDS] = {};
	__u64 at;

	ASSERT_EQ(0, hwpt_dirty_bitmap(t->vm.fd, t->hwpt_id, flags,
				       HUGE_IPA + offset, len, GUEST_PAGE,
				       bitmap));
	for (at = 0; at != 2 * HUGE_SIZE; at += GUEST_PAGE) {
		__u64 n = at / GUEST_PAGE;
		bool dirty = bitmap[n / 64] >> (n % 64) & 1;

		ASSERT_EQ(offset + at >= from && offset + at < to, dirty) {
			TH_LOG("offset %#llx", offset + at);
		}
	}
}

static void write_block(struct __test_metadata *_metadata,
			FIXTURE_DATA(dirty_block) *self, __u64 offset)
{
	self->mem[offset] = ~self->t.vm.dev.buf[0];
	edu_write(&self->t.vm.dev, HUGE_IPA + offset, 0, 8);
	EXPECT_EQ(0, memcmp(self->mem + offset, self->t.vm.dev.buf, 8));
}

TEST_F(dirty_block, track)
{
	struct tracked *t = &self->t;
	const __u64 size = HUGE_SIZE, half = HUGE_SIZE / 2;

	ASSERT_EQ(0, hwpt_track_dirty(t->vm.fd, t->hwpt_id, true));
	expect_range(_metadata, t, 0, 0, 2 * size, 0, 0);

	/* All of the block is reported, and nothing of the next */
	write_block(_metadata, self, 0x5000);
	expect_range(_metadata, t, NO_CLEAR, 0, 2 * size, 0, size);
	expect_range(_metadata, t, 0, 0, 2 * size, 0, size);
	expect_range(_metadata, t, 0, 0, 2 * size, 0, 0);
	write_block(_metadata, self, 0x6000);
	expect_range(_metadata, t, 0, 0, size, 0, size);
	expect_range(_metadata, t, 0, 0, 2 * size, 0, 0);

	/* In parts: a block that is queried in part stays dirty */
	write_block(_metadata, self, 0x7000);
	expect_range(_metadata, t, 0, half, half, half, size);
	expect_range(_metadata, t, 0, 0, half, 0, half);
	expect_range(_metadata, t, 0, half, size, half, size);
	expect_range(_metadata, t, 0, 0, 2 * size, 0, size);

	/* The first block is clean, and the query begins in the middle of it */
	write_block(_metadata, self, size + 0x8000);
	expect_range(_metadata, t, 0, half, size, size, size + half);
	expect_range(_metadata, t, 0, half, size + half, size, 2 * size);
	expect_range(_metadata, t, 0, 0, 2 * size, 0, 0);
	write_block(_metadata, self, size + 0x8000);
	expect_range(_metadata, t, 0, 0, 2 * size, size, 2 * size);
}

/* Two devices, each on a vIOMMU, or the second on the parent: two VMIDs or one */
FIXTURE(dirty_two)
{
	struct tracked t;
	struct edu dev;
	struct vsmmu v;
};

FIXTURE_SETUP(dirty_two)
{
	struct tracked *t = &self->t;
	struct vm *vm = &t->vm;
	char bdf[2][BDF_LEN], why[128];
	__u64 page;
	int i;

	t->mode = NESTED;
	if (edu_find_pair(EDU_SAME_SMMU, bdf[0], bdf[1], why, sizeof(why)))
		SKIP(return, "%s", why);
	klog_mark(_metadata->name);
	vm->fd = iommufd_open();
	ASSERT_LE(0, vm->fd);
	ASSERT_EQ(0, edu_open(&vm->dev, bdf[0], vm->fd));
	ASSERT_EQ(0, edu_open(&self->dev, bdf[1], vm->fd));
	memory_start(_metadata, t, true);
	if (_metadata->exit_code)
		return;
	page = guest_page(&vm->g);
	for (i = 0; i != 2; i++) {
		struct edu *dev = i ? &self->dev : &vm->dev;
		struct vsmmu *v = i ? &self->v : &vm->v;
		int p;

		ASSERT_EQ(0, edu_attach(dev, t->hwpt_id));
		edu_load(dev, &vm->g, page, page);
		vsmmu_start(_metadata, v, &vm->g, dev, VSID);
		if (_metadata->exit_code)
			return;
		for (p = 0; p != NPAGES; p++) {
			t->iova[p] = IOVA_OF(p);
			s1_map(&vm->g, v->ttb, t->iova[p], t->ipa[p], S1_RW);
		}
		ASSERT_EQ(0, edu_attach(dev, v->hwpt_s1));
	}
}

FIXTURE_TEARDOWN(dirty_two)
{
	edu_close(&self->dev);
	vm_stop(_metadata, &self->t.vm);
}

TEST_F(dirty_two, write_again)
{
	struct tracked *t = &self->t;
	struct guest *g = &t->vm.g;
	int i, p;

	ASSERT_EQ(0, hwpt_track_dirty(t->vm.fd, t->hwpt_id, true));
	for (i = 0; i != 12; i++) {
		/* In the end, the second device is on the parent itself */
		if (i == 8)
			ASSERT_EQ(0, edu_attach(&self->dev, t->hwpt_id));
		p = i % 2;
		EXPECT_EQ(t->ipa[p], lands(&t->vm.dev, g, t->iova[p]));
		EXPECT_EQ(t->ipa[2], lands(&self->dev, g,
					   i < 8 ? t->iova[2] : t->ipa[2]));
		expect_dirty(_metadata, t, 0, 1U << p | 0x4);
		/* Both write to the same page, after one another */
		EXPECT_EQ(t->ipa[2], lands(&t->vm.dev, g, t->iova[2]));
		expect_dirty(_metadata, t, 0, 0x4);
		EXPECT_EQ(t->ipa[2], lands(&self->dev, g,
					   i < 8 ? t->iova[2] : t->ipa[2]));
		expect_dirty(_metadata, t, 0, 0x4);
	}
	expect_dirty(_metadata, t, 0, 0);
}

/* Errors of the calls, on hosts with HTTU and without it */
TEST_F(bare, errors)
{
	const __u32 track = IOMMU_HWPT_ALLOC_DIRTY_TRACKING;
	const __u32 parent = IOMMU_HWPT_ALLOC_NEST_PARENT;
	struct iommu_hwpt_set_dirty_tracking set = { .size = sizeof(set) };
	__u32 id, plain, dev_id = self->dev.dev_id;
	bool nest = smmu_can_nest(&self->dev.info);
	__u64 caps, bitmap = 0, len = GUEST_PAGE;
	int fd = self->fd;
	void *mem;

	mem = mmap(NULL, len, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, mem);
	ASSERT_EQ(0, ioas_map(fd, self->ioas_id, mem, GUEST_RAM_IPA, len, true));

	/* A HWPT without dirty tracking */
	ASSERT_EQ(0, hwpt_alloc(fd, dev_id, self->ioas_id, nest ? parent : 0,
				IOMMU_HWPT_DATA_NONE, NULL, 0, &plain));
	EXPECT_EQ(-EOPNOTSUPP, hwpt_track_dirty(fd, plain, true));
	EXPECT_EQ(-EOPNOTSUPP, hwpt_track_dirty(fd, plain, false));
	EXPECT_EQ(-EOPNOTSUPP, hwpt_dirty_bitmap(fd, plain, 0, GUEST_RAM_IPA, len,
						 GUEST_PAGE, &bitmap));

	ASSERT_EQ(0, capabilities(fd, dev_id, &caps));
	if (!(caps & IOMMU_HW_CAP_DIRTY_TRACKING)) {
		EXPECT_EQ(-EOPNOTSUPP,
			  hwpt_alloc(fd, dev_id, self->ioas_id, track,
				     IOMMU_HWPT_DATA_NONE, NULL, 0, &id));
		EXPECT_EQ(-EOPNOTSUPP,
			  hwpt_alloc(fd, dev_id, self->ioas_id, track | parent,
				     IOMMU_HWPT_DATA_NONE, NULL, 0, &id));
		return;
	}
	EXPECT_EQ(2, IDR0_HTTU(self->dev.info.idr[0]));

	ASSERT_EQ(0, hwpt_alloc(fd, dev_id, self->ioas_id,
				nest ? track | parent : track,
				IOMMU_HWPT_DATA_NONE, NULL, 0, &id));
	set.hwpt_id = id;
	set.flags = IOMMU_HWPT_DIRTY_TRACKING_ENABLE << 1;
	EXPECT_EQ(-EOPNOTSUPP,
		  iommufd_ioctl(fd, IOMMU_HWPT_SET_DIRTY_TRACKING, &set));
	EXPECT_EQ(-ENOENT, hwpt_track_dirty(fd, self->ioas_id, true));
	EXPECT_EQ(-EOPNOTSUPP, hwpt_dirty_bitmap(fd, id, NO_CLEAR << 1,
						 GUEST_RAM_IPA, len, GUEST_PAGE,
						 &bitmap));
	EXPECT_EQ(-EINVAL, hwpt_dirty_bitmap(fd, id, 0, GUEST_RAM_IPA, 0,
					     GUEST_PAGE, &bitmap));
	EXPECT_EQ(-EINVAL, hwpt_dirty_bitmap(fd, id, 0, GUEST_RAM_IPA, len, 0,
					     &bitmap));
	EXPECT_EQ(-EINVAL, hwpt_dirty_bitmap(fd, id, 0, GUEST_RAM_IPA + 1, len,
					     GUEST_PAGE, &bitmap));
	EXPECT_EQ(-EINVAL, hwpt_dirty_bitmap(fd, id, 0, GUEST_RAM_IPA, len,
					     2 * GUEST_PAGE, &bitmap));
	EXPECT_EQ(-EOVERFLOW, hwpt_dirty_bitmap(fd, id, 0, -GUEST_PAGE,
						2 * GUEST_PAGE, GUEST_PAGE,
						&bitmap));
	EXPECT_EQ(0, bitmap);

	/* No device is attached yet, but a new mapping is dirty */
	EXPECT_EQ(0, hwpt_dirty_bitmap(fd, id, 0, GUEST_RAM_IPA, len, GUEST_PAGE,
				       &bitmap));
	EXPECT_EQ(1, bitmap);
	bitmap = 0;
	EXPECT_EQ(0, hwpt_dirty_bitmap(fd, id, 0, GUEST_RAM_IPA, len, GUEST_PAGE,
				       &bitmap));
	EXPECT_EQ(0, bitmap);

	if (nest) {
		/* A parent has no PASIDs, with or without dirty tracking */
		EXPECT_EQ(-EOPNOTSUPP,
			  hwpt_alloc(fd, dev_id, self->ioas_id,
				     track | parent | IOMMU_HWPT_ALLOC_PASID,
				     IOMMU_HWPT_DATA_NONE, NULL, 0, &plain));
		/* The dirty state is in the parent, not in nested HWPTs */
		ASSERT_EQ(0, viommu_alloc(fd, dev_id, id, &plain));
		ASSERT_EQ(0, hwpt_alloc_ste(fd, dev_id, plain, ste_bypass(),
					    &set.hwpt_id));
		EXPECT_EQ(-ENOENT, hwpt_track_dirty(fd, set.hwpt_id, true));
	}
}

TEST_HARNESS_MAIN
