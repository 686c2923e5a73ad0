/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Files for IOMMU_IOAS_MAP_FILE, against the mock IOMMU driver. Include this after
 * iommufd_utils.h
 *
 * The memory is a memfd of small pages, or a file of huge pages on hugetlbfs or
 * tmpfs. These have a private mount, so that other users of huge pages do not
 * disturb the tests. The kernel compares the pages of a domain with a mapping
 * of the same file in this process.
 */
#ifndef __SELFTEST_IOMMUFD_MAP_FILE_H
#define __SELFTEST_IOMMUFD_MAP_FILE_H

#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/statfs.h>

#include "lib/ioctl.h"

#define HUGE_SIZE	(2UL << 20)
#define FILE_SIZE	(2 * HUGE_SIZE)
/* A file, another file, and pages that were punched out and are still held */
#define HUGE_PAGES	6
/* The file of the most pages, and another file */
#define MOST_HUGE_PAGES	66
#define IOVA		MOCK_APERTURE_START
#define READABLE	IOMMU_IOAS_MAP_READABLE
#define WRITEABLE	IOMMU_IOAS_MAP_WRITEABLE
#define FIXED		IOMMU_IOAS_MAP_FIXED_IOVA
/* An unprivileged user */
#define NOBODY		65534

static __attribute__((constructor)) void setup_sizes(void)
{
	PAGE_SIZE = sysconf(_SC_PAGE_SIZE);
}

#define err(rc) ((rc) ? -errno : 0)

/* All of these return 0 or a negative errno */
static int map_at(int fd, __u32 ioas_id, int file, __u64 start, __u64 length,
		  __u64 iova, __u32 flags)
{
	return ioas_map_file_at(fd, ioas_id, file, start, length, iova, flags);
}

static int unmap(int fd, __u32 ioas_id, __u64 iova, __u64 length)
{
	return ioas_unmap(fd, ioas_id, iova, length);
}

static int test_op(int fd, struct iommu_test_cmd *cmd)
{
	cmd->size = sizeof(*cmd);
	return iommufd_ioctl(fd, _IOMMU_TEST_CMD(cmd->op), cmd);
}

static int check_map(int fd, __u32 hwpt_id, void *mem, __u64 iova, __u64 length)
{
	struct iommu_test_cmd cmd = {
		.op = IOMMU_TEST_OP_MD_CHECK_MAP,
		.id = hwpt_id,
		.check_map = { .iova = iova, .length = length,
			       .uptr = (uintptr_t)mem },
	};

	return test_op(fd, &cmd);
}

static int pins(int fd, void *mem, __u64 length, __u32 num)
{
	struct iommu_test_cmd cmd = {
		.op = IOMMU_TEST_OP_MD_CHECK_REFS,
		.check_refs = { .length = length, .uptr = (uintptr_t)mem,
				.refs = num },
	};

	return test_op(fd, &cmd);
}

/* The pins and the number of pages of the folio with this page, or -1 */
static long folio_pins(int fd, void *mem, __u32 *pages)
{
	struct iommu_test_cmd cmd = {
		.op = IOMMU_TEST_OP_GET_PINS,
		.get_pins = { .uptr = (uintptr_t)mem },
	};

	if (test_op(fd, &cmd))
		return -1;
	*pages = cmd.get_pins.out_pages;
	return cmd.get_pins.out_pins;
}

static int access_rw(int fd, __u32 access_id, __u64 iova, void *buf,
		     __u64 length, __u32 flags)
{
	struct iommu_test_cmd cmd = {
		.op = IOMMU_TEST_OP_ACCESS_RW,
		.id = access_id,
		.access_rw = { .iova = iova, .length = length,
			       .uptr = (uintptr_t)buf, .flags = flags },
	};

	return test_op(fd, &cmd);
}

/* A number from a file of /proc, as VmLck of /proc/self/status */
static long proc_number(const char *path, const char *key)
{
	FILE *f = fopen(path, "re");
	char line[256];
	long val = -1;

	if (!f)
		return -1;
	while (val < 0 && fgets(line, sizeof(line), f))
		if (!strncmp(line, key, strlen(key)) &&
		    line[strlen(key)] == ':')
			val = strtol(line + strlen(key) + 1, NULL, 10);
	fclose(f);
	return val;
}

FIXTURE(map_file)
{
	int fd;
	int file;
	__u32 ioas_id;
	__u32 stdev_id;
	__u32 hwpt_id;
	void *mem;
	/* The directory for files of huge pages, or -1 */
	int mnt;
	/*
	 * The number of huge pages, and the mount options of a hugetlbfs that
	 * has them
	 */
	long free_huge;
};

FIXTURE_VARIANT(map_file)
{
	unsigned int memfd_flags;
	bool thp;
};

FIXTURE_VARIANT_ADD(map_file, small_pages)
{
	.memfd_flags = 0,
};

FIXTURE_VARIANT_ADD(map_file, huge_pages)
{
	.memfd_flags = MFD_HUGETLB | MFD_HUGE_2MB,
};

FIXTURE_VARIANT_ADD(map_file, transparent_huge_pages)
{
	.thp = true,
};

/* A mount that no path leads to. Return: its directory, or -1 */
static int mount_hidden(const char *type, const char *key, const char *val)
{
	int fs = fsopen(type, FSOPEN_CLOEXEC), mnt = -1;

	if (fs < 0)
		return -1;
	if (!fsconfig(fs, FSCONFIG_SET_STRING, key, val, 0) &&
	    !fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0))
		mnt = fsmount(fs, FSMOUNT_CLOEXEC, 0);
	close(fs);
	return mnt;
}

/*
 * For a hugetlbfs with a size: the pages that are neither in use nor reserved
 */
static long left_in(int mnt)
{
	struct statfs st;

	return mnt < 0 || fstatfs(mnt, &st) ? -1 : (long)st.f_bfree;
}

/* A file in mnt, or a memfd with these flags if mnt is -1 */
static int file_create(int mnt, unsigned int flags)
{
	int file;

	if (mnt < 0)
		file = memfd_create("iommufd", MFD_CLOEXEC | flags |
						       MFD_ALLOW_SEALING);
	else
		file = openat(mnt, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (file >= 0 && ftruncate(file, FILE_SIZE)) {
		close(file);
		file = -1;
	}
	return file;
}

FIXTURE_SETUP(map_file)
{
	__u32 pages;

	self->mnt = -1;
	if (variant->memfd_flags) {
		long num = proc_number("/proc/meminfo", "HugePages_Free") -
			   proc_number("/proc/meminfo", "HugePages_Rsvd");
		char size[32];

		if (proc_number("/proc/meminfo", "Hugepagesize") !=
			    HUGE_SIZE / 1024 ||
		    num < HUGE_PAGES)
			SKIP(return, "not enough huge pages of 2 MiB");
		if (num > MOST_HUGE_PAGES)
			num = MOST_HUGE_PAGES;
		snprintf(size, sizeof(size), "%lu", num * HUGE_SIZE);
		self->mnt = mount_hidden("hugetlbfs", "size", size);
		ASSERT_LE(0, self->mnt);
		self->free_huge = left_in(self->mnt);
		ASSERT_EQ(num, self->free_huge);
	}
	if (variant->thp) {
		self->mnt = mount_hidden("tmpfs", "huge", "always");
		if (self->mnt < 0)
			SKIP(return, "no huge pages in tmpfs: %s",
			     strerror(errno));
	}
	self->fd = open("/dev/iommu", O_RDWR);
	ASSERT_LE(0, self->fd);
	test_ioctl_ioas_alloc(&self->ioas_id);
	self->file = file_create(self->mnt, variant->memfd_flags);
	ASSERT_LE(0, self->file);
	self->mem = mmap(NULL, FILE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
			 self->file, 0);
	ASSERT_NE(MAP_FAILED, self->mem);
	if (variant->thp) {
		int file = file_create(self->mnt, 0);
		char *mem = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE,
				 MAP_SHARED, file, 0);

		ASSERT_NE(MAP_FAILED, mem);
		ASSERT_EQ(0, fallocate(file, 0, 0, HUGE_SIZE));
		ASSERT_EQ(0, folio_pins(self->fd, mem, &pages));
		munmap(mem, PAGE_SIZE);
		close(file);
		if (pages * PAGE_SIZE != HUGE_SIZE)
			SKIP(return, "no huge page of 2 MiB for tmpfs");
	}
}

FIXTURE_TEARDOWN(map_file)
{
	munmap(self->mem, FILE_SIZE);
	close(self->file);
	close(self->fd);
	/* A page that is still held would not be free again */
	if (variant->memfd_flags)
		EXPECT_EQ(self->free_huge, left_in(self->mnt));
	close(self->mnt);
}

#define add_domain(self)						\
	test_cmd_mock_domain((self)->ioas_id, &(self)->stdev_id,	\
			     &(self)->hwpt_id, NULL)

#endif
