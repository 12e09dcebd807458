"""Settings of a host. By hand the model and maybe an address are enough; a position's agent writes the others."""

from pathlib import Path
from typing import Annotated, Literal

from inference_host.serving.batching import QUEUE_ROWS_MAX
from mesh.settings import Bounds, Positional, Settings

ENV_PREFIX = "WAYPOST_HOST_"


class HostSettings(Settings):
    """Serves a model over the Open Inference Protocol (gRPC and HTTP): by hand, for this machine, or at a position."""

    model: Annotated[Path | None, Positional()] = None
    """What to serve: an .onnx file, a package directory, or, by hand, a directory of these."""

    listen: str = "127.0.0.1:8000"
    """Where gRPC and HTTP are both served: host:port (port 0: any) or unix:/path; several are separated by commas.
    Other machines are let in only with TLS, or where that is said not to matter."""

    grpcio_listen: str = ""
    """Where grpcio's own server answers gRPC besides, several times slower: host:port or unix:/path. Empty: nowhere."""

    tls: Path | None = None
    """Directory with certificate.pem (the leaf first) and key.pem (without a passphrase): TLS is spoken at every
    host:port. Callers need no certificate, they show tokens; roots.pem, where it is there, is what the greeting tells
    them to trust. The files are read at start."""

    threads: Annotated[int, Bounds(at_least=0, at_most=256)] = 0
    """Slow models run at once; fast ones run without a thread. 0: as many as this process has CPUs (cgroup quota
    included). Each run uses one thread: more would slow small models down. Of each process; what 0 gives they
    share."""

    processes: Annotated[int, Bounds(at_least=1, at_most=64)] = 1
    """Processes that serve at the same addresses, each with the model in its memory: for models that one core is too
    little for. The kernel deals out connections, so callers need several. Each counts statistics for itself."""

    batch_delay_ms: Annotated[float, Bounds(at_least=0, at_most=1000)] = 0.0
    """How long calls wait for others to join them in one run. 0: not at all; what has queued meanwhile goes together
    all the same."""

    batch_rows_max: Annotated[int, Bounds(at_least=0, at_most=65536)] = 0
    """Rows that go together in one run. 1: never several calls; 0: as many as were measured to pay."""

    queue_rows_max: Annotated[int, Bounds(at_least=1, at_most=1 << 20)] = QUEUE_ROWS_MAX
    """Rows that may wait for one model; further calls are refused, to be sent to another replica."""

    grace_s: Annotated[float, Bounds(at_least=0, at_most=3600)] = 30.0
    """Seconds for calls in flight after SIGTERM; what still runs then is cut. Above the longest deadline of callers."""

    jwks: Path | None = None
    """JSON Web Key Set that callers' tokens are checked by at first; the monitor replaces it."""

    insecure_no_auth: bool = False
    """Serve everybody without credentials, also from other machines. Never at a position that matters."""

    insecure_no_tls: bool = False
    """Listen in plaintext where other machines can connect."""

    replica: str = ""
    """Id of this host among the replicas of its position."""

    position: str = ""
    """Full name of the position; empty: started by hand."""

    position_uid: str = ""
    """uid of the position: tokens are issued for it."""

    serve_as: str = ""
    """Second name of the model, the same for all versions that the position ever serves."""

    model_version: str = ""
    """Full name of the model version; empty: as the manifest says."""

    digest: str = ""
    """Digest that the manifest must carry; empty: any."""

    monitor: str = ""
    """Address of the position monitor's HostLinkService: unix:/path, or host:port for mutual TLS; empty: none."""

    identity: Path | None = None
    """Directory with certificate.pem, key.pem and roots.pem to dial a monitor at host:port with; files that are
    replaced are taken up. The agent writes them."""

    edge_server: str = ""
    """Id of the edge server, for the same: it is part of the name in the monitor's certificate."""

    reload: bool = False
    """By hand, in one process: load a model anew when its files change. One that cannot be loaded leaves the one before
    serving."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """debug, info, warning or error. At debug every call is logged."""

    @property
    def addresses(self) -> list[str]:
        """Of `listen`, one by one."""
        return [address.strip() for address in self.listen.split(",") if address.strip()]

    def check(self) -> None:
        over_tcp = self.monitor and not self.monitor.startswith("unix:")
        if over_tcp and not (self.identity and self.edge_server):
            raise ValueError("a monitor at host:port is dialled over mutual TLS: give --identity and --edge-server")
        if self.processes > 1 and self.grpcio_listen:
            raise ValueError("grpcio's server cannot share an address: leave --grpcio-listen away, or --processes")
        if self.processes > 1 and self.reload:
            raise ValueError("a model is loaded anew in one process only: leave --reload away, or --processes")
