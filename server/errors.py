"""What can go wrong around the server, each with the exit code that the command line ends with."""


class ServerError(Exception):
    """The server cannot do what was asked; the message is for the user and says what to do."""

    exit_code = 1


class SettingsError(ServerError):
    """An option or environment variable has a bad value; the message names it and the range."""

    exit_code = 2


class NotRunningError(ServerError):
    """No server runs from this run folder."""

    exit_code = 3
