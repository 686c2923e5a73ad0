// SPDX-License-Identifier: GPL-2.0-only
/*
 * Files by which user space reads the events of an object.
 */
#include <linux/anon_inodes.h>
#include <linux/err.h>
#include <linux/fcntl.h>
#include <linux/file.h>
#include <linux/iommufd.h>

#include "iommufd_private.h"

/**
 * iommufd_eventq_open() - Create the file to read the events of an object
 * @ictx: The context of the object
 * @obj: The object, not finalized
 * @filep: The object's pointer to its file, as in iommufd_object_ops
 * @name: Name of the file
 * @fops: Its file operations; their release must call iommufd_eventq_release()
 * @flags: Access mode of the file
 *
 * The file holds a reference on the object and on the context. If the
 * allocation fails after this call, iommufd_object_abort_and_destroy() puts the
 * file.
 *
 * Return: a reserved file descriptor, for fd_install() or put_unused_fd(), or an
 * errno.
 */
int iommufd_eventq_open(struct iommufd_ctx *ictx, struct iommufd_object *obj,
			struct file **filep, const char *name,
			const struct file_operations *fops, int flags)
{
	struct file *file;

	file = anon_inode_getfile(name, fops, obj, flags);
	if (IS_ERR(file))
		return PTR_ERR(file);

	refcount_inc(&obj->users);
	iommufd_ctx_get(ictx);
	*filep = file;
	return get_unused_fd_flags(O_CLOEXEC);
}

/**
 * iommufd_eventq_release() - Undo iommufd_eventq_open()
 * @ictx: As for iommufd_eventq_open()
 * @obj: As for iommufd_eventq_open(). It may be freed when this returns
 */
void iommufd_eventq_release(struct iommufd_ctx *ictx,
			    struct iommufd_object *obj)
{
	refcount_dec(&obj->users);
	iommufd_ctx_put(ictx);
}
