"""Generates the Python of `protos/` into the SDK.

    python tools/gen_protos.py            write
    python tools/gen_protos.py --check    exit 1 where the committed code differs
    python tools/gen_protos.py --image F  write a descriptor set with comments (for buf) to F

Proto path = Python path, so nothing is rewritten afterwards. The generator is the oldest grpcio-tools that we
support (pyproject.toml): code from a newer one refuses older runtimes.
"""

import argparse
import filecmp
import sys
import tempfile
from pathlib import Path

import grpc_tools
from google.rpc import status_pb2
from grpc_tools import protoc

ROOT = Path(__file__).parent.parent
PROTOS = ROOT / "protos"
TARGET = ROOT / "sdk/python/src"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--image", type=Path)
    arguments = parser.parse_args()
    if arguments.image:
        return run("--include_imports", "--include_source_info", f"--descriptor_set_out={arguments.image}")
    if arguments.check:
        return check()
    generate(TARGET)
    return 0


def check() -> int:
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        fresh = {path.relative_to(folder) for path in Path(folder).rglob("*.py*")}
        committed = {
            path.relative_to(TARGET) for path in (TARGET / "waypost/api").rglob("*.py*") if path.suffix != ".pyc"
        }
        different = sorted(fresh ^ committed) + sorted(
            path for path in fresh & committed if not filecmp.cmp(Path(folder) / path, TARGET / path, shallow=False)
        )
    for path in different:
        print(f"differs from protos/: {path} (run `make gen`)", file=sys.stderr)
    return 1 if different else 0


def generate(target: Path) -> None:
    outputs = ("python_out", "grpc_python_out", "mypy_out", "mypy_grpc_out")
    plugins = Path(sys.executable).parent
    failed = run(
        f"--plugin=protoc-gen-mypy={plugins}/protoc-gen-mypy",
        f"--plugin=protoc-gen-mypy_grpc={plugins}/protoc-gen-mypy_grpc",
        *(f"--{output}={'quiet:' if output.startswith('mypy') else ''}{target}" for output in outputs),
    )
    if failed:
        raise SystemExit(failed)
    for folder in sorted({path.parent for path in (target / "waypost/api").rglob("*_pb2.py")}):
        for package in (folder, folder.parent, folder.parent.parent):
            (package / "__init__.py").touch()


def run(*options: str) -> int:
    well_known = Path(grpc_tools.__file__).parent / "_proto"
    common = Path(status_pb2.__file__).parents[2]
    sources = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.rglob("*.proto"))
    return int(protoc.main(["protoc", f"-I{PROTOS}", f"-I{well_known}", f"-I{common}", *options, *sources]))


if __name__ == "__main__":
    sys.exit(main())
