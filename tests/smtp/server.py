#!/usr/bin/env python3
"""A real mail server for the system tests, which misbehaves as it is told.

    server.py FOLDER CERTIFICATE KEY USER PASSWORD [--starttls-port N] [--tls-port N]

It listens on two ports of 127.0.0.1: a submission port, where nothing is to be had before STARTTLS,
and one of TLS from the first byte. Both take mail only after a login (PLAIN or LOGIN) as USER with
PASSWORD. Once it listens it prints one line, {"starttls": PORT, "tls": PORT}. The ports are free
ones unless named, so a server can be ended and started again on the same ports. SIGTERM ends it.

FOLDER/inbox/000001.eml and so on
    The messages it stored, byte for byte, each after its envelope: an X-Envelope-From line and one
    X-Envelope-To line for each recipient. They appear whole or not at all.
FOLDER/log
    What happened: time, mode, connection (starttls#1, tls#2 and so on), event. Never a password.
FOLDER/mode
    How it behaves; a word, read anew at each decision, "accept" if there is no such file or it is
    empty. To change it while mail may be under way, rename a new file over it.

      accept             store every message
      At the connection:
      refuse-connect     greet with 421 and close
      stall              say nothing at all, not even in the TLS handshake
      At the command:
      refuse-login       535 to every login
      refuse-rcpt        550 to every recipient, for good
      drop               close the connection in the middle of DATA
      At the end of DATA:
      busy               451, for now
      stall-data         never answer
      drop-after-accept  store the message, then close the connection without an answer
"""

import argparse
import asyncio
import datetime
import itertools
import json
import logging
import os
import pathlib
import signal
import socket
import ssl
import sys
import traceback
import warnings

wheels = sorted(pathlib.Path(__file__).resolve().parent.glob("wheels/*.whl"))
if not wheels:
    sys.exit("smtp: no wheels to import: run tests/smtp/fetch.sh")
sys.path[:0] = map(str, wheels)

from aiosmtpd.smtp import SMTP, AuthResult, TLSSetupException  # noqa: E402

MODES = {
    "accept", "refuse-connect", "stall", "refuse-login", "refuse-rcpt", "drop",
    "busy", "stall-data", "drop-after-accept",
}  # fmt: skip


class Folder:
    """The folder shared with the tests: mode, log and inbox."""

    def __init__(self, path):
        self.path = path
        self.inbox = path / "inbox"
        self.inbox.mkdir(parents=True, exist_ok=True)
        # A server started again goes on counting.
        last = max((int(old.stem) for old in self.inbox.glob("*.eml")), default=0)
        self.numbers = itertools.count(last + 1)

    def mode(self):
        try:
            mode = (self.path / "mode").read_text().strip() or "accept"
        except FileNotFoundError:
            mode = "accept"
        if mode not in MODES:  # a test's mistake: not to be taken for any behaviour
            print(f"smtp: unknown mode {mode!r}", file=sys.stderr, flush=True)
            os._exit(1)
        return mode

    def log(self, mode, connection, event):
        now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")
        with open(self.path / "log", "a") as log:
            log.write(f"{now} {mode} {connection} {event}\n")

    def store(self, envelope):
        name = f"{next(self.numbers):06}.eml"
        lines = [f"X-Envelope-From: {envelope.mail_from}"]
        lines += [f"X-Envelope-To: {recipient}" for recipient in envelope.rcpt_tos]
        part = self.path / f"{name}.part"
        part.write_bytes("".join(f"{line}\r\n" for line in lines).encode() + envelope.content)
        part.rename(self.inbox / name)
        return name


class Handler:
    """What one connection's commands lead to; aiosmtpd calls the handle_ methods by name."""

    def __init__(self, folder, credentials, connection):
        self.folder = folder
        self.credentials = credentials
        self.connection = connection

    def log(self, mode, event):
        self.folder.log(mode, self.connection, event)

    def authenticate(self, server, session, envelope, mechanism, login):
        mode = self.folder.mode()
        success = mode != "refuse-login" and tuple(login) == self.credentials
        self.log(mode, f"login {mechanism} {'accepted' if success else 'refused'}")
        return AuthResult(success=success, handled=success)  # not handled: aiosmtpd answers 535

    async def handle_RCPT(self, server, session, envelope, address, options):
        mode = self.folder.mode()
        if mode == "refuse-rcpt":
            self.log(mode, f"recipient {address} refused")
            return "550 5.1.1 No such recipient here"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 Recipient accepted"

    async def handle_DATA(self, server, session, envelope):
        mode = self.folder.mode()
        if mode == "busy":
            self.log(mode, "message put off")
            return "451 4.3.0 Busy, try again later"
        if mode == "stall-data":
            self.log(mode, "message taken, no answer")
            return await connection_lost()
        name = self.folder.store(envelope)
        if mode == "drop-after-accept":
            self.log(mode, f"stored {name}, connection dropped")
            server.transport.abort()
            return await connection_lost()
        self.log(mode, f"stored {name}")
        return f"250 2.0.0 Stored as {name}"

    async def handle_exception(self, error):
        if isinstance(error, TLSSetupException):
            self.log(self.folder.mode(), f"TLS failed: {error.__cause__!r}")
        else:
            self.log(self.folder.mode(), f"failed: {type(error).__name__}")
            traceback.print_exception(error)
        return "451 4.3.0 The test server failed"


async def connection_lost():
    """Never returns: aiosmtpd cancels its caller when the connection is gone."""
    await asyncio.get_running_loop().create_future()


class Server(SMTP):
    # What most servers ask; aiosmtpd's own are of the rare kind.
    AuthLoginUsernameChallenge = "Username:"
    AuthLoginPasswordChallenge = "Password:"

    async def smtp_DATA(self, arg):
        mode = self.event_handler.folder.mode()
        if mode != "drop" or not self.envelope.rcpt_tos:
            return await super().smtp_DATA(arg)
        await self.push("354 End data with <CR><LF>.<CR><LF>")
        await self._reader.readline()  # so the message is under way
        self.event_handler.log(mode, "connection dropped within a message")
        self.transport.abort()
        await connection_lost()


class Refusal(asyncio.Protocol):
    def connection_made(self, transport):
        transport.write(b"421 4.3.2 Not taking mail\r\n")
        transport.close()


async def serve(sock, handler, tls, implicit):
    """Serves one connection, or what the mode makes of it."""
    loop = asyncio.get_running_loop()
    mode = handler.folder.mode()
    if mode == "stall":
        handler.log(mode, "connected, no answer")
        with sock:
            try:
                while await loop.sock_recv(sock, 4096):
                    pass
            except OSError:
                pass
        handler.log(mode, "sender left")
        return

    def protocol():
        if mode == "refuse-connect":
            return Refusal()
        # aiosmtpd only counts STARTTLS as TLS, hence no auth_require_tls where TLS is implicit.
        # Senders are to give up before the server does: they have a day.
        return Server(
            handler, hostname="localhost", timeout=86400, loop=loop,
            tls_context=None if implicit else tls, require_starttls=not implicit,
            auth_required=True, auth_require_tls=not implicit, authenticator=handler.authenticate,
        )  # fmt: skip

    handler.log(mode, "refused" if mode == "refuse-connect" else "connected")
    try:
        await loop.connect_accepted_socket(protocol, sock, ssl=tls if implicit else None)
    except OSError as error:  # ssl's errors are of this kind too
        handler.log(mode, f"TLS failed: {error!r}")


async def listen(listener, name, folder, credentials, tls):
    listener.setblocking(False)
    async with asyncio.TaskGroup() as connections:
        for number in itertools.count(1):
            sock, _ = await asyncio.get_running_loop().sock_accept(listener)
            handler = Handler(folder, credentials, f"{name}#{number}")
            connections.create_task(serve(sock, handler, tls, implicit=name == "tls"))


async def main():
    parser = argparse.ArgumentParser(description="A mail server for system tests")
    parser.add_argument("folder", type=pathlib.Path)
    for name in ["certificate", "key", "user", "password"]:
        parser.add_argument(name)
    parser.add_argument("--starttls-port", type=int, default=0)
    parser.add_argument("--tls-port", type=int, default=0)
    args = parser.parse_args()

    warnings.filterwarnings("ignore", message="Requiring AUTH")  # without STARTTLS: see serve
    logging.getLogger("mail.log").setLevel(logging.ERROR)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # ends it at once, as SIGTERM does

    folder = Folder(args.folder)
    credentials = (args.user.encode(), args.password.encode())
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(args.certificate, args.key)
    ports = {"starttls": args.starttls_port, "tls": args.tls_port}
    listeners = {name: socket.create_server(("127.0.0.1", port)) for name, port in ports.items()}
    print(json.dumps({name: on.getsockname()[1] for name, on in listeners.items()}), flush=True)
    async with asyncio.TaskGroup() as group:
        for name, listener in listeners.items():
            group.create_task(listen(listener, name, folder, credentials, tls))


if __name__ == "__main__":
    asyncio.run(main())
