// SPDX-License-Identifier: GPL-2.0-only
/*
 * Page faults of PASIDs that user space attaches, against the mock IOMMU driver:
 * the queue that gets them, and their answers when a PASID moves.
 */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/resource.h>

#define __EXPORTED_HEADERS__
#include "iommufd_utils.h"
#include "iommufd_pasid.h"
#include "lib/ioctl.h"

/*
 * Page faults. There are two queues, each with a HWPT for PASIDs, and a HWPT
 * for PASIDs that has no queue.
 */
FIXTURE(pasid_fault)
{
	int fd;
	__u32 ioas;
	struct mock dev;
	__u32 fault[2];
	int faults[2];
	__u32 hwpt[2];
	__u32 quiet;
};

FIXTURE_SETUP(pasid_fault)
{
	unsigned int i;

	self->fd = open("/dev/iommu", O_RDWR);
	ASSERT_NE(-1, self->fd);
	ASSERT_EQ(0, err(_test_ioctl_ioas_alloc(self->fd, &self->ioas)));
	ASSERT_EQ(0, plug(self->fd, 0, MOCK_FLAGS_DEVICE_PASID |
			  MOCK_FLAGS_DEVICE_DETACHED, &self->dev));
	for (i = 0; i != 2; i++) {
		__u32 fd = -1;

		ASSERT_EQ(0, err(_test_ioctl_fault_alloc(self->fd,
							 &self->fault[i],
							 &fd)));
		self->faults[i] = fd;
		ASSERT_EQ(0, fault_hwpt_alloc(self->fd, self->dev.id,
					      self->ioas,
					      IOMMU_HWPT_ALLOC_PASID,
					      self->fault[i],
					      &self->hwpt[i]));
	}
	ASSERT_EQ(0, hwpt_alloc(self->fd, self->dev.id, self->ioas,
				IOMMU_HWPT_ALLOC_PASID, &self->quiet));
}

FIXTURE_TEARDOWN(pasid_fault)
{
	close(self->faults[0]);
	close(self->faults[1]);
	teardown_iommufd(self->fd, _metadata);
}

static int trigger(int fd, const struct mock *dev, __u32 pasid, __u32 grpid)
{
	struct iommu_test_cmd cmd = {
		.op = IOMMU_TEST_OP_TRIGGER_IOPF,
		.trigger_iopf = { .dev_id = dev->id, .pasid = pasid,
				  .grpid = grpid, .addr = 0x1000 },
	};

	return test_op(fd, &cmd);
}

static bool has_fault(int faults)
{
	struct pollfd pfd = { .fd = faults, .events = POLLIN };

	return poll(&pfd, 1, 0) == 1 && pfd.revents & POLLIN;
}

/* Whether the next fault is the given fault of this device and PASID */
static bool next_is(int faults, const struct mock *dev, __u32 pasid,
		    __u32 grpid, __u32 *cookie)
{
	struct iommu_hwpt_pgfault msg = {};

	if (!has_fault(faults) || read(faults, &msg, sizeof(msg)) != sizeof(msg))
		return false;
	*cookie = msg.cookie;
	return msg.dev_id == dev->id && msg.grpid == grpid &&
	       msg.flags == (IOMMU_PGFAULT_FLAGS_LAST_PAGE |
			     IOMMU_PGFAULT_FLAGS_PASID_VALID) &&
	       msg.pasid == pasid && msg.addr == 0x1000;
}

static int answer(int faults, __u32 cookie)
{
	struct iommu_hwpt_page_response resp = {
		.cookie = cookie,
		.code = IOMMUFD_PAGE_RESP_SUCCESS,
	};

	return write(faults, &resp, sizeof(resp)) == sizeof(resp) ? 0 : -errno;
}

static bool faults_are(int fd, const struct mock *dev, __u32 pending,
		       __u32 success, __u32 invalid)
{
	struct iommu_test_cmd cmd = {
		.op = IOMMU_TEST_OP_DEV_GET_IOPF,
		.id = dev->id,
	};

	return !test_op(fd, &cmd) && cmd.dev_get_iopf.out_pending == pending &&
	       cmd.dev_get_iopf.out_success == success &&
	       cmd.dev_get_iopf.out_invalid == invalid;
}

TEST_F(pasid_fault, delivered)
{
	__u32 cookie[2];

	ASSERT_EQ(0, attach(self->fd, &self->dev, 1, self->hwpt[0]));
	ASSERT_EQ(0, attach(self->fd, &self->dev, 2, self->hwpt[1]));
	ASSERT_EQ(0, attach(self->fd, &self->dev, 3, self->quiet));
	ASSERT_EQ(0, trigger(self->fd, &self->dev, 1, 11));
	ASSERT_EQ(0, trigger(self->fd, &self->dev, 2, 12));
	/* The device is found, although its RID is attached to nothing */
	EXPECT_TRUE(next_is(self->faults[0], &self->dev, 1, 11, &cookie[0]));
	EXPECT_TRUE(next_is(self->faults[1], &self->dev, 2, 12, &cookie[1]));
	EXPECT_TRUE(faults_are(self->fd, &self->dev, 2, 0, 0));
	EXPECT_EQ(-EINVAL, answer(self->faults[1], cookie[0] + 100));
	EXPECT_EQ(0, answer(self->faults[0], cookie[0]));
	EXPECT_EQ(0, answer(self->faults[1], cookie[1]));
	EXPECT_TRUE(faults_are(self->fd, &self->dev, 0, 2, 0));

	/* These have no queue */
	ASSERT_EQ(0, trigger(self->fd, &self->dev, 3, 13));
	ASSERT_EQ(0, trigger(self->fd, &self->dev, 4, 14));
	ASSERT_EQ(0, trigger(self->fd, &self->dev, 0, 15));
	EXPECT_FALSE(has_fault(self->faults[0]));
	EXPECT_FALSE(has_fault(self->faults[1]));
	EXPECT_TRUE(faults_are(self->fd, &self->dev, 0, 2, 3));
}

/* A detach answers faults in the queue, and faults that were read */
TEST_F(pasid_fault, detach_answers)
{
	__u32 cookie, other;

	ASSERT_EQ(0, attach(self->fd, &self->dev, 1, self->hwpt[0]));
	ASSERT_EQ(0, attach(self->fd, &self->dev, 2, self->hwpt[0]));
	ASSERT_EQ(0, trigger(self->fd, &self->dev, 1, 11));
	ASSERT_EQ(0, trigger(self->fd, &self->dev, 2, 12));
	EXPECT_TRUE(next_is(self->faults[0], &self->dev, 1, 11, &cookie));
	EXPECT_TRUE(next_is(self->faults[0], &self->dev, 2, 12, &other));
	ASSERT_EQ(0, trigger(self->fd, &self->dev, 1, 13));
	EXPECT_EQ(0, detach(self->fd, &self->dev, 1));
	EXPECT_TRUE(faults_are(self->fd, &self->dev, 1, 0, 2));
	EXPECT_FALSE(has_fault(self->faults[0]));
	EXPECT_EQ(-EINVAL, answer(self->faults[0], cookie));
	/* The faults of another PASID stay */
	EXPECT_EQ(0, answer(self->faults[0], other));
	ASSERT_EQ(0, trigger(self->fd, &self->dev, 2, 14));
	EXPECT_TRUE(next_is(self->faults[0], &self->dev, 2, 14, &other));
	/* The faults of a device that is unplugged do not */
	EXPECT_EQ(0, destroy(self->fd, self->dev.stdev));
	EXPECT_EQ(-EINVAL, answer(self->faults[0], other));
	EXPECT_EQ(0, destroy(self->fd, self->hwpt[0]));
}

/* How often this thread has had to wait */
static long waits(void)
{
	struct rusage usage;

	return getrusage(RUSAGE_THREAD, &usage) ? -1 : usage.ru_nvcsw;
}

/*
 * A driver that is done with the device detaches all PASIDs: their faults are
 * answered, after one wait for reports and not one for each PASID
 */
TEST_F(pasid_fault, unplug_answers)
{
	unsigned int i;
	__u32 cookie;
	long before;

	for (i = 1; i <= GROUP_PASIDS; i++)
		ASSERT_EQ(0, attach(self->fd, &self->dev, i,
				    self->hwpt[i % 2]));
	ASSERT_EQ(0, trigger(self->fd, &self->dev, 2, 11));
	ASSERT_EQ(0, trigger(self->fd, &self->dev, 4, 12));
	ASSERT_EQ(0, trigger(self->fd, &self->dev, 1, 13));
	EXPECT_TRUE(next_is(self->faults[0], &self->dev, 2, 11, &cookie));

	before = waits();
	EXPECT_EQ(0, destroy(self->fd, self->dev.stdev));
	EXPECT_GT(GROUP_PASIDS / 2, waits() - before);
	EXPECT_EQ(-EINVAL, answer(self->faults[0], cookie));
	EXPECT_FALSE(has_fault(self->faults[0]));
	EXPECT_FALSE(has_fault(self->faults[1]));
	EXPECT_EQ(0, destroy(self->fd, self->hwpt[0]));
	EXPECT_EQ(0, destroy(self->fd, self->hwpt[1]));
}

TEST_F(pasid_fault, replace_answers)
{
	__u32 cookie;

	ASSERT_EQ(0, attach(self->fd, &self->dev, 1, self->hwpt[0]));
	ASSERT_EQ(0, trigger(self->fd, &self->dev, 1, 11));
	EXPECT_EQ(0, replace(self->fd, &self->dev, 1, self->hwpt[1]));
	EXPECT_FALSE(has_fault(self->faults[0]));
	EXPECT_TRUE(faults_are(self->fd, &self->dev, 0, 0, 1));
	ASSERT_EQ(0, trigger(self->fd, &self->dev, 1, 12));
	EXPECT_TRUE(next_is(self->faults[1], &self->dev, 1, 12, &cookie));
	EXPECT_EQ(0, replace(self->fd, &self->dev, 1, self->quiet));
	EXPECT_EQ(-EINVAL, answer(self->faults[1], cookie));
	EXPECT_TRUE(faults_are(self->fd, &self->dev, 0, 0, 2));
	ASSERT_EQ(0, trigger(self->fd, &self->dev, 1, 13));
	EXPECT_TRUE(faults_are(self->fd, &self->dev, 0, 0, 3));
	/* Page faults are enabled again */
	EXPECT_EQ(0, replace(self->fd, &self->dev, 1, self->hwpt[0]));
	ASSERT_EQ(0, trigger(self->fd, &self->dev, 1, 14));
	EXPECT_TRUE(next_is(self->faults[0], &self->dev, 1, 14, &cookie));
	EXPECT_EQ(0, answer(self->faults[0], cookie));
	EXPECT_TRUE(faults_are(self->fd, &self->dev, 0, 1, 3));
	EXPECT_EQ(0, destroy(self->fd, self->hwpt[1]));
}

/* A PASID that fails to move keeps its queue and its faults */
TEST_F(pasid_fault, replace_fails)
{
	const __u32 pasid = IOMMU_TEST_PASID_RESERVED;
	__u32 cookie;

	ASSERT_EQ(0, attach(self->fd, &self->dev, pasid, self->hwpt[0]));
	ASSERT_EQ(0, trigger(self->fd, &self->dev, pasid, 11));
	EXPECT_EQ(-ENOMEM, replace(self->fd, &self->dev, pasid, self->quiet));
	EXPECT_TRUE(next_is(self->faults[0], &self->dev, pasid, 11, &cookie));
	EXPECT_EQ(0, answer(self->faults[0], cookie));
	EXPECT_EQ(0, replace(self->fd, &self->dev, pasid, self->quiet));
	EXPECT_EQ(-ENOMEM, replace(self->fd, &self->dev, pasid, self->hwpt[0]));
	/* Page faults are off: they were enabled for the attach only */
	ASSERT_EQ(0, trigger(self->fd, &self->dev, pasid, 12));
	EXPECT_TRUE(faults_are(self->fd, &self->dev, 0, 1, 1));
}

/* The RID and the PASIDs do not disable each other's page faults */
TEST_F(pasid_fault, beside_the_rid)
{
	__u32 cookie;

	ASSERT_EQ(0, attach_rid(self->fd, &self->dev, self->hwpt[0]));
	ASSERT_EQ(0, attach(self->fd, &self->dev, 1, self->hwpt[1]));
	ASSERT_EQ(0, attach(self->fd, &self->dev, 2, self->quiet));
	EXPECT_EQ(0, detach(self->fd, &self->dev, 1));
	EXPECT_EQ(0, attach(self->fd, &self->dev, 1, self->hwpt[1]));
	ASSERT_EQ(0, attach_rid(self->fd, &self->dev, self->quiet));
	ASSERT_EQ(0, trigger(self->fd, &self->dev, 1, 11));
	EXPECT_TRUE(next_is(self->faults[1], &self->dev, 1, 11, &cookie));
	EXPECT_EQ(0, answer(self->faults[1], cookie));
	ASSERT_EQ(0, attach_rid(self->fd, &self->dev, self->hwpt[0]));
	ASSERT_EQ(0, trigger(self->fd, &self->dev, 2, 12));
	EXPECT_FALSE(has_fault(self->faults[0]));
	EXPECT_TRUE(faults_are(self->fd, &self->dev, 0, 1, 1));
}

static int gates(int fd, const struct mock *dev, __u32 closed, __u32 *waiting)
{
	struct iommu_test_cmd cmd = {
		.op = IOMMU_TEST_OP_DEV_GATE,
		.id = dev->id,
		.dev_gate = { .closed = closed },
	};
	int rc = test_op(fd, &cmd);

	if (waiting)
		*waiting = cmd.dev_gate.out_waiting;
	return rc;
}

/* Wait until a thread is held up at a gate */
static bool wait_for_waiting(int fd, const struct mock *dev)
{
	unsigned int i;
	__u32 waiting;

	for (i = 0; i != 30000; i++) {
		if (gates(fd, dev, MOCK_GATE_QUERY, &waiting))
			return false;
		if (waiting == 1)
			return true;
		usleep(1000);
	}
	return false;
}

/* A call in a thread of its own */
struct call {
	int fd;
	const struct mock *dev;
	__u32 arg;
	int (*func)(int fd, const struct mock *dev, __u32 pasid, __u32 arg);
	int rc;
	pid_t tid;
	bool done;
	pthread_t thread;
};

static void *call_thread(void *arg)
{
	struct call *call = arg;

	__atomic_store_n(&call->tid, gettid(), __ATOMIC_SEQ_CST);
	call->rc = call->func(call->fd, call->dev, 1, call->arg);
	__atomic_store_n(&call->done, true, __ATOMIC_SEQ_CST);
	return NULL;
}

static int call_start(struct call *call)
{
	return pthread_create(&call->thread, NULL, call_thread, call);
}

static int call_join(struct call *call)
{
	pthread_join(call->thread, NULL);
	return call->rc;
}

static bool task_sleeps(pid_t tid)
{
	char path[64], line[256] = "", *state;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
	f = fopen(path, "re");
	if (!f)
		return false;
	if (!fgets(line, sizeof(line), f))
		line[0] = '\0';
	fclose(f);
	state = strrchr(line, ')');
	return state && (state[2] == 'S' || state[2] == 'D');
}

/*
 * Whether the call waits. A thread that sleeps at each of several checks,
 * although it has a CPU to run on, is not about to return. False if the call
 * has returned.
 */
static bool call_waits(struct call *call)
{
	unsigned int i, asleep = 0;

	for (i = 0; asleep < 50 && i != 30000; i++) {
		pid_t tid = __atomic_load_n(&call->tid, __ATOMIC_SEQ_CST);

		if (__atomic_load_n(&call->done, __ATOMIC_SEQ_CST))
			return false;
		asleep = tid && task_sleeps(tid) ? asleep + 1 : 0;
		usleep(1000);
	}
	return asleep == 50;
}

static int call_detach(int fd, const struct mock *dev, __u32 pasid, __u32 arg)
{
	return detach(fd, dev, pasid);
}

static int call_unplug(int fd, const struct mock *dev, __u32 pasid, __u32 arg)
{
	return destroy(fd, dev->stdev);
}

/*
 * A report has found the attach handle, and has not used it yet. A call that
 * removes the PASID from the HWPT must wait: the handle must not be freed, and
 * the fault must not be left behind.
 */
static void report_meets(struct __test_metadata *_metadata,
			 struct _test_data_pasid_fault *self,
			 int (*func)(int, const struct mock *, __u32, __u32))
{
	struct call report = {
		.fd = self->fd, .dev = &self->dev, .arg = 11, .func = trigger,
	};
	struct call change = {
		.fd = self->fd, .dev = &self->dev, .arg = self->quiet,
		.func = func,
	};

	ASSERT_EQ(0, attach(self->fd, &self->dev, 1, self->hwpt[0]));
	ASSERT_EQ(0, gates(self->fd, &self->dev, MOCK_GATE_FAULT, NULL));
	ASSERT_EQ(0, call_start(&report));
	EXPECT_TRUE(wait_for_waiting(self->fd, &self->dev));
	ASSERT_EQ(0, call_start(&change));
	EXPECT_TRUE(call_waits(&change));
	EXPECT_EQ(0, gates(self->fd, &self->dev, 0, NULL));
	EXPECT_EQ(0, call_join(&report));
	EXPECT_EQ(0, call_join(&change));
	EXPECT_FALSE(has_fault(self->faults[0]));
	EXPECT_EQ(0, destroy(self->fd, self->hwpt[0]));
}

TEST_F(pasid_fault, report_meets_detach)
{
	report_meets(_metadata, self, call_detach);
	EXPECT_TRUE(faults_are(self->fd, &self->dev, 0, 0, 1));
}

TEST_F(pasid_fault, report_meets_replace)
{
	report_meets(_metadata, self, replace);
	EXPECT_TRUE(faults_are(self->fd, &self->dev, 0, 0, 1));
	EXPECT_TRUE(is_at(self->fd, &self->dev, 1, self->quiet));
}

TEST_F(pasid_fault, report_meets_unplug)
{
	report_meets(_metadata, self, call_unplug);
}

/* A fault in the middle of a change belongs to the old HWPT, if any */
TEST_F(pasid_fault, during_attach)
{
	struct call change = {
		.fd = self->fd, .dev = &self->dev, .arg = self->hwpt[0],
		.func = attach,
	};
	__u32 cookie;

	ASSERT_EQ(0, gates(self->fd, &self->dev, MOCK_GATE_ATTACH, NULL));
	ASSERT_EQ(0, call_start(&change));
	EXPECT_TRUE(wait_for_waiting(self->fd, &self->dev));
	EXPECT_EQ(0, trigger(self->fd, &self->dev, 1, 11));
	EXPECT_TRUE(faults_are(self->fd, &self->dev, 0, 0, 1));
	EXPECT_EQ(0, gates(self->fd, &self->dev, 0, NULL));
	EXPECT_EQ(0, call_join(&change));
	EXPECT_FALSE(has_fault(self->faults[0]));

	change.func = replace;
	change.arg = self->hwpt[1];
	change.done = false;
	ASSERT_EQ(0, gates(self->fd, &self->dev, MOCK_GATE_ATTACH, NULL));
	ASSERT_EQ(0, call_start(&change));
	EXPECT_TRUE(wait_for_waiting(self->fd, &self->dev));
	EXPECT_EQ(0, trigger(self->fd, &self->dev, 1, 12));
	EXPECT_TRUE(has_fault(self->faults[0]));
	EXPECT_EQ(0, gates(self->fd, &self->dev, 0, NULL));
	EXPECT_EQ(0, call_join(&change));
	EXPECT_FALSE(has_fault(self->faults[0]));
	EXPECT_FALSE(has_fault(self->faults[1]));
	EXPECT_TRUE(faults_are(self->fd, &self->dev, 0, 0, 2));
	EXPECT_EQ(0, trigger(self->fd, &self->dev, 1, 13));
	EXPECT_TRUE(next_is(self->faults[1], &self->dev, 1, 13, &cookie));
}

TEST_HARNESS_MAIN
