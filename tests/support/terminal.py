"""`terminal.py ROWS COLUMNS PROGRAM ARGUMENT…`: runs a program on a terminal of that size.

What the program writes comes out of stdout as it is. A line on stdin is `size ROWS COLUMNS`, or `type TEXT`
for what a person types. Ends as the program does.
"""

import fcntl
import os
import pty
import struct
import sys
import termios
import threading


def resize(terminal: int, rows: str, columns: str) -> None:
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", int(rows), int(columns), 0, 0))


def obey(terminal: int) -> None:
    for line in sys.stdin:
        order, _, rest = line.rstrip("\n").partition(" ")
        if order == "size":
            resize(terminal, *rest.split())
        else:
            os.write(terminal, rest.encode())


def main() -> int:
    rows, columns, *command = sys.argv[1:]
    program, terminal = pty.fork()
    if program == 0:
        # Python sets it where the locale is C (PEP 538).
        os.environ.pop("LC_CTYPE", None)
        # The size is there before the program looks.
        resize(0, rows, columns)
        os.execv(command[0], command)
    threading.Thread(target=obey, args=(terminal,), daemon=True).start()
    while True:
        try:
            text = os.read(terminal, 65536)
        except OSError:
            # The other end is closed.
            break
        if not text:
            break
        os.write(1, text)
    return os.waitstatus_to_exitcode(os.waitpid(program, 0)[1])


sys.exit(main())
