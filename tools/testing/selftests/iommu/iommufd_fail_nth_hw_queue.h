/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Allocation failures of HW_QUEUEs and of mmap() of the iommufd.
 * iommufd_fail_nth.c includes this, for the fixture and the macros.
 */
static int mock_queue_alloc(int fd, __u32 viommu_id, __u32 index, __u64 iova,
			    __u32 *hw_queue_id)
{
	return hw_queue_alloc(fd, viommu_id, IOMMU_HW_QUEUE_TYPE_SELFTEST,
			      index, iova, PAGE_SIZE, hw_queue_id);
}

static int map_and_unmap(int fd, const struct iommu_viommu_selftest *data)
{
	void *mem = mmap(NULL, data->out_mmap_length, PROT_READ | PROT_WRITE,
			 MAP_SHARED, fd, data->out_mmap_offset);

	if (mem == MAP_FAILED)
		return -1;
	return TWICE(munmap(mem, data->out_mmap_length));
}

/* hw_queue.c and mmap.c */
TEST_FAIL_NTH(basic_fail_nth, hw_queue)
{
	const __u32 types[] = { IOMMU_VIOMMU_TYPE_SELFTEST,
				IOMMU_VIOMMU_TYPE_SELFTEST_FAULT };
	__u32 stdev_id, idev_id, parent_id, viommu_id, queue_id[2];
	struct iommu_viommu_selftest data = { .in_data = 1 };
	__u64 iova = MOCK_APERTURE_START;
	uint32_t ioas_id;
	unsigned int i;

	self->fd = open("/dev/iommu", O_RDWR);
	if (self->fd == -1)
		return -1;

	if (_test_ioctl_ioas_alloc(self->fd, &ioas_id))
		return -1;

	if (_test_ioctl_ioas_map(self->fd, ioas_id, buffer, PAGE_SIZE, &iova,
				 IOMMU_IOAS_MAP_FIXED_IOVA |
					 IOMMU_IOAS_MAP_WRITEABLE |
					 IOMMU_IOAS_MAP_READABLE))
		return -1;

	if (_test_cmd_mock_domain(self->fd, ioas_id, &stdev_id, NULL, &idev_id))
		return -1;

	if (_test_cmd_hwpt_alloc(self->fd, idev_id, ioas_id, 0,
				 IOMMU_HWPT_ALLOC_NEST_PARENT, &parent_id,
				 IOMMU_HWPT_DATA_NONE, NULL, 0))
		return -1;

	fail_nth_enable();

	for (i = 0; i < ARRAY_SIZE(types); i++) {
		if (TWICE(iommufd_viommu_alloc(self->fd, idev_id, parent_id,
					       types[i], &data, sizeof(data),
					       &viommu_id)))
			return -1;
		if (TWICE(map_and_unmap(self->fd, &data)))
			return -1;
		if (TWICE(mock_queue_alloc(self->fd, viommu_id, 0, iova,
					   &queue_id[0])))
			return -1;
		if (TWICE(mock_queue_alloc(self->fd, viommu_id, 1, iova,
					   &queue_id[1])))
			return -1;

		/* This allocates nothing, so it cannot fail */
		if (_test_ioctl_destroy(self->fd, queue_id[1]) ||
		    _test_ioctl_destroy(self->fd, queue_id[0]) ||
		    _test_ioctl_destroy(self->fd, viommu_id))
			return -1;
	}

	/* Nothing is left that locks the area */
	if (TWICE(_test_ioctl_ioas_unmap(self->fd, ioas_id, iova, PAGE_SIZE,
					 NULL)))
		return -1;
	return 0;
}
