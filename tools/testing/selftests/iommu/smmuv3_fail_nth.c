// SPDX-License-Identifier: GPL-2.0-only
/*
 * Allocation failures of the objects of a VM with an SMMUv3, with command
 * queues or without: each allocation of each call fails once
 *
 * iommufd_fail_nth does the same with the mock driver. Here a call must fail
 * with the error of the failure, and leave nothing behind: the same call is
 * repeated until nothing fails, and an iommufd can have only one VINTF, and one
 * queue of each index. On a kernel with KASAN and kmemleak, these judge the
 * rest.
 */
#include "smmuv3_vcmdq.h"

#define FAIL_NTH	"/proc/thread-self/fail-nth"
#define DEBUGFS		"/sys/kernel/debug/"
/* More than any call allocates */
#define MAX_FAILURES	500

/* A VM, as far as the steps have set it up */
struct steps {
	struct vm vm;
	struct cmdqv c;
	bool cmdqv;
	__u32 s2_id;
	__u32 veventq_id[2];
	int veventq[2];
	__u32 queue_id[2];
	__u64 second_ipa;
};

/* Also let allocations fail that wait for memory, or are of a page */
static bool can_fail(void)
{
	return !write_str(DEBUGFS "failslab/ignore-gfp-wait", "N") &&
	       !write_str(DEBUGFS "failslab/verbose", "0") &&
	       !write_str(DEBUGFS "fail_page_alloc/ignore-gfp-wait", "N") &&
	       !write_str(DEBUGFS "fail_page_alloc/ignore-gfp-highmem", "N") &&
	       !write_str(DEBUGFS "fail_page_alloc/min-order", "0") &&
	       !write_str(DEBUGFS "fail_page_alloc/verbose", "0");
}

/* The counter of the failure: 0 if the failure has been injected */
static long failure_left(int fd)
{
	char buf[16] = {};

	if (pread(fd, buf, sizeof(buf) - 1, 0) <= 0)
		return -1;
	return atol(buf);
}

/* With CONFIG_IOMMUFD_TEST, lookups of objects and pinning can fail, too */
static bool is_injected(int rc)
{
	return rc == -ENOMEM || rc == -ENOENT || rc == -EFAULT || rc == -EINVAL;
}

/*
 * Let each allocation of a call fail once. Undo each call that succeeds, except
 * for the last. Returns the number of failures.
 */
static unsigned int fail_all(struct __test_metadata *_metadata, const char *name,
			     struct steps *s, int (*call)(struct steps *s),
			     int (*undo)(struct steps *s))
{
	unsigned int nth, failed = 0;
	int fd, rc, wrote;
	char buf[16];
	long left;

	fd = open(FAIL_NTH, O_RDWR);
	ASSERT_LE(0, fd);
	for (nth = 1; nth < MAX_FAILURES; nth++) {
		snprintf(buf, sizeof(buf), "%u", nth);
		ASSERT_LT(0, pwrite(fd, buf, strlen(buf), 0));
		rc = call(s);
		left = failure_left(fd);
		wrote = pwrite(fd, "0", 1, 0);
		ASSERT_EQ(1, wrote);
		ASSERT_LE(0, left);
		if (left)
			break;
		if (rc) {
			failed++;
			ASSERT_TRUE(is_injected(rc)) {
				TH_LOG("%s, failure %u: %d", name, nth, rc);
			}
		} else if (undo) {
			ASSERT_EQ(0, undo(s)) {
				TH_LOG("undo %s, failure %u", name, nth);
			}
		}
	}
	close(fd);
	EXPECT_GT(MAX_FAILURES, nth);
	ASSERT_EQ(0, rc) {
		TH_LOG("%s, after %u failures", name, nth - 1);
	}
	TH_LOG("%s: %u of %u failures are errors", name, failed, nth - 1);
	return failed;
}

static int do_hw_info(struct steps *s)
{
	__u32 type = s->cmdqv ? IOMMU_HW_INFO_TYPE_TEGRA241_CMDQV :
				IOMMU_HW_INFO_TYPE_ARM_SMMUV3, len = 0;

	return hw_info(s->vm.fd, s->vm.dev.dev_id,
		       IOMMU_HW_INFO_FLAG_INPUT_TYPE, &type, NULL, &len);
}

static int do_parent(struct steps *s)
{
	return hwpt_alloc(s->vm.fd, s->vm.dev.dev_id, s->vm.g.ioas_id,
			  IOMMU_HWPT_ALLOC_NEST_PARENT, IOMMU_HWPT_DATA_NONE,
			  NULL, 0, &s->s2_id);
}

static int undo_parent(struct steps *s)
{
	return destroy(s->vm.fd, s->s2_id);
}

static int do_viommu(struct steps *s)
{
	struct vm *vm = &s->vm;

	if (!s->cmdqv)
		return viommu_alloc(vm->fd, vm->dev.dev_id, s->s2_id,
				    &vm->v.viommu_id);
	return iommufd_viommu_alloc(vm->fd, vm->dev.dev_id, s->s2_id,
				    IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV,
				    &s->c.data, sizeof(s->c.data),
				    &vm->v.viommu_id);
}

static int undo_viommu(struct steps *s)
{
	return destroy(s->vm.fd, s->vm.v.viommu_id);
}

static int do_mmap(struct steps *s)
{
	s->c.regs = map_page0(&s->c);
	return s->c.regs == MAP_FAILED ? -errno : 0;
}

static int undo_mmap(struct steps *s)
{
	return munmap(s->c.regs, PAGE0_SIZE) ? -errno : 0;
}

static int do_vdevice(struct steps *s)
{
	return vdevice_alloc(s->vm.fd, s->vm.v.viommu_id, s->vm.dev.dev_id, VSID,
			     &s->vm.v.vdevice_id);
}

static int undo_vdevice(struct steps *s)
{
	return destroy(s->vm.fd, s->vm.v.vdevice_id);
}

/* Queues for events of the SMMU and of the command queues */
static int do_events(struct steps *s, unsigned int i)
{
	return iommufd_veventq_alloc(s->vm.fd, s->vm.v.viommu_id,
				     i ? IOMMU_VEVENTQ_TYPE_TEGRA241_CMDQV :
					 IOMMU_VEVENTQ_TYPE_ARM_SMMUV3,
				     QUEUE_DEPTH, &s->veventq_id[i],
				     &s->veventq[i]);
}

static int undo_events(struct steps *s, unsigned int i)
{
	close(s->veventq[i]);
	return destroy(s->vm.fd, s->veventq_id[i]);
}

static int do_smmu_events(struct steps *s)
{
	return do_events(s, 0);
}

static int undo_smmu_events(struct steps *s)
{
	return undo_events(s, 0);
}

static int do_queue_events(struct steps *s)
{
	return do_events(s, 1);
}

static int undo_queue_events(struct steps *s)
{
	return undo_events(s, 1);
}

static int do_queue(struct steps *s)
{
	return queue_alloc(&s->c, 0, s->c.queue_ipa, GUEST_PAGE, &s->queue_id[0]);
}

static int undo_queue(struct steps *s)
{
	return destroy(s->vm.fd, s->queue_id[0]);
}

static int do_second(struct steps *s)
{
	return queue_alloc(&s->c, 1, s->second_ipa, GUEST_PAGE, &s->queue_id[1]);
}

static int undo_second(struct steps *s)
{
	return destroy(s->vm.fd, s->queue_id[1]);
}

static int do_nested(struct steps *s)
{
	return vm_hwpt(&s->vm, ste_s1(s->vm.v.cd), &s->vm.v.hwpt_s1);
}

static int undo_nested(struct steps *s)
{
	return destroy(s->vm.fd, s->vm.v.hwpt_s1);
}

static int do_attach(struct steps *s)
{
	return edu_attach(&s->vm.dev, s->vm.v.hwpt_s1);
}

static int undo_attach(struct steps *s)
{
	return edu_attach(&s->vm.dev, s->vm.g.s2_id);
}

static int do_command(struct steps *s)
{
	return vm_cmd(&s->vm, cmd_nh_asid(0, ASID));
}

FIXTURE(fail)
{
	struct steps s;
};

FIXTURE_VARIANT(fail)
{
	bool cmdqv;
};

FIXTURE_VARIANT_ADD(fail, vsmmu)
{
	.cmdqv = false,
};

FIXTURE_VARIANT_ADD(fail, cmdqv)
{
	.cmdqv = true,
};

FIXTURE_SETUP(fail)
{
	struct steps *s = &self->s;
	struct vm *vm = &s->vm;

	if (!can_fail())
		SKIP(return, "fault injection is not enabled in the kernel");
	vm_start(_metadata, vm);
	if (_metadata->exit_code)
		return;
	if (!smmu_can_nest(&vm->dev.info))
		SKIP(return, "this host cannot nest");
	s->cmdqv = variant->cmdqv;
	s->c.vm = vm;
	if (s->cmdqv && do_hw_info(s) == -EOPNOTSUPP)
		SKIP(return, "no command queues");
	/* Allocate all memory of the guest before anything fails */
	s->c.queue_ipa = guest_zero_page(&vm->g);
	s->second_ipa = guest_zero_page(&vm->g);
	vm->v.g = &vm->g;
	vm->v.ttb = s1_create(&vm->g);
	vm->v.cd = guest_zero_page(&vm->g);
	cd_write(&vm->g, &vm->dev, vm->v.cd, vm->v.ttb, ASID);
}

FIXTURE_TEARDOWN(fail)
{
	vm_stop(_metadata, &self->s.vm);
}

#define FAIL_EACH(_name)							\
	fail_all(_metadata, #_name, s, do_##_name, undo_##_name)

TEST_F(fail, each)
{
	struct steps *s = &self->s;
	struct vm *vm = &s->vm;
	__u64 page = guest_page(&vm->g);

	EXPECT_LT(0, fail_all(_metadata, "hw_info", s, do_hw_info, NULL));
	EXPECT_LT(0, FAIL_EACH(parent));
	EXPECT_LT(0, FAIL_EACH(viommu));
	EXPECT_LT(0, FAIL_EACH(vdevice));
	EXPECT_LT(0, FAIL_EACH(smmu_events));
	if (s->cmdqv) {
		EXPECT_LT(0, FAIL_EACH(mmap));
		EXPECT_LT(0, FAIL_EACH(queue_events));
		EXPECT_LT(0, FAIL_EACH(queue));
		EXPECT_LT(0, FAIL_EACH(second));
	}
	EXPECT_LT(0, FAIL_EACH(nested));
	FAIL_EACH(attach);
	fail_all(_metadata, "command", s, do_command, NULL);

	/* All of it works */
	vm_map(vm, IOVA_A, page);
	EXPECT_EQ(0, do_command(s));
	EXPECT_EQ(page, vm_lands(vm, IOVA_A));
	if (s->cmdqv) {
		ASSERT_TRUE(enable(&s->c));
		EXPECT_TRUE(cmd_sync(&s->c, cmd_nh_asid(0, ASID)));
	}

	/* Nothing holds an object that it should not */
	EXPECT_EQ(0, undo_attach(s));
	EXPECT_EQ(0, undo_nested(s));
	if (s->cmdqv) {
		EXPECT_EQ(0, undo_second(s));
		EXPECT_EQ(0, undo_queue(s));
		EXPECT_EQ(0, undo_queue_events(s));
		EXPECT_EQ(0, undo_mmap(s));
	}
	EXPECT_EQ(0, undo_smmu_events(s));
	EXPECT_EQ(0, undo_vdevice(s));
	EXPECT_EQ(0, undo_viommu(s));
	EXPECT_EQ(0, undo_parent(s));
}

TEST_HARNESS_MAIN
