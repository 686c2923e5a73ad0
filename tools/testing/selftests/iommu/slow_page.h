/* SPDX-License-Identifier: GPL-2.0-only */
/* A page of user memory that a system call has to wait for */
#ifndef __SELFTEST_IOMMU_SLOW_PAGE_H
#define __SELFTEST_IOMMU_SLOW_PAGE_H

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <linux/userfaultfd.h>

/* User memory that has to be waited for: a page that the test provides */
struct slow_page {
	int uffd;
	void *page;
	/* Only a write has to wait */
	bool write;
	size_t size;
};

static int slow_page_init(struct slow_page *slow, bool write)
{
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = write ? UFFD_FEATURE_PAGEFAULT_FLAG_WP : 0,
	};
	struct uffdio_register reg;

	slow->write = write;
	slow->size = sysconf(_SC_PAGESIZE);
	slow->uffd = syscall(SYS_userfaultfd, O_CLOEXEC);
	if (slow->uffd < 0)
		return -errno;
	slow->page = mmap(NULL, slow->size, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert(slow->page != MAP_FAILED);
	if (ioctl(slow->uffd, UFFDIO_API, &api))
		return -errno;
	reg = (struct uffdio_register){
		.range = { (uintptr_t)slow->page, slow->size },
		.mode = write ? UFFDIO_REGISTER_MODE_WP :
				UFFDIO_REGISTER_MODE_MISSING,
	};
	return ioctl(slow->uffd, UFFDIO_REGISTER, &reg) ? -errno : 0;
}

/* Writes have to wait from here on, reads do not */
static void slow_page_protect(struct slow_page *slow)
{
	struct uffdio_writeprotect wp = {
		.range = { (uintptr_t)slow->page, slow->size },
		.mode = UFFDIO_WRITEPROTECT_MODE_WP,
	};

	assert(!ioctl(slow->uffd, UFFDIO_WRITEPROTECT, &wp));
}

/* Wait until a thread waits for the page */
static void slow_page_wait(struct slow_page *slow)
{
	struct uffd_msg msg;

	assert(read(slow->uffd, &msg, sizeof(msg)) == sizeof(msg));
	assert(msg.event == UFFD_EVENT_PAGEFAULT);
}

static void slow_page_provide(struct slow_page *slow)
{
	struct uffdio_writeprotect wp = {
		.range = { (uintptr_t)slow->page, slow->size },
	};
	struct uffdio_zeropage zero = {
		.range = { (uintptr_t)slow->page, slow->size },
	};

	if (slow->write)
		assert(!ioctl(slow->uffd, UFFDIO_WRITEPROTECT, &wp));
	else
		assert(!ioctl(slow->uffd, UFFDIO_ZEROPAGE, &zero));
}

#endif
