// SPDX-License-Identifier: GPL-2.0-only
/*
 * PID 1 of the emulated host, and of the guest that runs inside of it.
 *
 * The kernel hands over as arguments what stands behind "--" on its command
 * line. Each is an action; they are taken in order, and the machine powers off
 * after the last one or after the first that fails:
 *
 *   tag=NAME           the name that reports carry from here on (host)
 *   root=DEV           mount the file system on DEV: what "vmm" runs lives there
 *   timeout=SECONDS    the most that one program may take (60)
 *   table=NAME         report the ACPI table NAME, in hexadecimal
 *   canwbs=0|1         fail unless the IORT has CANWBS on all root complexes (1)
 *                      or on none, or there is no IORT at all (0)
 *   vfio=NAME,VVVV:DDDD[,N]
 *                      give the N-th (0) PCI device with these ids to vfio-pci;
 *                      @NAME@ in later actions stands for its address
 *   run=PROGRAM[,ARG]...
 *                      run a test program that reports (K)TAP
 *   vmm=FILE           run the VMM whose arguments stand in FILE, one a line, in
 *                      the root file system; / is to be found there in /host
 *   version=PROGRAM    report which version PROGRAM, in the root file system, is
 *   nvme=MIB[,N]       a test of its own: write, read back and compare MIB MiB of
 *                      random data on the first namespace of the N-th (0) NVMe
 *   smmus=N            a test of its own: the first N NVMe have N SMMUs
 *   edu[=N]            the N-th (0) edu device reads from where nothing is mapped;
 *                      report what the driver of its SMMU says about it
 *   hold               guest: wait here until the host has reported how much memory
 *                      its page tables take, without this guest and with it
 *   kmemleak           a test of its own: the kernel has leaked no memory
 *
 * Reports go to the first port of the first virtio-serial device, or to the
 * console where there is none. A line of init's own begins with "@TAG ", all
 * others are output of the programs, between "@TAG run" and "@TAG exit". What is
 * read from that port is the answer to "hold".
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <termios.h>
#include <unistd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>

#include "iort.h"

#define MAX_ARGS	96
#define MAX_NAMES	8
#define BDF_LEN		16
#define SMMU_LEN	48
#define SYS_PCI		"/sys/bus/pci/devices"
#define REPORT_PORT	"/dev/vport0p1"
#define HOLD		" hold\n"

static const char *tag = "host";
static unsigned int run_timeout = 60;
static int report_fd = STDOUT_FILENO;
static bool have_root;

static struct {
	char name[16];
	char bdf[BDF_LEN];
} names[MAX_NAMES];
static unsigned int nr_names;

static void write_all(int fd, const char *buf, size_t len)
{
	while (len) {
		ssize_t n = write(fd, buf, len);

		if (n < 0 && errno == EINTR)
			continue;
		/* Where to complain, if not here? */
		if (n <= 0)
			return;
		buf += n;
		len -= n;
	}
}

static void vreport(const char *fmt, va_list ap)
{
	char line[1024];
	int head, len;

	head = snprintf(line, sizeof(line), "@%s ", tag);
	len = head + vsnprintf(line + head, sizeof(line) - head, fmt, ap);
	if (len > (int)sizeof(line) - 2)
		len = sizeof(line) - 2;
	line[len++] = '\n';
	write_all(report_fd, line, len);
}

static void __attribute__((format(printf, 1, 2))) report(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vreport(fmt, ap);
	va_end(ap);
}

/* TAP of the tests that init itself is, as any other program would write it */
static void __attribute__((format(printf, 1, 2))) tap(const char *fmt, ...)
{
	char line[1024];
	va_list ap;
	int len;

	va_start(ap, fmt);
	len = vsnprintf(line, sizeof(line) - 1, fmt, ap);
	va_end(ap);
	if (len > (int)sizeof(line) - 2)
		len = sizeof(line) - 2;
	line[len++] = '\n';
	write_all(report_fd, line, len);
}

static void __attribute__((noreturn)) power_off(void)
{
	sync();
	tcdrain(STDOUT_FILENO);
	reboot(RB_POWER_OFF);
	for (;;)
		pause();
}

static void __attribute__((noreturn, format(printf, 1, 2)))
fail(const char *fmt, ...)
{
	char why[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	report("fail %s", why);
	power_off();
}

static ssize_t read_file(const char *path, void *buf, size_t size)
{
	size_t len = 0;
	ssize_t n;
	int fd;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	while (len < size) {
		n = read(fd, (char *)buf + len, size - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			n = -errno;
			close(fd);
			return n;
		}
		if (!n)
			break;
		len += n;
	}
	close(fd);
	return len;
}

/* One line of text without its newline */
static int read_line(const char *path, char *buf, size_t size)
{
	ssize_t len = read_file(path, buf, size - 1);

	if (len < 0)
		return len;
	buf[len] = 0;
	buf[strcspn(buf, "\n")] = 0;
	return 0;
}

static int write_file(const char *path, const char *text)
{
	ssize_t n;
	int fd;

	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = write(fd, text, strlen(text));
	n = n < 0 ? -errno : 0;
	close(fd);
	return n;
}

static long long now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000LL + ts.tv_nsec / 1000000;
}

/* Wait for a device node, which devtmpfs makes when its driver is ready */
static int wait_for_node(const char *name, unsigned int seconds)
{
	char buf[4096] __attribute__((aligned(8)));
	long long end = now_ms() + seconds * 1000LL;
	char path[64];
	int fd, rc = -ETIMEDOUT;

	snprintf(path, sizeof(path), "/dev/%s", name);
	fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (fd < 0)
		return -errno;
	if (inotify_add_watch(fd, "/dev", IN_CREATE) < 0) {
		rc = -errno;
		goto out;
	}
	for (;;) {
		struct pollfd pfd = { .fd = fd, .events = POLLIN };
		long long left = end - now_ms();

		if (!access(path, F_OK)) {
			rc = 0;
			break;
		}
		if (left <= 0)
			break;
		if (poll(&pfd, 1, left) > 0 && read(fd, buf, sizeof(buf)) < 0 &&
		    errno != EAGAIN) {
			rc = -errno;
			break;
		}
	}
out:
	close(fd);
	return rc;
}

static void mount_or_fail(const char *what, const char *where, const char *type,
			  unsigned long flags)
{
	if (mkdir(where, 0755) && errno != EEXIST)
		fail("cannot make %s: %m", where);
	if (mount(what, where, type, flags, NULL))
		fail("cannot mount %s on %s: %m", what, where);
}

static void set_up(void)
{
	struct rlimit all = { RLIM_INFINITY, RLIM_INFINITY };
	int fd;

	/* Without a node for the console in the initrd there is no stdio yet */
	if (mkdir("/dev", 0755) && errno != EEXIST)
		_exit(1);
	if (mount("devtmpfs", "/dev", "devtmpfs", 0, NULL) && errno != EBUSY)
		_exit(1);
	fd = open("/dev/console", O_RDWR);
	if (fd >= 0) {
		dup2(fd, STDIN_FILENO);
		dup2(fd, STDOUT_FILENO);
		dup2(fd, STDERR_FILENO);
		if (fd > STDERR_FILENO)
			close(fd);
	}

	if (!wait_for_node(REPORT_PORT + strlen("/dev/"), 10)) {
		fd = open(REPORT_PORT, O_RDWR | O_CLOEXEC);
		if (fd >= 0)
			report_fd = fd;
	}
	if (report_fd == STDOUT_FILENO)
		report("note no report port, using the console");

	mount_or_fail("proc", "/proc", "proc", 0);
	mount_or_fail("sysfs", "/sys", "sysfs", 0);
	mount_or_fail("tmpfs", "/tmp", "tmpfs", 0);
	mount_or_fail("tmpfs", "/dev/shm", "tmpfs", 0);
	/* Not in every kernel, and nothing depends on it but some tests */
	mount("debugfs", "/sys/kernel/debug", "debugfs", 0, NULL);
	mount("cgroup2", "/sys/fs/cgroup", "cgroup2", 0, NULL);

	/* A VMM pins the memory of its guest */
	setrlimit(RLIMIT_MEMLOCK, &all);
	setenv("PATH", "/bin:/usr/bin:/usr/sbin", 1);
	setenv("HOME", "/tmp", 1);
}

/* What @NAME@ in an argument stands for */
static char *expand(const char *arg)
{
	static char out[4096];
	size_t len = 0;

	while (*arg && len < sizeof(out) - sizeof(names[0].bdf)) {
		unsigned int i;

		for (i = 0; *arg == '@' && i < nr_names; i++) {
			size_t n = strlen(names[i].name);

			if (!strncmp(arg + 1, names[i].name, n) &&
			    arg[n + 1] == '@') {
				len += sprintf(out + len, "%s", names[i].bdf);
				arg += n + 2;
				break;
			}
		}
		if (*arg != '@' || i == nr_names) {
			if (!*arg)
				break;
			out[len++] = *arg++;
		}
	}
	out[len] = 0;
	return strdup(out);
}

/*
 * Memory in the page tables of KVM and of the IOMMUs, in kB. The counters of the
 * CPUs are added up at leisure, and would be off by more than what is looked for.
 */
static unsigned long page_tables(void)
{
	static const char key[] = "\nSecPageTables:";
	char info[4096], *p;
	ssize_t len;
	int rc;

	rc = write_file("/proc/sys/vm/stat_refresh", "1");
	if (rc)
		fail("stat_refresh: %s", strerror(-rc));
	len = read_file("/proc/meminfo", info, sizeof(info) - 1);
	info[len < 0 ? 0 : len] = 0;
	p = strstr(info, key);
	if (!p)
		fail("no SecPageTables in meminfo");
	return strtoul(p + strlen(key), NULL, 10);
}

struct vmm {
	int answer;		/* its standard input */
	unsigned long idle;	/* page_tables() before it was started */
	char line[64];		/* may come in pieces */
	size_t len;
};

/* Pass on what a VMM writes, and answer its guest */
static void pass_on(struct vmm *vmm, const char *buf, size_t len)
{
	size_t i, done = 0;

	for (i = 0; i < len; i++) {
		if (vmm->len < sizeof(vmm->line) - 1)
			vmm->line[vmm->len++] = buf[i];
		if (buf[i] != '\n')
			continue;
		vmm->line[vmm->len] = 0;
		if (vmm->line[0] == '@' && vmm->len > strlen(HOLD) &&
		    !strcmp(vmm->line + vmm->len - strlen(HOLD), HOLD)) {
			write_all(report_fd, buf + done, i + 1 - done);
			done = i + 1;
			report("pagetables idle %lu held %lu", vmm->idle,
			       page_tables());
			write_all(vmm->answer, "\n", 1);
		}
		vmm->len = 0;
	}
	write_all(report_fd, buf + done, len - done);
}

/*
 * Run a program and pass on what it writes. Its whole session is killed when
 * the time is up; what it left behind in the background dies with it as well.
 * A VMM runs in the root file system, and may ask for an answer.
 */
static int run_program(char **argv, bool is_vmm)
{
	long long end = now_ms() + run_timeout * 1000LL;
	bool open_line = false, timed_out = false;
	char buf[4096];
	int in[2] = { -1, -1 }, out[2], pidfd, status;
	struct vmm vmm = {};
	pid_t pid;

	if (pipe2(out, O_CLOEXEC) || (is_vmm && pipe2(in, O_CLOEXEC)))
		fail("no pipe: %m");
	if (is_vmm) {
		vmm.answer = in[1];
		vmm.idle = page_tables();
	}
	report("run %s", argv[0]);
	pid = fork();
	if (pid < 0)
		fail("no process: %m");
	if (!pid) {
		if (!is_vmm)
			in[0] = open("/dev/null", O_RDONLY);
		setsid();
		dup2(in[0], STDIN_FILENO);
		dup2(out[1], STDOUT_FILENO);
		dup2(out[1], STDERR_FILENO);
		if (is_vmm && (chroot("/root") || chdir("/")))
			_exit(126);
		execv(argv[0], argv);
		fprintf(stderr, "cannot run %s: %m\n", argv[0]);
		_exit(127);
	}
	close(out[1]);
	if (is_vmm)
		close(in[0]);
	pidfd = syscall(SYS_pidfd_open, pid, 0);
	if (pidfd < 0)
		fail("no pidfd: %m");

	for (;;) {
		struct pollfd pfd[] = {
			{ .fd = out[0], .events = POLLIN },
			{ .fd = pidfd, .events = POLLIN },
		};
		long long left = end - now_ms();
		ssize_t n;

		if (left <= 0 && !timed_out) {
			timed_out = true;
			kill(-pid, SIGKILL);
			/* Even SIGKILL may not free a task stuck in the kernel */
			end = now_ms() + 5000;
			continue;
		}
		if (left <= 0)
			fail("%s cannot be killed", argv[0]);
		if (poll(pfd, 2, left) < 0 && errno != EINTR)
			fail("poll: %m");
		if (pfd[0].revents & POLLIN) {
			n = read(out[0], buf, sizeof(buf));
			if (n > 0) {
				if (is_vmm)
					pass_on(&vmm, buf, n);
				else
					write_all(report_fd, buf, n);
				open_line = buf[n - 1] != '\n';
			}
			continue;
		}
		if (pfd[1].revents)
			break;
		if (pfd[0].revents & POLLHUP) {
			/* It closed its output but lives on */
			close(out[0]);
			out[0] = -1;
		}
	}
	if (waitpid(pid, &status, 0) != pid)
		fail("waitpid: %m");
	kill(-pid, SIGKILL);
	if (out[0] >= 0)
		close(out[0]);
	if (is_vmm)
		close(in[1]);
	close(pidfd);
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
	if (open_line)
		write_all(report_fd, "\n", 1);
	if (timed_out)
		report("exit %s timeout after %u s", argv[0], run_timeout);
	else if (WIFSIGNALED(status))
		report("exit %s signal %d", argv[0], WTERMSIG(status));
	else
		report("exit %s status %d", argv[0], WEXITSTATUS(status));
	return !timed_out && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void do_run(char *args)
{
	char *argv[MAX_ARGS];
	unsigned int n = 0;
	char *arg;

	while (n < MAX_ARGS - 1 && (arg = strsep(&args, ",")))
		argv[n++] = expand(arg);
	argv[n] = NULL;
	run_program(argv, false);
	while (n--)
		free(argv[n]);
}

static void do_vmm(const char *path)
{
	char *argv[MAX_ARGS], *rest, *line;
	static char buf[8192];
	unsigned int n = 0;
	ssize_t len;

	len = read_file(path, buf, sizeof(buf) - 1);
	if (len < 0)
		fail("cannot read %s: %s", path, strerror(-len));
	if (!have_root)
		fail("vmm= without root=");
	buf[len] = 0;
	rest = buf;
	while (n < MAX_ARGS - 1 && (line = strsep(&rest, "\n"))) {
		if (*line)
			argv[n++] = expand(line);
	}
	argv[n] = NULL;
	if (!n)
		fail("%s names no program", path);
	run_program(argv, true);
	while (n--)
		free(argv[n]);
}

static void do_version(char *program)
{
	char *argv[] = { program, "--version", NULL };
	pid_t pid;

	report("version %s", program);
	pid = fork();
	if (!pid) {
		dup2(report_fd, STDOUT_FILENO);
		if (!have_root || chroot("/root") || chdir("/"))
			_exit(126);
		execv(program, argv);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, NULL, 0) != pid)
		fail("no process: %m");
}

static void do_root(const char *dev)
{
	static const char * const shared[] = { "/dev", "/proc", "/sys", "/tmp" };
	char path[64];
	unsigned int i;

	if (strncmp(dev, "/dev/", 5) || wait_for_node(dev + 5, 10))
		fail("no %s for the root file system", dev);
	mount_or_fail(dev, "/root", "ext2", MS_RDONLY);
	for (i = 0; i < sizeof(shared) / sizeof(shared[0]); i++) {
		snprintf(path, sizeof(path), "/root%s", shared[i]);
		if (mount(shared[i], path, NULL, MS_BIND | MS_REC, NULL))
			fail("cannot mount %s on %s: %m", shared[i], path);
	}
	if (mount("/", "/root/host", NULL, MS_BIND, NULL))
		fail("cannot mount / on /root/host: %m");
	have_root = true;
}

static void do_table(const char *name)
{
	static const char digits[] = "0123456789abcdef";
	static uint8_t table[4096];
	static char hex[2 * sizeof(table) + 1];
	char path[64];
	ssize_t len, i;

	snprintf(path, sizeof(path), "/sys/firmware/acpi/tables/%s", name);
	len = read_file(path, table, sizeof(table));
	if (len < 0)
		fail("no table %s: %s", name, strerror(-len));
	if (len == sizeof(table))
		fail("table %s is too long", name);
	for (i = 0; i < len; i++) {
		hex[2 * i] = digits[table[i] >> 4];
		hex[2 * i + 1] = digits[table[i] & 15];
	}
	/* Longer than the buffer of report() */
	report("table %s %zd", name, len);
	write_all(report_fd, hex, 2 * len);
	write_all(report_fd, "\n", 1);
}

static void do_canwbs(const char *arg)
{
	bool want = atoi(arg);
	static uint8_t iort[4096];
	unsigned int with, without;
	ssize_t len;
	int rc;

	len = read_file("/sys/firmware/acpi/tables/IORT", iort, sizeof(iort));
	if (len == -ENOENT && !want) {
		report("note no IORT");
		return;
	}
	if (len < 0)
		fail("cannot read the IORT: %s", strerror(-len));
	rc = iort_count_canwbs(iort, len, &with, &without);
	if (rc)
		fail("the IORT is malformed");
	report("note IORT: %u root complexes with CANWBS, %u without", with,
	       without);
	if (want ? !with || without : with)
		fail("CANWBS is not as wanted: the IORT was %soverridden",
		     want ? "not " : "");
}

static unsigned long pci_attr(const char *bdf, const char *attr)
{
	char path[256], value[32];

	snprintf(path, sizeof(path), SYS_PCI "/%s/%s", bdf, attr);
	if (read_line(path, value, sizeof(value)))
		return 0;
	return strtoul(value, NULL, 16);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

/* The address of the nth device with these ids */
static bool find_pci(unsigned int vendor, unsigned int device, unsigned int nth,
		     char found[BDF_LEN])
{
	struct dirent **list;
	int i, n;

	found[0] = 0;
	n = scandir(SYS_PCI, &list, NULL, by_name);
	for (i = 0; i < n; i++) {
		const char *bdf = list[i]->d_name;

		if (bdf[0] == '.' || strlen(bdf) >= BDF_LEN ||
		    pci_attr(bdf, "vendor") != vendor ||
		    pci_attr(bdf, "device") != device || nth--)
			continue;
		strcpy(found, bdf);
		break;
	}
	while (n > 0)
		free(list[--n]);
	if (n == 0)
		free(list);
	return found[0];
}

static void unbind(const char *bdf)
{
	char path[256];
	int rc;

	snprintf(path, sizeof(path), SYS_PCI "/%s/driver/unbind", bdf);
	rc = write_file(path, bdf);
	if (rc && rc != -ENOENT)
		fail("unbind %s: %s", bdf, strerror(-rc));
}

static void bind_vfio(const char *bdf)
{
	char path[256], link[PATH_MAX];
	ssize_t len;
	int rc;

	snprintf(path, sizeof(path), SYS_PCI "/%s/driver_override", bdf);
	rc = write_file(path, "vfio-pci");
	if (rc)
		fail("driver_override: %s", strerror(-rc));
	unbind(bdf);
	rc = write_file("/sys/bus/pci/drivers_probe", bdf);
	if (rc)
		fail("drivers_probe: %s", strerror(-rc));

	snprintf(path, sizeof(path), SYS_PCI "/%s/driver", bdf);
	len = readlink(path, link, sizeof(link) - 1);
	link[len < 0 ? 0 : len] = 0;
	if (len < 0 || !strstr(link, "/vfio-pci"))
		fail("%s did not bind to vfio-pci", bdf);
}

static void do_vfio(char *args)
{
	char *name = strsep(&args, ","), *ids = strsep(&args, ",");
	unsigned int vendor, device, nth = args ? atoi(args) : 0;

	if (!ids || sscanf(ids, "%x:%x", &vendor, &device) != 2 ||
	    strlen(name) >= sizeof(names[0].name) || nr_names == MAX_NAMES)
		fail("vfio= needs NAME,VVVV:DDDD[,N]");
	if (!find_pci(vendor, device, nth, names[nr_names].bdf))
		fail("no such device: %s", ids);
	strcpy(names[nr_names].name, name);
	bind_vfio(names[nr_names].bdf);
	report("vfio %s %s", name, names[nr_names].bdf);
	nr_names++;
}

/* The StreamID as the IORT of QEMU's machines gives it: the requester id */
static unsigned int requester_id(const char *bdf)
{
	unsigned int domain, bus, slot, func;

	if (sscanf(bdf, "%x:%x:%x.%x", &domain, &bus, &slot, &func) != 4)
		return 0;
	return bus << 8 | slot << 3 | func;
}

/* The SMMU of a PCI device, by the name its driver prints: "none" without one */
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
	if (read_line(path, type, size))
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

static void do_nvme(char *args)
{
	const char *size = strsep(&args, ",");
	const size_t chunk = 1 << 20;
	unsigned long mib = strtoul(size, NULL, 0), i;
	unsigned int nth = args ? atoi(args) : 0;
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
	if (wait_for_node(node, 30)) {
		tap("Bail out! no NVMe namespace");
		goto out;
	}
	nvme_bdf(nth, bdf);
	smmu_of(bdf, smmu);
	report("device nvme %s vsid 0x%x smmu %s", bdf, requester_id(bdf), smmu);

	group_type(bdf, text, sizeof(text));
	tap("%sok 1 - %s: IOMMU group of type %s", strncmp(text, "DMA", 3) ?
	    "not " : "", bdf, text);
	report("group %s", text);

	/* One file for each vector that says what kind it is */
	snprintf(path, sizeof(path), SYS_PCI "/%s/msi_irqs", bdf);
	n = scandir(path, &list, NULL, by_name);
	while (n-- > 0) {
		snprintf(path, sizeof(path), SYS_PCI "/%s/msi_irqs/%.16s", bdf,
			 list[n]->d_name);
		msix |= !read_line(path, text, sizeof(text)) &&
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

static void do_smmus(const char *arg)
{
	unsigned int want = atoi(arg), have = 0, i, k;
	char smmu[MAX_NAMES][SMMU_LEN], node[32], bdf[BDF_LEN];

	if (!want || want > MAX_NAMES)
		fail("smmus= needs a number up to %d", MAX_NAMES);
	report("run smmus");
	tap("1..1");
	for (i = 0; i < want; i++) {
		snprintf(node, sizeof(node), "nvme%un1", i);
		if (wait_for_node(node, 30))
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

/*
 * The next event that the driver of an SMMU prints: a line that says so, and one
 * for each word of the record. Those of another SMMU may stand in between.
 */
static bool next_event(int kmsg, const char *smmu, uint64_t evt[4],
		       long long end)
{
	unsigned int words = 4;
	char record[2048];

	for (;;) {
		struct pollfd pfd = { .fd = kmsg, .events = POLLIN };
		long long left = end - now_ms();
		char *text, *next;
		ssize_t len;

		if (left <= 0)
			return false;
		if (poll(&pfd, 1, left) <= 0)
			continue;
		len = read(kmsg, record, sizeof(record) - 1);
		/* What was overwritten before it was read gives EPIPE */
		if (len < 0)
			continue;
		record[len] = 0;
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
}

/*
 * The DMA and the event are only reported here, guest.awk compares them. An edu
 * that no driver has is attached to a domain of its own with nothing in it but
 * the window of the MSIs, far below. But it has no domain at all until some
 * driver has been there.
 */
static void do_edu(const char *arg)
{
	enum { SRC = 0x80 / 8, DST = 0x88 / 8, COUNT = 0x90 / 8, COMMAND = 0x98 / 8 };
	char bdf[BDF_LEN], path[256], smmu[SMMU_LEN], type[64];
	long long end = now_ms() + 15 * 1000;
	volatile uint64_t *bar;
	uint64_t addr, evt[4];
	uint16_t command;
	int kmsg, fd;

	if (!find_pci(0x1234, 0x11e8, atoi(arg), bdf))
		fail("no edu device");
	bind_vfio(bdf);
	unbind(bdf);
	smmu_of(bdf, smmu);
	group_type(bdf, type, sizeof(type));
	kmsg = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (kmsg < 0 || lseek(kmsg, 0, SEEK_END) < 0)
		fail("cannot read the kernel log: %m");

	snprintf(path, sizeof(path), SYS_PCI "/%s/enable", bdf);
	if (write_file(path, "1"))
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
	bar[SRC] = addr;
	bar[DST] = 0x40000;
	bar[COUNT] = 8;
	bar[COMMAND] = 1;
	if (next_event(kmsg, smmu, evt, end))
		report("event %s 0x%016llx 0x%016llx 0x%016llx 0x%016llx", smmu,
		       (unsigned long long)evt[0], (unsigned long long)evt[1],
		       (unsigned long long)evt[2], (unsigned long long)evt[3]);
	else
		report("note no event from %s", smmu);
	munmap((void *)bar, 4096);
	close(kmsg);
}

static void do_hold(void)
{
	char c = 0;

	report("hold");
	while (c != '\n') {
		ssize_t n = read(report_fd, &c, 1);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			fail("no answer to hold");
	}
}

/* All of a file whose size is not known before. To be freed */
static char *read_all(const char *path)
{
	size_t len = 0, size = 1 << 16;
	char *buf = malloc(size);
	ssize_t n = -1;
	int fd;

	fd = open(path, O_RDONLY);
	while (fd >= 0 && buf && (n = read(fd, buf + len, size - len - 1)) > 0) {
		len += n;
		if (size - len < 4096) {
			size *= 2;
			buf = realloc(buf, size);
		}
	}
	if (!buf || n < 0)
		fail("%s: %s", path, strerror(errno));
	close(fd);
	buf[len] = 0;
	return buf;
}

/*
 * KUnit gives a test that maps memory an mm, of which it never drops the last
 * reference (kunit_attach_mm() in 6.12).
 */
static bool is_kunits_own_leak(const char *record, size_t len)
{
	static const char name[] = "kunit_vm_mmap_init";

	return memmem(record, len, name, sizeof(name) - 1);
}

static void do_kmemleak(void)
{
	static const char file[] = "/sys/kernel/debug/kmemleak";
	static const char mark[] = "unreferenced object ";
	unsigned int leaks = 0, others = 0;
	char *all, *at, *next;
	int rc, i;

	report("run kmemleak");
	tap("1..1");
	/*
	 * Only an object of more than five seconds of age counts, and only when
	 * two scans have found the same checksum of it.
	 */
	sleep(6);
	for (i = 0; i < 2; i++) {
		rc = write_file(file, "scan");
		if (rc)
			fail("kmemleak: %s", strerror(-rc));
	}
	all = read_all(file);
	for (at = strstr(all, mark); at; at = next) {
		size_t len;

		next = strstr(at + 1, mark);
		len = next ? (size_t)(next - at) : strlen(at);
		if (is_kunits_own_leak(at, len)) {
			others++;
			continue;
		}
		/* What is behind the first few is most likely the same */
		if (leaks++ < 20)
			write_all(report_fd, at, len);
	}
	free(all);
	if (others)
		tap("# %u leaks of KUnit itself", others);
	tap("%sok 1 - no leak", leaks ? "not " : "");
	report("exit kmemleak status %d", !!leaks);
}

static void do_action(char *action)
{
	char *arg = strchr(action, '=');
	char *kmsg;

	if (asprintf(&kmsg, "init: %s", action) > 0) {
		write_file("/dev/kmsg", kmsg);
		free(kmsg);
	}
	if (arg)
		*arg++ = 0;
	else
		arg = action + strlen(action);

	if (!strcmp(action, "tag"))
		tag = arg;
	else if (!strcmp(action, "timeout"))
		run_timeout = atoi(arg);
	else if (!strcmp(action, "root"))
		do_root(arg);
	else if (!strcmp(action, "table"))
		do_table(arg);
	else if (!strcmp(action, "canwbs"))
		do_canwbs(arg);
	else if (!strcmp(action, "vfio"))
		do_vfio(arg);
	else if (!strcmp(action, "run"))
		do_run(arg);
	else if (!strcmp(action, "vmm"))
		do_vmm(arg);
	else if (!strcmp(action, "version"))
		do_version(arg);
	else if (!strcmp(action, "nvme"))
		do_nvme(arg);
	else if (!strcmp(action, "smmus"))
		do_smmus(arg);
	else if (!strcmp(action, "edu"))
		do_edu(arg);
	else if (!strcmp(action, "hold"))
		do_hold();
	else if (!strcmp(action, "kmemleak"))
		do_kmemleak();
	else if (!strcmp(action, "initrd"))
		;	/* the firmware's own, put behind all that we gave it */
	else
		fail("unknown action %s", action);
}

int main(int argc, char **argv)
{
	struct utsname uts;
	int i;

	if (getpid() != 1) {
		fprintf(stderr, "to be run as PID 1\n");
		return 1;
	}
	if (argc > 1 && !strncmp(argv[1], "tag=", 4))
		tag = argv[1] + 4;
	set_up();
	uname(&uts);
	report("boot %s %lld ms", uts.release, now_ms());
	for (i = 1; i < argc; i++)
		do_action(argv[i]);
	report("done");
	power_off();
}
