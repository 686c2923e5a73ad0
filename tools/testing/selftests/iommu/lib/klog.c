// SPDX-License-Identifier: GPL-2.0-only
/* See klog.h */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/klog.h>

#include "host.h"
#include "klog.h"
#include "random.h"

#define SYSLOG_READ_ALL		3
#define SYSLOG_SIZE_BUFFER	10

static char klog_marker[128];

void klog_mark(const char *name)
{
	char line[192];

	snprintf(klog_marker, sizeof(klog_marker), "%s %016llx", name,
		 (unsigned long long)random_u64());
	snprintf(line, sizeof(line), "<6>selftest: %s\n", klog_marker);
	write_str("/dev/kmsg", line);
}

char *klog_read(bool since_mark)
{
	int size = klogctl(SYSLOG_SIZE_BUFFER, NULL, 0);
	char *log, *mark;
	int len;

	log = calloc(1, size > 0 ? size + 1 : 1);
	if (!log || size <= 0)
		return log;
	len = klogctl(SYSLOG_READ_ALL, log, size);
	log[len > 0 ? len : 0] = 0;
	/* If the mark has been overwritten, all of the log is younger */
	mark = since_mark ? strstr(log, klog_marker) : NULL;
	if (mark)
		memmove(log, mark, strlen(mark) + 1);
	return log;
}

unsigned int klog_count(const char *str)
{
	char *log = klog_read(true), *at = log;
	unsigned int n = 0;

	while (at && (at = strstr(at, str))) {
		at += strlen(str);
		n++;
	}
	free(log);
	return n;
}
