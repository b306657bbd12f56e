"""What can go wrong between us and the API server, and what to do about it.

::

    ApiError
    ├── StatusError        the API server answered with an error
    ├── UnreachableError   there was no (whole) answer
    └── PluginError        the kubeconfig's credential plugin gave no credentials
"""

from __future__ import annotations

from enforcer.errors import ApiError

UNAUTHORIZED = 401
FORBIDDEN = 403
GONE = 410
TOO_MANY_REQUESTS = 429

_ADVICE = {
    UNAUTHORIZED: "; the credentials are not accepted: look at the kubeconfig's user, or at the "
    "ServiceAccount's token",
    FORBIDDEN: "; bind a ClusterRole to this user that may list and watch pods, namespaces, "
    "nodes and networkpolicies.networking.k8s.io",
    TOO_MANY_REQUESTS: "; the API server is overloaded",
}


class StatusError(ApiError):
    """The API server answered with an error; ``retry_after`` is its wish in seconds, or 0."""

    def __init__(self, request: str, code: int, message: str, retry_after: float = 0.0) -> None:
        """``request`` is what was asked for, ``message`` what the server says about it."""
        super().__init__(f"{request}: {code}: {message}{_ADVICE.get(code, '')}")
        self.code = code
        self.retry_after = retry_after

    @property
    def needs_list(self) -> bool:
        """Whether going on from the same resourceVersion is pointless."""
        refused = 400 <= self.code < 500  # noqa: PLR2004  # the client's own mistakes, RFC 9110
        return refused and self.code not in (UNAUTHORIZED, FORBIDDEN, 408, TOO_MANY_REQUESTS)


class UnreachableError(ApiError):
    """The API server could not be reached, or its answer broke off."""


class StalledError(UnreachableError):
    """Nothing was heard on a watch for longer than a bookmark takes."""


class PluginError(ApiError):
    """The kubeconfig's credential plugin gave no credentials; nothing was sent."""
