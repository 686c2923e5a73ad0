// SPDX-License-Identifier: GPL-2.0-only
/*
 * ATS: requests of a device that keeps translations, and their invalidation
 *
 * The SMMU has full ATS, without the split stages of EATS 0b10: IDR0.NS1ATS must be
 * set together with IDR0.ATS. Errors of the configuration are not recorded, as without
 * IDR0.ATSRECERR.
 */
#include "qemu/osdep.h"
#include "hw/arm/smmuv3.h"
#include "hw/pci/pci_request.h"
#include "smmuv3-internal.h"

/* All bits of an address */
#define ATC_INV_ALL	52

bool smmuv3_is_ats(const struct pci_request *req)
{
	return req && req->type != PCI_REQUEST_UNTRANSLATED;
}

/* 5.2, EATS: only the values 0b00 and 0b01 are possible, and not 0b01 with S2S */
bool smmuv3_eats_legal(SMMUv3State *s, STE *ste)
{
	if (!FIELD_EX32(s->idr[0], IDR0, ATS))
		return true;
	return STE_EATS(ste) != 2 &&
	       !(STE_EATS(ste) == 1 && STE_CFG_S2_ENABLED(STE_CONFIG(ste)) &&
		 STE_S2S(ste));
}

/**
 * smmuv3_check_ats - The requests of 3.9.1.2 and 3.9.1.3 that no table decides on
 * @req: the request, or NULL
 * @cfg: the configuration of the stream, NULL if the SMMU is disabled
 * @status: Out
 * @event: Out
 *
 * Return: true if @status and @event are the answer.
 */
bool smmuv3_check_ats(const struct pci_request *req, const SMMUTransCfg *cfg,
		      SMMUTranslationStatus *status, SMMUEventInfo *event)
{
	bool enabled = cfg && cfg->ats;

	if (!smmuv3_is_ats(req))
		return false;
	if (cfg && cfg->aborted) {
		*status = SMMU_TRANS_ABORT;
		return true;
	}
	if (enabled && req->type == PCI_REQUEST_TRANSLATION)
		return false;
	if (enabled) {
		*status = SMMU_TRANS_BYPASS;
		return true;
	}
	if (req->type == PCI_REQUEST_TRANSLATION) {
		event->type = SMMU_EVT_F_BAD_ATS_TREQ;
		event->u.f_bad_ats_treq.addr = req->addr & ~0xfffULL;
		event->u.f_bad_ats_treq.write = req->write;
	} else {
		event->type = SMMU_EVT_F_TRANS_FORBIDDEN;
		event->u.f_transl_forbidden.addr = req->addr;
		event->u.f_transl_forbidden.rnw = !req->write;
	}
	*status = SMMU_TRANS_ERROR;
	return true;
}

/**
 * smmuv3_atc_inv - Run CMD_ATC_INV (4.5.1)
 * @s: the SMMU
 * @invs: of the queue
 * @cmd: the command
 *
 * The next CMD_SYNC of the queue waits for the device.
 */
void smmuv3_atc_inv(SMMUv3State *s, struct smmuv3_invs *invs, Cmd *cmd)
{
	SMMUDevice *sdev = smmu_find_sdev(ARM_SMMU(s), CMD_SID(cmd));
	struct pci_invalidation inv = {
		.has_pasid = CMD_SSV(cmd),
		.global = CMD_SSV(cmd) && CMD_GLOBAL(cmd),
		.pasid = CMD_SSV(cmd) ? CMD_SSID(cmd) : 0,
	};

	/* A device that has no ATC answers with "Unsupported Request" */
	if (!sdev || !sdev->requester)
		return;
	inv.mask = CMD_ATC_SIZE(cmd) >= ATC_INV_ALL ?
			   UINT64_MAX : MAKE_64BIT_MASK(0, 12 + CMD_ATC_SIZE(cmd));
	inv.addr = CMD_ADDR(cmd) & ~inv.mask;
	invs->sent = true;
	switch (sdev->requester->invalidate(sdev->requester_opaque, &inv)) {
	case PCI_INVALIDATION_DONE:
		break;
	case PCI_INVALIDATION_PENDING:
		s->lab.invs_pending++;
		break;
	case PCI_INVALIDATION_LOST:
		invs->lost = true;
		break;
	}
}

/**
 * smmuv3_sync_atc - Can a CMD_SYNC complete?
 * @s: the SMMU
 * @invs: of the queue
 * @error: Out: CERROR_ATC_INV_SYNC if a CMD_ATC_INV before it was not answered
 *
 * It waits for the ATC_INVs of all queues.
 *
 * Return: false if it must wait for smmuv3_invalidated().
 */
bool smmuv3_sync_atc(SMMUv3State *s, struct smmuv3_invs *invs, SMMUCmdError *error)
{
	if (s->lab.invs_pending)
		return false;
	/* The command can be tried again, and is complete then */
	if (invs->lost)
		*error = SMMU_CERROR_ATC_INV_SYNC;
	*invs = (struct smmuv3_invs){};
	if (invs == &s->lab.invs)
		smmuv3_cmdqv_synced(s);
	return true;
}

/* PCIRequestIOMMUClass::invalidated */
void smmuv3_invalidated(PCIRequestIOMMU *iommu, bool lost)
{
	SMMUDevice *sdev = container_of(IOMMU_MEMORY_REGION(iommu), SMMUDevice, iommu);
	SMMUv3State *s = sdev->smmu;

	/* The SMMU has been reset in the meantime */
	if (!s->lab.invs_pending)
		return;
	if (lost) {
		s->lab.invs.lost |= s->lab.invs.sent;
		smmuv3_cmdqv_lost(s);
	}
	if (!--s->lab.invs_pending) {
		smmuv3_cmdq_consume(s);
		smmuv3_cmdqv_answered(s);
	}
}
