// SPDX-License-Identifier: GPL-2.0-only
/*
 * vIOMMUs of the mock IOMMU driver, for tools/testing/selftests/iommu.
 *
 * The mock driver has two IOMMUs, so that tests can use an object of the first
 * behind the second, and vice versa. They share page tables as far as the
 * formats agree: the second IOMMU has only a single page size. A third IOMMU
 * has a driver without domain_alloc_user().
 *
 * A mock device has a few "caches", which are numbers. Probe sets them to a
 * value that no guest would write, and an invalidation through a vIOMMU makes
 * them 0. Thus a test sees which device an invalidation has reached, and that
 * it has reached no other.
 *
 * A test can make the device report events and page faults. Their recipient
 * depends on the domain and the vDEVICE of the device at this moment.
 */
#include <linux/atomic.h>
#include <linux/bitops.h>
#include <linux/delay.h>
#include <linux/iommu.h>
#include <linux/iommufd.h>
#include <linux/property.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/spinlock.h>
#include <linux/uaccess.h>
#include <uapi/linux/iommufd.h>

#include "../iommu-priv.h"
#include "iommufd_private.h"
#include "selftest_viommu.h"

/*
 * These are not registered, since the bus has only a single driver. Its
 * probe_device() returns them for devices with a flag.
 */
struct iommu_device mock_iommu2;
/* To the core, this IOMMU has another driver, without domain_alloc_user() */
struct iommu_device mock_iommu3;
static struct iommu_ops mock_iommu3_ops;

int mock_iommus_init(struct device *parent, const struct iommu_ops *ops)
{
	int rc;

	mock_iommu2.ops = ops;
	rc = iommu_device_sysfs_add(&mock_iommu2, parent, NULL, "%s-2",
				    dev_name(parent));
	if (rc)
		return rc;

	mock_iommu3_ops = *ops;
	mock_iommu3_ops.domain_alloc_user = NULL;
	mock_iommu3.ops = &mock_iommu3_ops;
	rc = iommu_device_sysfs_add(&mock_iommu3, parent, NULL, "%s-3",
				    dev_name(parent));
	if (rc)
		iommu_device_sysfs_remove(&mock_iommu2);
	return rc;
}

void mock_iommus_exit(void)
{
	iommu_device_sysfs_remove(&mock_iommu3);
	iommu_device_sysfs_remove(&mock_iommu2);
}

/* Can @iommu walk the tables of @domain? Without tables it has no page sizes */
bool mock_iommu_can_use(struct iommu_device *iommu, struct iommu_domain *domain)
{
	return iommu != &mock_iommu2 || hweight_long(domain->pgsize_bitmap) <= 1;
}

void mock_get_resv_regions(struct device *dev, struct list_head *head)
{
	struct iommu_resv_region *region;

	if (mock_dev_flags(dev) & MOCK_FLAGS_DEVICE_RESV) {
		region = iommu_alloc_resv_region(MOCK_RESV_START,
						 MOCK_RESV_LENGTH, 0,
						 IOMMU_RESV_RESERVED,
						 GFP_KERNEL);
		if (region)
			list_add_tail(&region->list, head);
	}
	if (mock_dev_flags(dev) & MOCK_FLAGS_DEVICE_SW_MSI) {
		region = iommu_alloc_resv_region(MOCK_SW_MSI_START,
						 MOCK_SW_MSI_PAGES * PAGE_SIZE,
						 IOMMU_WRITE, IOMMU_RESV_SW_MSI,
						 GFP_KERNEL);
		if (region)
			list_add_tail(&region->list, head);
	}
}

/* The core reads this property for devices other than PCI */
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

/* Undo mock_dev_set_pasid_bits() for a device that was never added */
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
	mock_gate_init(&vdev->gate);
	xa_init_flags(&vdev->pasids, XA_FLAGS_ACCOUNT);
}

/*
 * Whether @dev has a vDEVICE in @viommu. The vDEVICE may be gone when this
 * returns unless the caller prevents it. This is fine for the check at attach:
 * the vDEVICE may be destroyed right after an attach as well.
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

/* @dev is being attached to @domain, through @viommu unless it is NULL */
int mock_viommu_dev_attach(struct device *dev, struct iommu_domain *domain,
			   struct iommufd_viommu *viommu)
{
	struct mock_viommu_dev *mock = mock_to_viommu_dev(dev);

	if (mock->attach_fails && domain->type != IOMMU_DOMAIN_BLOCKED)
		return -ENOMEM;
	WRITE_ONCE(mock->attached, viommu);
	WRITE_ONCE(mock->domain, domain);
	return 0;
}

/* Count a page fault that is about to be reported */
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
	/* If the fault has no handler, this call answers it */
	iommu_report_device_fault(dev, &event);
}

/* The answer comes from user space, or from the kernel in its place */
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

	/* Only this type limits the width of an ID */
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
	if (flags & ~IOMMU_HWPT_ALLOC_PASID)
		return ERR_PTR(-EOPNOTSUPP);
	return mock_domain_alloc_nested(viommu->hwpt->common.domain, viommu,
					user_data);
}

static int
mock_viommu_invalidate_one(struct iommufd_viommu *viommu,
			   const struct iommu_viommu_invalidate_selftest *req,
			   bool alone)
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
	/* Many of these would keep the CPU from other threads */
	if ((req->flags & IOMMU_TEST_INVALIDATE_FLAG_SLOW) && !alone)
		return -EINVAL;

	rcu_read_lock();
	dev = iommufd_viommu_find_dev(viommu, req->vdev_id);
	if (!dev) {
		rc = -EINVAL;
		goto out_unlock;
	}

	/* A thread that destroys the vDEVICE now has to wait for this one */
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
		if (fatal_signal_pending(current)) {
			rc = -EINTR;
			break;
		}
		rc = iommu_copy_struct_from_user_array(&req, array, type, done,
						       cache_id);
		if (rc)
			break;
		rc = mock_viommu_invalidate_one(viommu, &req,
						array->entry_num == 1);
		if (rc)
			break;
		cond_resched();
	}
out:
	array->entry_num = done;
	return rc;
}

static size_t mock_viommu_vevent_size(struct iommufd_viommu *viommu,
				      unsigned int type)
{
	switch (type) {
	case IOMMU_VEVENTQ_TYPE_SELFTEST:
	case IOMMU_VEVENTQ_TYPE_SELFTEST_LATEST:
		return sizeof(struct iommu_viommu_event_selftest);
	default:
		return 0;
	}
}

static bool mock_viommu_vevent_coalesce(struct iommufd_viommu *viommu,
					unsigned int type)
{
	return type == IOMMU_VEVENTQ_TYPE_SELFTEST_LATEST;
}

static const struct iommufd_viommu_ops mock_viommu_ops = {
	.destroy = mock_viommu_destroy,
	.alloc_domain_nested = mock_viommu_alloc_domain_nested,
	.cache_invalidate = mock_viommu_cache_invalidate,
	.vevent_size = mock_viommu_vevent_size,
	.vevent_coalesce = mock_viommu_vevent_coalesce,
	.vdevice_init = mock_vdevice_init,
	.vdevice_destroy = mock_vdevice_destroy,
	.mmap_fault = mock_viommu_mmap_fault,
	.get_hw_queue_size = mock_get_hw_queue_size,
	.hw_queue_is_written = mock_hw_queue_is_written,
	.hw_queue_max_length = mock_hw_queue_max_length,
	.hw_queue_init_phys = mock_hw_queue_init_phys,
};

static const struct iommufd_viommu_ops mock_viommu_no_inv_ops = {
	.alloc_domain_nested = mock_viommu_alloc_domain_nested,
	.vevent_size = mock_viommu_vevent_size,
	.vdevice_init = mock_vdevice_init,
	.vdevice_destroy = mock_vdevice_destroy,
};

/* All ops are optional */
static const struct iommufd_viommu_ops mock_viommu_bare_ops = {};

size_t mock_get_viommu_size(struct device *dev, unsigned int type)
{
	switch (type) {
	case IOMMU_VIOMMU_TYPE_SELFTEST:
	case IOMMU_VIOMMU_TYPE_SELFTEST_NO_INV:
	case IOMMU_VIOMMU_TYPE_SELFTEST_BARE:
	case IOMMU_VIOMMU_TYPE_SELFTEST_FAULT:
		return VIOMMU_STRUCT_SIZE(struct mock_viommu, core);
	default:
		return 0;
	}
}

int mock_viommu_init(struct iommufd_viommu *viommu, struct iommu_domain *parent,
		     const struct iommu_user_data *user_data)
{
	struct iommu_viommu_selftest data;
	bool has_mem = false;
	int rc;

	if (!mock_iommu_can_use(viommu->iommu_dev, parent))
		return -EINVAL;

	if (user_data) {
		rc = iommu_copy_struct_from_user(&data, user_data, viommu->type,
						 out_data);
		if (rc)
			return rc;
		data.out_data = data.in_data;
		has_mem = user_data->len == sizeof(data);
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
		rc = mock_viommu_mem_init(viommu, has_mem ? &data : NULL);
		if (rc)
			return rc;
		break;
	}

	if (user_data && copy_to_user(user_data->uptr, &data, user_data->len)) {
		if (viommu->ops->destroy)
			viommu->ops->destroy(viommu);
		return -EFAULT;
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
 * Continue the events of @viommu at @sequence: a test cannot wait for 2^31
 * events.
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
	unsigned int type = flags & IOMMU_TEST_VEVENT_FLAG_LATEST ?
				    IOMMU_VEVENTQ_TYPE_SELFTEST_LATEST :
				    IOMMU_VEVENTQ_TYPE_SELFTEST;
	struct iommu_viommu_event_selftest event;

	if (flags & IOMMU_TEST_VEVENT_FLAG_SEQUENCE)
		return mock_viommu_set_sequence(vdev->viommu, sequence);
	if (flags & IOMMU_TEST_VEVENT_FLAG_LOST) {
		iommufd_viommu_report_lost(vdev->viommu, type);
		return 0;
	}
	/* An event cannot name such a device, and must not name another */
	if (vdev->virt_id > U32_MAX)
		return -ERANGE;
	event.virt_id = flags & IOMMU_TEST_VEVENT_FLAG_LATEST ? sequence :
								vdev->virt_id;
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
		      IOMMU_TEST_VEVENT_FLAG_SEQUENCE |
		      IOMMU_TEST_VEVENT_FLAG_LATEST))
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

/* Begin or end a reset of the device, or report its attachment */
int iommufd_test_dev_reset(struct iommufd_ucmd *ucmd,
			   struct iommu_test_cmd *cmd)
{
	struct iommufd_device *idev = iommufd_get_device(ucmd, cmd->id);
	struct mock_viommu_dev *mock;
	struct iommu_domain *domain;
	struct iommufd_object *obj;
	int rc = 0;

	if (IS_ERR(idev))
		return PTR_ERR(idev);
	if (!iommufd_selftest_is_mock_dev(idev->dev)) {
		rc = -EINVAL;
		goto out_put;
	}
	mock = mock_to_viommu_dev(idev->dev);
	switch (cmd->dev_reset.what) {
	case MOCK_RESET_PREPARE:
		rc = iommu_device_reset_prepare(idev->dev);
		break;
	case MOCK_RESET_DONE_FAILS:
		mock->attach_fails = true;
		fallthrough;
	case MOCK_RESET_DONE:
		iommu_device_reset_done(idev->dev);
		mock->attach_fails = false;
		break;
	case MOCK_RESET_CHECK:
		domain = READ_ONCE(mock->domain);
		if (!cmd->dev_reset.hwpt_id) {
			rc = domain->type == IOMMU_DOMAIN_BLOCKED ? 0 : -EINVAL;
			break;
		}
		obj = iommufd_get_object(ucmd->ictx, cmd->dev_reset.hwpt_id,
					 IOMMUFD_OBJ_ANY);
		if (IS_ERR(obj)) {
			rc = PTR_ERR(obj);
			break;
		}
		rc = -EINVAL;
		if ((obj->type == IOMMUFD_OBJ_HWPT_PAGING ||
		     obj->type == IOMMUFD_OBJ_HWPT_NESTED) &&
		    container_of(obj, struct iommufd_hw_pagetable, obj)->domain == domain)
			rc = 0;
		iommufd_put_object(ucmd->ictx, obj);
		break;
	default:
		rc = -EINVAL;
	}
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
		/* A test can stop this copy, which keeps the device in use */
		rc = iommufd_ucmd_respond(ucmd, sizeof(*cmd));
	}
	iommufd_put_object(ucmd->ictx, &idev->obj);
	return rc;
}
