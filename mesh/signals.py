"""Names of signals, also of those that have none."""

import signal


def signal_name(number: int) -> str:
    """`SIGSEGV`; `signal 63` for one without a name, which can end a process just as well."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
