/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Tables like those of firmware, for the tests: an IORT and a device tree with
 * some SMMUs, byte by byte. This also has a check that a text is valid JSON.
 */
#ifndef __TOOLS_IOMMU_TESTS_TABLES_H
#define __TOOLS_IOMMU_TESTS_TABLES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SMMU_A		0x09050000ULL
#define SMMU_B		0x4609060000ULL

struct table {
	uint8_t *data;
	size_t len;
};

struct id_map {
	uint32_t in;
	uint32_t last;
	uint32_t out;
	uint32_t ref;
	uint32_t flags;
};

void put32(uint8_t *p, uint32_t value);
uint32_t get_le32(const uint8_t *p);
void iort_begin(struct table *t);
uint32_t iort_its(struct table *t);
uint32_t iort_smmu(struct table *t, uint8_t revision, uint64_t base,
		   const struct id_map *maps, uint32_t nr_maps);
uint32_t iort_root(struct table *t, uint32_t segment, uint8_t access,
		   const struct id_map *maps, uint32_t nr_maps);
uint32_t iort_named(struct table *t, const char *name,
		    const struct id_map *maps, uint32_t nr_maps);
void iort_end(struct table *t);

/* The IORTs */
enum iort_kind {
	IORT_ONE,		/* an SMMU, a root complex, an ITS */
	IORT_ONE_CANWBS,
	IORT_TWO,		/* two SMMUs, segments 0 and 1; 1 has CANWBS */
	IORT_NAMED,		/* IORT_ONE and a platform device */
	NR_IORTS,
};

void iort_make(struct table *t, enum iort_kind kind);

enum fdt_kind {
	FDT_ONE,		/* an SMMU, a PCI host bridge with all of its IDs */
	FDT_SOC,		/* two, on buses with ranges; a mask, two bridges */
	FDT_NONE,		/* a disabled SMMU */
	/* The trees from here on are invalid */
	FDT_LOST,		/* an iommu-map without a target */
	FDT_SHORT,		/* an iommu-map with a truncated entry */
	FDT_DEEP,		/* more levels than on any machine */
	FDT_LONG,		/* longer names */
	NR_FDTS,
};

void fdt_make(struct table *t, enum fdt_kind kind);

bool json_valid(const char *s);

#endif
