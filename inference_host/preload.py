"""What a host at a position imports in its life: a nursery (mesh/nursery.py) imports it once for all hosts."""

from importlib import import_module

for _name in (
    "inference_host.app",
    "inference_host.running",
    "inference_host.model.onnx",
    "inference_host.uplink",
    "cryptography.hazmat.backends.openssl.backend",
    "jwt",
    "onnxruntime",
):
    import_module(_name)
