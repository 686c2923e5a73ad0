// SPDX-License-Identifier: GPL-2.0-only
/*
 * Invalidation commands of a guest, judged by DMA: a changed entry has no
 * effect before the command, and takes effect with it
 */
#include <errno.h>
#include <sys/mman.h>

#include "smmuv3_vm.h"

/* A changed stage-1 mapping */
FIXTURE(tlbi)
{
	struct vm vm;
};

FIXTURE_VARIANT(tlbi)
{
	__u8 op;
	bool ranged;
};

FIXTURE_VARIANT_ADD(tlbi, nh_all)
{
	.op = CMD_TLBI_NH_ALL,
};

FIXTURE_VARIANT_ADD(tlbi, nh_asid)
{
	.op = CMD_TLBI_NH_ASID,
};

FIXTURE_VARIANT_ADD(tlbi, nh_va)
{
	.op = CMD_TLBI_NH_VA,
};

FIXTURE_VARIANT_ADD(tlbi, nh_vaa)
{
	.op = CMD_TLBI_NH_VAA,
};

FIXTURE_VARIANT_ADD(tlbi, nsnh_all)
{
	.op = CMD_TLBI_NSNH_ALL,
};

FIXTURE_VARIANT_ADD(tlbi, nh_va_range)
{
	.op = CMD_TLBI_NH_VA,
	.ranged = true,
};

FIXTURE_VARIANT_ADD(tlbi, nh_vaa_range)
{
	.op = CMD_TLBI_NH_VAA,
	.ranged = true,
};

FIXTURE_SETUP(tlbi)
{
	vm_start_nesting(_metadata, &self->vm);
}

FIXTURE_TEARDOWN(tlbi)
{
	vm_stop(_metadata, &self->vm);
}

static struct smmu_cmd tlbi_cmd(FIXTURE_VARIANT(tlbi) const *variant,
				__u16 asid, __u64 iova)
{
	struct smmu_cmd cmd;

	switch (variant->op) {
	case CMD_TLBI_NH_ALL:
		return cmd_nh_all(any_vmid());
	case CMD_TLBI_NSNH_ALL:
		return cmd_nsnh_all();
	case CMD_TLBI_NH_ASID:
		return cmd_nh_asid(any_vmid(), asid);
	case CMD_TLBI_NH_VA:
		cmd = cmd_nh_va(any_vmid(), asid, iova);
		break;
	default:
		cmd = cmd_nh_vaa(any_vmid(), iova);
		break;
	}
	/* 8 pages */
	return variant->ranged ? cmd_ranged(cmd, 3, 1) : cmd;
}

TEST_F(tlbi, dma)
{
	struct vm *vm = &self->vm;
	__u64 a = guest_page(&vm->g), b = guest_page(&vm->g);
	bool by_asid = variant->op == CMD_TLBI_NH_ASID ||
		       variant->op == CMD_TLBI_NH_VA;
	bool by_va = variant->op == CMD_TLBI_NH_VA ||
		     variant->op == CMD_TLBI_NH_VAA;
	__u64 start = IOVA_A;

	if (variant->ranged) {
		if (!(vm->dev.info.idr[3] & IDR3_RIL))
			SKIP(return, "this SMMU has no range invalidation");
		start -= 5 * GUEST_PAGE;
	}

	vm_map(vm, IOVA_A, a);
	ASSERT_EQ(0, edu_attach(&vm->dev, vm->v.hwpt_s1));
	EXPECT_EQ(a, vm_lands(vm, IOVA_A));
	vm_map(vm, IOVA_A, b);
	EXPECT_EQ(a, vm_lands(vm, IOVA_A));

	/* Commands that narrowly miss the entry have no effect */
	if (by_asid) {
		ASSERT_EQ(0, vm_cmd(vm, tlbi_cmd(variant, ASID_B, start)));
		if (vm->dev.info.idr[0] & IDR0_ASID16)
			ASSERT_EQ(0, vm_cmd(vm, tlbi_cmd(variant, ASID << 8,
							 start)));
	}
	if (by_va) {
		ASSERT_EQ(0, vm_cmd(vm, tlbi_cmd(variant, ASID,
						 IOVA_A + GUEST_PAGE)));
		ASSERT_EQ(0, vm_cmd(vm, tlbi_cmd(variant, ASID,
						 IOVA_A - 8 * GUEST_PAGE)));
	}
	if (by_asid || by_va)
		EXPECT_EQ(a, vm_lands(vm, IOVA_A));

	ASSERT_EQ(0, vm_cmd(vm, tlbi_cmd(variant, ASID, start)));
	EXPECT_EQ(b, vm_lands(vm, IOVA_A));

	/* Removing an entry is a change as well */
	s1_unmap(&vm->g, vm->v.ttb, IOVA_A);
	ASSERT_EQ(0, vm_cmd(vm, tlbi_cmd(variant, ASID, start)));
	EXPECT_EQ(NOWHERE, vm_lands(vm, IOVA_A));
}

/* A changed Context Descriptor */
FIXTURE(cfgi)
{
	struct vm vm;
};

FIXTURE_VARIANT(cfgi)
{
	struct smmu_cmd (*cmd)(__u32 sid);
};

FIXTURE_VARIANT_ADD(cfgi, cd)
{
	.cmd = cmd_cfgi_cd,
};

FIXTURE_VARIANT_ADD(cfgi, cd_all)
{
	.cmd = cmd_cfgi_cd_all,
};

FIXTURE_SETUP(cfgi)
{
	vm_start_nesting(_metadata, &self->vm);
}

FIXTURE_TEARDOWN(cfgi)
{
	vm_stop(_metadata, &self->vm);
}

TEST_F(cfgi, dma)
{
	struct vm *vm = &self->vm;
	__u64 a = guest_page(&vm->g), b = guest_page(&vm->g);
	__u64 ttb = s1_create(&vm->g);

	vm_map(vm, IOVA_A, a);
	s1_map(&vm->g, ttb, IOVA_A, b, S1_RW);
	ASSERT_EQ(0, edu_attach(&vm->dev, vm->v.hwpt_s1));
	EXPECT_EQ(a, vm_lands(vm, IOVA_A));

	cd_write(&vm->g, &vm->dev, vm->v.cd, ttb, ASID_B);
	EXPECT_EQ(-EIO, vm_cmd(vm, variant->cmd(VSID + 1)));
	EXPECT_EQ(-EIO, vm_cmd(vm, variant->cmd(0)));
	ASSERT_EQ(0, vm_cmd(vm, cmd_nsnh_all()));
	EXPECT_EQ(a, vm_lands(vm, IOVA_A));
	ASSERT_EQ(0, vm_cmd(vm, variant->cmd(VSID)));
	EXPECT_EQ(b, vm_lands(vm, IOVA_A));

	/* A command uses the vSID that the device has at this time */
	ASSERT_EQ(0, destroy(vm->fd, vm->v.vdevice_id));
	EXPECT_EQ(-EIO, vm_cmd(vm, variant->cmd(VSID)));
	ASSERT_EQ(0, vdevice_alloc(vm->fd, vm->v.viommu_id, vm->dev.dev_id,
				   VSID_B, NULL));
	EXPECT_EQ(-EIO, vm_cmd(vm, variant->cmd(VSID)));
	cd_write(&vm->g, &vm->dev, vm->v.cd, vm->v.ttb, ASID);
	EXPECT_EQ(b, vm_lands(vm, IOVA_A));
	ASSERT_EQ(0, vm_cmd(vm, variant->cmd(VSID_B)));
	EXPECT_EQ(a, vm_lands(vm, IOVA_A));
}

/* CFGI_STE of a guest covers the CD, too, even if its STE is unchanged */
TEST_F(nesting, replace_same_ste)
{
	struct vm *vm = &self->vm;
	__u64 a = guest_page(&vm->g), b = guest_page(&vm->g);
	__u64 ttb = s1_create(&vm->g);
	__u32 same;

	vm_map(vm, IOVA_A, a);
	s1_map(&vm->g, ttb, IOVA_A, b, S1_RW);
	ASSERT_EQ(0, edu_attach(&vm->dev, vm->v.hwpt_s1));
	EXPECT_EQ(a, vm_lands(vm, IOVA_A));
	cd_write(&vm->g, &vm->dev, vm->v.cd, ttb, ASID_B);
	EXPECT_EQ(a, vm_lands(vm, IOVA_A));
	ASSERT_EQ(0, vm_hwpt(vm, ste_s1(vm->v.cd), &same));
	EXPECT_EQ(a, vm_lands(vm, IOVA_A));
	ASSERT_EQ(0, edu_attach(&vm->dev, same));
	EXPECT_EQ(b, vm_lands(vm, IOVA_A));
}

/* Many commands in one call */
static struct smmu_cmd *filler_cmds(size_t n)
{
	struct smmu_cmd *cmds = calloc(n, sizeof(*cmds));
	size_t i;

	for (i = 0; cmds && i != n; i++)
		cmds[i] = cmd_nh_va(0, ASID, IOVA_C + (i % 512) * GUEST_PAGE);
	return cmds;
}

/*
 * IOVA_A and IOVA_B lead to pages a and b and are cached. Then both are changed
 * to page 1 of each.
 */
struct two_pages {
	__u64 a[2];
	__u64 b[2];
};

static void two_pages_stale(struct __test_metadata *_metadata, struct vm *vm,
			    struct two_pages *p)
{
	int i;

	if (!p->a[0]) {
		for (i = 0; i != 2; i++) {
			p->a[i] = guest_page(&vm->g);
			p->b[i] = guest_page(&vm->g);
		}
	}
	vm_map(vm, IOVA_A, p->a[0]);
	vm_map(vm, IOVA_B, p->b[0]);
	ASSERT_EQ(0, vm_cmd(vm, cmd_nh_all(0)));
	ASSERT_EQ(p->a[0], vm_lands(vm, IOVA_A));
	ASSERT_EQ(p->b[0], vm_lands(vm, IOVA_B));
	vm_map(vm, IOVA_A, p->a[1]);
	vm_map(vm, IOVA_B, p->b[1]);
}

/* Exactly the commands that the kernel reports as done have taken effect */
TEST_F(nesting, bad_command_at_k)
{
	static const unsigned int ks[] = { 1, 64, 1000 };
	struct vm *vm = &self->vm;
	struct two_pages p = {};
	struct smmu_cmd *cmds;
	unsigned int i;
	__u32 num;

	ASSERT_EQ(0, edu_attach(&vm->dev, vm->v.hwpt_s1));
	for (i = 0; i != ARRAY_SIZE(ks); i++) {
		unsigned int k = ks[i];

		two_pages_stale(_metadata, vm, &p);
		cmds = filler_cmds(k + 100);
		ASSERT_NE(NULL, cmds);
		cmds[k - 1] = cmd_nh_va(any_vmid(), ASID, IOVA_A);
		cmds[k] = i & 1 ? cmd_cfgi_cd(VSID + 1) : cmd_raw(0x20, 0);
		cmds[k + 1] = cmd_nh_va(any_vmid(), ASID, IOVA_B);
		num = k + 100;
		EXPECT_EQ(-EIO, viommu_cmds(vm->fd, vm->v.viommu_id, cmds,
					    &num));
		EXPECT_EQ(k, num);
		EXPECT_EQ(p.a[1], vm_lands(vm, IOVA_A));
		EXPECT_EQ(p.b[0], vm_lands(vm, IOVA_B));
		free(cmds);
	}
}

/*
 * The array ends before entry_num says, or an entry is longer than the known
 * struct
 */
TEST_F(nesting, bad_array_at_k)
{
	const unsigned int k = 1024;
	struct {
		struct smmu_cmd cmd;
		__u64 tail[2];
	} wide[4] = {};
	struct vm *vm = &self->vm;
	struct two_pages p = {};
	struct smmu_cmd *cmds, *fill;
	size_t size, page;
	__u32 num;
	int i;

	ASSERT_EQ(0, edu_attach(&vm->dev, vm->v.hwpt_s1));

	page = sysconf(_SC_PAGESIZE);
	size = (k * sizeof(*cmds) + page - 1) / page * page;
	cmds = mmap(NULL, size + page, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, cmds);
	ASSERT_EQ(0, mprotect((void *)cmds + size, page, PROT_NONE));
	cmds = (void *)cmds + size - k * sizeof(*cmds);
	fill = filler_cmds(k);
	ASSERT_NE(NULL, fill);
	memcpy(cmds, fill, k * sizeof(*cmds));
	cmds[0] = cmd_nh_va(any_vmid(), ASID, IOVA_A);

	two_pages_stale(_metadata, vm, &p);
	num = k + 100;
	EXPECT_EQ(-EFAULT, viommu_cmds(vm->fd, vm->v.viommu_id, cmds, &num));
	EXPECT_GE(k, num);
	EXPECT_EQ(p.a[!!num], vm_lands(vm, IOVA_A));
	EXPECT_EQ(p.b[0], vm_lands(vm, IOVA_B));

	num = 1;
	EXPECT_EQ(-EFAULT, viommu_cmds(vm->fd, vm->v.viommu_id,
				       (void *)cmds + k * sizeof(*cmds), &num));
	EXPECT_EQ(0, num);

	for (i = 0; i != 4; i++)
		wide[i].cmd = fill[i];
	wide[1].cmd = cmd_nh_va(any_vmid(), ASID, IOVA_A);
	wide[3].cmd = cmd_nh_va(any_vmid(), ASID, IOVA_B);
	wide[2].tail[1] = htole64(BIT_ULL(63));
	two_pages_stale(_metadata, vm, &p);
	num = 4;
	EXPECT_EQ(-E2BIG,
		  hwpt_invalidate(vm->fd, vm->v.viommu_id,
				  IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3, wide,
				  sizeof(wide[0]), &num));
	EXPECT_EQ(2, num);
	EXPECT_EQ(p.a[1], vm_lands(vm, IOVA_A));
	EXPECT_EQ(p.b[0], vm_lands(vm, IOVA_B));

	wide[2].tail[1] = 0;
	num = 4;
	EXPECT_EQ(0, hwpt_invalidate(vm->fd, vm->v.viommu_id,
				     IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3,
				     wide, sizeof(wide[0]), &num));
	EXPECT_EQ(4, num);
	EXPECT_EQ(p.b[1], vm_lands(vm, IOVA_B));
	free(fill);
}

TEST_F_TIMEOUT(nesting, many_commands, 300)
{
	static const unsigned int ns[] = { 4096, 1U << 19 };
	struct vm *vm = &self->vm;
	struct two_pages p = {};
	struct smmu_cmd *cmds;
	unsigned int i;
	__u32 num;

	ASSERT_EQ(0, edu_attach(&vm->dev, vm->v.hwpt_s1));
	for (i = 0; i != ARRAY_SIZE(ns); i++) {
		two_pages_stale(_metadata, vm, &p);
		cmds = filler_cmds(ns[i]);
		ASSERT_NE(NULL, cmds);
		cmds[ns[i] - 1] = cmd_nh_va(any_vmid(), ASID, IOVA_A);
		EXPECT_EQ(p.a[0], vm_lands(vm, IOVA_A));
		num = ns[i];
		EXPECT_EQ(0, viommu_cmds(vm->fd, vm->v.viommu_id, cmds, &num));
		EXPECT_EQ(ns[i], num);
		EXPECT_EQ(p.a[1], vm_lands(vm, IOVA_A));
		EXPECT_EQ(p.b[0], vm_lands(vm, IOVA_B));
		free(cmds);
	}

	cmds = filler_cmds(4096);
	ASSERT_NE(NULL, cmds);
	for (i = 0; i != 4096; i++)
		cmds[i] = cmd_cfgi_cd(VSID);
	num = 4096;
	EXPECT_EQ(0, viommu_cmds(vm->fd, vm->v.viommu_id, cmds, &num));
	EXPECT_EQ(4096, num);
	free(cmds);
}

TEST_HARNESS_MAIN
