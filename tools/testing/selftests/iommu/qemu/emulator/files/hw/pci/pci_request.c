// SPDX-License-Identifier: GPL-2.0-only
/*
 * Requests of a PCI device to its IOMMU. See pci_request.h
 */
#include "qemu/osdep.h"
#include "qemu/module.h"
#include "hw/pci/pci.h"
#include "hw/pci/pci_request.h"

/**
 * pci_request_iommu - Find the IOMMU of a device
 * @dev: the device. Its bus must have been set up, so realize() is too early
 *
 * Return: the IOMMU, or NULL if there is none or it takes no requests.
 */
PCIRequestIOMMU *pci_request_iommu(PCIDevice *dev)
{
	AddressSpace *as = pci_device_iommu_address_space(dev);

	return (PCIRequestIOMMU *)object_dynamic_cast(OBJECT(as->root),
						      TYPE_PCI_REQUEST_IOMMU);
}

enum pci_request_status pci_request(PCIRequestIOMMU *iommu, struct pci_request *req)
{
	return PCI_REQUEST_IOMMU_GET_CLASS(iommu)->request(iommu, req);
}

/**
 * pci_set_requester - Let the IOMMU send requests to a device
 * @iommu: the IOMMU of the device
 * @ops: requests of the IOMMU
 * @opaque: the device, for @ops
 */
void pci_set_requester(PCIRequestIOMMU *iommu, const struct pci_requester_ops *ops,
		       void *opaque)
{
	PCIRequestIOMMUClass *class = PCI_REQUEST_IOMMU_GET_CLASS(iommu);

	if (class->set_requester)
		class->set_requester(iommu, ops, opaque);
}

/**
 * pci_request_invalidated - Answer a pending invalidation
 * @iommu: the IOMMU of the device
 * @lost: there will be no answer: the device has been reset, and the timeout has
 *        expired
 */
void pci_request_invalidated(PCIRequestIOMMU *iommu, bool lost)
{
	PCI_REQUEST_IOMMU_GET_CLASS(iommu)->invalidated(iommu, lost);
}

static const TypeInfo pci_request_iommu_types[] = {
	{
		.name = TYPE_PCI_REQUEST_IOMMU,
		.parent = TYPE_INTERFACE,
		.class_size = sizeof(PCIRequestIOMMUClass),
	},
};

DEFINE_TYPES(pci_request_iommu_types)
