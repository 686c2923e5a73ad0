// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of nested translation: the fake SMMU and its devices.
 */
#include <kunit/platform_device.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/mmu_context.h>
#include <linux/platform_device.h>
#include <linux/property.h>
#include <linux/pci-ats.h>
#include <linux/vmalloc.h>

#include "../arm-smmu-v3-vcmdq.h"
#include "fake.h"

KUNIT_DEFINE_ACTION_WRAPPER(fake_vfree, vfree, const void *);

struct fake_smmu *fake_smmu_alloc(struct kunit *test, unsigned int shift)
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
	smmu->base = (__force void __iomem *)fake->regs;
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
	INIT_LIST_HEAD(&smmu->vmids_stale);
	mutex_init(&smmu->streams_mutex);
	smmu->strtab_cfg.linear.table = fake->stes;
	smmu->strtab_cfg.linear.num_ents = FAKE_SIDS;
	for (i = 0; i < FAKE_SIDS; i++)
		fake->stes[i].data[0] = cpu_to_le64(STE_ABORT);

	cmdq = &smmu->cmdq;
	cmdq->q.llq.max_n_shift = shift;
	cmdq->q.base = fake->queue;
	cmdq->q.ent_dwords = 2;
	cmdq->q.prod_reg = (__force u32 __iomem *)&fake->prod;
	cmdq->q.cons_reg = (__force u32 __iomem *)&fake->prod;
	cmdq->valid_map = kunit_kzalloc(test, (1UL << shift) / 8, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, cmdq->valid_map);
	cmdq->atc_timeouts = kunit_kzalloc(test, (1UL << shift) / 8, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, cmdq->atc_timeouts);
	return fake;
}

u32 fake_smmu_prod(struct fake_smmu *fake)
{
	return le32_to_cpu(READ_ONCE(fake->prod));
}

bool fake_smmu_next(struct fake_smmu *fake, u64 cmd[2])
{
	u32 mask = (1U << fake->smmu.cmdq.q.llq.max_n_shift) - 1;

	if ((fake_smmu_prod(fake) & (mask << 1 | 1)) == fake->read)
		return false;
	cmd[0] = le64_to_cpu(fake->queue[2 * (fake->read & mask)]);
	cmd[1] = le64_to_cpu(fake->queue[2 * (fake->read & mask) + 1]);
	fake->read = (fake->read + 1) & (mask << 1 | 1);
	return true;
}

/* Skip the commands issued so far */
void fake_smmu_drain(struct fake_smmu *fake)
{
	u64 cmd[2];

	while (fake_smmu_next(fake, cmd))
		;
}

/* From here on only fake_smmu_consume() consumes commands */
void fake_smmu_hold(struct fake_smmu *fake)
{
	fake->held = ktime_get();
	fake->cons = READ_ONCE(fake->prod);
	WRITE_ONCE(fake->smmu.cmdq.q.cons_reg,
		   (__force u32 __iomem *)&fake->cons);
}

void fake_smmu_consume(struct fake_smmu *fake, u32 cons)
{
	WRITE_ONCE(fake->cons, cpu_to_le32(cons));
}

void fake_expect_cmd(struct fake_smmu *fake, u64 word_0, u64 word_1, int line)
{
	u64 cmd[2];

	if (!fake_smmu_next(fake, cmd)) {
		KUNIT_FAIL(fake->test,
			   "line %d: no command, want %016llx %016llx", line,
			   word_0, word_1);
		return;
	}
	KUNIT_EXPECT_EQ_MSG(fake->test, cmd[0], word_0, "line %d", line);
	KUNIT_EXPECT_EQ_MSG(fake->test, cmd[1], word_1, "line %d", line);
}

void fake_expect_sync(struct fake_smmu *fake, int line)
{
	u64 cmd[2];

	if (!fake_smmu_next(fake, cmd)) {
		KUNIT_FAIL(fake->test, "line %d: no CMD_SYNC", line);
		return;
	}
	KUNIT_EXPECT_EQ_MSG(fake->test, cmd[0] & 0xff, OP_SYNC, "line %d",
			    line);
}

void fake_expect_none(struct fake_smmu *fake, int line)
{
	u64 cmd[2];

	while (fake_smmu_next(fake, cmd))
		KUNIT_FAIL(fake->test, "line %d: not wanted: %016llx %016llx",
			   line, cmd[0], cmd[1]);
}

struct fake_s2 *fake_s2_alloc(struct kunit *test, struct fake_smmu *fake)
{
	struct fake_s2 *s2 = kunit_kzalloc(test, sizeof(*s2), GFP_KERNEL);
	struct io_pgtable_cfg *cfg;

	KUNIT_ASSERT_NOT_NULL(test, s2);
	s2->domain.stage = ARM_SMMU_DOMAIN_S2;
	s2->domain.nest_parent = true;
	s2->domain.smmu = &fake->smmu;
	s2->domain.pgtbl_ops = &s2->pgtable.ops;
	s2->domain.domain.type = IOMMU_DOMAIN_UNMANAGED;
	s2->domain.domain.ops = arm_smmu_ops.default_domain_ops;
	s2->domain.domain.owner = &fake->ops;
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

struct fake_dev *fake_dev_alloc(struct kunit *test, struct fake_smmu *fake,
				u32 sid)
{
	struct fake_dev *fdev = kunit_kzalloc(test, sizeof(*fdev), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, fdev);
	fdev->fake = fake;
	fdev->dev = &fdev->pci.dev;
	fdev->pci.dev.init_name = "fake-dev";
	fdev->pci.error_state = pci_channel_io_normal;
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

struct arm_smmu_master *fake_master(struct fake_dev *fdev)
{
	return dev_iommu_priv_get(fdev->dev);
}

/*
 * Config space. The STE must have EATS set as long as ATS is enabled, and a VM
 * must not be able to send an ATC_INV while it is disabled.
 */
#define FAKE_ATS_CAP		0x100

static int fake_pci_read(struct pci_bus *bus, unsigned int devfn, int where,
			 int size, u32 *val)
{
	struct fake_dev *fdev = container_of(bus, struct fake_dev, bus);

	*val = 0;
	if (where == FAKE_ATS_CAP + PCI_ATS_CTRL)
		*val = fdev->ats_ctrl;
	if (!fdev->cxl)
		return 0;
	/* The DVSEC replaces the ATS capability, with other registers */
	switch (where - FAKE_ATS_CAP) {
	case 0:
		*val = PCI_EXT_CAP_ID_DVSEC | 1 << 16;
		break;
	case PCI_DVSEC_HEADER1:
		*val = 0x1e98;
		break;
	case PCI_DVSEC_HEADER2:
		*val = 0;
		break;
	case 0xa:
		*val = fdev->cxl_cap;
		break;
	}
	return 0;
}

static int fake_pci_write(struct pci_bus *bus, unsigned int devfn, int where,
			  int size, u32 val)
{
	struct fake_dev *fdev = container_of(bus, struct fake_dev, bus);
	struct fake_smmu *fake = fdev->fake;
	u64 word_1 = le64_to_cpu(fake->stes[fdev->streams[0].id].data[1]);

	KUNIT_EXPECT_EQ(fake->test, where, FAKE_ATS_CAP + PCI_ATS_CTRL);
	/* The STU can be written at any time while ATS is off */
	if ((val | fdev->ats_ctrl) & PCI_ATS_CTRL_ENABLE)
		KUNIT_EXPECT_EQ(fake->test, word_1 & STE_1_EATS(3),
				STE_1_EATS(1));
	KUNIT_EXPECT_FALSE(fake->test, fdev->master.guest_ats);
	fdev->ats_ctrl = val;
	fdev->ats_prod = fake_smmu_prod(fake);
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

/* Add ATS, which needs CONFIG_PCI_ATS. With a @pf the device is its VF. */
void fake_dev_add_ats(struct fake_dev *fdev, struct fake_dev *pf)
{
	fdev->fake->smmu.features |= ARM_SMMU_FEAT_ATS;
	fdev->fwspec.flags |= IOMMU_FWSPEC_PCI_RC_ATS;
	fdev->bus.ops = &fake_pci_ops;
	fdev->pci.dev.bus = &pci_bus_type;
	fdev->pci.bus = &fdev->bus;
	fdev->pci.cfg_size = PCI_CFG_SPACE_EXP_SIZE;
#ifdef CONFIG_PCI_ATS
	fdev->pci.ats_cap = FAKE_ATS_CAP;
	if (pf) {
		/* The STU of the PF differs: ATS of the VF cannot be enabled */
		pf->pci.ats_stu = 16;
		fdev->pci.is_virtfn = 1;
		fdev->pci.physfn = &pf->pci;
	}
#endif
	/* Same as arm_smmu_probe_device() */
	fdev->master.ats_prepared = !pci_prepare_ats(&fdev->pci, 12);
}

KUNIT_DEFINE_ACTION_WRAPPER(fake_vdevs_free, xa_destroy, struct xarray *);

struct arm_vsmmu *fake_vsmmu_alloc(struct kunit *test, struct fake_smmu *fake,
				   struct fake_s2 *s2)
{
	/* With room for a CMDQV */
	struct arm_vcmdqv *vcmdqv = kunit_kzalloc(test, sizeof(*vcmdqv),
						  GFP_KERNEL);
	struct arm_vsmmu *vsmmu = &vcmdqv->vsmmu;

	KUNIT_ASSERT_NOT_NULL(test, vcmdqv);
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

int fake_vdev_add(struct arm_vsmmu *vsmmu, struct fake_dev *fdev, u64 virt_id)
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

void fake_vdev_del(struct arm_vsmmu *vsmmu, struct fake_dev *fdev)
{
	xa_erase(&vsmmu->core.vdevs, fdev->vdev.virt_id);
	vsmmu->core.ops->vdevice_destroy(&fdev->vdev);
}

void __user *fake_user_alloc(struct kunit *test, size_t size)
{
	unsigned long addr;

	addr = kunit_vm_mmap(test, NULL, 0, PAGE_ALIGN(size),
			     PROT_READ | PROT_WRITE,
			     MAP_ANONYMOUS | MAP_PRIVATE, 0);
	KUNIT_ASSERT_NE(test, addr, 0);
	KUNIT_ASSERT_FALSE(test, IS_ERR_VALUE(addr));
	return (void __user *)addr;
}

/* Make a nested domain of a guest's STE, like a VMM */
struct iommu_domain *fake_nested_alloc(struct arm_vsmmu *vsmmu,
				       void __user *user, u64 word_0,
				       u64 word_1)
{
	const __le64 ste[2] = { cpu_to_le64(word_0), cpu_to_le64(word_1) };
	const struct iommu_user_data data = {
		.type = IOMMU_HWPT_DATA_ARM_SMMUV3,
		.uptr = user,
		.len = sizeof(ste),
	};
	struct iommu_domain *domain;

	if (copy_to_user(user, ste, sizeof(ste)))
		return ERR_PTR(-EFAULT);
	domain = vsmmu->core.ops->alloc_domain_nested(&vsmmu->core, 0, &data);
	if (!IS_ERR(domain))
		domain->owner = vsmmu->core.iommu_dev->ops;
	return domain;
}

/* Attach to a stage 2, or to nothing */
int fake_attach_bare(struct fake_dev *fdev, struct fake_s2 *s2)
{
	struct iommu_domain *domain = s2 ? &s2->domain.domain :
					   arm_smmu_ops.blocked_domain;

	return domain->ops->attach_dev(domain, fdev->dev);
}

int fake_attach_nested(struct fake_dev *fdev, struct iommu_domain *domain)
{
	return domain->ops->attach_dev(domain, fdev->dev);
}

struct arm_smmu_s2_tag *fake_get_tag(struct fake_dev *fdev,
				     struct iommu_domain *domain)
{
	struct arm_smmu_domain *s2 = to_smmu_domain(domain);
	struct arm_smmu_s2_owner *owner = NULL;
	struct arm_smmu_s2_tag *tag;

	if (domain->type == IOMMU_DOMAIN_NESTED) {
		s2 = arm_smmu_nested_parent(domain);
		owner = &to_smmu_nested_domain(domain)->vsmmu->s2_owner;
	}
	mutex_lock(&arm_smmu_asid_lock);
	tag = arm_smmu_s2_get_tag(fake_master(fdev), s2, owner);
	mutex_unlock(&arm_smmu_asid_lock);
	return tag;
}

void fake_put_tag(struct arm_smmu_s2_tag *tag, bool guest)
{
	mutex_lock(&arm_smmu_asid_lock);
	arm_smmu_s2_put_tag(tag, guest);
	mutex_unlock(&arm_smmu_asid_lock);
}

struct fake_vm *fake_vm_alloc(struct kunit *test, u32 features,
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
	vm->tag = fake_get_tag(vm->fdev, &vm->nested.domain);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, vm->tag);
	/* This must not be the first VMID, so that it shows in commands */
	vm->tag->vmid = 0x1234;
	return vm;
}

void fake_vm_free(struct fake_vm *vm)
{
	vm->tag->vmid = 1;
	fake_put_tag(vm->tag, true);
}

int fake_inval(struct arm_vsmmu *vsmmu, void __user *user, size_t entry_len,
	       u32 *num)
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

/* Issue a command. Returns the errno, and fails if entry_num is wrong. */
int fake_inval_one(struct kunit *test, struct fake_vm *vm, u64 word_0,
		   u64 word_1)
{
	const __le64 cmd[2] = { cpu_to_le64(word_0), cpu_to_le64(word_1) };
	u32 num = 1;
	int ret;

	if (copy_to_user(vm->user, cmd, sizeof(cmd)))
		return -EFAULT;
	ret = fake_inval(vm->vsmmu, vm->user, sizeof(cmd), &num);
	if (num != !ret)
		KUNIT_FAIL(test, "%016llx %016llx: errno %d, entry_num %u",
			   word_0, word_1, ret, num);
	return ret;
}

void fake_write(struct kunit *test, u64 __user *user, unsigned int i,
		u64 word_0, u64 word_1)
{
	const __le64 cmd[2] = { cpu_to_le64(word_0), cpu_to_le64(word_1) };

	KUNIT_ASSERT_EQ(test, 0, copy_to_user(user + 2 * i, cmd, sizeof(cmd)));
}

void fake_nested_init(struct arm_smmu_nested_domain *nested,
		      struct arm_vsmmu *vsmmu, u64 word_0)
{
	nested->domain.type = IOMMU_DOMAIN_NESTED;
	nested->vsmmu = vsmmu;
	nested->ste[0] = cpu_to_le64(word_0);
}

void fake_expect_clean(struct kunit *test, struct fake_smmu *fake,
		       struct fake_s2 *s2)
{
	KUNIT_EXPECT_TRUE(test, ida_is_empty(&fake->smmu.vmid_map));
	KUNIT_EXPECT_TRUE(test, list_empty(&s2->domain.s2_tags));
	expect_none(fake);
}

unsigned int fake_count_devices(struct fake_s2 *s2)
{
	return list_count_nodes(&s2->domain.devices);
}

void fake_expect_stes(struct fake_smmu *fake, u32 sid, unsigned int syncs)
{
	while (syncs--) {
		expect_cmd(fake, OP_CFGI_STE | CMD_SID(sid), 1);
		expect_sync(fake);
	}
}

struct iommufd_veventq *fake_veventq_add(struct kunit *test,
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

struct fake_evtq *fake_evtq_alloc(struct kunit *test, struct fake_smmu *fake,
				  unsigned int shift)
{
	struct fake_evtq *evtq = kunit_kzalloc(test, sizeof(*evtq), GFP_KERNEL);
	struct arm_smmu_queue *q = &fake->smmu.evtq.q;

	KUNIT_ASSERT_NOT_NULL(test, evtq);
	evtq->queue = kunit_kcalloc(test, 1U << shift, 32, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, evtq->queue);
	evtq->fake = fake;
	q->llq.max_n_shift = shift;
	q->base = evtq->queue;
	q->ent_dwords = 4;
	q->prod_reg = (__force u32 __iomem *)&evtq->prod;
	q->cons_reg = (__force u32 __iomem *)&evtq->cons;
	return evtq;
}

/* Write an event, like an SMMU. Returns false if the queue is full. */
bool fake_evtq_write(struct fake_evtq *evtq, const u64 evt[4])
{
	unsigned int shift = evtq->fake->smmu.evtq.q.llq.max_n_shift;
	u32 prod = le32_to_cpu(evtq->prod), ovf = prod & EVTQ_OVF;
	u32 cons = le32_to_cpu(READ_ONCE(evtq->cons));
	u32 mask = (1U << shift) - 1;
	unsigned int i;

	prod &= ~EVTQ_OVF;
	if ((prod ^ cons ^ 1U << shift) << (31 - shift) == 0) {
		/*
		 * The flag toggles once, and not again before the driver has
		 * acknowledged it
		 */
		WRITE_ONCE(evtq->prod, cpu_to_le32(prod | (~cons & EVTQ_OVF)));
		return false;
	}
	for (i = 0; i < 4; i++)
		evtq->queue[4 * (prod & mask) + i] = cpu_to_le64(evt[i]);
	prod = (prod + 1) & (mask << 1 | 1);
	/* A reader of this PROD must find the record */
	smp_store_release(&evtq->prod, cpu_to_le32(prod | ovf));
	return true;
}

/* Check for an overflow that the driver has not acknowledged */
bool fake_evtq_overflown(struct fake_evtq *evtq)
{
	return (evtq->prod ^ evtq->cons) & cpu_to_le32(EVTQ_OVF);
}

void fake_evtq_handle(struct fake_evtq *evtq)
{
	arm_smmu_evtq_thread(0, &evtq->fake->smmu);
}

void fake_stream_add(struct fake_dev *fdev)
{
	struct arm_smmu_device *smmu = &fdev->fake->smmu;
	struct rb_node **link = &smmu->streams.rb_node, *parent = NULL;
	struct arm_smmu_stream *stream = &fake_master(fdev)->streams[0];

	while (*link) {
		parent = *link;
		link = stream->id < rb_entry(parent, struct arm_smmu_stream,
					     node)->id ?
		       &parent->rb_left : &parent->rb_right;
	}
	rb_link_node(&stream->node, parent, link);
	rb_insert_color(&stream->node, &smmu->streams);
}

/*
 * Devices that the IOMMU core knows, in a group and with a default domain. They
 * differ from devices described by firmware only in probe_device() and
 * device_group(), which have no tables to read.
 */
static struct iommu_device *fake_probe_device(struct device *dev)
{
	struct fake_dev *fdev = dev_get_drvdata(dev);
	struct arm_smmu_master *master;

	master = kmemdup(&fdev->master, sizeof(*master), GFP_KERNEL);
	if (!master)
		return ERR_PTR(-ENOMEM);
	master->streams = kmemdup(fdev->streams, sizeof(fdev->streams),
				  GFP_KERNEL);
	if (!master->streams) {
		kfree(master);
		return ERR_PTR(-ENOMEM);
	}
	master->dev = dev;
	master->streams[0].master = master;
	dev_iommu_priv_set(dev, master);
	fdev->dev = dev;
	fdev->idev.dev = dev;
	fake_stream_add(fdev);
	return &fdev->fake->smmu.iommu;
}

static struct iommu_group *fake_device_group(struct device *dev)
{
	struct fake_dev *fdev = dev_get_drvdata(dev);

	if (!fdev->in_group_of)
		return generic_device_group(dev);
	return iommu_group_ref_get(fdev->in_group_of->dev->iommu_group);
}

static int fake_def_domain_type(struct device *dev)
{
	return IOMMU_DOMAIN_IDENTITY;
}

KUNIT_DEFINE_ACTION_WRAPPER(fake_swnode_remove, fwnode_remove_software_node,
			    struct fwnode_handle *);
KUNIT_DEFINE_ACTION_WRAPPER(fake_sysfs_remove, iommu_device_sysfs_remove,
			    struct iommu_device *);
KUNIT_DEFINE_ACTION_WRAPPER(fake_iommu_unregister, iommu_device_unregister,
			    struct iommu_device *);

/* Register the SMMU with the core */
void fake_smmu_register(struct fake_smmu *fake)
{
	struct iommu_device *iommu = &fake->smmu.iommu;
	struct kunit *test = fake->test;
	struct platform_device *pdev;
	struct fwnode_handle *fwnode;

	fwnode = fwnode_create_software_node(NULL, NULL);
	KUNIT_ASSERT_FALSE(test, IS_ERR(fwnode));
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, fake_swnode_remove,
						  fwnode));
	/* This device is never added. CD tables are allocated for it. */
	pdev = kunit_platform_device_alloc(test, "fake-smmu",
					   PLATFORM_DEVID_NONE);
	KUNIT_ASSERT_NOT_NULL(test, pdev);
	pdev->dev.fwnode = fwnode;
	pdev->dev.init_name = "fake-smmu";
	fake->smmu.dev = &pdev->dev;

	KUNIT_ASSERT_EQ(test, 0,
			iommu_device_sysfs_add(iommu, NULL, NULL, "fake-smmu"));
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, fake_sysfs_remove,
						  iommu));

	fake->ops = arm_smmu_ops;
	fake->ops.owner = THIS_MODULE;
	fake->ops.probe_device = fake_probe_device;
	fake->ops.probe_finalize = NULL;
	fake->ops.device_group = fake_device_group;
	fake->ops.def_domain_type = fake_def_domain_type;
	fake->ops.get_resv_regions = NULL;
	KUNIT_ASSERT_EQ(test, 0,
			iommu_device_register(iommu, &fake->ops, &pdev->dev));
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, fake_iommu_unregister,
						  iommu));
}

KUNIT_DEFINE_ACTION_WRAPPER(fake_pdev_del, platform_device_del,
			    struct platform_device *);

/* Register a device behind a registered SMMU with the core, and probe it */
void fake_dev_probe(struct fake_dev *fdev, struct fake_dev *in_group_of)
{
	struct kunit *test = fdev->fake->test;
	struct platform_device *pdev;
	struct iommu_fwspec *fwspec;
	struct device *dev;

	pdev = kunit_platform_device_alloc(test, "fake-dev",
					   fdev->streams[0].id);
	KUNIT_ASSERT_NOT_NULL(test, pdev);
	dev = &pdev->dev;
	fdev->in_group_of = in_group_of;
	dev_set_drvdata(dev, fdev);

	/* Same as iommu_fwspec_init(). The core frees both. */
	dev->iommu = kzalloc(sizeof(*dev->iommu), GFP_KERNEL);
	fwspec = kzalloc(struct_size(fwspec, ids, 1), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, dev->iommu);
	KUNIT_ASSERT_NOT_NULL(test, fwspec);
	mutex_init(&dev->iommu->lock);
	fwspec->iommu_fwnode = fwnode_handle_get(fdev->fake->smmu.iommu.fwnode);
	fwspec->flags = fdev->fwspec.flags;
	fwspec->num_ids = 1;
	fwspec->ids[0] = fdev->streams[0].id;
	dev->iommu->fwspec = fwspec;

	KUNIT_ASSERT_EQ(test, 0, platform_device_add(pdev));
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, fake_pdev_del, pdev));
	KUNIT_ASSERT_PTR_EQ(test, fdev->dev, dev);
	KUNIT_ASSERT_NOT_NULL(test, dev->iommu_group);
}

/* Remove the device: the core detaches it, and the driver frees its master */
void fake_dev_unplug(struct fake_dev *fdev)
{
	kunit_release_action(fdev->fake->test, fake_pdev_del,
			     to_platform_device(fdev->dev));
}

/*
 * Undo fake_smmu_hold(). Return false if the driver may have given up on the
 * held SMMU, because the CPUs were busy. The result then says nothing about the
 * driver.
 */
bool fake_smmu_go_on(struct fake_smmu *fake)
{
	WRITE_ONCE(fake->smmu.cmdq.q.cons_reg,
		   (__force u32 __iomem *)&fake->prod);
	return ktime_us_delta(ktime_get(), fake->held) <
	       ARM_SMMU_POLL_TIMEOUT_US / 2;
}

/*
 * A thread that may spin with interrupts off until the SMMU continues, so it
 * must run on another CPU than the test. Create it before the SMMU is held,
 * because this needs a free CPU, too. The thread uses the user memory of the
 * test.
 */
static int fake_thread_fn(void *arg)
{
	struct fake_thread *thread = arg;

	current->kunit_test = thread->test;
	if (thread->mm)
		kthread_use_mm(thread->mm);
	thread->ret = thread->fn(thread);
	if (thread->mm)
		kthread_unuse_mm(thread->mm);
	WRITE_ONCE(thread->done, true);
	return 0;
}

void fake_thread_init(struct kunit *test, struct fake_thread *thread,
		      int (*fn)(struct fake_thread *thread), bool other_cpu)
{
	unsigned int cpu;

	thread->test = test;
	thread->fn = fn;
	thread->mm = current->mm;
	thread->task = kthread_create(fake_thread_fn, thread, "fake_thread");
	KUNIT_ASSERT_FALSE(test, IS_ERR(thread->task));
	cpu = raw_smp_processor_id();
	if (other_cpu)
		cpu = cpumask_any_but(cpu_online_mask, cpu);
	kthread_bind(thread->task, cpu);
	get_task_struct(thread->task);
}

void fake_thread_go(struct fake_thread *thread)
{
	wake_up_process(thread->task);
}

/* Wait until the thread sleeps, blocked by another thread, or exits */
bool fake_thread_sleeps(struct fake_thread *thread)
{
	unsigned int state = 0;
	bool done;

	fake_wait((done = READ_ONCE(thread->done)) ||
		  ((state = READ_ONCE(thread->task->__state)) &
		   TASK_UNINTERRUPTIBLE));
	return !done && state & TASK_UNINTERRUPTIBLE;
}

void fake_thread_join(struct fake_thread *thread)
{
	kthread_stop(thread->task);
	put_task_struct(thread->task);
}

/* Repeat a check until it returns true, as fake_smmu_go_on() does */
void fake_until_in_time(struct kunit *test, bool (*check)(struct kunit *test))
{
	unsigned int tries;

	for (tries = 20; tries; tries--)
		if (check(test))
			return;
	KUNIT_FAIL(test, "no time to look");
}

/* Wait for a command after those already read */
bool fake_smmu_wait_cmd(struct fake_smmu *fake)
{
	return fake_wait(fake_smmu_prod(fake) != fake->read);
}
