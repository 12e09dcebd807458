"""The filter, run by hand on system calls of both machines that it knows."""

import socket

import pytest

from inference_host.check import seccomp
from inference_host.check.seccomp import ALLOW, MACHINES, REFUSE, Machine


def verdict(machine: Machine, number: int, *arguments: int, architecture: int | None = None) -> int:
    """What the kernel would make of a call: a BPF machine of the five instructions that are used."""
    words = {
        seccomp.NUMBER: number,
        seccomp.ARCHITECTURE: machine.architecture if architecture is None else architecture,
        **{16 + 8 * at: argument for at, argument in enumerate(arguments)},
    }
    program, at, value = seccomp.program(machine), 0, 0
    while True:
        code, true, false, operand = program[at]
        at += 1
        match code:
            case seccomp.LOAD:
                value = words[operand]
            case seccomp.AND:
                value &= operand
            case seccomp.JUMP_EQUAL:
                at += true if value == operand else false
            case seccomp.JUMP_AT_LEAST:
                at += true if value >= operand else false
            case seccomp.RETURN:
                return operand


@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)
def test_sockets_that_lead_to_other_processes_are_refused(machine: Machine) -> None:
    cloexec, stream = socket.SOCK_CLOEXEC, socket.SOCK_STREAM
    for family in (socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK):
        assert verdict(machine, machine.socket, family, stream) == ALLOW
    for family in (socket.AF_UNIX, socket.AF_VSOCK, 38, 1 << 31):
        assert verdict(machine, machine.socket, family, stream) == REFUSE
    for kind, expected in (
        (stream, ALLOW),
        (stream | cloexec, ALLOW),
        (socket.SOCK_SEQPACKET, ALLOW),
        (socket.SOCK_DGRAM | cloexec, REFUSE),
        (socket.SOCK_RAW, REFUSE),
    ):
        assert verdict(machine, machine.socketpair, socket.AF_UNIX, kind) == expected


@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)
def test_no_other_way_leads_around_the_filter(machine: Machine) -> None:
    assert verdict(machine, seccomp.IO_URING_SETUP, 1) == REFUSE
    assert verdict(machine, seccomp.X32 | machine.socket, socket.AF_INET) == REFUSE
    assert verdict(machine, 1, architecture=0x4000_0003) == REFUSE
    for number in (0, 1, 59, 257, machine.socket + 3):
        assert verdict(machine, number, socket.AF_UNIX, 2) == ALLOW
