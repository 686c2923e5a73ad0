// SPDX-License-Identifier: GPL-2.0-only
/*
 * A plugin of QEMU's TCG: counts the instructions of the emulated host in all layers,
 * those of its guests included, and writes the sum to a file each time a program
 * executes INSNS_MARK
 *
 *   -plugin insns.so,out=FILE
 *
 * A translation block counts as a whole when it is entered, so a block that an
 * exception leaves counts for too much.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "insns.h"
#include "plugin.h"

#define EXPORT __attribute__((visibility("default")))

/* Since this version, all callbacks have user data */
EXPORT int qemu_plugin_version = 7;

static unsigned long long count;
static FILE *out;

/* With -icount all CPUs are in a single thread */
static void enter_block(unsigned int vcpu, void *num)
{
	count += (uintptr_t)num;
}

static void mark(unsigned int vcpu, void *data)
{
	fprintf(out, "insns %llu\n", count);
	fflush(out);
}

static void translate(struct qemu_plugin_tb *tb, void *data)
{
	size_t num = qemu_plugin_tb_n_insns(tb), i;

	qemu_plugin_register_vcpu_tb_exec_cb(tb, enter_block, QEMU_PLUGIN_CB_NO_REGS,
					     (void *)num);
	for (i = 0; i < num; i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		uint32_t op = 0;

		if (qemu_plugin_insn_data(insn, &op, sizeof(op)) == sizeof(op) &&
		    op == INSNS_MARK_OP)
			qemu_plugin_register_vcpu_insn_exec_cb(insn, mark,
							       QEMU_PLUGIN_CB_NO_REGS,
							       NULL);
	}
}

EXPORT int qemu_plugin_install(uint64_t id, const struct qemu_info_t *info, int argc,
			       char **argv)
{
	if (argc != 1 || strncmp(argv[0], "out=", 4))
		return -1;
	out = fopen(argv[0] + 4, "w");
	if (!out)
		return -1;
	qemu_plugin_register_vcpu_tb_trans_cb(id, translate, NULL);
	return 0;
}
