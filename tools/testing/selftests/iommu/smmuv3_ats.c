// SPDX-License-Identifier: GPL-2.0-only
/*
 * ATS of a device in a guest, judged by DMA. The device is an edu-pcie, which
 * keeps translations in a cache of its own (ATC). The tests control its answers
 * to invalidations.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include <linux/vfio.h>

#include "lib/clock.h"
#include "lib/hwpoison.h"
#include "smmuv3_vm.h"

/* The limit of a wait that must succeed */
#define SECONDS		60

static struct iommu_hwpt_arm_smmuv3 ste_eats(__u64 cd)
{
	struct iommu_hwpt_arm_smmuv3 ste = ste_s1(cd);

	ste.ste[1] |= htole64(STE1_EATS(1));
	return ste;
}

static void ats_start(struct __test_metadata *_metadata, struct vm *vm,
		      __u32 *eats)
{
	vm_start_nesting(_metadata, vm);
	if (_metadata->exit_code)
		return;
	if (!(vm->dev.info.idr[0] & IDR0_ATS))
		SKIP(return, "this SMMU has no ATS");
	if (!edu_is_pcie(&vm->dev))
		SKIP(return, "this edu has no ATS");
	ASSERT_EQ(0, vm_hwpt(vm, ste_eats(vm->v.cd), eats));
	ASSERT_EQ(0, edu_attach(&vm->dev, *eats));
	vm->dev.dma_flags = EDU_DMA_ATS;
}

/* A guest with ATS, whose device is attached by an STE with EATS */
FIXTURE(ats)
{
	struct vm vm;
	__u32 eats;
};

FIXTURE_SETUP(ats)
{
	ats_start(_metadata, &self->vm, &self->eats);
}

FIXTURE_TEARDOWN(ats)
{
	vm_stop(_metadata, &self->vm);
}

static __u64 hits(struct vm *vm)
{
	return edu_reg(&vm->dev, EDU_REG_ATC_HITS);
}

static __u64 misses(struct vm *vm)
{
	return edu_reg(&vm->dev, EDU_REG_ATC_MISSES);
}

static __u64 invs(struct vm *vm)
{
	return edu_reg(&vm->dev, EDU_REG_ATC_INVS);
}

TEST_F(ats, dma)
{
	struct vm *vm = &self->vm;
	__u64 a = guest_page(&vm->g), ro = guest_page(&vm->g);
	__u64 had = misses(vm), hit = hits(vm);

	vm_map(vm, IOVA_A, a);
	s1_map(&vm->g, vm->v.ttb, IOVA_B, ro, S1_RO);
	EXPECT_EQ(a, vm_lands(vm, IOVA_A));
	EXPECT_EQ(had + 1, misses(vm));
	EXPECT_EQ(a, vm_lands(vm, IOVA_A));
	EXPECT_TRUE(edu_read_gets(&vm->dev, &vm->g, IOVA_B, ro, IOVA_A, a));
	EXPECT_FALSE(edu_failed(&vm->dev));
	EXPECT_EQ(had + 2, misses(vm));
	EXPECT_EQ(hit + 2, hits(vm));

	/* The completion of the request has the rights of the page */
	EXPECT_EQ(NOWHERE, vm_lands(vm, IOVA_B));
	EXPECT_TRUE(edu_failed(&vm->dev));
	EXPECT_EQ(NOWHERE, vm_lands(vm, IOVA_C));
	EXPECT_TRUE(edu_failed(&vm->dev));
}

/* A Translation Request that faults causes no event for guest or host */
TEST_F(ats, no_event)
{
	struct vm *vm = &self->vm;
	int queue;

	ASSERT_EQ(0, veventq_alloc(vm->fd, vm->v.viommu_id, QUEUE_DEPTH, NULL,
				   &queue));
	EXPECT_EQ(NOWHERE, vm_lands(vm, IOVA_A));
	/* This request is the first that reports an event */
	vm->dev.dma_flags = 0;
	fault(&vm->dev, IOVA_B, false);
	expect_event(_metadata, queue, 0, EVT_TRANSLATION, VSID, EVT1_CLASS_IN,
		     IOVA_B);
	expect_no_event(_metadata, queue);
	EXPECT_EQ(0, klog_count(HOST_EVENT));
	close(queue);
}

/*
 * A device that ignores its control register gets no ATS without EATS, and must
 * not claim that an address is translated.
 */
TEST_F(ats, refused_without_eats)
{
	struct vm *vm = &self->vm;
	__u64 a = guest_page(&vm->g);
	__u64 pa = pfn_of(guest_ptr(&vm->g, a)) * GUEST_PAGE;
	__u32 bypass;
	int i;

	ASSERT_NE(0, pa);
	ASSERT_EQ(0, vm_hwpt(vm, ste_bypass(), &bypass));
	vm_map(vm, IOVA_A, a);

	/* This is ATS at work: the SMMU does not look at translated addresses */
	vm->dev.dma_flags = EDU_DMA_TRANSLATED;
	EXPECT_EQ(a, vm_lands(vm, pa));

	for (i = 0; i != 2; i++) {
		__u64 had = misses(vm), hit = hits(vm);

		ASSERT_EQ(0, edu_attach(&vm->dev, vm->v.hwpt_s1));
		vm->dev.dma_flags = 0;
		EXPECT_EQ(a, vm_lands(vm, IOVA_A));
		vm->dev.dma_flags = EDU_DMA_ATS;
		EXPECT_EQ(NOWHERE, vm_lands(vm, IOVA_A));
		/* The device does not even ask, because its ATS is disabled */
		EXPECT_EQ(had, misses(vm));
		EXPECT_EQ(0, klog_count(HOST_EVENT "05"));

		vm->dev.dma_flags = EDU_DMA_ATS | EDU_DMA_ROGUE;
		EXPECT_EQ(NOWHERE, vm_lands(vm, IOVA_A));
		EXPECT_EQ(had + 1, misses(vm));
		vm->dev.dma_flags = EDU_DMA_TRANSLATED;
		EXPECT_EQ(NOWHERE, vm_lands(vm, pa));
		EXPECT_TRUE(edu_failed(&vm->dev));
		EXPECT_EQ(hit, hits(vm));

		/* An abort, and a device that is attached to nothing */
		ASSERT_EQ(0, edu_detach(&vm->dev));
		EXPECT_EQ(NOWHERE, vm_lands(vm, pa));

		ASSERT_EQ(0, edu_attach(&vm->dev, self->eats));
		EXPECT_EQ(a, vm_lands(vm, pa));
		klog_mark(_metadata->name);
	}
}

/* TLBI is for the SMMU, and ATC_INV for the device */
TEST_F(ats, invalidate)
{
	struct vm *vm = &self->vm;
	__u64 a = guest_page(&vm->g), b = guest_page(&vm->g);
	__u64 hit, inv = invs(vm);

	vm_map(vm, IOVA_A, a);
	EXPECT_EQ(a, vm_lands(vm, IOVA_A));
	vm_map(vm, IOVA_A, b);
	ASSERT_EQ(0, vm_cmd(vm, cmd_nh_all(any_vmid())));
	hit = hits(vm);
	EXPECT_EQ(a, vm_lands(vm, IOVA_A));
	EXPECT_EQ(hit + 1, hits(vm));
	EXPECT_EQ(inv, invs(vm));
	ASSERT_EQ(0, vm_cmd(vm, cmd_atc_inv(VSID, IOVA_A, 0)));
	EXPECT_EQ(inv + 1, invs(vm));
	EXPECT_EQ(b, vm_lands(vm, IOVA_A));
	EXPECT_EQ(hit + 1, hits(vm));

	/* ATC_INV is not for the SMMU */
	vm_map(vm, IOVA_A, a);
	ASSERT_EQ(0, vm_cmd(vm, cmd_atc_inv(VSID, IOVA_A, 0)));
	EXPECT_EQ(b, vm_lands(vm, IOVA_A));
	ASSERT_EQ(0, vm_cmd(vm, cmd_nh_va(any_vmid(), ASID, IOVA_A)));
	ASSERT_EQ(0, vm_cmd(vm, cmd_atc_inv(VSID, IOVA_A, 0)));
	EXPECT_EQ(a, vm_lands(vm, IOVA_A));
}

/* The range of an ATC_INV, and its device */
TEST_F(ats, range)
{
	static const __u64 iova[] = { IOVA_A, IOVA_B, IOVA_C };
	struct vm *vm = &self->vm;
	__u64 old[3], new[3];
	int i;

	for (i = 0; i != 3; i++) {
		old[i] = guest_page(&vm->g);
		new[i] = guest_page(&vm->g);
		vm_map(vm, iova[i], old[i]);
		EXPECT_EQ(old[i], vm_lands(vm, iova[i]));
		vm_map(vm, iova[i], new[i]);
	}
	ASSERT_EQ(0, vm_cmd(vm, cmd_nsnh_all()));
	EXPECT_EQ(-EIO, vm_cmd(vm, cmd_atc_inv(VSID + 1, 0, ATC_INV_ALL)));
	EXPECT_EQ(-EIO, vm_cmd(vm, cmd_atc_inv(VSID, 0, ATC_INV_ALL + 1)));
	ASSERT_EQ(0, vm_cmd(vm, cmd_atc_inv(VSID, IOVA_A - GUEST_PAGE, 0)));
	EXPECT_EQ(old[0], vm_lands(vm, IOVA_A));
	EXPECT_EQ(old[1], vm_lands(vm, IOVA_B));
	ASSERT_EQ(0, vm_cmd(vm, cmd_atc_inv(VSID, IOVA_A, 0)));
	EXPECT_EQ(new[0], vm_lands(vm, IOVA_A));
	EXPECT_EQ(old[1], vm_lands(vm, IOVA_B));
	/* The 16K around both pages */
	ASSERT_EQ(0, vm_cmd(vm, cmd_atc_inv(VSID, IOVA_A & ~0x3fffULL, 2)));
	EXPECT_EQ(new[1], vm_lands(vm, IOVA_B));
	EXPECT_EQ(old[2], vm_lands(vm, IOVA_C));
	ASSERT_EQ(0, vm_cmd(vm, cmd_atc_inv(VSID, 0, ATC_INV_ALL)));
	EXPECT_EQ(new[2], vm_lands(vm, IOVA_C));
}

/*
 * Without EATS, ATC_INVs of the guest have no effect. When the guest has EATS
 * again, the ATC must be empty.
 */
TEST_F(ats, eats_off_and_on)
{
	struct vm *vm = &self->vm;
	__u64 a = guest_page(&vm->g), b = guest_page(&vm->g);
	__u64 inv;
	int i;

	for (i = 0; i != 4; i++) {
		vm_map(vm, IOVA_A, a);
		ASSERT_EQ(0, vm_cmd(vm, cmd_nh_all(any_vmid())));
		ASSERT_EQ(0, vm_cmd(vm, cmd_atc_inv(VSID, IOVA_A, 0)));
		EXPECT_EQ(a, vm_lands(vm, IOVA_A));
		ASSERT_EQ(0, edu_attach(&vm->dev, vm->v.hwpt_s1));
		vm_map(vm, IOVA_A, b);
		ASSERT_EQ(0, vm_cmd(vm, cmd_nh_all(any_vmid())));
		inv = invs(vm);
		ASSERT_EQ(0, vm_cmd(vm, cmd_atc_inv(VSID, IOVA_A, 0)));
		EXPECT_EQ(inv, invs(vm));
		vm->dev.dma_flags = 0;
		EXPECT_EQ(b, vm_lands(vm, IOVA_A));
		vm->dev.dma_flags = EDU_DMA_ATS;
		ASSERT_EQ(0, edu_attach(&vm->dev, self->eats));
		EXPECT_EQ(b, vm_lands(vm, IOVA_A));
	}
}

/* Number of DMAs with ATS, and without it: enough for each step of an attach */
#define MANY_DMAS	300

static int switch_eats(struct worker *w)
{
	return edu_attach(&w->vm->dev, w->ids[w->turns & 1]);
}

/*
 * The same during DMA. At any time the device either has ATS or not: a request
 * that it has translated must never be refused, because this would be an event
 * for the host.
 */
TEST_F_TIMEOUT(ats, eats_under_dma, 300)
{
	struct vm *vm = &self->vm;
	struct worker w = {
		.vm = vm,
		.once = switch_eats,
		.ids = { vm->v.hwpt_s1, self->eats },
	};
	time_t end = time(NULL) + 240;
	unsigned int dmas[2] = {};
	__u64 a = guest_page(&vm->g);

	vm_map(vm, IOVA_A, a);
	guest_expect(&vm->g, a, vm->dev.buf, FAULT_SIZE);
	worker_start(_metadata, &w);
	while ((dmas[0] < MANY_DMAS || dmas[1] < MANY_DMAS) && time(NULL) < end) {
		edu_write(&vm->dev, IOVA_A, 0, FAULT_SIZE);
		dmas[edu_failed(&vm->dev)]++;
	}
	worker_stop(_metadata, &w);
	EXPECT_LE(MANY_DMAS, dmas[0]);
	EXPECT_LE(MANY_DMAS, dmas[1]);
	EXPECT_TRUE(guests_intact());
	EXPECT_EQ(0, klog_count(HOST_EVENT));
	ASSERT_EQ(0, edu_attach(&vm->dev, self->eats));
	EXPECT_EQ(a, vm_lands(vm, IOVA_A));
}

/* A translation does not outlive its domain, though ATS stays on */
TEST_F(ats, other_domain)
{
	struct vm *vm = &self->vm;
	__u64 a = guest_page(&vm->g), b = guest_page(&vm->g);
	__u64 ttb = s1_create(&vm->g);
	__u64 cd = guest_zero_page(&vm->g);
	__u32 other, bypass;

	vm_map(vm, IOVA_A, a);
	s1_map(&vm->g, ttb, IOVA_A, b, S1_RW);
	cd_write(&vm->g, &vm->dev, cd, ttb, ASID_B);
	ASSERT_EQ(0, vm_hwpt(vm, ste_eats(cd), &other));
	ASSERT_EQ(0, vm_hwpt(vm, ste_bypass(), &bypass));
	EXPECT_EQ(a, vm_lands(vm, IOVA_A));
	ASSERT_EQ(0, edu_attach(&vm->dev, other));
	EXPECT_EQ(b, vm_lands(vm, IOVA_A));
	ASSERT_EQ(0, edu_attach(&vm->dev, bypass));
	EXPECT_EQ(NOWHERE, vm_lands(vm, IOVA_A));
	EXPECT_EQ(a, vm_lands(vm, a));
	ASSERT_EQ(0, edu_attach(&vm->dev, self->eats));
	EXPECT_EQ(a, vm_lands(vm, IOVA_A));
	EXPECT_EQ(NOWHERE, vm_lands(vm, a));
	ASSERT_EQ(0, edu_attach(&vm->dev, vm->g.s2_id));
	EXPECT_EQ(NOWHERE, vm_lands(vm, IOVA_A));
	EXPECT_EQ(b, vm_lands(vm, b));

	/* Translations do not outlive a time without ATS either */
	ASSERT_EQ(0, edu_attach(&vm->dev, self->eats));
	EXPECT_EQ(a, vm_lands(vm, IOVA_A));
	ASSERT_EQ(0, edu_detach(&vm->dev));
	EXPECT_EQ(NOWHERE, vm_lands(vm, IOVA_A));
	ASSERT_EQ(0, edu_attach(&vm->dev, vm->g.s2_id));
	EXPECT_EQ(NOWHERE, vm_lands(vm, IOVA_A));
	EXPECT_EQ(b, vm_lands(vm, b));
}

/* The guest does not know of an unmap by its VMM. The host sends ATC_INVs. */
TEST_F(ats, stage2_unmap)
{
	struct vm *vm = &self->vm;
	__u64 hit, inv;
	int i;

	for (i = 0; i != 3; i++) {
		ASSERT_EQ(0, guest_map(&vm->g, HOLE_IPA, HOLE_SIZE, true));
		vm_map(vm, IOVA_A, HOLE_IPA + 0x3000);
		ASSERT_EQ(0, vm_cmd(vm, cmd_nh_all(any_vmid())));
		EXPECT_EQ(HOLE_IPA + 0x3000, vm_lands(vm, IOVA_A));
		EXPECT_EQ(HOLE_IPA + 0x3000, vm_lands(vm, IOVA_A));
		hit = hits(vm);
		inv = invs(vm);
		ASSERT_EQ(0, guest_unmap(&vm->g, HOLE_IPA));
		EXPECT_LT(inv, invs(vm));
		EXPECT_EQ(NOWHERE, vm_lands(vm, IOVA_A));
		EXPECT_EQ(hit, hits(vm));
	}
}

/* The same for domains of the host, of each stage */
TEST_F(ats, host_unmap)
{
	struct vm *vm = &self->vm;
	__u32 pt[2] = { vm->g.ioas_id, vm->g.s2_id };
	__u64 hit;
	int i;

	for (i = 0; i != 2; i++) {
		ASSERT_EQ(0, edu_attach(&vm->dev, pt[i]));
		ASSERT_EQ(0, guest_map(&vm->g, HOLE_IPA, HOLE_SIZE, true));
		EXPECT_EQ(HOLE_IPA, vm_lands(vm, HOLE_IPA));
		EXPECT_EQ(HOLE_IPA, vm_lands(vm, HOLE_IPA));
		hit = hits(vm);
		ASSERT_EQ(0, guest_unmap(&vm->g, HOLE_IPA));
		EXPECT_EQ(NOWHERE, vm_lands(vm, HOLE_IPA));
		EXPECT_EQ(hit, hits(vm));
	}
}

/* A reset empties the ATC, and ATS is on again after it */
TEST_F(ats, reset)
{
	struct vm *vm = &self->vm;
	__u64 a = guest_page(&vm->g), b = guest_page(&vm->g);
	__u64 had;

	vm_map(vm, IOVA_A, a);
	vm_map(vm, IOVA_B, b);
	EXPECT_EQ(a, vm_lands(vm, IOVA_A));
	ASSERT_EQ(0, edu_reset(&vm->dev));
	had = misses(vm);
	edu_load(&vm->dev, &vm->g, IOVA_B, b);
	EXPECT_FALSE(edu_failed(&vm->dev));
	EXPECT_EQ(a, vm_lands(vm, IOVA_A));
	EXPECT_EQ(had + 2, misses(vm));
	/* ATC_INVs arrive again */
	vm_map(vm, IOVA_A, b);
	ASSERT_EQ(0, vm_cmd(vm, cmd_nh_all(any_vmid())));
	EXPECT_EQ(a, vm_lands(vm, IOVA_A));
	ASSERT_EQ(0, vm_cmd(vm, cmd_atc_inv(VSID, IOVA_A, 0)));
	EXPECT_EQ(b, vm_lands(vm, IOVA_A));
}

/*
 * The driver waits for a CMD_SYNC with interrupts off. Therefore the calls that
 * wait for the device run on CPU 1. CPU 0 remains for the test and for the
 * interrupts of the SMMU.
 */
static int run_on(int cpu)
{
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(cpu, &cpus);
	return sched_setaffinity(0, sizeof(cpus), &cpus);
}

/* A call in a thread of its own */
struct call {
	struct vm *vm;
	int (*fn)(struct vm *vm);
	pthread_t thread;
	bool done;
	int rc;
};

static void *call_run(void *arg)
{
	struct call *c = arg;

	c->rc = run_on(1) ? -errno : c->fn(c->vm);
	__atomic_store_n(&c->done, true, __ATOMIC_RELEASE);
	return NULL;
}

static void call_start(struct __test_metadata *_metadata, struct call *c)
{
	ASSERT_EQ(0, run_on(0));
	ASSERT_EQ(0, pthread_create(&c->thread, NULL, call_run, c));
}

static bool call_done(struct call *c)
{
	return __atomic_load_n(&c->done, __ATOMIC_ACQUIRE);
}

static int call_end(struct call *c)
{
	pthread_join(c->thread, NULL);
	return c->rc;
}

static int inv_a(struct vm *vm)
{
	return vm_cmd(vm, cmd_atc_inv(VSID, IOVA_A, 0));
}

static int unmap_hole(struct vm *vm)
{
	return guest_unmap(&vm->g, HOLE_IPA);
}

static int reset(struct vm *vm)
{
	return edu_reset(&vm->dev);
}

static int attach_s1(struct vm *vm)
{
	return edu_attach(&vm->dev, vm->v.hwpt_s1);
}

/* Whether the call waits for the device. If it ends, it does not */
static bool pending(struct vm *vm, struct call *c)
{
	double end = now() + SECONDS;
	bool done;

	do {
		done = call_done(c);
		if (edu_reg(&vm->dev, EDU_REG_PENDING))
			return true;
		usleep(1000);
	} while (!done && now() < end);
	return false;
}

/* An ATC_INV must complete when the device has answered, not before */
FIXTURE(slow)
{
	struct vm vm;
	__u32 eats;
};

FIXTURE_VARIANT(slow)
{
	/* The call that waits for the device */
	int (*fn)(struct vm *vm);
};

FIXTURE_VARIANT_ADD(slow, atc_inv)
{
	.fn = inv_a,
};

FIXTURE_VARIANT_ADD(slow, stage2_unmap)
{
	.fn = unmap_hole,
};

FIXTURE_SETUP(slow)
{
	ats_start(_metadata, &self->vm, &self->eats);
}

FIXTURE_TEARDOWN(slow)
{
	/* After a failed test, nothing may wait for the device any more */
	edu_set_reg(&self->vm.dev, EDU_REG_ANSWER, 0);
	edu_set_reg(&self->vm.dev, EDU_REG_PENDING, 0);
	vm_stop(_metadata, &self->vm);
}

TEST_F(slow, waited_for)
{
	struct vm *vm = &self->vm;
	struct call call = { .vm = vm, .fn = variant->fn };
	__u64 old = HOLE_IPA + 0x3000, new = guest_page(&vm->g);
	bool unmap = variant->fn == unmap_hole;
	unsigned int attempts = 0;
	bool waits, done[2];
	double start, took;
	__u64 landed;
	int rc;

	do {
		if (attempts)
			klog_mark(_metadata->name);
		if (!attempts || unmap)
			ASSERT_EQ(0, guest_map(&vm->g, HOLE_IPA, HOLE_SIZE,
					       true));
		vm_map(vm, IOVA_A, old);
		ASSERT_EQ(0, vm_cmd(vm, cmd_nh_all(any_vmid())));
		EXPECT_EQ(old, vm_lands(vm, IOVA_A));
		if (!unmap)
			vm_map(vm, IOVA_A, new);
		ASSERT_EQ(0, vm_cmd(vm, cmd_nh_all(any_vmid())));

		edu_set_reg(&vm->dev, EDU_REG_ANSWER, EDU_ANSWER_LATER);
		call.done = false;
		start = now();
		call_start(_metadata, &call);
		waits = pending(vm, &call);
		/* Until the answer, the device uses what it has */
		done[0] = call_done(&call);
		landed = vm_lands(vm, IOVA_A);
		done[1] = call_done(&call);
		edu_set_reg(&vm->dev, EDU_REG_ANSWER, 0);
		edu_set_reg(&vm->dev, EDU_REG_PENDING, 0);
		rc = call_end(&call);
		took = now() - start;
	} while (too_late(_metadata, took, &attempts));
	EXPECT_TRUE(waits);
	EXPECT_FALSE(done[0]);
	EXPECT_EQ(old, landed);
	EXPECT_FALSE(done[1]);
	EXPECT_EQ(0, rc);
	EXPECT_EQ(unmap ? NOWHERE : new, vm_lands(vm, IOVA_A));
}

/*
 * A call that makes the device unable to answer must wait for the guest's
 * ATC_INVs in flight: lost answers would stop the command queue for all.
 */
FIXTURE(slow_end)
{
	struct vm vm;
	__u32 eats;
};

FIXTURE_VARIANT(slow_end)
{
	int (*fn)(struct vm *vm);
};

FIXTURE_VARIANT_ADD(slow_end, reset)
{
	.fn = reset,
};

FIXTURE_VARIANT_ADD(slow_end, eats_off)
{
	.fn = attach_s1,
};

FIXTURE_SETUP(slow_end)
{
	ats_start(_metadata, &self->vm, &self->eats);
}

FIXTURE_TEARDOWN(slow_end)
{
	edu_set_reg(&self->vm.dev, EDU_REG_ANSWER, 0);
	edu_set_reg(&self->vm.dev, EDU_REG_PENDING, 0);
	vm_stop(_metadata, &self->vm);
}

TEST_F(slow_end, waits_for_guest)
{
	struct vm *vm = &self->vm;
	struct call inv = { .vm = vm, .fn = inv_a };
	__u64 a = guest_page(&vm->g);
	unsigned int attempts = 0;
	double start, took;
	bool waits;
	int rc[2];

	vm_map(vm, IOVA_A, a);
	do {
		if (attempts)
			klog_mark(_metadata->name);
		EXPECT_EQ(a, vm_lands(vm, IOVA_A));
		edu_set_reg(&vm->dev, EDU_REG_ANSWER, EDU_ANSWER_SLOWLY);
		inv.done = false;
		start = now();
		call_start(_metadata, &inv);
		waits = pending(vm, &inv);
		/*
		 * From now on, it takes 200 ms until the device answers. The
		 * host may still invalidate after this time.
		 */
		edu_set_reg(&vm->dev, EDU_REG_PENDING, 0);
		edu_set_reg(&vm->dev, EDU_REG_ANSWER, 0);
		rc[0] = variant->fn(vm);
		rc[1] = call_end(&inv);
		took = now() - start;

		ASSERT_EQ(0, edu_attach(&vm->dev, self->eats));
		edu_load(&vm->dev, &vm->g, IOVA_A, a);
	} while (too_late(_metadata, took, &attempts));
	EXPECT_TRUE(waits);
	EXPECT_EQ(0, rc[0]);
	/* If it were not for the wait, the device would not have answered */
	EXPECT_EQ(0, rc[1]);
	EXPECT_EQ(a, vm_lands(vm, IOVA_A));
}

/*
 * If a device does not answer, the ATC_INV fails, and none of the commands of
 * the call counts as done. The command queue continues to work.
 */
TEST_F(ats, no_answer)
{
	struct vm *vm = &self->vm;
	__u64 a = guest_page(&vm->g), b = guest_page(&vm->g);
	struct smmu_cmd cmds[3] = {
		cmd_nh_all(any_vmid()),
		cmd_atc_inv(VSID, IOVA_A, 0),
		cmd_nh_all(any_vmid()),
	};
	unsigned int attempts = 0;
	double start;
	__u32 num;
	int i, rc;

	ASSERT_EQ(0, run_on(1));
	vm_map(vm, IOVA_A, a);
	EXPECT_EQ(a, vm_lands(vm, IOVA_A));
	vm_map(vm, IOVA_A, b);
	for (i = 0; i != 3;) {
		klog_mark(_metadata->name);
		edu_set_reg(&vm->dev, EDU_REG_ANSWER, EDU_ANSWER_NEVER);
		num = 3;
		start = now();
		rc = viommu_cmds(vm->fd, vm->v.viommu_id, cmds, &num);
		if (too_late(_metadata, now() - start, &attempts)) {
			/* The interrupt of the error comes in the end */
			while (!klog_count(ATC_TIMEOUT) &&
			       now() < start + SECONDS)
				usleep(10000);
			continue;
		}
		EXPECT_EQ(-ETIMEDOUT, rc);
		EXPECT_EQ(0, num);
		EXPECT_EQ(a, vm_lands(vm, IOVA_A));
		edu_set_reg(&vm->dev, EDU_REG_ANSWER, 0);
		/* Others do not notice */
		num = 1;
		EXPECT_EQ(0, viommu_cmds(vm->fd, vm->v.viommu_id, cmds, &num));
		EXPECT_EQ(1, num);
		EXPECT_EQ(1, klog_count(ATC_TIMEOUT));
		EXPECT_EQ(0, klog_count("CMD_SYNC timeout"));
		i++;
	}
	num = 3;
	EXPECT_EQ(0, viommu_cmds(vm->fd, vm->v.viommu_id, cmds, &num));
	EXPECT_EQ(3, num);
	EXPECT_EQ(b, vm_lands(vm, IOVA_A));
	/* The messages so far are intended */
	klog_mark(_metadata->name);
}

TEST_HARNESS_MAIN
