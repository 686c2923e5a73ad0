// SPDX-License-Identifier: GPL-2.0-only
/*
 * Stalls and page faults of nested HWPTs, judged by DMA. The device is an
 * edu-pcie that waits for the answer to a fault. It has the PCI ID of a device
 * that is known to the kernel to do so (quirk_huawei_pcie_sva()).
 */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/clock.h"
#include "smmuv3_vm.h"

#define STALL_ID	0xa25019e5
#define VSID_C		0x4321
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
	/* If stalls are forced, no CD can prevent them */
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

/* The limit of a wait that must succeed */
#define SECONDS		60

/* Return: whether there is a fault within a minute */
static bool faults_next(struct faults *f, struct iommu_hwpt_pgfault *fault)
{
	struct pollfd pfd = { .fd = f->fd, .events = POLLIN };

	return poll(&pfd, 1, SECONDS * 1000) == 1 &&
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
	double end = now() + SECONDS;

	while (!stalled(dev) && now() < end)
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
	/* Without a fault there is no stall */
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
	/* The answer to a fault can be used only once */
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
		/* Mapping the page now is too late */
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

/* The device must be able to continue although nobody has answered */
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

	/* Without a fault queue nothing stalls, or the kernel ends the stall */
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
		/* The VMM might just not answer: its HWPT still exists */
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

/* A fault of stage 2 belongs to the host, which does not resolve it */
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

/* Another device that stalls, with the stage 1 of the first */
static void second_start(struct __test_metadata *_metadata, struct vm *vm,
			 struct vm *other, struct faults *f)
{
	char bdfs[MAX_DEVICES][BDF_LEN], why[128];
	__u64 page = guest_page(&vm->g);

	if (pci_list_vfio(STALL_ID, 1, bdfs, why, sizeof(why)) < 2)
		SKIP(return, "needs two devices that stall");
	*other = *vm;
	ASSERT_EQ(0, edu_open(&other->dev, bdfs[1], vm->fd));
	ASSERT_EQ(0, vdevice_alloc(vm->fd, vm->v.viommu_id, other->dev.dev_id,
				   VSID_B, NULL));
	ASSERT_EQ(0, edu_attach(&other->dev, vm->g.s2_id));
	edu_load(&other->dev, &vm->g, page, page);
	ASSERT_EQ(0, fault_alloc(vm->fd, &f->id, &f->fd));
	ASSERT_EQ(0, faults_hwpt(other, f, ste_s1(vm->v.cd)));
	ASSERT_EQ(0, edu_attach(&other->dev, f->hwpt));
}

/* Two devices wait, and each gets its own answer */
TEST_F(stall, two_devices)
{
	struct vm *vm = &self->vm;
	struct iommu_hwpt_pgfault fault[2];
	__u64 a = guest_page(&vm->g);
	struct vm other;
	struct faults f;
	int i;

	second_start(_metadata, vm, &other, &f);
	if (_metadata->exit_code)
		return;
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

/* A reset ends the stall in the device, and a later answer has no effect */
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

/* A fault of a PASID has the number of the PASID */
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

/*
 * A full event queue: the events of stalls wait until there is room, and are not lost
 * (Arm IHI 0070, 7.2.1 and 7.4). Events of other faults are lost, and this is reported.
 *
 * The host reads its event queue in a thread. To let the queue fill up, the thread gets
 * no CPU: it may run only where another thread with a higher priority never sleeps.
 */
#define HELD_CPU	0
#define OTHER_CPU	1

struct hold {
	/* The thread of the host, and where it could run before */
	pid_t host;
	cpu_set_t cpus;
	pthread_t spinner;
	int rc;
	bool spins;
	bool stop;
};

static void *hold_spin(void *arg)
{
	const struct sched_param param = { .sched_priority = 99 };
	struct hold *h = arg;
	cpu_set_t cpu;

	CPU_ZERO(&cpu);
	CPU_SET(HELD_CPU, &cpu);
	h->rc = pthread_setaffinity_np(pthread_self(), sizeof(cpu), &cpu) ?:
		pthread_setschedparam(pthread_self(), SCHED_FIFO, &param);
	__atomic_store_n(&h->spins, true, __ATOMIC_RELEASE);
	while (!h->rc && !__atomic_load_n(&h->stop, __ATOMIC_RELAXED))
		;
	return NULL;
}

/* The thread of the event queue of the only SMMU, or 0 */
static pid_t evtq_thread(void)
{
	char path[PATH_MAX], name[64];
	struct dirent *entry;
	DIR *dir = opendir("/proc");
	pid_t pid = 0;
	FILE *file;

	while (dir && !pid && (entry = readdir(dir))) {
		snprintf(path, sizeof(path), "/proc/%s/comm", entry->d_name);
		file = atoi(entry->d_name) ? fopen(path, "re") : NULL;
		if (!file)
			continue;
		if (fgets(name, sizeof(name), file) &&
		    !strncmp(name, "irq/", 4) &&
		    strstr(name, "arm-smmu-v3-evtq"))
			pid = atoi(entry->d_name);
		fclose(file);
	}
	if (dir)
		closedir(dir);
	return pid;
}

/* Newer kernels do not let user space choose the CPU of such a thread */
static bool evtq_can_be_held(void)
{
	pid_t pid = evtq_thread();
	cpu_set_t cpus;

	return pid && !sched_getaffinity(pid, sizeof(cpus), &cpus) &&
	       !sched_setaffinity(pid, sizeof(cpus), &cpus);
}

static void hold_start(struct __test_metadata *_metadata, struct hold *h)
{
	cpu_set_t cpu;

	*h = (struct hold){ .host = evtq_thread() };
	ASSERT_NE(0, h->host);
	CPU_ZERO(&cpu);
	CPU_SET(OTHER_CPU, &cpu);
	ASSERT_EQ(0, sched_setaffinity(0, sizeof(cpu), &cpu));
	ASSERT_EQ(0, sched_getaffinity(h->host, sizeof(h->cpus), &h->cpus));
	CPU_ZERO(&cpu);
	CPU_SET(HELD_CPU, &cpu);
	ASSERT_EQ(0, sched_setaffinity(h->host, sizeof(cpu), &cpu));
	ASSERT_EQ(0, pthread_create(&h->spinner, NULL, hold_spin, h));
	while (!__atomic_load_n(&h->spins, __ATOMIC_ACQUIRE))
		sched_yield();
	ASSERT_EQ(0, h->rc);
}

static void hold_stop(struct __test_metadata *_metadata, struct hold *h)
{
	if (!h->spins)
		return;
	__atomic_store_n(&h->stop, true, __ATOMIC_RELAXED);
	EXPECT_EQ(0, pthread_join(h->spinner, NULL));
	h->spins = false;
	EXPECT_EQ(0, sched_setaffinity(h->host, sizeof(h->cpus), &h->cpus));
}

/* Two devices that stall, and a third that fills the event queue */
struct filled {
	struct vm vm;
	struct faults f;
	struct vm other;
	struct faults other_f;
	struct edu filler;
	struct vsmmu filler_v;
	int queue;
	/* The size of the event queue of the SMMU */
	unsigned int room;
	/* The events before those of the stalls, and how many of them it takes */
	unsigned int sent;
	unsigned int kept;
	__u32 sequence;
	struct hold hold;
};

FIXTURE(full)
{
	struct filled q;
};

FIXTURE_VARIANT(full)
{
	/* Events beside those that fill the queue */
	int more;
};

/* There is room for the event of the first stall */
FIXTURE_VARIANT_ADD(full, but_one)
{
	.more = -1,
};

FIXTURE_VARIANT_ADD(full, exactly)
{
	.more = 0,
};

FIXTURE_VARIANT_ADD(full, overflow)
{
	.more = 3,
};

FIXTURE_SETUP(full)
{
	struct filled *q = &self->q;
	struct vm *vm = &q->vm;
	char bdf[BDF_LEN], why[128];

	q->f.fd = -1;
	q->other_f.fd = -1;
	q->queue = -1;
	q->other.dev = (struct edu){ .fd = -1, .irqfd = -1 };
	q->filler = (struct edu){ .fd = -1, .irqfd = -1 };
	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		SKIP(return, "needs two CPUs");
	if (!evtq_can_be_held())
		SKIP(return, "the CPU of the event queue's thread is fixed");
	stall_start(_metadata, vm, &q->f);
	if (_metadata->exit_code)
		return;
	q->room = 1U << IDR1_EVENTQS(vm->dev.info.idr[1]);
	if (q->room > QUEUE_DEPTH / 2)
		SKIP(return, "the SMMU has a queue of %u events", q->room);
	q->sent = q->room + variant->more;
	q->kept = variant->more < 0 ? q->sent : q->room;
	if (forced(vm))
		SKIP(return, "all events are those of stalls");
	second_start(_metadata, vm, &q->other, &q->other_f);
	if (_metadata->exit_code)
		return;
	if (edu_find(bdf, why, sizeof(why)))
		SKIP(return, "%s", why);
	ASSERT_EQ(0, edu_open(&q->filler, bdf, vm->fd));
	ASSERT_TRUE(edu_is_pcie(&q->filler));
	q->filler_v.viommu_id = vm->v.viommu_id;
	vsmmu_set_up(_metadata, &q->filler_v, &vm->g, &q->filler, VSID_C);
	if (_metadata->exit_code)
		return;
	ASSERT_EQ(0, edu_attach(&q->filler, q->filler_v.hwpt_s1));
	ASSERT_EQ(0, veventq_alloc(vm->fd, vm->v.viommu_id, QUEUE_DEPTH, NULL,
				   &q->queue));
}

FIXTURE_TEARDOWN(full)
{
	struct filled *q = &self->q;

	/* A test has failed: let the host read the events, or the close waits */
	hold_stop(_metadata, &q->hold);
	edu_close(&q->filler);
	edu_close(&q->other.dev);
	close(q->other_f.fd);
	close(q->f.fd);
	close(q->queue);
	vm_stop(_metadata, &q->vm);
}

/* Let both devices stall after other events, which nobody reads yet */
static void full_start(struct __test_metadata *_metadata, struct filled *q)
{
	struct vm *vm = &q->vm, *other = &q->other;
	unsigned int i;

	hold_start(_metadata, &q->hold);
	for (i = 0; i != q->sent; i++)
		fault(&q->filler, IOVA_C + FAULT_SIZE * i, false);
	edu_write_start(&vm->dev, &vm->g, IOVA_A);
	ASSERT_TRUE(stall_begins(&vm->dev));
	edu_write_start(&other->dev, &vm->g, IOVA_B);
	ASSERT_TRUE(stall_begins(&other->dev));
	EXPECT_FALSE(veventq_readable(q->queue));
	EXPECT_FALSE(faults_any(&q->f));
	EXPECT_FALSE(faults_any(&q->other_f));
}

/* Take a record from the vEVENTQ. Return: whether it is an event */
static bool full_next(struct __test_metadata *_metadata, struct filled *q,
		      struct smmu_event *event, unsigned int *lost)
{
	int len = veventq_next(q->queue, event);

	ASSERT_LT(0, len);
	*lost += event->header.sequence - q->sequence;
	q->sequence = event->header.sequence + 1;
	if (event->header.flags & IOMMU_VEVENTQ_FLAG_LOST_EVENTS)
		++*lost;
	return len == sizeof(*event);
}

/* The other events as far as there was room, and a report if any were lost */
static void full_expect(struct __test_metadata *_metadata, struct filled *q)
{
	unsigned int i = 0, lost = 0;
	struct smmu_event event;

	while (i != q->kept) {
		if (!full_next(_metadata, q, &event, &lost))
			continue;
		EXPECT_EQ(EVT_TRANSLATION | EVT0_SID(VSID_C),
			  le64toh(event.evt[0]));
		EXPECT_EQ(IOVA_C + FAULT_SIZE * i, le64toh(event.evt[2]));
		i++;
	}
	/* Any report is before a later event */
	fault(&q->filler, IOVA_C, true);
	while (!full_next(_metadata, q, &event, &lost))
		;
	EXPECT_EQ(EVT1_CLASS_IN | EVT1_RNW, le64toh(event.evt[1]));
	EXPECT_FALSE(veventq_readable(q->queue));
	EXPECT_EQ(q->sent != q->kept, lost);
	EXPECT_EQ(q->sent != q->kept, klog_count("EVTQ overflow"));
}

/* The fault arrives, is answered, and the device gets on */
static void full_answer(struct __test_metadata *_metadata, struct vm *vm,
			struct guest *g, struct faults *f, __u64 iova)
{
	struct iommu_hwpt_pgfault fault;
	__u64 page = guest_page(g);

	ASSERT_TRUE(faults_next(f, &fault));
	EXPECT_EQ(iova, fault.addr);
	EXPECT_EQ(vm->dev.dev_id, fault.dev_id);
	EXPECT_EQ(IOMMU_PGFAULT_PERM_WRITE, fault.perm);
	EXPECT_TRUE(stalled(&vm->dev));
	s1_map(g, vm->v.ttb, iova, page, S1_RW);
	ASSERT_TRUE(faults_answer(f, &fault, IOMMUFD_PAGE_RESP_SUCCESS));
	EXPECT_EQ(page, edu_write_end(&vm->dev, g, iova));
	EXPECT_FALSE(edu_failed(&vm->dev));
	EXPECT_FALSE(faults_any(f));
}

TEST_F(full, answered)
{
	struct filled *q = &self->q;
	struct vm *vm = &q->vm, *other = &q->other;

	full_start(_metadata, q);
	hold_stop(_metadata, &q->hold);
	full_answer(_metadata, other, &vm->g, &q->other_f, IOVA_B);
	full_answer(_metadata, vm, &vm->g, &q->f, IOVA_A);
	full_expect(_metadata, q);
}

/*
 * The guest maps the page before the event is there: the transaction is repeated, as an
 * invalidation concerned it, and there is no fault
 */
TEST_F(full, mapped)
{
	struct filled *q = &self->q;
	struct vm *vm = &q->vm, *other = &q->other;
	__u64 page = guest_page(&vm->g), had = stalls(&vm->dev);

	full_start(_metadata, q);
	vm_map(vm, IOVA_B, page);
	ASSERT_EQ(0, vm_cmd(vm, cmd_nh_va(any_vmid(), ASID, IOVA_B)));
	EXPECT_TRUE(stalled(&other->dev));
	hold_stop(_metadata, &q->hold);
	EXPECT_EQ(page, edu_write_end(&other->dev, &vm->g, IOVA_B));
	EXPECT_FALSE(edu_failed(&other->dev));
	full_answer(_metadata, vm, &vm->g, &q->f, IOVA_A);
	EXPECT_FALSE(faults_any(&q->other_f));
	/* Unless its event was there, this request was repeated as well */
	EXPECT_EQ(had + (q->kept < q->room ? 1 : 2), stalls(&vm->dev));
	full_expect(_metadata, q);
}

/* The HWPT of the fault is gone before its event is there */
TEST_F(full, detached)
{
	struct filled *q = &self->q;
	struct vm *vm = &q->vm, *other = &q->other;
	struct faults *f = &q->other_f;

	full_start(_metadata, q);
	ASSERT_EQ(0, edu_detach(&other->dev));
	hold_stop(_metadata, &q->hold);
	EXPECT_EQ(NOWHERE, edu_write_end(&other->dev, &vm->g, IOVA_B));
	EXPECT_TRUE(edu_failed(&other->dev));
	EXPECT_FALSE(faults_any(f));
	full_answer(_metadata, vm, &vm->g, &q->f, IOVA_A);
	full_expect(_metadata, q);

	/* The next fault is not confused with it */
	ASSERT_EQ(0, edu_attach(&other->dev, f->hwpt));
	edu_write_start(&other->dev, &vm->g, IOVA_C);
	full_answer(_metadata, other, &vm->g, f, IOVA_C);
}

/*
 * The VMM gives up the device and the queue of its faults. To close the device where it
 * is attached would wait for the event queue: it is attached again after its reset.
 */
TEST_F(full, closed)
{
	struct filled *q = &self->q;
	struct vm *vm = &q->vm, *other = &q->other;
	char bdf[BDF_LEN];
	__u64 page;

	full_start(_metadata, q);
	memcpy(bdf, other->dev.bdf, sizeof(bdf));
	ASSERT_EQ(0, edu_detach(&other->dev));
	edu_close(&other->dev);
	ASSERT_EQ(0, close(q->other_f.fd));
	q->other_f.fd = -1;
	hold_stop(_metadata, &q->hold);
	full_answer(_metadata, vm, &vm->g, &q->f, IOVA_A);
	full_expect(_metadata, q);

	ASSERT_EQ(0, edu_open(&other->dev, bdf, vm->fd));
	EXPECT_FALSE(stalled(&other->dev));
	EXPECT_TRUE(guests_intact());
	ASSERT_EQ(0, edu_attach(&other->dev, vm->g.s2_id));
	page = guest_page(&vm->g);
	edu_load(&other->dev, &vm->g, page, page);
	EXPECT_EQ(page, lands(&other->dev, &vm->g, page));
}

TEST_HARNESS_MAIN
