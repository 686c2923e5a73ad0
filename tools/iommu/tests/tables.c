// SPDX-License-Identifier: GPL-2.0-only
/*
 * Tables for the tests
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include <libfdt.h>

#include "../host.h"
#include "tables.h"

void put32(uint8_t *p, uint32_t value)
{
	p[0] = value;
	p[1] = value >> 8;
	p[2] = value >> 16;
	p[3] = value >> 24;
}

uint32_t get_le32(const uint8_t *p)
{
	return p[0] | p[1] << 8 | p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint8_t *grow(struct table *t, size_t len)
{
	t->data = xrealloc(t->data, t->len + len, 1);
	memset(t->data + t->len, 0, len);
	t->len += len;
	return t->data + t->len - len;
}

void iort_begin(struct table *t)
{
	uint8_t *p;

	memset(t, 0, sizeof(*t));
	p = grow(t, 48);
	memcpy(p, "IORT", 4);
	p[8] = 5;
	memcpy(p + 10, "TEST  TABLE   ", 14);
	put32(p + 40, 48);
}

static uint32_t add_node(struct table *t, uint8_t type, uint8_t revision,
			 uint32_t size, const struct id_map *maps,
			 uint32_t nr_maps)
{
	uint32_t at = t->len, len = size + 20 * nr_maps, i;
	uint8_t *p = grow(t, len);

	p[0] = type;
	p[1] = len;
	p[2] = len >> 8;
	p[3] = revision;
	put32(p + 8, nr_maps);
	put32(p + 12, nr_maps ? size : 0);
	for (i = 0; i < nr_maps; i++) {
		put32(p + size + 20 * i, maps[i].in);
		put32(p + size + 20 * i + 4, maps[i].last);
		put32(p + size + 20 * i + 8, maps[i].out);
		put32(p + size + 20 * i + 12, maps[i].ref);
		put32(p + size + 20 * i + 16, maps[i].flags);
	}
	put32(t->data + 36, get_le32(t->data + 36) + 1);
	return at;
}

uint32_t iort_its(struct table *t)
{
	uint32_t at = add_node(t, 0, 1, 24, NULL, 0);

	put32(t->data + at + 16, 1);
	return at;
}

uint32_t iort_smmu(struct table *t, uint8_t revision, uint64_t base,
		   const struct id_map *maps, uint32_t nr_maps)
{
	uint32_t at = add_node(t, 4, revision, revision ? 68 : 60, maps, nr_maps);

	put32(t->data + at + 16, base);
	put32(t->data + at + 20, base >> 32);
	return at;
}

uint32_t iort_root(struct table *t, uint32_t segment, uint8_t access,
		   const struct id_map *maps, uint32_t nr_maps)
{
	uint32_t at = add_node(t, 2, 3, 36, maps, nr_maps);

	put32(t->data + at + 16, 1);
	t->data[at + 23] = access;
	put32(t->data + at + 28, segment);
	t->data[at + 32] = 64;
	return at;
}

uint32_t iort_named(struct table *t, const char *name,
		    const struct id_map *maps, uint32_t nr_maps)
{
	uint32_t size = (29 + strlen(name) + 1 + 3) & ~3U;
	uint32_t at = add_node(t, 1, 2, size, maps, nr_maps);

	memcpy(t->data + at + 29, name, strlen(name));
	return at;
}

void iort_end(struct table *t)
{
	uint8_t sum = 0;
	size_t i;

	put32(t->data + 4, t->len);
	t->data[9] = 0;
	for (i = 0; i < t->len; i++)
		sum += t->data[i];
	t->data[9] = -sum;
}

void iort_make(struct table *t, enum iort_kind kind)
{
	uint32_t its, a, b;

	iort_begin(t);
	its = iort_its(t);
	a = iort_smmu(t, 4, SMMU_A, (struct id_map[]){
		{ 0, 0xffff, 0, its, 0 },
		/* This mapping is for the MSIs of the SMMU itself */
		{ 0, 0, 0x77, its, 1 },
	}, 2);
	put32(t->data + a + 64, 1);
	if (kind == IORT_TWO) {
		b = iort_smmu(t, 0, SMMU_B, (struct id_map[]){
			{ 0, 0xfffff, 0, its, 0 },
		}, 1);
		iort_root(t, 0, 3, (struct id_map[]){
			{ 0, 0xff, 0x100, a, 0 },
			{ 0x100, 0xfeff, 0x100, its, 0 },
		}, 2);
		iort_root(t, 1, 7, (struct id_map[]){
			{ 0, 0xffff, 0x10000, b, 0 },
		}, 1);
	} else {
		iort_root(t, 0, kind == IORT_ONE_CANWBS ? 7 : 3,
			  (struct id_map[]){
			{ 0, 0xffff, 0, a, 0 },
		}, 1);
	}
	if (kind == IORT_NAMED) {
		iort_named(t, "\\_SB.DMA0", (struct id_map[]){
			{ 0, 0, 0x5a5a, a, 1 },
		}, 1);
	}
	iort_end(t);
}

#define FDT_SIZE	16384

/* libfdt's functions fail only if the buffer is too small */
static void must(int rc)
{
	if (rc < 0) {
		fprintf(stderr, "libfdt: %s\n", fdt_strerror(rc));
		exit(2);
	}
}

static void put_cells(void *fdt, const char *name, const uint32_t *cells, int n)
{
	fdt32_t be[32];
	int i;

	for (i = 0; i < n; i++)
		be[i] = cpu_to_fdt32(cells[i]);
	must(fdt_property(fdt, name, be, n * sizeof(be[0])));
}

#define CELLS(fdt, name, ...) \
	put_cells(fdt, name, (const uint32_t[]){ __VA_ARGS__ }, \
		  ARRAY_SIZE(((const uint32_t[]){ __VA_ARGS__ })))

static void begin_smmu(void *fdt, const char *name, uint32_t phandle)
{
	must(fdt_begin_node(fdt, name));
	must(fdt_property_string(fdt, "compatible", "arm,smmu-v3"));
	CELLS(fdt, "phandle", phandle);
	CELLS(fdt, "#iommu-cells", 1);
}

static void begin_bridge(void *fdt, const char *name)
{
	must(fdt_begin_node(fdt, name));
	must(fdt_property_string(fdt, "device_type", "pci"));
	must(fdt_property_string(fdt, "compatible", "pci-host-ecam-generic"));
	must(fdt_property(fdt, "dma-coherent", "", 0));
}

void fdt_make(struct table *t, enum fdt_kind kind)
{
	void *fdt = xrealloc(NULL, FDT_SIZE, 1);
	int i, levels = kind == FDT_DEEP ? 40 : kind == FDT_LONG ? 10 : 0;
	char name[201];

	memset(name, 'x', sizeof(name) - 1);
	name[kind == FDT_LONG ? sizeof(name) - 1 : 6] = 0;

	memset(fdt, 0, FDT_SIZE);
	must(fdt_create(fdt, FDT_SIZE));
	must(fdt_finish_reservemap(fdt));
	must(fdt_begin_node(fdt, ""));
	CELLS(fdt, "#address-cells", 2);
	CELLS(fdt, "#size-cells", 2);
	must(fdt_property_string(fdt, "compatible", "linux,dummy-virt"));

	if (kind == FDT_SOC) {
		must(fdt_begin_node(fdt, "soc@4600000000"));
		CELLS(fdt, "#address-cells", 1);
		CELLS(fdt, "#size-cells", 1);
		CELLS(fdt, "ranges", 0x1000000, 0, 0, 0x1000000,
		      0x9000000, 0x46, 0x09000000, 0x1000000);
		begin_smmu(fdt, "iommu@9060000", 2);
		CELLS(fdt, "reg", 0x9060000, 0x20000);
		must(fdt_end_node(fdt));
		/* The CPU does not see this bus */
		must(fdt_begin_node(fdt, "hidden"));
		CELLS(fdt, "#address-cells", 1);
		CELLS(fdt, "#size-cells", 1);
		begin_smmu(fdt, "iommu@1000", 3);
		CELLS(fdt, "reg", 0x1000, 0x20000);
		must(fdt_end_node(fdt));
		must(fdt_end_node(fdt));
		must(fdt_end_node(fdt));
	}
	begin_smmu(fdt, "iommu@9050000", 1);
	CELLS(fdt, "reg", 0, 0x9050000, 0, 0x20000);
	if (kind == FDT_NONE)
		must(fdt_property_string(fdt, "status", "disabled"));
	must(fdt_end_node(fdt));

	begin_bridge(fdt, "pcie@10000000");
	if (kind == FDT_SOC) {
		CELLS(fdt, "linux,pci-domain", 0);
		CELLS(fdt, "iommu-map-mask", 0xfff8);
		CELLS(fdt, "iommu-map", 0, 1, 0x100, 0x100,
		      0x200, 2, 0x8000, 0x100);
		/* A root port, which must not be taken for a host bridge */
		must(fdt_begin_node(fdt, "port@0,0"));
		must(fdt_property_string(fdt, "device_type", "pci"));
		CELLS(fdt, "bus-range", 1, 0xff);
		must(fdt_end_node(fdt));
	} else {
		put_cells(fdt, "iommu-map", (const uint32_t[]){
			0, kind == FDT_LOST ? 9 : 1, 0, 0x10000
		}, kind == FDT_SHORT ? 3 : 4);
	}
	must(fdt_end_node(fdt));
	if (kind == FDT_SOC) {
		begin_bridge(fdt, "pcie@20000000");
		CELLS(fdt, "linux,pci-domain", 1);
		CELLS(fdt, "bus-range", 0, 0xff);
		must(fdt_end_node(fdt));
	}
	for (i = 0; i < levels; i++)
		must(fdt_begin_node(fdt, name));
	for (i = 0; i < levels; i++)
		must(fdt_end_node(fdt));
	must(fdt_end_node(fdt));
	must(fdt_finish(fdt));
	t->len = fdt_totalsize(fdt);
	t->data = xrealloc(fdt, t->len, 1);
}

/*
 * JSON
 */

static const char *skip_space(const char *s)
{
	return s + strspn(s, " \t\r\n");
}

static const char *skip_string(const char *s)
{
	if (*s++ != '"')
		return NULL;
	for (; *s != '"'; s++) {
		unsigned char c = *s;
		int i;

		if (c < ' ' || c >= 0x7f)
			return NULL;
		if (c != '\\')
			continue;
		s++;
		if (*s == 'u') {
			for (i = 1; i <= 4; i++) {
				if (!isxdigit((unsigned char)s[i]))
					return NULL;
			}
			s += 4;
		} else if (!*s || !strchr("\"\\/bfnrt", *s)) {
			return NULL;
		}
	}
	return s + 1;
}

static const char *skip_value(const char *s, int depth)
{
	static const char *const words[] = { "true", "false", "null" };
	char open = *s, end;
	size_t i;

	if (depth > 16)
		return NULL;
	if (open == '"')
		return skip_string(s);
	for (i = 0; i < ARRAY_SIZE(words); i++) {
		if (!strncmp(s, words[i], strlen(words[i])))
			return s + strlen(words[i]);
	}
	if (isdigit((unsigned char)open))
		return s + strspn(s, "0123456789");
	if (open != '{' && open != '[')
		return NULL;
	end = open == '{' ? '}' : ']';
	s = skip_space(s + 1);
	if (*s == end)
		return s + 1;
	for (;;) {
		if (open == '{') {
			s = skip_string(s);
			if (!s)
				return NULL;
			s = skip_space(s);
			if (*s++ != ':')
				return NULL;
			s = skip_space(s);
		}
		s = skip_value(s, depth + 1);
		if (!s)
			return NULL;
		s = skip_space(s);
		if (*s == end)
			return s + 1;
		if (*s++ != ',')
			return NULL;
		s = skip_space(s);
	}
}

bool json_valid(const char *s)
{
	s = skip_value(skip_space(s), 0);
	return s && !*skip_space(s);
}
