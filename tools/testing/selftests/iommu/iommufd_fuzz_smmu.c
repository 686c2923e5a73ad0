// SPDX-License-Identifier: GPL-2.0-only
/*
 * The calls of the fuzzer of iommufd that need an SMMUv3, with a guest and devices of
 * VFIO. See iommufd_fuzz.h
 *
 * The guest is an area of memory, which a record must have mapped in an IOAS: its CDs are
 * in the first page, and tables of stage 1 in the next four. Nothing here knows whether
 * the memory of the guest or the registers of its queues are accessible, so all accesses
 * are system calls.
 */
#define _GNU_SOURCE
#include <endian.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/pci_regs.h>
#include <linux/vfio.h>

#include "iommufd_fuzz_calls.h"
#include "iommufd_fuzz_cover.h"
#include "lib/edu.h"
#include "lib/host.h"
#include "lib/smmuv3.h"

#define GUEST_PAGE	4096UL
/* The edu of the lab that the kernel lets stall */
#define EDU_STALL_ID	0xa25019e5

/* The offset of a region of a device of vfio-pci, by its index */
#define REGION(index)	((off_t)(index) << 40)

static char cdevs[3][64];
static unsigned int nr_cdevs;
/* A file for the values that are on their way, with a place for each thread */
static int values;
static int event_fd;
/*
 * Where a BAR is mapped. No other call knows the place, because the device aborts an
 * access to a byte, which is fatal on an Arm host.
 */
static char *bar_place;

#define BAR_PAGES	4

/* Two edu that cannot stall, and the last of those that can */
static void find_cdevs(__u32 id, unsigned int num, char *why, size_t len)
{
	char bdfs[MAX_DEVICES][BDF_LEN], path[512], name[64];
	unsigned int found, i;

	found = pci_list_vfio(id, 1, bdfs, why, len);
	for (i = found > num ? found - num : 0; i < found; i++) {
		snprintf(path, sizeof(path), SYS_PCI "/%s/vfio-dev", bdfs[i]);
		if (dir_entries(path, name, sizeof(name)) != 1)
			continue;
		snprintf(cdevs[nr_cdevs++], sizeof(cdevs[0]),
			 "/dev/vfio/devices/%.40s", name);
		/* A reset takes a tenth of a second, so a single device has it */
		snprintf(path, sizeof(path), SYS_PCI "/%s/reset_method", bdfs[i]);
		if (id == EDU_ID)
			write_str(path, "\n");
	}
}

const char *smmu_init(void)
{
	static char why[128], no_stall[128];

	find_cdevs(EDU_ID, 2, why, sizeof(why));
	find_cdevs(EDU_STALL_ID, 1, no_stall, sizeof(no_stall));
	values = memfd_create("values", MFD_CLOEXEC);
	event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	bar_place = mmap(NULL, BAR_PAGES * page_size, PROT_NONE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (values < 0 || event_fd < 0 || bar_place == MAP_FAILED)
		return "no files";
	return nr_cdevs ? NULL : why;
}

void smmu_end(void)
{
	unmap(bar_place, BAR_PAGES * page_size);
}

/* Whether nothing holds any of the devices */
bool smmu_devices_are_free(void)
{
	unsigned int i;

	for (i = 0; i < nr_cdevs; i++) {
		struct vfio_device_bind_iommufd bind = { .argsz = sizeof(bind) };
		int fd = open(cdevs[i], O_RDWR | O_CLOEXEC), rc;

		bind.iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
		rc = ioctl(fd, VFIO_DEVICE_BIND_IOMMUFD, &bind);
		close(fd);
		close(bind.iommufd);
		if (rc)
			return false;
	}
	return true;
}

int smmu_event_fd(void)
{
	return event_fd;
}

/* As the kernel does it: a register of 4 bytes gets a single access */
static long store(void *at, const void *from, size_t len, unsigned int thread)
{
	off_t place = thread * GUEST_PAGE;

	if (pwrite(values, from, len, place) != (ssize_t)len)
		return -1;
	return pread(values, at, len, place) == (ssize_t)len ? 0 : -1;
}

static long store32(void *at, __u32 value, unsigned int thread)
{
	value = htole32(value);
	return store(at, &value, sizeof(value), thread);
}

static long store64(void *at, __u64 value, unsigned int thread)
{
	value = htole64(value);
	return store(at, &value, sizeof(value), thread);
}

static long load32(__u32 *value, const void *at, unsigned int thread)
{
	off_t place = thread * GUEST_PAGE;

	if (pwrite(values, at, sizeof(*value), place) != sizeof(*value) ||
	    pread(values, value, sizeof(*value), place) != sizeof(*value))
		return -1;
	*value = le32toh(*value);
	return 0;
}

/* The commands of a guest come first, then those that only a host may send */
static const __u8 opcodes[] = {
	CMD_TLBI_NH_VA, CMD_TLBI_NH_ASID, CMD_TLBI_NH_ALL, CMD_TLBI_NH_VAA,
	CMD_CFGI_CD, CMD_CFGI_CD_ALL, CMD_ATC_INV, CMD_TLBI_NSNH_ALL,
	0x46, 0x46, 0x00, 0x01, 0x03, 0x04, 0x20, 0x28, 0x2a, 0x41, 0x44, 0xff,
};

#define NR_OPCODES	(sizeof(opcodes) / sizeof(opcodes[0]))

/* @how: bits of fields that most commands have. @where: an address or an ID */
static void make_command(__u64 cmd[2], uint8_t op, uint8_t how, uint8_t where)
{
	cmd[0] = opcodes[op % NR_OPCODES];
	cmd[1] = some_iova(where, 0);
	switch (cmd[0]) {
	case CMD_TLBI_NH_VA:
	case CMD_TLBI_NH_ASID:
	case CMD_TLBI_NH_ALL:
	case CMD_TLBI_NH_VAA:
		cmd[0] |= CMD0_ASID(how & 1) | CMD0_VMID(how >> 1 & 1);
		if (how & 4) {
			cmd[0] |= CMD0_NUM(where & 31) | CMD0_SCALE(how >> 4 & 3);
			cmd[1] |= CMD1_TG(how >> 6) | CMD1_TTL(how >> 5 & 3);
		}
		cmd[1] |= how >> 3 & 1;
		break;
	case CMD_ATC_INV:
		cmd[1] |= how & 8 ? ATC_INV_ALL : how >> 4 & 7;
		if (how & 4)
			cmd[0] |= CMD0_SSV | CMD0_SSID(how >> 6) |
				  (how & 32 ? CMD0_GLOBAL : 0);
		cmd[0] |= CMD0_SID(how & 3);
		break;
	case CMD_CFGI_CD:
	case CMD_CFGI_CD_ALL:
		cmd[0] |= CMD0_SID(how & 3) | CMD0_SSID(how >> 2 & 3);
		cmd[1] = how >> 4 & 1;
		break;
	default:
		cmd[0] |= (__u64)how << 8;
		cmd[1] = 0;
	}
	/* Bits that may be reserved */
	if (how >= 0xe0)
		cmd[how & 1] ^= 1ULL << (where & 63);
}

void smmu_commands(void *at, uint8_t which)
{
	__u64 (*cmd)[2] = at;
	unsigned int i;

	for (i = 0; i < 4; i++) {
		make_command(cmd[i], which % NR_OPCODES + i * (which >> 6),
			     which / NR_OPCODES * 5 * i, which);
		cmd[i][0] = htole64(cmd[i][0]);
		cmd[i][1] = htole64(cmd[i][1]);
	}
}

/* The CDs are where IOVAs begin */
void smmu_ste(void *at, uint8_t which)
{
	static const __u64 formats[] = {
		0, 0, STE0_S1CDMAX(2), STE0_S1CDMAX(2) | STE0_S1FMT(2),
		STE0_S1CDMAX(16) | STE0_S1FMT(1), STE0_S1FMT(3), 0, 0,
	};
	struct iommu_hwpt_arm_smmuv3 ste = ste_s1(some_iova(0, 0));
	__u64 word_1 = le64toh(ste.ste[1]);

	switch (which & 7) {
	case 0:
		word_1 |= which & 8 ? STE1_EATS(1) : 0;
		word_1 |= which & 16 ? STE1_S1STALLD : 0;
		ste.ste[0] |= htole64((which >> 5) * 64);
		break;
	case 1:
		ste = ste_bypass();
		word_1 = which & 8 ? STE1_EATS(1) : 0;
		break;
	case 2:
		ste = ste_abort();
		word_1 = 0;
		break;
	case 3:
	case 4:
		ste.ste[0] |= htole64(formats[which >> 3 & 7]);
		word_1 |= STE1_S1DSS(which >> 6) | STE1_EATS(which & 1);
		break;
	case 5:
		ste.ste[0] ^= htole64(1ULL << (which >> 3));
		break;
	case 6:
		word_1 ^= 1ULL << (which >> 3);
		break;
	default:
		ste.ste[0] ^= htole64(1ULL << (32 + (which >> 3)));
	}
	ste.ste[1] = htole64(word_1);
	memcpy(at, &ste, sizeof(ste));
}

RUN(open)
{
	/* The next device, so that two records get two of them */
	unsigned int i = (args[0] + (args[1] & 1 ? 0 : w->pool[CDEV].num)) % nr_cdevs;
	int fd;

	/* The last device can be reset, and perhaps stall */
	if (args[2] & 1)
		i = nr_cdevs - 1;
	fd = open(cdevs[i], O_RDWR | O_CLOEXEC);
	if (fd >= 0)
		pool_put(w, CDEV, fd);
	return fd;
}

RUN(config)
{
	int fd = pool_get(w, CDEV, args[0]);
	off_t at = REGION(VFIO_PCI_CONFIG_REGION_INDEX);
	__u16 value = PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;

	switch (args[1] % 4) {
	case 0:
		value ^= args[2];
		return pwrite(fd, &value, 2, at + PCI_COMMAND);
	case 1:
		/* In one of the capabilities, such as PM, MSI and Express */
		return pwrite(fd, args + 3, (args[2] & 3) + 1, at + 0x40 + args[4]);
	case 2:
		return pwrite(fd, args + 3, (args[2] & 3) + 1,
			      at + (args[4] | args[5] << 8));
	default:
		return pread(fd, scratch(thread), 4, at + (args[4] | args[5] << 8));
	}
}

RUN(bar)
{
	int fd = pool_get(w, CDEV, args[0]);
	size_t length = ((args[2] & 3) + 1) * page_size;
	off_t at = REGION(args[3] & 15) + (args[4] & 15) * page_size;
	size_t width = args[6] & 1 ? 4 : 8;

	switch (args[1] % 4) {
	case 0:
		return mmap(bar_place, length, PROT_READ | PROT_WRITE,
			    MAP_FIXED | MAP_SHARED, fd, at) == MAP_FAILED ? -1 : 0;
	case 3:
		/* A fault of the mapping. The register has no effect */
		return store32(bar_place + (args[2] & 3) * page_size +
			       EDU_REG_PASID, 0, thread);
	case 1:
		return pread(fd, scratch(thread), width, at + args[6] * 8);
	default:
		/* Not where registers are: see dma */
		return pwrite(fd, args, width, at + EDU_BUF + args[6] * 8);
	}
}

static long set_reg(int fd, unsigned int reg, __u64 value)
{
	value = htole64(value);
	return pwrite(fd, &value, 8, REGION(VFIO_PCI_BAR0_REGION_INDEX) + reg) ==
	       8 ? 0 : -1;
}

RUN(dma)
{
	static const __u64 flags[] = {
		0, EDU_DMA_PASID, EDU_DMA_ATS, EDU_DMA_ATS | EDU_DMA_PASID,
		EDU_DMA_NO_SNOOP, EDU_DMA_TRANSLATED, EDU_DMA_ROGUE | EDU_DMA_ATS,
		EDU_DMA_ROGUE | EDU_DMA_TRANSLATED,
	};
	int fd = pool_get(w, CDEV, args[0]);
	__u64 iova = some_iova(args[1], args[2]), cmd = EDU_DMA_RUN;
	bool to_memory = args[3] & 1;
	unsigned int i;

	cmd |= to_memory ? EDU_DMA_FROM_DEVICE : 0;
	cmd |= flags[args[4] & 7];
	if (set_reg(fd, EDU_REG_PASID, list_value(L_PASID, args[5])) ||
	    set_reg(fd, EDU_REG_DMA_SRC, to_memory ? EDU_BUF : iova) ||
	    set_reg(fd, EDU_REG_DMA_DST, to_memory ? iova : EDU_BUF) ||
	    set_reg(fd, EDU_REG_DMA_COUNT, (args[3] >> 1) + 1) ||
	    set_reg(fd, EDU_REG_DMA_CMD, cmd))
		return -1;
	/* Wait for some of them, but others run on beside the next calls */
	for (i = 0; args[6] & 1 && i < 20 && (cmd & EDU_DMA_RUN); i++) {
		usleep(500);
		if (pread(fd, &cmd, 8, REGION(VFIO_PCI_BAR0_REGION_INDEX) +
			  EDU_REG_DMA_CMD) != 8)
			return -1;
		cmd = le64toh(cmd);
	}
	return 0;
}

static long write_words(char *at, const __u64 *words, unsigned int num,
			unsigned int thread)
{
	unsigned int i;

	for (i = num; i-- > 0;)
		if (store64(at + 8 * i, words[i], thread))
			return -1;
	return 0;
}

/* A table of stage 1 has this at the index of IOVAs, and its next table one page behind */
#define TABLE		3
#define LEAF(page)	((page) | 3 | 1 << 6 | 3 << 8 | 1 << 10 | 1 << 11)

RUN(guest)
{
	char *at = (char *)(uintptr_t)some_address(args[1], 0);
	__u64 ipa = some_iova(args[2], 0), iova = some_iova(0, 0);
	char *cd = at + (args[3] & 7) * 64;
	__u64 words[8] = {
		/* For 48 bits, and with AA64, R, A and ASET, as in lib/stage1.c */
		16 | 1 << 8 | 1 << 10 | 3 << 12 | 1 << 30 | 1ULL << 31 |
		4ULL << 32 | 1ULL << 41 | 7ULL << 45 |
		/* Faults of the upper CDs stall */
		(__u64)(args[3] >> 2 & 1) << 44 | (__u64)(args[3] & 1) << 48,
		ipa + GUEST_PAGE, 0, 0xff,
	};
	unsigned int i;

	switch (args[0] % 6) {
	case 0:
	case 1:
		/* A whole stage 1. It maps the IOVAs to themselves */
		for (i = 0; i < 4; i++) {
			unsigned int shift = 39 - 9 * i;
			char *entry = at + (i + 1) * GUEST_PAGE +
				      (iova >> shift & 511) * 8;

			if (i < 3 && store64(entry, (ipa + (i + 2) * GUEST_PAGE) |
						    TABLE, thread))
				return -1;
		}
		for (i = 0; i < BUFFER_PAGES; i++)
			if (store64(at + 4 * GUEST_PAGE +
				    ((iova >> 12 & 511) + i) * 8,
				    LEAF(ipa + i * GUEST_PAGE), thread))
				return -1;
		return write_words(cd, words, 8, thread);
	case 2:
		/* Another CD, with damage in a field */
		words[args[4] & 1] ^= 1ULL << (args[5] & 63);
		return write_words(cd, words, 8, thread);
	case 3:
		/* A descriptor */
		return store64(at + 4 * GUEST_PAGE +
			       ((iova >> 12 & 511) + (args[4] & 31)) * 8,
			       LEAF(ipa + args[5] * GUEST_PAGE) ^
			       (args[6] ? 1ULL << (args[6] & 63) : 0), thread);
	case 4:
		/* In a table of CDs of two levels, the first */
		return store64(at + 5 * GUEST_PAGE + (args[4] & 7) * 8,
			       ipa | 1, thread);
	default:
		return store64(at + (args[4] & 31) * GUEST_PAGE + args[5] * 8,
			       args[6] & 1 ? 0 : 1ULL << (args[6] >> 1 & 63), thread);
	}
}

#define QUEUE_CMDS	(GUEST_PAGE / 16)

/* No thread of the fuzzer executes the commands, so it tells about their results */
static void note_result(char *regs, uint8_t op, unsigned int thread)
{
	__u32 cons = 0, status = 0, gerror = 0;

	if (load32(&cons, regs + REG_CONS * 4, thread) ||
	    load32(&status, regs + REG_STATUS * 4, thread) ||
	    load32(&gerror, regs + REG_GERROR * 4, thread))
		return;
	cover_feature((cons >> 24 & 3) | (status & 1) << 2 | (gerror & 1) << 3 |
		      (op % NR_OPCODES) << 4);
}

RUN(queue)
{
	char *regs = (char *)mapping_place(args[0]) + (args[1] & 3) * REGS * 4;
	char *queue = (char *)(uintptr_t)some_address(args[2], 0);
	__u32 prod, cons = 0, value;
	unsigned int i;
	__u64 cmd[2];

	switch (args[3] % 8) {
	case 0:
		if (store32(regs + REG_PROD * 4, 0, thread) ||
		    store32(regs + REG_CONS * 4, 0, thread) ||
		    store32(regs + REG_CONFIG * 4, 1, thread))
			return -1;
		break;
	case 1:
	case 2:
	case 3:
		/* Some commands, the next of the table of opcodes if there are more */
		if (load32(&prod, regs + REG_PROD * 4, thread))
			return -1;
		for (i = 0; i <= (args[4] & 7); i++) {
			make_command(cmd, args[5] + (args[4] >> 3) * i, args[6],
				     args[7] + i);
			if (write_words(queue + (prod + i) % QUEUE_CMDS * 16, cmd,
					2, thread))
				return -1;
		}
		prod = (prod + i) % (2 * QUEUE_CMDS);
		if (store32(regs + REG_PROD * 4, prod, thread))
			return -1;
		for (i = 0; args[3] % 8 != 3 && i < 20 &&
		     (cons & CONS_RD) != prod; i++) {
			usleep(100);
			load32(&cons, regs + REG_CONS * 4, thread);
		}
		break;
	case 4:
		if (load32(&value, regs + REG_GERROR * 4, thread))
			return -1;
		return store32(regs + REG_GERRORN * 4, value, thread);
	case 5:
		return store32(regs + REG_CONFIG * 4, args[4] & 3, thread);
	case 6:
		value = args[5] << (args[6] & 31);
		return store32(regs + args[4] % (REG_GERRORN + 3) * 4, value, thread);
	default:
		/* Anywhere in the pages of registers */
		return touch(regs + (args[4] & 3) * page_size + (args[5] & 0xfc),
			     args[6] & 1);
	}
	note_result(regs, args[5], thread);
	return 0;
}

RUN(invalidate)
{
	__u64 (*cmd)[2] = scratch(thread) + DATA_AT;
	struct iommu_hwpt_invalidate inv = {
		.size = sizeof(inv),
		.hwpt_id = pool_get(w, VIOMMU, args[0]),
		.data_uptr = (uintptr_t)cmd,
		.data_type = IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3,
		.entry_len = sizeof(*cmd),
		.entry_num = (args[1] & 31) + 1,
	};
	unsigned int i;

	for (i = 0; i < inv.entry_num; i++) {
		make_command(cmd[i], args[2] + (args[1] >> 5) * i, args[3],
			     args[4] + i);
		cmd[i][0] = htole64(cmd[i][0]);
		cmd[i][1] = htole64(cmd[i][1]);
	}
	if (args[5])
		cmd[args[5] % inv.entry_num][args[6] & 1] ^=
			htole64(1ULL << (args[7] & 63));
	return ioctl(w->fd, IOMMU_HWPT_INVALIDATE, &inv);
}
