// SPDX-License-Identifier: GPL-2.0-only
/* See probe.h */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/reboot.h>

#include <linux/pci_regs.h>

#include "../lib/edu.h"
#include "../lib/host.h"
#include "probe.h"
#include "report.h"

#define SMMU_LEN	48

bool find_pci(unsigned int vendor, unsigned int device, unsigned int nth,
	      char found[BDF_LEN])
{
	char bdfs[MAX_DEVICES][BDF_LEN];

	if (nth >= pci_list(device << 16 | vendor, bdfs))
		return false;
	memcpy(found, bdfs[nth], BDF_LEN);
	return true;
}

void bind_vfio(const char *bdf)
{
	int rc = pci_bind_vfio(bdf);

	if (rc)
		fail("%s does not bind to vfio-pci: %s", bdf, strerror(-rc));
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

/* The StreamID in the IORT of QEMU's machines, which is the requester ID */
static unsigned int requester_id(const char *bdf)
{
	unsigned int domain, bus, slot, func;

	if (sscanf(bdf, "%x:%x:%x.%x", &domain, &bus, &slot, &func) != 4)
		return 0;
	return bus << 8 | slot << 3 | func;
}

/* The name of a PCI device's SMMU in the messages of its driver, or "none" */
static void smmu_of(const char *bdf, char smmu[SMMU_LEN])
{
	char path[256], link[PATH_MAX], *end, *start;
	ssize_t len;

	snprintf(smmu, SMMU_LEN, "none");
	snprintf(path, sizeof(path), SYS_PCI "/%s/iommu", bdf);
	len = readlink(path, link, sizeof(link) - 1);
	if (len < 0)
		return;
	link[len] = 0;
	/* .../NAME/iommu/... */
	end = strstr(link, "/iommu/");
	if (!end)
		return;
	*end = 0;
	start = strrchr(link, '/');
	snprintf(smmu, SMMU_LEN, "%.*s", SMMU_LEN - 1, start ? start + 1 : link);
}

/* "DMA" or "DMA-FQ" translate with stage 1, "identity" does not */
static void group_type(const char *bdf, char *type, size_t size)
{
	char path[256];

	snprintf(path, sizeof(path), SYS_PCI "/%s/iommu_group/type", bdf);
	if (read_str(path, type, size))
		snprintf(type, size, "none");
}

static void nvme_bdf(unsigned int nth, char bdf[BDF_LEN])
{
	char path[64], link[PATH_MAX];
	const char *slash;
	ssize_t len;

	snprintf(path, sizeof(path), "/sys/class/nvme/nvme%u/device", nth);
	len = readlink(path, link, sizeof(link) - 1);
	link[len < 0 ? 0 : len] = 0;
	slash = strrchr(link, '/');
	snprintf(bdf, BDF_LEN, "%.*s", BDF_LEN - 1, slash ? slash + 1 : link);
}

static unsigned long long count_interrupts(const char *action)
{
	unsigned long long sum = 0;
	static char buf[65536];
	char *rest = buf, *line;
	ssize_t len;

	len = read_file("/proc/interrupts", buf, sizeof(buf) - 1);
	if (len < 0)
		return 0;
	buf[len] = 0;
	while ((line = strsep(&rest, "\n"))) {
		char *p = strchr(line, ':'), *end;

		if (!p || !strstr(line, action))
			continue;
		for (p++;; p = end) {
			unsigned long long n = strtoull(p, &end, 10);

			if (end == p || (*end && *end != ' '))
				break;
			sum += n;
		}
	}
	return sum;
}

static void *map_pages(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

void do_nvme(char *args)
{
	const char *size = strsep(&args, ",");
	const char *number = strsep(&args, ",");
	const size_t chunk = 1 << 20;
	unsigned long mib = strtoul(size, NULL, 0), i;
	unsigned int nth = number ? atoi(number) : 0;
	const char *want_type = args ? args : "DMA";
	unsigned long long before = 0, after;
	char path[512], text[64], node[32], queue[32], smmu[SMMU_LEN];
	uint8_t *data = NULL, *back = NULL;
	unsigned long good = 0;
	const char *why = NULL;
	bool msix = false;
	struct dirent **list;
	char bdf[BDF_LEN];
	ssize_t len;
	int fd = -1, n;

	report("run nvme");
	tap("TAP version 13");
	tap("1..4");
	snprintf(node, sizeof(node), "nvme%un1", nth);
	snprintf(queue, sizeof(queue), "nvme%uq", nth);
	if (wait_for_node(node)) {
		tap("Bail out! no NVMe namespace");
		goto out;
	}
	nvme_bdf(nth, bdf);
	smmu_of(bdf, smmu);
	report("device nvme %s vsid 0x%x smmu %s", bdf, requester_id(bdf), smmu);

	group_type(bdf, text, sizeof(text));
	tap("%sok 1 - %s: IOMMU group of type %s",
	    strncmp(text, want_type, strlen(want_type)) ? "not " : "", bdf, text);
	report("group %s", text);

	/* A file for each vector contains its kind */
	snprintf(path, sizeof(path), SYS_PCI "/%s/msi_irqs", bdf);
	n = scandir(path, &list, NULL, by_name);
	while (n-- > 0) {
		snprintf(path, sizeof(path), SYS_PCI "/%s/msi_irqs/%.16s", bdf,
			 list[n]->d_name);
		msix |= !read_str(path, text, sizeof(text)) &&
			!strcmp(text, "msix");
		free(list[n]);
	}
	tap("%sok 2 - %s: uses MSI-X", msix ? "" : "not ", bdf);

	data = map_pages(mib * chunk);
	back = map_pages(chunk);
	snprintf(path, sizeof(path), "/dev/%s", node);
	fd = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
	if (fd < 0 || !data || !back) {
		why = "cannot open the device";
		goto compared;
	}
	before = count_interrupts(queue);
	for (i = 0; i < mib * chunk; i += len) {
		len = getrandom(data + i, mib * chunk - i, 0);
		if (len < 0) {
			why = "no random numbers";
			goto compared;
		}
	}
	for (i = 0; i < mib; i++) {
		if (pwrite(fd, data + i * chunk, chunk, i * chunk) !=
		    (ssize_t)chunk) {
			why = "write failed";
			goto compared;
		}
	}
	for (i = 0; i < mib; i++) {
		memset(back, 0, chunk);
		if (pread(fd, back, chunk, i * chunk) != (ssize_t)chunk) {
			why = "read failed";
			goto compared;
		}
		if (memcmp(back, data + i * chunk, chunk)) {
			why = "other data read than written";
			goto compared;
		}
		good += chunk;
	}
compared:
	tap("%sok 3 - %lu of %lu bytes verified%s%s", why ? "not " : "", good,
	    mib * chunk, why ? ": " : "", why ? why : "");
	report("verified %lu", good);
	after = count_interrupts(queue);
	tap("%sok 4 - %llu interrupts during IO", after > before ? "" : "not ",
	    after - before);
	report("msi %llu", after - before);
out:
	report("exit nvme status %d", why || !good);
	if (fd >= 0)
		close(fd);
	if (data)
		munmap(data, mib * chunk);
	if (back)
		munmap(back, chunk);
}

void do_reads(char *args)
{
	unsigned long num = strtoul(strsep(&args, ","), NULL, 0), i;
	char path[64];
	void *page = map_pages(4096);
	int fd;

	snprintf(path, sizeof(path), "/dev/nvme%un1", args ? atoi(args) : 0);
	fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
	for (i = 0; page && i < num; i++)
		if (pread(fd, page, 4096, i % 1024 * 4096) != 4096)
			fail("%s: read %lu: %s", path, i, strerror(errno));
	report("reads %lu", i);
	close(fd);
	munmap(page, 4096);
}

void do_idle(const char *arg)
{
	unsigned int seconds = atoi(arg);

	report("idle %u", seconds);
	/* The test is that the guest is idle */
	sleep(seconds);
}

/* Do IO without an end, and write a byte to @progress after every 100 reads */
static _Noreturn void io_forever(int progress)
{
	void *page = map_pages(4096);
	unsigned long i;
	int fd;

	fd = open("/dev/nvme0n1", O_RDWR | O_DIRECT | O_CLOEXEC);
	if (!page)
		_exit(1);
	for (i = 1;; i++) {
		off_t at = i % 1024 * 4096;

		if (pread(fd, page, 4096, at) != 4096 ||
		    pwrite(fd, page, 4096, at) != 4096)
			_exit(1);
		if (!(i % 100) && write(progress, "", 1) != 1)
			_exit(1);
	}
}

void do_kill(const char *how)
{
	int progress[2];
	char c;
	pid_t pid;

	if (pipe2(progress, O_CLOEXEC))
		fail("no pipe: %m");
	pid = fork();
	if (pid < 0)
		fail("no process: %m");
	if (!pid)
		io_forever(progress[1]);
	close(progress[1]);
	if (read(progress[0], &c, 1) != 1)
		fail("no IO");
	report("%s", how);
	while (read(progress[0], &c, 1) == 1)
		;
	fail("the IO ended before the VMM");
}

void do_reboot(const char *arg)
{
	if (ask("reboot %s", arg) != 'y')
		return;
	reboot(RB_AUTOBOOT);
	fail("no reboot: %m");
}

/*
 * The power of the slot behind a port, and its indicator. The guest's kernel
 * has no hotplug driver, so this must do its work.
 */
static int slot_power(const char *port, bool on)
{
	uint8_t at = PCI_CAPABILITY_LIST, id[2] = {};
	char path[256];
	uint16_t ctl;
	int fd, rc = -EIO;

	snprintf(path, sizeof(path), SYS_PCI "/%s/config", port);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (pread(fd, &at, 1, at) != 1)
		goto out;
	while (at && pread(fd, id, 2, at) == 2 && id[0] != PCI_CAP_ID_EXP)
		at = id[1];
	at += PCI_EXP_SLTCTL;
	if (id[0] != PCI_CAP_ID_EXP || pread(fd, &ctl, 2, at) != 2)
		goto out;
	ctl &= ~(PCI_EXP_SLTCTL_PCC | PCI_EXP_SLTCTL_PIC);
	ctl |= on ? PCI_EXP_SLTCTL_PWR_IND_ON :
		    PCI_EXP_SLTCTL_PWR_IND_OFF | PCI_EXP_SLTCTL_PCC;
	if (pwrite(fd, &ctl, 2, at) == 2)
		rc = 0;
out:
	close(fd);
	return rc;
}

void do_plug(const char *id, bool plug)
{
	static const char node[] = "nvme0n1";
	static char port[BDF_LEN];
	const char *what = plug ? "plug" : "unplug";
	char bdf[BDF_LEN], path[PATH_MAX], *slash;
	bool done;
	int rc;

	report("run %s", what);
	tap("1..2");
	done = ask("%s %s", what, id) == 'y';
	tap("%sok 1 - the VMM will %s %s", done ? "" : "not ", what, id);
	if (plug) {
		rc = slot_power(port, true) ?:
		     write_str("/sys/bus/pci/rescan", "1") ?:
		     wait_for_node(node);
	} else {
		nvme_bdf(0, bdf);
		/* .../PORT/BDF */
		snprintf(path, sizeof(path), SYS_PCI "/%s", bdf);
		slash = realpath(path, NULL);
		if (!slash)
			fail("%s: %m", path);
		snprintf(path, sizeof(path), "%s", dirname(slash));
		free(slash);
		slash = strrchr(path, '/');
		snprintf(port, sizeof(port), "%.*s", BDF_LEN - 1, slash + 1);
		snprintf(path, sizeof(path), SYS_PCI "/%s/remove", bdf);
		rc = write_str(path, "1") ?: wait_for_no_node(node) ?:
		     slot_power(port, false);
	}
	tap("%sok 2 - %s is %s%s%s", rc ? "not " : "", node,
	    plug ? "there" : "gone", rc ? ": " : "", rc ? strerror(-rc) : "");
	report("exit %s status %d", what, !done || rc);
}

void do_update(void)
{
	bool updated;

	report("run update");
	tap("1..1");
	updated = ask("update") == 'y';
	tap("%sok 1 - the VMM has executed itself", updated ? "" : "not ");
	report("exit update status %d", !updated);
}

void do_smmus(const char *arg)
{
	unsigned int want = atoi(arg), have = 0, i, k;
	char smmu[MAX_NAMES][SMMU_LEN], node[32], bdf[BDF_LEN];

	if (!want || want > MAX_NAMES)
		fail("smmus= needs a number up to %d", MAX_NAMES);
	report("run smmus");
	tap("1..1");
	for (i = 0; i < want; i++) {
		snprintf(node, sizeof(node), "nvme%un1", i);
		if (wait_for_node(node))
			break;
		nvme_bdf(i, bdf);
		smmu_of(bdf, smmu[i]);
		for (k = 0; k < i && strcmp(smmu[k], smmu[i]); k++)
			;
		have += k == i && strcmp(smmu[i], "none");
	}
	tap("%sok 1 - %u of %u NVMe, %u SMMUs", have == want ? "" : "not ", i,
	    want, have);
	report("exit smmus status %d", have != want);
}

/* The kernel log from now on */
static int open_log(void)
{
	int kmsg = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	if (kmsg < 0 || lseek(kmsg, 0, SEEK_END) < 0)
		fail("cannot read the kernel log: %m");
	return kmsg;
}

/* Read the next record of the kernel log. Returns false if there is none by @end */
static bool next_record(int kmsg, char *record, size_t size, long long end)
{
	for (;;) {
		struct pollfd pfd = { .fd = kmsg, .events = POLLIN };
		long long left = end - now_ms();
		ssize_t len;

		if (left <= 0)
			return false;
		if (poll(&pfd, 1, left) <= 0)
			continue;
		len = read(kmsg, record, size - 1);
		/* EPIPE: the record was overwritten before it was read */
		if (len < 0)
			continue;
		record[len] = 0;
		return true;
	}
}

/*
 * The next event in the messages of an SMMU's driver: a line with a header, and
 * a line for each word of the record. Lines of another SMMU may be in between.
 */
static bool next_event(int kmsg, const char *smmu, uint64_t evt[4],
		       long long end)
{
	unsigned int words = 4;
	char record[2048];

	while (next_record(kmsg, record, sizeof(record), end)) {
		char *text, *next;

		record[strcspn(record, "\n")] = 0;
		text = strchr(record, ';');
		if (!text)
			continue;
		/* "arm-smmu-v3 NAME: " and then a tab, escaped, or "event" */
		text = strstr(text, smmu);
		if (!text || strncmp(text + strlen(smmu), ": ", 2))
			continue;
		text += strlen(smmu) + 2;
		if (!strncmp(text, "event 0x", 8) && strstr(text, "received")) {
			words = 0;
		} else if (words < 4 && !strncmp(text, "\\x090x", 6)) {
			evt[words] = strtoull(text + 4, &next, 16);
			if (!*next && ++words == 4)
				return true;
		}
	}
	return false;
}

/*
 * The DMA and the event are only reported here, and guest.awk compares them. An
 * edu without a driver is attached to a default domain, which contains only the
 * window of the MSIs, far below. But it has no domain at all before its first
 * driver.
 */
void do_edu(const char *arg)
{
	char bdf[BDF_LEN], path[256], smmu[SMMU_LEN], type[64];
	long long end = now_ms() + WAIT_MS;
	volatile uint64_t *bar;
	uint64_t addr, evt[4];
	uint16_t command;
	int kmsg, fd, rc;

	if (!find_pci(EDU_ID & 0xffff, EDU_ID >> 16, atoi(arg), bdf))
		fail("no edu device");
	bind_vfio(bdf);
	rc = pci_unbind(bdf);
	if (rc)
		fail("unbind %s: %s", bdf, strerror(-rc));
	smmu_of(bdf, smmu);
	group_type(bdf, type, sizeof(type));
	kmsg = open_log();

	snprintf(path, sizeof(path), SYS_PCI "/%s/enable", bdf);
	if (write_str(path, "1"))
		fail("cannot enable %s", bdf);
	snprintf(path, sizeof(path), SYS_PCI "/%s/config", bdf);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0 || pread(fd, &command, 2, 4) != 2)
		fail("cannot read the configuration of %s: %m", bdf);
	command |= 4;
	if (pwrite(fd, &command, 2, 4) != 2)
		fail("cannot make %s a bus master: %m", bdf);
	close(fd);

	snprintf(path, sizeof(path), SYS_PCI "/%s/resource0", bdf);
	fd = open(path, O_RDWR | O_SYNC | O_CLOEXEC);
	bar = fd < 0 ? MAP_FAILED : mmap(NULL, 4096, PROT_READ | PROT_WRITE,
					 MAP_SHARED, fd, 0);
	if (bar == MAP_FAILED)
		fail("cannot map BAR 0 of %s: %m", bdf);
	close(fd);

	if (getrandom(&addr, sizeof(addr), 0) != sizeof(addr))
		fail("no random numbers");
	addr = (addr & 0x3ffffffff8) | 1ULL << 38;
	report("dma %s group %s sid 0x%08x smmu %s from 0x%016llx", bdf, type,
	       requester_id(bdf), smmu, (unsigned long long)addr);
	bar[EDU_REG_DMA_SRC / 8] = addr;
	bar[EDU_REG_DMA_DST / 8] = EDU_BUF;
	bar[EDU_REG_DMA_COUNT / 8] = 8;
	bar[EDU_REG_DMA_CMD / 8] = EDU_DMA_RUN;
	if (next_event(kmsg, smmu, evt, end))
		report("event %s 0x%016llx 0x%016llx 0x%016llx 0x%016llx", smmu,
		       (unsigned long long)evt[0], (unsigned long long)evt[1],
		       (unsigned long long)evt[2], (unsigned long long)evt[3]);
	else
		report("note no event from %s", smmu);
	munmap((void *)bar, 4096);
	close(kmsg);
}

/* The command queue 0 of the guest's CMDQV, as the guest's driver has set it up */
#define CMDQV_PAGE0	0x30000
#define CMDQV_PAGE1	0x40000
#define CMDQV_CONS_RD	0xfffffU
#define CMDQV_CONS_ILL	0x1000000U
enum {
	CMDQV_CONS,
	CMDQV_PROD,
	CMDQV_CONFIG,
	CMDQV_STATUS,
	CMDQV_GERROR,
	CMDQV_GERRORN,
};

/* The physical address of the CMDQV, or 0 */
static uint64_t cmdqv_address(void)
{
	char *all = read_all("/proc/iomem"), *at = strstr(all, " : NVDA200C");
	uint64_t start = 0;

	if (at) {
		while (at > all && at[-1] != '\n')
			at--;
		start = strtoull(at, NULL, 16);
	}
	free(all);
	return start;
}

/* Map physical memory: registers, or with @cached memory of the kernel */
static void *map_phys(uint64_t addr, size_t len, bool cached)
{
	void *p;
	int fd;

	fd = open("/dev/mem", O_RDWR | O_CLOEXEC | (cached ? 0 : O_SYNC));
	if (fd < 0)
		fail("/dev/mem: %m");
	p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, addr);
	if (p == MAP_FAILED)
		fail("cannot map 0x%llx: %m", (unsigned long long)addr);
	close(fd);
	return p;
}

static uint32_t cmdqv_read(uint32_t *page, unsigned int reg)
{
	return __atomic_load_n(&page[reg], __ATOMIC_ACQUIRE);
}

static void cmdqv_write(uint32_t *page, unsigned int reg, uint32_t val)
{
	__atomic_store_n(&page[reg], val, __ATOMIC_RELEASE);
}

static bool cmdqv_wait(uint32_t *page, unsigned int reg, uint32_t mask,
		       uint32_t want)
{
	long long end = now_ms() + WAIT_MS;

	while ((cmdqv_read(page, reg) & mask) != want) {
		if (now_ms() >= end)
			return false;
		sched_yield();
	}
	return true;
}

/* Wait until the kernel's log has this text */
static bool wait_for_log(int kmsg, const char *text)
{
	long long end = now_ms() + WAIT_MS;
	char record[2048];

	while (next_record(kmsg, record, sizeof(record), end)) {
		if (strstr(record, text))
			return true;
	}
	return false;
}

/*
 * The kernel of the guest has the queue for itself, and does not expect a command of
 * another. So this needs an idle queue and leaves it with the indices that the driver
 * knows.
 */
void do_queue_error(void)
{
	uint64_t base, queue, *cmd;
	uint32_t *page0, *page1;
	uint32_t prod, wrap;
	char text[80];
	size_t size;
	bool good;
	int kmsg;

	report("run queue_error");
	tap("1..4");
	base = cmdqv_address();
	if (!base)
		fail("no CMDQV");
	kmsg = open_log();
	page0 = map_phys(base + CMDQV_PAGE0, 4096, false);
	page1 = map_phys(base + CMDQV_PAGE1, 4096, false);
	queue = cmdqv_read(page1, 0) | (uint64_t)cmdqv_read(page1, 1) << 32;
	size = 16UL << (queue & 31);
	queue &= ~31ULL;
	if (!queue || cmdqv_read(page0, CMDQV_STATUS) != 1)
		fail("no queue");
	cmd = map_phys(queue, size, true);

	prod = cmdqv_read(page0, CMDQV_PROD);
	wrap = size / 16 * 2 - 1;
	good = cmdqv_wait(page0, CMDQV_CONS, CMDQV_CONS_RD, prod);
	tap("%sok 1 - the queue is idle at 0x%x", good ? "" : "not ", prod);

	/* 0 is no command */
	cmd[prod % (size / 16) * 2] = 0;
	cmd[prod % (size / 16) * 2 + 1] = 0;
	cmdqv_write(page0, CMDQV_PROD, (prod + 1) & wrap);

	snprintf(text, sizeof(text), "CMDQ error (cons 0x%08x): Illegal command",
		 prod | CMDQV_CONS_ILL);
	good = wait_for_log(kmsg, text);
	tap("%sok 2 - the driver of the guest has seen: %s", good ? "" : "not ",
	    text);
	/* It replaces the command by a CMD_SYNC */
	good = cmdqv_wait(page0, CMDQV_CONS, CMDQV_CONS_RD, (prod + 1) & wrap) &&
	       cmdqv_read(page0, CMDQV_GERROR) ==
		       cmdqv_read(page0, CMDQV_GERRORN);
	tap("%sok 3 - the queue goes on: CONS 0x%x, GERROR %u, GERRORN %u",
	    good ? "" : "not ", cmdqv_read(page0, CMDQV_CONS),
	    cmdqv_read(page0, CMDQV_GERROR), cmdqv_read(page0, CMDQV_GERRORN));

	cmdqv_write(page0, CMDQV_CONFIG, 0);
	good = cmdqv_wait(page0, CMDQV_STATUS, 1, 0);
	cmdqv_write(page0, CMDQV_CONS, prod);
	cmdqv_write(page0, CMDQV_PROD, prod);
	cmdqv_write(page0, CMDQV_CONFIG, 1);
	good = good && cmdqv_wait(page0, CMDQV_STATUS, 1, 1) &&
	       cmdqv_read(page0, CMDQV_CONS) == prod;
	tap("%sok 4 - it begins again at 0x%x", good ? "" : "not ", prod);
	report("exit queue_error status 0");

	munmap(cmd, size);
	munmap(page1, 4096);
	munmap(page0, 4096);
	close(kmsg);
}

/*
 * KUnit gives a test that maps memory an mm, and never drops the last reference
 * to it (kunit_attach_mm() in 6.12).
 */
static bool is_kunits_own_leak(const char *record, size_t len)
{
	static const char name[] = "kunit_vm_mmap_init";

	return memmem(record, len, name, sizeof(name) - 1);
}

/* Return the number of leaks after two scans, or @show those of the last scan */
static unsigned int count_leaks(bool show, unsigned int *others)
{
	static const char file[] = "/sys/kernel/debug/kmemleak";
	static const char mark[] = "unreferenced object ";
	unsigned int leaks = 0;
	char *all, *at, *next;
	int rc, i;

	for (i = 0; i < 2 && !show; i++) {
		rc = write_str(file, "scan");
		if (rc)
			fail("kmemleak: %s", strerror(-rc));
	}
	*others = 0;
	all = read_all(file);
	for (at = strstr(all, mark); at; at = next) {
		size_t len;

		next = strstr(at + 1, mark);
		len = next ? (size_t)(next - at) : strlen(at);
		if (is_kunits_own_leak(at, len)) {
			++*others;
			continue;
		}
		/* Further leaks are most likely the same */
		if (leaks++ < 20 && show)
			write_all(report_fd, at, len);
	}
	free(all);
	return leaks;
}

void do_kmemleak(void)
{
	unsigned int leaks, others;
	long long end = now_ms() + WAIT_MS;

	report("run kmemleak");
	tap("1..1");
	/*
	 * Only an object of more than five seconds of age counts, and only if
	 * two scans have found the same checksum of it.
	 */
	sleep(6);
	/* An object may have been free already, but for a grace period */
	do {
		leaks = count_leaks(false, &others);
	} while (leaks && now_ms() < end);
	if (leaks)
		leaks = count_leaks(true, &others);
	if (others)
		tap("# %u leaks of KUnit itself", others);
	tap("%sok 1 - no leak", leaks ? "not " : "");
	report("exit kmemleak status %d", !!leaks);
}
