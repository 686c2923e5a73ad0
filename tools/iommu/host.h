/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The facts about a host, and whether it can nest with SMMUv3
 *
 * iort.c and fdt.c read the tables of the firmware, sys.c the state of the
 * running kernel, hwinfo.c the registers. From these, judge.c derives the
 * answer, and report.c prints it. No input is trusted: tables come from
 * firmware, or from a file of unknown origin.
 */
#ifndef __TOOLS_IOMMU_HOST_H
#define __TOOLS_IOMMU_HOST_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <linux/compiler.h>

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

/* Enough for the mappings of a translation; a bound for malformed tables */
#define MAX_TABLE	(2U << 20)
#define MAX_WARNINGS	32
#define MAX_SMMUS	1024
#define MAX_STREAMS	8
/* Enough for thousands of devices behind hundreds of mappings */
#define MAX_WALK	(32U << 20)

enum answer {
	UNKNOWN,
	NO,
	YES,
};

enum source {
	SOURCE_NONE,
	SOURCE_IORT,
	SOURCE_FDT,
};

struct smmu {
	unsigned long long base;
	uint32_t ref;		/* offset of its IORT node, phandle in a tree */
	char *node;		/* path in the device tree */
	char *sysfs;		/* /sys/class/iommu/..., NULL without a driver */
	char *device;		/* the device bound to the driver */
	enum answer stage1;
	enum answer stage2;
	enum answer nesting;	/* both stages, and no erratum against it */
	enum answer s2fwb;
	bool canwbs;		/* a root complex with CANWBS sends IDs there */
	const char *learned;	/* the source of these four */
	bool has_idr;
	uint32_t idr[6];
	uint32_t iidr;
	uint32_t aidr;
};

/* A range of requester IDs, and its target */
struct id_range {
	uint32_t in;
	uint32_t last;		/* offset of the last ID in the range */
	uint32_t out;
	uint32_t ref;
	bool single;		/* every ID becomes @out */
};

/* A PCI root complex, or another source of DMA */
struct master {
	bool pci;
	bool has_segment;
	uint32_t segment;
	uint32_t ref;
	char *name;		/* ACPI name, or path in the device tree */
	bool canwbs;
	bool ats;
	bool coherent;
	uint32_t id_mask;
	struct id_range *ranges;
	unsigned int nr_ranges;
};

struct pci_device {
	char bdf[24];
	unsigned int segment;
	unsigned int bus;
	unsigned int devfn;
	unsigned int vendor;
	unsigned int product;
	unsigned int class;
	bool bridge;
	char *driver;
	char *vfio;		/* its name in /dev/vfio/devices */
	char *reset;		/* methods to reset it; NULL: none */
	int group;		/* -1: none */
	char *group_type;
	char *group_others;	/* other members of the group; NULL: none */
	char *direct;		/* memory that must stay mapped 1:1 */
	bool aliases_known;
	struct master *root;
	struct smmu *smmu;
	uint32_t streams[MAX_STREAMS];
	unsigned int nr_streams;
	enum answer passthrough;
	char *why;
	char *todo;		/* the missing step, if it can */
};

enum option_id {
	OPT_SMMU,
	OPT_SMMU_IOMMUFD,
	OPT_IOMMUFD,
	OPT_VFIO_PCI,
	OPT_VFIO_CDEV,
	NR_OPTIONS,
};

struct option_state {
	enum answer on;
	const char *learned;
};

enum condition_id {
	COND_SMMU,
	COND_STAGES,
	COND_COHERENT,
	COND_KERNEL,
	COND_IOMMUFD,
	COND_VFIO,
	NR_CONDITIONS,
};

struct condition {
	enum answer met;
	char *text;
};

struct iort_node;

struct host {
	/* inputs */
	const char *root;	/* prefix of /sys, /proc, /dev; "" for none */
	const char *iort_path;
	const char *fdt_path;
	const char *log_path;
	bool tables_only;

	enum source source;
	char *table;		/* the file of the table */
	void *owned;		/* the table, if allocated by us */
	const uint8_t *iort;
	uint32_t iort_len;
	struct iort_node *nodes;
	unsigned int nr_nodes;
	uint64_t walked;	/* ID mappings visited so far */

	struct smmu *smmus;
	unsigned int nr_smmus;
	struct master *masters;
	unsigned int nr_masters;
	struct pci_device *devices;
	unsigned int nr_devices;

	char *release;
	struct option_state options[NR_OPTIONS];
	enum answer dev_iommu;
	bool dev_iommu_usable;
	bool log_read;

	struct condition conditions[NR_CONDITIONS];
	enum answer answer;
	char *error;
	char *warnings[MAX_WARNINGS];
	unsigned int nr_warnings;
	unsigned int lost_warnings;
};

extern const char *const option_names[NR_OPTIONS];
extern const char *const condition_names[NR_CONDITIONS];

/* host.c */
void *xrealloc(void *old, size_t n, size_t size);
char *xstrdup(const char *s);
char *xasprintf(const char *fmt, ...) __printf(1, 2);
int host_fail(struct host *h, const char *fmt, ...) __printf(2, 3);
void host_warn(struct host *h, const char *fmt, ...) __printf(2, 3);
struct smmu *host_add_smmu(struct host *h);
struct master *host_add_master(struct host *h);
struct smmu *host_find_smmu(struct host *h, uint32_t ref);
struct smmu *host_map_id(struct host *h, const struct master *m, uint32_t id,
			 uint32_t *stream);
void host_free(struct host *h);

/* iort.c */
int iort_parse(struct host *h, const void *table, size_t size);
struct smmu *iort_map_id(struct host *h, const struct master *m, uint32_t id,
			 uint32_t *stream);

/* fdt.c */
int fdt_parse(struct host *h, const void *table, size_t size);
struct smmu *fdt_map_id(struct host *h, const struct master *m, uint32_t id,
			uint32_t *stream);

/* sys.c */
void *read_whole(const char *path, size_t limit, size_t *len);
int sys_read_tables(struct host *h);
void sys_read(struct host *h);
void log_parse(struct host *h, const char *log);
void config_parse(struct host *h, const char *config, const char *learned);

/* hwinfo.c */
void hwinfo_read(struct host *h);
void hwinfo_set(struct smmu *smmu, const uint32_t idr[6], uint32_t iidr,
		uint32_t aidr);

/* judge.c */
void host_judge(struct host *h);
int host_exit_status(const struct host *h);

/* report.c */
void report_text(const struct host *h, FILE *f);
void report_json(const struct host *h, FILE *f);
const char *answer_name(enum answer a);

#endif
