// SPDX-License-Identifier: GPL-2.0
/*
 * Invalidation commands of a guest on the physical command queue.
 *
 * One illegal command stops the queue for every VM (CERROR_ILL), and a command
 * with a foreign VMID or StreamID reaches into another VM. Therefore a command
 * is issued only if all of it is known to be good:
 *
 *  - Each command has a mask of the bits that may be set, from Arm IHI 0070, 4
 *    "Commands", less those of features that this SMMU lacks. All other bits
 *    are RES0; a guest must not find out their meaning in a later architecture.
 *  - The VMID is overwritten with the VMID of the vSMMU. A StreamID must be the
 *    virtual ID of a vDEVICE, and is replaced by the StreamIDs of its device.
 *
 * Commands are processed in blocks, in the buffer of struct arm_vsmmu_inv: a
 * block is copied in, checked and translated in place, issued, and forgotten.
 * So an invalidation allocates no memory, can be killed between two blocks, and
 * needs a single CMD_SYNC behind its last command, or a few if it is long. A
 * command counts as completed only after this CMD_SYNC.
 *
 * To support another command, add a row to arm_vsmmu_cmds[], and a function
 * that checks it if none of the existing functions does.
 */
#include <kunit/visibility.h>
#include <linux/bitfield.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/sched/signal.h>
#include <linux/srcu.h>
#include <linux/uaccess.h>

#include "arm-smmu-v3-inval.h"

/* Fields of commands that only guests use */
#define ARM_VSMMU_TLBI_0_SCALE_DS	BIT_ULL(25)
#define ARM_VSMMU_TLBI_0_RANGE						\
	(CMDQ_TLBI_0_NUM | CMDQ_TLBI_0_SCALE | ARM_VSMMU_TLBI_0_SCALE_DS)
#define ARM_VSMMU_TLBI_1_RANGE		(CMDQ_TLBI_1_TTL | CMDQ_TLBI_1_TG)
#define ARM_VSMMU_TLBI_0_ASID_LOW	GENMASK_ULL(55, 48)
#define ARM_VSMMU_TG_16K		2
#define ARM_VSMMU_IDR5_DS		BIT(7)

/*
 * Commands that an invalidation may have in the queue before it waits for them.
 * Every other user of the queue waits, with interrupts off, for the commands in
 * front of its own CMD_SYNC, and fails after a second. So no VM may fill the
 * queue: calls with several blocks take turns, see arm_vsmmu::long_calls.
 */
#define ARM_VSMMU_MAX_PENDING		512

/*
 * ATC_INVs among these commands. A device may take its time to answer them, so
 * there must not be more than can be outstanding at a single device: PCIe has
 * 32 ITags.
 */
#define ARM_VSMMU_MAX_ATC		32

/**
 * struct arm_vsmmu_cmd - A command that a guest may send
 * @opcode: The opcode
 * @feature: ARM_SMMU_FEAT_* that the SMMU must have, 0 if none
 * @word_0: Bits of word 0 that may be set, besides the opcode
 * @word_0_ssid: More bits of word 0, on an SMMU with substreams
 * @word_0_asid16: The same with ASIDs of 16 bits
 * @word_0_ril: The same with range invalidation (IDR3.RIL)
 * @word_0_ds: The same with range invalidation and IDR5.DS
 * @word_1: Bits of word 1 that may be set
 * @word_1_ril: More bits of word 1, with range invalidation
 * @fast: A command without the bits of the _ril and _ds columns needs no check
 *        other than the check of its bits, and is issued as it is under the
 *        VMID of the vSMMU. arm_vsmmu_fast_tlbis() does this without calling
 *        @run
 * @run: Check all other rules, and queue the commands to be issued. Called with
 *       allowed bits only. Returns 0, -EIO for an illegal command, or an error
 *       of the command queue
 */
struct arm_vsmmu_cmd {
	u8 opcode;
	u32 feature;
	u64 word_0;
	u64 word_0_ssid;
	u64 word_0_asid16;
	u64 word_0_ril;
	u64 word_0_ds;
	u64 word_1;
	u64 word_1_ril;
	bool fast;
	int (*run)(struct arm_vsmmu_inv *inv, u64 word_0, u64 word_1);
};

static int arm_vsmmu_issue(struct arm_vsmmu_inv *inv, u64 *cmds,
			   unsigned int num, bool sync)
{
	struct arm_smmu_device *smmu = inv->vsmmu->smmu;

	/*
	 * VMs may still run at a shutdown. A disabled SMMU translates nothing,
	 * so there is nothing to invalidate. It does not consume commands
	 * either, and a wait for them would delay the shutdown by a second,
	 * with interrupts disabled. arm_smmu_device_shutdown() waits for the
	 * commands that have passed this check and are waited for: preemption
	 * is disabled until these have completed. Earlier blocks of a long call
	 * may stay in the queue.
	 */
	if (unlikely(READ_ONCE(smmu->shut_down)))
		return 0;

	inv->pending += num;
	sync |= inv->pending > ARM_VSMMU_MAX_PENDING - ARM_VSMMU_BLOCK;
	if (sync)
		inv->pending = 0;

	/* Use the main queue: secondary queues do not support every command */
	return arm_smmu_cmdq_issue_cmdlist(smmu, &smmu->cmdq, cmds, num, sync);
}

/* Number of commands of the block that are in front of @end */
static unsigned int arm_vsmmu_block_len(struct arm_vsmmu_inv *inv,
					const u64 *end)
{
	const size_t bytes = (const void *)end - (const void *)inv->cmds;

	return bytes / (CMDQ_ENT_DWORDS * sizeof(u64));
}

static int arm_vsmmu_flush_block(struct arm_vsmmu_inv *inv)
{
	unsigned int num = arm_vsmmu_block_len(inv, inv->out);

	if (!num)
		return 0;
	inv->out = inv->cmds;
	return arm_vsmmu_issue(inv, inv->cmds, num, false);
}

static void arm_vsmmu_queue_cmd(struct arm_vsmmu_inv *inv, u64 word_0,
				u64 word_1)
{
	inv->out[0] = word_0;
	inv->out[1] = word_1;
	inv->out += CMDQ_ENT_DWORDS;
}

/*
 * Can the device answer an ATC_INV of the VM? If not, the CMD_SYNC behind it
 * times out, and so does every other CMD_SYNC of the SMMU. An attach that
 * disables ATS waits for the commands that have passed this check. A guest that
 * puts its device to sleep right after this check still causes the timeout.
 */
static bool arm_vsmmu_atc_answers(struct arm_smmu_master *master)
{
	struct pci_dev *pdev;
	pci_power_t state;

	if (!READ_ONCE(master->guest_ats))
		return false;
	pdev = to_pci_dev(master->dev);
	/* A frozen device has no link until its reset, which empties the ATC */
	if (pci_channel_offline(pdev))
		return false;
	state = READ_ONCE(pdev->current_state);
	return state == PCI_D0 || state == PCI_UNKNOWN;
}

static struct arm_smmu_master *arm_vsmmu_cmd_master(struct arm_vsmmu_inv *inv,
						    u64 word_0)
{
	struct device *dev;

	static_assert(CMDQ_CFGI_0_SID == CMDQ_ATC_0_SID);
	dev = iommufd_viommu_find_dev(&inv->vsmmu->core,
				      FIELD_GET(CMDQ_CFGI_0_SID, word_0));
	return dev ? dev_iommu_priv_get(dev) : NULL;
}

/* Queue a command that names a StreamID, for all StreamIDs of the device */
static int arm_vsmmu_queue_streams(struct arm_vsmmu_inv *inv,
				   struct arm_smmu_master *master, u64 word_0,
				   u64 word_1)
{
	u32 vsid = FIELD_GET(CMDQ_CFGI_0_SID, word_0);
	unsigned int i;
	int ret;

	word_0 &= ~CMDQ_CFGI_0_SID;
	if (likely(master->num_streams == 1)) {
		inv->last_vsid = vsid;
		inv->last_sid = FIELD_PREP(CMDQ_CFGI_0_SID,
					   (u64)master->streams[0].id);
		arm_vsmmu_queue_cmd(inv, word_0 | inv->last_sid, word_1);
		return 0;
	}

	/* The output is longer than the input: keep the commands that follow */
	ret = arm_vsmmu_flush_block(inv);
	for (i = 0; !ret && i < master->num_streams; i++) {
		u64 cmd[CMDQ_ENT_DWORDS] = {
			word_0 | FIELD_PREP(CMDQ_CFGI_0_SID,
					    (u64)master->streams[i].id),
			word_1
		};

		ret = arm_vsmmu_issue(inv, cmd, 1, false);
	}
	return ret;
}

static int arm_vsmmu_cfgi(struct arm_vsmmu_inv *inv, u64 word_0, u64 word_1)
{
	struct arm_smmu_master *master = arm_vsmmu_cmd_master(inv, word_0);

	if (!master)
		return -EIO;
	if (!inv->has_vmid)
		return 0;
	return arm_vsmmu_queue_streams(inv, master, word_0, word_1);
}

static int arm_vsmmu_atc_inv(struct arm_vsmmu_inv *inv, u64 word_0, u64 word_1)
{
	struct arm_smmu_master *master = arm_vsmmu_cmd_master(inv, word_0);

	if (!master || FIELD_GET(CMDQ_ATC_1_SIZE, word_1) > ATC_INV_SIZE_ALL)
		return -EIO;
	if (inv->atc_idx < 0) {
		inv->atc_idx = srcu_read_lock(&arm_smmu_atc_srcu);
		/* For sparse: arm_vsmmu_end_atc() unlocks it */
		__release(&arm_smmu_atc_srcu);
		inv->atc = 0;
	}
	if (!arm_vsmmu_atc_answers(master))
		return 0;
	/*
	 * Without PASID support the device caches nothing under a PASID, and
	 * may not answer an invalidation with a PASID.
	 */
	if ((word_0 & CMDQ_0_SSV) && !master->ssid_bits)
		return 0;
	if (!inv->has_vmid)
		return 0;
	inv->atc += master->num_streams;
	return arm_vsmmu_queue_streams(inv, master, word_0, word_1);
}

/* All ATC_INVs of the block have completed */
static noinline void arm_vsmmu_end_atc(int idx)
{
	/* For sparse: arm_vsmmu_atc_inv() has locked it */
	__acquire(&arm_smmu_atc_srcu);
	srcu_read_unlock(&arm_smmu_atc_srcu, idx);
}

static int arm_vsmmu_tlbi(struct arm_vsmmu_inv *inv, u64 word_0, u64 word_1)
{
	if (inv->has_vmid)
		arm_vsmmu_queue_cmd(inv,
				    (word_0 & ~CMDQ_TLBI_0_VMID) | inv->vmid,
				    word_1);
	return 0;
}

/* NSNH_ALL would also affect other users of the SMMU: limit it to the VMID */
static int arm_vsmmu_tlbi_nsnh_all(struct arm_vsmmu_inv *inv, u64 word_0,
				   u64 word_1)
{
	return arm_vsmmu_tlbi(inv, CMDQ_OP_TLBI_NH_ALL, 0);
}

/*
 * "TLB invalidation of a range": TG says whether the command is for a range,
 * and the range must not be empty.
 */
static int arm_vsmmu_tlbi_va(struct arm_vsmmu_inv *inv, u64 word_0, u64 word_1)
{
	bool any = (word_0 & ARM_VSMMU_TLBI_0_RANGE) ||
		   (word_1 & CMDQ_TLBI_1_TTL);
	unsigned int tg = FIELD_GET(CMDQ_TLBI_1_TG, word_1);

	if (any != !!tg)
		return -EIO;
	/* With a 16K granule, level-1 blocks exist only with IDR5.DS */
	if (tg == ARM_VSMMU_TG_16K &&
	    FIELD_GET(CMDQ_TLBI_1_TTL, word_1) == 1 && !inv->vsmmu->rules.ds)
		return -EIO;
	return arm_vsmmu_tlbi(inv, word_0, word_1);
}

/* Every command that is not in this table is illegal */
static const struct arm_vsmmu_cmd arm_vsmmu_cmds[] = {
	{
		.opcode = CMDQ_OP_CFGI_CD,
		.word_0 = CMDQ_CFGI_0_SID,
		.word_0_ssid = CMDQ_CFGI_0_SSID,
		.word_1 = CMDQ_CFGI_1_LEAF,
		.run = arm_vsmmu_cfgi,
	}, {
		.opcode = CMDQ_OP_CFGI_CD_ALL,
		.word_0 = CMDQ_CFGI_0_SID,
		.run = arm_vsmmu_cfgi,
	}, {
		.opcode = CMDQ_OP_TLBI_NH_ALL,
		.word_0 = CMDQ_TLBI_0_VMID,
		.fast = true,
		.run = arm_vsmmu_tlbi,
	}, {
		.opcode = CMDQ_OP_TLBI_NH_ASID,
		.word_0 = CMDQ_TLBI_0_VMID | ARM_VSMMU_TLBI_0_ASID_LOW,
		.word_0_asid16 = CMDQ_TLBI_0_ASID,
		.fast = true,
		.run = arm_vsmmu_tlbi,
	}, {
		.opcode = CMDQ_OP_TLBI_NH_VA,
		.word_0 = CMDQ_TLBI_0_VMID | ARM_VSMMU_TLBI_0_ASID_LOW,
		.word_0_asid16 = CMDQ_TLBI_0_ASID,
		.word_0_ril = CMDQ_TLBI_0_NUM | CMDQ_TLBI_0_SCALE,
		.word_0_ds = ARM_VSMMU_TLBI_0_SCALE_DS,
		.word_1 = CMDQ_TLBI_1_LEAF | CMDQ_TLBI_1_VA_MASK,
		.word_1_ril = ARM_VSMMU_TLBI_1_RANGE,
		.fast = true,
		.run = arm_vsmmu_tlbi_va,
	}, {
		.opcode = CMDQ_OP_TLBI_NH_VAA,
		.word_0 = CMDQ_TLBI_0_VMID,
		.word_0_ril = CMDQ_TLBI_0_NUM | CMDQ_TLBI_0_SCALE,
		.word_0_ds = ARM_VSMMU_TLBI_0_SCALE_DS,
		.word_1 = CMDQ_TLBI_1_LEAF | CMDQ_TLBI_1_VA_MASK,
		.word_1_ril = ARM_VSMMU_TLBI_1_RANGE,
		.fast = true,
		.run = arm_vsmmu_tlbi_va,
	}, {
		.opcode = CMDQ_OP_TLBI_NSNH_ALL,
		.run = arm_vsmmu_tlbi_nsnh_all,
	}, {
		.opcode = CMDQ_OP_ATC_INV,
		.feature = ARM_SMMU_FEAT_ATS,
		.word_0 = CMDQ_ATC_0_SID,
		.word_0_ssid = CMDQ_0_SSV | CMDQ_ATC_0_GLOBAL | CMDQ_ATC_0_SSID,
		.word_1 = CMDQ_ATC_1_SIZE | CMDQ_ATC_1_ADDR_MASK,
		.run = arm_vsmmu_atc_inv,
	},
};

static struct arm_vsmmu_cmd_match
arm_vsmmu_cmd_match(const struct arm_vsmmu_cmd *cmd, u64 word_0, u64 word_1)
{
	return (struct arm_vsmmu_cmd_match){
		.fixed_0 = ~word_0,
		.value_0 = FIELD_PREP(CMDQ_0_OP, cmd->opcode),
		.fixed_1 = ~word_1,
	};
}

static __always_inline bool
arm_vsmmu_cmd_matches(const struct arm_vsmmu_cmd_match *match, u64 word_0,
		      u64 word_1)
{
	return !(((word_0 & match->fixed_0) ^ match->value_0) |
		 (word_1 & match->fixed_1));
}

/**
 * arm_vsmmu_cmd_rules_init - Resolve the command table for an SMMU
 * @rules: Out
 * @smmu: The SMMU
 */
void arm_vsmmu_cmd_rules_init(struct arm_vsmmu_cmd_rules *rules,
			      struct arm_smmu_device *smmu)
{
	const struct arm_vsmmu_cmd_match none = { .value_0 = 1 };
	bool ril = smmu->features & ARM_SMMU_FEAT_RANGE_INV;
	unsigned int i;

	static_assert(ARRAY_SIZE(arm_vsmmu_cmds) < ARM_VSMMU_MAX_KINDS);
	/* kinds[] covers all values of the field, so no loop checks a bound */
	static_assert(ARRAY_SIZE(rules->kinds) == CMDQ_0_OP + 1);

	memset(rules, 0, sizeof(*rules));
	rules->ds = readl_relaxed(smmu->base + ARM_SMMU_IDR5) &
		    ARM_VSMMU_IDR5_DS;
	for (i = 0; i < ARM_VSMMU_MAX_KINDS; i++) {
		rules->allow[i] = none;
		rules->fast[i] = none;
	}

	for (i = 0; i < ARRAY_SIZE(arm_vsmmu_cmds); i++) {
		const struct arm_vsmmu_cmd *cmd = &arm_vsmmu_cmds[i];
		u64 word_0 = cmd->word_0, word_1 = cmd->word_1;

		if (cmd->feature && !(smmu->features & cmd->feature))
			continue;
		rules->kinds[cmd->opcode] = i + 1;

		if (smmu->ssid_bits)
			word_0 |= cmd->word_0_ssid;
		if (smmu->asid_bits > 8)
			word_0 |= cmd->word_0_asid16;
		if (cmd->fast)
			rules->fast[i + 1] =
				arm_vsmmu_cmd_match(cmd, word_0, word_1);
		if (ril) {
			word_0 |= cmd->word_0_ril;
			word_1 |= cmd->word_1_ril;
			if (rules->ds)
				word_0 |= cmd->word_0_ds;
		}
		rules->allow[i + 1] = arm_vsmmu_cmd_match(cmd, word_0, word_1);
	}
}
EXPORT_SYMBOL_IF_KUNIT(arm_vsmmu_cmd_rules_init);

/* Slow path: illegal commands, and those that need more than a check of bits */
static noinline int arm_vsmmu_checked_cmd(struct arm_vsmmu_inv *inv,
					  const u64 *cmd)
{
	const struct arm_vsmmu_cmd_rules *rules = &inv->vsmmu->rules;
	u64 word_0 = cmd[0], word_1 = cmd[1];
	unsigned int kind = rules->kinds[word_0 & CMDQ_0_OP];

	/* No command matches kind 0 */
	if (!arm_vsmmu_cmd_matches(&rules->allow[kind], word_0, word_1))
		return -EIO;
	return arm_vsmmu_cmds[kind - 1].run(inv, word_0, word_1);
}

/*
 * Write commands to *@out as long as they match, with @set in place of the bits
 * @clear. Returns the first command that does not match.
 */
static __always_inline const u64 *
arm_vsmmu_run_of_cmds(const u64 *cmd, const u64 *end,
		      struct arm_vsmmu_cmd_match match, u64 clear, u64 set,
		      u64 **out, unsigned int step)
{
	for (; cmd != end; cmd += CMDQ_ENT_DWORDS) {
		u64 word_0 = cmd[0], word_1 = cmd[1];

		if (!arm_vsmmu_cmd_matches(&match, word_0, word_1))
			break;
		(*out)[0] = (word_0 & ~clear) | set;
		(*out)[1] = word_1;
		*out += step;
	}
	return cmd;
}

/*
 * Fast path: TLBIs that need no check other than the check of their bits.
 * Returns the first command that needs more.
 */
static __always_inline const u64 *
arm_vsmmu_fast_tlbis(struct arm_vsmmu_inv *inv, const u64 *cmd, const u64 *end)
{
	const struct arm_vsmmu_cmd_rules *rules = &inv->vsmmu->rules;
	/* Without a VMID nothing is issued: each command overwrites the last */
	const unsigned int step = inv->has_vmid ? CMDQ_ENT_DWORDS : 0;
	const u64 vmid = inv->vmid;
	u64 *out = inv->out;

	/* A guest sends many commands of a kind in a row */
	while (cmd != end) {
		unsigned int kind = rules->kinds[cmd[0] & CMDQ_0_OP];
		const u64 *first = cmd;

		cmd = arm_vsmmu_run_of_cmds(cmd, end, rules->fast[kind],
					    CMDQ_TLBI_0_VMID, vmid, &out, step);
		if (cmd == first)
			break;
	}
	inv->out = out;
	return cmd;
}

/* Fast path: CFGI_CDs of the device that was looked up last */
static const u64 *arm_vsmmu_fast_cfgis(struct arm_vsmmu_inv *inv,
				       const u64 *cmd, const u64 *end)
{
	const struct arm_vsmmu_cmd_rules *rules = &inv->vsmmu->rules;
	struct arm_vsmmu_cmd_match match =
		rules->allow[rules->kinds[CMDQ_OP_CFGI_CD]];
	u64 *out = inv->out;

	match.fixed_0 |= CMDQ_CFGI_0_SID;
	match.value_0 |= FIELD_PREP(CMDQ_CFGI_0_SID, inv->last_vsid);
	cmd = arm_vsmmu_run_of_cmds(cmd, end, match, CMDQ_CFGI_0_SID,
				    inv->last_sid, &out, CMDQ_ENT_DWORDS);
	inv->out = out;
	return cmd;
}

/*
 * Check the first @num commands of the block and translate them in place: the
 * output is never longer than the input so far. Returns the number of good
 * commands. Without an error this is less than @num if they include as many
 * ATC_INVs as one CMD_SYNC may wait for.
 */
static __always_inline unsigned int
arm_vsmmu_translate(struct arm_vsmmu_inv *inv, unsigned int num, int *ret)
{
	const u64 *end = inv->cmds + num * CMDQ_ENT_DWORDS;
	const u64 *cmd = inv->cmds;

	inv->out = inv->cmds;
	/* Commands that guests send by the thousand have their own loops */
	while ((cmd = arm_vsmmu_fast_tlbis(inv, cmd, end)) != end) {
		*ret = arm_vsmmu_checked_cmd(inv, cmd);
		if (*ret)
			break;
		cmd += CMDQ_ENT_DWORDS;
		if (inv->atc_idx >= 0 && inv->atc >= ARM_VSMMU_MAX_ATC)
			break;
		if (inv->last_vsid <= U32_MAX)
			cmd = arm_vsmmu_fast_cfgis(inv, cmd, end);
	}
	return arm_vsmmu_block_len(inv, cmd);
}

/*
 * Copy @num entries from @first on into the block. Returns the number of
 * entries copied, and in *ret the error if there are fewer than @num.
 */
static unsigned int arm_vsmmu_copy_block(struct arm_vsmmu_inv *inv,
					 struct iommu_user_data_array *array,
					 u32 first, unsigned int num, int *ret)
{
	const size_t size = sizeof(struct iommu_viommu_arm_smmuv3_invalidate);
	void __user *uptr = array->uptr + array->entry_len * first;
	__le64 *cmds = (__le64 *)inv->cmds;
	unsigned int i;

	static_assert(sizeof(struct iommu_viommu_arm_smmuv3_invalidate) ==
		      CMDQ_ENT_DWORDS * sizeof(u64));

	*ret = 0;
	if (likely(array->entry_len == size)) {
		unsigned long left = copy_from_user(cmds, uptr, num * size);

		if (left) {
			*ret = -EFAULT;
			num -= DIV_ROUND_UP(left, size);
		}
	} else {
		for (i = 0; i < num; i++, uptr += array->entry_len) {
			*ret = copy_struct_from_user(cmds + i * CMDQ_ENT_DWORDS,
						     size, uptr,
						     array->entry_len);
			if (*ret)
				break;
		}
		num = i;
	}

	if (IS_ENABLED(CONFIG_CPU_BIG_ENDIAN))
		for (i = 0; i < num * CMDQ_ENT_DWORDS; i++)
			inv->cmds[i] = le64_to_cpu(cmds[i]);
	return num;
}

/* Inlined, as most calls of a VMM have few commands */
static __always_inline unsigned int
__arm_vsmmu_run_block(struct arm_vsmmu_inv *inv, unsigned int num, bool last,
		      int *ret)
{
	struct arm_smmu_s2_tag *tag;
	int rc = 0, err = 0;
	unsigned int good;
	long idx;

	inv->last_vsid = U64_MAX;
	inv->atc_idx = -1;

	/*
	 * Attaches of other VMs wait for the end of the arm_smmu_atc_srcu
	 * section, which must not depend on the CPU time that this thread gets.
	 */
	preempt_disable();
	rcu_read_lock();
	tag = rcu_dereference(inv->vsmmu->s2_owner.tag);
	/* Without a tag no STE of the guest translates, so nothing is cached */
	inv->has_vmid = tag;
	inv->vmid = tag ? FIELD_PREP(CMDQ_TLBI_0_VMID, (u64)tag->vmid) : 0;

	good = arm_vsmmu_translate(inv, num, &rc);
	rcu_read_unlock();
	idx = inv->atc_idx;
	if (unlikely(!last) && !rc && idx < 0)
		err = arm_vsmmu_flush_block(inv);
	else if (inv->out != inv->cmds || inv->pending)
		err = arm_vsmmu_issue(inv, inv->cmds,
				      arm_vsmmu_block_len(inv, inv->out), true);
	/* An error of the queue takes precedence */
	*ret = err ?: rc;
	if (idx >= 0)
		arm_vsmmu_end_atc(idx);
	preempt_enable();
	return good;
}

/**
 * arm_vsmmu_run_block - Check, translate and issue a block of commands
 * @inv: The invalidation. Its cmds[] has the commands, in the order of the CPU,
 *       and is overwritten
 * @num: Number of commands, up to ARM_VSMMU_BLOCK
 * @last: Issue a CMD_SYNC for all blocks since arm_vsmmu_inv_init()
 * @ret: Out: 0; -EIO if the command behind the good ones is illegal; or an
 *       error of the command queue such as -ETIMEDOUT, after which no command
 *       of the invalidation is known to have completed
 *
 * A block with an illegal command or an ATC_INV has a CMD_SYNC in any case.
 * With many ATC_INVs there may be fewer good commands than @num, and no error:
 * the caller must go on with the rest, in a block of its own.
 *
 * The VMID and the devices are looked up in an RCU read-side section. They may
 * belong to another VM by the time the commands are issued, because this may
 * have to wait for the SMMU. For a TLBI or a CFGI_CD this costs time and does
 * no harm. An ATC_INV must not find the device being reset, so the section of
 * arm_smmu_atc_srcu lasts until the command has completed.
 *
 * Context: Process context.
 * Return: the number of good commands.
 */
unsigned int arm_vsmmu_run_block(struct arm_vsmmu_inv *inv, unsigned int num,
				 bool last, int *ret)
{
	return __arm_vsmmu_run_block(inv, num, last, ret);
}

/**
 * arm_vsmmu_cache_invalidate - iommufd_viommu_ops::cache_invalidate
 * @viommu: The vSMMU
 * @array: The guest's commands. On return array->entry_num is the number of
 *         commands at its start that have completed
 *
 * Context: Process context. Waits for the commands to complete.
 * Return: 0; -EINVAL for another type or entries that are too short, -EIO for
 * an illegal command, -EFAULT or -E2BIG as copy_struct_from_user(), -EINTR if
 * the process is being killed, -ETIMEDOUT if the SMMU does not answer.
 */
int arm_vsmmu_cache_invalidate(struct iommufd_viommu *viommu,
			       struct iommu_user_data_array *array)
{
	/* Not cleared: commands are copied in before they are read */
	struct arm_vsmmu_inv inv __uninitialized;
	struct arm_vsmmu *vsmmu;
	u32 num = array->entry_num;
	unsigned int block, got, good;
	int copy_ret, ret = 0;
	u32 done = 0;
	bool last;

	array->entry_num = 0;
	if (array->type != IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3)
		return -EINVAL;
	if (!num)
		return 0;
	if (array->entry_len < sizeof(struct iommu_viommu_arm_smmuv3_invalidate))
		return -EINVAL;

	vsmmu = container_of(viommu, struct arm_vsmmu, core);
	if (num > ARM_VSMMU_BLOCK && mutex_lock_killable(&vsmmu->long_calls))
		return -EINTR;

	arm_vsmmu_inv_init(&inv, vsmmu);
	while (done < num) {
		block = min(num - done, ARM_VSMMU_BLOCK);
		last = done + block == num;
		got = arm_vsmmu_copy_block(&inv, array, done, block, &copy_ret);
		if (unlikely(!last) && !copy_ret &&
		    fatal_signal_pending(current))
			copy_ret = -EINTR;

		good = __arm_vsmmu_run_block(&inv, got, last || copy_ret, &ret);
		/* No command is known to have completed */
		if (ret && ret != -EIO) {
			done = 0;
			break;
		}
		done += good;
		/* Errors of earlier commands precede the error of the copy */
		if (copy_ret && !ret && good == got)
			ret = copy_ret;
		if (ret)
			break;
		if (done < num)
			cond_resched();
	}
	array->entry_num = done;
	if (num > ARM_VSMMU_BLOCK)
		mutex_unlock(&vsmmu->long_calls);
	return ret;
}
