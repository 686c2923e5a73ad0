// SPDX-License-Identifier: GPL-2.0-only
/*
 * Errors of IOMMU_HWPT_GET_DIRTY_BITMAP against the mock IOMMU driver. A VMM
 * that migrates a VM sends only pages that are reported, so a report that is not
 * complete must not succeed.
 */
#include "iommufd_calls.h"

/* Mapped pages: more than the bits of the first word of a bitmap */
#define PAGES	128
#define IOVA	MOCK_APERTURE_START
/* The pages of the mock driver */
#define MOCK_IO_PAGE_SIZE	(PAGE_SIZE / 2)

FIXTURE(dirty)
{
	int fd;
	__u32 ioas;
	struct mock dev;
	__u32 hwpt;
	void *memory;
	/* Two pages */
	__u64 *bitmap;
};

static void *map_anonymous(size_t length)
{
	return mmap(NULL, length, PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

FIXTURE_SETUP(dirty)
{
	self->fd = open("/dev/iommu", O_RDWR);
	ASSERT_NE(-1, self->fd);
	self->memory = map_anonymous(PAGES * PAGE_SIZE);
	ASSERT_NE(MAP_FAILED, self->memory);
	self->bitmap = map_anonymous(2 * PAGE_SIZE);
	ASSERT_NE(MAP_FAILED, self->bitmap);

	ASSERT_EQ(0, ioas_alloc(self->fd, &self->ioas));
	ASSERT_EQ(0, plug(self->fd, self->ioas, 0, &self->dev));
	ASSERT_EQ(0, hwpt_alloc(self->fd, self->dev.id, self->ioas,
				IOMMU_HWPT_ALLOC_DIRTY_TRACKING, &self->hwpt));
	ASSERT_EQ(0, ioas_map(self->fd, self->ioas, self->memory, IOVA,
			      PAGES * PAGE_SIZE, true));
	ASSERT_EQ(0, hwpt_track_dirty(self->fd, self->hwpt, true));
}

FIXTURE_TEARDOWN(dirty)
{
	teardown_iommufd(self->fd, _metadata);
	munmap(self->bitmap, 2 * PAGE_SIZE);
	munmap(self->memory, PAGES * PAGE_SIZE);
}

/* Let the device write to a page */
static int write_page(int fd, __u32 hwpt, unsigned int page)
{
	__u64 bit = 1, num = 0;
	int rc = _test_cmd_mock_domain_set_dirty(fd, hwpt, PAGE_SIZE,
						 IOVA + page * PAGE_SIZE,
						 MOCK_IO_PAGE_SIZE, &bit, &num);

	return rc ? err(rc) : num == 1 ? 0 : -EINVAL;
}

static int query(int fd, __u32 hwpt, __u32 flags, unsigned int pages,
		 void *bitmap)
{
	return hwpt_dirty_bitmap(fd, hwpt, flags, IOVA, pages * PAGE_SIZE,
				 PAGE_SIZE, bitmap);
}

/* A range with a hole is refused, and keeps its dirty pages */
TEST_F(dirty, hole)
{
	ASSERT_EQ(0, write_page(self->fd, self->hwpt, 1));
	ASSERT_EQ(0, write_page(self->fd, self->hwpt, PAGES - 1));
	EXPECT_EQ(-EINVAL, query(self->fd, self->hwpt, 0, PAGES + 1,
				 self->bitmap));
	EXPECT_EQ(0, self->bitmap[0]);
	EXPECT_EQ(0, self->bitmap[1]);

	EXPECT_EQ(0, query(self->fd, self->hwpt, 0, PAGES, self->bitmap));
	EXPECT_EQ(1ULL << 1, self->bitmap[0]);
	EXPECT_EQ(1ULL << 63, self->bitmap[1]);
	/* Both pages are clean now */
	memset(self->bitmap, 0, PAGE_SIZE);
	EXPECT_EQ(0, query(self->fd, self->hwpt, 0, PAGES, self->bitmap));
	EXPECT_EQ(0, self->bitmap[0]);
	EXPECT_EQ(0, self->bitmap[1]);
}

/* The bitmap can be read, but not written */
TEST_F(dirty, read_only_bitmap)
{
	ASSERT_EQ(0, write_page(self->fd, self->hwpt, 0));
	ASSERT_EQ(0, mprotect(self->bitmap, PAGE_SIZE, PROT_READ));
	EXPECT_EQ(-EFAULT, query(self->fd, self->hwpt,
				 IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR, PAGES,
				 self->bitmap));
	EXPECT_EQ(0, self->bitmap[0]);

	ASSERT_EQ(0, mprotect(self->bitmap, PAGE_SIZE, PROT_READ | PROT_WRITE));
	EXPECT_EQ(0, query(self->fd, self->hwpt, 0, PAGES, self->bitmap));
	EXPECT_EQ(1, self->bitmap[0]);
}

/* The second word of the bitmap is on a page that does not exist */
TEST_F(dirty, half_a_bitmap)
{
	__u64 *first = self->bitmap + PAGE_SIZE / sizeof(__u64) - 1;

	ASSERT_EQ(0, munmap(first + 1, PAGE_SIZE));
	ASSERT_EQ(0, write_page(self->fd, self->hwpt, 5));
	EXPECT_EQ(0, query(self->fd, self->hwpt,
			   IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR, 64, first));
	EXPECT_EQ(1ULL << 5, *first);

	ASSERT_EQ(0, write_page(self->fd, self->hwpt, 64));
	EXPECT_EQ(-EFAULT, query(self->fd, self->hwpt,
				 IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR, PAGES,
				 first));
	/* The query must fail, even if the last page can be reported */
	ASSERT_EQ(0, mprotect(self->bitmap, PAGE_SIZE, PROT_READ));
	EXPECT_EQ(-EFAULT, query(self->fd, self->hwpt,
				 IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR, 64,
				 first));
}

TEST_HARNESS_MAIN
