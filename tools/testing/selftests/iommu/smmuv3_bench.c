// SPDX-License-Identifier: GPL-2.0-only
/*
 * The cost of the calls of a VMM with an accelerated SMMUv3, in instructions
 *
 * This is for a host that is emulated with -icount shift=0: an instruction then
 * takes a nanosecond of the generic timer, whatever machine runs the emulator.
 * Runs differ only by other work of the kernel, so the minimum of some runs is
 * the cost of the call. On any other machine, the unit is nanoseconds.
 *
 * The output is TAP with lines of
 *
 *	bench NAME INSTRUCTIONS
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "lib/hwpoison.h"
#include "smmuv3_guest.h"

#define RUNS		12
#define VSID		0x1234
#define MANY		4096
#define MAP_IPA		0x40000000ULL
#define MAP_SIZE	0x00100000ULL
#define HUGE_SIZE	0x00200000ULL
/* About half of the pages have an even frame number, twice as many as needed */
#define POOL_SIZE	(4 * MAP_SIZE)

static struct guest g;
static struct edu dev;
static unsigned int plan;

static void __attribute__((noreturn)) bail(const char *what, int rc)
{
	printf("Bail out! %s: %s\n", what, strerror(-rc));
	exit(1);
}

static void must(const char *what, int rc)
{
	if (rc)
		bail(what, rc);
}

static inline uint64_t now(void)
{
	uint64_t t;

#ifdef __aarch64__
	asm volatile("isb; mrs %0, cntvct_el0; isb" : "=r"(t) : : "memory");
#else
	t = 0;
#endif
	return t;
}

/*
 * A single call, with no other code of ours between the two readings of the
 * timer
 */
static uint64_t timed_ioctl(int fd, unsigned long nr, void *arg)
{
	uint64_t before = now();
	int rc = ioctl(fd, nr, arg);
	uint64_t after = now();

	if (rc)
		bail("timed ioctl", -1);
	return after - before;
}

struct least {
	const char *name;
	uint64_t val;
};

static void least_of(struct least *l, uint64_t val)
{
	if (!l->val || val < l->val)
		l->val = val;
}

static void report(const struct least *l)
{
	printf("bench %s %llu\n", l->name, (unsigned long long)l->val);
	printf("ok %u %s\n", ++plan, l->name);
}

static void bench_invalidate(const char *name, __u32 viommu_id,
			     struct smmu_cmd cmd, unsigned int num)
{
	struct smmu_cmd *cmds = calloc(num, sizeof(*cmds));
	struct least l = { .name = name };
	unsigned int i;

	for (i = 0; i != num; i++)
		cmds[i] = cmd;
	for (i = 0; i != RUNS; i++) {
		struct iommu_hwpt_invalidate arg = {
			.size = sizeof(arg),
			.hwpt_id = viommu_id,
			.data_uptr = (uintptr_t)cmds,
			.data_type = IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3,
			.entry_len = sizeof(*cmds),
			.entry_num = num,
		};

		least_of(&l, timed_ioctl(g.fd, IOMMU_HWPT_INVALIDATE, &arg));
		if (arg.entry_num != num)
			bail("entry_num", -1);
	}
	free(cmds);
	report(&l);
}

static void bench_replace(__u32 hwpt_a, __u32 hwpt_b)
{
	struct least l = { .name = "replace" };
	unsigned int i;

	for (i = 0; i != RUNS; i++) {
		uint64_t before, after;
		int rc;

		must("attach", edu_attach(&dev, hwpt_a));
		before = now();
		rc = edu_attach(&dev, hwpt_b);
		after = now();
		must("replace", rc);
		least_of(&l, after - before);
	}
	report(&l);
}

static void bench_hwpt_alloc(__u32 viommu_id, __u64 cd)
{
	struct iommu_hwpt_arm_smmuv3 ste = ste_s1(cd);
	struct least l = { .name = "nested_hwpt_alloc" };
	unsigned int i;

	for (i = 0; i != RUNS; i++) {
		struct iommu_hwpt_alloc arg = {
			.size = sizeof(arg),
			.dev_id = dev.dev_id,
			.pt_id = viommu_id,
			.data_type = IOMMU_HWPT_DATA_ARM_SMMUV3,
			.data_len = sizeof(ste),
			.data_uptr = (uintptr_t)&ste,
		};

		least_of(&l, timed_ioctl(g.fd, IOMMU_HWPT_ALLOC, &arg));
		must("destroy", destroy(g.fd, arg.out_hwpt_id));
	}
	report(&l);
}

/* Map a buffer and unmap it again, several times */
static void bench_map(const char *map_name, const char *unmap_name, void *mem)
{
	struct least map = { .name = map_name }, unmap = { .name = unmap_name };
	unsigned int i;

	for (i = 0; i != RUNS; i++) {
		struct iommu_ioas_map arg = {
			.size = sizeof(arg),
			.flags = IOMMU_IOAS_MAP_FIXED_IOVA |
				 IOMMU_IOAS_MAP_READABLE |
				 IOMMU_IOAS_MAP_WRITEABLE,
			.ioas_id = g.ioas_id,
			.user_va = (uintptr_t)mem,
			.length = MAP_SIZE,
			.iova = MAP_IPA,
		};
		struct iommu_ioas_unmap undo = {
			.size = sizeof(undo),
			.ioas_id = g.ioas_id,
			.iova = MAP_IPA,
			.length = MAP_SIZE,
		};

		least_of(&map, timed_ioctl(g.fd, IOMMU_IOAS_MAP, &arg));
		least_of(&unmap, timed_ioctl(g.fd, IOMMU_IOAS_UNMAP, &undo));
	}
	report(&map);
	report(&unmap);
}

/* Memory of the process, filled with @byte so that it is there */
static void *memory(size_t size, int flags, int byte)
{
	void *mem = mmap(NULL, size, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);

	if (mem == MAP_FAILED)
		bail("mmap", -errno);
	madvise(mem, size, MADV_NOHUGEPAGE);
	return memset(mem, byte, size);
}

/*
 * The cost of a mapping depends on the runs of pages that are contiguous in
 * physical memory. So measure both extremes: a part of a huge page, and 4K
 * pages of which no two are adjacent. For the latter, move pages with an even
 * frame number together.
 */
static void bench_maps(void)
{
	char *pool = memory(POOL_SIZE, 0, 1), *window = memory(MAP_SIZE, 0, 2);
	size_t from, to = 0;

	for (from = 0; from != POOL_SIZE && to != MAP_SIZE; from += GUEST_PAGE) {
		__u64 pfn = pfn_of(pool + from);

		if (!pfn)
			bail("pagemap", -EACCES);
		if (pfn % 2)
			continue;
		if (mremap(pool + from, GUEST_PAGE, GUEST_PAGE,
			   MREMAP_MAYMOVE | MREMAP_FIXED,
			   window + to) == MAP_FAILED)
			bail("mremap", -errno);
		to += GUEST_PAGE;
	}
	if (to != MAP_SIZE)
		bail("even pages", -ENOMEM);
	bench_map("map_1m_scattered", "unmap_1m_scattered", window);
	bench_map("map_1m_contiguous", "unmap_1m_contiguous",
		  memory(HUGE_SIZE, MAP_HUGETLB, 3));
}

int main(void)
{
	__u32 viommu_id, vdevice_id, s1_a, s1_b;
	char bdf[16], why[128];
	__u64 cd_a, cd_b, ttb;
	int fd;

	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("TAP version 13\n");
	if (edu_find(bdf, why, sizeof(why))) {
		printf("1..0 # SKIP %s\n", why);
		return 4;
	}
	fd = iommufd_open();
	must("open the device", edu_open(&dev, bdf, fd));
	must("guest", guest_init(&g, fd));
	must("nesting parent",
	     hwpt_alloc(fd, dev.dev_id, g.ioas_id, IOMMU_HWPT_ALLOC_NEST_PARENT,
			IOMMU_HWPT_DATA_NONE, NULL, 0, &g.s2_id));
	must("attach", edu_attach(&dev, g.s2_id));
	must("vIOMMU", viommu_alloc(fd, dev.dev_id, g.s2_id, &viommu_id));
	must("vDEVICE", vdevice_alloc(fd, viommu_id, dev.dev_id, VSID,
				      &vdevice_id));
	ttb = s1_create(&g);
	cd_a = guest_zero_page(&g);
	cd_b = guest_zero_page(&g);
	cd_write(&g, &dev, cd_a, ttb, 1);
	cd_write(&g, &dev, cd_b, ttb, 2);
	must("nested a", hwpt_alloc_ste(fd, dev.dev_id, viommu_id, ste_s1(cd_a),
					&s1_a));
	must("nested b", hwpt_alloc_ste(fd, dev.dev_id, viommu_id, ste_s1(cd_b),
					&s1_b));
	must("attach nested", edu_attach(&dev, s1_a));

	bench_invalidate("tlbi_1", viommu_id, cmd_nh_va(0, 1, 0x12345000), 1);
	bench_invalidate("tlbi_64", viommu_id, cmd_nh_va(0, 1, 0x12345000), 64);
	bench_invalidate("tlbi_4096", viommu_id, cmd_nh_va(0, 1, 0x12345000),
			 MANY);
	bench_invalidate("cfgi_cd_4096", viommu_id, cmd_cfgi_cd(VSID), MANY);
	bench_replace(s1_a, s1_b);
	bench_hwpt_alloc(viommu_id, cd_a);
	bench_maps();
	printf("1..%u\n", plan);
	return 0;
}
