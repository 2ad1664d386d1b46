"""`no_flock.py PROGRAM ARGUMENT…`: runs a program for which flock(2) always succeeds and locks nothing.

So it is on network volumes that were mounted without cluster-wide locks. A seccomp filter answers in
place of the kernel, for the program and all that it starts.
"""

import ctypes
import os
import struct
import sys

# linux/prctl.h, linux/seccomp.h, linux/audit.h, linux/bpf_common.h
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
ALLOW, SUCCEED = 0x7FFF0000, 0x00050000
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
NUMBER, ARCHITECTURE = 0, 4
MACHINES = {"x86_64": (0xC000003E, 73), "aarch64": (0xC00000B7, 32)}


def main() -> None:
    architecture, flock = MACHINES[os.uname().machine]
    instructions = [
        (LOAD, 0, 0, ARCHITECTURE),
        (JUMP_IF_EQUAL, 0, 3, architecture),
        (LOAD, 0, 0, NUMBER),
        (JUMP_IF_EQUAL, 0, 1, flock),
        (RETURN, 0, 0, SUCCEED),
        (RETURN, 0, 0, ALLOW),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *one) for one in instructions))
    program = struct.pack("HxxxxxxP", len(instructions), ctypes.addressof(code))
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.create_string_buffer(program))
    os.execv(sys.argv[1], sys.argv[1:])


def prctl(option: int, *arguments: object) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    words = [ctypes.c_ulong(word) if isinstance(word, int) else word for word in arguments]
    words += [ctypes.c_ulong(0)] * (4 - len(words))
    if libc.prctl(option, *words) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


if __name__ == "__main__":
    main()
