/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The memory of a guest, with a shadow copy that DMA is judged by.
 *
 * The guest is made of memory: slots of it are mapped in a stage 2 at the IPAs
 * that the guest believes to be physical, and the guest builds its stage-1
 * tables, Context Descriptors and STEs in there. Every slot of every guest of
 * the process has a shadow copy that holds the bytes it should have. So a
 * single DMA shows not only whether its bytes arrived but also that no other
 * byte changed.
 *
 * A CPU access to guest memory goes through guest_write64() and guest_fill(),
 * which keep the shadow; a bare store would count as DMA gone astray.
 *
 * Functions that return int return 0 or a negative errno.
 */
#ifndef __SELFTEST_IOMMU_LIB_GUEST_H
#define __SELFTEST_IOMMU_LIB_GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <linux/types.h>

/* The stage-1 granule */
#define GUEST_PAGE		4096ULL
/* Memory is mapped in pages of the host, which may be larger */
#define HOST_PAGE		((__u64)sysconf(_SC_PAGESIZE))

#define GUEST_MAX_SLOTS		8

struct guest_slot {
	__u8 *mem;
	__u8 *shadow;
	__u64 ipa;
	size_t size;
	bool mapped;
};

/*
 * RAM that every guest has from the start: within the reach of an edu whose
 * dma_mask is the default of 28 bits, and outside of the MSI window
 */
#define GUEST_RAM_IPA		0x02000000ULL
#define GUEST_RAM_SIZE		0x00200000ULL
#define GUEST_RAM_PAGES		(GUEST_RAM_SIZE / GUEST_PAGE)

struct guest {
	int fd;
	__u32 ioas_id;
	__u32 s2_id;
	bool nest_parent;
	unsigned int nslots;
	struct guest_slot slot[GUEST_MAX_SLOTS];
	bool used[GUEST_RAM_PAGES];
};

/*
 * Allocate an IOAS with RAM in it. The IOAS is also what devices attach to,
 * until the caller sets s2_id to a nesting parent.
 */
int guest_init(struct guest *g, int fd);
/* Memory at @ipa. An earlier slot there must have been unmapped */
int guest_map(struct guest *g, __u64 ipa, size_t size, bool writeable);
/* The same with a memfd, which has no open descriptor on return */
int guest_map_file(struct guest *g, __u64 ipa, size_t size, bool writeable);
/* The memory remains under observation: no DMA may reach it any more */
int guest_unmap(struct guest *g, __u64 ipa);

/* An unused page of RAM, in random order, filled with random bytes */
__u64 guest_page(struct guest *g);
/* The same, zeroed, for tables */
__u64 guest_zero_page(struct guest *g);
void guest_write64(struct guest *g, __u64 ipa, __u64 val);
__u64 guest_read64(struct guest *g, __u64 ipa);
void guest_fill(struct guest *g, __u64 ipa, size_t len);
void *guest_ptr(struct guest *g, __u64 ipa);
/* Declare the bytes that a following DMA of any size must write */
void guest_expect(struct guest *g, __u64 ipa, const void *data, size_t len);
/* Compare all guests of the process with their shadows */
bool guests_intact(void);

#endif
