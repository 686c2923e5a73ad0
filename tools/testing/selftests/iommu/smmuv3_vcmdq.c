// SPDX-License-Identifier: GPL-2.0-only
/*
 * The command queue in software of an ARM SMMUv3: this plays a VMM and its
 * guest
 *
 * The DMA of a QEMU edu shows the effect of an invalidation. Tests of behaviour
 * that queues in hardware have, too, use only commands that these support.
 */
#include <signal.h>
#include <time.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "lib/hwpoison.h"
#include "smmuv3_vcmdq.h"

#define SYNC0_CS(cs)	((__u64)(cs) << 12)

struct vcmdq_event {
	struct iommufd_vevent_header header;
	struct iommu_vevent_tegra241_cmdqv evt;
};

static long page_faults(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_minflt;
}

TEST_F(vcmdq, hw_info)
{
	struct {
		struct iommu_hw_info_tegra241_cmdqv info;
		__u8 tail[8];
	} buf;
	struct vm *vm = &self->vm;
	__u32 type, len;

	memset(&buf, 0xff, sizeof(buf));
	type = IOMMU_HW_INFO_TYPE_TEGRA241_CMDQV;
	len = sizeof(buf);
	ASSERT_EQ(0, hw_info(vm->fd, vm->dev.dev_id,
			     IOMMU_HW_INFO_FLAG_INPUT_TYPE, &type, &buf, &len));
	EXPECT_EQ(3, type);
	EXPECT_EQ(8, len);
	EXPECT_EQ(0, buf.info.flags);
	EXPECT_EQ(1, buf.info.version);
	EXPECT_EQ(1, buf.info.log2vcmdqs);
	EXPECT_EQ(4, buf.info.log2vsids);
	EXPECT_EQ(0, buf.info.__reserved);
	EXPECT_EQ(0, buf.tail[0]);

	/* The information must be requested by its type */
	type = IOMMU_HW_INFO_TYPE_TEGRA241_CMDQV;
	EXPECT_EQ(0, hw_info(vm->fd, vm->dev.dev_id, 0, &type, &buf, &len));
	EXPECT_EQ(IOMMU_HW_INFO_TYPE_ARM_SMMUV3, type);
}

TEST_F(vcmdq, viommu_alloc)
{
	struct {
		struct iommu_viommu_tegra241_cmdqv data;
		__u64 tail;
	} buf;
	struct cmdqv *c = &self->c;
	struct vm *vm = &self->vm;
	__u32 id;
	void *p;

	EXPECT_LE(sysconf(_SC_PAGESIZE), c->data.out_vintf_mmap_offset);
	EXPECT_EQ(PAGE0_SIZE, c->data.out_vintf_mmap_length);
	EXPECT_EQ(-EINVAL, viommu_alloc_data(vm, NULL, 0, &id));
	EXPECT_EQ(-EINVAL, viommu_alloc_data(vm, &buf, 8, &id));
	EXPECT_EQ(-EFAULT, viommu_alloc_data(vm, NULL, 16, &id));
	memset(&buf, 0xff, sizeof(buf));
	EXPECT_EQ(-E2BIG, viommu_alloc_data(vm, &buf, sizeof(buf), &id));
	buf.tail = 0;
	ASSERT_EQ(0, viommu_alloc_data(vm, &buf, sizeof(buf), &id));
	EXPECT_NE(c->data.out_vintf_mmap_offset,
		  buf.data.out_vintf_mmap_offset);
	EXPECT_EQ(0, destroy(vm->fd, id));

	/* A mapping keeps the vIOMMU */
	ASSERT_EQ(0, viommu_alloc_data(vm, &buf, sizeof(buf.data), &id));
	p = mmap(NULL, PAGE0_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, vm->fd,
		 buf.data.out_vintf_mmap_offset);
	ASSERT_NE(MAP_FAILED, p);
	EXPECT_EQ(-EBUSY, destroy(vm->fd, id));
	EXPECT_EQ(0, munmap(p, PAGE0_SIZE));
	EXPECT_EQ(0, destroy(vm->fd, id));
	p = mmap(NULL, PAGE0_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, vm->fd,
		 buf.data.out_vintf_mmap_offset);
	EXPECT_EQ(MAP_FAILED, p);
}

/* If the owner of the host turns the feature off, existing queues stay */
TEST_F(vcmdq, parameter)
{
	__u32 type = IOMMU_HW_INFO_TYPE_TEGRA241_CMDQV, len = 0, id;
	struct cmdqv *c = &self->c;
	struct vm *vm = &self->vm;
	char was[8];

	ASSERT_EQ(0, read_str(PARAM, was, sizeof(was)));
	ASSERT_EQ(0, write_str(PARAM, "0"));
	EXPECT_EQ(-EOPNOTSUPP, hw_info(vm->fd, vm->dev.dev_id,
				       IOMMU_HW_INFO_FLAG_INPUT_TYPE, &type,
				       NULL, &len));
	EXPECT_EQ(-EOPNOTSUPP, viommu_alloc_data(vm, &c->data,
						 sizeof(c->data), &id));
	EXPECT_TRUE(cmd_sync(c, cmd_nh_asid(0, ASID)));
	EXPECT_EQ(0, write_str(PARAM, was));
	EXPECT_NE(0, write_str(PARAM "_poll_ns", "9999"));
	EXPECT_NE(0, write_str(PARAM "_poll_ns", "10000001"));
}

TEST_F(vcmdq, queue_alloc)
{
	struct cmdqv *c = &self->c;
	struct vm *vm = &self->vm;
	__u64 a = guest_zero_page(&vm->g);
	__u32 id;
	unsigned int i;

	EXPECT_EQ(-EEXIST, queue_alloc(c, 0, a, GUEST_PAGE, &id));
	EXPECT_EQ(-EINVAL, queue_alloc(c, 2, a, GUEST_PAGE, &id));
	EXPECT_EQ(-EINVAL, queue_alloc(c, 1, a, 16, &id));
	EXPECT_EQ(-EINVAL, queue_alloc(c, 1, a, 48, &id));
	EXPECT_EQ(-EINVAL, queue_alloc(c, 1, a + 32, 64, &id));
	EXPECT_EQ(-ENOENT, queue_alloc(c, 1, 0x100000000ULL, 64, &id));
	ASSERT_EQ(0, queue_alloc(c, 1, a, 32, &id));
	EXPECT_EQ(-EBUSY, destroy(vm->fd, c->queue_id));
	/* The memory is pinned */
	EXPECT_EQ(-EBUSY, ioas_unmap(vm->fd, vm->g.ioas_id, GUEST_RAM_IPA,
				     GUEST_RAM_SIZE));

	/* The queue has room for two commands */
	guest_write64(&vm->g, a, CMD_TLBI_NH_ASID);
	reg_write(c, REGS + REG_PROD, 1);
	reg_write(c, REGS + REG_CONFIG, 1);
	EXPECT_TRUE(wait_for(reg_read(c, REGS + REG_CONS) == 1));
	EXPECT_EQ(0, destroy(vm->fd, id));
	for (i = 0; i < REGS; i++)
		EXPECT_EQ(0, reg_read(c, REGS + i));
	EXPECT_TRUE(cmd_sync(c, cmd_nh_asid(0, ASID)));

	EXPECT_EQ(0, destroy(vm->fd, c->queue_id));
	for (i = 0; i < REGS; i++)
		EXPECT_EQ(0, reg_read(c, i));
	EXPECT_EQ(-EIO, queue_alloc(c, 1, a, 32, &id));
	/* A guest may replace it by a smaller queue */
	ASSERT_EQ(0, queue_alloc(c, 0, a, 32, &c->queue_id));
	guest_write64(&vm->g, a + 16, CMD_TLBI_NH_ASID);
	reg_write(c, REG_PROD, 2);
	reg_write(c, REG_CONFIG, 1);
	EXPECT_TRUE(wait_for(reg_read(c, REG_CONS) == 2));
}

/* Invalidations arrive, by the queue and by the ioctl */
TEST_F(vcmdq, invalidate)
{
	struct cmdqv *c = &self->c;
	struct vm *vm = &self->vm;
	__u64 page[2] = { guest_page(&vm->g), guest_page(&vm->g) };
	unsigned int i;

	vm_map(vm, IOVA_A, page[0]);
	ASSERT_EQ(0, edu_attach(&vm->dev, vm->v.hwpt_s1));
	EXPECT_EQ(page[0], edu_write_lands(&vm->dev, &vm->g, IOVA_A));
	for (i = 1; i < 8; i++) {
		vm_map(vm, IOVA_A, page[i & 1]);
		EXPECT_EQ(page[!(i & 1)],
			  edu_write_lands(&vm->dev, &vm->g, IOVA_A));
		switch (i) {
		case 1:
			EXPECT_TRUE(cmd_sync(c, cmd_nh_asid(0x77, ASID)));
			break;
		case 2:
			EXPECT_EQ(0, viommu_cmd(vm->fd, vm->v.viommu_id,
						cmd_nh_va(0, ASID, IOVA_A)));
			break;
		default:
			EXPECT_TRUE(cmd_sync(c, cmd_nh_va(i, ASID, IOVA_A)));
			break;
		}
		EXPECT_EQ(page[i & 1],
			  edu_write_lands(&vm->dev, &vm->g, IOVA_A));
	}
}

/* Whenever the page was taken away, an access to it must wake the worker */
TEST_F(vcmdq, doorbell)
{
	struct cmdqv *c = &self->c;
	volatile __u32 *last = &c->regs[PAGE0_SIZE / 4 - 1];
	unsigned int i;
	long faults;

	EXPECT_EQ(0, *last);
	for (i = 0; i < 200; i++) {
		add(c, cmd_nh_asid(0, ASID));
		ASSERT_TRUE(falls_asleep());
		faults = page_faults();
		ASSERT_TRUE(ring(c)) {
			TH_LOG("in round %u", i);
		}
		EXPECT_LT(faults, page_faults());
	}

	/* A read also wakes the worker, but has no other effect */
	ASSERT_TRUE(falls_asleep());
	EXPECT_EQ(c->prod, reg_read(c, REG_CONS));
	ASSERT_TRUE(falls_asleep());
	/* Only the page with the registers is taken away */
	if (sysconf(_SC_PAGESIZE) < PAGE0_SIZE) {
		faults = page_faults();
		EXPECT_EQ(0, *last);
		EXPECT_EQ(faults, page_faults());
	}
}

/* Write at random times, most of them close to when the worker sleeps */
TEST_F(vcmdq, doorbell_race)
{
	struct cmdqv *c = &self->c;
	double until = now() + 5;
	unsigned int i;

	for (i = 0; i < 1000 || now() < until; i++) {
		double end = now() + (random_u64() % 300) / 1e6;

		while (now() < end)
			;
		ASSERT_TRUE(cmd_sync(c, cmd_nh_asid(0, ASID))) {
			TH_LOG("in round %u: PROD %#x, CONS %#x", i, c->prod,
			       reg_read(c, REG_CONS));
		}
	}
}

/*
 * A guest that reads a register wakes the worker by this. So write PROD once,
 * and wait for the event of an illegal command.
 */
TEST_F(vcmdq, doorbell_alone)
{
	struct cmdqv *c = &self->c;
	struct vm *vm = &self->vm;
	double until = now() + 5;
	struct vcmdq_event event;
	unsigned int i;
	__u32 at, id;
	int fd;

	ASSERT_EQ(0, iommufd_veventq_alloc(vm->fd, vm->v.viommu_id,
					   IOMMU_VEVENTQ_TYPE_TEGRA241_CMDQV, 1,
					   &id, &fd));
	for (i = 0; i < 500 || now() < until; i++) {
		double end = now() + (random_u64() % 300) / 1e6;

		at = c->prod;
		add(c, cmd_raw(0, 0));
		while (now() < end)
			;
		reg_write(c, REG_PROD, c->prod);
		ASSERT_EQ(sizeof(event), veventq_next(fd, (void *)&event)) {
			TH_LOG("in round %u", i);
		}
		put(c, at, CMD_SYNC, 0);
		reg_write(c, REG_GERRORN, ~i & 1);
		ASSERT_TRUE(wait_for(reg_read(c, REG_CONS) == c->prod));
	}
	close(fd);
	EXPECT_EQ(0, destroy(vm->fd, id));
}

TEST_F(vcmdq, idle)
{
	struct cmdqv *c = &self->c;
	struct timespec ts = { .tv_nsec = 300 * 1000 * 1000 };
	long sleeps;

	EXPECT_TRUE(cmd_sync(c, cmd_nh_asid(0, ASID)));
	ASSERT_TRUE(falls_asleep());
	sleeps = worker_sleeps(NULL);
	/* Nothing may happen in this time */
	nanosleep(&ts, NULL);
	EXPECT_EQ(sleeps, worker_sleeps(NULL));
	EXPECT_TRUE(cmd_sync(c, cmd_nh_asid(0, ASID)));
	EXPECT_TRUE(falls_asleep());
	EXPECT_LT(sleeps, worker_sleeps(NULL));
}

TEST_F(vcmdq, error)
{
	struct vcmdq_event event;
	struct cmdqv *c = &self->c;
	struct vm *vm = &self->vm;
	__u32 at, id, other_id, gerror;
	int fd, other_fd;
	unsigned int i;

	/* A vEVENTQ as QEMU allocates it, and both types for the same vIOMMU */
	ASSERT_EQ(0, iommufd_veventq_alloc(vm->fd, vm->v.viommu_id,
					   IOMMU_VEVENTQ_TYPE_TEGRA241_CMDQV,
					   1 << 19, &id, &fd));
	ASSERT_EQ(0, iommufd_veventq_alloc(vm->fd, vm->v.viommu_id,
					   IOMMU_VEVENTQ_TYPE_ARM_SMMUV3, 8,
					   &other_id, &other_fd));
	EXPECT_FALSE(veventq_readable(fd));
	/* GERROR of a queue in hardware may have any value */
	gerror = reg_read(c, REG_GERROR);
	for (i = 0; i < 4; i++) {
		add(c, cmd_nh_asid(0, ASID));
		at = c->prod;
		/* A CMD_SYNC with an interrupt, and a StreamID of the host */
		add(c, i & 1 ? cmd_cfgi_cd(VSID + 1) :
				cmd_raw(CMD_SYNC | SYNC0_CS(1), 0));
		add(c, cmd_nh_asid(0, ASID));
		reg_write(c, REG_PROD, c->prod);
		EXPECT_TRUE(wait_for((reg_read(c, REG_GERROR) ^ gerror ^ i) &
				     1));
		EXPECT_EQ(at | CONS_ERR_ILL, reg_read(c, REG_CONS));
		ASSERT_EQ(sizeof(event), veventq_next(fd, (void *)&event));
		EXPECT_EQ(1, le64toh(event.evt.lvcmdq_err_map[0]));
		EXPECT_EQ(0, le64toh(event.evt.lvcmdq_err_map[1]));
		EXPECT_FALSE(veventq_readable(fd));

		/* The guest's driver skips the command */
		put(c, at, CMD_SYNC, 0);
		EXPECT_EQ(at | CONS_ERR_ILL, reg_read(c, REG_CONS));
		reg_write(c, REG_GERRORN, reg_read(c, REG_GERROR));
		EXPECT_TRUE(wait_for((reg_read(c, REG_CONS) & CONS_RD) ==
				     c->prod));
	}
	EXPECT_FALSE(veventq_readable(other_fd));
	close(fd);
	close(other_fd);
	EXPECT_EQ(0, destroy(vm->fd, id));
	EXPECT_EQ(0, destroy(vm->fd, other_id));
}

/* An access by any mapping in any process rings the doorbell */
TEST_F(vcmdq, mappings)
{
	struct cmdqv *c = &self->c;
	__u32 *first = c->regs;
	unsigned int i;
	int status;
	pid_t pid;

	c->regs = map_page0(c);
	ASSERT_NE(MAP_FAILED, c->regs);
	for (i = 0; i < 4; i++) {
		__u32 *other = first;

		first = c->regs;
		c->regs = other;
		EXPECT_TRUE(cmd_sync(c, cmd_nh_asid(0, ASID)));
		EXPECT_EQ(c->prod, le32toh(*(volatile __u32 *)first));
		/* The page is taken away from both */
		EXPECT_TRUE(falls_asleep());
	}

	/* The queue is in memory that a child does not share */
	add(c, cmd_nh_asid(0, ASID));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		c->regs = map_page0(c);
		_exit(c->regs == MAP_FAILED || !ring(c));
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(c->prod, reg_read(c, REG_CONS));

	ASSERT_EQ(0, munmap(first, PAGE0_SIZE));
	EXPECT_TRUE(cmd_sync(c, cmd_nh_asid(0, ASID)));
}

/* A guest that writes random registers must not stop the VMM or others */
TEST_F(vcmdq, hostile)
{
	struct cmdqv *c = &self->c;
	struct vm *vm = &self->vm;
	double until = now() + 3;
	unsigned int i;
	__u32 id;

	while (now() < until) {
		for (i = 0; i < 1000; i++) {
			__u64 at = random_u64();

			c->regs[at % 6] = random_u64() >> (at >> 32) % 64;
			put(c, at >> 8, random_u64() & 0xff, 0);
		}
		EXPECT_EQ(0, viommu_cmd(vm->fd, vm->v.viommu_id, cmd_nh_asid(0, ASID)));
		EXPECT_EQ(0, destroy(vm->fd, c->queue_id));
		ASSERT_EQ(0, queue_alloc(c, 0, c->queue_ipa, GUEST_PAGE,
					 &c->queue_id));
	}
	EXPECT_EQ(0, destroy(vm->fd, c->queue_id));
	ASSERT_EQ(0, queue_alloc(c, 0, c->queue_ipa, GUEST_PAGE, &id));
	EXPECT_TRUE(enable(c));
	EXPECT_TRUE(cmd_sync(c, cmd_nh_asid(0, ASID)));
}

static void no_handler(int sig)
{
}

/* The kernel must not read a command that the hardware cannot read either */
TEST_F(vcmdq, memory_error)
{
	struct cmdqv *c = &self->c;
	struct vm *vm = &self->vm;
	__u64 pfn;
	int rc;

	if (access(HWPOISON_HEAL, W_OK))
		SKIP(return, "no CONFIG_HWPOISON_INJECT to unpoison the page");
	add(c, cmd_nh_asid(0, ASID));
	pfn = pfn_of(guest_ptr(&vm->g, c->queue_ipa));
	ASSERT_NE(0, pfn);
	/* Each access of this process to the page would be a SIGBUS */
	signal(SIGBUS, no_handler);
	/* The page is pinned. So it stays where it is, and this is an error */
	rc = madvise(guest_ptr(&vm->g, c->queue_ipa & -HOST_PAGE), HOST_PAGE,
		     MADV_HWPOISON);
	if (rc && errno != EBUSY)
		SKIP(return, "no MADV_HWPOISON here: %s", strerror(errno));
	reg_write(c, REG_PROD, c->prod);
	EXPECT_TRUE(wait_for(reg_read(c, REG_GERROR)));
	EXPECT_EQ(CONS_ERR_ABT, reg_read(c, REG_CONS));
	EXPECT_EQ(0, viommu_cmd(vm->fd, vm->v.viommu_id, cmd_nh_asid(0, ASID)));

	/* The page can be repaired only when it has no users left */
	EXPECT_EQ(0, destroy(vm->fd, c->queue_id));
	EXPECT_EQ(0, guest_unmap(&vm->g, GUEST_RAM_IPA));
	ASSERT_EQ(0, munmap(vm->g.slot[0].mem, GUEST_RAM_SIZE));
	EXPECT_EQ(0, heal_pfn(pfn));
}

/* A Neoverse N1 is the CPU of this test, because it has no FEAT_S2FWB */
static bool is_neoverse_n1(void)
{
	FILE *f = fopen("/proc/cpuinfo", "r");
	bool found = false;
	char line[128];

	while (f && fgets(line, sizeof(line), f))
		found |= !strncmp(line, "CPU part", 8) && strstr(line, "0xd0c");
	if (f)
		fclose(f);
	return found;
}

FIXTURE(no_cpu_fwb)
{
	struct vm vm;
};

FIXTURE_SETUP(no_cpu_fwb)
{
	if (!is_neoverse_n1())
		SKIP(return, "the CPU is not a Neoverse N1");
	vm_start_nesting(_metadata, &self->vm);
}

FIXTURE_TEARDOWN(no_cpu_fwb)
{
	vm_stop(_metadata, &self->vm);
}

/*
 * KVM could not make the registers cacheable for the guest. The VM can nest,
 * but gets no queue. The log shows the reason only once.
 */
TEST_F(no_cpu_fwb, refused)
{
	__u32 type = IOMMU_HW_INFO_TYPE_TEGRA241_CMDQV, len = 0, id;
	struct iommu_viommu_tegra241_cmdqv data = {};
	struct vm *vm = &self->vm;
	unsigned int i;
	char on[8];

	ASSERT_EQ(0, read_str(PARAM, on, sizeof(on)));
	ASSERT_STREQ("Y", on);
	for (i = 0; i != 2; i++) {
		EXPECT_EQ(-EOPNOTSUPP, hw_info(vm->fd, vm->dev.dev_id,
					       IOMMU_HW_INFO_FLAG_INPUT_TYPE,
					       &type, NULL, &len));
		EXPECT_EQ(-EOPNOTSUPP,
			  viommu_alloc_data(vm, &data, sizeof(data), &id));
	}
	EXPECT_EQ(1, klog_count("no CMDQV for VMs: the CPUs do not have"));
	ASSERT_EQ(0, viommu_alloc(vm->fd, vm->dev.dev_id, vm->g.s2_id, &id));
}

TEST_HARNESS_MAIN
