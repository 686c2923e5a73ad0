// SPDX-License-Identifier: GPL-2.0-only
/*
 * SMMUs and PCI host bridges of a flattened device tree
 *
 * This is a single pass over all nodes with libfdt. libfdt checks every offset
 * against the size in the header, so this size must first be checked against
 * the size of the file. A device tree has no property for CANWBS.
 */
#include <stdlib.h>
#include <string.h>

#include <libfdt.h>

#include "host.h"

/* Real trees are less than ten levels deep */
#define MAX_DEPTH	32
#define MAX_PATH	1024
#define MAP_CELLS	4

struct bus {
	uint32_t address_cells;
	uint32_t size_cells;
	const fdt32_t *ranges;	/* NULL: not visible to the CPU */
	int ranges_len;
	bool disabled;
	bool pci;
	size_t path_len;
};

struct walk {
	struct host *h;
	const void *fdt;
	struct bus bus[MAX_DEPTH];
	char path[MAX_PATH];
	uint32_t *phandles;
	size_t nr_phandles;
	size_t max_phandles;
};

static uint32_t get_cells(const void *fdt, int node, const char *name,
			  uint32_t dflt)
{
	const fdt32_t *p;
	int len;

	p = fdt_getprop(fdt, node, name, &len);
	return p && len == sizeof(*p) ? fdt32_ld(p) : dflt;
}

static uint64_t get_number(const fdt32_t *p, uint32_t cells)
{
	uint64_t n = 0;

	while (cells--)
		n = n << 32 | fdt32_ld(p++);
	return n;
}

static bool usable_cells(uint32_t cells)
{
	return cells == 1 || cells == 2;
}

/* The address of a node at @depth, as seen by the CPU */
static int cpu_address(struct walk *w, int node, int depth, unsigned long long *addr)
{
	const struct bus *bus = &w->bus[depth - 1];
	const fdt32_t *reg;
	int len, i;

	if (!usable_cells(bus->address_cells))
		return -1;
	reg = fdt_getprop(w->fdt, node, "reg", &len);
	if (!reg || len < (int)(bus->address_cells * sizeof(*reg)))
		return -1;
	*addr = get_number(reg, bus->address_cells);

	for (i = depth - 1; i > 0; i--) {
		const struct bus *here = &w->bus[i], *up = &w->bus[i - 1];
		uint32_t entry = here->address_cells + up->address_cells +
				 here->size_cells;
		const fdt32_t *p = here->ranges;
		int left = here->ranges_len / (int)sizeof(*p);

		if (!p)
			return -1;
		if (!here->ranges_len)
			continue;
		if (!usable_cells(here->address_cells) ||
		    !usable_cells(up->address_cells) ||
		    !usable_cells(here->size_cells))
			return -1;
		for (; left >= (int)entry; left -= entry, p += entry) {
			uint64_t from = get_number(p, here->address_cells);
			uint64_t to = get_number(p + here->address_cells,
						 up->address_cells);
			uint64_t size = get_number(p + here->address_cells +
						   up->address_cells,
						   here->size_cells);

			if (*addr >= from && *addr - from < size) {
				*addr = *addr - from + to;
				break;
			}
		}
		if (left < (int)entry)
			return -1;
	}
	return 0;
}

static int add_smmu(struct walk *w, int node, int depth)
{
	struct smmu *smmu = host_add_smmu(w->h);

	if (!smmu)
		return -1;
	smmu->ref = fdt_get_phandle(w->fdt, node);
	smmu->node = xstrdup(w->path);
	if (cpu_address(w, node, depth, &smmu->base))
		host_warn(w->h, "device tree: %s: its address is unknown",
			  w->path);
	if (!smmu->ref)
		host_warn(w->h, "device tree: %s: no phandle, so nothing is behind it",
			  w->path);
	return 0;
}

static int add_bridge(struct walk *w, int node)
{
	struct master *m = host_add_master(w->h);
	const fdt32_t *p;
	int len, i;

	m->pci = true;
	m->name = xstrdup(w->path);
	m->coherent = fdt_getprop(w->fdt, node, "dma-coherent", NULL);
	m->ats = fdt_getprop(w->fdt, node, "ats-supported", NULL);
	p = fdt_getprop(w->fdt, node, "linux,pci-domain", &len);
	if (p && len == sizeof(*p)) {
		m->has_segment = true;
		m->segment = fdt32_ld(p);
	}
	m->id_mask = get_cells(w->fdt, node, "iommu-map-mask", UINT32_MAX);

	p = fdt_getprop(w->fdt, node, "iommu-map", &len);
	if (!p)
		return 0;
	if (!len || len % (MAP_CELLS * sizeof(*p)))
		return host_fail(w->h, "device tree: %s: iommu-map of %d bytes, not n * %zu",
				 w->path, len, MAP_CELLS * sizeof(*p));
	m->nr_ranges = len / (MAP_CELLS * sizeof(*p));
	m->ranges = xrealloc(NULL, m->nr_ranges, sizeof(*m->ranges));
	for (i = 0; i < (int)m->nr_ranges; i++, p += MAP_CELLS) {
		uint32_t in = fdt32_ld(p), count = fdt32_ld(p + 3);

		if (!count || count - 1 > UINT32_MAX - in)
			return host_fail(w->h, "device tree: %s: iommu-map[%d]: 0x%x+0x%x",
					 w->path, i, in, count);
		if (in & ~m->id_mask)
			return host_fail(w->h, "device tree: %s: iommu-map[%d]: 0x%x is hidden",
					 w->path, i, in);
		m->ranges[i] = (struct id_range) {
			.in = in,
			.last = count - 1,
			.out = fdt32_ld(p + 2),
			.ref = fdt32_ld(p + 1),
		};
	}
	return 0;
}

static bool node_disabled(const void *fdt, int node)
{
	const char *status;
	int len;

	status = fdt_getprop(fdt, node, "status", &len);
	if (!status)
		return false;
	return !((len == 5 && !memcmp(status, "okay", 5)) ||
		 (len == 3 && !memcmp(status, "ok", 3)));
}

static int visit(struct walk *w, int node, int depth)
{
	struct bus *bus = &w->bus[depth];
	const char *name, *type;
	size_t at;
	int len;

	name = fdt_get_name(w->fdt, node, &len);
	if (!name)
		return host_fail(w->h, "device tree: a node at 0x%x: %s", node,
				 fdt_strerror(len));
	at = depth ? w->bus[depth - 1].path_len : 0;
	if (at + len + 2 > sizeof(w->path))
		return host_fail(w->h, "device tree: a path of more than %d characters",
				 MAX_PATH);
	/* The name of the root node is empty */
	if (depth)
		at += sprintf(w->path + at, "/%.*s", len, name);
	bus->path_len = at;
	bus->address_cells = get_cells(w->fdt, node, "#address-cells", 2);
	bus->size_cells = get_cells(w->fdt, node, "#size-cells", 1);
	bus->ranges = fdt_getprop(w->fdt, node, "ranges", &bus->ranges_len);
	type = fdt_getprop(w->fdt, node, "device_type", &len);
	bus->pci = type && len == sizeof("pci") && !memcmp(type, "pci", len);
	bus->disabled = (depth && w->bus[depth - 1].disabled) ||
			node_disabled(w->fdt, node);
	if (bus->disabled || !depth)
		return 0;

	if (!fdt_node_check_compatible(w->fdt, node, "arm,smmu-v3") &&
	    add_smmu(w, node, depth))
		return -1;
	/* A bridge below another bridge is not a host bridge */
	if (bus->pci && !w->bus[depth - 1].pci)
		return add_bridge(w, node);
	return 0;
}

static void add_phandle(struct walk *w, int node)
{
	uint32_t phandle = fdt_get_phandle(w->fdt, node);

	if (!phandle)
		return;
	if (w->nr_phandles == w->max_phandles) {
		w->max_phandles = w->max_phandles * 2 + 64;
		w->phandles = xrealloc(w->phandles, w->max_phandles,
				       sizeof(*w->phandles));
	}
	w->phandles[w->nr_phandles++] = phandle;
}

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

/* A range may lead to another kind of IOMMU, but must lead to a node */
static int check_ranges(struct walk *w)
{
	struct host *h = w->h;
	unsigned int i, k;

	if (w->nr_phandles)
		qsort(w->phandles, w->nr_phandles, sizeof(*w->phandles),
		      by_value);
	for (i = 0; i < h->nr_masters; i++) {
		const struct master *m = &h->masters[i];

		for (k = 0; k < m->nr_ranges; k++) {
			uint32_t ref = m->ranges[k].ref;

			if (!w->nr_phandles ||
			    !bsearch(&ref, w->phandles, w->nr_phandles,
				     sizeof(ref), by_value))
				return host_fail(h, "device tree: %s: iommu-map: no phandle 0x%x",
						 m->name, ref);
		}
	}
	return 0;
}

static int walk_nodes(struct walk *w)
{
	int node, depth = -1;

	for (node = fdt_next_node(w->fdt, -1, &depth); node >= 0 && depth >= 0;
	     node = fdt_next_node(w->fdt, node, &depth)) {
		if (depth >= MAX_DEPTH)
			return host_fail(w->h, "device tree: more than %d levels",
					 MAX_DEPTH);
		add_phandle(w, node);
		if (visit(w, node, depth))
			return -1;
	}
	/* depth < 0: the end of the root node was reached */
	if (node < 0 && !(node == -FDT_ERR_NOTFOUND && depth < 0))
		return host_fail(w->h, "device tree: its structure is bad: %s",
				 fdt_strerror(node));
	return check_ranges(w);
}

/**
 * fdt_parse - Check a device tree, and read the parts that matter for nesting
 * @h: Out: SMMUs and masters, warnings, the error
 * @table: The tree
 * @size: The number of bytes available
 *
 * Return: 0, or -1 with @h->error set.
 */
int fdt_parse(struct host *h, const void *table, size_t size)
{
	struct walk *w;
	int rc;

	if (size < sizeof(struct fdt_header))
		return host_fail(h, "device tree: %zu bytes, and the header alone has %zu",
				 size, sizeof(struct fdt_header));
	rc = fdt_check_header(table);
	if (rc)
		return host_fail(h, "device tree: the header is bad: %s",
				 fdt_strerror(rc));
	if (fdt_totalsize(table) > size)
		return host_fail(h, "device tree: its length is %u, but there are %zu bytes",
				 fdt_totalsize(table), size);
	if (fdt_off_dt_struct(table) % sizeof(fdt32_t))
		return host_fail(h, "device tree: its structure is not aligned");

	w = xrealloc(NULL, 1, sizeof(*w));
	memset(w, 0, sizeof(*w));
	w->h = h;
	w->fdt = table;
	rc = walk_nodes(w);
	free(w->phandles);
	free(w);
	if (rc)
		return -1;
	h->source = SOURCE_FDT;
	return 0;
}

/**
 * fdt_map_id - Translate a requester ID
 * @h: The host
 * @m: The host bridge that sends the ID
 * @id: The ID
 * @stream: Out: its StreamID
 *
 * Return: the SMMU, or NULL if none translates it.
 */
struct smmu *fdt_map_id(struct host *h, const struct master *m, uint32_t id,
			uint32_t *stream)
{
	unsigned int i;

	id &= m->id_mask;
	for (i = 0; i < m->nr_ranges; i++) {
		const struct id_range *r = &m->ranges[i];

		if (id < r->in || id - r->in > r->last)
			continue;
		*stream = id - r->in + r->out;
		return host_find_smmu(h, r->ref);
	}
	return NULL;
}
