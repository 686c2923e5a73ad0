// SPDX-License-Identifier: GPL-2.0-only
/*
 * The description of a host, while it is collected
 */
#include <stdlib.h>
#include <string.h>

#include "host.h"

const char *const option_names[NR_OPTIONS] = {
	[OPT_SMMU] = "CONFIG_ARM_SMMU_V3",
	[OPT_SMMU_IOMMUFD] = "CONFIG_ARM_SMMU_V3_IOMMUFD",
	[OPT_IOMMUFD] = "CONFIG_IOMMUFD",
	[OPT_VFIO_PCI] = "CONFIG_VFIO_PCI",
	[OPT_VFIO_CDEV] = "CONFIG_VFIO_DEVICE_CDEV",
};

const char *const condition_names[NR_CONDITIONS] = {
	[COND_SMMU] = "smmu",
	[COND_STAGES] = "stages",
	[COND_COHERENT] = "coherent",
	[COND_KERNEL] = "kernel",
	[COND_IOMMUFD] = "iommufd",
	[COND_VFIO] = "vfio",
};

static void *no_memory(void *p)
{
	if (!p) {
		fprintf(stderr, "smmu-nesting: out of memory\n");
		exit(2);
	}
	return p;
}

void *xrealloc(void *old, size_t n, size_t size)
{
	return no_memory(reallocarray(old, n ? n : 1, size));
}

char *xstrdup(const char *s)
{
	return no_memory(strdup(s));
}

static char *xvasprintf(const char *fmt, va_list ap)
{
	char *s;

	return no_memory(vasprintf(&s, fmt, ap) < 0 ? NULL : s);
}

char *xasprintf(const char *fmt, ...)
{
	va_list ap;
	char *s;

	va_start(ap, fmt);
	s = xvasprintf(fmt, ap);
	va_end(ap);
	return s;
}

/* Record why a table is unusable. Only the first reason is kept. */
int host_fail(struct host *h, const char *fmt, ...)
{
	va_list ap;

	if (h->error)
		return -1;
	va_start(ap, fmt);
	h->error = xvasprintf(fmt, ap);
	va_end(ap);
	return -1;
}

/* A bad table may repeat the same defect: warn of each only once */
void host_warn(struct host *h, const char *fmt, ...)
{
	unsigned int i;
	va_list ap;
	char *s;

	va_start(ap, fmt);
	s = xvasprintf(fmt, ap);
	va_end(ap);
	for (i = 0; i < h->nr_warnings; i++) {
		if (!strcmp(h->warnings[i], s)) {
			free(s);
			return;
		}
	}
	if (h->nr_warnings == MAX_WARNINGS) {
		h->lost_warnings++;
		free(s);
		return;
	}
	h->warnings[h->nr_warnings++] = s;
}

/* A machine has less than a hundred SMMUs. This bound keeps searches short. */
struct smmu *host_add_smmu(struct host *h)
{
	struct smmu *smmu;

	if (h->nr_smmus == MAX_SMMUS) {
		host_fail(h, "more than %u SMMUs", MAX_SMMUS);
		return NULL;
	}
	h->smmus = xrealloc(h->smmus, h->nr_smmus + 1, sizeof(*h->smmus));
	smmu = &h->smmus[h->nr_smmus++];
	memset(smmu, 0, sizeof(*smmu));
	return smmu;
}

struct master *host_add_master(struct host *h)
{
	struct master *m;

	h->masters = xrealloc(h->masters, h->nr_masters + 1,
			      sizeof(*h->masters));
	m = &h->masters[h->nr_masters++];
	memset(m, 0, sizeof(*m));
	m->id_mask = UINT32_MAX;
	return m;
}

struct smmu *host_find_smmu(struct host *h, uint32_t ref)
{
	unsigned int i;

	for (i = 0; i < h->nr_smmus; i++) {
		if (h->smmus[i].ref == ref)
			return &h->smmus[i];
	}
	return NULL;
}

/* The SMMU that receives a requester ID, and the StreamID there */
struct smmu *host_map_id(struct host *h, const struct master *m, uint32_t id,
			 uint32_t *stream)
{
	return h->source == SOURCE_FDT ? fdt_map_id(h, m, id, stream) :
					 iort_map_id(h, m, id, stream);
}

void host_free(struct host *h)
{
	unsigned int i;

	for (i = 0; i < h->nr_smmus; i++) {
		free(h->smmus[i].node);
		free(h->smmus[i].sysfs);
		free(h->smmus[i].device);
	}
	for (i = 0; i < h->nr_masters; i++) {
		free(h->masters[i].name);
		free(h->masters[i].ranges);
	}
	for (i = 0; i < h->nr_devices; i++) {
		struct pci_device *d = &h->devices[i];

		free(d->driver);
		free(d->vfio);
		free(d->reset);
		free(d->group_type);
		free(d->group_others);
		free(d->direct);
		free(d->why);
		free(d->todo);
	}
	for (i = 0; i < NR_CONDITIONS; i++)
		free(h->conditions[i].text);
	for (i = 0; i < h->nr_warnings; i++)
		free(h->warnings[i]);
	free(h->smmus);
	free(h->masters);
	free(h->devices);
	free(h->nodes);
	free(h->table);
	free(h->owned);
	free(h->release);
	free(h->error);
	memset(h, 0, sizeof(*h));
}
