"""Who may do what on the API's port. One place judges every call, and refuses what it does not know.

    calls.py      Access: every call comes through here. Who is it? May they? From then on `caller()` says who calls.
    rules.py      PURE: the table: for every method of the API, the role that it needs and where
    roles.py      PURE: what roles somebody has, and what they may see by that
    secrets.py    all credentials and all grants, in memory: judging a call reads no database
    oidc.py       tokens of somebody else's issuer, where the settings name one
    passwords.py  what a login is checked with (services/login.py)
    attempts.py   PURE: how often that may be tried

A caller proves itself with `authorization: Bearer ...`: a program with a token for the API, a person with the session
that a login gave, or with a JWT of an issuer that is trusted. What it may do is the role of its token and what role
bindings grant to it. Services ask this package one thing only: which of the resources that a list or a watch found may
be shown (`caller().sees`); everything else is decided before they are called.

Agents come in on another port and are known by their certificate (`fleet`).
"""

from control_plane.access.calls import Access, bearer_token, caller
from control_plane.access.roles import NOBODY, Caller, Grants
from control_plane.access.secrets import Secrets, sha256

__all__ = ["NOBODY", "Access", "Caller", "Grants", "Secrets", "bearer_token", "caller", "sha256"]
