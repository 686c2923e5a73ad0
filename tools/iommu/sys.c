// SPDX-License-Identifier: GPL-2.0-only
/*
 * The state of the running kernel: sysfs, procfs, the configuration, the log
 *
 * Files are read, and links are followed. Device nodes must not be opened, nor
 * may any file be written. All paths can be below another root.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/klog.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "host.h"

#define MAX_TEXT		(64U << 20)
#define SYSLOG_READ_ALL		3
#define SYSLOG_SIZE_BUFFER	10

/* Bits of enum arm_smmu features in the driver, which prints them */
#define FEAT_TRANS_S1		0x00000200
#define FEAT_TRANS_S2		0x00000400
#define FEAT_NESTING		0x00080000
#define FEAT_S2FWB		0x00800000

#define PCI_STATUS		0x06
#define PCI_STATUS_CAP_LIST	0x10
#define PCI_HEADER_TYPE		0x0e
#define PCI_HEADER_BRIDGE	1
#define PCI_SECONDARY_BUS	0x19
#define PCI_CAPABILITY_LIST	0x34
#define PCI_CAP_ID_EXP		0x10
#define PCI_EXP_FLAGS		2
#define PCI_EXP_TYPE_ROOT_PORT	0x4
#define PCI_EXP_TYPE_UPSTREAM	0x5
#define PCI_EXP_TYPE_DOWNSTREAM	0x6
#define PCI_EXP_TYPE_PCI_BRIDGE	0x7

#define SYS_PCI			"/sys/bus/pci/devices"

/* Read a file and append a 0. NULL with errno: EFBIG if it exceeds @limit. */
void *read_whole(const char *path, size_t limit, size_t *len)
{
	size_t have = 0, size = 0;
	char *buf = NULL;
	int fd, err = 0;

	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return NULL;
	for (;;) {
		ssize_t n;

		if (have + 1 >= size) {
			size = size ? size * 2 : 4096;
			buf = xrealloc(buf, size, 1);
		}
		n = read(fd, buf + have, size - have - 1);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			err = errno;
		if (n <= 0)
			break;
		have += n;
		if (have > limit) {
			err = EFBIG;
			break;
		}
	}
	close(fd);
	if (err) {
		free(buf);
		errno = err;
		return NULL;
	}
	buf[have] = 0;
	if (len)
		*len = have;
	return buf;
}

static __printf(2, 3) char *read_text(const struct host *h, const char *fmt, ...)
{
	char name[PATH_MAX], *path, *text;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(name, sizeof(name), fmt, ap);
	va_end(ap);
	path = xasprintf("%s%s", h->root, name);
	text = read_whole(path, MAX_TEXT, NULL);
	free(path);
	return text;
}

/* Read a file of one line, without the newline. NULL also if it is empty. */
static char *read_line(const struct host *h, const char *dir, const char *name)
{
	char *text = read_text(h, "%s/%s", dir, name);

	if (!text)
		return NULL;
	text[strcspn(text, "\n")] = 0;
	if (*text)
		return text;
	free(text);
	return NULL;
}

static unsigned long read_hex(const struct host *h, const char *dir,
			      const char *name)
{
	char *text = read_line(h, dir, name);
	unsigned long n = text ? strtoul(text, NULL, 16) : 0;

	free(text);
	return n;
}

/* The last component of a link's target */
static char *read_link(const struct host *h, const char *dir, const char *name)
{
	char target[PATH_MAX], *path, *slash;
	ssize_t n;

	path = xasprintf("%s%s/%s", h->root, dir, name);
	n = readlink(path, target, sizeof(target) - 1);
	free(path);
	if (n < 0)
		return NULL;
	target[n] = 0;
	slash = strrchr(target, '/');
	return xstrdup(slash ? slash + 1 : target);
}

static bool exists(const struct host *h, const char *name)
{
	char *path = xasprintf("%s%s", h->root, name);
	bool yes = !access(path, F_OK);

	free(path);
	return yes;
}

static int not_dots(const struct dirent *d)
{
	return strcmp(d->d_name, ".") && strcmp(d->d_name, "..");
}

/* The names in a directory, sorted; 0 if it cannot be read */
static int list_dir(const struct host *h, const char *name,
		    struct dirent ***list)
{
	char *path = xasprintf("%s%s", h->root, name);
	int n = scandir(path, list, not_dots, alphasort);

	free(path);
	if (n < 0) {
		*list = NULL;
		return 0;
	}
	return n;
}

static void free_list(struct dirent **list, int n)
{
	while (n--)
		free(list[n]);
	free(list);
}

static char *first_in(const struct host *h, const char *dir)
{
	struct dirent **list;
	int n = list_dir(h, dir, &list);
	char *name = n ? xstrdup(list[0]->d_name) : NULL;

	free_list(list, n);
	return name;
}

/*
 * Tables
 */

static int read_table(struct host *h, char *path,
		      int (*parse)(struct host *, const void *, size_t))
{
	size_t len;
	void *p = read_whole(path, MAX_TABLE, &len);
	int err = errno;

	h->table = path;
	if (!p)
		return host_fail(h, "cannot read %s: %s%s", path, strerror(err),
				 err == EACCES ? " (it takes root)" : "");
	/* The IORT must stay allocated for the walks */
	h->owned = p;
	return parse(h, p, len);
}

/**
 * sys_read_tables - Read the IORT or, without ACPI, the device tree
 * @h: The host
 *
 * Return: 0, or -1 with the error in @h->error.
 */
int sys_read_tables(struct host *h)
{
	static const char acpi[] = "/sys/firmware/acpi/tables";
	static const char fdt[] = "/sys/firmware/fdt";

	if (h->iort_path)
		return read_table(h, xstrdup(h->iort_path), iort_parse);
	if (h->fdt_path)
		return read_table(h, xstrdup(h->fdt_path), fdt_parse);
	if (exists(h, "/sys/firmware/acpi/tables/IORT"))
		return read_table(h, xasprintf("%s%s/IORT", h->root, acpi),
				  iort_parse);
	/* A host with ACPI may also have a device tree, but an empty one */
	if (exists(h, acpi)) {
		h->table = xasprintf("%s%s", h->root, acpi);
		return 0;
	}
	if (exists(h, fdt))
		return read_table(h, xasprintf("%s%s", h->root, fdt),
				  fdt_parse);
	return host_fail(h, "neither ACPI tables nor a device tree in %s/sys/firmware",
			 h->root);
}

/*
 * SMMUs
 */

static void read_smmus(struct host *h)
{
	struct dirent **list;
	int n = list_dir(h, "/sys/class/iommu", &list), i;

	for (i = 0; i < n; i++) {
		const char *name = list[i]->d_name;
		struct smmu *smmu = NULL;
		unsigned int k;
		unsigned long long base;
		char *dir;

		if (strncmp(name, "smmu3.", 6))
			continue;
		base = strtoull(name + 6, NULL, 16);
		for (k = 0; k < h->nr_smmus; k++) {
			if (h->smmus[k].base == base)
				smmu = &h->smmus[k];
		}
		if (!smmu) {
			host_warn(h, "the kernel drives %s, which is not in the firmware's table",
				  name);
			continue;
		}
		if (smmu->sysfs)
			continue;
		smmu->sysfs = xstrdup(name);
		dir = xasprintf("/sys/class/iommu/%s", name);
		smmu->device = read_link(h, dir, "device");
		free(dir);
	}
	free_list(list, n);
}

/*
 * The log, where the driver prints the features it has found. A clear S2FWB can
 * be trusted only if this driver checks for S2FWB.
 */
static void parse_log_line(struct host *h, const char *line)
{
	unsigned int i;
	unsigned long feat;
	const char *at;

	at = strstr(line, "-bit (features 0x");
	if (!at || !strstr(line, "arm-smmu-v3 "))
		return;
	feat = strtoul(at + strlen("-bit (features "), NULL, 16);
	for (i = 0; i < h->nr_smmus; i++) {
		struct smmu *smmu = &h->smmus[i];
		char *who;
		bool me;

		if (!smmu->device || smmu->has_idr)
			continue;
		who = xasprintf("arm-smmu-v3 %s: ", smmu->device);
		me = strstr(line, who);
		free(who);
		if (!me)
			continue;
		smmu->stage1 = feat & FEAT_TRANS_S1 ? YES : NO;
		smmu->stage2 = feat & FEAT_TRANS_S2 ? YES : NO;
		smmu->nesting = feat & FEAT_NESTING ? YES : NO;
		if (feat & FEAT_S2FWB)
			smmu->s2fwb = YES;
		else if (h->options[OPT_SMMU_IOMMUFD].on == YES)
			smmu->s2fwb = NO;
		smmu->learned = "the kernel log";
	}
}

void log_parse(struct host *h, const char *log)
{
	char line[512];

	while (*log) {
		size_t len = strcspn(log, "\n");

		snprintf(line, sizeof(line), "%.*s",
			 (int)(len < sizeof(line) ? len : sizeof(line) - 1),
			 log);
		parse_log_line(h, line);
		log += len + (log[len] == '\n');
	}
}

static void read_log(struct host *h)
{
	char *log = NULL;

	if (h->log_path) {
		log = read_whole(h->log_path, MAX_TEXT, NULL);
		if (!log)
			host_warn(h, "cannot read %s: %s", h->log_path,
				  strerror(errno));
	} else if (*h->root) {
		log = read_text(h, "/dev/kmsg");
	} else {
		int size = klogctl(SYSLOG_SIZE_BUFFER, NULL, 0), n;

		if (size > 0) {
			log = xrealloc(NULL, size + 1, 1);
			n = klogctl(SYSLOG_READ_ALL, log, size);
			if (n < 0)
				host_warn(h, "cannot read the kernel log: %s",
					  strerror(errno));
			log[n < 0 ? 0 : n] = 0;
		}
	}
	if (log) {
		h->log_read = true;
		log_parse(h, log);
	}
	free(log);
}

/*
 * The kernel
 */

static void set_option(struct host *h, enum option_id id, bool on,
		       const char *learned)
{
	if (h->options[id].on != UNKNOWN)
		return;
	h->options[id].on = on ? YES : NO;
	h->options[id].learned = learned;
}

/* A kernel configuration is complete: an option that is not in it is off */
void config_parse(struct host *h, const char *config, const char *learned)
{
	unsigned int i;

	/* This is another file, or a part of a configuration */
	if (!strstr(config, "CONFIG_"))
		return;
	for (i = 0; i < NR_OPTIONS; i++) {
		size_t len = strlen(option_names[i]);
		const char *at = config;
		bool on = false;

		while ((at = strstr(at, option_names[i]))) {
			if ((at == config || at[-1] == '\n') &&
			    at[len] == '=' &&
			    (at[len + 1] == 'y' || at[len + 1] == 'm'))
				on = true;
			at += len;
		}
		set_option(h, i, on, learned);
	}
}

/* Every machine with /proc/config.gz has gzip */
static char *gunzip(const char *path)
{
	size_t have = 0, size = 1 << 16;
	int out[2], status;
	char *buf;
	pid_t pid;

	if (pipe2(out, O_CLOEXEC))
		return NULL;
	fflush(NULL);
	pid = fork();
	if (!pid) {
		int null = open("/dev/null", O_RDWR);

		dup2(null, STDIN_FILENO);
		dup2(out[1], STDOUT_FILENO);
		dup2(null, STDERR_FILENO);
		execlp("gzip", "gzip", "-dc", path, NULL);
		_exit(127);
	}
	close(out[1]);
	buf = xrealloc(NULL, size, 1);
	while (pid > 0 && have < MAX_TEXT) {
		ssize_t n = read(out[0], buf + have, size - have - 1);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		have += n;
		if (have + 1 == size) {
			size *= 2;
			buf = xrealloc(buf, size, 1);
		}
	}
	close(out[0]);
	buf[have] = 0;
	if (pid > 0 && waitpid(pid, &status, 0) == pid && !status)
		return buf;
	free(buf);
	return NULL;
}

static void read_config(struct host *h)
{
	char *text = NULL;

	if (exists(h, "/proc/config.gz")) {
		char *path = xasprintf("%s/proc/config.gz", h->root);

		text = gunzip(path);
		if (text)
			config_parse(h, text, "/proc/config.gz");
		else
			host_warn(h, "cannot unpack %s with gzip", path);
		free(path);
		free(text);
		text = NULL;
	}
	if (h->release)
		text = read_text(h, "/boot/config-%s", h->release);
	if (text)
		config_parse(h, text, "the configuration in /boot");
	free(text);
}

/* Whether there is a function or variable with this prefix */
static bool has_symbol(const char *kallsyms, const char *prefix)
{
	const char *at = kallsyms;

	while ((at = strstr(at, prefix))) {
		if (at > kallsyms && at[-1] == ' ')
			return true;
		at += strlen(prefix);
	}
	return false;
}

/* Options that can be derived without a configuration */
static void read_traces(struct host *h)
{
	struct dirent **list;
	char *text;
	int n;

	if (exists(h, "/sys/bus/platform/drivers/arm-smmu-v3"))
		set_option(h, OPT_SMMU, true, "its driver");
	if (exists(h, "/dev/iommu") || exists(h, "/sys/class/misc/iommu"))
		set_option(h, OPT_IOMMUFD, true, "its device");
	if (exists(h, "/sys/bus/pci/drivers/vfio-pci"))
		set_option(h, OPT_VFIO_PCI, true, "its driver");

	n = list_dir(h, "/dev/vfio/devices", &list);
	if (n)
		set_option(h, OPT_VFIO_CDEV, true, "its devices");
	free_list(list, n);
	text = read_text(h, "/proc/devices");
	if (text && strstr(text, " vfio-dev\n"))
		set_option(h, OPT_VFIO_CDEV, true, "/proc/devices");
	free(text);

	if (h->release) {
		text = read_text(h, "/lib/modules/%s/modules.dep", h->release);
		if (text && strstr(text, "/vfio-pci.ko"))
			set_option(h, OPT_VFIO_PCI, true, "its module");
		if (text && strstr(text, "/iommufd.ko"))
			set_option(h, OPT_IOMMUFD, true, "its module");
		free(text);
	}

	/* A missing symbol proves something only if its module is loaded */
	text = read_text(h, "/proc/kallsyms");
	if (!text)
		return;
	if (has_symbol(text, "arm_vsmmu_"))
		set_option(h, OPT_SMMU_IOMMUFD, true, "/proc/kallsyms");
	else if (has_symbol(text, "arm_smmu_attach_dev"))
		set_option(h, OPT_SMMU_IOMMUFD, false, "/proc/kallsyms");
	if (has_symbol(text, "vfio_device_fops_cdev_open"))
		set_option(h, OPT_VFIO_CDEV, true, "/proc/kallsyms");
	else if (has_symbol(text, "vfio_device_fops_"))
		set_option(h, OPT_VFIO_CDEV, false, "/proc/kallsyms");
	free(text);
}

static void read_kernel(struct host *h)
{
	char *path;

	h->release = read_line(h, "/proc/sys/kernel", "osrelease");
	read_config(h);
	read_traces(h);
	h->dev_iommu = exists(h, "/dev/iommu") ? YES : NO;
	path = xasprintf("%s/dev/iommu", h->root);
	h->dev_iommu_usable = !access(path, R_OK | W_OK);
	free(path);
}

/*
 * PCI devices
 */

static struct master *find_root(struct host *h, struct pci_device *d)
{
	struct master *by_order = NULL;
	unsigned int i, bridges = 0;
	char *path, *real, *at;

	for (i = 0; i < h->nr_masters; i++) {
		struct master *m = &h->masters[i];

		if (!m->pci)
			continue;
		/* The kernel also takes the first root complex of a segment */
		if (m->has_segment && m->segment == d->segment)
			return m;
		if (!m->has_segment) {
			bridges++;
			by_order = m;
		}
	}
	if (bridges <= 1)
		return by_order;

	/* If the tree has no domain number: use the node of the host bridge */
	path = xasprintf("%s" SYS_PCI "/%s", h->root, d->bdf);
	real = realpath(path, NULL);
	free(path);
	by_order = NULL;
	at = real ? strstr(real, "/pci") : NULL;
	while (at) {
		char node[PATH_MAX];
		const char *tree;
		ssize_t n;

		*at = 0;
		path = xasprintf("%s/of_node", real);
		n = readlink(path, node, sizeof(node) - 1);
		free(path);
		if (n > 0) {
			node[n] = 0;
			tree = strstr(node, "devicetree/base");
			tree = tree ? tree + strlen("devicetree/base") : "";
			for (i = 0; i < h->nr_masters; i++) {
				if (h->masters[i].pci &&
				    !strcmp(h->masters[i].name, tree))
					by_order = &h->masters[i];
			}
			break;
		}
		*at = '/';
		at = strstr(at + 1, "/pci");
	}
	free(real);
	return by_order;
}

static void add_stream(struct host *h, struct pci_device *d, uint32_t rid)
{
	struct smmu *smmu;
	uint32_t stream;
	unsigned int i;

	smmu = host_map_id(h, d->root, rid, &stream);
	if (!smmu)
		return;
	if (d->smmu && d->smmu != smmu) {
		host_warn(h, "%s: its IDs lead to two SMMUs", d->bdf);
		return;
	}
	d->smmu = smmu;
	for (i = 0; i < d->nr_streams; i++) {
		if (d->streams[i] == stream)
			return;
	}
	if (d->nr_streams < MAX_STREAMS)
		d->streams[d->nr_streams++] = stream;
}

/* The type of a PCIe function; -1: not PCIe, -2: not readable */
static int pcie_type(const unsigned char *config, size_t len)
{
	unsigned int at, hops;

	if (len < 64)
		return -2;
	if (!(config[PCI_STATUS] & PCI_STATUS_CAP_LIST))
		return -1;
	/* Users other than root can read only this much */
	if (len == 64)
		return -2;
	at = config[PCI_CAPABILITY_LIST] & ~3U;
	for (hops = 0; at >= 64 && at + PCI_EXP_FLAGS < len && hops < 48; hops++) {
		if (config[at] == PCI_CAP_ID_EXP)
			return config[at + PCI_EXP_FLAGS] >> 4;
		at = config[at + 1] & ~3U;
	}
	return -1;
}

/*
 * A bridge between PCIe and PCI replaces the requester ID of devices behind it,
 * so a device may have several streams. This follows pci_for_each_dma_alias(),
 * except for its quirks of single devices, which are not visible here.
 */
static void add_streams(struct host *h, struct pci_device *d)
{
	char *path, *real, *at;

	d->aliases_known = true;
	add_stream(h, d, d->bus << 8 | d->devfn);
	path = xasprintf("%s" SYS_PCI "/%s", h->root, d->bdf);
	real = realpath(path, NULL);
	free(path);
	if (!real)
		return;
	while ((at = strrchr(real, '/'))) {
		unsigned int seg, bus, slot, fn;
		unsigned char *config;
		size_t len = 0;
		int type;

		*at = 0;
		at = strrchr(real, '/');
		if (!at || sscanf(at, "/%x:%x:%x.%x", &seg, &bus, &slot, &fn) != 4)
			break;
		path = xasprintf("%s/config", real);
		config = read_whole(path, 4096, &len);
		free(path);
		type = pcie_type(config, len);
		switch (type) {
		case PCI_EXP_TYPE_ROOT_PORT:
		case PCI_EXP_TYPE_UPSTREAM:
		case PCI_EXP_TYPE_DOWNSTREAM:
			break;
		case PCI_EXP_TYPE_PCI_BRIDGE:
			add_stream(h, d, config[PCI_SECONDARY_BUS] << 8);
			break;
		case -2:
			d->aliases_known = false;
			break;
		default:
			add_stream(h, d, (bus & 0xff) << 8 |
				   (slot & 0x1f) << 3 | (fn & 7));
			break;
		}
		free(config);
	}
	free(real);
}

/*
 * The first region of a group that must stay mapped 1:1. For a VM, the kernel
 * drops regions of the type "direct-relaxable".
 */
static char *direct_region(const char *regions)
{
	const char *line = regions;

	while (*line) {
		size_t len = strcspn(line, "\n");
		unsigned long long first, last;
		int at = 0;

		if (sscanf(line, "%llx %llx %n", &first, &last, &at) == 2 &&
		    at + strlen("direct") == len &&
		    !strncmp(line + at, "direct", strlen("direct")))
			return xasprintf("0x%llx-0x%llx", first, last);
		line += len + (line[len] == '\n');
	}
	return NULL;
}

static void read_group(struct host *h, struct pci_device *d, const char *dir)
{
	char *name = read_link(h, dir, "iommu_group"), *path, *text;
	struct dirent **list;
	int n, i;

	if (!name)
		return;
	d->group = atoi(name);
	path = xasprintf("/sys/kernel/iommu_groups/%s", name);
	free(name);
	d->group_type = read_line(h, path, "type");
	text = read_text(h, "%s/reserved_regions", path);
	if (text)
		d->direct = direct_region(text);
	free(text);
	name = xasprintf("%s/devices", path);
	free(path);
	n = list_dir(h, name, &list);
	free(name);
	for (i = 0; i < n; i++) {
		char *old = d->group_others;

		if (!strcmp(list[i]->d_name, d->bdf))
			continue;
		d->group_others = old ? xasprintf("%s %s", old, list[i]->d_name)
				      : xstrdup(list[i]->d_name);
		free(old);
	}
	free_list(list, n);
}

static void read_device(struct host *h, const char *name)
{
	unsigned int seg, bus, slot, fn;
	struct pci_device *d;
	char *dir, *link;
	size_t len = 0;
	unsigned char *config;
	int used = 0;

	if (sscanf(name, "%x:%x:%x.%x%n", &seg, &bus, &slot, &fn, &used) != 4 ||
	    name[used] || bus > 0xff || slot > 0x1f || fn > 7 ||
	    strlen(name) >= sizeof(d->bdf)) {
		host_warn(h, SYS_PCI ": %s is not the address of a device", name);
		return;
	}
	h->devices = xrealloc(h->devices, h->nr_devices + 1,
			      sizeof(*h->devices));
	d = &h->devices[h->nr_devices++];
	memset(d, 0, sizeof(*d));
	snprintf(d->bdf, sizeof(d->bdf), "%s", name);
	d->segment = seg;
	d->bus = bus;
	d->devfn = slot << 3 | fn;
	d->group = -1;

	dir = xasprintf(SYS_PCI "/%s", name);
	d->vendor = read_hex(h, dir, "vendor");
	d->product = read_hex(h, dir, "device");
	d->class = read_hex(h, dir, "class");
	d->driver = read_link(h, dir, "driver");
	d->reset = read_line(h, dir, "reset_method");
	read_group(h, d, dir);

	link = xasprintf("%s%s/config", h->root, dir);
	config = read_whole(link, 4096, &len);
	free(link);
	d->bridge = d->class >> 16 == 0x06 ||
		    (len > PCI_HEADER_TYPE &&
		     (config[PCI_HEADER_TYPE] & 0x7f) == PCI_HEADER_BRIDGE);
	free(config);

	link = xasprintf("%s/vfio-dev", dir);
	d->vfio = first_in(h, link);
	free(link);
	if (d->vfio && h->options[OPT_VFIO_CDEV].on == UNKNOWN) {
		link = xasprintf("%s/vfio-dev/%s/dev", dir, d->vfio);
		set_option(h, OPT_VFIO_CDEV, exists(h, link), "sysfs");
		free(link);
	}

	d->root = find_root(h, d);
	if (d->root)
		add_streams(h, d);

	link = read_link(h, dir, "iommu");
	if (link && !(d->smmu && d->smmu->sysfs && !strcmp(link, d->smmu->sysfs)))
		host_warn(h, "%s: behind %s for the kernel, but not for the firmware's table",
			  name, link);
	free(link);
	free(dir);
}

void sys_read(struct host *h)
{
	struct dirent **list;
	int n, i;

	read_kernel(h);
	read_smmus(h);
	n = list_dir(h, SYS_PCI, &list);
	for (i = 0; i < n; i++)
		read_device(h, list[i]->d_name);
	free_list(list, n);
	/* Parse the log last: this needs the names of the SMMUs */
	read_log(h);
}
