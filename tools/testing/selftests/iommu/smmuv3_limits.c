// SPDX-License-Identifier: GPL-2.0-only
/*
 * The limits of a VMM: the memory of its objects is charged to it, and ASIDs
 * are scarce
 */
#include <errno.h>
#include <sys/stat.h>

#include "smmuv3_vm.h"

/*
 * All memory that a VMM can make the kernel allocate must be charged to it.
 * Otherwise no limit could keep it from exhausting the machine.
 */
#define CGROUP		"/sys/fs/cgroup"
#define CGROUP_VMM	CGROUP "/smmuv3_limits"
/* A CPU charges 64 pages in advance */
#define CHARGE_SLACK	(128 * HOST_PAGE)
/* More objects take too long */
#define CHARGE_MAX	16384
#define EVENTQ_DEPTH	1024
#define SOFT_CMDQV	"/sys/module/arm_smmu_v3/parameters/soft_cmdqv"

#define ALL_ASIDS	0x10000UL

/* In KiB */
static unsigned long memory_kib(const char *name)
{
	char buf[4096], *at;

	if (read_str("/proc/meminfo", buf, sizeof(buf)))
		return 0;
	at = strstr(buf, name);
	return at ? strtoul(at + strlen(name), NULL, 10) : 0;
}

static long cgroup_charged(void)
{
	char buf[32];

	if (read_str(CGROUP_VMM "/memory.current", buf, sizeof(buf)))
		return -1;
	return strtol(buf, NULL, 10);
}

/* On an empty IOAS, because the tables of mappings are charged separately */
static int charge_stage2(struct vm *vm, __u32 ioas_id)
{
	__u32 id;

	return hwpt_alloc(vm->fd, vm->dev.dev_id, ioas_id,
			  IOMMU_HWPT_ALLOC_NEST_PARENT, IOMMU_HWPT_DATA_NONE,
			  NULL, 0, &id);
}

static int charge_viommu(struct vm *vm, __u32 ioas_id)
{
	__u32 id;

	return viommu_alloc(vm->fd, vm->dev.dev_id, vm->g.s2_id, &id);
}

/* The kernel allocates page 0 together with the vIOMMU */
static int charge_cmdqv(struct vm *vm, __u32 ioas_id)
{
	struct iommu_viommu_tegra241_cmdqv data = {};
	__u32 id;

	return iommufd_viommu_alloc(vm->fd, vm->dev.dev_id, vm->g.s2_id,
				    IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV, &data,
				    sizeof(data), &id);
}

static int charge_nested(struct vm *vm, __u32 ioas_id)
{
	__u32 id;

	return hwpt_alloc_ste(vm->fd, vm->dev.dev_id, vm->v.viommu_id,
			      ste_bypass(), &id);
}

static int charge_veventq(struct vm *vm, __u32 ioas_id)
{
	int rc, queue;
	__u32 id;

	rc = viommu_alloc(vm->fd, vm->dev.dev_id, vm->g.s2_id, &id);
	if (rc)
		return rc;
	return veventq_alloc(vm->fd, id, EVENTQ_DEPTH, &id, &queue);
}

FIXTURE(charge)
{
	struct vm vm;
	char param[8];
};

FIXTURE_VARIANT(charge)
{
	int (*alloc)(struct vm *vm, __u32 ioas_id);
	/*
	 * The minimum size of an object, and enough objects to exceed the slack
	 * of small pages
	 */
	size_t bytes;
	size_t num;
	/* A parameter of the kernel that must be on */
	const char *param;
};

/* The root table, and the structs that describe it: domain, io_pgtable, HWPT */
FIXTURE_VARIANT_ADD(charge, stage2)
{
	.alloc = charge_stage2,
	.bytes = 4096 + 512 + 256 + 256,
	.num = 3072,
};

FIXTURE_VARIANT_ADD(charge, viommu)
{
	.alloc = charge_viommu,
	.bytes = 512,
	.num = 2048,
};

/* The struct, and the registers */
FIXTURE_VARIANT_ADD(charge, cmdqv)
{
	.alloc = charge_cmdqv,
	.bytes = 512 + 0x10000,
	.num = 64,
	.param = SOFT_CMDQV,
};

/* The HWPT and the domain */
FIXTURE_VARIANT_ADD(charge, nested)
{
	.alloc = charge_nested,
	.bytes = 256,
	.num = 16384,
};

FIXTURE_VARIANT_ADD(charge, veventq)
{
	.alloc = charge_veventq,
	.bytes = EVENTQ_DEPTH * (sizeof(struct iommufd_vevent_header) +
				 sizeof(struct iommu_vevent_arm_smmuv3)),
	.num = 64,
};

/* The number of calls that take @bytes each, at least @num */
static size_t charge_num(size_t bytes, size_t num)
{
	size_t least = 2 * CHARGE_SLACK / bytes;

	return num > least ? num : least;
}

FIXTURE_SETUP(charge)
{
	if (charge_num(variant->bytes, variant->num) > CHARGE_MAX)
		SKIP(return, "charges of %llu KiB in advance would hide objects",
		     CHARGE_SLACK / 2 / 1024);
	if (access(CGROUP "/cgroup.controllers", F_OK))
		SKIP(return, "no cgroup v2 at " CGROUP);
	if (write_str(CGROUP "/cgroup.subtree_control", "+memory"))
		SKIP(return, "no memory controller in " CGROUP);
	if (variant->param) {
		if (read_str(variant->param, self->param, sizeof(self->param)))
			SKIP(return, "no %s", variant->param);
		ASSERT_EQ(0, write_str(variant->param, "1"));
	}
	if (mkdir(CGROUP_VMM, 0755))
		ASSERT_EQ(EEXIST, errno);
	ASSERT_EQ(0, write_str(CGROUP_VMM "/cgroup.procs", "0"));
	vm_start_nesting(_metadata, &self->vm);
}

FIXTURE_TEARDOWN(charge)
{
	vm_stop(_metadata, &self->vm);
	EXPECT_EQ(0, write_str(CGROUP "/cgroup.procs", "0"));
	EXPECT_EQ(0, rmdir(CGROUP_VMM));
	if (variant->param)
		EXPECT_EQ(0, write_str(variant->param, self->param));
}

TEST_F(charge, memory)
{
	struct iommu_ioas_alloc ioas = { .size = sizeof(ioas) };
	size_t num = charge_num(variant->bytes, variant->num), i;
	long before;

	ASSERT_EQ(0, iommufd_ioctl(self->vm.fd, IOMMU_IOAS_ALLOC, &ioas));
	before = cgroup_charged();
	ASSERT_LE(0, before);
	for (i = 0; i != num; i++)
		ASSERT_EQ(0, variant->alloc(&self->vm, ioas.out_ioas_id));
	EXPECT_LE(num * variant->bytes - CHARGE_SLACK,
		  cgroup_charged() - before);
}

/*
 * There are fewer ASIDs than HWPTs with a stage 1 of the host that a VMM may
 * allocate. It must get an error for this, and return all of them when it
 * closes.
 */
TEST_F(bare, asids_run_out)
{
	struct iommu_ioas_alloc ioas = { .size = sizeof(ioas) };
	unsigned int num = 0;
	int rc = 0;
	__u32 id;

	if (!(self->dev.info.idr[0] & IDR0_S1P))
		SKIP(return, "this SMMU has no stage 1");
	/* Each HWPT has a root table, of a page */
	if (memory_kib("MemAvailable:") / 2 < ALL_ASIDS * HOST_PAGE / 1024)
		SKIP(return, "no memory for the tables of all ASIDs");
	while (!rc && num < ALL_ASIDS) {
		/* The cost of an IOAS grows with the number of its HWPTs */
		if (!(num % 256))
			ASSERT_EQ(0, iommufd_ioctl(self->fd, IOMMU_IOAS_ALLOC,
						   &ioas));
		rc = hwpt_alloc(self->fd, self->dev.dev_id, ioas.out_ioas_id, 0,
				IOMMU_HWPT_DATA_NONE, NULL, 0, &id);
		num++;
	}
	EXPECT_EQ(-EBUSY, rc) {
		TH_LOG("after %u", num);
	}
	bare_close(self->fd, &self->dev);
	ASSERT_EQ(0, bare_open(self->bdf, &self->fd, &self->ioas_id,
			       &self->dev));
	EXPECT_EQ(0, edu_attach(&self->dev, self->ioas_id));
}

TEST_HARNESS_MAIN
