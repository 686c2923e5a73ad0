// SPDX-License-Identifier: GPL-2.0-only
/*
 * The command queue in software of an ARM SMMUv3, as far as the process of the
 * VMM is concerned: its threads, its limits and its end
 *
 * The worker is a thread of the process that allocates the first queue. User
 * space decides whether this process runs, and nobody else may have to wait for
 * it.
 */
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "smmuv3_vcmdq.h"

#define CGROUP		"/sys/fs/cgroup"
#define CGROUP_HELD	CGROUP "/smmuv3_vcmdq_vmm"

/* An unprivileged user */
#define NOBODY		65534

/* Seconds after which a call waits for the worker, which would be forever */
#define SOON		60

/* A VM without a queue, and memory that child processes share */
FIXTURE(vmm)
{
	struct vm vm;
	struct cmdqv c;
	/* A second VM, if a test has started it */
	struct vm other;
	struct cmdqv other_c;
	struct shared {
		__u32 go;
		__u32 queue_id;
		int rc[4];
	} *shared;
};

FIXTURE_SETUP(vmm)
{
	self->other.fd = -1;
	vm_start(_metadata, &self->vm);
	cmdqv_start(_metadata, &self->vm, &self->c);
	if (_metadata->exit_code)
		return;
	vsmmu_set_up(_metadata, &self->vm.v, &self->vm.g, &self->vm.dev, VSID);
	self->shared = mmap(NULL, sizeof(*self->shared), PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->shared);
}

FIXTURE_TEARDOWN(vmm)
{
	if (self->other.fd >= 0) {
		edu_close(&self->other.dev);
		close(self->other.fd);
	}
	vm_stop(_metadata, &self->vm);
}

/* Another VM, of this process, with another device of the same SMMU */
static void other_start(struct __test_metadata *_metadata,
			FIXTURE_DATA(vmm) *self)
{
	char bdf[2][BDF_LEN], why[128];
	const char *unused;

	ASSERT_EQ(0, edu_find_pair(EDU_SAME_SMMU, bdf[0], bdf[1], why,
				   sizeof(why)));
	unused = strcmp(bdf[0], self->vm.dev.bdf) ? bdf[0] : bdf[1];
	vm_start_on(_metadata, &self->other, unused);
	cmdqv_start(_metadata, &self->other, &self->other_c);
	ASSERT_EQ(0, queue_alloc(&self->other_c, 0, self->other_c.queue_ipa,
				 GUEST_PAGE, &self->other_c.queue_id));
	ASSERT_TRUE(enable(&self->other_c));
}

/* A process that has the worker, and does nothing else */
static pid_t child_start(struct __test_metadata *_metadata,
			 FIXTURE_DATA(vmm) *self)
{
	struct shared *shared = self->shared;
	pid_t pid;

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		/* Do not keep the device open in the child */
		edu_close(&self->vm.dev);
		shared->rc[0] = queue_alloc(&self->c, 0, self->c.queue_ipa,
					    GUEST_PAGE, &shared->queue_id);
		__atomic_store_n(&shared->go, 1, __ATOMIC_RELEASE);
		for (;;)
			pause();
	}
	ASSERT_TRUE(wait_for(__atomic_load_n(&shared->go, __ATOMIC_ACQUIRE)));
	ASSERT_EQ(0, shared->rc[0]);
	self->c.queue_id = shared->queue_id;
	EXPECT_TRUE(has_worker(pid));
	return pid;
}

/* The worker belongs to the process that allocated the queue */
TEST_F(vmm, kill)
{
	struct cmdqv *c = &self->c;
	struct vm *vm = &self->vm;
	pid_t pid = child_start(_metadata, self);
	__u32 id;

	EXPECT_FALSE(has_worker(getpid()));
	EXPECT_TRUE(enable(c));
	EXPECT_TRUE(cmd_sync(c, cmd_nh_all(0)));
	ASSERT_EQ(0, kill(pid, SIGKILL));
	ASSERT_EQ(pid, waitpid(pid, NULL, 0));
	EXPECT_TRUE(wait_for(reg_read(c, REG_STATUS) == 0));
	EXPECT_EQ(-EEXIST, queue_alloc(c, 0, c->queue_ipa, GUEST_PAGE, &id));
	EXPECT_EQ(0, destroy(vm->fd, c->queue_id));
	EXPECT_EQ(0, queue_alloc(c, 0, c->queue_ipa, GUEST_PAGE, &id));
	EXPECT_TRUE(has_worker(getpid()));
	EXPECT_TRUE(enable(c));
	EXPECT_TRUE(cmd_sync(c, cmd_nh_all(0)));
}

/* Ways in which user space keeps a process from running */
FIXTURE(held)
{
	FIXTURE_DATA(vmm) vmm;
};

FIXTURE_VARIANT(held)
{
	bool freeze;
};

FIXTURE_VARIANT_ADD(held, stopped)
{
};

FIXTURE_VARIANT_ADD(held, frozen)
{
	.freeze = true,
};

FIXTURE_SETUP(held)
{
	vmm_setup(_metadata, &self->vmm, NULL);
}

FIXTURE_TEARDOWN(held)
{
	vmm_teardown(_metadata, &self->vmm, NULL);
}

static bool cgroup_frozen(void)
{
	char buf[128];

	return !read_str(CGROUP_HELD "/cgroup.events", buf, sizeof(buf)) &&
	       strstr(buf, "frozen 1");
}

static bool worker_stopped(pid_t pid)
{
	char buf[4096];

	return worker_status(pid, buf, sizeof(buf)) &&
	       strstr(buf, "\nState:\tT");
}

static void hold(struct __test_metadata *_metadata, pid_t pid, bool freeze)
{
	char buf[16];

	if (!freeze) {
		ASSERT_EQ(0, kill(pid, SIGSTOP));
		ASSERT_TRUE(wait_for(worker_stopped(pid)));
		return;
	}
	if (mkdir(CGROUP_HELD, 0755))
		ASSERT_EQ(EEXIST, errno);
	snprintf(buf, sizeof(buf), "%d", pid);
	ASSERT_EQ(0, write_str(CGROUP_HELD "/cgroup.procs", buf));
	ASSERT_EQ(0, write_str(CGROUP_HELD "/cgroup.freeze", "1"));
	/* This freezes the worker, too */
	ASSERT_TRUE(wait_for(cgroup_frozen()));
}

static void release(struct __test_metadata *_metadata, pid_t pid, bool freeze)
{
	EXPECT_EQ(0, freeze ? write_str(CGROUP_HELD "/cgroup.freeze", "0") :
			      kill(pid, SIGCONT));
}

/* All that another process may do to a VM, up to its end */
static void *end_vm(void *arg)
{
	FIXTURE_DATA(vmm) *vmm = arg;
	struct shared *shared = vmm->shared;
	struct vm *vm = &vmm->vm;

	reg_write(&vmm->c, REG_PROD, 0);
	shared->rc[0] = destroy(vm->fd, vmm->c.queue_id);
	shared->rc[1] = destroy(vm->fd, vm->v.hwpt_s1);
	/* The device goes, and its vDEVICE goes with it */
	edu_close(&vm->dev);
	shared->rc[2] = munmap(vmm->c.regs, PAGE0_SIZE);
	shared->rc[3] = destroy(vm->fd, vm->v.viommu_id);
	return NULL;
}

TEST_F_TIMEOUT(held, nobody_waits, 240)
{
	struct cmdqv *c = &self->vmm.c, *other = &self->vmm.other_c;
	struct timespec end;
	pthread_t thread;
	unsigned int i;
	bool ended;
	pid_t pid;

	if (variant->freeze && access(CGROUP "/cgroup.controllers", F_OK))
		SKIP(return, "no cgroup v2 at " CGROUP);
	other_start(_metadata, &self->vmm);
	pid = child_start(_metadata, &self->vmm);
	EXPECT_TRUE(enable(c));
	EXPECT_TRUE(cmd_sync(c, cmd_nh_all(0)));
	hold(_metadata, pid, variant->freeze);

	/* The guest gets no answer, and the other VM does */
	add(c, cmd_nh_all(0));
	reg_write(c, REG_PROD, c->prod);
	for (i = 0; i < 20; i++)
		EXPECT_TRUE(cmd_sync(other, cmd_nh_all(0)));
	EXPECT_NE(c->prod, reg_read(c, REG_CONS));

	memset(self->vmm.shared->rc, 0xff, sizeof(self->vmm.shared->rc));
	ASSERT_EQ(0, pthread_create(&thread, NULL, end_vm, &self->vmm));
	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += SOON;
	ended = !pthread_timedjoin_np(thread, NULL, &end);
	EXPECT_TRUE(ended);
	EXPECT_TRUE(has_worker(pid));
	release(_metadata, pid, variant->freeze);
	if (!ended)
		pthread_join(thread, NULL);
	for (i = 0; i < 4; i++)
		EXPECT_EQ(0, self->vmm.shared->rc[i]);

	/* The thread ends as soon as it can */
	EXPECT_TRUE(wait_for(!has_worker(pid)));
	EXPECT_TRUE(cmd_sync(other, cmd_nh_all(0)));
	EXPECT_EQ(0, kill(pid, SIGKILL));
	EXPECT_EQ(pid, waitpid(pid, NULL, 0));
	if (variant->freeze)
		EXPECT_TRUE(wait_for(!rmdir(CGROUP_HELD)));
}

/* Kill the process of a worker that has nothing to do any more */
TEST_F(held, killed)
{
	struct cmdqv *c = &self->vmm.c;
	struct vm *vm = &self->vmm.vm;
	pid_t pid;

	if (variant->freeze && access(CGROUP "/cgroup.controllers", F_OK))
		SKIP(return, "no cgroup v2 at " CGROUP);
	pid = child_start(_metadata, &self->vmm);
	EXPECT_TRUE(enable(c));
	hold(_metadata, pid, variant->freeze);
	EXPECT_EQ(0, destroy(vm->fd, c->queue_id));
	ASSERT_EQ(0, destroy(vm->fd, vm->v.hwpt_s1));
	ASSERT_EQ(0, destroy(vm->fd, vm->v.vdevice_id));
	ASSERT_EQ(0, munmap(c->regs, PAGE0_SIZE));
	EXPECT_EQ(0, destroy(vm->fd, vm->v.viommu_id));
	EXPECT_EQ(0, kill(pid, SIGKILL));
	EXPECT_EQ(pid, waitpid(pid, NULL, 0));
	if (variant->freeze)
		EXPECT_TRUE(wait_for(!rmdir(CGROUP_HELD)));
}

static bool spinning;

static void *spin(void *arg)
{
	while (__atomic_load_n(&spinning, __ATOMIC_RELAXED))
		;
	return NULL;
}

/* A worker that gets hardly any CPU time must delay only its own VM */
TEST_F_TIMEOUT(vmm, starved, 300)
{
	struct sched_param param = {};
	pthread_t spinner[3];
	double start, longest = 0;
	pthread_attr_t attr;
	char buf[4096];
	cpu_set_t cpu;
	unsigned int i;
	__u32 id;
	pid_t tid;

	ASSERT_EQ(0, queue_alloc(&self->c, 0, self->c.queue_ipa, GUEST_PAGE,
				 &self->c.queue_id));
	tid = worker_status(getpid(), buf, sizeof(buf));
	ASSERT_NE(0, tid);
	other_start(_metadata, self);

	CPU_ZERO(&cpu);
	CPU_SET(0, &cpu);
	ASSERT_EQ(0, sched_setaffinity(tid, sizeof(cpu), &cpu));
	ASSERT_EQ(0, sched_setscheduler(tid, SCHED_IDLE, &param));
	ASSERT_EQ(0, pthread_attr_init(&attr));
	ASSERT_EQ(0, pthread_attr_setaffinity_np(&attr, sizeof(cpu), &cpu));
	__atomic_store_n(&spinning, true, __ATOMIC_RELAXED);
	for (i = 0; i < ARRAY_SIZE(spinner); i++)
		ASSERT_EQ(0, pthread_create(&spinner[i], &attr, spin, NULL));

	for (i = 0; i < 50; i++) {
		/* Do as much work as possible, with a zap now and then */
		reg_write(&self->c, REG_CONFIG, 1);
		reg_write(&self->c, REG_PROD, random_u64());

		start = now();
		EXPECT_TRUE(cmd_sync(&self->other_c, cmd_nh_all(0)));
		EXPECT_EQ(0, destroy(self->other.fd, self->other_c.queue_id));
		ASSERT_EQ(0, queue_alloc(&self->other_c, 0,
					 self->other_c.queue_ipa, GUEST_PAGE,
					 &self->other_c.queue_id));
		ASSERT_EQ(0, munmap(self->other_c.regs, PAGE0_SIZE));
		self->other_c.regs = map_page0(&self->other_c);
		ASSERT_NE(MAP_FAILED, self->other_c.regs);
		EXPECT_TRUE(enable(&self->other_c));
		if (now() - start > longest)
			longest = now() - start;
	}
	TH_LOG("the other VM waited for %.3f s at most", longest);
	EXPECT_GT(SECONDS, longest);
	EXPECT_EQ(0, destroy(self->vm.fd, self->c.queue_id));
	EXPECT_EQ(0, queue_alloc(&self->c, 0, self->c.queue_ipa, GUEST_PAGE,
				 &id));
	__atomic_store_n(&spinning, false, __ATOMIC_RELAXED);
	for (i = 0; i < ARRAY_SIZE(spinner); i++)
		pthread_join(spinner[i], NULL);
}

/*
 * A worker counts as a process of its user. There is one for each vIOMMU with
 * queues, however many queues this has.
 */
TEST_F(vmm, nproc)
{
	struct iommu_viommu_tegra241_cmdqv data = {};
	struct rlimit limit = { 2, 2 };
	struct cmdqv *c = &self->c;
	struct vm *vm = &self->vm;
	__u64 page = guest_zero_page(&vm->g);
	__u32 id[3], first = vm->v.viommu_id;
	int *rc = self->shared->rc;
	int status;
	pid_t pid;

	ASSERT_EQ(0, viommu_alloc_data(vm, &data, sizeof(data), &id[0]));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		if (setrlimit(RLIMIT_NPROC, &limit) ||
		    setresuid(NOBODY, NOBODY, NOBODY))
			_exit(1);
		rc[0] = queue_alloc(c, 0, c->queue_ipa, GUEST_PAGE, &id[1]);
		rc[1] = queue_alloc(c, 1, page, GUEST_PAGE, &id[2]);
		vm->v.viommu_id = id[0];
		rc[2] = queue_alloc(c, 0, page, GUEST_PAGE, &id[0]);
		vm->v.viommu_id = first;
		if (destroy(vm->fd, id[2]) || destroy(vm->fd, id[1]))
			_exit(2);
		/* The worker stays, and can be used again */
		rc[3] = queue_alloc(c, 0, c->queue_ipa, GUEST_PAGE, &id[1]);
		_exit(!has_worker(getpid()));
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, rc[0]);
	EXPECT_EQ(0, rc[1]);
	EXPECT_EQ(-EAGAIN, rc[2]);
	EXPECT_EQ(0, rc[3]);
	EXPECT_EQ(0, destroy(vm->fd, id[0]));
}

/*
 * Let each allocation of a call fail in turn, and each of its lookups of an
 * object (fail_iommufd, ENOENT). A call must fail with one of these errnos, or
 * do without the memory, and must leave nothing behind.
 */
struct walk {
	int fd;
	unsigned int failed;
};

static void walk_start(struct __test_metadata *_metadata, struct walk *w)
{
	static const char *const knobs[][2] = {
		{ "failslab/ignore-gfp-wait", "N" },
		{ "failslab/verbose", "0" },
		{ "fail_page_alloc/ignore-gfp-wait", "N" },
		{ "fail_page_alloc/ignore-gfp-highmem", "N" },
		{ "fail_page_alloc/min-order", "0" },
		{ "fail_page_alloc/verbose", "0" },
		{ "fail_iommufd/verbose", "0" },
	};
	char path[64];
	unsigned int i;

	w->fd = open("/proc/thread-self/fail-nth", O_RDWR);
	if (w->fd < 0)
		SKIP(return, "no fault injection in this kernel");
	for (i = 0; i < ARRAY_SIZE(knobs); i++) {
		snprintf(path, sizeof(path), "/sys/kernel/debug/%s",
			 knobs[i][0]);
		if (write_str(path, knobs[i][1]))
			SKIP(return, "no %s", path);
	}
}

static void walk_arm(struct walk *w)
{
	char buf[16];

	snprintf(buf, sizeof(buf), "%u", w->failed + 1);
	if (pwrite(w->fd, buf, strlen(buf), 0) < 0)
		abort();
}

/* Whether a failure has been injected since walk_arm() */
static bool walk_failed(struct walk *w)
{
	char buf[16] = "";

	if (pread(w->fd, buf, sizeof(buf) - 1, 0) < 0 ||
	    pwrite(w->fd, "0", 1, 0) < 0)
		abort();
	if (atoi(buf))
		return false;
	w->failed++;
	return true;
}

/*
 * Walk @call, which evaluates to 0 or an errno. @undo undoes a success. The
 * last call must succeed, after at least @least failures.
 */
#define WALK(w, least, call, undo)					\
do {									\
	bool _failed;							\
	int _rc;							\
									\
	for ((w)->failed = 0; ; ) {					\
		walk_arm(w);						\
		_rc = (call);						\
		_failed = walk_failed(w);				\
		if (!_failed)						\
			break;						\
		if (!_rc) {						\
			ASSERT_EQ(0, undo);				\
		} else if (_rc != -EAGAIN && _rc != -ENOENT) {		\
			ASSERT_EQ(-ENOMEM, _rc) {			\
				TH_LOG("failure %u of " #call,		\
				       (w)->failed);			\
			}						\
		}							\
	}								\
	TH_LOG("%u failures: " #call, (w)->failed);			\
	ASSERT_EQ(0, _rc);						\
	EXPECT_LE(least, (w)->failed);					\
} while (0)

static int cmdqv_alloc(struct cmdqv *c)
{
	return viommu_alloc_data(c->vm, &c->data, sizeof(c->data),
				 &c->vm->v.viommu_id);
}

static int map_regs(struct cmdqv *c)
{
	c->regs = map_page0(c);
	return c->regs == MAP_FAILED ? -errno : 0;
}

/* Map the registers where no page table is, so a page fault must allocate it */
static int map_regs_at(struct cmdqv *c, void *addr)
{
	c->regs = mmap(addr, PAGE0_SIZE, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_FIXED_NOREPLACE, c->vm->fd,
		       c->data.out_vintf_mmap_offset);
	return c->regs == addr ? 0 : -errno;
}

/* The kernel repeats a page fault that has failed */
static int touch(struct cmdqv *c)
{
	reg_write(c, REG_GERRORN, 0);
	return 0;
}

static int unmap_regs(struct cmdqv *c)
{
	return munmap(c->regs, PAGE0_SIZE) ? -errno : 0;
}

static int queue_free(int fd, int queue, __u32 id)
{
	close(queue);
	return destroy(fd, id);
}

TEST_F_TIMEOUT(vmm, fail_nth, 240)
{
	void *far = (void *)(1UL << 40);
	struct cmdqv *c = &self->c;
	struct vm *vm = &self->vm;
	const int fd = vm->fd;
	__u32 second, events;
	struct walk w = {};
	__u64 page = guest_zero_page(&vm->g);
	int queue;

	walk_start(_metadata, &w);
	if (_metadata->exit_code)
		return;
	/* Begin with no vIOMMU */
	ASSERT_EQ(0, destroy(fd, vm->v.hwpt_s1));
	ASSERT_EQ(0, destroy(fd, vm->v.vdevice_id));
	ASSERT_EQ(0, unmap_regs(c));
	ASSERT_EQ(0, destroy(fd, vm->v.viommu_id));

	/* The object, its region for mmap(), and its registers */
	WALK(&w, 2 + PAGE0_SIZE / sysconf(_SC_PAGESIZE), cmdqv_alloc(c),
	     destroy(fd, vm->v.viommu_id));
	/* The object, and a thread that lives as long as its vIOMMU */
	WALK(&w, 5, queue_alloc(c, 0, c->queue_ipa, GUEST_PAGE, &c->queue_id),
	     destroy(fd, c->queue_id) ?: destroy(fd, vm->v.viommu_id) ?:
	     cmdqv_alloc(c));
	WALK(&w, 1, queue_alloc(c, 1, page, GUEST_PAGE, &second),
	     destroy(fd, second));
	WALK(&w, 1, map_regs(c), unmap_regs(c));
	ASSERT_EQ(0, unmap_regs(c));
	ASSERT_EQ(0, map_regs_at(c, far));
	WALK(&w, 1, touch(c), unmap_regs(c) ?: map_regs_at(c, far));
	WALK(&w, 2, vdevice_alloc(fd, vm->v.viommu_id, vm->dev.dev_id, VSID,
				  &vm->v.vdevice_id),
	     destroy(fd, vm->v.vdevice_id));
	WALK(&w, 3, iommufd_veventq_alloc(fd, vm->v.viommu_id,
					  IOMMU_VEVENTQ_TYPE_TEGRA241_CMDQV,
					  1 << 19, &events, &queue),
	     queue_free(fd, queue, events));

	/* All of it works, and can be destroyed */
	EXPECT_TRUE(enable(c));
	EXPECT_TRUE(cmd_sync(c, cmd_nh_all(0)));
	EXPECT_EQ(0, queue_free(fd, queue, events));
	EXPECT_EQ(0, destroy(fd, second));
	EXPECT_EQ(0, destroy(fd, c->queue_id));
	EXPECT_EQ(0, destroy(fd, vm->v.vdevice_id));
	EXPECT_EQ(-EBUSY, destroy(fd, vm->v.viommu_id));
	EXPECT_EQ(0, unmap_regs(c));
	EXPECT_EQ(0, destroy(fd, vm->v.viommu_id));
	EXPECT_TRUE(wait_for(!has_worker(getpid())));
	/* Nothing is left that locks an area of the IOAS */
	EXPECT_EQ(0, ioas_unmap(fd, vm->g.ioas_id, GUEST_RAM_IPA,
				GUEST_RAM_SIZE));
	close(w.fd);
}

TEST_HARNESS_MAIN
