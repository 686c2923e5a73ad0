// SPDX-License-Identifier: GPL-2.0-only
/*
 * Abilities of mock devices that are unrelated to vIOMMUs, for
 * tools/testing/selftests/iommu.
 *
 * Several mock devices can share an IOMMU group. Their MSIs pass the IOMMU;
 * only the IOVA of the doorbell is modelled. A mock device also has gates: a
 * closed gate stops any thread that reaches it, in the middle of its work,
 * until the test has seen how other threads behave. Each stop is short enough
 * not to trigger the watchdog for hung tasks.
 */
#include <linux/iommu.h>
#include <linux/iommufd.h>
#include <linux/mm.h>
#include <linux/msi.h>
#include <linux/wait.h>
#include <uapi/linux/iommufd.h>

#include "../iommu-priv.h"
#include "iommufd_private.h"
#include "selftest_viommu.h"

/* Longer than any test, but shorter than the timeout for hung tasks */
#define MOCK_GATE_TIMEOUT	(20 * HZ)

/* The mock device of @idev_id. The caller must put the returned idev. */
static struct iommufd_device *mock_get_idev(struct iommufd_ucmd *ucmd,
					    u32 idev_id)
{
	struct iommufd_device *idev;

	idev = iommufd_get_device(ucmd, idev_id);
	if (IS_ERR(idev) || iommufd_selftest_is_mock_dev(idev->dev))
		return idev;
	iommufd_put_object(ucmd->ictx, &idev->obj);
	return ERR_PTR(-EINVAL);
}

void mock_gate_init(struct mock_gate *gate)
{
	init_waitqueue_head(&gate->wait);
}

/* Wait until all gates of @dev in @which (MOCK_GATE_*) are open */
void mock_gate_pass(struct device *dev, unsigned int which)
{
	struct mock_gate *gate = &mock_to_viommu_dev(dev)->gate;

	if (!(READ_ONCE(gate->closed) & which))
		return;
	atomic_inc(&gate->waiting);
	wait_event_killable_timeout(gate->wait,
				    !(READ_ONCE(gate->closed) & which),
				    MOCK_GATE_TIMEOUT);
	atomic_dec(&gate->waiting);
}

int iommufd_test_dev_gate(struct iommufd_ucmd *ucmd, struct iommu_test_cmd *cmd)
{
	struct iommufd_device *idev;
	struct mock_gate *gate;

	if (cmd->dev_gate.closed & ~(MOCK_GATE_ATTACH | MOCK_GATE_FAULT |
				     MOCK_GATE_ENABLE_IOPF | MOCK_GATE_QUERY))
		return -EOPNOTSUPP;

	idev = mock_get_idev(ucmd, cmd->id);
	if (IS_ERR(idev))
		return PTR_ERR(idev);
	gate = &mock_to_viommu_dev(idev->dev)->gate;
	if (!(cmd->dev_gate.closed & MOCK_GATE_QUERY)) {
		WRITE_ONCE(gate->closed, cmd->dev_gate.closed);
		wake_up_all(&gate->wait);
	}
	cmd->dev_gate.out_waiting = atomic_read(&gate->waiting);
	iommufd_put_object(ucmd->ictx, &idev->obj);
	return iommufd_ucmd_respond(ucmd, sizeof(*cmd));
}

/* The report has found the attach handle, but has not used it yet */
static int mock_iopf_handler(struct iopf_group *group)
{
	mock_gate_pass(group->fault_param->dev, MOCK_GATE_FAULT);
	return iommufd_fault_iopf_handler(group);
}

/* Make page faults of @domain, if it accepts them, pass MOCK_GATE_FAULT */
void mock_iopf_intercept(struct iommu_domain *domain)
{
	if (READ_ONCE(domain->iopf_handler) == iommufd_fault_iopf_handler)
		WRITE_ONCE(domain->iopf_handler, mock_iopf_handler);
}

/*
 * The group that the new device of @cmd must join, which the caller must put;
 * NULL for a group of its own.
 */
struct iommu_group *mock_group_of_cmd(struct iommufd_ucmd *ucmd,
				      struct iommu_test_cmd *cmd)
{
	struct iommufd_device *idev;
	struct iommu_group *group;

	if (!(cmd->mock_domain_flags.dev_flags & MOCK_FLAGS_DEVICE_IN_GROUP))
		return NULL;
	idev = mock_get_idev(ucmd, cmd->mock_domain_flags.group_dev_id);
	if (IS_ERR(idev))
		return ERR_CAST(idev);
	/* As behind SMMUs: the devices of a group have the same MSI window */
	if ((mock_dev_flags(idev->dev) ^ cmd->mock_domain_flags.dev_flags) &
	    MOCK_FLAGS_DEVICE_SW_MSI)
		group = ERR_PTR(-EINVAL);
	else
		group = iommu_group_get(idev->dev);
	iommufd_put_object(ucmd->ictx, &idev->obj);
	return group;
}

struct iommu_group *mock_device_group(struct device *dev)
{
	struct iommu_group *group = mock_to_viommu_dev(dev)->group;

	return group ? iommu_group_ref_get(group) : generic_device_group(dev);
}

/* Prepare an MSI, like an irqchip behind a translating IOMMU */
int iommufd_test_dev_prepare_msi(struct iommufd_ucmd *ucmd,
				 struct iommu_test_cmd *cmd)
{
	struct msi_desc desc = {};
	struct iommufd_device *idev;
	struct iommu_domain *domain;

	if (!IS_ENABLED(CONFIG_IRQ_MSI_IOMMU))
		return -EOPNOTSUPP;

	idev = mock_get_idev(ucmd, cmd->id);
	if (IS_ERR(idev))
		return PTR_ERR(idev);
	desc.dev = idev->dev;
	domain = iommu_prepare_sw_msi(idev->dev, &desc, cmd->prepare_msi.phys);
	iommufd_put_object(ucmd->ictx, &idev->obj);
	/* No mock domain has the cookie that iommu-dma needs for this */
	if (domain)
		return IS_ERR(domain) ? PTR_ERR(domain) : -EOPNOTSUPP;

#ifdef CONFIG_IRQ_MSI_IOMMU
	cmd->prepare_msi.out_iova = (u64)desc.iommu_msi_iova
				    << desc.iommu_msi_shift;
	cmd->prepare_msi.out_shift = desc.iommu_msi_shift;
#endif
	return iommufd_ucmd_respond(ucmd, sizeof(*cmd));
}

/* Check that the page at @iova of the HWPT is mapped to the page at @phys */
int iommufd_test_md_check_phys(struct iommufd_ucmd *ucmd,
			       struct iommu_test_cmd *cmd)
{
	struct iommufd_object *obj;
	struct iommu_domain *domain;
	int rc;

	if (cmd->check_phys.iova % PAGE_SIZE || cmd->check_phys.phys % PAGE_SIZE)
		return -EINVAL;
	obj = iommufd_get_object(ucmd->ictx, cmd->id, IOMMUFD_OBJ_HWPT_PAGING);
	if (IS_ERR(obj))
		return PTR_ERR(obj);
	domain = container_of(obj, struct iommufd_hw_pagetable, obj)->domain;
	rc = mock_domain_check_phys(domain, cmd->check_phys.iova,
				    cmd->check_phys.phys);
	iommufd_put_object(ucmd->ictx, obj);
	return rc;
}

/* Get the size of the folio with this page, and the number of its pins */
int iommufd_test_get_pins(struct iommufd_ucmd *ucmd, struct iommu_test_cmd *cmd)
{
	struct folio *folio;
	struct page *page;
	int num;

	num = get_user_pages_fast(cmd->get_pins.uptr & PAGE_MASK, 1, 0, &page);
	if (num < 0)
		return num;
	if (WARN_ON(num != 1))
		return -EFAULT;
	folio = page_folio(page);
	cmd->get_pins.out_pages = folio_nr_pages(folio);
	if (folio_test_large(folio))
		cmd->get_pins.out_pins = atomic_read(&folio->_pincount);
	else
		cmd->get_pins.out_pins =
			folio_ref_count(folio) / GUP_PIN_COUNTING_BIAS;
	put_page(page);
	return iommufd_ucmd_respond(ucmd, sizeof(*cmd));
}
