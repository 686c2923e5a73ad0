/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The parts of the ACPI IO Remapping Table that matter for CANWBS and for HTTU,
 * and its reserved memory.
 *
 * CANWBS in the memory access flags of a root complex means that its DMA can be
 * made cacheable regardless of the attributes that a guest chooses. Without it,
 * and without S2FWB in the SMMU, the driver does not let a guest have a stage
 * 1.
 *
 * The driver takes HTTU from the flags of the SMMU, not from its IDR0.
 */
#ifndef __SELFTEST_IOMMU_LIB_IORT_H
#define __SELFTEST_IOMMU_LIB_IORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define IORT_LENGTH		4	/* u32 */
#define IORT_CHECKSUM		9	/* u8 */
#define IORT_OEM_REVISION	24	/* u32 */
#define IORT_NODE_COUNT		36	/* u32 */
#define IORT_NODE_OFFSET	40	/* u32 */
#define IORT_HEADER		48

#define IORT_NODE_TYPE		0	/* u8 */
#define IORT_NODE_LENGTH	1	/* u16 */
#define IORT_NODE_HEADER	16
#define IORT_SMMU_V3		4
#define IORT_SMMU_V3_FLAGS	24	/* u32 */
#define IORT_SMMU_V3_HTTU(n)	((n) << 1)
#define IORT_ROOT_COMPLEX	2
#define IORT_RMR		6
#define IORT_ROOT_FLAGS		23	/* u8 */
#define IORT_ROOT_CANWBS	(1 << 2)
#define IORT_ROOT_ATS		24	/* u8, of an u32: bit 0, ATS is supported */

static inline uint32_t iort_get32(const uint8_t *p)
{
	return p[0] | p[1] << 8 | p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline void iort_put32(uint8_t *p, uint32_t value)
{
	p[0] = value;
	p[1] = value >> 8;
	p[2] = value >> 16;
	p[3] = value >> 24;
}

/*
 * The next node of a type that has @need bytes, or NULL after the last. *node
 * and *off are the position, 0 at first. Sets *bad if the table is malformed.
 */
static inline uint8_t *iort_next(uint8_t *iort, size_t size, uint8_t type, size_t need,
				 uint32_t *node, size_t *off, int *bad)
{
	*bad = 1;
	if (size < IORT_HEADER || memcmp(iort, "IORT", 4) ||
	    iort_get32(iort + IORT_LENGTH) != size)
		return NULL;
	if (!*node)
		*off = iort_get32(iort + IORT_NODE_OFFSET);
	while (*node < iort_get32(iort + IORT_NODE_COUNT)) {
		uint8_t *p = iort + *off;
		size_t len;

		if (*off < IORT_HEADER || *off > size ||
		    size - *off < IORT_NODE_HEADER)
			return NULL;
		len = p[IORT_NODE_LENGTH] | p[IORT_NODE_LENGTH + 1] << 8;
		if (len < IORT_NODE_HEADER || len > size - *off)
			return NULL;
		++*node;
		*off += len;
		if (p[IORT_NODE_TYPE] != type)
			continue;
		if (len < need)
			return NULL;
		*bad = 0;
		return p;
	}
	*bad = 0;
	return NULL;
}

/* The flags of the next root complex */
static inline uint8_t *iort_next_root(uint8_t *iort, size_t size,
				      uint32_t *node, size_t *off, int *bad)
{
	uint8_t *p = iort_next(iort, size, IORT_ROOT_COMPLEX, IORT_ROOT_ATS + 1,
			       node, off, bad);

	return p ? p + IORT_ROOT_FLAGS : NULL;
}

static inline int iort_count_canwbs(uint8_t *iort, size_t size,
				    unsigned int *with, unsigned int *without)
{
	uint32_t node = 0;
	uint8_t *flags;
	size_t off;
	int bad;

	*with = 0;
	*without = 0;
	while ((flags = iort_next_root(iort, size, &node, &off, &bad)))
		++*(*flags & IORT_ROOT_CANWBS ? with : without);
	return bad ? -1 : 0;
}

/* Remove the reserved memory ranges at the end. Return: the new size, or 0 */
static inline size_t iort_drop_rmrs(uint8_t *iort, size_t size)
{
	uint32_t num, node, left = 0;
	size_t off, len, end = 0;

	if (size < IORT_HEADER)
		return 0;
	num = iort_get32(iort + IORT_NODE_COUNT);
	off = iort_get32(iort + IORT_NODE_OFFSET);
	for (node = 0; node < num; node++, off += len) {
		if (off < IORT_HEADER || off > size || size - off < IORT_NODE_HEADER)
			return 0;
		len = iort[off + IORT_NODE_LENGTH] |
		      iort[off + IORT_NODE_LENGTH + 1] << 8;
		if (len < IORT_NODE_HEADER || len > size - off)
			return 0;
		if (iort[off + IORT_NODE_TYPE] == IORT_RMR)
			continue;
		if (++left != node + 1)
			return 0;
		end = off + len;
	}
	iort_put32(iort + IORT_NODE_COUNT, left);
	iort_put32(iort + IORT_LENGTH, end);
	return end;
}

/* Set CANWBS and ATS. ATS has no effect unless SMMU and device have it. */
static inline int iort_set_roots(uint8_t *iort, size_t size, bool canwbs)
{
	uint32_t node = 0;
	uint8_t *flags;
	size_t off;
	int bad;

	while ((flags = iort_next_root(iort, size, &node, &off, &bad))) {
		*flags |= canwbs ? IORT_ROOT_CANWBS : 0;
		flags[IORT_ROOT_ATS - IORT_ROOT_FLAGS] |= 1;
	}
	return bad ? -1 : 0;
}

/* @httu has the values of IDR0.HTTU */
static inline int iort_set_httu(uint8_t *iort, size_t size, uint32_t httu)
{
	uint32_t node = 0;
	uint8_t *p;
	size_t off;
	int bad;

	while ((p = iort_next(iort, size, IORT_SMMU_V3, IORT_SMMU_V3_FLAGS + 4, &node,
			      &off, &bad))) {
		uint32_t flags = iort_get32(p + IORT_SMMU_V3_FLAGS);

		flags &= ~IORT_SMMU_V3_HTTU(3);
		iort_put32(p + IORT_SMMU_V3_FLAGS, flags | IORT_SMMU_V3_HTTU(httu));
	}
	return bad ? -1 : 0;
}

/* Call this after all changes. The kernel takes a table only if it is newer. */
static inline void iort_seal(uint8_t *iort, size_t size)
{
	uint8_t sum = 0;
	size_t i;

	iort_put32(iort + IORT_OEM_REVISION,
		   iort_get32(iort + IORT_OEM_REVISION) + 1);
	iort[IORT_CHECKSUM] = 0;
	for (i = 0; i < size; i++)
		sum += iort[i];
	iort[IORT_CHECKSUM] = -sum;
}

#endif
