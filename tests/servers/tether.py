"""Run a command that dies with the process that started it, however that process ends.

    python tether.py PARENT_PID -- COMMAND [ARGUMENT...]

It asks the kernel for SIGKILL at the death of its parent (PR_SET_PDEATHSIG) and becomes the command by
exec, which keeps that request: no further process stands between, so the id, the signals and the exit
status are the server's own, and a stopped (SIGSTOP) server is killed too. A `preexec_fn` would do the
same, but runs Python between fork and exec, which can deadlock in a program with threads.

What to know:

- "Parent" is the *thread* that started the process, not its process. So start it from a thread that lives
  as long as the process does; `processes.Server` has one for that.
- The parent may die before the request is made, hence PARENT_PID: with another parent it gives up.
- The kernel drops the request when the command changes its user or group, or is setuid. Mosquitto does so
  when started by root, unless its configuration says `user root`.
- Only Linux has this.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Tie this process to its parent and become the command."""
    parent_pid, separator, *command = sys.argv[1:]
    if separator != "--" or not command:
        sys.exit("usage: tether.py PARENT_PID -- COMMAND [ARGUMENT...]")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        sys.exit(f"tether: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != int(parent_pid):
        sys.exit("tether: the parent is gone already")
    # Python ignores these two, and exec would hand that on to the server.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.exit(f"tether: {command[0]}: {error.strerror}")


if __name__ == "__main__":
    main()
