"""What can go wrong with an object, each in one line that names the object and no secret."""


class StorageError(Exception):
    """The object cannot be had or written; the message is for the user."""


class MissingError(StorageError):
    """There is no such object."""


class RefusedError(StorageError):
    """The store does not accept the credentials, or they do not allow this."""


class TransferError(StorageError):
    """The connection broke, the store had a fault, or the object changed meanwhile: another try may work."""
