// SPDX-License-Identifier: GPL-2.0-only
/* See report.h */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>
#include <sys/inotify.h>
#include <sys/reboot.h>

#include "report.h"

const char *tag = "host";
int report_fd = STDOUT_FILENO;

void write_all(int fd, const char *buf, size_t len)
{
	while (len) {
		ssize_t n = write(fd, buf, len);

		if (n < 0 && errno == EINTR)
			continue;
		/* There is no other place to complain to */
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

void report(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vreport(fmt, ap);
	va_end(ap);
}

char ask(const char *fmt, ...)
{
	char c = 0, first = 0;
	va_list ap;

	va_start(ap, fmt);
	vreport(fmt, ap);
	va_end(ap);
	while (c != '\n') {
		ssize_t n = read(report_fd, &c, 1);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			fail("no answer");
		if (!first)
			first = c;
	}
	return first;
}

void tap(const char *fmt, ...)
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

void power_off(void)
{
	sync();
	tcdrain(STDOUT_FILENO);
	reboot(RB_POWER_OFF);
	for (;;)
		pause();
}

void fail(const char *fmt, ...)
{
	char why[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	report("fail %s", why);
	power_off();
}

ssize_t read_file(const char *path, void *buf, size_t size)
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

char *read_all(const char *path)
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

long long now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000LL + ts.tv_nsec / 1000000;
}

static int wait_until(const char *name, bool there)
{
	char buf[4096] __attribute__((aligned(8)));
	long long end = now_ms() + WAIT_MS;
	char path[64];
	int fd, rc = -ETIMEDOUT;

	snprintf(path, sizeof(path), "/dev/%s", name);
	fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (fd < 0)
		return -errno;
	if (inotify_add_watch(fd, "/dev", there ? IN_CREATE : IN_DELETE) < 0) {
		rc = -errno;
		goto out;
	}
	for (;;) {
		struct pollfd pfd = { .fd = fd, .events = POLLIN };
		long long left = end - now_ms();

		if (!access(path, F_OK) == there) {
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

int wait_for_node(const char *name)
{
	return wait_until(name, true);
}

int wait_for_no_node(const char *name)
{
	return wait_until(name, false);
}
