/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Programs that init runs: tests, and VMMs, whose guests may ask for something.
 *
 * A guest asks with a line of its reports, "@TAG WORD ...":
 *
 *	hold		wait for all guests that run at the same time, and report
 *			the facts about them
 *	kill		kill the VMM, then test that the kernel has freed everything
 *	poweroff	power the host off, while the VMM runs
 *	reboot N	may the guest reboot, because it has done so less than N
 *			times? The answer is y or n
 *	unplug ID	request that the guest gives up the device of the VMM that
 *			has this id
 *	plug ID		wait until it is gone, and plug it in again
 *	update		let the VMM execute itself and keep the guest (QEMU's cpr-exec)
 *
 * Except to "kill" and "poweroff", the answer is a line on the VMM's input.
 */
#ifndef __SELFTEST_IOMMU_QEMU_PROGRAM_H
#define __SELFTEST_IOMMU_QEMU_PROGRAM_H

#define MAX_VMMS	4

/* The root file system, where VMMs run */
#define ROOT		"/root"
/* The thread that consumes the commands of a guest */
#define WORKER		"arm-vcmdq"

/* The time limit of each program, in seconds */
extern unsigned int run_timeout;

/* Run a program and pass on its output */
void run_test(char **argv);
/*
 * Run VMMs in the root file system at the same time. @names are unique. The
 * output of more than a single VMM appears VMM by VMM, as they end.
 */
void run_vmms(const char **names, char ***argvs, unsigned int num);

/*
 * Test that the VMMs have left nothing: no pinned page and no worker, and page
 * tables that take no more memory than at the first call
 */
void test_left(void);

/* The FIFOs of a VMM's QMP, @path.in and @path.out */
void qmp_start(const char *path);
void qmp_stop(void);
/*
 * qmp_unplug() requests that the guest gives up the device with this id. qmp_plug()
 * waits until the VMM has removed it, and plugs it in: @device is the argument of
 * "-device". Return: 0 or a negative errno, after a report.
 */
int qmp_unplug(const char *path, const char *id);
int qmp_plug(const char *device);
/*
 * Let the VMM with the arguments @argv execute itself, and continue with the
 * guest. Return: 0 or a negative errno, after a report
 */
int qmp_update(const char *path, char **argv);

#endif
