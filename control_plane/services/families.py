"""The kinds of resources that people write, in one table: where they live, what may be changed, how they are judged."""

from control_plane.domain import check
from control_plane.services.writing import Family
from control_plane.store.resources import (
    APPLICATION,
    CREDENTIAL,
    EDGE_SERVER,
    MODEL,
    MODEL_VERSION,
    POSITION,
    PROJECT,
    SUBSCRIPTION,
)

_ABOUT = ("display_name", "description", "labels")

PROJECTS = Family(PROJECT, "projects", check.check_project, _ABOUT)
APPLICATIONS = Family(APPLICATION, "applications", check.check_application, _ABOUT, owner=PROJECT)
MODELS = Family(MODEL, "models", check.check_model, _ABOUT, owner=APPLICATION)
MODEL_VERSIONS = Family(
    MODEL_VERSION,
    "versions",
    check.check_model_version,
    ("labels",),
    given=("artifacts", "framework", "template_class", "signature", "metrics", "idempotent", "labels", "description"),
    owner=MODEL,
)
POSITIONS = Family(POSITION, "positions", check.check_position, ("spec", "description", "labels"), owner=APPLICATION)
EDGE_SERVERS = Family(EDGE_SERVER, "edgeServers", check.check_edge_server, ("description", "labels"))
SUBSCRIPTIONS = Family(SUBSCRIPTION, "subscriptions", check.check_subscription, (), given=("spec",))
CREDENTIALS = Family(CREDENTIAL, "credentials", check.check_credential, (), given=("description", "expire_time"))
