/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Between the mock IOMMU driver (selftest.c) and its vIOMMUs (selftest_viommu.c)
 */
#ifndef __IOMMUFD_SELFTEST_VIOMMU_H
#define __IOMMUFD_SELFTEST_VIOMMU_H

#include <linux/atomic.h>
#include <linux/types.h>

#include "iommufd_test.h"

struct device;
struct iommu_device;
struct iommu_domain;
struct iommu_ops;
struct iommu_page_response;
struct iommu_test_cmd;
struct iommu_user_data;
struct iommufd_ucmd;
struct iommufd_vdevice;
struct iommufd_viommu;
struct list_head;

/**
 * struct mock_viommu_dev - What a mock device has for vIOMMUs
 * @vdev: Its vDEVICE. Written by the vDEVICE only, of which there is one at a
 *        time; it stays for an RCU grace period after that
 * @attached: The vIOMMU it is attached through, to be compared only. Written by
 *            the attach, under the mutex of the group
 * @faults: How many page faults it has reported
 * @answers: How many of them were answered, by the code of the answer
 * @cache: Stands for what an invalidation reaches, see
 *         IOMMU_TEST_OP_DEV_CHECK_CACHE
 */
struct mock_viommu_dev {
	struct iommufd_vdevice __rcu *vdev;
	struct iommufd_viommu *attached;
	atomic_t faults;
	atomic_t answers[3];
	u32 cache[MOCK_DEV_CACHE_NUM];
};

/* In selftest.c */
struct mock_viommu_dev *mock_to_viommu_dev(struct device *dev);
unsigned long mock_dev_flags(struct device *dev);
struct iommu_domain *
mock_domain_alloc_nested(struct iommu_domain *parent,
			 struct iommufd_viommu *viommu,
			 const struct iommu_user_data *user_data);

/* In selftest_viommu.c */
extern struct iommu_device mock_iommu2;
int mock_iommu2_init(struct device *parent, const struct iommu_ops *ops);
void mock_iommu2_exit(void);
bool mock_iommu_can_use(struct iommu_device *iommu,
			struct iommu_domain *domain);
void mock_get_resv_regions(struct device *dev, struct list_head *head);
int mock_dev_set_pasid_bits(struct device *dev);

void mock_viommu_dev_init(struct device *dev);
void mock_viommu_dev_abort(struct device *dev);
bool mock_viommu_has_dev(struct iommufd_viommu *viommu, struct device *dev);
void mock_viommu_dev_attached(struct device *dev,
			      struct iommufd_viommu *viommu);
void mock_fault_reported(struct device *dev);
void mock_fault_in_attach(struct device *dev);
void mock_fault_answered(struct device *dev,
			 const struct iommu_page_response *msg);
size_t mock_get_viommu_size(struct device *dev, unsigned int type);
int mock_viommu_init(struct iommufd_viommu *viommu, struct iommu_domain *parent,
		     const struct iommu_user_data *user_data);
int iommufd_test_dev_check_cache(struct iommufd_ucmd *ucmd, u32 idev_id,
				 unsigned int cache_id, u32 cache);
int iommufd_test_trigger_vevent(struct iommufd_ucmd *ucmd, u32 idev_id,
				u32 flags, u32 sequence);
int iommufd_test_dev_get_iopf(struct iommufd_ucmd *ucmd,
			      struct iommu_test_cmd *cmd);

#endif
