"""The server's side of TLS: a context out of certificates that are held in memory."""

from __future__ import annotations

import os
import ssl
import tempfile
from pathlib import Path

from .certificates import Certificates, KeyPair


def server_context(certificates: Certificates) -> ssl.SSLContext:
    """Returns a context of TLS 1.2 or newer that shows the leaf."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # A connection carries one report: nobody would come back with a ticket.
    context.num_tickets = 0
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
    _load(context, certificates.leaf)
    return context


def _load(context: ssl.SSLContext, pair: KeyPair) -> None:
    # OpenSSL's interface in Python takes files only. One in memory needs no writable disk, and
    # leaves the key on none.
    pem = pair.certificate_pem + pair.key_pem
    if hasattr(os, "memfd_create"):
        with os.fdopen(os.memfd_create("leaf"), "wb") as file:
            file.write(pem)
            file.flush()
            context.load_cert_chain(f"/proc/self/fd/{file.fileno()}")
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "leaf.pem"
        path.touch(mode=0o600)
        path.write_bytes(pem)
        context.load_cert_chain(path)
