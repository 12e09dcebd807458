"""The kinds of resources that people write, in one table: how they are judged, what may be changed, what owns them."""

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
    ROLE_BINDING,
    SUBSCRIPTION,
    USER,
)

_ABOUT = ("display_name", "description", "labels")

PROJECTS = Family(PROJECT, check.check_project, (*_ABOUT, "spec"))
APPLICATIONS = Family(APPLICATION, check.check_application, _ABOUT, owner=PROJECT)
MODELS = Family(MODEL, check.check_model, _ABOUT, owner=APPLICATION)
MODEL_VERSIONS = Family(
    MODEL_VERSION,
    check.check_model_version,
    ("labels",),
    given=(
        "artifacts",
        "framework",
        "template_class",
        "signature",
        "metrics",
        "idempotent",
        "keeps_state",
        "labels",
        "description",
    ),
    owner=MODEL,
)
_ALLOWED = "changes_allowed_until"
POSITIONS = Family(POSITION, check.check_position, ("spec", "description", "labels", _ALLOWED), owner=APPLICATION)
EDGE_SERVERS = Family(EDGE_SERVER, check.check_edge_server, ("spec", "description", "labels", _ALLOWED))
SUBSCRIPTIONS = Family(SUBSCRIPTION, check.check_subscription, (), given=("spec",))
USERS = Family(USER, check.check_user, (), given=("display_name",))
CREDENTIALS = Family(
    CREDENTIAL,
    check.check_credential,
    (),
    given=("description", "expire_time", "max_uses", "edge_server_pattern", "role"),
)
ROLE_BINDINGS = Family(ROLE_BINDING, check.check_role_binding, (), given=("subject", "role", "description"))
