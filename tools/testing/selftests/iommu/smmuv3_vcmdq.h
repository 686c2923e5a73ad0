/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A VM with a command queue, shared by the tests smmuv3_vcmdq* and smmuv3_vintf
 *
 * The registers are mapped as a VMM maps them, and the queue is in guest
 * memory. For a queue in software, the kernel must have been booted with
 * arm_smmu_v3.soft_cmdqv=1.
 */
#ifndef __SELFTEST_IOMMU_SMMUV3_VCMDQ_H
#define __SELFTEST_IOMMU_SMMUV3_VCMDQ_H

#include <dirent.h>
#include <stdio.h>
#include <sys/mman.h>

#include "lib/clock.h"
#include "smmuv3_vm.h"

#define CMD_SYNC	0x46

#define PARAM		"/sys/module/arm_smmu_v3/parameters/soft_cmdqv"
#define WORKER		"arm-vcmdq"

#define PAGE0_SIZE	0x10000
#define QUEUE_CMDS	(GUEST_PAGE / 16)
#define QUEUE_WRAP	(2 * QUEUE_CMDS - 1)

/* Time limit for a wait. The kernel polls for microseconds. */
#define SECONDS		20

/* ERR has no meaning unless there is an error */
#define CONS_ERR_ILL	(1U << 24)
#define CONS_ERR_ABT	(2U << 24)

/* The first queue of a vIOMMU, and its registers */
struct cmdqv {
	struct vm *vm;
	struct iommu_viommu_tegra241_cmdqv data;
	__u32 *regs;
	__u32 queue_id;
	__u64 queue_ipa;
	__u32 prod;
};

/* Wait until @cond is true. Evaluates to false if it never was */
#define wait_for(cond)							\
({									\
	double _end = now() + SECONDS;					\
	bool _true;							\
									\
	while (!(_true = (cond)) && now() < _end)			\
		sched_yield();						\
	_true;								\
})

static __u32 reg_read(struct cmdqv *c, unsigned int reg)
{
	return le32toh(__atomic_load_n(&c->regs[reg], __ATOMIC_ACQUIRE));
}

static void reg_write(struct cmdqv *c, unsigned int reg, __u32 val)
{
	__atomic_store_n(&c->regs[reg], htole32(val), __ATOMIC_RELEASE);
}

static int viommu_alloc_data(struct vm *vm, void *data, __u32 len, __u32 *id)
{
	return iommufd_viommu_alloc(vm->fd, vm->dev.dev_id, vm->g.s2_id,
				    IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV, data, len,
				    id);
}

static int queue_alloc(struct cmdqv *c, __u32 index, __u64 ipa, __u64 length,
		       __u32 *id)
{
	return hw_queue_alloc(c->vm->fd, c->vm->v.viommu_id,
			      IOMMU_HW_QUEUE_TYPE_TEGRA241_CMDQV, index, ipa,
			      length, id);
}

static void *map_page0(struct cmdqv *c)
{
	return mmap(NULL, PAGE0_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
		    c->vm->fd, c->data.out_vintf_mmap_offset);
}

static void put(struct cmdqv *c, __u32 at, __u64 word_0, __u64 word_1)
{
	__u64 ipa = c->queue_ipa + 16 * (at % QUEUE_CMDS);

	guest_write64(&c->vm->g, ipa, word_0);
	guest_write64(&c->vm->g, ipa + 8, word_1);
}

static void add(struct cmdqv *c, struct smmu_cmd cmd)
{
	put(c, c->prod, le64toh(cmd.cmd[0]), le64toh(cmd.cmd[1]));
	c->prod = (c->prod + 1) & QUEUE_WRAP;
}

/* Returns true if all commands were consumed */
static bool ring(struct cmdqv *c)
{
	reg_write(c, REG_PROD, c->prod);
	return wait_for((reg_read(c, REG_CONS) & CONS_RD) == c->prod);
}

static bool cmd_sync(struct cmdqv *c, struct smmu_cmd cmd)
{
	add(c, cmd);
	add(c, cmd_raw(CMD_SYNC, 0));
	return ring(c);
}

static bool enable(struct cmdqv *c)
{
	c->prod = 0;
	reg_write(c, REG_PROD, 0);
	reg_write(c, REG_CONS, 0);
	reg_write(c, REG_CONFIG, 1);
	return wait_for(reg_read(c, REG_STATUS) == 1);
}

/* The thread of a process that is a worker, and its status file */
static pid_t worker_status(pid_t pid, char *buf, size_t len)
{
	static const char name[] = "Name:\t" WORKER "\n";
	struct dirent *d;
	char path[300];
	pid_t tid = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	while (!tid && dir && (d = readdir(dir))) {
		snprintf(path, sizeof(path), "/proc/%d/task/%s/status", pid,
			 d->d_name);
		if (!read_str(path, buf, len) &&
		    !strncmp(buf, name, strlen(name)))
			tid = atoi(d->d_name);
	}
	if (dir)
		closedir(dir);
	return tid;
}

static bool has_worker(pid_t pid)
{
	char buf[4096];

	return worker_status(pid, buf, sizeof(buf));
}

/* A task that may run has no channel, whatever its state is */
static bool has_channel(pid_t tid)
{
	char path[64], buf[64];

	snprintf(path, sizeof(path), "/proc/self/task/%d/wchan", tid);
	return read_str(path, buf, sizeof(buf)) || strcmp(buf, "0");
}

/* Returns how often the worker slept, or -1. *asleep: the worker sleeps now */
static long worker_sleeps(bool *asleep)
{
	static const char name[] = "\nvoluntary_ctxt_switches:";
	pid_t tid;
	char buf[4096], *at;

	tid = worker_status(getpid(), buf, sizeof(buf));
	if (!tid)
		return -1;
	if (asleep)
		*asleep = strstr(buf, "\nState:\tS") && has_channel(tid);
	at = strstr(buf, name);
	return at ? atol(at + strlen(name)) : -1;
}

/*
 * Wait until the worker sleeps. It has then taken the registers out of the page
 * tables. A polling worker has the state of a sleeping task for a few
 * instructions at a time, so look more than once.
 */
static bool falls_asleep(void)
{
	double end = now() + SECONDS;
	long sleeps, last = -1;
	unsigned int same = 0;
	bool asleep = false;

	while (same < 20 && now() < end) {
		sleeps = worker_sleeps(&asleep);
		same = asleep && sleeps == last ? same + 1 : 0;
		last = sleeps;
		sched_yield();
	}
	return same == 20;
}

/* A vIOMMU with registers, for a VM that has been started, but no queue */
static void cmdqv_start(struct __test_metadata *_metadata, struct vm *vm,
			struct cmdqv *c)
{
	__u32 type = IOMMU_HW_INFO_TYPE_TEGRA241_CMDQV, len = 0;
	int rc;

	if (_metadata->exit_code)
		return;
	c->vm = vm;
	rc = hw_info(vm->fd, vm->dev.dev_id, IOMMU_HW_INFO_FLAG_INPUT_TYPE,
		     &type, NULL, &len);
	if (rc == -EOPNOTSUPP)
		SKIP(return, "arm_smmu_v3.soft_cmdqv is not set");
	ASSERT_EQ(0, rc);
	ASSERT_EQ(0, viommu_alloc_data(vm, &c->data, sizeof(c->data),
				       &vm->v.viommu_id));
	c->regs = map_page0(c);
	ASSERT_NE(MAP_FAILED, c->regs);
	c->queue_ipa = guest_zero_page(&vm->g);
}

/* A VM with a vDEVICE, and with a queue that is enabled */
FIXTURE(vcmdq)
{
	struct vm vm;
	struct cmdqv c;
};

FIXTURE_SETUP(vcmdq)
{
	struct cmdqv *c = &self->c;
	struct vm *vm = &self->vm;

	vm_start(_metadata, vm);
	cmdqv_start(_metadata, vm, c);
	if (_metadata->exit_code)
		return;
	vsmmu_set_up(_metadata, &vm->v, &vm->g, &vm->dev, VSID);
	ASSERT_EQ(0, queue_alloc(c, 0, c->queue_ipa, GUEST_PAGE, &c->queue_id));
	ASSERT_TRUE(enable(c));
}

/* Close everything at once, like a VMM that has crashed */
FIXTURE_TEARDOWN(vcmdq)
{
	vm_stop(_metadata, &self->vm);
}

#endif
