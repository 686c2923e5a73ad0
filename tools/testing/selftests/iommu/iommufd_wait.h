/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Calls that have to wait, each in a thread of its own: for a page of user
 * memory that the test provides, or at a gate of the mock driver.
 */
#ifndef __SELFTEST_IOMMUFD_WAIT_H
#define __SELFTEST_IOMMUFD_WAIT_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/syscall.h>

#include "iommufd_calls.h"
#include "slow_page.h"

/*
 * Seconds that a call may take if it must not wait for a blocked call. A grace
 * period may take several of them on a busy machine. A call that has missed its
 * wakeup waits for a minute, or for ever.
 */
#define SOON	30

/* An ioctl in a thread of its own */
struct call {
	pthread_t thread;
	int fd;
	unsigned long cmd;
	void *arg;
	atomic_int tid;
	atomic_bool done;
	int rc;
	double took;
	bool joined;
};

static void *call_thread(void *arg)
{
	struct call *call = arg;
	double start = now();

	call->tid = syscall(SYS_gettid);
	call->rc = iommufd_ioctl(call->fd, call->cmd, call->arg);
	call->took = now() - start;
	call->done = true;
	return NULL;
}

static void call_start(struct call *call, int fd, unsigned long cmd, void *arg)
{
	*call = (struct call){ .fd = fd, .cmd = cmd, .arg = arg };
	assert(!pthread_create(&call->thread, NULL, call_thread, call));
}

static int call_join(struct call *call)
{
	assert(!pthread_join(call->thread, NULL));
	return call->rc;
}

/* The state in /proc, or 0 if it is unknown */
static char task_state(int tid)
{
	char path[64], state = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
	f = fopen(path, "r");
	if (!f)
		return 0;
	if (fscanf(f, "%*d (%*[^)]) %c", &state) != 1)
		state = 0;
	fclose(f);
	return state;
}

/* Return: whether the thread soon gets into this state */
static bool call_gets(struct call *call, char state)
{
	double end = now() + SOON;

	while (now() < end) {
		if (call->tid && task_state(call->tid) == state)
			return true;
		usleep(1000);
	}
	return false;
}

/*
 * Return: whether the call returns within this time. If not, call_join() must
 * follow.
 */
static bool call_join_within(struct call *call, unsigned int seconds)
{
	struct timespec end;

	assert(!clock_gettime(CLOCK_REALTIME, &end));
	end.tv_sec += seconds;
	return !pthread_timedjoin_np(call->thread, NULL, &end);
}

static int call_join_again(struct call *call)
{
	return call->joined ? call->rc : call_join(call);
}

/* Whether the thread sleeps */
static bool task_sleeps(int tid)
{
	char state = task_state(tid);

	return state == 'S' || state == 'D';
}

/* Return: false if the state is unknown, or if the thread stays awake */
static bool wait_till_asleep(const atomic_int *tid)
{
	double end = now() + SOON;

	while (now() < end) {
		if (*tid && task_sleeps(*tid))
			return true;
		usleep(1000);
	}
	return false;
}

/*
 * Whether a call waits for something. A thread that sleeps for so long, on a
 * machine that is otherwise idle, is not about to return. False if the call has
 * returned.
 */
static bool call_waits(const struct call *call)
{
	double end = now() + SOON;
	unsigned int asleep = 0;

	while (asleep < 50 && now() < end) {
		if (call->done)
			return false;
		asleep = call->tid && task_sleeps(call->tid) ? asleep + 1 : 0;
		usleep(1000);
	}
	return asleep == 50;
}

/* A read() in a thread of its own */
struct reading {
	pthread_t thread;
	int fd;
	void *buf;
	size_t count;
	atomic_int tid;
	ssize_t rc;
};

static void *reading_thread(void *arg)
{
	struct reading *reading = arg;

	reading->tid = syscall(SYS_gettid);
	reading->rc = read(reading->fd, reading->buf, reading->count);
	if (reading->rc < 0)
		reading->rc = -errno;
	return NULL;
}

static void reading_start(struct reading *reading, int fd, void *buf,
			  size_t count)
{
	*reading = (struct reading){ .fd = fd, .buf = buf, .count = count };
	assert(!pthread_create(&reading->thread, NULL, reading_thread,
			       reading));
}

static ssize_t reading_join(struct reading *reading)
{
	assert(!pthread_join(reading->thread, NULL));
	return reading->rc;
}

/* The same for a write() */
static void *writing_thread(void *arg)
{
	struct reading *writing = arg;

	writing->tid = syscall(SYS_gettid);
	writing->rc = write(writing->fd, writing->buf, writing->count);
	if (writing->rc < 0)
		writing->rc = -errno;
	return NULL;
}

static void writing_start(struct reading *writing, int fd, void *buf,
			  size_t count)
{
	*writing = (struct reading){ .fd = fd, .buf = buf, .count = count };
	assert(!pthread_create(&writing->thread, NULL, writing_thread,
			       writing));
}

/*
 * Threads that are held up at a gate of a mock device (see
 * iommufd_test_viommu.h) until the test has seen the effect on others
 */
static int gates(int fd, __u32 dev_id, __u32 closed, __u32 *waiting)
{
	struct iommu_test_cmd cmd = {
		.size = sizeof(cmd),
		.op = IOMMU_TEST_OP_DEV_GATE,
		.id = dev_id,
		.dev_gate = { .closed = closed },
	};
	int rc = iommufd_ioctl(fd, _IOMMU_TEST_CMD(IOMMU_TEST_OP_DEV_GATE),
			       &cmd);

	if (waiting)
		*waiting = cmd.dev_gate.out_waiting;
	return rc;
}

static int close_gate(int fd, __u32 dev_id, __u32 which)
{
	return gates(fd, dev_id, which, NULL);
}

static int open_gates(int fd, __u32 dev_id)
{
	return gates(fd, dev_id, 0, NULL);
}

static bool wait_till_held_up(int fd, __u32 dev_id)
{
	double end = now() + SOON;
	__u32 waiting;

	while (now() < end) {
		if (gates(fd, dev_id, MOCK_GATE_QUERY, &waiting))
			return false;
		if (waiting == 1)
			return true;
		usleep(1000);
	}
	return false;
}

static struct iommu_test_cmd replace_cmd(const struct mock *dev, __u32 pt_id)
{
	return (struct iommu_test_cmd){
		.size = sizeof(struct iommu_test_cmd),
		.op = IOMMU_TEST_OP_MOCK_DOMAIN_REPLACE,
		.id = dev->stdev,
		.mock_domain_replace = { .pt_id = pt_id },
	};
}

#define REPLACE	_IOMMU_TEST_CMD(IOMMU_TEST_OP_MOCK_DOMAIN_REPLACE)

/* The number that the next file gets */
static int next_fd(void)
{
	int fd = dup(0);

	assert(fd >= 0);
	close(fd);
	return fd;
}

/* The ID that the next object gets */
static __u32 next_id(int fd)
{
	__u32 id;

	assert(!ioas_alloc(fd, &id) && !destroy(fd, id));
	return id;
}

#endif
