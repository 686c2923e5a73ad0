// SPDX-License-Identifier: GPL-2.0
/*
 * Command queues of a VM in software, with the interface of NVIDIA's Tegra241
 * CMDQV, for any SMMUv3 that can nest.
 *
 * "Page 0" with the registers is memory that the guest, the VMM and the kernel
 * share, and the commands are consumed by a worker: a thread of the VMM's
 * process, so that the VM pays for its CPU time.
 *
 * Trust: The commands take the same path as those of IOMMU_HWPT_INVALIDATE.
 * They are copied once, checked, and translated in the copy. Page 0 is read as
 * little as possible, see struct arm_vcmdq_regs. In a round, a worker issues at
 * most a single block of commands from each queue and waits for its completion.
 * So a VM occupies the command queue of the SMMU no longer than with a short
 * IOMMU_HWPT_INVALIDATE.
 *
 * The doorbell: While there are commands, the worker polls the registers, and
 * no access of the guest exits. A worker that has found nothing to do for a
 * while removes the registers from all page tables, which includes the stage 2
 * of KVM, and sleeps. The next access faults, and the fault handler maps them
 * again and wakes the worker. In this order no command gets stuck:
 *
 *	guest			fault handler		worker
 *
 *							doorbell_lock
 *							zap, TLBI, DSB
 *							mapped = false
 *							unlock
 *	write the command
 *	write PROD: fault	doorbell_lock
 *				mapped = true
 *				insert the PTE		TASK_INTERRUPTIBLE
 *				wake the worker		smp_mb()
 *				unlock			mapped or a register
 *	write PROD					changed? Go on polling
 *							schedule()
 *
 * A write to a register either uses the mapping that is zapped or faults. In
 * the first case the write is complete at the end of the zap: TLBI and DSB wait
 * for accesses that use the old translation. So the worker sees the write when
 * it reads the registers after the zap. In the second case @mapped is set
 * before the wakeup. As with any wait loop, the worker either sees @mapped or
 * is still woken, since it looks at @mapped after it has set
 * TASK_INTERRUPTIBLE. tools/testing/selftests/iommu/smmuv3_doorbell.c is a
 * model of these steps.
 *
 * A zap may come between a fault and the access. A store then faults again,
 * and so does KVM, which looks the PTE up after the fault.
 *
 * Locks: mmap_lock -> arm_vcmdqv::doorbell_lock -> locks of page tables.
 * arm_vcmdqv::start_lock -> vhost_task::exit_mutex -> arm_vcmdqv::lock. No path
 * takes both doorbell_lock and lock.
 */
#include <kunit/visibility.h>
#include <linux/bitfield.h>
#include <linux/log2.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/sched/vhost_task.h>

#include "arm-smmu-v3-inval.h"
#include "arm-smmu-v3-vcmdq.h"

/*
 * The minimum must be long enough for a guest that has just rung the doorbell
 * to write the register before the next zap.
 */
#define ARM_VCMDQ_POLL_NS_MIN	(10 * NSEC_PER_USEC)
#define ARM_VCMDQ_POLL_NS_MAX	(10 * NSEC_PER_MSEC)
#define ARM_VCMDQ_BACKOFF_MAX	6
/* Doorbells in a row after which the worker polls less */
#define ARM_VCMDQ_RARE		16

/*
 * Fields of a CMD_SYNC that may have any value. With CS == NONE, the fields of
 * the MSI are IGNORED, and Linux guests do not clear them.
 */
#define ARM_VCMDQ_SYNC_0_ANY						\
	(CMDQ_0_OP | CMDQ_SYNC_0_MSH | CMDQ_SYNC_0_MSIATTR |		\
	 CMDQ_SYNC_0_MSIDATA)
#define ARM_VCMDQ_SYNC_1_ANY	CMDQ_SYNC_1_MSIADDR_MASK

static unsigned int soft_cmdqv_poll_ns = 50 * NSEC_PER_USEC;

static int arm_vcmdq_set_poll_ns(const char *val, const struct kernel_param *kp)
{
	return param_set_uint_minmax(val, kp, ARM_VCMDQ_POLL_NS_MIN,
				     ARM_VCMDQ_POLL_NS_MAX);
}

static const struct kernel_param_ops arm_vcmdq_poll_ns_ops = {
	.set = arm_vcmdq_set_poll_ns,
	.get = param_get_uint,
};

module_param_cb(soft_cmdqv_poll_ns, &arm_vcmdq_poll_ns_ops, &soft_cmdqv_poll_ns,
		0644);
MODULE_PARM_DESC(soft_cmdqv_poll_ns,
		 "How long a CMDQV in software polls for commands at most before it sleeps, 10000 to 10000000 ns. (Default: 50000)");

static struct arm_vcmdq_regs *arm_vcmdq_regs(struct arm_vcmdqv *vcmdqv,
					     struct arm_vcmdq *q)
{
	return &vcmdqv->regs[q - vcmdqv->queues];
}

static void arm_vcmdq_write_cons(struct arm_vcmdq *q,
				 struct arm_vcmdq_regs *regs)
{
	u32 val = q->cons | FIELD_PREP(CMDQ_CONS_ERR, q->error);

	/* The guest must not see this before the commands have completed */
	smp_store_release(&regs->cons, cpu_to_le32(val));
}

static void arm_vcmdq_write_gerror(struct arm_vcmdq *q,
				   struct arm_vcmdq_regs *regs, u32 gerror)
{
	q->gerror = gerror;
	/* A guest that sees the error must find its code in CONS */
	smp_store_release(&regs->gerror, cpu_to_le32(gerror));
}

static void arm_vcmdq_set_enabled(struct arm_vcmdq *q,
				  struct arm_vcmdq_regs *regs, bool enabled)
{
	q->enabled = enabled;
	/* The other registers must be valid before STATUS is */
	smp_store_release(&regs->status,
			  cpu_to_le32(enabled ? ARM_VCMDQ_EN : 0));
}

/*
 * As with the hardware, the guest may set the start of a disabled queue. Any
 * value is valid, because it is used modulo the size. An old error is cleared,
 * even if the guest has not acknowledged it.
 */
static void arm_vcmdq_enable(struct arm_vcmdq *q, struct arm_vcmdq_regs *regs)
{
	u32 mask = (2U << q->log2size) - 1;

	q->cons = le32_to_cpu(READ_ONCE(regs->cons)) & mask;
	q->error = CMDQ_ERR_CERROR_NONE_IDX;
	q->sync_failed = false;
	arm_vcmdq_write_cons(q, regs);
	arm_vcmdq_write_gerror(q, regs,
			       le32_to_cpu(q->gerrorn) & ARM_VCMDQ_GERROR_CMDQ);
	arm_vcmdq_set_enabled(q, regs, true);
}

static void arm_vcmdq_raise(struct arm_vcmdqv *vcmdqv, struct arm_vcmdq *q,
			    u32 error)
{
	struct arm_vcmdq_regs *regs = arm_vcmdq_regs(vcmdqv, q);
	u64 map = 0;
	unsigned int i;

	q->error = error;
	arm_vcmdq_write_cons(q, regs);
	/* An error is active if GERROR differs from the guest's GERRORN */
	arm_vcmdq_write_gerror(q, regs, ~le32_to_cpu(q->gerrorn) &
						ARM_VCMDQ_GERROR_CMDQ);

	for (i = 0; i < ARM_VCMDQ_QUEUES; i++)
		if (vcmdqv->queues[i].enabled && vcmdqv->queues[i].error)
			map |= BIT_ULL(i);
	arm_vcmdqv_report_errors(vcmdqv, map);
}

/*
 * Copy commands from @q up to a CMD_SYNC. The CMD_SYNC itself is not issued:
 * the block gets a CMD_SYNC of the driver. Returns the number of commands
 * before the CMD_SYNC. *sync is 1 if it was found, or 0; -EIO if it is illegal;
 * -EFAULT if the next command is in a page with a memory error, since arm64
 * does not survive an access of the kernel to such a page.
 */
static unsigned int arm_vcmdq_copy_block(struct arm_vcmdq *q,
					 struct arm_vsmmu_inv *inv,
					 unsigned int num, int *sync)
{
	u32 mask = (1U << q->log2size) - 1;
	u64 *out = inv->cmds;
	unsigned int i;

	*sync = 0;
	num = min(num, ARM_VSMMU_BLOCK);
	for (i = 0; i < num; i++, out += CMDQ_ENT_DWORDS) {
		const __le64 *cmd =
			q->base + ((q->cons + i) & mask) * CMDQ_ENT_DWORDS;

		if ((!i || PAGE_ALIGNED(cmd)) &&
		    is_page_hwpoison(virt_to_page(cmd))) {
			*sync = -EFAULT;
			break;
		}
		/* The guest may change the command later: use the copy only */
		out[0] = le64_to_cpu(READ_ONCE(cmd[0]));
		out[1] = le64_to_cpu(READ_ONCE(cmd[1]));
		if ((out[0] & CMDQ_0_OP) != CMDQ_OP_CMD_SYNC)
			continue;
		*sync = (out[0] & ~ARM_VCMDQ_SYNC_0_ANY) ||
			(out[1] & ~ARM_VCMDQ_SYNC_1_ANY) ? -EIO : 1;
		break;
	}
	return i;
}

/* Run a block of commands. Returns the error in the command at CONS */
static u32 arm_vcmdq_consume(struct arm_vcmdqv *vcmdqv, struct arm_vcmdq *q,
			     u32 used)
{
	/* arm_vcmdq_copy_block() writes all commands that are used */
	struct arm_vsmmu_inv inv __uninitialized;
	u32 mask = (2U << q->log2size) - 1;
	unsigned int num, good = 0;
	int sync, ret = 0;

	arm_vsmmu_inv_init(&inv, &vcmdqv->vsmmu);
	num = arm_vcmdq_copy_block(q, &inv, used, &sync);
	if (num) {
		/* The block always ends with a CMD_SYNC */
		good = arm_vsmmu_run_block(&inv, num, true, &ret);
		q->cons = (q->cons + good) & mask;
		if (ret == -EIO)
			return CMDQ_ERR_CERROR_ILL_IDX;
		/* As in the hardware, the guest's CMD_SYNC must fail */
		if (ret)
			q->sync_failed = true;
	}
	/* Commands are left for a further block, or there is no CMD_SYNC yet */
	if (good < num || !sync)
		return CMDQ_ERR_CERROR_NONE_IDX;
	if (sync < 0)
		return sync == -EFAULT ? CMDQ_ERR_CERROR_ABT_IDX :
					 CMDQ_ERR_CERROR_ILL_IDX;
	/* Report the failure once: the guest may repeat the CMD_SYNC */
	if (q->sync_failed) {
		q->sync_failed = false;
		return CMDQ_ERR_CERROR_ATC_INV_IDX;
	}
	q->cons = (q->cons + 1) & mask;
	return CMDQ_ERR_CERROR_NONE_IDX;
}

/* Returns true if there was work to do */
static bool arm_vcmdq_run(struct arm_vcmdqv *vcmdqv, struct arm_vcmdq *q)
{
	struct arm_vcmdq_regs *regs = arm_vcmdq_regs(vcmdqv, q);
	u32 mask = (2U << q->log2size) - 1;
	bool enable, busy = false;
	u32 used, error;

	/*
	 * The order matters, and smmuv3_ring.c is a model of it: a queue is set
	 * up before it is enabled, ...
	 */
	WRITE_ONCE(q->config, smp_load_acquire(&regs->config));
	/* ... a bad command is replaced before it is acknowledged, ... */
	WRITE_ONCE(q->gerrorn, smp_load_acquire(&regs->gerrorn));
	/* ... and commands are written before PROD */
	WRITE_ONCE(q->prod, smp_load_acquire(&regs->prod));

	enable = le32_to_cpu(q->config) & ARM_VCMDQ_EN;
	if (enable != q->enabled) {
		if (enable)
			arm_vcmdq_enable(q, regs);
		else
			arm_vcmdq_set_enabled(q, regs, false);
		busy = true;
	}
	if (!enable)
		return busy;

	if (q->error) {
		if ((le32_to_cpu(q->gerrorn) ^ q->gerror) &
		    ARM_VCMDQ_GERROR_CMDQ)
			return busy;
		q->error = CMDQ_ERR_CERROR_NONE_IDX;
		arm_vcmdq_write_cons(q, regs);
		busy = true;
	}

	used = (le32_to_cpu(q->prod) - q->cons) & mask;
	if (!used)
		return busy;

	if (used > 1U << q->log2size)
		error = CMDQ_ERR_CERROR_ABT_IDX;
	else
		error = arm_vcmdq_consume(vcmdqv, q, used);
	if (error)
		arm_vcmdq_raise(vcmdqv, q, error);
	else
		arm_vcmdq_write_cons(q, regs);
	return true;
}

/* A round of the worker. Returns true if there was work to do */
VISIBLE_IF_KUNIT bool arm_vcmdqv_round(struct arm_vcmdqv *vcmdqv)
{
	bool busy = false;
	unsigned int i;

	mutex_lock(&vcmdqv->lock);
	/* Clear this before reading the queues, so that no kick is lost */
	WRITE_ONCE(vcmdqv->kicked, false);
	for (i = 0; i < ARM_VCMDQ_QUEUES; i++)
		if (vcmdqv->queues[i].base)
			busy |= arm_vcmdq_run(vcmdqv, &vcmdqv->queues[i]);
	mutex_unlock(&vcmdqv->lock);
	return busy;
}
EXPORT_SYMBOL_IF_KUNIT(arm_vcmdqv_round);

/*
 * Has a register changed since the last round? This must not sleep, because the
 * task may not be TASK_RUNNING. The last seen values of a queue are written by
 * the worker only, or when the queue is added or removed. This may happen at
 * the same time: the registers stay, and adding a queue kicks the worker.
 */
static bool arm_vcmdqv_changed(struct arm_vcmdqv *vcmdqv)
{
	unsigned int i;

	if (READ_ONCE(vcmdqv->kicked))
		return true;
	for (i = 0; i < ARM_VCMDQ_QUEUES; i++) {
		struct arm_vcmdq_regs *regs = &vcmdqv->regs[i];
		struct arm_vcmdq *q = &vcmdqv->queues[i];

		if (!READ_ONCE(q->base))
			continue;
		if (READ_ONCE(regs->prod) != READ_ONCE(q->prod) ||
		    READ_ONCE(regs->config) != READ_ONCE(q->config) ||
		    READ_ONCE(regs->gerrorn) != READ_ONCE(q->gerrorn))
			return true;
	}
	return false;
}

/* Must the worker look at its queues? */
static bool arm_vcmdqv_rung(struct arm_vcmdqv *vcmdqv)
{
	return READ_ONCE(vcmdqv->mapped) || arm_vcmdqv_changed(vcmdqv);
}

/* Any access to the registers faults after this */
static void arm_vcmdqv_zap(struct arm_vcmdqv *vcmdqv)
{
	mutex_lock(&vcmdqv->doorbell_lock);
	if (vcmdqv->mapped) {
		iommufd_viommu_zap_mmap(&vcmdqv->vsmmu.core, vcmdqv->offset,
					PAGE_SIZE);
		WRITE_ONCE(vcmdqv->mapped, false);
	}
	mutex_unlock(&vcmdqv->doorbell_lock);
}

/*
 * The doorbell rang. Polling until now would have saved the zap, the fault and
 * the wakeup if the queues were idle for no longer than the parameter allows.
 * If they were idle for longer, many times in a row, polling is a waste of CPU
 * time, so poll less, as KVM does for a vCPU that halts.
 *
 * The previous doorbell has brought no command if there is a back-off. Then the
 * guest has read CONS after the zap, because it got no CPU time before, and
 * rings twice for such a command. It needs the longer time.
 */
static void arm_vcmdqv_adapt(struct arm_vcmdqv *vcmdqv, ktime_t now, u32 most)
{
	if (vcmdqv->backoff ||
	    ktime_to_ns(ktime_sub(now, vcmdqv->idle_since)) <= most) {
		vcmdqv->poll_ns = most;
		vcmdqv->rare = 0;
	} else if (vcmdqv->rare < ARM_VCMDQ_RARE) {
		vcmdqv->rare++;
	} else {
		vcmdqv->poll_ns = max_t(u32, min(vcmdqv->poll_ns, most) / 2,
					ARM_VCMDQ_POLL_NS_MIN);
	}
}

/*
 * The function of the worker. vhost_task_fn() sets TASK_INTERRUPTIBLE, checks
 * for a vhost_task_stop(), calls this function, and sleeps if it returns false.
 * Setting the state here would lose the wakeup of a stop. So this returns true
 * after the zap, and checks the registers again in the next call.
 */
VISIBLE_IF_KUNIT bool arm_vcmdqv_work(void *data)
{
	struct arm_vcmdqv *vcmdqv = data;
	u32 most = READ_ONCE(soft_cmdqv_poll_ns);
	ktime_t now;
	u64 poll_ns;

	if (vcmdqv->parked) {
		if (!arm_vcmdqv_rung(vcmdqv))
			return false;
		now = ktime_get();
		arm_vcmdqv_adapt(vcmdqv, now, most);
		/*
		 * On a host with few CPUs, the worker may take the CPU of the
		 * guest that has rung the doorbell, and zap the mapping before
		 * the guest could use it. Give the guest more time in each
		 * attempt.
		 */
		poll_ns = (u64)most << vcmdqv->backoff;
		poll_ns = min_t(u64, poll_ns, ARM_VCMDQ_POLL_NS_MAX);
		vcmdqv->idle_since = now;
		vcmdqv->poll_until = ktime_add_ns(now, poll_ns);
		if (vcmdqv->backoff < ARM_VCMDQ_BACKOFF_MAX)
			vcmdqv->backoff++;
		vcmdqv->parked = false;
	}
	__set_current_state(TASK_RUNNING);

	/* A poll that finds nothing only reads the registers */
	if (vcmdqv->busy || arm_vcmdqv_changed(vcmdqv))
		vcmdqv->busy = arm_vcmdqv_round(vcmdqv);
	if (vcmdqv->busy) {
		poll_ns = min(vcmdqv->poll_ns, most);
		vcmdqv->idle_since = ktime_get();
		vcmdqv->poll_until = ktime_add_ns(vcmdqv->idle_since, poll_ns);
		vcmdqv->backoff = 0;
	} else if (ktime_before(ktime_get(), vcmdqv->poll_until)) {
		cpu_relax();
	} else {
		arm_vcmdqv_zap(vcmdqv);
		vcmdqv->parked = true;
	}
	cond_resched();
	return true;
}
EXPORT_SYMBOL_IF_KUNIT(arm_vcmdqv_work);

/* The worker was killed with its process: no queue runs until a new start */
VISIBLE_IF_KUNIT void arm_vcmdqv_killed(void *data)
{
	struct arm_vcmdqv *vcmdqv = data;
	unsigned int i;

	mutex_lock(&vcmdqv->lock);
	WRITE_ONCE(vcmdqv->dead, true);
	for (i = 0; i < ARM_VCMDQ_QUEUES; i++)
		if (vcmdqv->queues[i].base)
			arm_vcmdq_set_enabled(&vcmdqv->queues[i],
					      &vcmdqv->regs[i], false);
	mutex_unlock(&vcmdqv->lock);
}
EXPORT_SYMBOL_IF_KUNIT(arm_vcmdqv_killed);

static void arm_vcmdqv_kick(struct arm_vcmdqv *vcmdqv)
{
	WRITE_ONCE(vcmdqv->kicked, true);
	mutex_lock(&vcmdqv->doorbell_lock);
	if (vcmdqv->worker)
		vhost_task_wake(vcmdqv->worker);
	mutex_unlock(&vcmdqv->doorbell_lock);
}

/**
 * arm_vcmdqv_soft_fault - Map a page of page 0, and ring the doorbell
 * @viommu: The vSMMU, which has queues in software
 * @vmf: The fault
 * @index: Index of the page in page 0
 *
 * The op iommufd_viommu_ops::mmap_fault. Other implementations have no such
 * mappings.
 *
 * Context: Holds the mmap_lock.
 * Return: VM_FAULT_NOPAGE, or the error of vmf_insert_pfn().
 */
vm_fault_t arm_vcmdqv_soft_fault(struct iommufd_viommu *viommu,
				 struct vm_fault *vmf, unsigned long index)
{
	struct arm_vcmdqv *vcmdqv = to_vcmdqv(viommu);
	vm_fault_t ret;

	if (index)
		return vmf_insert_pfn(vmf->vma, vmf->address,
				      page_to_pfn(vcmdqv->pages[index]));

	mutex_lock(&vcmdqv->doorbell_lock);
	/* This must precede the wakeup, see the top of the file */
	WRITE_ONCE(vcmdqv->mapped, true);
	ret = vmf_insert_pfn(vmf->vma, vmf->address,
			     page_to_pfn(vcmdqv->pages[0]));
	if (vcmdqv->worker)
		vhost_task_wake(vcmdqv->worker);
	mutex_unlock(&vcmdqv->doorbell_lock);
	return ret;
}

/* Make sure that a worker runs. It is started with the first queue */
static int arm_vcmdqv_start(struct arm_vcmdqv *vcmdqv)
{
	struct vhost_task *worker, *old;

	lockdep_assert_held(&vcmdqv->start_lock);

	if (vcmdqv->worker && !READ_ONCE(vcmdqv->dead))
		return 0;

	worker = vhost_task_create(arm_vcmdqv_work, arm_vcmdqv_killed, vcmdqv,
				   "arm-vcmdq");
	if (IS_ERR_OR_NULL(worker))
		return worker ? PTR_ERR(worker) : -ENOMEM;

	mutex_lock(&vcmdqv->doorbell_lock);
	old = vcmdqv->worker;
	vcmdqv->worker = worker;
	mutex_unlock(&vcmdqv->doorbell_lock);
	/* The old worker has exited; this only frees it */
	if (old)
		vhost_task_stop(old);
	WRITE_ONCE(vcmdqv->dead, false);
	vcmdqv->parked = false;
	vcmdqv->poll_ns = ARM_VCMDQ_POLL_NS_MAX;
	vcmdqv->rare = 0;
	vhost_task_start(worker);
	return 0;
}

static void arm_vcmdq_clear(struct arm_vcmdq *q, struct arm_vcmdq_regs *regs)
{
	/* arm_vcmdqv_changed() may read this, and then causes a round at most */
	data_race(*q = (struct arm_vcmdq){});
	WRITE_ONCE(regs->config, 0);
	WRITE_ONCE(regs->status, 0);
	WRITE_ONCE(regs->prod, 0);
	WRITE_ONCE(regs->cons, 0);
	WRITE_ONCE(regs->gerror, 0);
	WRITE_ONCE(regs->gerrorn, 0);
}

static int arm_vcmdqv_soft_add(struct arm_vcmdqv *vcmdqv, unsigned int index,
			       struct iommufd_hw_queue *hw_queue,
			       phys_addr_t base_pa)
{
	struct arm_vcmdq *q = &vcmdqv->queues[index];

	arm_vcmdq_clear(q, &vcmdqv->regs[index]);
	q->log2size = ilog2(hw_queue->length / ARM_VCMDQ_SIZE(0));
	WRITE_ONCE(q->base, phys_to_virt(base_pa));
	return 0;
}

static void arm_vcmdqv_soft_del(struct arm_vcmdqv *vcmdqv, unsigned int index)
{
	arm_vcmdq_clear(&vcmdqv->queues[index], &vcmdqv->regs[index]);
}

static void arm_vcmdqv_free_pages(struct arm_vcmdqv *vcmdqv)
{
	unsigned int i;

	for (i = 0; i < ARM_VCMDQ_PAGES && vcmdqv->pages[i]; i++)
		__free_page(vcmdqv->pages[i]);
}

static void arm_vcmdqv_soft_destroy(struct arm_vcmdqv *vcmdqv)
{
	if (vcmdqv->worker)
		vhost_task_stop(vcmdqv->worker);
	iommufd_viommu_destroy_mmap(&vcmdqv->vsmmu.core, vcmdqv->offset);
	arm_vcmdqv_free_pages(vcmdqv);
}

static void arm_vcmdqv_soft_hw_info(struct arm_smmu_device *smmu,
				    struct iommu_hw_info_tegra241_cmdqv *info)
{
	info->version = ARM_VCMDQ_VERSION;
	info->log2vcmdqs = ARM_VCMDQ_LOG2_QUEUES;
	info->log2vsids = ARM_VCMDQ_LOG2_VSIDS;
}

static int arm_vcmdqv_soft_init(struct arm_vcmdqv *vcmdqv)
{
	unsigned int i;
	int ret;

	mutex_init(&vcmdqv->doorbell_lock);
	/*
	 * Allocate single pages: KVM takes references, which the tail pages of
	 * a larger block do not have.
	 */
	for (i = 0; i < ARM_VCMDQ_PAGES; i++) {
		vcmdqv->pages[i] = alloc_page(GFP_KERNEL_ACCOUNT | __GFP_ZERO);
		if (!vcmdqv->pages[i]) {
			ret = -ENOMEM;
			goto out_free;
		}
	}
	vcmdqv->regs = page_address(vcmdqv->pages[0]);

	ret = iommufd_viommu_alloc_mmap_fault(&vcmdqv->vsmmu.core,
					      ARM_VCMDQ_PAGE0_SIZE,
					      &vcmdqv->offset);
	if (ret)
		goto out_free;
	return 0;

out_free:
	arm_vcmdqv_free_pages(vcmdqv);
	return ret;
}

const struct arm_vcmdqv_impl arm_vcmdqv_soft = {
	.size = VIOMMU_STRUCT_SIZE(struct arm_vcmdqv, vsmmu.core),
	.hw_info = arm_vcmdqv_soft_hw_info,
	.init = arm_vcmdqv_soft_init,
	.destroy = arm_vcmdqv_soft_destroy,
	.start = arm_vcmdqv_start,
	.add_queue = arm_vcmdqv_soft_add,
	.del_queue = arm_vcmdqv_soft_del,
	.kick = arm_vcmdqv_kick,
};
EXPORT_SYMBOL_IF_KUNIT(arm_vcmdqv_soft);
