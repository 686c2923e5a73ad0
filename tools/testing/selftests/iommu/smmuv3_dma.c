// SPDX-License-Identifier: GPL-2.0-only
/*
 * Where DMA of a nested device lands: stage 1 of the guest above stage 2 of the
 * VMM, while either of them changes
 */
#include <errno.h>
#include <sys/mman.h>

#include "lib/clock.h"
#include "smmuv3_vm.h"

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

	/* A single DMA over two pages that are adjacent only in IOVA */
	edu_load(&vm->dev, g, IOVA_C, c);
	guest_expect(g, a + 0x800, vm->dev.buf, 0x800);
	guest_expect(g, b, vm->dev.buf + 0x800, 0x800);
	edu_write(&vm->dev, IOVA_A + 0x800, 0, EDU_BUF_SIZE);
	EXPECT_TRUE(guests_intact());

	/*
	 * The guest's permissions apply, an IPA is not an IOVA, and holes fault
	 */
	EXPECT_TRUE(edu_read_gets(&vm->dev, g, IOVA_C + GUEST_PAGE, ro, IOVA_B,
				  b));
	EXPECT_EQ(NOWHERE, vm_lands(vm, IOVA_C + GUEST_PAGE));
	EXPECT_EQ(NOWHERE, vm_lands(vm, a));
	EXPECT_EQ(NOWHERE, vm_lands(vm, IOVA_C + 2 * GUEST_PAGE));
}

/* Stage 2 limits the permissions of the guest */
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

/*
 * Bypass and abort need no vDEVICE: a VMM attaches them before it has a vDEVICE
 */
TEST_F(nesting, ste_kinds)
{
	struct vm *vm = &self->vm;
	__u64 a = guest_page(&vm->g), b = guest_page(&vm->g);
	__u32 bypass, abort_id, invalid, eats;

	ASSERT_EQ(0, destroy(vm->fd, vm->v.vdevice_id));
	ASSERT_EQ(0, vm_hwpt(vm, ste_bypass(), &bypass));
	ASSERT_EQ(0, vm_hwpt(vm, ste_abort(), &abort_id));
	/* With V = 0, no other field matters */
	ASSERT_EQ(0, vm_hwpt(vm, ste_raw(~STE0_V, ~0ULL), &invalid));
	vm_map(vm, IOVA_A, a);

	ASSERT_EQ(0, edu_attach(&vm->dev, bypass));
	EXPECT_EQ(b, vm_lands(vm, b));
	EXPECT_EQ(NOWHERE, vm_lands(vm, IOVA_A));
	ASSERT_EQ(0, edu_attach(&vm->dev, abort_id));
	EXPECT_EQ(NOWHERE, vm_lands(vm, b));
	ASSERT_EQ(0, edu_attach(&vm->dev, invalid));
	EXPECT_EQ(NOWHERE, vm_lands(vm, b));

	/*
	 * Stage 1 needs a vDEVICE. A refused attach leaves the old domain in
	 * place.
	 */
	ASSERT_EQ(0, edu_attach(&vm->dev, bypass));
	EXPECT_EQ(-ENOENT, edu_attach(&vm->dev, vm->v.hwpt_s1));
	EXPECT_EQ(b, vm_lands(vm, b));
	ASSERT_EQ(0, vdevice_alloc(vm->fd, vm->v.viommu_id, vm->dev.dev_id,
				   VSID, NULL));
	ASSERT_EQ(0, edu_attach(&vm->dev, vm->v.hwpt_s1));
	EXPECT_EQ(a, vm_lands(vm, IOVA_A));

	/* A guest may ask for ATS on a host without ATS */
	ASSERT_EQ(0, vm_hwpt(vm, ste_raw(le64toh(ste_s1(vm->v.cd).ste[0]),
					 le64toh(ste_s1(vm->v.cd).ste[1]) |
						 STE1_EATS(1)),
			     &eats));
	ASSERT_EQ(0, edu_attach(&vm->dev, eats));
	EXPECT_EQ(a, vm_lands(vm, IOVA_A));
}

/*
 * Guest memory cannot cover the window of the doorbells as long as the device
 * is attached in any way, even after an attach that failed
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
	ASSERT_EQ(0, destroy(vm->fd, vm->v.vdevice_id));
	EXPECT_EQ(-ENOENT, edu_attach(&vm->dev, vm->v.hwpt_s1));
	EXPECT_EQ(-EINVAL, ioas_map(vm->fd, ioas_id, mem, SW_MSI_BASE,
				    HOLE_SIZE, true));
	ASSERT_EQ(0, edu_attach(&vm->dev, bypass));
	EXPECT_EQ(-EINVAL, ioas_map(vm->fd, ioas_id, mem, SW_MSI_BASE,
				    HOLE_SIZE, true));
	EXPECT_EQ(-ENOENT, edu_attach(&vm->dev, vm->v.hwpt_s1));
	EXPECT_EQ(-EINVAL, ioas_map(vm->fd, ioas_id, mem, SW_MSI_BASE,
				    HOLE_SIZE, true));

	/*
	 * Memory that is mapped first keeps the window, even against a nested
	 * attach
	 */
	ASSERT_EQ(0, edu_detach(&vm->dev));
	ASSERT_EQ(0, ioas_map(vm->fd, ioas_id, mem, SW_MSI_BASE, HOLE_SIZE,
			      true));
	EXPECT_EQ(-EADDRINUSE, edu_attach(&vm->dev, bypass));
	ASSERT_EQ(0, ioas_unmap(vm->fd, ioas_id, SW_MSI_BASE, HOLE_SIZE));
	EXPECT_EQ(0, edu_attach(&vm->dev, bypass));
	EXPECT_EQ(-EINVAL, ioas_map(vm->fd, ioas_id, mem, SW_MSI_BASE,
				    HOLE_SIZE, true));
}

/* The window is released with the device, and no doorbells remain in it */
TEST_F(nesting, msi_window_given_back)
{
	struct vm *vm = &self->vm;
	__u32 ioas_id = vm->g.ioas_id;
	void *mem;

	mem = mmap(NULL, HOLE_SIZE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, mem);
	ASSERT_EQ(0, edu_msi_enable(&vm->dev));
	EXPECT_TRUE(edu_msi_arrives(&vm->dev, LATE_MS));
	/* After two attaches in a row, there is still a single reservation */
	ASSERT_EQ(0, edu_attach(&vm->dev, vm->v.hwpt_s1));
	ASSERT_EQ(0, edu_attach(&vm->dev, vm->g.s2_id));
	EXPECT_TRUE(edu_msi_arrives(&vm->dev, LATE_MS));

	ASSERT_EQ(0, edu_detach(&vm->dev));
	EXPECT_EQ(0, ioas_map(vm->fd, ioas_id, mem, SW_MSI_BASE, HOLE_SIZE,
			      true));
	EXPECT_EQ(0, ioas_unmap(vm->fd, ioas_id, SW_MSI_BASE, HOLE_SIZE));
	ASSERT_EQ(0, edu_attach(&vm->dev, vm->g.s2_id));
	EXPECT_TRUE(edu_msi_arrives(&vm->dev, LATE_MS));
}

/* Every step takes effect at once, with caches full of the previous step */
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
	/* A single IOVA, which leads to another page in each of the domains */
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

/* RAM of a memfd, as used by VMMs for sharing or huge pages */
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
 * The hardware may have cached IOVA -> PA under the guest's ASID. This entry
 * must go too when the host takes the memory back.
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
	/* Unmapped while no device nests, before the device nests again */
	ASSERT_EQ(0, edu_attach(&vm->dev, vm->g.s2_id));
	ASSERT_EQ(0, guest_unmap(&vm->g, HOLE_IPA));
	ASSERT_EQ(0, edu_attach(&vm->dev, vm->v.hwpt_s1));
	EXPECT_EQ(NOWHERE, vm_lands(vm, IOVA_A));

	ASSERT_EQ(0, guest_map(&vm->g, HOLE_IPA, HOLE_SIZE, true));
	EXPECT_EQ(HOLE_IPA, vm_lands(vm, IOVA_A));
	/* Unmapped while no device is attached at all */
	ASSERT_EQ(0, edu_detach(&vm->dev));
	ASSERT_EQ(0, guest_unmap(&vm->g, HOLE_IPA));
	ASSERT_EQ(0, edu_attach(&vm->dev, vm->v.hwpt_s1));
	EXPECT_EQ(NOWHERE, vm_lands(vm, IOVA_A));
}

TEST_HARNESS_MAIN
