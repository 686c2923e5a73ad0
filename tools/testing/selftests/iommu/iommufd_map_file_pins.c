// SPDX-License-Identifier: GPL-2.0-only
/*
 * IOMMU_IOAS_MAP_FILE, against the mock IOMMU driver: how pages are held, counted
 * and released, and the refusals.
 */
#include <linux/falloc.h>
#include <sched.h>
#include <signal.h>
#include <sys/param.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define __EXPORTED_HEADERS__
#include "iommufd_utils.h"
#include "iommufd_map_file.h"
#include "lib/hwpoison.h"

/*
 * Check that each of these pages has @num pins, and that no other page of their
 * folio has any
 */
#define expect_pins(self, mem, npages, num)				\
	do {								\
		__u32 __pages;						\
		long __pins = folio_pins((self)->fd, mem, &__pages);	\
									\
		if (__pages == 1) {					\
			EXPECT_EQ(0, pins((self)->fd, mem,		\
					  (npages) * PAGE_SIZE, num));	\
		} else {						\
			EXPECT_EQ(HUGE_SIZE, __pages * PAGE_SIZE);	\
			EXPECT_EQ((npages) * (num), __pins);		\
		}							\
	} while (0)

/* Domains come and go, and accesses pin pages without a domain */
TEST_F(map_file, pins)
{
	/* All in a single folio, if it is a huge page */
	const unsigned int num = MIN(100, HUGE_SIZE / PAGE_SIZE);
	const unsigned int part = num * 2 / 5;
	struct iommu_test_cmd pin = {
		.op = IOMMU_TEST_OP_ACCESS_PAGES,
		.access_pages = { .iova = IOVA, .length = part * PAGE_SIZE,
				  .uptr = (uintptr_t)self->mem },
	};
	__u32 stdev_id;

	/* Fill the file, so that all of its pages exist */
	memset(self->mem, 1, FILE_SIZE);
	test_cmd_create_access(self->ioas_id, &pin.id,
			       MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES);
	ASSERT_EQ(0, map_at(self->fd, self->ioas_id, self->file, 0,
			    num * PAGE_SIZE, IOVA, READABLE | WRITEABLE));
	expect_pins(self, self->mem, num, 0);
	ASSERT_EQ(0, test_op(self->fd, &pin));
	expect_pins(self, self->mem, part, 1);
	add_domain(self);
	EXPECT_EQ(0, check_map(self->fd, self->hwpt_id, self->mem, IOVA,
			       num * PAGE_SIZE));
	expect_pins(self, self->mem, num, 1);
	test_cmd_mock_domain(self->ioas_id, &stdev_id, NULL, NULL);
	test_ioctl_destroy(self->stdev_id);
	test_cmd_destroy_access_pages(pin.id,
				      pin.access_pages.out_access_pages_id);
	expect_pins(self, self->mem, num, 1);
	test_ioctl_destroy(stdev_id);
	expect_pins(self, self->mem, num, 0);
	test_cmd_destroy_access(pin.id);
}

/* Two folios, each of them mapped in part, and one of them twice */
TEST_F(map_file, pins_of_parts)
{
	const __u64 page = PAGE_SIZE;
	const unsigned int num = MIN(57, HUGE_SIZE / PAGE_SIZE);
	void *first = self->mem + HUGE_SIZE - 3 * page;
	void *second = self->mem + HUGE_SIZE;

	memset(self->mem, 1, FILE_SIZE);
	add_domain(self);
	ASSERT_EQ(0, map_at(self->fd, self->ioas_id, self->file,
			    HUGE_SIZE - 3 * page, (3 + num) * page, IOVA,
			    READABLE | WRITEABLE));
	expect_pins(self, first, 3, 1);
	expect_pins(self, second, num, 1);
	ASSERT_EQ(0, map_at(self->fd, self->ioas_id, self->file, HUGE_SIZE,
			    num * page, IOVA + FILE_SIZE, READABLE));
	expect_pins(self, second, num, 2);
	ASSERT_EQ(0, unmap(self->fd, self->ioas_id, IOVA, (3 + num) * page));
	expect_pins(self, first, 3, 0);
	expect_pins(self, second, num, 1);
	ASSERT_EQ(0, unmap(self->fd, self->ioas_id, IOVA + FILE_SIZE,
			   num * page));
	expect_pins(self, second, num, 0);
}

TEST_F(map_file, copy)
{
	struct iommu_ioas_copy copy = {
		.size = sizeof(copy),
		.flags = FIXED | READABLE,
		.src_ioas_id = self->ioas_id,
		.length = 10 * PAGE_SIZE,
		.src_iova = IOVA,
		.dst_iova = IOVA,
	};

	ASSERT_EQ(0, map_at(self->fd, self->ioas_id, self->file, HUGE_SIZE,
			    copy.length, IOVA, READABLE | WRITEABLE));
	test_ioctl_ioas_alloc(&copy.dst_ioas_id);
	ASSERT_EQ(0, ioctl(self->fd, IOMMU_IOAS_COPY, &copy));
	ASSERT_EQ(0, unmap(self->fd, self->ioas_id, IOVA, copy.length));
	self->ioas_id = copy.dst_ioas_id;
	add_domain(self);
	EXPECT_EQ(0, check_map(self->fd, self->hwpt_id, self->mem + HUGE_SIZE,
			       IOVA, copy.length));
}

/* A device keeps its pages. A new mapping does not get pages that are gone */
TEST_F(map_file, made_shorter)
{
	__u32 access_id, hwpt_id, stdev_id;
	char buf[4];

	test_cmd_create_access(self->ioas_id, &access_id, 0);
	ASSERT_EQ(0, map_at(self->fd, self->ioas_id, self->file, HUGE_SIZE,
			    PAGE_SIZE, IOVA, READABLE | WRITEABLE));
	add_domain(self);
	memcpy(self->mem + HUGE_SIZE, "here", 4);
	ASSERT_EQ(0, ftruncate(self->file, HUGE_SIZE));
	ASSERT_EQ(0, access_rw(self->fd, access_id, IOVA, buf, 4, 0));
	EXPECT_EQ(0, memcmp(buf, "here", 4));
	test_ioctl_destroy(self->stdev_id);
	EXPECT_EQ(-EINVAL, access_rw(self->fd, access_id, IOVA, buf, 4, 0));
	EXPECT_EQ(-EINVAL, err(_test_cmd_mock_domain(self->fd, self->ioas_id,
						     &stdev_id, &hwpt_id, NULL)));
	test_cmd_destroy_access(access_id);
}

/* Run this in a child, because an access to the page kills the process */
static int poison(void *mem)
{
	int status;
	pid_t pid;

	pid = fork();
	if (!pid)
		_exit(madvise(mem, PAGE_SIZE, MADV_HWPOISON) ? errno : 0);
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return -errno;
	return WIFEXITED(status) ? -WEXITSTATUS(status) : 0;
}

/*
 * A page with a memory error stays in a file of shmem, and cannot be mapped.
 * Neither can the rest of a huge page that is in use and cannot be split.
 */
TEST_F(map_file, poisoned)
{
	__u32 access_id;
	char buf[4];
	__u64 pfn;
	int rc;

	if (variant->memfd_flags)
		SKIP(return, "hugetlbfs removes a poisoned page");
	if (access(HWPOISON_HEAL, W_OK))
		SKIP(return, "no CONFIG_HWPOISON_INJECT to unpoison the page");
	memset(self->mem, 1, 3 * PAGE_SIZE);
	add_domain(self);
	if (variant->thp)
		ASSERT_EQ(0, map_at(self->fd, self->ioas_id, self->file, 0,
				    PAGE_SIZE, IOVA + FILE_SIZE, READABLE));
	pfn = pfn_of(self->mem + PAGE_SIZE);
	ASSERT_NE(0, pfn);
	rc = poison(self->mem + PAGE_SIZE);
	if (rc && rc != -EBUSY)
		SKIP(return, "no MADV_HWPOISON here: %s", strerror(-rc));

	EXPECT_EQ(-EHWPOISON, map_at(self->fd, self->ioas_id, self->file, 0,
				     3 * PAGE_SIZE, IOVA, READABLE | WRITEABLE));
	EXPECT_EQ(variant->thp ? -EHWPOISON : 0,
		  map_at(self->fd, self->ioas_id, self->file, 0, PAGE_SIZE,
			 IOVA, READABLE | WRITEABLE));
	EXPECT_EQ(variant->thp ? -EHWPOISON : 0,
		  map_at(self->fd, self->ioas_id, self->file, 2 * PAGE_SIZE,
			 PAGE_SIZE, IOVA + 2 * PAGE_SIZE, READABLE));
	expect_pins(self, self->mem, 1, 1);

	/* An access that does not hold the pages looks them up each time */
	test_ioctl_destroy(self->stdev_id);
	expect_pins(self, self->mem, 1, 0);
	test_cmd_create_access(self->ioas_id, &access_id, 0);
	ASSERT_EQ(0, map_at(self->fd, self->ioas_id, self->file, 0,
			    3 * PAGE_SIZE, IOVA + 8 * PAGE_SIZE,
			    READABLE | WRITEABLE));
	EXPECT_EQ(-EHWPOISON,
		  access_rw(self->fd, access_id, IOVA + 9 * PAGE_SIZE, buf,
			    sizeof(buf), 0));
	EXPECT_EQ(variant->thp ? -EHWPOISON : 0,
		  access_rw(self->fd, access_id, IOVA + 8 * PAGE_SIZE, buf,
			    sizeof(buf), 0));
	test_cmd_destroy_access(access_id);

	/* A page can be repaired only when it has no users left */
	munmap(self->mem, FILE_SIZE);
	ASSERT_EQ(0, ftruncate(self->file, 0));
	EXPECT_EQ(0, heal_pfn(pfn));
	self->mem = mmap(NULL, FILE_SIZE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS,
			 -1, 0);
}

/* More huge pages than this file system has */
TEST_F(map_file, no_huge_page_left)
{
	int file = file_create(self->mnt, variant->memfd_flags);
	__u64 length = (self->free_huge + 1) * HUGE_SIZE;

	if (!variant->memfd_flags)
		SKIP(return, "for huge pages only");
	ASSERT_LE(0, file);
	ASSERT_EQ(0, ftruncate(file, length));
	add_domain(self);
	EXPECT_EQ(-ENOMEM, map_at(self->fd, self->ioas_id, file, 0, length, IOVA,
				  READABLE | WRITEABLE));
	close(file);
}

/* A mapping for DMA that can write counts as a writable mapping */
TEST_F(map_file, seals)
{
	int file = file_create(-1, variant->memfd_flags);

	if (variant->thp)
		SKIP(return, "only memfds have seals");
	add_domain(self);
	ASSERT_EQ(0, map_at(self->fd, self->ioas_id, file, 0, PAGE_SIZE, IOVA,
			    WRITEABLE));
	EXPECT_EQ(-EBUSY, err(fcntl(file, F_ADD_SEALS, F_SEAL_WRITE)));
	ASSERT_EQ(0, unmap(self->fd, self->ioas_id, IOVA, PAGE_SIZE));
	/* The same if no page is held at this moment */
	test_ioctl_destroy(self->stdev_id);
	ASSERT_EQ(0, map_at(self->fd, self->ioas_id, file, 0, PAGE_SIZE, IOVA,
			    WRITEABLE));
	EXPECT_EQ(-EBUSY, err(fcntl(file, F_ADD_SEALS, F_SEAL_WRITE)));
	ASSERT_EQ(0, unmap(self->fd, self->ioas_id, IOVA, PAGE_SIZE));

	ASSERT_EQ(0, fcntl(file, F_ADD_SEALS, F_SEAL_FUTURE_WRITE));
	EXPECT_EQ(-EPERM, map_at(self->fd, self->ioas_id, file, 0, PAGE_SIZE,
				 IOVA, WRITEABLE));
	EXPECT_EQ(0, map_at(self->fd, self->ioas_id, file, 0, PAGE_SIZE, IOVA,
			    READABLE));
	ASSERT_EQ(0, unmap(self->fd, self->ioas_id, IOVA, PAGE_SIZE));
	/* The refused map must not leave anything behind */
	ASSERT_EQ(0, fcntl(file, F_ADD_SEALS, F_SEAL_WRITE));
	EXPECT_EQ(-EPERM, map_at(self->fd, self->ioas_id, file, 0, PAGE_SIZE,
				 IOVA, WRITEABLE));
	add_domain(self);
	EXPECT_EQ(0, map_at(self->fd, self->ioas_id, file, 0, PAGE_SIZE, IOVA,
			    READABLE));
	close(file);
}

TEST_F(map_file, open_mode)
{
	int rd, wr;
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", self->file);
	rd = open(path, O_RDONLY);
	wr = open(path, O_WRONLY);
	ASSERT_LE(0, rd);
	ASSERT_LE(0, wr);
	EXPECT_EQ(-EACCES, map_at(self->fd, self->ioas_id, rd, 0, PAGE_SIZE,
				  IOVA, READABLE | WRITEABLE));
	EXPECT_EQ(-EACCES, map_at(self->fd, self->ioas_id, wr, 0, PAGE_SIZE,
				  IOVA, READABLE));
	EXPECT_EQ(-EACCES, map_at(self->fd, self->ioas_id, wr, 0, PAGE_SIZE,
				  IOVA, WRITEABLE));
	EXPECT_EQ(0, map_at(self->fd, self->ioas_id, rd, 0, PAGE_SIZE, IOVA,
			    READABLE));
	close(rd);
	close(wr);
}

TEST_F(map_file, refused)
{
	struct iommu_ioas_map_file cmd = {
		.size = sizeof(cmd),
		.flags = READABLE,
		.ioas_id = self->ioas_id,
		.fd = self->file,
		.length = PAGE_SIZE,
	};
	struct {
		struct iommu_ioas_map_file cmd;
		__u64 tail;
	} longer = { .cmd = cmd, .tail = 1 };
	int null = open("/dev/null", O_RDWR), path, sv[2];
	__u64 max = ~0ULL;
	char name[64];

	longer.cmd.size = sizeof(longer);

#define REFUSED(error, ...)						\
	do {								\
		struct iommu_ioas_map_file bad = cmd;			\
									\
		__VA_ARGS__;						\
		EXPECT_EQ(error, iommufd_ioctl(self->fd,		\
					       IOMMU_IOAS_MAP_FILE,	\
					       &bad))			\
			TH_LOG("%s", #__VA_ARGS__);			\
	} while (0)

	REFUSED(-EINVAL, bad.size = sizeof(bad) - 1);
	EXPECT_EQ(-E2BIG, iommufd_ioctl(self->fd, IOMMU_IOAS_MAP_FILE,
					&longer));
	REFUSED(-EOPNOTSUPP, bad.flags |= 8);
	REFUSED(-EOPNOTSUPP, bad.flags |= 1U << 31);
	REFUSED(-EINVAL, bad.flags = 0);
	REFUSED(-EINVAL, bad.flags = FIXED);
	REFUSED(-ENOENT, bad.ioas_id = 0x7ffffff0);
	REFUSED(-EBADF, bad.fd = -1);
	REFUSED(-EBADF, bad.fd = 12345);
	REFUSED(-EINVAL, bad.fd = null);
	REFUSED(-EINVAL, bad.fd = self->fd);
	ASSERT_EQ(0, pipe(sv));
	REFUSED(-EINVAL, bad.fd = sv[0]);
	snprintf(name, sizeof(name), "/proc/self/fd/%d", self->file);
	path = open(name, O_PATH);
	ASSERT_LE(0, path);
	REFUSED(-EBADF, bad.fd = path);
	REFUSED(-EINVAL, bad.length = 0);
	REFUSED(-EINVAL, bad.length = FILE_SIZE + 1);
	REFUSED(-EINVAL, bad.length = FILE_SIZE + PAGE_SIZE);
	REFUSED(-EINVAL, bad.start = FILE_SIZE);
	REFUSED(-EINVAL, bad.start = FILE_SIZE - PAGE_SIZE + 1);
	REFUSED(-EINVAL, bad.start = 1ULL << 63);
	REFUSED(-EINVAL, bad.start = max - PAGE_SIZE);
	REFUSED(-EINVAL, bad.length = max - PAGE_SIZE);
	REFUSED(-EINVAL, bad.start = max - 1, bad.length = max - 1);
	REFUSED(-EOVERFLOW, bad.start = max);
	REFUSED(-EOVERFLOW, bad.length = max);
	REFUSED(-EOVERFLOW, bad.flags |= FIXED, bad.iova = max);
	ASSERT_EQ(0, map_at(self->fd, self->ioas_id, self->file, 0,
			    2 * PAGE_SIZE, IOVA, READABLE));
	REFUSED(-EEXIST, bad.flags |= FIXED, bad.iova = IOVA + PAGE_SIZE);
	close(null);
	close(path);
	close(sv[0]);
	close(sv[1]);
}

/* A partial last page: the rest of it belongs to no file */
TEST_F(map_file, not_whole)
{
	if (variant->memfd_flags)
		SKIP(return, "hugetlbfs has whole pages only");
	ASSERT_EQ(0, ftruncate(self->file, PAGE_SIZE + 100));
	EXPECT_EQ(-EINVAL, map_at(self->fd, self->ioas_id, self->file, PAGE_SIZE,
				  100, IOVA, READABLE));
	EXPECT_EQ(0, map_at(self->fd, self->ioas_id, self->file, 0, PAGE_SIZE,
			    IOVA, READABLE));
}

/*
 * Run this in a child, because a process cannot regain the privileges that it
 * drops. Return: the number of the step that failed.
 */
static int limited(int file, bool by_mm)
{
	struct rlimit limit = { .rlim_cur = 60 * PAGE_SIZE,
				.rlim_max = 60 * PAGE_SIZE };
	struct iommu_option option = {
		.size = sizeof(option),
		.option_id = IOMMU_OPTION_RLIMIT_MODE,
		.op = IOMMU_OPTION_OP_SET,
		.val64 = by_mm,
	};
	const char *status = "/proc/self/status";
	long kib = 60 * PAGE_SIZE / 1024;
	int fd = open("/dev/iommu", O_RDWR);
	__u32 ioas_id, stdev_id;

	if (fd < 0 || ioctl(fd, IOMMU_OPTION, &option))
		return 1;
	if (_test_ioctl_ioas_alloc(fd, &ioas_id) ||
	    _test_cmd_mock_domain(fd, ioas_id, &stdev_id, NULL, NULL))
		return 2;
	if (setrlimit(RLIMIT_MEMLOCK, &limit) ||
	    setresuid(NOBODY, NOBODY, NOBODY))
		return 3;
	if (map_at(fd, ioas_id, file, 0, 61 * PAGE_SIZE, IOVA,
		   READABLE | WRITEABLE) != -ENOMEM)
		return 4;
	if (proc_number(status, "VmLck") || proc_number(status, "VmPin"))
		return 5;
	if (map_at(fd, ioas_id, file, 0, 60 * PAGE_SIZE, IOVA,
		   READABLE | WRITEABLE))
		return 6;
	if (proc_number(status, "VmLck") != (by_mm ? kib : 0) ||
	    proc_number(status, "VmPin") != kib)
		return 7;
	if (map_at(fd, ioas_id, file, 0, PAGE_SIZE, IOVA + FILE_SIZE,
		   READABLE) != -ENOMEM)
		return 8;
	if (unmap(fd, ioas_id, IOVA, 60 * PAGE_SIZE))
		return 9;
	if (proc_number(status, "VmLck") || proc_number(status, "VmPin"))
		return 10;
	return 0;
}

static void expect_limit(struct __test_metadata *_metadata, int file, bool by_mm)
{
	int status;
	pid_t pid;

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(limited(file, by_mm));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status) {
		TH_LOG("step %d", WEXITSTATUS(status));
	}
}

TEST_F(map_file, limit_of_user)
{
	expect_limit(_metadata, self->file, false);
}

TEST_F(map_file, limit_of_process)
{
	expect_limit(_metadata, self->file, true);
}

TEST_HARNESS_MAIN
