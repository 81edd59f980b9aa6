"""API keys: where they may go, and that they stand in nothing that is shown.

A key goes into the header of every request, so over plain HTTP everyone on the way can read it.
"""

from __future__ import annotations

import ipaddress
import logging
from urllib.parse import SplitResult, urlsplit

from xqg_qdrant.errors import InputError

ALLOW = "--allow-insecure-api-key (allow_insecure_api_key=True)"

_HIDDEN = "***"
_SHORTEST_HIDDEN = 6
"""Shorter keys are words of any message; hiding them would tell more than it hides."""

_TALKATIVE = (
    "httpx",
    "httpcore.connection",
    "httpcore.http11",
    "httpcore.http2",
    "httpcore.proxy",
    "httpcore.socks",
    "hpack.hpack",
    "hpack.table",
    "openai",
    "openai._base_client",
)
"""Loggers that tell of headers and status lines, in which a server may echo a key."""

_known: set[str] = set()


class ApiKey(str):
    """A key whose ``repr`` does not show it, as in the locals of a traceback.

    Attributes:
        may_go_unencrypted: it may be sent over plain HTTP to any host.
    """

    may_go_unencrypted: bool = False

    def __repr__(self) -> str:
        return f"ApiKey('{_HIDDEN}')"


def check_api_key(
    value: object, *, name: str = "the API key", allow_insecure: bool = False
) -> ApiKey | None:
    """Return a key as a header can carry it; None where there is none.

    White space around it goes, as files leave it behind. From here on :func:`hide_keys` knows it.

    Args:
        value: the key, or None.
        name: what errors call it.
        allow_insecure: it may be sent over plain HTTP to any host.

    Raises:
        InputError: no header can carry it; the message does not show it.
    """
    if value is None:
        return None
    if not isinstance(value, str):
        raise InputError(f"{name} must be a string, not a {type(value).__name__}")
    text = value.strip()
    if not text:
        return None
    if not (text.isascii() and text.isprintable()) or " " in text:
        raise InputError(
            f"{name} holds characters that no key has (blanks, line ends or letters beyond ASCII): "
            "copy it again"
        )
    if len(text) >= _SHORTEST_HIDDEN:
        _known.add(text)
        for logger in _TALKATIVE:
            logging.getLogger(logger).addFilter(_hide)
    key = ApiKey(text)
    key.may_go_unencrypted = allow_insecure or getattr(value, "may_go_unencrypted", False)
    return key


def check_url(url: object, *, example: str) -> SplitResult:
    """Return the parts of an ``http(s)://`` URL that can be shown and kept in files.

    Args:
        url: what a user gave.
        example: one that is right, for messages.

    Raises:
        InputError: it is malformed, or holds a password or a query; the message shows neither.
    """
    if not isinstance(url, str):
        raise InputError(f"a URL must be a string, not a {type(url).__name__}: write {example}")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise InputError(f"a URL is malformed: write {example}") from None
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise InputError(
            "give a URL without user, password, query and fragment: it is shown and kept in "
            f"files. Write {example}; a key has an option of its own"
        )
    if parts.scheme not in ("http", "https") or not host or not url.isprintable() or " " in url:
        raise InputError(f"{url!r} is no URL: write {example}")
    return parts


def require_private(parts: SplitResult, key: ApiKey | None, *, otherwise: str = "") -> None:
    """Check that a key can go to a host without others on the way reading it.

    Over HTTPS it can, to this machine it can, and anywhere where its user says so.

    Args:
        parts: of the URL.
        key: that would go there.
        otherwise: what else the user can do, for the message.

    Raises:
        InputError: it cannot.
    """
    if key is None or key.may_go_unencrypted or parts.scheme == "https":
        return
    host = parts.hostname or ""
    if not is_local(host):
        raise InputError(
            f"{parts.geturl()}: the API key would go to {host} unencrypted, for all on the way to "
            f"read: use https{otherwise}, or give {ALLOW} if you trust every network on the way"
        )


def is_local(host: str) -> bool:
    """Whether a host is this machine itself: ``localhost`` and the loopback addresses."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def hide_keys(text: str) -> str:
    """A text with ``***`` for every key that this process was given; servers may echo them."""
    for key in sorted(_known, key=len, reverse=True):
        text = text.replace(key, _HIDDEN)
    return text


def safe_cause(error: BaseException) -> BaseException | None:
    """The error itself, to be shown as a cause, or None where it or its causes show a key."""
    each: BaseException | None = error
    while each is not None:
        for shown in (str(each), repr(each), *map(repr, each.args)):
            if hide_keys(shown) != shown:
                return None
        each = each.__cause__ or (None if each.__suppress_context__ else each.__context__)
    return error


class HideKeys(logging.Filter):
    """Takes keys out of what a logger is told."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Hide keys in the record; always true."""
        message = record.getMessage()
        if (hidden := hide_keys(message)) != message:
            record.msg, record.args = hidden, ()
        return True


_hide = HideKeys()
