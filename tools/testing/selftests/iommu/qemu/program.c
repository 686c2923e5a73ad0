// SPDX-License-Identifier: GPL-2.0-only
/* See program.h */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "../lib/host.h"
#include "insns.h"
#include "program.h"
#include "report.h"

/* Time for the kernel to free the resources of a process */
#define FREE_MS		60000

unsigned int run_timeout = 60;

struct program {
	char **argv;
	const char *name;	/* of a VMM */
	pid_t pid;
	int pidfd;
	int answer;		/* its standard input */
	int out;
	bool alive;
	bool held;
	bool asked_kill;
	bool open_line;
	unsigned int reboots;
	unsigned long idle;	/* page_tables() before it was started */
	char line[128];		/* may come in pieces */
	size_t len;
	bool keep;		/* the output, until the end */
	char *kept;
	size_t kept_len;
};

/* Programs that run at the same time */
struct group {
	struct program *p;
	unsigned int num;
	unsigned int alive;
	long long end;
	bool timed_out;
};

static void put(struct program *p, const char *buf, size_t len)
{
	if (!p->keep) {
		write_all(report_fd, buf, len);
		return;
	}
	p->kept = realloc(p->kept, p->kept_len + len);
	if (!p->kept)
		fail("no memory for the output of %s", p->name);
	memcpy(p->kept + p->kept_len, buf, len);
	p->kept_len += len;
}

/* report() for this program */
static void __attribute__((format(printf, 2, 3)))
say(struct program *p, const char *fmt, ...)
{
	char text[512];
	va_list ap;
	int len;

	len = snprintf(text, sizeof(text), "@%s ", tag);
	va_start(ap, fmt);
	len += vsnprintf(text + len, sizeof(text) - len, fmt, ap);
	va_end(ap);
	if (len > (int)sizeof(text) - 1)
		len = sizeof(text) - 1;
	text[len++] = '\n';
	put(p, text, len);
}

/*
 * Memory in the page tables of KVM and of the IOMMUs, in kB. The counters of
 * the CPUs are added up only from time to time, so this forces it.
 */
static unsigned long page_tables(void)
{
	static const char key[] = "\nSecPageTables:";
	char info[4096], *p;
	ssize_t len;
	int rc;

	rc = write_str("/proc/sys/vm/stat_refresh", "1");
	if (rc)
		fail("stat_refresh: %s", strerror(-rc));
	len = read_file("/proc/meminfo", info, sizeof(info) - 1);
	info[len < 0 ? 0 : len] = 0;
	p = strstr(info, key);
	if (!p)
		fail("no SecPageTables in meminfo");
	return strtoul(p + strlen(key), NULL, 10);
}

/* The number of pages that some pin_user_pages() still has */
static long pinned_pages(void)
{
	static const char got[] = "\nnr_foll_pin_acquired ";
	static const char put[] = "\nnr_foll_pin_released ";
	char *all, *a, *r;
	long num;
	int rc;

	rc = write_str("/proc/sys/vm/stat_refresh", "1");
	if (rc)
		fail("stat_refresh: %s", strerror(-rc));
	all = read_all("/proc/vmstat");
	a = strstr(all, got);
	r = strstr(all, put);
	if (!a || !r)
		fail("no counters of pins in vmstat");
	num = atol(a + strlen(got)) - atol(r + strlen(put));
	free(all);
	return num;
}

/* A counter of KVM: the sum over all running guests */
static unsigned long kvm_stat(const char *name)
{
	char path[64], text[32];

	snprintf(path, sizeof(path), "/sys/kernel/debug/kvm/%s", name);
	return read_str(path, text, sizeof(text)) ? 0 :
						     strtoul(text, NULL, 10);
}

struct workers {
	unsigned int num;
	unsigned long sleeps;
	unsigned long ticks;	/* of CPU time, 10 ms each */
};

/* Add the workers among the threads of a process */
static void add_workers(const char *pid, struct workers *w)
{
	static const char key[] = "\nvoluntary_ctxt_switches:";
	char path[600], text[4096], *p;
	struct dirent *d;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%s/task", pid);
	dir = opendir(path);
	while (dir && (d = readdir(dir))) {
		unsigned long user, sys;

		snprintf(path, sizeof(path), "/proc/%s/task/%s/comm", pid,
			 d->d_name);
		if (read_str(path, text, sizeof(text)) || strcmp(text, WORKER))
			continue;
		snprintf(path, sizeof(path), "/proc/%s/task/%s/status", pid,
			 d->d_name);
		if (read_str(path, text, sizeof(text)))
			continue;
		p = strstr(text, key);
		if (!p)
			continue;
		w->sleeps += strtoul(p + strlen(key), NULL, 10);
		snprintf(path, sizeof(path), "/proc/%s/task/%s/stat", pid,
			 d->d_name);
		if (read_str(path, text, sizeof(text)))
			continue;
		/* Behind the name: the state, and ten more numbers */
		p = strrchr(text, ')');
		if (!p ||
		    sscanf(p, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
			   &user, &sys) != 2)
			continue;
		w->ticks += user + sys;
		w->num++;
	}
	if (dir)
		closedir(dir);
}

static unsigned int count_workers(void)
{
	DIR *dir = opendir("/proc");
	struct workers w = {};
	struct dirent *d;

	while (dir && (d = readdir(dir)))
		if (*d->d_name >= '0' && *d->d_name <= '9')
			add_workers(d->d_name, &w);
	if (dir)
		closedir(dir);
	return w.num;
}

/*
 * Report the ioctls by which a VMM has passed on the commands of its guest, if
 * the VMM writes its trace of them to /tmp/NAME.trace
 */
static void report_invalidations(const char *name)
{
	static const char event[] = "iommufd_backend_invalidate_cache ";
	static const char key[] = " done_num=";
	unsigned long calls = 0, commands = 0;
	char path[64], *all, *at;

	snprintf(path, sizeof(path), "/tmp/%s.trace", name);
	if (access(path, F_OK))
		return;
	all = read_all(path);
	for (at = all; (at = strstr(at, event)); at++) {
		char *num = strstr(at, key);

		calls++;
		if (num)
			commands += strtoul(num + strlen(key), NULL, 10);
	}
	free(all);
	report("invalidations %s calls %lu commands %lu", name, calls, commands);
}

/* insns.c counts up to here */
static void mark_insns(void)
{
#ifdef __aarch64__
	asm volatile("hint %0" : : "i"(INSNS_MARK_HINT) : "memory");
#endif
}

/* All guests that still run are held: report the facts, and let them go on */
static void release(struct group *g)
{
	unsigned int i;

	for (i = 0; i < g->num; i++)
		if (g->p[i].alive && !g->p[i].held)
			return;
	if (!g->alive)
		return;
	mark_insns();
	report("pagetables idle %lu held %lu", g->p[0].idle, page_tables());
	report("exits %lu mmio_user %lu wfi %lu", kvm_stat("exits"),
	       kvm_stat("mmio_exit_user"), kvm_stat("wfi_exit_stat"));
	for (i = 0; i < g->num; i++) {
		struct program *p = &g->p[i];
		struct workers w = {};
		char pid[16];

		if (!p->alive)
			continue;
		snprintf(pid, sizeof(pid), "%d", p->pid);
		add_workers(pid, &w);
		if (w.num)
			report("workers %s %u sleeps %lu ticks %lu", p->name, w.num,
			       w.sleeps, w.ticks);
		report_invalidations(p->name);
	}
	for (i = 0; i < g->num; i++) {
		if (g->p[i].alive)
			write_all(g->p[i].answer, "\n", 1);
		g->p[i].held = false;
	}
}

/* The argument of the VMM that has the device with this id */
static const char *device_of(struct program *p, const char *id)
{
	char key[64];
	char **arg;

	snprintf(key, sizeof(key), ",id=%s,", id);
	for (arg = p->argv; *arg; arg++)
		if (strstr(*arg, key))
			return *arg;
	fail("no device %s", id);
}

/* A line of the output of a VMM. Return: whether it asks for something */
static bool asks(const char *line, char word[16], char arg[32])
{
	int n;

	*arg = 0;
	n = sscanf(line, "@%*15s %15s %31s", word, arg);
	return n == 1 ? !strcmp(word, "hold") || !strcmp(word, "kill") ||
			!strcmp(word, "poweroff") || !strcmp(word, "update") :
	       n == 2 && (!strcmp(word, "reboot") || !strcmp(word, "unplug") ||
			  !strcmp(word, "plug"));
}

static void qmp_path(struct program *p, char path[64])
{
	snprintf(path, 64, "/tmp/%s.qmp", p->name);
}

/*
 * Power off like "poweroff -f" or a machine in distress: the VMM and its guest go on
 * until the last moment
 */
static _Noreturn void power_off_during(struct program *p)
{
	struct workers before = {}, after = {};
	char pid[16];

	snprintf(pid, sizeof(pid), "%d", p->pid);
	add_workers(pid, &before);
	/* It works now, not only when the guest was booting */
	do {
		after = (struct workers){};
		add_workers(pid, &after);
	} while (after.num && after.num == before.num &&
		 after.sleeps + after.ticks == before.sleeps + before.ticks);
	report("workers %s %u sleeps %lu ticks %lu", p->name, after.num,
	       after.sleeps, after.ticks);
	report("exit %s killed", p->argv[0]);
	report("done");
	power_off();
}

static void answer(struct group *g, struct program *p, const char *word,
		   const char *arg)
{
	char path[64];

	qmp_path(p, path);
	if (!strcmp(word, "hold")) {
		p->held = true;
		release(g);
	} else if (!strcmp(word, "kill")) {
		/* Other VMMs would still have pages and workers */
		if (g->num > 1)
			fail("kill is for a VMM that runs alone");
		p->asked_kill = true;
		kill(-p->pid, SIGKILL);
	} else if (!strcmp(word, "poweroff")) {
		power_off_during(p);
	} else if (!strcmp(word, "reboot")) {
		write_all(p->answer,
			  p->reboots < (unsigned int)atoi(arg) ? "y\n" : "n\n",
			  2);
		p->reboots++;
	} else if (!strcmp(word, "unplug")) {
		write_all(p->answer, qmp_unplug(path, arg) ? "n\n" : "y\n", 2);
	} else if (!strcmp(word, "update")) {
		write_all(p->answer, qmp_update(path, p->argv) ? "n\n" : "y\n",
			  2);
	} else {
		write_all(p->answer,
			  qmp_plug(device_of(p, arg)) ? "n\n" : "y\n", 2);
	}
}

/* Pass on the output of a VMM, and answer its guest */
static void pass_on(struct group *g, struct program *p, const char *buf,
		    size_t len)
{
	char word[16], arg[32];
	size_t i, done = 0;

	for (i = 0; i < len; i++) {
		if (p->len < sizeof(p->line) - 1)
			p->line[p->len++] = buf[i];
		if (buf[i] != '\n')
			continue;
		p->line[p->len] = 0;
		p->len = 0;
		if (p->line[0] != '@' || !asks(p->line, word, arg))
			continue;
		/* Facts must come behind the line that asks for them */
		put(p, buf + done, i + 1 - done);
		done = i + 1;
		answer(g, p, word, arg);
	}
	put(p, buf + done, len - done);
	p->open_line = len && buf[len - 1] != '\n';
}

/* The resources that VMMs have, or have left */
struct left {
	unsigned int workers;
	long pins;
	unsigned long tables;	/* in kB */
};

/* Wait until only page tables of at most this size are left, or for FREE_MS */
static struct left wait_for_free(unsigned long most_tables)
{
	long long end = now_ms() + FREE_MS;
	struct left left;

	for (;;) {
		left.workers = count_workers();
		left.pins = pinned_pages();
		left.tables = page_tables();
		if ((!left.workers && !left.pins && left.tables <= most_tables) ||
		    now_ms() >= end)
			return left;
		poll(NULL, 0, 10);
	}
}

/* Test that a VMM that was killed during IO has left nothing */
static void test_freed(struct program *p, int status)
{
	struct left left = wait_for_free(p->idle);
	bool good;

	say(p, "run killed");
	tap("1..4");
	good = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
	tap("%sok 1 - the VMM was killed during IO", good ? "" : "not ");
	tap("%sok 2 - no worker is left, %u found", left.workers ? "not " : "",
	    left.workers);
	tap("%sok 3 - no page is pinned, %ld found", left.pins ? "not " : "",
	    left.pins);
	good = left.tables <= p->idle;
	tap("%sok 4 - page tables take %lu kB, %lu before", good ? "" : "not ",
	    left.tables, p->idle);
	say(p, "exit killed status 0");
}

void test_left(void)
{
	static unsigned long first;
	static unsigned int rounds;
	struct left left = wait_for_free(rounds ? first : ULONG_MAX);
	bool good;

	if (!rounds)
		first = left.tables;
	good = left.tables <= first;
	report("run left");
	tap("1..3");
	tap("%sok 1 - no worker is left, %u found", left.workers ? "not " : "",
	    left.workers);
	tap("%sok 2 - no page is pinned, %ld found", left.pins ? "not " : "",
	    left.pins);
	tap("%sok 3 - page tables take %lu kB, %lu at first, after %u rounds",
	    good ? "" : "not ", left.tables, first, rounds);
	report("exit left status %d", left.workers || left.pins || !good);
	rounds++;
}

static void start(struct program *p)
{
	int in[2] = { -1, -1 }, out[2];
	char path[64];

	if (pipe2(out, O_CLOEXEC) || (p->name && pipe2(in, O_CLOEXEC)))
		fail("no pipe: %m");
	p->answer = in[1];
	p->out = out[0];
	if (p->name) {
		p->idle = page_tables();
		qmp_path(p, path);
		qmp_start(path);
	}
	say(p, "run %s", p->argv[0]);
	p->pid = fork();
	if (p->pid < 0)
		fail("no process: %m");
	if (!p->pid) {
		if (!p->name)
			in[0] = open("/dev/null", O_RDONLY);
		setsid();
		dup2(in[0], STDIN_FILENO);
		dup2(out[1], STDOUT_FILENO);
		dup2(out[1], STDERR_FILENO);
		if (p->name && (chroot(ROOT) || chdir("/")))
			_exit(126);
		execv(p->argv[0], p->argv);
		fprintf(stderr, "cannot run %s: %m\n", p->argv[0]);
		_exit(127);
	}
	close(out[1]);
	if (p->name)
		close(in[0]);
	p->pidfd = syscall(SYS_pidfd_open, p->pid, 0);
	if (p->pidfd < 0)
		fail("no pidfd: %m");
	p->alive = true;
}

static void ended(struct group *g, struct program *p)
{
	int status;

	if (waitpid(p->pid, &status, 0) != p->pid)
		fail("waitpid: %m");
	if (p->out >= 0)
		close(p->out);
	if (p->name) {
		close(p->answer);
		qmp_stop();
	}
	close(p->pidfd);
	p->alive = false;
	g->alive--;
	if (p->open_line)
		put(p, "\n", 1);
	if (p->asked_kill)
		test_freed(p, status);
	if (g->timed_out)
		say(p, "exit %s timeout after %u s", p->argv[0], run_timeout);
	else if (p->asked_kill)
		say(p, "exit %s killed", p->argv[0]);
	else if (WIFSIGNALED(status))
		say(p, "exit %s signal %d", p->argv[0], WTERMSIG(status));
	else
		say(p, "exit %s status %d", p->argv[0], WEXITSTATUS(status));
	write_all(report_fd, p->kept, p->kept_len);
	free(p->kept);
	/* The other guests need not wait for this one any more */
	release(g);
}

/* Return: whether there was output */
static bool read_output(struct group *g, struct program *p)
{
	char buf[4096];
	ssize_t n = read(p->out, buf, sizeof(buf));

	if (n <= 0)
		return false;
	if (p->name) {
		pass_on(g, p, buf, n);
	} else {
		put(p, buf, n);
		p->open_line = buf[n - 1] != '\n';
	}
	return true;
}

/* The program may have written and ended after poll() saw no output */
static void read_rest(struct group *g, struct program *p)
{
	struct pollfd pfd = { .fd = p->out, .events = POLLIN };

	/* Processes in the background could write for ever */
	kill(-p->pid, SIGKILL);
	while (poll(&pfd, 1, 0) > 0 && pfd.revents & POLLIN)
		if (!read_output(g, p))
			break;
}

/*
 * Run programs until all have ended. The whole session of each is killed at the
 * timeout, including processes that it has left in the background.
 */
static void run(struct group *g)
{
	unsigned int i;

	g->end = now_ms() + run_timeout * 1000LL;
	for (i = 0; i < g->num; i++) {
		start(&g->p[i]);
		g->alive++;
	}
	while (g->alive) {
		struct pollfd pfd[2 * MAX_VMMS];
		long long left = g->end - now_ms();

		for (i = 0; i < g->num; i++) {
			struct program *p = &g->p[i];

			pfd[2 * i] = (struct pollfd){
				.fd = p->alive ? p->out : -1,
				.events = POLLIN,
			};
			pfd[2 * i + 1] = (struct pollfd){
				.fd = p->alive ? p->pidfd : -1,
				.events = POLLIN,
			};
		}
		if (left <= 0 && g->timed_out)
			fail("%s cannot be killed", g->p[0].argv[0]);
		if (left <= 0) {
			g->timed_out = true;
			for (i = 0; i < g->num; i++)
				if (g->p[i].alive)
					kill(-g->p[i].pid, SIGKILL);
			/* Even SIGKILL may not free a task stuck in the kernel */
			g->end = now_ms() + 5000;
			continue;
		}
		if (poll(pfd, 2 * g->num, left) < 0) {
			if (errno == EINTR)
				continue;
			fail("poll: %m");
		}
		for (i = 0; i < g->num; i++) {
			struct program *p = &g->p[i];

			if (pfd[2 * i].revents & POLLIN && read_output(g, p))
				continue;
			if (pfd[2 * i + 1].revents) {
				read_rest(g, p);
				ended(g, p);
			} else if (pfd[2 * i].revents & POLLHUP) {
				/* It has closed its output but still runs */
				close(p->out);
				p->out = -1;
			}
		}
	}
	/* Reap processes that the programs have left behind */
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
}

void run_test(char **argv)
{
	struct program p = { .argv = argv };
	struct group g = { .p = &p, .num = 1 };

	run(&g);
}

void run_vmms(const char **names, char ***argvs, unsigned int num)
{
	struct program p[MAX_VMMS] = {};
	struct group g = { .p = p, .num = num };
	unsigned int i;

	for (i = 0; i < num; i++) {
		p[i].name = names[i];
		p[i].argv = argvs[i];
		p[i].keep = num > 1;
	}
	run(&g);
}
