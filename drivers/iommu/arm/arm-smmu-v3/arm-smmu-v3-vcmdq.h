/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Command queues of a VM, with the interface of NVIDIA's Tegra241 CMDQV.
 */
#ifndef _ARM_SMMU_V3_VCMDQ_H
#define _ARM_SMMU_V3_VCMDQ_H

#include <linux/build_bug.h>
#include <linux/ktime.h>
#include <linux/mutex.h>
#include <linux/sizes.h>
#include <linux/types.h>

#include "arm-smmu-v3-iommufd.h"

struct vhost_task;

/* The smallest values that QEMU accepts */
#define ARM_VCMDQ_VERSION	1
#define ARM_VCMDQ_LOG2_QUEUES	1
#define ARM_VCMDQ_QUEUES	BIT(ARM_VCMDQ_LOG2_QUEUES)
#define ARM_VCMDQ_LOG2_VSIDS	4
#define ARM_VCMDQ_VSID_MAX	GENMASK(19, 0)

/* Limits of all implementations. QEMU uses two queues */
#define ARM_VCMDQ_LOG2_QUEUES_MAX	3
#define ARM_VCMDQ_QUEUES_MAX		BIT(ARM_VCMDQ_LOG2_QUEUES_MAX)
#define ARM_VCMDQ_LOG2_VSIDS_MAX	4
#define ARM_VCMDQ_VSIDS_MAX		BIT(ARM_VCMDQ_LOG2_VSIDS_MAX)

/* "Page 0", and its number of CPU pages. Only the first page has registers */
#define ARM_VCMDQ_PAGE0_SIZE	SZ_64K
#define ARM_VCMDQ_PAGES		(ARM_VCMDQ_PAGE0_SIZE / PAGE_SIZE)

#define ARM_VCMDQ_INDEX		GENMASK(19, 0)
#define ARM_VCMDQ_EN		BIT(0)
#define ARM_VCMDQ_GERROR_CMDQ	BIT(0)

/* Size of a queue in bytes. CONS can only wrap with at least two commands */
#define ARM_VCMDQ_SIZE(_log2size) \
	((size_t)CMDQ_ENT_DWORDS * sizeof(u64) << (_log2size))
#define ARM_VCMDQ_SIZE_MIN	ARM_VCMDQ_SIZE(1)

/**
 * struct arm_vcmdq_regs - The registers of a queue in page 0
 * @cons: RD, the index of the next command, and ERR, an error in this command
 * @prod: WR, the index behind the last command
 * @config: EN, set if the guest wants the queue to be enabled
 * @status: EN_OK, set while the queue is enabled
 * @gerror: CMDQ_ERR, toggled by an error
 * @gerrorn: CMDQ_ERR, set by the guest to the value in @gerror, to acknowledge
 *           the error
 * @reserved: No registers
 *
 * The memory is shared with the guest and the VMM. The worker reads @prod,
 * @config and @gerrorn once in each round, and @cons at the moment when the
 * queue gets enabled. It writes @cons, @status and @gerror and never relies on
 * their values in the memory.
 */
struct arm_vcmdq_regs {
	__le32 cons;
	__le32 prod;
	__le32 config;
	__le32 status;
	__le32 gerror;
	__le32 gerrorn;
	__le32 reserved[26];
};

static_assert(sizeof(struct arm_vcmdq_regs) == 0x80);
static_assert(sizeof(struct arm_vcmdq_regs) * ARM_VCMDQ_QUEUES <= PAGE_SIZE);

/**
 * struct arm_vcmdq - A queue as the worker sees it
 * @base: The queue in the guest's memory, pinned; NULL if there is none
 * @hw_queue: The object of user space, NULL if there is none. All other members
 *            are for the implementation in software
 * @log2size: Log2 of the number of commands that the queue has room for
 * @cons: Index of the next command, with the wrap bit
 * @error: Error in this command, a CMDQ_ERR_CERROR_*. No command is consumed
 *         before the guest has acknowledged the error
 * @gerror: The value of arm_vcmdq_regs::gerror
 * @enabled: Commands are consumed
 * @sync_failed: Commands before the next CMD_SYNC did not complete
 * @prod: arm_vcmdq_regs::prod when it was last read
 * @config: arm_vcmdq_regs::config when it was last read
 * @gerrorn: arm_vcmdq_regs::gerrorn when it was last read
 */
struct arm_vcmdq {
	const __le64 *base;
	struct iommufd_hw_queue *hw_queue;
	unsigned int log2size;
	u32 cons;
	u32 error;
	u32 gerror;
	bool enabled;
	bool sync_failed;
	__le32 prod;
	__le32 config;
	__le32 gerrorn;
};

struct arm_vcmdqv;

/**
 * struct arm_vcmdqv_impl - The difference between hardware and software
 * @size: Size of the struct around struct arm_vcmdqv
 * @hw_info: Fill in the version and the limits, up to ARM_VCMDQ_LOG2_*_MAX
 * @init: Set up page 0 for a new vSMMU, and arm_vcmdqv::offset
 * @destroy: Undo @init. No queue, vDEVICE or mapping is left
 * @start: Optional. Prepare for a queue that is about to be added. Called with
 *         arm_vcmdqv::start_lock
 * @add_queue: Start a queue. The index and the length are valid, and the queue
 *             is aligned to its length. Called with arm_vcmdqv::lock
 * @del_queue: Stop a queue. Its memory is released after this. Called with
 *             arm_vcmdqv::lock
 * @kick: Optional. A queue has been added
 * @vdevice_init: Optional. Translate the virt_id of a vDEVICE in commands. The
 *                core serialises this with @vdevice_destroy
 * @vdevice_destroy: Undo @vdevice_init. Present if @vdevice_init is
 */
struct arm_vcmdqv_impl {
	size_t size;
	void (*hw_info)(struct arm_smmu_device *smmu,
			struct iommu_hw_info_tegra241_cmdqv *info);
	int (*init)(struct arm_vcmdqv *vcmdqv);
	void (*destroy)(struct arm_vcmdqv *vcmdqv);
	int (*start)(struct arm_vcmdqv *vcmdqv);
	int (*add_queue)(struct arm_vcmdqv *vcmdqv, unsigned int index,
			 struct iommufd_hw_queue *hw_queue,
			 phys_addr_t base_pa);
	void (*del_queue)(struct arm_vcmdqv *vcmdqv, unsigned int index);
	void (*kick)(struct arm_vcmdqv *vcmdqv);
	int (*vdevice_init)(struct arm_vcmdqv *vcmdqv,
			    struct iommufd_vdevice *vdev);
	void (*vdevice_destroy)(struct arm_vcmdqv *vcmdqv,
				struct iommufd_vdevice *vdev);
};

/**
 * struct arm_vcmdqv - A vSMMU that has command queues
 * @vsmmu: The vSMMU
 * @impl: The implementation
 * @num_queues: Number of queues that the VM can have
 * @max_vsids: Number of vDEVICEs that the VM can have
 * @regs: The registers in the first page of page 0
 * @pages: Page 0
 * @offset: Offset of page 0 for mmap() of the iommufd
 * @lock: Protects @queues and the worker's writes to @regs. The worker holds it
 *        for a round, so it does not access a queue that was destroyed
 * @queues: The queues
 * @doorbell_lock: Protects @mapped and @worker. Inner to mmap_lock, outer to
 *                 the locks of page tables
 * @mapped: The registers may be in some page table, so that an access need not
 *          fault
 * @kicked: The worker must look at @queues even if no register changed
 * @dead: The process of the worker was killed. Written under @lock
 * @start_lock: Serialises the start of workers
 * @worker: Consumes the commands; NULL before the first queue exists
 * @parked: The worker sleeps unless the doorbell has been rung. Only the worker
 *          uses this and the next six
 * @busy: The last round has found work, so there may be more
 * @idle_since: Time of the last work or doorbell
 * @poll_until: Time at which the worker considers the queues idle
 * @poll_ns: Time for which it polls after work, unless the parameter is less
 * @rare: Number of doorbells in a row that came later, up to a maximum
 * @backoff: Number of doorbells since the last command, up to a maximum
 * @num_vsids: Number of vDEVICEs. Protected by the mutex that the core holds in
 *             iommufd_viommu_ops::vdevice_init and vdevice_destroy
 *
 * All members from @regs on, except @offset, @lock, @start_lock, @num_vsids and
 * arm_vcmdq::hw_queue, are for the implementation in software.
 */
struct arm_vcmdqv {
	struct arm_vsmmu vsmmu;
	const struct arm_vcmdqv_impl *impl;
	unsigned int num_queues;
	unsigned int max_vsids;
	struct arm_vcmdq_regs *regs;
	struct page *pages[ARM_VCMDQ_PAGES];
	unsigned long offset;
	struct mutex lock; /* Protects queues */
	struct arm_vcmdq queues[ARM_VCMDQ_QUEUES_MAX];
	struct mutex doorbell_lock; /* Protects mapped and worker */
	bool mapped;
	bool kicked;
	bool dead;
	struct mutex start_lock; /* Serialises the start of workers */
	struct vhost_task *worker;
	bool parked;
	bool busy;
	ktime_t idle_since;
	ktime_t poll_until;
	u32 poll_ns;
	unsigned int rare;
	unsigned int backoff;
	unsigned int num_vsids;
};

static inline struct arm_vcmdqv *to_vcmdqv(struct iommufd_viommu *viommu)
{
	return container_of(viommu, struct arm_vcmdqv, vsmmu.core);
}

#ifdef CONFIG_ARM_SMMU_V3_VCMDQ
extern const struct arm_vcmdqv_impl tegra241_vm_vintf_impl;

void *arm_vcmdqv_hw_info(struct arm_smmu_device *smmu, u32 *length);
size_t arm_vcmdqv_size(struct arm_smmu_device *smmu);
int arm_vcmdqv_init(struct arm_vsmmu *vsmmu,
		    const struct iommu_user_data *user_data);
int arm_vcmdqv_report_errors(struct arm_vcmdqv *vcmdqv, u64 map);

extern const struct arm_vcmdqv_impl arm_vcmdqv_soft;
vm_fault_t arm_vcmdqv_soft_fault(struct iommufd_viommu *viommu,
				 struct vm_fault *vmf, unsigned long index);
#else
static inline void *arm_vcmdqv_hw_info(struct arm_smmu_device *smmu,
				       u32 *length)
{
	return ERR_PTR(-EOPNOTSUPP);
}

static inline size_t arm_vcmdqv_size(struct arm_smmu_device *smmu)
{
	return 0;
}

static inline int arm_vcmdqv_init(struct arm_vsmmu *vsmmu,
				  const struct iommu_user_data *user_data)
{
	return -EOPNOTSUPP;
}
#endif /* CONFIG_ARM_SMMU_V3_VCMDQ */

#if IS_ENABLED(CONFIG_KUNIT)
extern const struct iommufd_viommu_ops arm_vcmdqv_ops;
void arm_vcmdqv_set_impl(struct arm_vcmdqv *vcmdqv,
			 const struct arm_vcmdqv_impl *impl);
int arm_vcmdqv_add_queue(struct iommufd_hw_queue *hw_queue, u32 index,
			 phys_addr_t base_pa);
void arm_vcmdqv_del_queue(struct iommufd_hw_queue *hw_queue);
bool arm_vcmdqv_round(struct arm_vcmdqv *vcmdqv);
bool arm_vcmdqv_work(void *data);
void arm_vcmdqv_killed(void *data);
#endif
#endif
