// SPDX-License-Identifier: GPL-2.0-only
/*
 * DMA through ordinary domains of the host, without nested translation. This
 * needs only features of Linux 6.12, so it can also check the emulated SMMU
 * against the driver of an unpatched kernel.
 */
#include "smmuv3_vm.h"

/* Two address spaces with memory of their own, and a device in the first */
FIXTURE(plain)
{
	int fd;
	struct edu dev;
	struct guest g[2];
};

FIXTURE_VARIANT(plain)
{
	bool ats;
};

FIXTURE_VARIANT_ADD(plain, untranslated)
{
};

FIXTURE_VARIANT_ADD(plain, ats)
{
	.ats = true,
};

static __u64 hits(struct edu *dev)
{
	return edu_reg(dev, EDU_REG_ATC_HITS);
}

/* A device asks for translations only if ATS is enabled in it */
static bool asks(struct edu *dev, __u64 iova)
{
	__u64 had = edu_reg(dev, EDU_REG_ATC_MISSES);

	edu_read(dev, iova, 0, 4);
	return edu_reg(dev, EDU_REG_ATC_MISSES) > had;
}

FIXTURE_SETUP(plain)
{
	struct edu *dev = &self->dev;
	char bdf[BDF_LEN], why[128];
	__u64 page;
	int i;

	if (edu_find(bdf, why, sizeof(why)))
		SKIP(return, "%s", why);
	klog_mark(_metadata->name);
	self->fd = iommufd_open();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, edu_open(dev, bdf, self->fd));
	for (i = 0; i != 2; i++)
		ASSERT_EQ(0, guest_init(&self->g[i], self->fd));
	ASSERT_EQ(0, edu_attach(dev, self->g[0].ioas_id));
	page = guest_page(&self->g[0]);
	if (variant->ats) {
		if (!edu_is_pcie(dev))
			SKIP(return, "this edu has no ATS");
		dev->dma_flags = EDU_DMA_ATS;
		if (!asks(dev, page)) {
			/* Kernels without nesting do not report the register */
			EXPECT_EQ(0, dev->info.idr[0] & IDR0_ATS);
			SKIP(return, "ATS is off");
		}
	}
	edu_load(dev, &self->g[0], page, page);
}

FIXTURE_TEARDOWN(plain)
{
	edu_close(&self->dev);
	close(self->fd);
	expect_clean_klog(_metadata);
}

TEST_F(plain, dma)
{
	struct edu *dev = &self->dev;
	struct guest *g = &self->g[0];
	__u64 a = guest_page(g), b = guest_page(g), had = hits(dev);

	EXPECT_EQ(a, lands(dev, g, a));
	EXPECT_EQ(a, lands(dev, g, a));
	EXPECT_TRUE(edu_read_gets(dev, g, a, a, b, b));
	if (variant->ats)
		EXPECT_LE(had + 2, hits(dev));
	ASSERT_EQ(0, guest_map(g, HOLE_IPA, HOLE_SIZE, false));
	EXPECT_TRUE(edu_read_gets(dev, g, HOLE_IPA, HOLE_IPA, b, b));
	EXPECT_EQ(NOWHERE, lands(dev, g, HOLE_IPA));
	EXPECT_EQ(NOWHERE, lands(dev, g, HOLE_IPA + HOLE_SIZE));
}

/* Ranges of which each page is in the caches of the SMMU or of the device */
TEST_F(plain, unmap)
{
	static const unsigned int sizes[] = { 1, 2, 7, 31, 32, 77 };
	struct edu *dev = &self->dev;
	struct guest *g = &self->g[0];
	/* A DMA of edu takes a tenth of a second */
	unsigned int num = edu_is_pcie(dev) ? ARRAY_SIZE(sizes) : 3, i, p;
	__u64 keep = guest_page(g), had;

	for (i = 0; i != num; i++) {
		/* Neither a block nor adjacent pages that form a larger one */
		__u64 iova = HOLE_IPA + HOST_PAGE;

		ASSERT_EQ(0, guest_map(g, iova, sizes[i] * HOST_PAGE, true));
		for (p = 0; p != sizes[i]; p++)
			EXPECT_EQ(iova + p * HOST_PAGE,
				  lands(dev, g, iova + p * HOST_PAGE));
		EXPECT_EQ(keep, lands(dev, g, keep));
		ASSERT_EQ(0, guest_unmap(g, iova));
		had = hits(dev);
		for (p = 0; p != sizes[i]; p++) {
			EXPECT_EQ(NOWHERE,
				  lands(dev, g, iova + p * HOST_PAGE)) {
				TH_LOG("page %u of %u", p, sizes[i]);
			}
		}
		if (variant->ats)
			EXPECT_EQ(had, hits(dev));
		EXPECT_EQ(keep, lands(dev, g, keep));
	}
}

/* More pages than the driver invalidates one by one */
TEST_F(plain, unmap_many)
{
	const __u64 iova = 0x40000000, size = 0x200000;
	struct edu *dev = &self->dev;
	struct guest *g = &self->g[0];
	unsigned int i;

	for (i = 0; i != 2; i++) {
		ASSERT_EQ(0, guest_map(g, iova, size, true));
		EXPECT_EQ(iova, lands(dev, g, iova));
		EXPECT_EQ(iova + size - GUEST_PAGE,
			  lands(dev, g, iova + size - GUEST_PAGE));
		ASSERT_EQ(0, guest_unmap(g, iova));
		EXPECT_EQ(NOWHERE, lands(dev, g, iova));
		EXPECT_EQ(NOWHERE, lands(dev, g, iova + size - GUEST_PAGE));
	}
}

/* Both address spaces have the same addresses, but different memory */
TEST_F(plain, replace)
{
	struct edu *dev = &self->dev;
	struct guest *g = self->g;
	__u64 page = guest_page(&g[0]);
	unsigned int i;

	for (i = 0; i != 5; i++) {
		EXPECT_EQ(page, lands(dev, &g[i % 2], page));
		ASSERT_EQ(0, edu_attach(dev, g[!(i % 2)].ioas_id));
	}
	EXPECT_EQ(page, lands(dev, &g[1], page));
	ASSERT_EQ(0, edu_detach(dev));
	EXPECT_EQ(NOWHERE, lands(dev, &g[1], page));
	ASSERT_EQ(0, edu_attach(dev, g[0].ioas_id));
	EXPECT_EQ(page, lands(dev, &g[0], page));
}

/* A reset empties the ATC, and ATS works again after it */
TEST_F(plain, reset)
{
	struct edu *dev = &self->dev;
	struct guest *g = &self->g[0];
	__u64 a = guest_page(g);

	EXPECT_EQ(a, lands(dev, g, a));
	ASSERT_EQ(0, edu_reset(dev));
	if (variant->ats)
		EXPECT_TRUE(asks(dev, a));
	edu_load(dev, g, a, a);
	EXPECT_EQ(a, lands(dev, g, a));
	ASSERT_EQ(0, guest_map(g, HOLE_IPA, HOLE_SIZE, true));
	EXPECT_EQ(HOLE_IPA, lands(dev, g, HOLE_IPA));
	ASSERT_EQ(0, guest_unmap(g, HOLE_IPA));
	EXPECT_EQ(NOWHERE, lands(dev, g, HOLE_IPA));
}

TEST_HARNESS_MAIN
