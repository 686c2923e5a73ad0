// SPDX-License-Identifier: GPL-2.0-only
/*
 * Calls, commands and STEs of a VMM or guest that are wrong or hostile, and the
 * end of objects that others use
 */
#include <errno.h>

#include "smmuv3_vm.h"

/*
 * The commands that a guest may issue: the table of the uAPI, written down from
 * the specification and independent of the table in the driver
 */
static bool cmd_fields(const struct edu *dev, __u8 op, __u64 mask[2])
{
	bool ril = dev->info.idr[3] & IDR3_RIL;
	bool ds = dev->info.idr[5] & IDR5_DS;
	bool ssid = IDR1_SSIDSIZE(dev->info.idr[1]);
	__u64 asid = dev->info.idr[0] & IDR0_ASID16 ? CMD0_ASID(0xffff) :
						      CMD0_ASID(0x00ff);

	mask[0] = 0;
	mask[1] = 0;
	switch (op) {
	case CMD_CFGI_CD:
		mask[0] = CMD0_SID(0xffffffff) | (ssid ? 0xfffffULL << 12 : 0);
		mask[1] = CMD1_LEAF;
		return true;
	case CMD_CFGI_CD_ALL:
		mask[0] = CMD0_SID(0xffffffff);
		return true;
	case CMD_TLBI_NH_ALL:
		mask[0] = CMD0_VMID(0xffff);
		return true;
	case CMD_TLBI_NH_ASID:
		mask[0] = CMD0_VMID(0xffff) | asid;
		return true;
	case CMD_TLBI_NH_VA:
	case CMD_TLBI_NH_VAA:
		mask[0] = CMD0_VMID(0xffff);
		if (op == CMD_TLBI_NH_VA)
			mask[0] |= asid;
		mask[1] = CMD1_LEAF | CMD1_VA_MASK;
		if (ril) {
			mask[0] |= CMD0_NUM(0x1f) | CMD0_SCALE(ds ? 0x3f : 0x1f);
			mask[1] |= CMD1_TTL(3) | CMD1_TG(3);
		}
		return true;
	case CMD_TLBI_NSNH_ALL:
		return true;
	case CMD_ATC_INV:
		mask[0] = CMD0_SID(0xffffffff);
		if (ssid)
			mask[0] |= BIT_ULL(11) | BIT_ULL(9) | 0xfffffULL << 12;
		mask[1] = CMD1_VA_MASK | 0x3f;
		return dev->info.idr[0] & IDR0_ATS;
	}
	return false;
}

static bool cmd_legal(const struct edu *dev, __u64 w0, __u64 w1)
{
	unsigned int num = w0 >> 12 & 0x1f, scale = w0 >> 20 & 0x3f;
	unsigned int ttl = w1 >> 8 & 3, tg = w1 >> 10 & 3;
	__u64 mask[2];

	if (!cmd_fields(dev, w0 & 0xff, mask) ||
	    (w0 & ~mask[0] & ~0xffULL) || (w1 & ~mask[1]))
		return false;
	switch (w0 & 0xff) {
	case CMD_CFGI_CD:
	case CMD_CFGI_CD_ALL:
		return w0 >> 32 == VSID;
	case CMD_ATC_INV:
		return w0 >> 32 == VSID && (w1 & 0x3f) <= 52;
	case CMD_TLBI_NH_VA:
	case CMD_TLBI_NH_VAA:
		if (!tg)
			return !num && !scale && !ttl;
		if (!num && !scale && !ttl)
			return false;
		return tg != 2 || ttl != 1 || (dev->info.idr[5] & IDR5_DS);
	}
	return true;
}

static void check_cmd(struct __test_metadata *_metadata, struct vm *vm,
		      __u64 w0, __u64 w1)
{
	EXPECT_EQ(cmd_legal(&vm->dev, w0, w1) ? 0 : -EIO,
		  vm_cmd(vm, cmd_raw(w0, w1))) {
		TH_LOG("command %#llx %#llx", w0, w1);
	}
}

TEST_F(nesting, every_opcode)
{
	unsigned int op;

	for (op = 0; op != 0x100; op++) {
		check_cmd(_metadata, &self->vm, op, 0);
		check_cmd(_metadata, &self->vm, op | CMD0_SID(VSID), 0);
	}
}

TEST_F(nesting, every_command_bit)
{
	struct {
		__u64 w0;
		__u64 w1;
	} base[] = {
		{ CMD_CFGI_CD | CMD0_SID(VSID), 0 },
		{ CMD_CFGI_CD_ALL | CMD0_SID(VSID), 0 },
		{ CMD_TLBI_NH_ALL, 0 },
		{ CMD_TLBI_NH_ASID, 0 },
		{ CMD_TLBI_NH_VA, 0 },
		{ CMD_TLBI_NH_VA | CMD0_NUM(1), CMD1_TG(1) },
		{ CMD_TLBI_NH_VA | CMD0_NUM(1), CMD1_TG(2) },
		{ CMD_TLBI_NH_VA | CMD0_SCALE(1), CMD1_TG(3) },
		{ CMD_TLBI_NH_VA, CMD1_TG(1) | CMD1_TTL(2) },
		{ CMD_TLBI_NH_VAA, 0 },
		{ CMD_TLBI_NH_VAA | CMD0_NUM(1), CMD1_TG(1) },
		{ CMD_TLBI_NH_VAA | CMD0_NUM(1), CMD1_TG(2) },
		{ CMD_TLBI_NH_VAA | CMD0_SCALE(1), CMD1_TG(3) },
		{ CMD_TLBI_NH_VAA, CMD1_TG(1) | CMD1_TTL(2) },
		{ CMD_TLBI_NSNH_ALL, 0 },
		{ CMD_ATC_INV | CMD0_SID(VSID), 0 },
	};
	unsigned int i, bit;

	for (i = 0; i != ARRAY_SIZE(base); i++) {
		check_cmd(_metadata, &self->vm, base[i].w0, base[i].w1);
		for (bit = 0; bit != 64; bit++) {
			check_cmd(_metadata, &self->vm,
				  base[i].w0 ^ 1ULL << bit, base[i].w1);
			check_cmd(_metadata, &self->vm, base[i].w0,
				  base[i].w1 ^ 1ULL << bit);
		}
	}
}

/* A hostile guest: a few fields are right, and the rest is random */
TEST_F(nesting, random_commands)
{
	static const __u8 ops[] = {
		CMD_CFGI_CD,	  CMD_CFGI_CD_ALL, CMD_TLBI_NH_ALL,
		CMD_TLBI_NH_ASID, CMD_TLBI_NH_VA,  CMD_TLBI_NH_VAA,
		CMD_TLBI_NSNH_ALL, CMD_ATC_INV,
	};
	struct vm *vm = &self->vm;
	__u64 a = guest_page(&vm->g);
	unsigned int i;

	vm_map(vm, IOVA_A, a);
	ASSERT_EQ(0, edu_attach(&vm->dev, vm->v.hwpt_s1));
	for (i = 0; i != 3000; i++) {
		__u8 op = ops[random_u64() % ARRAY_SIZE(ops)];
		__u64 w0 = random_u64(), w1 = random_u64(), mask[2];

		/* Mostly legal except for a single field */
		cmd_fields(&vm->dev, op, mask);
		if (random_u64() % 4) {
			w0 &= mask[0];
			w1 &= mask[1];
		}
		w0 = (w0 & ~0xffULL) | op;
		if (op == CMD_CFGI_CD || op == CMD_CFGI_CD_ALL ||
		    op == CMD_ATC_INV)
			w0 = (w0 & 0xffffffff) | CMD0_SID(VSID);
		else if (random_u64() % 2)
			w1 &= ~(CMD1_TG(3) | CMD1_TTL(3));
		if (random_u64() % 2)
			w0 &= ~(CMD0_NUM(0x1f) | CMD0_SCALE(0x3f));
		if (!(random_u64() % 4))
			w0 ^= 1ULL << random_u64() % 64;
		check_cmd(_metadata, vm, w0, w1);
	}
	EXPECT_EQ(a, vm_lands(vm, IOVA_A));
}

/* The STEs that a guest may have */
static bool ste_legal(__u64 w0, __u64 w1)
{
	const __u64 mask0 = STE0_V | STE0_CFG(7) | 3ULL << 4 |
			    STE0_CTXPTR_MASK | 0x1fULL << 59;
	const __u64 mask1 = 0xff | BIT_ULL(27) | STE1_EATS(3);
	unsigned int cfg = w0 >> 1 & 7, eats = w1 >> 28 & 3;

	if (!(w0 & STE0_V))
		return true;
	return !(w0 & ~mask0) && !(w1 & ~mask1) && eats <= 1 &&
	       (cfg == CFG_ABORT || cfg == CFG_BYPASS || cfg == CFG_S1);
}

static void check_ste(struct __test_metadata *_metadata, struct vm *vm,
		      __u64 w0, __u64 w1)
{
	__u32 id;
	int rc;

	rc = vm_hwpt(vm, ste_raw(w0, w1), &id);
	EXPECT_EQ(ste_legal(w0, w1) ? 0 : -EIO, rc) {
		TH_LOG("STE %#llx %#llx", w0, w1);
	}
	if (!rc)
		ASSERT_EQ(0, destroy(vm->fd, id));
}

TEST_F(nesting, every_ste_bit)
{
	static const unsigned int cfgs[] = { CFG_ABORT, CFG_BYPASS, CFG_S1 };
	struct vm *vm = &self->vm;
	unsigned int i, bit;

	for (i = 0; i != 8; i++)
		check_ste(_metadata, vm, STE0_V | STE0_CFG(i), 0);
	for (i = 0; i != 4; i++)
		check_ste(_metadata, vm, STE0_V | STE0_CFG(CFG_S1),
			  STE1_EATS(i));
	check_ste(_metadata, vm, 0, 0);
	check_ste(_metadata, vm, ~STE0_V, ~0ULL);
	check_ste(_metadata, vm, 0, STE1_EATS(2));
	for (i = 0; i != ARRAY_SIZE(cfgs); i++) {
		for (bit = 0; bit != 64; bit++) {
			check_ste(_metadata, vm,
				  (STE0_V | STE0_CFG(cfgs[i])) ^ 1ULL << bit,
				  0);
			check_ste(_metadata, vm, STE0_V | STE0_CFG(cfgs[i]),
				  1ULL << bit);
		}
	}
}

/* Errors, by ioctl */
TEST_F(nesting, err_viommu_alloc)
{
	struct vm *vm = &self->vm;
	__u32 dev_id = vm->dev.dev_id, s2_id = vm->g.s2_id;
	struct {
		struct iommu_viommu_alloc cmd;
		__u64 tail[2];
	} buf;
	__u32 plain, id;

#define VIOMMU_ALLOC_SIZE(_size, ...)                                      \
	({                                                                 \
		buf.cmd = (struct iommu_viommu_alloc){ .size = _size,      \
						       __VA_ARGS__ };      \
		iommufd_ioctl(vm->fd, IOMMU_VIOMMU_ALLOC, &buf);           \
	})
#define VIOMMU_ALLOC(...)	VIOMMU_ALLOC_SIZE(sizeof(buf.cmd), __VA_ARGS__)
#define ARM	.type = IOMMU_VIOMMU_TYPE_ARM_SMMUV3
#define DEV	.dev_id = dev_id
#define S2	.hwpt_id = s2_id

	memset(&buf, 0, sizeof(buf));
	EXPECT_EQ(-ENOENT, VIOMMU_ALLOC(ARM, .dev_id = 0x7777, S2));
	EXPECT_EQ(-ENOENT, VIOMMU_ALLOC(ARM, .dev_id = s2_id, S2));
	EXPECT_EQ(-ENOENT, VIOMMU_ALLOC(ARM, DEV, .hwpt_id = 0x7777));
	EXPECT_EQ(-ENOENT, VIOMMU_ALLOC(ARM, DEV, .hwpt_id = dev_id));
	EXPECT_EQ(-EOPNOTSUPP, VIOMMU_ALLOC(.type = 0, DEV, S2));
	EXPECT_EQ(-EOPNOTSUPP, VIOMMU_ALLOC(.type = 0x7777, DEV, S2));
	EXPECT_EQ(-EOPNOTSUPP, VIOMMU_ALLOC(.type = ~0U, DEV, S2));
	EXPECT_EQ(-EOPNOTSUPP, VIOMMU_ALLOC(ARM, DEV, S2, .flags = 1));
	EXPECT_EQ(-EOPNOTSUPP, VIOMMU_ALLOC(ARM, DEV, S2, .flags = BIT(31)));
	EXPECT_EQ(-EOPNOTSUPP, VIOMMU_ALLOC(ARM, DEV, S2, .__reserved = 1));

	/* A paging HWPT that is no nesting parent, and a nested HWPT */
	ASSERT_EQ(0, hwpt_alloc(vm->fd, dev_id, vm->g.ioas_id, 0,
				IOMMU_HWPT_DATA_NONE, NULL, 0, &plain));
	EXPECT_EQ(-EINVAL, VIOMMU_ALLOC(ARM, DEV, .hwpt_id = plain));
	EXPECT_EQ(-ENOENT,
		  VIOMMU_ALLOC(ARM, DEV, .hwpt_id = vm->v.hwpt_s1));

	/* The order of the checks */
	EXPECT_EQ(-EOPNOTSUPP,
		  VIOMMU_ALLOC(ARM, .dev_id = 0x7777, S2, .flags = 1));
	EXPECT_EQ(-EOPNOTSUPP, VIOMMU_ALLOC(.type = 0, .dev_id = 0x7777, S2));
	EXPECT_EQ(-ENOENT, VIOMMU_ALLOC(.type = 0x7777, .dev_id = 0x7777, S2));
	EXPECT_EQ(-EOPNOTSUPP,
		  VIOMMU_ALLOC(.type = 0x7777, DEV, .hwpt_id = plain));
	EXPECT_EQ(-EOPNOTSUPP,
		  VIOMMU_ALLOC(.type = 0x7777, DEV, .hwpt_id = 0x7777));

	/*
	 * Sizes of the struct: it was shorter in 6.13, and will be longer in
	 * later kernels
	 */
	EXPECT_EQ(-EINVAL, VIOMMU_ALLOC_SIZE(20, ARM, DEV, S2));
	EXPECT_EQ(-EINVAL, VIOMMU_ALLOC_SIZE(0, ARM, DEV, S2));
	EXPECT_EQ(0, VIOMMU_ALLOC_SIZE(24, ARM, DEV, S2));
	EXPECT_EQ(0, destroy(vm->fd, buf.cmd.out_viommu_id));
	/* The bytes behind a shorter struct are ignored */
	EXPECT_EQ(0, VIOMMU_ALLOC_SIZE(24, ARM, DEV, S2, .data_len = ~0U,
				       .__reserved = ~0U,
				       .data_uptr = ~0ULL));
	EXPECT_EQ(0, destroy(vm->fd, buf.cmd.out_viommu_id));
	EXPECT_EQ(-EOPNOTSUPP, VIOMMU_ALLOC_SIZE(32, ARM, DEV, S2,
						 .__reserved = 1));
	EXPECT_EQ(0, VIOMMU_ALLOC_SIZE(sizeof(buf), ARM, DEV, S2));
	EXPECT_EQ(0, destroy(vm->fd, buf.cmd.out_viommu_id));
	buf.tail[1] = 1;
	EXPECT_EQ(-E2BIG, VIOMMU_ALLOC_SIZE(sizeof(buf), ARM, DEV, S2));
	EXPECT_EQ(0, VIOMMU_ALLOC(ARM, DEV, S2));
	id = buf.cmd.out_viommu_id;
	EXPECT_EQ(-EBUSY, destroy(vm->fd, s2_id));
	EXPECT_EQ(0, destroy(vm->fd, id));
	EXPECT_EQ(-ENOENT, destroy(vm->fd, id));
#undef VIOMMU_ALLOC
#undef VIOMMU_ALLOC_SIZE
#undef ARM
#undef DEV
#undef S2
}

TEST_F(nesting, err_vdevice_alloc)
{
	struct vm *vm = &self->vm;
	__u32 dev_id = vm->dev.dev_id, viommu_id = vm->v.viommu_id, other, id;
	struct {
		struct iommu_vdevice_alloc cmd;
		__u64 tail;
	} buf = {
		.cmd = { .viommu_id = viommu_id, .dev_id = dev_id,
			 .virt_id = VSID },
	};

	/* The device has a vDEVICE already, under any name and on any vIOMMU */
	EXPECT_EQ(-EEXIST, vdevice_alloc(vm->fd, viommu_id, dev_id, VSID, &id));
	EXPECT_EQ(-EEXIST, vdevice_alloc(vm->fd, viommu_id, dev_id, VSID_B,
					 &id));
	ASSERT_EQ(0, viommu_alloc(vm->fd, dev_id, vm->g.s2_id, &other));
	EXPECT_EQ(-EEXIST, vdevice_alloc(vm->fd, other, dev_id, VSID, &id));

	/* None of these calls has changed it */
	EXPECT_EQ(0, vm_cmd(vm, cmd_cfgi_cd(VSID)));
	EXPECT_EQ(-EIO, vm_cmd(vm, cmd_cfgi_cd(VSID_B)));
	EXPECT_EQ(-EIO, viommu_cmd(vm->fd, other, cmd_cfgi_cd(VSID)));

	ASSERT_EQ(0, destroy(vm->fd, vm->v.vdevice_id));
	EXPECT_EQ(-ENOENT, vdevice_alloc(vm->fd, 0x7777, dev_id, VSID, &id));
	EXPECT_EQ(-ENOENT, vdevice_alloc(vm->fd, vm->g.s2_id, dev_id, VSID,
					 &id));
	EXPECT_EQ(-ENOENT, vdevice_alloc(vm->fd, viommu_id, 0x7777, VSID, &id));
	EXPECT_EQ(-ENOENT, vdevice_alloc(vm->fd, viommu_id, viommu_id, VSID,
					 &id));
	EXPECT_EQ(-EINVAL, vdevice_alloc(vm->fd, viommu_id, dev_id, BIT_ULL(32),
					 &id));
	EXPECT_EQ(-EINVAL, vdevice_alloc(vm->fd, viommu_id, dev_id,
					 VSID | BIT_ULL(63), &id));

	buf.cmd.size = 20;
	EXPECT_EQ(-EINVAL, iommufd_ioctl(vm->fd, IOMMU_VDEVICE_ALLOC, &buf));
	buf.cmd.size = sizeof(buf);
	buf.tail = 1;
	EXPECT_EQ(-E2BIG, iommufd_ioctl(vm->fd, IOMMU_VDEVICE_ALLOC, &buf));
	buf.tail = 0;
	EXPECT_EQ(0, iommufd_ioctl(vm->fd, IOMMU_VDEVICE_ALLOC, &buf));
	EXPECT_EQ(0, destroy(vm->fd, buf.cmd.out_vdevice_id));

	/* Both ends of a StreamID */
	EXPECT_EQ(0, vdevice_alloc(vm->fd, viommu_id, dev_id, 0, &id));
	EXPECT_EQ(0, vm_cmd(vm, cmd_cfgi_cd(0)));
	EXPECT_EQ(0, destroy(vm->fd, id));
	EXPECT_EQ(0, vdevice_alloc(vm->fd, viommu_id, dev_id, 0xffffffff, &id));
	EXPECT_EQ(0, vm_cmd(vm, cmd_cfgi_cd(0xffffffff)));
	EXPECT_EQ(0, destroy(vm->fd, id));
}

TEST_F(nesting, err_hwpt_alloc)
{
	struct vm *vm = &self->vm;
	__u32 dev_id = vm->dev.dev_id, viommu_id = vm->v.viommu_id, id, bit;
	struct {
		struct iommu_hwpt_arm_smmuv3 ste;
		__u64 tail;
	} data = { .ste = ste_bypass() };

#define ALLOC(pt_id, flags, type, len)                               \
	hwpt_alloc(vm->fd, dev_id, pt_id, flags, type, &data, len, &id)
#define ARM	IOMMU_HWPT_DATA_ARM_SMMUV3

	for (bit = 0; bit != 32; bit++)
		if (1U << bit != IOMMU_HWPT_FAULT_ID_VALID)
			EXPECT_EQ(-EOPNOTSUPP,
				  ALLOC(viommu_id, 1U << bit, ARM, 16));
	EXPECT_EQ(-EINVAL, ALLOC(viommu_id, 0, ARM, 8));
	EXPECT_EQ(-EINVAL, ALLOC(viommu_id, 0, ARM, 15));
	EXPECT_EQ(-EINVAL, ALLOC(viommu_id, 0, ARM, 0));
	EXPECT_EQ(-EINVAL, ALLOC(viommu_id, 0, IOMMU_HWPT_DATA_VTD_S1, 16));
	EXPECT_EQ(-EINVAL, ALLOC(viommu_id, 0, 0x7777, 16));
	EXPECT_EQ(-EOPNOTSUPP, hwpt_alloc(vm->fd, dev_id, viommu_id, 0,
					  IOMMU_HWPT_DATA_NONE, NULL, 0,
					  &id));
	EXPECT_EQ(-EFAULT, hwpt_alloc(vm->fd, dev_id, viommu_id, 0, ARM,
				      (void *)8, 16, &id));
	EXPECT_EQ(-ENOENT, hwpt_alloc(vm->fd, 0x7777, viommu_id, 0, ARM, &data,
				      16, &id));
	EXPECT_EQ(-EINVAL, ALLOC(vm->v.vdevice_id, 0, ARM, 16));
	/* A stage 2 alone has no VMID to nest under */
	EXPECT_EQ(-EOPNOTSUPP, ALLOC(vm->g.s2_id, 0, ARM, 16));

	/* Unlike the struct of an ioctl, the data of a type has a fixed size */
	EXPECT_EQ(-EINVAL, ALLOC(viommu_id, 0, ARM, sizeof(data)));
	EXPECT_EQ(0, ALLOC(viommu_id, 0, ARM, 16));
	EXPECT_EQ(0, destroy(vm->fd, id));
#undef ALLOC
#undef ARM
}

TEST_F(nesting, err_hwpt_invalidate)
{
	struct vm *vm = &self->vm;
	const __u32 arm = IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3;
	size_t page = sysconf(_SC_PAGESIZE);
	struct iommu_hwpt_invalidate cmd;
	struct smmu_cmd *cmds = calloc(2, page);
	__u32 num;

	ASSERT_NE(NULL, cmds);
	cmds[0] = cmd_nsnh_all();

	/* entry_num is 1, and the kernel reports that no entry was done */
#define INVALIDATE(id, type, data, len)                                 \
	({                                                              \
		int _rc;                                                \
									\
		num = 1;                                                \
		_rc = hwpt_invalidate(vm->fd, id, type, data, len, &num); \
		EXPECT_EQ(_rc ? 0 : 1, num);                            \
		_rc;                                                    \
	})

	EXPECT_EQ(0, INVALIDATE(vm->v.viommu_id, arm, cmds, 16));
	EXPECT_EQ(-ENOENT, INVALIDATE(0x7777, arm, cmds, 16));
	EXPECT_EQ(-ENOENT, INVALIDATE(vm->g.ioas_id, arm, cmds, 16));
	EXPECT_EQ(-ENOENT, INVALIDATE(vm->g.s2_id, arm, cmds, 16));
	EXPECT_EQ(-ENOENT, INVALIDATE(vm->dev.dev_id, arm, cmds, 16));
	EXPECT_EQ(-ENOENT, INVALIDATE(vm->v.vdevice_id, arm, cmds, 16));
	/* A nested HWPT of this driver is invalidated through its vIOMMU */
	EXPECT_EQ(-EOPNOTSUPP, INVALIDATE(vm->v.hwpt_s1, arm, cmds, 16));
	EXPECT_EQ(-EINVAL, INVALIDATE(vm->v.viommu_id, 0, cmds, 16));
	EXPECT_EQ(-EINVAL, INVALIDATE(vm->v.viommu_id, 2, cmds, 16));
	EXPECT_EQ(-EINVAL, INVALIDATE(vm->v.viommu_id, 0xdeadbeef, cmds, 16));
	EXPECT_EQ(-EINVAL, INVALIDATE(vm->v.viommu_id, arm, NULL, 16));
	EXPECT_EQ(-EINVAL, INVALIDATE(vm->v.viommu_id, arm, cmds, 0));
	EXPECT_EQ(-EINVAL, INVALIDATE(vm->v.viommu_id, arm, cmds, 8));
	EXPECT_EQ(-EINVAL, INVALIDATE(vm->v.viommu_id, arm, cmds, 15));
	EXPECT_EQ(-EINVAL, INVALIDATE(vm->v.viommu_id, arm, cmds, page + 1));
	EXPECT_EQ(-EINVAL, INVALIDATE(vm->v.viommu_id, arm, cmds, ~0U));
	EXPECT_EQ(-EFAULT, INVALIDATE(vm->v.viommu_id, arm, (void *)16, 16));
	EXPECT_EQ(0, INVALIDATE(vm->v.viommu_id, arm, cmds, 24));
	EXPECT_EQ(0, INVALIDATE(vm->v.viommu_id, arm, cmds, page));
	cmds[1].cmd[0] = 1;
	EXPECT_EQ(0, INVALIDATE(vm->v.viommu_id, arm, cmds, 16));
	EXPECT_EQ(-E2BIG, INVALIDATE(vm->v.viommu_id, arm, cmds, 24));
	EXPECT_EQ(-E2BIG, INVALIDATE(vm->v.viommu_id, arm, cmds, page));
#undef INVALIDATE

	num = BIT(19) + 1;
	EXPECT_EQ(-EINVAL, viommu_cmds(vm->fd, vm->v.viommu_id, cmds, &num));
	EXPECT_EQ(0, num);
	num = ~0U;
	EXPECT_EQ(-EINVAL, viommu_cmds(vm->fd, vm->v.viommu_id, cmds, &num));
	EXPECT_EQ(0, num);

	/* The probe checks the type, and nothing else */
	num = 0;
	EXPECT_EQ(0, hwpt_invalidate(vm->fd, vm->v.viommu_id, arm, NULL, 0,
				     &num));
	EXPECT_EQ(0, hwpt_invalidate(vm->fd, vm->v.viommu_id, arm, (void *)1,
				     ~0U, &num));
	EXPECT_EQ(0, num);
	EXPECT_EQ(-EINVAL, hwpt_invalidate(vm->fd, vm->v.viommu_id, 0, NULL, 0,
					   &num));
	EXPECT_EQ(-EINVAL, hwpt_invalidate(vm->fd, vm->v.viommu_id, 0xdeadbeef,
					   NULL, 0, &num));
	EXPECT_EQ(-ENOENT, hwpt_invalidate(vm->fd, vm->g.s2_id, arm, NULL, 0,
					   &num));

	cmd = (struct iommu_hwpt_invalidate){
		.size = sizeof(cmd),
		.hwpt_id = vm->v.viommu_id,
		.data_type = arm,
		.__reserved = 1,
	};
	EXPECT_EQ(-EOPNOTSUPP,
		  iommufd_ioctl(vm->fd, IOMMU_HWPT_INVALIDATE, &cmd));
	free(cmds);
}

/* An object cannot be destroyed as long as it is in use, and can afterwards */
TEST_F(nesting, err_destroy)
{
	struct vm *vm = &self->vm;
	int fd = vm->fd;
	__u32 bypass;

	ASSERT_EQ(0, vm_hwpt(vm, ste_bypass(), &bypass));
	ASSERT_EQ(0, edu_attach(&vm->dev, vm->v.hwpt_s1));
	EXPECT_EQ(-EBUSY, destroy(fd, vm->v.hwpt_s1));
	EXPECT_EQ(-EBUSY, destroy(fd, vm->v.viommu_id));
	EXPECT_EQ(-EBUSY, destroy(fd, vm->g.s2_id));
	EXPECT_EQ(-EBUSY, destroy(fd, vm->dev.dev_id));

	/* After the replace, it is no longer in use */
	ASSERT_EQ(0, edu_attach(&vm->dev, bypass));
	EXPECT_EQ(0, destroy(fd, vm->v.hwpt_s1));
	EXPECT_EQ(-EBUSY, destroy(fd, bypass));
	/* A vDEVICE may be destroyed at any time */
	EXPECT_EQ(-EBUSY, destroy(fd, vm->v.viommu_id));
	EXPECT_EQ(0, destroy(fd, vm->v.vdevice_id));
	EXPECT_EQ(-ENOENT, destroy(fd, vm->v.vdevice_id));
	EXPECT_EQ(-EBUSY, destroy(fd, vm->v.viommu_id));
	ASSERT_EQ(0, edu_detach(&vm->dev));
	EXPECT_EQ(-EBUSY, destroy(fd, vm->v.viommu_id));
	EXPECT_EQ(0, destroy(fd, bypass));

	/* A vDEVICE alone holds its vIOMMU */
	ASSERT_EQ(0, vdevice_alloc(fd, vm->v.viommu_id, vm->dev.dev_id, VSID,
				   &vm->v.vdevice_id));
	EXPECT_EQ(-EBUSY, destroy(fd, vm->v.viommu_id));
	EXPECT_EQ(0, destroy(fd, vm->v.vdevice_id));
	/* A vIOMMU alone holds its stage 2 */
	EXPECT_EQ(-EBUSY, destroy(fd, vm->g.s2_id));
	EXPECT_EQ(0, destroy(fd, vm->v.viommu_id));
	EXPECT_EQ(0, destroy(fd, vm->g.s2_id));
	EXPECT_EQ(0, destroy(fd, vm->g.ioas_id));
}

/*
 * A device leaves while it has a vDEVICE. Nothing can find the device any more,
 * and the ID that the VMM still has must not become the ID of another object.
 */
TEST_F(nesting, device_gone)
{
	struct vm *vm = &self->vm;
	struct iommu_ioas_alloc ioas = { .size = sizeof(ioas) };
	char bdf[16];
	int i;

	memcpy(bdf, vm->dev.bdf, sizeof(bdf));
	ASSERT_EQ(0, edu_attach(&vm->dev, vm->v.hwpt_s1));
	edu_close(&vm->dev);
	EXPECT_EQ(-EIO, vm_cmd(vm, cmd_cfgi_cd(VSID)));
	EXPECT_EQ(0, vm_cmd(vm, cmd_nh_all(0)));
	for (i = 0; i != 4; i++) {
		ASSERT_EQ(0, iommufd_ioctl(vm->fd, IOMMU_IOAS_ALLOC, &ioas));
		EXPECT_NE(vm->v.vdevice_id, ioas.out_ioas_id);
	}
	EXPECT_EQ(-ENOENT, destroy(vm->fd, vm->v.vdevice_id));
	EXPECT_EQ(-ENOENT, destroy(vm->fd, vm->v.vdevice_id));

	/* The device returns under the same name */
	ASSERT_EQ(0, edu_open(&vm->dev, bdf, vm->fd));
	EXPECT_EQ(-ENOENT, edu_attach(&vm->dev, vm->v.hwpt_s1));
	ASSERT_EQ(0, vdevice_alloc(vm->fd, vm->v.viommu_id, vm->dev.dev_id,
				   VSID, NULL));
	EXPECT_EQ(0, vm_cmd(vm, cmd_cfgi_cd(VSID)));
	EXPECT_EQ(0, edu_attach(&vm->dev, vm->v.hwpt_s1));
}

/*
 * A VMM dies: closing the fds alone destroys everything, in either order, with
 * the device nested and its caches full
 */
TEST_F(nesting, abandoned)
{
	struct vm *vm = &self->vm;
	__u64 a = guest_page(&vm->g), landed;
	int fd;

	vm_map(vm, IOVA_A, a);
	ASSERT_EQ(0, edu_attach(&vm->dev, vm->v.hwpt_s1));
	EXPECT_EQ(a, vm_lands(vm, IOVA_A));
	close(vm->fd);
	EXPECT_EQ(a, vm_lands(vm, IOVA_A));
	edu_write_start(&vm->dev, &vm->g, IOVA_A);
	edu_close(&vm->dev);
	/* Another fd, because the teardown of the fixture closes one */
	fd = iommufd_open();
	ASSERT_LE(0, fd);
	vm->fd = fd;
	usleep(200000);
	/* A fast device has written before it was closed */
	landed = edu_write_landed(&vm->dev, &vm->g, IOVA_A);
	EXPECT_TRUE(landed == a || landed == NOWHERE);
	EXPECT_TRUE(guests_intact());
}

/* Several vIOMMUs */
TEST_F(nesting, vdevice_is_of_its_viommu)
{
	struct vm *vm = &self->vm;
	__u64 a = guest_page(&vm->g);
	__u32 other, s1, bypass;

	vm_map(vm, IOVA_A, a);
	ASSERT_EQ(0, viommu_alloc(vm->fd, vm->dev.dev_id, vm->g.s2_id, &other));
	ASSERT_EQ(0, hwpt_alloc_ste(vm->fd, vm->dev.dev_id, other,
				    ste_s1(vm->v.cd), &s1));
	ASSERT_EQ(0, hwpt_alloc_ste(vm->fd, vm->dev.dev_id, other, ste_bypass(),
				    &bypass));
	EXPECT_EQ(-ENOENT, edu_attach(&vm->dev, s1));
	EXPECT_EQ(a, vm_lands(vm, a));
	EXPECT_EQ(0, edu_attach(&vm->dev, bypass));
	EXPECT_EQ(a, vm_lands(vm, a));
	ASSERT_EQ(0, edu_attach(&vm->dev, vm->v.hwpt_s1));
	EXPECT_EQ(a, vm_lands(vm, IOVA_A));

	/* The device moves to the other vIOMMU */
	ASSERT_EQ(0, edu_attach(&vm->dev, vm->g.s2_id));
	ASSERT_EQ(0, destroy(vm->fd, vm->v.vdevice_id));
	ASSERT_EQ(0, vdevice_alloc(vm->fd, other, vm->dev.dev_id, VSID, NULL));
	EXPECT_EQ(-ENOENT, edu_attach(&vm->dev, vm->v.hwpt_s1));
	EXPECT_EQ(-EIO, vm_cmd(vm, cmd_cfgi_cd(VSID)));
	EXPECT_EQ(0, viommu_cmd(vm->fd, other, cmd_cfgi_cd(VSID)));
	ASSERT_EQ(0, edu_attach(&vm->dev, s1));
	EXPECT_EQ(a, vm_lands(vm, IOVA_A));
}

/* VMIDs come with attaches: many idle vIOMMUs take none, and none leaks */
TEST_F(nesting, many_viommus)
{
	struct vm *vm = &self->vm;
	__u64 a = guest_page(&vm->g);
	__u32 ids[64], bypass;
	unsigned int i;

	for (i = 0; i != ARRAY_SIZE(ids); i++)
		ASSERT_EQ(0, viommu_alloc(vm->fd, vm->dev.dev_id, vm->g.s2_id,
					  &ids[i]));
	for (i = 0; i != ARRAY_SIZE(ids); i++) {
		/* Nothing can be cached under this VMID */
		EXPECT_EQ(0, viommu_cmd(vm->fd, ids[i], cmd_nh_all(0)));
		ASSERT_EQ(0, hwpt_alloc_ste(vm->fd, vm->dev.dev_id, ids[i],
					    ste_bypass(), &bypass));
		ASSERT_EQ(0, edu_attach(&vm->dev, bypass));
		if (i % 32 == 31)
			EXPECT_EQ(a, vm_lands(vm, a));
		ASSERT_EQ(0, edu_attach(&vm->dev, vm->g.s2_id));
		ASSERT_EQ(0, destroy(vm->fd, bypass));
		ASSERT_EQ(0, destroy(vm->fd, ids[i]));
	}
	EXPECT_EQ(a, vm_lands(vm, a));
}

/* A new attach requires the vDEVICE, an existing attachment does not */
TEST_F(nesting, refused_without_vdevice)
{
	struct vm *vm = &self->vm;
	__u64 a = guest_page(&vm->g);
	__u32 again;

	vm_map(vm, IOVA_A, a);
	ASSERT_EQ(0, vm_hwpt(vm, ste_s1(vm->v.cd), &again));
	ASSERT_EQ(0, edu_attach(&vm->dev, vm->v.hwpt_s1));
	ASSERT_EQ(0, destroy(vm->fd, vm->v.vdevice_id));
	EXPECT_EQ(-ENOENT, edu_attach(&vm->dev, again));
	EXPECT_EQ(a, vm_lands(vm, IOVA_A));
	/* It can leave for the stage 2, and cannot return */
	ASSERT_EQ(0, edu_attach(&vm->dev, vm->g.s2_id));
	EXPECT_EQ(-ENOENT, edu_attach(&vm->dev, vm->v.hwpt_s1));
	EXPECT_EQ(a, vm_lands(vm, a));
}

TEST_HARNESS_MAIN
