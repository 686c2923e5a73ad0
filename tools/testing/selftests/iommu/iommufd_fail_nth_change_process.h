/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Allocation failures in IOMMU_IOAS_CHANGE_PROCESS. iommufd_fail_nth.c includes
 * this, for the fixture and the macros.
 */
#include <sys/wait.h>

/* The pages were mapped by a process that has exited */
TEST_FAIL_NTH(basic_fail_nth, change_process)
{
	struct iommu_ioas_change_process cmd = { .size = sizeof(cmd) };
	struct iommu_ioas_map_file map = {
		.size = sizeof(map),
		.flags = IOMMU_IOAS_MAP_READABLE,
		.length = 262144,
	};
	static int file = -1;
	int status;
	pid_t pid;

	if (file == -1)
		file = memfd_create("fail_nth", MFD_CLOEXEC);
	if (ftruncate(file, map.length))
		return -1;
	map.fd = file;

	self->fd = open("/dev/iommu", O_RDWR);
	if (self->fd == -1)
		return -1;
	if (_test_ioctl_ioas_alloc(self->fd, &map.ioas_id))
		return -1;
	if (_test_cmd_mock_domain(self->fd, map.ioas_id, NULL, NULL, NULL))
		return -1;
	pid = fork();
	if (!pid)
		_exit(!!ioctl(self->fd, IOMMU_IOAS_MAP_FILE, &map));
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status)
		return -1;

	fail_nth_enable();

	if (ioctl(self->fd, IOMMU_IOAS_CHANGE_PROCESS, &cmd))
		return -1;
	return 0;
}
