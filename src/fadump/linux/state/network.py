"""The network devices of the first network namespace, and their addresses.

Linux: struct net_device in include/linux/netdevice.h, struct in_ifaddr in include/linux/inetdevice.h, struct
inet6_ifaddr in include/net/if_inet6.h. IPv6 may be a module, whose types are known only if it describes them.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface

from fadump.errors import FormatError
from fadump.limits import MOST_NETWORK_ADDRESSES, MOST_NETWORK_DEVICES, Budget
from fadump.linux.memory import UNREADABLE_ADDRESS, KernelMemory
from fadump.linux.symbols.table import SymbolTable
from fadump.linux.types.contract import Types, UnknownTypeError
from fadump.linux.types.lists import list_nodes
from fadump.linux.types.objects import PathError
from fadump.linux.types.structure import Structure, Values
from fadump.printable import first_of

_UP = 1
"""IFF_UP."""
_MOST_HARDWARE_BYTES = 32
"""MAX_ADDR_LEN."""
_IPV4_BYTES = 4


@dataclass(frozen=True, slots=True)
class NetworkDevice:
    """A device; ``addresses`` are IP addresses with their prefixes, ``hardware`` is its own, None if it has none."""

    name: str
    index: int
    is_up: bool
    mtu: int
    hardware: str | None
    addresses: tuple[IPv4Interface | IPv6Interface, ...]


@dataclass(frozen=True, slots=True)
class Network:
    """All devices, in the kernel's order, and a sentence for each thing of them that isn't known."""

    devices: tuple[NetworkDevice, ...]
    left_out: tuple[str, ...] = ()


def read_network(memory: KernelMemory, symbols: SymbolTable, types: Types) -> Network:
    """All devices.

    :raises UnknownSymbolError: the kernel has no network.
    :raises UnknownTypeError: its types lack a member that is needed.
    """
    reader = _Reader(memory, types)
    head = symbols.address("init_net") + reader.head
    nodes = list_nodes(memory, head, Budget("network devices", MOST_NETWORK_DEVICES))
    if nodes.broken is not None:
        reader.left_out.append(f"some network devices can't be read: {nodes.broken}")
    devices = []
    for node in nodes.nodes:
        try:
            devices.append(reader.at(node - reader.link))
        except UNREADABLE_ADDRESS as error:
            reader.left_out.append(f"the network device at {node - reader.link:#x} can't be read: {error}")
    return Network(tuple(devices), tuple(first_of(reader.left_out)))


class _Reader:
    def __init__(self, memory: KernelMemory, types: Types) -> None:
        self._memory = memory
        self.left_out: list[str] = []
        self.head = Structure(types, "net", {"devices": "dev_base_head"}).offset("devices")
        members = {"link": "dev_list", "name": "name", "index": "ifindex", "flags": "flags", "mtu": "mtu"}
        members |= {"hardware": "dev_addr", "hardware_bytes": "addr_len"}
        self._device = Structure(types, "net_device", members, {"four": "ip_ptr", "six": "ip6_ptr"})
        self.link = self._device.offset("link")
        self._budget = Budget("network addresses", MOST_NETWORK_ADDRESSES)
        self._readers: list[tuple[str, Callable[[int], Iterator[IPv4Interface | IPv6Interface]]]] = []
        for kind, reader in (("four", _Ipv4), ("six", _Ipv6)):
            try:
                self._readers.append((kind, reader(memory, types, self._budget).all))
            except (UnknownTypeError, PathError) as error:
                self.left_out.append(f"addresses of {reader.name}: {error}")

    def at(self, address: int) -> NetworkDevice:
        values = self._device.read(self._memory, address)
        name = values.text("name")
        return NetworkDevice(
            name=name,
            index=values.count("index"),
            is_up=bool(values.count("flags") & _UP),
            mtu=values.count("mtu"),
            hardware=self._hardware(values),
            addresses=tuple(self._addresses(name, values)),
        )

    def _hardware(self, values: Values) -> str | None:
        length = min(values.count("hardware_bytes"), _MOST_HARDWARE_BYTES)
        at = values.count("hardware")
        raw = self._memory.read(at, length) if at else b""
        return raw.hex(":") if any(raw) else None

    def _addresses(self, name: str, values: Values) -> Iterator[IPv4Interface | IPv6Interface]:
        for kind, read in self._readers:
            device = values.number(kind)
            try:
                yield from read(device) if device else ()
            except (*UNREADABLE_ADDRESS, FormatError) as error:
                self.left_out.append(f"some addresses of {name} can't be read: {error}")


class _Ipv4:
    """The IPv4 addresses of devices, a chain."""

    name = "IPv4"

    def __init__(self, memory: KernelMemory, types: Types, budget: Budget) -> None:
        self._memory = memory
        self._budget = budget
        self._device = Structure(types, "in_device", {"first": "ifa_list"})
        self._address = Structure(
            types, "in_ifaddr", {"next": "ifa_next", "local": "ifa_local", "prefix": "ifa_prefixlen"}
        )

    def all(self, device: int) -> Iterator[IPv4Interface]:
        """Those of a struct in_device."""
        at = self._device.read(self._memory, device).number("first")
        offset = self._address.offset("local")
        seen: set[int] = set()
        while at and at not in seen:
            self._budget.spend()
            seen.add(at)
            values = self._address.read(self._memory, at)
            raw = self._memory.read(at + offset, _IPV4_BYTES)
            yield IPv4Interface((raw, min(values.count("prefix"), 8 * _IPV4_BYTES)))
            at = values.number("next")


class _Ipv6:
    """The IPv6 addresses of devices, a list."""

    name = "IPv6"

    def __init__(self, memory: KernelMemory, types: Types, budget: Budget) -> None:
        self._memory = memory
        self._budget = budget
        self._head = Structure(types, "inet6_dev", {"first": "addr_list"}).offset("first")
        self._address = Structure(types, "inet6_ifaddr", {"link": "if_list", "address": "addr", "prefix": "prefix_len"})

    def all(self, device: int) -> Iterator[IPv6Interface]:
        """Those of a struct inet6_dev."""
        nodes = list_nodes(self._memory, device + self._head, self._budget)
        for node in nodes.nodes:
            values = self._address.read(self._memory, node - self._address.offset("link"))
            raw = values["address"]
            if isinstance(raw, bytes):
                yield IPv6Interface((raw, min(values.count("prefix"), 8 * len(raw))))
        if nodes.broken is not None:
            raise FormatError(nodes.broken)
