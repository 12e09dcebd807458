"""An OpenID Connect issuer of our own, on loopback: its keys can be changed, its tokens say what a test wants."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

AUDIENCE = "waypost"


class Issuer:
    """Use `issuer()`. requests: paths that it was asked for."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.requests: list[str] = []
        self.documents: dict[str, Any] = {}
        self._keys: dict[str, Any] = {}
        self.documents["/.well-known/openid-configuration"] = {"issuer": url, "jwks_uri": f"{url}/keys"}
        self.new_key("one")

    def new_key(self, kid: str, *, kind: str = "EC") -> None:
        """The only one from now on."""
        self._keys = {kid: make_key(kind)}
        self.documents["/keys"] = self.jwks

    @property
    def jwks(self) -> dict[str, Any]:
        return {"keys": [{**_public(key), "kid": kid, "use": "sig"} for kid, key in self._keys.items()]}

    def token(self, *, kid: str = "", algorithm: str = "", key: Any = None, **claims: Any) -> str:
        """Good unless the claims say otherwise; a claim of None is left out."""
        kid = kid or next(iter(self._keys))
        signing = key or self._keys[kid]
        algorithm = algorithm or ("RS256" if isinstance(signing, rsa.RSAPrivateKey) else "ES256")
        said = {"iss": self.url, "aud": AUDIENCE, "sub": "anna", **claims}
        return jwt.encode(
            {name: value for name, value in said.items() if value is not None},
            signing,
            algorithm=algorithm,
            headers={"kid": kid},
        )


def make_key(kind: str = "EC") -> Any:
    if kind == "RSA":
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return ec.generate_private_key(ec.SECP256R1())


def _public(key: Any) -> dict[str, Any]:
    kind: Any = RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else ECAlgorithm
    return dict(json.loads(kind.to_jwk(key.public_key())))


@contextmanager
def issuer() -> Iterator[Issuer]:
    """Listens on a port of the kernel's choice until the end of the block."""
    with HTTPServer(("127.0.0.1", 0), _Answers) as server:
        made = server.issuer = Issuer(f"http://127.0.0.1:{server.server_port}")  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield made
        finally:
            server.shutdown()
            thread.join()


class _Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        served: Issuer = self.server.issuer  # type: ignore[attr-defined]
        served.requests.append(self.path)
        document = served.documents.get(self.path)
        self.send_response(200 if document is not None else 404)
        self.end_headers()
        self.wfile.write(json.dumps(document).encode())

    def log_message(self, *_: Any) -> None:
        pass
