"""What a guest in QEMU is asked to do when memory or CPUs come and go, as scripts for its shell.

QEMU tells Linux of what is plugged and asks for what is to go; Linux does the rest by itself, in a while, and shows it
in sysfs (arch/powerpc/platforms/pseries/dlpar.c). Linux before 6.10 has to register again if its memory has changed,
which is user space's part; newer ones have ``hotplug_ready``.
"""

from fadump.machine.hotplug import Act, Change
from fadump.memory.ranges import Range

_MOST_LOOKS = 600
_LOOK_MICROSECONDS = 200_000
_WAIT = f"""
looks=0
wait_until() {{
    until [ "$(cat "$1" 2>/dev/null)" $2 "$3" ]; do
        if [ $((looks += 1)) -gt {_MOST_LOOKS} ]; then
            echo "$1 has never been $2 $3: $(dmesg | tail -n 1)"
            exit 1
        fi
        usleep {_LOOK_MICROSECONDS}
    done
}}
"""
_REGISTER_AGAIN = """
cd /sys/kernel/fadump
[ -e hotplug_ready ] || [ "$(cat registered)" = 0 ] || echo 1 >registered
"""


def script(change: Change, threads: int) -> str:
    """What the guest does when the machine has done its part; a core has so many ``threads``."""
    match change.what:
        case Range() as piece:
            return _await_memory(piece, "=" if change.act is Act.PLUG else "!=") + _REGISTER_AGAIN
        case int(cpu) if change.act is Act.OFFLINE:
            return f"echo 0 >{_online(cpu)}"
        case int(first):
            operator = "=" if change.act is Act.PLUG else "!="
            waits = [f"wait_until {_online(cpu)} {operator} 1" for cpu in range(first, first + threads)]
            return "\n".join([_WAIT, *waits])


def _await_memory(piece: Range, operator: str) -> str:
    return f"""{_WAIT}
block_bytes=$((0x$(cat /sys/devices/system/memory/block_size_bytes)))
block=$(({piece.start} / block_bytes))
while [ $block -lt $(({piece.end} / block_bytes)) ]; do
    wait_until /sys/devices/system/memory/memory$block/state {operator} online
    block=$((block + 1))
done
"""


def _online(cpu: int) -> str:
    return f"/sys/devices/system/cpu/cpu{cpu}/online"
