// SPDX-License-Identifier: GPL-2.0-only
/* See guest.h */
#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>

#include "guest.h"
#include "ioctl.h"
#include "random.h"

#define MAX_GUESTS	4

/* After each DMA the memory of all of these is compared */
static struct guest *guests[MAX_GUESTS];

static int guest_register(struct guest *g)
{
	unsigned int i;

	for (i = 0; i != MAX_GUESTS; i++) {
		if (guests[i] == g)
			return 0;
		if (!guests[i]) {
			guests[i] = g;
			return 0;
		}
	}
	return -ENOSPC;
}

/* Map @file, or anonymous memory if it is negative */
static int slot_map(struct guest *g, __u64 ipa, size_t size, bool writeable,
		    int file)
{
	struct guest_slot *slot = &g->slot[g->nslots];
	int rc;

	if (g->nslots == GUEST_MAX_SLOTS)
		return -ENOSPC;

	slot->mem = mmap(NULL, size, PROT_READ | PROT_WRITE,
			 file < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED,
			 file, 0);
	slot->shadow = malloc(size);
	if (slot->mem == MAP_FAILED || !slot->shadow)
		return -ENOMEM;
	random_bytes(slot->mem, size);
	memcpy(slot->shadow, slot->mem, size);
	slot->ipa = ipa;
	slot->size = size;

	rc = file < 0 ? ioas_map(g->fd, g->ioas_id, slot->mem, ipa, size,
				 writeable) :
			ioas_map_file_at(g->fd, g->ioas_id, file, 0, size, ipa,
					 IOMMU_IOAS_MAP_READABLE |
					 (writeable ? IOMMU_IOAS_MAP_WRITEABLE : 0));
	if (rc)
		return rc;
	slot->mapped = true;
	g->nslots++;
	return 0;
}

int guest_map(struct guest *g, __u64 ipa, size_t size, bool writeable)
{
	return slot_map(g, ipa, size, writeable, -1);
}

int guest_map_file(struct guest *g, __u64 ipa, size_t size, bool writeable)
{
	int file = memfd_create("guest", MFD_CLOEXEC);
	int rc;

	if (file < 0)
		return -errno;
	rc = ftruncate(file, size) ? -errno :
				     slot_map(g, ipa, size, writeable, file);
	close(file);
	return rc;
}

static struct guest_slot *guest_slot(struct guest *g, __u64 ipa)
{
	unsigned int i;

	for (i = 0; i != g->nslots; i++) {
		struct guest_slot *slot = &g->slot[i];

		if (slot->mapped && ipa >= slot->ipa &&
		    ipa - slot->ipa < slot->size)
			return slot;
	}
	fprintf(stderr, "# the guest has no memory at %#llx\n",
		(unsigned long long)ipa);
	abort();
}

int guest_unmap(struct guest *g, __u64 ipa)
{
	struct guest_slot *slot = guest_slot(g, ipa);
	int rc;

	rc = ioas_unmap(g->fd, g->ioas_id, slot->ipa, slot->size);
	if (!rc)
		slot->mapped = false;
	return rc;
}

int guest_init(struct guest *g, int fd)
{
	int rc;

	memset(g, 0, sizeof(*g));
	g->fd = fd;
	rc = guest_register(g);
	if (rc)
		return rc;
	rc = ioas_alloc(fd, &g->ioas_id);
	if (rc)
		return rc;
	g->s2_id = g->ioas_id;
	return guest_map(g, GUEST_RAM_IPA, GUEST_RAM_SIZE, true);
}

__u64 guest_page(struct guest *g)
{
	size_t n;

	do {
		n = random_u64() % GUEST_RAM_PAGES;
	} while (g->used[n]);
	g->used[n] = true;
	return GUEST_RAM_IPA + n * GUEST_PAGE;
}

__u64 guest_zero_page(struct guest *g)
{
	__u64 ipa = guest_page(g);
	size_t i;

	for (i = 0; i != GUEST_PAGE; i += 8)
		guest_write64(g, ipa + i, 0);
	return ipa;
}

static void *slot_ptr(struct guest_slot *slot, __u64 ipa)
{
	return slot->mem + (ipa - slot->ipa);
}

void *guest_ptr(struct guest *g, __u64 ipa)
{
	return slot_ptr(guest_slot(g, ipa), ipa);
}

void guest_expect(struct guest *g, __u64 ipa, const void *data, size_t len)
{
	struct guest_slot *slot = guest_slot(g, ipa);

	memcpy(slot->shadow + (ipa - slot->ipa), data, len);
}

void guest_fill(struct guest *g, __u64 ipa, size_t len)
{
	__u8 *p = guest_ptr(g, ipa);

	random_bytes(p, len);
	guest_expect(g, ipa, p, len);
}

void guest_write64(struct guest *g, __u64 ipa, __u64 val)
{
	__u64 le = htole64(val);

	__atomic_store_n((__u64 *)guest_ptr(g, ipa), le, __ATOMIC_RELAXED);
	guest_expect(g, ipa, &le, sizeof(le));
	/* Make the write visible to the walker of the SMMU */
	__sync_synchronize();
}

__u64 guest_read64(struct guest *g, __u64 ipa)
{
	return le64toh(__atomic_load_n((__u64 *)guest_ptr(g, ipa),
				       __ATOMIC_RELAXED));
}

bool guests_intact(void)
{
	unsigned int i, j;
	bool intact = true;

	__sync_synchronize();
	for (i = 0; i != MAX_GUESTS && guests[i]; i++) {
		for (j = 0; j != guests[i]->nslots; j++) {
			struct guest_slot *slot = &guests[i]->slot[j];
			size_t o = 0;

			if (!memcmp(slot->mem, slot->shadow, slot->size))
				continue;
			while (slot->mem[o] == slot->shadow[o])
				o++;
			fprintf(stderr,
				"# guest %u: memory at%s IPA %#llx is not what it should be\n",
				i, slot->mapped ? "" : " former",
				(unsigned long long)(slot->ipa + o));
			memcpy(slot->shadow, slot->mem, slot->size);
			intact = false;
		}
	}
	return intact;
}
