"""Replacing a credential without a moment in which none is good.

The new one is a credential of its own, with a name of its own, so that everybody can see which of the two is still
used; whatever is made from a credential carries its name. The old one gets an end. What is good of a position's
application tokens goes to its monitor with the spec, names and ends included: so the overlap holds, and ends, with the
control plane away. All of a rotation is one commit.
"""

import re
from collections.abc import AsyncIterator

from control_plane.domain.check import refuse
from control_plane.services.kit import Kit
from control_plane.services.role_binding import binding_id
from control_plane.services.writing import Guards
from control_plane.store import Delete, Put
from control_plane.store.resources import CREDENTIAL, ROLE_BINDING
from mesh.times import seconds, timestamp
from waypost import names
from waypost.api.control.v1.credential_pb2 import CREDENTIAL_KIND_JOIN, Credential, RotateCredentialRequest
from waypost.api.control.v1.role_binding_pb2 import RoleBinding
from waypost.errors import Precondition

OVERLAP_S = 24 * 3600  # a day to bring the new secret to every xApp
OVERLAP_S_MAX = 90 * OVERLAP_S  # longer is no rotation
_GENERATION = re.compile(r"(.+)-r(\d{1,6})")
_ID_LENGTH_MAX = 63


def overlap_s(request: RotateCredentialRequest) -> float:
    """Raises: Invalid(INVALID_FIELD)."""
    asked = seconds(request.overlap) if request.HasField("overlap") else OVERLAP_S
    if not 0 <= asked <= OVERLAP_S_MAX:
        refuse("overlap", f"must be 0 to {OVERLAP_S_MAX} s, got {asked:g} s")
    return asked


def next_id(id_: str) -> str:
    """`xapp-1-r2` for `xapp-1`, `xapp-1-r3` for that."""
    found = _GENERATION.fullmatch(id_)
    base, generation = (found[1], int(found[2])) if found else (id_, 1)
    suffix = f"-r{generation + 1}"
    return f"{base[: _ID_LENGTH_MAX - len(suffix)].rstrip('-')}{suffix}"


def successor(old: Credential, now_s: float) -> Credential:
    """What is asked for in its place: the same, and as long a life where it has an end.

    Raises: Precondition(NOT_ROTATED).
    """
    if old.kind == CREDENTIAL_KIND_JOIN:
        message = f"credential {old.name} enrols an agent once; there is nothing to replace"
        raise Precondition("NOT_ROTATED", message, "`waypost edge-server join-token` makes another", name=old.name)
    asked = Credential(description=old.description, role=old.role)
    if old.HasField("expire_time"):
        life_ms = old.expire_time.ToMilliseconds() - old.create_time.ToMilliseconds()
        asked.expire_time.CopyFrom(timestamp(now_s + life_ms / 1000))
    return asked


async def guard(kit: Kit, overlap_s: float, new: Credential) -> Guards:
    """Ends the old one, forgets the one before it, and grants the new one what was granted to the old.

    Raises: NotFound, Precondition(ROTATION_UNDER_WAY).
    """
    found = await kit.resources.get(CREDENTIAL, new.replaces)
    old = found.message
    revisions, writes = {old.name: found.revision}, list[Put | Delete]()
    before = await kit.resources.find(CREDENTIAL, old.replaces) if old.replaces else None
    if before is not None:
        _refuse_unexpired(before.message, old, kit.now())
        revisions[before.message.name] = before.revision
        writes.append(Delete(before.message.name))
    ends_s = kit.now() + overlap_s
    if not old.HasField("expire_time") or old.expire_time.ToMilliseconds() > ends_s * 1000:
        old.expire_time.CopyFrom(timestamp(ends_s))
        writes.append(CREDENTIAL.encode(old.name, old))
    return Guards(revisions, [*writes, *[put async for put in _grants(kit, old.name, new.name)]])


async def _grants(kit: Kit, old: str, new: str) -> AsyncIterator[Put]:
    """The same role bindings for another subject."""
    async for stored in kit.resources.all(ROLE_BINDING):
        binding: RoleBinding = stored.message
        if binding.subject == old:
            binding.subject = new
            collection = binding.name.rpartition("/")[0]
            binding.name = f"{collection}/{binding_id(binding)}"
            yield ROLE_BINDING.encode(binding.name, binding)


def _refuse_unexpired(before: Credential, old: Credential, now_s: float) -> None:
    if not before.HasField("expire_time") or before.expire_time.ToMilliseconds() > now_s * 1000:
        raise Precondition(
            "ROTATION_UNDER_WAY",
            f"{names.leaf(before.name)!r}, which {names.leaf(old.name)!r} replaced, is good until"
            f" {before.expire_time.ToJsonString()}",
            f"wait for that, or revoke {names.leaf(before.name)!r}: two are good at a time",
            name=before.name,
        )
