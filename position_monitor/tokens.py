"""Who may have an access token of this position.

The agent's orders carry the hashes of the application's tokens. Whoever shows one of these tokens gets a JWT that is
good here for ten minutes, and may renew it for as long as the application token is neither revoked nor expired. All
of it works with the control plane and the agent away.

Application tokens are 256 random bits, so nobody guesses one. What is slowed down here is the forgotten xApp with a
revoked token in a tight loop: beyond a few wrong tokens, each further answer takes a second, and no more than a
bounded number of callers wait at a time. A good token is never held up by somebody else's bad ones.
"""

import asyncio
import hashlib
import hmac
from collections.abc import Iterable

from mesh import tokens
from waypost.api.link.v1.monitor_link_pb2 import OrderedToken
from waypost.errors import Exhausted, Unauthenticated

TOKEN_CHARS_MAX = 256  # ours have about 50
WRONG_TOKENS_FREE = 10  # in a row; answers to further ones are slow. A redeploy of several xApps with an old token
FORGET_PER_S = 1.0  # wrong tokens forgotten per second
SLOW_ANSWER_S = 1.0
SLOW_ANSWERS_MAX = 64  # under way at a time; beyond that the answer is quick and says to come back later

_HINT = "give the application's token as `waypost application token` showed it; a new one can be made with the same"


class Issuer:
    """Mints this position's access tokens."""

    def __init__(self, key_pem: bytes, position_uid: str) -> None:
        """Raises: Invalid(BAD_SIGNING_KEY)."""
        tokens.key_id(key_pem)  # a bad key is better found now than by the first xApp
        self._key_pem = key_pem
        self._uid = position_uid

    def issue(self, token: OrderedToken, client: str, now: float) -> tuple[str, int]:
        """The access token and the seconds that it is good for: never beyond the application token itself."""
        lifetime_s = tokens.LIFETIME_S
        if token.expire_unix_s:
            lifetime_s = min(lifetime_s, int(token.expire_unix_s - now))
        minted = tokens.mint(
            self._key_pem, audience=self._uid, subject=token.credential, client=client, now=now, lifetime_s=lifetime_s
        )
        return minted, lifetime_s


def shown(secret: str, ordered: Iterable[OrderedToken], now: float) -> OrderedToken:
    """The application token that `secret` is. Takes the same time whichever it is, and if it is none.

    Raises: Unauthenticated(NO_TOKEN | BAD_TOKEN | TOKEN_EXPIRED).
    """
    if not secret:
        raise Unauthenticated("NO_TOKEN", "the request carries no application token", _HINT)
    digest = hashlib.sha256(secret[:TOKEN_CHARS_MAX].encode(errors="replace")).hexdigest()
    matching = [token for token in ordered if hmac.compare_digest(token.sha256, digest)]
    if not matching or len(secret) > TOKEN_CHARS_MAX:
        message = "the application token is not known here: mistyped, revoked, or of another application"
        raise Unauthenticated("BAD_TOKEN", message, _HINT)
    return _unexpired(matching[0], now)


def still_good(credential: str, ordered: Iterable[OrderedToken], now: float) -> OrderedToken:
    """The application token that an access token was made from.

    Raises: Unauthenticated(TOKEN_REVOKED | TOKEN_EXPIRED).
    """
    for token in ordered:
        if token.credential == credential:
            return _unexpired(token, now)
    message = "the application token that this access token was made from has been revoked"
    raise Unauthenticated("TOKEN_REVOKED", message, _HINT, credential=credential)


def _unexpired(token: OrderedToken, now: float) -> OrderedToken:
    if token.expire_unix_s and now + 1 > token.expire_unix_s:  # a token good for less than a second helps nobody
        message = f"the application token expired {max(0, int(now - token.expire_unix_s))} s ago"
        raise Unauthenticated("TOKEN_EXPIRED", message, _HINT, credential=token.credential)
    return token


class Brake:
    """Makes answers to wrong tokens slow when there are many."""

    def __init__(self) -> None:
        self._level = 0.0
        self._read_s = 0.0
        self._waiting = 0

    async def press(self) -> None:
        """Call for each wrong token before answering. Raises: Exhausted(TOO_MANY_WRONG_TOKENS)."""
        if not self._count(asyncio.get_running_loop().time()):
            return
        if self._waiting >= SLOW_ANSWERS_MAX:
            raise Exhausted("TOO_MANY_WRONG_TOKENS", "too many wrong application tokens are shown here", "try later")
        self._waiting += 1
        try:
            await asyncio.sleep(SLOW_ANSWER_S)
        finally:
            self._waiting -= 1

    def _count(self, now_s: float) -> bool:
        """One more; True where it is one too many."""
        forgotten = (now_s - self._read_s) * FORGET_PER_S
        self._level = min(max(0.0, self._level - forgotten) + 1, WRONG_TOKENS_FREE + 1)
        self._read_s = now_s
        return self._level > WRONG_TOKENS_FREE
