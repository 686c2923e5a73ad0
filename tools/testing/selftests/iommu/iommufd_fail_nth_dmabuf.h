/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Allocation failures of mappings of a dma-buf. iommufd_fail_nth.c includes this,
 * for the fixture and the macros.
 */

/* Two domains, the second of which may fail, and a domain that comes later */
TEST_FAIL_NTH(basic_fail_nth, map_dmabuf)
{
	struct iommu_test_cmd get = {
		.size = sizeof(get),
		.op = IOMMU_TEST_OP_DMABUF_GET,
		.dmabuf_get = { .length = 4 * PAGE_SIZE,
				.open_flags = O_CLOEXEC },
	};
	struct iommu_test_cmd revoke = {
		.size = sizeof(revoke),
		.op = IOMMU_TEST_OP_DMABUF_REVOKE,
		.dmabuf_revoke = { .revoked = 1 },
	};
	struct iommu_ioas_map_file map = {
		.size = sizeof(map),
		.flags = IOMMU_IOAS_MAP_WRITEABLE | IOMMU_IOAS_MAP_READABLE |
			 IOMMU_IOAS_MAP_FIXED_IOVA,
		.length = 4 * PAGE_SIZE,
		.iova = MOCK_APERTURE_START,
	};
	struct iommu_ioas_copy copy = {
		.size = sizeof(copy),
		.flags = map.flags,
		.length = PAGE_SIZE,
		.src_iova = map.iova,
		.dst_iova = map.iova + map.length,
	};
	__u32 stdev_id, hwpt_id, idev_id, late_id;
	int buf, rc;

	self->fd = open("/dev/iommu", O_RDWR);
	if (self->fd == -1)
		return -1;
	if (_test_ioctl_ioas_alloc(self->fd, &map.ioas_id))
		return -1;
	if (_test_cmd_mock_domain(self->fd, map.ioas_id, &stdev_id, &hwpt_id,
				  &idev_id))
		return -1;
	if (_test_cmd_hwpt_alloc(self->fd, idev_id, map.ioas_id, 0, 0, &hwpt_id,
				 IOMMU_HWPT_DATA_NONE, NULL, 0))
		return -1;
	copy.src_ioas_id = map.ioas_id;
	copy.dst_ioas_id = map.ioas_id;

	fail_nth_enable();

	buf = ioctl(self->fd, _IOMMU_TEST_CMD(IOMMU_TEST_OP_DMABUF_GET), &get);
	if (buf < 0)
		return -1;
	map.fd = buf;
	revoke.dmabuf_revoke.dmabuf_fd = buf;
	rc = ioctl(self->fd, IOMMU_IOAS_MAP_FILE, &map);
	if (!rc)
		rc = ioctl(self->fd, IOMMU_IOAS_COPY, &copy);
	if (!rc)
		rc = _test_cmd_hwpt_alloc(self->fd, idev_id, map.ioas_id, 0, 0,
					  &late_id, IOMMU_HWPT_DATA_NONE, NULL,
					  0);
	/* Revoking cannot fail, in whatever state the domains are */
	if (ioctl(self->fd, _IOMMU_TEST_CMD(IOMMU_TEST_OP_DMABUF_REVOKE),
		  &revoke))
		rc = -1;
	close(buf);
	return rc;
}
