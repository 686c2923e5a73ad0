// SPDX-License-Identifier: GPL-2.0-only
/*
 * A hostile guest beside others: it floods its command queue in software with
 * the most expensive legal commands
 *
 * This plays a VMM and its guest with an edu device. It speaks the language of
 * the guests of qemu/init.c (see qemu/program.h), so that it can run at the
 * same time as these:
 *
 *   smmuv3_flood HOLDS		be held HOLDS times, then flood the queue
 *
 * It floods the queue while it waits to be released. The commands between two
 * further holds are counted, while the other guests do their work.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>

#include "smmuv3_guest.h"

#define VSID		0x1234
#define ASID		0x21
#define PAGE0_SIZE	0x10000
#define QUEUE_CMDS	(GUEST_PAGE / 16)
#define QUEUE_WRAP	(2 * QUEUE_CMDS - 1)
/* Enough commands to keep the worker busy */
#define WARM_UP		(16 * QUEUE_CMDS)

static struct guest g;
static struct edu dev;
static __u32 *regs;
static __u32 cons;
static unsigned long long consumed;

static void must(const char *what, int rc)
{
	if (!rc)
		return;
	printf("@bad fail %s: %s\n", what, strerror(-rc));
	exit(1);
}

static __u32 reg_read(unsigned int reg)
{
	return le32toh(__atomic_load_n(&regs[reg], __ATOMIC_ACQUIRE));
}

static void reg_write(unsigned int reg, __u32 val)
{
	__atomic_store_n(&regs[reg], htole32(val), __ATOMIC_RELEASE);
}

static void set_up(void)
{
	struct iommu_viommu_tegra241_cmdqv data;
	__u64 ttb, cd, page, queue, ipa;
	char bdf[16], why[128];
	__u32 viommu_id, id, s1_id;
	unsigned int i;
	int fd;

	if (edu_find(bdf, why, sizeof(why))) {
		printf("@bad fail %s\n", why);
		exit(1);
	}
	fd = iommufd_open();
	must("open the device", edu_open(&dev, bdf, fd));
	must("guest", guest_init(&g, fd));
	must("nesting parent",
	     hwpt_alloc(fd, dev.dev_id, g.ioas_id, IOMMU_HWPT_ALLOC_NEST_PARENT,
			IOMMU_HWPT_DATA_NONE, NULL, 0, &g.s2_id));
	must("attach", edu_attach(&dev, g.s2_id));
	must("vIOMMU",
	     iommufd_viommu_alloc(fd, dev.dev_id, g.s2_id,
				  IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV, &data,
				  sizeof(data), &viommu_id));
	must("vDEVICE", vdevice_alloc(fd, viommu_id, dev.dev_id, VSID, &id));
	ttb = s1_create(&g);
	cd = guest_zero_page(&g);
	cd_write(&g, &dev, cd, ttb, ASID);
	must("nested HWPT", hwpt_alloc_ste(fd, dev.dev_id, viommu_id,
					   ste_s1(cd), &s1_id));
	/* The commands are only issued if an STE has a VMID for them */
	must("attach", edu_attach(&dev, s1_id));
	page = guest_page(&g);
	s1_map(&g, ttb, page, page, S1_RW);
	edu_load(&dev, &g, page, page);

	queue = guest_zero_page(&g);
	must("HW_QUEUE",
	     hw_queue_alloc(fd, viommu_id, IOMMU_HW_QUEUE_TYPE_TEGRA241_CMDQV, 0,
			    queue, GUEST_PAGE, &id));
	regs = mmap(NULL, PAGE0_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		    data.out_vintf_mmap_offset);
	if (regs == MAP_FAILED)
		must("mmap", -errno);

	/*
	 * Ranges that are not aligned, with the largest number of pages: for
	 * these an SMMU may have to look at each entry of its TLB, and more
	 * than once. Without a CMD_SYNC, the kernel takes as many commands at
	 * once as it can.
	 */
	ipa = queue;
	for (i = 0; i < QUEUE_CMDS; i++, ipa += 16) {
		struct smmu_cmd cmd = cmd_nh_va(0, ASID, 0x555555555000ULL);

		if (dev.info.idr[3] & IDR3_RIL)
			cmd = cmd_ranged(cmd, 31, 31);
		guest_write64(&g, ipa, le64toh(cmd.cmd[0]));
		guest_write64(&g, ipa + 8, le64toh(cmd.cmd[1]));
	}
	reg_write(REG_PROD, 0);
	reg_write(REG_CONS, 0);
	reg_write(REG_CONFIG, 1);
	while (reg_read(REG_STATUS) != 1)
		;
}

/* Keep the queue full */
static void flood(void)
{
	__u32 val = reg_read(REG_CONS);

	/* An error in CONS would be a bug: all commands are legal */
	if (val & ~QUEUE_WRAP)
		must("CONS", -EIO);
	consumed += (val - cons) & QUEUE_WRAP;
	cons = val;
	reg_write(REG_PROD, cons ^ QUEUE_CMDS);
}

static void flood_until(unsigned long long num)
{
	while (consumed < num)
		flood();
}

static void answered(void)
{
	char c;

	if (read(STDIN_FILENO, &c, 1) != 1)
		must("answer", -EPIPE);
}

/* Flood while held */
static void flood_held(void)
{
	struct pollfd pfd = { .fd = STDIN_FILENO, .events = POLLIN };
	unsigned int i;

	printf("@bad hold\n");
	for (i = 0;; i++) {
		flood();
		if (!(i % 256) && poll(&pfd, 1, 0) > 0)
			break;
	}
	answered();
}

int main(int argc, char **argv)
{
	unsigned int holds = argc > 1 ? atoi(argv[1]) : 0;
	unsigned long long before;

	setvbuf(stdout, NULL, _IOLBF, 0);
	set_up();
	while (holds--) {
		printf("@bad hold\n");
		answered();
	}
	flood_until(WARM_UP);
	flood_held();
	before = consumed;
	flood_held();
	printf("@bad flooded %llu\n", consumed - before);
	return 0;
}
