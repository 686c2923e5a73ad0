/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Requests of a PCI device to its IOMMU
 *
 * A memory access through the AddressSpace of a device has no PASID, no address type
 * and no No Snoop attribute, and its failure has no reason. An IOMMU with the interface
 * of this file takes requests that have all of these. A request is for a single
 * page, and causes at most a single event.
 *
 * The IOMMU memory region of the device's AddressSpace implements the interface. All
 * calls are made under the BQL.
 */
#ifndef HW_PCI_PCI_REQUEST_H
#define HW_PCI_PCI_REQUEST_H

#include "exec/memory.h"
#include "hw/pci/pci_device.h"
#include "qom/object.h"

enum pci_request_type {
	PCI_REQUEST_UNTRANSLATED,
	/* An ATS Translation Request, which accesses nothing */
	PCI_REQUEST_TRANSLATION,
	/* To an address that an earlier Translation Request returned */
	PCI_REQUEST_TRANSLATED,
};

enum pci_request_status {
	PCI_REQUEST_OK,
	/* "Unsupported Request" or "Completer Abort" */
	PCI_REQUEST_FAILED,
	/* The request waits for pci_requester_ops::resume */
	PCI_REQUEST_STALLED,
};

/**
 * struct pci_request - A request
 * @type: Its type
 * @addr: Its address
 * @write: It is a write, or a Translation Request for a write
 * @no_snoop: The device asks for an access that bypasses the caches
 * @has_pasid: It has a PASID
 * @pasid: The PASID, 0 if there is none
 * @tag: Any number, by which the device knows the request again in
 *       pci_requester_ops::resume
 * @pa: Out, with PCI_REQUEST_OK: the physical address
 * @mask: Out: the same for the size of the page around @pa, minus 1
 * @perm: Out, of a Translation Request: the access that the translation permits.
 *        IOMMU_NONE if there is no translation
 * @uncached: Out: the access is to RAM and bypasses the caches of the CPUs
 */
struct pci_request {
	enum pci_request_type type;
	hwaddr addr;
	bool write;
	bool no_snoop;
	bool has_pasid;
	uint32_t pasid;
	uint32_t tag;

	hwaddr pa;
	hwaddr mask;
	IOMMUAccessFlags perm;
	bool uncached;
};

/**
 * struct pci_invalidation - An ATS Invalidate Request
 * @addr: The first address
 * @mask: The size of the range, minus 1
 * @has_pasid: It has a PASID. Without a PASID it is for all entries of the range
 * @global: It is for all entries of the range that have a PASID
 * @pasid: The PASID, 0 if there is none
 */
struct pci_invalidation {
	hwaddr addr;
	hwaddr mask;
	bool has_pasid;
	bool global;
	uint32_t pasid;
};

enum pci_invalidation_status {
	PCI_INVALIDATION_DONE,
	/* The device will call pci_request_invalidated() */
	PCI_INVALIDATION_PENDING,
	/* The device does not answer, and the timeout has expired */
	PCI_INVALIDATION_LOST,
};

/**
 * struct pci_requester_ops - Requests of the IOMMU to the device
 * @invalidate: Invalidate the translations of a range
 * @resume: Send a stalled request again, or consider it to have failed. A device that
 *          has been reset in the meantime does neither. NULL if the device cannot stall
 */
struct pci_requester_ops {
	enum pci_invalidation_status (*invalidate)(void *opaque,
						   const struct pci_invalidation *inv);
	void (*resume)(void *opaque, uint32_t tag, bool retry);
};

#define TYPE_PCI_REQUEST_IOMMU	"pci-request-iommu"
typedef struct PCIRequestIOMMU PCIRequestIOMMU;
typedef struct PCIRequestIOMMUClass PCIRequestIOMMUClass;
DECLARE_CLASS_CHECKERS(PCIRequestIOMMUClass, PCI_REQUEST_IOMMU, TYPE_PCI_REQUEST_IOMMU)

struct PCIRequestIOMMUClass {
	InterfaceClass parent_class;

	enum pci_request_status (*request)(PCIRequestIOMMU *iommu, struct pci_request *req);
	void (*set_requester)(PCIRequestIOMMU *iommu, const struct pci_requester_ops *ops,
			      void *opaque);
	void (*invalidated)(PCIRequestIOMMU *iommu, bool lost);
};

PCIRequestIOMMU *pci_request_iommu(PCIDevice *dev);
enum pci_request_status pci_request(PCIRequestIOMMU *iommu, struct pci_request *req);
void pci_set_requester(PCIRequestIOMMU *iommu, const struct pci_requester_ops *ops,
		       void *opaque);
void pci_request_invalidated(PCIRequestIOMMU *iommu, bool lost);

#endif
