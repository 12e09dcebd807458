"""Builds the C++ of the benchmark: the driver, and the server that stands for what gRPC can do at best.

Both are built with the machine's own g++ when their sources have changed. The driver needs nothing but g++ (with
OpenSSL's headers it also speaks TLS); the server needs Debian's libgrpc++-dev and protobuf-compiler.
"""

import hashlib
import importlib.util
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CACHE = ROOT / ".bench"
"""Binaries, environments and models, kept between runs."""
PROTOS = ROOT / "protos"
INFERENCE = "waypost/api/inference/v1"
FLAGS = ("-std=c++20", "-O2", "-Wall", "-Wextra")
BUILD_S = 600.0


class CannotBuild(Exception):
    """Says what is missing."""


def driver(cache: Path) -> Path:
    """The driver's binary. Raises: CannotBuild."""
    tls = ["-DBENCH_TLS", "-lssl", "-lcrypto"] if tls_headers() else []
    sources = sorted((HERE / "driver").glob("*.cc"))
    return _built(cache, "load", [*sources, *(HERE / "driver").glob("*.h")], [*map(str, sources), *tls])


def tls_headers() -> bool:
    """Whether the driver can be built to speak TLS."""
    return Path("/usr/include/openssl/ssl.h").exists()


def cpp_server(cache: Path) -> Path:
    """The C++ server's binary. Raises: CannotBuild."""
    if not Path("/usr/include/grpcpp/grpcpp.h").exists() or not shutil.which("protoc"):
        raise CannotBuild("gRPC for C++ is not installed: apt-get install libgrpc++-dev protobuf-compiler")
    generated = cache / "cpp"
    generated.mkdir(parents=True, exist_ok=True)
    protos = sorted((PROTOS / INFERENCE).glob("*.proto"))
    _run(["protoc", f"--proto_path={PROTOS}", f"--cpp_out={generated}", *map(str, protos)])
    messages = [str(generated / INFERENCE / f"{proto.stem}.pb.cc") for proto in protos]
    source, library = HERE / "peers/cpp/server.cc", _onnxruntime(generated)
    flags = [str(source), *messages, f"-I{generated}", str(library), f"-Wl,-rpath,{library.parent}"]
    flags += ["-lgrpc++", "-lgrpc", "-lgpr", "-lprotobuf", "-lpthread"]
    return _built(cache, "cpp_server", [source, source.with_name("ort.h"), *protos], flags)


def _onnxruntime(directory: Path) -> Path:
    """The shared library inside onnxruntime's wheel, the same code that the Python servers run.

    It is looked for at run time by a name that the wheel has no file of; so it gets a link of that name.
    """
    found = importlib.util.find_spec("onnxruntime")
    assert found is not None
    assert found.origin is not None
    library = next((Path(found.origin).parent / "capi").glob("libonnxruntime.so.*"))
    link = directory / "libonnxruntime.so.1"
    link.unlink(missing_ok=True)
    link.symlink_to(library)
    return link


def _built(cache: Path, name: str, inputs: Sequence[Path], flags: Sequence[str]) -> Path:
    """Named by a digest of what it was made from, so that it is made anew when that changes."""
    digest = hashlib.sha256("\0".join([*FLAGS, *flags]).encode())
    for path in sorted(inputs):
        digest.update(path.read_bytes())
    binary = cache / "bin" / f"{name}-{digest.hexdigest()[:12]}"
    if not binary.exists():
        binary.parent.mkdir(parents=True, exist_ok=True)
        unfinished = binary.with_suffix(".new")
        _run(["g++", *FLAGS, "-o", str(unfinished), *flags])
        unfinished.rename(binary)
    return binary


def _run(argv: Sequence[str]) -> None:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=BUILD_S)
    except FileNotFoundError as error:
        raise CannotBuild(f"{argv[0]} is not installed: apt-get install g++ protobuf-compiler") from error
    if done.returncode:
        raise CannotBuild(f"{argv[0]} failed:\n{done.stderr[-2000:]}")
