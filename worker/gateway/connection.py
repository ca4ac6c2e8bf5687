"""One connection: who comes in, and how much of one.

Everybody connects as the same user, or as the number of a job; who they are, their public key
says, and nothing else is asked for. A wrong name and a wrong key are refused alike.

Who floods it is held off by bounds: on connections, in all and from one address; on the keys until
somebody is known; on sessions.
"""

import asyncio
import logging
import re
from collections import Counter
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address, ip_network

import asyncssh
from sqlalchemy.exc import SQLAlchemyError

from buildsrht.models import SshKey
from buildsrht.services import ssh_keys
from worker.gateway.service import Service, Visitor
from worker.gateway.session import Session

log = logging.getLogger(__name__)

CONNECTIONS = 256
CONNECTIONS_OF_ONE_ADDRESS = 32
SESSIONS = 10
KEYS = 20
JOB_NUMBER = re.compile(r"[1-9][0-9]{0,9}")
SIGNATURES = (
    *("ssh-ed25519", "rsa-sha2-256", "rsa-sha2-512"),
    *("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"),
    *("sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com"),
)
# In IPv6 whoever has one address has all of its network.
NETWORK_OF_ONE = 64


class Room:
    """The connections that there are."""

    def __init__(self) -> None:
        self._addresses: dict[asyncssh.SSHServerConnection, str] = {}

    def admit(self, connection: asyncssh.SSHServerConnection) -> bool:
        """Whether there is room for one more; then it is in."""
        address = place_of(_address(connection))
        of_this_one = Counter(self._addresses.values())[address]
        if len(self._addresses) >= CONNECTIONS or of_this_one >= CONNECTIONS_OF_ONE_ADDRESS:
            return False
        self._addresses[connection] = address
        return True

    def release(self, connection: asyncssh.SSHServerConnection) -> None:
        self._addresses.pop(connection, None)

    async def wait_until_empty(self) -> None:
        for connection in list(self._addresses):
            await connection.wait_closed()

    def ask_to_leave(self) -> None:
        for connection in list(self._addresses):
            connection.close()

    def throw_out(self) -> None:
        for connection in list(self._addresses):
            connection.abort()


def _address(connection: asyncssh.SSHServerConnection) -> str:
    return str(connection.get_extra_info("peername")[0])


def place_of(address: str) -> str:
    parsed = ip_address(address.partition("%")[0])
    if isinstance(parsed, IPv6Address):
        return str(ip_network((parsed, NETWORK_OF_ONE), strict=False))
    return str(parsed)


class Connection(asyncssh.SSHServer):
    def __init__(
        self, service: Service, room: Room, new_session: Callable[[Visitor], Session]
    ) -> None:
        self._service = service
        self._room = room
        self._new_session = new_session
        self._keys = 0
        self._visitor: Visitor | None = None
        self._key: SshKey | None = None
        self._sessions: set[Session] = set()

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn
        if not self._room.admit(conn):
            log.warning("%s is sent away: too many connections", _address(conn))
            # Not from within: the library is about to say hello.
            asyncio.get_running_loop().call_soon(conn.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        self._room.release(self._connection)

    # --- who ----------------------------------------------------------------------------------

    def public_key_auth_supported(self) -> bool:
        return True

    async def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        """Whether this key lets anybody in under that name.

        It is asked before the client has proved that it has the key, and again when it does: who
        it is, is the last answer before the library says that this is complete.
        """
        self._visitor = self._key = None
        self._keys += 1
        is_job = JOB_NUMBER.fullmatch(username)
        if self._keys > KEYS or not (is_job or username == self._service.backend.config.ssh.user):
            return False
        # The library offers strong algorithms only, but would accept RSA with SHA-1 unoffered.
        key.all_sig_algorithms = {algorithm.encode() for algorithm in SIGNATURES}
        try:
            found = await self._service.ask(self._find, key)
        except SQLAlchemyError as error:
            log.warning("nobody can be let in: %s", error)
            return False
        if found:
            job_id = int(username) if is_job else None
            self._visitor = Visitor(found.user, job_id, _address(self._connection), found.id)
            self._key = found
        return found is not None

    def _find(self, key: asyncssh.SSHKey) -> SshKey | None:
        with self._service.backend.transaction() as session:
            return ssh_keys.find_key(session, key)

    async def auth_completed(self) -> None:
        if self._key is None:
            return
        try:
            await self._service.ask(ssh_keys.note_use, self._service.backend, self._key.id)
        except SQLAlchemyError as error:
            log.warning("the use of key %s is not noted: %s", self._key.fingerprint, error)

    # --- what for -----------------------------------------------------------------------------

    def session_requested(self) -> Session | bool:
        open_ones = {session for session in self._sessions if not session.is_over}
        if self._visitor is None or len(open_ones) >= SESSIONS:
            return False
        session = self._new_session(self._visitor)
        self._sessions = {*open_ones, session}
        return session
