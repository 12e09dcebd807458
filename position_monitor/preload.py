"""What a monitor imports in its life: a nursery (mesh/nursery.py) imports it once for all monitors."""

from importlib import import_module

for _name in ("position_monitor.app", "cryptography.hazmat.backends.openssl.backend", "grpc.aio", "mesh.manners"):
    import_module(_name)
