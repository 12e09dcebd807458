"""A package under check, as the control plane does it: what a template of a stranger can reach, and what it is told.

A kernel without Landlock is one whose answer is patched in the child, by a `sitecustomize` on its path.
"""

import asyncio
import contextlib
import json
import os
import socket
import sys
from pathlib import Path

import pytest

from control_plane.registry.check import PackageCheck
from tests import models
from waypost.api.control.v1.model_pb2 import Signature
from waypost.errors import MeshError, Precondition

TIMEOUT_S = 50.0

SPEC = {"name": "x", "datatype": "FP32", "shape": [1]}
SAMPLE = '{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}]}'
TEMPLATE = """
import ctypes, os, signal, shutil, tempfile
from pathlib import Path

TMP = tempfile.gettempdir()
LIBC = ctypes.CDLL(None, use_errno=True)

class Stranger:
    def load(self, context):
{body}

    def predict(self, prepared):
        return {{"y": prepared["x"]}}
"""
TRY = """
        broken = []
        for name, attempt in {attempts}:
            try:
                broken.append(f"{{name}}: {{attempt()!r}}")
            except (OSError, shutil.Error):
                pass
        if broken:
            raise ValueError(broken)
"""

WITHOUT_LANDLOCK = """
import errno
from inference_host.check import landlock
def refuse(number, *arguments):
    raise OSError(errno.EOPNOTSUPP, "Operation not supported")
landlock._call = refuse
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A control plane's data directory."""
    (tmp_path / "data" / "identity").mkdir(parents=True)
    (tmp_path / "data" / "packages").mkdir()
    for secret in ("admin.token", "identity/ca.key", "store.db"):
        (tmp_path / "data" / secret).write_text("secret")
    (tmp_path / "beside").write_text("secret")
    return tmp_path / "data"


@pytest.fixture
def without_landlock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "patched").mkdir()
    (tmp_path / "patched" / "sitecustomize.py").write_text(WITHOUT_LANDLOCK)
    path = [str(tmp_path / "patched"), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path))


def package(data: Path, body: str) -> Path:
    """One whose template does `body` in its load, laid out as the importer does."""
    body = "\n".join(f"        {line.removeprefix(' ' * 8)}" for line in body.splitlines())
    return models.template(
        data / "packages" / "uid",
        TEMPLATE.format(body=body),
        "Stranger",
        samples=SAMPLE,
        signature={"inputs": [SPEC], "outputs": [{**SPEC, "name": "y"}]},
    )


def check(directory: Path, *, allow_unconfined: bool = False) -> Signature:
    return asyncio.run(PackageCheck(TIMEOUT_S, allow_unconfined=allow_unconfined)(directory))


def attempts(**each: str) -> str:
    return TRY.format(attempts="[" + ", ".join(f"({name!r}, lambda: {code})" for name, code in each.items()) + "]")


def test_a_template_reads_nothing_that_is_not_its_own(data: Path) -> None:
    tries = attempts(
        token="(context.directory / '../../admin.token').read_text()",
        token_by_cwd="open('../../admin.token').read()",
        key="(context.directory / '../../identity/ca.key').read_text()",
        store="open('/proc/self/cwd/../../store.db').read()",
        root="open(f'/proc/self/root{context.directory}/../../store.db').read()",
        beside=f"open({str(data.parent / 'beside')!r}).read()",
        names="os.listdir(context.directory.parent)",
        packages="os.listdir(context.directory.parent.parent)",
        passwd="open('/etc/passwd').read()",
        temporary="os.listdir('/tmp')",
        home=f"os.listdir({str(Path.home())!r})",
        parent="open(f'/proc/{os.getppid()}/environ').read()",
        first="open('/proc/1/cmdline').read()",
        link="(os.symlink('/etc/passwd', TMP + '/link'), open(TMP + '/link').read())",
        hard="os.link(context.directory / '../../admin.token', TMP + '/hard')",
    )
    assert check(package(data, tries)).inputs[0].name == "x"


def test_a_template_writes_and_hurts_nothing_that_is_not_its_own(data: Path) -> None:
    store = "context.directory / '../../store.db'"
    tries = attempts(
        write=f"open({store}, 'a')",
        truncate=f"os.truncate({store}, 0)",
        mode=f"os.chmod({store}, 0)",
        times=f"os.utime({store})",
        remove=f"os.unlink({store})",
        rename=f"os.rename({store}, {store} / '../other')",
        make="open(context.directory.parent / 'new', 'w')",
        package="open(context.directory / 'template.py', 'a')",
        package_mode="os.chmod(context.directory, 0)",
        device="os.mknod(TMP + '/null', 0o20666, os.makedev(1, 3))",
        mount="ctypes.CDLL(None).umount2(b'/', 2) and open('/dev/null/x')",
        kill="os.kill(os.getppid(), 0)",
        shell="os.system('cat /etc/passwd > $TMPDIR/x') and open('/dev/null/x')",
    )
    before = (data / "store.db").stat()
    assert check(package(data, tries)).inputs[0].name == "x"
    after = (data / "store.db").stat()
    assert (after.st_mode, after.st_mtime_ns, after.st_size) == (before.st_mode, before.st_mtime_ns, before.st_size)


def test_a_template_has_a_scratch_folder_and_leaves_nothing_there(data: Path) -> None:
    body = """
        scratch = Path(tempfile.mkdtemp())
        (scratch / "cache").write_bytes(bytes(1000))
        shutil.copy(scratch / "cache", scratch / "copy")
        os.rename(scratch / "copy", scratch / "other")
        (scratch / "inner").mkdir()
        os.rename(scratch / "other", scratch / "inner" / "other")
        assert Path.cwd() == Path(os.environ["TMPDIR"]) == scratch.parent
        open("/dev/null", "w").write("x")
        (scratch / "inner").chmod(0)
    """
    assert check(package(data, body)).inputs[0].name == "x"
    assert os.listdir(data / "packages") == ["uid"]


def test_a_template_reaches_no_other_process_by_a_socket(data: Path) -> None:
    with socket.socket(socket.AF_UNIX) as engine, contextlib.chdir(data):
        engine.bind("engine.sock")  # by its name alone: a path under test may be too long for one
        engine.listen()
        tries = attempts(
            unix="(os.chdir(context.directory.parent.parent), socket.socket(socket.AF_UNIX).connect('engine.sock'))",
            datagrams="socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)",
            raw="socket.socketpair(socket.AF_UNIX, socket.SOCK_RAW)",
            machine="socket.socket(socket.AF_VSOCK)",
            ring="LIBC.syscall(425, 1, None) == -1 and ctypes.get_errno() == 13 and open('/dev/null/x')",
        )
        assert check(package(data, "import socket, asyncio; asyncio.new_event_loop().close()" + tries)).inputs


def test_the_usual_libraries_can_be_loaded(data: Path) -> None:
    body = """
        import hashlib, joblib, numpy, onnxruntime, sklearn.linear_model, ssl, zoneinfo
        model = sklearn.linear_model.LinearRegression().fit([[0.0], [1.0]], [0.0, 1.0])
        joblib.dump(model, Path(tempfile.gettempdir()) / "model.joblib")
        assert round(float(joblib.load(Path(tempfile.gettempdir()) / "model.joblib").predict([[2.0]])[0])) == 2
        numpy.linalg.svd(numpy.random.default_rng().random((64, 64)))
    """
    assert check(package(data, body)).inputs[0].name == "x"


def test_a_graph_is_checked(data: Path) -> None:
    (data / "packages" / "uid").mkdir()
    models.affine(data / "packages" / "uid" / "m.onnx")
    assert check(data / "packages" / "uid").inputs[0].name == "x"


@pytest.mark.usefixtures("without_landlock")
def test_without_landlock_a_template_is_not_run(data: Path) -> None:
    with pytest.raises(Precondition) as refused:
        check(package(data, "(context.directory / '../ran').write_text('')"))
    assert refused.value.reason == "CHECK_UNCONFINED"
    assert "the kernel refused Landlock: Operation not supported" in refused.value.message
    assert "--allow-unconfined-checks" in refused.value.hint
    assert os.listdir(data / "packages") == ["uid"]


@pytest.mark.usefixtures("without_landlock")
def test_without_landlock_a_template_is_run_where_the_operator_has_said_so(data: Path) -> None:
    body = "assert (context.directory / '../../admin.token').read_text() == 'secret'"
    assert check(package(data, body), allow_unconfined=True).inputs[0].name == "x"


@pytest.mark.usefixtures("without_landlock")
def test_without_landlock_a_graph_is_checked_for_it_brings_no_code(data: Path) -> None:
    (data / "packages" / "uid").mkdir()
    models.affine(data / "packages" / "uid" / "m.onnx")
    assert check(data / "packages" / "uid").inputs[0].name == "x"


@pytest.mark.usefixtures("without_landlock")
def test_by_hand_it_is_a_warning(data: Path) -> None:
    async def by_hand() -> tuple[dict[str, object], str]:
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "inference_host", "check", str(package(data, "pass"))),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        said, complained = await child.communicate()
        return json.loads(said), complained.decode()

    verdict, complained = asyncio.run(by_hand())
    assert verdict["ok"] is True
    assert verdict["isolation"]["files"] is False  # type: ignore[index]
    assert complained.startswith("warning: the package could use all of your files: the kernel refused Landlock")


def test_what_a_template_raises_may_be_any_text(data: Path) -> None:
    with pytest.raises(MeshError) as refused:
        check(package(data, r"raise ValueError('\ud800 \0')"))
    assert refused.value.reason == "TEMPLATE_FAILED"
    assert refused.value.message.endswith("ValueError: � �")
