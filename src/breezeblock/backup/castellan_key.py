"""A store's master key from a key manager: Barbican, Vault, or another that the library Castellan knows.

The library is an extra, and takes a second and some 30 MiB to load: only who has such a store does so, when a key is wanted.
"""

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final

from breezeblock.backup.contract import StoreRefused, StoreUnavailable
from breezeblock.backup.seal import MasterKeyError, master_key

__all__ = ["CastellanKey"]

# The libraries below it wait for a server that says nothing for as long as the connection lasts. We do not.
TIMEOUT_S: Final = 20.0


class CastellanKey:
    """The key with that id, read anew each time, with the credentials that are in the file by then. Blocks.

    `file` is Castellan's configuration: which key manager, where, and as whom. Kept outside of it are neither.
    """

    def __init__(self, file: Path, key_id: str, *, store: str, timeout_s: float = TIMEOUT_S) -> None:
        self._file = file
        self._key_id = key_id
        self._store = store
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="castellan")
        self._asked: Future[bytes] | None = None

    def read(self) -> bytes:
        """The key. Raises StoreUnavailable while the key manager is away, StoreRefused when it will not or has none.

        Who asks while another waits for an answer waits for the same one: a server that hangs holds up one thread.
        """
        with self._lock:
            if self._asked is None or self._asked.done():
                self._asked = self._thread.submit(self._ask)
            asked = self._asked
        try:
            content = asked.result(self._timeout_s)
        except TimeoutError:
            raise StoreUnavailable(f"the key manager has not answered for {self._timeout_s:g} s") from None
        try:
            return master_key(content)
        except MasterKeyError as error:
            raise StoreRefused(
                f"Object {self._key_id} of the key manager is no key of {self._who}: {error}."
            ) from error

    def _ask(self) -> bytes:
        from castellan import key_manager
        from castellan.common import exception, utils
        from keystoneauth1.exceptions import ClientException
        from oslo_config import cfg

        try:
            conf = cfg.ConfigOpts()
            conf([], project="breezeblock", default_config_files=[str(self._file)], default_config_dirs=[])
            conf.register_opts(utils.credential_opts, group=utils.OPT_GROUP)
            # Barbican asks who we are. Others have credentials in sections of their own.
            caller = utils.credential_factory(conf) if conf.key_manager.auth_type else None
            found = key_manager.API(conf).get(caller, self._key_id)
            content = found.get_encoded() or b""
        except exception.ManagedObjectNotFoundError as error:
            raise StoreRefused(f"The key manager has no object {self._key_id}, the key of {self._who}.") from error
        except (cfg.Error, ImportError, LookupError, ValueError) as error:
            raise StoreRefused(f"The key of {self._who} cannot be asked for: {self._file}: {error}") from error
        except (exception.CastellanException, ClientException) as error:
            if _is_final(error):
                raise StoreRefused(f"The key manager does not give the key of {self._who}: {error}") from error
            raise StoreUnavailable(f"the key manager does not give the key of {self._who}: {error}") from error
        return content

    @property
    def _who(self) -> str:
        return f"backup store {self._store}"


def _is_final(error: BaseException | None) -> bool:
    """Whether it would be the same the next time: not a server that does not answer, or answers that it cannot."""
    from castellan.common import exception

    final = (exception.Forbidden, exception.AuthTypeInvalidError, exception.InsufficientCredentialDataError)
    while error is not None:
        status = getattr(error, "http_status", None) or getattr(error, "status_code", None)
        if isinstance(error, final) or (isinstance(status, int) and 400 <= status < 500 and status not in (408, 429)):
            return True
        error = error.__cause__ or error.__context__
    return False
