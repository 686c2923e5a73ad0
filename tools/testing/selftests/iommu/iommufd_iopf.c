// SPDX-License-Identifier: GPL-2.0-only
/*
 * Page faults below a nested HWPT or a HWPT on an IOAS, against the mock IOMMU
 * driver.
 */
#include <signal.h>
#include <sys/epoll.h>

#include "iommufd_vm.h"

TEST_F(iopf, pasids)
{
	static const __u32 pasids[] = { 0, 1, 5, (1u << MOCK_PASID_WIDTH) - 1 };
	__u32 cookie[ARRAY_SIZE(pasids)];
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(pasids); i++)
		EXPECT_EQ(0, fault(self->fd, self->dev, pasids[i], i + 3));
	EXPECT_TRUE(faults_are(self->fd, self->dev, 4, 0, 0));
	EXPECT_EQ(POLLIN, events_of(self->faults[0], 0));
	for (i = 0; i < ARRAY_SIZE(pasids); i++)
		EXPECT_EQ(0, read_fault(self->faults[0], self->dev, pasids[i],
					i + 3, &cookie[i]));
	EXPECT_EQ(0, events_of(self->faults[0], 0));
	EXPECT_EQ(0, events_of(self->faults[1], 0));

	/* The order of answers does not matter */
	for (i = ARRAY_SIZE(pasids); i--;)
		EXPECT_EQ(0, answer(self->faults[0], cookie[i],
				    i & 1 ? IOMMUFD_PAGE_RESP_SUCCESS :
					    IOMMUFD_PAGE_RESP_INVALID));
	EXPECT_TRUE(faults_are(self->fd, self->dev, 0, 2, 2));
	EXPECT_EQ(-EINVAL, answer(self->faults[0], cookie[0],
				  IOMMUFD_PAGE_RESP_SUCCESS));
}

/* If no HWPT takes the faults, the device gets its answers at once */
TEST_F(iopf, nobody_takes_them)
{
	/* A nested HWPT without a fault queue */
	ASSERT_EQ(0, attach(self->fd, &self->guest.dev, self->guest.nested));
	EXPECT_EQ(0, fault(self->fd, self->dev, 1, 1));
	EXPECT_EQ(0, fault(self->fd, self->dev, 0, 1));
	EXPECT_TRUE(faults_are(self->fd, self->dev, 0, 0, 2));

	/* The PASID table of a paging HWPT does not belong to the guest */
	ASSERT_EQ(0, attach(self->fd, &self->guest.dev, self->guest.parent));
	EXPECT_EQ(0, fault(self->fd, self->dev, 1, 1));
	EXPECT_EQ(0, fault(self->fd, self->dev, 0, 1));
	EXPECT_TRUE(faults_are(self->fd, self->dev, 0, 0, 4));
	EXPECT_EQ(0, events_of(self->faults[0], 0));

	/* And back */
	ASSERT_EQ(0, attach(self->fd, &self->guest.dev, self->nested[0]));
	EXPECT_EQ(0, fault(self->fd, self->dev, 1, 1));
	EXPECT_TRUE(faults_are(self->fd, self->dev, 1, 0, 4));
}

/*
 * Leave some faults that have been read, and some that have not. The device
 * must get an answer for each of them.
 */
static int leave_faults(int fd, __u32 dev_id, int faults_fd, __u32 *cookie)
{
	unsigned int i;
	int rc = 0;

	for (i = 0; !rc && i < 4; i++)
		rc = fault(fd, dev_id, i & 1, i);
	for (i = 0; !rc && i < 2; i++)
		rc = read_fault(faults_fd, dev_id, i & 1, i, cookie);
	return rc;
}

TEST_F(iopf, detach_answers)
{
	__u32 cookie;

	ASSERT_EQ(0, leave_faults(self->fd, self->dev, self->faults[0],
				  &cookie));
	EXPECT_TRUE(faults_are(self->fd, self->dev, 4, 0, 0));
	EXPECT_EQ(-EBUSY, destroy(self->fd, self->nested[0]));
	ASSERT_EQ(0, attach(self->fd, &self->guest.dev, self->guest.ioas));
	EXPECT_TRUE(faults_are(self->fd, self->dev, 0, 0, 4));
	EXPECT_EQ(0, events_of(self->faults[0], 0));
	EXPECT_EQ(-EINVAL, answer(self->faults[0], cookie,
				  IOMMUFD_PAGE_RESP_SUCCESS));
	EXPECT_TRUE(faults_are(self->fd, self->dev, 0, 0, 4));

	/* The file and the HWPT hold the queue */
	EXPECT_EQ(-EBUSY, destroy(self->fd, self->fault[0]));
	EXPECT_EQ(0, destroy(self->fd, self->nested[0]));
	EXPECT_EQ(-EBUSY, destroy(self->fd, self->fault[0]));
	EXPECT_EQ(0, close(self->faults[0]));
	EXPECT_EQ(0, destroy(self->fd, self->fault[0]));
}

TEST_F(iopf, unplug_answers)
{
	__u32 cookie;

	ASSERT_EQ(0, leave_faults(self->fd, self->dev, self->faults[0],
				  &cookie));
	ASSERT_EQ(0, destroy(self->fd, self->guest.dev.stdev));
	EXPECT_EQ(0, events_of(self->faults[0], 0));
	EXPECT_EQ(-EINVAL, answer(self->faults[0], cookie,
				  IOMMUFD_PAGE_RESP_SUCCESS));
	EXPECT_EQ(0, destroy(self->fd, self->nested[0]));
}

/* Replace a HWPT with a queue by HWPTs with another and with the same queue */
TEST_F(iopf, replace_answers)
{
	__u32 cookie[2], same, old;

	ASSERT_EQ(0, leave_faults(self->fd, self->dev, self->faults[0], &old));
	ASSERT_EQ(0, attach(self->fd, &self->guest.dev, self->nested[1]));
	EXPECT_TRUE(faults_are(self->fd, self->dev, 0, 0, 4));
	EXPECT_EQ(0, fault(self->fd, self->dev, 3, 9));
	EXPECT_EQ(0, events_of(self->faults[0], 0));
	EXPECT_EQ(0, read_fault(self->faults[1], self->dev, 3, 9, &cookie[0]));
	EXPECT_EQ(0, answer(self->faults[1], cookie[0],
			    IOMMUFD_PAGE_RESP_SUCCESS));
	EXPECT_TRUE(faults_are(self->fd, self->dev, 0, 1, 4));

	ASSERT_EQ(0, nested_alloc_fault(self->fd, self->dev, self->on,
					self->fault[1], &same));
	EXPECT_EQ(0, fault(self->fd, self->dev, 3, 10));
	EXPECT_EQ(0, read_fault(self->faults[1], self->dev, 3, 10,
				&cookie[0]));
	ASSERT_EQ(0, attach(self->fd, &self->guest.dev, same));
	EXPECT_TRUE(faults_are(self->fd, self->dev, 0, 1, 5));
	EXPECT_EQ(0, fault(self->fd, self->dev, 3, 11));
	EXPECT_EQ(0, read_fault(self->faults[1], self->dev, 3, 11,
				&cookie[1]));
	EXPECT_EQ(0, answer(self->faults[1], cookie[1],
			    IOMMUFD_PAGE_RESP_SUCCESS));
	EXPECT_TRUE(faults_are(self->fd, self->dev, 0, 2, 5));
}

/* After a replace that fails, pending faults can still be answered */
TEST_F(iopf, failed_replace_keeps)
{
	__u32 viommu, nested, cookie;

	ASSERT_EQ(0, viommu_alloc(self->fd, self->dev, self->guest.parent,
				  &viommu));
	ASSERT_EQ(0, nested_alloc_fault(self->fd, self->dev, viommu,
					self->fault[1], &nested));
	EXPECT_EQ(0, fault(self->fd, self->dev, 1, 1));
	EXPECT_EQ(0, fault(self->fd, self->dev, 1, 2));
	EXPECT_EQ(0, read_fault(self->faults[0], self->dev, 1, 1, &cookie));
	EXPECT_EQ(-ENOENT, attach(self->fd, &self->guest.dev, nested));
	EXPECT_TRUE(faults_are(self->fd, self->dev, 2, 0, 0));
	EXPECT_EQ(0, answer(self->faults[0], cookie,
			    IOMMUFD_PAGE_RESP_SUCCESS));
	EXPECT_EQ(0, read_fault(self->faults[0], self->dev, 1, 2, &cookie));
	EXPECT_EQ(0, answer(self->faults[0], cookie,
			    IOMMUFD_PAGE_RESP_SUCCESS));
	EXPECT_EQ(0, fault(self->fd, self->dev, 1, 3));
	EXPECT_EQ(0, read_fault(self->faults[0], self->dev, 1, 3, &cookie));
	EXPECT_TRUE(faults_are(self->fd, self->dev, 1, 2, 0));
}

/* If the file has been closed, the next detach must answer the faults */
TEST_F(iopf, close_file)
{
	__u32 cookie;

	ASSERT_EQ(0, leave_faults(self->fd, self->dev, self->faults[0],
				  &cookie));
	EXPECT_EQ(0, close(self->faults[0]));
	EXPECT_EQ(0, fault(self->fd, self->dev, 1, 5));
	EXPECT_EQ(-EBUSY, destroy(self->fd, self->fault[0]));
	ASSERT_EQ(0, attach(self->fd, &self->guest.dev, self->nested[1]));
	EXPECT_TRUE(faults_are(self->fd, self->dev, 0, 0, 5));
	EXPECT_EQ(0, destroy_these(self->fd, self->nested[0], self->fault[0]));
}

/* Closing the last file destroys all objects, whichever file this is */
TEST_F(iopf, close_iommufd_first)
{
	__u32 cookie;

	ASSERT_EQ(0, leave_faults(self->fd, self->dev, self->faults[0],
				  &cookie));
	EXPECT_EQ(0, close(self->fd));
	self->guest.fd = -1;
	EXPECT_EQ(POLLIN, events_of(self->faults[0], 0));
	EXPECT_EQ(0, answer(self->faults[0], cookie,
			    IOMMUFD_PAGE_RESP_SUCCESS));
	EXPECT_EQ(0, read_fault(self->faults[0], self->dev, 0, 2, &cookie));
}

/* Page faults do not use the ID in the VM */
TEST_F(iopf, without_vdevice)
{
	__u32 cookie;

	ASSERT_EQ(0, destroy(self->fd, self->guest.vdev));
	EXPECT_EQ(0, fault(self->fd, self->dev, 2, 1));
	EXPECT_EQ(0, read_fault(self->faults[0], self->dev, 2, 1, &cookie));
	EXPECT_EQ(0, answer(self->faults[0], cookie,
			    IOMMUFD_PAGE_RESP_SUCCESS));
	EXPECT_TRUE(faults_are(self->fd, self->dev, 0, 1, 0));
}

/* A VMM that does not read its faults must not block others */
TEST_F_TIMEOUT(iopf, read_slow, 100)
{
	struct iommu_hwpt_pgfault *got;
	struct reading reading;
	struct slow_page slow;
	struct mock_vm other;
	__u32 cookie, id, nested;
	int other_faults;
	double start;

	ASSERT_EQ(0, mock_vm_init(&other, 0));
	ASSERT_EQ(0, mock_vm_get_queue(&other, 4));
	ASSERT_EQ(0, fault_alloc(other.fd, &id, &other_faults));
	ASSERT_EQ(0, nested_alloc_fault(other.fd, other.dev.id, other.viommu,
					id, &nested));
	if (slow_page_init(&slow, false))
		SKIP(return, "no userfaultfd: %s", strerror(errno));
	ASSERT_EQ(0, fault(self->fd, self->dev, 1, 1));
	got = slow.page;
	reading_start(&reading, self->faults[0], got, sizeof(*got));
	slow_page_wait(&slow);

	start = now();
	EXPECT_EQ(0, mock_vm_works(&other));
	EXPECT_EQ(0, attach(other.fd, &other.dev, nested));
	EXPECT_EQ(0, fault(other.fd, other.dev.id, 1, 1));
	EXPECT_EQ(0, read_fault(other_faults, other.dev.id, 1, 1, &cookie));
	EXPECT_EQ(0, attach(other.fd, &other.dev, other.ioas));
	EXPECT_TRUE(faults_are(other.fd, other.dev.id, 0, 0, 1));
	/* The VMM can have further faults, and poll() reports them */
	EXPECT_EQ(0, fault(self->fd, self->dev, 1, 2));
	EXPECT_EQ(POLLIN, events_of(self->faults[0], 0));
	EXPECT_LT(now() - start, SOON);

	slow_page_provide(&slow);
	EXPECT_EQ(sizeof(*got), reading_join(&reading));
	EXPECT_EQ(1, got->grpid);
	EXPECT_EQ(0, read_fault(self->faults[0], self->dev, 1, 2, &cookie));
	EXPECT_EQ(0, close(other_faults));
	EXPECT_EQ(0, close(other.events));
	EXPECT_EQ(0, close(other.fd));
}

/*
 * The device is detached while one of its faults, or an answer, is being copied
 * between the kernel and slow memory. The detach does not wait, and a later
 * answer is refused.
 */
TEST_F_TIMEOUT(iopf, detach_beside_read, 100)
{
	struct iommu_hwpt_pgfault *got;
	struct reading reading;
	struct slow_page slow;
	struct call away;

	if (slow_page_init(&slow, false))
		SKIP(return, "no userfaultfd: %s", strerror(errno));
	ASSERT_EQ(0, fault(self->fd, self->dev, 1, 1));
	got = slow.page;
	reading_start(&reading, self->faults[0], got, sizeof(*got));
	slow_page_wait(&slow);
	EXPECT_TRUE(attach_beside(&away, &self->guest, self->guest.ioas));
	EXPECT_TRUE(faults_are(self->fd, self->dev, 0, 0, 1));
	slow_page_provide(&slow);
	EXPECT_EQ(sizeof(*got), reading_join(&reading));
	EXPECT_EQ(0, call_join_again(&away));
	EXPECT_EQ(1, got->grpid);
	EXPECT_EQ(-EINVAL, answer(self->faults[0], got->cookie,
				  IOMMUFD_PAGE_RESP_SUCCESS));
	EXPECT_TRUE(faults_are(self->fd, self->dev, 0, 0, 1));
}

/* A fault that could not be copied is not read again if it has been answered */
TEST_F_TIMEOUT(iopf, detach_beside_failing_read, 100)
{
	struct reading reading;
	struct slow_page slow;
	struct call away;

	if (slow_page_init(&slow, false))
		SKIP(return, "no userfaultfd: %s", strerror(errno));
	ASSERT_EQ(0, fault(self->fd, self->dev, 1, 1));
	reading_start(&reading, self->faults[0], slow.page,
		      sizeof(struct iommu_hwpt_pgfault));
	slow_page_wait(&slow);
	/* No other reader gets the fault in the meantime */
	EXPECT_EQ(0, events_of(self->faults[0], 0));
	EXPECT_TRUE(attach_beside(&away, &self->guest, self->guest.ioas));
	ASSERT_EQ(0, munmap(slow.page, PAGE_SIZE));
	ASSERT_EQ(0, close(slow.uffd));
	EXPECT_EQ(-EFAULT, reading_join(&reading));
	EXPECT_EQ(0, call_join_again(&away));
	EXPECT_EQ(0, events_of(self->faults[0], 0));
	EXPECT_TRUE(faults_are(self->fd, self->dev, 0, 0, 1));
}

static void ignore_signal(int sig)
{
}

/*
 * The first of two readers waits for its memory, which then goes away. The
 * fault that could not be copied is first in the queue again, and the second
 * reader must not overtake it with the next fault.
 */
TEST_F_TIMEOUT(iopf, two_readers, 100)
{
	struct sigaction action = { .sa_handler = ignore_signal };
	struct iommu_hwpt_pgfault got[2] = {}, *page;
	struct reading first, second;
	struct slow_page slow;
	unsigned int i;

	if (slow_page_init(&slow, false))
		SKIP(return, "no userfaultfd: %s", strerror(errno));
	for (i = 0; i < 2; i++)
		ASSERT_EQ(0, fault(self->fd, self->dev, 1, i));
	page = slow.page;
	reading_start(&first, self->faults[0], page, sizeof(*page));
	slow_page_wait(&slow);

	/* A signal ends the wait of the second reader */
	ASSERT_EQ(0, sigaction(SIGUSR1, &action, NULL));
	reading_start(&second, self->faults[0], got, sizeof(got));
	EXPECT_TRUE(wait_till_asleep(&second.tid));
	EXPECT_EQ(0, pthread_kill(second.thread, SIGUSR1));
	EXPECT_EQ(-EINTR, reading_join(&second));

	reading_start(&second, self->faults[0], got, sizeof(got));
	EXPECT_TRUE(wait_till_asleep(&second.tid));
	ASSERT_EQ(0, munmap(page, PAGE_SIZE));
	ASSERT_EQ(0, close(slow.uffd));
	EXPECT_EQ(-EFAULT, reading_join(&first));
	EXPECT_EQ(sizeof(got), reading_join(&second));
	for (i = 0; i < 2; i++) {
		EXPECT_EQ(i, got[i].grpid);
		EXPECT_EQ(0, answer(self->faults[0], got[i].cookie,
				    IOMMUFD_PAGE_RESP_SUCCESS));
	}
	EXPECT_TRUE(faults_are(self->fd, self->dev, 0, 2, 0));
}

/* A fault without an answer is read again */
TEST_F_TIMEOUT(iopf, failing_read, 100)
{
	const size_t len = sizeof(struct iommu_hwpt_pgfault);
	struct epoll_event event = { .events = EPOLLIN | EPOLLET };
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	char *page = map_guarded(len, PROT_NONE);
	__u32 cookie;

	ASSERT_LE(0, epoll);
	ASSERT_EQ(0, fault(self->fd, self->dev, 1, 1));
	ASSERT_EQ(0, fault(self->fd, self->dev, 1, 2));
	ASSERT_EQ(0, epoll_ctl(epoll, EPOLL_CTL_ADD, self->faults[0], &event));
	EXPECT_EQ(1, epoll_wait(epoll, &event, 1, 0));
	EXPECT_EQ(0, epoll_wait(epoll, &event, 1, 0));
	EXPECT_EQ(-1, read(self->faults[0], page + len, len));
	EXPECT_EQ(EFAULT, errno);
	/* A poll in between reports that there is something to read */
	EXPECT_EQ(1, epoll_wait(epoll, &event, 1, 0));
	/* The first fault fits, and must not be lost with the second */
	EXPECT_EQ(len, read(self->faults[0], page, 2 * len));
	EXPECT_EQ(1, ((struct iommu_hwpt_pgfault *)page)->grpid);
	EXPECT_EQ(0, answer(self->faults[0],
			    ((struct iommu_hwpt_pgfault *)page)->cookie,
			    IOMMUFD_PAGE_RESP_SUCCESS));
	EXPECT_EQ(0, read_fault(self->faults[0], self->dev, 1, 2, &cookie));
	EXPECT_EQ(0, answer(self->faults[0], cookie,
			    IOMMUFD_PAGE_RESP_SUCCESS));
	EXPECT_TRUE(faults_are(self->fd, self->dev, 0, 2, 0));
	close(epoll);
}

TEST_F_TIMEOUT(iopf, detach_beside_write, 100)
{
	struct reading writing;
	struct slow_page slow;
	struct call away;
	__u32 cookie;

	if (slow_page_init(&slow, false))
		SKIP(return, "no userfaultfd: %s", strerror(errno));
	ASSERT_EQ(0, fault(self->fd, self->dev, 1, 1));
	ASSERT_EQ(0, read_fault(self->faults[0], self->dev, 1, 1, &cookie));
	writing_start(&writing, self->faults[0], slow.page,
		      sizeof(struct iommu_hwpt_page_response));
	slow_page_wait(&slow);
	EXPECT_TRUE(attach_beside(&away, &self->guest, self->guest.ioas));
	EXPECT_TRUE(faults_are(self->fd, self->dev, 0, 0, 1));
	/* The answer does not belong to any fault now */
	slow_page_provide(&slow);
	EXPECT_EQ(-EINVAL, reading_join(&writing));
	EXPECT_EQ(0, call_join_again(&away));
}

/* A late answer to a fault must not be taken for an answer to the next fault */
TEST_F(iopf, cookies)
{
	__u32 cookie[4];
	unsigned int i, j;

	for (i = 0; i < ARRAY_SIZE(cookie); i++) {
		ASSERT_EQ(0, fault(self->fd, self->dev, 1, i));
		ASSERT_EQ(0, read_fault(self->faults[0], self->dev, 1, i,
					&cookie[i]));
		for (j = 0; j < i; j++) {
			EXPECT_NE(cookie[j], cookie[i]);
			EXPECT_EQ(-EINVAL, answer(self->faults[0], cookie[j],
						  IOMMUFD_PAGE_RESP_SUCCESS));
		}
		EXPECT_TRUE(faults_are(self->fd, self->dev, 1, i, 0));
		EXPECT_EQ(0, answer(self->faults[0], cookie[i],
				    IOMMUFD_PAGE_RESP_SUCCESS));
	}
}

/* A HWPT on an IOAS can have a queue, too, for faults without a PASID */
TEST_F(iopf, paging)
{
	__u32 hwpt, id, cookie;

	EXPECT_EQ(-EOPNOTSUPP,
		  iommufd_hwpt_alloc(self->fd, self->dev, self->guest.ioas,
				     IOMMU_HWPT_FAULT_ID_VALID | IOMMU_HWPT_ALLOC_NEST_PARENT,
				     self->fault[1], IOMMU_HWPT_DATA_NONE, NULL,
				     0, &id));
	EXPECT_EQ(-ENOENT,
		  iommufd_hwpt_alloc(self->fd, self->dev, self->guest.ioas,
				     IOMMU_HWPT_FAULT_ID_VALID, NO_ID,
				     IOMMU_HWPT_DATA_NONE, NULL, 0, &id));
	ASSERT_EQ(0, iommufd_hwpt_alloc(self->fd, self->dev, self->guest.ioas,
					IOMMU_HWPT_FAULT_ID_VALID,
					self->fault[1], IOMMU_HWPT_DATA_NONE,
					NULL, 0, &hwpt));
	ASSERT_EQ(0, attach(self->fd, &self->guest.dev, hwpt));
	EXPECT_EQ(0, fault(self->fd, self->dev, 0, 1));
	EXPECT_EQ(0, read_fault(self->faults[1], self->dev, 0, 1, &cookie));
	EXPECT_EQ(0, answer(self->faults[1], cookie,
			    IOMMUFD_PAGE_RESP_SUCCESS));
	EXPECT_TRUE(faults_are(self->fd, self->dev, 0, 1, 0));
	EXPECT_EQ(0, fault(self->fd, self->dev, 1, 1));
	EXPECT_TRUE(faults_are(self->fd, self->dev, 0, 1, 1));
	EXPECT_EQ(0, fault(self->fd, self->dev, 0, 2));
	ASSERT_EQ(0, attach(self->fd, &self->guest.dev, self->nested[0]));
	EXPECT_TRUE(faults_are(self->fd, self->dev, 0, 1, 2));
	EXPECT_EQ(0, destroy(self->fd, hwpt));
}

/*
 * A device has a fault while it is being attached, and then the attach fails.
 * The HWPT must not get this fault, because the device was never attached to
 * it.
 */
TEST_F(iopf, fault_in_failed_attach)
{
	__u32 viommu, nested;
	struct mock dev;

	/* The device has no vDEVICE on this vIOMMU */
	ASSERT_EQ(0, viommu_alloc(self->fd, self->dev, self->guest.parent,
				  &viommu));
	ASSERT_EQ(0, nested_alloc_fault(self->fd, self->dev, viommu,
					self->fault[1], &nested));
	EXPECT_EQ(-ENOENT, plug(self->fd, nested,
				MOCK_FLAGS_DEVICE_FAULT_IN_ATTACH, &dev));
	EXPECT_EQ(0, events_of(self->faults[1], 0));
	EXPECT_EQ(-EPROTO, read_len(self->faults[1], &dev, 0, -1));
	EXPECT_EQ(0, destroy(self->fd, nested));
}

/* In a replace, the fault goes to the HWPT that the device stays attached to */
TEST_F(iopf, fault_in_failed_replace)
{
	struct iommu_hwpt_pgfault got;
	__u32 viommu, nested, vdev;
	struct mock dev;
	int i;

	ASSERT_EQ(0, viommu_alloc(self->fd, self->dev, self->guest.parent,
				  &viommu));
	ASSERT_EQ(0, nested_alloc_fault(self->fd, self->dev, viommu,
					self->fault[1], &nested));
	ASSERT_EQ(0, plug(self->fd, self->guest.ioas,
			  MOCK_FLAGS_DEVICE_FAULT_IN_ATTACH, &dev));
	EXPECT_EQ(-ENOENT, attach(self->fd, &dev, nested));
	EXPECT_EQ(0, events_of(self->faults[1], 0));
	EXPECT_TRUE(faults_are(self->fd, dev.id, 0, 0, 1));

	ASSERT_EQ(0, vdevice_alloc(self->fd, self->guest.viommu, dev.id, 1,
				   &vdev));
	ASSERT_EQ(0, attach(self->fd, &dev, self->nested[0]));
	EXPECT_TRUE(faults_are(self->fd, dev.id, 0, 0, 2));
	EXPECT_EQ(0, events_of(self->faults[0], 0));
	EXPECT_EQ(-ENOENT, attach(self->fd, &dev, nested));
	/* A second fault, when the device is attached to the old HWPT again */
	EXPECT_TRUE(faults_are(self->fd, dev.id, 2, 0, 2));
	EXPECT_EQ(0, events_of(self->faults[1], 0));
	for (i = 0; i < 2; i++) {
		EXPECT_EQ(0, read_len(self->faults[0], &got, sizeof(got),
				      sizeof(got)));
		EXPECT_EQ(dev.id, got.dev_id);
		EXPECT_EQ(MOCK_ATTACH_FAULT_PASID, got.pasid);
		EXPECT_EQ(MOCK_ATTACH_FAULT_ADDR, got.addr);
		EXPECT_EQ(0, answer(self->faults[0], got.cookie,
				    IOMMUFD_PAGE_RESP_SUCCESS));
	}
	EXPECT_TRUE(faults_are(self->fd, dev.id, 0, 2, 2));
}

/*
 * A page fault is reported while the device is detached from its HWPT, which
 * the report has found already. So everything that belongs to the attachment
 * must stay until the HWPT has the fault, and then the detach must answer it.
 */
static void report_meets(struct __test_metadata *_metadata,
			 struct _test_data_iopf *self, unsigned long cmd,
			 void *arg)
{
	struct iommu_test_cmd trigger = {
		.size = sizeof(trigger),
		.op = IOMMU_TEST_OP_TRIGGER_IOPF,
		.trigger_iopf = {
			.dev_id = self->dev,
			.pasid = 1,
			.grpid = 1,
			.perm = IOMMU_PGFAULT_PERM_WRITE,
			.addr = FAULT_ADDR,
		},
	};
	struct call report, change;

	ASSERT_EQ(0, close_gate(self->fd, self->dev, MOCK_GATE_FAULT));
	call_start(&report, self->fd,
		   _IOMMU_TEST_CMD(IOMMU_TEST_OP_TRIGGER_IOPF), &trigger);
	EXPECT_TRUE(wait_till_held_up(self->fd, self->dev));
	call_start(&change, self->fd, cmd, arg);
	EXPECT_TRUE(call_waits(&change));
	open_gates(self->fd, self->dev);
	EXPECT_EQ(0, call_join(&report));
	EXPECT_EQ(0, call_join(&change));
	/* No fault is left that nobody would answer */
	EXPECT_EQ(0, events_of(self->faults[0], 0));
	EXPECT_EQ(0, destroy(self->fd, self->nested[0]));
}

TEST_F_TIMEOUT(iopf, report_meets_replace, 100)
{
	struct iommu_test_cmd cmd = replace_cmd(&self->guest.dev,
						self->nested[1]);
	__u32 cookie;

	report_meets(_metadata, self, REPLACE, &cmd);
	EXPECT_TRUE(faults_are(self->fd, self->dev, 0, 0, 1));
	/* The device goes on with the other HWPT */
	EXPECT_EQ(0, fault(self->fd, self->dev, 1, 2));
	EXPECT_EQ(0, read_fault(self->faults[1], self->dev, 1, 2, &cookie));
}

TEST_F_TIMEOUT(iopf, report_meets_end_of_faults, 100)
{
	struct iommu_test_cmd cmd = replace_cmd(&self->guest.dev,
						self->guest.ioas);

	report_meets(_metadata, self, REPLACE, &cmd);
	EXPECT_TRUE(faults_are(self->fd, self->dev, 0, 0, 1));
}

TEST_F_TIMEOUT(iopf, report_meets_unplug, 100)
{
	struct iommu_destroy cmd = {
		.size = sizeof(cmd),
		.id = self->guest.dev.stdev,
	};

	report_meets(_metadata, self, IOMMU_DESTROY, &cmd);
}

/* The file is always writable, and not readable at first */
TEST_F(iopf, poll)
{
	struct pollfd pollfd = { .fd = self->faults[0],
				 .events = POLLIN | POLLOUT | POLLPRI };
	__u32 cookie;

	ASSERT_EQ(1, poll(&pollfd, 1, 0));
	EXPECT_EQ(POLLOUT, pollfd.revents);
	ASSERT_EQ(0, fault(self->fd, self->dev, 1, 1));
	ASSERT_EQ(1, poll(&pollfd, 1, 0));
	EXPECT_EQ(POLLIN | POLLOUT, pollfd.revents);
	EXPECT_EQ(0, read_fault(self->faults[0], self->dev, 1, 1, &cookie));
	ASSERT_EQ(1, poll(&pollfd, 1, 0));
	EXPECT_EQ(POLLOUT, pollfd.revents);
}

TEST_HARNESS_MAIN
