"""A Python that has imported what ComfyUI will import, and forks an instance of it on demand.

comfyd starts it with the version's own interpreter, environment and directory. Standard input is a socket to comfyd;
each message is a line of JSON. First comes what to import; then the zygote waits. Each child becomes what `python
main.py …` would have been: command line and environment (also as the system shows them), log, process group,
`__main__`. The end of the socket is the end of the zygote; its children live on.
"""
import ctypes
import gc
import importlib
import importlib.machinery
import json
import mmap
import os
import selectors
import signal
import socket
import sys
import time
import types

with open("/proc/self/environ", "rb") as file:
    GIVEN = {os.fsdecode(pair).partition("=")[0] for pair in file.read().split(b"\0")}
# What Python itself sets when it begins, such as `LC_CTYPE`.
BY_PYTHON = {name: value for name, value in os.environ.items() if name not in GIVEN}
SIGNALS = {number: signal.getsignal(number) for number in signal.valid_signals()}


def main():
    control = socket.socket(fileno=os.dup(0))
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    # This script's own directory: nothing is imported from there.
    del sys.path[0]
    lines = Lines(control)
    order, _ = lines.next()
    os.environ.update({name: value for name, value in order["environ"].items() if value is not None})
    for name in (name for name, value in order["environ"].items() if value is None):
        os.environ.pop(name, None)
    trouble = show_as(sys.orig_argv, os.environ)
    if trouble:
        return lines.tell({"cannot": trouble})
    unfit = prime(order["modules"], set(order["skip"]))
    if unfit:
        return lines.tell({"unfit": unfit})
    gc.collect()
    gc.freeze()
    with open(order["said"], "rb") as file:
        said = file.read()
    lines.tell({"primed": len(sys.modules)})
    child = serve(lines)
    if child:
        become(*child, said)


def prime(modules, skip):
    """Imports modules; returns the first one that must not be imported before a fork."""
    fit = Fitness()
    for name in modules:
        if name in sys.modules or name in skip:
            continue
        before = len(sys.modules)
        try:
            importlib.import_module(name)
        except BaseException:  # noqa: BLE001
            # What it had imported by then may be half of something.
            if len(sys.modules) != before:
                return name
        if not fit.still():
            return name
    return None


class Fitness:
    """Whether this process may be forked: no thread but this one, no GPU."""

    def __init__(self):
        self.files = set(os.listdir("/proc/self/fd"))

    def still(self):
        if len(os.listdir("/proc/self/task")) > 1 and self.threads_survive():
            return False
        files = set(os.listdir("/proc/self/fd"))
        new, self.files = files - self.files, files
        return not any(leads_to_gpu(file) for file in new)

    def threads_survive(self):
        """Forks: libraries that know of forks, as OpenBLAS does, end their threads before."""
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
        # A thread that was told to end is gone a moment later.
        for _ in range(100):
            if len(os.listdir("/proc/self/task")) == 1:
                return False
            time.sleep(0.001)
        return True


def leads_to_gpu(file):
    try:
        return os.readlink(f"/proc/self/fd/{file}").startswith(("/dev/nvidia", "/dev/kfd", "/dev/dri"))
    except OSError:
        return False


class Lines:
    """Messages to and from comfyd."""

    def __init__(self, control):
        self.control, self.buffer, self.files = control, b"", []

    def fileno(self):
        return self.control.fileno()

    def tell(self, message):
        self.control.sendall(json.dumps(message).encode() + b"\n")

    def next(self):
        """Returns a message and the file that came with it; none at the end."""
        while b"\n" not in self.buffer:
            data, files, _, _ = socket.recv_fds(self.control, 1 << 16, 4)
            if not data:
                return None, None
            self.buffer += data
            self.files += files
        line, _, self.buffer = self.buffer.partition(b"\n")
        message = json.loads(line)
        return message, self.files.pop(0) if "argv" in message else None


def serve(lines):
    """Forks on demand and tells how children end; returns in a child only, with what it is to become."""
    selector = selectors.DefaultSelector()
    control = selector.register(lines, selectors.EVENT_READ)
    unheld = set()
    while True:
        # Several messages may have come at once.
        for key in [control] if b"\n" in lines.buffer else [key for key, _ in selector.select()]:
            if key.data is not None:
                pid, pidfd = key.data
                selector.unregister(pidfd)
                os.close(pidfd)
                lines.tell({"ended": pid, "status": os.waitpid(pid, 0)[1]})
                continue
            message, log = lines.next()
            if message is None:
                leave(unheld)
            if "held" in message:
                # From now on its number may be given away: comfyd has hold of it.
                pid = message["held"]
                unheld.discard(pid)
                pidfd = os.pidfd_open(pid)
                selector.register(pidfd, selectors.EVENT_READ, (pid, pidfd))
                continue
            pid = fork(message)
            if pid == 0:
                for key in selector.get_map().values():
                    os.close(key.fd)
                selector.close()
                lines.control.detach()
                return message, log
            os.close(log)
            unheld.add(pid)
            lines.tell({"forked": pid})


def leave(unheld):
    """Ends this process; children live on, but for those that nobody has hold of."""
    for pid in unheld:
        os.kill(pid, signal.SIGKILL)
    os._exit(0)


def fork(message):
    """Forks a child that looks as it should before anyone learns of it."""
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        # First what tells it from a zygote, then the group that it leads.
        trouble = show_as(message["argv"], message["environ"])
        os.setpgid(0, 0)
        if trouble:
            os._exit(70)
        os.close(told)
        os.close(tell)
        return 0
    os.close(tell)
    os.read(told, 1)
    os.close(told)
    return pid


def become(message, log, said):
    """Goes on as ComfyUI: everything is as if `argv` had just been executed."""
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    for number, handler in SIGNALS.items():
        if handler is not None and signal.getsignal(number) != handler:
            signal.signal(number, handler)
    os.environ.clear()
    os.environ.update({**message["environ"], **BY_PYTHON})
    argv = message["argv"]
    sys.orig_argv, sys.argv = argv, argv[1:]
    program = argv[1]
    sys.path.insert(0, os.path.dirname(program))
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed()
    logging = sys.modules.get("logging")
    if logging:
        logging._startTime = time.time() if isinstance(logging._startTime, float) else time.time_ns()
    os.write(1, said)
    run(program)


def run(program):
    """Executes a file as `__main__`."""
    with open(program, "rb") as file:
        code = compile(file.read(), program, "exec")
    module = types.ModuleType("__main__")
    module.__dict__.update(
        __file__=program,
        __cached__=None,
        __builtins__=sys.modules["builtins"],
        __loader__=importlib.machinery.SourceFileLoader("__main__", program),
    )
    if "__annotations__" in globals():
        # As every `__main__` has before Python 3.14.
        module.__annotations__ = {}
    # This file's own names live on in the frames that call this.
    sys.modules["__main__"] = module
    try:
        exec(code, module.__dict__)  # noqa: S102
    except (SystemExit, KeyboardInterrupt):
        raise
    except BaseException as error:  # noqa: BLE001
        # Without the frames of this file.
        sys.excepthook(type(error), error, error.__traceback__.tb_next)
        sys.exit(1)


class Map(ctypes.Structure):
    """`struct prctl_mm_map` of linux/prctl.h."""

    _fields_ = [
        *((name, ctypes.c_uint64) for name in (
            "start_code", "end_code", "start_data", "end_data", "start_brk", "brk", "start_stack",
            "arg_start", "arg_end", "env_start", "env_end", "auxv",
        )),
        ("auxv_size", ctypes.c_uint32),
        ("exe_fd", ctypes.c_uint32),
    ]


LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.sbrk.restype = ctypes.c_void_p
LIBC.sbrk.argtypes = [ctypes.c_ssize_t]
LIBC.prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
PR_SET_MM, PR_SET_MM_MAP = 35, 14
SHOWN = []


def show_as(argv, environ):
    """Makes the system show this command line and environment (`/proc/<pid>/{cmdline,environ}`); says why it cannot."""
    args = b"".join(os.fsencode(arg) + b"\0" for arg in argv)
    env = b"".join(os.fsencode(f"{name}={value}") + b"\0" for name, value in environ.items())
    place = mmap.mmap(-1, len(args) + len(env) + 1, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    place.write(args + env)
    SHOWN.append(place)
    at = ctypes.addressof(ctypes.c_char.from_buffer(place))
    with open("/proc/self/stat") as file:
        # The second field is a name in brackets, which may hold anything; fields count from 1 in proc_pid_stat(5).
        fields = ["", "", "", *file.read().rpartition(") ")[2].split()]
    new = Map(
        start_code=int(fields[26]), end_code=int(fields[27]), start_stack=int(fields[28]),
        start_data=int(fields[45]), end_data=int(fields[46]), start_brk=int(fields[47]),
        arg_start=at, arg_end=at + len(args), env_start=at + len(args), env_end=at + len(args) + len(env),
        exe_fd=0xFFFFFFFF,
    )
    where = ctypes.addressof(new)
    new.brk = LIBC.sbrk(0)
    if LIBC.prctl(PR_SET_MM, PR_SET_MM_MAP, where, ctypes.sizeof(Map), 0) != 0:
        return f"this system does not let a process change how it is shown: {os.strerror(ctypes.get_errno())}"
    return None


main()
