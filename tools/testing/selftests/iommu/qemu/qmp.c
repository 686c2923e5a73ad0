// SPDX-License-Identifier: GPL-2.0-only
/* Unplug and plug devices of a VMM by its QMP, and update it, see program.h */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/stat.h>

#include "program.h"
#include "report.h"

#define SECONDS		60

/* The state of a VMM that executes itself */
#define STATE		"/tmp/update.state"

/* The host has no sockets, so these are FIFOs. For a single VMM at a time */
static int qmp_in = -1, qmp_out = -1;
static char buf[16384];
static size_t buf_len;
/* The last message */
static char last[400];

/*
 * Wait for a message that contains @text. An error of QMP ends the wait, too.
 * An event cannot come before its wait, because the guest has to do its part
 * first.
 */
static int qmp_wait(const char *text)
{
	long long end = now_ms() + SECONDS * 1000LL;

	for (;;) {
		struct pollfd pfd = { .fd = qmp_out, .events = POLLIN };
		char *eol = memchr(buf, '\n', buf_len);
		long long left = end - now_ms();
		ssize_t n;

		if (eol) {
			bool found, bad;

			*eol = 0;
			snprintf(last, sizeof(last), "%.399s", buf);
			found = strstr(buf, text);
			bad = !strncmp(buf, "{\"error\"", 8);
			if (bad)
				report("note QMP: %s", buf);
			buf_len -= eol + 1 - buf;
			memmove(buf, eol + 1, buf_len);
			if (bad)
				return -EIO;
			if (found)
				return 0;
			continue;
		}
		if (left <= 0)
			return -ETIMEDOUT;
		if (buf_len == sizeof(buf))
			return -E2BIG;
		if (poll(&pfd, 1, left) <= 0)
			continue;
		n = read(qmp_out, buf + buf_len, sizeof(buf) - buf_len);
		if (n <= 0)
			return n ? -errno : -EPIPE;
		buf_len += n;
	}
}

static int qmp_cmd(const char *cmd)
{
	write_all(qmp_in, cmd, strlen(cmd));
	return qmp_wait("\"return\"");
}

void qmp_start(const char *path)
{
	char name[64];
	unsigned int i;

	for (i = 0; i < 2; i++) {
		snprintf(name, sizeof(name), "%s%s", path, i ? ".out" : ".in");
		if (mkfifo(name, 0600) && errno != EEXIST)
			fail("%s: %m", name);
	}
}

void qmp_stop(void)
{
	if (qmp_in >= 0)
		close(qmp_in);
	if (qmp_out >= 0)
		close(qmp_out);
	qmp_in = -1;
	qmp_out = -1;
}

static int qmp_greeted(void)
{
	int rc = qmp_wait("\"QMP\"");

	return rc ? rc : qmp_cmd("{\"execute\":\"qmp_capabilities\"}\n");
}

static int qmp_open(const char *path)
{
	char name[64];

	if (qmp_out >= 0)
		return 0;
	buf_len = 0;
	snprintf(name, sizeof(name), "%s.in", path);
	/* A VMM without QMP does not have them open */
	qmp_in = open(name, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
	if (qmp_in < 0)
		return -errno;
	snprintf(name, sizeof(name), "%s.out", path);
	/* O_RDWR: no end of file when the VMM executes itself */
	qmp_out = open(name, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (qmp_out < 0)
		return -errno;
	return qmp_greeted();
}

static int done(const char *what, int rc)
{
	if (rc)
		report("note QMP: %s: %s", what, strerror(-rc));
	return rc;
}

int qmp_unplug(const char *path, const char *id)
{
	char cmd[256];
	int rc;

	rc = qmp_open(path);
	snprintf(cmd, sizeof(cmd),
		 "{\"execute\":\"device_del\",\"arguments\":{\"id\":\"%s\"}}\n", id);
	return done("unplug", rc ? rc : qmp_cmd(cmd));
}

int qmp_plug(const char *device)
{
	char *copy = strdup(device), *rest = copy, *word;
	char cmd[1024];
	size_t len;
	int rc;

	rc = qmp_wait("\"DEVICE_DELETED\"");
	if (rc)
		return done("unplug", rc);
	len = snprintf(cmd, sizeof(cmd),
		       "{\"execute\":\"device_add\",\"arguments\":{\"driver\":\"%s\"",
		       strsep(&rest, ","));
	while (len < sizeof(cmd) && (word = strsep(&rest, ","))) {
		char *key = strsep(&word, "=");

		len += snprintf(cmd + len, sizeof(cmd) - len, ",\"%s\":\"%s\"",
				key, word ? word : "on");
	}
	if (len < sizeof(cmd))
		len += snprintf(cmd + len, sizeof(cmd) - len, "}}\n");
	free(copy);
	return done("plug", len >= sizeof(cmd) ? -E2BIG : qmp_cmd(cmd));
}

int qmp_update(const char *path, char **argv)
{
	static const char parameters[] =
		"{\"execute\":\"migrate-set-parameters\",\"arguments\":{\"mode\":\"cpr-exec\",";
	static const char migrate[] =
		"{\"execute\":\"migrate\",\"arguments\":{\"uri\":\"file:" STATE "\"}}\n";
	char cmd[8192];
	size_t len;
	int rc;

	len = snprintf(cmd, sizeof(cmd), "%s\"cpr-exec-command\":[", parameters);
	for (; *argv && len < sizeof(cmd); argv++)
		len += snprintf(cmd + len, sizeof(cmd) - len, "\"%s\",", *argv);
	if (len < sizeof(cmd))
		len += snprintf(cmd + len, sizeof(cmd) - len,
				"\"-incoming\",\"file:" STATE "\"]}}\n");
	if (len >= sizeof(cmd))
		return done("update", -E2BIG);
	rc = qmp_open(path) ?: qmp_cmd(cmd) ?: qmp_cmd(migrate);
	if (rc)
		return done("update", rc);
	/* The new VMM sends a greeting, or the old VMM knows the reason */
	rc = qmp_greeted();
	if (rc) {
		qmp_cmd("{\"execute\":\"query-migrate\"}\n");
		report("note QMP: %s", last);
	}
	return done("update", rc);
}
