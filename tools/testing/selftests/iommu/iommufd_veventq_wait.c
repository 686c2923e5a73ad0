// SPDX-License-Identifier: GPL-2.0-only
/*
 * Threads that wait at a vEVENTQ, read from it side by side, or have slow
 * memory, and vEVENTQs that keep the latest event, against the mock IOMMU
 * driver.
 */
#include <signal.h>
#include <sys/epoll.h>

#include "iommufd_vm.h"

struct poller {
	pthread_t thread;
	int fd;
	int timeout;
	atomic_int tid;
	int events;
	double took;
};

static void *poller_thread(void *arg)
{
	struct poller *poller = arg;
	double start = now();

	poller->tid = syscall(SYS_gettid);
	poller->events = events_of(poller->fd, poller->timeout);
	poller->took = now() - start;
	return NULL;
}

static bool poller_start(struct poller *poller, int fd)
{
	*poller = (struct poller){ .fd = fd, .timeout = 2 * SOON * 1000 };
	assert(!pthread_create(&poller->thread, NULL, poller_thread, poller));
	return wait_till_asleep(&poller->tid);
}

static int poller_join(struct poller *poller)
{
	assert(!pthread_join(poller->thread, NULL));
	return poller->took < SOON ? poller->events : -ETIME;
}

/*
 * Waiters are woken only if there was nothing to read before, because a VMM can
 * have very many of them. An edge-triggered waiter sees each wakeup.
 */
TEST_F(veventq, wakes_once)
{
	struct mock_vm *guest = &self->guest;
	struct epoll_event event = { .events = EPOLLIN | EPOLLET };
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	unsigned int i;

	ASSERT_LE(0, epoll);
	ASSERT_EQ(0, mock_vm_get_queue(guest, 2));
	ASSERT_EQ(0, epoll_ctl(epoll, EPOLL_CTL_ADD, guest->events, &event));
	EXPECT_EQ(0, epoll_wait(epoll, &event, 1, 0));
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, trigger(self->fd, guest->dev.id));
		EXPECT_EQ(1, epoll_wait(epoll, &event, 1, 0));
		EXPECT_EQ(EPOLLIN, event.events);
		/* An event that fits, and two that are lost */
		ASSERT_EQ(0, trigger_some(guest, 3));
		EXPECT_EQ(0, epoll_wait(epoll, &event, 1, 0));
		EXPECT_EQ(0, read_event(guest->events, 5 * i));
		EXPECT_EQ(0, read_event(guest->events, 5 * i + 1));
		ASSERT_EQ(0, trigger_lost(guest));
		EXPECT_EQ(0, epoll_wait(epoll, &event, 1, 0));
		EXPECT_EQ(POLLIN, events_of(guest->events, 0));
		EXPECT_EQ(0, read_lost(guest->events, 5 * i + 4));
		EXPECT_EQ(0, events_of(guest->events, 0));
	}
	close(epoll);
}

/* Both an event and a loss wake up a waiter */
TEST_F_TIMEOUT(veventq, poll_wakes, 100)
{
	struct mock_vm *guest = &self->guest;
	struct poller poller;

	ASSERT_EQ(0, mock_vm_get_queue(guest, 1));
	ASSERT_TRUE(poller_start(&poller, guest->events));
	ASSERT_EQ(0, trigger(self->fd, guest->dev.id));
	EXPECT_EQ(POLLIN, poller_join(&poller));
	EXPECT_EQ(0, read_event(guest->events, 0));

	ASSERT_TRUE(poller_start(&poller, guest->events));
	ASSERT_EQ(0, trigger_lost(guest));
	EXPECT_EQ(POLLIN, poller_join(&poller));
	EXPECT_EQ(0, read_lost(guest->events, 1));
	EXPECT_EQ(0, events_of(guest->events, 0));
}

#define MANY_EVENTS	3000

struct reader {
	pthread_t thread;
	int fd;
	atomic_bool *stop;
	unsigned int *seen;
	unsigned int got;
	unsigned int bad;
};

static void *reader_thread(void *arg)
{
	struct reader *reader = arg;
	struct event event[3];
	long last = -1;
	bool stopped;
	ssize_t rc;
	int i;

	do {
		/*
		 * The order matters: once *stop is set, all events are in the
		 * queue
		 */
		stopped = *reader->stop;
		rc = read(reader->fd, event, sizeof(event));
		if (rc < 0 || rc % sizeof(event[0])) {
			reader->bad++;
			break;
		}
		for (i = 0; i < (int)(rc / sizeof(event[0])); i++) {
			/* Each of the readers sees increasing numbers */
			if (event[i].header.flags ||
			    event[i].header.sequence >= MANY_EVENTS ||
			    event[i].header.sequence <= last) {
				reader->bad++;
				continue;
			}
			last = event[i].header.sequence;
			__atomic_fetch_add(&reader->seen[last], 1,
					   __ATOMIC_RELAXED);
			reader->got++;
		}
	} while (rc || !stopped);
	return NULL;
}

/* Each event goes to exactly one reader */
static void read_by_two(struct __test_metadata *_metadata,
			const struct mock_vm *guest, struct reader *readers)
{
	static unsigned int seen[MANY_EVENTS];
	atomic_bool stop = false;
	unsigned int i;

	memset(seen, 0, sizeof(seen));
	for (i = 0; i < 2; i++) {
		readers[i] = (struct reader){
			.fd = guest->events,
			.stop = &stop,
			.seen = seen,
		};
		ASSERT_EQ(0, pthread_create(&readers[i].thread, NULL,
					    reader_thread, &readers[i]));
	}
	EXPECT_EQ(0, trigger_some(guest, MANY_EVENTS));
	stop = true;
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, pthread_join(readers[i].thread, NULL));
		EXPECT_EQ(0, readers[i].bad);
	}
	for (i = 0; i < MANY_EVENTS; i++)
		ASSERT_EQ(1, seen[i]);
}

TEST_F_TIMEOUT(veventq, two_readers, 100)
{
	struct mock_vm *guest = &self->guest;
	struct reader readers[2] = {};
	double end = now() + 60;

	/* If a reader was too late for any event, it was not a race */
	while (!(readers[0].got && readers[1].got) && now() < end) {
		ASSERT_EQ(0, mock_vm_get_queue(guest, MANY_EVENTS));
		read_by_two(_metadata, guest, readers);
		ASSERT_EQ(0, close(guest->events));
		ASSERT_EQ(0, destroy(self->fd, guest->queue));
	}
	EXPECT_LT(0, readers[0].got);
	EXPECT_LT(0, readers[1].got);
}

/*
 * The kernel waits for the page that the answer goes to. No other thread must
 * have to wait for this, not even a thread of the same VMM.
 */
TEST_F_TIMEOUT(veventq, alloc_slow_answer, 100)
{
	const __u32 next = next_id(self->fd);
	struct mock_vm *guest = &self->guest;
	struct iommu_veventq_alloc *cmd;
	struct slow_page slow;
	struct mock_vm other;
	struct call call;
	double start;

	ASSERT_EQ(0, mock_vm_init(&other, 0));
	ASSERT_EQ(0, mock_vm_get_queue(&other, 4));
	if (slow_page_init(&slow, true))
		SKIP(return, "no userfaultfd: %s", strerror(errno));
	cmd = slow.page;
	*cmd = (struct iommu_veventq_alloc){
		.size = sizeof(*cmd),
		.viommu_id = guest->viommu,
		.type = IOMMU_VEVENTQ_TYPE_SELFTEST,
		.veventq_depth = 2,
	};
	slow_page_protect(&slow);
	call_start(&call, self->fd, IOMMU_VEVENTQ_ALLOC, cmd);
	slow_page_wait(&slow);

	EXPECT_EQ(0, mock_vm_works(&other));
	/* No queue exists yet under any ID */
	start = now();
	EXPECT_EQ(-EOPNOTSUPP, trigger(self->fd, guest->dev.id));
	EXPECT_EQ(-ENOENT, destroy(self->fd, next));
	EXPECT_NE(next, next_id(self->fd));
	EXPECT_EQ(-EBADF, err(fcntl(next_fd() - 1, F_GETFD) < 0));
	/* So another thread can be first */
	ASSERT_EQ(0, mock_vm_get_queue(guest, 1));
	EXPECT_EQ(0, mock_vm_works(guest));
	EXPECT_LT(now() - start, SOON);

	slow_page_provide(&slow);
	EXPECT_EQ(-EEXIST, call_join(&call));
	EXPECT_EQ(0, mock_vm_works(guest));
	EXPECT_EQ(0, close(other.events));
	EXPECT_EQ(0, close(other.fd));
}

/* The same while the kernel waits for the struct of the call itself */
TEST_F_TIMEOUT(veventq, alloc_slow_struct, 100)
{
	struct mock_vm *guest = &self->guest;
	struct slow_page slow;
	struct mock_vm other;
	struct call call;

	ASSERT_EQ(0, mock_vm_init(&other, 0));
	ASSERT_EQ(0, mock_vm_get_queue(&other, 4));
	if (slow_page_init(&slow, false))
		SKIP(return, "no userfaultfd: %s", strerror(errno));
	call_start(&call, self->fd, IOMMU_VEVENTQ_ALLOC, slow.page);
	slow_page_wait(&slow);
	EXPECT_EQ(0, mock_vm_works(&other));
	ASSERT_EQ(0, mock_vm_get_queue(guest, 1));
	EXPECT_EQ(0, mock_vm_works(guest));
	/* All of it is 0, including the size */
	slow_page_provide(&slow);
	EXPECT_EQ(-EINVAL, call_join(&call));
	EXPECT_EQ(0, close(other.events));
	EXPECT_EQ(0, close(other.fd));
}

static void catch_signal(int sig)
{
}

TEST_F_TIMEOUT(veventq, read_slow, 100)
{
	struct sigaction action = { .sa_handler = catch_signal };
	struct mock_vm *guest = &self->guest;
	struct reading reading, second;
	struct event *event, buf;
	struct slow_page slow;
	struct mock_vm other;
	double start;

	ASSERT_EQ(0, mock_vm_init(&other, 0));
	ASSERT_EQ(0, mock_vm_get_queue(&other, 4));
	ASSERT_EQ(0, mock_vm_get_queue(guest, 2));
	ASSERT_EQ(0, trigger(self->fd, guest->dev.id));
	if (slow_page_init(&slow, false))
		SKIP(return, "no userfaultfd: %s", strerror(errno));
	event = slow.page;
	reading_start(&reading, guest->events, event, 2 * sizeof(*event));
	slow_page_wait(&slow);

	start = now();
	EXPECT_EQ(0, mock_vm_works(&other));
	EXPECT_EQ(POLLIN, events_of(guest->events, 0));
	EXPECT_EQ(0, trigger_some(guest, 2));
	EXPECT_EQ(0, attach(self->fd, &guest->dev, guest->ioas));
	EXPECT_EQ(0, attach(self->fd, &guest->dev, guest->nested));
	EXPECT_EQ(0, destroy(self->fd, guest->vdev));
	EXPECT_EQ(0, vdevice_alloc(self->fd, guest->viommu, guest->dev.id,
				   VIRT_ID + 1, &guest->vdev));
	EXPECT_EQ(-EBUSY, destroy(self->fd, guest->queue));
	EXPECT_LT(now() - start, SOON);

	/* Only a second reader has to wait, and a signal can end this */
	ASSERT_EQ(0, sigaction(SIGUSR1, &action, NULL));
	reading_start(&second, guest->events, &buf, sizeof(buf));
	EXPECT_TRUE(wait_till_asleep(&second.tid));
	EXPECT_EQ(0, pthread_kill(second.thread, SIGUSR1));
	EXPECT_EQ(-EINTR, reading_join(&second));

	/*
	 * The reader gets its event unchanged, although the queue has become
	 * full since
	 */
	slow_page_provide(&slow);
	EXPECT_EQ(2 * sizeof(*event), reading_join(&reading));
	EXPECT_EQ(0, event[0].header.sequence);
	EXPECT_EQ(VIRT_ID, event[0].data.virt_id);
	EXPECT_EQ(1, event[1].header.sequence);
	EXPECT_EQ(0, read_lost(guest->events, 2));
	EXPECT_EQ(0, trigger(self->fd, guest->dev.id));
	EXPECT_EQ(0, read_event_of(guest->events, VIRT_ID + 1, 3));
	EXPECT_EQ(0, close(other.events));
	EXPECT_EQ(0, close(other.fd));
}

/* A loss is reported in the state that it had when the read began */
TEST_F_TIMEOUT(veventq, read_lost_slow, 100)
{
	struct mock_vm *guest = &self->guest;
	struct iommufd_vevent_header *header;
	struct reading reading;
	struct slow_page slow;

	ASSERT_EQ(0, mock_vm_get_queue(guest, 1));
	ASSERT_EQ(0, trigger_lost(guest));
	if (slow_page_init(&slow, false))
		SKIP(return, "no userfaultfd: %s", strerror(errno));
	header = slow.page;
	reading_start(&reading, guest->events, header, sizeof(*header));
	slow_page_wait(&slow);
	ASSERT_EQ(0, trigger_lost(guest));
	slow_page_provide(&slow);
	EXPECT_EQ(sizeof(*header), reading_join(&reading));
	EXPECT_EQ(LOST, header->flags);
	EXPECT_EQ(0, header->sequence);
	/* The second loss has not been reported yet */
	EXPECT_EQ(POLLIN, events_of(guest->events, 0));
	EXPECT_EQ(0, read_lost(guest->events, 1));
	EXPECT_EQ(0, events_of(guest->events, 0));
}

/* vEVENTQs of which only the latest event counts */
FIXTURE(latest)
{
	struct mock_vm guest;
};

static int latest_alloc(const struct mock_vm *guest, __u32 depth, int *events)
{
	return iommufd_veventq_alloc(guest->fd, guest->viommu,
				     IOMMU_VEVENTQ_TYPE_SELFTEST_LATEST, depth,
				     NULL, events);
}

FIXTURE_SETUP(latest)
{
	ASSERT_EQ(0, mock_vm_init(&self->guest, 0));
	/* VMMs ask for the largest depth */
	ASSERT_EQ(0, latest_alloc(&self->guest, 1 << 19, &self->guest.events));
}

FIXTURE_TEARDOWN(latest)
{
	close(self->guest.events);
	teardown_iommufd(self->guest.fd, _metadata);
}

static int report(const struct mock_vm *guest, __u32 flags, __u32 value)
{
	return trigger_vevent(guest->fd, guest->dev.id,
			      flags | IOMMU_TEST_VEVENT_FLAG_LATEST, value);
}

static bool event_is(int fd, __u32 sequence, __u32 value)
{
	struct event event = {};

	return read(fd, &event, sizeof(event)) == sizeof(event) &&
	       !event.header.flags && event.header.sequence == sequence &&
	       event.data.virt_id == value;
}

static bool readable(int fd)
{
	return events_of(fd, 0) & POLLIN;
}

TEST_F(latest, events)
{
	int queue_fd;

	/* The depth is checked as that of any other queue */
	EXPECT_EQ(-EINVAL, latest_alloc(&self->guest, 0, &queue_fd));
	EXPECT_EQ(-EINVAL, latest_alloc(&self->guest, (1 << 19) + 1,
					&queue_fd));
	EXPECT_EQ(-EEXIST, latest_alloc(&self->guest, 1, &queue_fd));

	EXPECT_FALSE(readable(self->guest.events));
	EXPECT_EQ(0, report(&self->guest, 0, 10));
	EXPECT_EQ(0, report(&self->guest, 0, 11));
	EXPECT_EQ(0, report(&self->guest, 0, 12));
	EXPECT_TRUE(readable(self->guest.events));
	EXPECT_TRUE(event_is(self->guest.events, 0, 12));
	EXPECT_FALSE(readable(self->guest.events));
	EXPECT_EQ(0, report(&self->guest, 0, 13));
	EXPECT_TRUE(event_is(self->guest.events, 1, 13));
	EXPECT_FALSE(readable(self->guest.events));
}

/* The driver may still lose events */
TEST_F(latest, lost)
{
	struct event event = {};

	EXPECT_EQ(0, report(&self->guest, IOMMU_TEST_VEVENT_FLAG_LOST, 0));
	EXPECT_EQ(sizeof(event.header),
		  read(self->guest.events, &event, sizeof(event)));
	EXPECT_EQ(IOMMU_VEVENTQ_FLAG_LOST_EVENTS, event.header.flags);
	EXPECT_EQ(0, event.header.sequence);
	EXPECT_EQ(0, report(&self->guest, 0, 1));
	EXPECT_EQ(0, report(&self->guest, 0, 2));
	EXPECT_TRUE(event_is(self->guest.events, 1, 2));
}

/*
 * An event that comes while an older event is read is a new event. Its number
 * shows any loss before it.
 */
TEST_F(latest, slow_reader)
{
	struct event *event;
	struct reading reader;
	struct slow_page slow;
	unsigned int lost;
	__u32 first = 0;
	int rc;

	rc = slow_page_init(&slow, true);
	if (rc)
		SKIP(return, "no userfaultfd: %s", strerror(-rc));
	event = slow.page;
	for (lost = 0; lost < 2; lost++) {
		memset(event, 0, sizeof(*event));
		EXPECT_EQ(0, report(&self->guest, 0, 20));
		EXPECT_EQ(0, report(&self->guest, 0, 21));
		slow_page_protect(&slow);
		reading_start(&reader, self->guest.events, event,
			      sizeof(*event));
		slow_page_wait(&slow);
		EXPECT_EQ(0, report(&self->guest, 0, 22));
		if (lost)
			EXPECT_EQ(0, report(&self->guest,
					    IOMMU_TEST_VEVENT_FLAG_LOST, 0));
		EXPECT_EQ(0, report(&self->guest, 0, 23));
		slow_page_provide(&slow);
		EXPECT_EQ(sizeof(*event), reading_join(&reader));
		EXPECT_EQ(first, event->header.sequence);
		EXPECT_EQ(21, event->data.virt_id);
		EXPECT_TRUE(readable(self->guest.events));
		EXPECT_TRUE(event_is(self->guest.events, first + 1 + lost, 23));
		EXPECT_FALSE(readable(self->guest.events));
		first += 2 + lost;
	}
}

/* A read that fails has read nothing, so there is no gap in the numbers */
TEST_F(latest, failing_reader)
{
	struct reading reader;
	struct slow_page slow;
	int rc;

	rc = slow_page_init(&slow, true);
	if (rc)
		SKIP(return, "no userfaultfd: %s", strerror(-rc));
	memset(slow.page, 0, PAGE_SIZE);
	EXPECT_EQ(0, report(&self->guest, 0, 30));
	slow_page_protect(&slow);
	reading_start(&reader, self->guest.events, slow.page,
		      sizeof(struct event));
	slow_page_wait(&slow);
	EXPECT_EQ(0, report(&self->guest, 0, 31));
	ASSERT_EQ(0, mprotect(slow.page, PAGE_SIZE, PROT_READ));
	slow_page_provide(&slow);
	EXPECT_EQ(-EFAULT, reading_join(&reader));
	EXPECT_TRUE(event_is(self->guest.events, 0, 31));
	EXPECT_EQ(0, report(&self->guest, 0, 32));
	EXPECT_TRUE(event_is(self->guest.events, 1, 32));
}

TEST_HARNESS_MAIN
