// SPDX-License-Identifier: GPL-2.0-only
/*
 * The ACPI IO Remapping Table (Arm DEN 0049)
 *
 * This follows drivers/acpi/arm64/iort.c, because the view of the kernel
 * decides. Unlike there, every reference must first be checked to lie within
 * the table.
 *
 * iort_parse() checks the offset and size of every node and of every array of
 * ID mappings, and that each mapping refers to the start of a node. The walks
 * that follow need no further checks of bounds, but must expect mappings that
 * form a loop.
 */
#include <stdlib.h>
#include <string.h>

#include "host.h"

#define TABLE_LENGTH		4	/* u32 */
#define TABLE_NODES		36	/* u32 */
#define TABLE_FIRST		40	/* u32: offset */
#define TABLE_HEADER		48

#define NODE_TYPE		0	/* u8 */
#define NODE_LENGTH		1	/* u16 */
#define NODE_REVISION		3	/* u8 */
#define NODE_MAPS		8	/* u32 */
#define NODE_MAP_OFFSET		12	/* u32 */
#define NODE_HEADER		16

#define MAP_INPUT		0	/* u32 */
#define MAP_COUNT		4	/* u32: the number of IDs minus 1 */
#define MAP_OUTPUT		8	/* u32 */
#define MAP_REFERENCE		12	/* u32 */
#define MAP_FLAGS		16	/* u32 */
#define MAP_SIZE		20
#define MAP_SINGLE		1

#define TYPE_NAMED		1
#define TYPE_ROOT		2
#define TYPE_SMMU_V2		3
#define TYPE_SMMU_V3		4

#define NAMED_NAME		29
#define ROOT_COHERENT		16	/* u32 */
#define ROOT_ACCESS		23	/* u8 */
#define ROOT_ACCESS_CANWBS	4
#define ROOT_ATS		24	/* u32 */
#define ROOT_SEGMENT		28	/* u32 */
#define ROOT_SIZE		32
#define SMMU_BASE		16	/* u64 */
#define SMMU_SIZE_REV_0		60
#define SMMU_SIZE		68

struct iort_node {
	uint32_t at;
	uint32_t len;
	uint8_t type;
	uint8_t revision;
	uint32_t maps;
	uint32_t nr_maps;
};

static uint16_t get16(const uint8_t *p)
{
	return p[0] | p[1] << 8;
}

static uint32_t get32(const uint8_t *p)
{
	return get16(p) | (uint32_t)get16(p + 2) << 16;
}

static uint64_t get64(const uint8_t *p)
{
	return get32(p) | (uint64_t)get32(p + 4) << 32;
}

/* Nodes are sorted by offset */
static const struct iort_node *find_node(const struct host *h, uint32_t at)
{
	unsigned int low = 0, high = h->nr_nodes;

	while (low < high) {
		unsigned int mid = low + (high - low) / 2;

		if (h->nodes[mid].at == at)
			return &h->nodes[mid];
		if (h->nodes[mid].at < at)
			low = mid + 1;
		else
			high = mid;
	}
	return NULL;
}

static const uint8_t *map_at(const struct host *h, const struct iort_node *node,
			     unsigned int i)
{
	return h->iort + node->at + node->maps + (size_t)i * MAP_SIZE;
}

static int parse_node(struct host *h, struct iort_node *node, unsigned int nr)
{
	const uint8_t *p = h->iort + node->at;
	uint32_t left = h->iort_len - node->at, offset, least;

	if (left < NODE_HEADER)
		return host_fail(h, "IORT: node %u at 0x%x: ends in its header",
				 nr, node->at);
	node->type = p[NODE_TYPE];
	node->len = get16(p + NODE_LENGTH);
	node->revision = p[NODE_REVISION];
	node->nr_maps = get32(p + NODE_MAPS);
	offset = get32(p + NODE_MAP_OFFSET);

	switch (node->type) {
	case TYPE_NAMED:
		least = NAMED_NAME + 1;
		break;
	case TYPE_ROOT:
		least = ROOT_SIZE;
		break;
	case TYPE_SMMU_V3:
		least = node->revision ? SMMU_SIZE : SMMU_SIZE_REV_0;
		break;
	default:
		least = NODE_HEADER;
		break;
	}
	if (node->len < least)
		return host_fail(h, "IORT: node %u at 0x%x (type %u): length %u, needs %u",
				 nr, node->at, node->type, node->len, least);
	if (node->len > left)
		return host_fail(h, "IORT: node %u at 0x%x: length %u, but the table ends after %u",
				 nr, node->at, node->len, left);
	if (node->type == TYPE_NAMED &&
	    !memchr(p + NAMED_NAME, 0, node->len - NAMED_NAME))
		return host_fail(h, "IORT: node %u at 0x%x: its name does not end",
				 nr, node->at);
	if (node->nr_maps && !offset) {
		host_warn(h, "IORT: node %u at 0x%x: ID mappings without an offset: ignored",
			  nr, node->at);
		node->nr_maps = 0;
	}
	if (!node->nr_maps)
		return 0;
	if (offset < NODE_HEADER ||
	    offset + (uint64_t)node->nr_maps * MAP_SIZE > node->len)
		return host_fail(h, "IORT: node %u at 0x%x: no room for %u ID maps at 0x%x",
				 nr, node->at, node->nr_maps, offset);
	node->maps = offset;
	return 0;
}

static int check_maps(struct host *h, const struct iort_node *node)
{
	unsigned int i;

	for (i = 0; i < node->nr_maps; i++) {
		const uint8_t *map = map_at(h, node, i);
		uint32_t ref = get32(map + MAP_REFERENCE);
		uint32_t in = get32(map + MAP_INPUT);
		bool single = get32(map + MAP_FLAGS) & MAP_SINGLE;

		if (!find_node(h, ref))
			return host_fail(h, "IORT: node at 0x%x: ID map %u: no node begins at 0x%x",
					 node->at, i, ref);
		if (!single && get32(map + MAP_COUNT) > UINT32_MAX - in)
			return host_fail(h, "IORT: node at 0x%x: ID map %u: IDs beyond 32 bits",
					 node->at, i);
	}
	return 0;
}

static int add_smmu(struct host *h, const struct iort_node *node)
{
	struct smmu *smmu = host_add_smmu(h);

	if (!smmu)
		return -1;
	smmu->base = get64(h->iort + node->at + SMMU_BASE);
	smmu->ref = node->at;
	return 0;
}

static void add_master(struct host *h, const struct iort_node *node)
{
	const uint8_t *p = h->iort + node->at;
	struct master *m = host_add_master(h);
	unsigned int i;

	m->ref = node->at;
	m->pci = node->type == TYPE_ROOT;
	if (m->pci) {
		m->has_segment = true;
		m->segment = get32(p + ROOT_SEGMENT);
		m->coherent = get32(p + ROOT_COHERENT) & 1;
		m->canwbs = p[ROOT_ACCESS] & ROOT_ACCESS_CANWBS;
		m->ats = get32(p + ROOT_ATS) & 1;
	} else {
		m->name = xstrdup((const char *)p + NAMED_NAME);
	}

	m->ranges = xrealloc(NULL, node->nr_maps, sizeof(*m->ranges));
	m->nr_ranges = node->nr_maps;
	for (i = 0; i < node->nr_maps; i++) {
		const uint8_t *map = map_at(h, node, i);

		m->ranges[i] = (struct id_range) {
			.in = get32(map + MAP_INPUT),
			.last = get32(map + MAP_COUNT),
			.out = get32(map + MAP_OUTPUT),
			.ref = get32(map + MAP_REFERENCE),
			.single = get32(map + MAP_FLAGS) & MAP_SINGLE,
		};
	}
}

/**
 * iort_parse - Check an IORT, and read the parts that matter for nesting
 * @h: Out: SMMUs and masters, warnings, the error
 * @table: The table, which must stay allocated as long as @h
 * @size: The size of the file; the table itself may be shorter
 *
 * Return: 0, or -1 with @h->error set.
 */
int iort_parse(struct host *h, const void *table, size_t size)
{
	const uint8_t *p = table;
	uint32_t count, at, i;
	uint8_t sum = 0;

	if (size < TABLE_HEADER)
		return host_fail(h, "IORT: %zu bytes, and the header alone has %u",
				 size, TABLE_HEADER);
	if (memcmp(p, "IORT", 4))
		return host_fail(h, "not an IORT: the signature is wrong");
	h->iort = p;
	h->iort_len = get32(p + TABLE_LENGTH);
	if (h->iort_len < TABLE_HEADER)
		return host_fail(h, "IORT: its length is %u, and the header alone has %u",
				 h->iort_len, TABLE_HEADER);
	if (h->iort_len > size)
		return host_fail(h, "IORT: its length is %u, but there are %zu bytes",
				 h->iort_len, size);
	if (h->iort_len < size)
		host_warn(h, "IORT: %zu bytes after its end",
			  size - h->iort_len);
	for (i = 0; i < h->iort_len; i++)
		sum += p[i];
	if (sum)
		host_warn(h, "IORT: the checksum is wrong by 0x%02x", sum);

	count = get32(p + TABLE_NODES);
	at = get32(p + TABLE_FIRST);
	if (count > h->iort_len / NODE_HEADER)
		return host_fail(h, "IORT: %u nodes do not fit in %u bytes",
				 count, h->iort_len);
	if (count && (at < TABLE_HEADER || at > h->iort_len))
		return host_fail(h, "IORT: its nodes are said to be at 0x%x",
				 at);
	h->nodes = xrealloc(NULL, count, sizeof(*h->nodes));
	for (i = 0; i < count; i++) {
		struct iort_node *node = &h->nodes[i];

		memset(node, 0, sizeof(*node));
		node->at = at;
		if (parse_node(h, node, i))
			return -1;
		at += node->len;
		h->nr_nodes = i + 1;
	}
	for (i = 0; i < count; i++) {
		if (check_maps(h, &h->nodes[i]))
			return -1;
	}
	for (i = 0; i < count; i++) {
		if (h->nodes[i].type == TYPE_ROOT ||
		    h->nodes[i].type == TYPE_NAMED)
			add_master(h, &h->nodes[i]);
		else if (h->nodes[i].type == TYPE_SMMU_V3 &&
			 add_smmu(h, &h->nodes[i]))
			return -1;
	}
	h->source = SOURCE_IORT;
	return 0;
}

/* Whether a mapping applies to @id. MAYBE_NEXT: yes, unless a later one does */
enum match { NOT_THIS, THIS, MAYBE_NEXT };

static enum match map_takes(const struct iort_node *node, const uint8_t *map,
			    uint32_t id, bool overlap, uint32_t *out)
{
	uint32_t in = get32(map + MAP_INPUT), last = get32(map + MAP_COUNT);

	if (get32(map + MAP_FLAGS) & MAP_SINGLE) {
		if (node->type != TYPE_NAMED && node->type != TYPE_ROOT)
			return NOT_THIS;
		*out = get32(map + MAP_OUTPUT);
		return THIS;
	}
	if (id < in || id - in > last)
		return NOT_THIS;
	if (overlap && id != in)
		return NOT_THIS;
	*out = get32(map + MAP_OUTPUT) + (id - in);
	/* Some firmware stores the number of IDs in place of the last ID */
	return last && id - in == last ? MAYBE_NEXT : THIS;
}

/**
 * iort_map_id - Translate a requester ID
 * @h: The host
 * @m: The source of the ID
 * @id: The ID
 * @stream: Out: its StreamID
 *
 * The walk ends at an SMMU. It does not follow the mappings of the SMMU itself,
 * which are for MSIs.
 *
 * Return: the SMMU, or NULL if none translates it.
 */
struct smmu *iort_map_id(struct host *h, const struct master *m, uint32_t id,
			 uint32_t *stream)
{
	const struct iort_node *node = find_node(h, m->ref);
	unsigned int hops;

	for (hops = 0; node && hops <= h->nr_nodes && !h->error; hops++) {
		const struct iort_node *next = NULL;
		uint32_t in = id;
		unsigned int i;

		if (node->type == TYPE_SMMU_V3) {
			*stream = id;
			return host_find_smmu(h, node->at);
		}
		if (node->type == TYPE_SMMU_V2)
			return NULL;
		if (h->walked > MAX_WALK)
			host_fail(h, "IORT: its ID mappings take too long to follow");
		for (i = 0; i < node->nr_maps; i++) {
			const uint8_t *map = map_at(h, node, i);
			enum match match;

			h->walked++;
			match = map_takes(node, map, in, next, &id);
			if (match != NOT_THIS)
				next = find_node(h, get32(map + MAP_REFERENCE));
			if (match == THIS)
				break;
		}
		node = next;
	}
	if (node && !h->error)
		host_warn(h, "IORT: the ID mappings of the node at 0x%x lead in a circle",
			  m->ref);
	return NULL;
}
