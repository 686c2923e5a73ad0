// SPDX-License-Identifier: GPL-2.0-only
/*
 * IOMMU_IOAS_MAP_FILE, against the mock IOMMU driver: which pages are mapped, that
 * each of them is held and given back, and what is refused.
 *
 * The memory is a memfd, of small pages or of huge ones. What a domain has is
 * compared by the kernel with what a mapping of the same file has here.
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
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#define __EXPORTED_HEADERS__
#include "iommufd_utils.h"

#define HUGE_SIZE	(2UL << 20)
#define FILE_SIZE	(2 * HUGE_SIZE)
/* Of one file, of another one, and of that what was punched out and is still held */
#define HUGE_PAGES	6
#define IOVA		MOCK_APERTURE_START
#define READABLE	IOMMU_IOAS_MAP_READABLE
#define WRITEABLE	IOMMU_IOAS_MAP_WRITEABLE
#define FIXED		IOMMU_IOAS_MAP_FIXED_IOVA
/* Nobody in particular */
#define NOBODY		65534

static __attribute__((constructor)) void setup_sizes(void)
{
	PAGE_SIZE = sysconf(_SC_PAGE_SIZE);
}

#define err(rc) ((rc) ? errno : 0)

/* All of these return 0 or the errno */
static int map_file(int fd, __u32 ioas_id, int file, __u64 start, __u64 length,
		    __u64 *iova, __u32 flags)
{
	struct iommu_ioas_map_file cmd = {
		.size = sizeof(cmd),
		.flags = flags,
		.ioas_id = ioas_id,
		.fd = file,
		.start = start,
		.length = length,
		.iova = *iova,
	};
	int rc = err(ioctl(fd, IOMMU_IOAS_MAP_FILE, &cmd));

	*iova = cmd.iova;
	return rc;
}

static int map_at(int fd, __u32 ioas_id, int file, __u64 start, __u64 length,
		  __u64 iova, __u32 flags)
{
	return map_file(fd, ioas_id, file, start, length, &iova, flags | FIXED);
}

static int unmap(int fd, __u32 ioas_id, __u64 iova, __u64 length)
{
	return err(_test_ioctl_ioas_unmap(fd, ioas_id, iova, length, NULL));
}

static int test_op(int fd, struct iommu_test_cmd *cmd)
{
	cmd->size = sizeof(*cmd);
	return err(ioctl(fd, _IOMMU_TEST_CMD(cmd->op), cmd));
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

/* A number out of a file of /proc, as VmLck of /proc/self/status */
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
	long free_huge;
};

FIXTURE_VARIANT(map_file)
{
	unsigned int memfd_flags;
};

FIXTURE_VARIANT_ADD(map_file, small_pages)
{
	.memfd_flags = 0,
};

FIXTURE_VARIANT_ADD(map_file, huge_pages)
{
	.memfd_flags = MFD_HUGETLB | MFD_HUGE_2MB,
};

static int file_create(unsigned int flags)
{
	int file = memfd_create("iommufd", MFD_CLOEXEC | MFD_ALLOW_SEALING |
					   flags);

	if (file >= 0 && ftruncate(file, FILE_SIZE)) {
		close(file);
		file = -1;
	}
	return file;
}

FIXTURE_SETUP(map_file)
{
	self->free_huge = proc_number("/proc/meminfo", "HugePages_Free");
	if (variant->memfd_flags &&
	    (proc_number("/proc/meminfo", "Hugepagesize") != HUGE_SIZE / 1024 ||
	     self->free_huge < HUGE_PAGES))
		SKIP(return, "not enough huge pages of 2 MiB");
	self->fd = open("/dev/iommu", O_RDWR);
	ASSERT_LE(0, self->fd);
	test_ioctl_ioas_alloc(&self->ioas_id);
	self->file = file_create(variant->memfd_flags);
	ASSERT_LE(0, self->file);
	self->mem = mmap(NULL, FILE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
			 self->file, 0);
	ASSERT_NE(MAP_FAILED, self->mem);
}

FIXTURE_TEARDOWN(map_file)
{
	munmap(self->mem, FILE_SIZE);
	close(self->file);
	close(self->fd);
	/* A page that is still held would not be there again */
	EXPECT_EQ(self->free_huge,
		  proc_number("/proc/meminfo", "HugePages_Free"));
}

#define add_domain(self)						\
	test_cmd_mock_domain((self)->ioas_id, &(self)->stdev_id,	\
			     &(self)->hwpt_id, NULL)

/* The ends of pages and of huge pages, and what lies across them */
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
		/* Not the start of a page: the mock domain has half of one */
		{ page / 2, page },
		{ HUGE_SIZE - page / 2, page },
	};
	unsigned int i;

	add_domain(self);
	for (i = 0; i != ARRAY_SIZE(parts); i++) {
		__u64 start = parts[i].start, length = parts[i].length;
		/* Page of the CPU and place in it are the same on both sides */
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

/* Before anybody has touched it, and after nobody can */
TEST_F(map_file, contents)
{
	static char buf[3 * 65536], zero[sizeof(buf)];
	size_t length = 3 * PAGE_SIZE;
	__u64 start = HUGE_SIZE - PAGE_SIZE, iova = 0;
	__u32 access_id;

	ASSERT_LE(length, sizeof(buf));
	test_cmd_create_access(self->ioas_id, &access_id, 0);
	munmap(self->mem, FILE_SIZE);
	ASSERT_EQ(0, map_file(self->fd, self->ioas_id, self->file, start, length,
			      &iova, READABLE | WRITEABLE));
	memset(buf, 0x11, sizeof(buf));
	ASSERT_EQ(0, access_rw(self->fd, access_id, iova, buf, length, 0));
	EXPECT_EQ(0, memcmp(buf, zero, length));
	memset(buf, 0x5a, sizeof(buf));
	/* Across pages, and in the middle of one */
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
 * fallocate() leaves pages that are not cleared before somebody looks at them. A
 * device that writes has to come after that.
 */
TEST_F(map_file, preallocated)
{
	int file = file_create(variant->memfd_flags);
	static char zero[16 * 65536];
	char *buf = malloc(sizeof(zero)), *mem;
	size_t length = 16 * PAGE_SIZE;
	__u32 access_id;

	ASSERT_LE(0, file);
	ASSERT_NE(NULL, buf);
	/* Of what was in use a moment ago */
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

/* A page of hugetlbfs that nobody has reserved, beside some that others have */
TEST_F(map_file, holes)
{
	const char *meminfo = "/proc/meminfo";
	long reserved = proc_number(meminfo, "HugePages_Rsvd");
	long left = proc_number(meminfo, "HugePages_Free");
	int file = file_create(variant->memfd_flags), rd;
	bool huge = variant->memfd_flags;
	char path[64];

	ASSERT_LE(0, file);
	add_domain(self);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	rd = open(path, O_RDONLY);
	ASSERT_LE(0, rd);
	EXPECT_EQ(huge ? EFAULT : 0, map_at(self->fd, self->ioas_id, rd, 0,
					    PAGE_SIZE, IOVA, READABLE));
	EXPECT_EQ(left, proc_number(meminfo, "HugePages_Free"));
	ASSERT_EQ(0, map_at(self->fd, self->ioas_id, file, HUGE_SIZE, PAGE_SIZE,
			    IOVA + FILE_SIZE, READABLE | WRITEABLE));
	EXPECT_EQ(reserved, proc_number(meminfo, "HugePages_Rsvd"));
	EXPECT_EQ(left - huge, proc_number(meminfo, "HugePages_Free"));
	ASSERT_EQ(0, unmap(self->fd, self->ioas_id, IOVA + FILE_SIZE,
			   PAGE_SIZE));
	/* And one that there was */
	ASSERT_EQ(0, fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			       0, FILE_SIZE));
	EXPECT_EQ(left, proc_number(meminfo, "HugePages_Free"));
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

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec + now.tv_nsec / 1e9;
}

/* Pages go while they are looked for. Whatever is had is given back. */
TEST_F_TIMEOUT(map_file, race_punch, 120)
{
	int file = file_create(variant->memfd_flags), fd = file;
	unsigned long turns = 0, mapped = 0;
	pthread_t thread;
	double end;
	int rc;

	ASSERT_LE(0, file);
	add_domain(self);
	ASSERT_EQ(0, pthread_create(&thread, NULL, punch, &file));
	/*
	 * While the other thread is kept from making the file longer again, no map
	 * works. On a machine that has other things to do that may be long.
	 */
	for (end = seconds() + 2;
	     seconds() < end || (!mapped && seconds() < end + 90); turns++) {
		rc = map_at(self->fd, self->ioas_id, fd, 0, FILE_SIZE, IOVA,
			    READABLE | WRITEABLE);
		if (rc) {
			/* It is too short just then, or there is no page left */
			EXPECT_TRUE(rc == EINVAL || rc == ENOMEM) {
				TH_LOG("errno %d", rc);
			}
			continue;
		}
		mapped++;
		ASSERT_EQ(0, unmap(self->fd, self->ioas_id, IOVA, FILE_SIZE));
	}
	__atomic_store_n(&file, -1, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	EXPECT_LT(0, mapped) {
		TH_LOG("none of %lu", turns);
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
	if (!variant->memfd_flags)
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
		/* Not at once, or there is time for nothing else */
		for (i = 0; i < 1000; i++)
			sched_yield();
	}
	return NULL;
}

/*
 * A signal does not end a map with holes: it would start anew, and with a timer that
 * is faster than what is filled already is pinned again, it would never be done.
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
	/* Each that ends a map is taken before it is tried again */
	EXPECT_GT(32, after - before) {
		TH_LOG("%d signals", after - before);
	}
	munmap(self->mem, FILE_SIZE);
	self->mem = mmap(NULL, FILE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
			 file, length - FILE_SIZE);
	ASSERT_NE(MAP_FAILED, self->mem);
	EXPECT_EQ(0, check_map(self->fd, self->hwpt_id, self->mem,
			       IOVA + length - FILE_SIZE, FILE_SIZE));
	close(file);
	ASSERT_EQ(0, unmap(self->fd, self->ioas_id, IOVA, length));
}

/* By domains that come and go, and by who looks at the pages without one */
TEST_F(map_file, pins)
{
	struct iommu_test_cmd pin = {
		.op = IOMMU_TEST_OP_ACCESS_PAGES,
		.access_pages = { .iova = IOVA, .length = 40 * PAGE_SIZE,
				  .uptr = (uintptr_t)self->mem },
	};
	bool small = !variant->memfd_flags;
	__u32 stdev_id;

	/* What is not there is in no page */
	memset(self->mem, 1, FILE_SIZE);
	test_cmd_create_access(self->ioas_id, &pin.id,
			       MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES);
	ASSERT_EQ(0, map_at(self->fd, self->ioas_id, self->file, 0,
			    100 * PAGE_SIZE, IOVA, READABLE | WRITEABLE));
	if (small)
		EXPECT_EQ(0, pins(self->fd, self->mem, 100 * PAGE_SIZE, 0));
	ASSERT_EQ(0, test_op(self->fd, &pin));
	if (small)
		EXPECT_EQ(0, pins(self->fd, self->mem, 40 * PAGE_SIZE, 1));
	add_domain(self);
	EXPECT_EQ(0, check_map(self->fd, self->hwpt_id, self->mem, IOVA,
			       100 * PAGE_SIZE));
	if (small)
		EXPECT_EQ(0, pins(self->fd, self->mem, 100 * PAGE_SIZE, 1));
	test_cmd_mock_domain(self->ioas_id, &stdev_id, NULL, NULL);
	test_ioctl_destroy(self->stdev_id);
	test_cmd_destroy_access_pages(pin.id,
				      pin.access_pages.out_access_pages_id);
	if (small)
		EXPECT_EQ(0, pins(self->fd, self->mem, 100 * PAGE_SIZE, 1));
	test_ioctl_destroy(stdev_id);
	if (small)
		EXPECT_EQ(0, pins(self->fd, self->mem, 100 * PAGE_SIZE, 0));
	test_cmd_destroy_access(pin.id);
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

/* Pages that a device has it keeps; those that are gone nobody gets */
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
	EXPECT_EQ(EINVAL, access_rw(self->fd, access_id, IOVA, buf, 4, 0));
	EXPECT_EQ(EINVAL, err(_test_cmd_mock_domain(self->fd, self->ioas_id,
						    &stdev_id, &hwpt_id, NULL)));
	test_cmd_destroy_access(access_id);
}

/*
 * A page with a memory error stays in a file of shmem, and nobody gets it. The
 * error also kills the process that comes upon it.
 */
TEST_F(map_file, poisoned)
{
	__u32 access_id;
	char buf[4];
	int status;
	pid_t pid;

	if (variant->memfd_flags)
		SKIP(return, "would cost the machine a huge page for good");
	memset(self->mem, 1, 3 * PAGE_SIZE);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(err(madvise(self->mem + PAGE_SIZE, PAGE_SIZE,
				  MADV_HWPOISON)));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	if (WIFEXITED(status) && WEXITSTATUS(status))
		SKIP(return, "no MADV_HWPOISON here: %s",
		     strerror(WEXITSTATUS(status)));

	test_cmd_create_access(self->ioas_id, &access_id, 0);
	ASSERT_EQ(0, map_at(self->fd, self->ioas_id, self->file, 0,
			    3 * PAGE_SIZE, IOVA, READABLE | WRITEABLE));
	EXPECT_EQ(EHWPOISON, access_rw(self->fd, access_id, IOVA + PAGE_SIZE,
				       buf, sizeof(buf), 0));
	EXPECT_EQ(0, access_rw(self->fd, access_id, IOVA, buf, sizeof(buf), 0));
	ASSERT_EQ(0, unmap(self->fd, self->ioas_id, IOVA, 3 * PAGE_SIZE));

	add_domain(self);
	EXPECT_EQ(EHWPOISON, map_at(self->fd, self->ioas_id, self->file, 0,
				    3 * PAGE_SIZE, IOVA, READABLE | WRITEABLE));
	EXPECT_EQ(0, pins(self->fd, self->mem, PAGE_SIZE, 0));
	EXPECT_EQ(0, map_at(self->fd, self->ioas_id, self->file, 0, PAGE_SIZE,
			    IOVA, READABLE | WRITEABLE));
	EXPECT_EQ(0, map_at(self->fd, self->ioas_id, self->file, 2 * PAGE_SIZE,
			    PAGE_SIZE, IOVA + 2 * PAGE_SIZE, READABLE));
	test_cmd_destroy_access(access_id);
}

/* More than the pool of huge pages has */
TEST_F(map_file, no_huge_page_left)
{
	int file = memfd_create("iommufd", MFD_CLOEXEC | variant->memfd_flags);
	__u64 length = (self->free_huge + 1) * HUGE_SIZE;

	if (!variant->memfd_flags)
		SKIP(return, "about huge pages");
	if (self->free_huge > 256)
		SKIP(return, "too many huge pages to use them up");
	ASSERT_LE(0, file);
	ASSERT_EQ(0, ftruncate(file, length));
	add_domain(self);
	EXPECT_EQ(ENOMEM, map_at(self->fd, self->ioas_id, file, 0, length, IOVA,
				 READABLE | WRITEABLE));
	close(file);
}

/* Whoever may write to it by DMA counts as one who has it mapped for that */
TEST_F(map_file, seals)
{
	int file = file_create(variant->memfd_flags);

	add_domain(self);
	ASSERT_EQ(0, map_at(self->fd, self->ioas_id, file, 0, PAGE_SIZE, IOVA,
			    WRITEABLE));
	EXPECT_EQ(EBUSY, err(fcntl(file, F_ADD_SEALS, F_SEAL_WRITE)));
	ASSERT_EQ(0, unmap(self->fd, self->ioas_id, IOVA, PAGE_SIZE));
	/* Also if no page is held right now */
	test_ioctl_destroy(self->stdev_id);
	ASSERT_EQ(0, map_at(self->fd, self->ioas_id, file, 0, PAGE_SIZE, IOVA,
			    WRITEABLE));
	EXPECT_EQ(EBUSY, err(fcntl(file, F_ADD_SEALS, F_SEAL_WRITE)));
	ASSERT_EQ(0, unmap(self->fd, self->ioas_id, IOVA, PAGE_SIZE));

	ASSERT_EQ(0, fcntl(file, F_ADD_SEALS, F_SEAL_FUTURE_WRITE));
	EXPECT_EQ(EPERM, map_at(self->fd, self->ioas_id, file, 0, PAGE_SIZE,
				IOVA, WRITEABLE));
	EXPECT_EQ(0, map_at(self->fd, self->ioas_id, file, 0, PAGE_SIZE, IOVA,
			    READABLE));
	ASSERT_EQ(0, unmap(self->fd, self->ioas_id, IOVA, PAGE_SIZE));
	/* The refusal has left nothing behind */
	ASSERT_EQ(0, fcntl(file, F_ADD_SEALS, F_SEAL_WRITE));
	EXPECT_EQ(EPERM, map_at(self->fd, self->ioas_id, file, 0, PAGE_SIZE,
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
	EXPECT_EQ(EACCES, map_at(self->fd, self->ioas_id, rd, 0, PAGE_SIZE,
				 IOVA, READABLE | WRITEABLE));
	EXPECT_EQ(EACCES, map_at(self->fd, self->ioas_id, wr, 0, PAGE_SIZE,
				 IOVA, READABLE));
	EXPECT_EQ(EACCES, map_at(self->fd, self->ioas_id, wr, 0, PAGE_SIZE,
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
		EXPECT_EQ(error, err(ioctl(self->fd,			\
					   IOMMU_IOAS_MAP_FILE, &bad)))	\
			TH_LOG("%s", #__VA_ARGS__);			\
	} while (0)

	REFUSED(EINVAL, bad.size = sizeof(bad) - 1);
	REFUSED(E2BIG, bad.size = 1 << 20);
	REFUSED(EOPNOTSUPP, bad.flags |= 8);
	REFUSED(EOPNOTSUPP, bad.flags |= 1U << 31);
	REFUSED(EINVAL, bad.flags = 0);
	REFUSED(EINVAL, bad.flags = FIXED);
	REFUSED(ENOENT, bad.ioas_id = 0x7ffffff0);
	REFUSED(EBADF, bad.fd = -1);
	REFUSED(EBADF, bad.fd = 12345);
	REFUSED(EINVAL, bad.fd = null);
	REFUSED(EINVAL, bad.fd = self->fd);
	ASSERT_EQ(0, pipe(sv));
	REFUSED(EINVAL, bad.fd = sv[0]);
	snprintf(name, sizeof(name), "/proc/self/fd/%d", self->file);
	path = open(name, O_PATH);
	ASSERT_LE(0, path);
	REFUSED(EBADF, bad.fd = path);
	REFUSED(EINVAL, bad.length = 0);
	REFUSED(EINVAL, bad.length = FILE_SIZE + 1);
	REFUSED(EINVAL, bad.length = FILE_SIZE + PAGE_SIZE);
	REFUSED(EINVAL, bad.start = FILE_SIZE);
	REFUSED(EINVAL, bad.start = FILE_SIZE - PAGE_SIZE + 1);
	REFUSED(EINVAL, bad.start = 1ULL << 63);
	REFUSED(EINVAL, bad.start = max - PAGE_SIZE);
	REFUSED(EINVAL, bad.length = max - PAGE_SIZE);
	REFUSED(EINVAL, bad.start = max - 1, bad.length = max - 1);
	REFUSED(EOVERFLOW, bad.start = max);
	REFUSED(EOVERFLOW, bad.length = max);
	REFUSED(EOVERFLOW, bad.flags |= FIXED, bad.iova = max);
	ASSERT_EQ(0, map_at(self->fd, self->ioas_id, self->file, 0,
			    2 * PAGE_SIZE, IOVA, READABLE));
	REFUSED(EEXIST, bad.flags |= FIXED, bad.iova = IOVA + PAGE_SIZE);
	close(null);
	close(path);
	close(sv[0]);
	close(sv[1]);
}

/* A last page that is not whole, of which the rest is nobody's */
TEST_F(map_file, not_whole)
{
	if (variant->memfd_flags)
		SKIP(return, "hugetlbfs has whole pages only");
	ASSERT_EQ(0, ftruncate(self->file, PAGE_SIZE + 100));
	EXPECT_EQ(EINVAL, map_at(self->fd, self->ioas_id, self->file, PAGE_SIZE,
				 100, IOVA, READABLE));
	EXPECT_EQ(0, map_at(self->fd, self->ioas_id, self->file, 0, PAGE_SIZE,
			    IOVA, READABLE));
}

/*
 * In a process of its own, for what it gives away it does not get again. Returns
 * the number of the step that went wrong.
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
		   READABLE | WRITEABLE) != ENOMEM)
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
		   READABLE) != ENOMEM)
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
