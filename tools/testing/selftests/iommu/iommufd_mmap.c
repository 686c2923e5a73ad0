// SPDX-License-Identifier: GPL-2.0-only
/* mmap() of the iommufd, against the mock IOMMU driver */
#include <linux/userfaultfd.h>
#include <sys/wait.h>

#include "iommufd_hw_queue.h"

/* Zap a page, or nothing. Returns the number of page faults so far */
static int zap(int fd, __u32 viommu, __u32 page)
{
	struct iommu_test_cmd cmd = {
		.size = sizeof(cmd),
		.op = IOMMU_TEST_OP_VIOMMU_ZAP,
		.id = viommu,
		.viommu_zap = { .page = page },
	};
	int rc = iommufd_ioctl(fd, _IOMMU_TEST_CMD(IOMMU_TEST_OP_VIOMMU_ZAP),
			       &cmd);

	return rc ?: (int)cmd.viommu_zap.out_faults;
}

static int faults_of(int fd, __u32 viommu)
{
	return zap(fd, viommu, MOCK_ZAP_NOTHING);
}

FIXTURE(mem)
{
	int fd;
	__u32 ioas, stdev, dev, parent, viommu;
	struct iommu_viommu_selftest data;
};

FIXTURE_VARIANT(mem)
{
	__u32 type;
};

FIXTURE_VARIANT_ADD(mem, registers)
{
	.type = IOMMU_VIOMMU_TYPE_SELFTEST,
};

FIXTURE_VARIANT_ADD(mem, faults)
{
	.type = IOMMU_VIOMMU_TYPE_SELFTEST_FAULT,
};

FIXTURE_SETUP(mem)
{
	self->fd = open("/dev/iommu", O_RDWR);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, mock_plug(self->fd, &self->ioas, &self->stdev, &self->dev,
			       &self->parent));
	self->data.in_data = 0xfee1600d;
	ASSERT_EQ(0, viommu_alloc_mem(self->fd, self->dev, self->parent,
				      variant->type, &self->data,
				      &self->viommu));
	ASSERT_EQ(2 * PAGE_SIZE, self->data.out_mmap_length);
}

FIXTURE_TEARDOWN(mem)
{
	teardown_iommufd(self->fd, _metadata);
}

TEST_F(mem, errors)
{
	const __u64 offset = self->data.out_mmap_offset;
	const size_t length = self->data.out_mmap_length;
	const int rw = PROT_READ | PROT_WRITE;
	const int fd = self->fd;
	int readonly;

	EXPECT_LE(PAGE_SIZE, offset);
	EXPECT_EQ(0, offset % PAGE_SIZE);
	/* Each call has the expected error, and all that are checked later */
	EXPECT_EQ(-EINVAL, try_mmap(fd, 0, length, rw | PROT_EXEC, MAP_PRIVATE,
				    NULL));
	EXPECT_EQ(-EPERM, try_mmap(fd, 0, length, rw | PROT_EXEC, MAP_SHARED,
				   NULL));
	EXPECT_EQ(-ENXIO, try_mmap(fd, 0, length, rw, MAP_SHARED, NULL));
	EXPECT_EQ(-ENXIO, try_mmap(fd, offset + PAGE_SIZE, length, rw,
				   MAP_SHARED, NULL));
	EXPECT_EQ(-ENXIO, try_mmap(fd, offset + PAGE_SIZE, PAGE_SIZE, rw,
				   MAP_SHARED, NULL));
	EXPECT_EQ(-ENXIO, try_mmap(fd, offset + length, length, rw, MAP_SHARED,
				   NULL));
	EXPECT_EQ(-ENXIO, try_mmap(fd, offset, length / 2, rw, MAP_SHARED,
				   NULL));
	EXPECT_EQ(-ENXIO, try_mmap(fd, offset, length * 2, rw, MAP_SHARED,
				   NULL));
	EXPECT_EQ(-ENXIO, try_mmap(fd, offset - PAGE_SIZE, length, rw,
				   MAP_SHARED, NULL));
	EXPECT_EQ(-EINVAL, try_mmap(fd, offset, length, rw, MAP_PRIVATE, NULL));
	EXPECT_EQ(-EPERM, try_mmap(fd, offset, length, rw | PROT_EXEC,
				   MAP_SHARED, NULL));

	/* Another file has other offsets */
	readonly = open("/dev/iommu", O_RDONLY);
	ASSERT_LE(0, readonly);
	EXPECT_EQ(-EACCES, try_mmap(readonly, offset, length, rw, MAP_SHARED,
				    NULL));
	close(readonly);
	readonly = open("/dev/iommu", O_RDWR);
	ASSERT_LE(0, readonly);
	EXPECT_EQ(-ENXIO, try_mmap(readonly, offset, length, rw, MAP_SHARED,
				   NULL));
	close(readonly);

	EXPECT_EQ(0, try_mmap(fd, offset, length, PROT_READ, MAP_SHARED, NULL));
	EXPECT_EQ(0, destroy(fd, self->viommu));
	EXPECT_EQ(-ENXIO, try_mmap(fd, offset, length, rw, MAP_SHARED, NULL));
}

TEST_F(mem, holds_viommu)
{
	void *mem[2], *moved;

	ASSERT_EQ(0, map_shared(self->fd, &self->data, &mem[0]));
	ASSERT_EQ(0, map_shared(self->fd, &self->data, &mem[1]));
	EXPECT_EQ(self->data.in_data, load(mem[0]));
	store(mem[0] + 4, 42);
	EXPECT_EQ(42, load(mem[1] + 4));
	EXPECT_EQ(-EBUSY, destroy(self->fd, self->viommu));

	/* The mapping cannot become executable or grow, but it can move */
	EXPECT_EQ(-1, mprotect(mem[0], self->data.out_mmap_length,
			       PROT_READ | PROT_EXEC));
	EXPECT_EQ(EACCES, errno);
	moved = mremap(mem[1], self->data.out_mmap_length,
		       2 * self->data.out_mmap_length, MREMAP_MAYMOVE);
	EXPECT_EQ(MAP_FAILED, moved);
	moved = mmap(NULL, self->data.out_mmap_length, PROT_NONE,
		     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, moved);
	moved = mremap(mem[1], self->data.out_mmap_length,
		       self->data.out_mmap_length,
		       MREMAP_MAYMOVE | MREMAP_FIXED, moved);
	ASSERT_NE(MAP_FAILED, moved);
	EXPECT_EQ(42, load(moved + 4));

	EXPECT_EQ(0, munmap(mem[0], self->data.out_mmap_length));
	EXPECT_EQ(-EBUSY, destroy(self->fd, self->viommu));
	EXPECT_EQ(0, munmap(moved, self->data.out_mmap_length));
	EXPECT_EQ(0, destroy(self->fd, self->viommu));
}

/* Registers can be unmapped in part, memory with page faults only as a whole */
TEST_F(mem, unmap_part)
{
	void *mem;

	ASSERT_EQ(0, map_shared(self->fd, &self->data, &mem));
	if (variant->type == IOMMU_VIOMMU_TYPE_SELFTEST_FAULT) {
		EXPECT_EQ(-1, munmap(mem, PAGE_SIZE));
		EXPECT_EQ(EINVAL, errno);
		EXPECT_EQ(self->data.in_data, load(mem));
	} else {
		EXPECT_EQ(0, munmap(mem, PAGE_SIZE));
		EXPECT_EQ(-EBUSY, destroy(self->fd, self->viommu));
	}
	EXPECT_EQ(0, munmap(mem, 2 * PAGE_SIZE));
	EXPECT_EQ(0, destroy(self->fd, self->viommu));
}

/* A child inherits and holds registers, but not memory with page faults */
TEST_F(mem, fork)
{
	const bool inherits = variant->type == IOMMU_VIOMMU_TYPE_SELFTEST;
	int to[2], from[2], status;
	void *mem;
	pid_t pid;
	char c;

	ASSERT_EQ(0, map_shared(self->fd, &self->data, &mem));
	/* MADV_DOFORK must not evade the limit on mappings with page faults */
	EXPECT_EQ(-1, madvise(mem, self->data.out_mmap_length, MADV_DOFORK));
	EXPECT_EQ(EINVAL, errno);
	ASSERT_EQ(0, pipe(to));
	ASSERT_EQ(0, pipe(from));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		/* EFAULT means that it is not mapped */
		c = write(from[1], mem, 1) == 1 ? 'y' : 'n';
		if (c == 'n' && write(from[1], &c, 1) != 1)
			_exit(1);
		_exit(read(to[0], &c, 1) != 1);
	}
	ASSERT_EQ(1, read(from[0], &c, 1));
	EXPECT_EQ(inherits ? (char)self->data.in_data : 'n', c);
	EXPECT_EQ(0, munmap(mem, self->data.out_mmap_length));
	EXPECT_EQ(inherits ? -EBUSY : 0, destroy(self->fd, self->viommu));
	ASSERT_EQ(1, write(to[1], "", 1));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(inherits ? 0 : -ENOENT, destroy(self->fd, self->viommu));
}

/*
 * The driver reports the offset before the vIOMMU is published, and others can
 * be guessed. Nothing can be mapped while the allocation can still fail.
 */
TEST_F(mem, unpublished)
{
	struct iommu_viommu_selftest data = { .in_data = 1 };
	struct iommu_viommu_alloc *cmd;
	struct call alloc;
	struct slow_page slow;
	void *mem;
	int rc;

	rc = slow_page_init(&slow, true);
	if (rc)
		SKIP(return, "no userfaultfd: %s", strerror(-rc));
	cmd = slow.page;
	*cmd = (struct iommu_viommu_alloc){
		.size = sizeof(*cmd),
		.type = variant->type,
		.dev_id = self->dev,
		.hwpt_id = self->parent,
		.data_len = sizeof(data),
		.data_uptr = (uintptr_t)&data,
	};
	slow_page_protect(&slow);
	call_start(&alloc, self->fd, IOMMU_VIOMMU_ALLOC, cmd);
	slow_page_wait(&slow);

	EXPECT_NE(0, data.out_mmap_offset);
	EXPECT_NE(self->data.out_mmap_offset, data.out_mmap_offset);
	EXPECT_EQ(-ENXIO, map_shared(self->fd, &data, NULL));
	/* The copy of the answer fails, so there is no vIOMMU */
	ASSERT_EQ(0, mprotect(cmd, PAGE_SIZE, PROT_READ));
	slow_page_provide(&slow);
	EXPECT_EQ(-EFAULT, call_join(&alloc));
	EXPECT_EQ(-ENXIO, map_shared(self->fd, &data, NULL));

	/* Try again, with a copy of the answer that succeeds */
	ASSERT_EQ(0, mprotect(cmd, PAGE_SIZE, PROT_READ | PROT_WRITE));
	slow_page_protect(&slow);
	call_start(&alloc, self->fd, IOMMU_VIOMMU_ALLOC, cmd);
	slow_page_wait(&slow);
	EXPECT_EQ(-ENXIO, map_shared(self->fd, &data, NULL));
	slow_page_provide(&slow);
	ASSERT_EQ(0, call_join(&alloc));
	ASSERT_EQ(0, map_shared(self->fd, &data, &mem));
	EXPECT_EQ(1, load(mem));
	munmap(mem, data.out_mmap_length);
}

/* An offset is only valid for its own file */
TEST_F(mem, two_files)
{
	struct iommu_viommu_selftest data = { .in_data = 2 };
	__u32 ioas, stdev, dev, parent, viommu;
	int fd = open("/dev/iommu", O_RDWR);

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, mock_plug(fd, &ioas, &stdev, &dev, &parent));
	ASSERT_EQ(0, viommu_alloc_mem(fd, dev, parent, variant->type, &data,
				      &viommu));
	EXPECT_NE(self->data.out_mmap_offset, data.out_mmap_offset);
	EXPECT_EQ(-ENXIO, map_shared(self->fd, &data, NULL));
	EXPECT_EQ(-ENXIO, map_shared(fd, &self->data, NULL));
	EXPECT_EQ(0, map_shared(fd, &data, NULL));
	teardown_iommufd(fd, _metadata);
}

FIXTURE(doorbell)
{
	int fd;
	__u32 ioas, stdev, dev, parent, viommu;
	struct iommu_viommu_selftest data;
	void *mem;
	void *page[2];
};

FIXTURE_SETUP(doorbell)
{
	void *mem;

	self->fd = open("/dev/iommu", O_RDWR);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, mock_plug(self->fd, &self->ioas, &self->stdev, &self->dev,
			       &self->parent));
	ASSERT_EQ(0, viommu_alloc_mem(self->fd, self->dev, self->parent,
				      IOMMU_VIOMMU_TYPE_SELFTEST_FAULT,
				      &self->data, &self->viommu));
	ASSERT_EQ(0, map_shared(self->fd, &self->data, &mem));
	self->mem = mem;
	self->page[0] = mem;
	self->page[1] = mem + PAGE_SIZE;
}

FIXTURE_TEARDOWN(doorbell)
{
	ASSERT_EQ(0, munmap(self->mem, self->data.out_mmap_length));
	teardown_iommufd(self->fd, _metadata);
}

TEST_F(doorbell, faults)
{
	/* mmap() populates nothing, and a page stays once it is there */
	EXPECT_EQ(0, faults_of(self->fd, self->viommu));
	store(self->page[0], 1);
	EXPECT_EQ(1, faults_of(self->fd, self->viommu));
	store(self->page[0], 2);
	EXPECT_EQ(1, faults_of(self->fd, self->viommu));
	store(self->page[1], 3);
	EXPECT_EQ(2, faults_of(self->fd, self->viommu));

	/* A zap takes out a single page and loses nothing */
	EXPECT_EQ(2, zap(self->fd, self->viommu, 0));
	EXPECT_EQ(3, load(self->page[1]));
	EXPECT_EQ(2, faults_of(self->fd, self->viommu));
	EXPECT_EQ(2, load(self->page[0]));
	EXPECT_EQ(3, faults_of(self->fd, self->viommu));
	EXPECT_EQ(3, zap(self->fd, self->viommu, 1));
	EXPECT_EQ(2, load(self->page[0]));
	EXPECT_EQ(3, faults_of(self->fd, self->viommu));
	EXPECT_EQ(3, load(self->page[1]));
	EXPECT_EQ(4, faults_of(self->fd, self->viommu));
	EXPECT_EQ(-EINVAL, zap(self->fd, self->viommu, 2));
}

/* A zap reaches each mapping, and no other vIOMMU */
TEST_F(doorbell, mappings)
{
	struct iommu_viommu_selftest data = {};
	unsigned int i, faults = 0;
	void *mem[17], *other;
	__u32 viommu;

	ASSERT_EQ(0, viommu_alloc_mem(self->fd, self->dev, self->parent,
				      IOMMU_VIOMMU_TYPE_SELFTEST_FAULT, &data,
				      &viommu));
	ASSERT_EQ(0, map_shared(self->fd, &data, &other));
	store(other, 1);
	EXPECT_EQ(1, faults_of(self->fd, viommu));

	for (i = 0; i < ARRAY_SIZE(mem); i++) {
		if (map_shared(self->fd, &self->data, &mem[i]))
			break;
	}
	/* The first of 16 is that of the fixture */
	EXPECT_EQ(15, i);
	EXPECT_EQ(-EBUSY, map_shared(self->fd, &self->data, NULL));
	while (i) {
		store(mem[--i], 0);
		EXPECT_EQ(++faults, faults_of(self->fd, self->viommu));
	}
	EXPECT_EQ(faults, zap(self->fd, self->viommu, 0));
	for (i = 0; i < 15; i++) {
		EXPECT_EQ(0, load(mem[i]));
		EXPECT_EQ(++faults, faults_of(self->fd, self->viommu));
		munmap(mem[i], data.out_mmap_length);
	}
	EXPECT_EQ(1, load(other));
	EXPECT_EQ(1, faults_of(self->fd, viommu));
	munmap(other, data.out_mmap_length);
	/* A mapping that is gone does not count any more */
	EXPECT_EQ(0, map_shared(self->fd, &self->data, NULL));
}

/* A system call writes to the page, and must fault as a store does */
TEST_F(doorbell, system_call)
{
	int fds[2];

	ASSERT_EQ(0, pipe(fds));
	ASSERT_EQ(4, write(fds[1], "bell", 4));
	ASSERT_EQ(4, read(fds[0], self->page[0], 4));
	EXPECT_EQ(1, faults_of(self->fd, self->viommu));
	EXPECT_EQ(0, memcmp(self->page[0], "bell", 4));
}

/* Threads know the offset of a vIOMMU that is allocated and destroyed */
struct mmap_race {
	struct stress stress;
	__u32 type;
	struct iommu_viommu_selftest data;
	void *mem;
	/* For race_zap: the state after the last zap, and the number checked */
	unsigned long batches;
	int faults;
	unsigned int checked;
};

static struct mmap_race *mmap_race(struct racer *racer)
{
	return (struct mmap_race *)racer->stress;
}

static void do_viommu(struct racer *racer)
{
	struct iommu_viommu_selftest data = { .in_data = 7 };
	struct mmap_race *race = mmap_race(racer);
	struct stress *s = racer->stress;
	__u32 id;
	int rc;

	rc = viommu_alloc_mem(s->fd, s->dev.id, s->parent, race->type, &data,
			      &id);
	if (!rc) {
		__atomic_store_n(&race->data.out_mmap_offset,
				 data.out_mmap_offset, __ATOMIC_RELAXED);
		rc = destroy_soon(s->fd, id);
	}
	got(racer, rc);
}

static void mmap_once(struct racer *racer, unsigned int pages)
{
	struct mmap_race *race = mmap_race(racer);
	__u64 offset = __atomic_load_n(&race->data.out_mmap_offset,
				       __ATOMIC_RELAXED);
	void *mem;
	int rc;

	rc = try_mmap(racer->stress->fd, offset + pages * PAGE_SIZE,
		      2 * PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, &mem);
	if (!rc) {
		rc = load(mem) == 7 ? 0 : -ESTALE;
		munmap(mem, 2 * PAGE_SIZE);
	}
	got(racer, rc);
}

/* Map the region of this vIOMMU, or of the next, which may not exist yet */
static void do_mmap(struct racer *racer)
{
	mmap_once(racer, 0);
}

static void do_mmap_next(struct racer *racer)
{
	mmap_once(racer, 2);
}

static void do_fork(struct racer *racer)
{
	int status;
	pid_t pid;

	pid = fork();
	if (!pid)
		_exit(0);
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		got(racer, -errno);
	else
		got(racer, status ? -ECHILD : 0);
}

/* Each has succeeded, except for do_mmap_next() */
static bool first_three_met(const struct racer *racers)
{
	return racers[0].got[0] && racers[1].got[0] && racers[2].got[0];
}

TEST_F_TIMEOUT(mem, race_mmap, 100)
{
	struct mmap_race race = {
		.stress = { .fd = self->fd, .dev.id = self->dev,
			    .parent = self->parent, .met = first_three_met },
		.type = variant->type,
	};
	struct racer racers[] = { { .once = do_viommu },
				  { .once = do_fork },
				  { .once = do_mmap },
				  { .once = do_mmap_next } };
	unsigned int i;

	run_racers(&race.stress, racers, 4, STRESS_SECONDS);
	for (i = 0; i < 2; i++)
		EXPECT_TRUE(got_only(&racers[i], 0));
	for (; i < 4; i++)
		EXPECT_TRUE(got_only(&racers[i], 0, -ENXIO));
	EXPECT_TRUE(first_three_met(racers));
	EXPECT_EQ(0, destroy(self->fd, self->viommu));
}

static void do_store(struct racer *racer)
{
	void *mem = mmap_race(racer)->mem;
	unsigned int i;

	for (i = 0; i < 1000; i++)
		store(mem, load(mem) + 1);
	got(racer, 0);
}

/*
 * If two batches of stores end between two zaps, then the second of them also
 * begins there, so the page must have faulted. Without stores in between, zaps
 * cause no fault.
 */
static void do_zap(struct racer *racer)
{
	struct mmap_race *race = mmap_race(racer);
	unsigned long *batches = &racer[-1].got[0];
	unsigned long before = __atomic_load_n(batches, __ATOMIC_ACQUIRE);
	int rc = zap(race->stress.fd, race->stress.viommu, 0);

	if (rc >= 0 && before - race->batches >= 2) {
		race->checked++;
		if (rc == race->faults)
			got(racer, -EPROTO);
	}
	got(racer, rc < 0 ? rc : 0);
	race->faults = rc;
	race->batches = __atomic_load_n(batches, __ATOMIC_ACQUIRE);
	/* Without a pause, a busy machine has no two batches between zaps */
	if (!(racer->got[0] % 16))
		some_time(racer, 20000);
}

static bool zap_met(const struct racer *racers)
{
	return first_three_met(racers) &&
	       __atomic_load_n(&((struct mmap_race *)racers->stress)->checked,
			       __ATOMIC_RELAXED);
}

/* After a zap, no store may evade the fault handler while a mapping moves */
static void do_move(struct racer *racer)
{
	struct mmap_race *race = mmap_race(racer);
	void *mem, *to;
	int rc;

	rc = map_shared(race->stress.fd, &race->data, &mem);
	if (rc) {
		got(racer, rc);
		return;
	}
	store(mem + PAGE_SIZE, 1);
	to = mmap(NULL, 2 * PAGE_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
		  -1, 0);
	assert(to != MAP_FAILED);
	mem = mremap(mem, 2 * PAGE_SIZE, 2 * PAGE_SIZE,
		     MREMAP_MAYMOVE | MREMAP_FIXED, to);
	got(racer, mem == MAP_FAILED ? -errno : 0);
	if (mem != MAP_FAILED)
		munmap(mem, 2 * PAGE_SIZE);
}

TEST_F_TIMEOUT(doorbell, race_zap, 100)
{
	struct mmap_race race = {
		.stress = { .fd = self->fd, .viommu = self->viommu,
			    .met = zap_met },
		.data = self->data,
		.mem = self->page[0],
	};
	struct racer racers[] = { { .once = do_store },
				  { .once = do_zap },
				  { .once = do_move } };
	unsigned int i;

	run_racers(&race.stress, racers, 3, STRESS_SECONDS);
	for (i = 0; i < 3; i++)
		EXPECT_TRUE(got_only(&racers[i], 0));
	EXPECT_TRUE(first_three_met(racers));
	/* No store was lost either */
	EXPECT_EQ((__u32)(racers[0].got[0] * 1000), load(self->page[0]));
	EXPECT_NE(0, race.checked);
}

TEST_HARNESS_MAIN
