// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of nested translation: the commands that a guest may send.
 */
#include "fake.h"

enum {
	F_RIL = BIT(0),
	F_DS = BIT(1),
	F_SSID = BIT(2),
	F_ASID16 = BIT(3),
	F_ATS = BIT(4),
	F_ALL = BIT(5) - 1,
};

/* The table of the uAPI: bits of word 0 and word 1, and their conditions */
struct guest_cmd {
	unsigned int needs;
	u64 word_0;
	u64 word_0_ssid;
	u64 word_0_asid16;
	u64 word_0_ril;
	u64 word_0_ds;
	u64 word_1;
	u64 word_1_ril;
	bool is_stream;
};

static const struct guest_cmd guest_cmds[256] = {
	[OP_CFGI_CD] = {
		.word_0 = BITS_64(63, 32),
		.word_0_ssid = BITS_64(31, 12),
		.word_1 = BIT_ULL(0),
		.is_stream = true,
	},
	[OP_CFGI_CD_ALL] = {
		.word_0 = BITS_64(63, 32),
		.is_stream = true,
	},
	[OP_TLBI_NH_ALL] = {
		.word_0 = BITS_64(47, 32),
	},
	[OP_TLBI_NH_ASID] = {
		.word_0 = BITS_64(55, 32),
		.word_0_asid16 = BITS_64(63, 56),
	},
	[OP_TLBI_NH_VA] = {
		.word_0 = BITS_64(55, 32),
		.word_0_asid16 = BITS_64(63, 56),
		.word_0_ril = BITS_64(16, 12) | BITS_64(24, 20),
		.word_0_ds = BIT_ULL(25),
		.word_1 = BIT_ULL(0) | BITS_64(63, 12),
		.word_1_ril = BITS_64(9, 8) | BITS_64(11, 10),
	},
	[OP_TLBI_NH_VAA] = {
		.word_0 = BITS_64(47, 32),
		.word_0_ril = BITS_64(16, 12) | BITS_64(24, 20),
		.word_0_ds = BIT_ULL(25),
		.word_1 = BIT_ULL(0) | BITS_64(63, 12),
		.word_1_ril = BITS_64(9, 8) | BITS_64(11, 10),
	},
	[OP_TLBI_NSNH_ALL] = { },
	[OP_ATC_INV] = {
		.needs = F_ATS,
		.word_0 = BITS_64(63, 32),
		.word_0_ssid = BIT_ULL(11) | BIT_ULL(9) | BITS_64(31, 12),
		.word_1 = BITS_64(5, 0) | BITS_64(63, 12),
		.is_stream = true,
	},
};

static bool guest_cmd_exists(unsigned int op)
{
	return guest_cmds[op].word_0 || op == OP_TLBI_NSNH_ALL;
}

static bool guest_cmd_ok(unsigned int feats, u64 word_0, u64 word_1)
{
	unsigned int op = word_0 & 0xff;
	const struct guest_cmd *cmd = &guest_cmds[op];
	u64 allow_0 = cmd->word_0 | 0xff, allow_1 = cmd->word_1;
	u64 num, scale, ttl, tg;

	if (!guest_cmd_exists(op) || (feats & cmd->needs) != cmd->needs)
		return false;
	if (feats & F_SSID)
		allow_0 |= cmd->word_0_ssid;
	if (feats & F_ASID16)
		allow_0 |= cmd->word_0_asid16;
	if (feats & F_RIL) {
		allow_0 |= cmd->word_0_ril;
		allow_1 |= cmd->word_1_ril;
		if (feats & F_DS)
			allow_0 |= cmd->word_0_ds;
	}
	if (word_0 & ~allow_0 || word_1 & ~allow_1)
		return false;

	if (op == OP_TLBI_NH_VA || op == OP_TLBI_NH_VAA) {
		num = word_0 >> 12 & 0x1f;
		scale = word_0 >> 20 & 0x3f;
		ttl = word_1 >> 8 & 3;
		tg = word_1 >> 10 & 3;
		if (tg == 0)
			return !num && !scale && !ttl;
		if (!num && !scale && !ttl)
			return false;
		if (tg == 2 && ttl == 1 && !(feats & F_DS))
			return false;
	}
	if (op == OP_ATC_INV && (word_1 & 0x3f) > 52)
		return false;
	return true;
}

/* The command issued for a valid word 0, with the SIDs of fake_feats_alloc() */
static void guest_cmd_issued(u64 *word_0)
{
	unsigned int op = *word_0 & 0xff;

	if (op == OP_TLBI_NSNH_ALL)
		*word_0 = OP_TLBI_NH_ALL;
	if (guest_cmds[op].is_stream)
		*word_0 = (*word_0 & 0xffffffff) | CMD_SID(FAKE_VM_SID);
	else
		*word_0 = (*word_0 & ~BITS_64(47, 32)) | CMD_VMID(0x1234);
}

static void check_guest_cmd_issued(struct kunit *test, struct fake_vm *vm,
				   u64 word_0, u64 word_1)
{
	u64 got[2], want = word_0;

	guest_cmd_issued(&want);
	if (!fake_smmu_next(vm->fake, got) || got[0] != want ||
	    got[1] != word_1)
		KUNIT_FAIL(test, "%016llx %016llx: issued %016llx %016llx",
			   word_0, word_1, got[0], got[1]);
}

/* Check a command that follows the valid command @first, or is alone if 0 */
static void __check_guest_cmd(struct kunit *test, struct fake_vm *vm,
			      unsigned int feats, u64 first, u64 word_0,
			      u64 word_1)
{
	bool ok = guest_cmd_ok(feats, word_0, word_1);
	unsigned int behind = first ? 1 : 0;
	u32 num = behind + 1;
	u64 got[2];
	int ret;

	if (first)
		fake_write(test, vm->user, 0, first, 0);
	fake_write(test, vm->user, behind, word_0, word_1);
	ret = fake_inval(vm->vsmmu, vm->user, 16, &num);
	if (ret != (ok ? 0 : -EIO) || num != behind + ok) {
		KUNIT_FAIL(test,
			   "features %#x: %016llx %016llx behind %llx: %d, %u",
			   feats, word_0, word_1, first, ret, num);
		fake_smmu_drain(vm->fake);
		return;
	}
	if (first)
		check_guest_cmd_issued(test, vm, first, 0);
	if (ok)
		check_guest_cmd_issued(test, vm, word_0, word_1);
	if ((first || ok) && (!fake_smmu_next(vm->fake, got) ||
			      (got[0] & 0xff) != OP_SYNC))
		KUNIT_FAIL(test, "%016llx %016llx: no CMD_SYNC", word_0,
			   word_1);
	if (fake_smmu_next(vm->fake, got)) {
		KUNIT_FAIL(test,
			   "features %#x: %016llx %016llx: also %016llx %016llx",
			   feats, word_0, word_1, got[0], got[1]);
		fake_smmu_drain(vm->fake);
	}
}

/*
 * Check a command alone, and after commands that are issued as one run with
 * those that follow: it may join the run only if it is of the same kind.
 */
static void check_guest_cmd(struct kunit *test, struct fake_vm *vm,
			    unsigned int feats, u64 word_0, u64 word_1)
{
	static const u64 tlbis[] = { OP_TLBI_NH_ALL, OP_TLBI_NH_ASID,
				     OP_TLBI_NH_VA, OP_TLBI_NH_VAA };
	const u64 vsid = word_0 & BITS_64(63, 32);
	const unsigned int op = word_0 & 0xff;
	unsigned int i;

	__check_guest_cmd(test, vm, feats, 0, word_0, word_1);
	/* 0 is not an opcode, but as a stream command it would have vSID 0 */
	if (guest_cmds[op].is_stream || !word_0)
		__check_guest_cmd(test, vm, feats, OP_CFGI_CD_ALL | vsid,
				  word_0, word_1);
	/* To save time, check unknown opcodes only without any other bit */
	if (!guest_cmd_exists(op) && (word_0 != op || word_1))
		return;
	for (i = 0; i < ARRAY_SIZE(tlbis); i++)
		__check_guest_cmd(test, vm, feats, tlbis[i], word_0, word_1);
}

/* A VM on an SMMU with these features, and a device with many vSIDs */
static struct fake_vm *fake_feats_alloc(struct kunit *test, unsigned int feats)
{
	struct fake_vm *vm =
		fake_vm_alloc(test, 0, FAKE_QUEUE_SHIFT, PAGE_SIZE);
	struct arm_smmu_device *smmu = &vm->fake->smmu;
	unsigned int bit;

	if (feats & F_RIL)
		smmu->features |= ARM_SMMU_FEAT_RANGE_INV;
	if (feats & F_ATS)
		smmu->features |= ARM_SMMU_FEAT_ATS;
	smmu->ssid_bits = feats & F_SSID ? 20 : 0;
	vm->fdev->master.ssid_bits = smmu->ssid_bits;
	smmu->asid_bits = feats & F_ASID16 ? 16 : 8;
	/* Set all other bits: none of them may have an effect */
	vm->fake->regs[FAKE_IDR5] =
		cpu_to_le32(feats & F_DS ? U32_MAX : U32_MAX - BIT(7));
	arm_vsmmu_cmd_rules_init(&vm->vsmmu->rules, smmu);
	vm->fdev->master.guest_ats = true;

	KUNIT_ASSERT_EQ(test, 0,
			xa_err(xa_store(&vm->vsmmu->core.vdevs, 0,
					&vm->fdev->vdev, GFP_KERNEL)));
	for (bit = 0; bit < 32; bit++)
		KUNIT_ASSERT_EQ(test, 0,
				xa_err(xa_store(&vm->vsmmu->core.vdevs,
						BIT(bit), &vm->fdev->vdev,
						GFP_KERNEL)));
	return vm;
}

static const void *feats_gen_params(const void *prev, char *desc)
{
	/* Features plus 1, as NULL ends the list */
	unsigned long feats = (unsigned long)prev;

	if (feats > F_ALL)
		return NULL;
	snprintf(desc, KUNIT_PARAM_DESC_SIZE, "%s%s%s%s%s",
		 feats & F_RIL ? "RIL " : "", feats & F_DS ? "DS " : "",
		 feats & F_SSID ? "SSID " : "",
		 feats & F_ASID16 ? "ASID16 " : "", feats & F_ATS ? "ATS" : "");
	return (void *)(feats + 1);
}

static unsigned int feats_param(struct kunit *test)
{
	return (unsigned long)test->param_value - 1;
}

static void arm_vsmmu_test_cmd_bits(struct kunit *test)
{
	unsigned int feats = feats_param(test);
	struct fake_vm *vm = fake_feats_alloc(test, feats);
	/* TG 4K, TTL 3, NUM 1: each bit of the range is valid by itself */
	const u64 range_0 = 1 << 12, range_1 = 1 << 10 | 3 << 8;
	unsigned int op, bit;
	u64 word;

	for (op = 0; op < 256; op++) {
		check_guest_cmd(test, vm, feats, op, 0);
		for (bit = 0; bit < 64; bit++) {
			word = BIT_ULL(bit);
			/* The low bits are the opcode */
			if (bit >= 8)
				check_guest_cmd(test, vm, feats, op | word, 0);
			check_guest_cmd(test, vm, feats, op, word);
		}
		cond_resched();
	}

	for (op = OP_TLBI_NH_VA; op <= OP_TLBI_NH_VAA; op++) {
		check_guest_cmd(test, vm, feats, op | range_0, range_1);
		for (bit = 0; bit < 64; bit++) {
			word = BIT_ULL(bit);
			if (bit >= 8)
				check_guest_cmd(test, vm, feats,
						op | (range_0 ^ word), range_1);
			check_guest_cmd(test, vm, feats, op | range_0,
					range_1 ^ word);
		}
	}
	fake_vm_free(vm);
}

/* Every bit that a valid command may have, at once */
static void arm_vsmmu_test_cmd_all_bits(struct kunit *test)
{
	unsigned int feats = feats_param(test);
	struct fake_vm *vm = fake_feats_alloc(test, feats);
	const struct guest_cmd *cmd;
	u64 word_0, word_1;
	unsigned int op;

	for (op = 0; op < 256; op++) {
		cmd = &guest_cmds[op];
		word_0 = op | cmd->word_0;
		word_1 = cmd->word_1;
		if (cmd->is_stream) {
			word_0 &= ~CMD_SID(~0U);
			word_0 |= CMD_SID(FAKE_VM_VSID);
		}
		if (op == OP_ATC_INV)
			word_1 = BITS_64(63, 12) | 52;
		check_guest_cmd(test, vm, feats, word_0, word_1);
		check_guest_cmd(test, vm, feats, word_0 | cmd->word_0_asid16,
				word_1);
		check_guest_cmd(test, vm, feats, word_0 | cmd->word_0_ssid,
				word_1);
		check_guest_cmd(test, vm, feats, word_0 | cmd->word_0_ril,
				word_1 | cmd->word_1_ril);
		check_guest_cmd(test, vm, feats,
				word_0 | cmd->word_0_ril | cmd->word_0_ds,
				word_1 | cmd->word_1_ril);
	}
	fake_vm_free(vm);
}

/* All combinations of TG and TTL with the edges of NUM and SCALE */
static void arm_vsmmu_test_cmd_range(struct kunit *test)
{
	static const u8 nums[] = { 0, 1, 16, 31 };
	static const u8 scales[] = { 0, 1, 16, 31, 32, 33, 63 };
	unsigned int feats = feats_param(test);
	struct fake_vm *vm = fake_feats_alloc(test, feats);
	unsigned int i, num, scale;
	u64 word_0, word_1;

	for (i = 0; i < 16; i++) {
		word_1 = i << 8;
		for (num = 0; num < ARRAY_SIZE(nums); num++) {
			for (scale = 0; scale < ARRAY_SIZE(scales); scale++) {
				word_0 = nums[num] << 12 | scales[scale] << 20;
				check_guest_cmd(test, vm, feats,
						word_0 | OP_TLBI_NH_VA, word_1);
				check_guest_cmd(test, vm, feats,
						word_0 | OP_TLBI_NH_VAA,
						word_1);
			}
		}
	}
	fake_vm_free(vm);
}

static void arm_vsmmu_test_cmd_atc_size(struct kunit *test)
{
	unsigned int feats = feats_param(test);
	struct fake_vm *vm = fake_feats_alloc(test, feats);
	unsigned int size;

	for (size = 0; size < 64; size++)
		check_guest_cmd(test, vm, feats,
				OP_ATC_INV | CMD_SID(FAKE_VM_VSID),
				0x12345000 | size);
	fake_vm_free(vm);
}

static struct kunit_case cmd_test_cases[] = {
	KUNIT_CASE_PARAM_ATTR(arm_vsmmu_test_cmd_bits, feats_gen_params,
			      { .speed = KUNIT_SPEED_SLOW }),
	KUNIT_CASE_PARAM(arm_vsmmu_test_cmd_all_bits, feats_gen_params),
	KUNIT_CASE_PARAM(arm_vsmmu_test_cmd_range, feats_gen_params),
	KUNIT_CASE_PARAM(arm_vsmmu_test_cmd_atc_size, feats_gen_params),
	{},
};

static struct kunit_suite cmd_test_suite = {
	.name = "arm-smmu-v3-iommufd-cmd",
	.test_cases = cmd_test_cases,
};

kunit_test_suite(cmd_test_suite);
