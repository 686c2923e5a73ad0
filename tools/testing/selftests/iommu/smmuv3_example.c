// SPDX-License-Identifier: GPL-2.0-only
/*
 * The smallest VMM, for Documentation/userspace-api/smmuv3-nesting.rst.
 *
 * It gives "its guest" an SMMUv3 that runs on the hardware, and plays the guest
 * as well: the guest's memory is an array with its CD and stage-1 tables. The
 * device does DMA through both stages, and the VMM checks where the bytes arrive.
 *
 *   smmuv3_example BDF [queue]
 *
 * BDF is the address of an edu device (1234:11e8, in QEMU) that is bound to
 * vfio-pci and alone in its IOMMU group. With "queue", a second guest has a
 * command queue of its own, for which the kernel needs arm_smmu_v3.soft_cmdqv=1.
 *
 * Prints TAP, and exits with 0 only if all steps have succeeded.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <endian.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <linux/iommufd.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>

/* The guest's memory: 16 pages, and their use */
#define PAGE		4096
#define IPA(page)	(0x40000000ULL + (page) * PAGE)
enum { CD, LEVEL1, LEVEL2, LEVEL3, SOURCE, FIRST, SECOND, QUEUE, PAGES = 16 };

#define ASID		7
#define VSID		0x0108		/* the guest's ID of the device */
#define IOVA(n)		((n) * PAGE)	/* entry n of LEVEL3 */
#define IN_IOVA		IOVA(16)
#define OUT_IOVA	IOVA(17)
#define BAD_IOVA	IOVA(18)

/* TLBI_NH_VA of a leaf. The kernel fills in the VMID */
#define TLBI_0		(0x12 | (__u64)ASID << 48)
#define TLBI_1		(OUT_IOVA | 1)
#define SYNC_0		0x46ULL

/* The registers of a command queue, and its size in commands */
enum { CONS, PROD, CONFIG, STATUS, GERROR, GERRORN };
#define CMDS		(PAGE / 16)

static __u64 (*ram)[PAGE / 8];
static __u8 *bar;
static int iommufd, device, tests;

static void ok(int good, const char *what)
{
	printf("%sok %d - %s\n", good ? "" : "not ", ++tests, what);
	if (!good) {
		printf("# %m\n");
		exit(1);
	}
}

#define TRY(fd, nr, cmd)	ok(!ioctl(fd, nr, cmd), #nr)

static void destroy(__u32 id, const char *what)
{
	struct iommu_destroy cmd = { .size = sizeof(cmd), .id = id };

	ok(!ioctl(iommufd, IOMMU_DESTROY, &cmd), what);
}

/* The walker of the SMMU reads this memory concurrently */
static void guest_write(unsigned int page, unsigned int n, __u64 val)
{
	__atomic_store_n(&ram[page][n], htole64(val), __ATOMIC_SEQ_CST);
}

/* A page descriptor: valid, for EL0, inner shareable, accessed, not global */
static __u64 pte(unsigned int page)
{
	return IPA(page) | 3 | 1 << 6 | 3 << 8 | 1 << 10 | 1 << 11;
}

static void guest_set_up(__u32 idr5)
{
	__u64 ips = idr5 & 7;

	guest_write(LEVEL1, 0, IPA(LEVEL2) | 3);
	guest_write(LEVEL2, 0, IPA(LEVEL3) | 3);
	guest_write(LEVEL3, IN_IOVA / PAGE, pte(SOURCE));
	guest_write(LEVEL3, OUT_IOVA / PAGE, pte(FIRST));
	memset(ram[SOURCE], 0x5a, PAGE);

	/* TTB0, and MAIR with normal write-back memory as attribute 0 */
	guest_write(CD, 1, IPA(LEVEL1));
	guest_write(CD, 3, 0xff);
	/* T0SZ for 39 bits; walks are cacheable and shareable; no TTB1; V */
	guest_write(CD, 0, 25 | 1 << 8 | 1 << 10 | 3 << 12 | 1 << 30 |
		    1ULL << 31 | (ips > 5 ? 5 : ips) << 32 |
		    1ULL << 41 |		/* AA64 */
		    7ULL << 45 |		/* R, A, ASET */
		    (__u64)ASID << 48);
}

/* The VFIO character device of a PCI device */
static int open_vfio(const char *bdf)
{
	struct dirent *ent = NULL;
	char path[512];
	DIR *dir;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/vfio-dev", bdf);
	dir = opendir(path);
	while (dir && (ent = readdir(dir)) && ent->d_name[0] == '.')
		;
	ok(dir && ent, "bound to vfio-pci");
	snprintf(path, sizeof(path), "/dev/vfio/devices/%s", ent->d_name);
	closedir(dir);
	return open(path, O_RDWR | O_CLOEXEC);
}

static void enable_device(void)
{
	struct vfio_region_info region = {
		.argsz = sizeof(region), .index = VFIO_PCI_CONFIG_REGION_INDEX,
	};
	__u16 command = htole16(PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);

	TRY(device, VFIO_DEVICE_GET_REGION_INFO, &region);
	ok(pwrite(device, &command, 2, region.offset + PCI_COMMAND) == 2,
	   "memory space and bus mastering enabled");
	region.index = VFIO_PCI_BAR0_REGION_INDEX;
	TRY(device, VFIO_DEVICE_GET_REGION_INFO, &region);
	bar = mmap(NULL, region.size, PROT_READ | PROT_WRITE, MAP_SHARED,
		   device, region.offset);
	ok(bar != MAP_FAILED, "BAR 0 mapped");
}

static void reg_write(unsigned int reg, __u64 val)
{
	__atomic_store_n((__u64 *)(bar + reg), htole64(val), __ATOMIC_SEQ_CST);
}

static __u64 reg_read(unsigned int reg)
{
	return le64toh(__atomic_load_n((__u64 *)(bar + reg), __ATOMIC_SEQ_CST));
}

/* A DMA of a page between address @iova and the device's own buffer */
static int dma(__u64 iova, int to_memory)
{
	int ms;

	reg_write(0x80, to_memory ? 0x40000 : iova);
	reg_write(0x88, to_memory ? iova : 0x40000);
	reg_write(0x90, PAGE);
	reg_write(0x98, 1 | to_memory << 1);
	/* It takes a tenth of a second. This bit shows whether it is running */
	for (ms = 0; reg_read(0x98) & 1 && ms != 30000; ms++)
		usleep(1000);
	return ms != 30000;
}

static int arrived(unsigned int page)
{
	return !memcmp(ram[page], ram[SOURCE], PAGE);
}

/* The guest's driver of its command queue, whose registers are memory */
static __u32 *page0;
static __u32 prod;

static void cmdq_write(unsigned int reg, __u32 val)
{
	__atomic_store_n(&page0[reg], htole32(val), __ATOMIC_RELEASE);
}

static __u32 cmdq_read(unsigned int reg)
{
	return le32toh(__atomic_load_n(&page0[reg], __ATOMIC_ACQUIRE));
}

static int cmdq_gets(unsigned int reg, __u32 val)
{
	int ms;

	for (ms = 0; cmdq_read(reg) != val && ms != 30000; ms++)
		usleep(1000);
	return ms != 30000;
}

static void cmdq_put(__u32 at, __u64 word_0, __u64 word_1)
{
	guest_write(QUEUE, at % CMDS * 2, word_0);
	guest_write(QUEUE, at % CMDS * 2 + 1, word_1);
}

/* The index has one bit more than needed, to distinguish full from empty */
static void cmdq_add(__u64 word_0, __u64 word_1)
{
	cmdq_put(prod, word_0, word_1);
	prod = (prod + 1) % (2 * CMDS);
}

static void attach(__u32 pt_id)
{
	struct vfio_device_attach_iommufd_pt cmd = {
		.argsz = sizeof(cmd), .pt_id = pt_id,
	};

	TRY(device, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &cmd);
}

/*
 * The second part: a guest with a command queue of its own. When the VMM has
 * set it up, the guest invalidates without any exit to the VMM.
 */
static void second_guest(__u32 dev_id, __u32 s2_id, struct iommu_hwpt_alloc *s1)
{
	struct iommu_hw_info_tegra241_cmdqv cmdqv = {};
	struct iommu_viommu_tegra241_cmdqv mem = {};
	struct iommu_hw_info info = {
		.size = sizeof(info), .dev_id = dev_id,
		.flags = IOMMU_HW_INFO_FLAG_INPUT_TYPE,
		.in_data_type = IOMMU_HW_INFO_TYPE_TEGRA241_CMDQV,
		.data_len = sizeof(cmdqv), .data_uptr = (unsigned long)&cmdqv,
	};
	struct iommu_viommu_alloc viommu = {
		.size = sizeof(viommu), .dev_id = dev_id, .hwpt_id = s2_id,
		.type = IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV,
		.data_len = sizeof(mem), .data_uptr = (unsigned long)&mem,
	};
	struct iommu_vdevice_alloc vdev = {
		.size = sizeof(vdev), .dev_id = dev_id, .virt_id = VSID,
	};
	struct iommu_veventq_alloc evq = {
		.size = sizeof(evq), .veventq_depth = 1,
		.type = IOMMU_VEVENTQ_TYPE_TEGRA241_CMDQV,
	};
	struct iommu_hw_queue_alloc queue = {
		.size = sizeof(queue),
		.type = IOMMU_HW_QUEUE_TYPE_TEGRA241_CMDQV,
		.nesting_parent_iova = IPA(QUEUE), .length = PAGE,
	};
	struct {
		struct iommufd_vevent_header header;
		struct iommu_vevent_tegra241_cmdqv cmdqv;
	} event;
	struct pollfd pollfd = { .events = POLLIN };
	__u32 bad;

	/* 8. A vIOMMU with the registers of queues, which the VMM maps */
	TRY(iommufd, IOMMU_GET_HW_INFO, &info);
	ok(cmdqv.version == 1, "a CMDQV of version 1");
	TRY(iommufd, IOMMU_VIOMMU_ALLOC, &viommu);
	page0 = mmap(NULL, mem.out_vintf_mmap_length, PROT_READ | PROT_WRITE,
		     MAP_SHARED, iommufd, mem.out_vintf_mmap_offset);
	ok(page0 != MAP_FAILED, "page 0 mapped");
	vdev.viommu_id = viommu.out_viommu_id;
	TRY(iommufd, IOMMU_VDEVICE_ALLOC, &vdev);
	evq.viommu_id = viommu.out_viommu_id;
	TRY(iommufd, IOMMU_VEVENTQ_ALLOC, &evq);
	s1->pt_id = viommu.out_viommu_id;
	TRY(iommufd, IOMMU_HWPT_ALLOC, s1);
	attach(s1->out_hwpt_id);

	/* 9. The guest has written BASE, which the VMM traps, and then EN */
	queue.viommu_id = viommu.out_viommu_id;
	TRY(iommufd, IOMMU_HW_QUEUE_ALLOC, &queue);
	cmdq_write(CONFIG, 1);
	ok(cmdq_gets(STATUS, 1), "queue enabled");

	/* 10. The guest changes an entry, and sends TLBI_NH_VA and CMD_SYNC */
	memset(ram[SECOND], 0, PAGE);
	ok(dma(OUT_IOVA, 1) && arrived(SECOND), "the device wrote");
	memset(ram[SECOND], 0, PAGE);
	guest_write(LEVEL3, OUT_IOVA / PAGE, pte(FIRST));
	cmdq_add(TLBI_0, TLBI_1);
	cmdq_add(SYNC_0, 0);
	cmdq_write(PROD, prod);
	ok(cmdq_gets(CONS, prod), "the queue is empty");
	ok(dma(OUT_IOVA, 1) && arrived(FIRST) && !arrived(SECOND),
	   "the new entry counts, the old one is forgotten");

	/* 11. An error is an event, for the VMM to send an interrupt */
	pollfd.fd = evq.out_veventq_fd;
	ok(!poll(&pollfd, 1, 0), "no event so far");
	bad = prod;
	cmdq_add(0, 0);
	cmdq_write(PROD, prod);
	ok(poll(&pollfd, 1, 30000) == 1, "now there is");
	ok(read(pollfd.fd, &event, sizeof(event)) == sizeof(event), "read");
	ok(le64toh(event.cmdqv.lvcmdq_err_map[0]) == 1, "of the first queue");
	ok(cmdq_read(CONS) == (1 << 24 | bad), "CERROR_ILL at this command");
	/* The guest replaces the command, and acknowledges the error */
	cmdq_put(bad, SYNC_0, 0);
	cmdq_write(GERRORN, cmdq_read(GERROR));
	ok(cmdq_gets(CONS, prod), "the queue is empty again");

	/* 12. The reverse order */
	attach(s2_id);
	destroy(s1->out_hwpt_id, "nested HWPT destroyed");
	destroy(vdev.out_vdevice_id, "vDEVICE destroyed");
	close(pollfd.fd);
	destroy(evq.out_veventq_id, "vEVENTQ destroyed");
	destroy(queue.out_hw_queue_id, "HW_QUEUE destroyed");
	ok(!munmap(page0, mem.out_vintf_mmap_length), "page 0 unmapped");
	destroy(viommu.out_viommu_id, "vIOMMU destroyed");
}

int main(int argc, char **argv)
{
	struct vfio_device_bind_iommufd bind = { .argsz = sizeof(bind) };
	struct iommu_hw_info_arm_smmuv3 smmu = {};
	struct iommu_hw_info info = { .size = sizeof(info) };
	struct iommu_ioas_alloc ioas = { .size = sizeof(ioas) };
	struct iommu_ioas_map map = {
		.size = sizeof(map), .length = PAGES * PAGE, .iova = IPA(0),
		.flags = IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE |
			 IOMMU_IOAS_MAP_WRITEABLE,
	};
	struct iommu_hwpt_alloc s2 = { .size = sizeof(s2) };
	struct iommu_viommu_alloc viommu = { .size = sizeof(viommu) };
	struct iommu_vdevice_alloc vdev = { .size = sizeof(vdev) };
	struct iommu_veventq_alloc evq = { .size = sizeof(evq) };
	struct iommu_hwpt_alloc s1 = { .size = sizeof(s1) };
	struct iommu_hwpt_invalidate inv = { .size = sizeof(inv) };
	struct vfio_device_detach_iommufd_pt detach = {
		.argsz = sizeof(detach),
	};
	struct {
		struct iommufd_vevent_header header;
		struct iommu_vevent_arm_smmuv3 smmu;
	} event;
	/* V, and 5 for stage 1; walks are cacheable and shareable */
	struct iommu_hwpt_arm_smmuv3 ste = {
		{ htole64(1 | 5 << 1 | IPA(CD)),
		  htole64(1 << 2 | 1 << 4 | 3 << 6) },
	};
	struct iommu_viommu_arm_smmuv3_invalidate tlbi = {
		{ htole64(TLBI_0), htole64(TLBI_1) },
	};
	struct pollfd pollfd = { .events = POLLIN };

	setbuf(stdout, NULL);
	printf("TAP version 13\n");
	if (argc != 2 && argc != 3) {
		printf("1..0 # SKIP needs the address of an edu device\n");
		return 4;
	}

	/* 1. The device, and the type of its SMMU */
	iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	ok(iommufd >= 0, "/dev/iommu");
	device = open_vfio(argv[1]);
	ok(device >= 0, "/dev/vfio/devices/");
	bind.iommufd = iommufd;
	TRY(device, VFIO_DEVICE_BIND_IOMMUFD, &bind);
	info.dev_id = bind.out_devid;
	info.data_len = sizeof(smmu);
	info.data_uptr = (unsigned long)&smmu;
	TRY(iommufd, IOMMU_GET_HW_INFO, &info);
	ok(info.out_data_type == IOMMU_HW_INFO_TYPE_ARM_SMMUV3, "an SMMUv3");

	/* 2. Guest memory, as the target of stage 2 */
	ram = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ok(ram != MAP_FAILED, "guest memory");
	guest_set_up(smmu.idr[5]);
	TRY(iommufd, IOMMU_IOAS_ALLOC, &ioas);
	map.ioas_id = ioas.out_ioas_id;
	map.user_va = (unsigned long)ram;
	TRY(iommufd, IOMMU_IOAS_MAP, &map);
	s2.flags = IOMMU_HWPT_ALLOC_NEST_PARENT;
	s2.dev_id = bind.out_devid;
	s2.pt_id = ioas.out_ioas_id;
	TRY(iommufd, IOMMU_HWPT_ALLOC, &s2);

	/* 3. The guest's SMMU, its ID of the device, its events */
	viommu.type = IOMMU_VIOMMU_TYPE_ARM_SMMUV3;
	viommu.dev_id = bind.out_devid;
	viommu.hwpt_id = s2.out_hwpt_id;
	TRY(iommufd, IOMMU_VIOMMU_ALLOC, &viommu);
	vdev.viommu_id = viommu.out_viommu_id;
	vdev.dev_id = bind.out_devid;
	vdev.virt_id = VSID;
	TRY(iommufd, IOMMU_VDEVICE_ALLOC, &vdev);
	evq.viommu_id = viommu.out_viommu_id;
	evq.type = IOMMU_VEVENTQ_TYPE_ARM_SMMUV3;
	evq.veventq_depth = 64;
	TRY(iommufd, IOMMU_VEVENTQ_ALLOC, &evq);

	/* 4. The guest has sent CFGI_STE: this is its STE */
	s1.dev_id = bind.out_devid;
	s1.pt_id = viommu.out_viommu_id;
	s1.data_type = IOMMU_HWPT_DATA_ARM_SMMUV3;
	s1.data_len = sizeof(ste);
	s1.data_uptr = (unsigned long)&ste;
	TRY(iommufd, IOMMU_HWPT_ALLOC, &s1);
	attach(s1.out_hwpt_id);

	enable_device();
	ok(dma(IN_IOVA, 0) && dma(OUT_IOVA, 1), "the device read and wrote");
	ok(arrived(FIRST) && !arrived(SECOND), "both stages translated");

	/* 5. The guest changes an entry and sends TLBI_NH_VA */
	memset(ram[FIRST], 0, PAGE);
	guest_write(LEVEL3, OUT_IOVA / PAGE, pte(SECOND));
	inv.hwpt_id = viommu.out_viommu_id;
	inv.data_type = IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3;
	inv.data_uptr = (unsigned long)&tlbi;
	inv.entry_len = sizeof(tlbi);
	inv.entry_num = 1;
	TRY(iommufd, IOMMU_HWPT_INVALIDATE, &inv);
	ok(inv.entry_num == 1, "one command has completed");
	ok(dma(OUT_IOVA, 1) && arrived(SECOND) && !arrived(FIRST),
	   "the new entry counts, the old one is forgotten");

	/* 6. A fault of stage 1 is an event of the guest */
	pollfd.fd = evq.out_veventq_fd;
	ok(!poll(&pollfd, 1, 0), "no event so far");
	ok(dma(BAD_IOVA, 1) && poll(&pollfd, 1, 30000) == 1, "now there is");
	ok(read(pollfd.fd, &event, sizeof(event)) == sizeof(event), "read");
	ok((le64toh(event.smmu.evt[0]) & 0xff) == 0x10 &&
	   le64toh(event.smmu.evt[0]) >> 32 == VSID, "F_TRANSLATION of VSID");
	ok(le64toh(event.smmu.evt[2]) / PAGE == BAD_IOVA / PAGE, "its address");

	/* 7. The reverse order, as each object holds a reference on another */
	attach(s2.out_hwpt_id);
	destroy(s1.out_hwpt_id, "nested HWPT destroyed");
	destroy(vdev.out_vdevice_id, "vDEVICE destroyed");
	close(pollfd.fd);
	destroy(evq.out_veventq_id, "vEVENTQ destroyed");
	destroy(viommu.out_viommu_id, "vIOMMU destroyed");
	if (argc == 3)
		second_guest(bind.out_devid, s2.out_hwpt_id, &s1);
	TRY(device, VFIO_DEVICE_DETACH_IOMMUFD_PT, &detach);
	destroy(s2.out_hwpt_id, "nesting parent destroyed");
	destroy(ioas.out_ioas_id, "IOAS destroyed");
	printf("1..%d\n", tests);
	return 0;
}
