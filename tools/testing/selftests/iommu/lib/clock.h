/* SPDX-License-Identifier: GPL-2.0-only */
/* Time for deadlines of the tests */
#ifndef __SELFTEST_IOMMU_LIB_CLOCK_H
#define __SELFTEST_IOMMU_LIB_CLOCK_H

#include <time.h>

/* Milliseconds until a wait fails that must succeed, on a very busy machine */
#define LATE_MS		60000

/* Seconds on a clock that never jumps */
static inline double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

#endif
