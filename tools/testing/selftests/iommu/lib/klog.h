/* SPDX-License-Identifier: GPL-2.0-only */
/* The kernel log, as far as a test has caused it */
#ifndef __SELFTEST_IOMMU_LIB_KLOG_H
#define __SELFTEST_IOMMU_LIB_KLOG_H

#include <stdbool.h>

/* Write a line with @name and a random number to the log */
void klog_mark(const char *name);
/* The log, all of it or since the last klog_mark(). The caller frees it. */
char *klog_read(bool since_mark);
/* The number of times that @str is in the log since the mark */
unsigned int klog_count(const char *str);

#endif
