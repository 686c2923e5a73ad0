// SPDX-License-Identifier: GPL-2.0-only
/*
 * The command queues of a VM in hardware, the VINTFs of a Tegra241 CMDQV: this
 * plays a VMM and its guest
 *
 * DMA of an edu-pcie shows the effect of an invalidation in the SMMU and in the
 * device. smmuv3_vcmdq tests the behaviour that queues in hardware and in
 * software have in common.
 */
#include "slow_page.h"
#include "smmuv3_vcmdq.h"

#define SYNC0_CS(cs)	((__u64)(cs) << 12)
#define CONS_ERR(cons)	((cons) >> 24)
#define ERR_ATC_INV	3

/* VINTFs of the CMDQV of the lab, including VINTF0, which the host uses */
#define VINTFS		4

struct vintf_event {
	struct iommufd_vevent_header header;
	struct iommu_vevent_tegra241_cmdqv evt;
};

/* A VM whose device has ATS, and is attached */
struct vintf_vm {
	struct vm vm;
	struct cmdqv c;
	__u32 eats;
	__u32 veventq_id;
	int veventq;
};

static void vintf_start(struct __test_metadata *_metadata, struct vintf_vm *v,
			const char *bdf, __u32 vsid)
{
	struct iommu_hwpt_arm_smmuv3 ste;
	struct cmdqv *c = &v->c;
	struct vm *vm = &v->vm;
	char soft[8];

	if (!read_str(PARAM, soft, sizeof(soft)) && soft[0] == 'Y')
		SKIP(return, "the command queues are in software");
	vm_start_on(_metadata, vm, bdf);
	cmdqv_start(_metadata, vm, c);
	if (_metadata->exit_code)
		return;
	vsmmu_set_up(_metadata, &vm->v, &vm->g, &vm->dev, vsid);
	ASSERT_EQ(0, queue_alloc(c, 0, c->queue_ipa, GUEST_PAGE, &c->queue_id));
	ASSERT_TRUE(enable(c));
	ASSERT_EQ(0, iommufd_veventq_alloc(vm->fd, vm->v.viommu_id,
					   IOMMU_VEVENTQ_TYPE_TEGRA241_CMDQV,
					   1, &v->veventq_id, &v->veventq));
	ASSERT_TRUE(edu_is_pcie(&vm->dev));
	ste = ste_s1(vm->v.cd);
	ste.ste[1] |= htole64(STE1_EATS(1));
	ASSERT_EQ(0, vm_hwpt(vm, ste, &v->eats));
	ASSERT_EQ(0, edu_attach(&vm->dev, v->eats));
}

static void vintf_stop(struct __test_metadata *_metadata, struct vintf_vm *v)
{
	static const char *const messages[] = { "tegra241_cmdqv" };

	/* The host invalidates, too, and the device must answer */
	if (v->vm.dev.bar)
		edu_set_reg(&v->vm.dev, EDU_REG_ANSWER, 0);
	if (v->veventq > 0)
		close(v->veventq);
	if (v->c.regs && v->c.regs != MAP_FAILED)
		munmap(v->c.regs, PAGE0_SIZE);
	vm_stop(_metadata, &v->vm);
	/* No action of a guest may cause such a message */
	expect_not_in_klog(_metadata, messages, ARRAY_SIZE(messages));
}

/* Number of ATC_INVs that have reached the device */
static __u64 invs(struct vintf_vm *v)
{
	return edu_reg(&v->vm.dev, EDU_REG_ATC_INVS);
}

/* Make a translation in the SMMU stale, so that it still leads to @old */
static void make_stale(struct __test_metadata *_metadata, struct vintf_vm *v,
		       __u64 old, __u64 new)
{
	vm_map(&v->vm, IOVA_A, old);
	/* Use the ioctl, which does not depend on the queue */
	ASSERT_EQ(0, vm_cmd(&v->vm, cmd_nh_asid(0, ASID)));
	ASSERT_EQ(old, vm_lands(&v->vm, IOVA_A));
	vm_map(&v->vm, IOVA_A, new);
	ASSERT_EQ(old, vm_lands(&v->vm, IOVA_A));
}

/*
 * Send a command that causes an error, and a CMD_SYNC. Like its driver, the
 * guest replaces the failed command by a CMD_SYNC, and acknowledges the error.
 * Returns CONS.ERR.
 */
static __u32 cmd_refused(struct __test_metadata *_metadata, struct vintf_vm *v,
			 struct smmu_cmd cmd)
{
	struct cmdqv *c = &v->c;
	__u32 at = c->prod, cons, gerrorn = reg_read(c, REG_GERRORN);
	struct vintf_event event;

	add(c, cmd);
	add(c, cmd_raw(CMD_SYNC, 0));
	reg_write(c, REG_PROD, c->prod);
	if (!wait_for(reg_read(c, REG_GERROR) != gerrorn)) {
		TH_LOG("command %#llx was not refused",
		       (unsigned long long)le64toh(cmd.cmd[0]));
		return 0;
	}
	cons = reg_read(c, REG_CONS);
	if (CONS_ERR(cons) == ERR_ATC_INV)
		at = (at + 1) & QUEUE_WRAP;
	EXPECT_EQ(at, cons & CONS_RD);
	EXPECT_EQ(1, reg_read(c, REG_STATUS));
	EXPECT_EQ(sizeof(event), veventq_next(v->veventq, (void *)&event));
	EXPECT_EQ(1, le64toh(event.evt.lvcmdq_err_map[0]));
	EXPECT_EQ(0, le64toh(event.evt.lvcmdq_err_map[1]));
	put(c, at, CMD_SYNC, 0);
	reg_write(c, REG_GERRORN, reg_read(c, REG_GERROR));
	EXPECT_TRUE(wait_for((reg_read(c, REG_CONS) & CONS_RD) == c->prod));
	return CONS_ERR(cons);
}

/* Whether all registers of a queue have their reset values */
static bool is_reset(struct cmdqv *c, unsigned int index)
{
	__u32 gerror = reg_read(c, index * REGS + REG_GERROR);
	unsigned int i;

	for (i = 0; i < REGS; i++) {
		__u32 val = reg_read(c, index * REGS + i);

		if (i == REG_GERROR || i == REG_GERRORN ? val != gerror : val)
			return false;
	}
	return true;
}

FIXTURE(vintf)
{
	struct vintf_vm a;
};

FIXTURE_SETUP(vintf)
{
	char bdf[BDF_LEN], why[128];

	if (edu_find(bdf, why, sizeof(why)))
		SKIP(return, "%s", why);
	vintf_start(_metadata, &self->a, bdf, VSID);
}

FIXTURE_TEARDOWN(vintf)
{
	vintf_stop(_metadata, &self->a);
}

TEST_F(vintf, stale_without_tlbi)
{
	struct cmdqv *c = &self->a.c;
	struct vm *vm = &self->a.vm;
	__u64 page[2] = { guest_page(&vm->g), guest_page(&vm->g) };
	struct smmu_cmd cmds[] = {
		/* The guest does not know its VMID, so any VMID must work */
		cmd_nh_va(any_vmid(), ASID, IOVA_A),
		cmd_nh_asid(any_vmid(), ASID),
		cmd_ranged(cmd_nh_va(0, ASID, IOVA_A & ~0xffffULL), 15, 0),
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(cmds); i++) {
		make_stale(_metadata, &self->a, page[0], page[1]);
		/* Another address, another ASID, and only a CMD_SYNC */
		EXPECT_TRUE(cmd_sync(c, cmd_nh_va(0, ASID, IOVA_C)));
		EXPECT_TRUE(cmd_sync(c, cmd_nh_va(0, ASID_B, IOVA_A)));
		EXPECT_TRUE(cmd_sync(c, cmd_nh_asid(0, ASID_B)));
		EXPECT_TRUE(cmd_sync(c, cmd_raw(CMD_SYNC, 0)));
		EXPECT_EQ(page[0], vm_lands(vm, IOVA_A));
		EXPECT_TRUE(cmd_sync(c, cmds[i]));
		EXPECT_EQ(page[1], vm_lands(vm, IOVA_A));
	}
	EXPECT_FALSE(veventq_readable(self->a.veventq));
}

/* Both queues of the VINTF must work at the same time */
TEST_F(vintf, second_queue)
{
	struct vm *vm = &self->a.vm;
	struct cmdqv *c = &self->a.c, second = *c;
	__u64 page[2] = { guest_page(&vm->g), guest_page(&vm->g) };

	second.queue_ipa = guest_zero_page(&vm->g);
	second.regs += REGS;
	/* There are no registers without a queue */
	reg_write(&second, REG_PROD, 1);
	reg_write(&second, REG_CONFIG, 1);
	EXPECT_TRUE(is_reset(c, 1));
	ASSERT_EQ(0, queue_alloc(c, 1, second.queue_ipa, GUEST_PAGE,
				 &second.queue_id));
	EXPECT_TRUE(is_reset(c, 1));
	ASSERT_TRUE(enable(&second));
	make_stale(_metadata, &self->a, page[0], page[1]);
	EXPECT_TRUE(cmd_sync(&second, cmd_nh_va(0, ASID, IOVA_A)));
	EXPECT_EQ(page[1], vm_lands(vm, IOVA_A));
	EXPECT_TRUE(cmd_sync(c, cmd_nh_asid(0, ASID)));
	EXPECT_EQ(-EBUSY, destroy(vm->fd, c->queue_id));
	EXPECT_EQ(0, destroy(vm->fd, second.queue_id));
	EXPECT_TRUE(is_reset(c, 1));
	EXPECT_TRUE(cmd_sync(c, cmd_nh_asid(0, ASID)));
}

/* All commands but four are refused, and must have no effect */
TEST_F(vintf, illegal)
{
	struct vm *vm = &self->a.vm;
	__u64 page[2] = { guest_page(&vm->g), guest_page(&vm->g) };
	unsigned int op;

	make_stale(_metadata, &self->a, page[0], page[1]);
	for (op = 0; op < 0x100; op++) {
		if (op == CMD_TLBI_NH_ASID || op == CMD_TLBI_NH_VA ||
		    op == CMD_ATC_INV || op == CMD_SYNC)
			continue;
		/* 31 means CFGI_ALL. Another value would be a range. */
		EXPECT_EQ(1, cmd_refused(_metadata, &self->a,
					 cmd_raw(op, op == 4 ? 31 : 0)));
	}
	/* CMD_SYNC with an MSI, with an event, and with a reserved value */
	for (op = 1; op < 4; op++)
		EXPECT_EQ(1, cmd_refused(_metadata, &self->a,
					 cmd_raw(CMD_SYNC | SYNC0_CS(op),
						 GUEST_RAM_IPA)));
	EXPECT_EQ(page[0], vm_lands(vm, IOVA_A));
	EXPECT_TRUE(cmd_sync(&self->a.c, cmd_nh_va(0, ASID, IOVA_A)));
	EXPECT_EQ(page[1], vm_lands(vm, IOVA_A));
}

/* An ATC_INV has the guest's StreamID */
TEST_F(vintf, atc_inv)
{
	struct vm *vm = &self->a.vm;
	struct cmdqv *c = &self->a.c;
	__u64 page[2] = { guest_page(&vm->g), guest_page(&vm->g) };
	__u64 had;
	__u32 sid;

	vm->dev.dma_flags = EDU_DMA_ATS;
	vm_map(vm, IOVA_A, page[0]);
	EXPECT_EQ(page[0], vm_lands(vm, IOVA_A));
	vm_map(vm, IOVA_A, page[1]);
	had = invs(&self->a);
	EXPECT_TRUE(cmd_sync(c, cmd_nh_asid(0, ASID)));
	EXPECT_EQ(had, invs(&self->a));
	/* The device still has the translation */
	EXPECT_EQ(page[0], vm_lands(vm, IOVA_A));
	EXPECT_TRUE(cmd_sync(c, cmd_atc_inv(VSID, IOVA_A, 0)));
	EXPECT_EQ(had + 1, invs(&self->a));
	EXPECT_EQ(page[1], vm_lands(vm, IOVA_A));

	/* Refused: all physical StreamIDs, and the vSID with another bit */
	for (sid = 0; sid < 0x800; sid += sid < 0x40 ? 1 : 8)
		EXPECT_EQ(1, cmd_refused(_metadata, &self->a,
					 cmd_atc_inv(sid, 0, ATC_INV_ALL)));
	EXPECT_EQ(1, cmd_refused(_metadata, &self->a,
				 cmd_atc_inv(VSID | 1 << 20, 0, ATC_INV_ALL)));
	EXPECT_EQ(had + 1, invs(&self->a));

	/* Without the vDEVICE, the guest cannot reach the device */
	ASSERT_EQ(0, edu_attach(&vm->dev, vm->g.s2_id));
	ASSERT_EQ(0, destroy(vm->fd, vm->v.hwpt_s1));
	ASSERT_EQ(0, destroy(vm->fd, self->a.eats));
	ASSERT_EQ(0, destroy(vm->fd, vm->v.vdevice_id));
	had = invs(&self->a);
	EXPECT_EQ(1, cmd_refused(_metadata, &self->a,
				 cmd_atc_inv(VSID, 0, ATC_INV_ALL)));
	EXPECT_EQ(1, cmd_refused(_metadata, &self->a,
				 cmd_atc_inv(0, 0, ATC_INV_ALL)));
	EXPECT_EQ(had, invs(&self->a));
	/* The device returns with another vSID */
	ASSERT_EQ(0, vdevice_alloc(vm->fd, vm->v.viommu_id, vm->dev.dev_id,
				   VSID_B, &vm->v.vdevice_id));
	EXPECT_EQ(1, cmd_refused(_metadata, &self->a,
				 cmd_atc_inv(VSID, 0, ATC_INV_ALL)));
	EXPECT_TRUE(cmd_sync(c, cmd_nh_asid(0, ASID)));
}

/* If a device does not answer, only its VM's queue gets the error */
TEST_F(vintf, no_answer)
{
	struct vm *vm = &self->a.vm;
	struct cmdqv *c = &self->a.c;

	edu_set_reg(&vm->dev, EDU_REG_ANSWER, EDU_ANSWER_NEVER);
	EXPECT_EQ(ERR_ATC_INV, cmd_refused(_metadata, &self->a,
					   cmd_atc_inv(VSID, IOVA_A, 0)));
	edu_set_reg(&vm->dev, EDU_REG_ANSWER, 0);
	EXPECT_TRUE(cmd_sync(c, cmd_atc_inv(VSID, IOVA_A, 0)));
}

/* A late timeout of an ATC_INV must not be an error of the next queue */
TEST_F(vintf, late_answer)
{
	struct vm *vm = &self->a.vm;
	struct cmdqv *c = &self->a.c;

	edu_set_reg(&vm->dev, EDU_REG_ANSWER, EDU_ANSWER_NEVER);
	add(c, cmd_atc_inv(VSID, IOVA_A, 0));
	ASSERT_TRUE(ring(c));
	edu_set_reg(&vm->dev, EDU_REG_ANSWER, 0);
	EXPECT_EQ(0, destroy(vm->fd, c->queue_id));
	ASSERT_EQ(0, queue_alloc(c, 0, c->queue_ipa, GUEST_PAGE, &c->queue_id));
	ASSERT_TRUE(enable(c));
	EXPECT_TRUE(cmd_sync(c, cmd_nh_asid(0, ASID)));
	EXPECT_EQ(0, reg_read(c, REG_GERROR));
	EXPECT_FALSE(veventq_readable(self->a.veventq));
}

/* Leave CPU 0 to the interrupt of the CMDQV */
static int run_on_cpu_1(void)
{
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(1, &cpus);
	return sched_setaffinity(0, sizeof(cpus), &cpus) ? -errno : 0;
}

/* The driver waits for a CMD_SYNC with interrupts off */
static void *unmap_hole(void *arg)
{
	struct vintf_vm *v = arg;

	return (void *)(long)(run_on_cpu_1() ?:
			      guest_unmap(&v->vm.g, HOLE_IPA));
}

/*
 * Let an ATC_INV of the host time out, by an unmap. If CPU 0 gets no time for
 * the interrupt, the driver is right to give up: then try again.
 */
static void host_error(struct __test_metadata *_metadata, struct vintf_vm *v)
{
	struct guest *g = &v->vm.g;
	struct guest_slot *slot = &g->slot[g->nslots];
	unsigned int attempts = 0;
	pthread_t thread;
	double start;
	void *rc;

	ASSERT_EQ(0, guest_map(g, HOLE_IPA, HOLE_SIZE, true));
	for (;;) {
		edu_set_reg(&v->vm.dev, EDU_REG_ANSWER, EDU_ANSWER_NEVER);
		start = now();
		ASSERT_EQ(0, pthread_create(&thread, NULL, unmap_hole, v));
		ASSERT_EQ(0, pthread_join(thread, &rc));
		if (!too_late(_metadata, now() - start, &attempts))
			break;
		EXPECT_TRUE(wait_for(klog_count(ATC_TIMEOUT)));
		klog_mark(_metadata->name);
		ASSERT_EQ(0, ioas_map(g->fd, g->ioas_id, slot->mem, HOLE_IPA,
				      HOLE_SIZE, true));
		slot->mapped = true;
	}
	edu_set_reg(&v->vm.dev, EDU_REG_ANSWER, 0);
	EXPECT_EQ(0, (long)rc);
	EXPECT_LE(1, klog_count("vintf_map: 0000000000000001"));
	EXPECT_LE(1, klog_count(ATC_TIMEOUT));
	EXPECT_EQ(0, klog_count("CMD_SYNC timeout"));
	/* The teardown must judge only later messages */
	klog_mark(_metadata->name);
}

/* An ATC_INV of the host is an error of its queue in VINTF0, which continues */
TEST_F(vintf, host_error)
{
	struct vm *vm = &self->a.vm;
	__u64 page[2] = { guest_page(&vm->g), guest_page(&vm->g) };
	unsigned int i;

	for (i = 0; i < 3; i++) {
		host_error(_metadata, &self->a);
		EXPECT_FALSE(veventq_readable(self->a.veventq));
		EXPECT_EQ(0, reg_read(&self->a.c, REG_CONS) & CONS_RD);
	}
	make_stale(_metadata, &self->a, page[0], page[1]);
	EXPECT_TRUE(cmd_sync(&self->a.c, cmd_nh_va(0, ASID, IOVA_A)));
	EXPECT_EQ(page[1], vm_lands(vm, IOVA_A));
}

/* A guest that keeps enabling the queue while the queue is destroyed */
struct hammer {
	struct cmdqv *c;
	bool stop;
};

static void *hammer(void *arg)
{
	struct hammer *h = arg;

	while (!__atomic_load_n(&h->stop, __ATOMIC_RELAXED)) {
		reg_write(h->c, REG_CONFIG, 1);
		reg_write(h->c, REG_PROD, random_u64());
		reg_write(h->c, REG_GERRORN, reg_read(h->c, REG_GERROR));
	}
	return NULL;
}

TEST_F(vintf, enable_during_destroy)
{
	struct cmdqv *c = &self->a.c;
	struct vm *vm = &self->a.vm;
	struct hammer h = { .c = c };
	__u32 ioas = vm->g.ioas_id;
	double until = now() + 3;
	unsigned int i;
	pthread_t thread;
	void *mem;

	mem = mmap(NULL, HOLE_SIZE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, mem);
	ASSERT_EQ(0, destroy(vm->fd, c->queue_id));
	ASSERT_EQ(0, pthread_create(&thread, NULL, hammer, &h));
	for (i = 0; i < 100 || now() < until; i++) {
		/* Memory that is freed with the queue */
		ASSERT_EQ(0, ioas_map(vm->fd, ioas, mem, HOLE_IPA, HOLE_SIZE,
				      true));
		ASSERT_EQ(0, queue_alloc(c, 0, HOLE_IPA + i % 16 * GUEST_PAGE,
					 GUEST_PAGE, &c->queue_id));
		EXPECT_TRUE(wait_for(reg_read(c, REG_STATUS)));
		EXPECT_EQ(-EBUSY, ioas_unmap(vm->fd, ioas, HOLE_IPA, HOLE_SIZE));
		ASSERT_EQ(0, destroy(vm->fd, c->queue_id));
		EXPECT_TRUE(is_reset(c, 0));
		ASSERT_EQ(0, ioas_unmap(vm->fd, ioas, HOLE_IPA, HOLE_SIZE));
	}
	__atomic_store_n(&h.stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	munmap(mem, HOLE_SIZE);
	ASSERT_EQ(0, queue_alloc(c, 0, c->queue_ipa, GUEST_PAGE, &c->queue_id));
	EXPECT_TRUE(is_reset(c, 0));
	EXPECT_TRUE(enable(c));
	EXPECT_TRUE(cmd_sync(c, cmd_nh_asid(0, ASID)));
}

/* After a VM had a queue with an error, the next VM must not see any of it */
TEST_F(vintf, reset_after_close)
{
	struct cmdqv *c = &self->a.c;
	struct vm *vm = &self->a.vm;
	char bdf[BDF_LEN];
	unsigned int i;

	memcpy(bdf, vm->dev.bdf, sizeof(bdf));
	for (i = 0; i < 2 * VINTFS; i++) {
		add(c, cmd_nh_asid(0, ASID));
		add(c, cmd_raw(0, 0));
		reg_write(c, REG_PROD, c->prod);
		EXPECT_TRUE(wait_for(reg_read(c, REG_GERROR) !=
				     reg_read(c, REG_GERRORN)));
		vintf_stop(_metadata, &self->a);
		memset(&self->a, 0, sizeof(self->a));

		/* Everything until there is a queue */
		vm_start_on(_metadata, vm, bdf);
		cmdqv_start(_metadata, vm, c);
		if (_metadata->exit_code)
			return;
		EXPECT_TRUE(is_reset(c, 0));
		EXPECT_TRUE(is_reset(c, 1));
		ASSERT_EQ(0, queue_alloc(c, 0, c->queue_ipa, GUEST_PAGE,
					 &c->queue_id));
		EXPECT_TRUE(is_reset(c, 0));
		ASSERT_EQ(0, iommufd_veventq_alloc(vm->fd, vm->v.viommu_id,
						   IOMMU_VEVENTQ_TYPE_TEGRA241_CMDQV,
						   1, &self->a.veventq_id,
						   &self->a.veventq));
		ASSERT_TRUE(enable(c));
		/* The new VM has no vDEVICE */
		EXPECT_EQ(1, cmd_refused(_metadata, &self->a,
					 cmd_atc_inv(VSID, 0, ATC_INV_ALL)));
		EXPECT_EQ(1, cmd_refused(_metadata, &self->a,
					 cmd_atc_inv(0, 0, ATC_INV_ALL)));
	}
}

/* Two VMs with the same ASIDs and addresses */
FIXTURE(two)
{
	struct vintf_vm a, b;
};

FIXTURE_SETUP(two)
{
	char bdf[2][BDF_LEN], why[128];

	if (edu_find_pair(EDU_SAME_SMMU, bdf[0], bdf[1], why, sizeof(why)))
		SKIP(return, "%s", why);
	vintf_start(_metadata, &self->a, bdf[0], VSID);
	if (!_metadata->exit_code)
		vintf_start(_metadata, &self->b, bdf[1], VSID_B);
}

FIXTURE_TEARDOWN(two)
{
	vintf_stop(_metadata, &self->a);
	vintf_stop(_metadata, &self->b);
}

TEST_F(two, isolated)
{
	struct vm *a = &self->a.vm, *b = &self->b.vm;
	__u64 page_a[2] = { guest_page(&a->g), guest_page(&a->g) };
	__u64 page_b[2] = { guest_page(&b->g), guest_page(&b->g) };
	__u64 had_a, had_b;
	__u32 vmid;

	make_stale(_metadata, &self->a, page_a[0], page_a[1]);
	make_stale(_metadata, &self->b, page_b[0], page_b[1]);
	/* Use any VMID that the host may have given to the other VM */
	for (vmid = 0; vmid < 64; vmid++) {
		add(&self->a.c, cmd_nh_asid(vmid, ASID));
		add(&self->a.c, cmd_nh_va(vmid, ASID, IOVA_A));
	}
	EXPECT_TRUE(cmd_sync(&self->a.c, cmd_raw(CMD_SYNC, 0)));
	EXPECT_EQ(page_a[1], vm_lands(a, IOVA_A));
	EXPECT_EQ(page_b[0], vm_lands(b, IOVA_A));
	EXPECT_TRUE(cmd_sync(&self->b.c, cmd_nh_asid(0, ASID)));
	EXPECT_EQ(page_b[1], vm_lands(b, IOVA_A));

	/* Each device gets the ATC_INVs of its own VM, by the VM's own vSID */
	had_a = invs(&self->a);
	had_b = invs(&self->b);
	EXPECT_TRUE(cmd_sync(&self->a.c, cmd_atc_inv(VSID, 0, ATC_INV_ALL)));
	EXPECT_EQ(1, cmd_refused(_metadata, &self->a,
				 cmd_atc_inv(VSID_B, 0, ATC_INV_ALL)));
	EXPECT_EQ(had_a + 1, invs(&self->a));
	EXPECT_EQ(had_b, invs(&self->b));
	EXPECT_TRUE(cmd_sync(&self->b.c, cmd_atc_inv(VSID_B, 0, ATC_INV_ALL)));
	EXPECT_EQ(had_a + 1, invs(&self->a));
	EXPECT_EQ(had_b + 1, invs(&self->b));
	/* The errors of a VM are its own */
	EXPECT_FALSE(veventq_readable(self->b.veventq));
	EXPECT_EQ(0, reg_read(&self->b.c, REG_GERROR));
}

/* An old error of a VM must not be reported again with an error of the other */
TEST_F(two, errors)
{
	struct cmdqv *c = &self->a.c;
	struct vintf_event event;
	unsigned int i;

	add(c, cmd_raw(0, 0));
	reg_write(c, REG_PROD, c->prod);
	ASSERT_EQ(sizeof(event), veventq_next(self->a.veventq, (void *)&event));
	for (i = 0; i < 5; i++)
		EXPECT_EQ(1, cmd_refused(_metadata, &self->b, cmd_raw(0, 0)));
	EXPECT_FALSE(veventq_readable(self->a.veventq));
	EXPECT_EQ(0, reg_read(c, REG_CONS) & CONS_RD);
}

/* Interrupts of the CMDQV so far, on all CPUs */
static long cmdqv_irqs(void)
{
	FILE *f = fopen("/proc/interrupts", "r");
	char line[512], *at, *end;
	long num = -1, sum;

	while (f && num < 0 && fgets(line, sizeof(line), f)) {
		at = strchr(line, ':');
		if (!at || !strstr(line, "tegra241-cmdqv"))
			continue;
		for (num = 0, at++;; at = end) {
			sum = strtol(at, &end, 10);
			if (end == at)
				break;
			num += sum;
		}
	}
	if (f)
		fclose(f);
	return num;
}

/* Limits in a period: interrupts for each VM, and interrupts for no VM */
#define IRQS_MAX	8
#define IRQ_PERIOD	0.1

/* A guest whose queue has nothing but errors */
struct storm {
	struct vintf_vm *v;
	/* It acknowledges an error at once, not after the event */
	bool quick;
	bool stop;
	unsigned long errors;
};

static void *storm(void *arg)
{
	struct storm *s = arg;
	struct cmdqv *c = &s->v->c;
	struct vintf_event event;

	if (run_on_cpu_1())
		return NULL;
	while (!__atomic_load_n(&s->stop, __ATOMIC_RELAXED)) {
		__u32 at = c->prod;

		add(c, cmd_raw(0, 0));
		reg_write(c, REG_PROD, c->prod);
		if (!s->quick && veventq_next(s->v->veventq, (void *)&event) < 0)
			return NULL;
		put(c, at, CMD_SYNC, 0);
		reg_write(c, REG_GERRORN, reg_read(c, REG_GERROR));
		__atomic_add_fetch(&s->errors, 1, __ATOMIC_RELAXED);
	}
	return s;
}

static void storm_beside(struct __test_metadata *_metadata, struct vintf_vm *a,
			 struct vintf_vm *b, bool quick)
{
	struct storm s = { .v = a, .quick = quick };
	struct vintf_event event;
	unsigned int turns = 0;
	pthread_t thread;
	double begin, took;
	long irqs;
	void *rc;

	ASSERT_EQ(0, pthread_create(&thread, NULL, storm, &s));
	ASSERT_TRUE(wait_for(__atomic_load_n(&s.errors, __ATOMIC_RELAXED) >
			     IRQS_MAX));
	begin = now();
	irqs = cmdqv_irqs();
	ASSERT_LE(0, irqs);
	/* Errors of the host and of another VM must still be reported */
	host_error(_metadata, b);
	for (; now() < begin + 4; turns++) {
		EXPECT_EQ(1, cmd_refused(_metadata, b, cmd_raw(0, 0)));
		EXPECT_TRUE(cmd_sync(&b->c, cmd_nh_asid(0, ASID)));
		usleep(200000);
	}
	irqs = cmdqv_irqs() - irqs;
	took = now() - begin;
	__atomic_store_n(&s.stop, true, __ATOMIC_RELAXED);
	ASSERT_EQ(0, pthread_join(thread, &rc));
	EXPECT_EQ(&s, rc);
	TH_LOG("%lu errors, %u of another VM, %ld interrupts in %.1f s",
	       s.errors, turns, irqs, took);
	EXPECT_LT(0, irqs);
	/* For the guest and for no VM, for the other VM, and for the host */
	EXPECT_GT((took / IRQ_PERIOD + 2) * 2 * IRQS_MAX + turns + 10, irqs);

	/* The last error must be reported, too */
	while (veventq_readable(a->veventq))
		ASSERT_EQ(sizeof(event), veventq_next(a->veventq, (void *)&event));
	EXPECT_EQ(1, cmd_refused(_metadata, a, cmd_raw(0, 0)));
	EXPECT_FALSE(veventq_readable(b->veventq));
}

/* A guest cannot make the host take any number of interrupts */
TEST_F(two, storm)
{
	storm_beside(_metadata, &self->a, &self->b, false);
}

TEST_F(two, quick_storm)
{
	storm_beside(_metadata, &self->a, &self->b, true);
}

struct alloc_call {
	int fd;
	struct iommu_viommu_alloc *cmd;
};

static void *alloc_thread(void *arg)
{
	struct alloc_call *call = arg;

	return (void *)(long)iommufd_ioctl(call->fd, IOMMU_VIOMMU_ALLOC,
					   call->cmd);
}

/*
 * A process knows the future address of the registers before it has the vIOMMU.
 * If it could map them then, the mapping would remain when the allocation
 * fails, and would show the queues of the next VM.
 */
TEST(unpublished)
{
	struct vm vm = {}, next = {};
	struct cmdqv c = { .vm = &vm }, other = {};
	char bdf[MAX_DEVICES][BDF_LEN], why[128], soft[8];
	struct alloc_call call;
	struct slow_page slow = {};
	pthread_t thread;
	void *rc;

	if (!read_str(PARAM, soft, sizeof(soft)) && soft[0] == 'Y')
		SKIP(return, "the command queues are in software");
	if (pci_list_vfio(EDU_ID, 1, bdf, why, sizeof(why)) < 2)
		SKIP(return, "not enough edu devices");
	vm_start_on(_metadata, &vm, bdf[0]);
	if (_metadata->exit_code)
		return;
	vm_start_on(_metadata, &next, bdf[1]);
	if (slow_page_init(&slow, true))
		SKIP(return, "no userfaultfd");
	call = (struct alloc_call){ .fd = vm.fd, .cmd = slow.page };
	*call.cmd = (struct iommu_viommu_alloc){
		.size = sizeof(*call.cmd),
		.type = IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV,
		.dev_id = vm.dev.dev_id,
		.hwpt_id = vm.g.s2_id,
		.data_len = sizeof(c.data),
		.data_uptr = (uintptr_t)&c.data,
	};
	slow_page_protect(&slow);
	ASSERT_EQ(0, pthread_create(&thread, NULL, alloc_thread, &call));
	slow_page_wait(&slow);
	EXPECT_NE(0, c.data.out_vintf_mmap_offset);
	c.regs = map_page0(&c);
	EXPECT_EQ(MAP_FAILED, c.regs);

	/* The copy of the answer fails, so there is no vIOMMU */
	ASSERT_EQ(0, mprotect(slow.page, slow.size, PROT_READ));
	slow_page_provide(&slow);
	pthread_join(thread, &rc);
	EXPECT_EQ(-EFAULT, (long)rc);

	other.vm = &next;
	ASSERT_EQ(0, viommu_alloc_data(&next, &other.data, sizeof(other.data),
				       &next.v.viommu_id));
	other.regs = map_page0(&other);
	ASSERT_NE(MAP_FAILED, other.regs);
	other.queue_ipa = guest_zero_page(&next.g);
	ASSERT_EQ(0, queue_alloc(&other, 0, other.queue_ipa, GUEST_PAGE,
				 &other.queue_id));
	ASSERT_TRUE(enable(&other));
	if (c.regs != MAP_FAILED) {
		EXPECT_NE(1, reg_read(&c, REG_CONFIG)) {
			TH_LOG("the queue of the next VM is mapped");
		}
	}
	munmap(other.regs, PAGE0_SIZE);
	vm_stop(_metadata, &next);
	vm_stop(_metadata, &vm);
}

/* A VM with a VINTF must not exclude others, except by their number */
TEST(limits)
{
	struct iommu_viommu_tegra241_cmdqv data = {};
	char bdf[MAX_DEVICES][BDF_LEN], why[128], soft[8];
	struct vm vm[VINTFS] = {};
	unsigned int i;
	__u32 id;

	if (!read_str(PARAM, soft, sizeof(soft)) && soft[0] == 'Y')
		SKIP(return, "the command queues are in software");
	if (pci_list_vfio(EDU_ID, 1, bdf, why, sizeof(why)) < VINTFS)
		SKIP(return, "not enough edu devices");
	for (i = 0; i < VINTFS; i++) {
		vm_start_on(_metadata, &vm[i], bdf[i]);
		if (_metadata->exit_code)
			return;
		if (i == VINTFS - 1)
			break;
		ASSERT_EQ(0, viommu_alloc_data(&vm[i], &data, sizeof(data),
					       &vm[i].v.viommu_id));
		EXPECT_EQ(-EEXIST, viommu_alloc_data(&vm[i], &data,
						     sizeof(data), &id));
	}
	EXPECT_EQ(-ENOSPC, viommu_alloc_data(&vm[i], &data, sizeof(data), &id));
	/* Nesting does not require a VINTF */
	ASSERT_EQ(0, viommu_alloc(vm[i].fd, vm[i].dev.dev_id, vm[i].g.s2_id, &id));
	ASSERT_EQ(0, destroy(vm[i].fd, id));
	ASSERT_EQ(0, destroy(vm[0].fd, vm[0].v.viommu_id));
	EXPECT_EQ(0, viommu_alloc_data(&vm[i], &data, sizeof(data), &id));
	for (i = 0; i < VINTFS; i++)
		vm_stop(_metadata, &vm[i]);
}

TEST_HARNESS_MAIN
