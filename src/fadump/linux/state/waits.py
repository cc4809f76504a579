"""What a blocked task waits for, as far as the functions on its stack say it.

The names are Linux's, of several versions; ``*`` stands for whatever a compiler or a version adds. A function that only
ever waits for one thing says more than the primitive that it waits by, such as a completion, so those come first; of
several primitives the innermost counts.
"""

import re
from collections.abc import Iterable

Waits = tuple[tuple[str, str], ...]

_SERVERS: Waits = (
    ("a FUSE server's answer", "request_wait_answer __fuse_simple_request fuse_simple_request"),
    ("an RPC server's answer, as NFS's", "rpc_wait_bit_killable __rpc_execute nfs_wait_bit_killable"),
    ("a 9p server's answer", "p9_client_rpc p9_client_zc_rpc p9_virtio_request p9_virtio_zc_request"),
    ("an SMB server's answer", "wait_for_response compound_send_recv cifs_send_recv"),
)
_THINGS: Waits = (
    *_SERVERS,
    ("a program that the kernel has started", "call_usermodehelper_exec"),
    ("a new kernel thread", "__kthread_create_on_node kthread_create_on_node __kthread_create_worker*"),
    ("its child, after vfork()", "wait_for_vfork_done"),
    ("its other threads, for a core dump", "coredump_wait coredump_task_exit"),
    ("a file system that is frozen", "mnt_want_write* __sb_start_write sb_start_write* sb_wait_write"),
    ("a journal", "jbd2_log_wait_commit wait_transaction_locked add_transaction_credits __jbd2_log_wait_for_space"),
    ("a journal", "jbd2_journal_lock_updates xlog_wait* xlog_grant_head_wait xfs_log_force*"),
    ("dirty pages to be written", "balance_dirty_pages* wb_wait_for_completion"),
    ("a page that is locked, or is read or written", "folio_wait_bit* folio_wait_writeback* __folio_lock*"),
    ("a page that is locked, or is read or written", "wait_on_page_bit* __lock_page* wait_on_page_writeback"),
    ("a buffer that is locked, or is read or written", "__wait_on_buffer __lock_buffer"),
    ("a block device", "blk_mq_get_tag submit_bio_wait blk_execute_rq* rq_qos_wait wbt_wait blk_queue_enter"),
    ("a block device", "__bio_queue_enter blk_mq_freeze_queue_wait* dm_wait_for_completion"),
    ("direct I/O", "__iomap_dio_rw iomap_dio_rw inode_dio_wait* dio_await_completion"),
    ("an RCU grace period", "synchronize_rcu* synchronize_srcu* __wait_rcu_gp rcu_barrier*"),
    ("queued work", "__flush_work flush_work __flush_workqueue flush_workqueue __cancel_work*"),
    ("memory", "reclaim_throttle throttle_direct_reclaim congestion_wait mem_cgroup_handle_over_high"),
    ("being thawed", "__refrigerator"),
)
_PRIMITIVES: Waits = (
    ("a mutex", "__mutex_lock* mutex_lock* __ww_mutex_lock* rt_mutex_*lock* __rt_mutex_*"),
    ("a read-write semaphore, to read", "rwsem_down_read_slowpath rwsem_down_read_failed* down_read*"),
    ("a read-write semaphore, to write", "rwsem_down_write_slowpath rwsem_down_write_failed* down_write*"),
    ("a per-CPU read-write semaphore", "percpu_rwsem_wait __percpu_down_read percpu_down_write"),
    ("a semaphore", "down __down ___down_common __down_common __down_* down_interruptible down_killable down_timeout"),
    ("a completion", "wait_for_completion* __wait_for_common wait_for_common"),
    ("I/O", "io_schedule* bit_wait_io*"),
    ("a bit", "out_of_line_wait_on_bit* __wait_on_bit* bit_wait*"),
)
_TIME: Waits = (("time to pass", "msleep* usleep_range* schedule_hrtimeout* schedule_timeout*"),)
"""Most primitives wait by these, for as long as they may."""


def waits_for_server(functions: Iterable[str]) -> str | None:
    """Which server a stack's functions wait for; None: for none. A task may do so and not count as blocked."""
    names = list(functions)
    return next((text for text, pattern in _PATTERNS_OF_SERVERS if any(map(pattern.fullmatch, names))), None)


def waits_for(functions: Iterable[str]) -> str | None:
    """What a stack's functions, innermost first, wait for; None: they don't say it."""
    names = list(functions)
    for text, pattern in _PATTERNS_OF_THINGS:
        if any(map(pattern.fullmatch, names)):
            return text
    in_order = ((name, wait) for waits in (_PATTERNS, _PATTERNS_OF_TIME) for name in names for wait in waits)
    return next((text for name, (text, pattern) in in_order if pattern.fullmatch(name)), None)


def _pattern(names: str) -> re.Pattern[str]:
    """Any of some names, and what a compiler makes of them, as "name.constprop.0"."""
    any_of = "|".join(re.escape(name).replace(r"\*", ".*") for name in names.split())
    return re.compile(f"(?:{any_of})(?:[.].*)?")


_PATTERNS_OF_SERVERS = tuple((text, _pattern(names)) for text, names in _SERVERS)
_PATTERNS_OF_THINGS = tuple((text, _pattern(names)) for text, names in _THINGS)
_PATTERNS = tuple((text, _pattern(names)) for text, names in _PRIMITIVES)
_PATTERNS_OF_TIME = tuple((text, _pattern(names)) for text, names in _TIME)
