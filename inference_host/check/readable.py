"""What a Python interpreter needs to read so that it can load a package: its own files, the system's, and our code.

Nothing that anybody has written down is among it: no home, no /tmp, no data directory. Of a folder where packages are
installed, all of it; of a source tree (PYTHONPATH, an editable install), what can be imported from it. A checkout
often holds more than code, a data directory for one: of the rest, only the names can be seen.
"""

import os
import sys
from collections.abc import Iterator, Sequence

from inference_host.check.landlock import LIST, READ, USE, Rule

SYSTEM = (
    *("/usr", "/bin", "/lib", "/lib32", "/lib64", "/nix/store"),
    *("/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/ld.so.preload"),
    *("/etc/localtime", "/etc/timezone", "/etc/ssl/openssl.cnf"),
    *("/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/filesystems"),
    *("/proc/sys/vm/overcommit_memory", "/proc/sys/kernel/osrelease"),
    *("/sys/devices", "/sys/bus/pci", "/sys/class/drm", "/sys/fs/cgroup", "/sys/kernel/mm/transparent_hugepage"),
    *("/dev/urandom", "/dev/random"),
)
"""Programs, libraries, time zones; of the kernel, what numerical libraries ask about the machine and this process."""

DEVICES = ("/dev/null", "/dev/zero", "/dev/full")

INSTALLED = ("site-packages", "dist-packages")
INSTALLED_SUFFIX = ".dist-info"  # lies beside what pip has installed, also into a folder of another name
MODULE_SUFFIXES = (".py", ".pyc", ".so")


def for_interpreter(path: Sequence[str]) -> Iterator[Rule]:
    """path: `sys.path`, without what is there by chance, such as the working directory."""
    yield from (Rule(device, USE) for device in DEVICES)
    yield from (Rule(file, READ) for file in SYSTEM)
    prefixes = {sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix}
    yield from (Rule(prefix, READ) for prefix in sorted(prefixes))
    yield Rule(os.path.realpath(sys.executable), READ)
    for name in ("LD_LIBRARY_PATH", "PYTHONPYCACHEPREFIX"):
        yield from (Rule(entry, READ) for entry in os.environ.get(name, "").split(os.pathsep) if os.path.isabs(entry))
    for entry in filter(os.path.isabs, path):
        yield from _to_import_from(entry)


def _to_import_from(entry: str) -> Iterator[Rule]:
    if not os.path.isdir(entry):
        yield Rule(entry, READ)  # a zip file, or nothing
        return
    try:
        inner = os.listdir(entry)
    except OSError:  # then nobody can import from it
        return
    if os.path.basename(entry) in INSTALLED or any(name.endswith(INSTALLED_SUFFIX) for name in inner):
        yield Rule(entry, READ)
        return
    yield Rule(entry, LIST)
    for name in inner:
        found = os.path.join(entry, name)
        if name.endswith(MODULE_SUFFIXES) or os.path.isfile(os.path.join(found, "__init__.py")):
            yield Rule(found, READ)
