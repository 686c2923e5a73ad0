// SPDX-License-Identifier: GPL-2.0-only
/*
 * IOMMU_IOAS_MAP_FILE, against the mock IOMMU driver: the pages that are
 * mapped, how they are held and released, and the refusals.
 *
 * The memory is a memfd of small pages, or a file of huge pages on hugetlbfs or
 * tmpfs. These have a private mount, so that other users of huge pages do not
 * disturb the tests. The kernel compares the pages of a domain with a mapping
 * of the same file in this process.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/memfd.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define __EXPORTED_HEADERS__
#include "iommufd_utils.h"
#include "lib/clock.h"
#include "lib/hwpoison.h"
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
			SKIP(return, "no huge page of 2 MiB left for tmpfs");
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

/* The ends of pages and of huge pages, and ranges across them */
TEST_F(map_file, domain)
{
	const __u64 page = PAGE_SIZE;
	const struct {
		__u64 start;
		__u64 length;
	} parts[] = {
		{ 0, FILE_SIZE },
		{ 0, page },
		{ page, page },
		{ FILE_SIZE - page, page },
		{ HUGE_SIZE - page, 2 * page },
		{ 5 * page, HUGE_SIZE + 3 * page },
		/*
		 * Not the start of a page: pages of the mock domain have half
		 * the size
		 */
		{ page / 2, page },
		{ HUGE_SIZE - page / 2, page },
	};
	unsigned int i;

	add_domain(self);
	for (i = 0; i != ARRAY_SIZE(parts); i++) {
		__u64 start = parts[i].start, length = parts[i].length;
		/*
		 * The page of the CPU and the offset in it are the same on both
		 * sides
		 */
		__u64 iova = IOVA + start % page;

		ASSERT_EQ(0, map_at(self->fd, self->ioas_id, self->file, start,
				    length, iova, READABLE | WRITEABLE)) {
			TH_LOG("part %u", i);
		}
		EXPECT_EQ(0, check_map(self->fd, self->hwpt_id,
				       self->mem + start, iova, length));
		ASSERT_EQ(0, unmap(self->fd, self->ioas_id, iova, length));
	}
}

/* Before the first access, and after the last possible access */
TEST_F(map_file, contents)
{
	static char buf[3 * 65536], zero[sizeof(buf)];
	size_t length = 3 * PAGE_SIZE;
	__u64 start = HUGE_SIZE - PAGE_SIZE, iova = 0;
	__u32 access_id;

	ASSERT_LE(length, sizeof(buf));
	test_cmd_create_access(self->ioas_id, &access_id, 0);
	munmap(self->mem, FILE_SIZE);
	ASSERT_EQ(0, ioas_map_file(self->fd, self->ioas_id, self->file, start,
				   length, &iova, READABLE | WRITEABLE));
	memset(buf, 0x11, sizeof(buf));
	ASSERT_EQ(0, access_rw(self->fd, access_id, iova, buf, length, 0));
	EXPECT_EQ(0, memcmp(buf, zero, length));
	memset(buf, 0x5a, sizeof(buf));
	/* Across pages, and in the middle of a page */
	ASSERT_EQ(0, access_rw(self->fd, access_id, iova + 7, buf, length - 9,
			       MOCK_ACCESS_RW_WRITE));
	ASSERT_EQ(0, access_rw(self->fd, access_id, iova + 1, "q", 1,
			       MOCK_ACCESS_RW_WRITE));

	self->mem = mmap(NULL, FILE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
			 self->file, 0);
	ASSERT_NE(MAP_FAILED, self->mem);
	EXPECT_EQ(0, memcmp(self->mem + start + 7, buf, length - 9));
	EXPECT_EQ('q', ((char *)self->mem)[start + 1]);
	EXPECT_EQ(0, ((char *)self->mem)[start]);
	EXPECT_EQ(0, ((char *)self->mem)[start + length - 2]);
	test_cmd_destroy_access(access_id);
}

/*
 * A process that writes to a private mapping of the file gets a copy of its
 * own. The copy is not part of the file: it can be mapped by its address only.
 */
TEST_F(map_file, private_copy)
{
	const __u64 by_file = IOVA, by_address = IOVA + FILE_SIZE;
	char *shared = self->mem, *copy, c;
	__u32 access_id;

	test_cmd_create_access(self->ioas_id, &access_id, 0);
	*shared = 'f';
	copy = mmap(NULL, HUGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE,
		    self->file, 0);
	ASSERT_NE(MAP_FAILED, copy);
	*copy = 'p';
	ASSERT_EQ(0, map_at(self->fd, self->ioas_id, self->file, 0, PAGE_SIZE,
			    by_file, READABLE | WRITEABLE));
	test_ioctl_ioas_map_fixed(copy, PAGE_SIZE, by_address);

	ASSERT_EQ(0, access_rw(self->fd, access_id, by_file, &c, 1, 0));
	EXPECT_EQ('f', c);
	ASSERT_EQ(0, access_rw(self->fd, access_id, by_address, &c, 1, 0));
	EXPECT_EQ('p', c);
	ASSERT_EQ(0, access_rw(self->fd, access_id, by_file, "F", 1,
			       MOCK_ACCESS_RW_WRITE));
	ASSERT_EQ(0, access_rw(self->fd, access_id, by_address, "P", 1,
			       MOCK_ACCESS_RW_WRITE));
	EXPECT_EQ('F', *shared);
	EXPECT_EQ('P', *copy);

	ASSERT_EQ(0, unmap(self->fd, self->ioas_id, by_address, PAGE_SIZE));
	munmap(copy, HUGE_SIZE);
	test_cmd_destroy_access(access_id);
}

/*
 * fallocate() leaves pages that are cleared at the first access. A device that
 * writes must come after this.
 */
TEST_F(map_file, preallocated)
{
	int file = file_create(self->mnt, variant->memfd_flags);
	static char zero[16 * 65536];
	char *buf = malloc(sizeof(zero)), *mem;
	size_t length = 16 * PAGE_SIZE;
	__u32 access_id;

	ASSERT_LE(0, file);
	ASSERT_NE(NULL, buf);
	/* Pages that were in use a moment ago */
	mem = mmap(NULL, length, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	ASSERT_NE(MAP_FAILED, mem);
	memset(mem, 0x77, length);
	munmap(mem, length);
	ASSERT_EQ(0, fallocate(file, 0, 0, FILE_SIZE));
	test_cmd_create_access(self->ioas_id, &access_id, 0);
	ASSERT_EQ(0, map_at(self->fd, self->ioas_id, file, 0, FILE_SIZE, IOVA,
			    READABLE | WRITEABLE));
	add_domain(self);
	ASSERT_EQ(0, access_rw(self->fd, access_id, IOVA, buf, length, 0));
	EXPECT_EQ(0, memcmp(buf, zero, length));
	memset(buf, 0x5a, length);
	ASSERT_EQ(0, access_rw(self->fd, access_id, IOVA, buf, length,
			       MOCK_ACCESS_RW_WRITE));
	mem = mmap(NULL, FILE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	ASSERT_NE(MAP_FAILED, mem);
	EXPECT_EQ(0, memcmp(mem, buf, length));
	EXPECT_EQ(0, check_map(self->fd, self->hwpt_id, mem, IOVA, FILE_SIZE));
	munmap(mem, FILE_SIZE);
	test_cmd_destroy_access(access_id);
	close(file);
	free(buf);
}

/*
 * A page of hugetlbfs that is not reserved, beside pages that others have
 * reserved
 */
TEST_F(map_file, holes)
{
	const char *meminfo = "/proc/meminfo";
	long reserved = proc_number(meminfo, "HugePages_Rsvd");
	int file = file_create(self->mnt, variant->memfd_flags), rd;
	bool huge = variant->memfd_flags;
	long left = huge ? left_in(self->mnt) : 0;
	char path[64];

	ASSERT_LE(0, file);
	add_domain(self);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	rd = open(path, O_RDONLY);
	ASSERT_LE(0, rd);
	EXPECT_EQ(huge ? -EFAULT : 0, map_at(self->fd, self->ioas_id, rd, 0,
					     PAGE_SIZE, IOVA, READABLE));
	if (huge)
		EXPECT_EQ(left, left_in(self->mnt));
	ASSERT_EQ(0, map_at(self->fd, self->ioas_id, file, HUGE_SIZE, PAGE_SIZE,
			    IOVA + FILE_SIZE, READABLE | WRITEABLE));
	EXPECT_EQ(reserved, proc_number(meminfo, "HugePages_Rsvd"));
	if (huge)
		EXPECT_EQ(left - 1, left_in(self->mnt));
	ASSERT_EQ(0, unmap(self->fd, self->ioas_id, IOVA + FILE_SIZE,
			   PAGE_SIZE));
	/* And an existing page */
	ASSERT_EQ(0, fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			       0, FILE_SIZE));
	if (huge)
		EXPECT_EQ(left, left_in(self->mnt));
	ASSERT_EQ(0, map_at(self->fd, self->ioas_id, file, 0, FILE_SIZE,
			    IOVA + FILE_SIZE, READABLE | WRITEABLE));
	EXPECT_EQ(reserved, proc_number(meminfo, "HugePages_Rsvd"));
	close(rd);
	close(file);
	ASSERT_EQ(0, unmap(self->fd, self->ioas_id, IOVA + FILE_SIZE,
			   FILE_SIZE));
	EXPECT_EQ(reserved, proc_number(meminfo, "HugePages_Rsvd"));
}

static void *punch(void *arg)
{
	int *file = arg, i, fd;

	for (i = 0; (fd = __atomic_load_n(file, __ATOMIC_RELAXED)) >= 0; i++) {
		__u64 start = i % 3 ? i % 512 * PAGE_SIZE : 0;

		fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, start,
			  i % 3 ? 3 * PAGE_SIZE : FILE_SIZE);
		fallocate(fd, FALLOC_FL_KEEP_SIZE, 5 * PAGE_SIZE, HUGE_SIZE);
		if (i % 7 == 0 && (ftruncate(fd, HUGE_SIZE) ||
				   ftruncate(fd, FILE_SIZE)))
			break;
	}
	return NULL;
}

/* Pages disappear during the lookup. All pages that were found are released. */
TEST_F_TIMEOUT(map_file, race_punch, 120)
{
	int file = file_create(self->mnt, variant->memfd_flags), fd = file;
	unsigned long turns = 0, mapped = 0;
	pthread_t thread;
	double end;
	int rc;

	ASSERT_LE(0, file);
	add_domain(self);
	ASSERT_EQ(0, pthread_create(&thread, NULL, punch, &file));
	/*
	 * As long as the other thread cannot extend the file again, no map
	 * works. On a busy machine this may take long.
	 */
	for (end = now() + 2;
	     now() < end || (!mapped && now() < end + 90); turns++) {
		rc = map_at(self->fd, self->ioas_id, fd, 0, FILE_SIZE, IOVA,
			    READABLE | WRITEABLE);
		if (rc) {
			/* The file is too short at this moment */
			EXPECT_EQ(-EINVAL, rc);
			continue;
		}
		mapped++;
		ASSERT_EQ(0, unmap(self->fd, self->ioas_id, IOVA, FILE_SIZE));
	}
	__atomic_store_n(&file, -1, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	EXPECT_LT(0, mapped) {
		TH_LOG("none of %lu maps worked", turns);
	}
	ASSERT_EQ(0, ftruncate(fd, FILE_SIZE));
	ASSERT_EQ(0, map_at(self->fd, self->ioas_id, fd, 0, FILE_SIZE, IOVA,
			    READABLE | WRITEABLE));
	munmap(self->mem, FILE_SIZE);
	self->mem = mmap(NULL, FILE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
			 fd, 0);
	ASSERT_NE(MAP_FAILED, self->mem);
	EXPECT_EQ(0, check_map(self->fd, self->hwpt_id, self->mem, IOVA,
			       FILE_SIZE));
	ASSERT_EQ(0, unmap(self->fd, self->ioas_id, IOVA, FILE_SIZE));
	if (self->mnt < 0)
		EXPECT_EQ(0, pins(self->fd, self->mem, FILE_SIZE, 0));
	close(fd);
}

static int signals;

struct pest {
	pthread_t whom;
	bool stop;
};

static void count_signal(int sig)
{
	__atomic_fetch_add(&signals, 1, __ATOMIC_RELAXED);
}

static int num_signals(void)
{
	return __atomic_load_n(&signals, __ATOMIC_RELAXED);
}

static bool pest_stop(struct pest *pest)
{
	return __atomic_load_n(&pest->stop, __ATOMIC_RELAXED);
}

static void *signal_always(void *arg)
{
	struct pest *pest = arg;
	int before, i;

	while (!pest_stop(pest)) {
		before = num_signals();
		pthread_kill(pest->whom, SIGUSR1);
		while (num_signals() == before && !pest_stop(pest))
			sched_yield();
		/* After a pause, so that other threads make progress */
		for (i = 0; i < 1000; i++)
			sched_yield();
	}
	return NULL;
}

/*
 * A signal interrupts a map with holes, which starts over then. It must finish
 * even if signals arrive faster than the existing pages can be pinned.
 */
TEST_F_TIMEOUT(map_file, signals, 60)
{
	struct sigaction action = { .sa_handler = count_signal };
	struct pest pest = { .whom = pthread_self() };
	size_t length = 8 * HUGE_SIZE;
	int file, before, after, rc;
	pthread_t thread;

	if (variant->memfd_flags)
		length = (self->free_huge < 66 ? self->free_huge - 2 : 64) *
			 HUGE_SIZE;
	file = memfd_create("iommufd", MFD_CLOEXEC | variant->memfd_flags);
	ASSERT_LE(0, file);
	ASSERT_EQ(0, ftruncate(file, length));
	add_domain(self);
	ASSERT_EQ(0, sigaction(SIGUSR1, &action, NULL));
	ASSERT_EQ(0, pthread_create(&thread, NULL, signal_always, &pest));
	while (!num_signals())
		sched_yield();
	before = num_signals();
	rc = map_at(self->fd, self->ioas_id, file, 0, length, IOVA,
		    READABLE | WRITEABLE);
	after = num_signals();
	__atomic_store_n(&pest.stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	EXPECT_EQ(0, rc);
	/* Otherwise there was nothing to see */
	EXPECT_LT(0, after - before);
	munmap(self->mem, FILE_SIZE);
	self->mem = mmap(NULL, FILE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
			 file, length - FILE_SIZE);
	ASSERT_NE(MAP_FAILED, self->mem);
	EXPECT_EQ(0, check_map(self->fd, self->hwpt_id, self->mem,
			       IOVA + length - FILE_SIZE, FILE_SIZE));
	close(file);
	ASSERT_EQ(0, unmap(self->fd, self->ioas_id, IOVA, length));
}

/* Stop and continue this process, until it has seen enough */
static pid_t stopper(const int *enough)
{
	pid_t whom = getpid(), pid = fork();

	if (pid)
		return pid;
	/* The child must not end in the middle, so it is not killed */
	while (!__atomic_load_n(enough, __ATOMIC_RELAXED) &&
	       getppid() == whom) {
		kill(whom, SIGSTOP);
		kill(whom, SIGCONT);
		sched_yield();
	}
	_exit(0);
}

/*
 * Stopped and continued in the middle of a map, before it looks for a signal:
 * the map starts over, and the caller does not notice.
 */
TEST_F_TIMEOUT(map_file, stops, 120)
{
	size_t length = 8 * HUGE_SIZE;
	unsigned int maps = 0;
	double end;
	int *enough;
	pid_t pid;
	int file;

	enough = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, enough);
	if (variant->memfd_flags)
		length = (self->free_huge < 34 ? self->free_huge - 2 : 32) *
			 HUGE_SIZE;
	file = memfd_create("iommufd", MFD_CLOEXEC | variant->memfd_flags);
	ASSERT_LE(0, file);
	ASSERT_EQ(0, ftruncate(file, length));
	add_domain(self);
	pid = stopper(enough);
	ASSERT_LT(0, pid);
	for (end = now() + 3; now() < end; maps++) {
		int rc = map_at(self->fd, self->ioas_id, file, 0, length, IOVA,
				READABLE | WRITEABLE);

		EXPECT_EQ(0, rc);
		if (rc)
			break;
		rc = unmap(self->fd, self->ioas_id, IOVA, length);
		EXPECT_EQ(0, rc);
		rc = fallocate(file, FALLOC_FL_PUNCH_HOLE |
			       FALLOC_FL_KEEP_SIZE, 0, length);
		EXPECT_EQ(0, rc);
		if (rc)
			break;
	}
	__atomic_store_n(enough, 1, __ATOMIC_RELAXED);
	EXPECT_EQ(pid, waitpid(pid, NULL, 0));
	EXPECT_LT(0, maps);
	munmap(enough, PAGE_SIZE);
	close(file);
}

/*
 * Whether each of these pages has so many pins, and no other page of its folio
 * any
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

/* By domains that come and go, and by accesses to the pages without a domain */
TEST_F(map_file, pins)
{
	struct iommu_test_cmd pin = {
		.op = IOMMU_TEST_OP_ACCESS_PAGES,
		.access_pages = { .iova = IOVA, .length = 40 * PAGE_SIZE,
				  .uptr = (uintptr_t)self->mem },
	};
	__u32 stdev_id;

	/* Data behind the end are in no page */
	memset(self->mem, 1, FILE_SIZE);
	test_cmd_create_access(self->ioas_id, &pin.id,
			       MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES);
	ASSERT_EQ(0, map_at(self->fd, self->ioas_id, self->file, 0,
			    100 * PAGE_SIZE, IOVA, READABLE | WRITEABLE));
	expect_pins(self, self->mem, 100, 0);
	ASSERT_EQ(0, test_op(self->fd, &pin));
	expect_pins(self, self->mem, 40, 1);
	add_domain(self);
	EXPECT_EQ(0, check_map(self->fd, self->hwpt_id, self->mem, IOVA,
			       100 * PAGE_SIZE));
	expect_pins(self, self->mem, 100, 1);
	test_cmd_mock_domain(self->ioas_id, &stdev_id, NULL, NULL);
	test_ioctl_destroy(self->stdev_id);
	test_cmd_destroy_access_pages(pin.id,
				      pin.access_pages.out_access_pages_id);
	expect_pins(self, self->mem, 100, 1);
	test_ioctl_destroy(stdev_id);
	expect_pins(self, self->mem, 100, 0);
	test_cmd_destroy_access(pin.id);
}

/* Two folios, each of them mapped in part, and one of them twice */
TEST_F(map_file, pins_of_parts)
{
	const __u64 page = PAGE_SIZE;
	void *first = self->mem + HUGE_SIZE - 3 * page;
	void *second = self->mem + HUGE_SIZE;

	memset(self->mem, 1, FILE_SIZE);
	add_domain(self);
	ASSERT_EQ(0, map_at(self->fd, self->ioas_id, self->file,
			    HUGE_SIZE - 3 * page, 60 * page, IOVA,
			    READABLE | WRITEABLE));
	expect_pins(self, first, 3, 1);
	expect_pins(self, second, 57, 1);
	ASSERT_EQ(0, map_at(self->fd, self->ioas_id, self->file, HUGE_SIZE,
			    57 * page, IOVA + FILE_SIZE, READABLE));
	expect_pins(self, second, 57, 2);
	ASSERT_EQ(0, unmap(self->fd, self->ioas_id, IOVA, 60 * page));
	expect_pins(self, first, 3, 0);
	expect_pins(self, second, 57, 1);
	ASSERT_EQ(0, unmap(self->fd, self->ioas_id, IOVA + FILE_SIZE,
			   57 * page));
	expect_pins(self, second, 57, 0);
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

/* In a process of its own, which an access to the page kills */
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

	/* Only when the page has no users left */
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
	/* Even if no page is held at this moment */
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
	int null = open("/dev/null", O_RDWR), path, sv[2];
	__u64 max = ~0ULL;
	char name[64];

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
	REFUSED(-E2BIG, bad.size = 1 << 20);
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
 * In a process of its own, which cannot regain the privileges that it drops.
 * Return: the number of the step that failed.
 */
static int limited(int file, bool by_mm)
{
	struct rlimit limit = { .rlim_cur = 64 * PAGE_SIZE,
				.rlim_max = 64 * PAGE_SIZE };
	struct iommu_option option = {
		.size = sizeof(option),
		.option_id = IOMMU_OPTION_RLIMIT_MODE,
		.op = IOMMU_OPTION_OP_SET,
		.val64 = by_mm,
	};
	const char *status = "/proc/self/status";
	long kib = 64 * PAGE_SIZE / 1024;
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
	if (map_at(fd, ioas_id, file, 0, 65 * PAGE_SIZE, IOVA,
		   READABLE | WRITEABLE) != -ENOMEM)
		return 4;
	if (proc_number(status, "VmLck") || proc_number(status, "VmPin"))
		return 5;
	if (map_at(fd, ioas_id, file, 0, 64 * PAGE_SIZE, IOVA,
		   READABLE | WRITEABLE))
		return 6;
	if (proc_number(status, "VmLck") != (by_mm ? kib : 0) ||
	    proc_number(status, "VmPin") != kib)
		return 7;
	if (map_at(fd, ioas_id, file, 0, PAGE_SIZE, IOVA + FILE_SIZE,
		   READABLE) != -ENOMEM)
		return 8;
	if (unmap(fd, ioas_id, IOVA, 64 * PAGE_SIZE))
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
