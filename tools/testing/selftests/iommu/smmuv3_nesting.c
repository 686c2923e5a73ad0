// SPDX-License-Identifier: GPL-2.0-only
/*
 * Nested translation on an ARM SMMUv3: this plays a VMM, and a device's DMA
 * tells what the hardware was really told
 *
 * The host is the emulated one of tools/testing/selftests/iommu/qemu, the
 * device a QEMU edu, or two of them. The emulated SMMU caches what it has
 * translated, so a mapping that the guest changed stays what it was until an
 * invalidation arrives there under the right VMID, ASID, address and StreamID.
 * That is how most of the tests here are built: one DMA that fills the caches, a
 * change, a DMA that must not see it, an ioctl, and a DMA that must.
 *
 * No identifier of the guest is by chance that of the host: its StreamID is
 * VSID, its VMIDs are random, its IOVAs are no IPAs.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "../kselftest_harness.h"
#include "smmuv3_guest.h"

#define VSID		0x1234
#define VSID_B		0x8765
#define ASID		0x21
#define ASID_B		0x22

#define IOVA_A		0x0c345000ULL
#define IOVA_B		0x0c346000ULL
#define IOVA_C		0x0d802000ULL

/* A slot of guest memory that comes and goes */
#define HOLE_IPA	0x02400000ULL
#define HOLE_SIZE	0x10000ULL

/*
 * A vIOMMU with a device behind it, and the address space that the guest made
 * for the device
 */
struct vsmmu {
	struct guest *g;
	struct edu *dev;
	__u32 viommu_id;
	__u32 vdevice_id;
	__u32 hwpt_s1;
	__u64 cd;
	__u64 ttb;
};

static __u16 any_vmid(void)
{
	return random_u64();
}

/* The page that a write of the device to the page at @iova lands in */
static __u64 lands(struct edu *dev, struct guest *g, __u64 iova)
{
	__u64 in_page = random_u64() % (GUEST_PAGE / 2) & ~7ULL;
	__u64 ipa = edu_write_lands(dev, g, iova + in_page);

	return ipa == NOWHERE || ipa == ASTRAY ? ipa : ipa - in_page;
}

static bool host_can_nest(const struct edu *dev)
{
	const __u32 *idr = dev->info.idr;

	return (idr[0] & IDR0_S1P) && (idr[0] & IDR0_S2P) &&
	       ((idr[3] & IDR3_FWB) || host_iort_canwbs());
}

/* The device, and guest memory in a stage 2 that it is attached to */
static void device_start(struct __test_metadata *_metadata, struct guest *g,
			 struct edu *dev, int fd, const char *bdf)
{
	__u64 page;
	int rc;

	ASSERT_EQ(0, edu_open(dev, bdf, fd));
	if (!g->nslots) {
		ASSERT_EQ(0, guest_init(g, fd));
		rc = hwpt_alloc(fd, dev->dev_id, g->ioas_id,
				IOMMU_HWPT_ALLOC_NEST_PARENT,
				IOMMU_HWPT_DATA_NONE, NULL, 0, &g->s2_id);
		g->nest_parent = !rc;
		if (rc && host_can_nest(dev))
			ASSERT_EQ(0, rc);
	}
	ASSERT_EQ(0, edu_attach(dev, g->s2_id));
	page = guest_page(g);
	edu_load(dev, g, page, page);
}

static void vsmmu_start(struct __test_metadata *_metadata, struct vsmmu *v,
			struct guest *g, struct edu *dev, __u32 vsid)
{
	int rc;

	v->g = g;
	v->dev = dev;
	if (!host_can_nest(dev))
		SKIP(return, "this host cannot nest");
	rc = viommu_alloc(g->fd, dev->dev_id, g->s2_id, &v->viommu_id);
	if (rc == -ENOTTY)
		SKIP(return, "this kernel has no vIOMMU");
	ASSERT_EQ(0, rc);
	ASSERT_EQ(0, vdevice_alloc(g->fd, v->viommu_id, dev->dev_id, vsid,
				   &v->vdevice_id));
	v->ttb = s1_create(g);
	/* Not at the start of its page */
	v->cd = guest_zero_page(g) + 64 * (1 + random_u64() % 63);
	cd_write(g, dev, v->cd, v->ttb, ASID);
	ASSERT_EQ(0, hwpt_alloc_ste(g->fd, dev->dev_id, v->viommu_id,
				    ste_s1(v->cd), &v->hwpt_s1));
}

/*
 * What must not be in the kernel log after any of this, whatever the guest did.
 * An error of the command queue is one of all VMs on that SMMU.
 */
static void expect_clean_klog(struct __test_metadata *_metadata)
{
	static const char *const bad[] = {
		"CMDQ error",	 "CMD_SYNC timeout", "global error",
		"WARNING:",	 "BUG:",	     "Oops",
		"INFO: task",	 "INFO: rcu",	     "INFO: possible",
		"refcount_t",	 "UBSAN:",	     "Internal error",
		"suspicious RCU",
	};
	char *log = klog_read(true);
	size_t i;

	if (!log)
		return;
	for (i = 0; i != ARRAY_SIZE(bad); i++) {
		char *at = strstr(log, bad[i]);

		EXPECT_EQ(NULL, at) {
			TH_LOG("kernel log: %.200s", at);
		}
	}
	free(log);
}

/* One guest with one device: what most of the tests run on */
struct vm {
	int fd;
	struct guest g;
	struct edu dev;
	struct vsmmu v;
};

static void vm_start(struct __test_metadata *_metadata, struct vm *vm)
{
	char bdf[16], why[128];

	if (edu_find(bdf, why, sizeof(why)))
		SKIP(return, "%s", why);
	klog_mark(_metadata->name);
	vm->fd = iommufd_open();
	if (vm->fd == -ENOENT)
		SKIP(return, "no /dev/iommu");
	ASSERT_LE(0, vm->fd);
	device_start(_metadata, &vm->g, &vm->dev, vm->fd, bdf);
}

static void vm_start_nesting(struct __test_metadata *_metadata, struct vm *vm)
{
	vm_start(_metadata, vm);
	if (_metadata->exit_code)
		return;
	vsmmu_start(_metadata, &vm->v, &vm->g, &vm->dev, VSID);
}

static void vm_stop(struct __test_metadata *_metadata, struct vm *vm)
{
	edu_close(&vm->dev);
	close(vm->fd);
	expect_clean_klog(_metadata);
}

static __u64 vm_lands(struct vm *vm, __u64 iova)
{
	return lands(&vm->dev, &vm->g, iova);
}

static void vm_map(struct vm *vm, __u64 iova, __u64 ipa)
{
	s1_map(&vm->g, vm->v.ttb, iova, ipa, S1_RW);
}

static int vm_cmd(struct vm *vm, struct smmu_cmd cmd)
{
	return viommu_cmd(vm->fd, vm->v.viommu_id, cmd);
}

static int vm_hwpt(struct vm *vm, struct iommu_hwpt_arm_smmuv3 ste, __u32 *id)
{
	return hwpt_alloc_ste(vm->fd, vm->dev.dev_id, vm->v.viommu_id, ste, id);
}

/*
 * The host, with stage 2 alone
 */
FIXTURE(host)
{
	struct vm vm;
};

FIXTURE_SETUP(host)
{
	vm_start(_metadata, &self->vm);
}

FIXTURE_TEARDOWN(host)
{
	vm_stop(_metadata, &self->vm);
}

TEST_F(host, hw_info)
{
	struct {
		struct iommu_hw_info_arm_smmuv3 info;
		__u8 tail[8];
	} buf, part;
	__u32 dev_id = self->vm.dev.dev_id;
	int fd = self->vm.fd;
	__u32 type, len;

	type = IOMMU_HW_INFO_TYPE_DEFAULT;
	len = sizeof(buf);
	memset(&buf, 0xff, sizeof(buf));
	ASSERT_EQ(0, hw_info(fd, dev_id, 0, &type, &buf, &len));
	if (type == IOMMU_HW_INFO_TYPE_NONE && !self->vm.g.nest_parent)
		SKIP(return, "this kernel has no nesting on SMMUv3");
	ASSERT_EQ(IOMMU_HW_INFO_TYPE_ARM_SMMUV3, type);
	EXPECT_EQ(40, len);
	EXPECT_EQ(0, buf.info.flags);
	EXPECT_EQ(0, buf.info.__reserved);
	EXPECT_EQ(0, buf.tail[0]);
	EXPECT_EQ(0, buf.tail[7]);

	/* What every VMM asks of an SMMU before it puts a guest behind it */
	EXPECT_NE(0, buf.info.idr[0] & IDR0_S2P);
	EXPECT_NE(0, buf.info.idr[0] & IDR0_S1P);
	EXPECT_LE(2, buf.info.idr[0] >> 2 & 3) {
		TH_LOG("no AArch64 tables in IDR0.TTF");
	}
	EXPECT_EQ(1, buf.info.idr[0] >> 27 & 3) {
		TH_LOG("IDR0.ST_LEVEL is not 2-level");
	}
	EXPECT_LE(8, buf.info.idr[1] & 0x3f) {
		TH_LOG("IDR1.SIDSIZE");
	}
	EXPECT_NE(0, buf.info.idr[5] & 0x70) {
		TH_LOG("IDR5: no granule");
	}
	EXPECT_GE(6, IDR5_OAS(buf.info.idr[5]));

	/* A buffer that is too small gets what fits */
	type = IOMMU_HW_INFO_TYPE_DEFAULT;
	len = 12;
	memset(&part, 0xee, sizeof(part));
	ASSERT_EQ(0, hw_info(fd, dev_id, 0, &type, &part, &len));
	EXPECT_EQ(40, len);
	EXPECT_EQ(buf.info.idr[0], part.info.idr[0]);
	EXPECT_EQ(0xeeeeeeee, part.info.idr[1]);
	type = IOMMU_HW_INFO_TYPE_DEFAULT;
	len = 0;
	ASSERT_EQ(0, hw_info(fd, dev_id, 0, &type, NULL, &len));
	EXPECT_EQ(IOMMU_HW_INFO_TYPE_ARM_SMMUV3, type);

	/* Asked for by type */
	type = IOMMU_HW_INFO_TYPE_ARM_SMMUV3;
	len = sizeof(buf.info);
	memset(&part, 0, sizeof(part));
	EXPECT_EQ(0, hw_info(fd, dev_id, IOMMU_HW_INFO_FLAG_INPUT_TYPE, &type,
			     &part, &len));
	EXPECT_EQ(IOMMU_HW_INFO_TYPE_ARM_SMMUV3, type);
	EXPECT_EQ(0, memcmp(&buf.info, &part.info, sizeof(buf.info)));
	type = IOMMU_HW_INFO_TYPE_DEFAULT;
	EXPECT_EQ(0, hw_info(fd, dev_id, IOMMU_HW_INFO_FLAG_INPUT_TYPE, &type,
			     &part, &len));
	EXPECT_EQ(IOMMU_HW_INFO_TYPE_ARM_SMMUV3, type);
	type = IOMMU_HW_INFO_TYPE_INTEL_VTD;
	EXPECT_EQ(-EOPNOTSUPP,
		  hw_info(fd, dev_id, IOMMU_HW_INFO_FLAG_INPUT_TYPE, &type,
			  &part, &len));
	type = 0x7777;
	EXPECT_EQ(-EOPNOTSUPP,
		  hw_info(fd, dev_id, IOMMU_HW_INFO_FLAG_INPUT_TYPE, &type,
			  &part, &len));
	/* and without the flag the field is output only */
	EXPECT_EQ(0, hw_info(fd, dev_id, 0, &type, &part, &len));
	EXPECT_EQ(IOMMU_HW_INFO_TYPE_ARM_SMMUV3, type);
	EXPECT_EQ(-EOPNOTSUPP, hw_info(fd, dev_id, 1U << 1, &type, &part, &len));
	EXPECT_EQ(-ENOENT, hw_info(fd, self->vm.g.ioas_id, 0, &type, &part,
				   &len));
}

TEST_F(host, stage2_dma)
{
	struct vm *vm = &self->vm;
	__u64 a = guest_page(&vm->g), b = guest_page(&vm->g);

	EXPECT_EQ(a, vm_lands(vm, a));
	EXPECT_TRUE(edu_read_gets(&vm->dev, &vm->g, a, a, b, b));
	EXPECT_EQ(NOWHERE, vm_lands(vm, HOLE_IPA));
	ASSERT_EQ(0, guest_map(&vm->g, HOLE_IPA, HOLE_SIZE, true));
	EXPECT_EQ(HOLE_IPA, vm_lands(vm, HOLE_IPA));
	ASSERT_EQ(0, guest_unmap(&vm->g, HOLE_IPA));
	EXPECT_EQ(NOWHERE, vm_lands(vm, HOLE_IPA));
	ASSERT_EQ(0, edu_detach(&vm->dev));
	EXPECT_EQ(NOWHERE, vm_lands(vm, a));
	ASSERT_EQ(0, edu_attach(&vm->dev, vm->g.s2_id));
	EXPECT_EQ(a, vm_lands(vm, a));
}

TEST_F(host, refusal_says_why)
{
	struct vm *vm = &self->vm;
	__u32 id;
	char *log;
	int rc;

	if (host_can_nest(&vm->dev))
		SKIP(return, "this host can nest");
	rc = viommu_alloc(vm->fd, vm->dev.dev_id, vm->g.s2_id, &id);
	if (rc == -ENOTTY)
		SKIP(return, "this kernel has no vIOMMU");
	EXPECT_EQ(-EOPNOTSUPP, rc);
	/* Said once, maybe before this test */
	log = klog_read(false);
	ASSERT_NE(NULL, log);
	if ((vm->dev.info.idr[0] & IDR0_S1P) &&
	    (vm->dev.info.idr[0] & IDR0_S2P)) {
		EXPECT_NE(NULL, strstr(log, "CANWBS"));
	}
	free(log);
}

/*
 * One guest, one device, one vIOMMU
 */
FIXTURE(nesting)
{
	struct vm vm;
};

FIXTURE_SETUP(nesting)
{
	vm_start_nesting(_metadata, &self->vm);
}

FIXTURE_TEARDOWN(nesting)
{
	vm_stop(_metadata, &self->vm);
}

TEST_F(nesting, dma)
{
	struct vm *vm = &self->vm;
	struct guest *g = &vm->g;
	__u64 a = guest_page(g), b = guest_page(g), c = guest_page(g);
	__u64 ro = guest_page(g);

	vm_map(vm, IOVA_A, a);
	vm_map(vm, IOVA_B, b);
	vm_map(vm, IOVA_C, c);
	s1_map(g, vm->v.ttb, IOVA_C + GUEST_PAGE, ro, S1_RO);
	ASSERT_EQ(0, edu_attach(&vm->dev, vm->v.hwpt_s1));

	EXPECT_EQ(a, vm_lands(vm, IOVA_A));
	EXPECT_EQ(c, vm_lands(vm, IOVA_C));
	EXPECT_TRUE(edu_read_gets(&vm->dev, g, IOVA_A, a, IOVA_C, c));
	EXPECT_TRUE(edu_read_gets(&vm->dev, g, IOVA_C, c, IOVA_B, b));

	/* One DMA over two pages that are neighbours in IOVA alone */
	edu_load(&vm->dev, g, IOVA_C, c);
	guest_expect(g, a + 0x800, vm->dev.buf, 0x800);
	guest_expect(g, b, vm->dev.buf + 0x800, 0x800);
	edu_write(&vm->dev, IOVA_A + 0x800, 0, EDU_BUF_SIZE);
	EXPECT_TRUE(guests_intact());

	/* The guest's rights count, an IPA is not an IOVA, and a hole is one */
	EXPECT_TRUE(edu_read_gets(&vm->dev, g, IOVA_C + GUEST_PAGE, ro, IOVA_B,
				  b));
	EXPECT_EQ(NOWHERE, vm_lands(vm, IOVA_C + GUEST_PAGE));
	EXPECT_EQ(NOWHERE, vm_lands(vm, a));
	EXPECT_EQ(NOWHERE, vm_lands(vm, IOVA_C + 2 * GUEST_PAGE));
}

/* The guest's rights end where those of stage 2 do */
TEST_F(nesting, stage2_rights)
{
	struct vm *vm = &self->vm;
	__u64 b = guest_page(&vm->g);

	ASSERT_EQ(0, guest_map(&vm->g, HOLE_IPA, HOLE_SIZE, false));
	vm_map(vm, IOVA_A, HOLE_IPA);
	vm_map(vm, IOVA_B, b);
	vm_map(vm, IOVA_C, HOLE_IPA + HOLE_SIZE);
	ASSERT_EQ(0, edu_attach(&vm->dev, vm->v.hwpt_s1));
	EXPECT_TRUE(edu_read_gets(&vm->dev, &vm->g, IOVA_A, HOLE_IPA, IOVA_B,
				  b));
	EXPECT_EQ(NOWHERE, vm_lands(vm, IOVA_A));
	EXPECT_EQ(NOWHERE, vm_lands(vm, IOVA_C));
}

TEST_F(nesting, dma_block)
{
	struct vm *vm = &self->vm;
	__u64 a = guest_page(&vm->g);

	s1_map_block(&vm->g, vm->v.ttb, IOVA_A, GUEST_RAM_IPA);
	ASSERT_EQ(0, edu_attach(&vm->dev, vm->v.hwpt_s1));
	EXPECT_EQ(a, vm_lands(vm, (IOVA_A & ~0x1fffffULL) +
				  (a - GUEST_RAM_IPA)));
}

/* All of the 48 bits of an IOVA, and an IPA above 4G */
TEST_F(nesting, dma_wide)
{
	const __u64 iova = 0xb7abcdef5000ULL, ipa = 0x4f12340000ULL;
	struct vm *vm = &self->vm;

	ASSERT_EQ(0, guest_map(&vm->g, ipa, HOLE_SIZE, true));
	if (vm_lands(vm, ipa) != ipa)
		SKIP(return, "edu has a narrow dma_mask");
	vm_map(vm, iova, ipa + 0x3000);
	ASSERT_EQ(0, edu_attach(&vm->dev, vm->v.hwpt_s1));
	EXPECT_EQ(ipa + 0x3000, vm_lands(vm, iova));
}

/* Bypass and abort need no vDEVICE: a VMM attaches them before it has one */
TEST_F(nesting, ste_kinds)
{
	struct vm *vm = &self->vm;
	__u64 a = guest_page(&vm->g), b = guest_page(&vm->g);
	__u32 bypass, abort_id, invalid, eats;

	ASSERT_EQ(0, iommufd_destroy(vm->fd, vm->v.vdevice_id));
	ASSERT_EQ(0, vm_hwpt(vm, ste_bypass(), &bypass));
	ASSERT_EQ(0, vm_hwpt(vm, ste_abort(), &abort_id));
	/* V = 0: nothing else in it counts */
	ASSERT_EQ(0, vm_hwpt(vm, ste_raw(~STE0_V, ~0ULL), &invalid));
	vm_map(vm, IOVA_A, a);

	ASSERT_EQ(0, edu_attach(&vm->dev, bypass));
	EXPECT_EQ(b, vm_lands(vm, b));
	EXPECT_EQ(NOWHERE, vm_lands(vm, IOVA_A));
	ASSERT_EQ(0, edu_attach(&vm->dev, abort_id));
	EXPECT_EQ(NOWHERE, vm_lands(vm, b));
	ASSERT_EQ(0, edu_attach(&vm->dev, invalid));
	EXPECT_EQ(NOWHERE, vm_lands(vm, b));

	/* Stage 1 does; refused, it leaves what was there */
	ASSERT_EQ(0, edu_attach(&vm->dev, bypass));
	EXPECT_EQ(-ENOENT, edu_attach(&vm->dev, vm->v.hwpt_s1));
	EXPECT_EQ(b, vm_lands(vm, b));
	ASSERT_EQ(0, vdevice_alloc(vm->fd, vm->v.viommu_id, vm->dev.dev_id,
				   VSID, NULL));
	ASSERT_EQ(0, edu_attach(&vm->dev, vm->v.hwpt_s1));
	EXPECT_EQ(a, vm_lands(vm, IOVA_A));

	/* A guest may ask for ATS where there is none */
	ASSERT_EQ(0, vm_hwpt(vm, ste_raw(le64toh(ste_s1(vm->v.cd).ste[0]),
					 le64toh(ste_s1(vm->v.cd).ste[1]) |
						 STE1_EATS(1)),
			     &eats));
	ASSERT_EQ(0, edu_attach(&vm->dev, eats));
	EXPECT_EQ(a, vm_lands(vm, IOVA_A));
}

/*
 * The window of the doorbells is not for guest memory as long as the device is
 * attached, in whatever way, and also after an attach that failed
 */
TEST_F(nesting, msi_window_reserved)
{
	struct vm *vm = &self->vm;
	__u32 ioas_id = vm->g.ioas_id, bypass;
	void *mem;

	mem = mmap(NULL, HOLE_SIZE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, mem);
	ASSERT_EQ(0, vm_hwpt(vm, ste_bypass(), &bypass));
	EXPECT_EQ(-EINVAL, ioas_map(vm->fd, ioas_id, mem, SW_MSI_BASE,
				    HOLE_SIZE, true));
	ASSERT_EQ(0, iommufd_destroy(vm->fd, vm->v.vdevice_id));
	EXPECT_EQ(-ENOENT, edu_attach(&vm->dev, vm->v.hwpt_s1));
	EXPECT_EQ(-EINVAL, ioas_map(vm->fd, ioas_id, mem, SW_MSI_BASE,
				    HOLE_SIZE, true));
	ASSERT_EQ(0, edu_attach(&vm->dev, bypass));
	EXPECT_EQ(-EINVAL, ioas_map(vm->fd, ioas_id, mem, SW_MSI_BASE,
				    HOLE_SIZE, true));
	EXPECT_EQ(-ENOENT, edu_attach(&vm->dev, vm->v.hwpt_s1));
	EXPECT_EQ(-EINVAL, ioas_map(vm->fd, ioas_id, mem, SW_MSI_BASE,
				    HOLE_SIZE, true));

	/* Who comes first has it, also if he attaches nested right away */
	ASSERT_EQ(0, edu_detach(&vm->dev));
	ASSERT_EQ(0, ioas_map(vm->fd, ioas_id, mem, SW_MSI_BASE, HOLE_SIZE,
			      true));
	EXPECT_EQ(-EADDRINUSE, edu_attach(&vm->dev, bypass));
	ASSERT_EQ(0, ioas_unmap(vm->fd, ioas_id, SW_MSI_BASE, HOLE_SIZE));
	EXPECT_EQ(0, edu_attach(&vm->dev, bypass));
	EXPECT_EQ(-EINVAL, ioas_map(vm->fd, ioas_id, mem, SW_MSI_BASE,
				    HOLE_SIZE, true));
}

/* It is given back with the device, and the doorbells do not stay in it */
TEST_F(nesting, msi_window_given_back)
{
	struct vm *vm = &self->vm;
	__u32 ioas_id = vm->g.ioas_id;
	void *mem;

	mem = mmap(NULL, HOLE_SIZE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, mem);
	ASSERT_EQ(0, edu_msi_enable(&vm->dev));
	EXPECT_TRUE(edu_msi_arrives(&vm->dev, 1000));
	/* Attached twice in a row, it is still one */
	ASSERT_EQ(0, edu_attach(&vm->dev, vm->v.hwpt_s1));
	ASSERT_EQ(0, edu_attach(&vm->dev, vm->g.s2_id));
	EXPECT_TRUE(edu_msi_arrives(&vm->dev, 1000));

	ASSERT_EQ(0, edu_detach(&vm->dev));
	EXPECT_EQ(0, ioas_map(vm->fd, ioas_id, mem, SW_MSI_BASE, HOLE_SIZE,
			      true));
	EXPECT_EQ(0, ioas_unmap(vm->fd, ioas_id, SW_MSI_BASE, HOLE_SIZE));
	ASSERT_EQ(0, edu_attach(&vm->dev, vm->g.s2_id));
	EXPECT_TRUE(edu_msi_arrives(&vm->dev, 1000));
}

/* Two devices of one group, attached */
FIXTURE(group)
{
	int fd;
	struct guest g;
	struct edu dev[2];
};

FIXTURE_SETUP(group)
{
	char a[16], b[16], why[128];

	if (edu_find_pair(EDU_SAME_GROUP, a, b, why, sizeof(why)))
		SKIP(return, "%s", why);
	klog_mark(_metadata->name);
	self->fd = iommufd_open();
	ASSERT_LE(0, self->fd);
	device_start(_metadata, &self->g, &self->dev[0], self->fd, a);
	device_start(_metadata, &self->g, &self->dev[1], self->fd, b);
}

FIXTURE_TEARDOWN(group)
{
	edu_close(&self->dev[0]);
	edu_close(&self->dev[1]);
	close(self->fd);
	expect_clean_klog(_metadata);
}

/* The device that was attached first may be the first to go */
TEST_F(group, first_leaves)
{
	struct edu *left = &self->dev[1];
	__u64 page;

	edu_close(&self->dev[0]);

	ASSERT_EQ(0, edu_msi_enable(left));
	EXPECT_TRUE(edu_msi_arrives(left, 1000));
	page = guest_page(&self->g);
	EXPECT_EQ(page, lands(left, &self->g, page));
}

/* Every step takes effect at once, with caches full of the one before */
TEST_F(nesting, replace)
{
	struct vm *vm = &self->vm;
	struct guest *g = &vm->g;
	__u64 page[4], other_ttb, other_cd;
	__u32 bypass, abort_id, other;
	__u64 iova;
	int i;

	for (i = 0; i != 4; i++)
		page[i] = guest_page(g);
	/* One address, and each of the ways from it leads elsewhere */
	iova = page[0];
	vm_map(vm, iova, page[1]);
	other_ttb = s1_create(g);
	s1_map(g, other_ttb, iova, page[2], S1_RW);
	other_cd = guest_zero_page(g);
	cd_write(g, &vm->dev, other_cd, other_ttb, ASID_B);

	ASSERT_EQ(0, vm_hwpt(vm, ste_bypass(), &bypass));
	ASSERT_EQ(0, vm_hwpt(vm, ste_abort(), &abort_id));
	ASSERT_EQ(0, vm_hwpt(vm, ste_s1(other_cd), &other));

	const struct {
		__u32 id;
		__u64 ipa;
	} steps[] = {
		{ vm->v.hwpt_s1, page[1] }, { g->s2_id, page[0] },
		{ bypass, page[0] },	    { vm->v.hwpt_s1, page[1] },
		{ other, page[2] },	    { vm->v.hwpt_s1, page[1] },
		{ bypass, page[0] },	    { abort_id, NOWHERE },
		{ vm->v.hwpt_s1, page[1] }, { abort_id, NOWHERE },
		{ g->s2_id, page[0] },	    { abort_id, NOWHERE },
		{ bypass, page[0] },	    { g->s2_id, page[0] },
		{ other, page[2] },
	};

	EXPECT_EQ(page[0], vm_lands(vm, iova));
	for (i = 0; i != ARRAY_SIZE(steps); i++) {
		ASSERT_EQ(0, edu_attach(&vm->dev, steps[i].id));
		EXPECT_EQ(steps[i].ipa, vm_lands(vm, iova)) {
			TH_LOG("step %d", i);
		}
	}

	ASSERT_EQ(0, edu_detach(&vm->dev));
	EXPECT_EQ(NOWHERE, vm_lands(vm, iova));
	ASSERT_EQ(0, edu_attach(&vm->dev, vm->v.hwpt_s1));
	EXPECT_EQ(page[1], vm_lands(vm, iova));
	ASSERT_EQ(0, edu_detach(&vm->dev));
	EXPECT_EQ(NOWHERE, vm_lands(vm, iova));
	ASSERT_EQ(0, edu_attach(&vm->dev, g->s2_id));
	EXPECT_EQ(page[0], vm_lands(vm, iova));
}

/* RAM of a memfd, as VMMs have it that share it with others or want huge pages */
TEST_F(nesting, dma_memfd)
{
	struct vm *vm = &self->vm;

	ASSERT_EQ(0, guest_map_file(&vm->g, HOLE_IPA, HOLE_SIZE, true));
	vm_map(vm, IOVA_A, HOLE_IPA + 0x2000);
	ASSERT_EQ(0, edu_attach(&vm->dev, vm->v.hwpt_s1));
	EXPECT_EQ(HOLE_IPA + 0x2000, vm_lands(vm, IOVA_A));
	ASSERT_EQ(0, guest_unmap(&vm->g, HOLE_IPA));
	EXPECT_EQ(NOWHERE, vm_lands(vm, IOVA_A));

	ASSERT_EQ(0, guest_map_file(&vm->g, HOLE_IPA, HOLE_SIZE, false));
	EXPECT_EQ(NOWHERE, vm_lands(vm, IOVA_A));
}

/*
 * The hardware may have cached IOVA -> PA under the guest's ASID: that must go
 * too when the host takes the memory back
 */
TEST_F(nesting, stage2_unmap)
{
	struct vm *vm = &self->vm;
	__u64 b = guest_page(&vm->g);

	ASSERT_EQ(0, guest_map(&vm->g, HOLE_IPA, HOLE_SIZE, true));
	vm_map(vm, IOVA_A, HOLE_IPA + 0x2000);
	vm_map(vm, IOVA_B, b);
	ASSERT_EQ(0, edu_attach(&vm->dev, vm->v.hwpt_s1));
	EXPECT_EQ(HOLE_IPA + 0x2000, vm_lands(vm, IOVA_A));
	EXPECT_EQ(b, vm_lands(vm, IOVA_B));

	ASSERT_EQ(0, guest_unmap(&vm->g, HOLE_IPA));
	EXPECT_EQ(NOWHERE, vm_lands(vm, IOVA_A));
	EXPECT_EQ(b, vm_lands(vm, IOVA_B));

	/* Other memory at the same IPA */
	ASSERT_EQ(0, guest_map(&vm->g, HOLE_IPA, HOLE_SIZE, true));
	EXPECT_EQ(HOLE_IPA + 0x2000, vm_lands(vm, IOVA_A));
	ASSERT_EQ(0, guest_unmap(&vm->g, HOLE_IPA));
	EXPECT_EQ(NOWHERE, vm_lands(vm, IOVA_A));
}

/* The same with bypass, and after the guest has left its stage 1 */
TEST_F(nesting, stage2_unmap_after_replace)
{
	struct vm *vm = &self->vm;
	__u32 bypass;

	ASSERT_EQ(0, vm_hwpt(vm, ste_bypass(), &bypass));
	ASSERT_EQ(0, guest_map(&vm->g, HOLE_IPA, HOLE_SIZE, true));
	vm_map(vm, IOVA_A, HOLE_IPA);

	ASSERT_EQ(0, edu_attach(&vm->dev, bypass));
	EXPECT_EQ(HOLE_IPA, vm_lands(vm, HOLE_IPA));
	ASSERT_EQ(0, guest_unmap(&vm->g, HOLE_IPA));
	EXPECT_EQ(NOWHERE, vm_lands(vm, HOLE_IPA));

	ASSERT_EQ(0, guest_map(&vm->g, HOLE_IPA, HOLE_SIZE, true));
	ASSERT_EQ(0, edu_attach(&vm->dev, vm->v.hwpt_s1));
	EXPECT_EQ(HOLE_IPA, vm_lands(vm, IOVA_A));
	/* Unmapped while nobody is nested, and nested again */
	ASSERT_EQ(0, edu_attach(&vm->dev, vm->g.s2_id));
	ASSERT_EQ(0, guest_unmap(&vm->g, HOLE_IPA));
	ASSERT_EQ(0, edu_attach(&vm->dev, vm->v.hwpt_s1));
	EXPECT_EQ(NOWHERE, vm_lands(vm, IOVA_A));

	ASSERT_EQ(0, guest_map(&vm->g, HOLE_IPA, HOLE_SIZE, true));
	EXPECT_EQ(HOLE_IPA, vm_lands(vm, IOVA_A));
	/* and with nobody attached at all */
	ASSERT_EQ(0, edu_detach(&vm->dev));
	ASSERT_EQ(0, guest_unmap(&vm->g, HOLE_IPA));
	ASSERT_EQ(0, edu_attach(&vm->dev, vm->v.hwpt_s1));
	EXPECT_EQ(NOWHERE, vm_lands(vm, IOVA_A));
}

/*
 * A changed stage-1 mapping
 */
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

	/* Near misses */
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

	/* An entry taken away is one changed */
	s1_unmap(&vm->g, vm->v.ttb, IOVA_A);
	ASSERT_EQ(0, vm_cmd(vm, tlbi_cmd(variant, ASID, start)));
	EXPECT_EQ(NOWHERE, vm_lands(vm, IOVA_A));
}

/*
 * A changed Context Descriptor
 */
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

	/* The name of a device is the one it has now */
	ASSERT_EQ(0, iommufd_destroy(vm->fd, vm->v.vdevice_id));
	EXPECT_EQ(-EIO, vm_cmd(vm, variant->cmd(VSID)));
	ASSERT_EQ(0, vdevice_alloc(vm->fd, vm->v.viommu_id, vm->dev.dev_id,
				   VSID_B, NULL));
	EXPECT_EQ(-EIO, vm_cmd(vm, variant->cmd(VSID)));
	cd_write(&vm->g, &vm->dev, vm->v.cd, vm->v.ttb, ASID);
	EXPECT_EQ(b, vm_lands(vm, IOVA_A));
	ASSERT_EQ(0, vm_cmd(vm, variant->cmd(VSID_B)));
	EXPECT_EQ(a, vm_lands(vm, IOVA_A));
}

/* A guest's CFGI_STE is about the CD, too, even if its STE is what it was */
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

/*
 * Many commands in one call
 */
static struct smmu_cmd *filler_cmds(size_t n)
{
	struct smmu_cmd *cmds = calloc(n, sizeof(*cmds));
	size_t i;

	for (i = 0; cmds && i != n; i++)
		cmds[i] = cmd_nh_va(0, ASID, IOVA_C + (i % 512) * GUEST_PAGE);
	return cmds;
}

/*
 * IOVA_A and IOVA_B lead to pages a and b and are cached; then both are changed
 * to their page 1
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

/* What the kernel says was done was done, and what was not was not */
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

/* The array ends before entry_num says, or an entry has more than we know */
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

TEST_F_TIMEOUT(nesting, many_commands, 120)
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

/*
 * Which commands a guest may give: the table of the uAPI once more, written down
 * from the specification and independent of the driver's
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

/* A guest that means harm: a few fields right, the rest anything */
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

		/* Mostly legal but for one thing */
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

/*
 * Which STEs a guest may have
 */
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
		ASSERT_EQ(0, iommufd_destroy(vm->fd, id));
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

/*
 * Errors, by ioctl
 */
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

	/* A paging HWPT that is no nesting parent, and a nested one */
	ASSERT_EQ(0, hwpt_alloc(vm->fd, dev_id, vm->g.ioas_id, 0,
				IOMMU_HWPT_DATA_NONE, NULL, 0, &plain));
	EXPECT_EQ(-EINVAL, VIOMMU_ALLOC(ARM, DEV, .hwpt_id = plain));
	EXPECT_GT(0, VIOMMU_ALLOC(ARM, DEV, .hwpt_id = vm->v.hwpt_s1));

	/* The order of the checks */
	EXPECT_EQ(-EOPNOTSUPP,
		  VIOMMU_ALLOC(ARM, .dev_id = 0x7777, S2, .flags = 1));
	EXPECT_EQ(-EOPNOTSUPP, VIOMMU_ALLOC(.type = 0, .dev_id = 0x7777, S2));
	EXPECT_EQ(-ENOENT, VIOMMU_ALLOC(.type = 0x7777, .dev_id = 0x7777, S2));
	EXPECT_EQ(-EOPNOTSUPP,
		  VIOMMU_ALLOC(.type = 0x7777, DEV, .hwpt_id = plain));
	EXPECT_EQ(-EOPNOTSUPP,
		  VIOMMU_ALLOC(.type = 0x7777, DEV, .hwpt_id = 0x7777));

	/* Sizes of the struct: 6.13's was shorter, a later one will be longer */
	EXPECT_EQ(-EINVAL, VIOMMU_ALLOC_SIZE(20, ARM, DEV, S2));
	EXPECT_EQ(-EINVAL, VIOMMU_ALLOC_SIZE(0, ARM, DEV, S2));
	EXPECT_EQ(0, VIOMMU_ALLOC_SIZE(24, ARM, DEV, S2));
	EXPECT_EQ(0, iommufd_destroy(vm->fd, buf.cmd.out_viommu_id));
	/* then what comes behind is not looked at */
	EXPECT_EQ(0, VIOMMU_ALLOC_SIZE(24, ARM, DEV, S2, .data_len = ~0U,
				       .__reserved = ~0U,
				       .data_uptr = ~0ULL));
	EXPECT_EQ(0, iommufd_destroy(vm->fd, buf.cmd.out_viommu_id));
	EXPECT_EQ(-EOPNOTSUPP, VIOMMU_ALLOC_SIZE(32, ARM, DEV, S2,
						 .__reserved = 1));
	EXPECT_EQ(0, VIOMMU_ALLOC_SIZE(sizeof(buf), ARM, DEV, S2));
	EXPECT_EQ(0, iommufd_destroy(vm->fd, buf.cmd.out_viommu_id));
	buf.tail[1] = 1;
	EXPECT_EQ(-E2BIG, VIOMMU_ALLOC_SIZE(sizeof(buf), ARM, DEV, S2));
	EXPECT_EQ(0, VIOMMU_ALLOC(ARM, DEV, S2));
	id = buf.cmd.out_viommu_id;
	EXPECT_EQ(-EBUSY, iommufd_destroy(vm->fd, s2_id));
	EXPECT_EQ(0, iommufd_destroy(vm->fd, id));
	EXPECT_EQ(-ENOENT, iommufd_destroy(vm->fd, id));
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

	/* The device has one, whatever the name and whichever the vIOMMU */
	EXPECT_EQ(-EEXIST, vdevice_alloc(vm->fd, viommu_id, dev_id, VSID, &id));
	EXPECT_EQ(-EEXIST, vdevice_alloc(vm->fd, viommu_id, dev_id, VSID_B,
					 &id));
	ASSERT_EQ(0, viommu_alloc(vm->fd, dev_id, vm->g.s2_id, &other));
	EXPECT_EQ(-EEXIST, vdevice_alloc(vm->fd, other, dev_id, VSID, &id));

	/* and all of that left it alone */
	EXPECT_EQ(0, vm_cmd(vm, cmd_cfgi_cd(VSID)));
	EXPECT_EQ(-EIO, vm_cmd(vm, cmd_cfgi_cd(VSID_B)));
	EXPECT_EQ(-EIO, viommu_cmd(vm->fd, other, cmd_cfgi_cd(VSID)));

	ASSERT_EQ(0, iommufd_destroy(vm->fd, vm->v.vdevice_id));
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
	EXPECT_EQ(0, iommufd_destroy(vm->fd, buf.cmd.out_vdevice_id));

	/* Both ends of a StreamID */
	EXPECT_EQ(0, vdevice_alloc(vm->fd, viommu_id, dev_id, 0, &id));
	EXPECT_EQ(0, vm_cmd(vm, cmd_cfgi_cd(0)));
	EXPECT_EQ(0, iommufd_destroy(vm->fd, id));
	EXPECT_EQ(0, vdevice_alloc(vm->fd, viommu_id, dev_id, 0xffffffff, &id));
	EXPECT_EQ(0, vm_cmd(vm, cmd_cfgi_cd(0xffffffff)));
	EXPECT_EQ(0, iommufd_destroy(vm->fd, id));
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
	EXPECT_GT(0, hwpt_alloc(vm->fd, dev_id, viommu_id, 0,
				IOMMU_HWPT_DATA_NONE, NULL, 0, &id));
	EXPECT_EQ(-EFAULT, hwpt_alloc(vm->fd, dev_id, viommu_id, 0, ARM,
				      (void *)8, 16, &id));
	EXPECT_EQ(-ENOENT, hwpt_alloc(vm->fd, 0x7777, viommu_id, 0, ARM, &data,
				      16, &id));
	EXPECT_GT(0, ALLOC(vm->v.vdevice_id, 0, ARM, 16));
	/* A stage 2 alone has no VMID to nest under */
	EXPECT_GT(0, ALLOC(vm->g.s2_id, 0, ARM, 16));

	/* Unlike the struct of an ioctl, the data of a type is as long as it is */
	EXPECT_EQ(-EINVAL, ALLOC(viommu_id, 0, ARM, sizeof(data)));
	EXPECT_EQ(0, ALLOC(viommu_id, 0, ARM, 16));
	EXPECT_EQ(0, iommufd_destroy(vm->fd, id));
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

	/* entry_num 1; afterwards it says that none was done */
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
	EXPECT_GT(0, INVALIDATE(vm->v.hwpt_s1, arm, cmds, 16));
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

	/* The probe: of the type, and of nothing else */
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

/* Nothing goes away under what uses it, and all of it once nothing does */
TEST_F(nesting, err_destroy)
{
	struct vm *vm = &self->vm;
	int fd = vm->fd;
	__u32 bypass;

	ASSERT_EQ(0, vm_hwpt(vm, ste_bypass(), &bypass));
	ASSERT_EQ(0, edu_attach(&vm->dev, vm->v.hwpt_s1));
	EXPECT_EQ(-EBUSY, iommufd_destroy(fd, vm->v.hwpt_s1));
	EXPECT_EQ(-EBUSY, iommufd_destroy(fd, vm->v.viommu_id));
	EXPECT_EQ(-EBUSY, iommufd_destroy(fd, vm->g.s2_id));
	EXPECT_EQ(-EBUSY, iommufd_destroy(fd, vm->dev.dev_id));

	/* Replaced is no longer used */
	ASSERT_EQ(0, edu_attach(&vm->dev, bypass));
	EXPECT_EQ(0, iommufd_destroy(fd, vm->v.hwpt_s1));
	EXPECT_EQ(-EBUSY, iommufd_destroy(fd, bypass));
	/* A vDEVICE may go at any time */
	EXPECT_EQ(-EBUSY, iommufd_destroy(fd, vm->v.viommu_id));
	EXPECT_EQ(0, iommufd_destroy(fd, vm->v.vdevice_id));
	EXPECT_EQ(-ENOENT, iommufd_destroy(fd, vm->v.vdevice_id));
	EXPECT_EQ(-EBUSY, iommufd_destroy(fd, vm->v.viommu_id));
	ASSERT_EQ(0, edu_detach(&vm->dev));
	EXPECT_EQ(-EBUSY, iommufd_destroy(fd, vm->v.viommu_id));
	EXPECT_EQ(0, iommufd_destroy(fd, bypass));

	/* A vDEVICE alone holds its vIOMMU */
	ASSERT_EQ(0, vdevice_alloc(fd, vm->v.viommu_id, vm->dev.dev_id, VSID,
				   &vm->v.vdevice_id));
	EXPECT_EQ(-EBUSY, iommufd_destroy(fd, vm->v.viommu_id));
	EXPECT_EQ(0, iommufd_destroy(fd, vm->v.vdevice_id));
	/* and a vIOMMU alone its stage 2 */
	EXPECT_EQ(-EBUSY, iommufd_destroy(fd, vm->g.s2_id));
	EXPECT_EQ(0, iommufd_destroy(fd, vm->v.viommu_id));
	EXPECT_EQ(0, iommufd_destroy(fd, vm->g.s2_id));
	EXPECT_EQ(0, iommufd_destroy(fd, vm->g.ioas_id));
}

/*
 * The device leaves while it has a vDEVICE: nobody finds it any more, and the
 * ID that the VMM still has does not become that of something else
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
	EXPECT_EQ(-ENOENT, iommufd_destroy(vm->fd, vm->v.vdevice_id));
	EXPECT_EQ(-ENOENT, iommufd_destroy(vm->fd, vm->v.vdevice_id));

	/* It comes back, under the same name */
	ASSERT_EQ(0, edu_open(&vm->dev, bdf, vm->fd));
	EXPECT_EQ(-ENOENT, edu_attach(&vm->dev, vm->v.hwpt_s1));
	ASSERT_EQ(0, vdevice_alloc(vm->fd, vm->v.viommu_id, vm->dev.dev_id,
				   VSID, NULL));
	EXPECT_EQ(0, vm_cmd(vm, cmd_cfgi_cd(VSID)));
	EXPECT_EQ(0, edu_attach(&vm->dev, vm->v.hwpt_s1));
}

/*
 * A VMM that dies: everything is torn down by the close of the fds alone, in
 * either order, with the device nested and its caches full
 */
TEST_F(nesting, abandoned)
{
	struct vm *vm = &self->vm;
	__u64 a = guest_page(&vm->g);
	int fd;

	vm_map(vm, IOVA_A, a);
	ASSERT_EQ(0, edu_attach(&vm->dev, vm->v.hwpt_s1));
	EXPECT_EQ(a, vm_lands(vm, IOVA_A));
	close(vm->fd);
	EXPECT_EQ(a, vm_lands(vm, IOVA_A));
	edu_write_start(&vm->dev, &vm->g, IOVA_A);
	edu_close(&vm->dev);
	/* Another fd, so that the teardown of the fixture has one to close */
	fd = iommufd_open();
	ASSERT_LE(0, fd);
	vm->fd = fd;
	usleep(200000);
	EXPECT_TRUE(guests_intact());
}

/*
 * Several vIOMMUs
 */
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

	/* Moved to the other one */
	ASSERT_EQ(0, edu_attach(&vm->dev, vm->g.s2_id));
	ASSERT_EQ(0, iommufd_destroy(vm->fd, vm->v.vdevice_id));
	ASSERT_EQ(0, vdevice_alloc(vm->fd, other, vm->dev.dev_id, VSID, NULL));
	EXPECT_EQ(-ENOENT, edu_attach(&vm->dev, vm->v.hwpt_s1));
	EXPECT_EQ(-EIO, vm_cmd(vm, cmd_cfgi_cd(VSID)));
	EXPECT_EQ(0, viommu_cmd(vm->fd, other, cmd_cfgi_cd(VSID)));
	ASSERT_EQ(0, edu_attach(&vm->dev, s1));
	EXPECT_EQ(a, vm_lands(vm, IOVA_A));
}

/* VMIDs come with attaches: a lot of idle vIOMMUs cost none, and none leaks */
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
		/* Nothing can be cached under it */
		EXPECT_EQ(0, viommu_cmd(vm->fd, ids[i], cmd_nh_all(0)));
		ASSERT_EQ(0, hwpt_alloc_ste(vm->fd, vm->dev.dev_id, ids[i],
					    ste_bypass(), &bypass));
		ASSERT_EQ(0, edu_attach(&vm->dev, bypass));
		if (i % 32 == 31)
			EXPECT_EQ(a, vm_lands(vm, a));
		ASSERT_EQ(0, edu_attach(&vm->dev, vm->g.s2_id));
		ASSERT_EQ(0, iommufd_destroy(vm->fd, bypass));
		ASSERT_EQ(0, iommufd_destroy(vm->fd, ids[i]));
	}
	EXPECT_EQ(a, vm_lands(vm, a));
}

/* The VM that it belongs to may be asked for again, but what is attached stays */
TEST_F(nesting, refused_without_vdevice)
{
	struct vm *vm = &self->vm;
	__u64 a = guest_page(&vm->g);
	__u32 again;

	vm_map(vm, IOVA_A, a);
	ASSERT_EQ(0, vm_hwpt(vm, ste_s1(vm->v.cd), &again));
	ASSERT_EQ(0, edu_attach(&vm->dev, vm->v.hwpt_s1));
	ASSERT_EQ(0, iommufd_destroy(vm->fd, vm->v.vdevice_id));
	EXPECT_EQ(-ENOENT, edu_attach(&vm->dev, again));
	EXPECT_EQ(a, vm_lands(vm, IOVA_A));
	/* A way to a stage 2, and none back */
	ASSERT_EQ(0, edu_attach(&vm->dev, vm->g.s2_id));
	EXPECT_EQ(-ENOENT, edu_attach(&vm->dev, vm->v.hwpt_s1));
	EXPECT_EQ(a, vm_lands(vm, a));
}

/*
 * Who pays: without a limit that reaches all that a VMM can make the kernel
 * keep, it could take the memory of the machine
 */
#define CGROUP		"/sys/fs/cgroup"
#define CGROUP_VMM	CGROUP "/smmuv3_nesting"
/* A CPU charges 64 pages in advance */
#define CHARGE_SLACK	(128 * 4096)
#define EVENTQ_DEPTH	1024

static long cgroup_charged(void)
{
	char buf[32];

	if (read_str(CGROUP_VMM "/memory.current", buf, sizeof(buf)))
		return -1;
	return strtol(buf, NULL, 10);
}

/* On an IOAS with nothing in it: the tables of what is mapped are another matter */
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
};

FIXTURE_VARIANT(charge)
{
	int (*alloc)(struct vm *vm, __u32 ioas_id);
	/* What one takes at least, and so many that the slack does not hide it */
	size_t bytes;
	size_t num;
};

/* Its root table, and what describes that: domain, io_pgtable, HWPT */
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

FIXTURE_SETUP(charge)
{
	if (access(CGROUP "/cgroup.controllers", F_OK))
		SKIP(return, "no cgroup v2 at " CGROUP);
	if (write_str(CGROUP "/cgroup.subtree_control", "+memory"))
		SKIP(return, "no memory controller in " CGROUP);
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
}

TEST_F(charge, memory)
{
	struct iommu_ioas_alloc ioas = { .size = sizeof(ioas) };
	long before;
	size_t i;

	ASSERT_EQ(0, iommufd_ioctl(self->vm.fd, IOMMU_IOAS_ALLOC, &ioas));
	before = cgroup_charged();
	ASSERT_LE(0, before);
	for (i = 0; i != variant->num; i++)
		ASSERT_EQ(0, variant->alloc(&self->vm, ioas.out_ioas_id));
	EXPECT_LE(variant->num * variant->bytes - CHARGE_SLACK,
		  cgroup_charged() - before);
}

/*
 * A device and an IOAS, without nesting
 */
FIXTURE(bare)
{
	char bdf[16];
	int fd;
	__u32 ioas_id;
	struct edu dev;
};

static int bare_open(const char *bdf, int *fd, __u32 *ioas_id, struct edu *dev)
{
	struct iommu_ioas_alloc ioas = { .size = sizeof(ioas) };
	int rc;

	*dev = (struct edu){ .fd = -1, .irqfd = -1 };
	*fd = iommufd_open();
	if (*fd < 0)
		return *fd;
	rc = iommufd_ioctl(*fd, IOMMU_IOAS_ALLOC, &ioas);
	*ioas_id = ioas.out_ioas_id;
	return rc ?: edu_open(dev, bdf, *fd);
}

static void bare_close(int fd, struct edu *dev)
{
	edu_close(dev);
	close(fd);
}

FIXTURE_SETUP(bare)
{
	char why[128];

	if (edu_find(self->bdf, why, sizeof(why)))
		SKIP(return, "%s", why);
	klog_mark(_metadata->name);
	ASSERT_EQ(0, bare_open(self->bdf, &self->fd, &self->ioas_id,
			       &self->dev));
}

FIXTURE_TEARDOWN(bare)
{
	bare_close(self->fd, &self->dev);
	expect_clean_klog(_metadata);
}

/*
 * There are fewer ASIDs than a VMM may allocate HWPTs with a stage 1 of the host.
 * It gets an error for that, and gives all of them back when it closes.
 */
TEST_F(bare, asids_run_out)
{
	struct iommu_ioas_alloc ioas = { .size = sizeof(ioas) };
	unsigned int num = 0;
	int rc = 0;
	__u32 id;

	if (!(self->dev.info.idr[0] & IDR0_S1P))
		SKIP(return, "this SMMU has no stage 1");
	while (!rc && num < 0x10000) {
		/* An IOAS looks at all it has when it gets one more */
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

/*
 * MSI
 */
static void expect_msi_in_window(struct __test_metadata *_metadata,
				 struct vm *vm)
{
	__u64 addr = edu_msi_address(&vm->dev);

	/* Never that of the doorbell itself */
	EXPECT_LE(SW_MSI_BASE, addr);
	EXPECT_GT(SW_MSI_BASE + SW_MSI_LENGTH, addr);
}

TEST_F(nesting, msi_enabled_before)
{
	struct vm *vm = &self->vm;
	struct iommu_ioas_alloc ioas = { .size = sizeof(ioas) };
	__u32 bypass, abort_id, s2[2], viommu_id;

	ASSERT_EQ(0, vm_hwpt(vm, ste_bypass(), &bypass));
	ASSERT_EQ(0, vm_hwpt(vm, ste_abort(), &abort_id));
	ASSERT_EQ(0, edu_msi_enable(&vm->dev));
	expect_msi_in_window(_metadata, vm);
	EXPECT_TRUE(edu_msi_arrives(&vm->dev, 1000));
	ASSERT_EQ(0, edu_attach(&vm->dev, bypass));
	EXPECT_TRUE(edu_msi_arrives(&vm->dev, 1000));

	/* The write is DMA like any other: of the guest's stage 1 too */
	ASSERT_EQ(0, edu_attach(&vm->dev, vm->v.hwpt_s1));
	EXPECT_FALSE(edu_msi_arrives(&vm->dev, 200));
	s1_map_msi_window(&vm->g, vm->v.ttb);
	EXPECT_TRUE(edu_msi_arrives(&vm->dev, 1000));
	ASSERT_EQ(0, edu_attach(&vm->dev, abort_id));
	EXPECT_FALSE(edu_msi_arrives(&vm->dev, 200));
	ASSERT_EQ(0, edu_attach(&vm->dev, vm->g.s2_id));
	EXPECT_TRUE(edu_msi_arrives(&vm->dev, 1000));
	expect_msi_in_window(_metadata, vm);

	/* A stage 2 that has never seen an interrupt, bare and nested on */
	ASSERT_EQ(0, iommufd_ioctl(vm->fd, IOMMU_IOAS_ALLOC, &ioas));
	ASSERT_EQ(0, hwpt_alloc(vm->fd, vm->dev.dev_id, ioas.out_ioas_id,
				IOMMU_HWPT_ALLOC_NEST_PARENT,
				IOMMU_HWPT_DATA_NONE, NULL, 0, &s2[0]));
	ASSERT_EQ(0, hwpt_alloc(vm->fd, vm->dev.dev_id, ioas.out_ioas_id,
				IOMMU_HWPT_ALLOC_NEST_PARENT,
				IOMMU_HWPT_DATA_NONE, NULL, 0, &s2[1]));
	ASSERT_EQ(0, edu_attach(&vm->dev, s2[0]));
	EXPECT_TRUE(edu_msi_arrives(&vm->dev, 1000));
	ASSERT_EQ(0, viommu_alloc(vm->fd, vm->dev.dev_id, s2[1], &viommu_id));
	ASSERT_EQ(0, hwpt_alloc_ste(vm->fd, vm->dev.dev_id, viommu_id,
				    ste_bypass(), &bypass));
	ASSERT_EQ(0, edu_attach(&vm->dev, bypass));
	EXPECT_TRUE(edu_msi_arrives(&vm->dev, 1000));
}

/* The domains of an IOAS come and go; the address in the device stays */
TEST_F(bare, msi_after_detach)
{
	ASSERT_EQ(0, edu_attach(&self->dev, self->ioas_id));
	ASSERT_EQ(0, edu_msi_enable(&self->dev));
	EXPECT_TRUE(edu_msi_arrives(&self->dev, 1000));
	ASSERT_EQ(0, edu_detach(&self->dev));
	EXPECT_FALSE(edu_msi_arrives(&self->dev, 200));
	ASSERT_EQ(0, edu_attach(&self->dev, self->ioas_id));
	EXPECT_TRUE(edu_msi_arrives(&self->dev, 1000));
}

/* Of all IOMMUs, in KiB */
static long page_tables(void)
{
	static const char key[] = "\nSecPageTables:";
	char buf[4096], *at;

	/* Each CPU keeps some of the count to itself */
	if (write_str("/proc/sys/vm/stat_refresh", "1") ||
	    read_str("/proc/meminfo", buf, sizeof(buf)))
		return -1;
	at = strstr(buf, key);
	return at ? strtol(at + strlen(key), NULL, 10) : -1;
}

/*
 * An interrupt is set up under locks that all VMs need. That is no time to wait
 * until memory can be charged: what the doorbell takes is there before.
 */
TEST_F(bare, msi_takes_no_tables)
{
	long before, tables = 0, all = 0;
	unsigned int i;

	for (i = 0; i != 8; i++) {
		bare_close(self->fd, &self->dev);
		ASSERT_EQ(0, bare_open(self->bdf, &self->fd, &self->ioas_id,
				       &self->dev));
		before = page_tables();
		ASSERT_LE(0, before);
		ASSERT_EQ(0, edu_attach(&self->dev, self->ioas_id));
		all -= before;
		before = page_tables();
		ASSERT_EQ(0, edu_msi_enable(&self->dev));
		tables += page_tables() - before;
		all += page_tables();
		EXPECT_TRUE(edu_msi_arrives(&self->dev, 1000));
	}
	/* A root table and three more, if the host does nothing in between */
	EXPECT_LE(8 * 3 * 4, all);
	EXPECT_GT(8 * 4, tables) {
		TH_LOG("%ld KiB of page tables, %ld for doorbells", all, tables);
	}
}

FIXTURE(msi)
{
	struct vm vm;
	__u32 hwpt_bypass;
};

FIXTURE_VARIANT(msi)
{
	bool bypass;
	bool detach;
};

FIXTURE_VARIANT_ADD(msi, stage1)
{
};

FIXTURE_VARIANT_ADD(msi, bypass)
{
	.bypass = true,
};

FIXTURE_VARIANT_ADD(msi, stage1_first)
{
	.detach = true,
};

FIXTURE_VARIANT_ADD(msi, bypass_first)
{
	.bypass = true,
	.detach = true,
};

FIXTURE_SETUP(msi)
{
	vm_start_nesting(_metadata, &self->vm);
	if (_metadata->exit_code)
		return;
	s1_map_msi_window(&self->vm.g, self->vm.v.ttb);
	ASSERT_EQ(0, vm_hwpt(&self->vm, ste_bypass(), &self->hwpt_bypass));
}

FIXTURE_TEARDOWN(msi)
{
	vm_stop(_metadata, &self->vm);
}

/*
 * The interrupt is set up while the device is nested; also with no stage 2
 * attached before by which the doorbell could have come into it
 */
TEST_F(msi, enabled_after)
{
	struct vm *vm = &self->vm;
	__u32 first = variant->bypass ? self->hwpt_bypass : vm->v.hwpt_s1;
	__u32 second = variant->bypass ? vm->v.hwpt_s1 : self->hwpt_bypass;

	if (variant->detach)
		ASSERT_EQ(0, edu_detach(&vm->dev));
	ASSERT_EQ(0, edu_attach(&vm->dev, first));
	ASSERT_EQ(0, edu_msi_enable(&vm->dev));
	expect_msi_in_window(_metadata, vm);
	EXPECT_TRUE(edu_msi_arrives(&vm->dev, 1000));
	ASSERT_EQ(0, edu_attach(&vm->dev, second));
	EXPECT_TRUE(edu_msi_arrives(&vm->dev, 1000));
	ASSERT_EQ(0, edu_attach(&vm->dev, vm->g.s2_id));
	EXPECT_TRUE(edu_msi_arrives(&vm->dev, 1000));

	/* Off and on again, and detached in between */
	ASSERT_EQ(0, edu_msi_disable(&vm->dev));
	ASSERT_EQ(0, edu_detach(&vm->dev));
	ASSERT_EQ(0, edu_attach(&vm->dev, first));
	ASSERT_EQ(0, edu_msi_enable(&vm->dev));
	EXPECT_TRUE(edu_msi_arrives(&vm->dev, 1000));
	/* A whole unmap by the VMM takes guest memory, not the doorbell */
	EXPECT_EQ(0, ioas_unmap(vm->fd, vm->g.ioas_id, GUEST_RAM_IPA,
				GUEST_RAM_SIZE));
	if (variant->bypass)
		EXPECT_TRUE(edu_msi_arrives(&vm->dev, 1000));
}

/*
 * Events
 *
 * A DMA of four bytes that faults makes one event. Events are taken from the
 * physical queue one after the other, so when one has come out, whatever those
 * before it were to cause has been caused.
 */
#define FAULT_SIZE	4
#define QUEUE_DEPTH	64

/* What stands in the host's log in front of each record of an event */
#define HOST_EVENT	"event 0x"

static void fault(struct edu *dev, __u64 iova, bool read)
{
	if (read)
		edu_read(dev, iova, 0, FAULT_SIZE);
	else
		edu_write(dev, iova, 0, FAULT_SIZE);
}

/* The next event is that one, to the last bit */
static void expect_event(struct __test_metadata *_metadata, int queue,
			 __u32 sequence, __u8 id, __u32 vsid, __u64 word_1,
			 __u64 word_2)
{
	struct smmu_event event = {};

	ASSERT_EQ(sizeof(event), veventq_next(queue, &event)) {
		TH_LOG("no event %#x", id);
	}
	EXPECT_EQ(0, event.header.flags);
	EXPECT_EQ(sequence, event.header.sequence);
	EXPECT_EQ(id | EVT0_SID(vsid), le64toh(event.evt[0]));
	EXPECT_EQ(word_1, le64toh(event.evt[1]));
	EXPECT_EQ(word_2, le64toh(event.evt[2]));
	EXPECT_EQ(0, event.evt[3]);
}

static void expect_no_event(struct __test_metadata *_metadata, int queue)
{
	struct smmu_event event;

	EXPECT_FALSE(veventq_readable(queue));
	EXPECT_EQ(0, read(queue, &event, sizeof(event)));
}

struct events {
	struct vm vm;
	__u32 queue_id;
	int queue;
	/* Of the next event */
	__u32 sequence;
};

FIXTURE(events)
{
	struct events e;
};

FIXTURE_SETUP(events)
{
	struct vm *vm = &self->e.vm;

	vm_start_nesting(_metadata, vm);
	if (_metadata->exit_code)
		return;
	ASSERT_EQ(0, veventq_alloc(vm->fd, vm->v.viommu_id, QUEUE_DEPTH,
				   &self->e.queue_id, &self->e.queue));
	ASSERT_EQ(0, edu_attach(&vm->dev, vm->v.hwpt_s1));
}

FIXTURE_TEARDOWN(events)
{
	close(self->e.queue);
	vm_stop(_metadata, &self->e.vm);
}

static void events_expect(struct __test_metadata *_metadata,
			  struct events *e, __u8 id, __u64 word_1,
			  __u64 word_2)
{
	expect_event(_metadata, e->queue, e->sequence++, id, VSID, word_1,
		     word_2);
}

/* Nothing has come of all that was done before */
static void events_expect_none(struct __test_metadata *_metadata,
			       struct events *e)
{
	const __u64 nothing = IOVA_C + 5 * GUEST_PAGE + 12;

	fault(&e->vm.dev, nothing, false);
	events_expect(_metadata, e, EVT_TRANSLATION, EVT1_CLASS_IN, nothing);
	expect_no_event(_metadata, e->queue);
}

/* Every one that the emulated SMMU knows, and the host's log of none of them */
TEST_F(events, stage1)
{
	struct vm *vm = &self->e.vm;
	__u64 w0 = le64toh(ste_s1(vm->v.cd).ste[0]);
	__u64 w1 = le64toh(ste_s1(vm->v.cd).ste[1]);
	__u64 a = guest_page(&vm->g);
	__u32 bad;
	int rw;

	s1_map(&vm->g, vm->v.ttb, IOVA_A, a, S1_RO);
	s1_map(&vm->g, vm->v.ttb, IOVA_B, a, S1_NO_AF);
	/* More bits than CD.IPS allows */
	s1_map(&vm->g, vm->v.ttb, IOVA_C, BIT_ULL(45), S1_RW);
	expect_no_event(_metadata, self->e.queue);

	for (rw = 0; rw != 2; rw++) {
		const __u64 word_1 = EVT1_CLASS_IN | (rw ? EVT1_RNW : 0);
		/* No table leads there at all, or just the last one does not */
		const __u64 far = 0x7654321f8120ULL;
		const __u64 near = IOVA_A + 2 * GUEST_PAGE + 4;

		fault(&vm->dev, far, rw);
		events_expect(_metadata, &self->e, EVT_TRANSLATION, word_1, far);
		fault(&vm->dev, near, rw);
		events_expect(_metadata, &self->e, EVT_TRANSLATION, word_1, near);
		fault(&vm->dev, IOVA_B + 0x120, rw);
		events_expect(_metadata, &self->e, EVT_ACCESS, word_1,
			      IOVA_B + 0x120);
		fault(&vm->dev, IOVA_C + 0xffc, rw);
		events_expect(_metadata, &self->e, EVT_ADDR_SIZE, word_1,
			      IOVA_C + 0xffc);
	}
	fault(&vm->dev, IOVA_A + 8, false);
	events_expect(_metadata, &self->e, EVT_PERMISSION, EVT1_CLASS_IN,
		      IOVA_A + 8);
	fault(&vm->dev, IOVA_A + 8, true);
	events_expect_none(_metadata, &self->e);

	/* CD.V = 0 */
	guest_write64(&vm->g, vm->v.cd, 0);
	ASSERT_EQ(0, vm_cmd(vm, cmd_cfgi_cd(VSID)));
	fault(&vm->dev, IOVA_A, false);
	events_expect(_metadata, &self->e, EVT_BAD_CD, 0, 0);

	/* A table of CDs, which this SMMU does not have */
	if (!IDR1_SSIDSIZE(vm->dev.info.idr[1])) {
		ASSERT_EQ(0, vm_hwpt(vm, ste_raw(w0 | STE0_S1CDMAX(4), w1),
				     &bad));
		ASSERT_EQ(0, edu_attach(&vm->dev, bad));
		fault(&vm->dev, IOVA_A, false);
		events_expect(_metadata, &self->e, EVT_BAD_STE, 0, 0);
		fault(&vm->dev, IOVA_A, true);
		events_expect(_metadata, &self->e, EVT_BAD_STE, 0, 0);
	}

	EXPECT_EQ(0, klog_count(HOST_EVENT));
	EXPECT_TRUE(guests_intact());
}

/* V = 0 is told once for each attach, and not for each DMA */
TEST_F(events, bad_ste)
{
	struct vm *vm = &self->e.vm;
	__u32 invalid, abort_id;
	int i;

	ASSERT_EQ(0, vm_hwpt(vm, ste_raw(~STE0_V, ~0ULL), &invalid));
	ASSERT_EQ(0, vm_hwpt(vm, ste_abort(), &abort_id));
	for (i = 0; i != 2; i++) {
		ASSERT_EQ(0, edu_attach(&vm->dev, invalid));
		events_expect(_metadata, &self->e, EVT_BAD_STE, 0, 0);
		fault(&vm->dev, IOVA_A, false);
		fault(&vm->dev, IOVA_A, true);
		ASSERT_EQ(0, edu_attach(&vm->dev, vm->v.hwpt_s1));
		events_expect_none(_metadata, &self->e);
	}

	/* The guest wants an abort: then there is nothing to tell */
	ASSERT_EQ(0, edu_attach(&vm->dev, abort_id));
	fault(&vm->dev, IOVA_A, false);
	ASSERT_EQ(0, edu_attach(&vm->dev, vm->v.hwpt_s1));
	events_expect_none(_metadata, &self->e);

	/* Without a name there is nobody to tell, and it can be had later */
	ASSERT_EQ(0, iommufd_destroy(vm->fd, vm->v.vdevice_id));
	ASSERT_EQ(0, edu_attach(&vm->dev, invalid));
	ASSERT_EQ(0, vdevice_alloc(vm->fd, vm->v.viommu_id, vm->dev.dev_id,
				   VSID, NULL));
	ASSERT_EQ(0, edu_attach(&vm->dev, vm->v.hwpt_s1));
	events_expect_none(_metadata, &self->e);
	EXPECT_EQ(0, klog_count(HOST_EVENT));
}

/*
 * Fault until the log has the record of the last fault. It may be that no more
 * of them are written now, but it is done again after DEFAULT_RATELIMIT_INTERVAL,
 * five seconds.
 */
static bool host_log_gets(struct vm *vm, __u64 iova)
{
	time_t end = time(NULL) + 8;
	char addr[32];
	int i;

	for (; time(NULL) < end; iova += FAULT_SIZE) {
		snprintf(addr, sizeof(addr), "0x%016llx",
			 (unsigned long long)iova);
		fault(&vm->dev, iova, false);
		for (i = 0; i != 10; i++) {
			if (klog_count(addr))
				return klog_count(HOST_EVENT "10 received");
			usleep(5000);
		}
	}
	return false;
}

/* Wait until it has one record of a new interval, and so has room for more */
static void host_log_anew(struct __test_metadata *_metadata, struct vm *vm,
			  __u64 iova)
{
	edu_write(&vm->dev, iova, 0, 8 * FAULT_SIZE);
	EXPECT_TRUE(host_log_gets(vm, iova + 0x800));
}

/* The host's memory, and where in it the guest believes its own to be */
TEST_F(events, stage2_is_for_the_host)
{
	struct vm *vm = &self->e.vm;
	__u64 ttb = HOLE_IPA + 0x1000, cd = HOLE_IPA + 0x2040, w0;
	__u32 outside;

	ASSERT_EQ(0, guest_map(&vm->g, HOLE_IPA, HOLE_SIZE, true));
	vm_map(vm, IOVA_A, HOLE_IPA);
	EXPECT_EQ(HOLE_IPA, vm_lands(vm, IOVA_A));
	ASSERT_EQ(0, guest_unmap(&vm->g, HOLE_IPA));

	/* The target of a DMA */
	fault(&vm->dev, IOVA_A, false);
	fault(&vm->dev, IOVA_A + 0x10, true);
	events_expect_none(_metadata, &self->e);
	/* a table of the guest */
	cd_write(&vm->g, &vm->dev, vm->v.cd, ttb, ASID_B);
	ASSERT_EQ(0, vm_cmd(vm, cmd_cfgi_cd(VSID)));
	fault(&vm->dev, IOVA_B, false);
	cd_write(&vm->g, &vm->dev, vm->v.cd, vm->v.ttb, ASID);
	ASSERT_EQ(0, vm_cmd(vm, cmd_cfgi_cd(VSID)));
	events_expect_none(_metadata, &self->e);
	/* and its CD */
	w0 = STE0_V | STE0_CFG(CFG_S1) | cd;
	ASSERT_EQ(0, vm_hwpt(vm, ste_raw(w0, le64toh(ste_s1(cd).ste[1])),
			     &outside));
	ASSERT_EQ(0, edu_attach(&vm->dev, outside));
	fault(&vm->dev, IOVA_B, false);
	ASSERT_EQ(0, edu_attach(&vm->dev, vm->v.hwpt_s1));
	events_expect_none(_metadata, &self->e);

	EXPECT_TRUE(host_log_gets(vm, IOVA_A + 0x100));
	events_expect_none(_metadata, &self->e);

	/* The stage 2 alone, with a name or without */
	ASSERT_EQ(0, edu_attach(&vm->dev, vm->g.s2_id));
	fault(&vm->dev, HOLE_IPA, false);
	ASSERT_EQ(0, edu_attach(&vm->dev, vm->v.hwpt_s1));
	events_expect_none(_metadata, &self->e);
}

/* A vDEVICE says whose the device is, not whose the stage 1 is */
TEST_F(events, host_stage1)
{
	struct vm *vm = &self->e.vm;
	__u32 s1;

	ASSERT_EQ(0, hwpt_alloc(vm->fd, vm->dev.dev_id, vm->g.ioas_id, 0,
				IOMMU_HWPT_DATA_NONE, NULL, 0, &s1));
	ASSERT_EQ(0, edu_attach(&vm->dev, s1));
	EXPECT_TRUE(host_log_gets(vm, IOVA_B));
	expect_no_event(_metadata, self->e.queue);

	/* And back */
	ASSERT_EQ(0, edu_attach(&vm->dev, vm->v.hwpt_s1));
	fault(&vm->dev, IOVA_B, false);
	events_expect(_metadata, &self->e, EVT_TRANSLATION, EVT1_CLASS_IN,
		      IOVA_B);
}

/* An event has the name that the device has when it comes */
TEST_F(events, vdevice)
{
	struct vm *vm = &self->e.vm;
	__u32 id;

	ASSERT_EQ(0, iommufd_destroy(vm->fd, vm->v.vdevice_id));
	fault(&vm->dev, IOVA_A, false);
	fault(&vm->dev, IOVA_A + 8, false);
	EXPECT_TRUE(host_log_gets(vm, IOVA_A + 0x100));
	expect_no_event(_metadata, self->e.queue);
	ASSERT_EQ(0, vdevice_alloc(vm->fd, vm->v.viommu_id, vm->dev.dev_id,
				   VSID_B, &id));
	fault(&vm->dev, IOVA_B, false);
	expect_event(_metadata, self->e.queue, 0, EVT_TRANSLATION, VSID_B,
		     EVT1_CLASS_IN, IOVA_B);

	/* 0 is a name as any other, and so is the last one */
	ASSERT_EQ(0, iommufd_destroy(vm->fd, id));
	ASSERT_EQ(0, vdevice_alloc(vm->fd, vm->v.viommu_id, vm->dev.dev_id, 0,
				   &id));
	fault(&vm->dev, IOVA_A, true);
	expect_event(_metadata, self->e.queue, 1, EVT_TRANSLATION, 0,
		     EVT1_CLASS_IN | EVT1_RNW, IOVA_A);
	ASSERT_EQ(0, iommufd_destroy(vm->fd, id));
	ASSERT_EQ(0, vdevice_alloc(vm->fd, vm->v.viommu_id, vm->dev.dev_id,
				   0xffffffff, &id));
	fault(&vm->dev, IOVA_C, false);
	expect_event(_metadata, self->e.queue, 2, EVT_TRANSLATION, 0xffffffff,
		     EVT1_CLASS_IN, IOVA_C);
	expect_no_event(_metadata, self->e.queue);
}

/* Whoever does not ask is not told, and neither is the host's log */
TEST_F_TIMEOUT(events, no_queue, 60)
{
	struct vm *vm = &self->e.vm;
	__u32 invalid, id;
	char addr[32];

	/* A fault of stage 2 is in the log, and tells of those before it */
	vm_map(vm, IOVA_C, HOLE_IPA);
	host_log_anew(_metadata, vm, IOVA_C);

	/* The file alone keeps the queue */
	EXPECT_EQ(-EBUSY, iommufd_destroy(vm->fd, self->e.queue_id));
	EXPECT_EQ(-EEXIST, veventq_alloc(vm->fd, vm->v.viommu_id, 1, &id,
					 &self->e.queue));
	fault(&vm->dev, IOVA_A, false);
	events_expect(_metadata, &self->e, EVT_TRANSLATION, EVT1_CLASS_IN, IOVA_A);
	EXPECT_EQ(-EBUSY, iommufd_destroy(vm->fd, vm->v.viommu_id));
	close(self->e.queue);
	ASSERT_EQ(0, iommufd_destroy(vm->fd, self->e.queue_id));

	fault(&vm->dev, IOVA_A, false);
	fault(&vm->dev, IOVA_B, true);
	ASSERT_EQ(0, vm_hwpt(vm, ste_raw(0, 0), &invalid));
	ASSERT_EQ(0, edu_attach(&vm->dev, invalid));
	ASSERT_EQ(0, edu_attach(&vm->dev, vm->v.hwpt_s1));
	EXPECT_TRUE(host_log_gets(vm, IOVA_C));
	snprintf(addr, sizeof(addr), "0x%016llx", IOVA_A);
	EXPECT_EQ(0, klog_count(addr));

	/* A queue that comes later begins anew, and knows nothing of all that */
	self->e.sequence = 0;
	ASSERT_EQ(0, veventq_alloc(vm->fd, vm->v.viommu_id, QUEUE_DEPTH,
				   &self->e.queue_id, &self->e.queue));
	events_expect_none(_metadata, &self->e);

	/* A device that goes leaves the queue to the others */
	edu_close(&vm->dev);
	expect_no_event(_metadata, self->e.queue);
}

/* Nothing here can stall, so there is nothing that a fault queue could get */
TEST_F(events, fault_queue_needs_stalls)
{
	struct vm *vm = &self->e.vm;
	struct iommu_fault_alloc queue = { .size = sizeof(queue) };
	struct iommu_hwpt_arm_smmuv3 ste = ste_s1(vm->v.cd);
	struct iommu_hwpt_alloc cmd = {
		.size = sizeof(cmd),
		.flags = IOMMU_HWPT_FAULT_ID_VALID,
		.dev_id = vm->dev.dev_id,
		.pt_id = vm->v.viommu_id,
		.data_type = IOMMU_HWPT_DATA_ARM_SMMUV3,
		.data_len = sizeof(ste),
		.data_uptr = (uintptr_t)&ste,
	};
	__u64 a = guest_page(&vm->g);

	vm_map(vm, IOVA_A, a);
	ASSERT_EQ(0, iommufd_ioctl(vm->fd, IOMMU_FAULT_QUEUE_ALLOC, &queue));
	cmd.fault_id = queue.out_fault_id;
	ASSERT_EQ(0, iommufd_ioctl(vm->fd, IOMMU_HWPT_ALLOC, &cmd));
	EXPECT_EQ(-EINVAL, edu_attach(&vm->dev, cmd.out_hwpt_id));
	EXPECT_EQ(a, vm_lands(vm, IOVA_A));
	fault(&vm->dev, IOVA_B, false);
	events_expect(_metadata, &self->e, EVT_TRANSLATION, EVT1_CLASS_IN, IOVA_B);
	close(queue.out_fault_fd);
}

/*
 * Things at the same time. Each is bounded in time, a race that a slow machine
 * does not hit costs nothing.
 */
struct worker {
	struct vm *vm;
	int (*once)(struct worker *w);
	pthread_t thread;
	bool stop;
	int rc;
	unsigned long turns;
	__u32 ids[3];
	void *data;
};

static void *worker_run(void *arg)
{
	struct worker *w = arg;

	while (!__atomic_load_n(&w->stop, __ATOMIC_RELAXED) && !w->rc) {
		w->rc = w->once(w);
		w->turns++;
	}
	return NULL;
}

static void worker_start(struct __test_metadata *_metadata, struct worker *w)
{
	ASSERT_EQ(0, pthread_create(&w->thread, NULL, worker_run, w));
}

static void worker_stop(struct __test_metadata *_metadata, struct worker *w)
{
	__atomic_store_n(&w->stop, true, __ATOMIC_RELAXED);
	pthread_join(w->thread, NULL);
	EXPECT_EQ(0, w->rc);
	EXPECT_LT(0, w->turns);
}

static int replace_once(struct worker *w)
{
	return edu_attach(&w->vm->dev, w->ids[w->turns % 3]);
}

static int invalidate_once(struct worker *w)
{
	struct smmu_cmd cmds[40];
	__u32 num = ARRAY_SIZE(cmds);
	unsigned int i;
	int rc;

	for (i = 0; i != num; i++)
		cmds[i] = cmd_nh_va(0, ASID, IOVA_A);
	cmds[3] = cmd_cfgi_cd(VSID);
	cmds[7] = cmd_nh_all(0);
	cmds[39] = cmd_cfgi_cd_all(VSID);
	rc = viommu_cmds(w->vm->fd, w->vm->v.viommu_id, cmds, &num);
	return !rc && num != ARRAY_SIZE(cmds) ? -EPROTO : rc;
}

static int unmap_once(struct worker *w)
{
	void *mem = w->data;
	int rc;

	rc = ioas_map(w->vm->fd, w->vm->g.ioas_id, mem, HOLE_IPA, HOLE_SIZE,
		      true);
	if (rc)
		return rc;
	return ioas_unmap(w->vm->fd, w->vm->g.ioas_id, HOLE_IPA, HOLE_SIZE);
}

/* The vDEVICE is there or not there, a command finds it or gets EIO */
static int rename_once(struct worker *w)
{
	__u32 id;
	int rc;

	rc = vdevice_alloc(w->vm->fd, w->vm->v.viommu_id, w->vm->dev.dev_id,
			   VSID, &id);
	return rc ?: iommufd_destroy(w->vm->fd, id);
}

static int cfgi_once(struct worker *w)
{
	int rc = vm_cmd(w->vm, cmd_cfgi_cd(VSID));

	return rc == -EIO ? 0 : rc;
}

TEST_F(nesting, race_replace_invalidate_unmap)
{
	struct vm *vm = &self->vm;
	struct worker workers[] = {
		{ .vm = vm, .once = replace_once },
		{ .vm = vm, .once = invalidate_once },
		{ .vm = vm, .once = invalidate_once },
		{ .vm = vm, .once = unmap_once },
	};
	__u64 a = guest_page(&vm->g), b = guest_page(&vm->g);
	unsigned int i;

	workers[3].data = mmap(NULL, HOLE_SIZE, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, workers[3].data);
	workers[0].ids[0] = vm->g.s2_id;
	workers[0].ids[1] = vm->v.hwpt_s1;
	ASSERT_EQ(0, vm_hwpt(vm, ste_bypass(), &workers[0].ids[2]));
	vm_map(vm, IOVA_A, a);
	ASSERT_EQ(0, edu_attach(&vm->dev, vm->v.hwpt_s1));
	EXPECT_EQ(a, vm_lands(vm, IOVA_A));

	for (i = 0; i != ARRAY_SIZE(workers); i++)
		worker_start(_metadata, &workers[i]);
	sleep(1);
	for (i = 0; i != ARRAY_SIZE(workers); i++)
		worker_stop(_metadata, &workers[i]);

	/* And it works as it did */
	ASSERT_EQ(0, edu_attach(&vm->dev, vm->v.hwpt_s1));
	EXPECT_EQ(a, vm_lands(vm, IOVA_A));
	vm_map(vm, IOVA_A, b);
	EXPECT_EQ(a, vm_lands(vm, IOVA_A));
	ASSERT_EQ(0, vm_cmd(vm, cmd_nh_va(0, ASID, IOVA_A)));
	EXPECT_EQ(b, vm_lands(vm, IOVA_A));
}

TEST_F(nesting, race_vdevice_invalidate)
{
	struct vm *vm = &self->vm;
	struct worker workers[] = {
		{ .vm = vm, .once = rename_once },
		{ .vm = vm, .once = cfgi_once },
		{ .vm = vm, .once = cfgi_once },
	};
	unsigned int i;

	ASSERT_EQ(0, edu_attach(&vm->dev, vm->v.hwpt_s1));
	ASSERT_EQ(0, iommufd_destroy(vm->fd, vm->v.vdevice_id));
	for (i = 0; i != ARRAY_SIZE(workers); i++)
		worker_start(_metadata, &workers[i]);
	sleep(1);
	for (i = 0; i != ARRAY_SIZE(workers); i++)
		worker_stop(_metadata, &workers[i]);
	EXPECT_EQ(-EIO, vm_cmd(vm, cmd_cfgi_cd(VSID)));
}

/* Either of them destroys the vDEVICE, the other one finds none */
static int destroy_once(struct worker *w)
{
	__u32 id = __atomic_load_n(&w->vm->v.vdevice_id, __ATOMIC_RELAXED);
	int rc = iommufd_destroy(w->vm->fd, id);

	/* The ID may have gone to the device itself, that VFIO holds */
	return rc == -ENOENT || rc == -EBUSY ? 0 : rc;
}

TEST_F(nesting, race_device_gone)
{
	struct vm *vm = &self->vm;
	struct worker workers[] = {
		{ .vm = vm, .once = destroy_once },
		{ .vm = vm, .once = cfgi_once },
	};
	char bdf[16];
	__u32 id;
	int turn;

	memcpy(bdf, vm->dev.bdf, sizeof(bdf));
	worker_start(_metadata, &workers[0]);
	worker_start(_metadata, &workers[1]);
	for (turn = 0; turn != 10; turn++) {
		edu_close(&vm->dev);
		ASSERT_EQ(0, edu_open(&vm->dev, bdf, vm->fd));
		ASSERT_EQ(0, vdevice_alloc(vm->fd, vm->v.viommu_id,
					   vm->dev.dev_id, VSID, &id));
		__atomic_store_n(&vm->v.vdevice_id, id, __ATOMIC_RELAXED);
		/* Attached to stage 1 only if the vDEVICE is still there */
		if (turn & 1)
			edu_attach(&vm->dev, vm->v.hwpt_s1);
	}
	worker_stop(_metadata, &workers[0]);
	worker_stop(_metadata, &workers[1]);
	ASSERT_EQ(0, edu_attach(&vm->dev, vm->g.s2_id));
}

static int move_once(struct worker *w)
{
	return edu_attach(w->data, w->ids[w->turns % 3]);
}

/* A device gets in only where the rest of its group is right now */
static int join_once(struct worker *w)
{
	int rc = edu_attach(w->data, w->ids[w->turns % 3]);

	if (rc)
		return rc == -EINVAL ? 0 : rc;
	return edu_attach(w->data, w->ids[w->turns / 3 % 3]) ?:
	       edu_detach(w->data);
}

/* One device leaves while the other one takes the group elsewhere */
TEST_F(group, race)
{
	struct worker workers[] = {
		{ .once = move_once },
		{ .once = join_once },
	};
	struct edu *dev = self->dev;
	struct guest *g = &self->g;
	unsigned int i;
	__u32 other;
	__u64 page;

	ASSERT_EQ(0, hwpt_alloc(self->fd, dev[0].dev_id, g->ioas_id, 0,
				IOMMU_HWPT_DATA_NONE, NULL, 0, &other));
	for (i = 0; i != ARRAY_SIZE(workers); i++) {
		workers[i].data = &dev[i];
		workers[i].ids[0] = g->s2_id;
		workers[i].ids[1] = other;
		/* A domain that is made when it is needed */
		workers[i].ids[2] = g->ioas_id;
	}

	for (i = 0; i != ARRAY_SIZE(workers); i++)
		worker_start(_metadata, &workers[i]);
	sleep(1);
	for (i = 0; i != ARRAY_SIZE(workers); i++)
		worker_stop(_metadata, &workers[i]);

	/* And nothing has a user too many, or one too few */
	ASSERT_EQ(0, edu_attach(&dev[0], g->s2_id));
	page = guest_page(g);
	EXPECT_EQ(page, lands(&dev[0], g, page));
	EXPECT_EQ(0, iommufd_destroy(self->fd, other));
	EXPECT_EQ(-EBUSY, iommufd_destroy(self->fd, g->s2_id));
	edu_close(&dev[0]);
	edu_close(&dev[1]);
	EXPECT_EQ(0, iommufd_destroy(self->fd, g->s2_id));
	EXPECT_EQ(0, iommufd_destroy(self->fd, g->ioas_id));
}

/* Faults as fast as edu can, while all that an event goes through changes */
static int queue_once(struct worker *w)
{
	struct smmu_event events[8];
	int queue, rc;
	__u32 id;

	rc = veventq_alloc(w->vm->fd, w->vm->v.viommu_id, 1 + w->turns % 16,
			   &id, &queue);
	if (rc)
		return rc;
	if (w->turns & 1)
		usleep(1000);
	if (read(queue, events, sizeof(events)) < 0)
		rc = -errno;
	close(queue);
	return rc ?: iommufd_destroy(w->vm->fd, id);
}

TEST_F(nesting, race_events)
{
	struct vm *vm = &self->vm;
	struct worker workers[] = {
		{ .vm = vm, .once = rename_once },
		{ .vm = vm, .once = queue_once },
		{ .vm = vm, .once = replace_once },
	};
	time_t end = time(NULL) + 2;
	struct smmu_event event;
	unsigned int i;
	__u32 id;
	int queue;

	/* V = 0 reports from another thread; neither needs a vDEVICE */
	ASSERT_EQ(0, iommufd_destroy(vm->fd, vm->v.vdevice_id));
	ASSERT_EQ(0, vm_hwpt(vm, ste_raw(0, 0), &workers[2].ids[0]));
	ASSERT_EQ(0, vm_hwpt(vm, ste_bypass(), &workers[2].ids[1]));
	workers[2].ids[2] = vm->g.s2_id;
	for (i = 0; i != ARRAY_SIZE(workers); i++)
		worker_start(_metadata, &workers[i]);
	while (time(NULL) < end)
		edu_write(&vm->dev, IOVA_A, 0, EDU_BUF_SIZE);
	for (i = 0; i != ARRAY_SIZE(workers); i++)
		worker_stop(_metadata, &workers[i]);

	ASSERT_EQ(0, vdevice_alloc(vm->fd, vm->v.viommu_id, vm->dev.dev_id,
				   VSID_B, NULL));
	ASSERT_EQ(0, edu_attach(&vm->dev, vm->v.hwpt_s1));
	workers[0] = (struct worker){ .vm = vm, .once = queue_once };
	worker_start(_metadata, &workers[0]);
	for (end = time(NULL) + 2; time(NULL) < end;)
		edu_write(&vm->dev, IOVA_A, 0, EDU_BUF_SIZE);
	worker_stop(_metadata, &workers[0]);

	ASSERT_EQ(0, veventq_alloc(vm->fd, vm->v.viommu_id, 1, &id, &queue));
	fault(&vm->dev, IOVA_B, false);
	EXPECT_EQ(sizeof(event), veventq_next(queue, &event));
	EXPECT_EQ(EVT_TRANSLATION | EVT0_SID(VSID_B), le64toh(event.evt[0]));
	close(queue);
}

/*
 * The guest changes between its own identity map and no translation, as its
 * kernel does at boot, under DMA that must not notice
 */
TEST_F(nesting, dma_during_replaces)
{
	struct vm *vm = &self->vm;
	__u64 a = guest_page(&vm->g);
	unsigned int replaces = 0, dmas;
	__u32 ids[4];

	vm_map(vm, a, a);
	ids[0] = vm->v.hwpt_s1;
	ids[1] = vm->g.s2_id;
	ids[2] = vm->v.hwpt_s1;
	ASSERT_EQ(0, vm_hwpt(vm, ste_bypass(), &ids[3]));
	for (dmas = 0; replaces < 1000 || dmas < 8; dmas++) {
		edu_write_start(&vm->dev, &vm->g, a);
		do {
			ASSERT_EQ(0, edu_attach(&vm->dev, ids[replaces % 4]));
			replaces++;
		} while (edu_busy(&vm->dev));
		ASSERT_EQ(a, edu_write_end(&vm->dev, &vm->g, a));
	}
}

/* The same with a finer clock: each MSI is a write that must arrive */
TEST_F(nesting, msi_during_replaces)
{
	struct vm *vm = &self->vm;
	struct worker w = {
		.vm = vm,
		.once = replace_once,
		.ids = { vm->g.s2_id, vm->v.hwpt_s1 },
	};
	unsigned int lost = 0, sent = 0;
	time_t end;

	s1_map_msi_window(&vm->g, vm->v.ttb);
	ASSERT_EQ(0, vm_hwpt(vm, ste_bypass(), &w.ids[2]));
	ASSERT_EQ(0, edu_msi_enable(&vm->dev));
	worker_start(_metadata, &w);
	for (end = time(NULL) + 2; time(NULL) < end && lost < 3; sent++)
		if (!edu_msi_arrives(&vm->dev, 1000))
			lost++;
	worker_stop(_metadata, &w);
	EXPECT_EQ(0, lost) {
		TH_LOG("%u of %u lost in %lu replaces", lost, sent, w.turns);
	}
	EXPECT_LT(0, sent);
}

static void stay_on_cpu(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	/* Where there is no such CPU it is as well */
	sched_setaffinity(0, sizeof(set), &set);
}

/* Whoever has waited for a lock here waits for the CPU as well */
static int msi_once(struct worker *w)
{
	int rc;

	if (!w->turns) {
		stay_on_cpu(1);
		setpriority(PRIO_PROCESS, gettid(), 8);
	}
	rc = edu_msi_enable(w->data);
	return rc ?: edu_msi_disable(w->data);
}

static int busy_once(struct worker *w)
{
	if (!w->turns)
		stay_on_cpu(1);
	return 0;
}

/*
 * Interrupts are set up while the domain of the device is detached and freed: an
 * IOAS takes its domain along. What is wrong there is for KASAN to find.
 */
TEST_F(bare, msi_during_detach)
{
	struct worker w = { .once = msi_once, .data = &self->dev };
	struct worker busy = { .once = busy_once };
	unsigned int rounds;
	time_t end;

	worker_start(_metadata, &w);
	worker_start(_metadata, &busy);
	end = time(NULL) + 6;
	for (rounds = 0; time(NULL) < end || rounds < 100; rounds++) {
		ASSERT_EQ(0, edu_attach(&self->dev, self->ioas_id));
		ASSERT_EQ(0, edu_detach(&self->dev));
	}
	worker_stop(_metadata, &busy);
	worker_stop(_metadata, &w);
	EXPECT_LT(0, w.turns);
	TH_LOG("%u rounds, %lu times an interrupt", rounds, w.turns);

	ASSERT_EQ(0, edu_attach(&self->dev, self->ioas_id));
	ASSERT_EQ(0, edu_msi_enable(&self->dev));
	EXPECT_TRUE(edu_msi_arrives(&self->dev, 1000));
}

/*
 * Two devices behind one SMMU
 */
struct two {
	int fd[2];
	struct guest guest[2];
	struct guest *g[2];
	struct edu dev[2];
};

static void two_start(struct __test_metadata *_metadata, struct two *two,
		      enum edu_pair pair, bool two_fds)
{
	char bdf[2][16], why[128];
	int i;

	if (edu_find_pair(pair, bdf[0], bdf[1], why, sizeof(why)))
		SKIP(return, "%s", why);
	klog_mark(_metadata->name);
	for (i = 0; i != 2; i++) {
		two->fd[i] = i && !two_fds ? two->fd[0] : iommufd_open();
		ASSERT_LE(0, two->fd[i]);
		two->g[i] = &two->guest[two_fds ? i : 0];
		device_start(_metadata, two->g[i], &two->dev[i], two->fd[i],
			     bdf[i]);
	}
}

/* All names are the same on both sides: vSID, ASID, IOVAs */
static void two_start_nesting(struct __test_metadata *_metadata,
			      struct two *two, struct vsmmu *v,
			      enum edu_pair pair, bool two_fds)
{
	int i;

	two_start(_metadata, two, pair, two_fds);
	for (i = 0; i != 2 && !_metadata->exit_code; i++)
		vsmmu_start(_metadata, &v[i], two->g[i], &two->dev[i], VSID);
}

static void two_stop(struct __test_metadata *_metadata, struct two *two)
{
	edu_close(&two->dev[0]);
	edu_close(&two->dev[1]);
	close(two->fd[0]);
	if (two->fd[1] != two->fd[0])
		close(two->fd[1]);
	expect_clean_klog(_metadata);
}

static __u64 two_lands(struct two *two, int i, __u64 iova)
{
	return lands(&two->dev[i], two->g[i], iova);
}

FIXTURE(two_devices)
{
	struct two two;
	struct vsmmu v[2];
};

FIXTURE_VARIANT(two_devices)
{
	bool two_fds;
	enum edu_pair pair;
};

FIXTURE_VARIANT_ADD(two_devices, one_stage2)
{
	.two_fds = false,
	.pair = EDU_SAME_SMMU,
};

FIXTURE_VARIANT_ADD(two_devices, two_fds)
{
	.two_fds = true,
	.pair = EDU_SAME_SMMU,
};

FIXTURE_VARIANT_ADD(two_devices, two_smmus_one_stage2)
{
	.two_fds = false,
	.pair = EDU_OTHER_SMMU,
};

FIXTURE_VARIANT_ADD(two_devices, two_smmus_two_fds)
{
	.two_fds = true,
	.pair = EDU_OTHER_SMMU,
};

FIXTURE_SETUP(two_devices)
{
	two_start_nesting(_metadata, &self->two, self->v, variant->pair,
			  variant->two_fds);
}

FIXTURE_TEARDOWN(two_devices)
{
	two_stop(_metadata, &self->two);
}

TEST_F(two_devices, tlb_isolation)
{
	struct two *two = &self->two;
	struct vsmmu *v = self->v;
	__u64 old[2], new[2];
	int i;

	for (i = 0; i != 2; i++) {
		old[i] = guest_page(two->g[i]);
		new[i] = guest_page(two->g[i]);
		s1_map(two->g[i], v[i].ttb, IOVA_A, old[i], S1_RW);
		ASSERT_EQ(0, edu_attach(&two->dev[i], v[i].hwpt_s1));
	}
	for (i = 0; i != 4; i++)
		EXPECT_EQ(old[i & 1], two_lands(two, i & 1, IOVA_A));
	for (i = 0; i != 2; i++)
		s1_map(two->g[i], v[i].ttb, IOVA_A, new[i], S1_RW);
	EXPECT_EQ(old[0], two_lands(two, 0, IOVA_A));

	/* Whatever one of them flushes, with whatever VMID in the command */
	for (i = 0; i != 64; i++)
		ASSERT_EQ(0, viommu_cmd(two->fd[0], v[0].viommu_id,
					cmd_nh_all(i)));
	ASSERT_EQ(0, viommu_cmd(two->fd[0], v[0].viommu_id, cmd_nsnh_all()));
	EXPECT_EQ(new[0], two_lands(two, 0, IOVA_A));
	EXPECT_EQ(old[1], two_lands(two, 1, IOVA_A));
	ASSERT_EQ(0, viommu_cmd(two->fd[1], v[1].viommu_id,
				cmd_nh_va(any_vmid(), ASID, IOVA_A)));
	EXPECT_EQ(new[1], two_lands(two, 1, IOVA_A));
	EXPECT_EQ(new[0], two_lands(two, 0, IOVA_A));
}

/* The same vSID is another device in each vIOMMU */
TEST_F(two_devices, cd_isolation)
{
	struct two *two = &self->two;
	struct vsmmu *v = self->v;
	__u64 old[2], new[2], ttb;
	int i;

	for (i = 0; i != 2; i++) {
		old[i] = guest_page(two->g[i]);
		new[i] = guest_page(two->g[i]);
		s1_map(two->g[i], v[i].ttb, IOVA_A, old[i], S1_RW);
		ASSERT_EQ(0, edu_attach(&two->dev[i], v[i].hwpt_s1));
		EXPECT_EQ(old[i], two_lands(two, i, IOVA_A));
		ttb = s1_create(two->g[i]);
		s1_map(two->g[i], ttb, IOVA_A, new[i], S1_RW);
		cd_write(two->g[i], &two->dev[i], v[i].cd, ttb, ASID_B);
	}
	ASSERT_EQ(0, viommu_cmd(two->fd[1], v[1].viommu_id, cmd_cfgi_cd(VSID)));
	EXPECT_EQ(old[0], two_lands(two, 0, IOVA_A));
	EXPECT_EQ(new[1], two_lands(two, 1, IOVA_A));
	ASSERT_EQ(0, viommu_cmd(two->fd[0], v[0].viommu_id,
				cmd_cfgi_cd_all(VSID)));
	EXPECT_EQ(new[0], two_lands(two, 0, IOVA_A));

	/* A vSID that only the other one has is nobody's */
	ASSERT_EQ(0, iommufd_destroy(two->fd[1], v[1].vdevice_id));
	ASSERT_EQ(0, vdevice_alloc(two->fd[1], v[1].viommu_id,
				   two->dev[1].dev_id, VSID_B, NULL));
	EXPECT_EQ(-EIO, viommu_cmd(two->fd[0], v[0].viommu_id,
				   cmd_cfgi_cd(VSID_B)));
	EXPECT_EQ(-EIO, viommu_cmd(two->fd[1], v[1].viommu_id,
				   cmd_cfgi_cd(VSID)));
}

/* Memory taken from a stage 2 is gone for every device that nests on it */
TEST_F(two_devices, stage2_unmap)
{
	struct two *two = &self->two;
	struct vsmmu *v = self->v;
	int i;

	for (i = 0; i != 2; i++) {
		if (!i || variant->two_fds)
			ASSERT_EQ(0, guest_map(two->g[i], HOLE_IPA, HOLE_SIZE,
					       true));
		s1_map(two->g[i], v[i].ttb, IOVA_A,
		       HOLE_IPA + i * GUEST_PAGE, S1_RW);
		ASSERT_EQ(0, edu_attach(&two->dev[i], v[i].hwpt_s1));
		EXPECT_EQ(HOLE_IPA + i * GUEST_PAGE, two_lands(two, i, IOVA_A));
	}
	ASSERT_EQ(0, guest_unmap(two->g[0], HOLE_IPA));
	EXPECT_EQ(NOWHERE, two_lands(two, 0, IOVA_A));
	EXPECT_EQ(variant->two_fds ? HOLE_IPA + GUEST_PAGE : NOWHERE,
		  two_lands(two, 1, IOVA_A));
}

/*
 * A VMID that one VM gave back and another one got has nothing of the first in
 * the TLB: same ASID, same IOVA, no invalidation by anybody
 */
TEST_F(two_devices, vmid_reuse)
{
	struct two *two = &self->two;
	struct vsmmu *v = self->v;
	__u64 page[2];
	int i;

	for (i = 0; i != 2; i++) {
		page[i] = guest_page(two->g[i]);
		s1_map(two->g[i], v[i].ttb, IOVA_A, page[i], S1_RW);
	}
	for (i = 0; i != 2; i++)
		ASSERT_EQ(0, edu_detach(&two->dev[i]));
	for (i = 0; i != 4; i++) {
		ASSERT_EQ(0, edu_attach(&two->dev[i & 1], v[i & 1].hwpt_s1));
		EXPECT_EQ(page[i & 1], two_lands(two, i & 1, IOVA_A));
		ASSERT_EQ(0, edu_detach(&two->dev[i & 1]));
	}
}

/* Each gets its own events, under names that are the same for both */
TEST_F(two_devices, events)
{
	struct two *two = &self->two;
	struct vsmmu *v = self->v;
	int queue[2], i;
	__u32 id;

	for (i = 0; i != 2; i++) {
		ASSERT_EQ(0, edu_attach(&two->dev[i], v[i].hwpt_s1));
		ASSERT_EQ(0, veventq_alloc(two->fd[i], v[i].viommu_id,
					   QUEUE_DEPTH, &id, &queue[i]));
	}
	fault(&two->dev[0], IOVA_A, false);
	fault(&two->dev[1], IOVA_B, true);
	fault(&two->dev[0], IOVA_C, false);
	expect_event(_metadata, queue[0], 0, EVT_TRANSLATION, VSID,
		     EVT1_CLASS_IN, IOVA_A);
	expect_event(_metadata, queue[0], 1, EVT_TRANSLATION, VSID,
		     EVT1_CLASS_IN, IOVA_C);
	expect_event(_metadata, queue[1], 0, EVT_TRANSLATION, VSID,
		     EVT1_CLASS_IN | EVT1_RNW, IOVA_B);
	for (i = 0; i != 2; i++)
		expect_no_event(_metadata, queue[i]);

	/* The one without a queue, the other one is none the wiser */
	close(queue[1]);
	ASSERT_EQ(0, iommufd_destroy(two->fd[1], id));
	fault(&two->dev[1], IOVA_A, false);
	fault(&two->dev[0], IOVA_B, false);
	expect_event(_metadata, queue[0], 2, EVT_TRANSLATION, VSID,
		     EVT1_CLASS_IN, IOVA_B);
	expect_no_event(_metadata, queue[0]);
	close(queue[0]);
	EXPECT_EQ(0, klog_count(HOST_EVENT));
}

/*
 * What two devices have to do with each other on one stage 2
 */
FIXTURE(one_stage2)
{
	struct two two;
	struct vsmmu v[2];
};

FIXTURE_VARIANT(one_stage2)
{
	enum edu_pair pair;
};

FIXTURE_VARIANT_ADD(one_stage2, one_smmu)
{
	.pair = EDU_SAME_SMMU,
};

FIXTURE_VARIANT_ADD(one_stage2, two_smmus)
{
	.pair = EDU_OTHER_SMMU,
};

FIXTURE_SETUP(one_stage2)
{
	two_start_nesting(_metadata, &self->two, self->v, variant->pair, false);
}

FIXTURE_TEARDOWN(one_stage2)
{
	two_stop(_metadata, &self->two);
}

/* One nested, one on the bare stage 2: the unmap reaches either */
TEST_F(one_stage2, stage2_unmap_mixed)
{
	struct two *two = &self->two;
	struct vsmmu *v = self->v;

	ASSERT_EQ(0, guest_map(two->g[0], HOLE_IPA, HOLE_SIZE, true));
	s1_map(two->g[0], v[0].ttb, IOVA_A, HOLE_IPA, S1_RW);
	ASSERT_EQ(0, edu_attach(&two->dev[0], v[0].hwpt_s1));
	EXPECT_EQ(HOLE_IPA, two_lands(two, 0, IOVA_A));
	EXPECT_EQ(HOLE_IPA, two_lands(two, 1, HOLE_IPA));
	ASSERT_EQ(0, guest_unmap(two->g[0], HOLE_IPA));
	EXPECT_EQ(NOWHERE, two_lands(two, 0, IOVA_A));
	EXPECT_EQ(NOWHERE, two_lands(two, 1, HOLE_IPA));
}

/* The usual guest: one vSMMU, several devices behind it */
TEST_F(one_stage2, one_viommu)
{
	struct two *two = &self->two;
	struct vsmmu *v = self->v;
	__u64 a = guest_page(two->g[0]), b = guest_page(two->g[0]);
	__u64 c = guest_page(two->g[0]), cd, ttb;
	__u32 s1, id;

	ASSERT_EQ(0, iommufd_destroy(two->fd[0], v[1].vdevice_id));
	if (variant->pair == EDU_OTHER_SMMU) {
		/* That is not a thing that hardware can do */
		ASSERT_EQ(0, hwpt_alloc_ste(two->fd[0], two->dev[0].dev_id,
					    v[0].viommu_id, ste_bypass(), &s1));
		EXPECT_EQ(-EINVAL, edu_attach(&two->dev[1], s1));
		EXPECT_EQ(-EINVAL, vdevice_alloc(two->fd[0], v[0].viommu_id,
						 two->dev[1].dev_id, VSID_B,
						 &id));
		EXPECT_EQ(-EINVAL,
			  hwpt_alloc_ste(two->fd[0], two->dev[1].dev_id,
					 v[0].viommu_id, ste_bypass(), &s1));
		return;
	}

	EXPECT_EQ(-EEXIST, vdevice_alloc(two->fd[0], v[0].viommu_id,
					 two->dev[1].dev_id, VSID, &id));
	EXPECT_EQ(0, viommu_cmd(two->fd[0], v[0].viommu_id, cmd_cfgi_cd(VSID)));
	ASSERT_EQ(0, vdevice_alloc(two->fd[0], v[0].viommu_id,
				   two->dev[1].dev_id, VSID_B, &id));

	cd = guest_zero_page(two->g[0]);
	ttb = s1_create(two->g[0]);
	cd_write(two->g[0], &two->dev[1], cd, ttb, ASID_B);
	s1_map(two->g[0], v[0].ttb, IOVA_A, a, S1_RW);
	s1_map(two->g[0], ttb, IOVA_A, b, S1_RW);
	ASSERT_EQ(0, hwpt_alloc_ste(two->fd[0], two->dev[1].dev_id,
				    v[0].viommu_id, ste_s1(cd), &s1));
	ASSERT_EQ(0, edu_attach(&two->dev[0], v[0].hwpt_s1));
	ASSERT_EQ(0, edu_attach(&two->dev[1], s1));
	EXPECT_EQ(a, two_lands(two, 0, IOVA_A));
	EXPECT_EQ(b, two_lands(two, 1, IOVA_A));

	/* One TLB: of either address space, and with NH_ALL of both */
	s1_map(two->g[0], v[0].ttb, IOVA_A, c, S1_RW);
	s1_map(two->g[0], ttb, IOVA_A, c, S1_RW);
	ASSERT_EQ(0, viommu_cmd(two->fd[0], v[0].viommu_id,
				cmd_nh_asid(any_vmid(), ASID_B)));
	EXPECT_EQ(a, two_lands(two, 0, IOVA_A));
	EXPECT_EQ(c, two_lands(two, 1, IOVA_A));
	s1_map(two->g[0], ttb, IOVA_A, b, S1_RW);
	ASSERT_EQ(0, viommu_cmd(two->fd[0], v[0].viommu_id,
				cmd_nh_all(any_vmid())));
	EXPECT_EQ(c, two_lands(two, 0, IOVA_A));
	EXPECT_EQ(b, two_lands(two, 1, IOVA_A));

	/* The CDs are each device's own */
	cd_write(two->g[0], &two->dev[1], cd, v[0].ttb, ASID);
	ASSERT_EQ(0, viommu_cmd(two->fd[0], v[0].viommu_id, cmd_cfgi_cd(VSID)));
	EXPECT_EQ(b, two_lands(two, 1, IOVA_A));
	ASSERT_EQ(0, viommu_cmd(two->fd[0], v[0].viommu_id,
				cmd_cfgi_cd(VSID_B)));
	EXPECT_EQ(c, two_lands(two, 1, IOVA_A));
}

/*
 * One nests, the other one is on the bare stage 2 and may have the same VMID
 * there. The first one leaves, the other one nests: what the first guest had in
 * the TLB is not for the second one, though some VMID was in use all the time.
 */
TEST_F(one_stage2, vmid_handover)
{
	struct two *two = &self->two;
	struct vsmmu *v = self->v;
	__u64 page[2], stale;
	int i;

	for (i = 0; i != 2; i++) {
		page[i] = guest_page(two->g[i]);
		s1_map(two->g[i], v[i].ttb, IOVA_A, page[i], S1_RW);
	}
	ASSERT_EQ(0, edu_attach(&two->dev[0], v[0].hwpt_s1));
	EXPECT_EQ(page[0], two_lands(two, 0, IOVA_A));
	ASSERT_EQ(0, edu_detach(&two->dev[0]));
	ASSERT_EQ(0, edu_attach(&two->dev[1], v[1].hwpt_s1));
	EXPECT_EQ(page[1], two_lands(two, 1, IOVA_A));

	/* and the same guest back, that changed its tables without a word */
	ASSERT_EQ(0, edu_attach(&two->dev[0], two->g[0]->s2_id));
	ASSERT_EQ(0, edu_attach(&two->dev[1], two->g[0]->s2_id));
	stale = guest_page(two->g[1]);
	s1_map(two->g[1], v[1].ttb, IOVA_A, stale, S1_RW);
	EXPECT_EQ(stale, two_lands(two, 0, stale));
	ASSERT_EQ(0, edu_attach(&two->dev[0], v[0].hwpt_s1));
	EXPECT_EQ(page[0], two_lands(two, 0, IOVA_A));
	ASSERT_EQ(0, edu_attach(&two->dev[1], v[1].hwpt_s1));
	EXPECT_EQ(stale, two_lands(two, 1, IOVA_A));
}

/* Two devices of one guest: one queue, and each by its name */
TEST_F(one_stage2, events)
{
	struct two *two = &self->two;
	struct vsmmu *v = self->v;
	__u32 s1, id;
	int queue;

	if (variant->pair == EDU_OTHER_SMMU)
		SKIP(return, "one vIOMMU has one SMMU");
	ASSERT_EQ(0, iommufd_destroy(two->fd[0], v[1].vdevice_id));
	ASSERT_EQ(0, vdevice_alloc(two->fd[0], v[0].viommu_id,
				   two->dev[1].dev_id, VSID_B, &id));
	ASSERT_EQ(0, hwpt_alloc_ste(two->fd[0], two->dev[1].dev_id,
				    v[0].viommu_id, ste_s1(v[1].cd), &s1));
	ASSERT_EQ(0, veventq_alloc(two->fd[0], v[0].viommu_id, QUEUE_DEPTH,
				   &id, &queue));
	ASSERT_EQ(0, edu_attach(&two->dev[0], v[0].hwpt_s1));
	ASSERT_EQ(0, edu_attach(&two->dev[1], s1));
	fault(&two->dev[1], IOVA_A, false);
	fault(&two->dev[0], IOVA_A, false);
	fault(&two->dev[1], IOVA_B, false);
	expect_event(_metadata, queue, 0, EVT_TRANSLATION, VSID_B,
		     EVT1_CLASS_IN, IOVA_A);
	expect_event(_metadata, queue, 1, EVT_TRANSLATION, VSID, EVT1_CLASS_IN,
		     IOVA_A);
	expect_event(_metadata, queue, 2, EVT_TRANSLATION, VSID_B,
		     EVT1_CLASS_IN, IOVA_B);
	expect_no_event(_metadata, queue);
	close(queue);
}

/*
 * Two VMs behind one SMMU, and so behind one physical event queue
 */
struct two_queues {
	struct two two;
	struct vsmmu v[2];
	int queue[2];
};

FIXTURE(two_queues)
{
	struct two_queues q;
};

FIXTURE_SETUP(two_queues)
{
	static const __u32 depth[2] = { 2, QUEUE_DEPTH };
	__u32 id;
	int i;

	two_start_nesting(_metadata, &self->q.two, self->q.v, EDU_SAME_SMMU, true);
	if (_metadata->exit_code)
		return;
	for (i = 0; i != 2; i++) {
		ASSERT_EQ(0, edu_attach(&self->q.two.dev[i], self->q.v[i].hwpt_s1));
		ASSERT_EQ(0, veventq_alloc(self->q.two.fd[i],
					   self->q.v[i].viommu_id, depth[i], &id,
					   &self->q.queue[i]));
	}
}

FIXTURE_TEARDOWN(two_queues)
{
	close(self->q.queue[0]);
	close(self->q.queue[1]);
	two_stop(_metadata, &self->q.two);
}

/* The first one's queue is small. The second one's event tells that all is in */
TEST_F(two_queues, lost)
{
	struct two *two = &self->q.two;
	int queue = self->q.queue[0], i;
	struct smmu_event event;
	char buf[128];

	for (i = 0; i != 5; i++)
		fault(&two->dev[0], IOVA_A + i * GUEST_PAGE, false);
	fault(&two->dev[1], IOVA_B, false);
	expect_event(_metadata, self->q.queue[1], 0, EVT_TRANSLATION, VSID,
		     EVT1_CLASS_IN, IOVA_B);
	expect_no_event(_metadata, self->q.queue[1]);

	/* Two whole events, and that three more were lost */
	EXPECT_EQ(-1, read(queue, buf, sizeof(event) - 1));
	EXPECT_EQ(EINVAL, errno);
	expect_event(_metadata, queue, 0, EVT_TRANSLATION, VSID, EVT1_CLASS_IN,
		     IOVA_A);
	expect_event(_metadata, queue, 1, EVT_TRANSLATION, VSID, EVT1_CLASS_IN,
		     IOVA_A + GUEST_PAGE);
	EXPECT_EQ(sizeof(event.header), veventq_next(queue, &event));
	EXPECT_EQ(IOMMU_VEVENTQ_FLAG_LOST_EVENTS, event.header.flags);
	EXPECT_EQ(4, event.header.sequence);
	expect_no_event(_metadata, queue);

	/* Not read before the next event: that tells by its number alone */
	for (i = 0; i != 3; i++)
		fault(&two->dev[0], IOVA_A, false);
	fault(&two->dev[1], IOVA_B, false);
	expect_event(_metadata, self->q.queue[1], 1, EVT_TRANSLATION, VSID,
		     EVT1_CLASS_IN, IOVA_B);
	expect_event(_metadata, queue, 5, EVT_TRANSLATION, VSID, EVT1_CLASS_IN,
		     IOVA_A);
	fault(&two->dev[0], IOVA_C, true);
	fault(&two->dev[1], IOVA_B, false);
	expect_event(_metadata, self->q.queue[1], 2, EVT_TRANSLATION, VSID,
		     EVT1_CLASS_IN, IOVA_B);
	expect_event(_metadata, queue, 6, EVT_TRANSLATION, VSID, EVT1_CLASS_IN,
		     IOVA_A);
	expect_event(_metadata, queue, 8, EVT_TRANSLATION, VSID,
		     EVT1_CLASS_IN | EVT1_RNW, IOVA_C);
	expect_no_event(_metadata, queue);
	EXPECT_EQ(0, klog_count(HOST_EVENT));
}

/* A DMA of one byte after the other, each of which is an event */
static int flood_once(struct worker *w)
{
	edu_write(&w->vm->dev, IOVA_A + 1, 0, EDU_BUF_SIZE - 1);
	return 0;
}

static __u64 usec(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000ULL + ts.tv_nsec / 1000;
}

/* Who has nothing to do with a guest that faults all the time does not notice */
static void flood(struct __test_metadata *_metadata,
		  struct two_queues *q, unsigned int seconds,
		  __u32 *sequence)
{
	struct two *two = &q->two;
	struct vm noisy = { .dev = two->dev[0] };
	struct worker w = { .vm = &noisy, .once = flood_once };
	__u64 start, took, longest = 0, end = usec() + seconds * 1000000ULL;
	unsigned int turns = 0;
	__u32 seq = *sequence;

	worker_start(_metadata, &w);
	do {
		start = usec();
		ASSERT_EQ(0, edu_detach(&two->dev[1]));
		ASSERT_EQ(0, edu_attach(&two->dev[1], q->v[1].hwpt_s1));
		took = usec() - start;
		if (took > longest)
			longest = took;
		if (turns++ % 4)
			continue;
		fault(&two->dev[1], IOVA_B, false);
		expect_event(_metadata, q->queue[1], seq++, EVT_TRANSLATION,
			     VSID, EVT1_CLASS_IN, IOVA_B);
	} while (usec() < end);
	worker_stop(_metadata, &w);
	fault(&two->dev[1], IOVA_B, false);
	expect_event(_metadata, q->queue[1], seq++, EVT_TRANSLATION, VSID,
		     EVT1_CLASS_IN, IOVA_B);
	*sequence = seq;

	TH_LOG("%u attaches, the longest took %llu us, %u events of %lu DMAs",
	       turns, (unsigned long long)longest, seq, w.turns);
	/* A CMD_SYNC waits for a second at the most */
	EXPECT_GT(1000000, longest);
	expect_no_event(_metadata, q->queue[1]);
}

TEST_F_TIMEOUT(two_queues, flood, 60)
{
	struct two *two = &self->q.two;
	struct smmu_event event;
	__u32 sequence = 0;

	/* Of stage 1: for the guest alone, which does not even read them */
	flood(_metadata, &self->q, 2, &sequence);
	EXPECT_EQ(0, klog_count(HOST_EVENT));
	ASSERT_EQ(sizeof(event), veventq_next(self->q.queue[0], &event));
	EXPECT_EQ(0, event.header.sequence);
	ASSERT_EQ(sizeof(event), veventq_next(self->q.queue[0], &event));
	EXPECT_EQ(1, event.header.sequence);
	ASSERT_EQ(sizeof(event.header), veventq_next(self->q.queue[0], &event));
	EXPECT_LT(1000, event.header.sequence);

	/*
	 * Of stage 2: that is for the host's log, which gets three of them in
	 * five seconds, so in no more than three such intervals
	 */
	s1_map(two->g[0], self->q.v[0].ttb, IOVA_A, HOLE_IPA, S1_RW);
	s1_map(two->g[0], self->q.v[0].ttb, IOVA_A + GUEST_PAGE, HOLE_IPA, S1_RW);
	flood(_metadata, &self->q, 6, &sequence);
	EXPECT_GE(9, klog_count(HOST_EVENT));
	EXPECT_LT(0, klog_count(HOST_EVENT));
	expect_no_event(_metadata, self->q.queue[0]);
}

TEST_HARNESS_MAIN
