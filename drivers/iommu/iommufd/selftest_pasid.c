// SPDX-License-Identifier: GPL-2.0-only
/*
 * PASIDs of the mock IOMMU driver, for tools/testing/selftests/iommu.
 *
 * A mock device remembers the domain of each PASID, in place of the table of
 * the hardware. So a test can check that the driver and the core agree, also
 * after an attach that has failed.
 */
#include <linux/iommu.h>
#include <linux/iommufd.h>
#include <linux/xarray.h>
#include <uapi/linux/iommufd.h>

#include "../iommu-priv.h"
#include "iommufd_private.h"
#include "selftest_viommu.h"

int mock_set_dev_pasid(struct iommu_domain *domain, struct device *dev,
		       ioasid_t pasid, struct iommu_domain *old)
{
	struct mock_viommu_dev *mock = mock_to_viommu_dev(dev);

	/* The old domain that the core names must be attached */
	if (xa_load(&mock->pasids, pasid) != old)
		return -EIO;
	if (domain->dirty_ops &&
	    (mock_dev_flags(dev) & MOCK_FLAGS_DEVICE_NO_DIRTY))
		return -EINVAL;
	if (mock->attach_fails)
		return -ENOMEM;
	if (pasid == IOMMU_TEST_PASID_RESERVED) {
		mock->pasid_fails = !mock->pasid_fails;
		if (!mock->pasid_fails)
			return -ENOMEM;
	}

	mock_iopf_intercept(domain);
	mock_gate_pass(dev, MOCK_GATE_ATTACH);
	return xa_err(xa_store(&mock->pasids, pasid, domain,
			       GFP_KERNEL_ACCOUNT));
}

void mock_remove_dev_pasid(struct device *dev, ioasid_t pasid,
			   struct iommu_domain *domain)
{
	struct mock_viommu_dev *mock = mock_to_viommu_dev(dev);

	if (pasid == IOMMU_TEST_PASID_RESERVED)
		mock->pasid_fails = false;
	xa_erase(&mock->pasids, pasid);
}

/* Compare the domains that the driver and the core have for the PASID */
static int mock_check_pasid(struct iommufd_ucmd *ucmd,
			    struct iommufd_device *idev, u32 pasid, u32 hwpt_id)
{
	struct mock_viommu_dev *mock = mock_to_viommu_dev(idev->dev);
	struct iommu_attach_handle *handle;
	struct iommu_domain *domain = NULL;
	struct iommufd_object *obj;
	int rc = 0;

	if (hwpt_id) {
		obj = iommufd_get_object(ucmd->ictx, hwpt_id, IOMMUFD_OBJ_ANY);
		if (IS_ERR(obj))
			return PTR_ERR(obj);
		if (obj->type == IOMMUFD_OBJ_HWPT_PAGING ||
		    obj->type == IOMMUFD_OBJ_HWPT_NESTED)
			domain = container_of(obj, struct iommufd_hw_pagetable,
					      obj)->domain;
		iommufd_put_object(ucmd->ictx, obj);
		if (!domain)
			return -EINVAL;
	}

	/* Compare pointers only: both may change at any time */
	mutex_lock(&idev->igroup->lock);
	handle = iommu_attach_handle_get(idev->igroup->group, pasid, 0);
	if ((IS_ERR(handle) ? NULL : handle->domain) != domain ||
	    xa_load(&mock->pasids, pasid) != domain)
		rc = -EINVAL;
	mutex_unlock(&idev->igroup->lock);
	return rc;
}

/* IOMMU_TEST_OP_PASID_* */
int iommufd_test_pasid(struct iommufd_ucmd *ucmd, struct iommu_test_cmd *cmd)
{
	struct iommufd_device *idev;
	struct iommufd_object *sobj;
	int rc = 0;

	idev = iommufd_test_get_stdev(ucmd, cmd->id, &sobj);
	if (IS_ERR(idev))
		return PTR_ERR(idev);

	switch (cmd->op) {
	case IOMMU_TEST_OP_PASID_ATTACH:
		rc = iommufd_device_attach_pasid(idev, cmd->pasid_attach.pasid,
						 cmd->pasid_attach.pt_id);
		break;
	case IOMMU_TEST_OP_PASID_REPLACE:
		rc = iommufd_device_replace_pasid(idev,
						  cmd->pasid_replace.pasid,
						  cmd->pasid_replace.pt_id);
		break;
	case IOMMU_TEST_OP_PASID_DETACH:
		iommufd_device_detach_pasid(idev, cmd->pasid_detach.pasid);
		break;
	case IOMMU_TEST_OP_PASID_CHECK_HWPT:
		rc = mock_check_pasid(ucmd, idev, cmd->pasid_check.pasid,
				      cmd->pasid_check.hwpt_id);
		break;
	default:
		rc = -EOPNOTSUPP;
	}
	iommufd_put_object(ucmd->ictx, sobj);
	return rc;
}
