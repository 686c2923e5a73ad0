// SPDX-License-Identifier: GPL-2.0-only
/*
 * A plugin of QEMU's TCG: counts the instructions of the emulated host in all layers,
 * those of its guests included, and writes the sums to a file each time a program
 * executes INSNS_MARK
 *
 *   -plugin insns.so,out=FILE
 *
 * There are two sums, of work and of waits. A CPU that waits in a loop, for a device or
 * for another CPU, tells so by YIELD, WFE or WFET. How often it goes round depends on the
 * load of the machine that emulates: devices take the time of this machine, and with
 * -icount the CPUs take turns. YIELD ends the turn, and WFE does not, so a CPU that waits
 * for a lock does this to the end of its turn. So the few instructions from a hint to the
 * next are a wait, on whichever CPUs: with -icount the plugin is not told reliably which
 * CPU executes a block, since blocks are shared.
 *
 * A translation block counts as a whole when it is entered, so a block that an
 * exception leaves counts for too much.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "insns.h"
#include "plugin.h"

#define EXPORT __attribute__((visibility("default")))

/* Since this version, all callbacks have user data */
EXPORT int qemu_plugin_version = 7;

#define OP_YIELD	0xd503203fU
#define OP_WFE		0xd503205fU
/* With any register */
#define OP_WFET		0xd5031000U

/* The loop by which KVM polls before it halts a vCPU takes 250 instructions */
#define MAX_LOOP	500

static unsigned long long count, last_hint, waits;
static FILE *out;

/* With -icount all CPUs are in a single thread */
static void enter_block(unsigned int vcpu, void *num)
{
	count += (uintptr_t)num;
}

static void mark(unsigned int vcpu, void *data)
{
	fprintf(out, "insns %llu waits %llu\n", count - waits, waits);
	fflush(out);
}

static void execute_hint(unsigned int vcpu, void *data)
{
	if (count - last_hint <= MAX_LOOP)
		waits += count - last_hint;
	last_hint = count;
}

static bool is_hint(uint32_t op)
{
	return op == OP_YIELD || op == OP_WFE || (op & ~31U) == OP_WFET;
}

static void translate(struct qemu_plugin_tb *tb, void *data)
{
	size_t num = qemu_plugin_tb_n_insns(tb), i;

	qemu_plugin_register_vcpu_tb_exec_cb(tb, enter_block, QEMU_PLUGIN_CB_NO_REGS,
					     (void *)num);
	for (i = 0; i < num; i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		uint32_t op = 0;

		if (qemu_plugin_insn_data(insn, &op, sizeof(op)) != sizeof(op))
			continue;
		if (op == INSNS_MARK_OP)
			qemu_plugin_register_vcpu_insn_exec_cb(insn, mark,
							       QEMU_PLUGIN_CB_NO_REGS,
							       NULL);
		if (is_hint(op))
			qemu_plugin_register_vcpu_insn_exec_cb(insn, execute_hint,
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
