"""Settings of the control plane. The defaults make one that serves this machine alone."""

from pathlib import Path
from typing import Annotated, Literal

from mesh.settings import Bounds, Settings

ENV_PREFIX = "WAYPOST_CONTROL_PLANE_"


class ControlPlaneSettings(Settings):
    """Keeps the fleet's resources, follows training platforms and tells edge servers what to run.

    Everybody needs a credential, on loopback too: the first one is written to admin.token in the data directory."""

    data_dir: Path = Path(".waypost/control-plane")
    """Directory for the store, the artifacts, the identity and the first token; made where it is missing.
    One control plane at a time may use it."""

    database_url: str = ""
    """postgresql://user@host/database where several control planes share one store. Empty: SQLite in data_dir, for one
    control plane alone."""

    listen: str = "127.0.0.1:7600"
    """Address of the API: host:port, TLS (port 0: any). On loopback by default, so that a first try opens nothing."""

    link_listen: str = "127.0.0.1:7601"
    """Address that agents dial: host:port, mutual TLS (port 0: any)."""

    advertise_address: str = ""
    """host:port of the link as edge servers reach it; they are told when they enrol. Several with commas, for several
    control planes: agents go round. Empty: link_listen with the name of this machine in the place of a wildcard."""

    peer_address: str = ""
    """host:port of this control plane's link as others on the same store reach it. Empty: link_listen with the name of
    this machine in the place of a wildcard."""

    advertise_names: tuple[str, ...] = ()
    """DNS names and IP addresses that this control plane is reached by, for its certificate. localhost, the loopback
    addresses, this machine's name and the addresses listened on are always in it."""

    certificate: Path | None = None
    """PEM of a certificate of your own for the API, leaf first and its root last. Empty: one signed by our own root.
    The link always shows ours."""

    key: Path | None = None
    """PEM of the key that belongs to `certificate`."""

    ca_certificate: Path | None = None
    """PEM of an authority of your own (EC P-256) to sign edge servers' certificates with. Empty: the one in
    data_dir/identity, made at the first start. Control planes that share a store must share it too, and refuse to start
    otherwise. Further certificates in the file are trusted beside the first, so that one can follow the other."""

    ca_key: Path | None = None
    """PEM of the key that belongs to `ca_certificate`."""

    agent_certificate_days: Annotated[float, Bounds(at_least=0.1, at_most=397)] = 30.0
    """Days that an edge server's certificate lives. It is renewed at half of that by itself, so a shorter life costs
    nothing but calls, and ends sooner what a stolen key is good for."""

    renewal_grace_days: Annotated[float, Bounds(at_least=0, at_most=3650)] = 90.0
    """Days after its end that an edge server's certificate may still be renewed: for one that was switched off or cut
    off for longer than its certificate lived. Later it needs a new join token. 0: at once."""

    lease_s: Annotated[float, Bounds(above=0, at_most=3600)] = 30.0
    """Seconds of silence after which an edge server counts as disconnected; what it serves it serves on. Three
    heartbeats: one lost packet is no news."""

    heartbeat_s: Annotated[float, Bounds(above=0, at_most=1200)] = 10.0
    """Seconds between signs of life on an idle link, either way. Well below a lease; ten cost a tenth of a message per
    second and agent."""

    check_timeout_s: Annotated[float, Bounds(above=0, at_most=3600)] = 60.0
    """Seconds that the check of one model version may take. A small model takes one; a minute is enough for hundreds
    of megabytes from a slow disk."""

    allow_unconfined_checks: bool = False
    """Check templates also where the kernel does not shut our files out of the check (no Landlock, Linux before 6.2).
    Whoever may publish a version can then read the administrator's token and the keys in data_dir: only where you trust
    them all. Without it, such templates are not checked, and wait (CHECK_UNCONFINED)."""

    oidc_issuer: str = ""
    """URL of an OpenID Connect issuer whose tokens are taken besides ours: https, as the tokens' `iss` has it. What its
    people may do, role bindings say, for oidc/subjects/... and oidc/groups/... Empty: none."""

    oidc_audience: str = ""
    """Whom the issuer's tokens are for (`aud`): the client id that it knows this platform by."""

    oidc_jwks_file: Path | None = None
    """JSON Web Key Set with the issuer's keys; read again when a token names a key that it lacks. Empty: the keys are
    read from where the issuer's discovery document says."""

    oidc_subject_claim: str = "sub"
    """Claim that says who somebody is. Choose one that is never given to somebody else: not an e-mail address."""

    oidc_groups_claim: str = "groups"
    """Claim that lists somebody's groups."""

    session_hours: Annotated[float, Bounds(above=0, at_most=720)] = 12.0
    """Hours that a login is good for. Twelve: one a day, and a machine that is left open is shut the next morning."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """debug, info, warning or error."""

    def check(self) -> None:
        """A lease outlives heartbeats."""
        if self.heartbeat_s > self.lease_s / 2:
            raise ValueError(f"heartbeat_s ({self.heartbeat_s}) must be at most half of lease_s ({self.lease_s})")
