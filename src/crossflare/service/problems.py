"""What can be wrong with a request, as its answer says it: a status and one line, never a path or a trace."""

from http import HTTPStatus


class ProblemError(Exception):
    """The reason why a request is not answered."""

    def __init__(
        self, status: HTTPStatus, message: str, *, retry_after: float | None = None, allow: str | None = None
    ) -> None:
        """Take what the answer says.

        Args:
            status: The status.
            message: One line in plain words.
            retry_after: The seconds after which another try makes sense.
            allow: The method that the route takes, for the status 405.
        """
        super().__init__(message)
        self.status, self.retry_after, self.allow = status, retry_after, allow
        self.message = " ".join(message.split())


def unprocessable(message: str) -> ProblemError:
    """Return the problem of a request that is well-formed JSON and cannot be answered."""
    return ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, message)


def unavailable(message: str, retry_after: float) -> ProblemError:
    """Return the problem of a part of the service that does not work now and will again."""
    return ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, message, retry_after=retry_after)


def internal(message: str = "the service failed at this request; its log has more under this id") -> ProblemError:
    """Return the problem of a fault that is not the client's."""
    return ProblemError(HTTPStatus.INTERNAL_SERVER_ERROR, message)
