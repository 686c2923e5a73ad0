/* SPDX-License-Identifier: GPL-2.0-only */
/* Judge the kernel log after a test. Include this after kselftest_harness.h */
#ifndef __SELFTEST_IOMMU_KLOG_EXPECT_H
#define __SELFTEST_IOMMU_KLOG_EXPECT_H

#include <stdlib.h>
#include <string.h>

#include "lib/klog.h"

/* None of the messages may be in the kernel log since klog_mark() */
static void expect_not_in_klog(struct __test_metadata *_metadata,
			       const char *const *bad, size_t num)
{
	char *log = klog_read(true);
	size_t i;

	if (!log)
		return;
	for (i = 0; i != num; i++) {
		char *at = strstr(log, bad[i]);

		EXPECT_EQ(NULL, at) {
			TH_LOG("kernel log: %.200s", at);
		}
	}
	free(log);
}

#endif
