// SPDX-License-Identifier: GPL-2.0-only
/* See edu.h */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include <linux/pci_regs.h>
#include <linux/vfio.h>

#include "clock.h"
#include "edu.h"
#include "guest.h"
#include "ioctl.h"
#include "random.h"

/* The size of a test write. The buffer has room for many different slices */
#define EDU_SLICE		128
#define EDU_SLICES		(EDU_BUF_SIZE / EDU_SLICE)

int edu_find(char bdf[BDF_LEN], char *why, size_t len)
{
	return device_find(EDU_ID, bdf, why, len);
}

int edu_find_pair(enum edu_pair pair, char a[BDF_LEN], char b[BDF_LEN], char *why,
		  size_t len)
{
	const char *link = pair == EDU_SAME_GROUP ? "iommu_group" : "iommu";
	char bdfs[MAX_DEVICES][BDF_LEN], of_a[64], of_b[64];
	bool want_other = pair == EDU_OTHER_SMMU;
	unsigned int n, i, j;

	n = pci_list_vfio(EDU_ID, pair == EDU_SAME_GROUP ? 2 : 1, bdfs, why, len);
	for (i = 0; i < n; i++) {
		for (j = i + 1; j < n; j++) {
			if (pci_link(bdfs[i], link, of_a, sizeof(of_a)) ||
			    pci_link(bdfs[j], link, of_b, sizeof(of_b)))
				continue;
			if (!!strcmp(of_a, of_b) != want_other)
				continue;
			memcpy(a, bdfs[i], sizeof(*bdfs));
			memcpy(b, bdfs[j], sizeof(*bdfs));
			return 0;
		}
	}
	if (n)
		snprintf(why, len, "no two edu devices %s",
			 pair == EDU_SAME_GROUP ? "in one IOMMU group" :
			 pair == EDU_SAME_SMMU  ? "behind the same SMMU" :
						  "behind different SMMUs");
	return -ENODEV;
}

int edu_find_with_port(char bdf[BDF_LEN], char *why, size_t len)
{
	char bdfs[MAX_DEVICES][BDF_LEN], name[64], of_a[64], of_b[64];
	unsigned int n, i, j;

	n = pci_list_vfio(EDU_ID, 2, bdfs, why, len);
	for (i = 0; i < n; i++) {
		if (pci_link(bdfs[i], "iommu_group", of_a, sizeof(of_a)))
			continue;
		for (j = 0; j < n; j++) {
			if (j != i && !pci_link(bdfs[j], "iommu_group", of_b,
						sizeof(of_b)) &&
			    !strcmp(of_a, of_b))
				break;
		}
		if (j < n || pci_link(bdfs[i], "../driver", name, sizeof(name)) ||
		    strcmp(name, "pcieport"))
			continue;
		memcpy(bdf, bdfs[i], sizeof(*bdfs));
		return 0;
	}
	if (n)
		snprintf(why, len, "no edu device in one group with its port");
	return -ENODEV;
}

static void edu_write32(struct edu *dev, unsigned int reg, __u32 val)
{
	__atomic_store_n((__u32 *)(dev->bar + reg), htole32(val),
			 __ATOMIC_RELAXED);
}

static void edu_write64(struct edu *dev, unsigned int reg, __u64 val)
{
	__atomic_store_n((__u64 *)(dev->bar + reg), htole64(val),
			 __ATOMIC_RELAXED);
}

__u64 edu_reg(struct edu *dev, unsigned int reg)
{
	__u64 *at = (__u64 *)(dev->bar + reg);

	return le64toh(__atomic_load_n(at, __ATOMIC_RELAXED));
}

void edu_set_reg(struct edu *dev, unsigned int reg, __u64 val)
{
	edu_write64(dev, reg, val);
}

bool edu_is_pcie(struct edu *dev)
{
	/* The registers that edu lacks read as ones */
	return edu_reg(dev, EDU_REG_PENDING) != ~0ULL;
}

bool edu_failed(struct edu *dev)
{
	return edu_reg(dev, EDU_REG_STATUS) & EDU_FAILED;
}

int edu_reset(struct edu *dev)
{
	return iommufd_ioctl(dev->fd, VFIO_DEVICE_RESET, NULL);
}

bool edu_busy(struct edu *dev)
{
	return edu_reg(dev, EDU_REG_DMA_CMD) & EDU_DMA_RUN;
}

static void edu_wait(struct edu *dev)
{
	double end = now() + LATE_MS / 1e3;

	while (edu_busy(dev)) {
		if (now() > end) {
			fprintf(stderr, "# %s: DMA does not end\n", dev->bdf);
			abort();
		}
		usleep(1000);
	}
	__sync_synchronize();
}

static void edu_start(struct edu *dev, __u64 src, __u64 dst, size_t len,
		      __u64 cmd)
{
	__sync_synchronize();
	edu_write64(dev, EDU_REG_DMA_SRC, src);
	edu_write64(dev, EDU_REG_DMA_DST, dst);
	edu_write64(dev, EDU_REG_DMA_COUNT, len);
	edu_write64(dev, EDU_REG_DMA_CMD, cmd | dev->dma_flags | EDU_DMA_RUN);
}

void edu_write(struct edu *dev, __u64 iova, unsigned int offset, size_t len)
{
	edu_start(dev, EDU_BUF + offset, iova, len, EDU_DMA_FROM_DEVICE);
	edu_wait(dev);
}

void edu_read(struct edu *dev, __u64 iova, unsigned int offset, size_t len)
{
	edu_start(dev, iova, EDU_BUF + offset, len, 0);
	edu_wait(dev);
}

int edu_attach(struct edu *dev, __u32 pt_id)
{
	struct vfio_device_attach_iommufd_pt cmd = {
		.argsz = sizeof(cmd),
		.pt_id = pt_id,
	};

	return iommufd_ioctl(dev->fd, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &cmd);
}

int edu_detach(struct edu *dev)
{
	struct vfio_device_detach_iommufd_pt cmd = { .argsz = sizeof(cmd) };

	return iommufd_ioctl(dev->fd, VFIO_DEVICE_DETACH_IOMMUFD_PT, &cmd);
}

int edu_attach_pasid(struct edu *dev, __u32 pasid, __u32 pt_id)
{
	struct vfio_device_attach_iommufd_pt cmd = {
		.argsz = sizeof(cmd),
		.flags = VFIO_DEVICE_ATTACH_PASID,
		.pt_id = pt_id,
		.pasid = pasid,
	};

	return iommufd_ioctl(dev->fd, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &cmd);
}

int edu_detach_pasid(struct edu *dev, __u32 pasid)
{
	struct vfio_device_detach_iommufd_pt cmd = {
		.argsz = sizeof(cmd),
		.flags = VFIO_DEVICE_DETACH_PASID,
		.pasid = pasid,
	};

	return iommufd_ioctl(dev->fd, VFIO_DEVICE_DETACH_IOMMUFD_PT, &cmd);
}

static int device_setup(struct edu *dev)
{
	struct vfio_region_info region = {
		.argsz = sizeof(region),
		.index = VFIO_PCI_CONFIG_REGION_INDEX,
	};
	__u16 command;
	int rc;

	rc = iommufd_ioctl(dev->fd, VFIO_DEVICE_GET_REGION_INFO, &region);
	if (rc)
		return rc;
	dev->cfg_offset = region.offset;
	if (pread(dev->fd, &command, 2, dev->cfg_offset + PCI_COMMAND) != 2)
		return -EIO;
	command |= htole16(PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	if (pwrite(dev->fd, &command, 2, dev->cfg_offset + PCI_COMMAND) != 2)
		return -EIO;

	region = (struct vfio_region_info){
		.argsz = sizeof(region),
		.index = VFIO_PCI_BAR0_REGION_INDEX,
	};
	rc = iommufd_ioctl(dev->fd, VFIO_DEVICE_GET_REGION_INFO, &region);
	if (rc)
		return rc;
	dev->bar_size = region.size;
	dev->bar = mmap(NULL, region.size, PROT_READ | PROT_WRITE, MAP_SHARED,
			dev->fd, region.offset);
	if (dev->bar == MAP_FAILED) {
		dev->bar = NULL;
		return -errno;
	}
	return 0;
}

int device_open(struct edu *dev, const char *bdf, int iommufd)
{
	struct vfio_device_bind_iommufd bind = {
		.argsz = sizeof(bind),
		.iommufd = iommufd,
	};
	__u32 type = 0, len = sizeof(dev->info);
	char path[PATH_MAX], name[64];
	int rc;

	memset(dev, 0, sizeof(*dev));
	dev->irqfd = -1;
	snprintf(dev->bdf, sizeof(dev->bdf), "%s", bdf);
	rc = pci_link(bdf, "iommu", dev->smmu, sizeof(dev->smmu));
	if (rc)
		return rc;

	snprintf(path, sizeof(path), SYS_PCI "/%s/vfio-dev", bdf);
	if (dir_entries(path, name, sizeof(name)) != 1)
		return -ENODEV;
	snprintf(path, sizeof(path), "/dev/vfio/devices/%s", name);
	dev->fd = open(path, O_RDWR | O_CLOEXEC);
	if (dev->fd < 0)
		return -errno;

	rc = iommufd_ioctl(dev->fd, VFIO_DEVICE_BIND_IOMMUFD, &bind);
	if (rc)
		return rc;
	dev->dev_id = bind.out_devid;
	rc = hw_info(iommufd, dev->dev_id, 0, &type, &dev->info, &len);
	if (rc)
		return rc;
	return device_setup(dev);
}

int edu_open(struct edu *dev, const char *bdf, int iommufd)
{
	__u32 id;
	int rc;

	rc = device_open(dev, bdf, iommufd);
	if (rc)
		return rc;
	id = __atomic_load_n((__u32 *)(dev->bar + EDU_REG_ID),
			     __ATOMIC_RELAXED);
	if ((le32toh(id) & 0xff) != 0xed)
		return -ENODEV;
	/* Without a reset, the DMA of a killed test may still be running */
	edu_wait(dev);
	return 0;
}

void edu_close(struct edu *dev)
{
	if (dev->bar)
		munmap(dev->bar, dev->bar_size);
	dev->bar = NULL;
	if (dev->irqfd >= 0)
		close(dev->irqfd);
	dev->irqfd = -1;
	if (dev->fd > 0)
		close(dev->fd);
	dev->fd = -1;
}

void edu_load(struct edu *dev, struct guest *g, __u64 iova, __u64 ipa)
{
	guest_fill(g, ipa, EDU_BUF_SIZE);
	memcpy(dev->buf, guest_ptr(g, ipa), EDU_BUF_SIZE);
	edu_read(dev, iova, 0, EDU_BUF_SIZE);
}

void edu_write_start(struct edu *dev, struct guest *g, __u64 iova)
{
	(void)g;
	dev->slice = (dev->slice + 1) % EDU_SLICES;
	edu_start(dev, EDU_BUF + dev->slice * EDU_SLICE, iova, EDU_SLICE,
		  EDU_DMA_FROM_DEVICE);
}

__u64 edu_write_end(struct edu *dev, struct guest *g, __u64 iova)
{
	edu_wait(dev);
	return edu_write_landed(dev, g, iova);
}

__u64 edu_write_landed(struct edu *dev, struct guest *g, __u64 iova)
{
	const __u8 *data = dev->buf + dev->slice * EDU_SLICE;
	struct guest_slot *hit = NULL;
	size_t in_page = iova % GUEST_PAGE;
	size_t offset = 0;
	unsigned int i;
	__u64 ipa;

	for (i = 0; i != g->nslots && !hit; i++) {
		struct guest_slot *slot = &g->slot[i];

		if (!memcmp(slot->mem, slot->shadow, slot->size))
			continue;
		while (slot->mem[offset] == slot->shadow[offset])
			offset++;
		hit = slot;
		offset = offset - offset % GUEST_PAGE + in_page;
	}
	if (!hit)
		return guests_intact() ? NOWHERE : ASTRAY;

	/* If exactly these bytes have changed, the shadow agrees again */
	if (offset + EDU_SLICE <= hit->size)
		memcpy(hit->shadow + offset, data, EDU_SLICE);
	if (!guests_intact())
		return ASTRAY;

	/* Change them, so that the next write of the same slice shows */
	random_bytes(hit->mem + offset, EDU_SLICE);
	memcpy(hit->shadow + offset, hit->mem + offset, EDU_SLICE);

	ipa = hit->ipa + offset;
	return hit->mapped ? ipa : ipa | UNMAPPED;
}

__u64 edu_write_lands(struct edu *dev, struct guest *g, __u64 iova)
{
	edu_write_start(dev, g, iova);
	return edu_write_end(dev, g, iova);
}

bool edu_read_gets(struct edu *dev, struct guest *g, __u64 iova, __u64 ipa,
		   __u64 sink_iova, __u64 sink_ipa)
{
	__u8 *slice;

	dev->slice = (dev->slice + 1) % EDU_SLICES;
	slice = dev->buf + dev->slice * EDU_SLICE;
	guest_fill(g, ipa, EDU_SLICE);
	memcpy(slice, guest_ptr(g, ipa), EDU_SLICE);
	edu_read(dev, iova, dev->slice * EDU_SLICE, EDU_SLICE);

	guest_fill(g, sink_ipa, EDU_SLICE);
	guest_expect(g, sink_ipa, slice, EDU_SLICE);
	edu_write(dev, sink_iova, dev->slice * EDU_SLICE, EDU_SLICE);
	return guests_intact();
}

static int edu_set_irqs(struct edu *dev, int fd)
{
	union {
		struct vfio_irq_set set;
		__u8 bytes[sizeof(struct vfio_irq_set) + sizeof(__s32)];
	} irqs = {
		.set = {
			.argsz = fd < 0 ? sizeof(irqs.set) : sizeof(irqs),
			.flags = VFIO_IRQ_SET_ACTION_TRIGGER |
				 (fd < 0 ? VFIO_IRQ_SET_DATA_NONE :
					   VFIO_IRQ_SET_DATA_EVENTFD),
			.index = VFIO_PCI_MSI_IRQ_INDEX,
			.count = fd < 0 ? 0 : 1,
		},
	};

	memcpy(irqs.set.data, &fd, sizeof(__s32));
	return iommufd_ioctl(dev->fd, VFIO_DEVICE_SET_IRQS, &irqs);
}

int edu_msi_enable(struct edu *dev)
{
	if (dev->irqfd < 0)
		dev->irqfd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (dev->irqfd < 0)
		return -errno;
	return edu_set_irqs(dev, dev->irqfd);
}

int edu_msi_disable(struct edu *dev)
{
	return edu_set_irqs(dev, -1);
}

static __u32 le_at(const __u8 *p, unsigned int bytes)
{
	__u32 val = 0;

	while (bytes--)
		val = val << 8 | p[bytes];
	return val;
}

__u64 edu_msi_address(struct edu *dev)
{
	char path[PATH_MAX];
	__u8 cfg[256] = {};
	unsigned int at;
	ssize_t len;
	int fd;

	snprintf(path, sizeof(path), SYS_PCI "/%s/config", dev->bdf);
	fd = open(path, O_RDONLY);
	if (fd < 0)
		return 0;
	len = read(fd, cfg, sizeof(cfg));
	close(fd);
	if (len != sizeof(cfg))
		return 0;
	for (at = cfg[PCI_CAPABILITY_LIST]; at >= PCI_STD_HEADER_SIZEOF;
	     at = cfg[at + PCI_CAP_LIST_NEXT])
		if (cfg[at] == PCI_CAP_ID_MSI)
			return le_at(cfg + at + PCI_MSI_ADDRESS_LO, 4) |
			       (__u64)le_at(cfg + at + PCI_MSI_ADDRESS_HI, 4)
				       << 32;
	return 0;
}

bool edu_msi_arrives(struct edu *dev, int ms)
{
	struct pollfd pfd = { .fd = dev->irqfd, .events = POLLIN };
	__u64 count = 0;
	bool arrived;

	while (read(dev->irqfd, &count, sizeof(count)) == sizeof(count))
		;
	edu_write32(dev, EDU_REG_IRQ_RAISE, 1);
	arrived = poll(&pfd, 1, ms) == 1 &&
		  read(dev->irqfd, &count, sizeof(count)) == sizeof(count);
	edu_write32(dev, EDU_REG_IRQ_ACK, 1);
	return arrived;
}
