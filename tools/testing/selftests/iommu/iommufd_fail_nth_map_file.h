/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Allocation failures of IOAS_MAP_FILE. iommufd_fail_nth.c includes this, for
 * the fixture and the macros.
 */
#include <linux/memfd.h>

/* Pages of a file are found, allocated, held and released */
static int fail_map_file(struct __test_metadata *_metadata,
			 struct _test_data_basic_fail_nth *self,
			 struct fail_nth_state *_nth_state, int file)
{
	char data[2 * 4096];
	struct iommu_test_cmd rw = {
		.size = sizeof(rw),
		.op = IOMMU_TEST_OP_ACCESS_RW,
		.access_rw = { .length = sizeof(data),
			       .uptr = (uintptr_t)data },
	};
	struct iommu_ioas_map_file map = {
		.size = sizeof(map),
		.flags = IOMMU_IOAS_MAP_WRITEABLE | IOMMU_IOAS_MAP_READABLE |
			 IOMMU_IOAS_MAP_FIXED_IOVA,
		.length = 262144,
		.iova = MOCK_APERTURE_START,
	};
	__u32 stdev_id, hwpt_id;

	/* The file has no page yet */
	if (ftruncate(file, 0) || ftruncate(file, 4 << 20))
		return -1;
	map.fd = file;

	self->fd = open("/dev/iommu", O_RDWR);
	if (self->fd == -1)
		return -1;

	if (_test_ioctl_ioas_alloc(self->fd, &map.ioas_id))
		return -1;

	if (_test_ioctl_set_temp_memory_limit(self->fd, 32))
		return -1;

	fail_nth_enable();

	if (ioctl(self->fd, IOMMU_IOAS_MAP_FILE, &map))
		return -1;

	if (_test_cmd_create_access(self->fd, map.ioas_id, &self->access_id, 0))
		return -1;

	rw.id = self->access_id;
	rw.access_rw.iova = map.iova + 100;
	if (ioctl(self->fd, _IOMMU_TEST_CMD(IOMMU_TEST_OP_ACCESS_RW), &rw))
		return -1;

	if (_test_cmd_mock_domain(self->fd, map.ioas_id, &stdev_id, &hwpt_id,
				  NULL))
		return -1;

	if (_test_ioctl_destroy(self->fd, stdev_id))
		return -1;

	if (_test_cmd_destroy_access(self->access_id))
		return -1;
	self->access_id = 0;
	return 0;
}

TEST_FAIL_NTH(basic_fail_nth, map_file)
{
	static int file = -1;

	if (file == -1)
		file = memfd_create("fail_nth", MFD_CLOEXEC);
	return fail_map_file(_metadata, self, _nth_state, file);
}

/* The same on hugetlbfs, if it has pages: it allocates them in another way */
TEST_FAIL_NTH(basic_fail_nth, map_file_huge)
{
	static int file = -1;
	char *mem;

	if (file == -1)
		file = memfd_create("fail_nth", MFD_CLOEXEC | MFD_HUGETLB |
							MFD_HUGE_2MB);
	if (file == -1)
		goto no_pages;
	/*
	 * Reserve a page, if there is any. The reservation ends with the
	 * mapping.
	 */
	if (ftruncate(file, 2 << 20))
		return -1;
	mem = mmap(NULL, 2 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	if (mem == MAP_FAILED)
		goto no_pages;
	munmap(mem, 2 << 20);
	return fail_map_file(_metadata, self, _nth_state, file);

no_pages:
	/* Without this, the test would be repeated for ever */
	fail_nth_enable();
	return 0;
}
