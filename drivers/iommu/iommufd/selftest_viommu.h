/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Interfaces of the mock IOMMU driver (selftest.c) and its vIOMMUs
 */
#ifndef __IOMMUFD_SELFTEST_VIOMMU_H
#define __IOMMUFD_SELFTEST_VIOMMU_H

#include <linux/atomic.h>
#include <linux/iommufd.h>
#include <linux/mutex.h>
#include <linux/types.h>
#include <linux/wait.h>
#include <linux/xarray.h>

#include "iommufd_test.h"

struct device;
struct iommu_device;
struct iommu_domain;
struct iommu_group;
struct iommu_ops;
struct iommu_page_response;
struct iommu_test_cmd;
struct iommu_user_data;
struct iommufd_device;
struct iommufd_object;
struct iommufd_ucmd;
struct list_head;
struct mock_hw_queue;
struct page;
struct vm_fault;

/**
 * struct mock_gate - Stops threads in a mock device
 * @wait: The wait queue of stopped threads
 * @closed: The closed gates, of MOCK_GATE_*
 * @waiting: The number of threads waiting, at any gate
 */
struct mock_gate {
	wait_queue_head_t wait;
	unsigned int closed;
	atomic_t waiting;
};

/**
 * struct mock_viommu_dev - The part of a mock device for vIOMMUs and gates
 * @vdev: Its vDEVICE, written by the ops of the vDEVICE only. A device has a
 *        single vDEVICE at a time; it stays for an RCU grace period after this
 *        is cleared
 * @attached: The vIOMMU it is attached through, for comparison only. Written by
 *            the attach, under the mutex of the group
 * @domain: The domain it is attached to, for comparison only. Written like
 *          @attached
 * @attach_fails: Only the blocking domain can be attached
 * @faults: The number of page faults it has reported
 * @answers: The number of answers to these, by response code
 * @cache: Stands for the caches that an invalidation reaches, see
 *         IOMMU_TEST_OP_DEV_CHECK_CACHE
 * @group: The group that it must join when it is added, NULL for a group of its
 *         own. Not used afterwards
 * @gate: The gates where a test can stop threads that use the device
 * @pasids: The domains of PASIDs, for comparison only. Written by the attach and
 *          the detach, under the mutex of the group
 * @pasid_fails: The next attach of IOMMU_TEST_PASID_RESERVED must fail. Written
 *               like @pasids
 */
struct mock_viommu_dev {
	struct iommufd_vdevice __rcu *vdev;
	struct iommufd_viommu *attached;
	struct iommu_domain *domain;
	bool attach_fails;
	atomic_t faults;
	atomic_t answers[3];
	u32 cache[MOCK_DEV_CACHE_NUM];
	struct iommu_group *group;
	struct mock_gate gate;
	struct xarray pasids;
	bool pasid_fails;
};

/**
 * struct mock_viommu - A vIOMMU of any type
 * @core: The part of the iommufd core
 * @queues: Its HW_QUEUEs by their index
 * @queues_lock: Protects @queues
 * @pages: Its memory, or NULL. Written before the vIOMMU is published
 * @mmap_offset: Offset of the memory for mmap()
 * @faults: Number of page faults so far
 * @faults_lock: Protects @faults. While it is held, no page becomes mapped. Taken
 *               with mmap_lock held
 */
struct mock_viommu {
	struct iommufd_viommu core;
	struct mock_hw_queue *queues[IOMMU_TEST_HW_QUEUE_MAX];
	struct mutex queues_lock; /* Protects queues */
	struct page *pages;
	unsigned long mmap_offset;
	unsigned int faults;
	struct mutex faults_lock; /* Protects faults */
};

/* In selftest.c */
struct mock_viommu_dev *mock_to_viommu_dev(struct device *dev);
unsigned long mock_dev_flags(struct device *dev);
struct iommu_domain *
mock_domain_alloc_nested(struct iommu_domain *parent,
			 struct iommufd_viommu *viommu,
			 const struct iommu_user_data *user_data);
int mock_domain_check_phys(struct iommu_domain *domain, unsigned long iova,
			   phys_addr_t phys);
int mock_domain_check_mmio(struct iommu_domain *domain, unsigned long iova,
			   phys_addr_t phys, unsigned long length);
struct iommufd_device *iommufd_test_get_stdev(struct iommufd_ucmd *ucmd, u32 id,
					      struct iommufd_object **obj);

/* In selftest_dev.c */
void mock_gate_init(struct mock_gate *gate);
void mock_gate_pass(struct device *dev, unsigned int which);
void mock_iopf_intercept(struct iommu_domain *domain);
struct iommu_group *mock_group_of_cmd(struct iommufd_ucmd *ucmd,
				      struct iommu_test_cmd *cmd);
struct iommu_group *mock_device_group(struct device *dev);
int iommufd_test_dev_gate(struct iommufd_ucmd *ucmd,
			  struct iommu_test_cmd *cmd);
int iommufd_test_dev_prepare_msi(struct iommufd_ucmd *ucmd,
				 struct iommu_test_cmd *cmd);
int iommufd_test_md_check_phys(struct iommufd_ucmd *ucmd,
			       struct iommu_test_cmd *cmd);
int iommufd_test_get_pins(struct iommufd_ucmd *ucmd,
			  struct iommu_test_cmd *cmd);

/* In selftest_dmabuf.c */
int iommufd_test_dmabuf_get(struct iommufd_ucmd *ucmd,
			    struct iommu_test_cmd *cmd);
int iommufd_test_dmabuf_revoke(struct iommufd_ucmd *ucmd,
			       struct iommu_test_cmd *cmd);
int iommufd_test_md_check_dmabuf(struct iommufd_ucmd *ucmd,
				 struct iommu_test_cmd *cmd);

/* In selftest_hw_queue.c */
size_t mock_get_hw_queue_size(struct iommufd_viommu *viommu, unsigned int type);
bool mock_hw_queue_is_written(struct iommufd_viommu *viommu, unsigned int type);
size_t mock_hw_queue_max_length(struct iommufd_viommu *viommu,
				unsigned int type);
int mock_hw_queue_init_phys(struct iommufd_hw_queue *hw_queue, u32 index,
			    phys_addr_t base_addr_pa);
int mock_viommu_mem_init(struct iommufd_viommu *viommu,
			 struct iommu_viommu_selftest *data);
void mock_viommu_destroy(struct iommufd_viommu *viommu);
vm_fault_t mock_viommu_mmap_fault(struct iommufd_viommu *viommu,
				  struct vm_fault *vmf, unsigned long index);
int iommufd_test_viommu_zap(struct iommufd_ucmd *ucmd,
			    struct iommu_test_cmd *cmd);

/* In selftest_pasid.c */
int mock_set_dev_pasid(struct iommu_domain *domain, struct device *dev,
		       ioasid_t pasid, struct iommu_domain *old);
void mock_remove_dev_pasid(struct device *dev, ioasid_t pasid,
			   struct iommu_domain *domain);
int iommufd_test_pasid(struct iommufd_ucmd *ucmd, struct iommu_test_cmd *cmd);

/* In selftest_viommu.c */
extern struct iommu_device mock_iommu2;
extern struct iommu_device mock_iommu3;
int mock_iommus_init(struct device *parent, const struct iommu_ops *ops);
void mock_iommus_exit(void);
bool mock_iommu_can_use(struct iommu_device *iommu,
			struct iommu_domain *domain);
void mock_get_resv_regions(struct device *dev, struct list_head *head);
int mock_dev_set_pasid_bits(struct device *dev);

void mock_viommu_dev_init(struct device *dev);
void mock_viommu_dev_abort(struct device *dev);
bool mock_viommu_has_dev(struct iommufd_viommu *viommu, struct device *dev);
int mock_viommu_dev_attach(struct device *dev, struct iommu_domain *domain,
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
int iommufd_test_dev_reset(struct iommufd_ucmd *ucmd,
			   struct iommu_test_cmd *cmd);
int iommufd_test_dev_get_iopf(struct iommufd_ucmd *ucmd,
			      struct iommu_test_cmd *cmd);

#endif
