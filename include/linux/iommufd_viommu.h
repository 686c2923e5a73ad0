/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Objects of iommufd that IOMMU drivers implement a part of: vIOMMUs, vDEVICEs
 * and HW_QUEUEs.
 */
#ifndef __LINUX_IOMMUFD_VIOMMU_H
#define __LINUX_IOMMUFD_VIOMMU_H

#include <linux/build_bug.h>
#include <linux/compiler.h>
#include <linux/list.h>
#include <linux/mm_types.h>
#include <linux/refcount.h>
#include <linux/spinlock.h>
#include <linux/stddef.h>
#include <linux/types.h>
#include <linux/xarray.h>

struct device;
struct iommu_device;
struct iommu_domain;
struct iommu_user_data;
struct iommu_user_data_array;
struct iommufd_ctx;
struct iommufd_device;
struct iommufd_hw_queue;
struct iommufd_hwpt_paging;
struct iommufd_vdevice;
struct iommufd_viommu;
struct iommufd_viommu_ops;
struct vm_fault;

enum iommufd_object_type {
	IOMMUFD_OBJ_NONE,
	IOMMUFD_OBJ_ANY = IOMMUFD_OBJ_NONE,
	IOMMUFD_OBJ_DEVICE,
	IOMMUFD_OBJ_HWPT_PAGING,
	IOMMUFD_OBJ_HWPT_NESTED,
	IOMMUFD_OBJ_IOAS,
	IOMMUFD_OBJ_ACCESS,
	IOMMUFD_OBJ_FAULT,
	IOMMUFD_OBJ_VIOMMU,
	IOMMUFD_OBJ_VDEVICE,
	IOMMUFD_OBJ_VEVENTQ,
	IOMMUFD_OBJ_HW_QUEUE,
#ifdef CONFIG_IOMMUFD_TEST
	IOMMUFD_OBJ_SELFTEST,
#endif
	IOMMUFD_OBJ_MAX,
};

/* Base struct for all objects with a userspace ID handle. */
struct iommufd_object {
	refcount_t shortterm_users;
	refcount_t users;
	enum iommufd_object_type type;
	unsigned int id;
};

/**
 * struct iommufd_viommu - The part of a physical IOMMU that is given to a VM
 * @obj: The object of user space; must stay first
 * @ictx: The iommufd context that the object belongs to
 * @iommu_dev: The physical IOMMU
 * @hwpt: The nesting parent. Held as long as the vIOMMU exists, so a driver may
 *        keep the domain that iommu_ops::viommu_init is called with
 * @ops: Set by the driver in iommu_ops::viommu_init
 * @vdevs: vDEVICEs by their virt_id. Read by iommufd_viommu_find_dev()
 * @type: enum iommu_viommu_type in include/uapi/linux/iommufd.h
 * @veventqs: Queues for events to user space
 * @veventqs_lock: Protects @veventqs. Inner to any lock of a driver
 *
 * A driver makes this the first member of its own struct, and returns the size
 * of this struct, VIOMMU_STRUCT_SIZE(), from iommu_ops::get_viommu_size.
 */
struct iommufd_viommu {
	struct iommufd_object obj;
	struct iommufd_ctx *ictx;
	struct iommu_device *iommu_dev;
	struct iommufd_hwpt_paging *hwpt;
	const struct iommufd_viommu_ops *ops;
	struct xarray vdevs;
	unsigned int type;
	struct list_head veventqs;
	spinlock_t veventqs_lock; /* Protects veventqs */
};

/* Size of a driver's @type with a struct iommufd_viommu as its first @member */
#define VIOMMU_STRUCT_SIZE(type, member)                                      \
	(sizeof(type) + BUILD_BUG_ON_ZERO(offsetof(type, member)) +           \
	 BUILD_BUG_ON_ZERO(!__same_type(struct iommufd_viommu,                \
					((type *)NULL)->member)))

/**
 * struct iommufd_vdevice - A device as a VM sees it at a vIOMMU
 * @obj: The object of user space; must stay first
 * @viommu: The vIOMMU. Held as long as the vDEVICE exists
 * @idev: The device. It destroys the vDEVICE before it goes away
 * @virt_id: The ID of the device in the VM, unique in @viommu
 *
 * A driver that needs more makes this the first member of its own struct, see
 * iommufd_viommu_ops::vdevice_size.
 */
struct iommufd_vdevice {
	struct iommufd_object obj;
	struct iommufd_viommu *viommu;
	struct iommufd_device *idev;
	u64 virt_id;
};

/**
 * struct iommufd_hw_queue - A queue of a vIOMMU in the memory of the VM
 * @obj: The object of user space; must stay first
 * @viommu: The vIOMMU. Held as long as the queue exists
 * @base_addr: Address of the queue in the nesting parent, of any alignment
 * @length: Length of the queue in bytes, not 0
 * @type: enum iommu_hw_queue_type in include/uapi/linux/iommufd.h
 * @destroy: Optional. Set by the driver in iommufd_viommu_ops::hw_queue_init_phys
 *           to undo it. The memory is released after this
 *
 * A driver makes this the first member of its own struct, and returns the size
 * of this struct, HW_QUEUE_STRUCT_SIZE(), from
 * iommufd_viommu_ops::get_hw_queue_size.
 */
struct iommufd_hw_queue {
	struct iommufd_object obj;
	struct iommufd_viommu *viommu;
	u64 base_addr;
	size_t length;
	unsigned int type;
	void (*destroy)(struct iommufd_hw_queue *hw_queue);
};

/* Size of a driver's @type with a struct iommufd_hw_queue as first @member */
#define HW_QUEUE_STRUCT_SIZE(type, member)                                    \
	(sizeof(type) + BUILD_BUG_ON_ZERO(offsetof(type, member)) +           \
	 BUILD_BUG_ON_ZERO(!__same_type(struct iommufd_hw_queue,              \
					((type *)NULL)->member)))

/**
 * struct iommufd_viommu_ops - Operations of a driver on a vIOMMU
 * @destroy: Optional. Undo iommu_ops::viommu_init; the core frees the memory.
 *           No nested domain, vDEVICE, vEVENTQ, HW_QUEUE or mapping by mmap()
 *           is left when it is called
 * @alloc_domain_nested: Allocate an IOMMU_DOMAIN_NESTED on the vIOMMU from
 *                       @user_data, a struct of include/uapi/linux/iommufd.h.
 *                       @flags is 0 or IOMMU_HWPT_ALLOC_PASID. Without it the
 *                       vIOMMU has no nested HWPTs (EOPNOTSUPP)
 * @cache_invalidate: Carry out the invalidation requests in @array. Must set
 *                    array->entry_num to the number of requests that have
 *                    taken effect on every path, and must answer -EINVAL to
 *                    an unknown array->type also when entry_num is 0. May
 *                    sleep, may be called concurrently. Without it
 *                    IOMMU_HWPT_INVALIDATE gives EOPNOTSUPP
 * @vevent_size: Size of the data of an event of this type (enum
 *               iommu_veventq_type), up to IOMMUFD_VEVENT_SIZE_MAX, or 0 if the
 *               vIOMMU has no such events. Without it there are no vEVENTQs
 * @vevent_coalesce: Optional. Does only the latest event of this type count? An
 *                   event then replaces an event that was not read yet, which
 *                   is not a loss, and the queue holds a single event at any
 *                   depth
 * @vdevice_size: Optional. Size of the driver's struct around struct
 *                iommufd_vdevice
 * @vdevice_init: Optional. Check the virt_id and make the vDEVICE known to the
 *                driver. It can be found by iommufd_viommu_find_dev() only
 *                after this has succeeded. Called with a mutex of the iommufd
 *                context held, like @vdevice_destroy
 * @vdevice_destroy: Optional. Undo @vdevice_init. On return nothing may use
 *                   the vDEVICE, except readers inside rcu_read_lock()
 * @mmap_fault: Handle a page fault in a region of
 *              iommufd_viommu_alloc_mmap_fault(), for which this is mandatory.
 *              @index is the page in the region. Must map this page by
 *              vmf_insert_pfn() and return the result, or return
 *              VM_FAULT_SIGBUS. Called with the mmap_lock held
 * @get_hw_queue_size: Size of the driver's struct around struct
 *                     iommufd_hw_queue for a queue of this type (enum
 *                     iommu_hw_queue_type), or 0 if the vIOMMU has no such
 *                     queues. Without it, or without @hw_queue_init_phys, there
 *                     are no HW_QUEUEs
 * @hw_queue_is_written: Optional. Does the hardware write to queues of this
 *                       type? Then read-only memory is not accepted
 * @hw_queue_max_length: Optional. Length of the longest queue of this type, in
 *                       bytes. A longer queue is refused (EINVAL) before the
 *                       core looks at each of its pages
 * @hw_queue_init_phys: Check the queue and start it. @base_addr_pa is its
 *                      physical address. User space chooses the address and the
 *                      length, so the driver must check both. The memory is
 *                      contiguous, and stays as long as the queue exists.
 *                      Errors are EINVAL for @index, the address or the length,
 *                      EEXIST for an index in use, and EIO if a queue that must
 *                      come first is missing. User space cannot destroy the
 *                      queue before this returns, but other threads of the
 *                      driver may use it, and other queues may depend on it,
 *                      immediately
 */
struct iommufd_viommu_ops {
	void (*destroy)(struct iommufd_viommu *viommu);
	struct iommu_domain *
	(*alloc_domain_nested)(struct iommufd_viommu *viommu, u32 flags,
			       const struct iommu_user_data *user_data);
	int (*cache_invalidate)(struct iommufd_viommu *viommu,
				struct iommu_user_data_array *array);
	size_t (*vevent_size)(struct iommufd_viommu *viommu, unsigned int type);
	bool (*vevent_coalesce)(struct iommufd_viommu *viommu,
				unsigned int type);
	size_t vdevice_size;
	int (*vdevice_init)(struct iommufd_vdevice *vdev);
	void (*vdevice_destroy)(struct iommufd_vdevice *vdev);
	vm_fault_t (*mmap_fault)(struct iommufd_viommu *viommu,
				 struct vm_fault *vmf, unsigned long index);
	size_t (*get_hw_queue_size)(struct iommufd_viommu *viommu,
				    unsigned int type);
	bool (*hw_queue_is_written)(struct iommufd_viommu *viommu,
				    unsigned int type);
	size_t (*hw_queue_max_length)(struct iommufd_viommu *viommu,
				      unsigned int type);
	int (*hw_queue_init_phys)(struct iommufd_hw_queue *hw_queue, u32 index,
				  phys_addr_t base_addr_pa);
};

#define IOMMUFD_VEVENT_SIZE_MAX 64

#if IS_ENABLED(CONFIG_IOMMUFD_DRIVER_CORE)
int iommufd_viommu_report_event(struct iommufd_viommu *viommu,
				unsigned int type, const void *data,
				size_t size);
void iommufd_viommu_report_lost(struct iommufd_viommu *viommu,
				unsigned int type);
struct device *iommufd_viommu_find_dev(struct iommufd_viommu *viommu,
				       u64 virt_id);
struct device *iommufd_vdevice_to_device(struct iommufd_vdevice *vdev);

int iommufd_viommu_alloc_mmap(struct iommufd_viommu *viommu, phys_addr_t base,
			      size_t length, unsigned long *offset);
int iommufd_viommu_alloc_mmap_fault(struct iommufd_viommu *viommu,
				    size_t length, unsigned long *offset);
void iommufd_viommu_destroy_mmap(struct iommufd_viommu *viommu,
				 unsigned long offset);
void iommufd_viommu_zap_mmap(struct iommufd_viommu *viommu,
			     unsigned long offset, size_t length);

int iommufd_hw_queue_depend(struct iommufd_hw_queue *on);
void iommufd_hw_queue_undepend(struct iommufd_hw_queue *on);
#endif
#endif
