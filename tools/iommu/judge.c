// SPDX-License-Identifier: GPL-2.0-only
/*
 * Whether this host can nest, and which devices can be passed through
 *
 * These are the checks of the driver for a new vSMMU: both stages, and DMA that
 * a guest's stage 1 cannot make bypass the caches. The kernel options that a
 * VMM needs follow. Nothing is assumed: an answer may be "unknown".
 */
#include <stdlib.h>
#include <string.h>

#include "host.h"

static const char no_smmu[] = "no SMMU to ask";
static const char stages_yes[] = "translates with both stages";
static const char stages_no[] =
	"no SMMU translates with both stages, or an erratum forbids it";
static const char stages_table[] = "a table does not say";
static const char stages_old_log[] =
	"the kernel log does not go back to the driver's start: use --log, or --hw-info";
static const char stages_no_log[] =
	"the kernel log cannot be read: try as root, or --log";
static const char coherent_yes[] =
	"S2FWB, with No Snoop kept off by vfio-pci, or a root complex with CANWBS";
static const char coherent_no_acpi[] =
	"no S2FWB (IDR3.FWB), and no CANWBS in the IORT: ask the firmware's vendor for that";
static const char coherent_no_dt[] =
	"no S2FWB (IDR3.FWB), and a device tree has no CANWBS: boot with ACPI, which may";
static const char coherent_acpi[] =
	"no CANWBS in the IORT; not known whether the SMMU has S2FWB: try --hw-info";
static const char coherent_dt[] =
	"no CANWBS in a device tree; not known whether the SMMU has S2FWB: try --hw-info";
static const char kernel_unknown[] =
	"neither a configuration nor /proc/kallsyms shows CONFIG_ARM_SMMU_V3_IOMMUFD";
static const char cdev_unknown[] =
	"CONFIG_VFIO_DEVICE_CDEV shows only when the module vfio is loaded";

static const char direct_region[] =
	"%s requires %s to stay mapped one to one (reserved_regions: direct): VFIO refuses it";
static const char shared_group[] =
	"shares its IOMMU group with %s: all go to one VM, which gets stage 1 for one of them";

static enum answer both(enum answer a, enum answer b)
{
	if (a == NO || b == NO)
		return NO;
	return a == YES && b == YES ? YES : UNKNOWN;
}

static enum answer either(enum answer a, enum answer b)
{
	if (a == YES || b == YES)
		return YES;
	return a == NO && b == NO ? NO : UNKNOWN;
}

static __printf(4, 5) void set(struct host *h, enum condition_id id,
			       enum answer met, const char *fmt, ...)
{
	struct condition *c = &h->conditions[id];
	va_list ap;

	free(c->text);
	c->met = met;
	va_start(ap, fmt);
	if (vasprintf(&c->text, fmt, ap) < 0)
		c->text = NULL;
	va_end(ap);
	if (!c->text)
		c->text = xstrdup("");
}

static bool candidate(const struct host *h, const struct smmu *smmu)
{
	return h->tables_only || smmu->sysfs;
}

/* Find the SMMUs that receive IDs from PCI root complexes with CANWBS */
static void find_canwbs(struct host *h)
{
	struct smmu *smmu;
	unsigned int i, k;
	uint32_t stream;

	for (i = 0; i < h->nr_masters; i++) {
		const struct master *m = &h->masters[i];

		for (k = 0; m->pci && m->canwbs && k < m->nr_ranges; k++) {
			/* Most ranges lead there directly */
			smmu = host_find_smmu(h, m->ranges[k].ref);
			if (!smmu)
				smmu = host_map_id(h, m, m->ranges[k].in,
						   &stream);
			if (smmu)
				smmu->canwbs = true;
		}
	}
}

static enum answer coherent(const struct smmu *smmu)
{
	return either(smmu->s2fwb, smmu->canwbs ? YES : NO);
}

static void judge_smmus(struct host *h)
{
	enum answer stages = NO, dma = NO;
	unsigned int i, n = 0;
	bool acpi;

	for (i = 0; i < h->nr_smmus; i++)
		n += candidate(h, &h->smmus[i]);
	if (!h->nr_smmus)
		set(h, COND_SMMU, NO, "%s", h->source == SOURCE_NONE ?
		    "there is ACPI, but without an IORT: no SMMU is known" :
		    "the firmware describes no SMMUv3");
	else if (!n)
		set(h, COND_SMMU, NO, "%u of SMMUv3, but the kernel drives none%s",
		    h->nr_smmus, h->options[OPT_SMMU].on == NO ?
		    ": CONFIG_ARM_SMMU_V3 is off" : "");
	else
		set(h, COND_SMMU, YES, "%u of SMMUv3%s", n,
		    h->tables_only ? "" : ", with a driver");

	for (i = 0; i < h->nr_smmus; i++) {
		if (candidate(h, &h->smmus[i]))
			stages = either(stages, h->smmus[i].nesting);
	}
	find_canwbs(h);
	/* Both must hold for the same SMMU */
	for (i = 0; i < h->nr_smmus; i++) {
		const struct smmu *smmu = &h->smmus[i];
		enum answer this;

		if (!candidate(h, smmu))
			continue;
		this = coherent(smmu);
		if (stages == YES)
			this = both(this, smmu->nesting);
		else if (stages == UNKNOWN && smmu->nesting == NO)
			continue;
		dma = either(dma, this);
	}
	if (!n) {
		stages = UNKNOWN;
		dma = UNKNOWN;
	}

	set(h, COND_STAGES, stages, "%s",
	    !n ? no_smmu : stages == YES ? stages_yes :
	    stages == NO ? stages_no : h->tables_only ? stages_table :
	    h->log_read ? stages_old_log : stages_no_log);
	acpi = h->source == SOURCE_IORT;
	set(h, COND_COHERENT, dma, "%s",
	    !n ? no_smmu : dma == YES ? coherent_yes :
	    dma == NO ? (acpi ? coherent_no_acpi : coherent_no_dt) :
	    acpi ? coherent_acpi : coherent_dt);
}

static void judge_kernel(struct host *h)
{
	const struct option_state *o = h->options;
	enum answer met;

	if (h->tables_only) {
		set(h, COND_KERNEL, UNKNOWN, "not looked at: only a table was given");
		set(h, COND_IOMMUFD, UNKNOWN, "not looked at");
		set(h, COND_VFIO, UNKNOWN, "not looked at");
		return;
	}
	met = both(o[OPT_SMMU].on, o[OPT_SMMU_IOMMUFD].on);
	set(h, COND_KERNEL, met, "%s",
	    met == YES ? "the SMMUv3 driver has vSMMUs" :
	    o[OPT_SMMU].on == NO ? "CONFIG_ARM_SMMU_V3 is off" :
	    met == NO ? "CONFIG_ARM_SMMU_V3_IOMMUFD is off, or not in this kernel" :
	    kernel_unknown);

	met = both(o[OPT_IOMMUFD].on, h->dev_iommu);
	set(h, COND_IOMMUFD, met, "%s",
	    met == YES && h->dev_iommu_usable ? "/dev/iommu is there" :
	    met == YES ? "/dev/iommu is there, but not for this user" :
	    o[OPT_IOMMUFD].on == YES ? "there is no /dev/iommu: load the module iommufd" :
	    o[OPT_IOMMUFD].on == NO ? "CONFIG_IOMMUFD is off" :
	    "no /dev/iommu: CONFIG_IOMMUFD is off, or its module is not loaded");

	met = both(o[OPT_VFIO_PCI].on, o[OPT_VFIO_CDEV].on);
	set(h, COND_VFIO, met, "%s",
	    met == YES ? "vfio-pci, and devices in /dev/vfio/devices" :
	    o[OPT_VFIO_PCI].on == NO ? "CONFIG_VFIO_PCI is off" :
	    met == NO ? "CONFIG_VFIO_DEVICE_CDEV is off" :
	    o[OPT_VFIO_PCI].on == UNKNOWN ?
	    "no vfio-pci: CONFIG_VFIO_PCI is off, or its module is not loaded" :
	    cdev_unknown);
}

static bool is_bridge(const struct host *h, const char *bdf, size_t len)
{
	unsigned int i;

	for (i = 0; i < h->nr_devices; i++) {
		const struct pci_device *d = &h->devices[i];

		if (strlen(d->bdf) == len && !strncmp(d->bdf, bdf, len))
			return d->bridge;
	}
	return false;
}

/*
 * The other members of a device's group that may do DMA; NULL if there are
 * none. Ports and bridges between these and the root complex stay with the
 * host.
 */
static char *group_devices(const struct host *h, const struct pci_device *d)
{
	const char *name = d->group_others;
	char *found = NULL;

	while (name && *name) {
		size_t len = strcspn(name, " ");
		char *old = found;

		if (!is_bridge(h, name, len)) {
			found = xasprintf("%s%s%.*s", old ? old : "",
					  old ? " " : "", (int)len, name);
			free(old);
		}
		name += len + (name[len] == ' ');
	}
	return found;
}

static void judge_device(struct host *h, struct pci_device *d)
{
	enum answer dma;
	char *others, *todo;

	d->passthrough = NO;
	if (d->bridge) {
		d->why = xstrdup("a bridge");
		return;
	}
	if (!d->smmu || !d->smmu->sysfs) {
		d->why = xstrdup("not behind an SMMUv3 that the kernel drives");
		return;
	}
	if (d->group < 0 && d->driver) {
		d->why = xstrdup("has no IOMMU group");
		return;
	}
	dma = either(d->smmu->s2fwb, d->root && d->root->canwbs ? YES : NO);
	if (d->smmu->nesting == NO) {
		d->why = xstrdup("its SMMU does not nest");
		return;
	}
	if (dma == NO) {
		d->why = xstrdup("its SMMU has no S2FWB, and its root complex no CANWBS");
		return;
	}
	if (d->direct) {
		d->why = xasprintf(direct_region, h->source == SOURCE_FDT ?
				   "reserved-memory of the device tree" :
				   "an RMR of the IORT that forbids remapping",
				   d->direct);
		return;
	}
	others = group_devices(h, d);
	if (others) {
		d->why = xasprintf(shared_group, others);
		free(others);
		return;
	}
	if (d->nr_streams > 1) {
		d->why = xstrdup("has more than one StreamID, as behind a PCIe-to-PCI bridge");
		return;
	}

	d->passthrough = UNKNOWN;
	if (both(d->smmu->nesting, dma) != YES)
		d->why = xstrdup("not known whether its SMMU can nest");
	else if (!d->aliases_known)
		d->why = xstrdup("only root can read whether it has a second StreamID");
	else if (d->group < 0)
		d->why = xstrdup("its IOMMU group shows only with a driver");
	else
		d->passthrough = YES;
	todo = d->vfio || (d->driver && !strcmp(d->driver, "vfio-pci")) ? NULL :
	       d->driver ? xasprintf("take it from %s and bind it to vfio-pci",
				     d->driver) :
	       xstrdup("bind it to vfio-pci");
	if (!d->reset) {
		d->todo = xasprintf("%s%s%s", todo ? todo : "", todo ? "; " : "",
				    "no reset: the next VM finds the state that the last VM left");
		free(todo);
	} else {
		d->todo = todo;
	}
}

/**
 * host_judge - Derive the answer
 * @h: In: the facts. Out: conditions, devices, the answer
 */
void host_judge(struct host *h)
{
	unsigned int i;

	judge_smmus(h);
	judge_kernel(h);
	for (i = 0; i < h->nr_devices; i++)
		judge_device(h, &h->devices[i]);
	h->answer = YES;
	for (i = 0; i < NR_CONDITIONS; i++)
		h->answer = both(h->answer, h->conditions[i].met);
}

int host_exit_status(const struct host *h)
{
	if (h->error || h->answer == UNKNOWN)
		return 2;
	return h->answer == YES ? 0 : 1;
}
