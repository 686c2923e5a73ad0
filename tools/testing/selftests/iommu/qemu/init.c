// SPDX-License-Identifier: GPL-2.0-only
/*
 * PID 1 of the emulated host, and of the guest that runs inside of it.
 *
 * Its arguments, behind "--" on the kernel's command line, are actions. They are
 * done in order, and the machine powers off after the last action or after the
 * first that fails:
 *
 *   tag=NAME           the name that reports carry from here on (host)
 *   root=DEV           mount the file system on DEV, which has the VMM
 *   timeout=SECONDS    the time limit of each program (60)
 *   table=NAME         report the ACPI table NAME, in hexadecimal
 *   canwbs=0|1         fail unless the IORT has CANWBS on all root complexes (1)
 *                      or on none, or if there is no IORT at all (0)
 *   vfio=NAME,VVVV:DDDD[,N]
 *                      give the N-th (0) PCI device with these ids to vfio-pci;
 *                      @NAME@ in later actions stands for its address
 *   run=PROGRAM[,ARG]...
 *                      run a test program that reports (K)TAP
 *   beside=PROGRAM[,ARG]...
 *                      start a program that runs beside all later actions, and wait
 *                      until it has written a line
 *   crash              crash, and let the kernel /crash/Image do the later actions
 *   vmm=FILE[,FILE]... run the VMM with the arguments in the lines of FILE, in the
 *                      root file system, which has this one in /host. Several of
 *                      them run at the same time
 *   version=PROGRAM    report the version of PROGRAM in the root file system
 *   nvme=MIB[,N[,TYPE]] a test in init: write, read back and compare MIB MiB of random
 *                      data on the first namespace of the N-th (0) NVMe, whose IOMMU
 *                      group has a TYPE that begins so (DMA), or "none"
 *   reads=N[,M]        read a page of the M-th (0) NVMe N times, bypassing the cache
 *   smmus=N            a test in init: the first N NVMe have N SMMUs
 *   edu[=N]            the N-th (0) edu device reads from an unmapped address;
 *                      report the event in the messages of its SMMU's driver
 *   hold               guest: wait here for the guests that run at the same time,
 *                      until the host has reported how much memory its page
 *                      tables take, without this guest and with it, the number of
 *                      exits of its guests, and the CPU time of their workers
 *   idle=SECONDS       guest: do nothing
 *   kill               guest: IO on the first NVMe until the host has killed the VMM
 *   poweroff           guest: the same until the host has powered off
 *   reboot=N           guest: reboot N times, and do all actions again
 *   unplug=ID, plug=ID guest: a test in init: the device with this id in the VMM,
 *                      the only NVMe, goes and comes
 *   update             guest: a test in init: its VMM executes itself and goes on
 *   queue_error        guest: a test in init: an illegal command in the command queue of
 *                      the guest, which must be idle, reaches the guest's driver
 *   kmemleak           a test in init: the kernel has leaked no memory
 *   left               a test in init: without guests there are no more pinned pages,
 *                      workers and page tables than the first time that this was done
 *   repeat=SECONDS, again
 *                      repeat the actions between these until this time has passed
 *   load=NAME          load the module NAME, from /modules
 *   unload=NAME        a test in init: it can be unloaded, and loaded again
 *
 * Reports go to the first port of the first virtio-serial device, or to the
 * console if there is none. report.h describes their form. Input from this port is
 * the answer to a request of a guest, see program.h.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <linux/kexec.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>

#include "../lib/host.h"
#include "../lib/iort.h"
#include "probe.h"
#include "program.h"
#include "report.h"

#define MAX_ARGS	96
#define REPORT_PORT	"/dev/vport0p1"

static bool have_root;

static struct {
	char name[16];
	char bdf[BDF_LEN];
} names[MAX_NAMES];
static unsigned int nr_names;

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

	/*
	 * Without a node for the console in the initrd, there is no stdio yet
	 */
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

	if (!wait_for_node(REPORT_PORT + strlen("/dev/"))) {
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
	/* Not all kernels have these, and only some tests depend on them */
	mount("debugfs", "/sys/kernel/debug", "debugfs", 0, NULL);
	mount("cgroup2", "/sys/fs/cgroup", "cgroup2", 0, NULL);

	/* A VMM pins the memory of its guest */
	setrlimit(RLIMIT_MEMLOCK, &all);
	setenv("PATH", "/bin:/usr/bin:/usr/sbin", 1);
	setenv("HOME", "/tmp", 1);
}

/* Replace @NAME@ in an argument */
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

/* The arguments of a program, separated by commas */
static void split(char *args, char *argv[MAX_ARGS])
{
	unsigned int n = 0;
	char *arg;

	while (n < MAX_ARGS - 1 && (arg = strsep(&args, ",")))
		argv[n++] = expand(arg);
	argv[n] = NULL;
}

static void do_run(char *args)
{
	char *argv[MAX_ARGS], **arg;

	split(args, argv);
	run_test(argv);
	for (arg = argv; *arg; arg++)
		free(*arg);
}

/* A program that runs until the host is powered off */
static pid_t beside;

static void do_beside(char *args)
{
	char *argv[MAX_ARGS], c = 0;
	int in[2], out[2];
	pid_t pid;

	split(args, argv);
	if (pipe(in) || pipe(out))
		fail("no pipe: %m");
	pid = fork();
	if (!pid) {
		dup2(in[0], STDIN_FILENO);
		dup2(out[1], STDOUT_FILENO);
		execv(argv[0], argv);
		_exit(127);
	}
	if (pid < 0)
		fail("no process: %m");
	beside = pid;
	close(out[1]);
	while (c != '\n') {
		if (read(out[0], &c, 1) != 1)
			fail("%s has ended", argv[0]);
	}
}

/* The next kernel gets this kernel's parameters, and the actions in @rest */
static _Noreturn void do_crash(char **rest)
{
	static char cmdline[2048];
	int kernel, initrd;
	ssize_t len;
	char *end;

	len = read_file("/proc/cmdline", cmdline, sizeof(cmdline) - 1);
	cmdline[len < 0 ? 0 : len] = 0;
	end = strstr(cmdline, " -- ");
	if (!end)
		fail("no actions in the command line");
	/* The remaining actions need no more room than all actions did */
	end[strlen(" --")] = 0;
	for (; *rest; rest++) {
		strcat(end, " ");
		strcat(end, *rest);
	}
	kernel = open("/crash/Image", O_RDONLY | O_CLOEXEC);
	initrd = open("/crash/initrd", O_RDONLY | O_CLOEXEC);
	if (kernel < 0 || initrd < 0)
		fail("no /crash/Image or /crash/initrd");
	if (syscall(SYS_kexec_file_load, kernel, initrd, strlen(cmdline) + 1,
		    cmdline, KEXEC_FILE_ON_CRASH))
		fail("cannot load the kernel: %m");
	report("note crash");
	write_str("/proc/sysrq-trigger", "c");
	fail("no crash");
}

/* The arguments of a VMM, from the lines of a file */
static char **vmm_args(const char *path)
{
	char **argv = calloc(MAX_ARGS, sizeof(*argv)), *rest, *line;
	static char buf[8192];
	unsigned int n = 0;
	ssize_t len;

	len = read_file(path, buf, sizeof(buf) - 1);
	if (len < 0)
		fail("cannot read %s: %s", path, strerror(-len));
	if (!argv)
		fail("no memory");
	buf[len] = 0;
	rest = buf;
	while (n < MAX_ARGS - 1 && (line = strsep(&rest, "\n"))) {
		if (*line)
			argv[n++] = expand(line);
	}
	if (!n)
		fail("%s names no program", path);
	return argv;
}

static void do_vmm(char *args)
{
	const char *vmm_names[MAX_VMMS];
	char **argvs[MAX_VMMS], **arg, *path;
	unsigned int n = 0;

	if (!have_root)
		fail("vmm= without root=");
	while ((path = strsep(&args, ","))) {
		const char *slash = strrchr(path, '/');

		if (n == MAX_VMMS)
			fail("more than %d VMMs", MAX_VMMS);
		vmm_names[n] = slash ? slash + 1 : path;
		argvs[n++] = vmm_args(path);
	}
	run_vmms(vmm_names, argvs, n);
	while (n--) {
		for (arg = argvs[n]; *arg; arg++)
			free(*arg);
		free(argvs[n]);
	}
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

	if (strncmp(dev, "/dev/", 5) || wait_for_node(dev + 5))
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

static int load_module(const char *name)
{
	char path[64];
	int fd, rc;

	snprintf(path, sizeof(path), "/modules/%s.ko", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	rc = syscall(SYS_finit_module, fd, "", 0) ? -errno : 0;
	close(fd);
	return rc;
}

static void do_load(const char *name)
{
	int rc = load_module(name);

	if (rc)
		fail("cannot load %s: %s", name, strerror(-rc));
}

/* All users of the module are gone, and must have released it */
static void do_unload(const char *name)
{
	long long end = now_ms() + WAIT_MS;
	int rc, again = -EBUSY;

	report("run unload");
	tap("1..2");
	/* The last of them may do this late, after its program has ended */
	do {
		rc = syscall(SYS_delete_module, name, O_NONBLOCK) ? -errno : 0;
	} while (rc == -EWOULDBLOCK && now_ms() < end && !poll(NULL, 0, 10));
	tap("%sok 1 - %s can be unloaded%s%s", rc ? "not " : "", name,
	    rc ? ": " : "", rc ? strerror(-rc) : "");
	if (!rc)
		again = load_module(name);
	tap("%sok 2 - %s can be loaded again%s%s", again ? "not " : "", name,
	    again ? ": " : "", again ? strerror(-again) : "");
	report("exit unload status %d", rc || again);
}

static void do_action(char *action)
{
	char *arg = strchr(action, '=');
	char *kmsg;

	if (asprintf(&kmsg, "init: %s", action) > 0) {
		write_str("/dev/kmsg", kmsg);
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
	else if (!strcmp(action, "beside"))
		do_beside(arg);
	else if (!strcmp(action, "vmm"))
		do_vmm(arg);
	else if (!strcmp(action, "version"))
		do_version(arg);
	else if (!strcmp(action, "nvme"))
		do_nvme(arg);
	else if (!strcmp(action, "reads"))
		do_reads(arg);
	else if (!strcmp(action, "smmus"))
		do_smmus(arg);
	else if (!strcmp(action, "edu"))
		do_edu(arg);
	else if (!strcmp(action, "hold"))
		ask("hold");
	else if (!strcmp(action, "idle"))
		do_idle(arg);
	else if (!strcmp(action, "kill") || !strcmp(action, "poweroff"))
		do_kill(action);
	else if (!strcmp(action, "reboot"))
		do_reboot(arg);
	else if (!strcmp(action, "unplug"))
		do_plug(arg, false);
	else if (!strcmp(action, "plug"))
		do_plug(arg, true);
	else if (!strcmp(action, "update"))
		do_update();
	else if (!strcmp(action, "queue_error"))
		do_queue_error();
	else if (!strcmp(action, "kmemleak"))
		do_kmemleak();
	else if (!strcmp(action, "left"))
		test_left();
	else if (!strcmp(action, "load"))
		do_load(arg);
	else if (!strcmp(action, "unload"))
		do_unload(arg);
	else if (!strcmp(action, "initrd"))
		;	/* from the firmware, behind the arguments of run.sh */
	else
		fail("unknown action %s", action);
}

int main(int argc, char **argv)
{
	long long repeat_until = 0;
	int i, repeat_from = 0;
	struct utsname uts;

	if (getpid() != 1) {
		fprintf(stderr, "must be run as PID 1\n");
		return 1;
	}
	if (argc > 1 && !strncmp(argv[1], "tag=", 4))
		tag = argv[1] + 4;
	set_up();
	uname(&uts);
	report("boot %s %lld ms", uts.release, now_ms());
	for (i = 1; i < argc; i++) {
		/* do_action() changes it */
		char *action = strdup(argv[i]);

		if (!action)
			fail("no memory");
		if (!strncmp(action, "repeat=", 7)) {
			repeat_until = now_ms() + 1000LL * atoi(action + 7);
			repeat_from = i + 1;
		} else if (!strcmp(action, "crash")) {
			do_crash(argv + i + 1);
		} else if (!strcmp(action, "again")) {
			if (now_ms() < repeat_until)
				i = repeat_from - 1;
		} else {
			do_action(action);
		}
	}
	if (beside && waitpid(beside, NULL, WNOHANG))
		fail("the program beside has ended");
	report("done");
	power_off();
}
