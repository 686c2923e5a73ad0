// SPDX-License-Identifier: GPL-2.0-only
/*
 * A PCI Express device to test an IOMMU with
 *
 * It has the ID of QEMU's edu device, and the registers by which this does DMA and
 * raises interrupts, so that drivers of edu can use it. It differs where edu is not
 * like hardware:
 *
 *   - An FLR ends a DMA that has not begun, and clears the device.
 *   - A DMA consists of transactions that do not cross 4 KiB, and ends at the first
 *     failure. An IOMMU faults once for a transaction. With edu it faults for each four
 *     bytes.
 *
 * It has PASIDs, ATS with a cache of translations (ATC), No Snoop, and can wait for an
 * IOMMU that stalls its transactions. More bits of the command of a DMA:
 *
 *   0x08  with the PASID of register 0xa0
 *   0x10  translated by ATS, from the ATC if it is there
 *   0x20  with No Snoop, if Enable No Snoop is set
 *   0x40  as if its address had been translated
 *   0x80  even if ATS or PASIDs are not enabled: a device that ignores its registers
 *
 * and more registers:
 *
 *   0xa0  the PASID
 *   0xa8  the last DMA: bit 0, it has failed; bit 1, it is stalled
 *   0xb0  count of stalls
 *   0xb8  count of translations from the ATC, 0xc0 of those that were not in it
 *   0xc8  count of invalidations
 *   0xd0  answers to invalidations: 0 at once, 1 never, 2 by register 0xe0, 3 by this,
 *         but 200 ms later
 *   0xd8  count of transactions that bypassed the caches of the CPUs
 *   0xe0  invalidations without an answer; a write answers all of them
 *
 * A reset leaves the counts.
 *
 * Properties:
 *
 *   dma_mask   bits of an address that the device has (28), as for edu
 *   delay-us   time from the command to the DMA (100000, which is edu's)
 *   ats        a capability for ATS (off)
 *   pasid-bits a capability for PASIDs of this size (0: none)
 *   stall      transactions can wait (off)
 *   vendor, device, revision   another identity, for the quirks of a kernel
 */
#include "qemu/osdep.h"
#include "qemu/log.h"
#include "qemu/module.h"
#include "qemu/timer.h"
#include "qemu/units.h"
#include "qom/object.h"
#include "exec/address-spaces.h"
#include "hw/pci/msi.h"
#include "hw/pci/pci_device.h"
#include "hw/pci/pci_request.h"
#include "hw/pci/pcie.h"
#include "hw/qdev-properties.h"

#define TYPE_EDU_PCIE		"edu-pcie"
OBJECT_DECLARE_SIMPLE_TYPE(EduPcie, EDU_PCIE)

#define REG_ID			0x00
#define REG_IRQ_STATUS		0x24
#define REG_IRQ_RAISE		0x60
#define REG_IRQ_ACK		0x64
#define REG_DMA_SRC		0x80
#define REG_DMA_DST		0x88
#define REG_DMA_COUNT		0x90
#define REG_DMA_CMD		0x98
#define REG_PASID		0xa0
#define REG_DMA_STATUS		0xa8
#define REG_STALLS		0xb0
#define REG_ATC_HITS		0xb8
#define REG_ATC_MISSES		0xc0
#define REG_ATC_INVS		0xc8
#define REG_ANSWER		0xd0
#define REG_UNCACHED		0xd8
#define REG_PENDING		0xe0

#define ID			0x010000ed
#define DMA_RUN			0x01
#define DMA_FROM_DEVICE		0x02
#define DMA_IRQ			0x04
#define DMA_PASID		0x08
#define DMA_ATS			0x10
#define DMA_NO_SNOOP		0x20
#define DMA_TRANSLATED		0x40
#define DMA_ROGUE		0x80
#define DMA_IRQ_STATUS		0x100
#define DMA_FAILED		0x1
#define DMA_STALLED		0x2

/* The memory of the device, for its DMA only */
#define BUF			0x40000
#define BUF_SIZE		4096

/* No transaction crosses a boundary of this size */
#define TRANSACTION		4096

#define ATC_SIZE		16
/* Invalidations that may be without an answer: ITags of PCI Express */
#define MAX_PENDING		32

enum { ANSWER_AT_ONCE, ANSWER_NEVER, ANSWER_LATER, ANSWER_SLOWLY };
#define SLOW_US			200000

struct atc_entry {
	bool valid;
	bool has_pasid;
	uint32_t pasid;
	hwaddr addr;
	hwaddr mask;
	hwaddr pa;
	IOMMUAccessFlags perm;
};

struct EduPcie {
	PCIDevice pdev;
	MemoryRegion mmio;
	QEMUTimer timer;
	QEMUTimer answer_timer;

	uint64_t dma_mask;
	uint32_t delay;
	bool ats;
	uint8_t pasid_bits;
	bool can_stall;
	uint16_t vendor, device;
	uint8_t revision;
	/* The capabilities in configuration space */
	uint16_t at_ats, at_pasid;

	uint32_t irq_status;
	uint64_t src, dst, count, cmd, status;
	/* The part of the DMA that is over */
	uint64_t done;
	/* The latest transaction, and whether it must fail in place of being repeated */
	uint32_t tag;
	bool refused;
	uint64_t pasid, stalls, atc_hits, atc_misses, atc_invs, answer, uncached;

	struct atc_entry atc[ATC_SIZE];
	unsigned int atc_next;
	struct pci_invalidation pending[MAX_PENDING];
	uint64_t num_pending;

	uint8_t buf[BUF_SIZE];
};

static void raise_irq(EduPcie *dev, uint32_t bits)
{
	dev->irq_status |= bits;
	if (!dev->irq_status)
		return;
	if (msi_enabled(&dev->pdev))
		msi_notify(&dev->pdev, 0);
	else
		pci_set_irq(&dev->pdev, 1);
}

static void ack_irq(EduPcie *dev, uint32_t bits)
{
	dev->irq_status &= ~bits;
	if (!dev->irq_status && !msi_enabled(&dev->pdev))
		pci_set_irq(&dev->pdev, 0);
}

static bool config_bit(EduPcie *dev, unsigned int at, uint16_t bit)
{
	return pci_get_word(dev->pdev.config + at) & bit;
}

/* The capability at @at must be there, and enabled unless the device is a rogue */
static bool enabled(EduPcie *dev, uint16_t at, unsigned int ctrl, uint16_t bit)
{
	return at && (dev->cmd & DMA_ROGUE || config_bit(dev, at + ctrl, bit));
}

static void invalidate_atc(EduPcie *dev, const struct pci_invalidation *inv)
{
	int i;

	dev->atc_invs++;
	for (i = 0; i < ATC_SIZE; i++) {
		struct atc_entry *e = &dev->atc[i];

		if (inv->has_pasid &&
		    (!e->has_pasid || (!inv->global && inv->pasid != e->pasid)))
			continue;
		if (e->addr <= inv->addr + inv->mask && inv->addr <= e->addr + e->mask)
			e->valid = false;
	}
}

/* The ATC is there, and is invalidated, even while ATS is disabled */
static enum pci_invalidation_status invalidate(void *opaque,
					       const struct pci_invalidation *inv)
{
	EduPcie *dev = opaque;

	if (!dev->at_ats)
		return PCI_INVALIDATION_DONE;
	if (dev->answer == ANSWER_AT_ONCE) {
		invalidate_atc(dev, inv);
		return PCI_INVALIDATION_DONE;
	}
	if (dev->answer == ANSWER_NEVER || dev->num_pending == MAX_PENDING)
		return PCI_INVALIDATION_LOST;
	dev->pending[dev->num_pending++] = *inv;
	return PCI_INVALIDATION_PENDING;
}

static void resume(void *opaque, uint32_t tag, bool retry)
{
	EduPcie *dev = opaque;

	if (!(dev->status & DMA_STALLED) || tag != dev->tag)
		return;
	dev->status &= ~DMA_STALLED;
	dev->refused = !retry;
	timer_mod(&dev->timer, qemu_clock_get_us(QEMU_CLOCK_VIRTUAL));
}

static const struct pci_requester_ops ops = {
	.invalidate = invalidate,
};

static const struct pci_requester_ops stall_ops = {
	.invalidate = invalidate,
	.resume = resume,
};

static PCIRequestIOMMU *find_iommu(EduPcie *dev)
{
	PCIRequestIOMMU *iommu = pci_request_iommu(&dev->pdev);

	if (iommu)
		pci_set_requester(iommu, dev->can_stall ? &stall_ops : &ops, dev);
	return iommu;
}

static void answer_all(EduPcie *dev, bool lost)
{
	PCIRequestIOMMU *iommu = find_iommu(dev);

	while (dev->num_pending) {
		dev->num_pending--;
		if (!lost)
			invalidate_atc(dev, &dev->pending[dev->num_pending]);
		pci_request_invalidated(iommu, lost);
	}
}

static void answers_due(void *opaque)
{
	answer_all(opaque, false);
}

/* The translation for @req, NULL if there is none */
static struct atc_entry *translate(EduPcie *dev, PCIRequestIOMMU *iommu,
				   const struct pci_request *req)
{
	IOMMUAccessFlags need = req->write ? IOMMU_WO : IOMMU_RO;
	struct pci_request ask = *req;
	struct atc_entry *e;
	int i;

	for (i = 0; i < ATC_SIZE; i++) {
		e = &dev->atc[i];
		if (e->valid && e->has_pasid == req->has_pasid &&
		    e->pasid == req->pasid && !((req->addr ^ e->addr) & ~e->mask) &&
		    e->perm & need) {
			dev->atc_hits++;
			return e;
		}
	}
	dev->atc_misses++;
	ask.type = PCI_REQUEST_TRANSLATION;
	if (pci_request(iommu, &ask) != PCI_REQUEST_OK || !(ask.perm & need))
		return NULL;
	e = &dev->atc[dev->atc_next++ % ATC_SIZE];
	*e = (struct atc_entry) {
		.valid = true,
		.has_pasid = req->has_pasid,
		.pasid = req->pasid,
		.addr = req->addr & ~ask.mask,
		.mask = ask.mask,
		.pa = ask.pa & ~ask.mask,
		.perm = ask.perm,
	};
	return e;
}

/* QEMU would split a transaction that fails, so this is found out before */
static enum pci_request_status plain_transaction(EduPcie *dev, dma_addr_t addr,
						 uint8_t *buf, dma_addr_t len, bool write)
{
	AddressSpace *as = pci_get_address_space(&dev->pdev);
	MemTxAttrs attrs = MEMTXATTRS_UNSPECIFIED;

	if (dev->cmd & (DMA_PASID | DMA_ATS | DMA_TRANSLATED) ||
	    !address_space_access_valid(as, addr, len, write, attrs) ||
	    pci_dma_rw(&dev->pdev, addr, buf, len,
		       write ? DMA_DIRECTION_FROM_DEVICE : DMA_DIRECTION_TO_DEVICE,
		       attrs) != MEMTX_OK)
		return PCI_REQUEST_FAILED;
	return PCI_REQUEST_OK;
}

static enum pci_request_status transaction(EduPcie *dev, dma_addr_t addr, uint8_t *buf,
					   dma_addr_t len, bool write)
{
	PCIRequestIOMMU *iommu = find_iommu(dev);
	struct pci_request req = {
		.addr = addr,
		.write = write,
		.tag = ++dev->tag,
		.no_snoop = dev->cmd & DMA_NO_SNOOP &&
			    config_bit(dev, dev->pdev.exp.exp_cap + PCI_EXP_DEVCTL,
				       PCI_EXP_DEVCTL_NOSNOOP_EN),
		.has_pasid = dev->cmd & DMA_PASID,
	};
	enum pci_request_status status;
	struct atc_entry *e;

	if (!iommu)
		return plain_transaction(dev, addr, buf, len, write);
	if (!config_bit(dev, PCI_COMMAND, PCI_COMMAND_MASTER))
		return PCI_REQUEST_FAILED;
	if (req.has_pasid) {
		if (!enabled(dev, dev->at_pasid, PCI_PASID_CTRL, PCI_PASID_CTRL_ENABLE))
			return PCI_REQUEST_FAILED;
		req.pasid = dev->pasid;
	}
	if (dev->cmd & DMA_TRANSLATED) {
		req.type = PCI_REQUEST_TRANSLATED;
	} else if (dev->cmd & DMA_ATS) {
		if (!enabled(dev, dev->at_ats, PCI_ATS_CTRL, PCI_ATS_CTRL_ENABLE))
			return PCI_REQUEST_FAILED;
		e = translate(dev, iommu, &req);
		if (!e)
			return PCI_REQUEST_FAILED;
		req.type = PCI_REQUEST_TRANSLATED;
		req.addr = e->pa | (addr & e->mask);
	}
	status = pci_request(iommu, &req);
	if (status != PCI_REQUEST_OK)
		return status;
	dev->uncached += req.uncached;
	if (address_space_rw(&address_space_memory, req.pa, MEMTXATTRS_UNSPECIFIED, buf,
			     len, write) != MEMTX_OK)
		return PCI_REQUEST_FAILED;
	return PCI_REQUEST_OK;
}

/* Return: false if it is stalled, and will be continued where it is */
static bool run_dma(EduPcie *dev)
{
	bool write = dev->cmd & DMA_FROM_DEVICE;
	uint64_t addr = (write ? dev->dst : dev->src) & dev->dma_mask;
	uint64_t offset = (write ? dev->src : dev->dst) - BUF;
	enum pci_request_status status;
	uint64_t at, len;

	if (offset > BUF_SIZE || dev->count > BUF_SIZE - offset) {
		qemu_log_mask(LOG_GUEST_ERROR, "edu-pcie: DMA beyond the buffer\n");
		dev->status = DMA_FAILED;
		return true;
	}
	for (; dev->done < dev->count; dev->done += len) {
		at = addr + dev->done;
		len = MIN(dev->count - dev->done, TRANSACTION - at % TRANSACTION);
		status = dev->refused ? PCI_REQUEST_FAILED :
					transaction(dev, at, dev->buf + offset + dev->done,
						    len, write);
		dev->refused = false;
		if (status == PCI_REQUEST_STALLED) {
			dev->status = DMA_STALLED;
			dev->stalls++;
			return false;
		}
		if (status == PCI_REQUEST_FAILED) {
			dev->status = DMA_FAILED;
			break;
		}
	}
	return true;
}

static void dma_due(void *opaque)
{
	EduPcie *dev = opaque;

	if (!run_dma(dev))
		return;
	dev->cmd &= ~DMA_RUN;
	if (dev->cmd & DMA_IRQ)
		raise_irq(dev, DMA_IRQ_STATUS);
}

/* The register at @addr, or NULL if it is not of 64 bits */
static uint64_t *wide_register(EduPcie *dev, hwaddr addr)
{
	switch (addr) {
	case REG_DMA_SRC:
		return &dev->src;
	case REG_DMA_DST:
		return &dev->dst;
	case REG_DMA_COUNT:
		return &dev->count;
	case REG_DMA_CMD:
		return &dev->cmd;
	case REG_PASID:
		return &dev->pasid;
	case REG_DMA_STATUS:
		return &dev->status;
	case REG_STALLS:
		return &dev->stalls;
	case REG_ATC_HITS:
		return &dev->atc_hits;
	case REG_ATC_MISSES:
		return &dev->atc_misses;
	case REG_ATC_INVS:
		return &dev->atc_invs;
	case REG_ANSWER:
		return &dev->answer;
	case REG_UNCACHED:
		return &dev->uncached;
	case REG_PENDING:
		return &dev->num_pending;
	}
	return NULL;
}

static uint64_t mmio_read(void *opaque, hwaddr addr, unsigned int size)
{
	EduPcie *dev = opaque;
	uint64_t *reg = wide_register(dev, addr);

	if (reg)
		return *reg;
	switch (addr) {
	case REG_ID:
		return ID;
	case REG_IRQ_STATUS:
		return dev->irq_status;
	}
	return UINT64_MAX;
}

static void mmio_write(void *opaque, hwaddr addr, uint64_t val, unsigned int size)
{
	EduPcie *dev = opaque;

	switch (addr) {
	case REG_IRQ_RAISE:
		raise_irq(dev, val);
		break;
	case REG_IRQ_ACK:
		ack_irq(dev, val);
		break;
	case REG_ANSWER:
		/* For invalidations before the first DMA */
		find_iommu(dev);
		dev->answer = val;
		break;
	case REG_PENDING:
		if (dev->answer == ANSWER_SLOWLY)
			timer_mod(&dev->answer_timer,
				  qemu_clock_get_us(QEMU_CLOCK_VIRTUAL) + SLOW_US);
		else
			answer_all(dev, false);
		break;
	case REG_DMA_SRC:
	case REG_DMA_DST:
	case REG_DMA_COUNT:
	case REG_PASID:
		/* A DMA that runs keeps its registers */
		if (!(dev->cmd & DMA_RUN))
			*wide_register(dev, addr) = val;
		break;
	case REG_DMA_CMD:
		if (dev->cmd & DMA_RUN || !(val & DMA_RUN))
			break;
		dev->cmd = val;
		dev->status = 0;
		dev->done = 0;
		timer_mod(&dev->timer, qemu_clock_get_us(QEMU_CLOCK_VIRTUAL) + dev->delay);
		break;
	}
}

static const MemoryRegionOps mmio_ops = {
	.read = mmio_read,
	.write = mmio_write,
	.endianness = DEVICE_LITTLE_ENDIAN,
	.valid = { .min_access_size = 4, .max_access_size = 8 },
	.impl = { .min_access_size = 4, .max_access_size = 8 },
};

static void edu_pcie_reset(DeviceState *qdev)
{
	EduPcie *dev = EDU_PCIE(qdev);
	uint8_t *config = dev->pdev.config;

	timer_del(&dev->timer);
	timer_del(&dev->answer_timer);
	dev->irq_status = 0;
	dev->src = 0;
	dev->dst = 0;
	dev->count = 0;
	dev->cmd = 0;
	dev->status = 0;
	dev->refused = false;
	dev->pasid = 0;
	memset(dev->buf, 0, sizeof(dev->buf));
	memset(dev->atc, 0, sizeof(dev->atc));
	dev->answer = ANSWER_AT_ONCE;
	if (dev->num_pending)
		answer_all(dev, true);

	if (dev->at_ats)
		pci_set_word(config + dev->at_ats + PCI_ATS_CTRL, 0);
	if (dev->at_pasid)
		pci_set_word(config + dev->at_pasid + PCI_PASID_CTRL, 0);
	/* This bit is set by a reset */
	pci_word_test_and_set_mask(config + dev->pdev.exp.exp_cap + PCI_EXP_DEVCTL,
				   PCI_EXP_DEVCTL_NOSNOOP_EN);
}

static void write_config(PCIDevice *pdev, uint32_t addr, uint32_t val, int len)
{
	pci_default_write_config(pdev, addr, val, len);
	pcie_cap_flr_write_config(pdev, addr, val, len);
}

static void add_pasid(PCIDevice *pdev, uint16_t at, uint8_t bits)
{
	pcie_add_capability(pdev, PCI_EXT_CAP_ID_PASID, 1, at, PCI_EXT_CAP_PASID_SIZEOF);
	pci_set_word(pdev->config + at + PCI_PASID_CAP, bits << 8);
	pci_set_word(pdev->wmask + at + PCI_PASID_CTRL, PCI_PASID_CTRL_ENABLE);
}

static void edu_pcie_realize(PCIDevice *pdev, Error **errp)
{
	EduPcie *dev = EDU_PCIE(pdev);
	uint16_t at = PCI_CONFIG_SPACE_SIZE;

	if (dev->pasid_bits > 20) {
		error_setg(errp, "a PASID has at most 20 bits");
		return;
	}
	if (dev->vendor) {
		pci_config_set_vendor_id(pdev->config, dev->vendor);
		pci_config_set_device_id(pdev->config, dev->device);
		pci_config_set_revision(pdev->config, dev->revision);
	}
	pci_config_set_interrupt_pin(pdev->config, 1);
	if (msi_init(pdev, 0, 1, true, false, errp))
		return;
	if (pcie_endpoint_cap_init(pdev, 0x80) < 0) {
		error_setg(errp, "no room for the PCI Express capability");
		msi_uninit(pdev);
		return;
	}
	pcie_cap_flr_init(pdev);
	pci_word_test_and_set_mask(pdev->wmask + pdev->exp.exp_cap + PCI_EXP_DEVCTL,
				   PCI_EXP_DEVCTL_NOSNOOP_EN);
	if (dev->ats) {
		pcie_ats_init(pdev, at, true);
		dev->at_ats = at;
		at += PCI_EXT_CAP_ATS_SIZEOF;
	}
	if (dev->pasid_bits) {
		add_pasid(pdev, at, dev->pasid_bits);
		dev->at_pasid = at;
	}

	timer_init_us(&dev->timer, QEMU_CLOCK_VIRTUAL, dma_due, dev);
	timer_init_us(&dev->answer_timer, QEMU_CLOCK_VIRTUAL, answers_due, dev);
	memory_region_init_io(&dev->mmio, OBJECT(dev), &mmio_ops, dev, "edu-pcie", 1 * MiB);
	pci_register_bar(pdev, 0, PCI_BASE_ADDRESS_SPACE_MEMORY, &dev->mmio);
}

static void edu_pcie_exit(PCIDevice *pdev)
{
	timer_del(&EDU_PCIE(pdev)->timer);
	timer_del(&EDU_PCIE(pdev)->answer_timer);
	pcie_cap_exit(pdev);
	msi_uninit(pdev);
}

static const Property edu_pcie_properties[] = {
	DEFINE_PROP_UINT64("dma_mask", EduPcie, dma_mask, (1ULL << 28) - 1),
	DEFINE_PROP_UINT32("delay-us", EduPcie, delay, 100000),
	DEFINE_PROP_BOOL("ats", EduPcie, ats, false),
	DEFINE_PROP_UINT8("pasid-bits", EduPcie, pasid_bits, 0),
	DEFINE_PROP_BOOL("stall", EduPcie, can_stall, false),
	DEFINE_PROP_UINT16("vendor", EduPcie, vendor, 0),
	DEFINE_PROP_UINT16("device", EduPcie, device, 0),
	DEFINE_PROP_UINT8("revision", EduPcie, revision, 0),
};

static void edu_pcie_class_init(ObjectClass *class, void *data)
{
	DeviceClass *dc = DEVICE_CLASS(class);
	PCIDeviceClass *k = PCI_DEVICE_CLASS(class);

	k->realize = edu_pcie_realize;
	k->exit = edu_pcie_exit;
	k->config_write = write_config;
	k->vendor_id = PCI_VENDOR_ID_QEMU;
	k->device_id = 0x11e8;
	k->revision = 0x20;
	k->class_id = PCI_CLASS_OTHERS;
	dc->desc = "edu as a PCI Express device, with FLR";
	device_class_set_legacy_reset(dc, edu_pcie_reset);
	device_class_set_props(dc, edu_pcie_properties);
	set_bit(DEVICE_CATEGORY_MISC, dc->categories);
}

static const TypeInfo edu_pcie_types[] = {
	{
		.name = TYPE_EDU_PCIE,
		.parent = TYPE_PCI_DEVICE,
		.instance_size = sizeof(EduPcie),
		.class_init = edu_pcie_class_init,
		.interfaces = (InterfaceInfo[]) {
			{ INTERFACE_PCIE_DEVICE },
			{ },
		},
	},
};

DEFINE_TYPES(edu_pcie_types)
