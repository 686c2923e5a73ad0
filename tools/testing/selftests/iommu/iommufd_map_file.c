// SPDX-License-Identifier: GPL-2.0-only
/*
 * IOMMU_IOAS_MAP_FILE, against the mock IOMMU driver: the pages that are mapped,
 * also while the file changes and the caller gets signals.
 */
#include <linux/falloc.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define __EXPORTED_HEADERS__
#include "iommufd_utils.h"
#include "iommufd_map_file.h"
#include "lib/clock.h"

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
		/* IOVA and file have the same offset in a page of the CPU */
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

/* The kernel accesses pages before and after all mappings of this process */
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
 * The mapping keeps the file open, and lets it go in the end: the lock of the
 * file lasts as long.
 */
TEST_F(map_file, holds_file)
{
	char path[64];
	int other;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", self->file);
	other = open(path, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, other);
	ASSERT_EQ(0, flock(self->file, LOCK_EX));
	ASSERT_EQ(0, map_at(self->fd, self->ioas_id, self->file, 0, PAGE_SIZE,
			    IOVA, READABLE | WRITEABLE));
	munmap(self->mem, FILE_SIZE);
	close(self->file);
	self->file = other;
	self->mem = mmap(NULL, FILE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
			 other, 0);
	ASSERT_NE(MAP_FAILED, self->mem);

	EXPECT_EQ(-1, flock(other, LOCK_EX | LOCK_NB));
	EXPECT_EQ(EWOULDBLOCK, errno);
	ASSERT_EQ(0, unmap(self->fd, self->ioas_id, IOVA, PAGE_SIZE));
	EXPECT_EQ(0, flock(other, LOCK_EX | LOCK_NB));
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
	/* The same with an existing page */
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
	 * No map succeeds until the other thread extends the file again, which
	 * may take long on a busy machine.
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

/* Sends a signal whenever the file has got another page */
struct pest {
	pthread_t whom;
	int file;
	bool stop;
	/* Blocks of the file when the last signal was handled, -1 before */
	blkcnt_t blocks;
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

static blkcnt_t num_blocks(int file)
{
	struct stat st;

	assert(!fstat(file, &st));
	return st.st_blocks;
}

static void *signal_each_page(void *arg)
{
	struct pest *pest = arg;
	blkcnt_t blocks;
	int before;

	while (!pest_stop(pest)) {
		before = num_signals();
		blocks = num_blocks(pest->file);
		pthread_kill(pest->whom, SIGUSR1);
		while (num_signals() == before && !pest_stop(pest))
			sched_yield();
		__atomic_store_n(&pest->blocks, blocks, __ATOMIC_RELAXED);
		/* The file gets no page as long as a signal is pending */
		while (num_blocks(pest->file) == blocks && !pest_stop(pest))
			sched_yield();
		__atomic_store_n(&pest->blocks, -1, __ATOMIC_RELAXED);
	}
	return NULL;
}

/*
 * A signal interrupts a map with holes, which then starts over. It must finish
 * although the next signal arrives as soon as it has filled a hole.
 */
TEST_F_TIMEOUT(map_file, signals, 240)
{
	struct sigaction action = { .sa_handler = count_signal };
	struct pest pest = { .whom = pthread_self(), .blocks = -1 };
	size_t length = 8 * HUGE_SIZE;
	int file, before, met = 0, rc;
	double end = now() + 60;
	pthread_t thread;

	if (variant->memfd_flags)
		length = (self->free_huge < 66 ? self->free_huge - 2 : 64) *
			 HUGE_SIZE;
	file = memfd_create("iommufd", MFD_CLOEXEC | variant->memfd_flags);
	ASSERT_LE(0, file);
	ASSERT_EQ(0, ftruncate(file, length));
	add_domain(self);
	ASSERT_EQ(0, sigaction(SIGUSR1, &action, NULL));
	pest.file = file;
	ASSERT_EQ(0, pthread_create(&thread, NULL, signal_each_page, &pest));
	/* On a busy machine, the other thread may see no map before it ends */
	for (;;) {
		/* No signal from here on, until the map has filled a hole */
		while (__atomic_load_n(&pest.blocks, __ATOMIC_RELAXED))
			sched_yield();
		before = num_signals();
		rc = map_at(self->fd, self->ioas_id, file, 0, length, IOVA,
			    READABLE | WRITEABLE);
		met = num_signals() - before;
		EXPECT_EQ(0, rc);
		if (rc || met || now() > end)
			break;
		EXPECT_EQ(0, unmap(self->fd, self->ioas_id, IOVA, length));
		EXPECT_EQ(0, fallocate(file, FALLOC_FL_PUNCH_HOLE |
				       FALLOC_FL_KEEP_SIZE, 0, length));
	}
	__atomic_store_n(&pest.stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	/* Without a signal during a map, nothing was tested */
	EXPECT_LT(0, met);
	munmap(self->mem, FILE_SIZE);
	self->mem = mmap(NULL, FILE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
			 file, length - FILE_SIZE);
	ASSERT_NE(MAP_FAILED, self->mem);
	EXPECT_EQ(0, check_map(self->fd, self->hwpt_id, self->mem,
			       IOVA + length - FILE_SIZE, FILE_SIZE));
	close(file);
	ASSERT_EQ(0, unmap(self->fd, self->ioas_id, IOVA, length));
}

/* Stop and continue this process until this is enough for the test */
static pid_t stopper(const int *enough)
{
	pid_t whom = getpid(), pid = fork();

	if (pid)
		return pid;
	/* Do not kill the child, which must not leave this process stopped */
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
	/* The process may be stopped for longer than this */
	for (end = now() + 3; !maps || now() < end; maps++) {
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

TEST_HARNESS_MAIN
