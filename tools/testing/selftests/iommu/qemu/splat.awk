# SPDX-License-Identifier: GPL-2.0-only
#
# What a healthy kernel does not print: each such place of the logs, with the
# lines that follow it. Of leaks init tells, which has read them.

FNR == 1 { left = 0 }

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
