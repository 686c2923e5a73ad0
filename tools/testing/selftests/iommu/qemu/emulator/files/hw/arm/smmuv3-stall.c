// SPDX-License-Identifier: GPL-2.0-only
/*
 * Stalls: transactions that wait for CMD_RESUME or CMD_STALL_TERM (3.12.2)
 *
 * A device that stalls sends its request again when it is resumed, so nothing waits in
 * the model itself. A stall has its STAG until then. If the Event queue is full, its
 * event waits as well (7.2.1): if it were lost, nobody would resume the transaction.
 *
 * An invalidation and a CMD_SYNC while the event waits make it stale: there may be
 * another owner of the stream. The request is then sent again when there is room, and
 * its next fault is of the new configuration. For a request that the invalidation does
 * not concern this is permitted, so all of them are sent again after any CMD_SYNC.
 */
#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "hw/arm/smmuv3.h"
#include "hw/pci/pci_request.h"
#include "smmuv3-internal.h"

struct smmuv3_stall {
	SMMUDevice *sdev;
	uint32_t tag;
	uint16_t stag;
	bool recorded;
	/* The record must not be written */
	bool stale;
	Evt record;
	QTAILQ_ENTRY(smmuv3_stall) next;
};

/* IDR0.STALL_MODEL */
enum {
	MODEL_BOTH,
	MODEL_NONE,
	MODEL_FORCE,
};

/* @bit: CD.S or STE.S2S (5.5) */
bool smmuv3_stall_legal(SMMUv3State *s, bool bit)
{
	switch (FIELD_EX32(s->idr[0], IDR0, STALL_MODEL)) {
	case MODEL_NONE:
		return !bit;
	case MODEL_FORCE:
		return bit;
	default:
		return true;
	}
}

/* STE.S1STALLD exists only if stalls can be chosen (5.2) */
bool smmuv3_stalld_legal(SMMUv3State *s, bool bit)
{
	return !bit || FIELD_EX32(s->idr[0], IDR0, STALL_MODEL) == MODEL_BOTH;
}

static struct smmuv3_stall *find_stall(SMMUv3State *s, uint16_t stag)
{
	struct smmuv3_stall *stall;

	QTAILQ_FOREACH(stall, &s->lab.stalls, next)
		if (stall->stag == stag)
			break;
	return stall;
}

static void free_stall(SMMUv3State *s, struct smmuv3_stall *stall)
{
	QTAILQ_REMOVE(&s->lab.stalls, stall, next);
	g_free(stall);
}

/**
 * smmuv3_stall - Let a transaction stall if it has to
 * @s: the SMMU
 * @sdev: its device
 * @cfg: its configuration
 * @req: its request, NULL if there is none
 * @event: the event of its fault. Out: @event->stall, if the transaction stalls
 */
void smmuv3_stall(SMMUv3State *s, SMMUDevice *sdev, const SMMUTransCfg *cfg,
		  const struct pci_request *req, SMMUEventInfo *event)
{
	struct smmuv3_stall *stall;
	uint16_t stag = 0;

	if (event->type < SMMU_EVT_F_TRANSLATION || event->type > SMMU_EVT_F_PERMISSION)
		return;
	if (event->u.f_walk_eabt.s2 ? !cfg->s2cfg.stall : !cfg->stall)
		return;
	if (!req || !sdev->requester || !sdev->requester->resume) {
		/* 3.12.2: the host must not configure this */
		warn_report("smmuv3: device 0x%x must not stall", smmu_get_sid(sdev));
		return;
	}
	/* A device has a single transaction, so the numbers suffice */
	while (find_stall(s, stag))
		stag++;
	stall = g_new0(struct smmuv3_stall, 1);
	stall->sdev = sdev;
	stall->tag = req->tag;
	stall->stag = stag;
	QTAILQ_INSERT_TAIL(&s->lab.stalls, stall, next);
	event->stall = stall;
	event->u.f_walk_eabt.stall = true;
	event->u.f_walk_eabt.stag = stag;
}

static void end_stall(SMMUv3State *s, struct smmuv3_stall *stall, bool retry)
{
	SMMUDevice *sdev = stall->sdev;

	sdev->requester->resume(sdev->requester_opaque, stall->tag, retry);
	free_stall(s, stall);
}

/* Write the events of stalls as far as there is room */
void smmuv3_record_stalls(SMMUv3State *s)
{
	struct smmuv3_stall *stall, *tmp;

	QTAILQ_FOREACH_SAFE(stall, &s->lab.stalls, next, tmp) {
		if (!smmuv3_eventq_enabled(s) || smmuv3_q_full(&s->eventq))
			return;
		if (stall->recorded)
			continue;
		if (stall->stale) {
			end_stall(s, stall, true);
			continue;
		}
		stall->recorded = true;
		smmuv3_write_eventq(s, &stall->record);
	}
}

/* CMD_SYNC, after any invalidation */
void smmuv3_sync_stalls(SMMUv3State *s)
{
	struct smmuv3_stall *stall;

	QTAILQ_FOREACH(stall, &s->lab.stalls, next)
		stall->stale = !stall->recorded;
}

void smmuv3_record_stall(SMMUv3State *s, struct smmuv3_stall *stall, const Evt *evt)
{
	stall->record = *evt;
	smmuv3_record_stalls(s);
}

/* CMD_RESUME (4.7.1). Without a stall of this stream and STAG it has no effect */
void smmuv3_resume(SMMUv3State *s, Cmd *cmd)
{
	struct smmuv3_stall *stall = find_stall(s, CMD_RESUME_STAG(cmd));

	/* Without Ac, Ab makes no difference: IDR0.TERM_MODEL is 1 */
	if (stall && smmu_get_sid(stall->sdev) == CMD_SID(cmd))
		end_stall(s, stall, CMD_RESUME_AC(cmd));
}

/* CMD_STALL_TERM (4.7.2) */
void smmuv3_stall_term(SMMUv3State *s, uint32_t sid)
{
	struct smmuv3_stall *stall, *tmp;

	QTAILQ_FOREACH_SAFE(stall, &s->lab.stalls, next, tmp)
		if (smmu_get_sid(stall->sdev) == sid)
			end_stall(s, stall, false);
}

/* At a reset of the SMMU, with which the devices are reset */
void smmuv3_forget_stalls(SMMUv3State *s)
{
	while (!QTAILQ_EMPTY(&s->lab.stalls))
		free_stall(s, QTAILQ_FIRST(&s->lab.stalls));
}
