// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of nested translation: a model of the effects that a guest may
 * have on the SMMU, and a generator of random inputs. Numbers of sections are
 * those of Arm IHI 0070.
 */
#include <linux/module.h>

#include "model.h"

static unsigned long long random_seed = 0x6a09e667f3bcc908ULL;
module_param(random_seed, ullong, 0444);
MODULE_PARM_DESC(random_seed, "Seed of the tests with random inputs");

unsigned int random_rounds = 32;
module_param(random_rounds, uint, 0444);
MODULE_PARM_DESC(random_rounds, "Rounds of each test with random inputs");

/*
 * Commands of a guest. take() clears each field in the words, so that only the
 * bits which belong to no field remain.
 */

struct fields {
	u64 word_0;
	u64 word_1;
	u32 sid;
	u32 ssid;
	u16 asid;
	unsigned int num;
	unsigned int scale;
	unsigned int ttl;
	unsigned int tg;
	unsigned int size;
	bool ssv;
	bool global;
	bool leaf;
	u64 page;
};

static u64 take(u64 *word, unsigned int hi, unsigned int lo)
{
	u64 val = (*word & BITS_64(hi, lo)) >> lo;

	*word &= ~BITS_64(hi, lo);
	return val;
}

static void take_va(struct fields *f)
{
	/* 4.4.1.1 */
	f->num = take(&f->word_0, 16, 12);
	f->scale = take(&f->word_0, 25, 20);
	f->leaf = take(&f->word_1, 0, 0);
	f->ttl = take(&f->word_1, 9, 8);
	f->tg = take(&f->word_1, 11, 10);
	f->page = take(&f->word_1, 63, 12);
}

/* Whether a range is Reserved, or uses fields that are RES0 (4.4.1.1) */
static bool bad_range(const struct model *m, const struct fields *f)
{
	bool empty = !f->num && !f->scale && !f->ttl;

	if (!m->ril)
		return !empty || f->tg;
	/* SCALE has 5 bits without IDR5.DS */
	if (f->scale > 31 && !m->ds)
		return true;
	/* Without TG the other fields are RES0, with TG not all can be 0 */
	if (!f->tg)
		return !empty;
	if (empty)
		return true;
	/* A granule of 16K has no blocks at level 1 without IDR5.DS */
	return f->tg == 2 && f->ttl == 1 && !m->ds;
}

static const struct model_dev *find_dev(const struct model *m, u32 vsid)
{
	unsigned int i;

	for (i = 0; i < MODEL_DEVS; i++)
		if (m->devs[i].present && m->devs[i].vsid == vsid)
			return &m->devs[i];
	return NULL;
}

/* The command goes to each StreamID of the device */
static int for_sids(const struct model_dev *dev, u64 word_0, u64 word_1,
		    u64 out[MODEL_OUT_MAX][2])
{
	unsigned int i;

	for (i = 0; i < dev->num_sids; i++) {
		out[i][0] = word_0 | (u64)dev->sids[i] << 32;
		out[i][1] = word_1;
	}
	return dev->num_sids;
}

/**
 * model_cmd - Decide on a command of a guest
 * @m: The SMMU and the VM
 * @cmd: The command
 * @out: The commands that the SMMU must get for it
 *
 * Return: the number of commands in @out, or -1 if the command is refused.
 */
int model_cmd(const struct model *m, const u64 cmd[2],
	      u64 out[MODEL_OUT_MAX][2])
{
	struct fields f = { .word_0 = cmd[0], .word_1 = cmd[1] };
	const u8 op = take(&f.word_0, 7, 0);
	const struct model_dev *dev = NULL;
	u64 tlbi = (u64)m->vmid << 32;

	switch (op) {
	case 0x05: /* 4.3.3 CFGI_CD */
		f.ssid = take(&f.word_0, 31, 12);
		f.leaf = take(&f.word_1, 0, 0);
		f.sid = take(&f.word_0, 63, 32);
		dev = find_dev(m, f.sid);
		break;
	case 0x06: /* 4.3.4 CFGI_CD_ALL */
		f.sid = take(&f.word_0, 63, 32);
		dev = find_dev(m, f.sid);
		break;
	case 0x10: /* 4.4.2.1 TLBI_NH_ALL */
		take(&f.word_0, 47, 32);
		break;
	case 0x11: /* 4.4.2.2 TLBI_NH_ASID */
		take(&f.word_0, 47, 32);
		f.asid = take(&f.word_0, 63, 48);
		break;
	case 0x13: /* 4.4.2.3 TLBI_NH_VAA */
		take(&f.word_0, 47, 32);
		take_va(&f);
		break;
	case 0x12: /* 4.4.2.4 TLBI_NH_VA */
		take(&f.word_0, 47, 32);
		f.asid = take(&f.word_0, 63, 48);
		take_va(&f);
		break;
	case 0x30: /* 4.4.4.1 TLBI_NSNH_ALL */
		break;
	case 0x40: /* 4.5.1 ATC_INV */
		if (!m->ats)
			return -1;
		f.global = take(&f.word_0, 9, 9);
		f.ssv = take(&f.word_0, 11, 11);
		f.ssid = take(&f.word_0, 31, 12);
		f.sid = take(&f.word_0, 63, 32);
		f.size = take(&f.word_1, 5, 0);
		f.page = take(&f.word_1, 63, 12);
		dev = find_dev(m, f.sid);
		break;
	default:
		return -1;
	}
	if (f.word_0 || f.word_1)
		return -1;
	/* The uAPI has fields for PASIDs only on an SMMU with substreams */
	if (!m->ssid_bits && (f.ssid || f.ssv || f.global))
		return -1;
	/* 4.4: the upper byte of an ASID may be RES0 */
	if (f.asid > 0xff && !m->asid16)
		return -1;
	if (bad_range(m, &f) || f.size > 52)
		return -1;
	if ((op == 0x05 || op == 0x06 || op == 0x40) && !dev)
		return -1;
	if (!m->has_vmid)
		return 0;

	switch (op) {
	case 0x05:
		return for_sids(dev, op | (u64)f.ssid << 12, f.leaf, out);
	case 0x06:
		return for_sids(dev, op, 0, out);
	case 0x40:
		if (!dev->answers || (f.ssv && !dev->pasids))
			return 0;
		return for_sids(dev, op | (u64)f.global << 9 |
				(u64)f.ssv << 11 | (u64)f.ssid << 12,
				f.size | f.page << 12, out);
	case 0x30:
		/* The command must not reach other VMs */
		out[0][0] = 0x10 | tlbi;
		out[0][1] = 0;
		return 1;
	default:
		out[0][0] = op | tlbi | (u64)f.num << 12 | (u64)f.scale << 20 |
			    (u64)f.asid << 48;
		out[0][1] = f.leaf | f.ttl << 8 | f.tg << 10 | f.page << 12;
		return 1;
	}
}

/**
 * model_sync - Decide on a CMD_SYNC in a queue of a guest
 * @cmd: The command
 *
 * Without a signal, the fields of the MSI are IGNORED (4.7.3). The queues have
 * no other signal.
 *
 * Return: true if it is a CMD_SYNC that the queue accepts.
 */
bool model_sync(const u64 cmd[2])
{
	u64 word_0 = cmd[0], word_1 = cmd[1];

	if (take(&word_0, 7, 0) != 0x46)
		return false;
	take(&word_0, 23, 22);
	take(&word_0, 27, 24);
	take(&word_0, 63, 32);
	/* Bits 55 to 52 are RES0 up to SMMUv3.3 (4.1.6) */
	take(&word_1, 51, 2);
	return !word_0 && !word_1;
}

/**
 * model_refuses - Decide on a command in the queue of the SMMU
 * @m: The SMMU and the only VM that sends commands
 * @cmd: The command
 *
 * Return: NULL, or the reason why the command must not be there.
 */
const char *model_refuses(const struct model *m, const u64 cmd[2])
{
	const u32 sid = cmd[0] >> 32;
	const u16 vmid = cmd[0] >> 32;
	bool has_sid = false, has_vmid = false;
	u64 res0, res0_1 = ~0ULL;
	unsigned int i, j;

	switch (cmd[0] & 0xff) {
	case 0x05:
		res0 = BITS_64(11, 8);
		res0_1 = BITS_64(63, 1);
		has_sid = true;
		break;
	case 0x06:
		res0 = BITS_64(31, 8);
		has_sid = true;
		break;
	case 0x10:
		res0 = BITS_64(31, 8) | BITS_64(63, 48);
		has_vmid = true;
		break;
	case 0x11:
		res0 = BITS_64(31, 8);
		has_vmid = true;
		break;
	case 0x12:
		res0 = BITS_64(11, 8) | BITS_64(19, 17) | BITS_64(31, 26);
		res0_1 = BITS_64(7, 1);
		has_vmid = true;
		break;
	case 0x13:
		res0 = BITS_64(11, 8) | BITS_64(19, 17) | BITS_64(31, 26) |
		       BITS_64(63, 48);
		res0_1 = BITS_64(7, 1);
		has_vmid = true;
		break;
	case 0x40:
		if (!m->ats)
			return "ATC_INV without ATS";
		if ((cmd[1] & 0x3f) > 52)
			return "ATC_INV of an unknown span";
		res0 = BIT_ULL(8) | BIT_ULL(10);
		res0_1 = BITS_64(11, 6);
		has_sid = true;
		break;
	case 0x46:
		/* 4.7.3. This is the driver's own CMD_SYNC. */
		if ((cmd[0] & BITS_64(13, 12)) == BITS_64(13, 12))
			return "CMD_SYNC with a Reserved signal";
		res0 = BITS_64(11, 8) | BITS_64(21, 14) | BITS_64(31, 28);
		res0_1 = BITS_64(1, 0) | BITS_64(63, 52);
		break;
	default:
		return "the opcode is not for guests";
	}
	if (cmd[0] & res0 || cmd[1] & res0_1)
		return "a RES0 bit";
	if (has_vmid && (!m->has_vmid || vmid != m->vmid))
		return "a foreign VMID";
	if (has_vmid && !m->asid16 && cmd[0] & BITS_64(63, 56))
		return "an ASID of 16 bits";
	if (has_vmid && !m->ril && (cmd[0] & BITS_64(25, 12) ||
				    cmd[1] & BITS_64(11, 8)))
		return "a range";
	if (!has_sid)
		return NULL;
	for (i = 0; i < MODEL_DEVS; i++)
		for (j = 0; j < m->devs[i].num_sids; j++)
			if (m->devs[i].present && m->devs[i].sids[j] == sid)
				return NULL;
	return "a foreign StreamID";
}

/**
 * model_ste_allowed - Decide whether a guest may use an STE, by the uAPI
 * @ste: Words 0 and 1
 *
 * Return: false if the uAPI refuses it.
 */
bool model_ste_allowed(const u64 ste[2])
{
	u64 word_0 = ste[0], word_1 = ste[1];
	unsigned int cfg, eats;

	if (!take(&word_0, 0, 0))
		return true;
	cfg = take(&word_0, 3, 1);
	/* S1Fmt, S1ContextPtr, S1CDMax */
	take(&word_0, 5, 4);
	take(&word_0, 51, 6);
	take(&word_0, 63, 59);
	/* S1DSS, S1CIR, S1COR, S1CSH, S1STALLD */
	take(&word_1, 7, 0);
	take(&word_1, 27, 27);
	eats = take(&word_1, 29, 28);
	if (word_0 || word_1 || eats > 1)
		return false;
	return cfg == 0 || cfg == 4 || cfg == 5;
}

/**
 * model_ste_illegal - Would the SMMU refuse an STE?
 * @m: The SMMU
 * @ste: The STE, of a Non-secure stream
 *
 * This follows 5.2.2, for an SMMU with both stages. Fields that describe the
 * tables of stage 2 are not judged here: they are those of the fake nesting
 * parent, and the test compares them.
 *
 * Return: true if it is invalid or ILLEGAL.
 */
bool model_ste_illegal(const struct model_ste *m, const u64 ste[8])
{
	const unsigned int cfg = ste[0] >> 1 & 7;
	const bool s1 = cfg & 1, s2 = cfg & 2;
	const unsigned int s1fmt = ste[0] >> 4 & 3, s1cdmax = ste[0] >> 59;
	const unsigned int eats = ste[1] >> 28 & 3, strw = ste[1] >> 30 & 3;
	const bool s1stalld = ste[1] & BIT_ULL(27);
	const bool s2s = ste[2] & BIT_ULL(57);

	if (!(ste[0] & 1))
		return true;
	if (cfg < 4)
		return false;
	if (m->ats && cfg != 4) {
		if (eats == 2 && (cfg != 7 || s2s))
			return true;
		if (eats == 1 && s2s && s2)
			return true;
	}
	/* STRW is used if there is no stage 2, and then must be NS-EL1 */
	if (cfg == 5 && strw)
		return true;
	if (s1) {
		if (s1stalld && m->stall_model)
			return true;
		if (m->ssid_bits && s1cdmax > m->ssid_bits)
			return true;
		if (m->ssid_bits && s1cdmax && !m->cd2l &&
		    (s1fmt == 1 || s1fmt == 2))
			return true;
		if ((ste[0] & BITS_64(51, 6)) >> m->ipa_bits)
			return true;
	}
	if (s2) {
		if (s2s && m->stall_model == 1)
			return true;
		if (!s2s && m->stall_model == 2)
			return true;
	}
	return false;
}

/*
 * Random numbers
 */

void fuzz_init(struct fuzz *r, struct kunit *test)
{
	memset(r, 0, sizeof(*r));
	r->test = test;
	r->seed = random_seed;
}

void fuzz_begin(struct fuzz *r, unsigned int round)
{
	r->round = round;
	prandom_seed_state(&r->state, r->seed + round * 0x9e3779b97f4a7c15ULL);
}

u32 fuzz_below(struct fuzz *r, u32 num)
{
	return reciprocal_scale(prandom_u32_state(&r->state), num);
}

u64 fuzz_u64(struct fuzz *r)
{
	u64 hi = prandom_u32_state(&r->state);

	return hi << 32 | prandom_u32_state(&r->state);
}

/*
 * Random VMs
 */

static void random_dev(struct fuzz *r, struct random_vm *rvm, unsigned int i)
{
	struct model_dev *dev = &rvm->model.devs[i];
	struct fake_dev *fdev = rvm->fdevs[i];
	bool ats, d0;

	ats = fuzz_chance(r, 3, 4);
	d0 = fuzz_chance(r, 7, 8);
	WRITE_ONCE(fdev->master.guest_ats, ats);
	fdev->pci.current_state = d0 ? PCI_D0 : PCI_D3hot;
	dev->answers = ats && d0;
}

static void random_vdev_add(struct fuzz *r, struct random_vm *rvm,
			    unsigned int i)
{
	struct model_dev *dev = &rvm->model.devs[i];

	KUNIT_ASSERT_EQ(r->test, 0, fake_vdev_add(rvm->vm->vsmmu, rvm->fdevs[i],
						  dev->vsid));
	dev->present = true;
}

/* Return a vSID that no other device has. It may equal a physical StreamID. */
static u32 random_vsid(struct fuzz *r, const struct random_vm *rvm)
{
	static const u32 edges[] = { 0, 1, FAKE_VM_SID, 40, 0xfffff };
	unsigned int i;
	u32 vsid;

again:
	vsid = fuzz_chance(r, 1, 2) ?
	       edges[fuzz_below(r, ARRAY_SIZE(edges))] :
	       fuzz_below(r, 0x100000);
	for (i = 0; i < MODEL_DEVS; i++)
		if (rvm->fdevs[i] && rvm->model.devs[i].vsid == vsid)
			goto again;
	return vsid;
}

/* Make a VM of fake_vm_alloc() random */
void random_vm_init(struct fuzz *r, struct random_vm *rvm, struct fake_vm *vm)
{
	struct arm_smmu_device *smmu = &vm->fake->smmu;
	struct model *m = &rvm->model;
	unsigned int i, j;

	memset(rvm, 0, sizeof(*rvm));
	rvm->vm = vm;
	m->ril = fuzz_chance(r, 3, 4);
	m->ds = fuzz_chance(r, 1, 2);
	m->asid16 = fuzz_chance(r, 3, 4);
	m->ats = fuzz_chance(r, 3, 4);
	m->ssid_bits = fuzz_chance(r, 3, 4) ? 20 : 0;
	m->has_vmid = true;
	m->vmid = 3 + fuzz_below(r, 0xfff0);

	smmu->features &= ~(ARM_SMMU_FEAT_RANGE_INV | ARM_SMMU_FEAT_ATS);
	if (m->ril)
		smmu->features |= ARM_SMMU_FEAT_RANGE_INV;
	if (m->ats)
		smmu->features |= ARM_SMMU_FEAT_ATS;
	smmu->ssid_bits = m->ssid_bits;
	smmu->asid_bits = m->asid16 ? 16 : 8;
	/* IDR5.DS; the other bits must have no effect */
	vm->fake->regs[FAKE_IDR5] = cpu_to_le32(((u32)fuzz_u64(r) & ~BIT(7)) |
						(m->ds ? BIT(7) : 0));
	arm_vsmmu_cmd_rules_init(&vm->vsmmu->rules, smmu);
	vm->tag->vmid = m->vmid;

	fake_vdev_del(vm->vsmmu, vm->fdev);
	for (i = 0; i < MODEL_DEVS; i++) {
		struct model_dev *dev = &m->devs[i];
		struct fake_dev *fdev = fake_dev_alloc(r->test, vm->fake, 0);

		dev->vsid = random_vsid(r, rvm);
		rvm->fdevs[i] = fdev;
		dev->pasids = m->ssid_bits && fuzz_chance(r, 2, 3);
		fdev->master.ssid_bits = dev->pasids ? m->ssid_bits : 0;
		dev->num_sids = i ? 1 : 1 + fuzz_below(r, FAKE_STREAMS);
		fdev->master.num_streams = dev->num_sids;
		for (j = 0; j < dev->num_sids; j++) {
			dev->sids[j] = 8 + 4 * i + j;
			fdev->streams[j].id = dev->sids[j];
			fdev->streams[j].master = &fdev->master;
		}
		random_dev(r, rvm, i);
		random_vdev_add(r, rvm, i);
	}

	/* The vSID of the other VM may equal a vSID of this VM */
	rvm->other = fake_vsmmu_alloc(r->test, vm->fake, vm->s2);
	rvm->other_dev = fake_dev_alloc(r->test, vm->fake, 40);
	rvm->other_vsid = fuzz_chance(r, 1, 2) ? m->devs[0].vsid :
						   random_vsid(r, rvm);
	KUNIT_ASSERT_EQ(r->test, 0, fake_vdev_add(rvm->other, rvm->other_dev,
						  rvm->other_vsid));
	fake_nested_init(&rvm->other_nested, rvm->other, STE_S1);
	rvm->other_tag = fake_get_tag(rvm->other_dev,
				      &rvm->other_nested.domain);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(r->test, rvm->other_tag);
}

/* Devices come and go, sleep, and change their ATS */
void random_vm_change(struct fuzz *r, struct random_vm *rvm)
{
	unsigned int i = fuzz_below(r, MODEL_DEVS);
	struct model_dev *dev = &rvm->model.devs[i];

	random_dev(r, rvm, i);
	if (dev->present && fuzz_chance(r, 1, 4)) {
		fake_vdev_del(rvm->vm->vsmmu, rvm->fdevs[i]);
		dev->present = false;
	} else if (!dev->present && fuzz_chance(r, 3, 4)) {
		random_vdev_add(r, rvm, i);
	}
}

void random_vm_free(struct random_vm *rvm)
{
	unsigned int i;

	for (i = 0; i < MODEL_DEVS; i++)
		if (rvm->model.devs[i].present)
			fake_vdev_del(rvm->vm->vsmmu, rvm->fdevs[i]);
	fake_put_tag(rvm->other_tag, true);
	fake_vdev_del(rvm->other, rvm->other_dev);
}

static u32 random_sid(struct fuzz *r, const struct random_vm *rvm, bool bad)
{
	const struct model_dev *dev =
		&rvm->model.devs[fuzz_below(r, MODEL_DEVS)];

	if (!bad)
		return dev->vsid;
	switch (fuzz_below(r, 4)) {
	case 0:
		return dev->sids[fuzz_below(r, dev->num_sids)];
	case 1:
		return rvm->other_vsid;
	case 2:
		return 40;
	default:
		return fuzz_u64(r);
	}
}

/*
 * A command that the guest may send or, with a chance of @bad in 256, a similar
 * command that is likely to be refused.
 */
void random_cmd(struct fuzz *r, const struct random_vm *rvm,
		unsigned int bad, u64 cmd[2])
{
	static const u8 ops[] = { 0x05, 0x06, 0x10, 0x11, 0x12, 0x12, 0x13, 0x30,
				  0x40, 0x40 };
	/* Commands of hosts: CFGI_STE and _ALL, EL2, stage 2, PRI, stalls */
	static const u8 host_ops[] = { 0x01, 0x02, 0x03, 0x04, 0x18, 0x1a, 0x20,
				       0x21, 0x22, 0x28, 0x2a, 0x41, 0x44, 0x45,
				       0x46, 0x50, 0x60 };
	const struct model *m = &rvm->model;
	bool is_bad = fuzz_chance(r, bad, 256);
	/* The kind of the deviation. 8 means none. */
	unsigned int kind = is_bad ? fuzz_below(r, 8) : 8;
	/* Bit to flip. Prefer the ranges that hold most of the RES0 bits. */
	unsigned int bit = fuzz_chance(r, 1, 4) ? fuzz_below(r, 64) :
			   fuzz_chance(r, 2, 3) ? 8 + fuzz_below(r, 24) :
						  64 + fuzz_below(r, 12);
	u8 op = ops[fuzz_below(r, ARRAY_SIZE(ops))];
	u64 any = fuzz_u64(r);

	/* Commands and fields of features that the SMMU lacks are bad, too */
	if (op == 0x40 && !m->ats && !is_bad)
		op = 0x12;
	cmd[0] = op;
	cmd[1] = 0;
	switch (op) {
	case 0x05:
		if (m->ssid_bits || is_bad)
			cmd[0] |= any & BITS_64(31, 12);
		cmd[1] = fuzz_below(r, 2);
		break;
	case 0x40:
		if (m->ssid_bits || is_bad)
			cmd[0] |= any & (BITS_64(31, 11) | BIT_ULL(9));
		cmd[1] = (fuzz_u64(r) & BITS_64(63, 12)) |
			 fuzz_below(r, kind ? 53 : 64);
		break;
	case 0x12:
	case 0x11:
		cmd[0] |= any & (m->asid16 || is_bad ? BITS_64(63, 48) :
							BITS_64(55, 48));
		break;
	}
	if (op == 0x12 || op == 0x13) {
		cmd[1] = fuzz_u64(r) & (BITS_64(63, 12) | 1);
		if ((m->ril || is_bad) && fuzz_chance(r, 1, 2)) {
			cmd[0] |= any & (m->ds ? BITS_64(25, 20) :
						 BITS_64(24, 20));
			cmd[0] |= any & BITS_64(16, 12);
			/* TG 4K or 64K: with TG 16K, TTL 1 would need DS */
			cmd[1] |= (1 + 2 * fuzz_below(r, 2)) << 10;
			cmd[1] |= (1 + fuzz_below(r, 3)) << 8;
		} else if (m->ril && is_bad) {
			/* Edge values in all combinations. Few are valid. */
			cmd[0] |= any & BITS_64(31, 30) ? 0 : BIT_ULL(12);
			cmd[0] |= any & BITS_64(29, 28) ? 0 : BIT_ULL(25);
			cmd[1] |= fuzz_below(r, 16) << 8;
			return;
		}
	}
	if (op == 0x05 || op == 0x06 || op == 0x40)
		cmd[0] |= (u64)random_sid(r, rvm, kind == 4 || kind == 5) << 32;
	else if (op != 0x30)
		cmd[0] |= any & BITS_64(47, 32);

	switch (kind) {
	case 1:
		cmd[0] = (cmd[0] & ~0xffULL) |
			 host_ops[fuzz_below(r, ARRAY_SIZE(host_ops))];
		break;
	case 2:
	case 3:
	case 6:
		cmd[bit / 64] ^= BIT_ULL(bit % 64);
		break;
	case 7:
		cmd[bit % 2] = fuzz_u64(r);
		break;
	}
}
