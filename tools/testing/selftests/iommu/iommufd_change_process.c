// SPDX-License-Identifier: GPL-2.0-only
/*
 * IOMMU_IOAS_CHANGE_PROCESS, against the mock IOMMU driver: which process is
 * charged for the pinned pages of a file before and after, up to the last page
 * of each limit, and that a failure changes nothing.
 *
 * Owners are processes of users without any other pinned pages. Each executes
 * the requests of the test. VmLck and VmPin of an owner are in /proc. The
 * counter of a user is not visible: the room under a limit is found by mapping
 * more pages.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define __EXPORTED_HEADERS__
#include "iommufd_utils.h"
#include "lib/clock.h"
#include "lib/ioctl.h"

#define IOVA		MOCK_APERTURE_START
/* Pages that the tests map. expect_left() needs more pages of the file */
#define NUM		8
#define FILE_PAGES	64
#define USER_A		65501
#define USER_B		65502

static __attribute__((constructor)) void setup_sizes(void)
{
	PAGE_SIZE = sysconf(_SC_PAGE_SIZE);
}

#define err(rc) ((rc) ? errno : 0)

/* Each of these returns 0 or the errno */
static int map(int fd, __u32 ioas_id, int file, unsigned int page,
	       unsigned int num)
{
	return -ioas_map_file_at(fd, ioas_id, file, page * PAGE_SIZE,
				 num * PAGE_SIZE, IOVA + page * PAGE_SIZE,
				 IOMMU_IOAS_MAP_READABLE |
				 IOMMU_IOAS_MAP_WRITEABLE);
}

static int unmap(int fd, __u32 ioas_id, unsigned int page, unsigned int num)
{
	return err(_test_ioctl_ioas_unmap(fd, ioas_id, IOVA + page * PAGE_SIZE,
					  num * PAGE_SIZE, NULL));
}

static int copy(int fd, __u32 from, __u32 to, unsigned int page,
		unsigned int num)
{
	struct iommu_ioas_copy cmd = {
		.size = sizeof(cmd),
		.flags = IOMMU_IOAS_MAP_READABLE | IOMMU_IOAS_MAP_FIXED_IOVA,
		.src_ioas_id = from,
		.dst_ioas_id = to,
		.src_iova = IOVA + page * PAGE_SIZE,
		.dst_iova = IOVA + page * PAGE_SIZE,
		.length = num * PAGE_SIZE,
	};

	return err(ioctl(fd, IOMMU_IOAS_COPY, &cmd));
}

static int change(int fd)
{
	struct iommu_ioas_change_process cmd = { .size = sizeof(cmd) };

	return err(ioctl(fd, IOMMU_IOAS_CHANGE_PROCESS, &cmd));
}

static int set_limit(unsigned int num)
{
	struct rlimit limit = { .rlim_cur = num * PAGE_SIZE,
				.rlim_max = FILE_PAGES * PAGE_SIZE };

	return err(setrlimit(RLIMIT_MEMLOCK, &limit));
}

/* VmPin or VmLck of a process in pages, or -1 */
static long pages_of(pid_t pid, const char *key)
{
	char path[64], line[256];
	long val = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	f = fopen(path, "re");
	if (!f)
		return -1;
	while (val < 0 && fgets(line, sizeof(line), f))
		if (!strncmp(line, key, strlen(key)) &&
		    line[strlen(key)] == ':')
			val = strtol(line + strlen(key) + 1, NULL, 10) * 1024 /
			      PAGE_SIZE;
	fclose(f);
	return val;
}

enum op { MAP, UNMAP, CHANGE, LIMIT };

struct request {
	enum op op;
	unsigned int page;
	unsigned int num;
};

struct owner {
	pid_t pid;
	/* Pipes for the requests to the owner, and for its answers */
	int to;
	int from;
};

FIXTURE(change_process)
{
	int fd;
	int file;
	__u32 ioas_id;
	__u32 stdev_id;
	struct owner a;
	/* Another user, and another process of the first user */
	struct owner b;
	struct owner a2;
};

FIXTURE_VARIANT(change_process)
{
	bool by_mm;
};

FIXTURE_VARIANT_ADD(change_process, limit_of_user)
{
	.by_mm = false,
};

FIXTURE_VARIANT_ADD(change_process, limit_of_process)
{
	.by_mm = true,
};

static void __attribute__((noreturn))
serve(FIXTURE_DATA(change_process) *self, int from, int to, uid_t uid)
{
	struct request req;
	int rc;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (set_limit(FILE_PAGES) || (uid && setresuid(uid, uid, uid)))
		_exit(1);
	while (read(from, &req, sizeof(req)) == sizeof(req)) {
		switch (req.op) {
		case MAP:
			rc = map(self->fd, self->ioas_id, self->file, req.page,
				 req.num);
			break;
		case UNMAP:
			rc = unmap(self->fd, self->ioas_id, req.page, req.num);
			break;
		case CHANGE:
			rc = change(self->fd);
			break;
		case LIMIT:
			rc = set_limit(req.num);
			break;
		default:
			rc = EDOM;
		}
		if (write(to, &rc, sizeof(rc)) != sizeof(rc))
			break;
	}
	_exit(0);
}

static int owner_start(FIXTURE_DATA(change_process) *self, struct owner *owner,
		       uid_t uid)
{
	int requests[2], answers[2];

	if (pipe(requests) || pipe(answers))
		return errno;
	owner->pid = fork();
	if (!owner->pid) {
		close(requests[1]);
		close(answers[0]);
		serve(self, requests[0], answers[1], uid);
	}
	close(requests[0]);
	close(answers[1]);
	owner->to = requests[1];
	owner->from = answers[0];
	return err(owner->pid < 0);
}

static void owner_stop(struct owner *owner)
{
	if (owner->pid <= 0)
		return;
	kill(owner->pid, SIGKILL);
	waitpid(owner->pid, NULL, 0);
	close(owner->to);
	close(owner->from);
	owner->pid = 0;
}

static int ask(struct owner *owner, enum op op, unsigned int page,
	       unsigned int num)
{
	struct request req = { .op = op, .page = page, .num = num };
	int rc;

	if (write(owner->to, &req, sizeof(req)) != sizeof(req) ||
	    read(owner->from, &rc, sizeof(rc)) != sizeof(rc))
		return EPIPE;
	return rc;
}

/* The owner can pin exactly this number of pages under its limit */
#define expect_left(owner, num)						\
	do {								\
		unsigned int _left = num;				\
									\
		if (_left) {						\
			EXPECT_EQ(0, ask(owner, MAP, FILE_PAGES / 2,	\
					 _left));			\
			EXPECT_EQ(0, ask(owner, UNMAP, FILE_PAGES / 2,	\
					 _left));			\
		}							\
		EXPECT_EQ(ENOMEM, ask(owner, MAP, FILE_PAGES / 2,	\
				      _left + 1));			\
	} while (0)

#define expect_pages(owner, num)					\
	do {								\
		EXPECT_EQ(num, pages_of((owner)->pid, "VmPin"));	\
		EXPECT_EQ(variant->by_mm ? num : 0,			\
			  pages_of((owner)->pid, "VmLck"));		\
	} while (0)

FIXTURE_SETUP(change_process)
{
	struct iommu_option option = {
		.size = sizeof(option),
		.option_id = IOMMU_OPTION_RLIMIT_MODE,
		.op = IOMMU_OPTION_OP_SET,
		.val64 = variant->by_mm,
	};

	self->fd = open("/dev/iommu", O_RDWR);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, ioctl(self->fd, IOMMU_OPTION, &option));
	test_ioctl_ioas_alloc(&self->ioas_id);
	test_cmd_mock_domain(self->ioas_id, &self->stdev_id, NULL, NULL);
	self->file = memfd_create("iommufd", MFD_CLOEXEC);
	ASSERT_LE(0, self->file);
	ASSERT_EQ(0, ftruncate(self->file, FILE_PAGES * PAGE_SIZE));
	ASSERT_EQ(0, owner_start(self, &self->a, USER_A));
	ASSERT_EQ(0, owner_start(self, &self->b, USER_B));
	ASSERT_EQ(0, owner_start(self, &self->a2, USER_A));
}

FIXTURE_TEARDOWN(change_process)
{
	owner_stop(&self->a);
	owner_stop(&self->b);
	owner_stop(&self->a2);
	close(self->file);
	close(self->fd);
}

/* Pages move to another user and back, with a limit of exactly their number */
TEST_F(change_process, moves)
{
	ASSERT_EQ(0, ask(&self->a, LIMIT, 0, NUM));
	ASSERT_EQ(0, ask(&self->b, LIMIT, 0, NUM));
	ASSERT_EQ(0, ask(&self->a, MAP, 0, NUM - 1));
	ASSERT_EQ(0, ask(&self->a, MAP, NUM - 1, 1));
	expect_left(&self->a, 0);
	expect_left(&self->b, NUM);
	expect_pages(&self->a, NUM);
	expect_pages(&self->b, 0);

	ASSERT_EQ(0, ask(&self->b, CHANGE, 0, 0));
	expect_pages(&self->a, 0);
	expect_pages(&self->b, NUM);
	expect_left(&self->a, NUM);
	expect_left(&self->b, 0);

	ASSERT_EQ(0, ask(&self->a, CHANGE, 0, 0));
	expect_pages(&self->a, NUM);
	expect_pages(&self->b, 0);
	expect_left(&self->a, 0);
	expect_left(&self->b, NUM);

	/* The owner gets its limit back, also if another process unmaps them */
	ASSERT_EQ(0, ask(&self->b, UNMAP, 0, NUM));
	expect_pages(&self->a, 0);
	expect_pages(&self->b, 0);
	expect_left(&self->a, NUM);
	expect_left(&self->b, NUM);
}

/* The limit is too low by a single page, with pages of both users */
TEST_F(change_process, over_the_limit)
{
	ASSERT_EQ(0, ask(&self->a, LIMIT, 0, NUM));
	ASSERT_EQ(0, ask(&self->a, MAP, 0, NUM));
	ASSERT_EQ(0, ask(&self->b, MAP, NUM, 3));
	ASSERT_EQ(0, ask(&self->b, LIMIT, 0, NUM + 2));

	EXPECT_EQ(ENOMEM, ask(&self->b, CHANGE, 0, 0));
	expect_pages(&self->a, NUM);
	expect_pages(&self->b, 3);
	expect_left(&self->a, 0);
	expect_left(&self->b, NUM - 1);

	ASSERT_EQ(0, ask(&self->b, LIMIT, 0, NUM + 3));
	EXPECT_EQ(0, ask(&self->b, CHANGE, 0, 0));
	expect_pages(&self->a, 0);
	expect_pages(&self->b, NUM + 3);
	expect_left(&self->a, NUM);
	expect_left(&self->b, 0);
}

/*
 * A live update: two processes of the same user, with a limit that is too low
 * to charge the pages twice. But the limit of the second process does apply.
 */
TEST_F(change_process, same_user)
{
	ASSERT_EQ(0, ask(&self->a, LIMIT, 0, NUM));
	ASSERT_EQ(0, ask(&self->a, MAP, 0, NUM));

	ASSERT_EQ(0, ask(&self->a2, LIMIT, 0, NUM - 1));
	EXPECT_EQ(ENOMEM, ask(&self->a2, CHANGE, 0, 0));
	expect_pages(&self->a, NUM);
	expect_pages(&self->a2, 0);
	expect_left(&self->a, 0);

	ASSERT_EQ(0, ask(&self->a2, LIMIT, 0, NUM));
	EXPECT_EQ(0, ask(&self->a2, CHANGE, 0, 0));
	expect_pages(&self->a, 0);
	expect_pages(&self->a2, NUM);
	expect_left(&self->a2, 0);
	expect_left(&self->a, variant->by_mm ? NUM : 0);

	/* The current owner is not checked again, even with a lower limit */
	ASSERT_EQ(0, ask(&self->a2, LIMIT, 0, 0));
	EXPECT_EQ(0, ask(&self->a2, CHANGE, 0, 0));
	expect_pages(&self->a2, NUM);
}

/* The former process is gone, as after execve() */
TEST_F(change_process, owner_is_gone)
{
	ASSERT_EQ(0, ask(&self->a, LIMIT, 0, NUM));
	ASSERT_EQ(0, ask(&self->a2, LIMIT, 0, NUM));
	ASSERT_EQ(0, ask(&self->b, LIMIT, 0, NUM));
	ASSERT_EQ(0, ask(&self->a, MAP, 0, NUM));
	owner_stop(&self->a);

	/* The charge to the user stays, but the address space is gone */
	expect_left(&self->a2, variant->by_mm ? NUM : 0);
	ASSERT_EQ(0, ask(&self->b, CHANGE, 0, 0));
	expect_pages(&self->b, NUM);
	expect_left(&self->b, 0);
	expect_left(&self->a2, NUM);
	ASSERT_EQ(0, ask(&self->b, UNMAP, 0, NUM));
	expect_pages(&self->b, 0);
	expect_left(&self->b, NUM);
}

/* Pages that have been unpinned after their owner was gone are not charged */
TEST_F(change_process, unpinned_later)
{
	struct iommu_test_cmd rw = {
		.size = sizeof(rw),
		.op = IOMMU_TEST_OP_ACCESS_RW,
		.access_rw = { .iova = IOVA, .length = 1,
			       .flags = MOCK_ACCESS_RW_SLOW_PATH },
	};
	char buf;

	ASSERT_EQ(0, ask(&self->a, MAP, 0, NUM));
	test_cmd_create_access(self->ioas_id, &rw.id, 0);
	owner_stop(&self->a);
	test_ioctl_destroy(self->stdev_id);

	/* This pins a page. The kernel compares the number with the charge */
	rw.access_rw.uptr = (uintptr_t)&buf;
	EXPECT_EQ(0, ioctl(self->fd, _IOMMU_TEST_CMD(rw.op), &rw));
	test_cmd_destroy_access(rw.id);

	ASSERT_EQ(0, ask(&self->b, LIMIT, 0, NUM));
	ASSERT_EQ(0, ask(&self->b, CHANGE, 0, 0));
	expect_pages(&self->b, 0);
	test_cmd_mock_domain(self->ioas_id, &self->stdev_id, NULL, NULL);
	expect_pages(&self->b, NUM);
	expect_left(&self->b, 0);
}

/* Several IOASs and an access share pages, which are pinned and charged once */
TEST_F(change_process, shared_pages)
{
	__u32 copy_id, free_id, access_id;
	struct iommu_test_cmd access = {
		.size = sizeof(access),
		.op = IOMMU_TEST_OP_ACCESS_PAGES,
		.access_pages = { .iova = IOVA, .length = 2 * PAGE_SIZE },
	};

	ASSERT_EQ(0, ask(&self->a, LIMIT, 0, NUM));
	ASSERT_EQ(0, ask(&self->b, LIMIT, 0, NUM));
	ASSERT_EQ(0, ask(&self->a, MAP, 0, NUM));
	test_ioctl_ioas_alloc(&copy_id);
	test_cmd_mock_domain(copy_id, NULL, NULL, NULL);
	ASSERT_EQ(0, copy(self->fd, self->ioas_id, copy_id, 0, NUM));
	/* An IOAS without a domain. Its access pins two of the pages */
	test_ioctl_ioas_alloc(&free_id);
	ASSERT_EQ(0, copy(self->fd, self->ioas_id, free_id, 0, NUM));
	test_cmd_create_access(free_id, &access_id,
			       MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES);
	access.id = access_id;
	ASSERT_EQ(0, ioctl(self->fd, _IOMMU_TEST_CMD(access.op), &access));

	expect_pages(&self->a, NUM);
	EXPECT_EQ(0, ask(&self->b, CHANGE, 0, 0));
	expect_pages(&self->a, 0);
	expect_pages(&self->b, NUM);
	expect_left(&self->a, NUM);
	expect_left(&self->b, 0);

	/* The last unpin of a page must uncharge the current owner */
	ASSERT_EQ(0, ask(&self->a, UNMAP, 0, NUM));
	expect_pages(&self->b, NUM);
	ASSERT_EQ(0, unmap(self->fd, copy_id, 0, NUM));
	expect_pages(&self->b, 2);
	test_cmd_destroy_access_pages(access_id,
				      access.access_pages.out_access_pages_id);
	expect_pages(&self->b, 0);
	expect_left(&self->b, NUM);
	test_cmd_destroy_access(access_id);
}

/* Pages that are pinned later belong to the new owner, too */
TEST_F(change_process, pinned_later)
{
	ASSERT_EQ(0, ask(&self->b, LIMIT, 0, NUM));
	test_ioctl_destroy(self->stdev_id);
	ASSERT_EQ(0, ask(&self->a, MAP, 0, NUM));
	expect_pages(&self->a, 0);
	ASSERT_EQ(0, ask(&self->b, CHANGE, 0, 0));
	expect_pages(&self->b, 0);

	test_cmd_mock_domain(self->ioas_id, &self->stdev_id, NULL, NULL);
	expect_pages(&self->a, 0);
	expect_pages(&self->b, NUM);
	expect_left(&self->b, 0);

	/* The limit of the new owner applies to these pages */
	test_ioctl_destroy(self->stdev_id);
	ASSERT_EQ(0, ask(&self->b, LIMIT, 0, NUM - 1));
	test_err_mock_domain(ENOMEM, self->ioas_id, NULL, NULL);
	expect_pages(&self->b, 0);
}

/* Pages that a process with CAP_IPC_LOCK maps are not charged to any limit */
TEST_F(change_process, unlimited)
{
	struct owner root = {};

	ASSERT_EQ(0, owner_start(self, &root, 0));
	ASSERT_EQ(0, ask(&root, LIMIT, 0, 0));
	ASSERT_EQ(0, ask(&root, MAP, 0, NUM));
	EXPECT_EQ(NUM, pages_of(root.pid, "VmPin"));
	ASSERT_EQ(0, ask(&self->a, LIMIT, 0, 1));
	EXPECT_EQ(0, ask(&self->a, CHANGE, 0, 0));
	EXPECT_EQ(0, pages_of(root.pid, "VmPin"));
	EXPECT_EQ(NUM, pages_of(self->a.pid, "VmPin"));
	EXPECT_EQ(0, pages_of(self->a.pid, "VmLck"));
	expect_left(&self->a, 1);

	/* Its limit applies to pages that are charged */
	ASSERT_EQ(0, ask(&self->a, MAP, NUM, 1));
	EXPECT_EQ(ENOMEM, ask(&root, CHANGE, 0, 0));
	EXPECT_EQ(NUM + 1, pages_of(self->a.pid, "VmPin"));
	ASSERT_EQ(0, ask(&self->a, UNMAP, 0, NUM + 1));
	EXPECT_EQ(0, pages_of(self->a.pid, "VmPin"));
	expect_left(&self->a, 1);
	owner_stop(&root);
}

/* The format of the command, and a context without mappings */
TEST_F(change_process, command)
{
	struct {
		struct iommu_ioas_change_process cmd;
		__u32 more;
	} cmd = { .cmd = { .size = sizeof(cmd.cmd) } };

	EXPECT_EQ(0, ask(&self->b, CHANGE, 0, 0));
	cmd.cmd.__reserved = 1;
	EXPECT_EQ(EOPNOTSUPP, err(ioctl(self->fd, IOMMU_IOAS_CHANGE_PROCESS,
					&cmd)));
	cmd.cmd.__reserved = 1U << 31;
	EXPECT_EQ(EOPNOTSUPP, err(ioctl(self->fd, IOMMU_IOAS_CHANGE_PROCESS,
					&cmd)));
	cmd.cmd.__reserved = 0;
	cmd.cmd.size = 7;
	EXPECT_EQ(EINVAL, err(ioctl(self->fd, IOMMU_IOAS_CHANGE_PROCESS,
				    &cmd)));
	cmd.cmd.size = sizeof(cmd);
	EXPECT_EQ(0, err(ioctl(self->fd, IOMMU_IOAS_CHANGE_PROCESS, &cmd)));
	cmd.more = 1;
	EXPECT_EQ(E2BIG, err(ioctl(self->fd, IOMMU_IOAS_CHANGE_PROCESS, &cmd)));
}

/* Memory of a process cannot get a new owner, whichever IOAS maps it */
TEST_F(change_process, not_from_a_file)
{
	__u32 other_id;
	__u64 iova;
	void *mem = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ASSERT_NE(MAP_FAILED, mem);
	ASSERT_EQ(0, ask(&self->a, MAP, 0, NUM));
	test_ioctl_ioas_alloc(&other_id);
	test_ioctl_ioas_map_id(other_id, mem, PAGE_SIZE, &iova);
	EXPECT_EQ(EINVAL, ask(&self->b, CHANGE, 0, 0));
	EXPECT_EQ(EINVAL, change(self->fd));
	expect_pages(&self->a, NUM);
	expect_pages(&self->b, 0);
	test_ioctl_destroy(other_id);
	EXPECT_EQ(0, ask(&self->b, CHANGE, 0, 0));
	expect_pages(&self->a, 0);
	expect_pages(&self->b, NUM);
}

/* A thread, and the page that it has to wait for */
struct slow_map {
	int fd;
	int uffd;
	__u32 ioas_id;
	void *mem;
	int rc;
	pthread_t thread;
};

/* Returns 0 or the errno */
static int slow_page(struct slow_map *slow)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };

	slow->uffd = syscall(__NR_userfaultfd, O_CLOEXEC);
	if (slow->uffd < 0 || ioctl(slow->uffd, UFFDIO_API, &api))
		return errno;
	slow->mem = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (slow->mem == MAP_FAILED)
		return errno;
	reg.range.start = (uintptr_t)slow->mem;
	reg.range.len = PAGE_SIZE;
	return err(ioctl(slow->uffd, UFFDIO_REGISTER, &reg));
}

/* Start the thread. On return it waits for the page, until slow_end() */
static int slow_start(struct slow_map *slow, void *(*fn)(void *))
{
	struct uffd_msg msg;
	int rc = pthread_create(&slow->thread, NULL, fn, slow);

	if (rc)
		return rc;
	if (read(slow->uffd, &msg, sizeof(msg)) != sizeof(msg))
		return errno;
	return msg.event != UFFD_EVENT_PAGEFAULT;
}

/* Returns the errno of the thread */
static int slow_end(struct slow_map *slow)
{
	struct uffdio_zeropage zero = {
		.range = { (uintptr_t)slow->mem, PAGE_SIZE },
	};
	int rc = err(ioctl(slow->uffd, UFFDIO_ZEROPAGE, &zero)) ?:
		 pthread_join(slow->thread, NULL);

	close(slow->uffd);
	return rc ?: slow->rc;
}

/* Waits only if the IOAS has a domain */
static int slow_map_now(struct slow_map *slow)
{
	__u64 iova = IOVA;

	return err(_test_ioctl_ioas_map(slow->fd, slow->ioas_id, slow->mem,
					PAGE_SIZE, &iova,
					IOMMU_IOAS_MAP_READABLE |
						IOMMU_IOAS_MAP_FIXED_IOVA));
}

static void *slow_map(void *arg)
{
	struct slow_map *slow = arg;

	slow->rc = slow_map_now(slow);
	return NULL;
}

/* Another thread is in the middle of a map, and waits for its page */
TEST_F(change_process, busy)
{
	struct slow_map slow = { .fd = self->fd };
	int rc = slow_page(&slow);

	if (rc)
		SKIP(return, "no userfaultfd: %s", strerror(rc));
	ASSERT_EQ(0, ask(&self->a, MAP, 0, NUM));
	test_ioctl_ioas_alloc(&slow.ioas_id);
	test_cmd_mock_domain(slow.ioas_id, NULL, NULL, NULL);
	ASSERT_EQ(0, slow_start(&slow, slow_map));

	EXPECT_EQ(EBUSY, ask(&self->b, CHANGE, 0, 0));
	expect_pages(&self->a, NUM);
	expect_pages(&self->b, 0);

	ASSERT_EQ(0, slow_end(&slow));
	EXPECT_EQ(EINVAL, ask(&self->b, CHANGE, 0, 0));
	ASSERT_EQ(0, unmap(self->fd, slow.ioas_id, 0, 1));
	EXPECT_EQ(0, ask(&self->b, CHANGE, 0, 0));
	expect_pages(&self->a, 0);
	expect_pages(&self->b, NUM);
}

static void *slow_attach(void *arg)
{
	struct slow_map *slow = arg;
	__u32 stdev_id;

	slow->rc = err(_test_cmd_mock_domain(slow->fd, slow->ioas_id, &stdev_id,
					     NULL, NULL));
	return NULL;
}

/* Whether the process soon gets into this state */
static bool gets(pid_t pid, char state)
{
	char path[64], is = 0;
	unsigned int i;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	for (i = 0; i != 30000; i++) {
		f = fopen(path, "re");
		if (!f)
			return false;
		if (fscanf(f, "%*d (%*[^)]) %c", &is) != 1)
			is = 0;
		fclose(f);
		if (is == state)
			return true;
		usleep(1000);
	}
	return false;
}

/*
 * A process that waits for an IOAS can be killed: the IOAS may be in use for as
 * long as another process makes its memory available to a device
 */
TEST_F(change_process, killed)
{
	struct slow_map slow = { .fd = self->fd };
	struct request req = { .op = CHANGE };
	int rc = slow_page(&slow);

	if (rc)
		SKIP(return, "no userfaultfd: %s", strerror(rc));
	ASSERT_EQ(0, ask(&self->a, MAP, 0, NUM));
	test_ioctl_ioas_alloc(&slow.ioas_id);
	ASSERT_EQ(0, slow_map_now(&slow));
	ASSERT_EQ(0, slow_start(&slow, slow_attach));

	ASSERT_EQ(sizeof(req), write(self->b.to, &req, sizeof(req)));
	EXPECT_TRUE(gets(self->b.pid, 'D'));
	ASSERT_EQ(0, kill(self->b.pid, SIGKILL));
	EXPECT_TRUE(gets(self->b.pid, 'Z'));

	ASSERT_EQ(0, slow_end(&slow));
	owner_stop(&self->b);
	expect_pages(&self->a, NUM);
	ASSERT_EQ(0, unmap(self->fd, slow.ioas_id, 0, 1));
	EXPECT_EQ(0, ask(&self->a2, CHANGE, 0, 0));
	expect_pages(&self->a, 0);
	expect_pages(&self->a2, NUM);
}

struct turns {
	int fd;
	int file;
	__u32 ioas_id;
	int stop;
	/* How often the threads have succeeded */
	unsigned int copies;
	unsigned int maps;
};

/* The race ends after CHANGES. The slowest kernel makes LEAST_CHANGES. */
#define CHANGES		200
#define LEAST_CHANGES	10

static void count_success(unsigned int *num)
{
	__atomic_fetch_add(num, 1, __ATOMIC_RELAXED);
}

static unsigned int successes(const unsigned int *num)
{
	return __atomic_load_n(num, __ATOMIC_RELAXED);
}

/* A second IOAS comes and goes, with a domain and with pages of the first */
static void *copy_and_destroy(void *arg)
{
	struct turns *turns = arg;
	__u32 ioas_id, stdev_id;

	while (!__atomic_load_n(&turns->stop, __ATOMIC_RELAXED)) {
		if (_test_ioctl_ioas_alloc(turns->fd, &ioas_id))
			break;
		if (!_test_cmd_mock_domain(turns->fd, ioas_id, &stdev_id, NULL,
					   NULL)) {
			if (!copy(turns->fd, turns->ioas_id, ioas_id, 0, NUM))
				count_success(&turns->copies);
			_test_ioctl_destroy(turns->fd, stdev_id);
		}
		/* EBUSY: the ioctl of another thread holds the IOAS */
		while (_test_ioctl_destroy(turns->fd, ioas_id) &&
		       errno == EBUSY)
			sched_yield();
	}
	return NULL;
}

static void *map_and_unmap(void *arg)
{
	struct turns *turns = arg;

	while (!__atomic_load_n(&turns->stop, __ATOMIC_RELAXED)) {
		if (!map(turns->fd, turns->ioas_id, turns->file, 2 * NUM, NUM))
			count_success(&turns->maps);
		unmap(turns->fd, turns->ioas_id, 2 * NUM, NUM);
	}
	return NULL;
}

/* No charge is left in the end, whichever calls run at the same time */
TEST_F_TIMEOUT(change_process, race, 240)
{
	struct turns turns = { .fd = self->fd, .file = self->file,
			       .ioas_id = self->ioas_id };
	double end = now() + 100;
	pthread_t threads[2];
	unsigned int i, calls, done = 0;
	int rc;

	ASSERT_EQ(0, ask(&self->a, LIMIT, 0, FILE_PAGES));
	ASSERT_EQ(0, ask(&self->a, MAP, 0, NUM));
	ASSERT_EQ(0, pthread_create(&threads[0], NULL, copy_and_destroy,
				    &turns));
	ASSERT_EQ(0, pthread_create(&threads[1], NULL, map_and_unmap, &turns));
	/* On a busy machine, a thread may begin after many changes */
	for (calls = 0; (done < CHANGES || !successes(&turns.copies) ||
			 !successes(&turns.maps)) && now() < end; calls++) {
		rc = ask(calls % 2 ? &self->a : &self->b, CHANGE, 0, 0);
		if (!rc)
			done++;
		else if (rc != EBUSY)
			break;
		/* The owners also unmap and map some of their pages */
		ask(&self->b, calls % 3 ? MAP : UNMAP, NUM, 1);
	}
	__atomic_store_n(&turns.stop, 1, __ATOMIC_RELAXED);
	for (i = 0; i != 2; i++)
		ASSERT_EQ(0, pthread_join(threads[i], NULL));
	EXPECT_LE(LEAST_CHANGES, done) {
		TH_LOG("%u changes in %u calls, %u copies, %u maps", done,
		       calls, turns.copies, turns.maps);
	}
	EXPECT_LT(0, turns.copies);
	EXPECT_LT(0, turns.maps);

	ASSERT_EQ(0, ask(&self->b, CHANGE, 0, 0));
	expect_pages(&self->a, 0);
	EXPECT_EQ(0, _test_ioctl_ioas_unmap(self->fd, self->ioas_id, 0,
					    UINT64_MAX, NULL));
	expect_pages(&self->a, 0);
	expect_pages(&self->b, 0);
	EXPECT_EQ(0, pages_of(getpid(), "VmPin"));
	ASSERT_EQ(0, ask(&self->a, LIMIT, 0, NUM));
	ASSERT_EQ(0, ask(&self->b, LIMIT, 0, NUM));
	expect_left(&self->a, NUM);
	expect_left(&self->b, NUM);
}

TEST_HARNESS_MAIN
