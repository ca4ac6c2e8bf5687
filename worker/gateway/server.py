"""Listens where users come in, serves their sessions, and stops when it is told to.

Beside sessions there is nothing to be had here: no forwarding, no agent, no tunnel, and only
algorithms that are held to be strong.
"""

import asyncio
import contextlib
import logging
import signal
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import asyncssh
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from buildsrht.backend import Backend
from buildsrht.errors import BuildsError, OperatorError
from buildsrht.services import ssh_keys
from worker.gateway import commands
from worker.gateway.connection import SIGNATURES, Connection, Room
from worker.gateway.service import OpenMachine, Service, Visitor
from worker.gateway.session import Ending, Session

log = logging.getLogger(__name__)

LOGIN_SECONDS = 30
KEEPALIVE_SECONDS = 30
KEEPALIVES_UNANSWERED = 4
# What a client may send before we have taken it.
WINDOW_BYTES = 1024 * 1024
THREADS = 16
STOP_SECONDS = 2
STOPPING = "The gateway stops; connect again in a moment."

# Nothing that rests on SHA-1, CBC or short tags; every OpenSSH since 6.5 has some of each. Nor the
# groups of large numbers: one exchange takes a tenth of a second, in which nobody else is served.
KEY_EXCHANGES = (
    *("mlkem768x25519-sha256", "curve25519-sha256", "curve25519-sha256@libssh.org"),
    *("ecdh-sha2-nistp256", "ecdh-sha2-nistp384", "ecdh-sha2-nistp521"),
)
CIPHERS = (
    *("chacha20-poly1305@openssh.com", "aes256-gcm@openssh.com", "aes128-gcm@openssh.com"),
    *("aes256-ctr", "aes128-ctr"),
)
MACS = (
    *("hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com"),
    *("hmac-sha2-256", "hmac-sha2-512"),
)


def run(backend: Backend, open_machine: OpenMachine) -> None:
    """Serve until SIGTERM or SIGINT; then sessions have some seconds to end."""
    asyncio.run(_run(Gateway(Service(backend, open_machine))))


async def _run(gateway: "Gateway") -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with gateway.listening() as port:
        log.info("ssh is served on port %d", port)
        await stop.wait()


class Gateway:
    def __init__(self, service: Service):
        self.service = service
        self.config = service.backend.config
        self._room = Room()
        self._sessions: set[Session] = set()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[int]:
        """Serve within the block, on the port that this yields."""
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS))
        acceptor = await self._listen()
        try:
            yield acceptor.get_port()
        finally:
            acceptor.close()
            await self._stop()

    async def _listen(self) -> asyncssh.SSHAcceptor:
        ssh = self.config.ssh
        try:
            return await asyncssh.listen(
                ssh.host,
                ssh.port,
                server_factory=lambda: Connection(self.service, self._room, self._new_session),
                server_host_keys=[self._host_key()],
                server_version="buildsrht",
                kex_algs=KEY_EXCHANGES,
                encryption_algs=CIPHERS,
                mac_algs=MACS,
                signature_algs=SIGNATURES,
                compression_algs=None,
                password_auth=False,
                kbdint_auth=False,
                host_based_auth=False,
                gss_host=None,
                gss_kex=False,
                gss_auth=False,
                agent_forwarding=False,
                x11_forwarding=False,
                line_editor=False,
                encoding=None,
                window=WINDOW_BYTES,
                login_timeout=LOGIN_SECONDS,
                keepalive_interval=KEEPALIVE_SECONDS,
                keepalive_count_max=KEEPALIVES_UNANSWERED,
            )
        except OSError as error:
            raise OperatorError(f"[ssh] host, port: {ssh.host}:{ssh.port}: {error}") from error

    def _host_key(self) -> asyncssh.SSHKey:
        path = self.service.backend.keys.ssh_host_key
        if not path.exists():
            raise OperatorError(f"{path}: no such file; `buildsrht keys init` makes it")
        try:
            return asyncssh.read_private_key(path)
        except asyncssh.KeyImportError as error:
            raise OperatorError(f"{path}: {error}") from error

    async def _stop(self) -> None:
        """End every session, then every connection: ask, wait, insist."""
        ending = [session.stop(STOPPING) for session in self._sessions]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                await asyncio.gather(*ending)
        # Most clients leave with their last session, and say nothing more if they do so themselves.
        for insist in (self._room.ask_to_leave, self._room.throw_out):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STOP_SECONDS):
                    await self._room.wait_until_empty()
            insist()

    # --- sessions -----------------------------------------------------------------------------

    def _new_session(self, visitor: Visitor) -> Session:
        async def serve(session: Session) -> Ending:
            return await self._serve(visitor, session)

        session = Session(serve, self._sessions.discard)
        self._sessions.add(session)
        return session

    async def _serve(self, visitor: Visitor, session: Session) -> Ending:
        name = visitor.user.canonical_name
        log.info(
            "%s from %s: %s", name, visitor.address, commands.describe(visitor, session.request)
        )
        try:
            # One connection may go on for days, and have one session after the other.
            await self.service.ask(ssh_keys.require_key, self.service.backend, visitor.key_id)
            return await commands.serve(self.service, visitor, session)
        except BuildsError as error:
            await session.say(str(error))
        except BrokenPipeError:
            raise
        except (SQLAlchemyError, RedisError) as error:
            log.warning("%s could not be served: %s", name, error)
            await session.say("the service cannot answer now; try again in a moment")
        except Exception:
            log.exception("%s could not be served", name)
            await session.say("an internal error of the gateway; its operator can read which")
        return commands.FAILED
