// SPDX-License-Identifier: GPL-2.0-only
/*
 * The ID registers of SMMUs, from IOMMU_GET_HW_INFO
 *
 * This needs a device bound to an iommufd. Opening its node in
 * /dev/vfio/devices makes vfio-pci enable and reset the device. Therefore this
 * is done only on request, and only for devices that vfio-pci has already. The
 * kernel refuses (EBUSY) a device that somebody else has open.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/ioctl.h>

#include <linux/iommufd.h>
#include <linux/vfio.h>

#include "host.h"

#define IDR0_S2P	0x1
#define IDR0_S1P	0x2
#define IDR3_FWB	0x100

/* Variant and revision: 0x21 is r2p1 */
#define IIDR_REVISION(iidr)	((iidr) >> 12 & 0xff)
/* Product and implementer */
#define IIDR_PART_MASK		0xfff00fffU
#define IIDR_MMU_600		0x4830043bU
#define IIDR_MMU_700		0x4870043bU

/* Parts with both stages whose errata keep the driver from nesting */
static bool has_erratum(uint32_t iidr)
{
	switch (iidr & IIDR_PART_MASK) {
	case IIDR_MMU_600:	/* 1209401 */
		return IIDR_REVISION(iidr) < 0x20;
	case IIDR_MMU_700:	/* 2268618, 2812531 */
		return IIDR_REVISION(iidr) < 0x11;
	default:
		return false;
	}
}

/* Fill in the fields that depend on the registers */
void hwinfo_set(struct smmu *smmu, const uint32_t idr[6], uint32_t iidr,
		uint32_t aidr)
{
	memcpy(smmu->idr, idr, sizeof(smmu->idr));
	smmu->iidr = iidr;
	smmu->aidr = aidr;
	smmu->has_idr = true;
	smmu->stage1 = idr[0] & IDR0_S1P ? YES : NO;
	smmu->stage2 = idr[0] & IDR0_S2P ? YES : NO;
	smmu->s2fwb = idr[3] & IDR3_FWB ? YES : NO;
	/* The driver may have other reasons to refuse, which the log shows */
	if (smmu->stage1 == NO || smmu->stage2 == NO || has_erratum(iidr))
		smmu->nesting = NO;
	else if (smmu->nesting == UNKNOWN)
		smmu->nesting = YES;
	smmu->learned = "its registers";
}

static void ask(struct host *h, struct pci_device *d, int iommufd)
{
	struct vfio_device_bind_iommufd bind = {
		.argsz = sizeof(bind),
		.iommufd = iommufd,
	};
	struct iommu_hw_info_arm_smmuv3 regs = {};
	struct iommu_hw_info info = {
		.size = sizeof(info),
		.data_len = sizeof(regs),
		.data_uptr = (uintptr_t)&regs,
	};
	char *path = xasprintf("/dev/vfio/devices/%s", d->vfio);
	int fd = open(path, O_RDWR | O_CLOEXEC);

	if (fd < 0) {
		host_warn(h, "%s: cannot open %s: %s", d->bdf, path,
			  strerror(errno));
		goto out;
	}
	if (ioctl(fd, VFIO_DEVICE_BIND_IOMMUFD, &bind)) {
		host_warn(h, "%s: cannot be bound to an iommufd: %s", d->bdf,
			  strerror(errno));
		goto out;
	}
	info.dev_id = bind.out_devid;
	if (ioctl(iommufd, IOMMU_GET_HW_INFO, &info)) {
		host_warn(h, "%s: no hardware information: %s", d->bdf,
			  strerror(errno));
		goto out;
	}
	if (info.out_data_type != IOMMU_HW_INFO_TYPE_ARM_SMMUV3) {
		/* The driver returns this type without ARM_SMMU_V3_IOMMUFD */
		h->options[OPT_SMMU_IOMMUFD].on = NO;
		h->options[OPT_SMMU_IOMMUFD].learned = "hardware information";
		goto out;
	}
	h->options[OPT_SMMU_IOMMUFD].on = YES;
	h->options[OPT_SMMU_IOMMUFD].learned = "hardware information";
	hwinfo_set(d->smmu, regs.idr, regs.iidr, regs.aidr);
out:
	if (fd >= 0)
		close(fd);
	free(path);
}

/* A single device suffices for each SMMU */
void hwinfo_read(struct host *h)
{
	unsigned int i, asked = 0;
	int iommufd;

	iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	if (iommufd < 0) {
		host_warn(h, "cannot open /dev/iommu: %s", strerror(errno));
		return;
	}
	for (i = 0; i < h->nr_devices; i++) {
		struct pci_device *d = &h->devices[i];

		if (!d->vfio || !d->smmu || d->smmu->has_idr)
			continue;
		asked++;
		ask(h, d, iommufd);
	}
	close(iommufd);
	if (!asked)
		host_warn(h, "no registers: no device behind an SMMU is bound to vfio-pci");
}
