/* SPDX-License-Identifier: GPL-2.0 */
/*
 * KUnit tests of nested translation: a model of the effects that a guest may
 * have on the SMMU, and a generator of random inputs.
 *
 * The model is written from Arm IHI 0070 and from the uAPI, with numbers of its
 * own. It must use neither tables nor macros of the driver, and is a second
 * opinion on them: if the two disagree, the architecture decides.
 */
#ifndef _ARM_SMMU_V3_TEST_MODEL_H
#define _ARM_SMMU_V3_TEST_MODEL_H

#include <linux/prandom.h>

#include "fake.h"

#define MODEL_DEVS		3
/* Most commands that the SMMU gets for a command of a guest */
#define MODEL_OUT_MAX		FAKE_STREAMS

/* A device of the VM, with the StreamID that the guest uses for it */
struct model_dev {
	bool present;
	u32 vsid;
	unsigned int num_sids;
	u32 sids[FAKE_STREAMS];
	/* The device answers ATC_INVs, and has PASIDs */
	bool answers;
	bool pasids;
};

/* The SMMU, and the VM on it */
struct model {
	bool ril;
	bool ds;
	bool asid16;
	bool ats;
	unsigned int ssid_bits;
	/* Without a VMID, nothing of the VM is cached */
	bool has_vmid;
	u16 vmid;
	struct model_dev devs[MODEL_DEVS];
};

int model_cmd(const struct model *m, const u64 cmd[2],
	      u64 out[MODEL_OUT_MAX][2]);
bool model_sync(const u64 cmd[2]);
const char *model_refuses(const struct model *m, const u64 cmd[2]);

/* The parts of an SMMU that decide on STEs */
struct model_ste {
	unsigned int ssid_bits;
	unsigned int ipa_bits;
	/* IDR0.STALL_MODEL */
	unsigned int stall_model;
	bool cd2l;
	bool ats;
};

bool model_ste_allowed(const u64 ste[2]);
bool model_ste_illegal(const struct model_ste *m, const u64 ste[8]);

/* Random numbers that depend on the seed and on the round only */
struct fuzz {
	struct kunit *test;
	u64 seed;
	unsigned int round;
	unsigned int failures;
	struct rnd_state state;
};

extern unsigned int random_rounds;

void fuzz_init(struct fuzz *r, struct kunit *test);
void fuzz_begin(struct fuzz *r, unsigned int round);
u32 fuzz_below(struct fuzz *r, u32 num);
u64 fuzz_u64(struct fuzz *r);

static inline bool fuzz_chance(struct fuzz *r, u32 num, u32 of)
{
	return fuzz_below(r, of) < num;
}

/* A failure must be reproducible, and a wrong mask must not fill the log */
#define fuzz_fail(_fuzz, _fmt, ...)					\
do {									\
	struct fuzz *__fuzz = _fuzz;					\
									\
	if (__fuzz->failures++ < 5)					\
		KUNIT_FAIL(__fuzz->test, "seed %#llx, round %u: " _fmt,	\
			   __fuzz->seed, __fuzz->round, ##__VA_ARGS__);	\
} while (0)

/* A VM with random devices on a random SMMU, and another VM beside it */
struct random_vm {
	struct fake_vm *vm;
	struct fake_dev *fdevs[MODEL_DEVS];
	struct model model;
	struct arm_vsmmu *other;
	struct fake_dev *other_dev;
	u32 other_vsid;
	struct arm_smmu_nested_domain other_nested;
	struct arm_smmu_s2_tag *other_tag;
};

void random_vm_init(struct fuzz *r, struct random_vm *rvm,
		    struct fake_vm *vm);
void random_vm_change(struct fuzz *r, struct random_vm *rvm);
void random_vm_free(struct random_vm *rvm);
void random_cmd(struct fuzz *r, const struct random_vm *rvm,
		unsigned int bad, u64 cmd[2]);

#endif
