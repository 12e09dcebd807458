"""Whether a resource that somebody sent is one that we can keep. Pure; knows nothing of other resources.

Every refusal is Invalid(INVALID_FIELD) with the field's path in `metadata["field"]`, what was wrong and what would be
right. What this software does not know is refused too, never ignored: a field number that a newer client set would
else be dropped in silence, and the client would believe in it.
"""

import math
import re
from collections.abc import Collection, Mapping, Sequence
from typing import NoReturn

from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

from mesh import windows
from mesh.position import REPLICAS_MAX
from waypost import names
from waypost.api.control.v1 import (
    application_pb2,
    credential_pb2,
    edge_server_pb2,
    model_pb2,
    position_pb2,
    project_pb2,
    role_binding_pb2,
    subscription_pb2,
    user_pb2,
)
from waypost.api.control.v1.role_pb2 import ROLE_UNSPECIFIED, Role
from waypost.errors import Invalid, Precondition

LABELS_MAX = 64
LABEL_LENGTH_MAX = 63
DISPLAY_NAME_LENGTH_MAX = 128
DESCRIPTION_LENGTH_MAX = 4096
STABILIZATION_S_MAX = 3600  # these two as Kubernetes has them in autoscaling/v2
POLICY_PERIOD_S_MAX = 1800
POLICIES_MAX = 8
REPLACE_AFTER_MS_MIN = 60_000  # twice the lease of an agent's link, and twice its longest back-off
FALLBACKS_MAX = 16
WINDOWS_MAX = 16  # two a day, and more than anybody can remember
METRICS_MAX = 256
TENSORS_MAX = 1024
JOIN_USES_MAX = 1000  # of one token: each use is remembered in its record, some hundred bytes
PASSWORD_LENGTH_MIN = 12
PASSWORD_LENGTH_MAX = 1024  # longer than any phrase; what is hashed must not be a file
SUBSCRIPTION_TEXT_MAX = 64 << 10  # a token or a bundle of roots

_INTEGERS = {f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)}
DATATYPES = frozenset(_INTEGERS | {"BOOL", "FP16", "FP32", "FP64", "BF16", "BYTES"})
"""Of the Open Inference Protocol."""

_SERVE_AS = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_CLASS = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
_SUBJECT = re.compile(
    r"users/[a-z0-9-]+|(?:projects/[a-z0-9-]+/)?credentials/[a-z0-9-]+|oidc/(?:subjects|groups)/[^\x00-\x1f\x7f]{1,255}"
)
_SOFTWARE = re.compile(r"[0-9][0-9A-Za-z.+-]{0,62}")  # PEP 440, as far as a file's name may hold it
_METRIC = re.compile(r"[A-Za-z0-9_.:/ -]{1,63}")


def refuse(field: str, problem: str, hint: str = "") -> NoReturn:
    """Raises: Invalid(INVALID_FIELD)."""
    raise Invalid("INVALID_FIELD", f"{field} {problem}", hint, field=field)


def full_name(name: str, collection: str, field: str) -> str:
    """`name` as it is. Raises: Invalid(INVALID_FIELD) where it is empty, short, or no name of that collection."""
    form = names.example(collection).partition(" or ")[2] or names.example(collection)
    try:
        full = names.parse(name, collection)
    except Invalid as error:
        raise Invalid("INVALID_FIELD", f"{field}: {error.message}", f"write it as {form}", field=field) from error
    if full != name:
        refuse(field, f"must be a full name, got {name!r}", f"write it as {full}")
    return full


def check_id(id_: str, collection: str, field: str) -> None:
    """Raises: Invalid(INVALID_FIELD) where `id_` cannot name one of `collection`."""
    try:
        names.check_id(id_, collection)
    except Invalid as error:
        raise Invalid("INVALID_FIELD", f"{field}: {error.message}", error.hint, field=field) from error


def check_known(message: Message, path: str) -> None:
    """Refuses fields, and values of enums, that this software does not know, at any depth."""
    unknown = UnknownFieldSet(message)
    if len(unknown):
        number = unknown[0].field_number
        refuse(path, f"has field number {number}, which this server does not know", "upgrade the control plane first")
    for field, value in message.ListFields():
        if field.enum_type is not None:
            for number in [value] if isinstance(value, int) else value:
                if number not in field.enum_type.values_by_number:
                    hint = f"one of {', '.join(field.enum_type.values_by_name)}"
                    refuse(f"{path}.{field.name}", f"cannot be {number}, which this server does not know", hint)
        if field.message_type is None or field.message_type.GetOptions().map_entry:
            continue
        if isinstance(value, Message):
            check_known(value, f"{path}.{field.name}")
        else:
            for index, child in enumerate(value):
                check_known(child, f"{path}.{field.name}[{index}]")


def check_project(project: project_pb2.Project) -> None:
    check_known(project, "project")
    _check_about(project.display_name, project.description, project.labels, "project")
    for field in project.spec.quota.DESCRIPTOR.fields:
        _at_least(getattr(project.spec.quota, field.name), 0, f"project.spec.quota.{field.name}")


def check_application(application: application_pb2.Application) -> None:
    check_known(application, "application")
    _check_about(application.display_name, application.description, application.labels, "application")


def check_model(model: model_pb2.Model) -> None:
    check_known(model, "model")
    _check_about(model.display_name, model.description, model.labels, "model")


def check_edge_server(edge_server: edge_server_pb2.EdgeServer) -> None:
    check_known(edge_server, "edge_server")
    _check_about("", edge_server.description, edge_server.labels, "edge_server")
    check_software(edge_server.spec.software_version, "edge_server.spec.software_version")
    _check_windows(edge_server.spec.maintenance_windows)


def _check_windows(found: Sequence[edge_server_pb2.MaintenanceWindow]) -> None:
    field = "edge_server.spec.maintenance_windows"
    _at_most(len(found), WINDOWS_MAX, field, "windows")
    for index, window in enumerate(found):
        try:
            windows.read_window(window)
        except Invalid as error:
            refuse(f"{field}[{index}]", f"cannot be kept: {error.message}", error.hint)


def check_software(version: str, field: str) -> None:
    """A version of the platform's software, or none. It names a directory on edge servers.

    Raises: Invalid(INVALID_FIELD).
    """
    if version and not _SOFTWARE.fullmatch(version):
        refuse(field, f"cannot be {version!r}", "a version such as 0.2.0, as `waypost --version` shows it")


def check_credential(credential: credential_pb2.Credential) -> None:
    check_known(credential, "credential")
    _check_about("", credential.description, {}, "credential")
    joins = credential.kind == credential_pb2.CREDENTIAL_KIND_JOIN
    if not 0 <= credential.max_uses <= (JOIN_USES_MAX if joins else 0):
        allowed = f"must be 0..{JOIN_USES_MAX}" if joins else "is for credentials to join only"
        refuse("credential.max_uses", f"{allowed}, got {credential.max_uses}")
    _check_pattern(credential.edge_server_pattern, makes_servers=credential.name.startswith("edgeServers/-/"))
    if credential.kind == credential_pb2.CREDENTIAL_KIND_API:
        check_role(credential.role, "credential.role")
    elif credential.role != ROLE_UNSPECIFIED:
        refuse("credential.role", "is for tokens for the API only", "leave it empty")


def _check_pattern(pattern: str, *, makes_servers: bool) -> None:
    field = "credential.edge_server_pattern"
    if makes_servers != bool(pattern):
        refuse(field, "belongs to credentials of edgeServers/-, and only to these", "write it as tower-*")
    if pattern:
        check_id(pattern.replace("*", "a"), "edgeServers", field)


def check_role(role: Role.ValueType, field: str) -> None:
    """Raises: Invalid(INVALID_FIELD) where it is none that could be granted."""
    if role == ROLE_UNSPECIFIED or role not in Role.values():
        refuse(field, "must be a role", "ROLE_VIEWER, ROLE_DEVELOPER, ROLE_OPERATOR or ROLE_ADMIN")


def check_role_binding(binding: role_binding_pb2.RoleBinding) -> None:
    check_known(binding, "role_binding")
    _check_about("", binding.description, {}, "role_binding")
    check_role(binding.role, "role_binding.role")
    if not _SUBJECT.fullmatch(binding.subject):
        refuse(
            "role_binding.subject",
            f"cannot be {binding.subject!r}",
            "for example users/anna, credentials/ci, oidc/groups/ran",
        )


def check_user(user: user_pb2.User) -> None:
    check_known(user, "user")
    _check_about(user.display_name, "", {}, "user")


def check_password(password: str) -> None:
    """Length alone: rules about characters make passwords that are easy to guess (NIST SP 800-63B, 3.1.1.2).

    Raises: Invalid(INVALID_FIELD).
    """
    if not PASSWORD_LENGTH_MIN <= len(password) <= PASSWORD_LENGTH_MAX:
        refuse("password", f"must have {PASSWORD_LENGTH_MIN} to {PASSWORD_LENGTH_MAX} characters, got {len(password)}")


def check_position(position: position_pb2.Position) -> None:
    check_known(position, "position")
    _check_about("", position.description, position.labels, "position")
    spec = position.spec
    full_name(spec.model_version, "versions", "position.spec.model_version")
    full_name(spec.edge_server, "edgeServers", "position.spec.edge_server")
    application = names.parent(position.name)
    if not spec.model_version.startswith(f"{application}/"):
        refuse(
            "position.spec.model_version",
            f"is not of {application}: {spec.model_version}",
            "a position serves models of its own application",
        )
    _check_replicas(spec.replicas)
    _check_autoscaling(spec)
    if spec.serve_as and not _SERVE_AS.fullmatch(spec.serve_as):
        refuse("position.spec.serve_as", f"cannot be {spec.serve_as!r}", "use 1 to 63 of A-Z, a-z, 0-9, '.', '_', '-'")
    _check_on_disconnect(spec)
    check_software(spec.software_version, "position.spec.software_version")
    _at_least(spec.resources.cpu_millis, 0, "position.spec.resources.cpu_millis")
    _at_least(spec.resources.memory_bytes, 0, "position.spec.resources.memory_bytes")


def _check_on_disconnect(spec: position_pb2.PositionSpec) -> None:
    rule, field = spec.on_disconnect, "position.spec.on_disconnect"
    stop_ms, replace_ms = rule.stop_after.ToMilliseconds(), rule.replace_after.ToMilliseconds()
    _at_least(stop_ms, 0, f"{field}.stop_after")
    if replace_ms and replace_ms < REPLACE_AFTER_MS_MIN:
        refuse(
            f"{field}.replace_after",
            f"must be at least {REPLACE_AFTER_MS_MIN // 1000} s",
            "an agent whose link broke may take half of that to come back",
        )
    if bool(replace_ms) != bool(rule.fallback_edge_servers):
        refuse(f"{field}.fallback_edge_servers", "belongs together with replace_after", "give both, or neither")
    _at_most(len(rule.fallback_edge_servers), FALLBACKS_MAX, f"{field}.fallback_edge_servers", "names")
    for server in rule.fallback_edge_servers:
        full_name(server, "edgeServers", f"{field}.fallback_edge_servers")
        if server == spec.edge_server:
            refuse(f"{field}.fallback_edge_servers", f"names {server}, which the position is on anyway")


def _check_replicas(replicas: position_pb2.Replicas) -> None:
    field = "position.spec.replicas"
    if not 0 <= replicas.min <= REPLICAS_MAX:
        refuse(f"{field}.min", f"must be 1 to {REPLICAS_MAX}, or 0 for 1; got {replicas.min}")
    lowest = replicas.min or 1
    if replicas.max and not lowest <= replicas.max <= REPLICAS_MAX:
        refuse(f"{field}.max", f"must be {lowest} to {REPLICAS_MAX}, or 0 for {lowest}; got {replicas.max}")


def _check_autoscaling(spec: position_pb2.PositionSpec) -> None:
    field, targets = "position.spec.autoscaling", spec.autoscaling.targets
    for share in ("cpu", "memory", "deadline_miss_rate"):
        _share(getattr(targets, share), f"{field}.targets.{share}")
    for share, limit in (("cpu", spec.resources.cpu_millis), ("memory", spec.resources.memory_bytes)):
        if getattr(targets, share) and not limit:
            hint = f"say what one replica may use: --{share}"
            refuse(f"{field}.targets.{share}", f"is a share of a limit that spec.resources lacks ({share})", hint)
    if not 0 <= targets.concurrency < math.inf:
        refuse(f"{field}.targets.concurrency", f"must be a number from 0 on, got {targets.concurrency}")
    _at_least(targets.queue_time.ToNanoseconds(), 0, f"{field}.targets.queue_time")
    for direction in ("scale_up", "scale_down"):
        _check_scaling(getattr(spec.autoscaling, direction), f"{field}.{direction}")


def _check_scaling(rules: position_pb2.ScalingRules, field: str) -> None:
    if not 0 <= rules.stabilization_window.ToMilliseconds() <= STABILIZATION_S_MAX * 1000:
        refuse(f"{field}.stabilization_window", f"must be 0 to {STABILIZATION_S_MAX} s")
    _share(rules.tolerance, f"{field}.tolerance")
    _at_most(len(rules.policies), POLICIES_MAX, f"{field}.policies", "policies")
    for index, policy in enumerate(rules.policies):
        inside = f"{field}.policies[{index}]"
        if policy.type == position_pb2.SCALING_POLICY_TYPE_UNSPECIFIED:
            refuse(f"{inside}.type", "must be said", "SCALING_POLICY_TYPE_REPLICAS or SCALING_POLICY_TYPE_PERCENT")
        _at_least(policy.value, 1, f"{inside}.value")
        if not 1000 <= policy.period.ToMilliseconds() <= POLICY_PERIOD_S_MAX * 1000:
            refuse(f"{inside}.period", f"must be 1 to {POLICY_PERIOD_S_MAX} s")


def _share(value: float, field: str) -> None:
    if not 0 <= value <= 1:
        refuse(field, f"must be 0 to 1, got {value}", "0.7 means 70 %")


def check_model_version(version: model_pb2.ModelVersion) -> None:
    """All but the artifacts, which `registry.versions.check_files` judges."""
    check_known(version, "model_version")
    _check_about("", version.description, version.labels, "model_version")
    _check_framework(version)
    _check_state(version)
    for side in ("inputs", "outputs"):
        _check_tensors(getattr(version.signature, side), f"model_version.signature.{side}")
    _at_most(len(version.metrics), METRICS_MAX, "model_version.metrics", "entries")
    for name in version.metrics:
        if not _METRIC.fullmatch(name):
            refuse("model_version.metrics", f"has the key {name!r}", "use 1 to 63 letters, digits and _.:/-")


def _check_framework(version: model_pb2.ModelVersion) -> None:
    field = "model_version.template_class"
    match version.framework:
        case "onnx":
            if version.template_class:
                refuse(field, "is for framework `template` only", "leave it empty, or set framework to `template`")
        case "template":
            if not _CLASS.fullmatch(version.template_class):
                refuse(field, f"must be module:Class, got {version.template_class!r}", "for example template:Forecast")
        case other:
            refuse("model_version.framework", f"must be `onnx` or `template`, got {other!r}")


def _check_state(version: model_pb2.ModelVersion) -> None:
    if not version.keeps_state:
        return
    if version.framework != "template":
        refuse("model_version.keeps_state", "is for framework `template` only", "a graph keeps nothing between calls")
    if version.idempotent:
        hint = "a call that is repeated would be counted twice: set one of the two"
        refuse("model_version.idempotent", "excludes keeps_state", hint)


def check_replicas(spec: position_pb2.PositionSpec, version: model_pb2.ModelVersion) -> None:
    """Whether a position may have as many hosts of the version as its spec allows.

    Raises: Precondition(STATE_NEEDS_ONE_REPLICA): the gateway does not know which replica remembers a sequence.
    """
    most = max(spec.replicas.min, spec.replicas.max)
    if version.keeps_state and most > 1:
        raise Precondition(
            "STATE_NEEDS_ONE_REPLICA",
            f"{names.short(version.name)} keeps state between calls, which one host has in memory; {most} replicas were"
            " asked for",
            "set replicas to 1 (--replicas 1), or split the callers over several positions",
            model_version=version.name,
        )


def _check_tensors(tensors: Collection[model_pb2.TensorSpec], field: str) -> None:
    _at_most(len(tensors), TENSORS_MAX, field, "tensors")
    if len({tensor.name for tensor in tensors}) != len(tensors):
        refuse(field, "names a tensor twice")
    for index, tensor in enumerate(tensors):
        if not tensor.name:
            refuse(f"{field}[{index}].name", "must not be empty")
        if tensor.datatype not in DATATYPES:
            refuse(f"{field}[{index}].datatype", f"cannot be {tensor.datatype!r}", "use FP32, INT64, BYTES, ...")
        if any(size < -1 for size in tensor.shape):
            refuse(f"{field}[{index}].shape", f"cannot be {list(tensor.shape)}", "use -1 for a size that varies")


def check_subscription(subscription: subscription_pb2.Subscription) -> None:
    check_known(subscription, "subscription")
    spec = subscription.spec
    host, separator, port = spec.endpoint.rpartition(":")
    if not (host and separator and port.isdecimal() and 0 < int(port) < 65536):
        refuse("subscription.spec.endpoint", f"must be host:port, got {spec.endpoint!r}", "for example 10.0.0.7:7610")
    full_name(spec.project, "projects", "subscription.spec.project")
    for field in ("activation_token", "ca_pem"):
        _at_most(len(getattr(spec, field)), SUBSCRIPTION_TEXT_MAX, f"subscription.spec.{field}", "characters")
    if spec.ca_pem and "-----BEGIN CERTIFICATE-----" not in spec.ca_pem:
        refuse("subscription.spec.ca_pem", "holds no certificate in PEM", "paste the file that begins -----BEGIN ...")


def _check_about(display_name: str, description: str, labels: Mapping[str, str], field: str) -> None:
    """What people write about a resource."""
    _at_most(len(display_name), DISPLAY_NAME_LENGTH_MAX, f"{field}.display_name", "characters")
    _at_most(len(description), DESCRIPTION_LENGTH_MAX, f"{field}.description", "characters")
    _at_most(len(labels), LABELS_MAX, f"{field}.labels", "entries")
    for key, value in labels.items():
        if not key or len(key) > LABEL_LENGTH_MAX or len(value) > LABEL_LENGTH_MAX:
            refuse(
                f"{field}.labels", f"has {key!r}: {value!r}", f"keys and values: at most {LABEL_LENGTH_MAX} characters"
            )


def _at_most(count: int, limit: int, field: str, unit: str) -> None:
    if count > limit:
        refuse(field, f"has {count} {unit}", f"at most {limit} are kept")


def _at_least(value: int, limit: int, field: str) -> None:
    if value < limit:
        refuse(field, f"must be {limit} or more, got {value}")
