"""Texts from elsewhere, made fit for conditions: error messages, reasons, annotations."""

from __future__ import annotations

import hashlib
import re

MAX_RETRY = 256

_REASON = re.compile(r"[A-Z][A-Za-z0-9]{0,127}")


def reason_or(text: str | None, instead: str) -> str:
    """Returns a reason where it is one CamelCase word, as conditions want it, else another."""
    return text if text is not None and _REASON.fullmatch(text) else instead


def retry_value(annotation: str) -> str:
    """Returns the retry annotation as the status keeps it: two long ones stay apart."""
    if len(annotation) <= MAX_RETRY:
        return annotation
    return f"sha256:{hashlib.sha256(annotation.encode('utf-8', 'replace')).hexdigest()}"
