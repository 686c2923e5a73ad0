// SPDX-License-Identifier: GPL-2.0-only
/*
 * Attaching, invalidating, unmapping, events and DMA at the same time. Each
 * test is bounded in time.
 */
#include <errno.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "lib/clock.h"
#include "smmuv3_vm.h"

static int replace_once(struct worker *w)
{
	return edu_attach(&w->vm->dev, w->ids[w->turns % 3]);
}

static int invalidate_once(struct worker *w)
{
	struct smmu_cmd cmds[40];
	__u32 num = ARRAY_SIZE(cmds);
	unsigned int i;
	int rc;

	for (i = 0; i != num; i++)
		cmds[i] = cmd_nh_va(0, ASID, IOVA_A);
	cmds[3] = cmd_cfgi_cd(VSID);
	cmds[7] = cmd_nh_all(0);
	cmds[39] = cmd_cfgi_cd_all(VSID);
	rc = viommu_cmds(w->vm->fd, w->vm->v.viommu_id, cmds, &num);
	return !rc && num != ARRAY_SIZE(cmds) ? -EPROTO : rc;
}

static int unmap_once(struct worker *w)
{
	void *mem = w->data;
	int rc;

	rc = ioas_map(w->vm->fd, w->vm->g.ioas_id, mem, HOLE_IPA, HOLE_SIZE,
		      true);
	if (rc)
		return rc;
	return ioas_unmap(w->vm->fd, w->vm->g.ioas_id, HOLE_IPA, HOLE_SIZE);
}

/*
 * Wait until each worker of the NULL-terminated array w->data, if there is one,
 * has had a turn that began after this
 */
static void await_others(struct worker *w)
{
	struct worker **others = w->data;

	for (; others && *others; others++) {
		unsigned long turns = worker_turns(*others);

		while (worker_turns(*others) - turns < 2 &&
		       !__atomic_load_n(&w->stop, __ATOMIC_RELAXED) &&
		       !__atomic_load_n(&(*others)->rc, __ATOMIC_RELAXED))
			sched_yield();
	}
}

/*
 * A command finds the vDEVICE, or fails with EIO. In every other turn, both
 * must happen to each of the other workers: otherwise the vDEVICE, or the time
 * without it, would have a shorter life than a turn of theirs.
 */
static int rename_once(struct worker *w)
{
	bool slow = w->turns & 1;
	__u32 id;
	int rc;

	rc = vdevice_alloc(w->vm->fd, w->vm->v.viommu_id, w->vm->dev.dev_id,
			   VSID, &id);
	if (rc)
		return rc;
	if (slow)
		await_others(w);
	rc = destroy(w->vm->fd, id);
	if (slow)
		await_others(w);
	return rc;
}

static int cfgi_once(struct worker *w)
{
	int rc = vm_cmd(w->vm, cmd_cfgi_cd(VSID));

	if (rc != -EIO)
		return rc;
	w->missed++;
	return 0;
}

TEST_F(nesting, race_replace_invalidate_unmap)
{
	struct vm *vm = &self->vm;
	struct worker workers[] = {
		{ .vm = vm, .once = replace_once },
		{ .vm = vm, .once = invalidate_once },
		{ .vm = vm, .once = invalidate_once },
		{ .vm = vm, .once = unmap_once },
	};
	__u64 a = guest_page(&vm->g), b = guest_page(&vm->g);
	unsigned int i;

	workers[3].data = mmap(NULL, HOLE_SIZE, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, workers[3].data);
	workers[0].ids[0] = vm->g.s2_id;
	workers[0].ids[1] = vm->v.hwpt_s1;
	ASSERT_EQ(0, vm_hwpt(vm, ste_bypass(), &workers[0].ids[2]));
	vm_map(vm, IOVA_A, a);
	ASSERT_EQ(0, edu_attach(&vm->dev, vm->v.hwpt_s1));
	EXPECT_EQ(a, vm_lands(vm, IOVA_A));

	for (i = 0; i != ARRAY_SIZE(workers); i++)
		worker_start(_metadata, &workers[i]);
	workers_meet(_metadata, workers, ARRAY_SIZE(workers));
	for (i = 0; i != ARRAY_SIZE(workers); i++)
		worker_stop(_metadata, &workers[i]);

	/* The VM still works as before */
	ASSERT_EQ(0, edu_attach(&vm->dev, vm->v.hwpt_s1));
	EXPECT_EQ(a, vm_lands(vm, IOVA_A));
	vm_map(vm, IOVA_A, b);
	EXPECT_EQ(a, vm_lands(vm, IOVA_A));
	ASSERT_EQ(0, vm_cmd(vm, cmd_nh_va(0, ASID, IOVA_A)));
	EXPECT_EQ(b, vm_lands(vm, IOVA_A));
}

TEST_F(nesting, race_vdevice_invalidate)
{
	struct vm *vm = &self->vm;
	struct worker workers[] = {
		{ .vm = vm, .once = rename_once },
		{ .vm = vm, .once = cfgi_once },
		{ .vm = vm, .once = cfgi_once },
	};
	struct worker *others[] = { &workers[1], &workers[2], NULL };
	unsigned int i;

	workers[0].data = others;

	ASSERT_EQ(0, edu_attach(&vm->dev, vm->v.hwpt_s1));
	ASSERT_EQ(0, destroy(vm->fd, vm->v.vdevice_id));
	for (i = 0; i != ARRAY_SIZE(workers); i++)
		worker_start(_metadata, &workers[i]);
	workers_meet(_metadata, workers, ARRAY_SIZE(workers));
	for (i = 0; i != ARRAY_SIZE(workers); i++)
		worker_stop(_metadata, &workers[i]);
	for (i = 1; i != ARRAY_SIZE(workers); i++) {
		EXPECT_LT(0, workers[i].missed);
		EXPECT_LT(workers[i].missed, workers[i].turns);
	}
	EXPECT_EQ(-EIO, vm_cmd(vm, cmd_cfgi_cd(VSID)));
}

/* One thread destroys the vDEVICE, and the other finds no vDEVICE */
static int destroy_once(struct worker *w)
{
	__u32 id = __atomic_load_n(&w->vm->v.vdevice_id, __ATOMIC_RELAXED);
	int rc = destroy(w->vm->fd, id);

	/*
	 * The ID may have been reused for the device itself, which VFIO holds
	 */
	return rc == -ENOENT || rc == -EBUSY ? 0 : rc;
}

TEST_F(nesting, race_device_gone)
{
	struct vm *vm = &self->vm;
	struct worker workers[] = {
		{ .vm = vm, .once = destroy_once },
		{ .vm = vm, .once = cfgi_once },
	};
	char bdf[16];
	__u32 id;
	int turn;

	memcpy(bdf, vm->dev.bdf, sizeof(bdf));
	worker_start(_metadata, &workers[0]);
	worker_start(_metadata, &workers[1]);
	for (turn = 0; turn != 10; turn++) {
		edu_close(&vm->dev);
		ASSERT_EQ(0, edu_open(&vm->dev, bdf, vm->fd));
		ASSERT_EQ(0, vdevice_alloc(vm->fd, vm->v.viommu_id,
					   vm->dev.dev_id, VSID, &id));
		__atomic_store_n(&vm->v.vdevice_id, id, __ATOMIC_RELAXED);
		/* Attached to stage 1 only if the vDEVICE still exists */
		if (turn & 1)
			edu_attach(&vm->dev, vm->v.hwpt_s1);
	}
	worker_stop(_metadata, &workers[0]);
	worker_stop(_metadata, &workers[1]);
	ASSERT_EQ(0, edu_attach(&vm->dev, vm->g.s2_id));
}

/*
 * Faults at the rate of edu, while everything on the path of an event changes
 */
static int queue_once(struct worker *w)
{
	struct smmu_event events[8];
	int queue, rc;
	__u32 id;

	rc = veventq_alloc(w->vm->fd, w->vm->v.viommu_id, 1 + w->turns % 16,
			   &id, &queue);
	if (rc)
		return rc;
	if (w->turns & 1)
		usleep(1000);
	if (read(queue, events, sizeof(events)) < 0)
		rc = -errno;
	close(queue);
	return rc ?: destroy(w->vm->fd, id);
}

TEST_F(nesting, race_events)
{
	struct vm *vm = &self->vm;
	struct worker workers[] = {
		{ .vm = vm, .once = rename_once },
		{ .vm = vm, .once = queue_once },
		{ .vm = vm, .once = replace_once },
	};
	time_t end = time(NULL) + 2;
	struct smmu_event event = {};
	unsigned int i;
	__u32 id;
	int queue;

	/* V = 0 reports from another thread. No HWPT here needs a vDEVICE. */
	ASSERT_EQ(0, destroy(vm->fd, vm->v.vdevice_id));
	ASSERT_EQ(0, vm_hwpt(vm, ste_raw(0, 0), &workers[2].ids[0]));
	ASSERT_EQ(0, vm_hwpt(vm, ste_bypass(), &workers[2].ids[1]));
	workers[2].ids[2] = vm->g.s2_id;
	for (i = 0; i != ARRAY_SIZE(workers); i++)
		worker_start(_metadata, &workers[i]);
	while (time(NULL) < end)
		edu_write(&vm->dev, IOVA_A, 0, EDU_BUF_SIZE);
	for (i = 0; i != ARRAY_SIZE(workers); i++)
		worker_stop(_metadata, &workers[i]);

	ASSERT_EQ(0, vdevice_alloc(vm->fd, vm->v.viommu_id, vm->dev.dev_id,
				   VSID_B, NULL));
	ASSERT_EQ(0, edu_attach(&vm->dev, vm->v.hwpt_s1));
	workers[0] = (struct worker){ .vm = vm, .once = queue_once };
	worker_start(_metadata, &workers[0]);
	for (end = time(NULL) + 2; time(NULL) < end;)
		edu_write(&vm->dev, IOVA_A, 0, EDU_BUF_SIZE);
	worker_stop(_metadata, &workers[0]);

	ASSERT_EQ(0, veventq_alloc(vm->fd, vm->v.viommu_id, 1, &id, &queue));
	/* Events of the DMA above may come late, and leave no room for this */
	end = time(NULL) + 60;
	do {
		fault(&vm->dev, IOVA_B, false);
		ASSERT_LT(0, veventq_next(queue, &event));
	} while (le64toh(event.evt[2]) != IOVA_B && time(NULL) < end);
	EXPECT_EQ(IOVA_B, le64toh(event.evt[2]));
	EXPECT_EQ(EVT_TRANSLATION | EVT0_SID(VSID_B), le64toh(event.evt[0]));
	close(queue);
}

/*
 * The guest changes between its own identity map and no translation, as its
 * kernel does at boot, and DMA must not be disturbed
 */
TEST_F(nesting, dma_during_replaces)
{
	struct vm *vm = &self->vm;
	__u64 a = guest_page(&vm->g);
	unsigned int replaces = 0, dmas;
	__u32 ids[4];

	vm_map(vm, a, a);
	ids[0] = vm->v.hwpt_s1;
	ids[1] = vm->g.s2_id;
	ids[2] = vm->v.hwpt_s1;
	ASSERT_EQ(0, vm_hwpt(vm, ste_bypass(), &ids[3]));
	for (dmas = 0; replaces < 1000 || dmas < 8; dmas++) {
		edu_write_start(&vm->dev, &vm->g, a);
		do {
			ASSERT_EQ(0, edu_attach(&vm->dev, ids[replaces % 4]));
			replaces++;
		} while (edu_busy(&vm->dev));
		ASSERT_EQ(a, edu_write_end(&vm->dev, &vm->g, a));
	}
}

/* The same at a finer time scale: each MSI is a write that must arrive */
TEST_F(nesting, msi_during_replaces)
{
	struct vm *vm = &self->vm;
	struct worker w = {
		.vm = vm,
		.once = replace_once,
		.ids = { vm->g.s2_id, vm->v.hwpt_s1 },
	};
	unsigned int lost = 0, sent = 0;
	time_t end;

	s1_map_msi_window(&vm->g, vm->v.ttb);
	ASSERT_EQ(0, vm_hwpt(vm, ste_bypass(), &w.ids[2]));
	ASSERT_EQ(0, edu_msi_enable(&vm->dev));
	worker_start(_metadata, &w);
	end = time(NULL) + 2;
	for (; (time(NULL) < end || sent < 20) && lost < 3; sent++)
		if (!edu_msi_arrives(&vm->dev, LATE_MS))
			lost++;
	worker_stop(_metadata, &w);
	EXPECT_EQ(0, lost) {
		TH_LOG("%u of %u lost in %lu replaces", lost, sent, w.turns);
	}
	EXPECT_LT(0, sent);
}

static void stay_on_cpu(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	/* If there is no such CPU, the test is still valid */
	sched_setaffinity(0, sizeof(set), &set);
}

/* On a busy CPU, a wait for a lock is followed by a wait for the CPU */
static int msi_once(struct worker *w)
{
	int rc;

	if (!w->turns) {
		stay_on_cpu(1);
		setpriority(PRIO_PROCESS, gettid(), 8);
	}
	rc = edu_msi_enable(w->data);
	/* Refused while the device is not attached */
	if (rc == -ENOSPC) {
		w->missed++;
		return 0;
	}
	return rc ?: edu_msi_disable(w->data);
}

static bool msi_was_enabled(const struct worker *w)
{
	unsigned long turns = worker_turns(w);

	return turns > __atomic_load_n(&w->missed, __ATOMIC_RELAXED);
}

static int busy_once(struct worker *w)
{
	if (!w->turns)
		stay_on_cpu(1);
	return 0;
}

/*
 * Interrupts are set up while the domain of the device is detached and freed
 * with its IOAS. KASAN must find any error.
 */
TEST_F(bare, msi_during_detach)
{
	struct worker w = { .once = msi_once, .data = &self->dev };
	struct worker busy = { .once = busy_once };
	unsigned int rounds;
	double end;

	worker_start(_metadata, &w);
	worker_start(_metadata, &busy);
	end = now() + 6;
	/* On a busy machine, it may take long until an interrupt is set up */
	for (rounds = 0; now() < end || rounds < 100 ||
	     (!msi_was_enabled(&w) && now() < end + 60); rounds++) {
		ASSERT_EQ(0, edu_attach(&self->dev, self->ioas_id));
		ASSERT_EQ(0, edu_detach(&self->dev));
	}
	worker_stop(_metadata, &busy);
	worker_stop(_metadata, &w);
	EXPECT_LT(w.missed, w.turns);
	TH_LOG("%u rounds, %lu times an interrupt, %lu times refused", rounds,
	       w.turns - w.missed, w.missed);

	ASSERT_EQ(0, edu_attach(&self->dev, self->ioas_id));
	ASSERT_EQ(0, edu_msi_enable(&self->dev));
	EXPECT_TRUE(edu_msi_arrives(&self->dev, LATE_MS));
}

TEST_HARNESS_MAIN
