// SPDX-License-Identifier: GPL-2.0-only
/*
 * A Tegra241 CMDQV: command queues besides that of the SMMU (x-cmdqv)
 *
 * There is no public specification of it. This follows the definitions of registers in
 * Linux' driver, and chooses the worst behaviour that a driver has to expect:
 *
 *  - a queue whose ALLOC is cleared while it is enabled remains enabled;
 *  - a queue whose EN was left set starts when ALLOC and the EN of its VINTF are set;
 *  - an ATC_INV that a queue has sent before it was disabled can time out afterwards,
 *    and is an error in the next CMD_SYNC of the queue, unless a CMD_SYNC of the SMMU's
 *    own queue has waited for it in between.
 *
 * The queues of a VINTF without HYP_OWN execute TLBI_NH_ASID and TLBI_NH_VA, with the
 * VMID of the VINTF, ATC_INV, with the StreamID that SID_MATCH and SID_REPLACE translate
 * it to, and CMD_SYNC without an interrupt. The guest writes to page 0 of its VINTF at
 * any time, so nothing here may rely on any register. With x-cmdqv=2, a guest enables each
 * queue again at the moment at which the host disables it, which no test program can time.
 *
 * The trace event smmuv3_cmdqv_cmd has each command that was executed. With x-strict=1,
 * the log has the accesses that no guest can make and no host should.
 */
#include "qemu/osdep.h"
#include "qemu/bitops.h"
#include "qemu/log.h"
#include "hw/acpi/aml-build.h"
#include "hw/arm/smmuv3.h"
#include "hw/irq.h"
#include "hw/sysbus.h"
#include "smmuv3-internal.h"
#include "trace.h"

/* x-cmdqv: any other value but 0 adds a CMDQV, too */
#define CMDQV_HOSTILE	2

#define LOG2_VINTFS	2
#define LOG2_VCMDQS	3
#define LOG2_SIDS	4
#define VINTFS		BIT(LOG2_VINTFS)
#define VCMDQS		BIT(LOG2_VCMDQS)
#define SIDS		BIT(LOG2_SIDS)

/* Where the machine "virt" has nothing else */
#define CMDQV_BASE	0x09200000
#define CMDQV_SPI	78
#define CMDQV_SIZE	(VINTF_PAGES + VINTFS * VINTF_SIZE)
/* The identifier of the SMMU in the IORT */
#define IORT_ID		1

/* The configuration page */
#define CONFIG		0x000
#define PARAM		0x004
#define STATUS		0x008
#define VI_ERR_MAP	0x014
#define VI_INT_MASK	0x01c
#define CMDQ_ERR_MAP	0x024
#define CMDQ_ALLOC	0x200
#define VINTF		0x1000
#define  VINTF_REGS	0x100

/* Registers of a VINTF */
#define VINTF_CONFIG	0x00
#define VINTF_STATUS	0x04
#define SID_MATCH	0x40
#define SID_REPLACE	0x80
#define LVCMDQ_ERR_MAP	0xc0

/* Pages with queues */
#define VCMDQ_PAGES	0x10000
#define VINTF_PAGES	0x30000
#define VINTF_SIZE	0x20000
#define PAGE		0x10000
#define VCMDQ_REGS	0x80

/* Registers of a queue in page 0 */
#define VCMDQ_CONS	0x00
#define VCMDQ_PROD	0x04
#define VCMDQ_CONFIG	0x08
#define VCMDQ_STATUS	0x0c
#define VCMDQ_GERROR	0x10
#define VCMDQ_GERRORN	0x14

/* and in page 1 */
#define VCMDQ_BASE	0x00
#define VCMDQ_CONS_DRAM	0x08

#define EN		BIT(0)
#define ALLOC		BIT(0)
#define CONFIG_MASK	MAKE_64BIT_MASK(0, 21)
#define ALLOC_LVCMDQ(x)	extract32(x, 1, 7)
#define ALLOC_VINTF(x)	extract32(x, 15, 6)
#define ALLOC_MASK	0x1f80ff
#define VMID(x)		extract32(x, 1, 16)
#define HYP_OWN		BIT(17)
#define VINTF_MASK	0x3ffff
#define MATCH_VSID(x)	extract32(x, 1, 20)
#define MATCH_MASK	0x1fffff
#define SID_MASK	0xfffff
#define INDEX		0xfffff
#define CONS_ERR_SHIFT	24
#define CONS_MASK	0x7f0fffff
#define BASE_MASK	0x0000ffffffffffff
#define CMDQ_ERR	BIT(0)
#define GERROR_MASK	0x7

struct vintf {
	uint32_t config;
	uint32_t match[SIDS];
	uint32_t replace[SIDS];
};

struct smmuv3_vcmdq {
	SMMUQueue q;
	uint32_t alloc;
	uint32_t config;
	bool enabled;
	/* Its commands are being executed */
	bool busy;
	uint32_t gerror;
	uint32_t gerrorn;
	uint64_t cons_dram;
	struct smmuv3_invs invs;
};

struct smmuv3_cmdqv {
	MemoryRegion mmio;
	qemu_irq irq;
	uint32_t config;
	uint32_t int_mask[2];
	struct vintf vintf[VINTFS];
	struct smmuv3_vcmdq vcmdq[VCMDQS];
};

/* An error of the host */
static void bad_host(SMMUv3State *s, const char *why)
{
	if (s->lab.strict)
		qemu_log_mask(LOG_GUEST_ERROR, "SMMUv3 strict: CMDQV: %s\n", why);
}

/* The VINTF that a queue is or was assigned to */
static struct vintf *vcmdq_vintf(struct smmuv3_cmdqv *cmdqv, struct smmuv3_vcmdq *v)
{
	uint32_t i = ALLOC_VINTF(v->alloc);

	return i < VINTFS ? &cmdqv->vintf[i] : NULL;
}

static struct smmuv3_vcmdq *find_lvcmdq(struct smmuv3_cmdqv *cmdqv, uint32_t vintf,
					uint32_t lvcmdq)
{
	int i;

	for (i = 0; i < VCMDQS; i++) {
		struct smmuv3_vcmdq *v = &cmdqv->vcmdq[i];

		if ((v->alloc & ALLOC) && ALLOC_VINTF(v->alloc) == vintf &&
		    ALLOC_LVCMDQ(v->alloc) == lvcmdq)
			return v;
	}
	return NULL;
}

/* The queue is assigned to a VINTF that is in use by a guest */
static bool is_guest(struct smmuv3_cmdqv *cmdqv, struct smmuv3_vcmdq *v)
{
	struct vintf *vintf = vcmdq_vintf(cmdqv, v);

	return vintf && (vintf->config & EN) && !(vintf->config & HYP_OWN);
}

static bool has_error(const struct smmuv3_vcmdq *v)
{
	return v->gerror != v->gerrorn;
}

static void consume(SMMUv3State *s, struct smmuv3_vcmdq *v)
{
	/* A CMD_SYNC of the host can send an MSI to PROD */
	if (v->busy)
		return;
	v->busy = true;
	smmuv3_consume(s, v);
	v->busy = false;
}

/* A register that decides which queues are enabled has changed */
static void update(SMMUv3State *s)
{
	struct smmuv3_cmdqv *cmdqv = s->lab.cmdqv;
	int i;

	for (i = 0; i < VCMDQS; i++) {
		struct smmuv3_vcmdq *v = &cmdqv->vcmdq[i];
		struct vintf *vintf = vcmdq_vintf(cmdqv, v);

		v->enabled = (v->config & EN) && (cmdqv->config & EN) && vintf &&
			     (vintf->config & EN) && ((v->alloc & ALLOC) || v->enabled);
	}
	for (i = 0; i < VCMDQS; i++)
		consume(s, &cmdqv->vcmdq[i]);
}

/*
 * The description of a queue for smmuv3_consume(). It executes commands of the SMMU's own
 * queue and of these in the same way.
 */

SMMUQueue *smmuv3_vcmdq_queue(struct smmuv3_vcmdq *v)
{
	return &v->q;
}

struct smmuv3_invs *smmuv3_vcmdq_invs(struct smmuv3_vcmdq *v)
{
	return &v->invs;
}

bool smmuv3_vcmdq_enabled(struct smmuv3_vcmdq *v)
{
	return v->enabled;
}

uint32_t smmuv3_vcmdq_pending(struct smmuv3_vcmdq *v)
{
	return v->gerror ^ v->gerrorn;
}

static bool replace_sid(struct vintf *vintf, Cmd *cmd)
{
	int i;

	for (i = 0; i < SIDS; i++) {
		if (!(vintf->match[i] & EN) || MATCH_VSID(vintf->match[i]) != CMD_SID(cmd))
			continue;
		cmd->word[1] = vintf->replace[i];
		return true;
	}
	return false;
}

/**
 * smmuv3_vcmdq_filter - Make a command of a guest harmless, or refuse it
 * @s: the SMMU
 * @v: the queue
 * @cmd: the command, which is changed
 * @guest: Out: HYP_OWN is not set
 *
 * Return: SMMU_CERROR_ILL if it is refused
 */
SMMUCmdError smmuv3_vcmdq_filter(SMMUv3State *s, struct smmuv3_vcmdq *v, Cmd *cmd,
				 bool *guest)
{
	struct vintf *vintf = vcmdq_vintf(s->lab.cmdqv, v);

	*guest = !(vintf->config & HYP_OWN);
	if (!*guest)
		return SMMU_CERROR_NONE;
	switch (CMD_TYPE(cmd)) {
	case SMMU_CMD_TLBI_NH_ASID:
	case SMMU_CMD_TLBI_NH_VA:
		cmd->word[1] = deposit32(cmd->word[1], 0, 16, VMID(vintf->config));
		return SMMU_CERROR_NONE;
	case SMMU_CMD_ATC_INV:
		return replace_sid(vintf, cmd) ? SMMU_CERROR_NONE : SMMU_CERROR_ILL;
	case SMMU_CMD_SYNC:
		return CMD_SYNC_CS(cmd) == CMD_SYNC_SIG_NONE ? SMMU_CERROR_NONE :
							      SMMU_CERROR_ILL;
	default:
		return SMMU_CERROR_ILL;
	}
}

/* A command was executed, in the form that the SMMU saw */
void smmuv3_vcmdq_done(SMMUv3State *s, struct smmuv3_vcmdq *v, Cmd *cmd)
{
	struct vintf *vintf = vcmdq_vintf(s->lab.cmdqv, v);
	bool tlbi = CMD_TYPE(cmd) >= SMMU_CMD_TLBI_NH_ALL &&
		    CMD_TYPE(cmd) <= SMMU_CMD_TLBI_NSNH_ALL;

	trace_smmuv3_cmdqv_cmd(ALLOC_VINTF(v->alloc), ALLOC_LVCMDQ(v->alloc),
			       !!(vintf->config & HYP_OWN), smmu_cmd_string(CMD_TYPE(cmd)),
			       tlbi ? CMD_VMID(cmd) : 0,
			       CMD_TYPE(cmd) == SMMU_CMD_ATC_INV ? CMD_SID(cmd) : 0);
}

void smmuv3_vcmdq_error(SMMUv3State *s, struct smmuv3_vcmdq *v, SMMUCmdError error)
{
	struct smmuv3_cmdqv *cmdqv = s->lab.cmdqv;
	uint32_t vintf = ALLOC_VINTF(v->alloc);

	trace_smmuv3_cmdqv_error(vintf, ALLOC_LVCMDQ(v->alloc), error);
	v->q.cons = deposit32(v->q.cons, CONS_ERR_SHIFT, 7, error);
	if (!(smmuv3_vcmdq_pending(v) & CMDQ_ERR))
		v->gerror ^= CMDQ_ERR;
	if (!(cmdqv->int_mask[vintf / 32] & BIT(vintf % 32)))
		qemu_irq_pulse(cmdqv->irq);
}

/* An ATC_INV of one of the queues that have sent any was not answered */
void smmuv3_cmdqv_lost(SMMUv3State *s)
{
	int i;

	for (i = 0; s->lab.cmdqv && i < VCMDQS; i++)
		s->lab.cmdqv->vcmdq[i].invs.lost |= s->lab.cmdqv->vcmdq[i].invs.sent;
}

/* All ATC_INVs were answered, so each CMD_SYNC can complete */
void smmuv3_cmdqv_answered(SMMUv3State *s)
{
	int i;

	for (i = 0; s->lab.cmdqv && i < VCMDQS; i++)
		consume(s, &s->lab.cmdqv->vcmdq[i]);
}

/* A CMD_SYNC of the SMMU's own queue has completed */
void smmuv3_cmdqv_synced(SMMUv3State *s)
{
	int i;

	for (i = 0; s->lab.cmdqv && i < VCMDQS; i++) {
		struct smmuv3_vcmdq *v = &s->lab.cmdqv->vcmdq[i];

		if (!v->enabled)
			v->invs = (struct smmuv3_invs){};
		else if (!(v->alloc & ALLOC))
			bad_host(s, "a queue that was taken away is enabled");
	}
}

/* Registers. Those that do not exist read as 0, and ignore writes */

static uint32_t page0_read(struct smmuv3_vcmdq *v, hwaddr reg)
{
	switch (reg) {
	case VCMDQ_CONS:
		return v->q.cons;
	case VCMDQ_PROD:
		return v->q.prod;
	case VCMDQ_CONFIG:
		return v->config;
	case VCMDQ_STATUS:
		return v->enabled;
	case VCMDQ_GERROR:
		return v->gerror;
	case VCMDQ_GERRORN:
		return v->gerrorn;
	}
	return 0;
}

static void page0_write(SMMUv3State *s, struct smmuv3_vcmdq *v, hwaddr reg, uint32_t val)
{
	switch (reg) {
	case VCMDQ_CONS:
		if (!v->enabled)
			v->q.cons = val & CONS_MASK;
		break;
	case VCMDQ_PROD:
		v->q.prod = val & INDEX;
		consume(s, v);
		break;
	case VCMDQ_CONFIG:
		v->config = val & EN;
		update(s);
		break;
	case VCMDQ_GERRORN:
		v->gerrorn = val & GERROR_MASK;
		consume(s, v);
		break;
	}
}

static uint32_t page1_read(struct smmuv3_vcmdq *v, hwaddr reg)
{
	switch (reg & ~7ULL) {
	case VCMDQ_BASE:
		return v->q.base >> 8 * (reg & 4);
	case VCMDQ_CONS_DRAM:
		return v->cons_dram >> 8 * (reg & 4);
	}
	return 0;
}

static void page1_write(SMMUv3State *s, struct smmuv3_vcmdq *v, hwaddr reg, uint32_t val)
{
	switch (reg & ~7ULL) {
	case VCMDQ_BASE:
		if (v->enabled) {
			bad_host(s, "BASE of an enabled queue");
			break;
		}
		v->q.base = deposit64(v->q.base, 8 * (reg & 4), 32, val) & BASE_MASK;
		v->q.log2size = MIN(extract64(v->q.base, 0, 5),
				    FIELD_EX32(s->idr[1], IDR1, CMDQS));
		break;
	case VCMDQ_CONS_DRAM:
		v->cons_dram = deposit64(v->cons_dram, 8 * (reg & 4), 32, val);
		break;
	}
}

static uint32_t lvcmdq_err_map(struct smmuv3_cmdqv *cmdqv, uint32_t vintf, uint32_t word)
{
	uint32_t map = 0;
	int i;

	for (i = 0; i < VCMDQS; i++) {
		struct smmuv3_vcmdq *v = &cmdqv->vcmdq[i];

		if ((v->alloc & ALLOC) && ALLOC_VINTF(v->alloc) == vintf && has_error(v) &&
		    ALLOC_LVCMDQ(v->alloc) / 32 == word)
			map |= BIT(ALLOC_LVCMDQ(v->alloc) % 32);
	}
	return map;
}

static uint32_t vintf_read(struct smmuv3_cmdqv *cmdqv, uint32_t i, hwaddr reg)
{
	struct vintf *vintf = &cmdqv->vintf[i];
	uint32_t queues = 0;
	int q;

	switch (reg) {
	case VINTF_CONFIG:
		return vintf->config;
	case VINTF_STATUS:
		for (q = 0; q < VCMDQS; q++)
			queues += (cmdqv->vcmdq[q].alloc & ALLOC) &&
				  ALLOC_VINTF(cmdqv->vcmdq[q].alloc) == i;
		return queues << 16 | (vintf->config & cmdqv->config & EN);
	case SID_MATCH ... SID_MATCH + 4 * SIDS - 4:
		return vintf->match[(reg - SID_MATCH) / 4];
	case SID_REPLACE ... SID_REPLACE + 4 * SIDS - 4:
		return vintf->replace[(reg - SID_REPLACE) / 4];
	case LVCMDQ_ERR_MAP ... LVCMDQ_ERR_MAP + 12:
		return lvcmdq_err_map(cmdqv, i, (reg - LVCMDQ_ERR_MAP) / 4);
	}
	return 0;
}

static void vintf_config(SMMUv3State *s, uint32_t i, uint32_t val)
{
	struct smmuv3_cmdqv *cmdqv = s->lab.cmdqv;
	uint32_t was = cmdqv->vintf[i].config;
	int q;

	val &= VINTF_MASK;
	if ((was & val & EN) && was != val)
		bad_host(s, "VMID or HYP_OWN of an enabled VINTF");
	for (q = 0; q < VCMDQS && (was & ~val & EN); q++) {
		if (cmdqv->vcmdq[q].enabled && ALLOC_VINTF(cmdqv->vcmdq[q].alloc) == i)
			bad_host(s, "a VINTF is disabled before its queues");
	}
	cmdqv->vintf[i].config = val;
	update(s);
}

static void vintf_write(SMMUv3State *s, uint32_t i, hwaddr reg, uint32_t val)
{
	struct vintf *vintf = &s->lab.cmdqv->vintf[i];

	switch (reg) {
	case VINTF_CONFIG:
		vintf_config(s, i, val);
		break;
	case SID_MATCH ... SID_MATCH + 4 * SIDS - 4:
		vintf->match[(reg - SID_MATCH) / 4] = val & MATCH_MASK;
		break;
	case SID_REPLACE ... SID_REPLACE + 4 * SIDS - 4:
		vintf->replace[(reg - SID_REPLACE) / 4] = val & SID_MASK;
		break;
	}
}

static void cmdq_alloc(SMMUv3State *s, struct smmuv3_vcmdq *v, uint32_t val)
{
	struct smmuv3_cmdqv *cmdqv = s->lab.cmdqv;
	uint32_t was = v->alloc;

	if ((was & ~val & ALLOC) &&
	    find_lvcmdq(cmdqv, ALLOC_VINTF(was), ALLOC_LVCMDQ(was) + 1))
		bad_host(s, "an LVCMDQ is taken away before the next");
	v->alloc = val & ALLOC_MASK;
	if ((~was & val & ALLOC) && is_guest(cmdqv, v)) {
		if (!v->q.base)
			bad_host(s, "a guest gets a queue without memory");
		if (v->config & EN)
			bad_host(s, "a guest gets a queue that is enabled");
		if (v->invs.sent || v->invs.lost)
			bad_host(s, "a guest gets a queue with ATC_INVs of another");
	}
	update(s);
}

static uint32_t config_read(struct smmuv3_cmdqv *cmdqv, hwaddr reg)
{
	uint32_t map = 0;
	int i;

	switch (reg) {
	case CONFIG:
		return cmdqv->config;
	case PARAM:
		return LOG2_SIDS << 12 | LOG2_VINTFS << 8 | LOG2_VCMDQS << 4 | 1;
	case STATUS:
		return cmdqv->config & EN;
	case VI_ERR_MAP:
		for (i = 0; i < VCMDQS; i++) {
			struct smmuv3_vcmdq *v = &cmdqv->vcmdq[i];

			if ((v->alloc & ALLOC) && has_error(v) && vcmdq_vintf(cmdqv, v))
				map |= BIT(ALLOC_VINTF(v->alloc));
		}
		return map;
	case VI_INT_MASK ... VI_INT_MASK + 4:
		return cmdqv->int_mask[(reg - VI_INT_MASK) / 4];
	case CMDQ_ERR_MAP:
		for (i = 0; i < VCMDQS; i++)
			map |= has_error(&cmdqv->vcmdq[i]) << i;
		return map;
	case CMDQ_ALLOC ... CMDQ_ALLOC + 4 * VCMDQS - 4:
		return cmdqv->vcmdq[(reg - CMDQ_ALLOC) / 4].alloc;
	case VINTF ... VINTF + VINTFS * VINTF_REGS - 4:
		return vintf_read(cmdqv, (reg - VINTF) / VINTF_REGS,
				  (reg - VINTF) % VINTF_REGS);
	}
	return 0;
}

static void config_write(SMMUv3State *s, hwaddr reg, uint32_t val)
{
	struct smmuv3_cmdqv *cmdqv = s->lab.cmdqv;

	switch (reg) {
	case CONFIG:
		cmdqv->config = val & CONFIG_MASK;
		update(s);
		break;
	case VI_INT_MASK ... VI_INT_MASK + 4:
		cmdqv->int_mask[(reg - VI_INT_MASK) / 4] = val;
		break;
	case CMDQ_ALLOC ... CMDQ_ALLOC + 4 * VCMDQS - 4:
		cmdq_alloc(s, &cmdqv->vcmdq[(reg - CMDQ_ALLOC) / 4], val);
		break;
	case VINTF ... VINTF + VINTFS * VINTF_REGS - 4:
		vintf_write(s, (reg - VINTF) / VINTF_REGS, (reg - VINTF) % VINTF_REGS, val);
		break;
	}
}

/* The queue with a register in one of the pages. @reg: Out, with PAGE set in page 1 */
static struct smmuv3_vcmdq *find_vcmdq(struct smmuv3_cmdqv *cmdqv, hwaddr addr,
				       hwaddr *reg)
{
	bool vintf = addr >= VINTF_PAGES;
	uint32_t i;

	addr -= vintf ? VINTF_PAGES : VCMDQ_PAGES;
	*reg = addr & (PAGE | (VCMDQ_REGS - 1));
	i = addr % PAGE / VCMDQ_REGS;
	if (vintf)
		return find_lvcmdq(cmdqv, addr / VINTF_SIZE, i);
	return i < VCMDQS ? &cmdqv->vcmdq[i] : NULL;
}

static uint64_t cmdqv_read(void *opaque, hwaddr addr, unsigned int size)
{
	SMMUv3State *s = opaque;
	struct smmuv3_vcmdq *v;
	hwaddr reg;

	if (addr & 3)
		return 0;
	if (addr < VCMDQ_PAGES)
		return config_read(s->lab.cmdqv, addr);
	v = find_vcmdq(s->lab.cmdqv, addr, &reg);
	if (!v)
		return 0;
	return reg & PAGE ? page1_read(v, reg & ~PAGE) : page0_read(v, reg);
}

static void cmdqv_write(void *opaque, hwaddr addr, uint64_t val, unsigned int size)
{
	SMMUv3State *s = opaque;
	struct smmuv3_vcmdq *v;
	hwaddr reg;

	if (addr & 3)
		return;
	if (addr < VCMDQ_PAGES) {
		config_write(s, addr, val);
		return;
	}
	v = find_vcmdq(s->lab.cmdqv, addr, &reg);
	if (!v)
		return;
	if (reg & PAGE) {
		page1_write(s, v, reg & ~PAGE, val);
		return;
	}
	page0_write(s, v, reg, val);
	/* A guest that enables its queue again can do so until ALLOC is clear */
	if (s->lab.cmdqv_on == CMDQV_HOSTILE && addr < VINTF_PAGES &&
	    reg == VCMDQ_CONFIG && (v->alloc & ALLOC) && is_guest(s->lab.cmdqv, v))
		page0_write(s, v, VCMDQ_CONFIG, EN);
}

/* A guest makes accesses of any size. The model has only 32-bit registers */
static const MemoryRegionOps cmdqv_ops = {
	.read = cmdqv_read,
	.write = cmdqv_write,
	.endianness = DEVICE_LITTLE_ENDIAN,
	.valid = { .min_access_size = 1, .max_access_size = 8, .unaligned = true },
	.impl = { .min_access_size = 4, .max_access_size = 4, .unaligned = true },
};

/* At the end of the SMMU's own memory and interrupts */
void smmuv3_cmdqv_realize(SMMUv3State *s, SysBusDevice *dev)
{
	if (!s->lab.cmdqv_on)
		return;
	s->lab.cmdqv = g_new0(struct smmuv3_cmdqv, 1);
	memory_region_init_io(&s->lab.cmdqv->mmio, OBJECT(s), &cmdqv_ops, s,
			      "smmuv3-cmdqv", CMDQV_SIZE);
	sysbus_init_mmio(dev, &s->lab.cmdqv->mmio);
	sysbus_init_irq(dev, &s->lab.cmdqv->irq);
}

void smmuv3_cmdqv_reset(SMMUv3State *s)
{
	struct smmuv3_cmdqv *cmdqv = s->lab.cmdqv;
	int i;

	if (!cmdqv)
		return;
	cmdqv->config = 0;
	memset(cmdqv->int_mask, 0, sizeof(cmdqv->int_mask));
	memset(cmdqv->vintf, 0, sizeof(cmdqv->vintf));
	memset(cmdqv->vcmdq, 0, sizeof(cmdqv->vcmdq));
	for (i = 0; i < VCMDQS; i++)
		cmdqv->vcmdq[i].q.entry_size = sizeof(Cmd);
}

/* The rest is for the machine "virt" */

void smmuv3_cmdqv_map(DeviceState *smmu, DeviceState *gic)
{
	SMMUv3State *s = ARM_SMMUV3(smmu);

	if (!s->lab.cmdqv)
		return;
	sysbus_mmio_map(SYS_BUS_DEVICE(smmu), 1, CMDQV_BASE);
	sysbus_connect_irq(SYS_BUS_DEVICE(smmu), ARRAY_SIZE(s->irq),
			   qdev_get_gpio_in(gic, CMDQV_SPI));
}

void smmuv3_cmdqv_add_aml(Aml *scope)
{
	Object *smmu = object_resolve_path_type("", TYPE_ARM_SMMUV3, NULL);
	uint32_t irq = CMDQV_SPI + 32;
	Aml *dev, *crs;

	if (!smmu || !ARM_SMMUV3(smmu)->lab.cmdqv)
		return;
	dev = aml_device("CQV0");
	aml_append(dev, aml_name_decl("_HID", aml_string("NVDA200C")));
	aml_append(dev, aml_name_decl("_UID", aml_int(IORT_ID)));
	crs = aml_resource_template();
	/* Linux looks for an address space descriptor */
	aml_append(crs, aml_dword_memory(AML_POS_DECODE, AML_MIN_FIXED, AML_MAX_FIXED,
					 AML_NON_CACHEABLE, AML_READ_WRITE, 0, CMDQV_BASE,
					 CMDQV_BASE + CMDQV_SIZE - 1, 0, CMDQV_SIZE));
	aml_append(crs, aml_interrupt(AML_CONSUMER, AML_EDGE, AML_ACTIVE_HIGH,
				      AML_EXCLUSIVE, &irq, 1));
	aml_append(dev, aml_name_decl("_CRS", crs));
	aml_append(scope, dev);
}
