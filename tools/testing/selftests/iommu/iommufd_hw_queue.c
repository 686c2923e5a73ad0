// SPDX-License-Identifier: GPL-2.0-only
/* HW_QUEUEs, against the mock IOMMU driver */
#include "iommufd_hw_queue.h"

static struct iommu_hw_queue_alloc queue_cmd(__u32 viommu, __u32 type,
					     __u32 index, __u64 iova,
					     __u64 length)
{
	return (struct iommu_hw_queue_alloc){
		.size = sizeof(struct iommu_hw_queue_alloc),
		.viommu_id = viommu,
		.type = type,
		.index = index,
		.out_hw_queue_id = NO_ID,
		.nesting_parent_iova = iova,
		.length = length,
	};
}

FIXTURE(hw_queue)
{
	int fd;
	__u32 ioas, stdev, dev, parent, viommu;
};

FIXTURE_SETUP(hw_queue)
{
	self->fd = open("/dev/iommu", O_RDWR);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, mock_plug(self->fd, &self->ioas, &self->stdev, &self->dev,
			       &self->parent));
	ASSERT_EQ(0, viommu_alloc_mem(self->fd, self->dev, self->parent,
				      IOMMU_VIOMMU_TYPE_SELFTEST, NULL,
				      &self->viommu));
}

FIXTURE_TEARDOWN(hw_queue)
{
	teardown_iommufd(self->fd, _metadata);
}

TEST_F(hw_queue, sizes)
{
	struct {
		struct iommu_hw_queue_alloc cmd;
		__u64 tail;
	} arg;
	__u32 size;

	ASSERT_EQ(0, map_pages(self->fd, self->ioas, buffer, IOVA, PAGE_SIZE,
			       RW));
	for (size = 0; size <= sizeof(arg); size += 4) {
		memset(&arg, 0, sizeof(arg));
		arg.cmd = queue_cmd(self->viommu, TYPE, 0, IOVA, PAGE_SIZE);
		arg.cmd.size = size;
		if (size < 40) {
			EXPECT_EQ(-EINVAL, iommufd_ioctl(self->fd,
							 IOMMU_HW_QUEUE_ALLOC,
							 &arg));
			continue;
		}
		EXPECT_EQ(0, iommufd_ioctl(self->fd, IOMMU_HW_QUEUE_ALLOC,
					   &arg));
		EXPECT_EQ(0, destroy(self->fd, arg.cmd.out_hw_queue_id));
	}
	arg.cmd.size = sizeof(arg);
	arg.tail = 1;
	EXPECT_EQ(-E2BIG, iommufd_ioctl(self->fd, IOMMU_HW_QUEUE_ALLOC, &arg));
}

/* Each call has the expected error, and all that are checked later */
TEST_F(hw_queue, order_of_checks)
{
	struct iommu_hw_queue_alloc cmd =
		queue_cmd(NO_ID, 0, 7, ~0ULL - 0xf00, 0);
	const int fd = self->fd;
	__u32 bare;

	cmd.flags = 1;
	cmd.type = TYPE;
	EXPECT_EQ(-EOPNOTSUPP, iommufd_ioctl(fd, IOMMU_HW_QUEUE_ALLOC, &cmd));
	cmd.flags = 0;
	cmd.type = IOMMU_HW_QUEUE_TYPE_DEFAULT;
	EXPECT_EQ(-EOPNOTSUPP, iommufd_ioctl(fd, IOMMU_HW_QUEUE_ALLOC, &cmd));
	cmd.type = TYPE + 1;
	EXPECT_EQ(-EINVAL, iommufd_ioctl(fd, IOMMU_HW_QUEUE_ALLOC, &cmd));
	cmd.length = PAGE_SIZE;
	EXPECT_EQ(-EOVERFLOW, iommufd_ioctl(fd, IOMMU_HW_QUEUE_ALLOC, &cmd));
	cmd.nesting_parent_iova = 0;
	cmd.length = ~0ULL;
	EXPECT_EQ(-ENOENT, iommufd_ioctl(fd, IOMMU_HW_QUEUE_ALLOC, &cmd));
	cmd.viommu_id = self->parent;
	EXPECT_EQ(-ENOENT, iommufd_ioctl(fd, IOMMU_HW_QUEUE_ALLOC, &cmd));
	cmd.viommu_id = self->viommu;
	EXPECT_EQ(-EOPNOTSUPP, iommufd_ioctl(fd, IOMMU_HW_QUEUE_ALLOC, &cmd));
	ASSERT_EQ(0, viommu_alloc_mem(fd, self->dev, self->parent,
				      IOMMU_VIOMMU_TYPE_SELFTEST_BARE, NULL,
				      &bare));
	cmd.viommu_id = bare;
	cmd.type = TYPE;
	EXPECT_EQ(-EOPNOTSUPP, iommufd_ioctl(fd, IOMMU_HW_QUEUE_ALLOC, &cmd));
	cmd.viommu_id = self->viommu;
	EXPECT_EQ(-ERANGE, iommufd_ioctl(fd, IOMMU_HW_QUEUE_ALLOC, &cmd));
	/* The longest range of pages */
	cmd.length = ~0ULL - (PAGE_SIZE - 1);
	EXPECT_EQ(-ENOENT, iommufd_ioctl(fd, IOMMU_HW_QUEUE_ALLOC, &cmd));
	cmd.nesting_parent_iova = 1;
	EXPECT_EQ(-ERANGE, iommufd_ioctl(fd, IOMMU_HW_QUEUE_ALLOC, &cmd));

	/* The memory is checked before the index */
	cmd.nesting_parent_iova = IOVA;
	cmd.length = 2 * PAGE_SIZE;
	ASSERT_EQ(0, map_pages(fd, self->ioas, buffer, IOVA, PAGE_SIZE,
			       IOMMU_IOAS_MAP_WRITEABLE));
	EXPECT_EQ(-EPERM, iommufd_ioctl(fd, IOMMU_HW_QUEUE_ALLOC, &cmd));
	ASSERT_EQ(0, ioas_unmap(fd, self->ioas, IOVA, PAGE_SIZE));
	ASSERT_EQ(0, map_pages(fd, self->ioas, buffer, IOVA, PAGE_SIZE, RW));
	EXPECT_EQ(-ENOENT, iommufd_ioctl(fd, IOMMU_HW_QUEUE_ALLOC, &cmd));
	ASSERT_EQ(0, map_pages(fd, self->ioas, buffer, IOVA + PAGE_SIZE,
			       PAGE_SIZE, RW));
	EXPECT_EQ(-EFAULT, iommufd_ioctl(fd, IOMMU_HW_QUEUE_ALLOC, &cmd));
	cmd.length = PAGE_SIZE;
	EXPECT_EQ(-EINVAL, iommufd_ioctl(fd, IOMMU_HW_QUEUE_ALLOC, &cmd));
	EXPECT_EQ(NO_ID, cmd.out_hw_queue_id);

	/* No failed call has left the area locked */
	EXPECT_EQ(0, ioas_unmap(fd, self->ioas, 0, ~0ULL));
	EXPECT_EQ(0, destroy(fd, self->viommu));
}

TEST_F(hw_queue, permissions)
{
	__u32 id;

	ASSERT_EQ(0, map_pages(self->fd, self->ioas, buffer, IOVA, PAGE_SIZE,
			       IOMMU_IOAS_MAP_READABLE));
	EXPECT_EQ(-EPERM, queue_alloc_type(self->fd, self->viommu,
					   IOMMU_HW_QUEUE_TYPE_SELFTEST_WRITE,
					   0, IOVA, PAGE_SIZE, &id));
	EXPECT_EQ(0, queue_alloc(self->fd, self->viommu, 0, IOVA, PAGE_SIZE,
				 &id));
	ASSERT_EQ(0, destroy(self->fd, id));
	ASSERT_EQ(0, ioas_unmap(self->fd, self->ioas, IOVA, PAGE_SIZE));
	ASSERT_EQ(0, map_pages(self->fd, self->ioas, buffer, IOVA, PAGE_SIZE,
			       RW));
	EXPECT_EQ(0, queue_alloc_type(self->fd, self->viommu,
				      IOMMU_HW_QUEUE_TYPE_SELFTEST_WRITE, 0,
				      IOVA, PAGE_SIZE, &id));
}

/* The IOAS can map half a page, which cannot be a page of a queue */
TEST_F(hw_queue, half_pages)
{
	const size_t half = PAGE_SIZE / 2;
	__u32 id;

	if (map_pages(self->fd, self->ioas, buffer, IOVA, half, RW))
		SKIP(return, "the IOAS cannot map half a page");
	EXPECT_EQ(-ENOENT, queue_alloc(self->fd, self->viommu, 0, IOVA, half,
				       &id));
	ASSERT_EQ(0, map_pages(self->fd, self->ioas, buffer + half, IOVA + half,
			       half, RW));
	EXPECT_EQ(-EINVAL, queue_alloc(self->fd, self->viommu, 0, IOVA,
				       PAGE_SIZE, &id));
	ASSERT_EQ(0, ioas_unmap(self->fd, self->ioas, IOVA, PAGE_SIZE));

	/* A page of IOVA that is in two pages of memory */
	ASSERT_EQ(0, map_pages(self->fd, self->ioas, buffer + half, IOVA,
			       PAGE_SIZE, RW));
	EXPECT_EQ(-EINVAL, queue_alloc(self->fd, self->viommu, 0, IOVA, half,
				       &id));
	EXPECT_EQ(0, ioas_unmap(self->fd, self->ioas, IOVA, PAGE_SIZE));

	/* The same, but each area begins at the beginning of its memory page */
	ASSERT_EQ(0, map_pages(self->fd, self->ioas, buffer, IOVA, half, RW));
	ASSERT_EQ(0, map_pages(self->fd, self->ioas, buffer + PAGE_SIZE,
			       IOVA + half, half, RW));
	EXPECT_EQ(-EINVAL, queue_alloc(self->fd, self->viommu, 0, IOVA,
				       PAGE_SIZE, &id));
	EXPECT_EQ(0, ioas_unmap(self->fd, self->ioas, IOVA, PAGE_SIZE));
}

/* Queues on two areas. The second queue depends on the first. */
TEST_F(hw_queue, queues)
{
	const __u64 other = IOVA + PAGE_SIZE;
	const int fd = self->fd;
	__u32 queue[2], id;

	ASSERT_EQ(0, map_pages(fd, self->ioas, buffer, IOVA, PAGE_SIZE, RW));
	ASSERT_EQ(0, map_pages(fd, self->ioas, buffer + PAGE_SIZE, other,
			       PAGE_SIZE, RW));

	EXPECT_EQ(-EIO, queue_alloc(fd, self->viommu, 1, IOVA, PAGE_SIZE, &id));
	EXPECT_EQ(-EINVAL, queue_alloc(fd, self->viommu,
				       IOMMU_TEST_HW_QUEUE_MAX, IOVA, PAGE_SIZE,
				       &id));
	ASSERT_EQ(0, queue_alloc(fd, self->viommu, 0, IOVA, PAGE_SIZE,
				 &queue[0]));
	EXPECT_EQ(-EEXIST, queue_alloc(fd, self->viommu, 0, IOVA, PAGE_SIZE,
				       &id));

	/* The area is locked, but the other area is not */
	EXPECT_EQ(-EBUSY, ioas_unmap(fd, self->ioas, IOVA, PAGE_SIZE));
	EXPECT_EQ(0, ioas_unmap(fd, self->ioas, other, PAGE_SIZE));
	ASSERT_EQ(0, map_pages(fd, self->ioas, buffer + PAGE_SIZE, other,
			       PAGE_SIZE, RW));

	/* A queue on a half of the page that the first queue uses */
	ASSERT_EQ(0, queue_alloc(fd, self->viommu, 1, IOVA + PAGE_SIZE / 2,
				 PAGE_SIZE / 2, &queue[1]));
	EXPECT_EQ(-EBUSY, destroy(fd, queue[0]));
	EXPECT_EQ(-EBUSY, destroy(fd, self->viommu));
	EXPECT_EQ(0, destroy(fd, queue[1]));
	EXPECT_EQ(-EBUSY, ioas_unmap(fd, self->ioas, IOVA, PAGE_SIZE));
	EXPECT_EQ(0, destroy(fd, queue[0]));
	EXPECT_EQ(0, ioas_unmap(fd, self->ioas, IOVA, PAGE_SIZE));
	EXPECT_EQ(0, destroy(fd, self->viommu));
}

/* An unmap that cannot unmap the whole range unmaps nothing */
TEST_F(hw_queue, unmap_nothing)
{
	const int fd = self->fd;
	__u32 queue, id, copy;
	unsigned int i;

	for (i = 0; i < 4; i++)
		ASSERT_EQ(0, map_pages(fd, self->ioas, buffer + i * PAGE_SIZE,
				       IOVA + i * PAGE_SIZE, PAGE_SIZE, RW));
	ASSERT_EQ(0, queue_alloc(fd, self->viommu, 0, IOVA + 3 * PAGE_SIZE, 64,
				 &queue));
	EXPECT_EQ(-EBUSY, ioas_unmap(fd, self->ioas, 0, ~0ULL));
	EXPECT_EQ(-EBUSY, ioas_unmap(fd, self->ioas, IOVA, 4 * PAGE_SIZE));
	/* EBUSY although the range ends in the middle of the area */
	EXPECT_EQ(-EBUSY, ioas_unmap(fd, self->ioas, IOVA,
				     3 * PAGE_SIZE + PAGE_SIZE / 2));
	for (i = 0; i < 4; i++)
		EXPECT_EQ(-EEXIST, map_pages(fd, self->ioas, buffer,
					     IOVA + i * PAGE_SIZE, PAGE_SIZE,
					     RW));
	/* The memory itself can be mapped and unmapped elsewhere */
	ASSERT_EQ(0, _test_ioctl_ioas_alloc(fd, &copy));
	ASSERT_EQ(0, map_pages(fd, copy, buffer, IOVA, 4 * PAGE_SIZE, RW));
	EXPECT_EQ(0, ioas_unmap(fd, copy, 0, ~0ULL));

	EXPECT_EQ(0, destroy(fd, queue));
	EXPECT_EQ(0, ioas_unmap(fd, self->ioas, 0, ~0ULL));
	EXPECT_EQ(-ENOENT, queue_alloc(fd, self->viommu, 0, IOVA, 64, &id));
}

/* The length is checked before each page is looked up */
TEST_F(hw_queue, max_length)
{
	const size_t max = IOMMU_TEST_HW_QUEUE_WRITE_LENGTH;
	const __u32 type = IOMMU_HW_QUEUE_TYPE_SELFTEST_WRITE;
	const int fd = self->fd;
	__u32 id;
	char *mem;

	mem = mmap(NULL, max, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, mem);
	ASSERT_EQ(-ENOENT, queue_alloc_type(fd, self->viommu, type, 0, IOVA,
					    max + 1, &id));
	/* A page does not follow itself in physical memory */
	ASSERT_EQ(0, map_pages(fd, self->ioas, mem, IOVA, max, RW));
	ASSERT_EQ(0, map_pages(fd, self->ioas, mem + max - PAGE_SIZE,
			       IOVA + max, PAGE_SIZE, RW));
	EXPECT_EQ(-EFAULT, queue_alloc(fd, self->viommu, 0, IOVA + max - 1, 2,
				       &id));
	EXPECT_EQ(-EFAULT, queue_alloc_type(fd, self->viommu, type, 0,
					    IOVA + max - 1, 2, &id));
	EXPECT_EQ(-EFAULT, queue_alloc_type(fd, self->viommu, type, 0,
					    IOVA + PAGE_SIZE, max, &id));
	EXPECT_EQ(-EFAULT, queue_alloc(fd, self->viommu, 0, IOVA, max + 1,
				       &id));
	EXPECT_EQ(-EINVAL, queue_alloc_type(fd, self->viommu, type, 0, IOVA,
					    max + 1, &id));
	EXPECT_EQ(0, ioas_unmap(fd, self->ioas, 0, ~0ULL));
	munmap(mem, max);
}

/* A queue of several areas, in memory that is known to be contiguous */
TEST_F(hw_queue, several_areas)
{
	const size_t length = 8 * PAGE_SIZE;
	const int fd = self->fd;
	unsigned int i;
	__u32 queue;
	char *huge;

	huge = mmap(NULL, 2UL << 20, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
	if (huge == MAP_FAILED)
		SKIP(return, "no hugepage: %s", strerror(errno));
	for (i = 0; i < 4; i++)
		ASSERT_EQ(0, map_pages(fd, self->ioas, huge + i * length / 4,
				       IOVA + i * length / 4, length / 4, RW));
	/* The memory behind the areas is not contiguous with them */
	ASSERT_EQ(0, map_pages(fd, self->ioas, huge, IOVA + length, PAGE_SIZE,
			       RW));

	ASSERT_EQ(0, queue_alloc(fd, self->viommu, 0, IOVA + 1, length - 1,
				 &queue));
	for (i = 0; i < 4; i++)
		EXPECT_EQ(-EBUSY, ioas_unmap(fd, self->ioas,
					     IOVA + i * length / 4,
					     length / 4));
	EXPECT_EQ(0, destroy(fd, queue));
	EXPECT_EQ(-EFAULT, queue_alloc(fd, self->viommu, 0, IOVA + 1, length,
				       &queue));
	EXPECT_EQ(0, ioas_unmap(fd, self->ioas, 0, ~0ULL));
	munmap(huge, 2UL << 20);
}

/* A queue whose ID does not reach user space leaves nothing behind */
TEST_F(hw_queue, unwritable_answer)
{
	struct iommu_hw_queue_alloc *cmd;
	__u32 id;

	ASSERT_EQ(0, map_pages(self->fd, self->ioas, buffer, IOVA, PAGE_SIZE,
			       RW));
	cmd = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, cmd);
	*cmd = queue_cmd(self->viommu, TYPE, 0, IOVA, PAGE_SIZE);
	ASSERT_EQ(0, mprotect(cmd, PAGE_SIZE, PROT_READ));
	EXPECT_EQ(-EFAULT, iommufd_ioctl(self->fd, IOMMU_HW_QUEUE_ALLOC, cmd));
	EXPECT_EQ(0, ioas_unmap(self->fd, self->ioas, IOVA, PAGE_SIZE));
	ASSERT_EQ(0, map_pages(self->fd, self->ioas, buffer, IOVA, PAGE_SIZE,
			       RW));
	EXPECT_EQ(0, queue_alloc(self->fd, self->viommu, 0, IOVA, PAGE_SIZE,
				 &id));
}

/* No queue can depend on a queue whose ID has not been returned yet */
TEST_F(hw_queue, slow_answer)
{
	struct iommu_hw_queue_alloc *cmd;
	struct slow_page slow;
	struct call alloc;
	__u32 queue;
	int rc;

	rc = slow_page_init(&slow, true);
	if (rc)
		SKIP(return, "no userfaultfd: %s", strerror(-rc));
	ASSERT_EQ(0, map_pages(self->fd, self->ioas, buffer, IOVA, PAGE_SIZE,
			       RW));
	cmd = slow.page;
	*cmd = queue_cmd(self->viommu, TYPE, 0, IOVA, PAGE_SIZE);
	slow_page_protect(&slow);
	call_start(&alloc, self->fd, IOMMU_HW_QUEUE_ALLOC, cmd);
	slow_page_wait(&slow);

	EXPECT_EQ(-EIO, queue_alloc(self->fd, self->viommu, 1, IOVA, 64,
				    &queue));
	/* The next ID belongs to the queue, and is not visible yet */
	EXPECT_EQ(-ENOENT, destroy(self->fd, self->viommu + 1));
	EXPECT_EQ(-EBUSY, ioas_unmap(self->fd, self->ioas, IOVA, PAGE_SIZE));
	/* A faster queue of the same index wins */
	ASSERT_EQ(0, queue_alloc(self->fd, self->viommu, 0, IOVA, 64, &queue));
	slow_page_provide(&slow);
	EXPECT_EQ(-EEXIST, call_join(&alloc));
	EXPECT_EQ(NO_ID, cmd->out_hw_queue_id);
	EXPECT_EQ(0, destroy(self->fd, queue));
	EXPECT_EQ(0, ioas_unmap(self->fd, self->ioas, IOVA, PAGE_SIZE));
}

/* Releasing the file destroys all objects in the right order */
TEST_F(hw_queue, close_file)
{
	struct iommu_viommu_selftest data = { .in_data = 0x5eed };
	__u32 ioas, stdev, dev, parent, viommu, id;
	int fd = open("/dev/iommu", O_RDWR);
	void *mem;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, mock_plug(fd, &ioas, &stdev, &dev, &parent));
	ASSERT_EQ(0, viommu_alloc_mem(fd, dev, parent,
				      IOMMU_VIOMMU_TYPE_SELFTEST, &data,
				      &viommu));
	ASSERT_EQ(0, map_pages(fd, ioas, buffer, IOVA, PAGE_SIZE, RW));
	ASSERT_EQ(0, queue_alloc(fd, viommu, 0, IOVA, 64, &id));
	ASSERT_EQ(0, queue_alloc(fd, viommu, 1, IOVA, 64, &id));
	ASSERT_EQ(0, map_shared(fd, &data, &mem));
	ASSERT_EQ(0, close(fd));
	/* The mapping keeps the file open */
	EXPECT_EQ(0x5eed, load(mem));
	EXPECT_EQ(0, munmap(mem, data.out_mmap_length));
}

static void do_first_queue(struct racer *racer)
{
	struct stress *s = racer->stress;
	__u32 id;
	int rc;

	rc = queue_alloc(s->fd, s->viommu, 0, IOVA, 64, &id);
	got(racer, rc ?: destroy_soon(s->fd, id));
}

static void do_second_queue(struct racer *racer)
{
	struct stress *s = racer->stress;
	__u32 id;
	int rc;

	rc = queue_alloc(s->fd, s->viommu, 1, IOVA, 64, &id);
	got(racer, rc ?: destroy(s->fd, id));
}

static void do_unmap(struct racer *racer)
{
	struct stress *s = racer->stress;
	int rc = ioas_unmap(s->fd, s->ioas, IOVA, PAGE_SIZE);

	got(racer, rc ?: map_pages(s->fd, s->ioas, buffer, IOVA, PAGE_SIZE,
				   RW));
}

static bool queues_met(const struct racer *racers)
{
	return racers[0].got[0] && racers[1].got[0] + racers[2].got[0];
}

static bool unmap_met(const struct racer *racers)
{
	return racers[0].got[0] && racers[2].got[0];
}

/* A queue must not depend on a queue that is being destroyed */
TEST_F_TIMEOUT(hw_queue, race_depend, 100)
{
	struct stress stress = { .fd = self->fd, .viommu = self->viommu,
				 .met = queues_met };
	struct racer racers[] = { { .once = do_first_queue },
				  { .once = do_second_queue },
				  { .once = do_second_queue } };
	unsigned int i;

	ASSERT_EQ(0, map_pages(self->fd, self->ioas, buffer, IOVA, PAGE_SIZE,
			       RW));
	run_racers(&stress, racers, 3, STRESS_SECONDS);
	EXPECT_TRUE(got_only(&racers[0], 0));
	for (i = 1; i < 3; i++)
		EXPECT_TRUE(got_only(&racers[i], 0, -EEXIST, -EIO));
	EXPECT_TRUE(queues_met(racers));
	EXPECT_EQ(0, ioas_unmap(self->fd, self->ioas, IOVA, PAGE_SIZE));
	EXPECT_EQ(0, destroy(self->fd, self->viommu));
}

TEST_F_TIMEOUT(hw_queue, race_unmap, 100)
{
	struct stress stress = { .fd = self->fd, .ioas = self->ioas,
				 .viommu = self->viommu, .met = unmap_met };
	struct racer racers[] = { { .once = do_first_queue },
				  { .once = do_second_queue },
				  { .once = do_unmap } };

	ASSERT_EQ(0, map_pages(self->fd, self->ioas, buffer, IOVA, PAGE_SIZE,
			       RW));
	run_racers(&stress, racers, 3, STRESS_SECONDS);
	EXPECT_TRUE(got_only(&racers[0], 0, -ENOENT));
	EXPECT_TRUE(got_only(&racers[1], 0, -EEXIST, -EIO, -ENOENT));
	EXPECT_TRUE(got_only(&racers[2], 0, -EBUSY));
	EXPECT_TRUE(unmap_met(racers));
	EXPECT_EQ(0, ioas_unmap(self->fd, self->ioas, IOVA, PAGE_SIZE));
}

TEST_HARNESS_MAIN
