from ipaddress import ip_interface

import pytest

from fadump.linux.state.network import NetworkDevice
from fadump.linux.system import CrashedSystem
from tests.linux.host_kernel import HostKernel

FOUR = [((127, 0, 0, 1), 8), ((10, 1, 2, 3), 24)]
SIX = [(bytes(15) + b"\1", 128)]
MAC = bytes(range(1, 7))


def network_of(kernel):
    return CrashedSystem(kernel.dump()).state.network


@pytest.mark.parametrize("byte_order", ["little", "big"])
def test_devices_and_their_addresses(byte_order):
    kernel = HostKernel((), byte_order)
    lo = kernel.add_device("lo", index=1, four=FOUR, six=SIX)
    eth = kernel.add_device("eth\x1b", index=2, flags=0x1002, hardware=MAC)
    kernel.add_network([lo, eth])
    found = network_of(kernel)
    addresses = tuple(map(ip_interface, ("127.0.0.1/8", "10.1.2.3/24", "::1/128")))
    assert found.devices == (
        NetworkDevice("lo", 1, is_up=True, mtu=1500, hardware=None, addresses=addresses),
        NetworkDevice("eth\x1b", 2, is_up=False, mtu=1500, hardware="01:02:03:04:05:06", addresses=()),
    )
    assert found.left_out == ()


def test_addresses_that_are_a_loop_end():
    kernel = HostKernel()
    kernel.add_network([kernel.add_device("lo", index=1, four=FOUR)])
    memory = bytes(kernel.memory)
    at = memory.index(bytes((10, 1, 2, 3, 24))) - 8
    kernel.poke(0xC000_0000_0000_0000 + at, kernel.pack("Q", 0xC000_0000_0000_0000 + at))
    (device,) = network_of(kernel).devices
    assert len(device.addresses) == 2


def test_addresses_nowhere_are_told_and_the_device_is_there():
    kernel = HostKernel()
    lo = kernel.add_device("lo", index=1, four=FOUR, six=SIX)
    kernel.add_network([lo])
    kernel.poke(lo, kernel.pack("QQ", 0xC000_0100_0000_0000, 8))
    found = network_of(kernel)
    assert found.devices[0].addresses == () and len(found.left_out) == 2
    assert all(sentence.startswith("some addresses of lo can't be read") for sentence in found.left_out)


def test_a_hostile_prefix_and_length_are_bounded():
    kernel = HostKernel()
    lo = kernel.add_device("lo", index=1, hardware=MAC, four=[((1, 2, 3, 4), 255)], six=[(bytes(16), 0xFFFF_FFFF)])
    kernel.add_network([lo])
    kernel.poke(lo + 64, b"\xff" * 8)
    (device,) = network_of(kernel).devices
    assert [address.network.prefixlen for address in device.addresses] == [32, 128]
