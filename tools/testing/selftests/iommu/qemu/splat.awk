# SPDX-License-Identifier: GPL-2.0-only
#
# Messages that a healthy kernel does not print: each of them in the logs, with the
# lines that follow it. Leaks are reported by init, which reads them. known= is a pattern
# of the message that the scenario makes on purpose, once.

FNR == 1 { left = late = 0 }

# The command queues of the KUnit tests are stuck on purpose, or in an error
/ fake-smmu: CMD_SYNC timeout/ { next }
/ fake-cmdqv: CMDQ error/ { next }
# A device of smmuv3_ats does not answer on purpose. Its tests look for this message
/ CMDQ error .*: ATC invalidate timeout/ { next }
# Nor in time, on a busy machine. These tests judge the message themselves
/ selftest: / { late = / (waited_for|waits_for_guest|no_answer|host_error|(quick_)?storm) / }
late && / CMD_SYNC timeout/ { next }
# The scenario "crash"
/sysrq triggered crash/ { next }
known != "" && $0 ~ known && !seen++ { next }

/(BUG|WARNING|KASAN|KFENCE|UBSAN|Oops|ODEBUG|INFO: task .* blocked): / ||
/WARNING: |BUG: |INFO: (task|trying to register|lockdep)|rcu: INFO:/ ||
/Internal error|Kernel panic|Unable to handle kernel|Call trace:.*BUG/ ||
/cut here|possible (circular|irq|recursive)|inconsistent lock state/ ||
/suspicious RCU usage|sleeping function called|scheduling while atomic/ ||
/refcount_t: |list_(add|del) corruption|soft lockup|hard LOCKUP|CMD_SYNC timeout|CMDQ error/ {
	if (!left)
		print FILENAME ":" FNR
	left = 40
}

left > 0 {
	print
	left--
}

/end trace/ { left = 0 }
