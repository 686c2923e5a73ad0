/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A fuzzer of iommufd's uAPI, on the mock driver, or on an SMMUv3 with devices of VFIO.
 *
 * An input is an array of records of RECORD bytes. Each record is a call: its
 * number, the thread that makes it, damage to be done to its struct, and a byte
 * for each field of the struct, in order. The table of calls in
 * iommufd_fuzz_calls.c defines the value of a field for each byte. Most values
 * are valid, or nearly valid: IDs come from a pool of live objects, lengths and
 * addresses from places where an error is likely. Any string of bytes is an
 * input, and a record keeps its meaning if others are inserted or removed.
 */
#ifndef __SELFTEST_IOMMUFD_FUZZ_H
#define __SELFTEST_IOMMUFD_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <linux/types.h>

#define RECORD		16
#define RECORD_ARGS	12
#define MAX_RECORDS	64

/* The bytes of a record */
enum {
	AT_CALL,
	/* WHERE_* */
	AT_WHERE,
	/* See damage() */
	AT_DAMAGE,
	AT_DAMAGE_ARG,
	AT_ARGS,
};

enum {
	/* Each thread makes its calls in the order of the input */
	WHERE_THREAD = 3,
	/* The second iommufd */
	WHERE_WORLD = 1 << 2,
	/* The IDs of an iommufd, with the file descriptor of the other */
	WHERE_FOREIGN = 1 << 3,
	/* In a child process */
	WHERE_CHILD = 1 << 4,
	/* Two threads at the same time */
	WHERE_TWICE = 1 << 5,
	/* An allocation fails, and there is no damage: AT_DAMAGE counts those before it */
	WHERE_FAIL = 1 << 6,
};

#define NR_THREADS	3
/* One for each thread, one for the main thread, and one for WHERE_TWICE */
#define NR_SCRATCHES	(NR_THREADS + 2)
#define NR_WORLDS	2

/* Kinds of numbers that calls return and that others take */
enum pool_kind {
	IOAS,
	HWPT,
	NESTED,
	VIOMMU,
	DEVICE,
	STDEV,
	VDEVICE,
	VEVENTQ,
	FAULT,
	HW_QUEUE,
	/* File descriptors */
	ACCESS,
	EVENT_FD,
	FAULT_FD,
	DMABUF,
	CDEV,
	/* Neither IDs nor file descriptors */
	ITEM,
	COOKIE,
	NR_KINDS,
};

#define POOL		8

struct pool {
	__u32 id[POOL];
	/* Number of entries ever stored. The latest POOL entries are known. */
	__u32 num;
};

struct world {
	int fd;
	struct pool pool[NR_KINDS];
	/* The region of the latest vIOMMU with memory */
	__u64 mmap_offset;
	__u64 mmap_length;
};

/* Places for mappings of regions, and their size */
#define NR_MAPPINGS	4
#define MAPPING_PAGES	16
#define MAX_CALLS	96

/*
 * Memory that all threads and their children share. Threads use it without
 * locks, since a wrong ID is as good as a right ID.
 */
struct shared {
	struct world world[NR_WORLDS];
	/* The number of all calls of each kind, and of those that succeeded */
	__u32 calls[MAX_CALLS];
	__u32 good[MAX_CALLS];
	/* Report each call */
	bool trace;
};

/* iommufd_fuzz_calls.c */
extern struct shared *shared;
/* Whether the IOMMU is an SMMUv3 */
extern bool on_smmu;
/* Those for this IOMMU */
extern unsigned int nr_calls;

const char *call_name(unsigned int call);
/* Return: NULL, or why the machine is of no use */
const char *fuzz_init(bool smmu);
void fuzz_begin(void);
void run_record(const uint8_t record[RECORD], unsigned int thread);
/* Release all threads that wait at a gate */
void open_gates(void);
void fuzz_end(void);

/* iommufd_fuzz_memory.c */
extern size_t page_size;

#define BUFFER_PAGES	32
#define HUGE_SIZE	(2UL << 20)

void memory_init(void);
void memory_begin(void);
__u64 some_address(uint8_t where, uint8_t offset);
int some_file(uint8_t which, struct world *w);
void *scratch(unsigned int thread);
void *bad_pointer(uint8_t which);
void *mapping_place(unsigned int i);
int unmap(void *at, size_t length);
long change_memory(const uint8_t *args);
long change_file(const uint8_t *args);
long touch(void *at, bool write);

/* iommufd_fuzz_smmu.c */
const char *smmu_init(void);
void smmu_end(void);
bool smmu_devices_are_free(void);

/* iommufd_fuzz_fields.c */
__u32 pool_get(struct world *w, enum pool_kind kind, uint8_t which);
void pool_put(struct world *w, enum pool_kind kind, __u32 id);

#endif
