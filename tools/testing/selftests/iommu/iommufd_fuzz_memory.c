// SPDX-License-Identifier: GPL-2.0-only
/* The memory and files that the iommufd fuzzer maps. See iommufd_fuzz.h */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/memfd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "iommufd_fuzz.h"

/* Areas of memory. Each has BUFFER_PAGES pages, except for HUGE. */
enum {
	ANONYMOUS,
	SHARED,
	MEMFD,
	READ_ONLY,
	/* The second half is a hole */
	HALF,
	HUGE,
	REGIONS,
	NOWHERE,
};

#define NR_FILES	4

size_t page_size;

/* REGIONS has a place for each mapping of a region */
static char *area[REGIONS + 1];
/*
 * The file of MEMFD, a file that may be sealed, a file that is not a memfd, and
 * a file with huge pages if the machine has any
 */
static int files[NR_FILES];
static char *scratches;
static int zero_fd, null_fd;

/* Two pages, and behind them a page that cannot be accessed */
#define SCRATCH		(3 * page_size)

static size_t area_size(unsigned int i)
{
	return i == HUGE ? 2 * HUGE_SIZE : BUFFER_PAGES * page_size;
}

static int area_flags(unsigned int i)
{
	switch (i) {
	case SHARED:
		return MAP_SHARED | MAP_ANONYMOUS;
	case MEMFD:
		return MAP_SHARED;
	default:
		return MAP_PRIVATE | MAP_ANONYMOUS;
	}
}

/* Keep the addresses reserved: nothing of the fuzzer itself may get them */
int unmap(void *at, size_t length)
{
	return mmap(at, length, PROT_NONE, MAP_FIXED | MAP_PRIVATE |
		    MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) == MAP_FAILED ? -1 : 0;
}

static void make_area(unsigned int i, int flags)
{
	int prot = i == READ_ONLY ? PROT_READ : PROT_READ | PROT_WRITE;
	void *at;

	at = mmap(area[i], area_size(i), prot, area_flags(i) | flags,
		  i == MEMFD ? files[0] : -1, 0);
	if (at == MAP_FAILED) {
		perror("mmap");
		exit(1);
	}
	area[i] = at;
	/* A bitmap of pages to be made dirty must not be empty */
	if (i == SHARED)
		memset(at, 0x55, page_size);
	if (i == HUGE)
		madvise(at, area_size(i), MADV_HUGEPAGE);
	if (i == HALF)
		unmap(at + area_size(i) / 2, area_size(i) / 2);
}

static int make_file(unsigned int i)
{
	int fd;

	if (i == 2)
		return open("/tmp", O_TMPFILE | O_RDWR, 0600);
	if (i == 3) {
		fd = memfd_create("fuzz", MFD_HUGETLB | MFD_HUGE_2MB);
		if (fd >= 0)
			return fd;
	}
	return memfd_create("fuzz", i == 1 ? MFD_ALLOW_SEALING : 0);
}

static void make_files(void)
{
	unsigned int i;

	for (i = 0; i < NR_FILES; i++) {
		if (files[i] > 0)
			close(files[i]);
		files[i] = make_file(i);
		if (files[i] < 0 ||
		    ftruncate(files[i], i == 3 ? 2 * HUGE_SIZE :
						 BUFFER_PAGES * page_size)) {
			perror("file");
			exit(1);
		}
	}
}

void memory_init(void)
{
	unsigned int i;

	page_size = sysconf(_SC_PAGE_SIZE);
	make_files();
	for (i = 0; i <= REGIONS; i++) {
		/* Reserve the addresses for good, followed by a hole */
		char *at = mmap(NULL, area_size(i) + HUGE_SIZE * 2, PROT_NONE,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
				0);

		if (at == MAP_FAILED) {
			perror("mmap");
			exit(1);
		}
		area[i] = (char *)(((uintptr_t)at + HUGE_SIZE - 1) &
				   ~(HUGE_SIZE - 1));
		if (i != REGIONS)
			make_area(i, MAP_FIXED);
	}
	scratches = mmap(NULL, NR_SCRATCHES * SCRATCH, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (scratches == MAP_FAILED) {
		perror("mmap");
		exit(1);
	}
	for (i = 0; i < NR_SCRATCHES; i++)
		mprotect(scratches + i * SCRATCH + 2 * page_size, page_size,
			 PROT_NONE);
	zero_fd = open("/dev/zero", O_RDWR);
	null_fd = open("/dev/null", O_RDWR);
}

static bool changed;

/* Restore the initial state */
void memory_begin(void)
{
	unsigned int i;

	if (!changed)
		return;
	changed = false;
	make_files();
	for (i = 0; i <= HUGE; i++)
		make_area(i, MAP_FIXED);
}

/* The second of the two pages: no memory behind it can be accessed */
void *scratch(unsigned int thread)
{
	return scratches + thread * SCRATCH + page_size;
}

void *bad_pointer(uint8_t which)
{
	switch (which & 7) {
	case 0:
		return NULL;
	case 1:
		return area[READ_ONLY];
	case 2:
		return area[HALF] + area_size(HALF) / 2;
	case 3:
		return area[HALF] + area_size(HALF) / 2 - 8;
	case 4:
		return (void *)-1UL;
	case 5:
		return (void *)(1UL << 63);
	default:
		return scratches + 2 * page_size - 4;
	}
}

static size_t some_offset(uint8_t which)
{
	static const unsigned short odd[] = { 0x800, 0xfff, 1, 8 };

	return which < 0xc0 ? 0 : odd[which & 3];
}

void *mapping_place(unsigned int i)
{
	return area[REGIONS] + i % NR_MAPPINGS * MAPPING_PAGES * page_size;
}

/* The upper three bits are the area */
__u64 some_address(uint8_t where, uint8_t offset)
{
	unsigned int i = where >> 5, page = where & 31;

	if (i == REGIONS)
		return (uintptr_t)mapping_place(page) + some_offset(offset);
	if (i == NOWHERE)
		return page & 1 ? page << 12 : -(page_size * (page + 1));
	if (i == HUGE)
		return (uintptr_t)area[i] + (page & 1) * HUGE_SIZE +
		       (page >> 1) * page_size + some_offset(offset);
	return (uintptr_t)area[i] + page * page_size + some_offset(offset);
}

int some_file(uint8_t which, struct world *w)
{
	switch (which >> 5) {
	case 0:
	case 1:
		return files[0];
	case 2:
		return files[1];
	case 3:
	case 4:
		return pool_get(w, DMABUF, which & 31);
	case 5:
		return files[which & 1 ? 3 : 2];
	case 6:
		return which & 1 ? zero_fd : w->fd;
	default:
		return which & 1 ? -1 : null_fd;
	}
}

/* Access memory by a system call, since a failure must not be a signal */
long touch(void *at, bool write_it)
{
	return write_it ? read(zero_fd, at, 4) : write(null_fd, at, 4);
}

long change_memory(const uint8_t *args)
{
	static const int prots[] = {
		PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE,
		PROT_READ | PROT_EXEC,
	};
	void *at = (void *)(some_address(args[1], 0) & ~(page_size - 1));
	size_t length = ((args[2] & 15) + 1) * page_size;

	if (args[1] >> 5 == NOWHERE)
		return -1;
	changed = true;
	switch (args[0] % 8) {
	case 0:
		return unmap(at, length);
	case 1:
		return mprotect(at, length, prots[args[3] & 3]);
	case 2:
		return madvise(at, length, MADV_DONTNEED);
	case 3:
		return madvise(at, length, MADV_REMOVE);
	case 4:
		return mmap(at, length, PROT_READ | PROT_WRITE,
			    MAP_FIXED | MAP_SHARED, files[args[3] & 1],
			    (args[3] >> 4) * page_size) == MAP_FAILED ? -1 : 0;
	case 5:
		return madvise(at, length, MADV_DOFORK);
	case 6:
		return mlock(at, length);
	default:
		return touch(at, args[3] & 1);
	}
}

long change_file(const uint8_t *args)
{
	int fd = files[(args[1] & 0x7f) % NR_FILES];

	changed = true;
	switch (args[0] % 4) {
	case 0:
		return ftruncate(fd, (args[2] & 63) * page_size +
				 some_offset(args[3]));
	case 1:
		return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				 (args[2] & 31) * page_size,
				 ((args[3] & 15) + 1) * page_size);
	case 2:
		return fcntl(fd, F_ADD_SEALS, args[2] & 31);
	default:
		return fallocate(fd, 0, 0, (args[2] & 63) * page_size + 1);
	}
}
