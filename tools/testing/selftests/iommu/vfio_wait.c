// SPDX-License-Identifier: GPL-2.0-only
/*
 * Ioctls of VFIO whose answer waits for user memory, or cannot be written at
 * all. The lock of the device set, which devices that are reset together share,
 * must be free in the meantime.
 *
 * This needs the emulated host of tools/testing/selftests/iommu/qemu. The
 * device is QEMU's edu.
 */
#include <limits.h>
#include <unistd.h>

#include <linux/vfio.h>

#include "iommufd_wait.h"
#include "klog_expect.h"
#include "lib/edu.h"

FIXTURE(answer)
{
	int iommufd;
	__u32 ioas;
	/* Of the device */
	char path[PATH_MAX];
	int fd;
	/* For the argument of the ioctl: reads do not wait, writes do */
	struct slow_page slow;
};

FIXTURE_SETUP(answer)
{
	char bdf[BDF_LEN], why[128], dir[64], name[64];

	if (edu_find(bdf, why, sizeof(why)))
		SKIP(return, "%s", why);
	if (slow_page_init(&self->slow, true))
		SKIP(return, "no userfaultfd: %s", strerror(errno));
	klog_mark(_metadata->name);
	snprintf(dir, sizeof(dir), SYS_PCI "/%s/vfio-dev", bdf);
	ASSERT_EQ(1, dir_entries(dir, name, sizeof(name)));
	snprintf(self->path, sizeof(self->path), "/dev/vfio/devices/%s", name);
	self->fd = open(self->path, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->fd);
	self->iommufd = iommufd_open();
	ASSERT_LE(0, self->iommufd);
	ASSERT_EQ(0, ioas_alloc(self->iommufd, &self->ioas));
}

FIXTURE_TEARDOWN(answer)
{
	static const char *const bad[] = { "WARNING:", "BUG:", "Oops", "INFO: " };

	close(self->fd);
	close(self->iommufd);
	expect_not_in_klog(_metadata, bad, ARRAY_SIZE(bad));
}

static struct vfio_device_bind_iommufd bind_cmd(int iommufd)
{
	return (struct vfio_device_bind_iommufd){
		.argsz = sizeof(struct vfio_device_bind_iommufd),
		.iommufd = iommufd,
	};
}

static int bind_to(int fd, int iommufd)
{
	struct vfio_device_bind_iommufd cmd = bind_cmd(iommufd);

	return iommufd_ioctl(fd, VFIO_DEVICE_BIND_IOMMUFD, &cmd);
}

static struct vfio_device_attach_iommufd_pt attach_cmd(__u32 pt_id)
{
	return (struct vfio_device_attach_iommufd_pt){
		.argsz = offsetofend(struct vfio_device_attach_iommufd_pt,
				     pt_id),
		.pt_id = pt_id,
	};
}

static int attach_to(int fd, __u32 pt_id)
{
	struct vfio_device_attach_iommufd_pt cmd = attach_cmd(pt_id);

	return iommufd_ioctl(fd, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &cmd);
}

static int get_info(int fd)
{
	struct vfio_device_info cmd = { .argsz = sizeof(cmd) };

	return iommufd_ioctl(fd, VFIO_DEVICE_GET_INFO, &cmd);
}

/*
 * Another open file of the device. Binding it must fail, too, but the kernel
 * takes the lock to find this out.
 */
struct other_bind {
	struct vfio_device_bind_iommufd cmd;
	struct call call;
	int fd;
};

static bool other_bind_returns(struct other_bind *other, const char *path,
			       int iommufd)
{
	other->cmd = bind_cmd(iommufd);
	other->fd = open(path, O_RDWR | O_CLOEXEC);
	assert(other->fd >= 0);
	call_start(&other->call, other->fd, VFIO_DEVICE_BIND_IOMMUFD,
		   &other->cmd);
	other->call.joined = call_join_within(&other->call, SOON);
	return other->call.joined;
}

static int other_bind_end(struct other_bind *other)
{
	int rc = call_join_again(&other->call);

	close(other->fd);
	return rc;
}

TEST_F_TIMEOUT(answer, of_bind, 100)
{
	struct vfio_device_bind_iommufd *cmd = self->slow.page;
	struct other_bind other, same;
	struct call user;

	*cmd = bind_cmd(self->iommufd);
	slow_page_protect(&self->slow);
	call_start(&user, self->fd, VFIO_DEVICE_BIND_IOMMUFD, cmd);
	slow_page_wait(&self->slow);
	EXPECT_TRUE(other_bind_returns(&other, self->path, self->iommufd));
	/* The file itself is bound, but cannot be used before the answer */
	same.cmd = bind_cmd(self->iommufd);
	call_start(&same.call, self->fd, VFIO_DEVICE_BIND_IOMMUFD, &same.cmd);
	same.call.joined = call_join_within(&same.call, SOON);
	EXPECT_TRUE(same.call.joined);
	EXPECT_EQ(-EINVAL, get_info(self->fd));
	slow_page_provide(&self->slow);
	EXPECT_EQ(0, call_join(&user));
	EXPECT_EQ(-EINVAL, other_bind_end(&other));
	EXPECT_EQ(-EINVAL, call_join_again(&same.call));
	EXPECT_NE(0, cmd->out_devid);
	EXPECT_EQ(0, get_info(self->fd));
	EXPECT_EQ(0, attach_to(self->fd, self->ioas));
}

TEST_F_TIMEOUT(answer, of_attach, 100)
{
	struct vfio_device_attach_iommufd_pt *cmd = self->slow.page;
	struct other_bind other;
	struct call user;

	ASSERT_EQ(0, bind_to(self->fd, self->iommufd));
	*cmd = attach_cmd(self->ioas);
	slow_page_protect(&self->slow);
	call_start(&user, self->fd, VFIO_DEVICE_ATTACH_IOMMUFD_PT, cmd);
	slow_page_wait(&self->slow);
	EXPECT_TRUE(other_bind_returns(&other, self->path, self->iommufd));
	slow_page_provide(&self->slow);
	EXPECT_EQ(0, call_join(&user));
	EXPECT_EQ(-EINVAL, other_bind_end(&other));
	/* The answer contains the HWPT of the device */
	EXPECT_NE(self->ioas, cmd->pt_id);
	EXPECT_EQ(-EBUSY, destroy(self->iommufd, cmd->pt_id));
}

/* A call whose answer cannot be written must leave nothing behind */
TEST_F(answer, cannot_be_written)
{
	void *page = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int i;

	ASSERT_NE(MAP_FAILED, page);
	*(struct vfio_device_bind_iommufd *)page = bind_cmd(self->iommufd);
	ASSERT_EQ(0, mprotect(page, PAGE_SIZE, PROT_READ));
	for (i = 0; i < 2; i++)
		EXPECT_EQ(-EFAULT,
			  iommufd_ioctl(self->fd, VFIO_DEVICE_BIND_IOMMUFD,
					page));
	EXPECT_EQ(-EINVAL, get_info(self->fd));
	ASSERT_EQ(0, bind_to(self->fd, self->iommufd));
	EXPECT_EQ(0, get_info(self->fd));

	ASSERT_EQ(0, mprotect(page, PAGE_SIZE, PROT_READ | PROT_WRITE));
	*(struct vfio_device_attach_iommufd_pt *)page = attach_cmd(self->ioas);
	ASSERT_EQ(0, mprotect(page, PAGE_SIZE, PROT_READ));
	for (i = 0; i < 2; i++)
		EXPECT_EQ(-EFAULT,
			  iommufd_ioctl(self->fd, VFIO_DEVICE_ATTACH_IOMMUFD_PT,
					page));
	/* The device is attached to nothing, so nothing uses the IOAS */
	EXPECT_EQ(0, destroy(self->iommufd, self->ioas));
	munmap(page, PAGE_SIZE);
}

TEST_HARNESS_MAIN
