/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Reports of init: lines of its own, TAP of the tests that it contains itself, and
 * the end. With it come the files and the clock that everything in init uses.
 *
 * A line of init's own is "@TAG WORD ...", and anything else is the output of a
 * program. Output of the program NAME stands between "@TAG run NAME" and
 * "@TAG exit NAME HOW". Other words, which the awk programs here read:
 *
 *	boot, done		the first and the last report of a machine
 *	fail WHY		the last report in place of "done"
 *	note TEXT		for the reader
 *	device, group, verified, msi, dma, event, version, vfio, table, pagetables,
 *	exits, workers, invalidations, reads, idle, flooded
 *				facts about devices and guests, see init.c, program.c
 *				and probe.c
 *	hold, kill, poweroff, reboot, unplug, plug
 *				a guest asks for something, see program.h
 */
#ifndef __SELFTEST_IOMMU_QEMU_REPORT_H
#define __SELFTEST_IOMMU_QEMU_REPORT_H

#include <stddef.h>
#include <sys/types.h>

/* The name that reports carry */
extern const char *tag;
/* The port that they go to, or the console */
extern int report_fd;

void write_all(int fd, const char *buf, size_t len);
void __attribute__((format(printf, 1, 2))) report(const char *fmt, ...);
/* A line of TAP, as any other test program would write it */
void __attribute__((format(printf, 1, 2))) tap(const char *fmt, ...);
/* Report something that needs an answer. Return: its first character */
char __attribute__((format(printf, 1, 2))) ask(const char *fmt, ...);
_Noreturn void power_off(void);
/* Report that this machine cannot go on, and power off */
void __attribute__((noreturn, format(printf, 1, 2))) fail(const char *fmt, ...);

/* Return: the number of bytes read, at most @size, or a negative errno */
ssize_t read_file(const char *path, void *buf, size_t size);
/* A whole file of unknown size. The caller frees it */
char *read_all(const char *path);

long long now_ms(void);
/* A longer wait is in vain, even on a busy machine */
#define WAIT_MS		60000LL
/* Wait for a device node, which devtmpfs makes when its driver is ready */
int wait_for_node(const char *name);
/* Wait until it is gone with its driver */
int wait_for_no_node(const char *name);

#endif
