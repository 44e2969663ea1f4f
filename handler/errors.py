"""What a client is told when a request is not served."""

from __future__ import annotations


class ApiError(Exception):
    """An error of the serving contract: HTTP status, machine-readable code, one sentence.

    `param` is the request's field that is to blame, where there is one.
    """

    def __init__(
        self, status: int, code: str, message: str, *, param: str | None = None, **details: object
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.param = status, code, message, param
        self.body: dict[str, object] = {"status": "error", "code": code, "error": message, **details}


def sessions_unavailable(message: str = "conversations are not available, try again later") -> ApiError:
    """The store of the conversations is away, or was while a reply was made."""
    return ApiError(503, "sessions_unavailable", message)


def invalid_request(message: str, param: str | None = None) -> ApiError:
    """The body is not what the contract says."""
    return ApiError(400, "invalid_request", message, param=param)


def stopping() -> ApiError:
    """The server takes no new requests; another one, or this one after its restart, does."""
    return ApiError(503, "stopping", "this server is being stopped, try again later")


def internal_error() -> ApiError:
    """A fault of ours; the details are in the server's log, never in the reply."""
    return ApiError(500, "internal", "the server failed on this request; its log says why")
