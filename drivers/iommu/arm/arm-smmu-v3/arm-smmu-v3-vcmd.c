// SPDX-License-Identifier: GPL-2.0
/*
 * Commands of a guest on the physical command queue.
 *
 * One illegal command stops the queue for every VM (CERROR_ILL), and one with
 * somebody else's VMID or StreamID is a way into his VM. So nothing of a guest's
 * command reaches the queue that is not known to be good:
 *
 *  - Each kind of command has a mask of the bits that may be set, from Arm IHI
 *    0070, 4 "Commands", less what this SMMU does not have. All others are 0 in
 *    the architecture (RES0), and what they mean in a later version of it is not
 *    for a guest to find out.
 *  - The VMID is overwritten with that of the vSMMU, and a StreamID is one of
 *    the vDEVICEs', replaced by the StreamIDs of the device.
 *
 * A call is worked off in blocks, in a buffer on the stack: a block is copied in,
 * checked and translated in place, issued, and forgotten. So the call costs no
 * memory, can be killed between two blocks, and needs just one CMD_SYNC, behind
 * the last command, or a few if it is long. For the same reason the caller is told
 * of a command as done only after that.
 */
#include <kunit/visibility.h>
#include <linux/bitfield.h>
#include <linux/sched/signal.h>
#include <linux/uaccess.h>

#include "arm-smmu-v3-iommufd.h"

/* Fields of a TLBI by address that 6.12 itself has no use for */
#define ARM_VSMMU_TLBI_0_SCALE_DS	BIT_ULL(25)
#define ARM_VSMMU_TLBI_0_RANGE						\
	(CMDQ_TLBI_0_NUM | CMDQ_TLBI_0_SCALE | ARM_VSMMU_TLBI_0_SCALE_DS)
#define ARM_VSMMU_TLBI_1_RANGE		(CMDQ_TLBI_1_TTL | CMDQ_TLBI_1_TG)
#define ARM_VSMMU_TLBI_0_ASID_LOW	GENMASK_ULL(55, 48)
#define ARM_VSMMU_TG_16K		2
#define ARM_VSMMU_IDR5_DS		BIT(7)

/* For all values of an opcode, so that none needs to be compared to a bound */
static const u8 arm_vsmmu_cmd_kinds[CMDQ_0_OP + 1] = {
	[CMDQ_OP_CFGI_CD] = ARM_VSMMU_CMD_CFGI_CD,
	[CMDQ_OP_CFGI_CD_ALL] = ARM_VSMMU_CMD_CFGI_CD_ALL,
	[CMDQ_OP_TLBI_NH_ALL] = ARM_VSMMU_CMD_TLBI_NH_ALL,
	[CMDQ_OP_TLBI_NH_ASID] = ARM_VSMMU_CMD_TLBI_NH_ASID,
	[CMDQ_OP_TLBI_NH_VA] = ARM_VSMMU_CMD_TLBI_NH_VA,
	[CMDQ_OP_TLBI_NH_VAA] = ARM_VSMMU_CMD_TLBI_NH_VAA,
	[CMDQ_OP_TLBI_NSNH_ALL] = ARM_VSMMU_CMD_TLBI_NSNH_ALL,
	[CMDQ_OP_ATC_INV] = ARM_VSMMU_CMD_ATC_INV,
};

/*
 * Commands in a block. The smallest queue that the driver takes has room for 128,
 * and this much for the stack
 */
#define ARM_VSMMU_BLOCK			96

/*
 * How many commands one call may have in the queue before it waits for them. All
 * others wait for what is in the queue before their CMD_SYNC, with interrupts off,
 * and for a second at most: no call may fill it.
 */
#define ARM_VSMMU_MAX_PENDING		512

/* One call of arm_vsmmu_cache_invalidate() */
struct arm_vsmmu_inv {
	struct arm_vsmmu *vsmmu;
	/* Commands that are issued, but not known to have completed */
	unsigned int pending;
	/* The VMID in its place of word 0; only if there is one */
	u64 vmid;
	bool has_vmid;
	/*
	 * The device asked for last, if it has one StreamID only, and that in its
	 * place of word 0. Good until rcu_read_unlock(). Wider than any vSID if
	 * there is none
	 */
	u64 last_vsid;
	u64 last_sid;
	/* End of those commands of the block that wait to be issued */
	u64 *out;
	u64 cmds[ARM_VSMMU_BLOCK * CMDQ_ENT_DWORDS];
};

/**
 * arm_vsmmu_cmd_rules_init - Find out what an SMMU lets a guest's commands have
 * @rules: Out
 * @smmu: The SMMU
 */
void arm_vsmmu_cmd_rules_init(struct arm_vsmmu_cmd_rules *rules,
			      struct arm_smmu_device *smmu)
{
	u64 ssid = smmu->ssid_bits ? CMDQ_CFGI_0_SSID : 0;
	u64 asid = smmu->asid_bits > 8 ? CMDQ_TLBI_0_ASID :
					 ARM_VSMMU_TLBI_0_ASID_LOW;
	u64 va_0 = CMDQ_TLBI_0_VMID;
	u64 va_1 = CMDQ_TLBI_1_LEAF | CMDQ_TLBI_1_VA_MASK;

	rules->ds = readl_relaxed(smmu->base + ARM_SMMU_IDR5) &
		    ARM_VSMMU_IDR5_DS;
	if (smmu->features & ARM_SMMU_FEAT_RANGE_INV) {
		va_0 |= CMDQ_TLBI_0_NUM | CMDQ_TLBI_0_SCALE;
		va_1 |= ARM_VSMMU_TLBI_1_RANGE;
		if (rules->ds)
			va_0 |= ARM_VSMMU_TLBI_0_SCALE_DS;
	}

	memset(rules->allow, 0, sizeof(rules->allow));
#define RULE(_kind, _word_0, _word_1)                                          \
	do {                                                                   \
		rules->allow[ARM_VSMMU_CMD_##_kind].word_0 =                   \
			CMDQ_0_OP | (_word_0);                                 \
		rules->allow[ARM_VSMMU_CMD_##_kind].word_1 = (_word_1);        \
	} while (0)
	RULE(CFGI_CD, CMDQ_CFGI_0_SID | ssid, CMDQ_CFGI_1_LEAF);
	RULE(CFGI_CD_ALL, CMDQ_CFGI_0_SID, 0);
	RULE(TLBI_NH_ALL, CMDQ_TLBI_0_VMID, 0);
	RULE(TLBI_NH_ASID, CMDQ_TLBI_0_VMID | asid, 0);
	RULE(TLBI_NH_VA, va_0 | asid, va_1);
	RULE(TLBI_NH_VAA, va_0, va_1);
	RULE(TLBI_NSNH_ALL, 0, 0);
	if (smmu->features & ARM_SMMU_FEAT_ATS)
		RULE(ATC_INV,
		     CMDQ_ATC_0_SID |
			     (ssid ? CMDQ_0_SSV | CMDQ_ATC_0_GLOBAL |
					     CMDQ_ATC_0_SSID : 0),
		     CMDQ_ATC_1_SIZE | CMDQ_ATC_1_ADDR_MASK);
#undef RULE

	/*
	 * What needs no second look: TLBIs that are issued as they are but for
	 * the VMID, and of those by address the ones that are not range ones.
	 */
	memcpy(rules->simple, rules->allow, sizeof(rules->simple));
	memset(rules->simple, 0,
	       ARM_VSMMU_CMD_TLBI * sizeof(rules->simple[0]));
	rules->simple[ARM_VSMMU_CMD_TLBI_NSNH_ALL] =
		(struct arm_vsmmu_cmd_mask){};
	rules->simple[ARM_VSMMU_CMD_TLBI_NH_VA].word_0 &=
		~ARM_VSMMU_TLBI_0_RANGE;
	rules->simple[ARM_VSMMU_CMD_TLBI_NH_VA].word_1 &=
		~ARM_VSMMU_TLBI_1_RANGE;
	rules->simple[ARM_VSMMU_CMD_TLBI_NH_VAA].word_0 &=
		~ARM_VSMMU_TLBI_0_RANGE;
	rules->simple[ARM_VSMMU_CMD_TLBI_NH_VAA].word_1 &=
		~ARM_VSMMU_TLBI_1_RANGE;
}

/*
 * "TLB invalidation of a range": TG says whether the command is a range one,
 * and then it must name more than nothing.
 */
static bool arm_vsmmu_range_ok(const struct arm_vsmmu_cmd_rules *rules,
			       u64 word_0, u64 word_1)
{
	bool any = (word_0 & ARM_VSMMU_TLBI_0_RANGE) ||
		   (word_1 & CMDQ_TLBI_1_TTL);
	unsigned int tg = FIELD_GET(CMDQ_TLBI_1_TG, word_1);

	if (any != !!tg)
		return false;
	/* Level 1 has no 16K blocks before there were 52-bit addresses */
	return !(tg == ARM_VSMMU_TG_16K &&
		 FIELD_GET(CMDQ_TLBI_1_TTL, word_1) == 1 && !rules->ds);
}

static int arm_vsmmu_issue(struct arm_vsmmu_inv *inv, u64 *cmds,
			   unsigned int num, bool sync)
{
	struct arm_smmu_device *smmu = inv->vsmmu->smmu;

	/* An erratum wants a sync now and then, see arm_smmu_cmdq_batch_add() */
	inv->pending += num;
	sync |= inv->pending > ARM_VSMMU_MAX_PENDING - ARM_VSMMU_BLOCK ||
		(smmu->options & ARM_SMMU_OPT_CMDQ_FORCE_SYNC);
	if (sync)
		inv->pending = 0;

	/* The queue of the SMMU itself: others do not take every command */
	return arm_smmu_cmdq_issue_cmdlist(smmu, &smmu->cmdq, cmds, num, sync);
}

static unsigned int arm_vsmmu_block_len(struct arm_vsmmu_inv *inv)
{
	return (inv->out - inv->cmds) / CMDQ_ENT_DWORDS;
}

static int arm_vsmmu_flush_block(struct arm_vsmmu_inv *inv)
{
	unsigned int num = arm_vsmmu_block_len(inv);

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

/* A command that names a StreamID, for all that the device has */
static int arm_vsmmu_stream_cmd(struct arm_vsmmu_inv *inv, unsigned int kind,
				u64 word_0, u64 word_1)
{
	u32 vsid = FIELD_GET(CMDQ_CFGI_0_SID, word_0);
	struct arm_smmu_master *master;
	struct device *dev;
	unsigned int i;
	int ret;

	static_assert(CMDQ_CFGI_0_SID == CMDQ_ATC_0_SID);
	dev = iommufd_viommu_find_dev(&inv->vsmmu->core, vsid);
	if (!dev)
		return -EIO;
	master = dev_iommu_priv_get(dev);

	if (kind == ARM_VSMMU_CMD_ATC_INV) {
		if (FIELD_GET(CMDQ_ATC_1_SIZE, word_1) > ATC_INV_SIZE_ALL)
			return -EIO;
		/* It would time out, and take the queue with it */
		if (!READ_ONCE(master->guest_ats))
			return 0;
		/* So it may if the device knows no PASIDs, and then has none */
		if ((word_0 & CMDQ_0_SSV) && !master->ssid_bits)
			return 0;
	}
	if (!inv->has_vmid)
		return 0;

	word_0 &= ~CMDQ_CFGI_0_SID;
	if (likely(master->num_streams == 1)) {
		inv->last_vsid = vsid;
		inv->last_sid = FIELD_PREP(CMDQ_CFGI_0_SID,
					   (u64)master->streams[0].id);
		arm_vsmmu_queue_cmd(inv, word_0 | inv->last_sid, word_1);
		return 0;
	}

	/* More come out than went in, so what follows must not be overwritten */
	ret = arm_vsmmu_flush_block(inv);
	for (i = 0; !ret && i < master->num_streams; i++) {
		u64 one[CMDQ_ENT_DWORDS] = {
			word_0 | FIELD_PREP(CMDQ_CFGI_0_SID,
					    (u64)master->streams[i].id),
			word_1
		};

		ret = arm_vsmmu_issue(inv, one, 1, false);
	}
	return ret;
}

/* Whatever is not as simple as most commands are, and what is wrong */
static noinline int arm_vsmmu_other_cmd(struct arm_vsmmu_inv *inv,
					const u64 *cmd)
{
	const struct arm_vsmmu_cmd_rules *rules = &inv->vsmmu->rules;
	u64 word_0 = cmd[0], word_1 = cmd[1];
	unsigned int kind = arm_vsmmu_cmd_kinds[word_0 & CMDQ_0_OP];
	const struct arm_vsmmu_cmd_mask *allow = &rules->allow[kind];

	/* A kind that is not allowed is not even if all is 0 */
	if (!allow->word_0 || (word_0 & ~allow->word_0) ||
	    (word_1 & ~allow->word_1))
		return -EIO;

	if (kind < ARM_VSMMU_CMD_TLBI)
		return arm_vsmmu_stream_cmd(inv, kind, word_0, word_1);

	if ((kind == ARM_VSMMU_CMD_TLBI_NH_VA ||
	     kind == ARM_VSMMU_CMD_TLBI_NH_VAA) &&
	    !arm_vsmmu_range_ok(rules, word_0, word_1))
		return -EIO;
	/* All that is the guest's, and not the SMMU's other users' */
	if (kind == ARM_VSMMU_CMD_TLBI_NSNH_ALL)
		word_0 = CMDQ_OP_TLBI_NH_ALL;
	if (inv->has_vmid)
		arm_vsmmu_queue_cmd(inv,
				    (word_0 & ~CMDQ_TLBI_0_VMID) | inv->vmid,
				    word_1);
	return 0;
}

/* TLBIs that need no second look. Returns the first command that is none */
static u64 *arm_vsmmu_simple_tlbis(struct arm_vsmmu_inv *inv, u64 *cmd,
				   const u64 *end)
{
	const struct arm_vsmmu_cmd_mask *simples = inv->vsmmu->rules.simple;
	/* Without a VMID all that is queued falls on the same place */
	const unsigned int step = inv->has_vmid ? CMDQ_ENT_DWORDS : 0;
	const u64 vmid = inv->vmid;
	u64 *out = inv->out;

	for (; cmd != end; cmd += CMDQ_ENT_DWORDS) {
		u64 word_0 = cmd[0], word_1 = cmd[1];
		unsigned int kind = arm_vsmmu_cmd_kinds[word_0 & CMDQ_0_OP];
		const struct arm_vsmmu_cmd_mask *simple = &simples[kind];

		if ((word_0 & ~simple->word_0) | (word_1 & ~simple->word_1))
			break;
		/* All 0 is within any mask */
		if (kind == ARM_VSMMU_CMD_NONE)
			break;
		out[0] = (word_0 & ~CMDQ_TLBI_0_VMID) | vmid;
		out[1] = word_1;
		out += step;
	}
	inv->out = out;
	return cmd;
}

/* The same for CFGI_CD of the device asked for last */
static u64 *arm_vsmmu_simple_cfgis(struct arm_vsmmu_inv *inv, u64 *cmd,
				   const u64 *end)
{
	const struct arm_vsmmu_cmd_mask *allow =
		&inv->vsmmu->rules.allow[ARM_VSMMU_CMD_CFGI_CD];
	const u64 vsid = inv->last_vsid, sid = inv->last_sid;
	u64 *out = inv->out;

	for (; cmd != end; cmd += CMDQ_ENT_DWORDS) {
		u64 word_0 = cmd[0], word_1 = cmd[1];

		if ((word_0 & CMDQ_0_OP) != CMDQ_OP_CFGI_CD ||
		    word_0 >> 32 != vsid ||
		    ((word_0 & ~allow->word_0) | (word_1 & ~allow->word_1)))
			break;
		out[0] = lower_32_bits(word_0) | sid;
		out[1] = word_1;
		out += CMDQ_ENT_DWORDS;
	}
	inv->out = out;
	return cmd;
}

/*
 * Check the first @num commands of the block and translate them in place: what
 * comes out is never longer than what was read. Returns how many were good.
 */
static unsigned int arm_vsmmu_translate(struct arm_vsmmu_inv *inv,
					unsigned int num, int *ret)
{
	u64 *end = inv->cmds + num * CMDQ_ENT_DWORDS;
	u64 *cmd = inv->cmds;

	inv->out = inv->cmds;
	/* What a busy guest sends thousands of goes in loops of its own */
	while ((cmd = arm_vsmmu_simple_tlbis(inv, cmd, end)) != end) {
		*ret = arm_vsmmu_other_cmd(inv, cmd);
		if (*ret)
			break;
		cmd += CMDQ_ENT_DWORDS;
		if (inv->last_vsid <= U32_MAX)
			cmd = arm_vsmmu_simple_cfgis(inv, cmd, end);
	}
	return (cmd - inv->cmds) / CMDQ_ENT_DWORDS;
}

/*
 * Copy @num entries from @first on to where they belong in a block. Returns how
 * many could be had; *ret tells why if that is less.
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

/*
 * Check and issue the @num commands of a block, with a CMD_SYNC if it is the
 * last one. Returns how many were good; *ret tells why if that is less.
 *
 * In the one RCU read-side section a device found by its vSID cannot leave the VM
 * before the command for it is in the queue. The VMID may be another VM's by then,
 * which does no harm: see arm_smmu_s2_put_tag().
 */
static unsigned int arm_vsmmu_run_block(struct arm_vsmmu_inv *inv,
					unsigned int num, bool last, int *ret)
{
	struct arm_smmu_s2_tag *tag;
	unsigned int good;
	int rc = 0;

	inv->last_vsid = U64_MAX;

	rcu_read_lock();
	tag = rcu_dereference(inv->vsmmu->tag);
	/* Without it nothing that translates is attached, so nothing is cached */
	inv->has_vmid = tag;
	inv->vmid = tag ? FIELD_PREP(CMDQ_TLBI_0_VMID, (u64)tag->vmid) : 0;

	good = arm_vsmmu_translate(inv, num, &rc);
	last |= rc;

	if (!last) {
		*ret = arm_vsmmu_flush_block(inv);
	} else {
		unsigned int len = arm_vsmmu_block_len(inv);

		if (len || inv->pending)
			*ret = arm_vsmmu_issue(inv, inv->cmds, len, true);
		/* The error of the queue is the worse one */
		*ret = *ret ?: rc;
	}
	rcu_read_unlock();
	return good;
}

/**
 * arm_vsmmu_cache_invalidate - iommufd_viommu_ops::cache_invalidate
 * @viommu: The vSMMU
 * @array: The guest's commands. On return array->entry_num is the number of
 *         those at its start that have completed
 *
 * Context: Process context. The calling VMM waits for the guest's commands.
 * Return: 0; -EINVAL for another type or entries too short, -EIO for a command
 * that a guest may not send, -EFAULT or -E2BIG as copy_struct_from_user(), -EINTR
 * when the process is being killed, -ETIMEDOUT if the SMMU does not answer.
 */
int arm_vsmmu_cache_invalidate(struct iommufd_viommu *viommu,
			       struct iommu_user_data_array *array)
{
	/* The commands are copied in before they are looked at */
	struct arm_vsmmu_inv inv __uninitialized;
	u32 num = array->entry_num;
	unsigned int max, block, got;
	int copy_ret, ret = 0;
	u32 done = 0;

	array->entry_num = 0;
	if (array->type != IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3)
		return -EINVAL;
	if (!num)
		return 0;
	if (array->entry_len < sizeof(struct iommu_viommu_arm_smmuv3_invalidate))
		return -EINVAL;

	inv.vsmmu = container_of(viommu, struct arm_vsmmu, core);
	inv.pending = 0;
	max = ARM_VSMMU_BLOCK;
	if (inv.vsmmu->smmu->options & ARM_SMMU_OPT_CMDQ_FORCE_SYNC)
		max = CMDQ_BATCH_ENTRIES - 1;

	/*
	 * What the guest wrote to its tables comes before the look at
	 * arm_vsmmu::tag. Pairs with arm_smmu_s2_get_tag(): a master that is
	 * being attached and is not seen here sees what the guest wrote.
	 */
	smp_mb();

	while (done < num) {
		block = min(num - done, max);
		got = arm_vsmmu_copy_block(&inv, array, done, block, &copy_ret);
		if (!copy_ret && done + block < num &&
		    fatal_signal_pending(current))
			copy_ret = -EINTR;

		got = arm_vsmmu_run_block(&inv, got,
					  copy_ret || done + block == num, &ret);
		/* Not even the first one is known to be done */
		if (ret && ret != -EIO)
			return ret;
		done += got;
		if (!ret)
			ret = copy_ret;
		if (ret)
			break;
		if (done < num)
			cond_resched();
	}
	array->entry_num = done;
	return ret;
}
