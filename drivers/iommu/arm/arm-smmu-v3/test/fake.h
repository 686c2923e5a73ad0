/* SPDX-License-Identifier: GPL-2.0 */
/*
 * KUnit tests of nested translation: the fake SMMU and its devices.
 *
 * The tests check the commands and STEs that reach the SMMU. Their fake SMMU
 * therefore forgets nothing: the PROD and CONS registers of its command queue
 * are the same word of ordinary memory, so every command counts as consumed as
 * soon as it is published, and stays in the queue for the test to read. No part
 * of the driver is replaced. Only the device and its bus are missing.
 *
 * The expected values are written down here a second time, as numbers from Arm
 * IHI 0070 and from the uAPI. They must not use the driver's macros: a wrong
 * mask would then be wrong on both sides.
 */
#ifndef _ARM_SMMU_V3_TEST_FAKE_H
#define _ARM_SMMU_V3_TEST_FAKE_H

#include <kunit/test.h>
#include <linux/delay.h>
#include <linux/io-pgtable.h>
#include <linux/pci.h>
#include <linux/uaccess.h>

#include "../../../iommu-priv.h"
#include "../../../iommufd/iommufd_private.h"
#include "../arm-smmu-v3-iommufd.h"

#define BITS_64(_hi, _lo)	GENMASK_ULL(_hi, _lo)

/* Opcodes, Arm IHI 0070, 4.1 */
#define OP_CFGI_STE		0x03
#define OP_CFGI_CD		0x05
#define OP_CFGI_CD_ALL		0x06
#define OP_TLBI_NH_ALL		0x10
#define OP_TLBI_NH_ASID		0x11
#define OP_TLBI_NH_VA		0x12
#define OP_TLBI_NH_VAA		0x13
#define OP_TLBI_EL2_ASID	0x21
#define OP_TLBI_EL2_VA		0x22
#define OP_TLBI_S12_VMALL	0x28
#define OP_TLBI_S2_IPA		0x2a
#define OP_TLBI_NSNH_ALL	0x30
#define OP_ATC_INV		0x40
#define OP_RESUME		0x44
#define OP_SYNC			0x46

/* Word 0 of commands: StreamID and VMID share the same bits */
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

/* An SMMU that forgets nothing */
struct fake_smmu {
	struct arm_smmu_device smmu;
	/* Set by fake_smmu_register() */
	struct iommu_ops ops;
	struct kunit *test;
	/* PROD and CONS, with the wrap bit. A held queue uses CONS. */
	__le32 prod;
	__le32 cons;
	ktime_t held;
	/* The index up to which the test has read */
	u32 read;
	__le32 regs[8];
	__le64 *queue;
	struct arm_smmu_ste stes[FAKE_SIDS];
};

struct fake_smmu *fake_smmu_alloc(struct kunit *test, unsigned int shift);
bool fake_smmu_next(struct fake_smmu *fake, u64 cmd[2]);
void fake_smmu_drain(struct fake_smmu *fake);
u32 fake_smmu_prod(struct fake_smmu *fake);
void fake_smmu_hold(struct fake_smmu *fake);
void fake_smmu_consume(struct fake_smmu *fake, u32 cons);
bool fake_smmu_go_on(struct fake_smmu *fake);
bool fake_smmu_wait_cmd(struct fake_smmu *fake);
void fake_smmu_register(struct fake_smmu *fake);

/*
 * Wait for a condition that another thread makes true, for @_ms. Return whether
 * it is true. On a busy machine, a thread may not run for seconds.
 */
#define fake_wait_ms(_ms, _cond)					\
({									\
	unsigned long _end = jiffies + msecs_to_jiffies(_ms);		\
	bool _met;							\
									\
	while (!(_met = (_cond)) && time_before(jiffies, _end))		\
		usleep_range(100, 200);					\
	_met;								\
})
#define fake_wait(_cond)	fake_wait_ms(30 * MSEC_PER_SEC, _cond)

/* A thread that has to wait for the SMMU, or for another thread */
struct fake_thread {
	/* The static stubs of this test are active in the thread, too */
	struct kunit *test;
	struct task_struct *task;
	struct mm_struct *mm;
	int (*fn)(struct fake_thread *thread);
	/* The object that @fn works on */
	void *arg;
	int ret;
	bool done;
};

void fake_thread_init(struct kunit *test, struct fake_thread *thread,
		      int (*fn)(struct fake_thread *thread), bool other_cpu);
void fake_thread_go(struct fake_thread *thread);
bool fake_thread_sleeps(struct fake_thread *thread);
void fake_thread_join(struct fake_thread *thread);
void fake_until_in_time(struct kunit *test, bool (*check)(struct kunit *test));

/* Expect the given command next, any CMD_SYNC, or no command */
void fake_expect_cmd(struct fake_smmu *fake, u64 word_0, u64 word_1, int line);
void fake_expect_sync(struct fake_smmu *fake, int line);
void fake_expect_none(struct fake_smmu *fake, int line);
#define expect_cmd(_fake, _word_0, _word_1) \
	fake_expect_cmd(_fake, _word_0, _word_1, __LINE__)
#define expect_sync(_fake)	fake_expect_sync(_fake, __LINE__)
#define expect_none(_fake)	fake_expect_none(_fake, __LINE__)

/* A nesting parent, or a plain stage 2 */
struct fake_s2 {
	struct arm_smmu_domain domain;
	struct io_pgtable pgtable;
};

#define FAKE_VTTBR		0x123456789000ULL

/*
 * S2T0SZ 20, S2SL0 2, S2IR0 1, S2OR0 1, S2SH0 3, S2TG 0, S2PS 4; S2AA64, S2PTW,
 * S2R; and S2ENDI in a big-endian kernel
 */
#define FAKE_STE_2							\
	((u64)(20 | 2 << 6 | 1 << 8 | 1 << 10 | 3 << 12 | 4 << 16) << 32 | \
	 BIT_ULL(51) |							\
	 (IS_ENABLED(CONFIG_CPU_BIG_ENDIAN) ? BIT_ULL(52) : 0) |	\
	 BIT_ULL(54) | BIT_ULL(58))

struct fake_s2 *fake_s2_alloc(struct kunit *test, struct fake_smmu *fake);

#define FAKE_STREAMS		3

/*
 * A device, and its vDEVICE if any. It is a PCI device if it has ATS. After
 * fake_dev_probe() it is a platform device with a copy of @master, which the
 * driver frees.
 */
struct fake_dev {
	struct device *dev;
	struct pci_dev pci;
	struct pci_bus bus;
	struct fake_smmu *fake;
	struct fake_dev *in_group_of;
	/* The ATS control register; a write to it unmaps from @unmap */
	u16 ats_ctrl;
	struct fake_s2 *unmap;
	/* PROD of the command queue at the time of the write */
	u32 ats_prod;
	/* Whether it has the DVSEC of a CXL device, with these capabilities */
	bool cxl;
	u16 cxl_cap;
	struct dev_iommu iommu;
	struct iommu_fwspec fwspec;
	struct arm_smmu_master master;
	struct arm_smmu_stream streams[FAKE_STREAMS];
	struct iommufd_device idev;
	struct iommufd_vdevice vdev;
};

struct fake_dev *fake_dev_alloc(struct kunit *test, struct fake_smmu *fake,
				u32 sid);
void fake_dev_add_ats(struct fake_dev *fdev, struct fake_dev *pf);
struct arm_smmu_master *fake_master(struct fake_dev *fdev);
void fake_stream_add(struct fake_dev *fdev);
void fake_dev_probe(struct fake_dev *fdev, struct fake_dev *in_group_of);
void fake_dev_unplug(struct fake_dev *fdev);

/* vSMMUs, vDEVICEs and nested domains */
struct arm_vsmmu *fake_vsmmu_alloc(struct kunit *test, struct fake_smmu *fake,
				   struct fake_s2 *s2);
int fake_vdev_add(struct arm_vsmmu *vsmmu, struct fake_dev *fdev, u64 virt_id);
void fake_vdev_del(struct arm_vsmmu *vsmmu, struct fake_dev *fdev);
void __user *fake_user_alloc(struct kunit *test, size_t size);
struct iommu_domain *fake_nested_alloc(struct arm_vsmmu *vsmmu,
				       void __user *user, u64 word_0,
				       u64 word_1);
void fake_nested_init(struct arm_smmu_nested_domain *nested,
		      struct arm_vsmmu *vsmmu, u64 word_0);

int fake_attach_bare(struct fake_dev *fdev, struct fake_s2 *s2);
int fake_attach_nested(struct fake_dev *fdev, struct iommu_domain *domain);
struct arm_smmu_s2_tag *fake_get_tag(struct fake_dev *fdev,
				     struct iommu_domain *domain);
void fake_put_tag(struct arm_smmu_s2_tag *tag, bool guest);
unsigned int fake_count_devices(struct fake_s2 *s2);
void fake_expect_stes(struct fake_smmu *fake, u32 sid, unsigned int syncs);
void fake_expect_clean(struct kunit *test, struct fake_smmu *fake,
		       struct fake_s2 *s2);

/* A VM with one device, which is enough for most tests of commands */
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

struct fake_vm *fake_vm_alloc(struct kunit *test, u32 features,
			      unsigned int shift, size_t user_size);
void fake_vm_free(struct fake_vm *vm);
int fake_inval(struct arm_vsmmu *vsmmu, void __user *user, size_t entry_len,
	       u32 *num);
int fake_inval_one(struct kunit *test, struct fake_vm *vm, u64 word_0,
		   u64 word_1);
void fake_write(struct kunit *test, u64 __user *user, unsigned int i,
		u64 word_0, u64 word_1);

/* A guest's STE with every permitted bit set, and the physical STE for it */
#define GUEST_S1_0 (STE_S1 | 2 << 4 | 0xbcdef012340ULL | 7ULL << 59)
#define GUEST_S1_1 0xe6ULL
#define WANT_S1_0 (GUEST_S1_0 ^ STE_CFG(5) ^ STE_CFG(7))
#define WANT_S1_1 (GUEST_S1_1 | STE_1_MEV)
#define WANT_2 (FAKE_STE_2 | 0x1234)

#define FAKE_EVENTS		3

struct fake_event {
	struct iommufd_vevent_header header;
	__le64 evt[4];
};

struct iommufd_veventq *fake_veventq_add(struct kunit *test,
					 struct arm_vsmmu *vsmmu);

/* The event queue: the SMMU writes to it, the driver's own thread reads it */
#define FAKE_EVTQ_SHIFT		4
#define EVTQ_OVF		BIT(31)

struct fake_evtq {
	struct fake_smmu *fake;
	__le64 *queue;
	__le32 prod;
	__le32 cons;
};

struct fake_evtq *fake_evtq_alloc(struct kunit *test, struct fake_smmu *fake,
				  unsigned int shift);
bool fake_evtq_write(struct fake_evtq *evtq, const u64 evt[4]);
bool fake_evtq_overflown(struct fake_evtq *evtq);
void fake_evtq_handle(struct fake_evtq *evtq);

#endif
