/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * MSI doorbells behind a translating IOMMU, see sw_msi.c.
 */
#ifndef __IOMMUFD_SW_MSI_H
#define __IOMMUFD_SW_MSI_H

#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/types.h>

struct iommu_domain;
struct iommufd_ctx;
struct iommufd_group;
struct iommufd_hwpt_paging;
struct msi_desc;

/* MSI doorbells that devices of this context use, see sw_msi.c */
struct iommufd_sw_msi {
	/* Protects pages, and the sw_msi_* masks of groups and HWPTs */
	struct mutex lock;
	/* Protects iommufd_hwpt_paging::sw_msi_tables. Outer to lock */
	struct mutex tables_lock;
	struct list_head pages;
};

int iommufd_sw_msi(struct iommu_domain *domain, struct msi_desc *desc,
		   phys_addr_t msi_addr);
int iommufd_sw_msi_attach(struct iommufd_group *igroup,
			  struct iommufd_hwpt_paging *hwpt_paging);
int iommufd_sw_msi_map_attached(struct iommufd_group *igroup);
void iommufd_sw_msi_undo_attach(struct iommufd_group *igroup);
void iommufd_sw_msi_attach_done(struct iommufd_group *igroup);
void iommufd_sw_msi_init(struct iommufd_ctx *ictx);
void iommufd_sw_msi_free(struct iommufd_ctx *ictx);
#endif
