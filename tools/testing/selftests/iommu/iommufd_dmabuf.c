// SPDX-License-Identifier: GPL-2.0-only
/*
 * IOMMU_IOAS_MAP_FILE of a dma-buf, against the mock IOMMU driver: the domains
 * that map memory of the device, and its revocation.
 *
 * The mock driver exports ordinary memory as a dma-buf, and takes it away when a
 * test asks for this. smmuv3_p2p.c does the same with BARs, by DMA.
 */
#include <limits.h>
#include <linux/udmabuf.h>
#include <linux/vfio.h>
#include <stdatomic.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "iommufd_calls.h"

#define IOVA		MOCK_APERTURE_START
#define BUF_SIZE	(8 * PAGE_SIZE)
#define MAX_DOMAINS	2
#define READABLE	IOMMU_IOAS_MAP_READABLE
#define WRITEABLE	IOMMU_IOAS_MAP_WRITEABLE
#define NOBODY		65534

static int test_op(int fd, struct iommu_test_cmd *cmd)
{
	cmd->size = sizeof(*cmd);
	return iommufd_ioctl(fd, _IOMMU_TEST_CMD(cmd->op), cmd);
}

/* Return: the file descriptor of a new dma-buf, or a negative errno */
static int dmabuf_get(int fd, __u32 length)
{
	struct iommu_test_cmd cmd = {
		.size = sizeof(cmd),
		.op = IOMMU_TEST_OP_DMABUF_GET,
		.dmabuf_get = { .length = length, .open_flags = O_CLOEXEC },
	};
	int rc = ioctl(fd, _IOMMU_TEST_CMD(IOMMU_TEST_OP_DMABUF_GET), &cmd);

	return rc < 0 ? -errno : rc;
}

/* Take the memory away, or give it back */
static int set_revoked(int fd, int buf, bool revoked)
{
	struct iommu_test_cmd cmd = {
		.op = IOMMU_TEST_OP_DMABUF_REVOKE,
		.dmabuf_revoke = { .dmabuf_fd = buf, .revoked = revoked },
	};

	return test_op(fd, &cmd);
}

/* Whether the HWPT maps this range of the dma-buf at this IOVA, as MMIO */
static int check(int fd, __u32 hwpt_id, int buf, __u64 start, __u64 length,
		 __u64 iova)
{
	struct iommu_test_cmd cmd = {
		.op = IOMMU_TEST_OP_MD_CHECK_DMABUF,
		.id = hwpt_id,
		.check_dmabuf = { .dmabuf_fd = buf, .iova = iova,
				  .start = start, .length = length },
	};

	return test_op(fd, &cmd);
}

/* The mock domain has pages of half the size. Each of them must be absent */
static bool nothing_at(int fd, __u32 hwpt_id, int buf, __u64 iova, __u64 length)
{
	__u64 done;

	for (done = 0; done != length; done += PAGE_SIZE / 2) {
		if (check(fd, hwpt_id, buf, 0, PAGE_SIZE / 2, iova + done) !=
		    -ENOENT)
			return false;
	}
	return true;
}

static int map(int fd, __u32 ioas_id, int buf, __u64 start, __u64 length,
	       __u64 iova)
{
	return ioas_map_file_at(fd, ioas_id, buf, start, length, iova,
				READABLE | WRITEABLE);
}

static int copy(int fd, __u32 from, __u32 to, __u64 iova, __u64 length,
		__u32 flags)
{
	struct iommu_ioas_copy cmd = {
		.size = sizeof(cmd),
		.flags = flags | IOMMU_IOAS_MAP_FIXED_IOVA,
		.src_ioas_id = from,
		.dst_ioas_id = to,
		.src_iova = iova,
		.dst_iova = iova,
		.length = length,
	};

	return iommufd_ioctl(fd, IOMMU_IOAS_COPY, &cmd);
}

FIXTURE(dmabuf)
{
	int fd;
	int buf;
	__u32 ioas_id;
	struct mock dev[MAX_DOMAINS];
};

FIXTURE_VARIANT(dmabuf)
{
	unsigned int domains;
	__u32 dev_flags;
};

FIXTURE_VARIANT_ADD(dmabuf, no_domain)
{
};

FIXTURE_VARIANT_ADD(dmabuf, domain)
{
	.domains = 1,
};

FIXTURE_VARIANT_ADD(dmabuf, two_domains)
{
	.domains = 2,
};

FIXTURE_VARIANT_ADD(dmabuf, huge)
{
	.domains = 1,
	.dev_flags = MOCK_FLAGS_DEVICE_HUGE_IOVA,
};

FIXTURE_SETUP(dmabuf)
{
	__u32 hwpt_id;
	unsigned int i;

	self->fd = iommufd_open();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, ioas_alloc(self->fd, &self->ioas_id));
	self->buf = dmabuf_get(self->fd, BUF_SIZE);
	ASSERT_LE(0, self->buf);
	for (i = 0; i != variant->domains; i++) {
		ASSERT_EQ(0, plug(self->fd, self->ioas_id, variant->dev_flags,
				  &self->dev[i]));
		if (!i)
			continue;
		/* Another domain than that of the first device */
		ASSERT_EQ(0, hwpt_alloc(self->fd, self->dev[i].id,
					self->ioas_id, 0, &hwpt_id));
		ASSERT_EQ(0, attach(self->fd, &self->dev[i], hwpt_id));
		self->dev[i].hwpt = hwpt_id;
	}
}

FIXTURE_TEARDOWN(dmabuf)
{
	close(self->buf);
	close(self->fd);
}

/* Every domain maps the range as MMIO */
#define EXPECT_MAPPED(buf_, start, length, iova)                              \
	do {                                                                  \
		unsigned int __i;                                             \
									      \
		for (__i = 0; __i != variant->domains; __i++)                 \
			EXPECT_EQ(0, check(self->fd, self->dev[__i].hwpt,     \
					   buf_, start, length, iova));       \
	} while (0)

#define EXPECT_NOTHING_AT(iova, length)                                       \
	do {                                                                  \
		unsigned int __i;                                             \
									      \
		for (__i = 0; __i != variant->domains; __i++)                 \
			EXPECT_TRUE(nothing_at(self->fd,                      \
					       self->dev[__i].hwpt, self->buf, \
					       iova, length));                \
	} while (0)

TEST_F(dmabuf, map)
{
	const __u64 page = PAGE_SIZE;
	const struct {
		__u64 start;
		__u64 length;
	} parts[] = {
		{ 0, BUF_SIZE },
		{ 0, page },
		{ page, page },
		{ BUF_SIZE - page, page },
		/* A page of the mock domain, which has two in each page */
		{ page / 2, page / 2 },
		{ page / 2, page },
		{ 3 * page - page / 2, 2 * page },
	};
	__u64 iova = IOVA;
	unsigned int i;

	for (i = 0; i != ARRAY_SIZE(parts); i++) {
		__u64 start = parts[i].start, length = parts[i].length;

		/* IOVA and dma-buf have the same offset in a page */
		iova = IOVA + start % page;
		ASSERT_EQ(0, map(self->fd, self->ioas_id, self->buf, start,
				 length, iova)) {
			TH_LOG("part %u", i);
		}
		EXPECT_MAPPED(self->buf, start, length, iova);
		EXPECT_EQ(-EEXIST, map(self->fd, self->ioas_id, self->buf, 0,
				       page, IOVA));
		ASSERT_EQ(0, ioas_unmap(self->fd, self->ioas_id, iova, length));
		EXPECT_NOTHING_AT(iova, length);
	}
}

/* Two areas map the same memory, and are unmapped one after the other */
TEST_F(dmabuf, map_twice)
{
	const __u64 other = IOVA + 4 * BUF_SIZE;

	ASSERT_EQ(0, map(self->fd, self->ioas_id, self->buf, 0, BUF_SIZE, IOVA));
	ASSERT_EQ(0, ioas_map_file_at(self->fd, self->ioas_id, self->buf, 0,
				      BUF_SIZE, other, READABLE));
	EXPECT_MAPPED(self->buf, 0, BUF_SIZE, IOVA);
	EXPECT_MAPPED(self->buf, 0, BUF_SIZE, other);
	ASSERT_EQ(0, ioas_unmap(self->fd, self->ioas_id, IOVA, BUF_SIZE));
	EXPECT_NOTHING_AT(IOVA, BUF_SIZE);
	EXPECT_MAPPED(self->buf, 0, BUF_SIZE, other);
	ASSERT_EQ(0, ioas_unmap(self->fd, self->ioas_id, 0, ~0ULL));
	EXPECT_NOTHING_AT(other, BUF_SIZE);
}

/* The kernel chooses the IOVA. The mapping outlives all file descriptors. */
TEST_F(dmabuf, any_iova)
{
	struct iommu_ioas_map_file cmd = {
		.size = sizeof(cmd),
		.flags = READABLE,
		.ioas_id = self->ioas_id,
		.fd = self->buf,
		.start = PAGE_SIZE,
		.length = PAGE_SIZE,
	};
	int dup_buf = dup(self->buf);

	ASSERT_LE(0, dup_buf);
	ASSERT_EQ(0, iommufd_ioctl(self->fd, IOMMU_IOAS_MAP_FILE, &cmd));
	EXPECT_MAPPED(self->buf, PAGE_SIZE, PAGE_SIZE, cmd.iova);
	close(self->buf);
	EXPECT_MAPPED(dup_buf, PAGE_SIZE, PAGE_SIZE, cmd.iova);
	close(dup_buf);
	EXPECT_EQ(0, ioas_unmap(self->fd, self->ioas_id, cmd.iova, PAGE_SIZE));
	self->buf = -1;
}

/* Domains may be attached after the mapping, and detached before its end */
TEST_F(dmabuf, domains)
{
	struct mock late;
	unsigned int i;

	ASSERT_EQ(0, map(self->fd, self->ioas_id, self->buf, PAGE_SIZE,
			 2 * PAGE_SIZE, IOVA));
	ASSERT_EQ(0, plug(self->fd, self->ioas_id, variant->dev_flags, &late));
	EXPECT_EQ(0, check(self->fd, late.hwpt, self->buf, PAGE_SIZE,
			   2 * PAGE_SIZE, IOVA));
	/* For other areas, the first domain is the storage_domain */
	for (i = 0; i != variant->domains; i++) {
		ASSERT_EQ(0, destroy(self->fd, self->dev[i].stdev));
		if (i)
			ASSERT_EQ(0, destroy(self->fd, self->dev[i].hwpt));
		EXPECT_EQ(0, check(self->fd, late.hwpt, self->buf, PAGE_SIZE,
				   2 * PAGE_SIZE, IOVA));
	}
	ASSERT_EQ(0, destroy(self->fd, late.stdev));
	ASSERT_EQ(0, plug(self->fd, self->ioas_id, variant->dev_flags, &late));
	EXPECT_EQ(0, check(self->fd, late.hwpt, self->buf, PAGE_SIZE,
			   2 * PAGE_SIZE, IOVA));
	ASSERT_EQ(0, ioas_unmap(self->fd, self->ioas_id, IOVA, 2 * PAGE_SIZE));
	EXPECT_TRUE(nothing_at(self->fd, late.hwpt, self->buf, IOVA,
			       2 * PAGE_SIZE));
	ASSERT_EQ(0, destroy(self->fd, late.stdev));
}

/*
 * Revoking the memory unmaps it from every domain of every IOAS, for good. The
 * neighbours stay mapped.
 */
TEST_F(dmabuf, revoke)
{
	const __u64 next = IOVA + BUF_SIZE, other = IOVA + 4 * BUF_SIZE;
	__u32 ioas_id, hwpt_id;
	struct mock dev, late;
	int neighbour;

	neighbour = dmabuf_get(self->fd, BUF_SIZE);
	ASSERT_LE(0, neighbour);
	ASSERT_EQ(0, ioas_alloc(self->fd, &ioas_id));
	ASSERT_EQ(0, plug(self->fd, ioas_id, variant->dev_flags, &dev));
	ASSERT_EQ(0, map(self->fd, self->ioas_id, self->buf, 0, BUF_SIZE, IOVA));
	ASSERT_EQ(0, map(self->fd, self->ioas_id, neighbour, 0, BUF_SIZE, next));
	ASSERT_EQ(0, map(self->fd, self->ioas_id, self->buf, PAGE_SIZE,
			 PAGE_SIZE, other));
	ASSERT_EQ(0, copy(self->fd, self->ioas_id, ioas_id, IOVA, BUF_SIZE,
			  READABLE));
	EXPECT_EQ(0, check(self->fd, dev.hwpt, self->buf, 0, BUF_SIZE, IOVA));

	ASSERT_EQ(0, set_revoked(self->fd, self->buf, true));
	EXPECT_NOTHING_AT(IOVA, BUF_SIZE);
	EXPECT_NOTHING_AT(other, PAGE_SIZE);
	EXPECT_TRUE(nothing_at(self->fd, dev.hwpt, self->buf, IOVA, BUF_SIZE));
	EXPECT_MAPPED(neighbour, 0, BUF_SIZE, next);

	/* Until the memory returns, new mappings and domains do not get it */
	EXPECT_EQ(-ENODEV, map(self->fd, self->ioas_id, self->buf, 0, PAGE_SIZE,
			       IOVA + 2 * BUF_SIZE));
	EXPECT_EQ(-ENODEV, map(self->fd, self->ioas_id, self->buf, 0, PAGE_SIZE,
			       IOVA));
	ASSERT_EQ(0, hwpt_alloc(self->fd, dev.id, ioas_id, 0, &hwpt_id));
	EXPECT_TRUE(nothing_at(self->fd, hwpt_id, self->buf, IOVA, BUF_SIZE));
	ASSERT_EQ(0, destroy(self->fd, hwpt_id));
	EXPECT_EQ(-EEXIST, copy(self->fd, ioas_id, self->ioas_id, IOVA,
				BUF_SIZE, READABLE));
	ASSERT_EQ(0, set_revoked(self->fd, self->buf, true));

	/* The return of the memory does not restore the mappings */
	ASSERT_EQ(0, set_revoked(self->fd, self->buf, false));
	EXPECT_NOTHING_AT(IOVA, BUF_SIZE);
	ASSERT_EQ(0, plug(self->fd, self->ioas_id, variant->dev_flags, &late));
	EXPECT_TRUE(nothing_at(self->fd, late.hwpt, self->buf, IOVA, BUF_SIZE));
	EXPECT_EQ(0, check(self->fd, late.hwpt, neighbour, 0, BUF_SIZE, next));
	EXPECT_EQ(-EEXIST, map(self->fd, self->ioas_id, self->buf, 0, PAGE_SIZE,
			       IOVA));

	/* Copies of a dead mapping are dead, new mappings are not */
	ASSERT_EQ(0, ioas_unmap(self->fd, ioas_id, IOVA, BUF_SIZE));
	ASSERT_EQ(0, copy(self->fd, self->ioas_id, ioas_id, IOVA, BUF_SIZE,
			  READABLE));
	EXPECT_TRUE(nothing_at(self->fd, dev.hwpt, self->buf, IOVA, BUF_SIZE));
	ASSERT_EQ(0, ioas_unmap(self->fd, self->ioas_id, IOVA, BUF_SIZE));
	ASSERT_EQ(0, map(self->fd, self->ioas_id, self->buf, 0, BUF_SIZE, IOVA));
	EXPECT_MAPPED(self->buf, 0, BUF_SIZE, IOVA);
	EXPECT_EQ(0, check(self->fd, late.hwpt, self->buf, 0, BUF_SIZE, IOVA));

	/* New mappings are revoked as well */
	ASSERT_EQ(0, set_revoked(self->fd, self->buf, true));
	EXPECT_NOTHING_AT(IOVA, BUF_SIZE);
	EXPECT_TRUE(nothing_at(self->fd, late.hwpt, self->buf, IOVA, BUF_SIZE));
	ASSERT_EQ(0, destroy(self->fd, late.stdev));
	close(neighbour);
}

/* Revoke the memory when some of its mappings are gone */
TEST_F(dmabuf, revoke_late)
{
	__u32 ioas_id;
	int fd;

	fd = iommufd_open();
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ioas_alloc(fd, &ioas_id));
	ASSERT_EQ(0, map(fd, ioas_id, self->buf, 0, BUF_SIZE, IOVA));
	ASSERT_EQ(0, map(self->fd, self->ioas_id, self->buf, 0, BUF_SIZE, IOVA));
	close(fd);
	ASSERT_EQ(0, ioas_alloc(self->fd, &ioas_id));
	ASSERT_EQ(0, map(self->fd, ioas_id, self->buf, 0, BUF_SIZE, IOVA));
	ASSERT_EQ(0, destroy(self->fd, ioas_id));
	ASSERT_EQ(0, set_revoked(self->fd, self->buf, true));
	EXPECT_NOTHING_AT(IOVA, BUF_SIZE);
	/* Closing the iommufd ends the mappings */
	close(self->fd);
	self->fd = iommufd_open();
	ASSERT_EQ(0, set_revoked(self->fd, self->buf, false));
}

/* In-kernel users of an IOAS need pages, and a dma-buf has none */
TEST_F(dmabuf, access)
{
	static char buf[64];
	struct iommu_test_cmd rw = {
		.op = IOMMU_TEST_OP_ACCESS_RW,
		.access_rw = { .length = sizeof(buf),
			       .uptr = (uintptr_t)buf },
	};
	struct iommu_test_cmd pin = {
		.op = IOMMU_TEST_OP_ACCESS_PAGES,
		.access_pages = { .length = PAGE_SIZE,
				  .uptr = (uintptr_t)buffer },
	};
	static const __u32 flags[] = {
		0, MOCK_ACCESS_RW_WRITE, MOCK_ACCESS_RW_SLOW_PATH,
	};
	const __u64 next = IOVA + BUF_SIZE;
	__u32 access_id;
	unsigned int i;
	int rc;

	rc = _test_cmd_create_access(self->fd, self->ioas_id, &access_id,
				     MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES);
	ASSERT_EQ(0, rc);
	ASSERT_EQ(0, map(self->fd, self->ioas_id, self->buf, 0, BUF_SIZE, IOVA));
	ASSERT_EQ(0, map_at(self->fd, self->ioas_id, next));

	rw.id = access_id;
	for (i = 0; i != ARRAY_SIZE(flags); i++) {
		rw.access_rw.flags = flags[i];
		rw.access_rw.iova = IOVA;
		EXPECT_EQ(-EINVAL, test_op(self->fd, &rw));
		/* The end of the dma-buf, and the start of a page */
		rw.access_rw.iova = next - sizeof(buf) / 2;
		EXPECT_EQ(-EINVAL, test_op(self->fd, &rw));
		rw.access_rw.iova = next;
		EXPECT_EQ(0, test_op(self->fd, &rw));
	}

	pin.id = access_id;
	for (i = 0; i != 2; i++) {
		pin.access_pages.flags = i ? MOCK_FLAGS_ACCESS_WRITE : 0;
		pin.access_pages.iova = IOVA;
		EXPECT_EQ(-EINVAL, test_op(self->fd, &pin));
	}
	/* A pin that fails after its first page is undone */
	pin.access_pages.iova = next - PAGE_SIZE;
	pin.access_pages.length = 2 * PAGE_SIZE;
	EXPECT_EQ(-EINVAL, test_op(self->fd, &pin));
	EXPECT_MAPPED(self->buf, 0, BUF_SIZE, IOVA);
	EXPECT_EQ(0, ioas_unmap(self->fd, self->ioas_id, 0, ~0ULL));
	EXPECT_EQ(0, err(_test_cmd_destroy_access(access_id)));
}

/* Memory of a device is charged to nobody, not even with a limit of 0 */
TEST_F(dmabuf, not_charged)
{
	static const struct rlimit none;
	struct mock dev;
	int status;
	pid_t pid;

	ASSERT_EQ(0, plug(self->fd, self->ioas_id, variant->dev_flags, &dev));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		if (setrlimit(RLIMIT_MEMLOCK, &none) || setuid(NOBODY))
			_exit(1);
		if (map_at(self->fd, self->ioas_id, IOVA) != -ENOMEM)
			_exit(2);
		_exit(map(self->fd, self->ioas_id, self->buf, 0, BUF_SIZE,
			  IOVA) ? 3 : 0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_TRUE(WIFEXITED(status));
	EXPECT_EQ(0, WEXITSTATUS(status));
	EXPECT_EQ(0, check(self->fd, dev.hwpt, self->buf, 0, BUF_SIZE, IOVA));
	ASSERT_EQ(0, destroy(self->fd, dev.stdev));
}

static int change_process(int fd)
{
	struct iommu_ioas_change_process cmd = { .size = sizeof(cmd) };

	return iommufd_ioctl(fd, IOMMU_IOAS_CHANGE_PROCESS, &cmd);
}

/* CHANGE_PROCESS keeps a mapping, which can outlive the process that made it */
TEST_F(dmabuf, change_process)
{
	struct mock dev;
	int status;
	pid_t pid;

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(map(self->fd, self->ioas_id, self->buf, 0, BUF_SIZE,
			  IOVA) ? 1 : 0);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_EQ(0, status);
	ASSERT_EQ(0, plug(self->fd, self->ioas_id, variant->dev_flags, &dev));
	EXPECT_EQ(0, change_process(self->fd));
	EXPECT_EQ(0, check(self->fd, dev.hwpt, self->buf, 0, BUF_SIZE, IOVA));
	ASSERT_EQ(0, set_revoked(self->fd, self->buf, true));
	EXPECT_EQ(0, change_process(self->fd));
	ASSERT_EQ(0, destroy(self->fd, dev.stdev));
	ASSERT_EQ(0, ioas_unmap(self->fd, self->ioas_id, IOVA, BUF_SIZE));
	EXPECT_EQ(0, change_process(self->fd));
}

TEST_F(dmabuf, copy)
{
	__u32 ioas_id;
	struct mock dev;

	ASSERT_EQ(0, ioas_alloc(self->fd, &ioas_id));
	ASSERT_EQ(0, ioas_map_file_at(self->fd, self->ioas_id, self->buf, 0,
				      BUF_SIZE, IOVA, READABLE));
	/* A copy cannot have more rights, but can be a part of the source */
	EXPECT_EQ(-EPERM, copy(self->fd, self->ioas_id, ioas_id, IOVA, BUF_SIZE,
			       READABLE | WRITEABLE));
	ASSERT_EQ(0, copy(self->fd, self->ioas_id, ioas_id, IOVA + PAGE_SIZE,
			  PAGE_SIZE, READABLE));
	ASSERT_EQ(0, plug(self->fd, ioas_id, variant->dev_flags, &dev));
	EXPECT_EQ(0, check(self->fd, dev.hwpt, self->buf, PAGE_SIZE, PAGE_SIZE,
			   IOVA + PAGE_SIZE));
	/* The copy outlives its source */
	ASSERT_EQ(0, ioas_unmap(self->fd, self->ioas_id, IOVA, BUF_SIZE));
	EXPECT_EQ(0, check(self->fd, dev.hwpt, self->buf, PAGE_SIZE, PAGE_SIZE,
			   IOVA + PAGE_SIZE));
	EXPECT_NOTHING_AT(IOVA, BUF_SIZE);
	ASSERT_EQ(0, set_revoked(self->fd, self->buf, true));
	EXPECT_TRUE(nothing_at(self->fd, dev.hwpt, self->buf, IOVA, BUF_SIZE));
	ASSERT_EQ(0, destroy(self->fd, dev.stdev));
}

/* Part of a mapping cannot be unmapped by any call, unlike other memory */
TEST_F(dmabuf, split)
{
	struct iommu_vfio_ioas compat = {
		.size = sizeof(compat),
		.ioas_id = self->ioas_id,
		.op = IOMMU_VFIO_IOAS_SET,
	};
	struct iommu_option small = {
		.size = sizeof(small),
		.option_id = IOMMU_OPTION_HUGE_PAGES,
		.op = IOMMU_OPTION_OP_SET,
		.object_id = self->ioas_id,
	};
	struct vfio_iommu_type1_dma_unmap part = {
		.argsz = sizeof(part),
		.iova = IOVA + PAGE_SIZE,
		.size = PAGE_SIZE,
	};

	EXPECT_EQ(0, iommufd_ioctl(self->fd, IOMMU_OPTION, &small));
	EXPECT_EQ(0, iommufd_ioctl(self->fd, IOMMU_VFIO_IOAS, &compat));
	ASSERT_EQ(0, map(self->fd, self->ioas_id, self->buf, 0, BUF_SIZE, IOVA));
	EXPECT_MAPPED(self->buf, 0, BUF_SIZE, IOVA);
	EXPECT_EQ(-ENOENT, ioas_unmap(self->fd, self->ioas_id, IOVA + PAGE_SIZE,
				      PAGE_SIZE));
	EXPECT_EQ(-EINVAL, iommufd_ioctl(self->fd, VFIO_IOMMU_UNMAP_DMA, &part));
	EXPECT_MAPPED(self->buf, 0, BUF_SIZE, IOVA);
	ASSERT_EQ(0, set_revoked(self->fd, self->buf, true));
	EXPECT_EQ(-EINVAL, iommufd_ioctl(self->fd, VFIO_IOMMU_UNMAP_DMA, &part));
	part.iova = IOVA;
	part.size = BUF_SIZE;
	EXPECT_EQ(0, iommufd_ioctl(self->fd, VFIO_IOMMU_UNMAP_DMA, &part));
	EXPECT_EQ(BUF_SIZE, part.size);
}

TEST_F(dmabuf, refused)
{
	__u64 start = (__u64)LONG_MAX & ~(PAGE_SIZE - 1);
	int none = dup(self->buf);

	close(none);
	EXPECT_EQ(-EOPNOTSUPP,
		  ioas_map_file_at(self->fd, self->ioas_id, self->buf, 0,
				   PAGE_SIZE, IOVA, READABLE | 8));
	EXPECT_EQ(-EINVAL, ioas_map_file_at(self->fd, self->ioas_id, self->buf,
					    0, PAGE_SIZE, IOVA, 0));
	EXPECT_EQ(-ENOENT, map(self->fd, NO_ID, self->buf, 0, PAGE_SIZE, IOVA));
	EXPECT_EQ(-EBADF, map(self->fd, self->ioas_id, none, 0, PAGE_SIZE,
			      IOVA));
	EXPECT_EQ(-EINVAL, map(self->fd, self->ioas_id, self->buf, 0, 0, IOVA));
	EXPECT_EQ(-EINVAL, map(self->fd, self->ioas_id, self->buf, 0,
			       BUF_SIZE + 1, IOVA));
	EXPECT_EQ(-EINVAL, map(self->fd, self->ioas_id, self->buf, PAGE_SIZE,
			       BUF_SIZE, IOVA));
	EXPECT_EQ(-EINVAL, map(self->fd, self->ioas_id, self->buf, BUF_SIZE,
			       PAGE_SIZE, IOVA));
	EXPECT_EQ(-EINVAL, map(self->fd, self->ioas_id, self->buf, start, start,
			       IOVA));
	EXPECT_EQ(-EINVAL, map(self->fd, self->ioas_id, self->buf, 1ULL << 40,
			       ~0ULL - (1ULL << 40), IOVA));
	EXPECT_EQ(-EOVERFLOW, map(self->fd, self->ioas_id, self->buf, ~0ULL,
				  PAGE_SIZE, IOVA));
	if (variant->domains) {
		/* A fraction of the smallest page of the domain */
		EXPECT_EQ(-EINVAL, map(self->fd, self->ioas_id, self->buf, 0,
				       PAGE_SIZE / 4, IOVA));
		EXPECT_EQ(-EINVAL, map(self->fd, self->ioas_id, self->buf,
				       PAGE_SIZE / 4, PAGE_SIZE, IOVA));
	}
	EXPECT_NOTHING_AT(IOVA, BUF_SIZE);
}

/* Other exporters make no promises about their memory */
TEST_F(dmabuf, other_exporter)
{
	struct udmabuf_create create = { .flags = UDMABUF_FLAGS_CLOEXEC };
	int dev = open("/dev/udmabuf", O_RDWR | O_CLOEXEC), buf;

	if (dev < 0)
		SKIP(return, "no /dev/udmabuf");
	create.size = BUF_SIZE;
	create.memfd = memfd_create("udmabuf", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	ASSERT_LE(0, (int)create.memfd);
	ASSERT_EQ(0, ftruncate(create.memfd, BUF_SIZE));
	ASSERT_EQ(0, fcntl(create.memfd, F_ADD_SEALS, F_SEAL_SHRINK));
	buf = ioctl(dev, UDMABUF_CREATE, &create);
	ASSERT_LE(0, buf);
	EXPECT_EQ(-EOPNOTSUPP, map(self->fd, self->ioas_id, buf, 0, BUF_SIZE,
				   IOVA));
	close(buf);
	close(create.memfd);
	close(dev);
}

/* A VM: the memory of the device is in a nesting parent */
TEST_F(dmabuf, nested)
{
	__u32 parent, nested, other, viommu, queue;
	struct mock dev;

	ASSERT_EQ(0, map(self->fd, self->ioas_id, self->buf, 0, BUF_SIZE, IOVA));
	ASSERT_EQ(0, plug(self->fd, self->ioas_id, 0, &dev));
	ASSERT_EQ(0, hwpt_alloc(self->fd, dev.id, self->ioas_id,
				IOMMU_HWPT_ALLOC_NEST_PARENT, &parent));
	EXPECT_EQ(0, check(self->fd, parent, self->buf, 0, BUF_SIZE, IOVA));
	ASSERT_EQ(0, nested_alloc(self->fd, dev.id, parent, &nested));
	ASSERT_EQ(0, attach(self->fd, &dev, nested));

	/* Hardware that reads a queue by its physical address needs pages */
	ASSERT_EQ(0, viommu_alloc(self->fd, dev.id, parent, &viommu));
	EXPECT_EQ(-EINVAL, hw_queue_alloc(self->fd, viommu,
					  IOMMU_HW_QUEUE_TYPE_SELFTEST, 0, IOVA,
					  PAGE_SIZE, &queue));
	ASSERT_EQ(0, destroy(self->fd, viommu));

	ASSERT_EQ(0, set_revoked(self->fd, self->buf, true));
	EXPECT_TRUE(nothing_at(self->fd, parent, self->buf, IOVA, BUF_SIZE));
	ASSERT_EQ(0, set_revoked(self->fd, self->buf, false));

	/* Replacing the HWPT changes nothing */
	ASSERT_EQ(0, ioas_unmap(self->fd, self->ioas_id, IOVA, BUF_SIZE));
	ASSERT_EQ(0, map(self->fd, self->ioas_id, self->buf, 0, BUF_SIZE, IOVA));
	ASSERT_EQ(0, hwpt_alloc(self->fd, dev.id, self->ioas_id, 0, &other));
	ASSERT_EQ(0, attach(self->fd, &dev, other));
	ASSERT_EQ(0, destroy_these(self->fd, nested, parent));
	EXPECT_EQ(0, check(self->fd, other, self->buf, 0, BUF_SIZE, IOVA));
	EXPECT_MAPPED(self->buf, 0, BUF_SIZE, IOVA);
	ASSERT_EQ(0, destroy_these(self->fd, dev.stdev, other));
	EXPECT_MAPPED(self->buf, 0, BUF_SIZE, IOVA);
}

/* The bits of the pages from IOVA on; each page of the mock domain has one */
#define DIRTY_PAGES	(3 * BUF_SIZE / (PAGE_SIZE / 2))

static int get_dirty(int fd, __u32 hwpt_id, __u64 *bits)
{
	struct iommu_hwpt_get_dirty_bitmap cmd = {
		.size = sizeof(cmd),
		.hwpt_id = hwpt_id,
		.iova = IOVA,
		.length = 3 * BUF_SIZE,
		.page_size = PAGE_SIZE / 2,
		.data = (uintptr_t)bits,
	};

	*bits = 0;
	return iommufd_ioctl(fd, IOMMU_HWPT_GET_DIRTY_BITMAP, &cmd);
}

/* Memory of a device is never dirty, but its neighbours are */
TEST_F(dmabuf, dirty)
{
	struct iommu_hwpt_set_dirty_tracking track = {
		.size = sizeof(track),
		.flags = IOMMU_HWPT_DIRTY_TRACKING_ENABLE,
	};
	__u64 all = ~0ULL >> (64 - DIRTY_PAGES), bits;
	/* The dma-buf is the second of three parts */
	__u64 ram = all & ~(((1ULL << DIRTY_PAGES / 3) - 1)
			    << DIRTY_PAGES / 3);
	struct iommu_test_cmd dirty = {
		.op = IOMMU_TEST_OP_DIRTY,
		.dirty = { .iova = IOVA, .length = 3 * BUF_SIZE,
			   .page_size = PAGE_SIZE / 2,
			   .uptr = (uintptr_t)&all },
	};
	unsigned int i;
	__u32 hwpt_id;
	struct mock dev;

	ASSERT_EQ(0, ioas_map(self->fd, self->ioas_id, buffer, IOVA, BUF_SIZE,
			      true));
	ASSERT_EQ(0, map(self->fd, self->ioas_id, self->buf, 0, BUF_SIZE,
			 IOVA + BUF_SIZE));
	ASSERT_EQ(0, ioas_map(self->fd, self->ioas_id, buffer,
			      IOVA + 2 * BUF_SIZE, BUF_SIZE, true));
	ASSERT_EQ(0, plug(self->fd, self->ioas_id, 0, &dev));
	ASSERT_EQ(0, hwpt_alloc(self->fd, dev.id, self->ioas_id,
				IOMMU_HWPT_ALLOC_DIRTY_TRACKING, &hwpt_id));
	track.hwpt_id = hwpt_id;
	dirty.id = hwpt_id;
	ASSERT_EQ(0, iommufd_ioctl(self->fd, IOMMU_HWPT_SET_DIRTY_TRACKING,
				   &track));

	for (i = 0; i != 2; i++) {
		ASSERT_EQ(0, test_op(self->fd, &dirty));
		/* In the second round, the middle is not mapped any more */
		EXPECT_EQ(DIRTY_PAGES * (3 - i) / 3, dirty.dirty.out_nr_dirty);
		EXPECT_EQ(0, get_dirty(self->fd, hwpt_id, &bits));
		EXPECT_EQ(ram, bits);
		EXPECT_EQ(0, get_dirty(self->fd, hwpt_id, &bits));
		EXPECT_EQ(0, bits);
		ASSERT_EQ(0, set_revoked(self->fd, self->buf, true));
	}
	/* Enabling the tracking clears all dirty bits */
	track.flags = 0;
	EXPECT_EQ(0, iommufd_ioctl(self->fd, IOMMU_HWPT_SET_DIRTY_TRACKING,
				   &track));
	track.flags = IOMMU_HWPT_DIRTY_TRACKING_ENABLE;
	EXPECT_EQ(0, iommufd_ioctl(self->fd, IOMMU_HWPT_SET_DIRTY_TRACKING,
				   &track));
	ASSERT_EQ(0, destroy(self->fd, hwpt_id));
}

/* Threads that work against each other */
struct race {
	int fd;
	int buf;
	__u32 ioas_id;
	__u32 dev_id;
	atomic_bool stop;
};

struct racer {
	struct race *race;
	/* Return: 0, -ENODEV if it found the memory to be away, or an errno */
	int (*once)(struct racer *racer);
	pthread_t thread;
	__u64 iova;
	unsigned long done;
	unsigned long away;
	int rc;
};

static int do_revoke(struct racer *racer)
{
	return set_revoked(racer->race->fd, racer->race->buf,
			   racer->done & 1);
}

static int do_map(struct racer *racer)
{
	struct race *r = racer->race;
	int rc = map(r->fd, r->ioas_id, r->buf, 0, BUF_SIZE, racer->iova);

	return rc ?: ioas_unmap(r->fd, r->ioas_id, racer->iova, BUF_SIZE);
}

static int do_domain(struct racer *racer)
{
	struct race *r = racer->race;
	__u32 hwpt_id;
	int rc = hwpt_alloc(r->fd, r->dev_id, r->ioas_id, 0, &hwpt_id);

	return rc ?: destroy(r->fd, hwpt_id);
}

static void *race_thread(void *arg)
{
	struct racer *racer = arg;
	int rc;

	while (!racer->race->stop && !racer->rc) {
		rc = racer->once(racer);
		if (rc == -ENODEV)
			racer->away++;
		else if (rc)
			racer->rc = rc;
		else
			racer->done++;
	}
	return NULL;
}

/* Whether each racer has succeeded, and a map has met a revocation */
static bool racers_met(const struct racer *racers, unsigned int num)
{
	while (num--) {
		if (!racers[num].done)
			return false;
	}
	return racers[1].away;
}

/* Maps, domains and revocations at the same time leave no partial mapping */
TEST_F_TIMEOUT(dmabuf, race, 100)
{
	struct race race = { .fd = self->fd, .buf = self->buf,
			     .ioas_id = self->ioas_id };
	struct racer racers[] = {
		{ .once = do_revoke },
		{ .once = do_map, .iova = IOVA },
		{ .once = do_map, .iova = IOVA + 4 * BUF_SIZE },
		{ .once = do_domain },
	};
	double end = now() + 1.5;
	struct mock dev;
	unsigned int i;

	ASSERT_EQ(0, plug(self->fd, self->ioas_id, variant->dev_flags, &dev));
	race.dev_id = dev.id;
	for (i = 0; i != ARRAY_SIZE(racers); i++) {
		racers[i].race = &race;
		ASSERT_EQ(0, pthread_create(&racers[i].thread, NULL,
					    race_thread, &racers[i]));
	}
	while (now() < end || (!racers_met(racers, ARRAY_SIZE(racers)) &&
			       now() < end + 60))
		usleep(10000);
	race.stop = true;
	for (i = 0; i != ARRAY_SIZE(racers); i++) {
		ASSERT_EQ(0, pthread_join(racers[i].thread, NULL));
		EXPECT_EQ(0, racers[i].rc);
		EXPECT_LT(0, racers[i].done);
	}
	EXPECT_LT(0, racers[1].away);
	EXPECT_EQ(0, racers[0].away + racers[3].away);

	EXPECT_EQ(0, set_revoked(self->fd, self->buf, false));
	EXPECT_EQ(0, map(self->fd, self->ioas_id, self->buf, 0, BUF_SIZE, IOVA));
	EXPECT_EQ(0, check(self->fd, dev.hwpt, self->buf, 0, BUF_SIZE, IOVA));
	EXPECT_EQ(0, destroy(self->fd, dev.stdev));
	/* No area may still use anything of the IOAS */
	EXPECT_EQ(0, ioas_unmap(self->fd, self->ioas_id, 0, ~0ULL));
}

TEST_HARNESS_MAIN
