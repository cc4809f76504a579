"""What modules, mounts, interrupts and the rest were, as drgn reads them: by debug information."""

import subprocess
from collections import Counter

from drgn.helpers.linux.fs import for_each_mount, mount_dst, mount_fstype, mount_src
from drgn.helpers.linux.hugetlb import for_each_hstate, huge_page_size
from drgn.helpers.linux.irq import for_each_irq_desc, irq_desc_action_names, irq_desc_chip_name, irq_desc_kstat_cpu
from drgn.helpers.linux.mm import totalram_pages
from drgn.helpers.linux.module import for_each_module, module_address_regions, module_taints
from drgn.helpers.linux.net import for_each_netdev, netdev_ipv4_addrs, netdev_ipv6_addrs, netdev_name
from drgn.helpers.linux.panic import tainted
from drgn.helpers.linux.printk import get_printk_records
from drgn.helpers.linux.sched import cpu_rq, loadavg
from drgn.helpers.linux.slab import for_each_slab_cache, slab_cache_usage
from drgn.helpers.linux.vmstat import global_node_page_state, global_zone_page_state

NODE_COUNTS = {
    "cache": "NR_FILE_PAGES",
    "shared": "NR_SHMEM",
    "anonymous": "NR_ANON_MAPPED",
    "mapped": "NR_FILE_MAPPED",
}
NODE_COUNTS |= {"dirty": "NR_FILE_DIRTY", "writeback": "NR_WRITEBACK", "slab_reclaimable": "NR_SLAB_RECLAIMABLE_B"}
UPTIME_NS = 3_000_000_000
"""How far a CPU's last tick may be from the last message."""
MODULES = ("dns_resolver", "sunrpc", "squashfs", "loop", "fuse")
"""In the order in which they can be loaded."""
EVERY_STATE = r"""
ip link set lo up && ip addr add 10.1.2.3/8 dev lo || true
sleep 1000 & sleep 1000 & kill -STOP $!
sh -c 'true & exec sleep 1000' &
sync && fsfreeze --freeze /disk || exit 1
(touch /disk/one & touch /disk/two & sleep 1)
"""
"""Tasks that sleep, are stopped or ended and not waited for; two that wait for a file system that is frozen."""


def module_files(kernel):
    """The files of a kernel's modules that are loaded, by their names; none if it has none."""
    found = {path.stem: path for path in kernel.modules.rglob("*.ko")}
    return {name: found[name] for name in MODULES if name in found}


def check_modules(system, program, files):
    """The same modules, where and with which taint and build id; how many."""
    ours = [
        (module.name, [(part.start, part.size_bytes) for part in module.memory]) for module in system.modules.modules
    ]
    theirs = [
        (module.name.string_().decode(), [region for region in module_address_regions(module) if region[1]])
        for module in for_each_module(program)
    ]
    assert ours == theirs and not system.modules.left_out
    assert [module.taint for module in system.modules.modules] == [*map(module_taints, for_each_module(program))]
    for module in system.modules.modules:
        notes = subprocess.run(["readelf", "--notes", files[module.name]], capture_output=True, text=True, check=True)
        assert f"Build ID: {module.build_id}\n" in notes.stdout
    return len(ours)


def check_mounts(system, program):
    """The same mounts; there may be more than one at a path, which drgn tells by what it sees there."""
    ours = sorted((mount.source, mount.path, mount.type) for mount in system.state.mounts.mounts)
    theirs = sorted(
        (mount_src(mount).decode(), mount_dst(mount).decode(), mount_fstype(mount).decode())
        for mount in for_each_mount(program)
    )
    assert ours == theirs and not system.state.mounts.left_out
    return len(ours)


def check_memory(system, program):
    """The same counts, slab caches and pools of huge pages."""
    page, found = program["PAGE_SIZE"].value_(), system.state.memory
    assert (found.total, found.unknown) == (totalram_pages(program) * page, ())
    assert found.free == global_zone_page_state(program, program["NR_FREE_PAGES"]) * page
    for name, item in NODE_COUNTS.items():
        assert getattr(found, name) == global_node_page_state(program, program[item]) * page, name
    assert [(pool.page_bytes, pool.count, pool.free) for pool in found.huge] == [
        (huge_page_size(pool).value_(), pool.nr_huge_pages.value_(), pool.free_huge_pages.value_())
        for pool in for_each_hstate(program)
    ]


def check_slab_caches(system, program):
    """The same caches; how many."""
    ours = sorted(
        (cache.name, cache.object_bytes, cache.objects, cache.slabs) for cache in system.state.slab_caches.caches
    )
    theirs = sorted(
        (cache.name.string_().decode(), cache.size.value_(), usage.num_objs, usage.num_slabs)
        for cache in for_each_slab_cache(program)
        for usage in [slab_cache_usage(cache)]
    )
    assert ours == theirs
    return len(ours)


def check_network(system, program):
    """The same devices and addresses."""
    ours = {device.name: [address.ip for address in device.addresses] for device in system.state.network.devices}
    theirs = {
        netdev_name(device).decode(): [*netdev_ipv4_addrs(device), *netdev_ipv6_addrs(device)]
        for device in for_each_netdev(program)
    }
    assert ours == theirs and not system.state.network.left_out
    return ours


def check_interrupts(system, program):
    """The same interrupts, counted the same on each CPU; how many."""
    found = system.state.interrupts
    theirs = [
        (number, irq_desc_chip_name(descriptor), irq_desc_action_names(descriptor), counts)
        for number, descriptor in for_each_irq_desc(program)
        for counts in [tuple(irq_desc_kstat_cpu(descriptor, cpu) for cpu in found.cpus)]
        if descriptor.action or any(counts)
    ]
    ours = [
        (
            interrupt.number,
            None if interrupt.controller is None else interrupt.controller.encode(),
            [name.encode() for name in interrupt.handlers],
            interrupt.counts,
        )
        for interrupt in found.interrupts
    ]
    assert ours == theirs and not found.left_out
    return len(ours)


def check_activity(system, program):
    """The same command line, taint, load and run queues."""
    found = system.activity
    assert found.unknown == ()
    assert found.command_line == program["saved_command_line"].string_().decode()
    assert sorted(found.taint) == sorted(tainted(program).replace("G", "").replace(" ", ""))
    assert [round(value, 2) for value in found.load] == [round(value, 2) for value in loadavg(program)]
    last = get_printk_records(program)[-1]
    assert abs(found.uptime_ns - last.timestamp) < UPTIME_NS  # not uptime(), which lags behind where ticks are lost
    for queue in found.run_queues:
        theirs = cpu_rq(program, queue.cpu)
        assert (queue.runnable, queue.is_idle) == (theirs.nr_running.value_(), theirs.curr == theirs.idle)
        assert queue.current is None or queue.current.address == theirs.curr.value_()


def check_module_symbols(system, program, files):
    """Each function of the modules' ``files``, from its first instruction to its last: nm's, where drgn has the text.

    How many.
    """
    texts = {module.name: module.section_addresses[".text"] for module in program.modules() if module.name in files}
    compared = 0
    for name, file in files.items():
        said = subprocess.run(["nm", "--format=sysv", file], capture_output=True, text=True, check=True).stdout
        rows = [[cell.strip() for cell in line.split("|")] for line in said.splitlines() if line.count("|") == 6]
        for function, value, _class, kind, size, _line, section in rows:
            if kind != "FUNC" or section != ".text" or not int(size, 16):
                continue
            for offset in (0, int(size, 16) - 4):
                ours = system.symbol(texts[name] + int(value, 16) + offset)
                assert (ours.name, ours.offset, ours.module) == (function, offset, name)
            compared += 1
    return compared


def check_module_types(system, files, vmlinux, name="fuse"):
    """The size of each structure that a module has of its own, by pahole; how many."""
    (module,) = (module for module in system.modules.modules if module.name == name)
    types = system.module_types.of(module)
    command = ["pahole", "-F", "btf", "--btf_base", vmlinux, "--sizes", files[name]]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rows = [line.split("\t")[:2] for line in said.splitlines()]
    times = Counter(title for title, _size in rows)
    own = {title: int(size) for title, size in rows if times[title] == 1 and system.structures.find(title) is None}
    assert {title: types.named(title).size_bytes for title in own} == own
    return len(own)
