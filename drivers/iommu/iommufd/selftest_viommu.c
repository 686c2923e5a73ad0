// SPDX-License-Identifier: GPL-2.0-only
/*
 * vIOMMUs of the mock IOMMU driver, for tools/testing/selftests/iommu.
 *
 * The mock driver has two IOMMUs, so that tests can use an object of one behind
 * the other. They share page tables as far as the formats agree: the second one
 * has a single page size.
 *
 * A mock device has a few "caches", which are numbers. They have a value that
 * no guest would write at probe, and an invalidation through a vIOMMU makes
 * them 0. So a test sees which device an invalidation has reached, and that no
 * other was.
 *
 * It has events and page faults when a test says so. Where they arrive is up to
 * what it is attached to, and whose vDEVICE it has, at that moment.
 */
#include <linux/atomic.h>
#include <linux/bitops.h>
#include <linux/delay.h>
#include <linux/iommu.h>
#include <linux/iommufd.h>
#include <linux/property.h>
#include <linux/rcupdate.h>
#include <linux/spinlock.h>
#include <linux/uaccess.h>
#include <uapi/linux/iommufd.h>

#include "../iommu-priv.h"
#include "iommufd_private.h"
#include "selftest_viommu.h"

/* Not registered: the bus has one driver, which comes here by a device's flag */
struct iommu_device mock_iommu2;

int mock_iommu2_init(struct device *parent, const struct iommu_ops *ops)
{
	mock_iommu2.ops = ops;
	return iommu_device_sysfs_add(&mock_iommu2, parent, NULL, "%s-2",
				      dev_name(parent));
}

void mock_iommu2_exit(void)
{
	iommu_device_sysfs_remove(&mock_iommu2);
}

/* Is @domain in a format that @iommu can walk? Only paging domains have sizes */
bool mock_iommu_can_use(struct iommu_device *iommu, struct iommu_domain *domain)
{
	return iommu != &mock_iommu2 || hweight_long(domain->pgsize_bitmap) <= 1;
}

void mock_get_resv_regions(struct device *dev, struct list_head *head)
{
	struct iommu_resv_region *region;

	if (!(mock_dev_flags(dev) & MOCK_FLAGS_DEVICE_RESV))
		return;

	region = iommu_alloc_resv_region(MOCK_RESV_START, MOCK_RESV_LENGTH, 0,
					 IOMMU_RESV_RESERVED, GFP_KERNEL);
	if (region)
		list_add_tail(&region->list, head);
}

/* The property is where the core looks for it on devices other than PCI */
int mock_dev_set_pasid_bits(struct device *dev)
{
	static const struct property_entry props[] = {
		PROPERTY_ENTRY_U32("pasid-num-bits", MOCK_PASID_WIDTH),
		{}
	};

	if (!(mock_dev_flags(dev) & MOCK_FLAGS_DEVICE_PASID))
		return 0;
	return device_create_managed_software_node(dev, props, NULL);
}

/* A device that never was added takes its properties along */
void mock_viommu_dev_abort(struct device *dev)
{
	device_remove_software_node(dev);
}

void mock_viommu_dev_init(struct device *dev)
{
	struct mock_viommu_dev *vdev = mock_to_viommu_dev(dev);
	unsigned int i;

	for (i = 0; i < MOCK_DEV_CACHE_NUM; i++)
		vdev->cache[i] = IOMMU_TEST_DEV_CACHE_DEFAULT;
}

/*
 * Does @dev have a vDEVICE at @viommu? The answer is of the past if the caller
 * does nothing against it, which is fine for the check at attach: the vDEVICE
 * may be destroyed right after it as well.
 */
bool mock_viommu_has_dev(struct iommufd_viommu *viommu, struct device *dev)
{
	struct iommufd_vdevice *vdev;
	bool ret;

	rcu_read_lock();
	vdev = rcu_dereference(mock_to_viommu_dev(dev)->vdev);
	ret = vdev && vdev->viommu == viommu;
	rcu_read_unlock();
	return ret;
}

/* @dev has been attached, through @viommu if that is not NULL */
void mock_viommu_dev_attached(struct device *dev, struct iommufd_viommu *viommu)
{
	WRITE_ONCE(mock_to_viommu_dev(dev)->attached, viommu);
}

/* A page fault is about to be reported: count it */
void mock_fault_reported(struct device *dev)
{
	atomic_inc(&mock_to_viommu_dev(dev)->faults);
}

void mock_fault_in_attach(struct device *dev)
{
	struct iopf_fault event = {
		.fault = {
			.type = IOMMU_FAULT_PAGE_REQ,
			.prm = {
				.flags = IOMMU_FAULT_PAGE_REQUEST_LAST_PAGE |
					 IOMMU_FAULT_PAGE_REQUEST_PASID_VALID,
				.pasid = MOCK_ATTACH_FAULT_PASID,
				.perm = IOMMU_FAULT_PERM_READ,
				.addr = MOCK_ATTACH_FAULT_ADDR,
			},
		},
	};

	if (!(mock_dev_flags(dev) & MOCK_FLAGS_DEVICE_FAULT_IN_ATTACH))
		return;
	mock_fault_reported(dev);
	/* If nobody takes it this answers it, which is all there is to do */
	iommu_report_device_fault(dev, &event);
}

/* By user space, or by the kernel in its place */
void mock_fault_answered(struct device *dev,
			 const struct iommu_page_response *msg)
{
	struct mock_viommu_dev *mock = mock_to_viommu_dev(dev);

	if (!WARN_ON(msg->code >= ARRAY_SIZE(mock->answers)))
		atomic_inc(&mock->answers[msg->code]);
}

static int mock_vdevice_init(struct iommufd_vdevice *vdev)
{
	struct device *dev = iommufd_vdevice_to_device(vdev);

	/* Only one of the types has an opinion on how wide an ID can be */
	if (vdev->viommu->type == IOMMU_VIOMMU_TYPE_SELFTEST_NO_INV &&
	    vdev->virt_id > U32_MAX)
		return -EINVAL;

	rcu_assign_pointer(mock_to_viommu_dev(dev)->vdev, vdev);
	return 0;
}

static void mock_vdevice_destroy(struct iommufd_vdevice *vdev)
{
	struct device *dev = iommufd_vdevice_to_device(vdev);

	RCU_INIT_POINTER(mock_to_viommu_dev(dev)->vdev, NULL);
}

static struct iommu_domain *
mock_viommu_alloc_domain_nested(struct iommufd_viommu *viommu, u32 flags,
				const struct iommu_user_data *user_data)
{
	if (flags)
		return ERR_PTR(-EOPNOTSUPP);
	return mock_domain_alloc_nested(viommu->hwpt->common.domain, viommu,
					user_data);
}

static int
mock_viommu_invalidate_one(struct iommufd_viommu *viommu,
			   const struct iommu_viommu_invalidate_selftest *req)
{
	struct mock_viommu_dev *vdev;
	struct device *dev;
	unsigned int i;
	int rc = 0;

	if (req->flags & ~(IOMMU_TEST_INVALIDATE_FLAG_ALL |
			   IOMMU_TEST_INVALIDATE_FLAG_SLOW))
		return -EOPNOTSUPP;
	if (req->cache_id > MOCK_DEV_CACHE_ID_MAX)
		return -EINVAL;

	rcu_read_lock();
	dev = iommufd_viommu_find_dev(viommu, req->vdev_id);
	if (!dev) {
		rc = -EINVAL;
		goto out_unlock;
	}

	/* Whoever takes the vDEVICE away meanwhile has to wait for us */
	if (req->flags & IOMMU_TEST_INVALIDATE_FLAG_SLOW)
		mdelay(1);

	vdev = mock_to_viommu_dev(dev);
	if (req->flags & IOMMU_TEST_INVALIDATE_FLAG_ALL) {
		for (i = 0; i < MOCK_DEV_CACHE_NUM; i++)
			WRITE_ONCE(vdev->cache[i], 0);
	} else {
		WRITE_ONCE(vdev->cache[req->cache_id], 0);
	}
out_unlock:
	rcu_read_unlock();
	return rc;
}

static int mock_viommu_cache_invalidate(struct iommufd_viommu *viommu,
					struct iommu_user_data_array *array)
{
	const u32 type = IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST;
	struct iommu_viommu_invalidate_selftest req;
	u32 done = 0;
	int rc = 0;

	if (array->type != type) {
		rc = -EINVAL;
		goto out;
	}

	for (; done < array->entry_num; done++) {
		rc = iommu_copy_struct_from_user_array(&req, array, type, done,
						       cache_id);
		if (rc)
			break;
		rc = mock_viommu_invalidate_one(viommu, &req);
		if (rc)
			break;
	}
out:
	array->entry_num = done;
	return rc;
}

static size_t mock_viommu_vevent_size(struct iommufd_viommu *viommu,
				      unsigned int type)
{
	return type == IOMMU_VEVENTQ_TYPE_SELFTEST ?
		       sizeof(struct iommu_viommu_event_selftest) :
		       0;
}

static const struct iommufd_viommu_ops mock_viommu_ops = {
	.alloc_domain_nested = mock_viommu_alloc_domain_nested,
	.cache_invalidate = mock_viommu_cache_invalidate,
	.vevent_size = mock_viommu_vevent_size,
	.vdevice_init = mock_vdevice_init,
	.vdevice_destroy = mock_vdevice_destroy,
};

static const struct iommufd_viommu_ops mock_viommu_no_inv_ops = {
	.alloc_domain_nested = mock_viommu_alloc_domain_nested,
	.vevent_size = mock_viommu_vevent_size,
	.vdevice_init = mock_vdevice_init,
	.vdevice_destroy = mock_vdevice_destroy,
};

/* All of them are optional */
static const struct iommufd_viommu_ops mock_viommu_bare_ops = {};

size_t mock_get_viommu_size(struct device *dev, unsigned int type)
{
	switch (type) {
	case IOMMU_VIOMMU_TYPE_SELFTEST:
	case IOMMU_VIOMMU_TYPE_SELFTEST_NO_INV:
	case IOMMU_VIOMMU_TYPE_SELFTEST_BARE:
		return sizeof(struct iommufd_viommu);
	default:
		return 0;
	}
}

int mock_viommu_init(struct iommufd_viommu *viommu, struct iommu_domain *parent,
		     const struct iommu_user_data *user_data)
{
	struct iommu_viommu_selftest data;
	int rc;

	if (!mock_iommu_can_use(viommu->iommu_dev, parent))
		return -EINVAL;

	if (user_data) {
		rc = iommu_copy_struct_from_user(&data, user_data, viommu->type,
						 out_data);
		if (rc)
			return rc;
		data.out_data = data.in_data;
		if (copy_to_user(user_data->uptr, &data, user_data->len))
			return -EFAULT;
	}

	switch (viommu->type) {
	case IOMMU_VIOMMU_TYPE_SELFTEST_NO_INV:
		viommu->ops = &mock_viommu_no_inv_ops;
		break;
	case IOMMU_VIOMMU_TYPE_SELFTEST_BARE:
		viommu->ops = &mock_viommu_bare_ops;
		break;
	default:
		viommu->ops = &mock_viommu_ops;
		break;
	}
	return 0;
}

int iommufd_test_dev_check_cache(struct iommufd_ucmd *ucmd, u32 idev_id,
				 unsigned int cache_id, u32 cache)
{
	struct iommufd_device *idev;
	int rc = -EINVAL;

	idev = iommufd_get_device(ucmd, idev_id);
	if (IS_ERR(idev))
		return PTR_ERR(idev);

	if (iommufd_selftest_is_mock_dev(idev->dev) &&
	    cache_id <= MOCK_DEV_CACHE_ID_MAX &&
	    READ_ONCE(mock_to_viommu_dev(idev->dev)->cache[cache_id]) == cache)
		rc = 0;

	iommufd_put_object(ucmd->ictx, &idev->obj);
	return rc;
}

/*
 * Have the events of @viommu go on with @sequence: a test cannot wait till there
 * were 2^31 of them.
 */
static int mock_viommu_set_sequence(struct iommufd_viommu *viommu, u32 sequence)
{
	struct iommufd_veventq *veventq;
	int rc = -EOPNOTSUPP;

	if (sequence > INT_MAX)
		return -EINVAL;

	spin_lock(&viommu->veventqs_lock);
	list_for_each_entry(veventq, &viommu->veventqs, node) {
		if (veventq->type != IOMMU_VEVENTQ_TYPE_SELFTEST)
			continue;
		spin_lock(&veventq->lock);
		veventq->sequence = sequence;
		spin_unlock(&veventq->lock);
		rc = 0;
	}
	spin_unlock(&viommu->veventqs_lock);
	return rc;
}

static int mock_viommu_trigger(struct iommufd_vdevice *vdev, u32 flags,
			       u32 sequence)
{
	const unsigned int type = IOMMU_VEVENTQ_TYPE_SELFTEST;
	struct iommu_viommu_event_selftest event;

	if (flags & IOMMU_TEST_VEVENT_FLAG_SEQUENCE)
		return mock_viommu_set_sequence(vdev->viommu, sequence);
	if (flags & IOMMU_TEST_VEVENT_FLAG_LOST) {
		iommufd_viommu_report_lost(vdev->viommu, type);
		return 0;
	}
	/* An event cannot name such a device, and must not name another one */
	if (vdev->virt_id > U32_MAX)
		return -ERANGE;
	event.virt_id = vdev->virt_id;
	return iommufd_viommu_report_event(vdev->viommu, type, &event,
					   sizeof(event));
}

int iommufd_test_trigger_vevent(struct iommufd_ucmd *ucmd, u32 idev_id,
				u32 flags, u32 sequence)
{
	struct mock_viommu_dev *mock;
	struct iommufd_vdevice *vdev;
	struct iommufd_device *idev;
	int rc;

	if (flags & ~(IOMMU_TEST_VEVENT_FLAG_LOST |
		      IOMMU_TEST_VEVENT_FLAG_SEQUENCE))
		return -EOPNOTSUPP;

	idev = iommufd_get_device(ucmd, idev_id);
	if (IS_ERR(idev))
		return PTR_ERR(idev);
	if (!iommufd_selftest_is_mock_dev(idev->dev)) {
		rc = -EINVAL;
		goto out_put;
	}
	mock = mock_to_viommu_dev(idev->dev);

	rcu_read_lock();
	vdev = rcu_dereference(mock->vdev);
	if (vdev && READ_ONCE(mock->attached) == vdev->viommu)
		rc = mock_viommu_trigger(vdev, flags, sequence);
	else
		rc = -ENOENT;
	rcu_read_unlock();
out_put:
	iommufd_put_object(ucmd->ictx, &idev->obj);
	return rc;
}

int iommufd_test_dev_get_iopf(struct iommufd_ucmd *ucmd,
			      struct iommu_test_cmd *cmd)
{
	struct mock_viommu_dev *mock;
	struct iommufd_device *idev;
	unsigned int i, done = 0;
	int rc = -EINVAL;

	idev = iommufd_get_device(ucmd, cmd->id);
	if (IS_ERR(idev))
		return PTR_ERR(idev);
	if (iommufd_selftest_is_mock_dev(idev->dev)) {
		mock = mock_to_viommu_dev(idev->dev);
		for (i = 0; i < ARRAY_SIZE(mock->answers); i++)
			done += atomic_read(&mock->answers[i]);
		cmd->dev_get_iopf.out_pending =
			atomic_read(&mock->faults) - done;
		cmd->dev_get_iopf.out_success =
			atomic_read(&mock->answers[IOMMU_PAGE_RESP_SUCCESS]);
		cmd->dev_get_iopf.out_invalid =
			atomic_read(&mock->answers[IOMMU_PAGE_RESP_INVALID]);
		rc = 0;
	}
	iommufd_put_object(ucmd->ictx, &idev->obj);
	return rc ?: iommufd_ucmd_respond(ucmd, sizeof(*cmd));
}
