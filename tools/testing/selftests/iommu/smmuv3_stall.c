// SPDX-License-Identifier: GPL-2.0-only
/*
 * Stalls and page faults of nested HWPTs, judged by DMA: the device is an edu-pcie
 * that waits for the answer to a fault, and has the PCI ID of a device of which the
 * kernel knows that it does (quirk_huawei_pcie_sva())
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "smmuv3_vm.h"

#define STALL_ID	0xa25019e5
#define CD0_S		BIT_ULL(44)
#define CD_SIZE		64

static void s1_can_stall(struct vm *vm, __u64 cd)
{
	guest_write64(&vm->g, cd, guest_read64(&vm->g, cd) | CD0_S);
}

static bool forced(struct vm *vm)
{
	return IDR0_STALL_FORCE(vm->dev.info.idr[0]);
}

static int s1_cannot_stall(struct vm *vm, __u64 cd)
{
	/* There is no other CD */
	if (forced(vm))
		return 0;
	guest_write64(&vm->g, cd, guest_read64(&vm->g, cd) & ~CD0_S);
	return vm_cmd(vm, cmd_cfgi_cd(VSID));
}

/* A fault queue, and the HWPT of an STE that reports faults there */
struct faults {
	__u32 id;
	int fd;
	__u32 hwpt;
};

static int faults_hwpt(struct vm *vm, struct faults *f,
		       struct iommu_hwpt_arm_smmuv3 ste)
{
	return iommufd_hwpt_alloc(vm->fd, vm->dev.dev_id, vm->v.viommu_id,
				  IOMMU_HWPT_FAULT_ID_VALID, f->id,
				  IOMMU_HWPT_DATA_ARM_SMMUV3, &ste, sizeof(ste),
				  &f->hwpt);
}

/* Return: whether there is a fault within two seconds */
static bool faults_next(struct faults *f, struct iommu_hwpt_pgfault *fault)
{
	struct pollfd pfd = { .fd = f->fd, .events = POLLIN };

	return poll(&pfd, 1, 2000) == 1 &&
	       read(f->fd, fault, sizeof(*fault)) == sizeof(*fault);
}

static bool faults_any(struct faults *f)
{
	struct pollfd pfd = { .fd = f->fd, .events = POLLIN };

	return poll(&pfd, 1, 0) == 1;
}

static bool faults_answer(struct faults *f, struct iommu_hwpt_pgfault *fault,
			  __u32 code)
{
	struct iommu_hwpt_page_response response = {
		.cookie = fault->cookie,
		.code = code,
	};

	return write(f->fd, &response, sizeof(response)) == sizeof(response);
}

static bool stalled(struct edu *dev)
{
	return edu_reg(dev, EDU_REG_STATUS) & EDU_STALLED;
}

/* A stall may be over at any time, but only an answer lets it begin again */
static bool stall_begins(struct edu *dev)
{
	int i;

	for (i = 0; !stalled(dev) && i != 2000; i++)
		usleep(1000);
	return stalled(dev);
}

static __u64 stalls(struct edu *dev)
{
	return edu_reg(dev, EDU_REG_STALLS);
}

static void stall_start(struct __test_metadata *_metadata, struct vm *vm,
			struct faults *f)
{
	char bdf[BDF_LEN], why[128];

	if (device_find(STALL_ID, bdf, why, sizeof(why)))
		SKIP(return, "%s", why);
	vm_start_on(_metadata, vm, bdf);
	if (_metadata->exit_code)
		return;
	vsmmu_start(_metadata, &vm->v, &vm->g, &vm->dev, VSID);
	if (_metadata->exit_code)
		return;
	s1_can_stall(vm, vm->v.cd);
	ASSERT_EQ(0, fault_alloc(vm->fd, &f->id, &f->fd));
	ASSERT_EQ(0, faults_hwpt(vm, f, ste_s1(vm->v.cd)));
	ASSERT_EQ(0, edu_attach(&vm->dev, f->hwpt));
}

FIXTURE(stall)
{
	struct vm vm;
	struct faults f;
};

FIXTURE_SETUP(stall)
{
	stall_start(_metadata, &self->vm, &self->f);
}

FIXTURE_TEARDOWN(stall)
{
	close(self->f.fd);
	vm_stop(_metadata, &self->vm);
}

/* Let the device write to @iova, where nothing is mapped */
static void stall_write(struct __test_metadata *_metadata, struct vm *vm,
			struct faults *f, __u64 iova,
			struct iommu_hwpt_pgfault *fault)
{
	__u64 had = stalls(&vm->dev);

	edu_write_start(&vm->dev, &vm->g, iova);
	ASSERT_TRUE(faults_next(f, fault));
	EXPECT_EQ(had + 1, stalls(&vm->dev));
	EXPECT_TRUE(stalled(&vm->dev));
	EXPECT_TRUE(edu_busy(&vm->dev));
	EXPECT_EQ(vm->dev.dev_id, fault->dev_id);
	EXPECT_EQ(iova, fault->addr);
	EXPECT_EQ(IOMMU_PGFAULT_PERM_WRITE, fault->perm);
	EXPECT_EQ(IOMMU_PGFAULT_FLAGS_LAST_PAGE, fault->flags);
	EXPECT_FALSE(faults_any(f));
}

TEST_F(stall, answered)
{
	struct vm *vm = &self->vm;
	struct iommu_hwpt_pgfault fault;
	__u64 a = guest_page(&vm->g);
	int i;

	for (i = 0; i != 3; i++) {
		__u64 iova = IOVA_A + 2 * i * GUEST_PAGE + 0x120;

		stall_write(_metadata, vm, &self->f, iova, &fault);
		vm_map(vm, iova, a);
		ASSERT_TRUE(faults_answer(&self->f, &fault,
					  IOMMUFD_PAGE_RESP_SUCCESS));
		EXPECT_EQ(a + 0x120, edu_write_end(&vm->dev, &vm->g, iova));
		EXPECT_FALSE(edu_failed(&vm->dev));
	}
	/* Without a fault, without a stall */
	i = stalls(&vm->dev);
	EXPECT_EQ(a, vm_lands(vm, IOVA_A));
	EXPECT_EQ(i, stalls(&vm->dev));
	EXPECT_EQ(0, klog_count(HOST_EVENT));
}

/* A read, and a fault that is answered without a change, and so occurs again */
TEST_F(stall, again)
{
	struct vm *vm = &self->vm;
	struct iommu_hwpt_pgfault fault, next;
	__u64 a = guest_page(&vm->g);

	stall_write(_metadata, vm, &self->f, IOVA_A, &fault);
	ASSERT_TRUE(faults_answer(&self->f, &fault, IOMMUFD_PAGE_RESP_SUCCESS));
	ASSERT_TRUE(faults_next(&self->f, &next));
	EXPECT_NE(fault.cookie, next.cookie);
	EXPECT_EQ(IOVA_A, next.addr);
	/* An answer that was used up */
	EXPECT_FALSE(faults_answer(&self->f, &fault,
				   IOMMUFD_PAGE_RESP_INVALID));
	EXPECT_TRUE(stalled(&vm->dev));
	/* The page is read-only: another fault, of permission */
	s1_map(&vm->g, vm->v.ttb, IOVA_A, a, S1_RO);
	ASSERT_TRUE(faults_answer(&self->f, &next, IOMMUFD_PAGE_RESP_SUCCESS));
	ASSERT_TRUE(faults_next(&self->f, &fault));
	vm_map(vm, IOVA_A, a);
	ASSERT_EQ(0, vm_cmd(vm, cmd_nh_va(any_vmid(), ASID, IOVA_A)));
	ASSERT_TRUE(faults_answer(&self->f, &fault, IOMMUFD_PAGE_RESP_SUCCESS));
	EXPECT_EQ(a, edu_write_end(&vm->dev, &vm->g, IOVA_A));
}

TEST_F(stall, refused)
{
	struct vm *vm = &self->vm;
	struct iommu_hwpt_pgfault fault;
	__u64 a = guest_page(&vm->g);
	int i;

	for (i = 0; i != 2; i++) {
		stall_write(_metadata, vm, &self->f, IOVA_A, &fault);
		/* Too late */
		vm_map(vm, IOVA_A, a);
		ASSERT_TRUE(faults_answer(&self->f, &fault,
					  IOMMUFD_PAGE_RESP_INVALID));
		EXPECT_EQ(NOWHERE, edu_write_end(&vm->dev, &vm->g, IOVA_A));
		EXPECT_TRUE(edu_failed(&vm->dev));
		EXPECT_EQ(a, vm_lands(vm, IOVA_A));
		s1_unmap(&vm->g, vm->v.ttb, IOVA_A);
		ASSERT_EQ(0, vm_cmd(vm, cmd_nh_all(any_vmid())));
	}
}

/* A device gets on although nobody has answered */
FIXTURE(left_over)
{
	struct vm vm;
	struct faults f;
};

FIXTURE_VARIANT(left_over)
{
	bool was_read;
	int (*end)(struct vm *vm, struct faults *f);
};

static int end_replace(struct vm *vm, struct faults *f)
{
	return edu_attach(&vm->dev, vm->v.hwpt_s1);
}

static int end_detach(struct vm *vm, struct faults *f)
{
	return edu_detach(&vm->dev);
}

FIXTURE_VARIANT_ADD(left_over, unread_replace)
{
	.end = end_replace,
};

FIXTURE_VARIANT_ADD(left_over, read_replace)
{
	.was_read = true,
	.end = end_replace,
};

FIXTURE_VARIANT_ADD(left_over, unread_detach)
{
	.end = end_detach,
};

FIXTURE_VARIANT_ADD(left_over, read_detach)
{
	.was_read = true,
	.end = end_detach,
};

FIXTURE_SETUP(left_over)
{
	stall_start(_metadata, &self->vm, &self->f);
}

FIXTURE_TEARDOWN(left_over)
{
	if (self->f.fd >= 0)
		close(self->f.fd);
	vm_stop(_metadata, &self->vm);
}

TEST_F(left_over, fails)
{
	struct vm *vm = &self->vm;
	struct iommu_hwpt_pgfault fault;
	__u64 a = guest_page(&vm->g), had;

	edu_write_start(&vm->dev, &vm->g, IOVA_A);
	ASSERT_TRUE(stall_begins(&vm->dev));
	if (variant->was_read)
		ASSERT_TRUE(faults_next(&self->f, &fault));
	ASSERT_EQ(0, variant->end(vm, &self->f));
	EXPECT_EQ(NOWHERE, edu_write_end(&vm->dev, &vm->g, IOVA_A));
	EXPECT_TRUE(edu_failed(&vm->dev));

	/* Without a fault queue nothing stalls, or the kernel ends it */
	ASSERT_EQ(0, edu_attach(&vm->dev, vm->v.hwpt_s1));
	ASSERT_EQ(0, s1_cannot_stall(vm, vm->v.cd));
	had = stalls(&vm->dev);
	EXPECT_EQ(NOWHERE, vm_lands(vm, IOVA_A));
	EXPECT_EQ(had + forced(vm), stalls(&vm->dev));
	vm_map(vm, IOVA_A, a);
	EXPECT_EQ(a, vm_lands(vm, IOVA_A));
}

/* The same for a VMM that closes everything, in any order */
FIXTURE(closed)
{
	struct vm vm;
	struct faults f;
};

FIXTURE_VARIANT(closed)
{
	bool queue_first;
};

FIXTURE_VARIANT_ADD(closed, queue_first)
{
	.queue_first = true,
};

FIXTURE_VARIANT_ADD(closed, device_first)
{
};

FIXTURE_SETUP(closed)
{
	stall_start(_metadata, &self->vm, &self->f);
}

FIXTURE_TEARDOWN(closed)
{
}

TEST_F(closed, is_over)
{
	struct vm *vm = &self->vm;
	char bdf[BDF_LEN];
	struct edu dev;
	__u32 ioas_id;
	int fd;

	edu_write_start(&vm->dev, &vm->g, IOVA_A);
	ASSERT_TRUE(stall_begins(&vm->dev));
	memcpy(bdf, vm->dev.bdf, sizeof(bdf));
	if (variant->queue_first) {
		ASSERT_EQ(0, close(self->f.fd));
		/* The VMM could as well not answer: its HWPT is still there */
		EXPECT_TRUE(stalled(&vm->dev));
	}
	edu_close(&vm->dev);
	close(vm->fd);
	if (!variant->queue_first)
		close(self->f.fd);

	/* Nothing is left for the next user of the device */
	ASSERT_EQ(0, bare_open(bdf, &fd, &ioas_id, &dev));
	EXPECT_FALSE(edu_busy(&dev));
	EXPECT_FALSE(stalled(&dev));
	EXPECT_TRUE(guests_intact());
	bare_close(fd, &dev);
	expect_clean_klog(_metadata);
}

/*
 * Without a fault queue the kernel sets S1STALLD, and a CD with S is ILLEGAL: the
 * guest gets an event for it, and nothing ever stalls
 */
TEST_F(stall, no_queue)
{
	struct vm *vm = &self->vm;
	__u64 had = stalls(&vm->dev);
	int queue;

	if (forced(vm))
		SKIP(return, "this SMMU has no S1STALLD");
	ASSERT_EQ(0, veventq_alloc(vm->fd, vm->v.viommu_id, QUEUE_DEPTH, NULL,
				   &queue));
	ASSERT_EQ(0, edu_attach(&vm->dev, vm->v.hwpt_s1));
	fault(&vm->dev, IOVA_A, false);
	expect_event(_metadata, queue, 0, EVT_BAD_CD, VSID, 0, 0);
	EXPECT_EQ(had, stalls(&vm->dev));
	ASSERT_EQ(0, s1_cannot_stall(vm, vm->v.cd));
	fault(&vm->dev, IOVA_A, false);
	expect_event(_metadata, queue, 1, EVT_TRANSLATION, VSID, EVT1_CLASS_IN,
		     IOVA_A);
	s1_can_stall(vm, vm->v.cd);
	ASSERT_EQ(0, vm_cmd(vm, cmd_cfgi_cd(VSID)));

	/* The same with a fault queue, if the guest sets S1STALLD */
	ASSERT_EQ(0, faults_hwpt(vm, &self->f,
				 ste_raw(le64toh(ste_s1(vm->v.cd).ste[0]),
					 le64toh(ste_s1(vm->v.cd).ste[1]) |
						 STE1_S1STALLD)));
	ASSERT_EQ(0, edu_attach(&vm->dev, self->f.hwpt));
	fault(&vm->dev, IOVA_A, true);
	expect_event(_metadata, queue, 2, EVT_BAD_CD, VSID, 0, 0);
	EXPECT_EQ(had, stalls(&vm->dev));
	EXPECT_FALSE(faults_any(&self->f));
	close(queue);
}

/* A device that cannot stall does not, although its HWPT has a fault queue */
TEST(device_without_stalls)
{
	struct vm vm = {};
	struct faults f;
	int queue;

	vm_start_nesting(_metadata, &vm);
	if (_metadata->exit_code)
		return;
	if (!edu_is_pcie(&vm.dev))
		SKIP(return, "no edu-pcie");
	if (forced(&vm))
		SKIP(return, "this SMMU has no S1STALLD");
	s1_can_stall(&vm, vm.v.cd);
	ASSERT_EQ(0, fault_alloc(vm.fd, &f.id, &f.fd));
	ASSERT_EQ(0, faults_hwpt(&vm, &f, ste_s1(vm.v.cd)));
	ASSERT_EQ(0, veventq_alloc(vm.fd, vm.v.viommu_id, QUEUE_DEPTH, NULL,
				   &queue));
	ASSERT_EQ(0, edu_attach(&vm.dev, f.hwpt));
	fault(&vm.dev, IOVA_A, false);
	expect_event(_metadata, queue, 0, EVT_BAD_CD, VSID, 0, 0);
	ASSERT_EQ(0, s1_cannot_stall(&vm, vm.v.cd));
	fault(&vm.dev, IOVA_A, false);
	expect_event(_metadata, queue, 1, EVT_TRANSLATION, VSID, EVT1_CLASS_IN,
		     IOVA_A);
	EXPECT_EQ(0, stalls(&vm.dev));
	EXPECT_FALSE(faults_any(&f));
	close(queue);
	close(f.fd);
	vm_stop(_metadata, &vm);
}

/* A fault of stage 2 is the host's, which resolves none */
TEST_F(stall, stage2)
{
	struct vm *vm = &self->vm;
	__u64 had = stalls(&vm->dev);

	vm_map(vm, IOVA_A, HOLE_IPA);
	EXPECT_EQ(NOWHERE, vm_lands(vm, IOVA_A));
	EXPECT_TRUE(edu_failed(&vm->dev));
	EXPECT_EQ(had + forced(vm), stalls(&vm->dev));
	EXPECT_FALSE(faults_any(&self->f));
}

/* Two devices wait, and each gets its own answer */
TEST_F(stall, two_devices)
{
	struct vm *vm = &self->vm;
	char bdfs[MAX_DEVICES][BDF_LEN], why[128];
	struct iommu_hwpt_pgfault fault[2];
	__u64 a = guest_page(&vm->g);
	struct vm other = *vm;
	struct faults f;
	int i;

	if (pci_list_vfio(STALL_ID, 1, bdfs, why, sizeof(why)) < 2)
		SKIP(return, "needs two devices that stall");
	ASSERT_EQ(0, edu_open(&other.dev, bdfs[1], vm->fd));
	ASSERT_EQ(0, vdevice_alloc(vm->fd, vm->v.viommu_id, other.dev.dev_id,
				   VSID_B, NULL));
	ASSERT_EQ(0, edu_attach(&other.dev, vm->g.s2_id));
	edu_load(&other.dev, &vm->g, a, a);
	ASSERT_EQ(0, fault_alloc(vm->fd, &f.id, &f.fd));
	ASSERT_EQ(0, faults_hwpt(&other, &f, ste_s1(vm->v.cd)));
	ASSERT_EQ(0, edu_attach(&other.dev, f.hwpt));

	for (i = 0; i != 2; i++) {
		stall_write(_metadata, vm, &self->f, IOVA_A, &fault[0]);
		stall_write(_metadata, &other, &f, IOVA_A, &fault[1]);
		/* The fault of the second device is answered first */
		if (i) {
			vm_map(vm, IOVA_A, a);
			ASSERT_TRUE(faults_answer(&f, &fault[1],
						  IOMMUFD_PAGE_RESP_SUCCESS));
			EXPECT_EQ(a, edu_write_end(&other.dev, &vm->g, IOVA_A));
		} else {
			ASSERT_TRUE(faults_answer(&f, &fault[1],
						  IOMMUFD_PAGE_RESP_INVALID));
			EXPECT_EQ(NOWHERE,
				  edu_write_end(&other.dev, &vm->g, IOVA_A));
		}
		EXPECT_TRUE(stalled(&vm->dev));
		ASSERT_TRUE(faults_answer(&self->f, &fault[0],
					  i ? IOMMUFD_PAGE_RESP_SUCCESS :
					      IOMMUFD_PAGE_RESP_INVALID));
		EXPECT_EQ(i ? a : NOWHERE,
			  edu_write_end(&vm->dev, &vm->g, IOVA_A));
	}
	edu_close(&other.dev);
	close(f.fd);
}

/* A reset ends the stall in the device; its answer comes to nothing */
TEST_F(stall, reset)
{
	struct vm *vm = &self->vm;
	struct iommu_hwpt_pgfault fault;
	__u64 a = guest_page(&vm->g);

	stall_write(_metadata, vm, &self->f, IOVA_A, &fault);
	ASSERT_EQ(0, edu_reset(&vm->dev));
	EXPECT_FALSE(edu_busy(&vm->dev));
	faults_answer(&self->f, &fault, IOMMUFD_PAGE_RESP_SUCCESS);
	EXPECT_FALSE(edu_busy(&vm->dev));
	EXPECT_TRUE(guests_intact());
	/* The device works as before */
	vm_map(vm, IOVA_B, a);
	edu_load(&vm->dev, &vm->g, IOVA_B, a);
	stall_write(_metadata, vm, &self->f, IOVA_A, &fault);
	vm_map(vm, IOVA_A, a);
	ASSERT_TRUE(faults_answer(&self->f, &fault, IOMMUFD_PAGE_RESP_SUCCESS));
	EXPECT_EQ(a, edu_write_end(&vm->dev, &vm->g, IOVA_A));
}

/* A fault of a PASID has its number */
TEST_F(stall, pasid)
{
	struct vm *vm = &self->vm;
	struct iommu_hwpt_arm_smmuv3 ste;
	struct iommu_hwpt_pgfault fault;
	__u64 table = guest_zero_page(&vm->g), ttb = s1_create(&vm->g);
	__u64 a = guest_page(&vm->g);

	if (!IDR1_SSIDSIZE(vm->dev.info.idr[1]))
		SKIP(return, "no substreams");
	cd_write(&vm->g, &vm->dev, table, vm->v.ttb, ASID);
	cd_write(&vm->g, &vm->dev, table + 3 * CD_SIZE, ttb, ASID_B);
	s1_can_stall(vm, table + 3 * CD_SIZE);
	ste = ste_s1(table);
	ste.ste[0] |= htole64(STE0_S1CDMAX(2));
	ste.ste[1] |= htole64(STE1_S1DSS(2));
	ASSERT_EQ(0, faults_hwpt(vm, &self->f, ste));
	ASSERT_EQ(0, edu_attach(&vm->dev, self->f.hwpt));

	edu_set_reg(&vm->dev, EDU_REG_PASID, 3);
	vm->dev.dma_flags = EDU_DMA_PASID;
	edu_write_start(&vm->dev, &vm->g, IOVA_A);
	ASSERT_TRUE(faults_next(&self->f, &fault));
	EXPECT_EQ(IOMMU_PGFAULT_FLAGS_LAST_PAGE |
			  IOMMU_PGFAULT_FLAGS_PASID_VALID,
		  fault.flags);
	EXPECT_EQ(3, fault.pasid);
	EXPECT_EQ(IOVA_A, fault.addr);
	s1_map(&vm->g, ttb, IOVA_A, a, S1_RW);
	ASSERT_TRUE(faults_answer(&self->f, &fault, IOMMUFD_PAGE_RESP_SUCCESS));
	EXPECT_EQ(a, edu_write_end(&vm->dev, &vm->g, IOVA_A));
}

TEST_HARNESS_MAIN
