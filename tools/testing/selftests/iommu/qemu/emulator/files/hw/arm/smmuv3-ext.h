/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The features that the lab adds to the emulated SMMUv3, as smmuv3.c uses them.
 * smmuv3-internal.h includes this at its end.
 */
#ifndef HW_ARM_SMMUV3_EXT_H
#define HW_ARM_SMMUV3_EXT_H

struct pci_request;
struct PCIRequestIOMMU;
struct smmuv3_stall;
struct smmuv3_vcmdq;
struct SMMUHTTU;

/* smmuv3.c */
int smmuv3_cmdq_consume(SMMUv3State *s);
void smmuv3_consume(SMMUv3State *s, struct smmuv3_vcmdq *v);
MemTxResult smmuv3_write_eventq(SMMUv3State *s, Evt *evt);

/* smmuv3-attr.c */
bool smmuv3_bypasses_caches(hwaddr pa, const SMMUTLBEntry *entry,
			    const struct pci_request *req);

/* smmuv3-ats.c */
bool smmuv3_is_ats(const struct pci_request *req);
bool smmuv3_eats_legal(SMMUv3State *s, STE *ste);
bool smmuv3_check_ats(const struct pci_request *req, const SMMUTransCfg *cfg,
		      SMMUTranslationStatus *status, SMMUEventInfo *event);
void smmuv3_atc_inv(SMMUv3State *s, struct smmuv3_invs *invs, Cmd *cmd);
bool smmuv3_sync_atc(SMMUv3State *s, struct smmuv3_invs *invs, SMMUCmdError *error);
void smmuv3_invalidated(struct PCIRequestIOMMU *iommu, bool lost);

/* smmuv3-stall.c */
bool smmuv3_stall_legal(SMMUv3State *s, bool bit);
bool smmuv3_stalld_legal(SMMUv3State *s, bool bit);
void smmuv3_stall(SMMUv3State *s, SMMUDevice *sdev, const SMMUTransCfg *cfg,
		  const struct pci_request *req, SMMUEventInfo *event);
void smmuv3_record_stall(SMMUv3State *s, struct smmuv3_stall *stall, const Evt *evt);
void smmuv3_record_stalls(SMMUv3State *s);
void smmuv3_sync_stalls(SMMUv3State *s);
void smmuv3_resume(SMMUv3State *s, Cmd *cmd);
void smmuv3_stall_term(SMMUv3State *s, uint32_t sid);
void smmuv3_forget_stalls(SMMUv3State *s);

/* smmuv3-httu.c; smmu-common.h has the rest of it */
bool smmuv3_httu_legal(SMMUv3State *s, bool ha, bool hd);
void smmuv3_httu_init(struct SMMUHTTU *httu, bool ha, bool hd);

/* smmuv3-ssid.c */
bool smmuv3_cdmax_legal(SMMUv3State *s, STE *ste);
int smmuv3_check_substream(SMMUTransCfg *cfg, STE *ste, bool ssv, uint32_t ssid,
			   SMMUEventInfo *event);

/* smmuv3-cmdqv.c */
SMMUQueue *smmuv3_vcmdq_queue(struct smmuv3_vcmdq *v);
struct smmuv3_invs *smmuv3_vcmdq_invs(struct smmuv3_vcmdq *v);
bool smmuv3_vcmdq_enabled(struct smmuv3_vcmdq *v);
uint32_t smmuv3_vcmdq_pending(struct smmuv3_vcmdq *v);
SMMUCmdError smmuv3_vcmdq_filter(SMMUv3State *s, struct smmuv3_vcmdq *v, Cmd *cmd,
				 bool *guest);
void smmuv3_vcmdq_done(SMMUv3State *s, struct smmuv3_vcmdq *v, Cmd *cmd);
void smmuv3_vcmdq_error(SMMUv3State *s, struct smmuv3_vcmdq *v, SMMUCmdError error);
void smmuv3_cmdqv_lost(SMMUv3State *s);
void smmuv3_cmdqv_answered(SMMUv3State *s);
void smmuv3_cmdqv_synced(SMMUv3State *s);
void smmuv3_cmdqv_realize(SMMUv3State *s, SysBusDevice *dev);
void smmuv3_cmdqv_reset(SMMUv3State *s);

#endif
