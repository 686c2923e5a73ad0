// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of nested translation: random commands and STEs of a guest,
 * against the model in model.c.
 *
 * Each round depends on the seed alone. To repeat a failure, or to search for
 * longer, set arm_smmu_v3_iommufd_test.random_seed= and random_rounds=.
 */
#include "model.h"

/* Only STEs and commands are random: the driver reads no CD */
#define RANDOM_CALLS		64
#define RANDOM_CMDS		200
/* A batch with several StreamIDs for each command must not wrap the queue */
#define RANDOM_QUEUE_SHIFT	12

struct random_cmds {
	__le64 raw[RANDOM_CMDS][2];
	u64 cmds[RANDOM_CMDS][2];
	u64 want[RANDOM_CMDS * MODEL_OUT_MAX][2];
	unsigned int accepted;
	unsigned int refused;
	unsigned long ops[256 / BITS_PER_LONG];
};

/*
 * Compare the commands that reached the SMMU, without CMD_SYNCs, with the @num
 * commands of rc->want. A CMD_SYNC must follow the last of them.
 */
static void check_queue(struct fuzz *r, struct random_vm *rvm,
			struct random_cmds *rc, unsigned int num)
{
	unsigned int got = 0, total = 0;
	u64 cmd[2], last = 0;
	const char *why;

	while (fake_smmu_next(rvm->vm->fake, cmd)) {
		total++;
		last = cmd[0] & 0xff;
		why = model_refuses(&rvm->model, cmd);
		if (why)
			fuzz_fail(r, "%s: %016llx %016llx", why, cmd[0],
				  cmd[1]);
		if (last == OP_SYNC)
			continue;
		if (got >= num)
			fuzz_fail(r, "not wanted: %016llx %016llx", cmd[0],
				  cmd[1]);
		else if (cmd[0] != rc->want[got][0] ||
			 cmd[1] != rc->want[got][1])
			fuzz_fail(r,
				  "%u: %016llx %016llx, want %016llx %016llx",
				  got, cmd[0], cmd[1], rc->want[got][0],
				  rc->want[got][1]);
		got++;
	}
	if (got < num)
		fuzz_fail(r, "%u of %u commands", got, num);
	if (total && last != OP_SYNC)
		fuzz_fail(r, "no CMD_SYNC behind %u commands", total);
}

/* A call of the VMM with @num random commands */
static void check_call(struct fuzz *r, struct random_vm *rvm,
		       struct random_cmds *rc, u32 num, unsigned int bad)
{
	unsigned int want = 0, i;
	u32 done = num, good = 0;
	bool refused = false;
	int ret, n;

	for (i = 0; i < num; i++) {
		random_cmd(r, rvm, bad, rc->cmds[i]);
		rc->raw[i][0] = cpu_to_le64(rc->cmds[i][0]);
		rc->raw[i][1] = cpu_to_le64(rc->cmds[i][1]);
		if (refused)
			continue;
		n = model_cmd(&rvm->model, rc->cmds[i], &rc->want[want]);
		if (n < 0) {
			refused = true;
			continue;
		}
		__set_bit(rc->cmds[i][0] & 0xff, rc->ops);
		want += n;
		good++;
	}
	KUNIT_ASSERT_EQ(r->test, 0, copy_to_user(rvm->vm->user, rc->raw,
						 num * sizeof(rc->raw[0])));
	ret = fake_inval(rvm->vm->vsmmu, rvm->vm->user, 16, &done);
	if (ret != (refused ? -EIO : 0) || done != good)
		fuzz_fail(r,
			  "%d, entry_num %u, want %u of %u: %016llx %016llx",
			  ret, done, good, num,
			  rc->cmds[min(good, num - 1)][0],
			  rc->cmds[min(good, num - 1)][1]);
	check_queue(r, rvm, rc, want);
	rc->accepted += !refused;
	rc->refused += refused;
}

static void arm_vsmmu_test_random_cmds(struct kunit *test)
{
	/* Chances in 256 for a bad command: batches get any length */
	static const unsigned int bad[] = { 0, 2, 16, 128 };
	struct random_cmds *rc = kunit_kzalloc(test, sizeof(*rc), GFP_KERNEL);
	unsigned int round, call;
	struct random_vm rvm;
	struct fake_vm *vm;
	struct fuzz r;
	u32 num;

	KUNIT_ASSERT_NOT_NULL(test, rc);
	fuzz_init(&r, test);
	for (round = 0; round < random_rounds; round++) {
		fuzz_begin(&r, round);
		vm = fake_vm_alloc(test, 0, RANDOM_QUEUE_SHIFT, PAGE_SIZE);
		random_vm_init(&r, &rvm, vm);
		/* Without a VMID, commands are only checked */
		if (round % 8 == 7) {
			fake_vm_free(vm);
			rvm.model.has_vmid = false;
		}
		fake_smmu_drain(vm->fake);
		for (call = 0; call < RANDOM_CALLS; call++) {
			num = 1;
			if (call % 4 == 3)
				num += fuzz_below(&r, RANDOM_CMDS);
			check_call(&r, &rvm, rc, num,
				   bad[num > 1 ? fuzz_below(&r, 4) : 3]);
			random_vm_change(&r, &rvm);
		}
		if (rvm.model.has_vmid)
			fake_vm_free(vm);
		random_vm_free(&rvm);
		cond_resched();
	}

	/* Too few of either kind would make the test worthless */
	kunit_info(test, "calls: %u accepted, %u refused", rc->accepted,
		   rc->refused);
	KUNIT_EXPECT_GE(test, rc->accepted * 10, rc->accepted + rc->refused);
	KUNIT_EXPECT_GE(test, rc->refused * 10, rc->accepted + rc->refused);
	KUNIT_EXPECT_EQ(test, bitmap_weight(rc->ops, 256), 8);
}

/*
 * STEs
 */

#define RANDOM_STES		64

struct random_host {
	struct fake_vm *vm;
	/* A device without ATS, with ATS, and with two StreamIDs */
	struct fake_dev *fdevs[3];
	struct model_ste model;
	u16 vmid;
	bool s2fwb;
	bool shcfg;
	bool stalls;
	unsigned int accepted;
	unsigned int refused;
	unsigned int bad;
	unsigned int nested;
	unsigned int ats;
};

static void random_ste(struct fuzz *r, const struct random_host *host,
		       u64 ste[2])
{
	static const u8 cfgs[] = { 0, 4, 5, 5, 5, 5, 5, 5 };
	const struct model_ste *m = &host->model;
	u64 any = fuzz_u64(r), cdmax = 0;

	ste[0] = any & BITS_64(51, 6);
	/* Few are invalid. The address must not matter without stage 1. */
	if (!fuzz_chance(r, 1, 12))
		ste[0] &= BIT_ULL(m->ipa_bits) - 1;
	ste[0] |= !fuzz_chance(r, 1, 32);
	ste[0] |= (u64)cfgs[fuzz_below(r, ARRAY_SIZE(cfgs))] << 1;
	if (fuzz_chance(r, 1, 8))
		cdmax = min(m->ssid_bits + 1, 31u);
	else if (fuzz_chance(r, 1, 2))
		cdmax = fuzz_below(r, m->ssid_bits + 1);
	ste[0] |= cdmax << 59;
	ste[0] |= m->cd2l || fuzz_chance(r, 1, 8) ? any & BITS_64(5, 4) : 0;
	ste[1] = fuzz_u64(r) & (BITS_64(7, 0) | BIT_ULL(27) | BIT_ULL(28));
	switch (fuzz_below(r, 8)) {
	case 0:
	case 1:
		ste[0] ^= BIT_ULL(fuzz_below(r, 64));
		break;
	case 2:
	case 3:
		ste[1] ^= BIT_ULL(fuzz_below(r, 64));
		break;
	case 4:
		ste[fuzz_below(r, 2)] = fuzz_u64(r);
		break;
	}
}

/* Compute the physical STE that the driver must write */
static void want_ste(const struct random_host *host, const u64 guest[2],
		     bool abort, bool handled, bool ats, u64 want[8])
{
	const struct model_ste *m = &host->model;
	const unsigned int cfg = guest[0] >> 1 & 7;

	memset(want, 0, 8 * sizeof(*want));
	want[0] = 1;
	if (abort)
		return;
	/* S2FWB; SHCFG "incoming"; MEV; full ATS, which excludes S2S */
	want[1] = BIT_ULL(19) | (host->s2fwb ? BIT_ULL(25) : 0) |
		  (host->shcfg ? BIT_ULL(44) : 0) |
		  (ats && m->stall_model != 2 ? BIT_ULL(28) : 0);
	want[2] = FAKE_STE_2 | host->vmid |
		  (m->stall_model == 2 ? BIT_ULL(57) : 0);
	want[3] = FAKE_VTTBR;
	if (cfg == 4) {
		want[0] |= 6 << 1;
		return;
	}
	want[0] |= guest[0] | 7 << 1;
	want[1] |= guest[1] & BITS_64(7, 0);
	/* S1STALLD is only for SMMUs that can both stall and terminate */
	if (!m->stall_model && !(host->stalls && handled))
		want[1] |= BIT_ULL(27);
	else if (!m->stall_model)
		want[1] |= guest[1] & BIT_ULL(27);
}

static void check_ste(struct fuzz *r, const struct random_host *host,
		      const __le64 *got, const u64 want[8], const u64 guest[2])
{
	unsigned int i;
	u64 ste[8];

	for (i = 0; i < 8; i++) {
		ste[i] = le64_to_cpu(got[i]);
		if (ste[i] != want[i])
			fuzz_fail(r,
				  "%016llx %016llx: word %u is %016llx, want %016llx",
				  guest[0], guest[1], i, ste[i], want[i]);
	}
	if (model_ste_illegal(&host->model, ste))
		fuzz_fail(r,
			  "%016llx %016llx: illegal: %016llx %016llx %016llx",
			  guest[0], guest[1], ste[0], ste[1], ste[2]);
}

/* The commands of an attach */
static void check_attach_cmds(struct fuzz *r, struct random_host *host,
			      struct fake_dev *fdev)
{
	const struct model m = {
		.has_vmid = true, .vmid = host->vmid, .asid16 = true,
		.ats = true,
		.devs[0] = {
			.present = true,
			.num_sids = fdev->master.num_streams,
			.sids = { fdev->streams[0].id, fdev->streams[1].id },
		},
	};
	u64 cmd[2], same[2], last = OP_SYNC;
	const char *why;

	while (fake_smmu_next(host->vm->fake, cmd)) {
		last = cmd[0] & 0xff;
		memcpy(same, cmd, sizeof(same));
		/*
		 * CFGI_STE has the fields of CFGI_CD_ALL, and Leaf. S12_VMALL
		 * has those of NH_ALL. These two are for the host only.
		 */
		if (last == 0x03) {
			same[0] += 0x06 - 0x03;
			same[1] &= ~1ULL;
		} else if (last == 0x28) {
			same[0] += 0x10 - 0x28;
		}
		why = model_refuses(&m, same);
		if (why)
			fuzz_fail(r, "attach: %s: %016llx %016llx", why,
				  cmd[0], cmd[1]);
	}
	if (last != OP_SYNC)
		fuzz_fail(r, "attach: the last command is %#llx", last);
}

static int no_handler(struct iopf_group *group)
{
	return -EINVAL;
}

static void check_guest_ste(struct fuzz *r, struct random_host *host)
{
	const struct model_ste *m = &host->model;
	struct fake_dev *fdev = host->fdevs[fuzz_below(r, 3)];
	bool handled = fuzz_chance(r, 1, 4), bad, ats;
	struct arm_smmu_s2_tag tag = { .vmid = host->vmid };
	struct arm_smmu_master *master = &fdev->master;
	struct iommu_domain *domain, *old = NULL;
	struct arm_smmu_ste ste;
	u64 guest[2], s1[8] = {}, want[8];
	unsigned int cfg, i;
	int ret;

	random_ste(r, host, guest);
	cfg = guest[0] & 1 ? guest[0] >> 1 & 7 : 0;
	domain = fake_nested_alloc(host->vm->vsmmu, host->vm->user, guest[0],
				   guest[1]);
	if (!model_ste_allowed(guest)) {
		host->refused++;
		if (PTR_ERR(domain) != -EIO)
			fuzz_fail(r, "%016llx %016llx: not refused",
				  guest[0], guest[1]);
		if (!IS_ERR(domain))
			domain->ops->free(domain);
		return;
	}
	if (IS_ERR(domain)) {
		fuzz_fail(r, "%016llx %016llx: %ld", guest[0], guest[1],
			  PTR_ERR(domain));
		return;
	}
	host->accepted++;
	host->nested += cfg == 5;

	/* In the guest's SMMU the STE has stage 1 only, and may stall */
	s1[0] = guest[0];
	bad = model_ste_illegal(m, s1);
	host->bad += bad;
	ats = fdev == host->fdevs[1] && m->ats &&
	      (cfg == 4 || (guest[1] & BIT_ULL(28)));
	if (handled)
		domain->iopf_handler = no_handler;
	want_ste(host, guest, bad || cfg == 0, handled, ats, want);

	if (handled && host->stalls) {
		/* An attach would need an event queue */
		if (!bad) {
			memset(&ste, 0xff, sizeof(ste));
			arm_smmu_make_nested_ste(&ste, master,
						 to_smmu_nested_domain(domain),
						 &tag, ats);
			check_ste(r, host, ste.data, want, guest);
		}
		domain->ops->free(domain);
		return;
	}

	/* Start from another STE of the guest or of the host, or from none */
	if (master->domain && master->domain->type == IOMMU_DOMAIN_NESTED)
		old = master->domain;
	if (fuzz_chance(r, 1, 4))
		KUNIT_ASSERT_EQ(r->test, 0,
				fake_attach_bare(fdev,
						 fuzz_chance(r, 1, 2) ?
						 host->vm->s2 : NULL));
	ret = fake_attach_nested(fdev, domain);
	if (ret) {
		fuzz_fail(r, "%016llx %016llx: attach: %d", guest[0],
			  guest[1], ret);
		domain->ops->free(domain);
		return;
	}
	if (old)
		old->ops->free(old);
	for (i = 0; i < master->num_streams; i++)
		check_ste(r, host,
			  host->vm->fake->stes[fdev->streams[i].id].data, want,
			  guest);
	host->ats += !!(want[1] & BIT_ULL(28));
	check_attach_cmds(r, host, fdev);
}

static void random_host_init(struct fuzz *r, struct random_host *host)
{
	struct fake_vm *vm = fake_vm_alloc(r->test, 0, RANDOM_QUEUE_SHIFT,
					   PAGE_SIZE);
	struct arm_smmu_device *smmu = &vm->fake->smmu;
	struct model_ste *m = &host->model;
	unsigned int i;

	host->vm = vm;
	host->vmid = 3 + fuzz_below(r, 0xfff0);
	vm->tag->vmid = host->vmid;
	m->ssid_bits = fuzz_chance(r, 2, 3) ? 1 + fuzz_below(r, 20) : 0;
	m->ipa_bits = 40 + fuzz_below(r, 9);
	m->stall_model = fuzz_below(r, 3);
	m->cd2l = fuzz_chance(r, 1, 2);
	m->ats = IS_ENABLED(CONFIG_PCI_ATS);
	host->s2fwb = fuzz_chance(r, 1, 2);
	host->shcfg = fuzz_chance(r, 1, 2);
	host->stalls = m->stall_model != 1 && fuzz_chance(r, 1, 2);

	smmu->features &= ~(ARM_SMMU_FEAT_STALLS | ARM_SMMU_FEAT_STALL_FORCE);
	if (m->stall_model != 1)
		smmu->features |= ARM_SMMU_FEAT_STALLS;
	if (m->stall_model == 2)
		smmu->features |= ARM_SMMU_FEAT_STALL_FORCE;
	if (m->cd2l)
		smmu->features |= ARM_SMMU_FEAT_2_LVL_CDTAB;
	if (host->shcfg)
		smmu->features |= ARM_SMMU_FEAT_ATTR_TYPES_OVR;
	if (host->s2fwb) {
		smmu->features |= ARM_SMMU_FEAT_S2FWB;
		vm->s2->pgtable.cfg.quirks = IO_PGTABLE_QUIRK_ARM_S2FWB;
	}
	smmu->ssid_bits = m->ssid_bits;
	smmu->ias = m->ipa_bits;

	for (i = 0; i < 3; i++) {
		struct fake_dev *fdev = fake_dev_alloc(r->test, vm->fake,
						       8 + 4 * i);

		host->fdevs[i] = fdev;
		fdev->master.stall_enabled = host->stalls;
		if (i == 1)
			fake_dev_add_ats(fdev, NULL);
		if (i == 2) {
			fdev->master.num_streams = 2;
			fdev->streams[1].id = fdev->streams[0].id + 1;
			fdev->streams[1].master = &fdev->master;
		}
		KUNIT_ASSERT_EQ(r->test, 0, fake_vdev_add(vm->vsmmu, fdev, i));
	}
	fake_smmu_drain(vm->fake);
}

static void random_host_free(struct fuzz *r, struct random_host *host)
{
	unsigned int i;

	for (i = 0; i < 3; i++) {
		struct iommu_domain *domain = host->fdevs[i]->master.domain;

		KUNIT_EXPECT_EQ(r->test, 0,
				fake_attach_bare(host->fdevs[i], NULL));
		if (domain && domain->type == IOMMU_DOMAIN_NESTED)
			domain->ops->free(domain);
	}
	fake_vm_free(host->vm);
	fake_smmu_drain(host->vm->fake);
	fake_expect_clean(r->test, host->vm->fake, host->vm->s2);
}

static void arm_vsmmu_test_random_stes(struct kunit *test)
{
	struct random_host host = {};
	unsigned int round, i, all;
	struct fuzz r;

	fuzz_init(&r, test);
	for (round = 0; round < random_rounds; round++) {
		fuzz_begin(&r, round);
		random_host_init(&r, &host);
		for (i = 0; i < RANDOM_STES; i++)
			check_guest_ste(&r, &host);
		random_host_free(&r, &host);
		cond_resched();
	}

	kunit_info(test,
		   "STEs: %u accepted (%u stage 1, %u bad, %u with ATS), %u refused",
		   host.accepted, host.nested, host.bad, host.ats, host.refused);
	all = host.accepted + host.refused;
	KUNIT_EXPECT_GE(test, host.accepted * 10, all);
	KUNIT_EXPECT_GE(test, host.refused * 10, all);
	KUNIT_EXPECT_GE(test, host.bad * 20, all);
	KUNIT_EXPECT_GE(test, (host.nested - host.bad) * 10, all);
	if (IS_ENABLED(CONFIG_PCI_ATS))
		KUNIT_EXPECT_GT(test, host.ats, 0);
}

static struct kunit_case random_test_cases[] = {
	KUNIT_CASE_SLOW(arm_vsmmu_test_random_cmds),
	KUNIT_CASE_SLOW(arm_vsmmu_test_random_stes),
	{},
};

static struct kunit_suite random_test_suite = {
	.name = "arm-smmu-v3-iommufd-random",
	.test_cases = random_test_cases,
};

kunit_test_suite(random_test_suite);
