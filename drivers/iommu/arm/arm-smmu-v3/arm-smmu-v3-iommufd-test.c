// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of nested translation.
 *
 * What counts is what reaches the SMMU. So the tests have one that forgets
 * nothing: the PROD and CONS registers of its command queue are the same word of
 * ordinary memory, by which every command is consumed at the moment when it is
 * published, and stays in the queue to be read by the test. Nothing of the
 * driver is replaced. The only parts that are missing are the device and what
 * belongs to a bus.
 *
 * What is expected is written down here a second time, in numbers from Arm IHI
 * 0070 and from the uAPI, and not in terms of the driver's macros: a wrong mask
 * would be wrong on both sides.
 */
#include <kunit/test.h>
#include <linux/delay.h>
#include <linux/io-pgtable.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/pci.h>
#include <linux/sched/signal.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#include "../../iommu-priv.h"
#include "../../iommufd/iommufd_private.h"
#include "arm-smmu-v3-iommufd.h"

#define BITS_64(_hi, _lo)	GENMASK_ULL(_hi, _lo)

/* Opcodes, Arm IHI 0070, 4.1 */
#define OP_CFGI_STE		0x03
#define OP_CFGI_CD		0x05
#define OP_CFGI_CD_ALL		0x06
#define OP_TLBI_NH_ALL		0x10
#define OP_TLBI_NH_ASID		0x11
#define OP_TLBI_NH_VA		0x12
#define OP_TLBI_NH_VAA		0x13
#define OP_TLBI_S12_VMALL	0x28
#define OP_TLBI_S2_IPA		0x2a
#define OP_TLBI_NSNH_ALL	0x30
#define OP_ATC_INV		0x40
#define OP_SYNC			0x46

/* Word 0 of commands: StreamID and VMID are at the same place */
#define CMD_SID(_sid)		((u64)(_sid) << 32)
#define CMD_VMID(_vmid)		((u64)(_vmid) << 32)
#define CMD_ASID(_asid)		((u64)(_asid) << 48)
#define CMD_SSV			BIT_ULL(11)

#define STE_V			BIT_ULL(0)
#define STE_CFG(_cfg)		((u64)(_cfg) << 1)
#define STE_ABORT		(STE_V | STE_CFG(0))
#define STE_BYPASS		(STE_V | STE_CFG(4))
#define STE_S1			(STE_V | STE_CFG(5))
#define STE_S2			(STE_V | STE_CFG(6))
#define STE_NESTED		(STE_V | STE_CFG(7))
#define STE_1_MEV		BIT_ULL(19)
#define STE_1_S2FWB		BIT_ULL(25)
#define STE_1_S1STALLD		BIT_ULL(27)
#define STE_1_EATS(_eats)	((u64)(_eats) << 28)
#define STE_2_S2S		BIT_ULL(57)

#define FAKE_SIDS		64
#define FAKE_QUEUE_SHIFT	9
#define FAKE_IDR5		(0x14 / 4)

/* The SMMU that forgets nothing */
struct fake_smmu {
	struct arm_smmu_device smmu;
	struct kunit *test;
	/* PROD and CONS, with the wrap bit. CONS only while it is held */
	u32 prod;
	u32 cons;
	/* How far the test has read */
	u32 read;
	u32 regs[8];
	__le64 *queue;
	struct arm_smmu_ste stes[FAKE_SIDS];
};

KUNIT_DEFINE_ACTION_WRAPPER(fake_vfree, vfree, const void *);

static struct fake_smmu *fake_smmu_alloc(struct kunit *test, unsigned int shift)
{
	struct fake_smmu *fake = kunit_kzalloc(test, sizeof(*fake), GFP_KERNEL);
	struct device *dev = kunit_kzalloc(test, sizeof(*dev), GFP_KERNEL);
	struct arm_smmu_device *smmu;
	struct arm_smmu_cmdq *cmdq;
	unsigned int i;

	KUNIT_ASSERT_NOT_NULL(test, fake);
	KUNIT_ASSERT_NOT_NULL(test, dev);
	fake->test = test;
	fake->queue = vzalloc(16UL << shift);
	KUNIT_ASSERT_NOT_NULL(test, fake->queue);
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, fake_vfree,
						  fake->queue));

	dev->init_name = "fake-smmu";
	smmu = &fake->smmu;
	smmu->dev = dev;
	smmu->base = (void __iomem *)fake->regs;
	smmu->options = ARM_SMMU_OPT_SKIP_PREFETCH;
	smmu->features = ARM_SMMU_FEAT_TRANS_S1 | ARM_SMMU_FEAT_TRANS_S2 |
			 ARM_SMMU_FEAT_NESTING | ARM_SMMU_FEAT_COHERENCY |
			 ARM_SMMU_FEAT_STALLS;
	smmu->ias = 44;
	smmu->oas = 44;
	smmu->pgsize_bitmap = SZ_4K | SZ_2M | SZ_1G;
	smmu->asid_bits = 16;
	smmu->vmid_bits = 16;
	ida_init(&smmu->vmid_map);
	mutex_init(&smmu->streams_mutex);
	smmu->strtab_cfg.linear.table = fake->stes;
	smmu->strtab_cfg.linear.num_ents = FAKE_SIDS;
	for (i = 0; i < FAKE_SIDS; i++)
		fake->stes[i].data[0] = cpu_to_le64(STE_ABORT);

	cmdq = &smmu->cmdq;
	cmdq->q.llq.max_n_shift = shift;
	cmdq->q.base = fake->queue;
	cmdq->q.ent_dwords = 2;
	cmdq->q.prod_reg = (u32 __iomem *)&fake->prod;
	cmdq->q.cons_reg = (u32 __iomem *)&fake->prod;
	cmdq->valid_map = kunit_kzalloc(test, (1UL << shift) / 8, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, cmdq->valid_map);
	return fake;
}

static bool fake_smmu_next(struct fake_smmu *fake, u64 cmd[2])
{
	u32 mask = (1U << fake->smmu.cmdq.q.llq.max_n_shift) - 1;

	if ((READ_ONCE(fake->prod) & (mask << 1 | 1)) == fake->read)
		return false;
	cmd[0] = le64_to_cpu(fake->queue[2 * (fake->read & mask)]);
	cmd[1] = le64_to_cpu(fake->queue[2 * (fake->read & mask) + 1]);
	fake->read = (fake->read + 1) & (mask << 1 | 1);
	return true;
}

/* Forget what was issued so far */
static void fake_smmu_drain(struct fake_smmu *fake)
{
	u64 cmd[2];

	while (fake_smmu_next(fake, cmd))
		;
}

static void __expect_cmd(struct fake_smmu *fake, u64 word_0, u64 word_1,
			 int line)
{
	u64 cmd[2];

	if (!fake_smmu_next(fake, cmd)) {
		KUNIT_FAIL(fake->test, "line %d: no command, want %016llx %016llx",
			   line, word_0, word_1);
		return;
	}
	KUNIT_EXPECT_EQ_MSG(fake->test, cmd[0], word_0, "line %d", line);
	KUNIT_EXPECT_EQ_MSG(fake->test, cmd[1], word_1, "line %d", line);
}

static void __expect_sync(struct fake_smmu *fake, int line)
{
	u64 cmd[2];

	if (!fake_smmu_next(fake, cmd)) {
		KUNIT_FAIL(fake->test, "line %d: no CMD_SYNC", line);
		return;
	}
	KUNIT_EXPECT_EQ_MSG(fake->test, cmd[0] & 0xff, OP_SYNC, "line %d",
			    line);
}

static void __expect_none(struct fake_smmu *fake, int line)
{
	u64 cmd[2];

	while (fake_smmu_next(fake, cmd))
		KUNIT_FAIL(fake->test, "line %d: not wanted: %016llx %016llx",
			   line, cmd[0], cmd[1]);
}

#define expect_cmd(_fake, _word_0, _word_1) \
	__expect_cmd(_fake, _word_0, _word_1, __LINE__)
#define expect_sync(_fake)	__expect_sync(_fake, __LINE__)
#define expect_none(_fake)	__expect_none(_fake, __LINE__)

/* A nesting parent, or a plain stage 2 */
struct fake_s2 {
	struct arm_smmu_domain domain;
	struct io_pgtable pgtable;
};

#define FAKE_VTTBR		0x123456789000ULL

static struct fake_s2 *fake_s2_alloc(struct kunit *test, struct fake_smmu *fake)
{
	struct fake_s2 *s2 = kunit_kzalloc(test, sizeof(*s2), GFP_KERNEL);
	struct io_pgtable_cfg *cfg;

	KUNIT_ASSERT_NOT_NULL(test, s2);
	s2->domain.stage = ARM_SMMU_DOMAIN_S2;
	s2->domain.nest_parent = true;
	s2->domain.smmu = &fake->smmu;
	s2->domain.pgtbl_ops = &s2->pgtable.ops;
	s2->domain.domain.type = IOMMU_DOMAIN_UNMANAGED;
	s2->domain.domain.pgsize_bitmap = SZ_4K | SZ_2M | SZ_1G;
	mutex_init(&s2->domain.init_mutex);
	spin_lock_init(&s2->domain.devices_lock);
	INIT_LIST_HEAD(&s2->domain.devices);
	INIT_LIST_HEAD(&s2->domain.s2_tags);

	cfg = &s2->pgtable.cfg;
	cfg->pgsize_bitmap = SZ_4K | SZ_2M | SZ_1G;
	cfg->ias = 44;
	cfg->oas = 44;
	cfg->coherent_walk = true;
	cfg->arm_lpae_s2_cfg.vttbr = FAKE_VTTBR;
	cfg->arm_lpae_s2_cfg.vtcr.ps = 4;
	cfg->arm_lpae_s2_cfg.vtcr.tg = 0;
	cfg->arm_lpae_s2_cfg.vtcr.sh = 3;
	cfg->arm_lpae_s2_cfg.vtcr.orgn = 1;
	cfg->arm_lpae_s2_cfg.vtcr.irgn = 1;
	cfg->arm_lpae_s2_cfg.vtcr.sl = 2;
	cfg->arm_lpae_s2_cfg.vtcr.tsz = 20;
	return s2;
}

/*
 * S2T0SZ 20, S2SL0 2, S2IR0 1, S2OR0 1, S2SH0 3, S2TG 0, S2PS 4; S2AA64, S2PTW,
 * S2R; and S2ENDI in a big-endian kernel
 */
#define FAKE_STE_2							\
	((u64)(20 | 2 << 6 | 1 << 8 | 1 << 10 | 3 << 12 | 4 << 16) << 32 |	\
	 BIT_ULL(51) | (IS_ENABLED(CONFIG_CPU_BIG_ENDIAN) ? BIT_ULL(52) : 0) |	\
	 BIT_ULL(54) | BIT_ULL(58))

#define FAKE_STREAMS		3

/* A device, and its vDEVICE if it has one. With ATS it is a PCI one */
struct fake_dev {
	struct pci_dev pci;
	struct pci_bus bus;
	struct fake_smmu *fake;
	/* The ATS control register, and what is unmapped when it is written to */
	u16 ats_ctrl;
	struct fake_s2 *unmap;
	struct dev_iommu iommu;
	struct iommu_fwspec fwspec;
	struct arm_smmu_master master;
	struct arm_smmu_stream streams[FAKE_STREAMS];
	struct iommufd_device idev;
	struct iommufd_vdevice vdev;
};

static struct fake_dev *fake_dev_alloc(struct kunit *test,
				       struct fake_smmu *fake, u32 sid)
{
	struct fake_dev *fdev = kunit_kzalloc(test, sizeof(*fdev), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, fdev);
	fdev->fake = fake;
	fdev->pci.dev.init_name = "fake-dev";
	fdev->pci.dev.iommu = &fdev->iommu;
	fdev->iommu.fwspec = &fdev->fwspec;
	fdev->iommu.priv = &fdev->master;
	fdev->iommu.iommu_dev = &fake->smmu.iommu;
	fdev->fwspec.flags = IOMMU_FWSPEC_PCI_RC_CANWBS;
	fdev->master.dev = &fdev->pci.dev;
	fdev->master.smmu = &fake->smmu;
	fdev->master.streams = fdev->streams;
	fdev->master.num_streams = 1;
	fdev->streams[0].id = sid;
	fdev->streams[0].master = &fdev->master;
	fdev->idev.dev = &fdev->pci.dev;
	return fdev;
}

/*
 * Config space. The STE must say EATS as long as ATS is enabled, and a VM must
 * not send any ATC_INV when it is not.
 */
#define FAKE_ATS_CAP		0x100

static int fake_pci_read(struct pci_bus *bus, unsigned int devfn, int where,
			 int size, u32 *val)
{
	struct fake_dev *fdev = container_of(bus, struct fake_dev, bus);

	*val = where == FAKE_ATS_CAP + PCI_ATS_CTRL ? fdev->ats_ctrl : 0;
	return 0;
}

static int fake_pci_write(struct pci_bus *bus, unsigned int devfn, int where,
			  int size, u32 val)
{
	struct fake_dev *fdev = container_of(bus, struct fake_dev, bus);
	struct fake_smmu *fake = fdev->fake;
	u64 word_1 = le64_to_cpu(fake->stes[fdev->streams[0].id].data[1]);

	KUNIT_EXPECT_EQ(fake->test, where, FAKE_ATS_CAP + PCI_ATS_CTRL);
	KUNIT_EXPECT_EQ(fake->test, word_1 & STE_1_EATS(3), STE_1_EATS(1));
	KUNIT_EXPECT_FALSE(fake->test, fdev->master.guest_ats);
	fdev->ats_ctrl = val;
	if (fdev->unmap)
		KUNIT_EXPECT_EQ(fake->test, 0,
				arm_smmu_atc_inv_domain(&fdev->unmap->domain,
							0x8000, SZ_16K));
	return 0;
}

static struct pci_ops fake_pci_ops = {
	.read = fake_pci_read,
	.write = fake_pci_write,
};

/* Behind tests that are skipped without CONFIG_PCI_ATS; @pf if it is a VF of that */
static void fake_dev_add_ats(struct fake_dev *fdev, struct fake_dev *pf)
{
	fdev->fake->smmu.features |= ARM_SMMU_FEAT_ATS;
	fdev->fwspec.flags |= IOMMU_FWSPEC_PCI_RC_ATS;
	fdev->bus.ops = &fake_pci_ops;
	fdev->pci.dev.bus = &pci_bus_type;
	fdev->pci.bus = &fdev->bus;
	fdev->pci.error_state = pci_channel_io_normal;
#ifdef CONFIG_PCI_ATS
	fdev->pci.ats_cap = FAKE_ATS_CAP;
	if (pf) {
		/* The PF has another STU: ATS of the VF cannot be enabled */
		pf->pci.ats_stu = 16;
		fdev->pci.is_virtfn = 1;
		fdev->pci.physfn = &pf->pci;
	}
#endif
}

KUNIT_DEFINE_ACTION_WRAPPER(fake_vdevs_free, xa_destroy, struct xarray *);

static struct arm_vsmmu *fake_vsmmu_alloc(struct kunit *test,
					  struct fake_smmu *fake,
					  struct fake_s2 *s2)
{
	struct arm_vsmmu *vsmmu = kunit_kzalloc(test, sizeof(*vsmmu),
						GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, vsmmu);
	xa_init(&vsmmu->core.vdevs);
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, fake_vdevs_free,
						  &vsmmu->core.vdevs));
	INIT_LIST_HEAD(&vsmmu->core.veventqs);
	spin_lock_init(&vsmmu->core.veventqs_lock);
	vsmmu->core.iommu_dev = &fake->smmu.iommu;
	KUNIT_ASSERT_EQ(test, 0,
			arm_vsmmu_init(&vsmmu->core, &s2->domain.domain, NULL));
	KUNIT_ASSERT_NOT_NULL(test, vsmmu->core.ops);
	return vsmmu;
}

static int fake_vdev_add(struct arm_vsmmu *vsmmu, struct fake_dev *fdev,
			 u64 virt_id)
{
	int ret;

	fdev->vdev.viommu = &vsmmu->core;
	fdev->vdev.idev = &fdev->idev;
	fdev->vdev.virt_id = virt_id;
	ret = vsmmu->core.ops->vdevice_init(&fdev->vdev);
	if (ret)
		return ret;
	return xa_err(xa_store(&vsmmu->core.vdevs, virt_id, &fdev->vdev,
			       GFP_KERNEL));
}

static void fake_vdev_del(struct arm_vsmmu *vsmmu, struct fake_dev *fdev)
{
	xa_erase(&vsmmu->core.vdevs, fdev->vdev.virt_id);
	vsmmu->core.ops->vdevice_destroy(&fdev->vdev);
}

static void __user *fake_user_alloc(struct kunit *test, size_t size)
{
	unsigned long addr;

	addr = kunit_vm_mmap(test, NULL, 0, PAGE_ALIGN(size),
			     PROT_READ | PROT_WRITE,
			     MAP_ANONYMOUS | MAP_PRIVATE, 0);
	KUNIT_ASSERT_NE(test, addr, 0);
	KUNIT_ASSERT_FALSE(test, IS_ERR_VALUE(addr));
	return (void __user *)addr;
}

/* What a VMM does: make a nested domain of a guest's STE */
static struct iommu_domain *fake_nested_alloc(struct arm_vsmmu *vsmmu,
					      void __user *user, u64 word_0,
					      u64 word_1)
{
	const __le64 ste[2] = { cpu_to_le64(word_0), cpu_to_le64(word_1) };
	const struct iommu_user_data data = {
		.type = IOMMU_HWPT_DATA_ARM_SMMUV3,
		.uptr = user,
		.len = sizeof(ste),
	};

	if (copy_to_user(user, ste, sizeof(ste)))
		return ERR_PTR(-EFAULT);
	return vsmmu->core.ops->alloc_domain_nested(&vsmmu->core, 0, &data);
}

/* What arm_smmu_attach_dev() does for a stage 2 and for blocking */
static int fake_attach_bare(struct fake_dev *fdev, struct fake_s2 *s2)
{
	struct arm_smmu_master *master = &fdev->master;
	struct arm_smmu_attach_state state = {
		.master = master,
		.ssid = IOMMU_NO_PASID,
	};
	static struct iommu_domain blocked = { .type = IOMMU_DOMAIN_BLOCKED };
	struct arm_smmu_ste ste;
	int ret;

	mutex_lock(&arm_smmu_asid_lock);
	ret = arm_smmu_attach_prepare(&state,
				      s2 ? &s2->domain.domain : &blocked);
	if (!ret) {
		if (s2) {
			arm_smmu_make_s2_domain_ste(&ste, master, &s2->domain,
						    state.ats_enabled);
			arm_smmu_s2_set_ste_vmid(&ste, state.s2_tag);
		} else {
			arm_smmu_make_abort_ste(&ste);
		}
		arm_smmu_install_ste_for_dev(master, &ste);
		arm_smmu_attach_commit(&state);
	}
	mutex_unlock(&arm_smmu_asid_lock);
	return ret;
}

static int fake_attach_nested(struct fake_dev *fdev,
			      struct iommu_domain *domain)
{
	return domain->ops->attach_dev(domain, &fdev->pci.dev);
}

static struct arm_smmu_s2_tag *get_tag(struct fake_dev *fdev,
				       struct iommu_domain *domain)
{
	struct arm_smmu_s2_tag *tag;

	mutex_lock(&arm_smmu_asid_lock);
	tag = arm_smmu_s2_get_tag(&fdev->master, domain);
	mutex_unlock(&arm_smmu_asid_lock);
	return tag;
}

static void put_tag(struct arm_smmu_s2_tag *tag, bool guest)
{
	mutex_lock(&arm_smmu_asid_lock);
	arm_smmu_s2_put_tag(tag, guest);
	mutex_unlock(&arm_smmu_asid_lock);
}

/* Most tests of commands need just this */
struct fake_vm {
	struct fake_smmu *fake;
	struct fake_s2 *s2;
	struct arm_vsmmu *vsmmu;
	struct fake_dev *fdev;
	struct arm_smmu_nested_domain nested;
	struct arm_smmu_s2_tag *tag;
	u64 __user *user;
};

#define FAKE_VM_SID		5
#define FAKE_VM_VSID		0x72

static struct fake_vm *fake_vm_alloc(struct kunit *test, u32 features,
				     unsigned int shift, size_t user_size)
{
	struct fake_vm *vm = kunit_kzalloc(test, sizeof(*vm), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, vm);
	vm->fake = fake_smmu_alloc(test, shift);
	vm->fake->smmu.features |= features;
	vm->s2 = fake_s2_alloc(test, vm->fake);
	vm->vsmmu = fake_vsmmu_alloc(test, vm->fake, vm->s2);
	vm->fdev = fake_dev_alloc(test, vm->fake, FAKE_VM_SID);
	vm->user = fake_user_alloc(test, user_size);
	KUNIT_ASSERT_EQ(test, 0,
			fake_vdev_add(vm->vsmmu, vm->fdev, FAKE_VM_VSID));

	vm->nested.domain.type = IOMMU_DOMAIN_NESTED;
	vm->nested.vsmmu = vm->vsmmu;
	vm->nested.ste[0] = cpu_to_le64(STE_S1);
	vm->tag = get_tag(vm->fdev, &vm->nested.domain);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, vm->tag);
	/* Not the first one, so that it shows in commands */
	vm->tag->vmid = 0x1234;
	return vm;
}

static void fake_vm_free(struct fake_vm *vm)
{
	vm->tag->vmid = 1;
	put_tag(vm->tag, true);
}

static int invalidate(struct arm_vsmmu *vsmmu, void __user *user,
		      size_t entry_len, u32 *num)
{
	struct iommu_user_data_array array = {
		.type = IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3,
		.uptr = user,
		.entry_len = entry_len,
		.entry_num = *num,
	};
	int ret = vsmmu->core.ops->cache_invalidate(&vsmmu->core, &array);

	*num = array.entry_num;
	return ret;
}

/* One command. Returns the errno, and fails the test if entry_num is not true */
static int invalidate_one(struct kunit *test, struct fake_vm *vm, u64 word_0,
			  u64 word_1)
{
	const __le64 cmd[2] = { cpu_to_le64(word_0), cpu_to_le64(word_1) };
	u32 num = 1;
	int ret;

	if (copy_to_user(vm->user, cmd, sizeof(cmd)))
		return -EFAULT;
	ret = invalidate(vm->vsmmu, vm->user, sizeof(cmd), &num);
	if (num != !ret)
		KUNIT_FAIL(test, "%016llx %016llx: errno %d, entry_num %u",
			   word_0, word_1, ret, num);
	return ret;
}

static void write_user(struct kunit *test, u64 __user *user, unsigned int i,
		       u64 word_0, u64 word_1)
{
	const __le64 cmd[2] = { cpu_to_le64(word_0), cpu_to_le64(word_1) };

	KUNIT_ASSERT_EQ(test, 0, copy_to_user(user + 2 * i, cmd, sizeof(cmd)));
}

/*
 * Guest STEs
 */

/* The uAPI: V, Cfg, S1Fmt, S1ContextPtr, S1CDMax; and of word 1 the rest */
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
	if (ret)
		return;
	if (!(word_0 & STE_V)) {
		word_0 = STE_ABORT;
		word_1 = 0;
	}
	KUNIT_EXPECT_EQ(test, le64_to_cpu(ste[0]), word_0);
	KUNIT_EXPECT_EQ(test, le64_to_cpu(ste[1]), word_1);
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
	/* V == 0 forgives all */
	check_guest_ste(test, ~STE_V, ~0ULL);
}

static void arm_vsmmu_test_alloc_nested(struct kunit *test)
{
	struct fake_vm *vm = fake_vm_alloc(test, 0, FAKE_QUEUE_SHIFT, PAGE_SIZE);
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

	/* Cfg 6 is a stage 2 */
	domain = fake_nested_alloc(vm->vsmmu, vm->user, STE_S2, 0);
	KUNIT_EXPECT_EQ(test, PTR_ERR(domain), -EIO);

	write_user(test, vm->user, 0, STE_BYPASS, 0);
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
	/* VMID 0x1234 is expected in all but the first, and word 3 likewise */
	u64 want_0;
	u64 want_1;
	u64 want_2;
};

#define GUEST_S1_0 (STE_S1 | 2 << 4 | 0xabcdef012340ULL | 7ULL << 59)
#define GUEST_S1_1 0xe6ULL
#define WANT_S1_0 (GUEST_S1_0 ^ STE_CFG(5) ^ STE_CFG(7))
#define WANT_S1_1 (GUEST_S1_1 | STE_1_MEV)
#define WANT_2 (FAKE_STE_2 | 0x1234)

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
	/* Then S1STALLD == 1 and S2S == 0 are both ILLEGAL */
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

/* What the hardware looks at, Arm IHI 0070, 5.2 */
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

/* What may change while it is used: MEV and EATS; S2S */
static const u64 ste_safe[8] = { 0, BIT_ULL(19) | BITS_64(29, 28), BIT_ULL(57) };

struct test_ste_writer {
	struct arm_smmu_entry_writer writer;
	struct kunit *test;
	const char *name;
	u64 from[8];
	u64 to[8];
	__le64 entry[8];
	unsigned int syncs;
	bool hit;
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
	if (!(entry[0] & STE_V)) {
		w->hit = true;
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

/* The STEs that a master of a VM may have */
enum ste_kind {
	ABORT,
	S2,
	S2_ATS,
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
		arm_smmu_make_s2_domain_ste(ste, &fdev->master, &s2->domain,
					    kind == S2_ATS);
		arm_smmu_s2_set_ste_vmid(ste, &tag);
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
	bool hit;
	bool stall_enabled;
};

/*
 * The steps are: what is not used yet or is safe (word 1, word 2); the one word
 * that makes the difference; what is no longer used. A sync for each of them
 * that changes something.
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
	/* The VMID makes it two words */
	{ "another VMID", S2, S2_OTHER, 1 },
	{ "another VMID and stage 1", S2_OTHER, G_S1, 3, true },
	{ "host to guest stage 1", HOST_S1, G_S1, 3, true },
	{ "guest to host stage 1", G_S1, HOST_S1, 3, true },
	/* S2S goes with the first step */
	{ "stall: stage 2 to guest stage 1", S2, G_S1, 2, false, true },
	{ "stall: guest stage 1 to stage 2", G_S1, S2, 3, false, true },
	{ "stall: stage 2 to guest bypass", S2, G_BYPASS, 1, false, true },
	{ "stall: guest bypass to stage 2", G_BYPASS, S2, 1, false, true },
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
	make_test_ste(test, fake, s2, fdev, update->from, &from);
	make_test_ste(test, fake, s2, fdev, update->to, &to);

	w->writer.ops = &test_ste_writer_ops;
	w->test = test;
	w->name = update->name;
	for (i = 0; i < 8; i++) {
		w->entry[i] = from.data[i];
		w->from[i] = le64_to_cpu(from.data[i]);
		w->to[i] = le64_to_cpu(to.data[i]);
	}
	arm_smmu_write_entry(&w->writer, w->entry, to.data);

	KUNIT_EXPECT_EQ(test, w->hit, update->hit);
	KUNIT_EXPECT_EQ(test, w->syncs, update->syncs);
	KUNIT_EXPECT_MEMEQ(test, w->entry, to.data, sizeof(to.data));
}

/*
 * Which commands a guest may send
 */
enum {
	F_RIL = BIT(0),
	F_DS = BIT(1),
	F_SSID = BIT(2),
	F_ASID16 = BIT(3),
	F_ATS = BIT(4),
	F_ALL = BIT(5) - 1,
};

/* The table of the uAPI: bits of word 0, of word 1, and what gates them */
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
	[0x05] = { .word_0 = BITS_64(63, 32), .word_0_ssid = BITS_64(31, 12),
		   .word_1 = BIT_ULL(0), .is_stream = true },
	[0x06] = { .word_0 = BITS_64(63, 32), .is_stream = true },
	[0x10] = { .word_0 = BITS_64(47, 32) },
	[0x11] = { .word_0 = BITS_64(55, 32), .word_0_asid16 = BITS_64(63, 56) },
	[0x12] = { .word_0 = BITS_64(55, 32), .word_0_asid16 = BITS_64(63, 56),
		   .word_0_ril = BITS_64(16, 12) | BITS_64(24, 20),
		   .word_0_ds = BIT_ULL(25),
		   .word_1 = BIT_ULL(0) | BITS_64(63, 12),
		   .word_1_ril = BITS_64(9, 8) | BITS_64(11, 10) },
	[0x13] = { .word_0 = BITS_64(47, 32),
		   .word_0_ril = BITS_64(16, 12) | BITS_64(24, 20),
		   .word_0_ds = BIT_ULL(25),
		   .word_1 = BIT_ULL(0) | BITS_64(63, 12),
		   .word_1_ril = BITS_64(9, 8) | BITS_64(11, 10) },
	[0x30] = { },
	[0x40] = { .needs = F_ATS, .word_0 = BITS_64(63, 32),
		   .word_0_ssid = BIT_ULL(11) | BIT_ULL(9) | BITS_64(31, 12),
		   .word_1 = BITS_64(5, 0) | BITS_64(63, 12),
		   .is_stream = true },
};

static bool guest_cmd_exists(unsigned int op)
{
	return op == 0x05 || op == 0x06 || (op >= 0x10 && op <= 0x13) ||
	       op == 0x30 || op == 0x40;
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

	if (op == 0x12 || op == 0x13) {
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
	if (op == 0x40 && (word_1 & 0x3f) > 52)
		return false;
	return true;
}

/* What is issued for a good command with the StreamIDs of fake_feats_alloc() */
static void guest_cmd_issued(u64 *word_0)
{
	unsigned int op = *word_0 & 0xff;

	if (op == 0x30)
		*word_0 = 0x10;
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

static void __check_guest_cmd(struct kunit *test, struct fake_vm *vm,
			      unsigned int feats, u64 word_0, u64 word_1,
			      bool again)
{
	u64 first = OP_CFGI_CD_ALL | (word_0 & BITS_64(63, 32)), got[2];
	bool ok = guest_cmd_ok(feats, word_0, word_1);
	u32 num = 1 + again;
	int ret;

	if (again)
		write_user(test, vm->user, 0, first, 0);
	write_user(test, vm->user, again, word_0, word_1);
	ret = invalidate(vm->vsmmu, vm->user, 16, &num);
	if (ret != (ok ? 0 : -EIO) || num != again + ok) {
		KUNIT_FAIL(test, "features %#x: %016llx %016llx: %d, %u", feats,
			   word_0, word_1, ret, num);
		fake_smmu_drain(vm->fake);
		return;
	}
	if (again)
		check_guest_cmd_issued(test, vm, first, 0);
	if (ok)
		check_guest_cmd_issued(test, vm, word_0, word_1);
	if ((again || ok) && (!fake_smmu_next(vm->fake, got) ||
			      (got[0] & 0xff) != OP_SYNC))
		KUNIT_FAIL(test, "%016llx %016llx: no CMD_SYNC", word_0,
			   word_1);
	if (fake_smmu_next(vm->fake, got)) {
		KUNIT_FAIL(test,
			   "features %#x: %016llx %016llx: issued too %016llx %016llx",
			   feats, word_0, word_1, got[0], got[1]);
		fake_smmu_drain(vm->fake);
	}
}

/* A command by itself, and one for a device that has just been looked up */
static void check_guest_cmd(struct kunit *test, struct fake_vm *vm,
			    unsigned int feats, u64 word_0, u64 word_1)
{
	__check_guest_cmd(test, vm, feats, word_0, word_1, false);
	/* 0 is no opcode, but looks like vSID 0 */
	if (guest_cmds[word_0 & 0xff].is_stream || !word_0)
		__check_guest_cmd(test, vm, feats, word_0, word_1, true);
}

/* A VM on an SMMU with these features, whose device has many a vSID */
static struct fake_vm *fake_feats_alloc(struct kunit *test, unsigned int feats)
{
	struct fake_vm *vm = fake_vm_alloc(test, 0, FAKE_QUEUE_SHIFT, PAGE_SIZE);
	struct arm_smmu_device *smmu = &vm->fake->smmu;
	unsigned int bit;

	if (feats & F_RIL)
		smmu->features |= ARM_SMMU_FEAT_RANGE_INV;
	if (feats & F_ATS)
		smmu->features |= ARM_SMMU_FEAT_ATS;
	smmu->ssid_bits = feats & F_SSID ? 20 : 0;
	vm->fdev->master.ssid_bits = smmu->ssid_bits;
	smmu->asid_bits = feats & F_ASID16 ? 16 : 8;
	/* All other bits are set to show that none of them counts */
	vm->fake->regs[FAKE_IDR5] = feats & F_DS ? U32_MAX : U32_MAX - BIT(7);
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
	/* One more than the features, as NULL is the end */
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
	/* TG 4K, TTL 3, NUM 1: then every bit of the range stands by itself */
	const u64 range_0 = 1 << 12, range_1 = 1 << 10 | 3 << 8;
	unsigned int op, bit;
	u64 word;

	for (op = 0; op < 256; op++) {
		check_guest_cmd(test, vm, feats, op, 0);
		for (bit = 0; bit < 64; bit++) {
			word = BIT_ULL(bit);
			/* The low ones are the opcode */
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

/* All that a good command may have at once */
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
		if (op == 0x40)
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

/* All of TG, TTL and the edges of NUM and SCALE with one another */
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
		check_guest_cmd(test, vm, feats, OP_ATC_INV | CMD_SID(FAKE_VM_VSID),
				0x12345000 | size);
	fake_vm_free(vm);
}

/*
 * What is issued
 */
static void arm_vsmmu_test_issue_each(struct kunit *test)
{
	struct fake_vm *vm = fake_vm_alloc(test, ARM_SMMU_FEAT_ATS,
					   FAKE_QUEUE_SHIFT, PAGE_SIZE);
	u32 num = 9;

	vm->fdev->master.guest_ats = true;
	write_user(test, vm->user, 0, OP_CFGI_CD | CMD_SID(FAKE_VM_VSID), 1);
	write_user(test, vm->user, 1, OP_CFGI_CD_ALL | CMD_SID(FAKE_VM_VSID), 0);
	write_user(test, vm->user, 2, OP_TLBI_NH_ALL | CMD_VMID(0xffff), 0);
	write_user(test, vm->user, 3, OP_TLBI_NH_ASID | CMD_ASID(0x5678), 0);
	write_user(test, vm->user, 4,
		   OP_TLBI_NH_VA | CMD_VMID(0x4321) | CMD_ASID(0xffff), 0xfffff001);
	write_user(test, vm->user, 5, OP_TLBI_NH_VAA | CMD_VMID(1), 0xabcd000);
	write_user(test, vm->user, 6, OP_TLBI_NSNH_ALL, 0);
	write_user(test, vm->user, 7, OP_ATC_INV | CMD_SID(FAKE_VM_VSID), 52);
	write_user(test, vm->user, 8, OP_TLBI_NH_ALL, 0);
	KUNIT_EXPECT_EQ(test, 0, invalidate(vm->vsmmu, vm->user, 16, &num));
	KUNIT_EXPECT_EQ(test, num, 9);

	expect_cmd(vm->fake, OP_CFGI_CD | CMD_SID(FAKE_VM_SID), 1);
	expect_cmd(vm->fake, OP_CFGI_CD_ALL | CMD_SID(FAKE_VM_SID), 0);
	expect_cmd(vm->fake, OP_TLBI_NH_ALL | CMD_VMID(0x1234), 0);
	expect_cmd(vm->fake, OP_TLBI_NH_ASID | CMD_VMID(0x1234) | CMD_ASID(0x5678), 0);
	expect_cmd(vm->fake, OP_TLBI_NH_VA | CMD_VMID(0x1234) | CMD_ASID(0xffff),
		   0xfffff001);
	expect_cmd(vm->fake, OP_TLBI_NH_VAA | CMD_VMID(0x1234), 0xabcd000);
	expect_cmd(vm->fake, OP_TLBI_NH_ALL | CMD_VMID(0x1234), 0);
	expect_cmd(vm->fake, OP_ATC_INV | CMD_SID(FAKE_VM_SID), 52);
	expect_cmd(vm->fake, OP_TLBI_NH_ALL | CMD_VMID(0x1234), 0);
	expect_sync(vm->fake);
	expect_none(vm->fake);
	fake_vm_free(vm);
}

static const u32 issue_nums[] = { 1, 2, 63, 64, 65, 127, 128, 129, 200 };

static void issue_num_to_desc(const u32 *num, char *desc)
{
	snprintf(desc, KUNIT_PARAM_DESC_SIZE, "%u", *num);
}

KUNIT_ARRAY_PARAM(issue_num, issue_nums, issue_num_to_desc);

/* As many as there are, in order, and one CMD_SYNC behind the last one */
static void arm_vsmmu_test_issue_many(struct kunit *test)
{
	struct fake_vm *vm = fake_vm_alloc(test, 0, FAKE_QUEUE_SHIFT, PAGE_SIZE);
	u32 want = *(u32 *)test->param_value, num = want, i, round;

	/* So often that the queue wraps around */
	for (round = 0; round < 8; round++, num = want) {
		for (i = 0; i < num; i++)
			write_user(test, vm->user, i, OP_TLBI_NH_VA,
				   (u64)(round << 8 | i) << 12);
		KUNIT_EXPECT_EQ(test, 0,
				invalidate(vm->vsmmu, vm->user, 16, &num));
		KUNIT_EXPECT_EQ(test, num, want);
		for (i = 0; i < num; i++)
			expect_cmd(vm->fake, OP_TLBI_NH_VA | CMD_VMID(0x1234),
				   (u64)(round << 8 | i) << 12);
		expect_sync(vm->fake);
		expect_none(vm->fake);
	}
	fake_vm_free(vm);
}

/* The most that one call may have */
static void arm_vsmmu_test_issue_most(struct kunit *test)
{
	const u32 most = 1U << 19;
	struct fake_vm *vm = fake_vm_alloc(test, 0, 20, most * 16UL);
	u32 num = most, i;
	u64 cmd[2];

	for (i = 0; i < most; i++)
		write_user(test, vm->user, i, OP_TLBI_NH_VA, (u64)i << 12);
	KUNIT_EXPECT_EQ(test, 0, invalidate(vm->vsmmu, vm->user, 16, &num));
	KUNIT_EXPECT_EQ(test, num, most);
	/* With a CMD_SYNC now and then, see arm_vsmmu_test_max_pending() */
	for (i = 0; i < most && fake_smmu_next(vm->fake, cmd);) {
		if ((cmd[0] & 0xff) == OP_SYNC)
			continue;
		if (cmd[0] != (OP_TLBI_NH_VA | CMD_VMID(0x1234)) ||
		    cmd[1] != (u64)i << 12)
			break;
		i++;
	}
	KUNIT_ASSERT_EQ(test, i, most);
	expect_sync(vm->fake);
	expect_none(vm->fake);
	fake_vm_free(vm);
}

static const u32 bad_at[] = { 0, 1, 62, 63, 64, 65, 128, 199 };

KUNIT_ARRAY_PARAM(bad_at, bad_at, issue_num_to_desc);

static void check_bad_at(struct kunit *test, struct fake_vm *vm, u32 bad)
{
	u32 num = 200, i;

	KUNIT_EXPECT_EQ(test, -EIO, invalidate(vm->vsmmu, vm->user, 16, &num));
	KUNIT_EXPECT_EQ(test, num, bad);
	for (i = 0; i < bad; i++)
		expect_cmd(vm->fake, OP_TLBI_NH_VA | CMD_VMID(0x1234),
			   (u64)i << 12);
	if (bad)
		expect_sync(vm->fake);
	expect_none(vm->fake);
}

static void arm_vsmmu_test_bad_at(struct kunit *test)
{
	struct fake_vm *vm = fake_vm_alloc(test, 0, FAKE_QUEUE_SHIFT, PAGE_SIZE);
	u32 bad = *(u32 *)test->param_value, i;

	for (i = 0; i < 200; i++)
		write_user(test, vm->user, i, OP_TLBI_NH_VA, (u64)i << 12);
	/* An opcode, a reserved bit, a vSID */
	write_user(test, vm->user, bad, OP_SYNC, 0);
	check_bad_at(test, vm, bad);
	write_user(test, vm->user, bad, OP_TLBI_NH_VA | BIT(8), 0);
	check_bad_at(test, vm, bad);
	write_user(test, vm->user, bad, OP_CFGI_CD_ALL | CMD_SID(FAKE_VM_SID), 0);
	check_bad_at(test, vm, bad);
	/* It is the first one that counts */
	if (bad < 199)
		write_user(test, vm->user, bad + 1, OP_SYNC, 0);
	check_bad_at(test, vm, bad);
	fake_vm_free(vm);
}

/* Nobody is attached, so nothing is cached: validated, and that is all */
static void arm_vsmmu_test_no_tag(struct kunit *test)
{
	struct fake_vm *vm = fake_vm_alloc(test, ARM_SMMU_FEAT_ATS,
					   FAKE_QUEUE_SHIFT, PAGE_SIZE);
	u32 num = 200, i;

	vm->fdev->master.guest_ats = true;
	fake_vm_free(vm);
	fake_smmu_drain(vm->fake);
	KUNIT_ASSERT_EQ(test, 0,
			fake_vdev_add(vm->vsmmu, vm->fdev, FAKE_VM_VSID));

	for (i = 0; i < num; i++)
		write_user(test, vm->user, i, OP_TLBI_NH_ALL, 0);
	write_user(test, vm->user, 3, OP_CFGI_CD | CMD_SID(FAKE_VM_VSID), 0);
	write_user(test, vm->user, 4, OP_ATC_INV | CMD_SID(FAKE_VM_VSID), 0);
	write_user(test, vm->user, 5, OP_TLBI_NSNH_ALL, 0);
	KUNIT_EXPECT_EQ(test, 0, invalidate(vm->vsmmu, vm->user, 16, &num));
	KUNIT_EXPECT_EQ(test, num, 200);
	write_user(test, vm->user, 100, OP_CFGI_CD | CMD_SID(FAKE_VM_SID), 0);
	KUNIT_EXPECT_EQ(test, -EIO, invalidate(vm->vsmmu, vm->user, 16, &num));
	KUNIT_EXPECT_EQ(test, num, 100);
	expect_none(vm->fake);
}

static void arm_vsmmu_test_many_streams(struct kunit *test)
{
	struct fake_vm *vm = fake_vm_alloc(test, ARM_SMMU_FEAT_ATS,
					   FAKE_QUEUE_SHIFT, PAGE_SIZE);
	struct fake_dev *other = fake_dev_alloc(test, vm->fake, 20);
	u32 num = 5, i;

	vm->fake->smmu.ssid_bits = 20;
	arm_vsmmu_cmd_rules_init(&vm->vsmmu->rules, &vm->fake->smmu);
	KUNIT_ASSERT_EQ(test, 0, fake_vdev_add(vm->vsmmu, other, 0x88));
	other->master.num_streams = 3;
	other->streams[1].id = 21;
	other->streams[2].id = 0xfffffffe;
	other->master.guest_ats = true;

	write_user(test, vm->user, 0, OP_TLBI_NH_ALL, 0);
	write_user(test, vm->user, 1, OP_CFGI_CD | CMD_SID(0x88) | 0x55555 << 12,
		   1);
	write_user(test, vm->user, 2, OP_CFGI_CD_ALL | CMD_SID(FAKE_VM_VSID), 0);
	write_user(test, vm->user, 3, OP_ATC_INV | CMD_SID(0x88), 0x7000 | 3);
	write_user(test, vm->user, 4, OP_CFGI_CD_ALL | CMD_SID(0x88), 0);
	KUNIT_EXPECT_EQ(test, 0, invalidate(vm->vsmmu, vm->user, 16, &num));
	KUNIT_EXPECT_EQ(test, num, 5);

	expect_cmd(vm->fake, OP_TLBI_NH_ALL | CMD_VMID(0x1234), 0);
	expect_cmd(vm->fake, OP_CFGI_CD | CMD_SID(20) | 0x55555000, 1);
	expect_cmd(vm->fake, OP_CFGI_CD | CMD_SID(21) | 0x55555000, 1);
	expect_cmd(vm->fake, OP_CFGI_CD | CMD_SID(0xfffffffe) | 0x55555000, 1);
	expect_cmd(vm->fake, OP_CFGI_CD_ALL | CMD_SID(FAKE_VM_SID), 0);
	expect_cmd(vm->fake, OP_ATC_INV | CMD_SID(20), 0x7000 | 3);
	expect_cmd(vm->fake, OP_ATC_INV | CMD_SID(21), 0x7000 | 3);
	expect_cmd(vm->fake, OP_ATC_INV | CMD_SID(0xfffffffe), 0x7000 | 3);
	expect_cmd(vm->fake, OP_CFGI_CD_ALL | CMD_SID(20), 0);
	expect_cmd(vm->fake, OP_CFGI_CD_ALL | CMD_SID(21), 0);
	expect_cmd(vm->fake, OP_CFGI_CD_ALL | CMD_SID(0xfffffffe), 0);
	expect_sync(vm->fake);
	expect_none(vm->fake);

	/* More than fit into a block on the way out */
	for (i = 0; i < 66; i++)
		write_user(test, vm->user, i, OP_CFGI_CD_ALL | CMD_SID(0x88), 0);
	write_user(test, vm->user, 66, OP_TLBI_NH_ASID | CMD_ASID(9), 0);
	num = 67;
	KUNIT_EXPECT_EQ(test, 0, invalidate(vm->vsmmu, vm->user, 16, &num));
	for (i = 0; i < 66; i++) {
		expect_cmd(vm->fake, OP_CFGI_CD_ALL | CMD_SID(20), 0);
		expect_cmd(vm->fake, OP_CFGI_CD_ALL | CMD_SID(21), 0);
		expect_cmd(vm->fake, OP_CFGI_CD_ALL | CMD_SID(0xfffffffe), 0);
	}
	expect_cmd(vm->fake, OP_TLBI_NH_ASID | CMD_VMID(0x1234) | CMD_ASID(9), 0);
	expect_sync(vm->fake);
	expect_none(vm->fake);

	/* A bad one behind them */
	write_user(test, vm->user, 1, OP_SYNC, 0);
	num = 67;
	KUNIT_EXPECT_EQ(test, -EIO, invalidate(vm->vsmmu, vm->user, 16, &num));
	KUNIT_EXPECT_EQ(test, num, 1);
	expect_cmd(vm->fake, OP_CFGI_CD_ALL | CMD_SID(20), 0);
	expect_cmd(vm->fake, OP_CFGI_CD_ALL | CMD_SID(21), 0);
	expect_cmd(vm->fake, OP_CFGI_CD_ALL | CMD_SID(0xfffffffe), 0);
	expect_sync(vm->fake);
	expect_none(vm->fake);
	fake_vm_free(vm);
}

/* The device found last is remembered, but must not be mistaken for another */
static void arm_vsmmu_test_vsids(struct kunit *test)
{
	struct fake_vm *vm = fake_vm_alloc(test, 0, FAKE_QUEUE_SHIFT, PAGE_SIZE);
	struct fake_dev *other = fake_dev_alloc(test, vm->fake, 20);
	u32 num, i;

	KUNIT_EXPECT_EQ(test, -EINVAL,
			fake_vdev_add(vm->vsmmu, other, BIT_ULL(32)));
	KUNIT_EXPECT_EQ(test, -EINVAL,
			fake_vdev_add(vm->vsmmu, other, ~0ULL));
	KUNIT_ASSERT_EQ(test, 0, fake_vdev_add(vm->vsmmu, other, U32_MAX));

	for (i = 0; i < 130; i++)
		write_user(test, vm->user, i, OP_CFGI_CD_ALL |
			   CMD_SID(i & 2 ? U32_MAX : FAKE_VM_VSID), 0);
	num = 130;
	KUNIT_EXPECT_EQ(test, 0, invalidate(vm->vsmmu, vm->user, 16, &num));
	for (i = 0; i < 130; i++)
		expect_cmd(vm->fake,
			   OP_CFGI_CD_ALL | CMD_SID(i & 2 ? 20 : FAKE_VM_SID), 0);
	expect_sync(vm->fake);

	/* The device leaves */
	fake_vdev_del(vm->vsmmu, other);
	num = 130;
	KUNIT_EXPECT_EQ(test, -EIO, invalidate(vm->vsmmu, vm->user, 16, &num));
	KUNIT_EXPECT_EQ(test, num, 2);
	expect_cmd(vm->fake, OP_CFGI_CD_ALL | CMD_SID(FAKE_VM_SID), 0);
	expect_cmd(vm->fake, OP_CFGI_CD_ALL | CMD_SID(FAKE_VM_SID), 0);
	expect_sync(vm->fake);
	expect_none(vm->fake);
	fake_vm_free(vm);
}

/* ATS is off: such a command would only time out */
static void arm_vsmmu_test_ats_off(struct kunit *test)
{
	struct fake_vm *vm = fake_vm_alloc(test, ARM_SMMU_FEAT_ATS,
					   FAKE_QUEUE_SHIFT, PAGE_SIZE);
	u32 num = 3;

	KUNIT_EXPECT_EQ(test, 0,
			invalidate_one(test, vm, OP_ATC_INV | CMD_SID(FAKE_VM_VSID),
				       52));
	expect_none(vm->fake);
	/* That is no reason not to look at it */
	KUNIT_EXPECT_EQ(test, -EIO,
			invalidate_one(test, vm, OP_ATC_INV | CMD_SID(FAKE_VM_VSID),
				       53));
	KUNIT_EXPECT_EQ(test, -EIO,
			invalidate_one(test, vm, OP_ATC_INV | CMD_SID(1), 52));
	expect_none(vm->fake);

	write_user(test, vm->user, 0, OP_TLBI_NH_ALL, 0);
	write_user(test, vm->user, 1, OP_ATC_INV | CMD_SID(FAKE_VM_VSID), 0);
	write_user(test, vm->user, 2, OP_TLBI_NH_ASID, 0);
	KUNIT_EXPECT_EQ(test, 0, invalidate(vm->vsmmu, vm->user, 16, &num));
	KUNIT_EXPECT_EQ(test, num, 3);
	expect_cmd(vm->fake, OP_TLBI_NH_ALL | CMD_VMID(0x1234), 0);
	expect_cmd(vm->fake, OP_TLBI_NH_ASID | CMD_VMID(0x1234), 0);
	expect_sync(vm->fake);
	expect_none(vm->fake);

	/* Nor may a device get a PASID that knows none */
	vm->fake->smmu.ssid_bits = 20;
	arm_vsmmu_cmd_rules_init(&vm->vsmmu->rules, &vm->fake->smmu);
	vm->fdev->master.guest_ats = true;
	KUNIT_EXPECT_EQ(test, 0,
			invalidate_one(test, vm, CMD_SSV | OP_ATC_INV |
				       CMD_SID(FAKE_VM_VSID), 52));
	expect_none(vm->fake);
	vm->fdev->master.ssid_bits = 1;
	KUNIT_EXPECT_EQ(test, 0,
			invalidate_one(test, vm, CMD_SSV | OP_ATC_INV |
				       CMD_SID(FAKE_VM_VSID), 52));
	expect_cmd(vm->fake, CMD_SSV | OP_ATC_INV | CMD_SID(FAKE_VM_SID), 52);
	expect_sync(vm->fake);
	expect_none(vm->fake);
	fake_vm_free(vm);
}

/*
 * Let a VM send @num commands, which become two each for a device with two
 * StreamIDs, and expect at most @max of them without a CMD_SYNC behind them, but
 * no less than half of that
 */
static void expect_syncs(struct kunit *test, struct fake_vm *vm, u32 num,
			 unsigned int max)
{
	struct fake_dev *other = fake_dev_alloc(test, vm->fake, 20);
	unsigned int streams, run, most;
	u32 done, i, cmds;
	u64 cmd[2];

	KUNIT_ASSERT_EQ(test, 0, fake_vdev_add(vm->vsmmu, other, 0x88));
	other->streams[1].id = 21;

	for (streams = 1; streams <= 2; streams++) {
		other->master.num_streams = streams;
		for (i = 0; i < num; i++)
			write_user(test, vm->user, i,
				   OP_CFGI_CD_ALL | CMD_SID(0x88), 0);
		done = num;
		KUNIT_EXPECT_EQ(test, 0,
				invalidate(vm->vsmmu, vm->user, 16, &done));
		KUNIT_EXPECT_EQ(test, done, num);

		run = 0;
		most = 0;
		cmds = 0;
		while (fake_smmu_next(vm->fake, cmd)) {
			if ((cmd[0] & 0xff) == OP_SYNC) {
				run = 0;
			} else {
				cmds++;
				most = max(most, ++run);
			}
		}
		KUNIT_EXPECT_EQ(test, cmds, num * streams);
		KUNIT_EXPECT_EQ(test, run, 0);
		KUNIT_EXPECT_LE(test, most, max);
		if (streams == 1)
			KUNIT_EXPECT_GE(test, most, max / 2);
	}
}

/* Never 64 commands without a CMD_SYNC, whatever comes of them */
static void arm_vsmmu_test_force_sync(struct kunit *test)
{
	struct fake_vm *vm = fake_vm_alloc(test, 0, FAKE_QUEUE_SHIFT, PAGE_SIZE);

	vm->fake->smmu.options |= ARM_SMMU_OPT_CMDQ_FORCE_SYNC;
	expect_syncs(test, vm, 150, 63);
	fake_vm_free(vm);
}

/* What others wait for has a bound, however much a VM sends */
static void arm_vsmmu_test_max_pending(struct kunit *test)
{
	struct fake_vm *vm = fake_vm_alloc(test, 0, 12, 8 * PAGE_SIZE);

	expect_syncs(test, vm, 1500, 512);
	fake_vm_free(vm);
}

static void arm_vsmmu_test_entry_len(struct kunit *test)
{
	struct fake_vm *vm = fake_vm_alloc(test, 0, FAKE_QUEUE_SHIFT,
					   3 * PAGE_SIZE);
	u32 num = 2, i;

	KUNIT_EXPECT_EQ(test, -EINVAL,
			invalidate(vm->vsmmu, vm->user, 8, &num));
	KUNIT_EXPECT_EQ(test, num, 0);
	num = 2;
	KUNIT_EXPECT_EQ(test, -EINVAL,
			invalidate(vm->vsmmu, vm->user, 15, &num));
	KUNIT_EXPECT_EQ(test, num, 0);

	/* 24 bytes with a tail of 0 */
	for (i = 0; i < 130; i++) {
		write_user(test, vm->user + 3 * i, 0, OP_TLBI_NH_VA,
			   (u64)i << 12);
		KUNIT_ASSERT_EQ(test, 0, put_user(0, vm->user + 3 * i + 2));
	}
	num = 130;
	KUNIT_EXPECT_EQ(test, 0, invalidate(vm->vsmmu, vm->user, 24, &num));
	KUNIT_EXPECT_EQ(test, num, 130);
	for (i = 0; i < 130; i++)
		expect_cmd(vm->fake, OP_TLBI_NH_VA | CMD_VMID(0x1234),
			   (u64)i << 12);
	expect_sync(vm->fake);
	expect_none(vm->fake);

	/* And what this kernel does not know */
	KUNIT_ASSERT_EQ(test, 0, put_user(1ULL << 56, vm->user + 3 * 70 + 2));
	num = 130;
	KUNIT_EXPECT_EQ(test, -E2BIG, invalidate(vm->vsmmu, vm->user, 24, &num));
	KUNIT_EXPECT_EQ(test, num, 70);
	for (i = 0; i < 70; i++)
		expect_cmd(vm->fake, OP_TLBI_NH_VA | CMD_VMID(0x1234),
			   (u64)i << 12);
	expect_sync(vm->fake);
	expect_none(vm->fake);

	/* A bad command in front of it is the one to be told of */
	write_user(test, vm->user + 3 * 66, 0, OP_SYNC, 0);
	num = 130;
	KUNIT_EXPECT_EQ(test, -EIO, invalidate(vm->vsmmu, vm->user, 24, &num));
	KUNIT_EXPECT_EQ(test, num, 66);
	fake_vm_free(vm);
}

static void arm_vsmmu_test_probe(struct kunit *test)
{
	struct fake_vm *vm = fake_vm_alloc(test, 0, FAKE_QUEUE_SHIFT, PAGE_SIZE);
	const struct iommufd_viommu_ops *ops = vm->vsmmu->core.ops;
	struct iommu_user_data_array array = {
		.type = IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3,
	};

	KUNIT_EXPECT_EQ(test, 0, ops->cache_invalidate(&vm->vsmmu->core, &array));
	array.type++;
	KUNIT_EXPECT_EQ(test, -EINVAL,
			ops->cache_invalidate(&vm->vsmmu->core, &array));
	write_user(test, vm->user, 0, OP_TLBI_NH_ALL, 0);
	array.uptr = vm->user;
	array.entry_len = 16;
	array.entry_num = 1;
	KUNIT_EXPECT_EQ(test, -EINVAL,
			ops->cache_invalidate(&vm->vsmmu->core, &array));
	KUNIT_EXPECT_EQ(test, array.entry_num, 0);
	expect_none(vm->fake);
	fake_vm_free(vm);
}

/* The array ends where nothing is mapped. @first is where it starts */
static void check_fault(struct kunit *test, struct fake_vm *vm, u32 readable,
			size_t entry_len)
{
	u64 __user *end = vm->user + PAGE_SIZE / 8;
	u64 __user *start = end - readable * entry_len / 8;
	u32 num = readable + 20, i;

	for (i = 0; i < readable; i++) {
		write_user(test, start + i * entry_len / 8, 0, OP_TLBI_NH_VA,
			   (u64)i << 12);
		if (entry_len > 16)
			KUNIT_ASSERT_EQ(test, 0,
					put_user(0, start + i * 3 + 2));
	}
	KUNIT_EXPECT_EQ(test, -EFAULT,
			invalidate(vm->vsmmu, start, entry_len, &num));
	/* A copy may give up some bytes early, but not more than a line */
	KUNIT_EXPECT_LE(test, num, readable);
	KUNIT_EXPECT_GE(test, num + 4, readable);
	for (i = 0; i < num; i++)
		expect_cmd(vm->fake, OP_TLBI_NH_VA | CMD_VMID(0x1234),
			   (u64)i << 12);
	if (num)
		expect_sync(vm->fake);
	expect_none(vm->fake);
}

static void arm_vsmmu_test_fault(struct kunit *test)
{
	static const u32 readable[] = { 0, 1, 5, 63, 64, 65, 100, 128, 160 };
	struct fake_vm *vm = fake_vm_alloc(test, 0, FAKE_QUEUE_SHIFT,
					   2 * PAGE_SIZE);
	unsigned int i;

	KUNIT_ASSERT_EQ(test, 0,
			vm_munmap((unsigned long)vm->user + PAGE_SIZE,
				  PAGE_SIZE));
	for (i = 0; i < ARRAY_SIZE(readable); i++) {
		check_fault(test, vm, readable[i], 16);
		check_fault(test, vm, readable[i], 24);
	}
	fake_vm_free(vm);
}

/* Killed: the block in hand is done, and told of */
static void arm_vsmmu_test_killed(struct kunit *test)
{
	struct fake_vm *vm = fake_vm_alloc(test, 0, FAKE_QUEUE_SHIFT, PAGE_SIZE);
	u32 num = 200, i;

	for (i = 0; i < 200; i++)
		write_user(test, vm->user, i, OP_TLBI_NH_ALL, 0);
	allow_signal(SIGKILL);
	send_sig(SIGKILL, current, 1);
	KUNIT_EXPECT_EQ(test, -EINTR, invalidate(vm->vsmmu, vm->user, 16, &num));
	flush_signals(current);
	disallow_signal(SIGKILL);

	KUNIT_EXPECT_LT(test, num, 200);
	for (i = 0; i < num; i++)
		expect_cmd(vm->fake, OP_TLBI_NH_ALL | CMD_VMID(0x1234), 0);
	if (num)
		expect_sync(vm->fake);
	expect_none(vm->fake);
	fake_vm_free(vm);
}

/*
 * Stage-2 tags
 */
static void init_nested(struct arm_smmu_nested_domain *nested,
			struct arm_vsmmu *vsmmu, u64 word_0)
{
	nested->domain.type = IOMMU_DOMAIN_NESTED;
	nested->vsmmu = vsmmu;
	nested->ste[0] = cpu_to_le64(word_0);
}

static void expect_clean(struct kunit *test, struct fake_smmu *fake,
			 struct fake_s2 *s2)
{
	KUNIT_EXPECT_TRUE(test, ida_is_empty(&fake->smmu.vmid_map));
	KUNIT_EXPECT_TRUE(test, list_empty(&s2->domain.s2_tags));
	expect_none(fake);
}

/* One vSMMU and the stage 2 itself have a VMID in common */
static void arm_smmu_s2_test_share(struct kunit *test)
{
	struct fake_smmu *fake = fake_smmu_alloc(test, FAKE_QUEUE_SHIFT);
	struct fake_s2 *s2 = fake_s2_alloc(test, fake);
	struct arm_vsmmu *vsmmu = fake_vsmmu_alloc(test, fake, s2);
	struct fake_dev *dev_1 = fake_dev_alloc(test, fake, 1);
	struct fake_dev *dev_2 = fake_dev_alloc(test, fake, 2);
	struct arm_smmu_nested_domain nested = {}, bypass = {}, abort = {};
	struct arm_smmu_s2_tag *bare, *tag;

	init_nested(&nested, vsmmu, STE_S1);
	init_nested(&bypass, vsmmu, STE_BYPASS);
	init_nested(&abort, vsmmu, STE_ABORT);

	bare = get_tag(dev_1, &s2->domain.domain);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, bare);
	KUNIT_EXPECT_NE(test, bare->vmid, 0);
	KUNIT_EXPECT_FALSE(test, bare->guest);
	tag = get_tag(dev_2, &s2->domain.domain);
	KUNIT_EXPECT_PTR_EQ(test, tag, bare);
	put_tag(tag, false);
	expect_none(fake);

	tag = get_tag(dev_2, &nested.domain);
	KUNIT_EXPECT_PTR_EQ(test, tag, bare);
	KUNIT_EXPECT_TRUE(test, bare->guest);
	KUNIT_EXPECT_PTR_EQ(test, tag, rcu_access_pointer(vsmmu->tag));
	tag = get_tag(dev_1, &bypass.domain);
	KUNIT_EXPECT_PTR_EQ(test, tag, bare);
	tag = get_tag(dev_1, &abort.domain);
	KUNIT_EXPECT_NULL(test, tag);
	put_tag(tag, true);
	expect_none(fake);

	/* Stage 1 goes: first one of two, then the last one */
	put_tag(bare, true);
	expect_none(fake);
	KUNIT_EXPECT_TRUE(test, bare->guest);
	put_tag(bare, true);
	KUNIT_EXPECT_FALSE(test, bare->guest);
	KUNIT_EXPECT_NULL(test, rcu_access_pointer(vsmmu->tag));
	expect_cmd(fake, OP_TLBI_NH_ALL | CMD_VMID(bare->vmid), 0);
	expect_sync(fake);
	expect_none(fake);

	put_tag(bare, false);
	expect_cmd(fake, OP_TLBI_S12_VMALL | CMD_VMID(1), 0);
	expect_sync(fake);
	expect_clean(test, fake, s2);

	/* Nested first: the bare one joins, and may be the last one to go */
	tag = get_tag(dev_1, &nested.domain);
	bare = get_tag(dev_2, &s2->domain.domain);
	KUNIT_EXPECT_PTR_EQ(test, tag, bare);
	put_tag(bare, false);
	expect_none(fake);
	put_tag(tag, true);
	expect_cmd(fake, OP_TLBI_S12_VMALL | CMD_VMID(1), 0);
	expect_sync(fake);
	KUNIT_EXPECT_NULL(test, rcu_access_pointer(vsmmu->tag));
	expect_clean(test, fake, s2);
}

/* Two VMs, or two vSMMUs of one: the guests' ASIDs must not meet */
static void arm_smmu_s2_test_two_vsmmus(struct kunit *test)
{
	struct fake_smmu *fake = fake_smmu_alloc(test, FAKE_QUEUE_SHIFT);
	struct fake_s2 *s2 = fake_s2_alloc(test, fake);
	struct fake_s2 *other_s2 = fake_s2_alloc(test, fake);
	struct arm_vsmmu *vsmmu_a = fake_vsmmu_alloc(test, fake, s2);
	struct arm_vsmmu *vsmmu_b = fake_vsmmu_alloc(test, fake, s2);
	struct fake_dev *dev_1 = fake_dev_alloc(test, fake, 1);
	struct fake_dev *dev_2 = fake_dev_alloc(test, fake, 2);
	struct fake_dev *dev_3 = fake_dev_alloc(test, fake, 3);
	struct arm_smmu_nested_domain nested_a = {}, nested_b = {};
	struct arm_smmu_s2_tag *bare, *tag_a, *tag_b, *other;

	init_nested(&nested_a, vsmmu_a, STE_S1);
	init_nested(&nested_b, vsmmu_b, STE_BYPASS);
	bare = get_tag(dev_3, &s2->domain.domain);
	tag_a = get_tag(dev_1, &nested_a.domain);
	tag_b = get_tag(dev_2, &nested_b.domain);
	other = get_tag(dev_3, &other_s2->domain.domain);
	KUNIT_EXPECT_PTR_EQ(test, bare, tag_a);
	KUNIT_EXPECT_PTR_NE(test, tag_a, tag_b);
	KUNIT_EXPECT_NE(test, tag_a->vmid, tag_b->vmid);
	KUNIT_EXPECT_NE(test, other->vmid, tag_a->vmid);
	KUNIT_EXPECT_NE(test, other->vmid, tag_b->vmid);
	KUNIT_EXPECT_PTR_EQ(test, tag_a, get_tag(dev_2, &nested_a.domain));
	put_tag(tag_a, true);

	/* A master that changes to the stage 2 itself keeps its VMID */
	dev_2->master.s2_tag = tag_b;
	KUNIT_EXPECT_PTR_EQ(test, tag_b, get_tag(dev_2, &s2->domain.domain));
	put_tag(tag_b, false);
	dev_2->master.s2_tag = tag_a;
	KUNIT_EXPECT_PTR_EQ(test, tag_a, get_tag(dev_2, &s2->domain.domain));
	put_tag(tag_a, false);
	/* But not one of another stage 2 */
	dev_2->master.s2_tag = other;
	tag_b = get_tag(dev_2, &s2->domain.domain);
	KUNIT_EXPECT_PTR_NE(test, tag_b, other);
	put_tag(tag_b, false);
	dev_2->master.s2_tag = NULL;
	tag_b = rcu_access_pointer(vsmmu_b->tag);
	expect_none(fake);

	/* What A leaves B may not have before stage 1 is invalidated */
	put_tag(tag_b, true);
	expect_cmd(fake, OP_TLBI_S12_VMALL | CMD_VMID(2), 0);
	expect_sync(fake);
	put_tag(tag_a, true);
	expect_cmd(fake, OP_TLBI_NH_ALL | CMD_VMID(bare->vmid), 0);
	expect_sync(fake);
	tag_b = get_tag(dev_2, &nested_b.domain);
	KUNIT_EXPECT_PTR_EQ(test, tag_b, bare);
	put_tag(bare, false);
	put_tag(tag_b, true);
	expect_cmd(fake, OP_TLBI_S12_VMALL | CMD_VMID(1), 0);
	expect_sync(fake);
	put_tag(other, false);
	expect_cmd(fake, OP_TLBI_S12_VMALL | CMD_VMID(3), 0);
	expect_sync(fake);
	expect_clean(test, fake, s2);
}

static void arm_smmu_s2_test_no_vmid(struct kunit *test)
{
	struct fake_smmu *fake = fake_smmu_alloc(test, FAKE_QUEUE_SHIFT);
	struct fake_s2 *s2 = fake_s2_alloc(test, fake);
	struct arm_vsmmu *vsmmu_a = fake_vsmmu_alloc(test, fake, s2);
	struct arm_vsmmu *vsmmu_b = fake_vsmmu_alloc(test, fake, s2);
	struct fake_dev *dev_1 = fake_dev_alloc(test, fake, 1);
	struct fake_dev *dev_2 = fake_dev_alloc(test, fake, 2);
	struct arm_smmu_nested_domain nested_a = {};
	struct iommu_domain *domain;
	struct arm_smmu_s2_tag *tag;
	void __user *user = fake_user_alloc(test, PAGE_SIZE);
	unsigned int i;

	/* VMIDs 1..3 of 2 bits: one is taken here, the others below */
	fake->smmu.vmid_bits = 2;
	init_nested(&nested_a, vsmmu_a, STE_S1);
	tag = get_tag(dev_1, &nested_a.domain);
	for (i = 2; i <= 3; i++)
		KUNIT_ASSERT_EQ(test, i,
				ida_alloc_range(&fake->smmu.vmid_map, i, i,
						GFP_KERNEL));

	domain = fake_nested_alloc(vsmmu_b, user, STE_BYPASS, 0);
	KUNIT_ASSERT_FALSE(test, IS_ERR(domain));
	KUNIT_EXPECT_EQ(test, -ENOSPC, PTR_ERR_OR_ZERO(get_tag(dev_2, domain)));
	KUNIT_EXPECT_EQ(test, -ENOSPC, fake_attach_nested(dev_2, domain));
	KUNIT_EXPECT_NULL(test, dev_2->master.s2_tag);
	KUNIT_EXPECT_NULL(test, rcu_access_pointer(vsmmu_b->tag));
	KUNIT_EXPECT_TRUE(test, list_empty(&s2->domain.devices));
	KUNIT_EXPECT_EQ(test, le64_to_cpu(fake->stes[2].data[0]), STE_ABORT);
	expect_none(fake);

	/* VMID 0 is not for this */
	KUNIT_EXPECT_EQ(test, 0, ida_alloc_max(&fake->smmu.vmid_map, 0,
					       GFP_KERNEL));
	ida_free(&fake->smmu.vmid_map, 0);
	ida_free(&fake->smmu.vmid_map, 3);
	KUNIT_EXPECT_EQ(test, 0, fake_attach_nested(dev_2, domain));
	KUNIT_EXPECT_EQ(test, le64_to_cpu(fake->stes[2].data[2]),
			FAKE_STE_2 | 3);
	KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(dev_2, NULL));
	domain->ops->free(domain);
	ida_free(&fake->smmu.vmid_map, 2);
	put_tag(tag, true);
	fake_smmu_drain(fake);
	expect_clean(test, fake, s2);
}

/*
 * A VMID can be had again only after the invalidation has completed: hold CONS,
 * and look while the driver waits for its CMD_SYNC.
 */
static int put_tag_thread(void *arg)
{
	put_tag(arg, false);
	return 0;
}

static void arm_smmu_s2_test_vmid_clean(struct kunit *test)
{
	struct fake_smmu *fake = fake_smmu_alloc(test, FAKE_QUEUE_SHIFT);
	struct fake_s2 *s2 = fake_s2_alloc(test, fake);
	struct fake_dev *fdev = fake_dev_alloc(test, fake, 1);
	struct arm_smmu_s2_tag *tag = get_tag(fdev, &s2->domain.domain);
	struct task_struct *task;
	int vmid = tag->vmid, ret;
	unsigned int i;

	if (num_online_cpus() < 2)
		kunit_skip(test, "needs two CPUs");

	fake->cons = fake->prod;
	fake->smmu.cmdq.q.cons_reg = (u32 __iomem *)&fake->cons;
	task = kthread_create(put_tag_thread, tag, "put_tag");
	KUNIT_ASSERT_FALSE(test, IS_ERR(task));
	kthread_bind(task, cpumask_any_but(cpu_online_mask,
					   raw_smp_processor_id()));
	get_task_struct(task);
	wake_up_process(task);
	for (i = 0; i < 500 && READ_ONCE(fake->prod) == fake->cons; i++)
		usleep_range(100, 200);
	ret = ida_alloc_range(&fake->smmu.vmid_map, vmid, vmid, GFP_KERNEL);
	/* Now the SMMU has done it */
	WRITE_ONCE(fake->cons, READ_ONCE(fake->prod));
	kthread_stop(task);
	put_task_struct(task);

	KUNIT_EXPECT_LT(test, i, 500);
	KUNIT_EXPECT_EQ(test, ret, -ENOSPC);
	expect_cmd(fake, OP_TLBI_S12_VMALL | CMD_VMID(vmid), 0);
	expect_sync(fake);
	expect_clean(test, fake, s2);
}

/* TLBI_S2_IPA of four 4K pages at 0x40000000, by range if the SMMU has it */
static void expect_s2_ipa(struct fake_smmu *fake, u16 vmid)
{
	unsigned int i;

	if (fake->smmu.features & ARM_SMMU_FEAT_RANGE_INV)
		/* SCALE 2, NUM 0; TG 4K, TTL 3, leaf */
		expect_cmd(fake, OP_TLBI_S2_IPA | CMD_VMID(vmid) | 2 << 20,
			   0x40000000 | 1 << 10 | 3 << 8 | 1);
	else
		for (i = 0; i < 4; i++)
			expect_cmd(fake, OP_TLBI_S2_IPA | CMD_VMID(vmid),
				   (0x40000000 + i * SZ_4K) | 1);
	expect_sync(fake);
}

static void check_unmap(struct kunit *test, u32 features_a, u32 features_b)
{
	struct fake_smmu *fake_a = fake_smmu_alloc(test, FAKE_QUEUE_SHIFT);
	struct fake_smmu *fake_b = fake_smmu_alloc(test, FAKE_QUEUE_SHIFT);
	struct fake_s2 *s2 = fake_s2_alloc(test, fake_a);
	struct arm_vsmmu *vsmmu_a = fake_vsmmu_alloc(test, fake_a, s2);
	struct arm_vsmmu *vsmmu_b = fake_vsmmu_alloc(test, fake_b, s2);
	struct fake_dev *dev_a = fake_dev_alloc(test, fake_a, 1);
	struct fake_dev *dev_b = fake_dev_alloc(test, fake_b, 1);
	struct arm_smmu_nested_domain nested_a = {}, nested_b = {};
	struct arm_smmu_s2_tag *tag_a, *tag_b, *tag_n;

	fake_a->smmu.features |= features_a;
	fake_b->smmu.features |= features_b;
	init_nested(&nested_a, vsmmu_a, STE_S1);
	init_nested(&nested_b, vsmmu_b, STE_S1);

	/* Nothing is attached */
	arm_smmu_s2_inv_range(0x40000000, SZ_16K, SZ_4K, true, &s2->domain);
	arm_smmu_s2_inv_all(&s2->domain);
	expect_none(fake_a);
	expect_none(fake_b);

	/* Plain on both SMMUs, with VMIDs that differ */
	KUNIT_ASSERT_EQ(test, 1,
			ida_alloc_range(&fake_b->smmu.vmid_map, 1, 1,
					GFP_KERNEL));
	tag_a = get_tag(dev_a, &s2->domain.domain);
	tag_b = get_tag(dev_b, &s2->domain.domain);
	KUNIT_EXPECT_EQ(test, tag_a->vmid, 1);
	KUNIT_EXPECT_EQ(test, tag_b->vmid, 2);
	arm_smmu_s2_inv_range(0x40000000, SZ_16K, SZ_4K, true, &s2->domain);
	expect_s2_ipa(fake_a, 1);
	expect_s2_ipa(fake_b, 2);
	expect_none(fake_a);
	expect_none(fake_b);

	/* With a guest on B, its stage 1 too, after stage 2 */
	tag_n = get_tag(dev_b, &nested_b.domain);
	arm_smmu_s2_inv_range(0x40000000, SZ_16K, SZ_4K, true, &s2->domain);
	expect_s2_ipa(fake_a, 1);
	expect_none(fake_a);
	expect_s2_ipa(fake_b, 2);
	expect_cmd(fake_b, OP_TLBI_NH_ALL | CMD_VMID(2), 0);
	expect_sync(fake_b);
	expect_none(fake_b);
	arm_smmu_s2_inv_all(&s2->domain);
	expect_cmd(fake_a, OP_TLBI_S12_VMALL | CMD_VMID(1), 0);
	expect_sync(fake_a);
	expect_cmd(fake_b, OP_TLBI_S12_VMALL | CMD_VMID(2), 0);
	expect_sync(fake_b);
	expect_none(fake_a);
	expect_none(fake_b);

	/* No more guest on B, but one on A */
	put_tag(tag_n, true);
	expect_cmd(fake_b, OP_TLBI_NH_ALL | CMD_VMID(2), 0);
	expect_sync(fake_b);
	tag_n = get_tag(dev_a, &nested_a.domain);
	arm_smmu_s2_inv_range(0x40000000, SZ_16K, SZ_4K, true, &s2->domain);
	expect_s2_ipa(fake_a, 1);
	expect_cmd(fake_a, OP_TLBI_NH_ALL | CMD_VMID(1), 0);
	expect_sync(fake_a);
	expect_none(fake_a);
	expect_s2_ipa(fake_b, 2);
	expect_none(fake_b);

	/* Gone from A */
	put_tag(tag_n, true);
	put_tag(tag_a, false);
	fake_smmu_drain(fake_a);
	arm_smmu_s2_inv_range(0x40000000, SZ_16K, SZ_4K, true, &s2->domain);
	expect_none(fake_a);
	expect_s2_ipa(fake_b, 2);
	put_tag(tag_b, false);
	ida_free(&fake_b->smmu.vmid_map, 1);
	fake_smmu_drain(fake_b);
	expect_clean(test, fake_a, s2);
	expect_clean(test, fake_b, s2);
}

static void arm_smmu_s2_test_unmap(struct kunit *test)
{
	check_unmap(test, 0, 0);
	check_unmap(test, ARM_SMMU_FEAT_RANGE_INV, ARM_SMMU_FEAT_RANGE_INV);
	/* Whatever the one has must not show in commands for the other */
	check_unmap(test, ARM_SMMU_FEAT_RANGE_INV, 0);
	check_unmap(test, 0, ARM_SMMU_FEAT_RANGE_INV);
}

static void arm_smmu_s2_test_compatible(struct kunit *test)
{
	struct fake_smmu *fake = fake_smmu_alloc(test, FAKE_QUEUE_SHIFT);
	struct fake_s2 *s2 = fake_s2_alloc(test, fake);
	struct arm_smmu_device *smmu = &fake->smmu;
	struct io_pgtable_cfg *cfg = &s2->pgtable.cfg;
	const u32 features = smmu->features;

#define expect_compatible(_want)					\
	KUNIT_EXPECT_EQ(test, _want, arm_smmu_s2_compatible(&s2->domain, smmu))
	expect_compatible(true);

	s2->domain.stage = ARM_SMMU_DOMAIN_S1;
	expect_compatible(false);
	s2->domain.stage = ARM_SMMU_DOMAIN_S2;

	smmu->features = features & ~ARM_SMMU_FEAT_TRANS_S2;
	expect_compatible(false);
	smmu->features = features & ~ARM_SMMU_FEAT_NESTING;
	expect_compatible(false);
	s2->domain.nest_parent = false;
	expect_compatible(true);
	s2->domain.nest_parent = true;

	smmu->features = features & ~ARM_SMMU_FEAT_COHERENCY;
	expect_compatible(false);
	cfg->coherent_walk = false;
	expect_compatible(true);
	smmu->features = features;
	expect_compatible(false);
	cfg->coherent_walk = true;

	smmu->pgsize_bitmap |= SZ_64K | SZ_512M;
	expect_compatible(true);
	smmu->pgsize_bitmap = SZ_64K | SZ_512M;
	expect_compatible(false);
	smmu->pgsize_bitmap = SZ_4K | SZ_2M;
	expect_compatible(false);
	cfg->pgsize_bitmap = SZ_4K | SZ_2M;
	expect_compatible(true);

	smmu->ias = 48;
	smmu->oas = 48;
	expect_compatible(true);
	smmu->ias = 43;
	expect_compatible(false);
	smmu->ias = 48;
	smmu->oas = 43;
	expect_compatible(false);
	smmu->oas = 48;

	/* S2FWB of the table: the SMMU must have it. The other way round it may */
	smmu->features |= ARM_SMMU_FEAT_S2FWB;
	expect_compatible(true);
	cfg->quirks = IO_PGTABLE_QUIRK_ARM_S2FWB;
	expect_compatible(true);
	smmu->features = features;
	expect_compatible(false);
#undef expect_compatible
}

/*
 * An unmap that has found a tag may use it after the last master has gone. Let
 * it wait for its CMD_SYNC, which after some time it looks after rarely; put the
 * tag meanwhile, and see that its memory is not handed out.
 */
static int s2_inv_thread(void *arg)
{
	arm_smmu_s2_inv_all(arg);
	return 0;
}

static void arm_smmu_s2_test_rcu(struct kunit *test)
{
	struct fake_smmu *fake = fake_smmu_alloc(test, FAKE_QUEUE_SHIFT);
	struct fake_s2 *s2 = fake_s2_alloc(test, fake);
	struct fake_dev *fdev = fake_dev_alloc(test, fake, 1);
	struct arm_smmu_s2_tag *tag = get_tag(fdev, &s2->domain.domain);
	struct arm_smmu_s2_tag *more[64];
	struct task_struct *task;
	unsigned int i;

	if (num_online_cpus() < 2)
		kunit_skip(test, "needs two CPUs");

	fake->cons = fake->prod;
	fake->smmu.cmdq.q.cons_reg = (u32 __iomem *)&fake->cons;
	task = kthread_create(s2_inv_thread, &s2->domain, "s2_inv");
	KUNIT_ASSERT_FALSE(test, IS_ERR(task));
	kthread_bind(task, cpumask_any_but(cpu_online_mask,
					   raw_smp_processor_id()));
	get_task_struct(task);
	wake_up_process(task);
	for (i = 0; i < 500 && READ_ONCE(fake->prod) == fake->cons; i++)
		usleep_range(100, 200);
	msleep(50);
	/* All that was issued, and the two commands of the put, is done */
	WRITE_ONCE(fake->cons, READ_ONCE(fake->prod) + 2);
	put_tag(tag, false);
	for (i = 0; i < ARRAY_SIZE(more); i++) {
		more[i] = kzalloc(sizeof(*tag), GFP_KERNEL);
		/* For the thread to find its way if it is the same memory */
		if (more[i])
			more[i]->node.next = &s2->domain.s2_tags;
		KUNIT_EXPECT_PTR_NE(test, more[i], tag);
	}
	kthread_stop(task);
	put_task_struct(task);
	for (i = 0; i < ARRAY_SIZE(more); i++)
		kfree(more[i]);
	fake_smmu_drain(fake);
	expect_clean(test, fake, s2);
}

/*
 * Attaching
 */
static unsigned int count_devices(struct fake_s2 *s2)
{
	return list_count_nodes(&s2->domain.devices);
}

static void expect_ste_written(struct fake_smmu *fake, u32 sid,
			       unsigned int syncs)
{
	while (syncs--) {
		expect_cmd(fake, OP_CFGI_STE | CMD_SID(sid), 1);
		expect_sync(fake);
	}
}

static void arm_vsmmu_test_attach(struct kunit *test)
{
	struct fake_smmu *fake = fake_smmu_alloc(test, FAKE_QUEUE_SHIFT);
	struct fake_s2 *s2 = fake_s2_alloc(test, fake);
	struct arm_vsmmu *vsmmu = fake_vsmmu_alloc(test, fake, s2);
	struct fake_dev *fdev = fake_dev_alloc(test, fake, 9);
	void __user *user = fake_user_alloc(test, PAGE_SIZE);
	struct iommu_domain *abort, *bypass, *s1;
	const __le64 *ste = fake->stes[9].data;

	abort = fake_nested_alloc(vsmmu, user, 0, ~0ULL);
	bypass = fake_nested_alloc(vsmmu, user, STE_BYPASS, 0);
	s1 = fake_nested_alloc(vsmmu, user, GUEST_S1_0,
			       GUEST_S1_1 | STE_1_EATS(1));
	KUNIT_ASSERT_FALSE(test, IS_ERR(abort));
	KUNIT_ASSERT_FALSE(test, IS_ERR(bypass));
	KUNIT_ASSERT_FALSE(test, IS_ERR(s1));

	/* Without a vDEVICE: what needs no StreamID of the guest */
	KUNIT_EXPECT_EQ(test, 0, fake_attach_nested(fdev, abort));
	KUNIT_EXPECT_NULL(test, fdev->master.s2_tag);
	KUNIT_EXPECT_EQ(test, le64_to_cpu(ste[0]), STE_ABORT);
	expect_none(fake);
	KUNIT_EXPECT_EQ(test, 0, fake_attach_nested(fdev, bypass));
	KUNIT_EXPECT_EQ(test, le64_to_cpu(ste[0]), STE_S2);
	KUNIT_EXPECT_EQ(test, le64_to_cpu(ste[2]), FAKE_STE_2 | 1);
	expect_ste_written(fake, 9, 2);
	expect_none(fake);
	KUNIT_EXPECT_EQ(test, -ENOENT, fake_attach_nested(fdev, s1));
	KUNIT_EXPECT_EQ(test, le64_to_cpu(ste[0]), STE_S2);
	expect_none(fake);
	KUNIT_EXPECT_EQ(test, count_devices(s2), 1);

	/* bypass <-> S1 and S2 <-> S1: one VMID, never V == 0 */
	KUNIT_ASSERT_EQ(test, 0, fake_vdev_add(vsmmu, fdev, 0));
	KUNIT_EXPECT_EQ(test, 0, fake_attach_nested(fdev, s1));
	KUNIT_EXPECT_EQ(test, le64_to_cpu(ste[0]), WANT_S1_0);
	/* The device has no ATS */
	KUNIT_EXPECT_EQ(test, le64_to_cpu(ste[1]), WANT_S1_1 | STE_1_S1STALLD);
	KUNIT_EXPECT_EQ(test, le64_to_cpu(ste[2]), FAKE_STE_2 | 1);
	KUNIT_EXPECT_EQ(test, le64_to_cpu(ste[3]), FAKE_VTTBR);
	expect_ste_written(fake, 9, 2);
	expect_none(fake);
	KUNIT_EXPECT_EQ(test, 0, fake_attach_nested(fdev, bypass));
	expect_ste_written(fake, 9, 2);
	expect_none(fake);
	KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(fdev, s2));
	KUNIT_EXPECT_EQ(test, le64_to_cpu(ste[1]), 0);
	KUNIT_EXPECT_EQ(test, le64_to_cpu(ste[2]), FAKE_STE_2 | 1);
	expect_ste_written(fake, 9, 1);
	/* No guest any more */
	expect_cmd(fake, OP_TLBI_NH_ALL | CMD_VMID(1), 0);
	expect_sync(fake);
	expect_none(fake);
	KUNIT_EXPECT_EQ(test, 0, fake_attach_nested(fdev, s1));
	expect_ste_written(fake, 9, 2);
	expect_none(fake);
	KUNIT_EXPECT_EQ(test, count_devices(s2), 1);

	/* Cut off, and the VMID goes */
	KUNIT_EXPECT_EQ(test, 0, fake_attach_nested(fdev, abort));
	expect_ste_written(fake, 9, 2);
	expect_cmd(fake, OP_TLBI_S12_VMALL | CMD_VMID(1), 0);
	expect_sync(fake);
	KUNIT_EXPECT_EQ(test, count_devices(s2), 1);
	expect_clean(test, fake, s2);

	/* The vDEVICE goes while S1 is attached: that stays, and no more */
	KUNIT_EXPECT_EQ(test, 0, fake_attach_nested(fdev, s1));
	fake_vdev_del(vsmmu, fdev);
	KUNIT_EXPECT_EQ(test, 0, fake_attach_nested(fdev, bypass));
	KUNIT_EXPECT_EQ(test, -ENOENT, fake_attach_nested(fdev, s1));
	KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(fdev, NULL));
	KUNIT_EXPECT_EQ(test, le64_to_cpu(ste[0]), STE_ABORT);
	KUNIT_EXPECT_EQ(test, count_devices(s2), 0);
	KUNIT_EXPECT_NULL(test, fdev->master.s2_tag);
	fake_smmu_drain(fake);
	expect_clean(test, fake, s2);
	abort->ops->free(abort);
	bypass->ops->free(bypass);
	s1->ops->free(s1);
}

/* A guest's CFGI_STE without a change of the STE still is about its CDs */
static void arm_vsmmu_test_same_ste(struct kunit *test)
{
	struct fake_vm *vm = fake_vm_alloc(test, 0, FAKE_QUEUE_SHIFT, PAGE_SIZE);
	static const u64 words[][2] = {
		{ STE_S1 | 0x12340, 0xfd }, { STE_S1 | 0x12340, 0xfd },
		/* There is no ATS, so that is no change */
		{ STE_S1 | 0x12340, 0xfd | STE_1_EATS(1) },
		{ STE_S1 | 0x56780, 0xfd },
		{ STE_BYPASS, 0 }, { STE_BYPASS, 0 },
	};
	struct iommu_domain *domains[ARRAY_SIZE(words)];
	struct fake_smmu *fake = vm->fake;
	struct fake_dev *fdev = vm->fdev;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(words); i++) {
		domains[i] = fake_nested_alloc(vm->vsmmu, vm->user, words[i][0],
					       words[i][1]);
		KUNIT_ASSERT_FALSE(test, IS_ERR(domains[i]));
	}
	fdev->master.num_streams = 2;
	fdev->streams[1].id = 21;
	fdev->streams[1].master = &fdev->master;

	KUNIT_EXPECT_EQ(test, 0, fake_attach_nested(fdev, domains[0]));
	fake_smmu_drain(fake);
	for (i = 1; i <= 2; i++) {
		KUNIT_EXPECT_EQ(test, 0, fake_attach_nested(fdev, domains[i]));
		expect_cmd(fake, OP_CFGI_CD_ALL | CMD_SID(FAKE_VM_SID), 0);
		expect_sync(fake);
		expect_cmd(fake, OP_CFGI_CD_ALL | CMD_SID(21), 0);
		expect_sync(fake);
		expect_none(fake);
	}

	/* With a change the STE is invalidated, and the CDs are with it */
	KUNIT_EXPECT_EQ(test, 0, fake_attach_nested(fdev, domains[3]));
	expect_ste_written(fake, FAKE_VM_SID, 1);
	expect_ste_written(fake, 21, 1);
	expect_none(fake);
	/* And bypass has none */
	KUNIT_EXPECT_EQ(test, 0, fake_attach_nested(fdev, domains[4]));
	fake_smmu_drain(fake);
	KUNIT_EXPECT_EQ(test, 0, fake_attach_nested(fdev, domains[5]));
	expect_none(fake);

	KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(fdev, NULL));
	for (i = 0; i < ARRAY_SIZE(words); i++)
		domains[i]->ops->free(domains[i]);
	fake_vm_free(vm);
}

/*
 * The core reverts a group whose second device cannot be attached, and meanwhile
 * iommu_get_domain_for_dev() is not what the first one is attached to. A stale
 * entry in the list of the parent would outlive the nested domain.
 */
static void arm_vsmmu_test_attach_revert(struct kunit *test)
{
	struct fake_smmu *fake = fake_smmu_alloc(test, FAKE_QUEUE_SHIFT);
	struct fake_s2 *s2 = fake_s2_alloc(test, fake);
	struct arm_vsmmu *vsmmu = fake_vsmmu_alloc(test, fake, s2);
	struct fake_dev *dev_1 = fake_dev_alloc(test, fake, 1);
	struct fake_dev *dev_2 = fake_dev_alloc(test, fake, 2);
	void __user *user = fake_user_alloc(test, PAGE_SIZE);
	struct arm_smmu_master_domain *elm;
	struct iommu_domain *s1;

	s1 = fake_nested_alloc(vsmmu, user, GUEST_S1_0, GUEST_S1_1);
	KUNIT_ASSERT_FALSE(test, IS_ERR(s1));
	KUNIT_ASSERT_EQ(test, 0, fake_vdev_add(vsmmu, dev_1, 0));
	KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(dev_1, s2));
	KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(dev_2, s2));
	KUNIT_EXPECT_EQ(test, count_devices(s2), 2);

	KUNIT_EXPECT_EQ(test, 0, fake_attach_nested(dev_1, s1));
	KUNIT_EXPECT_EQ(test, -ENOENT, fake_attach_nested(dev_2, s1));
	KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(dev_1, s2));
	KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(dev_2, s2));

	KUNIT_EXPECT_EQ(test, count_devices(s2), 2);
	list_for_each_entry(elm, &s2->domain.devices, devices_elm)
		KUNIT_EXPECT_PTR_EQ(test, elm->domain, &s2->domain.domain);
	KUNIT_EXPECT_FALSE(test, dev_1->master.s2_guest);
	KUNIT_EXPECT_NULL(test, rcu_access_pointer(vsmmu->tag));

	KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(dev_1, NULL));
	KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(dev_2, NULL));
	KUNIT_EXPECT_EQ(test, count_devices(s2), 0);
	fake_smmu_drain(fake);
	expect_clean(test, fake, s2);
	s1->ops->free(s1);
}

/* Whom a nested domain must not be attached to */
static void arm_vsmmu_test_attach_refused(struct kunit *test)
{
	struct fake_smmu *fake = fake_smmu_alloc(test, FAKE_QUEUE_SHIFT);
	struct fake_smmu *other = fake_smmu_alloc(test, FAKE_QUEUE_SHIFT);
	struct fake_s2 *s2 = fake_s2_alloc(test, fake);
	struct arm_vsmmu *vsmmu = fake_vsmmu_alloc(test, fake, s2);
	struct arm_vsmmu *vsmmu_2 = fake_vsmmu_alloc(test, fake, s2);
	struct fake_dev *fdev = fake_dev_alloc(test, fake, 1);
	struct fake_dev *foreign = fake_dev_alloc(test, other, 1);
	void __user *user = fake_user_alloc(test, PAGE_SIZE);
	struct iommu_domain *bypass, *s1;

	bypass = fake_nested_alloc(vsmmu, user, STE_BYPASS, 0);
	s1 = fake_nested_alloc(vsmmu, user, STE_S1, 0);
	KUNIT_ASSERT_FALSE(test, IS_ERR(bypass));
	KUNIT_ASSERT_FALSE(test, IS_ERR(s1));

	/* Behind another SMMU */
	KUNIT_EXPECT_EQ(test, -EINVAL, fake_attach_nested(foreign, bypass));

	/* The caches can be bypassed, if not by S2FWB */
	fdev->fwspec.flags = 0;
	KUNIT_EXPECT_EQ(test, -EINVAL, fake_attach_nested(fdev, bypass));
	s2->pgtable.cfg.quirks = IO_PGTABLE_QUIRK_ARM_S2FWB;
	KUNIT_EXPECT_EQ(test, 0, fake_attach_nested(fdev, bypass));
	KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(fdev, NULL));
	/* Not where that was promised for all accesses */
	s2->domain.enforce_cache_coherency = true;
	KUNIT_EXPECT_EQ(test, -EINVAL, fake_attach_nested(fdev, bypass));
	KUNIT_EXPECT_EQ(test, -EINVAL, fake_attach_bare(fdev, s2));
	fdev->fwspec.flags = IOMMU_FWSPEC_PCI_RC_CANWBS;
	KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(fdev, s2));
	KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(fdev, NULL));

	/* PASIDs of the host are in use */
	fdev->master.cd_table.used_ssids = 1;
	KUNIT_EXPECT_EQ(test, -EBUSY, fake_attach_nested(fdev, bypass));
	fdev->master.cd_table.used_ssids = 0;

	/* The vDEVICE belongs to another vSMMU */
	KUNIT_ASSERT_EQ(test, 0, fake_vdev_add(vsmmu_2, fdev, 0));
	KUNIT_EXPECT_EQ(test, -ENOENT, fake_attach_nested(fdev, s1));

	KUNIT_EXPECT_EQ(test, count_devices(s2), 0);
	KUNIT_EXPECT_NULL(test, fdev->master.s2_tag);
	fake_smmu_drain(fake);
	expect_clean(test, fake, s2);
	expect_none(other);
	bypass->ops->free(bypass);
	s1->ops->free(s1);
}

/*
 * ATS: what changes in stage 2 concerns all of the ATC of a nested master, as
 * that holds the guest's addresses, and just the range of another one's.
 */
static void arm_smmu_s2_test_atc(struct kunit *test)
{
	struct fake_smmu *fake_a = fake_smmu_alloc(test, FAKE_QUEUE_SHIFT);
	struct fake_smmu *fake_b = fake_smmu_alloc(test, FAKE_QUEUE_SHIFT);
	struct fake_s2 *s2 = fake_s2_alloc(test, fake_a);
	struct arm_vsmmu *vsmmu = fake_vsmmu_alloc(test, fake_b, s2);
	struct fake_dev *plain = fake_dev_alloc(test, fake_a, 1);
	struct fake_dev *nested = fake_dev_alloc(test, fake_b, 2);
	struct fake_dev *no_ats = fake_dev_alloc(test, fake_b, 3);
	void __user *user = fake_user_alloc(test, PAGE_SIZE);
	struct fake_smmu *fakes[] = { fake_a, fake_b };
	struct fake_dev *plains[] = { plain, no_ats };
	struct iommu_domain *s1;
	unsigned int i;

	if (!IS_ENABLED(CONFIG_PCI_ATS))
		kunit_skip(test, "needs CONFIG_PCI_ATS");

	s1 = fake_nested_alloc(vsmmu, user, STE_S1, STE_1_EATS(1));
	KUNIT_ASSERT_FALSE(test, IS_ERR(s1));
	KUNIT_ASSERT_EQ(test, 0, fake_vdev_add(vsmmu, nested, 0));
	/* The SMMU that made the domain need not have ATS, nor be in use */
	fake_dev_add_ats(nested, NULL);
	KUNIT_EXPECT_EQ(test, 0, fake_attach_nested(nested, s1));
	KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(no_ats, s2));
	fake_smmu_drain(fake_b);
	KUNIT_EXPECT_EQ(test, 0,
			arm_smmu_atc_inv_domain(&s2->domain, 0x8000, SZ_16K));
	expect_cmd(fake_b, OP_ATC_INV | CMD_SID(2), 52);
	expect_sync(fake_b);
	expect_none(fake_b);

	fake_dev_add_ats(plain, NULL);
	plain->master.num_streams = 2;
	plain->streams[1].id = 11;
	KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(plain, s2));
	fake_smmu_drain(fake_a);
	KUNIT_EXPECT_EQ(test, 0,
			arm_smmu_atc_inv_domain(&s2->domain, 0x8000, SZ_16K));
	expect_cmd(fake_a, OP_ATC_INV | CMD_SID(1), 0x8000 | 2);
	expect_cmd(fake_a, OP_ATC_INV | CMD_SID(11), 0x8000 | 2);
	expect_sync(fake_a);
	expect_none(fake_a);
	expect_cmd(fake_b, OP_ATC_INV | CMD_SID(2), 52);
	expect_sync(fake_b);
	expect_none(fake_b);

	for (i = 0; i < 2; i++)
		KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(plains[i], NULL));
	KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(nested, NULL));
	KUNIT_EXPECT_EQ(test, 0, atomic_read(&s2->domain.nr_ats_masters));
	for (i = 0; i < 2; i++) {
		fake_smmu_drain(fakes[i]);
		expect_clean(test, fakes[i], s2);
	}
	s1->ops->free(s1);
}

/* An unmap that comes just when the device begins to fill its ATC */
static void arm_smmu_s2_test_atc_enabling(struct kunit *test)
{
	struct fake_vm *vm = fake_vm_alloc(test, ARM_SMMU_FEAT_ATS,
					   FAKE_QUEUE_SHIFT, PAGE_SIZE);
	struct fake_dev *fdev = vm->fdev;
	unsigned int nested, part, all;
	struct iommu_domain *s1;
	u64 cmd[2];

	if (!IS_ENABLED(CONFIG_PCI_ATS))
		kunit_skip(test, "needs CONFIG_PCI_ATS");

	s1 = fake_nested_alloc(vm->vsmmu, vm->user, STE_S1, STE_1_EATS(1));
	KUNIT_ASSERT_FALSE(test, IS_ERR(s1));
	fake_dev_add_ats(fdev, NULL);

	for (nested = 0; nested < 2; nested++) {
		/* From another domain, whose count must be right as well */
		KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(fdev, NULL));
		fake_smmu_drain(vm->fake);
		fdev->unmap = vm->s2;
		if (nested)
			KUNIT_EXPECT_EQ(test, 0, fake_attach_nested(fdev, s1));
		else
			KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(fdev, vm->s2));
		fdev->unmap = NULL;
		KUNIT_EXPECT_EQ(test, fdev->ats_ctrl >> 15, 1);

		all = 0;
		part = 0;
		while (fake_smmu_next(vm->fake, cmd)) {
			if (cmd[0] != (OP_ATC_INV | CMD_SID(FAKE_VM_SID)))
				continue;
			part += cmd[1] == (0x8000 | 2);
			all += cmd[1] == 52;
		}
		/* Before it is enabled, for the unmap, and for the guest */
		KUNIT_EXPECT_EQ(test, all, nested ? 3 : 1);
		KUNIT_EXPECT_EQ(test, part, nested ? 0 : 1);
	}
	KUNIT_EXPECT_EQ(test, 1, atomic_read(&vm->s2->domain.nr_ats_masters));
	KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(fdev, NULL));
	KUNIT_EXPECT_EQ(test, 0, atomic_read(&vm->s2->domain.nr_ats_masters));
	s1->ops->free(s1);
	fake_vm_free(vm);
}

/* Nested ATS is what guest and device agree on */
static void arm_vsmmu_test_ats(struct kunit *test)
{
	struct fake_vm *vm = fake_vm_alloc(test, ARM_SMMU_FEAT_ATS,
					   FAKE_QUEUE_SHIFT, PAGE_SIZE);
	struct fake_smmu *fake = vm->fake;
	struct fake_dev *fdev = vm->fdev;
	atomic_t *nr_ats = &vm->s2->domain.nr_ats_masters;
	enum { OFF, BARE, BYPASS, S1_NO_EATS, S1_EATS } state;
	/* All ways from one of them to another */
	static const u8 states[] = {
		BARE, BYPASS, BARE, S1_NO_EATS, BARE, S1_EATS, BARE, OFF,
		BYPASS, S1_NO_EATS, BYPASS, S1_EATS, BYPASS, OFF,
		S1_NO_EATS, S1_EATS, S1_NO_EATS, OFF, S1_EATS, S1_EATS, OFF,
	};
	struct iommu_domain *bypass, *s1, *s1_eats;
	bool atc;
	unsigned int i;
	u64 cmd[2];

	if (!IS_ENABLED(CONFIG_PCI_ATS))
		kunit_skip(test, "needs CONFIG_PCI_ATS");

	bypass = fake_nested_alloc(vm->vsmmu, vm->user, STE_BYPASS,
				   STE_1_EATS(1));
	s1 = fake_nested_alloc(vm->vsmmu, vm->user, STE_S1, 0);
	s1_eats = fake_nested_alloc(vm->vsmmu, vm->user, STE_S1, STE_1_EATS(1));
	KUNIT_ASSERT_FALSE(test, IS_ERR(bypass));
	KUNIT_ASSERT_FALSE(test, IS_ERR(s1));
	KUNIT_ASSERT_FALSE(test, IS_ERR(s1_eats));
	fake_dev_add_ats(fdev, NULL);

	for (i = 0; i < ARRAY_SIZE(states); i++) {
		state = states[i];
		switch (state) {
		case OFF:
			KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(fdev, NULL));
			break;
		case BARE:
			KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(fdev, vm->s2));
			break;
		case BYPASS:
			KUNIT_EXPECT_EQ(test, 0, fake_attach_nested(fdev, bypass));
			break;
		case S1_NO_EATS:
			KUNIT_EXPECT_EQ(test, 0, fake_attach_nested(fdev, s1));
			break;
		case S1_EATS:
			KUNIT_EXPECT_EQ(test, 0,
					fake_attach_nested(fdev, s1_eats));
			break;
		}

		atc = state == BARE || state == S1_EATS;
		KUNIT_EXPECT_EQ_MSG(test, fdev->ats_ctrl >> 15, atc, "step %u",
				    i);
		KUNIT_EXPECT_EQ_MSG(test, atomic_read(nr_ats), atc, "step %u",
				    i);
		/* On or off, nothing of the old translation is left in it */
		atc = false;
		while (fake_smmu_next(fake, cmd))
			if (cmd[0] == (OP_ATC_INV | CMD_SID(FAKE_VM_SID)) &&
			    cmd[1] == 52)
				atc = true;
		if (fdev->ats_ctrl)
			KUNIT_EXPECT_TRUE_MSG(test, atc, "step %u", i);

		/* And the guest's own: as long as it can be answered */
		KUNIT_EXPECT_EQ(test, 0,
				invalidate_one(test, vm, OP_ATC_INV |
					       CMD_SID(FAKE_VM_VSID), 0));
		atc = fake_smmu_next(fake, cmd);
		if (state == S1_EATS)
			KUNIT_EXPECT_TRUE_MSG(test, atc, "step %u", i);
		if (!fdev->ats_ctrl)
			KUNIT_EXPECT_FALSE_MSG(test, atc, "step %u", i);
		fake_smmu_drain(fake);
	}

	bypass->ops->free(bypass);
	s1->ops->free(s1);
	s1_eats->ops->free(s1_eats);
	fake_vm_free(vm);
}

/* A VF that cannot have what its PF has not */
static void arm_vsmmu_test_ats_fails(struct kunit *test)
{
	struct fake_vm *vm = fake_vm_alloc(test, ARM_SMMU_FEAT_ATS,
					   FAKE_QUEUE_SHIFT, PAGE_SIZE);
	struct fake_dev *fdev = vm->fdev, *pf;
	struct iommu_domain *s1;

	if (!IS_ENABLED(CONFIG_PCI_ATS))
		kunit_skip(test, "needs CONFIG_PCI_ATS");

	s1 = fake_nested_alloc(vm->vsmmu, vm->user, STE_S1, STE_1_EATS(1));
	KUNIT_ASSERT_FALSE(test, IS_ERR(s1));
	pf = fake_dev_alloc(test, vm->fake, 2);
	fake_dev_add_ats(pf, NULL);
	fake_dev_add_ats(fdev, pf);

	KUNIT_EXPECT_EQ(test, 0, fake_attach_nested(fdev, s1));
	KUNIT_EXPECT_FALSE(test, fdev->pci.ats_enabled);
	fake_smmu_drain(vm->fake);
	KUNIT_EXPECT_EQ(test, 0,
			invalidate_one(test, vm, OP_ATC_INV | CMD_SID(FAKE_VM_VSID),
				       0));
	expect_none(vm->fake);

	/* The driver takes it to be enabled, and warns if it is not */
	fdev->pci.ats_enabled = 1;
	KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(fdev, NULL));
	s1->ops->free(s1);
	fake_vm_free(vm);
}

/*
 * Events
 */
#define FAKE_EVENTS		3

struct fake_event {
	struct iommufd_vevent_header header;
	__le64 evt[4];
};

static struct iommufd_veventq *fake_veventq_add(struct kunit *test,
						struct arm_vsmmu *vsmmu)
{
	struct iommufd_veventq *veventq = kunit_kzalloc(test, sizeof(*veventq),
							GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, veventq);
	veventq->type = IOMMU_VEVENTQ_TYPE_ARM_SMMUV3;
	veventq->depth = FAKE_EVENTS;
	veventq->data_size =
		vsmmu->core.ops->vevent_size(&vsmmu->core, veventq->type);
	KUNIT_ASSERT_EQ(test, veventq->data_size, 32);
	veventq->ring = kunit_kcalloc(test, FAKE_EVENTS,
				      sizeof(struct fake_event), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, veventq->ring);
	spin_lock_init(&veventq->lock);
	init_waitqueue_head(&veventq->wait_queue);
	list_add(&veventq->node, &vsmmu->core.veventqs);
	return veventq;
}

/* Which events are the guest's: C_BAD_STE and so on, and faults of stage 1 */
static bool is_guest_event(unsigned int id, u64 bits)
{
	switch (id) {
	case 0x04:
	case 0x06:
	case 0x08:
	case 0x0a:
	case 0x10 ... 0x13:
		return !bits;
	default:
		return false;
	}
}

static void arm_vsmmu_test_events(struct kunit *test)
{
	/* STALL, S2 */
	static const u64 bits[] = { 0, BIT_ULL(31), BIT_ULL(39) };
	struct fake_vm *vm = fake_vm_alloc(test, 0, FAKE_QUEUE_SHIFT, PAGE_SIZE);
	struct arm_smmu_device *smmu = &vm->fake->smmu;
	struct rb_node *node = &vm->fdev->streams[0].node;
	struct iommufd_veventq *veventq;
	struct fake_event *got;
	unsigned int id, i, want = 0;
	bool guest;

	rb_link_node(node, NULL, &smmu->streams.rb_node);
	rb_insert_color(node, &smmu->streams);
	veventq = fake_veventq_add(test, vm->vsmmu);
	got = veventq->ring;

	for (id = 0; id < 256; id++) {
		for (i = 0; i < ARRAY_SIZE(bits); i++) {
			/* All ones, but for the StreamID and STALL and S2 */
			u64 evt[4] = {
				id | BITS_64(31, 8) | CMD_SID(FAKE_VM_SID),
				~(BIT_ULL(31) | BIT_ULL(39)) | bits[i],
				0xfedcba9876543210ULL, ~0ULL,
			};

			/* There these bits are reserved */
			if (id < 0x10 && bits[i])
				continue;
			veventq->num = 0;
			veventq->first = 0;
			guest = is_guest_event(id, bits[i]);
			KUNIT_EXPECT_EQ_MSG(test, guest,
					    arm_vsmmu_handle_evt(smmu, evt),
					    "event %#x, %llx", id, evt[1]);
			KUNIT_EXPECT_EQ(test, veventq->num, guest);
			if (!guest)
				continue;
			KUNIT_EXPECT_EQ(test, got->header.flags, 0);
			KUNIT_EXPECT_EQ(test, got->header.sequence, want++);
			/* ID, SSV and SSID, and the guest's StreamID */
			KUNIT_EXPECT_EQ(test, le64_to_cpu(got->evt[0]),
					id | BITS_64(31, 11) |
					CMD_SID(FAKE_VM_VSID));
			/*
			 * PnU, InD, RnW, CLASS, TTRnW, and the address, where
			 * there was a translation. No IPA, and nothing that the
			 * implementation has added
			 */
			KUNIT_EXPECT_EQ(test, le64_to_cpu(got->evt[1]),
					id < 0x10 ? 0 :
					BITS_64(35, 33) | BITS_64(41, 40) |
					BIT_ULL(44));
			KUNIT_EXPECT_EQ(test, le64_to_cpu(got->evt[2]),
					id < 0x10 ? 0 : evt[2]);
			KUNIT_EXPECT_EQ(test, le64_to_cpu(got->evt[3]), 0);
		}
	}
	KUNIT_EXPECT_EQ(test, want, 8);
	fake_vm_free(vm);
}

/* Always the vSID of now, and the host's log if there is none */
static void arm_vsmmu_test_events_vdev(struct kunit *test)
{
	struct fake_vm *vm = fake_vm_alloc(test, 0, FAKE_QUEUE_SHIFT, PAGE_SIZE);
	struct arm_smmu_device *smmu = &vm->fake->smmu;
	struct rb_node *node = &vm->fdev->streams[0].node;
	struct iommufd_veventq *veventq;
	u64 evt[4] = { 0x10 | CMD_SID(FAKE_VM_SID) };
	u64 other[4] = { 0x10 | CMD_SID(FAKE_VM_SID + 1) };
	struct iommu_domain *domain;
	struct fake_event *got;

	rb_link_node(node, NULL, &smmu->streams.rb_node);
	rb_insert_color(node, &smmu->streams);

	/* The guest has no queue: it is its own fault all the same */
	KUNIT_EXPECT_TRUE(test, arm_vsmmu_handle_evt(smmu, evt));
	veventq = fake_veventq_add(test, vm->vsmmu);
	got = veventq->ring;
	KUNIT_EXPECT_FALSE(test, arm_vsmmu_handle_evt(smmu, other));
	fake_vdev_del(vm->vsmmu, vm->fdev);
	KUNIT_EXPECT_FALSE(test, arm_vsmmu_handle_evt(smmu, evt));
	KUNIT_EXPECT_EQ(test, veventq->num, 0);
	KUNIT_ASSERT_EQ(test, 0, fake_vdev_add(vm->vsmmu, vm->fdev, U32_MAX));
	KUNIT_EXPECT_TRUE(test, arm_vsmmu_handle_evt(smmu, evt));
	KUNIT_EXPECT_EQ(test, veventq->num, 1);
	KUNIT_EXPECT_EQ(test, le64_to_cpu(got[0].evt[0]),
			0x10 | CMD_SID(U32_MAX));

	/* V == 0: what the SMMU would tell of it had it seen the STE */
	domain = fake_nested_alloc(vm->vsmmu, vm->user, 0, 0);
	KUNIT_ASSERT_FALSE(test, IS_ERR(domain));
	KUNIT_EXPECT_EQ(test, 0, fake_attach_nested(vm->fdev, domain));
	KUNIT_EXPECT_EQ(test, veventq->num, 2);
	KUNIT_EXPECT_EQ(test, le64_to_cpu(got[1].evt[0]),
			0x04 | CMD_SID(U32_MAX));
	KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(vm->fdev, NULL));
	domain->ops->free(domain);
	/* But not if the guest asked for an abort */
	domain = fake_nested_alloc(vm->vsmmu, vm->user, STE_ABORT, 0);
	KUNIT_ASSERT_FALSE(test, IS_ERR(domain));
	KUNIT_EXPECT_EQ(test, 0, fake_attach_nested(vm->fdev, domain));
	KUNIT_EXPECT_EQ(test, veventq->num, 2);
	KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(vm->fdev, NULL));
	domain->ops->free(domain);

	/* The physical queue has overflown */
	KUNIT_EXPECT_FALSE(test, veventq->tail_lost);
	arm_vsmmu_lost_evts(smmu);
	KUNIT_EXPECT_TRUE(test, veventq->tail_lost);
	KUNIT_EXPECT_EQ(test, veventq->num, 2);
	KUNIT_EXPECT_EQ(test, veventq->sequence, 3);
	fake_vm_free(vm);
}

/*
 * The event queue. The SMMU writes to it, the driver's own thread reads it
 */
#define FAKE_EVTQ_SHIFT		4
#define EVTQ_OVF		BIT(31)
#define OP_RESUME		0x44

struct fake_evtq {
	struct fake_smmu *fake;
	u64 *queue;
	u32 prod;
	u32 cons;
};

static struct fake_evtq *fake_evtq_alloc(struct kunit *test,
					 struct fake_smmu *fake,
					 unsigned int shift)
{
	struct fake_evtq *evtq = kunit_kzalloc(test, sizeof(*evtq), GFP_KERNEL);
	struct arm_smmu_queue *q = &fake->smmu.evtq.q;

	KUNIT_ASSERT_NOT_NULL(test, evtq);
	evtq->queue = kunit_kcalloc(test, 1U << shift, 32, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, evtq->queue);
	evtq->fake = fake;
	q->llq.max_n_shift = shift;
	q->base = (__le64 *)evtq->queue;
	q->ent_dwords = 4;
	q->prod_reg = (u32 __iomem *)&evtq->prod;
	q->cons_reg = (u32 __iomem *)&evtq->cons;
	return evtq;
}

/* What the SMMU does with an event. Returns false if there was no room */
static bool fake_evtq_write(struct fake_evtq *evtq, const u64 evt[4])
{
	unsigned int shift = evtq->fake->smmu.evtq.q.llq.max_n_shift;
	u32 prod = evtq->prod & ~EVTQ_OVF, cons = READ_ONCE(evtq->cons);
	u32 mask = (1U << shift) - 1;
	unsigned int i;

	if ((prod ^ cons ^ 1U << shift) << (31 - shift) == 0) {
		/* The flag changes once, and not again before it is answered */
		WRITE_ONCE(evtq->prod, prod | (~cons & EVTQ_OVF));
		return false;
	}
	for (i = 0; i < 4; i++)
		evtq->queue[4 * (prod & mask) + i] =
			(__force u64)cpu_to_le64(evt[i]);
	prod = (prod + 1) & (mask << 1 | 1);
	/* Whoever reads PROD finds the record */
	smp_store_release(&evtq->prod, prod | (evtq->prod & EVTQ_OVF));
	return true;
}

static void fake_evtq_handle(struct fake_evtq *evtq)
{
	arm_smmu_evtq_thread(0, &evtq->fake->smmu);
}

static void fake_stream_add(struct fake_dev *fdev)
{
	struct arm_smmu_device *smmu = fdev->master.smmu;
	struct rb_node **link = &smmu->streams.rb_node, *parent = NULL;
	struct arm_smmu_stream *stream = &fdev->streams[0];

	while (*link) {
		parent = *link;
		link = stream->id < rb_entry(parent, struct arm_smmu_stream,
					     node)->id ?
		       &parent->rb_left : &parent->rb_right;
	}
	rb_link_node(&stream->node, parent, link);
	rb_insert_color(&stream->node, &smmu->streams);
}

/* The queue of the SMMU overflows: every VM behind it has to know */
static void arm_vsmmu_test_evtq_overflow(struct kunit *test)
{
	struct fake_vm *vm = fake_vm_alloc(test, 0, FAKE_QUEUE_SHIFT, PAGE_SIZE);
	struct fake_evtq *evtq = fake_evtq_alloc(test, vm->fake, 1);
	struct fake_s2 *s2 = fake_s2_alloc(test, vm->fake);
	struct arm_vsmmu *quiet = fake_vsmmu_alloc(test, vm->fake, s2);
	struct fake_dev *fdev = fake_dev_alloc(test, vm->fake, 1);
	const u64 evt[4] = { 0x10 | CMD_SID(FAKE_VM_SID) };
	struct iommufd_veventq *veventq[2];
	unsigned int turn;

	KUNIT_ASSERT_EQ(test, 0, fake_vdev_add(quiet, fdev, 1));
	fake_stream_add(vm->fdev);
	fake_stream_add(fdev);
	veventq[0] = fake_veventq_add(test, vm->vsmmu);
	veventq[1] = fake_veventq_add(test, quiet);

	for (turn = 1; turn <= 3; turn++) {
		veventq[0]->num = 0;
		KUNIT_EXPECT_TRUE(test, fake_evtq_write(evtq, evt));
		KUNIT_EXPECT_TRUE(test, fake_evtq_write(evtq, evt));
		/* All is well as long as it is only full */
		fake_evtq_handle(evtq);
		KUNIT_EXPECT_EQ(test, veventq[0]->num, 2);
		KUNIT_EXPECT_FALSE(test, veventq[0]->tail_lost);
		KUNIT_EXPECT_FALSE(test, veventq[1]->tail_lost);

		veventq[0]->num = 0;
		KUNIT_EXPECT_TRUE(test, fake_evtq_write(evtq, evt));
		KUNIT_EXPECT_TRUE(test, fake_evtq_write(evtq, evt));
		KUNIT_EXPECT_FALSE(test, fake_evtq_write(evtq, evt));
		KUNIT_EXPECT_FALSE(test, fake_evtq_write(evtq, evt));
		fake_evtq_handle(evtq);
		KUNIT_EXPECT_EQ(test, (evtq->prod ^ evtq->cons) & EVTQ_OVF, 0);
		KUNIT_EXPECT_EQ(test, veventq[0]->num, 2);
		KUNIT_EXPECT_EQ(test, veventq[0]->sequence, 5 * turn);
		KUNIT_EXPECT_EQ(test, veventq[1]->num, 0);
		KUNIT_EXPECT_EQ(test, veventq[1]->sequence, turn);
		KUNIT_EXPECT_TRUE(test, veventq[1]->tail_lost);
		veventq[0]->tail_lost = false;
		veventq[1]->tail_lost = false;
	}
	fake_vm_free(vm);
}

/* Whose events the log gets as long as there is room for the host's own */
static void arm_vsmmu_test_evt_ratelimit(struct kunit *test)
{
	struct fake_vm *vm = fake_vm_alloc(test, 0, FAKE_QUEUE_SHIFT, PAGE_SIZE);
	struct arm_smmu_device *smmu = &vm->fake->smmu;
	struct fake_dev *host = fake_dev_alloc(test, vm->fake, 1);
	const u64 evt[4] = { 0x10 | CMD_SID(FAKE_VM_SID), BIT_ULL(39) };
	const u64 host_evt[4] = { 0x10 | CMD_SID(1) };
	const u64 no_evt[4] = { 0x02 | CMD_SID(2) };
	struct ratelimit_state *rs;
	struct iommu_domain *domain;

	fake_stream_add(vm->fdev);
	fake_stream_add(host);
	domain = fake_nested_alloc(vm->vsmmu, vm->user, STE_BYPASS, 0);
	KUNIT_ASSERT_FALSE(test, IS_ERR(domain));

	KUNIT_EXPECT_NULL(test, arm_vsmmu_evt_ratelimit(smmu, evt));
	KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(vm->fdev, vm->s2));
	rs = arm_vsmmu_evt_ratelimit(smmu, evt);
	KUNIT_ASSERT_NOT_NULL(test, rs);
	KUNIT_EXPECT_EQ(test, rs->interval, 5 * HZ);
	KUNIT_EXPECT_EQ(test, rs->burst, 3);
	KUNIT_EXPECT_EQ(test, 0, fake_attach_nested(vm->fdev, domain));
	KUNIT_EXPECT_PTR_EQ(test, arm_vsmmu_evt_ratelimit(smmu, evt), rs);
	/* Detached: what it did may still be in the queue */
	KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(vm->fdev, NULL));
	KUNIT_EXPECT_PTR_EQ(test, arm_vsmmu_evt_ratelimit(smmu, evt), rs);

	KUNIT_EXPECT_NULL(test, arm_vsmmu_evt_ratelimit(smmu, host_evt));
	KUNIT_EXPECT_NULL(test, arm_vsmmu_evt_ratelimit(smmu, no_evt));
	/* Back to a driver of the host */
	vm->s2->domain.domain.type = IOMMU_DOMAIN_DMA;
	KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(vm->fdev, vm->s2));
	KUNIT_EXPECT_NULL(test, arm_vsmmu_evt_ratelimit(smmu, evt));
	KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(vm->fdev, NULL));
	domain->ops->free(domain);
	fake_vm_free(vm);
}

/*
 * The same at full speed: a guest that does nothing but fault keeps the thread
 * of the event queue busy, and the other one attaches, detaches and is told of
 * its own fault
 */
struct fake_flood {
	struct fake_evtq *evtq;
	unsigned long events;
};

static int fake_flood_thread(void *arg)
{
	struct fake_flood *flood = arg;
	const u64 evt[4] = { 0x10 | CMD_SID(FAKE_VM_SID) };

	while (!kthread_should_stop()) {
		while (fake_evtq_write(flood->evtq, evt))
			flood->events++;
		fake_evtq_handle(flood->evtq);
		cond_resched();
	}
	return 0;
}

static void arm_vsmmu_test_evtq_flood(struct kunit *test)
{
	struct fake_vm *vm = fake_vm_alloc(test, 0, FAKE_QUEUE_SHIFT, PAGE_SIZE);
	struct fake_evtq *evtq = fake_evtq_alloc(test, vm->fake, FAKE_EVTQ_SHIFT);
	struct fake_flood flood = { .evtq = evtq };
	struct fake_s2 *s2 = fake_s2_alloc(test, vm->fake);
	struct arm_vsmmu *quiet = fake_vsmmu_alloc(test, vm->fake, s2);
	struct fake_dev *fdev = fake_dev_alloc(test, vm->fake, 1);
	struct iommufd_veventq *noisy_q, *quiet_q;
	struct iommu_domain *s1, *invalid;
	struct task_struct *task;
	unsigned long end;
	u32 turns = 0;

	if (num_online_cpus() < 2)
		kunit_skip(test, "needs two CPUs");

	KUNIT_ASSERT_EQ(test, 0, fake_vdev_add(quiet, fdev, 1));
	fake_stream_add(vm->fdev);
	fake_stream_add(fdev);
	noisy_q = fake_veventq_add(test, vm->vsmmu);
	quiet_q = fake_veventq_add(test, quiet);
	s1 = fake_nested_alloc(quiet, vm->user, GUEST_S1_0, GUEST_S1_1);
	invalid = fake_nested_alloc(quiet, vm->user, 0, 0);
	KUNIT_ASSERT_FALSE(test, IS_ERR(s1));
	KUNIT_ASSERT_FALSE(test, IS_ERR(invalid));

	task = kthread_run(fake_flood_thread, &flood, "evtq_flood");
	KUNIT_ASSERT_FALSE(test, IS_ERR(task));
	for (end = jiffies + HZ / 2; time_before(jiffies, end); turns++) {
		KUNIT_EXPECT_EQ(test, 0, fake_attach_nested(fdev, s1));
		KUNIT_EXPECT_EQ(test, 0, fake_attach_nested(fdev, invalid));
		KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(fdev, NULL));
		fake_smmu_drain(vm->fake);
	}
	kthread_stop(task);

	kunit_info(test, "%u turns during %lu events\n", turns, flood.events);
	KUNIT_EXPECT_GT(test, turns, 0);
	KUNIT_EXPECT_GT(test, flood.events, FAKE_EVENTS);
	/* Its own C_BAD_STE for each turn, and that the physical queue was full */
	KUNIT_EXPECT_EQ(test, quiet_q->num, FAKE_EVENTS);
	KUNIT_EXPECT_GE(test, quiet_q->sequence, turns);
	KUNIT_EXPECT_EQ(test, noisy_q->num, FAKE_EVENTS);
	KUNIT_EXPECT_TRUE(test, noisy_q->tail_lost);
	KUNIT_EXPECT_GE(test, noisy_q->sequence, flood.events);

	s1->ops->free(s1);
	invalid->ops->free(invalid);
	fake_vm_free(vm);
}

/*
 * I/O page faults
 */
struct fake_iopf {
	struct fake_vm *vm;
	struct fake_evtq *evtq;
	struct iommu_group *group;
	struct iommu_attach_handle handle;
	/* Faults that were handed to the domain */
	struct iopf_group *got[4];
	unsigned int num;
};

static struct fake_iopf *fake_iopf;

static int fake_iopf_handler(struct iopf_group *group)
{
	KUNIT_EXPECT_PTR_EQ(fake_iopf->vm->fake->test, group->attach_handle,
			    &fake_iopf->handle);
	if (fake_iopf->num == ARRAY_SIZE(fake_iopf->got))
		return -ENOSPC;
	/* Not iopf_group_dequeue(): the first releases of 6.12 have none */
	mutex_lock(&group->fault_param->lock);
	list_del_init(&group->pending_node);
	mutex_unlock(&group->fault_param->lock);
	fake_iopf->got[fake_iopf->num++] = group;
	return 0;
}

KUNIT_DEFINE_ACTION_WRAPPER(fake_group_put, iommu_group_put,
			    struct iommu_group *);
KUNIT_DEFINE_ACTION_WRAPPER(fake_iopf_queue_free, iopf_queue_free,
			    struct iopf_queue *);

static struct fake_iopf *fake_iopf_alloc(struct kunit *test)
{
	struct fake_iopf *iopf = kunit_kzalloc(test, sizeof(*iopf), GFP_KERNEL);
	struct fake_dev *fdev;
	struct fake_vm *vm;

	if (!IS_ENABLED(CONFIG_ARM_SMMU_V3_SVA))
		kunit_skip(test, "stalls need CONFIG_ARM_SMMU_V3_SVA");

	KUNIT_ASSERT_NOT_NULL(test, iopf);
	vm = fake_vm_alloc(test, 0, FAKE_QUEUE_SHIFT, PAGE_SIZE);
	fdev = vm->fdev;
	iopf->vm = vm;
	iopf->evtq = fake_evtq_alloc(test, vm->fake, FAKE_EVTQ_SHIFT);
	iopf->group = iommu_group_alloc();
	KUNIT_ASSERT_FALSE(test, IS_ERR(iopf->group));
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, fake_group_put,
						  iopf->group));
	vm->fake->smmu.evtq.iopf = iopf_queue_alloc("fake-smmu");
	KUNIT_ASSERT_NOT_NULL(test, vm->fake->smmu.evtq.iopf);
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, fake_iopf_queue_free,
						  vm->fake->smmu.evtq.iopf));
	vm->fake->smmu.iommu.ops = &arm_smmu_ops;
	mutex_init(&fdev->iommu.lock);
	fdev->pci.dev.iommu_group = iopf->group;
	fdev->master.stall_enabled = true;
	fake_stream_add(fdev);
	fake_iopf = iopf;
	return iopf;
}

static struct iommu_domain *fake_fault_domain(struct kunit *test,
					      struct fake_vm *vm)
{
	struct iommu_domain *domain;

	domain = fake_nested_alloc(vm->vsmmu, vm->user, GUEST_S1_0, GUEST_S1_1);
	KUNIT_ASSERT_FALSE(test, IS_ERR(domain));
	domain->iopf_handler = fake_iopf_handler;
	return domain;
}

/* As the core does it: no fault finds the handle before the attach has worked */
static int fake_iopf_attach(struct fake_iopf *iopf, struct iommu_domain *domain)
{
	int ret = fake_attach_nested(iopf->vm->fdev, domain);

	return ret ?: iommu_replace_group_handle(iopf->group, domain,
						 &iopf->handle);
}

static void fake_stall(struct fake_iopf *iopf, u64 word_0, u64 word_1, u16 stag)
{
	const u64 evt[4] = {
		word_0 | 0x10 | CMD_SID(FAKE_VM_SID),
		word_1 | BIT_ULL(31) | stag, 0xabcd000,
	};

	KUNIT_EXPECT_TRUE(iopf->vm->fake->test, fake_evtq_write(iopf->evtq, evt));
	fake_evtq_handle(iopf->evtq);
}

/* Retry is 1, abort is 2 */
#define RESUME(_resp)	(OP_RESUME | (u64)(_resp) << 12 | CMD_SID(FAKE_VM_SID))

static void fake_respond(struct fake_iopf *iopf, unsigned int i, int code)
{
	iopf_group_response(iopf->got[i], code);
	iopf_free_group(iopf->got[i]);
}

static void arm_vsmmu_test_iopf(struct kunit *test)
{
	struct fake_iopf *iopf = fake_iopf_alloc(test);
	struct fake_vm *vm = iopf->vm;
	struct fake_smmu *fake = vm->fake;
	struct fake_dev *fdev = vm->fdev;
	struct iommu_domain *domain = fake_fault_domain(test, vm);
	struct iommu_domain *other = fake_fault_domain(test, vm);
	struct iommufd_veventq *veventq = fake_veventq_add(test, vm->vsmmu);
	struct iommu_fault_page_request *prm;

	/* Nobody has asked for stalls, so nobody handles one */
	fake_smmu_drain(fake);
	fake_stall(iopf, 0, 0, 1);
	expect_cmd(fake, RESUME(2), 1);
	expect_none(fake);

	KUNIT_ASSERT_EQ(test, 0, fake_iopf_attach(iopf, domain));
	KUNIT_EXPECT_NOT_NULL(test, rcu_access_pointer(fdev->iommu.fault_param));
	KUNIT_EXPECT_EQ(test, le64_to_cpu(fake->stes[FAKE_VM_SID].data[1]),
			WANT_S1_1);
	fake_smmu_drain(fake);

	/* A read of the RID, and a write of a PASID of the guest's own table */
	fake_stall(iopf, 0, BIT_ULL(35), 7);
	fake_stall(iopf, BIT_ULL(11) | 0x345 << 12, 0, 8);
	expect_none(fake);
	KUNIT_ASSERT_EQ(test, iopf->num, 2);
	prm = &iopf->got[0]->last_fault.fault.prm;
	KUNIT_EXPECT_EQ(test, prm->grpid, 7);
	KUNIT_EXPECT_EQ(test, prm->addr, 0xabcd000);
	KUNIT_EXPECT_EQ(test, prm->perm, IOMMU_FAULT_PERM_READ);
	KUNIT_EXPECT_FALSE(test,
			   prm->flags & IOMMU_FAULT_PAGE_REQUEST_PASID_VALID);
	prm = &iopf->got[1]->last_fault.fault.prm;
	KUNIT_EXPECT_EQ(test, prm->grpid, 8);
	KUNIT_EXPECT_EQ(test, prm->pasid, 0x345);
	KUNIT_EXPECT_EQ(test, prm->perm, IOMMU_FAULT_PERM_WRITE);
	KUNIT_EXPECT_TRUE(test,
			  prm->flags & IOMMU_FAULT_PAGE_REQUEST_PASID_VALID);
	fake_respond(iopf, 1, IOMMU_PAGE_RESP_SUCCESS);
	expect_cmd(fake, RESUME(1), 8);
	fake_respond(iopf, 0, IOMMU_PAGE_RESP_INVALID);
	expect_cmd(fake, RESUME(2), 7);

	/* A fault of stage 2 is not the guest's */
	fake_stall(iopf, 0, BIT_ULL(39), 9);
	expect_cmd(fake, RESUME(2), 9);
	KUNIT_EXPECT_EQ(test, iopf->num, 2);

	/* From one such domain to another one */
	KUNIT_ASSERT_EQ(test, 0, fake_iopf_attach(iopf, other));
	fake_smmu_drain(fake);
	fake_stall(iopf, 0, 0, 10);
	expect_none(fake);
	KUNIT_EXPECT_EQ(test, iopf->num, 3);
	KUNIT_EXPECT_PTR_EQ(test, iopf->got[2]->attach_handle->domain, other);

	/*
	 * Detached, with one fault unanswered and more in the queue, and the
	 * handle is still to be found
	 */
	KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(fdev, NULL));
	KUNIT_EXPECT_NULL(test, rcu_access_pointer(fdev->iommu.fault_param));
	fake_smmu_drain(fake);
	fake_stall(iopf, 0, 0, 11);
	expect_cmd(fake, RESUME(2), 11);
	fake_stall(iopf, BIT_ULL(11) | 0x345 << 12, 0, 12);
	expect_cmd(fake, RESUME(2), 12);
	KUNIT_EXPECT_EQ(test, iopf->num, 3);
	fake_respond(iopf, 2, IOMMU_PAGE_RESP_INVALID);
	expect_cmd(fake, RESUME(2), 10);

	/* And with the device gone */
	rb_erase(&fdev->streams[0].node, &fake->smmu.streams);
	fake_stall(iopf, 0, 0, 13);
	expect_cmd(fake, RESUME(2), 13);
	expect_none(fake);

	/* A stall is never an event */
	KUNIT_EXPECT_EQ(test, veventq->sequence, 0);
	/* Nothing is left to attach, this only takes the handle away */
	KUNIT_EXPECT_EQ(test, 0,
			iommu_replace_group_handle(iopf->group, other, NULL));
	domain->ops->free(domain);
	other->ops->free(other);
	fake_vm_free(vm);
}

static void arm_vsmmu_test_iopf_refused(struct kunit *test)
{
	struct fake_iopf *iopf = fake_iopf_alloc(test);
	struct fake_vm *vm = iopf->vm;
	struct fake_smmu *fake = vm->fake;
	struct fake_dev *fdev = vm->fdev;
	struct iommu_domain *domain = fake_fault_domain(test, vm);
	struct iopf_queue *queue = fake->smmu.evtq.iopf;

	/* Responses go to the first StreamID only */
	fdev->master.num_streams = 2;
	fdev->streams[1].id = 7;
	KUNIT_EXPECT_EQ(test, -EOPNOTSUPP, fake_attach_nested(fdev, domain));
	fdev->master.num_streams = 1;
	fake->smmu.evtq.iopf = NULL;
	KUNIT_EXPECT_EQ(test, -EOPNOTSUPP, fake_attach_nested(fdev, domain));
	fake->smmu.evtq.iopf = queue;
	KUNIT_EXPECT_FALSE(test, fdev->master.iopf_rid);

	/* SVA has it */
	KUNIT_ASSERT_EQ(test, 0, iopf_queue_add_device(queue, &fdev->pci.dev));
	KUNIT_EXPECT_EQ(test, -EBUSY, fake_attach_nested(fdev, domain));
	iopf_queue_remove_device(queue, &fdev->pci.dev);

	/* An attach that fails later leaves nothing behind */
	vm->s2->domain.enforce_cache_coherency = true;
	fdev->fwspec.flags = 0;
	vm->s2->pgtable.cfg.quirks = IO_PGTABLE_QUIRK_ARM_S2FWB;
	KUNIT_EXPECT_EQ(test, -EINVAL, fake_attach_nested(fdev, domain));
	KUNIT_EXPECT_FALSE(test, fdev->master.iopf_rid);
	KUNIT_EXPECT_NULL(test, rcu_access_pointer(fdev->iommu.fault_param));
	vm->s2->domain.enforce_cache_coherency = false;
	fdev->fwspec.flags = IOMMU_FWSPEC_PCI_RC_CANWBS;
	vm->s2->pgtable.cfg.quirks = 0;

	/* Where nothing stalls there is nothing to be ready for */
	fdev->master.stall_enabled = false;
	KUNIT_EXPECT_EQ(test, 0, fake_attach_nested(fdev, domain));
	KUNIT_EXPECT_FALSE(test, fdev->master.iopf_rid);
	KUNIT_EXPECT_EQ(test, le64_to_cpu(fake->stes[FAKE_VM_SID].data[1]),
			WANT_S1_1 | STE_1_S1STALLD);
	KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(fdev, NULL));
	domain->ops->free(domain);
	fake_vm_free(vm);
}

/*
 * What hardware there must be
 */
static void arm_vsmmu_test_viommu_size(struct kunit *test)
{
	struct fake_smmu *fake = fake_smmu_alloc(test, FAKE_QUEUE_SHIFT);
	struct fake_dev *fdev = fake_dev_alloc(test, fake, 1);
	const u32 features = fake->smmu.features;
	const unsigned int type = IOMMU_VIOMMU_TYPE_ARM_SMMUV3;

	KUNIT_EXPECT_EQ(test, sizeof(struct arm_vsmmu),
			arm_smmu_get_viommu_size(&fdev->pci.dev, type));
	KUNIT_EXPECT_EQ(test, 0,
			arm_smmu_get_viommu_size(&fdev->pci.dev, type + 1));
	KUNIT_EXPECT_EQ(test, 0, arm_smmu_get_viommu_size(&fdev->pci.dev, 0));
	fake->smmu.features = features & ~ARM_SMMU_FEAT_NESTING;
	KUNIT_EXPECT_EQ(test, 0, arm_smmu_get_viommu_size(&fdev->pci.dev, type));
	fake->smmu.features = features;
	fdev->fwspec.flags = IOMMU_FWSPEC_PCI_RC_ATS;
	KUNIT_EXPECT_EQ(test, 0, arm_smmu_get_viommu_size(&fdev->pci.dev, type));
	fake->smmu.features |= ARM_SMMU_FEAT_S2FWB;
	KUNIT_EXPECT_EQ(test, sizeof(struct arm_vsmmu),
			arm_smmu_get_viommu_size(&fdev->pci.dev, type));
}

static void arm_vsmmu_test_init(struct kunit *test)
{
	struct fake_smmu *fake = fake_smmu_alloc(test, FAKE_QUEUE_SHIFT);
	struct fake_s2 *s2 = fake_s2_alloc(test, fake);
	struct arm_vsmmu vsmmu = { .core.iommu_dev = &fake->smmu.iommu };
	struct iommu_user_data data = {};

	KUNIT_EXPECT_EQ(test, -EOPNOTSUPP,
			arm_vsmmu_init(&vsmmu.core, &s2->domain.domain, &data));
	s2->pgtable.cfg.oas = 48;
	KUNIT_EXPECT_EQ(test, -EINVAL,
			arm_vsmmu_init(&vsmmu.core, &s2->domain.domain, NULL));
	s2->pgtable.cfg.oas = 44;
	KUNIT_EXPECT_EQ(test, 0,
			arm_vsmmu_init(&vsmmu.core, &s2->domain.domain, NULL));
	KUNIT_EXPECT_PTR_EQ(test, vsmmu.smmu, &fake->smmu);
	KUNIT_EXPECT_PTR_EQ(test, vsmmu.s2_parent, &s2->domain);
}

static void arm_vsmmu_test_hw_info(struct kunit *test)
{
	struct fake_smmu *fake = fake_smmu_alloc(test, FAKE_QUEUE_SHIFT);
	struct fake_dev *fdev = fake_dev_alloc(test, fake, 1);
	struct iommu_hw_info_arm_smmuv3 *info;
	u32 length, type;
	unsigned int i;

	/* IDR0..5, IIDR, AIDR follow each other */
	for (i = 0; i < 8; i++)
		fake->regs[i] = 0x01010101 * (i + 1);
	info = arm_smmu_hw_info(&fdev->pci.dev, &length, &type);
	KUNIT_ASSERT_FALSE(test, IS_ERR(info));
	KUNIT_EXPECT_EQ(test, length, 40);
	KUNIT_EXPECT_EQ(test, type, 2);
	KUNIT_EXPECT_EQ(test, info->flags, 0);
	for (i = 0; i < 6; i++)
		KUNIT_EXPECT_EQ(test, info->idr[i], fake->regs[i]);
	KUNIT_EXPECT_EQ(test, info->iidr, fake->regs[6]);
	KUNIT_EXPECT_EQ(test, info->aidr, fake->regs[7]);
	kfree(info);
}

static struct kunit_case arm_smmu_v3_iommufd_test_cases[] = {
	KUNIT_CASE(arm_vsmmu_test_guest_ste_bits),
	KUNIT_CASE(arm_vsmmu_test_guest_ste_values),
	KUNIT_CASE(arm_vsmmu_test_alloc_nested),
	KUNIT_CASE_PARAM(arm_vsmmu_test_made_ste, made_ste_gen_params),
	KUNIT_CASE_PARAM(arm_vsmmu_test_ste_update, ste_update_gen_params),
	KUNIT_CASE_PARAM_ATTR(arm_vsmmu_test_cmd_bits, feats_gen_params,
			      { .speed = KUNIT_SPEED_SLOW }),
	KUNIT_CASE_PARAM(arm_vsmmu_test_cmd_all_bits, feats_gen_params),
	KUNIT_CASE_PARAM(arm_vsmmu_test_cmd_range, feats_gen_params),
	KUNIT_CASE_PARAM(arm_vsmmu_test_cmd_atc_size, feats_gen_params),
	KUNIT_CASE(arm_vsmmu_test_issue_each),
	KUNIT_CASE_PARAM(arm_vsmmu_test_issue_many, issue_num_gen_params),
	KUNIT_CASE_SLOW(arm_vsmmu_test_issue_most),
	KUNIT_CASE_PARAM(arm_vsmmu_test_bad_at, bad_at_gen_params),
	KUNIT_CASE(arm_vsmmu_test_no_tag),
	KUNIT_CASE(arm_vsmmu_test_many_streams),
	KUNIT_CASE(arm_vsmmu_test_vsids),
	KUNIT_CASE(arm_vsmmu_test_ats_off),
	KUNIT_CASE(arm_vsmmu_test_force_sync),
	KUNIT_CASE(arm_vsmmu_test_max_pending),
	KUNIT_CASE(arm_vsmmu_test_entry_len),
	KUNIT_CASE(arm_vsmmu_test_probe),
	KUNIT_CASE(arm_vsmmu_test_fault),
	KUNIT_CASE(arm_vsmmu_test_killed),
	KUNIT_CASE(arm_smmu_s2_test_share),
	KUNIT_CASE(arm_smmu_s2_test_two_vsmmus),
	KUNIT_CASE(arm_smmu_s2_test_no_vmid),
	KUNIT_CASE(arm_smmu_s2_test_vmid_clean),
	KUNIT_CASE(arm_smmu_s2_test_unmap),
	KUNIT_CASE(arm_smmu_s2_test_compatible),
	KUNIT_CASE(arm_smmu_s2_test_rcu),
	KUNIT_CASE(arm_smmu_s2_test_atc),
	KUNIT_CASE(arm_smmu_s2_test_atc_enabling),
	KUNIT_CASE(arm_vsmmu_test_ats),
	KUNIT_CASE(arm_vsmmu_test_ats_fails),
	KUNIT_CASE(arm_vsmmu_test_attach),
	KUNIT_CASE(arm_vsmmu_test_same_ste),
	KUNIT_CASE(arm_vsmmu_test_attach_revert),
	KUNIT_CASE(arm_vsmmu_test_attach_refused),
	KUNIT_CASE(arm_vsmmu_test_events),
	KUNIT_CASE(arm_vsmmu_test_events_vdev),
	KUNIT_CASE(arm_vsmmu_test_evtq_overflow),
	KUNIT_CASE(arm_vsmmu_test_evt_ratelimit),
	KUNIT_CASE(arm_vsmmu_test_evtq_flood),
	KUNIT_CASE(arm_vsmmu_test_iopf),
	KUNIT_CASE(arm_vsmmu_test_iopf_refused),
	KUNIT_CASE(arm_vsmmu_test_viommu_size),
	KUNIT_CASE(arm_vsmmu_test_init),
	KUNIT_CASE(arm_vsmmu_test_hw_info),
	{},
};

static struct kunit_suite arm_smmu_v3_iommufd_test_suite = {
	.name = "arm-smmu-v3-iommufd",
	.test_cases = arm_smmu_v3_iommufd_test_cases,
};

kunit_test_suites(&arm_smmu_v3_iommufd_test_suite);

MODULE_IMPORT_NS(EXPORTED_FOR_KUNIT_TESTING);
MODULE_IMPORT_NS(IOMMUFD_INTERNAL);
MODULE_DESCRIPTION("KUnit tests for nested translation with arm-smmu-v3");
MODULE_LICENSE("GPL");
