// SPDX-License-Identifier: GPL-2.0-only
/* The calls of the fuzzer of iommufd beside the ioctls. See iommufd_fuzz.h */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/vfio.h>

#include "iommufd_fuzz_calls.h"

RUN(vfio)
{
	char *buf = scratch(thread);

	memset(buf, 0, DATA_AT);
	switch (args[0] % 6) {
	case 0:
		return ioctl(w->fd, VFIO_GET_API_VERSION);
	case 1:
		return ioctl(w->fd, VFIO_CHECK_EXTENSION, args[1] % 12);
	case 2:
		return ioctl(w->fd, VFIO_SET_IOMMU, args[1] % 8);
	case 3: {
		struct vfio_iommu_type1_info *info = (void *)buf;

		info->argsz = list_value(L_VFIO_ARGSZ, args[1]);
		return ioctl(w->fd, VFIO_IOMMU_GET_INFO, buf);
	}
	case 4: {
		struct vfio_iommu_type1_dma_map *map = (void *)buf;

		map->argsz = list_value(L_VFIO_ARGSZ, args[1]);
		map->flags = args[2] & 7;
		map->vaddr = some_address(args[3], args[4]);
		map->iova = some_iova(args[5], args[6]);
		map->size = some_length(args[7]);
		return ioctl(w->fd, VFIO_IOMMU_MAP_DMA, buf);
	}
	default: {
		struct vfio_iommu_type1_dma_unmap *unmap_dma = (void *)buf;

		unmap_dma->argsz = list_value(L_VFIO_ARGSZ, args[1]);
		unmap_dma->flags = args[2] & 3;
		unmap_dma->iova = some_iova(args[5], args[6]);
		unmap_dma->size = some_length(args[7]);
		return ioctl(w->fd, VFIO_IOMMU_UNMAP_DMA, buf);
	}
	}
}

RUN(mmap)
{
	static const int prots[] = { PROT_READ | PROT_WRITE, PROT_READ,
				     PROT_NONE, PROT_READ | PROT_EXEC };
	void *at = mapping_place(args[0]);
	size_t length = w->mmap_length ?: 2 * page_size;
	__u64 offset = w->mmap_offset;

	if (args[1] >= 0xc0)
		length = (args[1] & 7) * page_size;
	if (args[2] >= 0xc0)
		offset += (args[2] & 7) * page_size;
	return mmap(at, length, prots[args[3] < 0xc0 ? 0 : args[3] & 3],
		    MAP_FIXED | (args[4] < 0xf0 ? MAP_SHARED : MAP_PRIVATE),
		    w->fd, offset) == MAP_FAILED ? -1 : 0;
}

RUN(mapping)
{
	char *at = mapping_place(args[0]);
	size_t length = ((args[2] & 1) + 1) * page_size;

	/* All of it, or a part */
	if (!(args[2] & 3) && w->mmap_length)
		length = w->mmap_length;
	at += (args[2] >> 1 & 1) * page_size;
	switch (args[1] % 8) {
	case 0:
		return unmap(at, length);
	case 1:
		return mprotect(at, length, args[3] & 7);
	case 2:
		return mremap(at, length, ((args[3] & 3) + 1) * page_size, 0) ==
		       MAP_FAILED ? -1 : 0;
	case 3:
		if (mremap(at, length, length, MREMAP_MAYMOVE | MREMAP_FIXED,
			   mapping_place(args[3])) == MAP_FAILED)
			return -1;
		return unmap(at, length);
	case 4:
		return madvise(at, length, args[3] % 26);
	default:
		return touch(at, args[1] & 1);
	}
}

static int some_event_fd(struct world *w, uint8_t which)
{
	return pool_get(w, which & 0x40 ? FAULT_FD : EVENT_FD, which & 7);
}

RUN(read)
{
	static const size_t lengths[] = { 12, 8, 64, 4096, 40, 80, 0, 4 };
	char *buf = scratch(thread) + DATA_AT;
	int fd = some_event_fd(w, args[0]);
	size_t length = lengths[args[1] & 7];
	long rc, i;

	if (fcntl(fd, F_SETFL, O_NONBLOCK))
		return -1;
	if (args[2] >= 0xf0)
		return read(fd, bad_pointer(args[2]), length);
	/* A long read must begin at the start of the page, see scratch() */
	rc = read(fd, length > 1024 ? buf - DATA_AT : buf, length);
	if (!(args[0] & 0x40))
		return rc;
	buf = length > 1024 ? buf - DATA_AT : buf;
	for (i = 0; i + (long)sizeof(struct iommu_hwpt_pgfault) <= rc;
	     i += sizeof(struct iommu_hwpt_pgfault))
		pool_put(w, COOKIE,
			 ((struct iommu_hwpt_pgfault *)(buf + i))->cookie);
	return rc;
}

RUN(write)
{
	struct iommu_hwpt_page_response *r = scratch(thread) + DATA_AT;
	unsigned int i;

	for (i = 0; i < 4; i++) {
		r[i].cookie = pool_get(w, COOKIE, args[2] + i);
		r[i].code = args[3] >> (2 * i) & 3;
	}
	return write(some_event_fd(w, args[0] ^ 0x40),
		     args[4] >= 0xf0 ? bad_pointer(args[4]) : r,
		     args[1] < 0xc0 ? (args[1] & 3) * 8 + 8 : args[1] & 63);
}

RUN(poll)
{
	struct pollfd p = {
		.fd = some_event_fd(w, args[0]),
		.events = POLLIN | POLLOUT,
	};

	/* Page faults take a moment to arrive, and longer on an emulated machine */
	return poll(&p, 1, args[1] & 1 ? on_smmu ? 300 : 20 : 0);
}

RUN(close)
{
	static const enum pool_kind kinds[] = { EVENT_FD, FAULT_FD, ACCESS, DMABUF };
	enum pool_kind kind = kinds[args[0] & 3];
	int fd;

	/* A duplicate keeps the file open until it is closed, too */
	if (args[0] & 4) {
		fd = dup(pool_get(w, kind, args[1] & 7));
		if (fd >= 0)
			pool_put(w, kind, fd);
		return fd;
	}
	fd = take_fd(w, kind);
	return fd < 0 ? -1 : close(fd);
}

RUN(reopen)
{
	int fd = open("/dev/iommu", O_RDWR | O_CLOEXEC), old;

	if (fd < 0)
		return -1;
	/* IDs begin again, so that IDs of the pool may be valid by chance */
	old = __atomic_exchange_n(&w->fd, fd, __ATOMIC_RELAXED);
	return close(old);
}

RUN(memory)
{
	return change_memory(args);
}

RUN(file)
{
	return change_file(args);
}

/* A child that has the file descriptors and the memory, for a moment */
RUN(fork)
{
	pid_t pid = fork();

	if (!pid) {
		if (args[0] & 1)
			touch(mapping_place(args[1]), args[0] & 2);
		if (args[0] & 4)
			unmap(mapping_place(args[1]), page_size);
		_exit(0);
	}
	if (pid < 0)
		return -1;
	return waitpid(pid, NULL, 0) == pid ? 0 : -1;
}
