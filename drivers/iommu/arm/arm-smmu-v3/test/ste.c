// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of nested translation: STEs of a guest, the physical STEs made of
 * them, and their updates.
 */
#include "fake.h"

/*
 * Guest STEs
 */

/*
 * Bits permitted by the uAPI: V, Cfg, S1Fmt, S1ContextPtr and S1CDMax in word 0,
 * all other fields in word 1
 */
#define GUEST_STE_0 (BITS_64(5, 0) | BITS_64(51, 6) | BITS_64(63, 59))
#define GUEST_STE_1 (BITS_64(7, 0) | BIT_ULL(27) | BITS_64(29, 28))

static bool guest_ste_ok(u64 word_0, u64 word_1)
{
	unsigned int cfg = word_0 >> 1 & 7;

	if (!(word_0 & STE_V))
		return true;
	if (word_0 & ~GUEST_STE_0 || word_1 & ~GUEST_STE_1)
		return false;
	return (cfg == 0 || cfg == 4 || cfg == 5) && (word_1 >> 28 & 3) < 2;
}

static void check_guest_ste(struct kunit *test, u64 word_0, u64 word_1)
{
	__le64 ste[2] = { cpu_to_le64(word_0), cpu_to_le64(word_1) };
	int ret = arm_smmu_nested_check_ste(ste);

	if (ret != (guest_ste_ok(word_0, word_1) ? 0 : -EIO))
		KUNIT_FAIL(test, "%016llx %016llx: %d", word_0, word_1, ret);
}

static void arm_vsmmu_test_guest_ste_bits(struct kunit *test)
{
	static const u64 bases[] = { STE_ABORT, STE_BYPASS, STE_S1 };
	unsigned int i, bit;

	for (i = 0; i < ARRAY_SIZE(bases); i++) {
		for (bit = 0; bit < 64; bit++) {
			check_guest_ste(test, bases[i] ^ BIT_ULL(bit), 0);
			check_guest_ste(test, bases[i], BIT_ULL(bit));
		}
		check_guest_ste(test, bases[i] | (GUEST_STE_0 & ~0xfULL),
				GUEST_STE_1 & ~BIT_ULL(29));
	}
}

static void arm_vsmmu_test_guest_ste_values(struct kunit *test)
{
	unsigned int cfg, eats, v;

	for (v = 0; v < 2; v++)
		for (cfg = 0; cfg < 8; cfg++)
			for (eats = 0; eats < 4; eats++)
				check_guest_ste(test, v | STE_CFG(cfg),
						STE_1_EATS(eats));
	/* V == 0 permits any other bits */
	check_guest_ste(test, ~STE_V, ~0ULL);
}

static void arm_vsmmu_test_alloc_nested(struct kunit *test)
{
	struct fake_vm *vm =
		fake_vm_alloc(test, 0, FAKE_QUEUE_SHIFT, PAGE_SIZE);
	const struct iommufd_viommu_ops *ops = vm->vsmmu->core.ops;
	struct iommu_user_data data = {
		.type = IOMMU_HWPT_DATA_ARM_SMMUV3,
		.uptr = vm->user,
		.len = 16,
	};
	struct iommu_domain *domain;

	domain = fake_nested_alloc(vm->vsmmu, vm->user, STE_S1 | 0x12340, 0xfd);
	KUNIT_ASSERT_FALSE(test, IS_ERR(domain));
	KUNIT_EXPECT_EQ(test, domain->type, IOMMU_DOMAIN_NESTED);
	KUNIT_EXPECT_EQ(test,
			le64_to_cpu(to_smmu_nested_domain(domain)->ste[0]),
			STE_S1 | 0x12340);
	KUNIT_EXPECT_EQ(test,
			le64_to_cpu(to_smmu_nested_domain(domain)->ste[1]),
			0xfd);
	domain->ops->free(domain);

	/* Cfg 6 is a stage 2, which a guest must not ask for */
	domain = fake_nested_alloc(vm->vsmmu, vm->user, STE_S2, 0);
	KUNIT_EXPECT_EQ(test, PTR_ERR(domain), -EIO);

	fake_write(test, vm->user, 0, STE_BYPASS, 0);
	domain = ops->alloc_domain_nested(&vm->vsmmu->core, 1, &data);
	KUNIT_EXPECT_EQ(test, PTR_ERR(domain), -EOPNOTSUPP);
	data.len = 8;
	domain = ops->alloc_domain_nested(&vm->vsmmu->core, 0, &data);
	KUNIT_EXPECT_EQ(test, PTR_ERR(domain), -EINVAL);
	data.len = 16;
	data.type = IOMMU_HWPT_DATA_NONE;
	domain = ops->alloc_domain_nested(&vm->vsmmu->core, 0, &data);
	KUNIT_EXPECT_EQ(test, PTR_ERR(domain), -EINVAL);
	fake_vm_free(vm);
}

/* An STE that the SMMU would refuse is never written: the device is aborted */
struct bad_ste {
	u32 features;
	unsigned int ssid_bits;
	u64 word_0;
	bool bad;
};

#define S1FMT(_fmt)		((u64)(_fmt) << 4)
#define S1CDMAX(_max)		((u64)(_max) << 59)

static const struct bad_ste bad_stes[] = {
	{ .word_0 = 0, .bad = true },
	{ .word_0 = ~STE_V, .bad = true },
	{ .word_0 = STE_ABORT },
	{ .word_0 = STE_S1 },
	/* S1CDMax > SSIDSIZE. The SMMU ignores S1CDMax if SSIDSIZE is 0. */
	{ .word_0 = STE_S1 | S1CDMAX(31) | S1FMT(2) },
	{ .ssid_bits = 8, .word_0 = STE_S1 | S1CDMAX(8) },
	{ .ssid_bits = 8, .word_0 = STE_S1 | S1CDMAX(9), .bad = true },
	{ .ssid_bits = 20, .word_0 = STE_S1 | S1CDMAX(20) },
	{ .ssid_bits = 20, .word_0 = STE_S1 | S1CDMAX(31), .bad = true },
	/* Two levels (S1Fmt 0b01 and 0b10) without IDR0.CD2L */
	{ .ssid_bits = 8, .word_0 = STE_S1 | S1CDMAX(8) | S1FMT(1), .bad = true },
	{ .ssid_bits = 8, .word_0 = STE_S1 | S1CDMAX(8) | S1FMT(2), .bad = true },
	{ .ssid_bits = 8, .word_0 = STE_S1 | S1CDMAX(8) | S1FMT(3) },
	{ .ssid_bits = 8, .word_0 = STE_S1 | S1FMT(2) },
	{ .ssid_bits = 8, .word_0 = STE_S1 | S1CDMAX(8) | S1FMT(1),
	  .features = ARM_SMMU_FEAT_2_LVL_CDTAB },
	{ .ssid_bits = 8, .word_0 = STE_S1 | S1CDMAX(9) | S1FMT(1),
	  .features = ARM_SMMU_FEAT_2_LVL_CDTAB, .bad = true },
	/* S1ContextPtr above the 44 bits of an IPA */
	{ .word_0 = STE_S1 | BITS_64(43, 6) },
	{ .word_0 = STE_S1 | BIT_ULL(44), .bad = true },
	{ .word_0 = STE_S1 | BIT_ULL(51), .bad = true },
	/* Without stage 1 none of these fields matters */
	{ .ssid_bits = 8,
	  .word_0 = STE_BYPASS | S1CDMAX(31) | S1FMT(1) | BIT_ULL(51) },
	{ .ssid_bits = 8,
	  .word_0 = STE_ABORT | S1CDMAX(31) | S1FMT(1) | BIT_ULL(51) },
};

static void arm_vsmmu_test_bad_ste(struct kunit *test)
{
	struct fake_vm *vm =
		fake_vm_alloc(test, 0, FAKE_QUEUE_SHIFT, PAGE_SIZE);
	struct iommufd_veventq *veventq = fake_veventq_add(test, vm->vsmmu);
	struct fake_event *got = veventq->ring;
	struct fake_smmu *fake = vm->fake;
	u32 features = fake->smmu.features;
	struct arm_smmu_ste *ste = &fake->stes[FAKE_VM_SID];
	struct arm_smmu_nested_domain *nested;
	struct iommu_domain *domain;
	unsigned int i;
	u64 want;

	for (i = 0; i < ARRAY_SIZE(bad_stes); i++) {
		const struct bad_ste *row = &bad_stes[i];

		fake->smmu.features = features | row->features;
		fake->smmu.ssid_bits = row->ssid_bits;
		domain = fake_nested_alloc(vm->vsmmu, vm->user, row->word_0, 0);
		KUNIT_ASSERT_FALSE(test, IS_ERR(domain));
		nested = to_smmu_nested_domain(domain);
		KUNIT_EXPECT_EQ_MSG(test, nested->bad_ste, row->bad, "row %u",
				    i);
		/* The guest's STE is kept unmodified */
		KUNIT_EXPECT_EQ(test, le64_to_cpu(nested->ste[0]), row->word_0);

		veventq->first = 0;
		veventq->num = 0;
		KUNIT_EXPECT_EQ(test, 0, fake_attach_nested(vm->fdev, domain));
		switch (row->bad ? 0 : row->word_0 >> 1 & 7) {
		case 0:
			want = STE_ABORT;
			break;
		case 4:
			want = STE_S2;
			break;
		default:
			want = row->word_0 | STE_NESTED;
			break;
		}
		KUNIT_EXPECT_EQ_MSG(test, le64_to_cpu(ste->data[0]), want,
				    "row %u", i);
		/* The guest gets exactly 1 event */
		KUNIT_EXPECT_EQ_MSG(test, veventq->num, row->bad, "row %u", i);
		if (row->bad)
			KUNIT_EXPECT_EQ(test, le64_to_cpu(got->evt[0]),
					0x04 | CMD_SID(FAKE_VM_VSID));
		KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(vm->fdev, NULL));
		domain->ops->free(domain);
	}
	fake_vm_free(vm);
}

/*
 * Physical STEs
 */
struct made_ste {
	const char *name;
	u32 features;
	bool stall_enabled;
	bool fault_queue;
	bool s2fwb;
	bool ats;
	u64 guest[2];
	/* All but the first expect VMID 0x1234, and the same word 3 */
	u64 want_0;
	u64 want_1;
	u64 want_2;
};

static const struct made_ste made_stes[] = {
	{ .name = "abort", .features = ARM_SMMU_FEAT_STALLS,
	  .guest = { STE_ABORT, STE_1_EATS(1) | GUEST_S1_1 },
	  .want_0 = STE_ABORT },
	{ .name = "bypass is stage 2 only", .features = ARM_SMMU_FEAT_STALLS,
	  .guest = { STE_BYPASS | 0x12345670, STE_1_S1STALLD | GUEST_S1_1 },
	  .want_0 = STE_S2, .want_1 = STE_1_MEV, .want_2 = WANT_2 },
	{ .name = "stage 1, stalls not possible",
	  .guest = { GUEST_S1_0, GUEST_S1_1 },
	  .want_0 = WANT_S1_0, .want_1 = WANT_S1_1, .want_2 = WANT_2 },
	{ .name = "stage 1, stalls not possible, guest sets S1STALLD",
	  .guest = { GUEST_S1_0, GUEST_S1_1 | STE_1_S1STALLD },
	  .want_0 = WANT_S1_0, .want_1 = WANT_S1_1, .want_2 = WANT_2 },
	{ .name = "stage 1, stalls not handled",
	  .features = ARM_SMMU_FEAT_STALLS,
	  .guest = { GUEST_S1_0, GUEST_S1_1 },
	  .want_0 = WANT_S1_0, .want_1 = WANT_S1_1 | STE_1_S1STALLD,
	  .want_2 = WANT_2 },
	{ .name = "stage 1, stalls, no fault queue",
	  .features = ARM_SMMU_FEAT_STALLS, .stall_enabled = true,
	  .guest = { GUEST_S1_0, GUEST_S1_1 },
	  .want_0 = WANT_S1_0, .want_1 = WANT_S1_1 | STE_1_S1STALLD,
	  .want_2 = WANT_2 },
	{ .name = "stage 1, fault queue, no stalls",
	  .features = ARM_SMMU_FEAT_STALLS, .fault_queue = true,
	  .guest = { GUEST_S1_0, GUEST_S1_1 },
	  .want_0 = WANT_S1_0, .want_1 = WANT_S1_1 | STE_1_S1STALLD,
	  .want_2 = WANT_2 },
	{ .name = "stage 1, stalls handled",
	  .features = ARM_SMMU_FEAT_STALLS, .stall_enabled = true,
	  .fault_queue = true,
	  .guest = { GUEST_S1_0, GUEST_S1_1 },
	  .want_0 = WANT_S1_0, .want_1 = WANT_S1_1, .want_2 = WANT_2 },
	{ .name = "stage 1, stalls handled, not wanted by the guest",
	  .features = ARM_SMMU_FEAT_STALLS, .stall_enabled = true,
	  .fault_queue = true,
	  .guest = { GUEST_S1_0, GUEST_S1_1 | STE_1_S1STALLD },
	  .want_0 = WANT_S1_0, .want_1 = WANT_S1_1 | STE_1_S1STALLD,
	  .want_2 = WANT_2 },
	/* With forced stalls S1STALLD == 1 and S2S == 0 are both ILLEGAL */
	{ .name = "stage 1, stalls forced",
	  .features = ARM_SMMU_FEAT_STALLS | ARM_SMMU_FEAT_STALL_FORCE,
	  .stall_enabled = true,
	  .guest = { GUEST_S1_0, GUEST_S1_1 | STE_1_S1STALLD },
	  .want_0 = WANT_S1_0, .want_1 = WANT_S1_1,
	  .want_2 = WANT_2 | STE_2_S2S },
	{ .name = "bypass, stalls forced",
	  .features = ARM_SMMU_FEAT_STALLS | ARM_SMMU_FEAT_STALL_FORCE,
	  .stall_enabled = true,
	  .guest = { STE_BYPASS },
	  .want_0 = STE_S2, .want_1 = STE_1_MEV,
	  .want_2 = WANT_2 | STE_2_S2S },
	{ .name = "stage 1, stalls forced, EATS and ATS", .ats = true,
	  .features = ARM_SMMU_FEAT_STALLS | ARM_SMMU_FEAT_STALL_FORCE,
	  .stall_enabled = true,
	  .guest = { GUEST_S1_0, GUEST_S1_1 | STE_1_EATS(1) },
	  .want_0 = WANT_S1_0, .want_1 = WANT_S1_1,
	  .want_2 = WANT_2 | STE_2_S2S },
	{ .name = "bypass, stalls possible, ATS", .ats = true,
	  .features = ARM_SMMU_FEAT_STALLS, .stall_enabled = true,
	  .guest = { STE_BYPASS },
	  .want_0 = STE_S2, .want_1 = STE_1_MEV | STE_1_EATS(1),
	  .want_2 = WANT_2 },
	{ .name = "stage 1, EATS and ATS", .ats = true,
	  .guest = { GUEST_S1_0, GUEST_S1_1 | STE_1_EATS(1) },
	  .want_0 = WANT_S1_0, .want_1 = WANT_S1_1 | STE_1_EATS(1),
	  .want_2 = WANT_2 },
	{ .name = "stage 1, EATS without ATS",
	  .guest = { GUEST_S1_0, GUEST_S1_1 | STE_1_EATS(1) },
	  .want_0 = WANT_S1_0, .want_1 = WANT_S1_1, .want_2 = WANT_2 },
	{ .name = "stage 1, S2FWB", .s2fwb = true,
	  .guest = { GUEST_S1_0, GUEST_S1_1 },
	  .want_0 = WANT_S1_0, .want_1 = WANT_S1_1 | STE_1_S2FWB,
	  .want_2 = WANT_2 },
	{ .name = "bypass, S2FWB", .s2fwb = true, .guest = { STE_BYPASS },
	  .want_0 = STE_S2, .want_1 = STE_1_MEV | STE_1_S2FWB,
	  .want_2 = WANT_2 },
	{ .name = "bypass, attributes can be overridden",
	  .features = ARM_SMMU_FEAT_ATTR_TYPES_OVR, .guest = { STE_BYPASS },
	  .want_0 = STE_S2, .want_1 = STE_1_MEV | BIT_ULL(44),
	  .want_2 = WANT_2 },
	{ .name = "stage 1, attributes can be overridden",
	  .features = ARM_SMMU_FEAT_ATTR_TYPES_OVR,
	  .guest = { GUEST_S1_0, GUEST_S1_1 },
	  .want_0 = WANT_S1_0, .want_1 = WANT_S1_1 | BIT_ULL(44),
	  .want_2 = WANT_2 },
};

static void made_ste_to_desc(const struct made_ste *made, char *desc)
{
	strscpy(desc, made->name, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(made_ste, made_stes, made_ste_to_desc);

static int no_iopf_handler(struct iopf_group *group)
{
	return -EINVAL;
}

static void arm_vsmmu_test_made_ste(struct kunit *test)
{
	const struct made_ste *made = test->param_value;
	struct fake_smmu *fake = fake_smmu_alloc(test, FAKE_QUEUE_SHIFT);
	struct fake_s2 *s2 = fake_s2_alloc(test, fake);
	struct arm_vsmmu *vsmmu = fake_vsmmu_alloc(test, fake, s2);
	struct fake_dev *fdev = fake_dev_alloc(test, fake, 0);
	struct arm_smmu_s2_tag tag = { .vmid = 0x1234 };
	struct arm_smmu_nested_domain nested = { .vsmmu = vsmmu };
	struct arm_smmu_ste ste;
	unsigned int i;

	fake->smmu.features = made->features;
	fdev->master.stall_enabled = made->stall_enabled;
	if (made->s2fwb)
		s2->pgtable.cfg.quirks = IO_PGTABLE_QUIRK_ARM_S2FWB;
	nested.ste[0] = cpu_to_le64(made->guest[0]);
	nested.ste[1] = cpu_to_le64(made->guest[1]);
	if (made->fault_queue)
		nested.domain.iopf_handler = no_iopf_handler;

	memset(&ste, 0xff, sizeof(ste));
	arm_smmu_make_nested_ste(&ste, &fdev->master, &nested,
				 made->want_2 ? &tag : NULL, made->ats);
	KUNIT_EXPECT_EQ(test, le64_to_cpu(ste.data[0]), made->want_0);
	KUNIT_EXPECT_EQ(test, le64_to_cpu(ste.data[1]), made->want_1);
	KUNIT_EXPECT_EQ(test, le64_to_cpu(ste.data[2]), made->want_2);
	KUNIT_EXPECT_EQ(test, le64_to_cpu(ste.data[3]),
			made->want_2 ? FAKE_VTTBR : 0);
	for (i = 4; i < 8; i++)
		KUNIT_EXPECT_EQ(test, le64_to_cpu(ste.data[i]), 0);
}

/*
 * Updates of the STE
 */

/* Bits that the hardware uses, Arm IHI 0070, 5.2 */
static void ste_used(const u64 *ste, u64 *used)
{
	memset(used, 0, 8 * sizeof(*used));
	used[0] = BIT_ULL(0);
	if (!(ste[0] & STE_V))
		return;
	used[0] |= BITS_64(3, 1);
	if (ste[0] & STE_CFG(1)) {
		used[0] |= BITS_64(5, 4) | BITS_64(51, 6) | BITS_64(63, 59);
		used[1] |= BITS_64(7, 0) | BIT_ULL(27) | BITS_64(31, 28);
		if ((ste[1] & 3) == 1)
			used[1] |= BITS_64(45, 44);
		used[2] |= BITS_64(15, 0);
	}
	if (ste[0] & STE_CFG(2)) {
		used[1] |= BIT_ULL(19) | BIT_ULL(25) | BITS_64(29, 28) |
			   BITS_64(45, 44);
		used[2] |= BITS_64(15, 0) | BITS_64(50, 32) | BITS_64(52, 51) |
			   BIT_ULL(54) | BITS_64(58, 57);
		used[3] |= BITS_64(51, 4);
	}
	if ((ste[0] & STE_CFG(7)) == STE_CFG(4))
		used[1] |= BITS_64(45, 44);
}

/* Bits that may change while they are used: MEV and EATS */
static const u64 ste_safe[8] = { 0, BIT_ULL(19) | BITS_64(29, 28) };

/* Arm IHI 0070, 5.2, SteIllegal(), for the fields that the driver may write */
static bool ste_illegal(u64 word_0, u64 word_1, u64 word_2)
{
	return word_0 & STE_V && word_0 & STE_CFG(2) &&
	       (word_1 & STE_1_EATS(3)) == STE_1_EATS(1) &&
	       word_2 & STE_2_S2S;
}

struct test_ste_writer {
	struct arm_smmu_entry_writer writer;
	struct kunit *test;
	const char *name;
	u64 from[8];
	u64 to[8];
	/* The entry at the last sync */
	u64 synced[8];
	__le64 entry[8];
	unsigned int syncs;
	bool disruptive;
};

static void test_ste_writer_sync(struct arm_smmu_entry_writer *writer)
{
	struct test_ste_writer *w =
		container_of(writer, struct test_ste_writer, writer);
	bool is_from = true, is_to = true, safe_ok = true;
	u64 entry[8], used[8], bits;
	unsigned int i;

	w->syncs++;
	for (i = 0; i < 8; i++)
		entry[i] = le64_to_cpu(w->entry[i]);

	/* The SMMU may observe the words individually and in any order */
	for (i = 0; i < 8; i++)
		if (ste_illegal(i & 1 ? entry[0] : w->synced[0],
				i & 2 ? entry[1] : w->synced[1],
				i & 4 ? entry[2] : w->synced[2]))
			KUNIT_FAIL(w->test, "%s: sync %u: illegal", w->name,
				   w->syncs);
	memcpy(w->synced, entry, sizeof(w->synced));

	if (!(entry[0] & STE_V)) {
		w->disruptive = true;
		return;
	}

	ste_used(entry, used);
	for (i = 0; i < 8; i++) {
		bits = used[i] & ~ste_safe[i];
		if ((entry[i] ^ w->from[i]) & bits)
			is_from = false;
		if ((entry[i] ^ w->to[i]) & bits)
			is_to = false;
		if ((entry[i] ^ w->from[i]) & (entry[i] ^ w->to[i]) & used[i] &
		    ste_safe[i])
			safe_ok = false;
	}
	KUNIT_EXPECT_TRUE_MSG(w->test, (is_from || is_to) && safe_ok,
			      "%s: sync %u: %016llx %016llx %016llx", w->name,
			      w->syncs, entry[0], entry[1], entry[2]);
}

static const struct arm_smmu_entry_writer_ops test_ste_writer_ops = {
	.sync = test_ste_writer_sync,
	.get_used = arm_smmu_get_ste_used,
	.get_update_safe = arm_smmu_get_ste_update_safe,
};

/* The kinds of STE that a master of a VM may have */
enum ste_kind {
	ABORT,
	S2,
	S2_ATS,
	/* S2S is set, which the driver does only if stalls are forced */
	S2_STALL,
	/* The same stage 2 under another VMID */
	S2_OTHER,
	G_ABORT,
	G_BYPASS,
	G_S1,
	G_S1_EATS,
	G_S1_DSS,
	G_S1_DSS_EATS,
	/* Another CD table */
	G_S1_CDS,
	HOST_S1,
	HOST_S1_ATS,
};

static void make_test_ste(struct kunit *test, struct fake_smmu *fake,
			  struct fake_s2 *s2, struct fake_dev *fdev,
			  enum ste_kind kind, struct arm_smmu_ste *ste)
{
	struct arm_vsmmu vsmmu = { .s2_parent = &s2->domain };
	struct arm_smmu_nested_domain nested = { .vsmmu = &vsmmu };
	struct arm_smmu_s2_tag tag = { .vmid = 7 };
	bool ats = false;

	nested.ste[0] = cpu_to_le64(GUEST_S1_0);
	nested.ste[1] = cpu_to_le64(GUEST_S1_1);
	switch (kind) {
	case ABORT:
		arm_smmu_make_abort_ste(ste);
		return;
	case S2_OTHER:
		tag.vmid = 8;
		fallthrough;
	case S2:
	case S2_ATS:
	case S2_STALL:
		arm_smmu_make_s2_ste(ste, &fdev->master, &s2->domain, tag.vmid,
				     kind == S2_ATS);
		if (kind == S2_STALL)
			ste->data[2] |= cpu_to_le64(STE_2_S2S);
		return;
	case HOST_S1:
	case HOST_S1_ATS:
		fdev->master.cd_table.cdtab_dma = 0x56789a000;
		fdev->master.cd_table.s1fmt = 2;
		fdev->master.cd_table.s1cdmax = 10;
		arm_smmu_make_cdtable_ste(ste, &fdev->master,
					  kind == HOST_S1_ATS, 2);
		return;
	case G_ABORT:
		nested.ste[0] = cpu_to_le64(STE_ABORT);
		break;
	case G_BYPASS:
		nested.ste[0] = cpu_to_le64(STE_BYPASS);
		break;
	case G_S1_DSS_EATS:
		nested.ste[1] = cpu_to_le64(GUEST_S1_1 ^ 3);
		fallthrough;
	case G_S1_EATS:
		ats = true;
		break;
	case G_S1_DSS:
		nested.ste[1] = cpu_to_le64(GUEST_S1_1 ^ 3);
		break;
	case G_S1_CDS:
		nested.ste[0] ^= cpu_to_le64(0x12340000);
		break;
	default:
		break;
	}
	arm_smmu_make_nested_ste(ste, &fdev->master, &nested, &tag, ats);
}

struct ste_update {
	const char *name;
	enum ste_kind from;
	enum ste_kind to;
	unsigned int syncs;
	bool disruptive;
	bool stall_enabled;
	bool stall_force;
};

/*
 * The steps are: write the unused or safe bits (word 1, word 2), write the one
 * word that switches over, clear the bits no longer used. Each step that
 * changes something takes a sync.
 */
static const struct ste_update ste_updates[] = {
	{ "stage 2 to guest stage 1", S2, G_S1, 2 },
	{ "guest stage 1 to stage 2", G_S1, S2, 3 },
	{ "stage 2 to guest stage 1 with EATS", S2, G_S1_EATS, 2 },
	{ "guest stage 1 with EATS to stage 2", G_S1_EATS, S2, 3 },
	{ "stage 2 with ATS to guest stage 1", S2_ATS, G_S1, 2 },
	{ "stage 2 with ATS to guest stage 1 with EATS", S2_ATS, G_S1_EATS, 2 },
	{ "guest stage 1 with EATS to stage 2 with ATS", G_S1_EATS, S2_ATS, 3 },
	{ "guest bypass to stage 1", G_BYPASS, G_S1, 2 },
	{ "guest stage 1 to bypass", G_S1, G_BYPASS, 2 },
	{ "guest bypass to stage 1 with EATS", G_BYPASS, G_S1_EATS, 2 },
	{ "guest stage 1 with EATS to bypass", G_S1_EATS, G_BYPASS, 3 },
	{ "MEV on", S2, G_BYPASS, 1 },
	{ "MEV off", G_BYPASS, S2, 1 },
	{ "MEV on, EATS off", S2_ATS, G_BYPASS, 1 },
	{ "MEV off, EATS on", G_BYPASS, S2_ATS, 1 },
	{ "EATS on", G_S1, G_S1_EATS, 1 },
	{ "EATS off", G_S1_EATS, G_S1, 1 },
	{ "S1DSS", G_S1, G_S1_DSS, 1 },
	{ "S1DSS back", G_S1_DSS, G_S1, 1 },
	{ "S1DSS, EATS on", G_S1, G_S1_DSS_EATS, 1 },
	{ "S1DSS, EATS off", G_S1_DSS_EATS, G_S1, 1 },
	{ "another CD table", G_S1, G_S1_CDS, 1 },
	{ "another CD table, EATS off", G_S1_EATS, G_S1_CDS, 2 },
	{ "nothing", G_S1, G_S1, 0 },
	{ "guest abort is abort", G_ABORT, ABORT, 0 },
	{ "abort to stage 2", ABORT, S2, 2 },
	{ "stage 2 to abort", S2, ABORT, 2 },
	{ "abort to guest bypass", G_ABORT, G_BYPASS, 2 },
	{ "guest bypass to abort", G_BYPASS, G_ABORT, 2 },
	{ "abort to guest stage 1", G_ABORT, G_S1, 2 },
	{ "guest stage 1 to abort", G_S1, G_ABORT, 2 },
	{ "abort to guest stage 1 with EATS", ABORT, G_S1_EATS, 2 },
	{ "guest stage 1 with EATS to abort", G_S1_EATS, ABORT, 2 },
	{ "host stage 1 to guest abort", HOST_S1, G_ABORT, 2 },
	{ "guest abort to host stage 1", G_ABORT, HOST_S1, 2 },
	/* The VMID adds a second word in use */
	{ "another VMID", S2, S2_OTHER, 1 },
	{ "another VMID and stage 1", S2_OTHER, G_S1, 3, .disruptive = true },
	{ "host to guest stage 1", HOST_S1, G_S1, 3, .disruptive = true },
	{ "guest to host stage 1", G_S1, HOST_S1, 3, .disruptive = true },
	/* EATS must not be set while S2S is, nor S2S while EATS is */
	{ "S2S to EATS", S2_STALL, S2_ATS, 3, .disruptive = true },
	{ "EATS to S2S", S2_ATS, S2_STALL, 3, .disruptive = true },
	{ "S2S to guest's EATS", S2_STALL, G_S1_EATS, 3, .disruptive = true },
	{ "guest's EATS to S2S", G_S1_EATS, S2_STALL, 3, .disruptive = true },
	{ "S2S to EATS without stage 2", S2_STALL, HOST_S1_ATS, 3,
	  .disruptive = true },
	{ "EATS without stage 2 to S2S", HOST_S1_ATS, S2_STALL, 3,
	  .disruptive = true },
	/* A master that may stall does so in stage 2 only if forced to */
	{ "stall: stage 2 to guest stage 1", S2, G_S1, 2,
	  .stall_enabled = true },
	{ "stall: guest stage 1 to stage 2", G_S1, S2, 3,
	  .stall_enabled = true },
	{ "stall: stage 2 to guest bypass", S2, G_BYPASS, 1,
	  .stall_enabled = true },
	{ "stall: guest bypass to stage 2", G_BYPASS, S2, 1,
	  .stall_enabled = true },
	{ "stall and ATS: stage 2 to guest stage 1", S2_ATS, G_S1_EATS, 2,
	  .stall_enabled = true },
	{ "stall and ATS: guest stage 1 to stage 2", G_S1_EATS, S2_ATS, 3,
	  .stall_enabled = true },
	{ "stalls forced: stage 2 to guest stage 1", S2, G_S1, 2,
	  .stall_enabled = true, .stall_force = true },
	{ "stalls forced: guest stage 1 to stage 2", G_S1, S2, 3,
	  .stall_enabled = true, .stall_force = true },
	{ "stalls forced and ATS: to guest stage 1", S2_ATS, G_S1_EATS, 2,
	  .stall_enabled = true, .stall_force = true },
	{ "stalls forced and ATS: to stage 2", G_S1_EATS, S2_ATS, 3,
	  .stall_enabled = true, .stall_force = true },
};

static void ste_update_to_desc(const struct ste_update *update, char *desc)
{
	strscpy(desc, update->name, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(ste_update, ste_updates, ste_update_to_desc);

static void arm_vsmmu_test_ste_update(struct kunit *test)
{
	const struct ste_update *update = test->param_value;
	struct fake_smmu *fake = fake_smmu_alloc(test, FAKE_QUEUE_SHIFT);
	struct fake_s2 *s2 = fake_s2_alloc(test, fake);
	struct fake_dev *fdev = fake_dev_alloc(test, fake, 0);
	struct test_ste_writer *w = kunit_kzalloc(test, sizeof(*w), GFP_KERNEL);
	struct arm_smmu_ste from, to;
	unsigned int i;

	KUNIT_ASSERT_NOT_NULL(test, w);
	fdev->master.stall_enabled = update->stall_enabled;
	if (update->stall_force)
		fake->smmu.features |= ARM_SMMU_FEAT_STALL_FORCE;
	make_test_ste(test, fake, s2, fdev, update->from, &from);
	make_test_ste(test, fake, s2, fdev, update->to, &to);

	w->writer.ops = &test_ste_writer_ops;
	w->test = test;
	w->name = update->name;
	for (i = 0; i < 8; i++) {
		w->entry[i] = from.data[i];
		w->from[i] = le64_to_cpu(from.data[i]);
		w->to[i] = le64_to_cpu(to.data[i]);
		w->synced[i] = w->from[i];
	}
	KUNIT_EXPECT_FALSE(test, ste_illegal(w->from[0], w->from[1],
					     w->from[2]));
	KUNIT_EXPECT_FALSE(test, ste_illegal(w->to[0], w->to[1], w->to[2]));
	arm_smmu_write_entry(&w->writer, w->entry, to.data);

	KUNIT_EXPECT_EQ(test, w->disruptive, update->disruptive);
	KUNIT_EXPECT_EQ(test, w->syncs, update->syncs);
	KUNIT_EXPECT_MEMEQ(test, w->entry, to.data, sizeof(to.data));
}

static struct kunit_case ste_test_cases[] = {
	KUNIT_CASE(arm_vsmmu_test_guest_ste_bits),
	KUNIT_CASE(arm_vsmmu_test_guest_ste_values),
	KUNIT_CASE(arm_vsmmu_test_alloc_nested),
	KUNIT_CASE(arm_vsmmu_test_bad_ste),
	KUNIT_CASE_PARAM(arm_vsmmu_test_made_ste, made_ste_gen_params),
	KUNIT_CASE_PARAM(arm_vsmmu_test_ste_update, ste_update_gen_params),
	{},
};

static struct kunit_suite ste_test_suite = {
	.name = "arm-smmu-v3-iommufd-ste",
	.test_cases = ste_test_cases,
};

kunit_test_suite(ste_test_suite);
